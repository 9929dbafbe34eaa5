"""What recorded documents say: models, policies, instances, errors."""

from __future__ import annotations

import re
from typing import Any

from tests.replay.traffic import Exchange
from vmss_sim.arm.changes import flat
from vmss_sim.world import errors
from vmss_sim.world.config import AutoOs, Image, Repairs, RollingPolicy

PROFILE = "properties.virtualMachineProfile."
ONE = re.compile(r"/virtualmachines/([^/]+)(?:/([^/]+))?")
"""The path of one instance, and of what is done to it."""


def profile(document: dict[str, Any]) -> dict[str, Any]:
    """The part of a model that instances are given: the VM profile and the size."""
    found = {path: value for path, value in flat(document) if path.startswith(PROFILE)}
    name = (document.get("sku") or {}).get("name")
    if name:
        found["sku.name"] = name
    return {path: value for path, value in found.items() if not path.endswith(("provisioningState", "timeCreated"))}


def policy(document: dict[str, Any]) -> dict[str, Any]:
    return dict((document.get("properties") or {}).get("upgradePolicy") or {})


def rolling(document: dict[str, Any]) -> RollingPolicy:
    raw = policy(document).get("rollingUpgradePolicy") or {}
    return RollingPolicy(
        max_batch_percent=raw.get("maxBatchInstancePercent", raw.get("batchInstancePercent", 20)),
        max_unhealthy_percent=raw.get("maxUnhealthyInstancePercent", 20),
        max_unhealthy_upgraded_percent=raw.get("maxUnhealthyUpgradedInstancePercent", 20),
        pause_ms=_pause_ms(raw.get("pauseTimeBetweenBatches", "PT0S")),
        cross_zone=bool(raw.get("enableCrossZoneUpgrade")),
        prioritize_unhealthy=bool(raw.get("prioritizeUnhealthyInstances")),
        rollback_failed=bool(raw.get("rollbackFailedInstancesOnPolicyBreach")),
        max_surge=bool(raw.get("maxSurge")),
    )


def _pause_ms(text: str) -> int:
    found = re.fullmatch(r"PT(?:(\d+)M)?(?:(\d+)S)?", text)
    assert found is not None, text
    return 1000 * (60 * int(found.group(1) or 0) + int(found.group(2) or 0))


def auto_os(document: dict[str, Any]) -> AutoOs:
    raw = policy(document).get("automaticOSUpgradePolicy") or {}
    enabled = raw.get("enableAutomaticOSUpgrade", policy(document).get("automaticOSUpgrade"))
    return AutoOs(
        enabled=bool(enabled),
        disable_rollback=bool(raw.get("disableAutomaticRollback")),
        use_rolling_policy=bool(raw.get("useRollingUpgradePolicy")),
    )


def repairs(document: dict[str, Any]) -> Repairs:
    raw = (document.get("properties") or {}).get("automaticRepairsPolicy") or {}
    return Repairs(enabled=bool(raw.get("enabled")))


def health_source(document: dict[str, Any]) -> str:
    inner = (document.get("properties") or {}).get("virtualMachineProfile") or {}
    if (inner.get("networkProfile") or {}).get("healthProbe"):
        return "probe"
    extensions = (inner.get("extensionProfile") or {}).get("extensions") or []
    types = [str((one.get("properties") or {}).get("type", "")) for one in extensions]
    return "extension" if any(one.startswith("ApplicationHealth") for one in types) else "none"


def mode(document: dict[str, Any]) -> str:
    return str(policy(document).get("mode") or "Manual").lower()


def system(document: dict[str, Any]) -> str:
    """linux, windows, or unknown where the model does not say."""
    inner = (document.get("properties") or {}).get("virtualMachineProfile") or {}
    profile_ = inner.get("osProfile") or {}
    if "windowsConfiguration" in profile_:
        return "windows"
    if "linuxConfiguration" in profile_:
        return "linux"
    storage = inner.get("storageProfile") or {}
    text = f"{(storage.get('imageReference') or {}).get('publisher', '')} {(storage.get('osDisk') or {}).get('osType', '')}".lower()
    return (
        "windows"
        if "windows" in text
        else "linux"
        if re.search("canonical|linux|debian|centos|openlogic|suse|redhat", text)
        else "unknown"
    )


def is_model(one: Exchange) -> bool:
    return (
        not one.rest
        and one.status in (200, 201)
        and isinstance(one.response, dict)
        and isinstance(one.response.get("properties"), dict)
    )


def instances(one: Exchange) -> list[dict[str, Any]]:
    """The instances an answer describes, whole ones only: with `$select=instanceView` they have `false` (and 0) where they
    leave out `latestModelApplied` (and `provisioningState`).
    """
    if (
        "select" in one.query.lower()
        or not one.rest.startswith("/virtualmachines")
        or one.status != 200
        or not isinstance(one.response, dict)
    ):
        return []
    found = one.response["value"] if isinstance(one.response.get("value"), list) else [one.response]
    return [
        vm
        for vm in found
        if isinstance((vm.get("properties") or {}).get("provisioningState"), str) and "instanceId" in vm
    ]


def image(raw: dict[str, Any] | None, exact: str | None) -> Image | None:
    if not raw:
        return None
    known = {key: raw.get(key) for key in ("publisher", "offer", "sku", "version", "id")}
    return Image(exact=raw.get("exactVersion") or exact, **known)


def views(one: Exchange) -> list[tuple[str, dict[str, Any]]]:
    """The instance views in an answer, by instance."""
    if one.status != 200 or not isinstance(one.response, dict):
        return []
    if one.rest.endswith("/instanceview") and (found := ONE.match(one.rest)):
        return [(found.group(1), one.response)]
    items = one.response.get("value") if isinstance(one.response.get("value"), list) else [one.response]
    return [
        (vm["instanceId"], view)
        for vm in items
        if isinstance(vm, dict)
        and "instanceId" in vm
        and isinstance(view := (vm.get("properties") or {}).get("instanceView"), dict)
    ]


def set_state(document: dict[str, Any]) -> str:
    return str(document["properties"].get("provisioningState", "")).lower()


def error_of(body: Any) -> tuple[str, str]:
    error = body.get("error", body) if isinstance(body, dict) else {}
    return str(error.get("code", "")), str(error.get("message", ""))


def worded(row: errors.AzureError, message: str) -> bool:
    """Could this row's template have given this message?"""
    parts = [re.escape(part) for part in re.split(r"\{\w+\}", row.text)]
    return re.fullmatch(".+".join(parts), message, re.S) is not None
