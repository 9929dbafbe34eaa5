"""What moved while nobody looked: told, instance by instance, to who goes on with a rollout."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Event
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.protocol import Seen
from planner.buckets import Memory
from planner.build import Request, build
from planner.change import PropertyChange
from planner.drift import Absorb, model_differences
from planner.errors import InputError, PlatformError
from planner.model import AutomaticRepairs, Health, HealthSource, ScaleSet, UpgradeMode
from planner.moved import Moved, moved
from planner.rollout import Rollout, State, Substitutes, Surge
from planner.trace import Found
from tests.commands import vmss_sim
from tests.fleet import NEW, OLD, Act, Case, Fleet, act, examples, image, others_act
from tests.test_apply import Desk, desk
from vmss_sim.report import plans
from vmss_sim.report.console import out as _out
from vmss_sim.world.scale_set import World

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=6), parameters={"approve": True}, more={"floor": 3})


def found(here: Desk) -> list[Moved]:
    records = here.store.journal(here.rollout).records()
    return [one for record in records if isinstance(record, Found) for one in record.moved]


def rested(desk: Callable[[Case], Desk], case: Case = CASE) -> Desk:
    """One batch is done, the next waits for its approval."""
    here = desk(case)
    assert here.run("apply").status == 3
    assert found(here) == []
    return here


def meanwhile(here: Desk, *acts: Act) -> None:
    for one in acts:
        act(here.world, one)
    here.world.run(here.world.now + 300_000, stop_on_wake=False)


def other_vm(name: str) -> Act:
    """Its id names another VM by now, on the old image."""

    def change(place: World) -> None:
        vm = place.vms[name]
        vm.machine = msgspec.structs.replace(vm.machine, vm_id="somebody-else-s")
        vm.vm_id = "somebody-else-s"
        place.dirty[name] = None

    return Act(0, "replaced", change=change)


def test_what_moved_is_told_per_instance_with_its_rule(desk: Callable[[Case], Desk]) -> None:
    here = rested(desk)
    order = [name for batch in here.plan.batches for name in batch.take]
    gone, theirs, other, shielded = order[1:5]
    meanwhile(
        here,
        Act(0, "delete", (gone,)),
        Act(0, "upgrade", (theirs,)),
        other_vm(other),
        Act(0, "protect", change=others_act(shielded, protected=True)),
    )
    meanwhile(here, Act(0, "set-capacity", args={"capacity": 7}))
    assert here.run("approve", here.rollout).status == 0
    ran = here.run("resume", "--yes")
    told = [" ".join(line.split()) for line in ran.out.splitlines()]
    for line in (
        f"adapt vanished instance {gone}: gone (was present): leaves its batch",
        f"note at-target instance {theirs}: Canonical:ubuntu:22_04:{NEW} (was Canonical:ubuntu:22_04:{OLD}): somebody else moved it: skipped",
        f"adapt replaced instance {other}: VM somebody-else-s (was VM vm-{other}): appended: moved after the batches",
        f"adapt protected instance {shielded}: protected (was not protected): leaves its batch",
        "adapt new instance 6: present (was not there): it is at the target: nothing is to be done",
        "note capacity capacity: 7 (was 6): the floor follows the number of instances",
    ):
        assert line in told, (line, ran.out)
    assert any(line.startswith("What moved since the last look, ") for line in told)
    kinds = [(one.kind, one.id) for one in found(here)]
    assert ("vanished", gone) in kinds
    assert len(kinds) == len(set(kinds)), "each once"


def test_a_model_that_somebody_changed_stops_it_and_is_told_so(desk: Callable[[Case], Desk]) -> None:
    here = rested(desk)
    meanwhile(here, Act(0, "set-mode", args={"mode": "rolling"}))
    ran = here.run("resume", "--yes")
    assert ran.status == 1
    assert "stop mode upgradePolicy.mode: rolling (was manual): the rollout stops" in " ".join(ran.out.split())
    assert here.state.ending == "drift"


@pytest.mark.parametrize(
    ("since", "what"),
    [
        ({"sku": "Standard_D4s_v5"}, "sku.name"),
        ({"repairs": AutomaticRepairs(enabled=True)}, "automaticRepairsPolicy"),
    ],
)
def test_what_stops_it_is_not_told_once_more_as_what_it_goes_on_with(since: dict[str, Any], what: str) -> None:
    plan = CASE.plan()
    plan = msgspec.structs.replace(plan, scale_set=msgspec.structs.replace(plan.scale_set, sku="Standard_D2s_v5"))
    rollout, before = Rollout(plan), CASE.fleet.scale_set()
    before = msgspec.structs.replace(before, model=msgspec.structs.replace(before.model, sku="Standard_D2s_v5"))
    now = msgspec.structs.replace(before, model=msgspec.structs.replace(before.model, **since))
    told = moved(rollout, rollout.start(), before, now)
    assert [(one.what, one.verdict) for one in told] == [(what, Absorb.REFUSE)]


@pytest.mark.parametrize(
    ("path", "value"),
    [("sku.name", "Standard_D4s_v5"), ("sku.Name", "Standard_D4s_v5"), ("sku", {"name": "Standard_D4s_v5"})],
)
def test_a_rollout_that_changes_the_size_does_not_stop_at_its_own_change(path: str, value: Any) -> None:
    shown = CASE.fleet.scale_set()
    old = {"name": "Standard_D2s_v5"} if path == "sku" else "Standard_D2s_v5"
    saw = msgspec.structs.replace(
        shown, model=msgspec.structs.replace(shown.model, sku="Standard_D2s_v5", settings={path: old})
    )
    plan = build(Request(scale_set=saw, change=PropertyChange(path=path, value=value), strategy="one-by-one"))
    given_ = msgspec.structs.replace(saw.model, sku="Standard_D4s_v5", settings={path: value})
    rollout = Rollout(plan)
    state = rollout.start()
    assert not model_differences(
        plan, given_, modes=rollout.modes(state), images=rollout.images(state), says=rollout.says(state)
    )


def test_json_has_all_of_it_and_the_screen_what_fits(desk: Callable[[Case], Desk]) -> None:
    case = CASE.but(fleet=Fleet(size=40), more={"floor": 3})
    here = rested(desk, case)
    others = tuple(name for batch in here.plan.batches[1:] for name in batch.take)[:30]
    for name in others:
        meanwhile(here, Act(0, "upgrade", (name,)))
    with_json = here.run("resume", "--yes", "--log-format", "json", "--max-runtime", "0s")
    lines = [json.loads(line) for line in with_json.out.splitlines()]
    told = [one for one in lines if one["event"] == "moved"]
    assert sorted(one["instance"] for one in told) == sorted(others)
    assert {(one["rule"], one["verdict"]) for one in told} == {("at-target", "note")}
    assert len(found(here)) == 30


def test_the_list_is_bounded_to_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    made = [
        Moved(kind="new", what=f"instance {n}", found="present", before="not there", verdict=Absorb.ABSORB,
              does="appended: moved after the batches", id=str(n))
        for n in range(300)
    ]  # fmt: skip
    plans.since(_out(), Found(now_ms=100_000, since_ms=0, moved=tuple(made)), "`vmss-sim trace web-1`")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert "300 adapt" in lines[0]
    assert "and 280 more: `vmss-sim trace web-1` has all" in lines[-1]


def test_nothing_moved_is_said_too(desk: Callable[[Case], Desk]) -> None:
    here = rested(desk)
    ran = here.run("resume", "--yes", "--max-runtime", "0s")
    assert "nothing moved since the last look" in ran.out
    assert found(here) == []


def test_what_our_own_operation_did_is_no_surprise(desk: Callable[[Case], Desk]) -> None:
    """Broken off at every point of the rollout, with nobody else about: nothing is told to have moved."""
    here = desk(Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)))
    status = here.run("apply", "--max-runtime", "0s").status
    for _ in range(100):
        if status != 3:
            break
        here.world.run(here.world.now + 7_000, stop_on_wake=False)
        status = here.run("resume", "--yes", "--max-runtime", "0s").status
    assert status == 0
    assert here.state.ending == "finish"
    assert found(here) == []


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Somebody at a terminal, and what they are asked."""

    def answers(yes: bool) -> list[str]:
        asked: list[str] = []

        def confirm(text: str, **_: object) -> bool:
            asked.append(text)
            return yes

        monkeypatch.setattr("vmss_sim.cli.operating.refuse_unasked", lambda: None)
        monkeypatch.setattr("typer.confirm", confirm)
        return asked

    return answers


