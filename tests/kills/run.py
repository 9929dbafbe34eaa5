"""Tale after tale, until so many kills have hit."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from planner.phases import Phase
from tests.kills.tales import Tale, tale_of
from tests.kills.telling import Hits, Left, tell

PHASES = ("not begun", *(one.value for one in (Phase.PREPARING, Phase.ROLLING, Phase.PAUSED)), "releasing", "preparing-back",
    *(one.value for one in (Phase.ROLLING_BACK, Phase.FINISHING, Phase.ENDED)))  # fmt: skip
TOLD_EVERY_S = 60.0
MOST_FAILED = 20
_whole: dict[tuple[str, str], Left] = {}

Says = Callable[[str], None]


class Done(NamedTuple):
    """How it went."""

    kills: int
    tales: int
    failed: int
    killed: Hits


def silent(_text: str) -> None:
    """Nobody is told."""


def once(ground: str, seed: int, number: int, folder: Path | None = None, says: Says = silent) -> Left:
    """One tale, and what it left; a failure says how it alone is told again."""
    luck = random.Random(f"{ground}/{seed}/{number}")
    tale = tale_of(ground, seed, number, luck)
    own = folder or Path(tempfile.mkdtemp(prefix="kills-"))
    says(f"{ground}/{seed}/{number}: {tale}")
    try:
        expected = whole(ground, tale, own)
        kills = max(luck.randint(3, 8), len(tale.words) + 2)
        return tell(ground, tale, own, kills, luck, expected)
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
    killed: Hits = Counter()
    try:
        while hits < kills:
            number += 1
            try:
                left = once(ground, seed, number, folder)
                hits += left.hits
                killed += left.kills
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
    return Done(hits, number, failed, killed)


def table(killed: Hits) -> str:
    """Who was killed, by the word that was carried out and the rollout's phase. One who carried two words out counts in both rows."""
    phases = [phase for phase in PHASES if any(phase == one for _, one in killed)]
    words = sorted({word for word, _ in killed})
    rows = [["killed at", *phases]] + [[word, *(str(killed[word, phase] or "") for phase in phases)] for word in words]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        " ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
