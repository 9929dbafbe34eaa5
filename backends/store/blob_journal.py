"""The journal of a rollout in append blobs, one record a line.

Contract: each append names the position where it has to land, and an executor that takes over appends a blank line first, so that the one
before it can append no more (a reply that got lost is told from that by reading what stands there). Requests are small blobs that are created once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from backends.journal import Remembering, asking
from backends.lease import LeaseLost
from backends.store.blob_service import BlobClient, HttpResponseError, ResourceExistsError, answers, created
from planner.rollout import Asked, OperatorRequest
from planner.trace import Record

if TYPE_CHECKING:
    from backends.store.blobs import BlobStore

MOST_BLOCKS = 49_000
"""An append blob takes 50,000 blocks; the journal goes on in the next one before."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class BlobJournal(Remembering):
    """A journal in append blobs. writes: whoever held it before can append no more."""

    def __init__(self, store: BlobStore, rollout: str, *, writes: bool) -> None:
        super().__init__()
        self._store, self._rollout = store, rollout
        self._part, self._position, self._blocks = 1, 0, 0
        self._writes = writes
        if writes:
            self._claim()
        for record in self.records():
            self.remember(record)

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
        with answers(self._store.name):
            if self._blocks >= MOST_BLOCKS:
                self._next_part()
            if not self._append(_encoder.encode(record) + b"\n"):
                raise LeaseLost("another executor writes this journal now")
        self.remember(record)

    def _next_part(self) -> None:
        """Go on in another blob; the end of this one is marked first, so that whoever was taken over cannot."""
        if not self._append(b" \n"):
            raise LeaseLost("another executor writes this journal now")
        self._part += 1
        self._create(self._blob(self._part))
        self._position = self._blocks = 0

    # -- reading -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing is held open."""

    def records(self) -> Iterator[Record]:
        """All records."""
        with answers(self._store.name):
            for name in self._store.names("journals", self._rollout):
                data = self._store.container.get_blob_client(name).download_blob().readall()
                for line in data.splitlines():
                    if line.strip():
                        yield _decoder.decode(line)

    def ask(self, asked: Asked, ids: tuple[str, ...] = (), reason: str = "", by: str = "") -> int:
        """Append an operator request."""
        data = asking(asked, ids, reason, by)
        with answers(self._store.name):
            number = len(self._store.names("requests", self._rollout)) + 1
            while not created(self._request(number), data):
                number += 1
            return number

    def _request(self, number: int) -> BlobClient:
        return self._store.blob("requests", self._rollout, f"{number:06d}.json")

    def requests(self, after: int) -> tuple[OperatorRequest, ...]:
        """Operator requests with a higher id."""
        with answers(self._store.name):
            found = []
            for number in range(after + 1, len(self._store.names("requests", self._rollout)) + 1):
                said = msgspec.json.decode(self._request(number).download_blob().readall())
                found.append(msgspec.convert({"id": number, **said}, OperatorRequest))
            return tuple(found)
