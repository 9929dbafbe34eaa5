"""What the service showed otherwise in other years, whatever api-version it was asked under.

The endpoint behaves as the service did at the end of the recordings. A row says from which day on an answer has a property: before,
recorded answers lack it (or until when they have it). A row that covers nothing is out of date: a test says so. `count` is how many
differences it covers in the recordings as they are. A recorded answer of after that day that lacks the property is no matter of years.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.replay.requests.run import Difference

SHOWN = "True"


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
        if one.what not in ("shape", "header") or re.fullmatch(self.path, one.inner) is None:
            return False
        day = one.recording[-10:]
        if one.recorded == SHOWN:
            return bool(self.until) and day < self.until
        return bool(self.since) and day < self.since


_OS = r"(properties\.virtualMachineProfile|properties)\.osProfile\."
_DISK = r"(properties\.virtualMachineProfile|properties)\.storageProfile\."
_CARD = r"properties\.(virtualMachineProfile\.networkProfile|networkProfileConfiguration)\.networkInterfaceConfigurations\[\]\.properties\."

YEARS: tuple[Year, ...] = (
    Year(r"properties\.hardwareProfile\.vmSize:string", "2022-05-01", count=423),
    Year(r"properties\.hardwareProfile.*", "2018-05-01", count=175),
    Year(r"properties\.vmId:string", "2016-06-01", count=12),
    Year(r"(properties\.instanceView\.)?placementGroupId:string", "2017-01-01", count=8),
    Year(r"(properties\.instanceView\.)?vmAgent\.extensionHandlers\[\]", "2022-06-01", count=51),
    Year(r"properties\.storageProfile\.imageReference\.exactVersion:string", "2020-01-01", count=3),
    Year(r"id:string", "2020-01-01", count=8),
    Year(
        r"properties\.(modelDefinitionApplied|networkProfileConfiguration|storageProfile\.dataDisks\[\]\.toBeDetached).*",
        "2019-01-01",
        count=108,
    ),
    Year(r"(properties\.instanceView\.)?hyperVGeneration:string", "2019-06-01", count=6),
    Year(r"identity\.userAssignedIdentities\./.*\.(clientId|principalId):string", "2020-01-01", count=16),
    Year(_CARD + "disableTcpStateTracking:boolean", "2022-09-20", count=967),
    Year(_CARD + r"(enableAcceleratedNetworking:boolean|dnsSettings.*)", "2017-04-01", count=21),
    Year(_CARD + r"ipConfigurations\[\]\.properties\.privateIPAddressVersion:string", "2017-04-01", count=7),
    Year(_CARD + "enableIPForwarding:boolean", "2017-12-01", count=9),
    Year(
        _CARD
        + r"ipConfigurations\[\]\.properties\.publicIPAddressConfiguration\.properties\.publicIPAddressVersion:string",
        "2020-03-01",
        count=14,
    ),
    Year(_DISK + "osDisk.osType:string", "2021-02-01", count=987),
    Year(_DISK + "osDisk.diskSizeGB:number", "2020-01-01", count=366),
    Year(_OS + "requireGuestProvisionSignal:boolean", "2019-02-01", count=134),
    Year(
        _OS + "(linux|windows)Configuration.enableVMAgentPlatformUpdates:boolean", "2024-06-01", "2024-06-01", count=66
    ),
    Year(_OS + r"(linux|windows)Configuration\.patchSettings.*", until="2021-05-01", count=92),
    Year(_OS + "customData:string", until="2017-03-01", count=99),
    Year(r"properties\.platformFaultDomainCount:number", "2024-01-01", count=795),
    Year(r"properties\.orchestrationMode:string", "2023-01-01", count=708),
    Year(r"properties\.doNotRunExtensionsOnOverprovisionedVMs:boolean", "2019-06-01", count=144),
    Year(r"properties\.singlePlacementGroup:boolean", "2017-02-01", count=45),
    Year(r"properties\.overprovision:boolean", "2016-03-01", count=6),
    Year(r"properties\.uniqueId:string", "2016-06-04", count=29),
    Year(r"properties\.upgradePolicy\.automaticOSUpgrade:boolean", "2017-10-01", "2018-10-01", count=244),
    Year(r"properties\.virtualMachineProfile\.billingProfile.*", "2019-10-01", count=20),
    Year(r"properties\.virtualMachineProfile\.timeCreated:string", "2023-12-20", count=19),
    Year(r"etag(:string)?", "2024-07-20", count=131),
    Year(r"(name|operationId):string", "2016-06-01", "2016-06-01", count=356),
)
"""What the service shows, and since when."""
