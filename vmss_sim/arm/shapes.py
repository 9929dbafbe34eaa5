"""What the instances of a set have in common: the parts of their documents that come from the model they were given.

Contract: a `Shape` is worked out once for a model and an answer, and its parts are shared by the instances in it: nobody changes
them. An instance that does not have the latest model shows the model it was given last, as far as the set remembers it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vmss_sim.arm import versions
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.wire import SECRET, Body, lay_over, shown
from vmss_sim.world.scale_set import Vm

SIZES = ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_D8s_v5", "Standard_D16s_v5", "Standard_D32s_v5")
"""A size where nobody names one, and its neighbours."""
REMEMBERED = 50
"""How many models are remembered before those that no instance has are forgotten."""
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Extension(NamedTuple):
    """An extension of the model: its name, publisher and type, version, and its properties as an instance shows them."""

    name: str
    kind: str
    version: str
    properties: Body


class Shape(NamedTuple):
    """One model as its instances show it. disk: osDisk without name and id; prefix: of computer names."""

    size: str
    tags: Body | None
    windows: bool
    prefix: str
    os_profile: Body
    disk: Body
    storage: Body
    unmanaged: bool
    data_disks: list[Any]
    interfaces: list[Any]
    extensions: tuple[Extension, ...]
    beside: Body
    user_data: str | None


BESIDE = ("licenseType", "priority", "evictionPolicy", "billingProfile", "securityProfile", "diagnosticsProfile")
"""What of the profile an instance shows as it is (recorded)."""


class Shapes:
    """The shapes of one set, for one answer."""

    def __init__(self, one: ArmSet, version: str = "") -> None:
        self.one, self.version = one, version
        self._made: dict[int, Shape] = {}

    def of(self, vm: Vm) -> Shape:
        """The model that a VM shows."""
        known = self._made.get(vm.content)
        if known is None:
            one = self.one
            current = vm.content == one.world.content
            document = one.document if current else one.models.get(vm.content, one.document)
            known = self._made[vm.content] = _shape(one, document, current, self.version)
        return known

    @property
    def latest(self) -> Shape:
        """The set's present model."""
        one = self.one
        known = self._made.get(one.world.content)
        if known is None:
            known = self._made[one.world.content] = _shape(one, one.document, True, self.version)
        return known


def remember(one: ArmSet) -> None:
    """The set's model was changed by a client: what it is now, for the instances that get it. What no instance has is forgotten."""
    one.models[one.world.content] = one.document
    if len(one.models) > REMEMBERED:
        held = one.world.held_contents("content") | {-1}
        one.models = {content: document for content, document in one.models.items() if content in held}


def extensions_of(one: ArmSet, vm: Vm, shape: Shape) -> tuple[Extension, ...]:
    """The extensions of a VM: its model's, with what was written of it alone over them, as long as it has the OS disk on which that stands."""
    written = one.instances.get(vm.vm_id, {}).get("extensions", {})
    own = {name: each["document"] for name, each in written.items() if each["disk"] == vm.disk}
    if not own:
        return shape.extensions
    found: dict[str, Extension | None] = {each.name.lower(): each for each in shape.extensions}
    found |= {name: None if document is None else _extension(document) for name, document in own.items()}
    return tuple(each for each in found.values() if each is not None)


def computer_name(shape: Shape, vm: Vm) -> str:
    """The host name of a VM: the set's prefix and six digits to the base 36 (Uniform), or the end of its name."""
    if not vm.id.isdecimal():
        return f"{shape.prefix}{vm.id[-6:]}"
    number, text = int(vm.id), ""
    while number:
        number, digit = divmod(number, 36)
        text = _BASE36[digit] + text
    return f"{shape.prefix}{text:0>6}"


def os_disk(one: ArmSet, vm: Vm) -> str:
    """The name of a VM's OS disk: another one whenever the disk is replaced."""
    known = vm.machine.os_disk
    if known:
        return f"{known}{vm.disk}" if vm.disk else known
    return f"{one.name}_{one.name}_{vm.id}_OsDisk_1_{vm.disk:032x}"


def _shape(one: ArmSet, document: Body, current: bool, version: str) -> Shape:
    properties = document.get("properties") or {}
    profile = shown(properties.get("virtualMachineProfile") or {}, SECRET)
    sku = dict(document.get("sku") or {})
    if current:  # what the world knows better
        whole: Body = {"sku": sku, "properties": {"virtualMachineProfile": profile}}
        lay_over(whole, {path: value for path, value in one.world.model.items() if path.startswith(("sku.", _PROFILE))})
    profile = versions.deep(profile, version, "virtualMachineProfile")
    user_data = profile.pop("userData", None)
    storage, system = profile.get("storageProfile") or {}, dict(profile.get("osProfile") or {})
    disk = {name: value for name, value in (storage.get("osDisk") or {}).items() if name not in _OF_THE_MODEL}
    network = profile.get("networkProfile") or {}
    prefix = str(system.pop("computerNamePrefix", None) or one.name[:9])
    said = str(disk.get("osType") or "").lower()
    return Shape(
        size=str(sku.get("name") or SIZES[0]),
        tags=document.get("tags"),
        windows=said == "windows" or (not said and "windowsConfiguration" in system),
        prefix=prefix,
        os_profile=system,
        disk=disk,
        storage={name: storage[name] for name in ("diskControllerType",) if name in storage},
        unmanaged=any(name in (storage.get("osDisk") or {}) for name in ("vhdContainers", "image")),
        data_disks=storage.get("dataDisks") or [],
        interfaces=network.get("networkInterfaceConfigurations") or [],
        extensions=tuple(_extension(each) for each in (profile.get("extensionProfile") or {}).get("extensions") or []),
        beside={
            **{name: profile[name] for name in BESIDE if name in profile},
            **{name: properties[name] for name in ("additionalCapabilities",) if name in properties},
        },
        user_data=user_data,
    )


_PROFILE = "properties.virtualMachineProfile."
_OF_THE_MODEL = frozenset({"vhdContainers", "image", "name"})


def _extension(each: Body) -> Extension:
    inner = each.get("properties") or {}
    properties = {**inner, "provisioningState": "Succeeded"}
    kind = f"{inner.get('publisher', '')}.{inner.get('type', '')}"
    return Extension(str(each.get("name", "")), kind, str(inner.get("typeHandlerVersion", "")), properties)
