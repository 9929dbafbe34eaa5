"""What the service needs over time, as a step function from the start of the rollout.

1. A daily curve names local times of day; a value holds until the next time, and the last one past midnight. It follows
   the clock on the wall: a time skipped in spring takes effect at the jump, an hour that comes twice in autumn counts twice.
2. A CSV file has a time and a value a line (a header, empty lines and `#` comments are allowed): `HH:MM` for a daily
   curve, or ISO dates and times for a history. A history's values hold as they are, its last one for ever. It must
   reach the start: what nobody recorded is not guessed.
3. With `per_vm` the values are requests/s, and the need is rounded up to whole VMs, exactly in the decimals as written.
4. Local time is the IANA time zone's, daylight saving included. Without `starts_at` a rollout starts at 02:00 local: on a
   Monday for a daily curve, on the history's own first such time for a history.
5. No time stands twice. Local times of the hour that comes twice in autumn need their offset (`…T02:30+01:00`).
"""

from __future__ import annotations

import csv
import io
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from planner.errors import InputError
from planner.explain import did_you_mean
from planner.metrics import StepFunction
from scenarios.files import read_text

DEFAULT_START = "02:00"
YEARS = range(1970, 2200)
MOST = 1_000_000  # VMs: a need above it is a mistake in the units
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_MS = timedelta(milliseconds=1)
_STEP = timedelta(hours=1)  # no time zone changes its offset twice within it
_FORMAT = "a time and a value, such as 08:00,6"

Rows = Sequence[tuple[str, float]]


def zone(name: str, where: str) -> ZoneInfo:
    """An IANA time zone. Raises InputError, naming the nearest one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = did_you_mean(name, sorted(available_timezones()))
        expected = "an IANA name such as Europe/Berlin"
        raise InputError("unknown time zone", where, repr(name), expected, near) from error


def start_of(text: str | None, local: ZoneInfo, where: str, rows: Rows = ()) -> datetime:
    """When the rollout starts, in the local zone (rule 4). A time of day alone means a Monday, the same one always."""
    given = DEFAULT_START if text is None else text
    if _TIME.fullmatch(given):
        first = None if daily(rows) else min(_moment(at, local, where) for at, _ in rows)
        clock = _clock(given, where)
        start = datetime.combine(first.date() if first else date(2026, 1, 5), clock, local)
        if first is not None and start < first:
            start = datetime.combine(first.date() + _DAY, clock, local)
        return start
    return _moment(given, local, where, "2026-11-24T02:00, or 02:00")


def read_csv(path: Path) -> list[tuple[str, float]]:
    """The lines of a CSV file as (time, value). Raises InputError naming the line."""
    rows: list[tuple[str, float]] = []
    expected = "a CSV file of time and value"
    text = read_text(path, "CSV", expected)
    lines = csv.reader(io.StringIO(text, newline=""))
    first = True
    try:
        for cells in ([cell.strip() for cell in row] for row in lines):
            if not any(cells) or cells[0].startswith("#"):
                continue
            row = _row(cells, f"{path}: line {lines.line_num}", header=first)
            first = False
            if row is not None:
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"the file is not CSV: {error}", f"{path}: line {lines.line_num}", "", expected) from error
    if not rows:
        raise InputError("the file has no lines of time and value", str(path), "", _FORMAT)
    return rows


def _row(cells: list[str], where: str, *, header: bool) -> tuple[str, float] | None:
    """One line; None for the header: a first line with neither a time nor a value."""
    value = _number(cells[1]) if len(cells) == 2 else None
    try:
        _check_time(cells[0], where)
    except InputError:
        if header and value is None:
            return None
        raise
    if value is None:
        raise InputError("not a time and a value", where, repr(",".join(cells)[:60]), _FORMAT)
    return cells[0], _checked(value, where)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_time(text: str, where: str) -> None:
    if _TIME.fullmatch(text):
        _clock(text, where)
    else:
        _moment(text, ZoneInfo("UTC"), where)


def checked(rows: Rows, where: str) -> Rows:
    """The rows of a scenario's own curve. Raises InputError as `read_csv` does."""
    for index, (at, value) in enumerate(rows):
        _check_time(at, f"{where}[{index}]")
        _checked(value, f"{where}[{index}]")
    return rows


def _checked(value: float, where: str) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InputError("a need is a number from 0 up", where, str(value), "0 or more")
    return value


def daily(rows: Rows) -> bool:
    """Is this a daily curve, not a history?"""
    return all(_TIME.fullmatch(at) for at, _ in rows)


