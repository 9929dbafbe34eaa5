"""Writes `vmss_sim/arm/kinds.json` from the types of api-version 2026-04-01: `python -m tests.arm_kinds > vmss_sim/arm/kinds.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "armspec" / "bicep-types-2026-04-01" / "types.json"
SET = "Microsoft.Compute/virtualMachineScaleSets"
CHILDREN = ("virtualMachines", "extensions", "virtualMachines/runCommands", "virtualMachines/extensions")
ROOTS = (SET, *(f"{SET}/{child}" for child in CHILDREN))
ACTIONS = {"dataDisksToAttach": "object[]", "dataDisksToDetach": "object[]", "diskId": "string"}
"""Of bodies of actions, which are in no type (OpenAPI 2024-07-01, AttachDetachDataDisksRequest)."""
FREE = frozenset({"tags", "settings", "protectedSettings", "userAssignedIdentities"})

OPEN = frozenset({"vmSize", "diskApiVersion", "networkApiVersion"})
"""Vocabularies that grow with every version."""


def kinds() -> dict[str, Any]:
    """By property name, or `parent.name` where one name means several things: a kind, or the words of a closed vocabulary.

    Kinds: object, string, integer, boolean, any; a list has `[]` behind.
    """
    types = json.loads(SHARED.read_text())
    found: dict[str, dict[str, set[str]]] = {}
    words: dict[str, list[str]] = {}

    def kind(type_: dict[str, Any], above: str) -> Iterator[str]:
        name = type_["$type"]
        if name == "ObjectType":
            walk(type_, above)
            yield "object"
        elif name == "ArrayType":
            for inner in kind(at(type_["itemType"]), above):
                yield f"{inner}[]"
        elif name == "UnionType":
            said = [at(one) for one in type_["elements"]]
            literal = [one["value"] for one in said if one["$type"] == "StringLiteralType"]
            if above in OPEN:
                yield "string"
                return
            text = "|".join(literal)
            words[text] = literal
            yield text
        elif name == "StringLiteralType":
            yield "string"
        else:
            yield {"StringType": "string", "IntegerType": "integer", "BooleanType": "boolean", "AnyType": "any"}[name]

    def at(ref: dict[str, str]) -> dict[str, Any]:
        return types[int(ref["$ref"].rpartition("/")[2])]

    seen: set[tuple[int, str]] = set()

    def walk(type_: dict[str, Any], above: str) -> None:
        if (id(type_), above) in seen:
            return
        seen.add((id(type_), above))
        for name, one in type_.get("properties", {}).items():
            if name in FREE:
                continue
            for word in kind(at(one["type"]), name):
                found.setdefault(name, {}).setdefault(word, set()).add(above)

    for type_ in types:
        if type_["$type"] == "ObjectType" and type_["name"] in ROOTS:
            walk(type_, "")
    made: dict[str, Any] = dict(ACTIONS)
    for name, by_kind in found.items():
        if len(by_kind) == 1:
            word = next(iter(by_kind))
            made[name] = words.get(word, word)
            continue
        for parent in sorted(set().union(*by_kind.values())):
            made[f"{parent}.{name}"] = _merged(
                [words.get(one, one) for one, above in by_kind.items() if parent in above]
            )
    return dict(sorted(made.items(), key=lambda item: (item[0].lower(), item[0])))


def _merged(kinds_: list[Any]) -> Any:
    """What one name may be that stands below parents of one name in several places."""
    if len(kinds_) == 1:
        return kinds_[0]
    if all(isinstance(one, list) for one in kinds_):
        return sorted(set().union(*kinds_))
    return "string" if all(isinstance(one, list) or one == "string" for one in kinds_) else "any"


def text() -> str:
    """The file."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in kinds().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    print(text(), end="")
