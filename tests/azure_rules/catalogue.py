"""All rules, and the page that shows them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tests.azure_rules import (
    auto_os,
    batches,
    concurrency,
    flexible,
    gates,
    health,
    modes,
    operations,
    repairs,
    requests,
    rollouts,
)
from tests.azure_rules.rule import Rule
from tests.azure_rules.sources import SOURCES
from vmss_sim.world import config
from vmss_sim.world.operations import MODES

PARTS: Final = (
    modes,
    batches,
    gates,
    rollouts,
    auto_os,
    health,
    repairs,
    operations,
    requests,
    flexible,
    concurrency,
)
ALL: Final[tuple[Rule, ...]] = tuple(
    sorted(
        (rule for part in PARTS for rule in part.RULES),
        key=lambda one: tuple(int(part) for part in one.section.split(".")),
    )
)

SECTIONS: Final = {
    "1.1": "Upgrade modes",
    "1.2": "The rolling upgrade policy",
    "1.3": "Batches and their order",
    "1.4": "Health gates and stopping",
    "1.5": "Error codes",
    "1.6": "MaxSurge",
    "1.7": "Cancel, no resume, start again",
    "2": "Automatic OS upgrade",
    "2.1": "osUpgradeHistory",
    "2.2": "rollingUpgrades/latest",
    "3.1": "Health sources",
    "3.2": "What an instance view shows",
    "3.3": "Automatic instance repairs",
    "4": "Instance operations",
    "4.1": "manualupgrade",
    "4.2": "Long-running operations",
    "4.3": "Instance protection",
    "4.4": "Reimage",
    "5": "Uniform and Flexible",
    "6": "Throttling and limits",
    "6.1": "Resource Manager's buckets",
    "6.2": "Compute's buckets",
    "6.3": "What a throttled client is told",
    "7": "Concurrency",
    "8": "Kinds of OS change",
}

HEAD: Final = """# Azure's rules

Written by `python -m tests.azure_rules --doc`; do not edit.

Every rule of the platform that the simulated scale set (`vmss_sim/world/`) follows: where it comes from, where it lives, and
the test that fails without it. The last is not a promise but a check: `make mutants` breaks each rule in a copy of the tree
(one edit a rule) and demands that its test fails.

* **option**: the documentation leaves it open, or sources contradict each other. The field that decides it is named; its default is
  in the table of options below.
* **outside**: the world leaves it out, for the reason given.
"""


def doc() -> str:
    """docs/azure-rules.md."""
    counts = {status: sum(rule.status == status for rule in ALL) for status in ("modelled", "option", "outside")}
    broken = sum(rule.mutant is not None for rule in ALL)
    lines = [
        HEAD,
        f"{len(ALL)} rules: {counts['modelled']} modelled, {counts['option']} options, {counts['outside']} outside; "
        f"{broken} are broken on purpose by `make mutants`.",
    ]
    for section, title in SECTIONS.items():
        rules = [rule for rule in ALL if rule.section == section]
        if rules:
            lines += ["", f"## {section} {title}", "", "| rule | source | lives in | test |", "|---|---|---|---|"]
            lines += [_row(rule) for rule in rules]
    lines += ["", *_modes(), "", "## Options", "", "| option | default | rules |", "|---|---|---|"]
    lines += [f"| `{name}` | {value} | {', '.join(rules)} |" for name, value, rules in _options()]
    lines += ["", "## Sources", "", "| name | what |", "|---|---|"]
    lines += [f"| {name} | {what} |" for name, what in SOURCES.items()]
    return "\n".join(lines) + "\n"


def _modes() -> list[str]:
    """What works on which orchestration mode, as admission is told."""
    lines = [
        "## What works on which orchestration mode",
        "",
        "`vmss_sim/world/operations.py:MODES`; a name is an option of `Platform`, with its default.",
        "",
        "| request or property | Uniform | Flexible | source | note |",
        "|---|---|---|---|---|",
    ]
    for name, row in MODES.items():
        lines.append(f"| {name} | {_answer(row.uniform)} | {_answer(row.flexible)} | {row.source} | {row.note} |")
    return lines


def _answer(word: str) -> str:
    if word in ("yes", "no"):
        return word
    return f"`{word}` ({'yes' if default_of(f'Platform.{word}') else 'no'})"


def _row(rule: Rule) -> str:
    text = f"**{rule.id}** {rule.text}"
    if rule.status != "modelled":
        text += f" *{rule.status}*" + (
            f": {', '.join(f'`{one}`' for one in rule.options.split())}." if rule.options else "."
        )
    if rule.note:
        text += f" {rule.note}"
    where = "<br>".join(f"`{one.removeprefix('vmss_sim/world/')}`" for one in rule.places)
    test = f"`{rule.test.removeprefix('tests/')}`" if rule.test else ""
    return f"| {_cell(text)} | {_cell(rule.source)} | {where} | {_cell(test)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def default_of(option: str) -> Any:
    """The default of `Class.field`. Raises LookupError where there is no such field."""
    owner, _, name = option.partition(".")
    struct = getattr(config, owner, None)
    field = next((one for one in msgspec.structs.fields(struct) if one.name == name), None) if struct else None
    if field is None:
        raise LookupError(option)
    return field.default


def _options() -> list[tuple[str, str, list[str]]]:
    named: dict[str, list[str]] = {}
    for rule in ALL:
        for option in rule.options.split():
            named.setdefault(option, []).append(rule.id)
    return [(name, f"`{default_of(name)}`", named[name]) for name in sorted(named)]
