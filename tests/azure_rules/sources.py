"""The short names by which comments and rules cite their sources."""

from __future__ import annotations

from typing import Final

_SETS = "MicrosoftDocs/azure-compute-docs, articles/virtual-machine-scale-sets/"
_VMS = "MicrosoftDocs/azure-compute-docs, articles/virtual-machines/"

SOURCES: Final[dict[str, str]] = {
    "DOC-policy": f"{_SETS}virtual-machine-scale-sets-upgrade-policy.md (05/2026)",
    "DOC-rolling": f"{_SETS}virtual-machine-scale-sets-configure-rolling-upgrades.md (05/2026)",
    "DOC-maxsurge": f"{_SETS}virtual-machine-scale-sets-maxsurge.md (05/2026)",
    "DOC-manual": f"{_SETS}virtual-machine-scale-sets-perform-manual-upgrades.md (05/2026)",
    "DOC-reimage": f"{_SETS}virtual-machine-scale-sets-reimage-virtual-machine.md (05/2026)",
    "DOC-change": f"{_SETS}virtual-machine-scale-sets-change-upgrade-policy.md (05/2026)",
    "DOC-autoos": f"{_SETS}virtual-machine-scale-sets-automatic-upgrade.md (05/2026)",
    "DOC-health": f"{_SETS}virtual-machine-scale-sets-health-extension.md (05/2026)",
    "DOC-repairs": f"{_SETS}virtual-machine-scale-sets-automatic-instance-repairs.md (05/2026)",
    "DOC-protect": f"{_SETS}virtual-machine-scale-sets-instance-protection.md (05/2026)",
    "DOC-scalein": f"{_SETS}virtual-machine-scale-sets-scale-in-policy.md (05/2026)",
    "DOC-metrics": f"{_SETS}virtual-machine-scale-sets-rolling-upgrade-custom-metrics.md (05/2026)",
    "DOC-ids": f"{_SETS}virtual-machine-scale-sets-instance-ids.md (05/2026)",
    "DOC-pg": f"{_SETS}virtual-machine-scale-sets-placement-groups.md (05/2026)",
    "DOC-modes": f"{_SETS}virtual-machine-scale-sets-orchestration-modes.md (06/2024)",
    "DOC-fd": f"{_SETS}virtual-machine-scale-sets-manage-fault-domains.md (09/2025)",
    "DOC-faq": f"{_SETS}virtual-machine-scale-sets-faq.yml (06/2024)",
    "DOC-maint": f"{_VMS}maintenance-configurations.md (09/2026)",
    "DOC-extup": f"{_VMS}automatic-extension-upgrade.md (11/2023)",
    "DOC-throttle": f"{_VMS}compute-throttling-limits.md (05/2024)",
    "DOC-common": f"{_VMS}error-messages.md",
    "DOC-modify": "MicrosoftDocs/azure-docs, articles/virtual-machine-scale-sets/"
    "virtual-machine-scale-sets-upgrade-scale-set.md (03/2020)",
    "DOC-limits": "MicrosoftDocs/azure-docs, includes/azure-virtual-machine-scale-sets-limits.md",
    "DOC-throttle-ts": "MicrosoftDocs/SupportArticles-docs, support/azure/virtual-machines/windows/"
    "troubleshooting-throttling-errors.md (04/2024)",
    "DOC-arm": "learn.microsoft.com, azure-resource-manager/management/request-limits-and-throttling and "
    "async-operations (wording since 2024)",
    "API": "Azure/azure-rest-api-specs, Microsoft.Compute, VirtualMachineScaleSet.tsp, RollingUpgradeStatusInfo.tsp and the "
    "examples of 2025-04-01 and 2026-04-01",
    "SDK39": "azure-mgmt-compute 39.0.0 (2026-10)",
    "SDK34": "azure-mgmt-compute 34.1.0, the ranges of its model validation",
    "REC": "public recordings of real traffic: the session records of azure-cli, azure-powershell, azure-sdk-for-net, "
    "azure-libraries-for-java and -net, azure-mgmt-compute (2015 to 2025); a year says which",
    "TSG-ext": "a public copy of a support guide, Auto Extension Upgrade (2026-04)",
    "ISSUE": "a public issue or pull request, named beside it",
    "INFER": "nobody says so; the reading that the rest suggests",
}
