"""Where the endpoint's answers differ from recorded ones and may, beside the service's years (`years.py`): every exception, with its reason.

A row that covers nothing is out of date: a test says so. `count` is how many differences it covers in the recordings as they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.replay.requests.run import Difference


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
            (self.path, one.inner),
            (self.recorded, one.recorded),
            (self.found, one.found),
        )
        return all(re.fullmatch(pattern, text, re.S) is not None for pattern, text in pairs)


ANY = ".*"
_SETS = r"GET|PUT|PATCH|PUT \(create\)|GET list of a (group|subscription)"
_VMS = r"(GET|PUT) virtualMachines(/\{id\})?"
_VIEWS = r"GET virtualMachines(/\{id\}(/instanceView)?)?"
_CARD = r"properties\.(virtualMachineProfile\.networkProfile|networkProfileConfiguration)\.networkInterfaceConfigurations\[\]\.properties\."
_PROFILE = r"properties\.virtualMachineProfile\."
_EXTENSION = r"(properties\.virtualMachineProfile\.extensionProfile\.extensions|resources)\[\]\.properties\."


def _shape(reason: str, recording: str, kind: str, path: str, count: int, what: str = "shape") -> Accepted:
    return Accepted(reason, recording, kind, what, path, ANY, ANY, count)


ACCEPTED: tuple[Accepted, ...] = (
    # -- the state of guests and of what stands around the set
    _shape(
        "given: the guest agents of the recorded VMs had not reported yet; here they report as soon as a VM runs",
        ANY,
        _VIEWS,
        r"(properties\.instanceView\.)?(computerName|osName|osVersion|vmAgent).*",
        156,
        "shape, agent silent",
    ),
    _shape(
        "given: what extensions say of themselves: disk encryption and others tell no time, some no message",
        ANY,
        _VIEWS,
        r"(properties\.instanceView\.)?(extensions\[\]\.(statuses\[\]\.time|substatuses)|vmAgent\.extensionHandlers\[\]\.status\.message).*",
        107,
    ),
    _shape(
        "not modelled: encryption of disks, and what its extension is set to by somebody else",
        r".*[dD]isk_?[eE]ncryption.*",
        f"{_VIEWS}|{_VMS}|{_SETS}|GET extensions/\\{{id\\}}|GET instanceView",
        r".*(encryptionSettings|forceUpdateTag|resources\[\]|extensions\[\]).*",
        271,
    ),
    _shape(
        "given: a policy of the recorders' subscription adds to its extensions and VMs after the creation, too",
        ANY,
        f"{_SETS}|{_VMS}",
        _EXTENSION + "(enableAutomaticUpgrade|suppressFailures|settings).*",
        157,
    ),
    _shape(
        "given: a policy of the recorders' subscription gives each VM an identity",
        r"pypi:azure-mgmt-compute .*compute_vmss_vm.*",
        _VMS,
        r"identity.*",
        96,
    ),
    # -- what recorders left out, or mixed up
    _shape(
        "recorder: the body of the PATCH was not kept, so nobody can say that it took an identity away",
        r"Azure/azure-libraries-for-java can.*EMSI.*",
        "GET|PATCH",
        r"identity.*",
        53,
    ),
    _shape(
        "recorder: exchanges of one second are grouped by request, so looks from before stand after an update",
        r".* (TestVirtualMachineScaleSetReimageUpdate|TestDisableVirtualMachineScaleSetDiskEncryption|TestGetVirtualMachineScaleSetDiskEncryptionDataDisk)\.json .*",
        ANY,
        r".*(tags|endTime|forceUpdateTag|disks\[\]|extensions\[\]).*",
        3,
    ),
    _shape(
        "recorder: nothing shows that the set is a Flexible one before its list does",
        r".* test_vmss_hibernate\.yaml .*",
        "GET virtualMachines",
        ANY,
        29,
    ),
    # -- rollouts and operations
    _shape(
        "unexplained: two VMs without a health signal took 3000 s, five waits of 600 s; one VM takes one",
        r"pypi:azure-mgmt-compute py1\d\.\d\.0\S*test_compute\.yaml .*",
        "GET operation",
        "endTime:string",
        467,
    ),
    _shape(
        "service of 2021-04: judged by 20 % although the set's policy says 100",
        r"pypi:azure-mgmt-compute py20\.0\.0\S*test_compute_vmss_rolling_upgrades\.yaml .*",
        "GET operation",
        r"error.*",
        3,
    ),
    _shape(
        "missing starting state: three ticks, as for two stale VMs; the recording does not show why they were",
        r".* test_vmss_update_enable_auto_os_upgrade\.yaml 2024-08-26",
        "GET operation",
        "endTime:string",
        4,
    ),
    _shape(
        "undocumented: to delete what is not there takes some seconds; here it has ended at once",
        r".*(compute_vmss_vm.*\.json|test_vmss_run_command_v2\.yaml) .*",
        "GET operation",
        "endTime:string",
        5,
    ),
    Accepted(
        "service of 2018-01: a preview that failed by itself on a set in mode Automatic, and so left nothing to cancel",
        r".* TestVirtualMachineScaleSetRollingUpgrade\.json 2018-01-23",
        r"GET operation|POST rollingUpgrades/cancel",
        ANY,
        ANY,
        ANY,
        ANY,
        14,
    ),
    _shape(
        "not modelled: a creation that failed for want of an identity",
        r".* TestVirtualMachineScaleSetUserIdentity\.json .*",
        "GET operation",
        ANY,
        4,
    ),
    Accepted(
        "the service did not answer in time",
        ANY,
        "GET|GET operation",
        ANY,
        ANY,
        r"50[34]|ServerTimeout|GatewayTimeout|The (gateway|request) .*",
        ANY,
        6,
    ),
    # -- what was reported otherwise since
    Accepted(
        "service of 2016: one of two extensions of one name was taken; reported as refused in 2018 and 2026 (azure-docs #15359)",
        r".* test_vmss_diagnostics_install\.yaml 2016-08-23",
        "PUT",
        "status|code|message",
        ANY,
        ANY,
        "400|BadRequest|On VM Scale Set 'myvmss3', extension name 'LinuxDiagnostic' .*",
        3,
    ),
    # -- what is not modelled
    Accepted(
        "not modelled: a preview feature of the subscription, needed for health probes in 2017",
        r".* TestVirtualMachineScaleSetRollingUpgrade\.json .*",
        "PUT",
        "status|code|message",
        ANY,
        r"400|SubscriptionNotRegisteredForFeature|Subscription .*",
        ANY,
        12,
    ),
    Accepted(
        "not modelled: a preview feature of the subscription, needed for reimage in 2016",
        r".* TestVirtualMachineScaleSetReimageUpdate\.json 2016-03-24",
        "POST reimage",
        "status|code|message",
        ANY,
        ANY,
        ANY,
        3,
    ),
    Accepted(
        "not modelled: which VM sizes take which disk caches",
        r".* TestVirtualMachineScaleSetWriteAcceleratorUpdate\.json .*",
        "PUT",
        "status|code|message",
        ANY,
        ANY,
        ANY,
        3,
    ),
    _shape(
        "not modelled: what the throughput of an ultra disk is where nobody says it",
        r".*(UltraSSD\.json|test_vmss_ultra_ssd_storage_sku\.yaml) .*",
        f"{_SETS}|{_VMS}",
        r".*disk(IOPS|MBps)ReadWrite:number",
        20,
    ),
    _shape(
        "not modelled: data disks that an image brings",
        r".* CanCreateVirtualMachineScaleSetFromCustomImageWithManagedDisk\.json .*",
        f"{_SETS}|{_VMS}",
        r".*storageProfile\.dataDisks\[\].*",
        29,
    ),
    _shape(
        "not modelled: a data disk that is being detached from an instance is shown until it is gone",
        r".* test_vmss_update_instance_disks\.yaml .*",
        _VMS,
        r"properties\.storageProfile\.dataDisks\[\].*",
        54,
    ),
    _shape(
        "not modelled: the service's own extension for gallery applications, and where their configuration stands",
        r".* test_vmss_add_application\w*\.yaml .*",
        _SETS,
        _PROFILE + r"(extensionProfile|applicationProfile).*",
        81,
    ),
    _shape(
        "not modelled: settings of features beside upgrades that are off, or the default, are not kept",
        r".* test_(vmss_(terminate_notification|os_image_notification|scheduled_events_policy|scale_in_policy|update_security_type)|vm_vmss_proxy_agent)\.yaml .*",
        _SETS,
        r"properties\.(scheduledEventsPolicy|scaleInPolicy|virtualMachineProfile\.(scheduledEventsProfile|securityProfile)).*",
        66,
    ),
    _shape(
        "not modelled: a mix of sizes has no tier",
        r".* test_vmss_create_sku_profile_update\.yaml .*",
        _SETS,
        r"sku\.tier:string",
        3,
    ),
    _shape(
        "not modelled: which of its successors the walk over update domains names last (Service Fabric)",
        r".* TestVirtualMachineScaleSetForceUDWalk\.json .*",
        r"POST forceRecoveryServiceFabricPlatformUpdateDomainWalk",
        "nextPlatformUpdateDomain:number",
        1,
    ),
    _shape(
        "unknown: POST scale of 2017 names the instances that go before they are chosen",
        r".* TestVMScaleSetBatchOperations\.json 2017-04-27",
        "POST scale",
        r"scaleInInstanceIds\[\]:string",
        1,
    ),
    # -- other shapes of other years
    _shape(
        "service of 2017 to 2020: showed internal data to the subscriptions of its own teams",
        ANY,
        f"{_VIEWS}|GET instanceView",
        r"(properties\.instanceView\.)?internalData.*",
        210,
    ),
    _shape(
        "service of 2016 and 2017: views of managed disks, thumbprints of RDP, groups, agents of deallocated VMs, times of states",
        ANY,
        f"{_VIEWS}|GET instanceView",
        r"(properties\.instanceView\.)?(disks\[\]|rdpThumbPrint|groupId|vmAgent|statuses\[\]\.time).*",
        135,
    ),
    _shape(
        "spelling of mid-2017, shown beside the other one to clients of that version",
        r".* test_vmss_rolling_upgrade\.yaml .*",
        "GET rollingUpgrades/latest",
        r"properties\.(policy\.batchInstancePercent|progress\.inprogressInstanceCount):number",
        16,
    ),
    _shape(
        "unexplained: parts of the network's newer versions under old ones, in few recordings of many",
        r".* test_\w+\.yaml .*",
        _SETS,
        _CARD
        + r"(dnsSettings|enableAcceleratedNetworking|enableIPForwarding|ipConfigurations\[\]\.properties\.privateIPAddressVersion).*",
        24,
    ),
    _shape(
        "service of 2018: a preview's switch for extensions on extra VMs",
        r".* TestVMScaleSetScenarioOperations_DiffDisks\.json 2018-09-26",
        _SETS,
        _PROFILE + r"extensionProfile\.doNotRunOnOverprovisionedVMs:boolean",
        4,
    ),
    _shape(
        "unexplained: one recording of the year shows what its set did not show before",
        r".* (test_diagnostics_extension_install\.yaml 2019-06-14|test_vmss_explicit_msi\.yaml 2017-12-22|canPerformSimulateEvictionOnSpotVMSSInstance\.json .*|test_vmss_update_instance_disks\.yaml 2023-12-06)",
        f"{_SETS}|{_VMS}",
        r"properties\.doNotRunExtensionsOnOverprovisionedVMs:boolean|identity\.identityIds\[\].*|properties\.storageProfile\.osDisk\.(diskSizeGB|managedDisk\.storageAccountType):\w+",
        13,
    ),
)
"""Every other exception."""
