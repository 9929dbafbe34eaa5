"""platform-rolling: handed over, watched, cancelled; what the platform does to it, and what others do.

The world is Azure's policy as it models it; what is checked is what the machine makes of it. Times: the first batch starts a
minute after the update, a batch ends at a multiple of a minute.
"""

from __future__ import annotations

import gzip
import itertools
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.simulated import SimulatedBackend
from planner.arm_json import read_rolling_upgrade, read_scale_set
from planner.change import Action, CurrentModel, GuestPatch, Refresh
from planner.commands import Command, Kind
from planner.effects import touched
from planner.errors import InputError
from planner.model import HealthSource, RollingPolicy, RollingUpgrade, UpgradeMode
from planner.phases import Phase
from planner.plan import Deadlines, MovedBy
from planner.rollout import NOT_HANDED, Asked, Rollout
from tests.fleet import (
    MINUTE,
    NEW,
    OLD,
    Act,
    Ask,
    Case,
    Fleet,
    Run,
    cases,
    examples,
    fault,
    fleets,
    image,
    plan_or_none,
)
from tests.recorded_counts import RECORDINGS
from tests.test_rollout_properties import rests
from vmss_sim.world.config import Platform
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import IMAGE

VERSION = IMAGE + "version"
ROLLING = UpgradeMode.ROLLING
LENIENT = RollingPolicy(max_batch_percent=20, max_unhealthy_percent=100, max_unhealthy_upgraded_percent=100)
FIVE = Fleet(size=5, mode=ROLLING)
CASE = Case(fleet=FIVE, strategy="platform-rolling")
TOLERANT = CASE.but(fleet=Fleet(size=5, mode=ROLLING, rolling=LENIENT), bad=(0, 1, 2, 3, 4))


def cancels(run: Run) -> list[int]:
    """When we asked for it."""
    return [one.now for one in run.sent("cancel-rolling-upgrade")]


def taken(run: Run) -> tuple[tuple[str, ...], ...]:
    """The batches that the platform took in its last rollout."""
    return tuple(run.world.rollouts.past[-1].done)


def versions(run: Run) -> list[str]:
    """What the VMs run in the end, by id."""
    for vm in run.world.vms.values():
        run.world.state(vm)
    return [str(vm.image.exact) for _, vm in sorted(run.world.vms.items()) if vm.image is not None]


# -- it goes well ----------------------------------------------------------------------------------------------------------


def test_handed_over_and_watched_to_its_end() -> None:
    run = CASE.run(twice=True)
    assert run.state.ending == "finish"
    assert run.plan.moved_by is MovedBy.PLATFORM
    assert [one.kind for one in run.sent()] == ["update-model"]
    assert versions(run) == [NEW] * 5


@pytest.mark.parametrize("mode", [UpgradeMode.MANUAL, UpgradeMode.AUTOMATIC])
def test_another_mode_is_changed_first_and_put_back(mode: UpgradeMode) -> None:
    run = CASE.but(fleet=Fleet(size=5, mode=mode)).run(twice=True)
    assert run.state.ending == "finish"
    assert [(one.kind, one.args.get("mode")) for one in run.sent()] == [
        ("set-mode", "rolling"),
        ("update-model", None),
        ("set-mode", mode.value),
    ]
    assert versions(run) == [NEW] * 5


def test_a_latest_set_is_refreshed_by_azures_os_upgrade_in_whatever_mode() -> None:
    case = CASE.but(fleet=Fleet(size=5, image="latest"), change=Refresh(exact_version=NEW))
    place = case.world()
    place.publish(NEW)
    from tests.fleet import drive

    run = drive(case.plan(), place, case.fleet.scale_set())
    assert run.state.ending == "finish"
    assert [one.kind for one in run.sent()] == ["os-rolling-upgrade"]
    assert versions(run) == [NEW] * 5
    assert run.world.mode == "manual"


def test_what_was_changed_elsewhere_is_rolled_out_by_an_update_that_changes_nothing() -> None:
    run = CASE.but(fleet=Fleet(size=5, mode=ROLLING, model=NEW), change=CurrentModel()).run(twice=True)
    assert run.state.ending == "finish"
    assert [(one.kind, one.args) for one in run.sent()] == [("update-model", {"patch": {}})]
    assert versions(run) == [NEW] * 5


