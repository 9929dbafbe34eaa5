"""Every member of a full resource is given a value of another kind, one at a time: refused, or read, and never an error of ours.

Also what was accepted is then read in every way, updated and carried to the instances: a value that is believed shows up there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.arm_site import Client, config
from vmss_sim.arm import kinds

FULL: dict[str, Any] = {
    "location": "westeurope",
    "tags": {"a": "b"},
    "zones": ["1"],
    "plan": {"name": "p"},
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/x": {}}},
    "extendedLocation": {"name": "l", "type": "EdgeZone"},
    "sku": {"name": "s", "tier": "t", "capacity": 2},
    "properties": {
        "singlePlacementGroup": True,
        "overprovision": True,
        "scaleInPolicy": {"rules": ["Default"]},
        "upgradePolicy": {
            "mode": "Manual",
            "rollingUpgradePolicy": {
                "maxBatchInstancePercent": 20,
                "pauseTimeBetweenBatches": "PT0S",
                "maxSurge": False,
            },
            "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": False},
        },
        "automaticRepairsPolicy": {"enabled": False, "gracePeriod": "PT10M", "repairAction": "Replace"},
        "virtualMachineProfile": {
            "licenseType": "l",
            "userData": "dQ==",
            "priority": "Regular",
            "securityProfile": {"securityType": "Standard"},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
            "osProfile": {
                "computerNamePrefix": "a",
                "adminUsername": "b",
                "adminPassword": "c",
                "customData": "d",
                "linuxConfiguration": {"ssh": {"publicKeys": [{"path": "p", "keyData": "k"}]}},
                "secrets": [{"sourceVault": {"id": "x"}, "vaultCertificates": [{"certificateUrl": "u"}]}],
            },
            "storageProfile": {
                "imageReference": {"publisher": "P", "offer": "O", "sku": "S", "version": "1"},
                "osDisk": {
                    "osType": "Linux",
                    "createOption": "FromImage",
                    "managedDisk": {"storageAccountType": "Premium_LRS"},
                    "diffDiskSettings": {"option": "Local"},
                },
                "dataDisks": [{"lun": 0, "createOption": "Empty"}],
            },
            "networkProfile": {
                "healthProbe": {"id": "i"},
                "networkInterfaceConfigurations": [
                    {
                        "name": "n",
                        "properties": {
                            "primary": True,
                            "ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": "s"}}}],
                        },
                    }
                ],
            },
            "extensionProfile": {
                "extensions": [
                    {
                        "name": "H",
                        "properties": {
                            "publisher": "Microsoft.ManagedServices",
                            "type": "ApplicationHealthLinux",
                            "typeHandlerVersion": "2.0",
                            "settings": {
                                "protocol": "http",
                                "intervalInSeconds": 5,
                                "numberOfProbes": 1,
                                "gracePeriod": 10,
                            },
                            "protectedSettings": {"a": 1},
                        },
                    }
                ]
            },
        },
    },
}
OTHER: tuple[Any, ...] = (None, 1, [None], {"a": {"b": 1}})
READS = ("", "/instanceView", "/virtualMachines", "/virtualMachines/0")


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value[key], (*above, key))


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    made = copy.copy(value)
    made[place[0]] = _with(value[place[0]], place[1:], new)
    return made


def _branch(place: tuple[Any, ...], new: Any) -> Any:
    for key in reversed(place):
        new = {key: new} if isinstance(key, str) else [new]
    return new


def errors_of_ours(method: str, name: str, bodies: Iterator[Any]) -> list[Any]:
    """The bodies that led to an error of ours, there or later."""
    found = []
    for body in bodies:
        client = Client(config(1), throttle=False)
        path = client.set if name == "web" else client.set.removesuffix("web") + name
        answers = [client.ask(method, path, body)]
        if answers[0].status < 300:
            client.clock.advance(400_000)
            answers += [client.ask("GET", path + read, **{"$expand": "instanceView"}) for read in READS]
            answers += [client.ask("PATCH", path, {"sku": {"capacity": 2}})]
            answers += [client.ask("POST", path + "/manualupgrade", {"instanceIds": ["*"]})]
            client.clock.advance(400_000)
            answers += [
                client.ask("GET", path + "/virtualMachines", **{"$expand": "instanceView"}, version="2017-03-30")
            ]
        if any(one.status >= 500 for one in answers):
            found.append(body)
    return found


@pytest.mark.parametrize(("method", "name"), [("PUT", "web"), ("PUT", "new"), ("PATCH", "web")])
def test_no_value_of_another_kind_is_believed(method: str, name: str) -> None:
    make = _branch if method == "PATCH" else lambda place, new: _with(FULL, place, new)
    assert not errors_of_ours(method, name, (make(place, new) for place in _places(FULL) for new in OTHER))


OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "/extensions/mine": (
        "PUT",
        {
            "location": "westeurope",
            "properties": {
                "publisher": "p",
                "type": "t",
                "typeHandlerVersion": "1.0",
                "autoUpgradeMinorVersion": True,
                "provisionAfterExtensions": ["x"],
                "settings": {"a": 1},
                "protectedSettings": {"a": 1},
            },
        },
    ),
    "/attachDetachDataDisks": (
        "POST",
        {
            "dataDisksToAttach": [
                {
                    "diskId": "/disks/a",
                    "lun": 1,
                    "caching": "None",
                    "deleteOption": "Detach",
                    "writeAcceleratorEnabled": False,
                    "diskEncryptionSet": {"id": "/e"},
                }
            ],
            "dataDisksToDetach": [{"diskId": "/disks/b", "detachOption": "ForceDetach"}],
        },
    ),
}
"""What is written of one instance alone."""


@pytest.mark.parametrize("path", OWN)
def test_nor_of_one_instance(path: str) -> None:
    method, full = OWN[path]
    for place in _places(full):
        for new in OTHER:
            client = Client(config(1), throttle=False)
            client.ask(
                "POST", "/virtualMachines/0/attachDetachDataDisks", {"dataDisksToAttach": [{"diskId": "/disks/b"}]}
            )
            body = _with(full, place, new)
            answers = [client.ask(method, f"/virtualMachines/0{path}", body)]
            answers += [client.ask("PATCH", f"/virtualMachines/0{path}", body)]
            client.clock.advance(400_000)
            reads = (*READS, "/virtualMachines/0/instanceView", "/virtualMachines/0/extensions")
            answers += [client.ask("GET", read, **{"$expand": "instanceView"}) for read in reads]
            assert [one.status for one in answers if one.status >= 500] == [], (place, new)


def test_a_value_that_is_believed_is_found(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(kinds.KINDS, "dataDisks", "any")
    place = ("properties", "virtualMachineProfile", "storageProfile", "dataDisks")
    assert errors_of_ours("PATCH", "web", (_branch(place, new) for new in OTHER))
