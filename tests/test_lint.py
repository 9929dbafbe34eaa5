"""`planner.lint`: for every code an example that trips it, with its exact text, and a near one that does not; the page;
never an exception on random sets, requests and plans; the deadlock it foretells against the rollout machine itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.arm_json import Gap, read_scale_set
from planner.build import Request, build
from planner.change import (
    Action,
    Change,
    CurrentModel,
    GuestPatch,
    ImageChange,
    ImageIdChange,
    PropertyChange,
    Refresh,
)
from planner.drift import DRIFT, Absorb
from planner.errors import InputError
from planner.lint import (
    CODES,
    OF_THE_PLATFORM,
    Finding,
    Grade,
    exit_status,
    lint_plan,
    lint_request,
    lint_set,
    page,
)
from planner.lint.facts import exact, follows_latest
from planner.lint.wording import names, percent, share, span
from planner.model import (
    AutomaticOsUpgrade,
    AutomaticRepairs,
    Health,
    HealthSource,
    ImageReference,
    Instance,
    Model,
    Orchestration,
    Power,
    Provisioning,
    RollingPolicy,
    ScaleSet,
    UpgradeMode,
    scale_set,
)
from planner.plan import Deadlines, Plan, Window
from planner.strategies import STRATEGIES, Batch, Parameters, Strategy
from planner.surge import Quota
from tests.fleet import Case, cases, examples, fleets, plan_or_none, strategies
from tests.recorded_counts import RECORDINGS, read, recorded_documents
from tests.test_arm_json import scale_sets

ROOT = Path(__file__).resolve().parents[1]
OLD, NEW = "1.0.0", "2.0.0"
SETTING, OS_PROFILE = "properties.tags", "properties.virtualMachineProfile.osProfile.windowsConfiguration.timeZone"
SET_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/web"
replace = msgspec.structs.replace


# What the examples are made of: ten healthy instances in five update domains, and a plan that lint has nothing to say of.


def image(version: str | None = OLD, exact_version: str | None = None) -> ImageReference:
    return ImageReference(publisher="p", offer="o", sku="s", version=version, exact_version=exact_version)


def vm(number: int, **fields: Any) -> Instance:
    told: dict[str, Any] = {
        "id": str(number),
        "vm_id": f"vm-{number}",
        "update_domain": number % 5,
        "fault_domain": 0,
        "image": image(OLD, OLD),
        "latest_model": True,
        "provisioning": Provisioning.SUCCEEDED,
        "power": Power.RUNNING,
        "health": Health.HEALTHY,
    }
    return Instance(**{**told, **fields})


def fleet(size: int = 10, odd: dict[int, dict[str, Any]] | None = None, **model: Any) -> ScaleSet:
    """`size` instances; `odd`: what differs, by number; the rest is the model's."""
    told: dict[str, Any] = {
        "name": "web",
        "image": image(),
        "capacity": size,
        "health_source": HealthSource.EXTENSION,
        "settings": {SETTING: "old", OS_PROFILE: "old"},
    }
    return scale_set(Model(**{**told, **model}), (vm(number, **(odd or {}).get(number, {})) for number in range(size)))


def sick(*numbers: int) -> dict[int, dict[str, Any]]:
    return {number: {"health": Health.UNHEALTHY} for number in numbers}


def request(place: ScaleSet | None = None, **given: Any) -> Request:
    """Two at a time, soaked, two failures tolerated, floor 6."""
    told: dict[str, Any] = {
        "scale_set": place or fleet(),
        "change": ImageChange(version=NEW),
        "strategy": "batch",
        "parameters": {"size": 2, "soak_ms": 60_000, "max_failed": 2},
        "floor": 6,
    }
    told["parameters"] = {**told["parameters"], **given.pop("parameters", {})}
    if "strategy" in given and given["strategy"] not in ("batch", "surge"):
        told["parameters"].pop("size", None)
    return Request(**{**told, **given})


def plan(place: ScaleSet | None = None, **given: Any) -> Plan:
    return build(request(place, **given))


def of_plan(
    place: ScaleSet | None = None,
    edit: Callable[[Plan], Plan] = lambda one: one,
    live: ScaleSet | None = None,
    **given: Any,
) -> Findings:
    return lambda: lint_plan(edit(plan(place, **given)), live)


def of_set(place: ScaleSet, *gaps: Gap) -> Findings:
    return lambda: lint_set(place, gaps)


def of_request(place: ScaleSet | None = None, **given: Any) -> Findings:
    return lambda: lint_request(request(place, **given))


Findings = Callable[[], tuple[Finding, ...]]


class Example(NamedTuple):
    """trips: gives the code, with this text and (part of) this fix. spares: near it, and does not give the code."""

    trips: Findings
    text: str
    fix: str
    spares: Findings


def auto_os(**fields: Any) -> dict[str, Any]:
    return {"auto_os": AutomaticOsUpgrade(enabled=True), "image": image("latest"), **fields}


def rolling(**policy: int) -> dict[str, Any]:
    return {"mode": UpgradeMode.ROLLING, "rolling": RollingPolicy(**policy)}


def gates(**fields: Any) -> Callable[[Plan], Plan]:
    return lambda one: replace(one, gates=replace(one.gates, **fields))


def window(**fields: Any) -> Callable[[Plan], Plan]:
    told = {"days": ("Mon", "Saturday"), "start": "22:00", "end": "04:00", "time_zone": "Europe/Berlin", **fields}
    return lambda one: replace(one, windows=(Window(**told),))


def property_change(path: str = OS_PROFILE, **given: Any) -> dict[str, Any]:
    return {"change": PropertyChange(path=path, value="new"), **given}


def patch(undo: str | None, then: str = "stop") -> dict[str, Any]:
    return {"change": GuestPatch(script="s", undo=undo), "parameters": {"on_failure": then}}


def third_party(make: Callable[[ScaleSet, Any], tuple[Batch, ...]]) -> dict[str, Any]:
    made = Strategy("mine", make, Parameters, ())
    return {"strategy": "mine", "strategies": {**STRATEGIES, "mine": made}}


def quota(**fields: Any) -> Quota:
    return Quota(**{"cores_limit": 100, "cores_used": 40, "cores_per_vm": 4, "free_addresses": 9, **fields})


def surge(fallback: str = "stop", **given: Any) -> dict[str, Any]:
    told = {"strategy": "surge", "parameters": {"size": 2, "fallback": fallback}, "floor": None, "quota": quota()}
    return {**told, **given}


def twice(place: ScaleSet, _parameters: Any) -> tuple[Batch, ...]:
    return tuple(Batch(take=tuple(list(place.instances)[:1]), why="the first") for _ in range(2))


def cannot(_place: ScaleSet, _parameters: Any) -> tuple[Batch, ...]:
    raise InputError("not today", "weather", "rain", "sun", "wait")


def mixed(*odd: int) -> dict[int, dict[str, Any]]:
    return {number: {"image": image(OLD, "0.9.0")} for number in odd}


