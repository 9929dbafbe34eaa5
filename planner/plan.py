"""The plan: everything a rollout will do and may do, as one value that can be vetted, hashed and carried out.

Rules this module decides:

1. Every knob stands in the plan explicitly; nothing is inherited when it is applied.
2. The floor is the request's, else the objective's `min_healthy`, else n minus the largest batch; 0 for a platform-moved
   rollout. A percentage floor follows the set's capacity, never below `floor_min`. Where the platform follows a policy that
   can be cancelled the floor holds when it is handed over, and is a gate afterwards; there it is by default also less what
   is out of service, which the platform does not take first.
3. Protected instances, instances being deleted and instances already at the target stand in no batch; the plan names
   them and the rule.
4. A strategy is audited: its batches are disjoint, not empty, and hold only instances it was given.
5. A batch that needs more than the budget (n minus floor) is split in order if the strategy groups by domain or the
   request says `fit`; otherwise the plan is refused. Instances out of service need no budget.
6. Instances out of service go first only where the request says so, in batches of their own.
7. A surge adds before it takes: its batches cost what they take minus what they add, and its floor is by default what the
   set has, less what is out of service and stands in no batch (`surge.py`).
8. What the set looked like is kept as a named projection; the drift table says what a difference means (`drift.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from planner.amount import Threshold, amount, maximum, minimum
from planner.change import (
    Action,
    Change,
    Refresh,
    Resolved,
    at_target,
    resolve,
)
from planner.drift import DRIFT, Absorb
from planner.errors import InputError
from planner.explain import convert
from planner.model import (
    AutomaticRepairs,
    HealthSource,
    ImageReference,
    Model,
    OperatingSystem,
    Orchestration,
    Provisioning,
    RollingPolicy,
    ScaleSet,
    Service,
    UpgradeMode,
    placement_key,
    runs,
    service,
)
from planner.platform import lacks_health
from planner.strategies import STRATEGIES, Batch, Parameters, Strategy, find
from planner.surge import UNKNOWN, FallBack, Quota, Surging, largest_add, most_instances

FORMAT = "vmss-sim/plan/1"


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: every field is written out."""


