"""What operators may ask beside pause and abort: replace an instance, undo temporary changes without going on."""

from __future__ import annotations

import pytest

from planner.commands import Command, Kind
from planner.invariants import ALL, Context
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.rollout import Asked, Rollout, State, Substitutes
from planner.trace import replay
from tests.fleet import NEW, OLD, Act, Ask, Case, Fleet, fault, others_act
from vmss_sim.world.faults import Fault

REPAIRED = Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)
SECOND = 100_000
"""Now the second of three instances is being upgraded."""


def sent(run: object, *kinds: str) -> list[str]:
    return [one.kind for one in run.sent(*kinds)]  # type: ignore[attr-defined]


SET = ("set-mode", "suspend-repairs", "resume-repairs")


def test_release_while_paused_undoes_repairs_and_leaves_the_rest() -> None:
    run = Case(fleet=REPAIRED, asks=(Ask(SECOND, Asked.PAUSE), Ask(400_000, Asked.RELEASE))).run()
    assert run.state.phase is Phase.PAUSED
    assert not run.state.releasing
    assert not run.world.repairs_suspended
    assert run.world.mode == "manual", "one instance is stale: mode rolling would move it"
    assert run.rules().count("mode-kept") == 1
    assert sent(run, *SET) == ["suspend-repairs", "set-mode", "resume-repairs"]


def test_release_brings_the_mode_back_where_nothing_is_stale() -> None:
    """The last batch waits for an approval, and somebody else upgraded it meanwhile."""
    fleet = Fleet(size=2, mode=UpgradeMode.ROLLING)
    case = Case(fleet=fleet, parameters={"approve": True}, asks=(Ask(500_000, Asked.RELEASE),))
    run = case.but(acts=(Act(300_000, "upgrade", ("1",)),)).run()
    assert run.state.phase is Phase.PAUSED
    assert run.world.mode == "rolling"


@pytest.mark.parametrize("after", [Asked.RESUME, Asked.ROLLBACK])
def test_what_was_released_is_held_again_before_anything_moves(after: Asked) -> None:
    asks = (Ask(SECOND, Asked.PAUSE), Ask(400_000, Asked.RELEASE), Ask(500_000, after))
    run = Case(fleet=REPAIRED, asks=asks).run()
    assert run.state.ending == ("finish" if after is Asked.RESUME else "rollback"), run.state.reason
    moved = [one for one in run.world.log if one.kind == "upgrade" and one.now > 500_000]
    held = [one.now for one in run.sent("suspend-repairs")]
    assert len(held) == 2
    assert moved
    assert held[1] < moved[0].now
    assert not run.world.repairs_suspended
    assert run.world.mode == "rolling"
    if after is Asked.RESUME:
        assert [name for one in run.sent("upgrade") for name in one.ids] == ["0", "1", "2"], "no batch twice"


def test_release_is_refused_while_something_moves() -> None:
    run = Case(fleet=REPAIRED, asks=(Ask(SECOND, Asked.RELEASE),)).run()
    assert run.state.ending == "finish"
    assert run.rules().count("release-refused") == 1
    assert sent(run, "suspend-repairs") == ["suspend-repairs"]


def test_a_release_that_fails_is_told_and_the_rollout_stays_paused() -> None:
    case = Case(fleet=REPAIRED, asks=(Ask(SECOND, Asked.PAUSE), Ask(400_000, Asked.RELEASE)))
    whole = case.run()
    number = next(i for i, one in enumerate(whole.world.log, 1) if one.kind == "resume-repairs")
    run = case.but(faults=(fault("fail", number),)).run()
    assert run.state.phase is Phase.PAUSED
    assert "release-failed" in run.rules()
    refused = case.but(faults=(Fault(verdict="refuse", first=number, last=999, of="resume-repairs"),)).run()
    assert refused.state.phase is Phase.PAUSED
    assert "release-failed" in refused.rules()