FLEXIBLE = Orchestration.FLEXIBLE
HALF_ZONED = {number: {"zone": str(number % 3 + 1)} for number in range(10)}
ONE_DOMAIN = {number: {"update_domain": 0, "zone": str(number % 3 + 1)} for number in range(10)}
REPAIRS = AutomaticRepairs(enabled=True, grace_ms=600_000)
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/a/images/b"


EXAMPLES: dict[str, Example] = {
    "VS101": Example(
        of_set(fleet(mode=UpgradeMode.AUTOMATIC, odd={1: {"protected": True}})),
        "mode Automatic: any update of the model, such as `az vmss update`, upgrades everything that is stale at the same time, up to 9 of 10 (90 %)",
        "set mode Manual",
        of_set(fleet()),
    ),
    "VS102": Example(
        of_set(fleet(**rolling())),
        "mode Rolling: any update of the model starts a rollout of everything that is stale, in batches of at most 2 of 10 (20 %)",
        "set mode Manual",
        of_set(fleet(rolling=RollingPolicy())),
    ),
    "VS103": Example(
        of_set(fleet(rolling=RollingPolicy(max_batch_percent=4, max_unhealthy_percent=5))),
        "maxBatchInstancePercent is 4, outside 5 to 100",
        "set 5 to 100",
        of_set(fleet(rolling=RollingPolicy(max_batch_percent=5, max_unhealthy_upgraded_percent=0))),
    ),
    "VS104": Example(
        of_set(fleet(rolling=RollingPolicy(max_batch_percent=21))),
        "a batch may take 21 % = 2 of 10, while 20 % = 2 of 10 may be unhealthy",
        "raise maxUnhealthyInstancePercent to 21",
        of_set(fleet(rolling=RollingPolicy(max_batch_percent=20))),
    ),
    "VS105": Example(
        of_set(fleet(4, **rolling())),
        "a batch of 20 % = 0 of 4 is rounded up to 1: a rollout in mode Rolling goes one by one, 1 of 4 (25 %) at a time",
        "as many batches",
        of_set(fleet(5, **rolling())),
    ),
    "VS106": Example(
        of_set(fleet(odd=sick(1, 2, 3), **rolling())),
        "a rollout in mode Rolling would fail before it starts: 3 of 10 (30 %) are unhealthy (1, 2, 3), and 20 % = 2 of 10 are allowed",
        "out of service cost nothing",
        of_set(fleet(odd=sick(1, 2), **rolling())),
    ),
    "VS107": Example(
        of_set(fleet(2, **rolling())),
        "a rollout in mode Rolling tolerates 20 % = 0 of 2: one VM not healthy in time stops it",
        "to 50 or more",
        of_set(fleet(5, **rolling())),
    ),
    "VS108": Example(
        of_set(fleet(**rolling())),
        "after its first batch of 2 instances, a rollout in mode Rolling tolerates 20 % = 0 of 2 that were upgraded: one VM not healthy in time aborts it, until 5 of 10 (50 %) are upgraded",
        "canary",
        of_set(fleet(25, **rolling())),
    ),
    "VS109": Example(
        of_set(fleet(health_source=HealthSource.NONE, **rolling())),
        "a rollout in mode Rolling needs a health source; found no health source",
        "or a health probe",
        of_set(fleet(health_source=HealthSource.PROBE, **rolling())),
    ),
    "VS110": Example(
        of_set(fleet(**auto_os(image=image(OLD)))),
        "automatic OS upgrade is on, and the model names a pinned version: p:o:s:1.0.0",
        "to `latest`",
        of_set(fleet(**auto_os())),
    ),
    "VS111": Example(
        of_set(fleet(**auto_os())),
        "automatic OS upgrade is on: the platform may start its own rollout at any time",
        "turn it off",
        of_set(fleet(auto_os=AutomaticOsUpgrade())),
    ),
    "VS112": Example(
        of_set(fleet(**auto_os(orchestration=FLEXIBLE))),
        "automatic OS upgrade is on for a Flexible set; whether it ever runs is not documented",
        "osUpgradeHistory",
        of_set(fleet(**auto_os())),
    ),
    "VS113": Example(
        of_set(fleet(**auto_os(orchestration=FLEXIBLE, rolling=RollingPolicy(max_surge=True)))),
        "maxSurge and automatic OS upgrade are both on, on a Flexible set",
        "turn one of them off",
        of_set(fleet(**auto_os(rolling=RollingPolicy(max_surge=True)))),
    ),
    "VS114": Example(
        of_set(fleet(orchestration=FLEXIBLE, rolling=RollingPolicy(rollback_failed=True))),
        "rollbackFailedInstancesOnPolicyBreach is set on a Flexible set, where nothing is rolled back",
        "rollback of your own",
        of_set(fleet(rolling=RollingPolicy(rollback_failed=True))),
    ),
    "VS115": Example(
        of_set(fleet(image=image("Latest"))),
        "the model says `latest` (p:o:s:Latest): latestModelApplied never flips for a newer image, and scale-outs boot the newest",
        "pin a version",
        of_set(fleet()),
    ),
    "VS116": Example(
        of_set(fleet(repairs=REPAIRS)),
        "automatic repairs are on: replace after 10 min unhealthy, 1 of 10 (10 %) at a time",
        "let the plan suspend",
        of_set(fleet(repairs=replace(REPAIRS, suspended=True))),
    ),
    "VS117": Example(
        of_set(fleet(id=SET_ID)),
        "whether autoscale is attached is not told by the set's own documents",
        "az monitor autoscale list",
        of_set(fleet()),
    ),
    "VS118": Example(
        of_set(fleet(overprovision=True)),
        "overprovisioning is on: extra VMs come and go while instances are added",
        "turn it off",
        of_set(fleet(overprovision=False)),
    ),
    "VS119": Example(
        of_set(fleet(unmanaged_disks=True)),
        "the set uses unmanaged disks, which Azure retired on 2026-03-31",
        "managed disks",
        of_set(fleet()),
    ),
    "VS120": Example(
        of_set(fleet(ephemeral_os_disk=True)),
        "OS disks are ephemeral: each of 10 instances loses everything on it when it is upgraded",
        "not the old disk",
        of_set(fleet()),
    ),
    "VS121": Example(
        of_set(fleet(1)),
        "there is one instance (0): an upgrade takes 1 of 1 (100 %) out of service",
        "scale out to 2",
        of_set(fleet(2)),
    ),
    "VS122": Example(
        of_set(fleet(3, single_placement_group=True, capacity=101)),
        "singlePlacementGroup holds at most 100 instances; found 101",
        "to false",
        of_set(fleet(3, single_placement_group=True, capacity=100)),
    ),
    "VS123": Example(
        of_set(fleet(provisioning=Provisioning.UPDATING)),
        "the set's provisioning state is updating",
        "let it end",
        of_set(fleet(provisioning=Provisioning.UNKNOWN)),
    ),
    "VS124": Example(
        of_set(fleet(service_fabric=True)),
        "this is a Service Fabric cluster",
        "through Service Fabric",
        of_set(fleet()),
    ),
    "VS125": Example(of_set(fleet(0)), "the scale set has no instances", "give the instance list", of_set(fleet(1))),
    "VS126": Example(
        of_set(fleet(orchestration=FLEXIBLE)),
        "Flexible set: no domains and no latestModelApplied are shown, and manualupgrade may be refused",
        "by exactVersion",
        of_set(fleet()),
    ),
    "VS131": Example(
        of_set(fleet(odd=sick(1, 2), **rolling())),
        "a rollout in mode Rolling tolerates 20 % = 2 of 10, and 2 of 10 (20 %) are unhealthy already (1, 2): one more stops it",
        "mend these",
        of_set(fleet(odd=sick(1), **rolling())),
    ),
    "VS132": Example(
        of_set(fleet(odd={number: {"zone": "1" if number < 6 else "2"} for number in range(10)}, **rolling())),
        "the zones are not balanced: 6 of 10 (60 %) in zone 1, 4 of 10 (40 %) in zone 2",
        "enableCrossZoneUpgrade",
        of_set(fleet(odd={number: {"zone": "1" if number < 5 else "2"} for number in range(10)}, **rolling())),
    ),
    "VS133": Example(
        of_set(fleet(odd={1: {"update_domain": None}}, **rolling())),
        "the update domain of 1 of 10 (10 %) is not known: the platform's batches are foretold by zone and size only",
        "--expand instanceView",
        of_set(fleet(odd={1: {"update_domain": None}})),
    ),
    "VS201": Example(
        of_set(fleet(health_source=HealthSource.NONE, odd={1: {"power": Power.STOPPED}})),
        "no health source: 9 of 10 (90 %) count as in service because they run (running, not known healthy)",
        "add the application health extension",
        of_set(fleet(health_source=HealthSource.PROBE)),
    ),
    "VS202": Example(
        of_set(fleet(odd={1: {"health": Health.ABSENT}})),
        "1 of 10 (10 %) run and report no health, though the model has a health source: 1",
        "mend the extension",
        of_set(fleet(odd={1: {"health": Health.ABSENT, "power": Power.STOPPED}})),
    ),
    "VS203": Example(
        of_set(fleet(odd=sick(1, 2))),
        "2 of 10 (20 %) are out of service before the rollout begins: 1, 2",
        "unhealthy_first",
        of_set(fleet(odd={1: {"health": Health.INITIALIZING}})),
    ),
    "VS204": Example(
        of_set(fleet(odd={1: {"health": Health.INITIALIZING}})),
        "whether 1 of 10 (10 %) serve is not known: 1",
        "--expand instanceView",
        of_set(fleet(odd={1: {"health": Health.ABSENT}})),
    ),
    "VS205": Example(
        of_set(fleet(odd={1: {"provisioning": Provisioning.FAILED, "provisioning_error": "VMStartTimedOut"}})),
        "1 of 10 (10 %) failed their last operation: 1 (VMStartTimedOut)",
        "find out why",
        of_set(fleet(odd={1: {"provisioning": Provisioning.UNKNOWN}})),
    ),
    "VS206": Example(
        of_set(fleet(odd={1: {"provisioning": Provisioning.DELETING}})),
        "1 of 10 (10 %) are being deleted: 1",
        "again when they are gone",
        of_set(fleet()),
    ),
    "VS207": Example(
        of_set(fleet(odd={1: {"provisioning": Provisioning.UPDATING}, 2: {"provisioning": Provisioning.CREATING}})),
        "2 of 10 (20 %) are worked on by somebody else: 1, 2",
        "find out who",
        of_set(fleet(odd={1: {"provisioning": Provisioning.FAILED}})),
    ),
    "VS208": Example(
        of_set(fleet(odd={1: {"protected": True}})),
        "1 of 10 (10 %) are protected from scale-set actions and are left alone: 1",
        "lift protectFromScaleSetActions",
        of_set(fleet(odd={1: {"scale_in_protected": True}})),
    ),
    "VS209": Example(
        of_set(fleet(odd={1: {"image": None}, 2: {"image": image("latest")}})),
        "which image 2 of 10 (20 %) booted is not told exactly: 1, 2",
        "exactVersion",
        of_set(fleet(odd={2: {"image": image("latest", OLD)}})),
    ),
    "VS210": Example(
        of_set(fleet(odd=mixed(1, 2))),
        "2 images are in use: p:o:s:1.0.0 on 8 of 10 (80 %); p:o:s:0.9.0 on 2 of 10 (20 %)",
        "",
        of_set(fleet(odd={1: {"image": image("LATEST", OLD)}})),
    ),
    "VS211": Example(
        of_set(fleet(), Gap("list-incomplete", "The list goes on at its nextLink.", "az vmss list-instances")),
        "The list goes on at its nextLink.",
        "az vmss list-instances",
        of_set(fleet(), Gap("capacity-differs", "10 and 11.", "")),
    ),
    "VS212": Example(
        of_set(fleet(), Gap("no-vm-id", "1 of 10 instances do not tell their vmId.", "az x")),
        "1 of 10 instances do not tell their vmId.",
        "az x",
        of_set(fleet(), Gap("no-exact-version", "1 of 10.", "az x")),
    ),
    "VS301": Example(
        of_plan(fleet(odd={1: {"protected": True}, **sick(2)}), strategy="automatic", floor=None),
        "floor 0 of 10: the platform upgrades 9 of 10 (90 %) at the same time, so in service may fall from 9 of 10 (90 %) to 1 of 10 (10 %) until the first is back",
        "batch or ramp",
        of_plan(),
    ),
    "VS302": Example(
        of_plan(floor=0),
        "floor 0 of 10: commands may take all that serve; the largest batch takes 2 of 10 (20 %)",
        "give a floor",
        of_plan(floor=1),
    ),
    "VS303": Example(
        of_plan(fleet(odd=ONE_DOMAIN), strategy="per-ud"),
        "there is one update domain (0) for 10 of 10 (100 %), so per-ud separates nothing",
        "use per-zone (3 zones) or batch (20 % = 2 of 10 at a time)",
        of_plan(strategy="per-ud"),
    ),
    "VS304": Example(
        of_plan(fleet(odd={1: {"update_domain": None}}), strategy="per-ud"),
        "the update domain of 1 of 10 (10 %) is not known: 1",
        "use batch (20 % = 2 of 10 at a time)",
        of_plan(fleet(odd={1: {"update_domain": None}})),
    ),
    "VS305": Example(
        of_plan(fleet(odd=sick(1, 2, 3, 4))),
        "6 of 10 (60 %) are in service at the start, and the floor is 6 of 10 (60 %): batch 1 (2 at a time) can take none",
        "let those out of service go first (unhealthy_first: 1, 2, 3, 4); or lower the floor (and floor_min) to 5 or less",
        of_plan(fleet(odd=sick(1, 2, 3, 4)), parameters={"unhealthy_first": True}),
    ),
    "VS306": Example(
        of_plan(strategy="per-ud", floor=9),
        "batches were split, since the budget is 1 of 10 (10 %): update-domain 0: 2 instances in 2 batches, since the budget is 1; update-domain 1: 2 instances in 2 batches, since the budget is 1; update-domain 2: 2 instances in 2 batches, since the budget is 1; …",
        "accept the longer rollout",
        of_plan(strategy="per-ud", floor=8),
    ),
    "VS307": Example(
        of_plan(fleet(odd=sick(1, 2, 3))),
        "7 of 10 (70 %) are in service now and the floor is 6 of 10 (60 %): batch 1 (2 at a time) needs 2, 1 may go",
        "unhealthy_first",
        of_plan(fleet(odd=sick(1, 2))),
    ),
    "VS308": Example(
        of_plan(parameters={"max_failed": 0, "on_failure": "rollback-batch"}),
        "max_failed 0 of 10: one of 10 instances not healthy 10 min after its operation, and after 1 more try, rolls its batch back",
        "tolerate as many",
        of_plan(parameters={"max_failed": 1}),
    ),
    "VS309": Example(
        of_plan(parameters={"max_failed": "100%"}),
        "max_failed 100% = 10 of 10: as many as are moved (10) may fail; only the floor (6 of 10 (60 %)) stops a bad image",
        "such as 2",
        of_plan(parameters={"max_failed": 9}),
    ),
    "VS310": Example(
        of_plan(parameters={"max_failed": 4}),
        "max_failed 4 of 10: after 4 failed, the floor (6 of 10 (60 %)) lets nothing more go, and the rollout stalls for 30 min",
        "tolerate 3 or fewer",
        of_plan(parameters={"max_failed": 3}),
    ),
    "VS311": Example(
        of_plan(drop=1), "max_failed is 2 of 10, and the gate `drop` is 1 of 10", "set drop to 2", of_plan(drop=2)
    ),
    "VS312": Example(
        of_plan(change=CurrentModel()), "no batches: 0 of 10 (0 %) are moved", "what the plan skips", of_plan()
    ),
    "VS313": Example(
        of_plan(required="70%"),
        "the floor keeps 6 of 10 (60 %) in service, and the load requires 70% = 7 of 10",
        "raise the floor to 70%",
        of_plan(required="60%"),
    ),
    "VS314": Example(
        of_plan(min_healthy=7),
        "the floor keeps 6 of 10 (60 %) in service, and the objective is 7 of 10",
        "raise the floor to 7",
        of_plan(min_healthy=7, floor=None),
    ),
    "VS315": Example(
        of_plan(parameters={"soak_ms": 0}),
        "soak 0 s and pause 0 s between 5 batches: a failure that comes late is met when 10 of 10 (100 %) are upgraded",
        "give a soak",
        of_plan(parameters={"soak_ms": 0, "pause_ms": 1}),
    ),
    "VS316": Example(
        of_plan(rollback_floor=5),
        "the floor is 6 of 10 (60 %), on the way back 5 of 10 (50 %)",
        "leave rollback_floor out",
        of_plan(rollback_floor=6),
    ),
    "VS317": Example(
        of_plan(emergency_floor=0),
        "an emergency rollback may take 10 of 10 (100 %) at once: emergency_floor is 0 of 10",
        "set it to 1",
        of_plan(),
    ),
    "VS318": Example(
        of_plan(edit=window(days=("Mo",))),
        "window 1: 'Mo' is no weekday (Monday, or Mon)",
        "HH:MM",
        of_plan(edit=window()),
    ),
    "VS319": Example(
        of_plan(edit=window(start="00:00", end="00:05")),
        "soak and pause of 5 batches take 5 min, the longest window 5 min: 10 of 10 (100 %) cannot all be moved in one",
        "accept that the set rests",
        of_plan(edit=window(start="00:00", end="00:06")),
    ),
    "VS320": Example(
        of_plan(fleet(repairs=REPAIRS), strategy="automatic", floor=None, deadlines=Deadlines(healthy_ms=600_001)),
        "automatic repairs stay on with a grace period of 10 min, and an instance has 600.001 s to become healthy; replace takes 1 of 10 (10 %) at a time",
        "suspend repairs",
        of_plan(fleet(repairs=REPAIRS), deadlines=Deadlines(healthy_ms=600_001)),
    ),
    "VS321": Example(
        of_plan(fleet(), live=fleet(**auto_os())),
        "automatic OS upgrade is on, and the plan writes p:o:s:2.0.0 and p:o:s:1.0.0 into the model",
        "turn automatic OS upgrade off",
        of_plan(fleet(**auto_os()), live=fleet(**auto_os()), change=Refresh(exact_version=NEW)),
    ),
    "VS322": Example(
        of_plan(**property_change(action=Action.UPGRADE)),
        "properties.virtualMachineProfile.osProfile.windowsConfiguration.timeZone reaches a VM by reimage only, and the action is upgrade",
        "use upgrade-then-reimage",
        of_plan(**property_change(SETTING)),
    ),
    "VS323": Example(
        of_plan(**property_change()),
        "properties.virtualMachineProfile.osProfile.windowsConfiguration.timeZone costs 10 instances the OS disk and the temporary disk",
        "keep nothing",
        of_plan(**property_change(SETTING, action=Action.UPGRADE_THEN_REIMAGE)),
    ),
    "VS324": Example(
        of_plan(**patch(None)),
        "the guest patch has no undo: there is no way back",
        "give an undo",
        of_plan(**patch("u")),
    ),
    "VS325": Example(
        of_plan(**patch(None, "rollback-all")),
        "on failure the plan does a rollback-all, and the guest patch has no undo",
        "on_failure stop",
        of_plan(**patch("u", "rollback-all")),
    ),
    "VS326": Example(
        of_plan(fleet(odd={1: {"image": image("latest")}})),
        "what 1 of 10 (10 %) booted is not pinned exactly: 1 would go back to p:o:s:1.0.0",
        "exactVersion",
        of_plan(fleet(odd={1: {"image": image("latest")}}), **property_change(SETTING)),
    ),
    "VS327": Example(
        of_plan(fleet(health_source=HealthSource.NONE)),
        "no health source: for 10 of 10 (100 %), healthy means that the VM runs",
        "accept it in the plan",
        of_plan(fleet(health_source=HealthSource.NONE), edit=lambda one: replace(one, accept_no_health=True)),
    ),
    "VS328": Example(
        of_plan(fleet(odd={1: {"protected": True}}, **rolling())),
        "1 of 10 (10 %) are left alone: 1 (protected); mode rolling is not put back meanwhile",
        "lift the protection",
        of_plan(fleet(odd={1: {"image": image(NEW, NEW)}})),
    ),
    "VS329": Example(
        of_plan(strategy="selected", parameters={"ids": ["1", "2"], "max_failed": 1}),
        "8 of 10 (80 %) stand in no batch and stay as they are, while the model says the target: 0, 5, 6, 7, 3, 8, 4, 9",
        "plan the rest too",
        of_plan(),
    ),
    "VS330": Example(
        of_plan(deadlines=Deadlines(rollout_ms=300_000)),
        "soak and pause of 5 batches take 5 min, and the rollout's deadline is 5 min",
        "give it more than 5 min",
        of_plan(deadlines=Deadlines(rollout_ms=300_001)),
    ),
    "VS331": Example(
        of_plan(gates_dry_run=True), "the gates of 5 batches are written down and stop nothing", "", of_plan()
    ),
    "VS332": Example(
        of_plan(fleet(image=image("latest"), odd={1: {"latest_model": False}}), change=CurrentModel()),
        "the model says `latest` (p:o:s:latest): an instance with latestModelApplied counts as current, whichever version it booted",
        "use refresh",
        of_plan(fleet(odd={1: {"latest_model": False}}), change=CurrentModel()),
    ),
    "VS333": Example(
        of_plan(edit=lambda one: replace(one, drift={**DRIFT, "mode": Absorb.NOTE})),
        "differences that are refused by default are let pass: mode",
        "set them to refuse",
        of_plan(edit=lambda one: replace(one, drift={**DRIFT, "new": Absorb.NOTE})),
    ),
    "VS334": Example(
        of_plan(**property_change(SETTING, action=Action.REIMAGE)),
        "the model changes, and reimage alone leaves latestModelApplied false on 10 of 10 (100 %)",
        "use upgrade",
        of_plan(**property_change(SETTING, action=Action.UPGRADE)),
    ),
    "VS335": Example(
        of_plan(**surge(quota=quota(cores_used=95))),
        "2 more instances need 8 cores, 5 are free: 3 are missing; the fall-back is to stop",
        "raise the quota",
        of_plan(**surge(quota=quota(cores_used=92))),
    ),
    "VS336": Example(
        of_plan(**surge(quota=quota(free_addresses=1))),
        "2 more instances need 2 addresses, 1 are free: 1 are missing; the fall-back is to stop",
        "enlarge the subnet",
        of_plan(**surge(quota=quota(free_addresses=2))),
    ),
    "VS337": Example(
        of_plan(fleet(99, single_placement_group=True), **surge()),
        "99 instances and 2 more are 101, and this set holds at most 100",
        "add at most 1 at a time",
        of_plan(fleet(98, single_placement_group=True), **surge()),
    ),
    "VS338": Example(
        of_plan(**surge(quota=quota(cores_used=95), fallback="in-place")),
        "2 more instances need 8 cores, 5 are free: 3 are missing; batches go in place, with n-2 = 8 of 10 kept in service",
        "add fewer at a time",
        of_plan(**surge(fallback="in-place")),
    ),
    "VS339": Example(
        of_plan(**surge(quota=quota(cores_limit=None))),
        "not known: cores limit; 12 instances are needed at the peak, 2 more than now",
        "give them as [quota]",
        of_plan(**surge()),
    ),
    "VS340": Example(
        of_plan(fleet(orchestration=FLEXIBLE), live=fleet(orchestration=FLEXIBLE, **auto_os()), **surge()),
        "automatic OS upgrade is on, and the plan is a surge on a Flexible set",
        "turn automatic OS upgrade off",
        of_plan(live=fleet(**auto_os()), **surge()),
    ),
    "VS341": Example(
        of_plan(live=fleet(odd={3: {"scale_in_protected": True}}), **surge()),
        "1 of 10 (10 %) are protected from scale-in, and the plan deletes them by id: 3",
        "protect them from scale-set actions",
        of_plan(live=fleet(odd={3: {"scale_in_protected": True}})),
    ),
    "VS342": Example(
        of_plan(live=fleet(overprovision=True), **surge()),
        "overprovisioning is on: a scale-out by 2 may need room for 1 more",
        "turn overprovisioning off",
        of_plan(live=fleet(overprovision=False), **surge()),
    ),
    "VS343": Example(
        of_plan(live=fleet(repairs=REPAIRS), **surge()),
        "repairs are on (replace, 1 of 10 (10 %) at a time): 12 instances are more than it may expect",
        "suspend repairs",
        of_plan(fleet(repairs=REPAIRS), live=fleet(repairs=REPAIRS), **surge()),
    ),
    "VS344": Example(
        of_plan(
            fleet(image=image(NEW), odd={n: {"latest_model": False} for n in range(10)}),
            change=CurrentModel(),
            **surge(),
        ),
        "10 instances are replaced, and the model has no old target to go back to",
        "use a strategy that keeps the instances",
        of_plan(**surge()),
    ),
    "VS345": Example(
        of_plan(fleet(**rolling()), strategy="platform-rolling"),
        "floor 6 of 10 when it is handed over; then it is cancelled where fewer serve for longer than 1 min, and what is in"
        " flight still ends",
        "use a strategy that moves the instances itself",
        of_plan(fleet(**rolling())),
    ),
    "VS401": Example(
        of_request(strategy="bach"),
        f"strategy: unknown strategy; found 'bach'; expected {', '.join(STRATEGIES)}",
        "did you mean 'batch'?",
        of_request(),
    ),
    "VS402": Example(
        of_request(parameters={"sise": 2}),
        "batch.sise: unknown key; found 'sise'; expected 'size'",
        "did you mean 'size'?",
        of_request(),
    ),
    "VS403": Example(
        of_request(change=ImageChange(version="latest")),
        "change.version: `latest` cannot be confirmed on a VM nor rolled back; found latest; expected an exact version",
        "use refresh",
        of_request(),
    ),
    "VS404": Example(
        of_request(strategy="per-ud", parameters={"only": ["7"]}),
        "per-update-domain.only: no such update-domain; found 7; expected 0, 1, 2, 3, 4",
        "",
        of_request(strategy="per-ud", parameters={"only": ["4"]}),
    ),
    "VS405": Example(
        of_request(fleet(), strategy="per-zone"),
        "per-zone: no instance's zone is known, so per-zone has nothing to group by; found a regional set; expected instances with a zone",
        "use per-ud or batch",
        of_request(fleet(odd=HALF_ZONED), strategy="per-zone"),
    ),
    "VS406": Example(
        of_request(floor="100%"),
        "floor: the floor (100% = 10) leaves no instance of 10 to take; found 100% = 10; expected at most 9",
        "lower the floor",
        of_request(floor=8),
    ),
    "VS407": Example(
        of_request(floor=9),
        "batch: a batch of 2 (2 at a time) is larger than the budget: 10 instances minus the floor (9) is 1; found 2; expected at most 1",
        "let `fit` split it",
        of_request(floor=9, parameters={"fit": True}),
    ),
    "VS408": Example(
        of_request(floor="many"),
        'floor: not an amount of instances; found \'many\'; expected a count (8), "80%" or "n-2"',
        "",
        of_request(floor="60 %"),
    ),
    "VS409": Example(
        of_request(**third_party(twice)),
        "strategy: strategy mine made an inconsistent batch (the first); found 0; expected every instance it was given at most once, and no empty batch",
        "a fault of the strategy",
        of_request(**third_party(lambda place, _: twice(place, _)[:1])),
    ),
    "VS410": Example(
        of_request(new_instances="ignore"),
        "new_instances: unknown choice; found 'ignore'; expected leave, append, stop",
        "",
        of_request(new_instances="leave"),
    ),
    "VS499": Example(
        of_request(**third_party(cannot)),
        "weather: not today; found rain; expected sun",
        "wait",
        of_request(strategy="ramp"),
    ),
}


