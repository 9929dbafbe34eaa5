"""What every strategy shares: batches, parameters, grouping.

A strategy is a pure function `(scale_set, parameters) -> batches`. The scale set it is given holds the instances to be
moved, in placement order; `model.capacity` is the size of the whole set, which percentages refer to. It runs when the
plan is made and never again: it gives order and grouping, the rollout machine gives admission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from planner.errors import InputError
from planner.model import Instance, ScaleSet


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One step of a rollout: `take` these instances, after adding `add` new ones (surge).

    `why`: the group it came from. `soak_ms`: how long its gate must hold, where it differs from the plan's.
    `approve`: an operator must approve before it starts.
    """

    take: tuple[str, ...]
    why: str
    add: int = 0
    soak_ms: int | None = None
    approve: bool = False


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every strategy understands, beside its own.

    pause: after each batch. soak: how long a batch's gate must hold without a break. max_failed: failed instances
    tolerated (strict >). retries: further upgrades of a failed instance before it is quarantined. on_failure: what
    happens beyond max_failed: stop, pause, rollback-batch or rollback-all. unhealthy_first: instances out of service go first.
    fit: split a batch that is larger than the budget instead of refusing the plan. approve: every batch but the first
    waits for an operator.
    """

    pause_ms: int = 0
    soak_ms: int = 0
    max_failed: int | str = 0
    retries: int = 1
    on_failure: str = "stop"
    unhealthy_first: bool = False
    fit: bool = False
    approve: bool = False


class Example(NamedTuple):
    """A worked example: given parameters and a small set, the batches by instance id."""

    says: str
    parameters: dict[str, Any]
    batches: tuple[tuple[str, ...], ...]
    instances: int = 6
    update_domains: int = 3
    fault_domains: int = 2
    zones: int = 0


class Strategy(NamedTuple):
    """A strategy as the mapping holds it.

    splits: a group larger than the budget is split without asking (domain strategies). platform: the platform moves
    the instances, batches are a forecast. needs: the placement field it groups by. surge: instances are replaced by added
    ones, not upgraded. hands_over: the platform follows a policy of its own, and its rollout can be cancelled.
    """

    name: str
    make: Callable[[ScaleSet, Any], tuple[Batch, ...]]
    parameters: type[Parameters]
    examples: tuple[Example, ...]
    splits: bool = False
    platform: bool = False
    needs: str | None = None
    version: int = 1
    surge: bool = False
    hands_over: bool = False


def batch(instances: Iterable[Instance], why: str, soak_ms: int | None = None) -> Batch:
    """A batch of these instances, in the order given."""
    return Batch(take=tuple(instance.id for instance in instances), why=why, soak_ms=soak_ms)


def grouped(instances: Iterable[Instance], field: str) -> dict[Any, list[Instance]]:
    """Instances by a placement field, groups in order, members in the order given; not known (None) stands last."""
    groups: dict[Any, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(getattr(instance, field), []).append(instance)
    return dict(sorted(groups.items(), key=lambda item: (item[0] is None, _order(item[0]))))


def _order(value: Any) -> tuple[int, int, str]:
    if value is None:
        return (2, 0, "")
    text = str(value)
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


def by_domain(instances: Sequence[Instance]) -> list[Instance]:
    """Ordered by update domain, then fault domain, then placement; the given order breaks ties."""

    def key(instance: Instance) -> tuple[int, int]:
        update, fault = instance.update_domain, instance.fault_domain
        return (1 << 30 if update is None else update, 1 << 30 if fault is None else fault)

    return sorted(instances, key=key)


def chunks(instances: Sequence[Instance], size: int) -> list[Sequence[Instance]]:
    """Consecutive runs of at most `size`."""
    return [instances[start : start + size] for start in range(0, len(instances), size)]


def one_domain_at_a_time(scale_set: ScaleSet, field: str, label: str, only: tuple[str, ...]) -> tuple[Batch, ...]:
    """One batch per group of `field`, optionally only some of them. Raises InputError for a group that does not exist."""
    groups = grouped(scale_set.instances.values(), field)
    names = {str(value): value for value in groups if value is not None}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise InputError(
            f"no such {label}", f"per-{label}.only", ", ".join(unknown), ", ".join(names) or "none is known"
        )
    return tuple(
        batch(members, f"{label} {value}" if value is not None else f"no {label} known")
        for value, members in groups.items()
        if not only or str(value) in only
    )
