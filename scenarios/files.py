"""Reading what people give: TOML scenarios, JSON snapshots. Every refusal is one line: file, key, found, expected."""

from __future__ import annotations

import difflib
import re
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
    """A file's bytes. Raises InputError for one that is not there, not readable, not a file, or over 64 MiB."""
    try:
        if path.is_dir():
            raise InputError("this is a folder", str(path), "", "a file")
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError("the file is too large", str(path), f"{size} bytes", f"at most {LARGEST} (64 MiB)")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "the file cannot be read", str(path), error.strerror or str(error), "a readable file"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: beside it first, then in its place. Raises InputError where that is not possible."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError("the file cannot be written", str(path), error.strerror or str(error), "a path in a folder that exists") from error


def read_json(path: Path) -> Any:
    """A JSON document. Raises InputError naming the place of the first error."""
    try:
        return msgspec.json.decode(read_bytes(path))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("the file is not JSON", str(path), str(error), "JSON as Azure returns it") from error


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML document. Raises InputError naming line and column of the first error."""
    try:
        return tomllib.loads(read_bytes(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            "the file is not TOML", str(path), str(error), "a scenario, see `vmss-sim init --help`"
        ) from error


def read_snapshot(paths: Sequence[Path], watch: Sequence[str] = ()) -> Reading:
    """A scale set as Azure returns it, from one file or two."""
    return read_scale_set([(str(path), read_json(path)) for path in paths], watch=watch)


def find_scenario(name: str) -> Path:
    """A path, or the name of a bundled scenario. Raises InputError naming the nearest bundled one."""
    path = Path(name)
    if path.exists():
        return path
    bundled = BUNDLED / f"{name}.toml"
    if bundled.exists():
        return bundled
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


def explain(error: msgspec.ValidationError, kind: Any, where: str, data: Any) -> InputError:
    """A msgspec error in the words of rule "what, where, found, expected"."""
    text = str(error)
    match = re.fullmatch(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", text, re.DOTALL)
    said, path = (match[1], match[2] or "") if match else (text, "")
    key = path.lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", said)
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
    missing = re.fullmatch(r"Object missing required field `(.*)`", said)
    if missing:
        full = f"{key}.{missing[1]}" if key else missing[1]
        return InputError(f"{full!r} is missing", where)
    wrong = re.fullmatch(r"Expected `(.*)`, got `(.*)`", said)
    if wrong:
        found = _value_at(data, path)
        shown = wrong[2] if found is None else f"{found!r} ({wrong[2]})"
        return InputError(
            f"wrong type of {key!r}" if key else "wrong type", where, shown, wrong[1].replace("object", "a table")
        )
    return InputError(f"{key!r}: {said}" if key else said, where)


def _steps(path: str) -> list[str]:
    return [part for part in re.split(r"\.|\[|\]", path) if part and part != "..."]


def _value_at(data: Any, path: str) -> Any:
    for part in _steps(path):
        try:
            data = data[int(part)] if part.isdecimal() and isinstance(data, list) else data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data if not isinstance(data, dict | list) or len(str(data)) < 60 else None


def _fields_at(kind: Any, path: str) -> list[str]:
    """The keys known at a path of a struct type."""
    info = msgspec.inspect.type_info(kind)
    for part in _steps(path):
        info = _struct(info)
        if not isinstance(info, msgspec.inspect.StructType):
            return []
        info = next((field.type for field in info.fields if field.encode_name == part), info)
    info = _struct(info)
    return [field.encode_name for field in info.fields] if isinstance(info, msgspec.inspect.StructType) else []


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
