"""A store in a folder: one SQLite file for leases, rollouts and approvals, one journal a rollout.

Contract: every change is one SQLite transaction (synchronous=FULL; journals also WAL); processes of one machine may use it at
once. The lease lives in the same kind of transaction as what it protects, so no lock file can disagree with it: taking a lease raises
its fence, opening the journal with the fence writes it there, and an append under an older fence is refused by the very
statement that would append. For several machines use `azblob:`: SQLite's log needs a local disk.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from backends.journal import Journal, SqliteJournal
from backends.lease import LASTS_MS, Held, Holder, LeaseLost, is_gone, me, space
from backends.store import Approval, Entry, HeldByAnother, Login, now_ms
from planner.errors import InputError

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS rollout (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, plan BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS approval (number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS lease (scale_set TEXT PRIMARY KEY, fence INTEGER NOT NULL, held INTEGER NOT NULL, body BLOB NOT NULL)",
)


class FileStore:
    """The store. lasts_ms: how long a lease lasts without being renewed."""

    def __init__(self, folder: Path, *, lasts_ms: int = LASTS_MS) -> None:
        self.folder = folder
        self.name = f"file:{folder}"
        self.lasts_ms = lasts_ms
        self.login = Login()
        self.path = folder / "store.sqlite"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone; a store that does not exist yet is made."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
            try:
                db.execute("PRAGMA synchronous=FULL")
                db.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    db.execute(statement)
                yield db
                db.execute("COMMIT")
            finally:
                db.close()  # what was not committed is undone
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> InputError:
        why = "a folder that can be written, or one that vmss-sim made"
        return InputError("the store cannot be used", self.name, str(error), why)

    def _is_there(self) -> bool:
        """Was anything kept here yet? Raises InputError where the folder is none, or cannot be looked into."""
        try:
            if not self.folder.exists():
                above = next(one for one in self.folder.parents if one.exists())
                if not above.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, f"{above} is no folder")
                return False
            found = {one.name for one in self.folder.iterdir()}
        except OSError as error:
            raise InputError(
                "the store cannot be used", self.name, error.strerror or str(error), "a folder that can be read"
            ) from error
        return self.path.name in found

    @property
    def absent(self) -> str:
        """Why nothing is here, where it is not for want of rollouts."""
        return "" if self._is_there() or self.folder.exists() else f"there is no folder {self.folder}"

    # -- rollouts ------------------------------------------------------------------------------------------------

    def rollouts(self) -> tuple[Entry, ...]:
        """All rollouts, the oldest first."""
        if not self._is_there():
            return ()
        with self._open() as db:
            rows = db.execute("SELECT body FROM rollout ORDER BY number").fetchall()
        return tuple(msgspec.json.decode(body, type=Entry) for (body,) in rows)

    def create(self, entry: Entry, plan_file: bytes) -> None:
        """A new rollout."""
        with self._open() as db:
            if db.execute("SELECT 1 FROM rollout WHERE id = ?", (entry.id,)).fetchone():
                raise InputError("a rollout of this name exists already", self.name, entry.id)
            self._journal(entry.id, None).close()  # it is there before anybody can look for it
            db.execute(
                "INSERT INTO rollout (id, body, plan) VALUES (?, ?, ?)",
                (entry.id, msgspec.json.encode(entry), plan_file),
            )

    def plan_file(self, rollout: str) -> bytes:
        """The plan file as it was applied."""
        with self._open() as db:
            row = db.execute("SELECT plan FROM rollout WHERE id = ?", (rollout,)).fetchone()
        if row is None:
            raise InputError("no such rollout", self.name, rollout)
        return bytes(row[0])

    def journal(self, rollout: str, fence: int | None = None) -> Journal:
        """The rollout's journal."""
        return self._journal(rollout, fence)

    def _journal(self, rollout: str, fence: int | None) -> SqliteJournal:
        folder = self.folder / "rollouts"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        return SqliteJournal(folder / f"{rollout}.sqlite", fence=fence)

    # -- the lease -----------------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> Held:
        """The lease of the rollout's scale set: free, run out, or its holder's process is gone."""
        executor, host, pid = me()
        now = now_ms()
        with self._open() as db:
            row = db.execute("SELECT fence, held, body FROM lease WHERE scale_set = ?", (entry.scale_set,)).fetchone()
            if row is not None and row[1]:
                other = msgspec.json.decode(row[2], type=Holder)
                age = other.age_ms(now)
                if age < self.lasts_ms and not is_gone(other):
                    raise HeldByAnother(other, self.lasts_ms - age, age)
            fence = 1 if row is None else int(row[0]) + 1
            mine = Holder(
                executor=executor,
                host=host,
                pid=pid,
                rollout=entry.id,
                fence=fence,
                since_ms=now,
                beat_ms=now,
                space=space(),
            )
            db.execute(
                "INSERT OR REPLACE INTO lease (scale_set, fence, held, body) VALUES (?, ?, 1, ?)",
                (entry.scale_set, fence, msgspec.json.encode(mine)),
            )
        return _Held(self, entry.scale_set, mine)

    def holder(self, scale_set: str) -> Holder | None:
        """Who holds a scale set's lease."""
        if not self._is_there():
            return None
        with self._open() as db:
            row = db.execute("SELECT held, body FROM lease WHERE scale_set = ?", (scale_set,)).fetchone()
        return msgspec.json.decode(row[1], type=Holder) if row is not None and row[0] else None

    # -- approvals -----------------------------------------------------------------------------------------------

    def approve(self, approval: Approval) -> None:
        """Keep an approval."""
        with self._open() as db:
            db.execute(
                "INSERT INTO approval (sha256, body) VALUES (?, ?)",
                (approval.plan_sha256, msgspec.json.encode(approval)),
            )

    def approvals(self, plan_sha256: str) -> tuple[Approval, ...]:
        """The approvals of a plan."""
        if not self._is_there():
            return ()
        with self._open() as db:
            rows = db.execute("SELECT body FROM approval WHERE sha256 = ? ORDER BY number", (plan_sha256,)).fetchall()
        return tuple(msgspec.json.decode(body, type=Approval) for (body,) in rows)

    def close(self) -> None:
        """Nothing is held open."""


class _Held:
    """A lease that was granted here."""

    def __init__(self, store: FileStore, scale_set: str, mine: Holder) -> None:
        self.fence = mine.fence
        self._store, self._scale_set, self._mine = store, scale_set, mine

    def renew(self) -> None:
        """Hold it for another span."""
        self._write(msgspec.structs.replace(self._mine, beat_ms=now_ms()), held=1)

    def release(self) -> None:
        """Let it go."""
        self._write(self._mine, held=0)

    def _write(self, mine: Holder, *, held: int) -> None:
        with self._store._open() as db:
            changed = db.execute(
                "UPDATE lease SET held = ?, body = ? WHERE scale_set = ? AND fence = ? AND held = 1",
                (held, msgspec.json.encode(mine), self._scale_set, self.fence),
            ).rowcount
        if not changed:
            raise LeaseLost("another executor has taken this scale set over")
