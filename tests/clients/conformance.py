"""`python -m tests.clients.conformance`: every exchange of every client held to Azure's description, by Microsoft's own validator.

Contract: reads the traces that the client runs left, all of them at once; exit status 1 where an answer does not fit, 2 where there is
nothing to judge. What the specification does not describe (polls of operations, tokens, subscriptions) is counted and must be of a kind
named here. Fuzzed exchanges are not among them: what asks for nonsense is answered by an error, and Schemathesis judges those itself.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from tests.clients.harness import TRACES
from tests.clients.install import excuse
from tests.contract import judge, oav, openapi
from tests.contract.findings import ABSENT, OPENAPI, Exchange, read

NOT_DESCRIBED: Final = re.compile(
    r"^/subscriptions(/[^/]+(/(providers/microsoft\.compute/locations/[^/]+/operations/.*)?)?)?$", re.IGNORECASE
)
"""Paths that the specification of scale sets says nothing of: subscriptions, and operations that run."""


def judged(traces: list[Path], validator: judge.Validator = oav.judge) -> tuple[int, list[str], Counter[str]]:
    """How many answers were judged, what does not fit, and how often each known gap of the specification was met."""
    exchanges: list[Exchange] = [one for trace in traces for one in read(trace)]
    report = judge.judged(exchanges, validator)
    wrong = [str(finding) for finding in report.findings]
    undescribed = [exchanges[line - 1] for line, _ in report.unknown]
    wrong += [
        f"{one.method} {one.path}: nothing describes it" for one in undescribed if not NOT_DESCRIBED.match(one.path)
    ]
    return report.judged, wrong, Counter(name for name, _ in report.excepted)


def main() -> int:
    """Judge the traces that are there."""
    if not OPENAPI.exists():
        print(f"skipped: {ABSENT}")
        return 0
    validator = oav.judge
    if excuse("oav").exists():
        print(f"{excuse('oav').read_text()}; by the specification's own schemas instead")
        validator = openapi.judge
    elif why := oav.ready():
        print(f"tests.clients.conformance: {why}", file=sys.stderr)
        return 2
    traces = sorted(TRACES.glob("*.jsonl"))
    count, wrong, known = judged(traces, validator)
    for one in wrong:
        print(one)
    for name, times in sorted(known.items()):
        print(f"known: {name}: {times}")
    print(f"{count} answers to clients in {len(traces)} runs judged, {len(wrong)} do not fit")
    return 1 if wrong else 0 if count else 2


if __name__ == "__main__":
    sys.exit(main())
