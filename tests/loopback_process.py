"""A process that is `vmss-sim …` with the world at an address (`tests/loopback.py`) in place of Azure: the front door, the store,
the lease and the journal are the product's own.

TERMINAL: a pseudo-terminal's device, to be seen and controlled on. KILL_AT_WRITE: the process is killed at that write of the journal. KILL_AFTER_S: after so long.
PLANTED: with a bug (`tests/kills/planted.py`). Processes are forked from one that has
imported everything (`tests/loopback_preload.py`).
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client
from typing import Any

from backends import connect
from backends.azure.backend import AzureBackend
from backends.azure.connecting import connect as azure_connect
from backends.emulator_clock import BEGINS_MS
from backends.journal import SqliteJournal
from backends.protocol import Seen, Wait
from backends.store.blob_journal import BlobJournal
from planner.commands import Command
from planner.plan import Plan
from tests.kills.planted import PLANTED
from vmss_sim.arm.client import Control
from vmss_sim.checks.emulated import Credential
from vmss_sim.cli.main import main as front_door

KEY = b"loopback"


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


class EmulatedSleeper:
    """Time of an emulator whose clock moves only by being told (`--clock manual`)."""

    slice_ms = 86_400_000
    headers: Mapping[str, str] = {}

    def __init__(self, control: Control) -> None:
        self._control = control
        self._now_s = control.advance(0)

    def now_ms(self) -> int:
        """The present."""
        return BEGINS_MS + round(self._now_s * 1000)

    def sleep_ms(self, span_ms: int) -> None:
        """Let that much time pass."""
        self._now_s = self._control.advance(span_ms / 1000)


class Unasked:
    """The same, which cannot be told that an operator asked: virtual time then passes in fewer steps."""

    def __init__(self, backend: AzureBackend) -> None:
        self.observe, self.submit, self.adopt = backend.observe, backend.submit, backend.adopt
        self.wait, self.preflight = backend.wait, backend.preflight


def over_azure(
    plan: Plan | None, url: str, environment: Mapping[str, str], watch: tuple[str, ...] = ()
) -> AzureBackend:
    """The real backend, over an emulator."""
    control = Control(environment["EMULATOR_CONTROL"], environment["EMULATOR_TOKEN"], environment["EMULATOR_CA"])
    return azure_connect(
        environment["EMULATOR_SET"],
        plan=plan,
        watch=watch,
        endpoint=url,
        ca=environment["EMULATOR_CA"],
        audience=url,
        credential=Credential(),
        sleeper=EmulatedSleeper(control),
    )


def killed_at_write(journal: Any, number: int) -> Callable[..., None]:
    """A journal's `write` that kills the process: odd numbers before the record is kept, even ones after."""
    writes, count = journal.write, 0

    def write(self: Any, record: Any) -> None:
        nonlocal count
        count += 1
        if count * 2 - 1 == number:
            os.kill(os.getpid(), signal.SIGKILL)
        writes(self, record)
        if count * 2 == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return write


def run(address: str, arguments: tuple[str, ...], environment: dict[str, str], folder: str) -> None:
    """The process: `vmss-sim` with these arguments, its output in this folder."""
    for number, name in ((1, "out"), (2, "err")):
        opened = os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
    terminal = environment.get("TERMINAL")
    if (
        terminal
    ):  # standard input and output are this terminal, which signals this process; errors go to their file all the same
        os.setsid()
        device = os.open(terminal, os.O_RDWR)
        os.dup2(device, 0)
        os.dup2(device, 1)
    else:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # for as long as the process lives
    faulthandler.register(signal.SIGUSR1, file=sys.stderr)
    # Whoever runs the tests in the background may have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    if address.startswith("https://"):
        connect.open_backend = lambda plan, _options: Unasked(over_azure(plan, address, environment))  # type: ignore[assignment]
    else:
        connect.open_backend = lambda _plan, _options: Remote(address)
    if "PLANTED" in environment:
        PLANTED[environment["PLANTED"]]()
    at_write, after_s = environment.get("KILL_AT_WRITE"), environment.get("KILL_AFTER_S")
    if at_write:
        for journal in (SqliteJournal, BlobJournal):
            journal.write = killed_at_write(journal, int(at_write))
    if after_s:
        later = threading.Timer(float(after_s), os.kill, (os.getpid(), signal.SIGKILL))
        later.daemon = True
        later.start()
    try:
        front_door(list(arguments))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
