"""`selected`: the instances named, in the order named, `size` at a time; the others are left on the old model.

batches = ids in chunks of size. Source: the PowerShell flow and Vmssupgrade's -i and -l.
An id that is not to be moved (already current, protected) is skipped by the plan, an id that does not exist is an error.
"""

from planner.amount import batch_size
from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, batch, chunks


class Selected(Parameters, frozen=True, kw_only=True):
    """ids: instance ids in order. size: how many at a time (count or percentage of the set)."""

    ids: tuple[str, ...] = ()
    size: int | str = 1


def make(scale_set: ScaleSet, parameters: Selected) -> tuple[Batch, ...]:
    """The named instances, in order."""
    chosen = [scale_set.instances[name] for name in parameters.ids if name in scale_set.instances]
    size = batch_size(str(parameters.size), scale_set.model.capacity)
    return tuple(batch(part, f"selected, {size} at a time") for part in chunks(chosen, size))


EXAMPLES = (
    Example("as named", {"ids": ["4", "1"]}, (("4",), ("1",))),
    Example("two at a time", {"ids": ["4", "1", "0"], "size": 2}, (("4", "1"), ("0",))),
)
STRATEGY = Strategy("selected", make, Selected, EXAMPLES)
