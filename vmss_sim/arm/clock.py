"""What time it is in the emulated world. The endpoint asks before each request; worlds are advanced to the answer.

Virtual time only ever moves between two requests, or while one is answered; a clock says by how much. Rules this module decides:

1. A *gap* is the wall time from one request to the next. Time is one for all clients: gaps are of the whole emulator, waits of the
   operation that is waited for.
2. *Waits.* After an answer that says an operation runs (it was accepted, or polled and is InProgress) the time until that operation is
   polled again is a wait. During a sleep that was told (`sleep`) everybody waits.
3. *Work.* Any other gap shorter than 10 s is a client at work. *Undeclared* is a gap of 10 s or more: somebody waits and does not say so.
4. `RealClock`, N times as fast: a wait counts wall x N, a poll's at most the client's own interval (`nominal`: the Retry-After that is
   asked for, else 30 s, what Azure's clients do by themselves). Work counts 1:1. Undeclared gaps count wall x N, and what that is more than
   the wall's is distortion. At speed 1 everything counts 1:1.
5. It tells clients to come back after max(1, round(nominal / N)) s; at speed 1 only what was asked for, as Azure does.
6. `ManualClock`: nothing but `advance` and told sleeps moves it.
7. `JumpClock`: time stands still while a client works. A poll of an operation that runs moves it to the first multiple of the poll interval
   after acceptance at which the operation has ended (interval 0: exactly there), but not past that moment of another operation that is
   polled, too, nor past the end of a told sleep (`sleepers.py`), and not at all while somebody works who told a sleep before: who polls comes
   again. A poll at another time shows nothing that those moments would not have shown. Where nobody knows the end (a rolling
   upgrade), the world goes on by the interval until it has ended, an hour at most.
8. Of both: a told sleep moves time to its own end, or to that of another, or to where a poll that somebody waits for would see its
   operation's end, whichever comes first, and while nobody works (`Others`); its sleeper comes back for the rest. Wall time that
   it is held for is a wait if nobody worked. After `LONG_S` in which no client asked for anything but whether it may go on, whoever seems to
   work is none, and not waited for any more. A sleep of somebody who does not come back moves time by its length at once. How much
   later than its end a sleeper is, is distortion.
9. What a JumpClock does not count is distortion: all work. An undeclared gap while something runs counts 1:1, so that a client that waits
   in its own way (reading the set every 30 s) gets there; while nothing runs it is not counted, and distortion.
10. An answer that refuses and says when to come back (`Retry-After`) is a told sleep: it says that time as the clock has it.
11. The ledger is of the measured time only: from the first request that changes the scale set, and without what comes after the last one's work
   was done. Distortion of more than 5 % of the measured duration makes any figure about availability worthless.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec

from vmss_sim.arm.sleepers import HELD_S, OVER, Sleeper, Sleepers, Told

NOMINAL_S = 30
"""How often Azure's own clients poll where nobody tells them (azure-core, az)."""
LONG_S = 10.0
FARTHEST_MS = 3_600_000
"""Rule 7: as far as one poll goes after an end that nobody knows."""
TOO_MUCH = 0.05
REMEMBERED = 10_000  # operations that somebody was told of and nobody polled to the end

Kind = Literal["polls", "declared", "work", "undeclared"]


class Clock(Protocol):
    """Virtual time, in ms since the start. It never goes back."""

    def now_ms(self) -> int:
        """The present."""

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        """A client asks for an operation that is running; it ends then (None: something else will end it)."""

    def hides(self, name: str) -> bool:
        """Would who polls this operation not know yet that it has ended?"""

    def accepted(self) -> int | None:
        """A client was told that an operation runs: after how many seconds of its own it should ask (None: not said)."""


class Spent(msgspec.Struct, kw_only=True):
    """Where virtual time went, in ms; uncounted, excess: wall time that did not count, virtual time beyond the wall's."""

    polls_ms: float = 0
    declared_ms: float = 0
    work_ms: float = 0
    undeclared_ms: float = 0
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
    """Rule 11. `spent`: of the measured time."""

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

    def accepted(self) -> int | None:
        """See `Clock`."""
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
                del self._told[next(iter(self._told))]
        self._busy = busy

    def advance(self, by_ms: float) -> None:
        """Somebody says that time passes."""
        self._move(self._now_ms + by_ms, "declared", busy=self._busy)

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> Told:
        """A client is about to sleep that long, and says so. sleeper: one who comes back with a ticket; None: who does not."""
        raise NotImplementedError

    def back(self, ticket: str) -> Told:  # noqa: ARG002
        """A sleeper comes back with its ticket."""
        return OVER

    def settle(self) -> None:
        """Count what can be counted by now of the time that passes by itself."""

    def refused(self, retry_after_s: int) -> int:
        """Rule 10: for how many seconds of its own the client is to wait."""
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


