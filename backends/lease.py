"""The lease: one executor per scale set, and nothing is sent by one that lost it.

Contract: a store grants a lease to one executor at a time, under a number that only rises (the fence). `Lease` renews it
from a thread of its own and knows, by its own monotonic clock alone, when it can no longer be sure that it holds it.
Two things stop an executor that lost it: the store refuses its journal (intent comes before act, so nothing new is
decided), and `check`, asked right before each command is sent, refuses the command itself.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from planner.errors import RolloutError

LASTS_MS = 30_000
"""How long a lease lasts without being renewed: what another machine waits for after a crash."""
BEAT_S = 8.0


class LeaseLost(RolloutError):
    """Another executor has the scale set, or this one can't be sure any more. `why` in a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"{self.why}; nothing more is sent from here, what was sent goes on"


class Holder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds a scale set's lease. beat_ms: when it was last renewed, on the store's clock (as near as it tells). space: of the process ids,
    on its machine; empty where that is not told.
    """

    executor: str
    host: str
    pid: int
    rollout: str
    fence: int
    since_ms: int
    beat_ms: int
    space: str = ""

    def age_ms(self, now_ms: int) -> int:
        """How long ago it was renewed."""
        return max(0, now_ms - self.beat_ms)


class Held(Protocol):
    """A lease as a store grants it."""

    fence: int

    def renew(self) -> None:
        """Hold it for another span. Raises LeaseLost where somebody else holds it; any other error: not known."""

    def release(self) -> None:
        """Let it go; where it is not held any more, nothing happens."""


def me() -> tuple[str, str, int]:
    """The present process as a holder: who (`user@host:pid`), its host, its pid."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    host = socket.gethostname() or "localhost"
    return f"{user}@{host}:{os.getpid()}", host, os.getpid()


def space() -> str:
    """In which a process id means something: since when this machine runs, and in which container. Empty where the system does not tell."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{booted} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return ""


def is_gone(holder: Holder) -> bool:
    """Did the holder certainly die? Only its own machine can tell, and two containers may have one name; anywhere else the lease has to run out."""
    _, host, pid = me()
    if holder.host != host or holder.pid == pid or holder.space != space():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class Lease:
    """A lease that is kept up. Use as a context manager; `check` before anything that cannot be taken back."""

    def __init__(
        self,
        held: Held,
        *,
        beat_s: float = BEAT_S,
        lasts_ms: int = LASTS_MS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fence = held.fence
        self._held, self._beat_s, self._sure_s, self._clock = held, beat_s, lasts_ms / 1000 * 0.8, clock
        self._renewed = clock()
        self._lost, self._why = "", ""
        self.last: Callable[[], None] = lambda: None
        """What is said before it is let go, in the same time."""
        self._over, self._renewing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._beats, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _beats(self) -> None:
        while not self._over.wait(self._beat_s):
            self.beat()

    def beat(self) -> None:
        """Renew it once. A store that does not answer is tried again until the lease would have run out."""
        with self._renewing:
            self._renew()

    def _renew(self) -> None:
        asked = self._clock()
        try:
            self._held.renew()
        except LeaseLost as error:
            self._lost = error.why
            self._over.set()
        except Exception as error:  # a store that can't be reached: how long that may last, `check` knows
            self._why = " ".join(str(error).split())[:300] or type(error).__name__
        else:
            self._renewed, self._why = asked, ""

    @property
    def _unsure(self) -> bool:
        return self._clock() - self._renewed > self._sure_s

    def check(self) -> None:
        """Raises LeaseLost unless this executor can be sure that it holds the lease. One that ran out is asked for once more: where nobody
        took it while the store could not be reached, the store still grants it. A renewal that is under way is waited for, so long that it may
        find the store answering again: nothing is sent meanwhile.
        """
        if not self._lost and self._unsure and self._renewing.acquire(timeout=2 * self._beat_s):
            try:
                if self._unsure:
                    self._renew()
            finally:
                self._renewing.release()
        if self._lost:
            raise LeaseLost(self._lost)
        if self._unsure:
            why = f": {self._why}" if self._why else ", nor did its store say why"
            raise LeaseLost(f"the lease could not be renewed for {self._sure_s:.0f} s{why}")

    def close(self, wait_s: float = 2.0) -> None:
        """Stop renewing it and let it go. A store that hangs is given up after `wait_s`: the lease then runs out."""
        self._over.set()
        last = threading.Thread(target=self._release, name="lease-release", daemon=True)
        last.start()
        last.join(wait_s)

    def _release(self) -> None:
        for does in (self.last, self._held.release):
            with suppress(Exception):  # what is not said is not known, and the lease runs out by itself
                does()
