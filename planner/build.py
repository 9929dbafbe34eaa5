"""From what is asked for to a plan (`plan.py`); which instances it moves in which batches is said in `batching.py`.

Rules this module decides:

1. The floor is the request's, else the objective's `min_healthy`, else n minus the largest batch; 0 for a platform-moved
   rollout. A floor that is not given as a count follows the set's capacity, never below `floor_min`. Where the platform follows a policy that
   can be cancelled the floor holds when it is handed over, and is a gate afterwards; there it is by default also less what
   is out of service, which the platform does not take first.
2. A surge adds before it takes: its batches cost what they take minus what they add, and its floor is by default what the
   set has, less what is out of service and stands in no batch (`surge.py`).
3. What cannot be carried out as it stands is refused: an empty set, Service Fabric, an action that the strategy has not, a drain hook
   that would never run, a platform's own rollout without a health source or with a batch larger than the floor leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from planner import batching
from planner.amount import Threshold, amount, maximum, minimum
from planner.change import Action, Change, Refresh, resolve
from planner.drift import DRIFT
from planner.errors import InputError
from planner.explain import convert
from planner.model import (
    HealthSource,
    Model,
    Orchestration,
    RollingPolicy,
    ScaleSet,
    Service,
    UpgradeMode,
    placement_key,
    service,
)
from planner.plan import (
    ENDS,
    FORMAT,
    Deadlines,
    Failures,
    Freeze,
    Gates,
    HandOver,
    InstanceHooks,
    MovedBy,
    OnFailure,
    Pinned,
    Plan,
    Projection,
    Rung,
    Window,
    never_drained,
)
from planner.platform import lacks_health
from planner.strategies import STRATEGIES, Batch, Parameters, Strategy, find
from planner.surge import UNKNOWN, FallBack, Quota, Surging, largest_add, most_instances


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made from. Amounts as given by people; None means the default of the rules above."""

    scale_set: ScaleSet
    change: Change
    strategy: str
    parameters: Mapping[str, Any] = {}
    action: Action | None = None
    floor: int | str | None = None
    floor_min: int | None = None
    rollback_floor: int | str | None = None
    emergency_floor: int | str | None = None
    required: int | str | None = None
    min_healthy: int | str | None = None
    new_instances: str = "append"
    deadlines: Deadlines = Deadlines()
    upgraded_unhealthy: int | str = 0
    drop: int | str | None = None
    gates_dry_run: bool = False
    accept_no_health: bool = False
    author: str = ""
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    on_window_close: str = "pause"
    hooks: InstanceHooks | None = None
    expires: str = ""
    quota: Quota = UNKNOWN
    title: str = ""
    tool: str = "vmss-sim"
    strategies: Mapping[str, Strategy] = msgspec.field(default_factory=lambda: STRATEGIES)


def parameters_of(strategy: Strategy, given: Mapping[str, Any]) -> Parameters:
    """The strategy's parameter struct from a mapping. Raises InputError naming the key (and the nearest known one)."""
    made = convert(dict(given), strategy.parameters, "", strategy.name)
    for name in ("pause_ms", "soak_ms", "canary_soak_ms", "grace_ms", "retries"):
        if getattr(made, name, 0) < 0:
            raise InputError("cannot be negative", f"{strategy.name}.{name}", str(getattr(made, name)), "0 or more")
    if made.on_failure not in {choice.value for choice in OnFailure}:
        raise InputError(
            "unknown choice",
            f"{strategy.name}.on_failure",
            repr(made.on_failure),
            ", ".join(choice.value for choice in OnFailure),
        )
    floor = getattr(made, "in_place_floor", None)
    if floor is not None:
        amount(floor, f"{strategy.name}.in_place_floor")
    _check_sizes(strategy, made)
    return made


def _check_sizes(strategy: Strategy, made: Parameters) -> None:
    for name in ("size", "cap", "start", "canary"):
        text = amount(getattr(made, name, 1), f"{strategy.name}.{name}")
        if name != "canary" and not text.startswith("n-") and not float(text.rstrip("%")):
            raise InputError(
                "a batch of none would never finish", f"{strategy.name}.{name}", repr(getattr(made, name)), "1 or more"
            )


