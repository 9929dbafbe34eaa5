"""What the tests of the rollout machine are made of: fleets, changes, luck and trouble, and the loop that watches a run.

1. A `Fleet` is a few small numbers that spell a scale set; `world` makes the SimPy world that agrees with it.
2. Timings on a scale: `QUICK` (constant), `PERFECT` (random, nothing fails); `Luck` says whose operations fail, a
   `Fault` what the platform answers, an `Act` what somebody else does, an `Ask` what an operator says, each at its time.
3. `Case` holds all of it as one value that Hypothesis can shrink and a person can paste; `Case.run` drives it to the end.
4. `WatchedWorld` is ground truth: what every command did to the number of VMs that serve, by no code of the planner.

Generators (Hypothesis calls them strategies) stand at the end; ids are counted, not generated.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

from backends.driver import Driver
from backends.journal import Journal, MemoryJournal
from backends.protocol import Wait
from backends.simulated import SimulatedBackend
from planner.build import Request, build
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
)
from planner.commands import Command
from planner.errors import InputError
from planner.machine import back, batches, setlevel, turn
from planner.model import (
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
    id_key,
    scale_set,
)
from planner.phases import Cause, Phase, move
from planner.plan import Deadlines, Plan, Rung
from planner.rollout import Asked, Observation, Rollout, State, Step, View
from planner.trace import Turn as TurnRecord
from vmss_sim.world.config import Failures, Image, Machine, Platform, Repairs, Timings, WorldConfig
from vmss_sim.world.config import RollingPolicy as WorldPolicy
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import IMAGE, URI, Reply, Vm, World
from vmss_sim.world.timings import Constant, Lognormal

OLDER, OLD, NEW = "0.9.0", "1.0.0", "2.0.0"
SETTING = "properties.virtualMachineProfile.licenseType"
OS_PROFILE = "properties.virtualMachineProfile.osProfile.windowsConfiguration.timeZone"
MINUTE = 60_000

QUICK = Timings(
    operations={
        "update-model": Constant(seconds=1),
        "set-mode": Constant(seconds=1),
        "suspend-repairs": Constant(seconds=1),
        "resume-repairs": Constant(seconds=1),
        "set-capacity": Constant(seconds=1),
        "upgrade": Constant(seconds=60),
        "reimage": Constant(seconds=50),
        "restart": Constant(seconds=20),
        "run-command": Constant(seconds=30),
        "scale-out": Constant(seconds=40),
        "delete": Constant(seconds=10),
    },
    ready=Constant(seconds=15),
)
PERFECT = Timings(
    operations={**QUICK.operations, **{kind: Lognormal(median=90, sigma=0.6) for kind in ("upgrade", "reimage")}},
    ready=Lognormal(median=30, sigma=0.5),
)


PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
SOAK = PROFILE == "soak"
CHECK = SOAK or PROFILE == "check"
"""Is it `make soak`, or at least `make check`: what takes minutes is told there."""


def examples(count: int) -> settings:
    """So many examples; twenty times as many under the profile `soak`."""
    return settings(max_examples=count * (20 if SOAK else 1))


def lives(count: int, *, check: int, soak: int) -> int:
    """How many lives a state machine lives, by Hypothesis profile."""
    return {"check": check, "soak": soak}.get(PROFILE, count)


# -- fleets ------------------------------------------------------------------------------------------------------------


def image(version: str, kind: str = "platform", *, booted: bool = True) -> ImageReference:
    """An image of this kind (platform, latest, id, uri) and version, as a VM booted it or as a model says it."""
    if kind == "id":
        return ImageReference(id=f"/subscriptions/s/images/web/versions/{version}")
    if kind == "uri":
        return ImageReference(uri=f"https://store.example/web-{version}.vhd")
    said = "latest" if kind == "latest" else version
    return ImageReference(
        publisher="Canonical", offer="ubuntu", sku="22_04", version=said, exact_version=version if booted else None
    )


class _Spelled:
    """Shows only what is not the default, so that a failing example can be read and pasted."""

    def __repr__(self) -> str:
        shown = [
            f"{one.name}={value!r}"
            for one in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, one.name)) != getattr(type(self)(), one.name)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # the protocol's signature
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Fleet(_Spelled):
    """A scale set in few numbers. Members are given by their place, 0 to size - 1.

    sick: out of service; unknown: health not known; older: boot an older image than the others; ahead: boot the new one
    already; model: the version the model says; flexible: in orchestration mode Flexible, where instances have names.
    """

    size: int = 6
    update_domains: int = 3
    fault_domains: int = 2
    zones: int = 0
    source: HealthSource = HealthSource.EXTENSION
    mode: UpgradeMode = UpgradeMode.MANUAL
    image: str = "platform"
    model: str = OLD
    sick: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    protected: tuple[int, ...] = ()
    older: tuple[int, ...] = ()
    ahead: tuple[int, ...] = ()
    repairs: bool = False
    rolling: RollingPolicy | None = None
    flexible: bool = False

    def instances(self) -> list[Instance]:
        """In the order of their numbers."""
        return [self._instance(index) for index in range(self.size)]

    def _instance(self, index: int) -> Instance:
        reported = self.source is not HealthSource.NONE
        health = Health.HEALTHY if reported else Health.ABSENT
        if reported and index in self.unknown:
            health = Health.UNKNOWN
        if reported and index in self.sick:
            health = Health.UNHEALTHY
        version = OLDER if index in self.older else NEW if index in self.ahead else OLD
        return Instance(
            id=f"web_{index:08x}" if self.flexible else str(index),
            vm_id=f"vm-{index}",
            zone=str(index % self.zones + 1) if self.zones else None,
            update_domain=index % self.update_domains if self.update_domains else None,
            fault_domain=index % self.fault_domains if self.fault_domains else None,
            image=image(version, self.image),
            latest_model=version == self.model,
            provisioning=Provisioning.SUCCEEDED,
            power=Power.STOPPED if index in self.sick and not reported else Power.RUNNING,
            health=health,
            protected=index in self.protected,
            os_disk=f"{index}-os-0",
        )

    def scale_set(self) -> ScaleSet:
        """The snapshot."""
        model = Model(
            name="web",
            mode=self.mode,
            orchestration=Orchestration.FLEXIBLE if self.flexible else Orchestration.UNIFORM,
            image=image(self.model, self.image, booted=False),
            capacity=self.size,
            health_source=self.source,
            rolling=self.rolling,
            repairs=AutomaticRepairs(enabled=True) if self.repairs else None,
            settings={SETTING: "old", OS_PROFILE: "old"},
        )
        return scale_set(model, self.instances())


# -- worlds ------------------------------------------------------------------------------------------------------------


class Luck(Draws):
    """Random durations, chosen misfortune. fails: by slot, the attempts whose operation fails. bad: slots that cannot live
    with the new image.
    """

    __slots__ = ("bad", "fails")

    def __init__(
        self, slots: int, fails: dict[int, tuple[int, ...]] | None = None, bad: tuple[int, ...] = (), seed: int = 1
    ) -> None:
        super().__init__(seed, 0, slots)
        self.fails, self.bad = fails or {}, bad

    def uniform(self, purpose: str, slot: int, attempt: int) -> float:
        """0.001 for a misfortune that was chosen, 0.999 for one that was not."""
        if purpose == "fails":
            return 0.001 if attempt in self.fails.get(slot, ()) else 0.999
        if purpose == "bad":
            return 0.001 if slot in self.bad else 0.999
        return super().uniform(purpose, slot, attempt)


class Done(NamedTuple):
    """A request to the world: who asked for what, and what it did (ground truth).

    before, after: the VMs that serve. right: those where the change wants them, before. started: those on which an
    operation really began. in_vain: of these, those whose operation fails and leaves everything as it was. total: how many VMs there are.
    less: how many somebody else has taken away until then.
    """

    now: int
    name: str
    kind: str
    ids: tuple[str, ...]
    args: dict[str, Any]
    answer: str
    before: frozenset[str]
    after: frozenset[str]
    right: frozenset[str]
    started: tuple[str, ...]
    total: int
    in_vain: tuple[str, ...] = ()
    less: int = 0

    @property
    def ours(self) -> bool:
        """Sent by the rollout, not by somebody else."""
        return self.name.startswith("c")

    @property
    def command(self) -> str:
        """The command's id, for what is ours."""
        return self.name.partition("/")[0]


