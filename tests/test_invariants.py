"""Every invariant has a planted bug that trips it, by name; a sound command trips none; and the guard fails closed.

Method: one sound moment of a rollout (the first upgrade command of six instances, three domains), and for each invariant
the smallest thing that could have gone wrong: in the command, in what the machine remembers, in the set, or in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from backends import guard
from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.simulated import SimulatedBackend
from planner import invariants
from planner.buckets import Memory
from planner.build import Request, build
from planner.change import ImageChange
from planner.commands import Command, Kind
from planner.errors import InvariantViolated
from planner.invariants import ALL, Invariant, Sent, check
from planner.model import Health, Provisioning, ScaleSet, UpgradeMode
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Rollout, State, Surge, Ticket
from planner.surge import FallBack
from planner.trace import Refusal
from tests.fleet import NEW, Case, Fleet, image, world

replace = msgspec.structs.replace


class Moment(NamedTuple):
    """All that a check is given."""

    plan: Plan
    state: State
    scale_set: ScaleSet
    command: Command
    in_flight: dict[str, Sent]

    def violations(self) -> dict[str, str]:
        """Invariant to its first sentence."""
        found = check(Rollout(self.plan), self.state, self.scale_set, self.command, self.in_flight, 1_000)
        return {one.invariant: one.text for one in reversed(found)}


def sound() -> Moment:
    """The first domain is to be upgraded; the model says the target already, no instance has it."""
    before = Fleet(size=6).scale_set()
    plan = build(Request(scale_set=before, change=ImageChange(version=NEW), strategy="per-ud"))
    after = Fleet(size=6, model=NEW).scale_set()
    command = Command(id="c2", kind=Kind.UPGRADE, why="", ids=plan.batches[0].take, batch=0)
    return Moment(plan, State(phase=Phase.ROLLING, started_ms=0), after, command, {})


def instance(moment: Moment, name: str, **fields: Any) -> Moment:
    """The same with one instance differing."""
    instances = {**moment.scale_set.instances, name: replace(moment.scale_set.instances[name], **fields)}
    return moment._replace(scale_set=replace(moment.scale_set, instances=instances))


def command(moment: Moment, **fields: Any) -> Moment:
    """The same with another command."""
    return moment._replace(command=replace(moment.command, **fields))


def model(moment: Moment, **fields: Any) -> Moment:
    """The same with another model."""
    return moment._replace(scale_set=replace(moment.scale_set, model=replace(moment.scale_set.model, **fields)))


def another_in_flight(moment: Moment) -> Moment:
    return moment._replace(in_flight={"c1": Sent(Command(id="c1", kind=Kind.UPGRADE, why="", ids=("1",), batch=1), 0)})


def sick(moment: Moment, *names: str) -> Moment:
    for name in names:
        moment = instance(moment, name, health=Health.UNHEALTHY)
    return moment


def named_set(moment: Moment) -> Moment:
    seen = replace(moment.plan.scale_set, unique_id="one")
    return model(moment._replace(plan=replace(moment.plan, scale_set=seen)), unique_id="two")


def surging(moment: Moment) -> Moment:
    """The same as a surge by two: 6 and 7 were added on the new model and serve, 0 and 3 may go."""
    before = Fleet(size=6).scale_set()
    plan = build(Request(scale_set=before, change=ImageChange(version=NEW), strategy="surge", parameters={"size": 2}))
    after = Fleet(size=8, model=NEW, ahead=(6, 7)).scale_set()
    state = State(phase=Phase.ROLLING, started_ms=0, surge=Surge(fresh={"6": "vm-6", "7": "vm-7"}))
    return removes(Moment(plan, state, after, moment.command, {}), "0", "3")


def handed(moment: Moment) -> Moment:
    """The same in mode Rolling, about to be handed over to the platform's policy."""
    before = Fleet(size=6, mode=UpgradeMode.ROLLING).scale_set()
    plan = build(Request(scale_set=before, change=ImageChange(version=NEW), strategy="platform-rolling"))
    update = Command(id="c1", kind=Kind.UPDATE_MODEL, why="", patch=plan.resolved.patch)
    return Moment(plan, State(started_ms=0), before, update, {})


def finishing(moment: Moment) -> Moment:
    """The same when the end state is being made."""
    return moment._replace(state=replace(moment.state, phase=Phase.FINISHING))


