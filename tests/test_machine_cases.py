"""Single rollouts that say one thing each: what happens when two things come together.

Most of these went wrong once. The properties in `test_rollout_properties.py` cover the ground between them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.protocol import Wait
from backends.simulated import SimulatedBackend
from planner.buckets import Memory
from planner.change import Action, GuestPatch, ImageChange, PropertyChange, Refresh, Target
from planner.commands import Command, Kind, Outcome, Status
from planner.effects import touched
from planner.errors import InputError
from planner.model import HealthSource, UpgradeMode
from planner.phases import Phase
from planner.plan import Deadlines, Rung
from planner.rollout import Asked, Observation, Rollout
from planner.standing import standing
from planner.trace import turn
from tests.fleet import (
    MINUTE,
    NEW,
    OLD,
    SETTING,
    Act,
    Ask,
    Case,
    Fleet,
    Luck,
    as_before,
    at,
    at_target,
    drive,
    fault,
    others_act,
    world,
)
from vmss_sim.world.config import Platform
from vmss_sim.world.scale_set import IMAGE

FIRST = 1_000  # when the first instance is taken: the model update takes a second
PLATFORM_VERSION = IMAGE + "version"


# -- operations of an action, and the ladder ----------------------------------------------------------------------------


def test_upgrade_then_reimage_does_each_once() -> None:
    run = Case(fleet=Fleet(size=2), action=Action.UPGRADE_THEN_REIMAGE).run()
    assert run.state.ending == "finish"
    assert [(one.kind, one.ids) for one in run.sent("upgrade", "reimage")] == [
        ("upgrade", ("0",)),
        ("reimage", ("0",)),
        ("upgrade", ("1",)),
        ("reimage", ("1",)),
    ]


@pytest.mark.parametrize("action", [Action.REIMAGE, Action.RESTART])
def test_a_property_change_that_no_flag_confirms_goes_by_the_operations_result(action: Action) -> None:
    case = Case(fleet=Fleet(size=2), change=PropertyChange(path=SETTING, value="new"), action=action)
    run = case.run()
    assert run.state.ending == "finish"
    assert [one.ids for one in run.sent(action.value)] == [("0",), ("1",)]
    back = case.but(asks=(Ask(run.sent(action.value)[1].now + 1_000, Asked.ROLLBACK),)).run()
    assert back.state.ending == "rollback"
    assert [one.ids for one in back.sent(action.value)] == [("0",), ("1",), ("1",), ("0",)]
    assert back.world.model[SETTING] == "old"


def test_a_reimage_that_failed_is_not_taken_for_done_because_the_upgrade_before_it_was() -> None:
    fleet = Fleet(size=2)
    case = Case(fleet=fleet, action=Action.UPGRADE_THEN_REIMAGE, parameters={"retries": 1}, fails={0: (2,)})
    for becomes in ("dead", "old-image"):
        run = case.but(becomes=becomes).run()
        assert run.state.ending == "finish"
        assert [one.kind for one in run.sent() if one.ids == ("0",)] == ["upgrade", "reimage", "reimage"]


def test_a_refused_rung_is_not_climbed() -> None:
    """The repair meets a 409: it had no effect, so it is what is tried again, not the rung after it."""
    fleet = Fleet(size=1)
    case = Case(
        fleet=fleet,
        ladder=(Rung.REIMAGE, Rung.QUARANTINE),
        fails={0: (1,)},
        faults=(fault("refuse", 3),),
        more={"floor": 0},
    )
    run = case.run()
    assert [(one.kind, one.answer) for one in run.sent()][1:4] == [
        ("upgrade", "accepted"),
        ("reimage", "refused"),
        ("reimage", "accepted"),
    ]
    assert run.state.ending == "finish"


def test_a_repair_that_was_refused_does_not_cost_an_instance_that_is_not_healthy_its_repair() -> None:
    run = Case(
        fleet=Fleet(size=1),
        ladder=(Rung.REIMAGE, Rung.QUARANTINE),
        bad=(0,),
        faults=(fault("refuse", 3),),
        more={"floor": 0},
    ).run()
    assert [one.answer for one in run.sent("reimage")] == ["refused", "accepted"]
    assert run.state.ending == "stop"


def test_a_refresh_is_retried_at_its_exact_version() -> None:
    run = Case(
        fleet=Fleet(size=1, image="latest"),
        change=Refresh(exact_version=NEW),
        ladder=(Rung.REIMAGE, Rung.QUARANTINE),
        fails={0: (1,)},
        more={"floor": 0},
    ).run()
    assert [one.args["exact_version"] for one in run.sent("reimage")] == [NEW, NEW]
    assert run.state.ending == "finish"


def test_a_reimage_is_tried_again_where_the_instance_does_not_get_healthy() -> None:
    run = Case(fleet=Fleet(size=1), action=Action.REIMAGE, bad=(0,), parameters={"retries": 1}, more={"floor": 0}).run()
    assert len(run.sent("reimage")) == 2
    assert run.state.ending == "stop"


def test_an_upgrade_is_not_tried_again_where_it_would_do_nothing() -> None:
    run = Case(fleet=Fleet(size=1), bad=(0,), parameters={"retries": 2}, more={"floor": 0}).run()
    assert len(run.sent("upgrade")) == 1
    assert run.state.ending == "stop"


def test_a_skipped_instance_that_had_been_given_up_is_left_out_once() -> None:
    case = Case(fleet=Fleet(size=3), parameters={"retries": 0, "max_failed": 1}, fails={0: (1,)}, more={"floor": 1})
    run = case.run()
    assert run.state.reason == "1 instance left out: 0"
    later = run.sent("upgrade")[1].now + 1_000
    assert case.but(asks=(Ask(later, Asked.SKIP, ("0",)),)).run().state.reason == "1 instance left out: 0"


# -- operators, while something is in flight ------------------------------------------------------------------------------


def test_rolling_back_an_instance_whose_upgrade_was_still_running() -> None:
    run = Case(fleet=Fleet(size=2), parameters={"retries": 0}, asks=(Ask(FIRST + 5_000, Asked.ROLLBACK),)).run()
    assert run.state.ending == "rollback"
    assert all(as_before(run.plan, run.world, vm) for vm in run.world.vms.values())
    assert len(run.sent("upgrade")) == 2
    assert run.world.serves() == {"0", "1"}


@pytest.mark.parametrize("verdict", ["lose-reply", "lose-request"])
@pytest.mark.parametrize("asked", [Asked.ROLLBACK, Asked.ABORT])
def test_nothing_is_sent_again_after_rollback_or_abort(verdict: str, asked: Asked) -> None:
    run = Case(fleet=Fleet(size=3), faults=(fault(verdict, 2),), asks=(Ask(FIRST + 5_000, asked),), poll_ms=0).run()
    assert run.state.ending == asked.value
    assert run.state.phase is Phase.ENDED
    assert sum(one.kind == "upgrade" and one.now <= FIRST for one in run.sent()) == 1
    upgrades = [one for one in run.sent("upgrade") if one.now > FIRST]
    assert [one.ids for one in upgrades] == ([("0",)] if (verdict, asked) == ("lose-reply", Asked.ROLLBACK) else [])
    assert run.world.model[PLATFORM_VERSION] == OLD


def test_a_model_update_that_was_lost_is_not_sent_again_after_an_abort() -> None:
    case = Case(strategy="automatic", fleet=Fleet(size=3, mode=UpgradeMode.AUTOMATIC))
    run = case.but(faults=(fault("lose-request", 1),), asks=(Ask(5_000, Asked.ABORT),)).run()
    assert [one.kind for one in run.sent()] == ["update-model"]
    assert run.state.ending == "abort"


def restarts(**more: Any) -> Case:
    """Two instances to be restarted together, and nobody says how it ended."""
    return Case(
        fleet=Fleet(size=3),
        change=PropertyChange(path=SETTING, value="new"),
        action=Action.RESTART,
        strategy="batch",
        parameters={"size": 2},
        faults=(fault("lose-reply", 2),),
        **more,
    )


def test_a_restart_whose_outcome_is_not_known_asks_and_comes_to_rest() -> None:
    case = restarts()
    run = case.run()
    assert (run.state.phase, run.state.question) == (Phase.PAUSED, "no-evidence")
    assert [one.ids for one in run.sent("restart")] == [("0", "1")]
    plan = case.plan()
    driver = Driver(Rollout(plan), SimulatedBackend(place := case.world(), case.fleet.scale_set()), MemoryJournal())
    assert driver.run().question == "no-evidence"
    assert place.now < 30 * MINUTE


def test_an_operator_answers_for_the_instances_named_and_no_others() -> None:
    run = restarts(asks=(Ask(2 * MINUTE, Asked.RETRY, ("0",)),)).run()
    assert run.state.question == "no-evidence"
    assert [one.ids for one in run.sent("restart")] == [("0", "1")]
    run = restarts(asks=(Ask(2 * MINUTE, Asked.RETRY, ("0",)), Ask(3 * MINUTE, Asked.SKIP, ("1",)))).run()
    assert run.state.ending == "finish-with-exceptions"
    assert [one.ids for one in run.sent("restart")] == [("0", "1"), ("0",), ("2",)]


@pytest.mark.parametrize("asked", [Asked.ABORT, Asked.ROLLBACK])
def test_abort_and_rollback_answer_a_question(asked: Asked) -> None:
    run = restarts(asks=(Ask(2 * MINUTE, asked),)).run()
    assert (run.state.phase, run.state.ending, run.state.question) == (Phase.ENDED, asked.value, "")


def test_resume_is_no_answer() -> None:
    run = restarts(asks=(Ask(2 * MINUTE, Asked.RESUME),)).run()
    assert (run.state.phase, run.state.question) == (Phase.PAUSED, "no-evidence")
    assert "resumed" not in run.rules()


def test_who_is_tried_again_is_not_counted_as_failed_any_more() -> None:
    """One failure is tolerated. 0 fails, is tried again and does well; then 1 fails."""
    case = Case(
        fleet=Fleet(size=3, update_domains=3),
        parameters={"retries": 0, "max_failed": 1},
        more={"floor": 1},
        fails={0: (1,), 1: (1,)},
        becomes="old-image",
        strategy="batch",
    )
    assert case.but(parameters={**case.parameters, "size": 1}).run().state.ending == "stop"
    run = case.but(parameters={**case.parameters, "size": 1}, asks=(Ask(90_000, Asked.RETRY, ("0",)),)).run()
    assert (run.state.ending, run.state.given_up) == ("finish-with-exceptions", 1)


def test_a_pause_asked_for_while_a_question_is_open_is_kept() -> None:
    run = restarts(asks=(Ask(2 * MINUTE, Asked.PAUSE), Ask(3 * MINUTE, Asked.RETRY))).run()
    assert (run.state.phase, run.state.reason) == (Phase.PAUSED, "paused by an operator")
    run = restarts(
        asks=(Ask(2 * MINUTE, Asked.PAUSE), Ask(3 * MINUTE, Asked.RETRY), Ask(4 * MINUTE, Asked.RESUME))
    ).run()
    assert run.state.ending == "finish"


def test_a_pause_asked_for_while_approval_is_waited_for_is_kept() -> None:
    case = Case(fleet=Fleet(size=2), parameters={"approve": True})
    asks = (Ask(5 * MINUTE, Asked.PAUSE), Ask(6 * MINUTE, Asked.APPROVE))
    run = case.but(asks=asks).run()
    assert (run.state.phase, run.state.reason) == (Phase.PAUSED, "paused by an operator")
    assert len(run.sent("upgrade")) == 1
    assert case.but(asks=(*asks, Ask(7 * MINUTE, Asked.RESUME))).run().state.ending == "finish"


@pytest.mark.parametrize("back", [False, True])
def test_an_instance_that_is_tried_again_after_its_batch_gets_another_turn(back: bool) -> None:
    """Instance 0 fails twice where it should not; by the time somebody asks for it the others are at work."""
    case = Case(fleet=Fleet(size=4), parameters={"retries": 0, "max_failed": 1}, more={"floor": 1}, becomes="old-image")
    if not back:
        run = case.but(fails={0: (1,)}, asks=(Ask(3 * MINUTE, Asked.RETRY, ("0",)),)).run(twice=True)
        assert run.state.ending == "finish"
        assert all(at_target(run.plan, run.world, vm) for vm in run.world.vms.values())
        return
    # forward: 0, 3, 1; back: 1, 3 fails, then 0, then 3 again
    asks = (Ask(170_000, Asked.ROLLBACK), Ask(380_000, Asked.RETRY, ("3",)))
    run = case.but(fails={3: (2,)}, asks=asks).run(twice=True)
    assert run.state.ending == "rollback"
    assert all(as_before(run.plan, run.world, vm) for vm in run.world.vms.values())


# -- waiting ------------------------------------------------------------------------------------------------------------


def test_the_deadline_of_the_rollout_passes_while_an_operation_is_in_flight() -> None:
    run = Case(fleet=Fleet(size=3), more={"deadlines": Deadlines(rollout_ms=FIRST + 90_000)}).run()
    assert run.state.ending == "stop"
    assert run.state.reason == "the rollout's deadline passed"
    assert len(run.sent("upgrade")) == 2
    assert run.journal.turns < 20


def test_an_operation_that_never_ends_is_adopted_and_does_not_stand_in_the_way() -> None:
    run = Case(fleet=Fleet(size=4), more={"floor": 3}, faults=(fault("hang", 2),)).run()
    assert run.state.ending == "finish"
    assert run.world.started("0") == 1


def test_a_pause_ends_a_simulation_though_instances_go_on_failing_by_themselves() -> None:
    case = Case(fleet=Fleet(size=3), parameters={"approve": True}, mttf_s=3600)
    driver = Driver(Rollout(case.plan()), SimulatedBackend(case.world(), case.fleet.scale_set()), MemoryJournal())
    assert driver.run().phase is Phase.PAUSED


def test_waiting_for_nothing_does_not_move_the_clock_to_the_end_of_time() -> None:
    case = Case(fleet=Fleet(size=2), parameters={"approve": True}, bad=(0,), bad_after_ms=20 * MINUTE)
    run = case.but(acts=(Act(90_000, "reimage", ("0",)),)).run()
    assert run.state.phase is Phase.PAUSED
    assert run.world.now < 60 * MINUTE


def test_what_somebody_else_does_to_an_instance_is_waited_for_and_no_longer() -> None:
    run = Case(
        fleet=Fleet(size=2), acts=(Act(FIRST + 30_000, "restart", ("1",)),), change=ImageChange(version=NEW)
    ).run()
    assert run.state.ending == "finish"
    slow = Case(fleet=Fleet(size=2), acts=(Act(500, "reimage", ("0",)),)).run()
    assert slow.state.ending == "finish"
    assert slow.world.now < 10 * MINUTE


def test_a_gate_may_fail_for_gate_ms_also_after_a_long_soak() -> None:
    """Instance 0 is out of service for two minutes, an hour into a soak of two hours."""
    hour = 60 * MINUTE
    run = Case(
        fleet=Fleet(size=2),
        parameters={"soak_ms": 2 * hour},
        acts=(Act(hour, "restart", ("0",)),),
        strategy="one-by-one",
    ).run()
    assert run.state.ending == "finish"
    assert run.world.now > 5 * hour


def test_a_soak_starts_again_after_a_pause() -> None:
    """Nobody watched meanwhile. Instance 0 serves from 81 s."""
    case = Case(fleet=Fleet(size=2), parameters={"soak_ms": 10 * MINUTE})
    run = case.but(asks=(Ask(5 * MINUTE, Asked.PAUSE), Ask(8 * MINUTE, Asked.RESUME))).run(twice=True)
    assert run.sent("upgrade")[1].now == 18 * MINUTE


def test_an_instance_whose_health_is_not_known_costs_budget() -> None:
    """Unknown is not out of service: 3 serve, the floor is 2, so one of 0 and 3 may go, not both."""
    case = Case(fleet=Fleet(size=4, unknown=(0,)), strategy="batch", parameters={"size": 2}, more={"floor": 2})
    assert [one.ids for one in case.run().sent("upgrade")][:1] == [("0",)]


def test_what_is_being_changed_is_told_before_it_shows() -> None:
    """Killed in that moment, the set may stay so: `status` must not say that nothing is changed."""
    fleet = Fleet(size=4, mode=UpgradeMode.ROLLING, repairs=True)
    run = Case(fleet=fleet, strategy="surge", parameters={"size": 2}).run()
    told: dict[Kind, set[str]] = {}
    turns = run.turns()
    for number, one in enumerate(turns, 1):
        stands = standing(run.plan, turns[:number])
        assert stands is not None
        if one.state.ticket is not None:
            told.setdefault(one.state.ticket.command.kind, set()).update(stands.unshown)
        else:
            assert not stands.unshown
    over = "that was sent, and is not over"
    assert {kind: texts for kind, texts in told.items() if texts} == {
        Kind.SET_MODE: {f"the mode may be manual instead of rolling: {over}"},
        Kind.SUSPEND_REPAIRS: {f"automatic repairs may be suspended: {over}"},
        Kind.SET_CAPACITY: {f"the capacity may be 6 instead of 4: {over}"},
    }


def test_a_step_on_the_set_counts_when_the_set_shows_it() -> None:
    case = Case(fleet=Fleet(size=2))
    rollout, fleet = Rollout(case.plan()), case.fleet.scale_set()
    made = rollout.step(rollout.start(), Observation(now_ms=0, scale_set=fleet))
    said = (Outcome(command="c1", status=Status.SUCCEEDED),)
    waiting = rollout.step(made.state, Observation(now_ms=1_000, scale_set=fleet, outcomes=said))
    assert (waiting.commands, waiting.wake_at_ms) == ((), 31_000)
    late = rollout.step(waiting.state, Observation(now_ms=31_000, scale_set=fleet))
    assert late.state.reason == "update-model succeeded, but the set does not show it"
    model = msgspec.structs.replace(fleet.model, image=rollout.plan.resolved.model_image)
    shown = msgspec.structs.replace(fleet, model=model)
    # what nobody can see may still be there: `status` must not say that nothing is changed
    seen = (
        Observation(now_ms=0, scale_set=fleet),
        Observation(now_ms=1_000, scale_set=fleet, outcomes=said),
        Observation(now_ms=31_000, scale_set=fleet),
    )
    steps = (made, waiting, late)
    turns = [turn(i + 1, seen[i], None, steps[i].notes, steps[i].commands, steps[i].state) for i in range(3)]
    stands = standing(rollout.plan, turns)
    assert stands is not None and len(stands.unshown) == 1
    assert stands.unshown[0].startswith("the model may hold another properties.")
    later = turn(4, Observation(now_ms=40_000, scale_set=shown), None, (), (), late.state)
    stands = standing(rollout.plan, [*turns, later])
    assert stands is not None and not stands.unshown, "it was seen after all, and is what the model gives"
    assert [one.ids for one in rollout.step(waiting.state, Observation(now_ms=9_000, scale_set=shown)).commands] == [
        ("0",)
    ]


# -- drift --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (Act(2 * MINUTE, "set-mode", (), {"mode": "automatic"}), "upgradePolicy.mode is automatic"),
        (Act(2 * MINUTE, "update-model", (), {"patch": {PLATFORM_VERSION: OLD}}), "imageReference is"),
        (Act(2 * MINUTE, "update-model", (), {"patch": {PLATFORM_VERSION: "3.0.0"}}), "imageReference is"),
    ],
)
@pytest.mark.parametrize("pause", [True, False])
def test_what_changed_during_a_pause_counts(act: Act, found: str, pause: bool) -> None:
    asks = (Ask(MINUTE, Asked.PAUSE), Ask(5 * MINUTE, Asked.RESUME)) if pause else ()
    run = Case(fleet=Fleet(mode=UpgradeMode.AUTOMATIC), asks=asks, acts=(act,)).run(twice=True)
    assert run.state.ending == "drift"
    assert found in run.state.reason
    assert not any(one.now > 5 * MINUTE for one in run.sent("upgrade"))


def test_a_property_put_back_by_somebody_else_is_drift() -> None:
    run = Case(
        change=PropertyChange(path=SETTING, value="new"),
        acts=(Act(2 * MINUTE, "update-model", (), {"patch": {SETTING: "old"}}),),
    ).run()
    assert run.state.ending == "drift"


def test_a_set_pinned_since_the_plan_is_not_the_set_of_the_plan() -> None:
    """A refresh of a `latest` set goes back to the version it booted, but the model must say `latest` all the way."""
    run = Case(
        fleet=Fleet(size=2, image="latest"),
        change=Refresh(exact_version=NEW),
        acts=(Act(0, "update-model", (), {"patch": {PLATFORM_VERSION: OLD}}),),
    ).run(twice=True)
    assert run.state.ending == "drift"
    assert not run.sent("reimage")


def test_the_rejected_image_coming_back_while_instances_go_back_is_drift() -> None:
    run = Case(
        fleet=Fleet(size=4),
        asks=(Ask(4 * MINUTE, Asked.ROLLBACK),),
        acts=(Act(5 * MINUTE, "update-model", (), {"patch": {PLATFORM_VERSION: NEW}}),),
    ).run(twice=True)
    assert run.state.ending == "drift"


def test_another_set_under_the_same_name_is_left_alone_at_once() -> None:
    case = Case(fleet=Fleet(size=3, repairs=True))
    scale_set = case.fleet.scale_set()
    named = msgspec.structs.replace(scale_set.model, unique_id="one")
    plan = msgspec.structs.replace(
        case.plan(), scale_set=msgspec.structs.replace(case.plan().scale_set, unique_id="one")
    )
    rollout = Rollout(plan)
    first = rollout.step(
        rollout.start(), Observation(now_ms=0, scale_set=msgspec.structs.replace(scale_set, model=named))
    )
    assert [one.kind for one in first.commands] == [Kind.SUSPEND_REPAIRS]
    other = msgspec.structs.replace(scale_set, model=msgspec.structs.replace(scale_set.model, unique_id="two"))
    step = rollout.step(first.state, Observation(now_ms=1_000, scale_set=other))
    assert (step.state.phase, step.state.ending, step.commands) == (Phase.ENDED, "drift", ())
    assert rollout.step(step.state, Observation(now_ms=9_000_000, scale_set=other)).state == step.state


def test_new_instances_are_appended_in_placement_order_whatever_the_snapshot_says_first() -> None:
    case = Case(fleet=Fleet(size=3, update_domains=3), more={"new_instances": "append"})
    rollout = Rollout(case.plan())
    grown = Fleet(size=8, update_domains=3).scale_set()
    before = {name: one for name, one in grown.instances.items() if int(name) < 3}
    start = rollout.step(
        rollout.start(), Observation(now_ms=0, scale_set=msgspec.structs.replace(grown, instances=before))
    )
    made = []
    model = msgspec.structs.replace(grown.model, image=rollout.plan.resolved.model_image)
    for new in (["3", "4", "5", "6", "7"], ["7", "6", "5", "4", "3"]):
        shown = {**before, **{name: grown.instances[name] for name in new}}
        seen = Observation(
            now_ms=1_000,
            scale_set=msgspec.structs.replace(grown, model=model, instances=shown),
            changed=tuple(new),
            outcomes=(Outcome(command="c1", status=Status.SUCCEEDED),),
        )
        for view in (start.view, None):
            made.append(rollout.step(start.state, seen, view).state.queue)
    assert set(made) == {("6", "3", "4", "7", "5")}


def test_an_instance_that_is_new_twice_is_upgraded_once() -> None:
    """4 is added on the old model, removed, and added again under the same id before its turn comes."""

    def add(place: Any) -> None:
        place.submit("foreign", "set-capacity", capacity=len(place.vms) + 1)
        newest = list(place.vms.values())[-1]
        newest.effect, newest.busy_until = None, place.now
        newest.image, newest.content = place.vms["1"].first_image, -1
        newest.power, newest.provisioning = "running", "succeeded"

    def remove(place: Any) -> None:
        place._remove(place.vms[max(place.vms, key=int)])

    acts = (Act(11_000, "", (), {}, add), Act(100_000, "", (), {}, remove), Act(101_000, "", (), {}, add))
    case = Case(fleet=Fleet(size=4), strategy="batch", parameters={"size": 2}, acts=acts)
    run = case.but(platform=Platform(reuse_ids=True)).run(twice=True)
    assert run.state.ending == "finish"
    assert [name for one in run.sent("upgrade") for name in one.ids].count("4") == 1


# -- ends -----------------------------------------------------------------------------------------------------------------


def test_a_stopped_automatic_rollout_puts_mode_and_model_back() -> None:
    run = Case(strategy="automatic", fleet=Fleet(size=3), fails={0: (1,)}).run()
    assert run.state.ending == "stop"
    assert run.world.mode == "manual"
    assert run.world.model[PLATFORM_VERSION] == OLD
    assert [one.kind for one in run.sent()] == ["set-mode", "update-model", "set-mode", "update-model"]
    assert all(vm.attempt == 1 for vm in run.world.vms.values())


def test_what_else_can_be_undone_is_undone_where_one_step_of_the_end_fails() -> None:
    case = Case(fleet=Fleet(size=2, mode=UpgradeMode.AUTOMATIC, repairs=True), asks=(Ask(MINUTE, Asked.ROLLBACK),))
    assert [one.kind for one in case.run().sent()][-2:] == ["set-mode", "resume-repairs"]
    number = len(case.run().sent()) - 1
    run = case.but(faults=(fault("fail", number),)).run()
    assert [one.kind for one in run.sent()][-2:] == ["set-mode", "resume-repairs"]
    assert run.state.ending == "stop"
    assert run.world.repairs_suspended is False


def test_a_finished_rollout_is_not_undone_because_its_last_step_failed() -> None:
    case = Case(fleet=Fleet(size=2, mode=UpgradeMode.AUTOMATIC, repairs=True))
    number = len(case.run().sent())
    run = case.but(faults=tuple(fault("fail", one) for one in (number - 1, number))).run()
    assert run.state.ending == "finish-with-exceptions"
    assert run.world.model[PLATFORM_VERSION] == NEW
    assert all(at_target(run.plan, run.world, vm) for vm in run.world.vms.values())


def test_a_rollout_that_is_ending_is_not_aborted_any_more() -> None:
    case = Case(fleet=Fleet(size=2, mode=UpgradeMode.AUTOMATIC))
    last = case.run().sent("set-mode")[-1].now
    run = case.but(asks=(Ask(last + 500, Asked.ABORT),)).run()
    assert run.state.ending == "finish"
    assert run.world.model[PLATFORM_VERSION] == NEW


def test_trying_an_instance_again_before_it_was_tried_changes_nothing() -> None:
    case = Case(fleet=Fleet(size=2), change=PropertyChange(path=SETTING, value="new"), more={"new_instances": "leave"})
    for asks in ((Ask(0, Asked.RETRY, ("0",)),), (Ask(0, Asked.SKIP, ("0",)), Ask(0, Asked.RETRY, ("0",)))):
        run = case.but(asks=asks).run(twice=True)
        assert run.state.ending == "finish"
        assert all(at_target(run.plan, run.world, vm) for vm in run.world.vms.values())


@pytest.mark.parametrize("asked", [Asked.SKIP, Asked.RETRY, Asked.ROLLBACK])
def test_what_is_left_out_stays_left_out_when_the_rollout_is_ending(asked: Asked) -> None:
    case = Case(
        fleet=Fleet(size=2, repairs=True),
        parameters={"retries": 0, "max_failed": 1},
        fails={0: (1,)},
        more={"floor": 0},
    )
    last = case.run().sent("resume-repairs")[-1].now
    run = case.but(asks=(Ask(last + 500, asked, ("0", "1")),)).run()
    assert (run.state.ending, run.state.reason) == ("finish-with-exceptions", "1 instance left out: 0")
    assert run.state.memory["0"].quarantined
    assert any(note.rule == f"{asked.value}-refused" for one in run.turns() for note in one.notes)


PATCHED = Case(
    fleet=Fleet(size=4),
    change=GuestPatch(script="patch"),
    strategy="batch",
    parameters={"size": 2, "retries": 2},
    more={"floor": 1},
)
MISSING = Memory(failed="result-missing", ended_ms=0, stage=1)
"""Its script may have run: the operation ended well, and the result was never seen."""


def test_a_script_that_may_have_run_does_not_run_again_because_another_failed() -> None:
    """Azure runs a managed run-command again where its content differs: so it may differ only for those whose own failed."""
    rollout, fleet = Rollout(PATCHED.plan()), PATCHED.fleet.scale_set()
    first, second = rollout.plan.batches[0].take
    memory = {first: Memory(failed="ScriptFailed", ended_ms=0, tries=1), second: MISSING}
    state = msgspec.structs.replace(rollout.start(), phase=Phase.ROLLING, started_ms=0, memory=memory)
    (one,) = rollout.step(state, Observation(now_ms=1_000, scale_set=fleet)).commands
    assert (one.ids, one.script) == ((first,), "patch\n# try 2\n")
    after = msgspec.structs.replace(state, memory={first: Memory(quarantined="ScriptFailed"), second: MISSING})
    (other,) = rollout.step(after, Observation(now_ms=1_000, scale_set=fleet)).commands
    assert (other.ids, other.script) == ((second,), "patch")


def test_a_script_of_which_nobody_knows_has_not_failed() -> None:
    """Nobody answered; it is seen on the first, and nothing is seen of the second."""
    rollout, fleet = Rollout(PATCHED.plan()), PATCHED.fleet.scale_set()
    first, second = rollout.plan.batches[0].take
    state = msgspec.structs.replace(rollout.start(), phase=Phase.ROLLING, started_ms=0)
    sent = rollout.step(state, Observation(now_ms=1_000, scale_set=fleet))
    assert [one.ids for one in sent.commands] == [(first, second)]
    lost = Outcome(command=sent.commands[0].id, status=Status.UNKNOWN)
    unknown = rollout.step(sent.state, Observation(now_ms=2_000, scale_set=fleet, outcomes=(lost,)))
    ran = msgspec.structs.replace(
        fleet.instances[first], run_commands=(rollout.plan.resolved.target.run_command or "",)
    )
    shown = msgspec.structs.replace(fleet, instances={**fleet.instances, first: ran})
    made = rollout.step(unknown.state, Observation(now_ms=60_000, scale_set=shown))
    assert "adopted-partly" in [note.rule for note in made.notes]
    assert made.state.memory[second].tries == 0
    assert [(one.ids, one.script) for one in made.commands] == [((second,), "patch")]


def test_a_guest_patch_without_an_undo_stops_where_it_cannot_go_back() -> None:
    run = Case(change=GuestPatch(script="patch"), asks=(Ask(20_000, Asked.ROLLBACK),)).run()
    assert run.state.ending == "stop"
    assert "no undo" in run.state.reason


def test_a_way_back_that_runs_out_of_time_still_puts_the_model_back() -> None:
    case = Case(
        fleet=Fleet(size=2), asks=(Ask(2_000, Asked.ROLLBACK),), more={"deadlines": Deadlines(rollout_ms=30_000)}
    )
    run = case.run()
    assert run.state.ending == "stop"
    assert run.world.model[PLATFORM_VERSION] == OLD


# -- effects --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [ImageChange(version=NEW), PropertyChange(path=SETTING, value="new")])
def test_a_model_update_on_an_automatic_set_touches_what_the_world_then_upgrades(change: Any) -> None:
    fleet = Fleet(size=5, mode=UpgradeMode.AUTOMATIC, protected=(2,), ahead=(1,)).scale_set()
    case = Case(fleet=Fleet(size=5, mode=UpgradeMode.AUTOMATIC, protected=(2,), ahead=(1,)), change=change)
    resolved = case.plan().resolved
    command = Command(id="c1", kind=Kind.UPDATE_MODEL, why="", patch=resolved.patch)
    effect = touched(command, fleet, resolved.target)
    place = world(fleet)
    place.submit("c1", "update-model", patch=resolved.patch)
    assert set(effect.ids) == set(place.log[0].started)
    assert effect.at_once == len(effect.ids)


def test_a_model_update_that_changes_nothing_touches_what_is_stale_already() -> None:
    shape = Fleet(size=4, mode=UpgradeMode.AUTOMATIC, model=NEW, ahead=(1, 2))
    resolved = Case(fleet=Fleet(size=4)).plan().resolved
    command = Command(id="c1", kind=Kind.UPDATE_MODEL, why="", patch=resolved.patch)
    effect = touched(command, shape.scale_set(), resolved.target)
    place = world(shape.scale_set())
    place.submit("c1", "update-model", patch=resolved.patch)
    assert set(effect.ids) == {"0", "3"} == set(place.log[0].started)
    back = touched(command, shape.scale_set(), Target())
    assert set(back.ids) >= set(effect.ids)


def test_protection_set_during_a_rollout_is_respected() -> None:
    run = Case(acts=(Act(2 * MINUTE, "", (), {}, others_act("5", protected=True)),)).run()
    assert run.state.ending == "finish-with-exceptions", "the plan said that it would be moved"
    assert run.world.started("5") == 0


@pytest.mark.parametrize("protected", [True, False])
def test_a_mode_that_is_kept_in_the_end_is_told(protected: bool) -> None:
    acts = (Act(2 * MINUTE, "", (), {}, others_act("5", protected=True)),) if protected else ()
    run = Case(fleet=Fleet(size=8, mode=UpgradeMode.ROLLING), acts=acts).run()
    assert run.world.mode == ("manual" if protected else "rolling")
    told = [note.text for one in run.turns() for note in one.notes if note.rule == "mode-kept"]
    assert told == ["mode manual stays: in mode rolling the platform would move what is stale"] * protected


def test_without_a_health_source_the_operation_says_it() -> None:
    run = Case(fleet=Fleet(source=HealthSource.NONE)).run()
    assert run.state.ending == "finish"


def test_luck_is_chosen() -> None:
    run = drive(
        plan := Case(fleet=Fleet(size=3), parameters={"max_failed": 1}, more={"floor": 1}).plan(),
        world(Fleet(size=3).scale_set(), luck=Luck(3, {1: (1, 2)})),
        Fleet(size=3).scale_set(),
    )
    assert plan.failures.max_failed.absolute == 1
    assert run.state.ending == "finish-with-exceptions"
    assert run.world.started("1") == 2


# -- what the platform does by itself, and what it shows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "action"),
    [
        (GuestPatch(script="patch", undo="undo"), None),
        (ImageChange(version=NEW), Action.REIMAGE),
        (PropertyChange(path=SETTING, value=1), Action.RESTART),
    ],
)
def test_what_the_platform_does_not_do_is_not_left_to_it(change: Any, action: Any) -> None:
    with pytest.raises(InputError, match="all it does is upgrade them to the model"):
        Case(strategy="automatic", change=change, action=action).plan()


def test_an_instance_that_is_being_deleted_is_seen_to_be() -> None:
    """Deleted by somebody else while a reply is waited for: it does not count as serving any more."""
    run = Case(
        fleet=Fleet(size=2, repairs=True), faults=(fault("lose-reply", 1),), acts=(Act(25_000, "delete", ("0",)),)
    ).run()
    assert not any(one.before and not one.after for one in run.sent())


def test_an_instance_that_goes_down_by_somebody_elses_hand_is_noticed_during_a_soak() -> None:
    fleet = Fleet(size=2).scale_set()
    place = world(fleet)
    backend = SimulatedBackend(place, fleet)
    backend.observe()
    at(place, 5_000, Act(5_000, "restart", ("1",)))
    assert backend.wait(Wait(until_ms=600_000, watch=True))
    assert place.now == 5_000
    assert backend.observe().changed == ("1",)
    assert backend.wait(Wait(until_ms=600_000, watch=True))
    assert place.now == 5_000 + 40_000  # it serves again
    assert backend.wait(Wait(until_ms=600_000))
    assert place.now == 600_000


def test_an_instance_removed_twice_does_not_take_its_successor_with_it() -> None:
    """Scaled in twice before the first scale-in ended; then the id is used again."""
    place = world(Fleet(size=3).scale_set(), platform=Platform(reuse_ids=True))
    place.submit("one", "delete", ("2",))
    place.submit("two", "set-capacity", capacity=2)
    place.run(10_000, stop_on_wake=False)
    place.submit("three", "set-capacity", capacity=3)
    place.run(90_000, stop_on_wake=False)
    *kept, successor = [vm.vm_id for vm in place.vms.values()]
    assert kept == ["vm-0", "vm-1"]
    assert successor not in {"vm-0", "vm-1", "vm-2"}
    assert place.serves() == {"0", "1", "2"}
