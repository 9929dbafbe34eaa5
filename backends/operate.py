"""A rollout from the outside: begin it, find its executor, take it over, drive it.

Rules this module decides:

1. Before a new rollout is written down the set is looked at once: a difference that the plan's drift table refuses, or a
   finding of the preflight, refuses it, and nothing is sent. So does a plan that has expired; a rollout that was begun goes on, whatever the time.
2. A plan that was begun and has not ended is gone on with, and one that was carried out is not begun again unless that is said:
   a pipeline that runs once more does nothing new. At another Resource Manager it is another rollout (`where.py`). A rollout is written down under the lease, so two cannot begin one plan.
3. An executor that ends by itself says so as the last thing under its lease, whatever ended it: one that says nothing was killed, or cut off from its store.
4. A lease that its holder may have left behind is waited for: one beat to see whether it lives, then until it runs out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from backends.executor import Executor, Listener, Signals, Why
from backends.journal import Journal
from backends.lease import BEAT_S, LASTS_MS, Held, Lease, LeaseLost, is_gone, me, space
from backends.protocol import Backend
from backends.store import Entry, HeldByAnother, Store, new_entry, now_ms
from backends.where import Where
from planner.drift import Absorb, Difference, instance_differences, model_differences
from planner.errors import InputError, PlatformError
from planner.model import ScaleSet
from planner.phases import Phase
from planner.plan import Plan
from planner.planfile import PlanFile, decode
from planner.rollout import Asked, Rollout, State
from planner.trace import Executor as Begins
from planner.trace import LetGo, Opened, Recovered

Says = Callable[[str], None]
RECOVERED = ", recovered"
"""Ends the tool of a rollout whose journal begins with what `recover` found."""


def silent(_text: str) -> None:
    """Nobody is told."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an executor came to its end. error: what broke it off, though the rollout itself is as it was written."""

    why: Why
    state: State
    exit_code: int
    error: str = ""


def differences(plan: Plan, scale_set: ScaleSet, *, left: bool = False) -> tuple[Difference, ...]:
    """What moved since the plan was made, the set itself first. left: an earlier rollout may have left the mode that this one works in; nobody else's
    choice is taken for it, since it would be undone in the end.
    """
    rollout = Rollout(plan)
    state = rollout.start()
    found = model_differences(
        plan,
        scale_set.model,
        modes=rollout.modes(state) if left else frozenset({plan.scale_set.mode}),
        images=rollout.images(state),
        says=rollout.says(state),
    )
    return (*found, *instance_differences(plan, scale_set))


def refuse_drift(found: tuple[Difference, ...]) -> None:
    """Rule 1. Raises InputError for the first difference that is refused."""
    refused = [one for one in found if one.verdict is Absorb.REFUSE]
    if refused:
        first = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise InputError(
            f"the scale set has changed since the plan was made: {first.kind}{more}",
            first.subject,
            first.found,
            first.expected,
            "make the plan again, and have it vetted again; nothing was sent",
        )


def refuse_expired(read: PlanFile) -> None:
    """Rule 1: a plan begins no rollout once it has expired. Raises InputError."""
    expires, now = read.plan.expires, now_ms()
    try:
        over = bool(expires) and now >= datetime.fromisoformat(expires).timestamp() * 1000
    except ValueError as error:
        raise InputError("no such day", "plan.expires", expires, str(error)) from error
    if over:
        raise InputError(
            "the plan has expired",
            "plan.expires",
            expires,
            f"a time after {datetime.fromtimestamp(now / 1000, tz=UTC):%Y-%m-%dT%H:%MZ}",
            "make the plan again, and have it vetted again; nothing was sent",
        )


def latest(store: Store, read: PlanFile, where: Where | None = None) -> tuple[Entry, State | None] | None:
    """The newest rollout of this plan, and where it stands (rule 2). where: at this Resource Manager; None: at any."""
    for entry in reversed(store.rollouts()):
        here = where is None or entry.where is None or entry.where.key == where.key
        if here and entry.plan_sha256 == read.sha256:
            return entry, store.journal(entry.id).last_state()
    return None


def broken_off(entry: Entry, state: State | None) -> bool:
    """Was its journal lost, and does the new one not say yet where it stands? Who went on from nothing would not know what was moved."""
    return state is None and entry.tool.endswith(RECOVERED)


def has_ended(state: State | None) -> bool:
    """Has it come to its end?"""
    return state is not None and state.phase is Phase.ENDED


def begin(
    store: Store, read: PlanFile, data: bytes, tool: str, *, where: Where | None = None, says: Says = silent
) -> tuple[Entry, Held]:
    """Write a new rollout down (rule 2); nothing is sent. Returns it with its lease. Raises HeldByAnother."""
    before = latest(store, read, where)
    entry = new_entry(store, read, tool, where)
    held = take(store, entry, says=says)
    try:
        known = latest(store, read, where)
        met = None if known is None or known[0] == (before and before[0]) else known[0]
        if met is not None:
            raise InputError("this plan was begun just now by somebody else", met.id, "", "", "`vmss-sim status` tells")
        store.create(entry, data)
    except BaseException:
        held.release()
        raise
    return entry, held


