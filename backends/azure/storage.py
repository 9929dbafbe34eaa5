"""Did a change of the model leave the disks alone? The storage profile before and after, without what the change names.

A PATCH is merged by Azure, but what a merge means for arrays (data disks, say) is nowhere promised. So it is compared. Where something else
differs, the update counts as failed: nothing has moved yet, and an instance that is upgraded to that model might lose a disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import msgspec

_PROFILE = ("properties", "virtualMachineProfile", "storageProfile")
_OF_THE_PLATFORM = ("exactversion",)
"""Read-only: Azure fills it in as it resolves a version."""


def leaves(document: Any, patch: Iterable[str]) -> dict[str, Any]:
    """The storage profile of a set's document as paths and values, without the patched paths (and what stands below them)."""
    given = {".".join(path.lower().split(".")) for path in patch}
    node: Any = document
    for step in _PROFILE:
        node = node.get(step) if isinstance(node, dict) else None
    start = ".".join(_PROFILE).lower()
    return {
        path: value
        for path, value in _walk(node, start)
        if not any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in given)
        and not path.endswith(_OF_THE_PLATFORM)
    }


def _walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key in sorted(node, key=str.lower):
            yield from _walk(node[key], f"{path}.{key.lower()}")
    elif isinstance(node, list) and node:
        for index, item in enumerate(node):
            yield from _walk(item, f"{path}[{index}]")
    elif node is not None:  # null is absent, as ARM has it
        yield path, node


def seal(found: dict[str, Any]) -> str:
    """A digest of it, small enough for a handle: another executor compares with it, though it cannot say what differs."""
    return sha256(msgspec.json.encode(found, order="sorted")).hexdigest()[:32]


def difference(before: dict[str, Any] | None, sealed: str, after: dict[str, Any]) -> str:
    """What differs, in words; empty where nothing does. before: None where only its digest is known."""
    if seal(after) == sealed:
        return ""
    if before is None:
        return "the storage profile differs from what it was before the update, in other places than those that were to change"
    paths = [path for path in {**before, **after} if before.get(path, _walk) != after.get(path, _walk)]
    return "the storage profile differs in " + ", ".join(sorted(paths)[:5]) + (" and more" if len(paths) > 5 else "")
