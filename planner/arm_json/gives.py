"""What a set's model gives an instance, leaf by leaf: rule 13 of `planner.arm_json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from hashlib import pbkdf2_hmac
from typing import Any

import msgspec

from planner.arm_json.node import Node
from planner.errors import InputError
from planner.gives import within
from planner.model import Gives
from planner.secret import held_back, is_health, signed

PROFILE = "properties.virtualMachineProfile"
ROOTS = (
    "plan",
    "identity",
    PROFILE,
    "properties.additionalCapabilities",
    "properties.hostGroup",
    "properties.proximityPlacementGroup",
)
"""What an instance is given by an upgrade, beside image and size, which are judged by themselves. Tags, zones, capacity and the policies are the set's."""
IMAGE = frozenset({f"{PROFILE}.storageprofile.{one}".lower() for one in ("imageReference", "osDisk.image")})
"""Judged by itself."""
READ_ONLY = frozenset(
    {"provisioningstate", "etag", "timecreated", "uniqueid", "principalid", "clientid", "tenantid", "exactversion", "resourcegroup"}
)  # fmt: skip
NEVER = frozenset({"adminusername", "adminpassword"})
"""Azure refuses to change the one and never shows the other; neither is worth a digest that can be guessed."""
NAMES = ("name", "lun", "id", "path", "packageReferenceId", "protocol", "ipTagType")
"""By which a member of a list is known: the first that it has."""
REFERENCES = frozenset({"secrets", "protectedsettingsfromkeyvault"})
"""Held back, and all that they hold refers to other resources, which ARM spells in any case."""
ADDED = "resourceGroup"
"""What az puts beside each id."""
BESIDE = frozenset({"id", "type", "location"})
"""Beside `properties` these are the resource's, not its facts."""
LIFTED = "typePropertiesType"
"""What az calls an extension's `type`, lifted beside the resource's own."""
GUESS = 20_000
"""Rounds of a digest: some milliseconds."""
LONGEST = 500
"""Names and ids are shorter: what is longer is a text, and may be anything."""


def read_gives(node: Node, api_version: str) -> Gives:
    """Of the set's document. api_version: with which our own reader took it."""
    values: dict[str, Any] = {}
    for root in ROOTS:
        head, _, rest = root.partition(".")
        place = node.facts() if head == "properties" else node.get(head)
        if rest:
            place = place.get(rest) if isinstance(place.value, dict) else Node(None, rest, place)
        values |= leaves(root, place.value)
    return Gives(values=values, api_version=api_version)


def told_gives(node: Node) -> Gives:
    """As a snapshot tells it, made when the set was read. Raises InputError."""
    try:
        return msgspec.convert(node.value, Gives)
    except msgspec.ValidationError as error:
        raise InputError(
            "this does not say what the model gives", node.where(), str(error), "values, api_version",
            "take the snapshot again with `vmss-sim snapshot`",
        ) from error  # fmt: skip


def is_given(path: str) -> bool:
    """Is this model path of what an instance is given, beside the image?"""
    return any(within(path, (root,)) for root in ROOTS) and not within(path, IMAGE)


def leaves(path: str, value: Any) -> dict[str, Any]:
    """A value that stands at a model path, leaf by leaf."""
    return dict(_walk(path, value, health=False))


def _walk(path: str, value: Any, *, health: bool) -> Iterator[tuple[str, Any]]:
    if value is None or path.lower() in IMAGE:
        return
    if isinstance(value, dict):
        yield from _object(path, value, health=health)
    elif isinstance(value, list):
        yield from _list(path, value, health=health)
    else:
        yield path, _shown(value)


def _object(path: str, value: dict[str, Any], *, health: bool) -> Iterator[tuple[str, Any]]:
    facts = value.get("properties")
    health = health or is_health(facts if isinstance(facts, dict) else value)
    for key in sorted(value, key=str.lower):
        inner, lower = value[key], key.lower()
        if lower in READ_ONLY or lower in NEVER or inner is None:
            continue
        if (isinstance(facts, dict) and lower in BESIDE) or (lower == "type" and LIFTED in value):
            continue
        if lower == "typehandlerversion" and value.get("enableAutomaticUpgrade") is True:
            continue  # the platform itself raises it
        if lower == "properties" and isinstance(facts, dict):
            yield from _walk(path, facts, health=health)
        elif held_back(key, health=health):
            if inner not in ([], {}, ""):
                text = _said(inner)
                yield f"{path}.{key}", _digest(text.lower() if lower in REFERENCES else text)
        elif lower == "userassignedidentities" and isinstance(inner, dict):
            yield f"{path}.{key}", sorted(inner, key=str.lower)
        else:
            yield from _walk(f"{path}.{'type' if key == LIFTED else key}", inner, health=health)


def _list(path: str, items: list[Any], *, health: bool) -> Iterator[tuple[str, Any]]:
    named = {str(_name(item)): item for item in items if item is not None}
    yield path, sorted(named, key=str.lower)
    for name, item in named.items():
        if isinstance(item, dict):
            known = next((key for key in NAMES if key in item), "")
            rest = {key: inner for key, inner in item.items() if key != known}
            yield from _walk(f"{path}[{name}]", rest if known else None, health=health)


def _name(item: Any) -> Any:
    """By what a member is known; where it has no name, by all of it."""
    if not isinstance(item, dict):
        return _shown(item)
    known = next((item[key] for key in NAMES if item.get(key) is not None), None)
    if known is not None:
        return known
    return ", ".join(f"{path.removeprefix('.')}={value}" for path, value in leaves("", item).items())


def _shown(value: Any) -> Any:
    """One leaf. What may be anything is a digest."""
    anything = isinstance(value, str) and (signed(value) or "\n" in value or len(value) > LONGEST)
    return _digest(_said(value)) if anything else value


def _said(value: Any) -> str:
    """A value as text, the same however it was read."""
    return json.dumps(_bare(value), sort_keys=True)


def _bare(value: Any) -> Any:
    """Without what az adds, and what is null in one form and not there in another."""
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _bare(one) for key, one in value.items() if one is not None and not (key == ADDED and "id" in value)}


@lru_cache(maxsize=1024)
def _digest(text: str) -> str:
    """Slow on purpose: who has the plan, and not the secret, may guess, and tries each guess at this price. It is worked out once a text."""
    return "digest:" + pbkdf2_hmac("sha256", text.encode(), b"vmss-sim gives", GUESS, dklen=8).hex()
