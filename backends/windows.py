"""When batches may start: a plan's windows and freezes on a real calendar.

Rules this module decides:

1. Without windows it is always open; with windows, within any of them. A window whose end is before its start ends on the next day.
2. A freeze closes, whatever the windows say.
3. Times are local to the IANA zone named. A time that a change of clocks skips is taken as if it had not been skipped, one that comes
   twice is the first; so a window is as long as it is on that day, and one of whose time nothing is left is not open on it. Whether a window ends on
   the next day is read off its clock times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from planner.errors import InputError
from planner.plan import Freeze, Plan, Window
from planner.rollout import Opening

AHEAD = 370
"""Days that are looked ahead: a freeze longer than a year is no freeze."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def restricts(plan: Plan) -> bool:
    """Is there a time at which this plan may not start a batch?"""
    return bool(plan.windows or plan.freezes)


def check_calendar(windows: Iterable[Window], freezes: Iterable[Freeze], where: str) -> None:
    """Raises InputError for a time zone that this machine does not know, and for a day that no calendar has."""
    for window in windows:
        _zone(window.time_zone, where)
    for freeze in freezes:
        _frozen(freeze, where)


def opening(plan: Plan, now_ms: int) -> Opening:
    """Is it open now, until when, or when next? Raises InputError for a time zone that this machine does not know."""
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    spans = _joined(_open_spans(plan, now))
    for start, end in spans:
        if start <= now < end:
            forever = not plan.windows and end - now > timedelta(days=AHEAD - 2)
            return Opening(open=True) if forever else _until(plan, end, is_open=True)
        if start > now:
            return _until(plan, start, is_open=False, frozen=_frozen_by(plan, now))
    return Opening(open=False, until_ms=None, frozen=_frozen_by(plan, now))


def _frozen_by(plan: Plan, now: datetime) -> str:
    """The freeze that shuts it, in words; '' where none does."""
    for one in plan.freezes:
        start, end = _frozen(one)
        if start <= now < end:
            return f"a freeze ({one.why})" if one.why else "a freeze"
    return ""


def _until(plan: Plan, when: datetime, *, is_open: bool, frozen: str = "") -> Opening:
    zone = [*(one.time_zone for one in plan.windows), *(one.time_zone for one in plan.freezes)][0]
    until = f"{when.astimezone(_zone(zone)):%Y-%m-%d %H:%M} {zone}"
    return Opening(open=is_open, until_ms=_ms(when), until=until, frozen=frozen)


def longest_ms(plan: Plan, now_ms: int) -> int | None:
    """The longest time for which it is open at a stretch, in the coming weeks; None: for ever."""
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    if not restricts(plan):
        return None
    return max(
        (round((end - start).total_seconds() * 1000) for start, end in _joined(_open_spans(plan, now))), default=0
    )


def _ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def _open_spans(plan: Plan, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Rules 1 and 2: open times, each without the freezes in it."""
    days = AHEAD if plan.freezes else 15
    whole = [(now - timedelta(days=1), now + timedelta(days=AHEAD))]
    spans = sorted(_windows(plan.windows, now, days)) if plan.windows else whole
    closed = sorted(_frozen(one) for one in plan.freezes)
    for start, end in spans:
        at = start
        for shut, opens in closed:
            if shut >= end or opens <= at:
                continue
            if shut > at:
                yield at, shut
            at = max(at, opens)
        if at < end:
            yield at, end


def _windows(windows: tuple[Window, ...], now: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
    for window in windows:
        zone = _zone(window.time_zone)
        today = now.astimezone(zone).date()
        named = {_DAYS.index(day.lower()[:3]) for day in window.days}
        for offset in range(-1, days):
            day = today + timedelta(days=offset)
            if day.weekday() in named:
                last = day if window.end > window.start else day + timedelta(days=1)
                start, end = _at(day, window.start, zone), _at(last, window.end, zone)
                if end > start:
                    yield start, end


def _frozen(freeze: Freeze, where: str = "plan.freezes") -> tuple[datetime, datetime]:
    zone = _zone(freeze.time_zone, where)
    try:
        start, end = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (freeze.start, freeze.end))
    except ValueError as error:
        raise InputError("no such day", where, f"{freeze.start} to {freeze.end}", str(error)) from error
    return start.astimezone(UTC), end.astimezone(UTC)


def _at(day: date, clock: str, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(int(clock[:2]), int(clock[3:])), tzinfo=zone).astimezone(UTC)


def _zone(name: str, where: str = "plan.windows") -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError("no such time zone", where, repr(name), "an IANA name, such as Europe/Berlin") from error


def _joined(spans: Iterator[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Windows that touch or overlap are one."""
    made: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made