class WatchedWorld(World):
    """A world that remembers what every request did."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.log: list[Done] = []
        self.plan: Plan | None = None
        self.odd: dict[int, str] = {}
        self.scale_outs = self.less = 0

    def submit(self, name: str, kind: str, ids: tuple[str, ...] = (), **args: Any) -> Reply:
        """Pass on and write down. odd: what is wrong with our scale-outs, by their number: `fewer` or `more` come than were
        asked for, or they boot the `old` image.
        """
        if kind == "set-capacity" and name.startswith("c"):
            self.scale_outs += 1
            how = self.odd.get(self.scale_outs)
            if how in ("fewer", "more"):
                args["capacity"] = max(len(self.vms), args["capacity"] + (1 if how == "more" else -1))
            elif how == "old" and self.mode == "manual":
                said = {path: self.model[path] for path in self.was if path in self.model}
                super().submit(f"foreign-{self.requests}", "update-model", patch=self.was)
                reply = self._written(name, kind, ids, args)
                super().submit(f"foreign-{self.requests}", "update-model", patch=said)
                return reply
        return self._written(name, kind, ids, args)

    @property
    def was(self) -> dict[str, Any]:
        """What the model said before the rollout."""
        return dict(self.plan.resolved.reverse) if self.plan is not None else {}

    def _written(self, name: str, kind: str, ids: tuple[str, ...], args: dict[str, Any]) -> Reply:
        before, attempts = self.serves(), {one.id: one.attempt for one in self.vms.values()}
        plan = self.plan
        right = frozenset(one.id for one in self.vms.values() if at_target(plan, self, one)) if plan else frozenset()
        total, stay = len(self.vms), self._stay()
        reply = super().submit(name, kind, ids, **args)
        if name.startswith("foreign"):
            self.less += len(stay - self._stay())
        started = tuple(one.id for one in self.vms.values() if one.attempt > attempts.get(one.id, 0))
        effects = {name: self.vms[name].effect for name in started}
        in_vain = tuple(name for name, one in effects.items() if one is not None and one.error and not one.dead)
        done = Done(
            self.now,
            name,
            kind,
            ids,
            args,
            reply.kind,
            before,
            self.serves(),
            right,
            started,
            total,
            in_vain,
            self.less,
        )
        self.log.append(done)
        return reply

    def _stay(self) -> set[str]:
        """The VMs that nobody is deleting."""
        return {one.id for one in self.vms.values() if one.provisioning != "deleting"}

    def serves(self) -> frozenset[str]:
        """The VMs that serve now."""
        return frozenset(one.id for one in self.vms.values() if self.serving(one))

    def started(self, name: str, kinds: tuple[str, ...] = ()) -> int:
        """How many operations really began on a VM."""
        return sum(name in one.started for one in self.log if not kinds or one.kind in kinds)

    def in_order_of_birth(self) -> WatchedWorld:
        """Itself: whoever is added has the luck of a slot of its own, the next one. Else it has that of somebody who is there and stale when it is
        asked for, and who is there depends on when that is: a rollout that somebody was away from would meet another luck, and the two of them could
        not be held to the same end.
        """
        self.owners.clear()
        return self


def world_image(reference: ImageReference | None) -> Image | None:
    if reference is None:
        return None
    return Image(
        publisher=reference.publisher,
        offer=reference.offer,
        sku=reference.sku,
        version=reference.version,
        exact=reference.exact_version,
        id=reference.id,
        uri=reference.uri,
    )


def fault(verdict: str, number: int, **more: Any) -> Fault:
    """A verdict on one operation, by its number."""
    return Fault(verdict=verdict, first=number, last=number, **more)


def world(
    fleet: ScaleSet,
    *,
    timings: Timings = QUICK,
    failures: Failures | None = None,
    faults: tuple[Fault, ...] = (),
    luck: Draws | None = None,
    **more: Any,
) -> WatchedWorld:
    """The world that shows `fleet`. failures: by default what `luck` chose, and nothing else."""
    model = fleet.model
    wire: dict[str, Any] = dict(model.settings)
    if model.image is not None and model.image.uri:
        wire[URI] = model.image.uri
    elif model.image is not None:
        wire |= {IMAGE + name: getattr(model.image, name) for name in ("publisher", "offer", "sku", "version", "id")}
    machines = tuple(
        Machine(
            id=one.id,
            vm_id=one.vm_id,
            image=world_image(one.image),
            zone=one.zone,
            update_domain=one.update_domain,
            fault_domain=one.fault_domain,
            latest=one.latest_model is not False,
            power=one.power.value,
            health=one.health.value,
            protected=one.protected,
            os_disk=f"{one.id}-os-",
        )
        for one in sorted(fleet.instances.values(), key=lambda one: id_key(one.id))  # so that the slot is the number
    )
    if failures is None:
        chosen = isinstance(luck, Luck)
        failures = Failures(
            upgrade=0.5 if chosen and luck.fails else 0.0, bad_share=0.5 if chosen and luck.bad else 0.0
        )
    config = WorldConfig(
        name=model.name,
        machines=machines,
        model=wire,
        timings=timings,
        failures=failures,
        mode=model.mode.value,
        health=model.health_source.value,
        repairs=Repairs(enabled=bool(model.repairs)),
        rolling=WorldPolicy(
            **{
                name.replace("pause_between_batches_ms", "pause_ms"): getattr(model.rolling, name)
                for name in (model.rolling.__struct_fields__ if model.rolling else ())
            }
        ),
        latest=OLD,
        flexible=model.orchestration is Orchestration.FLEXIBLE,
        **more,
    )
    return WatchedWorld(config, luck or Luck(len(machines)), faults)


# -- runs --------------------------------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """An operator says something at a time."""

    at: int
    asked: Asked
    ids: tuple[str, ...] = ()


class Act(NamedTuple):
    """Somebody else does something to the world at a time: a request of the world's own kinds, or `change`."""

    at: int
    kind: str
    ids: tuple[str, ...] = ()
    args: dict[str, Any] = {}  # noqa: RUF012  # a tuple's default, never written to
    change: Callable[[World], None] | None = None


