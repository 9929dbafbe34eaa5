"""A timing file: what `vmss-sim calibrate` fits to one's own history, and a scenario takes by `timing.file`.

Rules this module decides:

1. A row of the file stands where the fitted default of the same operation and system would: for `"recorded"`, which is what
   a key that is left out means. A value in the scenario wins over both.
2. `os = "any"` stands for both systems, where there is no row of the system's own.
3. Its failure rate of `upgrade` stands where the scenario has no `failures.upgrade`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from planner.errors import InputError
from planner.explain import did_you_mean
from scenarios.files import convert, read_toml
from scenarios.timing import parse_timing
from vmss_sim.world.recorded import READY_DEFAULT, RECORDED, Recorded, System

SCHEMA = "vmss-sim/timings/1"
READY = "ready"
SYSTEMS: tuple[System, ...] = ("linux", "windows")


class TimingRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operation's timing. os: linux, windows or any. n: operations it was fitted to."""

    operation: str
    os: str
    n: int
    law: Any


class FailureRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often one VM's operation fails: `failed` of `n` were seen to, `rate` is what is reckoned with."""

    operation: str
    os: str
    failed: int
    n: int
    rate: float


class TimingFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    schema: str
    timing: list[TimingRow] = []
    failure: list[FailureRow] = []


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What `"recorded"` means to a scenario: timings, the time to ready, and failure rates (by operation and system)."""

    recorded: Mapping[str, Mapping[System, Recorded]]
    ready: Mapping[System, Recorded]
    failures: Mapping[str, Mapping[System, FailureRow]]


SHIPPED = Book(recorded=RECORDED, ready=READY_DEFAULT, failures={})
"""Without a timing file."""


def book(file: str | None, folder: Path) -> Book:
    """The defaults, and over them the file, whose path is relative to the scenario's `folder`. Raises InputError."""
    return SHIPPED if file is None else read(folder / file)


def read(path: Path) -> Book:
    """A timing file over the defaults. Raises InputError naming the row."""
    where = str(path)
    file = convert(read_toml(path, "timings in TOML (`vmss-sim calibrate` writes them)"), TimingFile, where)
    if file.schema != SCHEMA:
        raise InputError("not a timing file of this version", f"{where}: schema", repr(file.schema), repr(SCHEMA))
    rows: dict[str, dict[System, Recorded]] = {}
    for row, (place, systems) in zip(file.timing, _places(file.timing, f"{where}: timing"), strict=True):
        if row.n < 1:
            raise InputError("fitted to nothing", f"{place}.n", str(row.n), "at least 1")
        if row.law == "recorded":
            raise InputError("this is the default, not a fit", f"{place}.law", "'recorded'", "a duration or a table")
        for os in systems:
            law = parse_timing(row.law, f"{place}.law", row.operation, os)
            rows.setdefault(row.operation, {})[os] = Recorded(
                timing=law, n=row.n, origin="yours", note=f"of {path.name}"
            )
    failures: dict[str, dict[System, FailureRow]] = {}
    for one, (place, systems) in zip(file.failure, _places(file.failure, f"{where}: failure"), strict=True):
        if not 0 <= one.rate <= 1:
            raise InputError("not a probability", f"{place}.rate", f"{one.rate:g}", "0 to 1")
        if not 0 <= one.failed <= one.n:
            raise InputError("more failed than there were", f"{place}.failed", str(one.failed), f"0 to {one.n}")
        failures.setdefault(one.operation, {}).update(dict.fromkeys(systems, one))
    ready = {**READY_DEFAULT, **rows.pop(READY, {})}
    return Book(
        recorded={**RECORDED, **{name: {**RECORDED[name], **row} for name, row in rows.items()}},
        ready=ready,
        failures=failures,
    )


def _places(rows: list[Any], where: str) -> list[tuple[str, tuple[System, ...]]]:
    """Each row's place in words, and the systems it stands for (rule 2). Raises InputError."""
    known = [*RECORDED, READY]
    own: set[tuple[str, str]] = set()
    for index, row in enumerate(rows):
        at = f"{where}[{index}]"
        if row.operation not in known:
            near = did_you_mean(row.operation, known)
            raise InputError(
                "unknown operation", f"{at}.operation", repr(row.operation)[:60], fix=near or ", ".join(known)
            )
        if row.os not in (*SYSTEMS, "any"):
            raise InputError("unknown system", f"{at}.os", repr(row.os)[:60], "linux, windows or any")
        if (row.operation, row.os) in own:
            raise InputError("this stands twice", at, f"{row.operation} on {row.os}", "one row of each")
        own.add((row.operation, row.os))
    return [
        (
            f"{where}[{index}]",
            (row.os,) if row.os != "any" else tuple(os for os in SYSTEMS if (row.operation, os) not in own),
        )
        for index, row in enumerate(rows)
    ]
