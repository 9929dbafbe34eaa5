"""A rollout's status as a value, and in words: what `status`, `history` and the choices have in common.

Rules this module decides:

1. What is told is what was last written down, with its time; whether an executor is alive is what the lease tells.
2. Words that stand in a plan or come from Azure are told with control characters removed.
"""

from __future__ import annotations

import msgspec

from backends.lease import LASTS_MS, Holder, is_gone
from backends.store import Entry
from backends.succession import Left, Since
from planner.phases import Phase
from planner.plan import Plan
from planner.planfile import Forecast
from planner.standing import Standing, Temporary, Trouble, temporary
from planner.trace import Executor, LetGo, Unread
from vmss_sim.report.console import plain
from vmss_sim.report.times import when

CUT_OFF = "killed, or cut off from its store"
FEW = 8
"""So many ids are listed beside a number."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All that `status` tells of one rollout. now_ms: wall clock. store: what a command needs beside the id to find it. unread: why the
    set cannot be looked at, where that is so. last: the last executor; let_go: its last word, unless it was killed. left: what an earlier rollout of the set left changed; since: one that came later.
    """

    entry: Entry
    plan: Plan
    forecast: Forecast | None
    standing: Standing | None
    holder: Holder | None
    now_ms: int
    store: str = ""
    unread: Unread | None = None
    last: Executor | None = None
    let_go: LetGo | None = None
    left: Left | None = None
    since: Since | None = None

    @property
    def temporary(self) -> tuple[tuple[Plan, Temporary], ...]:
        """What is not as it was, each with the plan that says how it was: an earlier rollout's where this one has ended and found it so."""
        now = self.standing
        if now is None:
            return ()
        own = tuple((self.plan, one) for one in now.temporary)
        if self.left is None or now.state.phase is not Phase.ENDED:
            return own
        before = tuple(
            (self.left.plan, msgspec.structs.replace(one, text=f"{one.text} (since {self.left.rollout})"))
            for one in temporary(self.left.plan, now.state, now.scale_set)
            if one.change in self.left.changes and not any(one.change is it.change for _, it in own)
        )
        return own + before

    @property
    def alive(self) -> bool:
        """Is an executor at work on it, as far as the lease tells?"""
        held = self.holder
        if held is None or held.rollout != self.entry.id or is_gone(held):
            return False
        return held.age_ms(self.now_ms) < LASTS_MS


def state_of(status: Status) -> str:
    """The state in one or two words."""
    now = status.standing
    if now is None:
        return "not begun"
    state = now.state
    if state.phase is Phase.ENDED:
        return state.ending
    if state.phase is Phase.PAUSED:
        return "asks" if state.question else "paused"
    return state.phase.value if status.alive else f"{state.phase.value}, nobody at work"


def why_of(status: Status) -> str:
    """Why it is in that state, in a sentence: instance, zone, Azure's error, and when that was seen."""
    now, blind = status.standing, unread_of(status)
    if now is None:
        return plain(blind or "nothing was looked at or sent yet")
    text = now.doing.rstrip(".")
    if now.failed and now.state.ending != "finish":
        text += "; " + trouble(now.failed[0])
    text = f"{text} (seen {when(now.at_ms)})"
    return plain(f"{blind}; before that: {text}" if blind else text)


def unread_of(status: Status) -> str:
    """Why the set cannot be looked at, and since when; empty where it can."""
    unread = status.unread
    if unread is None:
        return ""
    what = f"cannot reach {unread.host}" if unread.host else "the set cannot be looked at"
    return f"{what} since {when(unread.wall_ms)}: {unread.why.rstrip('.')}"


def trouble(one: Trouble, *, message: bool = True) -> str:
    """`instance 7 (zone 2) did not come to serve in time, CODE: message, time`. message: what a code says may have been said before."""
    zone = f" (zone {one.zone})" if one.zone else ""
    why = f" {one.why}" if one.why != one.code else ""
    error = f"{',' if why else ''} {one.code}" if one.code else ""
    error += f": {one.message.rstrip('.')}" if one.message and message else ""
    return plain(f"instance {one.id}{zone}{why}{error}, {when(one.at_ms)}")


def executor_of(status: Status) -> str:
    """Is an executor alive, and how old is its lease; what became of the last one."""
    held, last, left = status.holder, status.last, status.let_go
    if held is None or held.rollout != status.entry.id:
        other = f" ({held.executor} works on {held.rollout})" if held is not None else ""
        over = status.standing is not None and status.standing.state.phase is Phase.ENDED
        if left is not None and not over:
            other += f"; the last let go {when(left.wall_ms)}: {left.why}"
        elif last is not None and left is None and not over:
            other += f"; {last.name} was {CUT_OFF}"
        return plain(f"none{other}")
    age = held.age_ms(status.now_ms)
    heard = f"its lease was renewed {age / 1000:.0f} s ago"
    if status.alive:
        return f"{held.executor} is at work, {heard}"
    came = f"{CUT_OFF} (it did not let go)" if left is None else f"it let go {when(left.wall_ms)}: {left.why}"
    return plain(f"{held.executor} is gone, {heard}: {came}")


def counts_of(now: Standing) -> str:
    """How many instances are where, with their ids where they are few."""
    back = (("as before", now.old), ("not yet back", now.on_target))
    groups = (
        *(back if now.state.back else (("on target", now.on_target), ("old", now.old))),
        ("in flight", now.in_flight),
        ("failed", tuple(one.id for one in now.failed)),
        ("skipped", now.skipped),
    )
    told = (
        f"{len(ids)} {word}" + (f" ({', '.join(ids)})" if 0 < len(ids) <= FEW and len(ids) < now.total else "")
        for word, ids in groups
        if ids or word != "skipped"
    )
    return ", ".join(told)


def place_of(status: Status) -> str:
    """Which Resource Manager, and how it is reached: what a command takes where nothing else is said."""
    where = status.entry.where
    if where is None:
        return "not kept: say --endpoint, --ca and --credential where it was begun with them"
    more = f", certificate authority {where.ca}" if where.ca else ""
    return f"{where.name}{more}, credential {where.credential}"


def temporary_of(status: Status) -> str:
    """What is, or may be, still changed, in a phrase; empty where nothing is."""
    return "; ".join(changed_of(status))


def changed_of(status: Status) -> tuple[str, ...]:
    """What is, or may be, still changed, one thing after the other."""
    unshown = status.standing.unshown if status.standing is not None else ()
    return (*(one.text for _, one in status.temporary), *unshown)