class Run(NamedTuple):
    """A run that has come to rest."""

    plan: Plan
    world: WatchedWorld
    journal: Journal
    driver: Driver

    @property
    def state(self) -> State:
        """The last State."""
        return self.driver.state

    def turns(self) -> list[TurnRecord]:
        """The turns' records."""
        return [one for one in self.journal.records() if isinstance(one, TurnRecord)]

    def rules(self) -> list[str]:
        """The rules of all notes, in order."""
        return [note.rule for one in self.turns() for note in one.notes]

    def commands(self) -> dict[str, tuple[Command, State]]:
        """What we decided to send, by id, with the State it was sent in."""
        return {one.id: (one, record.state) for record in self.turns() for one in record.commands}

    def sent(self, *kinds: str) -> list[Done]:
        """Our requests that reached the world, of these kinds (none given: all)."""
        return [one for one in self.world.log if one.ours and (not kinds or one.kind in kinds)]


def drive(
    plan: Plan,
    place: WatchedWorld,
    fleet: ScaleSet,
    *,
    asks: tuple[Ask, ...] = (),
    acts: tuple[Act, ...] = (),
    journal: Journal | None = None,
    rollout: Rollout | None = None,
    poll_ms: int = 0,
    most_turns: int = 3000,
) -> Run:
    """The driver's own loop, with operators and others at their times. Fails where a wait would not let time pass."""
    journal = journal or MemoryJournal()
    place.plan = plan
    for one in acts:
        at(place, one.at, one)
    backend = SimulatedBackend(place, fleet, poll_ms=poll_ms)
    driver = Driver(rollout or Rollout(plan), backend, journal)
    due = sorted(asks, key=lambda one: one.at)
    for _ in range(most_turns):
        while due and due[0].at <= place.now:
            say(journal, due.pop(0))
        wait = driver.turn()
        if wait is None:
            break
        assert wait.until_ms is None or wait.until_ms > place.now, f"a wake-up in the past: {wait}"
        until = wait.until_ms
        if due:
            until = due[0].at if until is None else min(until, due[0].at)
        if not backend.wait(Wait(until_ms=until, awaiting=wait.awaiting, watch=wait.watch)):
            break
    else:
        raise AssertionError(f"no end after {most_turns} turns: {driver.state}")
    return Run(plan, place, journal, driver)


