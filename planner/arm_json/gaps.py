"""What documents did not say: rule 8 of `planner.arm_json`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from planner.arm_json.documents import SET_ID
from planner.arm_json.instances import Seen
from planner.arm_json.node import Node
from planner.model import Health, HealthSource, Instance, Model, OperatingSystem, Orchestration, Power, Provisioning


class Gap(msgspec.Struct, frozen=True):
    """Something the documents did not say: a stable code, one sentence, and the az command that supplies it ('': none)."""

    code: str
    says: str
    supply: str


def model_gaps(model: Model, *, mode: bool, capacity: bool, suspension: bool) -> list[Gap]:
    """What the model left out. mode, capacity, suspension: was it said, or is it a stand-in?"""
    repairs = not (model.repairs and model.repairs.enabled) or suspension
    told = {
        "no-resource-id": (bool(model.id), "The model has no ARM id, so nothing can be sent to it."),
        "no-unique-id": (
            bool(model.unique_id),
            "The model has no uniqueId, which tells the set from a later namesake.",
        ),
        "no-upgrade-policy": (mode, "The model names no upgrade mode; it is taken as Manual."),
        "no-capacity": (capacity, f"The model has no capacity; it is taken as the {model.capacity} listed."),
        "no-image": (model.image is not None, "The model names no image."),
        "no-os": (model.os is not OperatingSystem.UNKNOWN, "Nothing says whether this is Linux or Windows."),
        "no-provisioning-state": (
            model.provisioning is not Provisioning.UNKNOWN,
            "The model does not tell its provisioning state in a known word.",
        ),
        "no-health-source": (
            model.health_source is not HealthSource.NONE,
            "The model has neither an application health extension nor a health probe.",
        ),
        "no-repairs-state": (
            repairs,
            "Only the set's instance view tells whether automatic repairs are suspended; add it to the model document"
            " as `instanceView`.",
        ),
    }
    supply = {"no-health-source": "", "no-repairs-state": "set-view"}
    return [
        Gap(code, says, _command(supply.get(code, "show"), model)) for code, (known, says) in told.items() if not known
    ]


def list_gaps(model: Model, lists: Sequence[tuple[Node, list[Node]]], count: int) -> list[Gap]:
    """What the lists of instances left out."""
    found = {}
    if not count:
        found["no-instances"] = "The instance list is empty." if lists else "No instance list was given."
    if lists and all(node.has("nextLink") for node, _ in lists):
        found["list-incomplete"] = "The list goes on at its nextLink, and no last page was given."
    elif count and count != model.capacity:
        found["capacity-differs"] = (
            f"{count} instances are listed and the capacity is {model.capacity}: the list is filtered, or the set is"
            " still scaling or overprovisioned."
        )
    return [Gap(code, says, _command("list", model)) for code, says in found.items()]


def _has_exact_version(instance: Instance) -> bool:
    image = instance.image
    if image is None:
        return False
    if image.uri or image.exact_version:
        return True
    if image.id:  # a managed image has no versions; a gallery image's id may name one
        return "/galleries/" not in image.id.lower() or "/versions/" in image.id.lower()
    return (image.version or "latest").lower() != "latest"


# What an instance may leave untold. The first five stand in the instance view only.
_UNTOLD = {
    "no-instance-view": "carry an instance view",
    "no-power-state": "tell their power state",
    "health-not-reported": "report health, though the model has a health source",
    "no-update-domains": "tell their update domain",
    "no-fault-domains": "tell their fault domain",
    "no-zones": "tell their zone",
    "no-exact-version": "tell exactly which image they booted",
    "no-latest-model": "tell whether they are on the latest model",
    "no-instance-provisioning-state": "tell their provisioning state in a known word",
    "no-protection": "tell whether they are protected",
    "no-os-disk": "name their OS disk",
    "no-vm-id": "tell their vmId",
}
_VIEW_ONLY = tuple(_UNTOLD)[:5]
# By design not shown for the VMs of a Flexible set (azure-vmss.md 3.2, 5).
_NEVER_FLEXIBLE = ("no-update-domains", "no-fault-domains", "no-latest-model")


def _untold(each: Seen, model: Model) -> set[str]:
    instance = each.instance
    told = {
        "no-instance-view": each.viewed,
        "no-power-state": instance.power is not Power.UNKNOWN,
        "health-not-reported": model.health_source is HealthSource.NONE or instance.health is not Health.ABSENT,
        "no-update-domains": instance.update_domain is not None,
        "no-fault-domains": instance.fault_domain is not None,
        "no-zones": not model.zones or instance.zone is not None,
        "no-exact-version": _has_exact_version(instance),
        "no-latest-model": instance.latest_model is not None,
        "no-instance-provisioning-state": instance.provisioning is not Provisioning.UNKNOWN,
        "no-protection": each.protection_told,
        "no-os-disk": instance.os_disk is not None,
        "no-vm-id": bool(instance.vm_id),
    }
    return {code for code, known in told.items() if not known}


def instance_gaps(model: Model, seen: Sequence[Seen]) -> list[Gap]:
    """What instances left out, a code for all that did."""
    gaps, untold = [], [(each, _untold(each, model)) for each in seen]
    for code, words in _UNTOLD.items():
        silent = [each for each, codes in untold if code in codes]
        # Asking again is vain where it is never shown, or where the view was given and says nothing.
        hidden = model.orchestration is Orchestration.FLEXIBLE and code in _NEVER_FLEXIBLE
        vain = hidden or (code in _VIEW_ONLY and all(each.viewed for each in silent))
        says = f"{len(silent)} of {len(seen)} instances do not {words}."
        if silent:
            gaps.append(Gap(code, says, "" if vain else _command("list", model)))
    return gaps


def _command(supply: str, model: Model) -> str:
    """Write the az command, with the set's own name and group where they are known."""
    match = SET_ID.fullmatch(model.id)
    group, name = shlex.quote(match["group"]) if match else "RESOURCE_GROUP", shlex.quote(model.name)
    if supply == "list" and model.orchestration is Orchestration.FLEXIBLE:
        # list-instances answers ids only for a Flexible set (recorded, 2023); its VMs are plain VMs of the group.
        query = shlex.quote(f"[?ends_with(virtualMachineScaleSet.id || '', '/{model.name}')].id")
        return f"az vm get-instance-view --ids $(az vm list -g {group} --query {query} -o tsv) -o json"
    return {
        "show": f"az vmss show -g {group} -n {name} -o json",
        "set-view": f"az vmss get-instance-view -g {group} -n {name} -o json",
        "list": f"az vmss list-instances -g {group} -n {name} --expand instanceView -o json",
    }.get(supply, "")
