"""Single values as people give them, checked; and what was assumed where they gave none."""

from __future__ import annotations

import reprlib
from typing import Any

import msgspec

from planner.amount import amount
from planner.errors import InputError
from scenarios.timing import parse_duration_ms


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something the result rests on. origin: yours, measured, documented or guessed.

    key: the scenario key that would settle it; scale: what a sensitivity search multiplies, empty where it cannot.
    """

    name: str
    value: str
    origin: str
    key: str = ""
    scale: str = ""


def enum_of(kind: Any, value: str | None, default: Any, where: str) -> Any:
    """The member of an enum by its value, in any case. Raises InputError."""
    if value is None:
        return default
    try:
        return kind(value.lower())
    except ValueError as error:
        raise InputError("unknown choice", where, repr(value), ", ".join(one.value for one in kind)) from error


def count_of(value: int | None, default: int, where: str, least: int = 0, most: int = 1000) -> int:
    """A whole number in a range. Raises InputError."""
    chosen = default if value is None else value
    if not least <= chosen <= most:
        raise InputError("out of range", where, reprlib.repr(chosen), f"{least} to {most}")
    return chosen


def probability(value: float, where: str) -> float:
    """A number from 0 to 1. Raises InputError."""
    if not 0 <= value <= 1:
        raise InputError("not a probability", where, f"{value:g}", "0 to 1")
    return value


def time_in_words(span_ms: float) -> str:
    """A duration for people, in the unit that suits it."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if span_ms >= 2 * size:
            return f"{span_ms / size:.3g} {unit}"
    return f"{span_ms / 1000:.3g} s"


def amount_of(value: Any, where: str) -> str:
    """An amount of instances, as text. Raises InputError."""
    if isinstance(value, str) and len(value) > 40:
        raise InputError("not an amount of instances", where, reprlib.repr(value), 'a count (8), "80%" or "n-2"')
    return amount(value, where)


def span_ms(value: Any, where: str) -> int:
    """A duration that is not 0."""
    span_ms = parse_duration_ms(value, where)
    if span_ms == 0:
        raise InputError("a span of time", where, repr(value), "more than 0")
    return span_ms


def tell(assumed: list[Assumption], name: str, value: str, origin: str, key: str, scale: str = "") -> None:
    """List an assumption."""
    assumed.append(Assumption(name=name, value=value, origin=origin, key=key, scale=scale))
