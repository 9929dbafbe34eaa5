"""What an instance is to this rollout: an ordered table of named rules, first match wins, exactly one bucket each.

Instances have no state machine of their own: the bucket is re-derived from the snapshot (what the platform shows) and
the little that is remembered about the instance (`Memory`). Time plays no part here; the rollout machine turns a
passed deadline into memory.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import msgspec

from planner.model import Instance, Provisioning, Service


class Bucket(str, Enum):
    """What an instance is to this rollout."""

    VANISHED = "vanished"
    REPLACED = "replaced"
    PROTECTED = "protected"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"
    IN_FLIGHT = "in-flight"
    FOREIGN = "foreign"
    BUSY = "busy"
    CURRENT = "current"
    WAITING = "waiting"
    FAILED = "failed"
    REVERTED = "reverted"
    STALE = "stale"


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What is remembered about an instance that was touched.

    stage: how many of the action's operations it has behind it. attempts: how many rungs of the ladder were climbed.
    ended_ms: when its last operation ended. failed: why, if that failed or a deadline passed. quarantined, skipped: why.
    done: it was at the target and in service once. replace: an operator said to replace it. tries: how many of its operations failed, which
    no operator's retry forgets.
    """

    stage: int = 0
    attempts: int = 0
    ended_ms: int | None = None
    failed: str = ""
    quarantined: str = ""
    skipped: str = ""
    done: bool = False
    replace: bool = False
    tries: int = 0


UNTOUCHED = Memory()
RESULT_MISSING, NOBODY_KNOWS = "result-missing", "OutcomeUnknown"
UNSEEN = frozenset({RESULT_MISSING, NOBODY_KNOWS})
"""Why those failed of which nobody saw what became of their operation: its result was not there in time; nobody answered, and it took effect on others."""


class Seen(NamedTuple):
    """An instance as classified: its bucket, the rule that put it there, whether it serves."""

    bucket: Bucket
    rule: str
    service: Service


class Case:
    """What the rules ask about one instance."""

    __slots__ = ("at_target", "in_flight", "instance", "known", "last_stage", "memory", "service", "skipped", "vm_id")

    def __init__(
        self,
        instance: Instance,
        service: Service,
        at_target: bool | None,
        memory: Memory,
        *,
        known: bool,
        vm_id: str,
        in_flight: bool,
        skipped: str,
        last_stage: int,
    ) -> None:
        self.instance = instance
        self.service = service
        self.at_target = at_target
        self.memory = memory
        self.known = known
        self.vm_id = vm_id
        self.in_flight = in_flight
        self.skipped = skipped
        self.last_stage = last_stage


class Rule(NamedTuple):
    """One named rule: the bucket it puts an instance in, why, and the test."""

    name: str
    bucket: Bucket
    why: str
    test: Callable[[Case], bool]


def _arrived(case: Case) -> bool:
    """At the target as the platform shows it, with every operation of the action behind it."""
    if case.memory.stage and case.memory.stage < case.last_stage:
        return False
    if case.at_target is None:  # the platform does not show it: the operation's own result decides
        return case.memory.stage >= case.last_stage and not case.memory.failed
    return case.at_target


RULES: tuple[Rule, ...] = (
    Rule(
        "deleting", Bucket.VANISHED, "it is being deleted", lambda c: c.instance.provisioning is Provisioning.DELETING
    ),
    Rule(
        "replaced-vm",
        Bucket.REPLACED,
        "its id now names another VM",
        lambda c: bool(c.known and c.vm_id and c.instance.vm_id and c.vm_id != c.instance.vm_id),
    ),
    Rule("our-operation", Bucket.IN_FLIGHT, "our operation on it has not ended", lambda c: c.in_flight),
    Rule(
        "protected",
        Bucket.PROTECTED,
        "instance protection keeps scale-set actions away",
        lambda c: c.instance.protected,
    ),
    Rule("skipped-by-operator", Bucket.SKIPPED, "an operator said to skip it", lambda c: bool(c.memory.skipped)),
    Rule("given-up", Bucket.QUARANTINED, "its ladder is exhausted", lambda c: bool(c.memory.quarantined)),
    Rule(
        "was-current",
        Bucket.CURRENT,
        "the plan found it at the target",
        lambda c: c.skipped == "already-current" and c.at_target is not False,
    ),
    Rule(
        "at-target-in-service",
        Bucket.CURRENT,
        "it is at the target and serves",
        lambda c: c.service is Service.IN and _arrived(c),
    ),
    Rule(
        "at-target-not-ours",
        Bucket.CURRENT,
        "it is at the target; we did not touch it",
        lambda c: c.memory is UNTOUCHED and _arrived(c),
    ),
    Rule(
        "busy",
        Bucket.BUSY,
        "somebody else's operation on it is running",
        lambda c: (
            c.instance.provisioning in (Provisioning.UPDATING, Provisioning.CREATING)
            and (bool(c.memory.failed) or not _arrived(c))
        ),
    ),
    Rule(
        "never-healthy", Bucket.FAILED, "its deadline passed, or its operation failed", lambda c: bool(c.memory.failed)
    ),
    Rule(
        "provisioning-failed",
        Bucket.FAILED,
        "its provisioning failed after our operation",
        lambda c: c.memory.ended_ms is not None and c.instance.provisioning is Provisioning.FAILED,
    ),
    Rule(
        "late-sick",
        Bucket.CURRENT,
        "it served at the target before; the gate judges it",
        lambda c: c.memory.done and _arrived(c),
    ),
    Rule("not-serving-yet", Bucket.WAITING, "it is at the target and does not serve yet", _arrived),
    Rule("next-stage", Bucket.STALE, "its next operation is due", lambda c: 0 < c.memory.stage < c.last_stage),
    Rule(
        "result-not-visible",
        Bucket.WAITING,
        "its operation ended; the result is not visible yet",
        lambda c: c.memory.stage >= c.last_stage and not c.memory.done,
    ),
    Rule("not-in-plan", Bucket.FOREIGN, "the plan did not see it", lambda c: not c.known),
    Rule(
        "was-at-target",
        Bucket.REVERTED,
        "it was at the target and is stale again",
        lambda c: c.memory.done or c.skipped == "already-current",
    ),
    Rule("stale", Bucket.STALE, "it is to be upgraded", lambda _: True),
)

_INTERNED: dict[tuple[str, Service], Seen] = {
    (rule.name, state): Seen(rule.bucket, rule.name, state) for rule in RULES for state in Service
}


_UNTOUCHED: dict[tuple[object, ...], Seen] = {}


def classify(case: Case) -> Seen:
    """The first rule that matches. The last one always does."""
    if case.memory is not UNTOUCHED:
        return _classify(case)
    # Most instances are untouched and alike: what the rules read of those is little, and answered once.
    one = case.instance
    key = (
        one.provisioning,
        one.protected,
        case.service,
        case.at_target,
        case.known,
        case.in_flight,
        case.skipped,
        not case.vm_id or not one.vm_id or case.vm_id == one.vm_id,
        case.last_stage,
    )
    seen = _UNTOUCHED.get(key)
    if seen is None:
        seen = _UNTOUCHED[key] = _classify(case)
    return seen


def _classify(case: Case) -> Seen:
    for rule in RULES:
        if rule.test(case):
            return _INTERNED[rule.name, case.service]
    raise AssertionError("the last rule matches everything")
