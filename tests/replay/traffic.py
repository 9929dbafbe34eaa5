"""Reader of recorded ARM traffic: one line a recording, whatever recorder it came from, into sessions about one scale set.

Rules:

1. A *recording* is `{source, path, recorded_on, exchanges}`; bodies and headers may be JSON, the text of JSON, or the text of
   a Python literal (`b'...'`, `{'date': ...}`), since every recorder had its own habits.
2. Time is the response header `Date`, in ms from the recording's first: to the second, cut off. Servers' clocks differ by
   a second or two, so the order of the file counts, and time does not go back. Recorders that grouped exchanges by request
   (time goes back by more than `GROUPED_S`) are put back in order of time.
3. A *session* is what concerns one scale set, polls of its operations included. A poll belongs to the request whose
   answer named the operation. It ends with the set's deletion; a creation after that begins another.
"""

from __future__ import annotations

import ast
import datetime as dt
import email.utils
import gzip
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SHARED = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "arm-traffic.jsonl.gz"
"""Where the recordings lie beside a checkout; they are no part of the project."""

GROUPED_S = 20.0

_SET = re.compile(
    r"/resourcegroups/([^/]+)/providers/microsoft\.compute/virtualmachinescalesets/([^/?]+)(/[^?]*)?", re.I
)
_OPERATION = re.compile(r"/(?:operations|capsoperations)/([0-9a-z-]+)", re.I)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?$")


class Exchange(NamedTuple):
    """A request and its answer. rest: the path below the scale set, lower case; operation: the id of the long-running
    operation it started or, for a poll, asks about.
    """

    index: int
    at_ms: int
    method: str
    rest: str
    query: str
    status: int
    request: Any
    response: Any
    operation: str

    @property
    def polls(self) -> bool:
        """Is it a look at an operation?"""
        return self.rest == "operation"


class Seen(NamedTuple):
    """What a recording shows of one operation. running_ms: the last look that found it running; done_ms: the first that
    found it ended (None: none did); seconds: by its own account, None where that contradicts the looks.
    """

    status: str
    code: str
    running_ms: int | None
    done_ms: int | None
    seconds: float | None


class Session(NamedTuple):
    """One scale set in one recording."""

    recording: str
    recorded_on: str
    name: str
    exchanges: tuple[Exchange, ...]
    operations: dict[str, Seen]


def read(path: Path = SHARED) -> Iterator[dict[str, Any]]:
    """Every recording of a file, compressed or not."""
    raw = path.read_bytes()
    for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines():
        yield json.loads(line)


def parsed(body: Any) -> Any:
    """Rule 1; None for an empty body, the text itself where it is not JSON."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if not isinstance(body, str):
        return body
    text = body.strip()
    if not text:
        return None
    try:
        return parsed_again(json.loads(text))
    except ValueError:
        pass
    if text[:2] in ("b'", 'b"', "{'") or text[:1] in "'\"":
        try:
            return parsed(ast.literal_eval(text))
        except (SyntaxError, ValueError):
            return text
    return text


def parsed_again(value: Any) -> Any:
    """A JSON string that holds JSON once more."""
    return parsed(value) if isinstance(value, str) else value


def header(exchange: dict[str, Any], name: str) -> str:
    """One header's value, empty where it is absent."""
    headers = parsed(exchange["headers"]) or {}
    value = next((value for key, value in headers.items() if key.lower() == name), "")
    return value[0] if isinstance(value, list) else value or ""


def seconds(text: str) -> float:
    """Seconds since the epoch of a time in an operation's body (seven digits, any offset)."""
    found = _TIME.match(text)
    if found is None:
        raise ValueError(text)
    whole = dt.datetime.fromisoformat(found.group(1) + (found.group(3) or "Z").replace("Z", "+00:00"))
    return whole.timestamp() + float(found.group(2) or 0)


def title(recording: dict[str, Any]) -> str:
    """How a recording is called: source, file and day."""
    return f"{recording['source']} {recording['path'].rsplit('/', 1)[-1]} {recording['recorded_on']}"


