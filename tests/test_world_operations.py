"""Operations on instances and on the set: what each does, to whom, and together (docs/azure-rules.md, 4)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_worlds import (
    CUSTOM_DATA,
    NEW,
    NEWER,
    OLD,
    PROBE,
    QUIET,
    READY,
    SECOND,
    SETTING,
    TOOK,
    ask,
    at,
    new_version,
    shown,
    small,
    timings,
    vm_of,
)
from vmss_sim.world.config import Failures, Platform
from vmss_sim.world.operations import ID_KINDS, VM_TABLE
from vmss_sim.world.scale_set import World
from vmss_sim.world.timings import Lognormal


class Done(NamedTuple):
    """What an operation does to an instance whose set got a new image version before, by the documentation."""

    took: float
    down: bool
    os_disk: bool
    data: bool
    temp: bool
    boots: str
    latest: bool
    power: str = "running"
    profile: bool = False


DONE = {
    "upgrade": Done(60, True, True, False, True, NEW, True, profile=True),
    "reimage": Done(50, True, True, False, False, NEW, False, profile=True),
    "reimage-all": Done(70, True, True, True, True, NEW, False, profile=True),
    "restart": Done(20, True, False, False, False, OLD, False),
    "power-off": Done(15, True, False, False, False, OLD, False, "stopped"),
    "deallocate": Done(30, True, False, False, True, OLD, False, "deallocated"),
    "redeploy": Done(40, True, False, False, True, OLD, False),
    "run-command": Done(10, True, False, False, False, OLD, False),
    "start": Done(25, True, False, False, False, OLD, False),
}


@pytest.mark.parametrize("kind", DONE)
def test_what_an_operation_does_to_an_instance(kind: str) -> None:
    want = DONE[kind]
    odd = {1: {"power": "stopped", "health": "unhealthy"}} if kind == "start" else None
    world = small(3, zones=3, odd=odd)
    new_version(world)
    ask(world, "update-model", patch={CUSTOM_DATA: "new"})
    before = world.vms["1"]
    place, vm_id = (before.machine.zone, before.machine.update_domain, before.machine.fault_domain), before.vm_id
    others = [(vm_of(world, one).outages, vm_of(world, one).disk) for one in ("0", "2")]
    reply = ask(world, kind, "1", **({"run_name": "patch-1"} if kind == "run-command" else {}))
    assert reply.operation is not None
    assert not world.serving(world.vms["1"])
    at(world, want.took - 0.001)
    assert reply.operation.status == "running"
    at(world, want.took)
    assert reply.operation.status == "succeeded"
    vm = vm_of(world, "1")
    assert (vm.disk, vm.data, vm.temp) == (want.os_disk, want.data, want.temp)
    assert (vm.image.version, world.is_latest(vm)) == (want.boots, want.latest)
    assert (vm.id, vm.vm_id) == ("1", vm_id)
    assert (vm.machine.zone, vm.machine.update_domain, vm.machine.fault_domain) == place
    assert shown(world, "1")[:2] == ("succeeded", want.power)
    assert (vm.profile == world.profile) == want.profile
    at(world, want.took + READY + PROBE)
    assert world.serving(vm) == (want.power == "running")
    assert [(vm_of(world, one).outages, vm_of(world, one).disk) for one in ("0", "2")] == others
    assert vm.commands == (("patch-1",) if kind == "run-command" else ())


def test_every_row_of_the_table_is_tested() -> None:
    elsewhere = {"upgrade-delta", "upgrade-extensions", "restore", "create"}
    assert set(VM_TABLE) - elsewhere == set(DONE)
    assert set(ID_KINDS) - {"delete", "protect", "approve-rolling-upgrade"} == set(DONE)


# -- manualupgrade ----------------------------------------------------------------------------------------------------


def test_a_change_without_a_new_image_is_applied_without_a_new_disk() -> None:
    took = TOOK["upgrade-extensions"]
    for down in (True, False):
        world = small(2, restart_on_delta=down)
        ask(world, "update-model", patch={SETTING: "x"})
        assert not world.is_latest(world.vms["0"])
        ask(world, "upgrade", "0")
        assert world.serving(world.vms["0"]) is not down
        at(world, took)
        vm = vm_of(world, "0")
        assert (vm.disk, vm.temp, vm.image.version, world.is_latest(vm)) == (0, 0, OLD, True)


def test_the_os_profile_takes_effect_with_a_new_disk_only() -> None:
    world = small(2)
    ask(world, "update-model", patch={CUSTOM_DATA: "new"})
    ask(world, "upgrade", "0")
    at(world, 60)
    vm = vm_of(world, "0")
    assert (world.is_latest(vm), vm.profile == world.profile) == (True, False)
    ask(world, "reimage", "0")
    at(world, 200)
    assert vm_of(world, "0").profile == world.profile


def test_an_instance_that_has_the_latest_model_is_left_alone() -> None:
    world = small(2)
    reply = ask(world, "upgrade", "0")
    assert world.serving(world.vms["0"])
    at(world, TOOK["upgrade-current"])
    assert reply.operation is not None
    assert (reply.operation.status, vm_of(world, "0").disk) == ("succeeded", 0)


def test_a_failed_instance_is_upgraded_again_although_its_model_is_the_latest() -> None:
    world = small(2, odd={0: {"provisioning": "failed"}})
    ask(world, "upgrade", "0")
    at(world, 200)
    assert (shown(world), vm_of(world, "0").disk) == (("succeeded", "running", "healthy"), 1)


def test_latest_model_applied_comes_only_with_success() -> None:
    for becomes in ("dead", "old-image"):
        world = small(1, failures=Failures(upgrade=1.0, becomes=becomes))
        new_version(world)
        reply = ask(world, "upgrade", "0")
        at(world, TOOK["upgrade"] - 0.001)
        assert not world.is_latest(vm_of(world, "0"))
        at(world, 200)
        assert reply.operation is not None
        assert (reply.operation.status, reply.operation.code) == ("failed", "VMStartTimedOut")
        vm = vm_of(world, "0")
        assert not world.is_latest(vm)
        assert (shown(world)[0], world.serving(vm)) == (("failed", False) if becomes == "dead" else ("succeeded", True))
        if becomes == "old-image":
            assert vm.image.version == OLD


def test_the_flag_flips_at_the_end_and_not_before() -> None:
    world = small(1)
    new_version(world)
    ask(world, "upgrade", "0")
    assert not world.is_latest(vm_of(at(world, 59.999), "0"))
    assert world.is_latest(vm_of(at(world, 60), "0"))


@given(n=st.integers(1, 12), seed=st.integers(0, 50))
def test_all_named_instances_are_taken_at_once_and_the_operation_ends_with_the_slowest(n: int, seed: int) -> None:
    base = timings()
    spread = msgspec.structs.replace(
        base, operations={**base.operations, "upgrade": Lognormal.of_p95(median=60, p95=200)}
    )
    world = small(n, timings=spread, seed=seed)
    new_version(world)
    reply = ask(world, "upgrade", "*")
    assert not any(world.serving(vm) for vm in world.vms.values())
    ends = {vm.busy_until for vm in world.vms.values()}
    assert reply.operation is not None
    assert reply.operation.ends_at == max(ends)
    assert n == 1 or len(ends) > 1
    at(world, 10_000)
    assert all(world.is_latest(world.settled(vm)) for vm in world.vms.values())


# -- latest, exactVersion, the flag ---------------------------------------------------------------------------------------


def test_publishing_a_version_flips_no_flag_and_manualupgrade_then_does_nothing() -> None:
    for option, disk in ((False, 0), (True, 1)):
        platform = msgspec.structs.replace(QUIET, latest_on_upgrade=option)
        world = small(3, version="latest", exact=OLD, platform=platform)
        world.publish(NEW)
        assert all(world.is_latest(vm) for vm in world.vms.values())
        ask(world, "upgrade", "0")
        at(world, 300)
        assert vm_of(world, "0").image.exact == (NEW if option and disk else OLD)
        assert vm_of(world, "0").disk == (disk if option else 0)


def test_new_and_reimaged_instances_of_a_latest_set_get_the_newest() -> None:
    world = small(2, version="latest", exact=OLD)
    world.publish(NEW)
    ask(world, "reimage", "0")
    ask(world, "set-capacity", capacity=3)
    at(world, 100)
    assert [vm_of(world, one).image.exact for one in ("0", "1", "2")] == [NEW, OLD, NEW]
    assert all(world.is_latest(vm) for vm in world.vms.values())


def test_reimage_before_manualupgrade_leaves_the_flag_false_and_upgrading_then_needs_no_disk() -> None:
    world = small(1)
    new_version(world)
    ask(world, "reimage", "0")
    at(world, 100)
    vm = vm_of(world, "0")
    assert (vm.image.version, vm.disk, world.is_latest(vm)) == (NEW, 1, False)
    ask(world, "upgrade", "0")
    at(world, 300)
    assert (vm_of(world, "0").disk, world.is_latest(vm)) == (1, True)


@pytest.mark.parametrize(("boots", "version"), [("model", NEW), ("own", OLD)])
def test_without_exact_version_a_reimage_boots_the_model_or_the_vms_own_version(boots: str, version: str) -> None:
    world = small(1, platform=msgspec.structs.replace(QUIET, reimage_boots=boots))
    new_version(world)
    ask(world, "reimage", "0")
    assert vm_of(at(world, 100), "0").image.exact == version


def test_exact_version_selects_what_a_reimage_boots() -> None:
    world = small(1, version="latest", exact=NEW)
    ask(world, "reimage", "0", exact_version=OLD)
    assert vm_of(at(world, 100), "0").image.exact == OLD
    ask(world, "reimage", "0", exact_version=NEWER)
    assert vm_of(at(world, 300), "0").image.exact == NEWER
    assert world.model_image is not None
    assert world.model_image.exact == NEW


@pytest.mark.parametrize(("option", "asked", "lost"), [("kept", False, 0), ("kept", True, 1), ("lost", False, 1)])
def test_a_reimage_keeps_the_temporary_disk_unless_asked(option: str, asked: bool, lost: int) -> None:
    world = small(1, platform=msgspec.structs.replace(QUIET, reimage_temp=option))
    ask(world, "reimage", "0", temp_disk=asked)
    assert vm_of(at(world, 100), "0").temp == lost


# -- power ------------------------------------------------------------------------------------------------------------------


def test_starting_what_runs_does_nothing() -> None:
    world = small(1)
    reply = ask(world, "start", "0")
    assert world.serving(world.vms["0"])
    at(world, TOOK["start-running"])
    assert reply.operation is not None
    assert reply.operation.status == "succeeded"


def test_what_is_stopped_stays_down_until_it_is_started() -> None:
    for kind in ("power-off", "deallocate"):
        world = small(1)
        ask(world, kind, "0")
        at(world, 50_000)
        assert not world.serving(world.vms["0"])
        ask(world, "start", "0")
        at(world, 50_000 + TOOK["start"] + READY + PROBE)
        assert world.serving(world.vms["0"])


# -- who ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(set(ID_KINDS) - {"protect"}))
def test_star_is_everybody_and_stands_alone(kind: str) -> None:
    world = small(3, odd={1: {"power": "stopped"}} if kind == "start" else None)
    reply = ask(world, kind, "*")
    assert reply.operation is not None
    assert reply.operation.ids == ("0", "1", "2")
    reply = ask(small(3), kind, "*", "1")
    assert (reply.kind, reply.status, reply.code) == ("refused", 400, "InvalidParameter")


@pytest.mark.parametrize("kind", sorted(ID_KINDS))
def test_no_ids_are_everybody_where_the_api_allows_it(kind: str) -> None:
    reply = ask(small(3), kind)
    if kind in ("upgrade", "delete", "run-command", "protect"):
        assert (reply.kind, reply.status) == ("refused", 400)
    else:
        assert reply.operation is not None
        assert len(reply.operation.ids) == 3


@pytest.mark.parametrize("kind", sorted(ID_KINDS))
def test_an_unknown_id_is_refused_in_azures_words_and_nothing_happens(kind: str) -> None:
    world = small(3)
    reply = ask(world, kind, "0", "999")
    assert (reply.kind, reply.status, reply.code) == ("refused", 400, "InvalidParameter")
    assert reply.message == "The provided instanceId 999 is not an active Virtual Machine Scale Set VM instanceId."
    assert all(world.serving(vm) for vm in world.vms.values())
    assert not world.running


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("update-model", 200),
        ("set-mode", 200),
        ("set-capacity", 200),
        ("protect", 200),
        ("upgrade", 202),
        ("delete", 202),
    ],
)
def test_accepted_requests_have_azures_status(kind: str, status: int) -> None:
    args: dict[str, Any] = {"set-mode": {"mode": "manual"}, "set-capacity": {"capacity": 2}}.get(kind, {})
    assert ask(small(2), kind, *(("0",) if kind in ID_KINDS else ()), **args).status == status


# -- deletion and scaling ---------------------------------------------------------------------------------------------------


def test_deleted_instances_are_down_at_once_and_gone_at_the_end() -> None:
    world = small(3)
    reply = ask(world, "delete", "1")
    assert not world.serving(world.vms["1"])
    at(world, TOOK["delete"] - 0.001)
    assert shown(world, "1")[0] == "deleting"
    at(world, TOOK["delete"])
    assert list(world.vms) == ["0", "2"]
    assert reply.operation is not None
    assert reply.operation.status == "succeeded"


@pytest.mark.parametrize("reuse", [False, True])
def test_ids_are_not_used_again_unless_the_platform_does(reuse: bool) -> None:
    world = small(3, platform=msgspec.structs.replace(QUIET, reuse_ids=reuse))
    ask(world, "delete", "1")
    at(world, 100)
    ask(world, "set-capacity", capacity=4)
    at(world, 200)
    assert sorted(world.vms) == (["0", "1", "2", "3"] if reuse else ["0", "2", "3", "4"])
    assert len({vm.vm_id for vm in (*world.vms.values(), *world.gone)}) == 5


@given(n=st.integers(1, 12), more=st.integers(1, 8), zones=st.sampled_from([0, 2, 3]))
def test_scaling_out_creates_on_the_present_model_in_the_emptiest_places(n: int, more: int, zones: int) -> None:
    world = small(n, zones=zones, domains=None if zones else 5)
    new_version(world)
    ask(world, "set-capacity", capacity=n + more)
    at(world, 500)
    assert len(world.vms) == n + more
    created = [world.settled(vm) for vm in list(world.vms.values())[n:]]
    assert all(vm.image.version == NEW and world.is_latest(vm) for vm in created)
    assert all(not world.is_latest(vm) for vm in list(world.vms.values())[:n])
    if zones and n >= zones:
        held = [sum(vm.machine.zone == str(zone + 1) for vm in world.vms.values()) for zone in range(zones)]
        assert max(held) - min(held) <= 1


# virtual-machine-scale-sets-scale-in-policy.md, usage examples: instance ids by zone, and who goes, in order.
IN_ZONES = {"1": (3, 4, 5, 10), "2": (2, 6, 9, 11), "3": (1, 7, 8)}
SCALE_IN = {"oldest": ("2", "3", "1", "4", "6", "5"), "newest": ("11", "10", "9", "8", "5", "7")}


def zoned(rule: str, odd: dict[str, dict[str, Any]] | None = None) -> World:
    zone_of = {number: zone for zone, numbers in IN_ZONES.items() for number in numbers}
    rows = {
        place: {"id": str(number), "zone": zone_of[number], "fault_domain": 0, **(odd or {}).get(str(number), {})}
        for place, number in enumerate(sorted(zone_of))
    }
    return small(len(rows), odd=rows, platform=msgspec.structs.replace(QUIET, scale_in=rule))


def gone_in_order(world: World, steps: int) -> list[str]:
    for _ in range(steps):
        ask(world, "set-capacity", capacity=len(world.vms) - 1)
        world.run(world.now + 10 * SECOND, stop_on_wake=False)
    return [vm.id for vm in world.gone]


@pytest.mark.parametrize("rule", SCALE_IN)
def test_scale_in_takes_whom_the_documentations_examples_take(rule: str) -> None:
    assert gone_in_order(zoned(rule), 6) == list(SCALE_IN[rule])
    world = zoned(rule)
    ask(world, "set-capacity", capacity=5)
    assert sorted(one.id for one in world.vms.values() if one.provisioning == "deleting") == sorted(SCALE_IN[rule])


def test_scale_in_by_default_balances_zones_then_fault_domains_then_takes_the_highest_id() -> None:
    odd = {
        number: {"zone": zone, "fault_domain": domain}
        for number, (zone, domain) in enumerate(
            [("1", 0), ("1", 0), ("1", 0), ("2", 0), ("2", 1), ("2", 0), ("2", 1), ("2", 1)]
        )
    }
    world = small(8, odd=odd)
    # zone 2 holds 5 of 8: its fault domain 1 holds 3, so 7 goes; then both hold 2: 6,
    # the higher id; then the zones are even, and zone 1 has all three in one fault domain
    assert gone_in_order(world, 4) == ["7", "6", "2", "5"]


def test_scale_in_never_takes_what_is_protected() -> None:
    for word in ("protected", "scale_in_protected"):
        odd = {"2": {word: True}, "3": {word: True}}
        assert gone_in_order(zoned("oldest", odd), 2) == ["4", "6"]
        world = small(2, odd={0: {word: True}, 1: {word: True}})
        ask(world, "set-capacity", capacity=0)
        assert len(at(world, 100).vms) == 2


# -- protection -----------------------------------------------------------------------------------------------------------------

ACTIONS = ("upgrade", "reimage", "reimage-all", "deallocate")


@pytest.mark.parametrize("kind", ACTIONS)
def test_protected_instances_are_left_out_of_what_the_set_does(kind: str) -> None:
    world = small(3, odd={1: {"protected": True}})
    new_version(world)
    reply = ask(world, kind, "*")
    assert reply.operation is not None
    assert reply.operation.ids == ("0", "2")
    assert world.serving(world.vms["1"])


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("option", ["refuse", "skip", "act"])
def test_a_protected_instance_that_is_named(kind: str, option: str) -> None:
    world = small(3, odd={1: {"protected": True}}, platform=Platform(protected_named=option))
    new_version(world)
    reply = ask(world, kind, "0", "1")
    assert (reply.kind, reply.status) == (("refused", 409) if option == "refuse" else ("accepted", 202))
    ids = () if reply.operation is None else reply.operation.ids
    assert ids == {"refuse": (), "skip": ("0",), "act": ("0", "1")}[option]


@pytest.mark.parametrize("kind", ["restart", "power-off", "redeploy", "run-command", "delete"])
def test_protection_does_not_keep_away_what_a_user_does_to_the_instance(kind: str) -> None:
    world = small(3, odd={1: {"protected": True}})
    assert ask(world, kind, "1").kind == "accepted"
    assert not world.serving(world.vms["1"])


def test_scale_in_protection_does_not_keep_upgrades_away() -> None:
    world = small(2, odd={1: {"scale_in_protected": True}})
    new_version(world)
    ask(world, "upgrade", "1")
    assert world.is_latest(vm_of(at(world, 100), "1"))


def test_protection_comes_and_goes_with_the_instances_model() -> None:
    world = small(2)
    ask(world, "protect", "0", protected=True)
    assert (world.vms["0"].protected, world.vms["1"].protected) == (True, False)
    assert "0" in world.dirty
    ask(world, "protect", "0", scale_in_protected=True)
    assert (world.vms["0"].protected, world.vms["0"].scale_in_protected) == (True, True)
    ask(world, "protect", "0", protected=False, scale_in_protected=False)
    assert (world.vms["0"].protected, world.vms["0"].scale_in_protected) == (False, False)
    assert ask(world, "protect", "0", protected=True, scale_in_protected=False).status == 400


def test_an_operation_does_not_fail_for_what_an_earlier_one_left() -> None:
    world = small(1, failures=Failures(upgrade=1.0, becomes="old-image"))
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 100)
    assert vm_of(world, "0").error == "VMStartTimedOut"
    reply = ask(world, "start", "0")
    at(world, 102)
    assert reply.operation is not None
    assert reply.operation.status == "succeeded"


def test_changing_protection_does_not_fail_for_what_failed_before() -> None:
    world = small(1, failures=Failures(upgrade=1.0))
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 100)
    reply = ask(world, "protect", "0", protected=True)
    at(world, 101)
    assert reply.operation is not None
    assert reply.operation.status == "succeeded"


# -- together -------------------------------------------------------------------------------------------------------------------


def ends(world: World, *kinds: tuple[float, str, tuple[str, ...]]) -> list[tuple[str, float]]:
    """Ask at those times; how each ended, and when (the end of a refused one: its code)."""
    replies = []
    for when, kind, ids in kinds:
        at(world, when)
        replies.append(ask(world, kind, *ids))
    at(world, 10_000)
    return [
        (one.operation.status, one.operation.ends_at / SECOND) if one.operation else (one.code, 0.0) for one in replies
    ]


def test_overlapping_reimages_merge_and_end_together() -> None:
    # REC 2023: VM 0, +0.8 s VM 1, +1.4 s the set of two; and VM 1, +0.7 s the set. All end at the same instant.
    world = small(2, timings=timings(reimage=35.2))
    found = ends(world, (0, "reimage", ("0",)), (0.8, "reimage", ("1",)), (1.4, "reimage", ()))
    assert found == [("succeeded", 36.0)] * 3
    assert [vm_of(world, one).disk for one in world.vms] == [1, 1]  # nothing is done twice
    world = small(2, timings=timings(reimage=114.9))
    assert ends(world, (0, "reimage", ("1",)), (0.7, "reimage", ())) == [("succeeded", 115.6)] * 2
    assert [vm_of(world, one).disk for one in world.vms] == [1, 1]


@given(gap=st.integers(1, 49_999), n=st.integers(1, 4))
def test_a_merged_operation_never_takes_an_instance_down_twice(gap: int, n: int) -> None:
    world = small(n)
    found = ends(world, (0, "reimage", ("0",)), (gap / 1000, "reimage", ("*",)))
    want = (50_000 + (gap if n > 1 else 0)) / SECOND
    assert found == [("succeeded", want)] * 2
    assert [vm_of(world, one).disk for one in world.vms] == [1] * n
    assert all(sum(end > 0 for _, end in vm.outages) == 1 for vm in world.vms.values())


def test_a_failure_fails_all_operations_that_share_the_instance() -> None:
    world = small(1, failures=Failures(upgrade=1.0))
    found = ends(world, (0, "reimage", ("0",)), (1, "reimage", ()))
    assert [status for status, _ in found] == ["failed", "failed"]


@pytest.mark.parametrize("second", ["restart", "upgrade", "reimage-all", "delete", "power-off"])
def test_another_kind_on_a_busy_instance_is_a_conflict(second: str) -> None:
    world = small(2)
    found = ends(world, (0, "reimage", ("0",)), (1, second, ("0",)), (2, second, ("1",)))
    assert found[1] == ("Conflict", 0.0)
    assert found[0] == ("succeeded", 50)
    assert found[2][0] == "succeeded"


@pytest.mark.parametrize("second", ["reimage", "restart", "delete"])
def test_with_the_option_conflict_every_overlap_is_refused(second: str) -> None:
    world = small(2, platform=Platform(overlap="conflict"))
    assert ends(world, (0, "reimage", ("0",)), (1, second, ("0",)))[1] == ("Conflict", 0.0)


@pytest.mark.parametrize(("second", "end"), [("reimage", 100), ("restart", 70), ("delete", 85), ("power-off", 65)])
def test_with_the_option_queue_every_overlap_waits_its_turn(second: str, end: float) -> None:
    world = small(2, platform=Platform(overlap="queue"))
    found = ends(world, (0, "reimage", ("0",)), (1, second, ("0", "1")))
    assert found == [("succeeded", 50), ("succeeded", end)]


def test_a_queued_operation_passes_over_what_has_gone_meanwhile() -> None:
    world = small(2, platform=Platform(overlap="queue"))
    found = ends(world, (0, "delete", ("0",)), (1, "restart", ("0", "1")))
    assert found == [("succeeded", 35), ("succeeded", 35 + 20)]


def test_what_is_being_deleted_joins_nothing() -> None:
    assert ends(small(2), (0, "delete", ("0",)), (1, "delete", ("0",)))[1] == ("InvalidParameter", 0.0)
    again = ends(small(2), (0, "restart", ("0",)), (30, "delete", ("0",)), (31, "restart", ("0",)))
    assert again == [("succeeded", 20), ("succeeded", 65), ("InvalidParameter", 0.0)]
