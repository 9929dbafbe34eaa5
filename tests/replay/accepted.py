"""Where the world differs from a recording and may: every exception, with its reason.

A row covers the findings that match all of its patterns (regular expressions, whole text). A row that covers nothing is
out of date: a test says so. `count` is how many findings it covers in the recordings as they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class LeftOut(NamedTuple):
    """A request in scope that is not replayed."""

    reason: str
    recording: str
    kind: str
    count: int


LEFT_OUT = (
    LeftOut(
        "recorder: spliced in by hand from another day; its time lies before the creation of the set",
        "MabOneSdk/azure-sdk-for-net TestVMScaleSetVMOperations.json 2016-02-19",
        "reimage",
        2,
    ),
)


class Accepted(NamedTuple):
    """One exception. recording: source, file and day; kind and what: of the finding; recorded, world: its two values."""

    reason: str
    recording: str
    kind: str
    what: str
    recorded: str
    world: str
    count: int

    def covers(self, recording: str, kind: str, what: str, recorded: object, world: object) -> bool:
        """Does it accept this difference?"""
        pairs = (
            (self.recording, recording),
            (self.kind, kind),
            (self.what, what),
            (self.recorded, str(recorded)),
            (self.world, str(world)),
        )
        return all(re.fullmatch(pattern, text, re.S) is not None for pattern, text in pairs)


ACCEPTED = (
    Accepted(
        "missing starting state: the set was created before the recording began, and its VMs were still settling",
        r".* test_vmss_(create_and_modify|reimage)\.yaml .*",
        r"\(start\)",
        "vm",
        "updating",
        "succeeded",
        154,
    ),
    Accepted(
        "missing starting state: the recording begins while the set is still being created",
        r".* test_vmss_extension(_debian)?\.yaml .*",
        r"\(start\)",
        "set|etag grew",
        "creating|True",
        "succeeded|False",
        5,
    ),
    Accepted(
        "missing starting state: extra VMs of an overprovisioned creation were still being deleted",
        r"huangpf/azure-powershell TestVirtualMachineScaleSetReimageUpdate\.json 2016-03-24",
        r"\(start\)",
        "set|summary",
        r"updating|\[\('deleting', 1\), \('succeeded', 2\)\]",
        r"succeeded|\[\('succeeded', 2\)\]",
        2,
    ),
    Accepted(
        "recorder: exchanges of one second are grouped by request, so a look before the update stands after it",
        r"sergey-shandar/azure-powershell TestVirtualMachineScaleSetReimageUpdate\.json .*",
        "update-model",
        "set",
        "succeeded",
        "updating",
        2,
    ),
    Accepted(
        "recorder: the update shows no difference (what changed is among the secrets that were scrubbed), VMs became stale",
        r".* TestVirtualMachineScaleSetReimageUpdate\.json .*",
        "update-model",
        "latestModelApplied",
        "False",
        "True",
        4,
    ),
    Accepted(
        "service: deleting one VM by its own path is idempotent; the world knows the set's POST, which refuses unknown ids",
        r".*test_compute_vmss_vm\w*\.(yaml|json) .*",
        "delete",
        "status",
        "202",
        "400",
        18,
    ),
    Accepted(
        "undocumented: of the two VMs in the fullest domain the lower id went, with nothing to tell why (75 times the higher)",
        r".* test_vmss_create_and_modify\.yaml .*",
        "update-model",
        "scale-in id",
        r"\['\d'\]",
        r"\['\d'\]",
        14,
    ),
    Accepted(
        "unexplained: two VMs without a health signal took 3000 s, five waits of 600 s; one VM takes one",
        r"pypi:azure-mgmt-compute py1\d\.\d\.0\S*test_compute\.yaml .*",
        "extension-rolling-upgrade",
        "operation",
        "InProgress",
        "Succeeded",
        8,
    ),
    Accepted(
        "service of 2021-04: judged by 20 % although the set's policy says 100",
        r"pypi:azure-mgmt-compute py20\.0\.0\S*test_compute_vmss_rolling_upgrades\.yaml .*",
        "extension-rolling-upgrade",
        "operation|operation-code",
        "Failed|MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade",
        "Succeeded|",
        2,
    ),
    Accepted(
        "missing starting state: three ticks and a new etag, as for two stale VMs; the recording does not show why they were",
        r".* test_vmss_update_enable_auto_os_upgrade\.yaml 2024-08-26",
        "update-model",
        "operation|etag grew",
        "InProgress|True",
        "Succeeded|False",
        2,
    ),
    Accepted(
        "service of 2018-01: a preview that failed by itself on a set in mode Automatic, and so left nothing to cancel",
        r".* TestVirtualMachineScaleSetRollingUpgrade\.json 2018-01-23",
        "os-rolling-upgrade|cancel-rolling-upgrade",
        "operation|operation-code|status|code|message",
        ".*",
        ".*",
        10,
    ),
    Accepted(
        "not modelled: a preview feature of the subscription, needed for reimage in 2016",
        r".* TestVirtualMachineScaleSetReimageUpdate\.json 2016-03-24",
        "reimage",
        "status|code|message",
        ".*",
        ".*",
        3,
    ),
    Accepted(
        "not modelled: which VM sizes take which disk caches",
        r".* TestVirtualMachineScaleSetWriteAcceleratorUpdate\.json .*",
        "update-model",
        "status|code|message",
        ".*",
        ".*",
        3,
    ),
    Accepted(
        "not modelled: a preview feature of the subscription, needed for health probes in 2017 (the later refusal is checked)",
        r".* TestVirtualMachineScaleSetRollingUpgrade\.json .*",
        "update-model",
        "status|code|message",
        r"400|SubscriptionNotRegisteredForFeature|Subscription .*",
        ".*",
        12,
    ),
)
