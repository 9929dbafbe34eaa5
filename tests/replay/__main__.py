"""Replay against reality: `python -m tests.replay [FILE]`. Rules: `session.py`; exceptions: `accepted.py`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.replay.accepted import ACCEPTED, LEFT_OUT, Accepted
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


def main(argv: list[str]) -> int:
    """Print the share of comparisons that agree per operation, the exceptions, and what neither agrees nor is excepted."""
    path = Path(argv[0]) if argv else SHARED
    if not path.exists():
        print(f"no recordings at {path}")
        return 2
    runs = replay(path)
    judged = judge(runs)
    print(f"{len(runs)} sessions, {judged.total.total()} comparisons")
    for kind in sorted({kind for kind, _ in judged.total}):
        total = sum(count for key, count in judged.total.items() if key[0] == kind)
        agreeing = sum(count for key, count in judged.agreeing.items() if key[0] == kind)
        parts = ", ".join(f"{what} {count}" for (of, what), count in sorted(judged.total.items()) if of == kind)
        print(f"{kind:26} {agreeing:5} of {total:5} ({agreeing / total:6.1%})  {parts}")
    print(
        "requests the world has no kind for:",
        ", ".join(f"{what} ({count})" for what, count in judged.skipped.most_common()),
    )
    print("exceptions:")
    for row, count in zip(ACCEPTED, judged.covered, strict=True):
        if count or path == SHARED:
            print(f"{count:5}  {row.reason}")
    for left in LEFT_OUT if path == SHARED else ():
        print(f"{left.count:5}  not replayed: {left.reason}")
    print(f"differences that no exception accepts: {len(judged.differing)}")
    for one in judged.differing:
        told = f"{one.kind}: {one.what}: recorded {one.recorded!s:.160}; world {one.world!s:.160}"
        print(f"  {one.recording} exchange {one.index}: {told}")
    return 1 if judged.differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
