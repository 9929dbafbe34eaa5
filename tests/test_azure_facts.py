"""What hooks of instances are told beside ids: from documents of Azure's shape, and over the emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends.azure.facts import of_instances, of_interfaces
from tests.loopback_process import over_azure
from vmss_sim.checks.emulated import Emulated

VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/web/virtualMachines/"


def interface(vm: str, *addresses: tuple[str, bool], primary: bool = True) -> dict[str, Any]:
    configurations = [
        {"name": "ip", "properties": {"privateIPAddress": address, "primary": first}} for address, first in addresses
    ]
    facts = {"primary": primary, "virtualMachine": {"id": VM + vm}, "ipConfigurations": configurations}
    return {"name": "nic", "properties": facts}


def test_the_address_is_that_of_the_primary_configuration_of_the_primary_interface() -> None:
    pages = [
        {
            "value": [
                interface("0", ("10.0.0.9", False), ("10.0.0.4", True)),
                interface("0", ("10.9.9.9", True), primary=False),
            ]
        },
        {"value": [interface("1", ("10.0.0.5", True)), {"name": "alone", "properties": {}}, interface("2")]},
    ]
    assert of_interfaces(pages) == {"0": "10.0.0.4", "1": "10.0.0.5"}


def test_computer_names_by_instance_id_or_by_name() -> None:
    pages = [
        {"value": [{"instanceId": "0", "name": "web_0", "properties": {"osProfile": {"computerName": "web000000"}}}]},
        {"value": [{"name": "flex_1", "properties": {}}, {"properties": {}}]},
    ]
    assert of_instances(pages) == {"0": {"computer_name": "web000000"}, "flex_1": {}}


def test_over_the_emulator(vmss_emulator: Callable[..., Emulated]) -> None:
    azure = vmss_emulator("two-vms", clock="manual", http=True)
    environment = {
        "EMULATOR_CONTROL": str(azure.http_url),
        "EMULATOR_TOKEN": azure.token,
        "EMULATOR_CA": azure.ca,
        "EMULATOR_SET": azure.id,
    }
    backend = over_azure(None, azure.url, environment)
    found = backend.facts()
    backend.close()
    assert sorted(found) == ["0", "1"]
    assert all(one["computer_name"] for one in found.values())
