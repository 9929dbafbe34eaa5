"""Lint of a set's upgrade mode and of the platform's own rollouts (VS101 to VS114, VS131 to VS133).

What they would do is decided in `planner/platform.py`; here it is only put into words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from planner.lint.codes import Finding, finding
from planner.lint.facts import Own, auto_os, follows_latest, in_gallery, own_rollouts
from planner.lint.wording import instances, names, percent, share
from planner.model import Model, Orchestration, RollingPolicy, ScaleSet, UpgradeMode, id_key
from planner.platform import allowed, batch_limit, exceeds, forecast, lacks_health, unhealthy

RANGES = {
    "max_batch_percent": ("maxBatchInstancePercent", 5),
    "max_unhealthy_percent": ("maxUnhealthyInstancePercent", 5),
    "max_unhealthy_upgraded_percent": ("maxUnhealthyUpgradedInstancePercent", 0),
}


def policy(scale_set: ScaleSet) -> Iterator[Finding]:
    """Mode, rolling policy and automatic OS upgrade."""
    model = scale_set.model
    yield from _mode(scale_set)
    if model.rolling is not None:
        yield from _ranges(model, model.rolling)
        if model.rolling.max_batch_percent > model.rolling.max_unhealthy_percent:
            yield _batch_over_unhealthy(scale_set, model.rolling)
        if model.rolling.rollback_failed and model.orchestration is Orchestration.FLEXIBLE:
            yield finding(
                "VS114",
                "rollbackFailedInstancesOnPolicyBreach is set on a Flexible set, where nothing is rolled back",
                model.name,
                "count on a rollback of your own",
            )
    owns = own_rollouts(model)
    for own in owns:
        yield from _own(scale_set, own)
    if owns:
        yield from _placement(scale_set, owns)
    yield from _auto_os(model)


def _mode(scale_set: ScaleSet) -> Iterator[Finding]:
    model, total = scale_set.model, len(scale_set.instances)
    if model.mode is UpgradeMode.AUTOMATIC:
        open_to_it = sum(not one.protected for one in scale_set.instances.values())
        yield finding(
            "VS101",
            "mode Automatic: any update of the model, such as `az vmss update`, upgrades everything that is stale at the"
            f" same time, up to {share(open_to_it, total)}",
            model.name,
            "set mode Manual (or Rolling) before the model is touched",
        )
    if model.mode is UpgradeMode.ROLLING:
        largest = batch_limit(_policy(model).max_batch_percent, total)
        yield finding(
            "VS102",
            "mode Rolling: any update of the model starts a rollout of everything that is stale, in batches of at most"
            f" {share(min(largest, total), total)}",
            model.name,
            "set mode Manual before the model is touched, or plan for the platform's rollout",
        )


def _policy(model: Model) -> RollingPolicy:
    return model.rolling or RollingPolicy()


def _ranges(model: Model, rolling: RollingPolicy) -> Iterator[Finding]:
    for field, (wire, least) in RANGES.items():
        value = getattr(rolling, field)
        if not least <= value <= 100:
            yield finding(
                "VS103", f"{wire} is {value}, outside {least} to 100", f"{model.name}: {wire}", f"set {least} to 100"
            )
    if rolling.pause_between_batches_ms < 0:
        yield finding(
            "VS103",
            f"pauseTimeBetweenBatches is negative ({rolling.pause_between_batches_ms} ms)",
            f"{model.name}: pauseTimeBetweenBatches",
            "set PT0S or more",
        )


def _batch_over_unhealthy(scale_set: ScaleSet, rolling: RollingPolicy) -> Finding:
    total = len(scale_set.instances)
    return finding(
        "VS104",
        f"a batch may take {percent(rolling.max_batch_percent, total)}, while"
        f" {percent(rolling.max_unhealthy_percent, total)} may be unhealthy",
        scale_set.model.name,
        f"raise maxUnhealthyInstancePercent to {rolling.max_batch_percent}, or lower maxBatchInstancePercent",
    )


def _own(scale_set: ScaleSet, own: Own) -> Iterator[Finding]:
    """A rollout that the platform itself would do: can it start, can it finish?"""
    model, total = scale_set.model, len(scale_set.instances)
    met = lacks_health(model)
    if met:
        yield finding(
            "VS109",
            f"{own.who} needs a health source; found {met}",
            model.name,
            "add the application health extension"
            + ("" if model.orchestration is Orchestration.FLEXIBLE else ", or a health probe"),
        )
    if not total:
        return
    limit = own.policy.max_unhealthy_percent
    sick = unhealthy(scale_set)
    if exceeds(len(sick), total, limit):
        yield finding(
            "VS106",
            f"{own.who} would fail before it starts: {share(len(sick), total)} are unhealthy ({names(sick)}), and"
            f" {percent(limit, total)} are allowed",
            model.name,
            "mend or delete these first, raise maxUnhealthyInstancePercent for this rollout, or move the instances by a"
            " plan, where those out of service cost nothing",
        )
    if own.policy.max_batch_percent * total < 100:
        yield finding(
            "VS105",
            f"a batch of {percent(own.policy.max_batch_percent, total)} is rounded up to 1: {own.who} goes one by one,"
            f" {share(1, total)} at a time",
            model.name,
            "expect as many batches as there are instances",
        )
    if allowed(limit, total) and len(sick) == allowed(limit, total):
        yield finding(
            "VS131",
            f"{own.who} tolerates {percent(limit, total)}, and {share(len(sick), total)} are unhealthy already"
            f" ({names(sick)}): one more stops it",
            model.name,
            "mend these first",
        )
    if not allowed(limit, total):
        yield finding(
            "VS107",
            f"{own.who} tolerates {percent(limit, total)}: one VM not healthy in time stops it",
            model.name,
            f"set maxUnhealthyInstancePercent to {-(-100 // total)} or more to tolerate one",
        )
    yield from _upgraded(scale_set, own)


def _upgraded(scale_set: ScaleSet, own: Own) -> Iterator[Finding]:
    total, limit = len(scale_set.instances), own.policy.max_unhealthy_upgraded_percent
    batches = forecast(scale_set, policy=own.policy)
    first = len(batches[0].ids) if batches else 0
    if not first or allowed(limit, first):
        return
    until = f"until {share(-(-100 // limit), total)} are upgraded" if allowed(limit, total) else "to the end"
    yield finding(
        "VS108",
        f"after its first batch of {instances(first)}, {own.who} tolerates {percent(limit, first)} that were upgraded:"
        f" one VM not healthy in time aborts it, {until}",
        scale_set.model.name,
        "make sure that the image boots healthy (a plan with a canary), rather than raise"
        " maxUnhealthyUpgradedInstancePercent",
    )


def _placement(scale_set: ScaleSet, owns: Sequence[Own]) -> Iterator[Finding]:
    """What the batches of the platform's rollouts are made of."""
    model, total = scale_set.model, len(scale_set.instances)
    zones = Counter(one.zone for one in scale_set.instances.values() if one.zone is not None)
    if not all(own.policy.cross_zone for own in owns) and zones and max(zones.values()) - min(zones.values()) > 1:
        told = ", ".join(f"{share(zones[zone], total)} in zone {zone}" for zone in sorted(zones, key=id_key))
        yield finding(
            "VS132",
            f"the zones are not balanced: {told}",
            model.name,
            "balance the zones first (zoneBalance), or set enableCrossZoneUpgrade",
        )
    unknown = [name for name, one in scale_set.instances.items() if one.update_domain is None]
    if unknown:
        yield finding(
            "VS133",
            f"the update domain of {share(len(unknown), total)} is not known: the platform's batches are foretold by zone"
            " and size only",
            model.name,
            ""
            if model.orchestration is Orchestration.FLEXIBLE
            else "take the snapshot with `az vmss list-instances --expand instanceView`",
        )


def _auto_os(model: Model) -> Iterator[Finding]:
    if not auto_os(model):
        return
    flexible = model.orchestration is Orchestration.FLEXIBLE
    image = model.image
    if image is not None and not follows_latest(image):
        kind = "a VHD" if image.uri else "a managed image" if image.id and not in_gallery(image) else "a pinned version"
        yield finding(
            "VS110",
            f"automatic OS upgrade is on, and the model names {kind}: {image}",
            model.name,
            "set the version to `latest` (a gallery image: leave the version out), or turn automatic OS upgrade off",
        )
    yield finding(
        "VS111",
        "automatic OS upgrade is on: the platform may start its own rollout at any time",
        model.name,
        "turn it off for the time of a rollout, or defer it (osRollingUpgradeDeferral), or use a maintenance window",
    )
    if flexible:
        yield finding(
            "VS112",
            "automatic OS upgrade is on for a Flexible set; whether it ever runs is not documented",
            model.name,
            "check osUpgradeHistory",
        )
    if flexible and model.rolling is not None and model.rolling.max_surge:
        yield finding(
            "VS113",
            "maxSurge and automatic OS upgrade are both on, on a Flexible set",
            model.name,
            "turn one of them off",
        )
