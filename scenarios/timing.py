"""Durations and timings as people write them: `30`, `"1h30m"`, `"recorded"`, `{lognormal = {median = 95, p95 = 240}}`."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from planner.errors import InputError
from planner.explain import did_you_mean
from vmss_sim.world.recorded import RECORDED, Recorded, System, recorded
from vmss_sim.world.timings import (
    Constant,
    Empirical,
    Exponential,
    Lognormal,
    Mixture,
    Part,
    Shifted,
    Timing,
    TimingError,
    bounded,
)

_DURATION = re.compile(r"\s*".join(rf"(?:([0-9]+(?:\.[0-9]+)?)\s*{unit})?" for unit in ("d", "h", "m", "s", "ms")))
_UNIT_MS = (86_400_000, 3_600_000, 60_000, 1000, 1)
Rows = Mapping[str, Mapping[System, Recorded]]
_FIELDS: Final = {
    "constant": (),
    "exponential": ("mean", "cap"),
    "lognormal": ("median", "sigma", "p95", "cap"),
    "empirical": (),
    "shifted": ("by", "of"),
    "mixture": (),
    "regime": (),
}
"""The kinds a file may name, and the fields of those that are tables."""


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("this is not a number", where, reprlib.repr(value), "a number")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def _duration_s(value: Any, where: str) -> float:
    if not isinstance(value, str):
        return bounded(_number(value, where), where)
    match = _DURATION.fullmatch(value.strip())
    if not match or not value.strip():
        raise InputError(
            "this is not a duration", where, reprlib.repr(value), 'seconds, or text such as "90s", "1h30m"'
        )
    parts = (Decimal(part or 0) * unit for part, unit in zip(match.groups(), _UNIT_MS, strict=True))
    return bounded(float(sum(parts) / 1000), where)


def parse_duration_ms(value: Any, where: str) -> int:
    """Milliseconds of a number of seconds or of text: days, hours, minutes, seconds, ms in this order ("1h30m").

    Raises InputError naming `where` for anything else, for a negative duration, and above `LONGEST_S`.
    """
    try:
        return round(_duration_s(value, where) * 1000.0)
    except TimingError as error:
        raise InputError(error.what, error.where, error.found, error.expected, error.fix) from error


def _fields(value: Any, where: str, known: Collection[str], needed: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("this is not a table", where, reprlib.repr(value), f"a table of {', '.join(known)}")
    for key in value:
        if key not in known:
            near = did_you_mean(str(key), known)
            raise InputError(f"unknown key {key!r}", where, fix=near or f"known: {', '.join(known)}")
    for key in needed:
        if key not in value:
            raise InputError(f"{key!r} is missing", where)
    return value


def _items(value: Any, where: str) -> list[tuple[Any, str]]:
    if not isinstance(value, list | tuple):
        raise InputError("this is not an array", where, reprlib.repr(value), "an array")
    return [(item, f"{where}[{index}]") for index, item in enumerate(value)]


def _parse(value: Any, where: str, operation: str, os: System, rows: Rows) -> Timing:
    if value == "recorded":
        return recorded(operation, os, where, rows).timing
    if isinstance(value, str) and (near := did_you_mean(value, ("recorded",))):
        raise InputError("this is not a timing", where, reprlib.repr(value), fix=near)
    if not isinstance(value, dict):
        return Constant(_duration_s(value, where))
    if len(_fields(value, where, _FIELDS, ())) != 1:
        raise InputError("a timing has one kind", where, ", ".join(value) or "none", "one of " + ", ".join(_FIELDS))
    ((kind, body),) = value.items()
    where = f"{where}.{kind}"
    if kind == "constant":
        return Constant(_duration_s(body, where))
    if kind == "empirical":
        return Empirical(tuple(sorted(_duration_s(item, at) for item, at in _items(body, where))))
    if kind in ("mixture", "regime"):
        parts = tuple(_part(item, at, operation, os, rows) for item, at in _items(body, where))
        return Mixture(parts, shared=kind == "regime")
    if kind == "shifted":
        _fields(body, where, _FIELDS[kind], _FIELDS[kind])
        return Shifted(_duration_s(body["by"], f"{where}.by"), _parse(body["of"], f"{where}.of", operation, os, rows))
    fields = _fields(body, where, _FIELDS[kind], _FIELDS[kind][:1])
    read = {key: (_number if key == "sigma" else _duration_s)(fields[key], f"{where}.{key}") for key in fields}
    if kind == "exponential":
        return Exponential(**read)
    if len(read.keys() & {"sigma", "p95"}) != 1:
        raise InputError("the spread is given once", where, expected="either 'sigma' or 'p95'")
    if "sigma" in read:
        return Lognormal(**read)
    if not 0.0 < read["median"] <= read["p95"]:
        raise InputError(
            "'p95' is below 'median', or that is 0", where, f"{read['median']:g} and {read['p95']:g} seconds"
        )
    return Lognormal.of_p95(**read)


def _part(value: Any, where: str, operation: str, os: System, rows: Rows) -> Part:
    fields = _fields(value, where, ("weight", *_FIELDS), ("weight",))
    rest = {key: item for key, item in fields.items() if key != "weight"}
    return Part(_number(fields["weight"], f"{where}.weight"), _parse(rest, where, operation, os, rows))


def parse_timing(value: Any, where: str, operation: str, os: System, rows: Rows = RECORDED) -> Timing:
    """Read a timing out of a scenario's value.

    value: seconds; text such as "5m"; "recorded", the default for `operation` on `os`; or a table of one kind:
    {constant = 30}, {exponential = {mean = 120}}, {lognormal = {median = 95, p95 = 240}} (or sigma; cap in both),
    {empirical = [..]} in any order, {shifted = {by = 30, of = ..}}, {mixture = [{weight = 1, lognormal = ..}, ..]}, and
    {regime = [..]}, a mixture of which one part holds for a whole replication.
    rows: what "recorded" stands for. where: file and key, for errors. Raises InputError naming the place, and the nearest known key for an unknown one.
    """
    try:
        timing = _parse(value, where, operation, os, rows)
        timing.check(where)
    except TimingError as error:
        raise InputError(error.what, error.where, error.found, error.expected, error.fix) from error
    return timing


def encode_timing(timing: Timing) -> Any:
    """Give the value that `parse_timing` reads back as an equal timing."""
    match timing:
        case Constant(seconds):
            return seconds
        case Empirical(seconds):
            return {"empirical": list(seconds)}
        case Shifted(by, of):
            return {"shifted": {"by": by, "of": encode_timing(of)}}
        case Mixture(parts, shared):
            return {"regime" if shared else "mixture": [{"weight": part.weight, **_table(part.of)} for part in parts]}
    fields = msgspec.structs.asdict(timing)
    return {type(timing).__name__.lower(): {key: value for key, value in fields.items() if value is not None}}


def _table(timing: Timing) -> dict[str, Any]:
    value = encode_timing(timing)
    return value if isinstance(value, dict) else {"constant": value}
