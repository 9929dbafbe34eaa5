"""What differs by api-version, as one table. "REC" is seen in the recordings (reference to them in docs/azure-rules.md), "API" read
off the specifications.

Rules:

1. A property is shown from the version on that has it, and never before: old clients do not meet what they cannot know.
2. Versions are compared by their date; `-preview` makes no difference. No version is the newest.
"""

from __future__ import annotations

from typing import Any

NEWEST = "9999-12-31"

SINCE = {
    "etag": "2024-03-01",  # REC: of the 11 sets read under 2023-09-01 none has one
    "listedEtag": "2023-09-01",  # REC: 28 sets and 58 instances in lists have one (since July 2024)
    "timeCreated": "2021-11-01",  # REC
    "orchestrationMode": "2020-06-01",  # REC of 2023
    "uniqueId": "2016-03-30",  # REC
    "overprovision": "2016-03-30",  # REC
    "singlePlacementGroup": "2016-04-30",  # REC
    "platformFaultDomainCount": "2017-12-01",  # REC
    "doNotRunExtensionsOnOverprovisionedVMs": "2019-03-01",  # REC
    "automaticRepairsPolicy": "2019-07-01",  # API; REC from 2019-12
    "repairAction": "2021-11-01",  # API
    "automaticOSUpgradePolicy": "2018-10-01",  # API, REC; before: `automaticOSUpgrade`, a flag
    "useRollingUpgradePolicy": "2022-08-01",  # API
    "osRollingUpgradeDeferral": "2024-07-01",  # API
    "enableCrossZoneUpgrade": "2020-12-01",  # API
    "prioritizeUnhealthyInstances": "2020-12-01",  # API
    "rollbackFailedInstancesOnPolicyBreach": "2022-11-01",  # REC
    "maxSurge": "2022-11-01",  # REC
    "modelDefinitionApplied": "2019-03-01",  # REC
    "networkProfileConfiguration": "2019-03-01",  # REC
    "exactVersion": "2019-07-01",  # REC
    "toBeDetached": "2019-03-01",  # REC
    "protectionPolicy": "2019-03-01",  # REC, DOC-protect
    "resilientVMDeletionStatus": "2024-07-01",  # REC
    "selectedHardware": "2018-04-01",  # REC: under $select an empty `hardwareProfile`
    "selectedState": "2019-12-01",  # REC: under $select `provisioningState` is 0 before
    "instanceIdentity": "2022-03-01",  # REC
    "userAssignedIdentities": "2018-06-01",  # REC; before: `identityIds`, a list
    "placementGroupId": "2016-04-30",  # REC
    "vmHealth": "2017-03-30",  # API
    "assignedHost": "2020-06-01",  # API
    "hyperVGeneration": "2019-03-01",  # REC
    "computerName": "2017-12-01",  # REC, and so what else the agent reports of the OS
    "osName": "2017-12-01",
    "osVersion": "2017-12-01",
    "virtualMachineProfile.timeCreated": "2023-09-01",  # REC
    "osProfile.allowExtensionOperations": "2018-06-01",  # REC
    "osProfile.requireGuestProvisionSignal": "2018-10-01",  # REC
    "linuxConfiguration.provisionVMAgent": "2018-06-01",  # REC
    "networkInterfaceConfigurations.dnsSettings": "2017-03-30",  # REC
    "networkInterfaceConfigurations.enableAcceleratedNetworking": "2017-03-30",  # REC
    "networkInterfaceConfigurations.disableTcpStateTracking": "2017-03-30",  # REC
    "networkInterfaceConfigurations.enableIPForwarding": "2017-12-01",  # REC
    "ipConfigurations.privateIPAddressVersion": "2017-03-30",  # REC
}
"""The first version that shows a property; with the object it belongs to where another has one of that name."""

FLAG_SINCE = "2017-03-30"
"""From here to `automaticOSUpgradePolicy` every upgrade policy shows the flag `automaticOSUpgrade` (REC)."""

OLD_ROLLOUT = "2017-03-30"
"""Up to here a rollout's policy and progress were also spelled `batchInstancePercent` and `inprogressInstanceCount`: some recordings
of that version have the one spelling, some the other, so both are shown."""

ZONE_BALANCE_MISSPELT = "2017-03-30"
"""There `zoneBalance` is `zoneBalanace` (REC)."""


def date(version: str) -> str:
    """The date of a version (rule 2)."""
    return version[:10] or NEWEST


def shows(what: str, version: str) -> bool:
    """Does this version show that property? One that is not in the table always has been there."""
    return SINCE.get(what, "") <= date(version)


def has_etag(version: str) -> bool:
    """Does a resource have an etag, in the body and as a header?"""
    return shows("etag", version)


def keep(values: dict[str, Any], version: str) -> dict[str, Any]:
    """Those of the properties that the version shows (rule 1)."""
    seen = date(version)
    return {name: value for name, value in values.items() if SINCE.get(name, "") <= seen}


def deep(value: Any, version: str, name: str = "") -> Any:
    """A document without the properties of inner objects that the version does not show. name: the property it is the value of."""
    seen = date(version)
    late = {path for path, since in SINCE.items() if "." in path and since > seen}
    return _deep(value, late, name) if late else value


def _deep(value: Any, late: set[str], name: str) -> Any:
    if isinstance(value, dict):
        if "networkApiVersion" in value:  # what is shown of the network follows that version (REC)
            return value
        return {
            key: _deep(inner, late, name if key == "properties" else key)
            for key, inner in value.items()
            if f"{name}.{key}" not in late
        }
    return [_deep(inner, late, name) for inner in value] if isinstance(value, list) else value
