"""Surge: what is added, what goes, and every way in which that goes wrong; by the world's own books.

`Case.odd` says what is wrong with our scale-outs by their number: fewer or more come than asked for, or they boot the old
image. `Case.fails` counts slots: a VM that is added for another has that one's luck.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.change import CurrentModel, GuestPatch
from planner.commands import Kind
from planner.errors import InputError
from planner.model import AutomaticRepairs, HealthSource, ImageReference, Model, Service
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, Surge, surplus
from planner.standing import floor_now
from planner.surge import Quota, addresses_missing, cores_missing, extra, is_shortage, most_instances
from planner.trace import observations
from tests.fleet import (
    MINUTE,
    NEW,
    OLD,
    Act,
    Ask,
    Case,
    Fleet,
    Run,
    at_target,
    cases,
    examples,
    fault,
    fleets,
    plan_or_none,
)
from tests.test_rollout_properties import keeps_the_floor, one_at_a_time, rests
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import IMAGE

VERSION = IMAGE + "version"
REPORTED = HealthSource.EXTENSION
FOUR = Case(fleet=Fleet(size=4), strategy="surge", parameters={"size": 2})


def fewest(run: Run) -> int:
    """The fewest that served at any time, over all VMs that ever were."""
    place = run.world
    edges: Counter[int] = Counter()
    for start, end in place.outages():
        edges[start] -= 1
        if end is not None:
            edges[end] += 1
    serving = len(place.vms) + len(place.gone) + edges.pop(0, 0)
    least = serving
    for time in sorted(edges):
        serving += edges[time]
        if time <= place.now:
            least = min(least, serving)
    return least


def most(run: Run) -> int:
    """The most instances there were: what was asked for is there at once."""
    asked = [one.args["capacity"] for one in run.sent("set-capacity") if one.answer == "accepted"]
    return max([0, *(one.total for one in run.world.log), *asked])


def versions(run: Run) -> dict[str, str]:
    """What each VM runs in the end."""
    for vm in run.world.vms.values():
        run.world.state(vm)
    return {vm.id: str(vm.image.exact) for vm in run.world.vms.values() if vm.image is not None}


def steps(run: Run) -> list[tuple[str, Any]]:
    """Our requests after the model's update: the capacity asked for, or the ids."""
    return [(one.kind, one.args.get("capacity", one.ids)) for one in run.sent("set-capacity", "delete", "upgrade")]


# -- what holds always -----------------------------------------------------------------------------------------------------


def counts(run: Run, case: Case) -> None:
    """Never more than the peak; in the end as many as before, but for what was told to be left."""
    surging = run.plan.surge
    assert surging is not None
    if case.acts or case.odd:
        return
    assert most(run) <= surging.peak
    if run.state.phase is Phase.ENDED and run.plan.ends[run.state.ending].added == "removed":
        left = len(run.world.vms) - case.fleet.size
        told = any(rule == "surge-left" for rule in run.rules()) or run.state.ending == "drift"
        assert left == 0 or (left > 0 and told) or _lost(run), (left, run.state)


def _lost(run: Run) -> bool:
    """Something that was sent may have had an effect nobody saw: an operator ended it before anybody could look."""
    return any(one.answer != "accepted" for one in run.world.log) or "late-outcome" in run.rules()


