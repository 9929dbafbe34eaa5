"""What the service needs over time, as a step function from the start of the rollout.

1. A daily curve names local times of day; a value holds until the next time, and the last one past midnight.
2. A CSV file has a time and a value a line (a header is allowed): `HH:MM` for a daily curve, or ISO dates and times for
   a history, whose values then hold as they are and whose last one holds for ever.
3. With `per_vm` the values are requests/s and the need is rounded up to whole VMs.
4. Local time is the IANA time zone's, daylight saving included. Without `starts_at` a rollout starts at 02:00 local.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from planner.errors import InputError
from planner.metrics import StepFunction
from scenarios.files import read_bytes

DEFAULT_START = "02:00"
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def zone(name: str, where: str) -> ZoneInfo:
    """An IANA time zone. Raises InputError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError("unknown time zone", where, repr(name), "an IANA name such as Europe/Berlin") from error


def start_of(text: str | None, local: ZoneInfo, where: str) -> datetime:
    """When the rollout starts. A time of day alone means a Monday, so that results do not depend on today."""
    given = text or DEFAULT_START
    try:
        if _TIME.fullmatch(given):
            return datetime.combine(date(2026, 1, 5), time.fromisoformat(given.zfill(5)), local)
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise InputError("not a date and time", where, repr(given), "2026-11-24T02:00 or 02:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=local)


def read_csv(path: Path) -> list[tuple[str, float]]:
    """The lines of a CSV file as (time, value). Raises InputError naming the line."""
    rows: list[tuple[str, float]] = []
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("the file is not text", str(path), str(error), "a CSV file of time and value") from error
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        try:
            rows.append((cells[0], float(cells[1])))
        except (ValueError, IndexError) as error:
            if number == 1:
                continue  # a header
            raise InputError(
                "not a time and a value", f"{path}, line {number}", ",".join(row), "for example 08:00,6"
            ) from error
    if not rows:
        raise InputError("the file has no lines of time and value", str(path))
    return rows


def required(
    rows: Sequence[tuple[str, float]], per_vm: float | None, start: datetime, span_ms: int, where: str
) -> StepFunction:
    """The VMs needed from `start` on, for at least `span_ms`."""
    if per_vm is not None and not per_vm > 0:
        raise InputError("one VM serves more than nothing", f"{where}.per_vm", str(per_vm), "a number above 0")
    need = [(at, _vms(value, per_vm, where)) for at, value in rows]
    daily = all(_TIME.fullmatch(at) for at, _ in need)
    points = _daily(need, start, span_ms, where) if daily else _history(need, start, where)
    first = max((moment for moment, _ in points if moment <= start), default=points[0][0])
    times, values = [0], [next(value for moment, value in points if moment == first)]
    for moment, value in points:
        offset = round((moment - start).total_seconds() * 1000)
        if offset > 0 and value != values[-1]:
            times.append(offset)
            values.append(value)
    return StepFunction(times_ms=tuple(times), values=tuple(values))


def _vms(value: float, per_vm: float | None, where: str) -> int:
    if not (math.isfinite(value) and value >= 0):
        raise InputError("a need cannot be negative", where, str(value), "0 or more")
    return math.ceil(value / per_vm) if per_vm else math.ceil(value)


def _clock(text: str, where: str) -> time:
    match = _TIME.fullmatch(text)
    try:
        return time(int(match[1]), int(match[2]), int(match[3] or 0)) if match else time.fromisoformat(text)
    except ValueError as error:
        raise InputError("not a time of day", where, repr(text), "00:00 to 23:59") from error


def _daily(need: Sequence[tuple[str, int]], start: datetime, span_ms: int, where: str) -> list[tuple[datetime, int]]:
    clocks = sorted((_clock(at, where), value) for at, value in need)
    day, points = start.date() - timedelta(days=1), []
    while (day - start.date()).days * 86_400_000 <= span_ms + 86_400_000:
        points += [(datetime.combine(day, clock, start.tzinfo), value) for clock, value in clocks]
        day += timedelta(days=1)
    # Compared as instants: two local times an hour apart may be the same number of wall-clock hours.
    return sorted(((moment.astimezone(ZoneInfo("UTC")), value) for moment, value in points), key=lambda point: point[0])


def _history(need: Sequence[tuple[str, int]], start: datetime, where: str) -> list[tuple[datetime, int]]:
    points = []
    for at, value in need:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError as error:
            raise InputError(
                "neither a time of day nor a date and time", where, repr(at), "08:00, or 2026-11-24T08:00"
            ) from error
        points.append((moment if moment.tzinfo else moment.replace(tzinfo=start.tzinfo), value))
    return sorted(points, key=lambda point: point[0])