# The table.


def test_every_code_has_an_example_that_trips_it_and_one_that_does_not() -> None:
    assert list(EXAMPLES) == list(CODES)


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code: str) -> None:
    example = EXAMPLES[code]
    found = [one for one in example.trips() if one.code == code]
    assert [one.text for one in found] == [example.text]
    assert example.fix in found[0].fix
    assert found[0].subject
    assert found[0].grade is CODES[code].grade
    assert code not in {one.code for one in example.spares()}


def test_codes_are_in_order_with_names_and_reasons_of_their_own() -> None:
    assert list(CODES) == sorted(CODES)
    assert len({row.name for row in CODES.values()}) == len(CODES)
    for code, row in CODES.items():
        assert re.fullmatch(r"VS[1-4]\d\d", code)
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row.name)
        assert row.why.endswith((".", "`"))
        assert row.source
        assert not row.source.endswith(".")


def test_every_percentage_stands_with_its_absolute_number() -> None:
    """`20 % = 2 of 10`, `80% = 8 of 10`, or `3 of 10 (30 %)`; where a person typed it, an InputError repeats it."""
    said = [one for example in EXAMPLES.values() for side in (example.trips, example.spares) for one in side()]
    for one in said:
        if one.code.startswith("VS4"):
            continue
        for text in (one.text, one.fix):
            rest = re.sub(r"\d+ of \d+ \(\d+(\.\d)? %\)|\d+(\.\d+)? ?% = \d+ of \d+|raise the floor to \d+%", "", text)
            assert "%" not in rest, text


