"""What Azure's own orchestrator does with a set: which instances, in which batches, and which gate would stop it.

Lint, `preview` and the strategy `platform-rolling` all ask here. The world models the same rules on its own
(`vmss_sim/world/rolling_policy.py`), and a property test holds the two equal. `RULES` names every rule with its source.

1. A rollout takes what is behind the model, except protected instances and those whose metrics say skip (`members`).
2. Batches come from `forecast`: phase by phase, unhealthy ones first where the policy says so, zone by zone, update
   domain by update domain, in numeric order of ids, cut into runs of at most the batch size.
3. A gate compares with strict `>`: what is exactly at the limit passes (`allowed`). Gates come from `gates`.
4. A gate is *breached* when what is known now already stops the rollout, *cannot be met* when the rollout stops itself
   there whatever happens, *zero tolerance* when one more VM not healthy in time stops it, else *met*.
5. What Azure does not document (order of zones and domains, rounding, VMs in flight) is a stated default or an option.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from planner.change import IMAGE, URI, Resolved, Target, at_target
from planner.model import (
    Health,
    HealthSource,
    Instance,
    Model,
    Orchestration,
    Power,
    Provisioning,
    RollingPolicy,
    ScaleSet,
    id_key,
    runs,
)

BEFORE_START = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
BEFORE_BATCH = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
AFTER_BATCH = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
NO_HEALTH = (
    "Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe was not provided."
)


class Rule(NamedTuple):
    """One rule of the platform: what it says, and where that is known from."""

    says: str
    source: str


_DOCS = "azure-compute-docs, "
_SPEC = "azure-rest-api-specs, RollingUpgradePolicy"
RULES: dict[str, Rule] = {
    "deleting": Rule("an instance that is being deleted takes no part", _DOCS + "instance states"),
    "only-behind": Rule("instances on the latest model are skipped", _DOCS + "rolling upgrades"),
    "protected": Rule("protectFromScaleSetActions keeps an instance out", _DOCS + "instance protection"),
    "metrics-healthy": Rule(
        "with custom metrics only instances that report Healthy take part", _DOCS + "custom metrics for rollouts"
    ),
    "skip": Rule("SkipUpgrade in an instance's custom metrics keeps it out", _DOCS + "custom metrics for rollouts"),
    "phases": Rule(
        "PhaseOrderingNumber: phases ascend, one ends before the next starts; without a number: the last phase",
        _DOCS + "custom metrics for rollouts",
    ),
    "unhealthy-first": Rule("prioritizeUnhealthyInstances: all unhealthy instances before any healthy one", _SPEC),
    "zone": Rule(
        "zones are not updated at the same time, unless enableCrossZoneUpgrade; lowest number first (a default: the"
        " order is not documented)",
        _SPEC + "; " + _DOCS + "automatic OS upgrade",
    ),
    "update-domain": Rule(
        "a batch stays within one update domain; lowest first, unknown last (a default: the order is not documented)",
        _DOCS + "automatic OS upgrade",
    ),
    "size": Rule(
        "a batch is at most maxBatchInstancePercent of all instances, at least one; rounded down (a default: the"
        " rounding is not documented)",
        _SPEC + "; " + _DOCS + "automatic OS upgrade",
    ),
    "all-at-once": Rule("mode Automatic: everything behind, at the same time, in no order", _DOCS + "upgrade policy"),
    "before-start": Rule(f"unhealthy of all > maxUnhealthyInstancePercent: {BEFORE_START}", _SPEC),
    "before-batch": Rule(f"unhealthy of all > maxUnhealthyInstancePercent: {BEFORE_BATCH}", _SPEC),
    "after-batch": Rule(f"unhealthy of the upgraded > maxUnhealthyUpgradedInstancePercent: {AFTER_BATCH}", _SPEC),
    "in-flight": Rule(
        "a VM in flight does not count as unhealthy (a default: not documented; 45 recorded rollouts with 20 % of two"
        " VMs completed)",
        "recordings 2017 to 2023",
    ),
    "health-source": Rule(
        "mode Rolling needs a probe or the health extension (Uniform), the extension (Flexible)",
        _DOCS + "rolling upgrades; recordings (400 BadRequest)",
    ),
}


class ForecastBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One batch that the platform would take.

    zone: None when regional, not known, or across zones. update_domain, phase: None when not known, none given.
    unhealthy_first: taken early since it is unhealthy. why: for people. cut: the rule of `RULES` that ended the batch;
    '' for the last one.
    """

    ids: tuple[str, ...]
    why: str
    zone: str | None = None
    update_domain: int | None = None
    phase: int | None = None
    unhealthy_first: bool = False
    cut: str = ""


