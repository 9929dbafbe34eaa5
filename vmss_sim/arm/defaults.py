"""What the service fills in where a client says nothing, as it showed itself to the recordings of 2015 to 2025.

Rules:

1. A default is filled in when the object it belongs to is written for the first time: with the creation, or with a network interface,
   a disk, a policy that an update adds. What stood there without it stays without it (REC: old sets do not gain properties); what
   stood there with it keeps it, also where an update gives the array anew.
2. A default is stored, whatever api-version wrote it; which versions show it is `versions.py`'s affair.
3. A zonal set, or one of spot VMs, is no single placement group and has one fault domain (REC).
4. A set whose mode is Rolling, or whose images upgrade automatically, has a rolling policy.
5. Empty lists of load balancer pools are not kept (REC; those of Flexible sets are).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Document = dict[str, Any]
Given = Mapping[str, Any] | Callable[[Document, Document], Mapping[str, Any]]
"""Defaults of an object, or how they follow from the object and the whole document."""

PROFILE = "properties.virtualMachineProfile"
CARD = f"{PROFILE}.networkProfile.networkInterfaceConfigurations[].properties"
ADDRESS = f"{CARD}.ipConfigurations[].properties"
ROLLING = {
    "maxBatchInstancePercent": 20,
    "maxUnhealthyInstancePercent": 20,
    "maxUnhealthyUpgradedInstancePercent": 20,
    "pauseTimeBetweenBatches": "PT0S",
    "maxSurge": False,
    "rollbackFailedInstancesOnPolicyBreach": False,
}
SPOT = ("spot", "low")
"""`priority` of VMs that may be evicted; it was called Low before."""
WINDOWS_GB, LINUX_GB = 127, 30
"""Sizes of the images' disks."""


def is_windows(document: Document) -> bool:
    """Does the set run Windows, by its configuration, else by its image's publisher?"""
    profile = (document.get("properties") or {}).get("virtualMachineProfile") or {}
    system, storage = profile.get("osProfile") or {}, profile.get("storageProfile") or {}
    if "windowsConfiguration" in system or "linuxConfiguration" in system:
        return "windowsConfiguration" in system
    told = f"{(storage.get('osDisk') or {}).get('osType')} {(storage.get('imageReference') or {}).get('publisher')}"
    return "windows" in told.lower()


def _flexible(document: Document) -> bool:
    return str(document["properties"].get("orchestrationMode")).lower() == "flexible"


def _set(properties: Document, document: Document) -> Document:
    """Rule 3."""
    zones = document.get("zones") or []
    spot = str((properties.get("virtualMachineProfile") or {}).get("priority")).lower() in SPOT
    single = properties.get("singlePlacementGroup", not (zones or spot or _flexible(document)))
    made: Document = {"singlePlacementGroup": single}
    made["platformFaultDomainCount"] = 1 if zones or spot or _flexible(document) else 5
    if len(zones) > 1:
        made["zoneBalance"] = False
    if not _flexible(document):
        made |= {"overprovision": True, "doNotRunExtensionsOnOverprovisionedVMs": False}
    return made


def _profile(profile: Document, _: Document) -> Document:
    if str(profile.get("priority")).lower() not in SPOT:
        return {}
    return {"evictionPolicy": "Deallocate", "billingProfile": {"maxPrice": -1.0}}


def _system(profile: Document, document: Document) -> Document:
    """The configuration of the OS that the image has."""
    made: Document = {"secrets": [], "allowExtensionOperations": True, "requireGuestProvisionSignal": True}
    if "linuxConfiguration" not in profile and "windowsConfiguration" not in profile:
        made["windowsConfiguration" if is_windows(document) else "linuxConfiguration"] = {}
    return made


def _linux(_: Document, document: Document) -> Document:
    profile = document["properties"]["virtualMachineProfile"]["osProfile"]
    return {"disablePasswordAuthentication": "ssh" in profile.get("linuxConfiguration", {}), "provisionVMAgent": True}


def _automatic(document: Document) -> bool:
    policy = document["properties"].get("upgradePolicy") or {}
    return bool((policy.get("automaticOSUpgradePolicy") or {}).get("enableAutomaticOSUpgrade"))


def _windows(_: Document, document: Document) -> Document:
    return {"provisionVMAgent": True, "enableAutomaticUpdates": not _automatic(document)}


def _card(_: Document, document: Document) -> Document:
    usual = {"disableTcpStateTracking": False, "dnsSettings": {"dnsServers": []}, "enableIPForwarding": False}
    if _flexible(document):
        return {**usual, "auxiliaryMode": "None", "auxiliarySku": "None"}
    return {"enableAcceleratedNetworking": False, **usual}


def _storage(storage: Document, _: Document) -> Document:
    return {"osDisk": {}} if storage.get("imageReference") else {}


def _os_disk(disk: Document, document: Document) -> Document:
    windows = is_windows(document)
    made: Document = {"createOption": "FromImage", "caching": "None", "osType": "Windows" if windows else "Linux"}
    if "vhdContainers" not in disk and "image" not in disk:
        made |= {"managedDisk": {}, "diskSizeGB": WINDOWS_GB if windows else LINUX_GB}
    return made


