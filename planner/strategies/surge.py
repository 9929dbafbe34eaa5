"""`surge`: add instances on the new model, wait until they serve, then delete as many old ones: never fewer than before.

batches = instances ordered by domain, cut into runs of size; each batch adds as many as it takes: (take ids, add |ids|).
size: a count or percentage of the whole set, rounded down, at least 1. Floor: what the set has. Precedence: instances out of
service first (they are replaced like the others, and give capacity back), then domain, then size.
What is replaced gets a new id, address and disk, and perhaps another domain. Where the platform refuses to add, `fallback`
says what happens to that batch: `in-place` (upgraded within `in_place_floor`), or `stop`. An added instance that does not come
to serve is replaced `retries` times.
Source: Azure's MaxSurge (azure-compute-docs), Kubernetes maxSurge, managed instance groups.
"""

from planner.amount import batch_size
from planner.errors import InputError
from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, by_domain, chunks
from planner.surge import FallBack


class SurgeBy(Parameters, frozen=True, kw_only=True):
    """size: how many are added, and then replaced, at a time. fallback: in-place or stop, where there is no room to add.

    in_place_floor: what an in-place batch may not cross, where that is not all but the largest batch.
    """

    size: int | str = "20%"
    fallback: str = "stop"
    in_place_floor: int | str | None = None
    unhealthy_first: bool = True


def make(scale_set: ScaleSet, parameters: SurgeBy) -> tuple[Batch, ...]:
    """Runs of `size`, each with as many additions."""
    if parameters.fallback not in {one.value for one in FallBack}:
        raise InputError("not a fall-back", "surge.fallback", repr(parameters.fallback), "in-place or stop")
    size = batch_size(str(parameters.size), scale_set.model.capacity)
    return tuple(
        Batch(take=tuple(one.id for one in part), why=f"surge of {size}", add=len(part))
        for part in chunks(by_domain(list(scale_set.instances.values())), size)
    )


EXAMPLES = (
    Example("2 are added, then 2 go, by domain", {"size": 2}, (("0", "3"), ("4", "1"), ("2", "5"))),
    Example("half of 6 is 3", {"size": "50%"}, (("0", "3", "4"), ("1", "2", "5"))),
    Example("20 % of 6 is 1.2, rounded down", {}, (("0",), ("3",), ("4",), ("1",), ("2",), ("5",))),
)
STRATEGY = Strategy("surge", make, SurgeBy, EXAMPLES, surge=True)
