"""Tale after tale, until so many kills have hit."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.kills.tales import Tale, tale_of
from tests.kills.telling import Left, tell

TOLD_EVERY_S = 60.0
MOST_FAILED = 20
_whole: dict[tuple[str, str], Left] = {}

Says = Callable[[str], None]


class Done(NamedTuple):
    """How it went."""

    kills: int
    tales: int
    failed: int


def silent(_text: str) -> None:
    """Nobody is told."""


def once(ground: str, seed: int, number: int, folder: Path | None = None, says: Says = silent) -> int:
    """One tale. Returns how many kills hit; a failure says how it alone is told again."""
    luck = random.Random(f"{ground}/{seed}/{number}")
    tale = tale_of(ground, seed, number, luck)
    own = folder or Path(tempfile.mkdtemp(prefix="kills-"))
    says(f"{ground}/{seed}/{number}: {tale}")
    try:
        expected = whole(ground, tale, own)
        return tell(ground, tale, own, luck.randint(3, 8), luck, expected).hits
    except Exception as error:
        error.add_note(
            f"{tale.name!r}: {tale.case!r} {tale.words}\nagain: python -m tests.kills --only {ground}/{seed}/{number}"
        )
        raise
    finally:
        if folder is None:
            shutil.rmtree(own, ignore_errors=True)


def whole(ground: str, tale: Tale, folder: Path) -> Left:
    """What is left where nobody is killed and nobody says anything."""
    key = (ground, repr(tale.case))
    found = _whole.get(key)
    if found is None:
        found = tell(ground, tale, folder, 0, random.Random(0), None)
        if tale.name != "drawn":
            _whole[key] = found
    return found


def run(ground: str, kills: int, seed: int, *, says: Says = silent, keep_going: bool = False) -> Done:
    """So many kills on this ground."""
    began = told = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    hits = number = failed = 0
    try:
        while hits < kills:
            number += 1
            try:
                hits += once(ground, seed, number, folder)
            except Exception:
                failed += 1
                if not keep_going or failed > MOST_FAILED:
                    raise
                says(traceback.format_exc())
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            now = time.monotonic()
            if now - told >= TOLD_EVERY_S or hits >= kills:
                told = now
                rate = hits / (now - began) * 60
                says(f"{ground}: {hits} of {kills} kills, {number} tales, {failed} failed, {rate:.0f} kills a minute")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Done(hits, number, failed)
