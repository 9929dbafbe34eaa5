"""What kind of value each property takes: the check, and the reading, of everything that clients write.

Rules (the types of api-version 2026-04-01, in `kinds.json`; `python -m tests.arm_kinds` writes that):

1. A value of another kind is refused with the member's path, in the words of the service's own reader. Null is no value, but no item of a list either.
2. What can be read as the kind is: `"3"` for a number, `"true"` for a flag, a number or a flag for a text, as the service's reader does.
3. Words of a closed vocabulary compare without case and are kept in ARM's; another word is refused.
4. A property that is in no table is kept as it is: it may be of a version to come. Below what belongs to the user nothing is checked,
   but tags are texts, and an identity has an object.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import msgspec

from vmss_sim.arm.call import refused, wrong_type
from vmss_sim.arm.http import Refused
from vmss_sim.arm.names import OF_THE_USER
from vmss_sim.world import errors

KINDS: dict[str, str | list[str]] = msgspec.json.decode(
    resources.files("vmss_sim.arm").joinpath("kinds.json").read_bytes(), type=dict[str, str | list[str]]
)
_WORDS = {name: {word.lower(): word for word in kind} for name, kind in KINDS.items() if isinstance(kind, list)}
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NET = {
    "object": "System.Object",
    "string": "System.String",
    "integer": "System.Nullable`1[System.Int64]",
    "boolean": "System.Nullable`1[System.Boolean]",
}
"""The kinds as the service's reader calls them."""


def typed(value: Any, path: str = "", name: str = "", above: str = "") -> Any:
    """A document in ARM's spelling as the service reads it. Raises Refused."""
    if value is None:
        return None
    key = f"{above}.{name}"
    kind = KINDS.get(key) or KINDS.get(name)
    if name in OF_THE_USER:
        return _of_the_user(value, path, name)
    if kind is None or kind == "any":
        return _inside(value, path, name)
    if isinstance(kind, list):
        return _word(value, path, _WORDS.get(key) or _WORDS[name])
    if kind.endswith("[]"):
        if not isinstance(value, list):
            raise wrong_type(path, value, f"System.Collections.Generic.List`1[{NET.get(kind[:-2], 'System.Object')}]")
        return [_single(item, f"{path}[{number}]", kind[:-2], name) for number, item in enumerate(value)]
    return _single(value, path, kind, name)


def _of_the_user(value: Any, path: str, name: str) -> Any:
    """Rule 4; the settings of an extension may be anything (recorded: the text `{}`)."""
    if name == "tags":
        return tags(value, path)
    if name == "userAssignedIdentities":
        if not isinstance(value, dict):
            raise wrong_type(path, value, NET["object"])
        for key, item in value.items():
            if item is not None and not isinstance(item, dict):
                raise wrong_type(f"{path}.{key}", item, NET["object"])
    return value


def _inside(value: Any, path: str, name: str) -> Any:
    if isinstance(value, dict):
        return {key: typed(item, f"{path}.{key}" if path else key, key, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_inside(item, f"{path}[{number}]", name) for number, item in enumerate(value)]
    return value


def _single(value: Any, path: str, kind: str, name: str) -> Any:
    if kind == "object" and isinstance(value, dict):
        return _inside(value, path, name)
    if kind == "string" and value is not None and not isinstance(value, dict | list):
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind == "integer":
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
            return int(value)
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
    if kind not in NET:  # a list within a list: no property has one
        return value
    raise wrong_type(path, value, NET[kind])


def _word(value: Any, path: str, words: dict[str, str]) -> str:
    if not isinstance(value, str):
        raise wrong_type(path, value, NET["string"])
    known = words.get(value.lower())
    if known is None:
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter=path.removeprefix("properties."), target=path)
    return known


def tags(value: Any, path: str = "tags") -> dict[str, str]:
    """Tags: texts, 50 at most, with names of 512 letters at most. Raises Refused."""
    if not isinstance(value, dict):
        raise wrong_type(path, value, "System.Collections.Generic.IDictionary`2[System.String,System.String]")
    if len(value) > 50:
        raise Refused(400, "InvalidTags", "The number of tags on the resource cannot exceed '50'.")
    made = {}
    for key, item in value.items():
        if isinstance(item, dict | list):
            raise wrong_type(f"{path}.{key}", item, NET["string"])
        if not key or len(key) > 512:
            raise Refused(400, "InvalidTagName", f"The tag name '{key[:60]}' is not valid.")
        made[key] = "" if item is None else item if isinstance(item, str) else msgspec.json.encode(item).decode()
    return made
