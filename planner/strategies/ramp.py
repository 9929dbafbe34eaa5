"""`ramp`: start small and grow: 1, 2, 4 … up to a cap; with zones, one zone at a time; a canary first.

size_k = min(cap, start x factor^k), counted through the whole rollout (zones do not start again at `start`).
Precedence: canary first (its own soak), then zone by zone, inside a zone by domain. A batch never crosses a zone.
cap: a percentage is of the whole set, rounded down, at least 1. Source: zone-aware-controllers (1, 2, 4 …, one zone at
a time), canary deployments (few first, soak, then the rest: factor large, cap 100%).
"""

from planner.amount import batch_size
from planner.errors import InputError
from planner.model import ScaleSet
from planner.strategies.base import Batch, Example, Parameters, Strategy, batch, by_domain, grouped


class Ramp(Parameters, frozen=True, kw_only=True):
    """start, factor, cap: sizes. canary: instances that go before all others; canary_soak: how long they are watched.

    zones: finish a zone before the next begins.
    """

    start: int = 1
    factor: int = 2
    cap: int | str = "20%"
    canary: int | str = 0
    canary_soak_ms: int = 0
    zones: bool = True


def make(scale_set: ScaleSet, parameters: Ramp) -> tuple[Batch, ...]:
    """Growing batches."""
    if parameters.start < 1 or parameters.factor < 1:
        raise InputError(
            "a ramp starts with 1 or more and does not shrink",
            "ramp.start, ramp.factor",
            f"{parameters.start}, {parameters.factor}",
            "1 or more",
        )
    total = scale_set.model.capacity
    cap = batch_size(str(parameters.cap), total)
    instances = list(scale_set.instances.values())
    groups = grouped(instances, "zone") if parameters.zones else {None: instances}
    queues = {value: by_domain(members) for value, members in groups.items()}
    made: list[Batch] = []
    if str(parameters.canary) not in ("0", "0%"):
        left = batch_size(str(parameters.canary), total)
        for value, members in queues.items():
            canary, queues[value] = members[:left], members[left:]
            left -= len(canary)
            if canary:
                made.append(batch(canary, "canary", parameters.canary_soak_ms or None))
    size = parameters.start
    for value, members in queues.items():
        label = f"zone {value}, " if parameters.zones and value is not None else ""
        start = 0
        while start < len(members):
            now = min(size, cap)
            made.append(batch(members[start : start + now], f"{label}ramp {now}"))
            start += now
            size *= parameters.factor
    return tuple(made)


EXAMPLES = (
    Example("1, 2, then the cap", {"cap": 3}, (("0",), ("3", "4"), ("1", "2", "5"))),
    Example(
        "canary first",
        {"canary": 1, "canary_soak_ms": 60_000, "start": 5, "cap": "100%"},
        (("0",), ("3", "4", "1", "2", "5")),
    ),
    Example("one zone at a time", {"cap": 3}, (("0",), ("2", "4"), ("1", "3", "5")), update_domains=1, zones=2),
)
STRATEGY = Strategy("ramp", make, Ramp, EXAMPLES)
