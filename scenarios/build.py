"""From a scenario to what can be run: a scale set, a change, a world for each replication, and the assumptions made.

Rules this module decides:

1. A snapshot's facts are the set; beside it `os` may fill in what it does not say, and `upgrade_mode`, `rolling` and
   `health` may ask "what if it were so", which is listed. Any other key beside a snapshot is refused, never ignored.
2. What was not said is assumed, and every assumption is listed with its origin: yours, measured, documented, guessed.
3. An instance whose power is not known is taken to serve: offline only, and listed. A plan for Azure never assumes so.
4. Required capacity: `[load]`, else `objective.min_healthy`, else 80 % (Azure's own default tolerates 20 % unhealthy).
5. What is wrong in a strategy's parameters is wrong in the file, and said here; what merely does not fit this set is found
   when the plan is made, and refuses that strategy only.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from planner.amount import amount, at_least
from planner.arm_json import Gap
from planner.change import (
    Action,
    Change,
    CurrentModel,
    GuestPatch,
    ImageChange,
    ImageIdChange,
    ImageUriChange,
    PropertyChange,
    Refresh,
    resolve,
)
from planner.errors import InputError
from planner.explain import did_you_mean
from planner.metrics import StepFunction, constant
from planner.model import (
    AutomaticOsUpgrade,
    AutomaticRepairs,
    Health,
    HealthSource,
    ImageReference,
    Instance,
    Model,
    OperatingSystem,
    Orchestration,
    Power,
    Provisioning,
    RollingPolicy,
    ScaleSet,
    UpgradeMode,
    id_key,
    scale_set,
)
from planner.plan import Deadlines, parameters_of
from planner.strategies import STRATEGIES, Strategy, find
from planner.surge import Quota
from scenarios import background, load_curve, quota, surroundings, timing_file
from scenarios.expect import claims
from scenarios.files import load, read_snapshot
from scenarios.schema import (
    AutoOsTable,
    ChangeTable,
    FailuresTable,
    RepairsTable,
    RollingTable,
    ScaleSetTable,
    Scenario,
)
from scenarios.timing import parse_duration_ms, parse_timing
from scenarios.timing_file import Book, FailureRow
from vmss_sim.world.config import AutoOs, Failures, Image, Machine, Platform, Repairs, Timings, WorldConfig
from vmss_sim.world.config import RollingPolicy as WorldRollingPolicy
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import IMAGE, URI, World
from vmss_sim.world.timings import Constant, Exponential, Timing

DEFAULT_IMAGE = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts:22.04.202604160"
UPGRADE_FAILURE = 0.005
MTTR_S = 1800.0
SPAN_MS = 3 * 86_400_000
RETRIES = 100
GRACE_MS = (600_000, 5_400_000)
REPAIR_ACTIONS = ("replace", "reimage", "restart")
SLOW = (0.1, 100.0)
DEPTH = 50
TODAY = "today"
UTC = "UTC"


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something the result rests on. origin: yours, measured, documented or guessed.

    key: the scenario key that would settle it; scale: what a sensitivity search multiplies, empty where it cannot.
    """

    name: str
    value: str
    origin: str
    key: str = ""
    scale: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy to be compared: its label in the results, its name and its parameters."""

    label: str
    name: str
    parameters: dict[str, Any]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario worked out. Times in ms from the start of the rollout.

    scale_set: the set as it is simulated; observed: as it was given, nothing assumed (what a plan is made from).
    """

    title: str
    why: str
    scale_set: ScaleSet
    observed: ScaleSet
    change: Change
    action: Action | None
    world: WorldConfig
    faults: tuple[Fault, ...]
    poll_ms: int
    deadlines: Deadlines
    required: StepFunction
    required_given: str | None
    min_healthy: str | None
    max_duration_ms: int | None
    max_breach: float
    horizon_ms: int
    choices: tuple[Choice, ...]
    left_out: tuple[tuple[str, str], ...]
    assumptions: tuple[Assumption, ...]
    gaps: tuple[Gap, ...]
    quota: Quota
    ready_is_default: bool
    ready_p95_s: float

    @property
    def total(self) -> int:
        """Instances at the start."""
        return len(self.scale_set.instances)


def build_world(setup: Setup, seed: int, replication: int) -> World:
    """The world of one replication: the same luck for every strategy."""
    return World(setup.world, Draws(seed, replication, setup.total), setup.faults)


def read(path: Path) -> Setup:
    """A scenario file, worked out."""
    return setup(load(path), path.parent, str(path))