def test_the_page_is_what_the_table_renders() -> None:
    """Else: python -m planner.lint > docs/lint.md."""
    written = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    assert written == page()
    for code, row in CODES.items():
        assert f"### {code} {row.name}" in written
        assert f"[{code}](#{code.lower()}-{row.name})" in written


def test_errors_make_exit_status_1_and_warnings_only_where_asked() -> None:
    error, warning = (next(one for one in EXAMPLES[code].trips() if one.code == code) for code in ("VS106", "VS203"))
    assert (error.grade, warning.grade) == (Grade.ERROR, Grade.WARNING)
    assert [exit_status(found) for found in ((), (warning,), (warning, error))] == [0, 0, 1]
    assert [exit_status(found, strict=True) for found in ((), (warning,))] == [0, 1]


def test_a_finding_is_a_value_that_can_be_written() -> None:
    found = lint_set(fleet(odd=sick(1)))
    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[Finding, ...]) == found


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0, "0 s"), (250, "0.25 s"), (1_001, "1.001 s"), (45_000, "45 s"), (5_400_000, "1 h 30 min"), (90_061_000, "25 h 1 min 1 s")],
)  # fmt: skip
def test_how_long(ms: int, words: str) -> None:
    assert span(ms) == words


def test_how_many() -> None:
    assert [share(1, 3), share(0, 0), share(12, 12)] == ["1 of 3 (33.3 %)", "0 of 0 (0 %)", "12 of 12 (100 %)"]
    assert [percent(20, 12), percent(34, 3), percent(100, 7)] == ["20 % = 2 of 12", "34 % = 1 of 3", "100 % = 7 of 7"]
    assert [names(["1", "2"]), names(list("abcdefghij"), 3), names([])] == ["1, 2", "a, b, c and 7 more", ""]


