"""What the state machine of `test_world_stateful.py` found in the world, each as a short story of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.world_choices import HOUR, IMAGE, MINUTE, OLD, SETTING, SLOW, some_world
from vmss_sim.world.config import AutoOs, Failures, Platform, Repairs, RollingPolicy, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault, Outage
from vmss_sim.world.scale_set import NEVER, World
from vmss_sim.world.timings import Constant

SURGE = RollingPolicy(
    max_batch_percent=40, max_unhealthy_percent=100, max_unhealthy_upgraded_percent=100, max_surge=True
)
NEW = {IMAGE + "version": "2.0.0"}


def world(*, seed: int = 1, size: int = 3, **changes: Any) -> World:
    """A plain set of 3: mode Manual, constant durations, nothing fails."""
    config: WorldConfig = some_world(lambda options: options[0])
    machines = tuple(
        msgspec.structs.replace(config.machines[0], id=str(number), vm_id=f"vm-{number}", update_domain=number % 2)
        for number in range(size)
    )
    config = msgspec.structs.replace(config, **{"mode": "manual", "machines": machines, **changes})
    return World(config, Draws(seed, 0, len(config.machines)))


def go(one: World, ms: int) -> World:
    """Time passes."""
    one.run(one.now + ms, stop_on_wake=False)
    return one


def ask(one: World, kind: str, *ids: str, **args: Any) -> Any:
    """A request that is accepted; its operation."""
    reply = one.submit(f"asked-{one.requests}", kind, ids, **args)
    assert reply.kind == "accepted", (reply.code, reply.message)
    return reply.operation


def alive(one: World) -> list[str]:
    return [vm.id for vm in one.vms.values() if vm.provisioning != "deleting"]


# -- instances ---------------------------------------------------------------------------------------------------------


def test_an_id_named_twice_is_operated_on_once() -> None:
    one = world()
    assert ask(one, "reimage", "1", "1").ids == ("1",)
    assert go(one, HOUR).vms["1"].attempt == one.vms["1"].disk == 1


def test_a_deleted_id_is_not_given_again() -> None:
    one = world()
    ask(one, "delete", "2")
    go(one, HOUR)
    ask(one, "set-capacity", capacity=3)
    assert list(one.vms) == ["0", "1", "3"]


def test_new_names_keep_away_from_those_that_are_there() -> None:
    plain = world().config.machines
    machines = tuple(
        msgspec.structs.replace(machine, id=f"web_{number:08x}", vm_id=f"vm-{number}")
        for machine, number in zip(plain, (3, 4, 7), strict=True)
    )
    one = world(machines=machines, flexible=True)
    ask(one, "set-capacity", capacity=8)
    assert len(one.vms) == 8
    assert len({vm.vm_id for vm in one.vms.values()}) == 8


def test_scale_in_takes_nobody_who_leaves_already() -> None:
    one = world()
    ask(one, "delete", "2")
    ask(one, "set-capacity", capacity=1)
    assert len(alive(one)) == 1
    assert len(go(one, HOUR).vms) == 1


@pytest.mark.parametrize("overlap", ["coalesce", "queue"])
def test_nothing_operates_on_an_instance_in_the_moment_it_goes(overlap: str) -> None:
    """Deletion that takes no time ends in the same millisecond, but after what else happens in it."""
    one = world(timings=Timings(operations={"restart": Constant(seconds=60)}), platform=Platform(overlap=overlap))
    ask(one, "delete", "1")
    reply = one.submit("late", "restart", ("1",))
    assert reply.kind == ("accepted" if overlap == "queue" else "refused")
    gone = go(one, HOUR).gone[0]
    assert gone.outages[-1][1] == NEVER, "who is gone does not come back into service"
    assert gone.attempt == 0


def test_looking_at_an_instance_before_it_is_deleted_does_not_matter() -> None:
    """What an operation has left behind is applied when somebody looks; deletion must not forget it."""
    told = []
    for looks in (False, True):
        one = world(failures=Failures(bad_share=1.0, bad_after_ms=HOUR))
        ask(one, "update-model", patch=NEW)
        one.faults = (Fault(verdict="hang", first=2, last=2),)
        ask(one, "upgrade", "1")
        go(one, 2 * MINUTE)
        if looks:
            one.state(one.vms["1"])
        ask(one, "delete", "1")
        told.append(list(go(one, HOUR).exposures()))
    assert told[0] == told[1]
    assert told[0], "it ran the bad image for some seconds"


def test_looking_does_not_change_whose_luck_a_new_instance_has() -> None:
    slots = []
    for looks in (False, True):
        one = world()
        ask(one, "update-model", patch=NEW)
        one.faults = (Fault(verdict="hang", first=2, last=2),)
        ask(one, "upgrade", "0")
        go(one, HOUR)
        if looks:
            one.state(one.vms["0"])
        ask(one, "set-capacity", capacity=4)
        slots.append(one.vms["3"].slot)
    assert slots == [1, 1], "the heir of the first that still has the old model"


def test_what_turns_bad_while_it_is_down_is_not_shown_healthy() -> None:
    one = world(
        failures=Failures(bad_share=1.0, bad_after_ms=90_000),
        timings=Timings(operations=dict(SLOW), probe_ms=5_000),
        disturbances=(Outage(at_ms=100_000, for_ms=30 * MINUTE, ids=("0",)),),
    )
    ask(one, "update-model", patch=NEW)
    ask(one, "upgrade", "0")
    while one.now < 200_000:
        go(one, 1_000)
        if one.now > 105_000:
            assert one.state(one.vms["0"])[2] == "unhealthy", one.now


def test_a_failure_that_was_not_noticed_yet_is_over_with_the_next_operation() -> None:
    one = world(
        timings=Timings(operations=dict(SLOW), ready=Constant(seconds=60), probe_ms=30_000),
        disturbances=(Outage(at_ms=1_000, for_ms=HOUR, ids=("0",)),),
    )
    go(one, 2_000)
    ask(one, "restart", "0")
    go(one, 15_000 + 1_000)
    assert not one.serving(one.vms["0"])
    assert one.state(one.vms["0"])[2] == "unhealthy"


def test_what_takes_nothing_down_starts_nothing() -> None:
    one = world(restart_on_delta=False)
    ask(one, "deallocate", "0")
    go(one, HOUR)
    ask(one, "update-model", patch={SETTING: "new"})
    ask(one, "upgrade", "0")
    assert go(one, HOUR).state(one.vms["0"])[1] == "deallocated"
    assert one.is_latest(one.vms["0"])


def test_an_automatic_update_tries_each_instance_once() -> None:
    """Also where it has to wait for one of them: those that failed meanwhile are not tried again."""
    one = world(mode="automatic", size=7, failures=Failures(upgrade=0.5))
    ask(one, "redeploy", "0")
    ask(one, "update-model", patch=NEW)
    go(one, HOUR)
    assert [vm.attempt for vm in one.vms.values()] == [2, 1, 1, 1, 1, 1, 1]


# -- rollouts ----------------------------------------------------------------------------------------------------------


def rolling(**changes: Any) -> World:
    """A set in mode Rolling; its update starts a rollout."""
    one = world(**{"mode": "rolling", **changes})
    ask(one, "update-model", patch=NEW)
    return one


def status(one: World) -> Any:
    """Of the last rollout."""
    assert one.rolling_upgrade is not None
    return one.rolling_upgrade


def test_progress_counts_each_member_once_at_any_time() -> None:
    one = rolling(size=7, platform=Platform(tick_ms=0))
    seen = set()
    while status(one).ended_ms is None:
        go(one, 100)
        now = status(one)
        if one.rollouts.past[-1].done:
            assert now.successful + now.failed + now.in_progress + now.pending == 7
        seen.add(now.in_progress)
    assert seen == {0, 1, 2}


def test_a_newer_update_waits_for_what_the_older_one_left_in_flight() -> None:
    """Else two update domains would be down at once."""
    slow = {**SLOW, "upgrade": Constant(seconds=600)}
    one = rolling(size=4, platform=Platform(first_check_ms=0), timings=Timings(operations=slow))
    while one.rollouts.past[-1].done[-1:] != [("1",)]:
        go(one, 1_000)
    ask(one, "update-model", patch={SETTING: "newer"})
    domains = set()
    while status(one).ended_ms is None:
        go(one, 1_000)
        down = [vm for vm in one.vms.values() if vm.busy_until > one.now]
        domains.add(frozenset(vm.machine.update_domain for vm in down))
    assert domains == {frozenset(), frozenset({0}), frozenset({1})}


def test_a_repair_that_fights_a_rollout_does_not_keep_it_for_ever() -> None:
    """Repaired every five minutes, and never well: the rollout waits five minutes after its own operation."""
    one = rolling(
        repairs=Repairs(enabled=True, grace_ms=5 * MINUTE, action="restart"),
        failures=Failures(bad_share=1.0),
    )
    go(one, 5 * HOUR)
    assert status(one).code == "Completed"
    assert status(one).failed == 3
    assert one.repair_service.log


def test_who_reports_initializing_without_any_operation_is_not_waited_for_for_ever() -> None:
    """It boots the newest image already, so nothing happens to it that could end it."""
    plain = world().config
    current = msgspec.structs.replace(plain.machines[0].image, version="latest")
    machines = tuple(msgspec.structs.replace(one, health="initializing", image=current) for one in plain.machines)
    one = world(machines=machines, model={**plain.model, IMAGE + "version": "latest"})
    operation = ask(one, "os-rolling-upgrade")
    go(one, 5 * HOUR)
    assert operation.status != "running"
    assert status(one).ended_ms is not None


def test_the_first_threshold_is_looked_at_when_the_window_opens() -> None:
    """Not hours before: what is unhealthy then keeps it from starting."""
    one = world(
        model={**world().config.model, IMAGE + "version": "latest"},
        auto_os=AutoOs(enabled=True, window_ms=(6 * HOUR, 5 * HOUR, 24 * HOUR)),
        latest="1.1.0",
        disturbances=(Outage(at_ms=5 * HOUR, for_ms=24 * HOUR),),
    )
    go(one, 12 * HOUR)
    assert status(one).error_code == "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
    assert one.rollouts.past[-1].done == []


# -- surge -------------------------------------------------------------------------------------------------------------


def surging(**changes: Any) -> World:
    """The first instance has got a successor, which is being created."""
    one = rolling(rolling=SURGE, **changes)
    while len(one.vms) == len(one.config.machines):
        go(one, 1_000)
    return one


def test_an_instance_protected_while_its_successor_is_created_stays() -> None:
    one = surging()
    ask(one, "protect", "0", protected=True)
    go(one, HOUR)
    assert sorted(alive(one)) == ["0", "4", "5"]
    assert status(one).code == "Completed"


def test_who_deletes_an_instance_during_a_surge_deletes_its_place() -> None:
    one = surging()
    ask(one, "delete", "0")
    assert len(go(one, HOUR).vms) == 2


def test_an_instance_whose_successor_was_deleted_counts_as_failed() -> None:
    one = surging()
    go(one, MINUTE // 2)
    one.vms["3"].busy_until = one.now  # it is there now
    ask(one, "delete", "3")
    go(one, HOUR)
    now = status(one)
    assert (now.successful, now.failed, now.pending) == (2, 1, 0)
    assert "0" in one.vms


@pytest.mark.parametrize(("capacity", "left"), [(2, 2), (3, 3), (5, 5), (0, 0)])
def test_scaling_during_a_surge_counts_a_pair_as_one(capacity: int, left: int) -> None:
    one = surging()
    ask(one, "set-capacity", capacity=capacity)
    go(one, 3 * HOUR)
    assert len(one.vms) == left


def test_a_cancelled_surge_counts_each_member_once() -> None:
    """One of two successors is healthy and counted, and restarted in the moment in which the cancelling ends."""
    one = surging(size=6, platform=Platform(tick_ms=0), failures=Failures(bad_share=0.5), seed=1)
    go(one, MINUTE)
    rollout = one.rollouts.past[-1]
    assert len(rollout.successful) == 1
    ask(one, "cancel-rolling-upgrade")
    for name in tuple(rollout.pairs):
        ask(one, "restart", name)
    go(one, HOUR)
    assert not set(rollout.successful) & set(rollout.failed)
    assert len(one.vms) == 6


# -- what piles up -----------------------------------------------------------------------------------------------------


def test_looks_at_the_sick_do_not_multiply() -> None:
    one = world(
        health="rich",
        timings=Timings(operations={}, probe_ms=0),
        repairs=Repairs(enabled=True, grace_ms=10 * MINUTE, action="restart"),
        failures=Failures(bad_share=1.0),
    )
    ask(one, "update-model", patch=NEW)
    ask(one, "upgrade", "*")
    go(one, 4 * HOUR)
    early = len(one.env._queue)
    go(one, 40 * HOUR)
    assert len(one.env._queue) <= early


def test_old_versions_stay_what_they_are() -> None:
    """The plain world of these stories is one in which nothing happens by itself."""
    one = go(world(), 24 * HOUR)
    assert {vm.image.exact for vm in one.vms.values() if vm.image} == {OLD}
    assert not list(one.exposures())


# -- what a review found -----------------------------------------------------------------------------------------------


def test_a_surge_is_judged_by_the_instances_that_came() -> None:
    """They turn bad after they were counted as upgraded; the ids of those they replaced are gone."""
    policy = RollingPolicy(
        max_batch_percent=20,
        max_unhealthy_percent=100,
        max_unhealthy_upgraded_percent=0,
        max_surge=True,
        pause_ms=600_000,
    )
    for surge in (False, True):
        chosen = msgspec.structs.replace(policy, max_surge=surge)
        one = world(size=10, mode="rolling", rolling=chosen, failures=Failures(bad_share=1.0, bad_after_ms=60_000))
        ask(one, "update-model", patch=NEW)
        go(one, 12 * HOUR)
        status = one.rolling_upgrade
        assert status is not None
        assert (status.code, status.successful) == ("Faulted", 4), surge


def test_a_surge_of_an_os_upgrade_boots_what_the_rollout_began_with() -> None:
    model = {**world().config.model, IMAGE + "version": "latest"}
    policy = RollingPolicy(
        max_batch_percent=40, max_unhealthy_percent=100, max_unhealthy_upgraded_percent=100, max_surge=True
    )
    one = world(size=6, mode="rolling", model=model, latest="1.0.0", rolling=policy)
    one.publish("2.0.0")
    ask(one, "os-rolling-upgrade")
    go(one, 10 * MINUTE)
    one.publish("3.0.0")
    go(one, 12 * HOUR)
    assert {vm.image.exact for vm in one.vms.values() if vm.image} == {"2.0.0"}


def test_an_upgrade_to_another_model_does_not_join_the_one_before() -> None:
    one = world()
    ask(one, "update-model", patch=NEW)
    ask(one, "upgrade", "0")
    go(one, 1_000)
    ask(one, "upgrade", "0")  # the same model: it joins
    ask(one, "update-model", patch={IMAGE + "version": "3.0.0"})
    assert one.submit("x", "upgrade", ("0",)).code == "Conflict"


def test_each_vm_has_buckets_of_its_own() -> None:
    one = world(size=30, platform=Platform(throttle=True))
    replies = [one.submit(f"r{number}", "run-command", (str(number),), run_name="p") for number in range(30)]
    assert {reply.kind for reply in replies} == {"accepted"}


def test_whatever_boots_a_deallocated_vm_asks_the_quota() -> None:
    for kind in ("start", "restart", "upgrade", "reimage", "redeploy"):
        one = world(quota_cores=2)
        ask(one, "deallocate", "0")
        go(one, HOUR)
        assert one.submit("x", kind, ("0",)).code == "OperationNotAllowed", kind


def test_what_failed_to_provision_and_reports_healthy_serves() -> None:
    plain = world().config.machines
    machines = (msgspec.structs.replace(plain[0], provisioning="failed", health="healthy"), *plain[1:])
    one = world(machines=machines)
    assert one.serving(one.vms["0"])
    assert one.state(one.vms["0"]) == ("failed", "running", "healthy")
