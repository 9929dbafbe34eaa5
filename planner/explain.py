"""msgspec's errors in the words of `InputError`: the key by its real path, and for an unknown one the nearest known.

msgspec writes a path as `$.scale_set.instances[...].vmid`: which entry of a mapping is meant is not told, so it is looked
for in the data.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from planner.errors import InputError

T = TypeVar("T")

WORDS: Mapping[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
"""msgspec's words for types in the words of people who read JSON; one that is empty is left out."""

_KINDS = {"NoneType": "null", "list": "array", "tuple": "array", "dict": "object"}
_SAID = re.compile(r"(.*) - at `(?:key` in `)?\$([^`]*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_PLAIN = re.compile(r"[\w-]{1,60}", re.ASCII)


class _Place(NamedTuple):
    """A value, its path, and what the schema says of it."""

    path: str
    info: Any
    value: Any


def convert(data: Any, kind: type[T], where: str, root: str = "", words: Mapping[str, str] = WORDS) -> T:
    """Data as a value of `kind`. Raises InputError. For the arguments see `explain`."""
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise explain(error, kind, where, data, root, words) from error
    except (OverflowError, RecursionError) as error:
        at = _at(where, root)
        raise InputError(f"a value cannot be taken: {error}", at, "", "numbers and nesting of usual size") from error


def explain(
    error: msgspec.ValidationError, kind: Any, where: str, data: Any, root: str = "", words: Mapping[str, str] = WORDS
) -> InputError:
    """A validation error as an InputError.

    where: the file. data: the plain values that did not fit `kind`; root: their path in the file. words: how msgspec's
    words for types are said.
    """
    match = _SAID.fullmatch(str(error))
    said, path = match.groups() if match else (str(error), "")
    steps = [field or index for field, index in _STEP.findall(path)]
    places = list(_places(inspect.type_info(kind), data, steps)) or [_Place(path, None, None)]

    def first(fits: Callable[[Any], bool]) -> _Place:
        return next((one for one in places if fits(one.value)), places[0])

    def at(place: _Place, key: str = "") -> str:
        return _at(where, root + place.path + (_step(key) if key else ""))

    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", said, re.DOTALL):
        key = unknown[1]
        place = first(lambda value: isinstance(value, dict) and key in value)
        known = [field.encode_name for field in getattr(_chosen(place.info, place.value), "fields", ())]
        near = get_close_matches(key, known, 1)
        expected = repr(near[0]) if near else ", ".join(known)
        return InputError("unknown key", at(place, key), reprlib.repr(key), expected, did_you_mean(key, known))
    if missing := re.fullmatch(r"Object missing required field `(.*)`", said):
        key = missing[1]
        place = first(lambda value: isinstance(value, dict) and key not in value)
        return InputError("a key is missing", at(place, key), "nothing", "a value")
    if wrong := re.fullmatch(r"Expected `([^`]*)`(.*?)(?:, got (?:`(.*)`|(\d+)))?", said):
        kinds, bound, got, length = wrong.groups()
        place = first(lambda value: not got or _kind(value) == got)
        expected = " or ".join(filter(None, (words.get(one, one) for one in kinds.split(" | ")))) + bound
        title = _title(place.info)
        return InputError(
            "wrong type" if got else "wrong value",
            at(place),
            _shown(place.value, words) + (f" of length {length}" if length else ""),
            f"{'an' if title[0] in 'aeiou' else 'a'} {title} ({expected})" if title else expected,
        )
    if choice := re.fullmatch(r"Invalid (?:enum )?value '(.*)'", said, re.DOTALL):
        place = first(lambda value: value == choice[1])
        return InputError("not one of the choices", at(place), reprlib.repr(choice[1]), ", ".join(_choices(place)))
    return InputError(f"wrong value: {said}", at(places[0]), _shown(places[0].value, words))


def did_you_mean(name: str, known: Collection[str], what: str = "") -> str:
    """What to do about an unknown name: a question that names the nearest known one, or '' where none is near."""
    near = get_close_matches(name, known, 1)
    return f"did you mean {what}{near[0]!r}?" if near else ""


def _at(where: str, path: str) -> str:
    return ": ".join(part for part in (where, path.removeprefix(".")) if part)


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key if _PLAIN.fullmatch(key) else reprlib.repr(key)}"


def _kind(value: Any) -> str:
    """The word of msgspec for the type of a value."""
    name = type(value).__name__
    return _KINDS.get(name, name)


def _shown(value: Any, words: Mapping[str, str]) -> str:
    """A value as people wrote it; a list or a table by its kind."""
    match _kind(value):
        case "array" | "object" as kind:
            return words[kind]
        case "null":
            return "null"
        case "bool":
            return str(value).lower()
        case "datetime" | "date" | "time":  # TOML has them, and people mean text
            return f"the date or time {value.isoformat()} (put it in quotes)"
    return reprlib.repr(value)


def _places(info: Any, value: Any, steps: Sequence[str], path: str = "") -> Iterator[_Place]:
    """The places that a path of msgspec's may mean, in the data's order."""
    if not steps:
        yield _Place(path, info, value)
        return
    step, rest = steps[0], steps[1:]
    keys: Collection[Any] = ()
    if isinstance(value, dict):
        keys = value if step == "..." else [step] if step in value else []
    elif isinstance(value, list | tuple):
        keys = range(len(value)) if step == "..." else [int(step)]
    for key in keys:
        yield from _places(_inner(info, value, key), value[key], rest, path + _step(key))


def _inner(info: Any, value: Any, key: str | int) -> Any:
    """What the schema says of what stands at a key."""
    match _chosen(info, value):
        case inspect.StructType(fields=fields):
            return next((field.type for field in fields if field.encode_name == key), None)
        case inspect.TupleType(item_types=types):
            return types[int(key)]
        case inspect.DictType(value_type=inner) | inspect.ListType(item_type=inner):
            return inner
        case inspect.VarTupleType(item_type=inner):
            return inner
    tags = tuple(one.tag for one in _members(info) if getattr(one, "tag_field", None) == key)
    return inspect.LiteralType(tags)


def _members(info: Any) -> list[Any]:
    """The types a value may have: a union's members, without null and without what annotates them."""
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    if isinstance(info, inspect.UnionType):
        return [member for one in info.types for member in _members(one)]
    return [] if isinstance(info, inspect.NoneType) else [info]


def _chosen(info: Any, value: Any) -> Any:
    """Of the types a value may have the one that it means: by its tag, else the only one."""
    members = _members(info)
    if len(members) > 1 and isinstance(value, dict):
        members = [one for one in members if getattr(one, "tag_field", None) and value.get(one.tag_field) == one.tag]
    return members[0] if len(members) == 1 else None


def _title(info: Any) -> str:
    """What the schema calls this kind of value (`duration`), or ''."""
    options = info.types if isinstance(info, inspect.UnionType) else (info,)
    named = (one.extra_json_schema or {} for one in options if isinstance(one, inspect.Metadata))
    return next((str(one["title"]) for one in named if "title" in one), "")


def _choices(place: _Place) -> list[str]:
    match _chosen(place.info, place.value):
        case inspect.EnumType(cls=cls):
            return [str(one.value) for one in cls]
        case inspect.LiteralType(values=values):
            return [str(one) for one in values]
    return []