# Sets.


def codes(findings: Sequence[Finding]) -> list[str]:
    return [one.code for one in findings]


def text(findings: Sequence[Finding], code: str) -> str:
    return next(one.text for one in findings if one.code == code)


def test_nothing_is_said_of_what_is_well() -> None:
    assert lint_set(fleet()) == ()
    assert lint_plan(plan()) == ()
    assert lint_request(request()) == ()


def test_findings_come_in_the_order_of_the_table() -> None:
    found = codes(lint_set(fleet(2, odd=sick(1), id=SET_ID, image=image("latest"), **rolling())))
    assert found == sorted(found)
    assert {"VS102", "VS107", "VS115", "VS203"} <= set(found)


@pytest.mark.parametrize(
    ("name", "said"),
    [("web", {"VS117"}), ("zonal-rolling", {"VS102", "VS108", "VS117", "VS203"})],
)
def test_bundled_snapshots(name: str, said: set[str]) -> None:
    files = sorted((ROOT / "scenarios" / "snapshots").glob(f"{name}*.json"), reverse=True)
    reading = read_scale_set([(each.name, json.loads(each.read_text(encoding="utf-8"))) for each in files])
    assert set(codes(lint_set(reading.scale_set, reading.gaps))) == said


@pytest.mark.parametrize(
    ("odd", "source", "unhealthy"),
    [
        ({"health": Health.UNHEALTHY}, HealthSource.EXTENSION, True),
        ({"health": Health.UNKNOWN}, HealthSource.EXTENSION, True),
        ({"health": Health.INITIALIZING}, HealthSource.EXTENSION, False),
        ({"health": Health.ABSENT}, HealthSource.EXTENSION, False),
        ({"power": Power.DEALLOCATED}, HealthSource.PROBE, True),
        ({"power": Power.STARTING, "health": Health.ABSENT}, HealthSource.PROBE, False),
        ({"health": Health.UNHEALTHY}, HealthSource.NONE, False),
        ({"provisioning": Provisioning.FAILED}, HealthSource.NONE, True),
        ({"power": Power.UNKNOWN}, HealthSource.NONE, False),
    ],
)
def test_what_the_platform_counts_as_unhealthy(odd: dict[str, Any], source: HealthSource, unhealthy: bool) -> None:
    place = fleet(4, odd={1: odd}, health_source=source, **rolling())
    assert ("VS106" in codes(lint_set(place))) is unhealthy


