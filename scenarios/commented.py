"""A scenario as commented TOML: what `init` writes.

Rules this module decides:

1. What the files did not say and what was assumed stands in the text, with the az command that would supply it.
2. No strategies are named, so that all that fit are compared; those that do not fit stand in a comment, with the reason.
3. Text from files goes into comments on one line, and into values as TOML strings, whatever it holds.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import msgspec
import tomlkit

from planner.model import OperatingSystem, ScaleSet
from scenarios.build import Setup
from scenarios.schema import ChangeTable, LoadTable, Scenario
from vmss_sim.world.recorded import READY_DEFAULT

WIDTH = 120


def one_line(text: str) -> str:
    """Rule 3: text on one line, without control characters, in UTF-8."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.encode("utf-8", "replace").decode().split())


def _toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return str(table.as_string())
    return str(tomlkit.item(value).as_string())


def _comment(text: str, indent: str = "") -> list[str]:
    """A comment, wrapped. Commands in backquotes are left whole, to be copied."""
    return textwrap.wrap(
        one_line(text), WIDTH, initial_indent=f"# {indent}", subsequent_indent=f"# {indent}", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _keys(table: msgspec.Struct, explained: Iterable[tuple[str, str, str]]) -> list[str]:
    """Lines of a table: (key, meaning, what stands in the comment where it is not given)."""
    lines: list[str] = []
    names = {field.encode_name: field.name for field in msgspec.structs.fields(table)}
    defaults = {field.encode_name: field.default for field in msgspec.structs.fields(table)}
    for key, meaning, instead in explained:
        lines += _comment(meaning)
        value = getattr(table, names[key])
        if value != defaults[key]:
            lines.append(f"{key} = {_toml(value)}")
        elif instead:
            lines.append(f"# {key} = {instead}")
    return lines


def text_of(scenario: Scenario, made: Setup) -> str:
    """The commented text that loads to this scenario. made: the same, worked out."""
    lines = [
        *_comment(f"{one_line(scenario.title)}. A scenario of vmss-sim, written by `vmss-sim init`."),
        "# Run it: `vmss-sim compare FILE`. Every key: docs/scenario.md. Lines that begin with # change nothing.",
        "",
        *_told(made),
        "",
        *_keys(scenario, TOP),
        "",
        "# The set, as the files say.",
        "[scale_set]",
        *_keys(scenario.scale_set, SET),
        "",
        *_change_lines(scenario.change, made.scale_set),
        "",
        "# How long things take. A duration, or a table: { lognormal = { median = 45, p95 = 90 } }.",
        "[timing]",
        *_keys(scenario.timing, ((*READY, _usual_ready(made)), *TIMING)),
        "",
        "# What goes wrong. Left out, one upgrade in 200 fails: a guess.",
        "# [failures]",
        *FAILURES,
        "",
        "# What the service needs; below it is downtime.",
        "[load]",
        *_load_lines(scenario.load),
        "",
        "# What is wanted.",
        "[objective]",
        *_keys(scenario.objective, OBJECTIVE),
        "",
        *_strategies(made),
    ]
    return "\n".join(lines) + "\n"


def _told(made: Setup) -> list[str]:
    """Rule 1."""
    lines = ["# What the files did not say:" if made.gaps else "# The files said all that is asked of them."]
    for gap in made.gaps:
        lines += [f"#   - {part}" if index == 0 else f"#     {part}" for index, part in enumerate(_wrapped(gap.says))]
        if gap.supply:
            lines.append(f"#     {one_line(gap.supply)}")
    guesses = [one for one in made.assumptions if one.origin != "yours"]
    if guesses:
        lines += ["#", "# What is assumed until you say otherwise:"]
        lines += [f"#   - {one_line(one.name)}: {one_line(one.value)} ({one.origin}; {one.key})" for one in guesses]
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(one_line(text), WIDTH - 6, break_long_words=False, break_on_hyphens=False)


TOP = (
    ("title", "A line that names the question.", ""),
    ("why", "What it is for, in a sentence or two.", '"What would this upgrade do to us?"'),
    (
        "starts_at",
        "When the rollout starts, for the load: a local date and time, or a time of day. Left out: 02:00.",
        '"02:00"',
    ),
)
SET = (
    ("from", "What `az … -o json` printed: the model, and the instances with their views. Relative to this file.", ""),
    ("upgrade_mode", "What if the set were in another mode: manual, automatic or rolling?", '"rolling"'),
)
READY = (
    "ready",
    "From the end of a VM's operation until YOUR APPLICATION serves there. Nobody can guess it for you, and the verdict"
    ' depends on it: measure it. Left out, the verdict begins "if your application is ready within …".',
)
TIMING = (
    ("upgrade", 'One VM\'s upgrade. "recorded": fitted to recordings of Azure.', '"recorded"'),
    ("probe", "How long the health source needs to notice: interval x number of probes.", '"5s"'),
    ("poll", "How often the executor looks at Azure.", '"10s"'),
)
FAILURES = (
    "# Probability that the operation on one VM fails.",
    "# upgrade = 0.005",
    "# Further upgrades of a failed VM before it is given up.",
    "# retries = 1",
    "# A bad image: the share of instances that cannot live with it, and how long they serve before it shows (0: never healthy).",
    "# bad_image = { share = 1.0, after = 0 }",
)
OBJECTIVE = (
    (
        "min_healthy",
        'Instances in service at any time: a count, "80%" or "n-2". It is also the floor of every strategy.',
        '"80%"',
    ),
    ("max_duration", "Of the whole rollout.", '"24h"'),
    ("max_breach", "Probability of missing this, or of not completing, that is tolerated.", "0.05"),
    ("horizon", "The span availability is averaged over, the same for all strategies.", '"24h"'),
)


def _usual_ready(made: Setup) -> str:
    """The default time to ready, as a table."""
    os = made.scale_set.model.os
    timing = READY_DEFAULT["windows" if os is OperatingSystem.WINDOWS else "linux"].timing
    median, p95 = (timing.ppf_ms_scalar(u) / 1000 for u in (0.5, 0.95))
    return f'{{ lognormal = {{ median = "{median:.0f}s", p95 = "{p95:.0f}s" }} }}'


def _change_lines(change: ChangeTable, fleet: ScaleSet) -> list[str]:
    lines = ["# What changes. The set runs: " + one_line(str(fleet.model.image or "an image the model does not name"))]
    lines += ["[change]"]
    for field in msgspec.structs.fields(change):
        value = getattr(change, field.name)
        if value != field.default:
            lines.append(f"{field.encode_name} = {_toml(msgspec.to_builtins(value))}")
    other = [
        'version = "…" (with sku, offer, publisher), id = "/subscriptions/…", uri = "https://…"',
        'set = { "PATH" = VALUE } for any other property of the model, guest = { script = "…", undo = "…" } for a patch inside the VMs',
        'refresh = "EXACT VERSION" for a set on `latest`, current_model = true where the model was changed elsewhere',
    ]
    lines += ["# Instead (one kind only):", *(f"#   {line}" for line in other)]
    lines += _comment("How, where the usual way is not wanted: upgrade, reimage, upgrade-then-reimage, restart.")
    lines.append('# action = "upgrade"')
    return lines


def _load_lines(load: LoadTable) -> list[str]:
    curve = "What is needed over time: a CSV file of time and value a line (08:00,6), or a daily curve. Values are VMs, or requests/s with per_vm."
    per_vm = "Requests/s that one VM serves."
    zone = "Time zone of the curve: an IANA name. Left out: UTC."
    if load.curve is None:
        return [
            *_comment("Instances needed, always. Left out: the objective's min_healthy, else 80%."),
            '# required = "80%"',
            *_comment(f"Instead: {curve[0].lower()}{curve[1:]}"),
            '#   curve = [["08:00", 6], ["20:00", 3]]',
            "#   per_vm = 150",
            '#   time_zone = "Europe/Berlin"',
        ]
    return _keys(load, (("curve", curve, ""), ("per_vm", per_vm, "150"), ("time_zone", zone, '"Europe/Berlin"')))


def _strategies(made: Setup) -> list[str]:
    """Rule 2."""
    names = ", ".join(one.label for one in made.choices)
    lines = [
        *_comment(f"What is compared. Left out, all that fit: {names}; and what the set would do by itself (today)."),
        "# [[strategy]]",
        '# name = "batch"',
        '# size = "10%"',
        '# soak = "5m"',
        "# [[strategy]]",
        '# name = "ramp"',
        '# label = "canary"',
        "# canary = 1",
        '# canary_soak = "30m"',
        '# on_failure = "rollback-all"',
    ]
    if made.left_out:
        lines += ["#", "# Not compared, and why:"]
        lines += [f"#   {name}: {one_line(reason)}" for name, reason in made.left_out]
    return lines