def in_time(recording: dict[str, Any]) -> dict[int, int]:
    """Rule 2: when each exchange was, in ms from the first, in order of time."""
    dates = [email.utils.parsedate_to_datetime(header(one, "date")).timestamp() for one in recording["exchanges"]]
    order = list(range(len(dates)))
    if any(later < earlier - GROUPED_S for earlier, later in itertools.pairwise(dates)):
        order.sort(key=lambda index: (dates[index], index))
    times = dict(zip(order, itertools.accumulate((dates[index] for index in order), max), strict=True))
    began = times[order[0]] if order else 0.0
    return {index: round((at - began) * 1000) for index, at in times.items()}


def sessions(recording: dict[str, Any]) -> list[Session]:
    """The sessions of a recording, in order of their first exchange."""
    exchanges = recording["exchanges"]
    times = in_time(recording)
    owner: dict[str, tuple[str, str]] = {}
    found: dict[tuple[str, str, int], list[Exchange]] = {}
    life: dict[tuple[str, str], int] = {}
    gone: set[tuple[str, str]] = set()
    # Started operations first: a recorder that groups requests may show a poll before its request within one second.
    for index in times:
        started = started_by(exchanges[index])
        match = _SET.search(exchanges[index]["url"])
        if started and match:
            owner[started] = (match.group(1).lower(), match.group(2).lower())
    for index in times:
        one = exchanges[index]
        path, _, query = one["url"].partition("?")
        match = _SET.search(path)
        polled = _OPERATION.search(path)
        if match:
            key, rest = (match.group(1).lower(), match.group(2).lower()), (match.group(3) or "").lower().rstrip("/")
            operation = started_by(one)
        elif polled and polled.group(1).lower() in owner:
            operation = polled.group(1).lower()
            key, rest = owner[operation], "operation" if "monitor" not in query.lower() else "monitor"
        else:
            continue
        if one["method"] == "PUT" and not rest and key in gone:
            gone.remove(key)
            life[key] = life.get(key, 0) + 1
        if key in gone:
            continue
        if one["method"] == "DELETE" and not rest:
            if int(one["status"]) == 202:  # 204: there was none
                gone.add(key)
            continue
        exchange = Exchange(
            index,
            times[index],
            one["method"],
            rest,
            query,
            int(one["status"]),
            parsed(one["request_body"]),
            parsed(one["response_body"]),
            operation,
        )
        found.setdefault((*key, life.get(key, 0)), []).append(exchange)
    name = title(recording)
    return [
        Session(name, recording["recorded_on"], key[1], tuple(items), operations(items)) for key, items in found.items()
    ]


def set_in(path: str) -> tuple[str, str, str] | None:
    """The resource group and name of the set that a path names, and the rest of the path, in lower case."""
    found = _SET.search(path)
    return (
        None
        if found is None
        else (*(part.lower() for part in found.group(1, 2)), (found.group(3) or "").lower().rstrip("/"))
    )  # type: ignore[return-value]


def operation_in(path: str) -> str:
    """The operation that a path looks at; empty for none."""
    found = _OPERATION.search(path)
    return found.group(1).lower() if found else ""


def started_by(exchange: dict[str, Any]) -> str:
    """The operation that an answer names; empty for none."""
    if exchange["method"] == "GET":
        return ""
    url = header(exchange, "azure-asyncoperation") or header(exchange, "location")
    match = _OPERATION.search(url)
    return match.group(1).lower() if match else ""


def operations(exchanges: list[Exchange]) -> dict[str, Seen]:
    """What the looks at operations show of each, by its id."""
    started = {one.operation: one.at_ms for one in exchanges if one.operation and not one.polls}
    found: dict[str, Seen] = {}
    for name, began in started.items():
        running = done = None
        status, code, took = "InProgress", "", None
        for one in exchanges:
            if one.operation != name or not one.polls or not isinstance(one.response, dict):
                continue
            body = one.response
            if body.get("status") == "InProgress":
                running = one.at_ms
            elif body.get("status") in ("Succeeded", "Failed", "Canceled") and done is None:
                status, done = body["status"], one.at_ms
                code = (body.get("error") or {}).get("code", "")
                took = seconds(body["endTime"]) - seconds(body["startTime"]) if body.get("endTime") else None
        if took is not None and running is not None and took * 1000 < running - began - 5_000:
            took = None  # before 2020-09 rolling upgrades gave their end as their start
        found[name] = Seen(status, code, running, done, took)
    return found
