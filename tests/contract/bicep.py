"""Answers against the resource types of api-version 2026-04-01: what is newer than the specification of 2024-07-01.

Rules:

1. A resource is what its path says, a list its items; what has no resource type (views, histories) is not described.
2. An object has no property that its type does not know, none that is only written or sensitive, and those that are required. A type that
   allows more (tags, settings) allows anything of its kind.
3. A union of words is closed where it names no plain text; words are compared without case, as ARM does.
4. These types know no fractions: an integer may be any number (`billingProfile.maxPrice` is -1.0 in recordings).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.contract.findings import NEWEST, TYPES, Exchange, Finding, numbered

REQUIRED, WRITE_ONLY = 1, 4
_GROUP = r"/subscriptions/[^/]+(?:/resourceGroups/[^/]+)?/providers/Microsoft\.Compute(?:/locations/[^/]+)?"
PATHS = (
    (rf"{_GROUP}/virtualMachineScaleSets(?:/[^/]+)?", "Microsoft.Compute/virtualMachineScaleSets"),
    (
        rf"{_GROUP}/virtualMachineScaleSets/[^/]+/virtualMachines(?:/[^/]+)?",
        "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
    ),
    (
        rf"{_GROUP}/virtualMachineScaleSets/[^/]+/rollingUpgrades/latest",
        "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades",
    ),
    (
        rf"{_GROUP}/virtualMachineScaleSets/[^/]+/virtualMachines/[^/]+/runCommands(?:/[^/]+)?",
        "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/runCommands",
    ),
    (rf"{_GROUP}/virtualMachines(?:/[^/]+)?", "Microsoft.Compute/virtualMachines"),
)
_KINDS: dict[str, tuple[type, ...]] = {"StringType": (str,), "IntegerType": (int, float), "BooleanType": (bool,)}

Told = Iterator[tuple[str, str, str]]


class Types:
    """The types of a file."""

    def __init__(self, file: Path = TYPES) -> None:
        self._types = json.loads(file.read_text())
        suffix = f"@{NEWEST}"
        self.resources = {
            one["name"].removesuffix(suffix): one["body"] for one in self._types if one["$type"] == "ResourceType"
        }

    def resource(self, path: str) -> Any | None:
        """Rule 1."""
        name = next((name for pattern, name in PATHS if re.fullmatch(pattern + "/?", path, re.I)), None)
        return self.resources.get(name or "")

    def wrong(self, value: Any, reference: Any, place: str = "") -> Told:
        """(code, place, message) of what does not fit (rules 2 and 3)."""
        kind = self._kind(reference)
        match kind["$type"]:
            case "AnyType":
                return
            case "UnionType":
                yield from self._words(value, kind, place)
            case "StringLiteralType":
                if not isinstance(value, str) or value.lower() != kind["value"].lower():
                    yield "ENUM_MISMATCH", place, f"{value!r:.80} is not {kind['value']}"
            case "ArrayType":
                if not isinstance(value, list):
                    yield "INVALID_TYPE", place, f"{value!r:.80} is no array"
                    return
                for number, item in enumerate(value):
                    yield from self.wrong(item, kind["itemType"], f"{place}/{number}")
            case "ObjectType":
                yield from self._object(value, kind, place)
            case name:
                right = isinstance(value, _KINDS[name]) and not (name == "IntegerType" and isinstance(value, bool))
                if not right:
                    yield "INVALID_TYPE", place, f"{value!r:.80} is no {name.removesuffix('Type').lower()}"

    def _kind(self, reference: Any) -> Any:
        return self._types[int(reference["$ref"].rpartition("/")[2])]

    def _words(self, value: Any, kind: Any, place: str) -> Told:
        choices = [list(self.wrong(value, one, place)) for one in kind["elements"]]
        if all(choices):
            yield "ENUM_MISMATCH", place, f"{value!r:.80} is none of the words"

    def _object(self, value: Any, kind: Any, place: str) -> Told:
        if not isinstance(value, dict):
            yield "INVALID_TYPE", place, f"{value!r:.80} is no object"
            return
        known, more = kind.get("properties", {}), kind.get("additionalProperties")
        for name, inner in value.items():
            where = f"{place}/{name}"
            if name in known:
                if known[name]["flags"] & WRITE_ONLY or self._kind(known[name]["type"]).get("sensitive"):
                    yield "WRITEONLY_PROPERTY_NOT_ALLOWED_IN_RESPONSE", where, f"{name} is only written"
                yield from self.wrong(inner, known[name]["type"], where)
            elif more is not None:
                yield from self.wrong(inner, more, where)
            else:
                yield "OBJECT_ADDITIONAL_PROPERTIES", where, f"{name} is not described"
        for name, inner in known.items():
            if inner["flags"] & REQUIRED and name not in value:
                yield "OBJECT_MISSING_REQUIRED_PROPERTY", place, f"{name} is required"


@cache
def types() -> Types:
    """Those of 2026-04-01."""
    return Types()


def describes(one: Exchange) -> bool:
    """Is this answer a resource, or a list of them?"""
    return one.status < 300 and isinstance(one.body, dict) and types().resource(one.path) is not None


def judge(exchanges: Sequence[Exchange]) -> list[Finding]:
    """What does not fit."""
    return [
        Finding(line, "types", *each, one)
        for line, one in numbered(exchanges)
        if describes(one)
        for each in _answer(one)
    ]


def _answer(one: Exchange) -> Told:
    known = types()
    kind = known.resource(one.path)
    items = one.body.get("value") if isinstance(one.body.get("value"), list) else None
    for number, item in enumerate([one.body] if items is None else items):
        yield from known.wrong(item, kind, "" if items is None else f"/value/{number}")
