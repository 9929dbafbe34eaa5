"""What somebody else does while an executor works is noted when it is first seen, once, by the drift table's name; what the rollout does itself never is."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given

from backends import driver
from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.protocol import Seen
from backends.simulated import SimulatedBackend
from planner import moved
from planner.build import Request, build
from planner.change import PropertyChange
from planner.model import ScaleSet, UpgradeMode
from planner.rollout import Asked, Rollout
from planner.trace import Turn, replay
from tests.azure_inprocess import of_scenario
from tests.commands import vmss_sim
from tests.fleet import OLD, Act, Ask, Case, Fleet, Run, act, at, cases, examples, others_act
from tests.test_apply import Desk, desk
from tests.test_rollout_properties import ran
from vmss_sim.study.replicate import plan_for

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=8), more={"floor": 4})


def noted(run: Run) -> list[tuple[str, tuple[str, ...]]]:
    """What was noted of others, in order: rule and instances. The plan's own differences are told in the first turn."""
    return [(note.rule, note.ids) for one in run.turns()[1:] for note in one.notes if note.rule in moved.NOTES]


@given(cases(trouble=("fails", "bad", "flap", "faults", "asks")))
@examples(120)
def test_what_the_rollout_does_itself_is_never_told_as_foreign(case: Case) -> None:
    run = ran(case)
    repaired = {
        name for _, name, _ in run.world.repair_service.log
    }  # the platform's doing, while repairs are not suspended
    for rule, ids in noted(run):
        assert repaired, (rule, ids)
        assert rule in ("drift-vanished", "drift-new", "drift-replaced", "drift-capacity")
        assert rule != "drift-vanished" or set(ids) <= repaired


UPGRADE, GONE, SHIELD = (
    Act(100_000, "upgrade", ("5",)),
    Act(130_000, "delete", ("7",)),
    Act(100_000, "protected", change=others_act("5", protected=True)),
)


@pytest.mark.parametrize(
    ("acts", "told"),
    [
        ((UPGRADE,), [("drift-at-target", ("5",))]),
        ((GONE,), [("drift-vanished", ("7",)), ("drift-capacity", ())]),
        ((SHIELD,), [("drift-protected", ("5",))]),
        ((Act(100_000, "set-capacity", (), {"capacity": 10}),), [("drift-new", ("8", "9")), ("drift-capacity", ())]),
        ((Act(200_000, "reimage", ("0",), {"exact_version": OLD}),), [("drift-reverted", ("0",))]),
        ((Act(100_000, "restart", ("5",)),), []),
    ],
    ids=["upgraded", "deleted", "protected", "more", "old again", "restarted"],
)
@pytest.mark.parametrize("poll_ms", [0, 10_000])
def test_each_is_noted_once(acts: tuple[Act, ...], told: list[tuple[str, tuple[str, ...]]], poll_ms: int) -> None:
    run = CASE.but(acts=acts, poll_ms=poll_ms).run()
    assert sorted(noted(run)) == sorted(told)
    left_out = told[0][0] == "drift-protected" if told else False
    assert run.state.ending == ("finish-with-exceptions" if left_out else "finish")


