"""Times for people. A world's clock begins at 0, a real one in 1970: a small number is time since the start."""

from __future__ import annotations

from datetime import UTC, datetime

REAL_MS = 10_000_000_000


def when(ms: int) -> str:
    """`2026-11-26 00:18:23Z`, or `0:18:23` since the start."""
    if ms >= REAL_MS:
        return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return clock(ms)


def at(ms: int) -> str:
    """The same for one day: `00:18:23Z`."""
    return when(ms)[11:] if ms >= REAL_MS else when(ms)


def stamp(ms: int) -> str | float:
    """For machines: ISO 8601 in UTC, or seconds since the start."""
    if ms >= REAL_MS:
        return datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ms / 1000


def clock(ms: int) -> str:
    """A span: h:mm:ss."""
    seconds = max(0, ms) // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def coarse(seconds: float) -> str:
    """A span to plan by: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