def say(journal: Journal, one: Ask) -> None:
    """An operator says it now."""
    journal.ask(one.asked, one.ids)


def at(place: World, when: int, one: Act) -> None:
    """Somebody else does it then: in the world's own time, nobody is told."""
    if when <= place.now:
        act(place, one)
    else:
        place.env.timeout(when - place.now).callbacks.append(lambda _event: act(place, one))


def act(place: World, one: Act) -> None:
    """Somebody else does it now."""
    if one.change is not None:
        one.change(place)
    else:
        place.submit(f"foreign-{place.requests}", one.kind, one.ids, **one.args)


def others_act(vm_id: str, **fields: Any) -> Callable[[World], None]:
    """A change of a VM's own fields, by somebody else (protection, say)."""

    def change(place: World) -> None:
        if vm_id in place.vms:
            for name, value in fields.items():
                setattr(place.vms[vm_id], name, value)
            place.dirty[vm_id] = None

    return change


class Twice(Rollout):
    """A rollout that decides every step a second time, from everything and without a view: both must agree."""

    def step(self, state: State, observation: Observation, view: View | None = None) -> Step:
        """The step, if it is the same either way."""
        made = super().step(state, observation, view)
        whole = super().step(state, msgspec.structs.replace(observation, changed=None), None)
        for name in ("state", "commands", "wake_at_ms", "awaiting", "watch"):
            one, two = getattr(made, name), getattr(whole, name)
            assert one == two, f"{name}: from what changed {one}, from everything {two}"
        return made


