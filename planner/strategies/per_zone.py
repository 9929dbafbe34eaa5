"""`per-zone`: one availability zone after another, all of its instances together; optionally only some of them.

batches = instances grouped by availability zone, groups in order, instances with none known last. A group larger than the
budget (in service minus floor) is split in order, and the plan says so. Source: vmsszones.
"""

from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, one_domain_at_a_time


class PerZone(Parameters, frozen=True, kw_only=True):
    """only: the availability zones to upgrade, in this set's own names; empty means all."""

    only: tuple[str, ...] = ()


def make(scale_set: ScaleSet, parameters: PerZone) -> tuple[Batch, ...]:
    """One batch a availability zone."""
    return one_domain_at_a_time(scale_set, "zone", "zone", parameters.only)


EXAMPLES = (
    Example("one availability zone at a time", {}, (("0", "2", "4"), ("1", "3", "5")), zones=2, update_domains=1),
    Example("only one of them", {"only": ["2"]}, (("1", "3", "5"),), zones=2, update_domains=1),
)
STRATEGY = Strategy("per-zone", make, PerZone, EXAMPLES, splits=True, needs="zone")
