"""Time for a backend that waits: the wall clock's, or an emulator's, whose time passes by being slept.

Contract: `now_ms` never goes back; after `sleep_ms(n)` at least n ms have passed. `WallSleeper` counts from 1970, as journals that
are read on another machine need it, and does not follow a clock that is set back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol


class Sleeper(Protocol):
    """A clock one can sleep on. slice_ms: what takes about a second of a person's time; who asks for something is heard in between. headers:
    what every request to the endpoint says of it.
    """

    @property
    def slice_ms(self) -> int:
        """It may change with every sleep."""

    @property
    def headers(self) -> Mapping[str, str]:
        """None where it is the wall's."""

    def now_ms(self) -> int:
        """The present, in ms."""

    def sleep_ms(self, span_ms: int) -> None:
        """Let that much time pass."""


class WallSleeper:
    """The machine's own clock."""

    slice_ms = 1_000
    headers: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._last_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970, never less than before."""
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        return self._last_ms

    def sleep_ms(self, span_ms: int) -> None:
        """Sleep, on the clock that is not set."""
        until = time.monotonic_ns() + span_ms * 1_000_000
        while (left := until - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
