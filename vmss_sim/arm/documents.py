"""ARM documents of a scale set, its instances and its rollouts, made when they are asked for.

Rules (REC: recordings of 2015 to 2025; API: azure-rest-api-specs; versions in `versions.py`):

1. The set's document is what clients wrote, with what the world knows better laid over it: mode, policies, capacity, and every model
   path of the world (somebody else may have changed them). Nothing is shown that is secret, however it got there.
2. An instance shows its own image with the version it booted (`exactVersion`) and its own OS disk, whose name and id change when the
   disk is replaced; the rest is the set's profile.
3. A Uniform set's instances are `virtualMachineScaleSets/virtualMachines`; a Flexible set's are VMs of the group (`machine`), and
   show under the set only who they are (REC). Neither domains nor `latestModelApplied` are told of them.
4. A failed instance keeps `provisioningState` Failed; the code is in its view.
5. The end of a rollout stands in the history as `completedTime`, although the specification says `endTime` (REC 2018 to 2020).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from vmss_sim.arm import versions, views
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.views import Body, moment
from vmss_sim.world.config import AutoOs, Image, Repairs, RollingPolicy
from vmss_sim.world.rollouts import HistoryEntry, RollingStatus
from vmss_sim.world.scale_set import Vm

SET_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
VM_TYPE = f"{SET_TYPE}/virtualMachines"
MACHINE_TYPE = "Microsoft.Compute/virtualMachines"
ROLLOUT_TYPE = f"{SET_TYPE}/rollingUpgrades"

SECRET = frozenset({"adminPassword", "customData", "protectedSettings", "userData", "protectedSettingsFromKeyVault"})
"""Never in an answer (API: write-only); userData only where it is asked for by `$expand=userData`."""


def scale_set(one: ArmSet, version: str) -> Body:
    """The set (rule 1)."""
    world, document = one.world, shown(one.document)
    properties: Body = document.setdefault("properties", {})
    lay_over(document, world.model)
    sku = document.setdefault("sku", {})
    sku.setdefault("tier", "Standard")
    sku["capacity"] = len(world.counted())
    policy = properties.setdefault("upgradePolicy", {})
    policy["mode"] = world.mode.capitalize()
    properties["upgradePolicy"] = _policy(policy, version)
    if "automaticRepairsPolicy" in properties:
        properties["automaticRepairsPolicy"] = versions.keep(properties["automaticRepairsPolicy"], version)
    properties["provisioningState"] = one.provisioning
    properties["uniqueId"] = one.unique_id
    properties["timeCreated"] = moment(one.epoch, one.created_ms)
    properties.setdefault("orchestrationMode", "Flexible" if world.config.flexible else "Uniform")
    if versions.date(version) <= versions.ZONE_BALANCE_MISSPELT and "zoneBalance" in properties:
        properties["zoneBalanace"] = properties.pop("zoneBalance")
    made: Body = {
        "name": one.name,
        "id": one.id,
        "type": SET_TYPE,
        "location": one.location,
        **{name: value for name, value in document.items() if name not in ("name", "id", "type", "location")},
        "properties": versions.keep(properties, version),
    }
    if versions.has_etag(version):
        made["etag"] = f'"{world.etag}"'
    return made


def instance(one: ArmSet, vm: Vm, version: str, *, view: bool = False) -> Body:
    """One instance under its set. view: with its instance view."""
    world = one.world
    world.settled(vm)
    written = one.instances.get(vm.vm_id, {})
    made: Body = {
        "name": instance_name(one, vm),
        "id": f"{one.id}/virtualMachines/{vm.id}",
        "type": VM_TYPE,
        "location": one.location,
        "tags": dict(written.get("tags", one.document.get("tags") or {})),
        "instanceId": vm.id,
        "sku": {"name": size(one), "tier": "Standard"},
    }
    properties: Body = {} if world.config.flexible else {"latestModelApplied": world.is_latest(vm)}
    properties["modelDefinitionApplied"] = "VirtualMachineScaleSet"
    profile = views.profile_of(one)
    network = profile.get("networkProfile") or {}
    interfaces = network.get("networkInterfaceConfigurations") or []
    properties["networkProfileConfiguration"] = {"networkInterfaceConfigurations": shown(interfaces)}
    if view:
        properties["instanceView"] = views.instance_view(one, vm, version)
    # REC: a policy that was written stays there when all of it is false.
    if vm.protected or vm.scale_in_protected or written.get("protection"):
        properties["protectionPolicy"] = {
            "protectFromScaleIn": vm.scale_in_protected,
            "protectFromScaleSetActions": vm.protected,
        }
    properties |= _common(one, vm)
    properties["resilientVMDeletionStatus"] = "Disabled"
    made["properties"] = versions.keep(properties, version)
    _identify(made, one, vm, version)
    return made


def machine(one: ArmSet, vm: Vm, version: str, *, view: bool = False) -> Body:
    """One instance of a Flexible set as the VM that it is (rule 3)."""
    one.world.settled(vm)
    written = one.instances.get(vm.vm_id, {})
    made: Body = {
        "name": vm.id,
        "id": machine_id(one, vm),
        "type": MACHINE_TYPE,
        "location": one.location,
        "tags": dict(written.get("tags", one.document.get("tags") or {})),
    }
    properties = {**_common(one, vm), "virtualMachineScaleSet": {"id": one.id}}
    if view:
        properties["instanceView"] = views.instance_view(one, vm, version)
    made["properties"] = versions.keep(properties, version)
    _identify(made, one, vm, version)
    return made


def entry(one: ArmSet, vm: Vm) -> Body:
    """What the list of a Flexible set says of an instance: who it is (REC 2023, 2024)."""
    return {
        "name": vm.id,
        "id": f"{one.id}/virtualMachines/{vm.id}",
        "type": VM_TYPE,
        "location": one.location,
        "instanceId": vm.id,
        "zones": [vm.machine.zone],
    }


def machine_id(one: ArmSet, vm: Vm) -> str:
    """The resource id of a Flexible set's instance."""
    return f"/subscriptions/{one.subscription}/resourceGroups/{one.group}/providers/{MACHINE_TYPE}/{vm.id}"


