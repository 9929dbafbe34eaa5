"""What time it is in the emulated world. The endpoint asks before each request; worlds are advanced to the answer.

Rules this module decides are listed here once it holds the clocks.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Virtual time, in ms since the start. It never goes back."""

    def now_ms(self) -> int:
        """The present."""

    def polled(self, ends_at_ms: int | None) -> None:
        """A client asks for an operation that is running; it ends then (None: something else will end it)."""

    def accepted(self) -> int | None:
        """A client was told that an operation runs: after how many seconds of its own it should ask (None: not said)."""
