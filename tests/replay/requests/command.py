"""What `python -m tests.replay --requests [--doc | --check | FILE]` does."""

from __future__ import annotations

import time
from pathlib import Path

from tests.replay.requests.accepted import ACCEPTED
from tests.replay.requests.judging import judge, replay
from tests.replay.requests.page import PAGE, page, share, total
from tests.replay.requests.years import YEARS
from tests.replay.traffic import SHARED


def main(argv: list[str]) -> int:
    """Print shares per kind of request, what explains differences, and what nothing explains."""
    path = Path(argv[0]) if argv and not argv[0].startswith("--") else SHARED
    if not path.exists():
        print(f"no recordings at {path}")
        return 2
    began = time.perf_counter()
    runs = replay(path)
    judged = judge(runs)
    seconds = time.perf_counter() - began
    if argv in (["--doc"], ["--check"]):
        text = page(runs, judged)
        if argv == ["--doc"]:
            print(text, end="")
            return 0
        same = text == PAGE.read_text(encoding="utf-8")
        told = "up to date" if same else "not what `python -m tests.replay --requests --doc` prints"
        print(f"docs/replay-requests.md is {told} ({seconds:.0f} s); not explained: {len(judged.differing)}")
        return 0 if same and not judged.differing else 1
    for kind, row in (*judged.rows.items(), *([("all", total(judged.rows.values()))] if judged.rows else ())):
        told = f"status {share(row.status, row.requests)}, errors {row.codes} of {row.errors}, shape {share(row.shape, row.requests)}"
        alike = f"alike {share(row.alike, row.requests)}, but for the year {share(row.by_year, row.requests)}, explained {share(row.excepted, row.requests)}"
        print(f"{kind:55} {row.requests:6}  {told}; {alike}")
    for reason, count in judged.skipped.most_common():
        print(f"not sent: {count:5}  {reason}")
    print("the service's years:")
    for year, count in zip(YEARS, judged.years, strict=True):
        if count or path == SHARED:
            print(f"{count:5}  {year.path} {year.since} {year.until}")
    print("exceptions:")
    for row, count in zip(ACCEPTED, judged.accepted, strict=True):
        if count or path == SHARED:
            print(f"{count:5}  {row.reason}")
    print(f"differences that nothing explains: {len(judged.differing)} ({seconds:.1f} s)")
    for one in judged.differing:
        told = f"{one.kind} (api-version {one.version}): {one.what} {one.path}: recorded {one.recorded:.160}; found {one.found:.160}"
        print(f"  {one.recording} exchange {one.index}: {told}")
    return 1 if judged.differing else 0