def instance_name(one: ArmSet, vm: Vm) -> str:
    """Its resource name."""
    return vm.id if one.world.config.flexible else f"{one.name}_{vm.id}"


def instance_etag(one: ArmSet, vm: Vm) -> str:
    """Grows with whatever is done to the instance, and with every write of it (`one.instances[vmId]["writes"]`)."""
    return f'"{1 + vm.generation + int(one.instances.get(vm.vm_id, {}).get("writes", 0))}"'


def rolling_upgrade(one: ArmSet, version: str) -> Body | None:
    """`rollingUpgrades/latest`; None before there was any."""
    status = one.world.rolling_upgrade
    if status is None:
        return None
    old = versions.date(version) <= versions.OLD_ROLLOUT
    policy = rolling_policy(status.policy)
    progress = _progress(status)
    if old:
        policy["batchInstancePercent"] = policy["maxBatchInstancePercent"]
        progress["inprogressInstanceCount"] = progress["inProgressInstanceCount"]
    properties: Body = {
        "policy": versions.keep(policy, version),
        "runningStatus": {
            "code": status.code,
            "startTime": moment(one.epoch, status.started_ms),
            "lastAction": status.last_action,
            "lastActionTime": moment(one.epoch, status.last_action_ms),
        },
        "progress": progress,
    }
    if status.error_code:
        properties["error"] = _error(status)
    return {"type": ROLLOUT_TYPE, "location": one.location, "properties": properties}


def history(one: ArmSet, version: str) -> Body:  # noqa: ARG001 - no version shows it otherwise
    """`osUpgradeHistory`, newest first."""
    return {"value": [_entry(one, each) for each in one.world.history]}


def skus(one: ArmSet, version: str) -> Body:  # noqa: ARG001 - no version shows it otherwise
    """The sizes the set may have: its own and its neighbours in the family."""
    single = bool(one.document.get("properties", {}).get("singlePlacementGroup", True))
    capacity = {"minimum": 0, "maximum": 100 if single else 1000, "defaultCapacity": 1, "scaleType": "Automatic"}
    own = size(one)
    names = dict.fromkeys((own, *SIZES))
    return {
        "value": [
            {"resourceType": SET_TYPE, "sku": {"name": name, "tier": "Standard"}, "capacity": dict(capacity)}
            for name in names
        ]
    }


