"""What works on which orchestration mode: the table is asked by admission, and the documentation prints it (5)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_worlds import NEW, OLD, QUIET, ask, at, new_version, small, vm_of
from vmss_sim.world.config import AutoOs, Platform, Repairs, RollingPolicy
from vmss_sim.world.operations import ID_KINDS, MODES, SET_KINDS, works
from vmss_sim.world.scale_set import Reply, World

ON = Repairs(enabled=True)


def asked(world: World, kind: str) -> Reply:
    """A request of this kind that nothing else can refuse."""
    first = next(iter(world.vms))
    if kind in ("cancel-rolling-upgrade", "approve-rolling-upgrade"):
        ask(world, "extension-rolling-upgrade")
    args = {
        "set-mode": {"mode": "rolling"},
        "set-capacity": {"capacity": 5},
        "protect": {"protected": True},
        "run-command": {"run_name": "x"},
    }.get(kind, {})
    return ask(world, kind, *((first,) if kind in ID_KINDS else ()), **args)


def test_every_request_has_a_row_and_every_option_exists() -> None:
    assert {*SET_KINDS, *ID_KINDS} <= set(MODES)
    options = {field.name for field in msgspec.structs.fields(Platform)}
    assert {answer for row in MODES.values() for answer in (row.uniform, row.flexible)} <= {"yes", "no", *options}
    assert all(row.source for row in MODES.values())


@pytest.mark.parametrize("kind", [*SET_KINDS, *ID_KINDS])
@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("option", [False, True])
def test_admission_follows_the_table(kind: str, flexible: bool, option: bool) -> None:
    platform = msgspec.structs.replace(QUIET, flexible_manual_upgrade=option, flexible_auto_os=option)
    world = small(4, flexible=flexible, platform=platform, version="latest", exact=OLD, repairs=ON)
    world.publish(NEW)
    reply = asked(world, kind)
    expected = MODES[kind].flexible if flexible else MODES[kind].uniform
    fine = expected == "yes" or (expected != "no" and option)
    assert (reply.kind == "accepted") is fine
    if not fine:
        assert (reply.status, reply.code) == (409, "OperationNotAllowed")


def test_today_a_flexible_set_takes_manualupgrade_and_automatic_os_upgrade() -> None:
    default = Platform()
    assert {kind for kind in MODES if not works(kind, True, default)} == {
        "health: probe",
        "automatic OS upgrade with maxSurge",
        "rollbackFailedInstancesOnPolicyBreach",
        "update domains",
    }
    assert all(works(kind, False, default) for kind in MODES)


def test_manualupgrade_on_flexible_is_an_option_refused_in_recorded_words() -> None:
    world = small(2, flexible=True, platform=Platform(flexible_manual_upgrade=False))
    reply = ask(world, "upgrade", "web_00000000")
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")
    assert (
        reply.message
        == "Operation 'VirtualMachineScaleSets.ManualUpgrade.POST' is not allowed on Virtual Machine Scale Set 'web'."
    )
    world = small(2, flexible=True)
    new_version(world)
    assert ask(world, "upgrade", "web_00000000").kind == "accepted"
    at(world, 100)
    assert world.is_latest(vm_of(world, "web_00000000"))


@pytest.mark.parametrize("health", ["extension", "rich", "probe", "none"])
@pytest.mark.parametrize("flexible", [False, True])
def test_mode_rolling_needs_a_health_source_that_its_mode_knows(health: str, flexible: bool) -> None:
    has = health in (("extension", "rich") if flexible else ("extension", "rich", "probe"))
    for kind, args in (("set-mode", {}), ("update-model", {"patch": {}})):
        reply = ask(small(2, flexible=flexible, health=health), kind, mode="rolling", **args)
        assert (reply.kind, reply.status) == (("accepted", 200) if has else ("refused", 400))
    reply = ask(small(2, flexible=flexible, health=health), "update-model", repairs=ON)
    assert (reply.kind == "accepted") is has


@pytest.mark.parametrize("flexible", [False, True])
def test_rollback_on_breach_is_for_uniform_sets(flexible: bool) -> None:
    reply = ask(small(2, flexible=flexible), "update-model", rolling=RollingPolicy(rollback_failed=True))
    assert (reply.kind, reply.status) == (("refused", 400) if flexible else ("accepted", 200))


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("surge", [False, True])
def test_automatic_os_upgrade_with_max_surge_is_for_uniform_sets(flexible: bool, surge: bool) -> None:
    platform = Platform(flexible_auto_os=True)
    world = small(2, flexible=flexible, platform=platform, version="latest", exact=OLD)
    reply = ask(world, "update-model", auto_os=AutoOs(enabled=True), rolling=RollingPolicy(max_surge=surge))
    assert (reply.kind, reply.status) == (("refused", 400) if flexible and surge else ("accepted", 200))


@pytest.mark.parametrize("option", [False, True])
def test_automatic_os_upgrade_on_flexible_is_an_option(option: bool) -> None:
    world = small(2, flexible=True, platform=Platform(flexible_auto_os=option), version="latest", exact=OLD)
    assert (ask(world, "update-model", auto_os=AutoOs(enabled=True)).kind == "accepted") is option


def test_instances_of_a_flexible_set_are_named_after_it_and_no_name_is_used_twice() -> None:
    world = small(2, flexible=True)
    for _ in range(3):
        ask(world, "set-capacity", capacity=3)
        at(world, world.now / 1000 + 100)
        ask(world, "delete", list(world.vms)[-1])
        at(world, world.now / 1000 + 100)
    names = [*world.vms, *(vm.id for vm in world.gone)]
    assert len(set(names)) == len(names) == 5
    for name in names:
        prefix, _, number = name.rpartition("_")
        assert (prefix, len(number), int(number, 16) >= 0) == ("web", 8, True)


@given(n=st.integers(1, 20), percent=st.integers(5, 100))
def test_a_flexible_set_has_no_update_domains_so_its_batches_have_no_such_border(n: int, percent: int) -> None:
    policy = RollingPolicy(max_batch_percent=percent)
    world = small(n, flexible=True, mode="rolling", rolling=policy)
    new_version(world)
    world.run(100_000_000, stop_on_wake=False)
    size = max(1, percent * n // 100)
    sizes = [len(batch) for batch in world.rollouts.past[-1].done]
    assert sizes == [size] * (n // size) + ([n % size] if n % size else [])
