"""`one-by-one`: one instance after another, in placement order.

batches = ((i,) for i in order). Source: the PowerShell flow (Update-AzVmssInstance with one id).
"""

from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, batch


class OneByOne(Parameters, frozen=True, kw_only=True):
    """No parameters of its own."""


def make(scale_set: ScaleSet, _parameters: OneByOne) -> tuple[Batch, ...]:
    """One batch an instance."""
    return tuple(batch((instance,), f"instance {instance.id}") for instance in scale_set.instances.values())


EXAMPLES = (
    Example(
        "in placement order: update domain, fault domain, id", {}, (("0",), ("3",), ("4",), ("1",), ("2",), ("5",))
    ),
    Example("zone before domain", {}, (("0",), ("2",), ("1",), ("3",)), instances=4, update_domains=2, zones=2),
)
STRATEGY = Strategy("one-by-one", make, OneByOne, EXAMPLES)
