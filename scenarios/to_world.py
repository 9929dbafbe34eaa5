"""A scenario as a world: the planner's snapshot in the world's own values, and what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from planner.change import (
    Change,
    Refresh,
)
from planner.errors import InputError
from planner.model import (
    HealthSource,
    Instance,
    Model,
    Orchestration,
    RollingPolicy,
    ScaleSet,
    id_key,
)
from scenarios import surroundings
from scenarios.given import Assumption, tell
from scenarios.schema import (
    Scenario,
)
from scenarios.timing import parse_duration_ms
from vmss_sim.world.config import AutoOs, Failures, Image, Machine, Platform, Repairs, Timings, WorldConfig
from vmss_sim.world.config import RollingPolicy as WorldRollingPolicy
from vmss_sim.world.scale_set import IMAGE, URI
from vmss_sim.world.timings import Timing


def world_of(
    fleet: ScaleSet, operations: Mapping[str, Timing], ready: Timing, probe_ms: int, failures: Failures
) -> WorldConfig:
    """The world of a set."""
    model = fleet.model
    flat: dict[str, Any] = dict(model.settings)
    image = model.image
    if image is not None and image.uri:
        flat[URI] = image.uri
    elif image is not None:
        flat |= {IMAGE + name: getattr(image, name) for name in ("publisher", "offer", "sku", "version", "id")}
    versions = sorted(
        {one.image.exact_version for one in fleet.instances.values() if one.image and one.image.exact_version},
        key=lambda version: [id_key(part) for part in version.split(".")],
    )
    return WorldConfig(
        name=model.name,
        machines=tuple(_machine(one) for one in fleet.instances.values()),
        model=flat,
        timings=Timings(
            operations=dict(operations),
            ready=ready,
            probe_ms=probe_ms if model.health_source is not HealthSource.NONE else 0,
        ),
        failures=failures,
        mode=model.mode.value,
        health=model.health_source.value,
        rolling=rolling_policy(model.rolling),
        auto_os=_auto_os(model),
        repairs=_repairs(model),
        single_placement_group=bool(model.single_placement_group),
        latest=versions[-1] if versions else None,
        flexible=model.orchestration is Orchestration.FLEXIBLE,
    )


def surrounded(config: WorldConfig, scenario: Scenario, where: str, assumed: list[Assumption]) -> WorldConfig:
    """The world with what surrounds the set."""
    table = scenario.scale_set
    options = surroundings.platform(scenario.platform, f"{where}: platform")
    if options != Platform():
        said = ", ".join(f"{key} = {value}" for key, value in scenario.platform.items())
        tell(assumed, "Azure's open questions", said, "yours", "platform")
    rich = table.rich_health and config.health == "extension"
    if table.rich_health and not rich:
        expected = 'health = "extension"'
        raise InputError(
            "rich health states come from the extension", f"{where}: scale_set.rich_health", config.health, expected
        )
    happens = surroundings.disturbances(scenario.disturbance, f"{where}: disturbance")
    surroundings.fits(happens, config.machines, f"{where}: disturbance")
    for name, value, key in surroundings.told(happens, surroundings.faults(scenario.fault, f"{where}: fault")):
        tell(assumed, name, value, "yours", key)
    grace = table.health_grace
    return msgspec.structs.replace(
        config,
        platform=options,
        disturbances=happens,
        health="rich" if rich else config.health,
        health_grace_ms=None if grace is None else parse_duration_ms(grace, f"{where}: scale_set.health_grace"),
    )


def newest(config: WorldConfig, change: Change) -> WorldConfig:
    """What `latest` means once the version is there that instances are to be refreshed to."""
    return msgspec.structs.replace(config, latest=change.exact_version) if isinstance(change, Refresh) else config


def rolling_policy(policy: RollingPolicy | None) -> WorldRollingPolicy:
    """The planner's words for a rolling policy in the world's; Azure's defaults where the set has none."""
    if policy is None:
        return WorldRollingPolicy()
    return WorldRollingPolicy(
        max_batch_percent=policy.max_batch_percent,
        max_unhealthy_percent=policy.max_unhealthy_percent,
        max_unhealthy_upgraded_percent=policy.max_unhealthy_upgraded_percent,
        pause_ms=policy.pause_between_batches_ms,
        cross_zone=policy.cross_zone,
        prioritize_unhealthy=policy.prioritize_unhealthy,
        rollback_failed=policy.rollback_failed,
        max_surge=policy.max_surge,
    )


def _auto_os(model: Model) -> AutoOs:
    policy = model.auto_os
    if policy is None:
        return AutoOs()
    return AutoOs(
        enabled=policy.enabled,
        disable_rollback=policy.disable_rollback,
        use_rolling_policy=policy.use_rolling_policy,
        deferral=policy.deferral,
    )


def _repairs(model: Model) -> Repairs:
    policy = model.repairs
    if policy is None:
        return Repairs()
    return Repairs(
        enabled=policy.enabled, grace_ms=policy.grace_ms, action=policy.action.lower(), suspended=policy.suspended
    )


def _machine(one: Instance) -> Machine:
    image = one.image
    made = None
    if image is not None:
        made = Image(
            publisher=image.publisher,
            offer=image.offer,
            sku=image.sku,
            version=image.version,
            exact=image.exact_version,
            id=image.id,
            uri=image.uri,
        )
    return Machine(
        id=one.id,
        vm_id=one.vm_id,
        image=made,
        zone=one.zone,
        placement_group=one.placement_group,
        update_domain=one.update_domain,
        fault_domain=one.fault_domain,
        latest=one.latest_model is not False,
        power=one.power.value,
        provisioning=one.provisioning.value,
        health=one.health.value,
        protected=one.protected,
        scale_in_protected=one.scale_in_protected,
        os_disk=one.os_disk or f"{one.id}-os-",
        phase=one.upgrade_phase,
        skip_upgrade=one.skip_upgrade,
    )
