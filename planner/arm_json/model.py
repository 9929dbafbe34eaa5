"""What a document says of the set itself: rules 5, 6 and 8 of `planner.arm_json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from planner.arm_json.documents import Identity
from planner.arm_json.gaps import Gap, model_gaps
from planner.arm_json.instances import Seen, image_of, provisioning_of
from planner.arm_json.node import Node
from planner.errors import InputError
from planner.model import (
    AutomaticOsUpgrade,
    AutomaticRepairs,
    HealthSource,
    Model,
    OperatingSystem,
    Orchestration,
    RollingPolicy,
    UpgradeMode,
)

# What stands beside `properties` in the wire form; any other first word of a watched path is under `properties`.
_TOP_LEVEL = ("properties", "sku", "tags", "zones", "plan", "identity", "location")


def read_model(
    node: Node, identity: Identity, seen: Sequence[Seen], set_view: Node, watch: Sequence[str]
) -> tuple[Model, list[Gap]]:
    """The set's model, and what was not said of it. seen: its instances, which tell what it may leave out."""
    facts = node.facts()
    policy, profile = facts.object("upgradePolicy"), facts.object("virtualMachineProfile")
    mode, capacity = policy.closed("mode", UpgradeMode), node.object("sku").integer("capacity")
    if capacity is not None and capacity < 0:
        raise node.object("sku").get("capacity").wrong("0 or more")
    storage, zone_balance = profile.object("storageProfile"), facts.flag("zoneBalance")
    os_disk = storage.object("osDisk")
    publishers = [(each.facts().text("publisher") or "").lower() for each in _extensions(profile)]
    views = (set_view, node, node.object("instanceView"), facts.object("instanceView"))
    model = Model(
        name=identity.name,
        id=identity.id,
        unique_id=facts.text("uniqueId") or "",
        location=node.text("location") or "",
        orchestration=facts.closed("orchestrationMode", Orchestration) or Orchestration.UNIFORM,
        mode=mode or UpgradeMode.MANUAL,
        rolling=_rolling(policy),
        auto_os=_auto_os(policy),
        repairs=_repairs(facts, views),
        image=image_of(storage),
        sku=node.object("sku").text("name"),
        capacity=len(seen) if capacity is None else capacity,
        zones=node.texts("zones"),
        fault_domain_count=facts.integer("platformFaultDomainCount"),
        single_placement_group=facts.flag("singlePlacementGroup"),
        overprovision=facts.flag("overprovision"),
        # api-version 2017-03-30 answers with `zoneBalanace` (recorded).
        zone_balance=facts.flag("zoneBalanace") if zone_balance is None else zone_balance,
        health_source=_health_source(facts, profile),
        os=_operating_system(profile, seen),
        provisioning=provisioning_of(facts.get("provisioningState"), [])[0],
        service_fabric="microsoft.azure.servicefabric" in publishers,
        ephemeral_os_disk=(os_disk.object("diffDiskSettings").text("option") or "").lower() == "local",
        unmanaged_disks=bool(os_disk.texts("vhdContainers") or os_disk.object("image").text("uri")),
        etag=node.text("etag"),
        settings=_watched(node, watch),
    )
    suspension = any(view.has("orchestrationServices") for view in views)
    return model, model_gaps(model, mode=mode is not None, capacity=capacity is not None, suspension=suspension)


def _rolling(policy: Node) -> RollingPolicy | None:
    if not policy.has("rollingUpgradePolicy"):
        return None
    node = policy.object("rollingUpgradePolicy")
    batch = node.integer("maxBatchInstancePercent")
    # 2017-03-30 spelled it without "max" in rollingUpgrades/latest (recordings.md A).
    numbers = {
        "max_batch_percent": node.integer("batchInstancePercent") if batch is None else batch,
        "max_unhealthy_percent": node.integer("maxUnhealthyInstancePercent"),
        "max_unhealthy_upgraded_percent": node.integer("maxUnhealthyUpgradedInstancePercent"),
        "pause_between_batches_ms": node.millis("pauseTimeBetweenBatches"),
    }
    return RollingPolicy(
        **{name: number for name, number in numbers.items() if number is not None},
        cross_zone=node.flag("enableCrossZoneUpgrade") or False,
        prioritize_unhealthy=node.flag("prioritizeUnhealthyInstances") or False,
        rollback_failed=node.flag("rollbackFailedInstancesOnPolicyBreach") or False,
        max_surge=node.flag("maxSurge") or False,
    )