def cancels(moment: Moment, *, in_flight: bool = True) -> Moment:
    """What was handed over is in flight, and is cancelled."""
    sent = moment.command
    state = replace(moment.state, ticket=Ticket(command=sent, sent_ms=0)) if in_flight else moment.state
    flying = {sent.id: Sent(sent, 0)} if in_flight else {}
    moment = moment._replace(state=state, in_flight=flying)
    return command(moment, id="c2", kind=Kind.CANCEL_ROLLING, patch={})


def removes(moment: Moment, *names: str) -> Moment:
    """These are to be deleted in exchange."""
    gone = {name: moment.scale_set.instances[name].vm_id for name in names}
    state = replace(moment.state, surge=replace(moment.state.surge, removed=gone))
    return command(moment._replace(state=state), kind=Kind.DELETE, ids=names, batch=0)


PLANTED: dict[str, tuple[str, Callable[[Moment], Moment]]] = {
    "floor": ("would leave 3 instances in service, the floor is 4", lambda m: sick(m, "1")),
    "one-operation": ("upgrade (c1) is still in flight", another_in_flight),
    "explicit-ids": ("names no instances, which the platform reads as all of them", lambda m: command(m, ids=())),
    "planned-only": (
        "instance 3 stands in no batch of the plan",
        lambda m: m._replace(plan=replace(m.plan, batches=(replace(m.plan.batches[0], take=("0",)),))),
    ),
    "one-batch": ("instance 1 is not in batch 1", lambda m: command(m, ids=("0", "1"))),
    "protected": ("instance 0 is protected", lambda m: instance(m, "0", protected=True)),
    "same-set": ("the set's identity is two, the plan is for one", named_set),
    "same-vm": ("instance 0 is another VM (vm-9) than the plan saw (vm-0)", lambda m: instance(m, "0", vm_id="vm-9")),
    "not-current": (
        "instance 0 is at the target and serves",
        lambda m: instance(m, "0", image=image(NEW), latest_model=True),
    ),
    "not-busy": (
        "another operation on instance 0 is running (updating)",
        lambda m: instance(m, "0", provisioning=Provisioning.UPDATING),
    ),
    "mode": (
        "a model update on a set in mode rolling would let the platform move instances",
        lambda m: model(
            command(m, kind=Kind.UPDATE_MODEL, ids=(), batch=None, patch=m.plan.resolved.patch),
            mode=UpgradeMode.ROLLING,
        ),
    ),
    "vetted-change": (
        "is neither the vetted change nor its reverse",
        lambda m: command(m, kind=Kind.UPDATE_MODEL, ids=(), batch=None, patch={"properties.overprovision": False}),
    ),
    "model-first": ("the model says", lambda m: model(m, image=image("1.0.0", booted=False))),
    "bounded-attempts": (
        "instance 0 has been tried 3 times, the ladder has 2 rungs",
        lambda m: m._replace(state=replace(m.state, memory={"0": Memory(attempts=3)})),
    ),
    "moving-phase": ("upgrade in phase finishing", lambda m: m._replace(state=replace(m.state, phase=Phase.FINISHING))),
    "way-back": (
        "what instance 0 goes back to is not pinned",
        lambda m: m._replace(
            plan=replace(
                m.plan,
                scale_set=replace(
                    m.plan.scale_set, instances={k: v for k, v in m.plan.scale_set.instances.items() if k != "0"}
                ),
            )
        ),
    ),
}
PLANTED |= {
    "capacity": (
        "capacity 7 is less than the 8 instances there are: the platform would choose which go",
        lambda m: command(surging(m), kind=Kind.SET_CAPACITY, ids=(), capacity=7),
    ),
    "exchange": (
        "3 instances would go, and 2 were added in their place",
        lambda m: removes(surging(m), "0", "3", "1"),
    ),
    "in-place": (
        "upgrade in place, and the plan's fall-back is stop",
        lambda m: command(surging(m), kind=Kind.UPGRADE),
    ),
    "cancel": ("nothing of ours is in flight that it could cancel", lambda m: cancels(handed(m), in_flight=False)),
    "os-upgrade": (
        "the plan does not say that the platform upgrades the OS",
        lambda m: command(handed(m), kind=Kind.START_OS_UPGRADE, ids=(), batch=None),
    ),
}
MORE: dict[str, tuple[str, str, Callable[[Moment], Moment]]] = {
    "everything at once": ("floor", "would leave 0 instances in service", lambda m: command(m, ids=("*",))),
    "an id twice": ("explicit-ids", "instance 0 is named twice", lambda m: command(m, ids=("0", "0"))),
    "an id that is not there": ("explicit-ids", "instance 77 does not exist", lambda m: command(m, ids=("77",))),
    "a batch that is not there": ("one-batch", "there is no batch 10", lambda m: command(m, batch=9)),
    "no batch": ("one-batch", "upgrade belongs to no batch", lambda m: command(m, batch=None)),
    "two in flight count as down": ("floor", "would leave 3 instances in service", another_in_flight),
    "a model put back where the platform moves": (
        "mode",
        "a model update on a set in mode rolling would let the platform move instances",
        lambda m: finishing(command(handed(m), patch=handed(m).plan.resolved.reverse)),
    ),
    "a mode nobody vetted yet": (
        "mode",
        "mode manual is neither the plan's nor the one found",
        lambda m: command(handed(m), kind=Kind.SET_MODE, patch={}, mode=UpgradeMode.MANUAL),
    ),
    "a mode nobody vetted": (
        "mode",
        "mode rolling is neither the plan's nor the one found",
        lambda m: command(m, kind=Kind.SET_MODE, ids=(), batch=None, mode=UpgradeMode.ROLLING),
    ),
    "a version nobody vetted": (
        "vetted-change",
        "version 6.6.6 is neither the target nor what the instance ran before",
        lambda m: command(m, kind=Kind.REIMAGE, exact_version="6.6.6"),
    ),
    "another resource": ("same-set", "the plan is for", lambda m: model(m, id="/subscriptions/x")),
}


