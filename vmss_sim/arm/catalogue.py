"""What clients look up before they ask for anything: regions, providers and their types, VM sizes. Excerpts, as data."""

from __future__ import annotations

from collections.abc import Mapping

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
    "Microsoft.Authorization": ("locks", "roleAssignments", "roleDefinitions"),
    "Microsoft.Insights": ("autoscalesettings", "diagnosticSettings", "metricAlerts"),
    "Microsoft.KeyVault": ("vaults",),
    "Microsoft.Resources": ("resourceGroups", "subscriptions", "tags"),
}
SIZES: Mapping[str, tuple[int, int]] = {
    "Standard_B2s": (2, 4096),
    "Standard_D2s_v3": (2, 8192),
    "Standard_D4s_v3": (4, 16384),
    "Standard_D2s_v5": (2, 8192),
    "Standard_D4s_v5": (4, 16384),
    "Standard_D8s_v5": (8, 32768),
    "Standard_DS1_v2": (1, 3584),
    "Standard_DS2_v2": (2, 7168),
    "Standard_F2s_v2": (2, 4096),
}
"""Cores and memory in MiB."""