SIZES = ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_D8s_v5", "Standard_D16s_v5", "Standard_D32s_v5")


def run_command(one: ArmSet, vm: Vm, name: str, *, view: bool = False) -> Body:
    """A managed run-command that succeeded."""
    parent = machine_id(one, vm) if one.world.config.flexible else f"{one.id}/virtualMachines/{vm.id}"
    kind = MACHINE_TYPE if one.world.config.flexible else VM_TYPE
    properties: Body = {"provisioningState": "Succeeded", "asyncExecution": False}
    if view:
        properties["instanceView"] = {"executionState": "Succeeded", "exitCode": 0, "output": "", "error": ""}
    return {
        "name": name,
        "id": f"{parent}/runCommands/{name}",
        "type": f"{kind}/runCommands",
        "location": one.location,
        "properties": properties,
    }


# Parts.


def shown(value: Any) -> Any:
    """A copy without secrets."""
    if isinstance(value, dict):
        return {name: shown(inner) for name, inner in value.items() if name not in SECRET}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    return copy.copy(value)


def lay_over(document: Body, model: Mapping[str, Any]) -> None:
    """Lay model paths over a document (rule 1); None takes away. What lies within a list only clients change."""
    for path, value in model.items():
        if "[" in path:
            continue
        *above, last = path.split(".")
        if last in SECRET:
            continue
        if last == "id" and above[-1] == "imageReference" and value is not None:
            last = _id_name(str(value))
        place: Any = document
        for step in above:
            inner = place.get(step)
            if not isinstance(inner, dict):
                if value is None:
                    break
                inner = place[step] = {}
            place = inner
        else:
            if value is None:
                place.pop(last, None)
            elif place.get(last) != value:
                place[last] = shown(value)


def size(one: ArmSet) -> str:
    """The VM size."""
    return str(one.world.model.get("sku.name") or (one.document.get("sku") or {}).get("name") or SIZES[0])


def rolling_policy(policy: RollingPolicy) -> Body:
    """Azure's words for a rolling policy."""
    return {
        "maxBatchInstancePercent": policy.max_batch_percent,
        "maxUnhealthyInstancePercent": policy.max_unhealthy_percent,
        "maxUnhealthyUpgradedInstancePercent": policy.max_unhealthy_upgraded_percent,
        "pauseTimeBetweenBatches": duration(policy.pause_ms),
        "enableCrossZoneUpgrade": policy.cross_zone,
        "prioritizeUnhealthyInstances": policy.prioritize_unhealthy,
        "rollbackFailedInstancesOnPolicyBreach": policy.rollback_failed,
        "maxSurge": policy.max_surge,
    }


def auto_os_policy(policy: AutoOs) -> Body:
    """Azure's words for automatic OS upgrade."""
    return {
        "enableAutomaticOSUpgrade": policy.enabled,
        "disableAutomaticRollback": policy.disable_rollback,
        "useRollingUpgradePolicy": policy.use_rolling_policy,
        "osRollingUpgradeDeferral": policy.deferral,
    }


def repairs_policy(policy: Repairs) -> Body:
    """Azure's words for automatic repairs."""
    grace = duration(policy.grace_ms)
    return {"enabled": policy.enabled, "gracePeriod": grace, "repairAction": policy.action.capitalize()}


def duration(ms: int) -> str:
    """An ISO 8601 duration as .NET writes it."""
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    date = f"{days}D" if days else ""
    time = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M")) if value)
    if rest:
        time += f"{seconds}.{rest:03d}".rstrip("0") + "S"
    elif seconds or not (date or time):
        time += f"{seconds}S"
    return f"P{date}T{time}" if time else f"P{date}"


def image_reference(image: Image | None) -> Body | None:
    """The image a VM booted; None where it is a VHD, or not known."""
    if image is None or image.uri:
        return None
    known = (
        ("publisher", image.publisher),
        ("offer", image.offer),
        ("sku", image.sku),
        ("version", image.version),
        (_id_name(image.id or ""), image.id),
        ("exactVersion", image.exact),
    )
    return {name: value for name, value in known if value is not None}


def _id_name(image_id: str) -> str:
    lower = image_id.lower()
    if lower.startswith("/sharedgalleries/"):
        return "sharedGalleryImageId"
    return "communityGalleryImageId" if lower.startswith("/communitygalleries/") else "id"