@examples(120)
@given(cases(trouble=("fails", "bad", "odd"), only="surge", source=REPORTED))
def test_never_fewer_than_the_floor(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run()
    plan, surging = run.plan, run.plan.surge
    assert surging is not None
    rests(run)
    one_at_a_time(run)
    counts(run, case)
    floor = plan.floor.absolute
    if run.sent("upgrade", "reimage"):
        floor = min(floor, surging.in_place_floor.absolute)
    at_first = sum(one.service is Service.IN for one in plan.scale_set.instances.values())
    back = plan.rollback_floor.absolute if run.state.back else floor
    if not case.fleet.unknown:
        assert fewest(run) >= min(floor, back, at_first)


@examples(120)
@given(cases(trouble=("fails", "bad", "faults", "odd", "asks"), only="surge", source=REPORTED))
def test_a_command_never_leaves_fewer_than_its_floor(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run(twice=True)
    rests(run)
    one_at_a_time(run)
    keeps_the_floor(run)
    counts(run, case)


@examples(120)
@given(cases(trouble=("fails", "bad", "flap", "background", "faults", "odd", "asks", "acts"), only="surge"))
def test_everything_at_once_comes_to_rest(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run()
    rests(run)
    one_at_a_time(run)


@examples(60)
@given(fleets(7, source=REPORTED, unknown=(), protected=()), st.integers(1, 7))
def test_where_nothing_goes_wrong_everything_is_replaced_and_nobody_misses_one(fleet: Fleet, size: int) -> None:
    case = Case(fleet=fleet, strategy="surge", parameters={"size": size})
    assume(plan_or_none(case) is not None)
    run = case.run(twice=True)
    moved = {name for batch in run.plan.batches for name in batch.take}
    assert run.state.ending == "finish"
    assert not moved & run.world.vms.keys()
    assert len(run.world.vms) == fleet.size
    assert all(at_target(run.plan, run.world, vm) for vm in run.world.vms.values())
    assert fewest(run) == fleet.size - len(fleet.sick)
    if moved:
        assert most(run) == fleet.size + min(size, max(len(batch.take) for batch in run.plan.batches))


@examples(60)
@given(fleets(6, source=REPORTED, unknown=(), protected=(), sick=(), ahead=()), st.integers(1, 3), st.integers(60, 500))
def test_a_whole_rollback_is_a_surge_in_reverse(fleet: Fleet, size: int, at: int) -> None:
    case = Case(fleet=fleet, strategy="surge", parameters={"size": size}, asks=(Ask(at * 1000, Asked.ROLLBACK),))
    assume(plan_or_none(case) is not None)
    run = case.run(twice=True)
    if not run.state.back:
        assert run.state.ending == "finish"
        return
    assert run.state.ending == "rollback"
    assert len(run.world.vms) == fleet.size
    back = run.plan.resolved.back_image
    if fleet.model == OLD and not fleet.older:
        assert all(vm.image is not None and back is not None for vm in run.world.vms.values())
        assert set(versions(run).values()) <= {OLD, "None"}
    assert fewest(run) >= fleet.size
    assert most(run) <= run.plan.surge.peak if run.plan.surge else False


# -- one thing after another ---------------------------------------------------------------------------------------------------


def test_added_first_then_taken_and_what_goes_waits_for_what_serves() -> None:
    run = FOUR.run(twice=True)
    assert steps(run) == [
        ("set-capacity", 6),
        ("delete", ("0", "3")),
        ("set-capacity", 6),
        ("delete", ("1", "2")),
    ]
    added, gone = run.sent("set-capacity")[0], run.sent("delete")[0]
    assert gone.now == added.now + 40_000 + 15_000 + 5_000
    assert set(versions(run).values()) == {NEW}


def test_what_is_sick_is_replaced_first_and_gives_room_for_the_rest() -> None:
    run = FOUR.but(fleet=Fleet(size=4, sick=(2,)), parameters={"size": 1}).run(twice=True)
    assert run.sent("delete")[0].ids == ("2",)
    assert run.state.ending == "finish"
    assert run.plan.floor.absolute == 4


def test_what_is_sick_and_stands_in_no_batch_is_not_counted_on() -> None:
    case = FOUR.but(fleet=Fleet(size=4, sick=(2,), protected=(2,)), parameters={"size": 1})
    assert case.plan().floor.absolute == 3
    run = case.run(twice=True)
    assert run.state.ending == "finish"
    assert versions(run)["2"] == OLD


@pytest.mark.parametrize("fallback", ["in-place", "stop"])
@pytest.mark.parametrize(("verdict", "code"), [("refuse", "QuotaExceeded"), ("fail", "ZonalAllocationFailed")])
def test_no_room_to_add(verdict: str, code: str, fallback: str) -> None:
    run = FOUR.but(
        parameters={"size": 2, "fallback": fallback},
        faults=(Fault(verdict=verdict, first=2, last=2, of="set-capacity", code=code),),
    ).run(twice=True)
    if fallback == "stop":
        assert run.state.ending == "stop"
        assert f"there is no room to add: {code}" in run.state.reason
        assert "surge-refused" in run.rules()
        assert set(versions(run).values()) == {OLD}
        return
    assert run.state.ending == "finish"
    assert steps(run)[1:] == [("upgrade", ("0", "3")), ("set-capacity", 6), ("delete", ("1", "2"))]
    assert fewest(run) == 2
    assert set(versions(run).values()) == {NEW}


def test_quota_of_the_world_itself() -> None:
    place = FOUR.world()
    place.config = type(place.config)(
        **{name: getattr(place.config, name) for name in place.config.__struct_fields__}
        | {"quota_cores": 10, "cores_per_vm": 2}
    )
    from tests.fleet import drive

    case = FOUR.but(parameters={"size": 2, "fallback": "in-place", "in_place_floor": 3})
    run = drive(case.plan(), place, case.fleet.scale_set())
    assert run.state.ending == "finish"
    assert run.rules().count("surge-in-place") == 2
    assert "exceeding quota limits of Core" in next(
        note.text for record in run.turns() for note in record.notes if note.rule == "surge-in-place"
    )
    assert [one.ids for one in run.sent("upgrade")] == [("0",), ("3",), ("1",), ("2",)], "a floor of 3 lets one go"


def test_a_refusal_that_is_no_shortage_is_asked_again() -> None:
    run = FOUR.but(faults=(Fault(verdict="refuse", first=2, last=4, of="set-capacity", code="Conflict"),)).run(
        twice=True
    )
    assert run.state.ending == "finish"
    assert [one.answer for one in run.sent("set-capacity")] == ["refused", "refused", "refused", "accepted", "accepted"]


def test_fewer_than_asked_for_are_asked_for_again() -> None:
    run = FOUR.but(odd={1: "fewer"}).run(twice=True)
    assert run.state.ending == "finish"
    assert steps(run)[:4] == [("set-capacity", 5), ("delete", ("0",)), ("set-capacity", 5), ("delete", ("3",))]
    assert "surge-short" in run.rules()
    assert len(run.world.vms) == 4


def test_fewer_again_and_again_falls_back() -> None:
    case = FOUR.but(odd=dict.fromkeys(range(1, 9), "fewer"), parameters={"size": 1, "retries": 2})
    run = case.run(twice=True)
    assert run.state.ending == "stop"
    assert "3 scale-outs gave fewer instances than asked for" in run.state.reason
    assert len(run.sent("set-capacity")) == 3
    assert versions(run) == dict.fromkeys("0123", OLD)


def test_more_than_asked_for_are_left_alone() -> None:
    run = FOUR.but(odd={1: "more"}).run(twice=True)
    assert run.state.ending == "finish"
    assert len(run.world.vms) == 5, "what we did not ask for is not ours to take away"
    assert set(versions(run).values()) == {NEW}


def test_a_scale_out_that_boots_the_old_image_is_replaced_once() -> None:
    run = FOUR.but(odd={1: "old"}, parameters={"size": 1}).run(twice=True)
    assert run.state.ending == "finish"
    assert "surge-replaces" in run.rules()
    assert run.sent("delete")[0].ids == ("4",)
    assert set(versions(run).values()) == {NEW}
    assert fewest(run) == 4


def test_a_scale_out_that_goes_on_booting_the_old_image_stops_it() -> None:
    run = FOUR.but(odd=dict.fromkeys(range(1, 9), "old"), parameters={"size": 1}).run(twice=True)
    assert run.state.ending == "stop"
    assert "its replacement: result-missing" in run.state.reason
    assert versions(run) == dict.fromkeys("0123", OLD)
    assert [one.ids for one in run.sent("delete")] == [("4",), ("5",)]


@pytest.mark.parametrize(("failing", "ending"), [((1,), "finish"), ((1, 2), "stop")])
def test_an_addition_that_never_serves_is_replaced_once_then_it_stops(failing: tuple[int, ...], ending: str) -> None:
    run = FOUR.but(fails={0: failing}, parameters={"size": 1}).run(twice=True)
    assert run.state.ending == ending
    assert fewest(run) == 4
    assert len(run.world.vms) == 4
    if ending == "stop":
        assert versions(run) == dict.fromkeys("0123", OLD)
        assert run.world.model[VERSION] == OLD


def test_a_place_given_up_keeps_its_old_instance_where_that_is_tolerated() -> None:
    run = FOUR.but(fails={0: (1, 2)}, parameters={"size": 1, "max_failed": 1}).run(twice=True)
    assert run.state.ending == "finish-with-exceptions"
    assert versions(run)["0"] == OLD
    assert Counter(versions(run).values()) == {OLD: 1, NEW: 3}


def test_a_bad_image_meets_one_batch_of_additions_and_nobody_else() -> None:
    case = FOUR.but(fleet=Fleet(size=6), bad=tuple(range(6)), parameters={"size": 2, "on_failure": "rollback-all"})
    run = case.run(twice=True)
    assert run.state.ending == "rollback"
    assert fewest(run) == 6
    assert versions(run) == dict.fromkeys("012345", OLD)


@pytest.mark.parametrize("at", [20_000, 61_000, 65_000, 100_000])
def test_somebody_scales_out_at_the_same_time(at: int) -> None:
    """Theirs boots the new model and stays: six in the end, where five were wanted by them and none was lost."""
    act = Act(at, "set-capacity", (), {"capacity": 7})
    run = FOUR.but(acts=(act,)).run(twice=True)
    assert run.state.ending == "finish"
    assert set(versions(run).values()) == {NEW}
    assert len(run.world.vms) >= 4
    assert all(one.args["capacity"] >= one.total for one in run.sent("set-capacity")), "a resend is no scale-in"


@pytest.mark.parametrize("verdict", ["lose-reply", "lose-request", "hang"])
@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_reply_that_is_lost_does_nothing_twice(verdict: str, number: int) -> None:
    run = FOUR.but(faults=(fault(verdict, number),)).run(twice=True)
    assert run.state.ending == "finish"
    assert len(run.world.vms) == 4
    assert run.world.born == 8, "four were added, no more"
    assert fewest(run) == 4
    assert most(run) == 6


def test_a_scale_out_whose_reply_was_lost_is_no_scale_in_after_somebody_scaled_out() -> None:
    act = Act(20_000, "set-capacity", (), {"capacity": 9})
    run = FOUR.but(faults=(fault("lose-request", 2),), acts=(act,)).run(twice=True)
    assert run.state.ending == "finish"
    assert all(one.args["capacity"] >= one.total for one in run.sent("set-capacity"))


def test_a_deletion_that_fails_is_tried_again_and_then_given_up() -> None:
    faults = (Fault(verdict="fail", first=3, last=4, of="delete", code="InternalExecutionError"),)
    run = FOUR.but(faults=faults, parameters={"size": 2, "retries": 1}).run(twice=True)
    assert run.state.ending == "stop"
    assert len(run.world.vms) == 4
    assert versions(run) == dict.fromkeys("0123", OLD)
    once = FOUR.but(faults=faults[:1], parameters={"size": 2, "retries": 2}).run(twice=True)
    assert once.state.ending == "finish"


@pytest.mark.parametrize("at", [10_000, 45_000, 55_000, 65_000, 90_000])
def test_abort_takes_away_what_replaces_none(at: int) -> None:
    run = FOUR.but(asks=(Ask(at, Asked.ABORT),)).run(twice=True)
    assert run.state.ending == "abort"
    assert len(run.world.vms) == 4
    assert fewest(run) == 4
    assert run.world.model[VERSION] == OLD


def test_what_the_floor_needs_is_left_and_told() -> None:
    """Instance 1 dies while the first is added; an abort leaves the addition, which serves in its place."""

    def dies(place: Any) -> None:
        place.fail(place.vms["1"], 1 << 62)

    case = FOUR.but(parameters={"size": 1}, acts=(Act(30_000, "", (), {}, dies),), asks=(Ask(70_000, Asked.ABORT),))
    run = case.run(twice=True)
    assert run.state.ending == "abort"
    assert "surge-left" in run.rules()
    assert len(run.world.vms) == 5


def test_what_replaced_others_stays_where_the_model_has_no_way_back() -> None:
    case = FOUR.but(
        fleet=Fleet(size=4, model=NEW),
        change=CurrentModel(),
        asks=(Ask(90_000, Asked.ROLLBACK),),
        parameters={"size": 1},
    )
    run = case.run(twice=True)
    assert run.state.ending == "rollback"
    assert "surge-stays" in run.rules()
    assert len(run.world.vms) == 4


def test_no_repairs_meanwhile() -> None:
    run = FOUR.but(fleet=Fleet(size=4, repairs=True)).run(twice=True)
    assert [one.kind for one in run.sent()][:1] == ["suspend-repairs"]
    assert run.world.repairs_suspended is False


# -- the plan --------------------------------------------------------------------------------------------------------------------


def test_the_floor_is_what_the_set_has_and_percentages_follow_what_it_should_have() -> None:
    plan = FOUR.plan()
    assert (plan.floor.absolute, plan.floor_min, plan.rollback_floor.absolute) == (4, 1, 4)
    run = FOUR.but(more={"floor": "100%"}).run(twice=True)
    assert run.state.ending == "finish", "the additions do not raise the floor"
    assert fewest(run) == 4


def test_a_guest_patch_does_not_reach_new_instances() -> None:
    with pytest.raises(InputError, match="a surge replaces VMs, and a guest patch is only in those that are there"):
        FOUR.but(change=GuestPatch(script="s")).plan()


@pytest.mark.parametrize("key", ["fallback", "in_place_floor", "size"])
def test_parameters_that_make_no_sense(key: str) -> None:
    with pytest.raises(InputError, match=key):
        FOUR.but(parameters={key: "sideways"}).plan()


def test_arithmetic() -> None:
    quota = Quota(cores_limit=100, cores_used=90, cores_per_vm=4, free_addresses=2)
    assert (cores_missing(2, quota), cores_missing(3, quota), cores_missing(0, quota)) == (0, 2, 0)
    assert (addresses_missing(2, quota), addresses_missing(3, quota)) == (0, 1)
    over = Quota(cores_limit=100, cores_used=104, cores_per_vm=4)
    assert cores_missing(1, over) == 8
    assert cores_missing(0, over) == 0
    assert cores_missing(5, Quota(cores_limit=1, cores_used=1)) == 0
    assert (extra(5, overprovision=True), extra(6, overprovision=True), extra(5, overprovision=False)) == (6, 8, 5)


def test_how_many_a_set_may_hold() -> None:
    def of(**fields: Any) -> int:
        return most_instances(Model(name="w", **fields))

    gallery = "/subscriptions/s/providers/Microsoft.Compute/galleries/g/images/i"
    assert of(single_placement_group=True, image=ImageReference(uri="x")) == 100
    assert of(image=ImageReference(uri="x")) == 600
    assert of(image=ImageReference(id="/subscriptions/s/images/i")) == 600
    assert of(image=ImageReference(id=gallery)) == 1000
    assert of(image=ImageReference(id="/communityGalleries/g/images/i")) == 1000
    assert of() == 1000


@pytest.mark.parametrize(
    ("code", "message", "is_one"),
    [
        ("QuotaExceeded", "", True),
        ("OperationNotAllowed", "Operation results in exceeding quota limits of Core.", True),
        ("OperationNotAllowed", "There is no ongoing Rolling Upgrade to cancel.", False),
        ("Conflict", "quota", False),
        ("SubnetIsFull", "", True),
    ],
)
def test_what_says_that_there_is_no_room(code: str, message: str, is_one: bool) -> None:
    assert is_shortage(code, message) is is_one


def test_surplus_counts_what_is_there_by_vm() -> None:
    snapshot = Fleet(size=4).scale_set()
    assert surplus(Surge(), snapshot) == 0
    assert surplus(Surge(fresh={"2": "vm-2", "3": "vm-3"}), snapshot) == 2
    assert surplus(Surge(fresh={"2": "vm-2", "9": "vm-9"}), snapshot) == 1, "one has gone"
    assert surplus(Surge(fresh={"2": "vm-2"}, removed={"7": "vm-7"}), snapshot) == 0, "it took the place of one"
    assert surplus(Surge(fresh={"2": "vm-2"}, removed={"1": "vm-1"}), snapshot) == 1, "that one is still there"
    assert surplus(Surge(fresh={"2": "vm-2"}, removed={"2": "vm-old"}), snapshot) == 0, "the id was given again"
    assert surplus(Surge(fresh={"2": "vm-2", "8": "vm-8"}, removed={"8": "vm-8"}), snapshot) == 1, (
        "one of ours was replaced"
    )


def test_ids_that_are_given_again() -> None:
    from vmss_sim.world.config import Platform

    run = FOUR.but(platform=Platform(reuse_ids=True), parameters={"size": 1}).run(twice=True)
    assert run.state.ending == "finish"
    assert len(run.world.vms) == 4
    assert set(versions(run).values()) == {NEW}


def test_only_the_declared_commands() -> None:
    kinds = {one.kind for one in FOUR.run().sent()}
    assert kinds == {Kind.UPDATE_MODEL.value, Kind.SET_CAPACITY.value, Kind.DELETE.value}


def test_a_rollout_without_surge_remembers_nothing_of_one() -> None:
    run = Case(fleet=Fleet(size=2)).run()
    assert all(record.state.surge == Surge() for record in run.turns())


def test_repairs_that_stay_on_are_told() -> None:
    from planner.lint import lint_plan

    place = Fleet(size=4).scale_set()
    plan: Plan = FOUR.plan()
    on = type(place.model)(
        **{
            **{name: getattr(place.model, name) for name in place.model.__struct_fields__},
            "repairs": AutomaticRepairs(enabled=True),
        }
    )
    live = type(place)(model=on, instances=place.instances)
    assert "VS343" in [one.code for one in lint_plan(plan, live)]
    assert "VS343" not in [one.code for one in lint_plan(plan, place)]


def test_minutes_are_enough() -> None:
    assert FOUR.run().world.now < 5 * MINUTE


@pytest.mark.parametrize("at", [0, 30_000, 100_000, 150_000])
@pytest.mark.parametrize("size", [1, 2])
def test_one_that_somebody_deletes_leaves_its_batch_and_the_floor_follows(at: int, size: int) -> None:
    """The drift table absorbs it. Nobody gave the floor as a count, so it is that of a set with one less; what was added for it goes again."""
    for name in "0123":
        run = FOUR.but(parameters={"size": size}, acts=(Act(at, "delete", (name,)),)).run(twice=True)
        deleted = any(
            not one.ours and name in one.before for one in run.world.log
        )  # else it had been exchanged already
        assert (run.state.ending, run.state.reason) == ("finish", ""), name
        assert len(run.world.vms) == 4 - deleted
        assert not run.world.vms.keys() & set("0123")
        keeps_the_floor(run)


def test_a_floor_that_was_given_as_a_count_stays() -> None:
    run = FOUR.but(parameters={"size": 1}, more={"floor": 4}, acts=(Act(0, "delete", ("0",)),)).run(twice=True)
    assert run.state.ending == "stop"
    assert "nothing could be added or taken" in run.state.reason


@pytest.mark.parametrize("floor", [None, "n-1", "100%"])
def test_while_what_was_asked_for_comes_the_floor_does_not_follow_it(floor: str | None) -> None:
    """Also before it is claimed: else whoever looks while a surge adds is told that the floor is broken."""
    run = FOUR.but(fails={0: (1,)}, more={} if floor is None else {"floor": floor}).run()
    turns = run.turns()
    seen = [one.scale_set for one in observations(turns)]
    coming = [(turn.state, later) for turn, later in zip(turns, seen[1:], strict=False) if turn.state.surge.wanted]
    assert [len(later.instances) for _, later in coming] == [6, 6, 6], "two, one in place of one that failed, two"
    for state, one in (*coming, *zip((turn.state for turn in turns), seen, strict=True)):
        assert floor_now(run.plan, state, one) == run.plan.floor.absolute
