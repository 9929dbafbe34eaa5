"""When a client that waits looks: short operations often, long ones seldom.

Counted from when the waiting began, not from when an operation was sent: so a simulation with the same schedule looks at the same
virtual moments as the backend it stands for, and decides alike.
"""

from __future__ import annotations

import msgspec

MINUTE_MS = 60_000


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When to look, counted from the start of a wait. steps: (until, every), in order: every so many ms until then; the last one stays."""

    steps: tuple[tuple[int, int], ...]

    @classmethod
    def every(cls, span_ms: int) -> Schedule:
        """The same span all the time."""
        return cls(steps=((span_ms, span_ms),))

    def after(self, elapsed_ms: int) -> int:
        """The first moment to look after `elapsed_ms`."""
        begin = 0
        for until, every in self.steps:
            if elapsed_ms < until:
                return min(until, begin + ((elapsed_ms - begin) // every + 1) * every)
            begin = until
        every = self.steps[-1][1]
        return begin + ((elapsed_ms - begin) // every + 1) * every


ADAPTIVE = Schedule(
    steps=(
        (6_000, 2_000),
        (MINUTE_MS, 6_000),
        (10 * MINUTE_MS, 12_000),
        (60 * MINUTE_MS, 30_000),
        (120 * MINUTE_MS, 60_000),
    )
)
"""What is used against Azure: from 2 s to a minute. A recorded upgrade takes 20 to 120 s, a platform's rollout hours."""
