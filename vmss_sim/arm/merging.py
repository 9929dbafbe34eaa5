"""How what a client writes is merged with what there is: one merge, and the rules that may differ.

Rules (RFC 7396; recordings C1):

1. Objects are merged, all else is replaced. In a patch null takes away; in a PUT of a set it says nothing.
2. `NOTHING_OF_ARM` is RFC 7396 as it stands, for resources that are none of ours. Of a scale set beside that: an item of a list that has the name of
   an old one is merged with it (in a patch); `tags` and `settings` are replaced; of `CLEARED`, and of no others, an empty object in a PUT clears
   what stood there; identities compare without case and null takes one away, in a PUT too; an image named by id takes the place of one
   named by publisher, and the other way round.
"""

from __future__ import annotations

from typing import Any, NamedTuple

REPLACED = frozenset({"tags", "settings"})
CLEARED = frozenset({"diffDiskSettings", "extensionProfile"})
IDENTITIES = "userAssignedIdentities"
IMAGE = "imageReference"
_IMAGE_IDS = ("id", "sharedGalleryImageId", "communityGalleryImageId")
_IMAGE_PARTS = ("publisher", "offer", "sku", "version")


class Rules(NamedTuple):
    """patch: null takes away (rule 1); of_a_set: rule 2."""

    patch: bool
    of_a_set: bool


PATCH, PUT, NOTHING_OF_ARM = Rules(True, True), Rules(False, True), Rules(True, False)


def merged(old: Any, new: Any, rules: Rules, key: str = "") -> Any:
    """The value that comes of it; neither is changed. key: of the member that it is."""
    ours = rules.of_a_set
    if ours and isinstance(new, list):
        return _items(old, new, rules)
    if not isinstance(new, dict) or (ours and key in REPLACED):
        return new
    found: dict[str, Any] = dict(old) if isinstance(old, dict) else {}
    identities = ours and key == IDENTITIES
    spelt = {name.lower(): name for name in found} if identities else {}
    for given, value in new.items():
        place: str = spelt.get(given.lower()) or given
        if value is None:
            if rules.patch or identities:
                found.pop(place, None)
        elif value == {} and ours and place in CLEARED and not rules.patch:
            found[place] = {}
        else:
            found[place] = merged(found.get(place), value, rules, place)
    if ours and key == IMAGE:
        _one_image(found, new)
    return found


def _items(old: Any, new: list[Any], rules: Rules) -> list[Any]:
    items = old if rules.patch and isinstance(old, list) else ()
    before = {item["name"]: item for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)}
    return [
        merged(before.get(item["name"]) if isinstance(item.get("name"), str) else None, item, rules)
        if isinstance(item, dict)
        else item
        for item in new
    ]


def _one_image(found: dict[str, Any], new: dict[str, Any]) -> None:
    if any(new.get(name) for name in _IMAGE_IDS):
        for name in (*_IMAGE_IDS, *_IMAGE_PARTS):
            if not new.get(name):
                found.pop(name, None)
    elif any(new.get(name) for name in _IMAGE_PARTS[:3]):
        for name in _IMAGE_IDS:
            found.pop(name, None)
