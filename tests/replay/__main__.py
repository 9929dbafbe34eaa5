"""Replay against reality: `python -m tests.replay [--requests] [--doc | --check | FILE]`. Rules: `session.py`; exceptions: `accepted.py`.

With `--requests` the recorded requests are sent to the ARM endpoint: `requests/run.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.replay.accepted import ACCEPTED, LEFT_OUT
from tests.replay.judging import judge, replay
from tests.replay.traffic import SHARED


def main(argv: list[str]) -> int:
    """Print the share of comparisons that agree per operation, the exceptions, and what neither agrees nor is excepted."""
    if argv[:1] == ["--requests"]:
        from tests.replay.requests import command

        return command.main(argv[1:])
    path = Path(argv[0]) if argv and not argv[0].startswith("--") else SHARED
    if not path.exists():
        print(f"no recordings at {path}")
        return 2
    runs = replay(path)
    judged = judge(runs)
    if argv in (["--doc"], ["--check"]):
        from tests.replay.page import PAGE, page

        text = page(runs, judged)
        if argv == ["--doc"]:
            print(text, end="")
            return 0
        same = text == PAGE.read_text(encoding="utf-8")
        print(f"docs/replay.md is {'up to date' if same else 'not what `python -m tests.replay --doc` prints'}")
        return 0 if same else 1
    print(f"{len(runs)} sessions, {judged.total.total()} comparisons")
    for kind in sorted({kind for kind, _ in judged.total}):
        total, agreeing = judged.of(kind)
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
