"""What hooks of instances are told beside ids: from documents of Azure's shape, and over the emulator."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import requests

from backends.azure.facts import of_instances, of_interfaces
from tests.azure_arm import SET, Arm, Told, backend, error, listening
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


def looked_up(azure: Emulated) -> dict[str, dict[str, str]]:
    environment = {
        "EMULATOR_CONTROL": str(azure.http_url),
        "EMULATOR_TOKEN": azure.token,
        "EMULATOR_CA": azure.ca,
        "EMULATOR_SET": azure.id,
    }
    backend = over_azure(None, azure.url, environment)
    found = backend.facts()
    backend.close()
    return found


def test_over_the_emulator(vmss_emulator: Callable[..., Emulated]) -> None:
    found = looked_up(vmss_emulator("two-vms", clock="manual", http=True))
    assert sorted(found) == ["0", "1"]
    assert all(one["computer_name"] for one in found.values())
    first, second = (ip_address(found[name]["address"]) for name in "01")
    assert int(second) - int(first) == 1
    assert first.is_private


FLEXIBLE = """
title = "Three of a Flexible set"
why = "Their interfaces are resources of the group."

[scale_set]
instances = 3
flexible = true
health = "extension"

[change]
version = "22.04.202606010"

[load]
required = "50%"
"""


def test_of_a_flexible_set_over_the_emulator(vmss_emulator: Callable[..., Emulated], tmp_path: Path) -> None:
    """The list is the group's: it has others' interfaces, too. What a VM says of its interface is found under that id."""
    (tmp_path / "flexible.toml").write_text(FLEXIBLE)
    azure = vmss_emulator(str(tmp_path / "flexible.toml"), clock="manual", http=True)
    group = azure.id.partition("/providers/")[0]

    def ask(method: str, path: str, **more: Any) -> Any:
        made = requests.request(
            method, f"{azure.url}{path}", params={"api-version": "2024-05-01"}, headers={"Authorization": "Bearer any"},
            verify=azure.ca, timeout=30, **more,
        )  # fmt: skip
        return made.json() if made.ok else made.status_code

    other = interface("somebody-else", ("10.9.9.9", True))
    ask("PUT", f"{group}/providers/Microsoft.Network/networkInterfaces/other", json=other)
    found = looked_up(azure)
    assert len(found) == 3
    assert len({one["address"] for one in found.values()}) == 3
    assert "10.9.9.9" not in {one["address"] for one in found.values()}
    listed = ask("GET", f"{group}/providers/Microsoft.Network/networkInterfaces")["value"]
    assert len(listed) == 4
    vm = ask("GET", f"{group}/providers/Microsoft.Compute/virtualMachines/{next(iter(found))}")
    (card,) = vm["properties"]["networkProfile"]["networkInterfaces"]
    assert ask("GET", card["id"])["properties"]["virtualMachine"]["id"] == vm["id"]
    assert ask("GET", f"{azure.id}/networkInterfaces") == 404
    assert ask("GET", f"{group}/providers/Microsoft.Network/networkInterfaces/none") == 404


def test_interfaces_that_may_not_be_read_are_left_out() -> None:
    vms = SET.rpartition("/virtualMachineScaleSets")[0] + "/virtualMachines"
    cards = SET.partition("/providers/")[0] + "/providers/Microsoft.Network/networkInterfaces"
    one = {"name": "web_1", "id": f"{vms}/web_1", "properties": {"vmId": "v", "osProfile": {"computerName": "web1"}}}
    card = {"properties": {**interface("", ("10.0.0.7", True))["properties"], "virtualMachine": {"id": f"{vms}/web_1"}}}
    with listening(Arm(orchestrationMode="Flexible")) as arm:
        arm.tell("GET", vms, Told(body={"value": [one]}))
        arm.tell("GET", cards, error(403, "AuthorizationFailed"))
        assert backend().facts() == {"web_1": {"computer_name": "web1"}}
        arm.tell("GET", cards, Told(body={"value": [interface("web_9", ("10.0.0.9", True)), card]}))
        assert backend().facts() == {"web_1": {"computer_name": "web1", "address": "10.0.0.7"}}
        assert not any("virtualMachineScaleSets/web/networkInterfaces" in call.path for call in arm.calls)
