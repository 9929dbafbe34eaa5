"""Token buckets of Azure Resource Manager and the compute provider: who may ask how often.

Rules this module decides:

1. A request takes tokens from every policy that `USES` names for its kind: one token a request, or one a VM (rows with
   `per="vm"`). It gets all of them or none, and a refused request costs nothing.
2. A bucket starts full. Its minute starts with the first take from a full bucket; `refill` tokens arrive at the end of
   each period, never in between, and never beyond `size`. Microsoft documents size and refill per minute
   (compute-throttling-limits.md, ms.date 05/27/2024); that they arrive in steps of a minute counted from the first take
   is what recordings of 2024-08 show (GetOperationResource 44, 43 after 30 s, 44 after 60 s).
3. Scope `subscription`: one bucket for all. Scope `resource`: one a scale set; for policies about a VM one a VM, and
   for `GetOperationResource` one an operation (recordings: each new operation begins at 44 of 45).
4. A refusal names the policy that keeps the caller waiting longest, with what it held when the present period began
   (`allowed`), what was asked of it since, refused requests and this one included (`measured`), and the time until it
   can give what this request asks for.
5. Integer arithmetic only. Time may not go back. Two `Buckets` that were asked the same say the same.

Names and sizes are those of the header `x-ms-ratelimit-remaining-resource` in recordings of 2023-11 to 2025-02 (the
highest remaining value seen plus one is the size); where a documented size differs, the row says so. Resource
Manager's own buckets (since 2024, per region and principal) fill every second and have headers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

MINUTE_MS: Final = 60_000
SECOND_MS: Final = 1_000


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of bucket: `size` tokens at most, `refill` more every `every_ms`. source: what the numbers rest on."""

    name: str
    scope: Literal["subscription", "resource"]
    size: int
    refill: int
    every_ms: int = MINUTE_MS
    source: str = "documented"

    @property
    def header(self) -> str:
        """Name of the header that carries what remains."""
        if self.name.startswith("arm-"):
            return f"x-ms-ratelimit-remaining-subscription-{self.name.removeprefix('arm-')}"
        return "x-ms-ratelimit-remaining-resource"


class Use(NamedTuple):
    """What a kind of request takes from one policy: one token a request, or one a VM."""

    policy: str
    per: Literal["request", "vm"] = "request"


class Granted(NamedTuple):
    """The request went through; `remaining` tokens by policy, in the order of the kind's row."""

    remaining: tuple[tuple[str, int], ...]


class Throttled(NamedTuple):
    """HTTP 429. See rule 4."""

    retry_after_ms: int
    policy: str
    allowed: int
    measured: int


def _subscription(name: str, size: int, refill: int, source: str = "documented") -> Policy:
    return Policy(name=f"{name}SubscriptionMaximum", scope="subscription", size=size, refill=refill, source=source)


def _resource(name: str, size: int, refill: int) -> Policy:
    return Policy(name=f"{name}Resource", scope="resource", size=size, refill=refill)


def _arm(name: str, size: int, refill: int) -> Policy:
    return Policy(name=f"arm-{name}", scope="subscription", size=size, refill=refill, every_ms=SECOND_MS)


_THIRD: Final = "size recorded; no refill is documented, a third a minute as for all others"

POLICIES: Final[Mapping[str, Policy]] = {
    policy.name: policy
    for policy in (
        _subscription("CreateVMScaleSet", 375, 125),
        _resource("CreateVMScaleSet", 12, 4),
        _subscription("VMScaleSetActions", 1_500, 500),
        _resource("VMScaleSetActions", 12, 4),
        _subscription("DeleteVMScaleSet", 525, 175),
        _resource("DeleteVMScaleSet", 12, 4),
        _subscription("GetVMScaleSet", 2_400, 800),
        _resource("GetVMScaleSet", 36, 12),
        _subscription("HighCostGetVMScaleSet", 1_080, 360),
        _resource("HighCostGetVMScaleSet", 30, 10),
        _subscription("VMScaleSetVMActions", 2_000, 500, "size recorded (1999 left); documented are 1,500"),
        _resource("VMScaleSetVMActions", 12, 4),
        _subscription("DeleteVMScaleSetVM", 2_000, 500, "size recorded (1999 left); documented are 1,500"),
        _resource("DeleteVMScaleSetVM", 12, 4),
        _subscription("GetVMScaleSetVM", 6_000, 2_000),
        _resource("GetVMScaleSetVM", 36, 12),
        _subscription("GetOperation", 15_000, 5_000),
        _resource("GetOperation", 45, 15),
        _subscription("VMScaleSetBatchedVMRequests", 6_000, 2_000, _THIRD),
        _subscription("VMScaleSetVMViews", 30_000, 10_000, _THIRD),
        # Resource Manager, request-limits-and-throttling: 250/25, 200/10, 200/10; the global limit is 15 times that.
        _arm("reads", 250, 25),
        _arm("writes", 200, 10),
        _arm("deletes", 200, 10),
        _arm("global-reads", 3_750, 375),
        _arm("global-writes", 3_000, 150),
        _arm("global-deletes", 3_000, 150),
    )
}
"""Every policy by name."""

