"""`today`: what the set's present mode and policy would do with the change. Always among the strategies compared.

1. Automatic: the platform upgrades everything at once.
2. Manual: a model update touches no instance; nothing is upgraded until somebody does it. The row shows that.
3. Rolling: Azure's own rollout, approximated until the world models the platform's policy itself: batches of
   `maxBatchInstancePercent` of the total (at least one), inside update domains, zone by zone unless cross-zone, the pause
   between, no retries, no floor; more failures than `maxUnhealthyUpgradedInstancePercent` allows stop it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from planner.amount import at_most, batch_size
from planner.model import RollingPolicy, ScaleSet, UpgradeMode
from planner.strategies.automatic import STRATEGY as AUTOMATIC
from planner.strategies.base import Batch, Parameters, Strategy, batch, by_domain, chunks, grouped

LABEL = "today"


class Today(NamedTuple):
    """What stands for `today`: a strategy, its parameters, its floor, and the sentence that says what it is."""

    strategy: Strategy
    parameters: dict[str, Any]
    floor: int | None
    says: str


class Nothing(Parameters, frozen=True, kw_only=True):
    """No parameters of its own."""


class Policy(Parameters, frozen=True, kw_only=True):
    """batch_percent: of the total. cross_zone: batches may cross zones."""

    batch_percent: int = 20
    cross_zone: bool = False


def _nothing(_scale_set: ScaleSet, _parameters: Nothing) -> tuple[Batch, ...]:
    return ()


def _rolling(scale_set: ScaleSet, parameters: Policy) -> tuple[Batch, ...]:
    size = batch_size(f"{parameters.batch_percent}%", scale_set.model.capacity)
    instances = list(scale_set.instances.values())
    zones = {None: instances} if parameters.cross_zone else grouped(instances, "zone")
    made: list[Batch] = []
    for zone, members in zones.items():
        for domain, group in grouped(by_domain(members), "update_domain").items():
            label = (
                f"Azure's policy: {size} at a time"
                + (f", zone {zone}" if zone else "")
                + (f", update domain {domain}" if domain is not None else "")
            )
            made += [batch(part, label) for part in chunks(group, size)]
    return tuple(made)


def today(scale_set: ScaleSet) -> Today:
    """What the set would do by itself."""
    model, total = scale_set.model, len(scale_set.instances)
    if model.mode is UpgradeMode.AUTOMATIC:
        return Today(
            AUTOMATIC._replace(name=LABEL), {}, None, "mode Automatic: the platform upgrades every instance at once"
        )
    if model.mode is UpgradeMode.MANUAL:
        return Today(
            Strategy(LABEL, _nothing, Nothing, ()), {}, None, "mode Manual: a model update touches no instance"
        )
    policy = model.rolling or RollingPolicy()
    parameters = {
        "pause_ms": policy.pause_between_batches_ms,
        "retries": 0,
        "batch_percent": policy.max_batch_percent,
        "cross_zone": policy.cross_zone,
        "max_failed": at_most(f"{policy.max_unhealthy_upgraded_percent}%", total),
        "unhealthy_first": policy.prioritize_unhealthy,
    }
    says = f"mode Rolling, approximated: batches of {policy.max_batch_percent} % of {total} inside update domains, no floor, no retries"
    return Today(Strategy(LABEL, _rolling, Policy, ()), parameters, 0, says)
