"""The set of a scenario: invented, or read from files as Azure returns them.

1. A snapshot's facts are the set; beside it `os` may fill in what it does not say, and `upgrade_mode`, `rolling` and
   `health` may ask "what if it were so", which is listed. Any other key beside a snapshot is refused, never ignored.
2. An instance whose power is not known is taken to serve: offline only, and listed. A plan for Azure never assumes so.
"""

from __future__ import annotations

import reprlib
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from planner.arm_json import Gap
from planner.errors import InputError
from planner.model import (
    AutomaticOsUpgrade,
    AutomaticRepairs,
    Gives,
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
    scale_set,
)
from scenarios.files import read_snapshot
from scenarios.given import Assumption, count_of, enum_of, tell
from scenarios.schema import (
    AutoOsTable,
    RepairsTable,
    RollingTable,
    ScaleSetTable,
)
from scenarios.timing import parse_duration_ms

DEFAULT_IMAGE = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts:22.04.202604160"
GRACE_MS = (600_000, 5_400_000)
REPAIR_ACTIONS = ("replace", "reimage", "restart")


def fleet_of(
    table: ScaleSetTable, folder: Path, where: str, watch: Sequence[str], assumed: list[Assumption]
) -> tuple[ScaleSet, tuple[Gap, ...]]:
    """The set, and what the files did not say. Raises InputError."""
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
    tell(
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
    os = enum_of(OperatingSystem, table.os, model.os, f"{at}.os")
    if os is not model.os and model.os is not OperatingSystem.UNKNOWN:
        raise InputError("the files of `from` say otherwise", f"{at}.os", repr(table.os), model.os.value)
    if os is OperatingSystem.UNKNOWN:
        os = OperatingSystem.LINUX
        tell(assumed, "operating system", "linux", "guessed", "scale_set.os")
    mode = enum_of(UpgradeMode, table.upgrade_mode, model.mode, f"{at}.upgrade_mode")
    source = _health(table.health, model.health_source, f"{at}.health")
    rolling = model.rolling if table.rolling is None else _policy(table.rolling, f"{at}.rolling")
    for name, asked, said in (("upgrade_mode", mode, model.mode), ("health", source, model.health_source)):
        if asked is not said:
            tell(assumed, name.replace("_", " "), f"{asked.value}, not {said.value}", "yours", f"scale_set.{name}")
    if table.rolling is not None:
        tell(assumed, "rolling policy", "yours, not the snapshot's", "yours", "scale_set.rolling")
    # Who asks for another health source has another model than was read.
    gives = model.gives if source is model.health_source and not table.rich_health else Gives()
    return ScaleSet(
        model=msgspec.structs.replace(model, os=os, mode=mode, health_source=source, rolling=rolling, gives=gives),
        instances=fleet.instances,
    )


def _policy(table: RollingTable, where: str) -> RollingPolicy:
    """Azure's rolling policy, in the ranges that Azure allows (azure-rest-api-specs, RollingUpgradePolicy)."""
    for name, least in (("max_batch", 5), ("max_unhealthy", 5), ("max_unhealthy_upgraded", 0)):
        count_of(getattr(table, name), 0, f"{where}.{name}", least, 100)
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


def _invented(table: ScaleSetTable, where: str, watch: Sequence[str], assumed: list[Assumption]) -> ScaleSet:
    at = f"{where}: scale_set"
    total = count_of(table.instances, 0, f"{at}.instances", 1)
    zones = count_of(table.zones, 0, f"{at}.zones", 0, 3)
    update_domains = count_of(table.update_domains, 0 if table.flexible else 5, f"{at}.update_domains", 0, 20)
    fault_domains = count_of(table.fault_domains, 1 if zones else 5, f"{at}.fault_domains", 0, 5)
    for name, value, given in (
        ("update domains", update_domains, table.update_domains),
        ("fault domains", fault_domains, table.fault_domains),
    ):
        tell(
            assumed,
            name,
            str(value),
            "yours" if given is not None else "documented",
            f"scale_set.{name.replace(' ', '_')}",
        )
    image = _image_reference(table.image or DEFAULT_IMAGE, f"{at}.image")
    health = _health(table.health, HealthSource.EXTENSION, f"{at}.health")
    os = enum_of(OperatingSystem, table.os, OperatingSystem.LINUX, f"{at}.os")
    policy = None if table.rolling is None else _policy(table.rolling, f"{at}.rolling")
    ids = [str(index) for index in range(total)]
    sick = _members(table.unhealthy, ids, f"{at}.unhealthy")
    protected = _members(table.protected, ids, f"{at}.protected")
    model = Model(
        name=table.name,
        orchestration=Orchestration.FLEXIBLE if table.flexible else Orchestration.UNIFORM,
        mode=enum_of(UpgradeMode, table.upgrade_mode, UpgradeMode.MANUAL, f"{at}.upgrade_mode"),
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
        vm_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"vmss-sim/vm/{name}")),
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


def assume_serving(fleet: ScaleSet, assumed: list[Assumption]) -> ScaleSet:
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
    tell(
        assumed,
        "in service",
        f"{unknown} instances whose state the snapshot does not say are taken to serve",
        "guessed",
        "scale_set.from",
    )
    return ScaleSet(model=fleet.model, instances=made)


def _health(given: str | None, default: HealthSource, where: str) -> HealthSource:
    """A health source of the platform's: a world runs no commands."""
    choices = [one.value for one in HealthSource if one is not HealthSource.HOOK]
    if given is not None and given.lower() not in choices:
        raise InputError("unknown choice", where, repr(given), ", ".join(choices))
    made: HealthSource = enum_of(HealthSource, given, default, where)
    return made
