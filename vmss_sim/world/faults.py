"""Faults: values asked for a verdict on each operation. The first one that does not pass decides.

A verdict says what happens to the request or to its reply; what happens to the VMs is the world's business.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Verdict(NamedTuple):
    """`pass`, `delay` (by ms), `fail` (accepted, ends failed with code, no VM changes), `refuse` (409, 429 or another code, no
    effect), `lose-reply` (happens, nobody answers), `lose-request` (does not happen, nobody answers), `hang` (happens, but never ends).
    """

    kind: str
    code: str = ""
    delay_ms: int = 0
    retry_after_ms: int | None = None


PASS = Verdict("pass")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The verdict given to operations number `first` to `last` (counted from 1, all operations), of kind `of` (empty: any)."""

    verdict: str
    first: int = 1
    last: int = 1
    of: str = ""
    code: str = ""
    delay_ms: int = 0
    retry_after_ms: int | None = None

    def judge(self, number: int, kind: str) -> Verdict:
        """The verdict on operation `number` of this kind."""
        if self.first <= number <= self.last and self.of in ("", kind):
            return Verdict(self.verdict, self.code, self.delay_ms, self.retry_after_ms)
        return PASS


def judge(faults: tuple[Fault, ...], number: int, kind: str) -> Verdict:
    """The first verdict that is not `pass`."""
    for fault in faults:
        verdict = fault.judge(number, kind)
        if verdict.kind != "pass":
            return verdict
    return PASS
