"""Windows and freezes as people give them.

Mon-Fri 22:00-04:00 Europe/Berlin          2026-12-20T00:00/2027-01-06T00:00 Europe/Berlin the shop is busy
Sat,Sun 00:00-23:59 UTC
"""

from __future__ import annotations

import re

from backends.windows import check_calendar
from planner.errors import InputError
from planner.lint.moves import freeze_problem, window_problem
from planner.plan import Freeze, Window

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WINDOW = "'Mon-Fri 22:00-04:00 Europe/Berlin'"
FREEZE = "'2026-12-20T00:00/2027-01-06T00:00 Europe/Berlin [why]'"
_WINDOW = re.compile(r"(\S+)\s+(\d{2}:\d{2})\s*-\s*(\d{2}:\d{2})\s+(\S+)")
_FREEZE = re.compile(r"(\S+)/(\S+)\s+(\S+)(?:\s+(.*))?")


def window_of(given: str, where: str = "--window") -> Window:
    """A window. Raises InputError."""
    found = _WINDOW.fullmatch(given.strip())
    if found is None:
        raise InputError("not a window", where, repr(given), WINDOW)
    made = Window(days=_days(found[1], where), start=found[2], end=found[3], time_zone=found[4])
    problem = window_problem(made)
    if problem:
        raise InputError(f"not a window: {problem}", where, repr(given), WINDOW)
    check_calendar((made,), (), where)
    return made


def _days(given: str, where: str) -> tuple[str, ...]:
    """`Mon-Fri`, `Sat,Sun`, or a mixture."""
    days: dict[str, None] = {}
    for part in given.split(","):
        first, _, last = part.partition("-")
        ends = [_day(name, where) for name in (first, last or first)]
        length = (ends[1] - ends[0]) % 7
        days |= {DAYS[(ends[0] + step) % 7]: None for step in range(length + 1)}
    return tuple(days)


def _day(name: str, where: str) -> int:
    for index, day in enumerate(DAYS):
        if name[:3].lower() == day.lower():
            return index
    raise InputError("not a weekday", where, repr(name), ", ".join(DAYS))


def freeze_of(given: str, where: str = "--freeze") -> Freeze:
    """A freeze. Raises InputError."""
    found = _FREEZE.fullmatch(given.strip())
    if found is None:
        raise InputError("not a freeze", where, repr(given), FREEZE)
    made = Freeze(start=found[1], end=found[2], time_zone=found[3], why=found[4] or "")
    problem = freeze_problem(made)
    if problem:
        raise InputError(f"not a freeze: {problem}", where, repr(given), FREEZE)
    check_calendar((), (made,), where)
    return made