_BATCHED: Final = Use("VMScaleSetBatchedVMRequestsSubscriptionMaximum", "vm")
_VIEWS: Final = Use("VMScaleSetVMViewsSubscriptionMaximum", "vm")
_READ: Final = (Use("arm-reads"), Use("arm-global-reads"))
_WRITE: Final = (Use("arm-writes"), Use("arm-global-writes"))
_DELETE: Final = (Use("arm-deletes"), Use("arm-global-deletes"))


def _both(name: str) -> tuple[Use, Use]:
    return Use(f"{name}SubscriptionMaximum"), Use(f"{name}Resource")


_PUT: Final = (*_both("CreateVMScaleSet"), _BATCHED, *_WRITE)
_SET_UPDATE: Final = (*_both("VMScaleSetActions"), _BATCHED, *_WRITE)
_ROLLOUT: Final = (*_both("VMScaleSetActions"), *_WRITE)
# "Subscription only": actions on instances through the set leave the set's own bucket alone.
_ON_INSTANCES: Final = (Use("VMScaleSetActionsSubscriptionMaximum"), _BATCHED, *_WRITE)
_STOPPING: Final = (Use("DeleteVMScaleSetSubscriptionMaximum"), _BATCHED, *_WRITE)
_ONE_VM: Final = (*_both("VMScaleSetVMActions"), _BATCHED, *_WRITE)
_ONE_VM_STOPPING: Final = (*_both("DeleteVMScaleSetVM"), _BATCHED, *_WRITE)
_SET_READ: Final = (*_both("GetVMScaleSet"), *_READ)
_DEAR_READ: Final = (*_both("HighCostGetVMScaleSet"), *_READ)
_VM_READ: Final = (*_both("GetVMScaleSetVM"), _VIEWS, *_READ)

USES: Final[Mapping[str, tuple[Use, ...]]] = {
    # The world's operations. A PATCH is an update; a PUT counts as a create even of a set that exists (recorded).
    "put-model": _PUT,
    "update-model": _SET_UPDATE,
    "set-mode": _SET_UPDATE,
    "set-capacity": _SET_UPDATE,
    "suspend-repairs": _SET_UPDATE,
    "resume-repairs": _SET_UPDATE,
    "upgrade": _ON_INSTANCES,
    "reimage": _ON_INSTANCES,
    "reimage-all": _ON_INSTANCES,
    "restart": _ON_INSTANCES,
    "start": _ON_INSTANCES,
    "redeploy": _ON_INSTANCES,
    "delete": _ON_INSTANCES,
    "power-off": _STOPPING,
    "deallocate": _STOPPING,
    "delete-set": (*_both("DeleteVMScaleSet"), _BATCHED, *_DELETE),
    "protect": _ONE_VM,
    "run-command": _ONE_VM,
    "os-rolling-upgrade": _ROLLOUT,
    "extension-rolling-upgrade": _SET_UPDATE,
    "cancel-rolling-upgrade": _ROLLOUT,  # documented as an update; no recording of 2024 or later
    "approve-rolling-upgrade": _ROLLOUT,  # neither documented nor recorded
    # The same through the path of one VM.
    "instance/reimage": _ONE_VM,
    "instance/reimage-all": _ONE_VM,
    "instance/restart": _ONE_VM,
    "instance/start": _ONE_VM,
    "instance/redeploy": _ONE_VM,
    "instance/power-off": _ONE_VM_STOPPING,
    "instance/deallocate": _ONE_VM_STOPPING,
    "instance/delete": (*_both("DeleteVMScaleSetVM"), _BATCHED, *_DELETE),
    # Reads. `get-operation` is asked per operation: its id is the resource.
    "get-set": _SET_READ,
    "get-rolling-upgrade": _SET_READ,
    "get-history": _SET_READ,
    "list-skus": _SET_READ,
    "get-set-view": _DEAR_READ,
    "list-sets": (Use("HighCostGetVMScaleSetSubscriptionMaximum"), *_READ),
    "list-instances": (*_both("HighCostGetVMScaleSet"), _VIEWS, *_READ),
    "get-instance": _VM_READ,
    "get-instance-view": _VM_READ,
    "get-operation": (Use("GetOperationResource"), Use("GetOperationSubscriptionMaximum"), *_READ),
}
"""What each kind of request takes."""


