"""The platform's errors as data: what Azure answers, in its own words where they are known.

Rules of this table:

1. One row a situation, one constant a row; `ALL` holds them in the order of this file. Several rows may share a code:
   `OperationNotAllowed` has a dozen reasons, and clients must not tell them apart by text.
2. `status` is the HTTP status of a refusal. `OPERATION` means that the request was accepted (202, 200 or 201) and its
   operation ended `Failed`: the poll that says so has HTTP status 200.
3. `text` is a template; `sentence(**fields)` fills it, and wants exactly its fields. Percentages are whole numbers.
4. `wording` says how far to trust the text: `recorded` (verbatim from recorded traffic), `documented` (verbatim from
   Microsoft's pages), `reported` (from a public issue or log), `ours` (the code is Azure's, the sentence is not).
   A recorded wording wins over the others.

Sources: "recordings" are the recorded sessions described in the reference notes ("Real error bodies"); DOC-autoos is
virtual-machine-scale-sets-automatic-upgrade.md, DOC-rolling is ...-configure-rolling-upgrades.md, DOC-common is
virtual-machines/error-messages.md.
"""

from __future__ import annotations

import string
from typing import Final, Literal

import msgspec

Wording = Literal["recorded", "documented", "reported", "ours"]

OPERATION: Final = "operation"
"""Rule 2: not an HTTP status, but the end of an accepted operation."""


