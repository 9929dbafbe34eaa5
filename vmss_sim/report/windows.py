"""A plan's windows as they are now, for people: in the plan's own time zone."""

from __future__ import annotations

from typing import Any

from backends.windows import opening, restricts
from planner.plan import Plan
from planner.rollout import Opening
from vmss_sim.report.times import coarse, stamp


def now_of(plan: Plan, now_ms: int) -> Opening | None:
    """Is it open, until when, or when next; None where the plan may start a batch at any time."""
    return opening(plan, now_ms) if restricts(plan) else None


def document(found: Opening | None) -> dict[str, Any] | None:
    """The JSON: `open`, `until` when that changes (null: never), and `frozen`: the freeze that shuts it, or ''."""
    if found is None:
        return None
    until = None if found.until_ms is None else stamp(found.until_ms)
    return {"open": found.open, "until": until, "frozen": found.frozen}


def text(found: Opening, now_ms: int) -> str:
    """`shut by a freeze (the shop is busy); opens 2026-11-27 22:00 Europe/Berlin, in 9.0 h`."""
    shut = f"shut by {found.frozen}" if found.frozen else "shut"
    if found.until_ms is None:
        return "open" if found.open else f"{shut}, and does not open again"
    word = "open until" if found.open else f"{shut}; opens"
    return f"{word} {found.until}, in {coarse((found.until_ms - now_ms) / 1000)}"
