"""Instance views: what the platform sees of a VM, and of a set, at the moment.

Rules (REC: recordings of 2017 to 2024; DOC-health, DOC-metrics; azure-rest-api-specs 2024-07-01):

1. A VM's statuses are its provisioning state (with the error code where it failed) and its power state; the code tells, the
   words are for people. Health stands apart (`vmHealth`), and is absent where nothing is reported.
2. A deallocated VM, or one whose creation has not ended, has no agent and no computer name; a stopped one is as it was last seen (REC).
3. The VMs of a Flexible set do not show their domains (DOC-fd); those of a Uniform set always do.
4. Rich health states stand as substatus of the health extension, and so do custom metrics, in JSON within JSON (DOC-metrics).
5. The set's view counts its VMs by provisioning state, and tells of automatic repairs where the set has that policy (REC).
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from vmss_sim.arm import versions
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world.scale_set import Vm

Body = dict[str, Any]

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
SYSTEM = {"windows": ("Windows Server 2022 Datacenter", "10.0.20348.2655"), "linux": ("ubuntu", "22.04")}
HEALTH_EXTENSION = "microsoft.managedservices.applicationhealth"


def instance_view(one: ArmSet, vm: Vm, version: str) -> Body:
    """The instance view of one VM."""
    world = one.world
    world.settled(vm)
    provisioning, power, health = world.state(vm)
    machine, disk = vm.machine, os_disk(one, vm)
    at = moment(one.epoch, vm.touched_ms if vm.touched_ms <= world.now else 0)
    view: Body = {}
    if not world.config.flexible:
        known = (
            ("placementGroupId", machine.placement_group),
            ("platformUpdateDomain", machine.update_domain),
            ("platformFaultDomain", machine.fault_domain),
        )
        view = {name: value for name, value in known if value is not None}
    seen = power not in ("deallocated", "unknown") and provisioning != "creating"
    extensions = _extensions(one) if seen else ()
    if seen:
        system = _system(one)
        view |= {"computerName": computer_name(one, vm), "osName": system[0], "osVersion": system[1]}
        ready = power in ("running", "stopped", "stopping")
        view["vmAgent"] = {
            "vmAgentVersion": "2.9.1.1" if ready else "Unknown",
            "statuses": [_status(*(AGENT_READY if ready else AGENT_SILENT), at=at)],
            "extensionHandlers": [_handler(kind, number) for _, kind, number in extensions],
        }
    view["disks"] = [{"name": disk, "statuses": [_status(*PROVISIONING["succeeded"], at=at)]}]
    if extensions:
        view["extensions"] = [_extension(one, vm, *each, health, at) for each in extensions]
    if health in HEALTH:
        view["vmHealth"] = {"status": _status(*HEALTH[health])}
    view["hyperVGeneration"] = "V2"
    statuses = []
    if provisioning in PROVISIONING:
        code, level, words = PROVISIONING[provisioning]
        if provisioning == "failed" and vm.error:
            code, words = f"{code}/{vm.error}", f"Provisioning failed. {vm.error}"
        statuses.append(_status(code, level, words, at=at))
    if power != "unknown":
        statuses.append(_status(f"PowerState/{power}", "Info", f"VM {power}"))
    view["statuses"] = statuses
    return versions.keep(view, version)


def set_view(one: ArmSet, version: str) -> Body:
    """The instance view of the set (rule 5)."""
    world = one.world
    states = Counter(world.state(vm)[0] for vm in world.vms.values())
    total = len(world.vms)
    view: Body = {
        "virtualMachine": {
            "statusesSummary": [
                {"code": f"ProvisioningState/{word}", "count": count} for word, count in sorted(states.items())
            ]
        }
    }
    extensions = _extensions(one)
    if extensions and total:
        summary = [{"code": "ProvisioningState/succeeded", "count": total}]
        view["extensions"] = [{"name": name, "statusesSummary": summary} for name, _, _ in extensions]
    if world.repairs.enabled and versions.shows("automaticRepairsPolicy", version):
        state = "Suspended" if world.repairs_suspended else "Running"
        view["orchestrationServices"] = [{"serviceName": "AutomaticRepairs", "serviceState": state}]
    word = one.provisioning.lower()
    view["statuses"] = [_status(*PROVISIONING[word], at=moment(one.epoch, one.created_ms))]
    return view


def os_disk(one: ArmSet, vm: Vm) -> str:
    """The name of a VM's OS disk: another one whenever the disk is replaced."""
    known = vm.machine.os_disk
    if known:
        return f"{known}{vm.disk}" if vm.disk else known
    return f"{one.name}_{one.name}_{vm.id}_OsDisk_1_{vm.disk:032x}"