def setup(scenario: Scenario, folder: Path, where: str) -> Setup:
    """A scenario, worked out. `folder`: what relative paths are relative to. Raises InputError."""
    assumed: list[Assumption] = []
    watch = tuple(scenario.change.set_ or ())
    fleet, gaps = _fleet(scenario.scale_set, folder, where, watch, assumed)
    observed, fleet = fleet, _assume_serving(fleet, assumed)
    total = len(fleet.instances)
    if total == 0:
        supply = next((gap.supply for gap in gaps if gap.code == "no-instances"), "")
        raise InputError(
            "the scale set has no instances",
            f"{where}: scale_set",
            "0",
            "at least 1",
            f"give the list that `{supply}` prints" if supply else "",
        )
    if fleet.model.service_fabric:
        raise InputError(
            "a Service Fabric cluster upgrades through Service Fabric, not by scale-set operations",
            f"{where}: scale_set",
            "the Service Fabric extension",
            "a set without it",
        )
    os = fleet.model.os.value
    book = timing_file.book(scenario.timing.file, folder)
    operations, ready = _timings(scenario, os, where, assumed, book)
    failures = _failures(scenario.failures, where, assumed, book.failures.get("upgrade", {}).get(os))  # type: ignore[call-overload]
    objective = scenario.objective
    horizon_ms = _span_ms(objective.horizon, f"{where}: objective.horizon")
    _probability(objective.max_breach, f"{where}: objective.max_breach")
    min_healthy = (
        None if objective.min_healthy is None else _amount(objective.min_healthy, f"{where}: objective.min_healthy")
    )
    if min_healthy is not None and at_least(min_healthy, total) > total:
        raise InputError(
            "more than there are", f"{where}: objective.min_healthy", f"{min_healthy} of {total}", f"at most {total}"
        )
    required, required_given = _required(scenario, folder, where, total, min_healthy, horizon_ms, assumed)
    change, action = _change(scenario.change, fleet, where)
    room = quota.read(scenario.quota, total, f"{where}: quota")
    assumed += [Assumption(**one) for one in quota.told(scenario.quota, room)]
    choices, left_out = _choices(scenario, fleet, gaps, where, operations, ready)
    if scenario.expect is not None:
        claims(scenario.expect, f"{where}: expect")
    poll_ms = parse_duration_ms(scenario.timing.poll, f"{where}: timing.poll")
    _tell(
        assumed,
        "poll",
        f"every {poll_ms / 1000:g} s" if poll_ms else "told at once",
        "yours" if scenario.timing.poll != 10 else "guessed",
        "timing.poll",
    )
    give_up_ms = parse_duration_ms(scenario.timing.give_up, f"{where}: timing.give_up")
    if give_up_ms == 0:
        raise InputError("no instance serves the moment its VM is up", f"{where}: timing.give_up", "0", "more than 0")
    _tell(
        assumed,
        "an instance is given up",
        f"not in service {give_up_ms / 60_000:g} min after its operation",
        "yours" if scenario.timing.give_up != 600 else "guessed",
        "timing.give_up",
    )
    probe_ms = parse_duration_ms(scenario.timing.probe, f"{where}: timing.probe")
    _tell(
        assumed,
        "health probe",
        f"notices after {probe_ms / 1000:g} s",
        "yours" if scenario.timing.probe != 5 else "documented",
        "timing.probe",
    )
    return Setup(
        title=scenario.title,
        why=scenario.why,
        scale_set=fleet,
        observed=observed,
        change=change,
        action=action,
        world=quota.limited(
            _newest(
                _surrounded(_world(fleet, operations, ready, probe_ms, failures), scenario, where, assumed), change
            ),
            room,
        ),
        faults=surroundings.faults(scenario.fault, f"{where}: fault"),
        poll_ms=poll_ms,
        deadlines=Deadlines(healthy_ms=give_up_ms),
        required=required,
        required_given=required_given,
        min_healthy=min_healthy,
        max_duration_ms=None
        if objective.max_duration is None
        else _span_ms(objective.max_duration, f"{where}: objective.max_duration"),
        max_breach=objective.max_breach,
        horizon_ms=horizon_ms,
        choices=choices,
        left_out=left_out,
        assumptions=tuple(assumed),
        gaps=gaps,
        quota=room,
        ready_is_default=scenario.timing.ready is None and book.ready[os].origin != "yours",  # type: ignore[index]
        ready_p95_s=ready.ppf_ms_scalar(0.95) / 1000,
    )


