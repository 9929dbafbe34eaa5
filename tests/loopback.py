"""A scale set that outlives its executors: a simulated world behind a socket on loopback, and `vmss-sim` run against it.

`World` serves one world of `tests.fleet` from a thread of the test. Each connection is an executor's backend of its own over
that world, so a killed one leaves nothing but what it sent. `python -m tests.loopback ADDRESS KEY …` is `vmss-sim …` with this
world in place of Azure: the front door, the store, the lease and the journal are the product's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from backends.protocol import Seen, Wait
from backends.simulated import SimulatedBackend
from planner.commands import Command
from planner.model import ScaleSet
from tests.fleet import WatchedWorld

ROOT = Path(__file__).parent.parent
KEY = b"loopback"


class Place:
    """The world and who is connected to it. hold: every wait takes real time until this is set."""

    def __init__(self, world: WatchedWorld, fleet: ScaleSet, *, poll_ms: int = 0) -> None:
        self.world, self.fleet, self.poll_ms = world, fleet, poll_ms
        self.lock = threading.RLock()
        self.hold: threading.Event | None = None
        self.waiting = threading.Event()
        self.listener = Listener(("127.0.0.1", 0), authkey=KEY)
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
        while True:
            try:
                connection = self.listener.accept()
            except OSError:
                return
            except Exception:  # somebody who was killed while he introduced himself
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

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
        place.listener.close()


class Remote:
    """The backend in the executor's process."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._connection = Client((host, int(port)), authkey=KEY)

    def _call(self, name: str, *arguments: Any) -> Any:
        self._connection.send((name, arguments))
        return self._connection.recv()

    def observe(self) -> Seen:
        """Look."""
        return self._call("observe")  # type: ignore[no-any-return]

    def submit(self, command: Command) -> str:
        """Send."""
        return self._call("submit", command)  # type: ignore[no-any-return]

    def adopt(self, command: Command, handle: str) -> None:
        """Take over."""
        self._call("adopt", command, handle)

    def wait(self, wait: Wait) -> bool:
        """Let time pass."""
        return self._call("wait", wait)  # type: ignore[no-any-return]


def start(place: Place, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`vmss-sim` with these arguments, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.loopback", place.address, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_at_write(number: int) -> Callable[..., None]:
    """A journal's `write` that kills the process: odd numbers before the record is kept, even ones after."""
    from backends.journal import SqliteJournal

    writes, count = SqliteJournal.write, 0

    def write(self: SqliteJournal, record: Any) -> None:
        nonlocal count
        count += 1
        if count * 2 - 1 == number:
            os.kill(os.getpid(), signal.SIGKILL)
        writes(self, record)
        if count * 2 == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return write


def main() -> None:
    """See the module."""
    from backends import connect
    from backends.journal import SqliteJournal
    from vmss_sim.cli.main import main as front_door

    address, *arguments = sys.argv[1:]
    connect.open_backend = lambda _plan, _options: Remote(address)
    number = os.environ.get("KILL_AT_WRITE")
    if number:
        SqliteJournal.write = killed_at_write(int(number))  # type: ignore[method-assign]
    delay = os.environ.get("KILL_AFTER_S")
    if delay:
        threading.Thread(
            target=lambda: (time.sleep(float(delay)), os.kill(os.getpid(), signal.SIGKILL)), daemon=True
        ).start()
    front_door(arguments)


if __name__ == "__main__":
    main()
