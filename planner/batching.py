"""Which instances a plan moves, and in which batches.

Rules this module decides:

1. Protected instances, instances being deleted and instances already at the target stand in no batch; the plan names
   them and the rule.
2. A strategy is audited: its batches are disjoint, not empty, and hold only instances it was given.
3. Instances out of service go first only where the request says so, in batches of their own.
4. A batch that needs more than the budget (n minus floor) is split in order if the strategy groups by domain or the
   request says `fit`; otherwise the plan is refused. Instances out of service need no budget.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from planner.amount import Threshold
from planner.change import Resolved, at_target
from planner.errors import InputError
from planner.model import Orchestration, Provisioning, ScaleSet, Service, runs
from planner.strategies import Batch, Parameters, Strategy


def skip_rule(scale_set: ScaleSet, name: str, resolved: Resolved) -> str:
    """Rule 1: why this instance stands in no batch, or ''."""
    instance = scale_set.instances[name]
    if instance.protected:
        return "protected"
    if instance.provisioning is Provisioning.DELETING:
        return "deleting"
    target = resolved.target
    if resolved.patch and target.image is not None:
        # While the model does not say the target, an instance ahead of it shows the image, but not the latest model.
        same_model = scale_set.model.image is not None and runs(scale_set.model.image, target.image)
        current = runs(instance.image, target.image) and (
            at_target(instance, target) if same_model else not target.latest_model
        )
    elif resolved.patch:
        current = all(
            scale_set.model.settings.get(path) == value for path, value in resolved.patch.items()
        ) and at_target(instance, target)
    else:
        current = at_target(instance, target)
    return "already-current" if current is True else ""


def batches_of(
    strategy: Strategy, parameters: Parameters, scale_set: ScaleSet, skipped: Mapping[str, str]
) -> tuple[Batch, ...]:
    """Run the strategy on what is to be moved, and audit it (rule 2). Raises InputError."""
    ids = getattr(parameters, "ids", ())
    unknown = [name for name in ids if name not in scale_set.instances]
    if unknown:
        raise InputError(
            "no such instance", f"{strategy.name}.ids", ", ".join(unknown), ", ".join(list(scale_set.instances)[:20])
        )
    eligible = {name: one for name, one in scale_set.instances.items() if name not in skipped}
    if not eligible:
        return ()
    if strategy.needs and all(getattr(one, strategy.needs) is None for one in eligible.values()):
        words = strategy.needs.replace("_", " ")
        if words == "zone":
            found, fix = "a regional set", "use per-ud or batch"
        elif scale_set.model.orchestration is Orchestration.FLEXIBLE:
            found, fix = "a Flexible set, of whose VMs Azure shows none", "use per-zone, batch or one-by-one"
        else:
            found = "no instance view"
            fix = "supply `az vmss list-instances --expand instanceView`, or use the strategy batch"
        raise InputError(
            f"no instance's {words} is known, so {strategy.name} has nothing to group by",
            strategy.name,
            found,
            f"instances with {'an' if words[0] in 'aeiou' else 'a'} {words}",
            fix,
        )
    model = msgspec.structs.replace(scale_set.model, capacity=len(scale_set.instances))
    made = strategy.make(ScaleSet(model=model, instances=eligible), parameters)
    seen: set[str] = set()
    for one in made:
        wrong = [name for name in one.take if name not in eligible or name in seen]
        if wrong or not (one.take or one.add):
            raise InputError(
                f"strategy {strategy.name} made an inconsistent batch ({one.why})",
                "strategy",
                ", ".join(wrong) or "no instances",
                "every instance it was given at most once, and no empty batch",
                "this is a fault of the strategy",
            )
        seen.update(one.take)
    return made


def unhealthy_first(batches: tuple[Batch, ...], services: Mapping[str, Service], *, surge: bool) -> tuple[Batch, ...]:
    """Rule 3: the instances out of service, in batches of at most the largest batch, before all others."""
    largest = max((len(one.take) for one in batches), default=1)
    sick = [name for one in batches for name in one.take if services[name] is Service.OUT]
    first = tuple(
        Batch(take=part, why="out of service, goes first", add=len(part) if surge else 0)
        for part in (tuple(sick[start : start + largest]) for start in range(0, len(sick), largest))
    )
    left = set(sick)
    rest = []
    for one in batches:
        take = tuple(name for name in one.take if name not in left)
        if take:
            rest.append(msgspec.structs.replace(one, take=take, add=len(take) if surge else one.add))
    return first + tuple(rest)


def fit(
    batches: tuple[Batch, ...],
    services: Mapping[str, Service],
    budget: int,
    floor: Threshold,
    total: int,
    strategy: Strategy,
    parameters: Parameters,
) -> tuple[tuple[Batch, ...], tuple[str, ...]]:
    """Rule 4: no batch needs more than the budget. What was split is told in words. Raises InputError."""
    made: list[Batch] = []
    splits: list[str] = []
    for one in batches:
        cost = sum(services[name] is not Service.OUT for name in one.take) - one.add
        if cost <= budget:
            made.append(one)
            continue
        if budget <= 0:
            raise InputError(
                f"the floor ({floor}) leaves no instance of {total} to take",
                "floor",
                str(floor),
                f"at most {total - 1}",
                "lower the floor, or add instances first",
            )
        if not (strategy.splits or parameters.fit):
            raise InputError(
                f"a batch of {cost} ({one.why}) is larger than the budget: {total} instances minus the floor ({floor}) is {budget}",
                strategy.name,
                str(cost),
                f"at most {budget}",
                "make the batch smaller, lower the floor, or let `fit` split it",
            )
        parts = _split(one, services, budget)
        splits.append(f"{one.why}: {cost} instances in {len(parts)} batches, since the budget is {budget}")
        made += parts
    return tuple(made), tuple(splits)


def _split(one: Batch, services: Mapping[str, Service], budget: int) -> list[Batch]:
    parts: list[list[str]] = [[]]
    cost = 0
    for name in one.take:
        price = int(services[name] is not Service.OUT)
        if cost + price > budget:
            parts.append([])
            cost = 0
        parts[-1].append(name)
        cost += price
    return [
        msgspec.structs.replace(one, take=tuple(part), why=f"{one.why}, part {index} of {len(parts)}")
        for index, part in enumerate(parts, 1)
    ]
