"""Reading what people give: TOML scenarios, JSON snapshots. Every refusal is one line: file, key, found, expected."""

from __future__ import annotations

import codecs
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from planner import explain
from planner.arm_json import Reading, looks_like, read_scale_set
from planner.errors import InputError
from scenarios.schema import Scenario

LARGEST = 64 * 1024 * 1024
EXPECTED = "JSON as Azure returns it (`az … -o json`)"
BUNDLED = Path(__file__).parent / "bundled"
T = TypeVar("T")
_WORDS: Mapping[str, str] = {**explain.WORDS, "object": "a table", "null": ""}  # what TOML calls them; it has no null


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
    text = read_text(path, "JSON", EXPECTED)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the file is not JSON: {error}", str(path), _start(text), EXPECTED) from error


def read_toml(path: Path, expected: str = "a scenario in TOML (`vmss-sim init` writes one)") -> dict[str, Any]:
    """A TOML document. expected: what it should be, for people. Raises InputError naming line and column of the first error."""
    text = read_text(path, "TOML", expected)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, and an integer of thousands of digits
        raise InputError(f"the file is not TOML: {error}", str(path), _start(text), expected) from error


def _kind(document: Any) -> str:
    """What a JSON document is, for people to recognise it by."""
    if isinstance(document, dict):
        return (
            f"an object with {', '.join(key[:40] for key in sorted(document)[:6])}"
            if document
            else "an object without keys"
        )
    return "a list" if isinstance(document, list) else reprlib.repr(document)


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
    near = explain.did_you_mean(path.stem, known, "the bundled scenario ")
    raise InputError("no such file or bundled scenario", name, "", "", near or f"bundled scenarios: {', '.join(known)}")


def is_snapshot(path: Path) -> bool:
    """Does this file hold Azure's JSON rather than a scenario?"""
    return path.suffix.lower() == ".json" and bool(looks_like(read_json(path)))


def load(path: Path) -> Scenario:
    """A scenario. Raises InputError."""
    if path.suffix.lower() == ".json":
        raise InputError("no scale set is in this file", str(path), _kind(read_json(path)), EXPECTED)
    return convert(read_toml(path), Scenario, str(path))


def convert(data: Any, kind: type[T], where: str) -> T:
    """Data out of TOML as a value of `kind`, or InputError naming the key, and for an unknown one the nearest known."""
    return explain.convert(data, kind, where, words=_WORDS)
