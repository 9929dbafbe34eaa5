"""Amounts of instances: `8`, `80%` or `n-2`, and the one rounding rule.

1. Rounding keeps more instances serving: a minimum (floor, required, objective) rounds up, a maximum (batch, failures
   tolerated) rounds down.
2. A batch is at least one instance, since a batch of none would never finish.
3. `80%` and `n-2` follow the set's present capacity; `8` stays 8.
4. Arithmetic is exact (fractions), so 10 % of 30 is 3 on every machine.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import msgspec

from planner.errors import InputError

_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", re.ASCII)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_ALL_BUT = re.compile(r"n\s*-\s*(\d{1,9})", re.ASCII)


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount as given (`80%`) beside the absolute number it stood for when it was pinned."""

    given: str
    absolute: int

    def __str__(self) -> str:
        return str(self.absolute) if self.given == str(self.absolute) else f"{self.given} = {self.absolute}"


def amount(value: Any, where: str) -> str:
    """The canonical text of an amount given as a number or text. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError("not an amount of instances", where, repr(value), 'a count (8), "80%" or "n-2"')
    if isinstance(value, int):
        if value < 0:
            raise InputError("an amount of instances cannot be negative", where, str(value), "0 or more")
        return str(value)
    text = value.strip().lower()
    percent = _PERCENT.fullmatch(text)
    if percent:
        if Fraction(percent[1]) > 100:
            raise InputError("percentage out of range", where, repr(value), "0% to 100%")
        return f"{percent[1]}%"
    if _COUNT.fullmatch(text):
        return str(int(text))
    all_but = _ALL_BUT.fullmatch(text)
    if all_but:
        return f"n-{int(all_but[1])}"
    raise InputError("not an amount of instances", where, repr(value), 'a count (8), "80%" or "n-2"')


def _exact(text: str, total: int) -> Fraction:
    if text.endswith("%"):
        return Fraction(text[:-1]) * total / 100
    if text.startswith("n-"):
        return Fraction(max(0, total - int(text[2:])))
    return Fraction(int(text))


def at_least(text: str, total: int) -> int:
    """A minimum of `total`, rounded up (rule 1)."""
    return -((-_exact(text, total)) // 1)


def at_most(text: str, total: int) -> int:
    """A maximum of `total`, rounded down (rule 1)."""
    return int(_exact(text, total) // 1)


def batch_size(text: str, total: int) -> int:
    """A batch: rounded down, at least one instance (rule 2)."""
    return max(1, at_most(text, total))


def minimum(value: Any, total: int, where: str) -> Threshold:
    """A minimum, pinned."""
    text = amount(value, where)
    return Threshold(given=text, absolute=at_least(text, total))


def maximum(value: Any, total: int, where: str) -> Threshold:
    """A maximum, pinned."""
    text = amount(value, where)
    return Threshold(given=text, absolute=at_most(text, total))


def follow(threshold: Threshold, total: int) -> int:
    """The minimum at the present capacity: percentages and `n-k` follow it, counts stay (rule 3)."""
    if threshold.given.endswith("%") or threshold.given.startswith("n-"):
        return at_least(threshold.given, total)
    return threshold.absolute
