"""Whole rollouts against a world: what holds in every one of them, whatever fails, whoever interferes.

The checks read the world's own books (`WatchedWorld.log`: who served before and after each request), never the
machine's. Where they say less than one would like, the reason stands beside them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.amount import follow
from planner.buckets import UNTOUCHED
from planner.change import STAGES, Action, CurrentModel, GuestPatch, PropertyChange
from planner.commands import Kind, Status
from planner.lint.wording import instances
from planner.model import HealthSource, UpgradeMode
from planner.phases import Phase
from planner.plan import Deadlines, MovedBy, OnFailure, Plan, Rung
from planner.rollout import Asked, State
from tests.fleet import (
    MINUTE,
    NEW,
    OLD,
    OLDER,
    SETTING,
    Act,
    Ask,
    Case,
    Done,
    Fleet,
    Run,
    as_before,
    at_target,
    cases,
    examples,
    fault,
    fleets,
    others_act,
    plan_or_none,
)
from vmss_sim.world.config import Platform
from vmss_sim.world.scale_set import IMAGE

VERSION = IMAGE + "version"
REPORTED = HealthSource.EXTENSION


def ran(case: Case) -> Run:
    """The run; a case that `build` refuses is not looked at."""
    assume(plan_or_none(case) is not None)
    return case.run()


# -- what holds always ------------------------------------------------------------------------------------------------------


ANSWERS = (Asked.SKIP, Asked.RETRY, Asked.REPLACE, Asked.ABORT, Asked.ROLLBACK, Asked.EMERGENCY)
FAILED = {"too-many-failed", "gate-failed", "stalled", "surge-stuck", "replace-short"}


def rests(run: Run) -> None:
    """Ended, or paused for somebody: an operator, an approval, an answer."""
    state = run.state
    if state.phase is not Phase.ENDED:
        assert state.phase is Phase.PAUSED, state
        asked = state.question or state.reason.startswith("approval") or state.reason == "paused by an operator"
        noted = {note.rule for record in run.turns() for note in record.notes}
        assert asked or (run.plan.failures.then is OnFailure.PAUSE and noted & FAILED), state.reason
    else:
        assert state.ending in run.plan.ends
        assert state.ticket is None


def keeps_the_floor(run: Run) -> None:
    """A command of ours after which fewer VMs serve leaves at least the floor of its moment serving.

    Between two requests VMs only come back, unless they fail by themselves. So with none that do, and nobody else
    about, it follows that at no time fewer serve than the floor, or than served at the start if that was less. Without
    a health source the platform does not say who serves: nothing can be promised.
    """
    plan, sent = run.plan, run.commands()
    for one in run.sent():
        if not one.before - one.after:
            continue
        state = sent[one.command][1]
        if plan.moved_by is MovedBy.PLATFORM and not state.back:
            floor = 0
        elif state.back:
            floor = follow(plan.emergency_floor if state.emergency else plan.rollback_floor, one.total)
        else:
            floor = max(plan.floor_min, follow(plan.floor, one.total))
        if plan.surge is not None:
            now = set_should_have(state, one, case_total=len(plan.scale_set.instances))
            given = plan.rollback_floor if state.back else plan.floor
            exchanged = one.kind == "delete" and set(one.ids) <= state.surge.removed.keys()
            given = given if exchanged else plan.surge.in_place_floor
            given = plan.emergency_floor if state.back and state.emergency else given
            floor = follow(given, now) if state.back else max(plan.floor_min, follow(given, now))
        assert len(one.after) >= floor, f"{one.kind} of {one.ids} left {sorted(one.after)}, the floor is {floor}"


def set_should_have(state: State, one: Done, case_total: int) -> int:
    """How many instances the set should have: what a surge added and replaces none yet is not among them, nor what somebody else took away."""
    return min(one.total, case_total - one.less) if state.surge.fresh else one.total


def disturbs_nobody_without_need(run: Run) -> None:
    """Nothing is done to a VM that is where it should be and serves, by ground truth."""
    sent = run.commands()
    if run.plan.resolved.action in (Action.UPGRADE_THEN_REIMAGE, Action.RESTART):
        return  # there the image does not say what was done: `bounded` counts
    if isinstance(run.plan.resolved.change, PropertyChange) and run.plan.resolved.action is Action.REIMAGE:
        return
    for one in run.sent("upgrade", "reimage", "run-command", "delete"):
        if not sent[one.command][1].back:
            needless = set(one.ids) & one.right & one.before
            assert not needless, f"{one.kind} of {needless}, which served at the target"


def bounded(run: Run, case: Case) -> None:
    """No VM goes through more operations than the action has, plus the rungs of the ladder (a repair needs its operation
    again), in either direction; as often again for each time that an operator says to try it again.

    Not counted: an operation that failed, left everything as it was, and was not answered for. It cannot be told from a request
    that was lost, and is tried as often as a refusal. Nor what an Automatic set does to instances stale before.
    """
    plan, sent = run.plan, run.commands()
    if plan.moved_by is MovedBy.PLATFORM and (case.fleet.older or case.fleet.ahead):
        return
    rungs, unseen = plan.failures.ladder, taken_for_lost(run)
    most = len(STAGES[plan.resolved.action]) + len(rungs) - 1 + rungs.count(Rung.REIMAGE)
    retried = [one for one in run.journal.requests(0) if one.asked is Asked.RETRY]
    for back in (False, True):
        counts: Counter[str] = Counter()
        for one in run.sent():
            if sent[one.command][1].back is back:
                counts.update(set(one.started) - set(one.in_vain if one.command in unseen else ()))
        for name, count in counts.items():
            times = 1 + sum(not one.ids or name in one.ids for one in retried)
            assert count <= times * most, f"{count} operations began on {name}, at most {times * most} may"


def taken_for_lost(run: Run) -> set[str]:
    """The commands that nobody answered for and of which the set showed no effect."""
    lost: set[str] = set()
    ticket = None
    for record in run.turns():
        if ticket is not None and any(note.rule == "no-effect" for note in record.notes):
            lost.add(ticket.command.id)
        ticket = record.state.ticket
    return lost


def repaired_meanwhile(run: Run) -> bool:
    """Did the platform repair somebody before the rollout had given repairs back, or before now?"""
    restored_ms = max((one.now for one in run.sent("resume-repairs")), default=run.world.now)
    return any(when < restored_ms for when, _, _ in run.world.repair_service.log)


def held_back(run: Run) -> set[str] | None:
    """The VMs of which only time says how far they had come when it stopped, or turned around, because too much failed: the floor let them wait
    in the batch that it happened in, and their turn comes when others of it serve again, which does not wait for the executor. None: one of them
    was taken, and was given up on the way back, where that decides about all others too.
    """
    stages, at = len(STAGES[run.plan.resolved.action]), (False, 0)
    held, waited = set[str](), set[str]()
    for record in run.turns():
        rules, state = {note.rule for note in record.notes}, record.state
        if "too-many-failed" in rules and state.phase is not Phase.PAUSED:
            waited |= held
        if at != (state.back, state.batch):
            at, held = (state.back, state.batch), set()
        if "floor-holds" in rules:
            for name in _members(run, state, state.batch).difference(*(one.ids for one in record.commands)):
                memory = state.memory.get(name, UNTOUCHED)
                done = memory.stage >= stages and not memory.failed
                if not (done or memory.quarantined or memory.skipped):
                    held.add(name)
    given_up = {name for name, memory in run.state.memory.items() if memory.quarantined}
    return None if run.state.back and waited & given_up else waited


def _members(run: Run, state: State, batch: int) -> set[str]:
    """A batch's instances, with those that took the place of some."""
    batches = state.sequence if state.sequence is not None else (*run.plan.batches, *state.extra)
    return {*batches[batch].take, *(name for name, at in state.substitutes.joined.items() if at == batch)}