def build(request: Request) -> Plan:
    """Make the plan. Raises InputError where the request cannot be carried out as it stands."""
    scale_set = request.scale_set
    model = scale_set.model
    if not scale_set.instances:
        raise InputError("the scale set has no instances", model.name, "0", "at least 1")
    if model.service_fabric:
        raise InputError(
            "a Service Fabric cluster upgrades through Service Fabric, not by scale-set operations",
            model.name,
            "the Service Fabric extension",
            "a set without it",
        )
    strategy = find(request.strategy, "strategy", request.strategies)
    parameters = parameters_of(strategy, request.parameters)
    resolved = resolve(request.change, scale_set, request.action)
    by_os = strategy.hands_over and isinstance(resolved.change, Refresh)
    if strategy.platform and resolved.action is not Action.UPGRADE and not by_os:
        raise InputError(
            "the platform moves the instances here, and all it does is upgrade them to the model",
            strategy.name,
            f"action {resolved.action.value}",
            "action upgrade",
            "use a strategy that moves the instances itself",
        )
    if strategy.surge and resolved.action is Action.RUN_COMMAND:
        raise InputError(
            "a surge replaces VMs, and a guest patch is only in those that are there",
            strategy.name,
            "a guest patch",
            "a change of the model",
            "use a strategy that keeps the instances, such as batch",
        )
    undrained = never_drained(MovedBy.PLATFORM if strategy.platform else MovedBy.PLANNER, resolved.action)
    if undrained and request.hooks is not None and request.hooks.drain is not None:
        raise InputError(
            "a drain hook would never run here",
            strategy.name,
            undrained,
            "no drain hook, or a strategy that moves the instances itself" if strategy.platform else "no drain hook",
        )
    total = len(scale_set.instances)
    source = _source(model, request.hooks)
    services = {name: service(one, source) for name, one in scale_set.instances.items()}
    skipped = {name: rule for name in scale_set.instances if (rule := batching.skip_rule(scale_set, name, resolved))}
    batches = batching.batches_of(strategy, parameters, scale_set, skipped)
    if parameters.unhealthy_first and not strategy.platform:
        batches = batching.unhealthy_first(batches, services, surge=strategy.surge)
    platform = strategy.platform
    largest = max((len(batch.take) for batch in batches), default=0)
    out = sum(state is Service.OUT for state in services.values())
    below = _left_out(batches, services) if strategy.surge else largest + (out if strategy.hands_over else 0)
    floor_given = (
        0
        if platform and not strategy.hands_over
        else _first(request.floor, None if strategy.surge else request.min_healthy, f"n-{below}")
    )
    floor = minimum(floor_given, total, "floor")
    budget = total - floor.absolute
    splits: tuple[str, ...] = ()
    if strategy.hands_over:
        _hand_over(strategy, model, largest, floor, total)
        batches = tuple(
            msgspec.structs.replace(one, soak_ms=0 if index + 1 < len(batches) else None)
            for index, one in enumerate(batches)
        )
    elif not platform:
        batches, splits = batching.fit(batches, services, budget, floor, total, strategy, parameters)
    if parameters.approve:
        batches = tuple(msgspec.structs.replace(one, approve=index > 0) for index, one in enumerate(batches))
    ladder = (Rung.QUARANTINE,) if platform else (Rung.UPGRADE,) * parameters.retries + (Rung.QUARANTINE,)
    repairs = model.repairs
    return Plan(
        format=FORMAT,
        tool=request.tool,
        title=request.title,
        scale_set=_project(scale_set, services, source),
        resolved=resolved,
        strategy=strategy.name,
        strategy_version=strategy.version,
        parameters=msgspec.json.decode(msgspec.json.encode(parameters)),  # lists, as a plan file gives them back
        moved_by=MovedBy.PLATFORM if platform else MovedBy.PLANNER,
        floor=floor,
        floor_min=request.floor_min if request.floor_min is not None else min(1, floor.absolute),
        rollback_floor=minimum(_first(request.rollback_floor, 0 if platform else floor.given), total, "rollback_floor"),
        emergency_floor=minimum(_first(request.emergency_floor, min(1, floor.absolute)), total, "emergency_floor"),
        required=None if request.required is None else minimum(request.required, total, "required"),
        objective=None if request.min_healthy is None else minimum(request.min_healthy, total, "min_healthy"),
        batches=batches,
        skipped=skipped,
        splits=splits,
        gates=Gates(
            upgraded_unhealthy=maximum(request.upgraded_unhealthy, total, "upgraded_unhealthy"),
            drop=None if request.drop is None else maximum(request.drop, total, "drop"),
            soak_ms=parameters.soak_ms,
            pause_ms=0 if platform else parameters.pause_ms,
            dry_run=request.gates_dry_run,
        ),
        deadlines=request.deadlines,
        failures=Failures(
            max_failed=maximum(parameters.max_failed, total, f"{strategy.name}.max_failed"),
            ladder=ladder,
            then=OnFailure(parameters.on_failure),
        ),
        ends=ENDS,
        drift=DRIFT,
        new_instances=request.new_instances,
        suspend_repairs=bool(repairs and repairs.enabled and not repairs.suspended and not platform),
        work_mode=_work_mode(strategy, model.mode, by_os=by_os, action=resolved.action),
        handed=HandOver(
            by="os-upgrade" if by_os else "model",
            policy=model.rolling or RollingPolicy(),
            grace_ms=getattr(parameters, "grace_ms", 0),
        )
        if strategy.hands_over
        else None,
        surge=_surging(parameters, scale_set, batches, request) if strategy.surge else None,
        windows=request.windows,
        freezes=request.freezes,
        on_window_close=request.on_window_close,
        accept_no_health=request.accept_no_health,
        author=request.author,
        hooks=request.hooks,
        expires=request.expires,
    )


