"""Small worlds with constant durations and chosen luck, for tests that hold the world to one of Azure's rules at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from vmss_sim.world.config import Failures, Image, Machine, Platform, RollingPolicy, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.images import IMAGE
from vmss_sim.world.scale_set import World
from vmss_sim.world.timings import Constant
from vmss_sim.world.vm import Operation, Reply, Vm

OLD, NEW = "1.0.0", "2.0.0"
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
WORK = MINUTE
"""What the work on one VM takes."""
READY = 20 * SECOND
"""From there until it is seen to serve (15 s, and 5 s until the health source notices)."""
GONE = 10 * SECOND
"""What a deletion takes."""
QUICK = Platform(tick_ms=0, batch_ms=0, first_check_ms=0)
"""No ticks: a batch ends when it can."""
SIZE = "properties.virtualMachineProfile.hardwareProfile.vmSize"
CUSTOM_DATA = "properties.virtualMachineProfile.osProfile.customData"
EXTENSION = "properties.virtualMachineProfile.extensionProfile.extensions"
BEFORE = "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
DURING = "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
UPGRADED = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
SICK: dict[str, Any] = {"health": "unhealthy"}
TOLERANT = RollingPolicy(max_unhealthy_percent=100, max_unhealthy_upgraded_percent=100)
"""A policy under which nothing stops a rollout."""
COIN = Failures(upgrade=0.5)
"""With `Luck`: exactly the chosen slots fail."""
BAD = Failures(bad_share=0.5)
"""With `Luck`: exactly the chosen slots never serve with a new image."""


class Luck(Draws):
    """Bad luck for the chosen slots (`fails`, `bad`), good luck for the others; `later` draws give `draw`."""

    __slots__ = ("bad", "draw", "fails")

    def __init__(self, fails: Iterable[int] = (), bad: Iterable[int] = (), draw: float = 0.5) -> None:
        super().__init__(0, 0, 0)
        self.fails, self.bad, self.draw = frozenset(fails), frozenset(bad), draw

    def uniform(self, purpose: str, slot: int, attempt: int) -> float:
        chosen = self.fails if purpose == "fails" else self.bad if purpose == "bad" else ()
        return 0.001 if slot in chosen else 0.999

    def later(self, purpose: str, slot: int, attempt: int) -> float:
        return self.draw


def image(version: str | None = OLD, exact: str | None = None) -> Image:
    return Image(publisher="Canonical", offer="ubuntu", sku="22_04-lts", version=version, exact=exact or version)


def make(
    n: int = 4,
    *,
    version: str = OLD,
    exact: str | None = None,
    each: dict[str, dict[str, Any]] | None = None,
    zones: int = 0,
    domains: int = 0,
    luck: Draws | None = None,
    ready_ms: int = READY - 5 * SECOND,
    operations: dict[str, int] | None = None,
    faults: tuple[Fault, ...] = (),
    **config: Any,
) -> World:
    """A world of n VMs on image `version`. each: what is special about a machine, by its id; operations: ms, by row."""
    booted = image(version, exact)
    machines = []
    for number in range(n):
        name = str(number)
        placed: dict[str, Any] = {"id": name, "vm_id": f"vm-{name}", "image": booted}
        if zones:
            placed["zone"] = str(number % zones + 1)
        if domains:
            placed["update_domain"] = number % domains
        machines.append(Machine(**{**placed, **(each or {}).get(name, {})}))
    taken = {"upgrade": WORK, "reimage": WORK, "scale-out": WORK, "delete": GONE, "upgrade-extensions": WORK}
    durations = {name: Constant(ms / 1000) for name, ms in {**taken, **(operations or {})}.items()}
    config.setdefault("platform", QUICK)
    config.setdefault("latest", exact)
    built = WorldConfig(
        name="vmss",
        machines=tuple(machines),
        model={IMAGE + part: getattr(booted, part) for part in ("publisher", "offer", "sku", "version")},
        timings=Timings(operations=durations, ready=Constant(ready_ms / 1000), probe_ms=5 * SECOND),
        **config,
    )
    return World(built, luck or Luck(), faults)


def rolling(n: int = 4, policy: RollingPolicy | None = None, **more: Any) -> World:
    """A world in mode Rolling."""
    return make(n, mode="rolling", rolling=policy or RollingPolicy(), **more)


def tuned(**options: Any) -> Platform:
    """`QUICK` with these options."""
    return msgspec.structs.replace(QUICK, **options)


def ask(world: World, kind: str, *ids: str, **args: Any) -> Reply:
    return world.submit(f"r{world.requests}", kind, ids, **args)


def accepted(world: World, kind: str, *ids: str, **args: Any) -> Operation:
    reply = ask(world, kind, *ids, **args)
    assert reply.kind == "accepted", reply.code
    assert reply.operation is not None
    return reply.operation


def put(world: World, patch: dict[str, Any] | None = None, **args: Any) -> Operation:
    """An update of the set; without a patch to the new image version."""
    return accepted(world, "update-model", patch={IMAGE + "version": NEW} if patch is None else patch, **args)


def wait(world: World, ms: int) -> None:
    """Let that much time pass."""
    world.run(world.now + ms, stop_on_wake=False)


def until(world: World, ms: int) -> None:
    """Let time pass to that moment."""
    world.run(ms, stop_on_wake=False)


def finish(world: World, operation: Operation, most: int = 30 * DAY) -> Operation:
    """Let time pass until the operation has ended; at most this long."""
    limit = world.now + most
    while operation.status == "running":
        assert world.now < limit, "it does not end"
        world.run(limit)
    return operation


def batches(world: World) -> list[tuple[str, ...]]:
    """What the last rollout carried out."""
    return world.rollouts.past[-1].done if world.rollouts.past else []


def exact(world: World) -> dict[str, str | None]:
    """The version booted, by id."""
    return {name: vm.image.exact if (vm := world.settled(one)).image else None for name, one in world.vms.items()}


def on(world: World, version: str) -> set[str]:
    """Who runs this version."""
    return {name for name, one in exact(world).items() if one == version}


def current(world: World) -> set[str]:
    """Who has the latest model applied."""
    return {name for name, vm in world.vms.items() if world.is_latest(world.settled(vm))}


def healthy(world: World) -> set[str]:
    """Who is shown to be healthy."""
    return {name for name, vm in world.vms.items() if world.state(vm)[2] == "healthy"}


def outages(vm: Vm) -> list[tuple[int, int]]:
    """When it did not serve."""
    return [(start, end) for start, end in vm.outages]