# -- who takes part ----------------------------------------------------------------------------------------------------


class Counts(str, Enum):
    """What an instance counts for in the platform's rollouts; `waiting` is neither, and is waited for."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    WAITING = "waiting"


def counts_as(instance: Instance, source: HealthSource) -> Counts:
    """Unhealthy and Unknown count as unhealthy, Initializing is waited for (azure-compute-docs, application health).

    An instance that is not running counts as unhealthy too, unless an operation is at work on it (rule `in-flight`) or
    it is going away. Where no health is reported, power and provisioning state count (automatic OS upgrade).
    """
    provisioning, power = instance.provisioning, instance.power
    if provisioning is Provisioning.DELETING:
        return Counts.WAITING
    if power is not Power.RUNNING and provisioning in (Provisioning.UPDATING, Provisioning.CREATING):
        return Counts.WAITING
    if power not in (Power.RUNNING, Power.UNKNOWN, Power.STARTING):
        return Counts.UNHEALTHY
    if source is HealthSource.NONE or instance.health is Health.ABSENT:
        return Counts.UNHEALTHY if provisioning is Provisioning.FAILED else Counts.HEALTHY
    if instance.health is Health.INITIALIZING:
        return Counts.WAITING
    return Counts.HEALTHY if instance.health is Health.HEALTHY else Counts.UNHEALTHY


def unhealthy(scale_set: ScaleSet) -> tuple[str, ...]:
    """The instances that the platform counts as unhealthy now."""
    source = scale_set.model.health_source
    return tuple(name for name, one in scale_set.instances.items() if counts_as(one, source) is Counts.UNHEALTHY)


def says(model: Model, patch: Mapping[str, Any], target: Target) -> bool:
    """Does the model say already what the patch wants? Then the platform finds no instance newly behind."""
    for path, value in patch.items():
        if path == URI or path.startswith(IMAGE):
            if target.image is None or model.image is None or not runs(model.image, target.image):
                return False
        elif path not in model.settings or model.settings[path] != value:
            return False
    return True


def behind(instance: Instance, model: Model, change: Resolved) -> bool:
    """Is this instance behind the model once the change is in it? Where the platform does not say: unless it shows it."""
    if not says(model, change.patch, change.target):
        return True
    if instance.latest_model is None:
        return at_target(instance, change.target) is not True
    return not instance.latest_model


def left_out(scale_set: ScaleSet, change: Resolved | None, *, metrics: bool = True) -> dict[str, str]:
    """Rule 1: which rule of `RULES` keeps an instance out, by its id; the others take part.

    change: None takes every instance as behind (a new image, an OS upgrade). metrics: custom metrics are asked; mode
    Automatic does not.
    """
    model = scale_set.model
    found: dict[str, str] = {}
    for name, one in scale_set.instances.items():
        if one.protected:
            found[name] = "protected"
        elif one.provisioning is Provisioning.DELETING:
            found[name] = "deleting"
        elif change is not None and not behind(one, model, change):
            found[name] = "only-behind"
    taking_part = [one for name, one in scale_set.instances.items() if name not in found]
    if metrics and any(one.skip_upgrade or one.upgrade_phase is not None for one in taking_part):
        for one in taking_part:
            if one.skip_upgrade:
                found[one.id] = "skip"
            elif counts_as(one, model.health_source) is not Counts.HEALTHY:
                found[one.id] = "metrics-healthy"
    return found


def members(scale_set: ScaleSet, change: Resolved | None, *, metrics: bool = True) -> tuple[Instance, ...]:
    """The instances that no rule leaves out, in placement order."""
    without = left_out(scale_set, change, metrics=metrics)
    return tuple(one for name, one in scale_set.instances.items() if name not in without)


# -- batches -----------------------------------------------------------------------------------------------------------


def batch_limit(percent: int, total: int) -> int:
    """The most instances in a batch: the percentage of all, rounded down, at least one (`size`)."""
    return max(1, percent * total // 100)


def forecast(
    scale_set: ScaleSet,
    change: Resolved | None = None,
    policy: RollingPolicy | None = None,
    *,
    total: int | None = None,
) -> tuple[ForecastBatch, ...]:
    """The batches of the platform's own rollout, in order (rule 2).

    policy: None is the set's, else the platform's default. total: what percentages refer to, where `scale_set` holds only
    a part of the set. Instances behind: see `members`.
    """
    chosen = policy or scale_set.model.rolling or RollingPolicy()
    size = batch_limit(chosen.max_batch_percent, len(scale_set.instances) if total is None else total)
    source = scale_set.model.health_source

    def group(one: Instance) -> tuple[tuple[bool, int], bool, tuple[bool, Any], tuple[bool, int]]:
        phase, domain = one.upgrade_phase, one.update_domain
        return (
            (phase is None, phase or 0),
            not (chosen.prioritize_unhealthy and counts_as(one, source) is not Counts.HEALTHY),
            (False, ()) if chosen.cross_zone else (one.zone is None, id_key(one.zone or "")),
            (domain is None, domain or 0),
        )

    ordered = sorted(members(scale_set, change), key=lambda one: (*group(one), id_key(one.id)))
    runs_of = [(key, list(run)) for key, run in groupby(ordered, key=group)]
    made: list[ForecastBatch] = []
    for index, (key, run) in enumerate(runs_of):
        after = runs_of[index + 1][0] if index + 1 < len(runs_of) else None
        for start in range(0, len(run), size):
            taken = run[start : start + size]
            last = start + size >= len(run)
            made.append(_batch(taken, chosen, first=not key[1], cut=_cut(key, after) if last else "size"))
    return tuple(made)


def _cut(key: tuple[Any, ...], after: tuple[Any, ...] | None) -> str:
    """Which rule separates two groups: the first part in which they differ."""
    if after is None:
        return ""
    names = ("phases", "unhealthy-first", "zone", "update-domain")
    return next(name for name, left, right in zip(names, key, after, strict=True) if left != right)


def _batch(taken: Sequence[Instance], policy: RollingPolicy, *, first: bool, cut: str) -> ForecastBatch:
    one = taken[0]
    zone = None if policy.cross_zone else one.zone
    parts = [] if one.upgrade_phase is None else [f"phase {one.upgrade_phase}"]
    parts += ["unhealthy ones first"] if first else []
    parts += [f"zone {zone}"] if zone is not None else ["across zones"] if policy.cross_zone and one.zone else []
    parts.append("no update domain known" if one.update_domain is None else f"update domain {one.update_domain}")
    return ForecastBatch(
        ids=tuple(each.id for each in taken),
        why=", ".join(parts),
        zone=zone,
        update_domain=one.update_domain,
        phase=one.upgrade_phase,
        unhealthy_first=first,
        cut=cut,
    )


def at_once(scale_set: ScaleSet, change: Resolved | None = None) -> tuple[ForecastBatch, ...]:
    """Mode Automatic: everything that is behind, as one batch (`all-at-once`)."""
    ids = tuple(sorted((one.id for one in members(scale_set, change, metrics=False)), key=id_key))
    return (ForecastBatch(ids=ids, why="everything at the same time, in no order"),) if ids else ()


# -- gates -------------------------------------------------------------------------------------------------------------


class Verdict(str, Enum):
    """What is known of a gate beforehand (rule 4)."""

    MET = "met"
    ZERO_TOLERANCE = "zero-tolerance"
    BREACHED = "breached"
    CANNOT_BE_MET = "cannot-be-met"


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One comparison of the platform.

    rule: of `RULES`: before-start, before-batch, in-flight or after-batch. batch: which one, from 0. percent: the policy's
    limit. of: what the percentage refers to. allowed: how many may be unhealthy. known: how many are, by what is known
    now. code: the platform's error where it stops.
    """

    rule: str
    batch: int
    percent: int
    of: int
    allowed: int
    known: int
    verdict: Verdict
    code: str

    @property
    def left(self) -> int:
        """How many more may be unhealthy before it stops; negative where it already would."""
        return self.allowed - self.known


