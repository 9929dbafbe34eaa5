"""What the service fills in: by its rules, whatever a client says or leaves out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmss_sim.arm import defaults, versions

Body = dict[str, Any]


def _new(**properties: Any) -> Body:
    profile = {
        "osProfile": {"computerNamePrefix": "web"},
        "storageProfile": {"imageReference": {"publisher": "Canonical"}},
        "networkProfile": {
            "networkInterfaceConfigurations": [
                {"name": "nic", "properties": {"ipConfigurations": [{"name": "ip", "properties": {}}]}}
            ]
        },
    }
    return {
        "location": "westus",
        "sku": {"name": "Standard_DS1_v2", "capacity": 2},
        "properties": {"upgradePolicy": {"mode": "Manual"}, "virtualMachineProfile": profile, **properties},
    }


def _profile(document: Body) -> Body:
    profile: Body = document["properties"]["virtualMachineProfile"]
    return profile


def test_a_creation_gets_what_it_leaves_out() -> None:
    made = defaults.fill(_new(), {})
    properties, profile = made["properties"], _profile(made)
    assert made["sku"] == {"name": "Standard_DS1_v2", "capacity": 2, "tier": "Standard"}
    assert (properties["singlePlacementGroup"], properties["overprovision"]) == (True, True)
    assert properties["platformFaultDomainCount"] == 5
    assert "rollingUpgradePolicy" not in properties["upgradePolicy"]
    assert profile["osProfile"]["linuxConfiguration"] == {
        "disablePasswordAuthentication": False,
        "provisionVMAgent": True,
    }
    assert profile["storageProfile"]["osDisk"] == {
        "createOption": "FromImage",
        "caching": "None",
        "osType": "Linux",
        "managedDisk": {"storageAccountType": "Standard_LRS"},
        "diskSizeGB": 30,
    }
    card = profile["networkProfile"]["networkInterfaceConfigurations"][0]["properties"]
    assert card["dnsSettings"] == {"dnsServers": []}
    assert card["ipConfigurations"][0]["properties"] == {"privateIPAddressVersion": "IPv4"}


def test_an_image_decides_the_system_and_the_size_of_its_disk() -> None:
    document = _new()
    _profile(document)["storageProfile"]["imageReference"] = {"publisher": "MicrosoftWindowsServer"}
    profile = _profile(defaults.fill(document, {}))
    assert profile["osProfile"]["windowsConfiguration"] == {"provisionVMAgent": True, "enableAutomaticUpdates": True}
    assert (profile["storageProfile"]["osDisk"]["osType"], profile["storageProfile"]["osDisk"]["diskSizeGB"]) == (
        "Windows",
        127,
    )


def test_an_unmanaged_disk_has_neither_size_nor_account() -> None:
    document = _new()
    _profile(document)["storageProfile"]["osDisk"] = {"vhdContainers": ["https://a"], "createOption": "FromImage"}
    disk = _profile(defaults.fill(document, {}))["storageProfile"]["osDisk"]
    assert "managedDisk" not in disk
    assert "diskSizeGB" not in disk


@pytest.mark.parametrize(
    ("zones", "priority", "mode", "single", "domains", "balance"),
    [
        (["1"], None, None, False, 1, None),
        (["1", "2"], None, None, False, 1, False),
        (None, "Spot", None, False, 1, None),
        (None, "Low", None, False, 1, None),
        (None, None, "Flexible", False, 1, None),
        (None, None, "Uniform", True, 5, None),
    ],
)
def test_zonal_spot_and_flexible_sets_are_no_single_group(
    zones: list[str] | None, priority: str | None, mode: str | None, single: bool, domains: int, balance: bool | None
) -> None:
    document = _new(**({"orchestrationMode": mode} if mode else {}))
    if zones:
        document["zones"] = zones
    if priority:
        _profile(document)["priority"] = priority
    properties = defaults.fill(document, {})["properties"]
    assert (properties["singlePlacementGroup"], properties["platformFaultDomainCount"]) == (single, domains)
    assert properties.get("zoneBalance") == balance
    assert ("overprovision" in properties) is (mode != "Flexible")
    assert ("evictionPolicy" in _profile(document)) is bool(priority)


def test_a_set_that_rolls_by_itself_has_a_rolling_policy() -> None:
    automatic = {"mode": "Automatic", "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True}}
    for policy in ({"mode": "Rolling"}, automatic):
        made = defaults.fill(_new(upgradePolicy=copy.deepcopy(policy)), {})["properties"]["upgradePolicy"]
        assert made["rollingUpgradePolicy"] == defaults.ROLLING
    mine = {"mode": "Rolling", "rollingUpgradePolicy": {"maxBatchInstancePercent": 40}}
    made = defaults.fill(_new(upgradePolicy=mine), {})["properties"]["upgradePolicy"]
    assert made["rollingUpgradePolicy"] == {**defaults.ROLLING, "maxBatchInstancePercent": 40}


def test_an_old_set_does_not_gain_properties_and_a_new_part_does() -> None:
    old = _new()
    new = copy.deepcopy(old)
    assert defaults.fill(new, old) == old, "nothing was written for the first time"
    cards = _profile(new)["networkProfile"]["networkInterfaceConfigurations"]
    cards.append({"name": "second", "properties": {"ipConfigurations": []}})
    first, second = (each["properties"] for each in _cards(defaults.fill(new, old)))
    assert "enableIPForwarding" not in first
    assert second["enableIPForwarding"] is False


def _cards(document: Body) -> list[Body]:
    cards: list[Body] = _profile(document)["networkProfile"]["networkInterfaceConfigurations"]
    return cards


def test_an_array_that_is_given_anew_keeps_what_stood_there() -> None:
    old = defaults.fill(_new(), {})
    _cards(old)[0]["properties"]["enableAcceleratedNetworking"] = True
    new = copy.deepcopy(old)
    _profile(new)["networkProfile"]["networkInterfaceConfigurations"] = _cards(_new())
    assert _cards(defaults.fill(new, old)) == _cards(old)


def test_empty_pools_are_kept_of_flexible_sets_only() -> None:
    for mode, kept in (("Uniform", False), ("Flexible", True)):
        document = _new(orchestrationMode=mode)
        address = _cards(document)[0]["properties"]["ipConfigurations"][0]["properties"]
        address["loadBalancerBackendAddressPools"] = []
        defaults.fill(document, {})
        assert ("loadBalancerBackendAddressPools" in address) is kept


_leaf = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3)
_names = st.sampled_from(
    sorted(
        {step.removesuffix("[]") for path, _ in defaults.FILLED for step in path.split(".")} | {"name", "mode", "zones"}
    )
)
_documents = st.recursive(_leaf, lambda inner: st.dictionaries(_names, inner | st.lists(inner, max_size=2), max_size=4))


@given(st.dictionaries(_names, _documents, max_size=4), st.dictionaries(_names, _documents, max_size=3))
def test_nothing_that_was_said_is_changed_and_twice_is_once(said: Body, old: Body) -> None:
    said.pop("zones", None)
    said["properties"] = said["properties"] if isinstance(said.get("properties"), dict) else {}
    before = copy.deepcopy(said)
    made = defaults.fill(copy.deepcopy(said), old)
    _holds(made, before)
    assert defaults.fill(copy.deepcopy(made), made) == made


def _holds(made: Any, said: Any) -> None:
    """Everything that was said is there."""
    if isinstance(said, dict):
        for name, value in said.items():
            assert name in made or value in ([], {}), name
            if name in made:
                _holds(made[name], value)
    elif isinstance(said, list):
        for ours, theirs in zip(made, said, strict=True):
            _holds(ours, theirs)
    else:
        assert made == said


def test_windows_does_not_update_itself_where_images_do() -> None:
    windows = {"windowsConfiguration": {"enableAutomaticUpdates": True}}
    old: Body = {"properties": {"virtualMachineProfile": {"osProfile": windows}, "upgradePolicy": {}}}
    new = copy.deepcopy(old)
    new["properties"]["upgradePolicy"] = {"automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": True}}
    shared = _profile(new)["osProfile"]["windowsConfiguration"]
    defaults.settle(new, {"properties": {"upgradePolicy": {}}})
    assert _profile(new)["osProfile"]["windowsConfiguration"]["enableAutomaticUpdates"] is False
    assert shared["enableAutomaticUpdates"] is True, "what may be shared with the old resource is left alone"
    said = {"properties": {"virtualMachineProfile": {"osProfile": windows}}}
    _profile(new)["osProfile"]["windowsConfiguration"] = {"enableAutomaticUpdates": True}
    defaults.settle(new, said)
    assert _profile(new)["osProfile"]["windowsConfiguration"]["enableAutomaticUpdates"] is True, "it was asked for"


@pytest.mark.parametrize(
    ("version", "shown"),
    [("2016-03-30", False), ("2017-03-30", True), ("", True)],
)
def test_inner_properties_are_shown_from_their_version_on(version: str, shown: bool) -> None:
    profile = {
        "networkProfile": {"networkInterfaceConfigurations": [{"properties": {"dnsSettings": {}, "primary": True}}]},
        "osProfile": {"allowExtensionOperations": True},
    }
    made = versions.deep(profile, version, "virtualMachineProfile")
    (card,) = made["networkProfile"]["networkInterfaceConfigurations"]
    assert card["properties"]["primary"] is True
    assert ("dnsSettings" in card["properties"]) is shown
    assert ("allowExtensionOperations" in made["osProfile"]) is (version == "")
    profile["networkProfile"]["networkApiVersion"] = "2020-11-01"  # type: ignore[assignment]
    assert versions.deep(profile, version, "virtualMachineProfile")["networkProfile"] == profile["networkProfile"]