@pytest.mark.parametrize("command", ["resume", "abort", "rollback", "apply"])
def test_who_is_asked_is_told_before(
    desk: Callable[[Case], Desk], person: Callable[[bool], list[str]], command: str
) -> None:
    here = rested(desk)
    meanwhile(here, Act(0, "delete", ("3",)))
    asked = person(False)
    ran = vmss_sim("apply", str(here.file), "--stay") if command == "apply" else vmss_sim(command)
    assert ran.status == 2
    assert "vanished" in ran.out
    assert len(asked) == 1
    assert found(here) == [], "nobody goes on yet"


class Mute:
    """A set that does not answer, or answers too late."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.asked = error, Event()

    def observe(self) -> Seen:
        if self.error is not None:
            raise self.error
        self.asked.wait(60)
        raise PlatformError("Unreachable", "too late")


OUTAGES = {
    "refused": (PlatformError("Unreachable", "nobody answers"), "Unreachable: nobody answers"),
    "no token": (InputError("no token", "credential", "none"), "credential: no token"),
    "late": (None, "nobody answered for 0 s"),
}


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("command", ["resume", "abort", "rollback"])
def test_an_outage_is_told_and_the_question_comes_all_the_same(
    desk: Callable[[Case], Desk],
    person: Callable[[bool], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    outage: str,
) -> None:
    here = rested(desk)
    error, text = OUTAGES[outage]
    mute = Mute(error)
    if outage == "late":
        monkeypatch.setattr("vmss_sim.cli.operating.LOOK_S", 0.2)
    monkeypatch.setattr("backends.connect.open_backend", lambda *_: mute)
    asked = person(False)
    ran = vmss_sim(command, here.rollout)
    mute.asked.set()
    assert ran.status == 2
    assert f"what moved since the last look cannot be told: {text}" in ran.err
    assert len(asked) == 1


@pytest.mark.parametrize("command", ["abort", "rollback"])
def test_what_is_asked_for_in_an_outage_is_kept(
    desk: Callable[[Case], Desk], person: Callable[[bool], list[str]], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As with --yes: whoever goes on hears it."""
    here = rested(desk)
    monkeypatch.setattr("backends.connect.open_backend", lambda *_: Mute(PlatformError("Unreachable", "nobody")))
    person(True)
    ran = vmss_sim(command, here.rollout)
    assert ran.status == 3
    assert [one.asked.value for one in here.store.journal(here.rollout).requests(here.state.request)] == [command]


