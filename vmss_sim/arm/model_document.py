"""The complete document of a set: what Azure would show, from a scenario's few words or from the snapshot's own documents.

Rules:

1. A snapshot's document is taken as it is, in the wire form and ARM's spelling: what `az` lifted out of `properties` goes back,
   what is read-only, added by az (`resourceGroup`) or secret goes away. What the scenario asked differently (mode, health source,
   OS) is put in; everything else stays. Policies are the world's to tell (`documents.py`).
2. An invented set gets what the portal would have filled in: profile, NIC, disks, user; and the health source, the policies
   and the image that the scenario names. A policy that the scenario does not name is not there (recorded for mode Manual),
   but a set in mode Rolling always has one.
3. The settings of the health extension add up to the time it needs to notice (interval x probes, at most 60 s x 24).
"""

from __future__ import annotations

from typing import Any

from planner.arm_json import read_scale_set
from planner.model import Model, OperatingSystem
from vmss_sim.arm.documents import SET_TYPE
from vmss_sim.arm.names import canonical
from vmss_sim.arm.shapes import SIZES
from vmss_sim.arm.wire import SECRET, Body, auto_os_policy, lay_over, repairs_policy, rolling_policy, shown
from vmss_sim.world.config import AutoOs, Repairs, RollingPolicy, WorldConfig

RESOURCE = frozenset(
    {"name", "id", "type", "location", "tags", "sku", "zones", "plan", "identity", "extendedLocation", "placement"}
)
"""What stands beside `properties`; anything else of a lifted document belongs under them."""
READ_ONLY = frozenset({"etag", "systemData", "resourceGroup", "instanceView"})
READ_ONLY_PROPERTIES = frozenset({"provisioningState", "uniqueId", "timeCreated"})
NESTED = {
    "networkInterfaceConfigurations": frozenset({"name", "id", "tags"}),
    "ipConfigurations": frozenset({"name", "id"}),
    "publicIPAddressConfiguration": frozenset({"name", "sku", "tags"}),
    "extensions": frozenset({"name", "id"}),
}
"""Resources within the profile, and what stands beside their `properties`."""
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/vmss-sim"
LINUX, WINDOWS = "ApplicationHealthLinux", "ApplicationHealthWindows"
PROBE_SECONDS, PROBES = 60, 24


def of(
    config: WorldConfig,
    *,
    name: str,
    location: str,
    given: dict[str, Any] | None,
    model: Model | None = None,
    group: str = GROUP,
) -> Body:
    """The initial `document` of a set.

    given: the set as Azure or az showed it, if the scenario has it (or {model, instances}). model: what the planner knows of the
    set and the world has no use for (size, OS, zones). group: id of its resource group, for what it refers to.
    """
    if given is not None:
        return _given(given.get("model", given), config, name, location, model, group)
    return _invented(config, name, location, model, group)


def wire(document: dict[str, Any]) -> Body:
    """A document in the wire form, without what is read-only or secret (rule 1)."""
    spelt = canonical(document)
    lifted = not isinstance(spelt.get("properties"), dict)
    top = {key: value for key, value in spelt.items() if key in RESOURCE}
    inner = {key: value for key, value in spelt.items() if key not in RESOURCE} if lifted else spelt["properties"]
    top["properties"] = {
        key: value for key, value in inner.items() if key not in READ_ONLY | READ_ONLY_PROPERTIES and value is not None
    }
    made: Body = shown(_lowered(_pruned(top)), SECRET)
    profile = made["properties"].get("virtualMachineProfile") or {}
    profile.pop("timeCreated", None)
    return made


def _pruned(value: Any) -> Any:
    """Without nulls and without az's `resourceGroup`, which ARM never has."""
    if isinstance(value, dict):
        return {
            key: _pruned(inner) for key, inner in value.items() if inner is not None and key not in ("resourceGroup",)
        }
    return [_pruned(inner) for inner in value] if isinstance(value, list) else value


