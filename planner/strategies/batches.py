"""`batch`: `size` instances at a time (count or percentage of the whole set), ordered by domain.

batches = instances in order, cut into runs of size; with `within`, no batch crosses the border of that group.
size: rounded down, at least 1. Precedence: within, then order, then size. Source: Vmsseditor's rolling upgrade
(batch size, pause) and Azure's maxBatchInstancePercent (20 % of the total).
"""

from planner.amount import batch_size
from planner.errors import InputError
from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, batch, by_domain, chunks, grouped

WITHIN = {"none": None, "update-domain": "update_domain", "fault-domain": "fault_domain", "zone": "zone"}


class BatchOf(Parameters, frozen=True, kw_only=True):
    """size: how many at a time. order: `domain` or `placement`. within: border no batch crosses (none, zone, …)."""

    size: int | str = "20%"
    order: str = "domain"
    within: str = "none"


def make(scale_set: ScaleSet, parameters: BatchOf) -> tuple[Batch, ...]:
    """Runs of `size`."""
    if parameters.within not in WITHIN:
        raise InputError("not a border", "batch.within", parameters.within, ", ".join(WITHIN))
    if parameters.order not in ("domain", "placement"):
        raise InputError("not an order", "batch.order", parameters.order, "domain or placement")
    size = batch_size(str(parameters.size), scale_set.model.capacity)
    field = WITHIN[parameters.within]
    groups = grouped(scale_set.instances.values(), field) if field else {None: list(scale_set.instances.values())}
    made: list[Batch] = []
    for value, members in groups.items():
        ordered = by_domain(members) if parameters.order == "domain" else members
        why = f"{size} at a time" + (f" in {parameters.within} {value}" if field else "")
        made += [batch(part, why) for part in chunks(ordered, size)]
    return tuple(made)


EXAMPLES = (
    Example("2 at a time, by domain", {"size": 2}, (("0", "3"), ("4", "1"), ("2", "5"))),
    Example("half of 6 is 3", {"size": "50%"}, (("0", "3", "4"), ("1", "2", "5"))),
    Example("20 % of 6 is 1.2, rounded down", {"size": "20%"}, (("0",), ("3",), ("4",), ("1",), ("2",), ("5",))),
    Example(
        "never across a zone",
        {"size": 4, "within": "zone"},
        (("0", "2", "4"), ("1", "3", "5")),
        update_domains=1,
        zones=2,
    ),
)
STRATEGY = Strategy("batch", make, BatchOf, EXAMPLES)
