"""Reading what people give: TOML scenarios, JSON snapshots. Every refusal is one line: file, key, found, expected."""

from __future__ import annotations

import codecs
import datetime
import difflib
import re
import reprlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from planner.arm_json import Reading, looks_like, read_scale_set
from planner.errors import InputError
from scenarios.schema import Scenario

LARGEST = 64 * 1024 * 1024
BUNDLED = Path(__file__).parent / "bundled"
T = TypeVar("T")


def read_bytes(path: Path) -> bytes:
    """A file's bytes, a pipe's too. Raises InputError for one that is not there, not readable, a folder, or over 64 MiB."""
    try:
        if path.is_dir():
            raise InputError("this is a folder", str(path), "", "a file")
        size = path.stat().st_size
        if size <= LARGEST:
            with path.open("rb") as stream:
                read = stream.read(LARGEST + 1)  # a device or a pipe does not tell its size beforehand
            if len(read) <= LARGEST:
                return read
        found = f"{size} bytes" if size > LARGEST else f"more than {LARGEST} bytes"
        raise InputError("the file is too large", str(path), found, f"at most {LARGEST} (64 MiB)")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the file cannot be read: {reason}", repr(str(path))[1:-1], "", "a readable file") from error


def read_text(path: Path, kind: str, expected: str) -> str:
    """A file's text: UTF-8, or what its byte order mark says (Windows PowerShell's `>` writes UTF-16)."""
    data = read_bytes(path)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"a byte that is not text at position {error.start}"
        raise InputError(f"the file is not {kind}", str(path), found, expected) from error
    if not text.strip():
        raise InputError(f"the file is not {kind}", str(path), "an empty file", expected)
    return text


def read_json(path: Path) -> Any:
    """A JSON document. Raises InputError naming the place of the first error."""
    expected = "JSON as Azure returns it (`az … -o json`)"
    text = read_text(path, "JSON", expected)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the file is not JSON: {error}", str(path), _start(text), expected) from error


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML document. Raises InputError naming line and column of the first error."""
    expected = "a scenario in TOML (`vmss-sim init` writes one)"
    text = read_text(path, "TOML", expected)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and an integer of thousands of digits
        raise InputError(f"the file is not TOML: {error}", str(path), _start(text), expected) from error


def _start(text: str) -> str:
    """How a file begins, for people to recognise it by."""
    line = text.strip().splitlines()[0]
    return repr(line if len(line) <= 40 else line[:37] + "...")


def read_snapshot(paths: Sequence[Path], watch: Sequence[str] = ()) -> Reading:
    """A scale set as Azure returns it, from one file or two."""
    return read_scale_set([(str(path), read_json(path)) for path in paths], watch=watch)


def find_scenario(name: str) -> Path:
    """A path, or the name of a bundled scenario. Raises InputError naming the nearest bundled one."""
    path = Path(name)
    bundled = BUNDLED / f"{name}.toml"
    try:
        if path.exists():
            return path
        if bundled.exists():
            return bundled
    except (OSError, ValueError) as error:  # too long, or a zero byte: no name of a file
        raise InputError("not the name of a file", reprlib.repr(name), "", "a scenario's path or name") from error
    known = sorted(one.stem for one in BUNDLED.glob("*.toml"))
    near = difflib.get_close_matches(path.stem, known, 1)
    fix = f"did you mean the bundled scenario {near[0]}?" if near else f"bundled scenarios: {', '.join(known)}"
    raise InputError("no such file or bundled scenario", name, "", "", fix)


def is_snapshot(path: Path) -> bool:
    """Does this file hold Azure's JSON rather than a scenario?"""
    return path.suffix.lower() == ".json" and bool(looks_like(read_json(path)))


def load(path: Path) -> Scenario:
    """A scenario. Raises InputError."""
    return convert(read_toml(path), Scenario, str(path))


def convert(data: Any, kind: type[T], where: str) -> T:
    """Data as a value of `kind`, or InputError naming the key, and for an unknown key the nearest known one."""
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise explain(error, kind, where, data) from error
    except (OverflowError, RecursionError) as error:
        raise InputError(f"a value cannot be taken: {error}", where, "", "numbers and nesting of usual size") from error