class _Bucket:
    """Rule 2. `held`: tokens when the present period began; `asked`: what was asked of it since."""

    __slots__ = ("asked", "held", "policy", "since_ms", "tokens")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tokens = self.held = policy.size
        self.since_ms, self.asked = 0, 0

    def advance(self, now_ms: int) -> None:
        """Let the periods that are over by `now_ms` give their refill."""
        periods = (now_ms - self.since_ms) // self.policy.every_ms
        if periods or self.tokens == self.policy.size:
            self.tokens = min(self.policy.size, self.tokens + periods * self.policy.refill)
            full = self.tokens == self.policy.size
            self.since_ms = now_ms if full else self.since_ms + periods * self.policy.every_ms
            self.held, self.asked = self.tokens, 0

    def wait_ms(self, need: int, now_ms: int) -> int:
        """How long until `need` tokens are there, after `advance(now_ms)`. 0: they are."""
        if need <= self.tokens:
            return 0
        periods = -((self.tokens - need) // self.policy.refill)
        return self.since_ms + periods * self.policy.every_ms - now_ms


class Buckets:
    """All buckets of one caller.

    policies: those that apply; the default is all of `POLICIES`. A policy that is left out never refuses; one with
    smaller numbers is what a caller sees who shares the subscription with others.
    """

    def __init__(self, policies: Mapping[str, Policy] = POLICIES) -> None:
        self._policies = policies
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._now_ms = 0

    def take(self, kind: str, now_ms: int, vms: int = 1, resource: str = "") -> Granted | Throttled:
        """Ask for one request of this kind that touches `vms` VMs (0 or more), and pay for it if it is granted.

        resource: the VM or the operation the request is about, empty for the scale set. Raises KeyError for a kind
        that has no row, ValueError if time goes back or if no bucket could ever hold that many tokens.
        """
        if now_ms < self._now_ms:
            raise ValueError(f"asked at {now_ms} ms after {self._now_ms} ms: time does not go back")
        self._now_ms = now_ms
        asked: list[tuple[_Bucket, int]] = []
        for use in USES[kind]:
            policy = self._policies.get(use.policy)
            need = vms if use.per == "vm" else 1
            if policy is None:
                continue
            if need > policy.size:
                raise ValueError(f"{policy.name} holds {policy.size} at most; a request for {need} can never pass")
            asked.append((self._bucket(policy, resource), need))
        refused: Throttled | None = None
        for bucket, need in asked:
            bucket.advance(now_ms)
            wait_ms = bucket.wait_ms(need, now_ms)
            bucket.asked += need
            if wait_ms and (refused is None or wait_ms > refused.retry_after_ms):
                refused = Throttled(wait_ms, bucket.policy.name, bucket.held, bucket.asked)
        if refused is not None:
            return refused
        for bucket, need in asked:
            bucket.tokens -= need
        return Granted(tuple((bucket.policy.name, bucket.tokens) for bucket, _ in asked))

    def forget_full(self, now_ms: int, most: int) -> None:
        """Drop the buckets that are full again: a new one says the same. Of others, more than `most`, those of single resources that are
        fullest go, too: whoever asks of so many in one minute is asked for no more than these.
        """
        for bucket in self._buckets.values():
            bucket.advance(now_ms)
        used = [(key, one) for key, one in self._buckets.items() if one.tokens < one.policy.size]
        used.sort(key=lambda each: (each[1].policy.scope == "resource", each[1].tokens / each[1].policy.size))
        self._buckets = dict(used[:most])

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, policy: Policy, resource: str) -> _Bucket:
        key = (policy.name, resource if policy.scope == "resource" else "")
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(policy)
        return bucket


def headers(granted: Granted) -> dict[str, str]:
    """The response headers of a granted request, as recorded: one comma-separated list for the compute provider."""
    lines: dict[str, str] = {}
    compute = [f"Microsoft.Compute/{name};{left}" for name, left in granted.remaining if not name.startswith("arm-")]
    if compute:
        lines["x-ms-ratelimit-remaining-resource"] = ",".join(compute)
    for name, left in granted.remaining:
        if name.startswith("arm-"):
            lines[POLICIES[name].header] = str(left)
    return lines
