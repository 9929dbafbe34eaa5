"""maxSurge, rule by rule (docs/azure-rules.md): new instances first, quota, failures, and what cuts a surge short."""

from __future__ import annotations

import msgspec
import pytest

from tests.azure_world import (
    COIN,
    GONE,
    HOUR,
    IMAGE,
    NEW,
    OLD,
    READY,
    SECOND,
    UPGRADED,
    WORK,
    Luck,
    accepted,
    current,
    finish,
    image,
    make,
    on,
    put,
    rolling,
    tuned,
    until,
    wait,
)
from vmss_sim.world.config import RollingPolicy
from vmss_sim.world.faults import Autoscale
from vmss_sim.world.scale_set import World

SURGE = RollingPolicy(max_batch_percent=50, max_surge=True)


def serving(world: World) -> int:
    return sum(world.serving(vm) and vm.provisioning != "deleting" for vm in world.vms.values())


def test_a_surge_creates_before_it_deletes_and_capacity_never_drops() -> None:
    world = rolling(4, SURGE, zones=2)
    operation = put(world)
    lowest, most = 4, 4
    while operation.status == "running":
        wait(world, SECOND)
        lowest, most = min(lowest, serving(world)), max(most, len(world.vms))
    assert (lowest, most) == (4, 6)
    assert set(world.vms) == {"4", "5", "6", "7"}, "new instances have new ids"
    assert on(world, NEW) == current(world) == set(world.vms)
    assert [world.vms[one].machine.zone for one in ("4", "5", "6", "7")] == ["1", "1", "2", "2"]
    assert world.rolling_upgrade is not None
    assert world.rolling_upgrade.successful == 4


def test_old_instances_go_only_when_the_new_ones_are_healthy() -> None:
    world = rolling(2, SURGE)
    put(world)
    until(world, WORK + READY - SECOND)
    assert set(world.vms) == {"0", "1", "2"}
    assert world.vms["0"].provisioning == "succeeded"
    until(world, WORK + READY)
    assert world.vms["0"].provisioning == "deleting"
    until(world, WORK + READY + GONE)
    assert "0" not in world.vms


@pytest.mark.parametrize("limit", [{"quota_cores": 12, "cores_per_vm": 2}, {"addresses": 6}])
def test_quota_is_checked_before_each_batch_which_else_goes_in_place(limit: dict[str, int]) -> None:
    world = rolling(4, SURGE, **limit)
    operation = put(world)
    until(world, WORK)
    assert len(world.vms) == 6
    taken = {key: value - (2 if key == "quota_cores" else 1) for key, value in limit.items() if key != "cores_per_vm"}
    world.config = msgspec.structs.replace(world.config, **taken)
    finish(world, operation)
    assert set(world.vms) == {"2", "3", "4", "5"}, "the first batch surged, the second was upgraded in place"
    assert on(world, NEW) == set(world.vms)


def test_addresses_limit_a_surge_as_cores_do() -> None:
    world = rolling(4, SURGE, addresses=5)
    finish(world, put(world))
    assert set(world.vms) == {"0", "1", "2", "3"}
    assert on(world, NEW) == set(world.vms)


@pytest.mark.parametrize(("left", "ids"), [("deleted", {"0", "1"}), ("left", {"0", "1", "2"})])
def test_a_new_instance_that_fails_leaves_its_old_one_in_place(left: str, ids: set[str]) -> None:
    world = rolling(2, SURGE, luck=Luck(fails=(0,)), failures=COIN, platform=tuned(surge_failed=left))
    operation = finish(world, put(world))
    assert operation.code == UPGRADED
    wait(world, HOUR)
    assert set(world.vms) == ids
    assert {"0", "1"} <= on(world, OLD)
    assert world.rolling_upgrade is not None
    assert (world.rolling_upgrade.failed, world.rolling_upgrade.pending) == (1, 1)


