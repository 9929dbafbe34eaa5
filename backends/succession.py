"""Rollouts of one set, one after another: what an earlier one left for a later one to tell, and which one came since.

Rules this module decides:

1. A mode, or suspended repairs, that a rollout found as an earlier one had left them are that one's to bring back: whoever looks at the later
   one is told. It goes back as far as each found what the one before had left.
2. A rollout that was never looked at from (no turn) is none that came since.
"""

from __future__ import annotations

from typing import NamedTuple

from backends.operate import has_ended, plan_of
from backends.store import Entry, Store
from planner.errors import InputError
from planner.plan import Plan
from planner.standing import Change, standing


class Left(NamedTuple):
    """What a rollout left changed, and the plan that says how it was before."""

    rollout: str
    plan: Plan
    changes: frozenset[Change]


class Since(NamedTuple):
    """A later rollout of the same set; ending: empty while it is under way."""

    rollout: str
    ending: str


def may_have_left(store: Store, key: str, plan: Plan) -> bool:
    """Did an earlier rollout of this set (its lease's key) change the mode as this plan does?"""
    for one in store.rollouts():
        if one.scale_set != key or store.journal(one.id).last_state() is None:
            continue
        try:
            before = plan_of(store, one).plan
        except InputError:  # its copy was edited: nothing is known of it
            continue
        if (before.scale_set.mode, before.work_mode) == (plan.scale_set.mode, plan.work_mode):
            return True
    return False


def left_before(store: Store, entry: Entry, plan: Plan) -> Left | None:
    """Rule 1."""
    older = [one for one in store.rollouts() if one.scale_set == entry.scale_set]
    older = older[: next((n for n, one in enumerate(older) if one.id == entry.id), 0)]
    for one in reversed(older):
        journal = store.journal(one.id)
        if journal.last_state() is None:
            continue
        try:
            before = plan_of(store, one).plan
        except InputError:  # its copy was edited: nothing is known of it
            return None
        if before.scale_set.mode is plan.scale_set.mode and not before.suspend_repairs:
            continue  # it found what this one found
        now = standing(before, journal.records())
        if now is None or not has_ended(now.state):
            return None
        found_so = {Change.MODE} if now.scale_set.model.mode is plan.scale_set.mode else set[Change]()
        found_so |= set() if plan.suspend_repairs else {Change.REPAIRS}
        left = found_so & {one.change for one in now.temporary}
        return Left(one.id, before, frozenset(left)) if left else None
    return None


def since(store: Store, entry: Entry) -> Since | None:
    """The newest later rollout of the same set (rule 2)."""
    for one in reversed(store.rollouts()):
        if one.id == entry.id:
            return None
        state = store.journal(one.id).last_state() if one.scale_set == entry.scale_set else None
        if state is not None:
            return Since(one.id, state.ending if has_ended(state) else "")
    return None
