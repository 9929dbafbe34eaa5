"""What clients look up before they ask for anything: regions, providers and their types, VM sizes. Excerpts, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LOCATIONS: Mapping[str, str] = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus2": "West US 2",
    "centralus": "Central US",
    "northeurope": "North Europe",
    "westeurope": "West Europe",
    "uksouth": "UK South",
    "germanywestcentral": "Germany West Central",
    "southeastasia": "Southeast Asia",
    "australiaeast": "Australia East",
}
API_VERSIONS = (
    "2026-04-01",
    "2025-04-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-09-01",
    "2023-03-01",
    "2022-11-01",
    "2021-07-01",
    "2020-12-01",
    "2020-06-01",
    "2019-12-01",
    "2019-03-01",
    "2018-10-01",
    "2018-06-01",
    "2017-12-01",
    "2017-03-30",
    "2016-04-30-preview",
    "2015-06-15",
)
"""Those that clients in use name; any other from 2015 on is accepted, too."""
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "Microsoft.Compute": (
        "virtualMachineScaleSets",
        "virtualMachineScaleSets/virtualMachines",
        "virtualMachineScaleSets/extensions",
        "virtualMachines",
        "virtualMachines/extensions",
        "availabilitySets",
        "disks",
        "galleries",
        "galleries/images",
        "galleries/images/versions",
        "images",
        "locations",
        "locations/operations",
        "locations/publishers",
        "locations/usages",
        "locations/vmSizes",
        "proximityPlacementGroups",
        "skus",
        "snapshots",
    ),
    "Microsoft.Network": (
        "applicationGateways",
        "applicationSecurityGroups",
        "loadBalancers",
        "natGateways",
        "networkInterfaces",
        "networkSecurityGroups",
        "publicIPAddresses",
        "publicIPPrefixes",
        "routeTables",
        "virtualNetworks",
        "virtualNetworks/subnets",
    ),
    "Microsoft.Storage": ("storageAccounts",),
    "Microsoft.ManagedIdentity": ("userAssignedIdentities",),
    "Microsoft.Authorization": ("denyAssignments", "locks", "roleAssignments", "roleDefinitions"),
    "Microsoft.Insights": ("autoscalesettings", "diagnosticSettings", "metricAlerts"),
    "Microsoft.KeyVault": ("vaults",),
    "Microsoft.Resources": ("resourceGroups", "subscriptions", "tags"),
}


class Size(NamedTuple):
    """A VM size. memory: MiB. family: what its cores count against (`Microsoft.Compute/skus`, and the names in `usages`)."""

    cores: int
    memory: int
    family: str


SIZES: Mapping[str, Size] = {
    "Standard_B2s": Size(2, 4096, "standardBSFamily"),
    "Standard_D2s_v3": Size(2, 8192, "standardDSv3Family"),
    "Standard_D4s_v3": Size(4, 16384, "standardDSv3Family"),
    "Standard_D2s_v5": Size(2, 8192, "standardDSv5Family"),
    "Standard_D4s_v5": Size(4, 16384, "standardDSv5Family"),
    "Standard_D8s_v5": Size(8, 32768, "standardDSv5Family"),
    "Standard_DS1_v2": Size(1, 3584, "standardDSv2Family"),
    "Standard_DS2_v2": Size(2, 7168, "standardDSv2Family"),
    "Standard_F2s_v2": Size(2, 4096, "standardFSv2Family"),
}
