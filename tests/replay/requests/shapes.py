"""The shape of a body: which keys there are, and what JSON type stands at each.

Rules:

1. A shape is a set of paths, `properties.upgradePolicy.mode:string`; items of a list are merged (`value[].name:string`), and an
   object or list is a path of its own, so that an empty one is told from none.
2. Below the user's own maps (tags, settings of extensions) there are the user's keys; resource ids as keys (of assigned identities)
   compare without case.
3. Numbers are numbers, whole or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}


def shape(body: Any) -> frozenset[str]:
    """Rule 1; empty for no body."""
    return frozenset() if body is None else frozenset(_paths(body, ""))


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield path or "{}"
        for key, item in value.items():
            name = key.lower() if key.startswith("/") else key
            yield from _paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield f"{path}[]"
        for item in value:
            yield from _paths(item, f"{path}[]")
    else:
        yield f"{path}:{_TYPES[type(value)]}"