def _time(span_ms: float) -> str:
    """A duration for people, in the unit that suits it."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if span_ms >= 2 * size:
            return f"{span_ms / size:.3g} {unit}"
    return f"{span_ms / 1000:.3g} s"


def _amount(value: Any, where: str) -> str:
    if isinstance(value, str) and len(value) > 40:
        raise InputError("not an amount of instances", where, reprlib.repr(value), 'a count (8), "80%" or "n-2"')
    return amount(value, where)


def _span_ms(value: Any, where: str) -> int:
    """A duration that is not 0."""
    span_ms = parse_duration_ms(value, where)
    if span_ms == 0:
        raise InputError("a span of time", where, repr(value), "more than 0")
    return span_ms


def _tell(assumed: list[Assumption], name: str, value: str, origin: str, key: str, scale: str = "") -> None:
    assumed.append(Assumption(name=name, value=value, origin=origin, key=key, scale=scale))


# -- the set ----------------------------------------------------------------------------------------------------------


def _enum(kind: Any, value: str | None, default: Any, where: str) -> Any:
    if value is None:
        return default
    try:
        return kind(value.lower())
    except ValueError as error:
        raise InputError("unknown choice", where, repr(value), ", ".join(one.value for one in kind)) from error


def _fleet(
    table: ScaleSetTable, folder: Path, where: str, watch: Sequence[str], assumed: list[Assumption]
) -> tuple[ScaleSet, tuple[Gap, ...]]:
    if (table.instances is None) == (table.from_ is None):
        raise InputError(
            "a scale set is given by `instances` or by `from`",
            f"{where}: scale_set",
            "both" if table.from_ else "neither",
            "one of them",
        )
    if table.from_ is None:
        return _invented(table, where, watch, assumed), ()
    names = [table.from_] if isinstance(table.from_, str) else table.from_
    reading = read_snapshot([folder / name for name in names], watch)
    fleet = reading.scale_set
    _tell(
        assumed,
        "scale set",
        f"{fleet.model.name}: {len(fleet.instances)} instances, as the snapshot says",
        "yours",
        "scale_set.from",
    )
    return _completed(fleet, table, where, assumed), reading.gaps


SAID_BY_SNAPSHOT = (
    "update_domains",
    "fault_domains",
    "zones",
    "image",
    "unhealthy",
    "protected",
    "repairs",
    "auto_os",
    "flexible",
)


def _completed(fleet: ScaleSet, table: ScaleSetTable, where: str, assumed: list[Assumption]) -> ScaleSet:
    """Rule 1."""
    at = f"{where}: scale_set"
    defaults = ScaleSetTable()
    for name in ("name", *SAID_BY_SNAPSHOT):
        if getattr(table, name) != getattr(defaults, name):
            raise InputError(
                "the files of `from` say this themselves", f"{at}.{name}", repr(getattr(table, name)), "no such key"
            )
    model = fleet.model
    os = _enum(OperatingSystem, table.os, model.os, f"{at}.os")
    if os is not model.os and model.os is not OperatingSystem.UNKNOWN:
        raise InputError("the files of `from` say otherwise", f"{at}.os", repr(table.os), model.os.value)
    if os is OperatingSystem.UNKNOWN:
        os = OperatingSystem.LINUX
        _tell(assumed, "operating system", "linux", "guessed", "scale_set.os")
    mode = _enum(UpgradeMode, table.upgrade_mode, model.mode, f"{at}.upgrade_mode")
    source = _enum(HealthSource, table.health, model.health_source, f"{at}.health")
    rolling = model.rolling if table.rolling is None else _policy(table.rolling, f"{at}.rolling")
    for name, asked, said in (("upgrade_mode", mode, model.mode), ("health", source, model.health_source)):
        if asked is not said:
            _tell(assumed, name.replace("_", " "), f"{asked.value}, not {said.value}", "yours", f"scale_set.{name}")
    if table.rolling is not None:
        _tell(assumed, "rolling policy", "yours, not the snapshot's", "yours", "scale_set.rolling")
    return ScaleSet(
        model=msgspec.structs.replace(model, os=os, mode=mode, health_source=source, rolling=rolling),
        instances=fleet.instances,
    )


def _policy(table: RollingTable, where: str) -> RollingPolicy:
    """Azure's rolling policy, in the ranges that Azure allows (azure-rest-api-specs, RollingUpgradePolicy)."""
    for name, least in (("max_batch", 5), ("max_unhealthy", 5), ("max_unhealthy_upgraded", 0)):
        _count(getattr(table, name), 0, f"{where}.{name}", least, 100)
    return RollingPolicy(
        max_batch_percent=table.max_batch,
        max_unhealthy_percent=table.max_unhealthy,
        max_unhealthy_upgraded_percent=table.max_unhealthy_upgraded,
        pause_between_batches_ms=parse_duration_ms(table.pause, f"{where}.pause"),
        cross_zone=table.cross_zone,
        prioritize_unhealthy=table.prioritize_unhealthy,
        rollback_failed=table.rollback_failed,
        max_surge=table.max_surge,
    )


def _repairs_policy(table: bool | RepairsTable, where: str) -> AutomaticRepairs | None:
    """`[scale_set] repairs`, in the ranges that Azure allows (DOC-repairs)."""
    if table is False:
        return None
    said = RepairsTable() if table is True else table
    grace_ms = parse_duration_ms(said.grace, f"{where}.grace")
    if not GRACE_MS[0] <= grace_ms <= GRACE_MS[1]:
        raise InputError("out of range", f"{where}.grace", repr(said.grace), "10m to 90m")
    if said.action not in REPAIR_ACTIONS:
        raise InputError("unknown choice", f"{where}.action", repr(said.action), ", ".join(REPAIR_ACTIONS))
    return AutomaticRepairs(enabled=True, grace_ms=grace_ms, action=said.action)


def _auto_os_policy(table: bool | AutoOsTable) -> AutomaticOsUpgrade | None:
    """`[scale_set] auto_os`."""
    if table is False:
        return None
    said = AutoOsTable() if table is True else table
    return AutomaticOsUpgrade(
        enabled=True,
        disable_rollback=said.disable_rollback,
        use_rolling_policy=said.use_rolling_policy,
        deferral=said.deferral,
    )


def _image_reference(text: str, where: str) -> ImageReference:
    if text.startswith("/"):
        return ImageReference(id=text)
    if "://" in text:
        return ImageReference(uri=text)
    parts = text.split(":")
    if len(parts) != 4 or not all(parts):
        raise InputError(
            "not an image",
            where,
            repr(text),
            "publisher:offer:sku:version, an image id (/subscriptions/…), or a VHD uri",
        )
    return ImageReference(publisher=parts[0], offer=parts[1], sku=parts[2], version=parts[3])


def _count(value: int | None, default: int, where: str, least: int = 0, most: int = 1000) -> int:
    chosen = default if value is None else value
    if not least <= chosen <= most:
        raise InputError("out of range", where, reprlib.repr(chosen), f"{least} to {most}")
    return chosen


