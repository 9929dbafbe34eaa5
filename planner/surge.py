"""Surge: what added capacity needs, what bounds it, and what a plan says about it. Pure arithmetic over what is known.

Rules this module decides:

1. At most, a surge has the set's instances and one batch's additions at the same time: *peak*. What is being deleted counts
   until it is gone, so nothing is added while something is still being deleted.
2. Each VM needs `cores_per_vm` cores of its family's quota and one address of the subnet. Overprovisioning asks for up to
   20 % more of what is added while it is created (azure-compute-docs, placement groups).
3. A set holds at most 100 instances with a single placement group, 600 from a custom image that is in no gallery, else 1000
   (azure-compute-docs, placement groups; azure-docs, limits).
4. What is not known bounds nothing, and is told as not known; nothing is guessed.
5. Where the platform refuses what is to be added, for want of quota, addresses or room, the plan's `fallback` says what
   happens to that batch: `in-place` within a floor of its own, or `stop`. Azure asks before every batch too, and falls back
   to in-place (azure-compute-docs, MaxSurge).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec

from planner.amount import Threshold
from planner.model import Model


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What bounds how many VMs there can be; None where it is not known.

    cores_limit, cores_used: of the VM size's family in the region. cores_per_vm: of this VM size. free_addresses: in the
    subnet.
    """

    cores_limit: int | None = None
    cores_used: int | None = None
    cores_per_vm: int | None = None
    free_addresses: int | None = None


UNKNOWN = Quota()
GROUP_MAX, CUSTOM_MAX, MOST = 100, 600, 1000  # rule 3


class FallBack(str, Enum):
    """What happens to a batch whose additions the platform refuses."""

    IN_PLACE = "in-place"
    STOP = "stop"


class Surging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan says about added capacity.

    add: the most that are added at a time. peak: the most instances there are at a time. most: the most the set may hold.
    fallback: rule 5; in_place_floor: what in-place commands may not cross. replace: how often each of a batch's additions
    that does not come to serve is replaced; also how often a scale-out that gave too few is repeated. quota: what was known.
    """

    add: int
    peak: int
    most: int
    fallback: FallBack
    in_place_floor: Threshold
    replace: int
    quota: Quota


def most_instances(model: Model) -> int:
    """Rule 3."""
    if model.single_placement_group:
        return GROUP_MAX
    image = model.image
    custom = image is not None and (bool(image.uri) or (bool(image.id) and "galleries/" not in str(image.id).lower()))
    return CUSTOM_MAX if custom else MOST


def extra(add: int, *, overprovision: bool) -> int:
    """How many more VMs a scale-out by `add` may need for a while (rule 2)."""
    return add + (-(-add // 5) if overprovision else 0)


def cores(count: int, quota: Quota) -> int | None:
    """The cores of so many VMs; None where the size is not known."""
    return None if quota.cores_per_vm is None else count * quota.cores_per_vm


def cores_free(quota: Quota) -> int | None:
    """The cores that may still be used; negative where the quota is exceeded already."""
    if quota.cores_limit is None or quota.cores_used is None:
        return None
    return quota.cores_limit - quota.cores_used


def cores_missing(add: int, quota: Quota) -> int:
    """How many cores are missing to add so many VMs; 0 where they suffice, or it is not known (rule 4)."""
    need, free = cores(add, quota), cores_free(quota)
    return 0 if need is None or free is None or add == 0 else max(0, need - free)


def addresses_missing(add: int, quota: Quota) -> int:
    """How many addresses are missing to add so many VMs; 0 where they suffice, or it is not known (rule 4)."""
    return 0 if quota.free_addresses is None else max(0, add - quota.free_addresses)


def not_known(quota: Quota) -> tuple[str, ...]:
    """What would have to be known for the arithmetic to be sure."""
    return tuple(name.replace("_", " ") for name in quota.__struct_fields__ if getattr(quota, name) is None)


# What the platform answers when there is no room: quota (recordings: 409 OperationNotAllowed, "exceeding quota limits of
# Core"), addresses, or no machine to put it on (azure-compute-docs, allocation failures).
SHORTAGE = frozenset(
    {
        "QuotaExceeded",
        "SkuNotAvailable",
        "SubnetIsFull",
        "SubnetWithInsufficientIPs",
        "PublicIPCountLimitReached",
        "AllocationFailed",
        "ZonalAllocationFailed",
        "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest",
        "VMScaleSetAllocationError",
        "InstanceLimitExceeded",
    }
)


def is_shortage(code: str, message: str) -> bool:
    """Does this refusal or failure say that there is no room? OperationNotAllowed says so only in its text."""
    return code in SHORTAGE or (code == "OperationNotAllowed" and "quota" in message.lower())


def largest_add(adds: Iterable[int]) -> int:
    """The most that are added at a time."""
    return max(adds, default=0)
