"""What a command opens to reach Azure or a store, closed when the command ends.

Contract: what `until_the_end` was given is closed, the last first, however the command ends: done, refused, answered with "no", interrupted. Outside of
a command it is left to whoever opened it. What cannot be closed, or not within `CLOSE_S`, ends with the process: how the command came to its end, and its exit status, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

Opened = TypeVar("Opened")
CLOSE_S = 5.0
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
        ends.callback(_close, close)
    return given


def _close(close: Callable[[], Any]) -> None:
    from backends.bounded import within  # noqa: PLC0415  # only a command that reached somewhere needs it

    with suppress(Exception):
        within(CLOSE_S, close)