MORE |= {
    "an addition beyond the batch": (
        "capacity",
        "3 instances would be added, 0 are vetted",
        lambda m: command(surging(m), kind=Kind.SET_CAPACITY, ids=(), capacity=11),
    ),
    "below what the set is told to have": (
        "capacity",
        "capacity 9 is less than the 12 instances there are",
        lambda m: model(command(surging(m), kind=Kind.SET_CAPACITY, ids=(), capacity=9), capacity=12),
    ),
    "what is taken before the others serve": (
        "floor",
        "would leave 5 instances in service, the floor is 6",
        lambda m: sick(surging(m), "6"),
    ),
    "one of a surge that was not added": (
        "planned-only",
        "instance 9 stands in no batch of the plan",
        lambda m: command(surging(m), ids=("9",)),
    ),
    "an addition that replaces none goes, but no more than that": (
        "moving-phase",
        "delete in phase finishing",
        lambda m: over(m, "6", "7", "0"),
    ),
    "an addition that has another VM by now": (
        "same-vm",
        "instance 6 is another VM (vm-x) than the plan saw (vm-6)",
        lambda m: instance(command(surging(m), ids=("6",)), "6", vm_id="vm-x"),
    ),
    "a hand-over that the floor does not allow": (
        "floor",
        "would leave 4 instances in service, the floor is 5",
        lambda m: sick(handed(m), "5"),
    ),
    "cancelled twice": (
        "cancel",
        "it is being cancelled already",
        lambda m: another_cancel(cancels(handed(m))),
    ),
    "a rollout that was not handed over is cancelled": (
        "cancel",
        "there is no rollout of the platform that this plan handed over",
        lambda m: command(m, kind=Kind.CANCEL_ROLLING, ids=(), batch=None),
    ),
    "another command beside what was handed over": (
        "one-operation",
        "update-model (c1) is still in flight",
        lambda m: command(cancels(handed(m)), kind=Kind.SET_MODE, mode=UpgradeMode.ROLLING),
    ),
    "in place where nothing was refused": (
        "in-place",
        "upgrade in place, and nothing was refused",
        lambda m: declared(command(surging(m), kind=Kind.UPGRADE)),
    ),
    "in place below the floor for that": (
        "floor",
        "would leave 3 instances in service, the floor is 4",
        lambda m: sick(refused(command(surging(m), kind=Kind.UPGRADE)), "1", "2", "4"),
    ),
}


