"""`python -m tests.contract LOG.jsonl`: what in a log does not fit Azure's description. Exit status 1 where something does not."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tests.contract.judge import described, validate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--without-node", action="store_true", help="by the specification's schemas, not by oav")
    asked = parser.parse_args()
    try:
        report = (described if asked.without_node else validate)(asked.log)
    except (OSError, RuntimeError) as error:
        print(f"tests.contract: {error}", file=sys.stderr)
        return 2
    for finding in report.findings:
        print(finding)
    for name, count in sorted(Counter(name for name, _ in report.excepted).items()):
        print(f"known: {name}: {count}")
    print(f"{report.judged} answers judged, {len(report.unknown)} not described, {len(report.findings)} do not fit")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
