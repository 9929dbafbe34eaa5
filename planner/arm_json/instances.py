"""What a document says of instances: rules 3 to 5, 7 and 9 of `planner.arm_json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from planner.arm_json.documents import SET_ID, VM_ID, Identity, describe, id_of, is_instance, is_plain_vm
from planner.arm_json.node import AS_GIVEN, NAME_MAX, Node, found_words, open_word
from planner.errors import InputError
from planner.model import Health, ImageReference, Instance, OperatingSystem, Power, Provisioning


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, and how much its document said."""

    instance: Instance
    where: str
    viewed: bool
    protection_told: bool
    os: OperatingSystem | None


def own_items(items: Sequence[Node], identity: Identity) -> Iterable[Node]:
    """Rule 7."""
    for item in items:
        if not is_instance(item):
            raise InputError("not an instance of a scale set", item.where(), describe(item), "an instance", AS_GIVEN)
        facts = item.facts()
        own = SET_ID.fullmatch(item.text("id") or "")
        if own is None:
            own = SET_ID.fullmatch(facts.object("virtualMachineScaleSet").text("id") or "")
            if own is None and is_plain_vm(item):
                fix = "keep only those whose virtualMachineScaleSet.id is the set's (az: --query)"
                raise InputError(
                    "a VM of no scale set", item.where(), found_words(id_of(item)), f"one of {identity.name}", fix
                )
        if own is not None:
            wanted, got = (identity.id, own["set"]) if identity.id else (identity.name, own["name"])
            if wanted.lower() != got.lower():
                fix = "give the model and the instances of one set"
                raise InputError("an instance of another scale set", item.where(), got, wanted, fix)
        yield item


def refuse_duplicates(seen: Sequence[Seen]) -> None:
    """Raises InputError where an instance stands twice."""
    first: dict[str, str] = {}
    for each in seen:
        key = each.instance.id.lower()
        if key in first:
            fix = "give each page of the list once"
            what = f"instance {each.instance.id!r} stands twice"
            raise InputError(what, each.where, f"the first at {first[key]}", "every id once", fix)
        first[key] = each.where


def _instance_id(item: Node) -> str:
    own = SET_ID.fullmatch(id_of(item)) or VM_ID.fullmatch(id_of(item))
    found = item.text("instanceId") or (own["instance"] if own else None) or item.text("name")
    if not found or len(found) > NAME_MAX:
        expected = f"instanceId, id or name of at most {NAME_MAX} characters"
        raise InputError("an instance has no usable instanceId", item.where(), "", expected, AS_GIVEN)
    return found


def read_instance(item: Node) -> Seen:
    """One instance."""
    facts = item.facts()
    view, storage = facts.object("instanceView"), facts.object("storageProfile")
    os_disk, protection = storage.object("osDisk"), facts.object("protectionPolicy")
    projected = not item.text("name") and not facts.has("storageProfile")
    codes = [status.text("code") or "" for status in view.objects("statuses")]
    provisioning, error = provisioning_of(facts.get("provisioningState"), codes)
    latest = facts.flag("latestModelApplied")
    managed = (os_disk.object("managedDisk").text("id") or "").rpartition("/")[2]
    fault_domain = _domain(view.integer("platformFaultDomain"), facts.integer("platformFaultDomain"))
    phase, skip = _custom_metrics(view)
    instance = Instance(
        id=_instance_id(item),
        vm_id=facts.text("vmId") or "",
        zone=next(iter(item.texts("zones")), None),  # recorded: zones [null] in lists of Flexible sets
        placement_group=view.text("placementGroupId") or view.text("groupId"),  # groupId: 2016-04-30-preview (recorded)
        update_domain=_domain(view.integer("platformUpdateDomain")),
        fault_domain=fault_domain,
        image=image_of(storage),
        latest_model=None if projected and not latest else latest,
        provisioning=provisioning,
        provisioning_error=error,
        power=_power(codes, facts.text("powerState")),
        health=_health(view.object("vmHealth").object("status").text("code")),
        protected=protection.flag("protectFromScaleSetActions") or False,
        scale_in_protected=protection.flag("protectFromScaleIn") or False,
        os_disk=os_disk.text("name") or managed or os_disk.object("vhd").text("uri"),
        upgrade_phase=phase,
        skip_upgrade=skip,
    )
    return Seen(
        instance=instance,
        where=item.where(),
        viewed=bool(view.value),
        protection_told=bool(protection.value) or facts.has("storageProfile"),
        os=os_disk.closed("osType", OperatingSystem),
    )


