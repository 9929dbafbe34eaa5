"""Clocks that stand still while a client works, and are moved by polls, by sleeps that were told, or by hand.

What a gap, a wait and work are is in `clock.py`, its ledger too; who sleeps is in `sleepers.py`. Rules this module decides:

1. `ManualClock`: nothing but `advance` and told sleeps moves it.
2. `JumpClock`: time stands still while a client works. A poll of an operation that runs moves it to the first multiple of the poll interval
   after acceptance at which the operation has ended (interval 0: exactly there), but not past that moment of another operation that is
   polled, too, nor past the end of a told sleep (`sleepers.py`), and not at all while somebody works who told a sleep before: who polls comes
   again. A poll at another time shows nothing that those moments would not have shown. Where nobody knows the end (a rolling
   upgrade), the world goes on by the interval until it has ended, an hour at most.
3. Of both: a told sleep moves time to its own end, or to that of another, or to where a poll that somebody waits for would see its
   operation's end, whichever comes first, and while nobody works (`Others`); its sleeper comes back for the rest. Wall time that
   it is held for is a wait if nobody worked. After `LONG_S` in which no client asked for anything but whether it may go on, whoever seems to
   work is none, and not waited for any more. A sleep of somebody who does not come back moves time by its length at once. How much
   later than its end a sleeper is, is distortion.
4. What a JumpClock does not count is distortion: all work. An undeclared gap while something runs counts 1:1, so that a client that waits
   in its own way (reading the set every 30 s) gets there; while nothing runs it is not counted, and distortion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from vmss_sim.arm.clock import LONG_S, NOMINAL_S, BaseClock, Kind
from vmss_sim.arm.sleepers import HELD_S, OVER, SleepAnswer, Sleeper, Sleepers

FARTHEST_MS = 3_600_000
"""Rule 2: as far as one poll goes after an end that nobody knows."""


class StandingClock(BaseClock):
    """Rule 3: a clock that stands unless somebody moves it. patience_s: for how long, in wall time, to wait for whoever seems to work."""

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

    def _give_up(self, name: str) -> None:
        """See `BaseClock`."""
        self._polling.pop(name, None)
        super()._give_up(name)

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> SleepAnswer:
        """Rule 3."""
        self.arrived()
        ends_ms = self._now_ms + seconds * 1000
        if sleeper is None:
            self._move(ends_ms, "declared", busy=self._busy)
            return OVER
        return self.back(self.sleepers.tell(ends_ms, self._wall_s, sleeper))

    def back(self, ticket: str) -> SleepAnswer:
        """Rule 3."""
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
            return SleepAnswer(held_s or HELD_S, ticket)
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
        """Rule 3: whoever seems to work is given up."""
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
    """Rule 1."""

    kind = "manual"

    def refused(self, retry_after_s: int) -> int:
        """As it is: who moves this clock sees to it."""
        return retry_after_s


class JumpClock(StandingClock):
    """Rules 2 to 4. poll_s: the interval between the polls of a client that would wait."""

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

    def _shortened(self) -> int | None:
        """As soon as HTTP can say: waiting costs nothing here."""
        return 1

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        """Rule 2."""
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

    def _give_up(self, name: str) -> None:
        """See `BaseClock`."""
        for kept in (self._watched, self._open, self._due_s):
            kept.pop(name, None)
        super()._give_up(name)

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
        """When the first poll that somebody waits for sees an end."""
        self._forget_overdue()
        return min(self._watched.values(), default=math.inf)

    def _forget_overdue(self) -> None:
        """Nobody came for these with patience."""
        wall = self.wall()
        for name in [one for one, when in self._watched.items() if when <= self._now_ms]:
            if wall - self._due_s.setdefault(name, wall) >= self.patience_s:
                del self._watched[name], self._due_s[name]

    def _first_end(self) -> float:
        """How far a poll may go: to where the first of those asleep wakes, and nowhere while one works who sleeps now and then."""
        works = self.sleepers.others.working(self.sleepers.pids, frozenset(self._polling.values()))
        if works and not self._out_of_patience(self._wall_s):
            return self._now_ms
        return self.sleepers.bound(self._now_ms, self._wall_s)

    def _others(self, name: str) -> float:
        """When a client that polls another operation would see its end; one that is due if it is a client that we see."""
        self._forget_overdue()
        others = ((other, when) for other, when in self._watched.items() if other != name)
        return min((when for other, when in others if when > self._now_ms or other in self._polling), default=math.inf)

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