def _lowered(value: Any, name: str = "") -> Any:
    """Nested resources with their facts under `properties`."""
    if isinstance(value, list):
        return [_lowered(inner, name) for inner in value]
    if not isinstance(value, dict):
        return value
    beside = NESTED.get(name)
    if beside is not None and not isinstance(value.get("properties"), dict):
        facts = {key: inner for key, inner in value.items() if key not in beside and key != "typePropertiesType"}
        if "typePropertiesType" in value:
            facts["type"] = value["typePropertiesType"]
        facts.pop("provisioningState", None)
        value = {key: inner for key, inner in value.items() if key in beside} | {"properties": facts}
    return {key: _lowered(inner, key) for key, inner in value.items()}


def _given(
    given: dict[str, Any], config: WorldConfig, name: str, location: str, model: Model | None, group: str
) -> Body:
    made = wire(given)
    said = read_scale_set([(name, {"name": name, "type": SET_TYPE, **made, "id": None})]).scale_set.model
    made["name"] = name
    made["location"] = made.get("location") or location
    properties = made["properties"]
    profile = properties.setdefault("virtualMachineProfile", {})
    properties.setdefault("upgradePolicy", {})["mode"] = config.mode.capitalize()
    os = _os(config, model)
    storage = profile.setdefault("storageProfile", {})
    if said.os is OperatingSystem.UNKNOWN:
        storage.setdefault("osDisk", {})["osType"] = os.capitalize()
    source = {"rich": "extension"}.get(config.health, config.health)
    if said.health_source.value != source or (config.health == "rich" and not _is_rich(profile)):
        _drop_health(properties, profile)
        _add_health(profile, config, os, name, group)
    lay_over(made, config.model)
    return made


def _invented(config: WorldConfig, name: str, location: str, model: Model | None, group: str) -> Body:
    os = _os(config, model)
    zones = list(model.zones) if model else sorted({one.zone for one in config.machines if one.zone is not None})
    policy: Body = {"mode": config.mode.capitalize()}
    if _wanted(config, model):
        policy["rollingUpgradePolicy"] = rolling_policy(config.rolling)
    if (model.auto_os is not None) if model else config.auto_os != AutoOs():
        policy["automaticOSUpgradePolicy"] = auto_os_policy(config.auto_os)
    domains = [one.fault_domain for one in config.machines if one.fault_domain is not None]
    properties: Body = {
        "singlePlacementGroup": config.single_placement_group,
        "orchestrationMode": "Flexible" if config.flexible else "Uniform",
        "upgradePolicy": policy,
        "virtualMachineProfile": _profile(config, name, os, model, group),
        "platformFaultDomainCount": max(domains, default=0) + 1,
    }
    if not config.flexible:
        properties |= {"overprovision": False, "doNotRunExtensionsOnOverprovisionedVMs": False}
    if zones:
        properties["zoneBalance"] = False
    if (model.repairs is not None) if model else config.repairs != Repairs():
        properties["automaticRepairsPolicy"] = repairs_policy(config.repairs)
    made: Body = {
        "name": name,
        "location": location,
        "tags": {},
        "sku": {
            "name": (model.sku if model else None) or SIZES[0],
            "tier": "Standard",
            "capacity": len(config.machines),
        },
        "properties": properties,
    }
    if zones:
        made["zones"] = zones
    lay_over(made, config.model)
    return made


