"""Instance views: what the platform sees of a VM, and of a set, at the moment.

Rules (REC: recordings of 2017 to 2024; DOC-health, DOC-metrics; azure-rest-api-specs 2024-07-01):

1. A VM's statuses are its provisioning state (with the error code where it failed) and its power state; the code tells, the
   words are for people. Health stands apart (`vmHealth`), and is absent where nothing is reported.
2. A deallocated VM, or one whose creation has not ended, has no agent and no computer name; a stopped one is as it was last seen (REC).
3. The VMs of a Flexible set do not show their domains (DOC-fd); those of a Uniform set always do.
4. Rich health states stand as substatus of the health extension, and so do custom metrics, in JSON within JSON (DOC-metrics).
   Where health comes from elsewhere, or the extension is not in the model shown, custom metrics have no place.
5. The set's view counts its VMs by provisioning state, and tells of automatic repairs where the set has that policy (REC). Its own
   state is that since the last operation ended, and without a time while one runs (REC).
"""

from __future__ import annotations

import json
import uuid
from collections import Counter

from vmss_sim.arm import versions
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.shapes import Extension, Shapes, computer_name, extensions_of, os_disk
from vmss_sim.arm.wire import Body, moment
from vmss_sim.world.scale_set import Vm

PROVISIONING = {
    "succeeded": ("ProvisioningState/succeeded", "Info", "Provisioning succeeded"),
    "failed": ("ProvisioningState/failed", "Error", "Provisioning failed"),
    "updating": ("ProvisioningState/updating", "Info", "Updating"),
    "creating": ("ProvisioningState/creating", "Info", "Creating"),
    "deleting": ("ProvisioningState/deleting", "Info", "Deleting"),
}
HEALTH = {
    "healthy": ("HealthState/healthy", "Info", "The VM is reporting itself as healthy."),
    "unhealthy": ("HealthState/unhealthy", "Error", "The VM is reporting itself as unhealthy or is unreachable."),
    "unknown": ("HealthState/unknown", "Warning", "The health state of the VM is unknown."),
    "initializing": ("HealthState/initializing", "Info", "The health state of the VM is being determined."),
}
AGENT_READY = ("ProvisioningState/succeeded", "Info", "Ready", "Guest Agent is running")
AGENT_SILENT = (
    "ProvisioningState/Unavailable",
    "Warning",
    "Not Ready",
    "VM status blob is found but not yet populated.",
)
WINDOWS, LINUX = ("Windows Server 2022 Datacenter", "10.0.20348.2655"), ("ubuntu", "22.04")
HEALTH_EXTENSION = "microsoft.managedservices.applicationhealth"


def instance_view(one: ArmSet, vm: Vm, version: str, shapes: Shapes | None = None) -> Body:
    """The instance view of one VM. shapes: of the answer it is part of."""
    world = one.world
    world.settled(vm)
    provisioning, power, health = world.state(vm)
    machine, shape = vm.machine, (shapes or Shapes(one, version)).of(vm)
    extensions = extensions_of(one, vm, shape)
    at = moment(one.epoch, vm.touched_ms if vm.touched_ms <= world.now else 0)
    view: Body = {}
    if not world.config.flexible:
        view["placementGroupId"] = machine.placement_group or str(uuid.uuid5(uuid.NAMESPACE_OID, one.unique_id))
        if machine.update_domain is not None:
            view["platformUpdateDomain"] = machine.update_domain
        if machine.fault_domain is not None:
            view["platformFaultDomain"] = machine.fault_domain
    seen = power != "deallocated" and provisioning != "creating"
    if seen:
        name, number = WINDOWS if shape.windows else LINUX
        ready = power in ("running", "stopped", "stopping")
        view["vmAgent"] = {
            "vmAgentVersion": "2.9.1.1" if ready else "Unknown",
            "statuses": [_status(*(AGENT_READY if ready else AGENT_SILENT), at=at)],
        }
        if ready:  # what the agent reports
            view |= {"computerName": computer_name(shape, vm), "osName": name, "osVersion": number}
            view["vmAgent"]["extensionHandlers"] = [_handler(each) for each in extensions]
    view["disks"] = [{"name": os_disk(one, vm), "statuses": [_status(*PROVISIONING["succeeded"], at=at)]}]
    if seen and extensions:
        view["extensions"] = [_extension(one, vm, each, health, at) for each in extensions]
    if health in HEALTH:
        view["vmHealth"] = {"status": _status(*HEALTH[health])}
    view["hyperVGeneration"] = "V2"
    view["statuses"] = statuses = []
    if provisioning in PROVISIONING:
        code, level, words = PROVISIONING[provisioning]
        if provisioning == "failed" and vm.error:
            code, words = f"{code}/{vm.error}", f"Provisioning failed. {vm.error}"
        statuses.append(_status(code, level, words, at=at))
    if power != "unknown":
        statuses.append(_status(f"PowerState/{power}", "Info", f"VM {power}"))
    return versions.keep(view, version)


