"""Hooks: others are told what happens to a rollout, its batches and its gates, by a command or an HTTP POST.

Contract: a hook tells and decides nothing: one that fails, hangs or is not there is reported, and the rollout goes on. Deliveries
happen in order, beside the rollout, in a thread of their own. The body is JSON (docs/operate.md); where a rollout rests, turns back or
ends it holds what `status --json` says. Of a webhook's address only scheme and host are ever shown: the rest may be secret.

A command gets the body on standard input, and the event in `VMSS_SIM_EVENT`. It is run without a shell.
"""

from __future__ import annotations

import os
import queue
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from backends.executor import TurnReport
from planner.errors import InputError, PlatformError
from planner.trace import Turn

SCHEMA = "vmss-sim/hook/1"
COMMAND_S, POST_S = 30.0, 10.0
OF_RULE = {
    "batch-done": "batch-done",
    "gate-waits": "gate-waits",
    "gate-dry-run": "gate-dry-run",
    "gate-failed": "gate-failed",
    "too-many-failed": "too-many-failed",
    "stalled": "stalled",
    "quarantined": "instance-given-up",
    "paused": "rollout-paused",
    "resumed": "rollout-resumed",
    "roll-back": "rollout-turned-back",
    "ended": "rollout-ended",
}
"""Which decision is which event; `rollout-begun` and `batch-begun` follow from commands."""
WITH_STATUS = frozenset({"rollout-paused", "rollout-turned-back", "rollout-ended"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. batch: counted from 1."""

    event: str
    at_ms: int
    text: str
    batch: int | None = None
    instances: tuple[str, ...] = ()


def events(told: TurnReport, begun: set[int]) -> Iterator[Event]:
    """The events of a turn. begun: batches that were told to have begun; it grows."""
    for record in told.records:
        if not isinstance(record, Turn):
            continue
        if record.number == 1:
            yield Event(event="rollout-begun", at_ms=record.now_ms, text="the rollout begins")
        for note in record.notes:
            if note.rule in OF_RULE:
                batch = None if note.batch is None else note.batch + 1
                yield Event(
                    event=OF_RULE[note.rule], at_ms=record.now_ms, text=note.text, batch=batch, instances=note.ids
                )
        for command in record.commands:
            if command.batch is not None and command.batch not in begun:
                begun.add(command.batch)
                yield Event(
                    event="batch-begun",
                    at_ms=record.now_ms,
                    text=command.why,
                    batch=command.batch + 1,
                    instances=command.ids,
                )


class Hooks:
    """Tells commands and webhooks. status: what `status --json` says now. Raises InputError for what cannot be a hook."""

    def __init__(
        self,
        commands: Sequence[str],
        webhooks: Sequence[str],
        *,
        rollout: str,
        status: Callable[[], dict[str, Any]],
        says: Callable[[str], None],
    ) -> None:
        self._commands = [_command(one) for one in commands]
        self._webhooks = [_webhook(one) for one in webhooks]
        self._rollout, self._status, self.says = rollout, status, says
        self._begun: set[int] = set()
        self._queue: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._deliver, name="hooks", daemon=True)
        if self._commands or self._webhooks:
            self._thread.start()

    def listen(self, told: TurnReport) -> None:
        """One turn."""
        if not (self._commands or self._webhooks):
            return
        for one in events(told, self._begun):
            body = {"schema": SCHEMA, "rollout": self._rollout, **msgspec.to_builtins(one)}
            if one.event in WITH_STATUS:
                try:
                    body["status"] = self._status()
                except (PlatformError, InputError) as error:  # the store's trouble is not the rollout's
                    self.says(f"hooks ({one.event}): without its status: {error}")
            self._queue.put((one.event, msgspec.json.encode(body)))

    def close(self, wait_s: float = 15.0) -> None:
        """Deliver what is left, for so long at most."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(wait_s)
            if self._thread.is_alive():
                self.says("hooks: some were not delivered in time")

    def _deliver(self) -> None:
        while (one := self._queue.get()) is not None:
            event, body = one
            for command in self._commands:
                self._report(f"hook {command[0]}", event, _run(command, event, body))
            for url in self._webhooks:
                parts = urlsplit(url)
                self._report(f"webhook {parts.scheme}://{parts.hostname}", event, _post(url, event, body))

    def _report(self, name: str, event: str, problem: str) -> None:
        if problem:
            self.says(f"{name} ({event}): {problem}; the rollout goes on")


def check(commands: Sequence[str], webhooks: Sequence[str]) -> None:
    """Raises InputError for what cannot be a hook."""
    for command in commands:
        _command(command)
    for url in webhooks:
        _webhook(url)


def _command(given: str) -> list[str]:
    try:
        made = shlex.split(given)
    except ValueError as error:
        raise InputError("not a command", "--hook", repr(given), str(error)) from error
    if not made:
        raise InputError("not a command", "--hook", repr(given), "a program and its arguments")
    return made


def _webhook(given: str) -> str:
    parts = urlsplit(given)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise InputError("not an address", "--webhook", parts.scheme or "nothing", "https://…")
    return given


def _run(command: list[str], event: str, body: bytes) -> str:
    """What went wrong, or ''."""
    try:
        ran = subprocess.run(
            command,
            input=body,
            env={**os.environ, "VMSS_SIM_EVENT": event},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end in {COMMAND_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    if ran.returncode:
        told = ran.stderr.decode(errors="replace").strip().splitlines()
        return f"exit status {ran.returncode}" + (f", {told[-1][:200]}" if told else "")
    return ""


def _post(url: str, event: str, body: bytes) -> str:
    """What went wrong, or ''. One second try, as a moment's failure is common."""
    problem = ""
    for pause_s in (0.0, 1.0):
        time.sleep(pause_s)
        request = urllib.request.Request(
            url, data=body, headers={"Content-Type": "application/json", "X-Vmss-Sim-Event": event}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=POST_S):
                return ""
        except urllib.error.HTTPError as error:  # an answer, too: it is closed like one
            with error:
                problem = f"HTTP {error.code}"
        except urllib.error.URLError as error:
            problem = str(getattr(error.reason, "strerror", None) or type(error.reason).__name__)
        except OSError as error:
            problem = error.strerror or type(error).__name__
    return problem