def leaves_alone(run: Run, case: Case) -> None:
    """Protected instances, and those no batch names."""
    plan = run.plan
    named = {name for batch in (*plan.batches, *run.state.extra) for name in batch.take} | run.state.surge.fresh.keys()
    named |= run.state.substitutes.joined.keys()  # these stand in the batch of whom they replace
    for one in run.sent():
        assert not {str(index) for index in case.fleet.protected} & set(one.started)
        if plan.moved_by is MovedBy.PLANNER:
            assert set(one.ids) <= named


def goes_in_order(run: Run) -> None:
    """Batches one after another, never back to one that is done; a command stays inside its batch."""
    last = {False: 0, True: 0}
    for command, state in run.commands().values():
        if command.batch is None:
            continue
        assert command.batch >= last[state.back]
        last[state.back] = command.batch
        assert set(command.ids) <= _members(run, state, command.batch) | state.surge.fresh.keys()


def one_at_a_time(run: Run) -> None:
    """No turn sends two commands, none is sent while another is in flight; a cancel, of which there is one at a time too, aside.

    In flight is what has no answer, until the set has shown what became of it, or a person has said so (where nothing shows it). A cancel is
    sent again only where nobody answered for it: not within the settle time after that was noticed, or as long as an operation may take.
    """
    before, deadlines = run.driver.rollout.start(), run.plan.deadlines
    sent: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for record in run.turns():
        assert len(record.commands) <= 1
        answered = {one.command for one in record.outcomes if one.status is not Status.UNKNOWN}
        for one in record.outcomes:
            if one.status is Status.UNKNOWN:
                unknown.setdefault(one.command, record.now_ms)
        if record.commands and record.commands[0].kind is Kind.CANCEL_ROLLING:
            assert record.state.handed.cancel is not None
            assert record.state.handed.cancel.command == record.commands[0]
            last = before.handed.cancel
            if last is not None and last.command.id not in answered:
                name = last.command.id
                settled_ms = unknown.get(name, sent[name] + deadlines.operation_ms) + deadlines.settle_ms
                assert record.now_ms >= min(settled_ms, sent[name] + deadlines.operation_ms), "cancelled twice"
        elif record.commands:
            assert record.state.ticket is not None
            assert record.state.ticket.command == record.commands[0]
            settled = before.ticket is None or before.ticket.command.id in answered
            looked = any(note.rule in ("adopted", "adopted-partly", "no-effect") for note in record.notes)
            said = bool(before.question) and any(one.asked in ANSWERS for one in record.requests)
            assert settled or looked or said, f"{record.commands[0].id} is sent while {before.ticket} is in flight"
        sent |= {one.id: record.now_ms for one in record.commands}
        before = record.state


