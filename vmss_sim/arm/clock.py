"""What time it is in the emulated world. The endpoint asks before each request; worlds are advanced to the answer.

Virtual time only ever moves between two requests, or while one is answered; a clock says by how much. Those that stand still while
clients work are in `standing_clocks.py`. Rules this module decides:

1. A *gap* is the wall time from one request to the next. Time is one for all clients: gaps are of the whole emulator, waits of the
   operation that is waited for.
2. *Waits.* After an answer that says an operation runs (it was accepted, or polled and is InProgress) the time until that operation is
   polled again is a wait. During a sleep that was told (`sleep`) everybody waits.
3. *Work.* Any other gap shorter than 10 s is a client at work. *Undeclared* is a gap of 10 s or more: somebody waits and does not say so.
4. `RealClock`, N times as fast: a wait counts wall x N, a poll's at most the client's own interval (`nominal`: the Retry-After that is
   asked for, else 30 s, what Azure's clients do by themselves). Work counts 1:1. Undeclared gaps count wall x N, and what that is more than
   the wall's is distortion. At speed 1 everything counts 1:1.
5. It tells clients to come back after max(1, round(nominal / N)) s; at speed 1 only what was asked for, as Azure does.
6. An answer that refuses and says when to come back (`Retry-After`) is a told sleep: it says that time as the clock has it.
7. A client whose requests say that it tells every wait (`http.WAITS`) waits in told sleeps alone: none of its polls is a wait or moves time, it
   is told to come back in virtual seconds, and when an answer refuses it sleeps, and says so, by itself.
8. The ledger is of the measured time only: from the first request that changes the scale set, and without what comes after the last one's work
   was done. Distortion of more than 5 % of the measured duration makes any figure about availability worthless.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from vmss_sim.arm.sleepers import OVER, SleepAnswer, Sleeper

NOMINAL_S = 30
"""How often Azure's own clients poll where nobody tells them (azure-core, az)."""
LONG_S = 10.0
TOO_MUCH = 0.05
REMEMBERED = 10_000  # operations that somebody was told of and nobody polled to the end

Kind = Literal["polls", "declared", "work", "undeclared", "run_on"]
"""What moved time. run_on: nobody's wait: it was moved by hand, or to where the last report sees everything ended."""


class Clock(Protocol):
    """Virtual time, in ms since the start. It never goes back."""

    def now_ms(self) -> int:
        """The present."""

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        """A client asks for an operation that is running; it ends then (None: something else will end it)."""

    def hides(self, name: str) -> bool:
        """Would who polls this operation not know yet that it has ended?"""

    def accepted(self, *, tells: bool = False) -> int | None:
        """A client was told that an operation runs: after how many seconds of its own it should ask (None: not said). tells: rule 7."""


