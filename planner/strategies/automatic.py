"""`automatic`: set mode Automatic, update the model, and the platform upgrades every VM at once.

batches = ((all,),), moved by the platform, floor 0. It is the baseline that everyone must beat.
Source: azure-compute-docs, upgrade policy: "all instances may be upgraded at the same time, in no order".
"""

from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, batch


class Automatic(Parameters, frozen=True, kw_only=True):
    """No parameters of its own."""


def make(scale_set: ScaleSet, _parameters: Automatic) -> tuple[Batch, ...]:
    """Everything in one forecast batch."""
    return (batch(scale_set.instances.values(), "the platform upgrades everything at once"),)


EXAMPLES = (Example("everything at once", {}, (("0", "3", "4", "1", "2", "5"),)),)
STRATEGY = Strategy("automatic", make, Automatic, EXAMPLES, platform=True)