def _auto_os(policy: Node) -> AutomaticOsUpgrade | None:
    # `automaticOSUpgrade` and `autoOSUpgradePolicy` are older names (recorded: 2017-03-30 to 2019-03-01, 2018-06-01).
    if not any(policy.has(key) for key in ("automaticOSUpgradePolicy", "automaticOSUpgrade", "autoOSUpgradePolicy")):
        return None
    node, older = policy.object("automaticOSUpgradePolicy"), policy.object("autoOSUpgradePolicy")
    enabled, keep = node.flag("enableAutomaticOSUpgrade"), node.flag("disableAutomaticRollback")
    return AutomaticOsUpgrade(
        enabled=bool(policy.flag("automaticOSUpgrade") if enabled is None else enabled),
        disable_rollback=bool(older.flag("disableAutoRollback") if keep is None else keep),
        use_rolling_policy=node.flag("useRollingUpgradePolicy") or False,
        deferral=node.flag("osRollingUpgradeDeferral") or False,
    )


def _repairs(facts: Node, views: Iterable[Node]) -> AutomaticRepairs | None:
    if not facts.has("automaticRepairsPolicy"):
        return None
    node = facts.object("automaticRepairsPolicy")
    services = [service for view in views for service in view.objects("orchestrationServices")]
    states = {(each.text("serviceName") or "").lower(): each.text("serviceState") or "" for each in services}
    default, grace = AutomaticRepairs(), node.millis("gracePeriod")
    return AutomaticRepairs(
        enabled=node.flag("enabled") or False,
        grace_ms=default.grace_ms if grace is None else grace,
        action=(node.text("repairAction") or default.action).lower(),
        suspended=states.get("automaticrepairs", "").lower() == "suspended",
    )


def _extensions(profile: Node) -> list[Node]:
    return profile.object("extensionProfile").objects("extensions")


def _health_source(facts: Node, profile: Node) -> HealthSource:
    """Rule 6."""
    for extension in _extensions(profile):
        inner = extension.facts()
        # Lifted beside the resource's own `type`, az calls properties.type `typePropertiesType`.
        types = [(inner.text(key) or "").lower() for key in ("type", "typePropertiesType")]
        if (inner.text("publisher") or "").lower() == "microsoft.managedservices" and any(
            each.startswith("applicationhealth") for each in types
        ):
            return HealthSource.EXTENSION
    if profile.object("networkProfile").object("healthProbe").text("id"):
        return HealthSource.PROBE
    external = facts.object("externalHealthPolicy").flag("enabled")
    return HealthSource.EXTENSION if external else HealthSource.NONE


def _operating_system(profile: Node, seen: Sequence[Seen]) -> OperatingSystem:
    """Said by the OS disk, implied by the OS profile, or said by the instances."""
    said = profile.object("storageProfile").object("osDisk").closed("osType", OperatingSystem)
    if said is not None:
        return said
    for key, meant in (
        ("linuxConfiguration", OperatingSystem.LINUX),
        ("windowsConfiguration", OperatingSystem.WINDOWS),
    ):
        if profile.object("osProfile").has(key):
            return meant
    return next((each.os for each in seen if each.os is not None), OperatingSystem.UNKNOWN)


def _watched(node: Node, watch: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in watch:
        head, dot, rest = path.partition(".")
        if head.lower() not in _TOP_LEVEL:
            head, rest = "properties", path
        elif head.lower() == "properties" and not dot:
            rest = ""
        steps = [rest] if head.lower() == "tags" else rest.split(".")  # a tag's name may hold dots
        if "" in steps and (dot or head.lower() == "properties"):
            raise InputError("a watched path has an empty part", "", repr(path), "such as sku.name", "")
        place = node.facts() if head.lower() == "properties" else node.get(head)
        for step in steps if rest else ():
            place = place.get(step) if isinstance(place.value, dict) else Node(None, step, place)
        values[".".join([head.lower(), *([rest] if rest else [])])] = place.value
    return values
