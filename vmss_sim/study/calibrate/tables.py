"""A CSV of operations: columns `operation` and `seconds`, and as far as there are, `os`, `status`, `instances`, `started`.

Contract: columns are known by any of the names in `COLUMNS`, whatever their case and order; others are not read. The comma
may be a semicolon or a tab. A row that cannot be used is counted with its reason; a number that is none is refused.
"""

from __future__ import annotations

import csv
import math
import reprlib
from typing import Final, Literal

from planner.errors import InputError
from vmss_sim.study.calibrate.history import History, Observed, counted, ended, moment, operation_name
from vmss_sim.world.recorded import System
from vmss_sim.world.timings import LONGEST_S

COLUMNS: Final = {
    "operation": ("operation", "operationname", "kind"),
    "seconds": ("seconds", "duration", "duration_s", "durationseconds"),
    "os": ("os", "ostype", "os_type"),
    "status": ("status", "result"),
    "instances": ("instances", "target_instances", "vms"),
    "started": ("started", "start", "starttime", "start_time"),
}
_ENDS: Final[dict[str, Literal["succeeded", "failed"]]] = {
    "": "succeeded",
    "succeeded": "succeeded",
    "success": "succeeded",
    "ok": "succeeded",
    "failed": "failed",
    "failure": "failed",
    "error": "failed",
}


def looks_like(text: str) -> bool:
    """Does it begin with a header that has the two columns that must be there?"""
    found = _columns(_header(text))
    return "operation" in found and "seconds" in found


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _header(text: str) -> list[str]:
    line = text.lstrip().split("\n", 1)[0]
    return next(csv.reader([line], delimiter=_delimiter(line)), [])


def _columns(header: list[str]) -> dict[str, str]:
    """Our name to the file's."""
    plain = {name.strip().casefold(): name for name in header}
    return {
        ours: plain[one]
        for ours, names in COLUMNS.items()
        for one in [next((x for x in names if x in plain), "")]
        if one
    }


def read(text: str, path: str) -> History:
    """A history out of a CSV. Raises InputError naming the line."""
    line = text.lstrip().split("\n", 1)[0]
    columns = _columns(_header(text))
    observed: list[Observed] = []
    reasons: list[str] = []
    try:
        rows = csv.DictReader(text.lstrip().splitlines(), delimiter=_delimiter(line))
        for row in rows:
            got = {ours: (row.get(theirs) or "").strip() for ours, theirs in columns.items()}
            one = _observed(got, f"{path}: line {rows.line_num}", path)
            if isinstance(one, str):
                reasons.append(one)
            else:
                observed.append(one)
    except csv.Error as error:
        raise InputError(f"the file is not CSV: {error}", path, "", "a row an operation") from error
    return History(path=path, kind="operations (CSV)", observed=tuple(observed), left_out=counted(reasons))


def _observed(row: dict[str, str], where: str, path: str) -> Observed | str:
    """One row, or why it is left out."""
    name = row["operation"]
    operation = operation_name(name)
    if operation is None:
        return repr(name[:60]) if name else "no operation"
    status = _ENDS.get(row.get("status", "").casefold())
    if status is None:
        return f"status {reprlib.repr(row['status'])}"
    seconds = _number(row["seconds"], f"{where}: seconds")
    if seconds is None:
        if status == "succeeded":
            return "no seconds"
        seconds = 0.0
    instances = _number(row.get("instances", ""), f"{where}: instances")
    started = moment(row.get("started", ""))
    return ended(
        operation,
        system(row.get("os", "")),
        status,
        seconds=seconds,
        instances=None if not instances else int(instances),
        session=started.date().isoformat() if started else path if not row.get("started") else None,
    )


def system(text: str) -> System:
    """An operating system as people and Azure write it."""
    plain = text.casefold()
    return "linux" if plain == "linux" else "windows" if plain == "windows" else "unknown"


def _number(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LONGEST_S:  # NaN compares as false
        raise InputError("this is not a number in range", where, reprlib.repr(text), f"0 to {LONGEST_S:.0f}")
    return value
