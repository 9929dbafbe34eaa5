"""The journal of an earlier rollout: SQLite, or the JSON lines of `simulate --trace`.

Rules this module decides:

1. An operation lasts from its receipt to the turn in which its outcome was seen: to the executor's polling interval.
2. Refused commands and unknown outcomes are left out: they say nothing about how long the platform takes.
3. A failed operation failed for those of its VMs that are then `Failed`, at least one; the others succeeded.
4. `ready` is the time from an outcome seen to health seen, of operations on one VM: with several, a VM's own end is not seen.
   A VM that was healthy already is left out, since nobody saw it become so. It includes the health source's own delay.

Contract: a copy is read, so that neither the file nor the executor that writes it notices.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from planner.commands import Command, Kind, Status
from planner.errors import InputError
from planner.model import Health, Provisioning
from planner.rollout import Observation
from planner.trace import Receipt, Record, Turn, observations
from vmss_sim.study.calibrate.history import READY, History, Observed, counted, ended
from vmss_sim.world.recorded import System

SQLITE: Final = b"SQLite format 3\x00"
_EPOCH_MS: Final = 1_000_000_000_000  # September 2001: what is later is a date, what is earlier is simulated
_TIMINGS: Final = {
    Kind.SET_MODE: "set-mode",
    Kind.SUSPEND_REPAIRS: "set-orchestration-service-state",
    Kind.RESUME_REPAIRS: "set-orchestration-service-state",
    Kind.UPDATE_MODEL: "update-model",
    Kind.UPGRADE: "upgrade",
    Kind.REIMAGE: "reimage",
    Kind.RESTART: "restart",
    Kind.RUN_COMMAND: "run-command",
    Kind.DELETE: "delete",
}
_DISRUPTS: Final = frozenset({Kind.UPGRADE, Kind.REIMAGE, Kind.RESTART})


def is_trace(text: str) -> bool:
    """Is the first line a record of a journal?"""
    try:
        first = msgspec.json.decode(text.lstrip().split("\n", 1)[0])
    except msgspec.DecodeError:
        return False
    return isinstance(first, dict) and isinstance(first.get("record"), str)


def read_trace(text: str, path: str) -> History:
    """A history out of JSON lines. Raises InputError naming the line."""
    decoder = msgspec.json.Decoder(Record)

    def records() -> Iterator[Record]:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError as error:
                    raise InputError(
                        f"not a record of a journal: {error}", f"{path}: line {number}", "", "as `--trace` writes it"
                    ) from error

    return _history(records(), path)


def is_sqlite(path: Path) -> bool:
    """Does the file begin as a SQLite database does? False for one that cannot be read: that is said elsewhere."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(SQLITE)) == SQLITE
    except (OSError, ValueError):
        return False


def read_sqlite(path: Path) -> History:
    """A history out of a journal's file. Raises InputError where it is another database, or a damaged one."""
    decoder = msgspec.json.Decoder(Record)
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "journal"
            shutil.copyfile(path, copy)
            log = path.with_name(f"{path.name}-wal")  # what is not yet in the file itself
            if log.exists():
                shutil.copyfile(log, copy.with_name("journal-wal"))
            with closing(sqlite3.connect(copy)) as database:
                rows = database.execute("SELECT body FROM record ORDER BY id").fetchall()
        return _history((decoder.decode(body) for (body,) in rows), str(path))
    except (sqlite3.DatabaseError, msgspec.DecodeError, TypeError) as error:
        raise InputError("not a journal of vmss-sim", str(path), str(error), "a journal as it keeps them") from error
    except OSError as error:
        raise InputError("the journal cannot be read", str(path), error.strerror or str(error)) from error


class _Sent(NamedTuple):
    command: Command
    at_ms: int


def _history(records: Iterable[Record], path: str) -> History:
    turns: list[Turn] = []
    receipts: dict[str, int] = {}
    for record in records:
        if isinstance(record, Turn):
            turns.append(record)
        elif isinstance(record, Receipt):
            receipts.setdefault(record.command, record.now_ms)
    if not turns:
        raise InputError("the journal is empty", path, "no turn", "a rollout that has begun")
    observed: list[Observed] = []
    reasons: list[str] = []
    sent: dict[str, _Sent] = {}
    waiting: dict[str, int] = {}  # VM to when its operation was seen to have ended
    for turn, now in zip(turns, observations(turns), strict=True):
        os: System = now.scale_set.model.os.value
        session = _session(turn.now_ms, path)
        observed += _ready(waiting, now, os, session)
        for outcome in turn.outcomes:
            known = sent.pop(outcome.command, None)
            if (
                known is None
                or outcome.refused
                or outcome.status is Status.UNKNOWN
                or known.command.kind not in _TIMINGS
            ):
                reasons.append("commands refused, of unknown outcome, or without a timing")
                continue
            command = known.command
            observed.append(_ended(command, outcome.status, now, os, turn.now_ms - known.at_ms, session))
            if outcome.status is Status.SUCCEEDED and command.kind in _DISRUPTS and len(command.ids) == 1:
                waiting |= {name: turn.now_ms for name in command.ids if not _healthy(now, name)}
        for command in turn.commands:
            sent[command.id] = _Sent(command, receipts.get(command.id, turn.now_ms))
            for name in command.ids:
                waiting.pop(name, None)
    reasons += ["commands whose end was not seen"] * len(sent)
    return History(path=path, kind="journal", observed=tuple(observed), left_out=counted(reasons))


def _session(now_ms: int, path: str) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat() if now_ms >= _EPOCH_MS else path


def _healthy(now: Observation, name: str) -> bool:
    one = now.scale_set.instances.get(name)
    return one is not None and one.health is Health.HEALTHY


def _ready(waiting: dict[str, int], now: Observation, os: System, session: str) -> Iterator[Observed]:
    """Rule 4: those that became healthy."""
    for name in [name for name in waiting if _healthy(now, name)]:
        seconds = (now.now_ms - waiting.pop(name)) / 1000
        yield Observed(operation=READY, os=os, seconds=seconds, instances=1, session=session)


def _ended(command: Command, status: Status, now: Observation, os: System, elapsed_ms: int, session: str) -> Observed:
    total = len(command.ids) or None
    operation = _TIMINGS[command.kind]
    if status is Status.SUCCEEDED:
        seconds = elapsed_ms / 1000
        return ended(operation, os, "succeeded", seconds=seconds, instances=total, session=session)
    instances = now.scale_set.instances
    dead = sum(name in instances and instances[name].provisioning is Provisioning.FAILED for name in command.ids)
    failed = max(1, dead)
    return Observed(
        operation=operation,
        os=os,
        seconds=None,
        ok=max(0, (total or 1) - failed),
        failed=failed,
        instances=total,
        session=session,
    )