def test_a_surge_that_reuses_ids_counts_and_deletes_the_right_ones() -> None:
    world = rolling(4, SURGE, luck=Luck(fails=(2,)), failures=COIN, platform=tuned(reuse_ids=True))
    operation = finish(world, put(world, rolling=msgspec.structs.replace(SURGE, max_unhealthy_upgraded_percent=25)))
    assert operation.status == "succeeded"
    first = {machine.vm_id for machine in world.config.machines}
    found = sorted((vm.vm_id if vm.vm_id in first else "", vm.image.exact) for vm in world.vms.values() if vm.image)
    assert found == [("", NEW), ("", NEW), ("", NEW), ("vm-2", OLD)]
    assert world.rolling_upgrade is not None
    assert (world.rolling_upgrade.successful, world.rolling_upgrade.failed) == (3, 1)


def test_a_surge_leaves_who_is_up_to_date_where_it_is() -> None:
    world = make(2, version="latest", exact=OLD, rolling=SURGE, each={"0": {"image": image("latest", NEW)}}, latest=NEW)
    finish(world, accepted(world, "os-rolling-upgrade"))
    assert set(world.vms) == {"0", "2"}
    assert on(world, NEW) == {"0", "2"}
    assert world.rolling_upgrade is not None
    assert world.rolling_upgrade.successful == 2


@pytest.mark.parametrize("when", [10 * SECOND, WORK + 10 * SECOND])
@pytest.mark.parametrize("how", ["cancelled", "abandoned", "preempted"])
def test_a_surge_stopped_half_way_leaves_no_more_instances_than_before(when: int, how: str) -> None:
    world = rolling(4, SURGE, platform=tuned(cancel_batch="abandoned" if how == "abandoned" else "complete"))
    put(world)
    until(world, when)
    assert len(world.vms) == 6
    if how == "preempted":
        finish(world, put(world, patch={IMAGE + "version": "3.0.0"}))
        assert on(world, "3.0.0") == set(world.vms)
    else:
        finish(world, accepted(world, "cancel-rolling-upgrade"))
        wait(world, HOUR)
        assert on(world, NEW) == ({"4", "5"} if how == "cancelled" else set())
        assert world.rolling_upgrade is not None
        assert world.rolling_upgrade.successful == (2 if how == "cancelled" else 0)
    assert len(world.vms) == 4


@pytest.mark.parametrize("by", [2, 1, -1, -2])
def test_what_a_surge_adds_is_no_capacity(by: int) -> None:
    policy = msgspec.structs.replace(SURGE, max_unhealthy_percent=100)
    world = rolling(4, policy, disturbances=(Autoscale(at_ms=WORK, by=by),), platform=tuned(scale_in="newest"))
    operation = put(world)
    until(world, WORK)
    assert (len(world.vms), len(world.counted())) == (6 + by, 4 + by)
    finish(world, operation)
    wait(world, HOUR)
    assert len(world.vms) == len(world.counted()) == 4 + by
    assert on(world, NEW) == set(world.vms)


def test_who_is_to_replace_an_instance_that_was_deleted_meanwhile_goes_too() -> None:
    world = rolling(4, SURGE)
    operation = put(world)
    until(world, 10 * SECOND)
    accepted(world, "delete", "1")
    finish(world, operation)
    wait(world, HOUR)
    assert len(world.vms) == 3
    assert on(world, NEW) == set(world.vms)


def test_a_surge_that_was_cancelled_ends_when_the_next_rollout_begins() -> None:
    world = rolling(4, SURGE)
    put(world)
    until(world, 10 * SECOND)
    accepted(world, "cancel-rolling-upgrade")
    assert world.rollouts.lent
    operation = put(world, patch={IMAGE + "version": "3.0.0"})
    assert not world.rollouts.lent, "they go at once"
    assert len(world.counted()) == 4
    finish(world, operation)
    wait(world, HOUR)
    assert len(world.vms) == 4
    assert on(world, "3.0.0") == set(world.vms)


def test_a_surged_instance_has_none_of_the_old_ones_disks() -> None:
    world = rolling(2, SURGE)
    world.vms["0"].data = 5
    finish(world, put(world))
    assert [vm.data for vm in world.vms.values()] == [0, 0]
    assert len({vm.vm_id for vm in world.vms.values()} | {"vm-0", "vm-1"}) == 4
