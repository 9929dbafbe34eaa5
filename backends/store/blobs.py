"""A store in Azure Blob Storage, so that any machine with the right to it can look, ask and go on. Extra `azblob`.

Contract: as `files.py`, by what the service promises. A scale set's lease is a blob lease: the service itself lets it run out and
refuses whoever lost it. The journal is an append blob, one record a line: each append names the position where it has to land, and
an executor that takes over appends a blank line first, so that the one before it can append no more (a reply that got lost is told
from that by reading what stands there). Requests and approvals are small blobs that are created once.
Errors: `InputError` where the store cannot be used (name, right), `PlatformError` where it does not answer now.

Credential: `$AZURE_STORAGE_CONNECTION_STRING` where it is for this account (Azurite, account keys), else azure-identity's default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import msgspec

from backends.journal import Journal
from backends.lease import LASTS_MS, Held, Holder, LeaseLost, is_gone, me
from backends.store import Approval, Entry, HeldByAnother, now_ms
from planner.errors import InputError, PlatformError
from planner.rollout import Asked, OperatorRequest, State
from planner.trace import Receipt, Record, Recovered, Turn

try:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ResourceExistsError,
        ResourceNotFoundError,
        ServiceRequestError,
        ServiceResponseError,
    )
    from azure.storage.blob import BlobClient, BlobLeaseClient, ContainerClient
except ImportError as error:  # pragma: no cover  # the extra is missing
    raise InputError(
        "this store needs an extra", "azblob://", str(error), "azure-storage-blob", "pip install 'vmss-sim[azblob]'"
    ) from error

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
MOST_BLOCKS = 49_000
"""An append blob takes 50,000 blocks; the journal goes on in the next one before."""
_NAME = re.compile(r"azblob://([^/?#]+)/([a-z0-9$](?:[a-z0-9-]{1,61}[a-z0-9]))(?:/([^?#]*))?")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class _Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout's blob."""

    entry: Entry
    plan: bytes


class _Lent(msgspec.Struct, frozen=True, kw_only=True):
    """A lease's blob. holder: the last one; held: not let go."""

    fence: int = 0
    held: bool = False
    holder: Holder | None = None


@contextmanager
def _answers(name: str) -> Iterator[None]:
    """What the service says, once, in our words."""
    try:
        yield
    except ClientAuthenticationError as error:
        code = str(getattr(error, "error_code", None) or "no valid credential")
        raise InputError(
            "the store does not let you in", name, code, "the role Storage Blob Data Contributor"
        ) from error
    except ResourceNotFoundError as error:
        code = getattr(error, "error_code", None) or "not found"
        raise InputError("the store is not there", name, str(code), "a container that exists") from error
    except HttpResponseError as error:
        if error.status_code == 403:
            raise InputError("the store does not let you in", name, str(getattr(error, "error_code", 403))) from error
        raise PlatformError(
            "StoreRefused", f"{name}: {getattr(error, 'error_code', None) or error.status_code}"
        ) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise PlatformError("StoreUnreachable", f"{name} does not answer") from error


