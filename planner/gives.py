"""What of two models an instance would get otherwise.

Rules this module decides:

1. Paths are compared without case, and so are texts but digests: ARM's answers vary. The order of a list's members says nothing.
2. A path that both show counts where its values differ; a list, where one has a member that the other has not. Such a member is told once,
   by its list.
3. A path that one shows counts only where our own reader read both, with one api-version: another one shows other properties, and what
   somebody else saved may be cut. An empty list is none.
4. What a change itself writes, or a plan watches, is not told here (`but`, and what stands above and below it).
5. Where nothing was kept (an older plan, an invented set), nothing is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from planner.model import Gives

NOT_THERE = "not there"


class Otherwise(NamedTuple):
    """One path, and what stands there on both sides, in words."""

    path: str
    found: str
    expected: str


def otherwise(saw: Gives, now: Gives, but: Iterable[str] = ()) -> Iterator[Otherwise]:
    """What differs, in the order of the paths. saw: as it was kept; now: as it is."""
    if not saw.values:
        return
    old, new = ({path.lower(): (path, value) for path, value in side.values.items()} for side in (saw, now))
    same_reader = bool(now.values) and saw.api_version == now.api_version
    left_out = tuple(path.lower() for path in but)
    apart: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        path, expected = old.get(key, (new[key][0] if key in new else "", None))
        found = new[key][1] if key in new else None
        if within(key, left_out) or any(within(one, (key,)) for one in left_out) or key.startswith(tuple(apart)):
            continue
        if (key not in old or key not in new) and (not same_reader or (found in (None, []) and expected in (None, []))):
            continue
        if _plain(found) == _plain(expected):
            continue
        if isinstance(found, list | None) and isinstance(expected, list | None):
            apart += [f"{key}[{one}]" for one in {*_plain(found or [])} ^ {*_plain(expected or [])}]
        yield Otherwise(path, _words(found), _words(expected))


def within(path: str, others: Iterable[str]) -> bool:
    """Is this one of the paths, or below one of them? Without case."""
    lower = path.lower()
    return any(lower == one or lower.startswith((f"{one}.", f"{one}[")) for one in map(str.lower, others))


def _plain(value: Any) -> Any:
    """Rule 1."""
    if isinstance(value, list):
        return sorted(str(one).lower() for one in value)
    return value.lower() if isinstance(value, str) else value


def _words(value: Any) -> str:
    if value is None:
        return NOT_THERE
    if isinstance(value, list):
        return ", ".join(str(one) for one in value) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
