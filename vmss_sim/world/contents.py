"""Numbers for contents of a model: equal contents have one number, as long as anybody has it.

Contract: the first content is 0. Numbers are never given twice; what nobody has is forgotten where there are many, so a world that is
updated for ever stays as small as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KNOWN = 100
"""How many contents are remembered before those that nobody has are forgotten."""


class Contents:
    """The contents seen. held: the numbers that somebody has."""

    def __init__(self, held: Callable[[], set[int]]) -> None:
        self._known: dict[tuple[Any, ...], int] = {}
        self._next = 0
        self._held = held

    def number(self, key: tuple[Any, ...]) -> int:
        """The number of this content."""
        known = self._known.get(key)
        if known is not None:
            return known
        if len(self._known) >= KNOWN:
            held = self._held()
            self._known = {old: number for old, number in self._known.items() if number in held}
        self._known[key] = number = self._next
        self._next += 1
        return number
