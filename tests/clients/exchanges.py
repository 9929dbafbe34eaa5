"""What a client sent, read off the emulator's trace, in a form that can be compared with what is expected of it.

Rules this module decides:

1. A request is written `METHOD TAIL [api-version]`: TAIL is what follows the scale set's own path (`SET`), in the client's own
   spelling, but for the names in its query, which are lower case everywhere behind the server.
2. Polls of one operation are one entry, `GET OPERATION`, however many there were: how many is the clock's business. So is the last
   look at its result, `GET RESULT` (Location, with monitor=true).
3. Tokens, discovery and what else precedes every command are left out: only requests below the subscription count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_SET = re.compile(
    r"^/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.compute/virtualmachinescalesets/[^/]+", re.I
)
_OPERATION = re.compile(r"^/subscriptions/[^/]+/providers/microsoft\.compute/locations/[^/]+/operations/", re.I)


def read(trace: Path) -> list[dict[str, Any]]:
    """The exchanges of a trace, in order; what somebody did through the control endpoint is none."""
    lines = [msgspec.json.decode(line) for line in trace.read_bytes().splitlines() if line.strip()]
    return [line for line in lines if "method" in line]


def normal(line: dict[str, Any]) -> str:
    """Rule 1; empty where rule 3 leaves it out."""
    parts = urlsplit(line["url"])
    path, query = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
    if _OPERATION.match(path):
        return "GET RESULT" if query.get("monitor", "").lower() == "true" else "GET OPERATION"
    if not path.lower().startswith("/subscriptions/"):
        return ""
    tail, found = _SET.subn("SET", path)
    version = query.pop("api-version", "")
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    return f"{line['method']} {tail if found else path}{'?' + asked if asked else ''} [{version}]"


def requests(lines: Iterable[dict[str, Any]]) -> list[str]:
    """Rules 1 to 3."""
    made: list[str] = []
    for line in lines:
        one = normal(line)
        if one and not (one == "GET OPERATION" and made and made[-1] == one):
            made.append(one)
    return made
