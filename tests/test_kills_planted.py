"""The crash test as a whole notices a product that is wrong: each bug of `tests/kills/planted.py`, in the executors' own processes, with the death
that it takes to show; without the bug the same tale is told to its end.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fleet import Case, Fleet
from tests.kills.grounds import GROUNDS
from tests.kills.planted import PLANTED
from tests.kills.tales import HELD, TABLE, Tale
from tests.kills.telling import Telling


class Shows(NamedTuple):
    """What a bug shows at. writes: at which write of its journal each executor dies (0: it does not), one after another. notice: by what it is noticed."""

    tale: Tale
    writes: tuple[int, ...]
    notice: str


BY_NAME = {one.name: one for one in TABLE}
BUGS = {
    "acts_before_it_writes": Shows(Tale("one by one", Case(fleet=HELD)), (7,), "was sent twice"),
    "sends_again": Shows(Tale("one by one", Case(fleet=HELD)), (8,), "was sent twice"),
    "decides_anew_at_once": Shows(Tale("one by one", Case(fleet=HELD)), (7,), "is in flight"),
    "forgets_repairs": Shows(BY_NAME["paused and released"], (14,), "released, and repairs are suspended"),
    # Which of the two is faster decides by what: a command that reached the world twice, or an end that the other one's journal does not tell.
    "ignores_the_lease": Shows(BY_NAME["two at once"], (8,), "was sent twice|ended: finish"),
    "keeps_the_mode": Shows(Tale("drawn", Case(fleet=Fleet(size=2, mode=HELD.mode))), (8,), "rolling"),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_product_that_is_wrong_is_noticed(bug: str, tmp_path: Path) -> None:
    _told(BUGS[bug], tmp_path / "right")
    with pytest.raises(AssertionError, match=BUGS[bug].notice):
        _told(BUGS[bug], tmp_path / "wrong", PLANTED=bug)


def _told(shows: Shows, folder: Path, **more: str) -> None:
    folder.mkdir()
    writes = list(shows.writes)
    with GROUNDS["loopback"](shows.tale.case, folder) as place:
        telling = Telling(place, shows.tale, folder, len(writes), random.Random(1), 1)
        telling.more = more
        telling.kill = lambda _words: {"KILL_AT_WRITE": str(writes.pop(0))} if writes else {}  # type: ignore[method-assign]
        telling.to_the_end()
        assert telling.hits == len(shows.writes)
        telling.judged(None)