def explain(error: msgspec.ValidationError, kind: Any, where: str, data: Any) -> InputError:
    """A msgspec error in the words of rule "what, where, found, expected"."""
    text = str(error)
    match = re.fullmatch(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", text, re.DOTALL)
    said, path = (match[1], match[2] or "") if match else (text, "")
    key = path.lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", said, re.DOTALL)
    if unknown:
        name = unknown[1]
        known = _fields_at(kind, path)
        near = difflib.get_close_matches(name, known, 1)
        full = f"{key}.{name}" if key else name
        return InputError(
            f"unknown key {full!r}",
            where,
            "",
            "" if near else ", ".join(known),
            f"did you mean {near[0]!r}?" if near else "",
        )
    missing = re.fullmatch(r"Object missing required field `(.*)`", said, re.DOTALL)
    if missing:
        full = f"{key}.{missing[1]}" if key else missing[1]
        return InputError(f"{full!r} is missing", where)
    wrong = re.fullmatch(r"Expected `(.*)`, got `(.*)`", said)
    if wrong:
        title = _title_at(kind, path)
        expected = " or ".join(WORDS.get(word, word) for word in wrong[1].split(" | ") if word != "null")
        return InputError(
            f"wrong type of {key!r}" if key else "wrong type",
            where,
            _shown(_value_at(data, path), wrong[2]),
            f"{'an' if title[0] in 'aeiou' else 'a'} {title} ({expected})" if title else expected,
        )
    return InputError(f"{key!r}: {said}" if key else said, where, _shown(_value_at(data, path), ""))


WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""msgspec's words for types in the words of people who write TOML."""


def _shown(value: Any, kind: str) -> str:
    match value:
        case None:
            return WORDS.get(kind, kind)
        case bool():
            return str(value).lower()
        case int() | float() | str():
            return reprlib.repr(value)
        case datetime.date() | datetime.time():
            return f"the date or time {value.isoformat()} (put it in quotes)"
    return "a table" if isinstance(value, dict) else "a list"


def _steps(path: str) -> list[str]:
    return [part for part in re.split(r"\.|\[|\]", path) if part and part != "..."]


def _value_at(data: Any, path: str) -> Any:
    for part in _steps(path):
        try:
            data = data[int(part)] if part.isdecimal() and isinstance(data, list) else data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _fields_at(kind: Any, path: str) -> list[str]:
    """The keys known at a path of a struct type."""
    info = _struct(_info_at(kind, path))
    return [field.encode_name for field in info.fields] if isinstance(info, msgspec.inspect.StructType) else []


def _title_at(kind: Any, path: str) -> str:
    """What the schema calls the kind of value at a path (`duration`), or ''."""
    info = _info_at(kind, path)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    named = (one.extra_json_schema or {} for one in options if isinstance(one, msgspec.inspect.Metadata))
    return next((str(one["title"]) for one in named if "title" in one), "")


def _info_at(kind: Any, path: str) -> Any:
    info: Any = msgspec.inspect.type_info(kind)
    for part in _steps(path):
        if part.isdecimal() and not isinstance(_struct(info), msgspec.inspect.StructType):
            return None
        info = _struct(info)
        if not isinstance(info, msgspec.inspect.StructType):
            return None
        if not part.isdecimal():
            info = next((field.type for field in info.fields if field.encode_name == part), None)
    return info


def _struct(info: Any) -> Any:
    while not isinstance(info, msgspec.inspect.StructType):
        if isinstance(info, msgspec.inspect.UnionType):
            info = next(
                (one for one in info.types if isinstance(one, msgspec.inspect.StructType | msgspec.inspect.ListType)),
                None,
            )
        elif isinstance(info, msgspec.inspect.ListType):
            info = info.item_type
        elif isinstance(info, msgspec.inspect.Metadata):
            info = info.type
        else:
            return None
    return info