def _policy(policy: Body, version: str) -> Body:
    made = versions.keep(policy, version)
    if "rollingUpgradePolicy" in made:
        made["rollingUpgradePolicy"] = versions.keep(made["rollingUpgradePolicy"], version)
    automatic = policy.get("automaticOSUpgradePolicy")
    if automatic is not None and "automaticOSUpgradePolicy" in made:
        made["automaticOSUpgradePolicy"] = versions.keep(automatic, version)
    elif automatic is not None:
        made["automaticOSUpgrade"] = bool(automatic.get("enableAutomaticOSUpgrade"))
    return made


def _common(one: ArmSet, vm: Vm) -> Body:
    """What an instance shows wherever it stands."""
    profile = views.profile_of(one)
    provisioning = one.world.state(vm)[0]
    properties: Body = {}
    if provisioning != "unknown":
        properties["provisioningState"] = provisioning.capitalize()
    properties["hardwareProfile"] = {"vmSize": size(one)}
    properties["vmId"] = vm.vm_id
    properties["storageProfile"] = _storage(one, vm)
    os_profile = shown(profile.get("osProfile") or {})
    os_profile.pop("computerNamePrefix", None)
    properties["osProfile"] = {"computerName": views.computer_name(one, vm), **os_profile}
    interfaces = (profile.get("networkProfile") or {}).get("networkInterfaceConfigurations") or []
    parent = f"{one.id}/virtualMachines/{vm.id}"
    properties["networkProfile"] = {
        "networkInterfaces": [{"id": f"{parent}/networkInterfaces/{each.get('name')}"} for each in interfaces]
    }
    properties["timeCreated"] = moment(one.epoch, one.created_ms)
    return properties


def _storage(one: ArmSet, vm: Vm) -> Body:
    """Rule 2."""
    model = views.profile_of(one).get("storageProfile") or {}
    disk = shown(model.get("osDisk") or {})
    for name in ("vhdContainers", "image", "name"):
        disk.pop(name, None)
    name = views.os_disk(one, vm)
    storage: Body = {}
    reference = image_reference(vm.image)
    if reference is not None:
        storage["imageReference"] = reference
    elif vm.image is not None:
        disk["image"] = {"uri": vm.image.uri}
    if "://" in name:
        disk["vhd"] = {"uri": name}
        disk.pop("managedDisk", None)
    else:
        prefix = f"/subscriptions/{one.subscription}/resourceGroups/{one.group}/providers/Microsoft.Compute/disks/"
        disk["managedDisk"] = {**(disk.get("managedDisk") or {}), "id": prefix + name}
        disk["name"] = name
    disk.setdefault("createOption", "FromImage")
    storage["osDisk"] = disk
    storage["dataDisks"] = shown(model.get("dataDisks") or [])
    return storage


def _identify(made: Body, one: ArmSet, vm: Vm, version: str) -> None:
    if vm.machine.zone is not None:
        made["zones"] = [vm.machine.zone]
    if versions.has_etag(version):
        made["etag"] = instance_etag(one, vm)


def _progress(status: RollingStatus) -> Body:
    return {
        "successfulInstanceCount": status.successful,
        "failedInstanceCount": status.failed,
        "inProgressInstanceCount": status.in_progress,
        "pendingInstanceCount": status.pending,
    }


def _error(status: RollingStatus) -> Body:
    return {"code": status.error_code, "message": status.error_message}


def _entry(one: ArmSet, each: HistoryEntry) -> Body:
    status = each.status
    running: Body = {"code": status.code, "startTime": moment(one.epoch, status.started_ms)}
    if status.ended_ms is not None:
        running["completedTime"] = moment(one.epoch, status.ended_ms)  # rule 5
    properties: Body = {"runningStatus": running, "progress": _progress(status), "startedBy": status.started_by}
    if each.target is not None and (reference := image_reference(each.target)):
        properties["targetImageReference"] = reference
    if status.error_code:
        properties["error"] = _error(status)
    properties["rollbackInfo"] = {
        "successfullyRolledbackInstanceCount": each.rolled_back,
        "failedRolledbackInstanceCount": each.rollback_failed,
    }
    return {"properties": properties, "type": ROLLOUT_TYPE, "location": one.location}