def required(rows: Rows, per_vm: float | None, start: datetime, span_ms: int, where: str) -> StepFunction:
    """The VMs needed from `start` (aware, in the curve's zone) on, for at least `span_ms`. where: the rows' place."""
    if not rows:
        raise InputError("the curve has no points", where, "[]", _FORMAT)
    need = [(at, _vms(value, per_vm, where)) for at, value in rows]
    begins = start.astimezone(UTC)
    points = _daily(need, start, span_ms, where) if daily(rows) else _history(need, start, where)
    times, values = [0], [points[0][1]]
    for moment, value in points:
        offset = (moment - begins) // _MS
        if offset <= 0:
            values[0] = value
        elif value != values[-1]:
            times.append(offset)
            values.append(value)
    return StepFunction(times_ms=tuple(times), values=tuple(values))


def _vms(value: float, per_vm: float | None, where: str) -> int:
    """Rule 3."""
    exact = Fraction(repr(float(_checked(value, where))))
    vms = math.ceil(exact if per_vm is None else exact / Fraction(repr(float(per_vm))))
    if vms > MOST:
        raise InputError("more VMs than any scale set has", where, f"{value:g}", "requests/s with `per_vm`, or VMs")
    return vms


def _clock(text: str, where: str) -> time:
    match = _TIME.fullmatch(text)
    try:
        if match:
            return time(int(match[1]), int(match[2]), int(match[3] or 0))
    except ValueError:
        pass
    raise InputError("not a time of day", where, repr(text), "00:00 to 23:59")


def _moment(text: str, local: ZoneInfo, where: str, expected: str = "08:00, or 2026-11-24T08:00") -> datetime:
    """An ISO date and time, in the local zone; a date alone is its first instant."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError("not a date and time", where, repr(text[:60]), expected) from error
    if moment.year not in YEARS:
        raise InputError("a year out of range", where, repr(text), f"{YEARS[0]} to {YEARS[-1]}")
    return moment.astimezone(local) if moment.tzinfo else moment.replace(tzinfo=local)


def _daily(need: Sequence[tuple[str, int]], start: datetime, span_ms: int, where: str) -> list[tuple[datetime, int]]:
    """Rule 1: the value at every instant at which the clock on the wall may pass one of the times."""
    curve = sorted((_clock(at, where), value) for at, value in need)
    clocks, values = [clock for clock, _ in curve], [value for _, value in curve]
    _refuse_twice([clock.isoformat() for clock in clocks], where)
    local = start.tzinfo
    begins = start.astimezone(UTC)
    ends = begins + timedelta(milliseconds=span_ms)
    moments = {begins}
    day, last = start.date(), ends.astimezone(local).date()
    while day <= last:
        for clock in clocks:
            # The hour that comes twice: both times; before a jump, an instant too many changes nothing.
            moments |= {datetime.combine(day, clock.replace(fold=fold), local).astimezone(UTC) for fold in (0, 1)}
        day += _DAY
    moments |= set(_jumps(begins, ends, local))

    def at(moment: datetime) -> int:
        # Before the first time of the day the last one of the day before holds: index -1.
        return values[bisect_right(clocks, moment.astimezone(local).time()) - 1]

    return [(moment, at(moment)) for moment in sorted(moments) if moment >= begins]


def _jumps(begins: datetime, ends: datetime, local: object) -> list[datetime]:
    """When the zone's offset changes, to the second."""
    assert isinstance(local, ZoneInfo)  # what `start_of` gives
    found = []
    near = begins.replace(minute=0, second=0, microsecond=0)
    while near < ends:
        far = near + _STEP
        if near.astimezone(local).utcoffset() != far.astimezone(local).utcoffset():
            low, high = near, far
            while high - low > _SECOND:
                middle = low + (high - low) // 2 // _SECOND * _SECOND
                if middle.astimezone(local).utcoffset() == near.astimezone(local).utcoffset():
                    low = middle
                else:
                    high = middle
            found.append(high)
        near = far
    return found


def _history(need: Sequence[tuple[str, int]], start: datetime, where: str) -> list[tuple[datetime, int]]:
    """Rule 2."""
    local = start.tzinfo
    assert isinstance(local, ZoneInfo)  # what `start_of` gives
    points = sorted(
        ((_moment(at, local, where).astimezone(UTC), value) for at, value in need), key=lambda point: point[0]
    )
    _refuse_twice([moment.isoformat() for moment, _ in points], where)
    first, last = points[0][0], points[-1][0]
    if not first <= start.astimezone(UTC) <= last:
        raise InputError(
            "the history does not reach the start of the rollout",
            where,
            f"{_told(first, local)} to {_told(last, local)}, and a start at {_told(start, local)}",
            "a start within it, or times of day (08:00) for a daily curve",
            "say starts_at",
        )
    return points


def _told(moment: datetime, local: ZoneInfo) -> str:
    return moment.astimezone(local).isoformat(timespec="minutes")


def _refuse_twice(names: Sequence[str], where: str) -> None:
    for left, right in pairwise(names):
        if left == right:
            raise InputError(
                "a time stands twice",
                where,
                left,
                "each time once",
                "a local time of the hour that comes twice in autumn needs its offset",
            )