def test_an_instance_that_was_given_up_is_replaced() -> None:
    case = Case(
        fleet=Fleet(size=4),
        parameters={"retries": 0, "max_failed": 1},
        fails={0: (1,)},
        more={"floor": 2},
        asks=(Ask(200_000, Asked.REPLACE, ("0",)),),
    )
    run = case.run()
    assert run.state.ending == "finish", run.state.reason
    assert [one.ids for one in run.sent("delete")] == [("0",)]
    assert len(run.world.vms) == 4
    assert "0" not in run.world.vms
    assert {vm.image.exact or vm.image.version for vm in run.world.vms.values() if vm.image} == {NEW}
    assert len(run.world.serves()) == 4, "it ends when what takes its place serves, and not before"


SICK = Case(
    fleet=Fleet(size=4),
    parameters={"retries": 0, "max_failed": 1, "soak_ms": 600_000},
    fails={0: (1,)},
    more={"floor": 2},
    asks=(Ask(200_000, Asked.REPLACE, ("0",)),),
)
"""The first batch's only instance fails; while its gate soaks it is replaced."""
CAME = "4"


@pytest.mark.parametrize("policy", ["append", "leave", "stop"])
def test_what_takes_its_place_is_waited_for_before_the_next_batch(policy: str) -> None:
    run = SICK.but(more={"floor": 2, "new_instances": policy}).run()
    assert run.state.ending == "finish", run.state.reason
    (claimed,) = [note for one in run.turns() for note in one.notes if note.rule == "replace-claimed"]
    assert claimed.ids == (CAME,)
    taken = run.state.memory[CAME]
    assert taken.done
    (added,) = run.sent("set-capacity")
    later = [one for one in run.sent("upgrade") if one.now > added.now]
    assert len(later) == 3
    assert all(CAME in one.before for one in later), "it serves before another is taken"
    assert len(run.world.serves()) == 4


def test_what_takes_its_place_and_never_serves_has_its_deadline_and_is_given_up() -> None:
    claimed = next(one.now_ms for one in SICK.run().turns() for note in one.notes if note.rule == "replace-claimed")
    never = Act(claimed + 1_000, "never", change=others_act(CAME, serves_from=1 << 60, outages=[[0, 1 << 60]]))
    run = SICK.but(acts=(never,)).run()
    assert run.state.ending == "finish-with-exceptions", run.state.reason
    assert run.state.memory[CAME].quarantined == "never-healthy"
    deadline = run.plan.deadlines.healthy_ms
    (passed,) = [one.now_ms for one in run.turns() for note in one.notes if note.rule == "deadline"]
    assert passed - claimed == deadline


def test_what_took_its_place_goes_back_too() -> None:
    run = SICK.but(asks=(*SICK.asks, Ask(900_000, Asked.ROLLBACK))).run()
    assert run.state.ending == "rollback", run.state.reason
    assert CAME in run.world.vms
    assert {vm.image.exact or vm.image.version for vm in run.world.vms.values() if vm.image} == {OLD}
    assert run.world.started(CAME, ("upgrade",)) == 1


def test_turned_back_while_it_is_made_it_goes_back_all_the_same() -> None:
    asked = next(one.now for one in SICK.run().sent("set-capacity"))
    run = SICK.but(asks=(*SICK.asks, Ask(asked + 1_000, Asked.ROLLBACK))).run()
    assert run.state.ending == "rollback", run.state.reason
    assert {vm.image.exact or vm.image.version for vm in run.world.vms.values() if vm.image} == {OLD}


def test_what_never_comes_fails_as_a_gate_that_does_not_hold() -> None:
    case = SICK.but(odd={1: "fewer"})
    run = case.run()
    assert run.state.ending == "stop"
    assert "did not come" in run.state.reason
    assert run.rules().count("replace-short") == 1


TWO = SICK.but(parameters={"retries": 0, "max_failed": 2, "soak_ms": 600_000}, fails={0: (1,), 2: (1,)})


@pytest.mark.parametrize("asked", [Asked.ROLLBACK, Asked.EMERGENCY])
@pytest.mark.parametrize("odd", ["", "fewer"])
@pytest.mark.parametrize("after", [1_000, 15_000])
def test_a_rollback_does_not_stop_for_what_does_not_come(asked: Asked, odd: str, after: int) -> None:
    """It is asked while the scale-out runs that makes good what was deleted, and which may give none."""
    added = TWO.run().sent("set-capacity")[0].now
    run = TWO.but(asks=(*TWO.asks, Ask(added + after, asked)), odd={1: odd} if odd else {}).run()
    assert run.state.ending == "rollback", run.state.reason
    assert {vm.image.exact or vm.image.version for vm in run.world.vms.values() if vm.image} == {OLD}
    assert len(run.world.vms) == (3 if odd else 4)
    assert run.rules().count("replace-short") == bool(odd)