def safe(run: Run, case: Case) -> None:
    """What holds whatever happens."""
    rests(run)
    goes_in_order(run)
    one_at_a_time(run)
    if not case.acts:
        leaves_alone(run, case)


def the_mode_is_as_said(run: Run, epoch_ms: int = 0) -> None:
    """An ended rollout's set is in the mode from before where that moves nobody, or where it never left it, or where the table of ends says so;
    else in the mode it was carried out in, and in mode Manual where the model of a platform's rollout was put back. epoch_ms: what the executors
    call the world's time 0.
    """
    plan, place, state = run.plan, run.world, run.state
    end, old, work, behind = plan.ends[state.ending], plan.scale_set.mode, plan.work_mode, stale(run, epoch_ms)
    was = (
        plan.resolved.reverse
    )  # nothing, where the plan changes no model: then the empty update hands over, and puts nothing back
    put_back = bool(was) and any(one.args.get("patch") == was for one in run.sent("update-model"))
    given_up = plan.moved_by is MovedBy.PLATFORM and (end.model, end.mode) == ("pinned", "as-is")
    if old is UpgradeMode.MANUAL or (given_up and put_back):
        expected = UpgradeMode.MANUAL
    elif old is work or not run.sent("set-mode"):
        expected = old
    else:
        expected = old if end.mode == "restored" and not behind else work
    told = f"{state.ending} leaves mode {place.mode}, not {expected.value} ({state.reason}; stale: {behind})"
    assert place.mode == expected.value, told


def stale(run: Run, epoch_ms: int) -> list[str]:
    """The VMs that would have been moved in a mode in which the platform moves them, and those given up, of which nobody knows, when it was
    decided whether that mode comes back. Repairs come back after it, and the platform may at once replace one that was stale: nobody decides
    again, and where the executor is dead by then, nobody could.
    """
    place = run.world
    given_up = {name for name, memory in run.state.memory.items() if memory.quarantined}
    decided = (one.now_ms for one in run.turns() if one.state.phase is Phase.ENDED or _mode_is_decided(one.state))
    since_ms = next(decided) - epoch_ms
    repaired = {name for when, name, _ in place.repair_service.log if when >= since_ms}
    there = (*place.vms.values(), *(vm for vm in place.gone if vm.id in repaired))
    return [vm.id for vm in there if vm.id in given_up or not place.is_latest(vm)]


def _mode_is_decided(state: State) -> bool:
    """Is the end past the step that brings the mode back (`planner/machine/setlevel.py`)?"""
    return state.phase is Phase.FINISHING and state.step > 1


@examples(150)
@given(cases(trouble=("fails", "bad"), source=REPORTED))
def test_instances_that_fail(case: Case) -> None:
    run = ran(case)
    safe(run, case)
    keeps_the_floor(run)
    disturbs_nobody_without_need(run)
    bounded(run, case)
    never_below(run, case)


@examples(150)
@given(cases(trouble=("fails", "faults"), source=REPORTED))
def test_a_platform_that_refuses_loses_and_delays(case: Case) -> None:
    run = ran(case)
    safe(run, case)
    keeps_the_floor(run)
    disturbs_nobody_without_need(run)
    bounded(run, case)
    never_below(run, case)


@examples(150)
@given(cases(trouble=("fails", "faults", "asks"), source=REPORTED))
def test_operators_who_change_their_mind(case: Case) -> None:
    run = ran(case)
    safe(run, case)
    keeps_the_floor(run)
    disturbs_nobody_without_need(run)
    bounded(run, case)
    never_below(run, case)


@examples(200)
@given(cases(trouble=("fails", "bad", "faults", "asks", "acts"), source=REPORTED))
def test_somebody_else_at_work(case: Case) -> None:
    run = ran(case)
    safe(run, case)
    keeps_the_floor(run)
    if not isinstance(run.plan.resolved.change, CurrentModel):  # another model moves the target too
        disturbs_nobody_without_need(run)


@examples(150)
@given(cases(trouble=("fails", "bad", "flap", "background", "faults", "asks", "acts")))
def test_everything_at_once_comes_to_rest(case: Case) -> None:
    safe(ran(case), case)


def never_below(run: Run, case: Case) -> None:
    """The step function of serving VMs, from the world's outages: never below the floor, or what served at the start."""
    plan = run.plan
    if case.acts or case.mttf_s or case.bad_after_ms or plan.moved_by is MovedBy.PLATFORM:
        return
    replaced = any(one.kind == "delete" for one in run.sent())
    if replaced:
        return  # the number of VMs changes, and with it what the outages count
    lowest = min(
        max(plan.floor_min, plan.floor.absolute),
        plan.rollback_floor.absolute if run.state.back else plan.floor.absolute + plan.floor_min,
        plan.emergency_floor.absolute if run.state.back and run.state.emergency else len(plan.scale_set.instances),
    )
    edges: Counter[int] = Counter()
    for start, end in run.world.outages():
        edges[start] -= 1
        if end is not None:
            edges[end] += 1
    serving = len(plan.scale_set.instances) + edges.pop(0, 0)
    least = min(lowest, serving)
    for time in sorted(edges):
        serving += edges[time]
        assert serving >= least, f"{serving} serve at {time} ms, the floor is {least}"