def plan_of(store: Store, entry: Entry) -> PlanFile:
    """The plan as it was applied. Raises InputError where the store's copy was edited."""
    read = decode(store.plan_file(entry.id), f"{store.name} {entry.id}", begun=True)
    if read.sha256 != entry.plan_sha256:
        raise InputError(
            "the store holds another plan than the one that was applied",
            entry.id,
            f"sha256 {read.sha256}",
            f"sha256 {entry.plan_sha256}",
        )
    return read


def take(
    store: Store,
    entry: Entry,
    *,
    says: Says = silent,
    beat_s: float = BEAT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Held:
    """The lease (rule 4). Raises HeldByAnother where the holder lives."""
    first: HeldByAnother | None = None
    waited = 0.0
    while True:
        try:
            return store.take(entry)
        except HeldByAnother as met:
            here = (met.holder.host, met.holder.space) == (me()[1], space()) and not is_gone(met.holder)
            beats = first is not None and met.holder.beat_ms != first.holder.beat_ms
            if here or beats:
                raise
            if first is None:
                first = met
                says(
                    f"{met.holder.executor} holds the lease and was heard of {met.age_ms // 1000} s ago; "
                    f"waiting at most {met.runs_out_ms / 1000:.0f} s to see whether it is alive"
                )
            step = min(max(met.runs_out_ms / 1000, 0.05), beat_s / 4)
            waited += step
            sleep(step)


def drive(
    store: Store,
    entry: Entry,
    plan: Plan,
    backend: Backend,
    signals: Signals,
    *,
    listen: Listener,
    says: Says = silent,
    held: Held | None = None,
    max_runtime_s: float | None = None,
    stay: bool = False,
    ask: Asked | None = None,
    reason: str = "",
    by: str = "",
    recovered: State | None = None,
) -> Ended:
    """Be the executor, until it ends or rests. held: the lease, where it is held already. ask: a request that is made first, once
    the lease is held. by: who is there, and asks. recovered: the State to begin with, where the journal before is lost.
    """
    if recovered is None and broken_off(entry, store.journal(entry.id).last_state()):
        raise InputError(
            "its recovery was broken off before it wrote down what it found",
            entry.id,
            "",
            "",
            "`vmss-sim recover` with its plan file finds it again; nothing was sent",
        )
    held = held or take(store, entry, says=says)
    lease = Lease(held)
    ends = "it broke off"
    with lease:
        journal = store.journal(entry.id, held.fence)
        if recovered is not None and journal.last_state() is not None:  # what was found is older than that
            raise InputError(
                "somebody else recovered it meanwhile", entry.id, "", "", "`vmss-sim status` tells; nothing was sent"
            )
        lease.last = lambda: journal.write(LetGo(wall_ms=now_ms(), why=ends))
        if journal.turns == 0:
            at = entry.where.name if entry.where is not None else ""
            journal.write(Opened(plan_sha256=entry.plan_sha256, tool=entry.tool, now_ms=entry.opened_ms, at=at))
        if recovered is not None:
            journal.write(Recovered(state=recovered, wall_ms=now_ms()))
        journal.write(Begins(name=me()[0], fence=held.fence, wall_ms=now_ms()))
        if ask is not None and not _asked(journal, ask, reason, by):
            journal.ask(ask, reason=reason, by=by)
        made = Executor(
            plan, backend, journal, lease, signals, listen=listen, max_runtime_s=max_runtime_s, stay=stay, user=by
        )
        try:
            why = made.run()
            ends = _LET_GO[why]
        except (LeaseLost, PlatformError, InputError) as error:
            refused = isinstance(error, InputError) and made.driver.before is None  # not even looked: nothing was sent
            # The journal is complete: what was sent goes on, and the next executor adopts it.
            made.gave_up(error)
            ends = str(error)
            return Ended(why=Why.DETACHED, state=made.state, exit_code=2 if refused else 3, error=str(error))
    code = plan.ends[made.state.ending].exit_code if why is Why.ENDED else 3
    return Ended(why=why, state=made.state, exit_code=code)


_LET_GO = {
    Why.ENDED: "the rollout has ended",
    Why.RESTS: "the rollout rests",
    Why.DETACHED: "it was told to, by a signal",
    Why.MAX_RUNTIME: "its time (--max-runtime) was over",
}


def _asked(journal: Journal, ask: Asked, reason: str, by: str) -> bool:
    """Was the same asked before, and nobody has heard it yet (an executor that could not look)?"""
    last = journal.last_state()
    unheard = journal.requests(last.request if last is not None else 0)
    last_one = unheard[-1] if unheard else None
    return last_one is not None and (last_one.asked, last_one.ids, last_one.reason, last_one.by) == (
        ask,
        (),
        reason,
        by,
    )


def is_alive(store: Store, entry: Entry) -> bool:
    """Does an executor work on this rollout, as far as the lease tells?"""
    holder = store.holder(entry.scale_set)
    if holder is None or holder.rollout != entry.id or is_gone(holder):
        return False
    return holder.age_ms(now_ms()) < LASTS_MS