def _invented(table: ScaleSetTable, where: str, watch: Sequence[str], assumed: list[Assumption]) -> ScaleSet:
    at = f"{where}: scale_set"
    total = _count(table.instances, 0, f"{at}.instances", 1)
    zones = _count(table.zones, 0, f"{at}.zones", 0, 3)
    update_domains = _count(table.update_domains, 0 if table.flexible else 5, f"{at}.update_domains", 0, 20)
    fault_domains = _count(table.fault_domains, 1 if zones else 5, f"{at}.fault_domains", 0, 5)
    for name, value, given in (
        ("update domains", update_domains, table.update_domains),
        ("fault domains", fault_domains, table.fault_domains),
    ):
        _tell(
            assumed,
            name,
            str(value),
            "yours" if given is not None else "documented",
            f"scale_set.{name.replace(' ', '_')}",
        )
    image = _image_reference(table.image or DEFAULT_IMAGE, f"{at}.image")
    health = _enum(HealthSource, table.health, HealthSource.EXTENSION, f"{at}.health")
    os = _enum(OperatingSystem, table.os, OperatingSystem.LINUX, f"{at}.os")
    policy = None if table.rolling is None else _policy(table.rolling, f"{at}.rolling")
    ids = [str(index) for index in range(total)]
    sick = _members(table.unhealthy, ids, f"{at}.unhealthy")
    protected = _members(table.protected, ids, f"{at}.protected")
    model = Model(
        name=table.name,
        orchestration=Orchestration.FLEXIBLE if table.flexible else Orchestration.UNIFORM,
        mode=_enum(UpgradeMode, table.upgrade_mode, UpgradeMode.MANUAL, f"{at}.upgrade_mode"),
        rolling=policy,
        repairs=_repairs_policy(table.repairs, f"{at}.repairs"),
        auto_os=_auto_os_policy(table.auto_os),
        image=image,
        capacity=total,
        zones=tuple(str(one + 1) for one in range(zones)),
        health_source=health,
        os=os,
        single_placement_group=total <= 100,
        settings=dict.fromkeys(watch),
    )
    exact = (
        msgspec.structs.replace(image, exact_version=image.version)
        if image.publisher and image.version != "latest"
        else image
    )
    return scale_set(
        model,
        (
            _instance(index, zones, update_domains, fault_domains, exact, health, sick, protected)
            for index in range(total)
        ),
    )


def _instance(
    index: int,
    zones: int,
    update_domains: int,
    fault_domains: int,
    image: ImageReference,
    health: HealthSource,
    sick: frozenset[str],
    protected: frozenset[str],
) -> Instance:
    within = index // zones if zones else index
    name = str(index)
    out = name in sick
    return Instance(
        id=name,
        vm_id=f"vm-{name}",
        zone=str(index % zones + 1) if zones else None,
        placement_group=f"group-{index // 100}",
        update_domain=within % update_domains if update_domains else None,
        fault_domain=within % fault_domains if fault_domains else None,
        image=image,
        latest_model=True,
        provisioning=Provisioning.SUCCEEDED,
        power=Power.STOPPED if out and health is HealthSource.NONE else Power.RUNNING,
        health=Health.ABSENT if health is HealthSource.NONE else (Health.UNHEALTHY if out else Health.HEALTHY),
        protected=name in protected,
        os_disk=f"{name}-os-",
    )