def test_where_nothing_is_stale_nothing_is_sent() -> None:
    run = CASE.but(fleet=Fleet(size=3, mode=ROLLING, model=NEW, ahead=(0, 1, 2)), change=CurrentModel()).run()
    assert run.state.ending == "finish"
    assert not run.sent()


@examples(60)
@given(fleets(8, source=HealthSource.EXTENSION, mode=ROLLING, unknown=(), sick=(), ahead=()), st.integers(5, 100))
def test_the_batches_are_the_platforms(fleet: Fleet, percent: int) -> None:
    policy = RollingPolicy(max_batch_percent=percent, cross_zone=percent % 2 == 0)
    case = CASE.but(fleet=Fleet(**{**vars(fleet), "rolling": policy}), more={"floor": 0})
    assume(plan_or_none(case) is not None)
    run = case.run(twice=True)
    if run.world.rollouts.past:
        assert tuple(batch.take for batch in run.plan.batches) == taken(run)
    assert run.state.ending == "finish"


# -- gates -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grace", [0, 1, 3])
def test_fewer_than_the_floor_for_longer_than_the_grace_and_it_is_cancelled(grace: int) -> None:
    run = TOLERANT.but(parameters={"grace_ms": grace * MINUTE, "max_failed": "100%"}, more={"floor": 4}).run(twice=True)
    assert run.state.ending == "stop"
    assert "3 instances are in service, the floor is 4" in run.state.reason
    assert "platform-floor" in run.rules()
    second = sum(int(one.attempt > 0) for one in run.world.vms.values())
    assert second == 2, "the first batch is within the floor, the second is not, and there was no third"
    assert len(cancels(run)) == 1
    below = run.world.vms["3" if run.plan.batches[1].take == ("3",) else run.plan.batches[1].take[0]].outages[0][0]
    assert cancels(run)[0] == below + grace * MINUTE + 1


def test_a_floor_that_is_kept_again_within_the_grace_is_no_breach() -> None:
    run = CASE.but(parameters={"grace_ms": 3 * MINUTE}, more={"floor": 4}, mttf_s=None).run(twice=True)
    assert run.state.ending == "finish"
    assert not cancels(run)


def test_more_failed_than_tolerated_and_it_is_cancelled() -> None:
    run = TOLERANT.but(parameters={"max_failed": 1, "grace_ms": 60 * MINUTE}).run(twice=True)
    assert run.state.ending == "stop"
    assert "2 instances failed in the platform's rollout, 1 are tolerated" in run.state.reason
    assert len(cancels(run)) == 1
    tolerated = TOLERANT.but(bad=(0,), parameters={"max_failed": 1, "grace_ms": 60 * MINUTE}).run(twice=True)
    assert tolerated.state.ending == "finish-with-exceptions"
    assert not cancels(tolerated)


def test_a_deadline_that_passes_and_it_is_cancelled() -> None:
    run = CASE.but(more={"deadlines": Deadlines(rollout_ms=4 * MINUTE)}).run(twice=True)
    assert run.state.ending == "stop"
    assert run.state.reason == "the rollout's deadline passed"
    assert cancels(run) == [4 * MINUTE]
    assert OLD in versions(run)


def test_stopped_in_a_mode_of_its_own_the_mode_and_the_model_go_back() -> None:
    fleet = Fleet(size=5, rolling=LENIENT)
    run = TOLERANT.but(fleet=fleet, parameters={"grace_ms": 0, "max_failed": "100%"}, more={"floor": 4}).run(twice=True)
    assert run.state.ending == "stop"
    assert run.world.mode == "manual"
    assert run.world.model[VERSION] == OLD


STOPPED = TOLERANT.but(parameters={"grace_ms": 0, "max_failed": "100%"}, more={"floor": 4})


@pytest.mark.parametrize(
    ("case", "ending"),
    [
        (STOPPED, "stop"),
        (STOPPED.but(fleet=Fleet(size=5, mode=UpgradeMode.AUTOMATIC, rolling=LENIENT)), "stop"),
        (CASE.but(asks=(Ask(250_000, Asked.ABORT),)), "abort"),
        (CASE.but(bad=(0,), more={"floor": 0}, parameters={"max_failed": "100%"}), "stop"),
    ],
)
def test_the_model_goes_back_in_mode_manual_so_that_the_platform_moves_nothing_for_it(case: Case, ending: str) -> None:
    run = case.run(twice=True)
    assert run.state.ending == ending
    assert run.plan.ends[ending].model == "pinned"
    assert [(one.kind, one.args.get("mode")) for one in run.sent()][-2:] == [
        ("set-mode", "manual"),
        ("update-model", None),
    ]
    assert (run.world.mode, run.world.model[VERSION]) == ("manual", OLD)
    assert set(versions(run)) == {OLD, NEW}, "nothing else is moved, and nothing is moved back"
    assert len(run.world.rollouts.past) == 1