@contextlib.contextmanager
def recorded_moves() -> Iterator[list[tuple[Phase, Cause, Phase]]]:
    """Every move of a phase while this lasts."""
    moves: list[tuple[Phase, Cause, Phase]] = []

    def watched(phase: Phase, cause: Cause) -> Phase:
        after = move(phase, cause)
        moves.append((phase, cause, after))
        return after

    modules = (turn, setlevel, back, batches)
    for module in modules:
        module.move = watched
    try:
        yield moves
    finally:
        for module in modules:
            module.move = move


# -- cases -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Case(_Spelled):
    """A rollout with everything that happens to it."""

    fleet: Fleet = Fleet()
    change: Change = ImageChange(version=NEW)  # noqa: RUF009  # frozen
    action: Action | None = None
    strategy: str = "one-by-one"
    parameters: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    ladder: tuple[Rung, ...] | None = None
    timings: str = "quick"
    fails: dict[int, tuple[int, ...]] = field(default_factory=dict)
    becomes: str = "dead"
    bad: tuple[int, ...] = ()
    bad_after_ms: int = 0
    mttf_s: int | None = None
    background_becomes: str = "repaired"
    faults: tuple[Fault, ...] = ()
    asks: tuple[Ask, ...] = ()
    acts: tuple[Act, ...] = ()
    poll_ms: int = 0
    restart_on_delta: bool = True
    platform: Platform = Platform()  # noqa: RUF009  # frozen
    odd: dict[int, str] = field(default_factory=dict)

    def plan(self) -> Plan:
        """Raises InputError where the request cannot be carried out."""
        made = build(
            Request(
                scale_set=self.fleet.scale_set(),
                change=self.change,
                action=self.action,
                strategy=self.strategy,
                parameters=self.parameters,
                **self.more,
            )
        )
        if self.ladder is not None:
            made = msgspec.structs.replace(made, failures=msgspec.structs.replace(made.failures, ladder=self.ladder))
        return made

    def world(self) -> WatchedWorld:
        """A world of its own."""
        made = world(
            self.fleet.scale_set(),
            timings=QUICK if self.timings == "quick" else PERFECT,
            failures=Failures(
                upgrade=0.5 if self.fails else 0.0,
                becomes=self.becomes,
                bad_share=0.5 if self.bad else 0.0,
                bad_after_ms=self.bad_after_ms,
                mttf_ms=None if self.mttf_s is None else self.mttf_s * 1000.0,
                mttr=Constant(seconds=120),
                background_becomes=self.background_becomes,
            ),
            faults=self.faults,
            luck=Luck(self.fleet.size, self.fails, self.bad),
            restart_on_delta=self.restart_on_delta,
            platform=self.platform,
        )
        made.odd = self.odd
        return made

    def run(self, *, twice: bool = False, **more: Any) -> Run:
        """To the end."""
        plan = self.plan()
        return drive(
            plan,
            self.world(),
            self.fleet.scale_set(),
            asks=self.asks,
            acts=self.acts,
            poll_ms=self.poll_ms,
            rollout=Twice(plan) if twice else None,
            **more,
        )

    def but(self, **changes: Any) -> Case:
        """The same, with changes."""
        return replace(self, **changes)


# -- ground truth ------------------------------------------------------------------------------------------------------


