"""Paths of resources, taken apart: scope, type and name. Pure."""

from __future__ import annotations

import msgspec


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A path of a resource or a collection, taken apart. rest: an odd segment at the end: a collection, or an action."""

    scope: str
    kind: str
    name: str
    rest: str

    @property
    def full_kind(self) -> str:
        """The type that a collection lists."""
        return f"{self.kind}/{self.rest}" if self.rest else self.kind


def take_apart(path: str) -> Where | None:
    """What a path says; None where it is none of a resource or a collection."""
    scope, found, rest = _cut(path)
    parts = rest.split("/")
    if not found or len(parts) < 2 or not all(parts):
        return None
    pairs = parts[1:]
    kinds, names = pairs[::2], pairs[1::2]
    odd = kinds.pop() if len(kinds) > len(names) else ""
    return Where(scope=scope, kind="/".join([parts[0], *kinds]), name="/".join(names), rest=odd)


def _cut(path: str) -> tuple[str, bool, str]:
    """The path before and after the last `/providers/`."""
    at = path.lower().rfind("/providers/")
    return (path[:at], True, path[at + len("/providers/") :]) if at >= 0 else (path, False, "")