def test_where_the_model_was_never_changed_the_mode_stays() -> None:
    fleet = Fleet(size=5, mode=ROLLING, sick=(1, 2))
    run = CASE.but(fleet=fleet, asks=(Ask(0, Asked.ABORT),)).run(twice=True)
    assert run.state.ending == "abort"
    assert run.world.mode == "rolling"
    assert not run.sent("set-mode")


# -- the platform ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "case"),
    [
        (
            "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade",
            CASE.but(fleet=Fleet(size=5, mode=ROLLING, sick=(1, 2)), more={"floor": 0}),
        ),
        (
            "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade",
            CASE.but(bad=(0,), more={"floor": 0}, parameters={"max_failed": "100%"}),
        ),
        (
            "MaxUnhealthyInstancePercentExceededInRollingUpgrade",
            CASE.but(
                fleet=Fleet(size=5, mode=ROLLING, rolling=RollingPolicy(max_unhealthy_upgraded_percent=100)),
                bad=(0, 1, 2, 3, 4),
                more={"floor": 0},
                parameters={"max_failed": "100%"},
            ),
        ),
    ],
)
def test_the_platforms_own_thresholds(code: str, case: Case) -> None:
    run = case.run(twice=True)
    assert run.state.ending == "stop"
    assert f"the platform's rollout stopped: {code}" in run.state.reason
    assert "platform-stopped" in run.rules()
    assert not cancels(run)


@pytest.mark.parametrize("at", [30_000, 100_000, 300_000])
def test_cancelled_by_somebody_else(at: int) -> None:
    run = CASE.but(acts=(Act(at, "cancel-rolling-upgrade"),)).run(twice=True)
    assert run.state.ending == "stop"
    assert run.state.reason == "somebody else cancelled the platform's rollout"
    assert "platform-cancelled" in run.rules()
    assert not cancels(run)


def test_superseded_by_another_update_it_is_left_to_them() -> None:
    act = Act(200_000, "update-model", (), {"patch": {}})
    run = CASE.but(acts=(act,)).run(twice=True)
    assert run.state.ending == "drift"
    assert "platform-superseded" in run.rules()
    assert not cancels(run)
    assert run.world.rollouts.running, "theirs goes on"


def test_an_update_to_another_image_is_drift_and_theirs_goes_on() -> None:
    act = Act(200_000, "update-model", (), {"patch": {VERSION: "3.0.0"}})
    run = CASE.but(acts=(act,)).run(twice=True)
    assert run.state.ending == "drift"
    assert not cancels(run)


def test_it_waits_for_another_rollout_of_the_platform() -> None:
    case = CASE.but(fleet=Fleet(size=5, mode=ROLLING, older=(0, 1)), acts=(Act(0, "update-model", (), {"patch": {}}),))
    run = case.run(twice=True)
    assert "hand-over-waits" in run.rules()
    assert run.state.ending == "finish"
    assert run.sent("update-model")[0].now > 60_000
    assert versions(run) == [NEW] * 5


def test_it_waits_for_the_floor_and_stops_where_it_does_not_come() -> None:
    dies = Act(10_000, "", (), {}, lambda place: place.fail(place.vms["1"], 1 << 62))
    case = CASE.but(fleet=Fleet(size=5), more={"floor": 4}, acts=(dies,))
    run = case.run(twice=True)
    assert run.state.ending == "stop"
    assert (
        "it could not be handed over for 1800 s: the policy's largest batch would leave 3 in service"
        in run.state.reason
    )
    assert not run.sent("update-model")


@pytest.mark.parametrize("verdict", ["lose-reply", "lose-request", "hang", "delay"])
def test_a_hand_over_that_nobody_answered(verdict: str) -> None:
    run = CASE.but(faults=(fault(verdict, 1, delay_ms=90_000 if verdict == "delay" else 0),)).run(twice=True)
    assert run.state.ending == "finish"
    assert versions(run) == [NEW] * 5
    assert all(vm.attempt == 1 for vm in run.world.vms.values()), "nothing was done twice"