def at_target(plan: Plan, place: World, vm: Vm) -> bool:
    """Is this VM where the change wanted it, by what it really runs?"""
    change, action = plan.resolved.change, plan.resolved.action
    place.state(vm)  # settles what an operation has left behind
    match change:
        case ImageChange():
            right = vm.image is not None and vm.image.exact == change.version
        case ImageIdChange():
            right = vm.image is not None and vm.image.id == change.id
        case ImageUriChange():
            right = vm.image is not None and vm.image.uri == change.uri
        case Refresh():
            right = vm.image is not None and vm.image.exact == change.exact_version
        case GuestPatch():
            return plan.resolved.target.run_command in vm.commands
        case CurrentModel():
            right = vm.image == place.model_image or action is Action.RESTART
        case PropertyChange():
            right = True
    if action in (Action.UPGRADE, Action.UPGRADE_THEN_REIMAGE):
        right = right and place.is_latest(vm)
    return right


def as_before(plan: Plan, place: World, vm: Vm) -> bool:
    """Does this VM run again what it ran before?"""
    place.state(vm)
    if isinstance(plan.resolved.change, GuestPatch):
        forward = plan.resolved.target.run_command
        return forward not in vm.commands or f"{forward}-undo" in vm.commands
    now, first = vm.image, vm.first_image
    assert now is not None
    assert first is not None
    return (now.exact, now.id, now.uri) == (first.exact, first.id, first.uri)


# -- generators --------------------------------------------------------------------------------------------------------


def _members(draw: st.DrawFn, size: int, most: int) -> tuple[int, ...]:
    if not draw(st.booleans()):
        return ()
    return tuple(sorted(draw(st.sets(st.integers(0, size - 1), max_size=min(most, size)))))


@st.composite
def fleets(draw: st.DrawFn, most: int = 8, **fixed: Any) -> Fleet:
    """Scale sets of 1 to `most` instances."""
    size = draw(st.integers(1, most))
    made: dict[str, Any] = {
        "size": size,
        "update_domains": draw(st.integers(0, 5)),
        "fault_domains": draw(st.integers(0, 3)),
        "zones": draw(st.sampled_from((0, 0, 2, 3))),
        "source": draw(st.sampled_from((HealthSource.EXTENSION, HealthSource.EXTENSION, HealthSource.NONE))),
        "mode": draw(st.sampled_from((UpgradeMode.MANUAL, UpgradeMode.MANUAL, *UpgradeMode))),
        "image": draw(st.sampled_from(("platform", "platform", "latest", "id", "uri"))),
        "sick": _members(draw, size, 2),
        "unknown": _members(draw, size, 1),
        "protected": _members(draw, size, 1),
        "older": _members(draw, size, 2),
        "ahead": _members(draw, size, 2),
        "repairs": draw(st.booleans()),
    }
    if made["mode"] is UpgradeMode.ROLLING:
        made["rolling"] = RollingPolicy(
            max_batch_percent=draw(st.sampled_from((20, 50, 100))),
            max_unhealthy_percent=draw(st.sampled_from((20, 100))),
            max_unhealthy_upgraded_percent=draw(st.sampled_from((0, 20, 100))),
            pause_between_batches_ms=draw(st.sampled_from((0, 30_000))),
        )
    made.update(fixed)
    if made["image"] in ("id", "uri"):
        made["older"] = ()  # what a VM of these ran before cannot be asked for by version
    return Fleet(**made)


def scale_sets(most: int = 8, **fixed: Any) -> st.SearchStrategy[ScaleSet]:
    """Snapshots of such fleets."""
    return fleets(most, **fixed).map(Fleet.scale_set)


UPGRADES = (Action.UPGRADE, Action.REIMAGE, Action.UPGRADE_THEN_REIMAGE)


def fitting(fleet: Fleet) -> list[tuple[Change, Action]]:
    """Every change that fits this fleet, with every action that fits the change."""
    made: list[tuple[Change, Action]] = []
    image_change: Change = ImageChange(version=NEW)
    if fleet.image == "id":
        image_change = ImageIdChange(id=str(image(NEW, "id").id))
    elif fleet.image == "uri":
        image_change = ImageUriChange(uri=str(image(NEW, "uri").uri))
    made += [(image_change, action) for action in UPGRADES]
    made += [(PropertyChange(path=SETTING, value="new"), action) for action in (*UPGRADES, Action.RESTART)]
    made.append((PropertyChange(path=OS_PROFILE, value="new"), Action.UPGRADE_THEN_REIMAGE))
    made.append((GuestPatch(script="patch", undo="undo"), Action.RUN_COMMAND))
    if fleet.image == "platform":
        made += [(CurrentModel(), action) for action in (*UPGRADES, Action.RESTART)]
    if fleet.image == "latest":
        made.append((Refresh(exact_version=NEW), Action.REIMAGE))
    return made


