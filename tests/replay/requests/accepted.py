"""Where the endpoint's answers differ from recorded ones and may: by the year of the service, and every other exception.

The endpoint behaves as the service did at the end of the recordings, whatever api-version it is asked under. What the service did
otherwise in other years is a `Year`: from `since` on it shows a property, before it did not (or until then it did). A row that covers
nothing is out of date: a test says so. `count` is how many differences it covers in the recordings as they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.replay.requests.run import Difference

SHOWN, HIDDEN = "True", "False"


class Year(NamedTuple):
    """A property (regular expression of its path, below the item of a list) that the service began, or stopped, to show.

    since: answers of before that day lack it; until: answers of before that day have it.
    """

    path: str
    since: str = ""
    until: str = ""
    count: int = 0

    def covers(self, one: Difference) -> bool:
        """Does the year explain this difference?"""
        if one.what not in ("shape", "header") or re.fullmatch(self.path, _inner(one.path)) is None:
            return False
        day = one.recording[-10:]
        if one.recorded == SHOWN:
            return bool(self.until) and day < self.until
        return bool(self.since) and day < self.since


class Accepted(NamedTuple):
    """Another exception: all patterns (regular expressions, whole text) match. what: status, code, message, header, shape."""

    reason: str
    recording: str
    kind: str
    what: str
    path: str
    recorded: str
    found: str
    count: int

    def covers(self, one: Difference) -> bool:
        """Does it accept this difference?"""
        pairs = (
            (self.recording, one.recording),
            (self.kind, one.kind),
            (self.what, one.what),
            (self.path, _inner(one.path)),
            (self.recorded, one.recorded),
            (self.found, one.found),
        )
        return all(re.fullmatch(pattern, text, re.S) is not None for pattern, text in pairs)


def _inner(path: str) -> str:
    """A path below the item of a list."""
    return path.removeprefix("value[].")


_OS = r"(properties\.virtualMachineProfile|properties)\.osProfile\."
_DISK = r"(properties\.virtualMachineProfile|properties)\.storageProfile\."
_CARD = r"properties\.(virtualMachineProfile\.networkProfile|networkProfileConfiguration)\.networkInterfaceConfigurations\[\]\.properties\."

YEARS: tuple[Year, ...] = (
    Year(r"properties\.hardwareProfile\.vmSize:string", "2022-05-01"),
    Year(r"properties\.hardwareProfile.*", "2018-05-01"),
    Year(r"properties\.vmId:string", "2016-06-01"),
    Year(r"(properties\.instanceView\.)?placementGroupId:string", "2017-01-01"),
    Year(r"(properties\.instanceView\.)?vmAgent\.extensionHandlers\[\]", "2022-06-01"),
    Year(r"(properties\.instanceView\.)?(computerName|osName|osVersion):string", "2017-12-15"),
    Year(r"properties\.storageProfile\.imageReference\.exactVersion:string", "2020-01-01"),
    Year(r"id:string", "2020-01-01"),
    Year(r"identity\.userAssignedIdentities\./.*\.(clientId|principalId):string", "2020-01-01"),
    Year(_CARD + "disableTcpStateTracking:boolean", "2022-09-20"),
    Year(_CARD + r"(enableAcceleratedNetworking:boolean|dnsSettings.*)", "2017-04-01"),
    Year(_CARD + r"ipConfigurations\[\]\.properties\.privateIPAddressVersion:string", "2017-04-01"),
    Year(_CARD + "enableIPForwarding:boolean", "2017-12-01"),
    Year(
        _CARD
        + r"ipConfigurations\[\]\.properties\.publicIPAddressConfiguration\.properties\.publicIPAddressVersion:string",
        "2020-03-01",
    ),
    Year(_DISK + "osDisk.osType:string", "2021-02-01"),
    Year(_DISK + "osDisk.diskSizeGB:number", "2020-01-01"),
    Year(_OS + "requireGuestProvisionSignal:boolean", "2019-02-01"),
    Year(_OS + "allowExtensionOperations:boolean", "2018-08-01"),
    Year(_OS + "(linux|windows)Configuration.enableVMAgentPlatformUpdates:boolean", until="2024-06-01"),
    Year(_OS + r"(linux|windows)Configuration\.patchSettings.*", until="2021-05-01"),
    Year(_OS + "customData:string", until="2017-03-01"),
    Year(r"properties\.platformFaultDomainCount:number", "2024-01-01"),
    Year(r"properties\.orchestrationMode:string", "2023-01-01"),
    Year(r"properties\.doNotRunExtensionsOnOverprovisionedVMs:boolean", "2019-06-01"),
    Year(r"properties\.singlePlacementGroup:boolean", "2017-02-01"),
    Year(r"properties\.overprovision:boolean", "2016-03-01"),
    Year(r"properties\.uniqueId:string", "2016-06-03"),
    Year(r"properties\.upgradePolicy\.automaticOSUpgrade:boolean", "2017-10-01", "2018-10-01"),
    Year(r"properties\.virtualMachineProfile\.billingProfile.*", "2019-10-01"),
    Year(r"properties\.virtualMachineProfile\.timeCreated:string", "2023-12-20"),
    Year(r"etag(:string)?", "2024-07-20"),
    Year(r"(name|operationId):string", "2016-06-01", "2016-06-01"),
)
"""What the service shows, and since when."""

ACCEPTED: tuple[Accepted, ...] = ()
