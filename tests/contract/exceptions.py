"""Where the specification itself is wrong: every exception has its reason, and a sample of an answer that needs it.

Contract: `name_of` gives the exception that explains a finding. A test holds that each is still needed: its sample, judged, gives a
finding that it explains, and nothing else. `recorded`: real Azure is known to answer so.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tests.contract.findings import SPEC, Exchange, Finding

GROUP = "https://localhost/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/shop/providers/Microsoft.Compute"
SET = f"{GROUP}/virtualMachineScaleSets/web"


class Known(NamedTuple):
    """One exception. path, at: patterns of the request's path and of the place in the answer; until, from_: the api-versions asked for
    that it may concern (both included); validators: those that need it.
    """

    name: str
    reason: str
    code: str
    path: str
    at: str
    sample: Exchange
    recorded: bool = True
    until: str = "9999"
    from_: str = ""
    validators: tuple[str, ...] = ("oav", "openapi")

    def explains(self, finding: Finding) -> bool:
        """Is that what was found?"""
        version = finding.exchange.version[:10]
        return (
            finding.code == self.code
            and finding.validator in self.validators
            and self.from_ <= version <= self.until
            and re.search(self.path, finding.exchange.path, re.I) is not None
            and all(re.fullmatch(self.at, place) is not None for place in finding.at.split(" "))
        )


def _get(url: str, body: Any, version: str = SPEC, more: str = "") -> Exchange:
    headers = {"content-type": "application/json; charset=utf-8"}
    return Exchange(method="GET", url=f"{url}?api-version={version}{more}", status=200, headers=headers, body=body)


_VIEW = {"statuses": [{"code": "PowerState/running", "level": "Info", "displayStatus": "VM running"}]}
_SELECTED = {"id": f"{SET[17:]}/virtualMachines/0", "instanceId": "0", "properties": {"instanceView": _VIEW}}
_INSTANCE = {"id": f"{SET[17:]}/virtualMachines/0", "location": "westus"}
_ROLLOUT: dict[str, Any] = {"type": "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades", "location": "westus"}
_ONE = "/virtualMachineScaleSets/[^/]+"
_LIST = "/virtualMachineScaleSets/[^/]+/virtualMachines$"
_VM = "/virtualMachineScaleSets/[^/]+/virtualMachines(/[^/]+)?$"
_ANY_SET = "/virtualMachineScaleSets(/[^/]+)?$"


def _set(properties: dict[str, Any], version: str = SPEC) -> Exchange:
    return _get(SET, {"id": SET[17:], "location": "westus", "properties": properties}, version)


ALL = (
    Known(
        "location under $select",
        "a resource must have a location, and instances of which only the view was asked have none (41 recorded lists)",
        "OBJECT_MISSING_REQUIRED_PROPERTY",
        _LIST,
        r"/value/\d+(/location)?",
        _get(f"{SET}/virtualMachines", {"value": [_SELECTED]}, more="&$expand=instanceView&$select=instanceView"),
    ),
    Known(
        "name and location under $select",
        "the same, by the types: a resource must have a name too",
        "OBJECT_MISSING_REQUIRED_PROPERTY",
        _LIST,
        r"/value/\d+",
        _get(
            f"{SET}/virtualMachines", {"value": [_SELECTED]}, "2026-04-01", "&$expand=instanceView&$select=instanceView"
        ),
        validators=("types",),
    ),
    Known(
        "completedTime",
        "the end of an OS upgrade is `completedTime` in what Azure answers (recorded 2018 to 2020), `endTime` in the specification",
        "OBJECT_ADDITIONAL_PROPERTIES",
        f"{_ONE}/osUpgradeHistory$",
        r"/value/\d+/properties/runningStatus/completedTime",
        _get(
            f"{SET}/osUpgradeHistory",
            {"value": [{"properties": {"runningStatus": {"completedTime": "2026-01-05T08:00:00+00:00"}}}]},
        ),
    ),
    Known(
        "resilientVMDeletionStatus",
        "shown since 2024-07-01 (20 recorded answers), described in a later version",
        "OBJECT_ADDITIONAL_PROPERTIES",
        _VM,
        r"(/value/\d+)?/properties/resilientVMDeletionStatus",
        _get(f"{SET}/virtualMachines/0", {**_INSTANCE, "properties": {"resilientVMDeletionStatus": "Disabled"}}),
        from_="2024-07-01",
    ),
    Known(
        "zones of a Flexible set's list",
        "a list of VMs of which only the identity is told has `zones: [null]` (recorded 2023, 2024)",
        "INVALID_TYPE",
        _LIST,
        r"/value/\d+/zones/0",
        _get(
            f"{SET}/virtualMachines",
            {"value": [{**_INSTANCE, "instanceId": "web_1", "name": "web_1", "zones": [None]}]},
            "2026-04-01",
        ),
        validators=("openapi", "types"),
    ),
    Known(
        "provisioningState 0",
        "what was not selected has its type's default, a number, up to 2019 (recorded)",
        "INVALID_TYPE",
        _LIST,
        r"/value/\d+/properties/provisioningState",
        _get(
            f"{SET}/virtualMachines",
            {"value": [{**_INSTANCE, "properties": {"provisioningState": 0}}]},
            "2017-12-01",
        ),
        until="2019-12-31",
    ),
    Known(
        "zoneBalanace",
        "so spelt in 2017-03-30 (recorded)",
        "OBJECT_ADDITIONAL_PROPERTIES",
        _ANY_SET,
        r"(/value/\d+)?/properties/zoneBalanace",
        _set({"zoneBalanace": False}, "2017-03-30"),
        until="2017-03-30",
    ),
    Known(
        "automaticOSUpgrade",
        "a flag before 2018-10-01 (recorded), a policy since",
        "OBJECT_ADDITIONAL_PROPERTIES",
        _ANY_SET,
        r"(/value/\d+)?/properties/upgradePolicy/automaticOSUpgrade",
        _set({"upgradePolicy": {"automaticOSUpgrade": False}}, "2017-12-01"),
        until="2018-09-30",
    ),
    Known(
        "batchInstancePercent, inprogressInstanceCount",
        "spelt so in 2017-03-30",
        "OBJECT_ADDITIONAL_PROPERTIES",
        f"{_ONE}/rollingUpgrades/latest$",
        r"/properties/(policy/batchInstancePercent|progress/inprogressInstanceCount)",
        _get(
            f"{SET}/rollingUpgrades/latest",
            {
                "id": f"{SET[17:]}/rollingUpgrades/latest",
                **_ROLLOUT,
                "properties": {"policy": {"batchInstancePercent": 20}, "progress": {"inprogressInstanceCount": 0}},
            },
            "2017-03-30",
        ),
        until="2017-03-30",
    ),
    Known(
        "rollingUpgrades/latest has no id",
        "a resource has an id and a name, and in 66 recordings this one has neither",
        "MISSING_RESOURCE_ID",
        f"{_ONE}/rollingUpgrades/latest$",
        "/?",
        _get(f"{SET}/rollingUpgrades/latest", {**_ROLLOUT, "properties": {"policy": {}}}),
        validators=("oav",),
    ),
    Known(
        "rollingUpgrades/latest has no name",
        "the same, by the types",
        "OBJECT_MISSING_REQUIRED_PROPERTY",
        f"{_ONE}/rollingUpgrades/latest$",
        "/?",
        _get(f"{SET}/rollingUpgrades/latest", {**_ROLLOUT, "properties": {"policy": {}}}, "2026-04-01"),
        validators=("types",),
    ),
    Known(
        "wireServer",
        "what a client wrote of proxyAgentSettings in a newer version is shown in 2024-07-01 too (5 recorded answers)",
        "OBJECT_ADDITIONAL_PROPERTIES",
        _ANY_SET,
        r"(/value/\d+)?/properties/virtualMachineProfile/securityProfile/proxyAgentSettings/(wireServer|imds)",
        _set({"virtualMachineProfile": {"securityProfile": {"proxyAgentSettings": {"wireServer": {"mode": "Audit"}}}}}),
    ),
    Known(
        "manuallyManaged",
        "a property of gallery applications that no version describes (12 recorded answers)",
        "OBJECT_ADDITIONAL_PROPERTIES",
        _ANY_SET,
        r"(/value/\d+)?/properties/virtualMachineProfile/applicationProfile/galleryApplications/\d+/manuallyManaged",
        _set(
            {
                "virtualMachineProfile": {
                    "applicationProfile": {
                        "galleryApplications": [{"packageReferenceId": "/galleries/g", "manuallyManaged": False}]
                    }
                }
            }
        ),
        validators=("oav", "openapi", "types"),
    ),
)


def name_of(finding: Finding) -> str:
    """The exception that explains it; empty where none does."""
    return next((known.name for known in ALL if known.explains(finding)), "")
