"""A request and its answer as values: everything behind the endpoint but the server itself is a function of these.

Contract: header and query names are lower case; `path` is as sent (ARM compares without case, so do the routes), decoded.
"""

from __future__ import annotations

from typing import Any

import msgspec

WAITS, TOLD = "x-vmss-sim-waits", "told"
"""A header by which a client says how it waits, and its one value: each sleep of mine is told."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. base: scheme and authority under which the client reached us, for absolute URLs in answers; port: of the client, on
    this machine (0: of another).
    """

    method: str
    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes = b""
    base: str = "https://localhost"
    port: int = 0

    @property
    def version(self) -> str:
        """The api-version asked for; empty where there is none."""
        return self.query.get("api-version", "")

    @property
    def tells(self) -> bool:
        """Does its client tell every wait of its own?"""
        return self.headers.get(WAITS, "").strip().lower() == TOLD


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. status: 0 where nobody answers (the server drops the connection). body: what is encoded as JSON; None: empty."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}


class Refused(Exception):
    """A request that is answered by an error, in ARM's form."""

    def __init__(
        self, status: int, code: str, message: str, target: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(status, code, message, target, retry_after_s)
        self.status, self.code, self.message, self.target = status, code, message, target
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """As ARM sends it."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target is not None:
            error["target"] = self.target
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return Response(status=self.status, body={"error": error}, headers=headers)
