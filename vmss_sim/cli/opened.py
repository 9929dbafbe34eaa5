"""What a command opens to reach Azure or a store, closed when the command ends.

Contract: what `until_the_end` was given is closed, the last first, however the command ends: done, refused, answered with "no", interrupted. Outside of
a command it is left to whoever opened it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TypeVar

Opened = TypeVar("Opened")
_ENDS: ContextVar[ExitStack | None] = ContextVar("_ENDS", default=None)


@contextmanager
def command() -> Iterator[None]:
    """A command runs."""
    with ExitStack() as ends:
        before = _ENDS.set(ends)
        try:
            yield
        finally:
            _ENDS.reset(before)


def until_the_end(given: Opened) -> Opened:
    """Close it when the command ends, where it can be closed (a simulated set cannot)."""
    ends, close = _ENDS.get(), getattr(given, "close", None)
    if ends is not None and close is not None:
        ends.callback(close)
    return given