@pytest.mark.parametrize("verdict", ["lose-reply", "lose-request", "hang", "refuse", "fail"])
def test_a_cancelling_that_goes_wrong_is_asked_again_while_there_is_something_to_cancel(verdict: str) -> None:
    faults = (
        Fault(
            verdict=verdict,
            first=2,
            last=2,
            of="cancel-rolling-upgrade",
            code="Conflict" if verdict == "refuse" else "",
        ),
    )
    run = CASE.but(faults=faults, asks=(Ask(100_000, Asked.ABORT),)).run(twice=True)
    assert run.state.ending == "abort"
    assert run.state.phase is Phase.ENDED
    assert versions(run).count(NEW) < 5
    assert run.world.rolling_upgrade is not None
    assert run.world.rolling_upgrade.code == "Cancelled"


def test_cancellings_that_all_hang_do_not_keep_the_rest_from_being_undone() -> None:
    """The rollout ends by itself meanwhile: what was to be cancelled is over, and with it the cancelling, answered or not."""
    fleet = Fleet(size=5, mode=UpgradeMode.MANUAL, repairs=True)
    faults = (Fault(verdict="hang", first=1, last=99, of="cancel-rolling-upgrade"),)
    run = CASE.but(fleet=fleet, faults=faults, asks=(Ask(100_000, Asked.ABORT),)).run(twice=True)
    assert (run.state.ending, run.state.phase) == ("abort", Phase.ENDED)
    assert len(cancels(run)) >= 1
    assert (run.world.mode, run.world.repairs_suspended) == ("manual", False)


def test_a_cancelling_that_comes_too_late_is_no_trouble() -> None:
    faults = (Fault(verdict="refuse", first=2, last=99, of="cancel-rolling-upgrade", code="OperationNotAllowed"),)
    run = CASE.but(faults=faults, asks=(Ask(100_000, Asked.ABORT),)).run(twice=True)
    assert run.state.ending == "abort"
    assert "platform-nothing-to-cancel" in run.rules()
    assert 1 < len(cancels(run)) <= run.plan.failures.refusals + 1


@pytest.mark.parametrize("asked", [Asked.ABORT, Asked.ROLLBACK])
@pytest.mark.parametrize("at", [10_000, 100_000, 250_000])
def test_operators(asked: Asked, at: int) -> None:
    run = CASE.but(asks=(Ask(at, asked),)).run(twice=True)
    assert run.state.ending == {Asked.ABORT: "abort", Asked.ROLLBACK: "rollback"}[asked]
    assert len(cancels(run)) == 1
    if asked is Asked.ROLLBACK:
        assert versions(run) == [OLD] * 5
        assert run.world.model[VERSION] == OLD