class Pinned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One instance as the plan saw it; `image` is what it goes back to."""

    vm_id: str = ""
    zone: str | None = None
    placement_group: str | None = None
    update_domain: int | None = None
    fault_domain: int | None = None
    image: ImageReference | None = None
    service: Service = Service.UNKNOWN
    protected: bool = False


class Projection(_Value, frozen=True, kw_only=True):
    """The set as the plan saw it: identity, model, and per instance what the drift table compares."""

    name: str
    id: str
    unique_id: str
    orchestration: Orchestration
    mode: UpgradeMode
    image: ImageReference | None
    sku: str | None
    os: OperatingSystem
    capacity: int
    health_source: HealthSource
    repairs: AutomaticRepairs | None
    settings: dict[str, Any]
    instances: dict[str, Pinned]


class MovedBy(str, Enum):
    """Who moves the instances."""

    PLANNER = "planner"
    PLATFORM = "platform"


class Gates(_Value, frozen=True, kw_only=True):
    """What must hold between two batches. `dry_run`: only the verdict is recorded, nothing waits or stops.

    upgraded_unhealthy: instances at the target that may be out of service. drop: how many fewer instances than before
    the rollout may be in service (None: not judged). soak_ms: how long both must hold without a break.
    pause_ms: after the gate passed.
    """

    upgraded_unhealthy: Threshold
    drop: Threshold | None
    soak_ms: int
    pause_ms: int
    dry_run: bool = False


class Deadlines(_Value, frozen=True, kw_only=True):
    """Every wait is bounded.

    healthy_ms: from the end of an instance's operation until it serves. operation_ms: one operation. gate_ms: a gate
    that does not hold. stall_ms: nothing could be taken (floor, foreign work). rollout_ms: all of it.
    settle_ms: before an unknown outcome, or a result not yet visible, is looked at. operation deadlines are generous:
    the platform itself gives a guest 40 minutes, 90 with extensions (OSProvisioningTimedOut).
    """

    healthy_ms: int = 600_000
    operation_ms: int = 5_400_000
    gate_ms: int = 900_000
    stall_ms: int = 1_800_000
    rollout_ms: int = 86_400_000
    settle_ms: int = 30_000


class Rung(str, Enum):
    """What is tried, in order, for an instance whose operation failed."""

    UPGRADE = "upgrade"
    REIMAGE = "reimage"
    REPLACE = "replace"
    QUARANTINE = "quarantine"


class OnFailure(str, Enum):
    """What happens when more than `max_failed` instances failed, or a gate does not hold. pause: it rests, and a person says what then;
    on the way back, and where the platform moves the instances, it stops.
    """

    STOP = "stop"
    PAUSE = "pause"
    ROLLBACK_BATCH = "rollback-batch"
    ROLLBACK_ALL = "rollback-all"


class Failures(_Value, frozen=True, kw_only=True):
    """max_failed: failed (quarantined) instances tolerated, strict >. ladder: ends with quarantine. refusals: how often
    a 409 or 429 is met in a row before the rollout stops; backoff_ms between them where the platform names no time.
    """

    max_failed: Threshold
    ladder: tuple[Rung, ...]
    then: OnFailure
    refusals: int = 10
    backoff_ms: int = 5_000


class EndState(_Value, frozen=True, kw_only=True):
    """What is left behind when a rollout ends or rests this way.

    model: `target`, `pinned` (the reverse), or `as-is`. in_flight: `awaited` or `left-running` (adopted on resume).
    repairs: `restored` or `suspended`. mode: `restored` (where nothing is stale), or `as-is`. added: instances that were
    added and replace none: `removed` (as far as the floor lets them go), or `left`.
    """

    model: str
    in_flight: str
    repairs: str
    mode: str
    exit_code: int
    added: str = "removed"


ENDS: dict[str, EndState] = {
    "finish": EndState(model="target", in_flight="awaited", repairs="restored", mode="restored", exit_code=0),
    "finish-with-exceptions": EndState(
        model="target", in_flight="awaited", repairs="restored", mode="as-is", exit_code=5
    ),
    "pause": EndState(
        model="target", in_flight="awaited", repairs="suspended", mode="as-is", exit_code=3, added="left"
    ),
    "stop": EndState(model="pinned", in_flight="awaited", repairs="restored", mode="as-is", exit_code=1),
    "abort": EndState(model="pinned", in_flight="awaited", repairs="restored", mode="as-is", exit_code=1),
    "rollback": EndState(model="pinned", in_flight="awaited", repairs="restored", mode="restored", exit_code=1),
    "drift": EndState(model="as-is", in_flight="awaited", repairs="restored", mode="as-is", exit_code=1, added="left"),
    "refused": EndState(
        model="as-is", in_flight="left-running", repairs="restored", mode="as-is", exit_code=2, added="left"
    ),
    "window-closed": EndState(
        model="target", in_flight="awaited", repairs="suspended", mode="as-is", exit_code=3, added="left"
    ),
    "dead-executor": EndState(
        model="as-is", in_flight="left-running", repairs="suspended", mode="as-is", exit_code=3, added="left"
    ),
}


class HandOver(_Value, frozen=True, kw_only=True):
    """A rollout that the platform does by its own policy, and that is watched.

    by: `model` (its update in mode Rolling starts it) or `os-upgrade` (Azure's OS upgrade is started). policy: as the plan saw it.
    grace_ms: how long fewer than the floor may be in service before it is cancelled.
    """

    by: str
    policy: RollingPolicy
    grace_ms: int


class Window(_Value, frozen=True, kw_only=True):
    """A time span in which batches may start: weekday names, local times `HH:MM`, IANA time zone."""

    days: tuple[str, ...]
    start: str
    end: str
    time_zone: str


class Freeze(_Value, frozen=True, kw_only=True):
    """A time span in which no batch starts, whatever the windows say: local times `YYYY-MM-DDTHH:MM`, IANA time zone."""

    start: str
    end: str
    time_zone: str
    why: str = ""


class InstanceHook(_Value, frozen=True, kw_only=True):
    """A program that is asked about, or run for, one instance: exit status 0 is yes. deadline_ms: no answer by then is no."""

    command: tuple[str, ...]
    deadline_ms: int = 10_000


class InstanceHooks(_Value, frozen=True, kw_only=True):
    """What is asked about instances (`backends/probes.py`). health: does it serve? replaces: instead of what the platform says, else
    both have to say so. drain: before it is taken. verify: after it came back. every_ms: how often at most.
    """

    health: InstanceHook | None = None
    replaces: bool = False
    drain: InstanceHook | None = None
    verify: InstanceHook | None = None
    every_ms: int = 15_000


class Plan(_Value, frozen=True, kw_only=True):
    """A vetted rollout. See the module's rules; `format` names the schema's version.

    on_window_close: `pause` (somebody, or a pipeline, goes on in the next window) or `wait`. needs_ms: how long each batch takes in 95
    of 100 simulated runs; none starts unless the window is open for so long. Empty only without windows and freezes.
    expires: from then on (`2026-12-10T03:40Z`) no rollout is begun with it, while one that was begun goes on; empty: never.
    """

    format: str
    tool: str
    title: str
    scale_set: Projection
    resolved: Resolved
    strategy: str
    strategy_version: int
    parameters: dict[str, Any]
    moved_by: MovedBy
    floor: Threshold
    floor_min: int
    rollback_floor: Threshold
    emergency_floor: Threshold
    required: Threshold | None
    objective: Threshold | None
    batches: tuple[Batch, ...]
    skipped: dict[str, str]
    splits: tuple[str, ...]
    gates: Gates
    deadlines: Deadlines
    failures: Failures
    ends: dict[str, EndState]
    drift: dict[str, Absorb]
    new_instances: str
    suspend_repairs: bool
    work_mode: UpgradeMode
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    on_window_close: str = "pause"
    needs_ms: tuple[int, ...] = ()
    accept_no_health: bool = False
    surge: Surging | None = None
    handed: HandOver | None = None
    author: str = ""
    hooks: InstanceHooks | None = None
    expires: str = ""


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
    skipped = {name: rule for name in scale_set.instances if (rule := _skip_rule(scale_set, name, resolved))}
    batches = _batches(strategy, parameters, scale_set, skipped)
    if parameters.unhealthy_first and not strategy.platform:
        batches = _unhealthy_first(batches, services, surge=strategy.surge)
    platform = strategy.platform
    largest = max((len(batch.take) for batch in batches), default=0)
    out = sum(state is Service.OUT for state in services.values())
    usual = _kept(batches, services) if strategy.surge else f"n-{largest + (out if strategy.hands_over else 0)}"
    floor_given = (
        0
        if platform and not strategy.hands_over
        else _first(request.floor, None if strategy.surge else request.min_healthy, usual)
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
        batches, splits = _fit(batches, services, budget, floor, total, strategy, parameters)
    if parameters.approve:
        batches = tuple(msgspec.structs.replace(one, approve=index > 0) for index, one in enumerate(batches))
    ladder = (Rung.QUARANTINE,) if platform else (Rung.UPGRADE,) * parameters.retries + (Rung.QUARANTINE,)
    repairs = model.repairs
    return Plan(
        format=FORMAT,
        tool=request.tool,
        title=request.title,
        scale_set=project(scale_set, services, source),
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
    """Rule 2: can the platform be given this rollout? Raises InputError."""
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


def _kept(batches: tuple[Batch, ...], services: Mapping[str, Service]) -> int:
    """Rule 7: the floor of a surge. What is out of service and stands in no batch is not counted on."""
    moved = {name for one in batches for name in one.take}
    return sum(state is not Service.OUT or name in moved for name, state in services.items())


def _surging(parameters: Any, scale_set: ScaleSet, batches: tuple[Batch, ...], request: Request) -> Surging:
    """Rule 7: what the plan says about the capacity it adds."""
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


def _skip_rule(scale_set: ScaleSet, name: str, resolved: Resolved) -> str:
    """Rule 3: why this instance stands in no batch, or ''."""
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


def _batches(
    strategy: Strategy, parameters: Parameters, scale_set: ScaleSet, skipped: Mapping[str, str]
) -> tuple[Batch, ...]:
    """Run the strategy on what is to be moved, and audit it (rule 4)."""
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


def _unhealthy_first(batches: tuple[Batch, ...], services: Mapping[str, Service], *, surge: bool) -> tuple[Batch, ...]:
    """Rule 6: the instances out of service, in batches of at most the largest batch, before all others."""
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


def _fit(
    batches: tuple[Batch, ...],
    services: Mapping[str, Service],
    budget: int,
    floor: Threshold,
    total: int,
    strategy: Strategy,
    parameters: Parameters,
) -> tuple[tuple[Batch, ...], tuple[str, ...]]:
    """Rule 5: no batch needs more than the budget."""
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


def untimed(plan: Plan) -> bool:
    """Do its batches start by windows, and it does not say what each needs of one? Older versions made such plans."""
    return bool((plan.windows or plan.freezes) and plan.batches) and not all(plan.needs_ms or (0,))


def never_drained(moved_by: MovedBy, action: Action) -> str:
    """Why a drain hook would never run; '' where it does."""
    if moved_by is MovedBy.PLATFORM:
        return "the platform takes the instances, and asks nobody before"
    return "a run-command takes no instance out of service" if action is Action.RUN_COMMAND else ""


def _source(model: Model, hooks: InstanceHooks | None) -> HealthSource:
    """Who says whether an instance serves."""
    return HealthSource.HOOK if hooks is not None and (hooks.health or hooks.verify) else model.health_source


def project(scale_set: ScaleSet, services: Mapping[str, Service], source: HealthSource) -> Projection:
    """Rule 7: what the plan keeps of the set."""
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
    )
