"""Automatic instance repairs (docs/azure-rules.md, 3.3)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_worlds import (
    CUSTOM_DATA,
    HOUR,
    MINUTE,
    NEW,
    OLD,
    QUIET,
    SECOND,
    TOOK,
    ask,
    at,
    new_version,
    shown,
    small,
    timings,
    vm_of,
)
from vmss_sim.world.config import Failures, Repairs, RollingPolicy
from vmss_sim.world.scale_set import World

GRACE = 600
ON = Repairs(enabled=True, grace_ms=GRACE * SECOND)
SICK = {"health": "unhealthy"}
FOR_EVER = 1 << 50


def sick(*numbers: int) -> dict[int, dict[str, Any]]:
    return dict.fromkeys(numbers, SICK)


def fall(world: World, name: str, when_s: float) -> None:
    """The application dies at that time, until something is done about it."""
    at(world, when_s)
    world.vms[name].generation += 1
    world.fail(world.vms[name], 1 << 62)


def log(world: World) -> list[tuple[float, str, str]]:
    return [(when / SECOND, name, action) for when, name, action in world.repair_service.log]


# -- when -----------------------------------------------------------------------------------------------------------


def test_repairs_are_off_by_default_with_ten_minutes_of_grace_and_replacing() -> None:
    assert Repairs() == Repairs(enabled=False, grace_ms=10 * MINUTE, action="replace")
    assert log(at(small(4, odd=sick(1)), 10_000)) == []


@given(grace=st.integers(600, 5400))
def test_a_sick_instance_is_repaired_when_the_grace_period_after_its_last_change_is_over(grace: int) -> None:
    repairs = Repairs(enabled=True, grace_ms=grace * SECOND, action="restart")
    world = small(2, repairs=repairs, failures=Failures(bad_share=1.0))
    new_version(world)
    ask(world, "upgrade", "0")
    ripe = TOOK["upgrade"] + grace
    assert log(at(world, ripe - 0.001)) == []
    assert log(at(world, ripe)) == [(ripe, "0", "restart")]
    assert {name for _, name, _ in log(at(world, 20_000))} == {"0"}


@given(first=st.integers(61, 659), gap=st.integers(20, 619))
def test_every_operation_on_the_instance_starts_the_grace_period_anew(first: int, gap: int) -> None:
    world = small(1, repairs=ON, failures=Failures(bad_share=1.0))
    new_version(world)
    ask(world, "upgrade", "0")
    for when in (first, first + gap):
        at(world, when)
        ask(world, "restart", "0")
    ripe = first + gap + TOOK["restart"] + GRACE
    assert log(at(world, ripe - 0.001)) == []
    assert [when for when, _, _ in log(at(world, ripe))] == [ripe]


def test_what_fails_long_after_its_last_change_is_repaired_at_once_or_by_option_after_the_grace_period() -> None:
    for option, when in (("change", 5_005), ("unhealthy", 5_005 + GRACE)):
        platform = msgspec.structs.replace(QUIET, repairs_wait=option)
        world = small(4, repairs=Repairs(enabled=True, grace_ms=GRACE * SECOND, action="restart"), platform=platform)
        fall(world, "2", 5_000)
        at(world, 10_000)
        assert log(world) == [(when, "2", "restart")]


def test_what_recovers_within_the_grace_period_is_left_alone() -> None:
    world = small(2, repairs=ON, timings=timings(ready=500))
    ask(world, "restart", "0")
    at(world, 10_000)
    assert log(world) == []
    slow = small(
        2, repairs=Repairs(enabled=True, grace_ms=GRACE * SECOND, action="restart"), timings=timings(ready=700)
    )
    ask(slow, "restart", "0")
    at(slow, 1_300)
    assert log(slow)[0] == (TOOK["restart"] + GRACE, "0", "restart")  # it would have come; repairs fight what is slow


def test_a_new_instance_has_its_grace_period() -> None:
    world = small(2, repairs=ON, timings=timings(ready=700))
    ask(world, "set-capacity", capacity=3)
    at(world, TOOK["scale-out"] + GRACE - 1)
    assert log(world) == []
    at(world, TOOK["scale-out"] + GRACE)
    assert [name for _, name, _ in log(world)] == ["2"]


def test_unknown_is_repaired_like_unhealthy_and_initializing_is_not() -> None:
    for state, repaired in (("unknown", ["0"]), ("initializing", [])):
        world = small(2, health="rich", health_grace_ms=4 * HOUR, odd={0: {"health": state}}, repairs=ON)
        at(world, GRACE + 1)
        assert [name for _, name, _ in log(world)] == repaired, state


def test_enabling_in_the_middle_finds_what_is_sick_what_is_in_flight_and_what_fails_later() -> None:
    restart = Repairs(enabled=True, grace_ms=GRACE * SECOND, action="restart")
    world = small(40, odd=sick(0), failures=Failures(bad_share=0.0))
    at(world, 1_000)
    world.vms["1"].first_image = world.vms["1"].image
    ask(world, "restart", "1")
    at(world, 1_010)
    assert ask(world, "update-model", repairs=restart).kind == "accepted"
    fall(world, "1", 1_040)
    fall(world, "2", 3_000)
    at(world, 6_000)
    assert log(world) == [(1_010, "0", "restart"), (1_020 + GRACE, "1", "restart"), (3_005, "2", "restart")]


def test_an_instance_that_was_in_flight_when_repairs_were_enabled_is_watched() -> None:
    world = small(4, failures=Failures(bad_share=1.0))
    new_version(world)
    ask(world, "upgrade", "3")
    at(world, 10)
    ask(world, "update-model", repairs=ON)
    at(world, 60 + GRACE)
    assert [(when, name) for when, name, _ in log(world)] == [(60 + GRACE, "3")]


def test_disabling_stops_repairs() -> None:
    world = small(4, odd=sick(0, 1), repairs=ON)
    at(world, 300)
    ask(world, "update-model", repairs=Repairs())
    assert log(at(world, 9_000)) == []
    assert world.repair_service.state == "NotRunning"


# -- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "together"), [(1, 1), (19, 1), (20, 1), (39, 1), (40, 2), (60, 3), (99, 4), (100, 5)])
@pytest.mark.parametrize("action", ["replace", "reimage", "restart"])
def test_at_most_five_percent_are_repaired_at_a_time_and_one_at_least(n: int, together: int, action: str) -> None:
    world = small(n, odd=sick(*range(n)), repairs=Repairs(enabled=True, grace_ms=GRACE * SECOND, action=action))
    took = {"replace": 45, "reimage": 50, "restart": 20}[action]
    at(world, GRACE + 4 * took)
    starts = [when for when, _, _ in log(world)]
    most = max(sum(start <= when < start + took for start in starts) for when in starts)
    assert most == together
    assert len(starts) == min(n, 5 * together)  # and as soon as one is done the next begins


def test_a_replacement_is_in_progress_until_the_new_one_is_there_and_the_old_one_gone() -> None:
    world = small(3, odd=sick(0, 1), repairs=ON, timings=timings(delete=200))
    at(world, 2_000)
    assert [when for when, _, _ in log(world)] == [GRACE, GRACE + 200]


# -- what ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "id_kept", "os_disk", "data", "temp"),
    [("replace", False, 0, 0, 0), ("reimage", True, 1, 0, 0), ("restart", True, 0, 0, 0)],
)
def test_what_each_action_keeps(action: str, id_kept: bool, os_disk: int, data: int, temp: int) -> None:
    world = small(3, zones=3, odd=sick(1), repairs=Repairs(enabled=True, grace_ms=GRACE * SECOND, action=action))
    old = world.vms["1"]
    at(world, GRACE + 100)
    assert log(world) == [(GRACE, "1", action)]
    if id_kept:
        vm = vm_of(world, "1")
        assert (vm.vm_id, vm.disk, vm.data, vm.temp) == (old.vm_id, os_disk, data, temp)
    else:
        assert list(world.vms) == ["0", "2", "3"]
        vm = vm_of(world, "3")
        assert vm.vm_id not in {"guid-0", "guid-1", "guid-2"}
        assert (vm.machine.zone, vm.machine.update_domain) == (old.machine.zone, old.machine.update_domain)
    assert shown(world, vm.id) == ("succeeded", "running", "healthy")


def test_a_replacement_is_on_the_present_model_and_a_reimage_boots_it() -> None:
    for action in ("replace", "reimage", "restart"):
        world = small(2, odd=sick(1), repairs=Repairs(enabled=True, grace_ms=GRACE * SECOND, action=action))
        new_version(world)
        ask(world, "update-model", patch={CUSTOM_DATA: "x"})
        at(world, GRACE + 200)
        vm = vm_of(world, "2" if action == "replace" else "1")
        assert vm.image.version == (OLD if action == "restart" else NEW), action
        assert world.is_latest(vm) == (action == "replace")


# -- whom not -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [{"protected": True}, {"scale_in_protected": True}, {"provisioning": "failed"}],
    ids=lambda odd: next(iter(odd)),
)
def test_protected_and_unprovisioned_instances_are_not_repaired(odd: dict[str, Any]) -> None:
    world = small(4, odd={0: {**SICK, **odd}}, repairs=ON)
    assert log(at(world, 50_000)) == []


def test_a_failed_upgrade_is_a_provisioning_failure_and_not_repaired() -> None:
    world = small(2, failures=Failures(upgrade=1.0), repairs=ON)
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 5_000)
    assert shown(world)[0] == "failed"
    assert log(world) == []


def test_protection_that_is_taken_away_lets_repairs_in() -> None:
    world = small(4, odd={0: {**SICK, "protected": True}}, repairs=ON)
    at(world, 2_000)
    ask(world, "protect", "0", protected=False)
    at(world, 2_001)
    assert log(world) == [(2_000, "0", "replace")]


def test_an_instance_in_an_operation_is_left_to_it() -> None:
    world = small(2, odd=sick(0), repairs=ON, timings=timings(restart=300))
    at(world, GRACE - 1)
    ask(world, "restart", "0")
    at(world, GRACE + 250)
    assert log(world) == []


# -- suspension -------------------------------------------------------------------------------------------------------------


def test_suspended_repairs_nobody_until_they_are_resumed() -> None:
    world = small(4, odd=sick(0), repairs=ON)
    assert world.repair_service.state == "Running"
    ask(world, "suspend-repairs")
    assert world.repair_service.state == "Suspended"
    fall(world, "1", 700)
    assert log(at(world, 5_000)) == []
    ask(world, "resume-repairs")
    at(world, 5_100)
    assert log(world)[0] == (5_000, "0", "replace")
    assert {name for _, name, _ in log(at(world, 9_000))} >= {"0", "1"}


def test_a_set_may_start_suspended() -> None:
    world = small(4, odd=sick(0), repairs=msgspec.structs.replace(ON, suspended=True))
    assert world.repair_service.state == "Suspended"
    assert log(at(world, 5_000)) == []


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_service_suspends_itself_when_replacements_stay_unhealthy(limit: int) -> None:
    platform = msgspec.structs.replace(QUIET, repairs_give_up=limit)
    world = small(3, repairs=ON, failures=Failures(bad_share=1.0), platform=platform)
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 20_000)
    assert len(log(world)) == limit
    assert world.repair_service.state == "Suspended"
    ask(world, "resume-repairs")
    at(world, 21_000)
    assert len(log(world)) > limit  # resuming begins anew
    assert world.repair_service.state == "Running" or limit == 1


def test_a_replacement_that_gets_healthy_clears_the_count() -> None:
    platform = msgspec.structs.replace(QUIET, repairs_give_up=2)
    world = small(3, repairs=ON, platform=platform)
    for number, name in enumerate(["0", "3", "4", "5"]):
        fall(world, name, 1_000 + 3_000 * number)
    at(world, 20_000)
    assert len(log(world)) == 4
    assert world.repair_service.state == "Running"


# -- the policy -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "fine"), [(9, False), (10, True), (90, True), (91, False)])
def test_the_grace_period_is_10_to_90_minutes(minutes: int, fine: bool) -> None:
    world = small(2)
    reply = ask(world, "update-model", repairs=Repairs(enabled=True, grace_ms=minutes * MINUTE))
    assert (reply.kind, reply.status) == (("accepted", 200) if fine else ("refused", 400))


def test_the_action_changes_only_after_disabling() -> None:
    world = small(2, repairs=ON)
    reimage = msgspec.structs.replace(ON, action="reimage")
    reply = ask(world, "update-model", repairs=reimage)
    assert (reply.kind, reply.code) == ("refused", "BadRequest")
    assert world.repairs == ON
    assert ask(world, "update-model", repairs=Repairs()).kind == "accepted"
    assert ask(world, "update-model", repairs=reimage).kind == "accepted"


def test_repairs_need_a_health_source() -> None:
    reply = ask(small(2, health="none"), "update-model", repairs=ON)
    assert (reply.kind, reply.status) == ("refused", 400)
    assert reply.message.startswith("Automatic repairs not supported for this Virtual Machine Scale Set because")


# -- against a rollout ----------------------------------------------------------------------------------------------------


def rollout_with_repairs(suspend: bool) -> World:
    policy = RollingPolicy(max_batch_percent=20, max_unhealthy_percent=100, max_unhealthy_upgraded_percent=100)
    world = small(
        5,
        mode="rolling",
        rolling=policy,
        repairs=ON,
        failures=Failures(slow=100.0),
        platform=msgspec.structs.replace(QUIET, health_wait_ms=2 * HOUR),
    )
    if suspend:
        ask(world, "suspend-repairs")
    new_version(world)
    return at(world, 24 * 3600)


def test_repairs_fight_a_rollout_whose_instances_take_longer_than_the_grace_period() -> None:
    fought, quiet = rollout_with_repairs(suspend=False), rollout_with_repairs(suspend=True)
    assert quiet.rolling_upgrade is not None
    assert (quiet.rolling_upgrade.code, sorted(quiet.vms)) == ("Completed", list("01234"))
    assert log(quiet) == []
    assert len(log(fought)) >= 3
    assert sorted(fought.vms) != list("01234")