def allowed(percent: int, of: int) -> int:
    """How many of `of` may be unhealthy: rule 3, the largest count that does not exceed the percentage."""
    return percent * of // 100


def exceeds(count: int, of: int, percent: int) -> bool:
    """Rule 3: is `count` of `of` more than the percentage? Exactly at the limit is not."""
    return count * 100 > percent * of


def gates(
    scale_set: ScaleSet,
    batches: Sequence[ForecastBatch],
    policy: RollingPolicy | None = None,
    *,
    count_in_flight: bool = False,
    total: int | None = None,
) -> tuple[Gate, ...]:
    """Every gate of a rollout in order, before and after each batch, by what is known now.

    Upgraded instances are taken to come back healthy; an unhealthy one that is not upgraded stays so. count_in_flight:
    a VM in flight counts as unhealthy of all (the option of rule `in-flight`).
    """
    chosen = policy or scale_set.model.rolling or RollingPolicy()
    return tuple(
        _gates(
            set(unhealthy(scale_set)),
            batches,
            chosen,
            len(scale_set.instances) if total is None else total,
            count_in_flight=count_in_flight,
        )
    )


def _gates(
    sick: set[str], batches: Sequence[ForecastBatch], policy: RollingPolicy, total: int, *, count_in_flight: bool
) -> Iterator[Gate]:
    limit, upgraded = policy.max_unhealthy_percent, 0
    for index, batch in enumerate(batches):
        rule, code = ("before-batch", BEFORE_BATCH) if index else ("before-start", BEFORE_START)
        yield _gate(rule, index, limit, total, len(sick), code)
        sick -= set(batch.ids)
        if (
            count_in_flight and not policy.max_surge
        ):  # with maxSurge the old instances serve while the new ones are made
            yield _gate("in-flight", index, limit, total, len(sick) + len(batch.ids), BEFORE_BATCH)
        upgraded += len(batch.ids)
        yield _gate("after-batch", index, policy.max_unhealthy_upgraded_percent, upgraded, 0, AFTER_BATCH)


