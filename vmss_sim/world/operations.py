"""What every operation does, as one table (azure-compute-docs and the REST API; sources in docs/azure-rules.md).

A row says for one VM: which timing it takes, whether the VM is out of service meanwhile, what becomes of its disks and
of `latestModelApplied`, what it boots, and in which power state it is left. Model updates, scaling and Azure's own
rollouts act on the set and have rows only for who may ask for them.
"""

from __future__ import annotations

from typing import NamedTuple


class Does(NamedTuple):
    """One row for a VM's operation.

    timing: the row of the timings, else `instead`. down: the VM stops serving. os_disk: kept or replaced. data_disks:
    kept or reset. temp_disk: kept or lost. boots: own, model, or exact (else the model). flag: `latestModelApplied` becomes
    true (set) or stays (kept). power: the state it is left in. while_busy: the power state shown meanwhile. flexible: works on
    Flexible sets (yes, no, option).
    """

    timing: str
    instead: str
    down: bool
    os_disk: str = "kept"
    data_disks: str = "kept"
    temp_disk: str = "kept"
    boots: str = "own"
    flag: str = "kept"
    power: str = "running"
    while_busy: str = "starting"
    flexible: str = "yes"


VM_TABLE: dict[str, Does] = {
    # DOC-manual, API: to the latest model; with an image change the OS disk is replaced, id and domains are kept.
    "upgrade": Does(
        "upgrade",
        "reimage",
        True,
        os_disk="replaced",
        temp_disk="lost",
        boots="model",
        flag="set",
        flexible="option",
    ),
    # manualupgrade without an image change: the delta is applied (REC: of extensions).
    "upgrade-delta": Does("upgrade-extensions", "restart", True, flag="set", flexible="option"),
    # extensionRollingUpgrade: extensions are re-run, no reboot (DOC-extup).
    "upgrade-extensions": Does("upgrade-extensions", "upgrade-current", False, while_busy="running"),
    # DOC-reimage; the flag stays as it was (azure-cli #28008).
    "reimage": Does("reimage", "upgrade", True, os_disk="replaced", temp_disk="lost", boots="exact"),
    # API: data disks are reset too.
    "reimage-all": Does(
        "reimage-all", "reimage", True, os_disk="replaced", data_disks="reset", temp_disk="lost", boots="exact"
    ),
    # An OS disk that is put back after a failed automatic OS upgrade, or after a breached policy (DOC-autoos, DOC-rolling).
    "restore": Does("reimage", "upgrade", True, os_disk="replaced"),
    "restart": Does("restart", "upgrade", True),
    "start": Does("start", "restart", True),
    "power-off": Does("power-off", "restart", True, power="stopped", while_busy="stopping"),
    "deallocate": Does(
        "deallocate", "power-off", True, temp_disk="lost", power="deallocated", while_busy="deallocating"
    ),
    # DOC: the VM moves to another host; the temporary disk is lost.
    "redeploy": Does("redeploy", "restart", True, temp_disk="lost"),
    "run-command": Does("run-command", "restart", True),
    # A new VM (scale-out, surge, replacement): on the set's present model.
    "create": Does("scale-out", "upgrade", True, os_disk="replaced", boots="model", flag="set"),
}

SET_KINDS = (
    "update-model",
    "set-mode",
    "set-capacity",
    "suspend-repairs",
    "resume-repairs",
    "os-rolling-upgrade",
    "extension-rolling-upgrade",
    "cancel-rolling-upgrade",
)
"""Requests on the set."""

ID_KINDS = (
    "upgrade",
    "reimage",
    "reimage-all",
    "restart",
    "start",
    "power-off",
    "deallocate",
    "redeploy",
    "delete",
    "run-command",
    "protect",
    "approve-rolling-upgrade",
)
"""Requests on instances: named, or all (`*`, or none named where the API allows it)."""

NEEDS_IDS = frozenset({"upgrade", "delete", "run-command", "protect"})
"""Those that the API does not take without ids (`["*"]` counts)."""

SCALE_SET_ACTIONS = frozenset({"upgrade", "reimage", "reimage-all", "deallocate"})
"""What `protectFromScaleSetActions` keeps away (DOC-protect); deletion and operations on the VM itself are not among them."""