def _members(given: int | list[str], ids: list[str], where: str) -> frozenset[str]:
    """So many, spread evenly, or the ones named."""
    if isinstance(given, list):
        known = set(ids)
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError("no such instance", where, reprlib.repr(unknown), f"'0' to '{len(ids) - 1}'")
        twice = [name for name, times in Counter(given).items() if times > 1]
        if twice:
            raise InputError("an instance is named twice", where, reprlib.repr(twice), "each once")
        return frozenset(given)
    if not 0 <= given <= len(ids):
        raise InputError("out of range", where, reprlib.repr(given), f"0 to {len(ids)}")
    return frozenset(ids[index * len(ids) // given] for index in range(given)) if given else frozenset()


def _assume_serving(fleet: ScaleSet, assumed: list[Assumption]) -> ScaleSet:
    """Rule 3."""
    reported = fleet.model.health_source is not HealthSource.NONE
    made = {}
    unknown = 0
    for name, one in fleet.instances.items():
        changes: dict[str, Any] = {}
        if one.power is Power.UNKNOWN:
            changes["power"] = Power.RUNNING
        if one.provisioning is Provisioning.UNKNOWN:
            changes["provisioning"] = Provisioning.SUCCEEDED
        if reported and one.health is Health.ABSENT and one.power in (Power.UNKNOWN, Power.RUNNING):
            changes["health"] = Health.HEALTHY
        unknown += bool(changes)
        made[name] = msgspec.structs.replace(one, **changes) if changes else one
    if not unknown:
        return fleet
    _tell(
        assumed,
        "in service",
        f"{unknown} instances whose state the snapshot does not say are taken to serve",
        "guessed",
        "scale_set.from",
    )
    return ScaleSet(model=fleet.model, instances=made)


# -- the change -------------------------------------------------------------------------------------------------------


def _change(table: ChangeTable, fleet: ScaleSet, where: str) -> tuple[Change, Action | None]:
    """The change, worked out once against the set: one that cannot be done refuses the scenario, not each strategy."""
    change, action = _change_of(table, f"{where}: change"), _action(table.action, f"{where}: change.action")
    try:
        resolve(change, fleet, action)
    except InputError as error:
        raise InputError(error.what, f"{where}: {error.where}", error.found, error.expected, error.fix) from error
    return change, action


def _change_of(table: ChangeTable, where: str) -> Change:
    image = {
        name: getattr(table, name)
        for name in ("version", "sku", "offer", "publisher")
        if getattr(table, name) is not None
    }
    kinds: dict[str, Any] = {
        "an image": image,
        "id": table.id,
        "uri": table.uri,
        "set": table.set_,
        "guest": table.guest,
        "refresh": table.refresh,
        "current_model": table.current_model,
    }
    for name in ("version", "sku", "offer", "publisher", "id", "uri", "refresh"):
        if getattr(table, name) == "":
            raise InputError("nothing is named", f"{where}.{name}", "''", f"a {name}, or no such key")
    given = [name for name, value in kinds.items() if value]
    if len(given) != 1:
        raise InputError(
            "a change is of one kind",
            where,
            " and ".join(given) or "nothing",
            "version, sku, id, uri, set, guest, refresh or current_model",
        )
    if image:
        return ImageChange(**image)
    if table.id:
        return ImageIdChange(id=table.id)
    if table.uri:
        return ImageUriChange(uri=table.uri)
    if table.set_:
        if len(table.set_) != 1:
            raise InputError("one property at a time", f"{where}.set", ", ".join(table.set_), "one path")
        ((path, value),) = table.set_.items()
        _check_json(value, f"{where}.set")
        return PropertyChange(path=path, value=value)
    if table.guest:
        return GuestPatch(script=table.guest.script, undo=table.guest.undo)
    return Refresh(exact_version=table.refresh) if table.refresh else CurrentModel()


def _check_json(value: Any, where: str) -> None:
    """A property's value is JSON of usual depth."""
    level, depth = [value], 0
    while level:
        depth += 1
        for one in level:
            finite = not isinstance(one, float) or math.isfinite(one)
            if depth > DEPTH or not finite or not isinstance(one, str | int | float | list | dict | None):
                raise InputError(
                    "not a value of a model property", where, reprlib.repr(one), f"JSON, at most {DEPTH} levels deep"
                )
        level = [
            item
            for one in level
            if isinstance(one, list | dict)
            for item in (one.values() if isinstance(one, dict) else one)
        ]


def _action(text: str | None, where: str) -> Action | None:
    if text is None:
        return None
    chosen: Action = _enum(Action, text, None, where)
    return chosen


# -- how things behave ------------------------------------------------------------------------------------------------


def _timings(
    scenario: Scenario, os: str, where: str, assumed: list[Assumption], book: Book
) -> tuple[dict[str, Timing], Timing]:
    table = scenario.timing
    operations: dict[str, Timing] = {}
    for field in ("upgrade", "reimage", "restart", "run_command", "update_model"):
        name = field.replace("_", "-")
        given = getattr(table, field)
        operations[name] = parse_timing(given, f"{where}: timing.{field}", name, os, book.recorded)  # type: ignore[arg-type]  # a System
        row = book.recorded[name].get(os)  # type: ignore[call-overload]
        if field in ("upgrade", "update_model") or given != "recorded" or (row and row.origin == "yours"):
            origin = row.origin if given == "recorded" and row else "yours"
            mean = operations[name].mean_s()
            value = f"mean {mean:.0f} s" if mean >= 10 else f"mean {mean:.1f} s"
            value += f" ({row.note}, n={row.n})" if given == "recorded" and row else ""
            _tell(
                assumed,
                f"{name} of one VM" if field != "update_model" else "model update",
                value,
                origin,
                f"timing.{field}",
                "upgrade" if field == "upgrade" and origin != "yours" else "",
            )
    for name, rows in book.recorded.items():
        operations.setdefault(name, rows[os].timing)  # type: ignore[index]
    for name in ("suspend-repairs", "resume-repairs"):
        operations[name] = operations["set-orchestration-service-state"]
    operations["set-capacity"] = Constant(seconds=1)
    if table.ready is None:
        usual = book.ready[os]  # type: ignore[index]
        ready = usual.timing
        _tell(
            assumed,
            "your application is ready",
            f"p95 {ready.ppf_ms_scalar(0.95) / 1000:.0f} s after its VM"
            + (f" ({usual.note}, n={usual.n})" if usual.origin == "yours" else ""),
            usual.origin,
            "timing.ready",
            "ready" if usual.origin == "guessed" else "",
        )
    else:
        ready = parse_timing(table.ready, f"{where}: timing.ready", "ready", os)  # type: ignore[arg-type]
        _tell(
            assumed,
            "your application is ready",
            f"p95 {ready.ppf_ms_scalar(0.95) / 1000:.0f} s after its VM",
            "yours",
            "timing.ready",
        )
    return operations, ready


def _probability(value: float, where: str) -> float:
    if not 0 <= value <= 1:
        raise InputError("not a probability", where, f"{value:g}", "0 to 1")
    return value


def _failures(table: FailuresTable, where: str, assumed: list[Assumption], seen: FailureRow | None) -> Failures:
    at = f"{where}: failures"
    given = table.upgrade
    if given is None and seen is not None:
        upgrade, guessed = seen.rate, False
        _tell(
            assumed,
            "one VM's upgrade fails",
            f"{upgrade:.2%} ({seen.failed} of {seen.n} seen)",
            "yours",
            "failures.upgrade",
        )
    else:
        upgrade, guessed = _probability(UPGRADE_FAILURE if given is None else given, f"{at}.upgrade"), given is None
        _tell(
            assumed,
            "one VM's upgrade fails",
            f"{upgrade:.2%}",
            "guessed" if guessed else "yours",
            "failures.upgrade",
            "failure" if guessed else "",
        )
    for name, value, known in (
        ("becomes", table.becomes, ("dead", "old-image")),
        ("background_becomes", table.background_becomes, ("repaired", "old-image")),
        ("background_hits", table.background_hits, ("all", "upgraded")),
    ):
        if value not in known:
            raise InputError("unknown choice", f"{at}.{name}", repr(value), " or ".join(known))
    _count(table.retries, 0, f"{at}.retries", 0, RETRIES)
    usual = None if table.background is None else background.preset(table.background, f"{at}.background")
    mttf: float | None = None if usual is None else usual.mttf_ms
    if table.mttf is not None:
        mttf = _span_ms(table.mttf, f"{at}.mttf")
    if mttf is None:
        _tell(assumed, "background failures", "none", "guessed", "failures.mttf")
    elif usual is not None and table.mttf is None:
        value = f"one serving VM in {_time(mttf)} on average, as {table.background} ({usual.of})"
        _tell(assumed, "background failures", value, "yours", "failures.background")
    else:
        _tell(assumed, "background failures", f"one serving VM in {_time(mttf)} on average", "yours", "failures.mttf")
    bad = table.bad_image
    if bad is not None:
        shows = parse_duration_ms(bad.after, f"{at}.bad_image.after")
        _tell(
            assumed,
            "the image is bad",
            f"for {_probability(bad.share, f'{at}.bad_image.share'):.0%} of the instances, "
            + (f"which shows {_time(shows)} after they serve" if shows else "which never become healthy"),
            "yours",
            "failures.bad_image",
        )
    return Failures(
        upgrade=upgrade,
        becomes=table.becomes,
        mttf_ms=mttf,
        mttr=_mttr(table.mttr, usual, f"{at}.mttr"),
        background_becomes=table.background_becomes,
        background_hits=table.background_hits,
        bad_share=_probability(bad.share, f"{at}.bad_image.share") if bad else 0.0,
        bad_after_ms=parse_duration_ms(bad.after, f"{at}.bad_image.after") if bad else 0,
        slow=_factor(table.slow_image, f"{at}.slow_image"),
        ageing_ms=None if table.ageing is None else float(_span_ms(table.ageing, f"{at}.ageing")),
    )


def _factor(value: float, where: str) -> float:
    if not (math.isfinite(value) and SLOW[0] <= value <= SLOW[1]):
        raise InputError("out of range", where, reprlib.repr(value), f"{SLOW[0]:g} to {SLOW[1]:g}")
    return value


def _mttr(given: Any, usual: background.Background | None, where: str) -> Timing:
    if given is not None:
        return parse_timing(given, where, "mttr", "unknown")
    return Constant(MTTR_S) if usual is None else Exponential(mean=usual.mttr_s)


def _required(
    scenario: Scenario,
    folder: Path,
    where: str,
    total: int,
    min_healthy: str | None,
    horizon_ms: int,
    assumed: list[Assumption],
) -> tuple[StepFunction, str | None]:
    """Rule 4."""
    table = scenario.load
    at = f"{where}: load"
    if table.required is not None and table.curve is not None:
        raise InputError("the need is given once", at, "required and curve", "one of them")
    local = load_curve.zone(UTC if table.time_zone is None else table.time_zone, f"{at}.time_zone")
    starts_at = f"{where}: starts_at"
    if table.per_vm is not None:
        if table.curve is None:
            raise InputError("requests/s belong to a curve", f"{at}.per_vm", f"{table.per_vm:g}", "`curve` beside it")
        if not 0 < table.per_vm < math.inf:
            raise InputError("one VM serves more than nothing", f"{at}.per_vm", f"{table.per_vm:g}", "a number above 0")
    if table.curve is None:
        load_curve.start_of(scenario.starts_at, local, starts_at)
    else:
        if isinstance(table.curve, str):
            rows: load_curve.Rows = load_curve.read_csv(folder / table.curve)
            place = str(folder / table.curve)
        else:
            place = f"{at}.curve"
            rows = load_curve.checked(table.curve, place)
        start = load_curve.start_of(scenario.starts_at, local, starts_at, rows)
        need = load_curve.required(rows, table.per_vm, start, max(horizon_ms, SPAN_MS), place)
        least, most = min(need.values), max(need.values)
        if least > total:
            raise InputError("the load always needs more than there are", place, f"{least} VMs", f"at most {total}")
        _tell(
            assumed,
            "the rollout starts",
            start.isoformat(timespec="minutes"),
            "yours" if scenario.starts_at else "guessed",
            "starts_at",
        )
        _tell(
            assumed,
            "time zone of the load",
            local.key,
            "guessed" if table.time_zone is None else "yours",
            "load.time_zone",
        )
        _tell(
            assumed,
            "required capacity",
            f"a curve from {least} to {most} VMs" + (f", above the {total} there are" if most > total else ""),
            "yours",
            "load.curve",
        )
        return need, None
    if table.required is not None:
        given, origin = _amount(table.required, f"{at}.required"), "yours"
    elif min_healthy is not None:
        given, origin = min_healthy, "yours"
    else:
        given, origin = "80%", "guessed"
    need_now = at_least(given, total)
    if need_now > total:
        raise InputError("more than there are", f"{at}.required", f"{given} of {total}", f"at most {total}")
    _tell(
        assumed,
        "required capacity",
        f"{given} = {need_now} of {total}" if given != str(need_now) else f"{need_now} of {total}",
        origin,
        "load.required",
    )
    return constant(need_now), given


def _world(
    fleet: ScaleSet, operations: Mapping[str, Timing], ready: Timing, probe_ms: int, failures: Failures
) -> WorldConfig:
    model = fleet.model
    flat: dict[str, Any] = dict(model.settings)
    image = model.image
    if image is not None and image.uri:
        flat[URI] = image.uri
    elif image is not None:
        flat |= {IMAGE + name: getattr(image, name) for name in ("publisher", "offer", "sku", "version", "id")}
    versions = sorted(
        {one.image.exact_version for one in fleet.instances.values() if one.image and one.image.exact_version},
        key=lambda version: [id_key(part) for part in version.split(".")],
    )
    return WorldConfig(
        name=model.name,
        machines=tuple(_machine(one) for one in fleet.instances.values()),
        model=flat,
        timings=Timings(
            operations=dict(operations),
            ready=ready,
            probe_ms=probe_ms if model.health_source is not HealthSource.NONE else 0,
        ),
        failures=failures,
        mode=model.mode.value,
        health=model.health_source.value,
        rolling=_rolling_policy(model),
        auto_os=_auto_os(model),
        repairs=_repairs(model),
        single_placement_group=bool(model.single_placement_group),
        latest=versions[-1] if versions else None,
        flexible=model.orchestration is Orchestration.FLEXIBLE,
    )


def _surrounded(config: WorldConfig, scenario: Scenario, where: str, assumed: list[Assumption]) -> WorldConfig:
    """The world with what surrounds the set."""
    table = scenario.scale_set
    options = surroundings.platform(scenario.platform, f"{where}: platform")
    if options != Platform():
        said = ", ".join(f"{key} = {value}" for key, value in scenario.platform.items())
        _tell(assumed, "Azure's open questions", said, "yours", "platform")
    rich = table.rich_health and config.health == "extension"
    if table.rich_health and not rich:
        expected = 'health = "extension"'
        raise InputError(
            "rich health states come from the extension", f"{where}: scale_set.rich_health", config.health, expected
        )
    grace = table.health_grace
    return msgspec.structs.replace(
        config,
        platform=options,
        disturbances=surroundings.disturbances(scenario.disturbance, f"{where}: disturbance"),
        health="rich" if rich else config.health,
        health_grace_ms=None if grace is None else parse_duration_ms(grace, f"{where}: scale_set.health_grace"),
    )


def _newest(config: WorldConfig, change: Change) -> WorldConfig:
    """What `latest` means once the version is there that instances are to be refreshed to."""
    return msgspec.structs.replace(config, latest=change.exact_version) if isinstance(change, Refresh) else config


def _rolling_policy(model: Model) -> WorldRollingPolicy:
    policy = model.rolling
    if policy is None:
        return WorldRollingPolicy()
    return WorldRollingPolicy(
        max_batch_percent=policy.max_batch_percent,
        max_unhealthy_percent=policy.max_unhealthy_percent,
        max_unhealthy_upgraded_percent=policy.max_unhealthy_upgraded_percent,
        pause_ms=policy.pause_between_batches_ms,
        cross_zone=policy.cross_zone,
        prioritize_unhealthy=policy.prioritize_unhealthy,
        rollback_failed=policy.rollback_failed,
        max_surge=policy.max_surge,
    )


def _auto_os(model: Model) -> AutoOs:
    policy = model.auto_os
    if policy is None:
        return AutoOs()
    return AutoOs(
        enabled=policy.enabled,
        disable_rollback=policy.disable_rollback,
        use_rolling_policy=policy.use_rolling_policy,
        deferral=policy.deferral,
    )


def _repairs(model: Model) -> Repairs:
    policy = model.repairs
    if policy is None:
        return Repairs()
    return Repairs(
        enabled=policy.enabled, grace_ms=policy.grace_ms, action=policy.action.lower(), suspended=policy.suspended
    )


def _machine(one: Instance) -> Machine:
    image = one.image
    made = None
    if image is not None:
        made = Image(
            publisher=image.publisher,
            offer=image.offer,
            sku=image.sku,
            version=image.version,
            exact=image.exact_version,
            id=image.id,
            uri=image.uri,
        )
    return Machine(
        id=one.id,
        vm_id=one.vm_id,
        image=made,
        zone=one.zone,
        placement_group=one.placement_group,
        update_domain=one.update_domain,
        fault_domain=one.fault_domain,
        latest=one.latest_model is not False,
        power=one.power.value,
        provisioning=one.provisioning.value,
        health=one.health.value,
        protected=one.protected,
        scale_in_protected=one.scale_in_protected,
        os_disk=one.os_disk or f"{one.id}-os-",
        phase=one.upgrade_phase,
        skip_upgrade=one.skip_upgrade,
    )


# -- what to compare --------------------------------------------------------------------------------------------------


def parameters(strategy: Strategy, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A strategy's parameters as people write them: durations by their name without `_ms`. Raises InputError (rule 5)."""
    fields = {field.name.removesuffix("_ms"): field for field in msgspec.structs.fields(strategy.parameters)}
    made: dict[str, Any] = {}
    for key, value in given.items():
        at = f"{where}: {strategy.name}.{key}"
        if key not in fields:
            found, expected = reprlib.repr(value), ", ".join(fields)
            raise InputError("unknown parameter", at, found, expected, did_you_mean(key, fields))
        field = fields[key]
        if field.name != key:
            made[field.name] = parse_duration_ms(value, at)
        elif field.type == int | str:
            _amount(value, at)
            made[key] = value
        else:
            made[key] = value
    if isinstance(made.get("retries"), int):
        _count(made["retries"], 0, f"{where}: {strategy.name}.retries", 0, RETRIES)
    try:
        parameters_of(strategy, made)
    except InputError as error:
        raise InputError(error.what, f"{where}: {error.where}", error.found, error.expected, error.fix) from error
    return made


def choice(
    name: str, given: Mapping[str, Any], where: str, label: str = "", known: Mapping[str, Strategy] = STRATEGIES
) -> Choice:
    """One strategy with its parameters."""
    strategy = find(name, where, known)
    return Choice(label=label or name, name=name, parameters=parameters(strategy, given, where))


def _choices(
    scenario: Scenario,
    fleet: ScaleSet,
    gaps: Sequence[Gap],
    where: str,
    operations: Mapping[str, Timing],
    ready: Timing,
) -> tuple[tuple[Choice, ...], tuple[tuple[str, str], ...]]:
    retries = scenario.failures.retries
    left_out: list[tuple[str, str]] = []
    made: list[Choice] = []
    if scenario.strategy:
        for index, table in enumerate(scenario.strategy, 1):
            at = f"{where}: strategy {index}"
            name, label = table.get("name"), table.get("label", "")
            if not isinstance(name, str):
                raise InputError("a strategy has a name", f"{at}.name", reprlib.repr(name), ", ".join(STRATEGIES))
            if not isinstance(label, str) or ("label" in table and not label.strip()):
                raise InputError("a label is text", f"{at}.label", reprlib.repr(label), "text for the results")
            rest = {key: value for key, value in table.items() if key not in ("name", "label")}
            chosen = choice(name, {"retries": retries, **rest}, at, label)
            _try(chosen, fleet, at)
            made.append(chosen)
    else:
        minutes = (operations["upgrade"].mean_s() + ready.mean_s()) / 60
        for name, strategy in STRATEGIES.items():
            reason = _does_not_fit(strategy, fleet, gaps, minutes, scenario)
            if reason:
                left_out.append((name, reason))
            else:
                made.append(choice(name, {"retries": retries}, f"{where}: strategy"))
    return _labelled(made, where), tuple(left_out)


def _try(chosen: Choice, fleet: ScaleSet, where: str) -> None:
    """Rule 5: let the strategy look at its parameters."""
    strategy = STRATEGIES[chosen.name]
    made = parameters_of(strategy, chosen.parameters)
    unknown = [name for name in getattr(made, "ids", ()) if name not in fleet.instances]
    if unknown:
        raise InputError(
            "no such instance", f"{where}: {strategy.name}.ids", reprlib.repr(unknown), _some(list(fleet.instances))
        )
    if strategy.needs is None or _groups(fleet, strategy.needs):
        try:
            strategy.make(fleet, made)
        except InputError as error:
            raise InputError(error.what, f"{where}: {error.where}", error.found, error.expected, error.fix) from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f", … {names[-1]}" if len(names) > 10 else "")


def _groups(fleet: ScaleSet, field: str) -> set[Any]:
    return {getattr(one, field) for one in fleet.instances.values()} - {None}


def _does_not_fit(strategy: Strategy, fleet: ScaleSet, gaps: Sequence[Gap], minutes: float, scenario: Scenario) -> str:
    """Why a strategy is not compared by default, or ''."""
    if strategy.name == "selected":
        return "it needs instance ids"
    if strategy.hands_over:
        return (
            "it would be what `today` is" if fleet.model.mode is UpgradeMode.ROLLING else "it would need mode Rolling"
        )
    if strategy.surge and scenario.quota is None:
        return "whether there is room for more instances is not known; [quota] tells"
    if strategy.surge and scenario.change.guest is not None:
        return "it replaces VMs, which a guest patch does not reach"
    if strategy.name == "one-by-one" and minutes * len(fleet.instances) > 24 * 60:
        return f"{len(fleet.instances)} instances at {minutes:.1f} min each take {minutes * len(fleet.instances) / 60:.0f} h"
    if strategy.needs:
        groups = _groups(fleet, strategy.needs)
        words = strategy.needs.replace("_", " ")
        if not groups:
            return _unknown_groups(words, fleet, gaps)
        if len(groups) == 1:
            return f"all instances share one {words}"
    return ""


def _unknown_groups(words: str, fleet: ScaleSet, gaps: Sequence[Gap]) -> str:
    """Why no domain or zone is known, and the command that would tell."""
    supply = next((gap.supply for gap in gaps if gap.code == f"no-{words.replace(' ', '-')}s"), "")
    if supply:
        return f"no {words} is known; `{supply}` supplies it"
    if words == "zone":
        return "the set is regional: its instances are in no zone"
    if fleet.model.orchestration is Orchestration.FLEXIBLE:
        return f"Azure shows no {words} for the VMs of a Flexible set"
    return f"no {words} is known"


def _labelled(made: list[Choice], where: str) -> tuple[Choice, ...]:
    """Labels are unique: a second one of a name gets its own parameters as its label."""
    result: list[Choice] = []
    seen = {TODAY}
    names = [one.name for one in made]
    for one in made:
        label = one.label
        if label == one.name and names.count(one.name) > 1:
            told = " ".join(
                f"{key.removesuffix('_ms')}={value}" for key, value in one.parameters.items() if key != "retries"
            )
            label = f"{one.name} {told}".strip()
        if label in seen:
            what = (
                "this label stands for what the set would do by itself"
                if label == TODAY
                else "two strategies have one label"
            )
            raise InputError(what, f"{where}: strategy", repr(label), "a `label` of its own")
        seen.add(label)
        result.append(msgspec.structs.replace(one, label=label))
    return tuple(result)