def _gate(rule: str, batch: int, percent: int, of: int, known: int, code: str) -> Gate:
    may = allowed(percent, of)
    verdict = Verdict.MET if may > known else Verdict.ZERO_TOLERANCE
    if exceeds(known, of, percent):
        verdict = Verdict.CANNOT_BE_MET if rule == "in-flight" else Verdict.BREACHED
    return Gate(rule=rule, batch=batch, percent=percent, of=of, allowed=may, known=known, verdict=verdict, code=code)


def after_failure(found: Sequence[Gate], *, stays: bool = True) -> tuple[Gate | None, ...]:
    """For each batch: the gate that stops the rollout if one VM of that batch is not healthy in time; None: it goes on.

    stays: that VM stays out of service, so that it counts before later batches too (not where its old disk is restored, or
    with maxSurge, where the old instance still serves).
    """

    def stops(gate: Gate) -> bool:
        more = 1 if stays or gate.rule == "after-batch" else 0
        return exceeds(gate.known + more, gate.of, gate.percent)

    batches = [index for index, gate in enumerate(found) if gate.rule == "after-batch"]
    return tuple(next((gate for gate in found[index:] if stops(gate)), None) for index in batches)


def stopped_by(found: Iterable[Gate]) -> Gate | None:
    """The first gate that stops the rollout by what is known now, or None."""
    return next((one for one in found if one.verdict in (Verdict.BREACHED, Verdict.CANNOT_BE_MET)), None)


def lacks_health(model: Model) -> str:
    """Why the platform refuses a rollout of its own (`health-source`): what it met instead of a source, or ''."""
    if model.health_source is HealthSource.NONE:
        return "no health source"
    if model.health_source is HealthSource.PROBE and model.orchestration is Orchestration.FLEXIBLE:
        return "only a probe, on a Flexible set"
    return ""