@pytest.mark.parametrize("command", ["resume", "abort", "rollback"])
def test_where_nobody_can_be_asked_nothing_is_looked_at(desk: Callable[[Case], Desk], command: str) -> None:
    here = rested(desk)
    opened = here.opened
    ran = vmss_sim(command, here.rollout)
    assert ran.status == 2
    assert "--yes, to say that you are sure" in ran.err
    assert here.opened == opened


# -- the function itself -----------------------------------------------------------------------------------------------


@examples(60)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(("gone", "vm", "image", "protected", "health", "zone"))),
        max_size=8,
    ),
    back=st.booleans(),
)
def test_whatever_differs_is_told_and_nothing_else(changes: list[tuple[int, str]], back: bool) -> None:
    fleet = Fleet(size=6)
    before, rollout = fleet.scale_set(), Rollout(CASE.plan())
    fields: dict[str, dict[str, Any]] = {
        "vm": {"vm_id": "another"}, "image": {"image": image("1.5.0")}, "protected": {"protected": True},
        "health": {"health": Health.UNHEALTHY}, "zone": {"zone": "3"},
    }  # fmt: skip
    instances = dict(before.instances)
    for number, what in changes:
        if what == "gone":
            instances.pop(str(number), None)
        elif str(number) in instances:
            instances[str(number)] = msgspec.structs.replace(instances[str(number)], **fields[what])
    now = msgspec.structs.replace(before, instances=instances)
    told = {one.id for one in moved(rollout, State(back=back), before, now)}
    assert told == {name for name, one in before.instances.items() if instances.get(name) != one}
    assert moved(rollout, State(back=back), now, now) == ()