# -- how rollouts end -----------------------------------------------------------------------------------------------------------


@examples(200)
@given(cases(trouble=("fails", "bad", "faults", "asks")))
def test_the_end_is_what_it_is_called(case: Case) -> None:
    run = ran(case)
    plan, place, state = run.plan, run.world, run.state
    assume(state.phase is Phase.ENDED)
    vms = place.vms
    members = [name for batch in (*plan.batches, *state.extra) for name in batch.take if name in vms]
    if plan.surge is not None and not case.odd:  # what replaced them
        members += [name for name in state.surge.fresh if name in vms and name not in members]
    left = {name for name, memory in state.memory.items() if memory.quarantined or memory.skipped}
    if state.ending == "finish":
        assert not left & set(members)
        for name in members:
            assert at_target(plan, place, vms[name]), name
    elif state.ending == "finish-with-exceptions":
        for name in set(members) - left:
            assert at_target(plan, place, vms[name]), name
    elif state.ending == "rollback" and plan.moved_by is MovedBy.PLANNER:
        for name in {name for batch in state.sequence or () for name in batch.take if name in vms} - left:
            assert as_before(plan, place, vms[name]), name


@examples(200)
@given(cases(trouble=("fails", "bad", "asks")))
def test_the_set_is_left_as_the_table_of_ends_says(case: Case) -> None:
    run = ran(case)
    plan, place, state = run.plan, run.world, run.state
    assume(state.phase is Phase.ENDED)
    end = plan.ends[state.ending]
    original = dict(case.world().model)
    patched, reversed_ = {**original, **plan.resolved.patch}, {**original, **plan.resolved.reverse}
    if end.model == "target":
        assert place.model == patched
    elif end.model == "pinned":
        assert place.model in (original, reversed_)
    assert place.repairs_suspended is False
    the_mode_is_as_said(run)


def test_a_rollout_of_the_platform_s_own_that_changes_no_model_puts_none_back() -> None:
    case = Case(
        fleet=Fleet(size=1, mode=UpgradeMode.ROLLING, model=NEW),
        change=CurrentModel(),
        strategy="platform-rolling",
        more={"deadlines": Deadlines(rollout_ms=60_000)},
    )
    run = case.run(twice=True)
    assert (run.state.ending, run.world.mode) == ("stop", "rolling")
    the_mode_is_as_said(run)


@examples(60)
@given(fleets(7, source=REPORTED, sick=(), unknown=(), protected=(), ahead=()), st.data())
def test_one_failure_more_than_tolerated_ends_it_and_not_one_less(fleet: Fleet, data: st.DataObject) -> None:
    """One by one, so that who fails is known before: exactly `max_failed` are given up, the next one ends the rollout."""
    retries = data.draw(st.integers(0, 2))
    tolerated = data.draw(st.integers(0, 3))
    doomed = data.draw(st.sets(st.integers(0, fleet.size - 1)))
    lucky = {index: tuple(range(1, 1 + data.draw(st.integers(0, retries)))) for index in range(fleet.size)}
    fails = {index: (1, 2, 3) if index in doomed else lucky[index] for index in range(fleet.size)}
    case = Case(
        fleet=fleet,
        change=CurrentModel()
        if fleet.image == "platform" and fleet.model == NEW
        else PropertyChange(path=SETTING, value=1),
        parameters={"retries": retries, "max_failed": tolerated},
        more={"floor": 0},
        fails={index: attempts for index, attempts in fails.items() if attempts},
        becomes=data.draw(st.sampled_from(("dead", "old-image"))),
    )
    run = ran(case)
    order = [int(name) for batch in run.plan.batches for name in batch.take]
    failing = [index for index in order if index in doomed]
    assert run.world.started(str(order[0])) == (retries + 1 if order[0] in doomed else len(lucky[order[0]]) + 1)
    if len(failing) > tolerated:
        last = failing[tolerated]
        assert run.state.ending == "stop"
        assert run.state.reason.startswith(f"{instances(tolerated + 1)} failed, {tolerated} are tolerated")
        reached = order[: order.index(last) + 1]
    else:
        assert run.state.ending == ("finish-with-exceptions" if failing else "finish")
        reached = order
    for index in order:
        tried = retries + 1 if index in doomed else len(lucky[index]) + 1
        assert run.world.started(str(index)) == (tried if index in reached else 0)


@examples(40)
@given(fleets(6, source=REPORTED, unknown=(), protected=(), ahead=(), image="platform"), st.integers(1, 6))
def test_the_sick_go_first_and_cost_nothing(fleet: Fleet, size: int) -> None:
    assume(len(fleet.sick) < fleet.size)
    parameters = {"size": size, "unhealthy_first": True, "fit": True}
    floor = fleet.size - len(fleet.sick) - 1
    run = ran(Case(fleet=fleet, strategy="batch", parameters=parameters, more={"floor": max(0, floor)}))
    order = [name for one in run.sent("upgrade") for name in one.ids]
    sick = {str(index) for index in fleet.sick}
    assert set(order[: len(sick)]) == sick
    assert run.state.ending == "finish"


# -- somebody else ------------------------------------------------------------------------------------------------------------------