@st.composite
def strategies(
    draw: st.DrawFn, fleet: Fleet, *, platform: bool = True, only: str | None = None
) -> tuple[str, dict[str, Any]]:
    """A strategy and its parameters; some do not fit the fleet, which `build` says. only: this one."""
    names = ["one-by-one", "per-ud", "per-fd", "per-zone", "batch", "ramp", "selected", "surge"]
    if not fleet.zones:
        names.remove("per-zone")
    if not fleet.update_domains:
        names.remove("per-ud")
    if not fleet.fault_domains:
        names.remove("per-fd")
    if platform:
        names += ["automatic", "platform-rolling"]
    name = only or draw(st.sampled_from(names))
    amounts = st.one_of(st.integers(1, fleet.size), st.sampled_from(("10%", "20%", "34%", "50%", "100%")))
    made: dict[str, Any] = {}
    if name == "batch":
        made = {
            "size": draw(amounts),
            "order": draw(st.sampled_from(("domain", "placement"))),
            "within": draw(st.sampled_from(("none", "update-domain", "fault-domain", "zone"))),
        }
    elif name == "ramp":
        made = {
            "start": draw(st.integers(1, 3)),
            "factor": draw(st.integers(1, 3)),
            "cap": draw(amounts),
            "canary": draw(st.sampled_from((0, 0, 1, 2, "20%"))),
            "zones": draw(st.booleans()),
        }
    elif name == "selected":
        made = {
            "ids": [str(one) for one in draw(st.lists(st.integers(0, fleet.size - 1), unique=True, max_size=5))],
            "size": draw(amounts),
        }
    elif name == "platform-rolling":
        made = {"grace_ms": draw(st.sampled_from((0, 60_000, 600_000)))}
    elif name == "surge":
        made = {"size": draw(amounts), "fallback": draw(st.sampled_from(("in-place", "stop")))}
        if draw(st.booleans()):
            made["in_place_floor"] = draw(st.integers(0, fleet.size - 1))
    if draw(st.booleans()):
        made["fit"] = True
    if draw(st.booleans()):
        made["unhealthy_first"] = True
    return name, made


def faults() -> st.SearchStrategy[Fault]:
    """One verdict on one or a few operations."""
    return st.builds(
        lambda verdict, first, more, delay, of, codes: Fault(
            verdict=verdict,
            first=first,
            last=first + more,
            of=of,
            code={"refuse": codes[0], "fail": codes[1]}.get(verdict, ""),
            delay_ms=delay if verdict == "delay" else 0,
            retry_after_ms=7_000 if verdict == "refuse" and delay % 2 else None,
        ),
        st.sampled_from(("delay", "fail", "refuse", "lose-reply", "lose-request", "hang")),
        st.integers(1, 12),
        st.integers(0, 2),
        st.integers(1_000, 600_000),
        st.sampled_from(("", "", "upgrade", "set-capacity", "delete", "cancel-rolling-upgrade")),
        st.sampled_from((("Conflict", "InternalExecutionError"), ("QuotaExceeded", "AllocationFailed"))),
    )


def asks(fleet: Fleet, kinds: tuple[Asked, ...] = tuple(Asked)) -> st.SearchStrategy[Ask]:
    """An operator's request within the first half hour."""
    ids = st.lists(st.integers(0, fleet.size).map(str), max_size=2, unique=True).map(tuple)
    return st.builds(
        lambda at, asked, names: Ask(at * 1000, asked, names if asked in (Asked.SKIP, Asked.RETRY) else ()),
        st.integers(0, 1800),
        st.sampled_from(kinds),
        ids,
    )


def acts(fleet: Fleet) -> st.SearchStrategy[Act]:
    """Something that somebody else does within the first half hour."""
    ids = st.integers(0, fleet.size).map(lambda number: (str(number),))
    return st.builds(
        lambda at, what: what._replace(at=at * 1000),
        st.integers(0, 1800),
        st.one_of(
            st.integers(0, fleet.size + 2).map(lambda count: Act(0, "set-capacity", (), {"capacity": count})),
            st.builds(lambda kind, names: Act(0, kind, names), st.sampled_from(("upgrade", "restart", "reimage")), ids),
            ids.map(lambda names: Act(0, "delete", names)),
            st.sampled_from(tuple(UpgradeMode)).map(lambda mode: Act(0, "set-mode", (), {"mode": mode.value})),
            st.sampled_from((OLD, NEW, "3.0.0")).map(
                lambda version: Act(0, "update-model", (), {"patch": {IMAGE + "version": version}})
            ),
            ids.map(lambda names: Act(0, "protect", (), {}, others_act(names[0], protected=True))),
        ),
    )