FILLED: tuple[tuple[str, Given], ...] = (
    ("sku", {"tier": "Standard"}),
    ("properties", _set),
    ("properties.upgradePolicy.rollingUpgradePolicy", ROLLING),
    (
        "properties.upgradePolicy.automaticOSUpgradePolicy",
        {"enableAutomaticOSUpgrade": False, "disableAutomaticRollback": False, "useRollingUpgradePolicy": False},
    ),
    ("properties.scheduledEventsPolicy.userInitiatedReboot", {"automaticallyApprove": False}),
    ("properties.scheduledEventsPolicy.userInitiatedRedeploy", {"automaticallyApprove": False}),
    ("properties.automaticRepairsPolicy", {"gracePeriod": "PT10M", "repairAction": "Replace"}),
    (PROFILE, _profile),
    (f"{PROFILE}.osProfile", _system),
    (f"{PROFILE}.osProfile.linuxConfiguration", _linux),
    (f"{PROFILE}.osProfile.windowsConfiguration", _windows),
    (f"{PROFILE}.extensionProfile", {"extensions": []}),
    (f"{PROFILE}.storageProfile", _storage),
    (f"{PROFILE}.storageProfile.osDisk", _os_disk),
    (f"{PROFILE}.storageProfile.osDisk.managedDisk", {"storageAccountType": "Standard_LRS"}),
    (f"{PROFILE}.storageProfile.dataDisks[]", {"caching": "None", "managedDisk": {}}),
    (f"{PROFILE}.storageProfile.dataDisks[].managedDisk", {"storageAccountType": "Standard_LRS"}),
    (CARD, _card),
    (ADDRESS, {"privateIPAddressVersion": "IPv4"}),
    (
        f"{PROFILE}.applicationProfile.galleryApplications[]",
        {"enableAutomaticUpgrade": False, "treatFailureAsDeploymentFailure": False, "manuallyManaged": False},
    ),
    (
        f"{ADDRESS}.publicIPAddressConfiguration.properties",
        {"publicIPAddressVersion": "IPv4", "ipTags": []},
    ),
)
"""What is filled in, outer objects first: where, and what."""

POOLS = (
    "loadBalancerBackendAddressPools",
    "loadBalancerInboundNatPools",
    "applicationGatewayBackendAddressPools",
)
"""Rule 5."""


def fill(new: Document, old: Document) -> Document:
    """Fill in what `new` does not say, in place. old: the resource before; empty for a creation."""
    properties = new["properties"] = dict(new.get("properties") or {})
    policy = properties.get("upgradePolicy")
    if isinstance(policy, dict) and (str(policy.get("mode")).lower() == "rolling" or _automatic(new)):
        properties["upgradePolicy"] = {"rollingUpgradePolicy": {}, **policy}
    for path, given in FILLED:
        for item, before in _objects(new, old, path.split(".")):
            defaults = given(item, new) if callable(given) else given
            cleared = not item and bool(before)
            if before is not None and not cleared and not (path == "properties" and not old):
                defaults = {name: before[name] for name in defaults if name in before}
            for name, value in defaults.items():
                if name not in item:
                    item[name] = copy.deepcopy(value)
    storage = (properties.get("virtualMachineProfile") or {}).get("storageProfile") or {}
    if (storage.get("osDisk") or {}).get("diffDiskSettings") == {}:
        del storage["osDisk"]["diffDiskSettings"]
    if new.get("zones") == []:
        del new["zones"]
    if not _flexible(new):
        for item, _ in _objects(new, old, ADDRESS.split(".")):
            for name in POOLS:
                if item.get(name) == []:
                    del item[name]
    return new


def settle(new: Document, said: Document) -> None:
    """Where images upgrade automatically and the client does not speak of it, Windows does not update itself, in place (REC)."""
    *path, name = ("properties", "virtualMachineProfile", "osProfile", "windowsConfiguration")
    asked: Any = said
    for step in (*path, name):
        asked = asked.get(step) if isinstance(asked, dict) else None
    place = new
    for step in path:
        if not isinstance(place.get(step), dict):
            return
        place[step] = dict(place[step])  # what is shared with the resource as it was stays as it was
        place = place[step]
    if name in place and _automatic(new) and "enableAutomaticUpdates" not in (asked or {}):
        place[name] = {**place[name], "enableAutomaticUpdates": False}


def _objects(new: Any, old: Any, path: list[str]) -> Iterator[tuple[Document, Document | None]]:
    """The objects at a path, each with what stood there before."""
    if not path:
        if isinstance(new, dict):
            yield new, old if isinstance(old, dict) else None
        return
    name, rest = path[0], path[1:]
    if not isinstance(new, dict):
        return
    before = old.get(name.removesuffix("[]")) if isinstance(old, dict) else None
    if not name.endswith("[]"):
        yield from _objects(new.get(name), before, rest)
        return
    known = {_key(item): item for item in before or () if isinstance(item, dict)}
    for item in new.get(name[:-2]) or ():
        if isinstance(item, dict):
            yield from _objects(item, known.get(_key(item)), rest)


def _key(item: Document) -> Any:
    return item.get("name", item.get("lun"))
