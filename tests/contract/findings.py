"""What was found: values, and the exchanges they are about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

SPEC = "2024-07-01"
NEWEST = "2026-04-01"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "armspec"
"""Where the specifications lie beside a checkout; they are no part of the project."""
OPENAPI = SHARED / "openapi-2024-07-01"
TYPES = SHARED / "bicep-types-2026-04-01" / "types.json"
ABSENT = f"the specifications are not there ({SHARED})"


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a log."""

    method: str
    url: str
    status: int
    at_ms: int = 0
    request_headers: dict[str, str] = {}
    request_body: Any = None
    headers: dict[str, str] = {}
    body: Any = None

    @property
    def path(self) -> str:
        """The path of the url."""
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        """Its query, names in lower case."""
        return {name.lower(): value for name, value in parse_qsl(urlsplit(self.url).query)}

    @property
    def version(self) -> str:
        """The api-version asked for."""
        return self.query.get("api-version", "")


class Finding(NamedTuple):
    """Something that does not fit. line: of the log, from 1; validator: oav, openapi or types; at: the place in the answer."""

    line: int
    validator: str
    code: str
    at: str
    message: str
    exchange: Exchange

    def __str__(self) -> str:
        return f"line {self.line}: {self.exchange.method} {self.exchange.path} {self.exchange.status}: {self.code} at {self.at or '/'}: {self.message} ({self.validator})"


class Report(NamedTuple):
    """findings: what nothing explains; excepted: (name of the exception, finding); judged, unknown: exchanges that the specification
    describes, and does not (operations in flight, other resource types).
    """

    findings: tuple[Finding, ...]
    excepted: tuple[tuple[str, Finding], ...]
    judged: int
    unknown: tuple[tuple[int, str], ...]

    def excepted_by(self, name: str) -> list[Finding]:
        """What this exception explains."""
        return [finding for other, finding in self.excepted if other == name]


def read(log: Path) -> list[Exchange]:
    """The exchanges of a log: what nobody answered (a lost reply), and what was done through the control endpoint, is none.

    The server says of every body that it is JSON, after the trace was written: where a log does not say it, it is taken as said.
    """
    found = []
    with log.open() as lines:
        for line in lines:
            told = json.loads(line) if line.strip() else {}
            if told.get("method") and told.get("status"):
                one = msgspec.convert(told, Exchange)
                said = one.body is None or any(name.lower() == "content-type" for name in one.headers)
                headers = one.headers if said else {**one.headers, "content-type": "application/json; charset=utf-8"}
                found.append(msgspec.structs.replace(one, headers=headers))
    return found


def write(log: Path, exchanges: Iterable[Exchange]) -> None:
    """A log of these."""
    log.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in exchanges))


def numbered(exchanges: Iterable[Exchange]) -> Iterator[tuple[int, Exchange]]:
    """With the number of the line."""
    return enumerate(exchanges, 1)
