"""The trace: every exchange with the endpoint, one JSON line each, on disk; and what of it a snapshot needs.

Rules this module decides:

1. A line is {"at_ms", "method", "url", "request_headers", "request_body", "status", "headers", "body"}; a body that is no JSON stands as
   text under `request_text`. Requests come here without secrets, and what is private besides stays out of
   the lines (`redaction.py`, rule 5); tokens are in none.
2. What somebody did through the control endpoint and that changes the world is a line {"at_ms", "control", "value"}.
3. A *snapshot* is the lines that changed something, since the beginning or the last reset: a header line, then these. Reads belong to it
   only where throttles may refuse, since there a read takes tokens.
4. Nothing is kept in memory.
5. A file that nobody asked for is bounded, since it may be in memory after all (tmpfs): from `MOST` bytes on it goes on with what a snapshot needs, and without
   answers. One look at 1000 instances is 4 MB.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from planner.errors import InputError
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.redaction import clean_headers, clean_text, for_files, text_for_files

JSON = {"content-type": "application/json; charset=utf-8"}
"""What the server says of a body."""
READS = ("GET", "HEAD", "OPTIONS")
MOST = 64 << 20


class Trace:
    """A file of lines. path: where; None: a file of its own that goes when it is closed."""

    def __init__(self, path: Path | None = None) -> None:
        self._own = path is None
        try:
            if path is None:
                handle, name = tempfile.mkstemp(prefix="vmss-sim-", suffix=".jsonl")
                self.path = Path(name)
            else:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                self.path = path
        except OSError as error:
            raise InputError(
                "the trace cannot be written", str(path), error.strerror or str(error), "a path in a folder that exists"
            ) from error
        self._file = os.fdopen(handle, "wb")
        self._begins = 0

    def exchange(self, request: Request, response: Response, at_ms: int, *, needed: bool = True) -> None:
        """Write an exchange down. needed: by a snapshot (rule 3)."""
        full = self._own and self._file.tell() >= MOST  # rule 5
        if full and not needed:
            return
        body = None if full else response.body
        query = f"?{urlencode(request.query, safe='$,')}" if request.query else ""
        line: dict[str, Any] = {
            "at_ms": at_ms,
            "method": request.method,
            "url": clean_text(f"{request.base}{quote(request.path)}{query}"),
            "request_headers": clean_headers(request.headers),
            "request_body": None,
            "status": response.status,
            "headers": response.headers if body is None else {**JSON, **response.headers},
            "body": body,
        }
        if request.body:
            try:
                line["request_body"] = msgspec.json.decode(request.body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                line["request_text"] = text_for_files(request.body.decode("utf-8", "replace"))
        self._write(line)

    def control(self, what: str, value: Any, at_ms: int) -> None:
        """Write down what somebody did to the world from outside."""
        self._write({"at_ms": at_ms, "control": what, "value": value})

    def again(self, line: dict[str, Any]) -> None:
        """A line of a restored snapshot: from here on it is ours."""
        self._write(line)

    def begin_again(self) -> None:
        """From here on it is about a fresh site."""
        self._file.flush()
        self._begins = self._file.tell()

    def changes(self, *, reads: bool) -> Iterator[bytes]:
        """The lines of a snapshot (rule 3), without what they were answered."""
        self._file.flush()
        until = self._file.tell()
        with self.path.open("rb") as stream:
            stream.seek(self._begins)
            while stream.tell() < until:
                line = msgspec.json.decode(stream.readline())
                if reads or "control" in line or line["method"] not in READS:
                    kept = {key: value for key, value in line.items() if key not in ("status", "headers", "body")}
                    yield msgspec.json.encode(kept) + b"\n"

    def close(self) -> None:
        """No more lines; a file of its own goes."""
        self._file.close()
        if self._own:
            self.path.unlink(missing_ok=True)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(for_files(msgspec.json.encode(line)) + b"\n")
        self._file.flush()


def request_of(line: dict[str, Any]) -> Request:
    """A line's request, to be asked again."""
    parts = urlsplit(line["url"])
    body = b"" if line["request_body"] is None else msgspec.json.encode(line["request_body"])
    return Request(
        method=line["method"],
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers=line["request_headers"],
        body=line["request_text"].encode() if "request_text" in line else body,
        base=f"{parts.scheme}://{parts.netloc}",
    )
