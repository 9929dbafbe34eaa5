"""Where a tale is told: a world that outlives its executors, and how a process reaches it. Luck in it does not depend on when something is asked
for (`WatchedWorld.in_order_of_birth`): only so can a tale be held to the end that it comes to without a death.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backends.emulator_clock import BEGINS_MS
from planner.change import PropertyChange
from planner.commands import Command
from planner.metrics import constant
from planner.model import ScaleSet
from planner.scripts import ran_as
from planner.trace import Turn
from tests.azure_inprocess import site_of
from tests.fleet import NEW, OLD, OLDER, Case, Done, WatchedWorld, image, world_image
from tests.loopback import Place, served
from tests.loopback_process import over_azure
from vmss_sim.arm.client import Control
from vmss_sim.arm.emulator import Emulator, Stage
from vmss_sim.arm.measured import Yardstick
from vmss_sim.arm.session import Session
from vmss_sim.arm.site import Site
from vmss_sim.arm.standing_clocks import ManualClock
from vmss_sim.arm.trace import Trace
from vmss_sim.world.vm import Vm


@dataclass(kw_only=True)
class Ground:
    """A world, served. seen: the set as an executor sees it, from which the plan is made. options, environment: what a process needs to
    reach it; plain: what one needs that is started plainly (none: it cannot be). epoch_ms: what executors call the world's time 0. ran: which
    run-commands a VM shows, by what was carried out last under each name. halts: where waiting can be held up.
    """

    world: WatchedWorld
    seen: ScaleSet
    address: str
    pass_time: Callable[[int], None]
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    plain: Mapping[str, str] = field(default_factory=dict)
    epoch_ms: int = 0
    ran: Callable[[Vm], tuple[str, ...]] = lambda vm: vm.commands
    halts: Place | None = None


@contextmanager
def loopback(case: Case, _folder: Path) -> Iterator[Ground]:
    """The simulated backend."""
    with served(case.world().in_order_of_birth(), case.fleet.scale_set(), poll_ms=case.poll_ms) as place:
        yield Ground(
            world=place.world,
            seen=case.fleet.scale_set(),
            address=place.address,
            pass_time=place.pass_time,
            halts=place,
        )


@contextmanager
def azure(case: Case, folder: Path) -> Iterator[Ground]:
    """The real backend over the ARM server; its clock moves by being told. folder: of its CA."""
    world, fleet = case.world().in_order_of_birth(), case.fleet.scale_set()
    yardstick = Yardstick(
        total=case.fleet.size,
        required=constant(0),
        horizon_ms=86_400_000,
        bad=False,
        breaches=lambda _: (),
    )
    stage = Stage(
        title="kills",
        seed=1,
        digest="",
        make=lambda: _site(world, fleet),
        yardstick=yardstick,
        faults=lambda _tables: (),
    )
    with ExitStack() as stack:
        trace = stack.enter_context(closing(Trace()))
        emulator = Emulator(stage, ManualClock(), trace=trace, opaque_urls=True)
        session = stack.enter_context(Session(emulator, ca_dir=folder, http=True))
        ca = str(session.ca)
        environment = {
            "EMULATOR_CONTROL": session.http_url,
            "EMULATOR_TOKEN": session.token,
            "EMULATOR_CA": ca,
            "EMULATOR_SET": emulator.measured_set.id,
        }
        watch = (case.change.path,) if isinstance(case.change, PropertyChange) else ()
        backend = over_azure(None, session.url, environment, watch=watch)
        seen = backend.snapshot().scale_set
        backend.close()
        control = Control(session.http_url, session.token)
        yield Ground(
            world=world,
            seen=seen,
            address=session.url,
            pass_time=lambda ms: control.advance(ms / 1000) and None,
            options=("--endpoint", session.url, "--ca", ca, "--credential", "environment"),
            environment=environment,
            plain={
                **session.variables,
                "AZURE_TENANT_ID": emulator.site.tenant,
                "AZURE_CLIENT_ID": "kills",
                "AZURE_CLIENT_SECRET": "anything",
                "NO_PROXY": "localhost,127.0.0.1",
            },
            epoch_ms=BEGINS_MS,
            ran=lambda vm: _ran(emulator, vm),
        )


def _site(world: WatchedWorld, fleet: ScaleSet) -> Site:
    made = site_of(world, fleet)
    there = (world_image(image(version)) for version in (OLDER, OLD, NEW))
    made.images = tuple(one for one in there if one is not None)  # preflight asks whether target and way back are there
    return made


def _ran(emulator: Emulator, vm: Vm) -> tuple[str, ...]:
    """The world keeps names; a script and its undo have one, and its content tells which of them it was."""
    kept = emulator.measured_set.instances.get(vm.vm_id, {}).get("runCommands", {})
    scripts = {name: one["properties"]["source"]["script"] for name, one in kept.items()}
    return tuple(ran_as(name, scripts.get(name.lower())) for name in vm.commands)


GROUNDS = {"loopback": loopback, "azure": azure}


def attributed(log: list[Done], turns: list[Turn], epoch_ms: int) -> list[Done]:
    """What reached the world over ARM, by the command that it carries out: the last one decided until then that is of its kind and names its
    instances. The requests of one command that names several (a run-command is one an instance) are one.
    """
    decided: list[tuple[int, Command]] = [(one.now_ms - epoch_ms, command) for one in turns for command in one.commands]
    made: list[Done] = []
    for one in log:
        if one.name.startswith("foreign"):
            made.append(one)
            continue
        fitting = [
            command
            for at, command in decided
            if at <= one.now and command.kind.value == one.kind and set(one.ids) <= set(command.ids)
        ]
        name = fitting[-1].id if fitting else "c-nobody"
        last = made[-1] if made else None
        if last is not None and one.kind == "run-command" and last.name == name and not set(one.ids) & set(last.ids):
            joined = {field: (*getattr(last, field), *getattr(one, field)) for field in ("ids", "started", "in_vain")}
            made[-1] = last._replace(after=one.after, **joined)
        else:
            made.append(one._replace(name=name))
    return made
