"""A scale set that outlives its executors: a simulated world behind a socket on loopback.

`served` serves one world of `tests.fleet` from a thread of the test. Each connection is an executor's backend of its own over
that world, so a killed one leaves nothing but what it sent. `start` runs `vmss-sim` against it (`tests/loopback_process.py`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from backends.simulated import SimulatedBackend
from planner.model import ScaleSet
from tests.fleet import WatchedWorld
from tests.loopback_process import KEY, run

HANGS_S = 300
"""Nothing here takes so long, however busy the machine: what does, hangs."""


class Place:
    """The world and who is connected to it. hold: every wait takes real time until this is set."""

    def __init__(self, world: WatchedWorld, fleet: ScaleSet, *, poll_ms: int = 0) -> None:
        self.world, self.fleet, self.poll_ms = world, fleet, poll_ms
        self.lock = threading.RLock()
        self.hold: threading.Event | None = None
        self.waiting = threading.Event()
        self.closed = False
        self.listener = Listener(("127.0.0.1", 0), backlog=16, authkey=KEY)
        self.address = f"{self.listener.address[0]}:{self.listener.address[1]}"  # type: ignore[str-format]

    def backend(self) -> SimulatedBackend:
        """A new executor's view."""
        return SimulatedBackend(self.world, self.fleet, poll_ms=self.poll_ms)

    def pass_time(self, ms: int) -> None:
        """Nobody is there for a while."""
        with self.lock:
            self.world.run(self.world.now + ms, stop_on_wake=False)

    def serve(self) -> None:
        """Accept until closed."""
        while not self.closed:
            try:
                connection = self.listener.accept()
            except Exception:  # somebody who was killed while he introduced himself: also that is an OSError
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Accept nobody any more. Who waits in `accept` is not woken by closing what he listens to: somebody has to come."""
        self.closed = True
        with contextlib.suppress(OSError, EOFError):
            Client(self.listener.address, authkey=KEY).close()

    def _answer(self, connection: Connection) -> None:
        with self.lock:
            backend = self.backend()
        with contextlib.suppress(EOFError, OSError), connection:
            while True:
                name, arguments = connection.recv()
                if name == "wait" and self.hold is not None:
                    self.waiting.set()
                    self.hold.wait()
                with self.lock:
                    answer = getattr(backend, name)(*arguments)
                connection.send(answer)


@contextlib.contextmanager
def served(world: WatchedWorld, fleet: ScaleSet, *, poll_ms: int = 0) -> Iterator[Place]:
    """The world, served while this lasts."""
    place = Place(world, fleet, poll_ms=poll_ms)
    thread = threading.Thread(target=place.serve, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        place.close()
        thread.join(10)
        place.listener.close()


_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.loopback_preload"])


class Started:
    """A process, and what it printed."""

    def __init__(self, address: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="executor-"))
        self._process = _processes.Process(
            target=run, args=(address, arguments, environment, str(self._folder)), daemon=True
        )
        self._process.start()

    @property
    def running(self) -> bool:
        """Has it not ended yet?"""
        return self._process.exitcode is None

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def ended(self, within_s: float = HANGS_S) -> tuple[int, str, str]:
        """Exit status, stdout and stderr. Fails where it does not end."""
        self._process.join(within_s)
        code = self._process.exitcode
        if code is None:
            self.signal(signal.SIGUSR1)  # it says where it is
            faulthandler.dump_traceback(all_threads=True)
            time.sleep(0.5)
            self._process.kill()
            self._process.join()
        out, err = (
            (self._folder / name).read_text() if (self._folder / name).exists() else "" for name in ("out", "err")
        )
        shutil.rmtree(self._folder)
        assert code is not None, f"it did not end:\n{out}\n{err}"
        return code, out, err


def start(address: str, *arguments: str, **environment: str) -> Started:
    """`vmss-sim` with these arguments, in a process of its own."""
    return Started(address, arguments, environment)
