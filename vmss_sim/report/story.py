"""One run, told step by step: each decision with the named rule behind it, and heatmaps at the steps that matter."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from planner.trace import Turn, observations
from vmss_sim.report.colours import LOUD
from vmss_sim.report.heatmap import heatmap, legend
from vmss_sim.report.times import clock
from vmss_sim.study.recommend import span
from vmss_sim.study.replicate import Run

MOST_FRAMES = 12


def turns(run: Run) -> list[Turn]:
    """The turns of a run's journal."""
    return [record for record in run.journal.records() if isinstance(record, Turn)]


def tell(console: Console, run: Run, *, total: int, frames: bool = True) -> None:
    """Print the run."""
    records = turns(run)
    target = run.plan.resolved.target
    shown = set(_frames(records)) if frames else set()
    for record, observation in zip(records, observations(records), strict=True):
        for note in record.notes:
            line = Text(f"{clock(record.now_ms):>8}  ")
            line.append(f"{note.rule:<22}", style=LOUD.get(note.rule, "cyan"))
            ids = f"  [{', '.join(note.ids[:8])}{', …' if len(note.ids) > 8 else ''}]" if note.ids else ""
            line.append(note.text + ids)
            console.print(line)
        if record.number in shown:
            ours = frozenset(name for command in record.commands for name in command.ids)
            heatmap(console, observation.scale_set, target, f"{clock(record.now_ms)}", ours)
    if frames:
        legend(console)
    outcome(console, run, total)


def _frames(records: list[Turn]) -> Iterator[int]:
    """The turns worth a picture: the first, the last, and an even choice of those at which an operation began or ended."""
    ends = [
        record.number
        for record in records
        if any(command.ids for command in record.commands)
        or any(note.rule in ("operation-ended", "operation-failed") for note in record.notes)
    ]
    step = max(1, -(-len(ends) // (MOST_FRAMES - 2)))
    yield records[0].number
    yield from ends[::step]
    yield records[-1].number


def outcome(console: Console, run: Run, total: int) -> None:
    """Print how the run ended and what it cost."""
    measures, state = run.row.measures, run.state
    style = "bold green" if run.row.completed else "bold red"
    how = f"{state.ending or state.phase.value}{': ' + state.reason if state.reason else ''}"
    console.print(Text(f"{how} after {span(measures.duration_ms / 1000)}", style=style))
    console.print(
        f"fewest in service {measures.min_healthy} of {total}, downtime {span(measures.downtime_ms / 1000)}, "
        f"outage {span(measures.outage_ms / 1000)}, capacity lost {measures.capacity_lost_vm_ms / 3_600_000:.2f} VM-h"
        + (
            f", on a bad image {measures.bad_exposure_vm_ms / 3_600_000:.2f} VM-h"
            if measures.bad_exposure_vm_ms
            else ""
        )
    )
