"""A world behind the endpoint, what its documents say as the planner reads them, and what the simulated backend says of the same world.

1. `put` places a world behind the endpoint; `documents_of` are the documents a client would collect: set, instances with their views,
   the set's view, the last rollout. `read` is what the planner reads of them.
2. `expected` is the simulated backend's snapshot, less what documents cannot say: of a Flexible set domains, protection and
   `latestModelApplied`; of a VM without a running agent its custom metrics; when a completed rollout ended; run-commands (resources
   of their own). Policies come from the world: the backend does not follow them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from backends.simulated import SimulatedBackend, reference
from planner.arm_json import read_scale_set
from planner.gives import otherwise
from planner.model import AutomaticOsUpgrade, AutomaticRepairs, Instance, Model, RollingPolicy, ScaleSet, UpgradeMode
from vmss_sim.arm import documents, lists, model_document, shapes, views
from vmss_sim.arm.http import Request
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world.config import AutoOs, Repairs
from vmss_sim.world.config import RollingPolicy as WorldPolicy
from vmss_sim.world.scale_set import Vm, World

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
NEW, SPEC = "2026-04-01", "2024-07-01"


def put(world: World, given: Any = None, model: Model | None = None) -> ArmSet:
    """A world behind the endpoint."""
    name = world.config.name
    document = model_document.of(world.config, name=name, location="westeurope", given=given, model=model)
    return ArmSet(
        subscription=SUBSCRIPTION,
        group="shop",
        name=name,
        location=document["location"],
        world=world,
        document=document,
        epoch=EPOCH.replace(tzinfo=None),
        unique_id="22222222-2222-2222-2222-222222222222",
    )


def get(path: str, version: str = SPEC, **query: str) -> Request:
    """A request; query names without their `$`."""
    told = {"$" + name: value for name, value in query.items()}
    return Request(method="GET", path=path, query={"api-version": version, **told}, base="https://localhost:8443")


def listed(one: ArmSet, version: str = SPEC, **query: str) -> list[dict[str, Any]]:
    """The instances of a set, on one page, with their views; of a Flexible set its VMs."""
    request = get(f"{one.id}/virtualMachines", version, **{"expand": "instanceView", **query})
    if one.world.config.flexible:
        return list(lists.machines([one], request)["value"])
    return list(lists.instances(one, request, page=100_000)["value"])


def documents_of(one: ArmSet, version: str = SPEC) -> list[tuple[str, Any]]:
    """What a client collects."""
    whole = {
        "model": documents.scale_set(one, version, user_data=True),
        "instances": {"value": listed(one, version)},
        "instanceView": views.set_view(one, version),
    }
    rollout = documents.rolling_upgrade(one, version)
    return [("set", whole)] + ([] if rollout is None else [("rollout", rollout)])


def read(one: ArmSet, version: str = SPEC, watch: tuple[str, ...] = ()) -> ScaleSet:
    """What the planner reads."""
    return read_documents(documents_of(one, version), watch)


def read_documents(found: list[tuple[str, Any]], watch: tuple[str, ...] = ()) -> ScaleSet:
    """The same of documents already collected, after their way over the wire."""
    text = msgspec.json.decode(msgspec.json.encode(found))
    return read_scale_set([(name, value) for name, value in text], watch=watch).scale_set


def expected(one: ArmSet, scale_set: ScaleSet) -> ScaleSet:
    """What the simulated backend shows, as far as documents can say it (rule 2). scale_set: the snapshot at the start."""
    world = one.world
    seen = SimulatedBackend(world, scale_set).observe().scale_set
    rollout = seen.rolling_upgrade
    if rollout is not None:
        epoch = round(EPOCH.timestamp() * 1000)
        status = world.rolling_upgrade
        assert status is not None
        ended = status.last_action_ms + epoch if rollout.last_action == "Cancel" else None
        rollout = msgspec.structs.replace(rollout, started_ms=(rollout.started_ms or 0) + epoch, ended_ms=ended)
    return ScaleSet(
        model=_model(one, seen.model),
        instances={name: _instance(one, world.vms[name], each) for name, each in seen.instances.items()},
        rolling_upgrade=rollout,
    )


def _model(one: ArmSet, model: Model) -> Model:
    world = one.world
    policy, auto, repairs = world.rolling_policy, world.auto_os, world.repairs
    told = one.document["properties"]
    has = told.get("upgradePolicy", {})
    image = world.model_image
    return msgspec.structs.replace(
        model,
        mode=UpgradeMode(world.mode),
        image=None if image is None else msgspec.structs.replace(reference(image), exact_version=None),
        capacity=len(world.counted()),
        rolling=RollingPolicy(
            max_batch_percent=policy.max_batch_percent,
            max_unhealthy_percent=policy.max_unhealthy_percent,
            max_unhealthy_upgraded_percent=policy.max_unhealthy_upgraded_percent,
            pause_between_batches_ms=policy.pause_ms,
            cross_zone=policy.cross_zone,
            prioritize_unhealthy=policy.prioritize_unhealthy,
            rollback_failed=policy.rollback_failed,
            max_surge=policy.max_surge,
        )
        if world.mode == "rolling" or policy != WorldPolicy() or "rollingUpgradePolicy" in has
        else None,
        auto_os=AutomaticOsUpgrade(
            enabled=auto.enabled,
            disable_rollback=auto.disable_rollback,
            use_rolling_policy=auto.use_rolling_policy,
            deferral=auto.deferral,
        )
        if auto != AutoOs() or "automaticOSUpgradePolicy" in has
        else None,
        repairs=AutomaticRepairs(
            enabled=repairs.enabled,
            grace_ms=repairs.grace_ms,
            action=repairs.action,
            suspended=world.repairs_suspended,
        )
        if repairs != Repairs() or "automaticRepairsPolicy" in told
        else None,
    )


def _instance(one: ArmSet, vm: Vm, each: Instance) -> Instance:
    world, changes = one.world, dict[str, Any](run_commands=(), os_disk=shapes.os_disk(one, vm))
    provisioning, power, _ = world.state(vm)
    agent = power != "deallocated" and provisioning != "creating"
    if not (agent and world.config.health in ("extension", "rich")):
        changes |= {"upgrade_phase": None, "skip_upgrade": False}
    if world.config.flexible:
        changes |= dict.fromkeys(("placement_group", "update_domain", "fault_domain", "latest_model"))
        changes |= {"protected": False, "scale_in_protected": False}
    return msgspec.structs.replace(each, **changes)


IDENTITY = ("id", "unique_id", "location", "etag")
"""What a set gets when it is put behind the endpoint."""


def differences(got: ScaleSet, want: ScaleSet) -> list[str]:
    """Where a reading differs; what `want` does not say of the model is not compared."""
    found = []
    # What the other document leaves out, or says beside, is no difference: as between two api-versions.
    for one in otherwise(msgspec.structs.replace(want.model.gives, api_version="another"), got.model.gives):
        found.append(f"model.gives: {one}")
    for name in Model.__struct_fields__:
        if name == "gives":
            continue
        here, there = getattr(got.model, name), getattr(want.model, name)
        said = there not in (None, "", ()) and getattr(there, "value", "") != "unknown"
        strict = name in ("rolling", "auto_os", "repairs", "image")
        if here != there and name not in IDENTITY and (said or strict):
            found.append(f"model.{name}: {here!r} is not {there!r}")
    if sorted(got.instances) != sorted(want.instances):
        found.append(f"instances: {sorted(got.instances)} are not {sorted(want.instances)}")
    for name in got.instances.keys() & want.instances.keys():
        for key in Instance.__struct_fields__:
            here, there = getattr(got.instances[name], key), getattr(want.instances[name], key)
            invented = key == "placement_group" and there is None  # a real set always shows one
            if here != there and not invented:
                found.append(f"{name}.{key}: {here!r} is not {there!r}")
    if got.rolling_upgrade != want.rolling_upgrade:
        found.append(f"rollout: {got.rolling_upgrade!r} is not {want.rolling_upgrade!r}")
    return found
