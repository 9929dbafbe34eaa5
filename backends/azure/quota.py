"""Do a region's quotas suffice for VMs that are added? Decided from Azure's documents: usages, and skus of VM sizes.

Rules this module decides:

1. VMs count against the region's cores **and** against those of their size's family. The family, and how many cores a size has, is what
   `Microsoft.Compute/skus` says; its usages have the family's name, in whatever case.
2. Spot VMs count against the region's low-priority cores, and nothing else.
3. To replace an instance takes none: it is deleted first. So only what a surge adds is asked about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Rows = Iterable[dict[str, Any]]
_LOW, _ALL = "lowPriorityCores", "cores"


class Judged(NamedTuple):
    """What is short, each in words; or why that cannot be told."""

    short: tuple[str, ...] = ()
    unknown: str = ""


def judged(add: int, size: str, *, spot: bool, usages: Rows, skus: Rows) -> Judged:
    """Is there room for `add` VMs of this size?"""
    sku = next((one for one in skus if _is(one, "resourceType", "virtualMachines") and _is(one, "name", size)), {})
    cores, family = _cores(sku), str(sku.get("family") or "")
    if cores is None:
        return Judged(unknown="its cores are not known")
    known = {str((one.get("name") or {}).get("value", "")).lower(): one for one in usages}
    kinds = {_LOW: "low-priority cores"} if spot else {_ALL: "cores", family: f"cores of {family or 'its family'}"}
    missing = [words for name, words in kinds.items() if name.lower() not in known]
    if missing:
        return Judged(unknown=f"the region's usages do not tell its {' and '.join(missing)}")
    need, short = add * cores, []
    for name, words in kinds.items():
        row = known[name.lower()]
        free = int(row["limit"]) - int(row["currentValue"])
        if need > free:
            short.append(f"{need} {words} are needed at a time, {free} are free")
    return Judged(short=tuple(short))


def _is(row: dict[str, Any], key: str, value: str) -> bool:
    return str(row.get(key, "")).lower() == value.lower()


def _cores(sku: dict[str, Any]) -> int | None:
    told = (str(one.get("value", "")) for one in sku.get("capabilities") or () if _is(one, "name", "vCPUs"))
    value = next(told, "")
    return int(value) if value.isdecimal() else None
