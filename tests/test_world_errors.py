"""The table of Azure's errors: complete, consistent, worded as recorded."""

from __future__ import annotations

import keyword

import pytest

from vmss_sim.world import errors
from vmss_sim.world.errors import ALL, AzureError

# Real bodies, trimmed to code, status and sentence: what the templates must reproduce letter by letter.
RECORDED = (
    ("instance-unknown", 400, "InvalidParameter", {"id": "999"}, "The provided instanceId 999 is not an active Virtual Machine Scale Set VM instanceId."),
    ("no-rollout-to-cancel", 409, "OperationNotAllowed", {}, "There is no ongoing Rolling Upgrade to cancel."),
    ("rolling-needs-health", 400, "BadRequest", {}, "Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe was not provided."),
    ("os-rolling-needs-mode", 409, "OperationNotAllowed", {}, "The OS Rolling Upgrade API cannot be used on a VM Scale Set unless the VM Scale Set has upgradePolicy.mode set to Rolling."),
    ("os-rolling-needs-latest", 409, "OperationNotAllowed", {}, "The OS Rolling Upgrade API cannot be used on a VM Scale Set unless the VM Scale Set has some instances which have imageReference.version set to latest."),
    ("conflict", 409, "Conflict", {}, "The request failed due to conflict with a concurrent request. To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests."),
    ("feature-missing", 409, "OperationNotAllowed", {"feature": "Microsoft.Compute/ImagePatchingFeature"}, "This subscription is not registred to use feature Microsoft.Compute/ImagePatchingFeature."),
    ("property-fixed", 409, "PropertyChangeNotAllowed", {"property": "priority"}, "Changing property 'priority' is not allowed."),
    ("not-found", 404, "NotFound", {}, "The entity was not found in this Azure location."),
    ("no-rollout-yet", 404, "NotFound", {}, "The entity was not found."),
    ("internal", "operation", "InternalExecutionError", {}, "An internal execution error occurred."),
    ("start-timed-out", "operation", "VMStartTimedOut", {"vm": "vmss6963_4"}, "VM 'vmss6963_4' did not start in the allotted time. The VM may still start successfully. Please check the power state later."),
    (
        "unhealthy-upgraded", "operation", "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade", {"percent": 100, "threshold": 20, "id": "0"},
        "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value defined in the RollingUpgradePolicy. 100% of instances are in an unhealthy state after being upgraded - more than the threshold of 20%. The most impactful error is: Instance found to be unhealthy or unreachable.. First failed instance ID is: 0.",
    ),
    (
        "unhealthy-during", "operation", "MaxUnhealthyInstancePercentExceededInRollingUpgrade", {"percent": 100, "threshold": 90},
        "Rolling Upgrade failed after exceeding the MaxUnhealthyInstancePercent value defined in the RollingUpgradePolicy. 100% of instances are in an unhealthy state - more than the threshold of 90%. To apply upgrades, consider increasing the MaxUnhealthyInstancePercent value.",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("name", "status", "code", "fields", "sentence"), RECORDED, ids=[row[0] for row in RECORDED])
def test_recorded_errors_word_by_word(
    name: str, status: object, code: str, fields: dict[str, object], sentence: str
) -> None:
    (row,) = (one for one in ALL if one.name == name)
    assert (row.status, row.code, row.sentence(**fields)) == (status, code, sentence)
    assert row.wording == "recorded"


# reference notes on the platform, 1.5, 2, 4 and 7: every code named there has a row.
CODES = [
    "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade",
    "MaxUnhealthyInstancePercentExceededInRollingUpgrade",
    "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade",
    "RollingUpgradeInProgressWithFailedUpgradedVMs",
    "RollingUpgradeTimeoutError",
    "InternalExecutionError",
    "OperationNotAllowed",
    "Conflict",
    "OSProvisioningTimedOut",
    "OSProvisioningClientError",
    "VMExtensionProvisioningError",
    "VMExtensionProvisioningTimeout",
    "VMExtensionHandlerNonTransientError",
    "VMAgentStatusCommunicationError",
    "VMStartTimedOut",
    "ZonalAllocationFailed",
    "NotFound",
    "BadRequest",
    "InvalidParameter",
    "PreconditionFailed",
    "OperationPreempted",
    "PropertyChangeNotAllowed",
    "RollingUpgradeInternalError",
    "VMProcessingHalted",
    "DiskProcessingError",
]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_notes_has_a_row(code: str) -> None:
    assert errors.rows_of(code)


def _faults(rows: tuple[AzureError, ...]) -> list[str]:
    """What is wrong with a table."""
    found = [f"{row.name} twice" for row in rows if [other.name for other in rows].count(row.name) > 1]
    for row in rows:
        if not (row.status == errors.OPERATION or (isinstance(row.status, int) and 400 <= row.status < 600)):
            found.append(f"{row.name}: status {row.status}")
        if not row.source or not row.code.isidentifier():
            found.append(f"{row.name}: no source, or no code")
        if any(not field.isidentifier() or keyword.iskeyword(field) for field in row.fields):
            found.append(f"{row.name}: fields without a name")
    return found


def test_the_table_is_well_formed() -> None:
    assert not _faults(ALL)
    assert len(ALL) == len({row.name for row in ALL})


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 200},
        {"source": ""},
        {"text": "no name for {}"},
        {"name": ALL[0].name},
    ],
    ids=str,
)
def test_planted_faults_of_the_table_are_noticed(wrong: dict[str, object]) -> None:
    import msgspec

    row = msgspec.structs.replace(errors.CONFLICT, **{"name": "planted", **wrong})
    assert _faults((*ALL, row))


def test_a_sentence_wants_exactly_its_fields() -> None:
    with pytest.raises(TypeError, match=r"instance-unknown: the sentence wants \['id'\], found \[\]"):
        errors.INSTANCE_UNKNOWN.sentence()
    with pytest.raises(TypeError, match="found"):
        errors.CONFLICT.sentence(id=1)


def test_a_failed_operation_is_read_with_200() -> None:
    assert errors.UNHEALTHY_BEFORE.http_status == 200
    assert errors.CONFLICT.http_status == 409
