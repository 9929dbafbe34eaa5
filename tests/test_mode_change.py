"""A change to a mode in which the platform moves instances is itself a move: it is counted, guarded, and not made by the end state
while an instance does not have the latest model.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.change import Action, CurrentModel, ImageChange, PropertyChange, Target
from planner.commands import Command, Kind
from planner.effects import touched
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.rollout import Asked
from tests.fleet import NEW, SETTING, Ask, Case, Fleet, at_target, fault, world


@pytest.mark.parametrize("mode", [UpgradeMode.AUTOMATIC, UpgradeMode.ROLLING])
def test_a_mode_in_which_the_platform_moves_instances_does_not_come_back_over_stale_ones(mode: UpgradeMode) -> None:
    run = Case(fleet=Fleet(size=4, mode=mode), change=ImageChange(version=NEW), action=Action.REIMAGE).run()
    assert run.state.ending == "finish"
    assert run.world.mode == "manual", (
        "after a reimage latestModelApplied stays false: that mode would upgrade every VM again"
    )
    upgraded = Case(fleet=Fleet(size=4, mode=mode)).run()
    assert upgraded.world.mode == mode.value


def test_setting_mode_automatic_touches_what_does_not_have_the_latest_model() -> None:
    shape = Fleet(size=5, model=NEW, ahead=(1, 3), protected=(2,))
    command = Command(id="c1", kind=Kind.SET_MODE, why="", mode=UpgradeMode.AUTOMATIC)
    effect = touched(command, shape.scale_set(), Target())
    place = world(shape.scale_set())
    place.submit("c1", "set-mode", mode="automatic")
    assert set(effect.ids) == set(place.log[0].started) == {"0", "4"}
    back = Command(id="c2", kind=Kind.SET_MODE, why="", mode=UpgradeMode.MANUAL)
    assert touched(back, shape.scale_set(), Target()).ids == ()


def test_automatic_on_a_model_that_was_changed_elsewhere() -> None:
    run = Case(fleet=Fleet(size=4, model=NEW, ahead=(1,)), change=CurrentModel(), strategy="automatic").run()
    assert run.state.ending == "finish"
    assert all(at_target(run.plan, run.world, vm) for vm in run.world.vms.values())
    assert run.world.mode == "manual"


@pytest.mark.parametrize("mode", [UpgradeMode.AUTOMATIC, UpgradeMode.ROLLING])
@pytest.mark.parametrize(
    "case",
    [
        Case(fleet=Fleet(size=3, model=NEW, protected=(1,), ahead=(1,)), change=CurrentModel()),
        Case(fleet=Fleet(size=3, protected=(1,)), asks=(Ask(100_000, Asked.ROLLBACK),)),
        Case(fleet=Fleet(size=3), asks=(Ask(100_000, Asked.ROLLBACK), Ask(100_001, Asked.SKIP, ("2",)))),
        Case(
            fleet=Fleet(size=3),
            change=PropertyChange(path=SETTING, value="new"),
            action=Action.RESTART,
            asks=(Ask(30_000, Asked.ROLLBACK),),
        ),
    ],
    ids=["at the target", "never moved", "skipped, and never moved", "never restarted"],
)
def test_who_was_left_alone_and_has_the_latest_model_does_not_keep_the_mode_away(case: Case, mode: UpgradeMode) -> None:
    run = case.but(fleet=replace(case.fleet, mode=mode)).run(twice=True)
    assert run.state.ending in ("finish", "rollback")
    assert all(run.world.is_latest(vm) for vm in run.world.vms.values()), "that mode moves nobody"
    assert run.world.mode == mode.value
    assert not [one for one in run.sent("set-mode")[-1:] if one.started]


def test_who_was_left_alone_and_is_stale_keeps_the_mode_away() -> None:
    run = Case(fleet=Fleet(size=3, mode=UpgradeMode.AUTOMATIC, protected=(1,))).run()
    assert run.state.ending == "finish"
    assert run.world.mode == "manual"


def test_released_before_the_model_has_the_change_the_mode_comes_back() -> None:
    """Paused while the set is prepared: everybody has the latest model, so the mode from before moves nobody."""
    case = Case(
        fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True),
        asks=(Ask(1_500, Asked.PAUSE), Ask(200_000, Asked.RELEASE)),
        faults=(fault("lose-request", 3),),
    )
    run = case.run(twice=True)
    assert run.state.phase is Phase.PAUSED
    assert "released" in run.rules()
    assert "update-model" not in [one.kind for one in run.world.log if one.answer == "accepted"]
    assert (run.world.mode, run.world.repairs_suspended) == ("rolling", False)
