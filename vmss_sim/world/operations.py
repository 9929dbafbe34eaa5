"""What every operation does, as one table (azure-compute-docs and the REST API; sources in docs/azure-rules.md).

`VM_TABLE` says for one VM: which timing it takes, whether the VM is out of service meanwhile, what becomes of its disks and
of `latestModelApplied`, what it boots, and in which power state it is left. `MODES` says what works on which orchestration
mode, and is what admission asks. Model updates, scaling and Azure's own rollouts act on the set and have rows only there.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Does(NamedTuple):
    """One row for a VM's operation.

    timing: the row of the timings, else `instead`. down: the VM stops serving. os_disk: kept or replaced. data_disks:
    kept or reset. temp_disk: kept, lost or `option` (`Platform.reimage_temp`). boots: own, model, or exact (else the model).
    flag: `latestModelApplied` becomes true (set) or stays (kept). power: the state it is left in. while_busy: the power state
    shown meanwhile.
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
    ),
    # manualupgrade without an image change: the delta is applied (REC: of extensions).
    "upgrade-delta": Does("upgrade-extensions", "restart", True, flag="set"),
    # extensionRollingUpgrade: extensions are re-run, no reboot (DOC-extup).
    "upgrade-extensions": Does("upgrade-extensions", "upgrade-current", False, while_busy="running"),
    # DOC-reimage; the flag stays as it was (azure-cli #28008).
    "reimage": Does("reimage", "upgrade", True, os_disk="replaced", temp_disk="option", boots="exact"),
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

LIFE_KINDS = ("create-set", "delete-set")
"""Requests with which a set begins and ends."""

ON_SET = frozenset({*SET_KINDS, *LIFE_KINDS})
"""Everything that names no instances."""

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


class Works(NamedTuple):
    """One row: uniform, flexible: `yes`, `no`, or the field of `Platform` that decides."""

    uniform: str
    flexible: str
    source: str
    note: str = ""


_BATCH = "DOC-modes (VM batch operations)"
_ROLLING = "DOC-rolling (since 2024 on Flexible)"
_AUTO_OS = "REC 2024-08-26 (the policy), DOC-maxsurge implies it; DOC-modes, older, says no"

MODES: dict[str, Works] = {
    # Requests on the set.
    "update-model": Works("yes", "yes", "DOC-modes (upgrade policy)"),
    "set-mode": Works("yes", "yes", "DOC-modes (Automatic, Rolling, Manual)"),
    "set-capacity": Works("yes", "yes", "DOC-modes (automatic scaling)"),
    "suspend-repairs": Works("yes", "yes", "DOC-modes (instance repair)"),
    "resume-repairs": Works("yes", "yes", "DOC-modes (instance repair)"),
    "os-rolling-upgrade": Works("yes", "flexible_auto_os", _AUTO_OS),
    "extension-rolling-upgrade": Works("yes", "yes", _ROLLING),
    "cancel-rolling-upgrade": Works("yes", "yes", _ROLLING),
    "create-set": Works("yes", "yes", "DOC-modes"),
    "delete-set": Works("yes", "yes", "DOC-modes"),
    "approve-rolling-upgrade": Works("yes", "flexible_auto_os", _AUTO_OS),
    # Requests on instances. Ids are decimal on Uniform sets, VM names on Flexible ones.
    "upgrade": Works("yes", "flexible_manual_upgrade", "DOC-manual says yes, REC 2021 shows a 409"),
    "reimage": Works("yes", "yes", "DOC-reimage (by VM name)"),
    "reimage-all": Works("yes", "yes", _BATCH, "INFER: not named there"),
    "restart": Works("yes", "yes", _BATCH),
    "start": Works("yes", "yes", _BATCH),
    "power-off": Works("yes", "yes", _BATCH),
    "deallocate": Works("yes", "yes", _BATCH),
    "redeploy": Works("yes", "yes", _BATCH, "INFER: not named there"),
    "delete": Works("yes", "yes", _BATCH),
    "run-command": Works("yes", "yes", "DOC-modes (standard VM APIs)"),
    "protect": Works("yes", "yes", "DOC-protect (API 2023-09-01 on Flexible)"),
    # Properties of the set.
    "health: extension": Works("yes", "yes", "DOC-modes (monitor application health)"),
    "health: rich": Works("yes", "yes", "DOC-health"),
    "health: probe": Works("yes", "no", "DOC-modes, DOC-rolling", "a probe counts as no health source there"),
    "automatic OS upgrade": Works("yes", "flexible_auto_os", _AUTO_OS),
    "automatic OS upgrade with maxSurge": Works("yes", "no", "DOC-maxsurge"),
    "rollbackFailedInstancesOnPolicyBreach": Works("yes", "no", "DOC-rolling, API"),
    "automatic repairs": Works("yes", "yes", "DOC-modes (instance repair)"),
    "maxSurge": Works("yes", "yes", "DOC-maxsurge"),
    "update domains": Works("yes", "no", "DOC-modes", "its instances have none, so a batch has no such border"),
}
"""What works on which orchestration mode."""


def works(what: str, flexible: bool, platform: Any) -> bool:
    """Whether a request or a property works on such a set; platform: the options."""
    answer = MODES[what].flexible if flexible else MODES[what].uniform
    return answer == "yes" or (answer != "no" and bool(getattr(platform, answer)))
