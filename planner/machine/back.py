"""The way back: what was touched, in reverse, what is out of service before the rest, the model before the instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from planner.buckets import Bucket
from planner.change import GuestPatch
from planner.lint import wording
from planner.machine import substitutes
from planner.model import Service
from planner.phases import Cause, Phase, move
from planner.strategies.base import Batch

if TYPE_CHECKING:
    from planner.machine.turn import Turn


def roll_back(t: Turn, *, whole: bool, why: str) -> None:
    """Reverse what was touched: the most recent batch first, the model before the instances."""
    if t.back or t.phase is Phase.FINISHING:
        t.note("rollback-refused", "already going back" if t.back else "the rollout is ending")
        return
    if isinstance(t.plan.resolved.change, GuestPatch) and t.plan.resolved.change.undo is None:
        t.end("stop", f"{why}; the guest patch has no undo")
        return
    if t.dirty is None:  # while the set was prepared nobody asked for buckets
        t.classify()
    batches = (*t.plan.batches, *t.extra)
    first = 0 if whole else t.batch
    takes = [substitutes.members(t, one, index) for index, one in enumerate(batches)]
    sequence = _out_of_service(t, [name for take in takes[first : t.batch + 1] for name in take])
    gone_first = {name for one in sequence for name in one.take}
    for index in range(min(t.batch, len(batches) - 1), first - 1, -1):
        touched = [name for name in reversed(takes[index]) if _touched(t, name) and name not in gone_first]
        by_version: dict[str | None, list[str]] = {}
        for name in touched:
            by_version.setdefault(t.rollout.back_exact(name), []).append(name)
        sequence += [Batch(take=tuple(names), why=f"back: {batches[index].why}") for names in by_version.values()]
    t.put(
        phase=move(t.phase, Cause.ROLL_BACK),
        back=True,
        sequence=tuple(sequence),
        batch=0,
        step=0,
        step_ended_ms=None,
        step_command="",
        reason=why,
        paused_from=None,
        question="",
        gate_ms=None,
        held_ms=None,
        not_before_ms=0,
        queue=(),
        progress_ms=t.now,
        direction_ms=t.now,
        given_up=0,
        releasing=False,
        rested_ms=None,
        surge=msgspec.structs.replace(t.surge, back_from=0 if whole else t.surge.mark) if t.surge.fresh else t.surge,
    )
    substitutes.turned_back(t, t.substitutes.joined)
    t.memory = {}
    t.remembered = True
    t.dirty = None
    t.classify()
    t.note("roll-back", f"{why}; {wording.instances(sum(len(one.take) for one in sequence))} to go back")


def _out_of_service(t: Turn, names: list[str]) -> list[Batch]:
    """What was touched and is out of service goes back first: that needs no budget, and it gives capacity back. The others may
    otherwise wait for a floor that nothing lifts.
    """
    sick = [name for name in reversed(names) if _touched(t, name) and _out(t, name)]
    by_version: dict[str | None, list[str]] = {}
    for name in sick:
        by_version.setdefault(t.rollout.back_exact(name), []).append(name)
    size = t.rollout.largest
    return [
        Batch(take=tuple(group[start : start + size]), why="back: out of service, goes first")
        for group in by_version.values()
        for start in range(0, len(group), size)
    ]


def _touched(t: Turn, name: str) -> bool:
    """Was it changed? In a surge one that was not changed in place is gone, or as it was."""
    return name in t.memory and (t.plan.surge is None or name in t.surge.changed)


def _out(t: Turn, name: str) -> bool:
    seen = t.seen.get(name)
    return seen is not None and seen.service is Service.OUT and seen.bucket is not Bucket.IN_FLIGHT