def another_cancel(moment: Moment) -> Moment:
    sent = Command(id="c9", kind=Kind.CANCEL_ROLLING, why="")
    return moment._replace(in_flight={**moment.in_flight, "c9": Sent(sent, 0)})


def over(moment: Moment, *names: str) -> Moment:
    """While it ends, these are deleted."""
    moment = removes(surging(moment), *names)
    return command(moment._replace(state=replace(moment.state, phase=Phase.FINISHING)), batch=None)


def declared(moment: Moment) -> Moment:
    """The plan's fall-back is in-place."""
    assert moment.plan.surge is not None
    return moment._replace(plan=replace(moment.plan, surge=replace(moment.plan.surge, fallback=FallBack.IN_PLACE)))


def refused(moment: Moment) -> Moment:
    """And nothing could be added."""
    moment = declared(moment)
    return moment._replace(state=replace(moment.state, surge=replace(moment.state.surge, in_place=True, removed={})))


@pytest.mark.parametrize(
    "moment",
    [
        handed(sound()),
        cancels(handed(sound())),
        surging(sound()),
        over(sound(), "6", "7"),
        refused(command(surging(sound()), kind=Kind.UPGRADE)),
        command(surging(sound()), kind=Kind.SET_CAPACITY, ids=(), capacity=8),
    ],
    ids=[
        "handed over",
        "cancelled",
        "in exchange",
        "what replaces none, at the end",
        "in place after a refusal",
        "a capacity that is there",
    ],
)
def test_a_sound_command_of_a_surge_or_a_hand_over_violates_nothing(moment: Moment) -> None:
    assert moment.violations() == {}


def test_every_invariant_has_its_planted_bug() -> None:
    assert list(PLANTED) == [one.name for one in ALL]
    assert all(one.why for one in ALL)


def test_a_sound_command_violates_nothing() -> None:
    assert sound().violations() == {}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_trips_its_invariant(name: str) -> None:
    says, plant = PLANTED[name]
    violations = plant(sound()).violations()
    assert name in violations, violations
    assert says in violations[name]


@pytest.mark.parametrize("what", MORE)
def test_more_planted_bugs(what: str) -> None:
    name, says, plant = MORE[what]
    assert says in plant(sound()).violations().get(name, ""), plant(sound()).violations()


def test_all_violations_are_told_not_only_the_first() -> None:
    moment = command(instance(sick(sound(), "1", "2"), "0", protected=True), batch=1)
    assert {"floor", "protected", "one-batch"} <= set(moment.violations())


@pytest.mark.parametrize("name", [one.name for one in ALL])
def test_without_its_invariant_the_planted_bug_would_pass_under_that_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariants, "ALL", tuple(one for one in ALL if one.name != name))
    assert name not in PLANTED[name][1](sound()).violations()


# -- the guard -------------------------------------------------------------------------------------------------------------


def _driver(fleet: Fleet) -> tuple[Driver, MemoryJournal, Any]:
    case = Case(fleet=fleet, strategy="per-ud")
    place = world(fleet.scale_set())
    journal = MemoryJournal()
    return Driver(Rollout(case.plan()), SimulatedBackend(place, fleet.scale_set()), journal), journal, place


def test_the_guard_stops_the_driver_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    never = Invariant(
        "never", "a test", lambda context: ["no upgrades today"] if context.command.kind is Kind.UPGRADE else []
    )
    monkeypatch.setattr(invariants, "ALL", (*ALL, never))
    driver, journal, place = _driver(Fleet(size=6))
    with pytest.raises(InvariantViolated, match="never: no upgrades today"):
        driver.run()
    assert [one.kind for one in place.operations.values()] == ["update-model"]
    last = list(journal.records())[-1]
    assert isinstance(last, Refusal)
    assert last.violations[0].invariant == "never"


def test_a_check_that_breaks_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_context: Any) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(invariants, "ALL", (*ALL, Invariant("broken", "a test", broken)))
    driver, _, place = _driver(Fleet(size=6))
    with pytest.raises(InvariantViolated, match="a check broke"):
        driver.run()
    assert not place.operations


def test_the_guard_has_no_way_to_be_switched_off() -> None:
    assert guard.judge.__code__.co_varnames[: guard.judge.__code__.co_argcount] == (
        "rollout",
        "step",
        "scale_set",
        "in_flight",
        "now_ms",
    )