class Spent(msgspec.Struct, kw_only=True):
    """Where virtual time went, in ms; uncounted, excess: wall time that did not count, virtual time beyond the wall's."""

    polls_ms: float = 0
    declared_ms: float = 0
    work_ms: float = 0
    undeclared_ms: float = 0
    run_on_ms: float = 0
    uncounted_ms: float = 0
    excess_ms: float = 0

    @property
    def distortion_ms(self) -> float:
        """What makes virtual time other than the client's own would have been."""
        return self.uncounted_ms + self.excess_ms

    def add(self, other: Spent) -> None:
        """Take another's."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Ledger:
    """Rule 8. `spent`: of the measured time."""

    def __init__(self) -> None:
        self.spent, self._tail, self._begun = Spent(), Spent(), False

    def note(self, kind: Kind, virtual_ms: float, *, busy: bool, uncounted_ms: float = 0, excess_ms: float = 0) -> None:
        """Time passed. busy: something that a client began was going on."""
        made = Spent(uncounted_ms=uncounted_ms, excess_ms=excess_ms)
        setattr(made, f"{kind}_ms", virtual_ms)
        (self.spent if busy and self._begun else self._tail).add(made)

    def changing(self) -> None:
        """A request that changes something: what came before it belongs to it, unless it is the first."""
        if self._begun:
            self.spent.add(self._tail)
        self._begun, self._tail = True, Spent()


def distortion(spent: Spent, duration_ms: int) -> float:
    """Distortion as a share of the measured duration; infinite where all of it was distortion."""
    if not spent.distortion_ms:
        return 0.0
    return spent.distortion_ms / duration_ms if duration_ms > 0 else math.inf


class World(Protocol):
    """What a clock needs to know of what it drives."""

    def advance(self, to_ms: int) -> None:
        """Let everything happen to that time."""

    def runs(self, name: str) -> bool:
        """Does this operation still run?"""

    def idle_at(self) -> int | None:
        """When the next thing happens; None: nothing will."""


class BaseClock:
    """What all clocks share: the timeline, who was told what, the ledger. `wall`: seconds, from any start."""

    kind = ""
    speed = 1.0

    def __init__(self, *, retry_after_s: int | None = None, wall: Callable[[], float] = time.monotonic) -> None:
        self.retry_after_s = retry_after_s
        self.nominal_s = retry_after_s or NOMINAL_S
        self.wall = wall
        self.ledger = Ledger()
        self.world: World | None = None
        self._now_ms = 0.0
        self._wall_s = wall()
        self._busy = False
        self._told: dict[str, tuple[float, float]] = {}

    def now_ms(self) -> int:
        """The present."""
        return int(self._now_ms)

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        """See `Clock`."""

    def hides(self, name: str) -> bool:  # noqa: ARG002
        """See `Clock`."""
        return False

    def accepted(self, *, tells: bool = False) -> int | None:
        """See `Clock`."""
        return self.retry_after_s if tells else self._shortened()

    def _shortened(self) -> int | None:
        """What `accepted` says to a client whose waits this clock makes short."""
        return self.retry_after_s or 1

    def arrived(self, poll: str = "", port: int = 0) -> None:  # noqa: ARG002
        """A request is there. poll: the operation that it asks for; port: of the client, 0: not of this machine."""
        wall = self.wall()
        self._pass(wall, poll)
        self._wall_s = max(wall, self._wall_s)

    def answered(self, poll: str = "", told: str = "", *, busy: bool = False, port: int = 0) -> None:  # noqa: ARG002
        """It was answered. told: the operation of which the answer says that it runs. busy: does anything run from here on?"""
        self._told.pop(poll, None)
        if told:
            self._told[told] = (self._wall_s, self._now_ms)
            if len(self._told) > REMEMBERED:
                self._give_up(next(iter(self._told)))
        self._busy = busy

    def _give_up(self, name: str) -> None:
        """Nobody will poll this operation any more."""
        del self._told[name]

    def advance(self, by_ms: float) -> None:
        """Somebody who does not sleep says that time passes."""
        self._move(self._now_ms + by_ms, "run_on", busy=self._busy)

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> SleepAnswer:
        """A client is about to sleep that long, and says so. sleeper: one who comes back with a ticket; None: who does not."""
        raise NotImplementedError

    def back(self, ticket: str) -> SleepAnswer:  # noqa: ARG002
        """A sleeper comes back with its ticket."""
        return OVER

    def settle(self) -> None:
        """Count what can be counted by now of the time that passes by itself."""

    def refused(self, retry_after_s: int) -> int:
        """Rule 6: for how many seconds of its own the client is to wait."""
        return max(1, round(self.sleep(retry_after_s).wall_s))

    def catch_up(self, to_ms: int) -> None:
        """The worlds went on without us, for a last report: that is nobody's time."""
        self._now_ms = max(self._now_ms, float(to_ms))

    def begin_at(self, now_ms: int) -> None:
        """Stand at a time, with a new ledger: after a reset, or a restored snapshot."""
        self._now_ms, self.ledger, self._told = float(now_ms), Ledger(), {}
        self._wall_s, self._busy = self.wall(), False

    def _move(self, to_ms: float, kind: Kind, *, busy: bool) -> None:
        moved = max(0.0, to_ms - self._now_ms)
        self._now_ms += moved
        self.ledger.note(kind, moved, busy=busy)

    def _pass(self, wall_s: float, poll: str) -> None:
        """What the gap that ends now is worth."""


class RealClock(BaseClock):
    """Rules 4 and 5."""

    kind = "real"

    def __init__(
        self, *, speed: float = 1, retry_after_s: int | None = None, wall: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(retry_after_s=retry_after_s, wall=wall)
        self.speed = speed
        self._asleep_until_s = -math.inf

    def _shortened(self) -> int | None:
        """Rule 5."""
        return self.retry_after_s if self.speed == 1 else max(1, round(self.nominal_s / self.speed))

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> SleepAnswer:  # noqa: ARG002
        """A told sleep, in the wall's seconds: several at once pass at once."""
        self.arrived()
        wall_s = seconds / self.speed
        self._asleep_until_s = max(self._asleep_until_s, self._wall_s + wall_s)
        return SleepAnswer(wall_s)

    def settle(self) -> None:
        """At speed 1 the wall is the clock; else a told sleep counts as it passes, and the rest when the next request shows what it was."""
        if self.speed == 1:
            self.arrived()
            return
        until_s = min(self.wall(), self._asleep_until_s)
        if until_s > self._wall_s:
            self._pass(until_s, "")
            self._wall_s = until_s

    def begin_at(self, now_ms: int) -> None:
        """See `BaseClock`."""
        super().begin_at(now_ms)
        self._asleep_until_s = -math.inf

    def _pass(self, wall_s: float, poll: str) -> None:
        gap_s = max(0.0, wall_s - self._wall_s)
        asleep_s = min(gap_s, max(0.0, self._asleep_until_s - self._wall_s))
        if asleep_s:
            self._count("declared", asleep_s * self.speed)
        rest_s = gap_s - asleep_s
        if poll in self._told:
            from_wall_s, from_ms = self._told[poll]
            waited_s = (wall_s - from_wall_s) * self.speed
            if self.speed > 1:
                waited_s = min(waited_s, self.nominal_s)
            self._count("polls", max(0.0, from_ms + waited_s * 1000 - self._now_ms) / 1000)
        elif rest_s < LONG_S:
            self._count("work", rest_s)
        else:
            self._count("undeclared", rest_s * self.speed, excess_s=rest_s * (self.speed - 1))

    def _count(self, kind: Kind, virtual_s: float, excess_s: float = 0) -> None:
        self._now_ms += virtual_s * 1000
        self.ledger.note(kind, virtual_s * 1000, busy=self._busy, excess_ms=excess_s * 1000)
