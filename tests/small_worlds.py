"""Small scale sets with constant timings, for tests of one rule of the platform at a time. Seconds in, milliseconds inside."""

from __future__ import annotations

from typing import Any

from vmss_sim.world.config import Failures, Image, Machine, Platform, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import IMAGE, Reply, Vm, World
from vmss_sim.world.timings import Constant

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
OLD, NEW, NEWER = "1.0.0", "2.0.0", "3.0.0"
SETTING = "properties.virtualMachineProfile.userData"
CUSTOM_DATA = "properties.virtualMachineProfile.osProfile.customData"

TOOK: dict[str, float] = {
    "upgrade": 60,
    "upgrade-current": 0.2,
    "upgrade-extensions": 12,
    "reimage": 50,
    "reimage-all": 70,
    "restart": 20,
    "start": 25,
    "start-running": 1,
    "power-off": 15,
    "deallocate": 30,
    "redeploy": 40,
    "run-command": 10,
    "scale-out": 45,
    "delete": 35,
    "update-model": 1,
    "set-mode": 1,
    "set-capacity": 2,
    "cancel-rolling-upgrade": 0.1,
}
"""What each operation takes, in seconds; all different, so that a test can tell which one it was."""
READY, PROBE = 10, 5
QUIET = Platform(tick_ms=0, first_check_ms=0, batch_ms=0)
"""Rollouts without the platform's ticks."""


def image(version: str = OLD, exact: str | None = None, **parts: Any) -> Image:
    """A platform image; exact: where the model says `latest`."""
    return Image(publisher="P", offer="O", sku="S", version=version, exact=exact or version, **parts)


def timings(**took: float) -> Timings:
    """`TOOK`, changed (`_` for `-`; ready and probe too)."""
    ready, probe = took.pop("ready", READY), took.pop("probe", PROBE)
    rows = {**TOOK, **{name.replace("_", "-"): value for name, value in took.items()}}
    return Timings(
        operations={name: Constant(seconds=value) for name, value in rows.items()},
        ready=Constant(seconds=ready),
        probe_ms=round(probe * SECOND),
    )


def small(
    n: int = 4,
    *,
    zones: int = 0,
    domains: int | None = 5,
    faults: tuple[Fault, ...] = (),
    seed: int = 0,
    odd: dict[int, dict[str, Any]] | None = None,
    version: str = OLD,
    exact: str | None = None,
    **config: Any,
) -> World:
    """A set of n instances: zones (numbered from 1) and domains in turn. odd: number of an instance to what is odd about it."""
    config.setdefault("timings", timings())
    config.setdefault("platform", QUIET)
    model = {IMAGE + name: value for name, value in (("publisher", "P"), ("offer", "O"), ("sku", "S"))}
    model[IMAGE + "version"] = version
    flexible = config.get("flexible", False)
    machines = []
    for number in range(n):
        row: dict[str, Any] = {
            "id": f"web_{number:08x}" if flexible else str(number),
            "vm_id": f"guid-{number}",
            "image": image(version, exact),
            "zone": str(number % zones + 1) if zones else None,
            "update_domain": None if flexible or domains is None else number % domains,
            "fault_domain": None if domains is None else number % domains,
        }
        machines.append(Machine(**{**row, **(odd or {}).get(number, {})}))
    settings = WorldConfig(
        name="web", machines=tuple(machines), model=model, **{"latest": exact, "failures": Failures(), **config}
    )
    return World(settings, Draws(seed, 0, max(1, n)), faults)


def at(world: World, seconds: float) -> World:
    """The world at that time, whatever happens meanwhile."""
    world.run(round(seconds * SECOND), stop_on_wake=False)
    return world


def ask(world: World, kind: str, *ids: str, **args: Any) -> Reply:
    """A request; its name is counted."""
    return world.submit(f"op-{world.requests + 1}", kind, ids, **args)


def new_version(world: World, version: str = NEW, **args: Any) -> Reply:
    """The model gets another image version."""
    return ask(world, "update-model", patch={IMAGE + "version": version}, **args)


def vm_of(world: World, name: str) -> Vm:
    """A VM with what its operation has left behind."""
    return world.settled(world.vms[name])


def shown(world: World, name: str = "0") -> tuple[str, str, str]:
    """Provisioning, power, health."""
    return world.state(world.vms[name])
