"""What must hold when a tale has been told, read from the world's own books and from the journal.

Rules:

1. Always: what reached the world was in the journal, once; one command at a time, in the plan's order; the floor; no more operations on a VM than the
   plan allows; a replay reaches every State; repairs are as before, and the mode is the one that the table of ends says, by what was stale
   when that was decided (repairs come back after it, and may replace it at once).
2. Rolled back, every VM that was to go back, and was not given up or skipped, runs what it ran.
3. Where nobody turns it around (`Tale.same`) it comes to the same end as without a death: what each VM runs, every operation that began on it, the model,
   the mode, repairs, the ending. Unless, in this telling,
   a. the platform repaired somebody before the rollout had ended: where nobody is there before repairs are suspended, or while the set is
      released, it is another set afterwards;
   b. an operation failed, left everything as it was, and its answer died with the executor: it cannot be told from a request that was lost, and is
      tried again;
   c. the rollout's deadline passed: time in which nobody is there counts;
   d. a person had to say whether a restart was done, and said it was: that instance is an exception, so the ending and the mode are not compared, all else is;
   e. too much failed in a batch of which the floor let some wait: how far these had come by then is a matter of when others serve again, so they are
      not compared, nor who comes where the platform replaces one of them; all else is, unless one of them is given up on the way back, which may end it;
   f. the way back was broken off, and went in other batches: who is out of service when it turns around goes first, and that passes with time. Who was
      given up is compared, and who else was to go back is not (`differences`).
4. Where it rests and was released, repairs are as before, and so is the mode, unless that one would move somebody.
"""

from __future__ import annotations

from typing import Any

from planner.commands import Kind
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.plan import MovedBy, Plan
from planner.rollout import Asked, Rollout, State
from planner.trace import Turn
from tests.fleet import Run, WatchedWorld, as_before
from tests.kills.grounds import Ground, attributed
from tests.kills.tales import Tale
from tests.test_resume import begun, differences, footprint, replays, sent_as_written
from tests.test_rollout_properties import (
    bounded,
    held_back,
    keeps_the_floor,
    repaired_meanwhile,
    safe,
    taken_for_lost,
    the_mode_is_as_said,
)

LATER_MS = 3_600_000
"""Whoever stops at a failure does not wait for what is still starting."""


def judged(
    tale: Tale, place: Ground, plan: Plan, journal: Any, state: State, expected: dict[str, Any] | None
) -> dict[str, Any]:
    """The footprint, if everything holds. expected: the one that is left where nobody is killed."""
    look(place)
    run = run_of(place, plan, journal, state)
    world = run.world
    sent_as_written(run)
    safe(run, tale.case)
    keeps_the_floor(run)
    bounded(run, tale.case)
    replays(run)
    assert not world.repairs_suspended
    if state.ending == "rollback" and "rollback" in tale.words:
        went_back(run, place)
    the_mode_is_as_said(run, place.epoch_ms)
    another = other_end(run)
    place.pass_time(LATER_MS)
    look(place)
    left = footprint(run)
    assert begun(run) == left["begun"]
    waited = held_back(run)
    if expected is not None and tale.same and another is not None and waited is not None:
        differs = differences(run, left, expected, waited)
        assert not differs.keys() - set(another), f"another end than without a death: {differs}"
    return left


def look(place: Ground) -> None:
    """Everything that has ended has left its effect, and run-commands are as their content tells."""
    for vm in place.world.vms.values():
        place.world.state(vm)
        vm.commands = place.ran(vm)


def released(journal: Any, plan: Plan, world: WatchedWorld) -> None:
    """Rule 4, whenever an executor has come to its end."""
    turns = [one for one in journal.records() if isinstance(one, Turn)]
    if not turns or not any(note.rule == "released" for note in turns[-1].notes):
        return
    assert not world.repairs_suspended, "the set is released, and repairs are suspended"
    stays = plan.scale_set.mode is UpgradeMode.MANUAL or all(world.is_latest(vm) for vm in world.vms.values())
    changed = any(one.kind is Kind.SET_MODE for turn in turns for one in turn.commands)
    expected = plan.scale_set.mode if stays or not changed else plan.work_mode
    assert world.mode == expected.value, f"the set is released, and in mode {world.mode}"


def run_of(place: Ground, plan: Plan, journal: Any, state: State) -> Run:
    """As the other tests look at runs."""
    if place.epoch_ms:
        place.world.log = attributed(
            place.world.log, list(Run(plan, place.world, journal, None).turns()), place.epoch_ms
        )  # type: ignore[arg-type]

    class Driven:
        pass

    driven: Any = Driven()
    driven.state, driven.rollout = state, Rollout(plan)
    return Run(plan, place.world, journal, driven)


def went_back(run: Run, place: Ground) -> None:
    """Rule 2."""
    state, world = run.state, run.world
    if run.plan.moved_by is MovedBy.PLATFORM:
        place.pass_time(60_000)
    left = {name for name, memory in state.memory.items() if memory.quarantined or memory.skipped}
    for name in {name for batch in state.sequence or () for name in batch.take if name in world.vms} - left:
        assert as_before(run.plan, world, world.vms[name]), f"{name} is not as before"


def other_end(run: Run) -> tuple[str, ...] | None:
    """Rule 3: what of the footprint is not compared; None: nothing is."""
    assert run.state.phase is Phase.ENDED
    lost = taken_for_lost(run)
    if (
        repaired_meanwhile(run)
        or any(one.in_vain and one.command in lost for one in run.sent())
        or run.state.reason == "the rollout's deadline passed"
    ):
        return None
    asked = any(record.state.question == "no-evidence" for record in run.turns())
    said = any(one.asked is Asked.SKIP for one in run.journal.requests(0))
    return ("ending", "mode") if asked and said else ()
