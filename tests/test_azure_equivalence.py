"""Decision equivalence: one plan, the same luck, the same polling schedule; the simulated backend, and the Azure backend through the SDK and
the ARM emulator: the same commands, with the same contents, in the same order, at the same times, to the same end.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, note, settings

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.protocol import Backend, Wait
from backends.schedule import ADAPTIVE, Schedule
from backends.simulated import SimulatedBackend
from planner.build import Request, build
from planner.change import Action, GuestPatch, PropertyChange
from planner.commands import Command
from planner.errors import InputError
from planner.model import ScaleSet, UpgradeMode
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, Rollout, State
from planner.trace import Turn
from scenarios import build as scenario_build
from scenarios.build import Setup
from tests.azure_arm import backend as arm_backend
from tests.azure_inprocess import BUNDLED, of_scenario, of_world
from tests.fleet import CHECK, SOAK, Act, Ask, Case, Fleet, at, cases, examples, fault, say
from vmss_sim.study.forecast import as_applied
from vmss_sim.study.replicate import plan_for, run
from vmss_sim.world.scale_set import World

SCENARIOS = sorted(path.stem for path in BUNDLED.glob("*.toml"))
ENOUGH = 3
"""Strategies of a scenario that are tried by default, the first and the last among them; all of them under the profile `soak`."""

LARGE = 500
"""Sets from this size on have one strategy tried, and are not held to the same times."""


class Told(NamedTuple):
    """What a rollout was: commands with their times, and how it ended."""

    commands: tuple[tuple[int, Command], ...]
    state: State

    @property
    def contents(self) -> tuple[Command, ...]:
        return tuple(command for _, command in self.commands)


def drive(
    plan: Plan,
    place: World,
    backend: Backend,
    *,
    asks: tuple[Ask, ...] = (),
    acts: tuple[Act, ...] = (),
    most: int = 3000,
) -> Told:
    """The driver's loop over any backend, with operators and others at their times. `place`: the world behind it."""
    journal = MemoryJournal()
    for one in acts:
        at(place, one.at, one)
    driver = Driver(Rollout(plan), backend, journal)
    due = sorted(asks, key=lambda one: one.at)
    for _ in range(most):
        while due and due[0].at <= place.now:
            say(journal, due.pop(0))
        wait = driver.turn()
        if wait is None:
            break
        until = wait.until_ms
        if due:
            until = due[0].at if until is None else min(until, due[0].at)
        if not backend.wait(Wait(until_ms=until, awaiting=wait.awaiting, watch=wait.watch)):
            if driver.state.phase is not Phase.PAUSED or not driver.state.reason.startswith("approval"):
                break
            journal.ask(Asked.APPROVE)
    else:
        raise AssertionError(f"no end: {driver.state}")
    turns = [record for record in journal.records() if isinstance(record, Turn)]
    return Told(tuple((turn.now_ms, one) for turn in turns for one in turn.commands), driver.state)


def same(simulated: Told, azure: Told, *, times: bool = True) -> None:
    """Commands, contents, order; and, since the schedule is the same, times and the end."""
    assert azure.contents == simulated.contents
    if times:
        assert azure.commands == simulated.commands
    assert (azure.state.phase, azure.state.ending) == (simulated.state.phase, simulated.state.ending)
    assert azure.state.memory.keys() == simulated.state.memory.keys()