@pytest.mark.parametrize(
    ("policy", "does"), [("append", "appended"), ("leave", "left as it is"), ("stop", "the rollout stops")]
)
def test_what_is_new_is_told_by_the_plans_policy(policy: str, does: str) -> None:
    case = CASE.but(more={"floor": 3, "new_instances": policy})
    before, after = Fleet(size=6).scale_set(), Fleet(size=7).scale_set()
    (one,) = [one for one in moved(Rollout(case.plan()), State(), before, after) if one.id]
    assert one.does.startswith(does)
    assert (one.verdict is Absorb.REFUSE) is (policy == "stop")


def test_settings_are_told_as_deep_as_they_differ() -> None:
    before = Fleet(size=2, repairs=True, source=HealthSource.EXTENSION).scale_set()
    assert before.model.repairs is not None
    repairs = msgspec.structs.replace(before.model.repairs, enabled=False)
    after = msgspec.structs.replace(before, model=msgspec.structs.replace(before.model, repairs=repairs, sku="B2"))
    told = [(one.kind, one.what, one.found, one.before) for one in moved(Rollout(CASE.plan()), State(), before, after)]
    assert told == [("setting", "repairs.enabled", "False", "True"), ("setting", "sku", "B2", "None")]


def test_what_our_own_operation_leads_to_later_is_no_surprise() -> None:
    """It ended, and what it did shows only now: an instance at the target, another in the place of one, one that a surge added."""
    rollout, before = Rollout(CASE.but(more={"floor": 3, "new_instances": "stop"}).plan()), Fleet(size=6).scale_set()
    instances = {**before.instances, "2": msgspec.structs.replace(before.instances["2"], image=image(NEW))}
    there = msgspec.structs.replace(before, instances=instances)
    assert [one.kind for one in moved(rollout, State(), before, there)] == ["at-target"], "of somebody else it is told"
    assert moved(rollout, State(memory={"2": Memory(stage=1, ended_ms=5)}), before, there) == ()
    for wrong in (Memory(ended_ms=5, failed="OSProvisioningTimedOut"), Memory(ended_ms=5, quarantined="never-healthy")):
        assert [one.kind for one in moved(rollout, State(memory={"2": wrong}), before, there)] == ["at-target"], wrong
    seven = Fleet(size=7).scale_set()
    more = msgspec.structs.replace(before, instances=seven.instances)
    assert [one.verdict for one in moved(rollout, State(), before, more)] == [Absorb.REFUSE]
    assert moved(rollout, State(surge=Surge(wanted=1, ended_ms=5)), before, more) == ()
    assert moved(rollout, State(substitutes=Substitutes(wanted=1)), before, more) == ()


def upgraded(before: ScaleSet) -> ScaleSet:
    """Instance 2 shows the target now, and serves."""
    one = msgspec.structs.replace(before.instances["2"], image=image(NEW), health=Health.HEALTHY)
    return msgspec.structs.replace(before, instances={**before.instances, "2": one})


@pytest.mark.parametrize("why", ["OSProvisioningTimedOut", "never-healthy"])
@pytest.mark.parametrize("field", ["failed", "quarantined"])
def test_one_that_failed_and_was_repaired_by_somebody_is_told(why: str, field: str) -> None:
    memory = msgspec.structs.replace(Memory(ended_ms=5), **{field: why})
    rollout, before = Rollout(CASE.plan()), Fleet(size=6, sick=(2,)).scale_set()
    told = moved(rollout, State(memory={"2": memory}), before, upgraded(before))
    assert {(one.kind, one.does) for one in told} == {
        ("at-target", "somebody else moved it: skipped"),
        ("health", "it counts again"),
    }


@pytest.mark.parametrize("why", ["result-missing", "OutcomeUnknown"])
@pytest.mark.parametrize("field", ["failed", "quarantined"])
def test_what_may_be_the_result_of_our_own_operation_is_nobody_elses(why: str, field: str) -> None:
    memory = msgspec.structs.replace(Memory(ended_ms=5), **{field: why})
    rollout, before = Rollout(CASE.plan()), Fleet(size=6).scale_set()
    assert moved(rollout, State(memory={"2": memory}), before, upgraded(before)) == ()