class AzureError(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `target`: the body's `target`, where Azure sends one; `source`: where code, status and text come from."""

    name: str
    code: str
    status: int | Literal["operation"]
    text: str
    wording: Wording
    source: str
    target: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names the template wants, in order, each once."""
        return tuple(
            dict.fromkeys(field for _, field, _, _ in string.Formatter().parse(self.text) if field is not None)
        )

    def sentence(self, **fields: object) -> str:
        """Azure's message. Raises TypeError for a missing or an extra field: a sentence with a hole helps nobody."""
        wanted = set(self.fields)
        if wanted != set(fields):
            raise TypeError(f"{self.name}: the sentence wants {sorted(wanted)}, found {sorted(fields)}")
        return self.text.format(**fields)

    @property
    def http_status(self) -> int:
        """Status of the answer that carries it: a failed operation is read with 200."""
        return 200 if self.status == "operation" else self.status


# -- Refused at the door ------------------------------------------------------------------------------------------------

INSTANCE_UNKNOWN: Final = AzureError(
    name="instance-unknown",
    code="InvalidParameter",
    status=400,
    text="The provided instanceId {id} is not an active Virtual Machine Scale Set VM instanceId.",
    wording="recorded",
    source="recordings: 26 manualupgrade, 26 delete (id 999), 1 reimage of a VM that overprovisioning had taken away",
    target="instanceIds",
)
STAR_NOT_ALONE: Final = AzureError(
    name="star-not-alone",
    code="InvalidParameter",
    status=400,
    text='If "*" is an element in the instanceIds list then it must be the only element of the list.',
    wording="recorded",
    source="recordings: 1 manualupgrade",
    target="instanceIds",
)
CONFLICT: Final = AzureError(
    name="conflict",
    code="Conflict",
    status=409,
    text="The request failed due to conflict with a concurrent request. To resolve it, please refer to "
    "https://aka.ms/activitylog to get more details on the conflicting requests.",
    wording="recorded",
    source="recordings: 1 manualupgrade while somebody else's policy updated the set (2023-05-26); onefuzz #2124",
)
NOT_ON_FLEXIBLE: Final = AzureError(
    name="not-on-flexible",
    code="OperationNotAllowed",
    status=409,
    text="Operation '{operation}' is not allowed on Virtual Machine Scale Set '{name}'.",
    wording="recorded",
    source="recordings: 2 manualupgrade on a Flexible set, operation VirtualMachineScaleSets.ManualUpgrade.POST",
)
OS_ROLLING_NEEDS_MODE: Final = AzureError(
    name="os-rolling-needs-mode",
    code="OperationNotAllowed",
    status=409,
    text="The OS Rolling Upgrade API cannot be used on a VM Scale Set unless the VM Scale Set has upgradePolicy.mode set "
    "to Rolling.",
    wording="recorded",
    source="recordings: 2 in 2017; since 2020 sets in mode Manual were accepted (py17 to py19)",
)
OS_ROLLING_NEEDS_LATEST: Final = AzureError(
    name="os-rolling-needs-latest",
    code="OperationNotAllowed",
    status=409,
    text="The OS Rolling Upgrade API cannot be used on a VM Scale Set unless the VM Scale Set has some instances which "
    "have imageReference.version set to latest.",
    wording="recorded",
    source="recordings: 1 in 2017-12, a set pinned to an explicit version",
)
NO_ROLLOUT_TO_CANCEL: Final = AzureError(
    name="no-rollout-to-cancel",
    code="OperationNotAllowed",
    status=409,
    text="There is no ongoing Rolling Upgrade to cancel.",
    wording="recorded",
    source="recordings: 61 rollingUpgrades/cancel",
)
ROLLOUT_RUNNING: Final = AzureError(
    name="rollout-running",
    code="OperationNotAllowed",
    status=409,
    text="The operation is not allowed on Virtual Machine Scale Set '{name}' while a Rolling Upgrade is in progress.",
    wording="ours",
    source="Microsoft support guide on automatic extension upgrade: another rolling upgrade runs; transient, retry",
)
ROLLING_NEEDS_HEALTH: Final = AzureError(
    name="rolling-needs-health",
    code="BadRequest",
    status=400,
    text="Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe was not "
    "provided.",
    wording="recorded",
    source="recordings: 5 PUT",
)
AUTO_OS_NEEDS_LATEST: Final = AzureError(
    name="auto-os-needs-latest",
    code="BadRequest",
    status=400,
    text="virtualMachineScaleSets with Automatic OS Upgrade enabled must use Platform or Gallery Image with version set to "
    "'latest'.",
    wording="reported",
    source="terraform-provider-azurerm #8301",
)
AUTO_OS_WINDOWS_UPDATES: Final = AzureError(
    name="auto-os-windows-updates",
    code="BadRequest",
    status=400,
    text="windowsConfiguration.enableAutomaticUpdates cannot be set to true if "
    "upgradePolicy.automaticOSUpgradePolicy.enableAutomaticOSUpgrade is already true, starting from API version "
    "2019-03-01",
    wording="reported",
    source="aks-engine #1795 (text; the code is assumed)",
)
AUTO_OS_PATCH_MODE: Final = AzureError(
    name="auto-os-patch-mode",
    code="BadRequest",
    status=400,
    text="Automatic OS Upgrade cannot be enabled with patchMode AutomaticByPlatform.",
    wording="ours",
    source="DOC-autoos: the two cannot be combined; no recorded answer",
)
IMAGE_GENERATION: Final = AzureError(
    name="image-generation",
    code="BadRequest",
    status=400,
    text="UEFI settings are not supported for Virtual Machine Scale Set '{name}' with Hypervisor Generation 1 Image.",
    wording="ours",
    source="recordings: 5 PUT of a generation 1 image on a UEFI set (beginning and end of the sentence)",
)
IMAGE_TRUSTED_LAUNCH: Final = AzureError(
    name="image-trusted-launch",
    code="BadRequest",
    status=400,
    text="Managed Images are not supported for virtual machines with security type TrustedLaunch.",
    wording="recorded",
    source="recordings: 4 PUT of a managed image",
)
WRITE_ACCELERATOR: Final = AzureError(
    name="write-accelerator",
    code="InvalidParameter",
    status=400,
    text="VM size {size} is not supported on disks with Write Accelerator enabled.",
    wording="recorded",
    source="recordings: 1 PUT",
    target="writeAcceleratorEnabled",
)
PROPERTY_FIXED: Final = AzureError(
    name="property-fixed",
    code="PropertyChangeNotAllowed",
    status=409,
    text="Changing property '{property}' is not allowed.",
    wording="recorded",
    source="recordings: 2 PUT of another priority (409; other sources say 400)",
)
QUOTA: Final = AzureError(
    name="quota",
    code="OperationNotAllowed",
    status=409,
    text="Operation results in exceeding quota limits of Core. Maximum allowed: {allowed}, Current in use: {used}, "
    "Additional requested: {requested}. Please read more about quota increase at http://aka.ms/corequotaincrease.",
    wording="recorded",
    source="recordings: 4 PUT of a larger capacity (numbers); public deployment logs (the whole sentence)",
)
SUBNET_FULL: Final = AzureError(
    name="subnet-full",
    code="SubnetIsFull",
    status=400,
    text="Subnet does not have enough capacity for {needed} IP addresses.",
    wording="ours",
    source="azure-docs #88211 (the subnet's name and prefix stand between); AKS #2531: the whole scale-out is refused",
)
LAST_INSTANCE: Final = AzureError(
    name="last-instance",
    code="BadRequest",
    status=400,
    text="The Virtual Machine Scale Set instance '{id}' cannot be deleted because it is the last remaining instance. Delete "
    "the Virtual Machine Scale Set instead.",
    wording="ours",
    source="recordings: 3 DELETE of the last VM of a set (middle of the sentence); the service no longer refuses",
)
FEATURE_MISSING: Final = AzureError(
    name="feature-missing",
    code="OperationNotAllowed",
    status=409,
    text="This subscription is not registred to use feature {feature}.",
    wording="recorded",
    source="recordings: 8 reimage in 2016, Microsoft.Compute/ImagePatchingFeature (the spelling is Azure's)",
)
SUBSCRIPTION_FEATURE_MISSING: Final = AzureError(
    name="subscription-feature-missing",
    code="SubscriptionNotRegisteredForFeature",
    status=400,
    text="Subscription {subscription} is not registered for feature {feature} required to carry out the requested "
    "operation.",
    wording="recorded",
    source="recordings: 4 PUT with a health probe in 2017 and 2018, Microsoft.Network/AllowVmssHealthProbe",
)
NOT_ELIGIBLE: Final = AzureError(
    name="not-eligible",
    code="OperationNotAllowed",
    status=409,
    text="Operation 'performMaintenance' is not allowed on VM '{vm}' since the Subscription of this VM is not eligible.",
    wording="recorded",
    source="recordings: 60 performMaintenance",
)
PROTECTED: Final = AzureError(
    name="protected",
    code="OperationNotAllowed",
    status=409,
    text="Operation '{operation}' is not allowed on instance '{id}' because it is protected from scale set actions.",
    wording="ours",
    source="undocumented for an explicit id; the protection itself: virtual-machine-scale-sets-instance-protection.md",
)
REPAIRS_NEED_HEALTH: Final = AzureError(
    name="repairs-need-health",
    code="BadRequest",
    status=400,
    text="Automatic repairs not supported for this Virtual Machine Scale Set because a health probe or health extension was "
    "not provided.",
    wording="reported",
    source="terraform-provider-azurerm #5860, #5976 (the sentence); the code by analogy with rolling-needs-health",
)
REPAIR_ACTION_FIXED: Final = AzureError(
    name="repair-action-fixed",
    code="BadRequest",
    status=400,
    text="The repair action of Virtual Machine Scale Set '{name}' cannot change while automatic repairs are enabled.",
    wording="ours",
    source="virtual-machine-scale-sets-automatic-instance-repairs.md: disable first, then enable with the new action",
)
SURGE_ON_FLEXIBLE: Final = AzureError(
    name="surge-on-flexible",
    code="BadRequest",
    status=400,
    text="MaxSurge cannot be combined with Automatic OS Upgrade on Virtual Machine Scale Set '{name}' in Flexible "
    "orchestration mode.",
    wording="ours",
    source="virtual-machine-scale-sets-maxsurge.md: not supported together; no recorded answer",
)
ROLLBACK_ON_FLEXIBLE: Final = AzureError(
    name="rollback-on-flexible",
    code="BadRequest",
    status=400,
    text="rollbackFailedInstancesOnPolicyBreach is not supported on Virtual Machine Scale Set '{name}' in Flexible "
    "orchestration mode.",
    wording="ours",
    source="DOC-rolling: Uniform only; no recorded answer",
)
VALUE_OUT_OF_RANGE: Final = AzureError(
    name="value-out-of-range",
    code="InvalidParameter",
    status=400,
    text="The value of parameter {parameter} is invalid.",
    wording="reported",
    source="Azure/vm-scale-sets #34 (the sentence); ranges: azure-mgmt-compute 34.1 model validation",
)
EXTENSION_NAMED_TWICE: Final = AzureError(
    name="extension-named-twice",
    code="BadRequest",
    status=400,
    text="On VM Scale Set '{name}', extension name '{extension}' cannot be used for more than one extension.",
    wording="reported",
    source="MicrosoftDocs/azure-docs #15359; still said in 2026 (Azure/azure-cli #33755)",
)
NOT_FOUND: Final = AzureError(
    name="not-found",
    code="NotFound",
    status=404,
    text="The entity was not found in this Azure location.",
    wording="recorded",
    source="recordings: 67 instance views of a VM not there (yet); rollingUpgrades/latest before any upgrade",
)
NO_ROLLOUT_YET: Final = AzureError(
    name="no-rollout-yet",
    code="NotFound",
    status=404,
    text="The entity was not found.",
    wording="recorded",
    source="recordings: 2 rollingUpgrades/latest in 2017; terraform-provider-azurerm quotes NOT_FOUND's sentence",
)
SET_NOT_FOUND: Final = AzureError(
    name="set-not-found",
    code="ResourceNotFound",
    status=404,
    text="The Resource 'Microsoft.Compute/virtualMachineScaleSets/{name}' under resource group '{group}' was not found. For "
    "more details please go to https://aka.ms/ARMResourceNotFoundFix",
    wording="recorded",
    source="recordings: 2 GET (the second sentence since 2021)",
)
SET_NOT_FOUND_SHORT: Final = AzureError(
    name="set-not-found-short",
    code="ResourceNotFound",
    status=404,
    text="The Resource 'Microsoft.Compute/virtualMachineScaleSets/{name}' under resource group '{group}' was not found.",
    wording="recorded",
    source="recordings: 2 GET, until 2020",
)
GROUP_NOT_FOUND: Final = AzureError(
    name="group-not-found",
    code="ResourceGroupNotFound",
    status=404,
    text="Resource group '{group}' could not be found.",
    wording="recorded",
    source="recordings: 4 GET",
)
PRECONDITION_FAILED: Final = AzureError(
    name="precondition-failed",
    code="PreconditionFailed",
    status=412,
    text="Etag provided in if-match header {given} does not match etag {current} of resource.",
    wording="reported",
    source="cloud-provider-azure #9728; both etags with their quotes",
)
TOO_MANY_REQUESTS: Final = AzureError(
    name="too-many-requests",
    code="OperationNotAllowed",
    status=429,
    text="The server rejected the request because too many requests have been received for this subscription.",
    wording="documented",
    source="SupportArticles-docs troubleshooting-throttling-errors.md; the detail's code is TooManyRequests",
)
GATEWAY_TIMEOUT: Final = AzureError(
    name="gateway-timeout",
    code="GatewayTimeout",
    status=504,
    text="The gateway did not receive a response from 'Microsoft.Compute' within the specified time period.",
    wording="recorded",
    source="recordings: 3 GET",
)
SERVER_TIMEOUT: Final = AzureError(
    name="server-timeout",
    code="ServerTimeout",
    status=503,
    text="The request timed out. Diagnostic information: {detail}.",
    wording="recorded",
    source="recordings: 1 look at an operation, 2020-07",
)

# -- Accepted, ended Failed: rolling upgrades -----------------------------------------------------------------------------

UNHEALTHY_BEFORE: Final = AzureError(
    name="unhealthy-before",
    code="MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade",
    status="operation",
    text="Rolling Upgrade failed due to exceeding the MaxUnhealthyInstancePercent value (defined in the "
    "RollingUpgradePolicy) before any batch was attempted. {percent}% of instances are in an unhealthy state, more than "
    "the threshold of {threshold}% configured in the RollingUpgradePolicy. The most impactful error is:  Instance found "
    "to be unhealthy or unreachable. For details on rolling upgrades, use http://aka.ms/AzureVMSSRollingUpgrade",
    wording="reported",
    source="public log of an operator's script; the code: DOC-autoos",
)
UNHEALTHY_DURING: Final = AzureError(
    name="unhealthy-during",
    code="MaxUnhealthyInstancePercentExceededInRollingUpgrade",
    status="operation",
    text="Rolling Upgrade failed after exceeding the MaxUnhealthyInstancePercent value defined in the RollingUpgradePolicy. "
    "{percent}% of instances are in an unhealthy state - more than the threshold of {threshold}%. To apply upgrades, "
    "consider increasing the MaxUnhealthyInstancePercent value.",
    wording="recorded",
    source="azure-powershell session record of 2019, opencga #987; newer wordings differ: match on the code",
)
UNHEALTHY_UPGRADED: Final = AzureError(
    name="unhealthy-upgraded",
    code="MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade",
    status="operation",
    text="Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the "
    "RollingUpgradePolicy. {percent}% of instances are in an unhealthy state after being upgraded - more than the "
    "threshold of {threshold}%. The most impactful error is: Instance found to be unhealthy or unreachable.. First failed "
    "instance ID is: {id}.",
    wording="recorded",
    source="recordings: 2 extensionRollingUpgrade of 2021-04 (after 601 s and 647 s); AzureTRE #1591",
)
FAILED_VMS: Final = AzureError(
    name="failed-vms",
    code="RollingUpgradeInProgressWithFailedUpgradedVMs",
    status="operation",
    text="Rolling Upgrade is in progress with {failed} failed upgraded instances; it goes on as long as they do not exceed "
    "the threshold of {threshold}%. First failed instance ID is: {id}.",
    wording="ours",
    source="DOC-autoos: a VM failed, the message says whether the rollout goes on or pauses",
)
ROLLOUT_TIMEOUT: Final = AzureError(
    name="rollout-timeout",
    code="RollingUpgradeTimeoutError",
    status="operation",
    text="Rolling Upgrade did not finish within the allotted time of {minutes} minutes.",
    wording="ours",
    source="DOC-autoos: the rollout timed out, the message gives the time; the time is not published",
)
ROLLOUT_INTERNAL: Final = AzureError(
    name="rollout-internal",
    code="RollingUpgradeInternalError",
    status="operation",
    text="An internal error occurred while performing the Rolling Upgrade.",
    wording="ours",
    source="recordings: rollingUpgrades/latest of one cancelled upgrade, 0 done, 1 failed, 1 pending (code only)",
)
INTERNAL: Final = AzureError(
    name="internal",
    code="InternalExecutionError",
    status="operation",
    text="An internal execution error occurred.",
    wording="recorded",
    source="recordings: osRollingUpgrade of a set in mode Automatic, failed after 0.5 s (2018-01); DOC-autoos",
)
IDENTITY: Final = AzureError(
    name="identity",
    code="ManagedServiceIdentityInternalError",
    status="operation",
    text="Internal error encountered when retrieving identity details for '{url}'.",
    wording="recorded",
    source="recordings: 1 PUT of 2018-01",
)
PREEMPTED: Final = AzureError(
    name="preempted",
    code="OperationPreempted",
    status="operation",
    text="Operation execution has been preempted by a more recent operation.",
    wording="reported",
    source="azure-rest-api-specs #22434, osbuild-composer #1447",
)

# -- Accepted, ended Failed: one VM is to blame ---------------------------------------------------------------------------

OS_TIMED_OUT: Final = AzureError(
    name="os-timed-out",
    code="OSProvisioningTimedOut",
    status="operation",
    text="OS provisioning failure has reached terminal state and is non-recoverable for VM '{vm}'. Consider running the "
    "Reimage operation or recreating this virtual machine. Additional Details: OS Provisioning for VM '{vm}' did not "
    "finish in the allotted time. The VM may still finish provisioning successfully. Please check provisioning state "
    "later. For details on how to check current provisioning state of Windows VMs, refer to "
    "https://aka.ms/WindowsVMLifecycle and Linux VMs, refer to https://aka.ms/LinuxVMLifecycle.",
    wording="recorded",
    source="recordings: 2 PUT of 2020-03, after 776 s and 875 s",
)
OS_CLIENT_ERROR: Final = AzureError(
    name="os-client-error",
    code="OSProvisioningClientError",
    status="operation",
    text="OS Provisioning failed for VM '{vm}' due to an internal error.",
    wording="reported",
    source="Microsoft support guide on automatic extension upgrade (code)",
)
START_TIMED_OUT: Final = AzureError(
    name="start-timed-out",
    code="VMStartTimedOut",
    status="operation",
    text="VM '{vm}' did not start in the allotted time. The VM may still start successfully. Please check the power state "
    "later.",
    wording="recorded",
    source="recordings: 3 PUT of 2020-03, after 715 s to 780 s",
)
EXTENSION_ERROR: Final = AzureError(
    name="extension-error",
    code="VMExtensionProvisioningError",
    status="operation",
    text="VM has reported a failure when processing extension '{extension}'. Error message: \"{detail}\".",
    wording="recorded",
    source="recordings: 9, one a manualupgrade of 2018-04",
)
EXTENSION_TIMEOUT: Final = AzureError(
    name="extension-timeout",
    code="VMExtensionProvisioningTimeout",
    status="operation",
    text="Provisioning of VM extension '{extension}' has timed out. Extension installation may be taking too long, or "
    "extension status could not be obtained.",
    wording="documented",
    source="DOC-common",
)
EXTENSION_HANDLER: Final = AzureError(
    name="extension-handler",
    code="VMExtensionHandlerNonTransientError",
    status="operation",
    text="Handler '{extension}' has reported failure for VM Extension '{extension}' with terminal error code '{exit}'.",
    wording="documented",
    source="DOC-common, shortened; Azure/vm-scale-sets #82 shows the code in an instance view",
)
AGENT_SILENT: Final = AzureError(
    name="agent-silent",
    code="VMAgentStatusCommunicationError",
    status="operation",
    text="VM '{vm}' has not reported status for VM agent or extensions. Please verify the VM has a running VM agent, and can "
    "establish outbound connections to Azure storage.",
    wording="documented",
    source="DOC-common",
)
PROCESSING_HALTED: Final = AzureError(
    name="processing-halted",
    code="VMProcessingHalted",
    status="operation",
    text="Processing of VM '{vm}' is halted because of one or more disk processing errors encountered by VM '{other}'.",
    wording="ours",
    source="recordings: 1 PUT (code only)",
)
DISK_ERROR: Final = AzureError(
    name="disk-error",
    code="DiskProcessingError",
    status="operation",
    text="Disk processing failed for VM '{vm}'.",
    wording="ours",
    source="recordings: 1 PUT (code only)",
)
ALLOCATION: Final = AzureError(
    name="allocation",
    code="AllocationFailed",
    status="operation",
    text="Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about "
    "improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    wording="reported",
    source="public issues, e.g. WALinuxAgent PR 3056; recorded once with the code VMScaleSetAllocationError",
)
ZONAL_ALLOCATION: Final = AzureError(
    name="zonal-allocation",
    code="ZonalAllocationFailed",
    status="operation",
    text="Allocation failed. We do not have sufficient capacity for the requested VM size in this zone. Read more about "
    "improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    wording="reported",
    source="openshift/release PR 5182",
)

ALL: Final[tuple[AzureError, ...]] = tuple(value for value in globals().values() if isinstance(value, AzureError))
"""Every row, in the order of this file."""


def rows_of(code: str) -> tuple[AzureError, ...]:
    """Every situation in which Azure uses this code."""
    return tuple(row for row in ALL if row.code == code)
