"""What may be asked of a rollout now, from where it stands.

Rule this module decides: it follows from the phase, the question that stands open, and whether an executor is alive; each choice says
what it moves.
"""

from __future__ import annotations

import msgspec

from planner.model import UpgradeMode
from planner.phases import Phase
from planner.plan import MovedBy, OnFailure, Plan
from planner.rollout import Asked
from planner.standing import Change, Standing, Temporary


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may be asked now. moves: how many instances it moves; None: that depends."""

    asked: Asked
    does: str
    moves: int | None = None
    ids: tuple[str, ...] = ()
    reason_needed: bool = False


def _comes_back(plan: Plan, now: Standing, one: Temporary) -> bool:
    """Would `release` undo this? Not what was added, and not the mode where the platform would move something in it."""
    stale = plan.scale_set.mode is not UpgradeMode.MANUAL and (one.ids or now.to_go)
    return one.change is Change.REPAIRS or (one.change is Change.MODE and not stale)


def options(plan: Plan, now: Standing, *, alive: bool) -> tuple[Option, ...]:
    """All of them, what is most likely wanted first."""
    state = now.state
    if state.phase is Phase.ENDED:
        return ()
    made: list[Option] = []
    sick = tuple(one.id for one in now.failed)
    left = len(now.to_go) + len(now.in_flight)
    ending = Phase.FINISHING in (state.phase, state.paused_from)
    platform = plan.moved_by is MovedBy.PLATFORM

    def add(asked: Asked, does: str, moves: int | None = None, ids: tuple[str, ...] = (), *, why: bool = False) -> None:
        made.append(Option(asked=asked, does=does, moves=moves, ids=ids, reason_needed=why))

    open_ids = state.ticket.command.ids if state.ticket is not None and state.question else ()
    if state.question == "no-evidence":
        add(Asked.RETRY, "it took no effect: try again", len(open_ids) or None, open_ids)
        add(Asked.SKIP, "leave these alone and go on", left, open_ids, why=True)
    elif state.question == "still-running":
        add(Asked.RESUME, "look again: it goes on by itself once that has ended", left)
    elif state.phase is Phase.PAUSED and state.reason.startswith("approval"):
        add(Asked.APPROVE, f"batch {now.batch} may begin", left)
    elif state.phase is Phase.PAUSED or not alive:
        again = state.phase is Phase.PAUSED and sick and plan.failures.then is OnFailure.PAUSE
        add(Asked.RESUME, "judged again: it rests again as long as too many failed" if again else "go on", left)
    elif not ending:
        add(Asked.PAUSE, "rest after the current operation", 0)
    if sick and not ending and state.question != "no-evidence":
        add(Asked.RETRY, "forget that these failed, and try them again", len(sick), sick)
        add(Asked.SKIP, "leave these as they are and go on without them", None, sick, why=True)
        if not platform and plan.surge is None:
            add(Asked.REPLACE, "delete these and add as many", len(sick), sick, why=True)
    if not ending and not state.back:
        touched = sum(1 for name in state.memory if name in now.scale_set.instances)
        add(Asked.ROLLBACK, "everything that was moved goes back", touched)
        add(
            Asked.EMERGENCY,
            f"the same, down to {plan.emergency_floor} in service instead of {plan.rollback_floor}",
            touched,
            why=True,
        )
    if not ending:
        back = "the model goes back, in mode manual" if platform else "the model goes back"
        kept = back if plan.ends["abort"].model == "pinned" and plan.resolved.reverse else "end here"
        add(Asked.ABORT, f"final, no rollback afterwards: what was moved stays, {kept}", 0)
    held = state.phase is Phase.PAUSED and not ending and not platform and state.ticket is None
    if held and any(_comes_back(plan, now, one) for one in now.temporary) and now.scale_set.model.mode in UpgradeMode:
        add(Asked.RELEASE, "undo the temporary changes and stay paused", 0)
    return tuple(made)
