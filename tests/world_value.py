"""A world as a value: everything it is, everything that happened in it, and the same actions played again.

1. `frozen` is everything a world is, for comparing before and after; `history` everything that happened, line by line.
2. `played` carries out actions while nobody looks and time passes in one piece.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import msgspec

from planner.model import AutomaticRepairs, ImageReference, Model, ScaleSet, UpgradeMode, scale_set
from tests.world_choices import Action, Publish, Request, Trouble, Wait
from vmss_sim.world.config import WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.rollouts import RollingUpgrade
from vmss_sim.world.scale_set import Operation, Reply, Vm, World


def draws_of(config: WorldConfig, seed: int) -> Draws:
    """The luck of this world."""
    return Draws(seed, 0, len(config.machines))


def begin(config: WorldConfig, seed: int) -> World:
    """A world at its beginning."""
    return World(config, draws_of(config, seed))


def ids_of(world: World, places: tuple[int | str, ...]) -> tuple[str, ...]:
    """Places as ids."""
    present = list(world.vms)
    found = []
    for place in places:
        if place == "*":
            found.append("*")
        elif place == "?" or not present:
            found.append("404")
        else:
            found.append(present[int(place) % len(present)])
    return tuple(found)


def carry_out(world: World, action: Action, number: int) -> Reply | None:
    """An action that takes no time."""
    match action:
        case Request(kind, places, args):
            return world.submit(f"asked-{number}", kind, ids_of(world, places), **args)
        case Trouble(None):
            world.faults = ()
        case Trouble(fault):
            first = world.requests + 1
            world.faults = (msgspec.structs.replace(fault, first=first, last=first - 1 + fault.last),)
        case Publish(version):
            world.publish(version)
    return None


def played(config: WorldConfig, seed: int, actions: Iterable[Action]) -> World:
    """The same actions, nobody looks, and time passes in one piece."""
    world = begin(config, seed)
    for number, action in enumerate(actions):
        if isinstance(action, Wait):
            world.run(world.now + action.ms, stop_on_wake=False)
        else:
            carry_out(world, action, number)
    return world


def snapshot_of(config: WorldConfig) -> ScaleSet:
    """The planner's model of this world, without instances: a backend looks for itself."""
    model = Model(
        name=config.name,
        mode=UpgradeMode(config.mode),
        image=ImageReference(publisher="Canonical", offer="ubuntu", sku="22_04", version="1.0.0"),
        capacity=len(config.machines),
        repairs=AutomaticRepairs(enabled=True) if config.repairs.enabled else None,
        settings=dict.fromkeys(config.model, ""),
    )
    return scale_set(model, ())


def look_around(world: World) -> None:
    """Read all that can be read, some of it twice."""
    names = list(world.vms)
    for name in (*names, *reversed(names)):
        vm = world.vms[name]
        world.state(vm)
        world.serving(vm)
        world.is_latest(vm)
        world.boots_same(vm)
        world.shown_serving_from((name,))
    world.shown_serving_from(names)
    world.stale()
    _ = world.rolling_upgrade, world.history, world.model_image, world.on_latest, world.now
    list(world.outages())
    list(world.exposures())
    world.will_end(dict.fromkeys(world.operations, ""))


def slots_of(one: Any, *but: str) -> dict[str, Any]:
    """What an object with slots holds."""
    return {name: copy.copy(getattr(one, name)) for name in type(one).__slots__ if name not in but}


def _vm(vm: Vm) -> dict[str, Any]:
    held = slots_of(vm, "effect", "outages")
    return {**held, "outages": [tuple(one) for one in vm.outages], "effect": vm.effect}


def _operation(one: Operation) -> dict[str, Any]:
    return slots_of(one)


def _rollout(one: RollingUpgrade) -> dict[str, Any]:
    held = {
        name: copy.copy(value) for name, value in vars(one).items() if name not in ("world", "operation", "process")
    }
    return {**held, "operation": one.operation and one.operation.name, "alive": one.process and one.process.is_alive}


def frozen(world: World) -> dict[str, Any]:
    """Everything a world is, as a value. What an operation has left behind is applied first: that is no change."""
    for vm in world.vms.values():
        world.settled(vm)
    own = {}
    for name, value in vars(world).items():
        if name in ("config", "draws", "env", "columns", "submit", "woken", "first_images"):
            continue
        match name:
            case "vms":
                own[name] = [(key, _vm(vm)) for key, vm in value.items()]
            case "gone" | "owners":
                own[name] = [_vm(vm) for vm in value]
            case "operations" | "running":
                own[name] = [(key, _operation(one)) for key, one in value.items()]
            case "ended":
                own[name] = [one.name for one in value]
            case "rollouts":
                kept = {key: one for key, one in vars(value).items() if key not in ("world", "past")}
                own[name] = (kept, [_rollout(one) for one in value.past])
            case "repair_service":
                own[name] = {key: copy.copy(one) for key, one in vars(value).items() if key != "world"}
            case "background":
                own[name] = {key: one for key, one in vars(value).items() if key not in ("world", "_stream")}
            case "buckets":
                held = value._buckets if value else {}
                own[name] = [(key, slots_of(one, "policy")) for key, one in held.items()]
            case "_contents" | "_profiles":
                own[name] = {key: copy.copy(one) for key, one in vars(value).items() if key != "_held"}
            case _:
                own[name] = copy.copy(value)
    own["queue"] = sorted((when, urgency, number) for when, urgency, number, _ in world.env._queue)
    return own


def differences(before: Any, after: Any, but: tuple[str, ...]) -> list[str]:
    """Which parts differ."""
    return [
        f"{name}: {before[name]} != {after[name]}" for name in after if name not in but and before[name] != after[name]
    ]


def history(world: World) -> list[str]:
    """Everything that happened, line by line."""
    lines = [f"{world.now} {world.requests} {world.mode} {world.content} {world.etag} {world.repairs_suspended}"]
    for vm in world.vms.values():
        world.settled(vm)
    lines += [f"{name} {sorted(_operation(one).items(), key=_first)}" for name, one in world.operations.items()]
    for vm in (*world.vms.values(), *world.gone):
        lines.append(str(sorted(_vm(vm).items(), key=_first)))
    for rollout in world.rollouts.past:
        lines.append(f"{rollout.status()} {rollout.done} {rollout.rolled_back} {rollout.rollback_failed}")
    lines.append(f"{world.history} {world.repair_service.log}")
    lines.append(f"{sorted(world.exposures(), key=str)} {sorted(world.outages(), key=str)}")
    return lines


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]
