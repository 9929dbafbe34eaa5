"""`per-ud`: one update domain after another, all of its instances together; optionally only some of them.

batches = instances grouped by update domain, groups in order, instances with none known last. A group larger than the
budget (in service minus floor) is split in order, and the plan says so. Source: Vmssupgrade -u.
"""

from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, one_domain_at_a_time


class PerUd(Parameters, frozen=True, kw_only=True):
    """only: the update domains to upgrade, in this set's own names; empty means all."""

    only: tuple[str, ...] = ()


def make(scale_set: ScaleSet, parameters: PerUd) -> tuple[Batch, ...]:
    """One batch a update domain."""
    return one_domain_at_a_time(scale_set, "update_domain", "update-domain", parameters.only)


EXAMPLES = (
    Example("one update domain at a time", {}, (("0", "3"), ("4", "1"), ("2", "5"))),
    Example("only one of them", {"only": ["1"]}, (("4", "1"),)),
)
STRATEGY = Strategy("per-ud", make, PerUd, EXAMPLES, splits=True, needs="update_domain")
