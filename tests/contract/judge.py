"""A log judged: one validator of the specification, the newer types, and the exceptions.

Rules:

1. Every answer is held to the specification of 2024-07-01, whatever version was asked for: `oav`, or `openapi` without Node.
2. An answer of a newer version is held to the types of 2026-04-01 too, where it is a resource. What the specification does not know of it
   (a property, a word, an operation) and the types do is no fault: it is newer.
3. What is left and an exception explains is told apart; an exception is none where the validator has nothing against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.contract import bicep, exceptions, oav, openapi
from tests.contract.findings import SPEC, Exchange, Finding, Report, read

NEWER = frozenset({"OBJECT_ADDITIONAL_PROPERTIES", "ENUM_MISMATCH"})
Validator = Callable[[Sequence[Exchange]], tuple[list[Finding], dict[int, str]]]


def validate(log: Path) -> Report:
    """A log judged by Microsoft's validator, and the newer types. Raises RuntimeError where that is not installed."""
    why = oav.ready()
    if why:
        raise RuntimeError(why)
    return judged(read(log), oav.judge)


def described(log: Path) -> Report:
    """The same without Node."""
    return judged(read(log), openapi.judge)


def judged(exchanges: Sequence[Exchange], validator: Validator = openapi.judge) -> Report:
    """Exchanges judged."""
    found, unknown = validator(exchanges)
    newer = {line for line, one in enumerate(exchanges, 1) if one.version[:10] > SPEC}
    by_types = [finding for finding in bicep.judge(exchanges) if finding.line in newer]
    kept = [
        finding
        for finding in found
        if not (finding.line in newer and finding.code in NEWER and bicep.describes(finding.exchange))
    ]
    findings: list[Finding] = []
    excepted: list[tuple[str, Finding]] = []
    for finding in kept + by_types:
        name = exceptions.name_of(finding)
        if name:
            excepted.append((name, finding))
        else:
            findings.append(finding)
    return Report(tuple(findings), tuple(excepted), len(exchanges) - len(unknown), tuple(sorted(unknown.items())))
