"""What a world must offer the driver: a clock, a snapshot, a way to send, a way to wait.

Contract: `observe` changes nothing; `submit` sends once and never repeats by itself; a refusal or a lost reply is an
outcome of the next observation, not an exception; `wait` returns early only for what the step asked for.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from planner.commands import Command, Outcome
from planner.model import ScaleSet


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the world. changed: ids that differ from the look before; None: look at everything."""

    now_ms: int
    scale_set: ScaleSet
    changed: tuple[str, ...] | None
    outcomes: tuple[Outcome, ...]


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Until when, and for what. until_ms None: until something happens. began_ms: when this waiting began, where it was only broken off to
    look; None: now. A client that polls looks often at first, and seldom later.
    """

    until_ms: int | None
    awaiting: tuple[str, ...] = ()
    watch: bool = False
    began_ms: int | None = None


class Backend(Protocol):
    """A world as the driver sees it."""

    def observe(self) -> Seen:
        """Look."""

    def submit(self, command: Command) -> str:
        """Send; returns the handle, empty where nobody answered."""

    def adopt(self, command: Command, handle: str) -> None:
        """Take over a command that an earlier executor sent; without a handle its outcome is unknown."""

    def wait(self, wait: Wait) -> bool:
        """Let time pass. False where nothing can happen any more (a simulation that has run dry)."""
