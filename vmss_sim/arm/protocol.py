"""One connection: uvicorn's protocol with what it lacks, and the words in which Azure's front door refuses what is no HTTP.

Rules this module decides:

1. A request's head has `head_s` to come, or the connection is cut. What is idle between requests is not hurried.
2. What is no HTTP never gets as far as Resource Manager: the web server before it (http.sys) answers 400 with a page of HTML, closes, and gives no
   request id. Recorded by users of `management.azure.com`: Azure/azure-powershell#9086 and hashicorp/terraform-provider-azurerm#21790
   (Invalid URL), Azure/azure-libraries-for-net#1288 (Request Too Long). Clients meet it: their readers of JSON fail on it. `PAGES` says
   which fault of a request is which page; where several would do, nobody told which one Azure takes.
3. What still comes of such a request is read and dropped, until `LINGER_S` pass without any, or `head_s` in all: closing on bytes that nobody read
   would reset the connection, and take the page away from the client.
"""

from __future__ import annotations

import asyncio
import re
import sys
from email.utils import formatdate
from typing import Any
from weakref import WeakSet

import h11
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
LINGER_S = 0.05
LARGEST_HEAD = 65_536
"""Bytes; of Azure's limit only the page is known, and that URLs of 5 kB are well below it."""

TOO_LONG = (" - Request Too Long", "The size of the request headers is too long.")
LENGTH = (" - Invalid Content Length", "There is an invalid content length or chunk length in the request.")
URL = (" - Invalid URL", "The request URL is invalid.")
PAGES: tuple[tuple[str, tuple[str, str]], ...] = (
    ("Receive buffer too long", TOO_LONG),
    ("Host: header", (" - Invalid Hostname", "The request hostname is invalid.")),
    ("Content-Length", LENGTH),
    ("illegal chunk", LENGTH),
    ("illegal header", (" - Invalid Header", "The request has an invalid header name.")),
    ("request line", (" - Invalid Verb", "The request verb is invalid.")),
    ("", ("", "The request is badly formed.")),
)
"""Rule 2: what the parser's complaint has in it; the page's heading after `Bad Request`, and its sentence. The first that fits."""


def page(words: tuple[str, str]) -> bytes:
    """A page of http.sys."""
    heading, sentence = words
    return (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n'
        "<HTML><HEAD><TITLE>Bad Request</TITLE>\r\n"
        '<META HTTP-EQUIV="Content-Type" Content="text/html; charset=us-ascii"></HEAD>\r\n'
        f"<BODY><h2>Bad Request{heading}</h2>\r\n"
        f"<hr><p>HTTP Error 400. {sentence}</p>\r\n"
        "</BODY></HTML>\r\n"
    ).encode()


def malformed(scope: Scope) -> bytes | None:
    """The page for what the parser lets through; None where nothing is wrong. The parser sees the length of a head that comes in pieces only."""
    length = len(scope["raw_path"]) + len(scope["query_string"])
    if length + sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEAD:
        return page(TOO_LONG)
    return None if path_of(scope).startswith("/") else page(URL)


def path_of(scope: Scope) -> str:
    """The path, also of a client that takes us for a proxy and puts scheme and authority before it (RFC 9112, 3.2.2)."""
    return _AUTHORITY.sub("", scope["path"])


_AUTHORITY = re.compile(r"^https?://[^/]*(?=/)", re.IGNORECASE)
HTML = {"content-type": "text/html; charset=us-ascii", "server": "Microsoft-HTTPAPI/2.0", "connection": "close"}


class Protocol(H11Protocol):
    """uvicorn's, with a deadline for a request's head, and known by the client's address so that it can be cut."""

    head_s = HEAD_S
    open: dict[tuple[Any, ...], asyncio.Transport]
    every: WeakSet[asyncio.Transport]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects."""
        super().connection_made(transport)
        self.open[self._key()] = transport
        self.every.add(transport)
        self._deadline: asyncio.TimerHandle | None = None
        self._refused_until: float | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.open.pop(self._key(), None)
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a head that is complete now, or of one that began; or more of what was refused."""
        if self._refused_until is not None:
            self._linger()
            return
        before = self.cycle
        super().data_received(data)
        if self._refused_until is not None:
            return
        if self.cycle is not before:
            self._cancel()
        elif (self.cycle is None or self.cycle.response_complete) and self._deadline is None:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn says the same of all
        """Rules 2 and 3; called while the parser's complaint is handled."""
        said = str(sys.exception())
        body = page(next(words for part, words in PAGES if part in said))
        told = {**HTML, "date": formatdate(usegmt=True), "content-length": str(len(body))}
        answer = h11.Response(status_code=400, headers=list(told.items()), reason=b"Bad Request")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._refused_until = self.loop.time() + self.head_s
        self._linger()

    def shutdown(self) -> None:
        """The server stops: a client that has its answer need not say goodbye (TLS would wait for that)."""
        if self.transport.is_closing():
            self.transport.abort()
            return
        idle = self.cycle is None or self.cycle.response_complete
        super().shutdown()
        if idle:
            self.loop.call_later(0.05, self.transport.abort)

    def _linger(self) -> None:
        """Rule 3."""
        self._cancel()
        quiet = LINGER_S if self.loop.time() < (self._refused_until or 0) else 0
        self._deadline = self.loop.call_later(quiet, self._close)

    def _close(self) -> None:
        """Once: asyncio's transports for TLS that are closed twice can no longer be aborted, and stay open until the client says goodbye."""
        if not self.transport.is_closing():
            self.transport.close()

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_s, self.transport.abort)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _key(self) -> tuple[Any, ...]:
        return (self.client, self.server)
