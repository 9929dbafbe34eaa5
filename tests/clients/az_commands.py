"""The commands of the az CLI that touch upgrades, and the requests that each of them was seen to make (az 2.91.0).

Contract: data only. `requests` is in the form of `exchanges.py`; the commands run in this order, on one set of six instances.
"""

from __future__ import annotations

import msgspec

_POLLED = ("GET OPERATION",)
_ENDED = ("GET OPERATION", "GET RESULT")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command. args: what follows `az vmss`, without group and name. status: what it ends with."""

    args: str
    requests: tuple[str, ...]
    status: int = 0


def _get(args: str, *requests: str) -> Command:
    return Command(args=args, requests=requests)


def _put(args: str, at: str, read: str, written: str) -> Command:
    """Read it, write it, wait, read what came of it."""
    return Command(
        args=args, requests=(f"GET {at} [{read}]", f"PUT {at} [{written}]", *_POLLED, f"GET {at} [{written}]")
    )


def _post(args: str, tail: str, version: str = "2024-11-01", ended: tuple[str, ...] = _ENDED) -> Command:
    return Command(args=args, requests=(f"POST SET/{tail} [{version}]", *ended))


COMMANDS = (
    _get("show", "GET SET [2026-04-01]"),
    _get("show --instance-id 0", "GET SET/virtualMachines/0 [2026-04-01]"),
    _get("get-instance-view", "GET SET/instanceView [2024-11-01]"),
    _get("get-instance-view --instance-id 0", "GET SET/virtualMachines/0/instanceView [2026-04-01]"),
    _get(
        "get-instance-view --instance-id *",
        "GET SET/virtualMachines?$expand=instanceView&$select=instanceView [2024-11-01]",
    ),
    _get("list-instances", "GET SET/virtualMachines [2024-11-01]"),
    _get("list-instances --expand instanceView", "GET SET/virtualMachines?$expand=instanceView [2024-11-01]"),
    _get("list-skus", "GET SET/skus [2023-09-01]"),
    _put("update --set tags.owner=team", "SET", "2026-04-01", "2026-04-01"),
    _put(
        "update --set virtualMachineProfile.storageProfile.imageReference.version=14.04.201507060",
        "SET",
        "2026-04-01",
        "2026-04-01",
    ),
    _put(
        "update --instance-id 3 --protect-from-scale-in true --protect-from-scale-set-actions true",
        "SET/virtualMachines/3",
        "2026-04-01",
        "2025-04-01",
    ),
    _put(
        "update --instance-id 3 --protect-from-scale-in false --protect-from-scale-set-actions false",
        "SET/virtualMachines/3",
        "2026-04-01",
        "2025-04-01",
    ),
    _post("update-instances --instance-ids 0 1", "manualupgrade"),
    _post("update-instances --instance-ids *", "manualupgrade"),
    _post("reimage --instance-ids 0 1", "reimageall"),
    _post("reimage --instance-ids 2", "reimageall"),
    _post("reimage", "reimage"),
    _post("restart --instance-ids 0", "restart"),
    _post("restart", "restart"),
    _post("deallocate --instance-ids 0", "virtualMachines/0/deallocate"),
    _post("deallocate --instance-ids 1 2", "deallocate"),
    _post("start --instance-ids 0", "start"),
    _post("start --instance-ids 1 2", "start"),
    _post("stop --instance-ids 4", "poweroff?skipshutdown=false"),
    _post("start", "start"),
    _put("scale --new-capacity 7", "SET", "2026-04-01", "2026-04-01"),
    _post("delete-instances --instance-ids 5", "delete"),
    _post(
        "set-orchestration-service-state --service-name AutomaticRepairs --action Suspend",
        "setOrchestrationServiceState",
    ),
    _post(
        "set-orchestration-service-state --service-name AutomaticRepairs --action Resume",
        "setOrchestrationServiceState",
    ),
    # Nothing runs: the recorded refusal.
    Command(args="rolling-upgrade cancel", requests=("POST SET/rollingUpgrades/cancel [2023-09-01]",), status=1),
    _get("get-os-upgrade-history", "GET SET/osUpgradeHistory [2023-09-01]"),
    _post("simulate-eviction --instance-id 1", "virtualMachines/1/simulateEviction", "2023-09-01", ()),
)
"""Of a set in mode Manual, in which automatic repairs are enabled."""
