"""The journal: what was seen, decided and sent, in order, so that another executor can go on.

Contract: `write` returns when the record is kept. `MemoryJournal` keeps the same records for studies; `SqliteJournal`
keeps them in a file (WAL, synchronous=FULL: a record survives the machine losing power). Operator requests are rows
that another process may append at any time. Nothing secret is ever in a record: the snapshot holds none.
A journal that was opened with a lease's fence refuses (LeaseLost) to write once another was opened with a higher one.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from backends.lease import LeaseLost
from planner.errors import InputError, PlatformError
from planner.rollout import Asked, OperatorRequest, State
from planner.trace import Receipt, Record, Recovered, Turn

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def asking(asked: Asked, ids: tuple[str, ...], reason: str, by: str) -> bytes:
    """A request as a store keeps it: without its number, with the time."""
    body = {"asked": asked, "ids": ids, "reason": reason, "by": by, "at_ms": time.time_ns() // 1_000_000}
    return _encoder.encode(body)


class Journal(Protocol):
    """Where records go."""

    @property
    def turns(self) -> int:
        """How many turns it holds."""

    def write(self, record: Record) -> None:
        """Keep a record."""

    def last_state(self) -> State | None:
        """The State of the last turn; None for a new rollout."""

    def receipt(self, command: str) -> str:
        """The handle of a command's last receipt; empty where there is none."""

    def ask(self, asked: Asked, ids: tuple[str, ...] = (), reason: str = "", by: str = "") -> int:
        """Append an operator request; returns its id."""

    def requests(self, after: int) -> tuple[OperatorRequest, ...]:
        """Operator requests with a higher id."""

    def records(self) -> Iterator[Record]:
        """All records, in order."""


def digest(journal: Journal) -> str:
    """SHA-256 over the encoded records: equal digests mean equal histories."""
    made = hashlib.sha256()
    for record in journal.records():
        made.update(_encoder.encode(record))
        made.update(b"\n")
    return made.hexdigest()


class Remembering:
    """What is asked of a journal's records, remembered as each passes, where looking it up is dear."""

    def __init__(self) -> None:
        self.turns = 0
        self._state: State | None = None
        self._receipts: dict[str, str] = {}

    def remember(self, record: Record) -> None:
        """A record that is kept now."""
        if isinstance(record, Turn):
            self.turns += 1
            self._state = record.state
        elif isinstance(record, Recovered):
            self._state = record.state
        elif isinstance(record, Receipt):
            self._receipts[record.command] = record.handle

    def last_state(self) -> State | None:
        """The State of the last turn."""
        return self._state

    def receipt(self, command: str) -> str:
        """The handle of a command's last receipt."""
        return self._receipts.get(command, "")


class MemoryJournal(Remembering):
    """A journal in memory: the same records, kept as values."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[Record] = []
        self._requests: list[OperatorRequest] = []

    def write(self, record: Record) -> None:
        """Keep a record."""
        self._records.append(record)
        self.remember(record)

    def ask(self, asked: Asked, ids: tuple[str, ...] = (), reason: str = "", by: str = "") -> int:
        """Append an operator request."""
        self._requests.append(OperatorRequest(id=len(self._requests) + 1, asked=asked, ids=ids, reason=reason, by=by))
        return len(self._requests)

    def requests(self, after: int) -> tuple[OperatorRequest, ...]:
        """Operator requests with a higher id."""
        return tuple(self._requests[after:])

    def records(self) -> Iterator[Record]:
        """All records, in order."""
        return iter(self._records)


class SqliteJournal:
    """A journal in one SQLite file. fence: of the lease under which it is written; None: it is read and asked, and, where
    nobody ever wrote it under a lease, written.
    """

    def __init__(self, path: Path, *, fence: int | None = None) -> None:
        self.path = path
        try:
            # Any thread may close it: where it was only read, that is whichever happens to collect garbage.
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, command TEXT, body BLOB NOT NULL)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS request (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS fence (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL)"
            )
            self._db.execute("INSERT OR IGNORE INTO fence (id, number) VALUES (1, 0)")
            if fence is not None:
                self._db.execute("UPDATE fence SET number = ? WHERE number < ?", (fence, fence))
        except sqlite3.DatabaseError as error:
            raise InputError(
                "not a journal", str(path), str(error), "a journal file written by vmss-sim, or a new path"
            ) from error
        self._fence = fence or 0
        self.turns = int(self._execute("SELECT count(*) FROM record WHERE kind = 'Turn'").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __del__(self) -> None:
        """One that was only read is closed with its last reader; 3.13 warns of a connection that nobody closed."""
        db = getattr(self, "_db", None)
        if db is not None:
            db.close()

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """One statement. Raises PlatformError where the file cannot be written or read any more: a full disk, a folder that is gone."""
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise PlatformError("StoreRefused", f"{self.path}: {error}") from error

    def write(self, record: Record) -> None:
        """Keep a record: it is on disk when this returns. Raises LeaseLost under an older fence."""
        command = record.command if isinstance(record, Receipt) else None
        # One statement decides and appends: nobody can take the lease between the two.
        kept = self._execute(
            "INSERT INTO record (kind, command, body) SELECT ?, ?, ? WHERE (SELECT number FROM fence) = ?",
            (type(record).__name__, command, _encoder.encode(record), self._fence),
        ).rowcount
        if not kept:
            raise LeaseLost("another executor writes this journal now")
        self.turns += isinstance(record, Turn)

    def last_state(self) -> State | None:
        """The State of the last turn."""
        row = self._execute(
            "SELECT body FROM record WHERE kind IN ('Turn', 'Recovered') ORDER BY id DESC LIMIT 1"
        ).fetchone()
        record = _decoder.decode(row[0]) if row else None
        return record.state if isinstance(record, Turn | Recovered) else None

    def receipt(self, command: str) -> str:
        """The handle of a command's last receipt."""
        row = self._execute(
            "SELECT body FROM record WHERE kind = 'Receipt' AND command = ? ORDER BY id DESC LIMIT 1", (command,)
        ).fetchone()
        record = _decoder.decode(row[0]) if row else None
        return record.handle if isinstance(record, Receipt) else ""

    def ask(self, asked: Asked, ids: tuple[str, ...] = (), reason: str = "", by: str = "") -> int:
        """Append an operator request."""
        cursor = self._execute(
            "INSERT INTO request (body) VALUES (?)",
            (asking(asked, ids, reason, by),),
        )
        return int(cursor.lastrowid or 0)

    def requests(self, after: int) -> tuple[OperatorRequest, ...]:
        """Operator requests with a higher id."""
        rows = self._execute("SELECT id, body FROM request WHERE id > ? ORDER BY id", (after,)).fetchall()
        return tuple(
            msgspec.convert({"id": number, **msgspec.json.decode(body)}, OperatorRequest) for number, body in rows
        )

    def records(self) -> Iterator[Record]:
        """All records, in order."""
        for (body,) in self._execute("SELECT body FROM record ORDER BY id"):
            yield _decoder.decode(body)