def _work_mode(strategy: Strategy, mode: UpgradeMode, *, by_os: bool, action: Action) -> UpgradeMode:
    """The mode in which instances move; Azure's OS upgrade moves them in any, and a run-command, which changes no model, is none to it."""
    if action is Action.RUN_COMMAND:
        return mode
    if strategy.hands_over:
        return mode if by_os else UpgradeMode.ROLLING
    return UpgradeMode.AUTOMATIC if strategy.platform else UpgradeMode.MANUAL


def _hand_over(strategy: Strategy, model: Model, largest: int, floor: Threshold, total: int) -> None:
    """Rule 3: can the platform be given this rollout? Raises InputError."""
    met = lacks_health(model)
    if met:
        raise InputError(
            "the platform's own rollouts need a health source",
            strategy.name,
            met,
            "the application health extension"
            + ("" if model.orchestration is Orchestration.FLEXIBLE else ", or a health probe"),
            "use a strategy that moves the instances itself",
        )
    if largest > total - floor.absolute:
        raise InputError(
            f"the policy's largest batch is {largest}: {total} instances minus the floor ({floor}) is {total - floor.absolute}",
            strategy.name,
            str(largest),
            f"at most {max(0, total - floor.absolute)}",
            "lower maxBatchInstancePercent or the floor, or use a strategy that moves the instances itself",
        )


def _left_out(batches: tuple[Batch, ...], services: Mapping[str, Service]) -> int:
    """Rule 2: how many a surge does not count on, since they are out of service and stand in no batch."""
    moved = {name for one in batches for name in one.take}
    return sum(state is Service.OUT and name not in moved for name, state in services.items())


def _surging(parameters: Any, scale_set: ScaleSet, batches: tuple[Batch, ...], request: Request) -> Surging:
    """Rule 2: what the plan says about the capacity it adds."""
    total, add = len(scale_set.instances), largest_add(one.add for one in batches)
    most = most_instances(scale_set.model)
    given = _first(
        parameters.in_place_floor, request.min_healthy, f"n-{max((len(one.take) for one in batches), default=1)}"
    )
    return Surging(
        add=add,
        peak=total + add,
        most=most,
        fallback=FallBack(parameters.fallback),
        in_place_floor=minimum(given, total, "surge.in_place_floor"),
        replace=parameters.retries,
        quota=request.quota,
    )


def _first(*choices: int | str | None) -> int | str:
    return next(choice for choice in choices if choice is not None)


def _source(model: Model, hooks: InstanceHooks | None) -> HealthSource:
    """Who says whether an instance serves."""
    return HealthSource.HOOK if hooks is not None and (hooks.health or hooks.verify) else model.health_source


def _project(scale_set: ScaleSet, services: Mapping[str, Service], source: HealthSource) -> Projection:
    """What the plan keeps of the set."""
    model = scale_set.model
    return Projection(
        name=model.name,
        id=model.id,
        unique_id=model.unique_id,
        orchestration=model.orchestration,
        mode=model.mode,
        image=model.image,
        sku=model.sku,
        os=model.os,
        capacity=len(scale_set.instances),
        health_source=source,
        repairs=model.repairs,
        settings=dict(sorted(model.settings.items())),
        instances={
            one.id: Pinned(
                vm_id=one.vm_id,
                zone=one.zone,
                placement_group=one.placement_group,
                update_domain=one.update_domain,
                fault_domain=one.fault_domain,
                image=one.image,
                service=services[one.id],
                protected=one.protected,
            )
            for one in sorted(scale_set.instances.values(), key=placement_key)
        },
        gives=model.gives,
    )
