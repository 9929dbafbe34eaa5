"""msgspec's errors in the words of `InputError`: the key by its real path, and for an unknown one the nearest known.

msgspec writes a path as `$.scale_set.instances[...].vmid`: which entry of a mapping is meant is not told, so it is looked
for in the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from planner.errors import InputError

_PATH = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_KINDS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "bool": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def explain(error: msgspec.ValidationError, kind: Any, where: str, data: Any, root: str = "") -> InputError:
    """A validation error as an InputError. data: the plain JSON that did not fit `kind`; root: its path in the file."""

    def at(place: str) -> str:
        path = f"{root}{place}".lstrip(".")
        return f"{where}: {path}" if path else where

    said, _, path = str(error).partition(" - at `")
    key_itself = path.startswith("key in ")
    steps = [first or second for first, second in _PATH.findall(path.removeprefix("key in ").rstrip("`"))]
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", said, re.DOTALL)
    missing = re.fullmatch(r"Object missing required field `(.*)`", said)
    wrong = re.fullmatch(r"Expected `(.*?)`(.*), got `(.*)`", said)
    if unknown:
        place, info, _ = _find(kind, data, steps, lambda value: isinstance(value, dict) and unknown[1] in value)
        known = _fields(info)
        near = get_close_matches(unknown[1], known, 1)
        return InputError(
            "unknown key",
            at(f"{place}.{unknown[1]}"),
            repr(unknown[1]),
            repr(near[0]) if near else ", ".join(known),
            f"did you mean {near[0]!r}?" if near else "",
        )
    if missing:
        place, _, _ = _find(kind, data, steps, lambda value: isinstance(value, dict) and missing[1] not in value)
        return InputError("a key is missing", at(f"{place}.{missing[1]}"), "nothing", "a value")
    if wrong:
        place, _, value = _find(kind, data, steps, _KINDS.get(wrong[3], lambda _: True))
        return InputError(
            "wrong type",
            at(place),
            f"{_shown(value)} ({wrong[3]})",
            f"{wrong[1]}{wrong[2]}".replace("|", "or"),
        )
    quoted = re.fullmatch(r"Invalid (?:enum )?value '(.*)'", said, re.DOTALL)
    if quoted:
        place, info, _ = _find(kind, data, steps, lambda value: value == quoted[1])
        choices = _choices(info)
        return InputError("not one of the choices", at(place), repr(quoted[1]), ", ".join(choices))
    place, _, value = _find(kind, data, steps, lambda _: True)
    return InputError("wrong value", at(place), _shown(value) if not key_itself else "", said)


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _find(kind: Any, data: Any, steps: list[str], fits: Callable[[Any], bool]) -> tuple[str, Any, Any]:
    """The first place on this path whose value fits; else the first place."""
    places = list(_places(inspect.type_info(kind), data, steps, ""))
    first = places[0] if places else ("." + ".".join(steps) if steps else "", None, None)
    return next((place for place in places if fits(place[2])), first)


def _places(info: Any, data: Any, steps: list[str], place: str) -> Iterator[tuple[str, Any, Any]]:
    info = _chosen(info, data)
    if not steps:
        yield place, info, data
        return
    step, rest = steps[0], steps[1:]
    if step == "..." and isinstance(data, dict):
        value_type = getattr(info, "value_type", None)
        for key, value in data.items():
            yield from _places(value_type, value, rest, f"{place}.{key}")
    elif isinstance(data, list) and (step == "..." or step.isdecimal()):
        item_type = getattr(info, "item_type", None)
        chosen = range(len(data)) if step == "..." else [int(step)]
        for index in chosen:
            if index < len(data):
                yield from _places(item_type, data[index], rest, f"{place}[{index}]")
    elif isinstance(data, dict) and step in data:
        fields = info.fields if isinstance(info, inspect.StructType) else ()
        inner = next((field.type for field in fields if field.encode_name == step), None)
        yield from _places(inner, data[step], rest, f"{place}.{step}")


def _chosen(info: Any, data: Any) -> Any:
    """Of a union, the member that the data means: by its tag, else the only one that is not null."""
    if not isinstance(info, inspect.UnionType):
        return info
    members = [one for one in info.types if not isinstance(one, inspect.NoneType)]
    if isinstance(data, dict):
        for one in members:
            if isinstance(one, inspect.StructType) and one.tag_field and data.get(one.tag_field) == one.tag:
                return one
    return members[0] if len(members) == 1 else info


def _fields(info: Any) -> list[str]:
    return [field.encode_name for field in info.fields] if isinstance(info, inspect.StructType) else []


def _choices(info: Any) -> list[str]:
    return [str(one.value) for one in info.cls] if isinstance(info, inspect.EnumType) else []
