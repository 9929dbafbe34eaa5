"""A store in Azure Blob Storage, so that any machine with the right to it can look, ask and go on. Extra `azblob`.

Contract: as `files.py`, by what the service promises. A scale set's lease is a blob lease: the service itself lets it run out and
refuses whoever lost it. The journal is `blob_journal.py`. Approvals are small blobs that are created once. Errors: `blob_service.py`.

Credential: `$AZURE_STORAGE_CONNECTION_STRING` where it is for this account (Azurite, account keys), else `blob_login.py`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from backends.journal import Journal
from backends.lease import LASTS_MS, Held, Holder, LeaseLost, is_gone, me, space
from backends.store import Approval, Entry, HeldByAnother, Login, now_ms
from backends.store.blob_journal import BlobJournal
from backends.store.blob_service import (
    BlobClient,
    BlobLeaseClient,
    ContainerClient,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    answers,
    created,
)
from backends.store.blob_waiting import RENEWAL, Patience, Retry, Transport
from planner.errors import InputError, PlatformError

if TYPE_CHECKING:
    from backends.store.blob_login import Bounded

_NAMELESS = 10
"""How often it is looked who holds a lease that nobody has said to hold yet."""
CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_NAME = re.compile(r"azblob://([^/?#]+)/([a-z0-9$](?:[a-z0-9-]{1,61}[a-z0-9]))(?:/([^?#]*))?")


class _Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout's blob."""

    entry: Entry
    plan: bytes


class _Lent(msgspec.Struct, frozen=True, kw_only=True):
    """A lease's blob. holder: the last one; held: not let go."""

    fence: int = 0
    held: bool = False
    holder: Holder | None = None


class BlobStore:
    """The store. lasts_ms: as the service counts leases, 15 to 60 s. credential: closed with it."""

    def __init__(
        self,
        container: ContainerClient,
        prefix: str,
        name: str,
        *,
        lasts_ms: int = LASTS_MS,
        login: Login | None = None,
        credential: Bounded | None = None,
    ) -> None:
        self.container, self.prefix, self.name, self.lasts_ms = container, prefix, name, lasts_ms
        self.login, self._credential = login or Login(), credential

    @classmethod
    def named(cls, given: str, login: Login, says: Callable[[str], None] | None = None) -> BlobStore:
        """`azblob://ACCOUNT/CONTAINER[/PREFIX]`; ACCOUNT may be a host, for other clouds. says: is told while it does not answer. Raises InputError."""
        found = _NAME.fullmatch(given)
        if found is None:
            raise InputError("not a store", "--store", repr(given), "azblob://ACCOUNT/CONTAINER[/PREFIX]")
        account, container, prefix = found.group(1), found.group(2), (found.group(3) or "").strip("/")
        patience = Patience(given, says)
        options: dict[str, Any] = {
            "retry_policy": Retry(),
            "transport": Transport(patience, connection_timeout=10, read_timeout=20),
        }
        said, credential = os.environ.get(CONNECTION, ""), None
        if f"accountname={account.partition('.')[0].lower()};" in f"{said.lower()};":
            client = ContainerClient.from_connection_string(said, container, **options)
        else:
            from backends.store.blob_login import credential_for, host_of  # noqa: PLC0415  # heavy: only where it is used

            host, where = host_of(account, login)
            credential = credential_for(where, login)
            client = ContainerClient(f"https://{host}", container, credential, **options)
        return cls(client, f"{prefix}/" if prefix else "", given, login=login, credential=credential)

    def close(self) -> None:
        """Close its connections, and those of its login."""
        self.container.close()
        if self._credential is not None:
            self._credential.close()

    @property
    def absent(self) -> str:
        """A container that is not there is an error wherever it is asked."""
        return ""

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
        with answers(self.name):
            found = [self._whole(self.container.get_blob_client(name)).entry for name in self.names("rollouts")]
        return tuple(sorted(found, key=lambda one: (one.opened_ms, one.id)))

    def _whole(self, blob: BlobClient) -> _Whole:
        return msgspec.json.decode(blob.download_blob().readall(), type=_Whole)

    def create(self, entry: Entry, plan_file: bytes) -> None:
        """A new rollout: one blob, so it is there whole or not at all."""
        data = msgspec.json.encode(_Whole(entry=entry, plan=plan_file))
        with answers(self.name):
            if not created(self.blob("rollouts", f"{entry.id}.json"), data):
                raise InputError("a rollout of this name exists already", self.name, entry.id)

    def plan_file(self, rollout: str) -> bytes:
        """The plan file as it was applied."""
        with answers(self.name):
            return self._whole(self.blob("rollouts", f"{rollout}.json")).plan

    def journal(self, rollout: str, fence: int | None = None) -> Journal:
        """The rollout's journal."""
        with answers(self.name):
            return BlobJournal(self, rollout, writes=fence is not None)

    # -- the lease -----------------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> Held:
        """The lease of the rollout's scale set."""
        blob = self._lease_blob(entry.scale_set)
        executor, host, pid = me()
        with answers(self.name):
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
                space=space(),
            )
            held = _Held(self, blob, lease, mine)
            held.write(held=True)
        return held

    def _held_by(self, blob: BlobClient, error: Exception) -> None:
        """Raise HeldByAnother, unless its holder certainly died here: then its lease is broken."""
        for _ in range(_NAMELESS):  # who has just taken it says so right afterwards
            other = self._lent(blob).holder
            if other is not None:
                break
            time.sleep(0.2)
        else:
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
        with answers(self.name):
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
        with answers(self.name):
            self.blob("approvals", approval.plan_sha256, name).upload_blob(
                msgspec.json.encode(approval), overwrite=True
            )

    def approvals(self, plan_sha256: str) -> tuple[Approval, ...]:
        """The approvals of a plan."""
        with answers(self.name):
            blobs = [self.container.get_blob_client(name) for name in self.names("approvals", plan_sha256)]
            return tuple(msgspec.json.decode(one.download_blob().readall(), type=Approval) for one in blobs)


class _Held:
    """A lease that was granted here."""

    def __init__(self, store: BlobStore, blob: BlobClient, lease: BlobLeaseClient, mine: Holder) -> None:
        self.fence = mine.fence
        self._store, self._blob, self._lease, self._mine = store, blob, lease, mine
        self._over = False

    def write(self, *, held: bool, **options: Any) -> None:
        """Say who holds it, and when that was last true."""
        mine = msgspec.structs.replace(self._mine, beat_ms=now_ms())
        data = msgspec.json.encode(_Lent(fence=self.fence, held=held, holder=mine))
        self._blob.upload_blob(data, overwrite=True, lease=self._lease, **options)

    def renew(self) -> None:
        """Hold it for another span."""
        if self._over:
            raise LeaseLost("the lease was let go")
        try:
            self._lease.renew(**RENEWAL)
            self.write(held=True, **RENEWAL)
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