def extension_view(one: ArmSet, vm: Vm, each: Extension) -> Body:
    """What an instance's view says of one of its extensions."""
    world = one.world
    at = moment(one.epoch, vm.touched_ms if vm.touched_ms <= world.now else 0)
    return _extension(one, vm, each, world.state(vm)[2], at)


def set_view(one: ArmSet, version: str) -> Body:
    """The instance view of the set (rule 5)."""
    world, total = one.world, len(one.world.vms)
    states = Counter(world.state(vm)[0] for vm in world.vms.values())
    summary = [{"code": f"ProvisioningState/{word}", "count": count} for word, count in sorted(states.items())]
    view: Body = {"virtualMachine": {"statusesSummary": summary}}
    extensions = Shapes(one).latest.extensions
    if extensions and total:
        reached = [{"code": PROVISIONING["succeeded"][0], "count": total}]
        view["extensions"] = [{"name": each.name, "statusesSummary": reached} for each in extensions]
    if repairs_of(one) and versions.shows("automaticRepairsPolicy", version):
        state = "Suspended" if world.repairs_suspended else "Running"
        view["orchestrationServices"] = [{"serviceName": "AutomaticRepairs", "serviceState": state}]
    word = one.provisioning.lower()
    since = moment(one.epoch, max(one.created_ms, one.ended_ms)) if word in ("succeeded", "failed") else ""
    view["statuses"] = [_status(*PROVISIONING[word], at=since)]
    return view


def repairs_of(one: ArmSet) -> bool:
    """Does the set have the service of automatic repairs?"""
    world = one.world
    known = world.repairs.enabled or world.repairs_suspended
    return known or "automaticRepairsPolicy" in (one.document.get("properties") or {})


def _status(code: str, level: str, words: str, message: str = "", *, at: str = "") -> Body:
    status = {"code": code, "level": level, "displayStatus": words}
    if message:
        status["message"] = message
    if at:
        status["time"] = at
    return status


def _handler(each: Extension) -> Body:
    status = _status("ProvisioningState/succeeded", "Info", "Ready", "Plugin enabled successfully.")
    return {"type": each.kind, "typeHandlerVersion": each.version, "status": status}


def _extension(one: ArmSet, vm: Vm, each: Extension, health: str, at: str) -> Body:
    made: Body = {"name": each.name, "type": each.kind, "typeHandlerVersion": each.version}
    if each.kind.lower().startswith(HEALTH_EXTENSION):
        made["substatuses"] = _substatuses(one, vm, health)
    made["statuses"] = [_status(*PROVISIONING["succeeded"], "Enabled successfully.", at=at)]
    return made


def _substatuses(one: ArmSet, vm: Vm, health: str) -> list[Body]:
    """Rule 4."""
    word, level = {"healthy": ("succeeded", "Info"), "initializing": ("transitioning", "Info")}.get(
        health, ("failed", "Error")
    )
    words = {"succeeded": "Provisioning succeeded", "transitioning": "Transitioning"}.get(word, "Provisioning failed")
    found = f"Application found to be {'healthy' if health == 'healthy' else 'unhealthy'}"
    made = [_status(f"ComponentStatus/AppHealthStatus/{word}", level, words, found)]
    if one.world.config.health == "rich":
        made.append(_status(f"ComponentStatus/ApplicationHealthState/{word}", level, words, health.capitalize()))
    machine = vm.machine
    asked: Body = {} if machine.phase is None else {"PhaseOrderingNumber": machine.phase}
    if machine.skip_upgrade:
        asked["SkipUpgrade"] = True
    if asked:
        metrics = json.dumps(json.dumps({"rollingUpgrade": asked}, separators=(",", ":")))
        made.append(_status("ComponentStatus/CustomMetrics/succeeded", "Info", "Provisioning succeeded", metrics))
    return made