def test_exceeds_is_strict() -> None:
    for size, out, limit in ((10, 2, 20), (10, 3, 30), (3, 1, 34), (7, 5, 72), (1000, 200, 20)):
        place = fleet(size, odd=sick(*range(out)), **rolling(max_unhealthy_percent=limit))
        assert "VS106" not in codes(lint_set(place)), (size, out, limit)
        place = fleet(
            size, odd=sick(*range(out)), **rolling(max_unhealthy_percent=limit - 1 if size < 9 else limit - 10)
        )
        assert "VS106" in codes(lint_set(place)), (size, out, limit)


def test_automatic_os_upgrade_follows_the_default_policy_unless_told_otherwise() -> None:
    wide = RollingPolicy(max_unhealthy_percent=100)
    own = AutomaticOsUpgrade(enabled=True, use_rolling_policy=True)
    assert "VS106" in codes(lint_set(fleet(odd=sick(1, 2, 3), **auto_os(rolling=wide))))
    assert "VS106" not in codes(lint_set(fleet(odd=sick(1, 2, 3), **auto_os(rolling=wide, auto_os=own))))
    both = lint_set(fleet(odd=sick(1, 2, 3), **auto_os(mode=UpgradeMode.ROLLING)))
    assert text(both, "VS106").startswith("a rollout in mode Rolling, or by automatic OS upgrade, would fail")
    apart = lint_set(
        fleet(odd=sick(1, 2, 3), **auto_os(mode=UpgradeMode.ROLLING, rolling=RollingPolicy(cross_zone=True)))
    )
    assert codes(apart).count("VS106") == 2


