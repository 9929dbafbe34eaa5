"""What goes wrong from outside: faults, asked for a verdict on each operation, and disturbances, which come at a time.

1. The first fault that does not pass decides. A verdict says what happens to the request or to its reply; what happens
   to the VMs is the world's business.
2. A disturbance is data with a time. Somebody else's request goes through the same door as ours and may be refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Verdict(NamedTuple):
    """`pass`, `delay` (by ms), `fail` (accepted, ends failed with code, no VM changes), `time-out` (happens to nobody, ends
    failed after delay_ms, 40 minutes unless said: azure-docs, OSProvisioningTimedOut), `refuse` (409, 429 or another code,
    no effect), `lose-reply` (happens, nobody answers), `lose-request` (does not happen, nobody answers), `hang` (happens, but never ends).
    """

    kind: str
    code: str = ""
    delay_ms: int = 0
    retry_after_ms: int | None = None
    exit_code: int = 0
    output: str = ""


PASS = Verdict("pass")
TIMED_OUT_MS = 2_400_000


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The verdict on some requests, counted from 1 over all of them. What the platform does by itself (its own rollouts, repairs) is
    no request, and meets no fault.

    verdict: delay, fail, time-out, refuse, lose-reply, lose-request or hang.
    first, last: which operations it is given to, by number.
    of: of this kind only, such as upgrade; empty: of any.
    code: the error's code.
    delay: of a delayed one, or until one times out.
    retry_after: what a refusal says.
    exit_code, output: of a run-command that fails: what its script exits with, and says on stderr.
    from, until: only to operations that arrive from then on, and before then.
    """

    verdict: str
    first: int = 1
    last: int = 1
    of: str = ""
    code: str = ""
    delay_ms: int = 0
    retry_after_ms: int | None = None
    exit_code: int = 0
    output: str = ""
    from_ms: int = 0
    until_ms: int | None = None

    def judge(self, number: int, kind: str, now_ms: int = 0) -> Verdict:
        """The verdict on operation `number` of this kind."""
        due = self.from_ms <= now_ms and (self.until_ms is None or now_ms < self.until_ms)
        if due and self.first <= number <= self.last and self.of in ("", kind):
            return Verdict(self.verdict, self.code, self.delay_ms, self.retry_after_ms, self.exit_code, self.output)
        return PASS


def judge(faults: tuple[Fault, ...], number: int, kind: str, now_ms: int = 0) -> Verdict:
    """The first verdict that is not `pass`."""
    for fault in faults:
        verdict = fault.judge(number, kind, now_ms)
        if verdict.kind != "pass":
            return verdict
    return PASS


class _Disturbance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base."""

    at_ms: int


class Outage(_Disturbance, frozen=True, kw_only=True, tag="outage"):
    """The VMs that are there and match stop serving: a zone outage, maintenance of an update domain (memory-preserving pauses last
    30 s at most), a failed host or rack. What is left out matches everything.

    at: when.
    for: how long.
    zone: in this availability zone.
    update_domain: in this update domain.
    fault_domain: in this fault domain.
    ids: these instances.
    allocation: while it lasts no VM can be created, upgraded or reimaged there either.
    """

    for_ms: int
    zone: str | None = None
    update_domain: int | None = None
    fault_domain: int | None = None
    ids: tuple[str, ...] | None = None
    allocation: bool = False


class Publication(_Disturbance, frozen=True, kw_only=True, tag="publication"):
    """A newer version of the image is published.

    at: when.
    version: what `latest` resolves to from then on.
    """

    version: str


class Autoscale(_Disturbance, frozen=True, kw_only=True, tag="autoscale"):
    """Autoscale adds or removes instances.

    at: when.
    by: how many more; fewer where it is negative.
    """

    by: int


class Foreign(_Disturbance, frozen=True, kw_only=True, tag="foreign"):
    """Somebody else's request, such as manualupgrade of everything.

    at: when.
    request: its kind, such as upgrade, reimage, restart, delete or set-capacity.
    ids: the instances it names; "*" alone: all.
    args: what else it says, such as capacity.
    """

    request: str
    ids: tuple[str, ...] = ()
    args: dict[str, Any] = {}


Disturbance = Outage | Publication | Autoscale | Foreign