@examples(40)
@given(
    fleets(5, source=REPORTED, sick=(), unknown=(), protected=(), ahead=(), image="platform", zones=0),
    st.integers(0, 12),
    st.integers(1, 4),
)
def test_instances_that_appear_boot_the_new_model_and_are_left_alone(fleet: Fleet, after: int, more: int) -> None:
    act = Act(after * 30_000, "set-capacity", (), {"capacity": fleet.size + more})
    run = ran(Case(fleet=fleet, acts=(act,)))
    assume(run.state.phase is Phase.ENDED)
    added = {str(fleet.size + index) for index in range(more)}
    if run.state.ending == "finish" and act.at > 1_000:
        assert not any(run.world.started(name, ("upgrade",)) for name in added)
    if run.state.ending == "finish":
        assert all(at_target(run.plan, run.world, run.world.vms[name]) for name in added if name in run.world.vms)


@pytest.mark.parametrize("policy", ["append", "leave", "stop"])
def test_an_instance_added_on_the_old_model_goes_by_the_plans_word(policy: str) -> None:
    """It appears just before the model changes."""
    case = Case(
        fleet=Fleet(size=3, repairs=True),
        more={"new_instances": policy},
        acts=(Act(500, "set-capacity", (), {"capacity": 4}),),
    )
    run = case.run(twice=True)
    new = run.world.vms["3"]
    if policy == "append":
        assert run.state.ending == "finish"
        assert [one.ids for one in run.sent("upgrade")][-1] == ("3",)
        assert at_target(run.plan, run.world, new)
    elif policy == "leave":
        assert run.state.ending == "finish"
        assert not run.world.started("3", ("upgrade",))
    else:
        assert run.state.ending == "stop"
        assert "3" in run.state.reason


def test_an_instance_that_vanishes_leaves_its_batch() -> None:
    case = Case(fleet=Fleet(size=4), strategy="batch", parameters={"size": 2}, acts=(Act(30_000, "delete", ("2",)),))
    run = case.run(twice=True)
    assert run.state.ending == "finish"
    assert sorted(name for one in run.sent("upgrade") for name in one.ids) == ["0", "1", "3"]


def test_an_instance_replaced_under_its_own_id_counts_as_new() -> None:
    """5 goes and comes back as another VM, on the new model: at the target, so nothing is left to do."""
    acts = (Act(30_000, "delete", ("5",)), Act(50_000, "set-capacity", (), {"capacity": 6}))
    case = Case(fleet=Fleet(size=6, update_domains=6), acts=acts, platform=Platform(reuse_ids=True))
    run = case.run(twice=True)
    assert run.state.ending == "finish"
    assert run.world.vms["5"].vm_id not in {machine.vm_id for machine in run.world.config.machines}
    assert not run.world.started("5", ("upgrade",))


def test_an_instance_somebody_upgraded_already_is_not_upgraded_again() -> None:
    run = Case(fleet=Fleet(size=3), acts=(Act(30_000, "upgrade", ("2",)),)).run(twice=True)
    assert run.state.ending == "finish"
    assert [one.ids for one in run.sent("upgrade")] == [("0",), ("1",)]


@pytest.mark.parametrize("mode", ["automatic", "rolling"])
def test_a_mode_changed_by_somebody_else_stops_it(mode: str) -> None:
    run = Case(fleet=Fleet(size=4, repairs=True), acts=(Act(30_000, "set-mode", (), {"mode": mode}),)).run(twice=True)
    assert run.state.ending == "drift"
    assert f"upgradePolicy.mode is {mode}, expected manual" in run.state.reason
    assert len(run.sent("upgrade")) == 1
    assert run.world.mode == mode
    assert run.world.model[VERSION] == NEW  # as it is: a model update would move instances now
    assert run.world.repairs_suspended is False


def test_a_set_that_changed_since_the_plan_is_refused_and_nothing_is_sent() -> None:
    case = Case(fleet=Fleet(size=3), acts=(Act(0, "update-model", (), {"patch": {VERSION: "3.0.0"}}),))
    run = case.run()
    assert (run.state.phase, run.state.ending) == (Phase.ENDED, "refused")
    assert "imageReference is Canonical:ubuntu:22_04:3.0.0" in run.state.reason
    assert not run.sent()


def test_protection_set_during_the_rollout_is_respected() -> None:
    acts = (Act(30_000, "", (), {}, others_act("2", protected=True)),)
    run = Case(fleet=Fleet(size=3), acts=acts).run(twice=True)
    assert run.state.ending == "finish-with-exceptions", "the plan said that it would be moved"
    assert not run.world.started("2")


# -- operators ------------------------------------------------------------------------------------------------------------------------


def test_every_batch_but_the_first_waits_for_its_approval() -> None:
    case = Case(fleet=Fleet(size=3), parameters={"approve": True})
    for count in range(3):
        run = case.but(asks=tuple(Ask((one + 1) * 10 * MINUTE, Asked.APPROVE) for one in range(count))).run(twice=True)
        assert len(run.sent("upgrade")) == count + 1
        if count < 2:
            assert run.state.phase is Phase.PAUSED
            assert run.state.reason.startswith(f"approval needed for batch {count + 2}")
        else:
            assert run.state.ending == "finish"