def test_a_manual_set_is_not_judged_by_rollouts_that_the_platform_does_not_do() -> None:
    place = fleet(2, odd=sick(0), health_source=HealthSource.NONE, rolling=RollingPolicy())
    assert not {"VS105", "VS106", "VS107", "VS108", "VS109"} & set(codes(lint_set(place)))


@pytest.mark.parametrize(
    ("policy", "wire", "says"),
    [
        ({"max_batch_percent": 101}, "maxBatchInstancePercent", "is 101, outside 5 to 100"),
        ({"max_batch_percent": 0, "max_unhealthy_percent": 4}, "maxUnhealthyInstancePercent", "is 4, outside 5 to 100"),
        ({"max_unhealthy_upgraded_percent": -1}, "maxUnhealthyUpgradedInstancePercent", "is -1, outside 0 to 100"),
        ({"pause_between_batches_ms": -1}, "pauseTimeBetweenBatches", "is negative (-1 ms)"),
    ],
)
def test_each_value_of_the_policy_has_its_range(policy: dict[str, int], wire: str, says: str) -> None:
    found = lint_set(fleet(**rolling(**policy)))
    assert f"{wire} {says}" in [one.text for one in found if one.subject == f"web: {wire}"]


def test_a_flexible_set_needs_the_extension() -> None:
    found = lint_set(fleet(orchestration=FLEXIBLE, health_source=HealthSource.PROBE, **rolling()))
    assert (
        text(found, "VS109") == "a rollout in mode Rolling needs a health source; found only a probe, on a Flexible set"
    )


@pytest.mark.parametrize(
    ("pinned", "kind"),
    [
        (ImageReference(uri="https://a/i.vhd"), "a VHD"),
        (
            ImageReference(id="/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i"),
            "a managed image",
        ),
        (ImageReference(id=f"{GALLERY}/versions/1.0.0"), "a pinned version"),
        (image("1.0"), "a pinned version"),
    ],
)
def test_automatic_os_upgrade_against(pinned: ImageReference, kind: str) -> None:
    found = lint_set(fleet(**auto_os(image=pinned)))
    assert text(found, "VS110") == f"automatic OS upgrade is on, and the model names {kind}: {pinned}"


@pytest.mark.parametrize(
    ("reference", "latest"),
    [
        (image("latest"), True),
        (image(None), True),
        (image("1.0"), False),
        (ImageReference(id=GALLERY), True),
        (ImageReference(id=f"{GALLERY}/versions/1.0"), False),
        (ImageReference(id="/CommunityGalleries/a/Images/b/Versions/latest"), True),
        (ImageReference(id="/SharedGalleries/a/Images/b/"), True),
        (ImageReference(id="/subscriptions/s/resourceGroups/galleries/providers/Microsoft.Compute/images/i"), False),
        (ImageReference(uri="https://a/i.vhd"), False),
        (None, False),
    ],
)
def test_which_references_follow_latest(reference: ImageReference | None, latest: bool) -> None:
    assert follows_latest(reference) is latest
    if reference is not None:
        assert exact(reference) is not latest
        assert exact(replace(reference, exact_version="1"))


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not part of the project")
def test_no_recorded_set_is_called_impossible_by_what_the_platform_accepted() -> None:
    """The platform accepted every recorded set, so an error about its policy would be ours."""
    of_something_else = {"VS106", "VS119", "VS124", "VS125", "VS211"}  # the moment, the retirement, us, the documents
    said: set[str] = set()
    for recorded in recorded_documents():
        reading = read(recorded).reading
        if reading is not None:
            found = lint_set(reading.scale_set, reading.gaps)
            said.update(codes(found))
            errors = {one.code for one in found if one.grade is Grade.ERROR} - of_something_else
            assert not errors, (recorded.source, errors)
    assert {"VS101", "VS102", "VS115", "VS119", "VS126", "VS201"} <= said


# Plans.


def test_live_instances_decide_the_budget_where_they_are_given() -> None:
    made = plan()
    assert lint_plan(made, fleet(odd=sick(1))) == ()
    assert "VS305" in codes(lint_plan(made, fleet(odd=sick(1, 2, 3, 4))))
    assert "VS305" not in codes(lint_plan(plan(fleet(odd=sick(1, 2, 3, 4))), fleet()))


def test_the_floor_follows_the_capacity_and_never_falls_below_its_minimum() -> None:
    made = plan(floor="60%", floor_min=5)
    assert "VS305" not in codes(lint_plan(made, fleet(7)))
    found = lint_plan(made, fleet(5))
    assert text(found, "VS305").startswith(
        "5 of 5 (100 %) are in service at the start, and the floor is 5 of 5 (100 %)"
    )


def test_no_budget_names_the_batch_and_what_is_not_known() -> None:
    found = lint_plan(plan(fleet(odd={number: {"health": Health.INITIALIZING} for number in range(5)})))
    assert text(found, "VS305") == (
        "5 of 10 (50 %) are in service at the start, and the floor is 6 of 10 (60 %): batch 1 (2 at a time) can take none"
    )
    fix = next(one.fix for one in found if one.code == "VS305")
    assert fix == (
        "find out whether the 5 that are not known serve (--expand instanceView); or lower the floor (and floor_min) to 4"
        " or less"
    )


def test_an_instance_out_of_service_at_the_head_of_the_batch_breaks_the_deadlock() -> None:
    place = fleet(odd=sick(0, 1, 2, 3))  # the first batch is 0 and 5
    assert {"VS305", "VS307"} & set(codes(lint_plan(plan(place)))) == {"VS307"}


def test_held_back_batches_are_counted_once() -> None:
    found = lint_plan(plan(fleet(odd=sick(4, 9)), floor=7))
    assert text(found, "VS307") == (
        "8 of 10 (80 %) are in service now and the floor is 7 of 10 (70 %): batch 1 (2 at a time) needs 2, 1 may go; batch"
        " 2 (2 at a time) needs 2, 1 may go; batch 3 (2 at a time) needs 2, 1 may go; …"
    )


def test_a_domain_strategy_without_another_domain_names_batch() -> None:
    found = lint_plan(plan(fleet(odd={n: {"update_domain": 0} for n in range(10)}), strategy="per-ud"))
    assert next(one.fix for one in found if one.code == "VS303") == "use batch (20 % = 2 of 10 at a time)"