@pytest.mark.parametrize("ahead", [(), (4,)])
def test_that_the_model_is_applied_may_show_late(ahead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """On its way back it writes the model first: then those it never touched have the latest again, in the next look only."""
    real, shown = SimulatedBackend.observe, list[ScaleSet]()

    def observe(self: SimulatedBackend) -> Seen:
        seen = real(self)
        now = seen.scale_set
        late = bool(shown) and shown[-1].model.image != now.model.image
        shown.append(now)
        if not late:
            return msgspec.structs.replace(seen, changed=None)
        flags = {name: one.latest_model for name, one in shown[-2].instances.items()}
        old = {name: msgspec.structs.replace(one, latest_model=flags.get(name)) for name, one in now.instances.items()}
        return msgspec.structs.replace(seen, scale_set=msgspec.structs.replace(now, instances=old), changed=None)

    monkeypatch.setattr(SimulatedBackend, "observe", observe)
    case = CASE.but(fleet=Fleet(size=8, ahead=ahead), asks=(Ask(400_000, Asked.ROLLBACK),), poll_ms=10_000)
    run = case.run()
    assert (noted(run), run.state.ending) == ([], "rollback")


@pytest.mark.parametrize("poll_ms", [0, 10_000])
def test_an_upgrade_to_the_same_image_is_noted(poll_ms: int) -> None:
    """Nothing but the flag tells that it ended, and that the instance was at work before."""
    change = PropertyChange(path="properties.virtualMachineProfile.licenseType", value="RHEL_BYOS")
    run = CASE.but(change=change, acts=(UPGRADE,), poll_ms=poll_ms).run()
    assert noted(run) == [("drift-at-target", ("5",))]


def test_what_it_means_is_said() -> None:
    run = CASE.but(acts=(UPGRADE, GONE)).run()
    texts = {note.rule: note.text for one in run.turns()[1:] for note in one.notes if note.rule in moved.NOTES}
    assert texts["drift-at-target"].endswith(": somebody else moved it: skipped")
    assert texts["drift-vanished"] == "instance 7: gone (was present): leaves its batch"
    assert texts["drift-capacity"] == "capacity: 7 (was 8): the floor follows the number of instances"


@given(cases(trouble=("fails", "acts", "asks")))
@examples(40)
def test_nothing_is_decided_by_it(case: Case) -> None:
    """And a replay, which looks at the records alone, comes to the same States."""
    run = ran(case)
    for record, state in replay(Rollout(run.plan), run.turns()):
        assert state == record.state
    with pytest.MonkeyPatch.context() as silenced:
        silenced.setattr(driver, "noticed", lambda *_: ())
        silent = case.run()
    assert run.commands() == silent.commands()
    assert run.state == silent.state


def test_planted_what_it_does_itself_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rule of what is its own, the check above trips."""
    monkeypatch.setattr(moved, "_own", lambda *_, **__: False)
    monkeypatch.setattr(moved, "_taken", lambda *_: frozenset())
    cases_ = (
        Case(fleet=Fleet(size=4, mode=UpgradeMode.AUTOMATIC), strategy="automatic"),
        Case(fleet=Fleet(size=4), strategy="surge"),
    )
    assert any(noted(case.run()) for case in cases_)


def test_log_history_and_status_tell_it(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    at(here.world, 100_000, UPGRADE)
    ran_ = here.run("apply", "--log-format", "json")
    assert ran_.status == 0, ran_
    told = [one for one in map(json.loads, ran_.out.splitlines()) if one.get("rule") == "drift-at-target"]
    assert [(one["event"], one["instances"]) for one in told] == [("decision", ["5"])]
    assert "somebody else moved it" in vmss_sim("history", here.rollout, "--format", "md").out
    assert [one["rule"] for one in here.status()["by_others"]] == ["drift-at-target"]
    assert "by others" in vmss_sim("status", here.rollout).out


def test_the_plain_log_tells_it(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    at(here.world, 100_000, GONE)
    ran_ = here.run("apply")
    (line,) = [line for line in ran_.out.splitlines() if "drift-vanished" in line]
    assert "instance 7: gone (was present): leaves its batch" in line


@pytest.mark.parametrize("name", ["seed-article", "surge"])
def test_over_the_azure_backend_nothing_of_its_own(name: str) -> None:
    setup, emulated = of_scenario(name)
    seen = emulated.backend().snapshot().scale_set
    plan = plan_for(msgspec.structs.replace(setup, scale_set=seen), setup.choices[0])
    journal = MemoryJournal()
    Driver(Rollout(plan), emulated.backend(plan), journal).run()
    turns = [one for one in journal.records() if isinstance(one, Turn)]
    assert [note for one in turns[1:] for note in one.notes if note.rule in moved.NOTES] == []


def test_over_the_azure_backend_a_colleague_is_noted() -> None:
    setup, emulated = of_scenario("seed-article")
    seen = emulated.backend().snapshot().scale_set
    plan = build(Request(scale_set=seen, change=setup.change, strategy="one-by-one"))
    backend, journal = emulated.backend(plan), MemoryJournal()
    last, other = plan.batches[-1].take[0], plan.batches[-2].take[0]
    working = Driver(Rollout(plan), backend, journal)
    done = False
    while (wait := working.turn()) is not None:
        if not done and any(one.done for one in working.state.memory.values()):
            act(emulated.one.world, Act(0, "upgrade", (last,)))
            act(emulated.one.world, Act(0, "delete", (other,)))
            done = True
        assert backend.wait(wait)
    turns = [one for one in journal.records() if isinstance(one, Turn)]
    told = [(note.rule, note.ids) for one in turns[1:] for note in one.notes if note.rule in moved.NOTES]
    assert sorted(told) == [("drift-at-target", (last,)), ("drift-capacity", ()), ("drift-vanished", (other,))]
    assert working.state.ending == "finish"
