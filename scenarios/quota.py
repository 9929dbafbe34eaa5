"""Room for more instances: the table `[quota]`, as the planner reads it and as the world holds it.

Rules this module decides:

1. What is left out is not known: no limit is made up, and the world then has none.
2. A quota is of the VM size's family in the region, with this set's own cores among those in use; the world's limit is for
   this set alone: what it has, and what is free beside.
"""

from __future__ import annotations

import reprlib
from typing import Any

import msgspec

from planner.errors import InputError
from planner.surge import UNKNOWN, Quota, cores_free
from scenarios.schema import QuotaTable
from vmss_sim.world.config import WorldConfig

MOST = 1_000_000
_LEAST = {"cores_limit": 0, "cores_used": 0, "cores_per_vm": 1, "free_addresses": 0}


def read(table: QuotaTable | None, total: int, where: str) -> Quota:
    """The quota of a set of so many instances. Raises InputError."""
    if table is None:
        return UNKNOWN
    for name, least in _LEAST.items():
        value = getattr(table, name)
        if value is not None and not least <= value <= MOST:
            raise InputError("out of range", f"{where}.{name}", reprlib.repr(value), f"{least} to {MOST}")
    own = None if table.cores_per_vm is None else total * table.cores_per_vm
    if own is not None and table.cores_used is not None and table.cores_used < own:
        raise InputError(
            "the set itself uses more cores",
            f"{where}.cores_used",
            str(table.cores_used),
            f"{total} x {table.cores_per_vm} = {own} or more",
        )
    return Quota(**{name: getattr(table, name) for name in _LEAST})


def told(table: QuotaTable | None, quota: Quota) -> list[dict[str, Any]]:
    """What a result rests on: the fields of assumptions."""
    if table is None:
        return []
    free, per_vm, addresses = cores_free(quota), quota.cores_per_vm, quota.free_addresses
    cores = "not known" if free is None else f"{free} free" + ("" if per_vm is None else f", {per_vm} a VM")
    rows = (
        ("cores", cores, free is not None, "quota.cores_limit"),
        (
            "addresses",
            "not known" if addresses is None else f"{addresses} free",
            addresses is not None,
            "quota.free_addresses",
        ),
    )
    return [
        {"name": name, "value": value, "origin": "yours" if known else "guessed", "key": key}
        for name, value, known, key in rows
    ]


def limited(config: WorldConfig, quota: Quota) -> WorldConfig:
    """The world with these limits (rule 2)."""
    total, free = len(config.machines), cores_free(quota)
    running = sum(one.power != "deallocated" for one in config.machines)
    limits: dict[str, int] = {}
    if quota.cores_per_vm is not None and free is not None:
        limits = {"quota_cores": running * quota.cores_per_vm + free, "cores_per_vm": quota.cores_per_vm}
    if quota.free_addresses is not None:
        limits["addresses"] = total + quota.free_addresses
    return msgspec.structs.replace(config, **limits) if limits else config
