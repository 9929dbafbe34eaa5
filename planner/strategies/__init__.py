"""The strategies, one per file, in one explicit mapping.

To add one: write `planner/strategies/<name>.py` with its equation, a parameter struct, `make`, `EXAMPLES` (they are
the test and the documentation) and `STRATEGY`, and name it here. Third parties register a `Strategy` under the
entry-point group `vmss_sim.strategies`; the front door passes what it finds to `find`.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.errors import InputError
from planner.explain import did_you_mean
from planner.strategies import (
    automatic,
    batches,
    one_by_one,
    per_fd,
    per_ud,
    per_zone,
    platform_rolling,
    ramp,
    selected,
    surge,
)
from planner.strategies.base import Batch, Example, Parameters, Strategy

__all__ = ["STRATEGIES", "Batch", "Example", "Parameters", "Strategy", "find"]

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        automatic.STRATEGY,
        one_by_one.STRATEGY,
        selected.STRATEGY,
        per_ud.STRATEGY,
        per_fd.STRATEGY,
        per_zone.STRATEGY,
        batches.STRATEGY,
        ramp.STRATEGY,
        surge.STRATEGY,
        platform_rolling.STRATEGY,
    )
}


def find(name: str, where: str, known: Mapping[str, Strategy] = STRATEGIES) -> Strategy:
    """The strategy of this name. Raises InputError naming the nearest one."""
    if name in known:
        return known[name]
    raise InputError("unknown strategy", where, repr(name), ", ".join(known), did_you_mean(name, known))
