"""Network interfaces of instances, as `Microsoft.Network` shows them. Pure; nothing can be written there.

Rules (REC: 47 lists of Uniform sets, 2016 to 2021; azure-cli #28258 and terraform-provider-azurerm #22439 for Flexible sets):

1. A Uniform set's stand below the set, under the names that its model gives them; the list of an instance has its own alone.
2. A Flexible set's are resources of its group, named after card and VM; below the set there are none: 404.
3. The model says what there is of interfaces and IP configurations, which are primary, and in which subnet; an address stays with its VM.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from planner.model import id_key
from vmss_sim.arm.http import Refused
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.shapes import Shapes
from vmss_sim.arm.site import Site
from vmss_sim.arm.wire import Body
from vmss_sim.world.vm import Vm

KIND = "Microsoft.Network/networkInterfaces"
NAME = "networkinterfaces"


def of_set(site: Site, subscription: str, group: str, name: str) -> list[Body]:
    """Those below a set (`web`) or an instance (`web/0`). Raises Refused (rule 2)."""
    set_name, _, vm = name.partition("/")
    one = site.find(subscription, group, set_name)
    vms = [] if one is None else [each for each in _vms(one) if vm in ("", each.id)]
    if one is None or one.world.config.flexible or (vm and not vms):
        path = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachineScaleSets/{set_name}"
        raise Refused(404, "NotFound", f"Resource {path} not found.")
    return [nic for each in vms for nic in _cards(one, each, Shapes(one))]


def of_group(site: Site, scope: str) -> list[Body]:
    """Those of a group's Flexible sets."""
    return list(_of_flexible(site, scope))


def find(site: Site, scope: str, name: str) -> Body | None:
    """One of a Flexible set's."""
    return next((nic for nic in _of_flexible(site, scope) if nic["name"].lower() == name.lower()), None)


def id_of(one: ArmSet, vm: Vm, card: str) -> str:
    """The id of a VM's interface (rules 1 and 2)."""
    if one.world.config.flexible:
        return f"/subscriptions/{one.subscription}/resourceGroups/{one.group}/providers/{KIND}/{card}-{vm.id}"
    return f"{one.id}/virtualMachines/{vm.id}/networkInterfaces/{card}"


def _of_flexible(site: Site, scope: str) -> Iterator[Body]:
    prefix = f"{scope}/".lower()
    for one in site.sets:
        if one.world.config.flexible and one.id.lower().startswith(prefix):
            shapes = Shapes(one)
            for vm in _vms(one):
                yield from _cards(one, vm, shapes)


def _vms(one: ArmSet) -> list[Vm]:
    return sorted(one.world.vms.values(), key=lambda vm: id_key(vm.id))


def _cards(one: ArmSet, vm: Vm, shapes: Shapes) -> Iterator[Body]:
    flexible = one.world.config.flexible
    machine = f"/subscriptions/{one.subscription}/resourceGroups/{one.group}/providers/Microsoft.Compute/virtualMachines/{vm.id}"
    for place, card in enumerate(shapes.of(vm).interfaces):
        facts = card.get("properties") or {}
        identity = id_of(one, vm, str(card.get("name", "")))
        addresses = [
            _configuration(each, f"{identity}/ipConfigurations", _address(one, vm, place, number))
            for number, each in enumerate(facts.get("ipConfigurations") or ())
        ]
        more: Body = {"type": KIND, "location": one.location} if flexible else {}
        yield {
            "name": identity.rpartition("/")[2],
            "id": identity,
            **more,
            "properties": {
                "provisioningState": "Succeeded",
                "ipConfigurations": addresses,
                "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
                "enableAcceleratedNetworking": bool(facts.get("enableAcceleratedNetworking")),
                "enableIPForwarding": bool(facts.get("enableIPForwarding")),
                "primary": facts.get("primary", place == 0),
                "virtualMachine": {"id": machine if flexible else f"{one.id}/virtualMachines/{vm.id}"},
            },
        }


def _configuration(said: Any, parent: str, address: str) -> Body:
    facts = said.get("properties") or {}
    kept = {name: facts[name] for name in ("subnet", "privateIPAddressVersion") if name in facts}
    shown = {"provisioningState": "Succeeded", "privateIPAddress": address, "privateIPAllocationMethod": "Dynamic"}
    return {
        "name": said.get("name", ""),
        "id": f"{parent}/{said.get('name', '')}",
        "properties": {**shown, **kept, "primary": facts.get("primary", True)},
    }


def _address(one: ArmSet, vm: Vm, card: int, number: int) -> str:
    """10.x.y.z: of a Uniform set counted by instance ids within a net of its own, of a Flexible set by a digest of the VM's."""
    at = 4 + int(vm.id) if vm.id.isdecimal() else zlib.crc32(vm.vm_id.encode())
    of = zlib.crc32(f"{one.id.lower()} {card} {number}".encode())
    return f"10.{of & 255}.{at >> 8 & 255}.{at & 255}"