def _profile(config: WorldConfig, name: str, os: str, model: Model | None, group: str) -> Body:
    """Rule 2."""
    prefix = "".join(letter for letter in name if letter.isalnum() or letter == "-")[:9] or "vm"
    system: Body = (
        {"windowsConfiguration": {"provisionVMAgent": True, "enableAutomaticUpdates": False}}
        if os == "windows"
        else {
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": "ssh-rsa AAAA"}]},
                "provisionVMAgent": True,
            }
        }
    )
    disk: Body = {
        "osType": os.capitalize(),
        "createOption": "FromImage",
        "caching": "ReadWrite",
        "managedDisk": {"storageAccountType": "Premium_LRS"},
        "diskSizeGB": 127 if os == "windows" else 30,
    }
    if model and model.ephemeral_os_disk:
        disk |= {"caching": "ReadOnly", "diffDiskSettings": {"option": "Local"}}
    address = {
        "subnet": {"id": f"{group}/providers/Microsoft.Network/virtualNetworks/{name}-vnet/subnets/default"},
        "primary": True,
        "privateIPAddressVersion": "IPv4",
    }
    card = {
        "primary": True,
        "enableAcceleratedNetworking": False,
        "disableTcpStateTracking": False,
        "dnsSettings": {"dnsServers": []},
        "enableIPForwarding": False,
        "ipConfigurations": [{"name": f"{name}-ip", "properties": address}],
    }
    profile: Body = {
        "osProfile": {
            "computerNamePrefix": prefix,
            "adminUsername": "azureuser",
            **system,
            "secrets": [],
            "allowExtensionOperations": True,
            "requireGuestProvisionSignal": True,
        },
        "storageProfile": {"osDisk": disk},
        "networkProfile": {"networkInterfaceConfigurations": [{"name": f"{name}-nic", "properties": card}]},
    }
    if config.flexible:
        profile["networkProfile"]["networkApiVersion"] = "2020-11-01"
    uri = next((one.image.uri for one in config.machines if one.image and one.image.uri), None)
    if uri is not None:
        disk.pop("managedDisk")
        disk |= {"name": "os", "image": {"uri": uri}}
    _add_health(profile, config, os, name, group)
    return profile


def _add_health(profile: Body, config: WorldConfig, os: str, name: str, group: str) -> None:
    """The health source of the world, in the profile (rule 3)."""
    if config.health == "probe":
        balancer = f"{group}/providers/Microsoft.Network/loadBalancers/{name}-lb"
        profile.setdefault("networkProfile", {})["healthProbe"] = {"id": f"{balancer}/probes/health"}
    if config.health not in ("extension", "rich"):
        return
    seconds = max(5, -(-config.timings.probe_ms // 1000))
    probes = min(PROBES, -(-seconds // PROBE_SECONDS))
    settings: Body = {
        "protocol": config.health_protocol,
        "port": 80,
        "intervalInSeconds": min(PROBE_SECONDS, max(5, -(-seconds // probes))),
        "numberOfProbes": probes,
    }
    if config.health_protocol != "tcp":
        settings["requestPath"] = "/health"
    if config.health == "rich" and config.health_grace_ms is not None:
        settings["gracePeriod"] = -(-config.health_grace_ms // 1000)
    extension = {
        "name": "HealthExtension",
        "properties": {
            "autoUpgradeMinorVersion": True,
            "enableAutomaticUpgrade": True,
            "publisher": "Microsoft.ManagedServices",
            "type": WINDOWS if os == "windows" else LINUX,
            "typeHandlerVersion": "2.0" if config.health == "rich" else "1.0",
            "settings": settings,
        },
    }
    profile.setdefault("extensionProfile", {}).setdefault("extensions", []).append(extension)


def _drop_health(properties: Body, profile: Body) -> None:
    properties.pop("externalHealthPolicy", None)
    profile.get("networkProfile", {}).pop("healthProbe", None)
    extensions = profile.get("extensionProfile", {}).get("extensions")
    if extensions:
        extensions[:] = [one for one in extensions if not _is_health(one.get("properties") or {})]


def _is_rich(profile: Body) -> bool:
    """Does the health extension tell rich states?"""
    extensions = (profile.get("extensionProfile") or {}).get("extensions") or []
    facts = [one.get("properties") or {} for one in extensions]
    return any(str(one.get("typeHandlerVersion")).startswith("2") for one in facts if _is_health(one))


def _is_health(facts: Body) -> bool:
    return str(facts.get("type", "")).lower() in (LINUX.lower(), WINDOWS.lower())


def _wanted(config: WorldConfig, model: Model | None) -> bool:
    """Does the set have a rolling policy of its own?"""
    if config.mode == "rolling":
        return True
    return model.rolling is not None if model else config.rolling != RollingPolicy()


def _os(config: WorldConfig, model: Model | None) -> str:
    """Linux or windows: as told, else by the image's name."""
    if model is not None and model.os is not OperatingSystem.UNKNOWN:
        return str(model.os.value)
    named = " ".join(str(value) for path, value in config.model.items() if ".imageReference." in path).lower()
    return "windows" if "windows" in named else "linux"