def computer_name(one: ArmSet, vm: Vm) -> str:
    """The host name of a VM: the set's prefix and six digits of its id, or a name of its own."""
    profile = profile_of(one).get("osProfile") or {}
    prefix = profile.get("computerNamePrefix") or one.name[:9]
    return f"{prefix}{_base36(int(vm.id)):0>6}" if vm.id.isdecimal() else f"{prefix}{vm.id[-6:]}"


def profile_of(one: ArmSet) -> Body:
    """The set's virtualMachineProfile as clients wrote it."""
    profile: Body = (one.document.get("properties") or {}).get("virtualMachineProfile") or {}
    return profile


@lru_cache(maxsize=4096)
def moment(epoch: datetime, at_ms: int) -> str:
    """A time as Azure writes it: seven digits of a second, and the offset."""
    return f"{epoch + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%S.%f}0+00:00"


def _base36(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text


def _status(code: str, level: str, words: str, message: str = "", *, at: str = "") -> Body:
    status = {"code": code, "level": level, "displayStatus": words}
    if message:
        status["message"] = message
    if at:
        status["time"] = at
    return status


def system_of(one: ArmSet) -> str:
    """Linux or windows."""
    profile = profile_of(one)
    said = ((profile.get("storageProfile") or {}).get("osDisk") or {}).get("osType")
    windows = "windowsConfiguration" in (profile.get("osProfile") or {})
    return str(said).lower() if said else "windows" if windows else "linux"


def _system(one: ArmSet) -> tuple[str, str]:
    return SYSTEM.get(system_of(one), SYSTEM["linux"])


def _extensions(one: ArmSet) -> tuple[tuple[str, str, str], ...]:
    """(name, publisher and type, version) of the extensions in the model."""
    found = (profile_of(one).get("extensionProfile") or {}).get("extensions") or []
    return tuple(
        (
            str(each.get("name", "")),
            f"{inner.get('publisher')}.{inner.get('type')}",
            str(inner.get("typeHandlerVersion")),
        )
        for each in found
        for inner in (each.get("properties") or {},)
    )


def _handler(kind: str, number: str) -> Body:
    return {
        "type": kind,
        "typeHandlerVersion": number,
        "status": _status("ProvisioningState/succeeded", "Info", "Ready"),
    }


def _extension(one: ArmSet, vm: Vm, name: str, kind: str, number: str, health: str, at: str) -> Body:
    made: Body = {"name": name, "type": kind, "typeHandlerVersion": number}
    if kind.lower().startswith(HEALTH_EXTENSION):
        made["substatuses"] = _substatuses(one, vm, health)
    made["statuses"] = [_status(*PROVISIONING["succeeded"], at=at)]
    return made


def _substatuses(one: ArmSet, vm: Vm, health: str) -> list[Body]:
    """Rule 4."""
    word = "succeeded" if health == "healthy" else "transitioning" if health == "initializing" else "failed"
    found = "healthy" if health == "healthy" else "unhealthy"
    level = {"succeeded": "Info", "transitioning": "Info", "failed": "Error"}[word]
    made = [
        _status(
            f"ComponentStatus/AppHealthStatus/{word}",
            level,
            "Provisioning " + word,
            f"Application found to be {found}",
        )
    ]
    if one.world.config.health == "rich":
        code = f"ComponentStatus/ApplicationHealthState/{word}"
        made.append(_status(code, level, "Provisioning " + word, health.capitalize()))
    machine = vm.machine
    if machine.phase is not None or machine.skip_upgrade:
        asked: Body = {} if machine.phase is None else {"PhaseOrderingNumber": machine.phase}
        if machine.skip_upgrade:
            asked["SkipUpgrade"] = True
        metrics = json.dumps({"rollingUpgrade": asked}, separators=(",", ":"))
        made.append(
            _status("ComponentStatus/CustomMetrics/succeeded", "Info", "Provisioning succeeded", json.dumps(metrics))
        )
    return made