def chosen(setup: Setup) -> list[str]:
    labels = [choice.label for choice in setup.choices]
    if setup.total >= LARGE and not SOAK:
        return labels[-1:]
    if SOAK or len(labels) <= ENOUGH:
        return labels
    return [labels[0], labels[len(labels) // 2], labels[-1]]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_bundled_scenario_is_decided_alike(name: str) -> None:
    first, _ = of_scenario(name)
    if first.total >= LARGE and not CHECK:
        pytest.skip("1000 VMs take a minute: HYPOTHESIS_PROFILE=check")
    decided = 0
    for label in chosen(first):
        setup, emulated = of_scenario(name)
        choice = next(one for one in setup.choices if one.label == label)
        snapshot = emulated.backend(watch=tuple(setup.scale_set.model.settings)).snapshot().scale_set
        try:
            plan = plan_for(msgspec.structs.replace(setup, scale_set=snapshot), choice)
        except InputError:  # this strategy does not fit the set, whoever asks
            with pytest.raises(InputError):
                plan_for(setup, choice)
            continue
        poll_ms = setup.poll_ms or 10_000
        world = scenario_build.build_world(setup, 1, 0)
        simulated = drive(plan, world, SimulatedBackend(world, snapshot, poll_ms=poll_ms))
        azure = drive(plan, emulated.one.world, emulated.backend(plan, poll_ms=poll_ms))
        assert azure.commands
        # A large set's list has pages, and their token bucket makes looks later than the schedule would.
        same(simulated, azure, times=setup.total < LARGE)
        emulated.only_what_is_listed()
        decided += 1
    assert decided


@pytest.mark.parametrize("name", ["two-vms", "seed-article", "from-snapshot"])
def test_a_forecast_looks_when_the_executor_does(name: str) -> None:
    """The simulation behind a forecast, and the Azure backend on the schedule it has by itself: the same commands, at the same times."""
    setup, emulated = of_scenario(name)
    snapshot = emulated.backend(watch=tuple(setup.scale_set.model.settings)).snapshot().scale_set
    setup = msgspec.structs.replace(setup, scale_set=snapshot)
    plan = plan_for(setup, setup.choices[-1])
    simulated = run(as_applied(setup), plan, 1, 0)
    assert arm_backend().schedule is ADAPTIVE
    azure = drive(plan, emulated.one.world, emulated.backend(plan, schedule=ADAPTIVE))
    turns = [record for record in simulated.journal.records() if isinstance(record, Turn)]
    assert azure.commands == tuple((turn.now_ms, one) for turn in turns for one in turn.commands) != ()
    assert simulated.state.ending == azure.state.ending
    assert run(setup, plan, 1, 0).ended_ms != simulated.ended_ms, "every 10 s is another story"


def test_a_scenario_that_says_how_often_is_taken_at_its_word() -> None:
    setup = scenario_build.read(BUNDLED / "two-vms.toml")
    assert as_applied(setup).schedule is ADAPTIVE
    assert next(one for one in as_applied(setup).assumptions if one.key == "timing.poll").value.startswith("every 2 s")
    said = msgspec.structs.replace(setup, poll_is_default=False)
    assert as_applied(said) is said


def both(case: Case, poll: int | Schedule) -> tuple[Told, Told] | None:
    """The case through both backends; None where it cannot be planned."""
    schedule = poll if isinstance(poll, Schedule) else Schedule.every(poll)
    place, other = case.world(), case.world()
    emulated = of_world(place, case.fleet.scale_set())
    watch = (case.change.path,) if isinstance(case.change, PropertyChange) else ()
    snapshot = emulated.backend(watch=watch).snapshot().scale_set
    plan = planned(case, snapshot)
    if plan is None:
        return None
    place.plan = other.plan = plan
    azure = drive(plan, place, emulated.backend(plan, schedule=schedule), asks=case.asks, acts=case.acts)
    emulated.only_what_is_listed()
    simulated = drive(plan, other, SimulatedBackend(other, snapshot, schedule=schedule), asks=case.asks, acts=case.acts)
    return simulated, azure


def planned(case: Case, snapshot: ScaleSet) -> Plan | None:
    try:
        made = build(
            Request(
                scale_set=snapshot, change=case.change, action=case.action, strategy=case.strategy,
                parameters=case.parameters, **case.more,
            )
        )  # fmt: skip
    except InputError:
        return None
    if case.ladder is not None:
        made = msgspec.structs.replace(made, failures=msgspec.structs.replace(made.failures, ladder=case.ladder))
    return made


LICENSE = "properties.virtualMachineProfile.licenseType"
TROUBLE = ("fails", "bad", "background", "faults", "asks", "acts")


@settings(examples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(most=5, trouble=TROUBLE))
def test_whatever_happens_is_decided_alike(case: Case) -> None:
    if isinstance(case.change, GuestPatch) and case.faults:
        return  # one request an instance over ARM, one for all in the world: the fault would meet another of them
    if case.fleet.image in ("id", "uri") and any(one.kind == "update-model" for one in case.acts):
        return  # a version beside an id or a uri is no image Azure would take
    found = both(case, 10_000)
    if found is not None:
        for told in found:
            note(str([(when, one.kind.value, one.ids) for when, one in told.commands]))
        same(*found)


CASES: dict[str, Case] = {
    "reimage": Case(action=Action.REIMAGE),
    "a guest patch": Case(change=GuestPatch(script="patch", undo="undo"), strategy="batch", parameters={"size": 3}),
    "a property": Case(change=PropertyChange(path=LICENSE, value="RHEL_BYOS")),
    "a property, taken back": Case(
        change=PropertyChange(path=LICENSE, value="RHEL_BYOS"), asks=(Ask(200_000, Asked.ROLLBACK),)
    ),
    "an automatic set": Case(fleet=Fleet(mode=UpgradeMode.AUTOMATIC, repairs=True), strategy="per-ud"),
    "a lost reply": Case(faults=(fault("lose-reply", 2),)),
    "a lost request": Case(faults=(fault("lose-request", 2),)),
    "an operation that hangs": Case(faults=(fault("hang", 2),)),
    "a refusal": Case(faults=(fault("refuse", 2, code="Conflict", retry_after_ms=7_000),)),
    "one that fails": Case(fails={1: (1,)}, parameters={"retries": 1}),
    "a bad image": Case(bad=(0, 1), parameters={"on_failure": "rollback-all"}),
    "a surge": Case(strategy="surge", parameters={"size": 2}),
    "a colleague's deletion": Case(acts=(Act(90_000, "delete", ("4",)),)),
    "an operator who turns back": Case(asks=(Ask(200_000, Asked.ROLLBACK),)),
    "a pause": Case(asks=(Ask(100_000, Asked.PAUSE), Ask(400_000, Asked.RESUME))),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("poll_ms", [7_000, 30_000])
def test_a_case_is_decided_alike(name: str, poll_ms: int) -> None:
    found = both(CASES[name], poll_ms)
    assert found is not None and found[0].commands
    same(*found)


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_decided_alike_on_the_schedule_that_azure_is_polled_by(name: str) -> None:
    found = both(CASES[name], ADAPTIVE)
    assert found is not None
    same(*found)


def test_a_difference_would_be_seen() -> None:
    """The comparison itself: another luck is another story."""
    one, two = both(Case(fails={1: (1,)}, parameters={"retries": 1}), 10_000), both(Case(), 10_000)
    assert one is not None and two is not None
    with pytest.raises(AssertionError):
        same(one[0], two[1])


def test_a_request_that_is_not_listed_would_be_seen() -> None:
    emulated = of_world(Case().world(), Case().fleet.scale_set())
    place = emulated.backend()
    place.observe()
    emulated.only_what_is_listed()
    place.client.send("virtual_machine_scale_sets.begin_power_off", "rg", "web")
    with pytest.raises(AssertionError, match="poweroff"):
        emulated.only_what_is_listed()
