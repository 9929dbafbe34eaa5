"""How findings and descriptions put numbers: a percentage never stands without its absolute number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from planner.amount import Threshold

LISTED = 8


def share(part: int, total: int) -> str:
    """`3 of 10 (30 %)`."""
    return f"{part} of {total} ({_number(Fraction(100 * part, total) if total else Fraction(0))} %)"


def percent(value: int, total: int) -> str:
    """`20 % = 2 of 10`: a maximum, rounded down as a tolerance is."""
    return f"{value} % = {value * total // 100} of {total}"


def amount(threshold: Threshold, total: int) -> str:
    """`80% = 8 of 10`, or `8 of 10`."""
    return f"{threshold} of {total}"


def names(ids: Sequence[str], most: int = LISTED) -> str:
    """`0, 1, 2 and 7 more`."""
    shown = ", ".join(ids[:most])
    return f"{shown} and {len(ids) - most} more" if len(ids) > most else shown


def instances(count: int) -> str:
    """`1 instance`, `2 instances`."""
    return f"{count} instance" if count == 1 else f"{count} instances"


def span(ms: int) -> str:
    """`1 h 30 min`, `45 s`, `0.25 s`."""
    seconds, rest = divmod(ms, 1000)
    if rest:
        return f"{_number(Fraction(ms, 1000), 3)} s"
    parts = []
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        whole, seconds = divmod(seconds, size)
        if whole:
            parts.append(f"{whole} {unit}")
    return " ".join(parts) or "0 s"


def _number(value: Fraction, digits: int = 1) -> str:
    text = f"{float(value):.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
