"""Long-running operations as clients see them: their URLs, what a poll says, what `Location` says, and how long they are kept.

Rules (recordings, "Protocol facts read off the traffic"; azure-vmss.md 4.2; DOC-arm async-operations):

1. An operation is named by a GUID under `/subscriptions/S/providers/Microsoft.Compute/locations/L/operations/ID`. That URL with
   `monitor=true` is the `Location`, without it the `Azure-AsyncOperation`. Clients must take either as it is.
2. A poll is 200 whatever the operation came to: `startTime`, `status` (InProgress, Succeeded, Failed), `name` (with api-version
   2015-06-15 `operationId`), `endTime` when it has ended, `error` where it failed, `properties.output` where a run-command wrote something.
3. `Location` is 202 with an empty body while it runs, then 200, empty or with the run-command's output. Of a failed operation
   it says the error, with 409 (no recording asks for it: clients learn of a failure from the poll).
4. Opaque URLs (an option) carry a signed query of 4 kB as since late 2023. Whoever alters it gets 403: a client that rebuilds
   or truncates URLs breaks here as it would in Azure.
5. What has ended is kept for 24 virtual hours, and `KEPT` of it at most; what runs is always kept. Then: 404.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from vmss_sim.arm.http import Refused
from vmss_sim.arm.wire import moment, plain
from vmss_sim.world import errors
from vmss_sim.world.vm import Operation

KEPT = 2_000
KEPT_MS = 24 * 3_600_000
WORDS = {"running": "InProgress", "succeeded": "Succeeded", "failed": "Failed"}
SIGNED = ("t", "c", "s", "h")
"""The opaque part of the query: time, certificate (the bulk), signature, hash."""


class Tracked:
    """An operation that a client was told of. work: the world's; output: what a run-command action wrote; of: the set's id; hidden: it looks
    as if it still ran, since who polls it would not have looked again yet (the clock says so).
    """

    __slots__ = ("hidden", "id", "location", "of", "output", "subscription", "work")

    def __init__(
        self, work: Operation, *, subscription: str, location: str, of: str, output: dict[str, Any] | None = None
    ) -> None:
        self.id = work.name
        self.work, self.subscription, self.location, self.of, self.output = work, subscription, location, of, output
        self.hidden = False

    @property
    def status(self) -> str:
        """How it stands, for who polls it."""
        return "running" if self.hidden else self.work.status

    @property
    def ends_at(self) -> int:
        """When it will end, as things stand; NEVER where something else will end it."""
        return self.work.ends_at


class Operations:
    """Those that run, and those that ended lately. opaque: rule 4; seed: of the signatures."""

    def __init__(self, *, opaque: bool = False, seed: str = "") -> None:
        self.opaque = opaque
        self.running: dict[str, Tracked] = {}
        self._ended: dict[str, tuple[int, Tracked]] = {}
        self._seed = seed

    def add(self, one: Tracked, now_ms: int) -> Tracked:
        """Remember an operation, running or not."""
        self.running[one.id] = one
        self.look(now_ms, (one.id,))
        return one

    def look(self, now_ms: int, names: Iterable[str]) -> None:
        """These may have ended; what ended long ago is forgotten (rule 5)."""
        for name in names:
            one = self.running.get(name)
            if one is not None and one.work.status != "running":
                del self.running[name]
                self._ended[name] = (now_ms, one)
                one.work.ids, one.work.args = (), {}  # nobody asks any more, and there may be a thousand
        while self._ended:
            name, (when, _) = next(iter(self._ended.items()))
            if len(self._ended) <= KEPT and now_ms - when <= KEPT_MS:
                break
            del self._ended[name]

    def ended(self, name: str) -> Tracked | None:
        """One that ended lately."""
        return self._ended[name][1] if name in self._ended else None

    def find(self, name: str, location: str | None = None) -> Tracked:
        """The operation of this id. location: where it is asked for. Raises Refused: none there, or none any more."""
        name = name.lower()
        found = self.running.get(name)
        if found is None and name in self._ended:
            found = self._ended[name][1]
        if found is None or (location is not None and plain(location) != plain(found.location)):
            raise Refused(errors.NOT_FOUND.http_status, errors.NOT_FOUND.code, errors.NOT_FOUND.sentence())
        return found

    def __len__(self) -> int:
        return len(self.running) + len(self._ended)

    # -- URLs ----------------------------------------------------------------------------------------------------

    def url(self, one: Tracked, base: str, version: str, *, monitor: bool = False) -> str:
        """Rule 1."""
        query = {"p": self._digest("principal", one.subscription)[:36]}
        if monitor:
            query["monitor"] = "true"
        query["api-version"] = version
        if self.opaque:
            query |= self._signature(one, query)
        path = f"/subscriptions/{one.subscription}/providers/Microsoft.Compute/locations/{one.location}/operations/{one.id}"
        return f"{base}{path}?{urlencode(query)}"

    def admit(self, one: Tracked, query: Mapping[str, str]) -> None:
        """Rule 4. Raises Refused."""
        if self.opaque and any(query.get(key) != value for key, value in self._signature(one, query).items()):
            raise Refused(
                403,
                "AuthorizationFailed",
                "The signature of the operation URL does not match: the URL must be used exactly as it was given.",
            )

    def _signature(self, one: Tracked, query: Mapping[str, str]) -> dict[str, str]:
        about = "/".join((one.id, *(query.get(key, "") for key in ("p", "monitor", "api-version"))))
        sizes = zip(SIGNED, (12, 2700, 256, 32), strict=True)
        return {
            key: base64.urlsafe_b64encode(self._bytes(f"{key}/{about}", size)).decode().rstrip("=")
            for key, size in sizes
        }

    def _bytes(self, about: str, size: int) -> bytes:
        return hashlib.shake_256(f"{self._seed}/{about}".encode()).digest(size)

    def _digest(self, purpose: str, about: str) -> str:
        text = self._bytes(f"{purpose}/{about.lower()}", 16).hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def poll_body(one: Tracked, version: str, epoch: datetime) -> dict[str, Any]:
    """Rule 2."""
    work = one.work
    body: dict[str, Any] = {"startTime": moment(epoch, work.started_at)}
    if one.status != "running":
        body["endTime"] = moment(epoch, work.ends_at)
    body["status"] = WORDS[one.status]
    if one.status == "failed":
        body["error"] = {"code": work.code, "message": work.message or work.code}
    if one.output is not None and one.status == "succeeded":
        body["properties"] = {"output": one.output}
    body["operationId" if version.startswith("2015") else "name"] = one.id
    return body
