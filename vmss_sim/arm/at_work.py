"""Who of this machine is at work as a client of this emulator: time must not pass for others meanwhile.

Nobody says when he begins to work. So it is read off the processes. Rules this module decides:

1. A *client* is a process whose environment, when it began, held our token file; further who told a sleep, who waits for that, and the
   shells above that one. The emulator itself is none, nor is a process of another user or machine: of those nothing is seen.
2. A client that sleeps, has ended or is stopped does not work, nor one that was told last that the operation it polled runs: they wait. One
   above somebody who waits does so, too, if it rests and has rested since the last look (no switch of context): a shell whose `sleep` runs in
   the foreground. If it did anything, it works: that sleep is in the background.
3. A client *reads* if it rests, told no sleep, no client is below it, it has no connection, is older than `YOUNG_S` and has used less than
   `LITTLE_S` of the processor: `tee`, `tail -f`, `less`. It does not work. (On a busy machine one that just begins is as old and has used as
   little, but does not rest: it waits for the processor.)
4. Every other client works, whatever it does: it may wait for an answer, ours or somebody else's.
5. Nobody works if two looks say so that are `BETWEEN_S` apart, and all between, and nobody woke or saw the end of his operation meanwhile: from
   one command of a shell to the next there is a moment in which only the shell is there.
6. Who is given up is not waited for any more: one that is not above a sleeper until it tells a sleep again (a prompt at which nobody types, an
   editor), with what it starts if it never told one; one above a sleeper not for what it does meanwhile (a runner that draws its progress).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Protocol

import msgspec

from vmss_sim.arm.sleepers import HELD_S

YOUNG_S, LITTLE_S = 1.0, 0.05
BETWEEN_S, GRAIN_S = 0.02, 0.001
FRESH_S, FRESH_TIMES = 0.05, 10
"""A look stands for so long, and for so many times as long as it took: looking must not be what an emulator does."""
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "busybox", "ash"})
GROWN_S = 5.0
RUNNING = frozenset({"running", "disk-sleep", "waking"})
ENDED = frozenset({"stopped", "tracing-stop", "zombie", "dead"})

Key = tuple[int, float]
"""A process: its number, which comes again, and when it began."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process. rests: it is not running, nor about to; stopped: nor will it; switches: how often it came to run; used_s: of the processor;
    ports: of its connections, at its end.
    """

    key: Key
    parent: int
    ours: bool = False
    shell: bool = False
    rests: bool = True
    stopped: bool = False
    switches: int = 0
    age_s: float = 0.0
    used_s: float = 0.0
    ports: frozenset[int] = frozenset()


class Look(Protocol):
    """What there is."""

    def clients(self, known: Iterable[int]) -> dict[int, Process]:
        """By number: whose environment is ours, and the known, as far as they are there."""

    def one(self, pid: int) -> Process | None:
        """One process; None: it has ended, or is nobody that we may look at."""


class AtWork:
    """See above; a clock's `Others`."""

    def __init__(self, look: Look, *, wall: Callable[[], float] = time.monotonic) -> None:
        self._look, self._wall = look, wall
        self._known: set[Key] = set()
        self._absent: set[Key] = set()
        self._restless: set[Key] = set()
        self._seen: dict[int, Process] = {}
        self._still: dict[Key, int] = {}
        self._stirring: set[Key] = set()
        self._at_s, self._took_s = float("-inf"), 0.0
        self._quiet_s: float | None = None
        self._waited: tuple[frozenset[int], frozenset[int]] = frozenset(), frozenset()

    def told(self, pid: int, parent: int | None) -> bool:
        """Rule 1."""
        sleeper = self._seen.get(pid) or self._look.one(pid)
        if sleeper is None or not sleeper.ours:
            return False
        tellers = [sleeper]
        above = None if parent is None or parent != sleeper.parent else self._look.one(parent)
        while above is not None and (above.shell or len(tellers) == 1):
            tellers.append(above)
            above = self._look.one(above.parent)
        keys = {one.key for one in tellers}
        self._known |= keys
        self._absent -= keys
        return True

    def gone(self, pid: int) -> bool:
        """See `Others`."""
        one = self._look.one(pid)
        return one is None or one.stopped

    def busy_s(self, asleep: frozenset[int], polling: frozenset[int]) -> float:
        """See `Others`."""
        now = self._wall()
        if self._waited[0] - asleep or self._waited[1] - polling:
            self._quiet_s = None  # somebody woke
        self._waited = asleep, polling
        sure = self._quiet_s is not None and self._at_s - self._quiet_s > BETWEEN_S - GRAIN_S
        if not (sure and self._is_fresh(now) and asleep <= self._seen.keys()):
            self._take_a_look(asleep, polling)
        if self._workers(asleep, polling):
            self._quiet_s = None
            return HELD_S
        if self._quiet_s is None:
            self._quiet_s = self._at_s
        left_s = BETWEEN_S - (self._at_s - self._quiet_s)
        return left_s if left_s > GRAIN_S else 0.0

    def working(self, asleep: frozenset[int], polling: frozenset[int]) -> bool:
        """See `Others`. One look is enough: a poll comes again."""
        if not self._known:
            return False
        ports = frozenset[int]().union(*(one.ports for one in self._seen.values()))
        if not (self._is_fresh(self._wall()) and polling <= ports):
            self._take_a_look(asleep, polling)
        return any(self._is_known(one) for one in self._workers(asleep, polling))

    def give_up(self, asleep: frozenset[int], polling: frozenset[int]) -> None:
        """Rule 6."""
        above = self._above(self._waiting(asleep, polling))
        self._restless |= self._stirring
        for one in self._workers(asleep, polling):
            (self._restless if one.key[0] in above else self._absent).add(one.key)

    def _is_fresh(self, now_s: float) -> bool:
        return now_s - self._at_s < max(FRESH_S, FRESH_TIMES * self._took_s)

    def _take_a_look(self, asleep: frozenset[int], polling: frozenset[int]) -> None:
        began = self._wall()
        before = self._still
        self._seen = self._look.clients(pid for pid, _ in self._known)
        self._at_s = self._wall()
        self._took_s = self._at_s - began
        there = {one.key for one in self._seen.values()}
        self._known &= there
        self._absent &= there
        self._restless &= there
        self._still = {one.key: one.switches for one in self._seen.values()}
        above = self._above(self._waiting(asleep, polling))
        self._stirring = {
            one.key
            for one in self._seen.values()
            if one.key[0] in above and one.key not in self._restless and before.get(one.key) != one.switches
        }
        if self._stirring:
            self._quiet_s = None

    def _waiting(self, asleep: frozenset[int], polling: frozenset[int]) -> set[int]:
        """Rule 2: who waits by himself."""
        return {*asleep} | {pid for pid, one in self._seen.items() if one.ports & polling}

    def _above(self, waiting: set[int]) -> set[int]:
        """Who is above somebody who waits."""
        found: set[int] = set()
        for pid in waiting:
            one = self._seen.get(pid)
            while one is not None and one.parent not in found and one.parent in self._seen:
                found.add(one.parent)
                one = self._seen[one.parent]
        return found - waiting

    def _workers(self, asleep: frozenset[int], polling: frozenset[int]) -> list[Process]:
        """Rules 2 to 4."""
        waiting = self._waiting(asleep, polling)
        above = self._above(waiting)
        parents = {one.parent for one in self._seen.values()}
        return [
            one
            for pid, one in self._seen.items()
            if pid not in waiting
            and not one.stopped
            and not self._is_absent(one)
            and not (pid in above and (one.rests or one.key in self._restless))
            and not self._reads(one, parents)
        ]

    def _reads(self, one: Process, parents: set[int]) -> bool:
        little = one.rests and one.used_s < LITTLE_S and one.age_s > YOUNG_S and not one.ports
        return little and one.key not in self._known and one.key[0] not in parents

    def _is_known(self, one: Process) -> bool:
        """It told a sleep, or one above it did."""
        while one.key not in self._known:
            if one.parent not in self._seen:
                return False
            one = self._seen[one.parent]
        return True

    def _is_absent(self, one: Process) -> bool:
        while one.key not in self._absent:
            over = self._seen.get(one.parent)
            if one.key in self._known or over is None or over.key in self._known:
                return False
            one = over
        return True


