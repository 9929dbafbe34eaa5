"""ARM documents of a scale set, its instances and its rollouts, made when they are asked for.

Rules (REC: recordings of 2015 to 2025; API: azure-rest-api-specs; versions in `versions.py`, secrets in `wire.py`):

1. The set's document is what clients wrote, with what the world knows better laid over it: mode, policies, capacity, and every model
   path of the world (somebody else may have changed them).
2. An instance shows its own image with the version it booted (`exactVersion`) and its own OS disk, whose name and id change when the
   disk is replaced; the rest is the model it was given (`shapes.py`).
3. A Uniform set's instances are `virtualMachineScaleSets/virtualMachines`; a Flexible set's are VMs of the group (`machine`), and
   show under the set only who they are (REC). Neither domains nor `latestModelApplied` are told of them.
4. A failed instance has the `provisioningState` Failed; the code is in its view.
5. The end of a rollout stands in the history as `completedTime`, although the specification says `endTime` (REC 2018 to 2020).
"""

from __future__ import annotations

import uuid

from vmss_sim.arm import interfaces, versions, views
from vmss_sim.arm.defaults import LINUX_GB, WINDOWS_GB
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.shapes import SIZES, Shape, Shapes, computer_name, extensions_of, os_disk
from vmss_sim.arm.wire import (
    HIDDEN,
    SECRET,
    Body,
    auto_os_policy,
    image_reference,
    lay_over,
    moment,
    repairs_policy,
    rolling_policy,
    shown,
)
from vmss_sim.world.config import AutoOs, Repairs, RollingPolicy
from vmss_sim.world.rollouts import HistoryEntry, RollingStatus
from vmss_sim.world.scale_set import Vm

SET_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
VM_TYPE = f"{SET_TYPE}/virtualMachines"
MACHINE_TYPE = "Microsoft.Compute/virtualMachines"
ROLLOUT_TYPE = f"{SET_TYPE}/rollingUpgrades"
_IDENTITY = ("name", "id", "type", "location")


def scale_set(one: ArmSet, version: str, *, user_data: bool = False) -> Body:
    """The set (rule 1). user_data: `$expand=userData`."""
    world, hidden = one.world, SECRET if user_data else HIDDEN
    document: Body = shown(one.document, hidden)
    lay_over(document, world.model)
    properties: Body = document.setdefault("properties", {})
    profile = properties.setdefault("virtualMachineProfile", {})
    if not (user_data and profile.get("userData")):
        profile.pop("userData", None)
    sku = document.setdefault("sku", {})
    sku.setdefault("tier", "Standard")
    sku["capacity"] = len(world.counted())
    if "upgradePolicy" in properties or not world.config.flexible or world.mode != "manual":
        properties["upgradePolicy"] = _policy(one, properties.get("upgradePolicy") or {}, version)
    if world.repairs != Repairs() or "automaticRepairsPolicy" in properties:
        repairs = _real(properties.get("automaticRepairsPolicy"), repairs_policy(world.repairs))
        properties["automaticRepairsPolicy"] = versions.keep(repairs, version)
    created = moment(one.epoch, one.created_ms)
    if versions.shows("virtualMachineProfile.timeCreated", version):
        profile["timeCreated"] = created
    properties["provisioningState"] = one.provisioning
    properties["uniqueId"] = one.unique_id
    properties["timeCreated"] = created
    properties.setdefault("orchestrationMode", "Flexible" if world.config.flexible else "Uniform")
    if versions.date(version) <= versions.ZONE_BALANCE_MISSPELT and "zoneBalance" in properties:
        properties["zoneBalanace"] = properties.pop("zoneBalance")
    made: Body = {"name": one.name, "id": one.id, "type": SET_TYPE, "location": one.location}
    made |= {name: value for name, value in document.items() if name not in _IDENTITY}
    if "identity" in document:
        _show_identity(made, one, document["identity"], version)
    properties["virtualMachineProfile"] = versions.deep(profile, version, "virtualMachineProfile")
    made["properties"] = versions.keep(properties, version)
    if versions.has_etag(version):
        made["etag"] = set_etag(one)
    return made


