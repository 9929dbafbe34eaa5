"""Any file of a history, known by its content; `.gz` is unpacked first."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import msgspec

from planner.errors import InputError
from scenarios.files import LARGEST, read_bytes
from vmss_sim.study.calibrate import azure, rollouts, tables
from vmss_sim.study.calibrate.history import History

_GZIP = b"\x1f\x8b"
_EXPECTED = (
    "a CSV with the columns operation and seconds, JSON of `az vmss get-os-upgrade-history` or "
    "`az monitor activity-log list`, or a journal (`simulate --trace`, SQLite)"
)


def read(path: Path) -> History:
    """Read a history. Raises InputError, in one line, for a file of no known kind."""
    if rollouts.is_sqlite(path):
        return rollouts.read_sqlite(path)
    data = read_bytes(path)
    if data.startswith(_GZIP):
        data = _unpacked(data, path)
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"a byte that is not text at position {error.start}"
        raise InputError("not a history of operations", str(path), found, _EXPECTED) from error
    if rollouts.is_trace(text):
        return rollouts.read_trace(text, str(path))
    if text.lstrip()[:1] in ("[", "{"):
        return _json(text, path)
    if tables.looks_like(text):
        return tables.read(text, str(path))
    start = text.strip().splitlines()[0] if text.strip() else ""
    found = repr(start[:40]) if start else "an empty file"
    raise InputError("not a history of operations", str(path), found, _EXPECTED)


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            read = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("the file cannot be unpacked", str(path), str(error), "a gzip file") from error
    if len(read) > LARGEST:
        raise InputError("the file is too large", str(path), f"more than {LARGEST} bytes", "at most 64 MiB unpacked")
    return read


def _json(text: str, path: Path) -> History:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the file is not JSON: {error}", str(path), "", _EXPECTED) from error
    entries = azure.items(document)
    if azure.is_activity_log(entries):
        return azure.activity_log(entries, str(path))
    if azure.is_upgrade_history(entries):
        return azure.upgrade_history(entries, str(path))
    if not entries:
        raise InputError("the history is empty", str(path), "no entry", "at least one operation")
    raise InputError("not a history of operations", str(path), "other JSON", _EXPECTED)