@pytest.mark.parametrize("asked", [Asked.ROLLBACK, Asked.EMERGENCY])
@pytest.mark.parametrize("verdict", ["fail", "refuse"])
def test_a_rollback_does_not_stop_for_what_cannot_be_made(asked: Asked, verdict: str) -> None:
    """It is asked while the deletion runs: what makes it good is asked for on the way back, and the platform has no room."""
    deleted = TWO.run().sent("delete")[0].now
    full = Fault(verdict=verdict, first=1, last=99, of="set-capacity", code="AllocationFailed")  # type: ignore[arg-type]  # one of the two
    run = TWO.but(asks=(*TWO.asks, Ask(deleted + 1_000, asked)), faults=(full,)).run()
    assert run.state.ending == "rollback", run.state.reason
    assert {vm.image.exact or vm.image.version for vm in run.world.vms.values() if vm.image} == {OLD}
    assert len(run.world.vms) == 3
    assert run.rules().count("replace-short") == 1


def test_somebody_elses_new_instance_is_not_taken_for_it() -> None:
    """Two come: one that was asked for, and a stranger that came before it was."""
    case = SICK.but(acts=(Act(150_000, "set-capacity", args={"capacity": 5}),))
    run = case.run()
    assert run.state.ending == "finish", run.state.reason
    (claimed,) = [note for one in run.turns() for note in one.notes if note.rule == "replace-claimed"]
    assert claimed.ids == ("5",)


@pytest.mark.parametrize(("batch", "bad"), [(0, set()), (1, {"one-batch"})])
def test_the_guard_lets_a_command_touch_it_in_its_batch_only(batch: int, bad: set[str]) -> None:
    plan, seen = SICK.plan(), Fleet(size=5, ahead=(4,), sick=(4,)).scale_set()
    state = State(phase=Phase.ROLLING, batch=batch, appended={CAME: "vm-4"}, substitutes=Substitutes(joined={CAME: 0}))
    command = Command(id="c9", kind=Kind.DELETE, ids=(CAME,), batch=batch, why="")
    context = Context(Rollout(plan), state, seen, command, {}, 0)
    assert {one.name for one in ALL if one.check(context)} == bad


def test_a_replacement_that_is_broken_off_is_gone_on_with() -> None:
    """Stopped and gone on with after every turn it comes to the same end."""
    run = SICK.run()
    states = [state for _, state in replay(Rollout(run.plan), run.turns())]
    assert states[-1] == run.state


def test_replace_costs_budget_like_everything_else() -> None:
    """It serves on the old image, and the floor is what serves: it waits for its turn."""
    case = Case(fleet=Fleet(size=3), more={"floor": 2}, asks=(Ask(SECOND, Asked.REPLACE, ("2",)),))
    run = case.run()
    assert run.state.ending == "finish", run.state.reason
    assert [one.ids for one in run.sent("delete")] == [("2",)]
    assert all(len(one.before) - len(set(one.ids) & one.before) >= 2 for one in run.sent("delete", "upgrade"))


@pytest.mark.parametrize(
    ("case", "ids", "why"),
    [
        (Case(fleet=Fleet(size=3)), (), "no instances"),
        (Case(fleet=Fleet(size=3)), ("9",), "not an instance"),
        (Case(fleet=Fleet(size=2), strategy="surge", parameters={"size": 1}), ("1",), "surge"),
        (Case(fleet=Fleet(size=2), strategy="automatic"), ("1",), "platform"),
    ],
)
def test_what_cannot_be_replaced_is_told(case: Case, ids: tuple[str, ...], why: str) -> None:
    run = case.but(asks=(Ask(20_000, Asked.REPLACE, ids),)).run()
    notes = [note.text for one in run.turns() for note in one.notes if note.rule == "replace-refused"]
    assert len(notes) == 1
    assert why in notes[0]
    assert run.state.ending == "finish"