@st.composite
def cases(
    draw: st.DrawFn,
    most: int = 6,
    trouble: tuple[str, ...] = (),
    platform: bool = True,
    only: str | None = None,
    **fixed: Any,
) -> Case:
    """Rollouts. trouble: any of `fails`, `bad`, `flap`, `background`, `faults`, `asks`, `acts`."""
    fleet = draw(fleets(most, **fixed))
    change, action = draw(st.sampled_from(fitting(fleet)))
    if isinstance(change, CurrentModel):
        fleet = replace(fleet, model=NEW)
    elif isinstance(change, PropertyChange) and fleet.image == "latest":
        fleet = replace(fleet, older=(), ahead=())  # nobody can say what an upgrade makes of these
    name, parameters = draw(strategies(fleet, platform=platform, only=only))
    parameters["max_failed"] = draw(st.integers(0, 2))
    parameters["retries"] = draw(st.integers(0, 2))
    parameters["on_failure"] = draw(st.sampled_from(("stop", "rollback-batch", "rollback-all", "pause")))
    for key, chosen in (("soak_ms", 45_000), ("pause_ms", 30_000), ("approve", True)):
        if draw(st.integers(0, 3)) == 0:
            parameters[key] = chosen
    more: dict[str, Any] = {"new_instances": draw(st.sampled_from(("append", "append", "leave", "stop")))}
    if draw(st.booleans()):
        more["floor"] = draw(st.integers(0, fleet.size - 1))
    if draw(st.integers(0, 3)) == 0:
        more["drop"] = draw(st.integers(0, 2))
    if draw(st.integers(0, 3)) == 0:
        more["deadlines"] = Deadlines(rollout_ms=draw(st.integers(1, 60)) * MINUTE)
    rungs = (Rung.UPGRADE, Rung.REIMAGE, Rung.REPLACE)
    ladder = draw(st.one_of(st.none(), st.lists(st.sampled_from(rungs), max_size=2).map(tuple)))
    made: dict[str, Any] = {"timings": draw(st.sampled_from(("quick", "perfect")))}
    if "fails" in trouble:
        attempts = st.sets(st.integers(1, 4), min_size=1).map(lambda found: tuple(sorted(found)))
        added = name == "surge" or Rung.REPLACE in (ladder or ())
        made["fails"] = draw(st.dictionaries(st.integers(0, fleet.size * (1 + added) - 1), attempts, max_size=3))
        made["becomes"] = draw(st.sampled_from(("dead", "old-image")))
    if "bad" in trouble:
        made["bad"] = _members(draw, fleet.size, 2)
        made["bad_after_ms"] = draw(st.sampled_from((0, 0, 20_000))) if "flap" in trouble else 0
    if "background" in trouble:
        made["mttf_s"] = draw(st.sampled_from((None, 600, 3600)))
        made["background_becomes"] = draw(st.sampled_from(("repaired", "old-image")))
    if "faults" in trouble:
        made["faults"] = tuple(draw(st.lists(faults(), max_size=3)))
    if "odd" in trouble:
        made["odd"] = draw(st.dictionaries(st.integers(1, 5), st.sampled_from(("fewer", "more", "old")), max_size=3))
    if "asks" in trouble:
        made["asks"] = tuple(draw(st.lists(asks(fleet), max_size=4)))
    if "acts" in trouble:
        made["acts"] = tuple(draw(st.lists(acts(fleet), max_size=3)))
    return Case(
        fleet=fleet,
        change=change,
        action=action,
        strategy=name,
        parameters=parameters,
        more=more,
        ladder=None if ladder is None else (*ladder, Rung.QUARANTINE),
        poll_ms=draw(st.sampled_from((0, 0, 10_000))),
        restart_on_delta=draw(st.booleans()),
        **made,
    )


def plan_or_none(case: Case) -> Plan | None:
    """The plan; None where the request cannot be carried out as it stands."""
    try:
        return case.plan()
    except InputError:
        return None