class Machine:
    """A `Look` at this machine, by psutil. token_file: as stands in the environment of clients."""

    def __init__(self, token_file: str) -> None:
        self._token_file = token_file
        self._ours: dict[int, tuple[float, bool]] = {}
        self._me = os.getpid()

    @cached_property
    def _psutil(self) -> Any:
        import psutil  # noqa: PLC0415  # only where a client sleeps

        return psutil

    def clients(self, known: Iterable[int]) -> dict[int, Process]:
        """See `Look`."""
        found, named = {}, set(known)
        there = {one.pid: one for one in self._psutil.process_iter() if one.pid != self._me}
        self._ours = {pid: known for pid, known in self._ours.items() if pid in there}
        for pid, process in there.items():
            ours = self._is_ours(process)
            if (ours or pid in named) and (seen := self._read(process, ours)) is not None:
                found[pid] = seen
        return found

    def one(self, pid: int) -> Process | None:
        """See `Look`."""
        if pid == self._me:
            return None
        try:
            process = self._psutil.Process(pid)
        except (self._psutil.Error, ValueError):
            return None
        return self._read(process, self._is_ours(process))

    def _is_ours(self, process: Any) -> bool:
        """Rule 1. What a process began with never changes, but a young one may yet become another program."""
        try:
            began = process.create_time()
            known = self._ours.get(process.pid)
            if known is not None and known[0] == began:
                return known[1]
            ours: bool = process.environ().get("VMSS_SIM_TOKEN_FILE") == self._token_file
            if ours or time.time() - began > GROWN_S:
                self._ours[process.pid] = (began, ours)
        except (self._psutil.Error, OSError, ValueError):
            return False
        return ours

    def _read(self, process: Any, ours: bool) -> Process | None:
        try:
            with process.oneshot():
                status, used, began = process.status(), process.cpu_times(), process.create_time()
                switches = process.num_ctx_switches()
                connections = process.net_connections("inet")
                return Process(
                    key=(process.pid, began),
                    parent=process.ppid(),
                    ours=ours,
                    shell=process.name().lstrip("-") in SHELLS,
                    rests=status not in RUNNING or not self._psutil.LINUX,  # elsewhere whoever can run is said to
                    stopped=status in ENDED,
                    switches=switches.voluntary + switches.involuntary,
                    age_s=time.time() - began,
                    used_s=used.user + used.system,
                    ports=frozenset(one.laddr.port for one in connections if one.laddr),
                )
        except (self._psutil.Error, OSError):
            return None