@pytest.mark.parametrize(("action", "stays"), [(Action.REIMAGE, True), (Action.UPGRADE_THEN_REIMAGE, False)])
def test_a_reimage_alone_leaves_latest_model_false_after_an_image_change_too(action: Action, stays: bool) -> None:
    assert ("VS334" in codes(lint_plan(plan(action=action)))) is stays


def test_the_last_domain_left_is_not_one_group() -> None:
    done = {number: {"image": image(NEW, NEW)} for number in range(10) if number % 5}
    assert "VS303" not in codes(lint_plan(plan(fleet(odd=done), strategy="per-ud")))


@pytest.mark.parametrize("field", ["operation_ms", "healthy_ms", "rollout_ms"])
def test_a_deadline_of_nothing(field: str) -> None:
    found = lint_plan(plan(deadlines=Deadlines(**{field: 0})))
    assert text(found, "VS330") == f"{field} is 0: it passes at once"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"days": ()}, "no weekday is named"),
        ({"start": "24:00"}, "'24:00' is no time of day (HH:MM)"),
        ({"end": "4:00"}, "'4:00' is no time of day (HH:MM)"),
        ({"end": "22:00"}, "start and end are both 22:00"),
        ({"time_zone": "Europe Berlin"}, "'Europe Berlin' is no IANA time zone (Europe/Berlin, UTC)"),
    ],
)
def test_bad_windows(fields: dict[str, Any], says: str) -> None:
    assert text(lint_plan(window(**fields)(plan())), "VS318") == f"window 1: {says}"


def test_a_window_over_midnight_has_its_length() -> None:
    long = {"soak_ms": 6 * 3_600_000 // 5}
    assert "VS319" in codes(lint_plan(window()(plan(parameters=long))))
    assert "VS319" not in codes(lint_plan(window(end="04:01")(plan(parameters=long))))


def test_a_platform_moved_plan_is_judged_by_what_it_can_promise() -> None:
    found = lint_plan(plan(strategy="automatic", floor=None, required="70%", min_healthy=7))
    assert codes(found) == ["VS301", "VS313", "VS314"]
    assert text(found, "VS313") == "nothing is kept in service, and the load requires 70% = 7 of 10"


# Requests.


def test_all_refusals_are_told_at_once() -> None:
    found = lint_request(
        request(floor="much", drop=-1, new_instances="x", change=ImageChange(), parameters={"max_failed": "x"})
    )
    assert codes(found) == ["VS403", "VS408", "VS408", "VS408", "VS410"]
    assert [one.subject for one in found[1:4]] == ["floor", "drop", "batch.max_failed"]


def test_a_set_that_cannot_be_planned_is_told_once() -> None:
    for place, code in ((fleet(0), "VS125"), (fleet(service_fabric=True), "VS124")):
        assert [one.code for one in lint_request(request(place)) if one.grade is Grade.ERROR] == [code]


def test_a_plan_that_moves_instances_itself_is_not_judged_by_the_platforms_rollouts() -> None:
    place = fleet(2, odd=sick(0), **rolling(max_batch_percent=30))
    assert set(codes(lint_set(place))) & OF_THE_PLATFORM == {"VS104", "VS105", "VS106", "VS107", "VS108"}
    assert not set(codes(lint_request(request(place, floor=0)))) & OF_THE_PLATFORM
    assert "VS106" in codes(lint_request(request(place, strategy="automatic", floor=None)))


def refused(given_request: Request) -> bool:
    try:
        build(given_request)
    except InputError:
        return True
    return False


CHANGES: tuple[Change, ...] = (
    ImageChange(version=NEW),
    ImageChange(sku="x"),
    ImageIdChange(id=f"{GALLERY}/versions/2"),
    PropertyChange(path=SETTING, value=1),
    PropertyChange(path="unknown", value=1),
    GuestPatch(script="s"),
    CurrentModel(),
    Refresh(exact_version=NEW),
)
AMOUNTS = st.sampled_from([None, 0, 1, 3, "50%", "n-1", "100%", -1, "x", 40])
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "max_failed": st.sampled_from([0, 1, "20%", "x", -1]),
        "unhealthy_first": st.booleans(),
        "fit": st.booleans(),
        "soak_ms": st.sampled_from([0, 1, 10**9, -1]),
        "size": st.sampled_from([1, 3, "50%", "x", 0]),
        "only": st.lists(st.sampled_from(["0", "1", "9"]), max_size=2),
        "ids": st.lists(st.sampled_from(["0", "1", "99"]), max_size=2),
        "on_failure": st.sampled_from(["stop", "rollback-all", "explode"]),
    },
)
REQUESTS = st.builds(
    Request,
    scale_set=scale_sets(),
    change=st.sampled_from(CHANGES),
    action=st.none() | st.sampled_from(Action),
    strategy=st.sampled_from([*STRATEGIES, "bach"]),
    parameters=PARAMETERS,
    floor=AMOUNTS,
    floor_min=st.none() | st.integers(0, 4),
    rollback_floor=AMOUNTS,
    emergency_floor=AMOUNTS,
    required=AMOUNTS,
    min_healthy=AMOUNTS,
    drop=AMOUNTS,
)


@examples(120)
@given(
    asked=REQUESTS, gaps=st.lists(st.builds(Gap, st.sampled_from(["no-os", "list-incomplete"]), st.text(), st.text()))
)
def test_lint_never_raises_and_finds_a_refusal_exactly_where_build_refuses(asked: Request, gaps: list[Gap]) -> None:
    lint_set(asked.scale_set, gaps)
    found = lint_request(asked, gaps)
    says_no = any(one.code.startswith("VS4") or one.code in ("VS124", "VS125") for one in found)
    assert says_no is refused(asked)
    assert "VS499" not in codes(found)
    if not says_no:
        made = build(asked)
        for live in (None, asked.scale_set):
            assert {one.code for one in lint_plan(made, live)} <= CODES.keys()


@examples(120)
@given(case=cases(), live=scale_sets())
def test_lint_never_raises_on_plans_whatever_became_of_the_set(case: Case, live: ScaleSet) -> None:
    made = plan_or_none(case)
    if made is not None:
        for place in (None, case.fleet.scale_set(), live):
            assert {one.code for one in lint_plan(made, place)} <= CODES.keys()


@st.composite
def calm(draw: st.DrawFn) -> Case:
    """Rollouts of an image in which nothing fails, with any floor."""
    place = draw(fleets(7, image="platform", ahead=()))
    name, parameters = draw(strategies(place, platform=False))
    more = {"floor": draw(st.integers(0, 6)), "floor_min": draw(st.none() | st.integers(0, 7))}
    return Case(fleet=place, strategy=name, parameters=parameters, more=more)


@examples(200)
@given(case=calm())
def test_no_budget_is_found_exactly_where_the_machine_would_wait_in_vain(case: Case) -> None:
    made = plan_or_none(case)
    if made is not None:
        assert ("stalled" in case.run().rules()) is ("VS305" in codes(lint_plan(made)))