def _show_identity(made: Body, one: ArmSet, said: Body, version: str) -> None:
    """The identity with what Entra gave it; none where there is none. Who was assigned is known when the set is there (REC)."""
    kinds = str(said.get("type") or "None").replace(" ", "").lower().split(",")
    made.pop("identity", None)
    if kinds == ["none"]:
        return
    shown: Body = {"type": said["type"]}
    if "systemassigned" in kinds:
        shown |= {"principalId": _guid(one, "principal"), "tenantId": one.tenant or _guid(one, "tenant")}
    if "userassigned" in kinds:
        names = list(said.get("userAssignedIdentities") or {})
        known = one.provisioning != "Creating"
        ids = {
            name: {"principalId": _guid(one, f"principal/{name}"), "clientId": _guid(one, f"client/{name}")}
            for name in names
        }
        if versions.shows("userAssignedIdentities", version):
            shown["userAssignedIdentities"] = ids if known else {name: {} for name in names}
        else:
            shown["identityIds"] = names
    made["identity"] = shown


def _guid(one: ArmSet, purpose: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{one.unique_id}/{purpose.lower()}"))


def instance(
    one: ArmSet,
    vm: Vm,
    version: str,
    *,
    view: bool = False,
    user_data: bool = False,
    shapes: Shapes | None = None,
) -> Body:
    """One instance under its set. view: with its instance view; user_data: `$expand=userData`; shapes: of the answer it is part of."""
    world, shapes = one.world, shapes or Shapes(one, version)
    world.settled(vm)
    shape = shapes.of(vm)
    flexible = world.config.flexible
    name = vm.id if flexible else f"{one.name}_{vm.id}"
    made: Body = {
        "name": name,
        "id": f"{one.id}/virtualMachines/{vm.id}",
        "type": VM_TYPE,
        "location": one.location,
        "instanceId": vm.id,
        "sku": {"name": shape.size, "tier": "Standard"},
    }
    _tag(made, one, vm, shape)
    properties: Body = {} if flexible else {"latestModelApplied": world.is_latest(vm)}
    properties["modelDefinitionApplied"] = "VirtualMachineScaleSet"
    if view:
        properties["instanceView"] = views.instance_view(one, vm, version, shapes)
    properties["networkProfileConfiguration"] = {"networkInterfaceConfigurations": shape.interfaces}
    # REC: a policy that was written stays there when all of it is false.
    if vm.protected or vm.scale_in_protected or one.instances.get(vm.vm_id, {}).get("protection"):
        properties["protectionPolicy"] = {
            "protectFromScaleIn": vm.scale_in_protected,
            "protectFromScaleSetActions": vm.protected,
        }
    properties |= _common(one, vm, shape, version)
    properties["resilientVMDeletionStatus"] = "Disabled"
    if user_data and shape.user_data is not None:
        properties["userData"] = shape.user_data
    made["properties"] = versions.keep(properties, version)
    _attach(made, one, vm, shape)
    _identify(made, one, vm, version)
    return made


def machine(one: ArmSet, vm: Vm, version: str, *, view: bool = False, shapes: Shapes | None = None) -> Body:
    """One instance of a Flexible set as the VM that it is (rule 3)."""
    one.world.settled(vm)
    shapes = shapes or Shapes(one, version)
    shape = shapes.of(vm)
    made: Body = {
        "name": vm.id,
        "id": machine_id(one, vm),
        "type": MACHINE_TYPE,
        "location": one.location,
    }
    _tag(made, one, vm, shape)
    properties = {**_common(one, vm, shape, version), "virtualMachineScaleSet": {"id": one.id}}
    if view:
        properties["instanceView"] = views.instance_view(one, vm, version, shapes)
    made["properties"] = versions.keep(properties, version)
    _attach(made, one, vm, shape)
    _identify(made, one, vm, version)
    return made


def entry(one: ArmSet, vm: Vm) -> Body:
    """What the list of a Flexible set says of an instance: who it is (REC 2023, 2024; without a zone, `[null]`)."""
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


def set_etag(one: ArmSet) -> str:
    """Grows with every update of the set."""
    return f'"{one.world.etag}"'


def instance_etag(one: ArmSet, vm: Vm) -> str:
    """Grows with whatever is done to the instance, and with every write of it (`one.instances[vmId]["writes"]`)."""
    return f'"{1 + vm.generation + int(one.instances.get(vm.vm_id, {}).get("writes", 0))}"'


def rolling_upgrade(one: ArmSet, version: str) -> Body | None:
    """`rollingUpgrades/latest`; None before there was any."""
    status = one.world.rolling_upgrade
    if status is None:
        return None
    policy = versions.keep(_real(None, rolling_policy(status.policy), _ONLY_IF_SAID), version)
    progress = _progress(status)
    if versions.date(version) <= versions.OLD_ROLLOUT:
        policy["batchInstancePercent"] = status.policy.max_batch_percent
        progress["inprogressInstanceCount"] = status.in_progress
    properties: Body = {
        "policy": policy,
        "runningStatus": {
            "lastAction": status.last_action,
            "lastActionTime": moment(one.epoch, status.last_action_ms),
            "code": status.code,
            "startTime": moment(one.epoch, status.started_ms),
        },
        "progress": progress,
    }
    if status.error_code:
        properties["error"] = {"code": status.error_code, "message": status.error_message}
    return {"type": ROLLOUT_TYPE, "location": one.location, "properties": properties}


def history(one: ArmSet, version: str) -> Body:  # noqa: ARG001 - no version shows it otherwise
    """`osUpgradeHistory`, newest first."""
    return {"value": [_remembered(one, each) for each in one.world.history]}


def skus(one: ArmSet, version: str) -> Body:  # noqa: ARG001 - no version shows it otherwise
    """The sizes the set may have: its own, and some neighbours."""
    single = bool((one.document.get("properties") or {}).get("singlePlacementGroup", True))
    capacity = {"minimum": 0, "maximum": 100 if single else 1000, "defaultCapacity": 1, "scaleType": "Automatic"}
    names = dict.fromkeys((Shapes(one).latest.size, *SIZES))
    return {
        "value": [
            {"resourceType": SET_TYPE, "sku": {"name": name, "tier": "Standard"}, "capacity": capacity}
            for name in names
        ]
    }


# Parts.


def _policy(one: ArmSet, said: Body, version: str) -> Body:
    """The upgrade policy as a version shows it (rule 1). A set in mode Rolling always has a rolling policy."""
    world = one.world
    made: Body = {**said, "mode": world.mode.capitalize()}
    if world.mode == "rolling" or world.rolling_policy != RollingPolicy() or "rollingUpgradePolicy" in said:
        rolling = _real(said.get("rollingUpgradePolicy"), rolling_policy(world.rolling_policy), _ONLY_IF_SAID)
        made["rollingUpgradePolicy"] = versions.keep(rolling, version)
    if world.auto_os != AutoOs() or "automaticOSUpgradePolicy" in said:
        automatic = _real(said.get("automaticOSUpgradePolicy"), auto_os_policy(world.auto_os), _ONLY_IF_SAID)
        made["automaticOSUpgradePolicy"] = versions.keep(automatic, version)
    if versions.date(version) >= versions.FLAG_SINCE and not versions.shows("automaticOSUpgradePolicy", version):
        made["automaticOSUpgrade"] = world.auto_os.enabled
    return versions.keep(made, version)


_ONLY_IF_SAID = frozenset({"enableCrossZoneUpgrade", "prioritizeUnhealthyInstances", "osRollingUpgradeDeferral"})
"""Shown where a client said them, or where they are not false (recorded)."""


def _real(said: Body | None, real: Body, optional: frozenset[str] = frozenset()) -> Body:
    """What the world has of a policy, over what clients said of it."""
    said = said or {}
    return {**said, **{name: value for name, value in real.items() if value or name in said or name not in optional}}


def _tag(made: Body, one: ArmSet, vm: Vm, shape: Shape) -> None:
    """The instance's own tags, else the set's; none where neither says any (REC)."""
    tags = one.instances.get(vm.vm_id, {}).get("tags", shape.tags)
    if tags is not None:
        made["tags"] = dict(tags)


def _common(one: ArmSet, vm: Vm, shape: Shape, version: str) -> Body:
    """What an instance shows wherever it stands."""
    provisioning = one.world.state(vm)[0]
    properties: Body = {}
    if provisioning != "unknown":
        properties["provisioningState"] = provisioning.capitalize()
    cards = [{"id": interfaces.id_of(one, vm, str(each.get("name", "")))} for each in shape.interfaces]
    properties |= {
        "hardwareProfile": {"vmSize": shape.size},
        "vmId": vm.vm_id,
        "storageProfile": _storage(one, vm, shape, version),
        "osProfile": {"computerName": computer_name(shape, vm), **shape.os_profile},
        "networkProfile": {"networkInterfaces": cards},
        **shape.beside,
        "timeCreated": moment(one.epoch, one.created_ms),
    }
    return properties


def _storage(one: ArmSet, vm: Vm, shape: Shape, version: str) -> Body:
    """Rule 2. An unmanaged disk is a blob, and such instances do not show data disks that they do not have (REC)."""
    disk, name = {"createOption": "FromImage", **shape.disk}, os_disk(one, vm)
    disk.setdefault("osType", "Windows" if shape.windows else "Linux")
    storage: Body = dict(shape.storage)
    reference = image_reference(vm.image)
    if reference is not None:
        storage["imageReference"] = versions.keep(reference, version)
    elif vm.image is not None:
        disk["image"] = {"uri": vm.image.uri}
    disks = one.instances.get(vm.vm_id, {}).get("dataDisks", shape.data_disks)
    if shape.unmanaged or "://" in name:
        disk["name"] = name.rpartition("/")[2].removesuffix(".vhd")
        disk["vhd"] = {
            "uri": name if "://" in name else f"https://{one.name[:24]}.blob.core.windows.net/vhds/{name}.vhd"
        }
        disk.pop("managedDisk", None)
        if disks:
            storage["dataDisks"] = disks
    else:
        prefix = f"/subscriptions/{one.subscription}/resourceGroups/{one.group}/providers/Microsoft.Compute/disks/"
        disk["name"] = name
        disk["managedDisk"] = {**(disk.get("managedDisk") or {}), "id": prefix + name}
        disk.setdefault("diskSizeGB", WINDOWS_GB if shape.windows else LINUX_GB)
        storage["dataDisks"] = [_data_disk(each, f"{one.name}_{vm.id}", prefix, version) for each in disks]
    storage["osDisk"] = disk
    return storage


def _data_disk(each: Body, owner: str, prefix: str, version: str) -> Body:
    """A data disk of an instance, with what is its own."""
    given = each.get("managedDisk") or {}
    name = str(given.get("id") or "").rpartition("/")[2] or each.get("name") or f"{owner}_disk{each.get('lun')}"
    own = {"managedDisk": {"storageAccountType": "Standard_LRS", "id": prefix + name, **given}, "toBeDetached": False}
    return {"diskSizeGB": LINUX_GB, "caching": "None", **each, "name": name, **versions.keep(own, version)}


def _attach(made: Body, one: ArmSet, vm: Vm, shape: Shape) -> None:
    """The extensions of an instance, as resources of a VM (REC: so also on Uniform sets)."""
    extensions = extensions_of(one, vm, shape)
    if not extensions:
        return
    group = f"/subscriptions/{one.subscription}/resourceGroups/{one.group}"
    parent = f"{group}/providers/{MACHINE_TYPE}/{made['name']}/extensions"
    made["resources"] = [
        {
            "name": each.name,
            "id": f"{parent}/{each.name}",
            "type": f"{MACHINE_TYPE}/extensions",
            "location": one.location,
            "properties": each.properties,
        }
        for each in extensions
    ]


def _identify(made: Body, one: ArmSet, vm: Vm, version: str) -> None:
    identity = one.document.get("identity")
    if identity is not None and versions.shows("instanceIdentity", version):
        _show_identity(made, one, identity, version)
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


def _remembered(one: ArmSet, each: HistoryEntry) -> Body:
    status = each.status
    running: Body = {"code": status.code, "startTime": moment(one.epoch, status.started_ms)}
    if status.ended_ms is not None:
        running["completedTime"] = moment(one.epoch, status.ended_ms)  # rule 5
    properties: Body = {"runningStatus": running, "progress": _progress(status)}
    if status.error_code:
        properties["error"] = {"code": status.error_code, "message": status.error_message}
    properties["startedBy"] = status.started_by
    reference = image_reference(each.target)
    if reference is not None:
        properties["targetImageReference"] = reference
    properties["rollbackInfo"] = {
        "successfullyRolledbackInstanceCount": each.rolled_back,
        "failedRolledbackInstanceCount": each.rollback_failed,
    }
    return {"properties": properties, "type": ROLLOUT_TYPE, "location": one.location}
