"""Operations that run: their addresses as handles, when to ask, and what the token buckets allow.

Rules this module decides:

1. An operation's address is opaque: kept and asked as Azure gave it, 5 kB or not. `Azure-AsyncOperation` where there is one, else `Location`.
2. A handle is JSON: addresses, and Azure's request, correlation and operation ids (the last word of an address's path, where it is short
   enough for an id) for a support request. Nothing else of the answer is kept.
3. When to ask is the `Schedule`'s matter (`backends/schedule.py`). Retry-After only makes it later.
4. *Token buckets* (`Budget`): what the last answers said remains (`x-ms-ratelimit-remaining-resource`). A look may cost what the last
   one of its kind cost, and leaves `RESERVE` tokens for others. What is missing is waited for at the refill documented per minute (a third of the
   bucket's size; azure-vmss.md 6.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from backends.azure.client import Answer
from planner.commands import Outcome

MINUTE_MS = 60_000
_OPERATION = re.compile(r"[\w.-]{1,64}", re.ASCII)
RESERVE = 2
_REFILL = {
    "HighCostGetVMScaleSetResource": 10,
    "GetVMScaleSetResource": 12,
    "GetVMScaleSetVMResource": 12,
    "GetOperationResource": 15,
}
"""Tokens a minute of the buckets that a resource has of its own. Those of the subscription are hundreds of times larger."""
_SCARCE = 8
"""Below this any other bucket is treated as one that fills by a single token a minute."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One operation. style: `operation` or `location`. vm: the instance it is about, where a command has one each. ended: what it came to."""

    url: str = ""
    style: str = "operation"
    vm: str = ""
    ended: Outcome | None = None


class Handle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How the platform can be asked about a command. ids: Azure's request, correlation and operation ids. storage: see `storage.py`."""

    parts: tuple[Part, ...]
    ids: tuple[str, ...] = ()
    storage: str = ""

    def text(self) -> str:
        """As it stands in a journal."""
        return msgspec.json.encode(self).decode()


def read_handle(text: str) -> Handle | None:
    """A handle as it stands in a journal; None where it is none (or of another backend)."""
    try:
        return msgspec.json.decode(text, type=Handle)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def part_of(answer: Answer, vm: str = "") -> Part | None:
    """The operation that an accepted request started; None where it names none."""
    headers = answer.headers
    for name, style in (
        ("azure-asyncoperation", "operation"),
        ("operation-location", "operation"),
        ("location", "location"),
    ):
        if headers.get(name):
            return Part(url=headers[name], style=style, vm=vm)
    return None


def ids_of(answer: Answer) -> tuple[str, ...]:
    """Azure's names for the request and the operation it started: what a support request asks for."""
    names = ("x-ms-request-id", "x-ms-correlation-request-id")
    found = [f"{name.removeprefix('x-ms-')}={answer.headers[name]}" for name in names if answer.headers.get(name)]
    part = part_of(answer)
    named = None if part is None else _OPERATION.fullmatch(urlsplit(part.url).path.rstrip("/").rpartition("/")[2])
    return (*found, f"operation-id={named.group()}") if named else tuple(found)


def done_at_once(answer: Answer) -> bool:
    """Is an accepted request without an operation over? A resource that is still being updated is not."""
    facts: Any = answer.body.get("properties", {}) if isinstance(answer.body, dict) else {}
    state = facts.get("provisioningState") if isinstance(facts, dict) else None
    return answer.status != 202 and (not isinstance(state, str) or state.lower() == "succeeded")


class Budget:
    """What the token buckets allow. kinds of looks are named by their reader; operations by `operation`."""

    def __init__(self) -> None:
        self._left: dict[str, dict[str, int]] = {}
        self._cost: dict[str, dict[str, int]] = {}
        self._told_ms: dict[str, int] = {}

    def note(self, kind: str, answers: tuple[Answer, ...], now_ms: int) -> None:
        """What these answers, one look of that kind, say remains."""
        left: dict[str, int] = {}
        cost: dict[str, int] = {}
        for answer in answers:
            for policy, count in remaining(answer.headers).items():
                left[policy] = count
                cost[policy] = cost.get(policy, 0) + 1
        if left:
            self._left[kind], self._cost[kind], self._told_ms[kind] = left, cost, now_ms

    def forget(self, kind: str) -> None:
        """It is not looked at any more."""
        for kept in (self._left, self._cost, self._told_ms):
            kept.pop(kind, None)

    def elsewhere_ms(self, now_ms: int) -> int:
        """When another resource of the subscription may be looked at: a resource's own buckets are no matter then."""
        return max((self.ready_ms(kind, now_ms, own=False) for kind in self._left), default=now_ms)

    def ready_ms(self, kind: str, now_ms: int, *, own: bool = True) -> int:
        """When the next look of that kind may be. own: does what the resource has of its own count?"""
        spans = [0]
        for policy, left in self._left.get(kind, {}).items():
            refill = _REFILL.get(policy)
            if refill is not None and not own:
                continue
            missing = self._cost[kind][policy] + RESERVE - left
            if refill is None:
                refill, missing = 1, 1 if left < _SCARCE else 0
            if missing > 0:
                spans.append(
                    -(-missing // refill) * MINUTE_MS if missing > refill else -(-missing * MINUTE_MS // refill)
                )
        return max(now_ms, self._told_ms.get(kind, now_ms) + max(spans))


def remaining(headers: Mapping[str, str]) -> dict[str, int]:
    """`Microsoft.Compute/Policy;17,Microsoft.Compute/Other;4` as counts by policy; what is not of that form is left out."""
    found: dict[str, int] = {}
    for one in headers.get("x-ms-ratelimit-remaining-resource", "").split(","):
        name, _, count = one.strip().partition(";")
        if count.isdecimal() and name.startswith("Microsoft.Compute/"):
            found[name.removeprefix("Microsoft.Compute/")] = int(count)
    return found
