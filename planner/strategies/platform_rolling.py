"""`platform-rolling`: hand the rollout to Azure's own rolling policy, watch it, and cancel it where a gate does not hold.

batches = a forecast by Azure's rule: maxBatchInstancePercent of all instances (at least one), zone by zone unless cross-zone,
inside update domains, unhealthy ones first where the policy says so. The platform moves the instances: batches are not ours.
Handed over by the model's update in mode Rolling (which is set first, and put back, where the set has another mode); a
`latest` set that is refreshed by starting Azure's OS upgrade. Handed over only where the policy's largest batch leaves the floor;
from then on the floor is a gate: fewer in service for longer than `grace`, more than `max_failed` failed, or the
rollout's deadline, and it is cancelled. What is in flight then ends; what is upgraded stays;
the model goes back in mode Manual, which stays, so that the platform moves nothing for it.
Source: azure-compute-docs, rolling upgrades; automatic OS image upgrade.
"""

from planner.model import ScaleSet
from planner.platform import forecast
from planner.strategies.base import Batch, Example, Parameters, Strategy


class PlatformRolling(Parameters, frozen=True, kw_only=True):
    """grace: how long fewer than the floor may be in service before the rollout is cancelled."""

    grace_ms: int = 60_000
    max_failed: int | str = "20%"
    retries: int = 0


def make(scale_set: ScaleSet, _parameters: PlatformRolling) -> tuple[Batch, ...]:
    """The batches that the platform's policy would take."""
    return tuple(
        Batch(take=one.ids, why=f"Azure's policy: {one.why}")
        for one in forecast(scale_set, total=scale_set.model.capacity)
    )


EXAMPLES = (
    Example("20 % of 6 is one at a time, inside update domains", {}, (("0",), ("3",), ("1",), ("4",), ("2",), ("5",))),
    Example("20 % of 10 is two", {}, (("0", "5"), ("1", "6"), ("2", "7"), ("3", "8"), ("4", "9")), 10, 5, 5),
)
STRATEGY = Strategy("platform-rolling", make, PlatformRolling, EXAMPLES, platform=True, hands_over=True)