class StandingClock(BaseClock):
    """Rule 8: a clock that stands unless somebody moves it. patience_s: for how long, in wall time, to wait for whoever seems to work."""

    def __init__(
        self,
        *,
        retry_after_s: int | None = None,
        patience_s: float = LONG_S,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(retry_after_s=retry_after_s, wall=wall)
        self.patience_s = patience_s
        self.sleepers = Sleepers()
        self._heard_s = self._wall_s
        self._polling: dict[str, int] = {}

    def arrived(self, poll: str = "", port: int = 0) -> None:
        """See `BaseClock`."""
        if poll not in self._told:
            self._heard_s = self.wall()
        for name in [one for one, its in self._polling.items() if its == port]:
            del self._polling[name]
        if poll in self._told and port:
            self._polling[poll] = port
        super().arrived(poll, port)

    def answered(self, poll: str = "", told: str = "", *, busy: bool = False, port: int = 0) -> None:
        """See `BaseClock`."""
        if poll != told:
            self._polling.pop(poll, None)
            self._polling.pop(told, None)
        super().answered(poll, told, busy=busy, port=port)

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> Told:
        """Rule 8."""
        self.arrived()
        ends_ms = self._now_ms + seconds * 1000
        if sleeper is None:
            self._move(ends_ms, "declared", busy=self._busy)
            return OVER
        return self.back(self.sleepers.tell(ends_ms, self._wall_s, sleeper))

    def back(self, ticket: str) -> Told:
        """Rule 8."""
        wall = self.wall()
        one = self.sleepers.back(ticket, wall)
        if one is None:
            return OVER
        held_s = self._held_s(wall)
        if not held_s:
            self._wall_s = max(wall, self._wall_s)
            if one.ends_ms > self._now_ms:
                self._walk(min(one.ends_ms, self.sleepers.bound(self._now_ms, wall, ticket)))
        if one.ends_ms > self._now_ms:
            return Told(held_s or HELD_S, ticket)
        self.sleepers.over(ticket)
        self._heard_s = wall
        return OVER

    def begin_at(self, now_ms: int) -> None:
        """See `BaseClock`."""
        super().begin_at(now_ms)
        self.sleepers.forget()
        self._heard_s, self._polling = self._wall_s, {}

    def _held_s(self, wall_s: float) -> float:
        """For how long to hold a sleep, since somebody works; 0: it need not be."""
        others = self.sleepers.others
        held_s = others.busy_s(self.sleepers.pids, frozenset(self._polling.values()))
        return held_s if held_s and not self._out_of_patience(wall_s) else 0.0

    def _out_of_patience(self, wall_s: float) -> bool:
        """Rule 8: whoever seems to work is given up."""
        over = wall_s - self._heard_s >= self.patience_s
        if over:
            self.sleepers.others.give_up(self.sleepers.pids, frozenset(self._polling.values()))
        return over

    def _walk(self, to_ms: float) -> None:
        """Time passes for a sleep."""
        self._move(to_ms, "declared", busy=self._busy)

    def _move(self, to_ms: float, kind: Kind, *, busy: bool) -> None:
        moved = max(0.0, to_ms - self._now_ms)
        late_ms = self.sleepers.late_ms(self._now_ms, self._now_ms + moved)
        self._now_ms += moved
        self.ledger.note(kind, moved, busy=busy, excess_ms=late_ms)


class ManualClock(StandingClock):
    """Rule 6."""

    kind = "manual"

    def refused(self, retry_after_s: int) -> int:
        """As it is: who moves this clock sees to it."""
        return retry_after_s


class RealClock(BaseClock):
    """Rules 4 and 5."""

    kind = "real"

    def __init__(
        self, *, speed: float = 1, retry_after_s: int | None = None, wall: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(retry_after_s=retry_after_s, wall=wall)
        self.speed = speed
        self._asleep_until_s = -math.inf

    def accepted(self) -> int | None:
        """Rule 5."""
        return self.retry_after_s if self.speed == 1 else max(1, round(self.nominal_s / self.speed))

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> Told:  # noqa: ARG002
        """A told sleep, in the wall's seconds: several at once pass at once."""
        self.arrived()
        wall_s = seconds / self.speed
        self._asleep_until_s = max(self._asleep_until_s, self._wall_s + wall_s)
        return Told(wall_s)

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


class JumpClock(StandingClock):
    """Rules 7 to 9. poll_s: the interval between the polls of a client that would wait."""

    kind = "jump"

    def __init__(
        self,
        *,
        poll_s: float = NOMINAL_S,
        retry_after_s: int | None = None,
        patience_s: float = LONG_S,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(retry_after_s=retry_after_s, patience_s=patience_s, wall=wall)
        self.poll_ms = round(poll_s * 1000)
        self._watched: dict[str, int] = {}
        self._open: dict[str, int] = {}
        self._due_s: dict[str, float] = {}

    def accepted(self) -> int | None:
        """As soon as HTTP can say: waiting costs nothing here."""
        return 1

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        """Rule 7."""
        if ends_at_ms is not None:
            self._watched[name] = shown = self._first_look(accepted_ms, ends_at_ms)
            self._to(min(shown, self._others(name), self._first_end()))
            return
        self._open[name] = accepted_ms
        limit = self._now_ms + FARTHEST_MS
        while self.world is not None and self.world.runs(name) and self._now_ms < limit:
            step = self._next_look((accepted_ms,)) or limit
            others = min(self._others(name), self._first_end())
            self._to(min(step, others, limit))
            self.world.advance(self.now_ms())
            if others <= step:
                self._close(name)
                return

    def hides(self, name: str) -> bool:
        """See `Clock`."""
        return self._now_ms < self._watched.get(name, 0)

    def _close(self, name: str) -> None:
        """If an operation has ended by now of which nobody knew when, who polls it sees that when he looks next."""
        if self.world is not None and not self.world.runs(name):
            self._watched[name] = self._first_look(self._open.pop(name), self.now_ms())

    def begin_at(self, now_ms: int) -> None:
        """See `BaseClock`."""
        super().begin_at(now_ms)
        self._watched, self._open, self._due_s = {}, {}, {}

    def answered(self, poll: str = "", told: str = "", *, busy: bool = False, port: int = 0) -> None:
        """See `BaseClock`."""
        self._due_s.pop(poll, None)
        if poll != told:
            self._watched.pop(poll, None)
            self._open.pop(poll, None)
        super().answered(poll, told, busy=busy, port=port)

    def _first_look(self, accepted_ms: int, ends_at_ms: int) -> int:
        """When a client that polls sees the end."""
        if not self.poll_ms:
            return ends_at_ms
        return accepted_ms + math.ceil(max(0, ends_at_ms - accepted_ms) / self.poll_ms) * self.poll_ms

    def _next_look(self, accepted_ms: Iterable[int]) -> float | None:
        """When the next of these polls is due, of operations of which nobody knows the end."""
        if not self.poll_ms:
            return None if self.world is None else self.world.idle_at()
        return min((self._first_look(one, self.now_ms() + 1) for one in accepted_ms), default=None)

    def _walk(self, to_ms: float) -> None:
        """See `StandingClock`. Not beyond what a poll that is waited for would see: who polls has the time to come."""
        to_ms = min(to_ms, self._first_shown())
        while self._open and self.world is not None and self._now_ms < to_ms:
            look = self._next_look(self._open.values())
            super()._walk(to_ms if look is None else min(to_ms, look))
            self.world.advance(self.now_ms())
            for name in list(self._open):
                self._close(name)
            to_ms = min(to_ms, self._first_shown())
        super()._walk(to_ms)

    def _first_shown(self) -> float:
        """When the first poll that somebody waits for sees an end; what nobody came for with patience is not waited for."""
        wall = self.wall()
        for name in [one for one, when in self._watched.items() if when <= self._now_ms]:
            if wall - self._due_s.setdefault(name, wall) >= self.patience_s:
                del self._watched[name], self._due_s[name]
        return min(self._watched.values(), default=math.inf)

    def _first_end(self) -> float:
        """How far a poll may go: to where the first of those asleep wakes, and nowhere while one works who sleeps now and then."""
        works = self.sleepers.others.working(self.sleepers.pids, frozenset(self._polling.values()))
        if works and not self._out_of_patience(self._wall_s):
            return self._now_ms
        return self.sleepers.bound(self._now_ms, self._wall_s)

    def _others(self, name: str) -> float:
        """When a client that polls another operation would see its end."""
        return min(
            (when for other, when in self._watched.items() if other != name and when > self._now_ms), default=math.inf
        )

    def _to(self, when_ms: float) -> None:
        self._move(when_ms, "polls", busy=True)

    def _pass(self, wall_s: float, poll: str) -> None:
        if poll in self._told:
            return
        gap_s = max(0.0, wall_s - self._wall_s)
        if gap_s >= LONG_S and self._busy:
            self._move(self._now_ms + gap_s * 1000, "undeclared", busy=True)
        else:
            kind: Kind = "work" if gap_s < LONG_S else "undeclared"
            self.ledger.note(kind, 0, busy=self._busy, uncounted_ms=gap_s * 1000)
