"""All sessions of a file replayed, and their findings put under the exceptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.replay.accepted import ACCEPTED, Accepted
from tests.replay.session import Finding, Replay, in_scope
from tests.replay.traffic import SHARED, read, sessions


def replay(path: Path = SHARED) -> list[Replay]:
    """Every session in scope of a file of recordings."""
    found = (session for recording in read(path) for session in sessions(recording))
    return [Replay(session).run() for session in found if in_scope(session)]


class Judged(NamedTuple):
    """What a run of replays says. differing: what no exception accepts; covered: how many each accepts, in their order."""

    total: Counter[tuple[str, str]]
    agreeing: Counter[tuple[str, str]]
    covered: tuple[int, ...]
    differing: list[Finding]
    skipped: Counter[str]

    def of(self, kind: str) -> tuple[int, int]:
        """Comparisons about one kind of request, and how many of them agree."""
        return tuple(
            sum(count for (name, _), count in table.items() if name == kind) for table in (self.total, self.agreeing)
        )  # type: ignore[return-value]


def judge(runs: Iterable[Replay], accepted: tuple[Accepted, ...] = ACCEPTED) -> Judged:
    """Put every difference under the first exception that accepts it."""
    total: Counter[tuple[str, str]] = Counter()
    agreeing: Counter[tuple[str, str]] = Counter()
    skipped: Counter[str] = Counter()
    covered, differing = [0] * len(accepted), []
    for run in runs:
        skipped += run.skipped
        for one in run.findings:
            total[one.kind, one.what] += 1
            agreeing[one.kind, one.what] += not one.differs
            if one.differs:
                told = (one.recording, one.kind, one.what, one.recorded, one.world)
                row = next((at for at, exception in enumerate(accepted) if exception.covers(*told)), None)
                if row is None:
                    differing.append(one)
                else:
                    covered[row] += 1
    return Judged(total, agreeing, tuple(covered), differing, skipped)
