"""Who sleeps and said so, under a clock that stands still while somebody works.

A sleeper holds a *ticket* and comes back with it until its sleep is over. Rules this module decides:

1. A told sleep ends at the time it was told plus its length, whatever else happens. Nothing else is its end.
2. Until its sleeper has come back after that, its end is a *bound*: neither a poll nor another sleep moves time beyond it. So of several
   who sleep at once each wakes at its own time, and those who wake first act first.
3. A sleeper that has not come back for `GONE_S`, or whose process has ended, is no bound any more: it was killed. One that comes back after
   all sleeps on.
4. Time that passes a bound all the same (`advance`, a Retry-After, a sleep of somebody who does not come back) makes its sleeper late. All
   of that is counted.
"""

from __future__ import annotations

import math
from typing import Protocol

import msgspec

GONE_S = 5.0
HELD_S = 0.05
"""How long a sleeper waits before it comes back, in wall time."""


class SleepAnswer(msgspec.Struct, frozen=True):
    """What a sleeper is told: to wait so long, in wall time; then to come back with the ticket, or, without one, that its sleep is over."""

    wall_s: float = 0.0
    ticket: str = ""


OVER = SleepAnswer()


class Sleeper(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who comes back with his ticket. pid: the process that sleeps; parent: the one that waits for it; None: not said."""

    pid: int | None = None
    parent: int | None = None


class Sleep(msgspec.Struct, kw_only=True):
    """A sleep that is not over. pid: the sleeper, where it is a process that we know; seen_s: when it came last, in wall time; there: rule 3."""

    ends_ms: float
    seen_s: float
    pid: int | None = None
    there: bool = True


class Others(Protocol):
    """What a clock asks about clients that do not speak just now. `at_work.AtWork` knows; `Nobody` is for worlds without processes."""

    def told(self, pid: int, parent: int | None) -> bool:
        """A process sleeps, for its parent that waits for it. False: it is none that can be seen from here."""

    def gone(self, pid: int) -> bool:
        """Has this sleeper ended?"""

    def busy_s(self, asleep: frozenset[int], polling: frozenset[int]) -> float:
        """After how many seconds to ask again, since somebody works who is not asleep, and waits for no operation; 0: nobody does. polling:
        the ports of clients that were told last that what they polled runs.
        """

    def working(self, asleep: frozenset[int], polling: frozenset[int]) -> bool:
        """Does anybody work, of those who told a sleep before, and what they started?"""

    def give_up(self, asleep: frozenset[int], polling: frozenset[int]) -> None:
        """Whoever works just now is no client: wait for it no more."""


class Nobody:
    """Nobody works but who speaks."""

    def told(self, pid: int, parent: int | None) -> bool:  # noqa: ARG002
        """See `Others`."""
        return False

    def gone(self, pid: int) -> bool:  # noqa: ARG002
        """See `Others`."""
        return False

    def busy_s(self, asleep: frozenset[int], polling: frozenset[int]) -> float:  # noqa: ARG002
        """See `Others`."""
        return 0.0

    def working(self, asleep: frozenset[int], polling: frozenset[int]) -> bool:  # noqa: ARG002
        """See `Others`."""
        return False

    def give_up(self, asleep: frozenset[int], polling: frozenset[int]) -> None:
        """See `Others`."""


class Sleepers:
    """Everybody asleep, by ticket."""

    def __init__(self) -> None:
        self.others: Others = Nobody()
        self._asleep: dict[str, Sleep] = {}
        self._tickets = 0

    def tell(self, ends_ms: float, wall_s: float, sleeper: Sleeper) -> str:
        """Somebody begins to sleep; its ticket."""
        pid = sleeper.pid
        known = pid is not None and self.others.told(pid, sleeper.parent)
        self._tickets += 1
        ticket = str(self._tickets)
        self._asleep[ticket] = Sleep(ends_ms=ends_ms, seen_s=wall_s, pid=pid if known else None)
        return ticket

    def back(self, ticket: str, wall_s: float) -> Sleep | None:
        """A sleeper comes back; None: this one's sleep is over."""
        one = self._asleep.get(ticket)
        if one is not None:
            one.seen_s, one.there = wall_s, True
        return one

    def over(self, ticket: str) -> None:
        """Its sleeper knows."""
        del self._asleep[ticket]

    def forget(self) -> None:
        """All of them: time begins anew."""
        self._asleep.clear()

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are asleep."""
        return frozenset(one.pid for one in self._asleep.values() if one.there and one.pid is not None)

    def bound(self, now_ms: float, wall_s: float, besides: str = "") -> float:
        """Rule 2: the first end of those who are there."""
        for ticket, one in list(self._asleep.items()):
            if ticket != besides and one.there and self._gone(one, wall_s):
                one.there = False
            if not one.there and one.ends_ms <= now_ms:
                del self._asleep[ticket]
        return min(
            (one.ends_ms for ticket, one in self._asleep.items() if one.there and ticket != besides), default=math.inf
        )

    def late_ms(self, from_ms: float, to_ms: float) -> float:
        """Rule 4: by how much this makes sleepers later than they are."""
        return sum(max(0.0, to_ms - max(from_ms, one.ends_ms)) for one in self._asleep.values() if one.there)

    def _gone(self, one: Sleep, wall_s: float) -> bool:
        return wall_s - one.seen_s > GONE_S or (one.pid is not None and self.others.gone(one.pid))