def test_approval_is_not_given_in_advance() -> None:
    run = Case(fleet=Fleet(size=3), parameters={"approve": True}, asks=(Ask(10_000, Asked.APPROVE),)).run()
    assert len(run.sent("upgrade")) == 1
    assert run.state.phase is Phase.PAUSED


@examples(30)
@given(st.integers(0, 400), st.integers(1, 400))
def test_a_pause_stops_the_next_command_and_resume_goes_on(at: int, span: int) -> None:
    asks = (Ask(at * 1000, Asked.PAUSE), Ask((at + span) * 1000, Asked.RESUME))
    run = Case(fleet=Fleet(size=3), asks=asks).run()
    assert run.state.ending == "finish"
    if not any(note == "paused" for note in run.rules()):
        return
    paused = next(one.now_ms for one in run.turns() if one.state.phase is Phase.PAUSED)
    assert not any(paused <= one.now < (at + span) * 1000 for one in run.sent())


@examples(30)
@given(st.integers(0, 400), st.sampled_from((Asked.ABORT, Asked.ROLLBACK)))
def test_abort_leaves_instances_and_rollback_takes_them_back(at: int, asked: Asked) -> None:
    case = Case(fleet=Fleet(size=3, mode=UpgradeMode.AUTOMATIC, repairs=True), asks=(Ask(at * 1000, asked),))
    run = case.run()
    touched = {name for one in run.sent() for name in one.started}
    if run.state.ending == "finish":
        assert at * 1000 >= run.sent("upgrade")[-1].now
        return
    assert run.state.ending == asked.value
    assert run.world.model[VERSION] == OLD
    assert run.world.repairs_suspended is False
    if asked is Asked.ROLLBACK:
        assert run.world.mode == "automatic"
        for name in touched:
            assert as_before(run.plan, run.world, run.world.vms[name])
    else:
        assert not any(one.now > at * 1000 for one in run.sent("upgrade"))


def test_every_instance_goes_back_to_what_it_ran_itself() -> None:
    """Two versions in one set: the model gives one of them, the other is reimaged to its own."""
    for action in (Action.UPGRADE, Action.REIMAGE):
        case = Case(fleet=Fleet(size=4, older=(0, 3)), action=action, asks=(Ask(30 * MINUTE, Asked.ROLLBACK),))
        run = case.but(parameters={"soak_ms": 8 * MINUTE}).run(twice=True)
        assert run.state.ending == "rollback"
        assert all(vm.attempt == 2 for vm in run.world.vms.values())
        assert [vm.image.exact for vm in run.world.vms.values() if vm.image] == [OLDER, OLD, OLD, OLDER]
        versions = [one.args["exact_version"] for one in run.sent("reimage") if one.now > 30 * MINUTE]
        assert sorted(versions) == [OLDER, OLDER] + [OLD, OLD] * (action is Action.REIMAGE)


