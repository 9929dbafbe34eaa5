"""`per-fd`: one fault domain after another, all of its instances together; optionally only some of them.

batches = instances grouped by fault domain, groups in order, instances with none known last. A group larger than the
budget (in service minus floor) is split in order, and the plan says so. Source: Vmsseditor's fault-domain buttons.
"""

from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, one_domain_at_a_time


class PerFd(Parameters, frozen=True, kw_only=True):
    """only: the fault domains to upgrade, in this set's own names; empty means all."""

    only: tuple[str, ...] = ()


def make(scale_set: ScaleSet, parameters: PerFd) -> tuple[Batch, ...]:
    """One batch a fault domain."""
    return one_domain_at_a_time(scale_set, "fault_domain", "fault-domain", parameters.only)


EXAMPLES = (
    Example("one fault domain at a time", {}, (("0", "4", "2"), ("3", "1", "5"))),
    Example("only one of them", {"only": ["1"]}, (("3", "1", "5"),)),
)
STRATEGY = Strategy("per-fd", make, PerFd, EXAMPLES, splits=True, needs="fault_domain")
