"""Plan files, read: what `planner.planfile` checks without a calendar, and what only a calendar knows."""

from __future__ import annotations

from pathlib import Path

from backends.windows import check_calendar
from planner.planfile import PlanFile, decode
from scenarios.files import read_bytes


def read_plan(path: Path) -> tuple[bytes, PlanFile]:
    """The file's bytes, and the plan in them. Raises InputError; time zones have to be known to this machine."""
    data = read_bytes(path)
    read = decode(data, str(path))
    check_calendar(read.plan.windows, (), f"{path}: plan.windows")
    check_calendar((), read.plan.freezes, f"{path}: plan.freezes")
    return data, read