def test_rollback_goes_in_reverse() -> None:
    run = Case(fleet=Fleet(size=4), asks=(Ask(3 * MINUTE, Asked.ROLLBACK),)).run()
    order = [one.ids[0] for one in run.sent("upgrade")]
    forward = order[: len(order) // 2]
    assert order[len(order) // 2 :] == list(reversed(forward))
    pairs = Case(fleet=Fleet(size=4), strategy="batch", parameters={"size": 2, "soak_ms": 5 * MINUTE})
    run = pairs.but(asks=(Ask(10 * MINUTE, Asked.ROLLBACK),)).run()
    assert [one.ids for one in run.sent("upgrade")] == [("0", "3"), ("1", "2"), ("2", "1"), ("3", "0")]


def test_an_emergency_goes_below_the_rollback_floor_but_not_below_its_own() -> None:
    case = Case(
        fleet=Fleet(size=6, update_domains=1),
        strategy="per-ud",
        parameters={"soak_ms": 5 * MINUTE},  # so that all serve again when it is asked
        more={"floor": 3, "rollback_floor": 5, "emergency_floor": 4},
    )
    for asked, size in ((Asked.ROLLBACK, 1), (Asked.EMERGENCY, 2)):
        run = case.but(asks=(Ask(10 * MINUTE, asked),)).run()
        sent = run.commands()
        back = [one for one in run.sent("upgrade") if sent[one.command][1].back]
        assert run.state.ending == "rollback"
        assert {len(one.ids) for one in run.sent("upgrade") if one not in back} == {3}
        assert max(len(one.ids) for one in back) == size
        assert min(len(one.after) for one in back) == 6 - size


def test_a_skipped_instance_is_left_out() -> None:
    run = Case(fleet=Fleet(size=3), asks=(Ask(10_000, Asked.SKIP, ("1",)),)).run(twice=True)
    assert run.state.ending == "finish-with-exceptions"
    assert not run.world.started("1")


def test_a_retry_gives_an_instance_its_ladder_again() -> None:
    case = Case(
        fleet=Fleet(size=3, update_domains=3),
        fails={0: (1, 2)},
        parameters={"retries": 1, "max_failed": 1},
        more={"floor": 1},
    )
    assert case.run().state.ending == "finish-with-exceptions"
    again = case.but(
        strategy="batch", parameters={**case.parameters, "size": 3, "soak_ms": 10 * MINUTE}, more={"floor": 0}
    )
    late = again.run().sent("upgrade")[-1].now + 3 * MINUTE
    run = again.but(asks=(Ask(late, Asked.RETRY, ("0",)),)).run(twice=True)
    assert run.state.ending == "finish"
    assert run.world.started("0") == 3


@pytest.mark.parametrize(
    ("asked", "ending", "tries"),
    [
        ((), "", 1),
        ((Asked.RESUME,), "", 1),
        ((Asked.SKIP, Asked.RESUME), "finish-with-exceptions", 1),
        ((Asked.RETRY, Asked.RESUME), "finish", 2),
        ((Asked.REPLACE, Asked.RESUME), "finish", 1),
        ((Asked.ROLLBACK,), "rollback", 1),
        ((Asked.ABORT,), "abort", 1),
    ],
)
def test_where_too_many_failed_it_can_rest_until_somebody_decides(
    asked: tuple[Asked, ...], ending: str, tries: int
) -> None:
    named = (Asked.SKIP, Asked.RETRY, Asked.REPLACE)
    run = Case(
        fleet=Fleet(size=4),
        fails={1: (1,)},
        parameters={"retries": 0, "on_failure": "pause"},
        more={"floor": 2},
        asks=tuple(Ask(60 * MINUTE + n, one, ("1",) if one in named else ()) for n, one in enumerate(asked)),
    ).run(twice=True)
    assert run.state.ending == ending
    if not ending:
        assert run.state.phase is Phase.PAUSED
        assert run.state.reason.startswith("1 instance failed, 0 are tolerated; first: 1")
        assert [one.ids for one in run.sent("upgrade")] == [("0",), ("3",), ("1",)], "and nothing more is taken"
    if ending != "rollback":
        assert sum("1" in one.ids for one in run.sent("upgrade")) == tries


def test_a_gate_that_does_not_hold_is_asked_again_when_it_goes_on() -> None:
    case = Case(
        fleet=Fleet(size=3),
        bad=(1,),
        bad_after_ms=60_000,
        parameters={"soak_ms": 5 * MINUTE, "on_failure": "pause"},
        more={"floor": 1},
    )
    assert case.run(twice=True).state.phase is Phase.PAUSED
    asks = (Ask(120 * MINUTE, Asked.SKIP, ("1",)), Ask(120 * MINUTE + 1, Asked.RESUME))
    assert case.but(asks=asks).run(twice=True).state.ending == "finish-with-exceptions"


# -- ladders --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ladder", "fails", "expected", "ending"),
    [
        ((), (1,), ["upgrade"], "stop"),
        ((Rung.UPGRADE,), (1,), ["upgrade", "upgrade"], "finish"),
        ((Rung.UPGRADE,), (1, 2), ["upgrade", "upgrade"], "stop"),
        ((Rung.UPGRADE, Rung.UPGRADE), (1, 2), ["upgrade"] * 3, "finish"),
        ((Rung.REIMAGE,), (1,), ["upgrade", "reimage", "upgrade"], "finish"),
        ((Rung.REIMAGE,), (1, 2), ["upgrade", "reimage"], "stop"),
        ((Rung.UPGRADE, Rung.REIMAGE), (1, 2), ["upgrade", "upgrade", "reimage", "upgrade"], "finish"),
        ((Rung.REPLACE,), (1,), ["upgrade", "delete", "set-capacity"], "finish"),
        (
            (Rung.UPGRADE, Rung.REIMAGE, Rung.REPLACE),
            (1, 2, 3),
            ["upgrade", "upgrade", "reimage", "delete", "set-capacity"],
            "finish",
        ),
    ],
)
def test_the_ladder_is_climbed_rung_by_rung(
    ladder: tuple[Rung, ...], fails: Any, expected: list[str], ending: str
) -> None:
    case = Case(
        fleet=Fleet(size=2),
        ladder=(*ladder, Rung.QUARANTINE),
        fails={0: fails},
        strategy="selected",
        parameters={"ids": ["0"]},
    )
    run = case.run(twice=True)
    assert [one.kind for one in run.sent()][1 : len(expected) + 1] == expected
    assert run.state.ending == ending
    if ending == "finish":
        assert len(run.world.vms) == 2
        assert all(at_target(run.plan, run.world, vm) for name, vm in run.world.vms.items() if name != "1")


def test_a_set_that_lost_an_instance_to_a_ladder_gets_it_back_when_the_rollout_is_aborted() -> None:
    case = Case(fleet=Fleet(size=3), ladder=(Rung.REPLACE, Rung.QUARANTINE), fails={0: (1,)})
    deleted = case.run().sent("delete")[0].now
    run = case.but(asks=(Ask(deleted + 1_000, Asked.ABORT),)).run()
    assert run.state.ending == "abort"
    assert len(run.world.vms) == 3


# -- gates and soak -----------------------------------------------------------------------------------------------------------------


def test_a_soak_starts_again_when_the_gate_breaks() -> None:
    """Instance 0 serves from 81 s; the soak of 10 min is broken at 300 s for 40 s."""
    case = Case(fleet=Fleet(size=2), parameters={"soak_ms": 10 * MINUTE}, acts=(Act(300_000, "restart", ("0",)),))
    run = case.run(twice=True)
    assert run.state.ending == "finish"
    second = run.sent("upgrade")[1].now
    assert second == 300_000 + 20_000 + 20_000 + 10 * MINUTE
    quiet = case.but(acts=()).run()
    assert quiet.sent("upgrade")[1].now == 81_000 + 10 * MINUTE


@pytest.mark.parametrize(
    ("then", "ending"), [("stop", "stop"), ("rollback-batch", "rollback"), ("rollback-all", "rollback")]
)
def test_a_gate_that_does_not_hold_ends_the_rollout_as_the_plan_says(then: str, ending: str) -> None:
    """Instance 1 turns bad five minutes after it served at the target; instance 0 is fine."""
    case = Case(
        fleet=Fleet(size=3),
        bad=(1,),
        bad_after_ms=60_000,
        parameters={"soak_ms": 5 * MINUTE, "on_failure": then},
        more={"floor": 1},
    )
    run = case.run(twice=True)
    assert run.state.ending == ending
    assert "1 upgraded instances are out of service, 0 are tolerated; first: 1" in run.state.reason
    back = {name for one in run.sent("upgrade")[2:] for name in one.started}
    assert back == {"stop": set(), "rollback-batch": {"1"}, "rollback-all": {"0", "1"}}[then]


def test_a_gate_in_dry_run_only_says_so() -> None:
    case = Case(
        fleet=Fleet(size=2),
        bad=(0,),
        bad_after_ms=60_000,
        parameters={"soak_ms": 5 * MINUTE},
        more={"floor": 0, "gates_dry_run": True},
    )
    run = case.run()
    assert run.state.ending == "finish"
    assert "gate-dry-run" in run.rules()


def test_upgraded_instances_out_of_service_are_tolerated_up_to_the_number_and_not_beyond() -> None:
    case = Case(fleet=Fleet(size=4), bad=(0, 1), bad_after_ms=60_000, parameters={"soak_ms": 5 * MINUTE})
    assert case.but(more={"floor": 0, "upgraded_unhealthy": 2}).run().state.ending == "finish"
    assert case.but(more={"floor": 0, "upgraded_unhealthy": 1}).run().state.ending == "stop"


def test_a_drop_is_counted_against_what_served_at_the_start() -> None:
    case = Case(fleet=Fleet(size=4, sick=(3,)), bad=(0,), parameters={"max_failed": 1, "retries": 0})
    tolerant = case.but(more={"floor": 0, "drop": 1, "upgraded_unhealthy": 4}).run()
    strict = case.but(more={"floor": 0, "drop": 0, "upgraded_unhealthy": 4}).run()
    assert tolerant.state.ending == "finish-with-exceptions"
    assert strict.state.ending == "stop"
    assert "2 instances are in service, 3 were before; a drop of 0 is tolerated" in strict.state.reason


def test_a_pause_between_batches_is_kept_and_not_after_the_last() -> None:
    run = Case(fleet=Fleet(size=2), parameters={"pause_ms": 5 * MINUTE}).run()
    assert run.sent("upgrade")[1].now == 81_000 + 5 * MINUTE
    assert run.world.now == run.sent("upgrade")[1].now + 80_000


@examples(40)
@given(cases(trouble=("fails", "bad", "flap", "background"), source=REPORTED))
def test_health_that_flaps_never_makes_two_commands_of_one(case: Case) -> None:
    run = ran(replace(case, mttf_s=900))
    safe(run, case)
    if not isinstance(run.plan.resolved.change, GuestPatch):
        disturbs_nobody_without_need(run)


# -- the platform ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["refuse", "lose-request", "lose-reply", "delay", "hang", "fail"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_one_fault_anywhere_is_survived_and_nothing_is_done_twice(verdict: str, number: int) -> None:
    """On the way: repairs, mode, model, two instances, and back to mode and repairs."""
    case = Case(
        fleet=Fleet(size=2, mode=UpgradeMode.AUTOMATIC, repairs=True),
        faults=(fault(verdict, number, delay_ms=90_000 if verdict == "delay" else 0),),
    )
    run = case.run(twice=True)
    fatal = verdict == "fail" and number in (1, 2, 3, 6)
    assert run.state.ending == ("finish" if not fatal else "finish-with-exceptions" if number == 6 else "stop")
    if not fatal or number == 6:
        assert all(vm.attempt == 1 and at_target(run.plan, run.world, vm) for vm in run.world.vms.values())
    if not fatal:
        assert run.world.mode == "automatic"
    assert run.world.repairs_suspended is False


def test_a_platform_that_goes_on_refusing_ends_the_rollout() -> None:
    from vmss_sim.world.faults import Fault

    run = Case(
        fleet=Fleet(size=2), faults=(Fault(verdict="refuse", first=2, last=99, of="upgrade", code="TooManyRequests"),)
    ).run()
    assert run.state.ending == "stop"
    assert "upgrade was refused 11 times in a row: TooManyRequests" in run.state.reason
    assert run.world.model[VERSION] == OLD


def test_the_time_the_platform_names_is_waited_for() -> None:
    run = Case(fleet=Fleet(size=1), more={"floor": 0}, faults=(fault("refuse", 2, retry_after_ms=77_000),)).run()
    assert [one.now for one in run.sent("upgrade")] == [1_000, 78_000]


def floor_of(plan: Plan) -> int:
    """The absolute floor."""
    return max(plan.floor_min, plan.floor.absolute)
