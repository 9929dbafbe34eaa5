"""All sets of a subscription or a group: a line each, for people and as JSON (docs/all-json.md).

Rules this module decides:

1. Sets stand in the order in which ARM lists them. A set that could not be read, or not be judged, has its reason where the others have what was found.
2. A set's worst finding is its first error, else its first warning, in the order of the codes.
3. Of several rollouts of the platform the line tells the one that fails, else the one that starts by itself (automatic OS upgrade), else that of an update of
   the model. The JSON has all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from planner.lint import CODES, Finding, Grade
from planner.model import Model, Orchestration, ScaleSet
from vmss_sim.report.comparison import clock
from vmss_sim.report.console import table
from vmss_sim.study.own import Simulated, fails
from vmss_sim.study.preview import AUTO_OS, ERRORS, Preview
from vmss_sim.study.preview_document import document

if TYPE_CHECKING:
    from backends.azure.fleet import Taken

LINT, PREVIEW = "vmss-sim/lint-all/1", "vmss-sim/preview-all/1"
Linted = tuple[ScaleSet, tuple[Finding, ...]]
Previewed = tuple[Preview, Sequence[Simulated | None]]


def lint_table(console: Console, found: Sequence[tuple[Taken, Linted | None]]) -> None:
    """What `lint --all` prints."""
    made = _table("VMs", "errors", "warnings", "worst")
    for taken, linted in found:
        if linted is None:
            made.add_row(*_named(taken), "-", "-", "-", "-", _reason(taken))
            continue
        scale_set, findings = linted
        counts = [str(sum(one.grade is grade for one in findings)) for grade in (Grade.ERROR, Grade.WARNING)]
        made.add_row(*_named(taken), _mode(scale_set.model), str(len(scale_set.instances)), *counts, _worst(findings))
    console.print(made)
    errors = sum(linted is not None and any(one.grade is Grade.ERROR for one in linted[1]) for _, linted in found)
    _summary(console, found, f"{errors} with errors")


def preview_table(console: Console, found: Sequence[tuple[Taken, Previewed | None]]) -> None:
    """What `preview --all` prints."""
    made = _table("VMs", "takes", "1 in 20", "fewest\nin service", "Azure by itself")
    for taken, previewed in found:
        if previewed is None:
            made.add_row(*_named(taken), "-", "-", "-", "-", "-", _reason(taken))
            continue
        made.add_row(*_named(taken), *_foreseen(*previewed))
    console.print(made)
    failing = sum(previewed is not None and fails(*previewed) for _, previewed in found)
    _summary(console, found, f"{failing} that would fail, or have errors")


def lint_document(of: str, group: str | None, found: Sequence[tuple[Taken, Linted | None]]) -> dict[str, Any]:
    """`lint --all --json`."""

    def row(linted: Linted | None) -> dict[str, Any]:
        if linted is None:
            return {"scale_set": None, "findings": None}
        scale_set, findings = linted
        model = scale_set.model
        facts = {
            "mode": model.mode.value,
            "orchestration": model.orchestration.value,
            "health_source": model.health_source.value,
            "instances": len(scale_set.instances),
        }
        return {"scale_set": facts, "findings": msgspec.to_builtins(findings)}

    return _document(LINT, of, group, found, row)


def preview_document(of: str, group: str | None, found: Sequence[tuple[Taken, Previewed | None]]) -> dict[str, Any]:
    """`preview --all --json`."""
    return _document(PREVIEW, of, group, found, lambda one: {"preview": None if one is None else document(*one)})


def _document(schema: str, of: str, group: str | None, found: Iterable[tuple[Taken, Any]], row: Any) -> dict[str, Any]:
    sets = [
        {
            "id": taken.scope.id,
            "name": taken.scope.name,
            "group": taken.scope.group,
            "location": taken.location,
            "reason": taken.why or None,
            "gone": taken.gone,
            **row(judged),
        }
        for taken, judged in found
    ]
    return {"schema": schema, "subscription": of, "group": group, "sets": sets}


def _table(*columns: str) -> Table:
    made = table("set", "group", "mode", *columns)
    for column in made.columns:
        column.overflow = "fold"  # a name that is cut is of no use
    return made


def _named(taken: Taken) -> tuple[Text, Text]:
    return Text(taken.scope.name), Text(taken.scope.group)


def _reason(taken: Taken) -> Text:
    return Text(taken.short, style="yellow" if taken.gone else "red")


def _mode(model: Model) -> str:
    return model.mode.value + (" flexible" if model.orchestration is Orchestration.FLEXIBLE else "")


def _worst(findings: Sequence[Finding]) -> Text:
    """Rule 2."""
    if not findings:
        return Text("")
    one = min(findings, key=lambda each: (each.grade is not Grade.ERROR, each.code))
    return Text(f"{one.code} {CODES[one.code].name}", style="red" if one.grade is Grade.ERROR else "yellow")


def _foreseen(preview: Preview, simulated: Sequence[Simulated | None]) -> tuple[str | Text, ...]:
    """Rule 3."""
    pairs = list(zip(preview.rollouts, simulated, strict=True))
    one, expected = min(pairs, key=lambda pair: (pair[0].outcome not in ERRORS, pair[0].kind != AUTO_OS))
    model, total = preview.setup.scale_set.model, preview.setup.total
    words = ("OS upgrade: " if one.kind == AUTO_OS else "") + one.outcome.value.replace("-", " ")
    never = expected is not None and expected.never_ends_well
    says = Text(
        f"{words}, fails in every run" if never else words, style="red" if never or one.outcome in ERRORS else ""
    )
    if expected is None:
        fewest = min(one.serving, default=None)
        return _mode(model), str(total), "-", "-", "-" if fewest is None else f"{fewest} of {total}", says
    took, low = expected.metrics["duration_s"], expected.metrics["min_healthy"].p05
    return (
        _mode(model), str(total), clock(took.p50), clock(took.p95), "-" if low is None else f"{low:.0f} of {total}", says,
    )  # fmt: skip


def _summary(console: Console, found: Sequence[tuple[Taken, Any]], says: str) -> None:
    unread = sum(judged is None for _, judged in found)
    console.print(
        f"{len(found)} set{'' if len(found) == 1 else 's'}: {says}" + (f", {unread} not read" if unread else "")
    )
