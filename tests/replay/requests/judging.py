"""All recordings replayed, and every difference put under the year or the exception that explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.replay.requests.accepted import ACCEPTED, Accepted
from tests.replay.requests.run import Compared, Difference, Run
from tests.replay.requests.years import YEARS, Year
from tests.replay.traffic import SHARED, read


def replay(path: Path = SHARED) -> list[Run]:
    """Every recording of a file."""
    return [Run(recording).run() for recording in read(path)]


class Row(NamedTuple):
    """What the comparisons of one kind of request say. status, code: equal as they are (code and words of errors among `errors`);
    shape: of those with equal status; alike: equal as they are; explained: but for the service's year; excepted: but for exceptions, too.
    """

    requests: int
    status: int
    errors: int
    codes: int
    shape: int
    alike: int
    by_year: int
    excepted: int


class Judged(NamedTuple):
    """rows: by kind of request; years, accepted: how many differences each row covers; differing: what nothing explains."""

    rows: dict[str, Row]
    years: tuple[int, ...]
    accepted: tuple[int, ...]
    differing: list[Difference]
    skipped: Counter[str]


def judge(runs: Iterable[Run], years: tuple[Year, ...] = YEARS, accepted: tuple[Accepted, ...] = ACCEPTED) -> Judged:
    """Put every difference under the first row that covers it."""
    tables: dict[str, list[int]] = {}
    skipped: Counter[str] = Counter()
    by_year, by_exception = [0] * len(years), [0] * len(accepted)
    differing: list[Difference] = []
    for run in runs:
        skipped += run.skipped
        for one in run.compared:
            worst = 0
            for each in one.differences:
                if (at := _first(years, each)) is not None:
                    by_year[at] += 1
                    worst = max(worst, 1)
                elif (at := _first(accepted, each)) is not None:
                    by_exception[at] += 1
                    worst = max(worst, 2)
                else:
                    differing.append(each)
                    worst = 3
            _count(tables.setdefault(one.kind, [0] * len(Row._fields)), one, worst)
    rows = {kind: Row(*table) for kind, table in sorted(tables.items())}
    return Judged(rows, tuple(by_year), tuple(by_exception), differing, skipped)


def _first(rows: tuple[Year, ...] | tuple[Accepted, ...], one: Difference) -> int | None:
    return next((at for at, row in enumerate(rows) if row.covers(one)), None)


def _count(table: list[int], one: Compared, worst: int) -> None:
    said = (
        True,
        one.agrees("status"),
        one.failed,
        one.failed and one.agrees("code") and one.agrees("message"),
        one.agrees("status") and one.agrees("shape"),
        worst == 0,
        worst <= 1,
        worst <= 2,
    )
    for at, holds in enumerate(said):
        table[at] += holds