def _domain(*told: int | None) -> int | None:
    """-1 is how a VM asks for any domain (virtualMachines, platformFaultDomain): not a domain."""
    return next((number for number in told if number is not None and number >= 0), None)


def _states(codes: Iterable[str], kind: str) -> list[list[str]]:
    """Split each status code of that kind into the parts after `kind/`."""
    return [parts[1:] for parts in (code.split("/") for code in codes) if parts[0].lower() == kind and len(parts) > 1]


def provisioning_of(told: Node, codes: Iterable[str]) -> tuple[Provisioning, str | None]:
    """Rule 4."""
    if told and (isinstance(told.value, bool) or not isinstance(told.value, str | int)):
        raise told.wrong("text")
    said = told.value if isinstance(told.value, str) else None
    found = [(open_word(Provisioning, word), rest) for word, *rest in _states(codes, "provisioningstate")]
    failed = next((rest for state, rest in found if state is Provisioning.FAILED), None)
    if said:
        state = open_word(Provisioning, said)
        if failed is None or state not in (Provisioning.SUCCEEDED, Provisioning.FAILED):
            return state, None
    if failed is not None:
        return Provisioning.FAILED, "/".join(failed) or None
    if any(part.lower() == "osprovisioninginprogress" for _, rest in found for part in rest):
        return Provisioning.CREATING, None
    return next((state for state, _ in found), Provisioning.UNKNOWN), None


def _power(codes: Iterable[str], shown: str | None) -> Power:
    """From the view, else from what `az vm list --show-details` adds: powerState "VM running"."""
    words = [word for word, *_ in _states(codes, "powerstate")] or (shown or "").split()[-1:]
    return open_word(Power, next(iter(words), None))


def _health(code: str | None) -> Health:
    if code is None:
        return Health.ABSENT
    words = _states([code], "healthstate")
    return open_word(Health, words[0][0] if words else None)


def _custom_metrics(view: Node) -> tuple[int | None, bool]:
    """Rule 9: (PhaseOrderingNumber, SkipUpgrade)."""
    for extension in view.objects("extensions"):
        for status in extension.objects("substatuses"):
            if (status.text("code") or "").lower().startswith("componentstatus/custommetrics/"):
                told = _json(_json(status.text("message")))
                asked = told.get("rollingUpgrade") if isinstance(told, dict) else None
                if isinstance(asked, dict):
                    phase = asked.get("PhaseOrderingNumber")
                    return phase if type(phase) is int else None, asked.get("SkipUpgrade") is True
    return None, False


def _json(value: Any) -> Any:
    """Text that holds JSON, as what it holds; anything else as it is."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return None


def image_of(storage: Node) -> ImageReference | None:
    """Rule 5."""
    node = storage.object("imageReference")
    image_id = node.text("id") or node.text("sharedGalleryImageId") or node.text("communityGalleryImageId")
    image = ImageReference(
        publisher=node.text("publisher"),
        offer=node.text("offer"),
        sku=node.text("sku"),
        version=node.text("version"),
        exact_version=node.text("exactVersion"),
        id=image_id,
    )
    if image != ImageReference():
        return image
    uri = storage.object("osDisk").object("image").text("uri")
    return ImageReference(uri=uri) if uri else None
