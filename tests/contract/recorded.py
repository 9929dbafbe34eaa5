"""Recorded exchanges as a log: what real Azure answered, for the validators to be judged by."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.contract.findings import SPEC, Exchange
from tests.replay.traffic import SHARED, parsed

ABSENT = f"the recordings are not there ({SHARED})"


def _first(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


@cache
def exchanges(version: str = SPEC) -> tuple[Exchange, ...]:
    """Those of an api-version."""
    return tuple(_read(version))


def _read(version: str) -> Iterator[Exchange]:
    with gzip.open(SHARED, "rt") as lines:
        for line in lines:
            if version not in line:
                continue
            for one in json.loads(line)["exchanges"]:
                query = {name.lower(): value for name, value in parse_qsl(urlsplit(one["url"]).query)}
                if query.get("api-version") == version:
                    headers = {name.lower(): _first(value) for name, value in (parsed(one["headers"]) or {}).items()}
                    yield Exchange(
                        method=one["method"],
                        url=one["url"],
                        request_body=parsed(one["request_body"]),
                        status=one["status"],
                        headers=headers,
                        body=parsed(one["response_body"]),
                    )