class BlobStore:
    """The store. lasts_ms: as the service counts leases, 15 to 60 s."""

    def __init__(self, container: ContainerClient, prefix: str, name: str, *, lasts_ms: int = LASTS_MS) -> None:
        self.container, self.prefix, self.name, self.lasts_ms = container, prefix, name, lasts_ms

    @classmethod
    def named(cls, given: str) -> BlobStore:
        """`azblob://ACCOUNT/CONTAINER[/PREFIX]`; ACCOUNT may be a host, for other clouds. Raises InputError."""
        found = _NAME.fullmatch(given)
        if found is None:
            raise InputError("not a store", "--store", repr(given), "azblob://ACCOUNT/CONTAINER[/PREFIX]")
        account, container, prefix = found.group(1), found.group(2), (found.group(3) or "").strip("/")
        options: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 20, "retry_total": 3}
        said = os.environ.get(CONNECTION, "")
        if f"accountname={account.partition('.')[0].lower()};" in f"{said.lower()};":
            client = ContainerClient.from_connection_string(said, container, **options)
        else:
            from azure.identity import DefaultAzureCredential  # noqa: PLC0415  # half a second, only where it is used

            host = account if "." in account else f"{account}.blob.core.windows.net"
            client = ContainerClient(f"https://{host}", container, DefaultAzureCredential(), **options)
        return cls(client, f"{prefix}/" if prefix else "", given)

    def blob(self, *parts: str) -> BlobClient:
        """A blob of this store."""
        return self.container.get_blob_client(self.prefix + "/".join(parts))

    def names(self, *parts: str) -> list[str]:
        """Names of blobs below, in order."""
        start = self.prefix + "/".join(parts) + "/"
        return sorted(str(one) for one in self.container.list_blob_names(name_starts_with=start))

    # -- rollouts ------------------------------------------------------------------------------------------------

    def rollouts(self) -> tuple[Entry, ...]:
        """All rollouts, the oldest first."""
        with _answers(self.name):
            found = [self._whole(self.container.get_blob_client(name)).entry for name in self.names("rollouts")]
        return tuple(sorted(found, key=lambda one: (one.opened_ms, one.id)))

    def _whole(self, blob: BlobClient) -> _Whole:
        return msgspec.json.decode(blob.download_blob().readall(), type=_Whole)

    def create(self, entry: Entry, plan_file: bytes) -> None:
        """A new rollout: one blob, so it is there whole or not at all."""
        data = msgspec.json.encode(_Whole(entry=entry, plan=plan_file))
        with _answers(self.name):
            try:
                self.blob("rollouts", f"{entry.id}.json").upload_blob(data, overwrite=False)
            except ResourceExistsError as error:
                raise InputError("a rollout of this name exists already", self.name, entry.id) from error

    def plan_file(self, rollout: str) -> bytes:
        """The plan file as it was applied."""
        with _answers(self.name):
            return self._whole(self.blob("rollouts", f"{rollout}.json")).plan

    def journal(self, rollout: str, fence: int | None = None) -> Journal:
        """The rollout's journal."""
        with _answers(self.name):
            return BlobJournal(self, rollout, writes=fence is not None)

    # -- the lease -----------------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> Held:
        """The lease of the rollout's scale set."""
        blob = self._lease_blob(entry.scale_set)
        executor, host, pid = me()
        with _answers(self.name):
            try:
                blob.upload_blob(msgspec.json.encode(_Lent()), overwrite=False)
            except ResourceExistsError:
                pass
            except HttpResponseError as error:
                if error.status_code != 412:  # it is there, and leased
                    raise
            lease = BlobLeaseClient(blob)
            try:
                lease.acquire(lease_duration=self.lasts_ms // 1000)
            except HttpResponseError as error:
                if error.status_code != 409:
                    raise
                self._held_by(blob, error)
                lease.acquire(lease_duration=self.lasts_ms // 1000)
            before = self._lent(blob)
            now = now_ms()
            mine = Holder(
                executor=executor,
                host=host,
                pid=pid,
                rollout=entry.id,
                fence=before.fence + 1,
                since_ms=now,
                beat_ms=now,
            )
            held = _Held(self, blob, lease, mine)
            held.write(held=True)
        return held

    def _held_by(self, blob: BlobClient, error: Exception) -> None:
        """Raise HeldByAnother, unless its holder certainly died here: then its lease is broken."""
        other = self._lent(blob).holder
        if other is None:
            raise PlatformError(
                "StoreRefused", f"{self.name}: the lease is held by somebody who did not say who"
            ) from error
        if is_gone(other):
            BlobLeaseClient(blob).break_lease(lease_break_period=0)
            return
        age = other.age_ms(now_ms())
        raise HeldByAnother(other, max(0, self.lasts_ms - age), age) from error

    def _lease_blob(self, scale_set: str) -> BlobClient:
        return self.blob("leases", f"{sha256(scale_set.encode()).hexdigest()[:32]}.json")

    def _lent(self, blob: BlobClient) -> _Lent:
        return msgspec.json.decode(blob.download_blob().readall(), type=_Lent)

    def holder(self, scale_set: str) -> Holder | None:
        """Who holds a scale set's lease."""
        with _answers(self.name):
            try:
                lent = self._lent(self._lease_blob(scale_set))
            except ResourceNotFoundError:
                return None
        return lent.holder if lent.held else None

    # -- approvals -----------------------------------------------------------------------------------------------

    def approve(self, approval: Approval) -> None:
        """Keep an approval."""
        who = sha256(approval.approver.encode()).hexdigest()[:12]
        name = f"{approval.at_ms:015d}-{who}.json"
        with _answers(self.name):
            self.blob("approvals", approval.plan_sha256, name).upload_blob(
                msgspec.json.encode(approval), overwrite=True
            )

    def approvals(self, plan_sha256: str) -> tuple[Approval, ...]:
        """The approvals of a plan."""
        with _answers(self.name):
            blobs = [self.container.get_blob_client(name) for name in self.names("approvals", plan_sha256)]
            return tuple(msgspec.json.decode(one.download_blob().readall(), type=Approval) for one in blobs)


class _Held:
    """A lease that was granted here."""

    def __init__(self, store: BlobStore, blob: BlobClient, lease: BlobLeaseClient, mine: Holder) -> None:
        self.fence = mine.fence
        self._store, self._blob, self._lease, self._mine = store, blob, lease, mine
        self._over = False

    def write(self, *, held: bool) -> None:
        """Say who holds it, and when that was last true."""
        mine = msgspec.structs.replace(self._mine, beat_ms=now_ms())
        data = msgspec.json.encode(_Lent(fence=self.fence, held=held, holder=mine))
        self._blob.upload_blob(data, overwrite=True, lease=self._lease)

    def renew(self) -> None:
        """Hold it for another span."""
        if self._over:
            raise LeaseLost("the lease was let go")
        try:
            self._lease.renew()
            self.write(held=True)
        except HttpResponseError as error:
            if error.status_code in (404, 409, 412):
                raise LeaseLost("another executor has taken this scale set over") from error
            raise

    def release(self) -> None:
        """Let it go."""
        self._over = True
        try:
            self.write(held=False)
            self._lease.release()
        except HttpResponseError as error:
            if error.status_code in (404, 409, 412):
                raise LeaseLost("the lease was not held any more") from error
            raise


class BlobJournal:
    """A journal in append blobs. writes: whoever held it before can append no more."""

    def __init__(self, store: BlobStore, rollout: str, *, writes: bool) -> None:
        self._store, self._rollout = store, rollout
        self.turns = 0
        self._state: State | None = None
        self._receipts: dict[str, str] = {}
        self._part, self._position, self._blocks = 1, 0, 0
        self._writes = writes
        if writes:
            self._claim()
        for record in self.records():
            self._note(record)

    # -- writing -------------------------------------------------------------------------------------------------

    def _blob(self, part: int) -> BlobClient:
        return self._store.blob("journals", self._rollout, f"{part:05d}.jsonl")

    def _claim(self) -> None:
        """A blank line at the end: nobody else knows the position after it."""
        for _ in range(20):
            parts = self._store.names("journals", self._rollout)
            self._part = max(1, len(parts))
            blob = self._blob(self._part)
            if not parts:
                self._create(blob)
            found = blob.get_blob_properties()
            self._position, self._blocks = found.size, found.append_blob_committed_block_count or 0
            if self._append(b"\n"):
                return
        raise LeaseLost("another executor goes on writing this journal")

    def _create(self, blob: BlobClient) -> None:
        from azure.core import MatchConditions  # noqa: PLC0415  # beside its only use

        try:
            blob.create_append_blob(match_condition=MatchConditions.IfMissing)
        except ResourceExistsError:
            return

    def _append(self, data: bytes) -> bool:
        """Append at the position that is known; False where somebody else appended there."""
        blob = self._blob(self._part)
        try:
            blob.append_block(data, appendpos_condition=self._position)
        except HttpResponseError as error:
            if error.status_code != 412:
                raise
            if data == b"\n" or not self._stands(blob, data):
                return False
        self._position += len(data)
        self._blocks += 1
        return True

    def _stands(self, blob: BlobClient, data: bytes) -> bool:
        """Does it stand there already? The reply to our own append may have got lost, and the client have repeated it."""
        try:
            return bool(blob.download_blob(offset=self._position, length=len(data)).readall() == data)
        except HttpResponseError as error:
            if error.status_code == 416:  # nothing stands there
                return False
            raise

    def write(self, record: Record) -> None:
        """Keep a record: it is in the store when this returns. Raises LeaseLost where somebody else writes it now."""
        if not self._writes:
            raise LeaseLost("this journal was opened to be read")
        with _answers(self._store.name):
            if self._blocks >= MOST_BLOCKS:
                self._next_part()
            if not self._append(_encoder.encode(record) + b"\n"):
                raise LeaseLost("another executor writes this journal now")
        self._note(record)

    def _next_part(self) -> None:
        """Go on in another blob; the end of this one is marked first, so that whoever was taken over cannot."""
        if not self._append(b" \n"):
            raise LeaseLost("another executor writes this journal now")
        self._part += 1
        self._create(self._blob(self._part))
        self._position = self._blocks = 0

    def _note(self, record: Record) -> None:
        if isinstance(record, Turn):
            self.turns += 1
            self._state = record.state
        elif isinstance(record, Recovered):
            self._state = record.state
        elif isinstance(record, Receipt):
            self._receipts[record.command] = record.handle

    # -- reading -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing is held open."""

    def last_state(self) -> State | None:
        """The State of the last turn."""
        return self._state

    def receipt(self, command: str) -> str:
        """The handle of a command's last receipt."""
        return self._receipts.get(command, "")

    def records(self) -> Iterator[Record]:
        """All records."""
        with _answers(self._store.name):
            for name in self._store.names("journals", self._rollout):
                data = self._store.container.get_blob_client(name).download_blob().readall()
                for line in data.splitlines():
                    if line.strip():
                        yield _decoder.decode(line)

    def ask(self, asked: Asked, ids: tuple[str, ...] = (), reason: str = "", by: str = "") -> int:
        """Append an operator request."""
        data = _encoder.encode({"asked": asked, "ids": ids, "reason": reason, "by": by})
        with _answers(self._store.name):
            number = len(self._store.names("requests", self._rollout))
            while True:
                number += 1
                try:
                    self._request(number).upload_blob(data, overwrite=False)
                except ResourceExistsError:
                    continue
                return number

    def _request(self, number: int) -> BlobClient:
        return self._store.blob("requests", self._rollout, f"{number:06d}.json")

    def requests(self, after: int) -> tuple[OperatorRequest, ...]:
        """Operator requests with a higher id."""
        with _answers(self._store.name):
            found = []
            for number in range(after + 1, len(self._store.names("requests", self._rollout)) + 1):
                said = msgspec.json.decode(self._request(number).download_blob().readall())
                found.append(msgspec.convert({"id": number, **said}, OperatorRequest))
            return tuple(found)
