"""A rollout whose journal is lost: what the set tells, what nobody can know, and the same end."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import msgspec
import pytest

from backends import operate
from planner.model import RollingPolicy, RollingUpgrade, UpgradeMode
from planner.planfile import decode
from planner.recovery import recover
from planner.rollout import Rollout
from planner.trace import Recovered, Turn, replay
from tests.fleet import NEW, Act, Case, Fleet, act
from tests.test_apply import Desk, desk
from tests.test_executor_process import HELD

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=4, mode=UpgradeMode.ROLLING, repairs=True), parameters={"approve": True})


def lost(desk: Callable[[Case], Desk], case: Case = CASE) -> Desk:
    """One batch is done, the next waits for its approval, and the store is gone."""
    here = desk(case)
    assert here.run("apply").status == 3
    shutil.rmtree(here.folder)
    return here


def test_it_goes_on_and_ends_as_it_would_have(desk: Callable[[Case], Desk]) -> None:
    here = lost(desk)
    ran = here.run("recover", str(here.file), "--yes")
    assert ran.status == 3, ran
    for says in ("1 instance of the plan: moved: 0", "3 instances of the plan: old: 3, 1, 2", "the model says the target",
                 "mode manual (before the rollout rolling)", "automatic repairs are suspended", "which batches were approved"):  # fmt: skip
        assert says in ran.out, says
    while (status := here.run("approve", here.rollout).status or here.run("resume", "--yes").status) == 3:
        pass
    assert status == 0
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",), ("3",), ("1",), ("2",)], "none twice"
    assert (here.world.mode, here.world.repairs_suspended) == ("rolling", False)
    records = list(here.store.journal(here.rollout).records())
    (start,) = [one.state for one in records if isinstance(one, Recovered)]
    turns = [one for one in records if isinstance(one, Turn)]
    assert all(record.state == state for record, state in replay(Rollout(here.plan), turns, start))


def test_what_was_moved_before_goes_back_too(desk: Callable[[Case], Desk]) -> None:
    here = lost(desk)
    assert here.run("recover", str(here.file), "--yes").status == 3
    assert here.run("rollback", "--yes").status == 1
    assert here.state.ending == "rollback", here.state.reason
    assert not [vm.id for vm in here.world.vms.values() if vm.image is not None and vm.image.exact == NEW]


def test_what_is_in_motion_is_waited_for_and_not_touched_again(desk: Callable[[Case], Desk]) -> None:
    here = desk(HELD.but(fails={}))
    assert here.run("apply", "--max-runtime", "0s").status == 3
    here.world.run(10_000, stop_on_wake=False)
    here.run("resume", "--yes", "--max-runtime", "0s")
    shutil.rmtree(here.folder)
    while not here.world.started("0"):
        assert here.run("recover", str(here.file), "--yes", "--max-runtime", "0s").status == 3
        here.world.run(here.world.now + 3_000, stop_on_wake=False)
        shutil.rmtree(here.folder)
    assert here.run("recover", str(here.file), "--yes").status == 0
    assert [here.world.started(name) for name in ("0", "1", "2")] == [1, 1, 1]
    assert (here.world.mode, here.world.repairs_suspended) == ("rolling", False)


def test_where_the_journal_is_there_it_is_gone_on_with(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    assert here.run("apply").status == 3
    ran = here.run("recover", str(here.file), "--yes")
    assert (ran.status, f"`vmss-sim resume {here.rollout}` goes on with it" in ran.err) == (2, True)


def test_one_that_was_killed_before_it_wrote_what_it_found_is_recovered_again(desk: Callable[[Case], Desk]) -> None:
    here = lost(desk)
    data = here.file.read_bytes()
    read = decode(data, "plan")
    operate.begin(here.store, read, data, f"{read.plan.tool}{operate.RECOVERED}")[1].release()
    sent = here.sent()
    for word in ("resume", "rollback"):
        ran = here.run(word, "--yes")
        assert (ran.status, "its recovery was broken off" in ran.err) == (2, True), ran
    assert here.sent() == sent
    assert here.run("recover", str(here.file), "--yes").status == 3
    assert len(here.store.rollouts()) == 1
    assert here.run("rollback", "--yes").status == 1
    assert not [vm.id for vm in here.world.vms.values() if vm.image is not None and vm.image.exact == NEW]


def test_it_counts_approvals_as_apply_does(desk: Callable[[Case], Desk]) -> None:
    here = lost(desk, CASE.but(more={"author": "ann"}))
    sent, opened = here.sent(), here.opened
    ran = here.run("recover", str(here.file), "--yes", "--require-approvals", "1")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert "the plan is not approved by enough people" in ran.err
    assert "found 0 (none)" in ran.err
    assert (here.sent(), here.opened, here.store.rollouts()) == (sent, opened, ())
    assert here.run("approve", str(here.file), "--by", "bob").status == 0
    assert here.run("recover", str(here.file), "--yes", "--require-approvals", "1").status == 3


SURGE = Case(fleet=Fleet(size=4), strategy="surge", parameters={"size": 2, "approve": True})


def lost_surge(desk: Callable[[Case], Desk], *, after: str) -> tuple[Desk, list[str]]:
    """A surge whose store is gone: after its first batch, or once it has added for it and taken nothing. Returns what it added."""
    here = desk(SURGE.but(parameters={"size": 2, "approve": after == "batch"}))
    if after == "batch":
        assert here.run("apply").status == 3
    else:
        here.run("apply", "--max-runtime", "0s")
        while len(here.world.vms) == 4:
            here.world.run(here.world.now + 5_000, stop_on_wake=False)
            assert here.run("resume", "--yes", "--max-runtime", "0s").status == 3
        here.world.run(here.world.now + 100_000, stop_on_wake=False)
    shutil.rmtree(here.folder)
    added = sorted(name for name in here.world.vms if name not in here.plan.scale_set.instances)
    assert len(added) == 2
    return here, added


@pytest.mark.parametrize("after", ["batch", "addition"])
def test_a_surge_is_gone_on_with_once_somebody_said_what_it_added(desk: Callable[[Case], Desk], after: str) -> None:
    here, added = lost_surge(desk, after=after)
    sent = here.sent()
    ran = here.run("recover", str(here.file), "--yes")
    assert ran.status == 2, ran
    assert "2 instances that the plan did not see" in ran.err
    assert f"say --added {','.join(added)}, or those of them that it was, or --added none; nothing was sent" in ran.err
    wrong = here.run("recover", str(here.file), "--yes", "--added", "0")
    assert (wrong.status, "not an instance that the surge may have added: 0" in wrong.err) == (2, True)
    assert here.sent() == sent
    status = here.run("recover", str(here.file), "--yes", "--added", ",".join(added)).status
    while status == 3:
        status = here.run("approve", here.rollout).status or here.run("resume", "--yes").status
    assert status == 0
    assert here.state.ending == "finish", here.state.reason
    assert len(here.world.vms) == 4, "none too many, none too few"
    assert {vm.image.exact for vm in here.world.vms.values() if vm.image} == {NEW}
    assert set(added) <= here.world.vms.keys(), "what it added took the place of others"
    kinds = [kind for kind, _ in here.sent() if kind in ("set-capacity", "delete")]
    assert kinds == ["set-capacity", "delete", "set-capacity", "delete"], "no exchange twice"


def test_what_others_added_is_left_alone(desk: Callable[[Case], Desk]) -> None:
    here, added = lost_surge(desk, after="addition")
    assert here.run("recover", str(here.file), "--yes", "--added", "none").status == 0
    assert len(here.world.vms) == 6
    assert set(added) <= here.world.vms.keys()


def test_what_a_surge_added_goes_back_where_it_was_said(desk: Callable[[Case], Desk]) -> None:
    here, added = lost_surge(desk, after="batch")
    assert here.run("recover", str(here.file), "--yes", "--added", ",".join(added)).status == 3
    assert here.run("rollback", "--yes").status == 1
    assert here.state.ending == "rollback", here.state.reason
    assert len(here.world.vms) == 4
    assert not [vm.id for vm in here.world.vms.values() if vm.image is not None and vm.image.exact == NEW]


def test_while_instances_are_being_created_nobody_can_tell(desk: Callable[[Case], Desk]) -> None:
    here = desk(SURGE)
    act(here.world, Act(0, "update-model", args={"patch": here.plan.resolved.patch}))
    here.world.run(5_000, stop_on_wake=False)
    act(here.world, Act(0, "set-capacity", args={"capacity": 5}))
    here.world.run(10_000, stop_on_wake=False)
    ran = here.run("recover", str(here.file), "--yes", "--added", "4")
    assert (ran.status, "are being created" in ran.err) == (2, True), ran
    assert here.sent() == []


def test_a_rollout_of_the_platform_that_goes_on_is_nobodys() -> None:
    case = Case(
        fleet=Fleet(size=4, mode=UpgradeMode.ROLLING, rolling=RollingPolicy()),
        strategy="platform-rolling",
        more={"floor": 2},
    )
    seen = case.fleet.scale_set()
    rolling = RollingUpgrade(code="RollingForward", successful=1, in_progress=1, pending=2)
    found = recover(case.plan(), msgspec.structs.replace(seen, rolling_upgrade=rolling), 1_000)
    assert "a rollout of the platform goes on (1 done, 1 in progress, 2 pending)" in found.refused
    assert "recover when it is over" in found.todo
    over = msgspec.structs.replace(rolling, code="Completed", in_progress=0, pending=0)
    assert recover(case.plan(), msgspec.structs.replace(seen, rolling_upgrade=over), 1_000).refused == ""


def test_a_model_that_says_something_else_is_refused(desk: Callable[[Case], Desk]) -> None:
    here = lost(desk)
    wrong = dict.fromkeys(here.plan.resolved.patch, "9.9.9")
    act(here.world, Act(0, "update-model", args={"patch": wrong}))
    here.world.run(here.world.now + 10_000, stop_on_wake=False)
    ran = here.run("recover", str(here.file), "--yes")
    assert (ran.status, "imageReference: found" in ran.err) == (2, True), ran


@pytest.mark.parametrize("failed", [True, False])
def test_a_failed_instance_has_its_ladder_again(failed: bool) -> None:
    case = Case(fleet=Fleet(size=2), fails={0: (1,)} if failed else {})
    made, plan = case.world(), case.plan()
    act(made, Act(0, "update-model", args={"patch": plan.resolved.patch}))
    made.run(2_000, stop_on_wake=False)
    act(made, Act(0, "upgrade", ("0",)))
    made.run(100_000, stop_on_wake=False)
    from backends.simulated import SimulatedBackend

    found = recover(plan, SimulatedBackend(made, case.fleet.scale_set()).observe().scale_set, 100_000)
    assert not found.refused
    memory = found.state.memory["0"]
    assert (memory.done, memory.ended_ms) == ((False, 100_000) if failed else (True, None))
    assert "1" not in found.state.memory


@pytest.mark.parametrize("case", [CASE, SURGE], ids=["no surge", "a surge that added nothing yet"])
@pytest.mark.parametrize("added", ["3", "99", "3,99"])
def test_nobody_is_taken_for_added_who_was_there_or_is_not(
    desk: Callable[[Case], Desk], case: Case, added: str
) -> None:
    """Whoever counts as added may be deleted in the end."""
    here = lost(desk, case) if case is CASE else desk(case)
    sent = here.sent()
    ran = here.run("recover", str(here.file), "--yes", "--added", added)
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran
    assert "not an instance that a surge may have added: 3" in ran.err or "99" in ran.err
    assert here.sent() == sent