@examples(120)
@given(
    cases(
        trouble=("fails", "bad", "flap", "background", "faults", "asks", "acts"), only="platform-rolling", mode=ROLLING
    )
)
def test_everything_at_once_comes_to_rest(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run(twice=True)
    rests(run)
    for one in run.sent("cancel-rolling-upgrade"):
        assert run.commands()[one.command][1].ticket is not None, "there was something to cancel"
    others = [one for one in run.sent() if one.kind != "cancel-rolling-upgrade"]
    assert len({one.command for one in others}) == len(others)


@examples(60)
@given(
    cases(trouble=("fails", "bad", "background", "asks"), only="platform-rolling", mode=ROLLING),
    st.sampled_from(("complete", "abandoned")),
)
def test_cancel_aside_one_operation_at_a_time_by_the_worlds_own_books(case: Case, in_flight: str) -> None:
    case = case.but(platform=Platform(cancel_batch=in_flight))
    assume(plan_or_none(case) is not None)
    run = case.run()
    ours = [one for one in run.world.operations.values() if one.name.startswith("c")]
    ours = [one for one in ours if one.kind != "cancel-rolling-upgrade"]
    for one, later in itertools.pairwise(ours):
        assert one.ends_at <= later.started_at, (one.kind, one.started_at, one.ends_at, later.kind, later.started_at)


@examples(80)
@given(cases(trouble=("fails", "bad"), only="platform-rolling", source=HealthSource.EXTENSION))
def test_the_floor_holds_when_it_is_handed_over(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run()
    floor = max(run.plan.floor_min, run.plan.floor.absolute)
    policy = case.fleet.rolling or RollingPolicy()
    largest = max(1, policy.max_batch_percent * case.fleet.size // 100)
    for one in run.sent("update-model"):
        if not run.commands()[one.command][1].back and run.world.mode == "rolling" and one.right != one.before:
            stale = len(one.before - one.right)
            assert len(one.before) - min(largest, stale) >= floor or not stale


# -- the plan ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (CASE.but(fleet=Fleet(size=5, mode=ROLLING, source=HealthSource.NONE)), "need a health source"),
        (CASE.but(more={"floor": 5}), "the policy's largest batch is 1: 5 instances minus the floor (5) is 0"),
        (CASE.but(parameters={"grace_ms": -1}), "cannot be negative"),
        (CASE.but(action=Action.REIMAGE), "all it does is upgrade them to the model"),
        (CASE.but(change=GuestPatch(script="s")), "all it does is upgrade them to the model"),
    ],
)
def test_what_cannot_be_handed_over_is_refused(case: Case, says: str) -> None:
    with pytest.raises(InputError) as refused:
        case.plan()
    assert says in str(refused.value)


def test_the_plan_says_what_is_handed_over() -> None:
    plan = CASE.plan()
    assert plan.handed is not None
    assert (plan.handed.by, plan.handed.grace_ms, plan.work_mode) == ("model", 60_000, ROLLING)
    assert plan.floor.absolute == 4
    assert all(batch.soak_ms == 0 for batch in plan.batches[:-1])
    refreshed = CASE.but(fleet=Fleet(size=5, image="latest"), change=Refresh(exact_version=NEW)).plan()
    assert refreshed.handed is not None
    assert (refreshed.handed.by, refreshed.work_mode) == ("os-upgrade", UpgradeMode.MANUAL)


def test_what_a_started_os_upgrade_takes_down() -> None:
    fleet = Fleet(
        size=10, image="latest", ahead=(3,), protected=(4,), rolling=RollingPolicy(max_batch_percent=35)
    ).scale_set()
    plan = CASE.but(fleet=Fleet(size=10, image="latest"), change=Refresh(exact_version=NEW)).plan()
    effect = touched(Command(id="c", kind=Kind.START_OS_UPGRADE, why=""), fleet, plan.resolved.target)
    assert effect.at_once == 3
    assert set(effect.ids) == set("0125678") | {"9"}
    assert touched(Command(id="c", kind=Kind.CANCEL_ROLLING, why=""), fleet, plan.resolved.target).at_once == 0


def test_no_other_rollout_remembers_anything_of_this() -> None:
    for strategy in ("one-by-one", "automatic"):
        run = CASE.but(strategy=strategy, fleet=Fleet(size=3)).run()
        assert all(record.state.handed == NOT_HANDED for record in run.turns())


def test_surge_by_the_platform_is_watched_as_well() -> None:
    policy = RollingPolicy(max_batch_percent=20, max_surge=True)
    run = CASE.but(fleet=Fleet(size=5, mode=ROLLING, rolling=policy), platform=Platform(tick_ms=0)).run(twice=True)
    assert run.state.ending == "finish"
    assert versions(run) == [NEW] * 5
    assert not {"0", "1"} & run.world.vms.keys()


# -- what Azure says --------------------------------------------------------------------------------------------------------


def document(**fields: Any) -> dict[str, Any]:
    """The example of azure-rest-api-specs, with changes to `runningStatus`."""
    return {
        "type": "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades",
        "location": "eastus",
        "properties": {
            "policy": {"maxBatchInstancePercent": 20},
            "runningStatus": {
                "code": "RollingForward",
                "startTime": "2017-04-21T17:27:50.1234567+00:00",
                "lastAction": "Start",
                "lastActionTime": "2017-04-21T17:28:41.9999999+00:00",
                **fields,
            },
            "progress": {
                "successfulInstanceCount": 8,
                "failedInstanceCount": 1,
                "inprogressInstanceCount": 2,
                "pendingInstanceCount": 3,
            },
            "error": {"code": "X", "message": "Y"},
        },
    }


STARTED = 1_492_795_670_123  # date -d 2017-04-21T17:27:50Z +%s, and the milliseconds


def test_rolling_upgrades_latest_is_read() -> None:
    read = read_rolling_upgrade(document(), "f")
    assert read == RollingUpgrade(
        code="RollingForward",
        started_ms=STARTED,
        successful=8,
        failed=1,
        in_progress=2,
        pending=3,
        error_code="X",
        error_message="Y",
    )
    assert read.open
    cancelled = read_rolling_upgrade(document(code="cancelled", lastAction="Cancel"), "f")
    assert cancelled is not None
    assert (cancelled.code, cancelled.ended_ms, cancelled.open) == ("Cancelled", STARTED + 51_876, False)
    assert read_rolling_upgrade(document()["properties"], "as az prints it") == read
    assert read_rolling_upgrade({"error": {"code": "NotFound", "message": "The entity was not found"}}, "f") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2024-02-29T23:59:59+00:00", 1_709_251_199),
        ("2026-03-01T01:30:00+01:30", 1_772_323_200),
        ("2026-12-31T19:00:00-05:00", 1_798_761_600),
    ],
)
def test_times(text: str, seconds: int) -> None:
    read = read_rolling_upgrade(document(startTime=text), "f")
    assert read is not None
    assert read.started_ms == seconds * 1000


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"error": {"code": "AuthorizationFailed"}}, "az vmss rolling-upgrade get-latest"),
        (document(startTime="yesterday"), "a time such as"),
        (document(code=None), "RollingForward"),
    ],
)
def test_what_is_not_that_is_refused(broken: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_rolling_upgrade(broken, "f")


def test_it_may_stand_beside_the_others() -> None:
    model = {
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "name": "web",
        "properties": {"upgradePolicy": {"mode": "Rolling"}},
    }
    read = read_scale_set([("model", model), ("latest", document())]).scale_set
    assert read.rolling_upgrade is not None
    assert read.rolling_upgrade.successful == 8
    assert read_scale_set([("model", model)]).scale_set.rolling_upgrade is None
    with pytest.raises(InputError, match="more than one"):
        read_scale_set([("model", model), ("a", document()), ("b", document())])


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside this repository")
def test_every_recorded_one_is_read() -> None:
    codes: dict[str, int] = {}
    with gzip.open(RECORDINGS, "rt", encoding="utf-8") as lines:
        for line in lines:
            if "rollingupgrades/latest" not in line.lower():
                continue
            for one in json.loads(line)["exchanges"]:
                if one["method"] == "GET" and "/rollingupgrades/latest" in one["url"].lower() and one["response_body"]:
                    read = read_rolling_upgrade(json.loads(one["response_body"]), one["url"])
                    code = read.code if read else "none"
                    codes[code] = codes.get(code, 0) + 1
                    if read is not None:
                        assert read.started_ms is not None
                        assert read.open == (code == "RollingForward")
    assert set(codes) >= {"Completed", "RollingForward", "none"}, codes


def test_images_are_what_they_are() -> None:
    assert str(image(NEW)).endswith(NEW)


# -- what random lives found -------------------------------------------------------------------------------------------


def test_what_a_command_does_to_the_rollout_at_once_is_seen_at_the_next_poll() -> None:
    """As Azure's client sees it: the simulation waited for the next thing to happen, up to a minute later."""
    case = Case(fleet=Fleet(mode=ROLLING), strategy="platform-rolling")
    world = case.world()
    backend = SimulatedBackend(world, case.fleet.scale_set(), poll_ms=10_000)
    driver = Driver(Rollout(case.plan()), backend, MemoryJournal())
    wait = driver.turn()
    assert wait is not None and wait.watch
    assert world.rollouts.version, "it is a rollout already"
    backend.wait(wait)
    assert world.now == 10_000


def test_a_mode_change_that_nobody_answers_is_awaited_as_long_as_the_set_is_updating() -> None:
    """In mode Rolling the request stays open for the platform's first check, also where nothing is stale (recordings: 60 s)."""
    case = Case(fleet=Fleet(), strategy="platform-rolling", faults=(fault("lose-reply", 1), fault("lose-reply", 2)))
    run = case.run()
    assert run.state.ending == "finish"
    first, second = [one for one in run.world.operations.values() if one.kind in ("set-mode", "update-model")][:2]
    assert first.kind == "set-mode"
    assert second.started_at >= first.ends_at


def test_a_request_that_never_ends_is_over_with_the_rollout_it_started() -> None:
    """The guard knows the rollout by what was seen when its request was sent, not by what the machine remembers now."""
    case = Case(
        fleet=Fleet(size=1, update_domains=0, fault_domains=1, older=(0,)),
        strategy="platform-rolling",
        parameters={"grace_ms": 0, "max_failed": 0, "retries": 0},
        faults=(fault("hang", 1),),
    )
    assert case.run().state.ending == "finish"
