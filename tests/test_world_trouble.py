"""Faults, disturbances and what goes wrong by itself: bad and slow images, failures, ageing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_worlds import (
    HOUR,
    MINUTE,
    NEW,
    OLD,
    PROBE,
    READY,
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
from vmss_sim.world.config import Failures
from vmss_sim.world.faults import PASS, Autoscale, Fault, Foreign, Outage, Publication, judge
from vmss_sim.world.scale_set import Reply, World
from vmss_sim.world.timings import Constant


def ended(reply: Reply) -> tuple[str, str, float]:
    """Its status, code and end in seconds."""
    operation = reply.operation
    assert operation is not None
    return operation.status, operation.code, operation.ends_at / SECOND


def serves(world: World) -> list[bool]:
    return [world.serving(vm) for vm in world.vms.values()]


# -- verdicts ---------------------------------------------------------------------------------------------------------


def with_fault(verdict: str, **fault: Any) -> tuple[World, Reply]:
    world = small(2, faults=(Fault(verdict=verdict, **fault),))
    return world, ask(world, "restart", "0")


def test_pass_is_no_fault() -> None:
    world, reply = with_fault("pass")
    at(world, 100)
    assert (reply.kind, ended(reply)) == ("accepted", ("succeeded", "", 20))


def test_delay_makes_the_operation_end_later_and_the_instance_not() -> None:
    world, reply = with_fault("delay", delay_ms=30_000)
    at(world, TOOK["restart"])
    assert (reply.kind, shown(world)[0]) == ("accepted", "succeeded")
    assert reply.operation is not None
    assert reply.operation.status == "running"
    at(world, 100)
    assert ended(reply) == ("succeeded", "", 50)


@pytest.mark.parametrize(("code", "ends"), [("", "InternalExecutionError"), ("VMStartTimedOut", "VMStartTimedOut")])
def test_fail_is_accepted_ends_failed_and_touches_nobody(code: str, ends: str) -> None:
    world, reply = with_fault("fail", code=code)
    at(world, 100)
    assert (reply.kind, reply.status, ended(reply)) == ("accepted", 202, ("failed", ends, TOOK["restart"]))
    assert serves(world) == [True, True]
    assert reply.operation is not None
    assert reply.operation.message != ""


@pytest.mark.parametrize(("delay_ms", "end"), [(0, 2400), (600_000, 600)])
def test_time_out_ends_failed_after_40_minutes_unless_said_otherwise(delay_ms: int, end: float) -> None:
    world, reply = with_fault("time-out", delay_ms=delay_ms)
    at(world, end - 0.001)
    assert reply.operation is not None
    assert reply.operation.status == "running"
    at(world, end)
    assert ended(reply) == ("failed", "OSProvisioningTimedOut", end)
    assert serves(world) == [True, True]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 409),
        ("Conflict", 409),
        ("TooManyRequests", 429),
        ("429", 429),
        ("Quota", 409),
        ("PreconditionFailed", 412),
        ("NoSuchCode", 409),
    ],
)
def test_refuse_has_no_effect_and_azures_words(code: str, status: int) -> None:
    world, reply = with_fault("refuse", code=code, retry_after_ms=7_000)
    assert (reply.kind, reply.status, reply.operation) == ("refused", status, None)
    assert (reply.retry_after_ms, bool(reply.message)) == (7_000, True)
    assert (serves(world), world.running) == ([True, True], {})


def test_lost_requests_do_nothing_and_lost_replies_do() -> None:
    for verdict, down in (("lose-request", False), ("lose-reply", True)):
        world, reply = with_fault(verdict)
        assert (reply.kind, reply.status) == ("silence", 0)
        assert world.serving(world.vms["0"]) is not down
        assert len(world.running) == down


def test_hang_happens_and_never_ends() -> None:
    world, reply = with_fault("hang")
    at(world, 100_000)
    assert serves(world) == [True, True]
    assert vm_of(world, "0").attempt == 1
    assert reply.operation is not None
    assert (reply.operation.status, world.will_end({reply.operation.name: ""})) == ("running", False)


# -- which requests -----------------------------------------------------------------------------------------------------


@given(
    first=st.integers(1, 5),
    span=st.integers(0, 3),
    of=st.sampled_from(["", "restart", "upgrade"]),
    from_s=st.integers(0, 6),
    for_s=st.none() | st.integers(0, 6),
)
def test_a_fault_meets_its_numbers_its_kind_and_its_time_window(
    first: int, span: int, of: str, from_s: int, for_s: int | None
) -> None:
    until = None if for_s is None else (from_s + for_s) * SECOND
    fault = Fault(verdict="refuse", first=first, last=first + span, of=of, from_ms=from_s * SECOND, until_ms=until)
    world = small(8, faults=(fault,), timings=timings(restart=0))
    for number in range(1, 8):
        at(world, number)
        reply = ask(world, "restart", str(number % 2))
        due = from_s <= number and (until is None or number * SECOND < until)
        meant = due and first <= number <= first + span and of in ("", "restart")
        assert (reply.kind == "refused") is meant


def test_the_first_fault_that_does_not_pass_decides() -> None:
    passing, refusing, failing = (Fault(verdict=word, last=9) for word in ("pass", "refuse", "fail"))
    assert judge((passing, refusing, failing), 1, "restart").kind == "refuse"
    assert judge((passing,), 1, "restart") == PASS
    assert judge((refusing,), 10, "restart") == PASS


# -- outages ------------------------------------------------------------------------------------------------------------


def hit(world: World) -> set[str]:
    return {vm.id for vm in world.vms.values() if not world.serving(vm)}


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ({"zone": "2"}, lambda number: number % 3 == 1),
        ({"update_domain": 3}, lambda number: number % 5 == 3),
        ({"fault_domain": 0}, lambda number: number % 5 == 0),
        ({"ids": ("1", "7")}, lambda number: number in (1, 7)),
        ({"zone": "1", "fault_domain": 2}, lambda number: number % 3 == 0 and number % 5 == 2),
        ({}, lambda number: number >= 0),
    ],
)
def test_an_outage_stops_all_that_matches_together_and_for_its_span(what: dict[str, Any], match: Any) -> None:
    world = small(30, zones=3, disturbances=(Outage(at_ms=10_000, for_ms=30_000, **what),))
    want = {str(number) for number in range(30) if match(number)}
    assert hit(at(world, 9.999)) == set()
    assert hit(at(world, 10)) == want
    assert hit(at(world, 39.999)) == want
    assert hit(at(world, 40)) == set()


@pytest.mark.parametrize("kind", ["restart", "upgrade", "reimage", "redeploy"])
def test_what_would_come_up_during_a_zone_outage_comes_up_after_it(kind: str) -> None:
    for asked_at in (0, 30):  # in flight when it strikes, and asked for while it lasts
        world = small(3, zones=3, disturbances=(Outage(at_ms=20_000, for_ms=1_000_000, zone="1"),))
        new_version(world)
        at(world, asked_at)
        ask(world, kind, "0", "1")
        at(world, asked_at + TOOK[kind] + READY + PROBE)
        assert serves(world) == [False, True, True]
        assert shown(world)[2] == "unhealthy"
        at(world, 1_019.999)
        assert serves(world) == [False, True, True]
        assert serves(at(world, 1_020)) == [True, True, True]


def test_a_redeploy_leaves_a_failed_host() -> None:
    world = small(2, disturbances=(Outage(at_ms=10_000, for_ms=HOUR, fault_domain=0),))
    at(world, 20)
    ask(world, "redeploy", "0")
    at(world, 20 + TOOK["redeploy"] + READY + PROBE)
    assert serves(world) == [True, True]


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("kind", ["upgrade", "reimage", "reimage-all"])
def test_allocation_fails_while_a_zone_is_out_where_it_is_blocked(kind: str, blocks: bool) -> None:
    world = small(3, zones=3, disturbances=(Outage(at_ms=0, for_ms=10 * MINUTE, zone="1", allocation=blocks),))
    new_version(world)
    at(world, 60)
    there, elsewhere = ask(world, kind, "0"), ask(world, kind, "1")
    at(world, 590)
    assert ended(elsewhere)[:2] == ("succeeded", "")
    assert ended(there)[:2] == (("failed", "ZonalAllocationFailed") if blocks else ("succeeded", ""))
    at(world, 601)
    again = ask(world, kind, "0")
    at(world, 900)
    assert ended(again)[:2] == ("succeeded", "")
    assert serves(world)[0]


def test_scaling_out_into_a_blocked_zone_fails_with_allocation_failed() -> None:
    for zone, code in (("1", "ZonalAllocationFailed"), (None, "AllocationFailed")):
        outage = Outage(at_ms=0, for_ms=HOUR, zone=zone, allocation=True)
        for becomes in ("dead", "old-image"):
            world = small(2, zones=2, domains=None, disturbances=(outage,), failures=Failures(becomes=becomes))
            at(world, 1)
            reply = ask(world, "set-capacity", capacity=3)
            at(world, 100)
            assert ended(reply)[:2] == ("failed", code)
            assert not world.serving(world.vms["2"])
            assert shown(world, "2")[0] == "failed"


def test_an_outage_reaches_instances_in_an_operation_that_leaves_them_serving() -> None:
    world = small(1, patch_disrupts=False, disturbances=(Outage(at_ms=5_000, for_ms=100_000),))
    ask(world, "run-command", "0", run_name="x")
    assert serves(at(world, 4)) == [True]
    assert serves(at(world, 5)) == [False]
    assert serves(at(world, 105)) == [True]


def test_instances_created_during_an_outage_come_up_after_it() -> None:
    world = small(1, zones=1, disturbances=(Outage(at_ms=0, for_ms=HOUR, zone="1"),))
    at(world, 1)
    ask(world, "set-capacity", capacity=2)
    assert serves(at(world, 3_599)) == [False, False]
    assert serves(at(world, 3_600)) == [True, True]


# -- other hands ----------------------------------------------------------------------------------------------------------


def test_a_publication_changes_what_latest_means_and_nothing_else() -> None:
    world = small(2, version="latest", exact=OLD, disturbances=(Publication(at_ms=5_000, version=NEW),))
    at(world, 5)
    assert world.latest == NEW
    assert serves(world) == [True, True]
    assert [vm.image.exact for vm in world.vms.values()] == [OLD, OLD]
    assert all(world.is_latest(vm) for vm in world.vms.values())
    pinned = small(2, disturbances=(Publication(at_ms=5_000, version=NEW),))
    at(pinned, 5)
    assert pinned.model_image is not None
    assert pinned.model_image.exact == OLD


@pytest.mark.parametrize(("by", "left"), [(3, 7), (-2, 2), (-9, 0), (0, 4)])
def test_autoscale_adds_and_removes(by: int, left: int) -> None:
    world = small(4, disturbances=(Autoscale(at_ms=10_000, by=by),))
    assert len(at(world, 9).vms) == 4
    assert len(at(world, 100).vms) == left


def test_autoscale_goes_through_the_same_door() -> None:
    full = small(4, quota_cores=4, disturbances=(Autoscale(at_ms=1_000, by=1),))
    assert len(at(full, 100).vms) == 4
    guarded = small(3, odd={2: {"scale_in_protected": True}}, disturbances=(Autoscale(at_ms=1_000, by=-1),))
    assert list(at(guarded, 100).vms) == ["0", "2"]


def test_autoscale_in_the_middle_of_an_upgrade() -> None:
    both = (Autoscale(at_ms=30_000, by=2), Autoscale(at_ms=40_000, by=-1))
    world = small(3, disturbances=both)
    new_version(world)
    reply = ask(world, "upgrade", "*")
    at(world, 500)
    assert reply.operation is not None
    assert reply.operation.status == "succeeded"
    assert len(world.vms) == 4
    assert all(world.is_latest(world.settled(vm)) for vm in world.vms.values())


def test_somebody_else_upgrades_everything() -> None:
    foreign = Foreign(at_ms=30_000, request="upgrade", ids=("*",))
    world = small(4, disturbances=(foreign,))
    new_version(world)
    assert serves(at(world, 29)) == [True] * 4
    assert serves(at(world, 30)) == [False] * 4
    at(world, 200)
    assert all(world.is_latest(world.settled(vm)) for vm in world.vms.values())


def test_somebody_elses_request_merges_with_ours_or_is_refused() -> None:
    same = small(2, disturbances=(Foreign(at_ms=30_000, request="upgrade", ids=("*",)),))
    new_version(same)
    ours = ask(same, "upgrade", "0")
    at(same, 300)
    assert ended(ours) == ("succeeded", "", 90)
    other = small(2, disturbances=(Foreign(at_ms=30_000, request="reimage", ids=("*",)),))
    new_version(other)
    ours = ask(other, "upgrade", "0")
    at(other, 300)
    assert ended(ours) == ("succeeded", "", 60)
    assert [vm_of(other, one).disk for one in ("0", "1")] == [1, 0]


def test_somebody_elses_request_has_its_arguments() -> None:
    foreign = Foreign(at_ms=1_000, request="reimage", ids=("0",), args={"exact_version": NEW})
    world = small(2, version="latest", exact=OLD, disturbances=(foreign,))
    assert vm_of(at(world, 100), "0").image.exact == NEW


# -- images ---------------------------------------------------------------------------------------------------------------


@given(slow=st.floats(1, 20), ready=st.integers(1, 100))
def test_a_slow_image_makes_the_application_take_longer_on_the_new_image_only(slow: float, ready: int) -> None:
    world = small(2, failures=Failures(slow=slow), timings=timings(ready=ready))
    new_version(world)
    ask(world, "upgrade", "0")
    ask(world, "restart", "1")
    world.run(1 << 61)
    waits = [vm_of(world, one).serves_from - took * SECOND for one, took in (("0", 60), ("1", 20))]
    assert waits == [round(ready * SECOND * slow) + PROBE * SECOND, (ready + PROBE) * SECOND]


@pytest.mark.parametrize("after", [0, 30_000])
def test_a_bad_image_is_bad_on_new_instances_and_the_old_image_is_not(after: int) -> None:
    world = small(2, failures=Failures(bad_share=1.0, bad_after_ms=after))
    ask(world, "set-capacity", capacity=3)
    at(world, 100)
    new_version(world)
    ask(world, "set-capacity", capacity=4)
    at(world, 1_000)
    assert {vm.id: world.serving(vm) for vm in world.vms.values()} == {"0": True, "1": True, "2": True, "3": False}


def test_going_back_from_a_bad_image_heals_and_a_restart_does_not() -> None:
    world = small(1, failures=Failures(bad_share=1.0))
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 200)
    ask(world, "restart", "0")
    assert serves(at(world, 400)) == [False]
    new_version(world, OLD)
    ask(world, "upgrade", "0")
    assert serves(at(world, 600)) == [True]


@given(share=st.floats(0.05, 0.95), seed=st.integers(0, 20))
def test_the_share_of_bad_instances_is_luck_of_the_slot_and_stays(share: float, seed: int) -> None:
    world = small(40, failures=Failures(bad_share=share), seed=seed)
    new_version(world)
    ask(world, "upgrade", "*")
    first = serves(at(world, 100))
    ask(world, "reimage", "*")
    assert serves(at(world, 300)) == first
    assert abs(sum(not one for one in first) / 40 - share) < 0.4


def test_an_image_that_turns_bad_later_serves_until_then() -> None:
    world = small(1, failures=Failures(bad_share=1.0, bad_after_ms=100_000))
    new_version(world)
    ask(world, "upgrade", "0")
    up = TOOK["upgrade"] + READY + PROBE
    assert serves(at(world, up)) == [True]
    assert serves(at(world, up + 99.999)) == [True]
    assert serves(at(world, up + 100)) == [False]
    spans = list(world.exposures())
    assert spans == [(TOOK["upgrade"] * SECOND, None)]


def test_exposures_are_all_there_at_the_first_look() -> None:
    """Whose image is replaced ran the bad one until then, also where nobody had looked at the instance since."""
    world = small(1, failures=Failures(bad_share=1.0, bad_after_ms=HOUR))
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 600)
    assert len(list(world.exposures())) == 1
    new_version(world, OLD)
    world.faults = (Fault(verdict="hang", first=4, last=4),)  # at its end nobody looks
    ask(world, "upgrade", "0")
    world.run(1200 * SECOND, stop_on_wake=False)
    first = list(world.exposures())
    assert first == list(world.exposures())
    assert [until is None for _, until in first] == [False]


def test_a_failed_creation_leaves_a_failed_instance_whatever_a_failed_upgrade_becomes() -> None:
    for becomes in ("dead", "old-image"):
        world = small(1, failures=Failures(upgrade=1.0, becomes=becomes))
        reply = ask(world, "set-capacity", capacity=2)
        at(world, 100)
        assert ended(reply)[:2] == ("failed", "VMStartTimedOut")
        assert (shown(world, "1")[0], world.serving(world.vms["1"])) == ("failed", False)


# -- by themselves ----------------------------------------------------------------------------------------------------------


def test_serving_instances_fail_in_the_background_and_are_repaired() -> None:
    failures = Failures(mttf_ms=HOUR, mttr=Constant(seconds=60))
    world = small(10, failures=failures)
    at(world, 20 * 3600)
    spans = [(end - start) / SECOND for vm in world.vms.values() for start, end in vm.outages]
    assert set(spans) == {60.0}
    assert 120 < len(spans) < 290  # 10 instances, 20 hours, one an hour: 200 less what falls into repairs


def test_only_upgraded_instances_fail_where_it_says_so() -> None:
    failures = Failures(mttf_ms=10 * MINUTE, mttr=Constant(seconds=60), background_hits="upgraded")
    world = small(6, failures=failures)
    new_version(world)
    at(world, 5 * 3600)
    assert not any(vm.outages for vm in world.vms.values())
    ask(world, "upgrade", "0")
    at(world, 20 * 3600)
    assert [len(vm.outages) > 3 for vm in world.vms.values()] == [True] + [False] * 5


def test_a_failure_may_bring_back_the_old_image() -> None:
    failures = Failures(mttf_ms=10 * MINUTE, mttr=Constant(seconds=60), background_becomes="old-image")
    world = small(1, failures=failures)
    new_version(world)
    ask(world, "upgrade", "0")
    at(world, 60)
    assert vm_of(world, "0").image.version == NEW
    at(world, 20 * 3600)
    vm = vm_of(world, "0")
    assert (vm.image.version, world.is_latest(vm)) == (OLD, False)


@given(seed=st.integers(0, 30))
def test_with_ageing_nothing_fails_before_it_is_failure_prone_and_repair_makes_it_new(seed: int) -> None:
    failures = Failures(mttf_ms=MINUTE, mttr=Constant(seconds=60), ageing_ms=2 * HOUR)
    world = small(4, failures=failures, seed=seed)
    for vm in world.vms.values():
        assert vm.prone_at == 0  # as found: nobody knows how old they are
    prone = {}
    for hour in range(1, 12):
        at(world, hour * 3600)
        for vm in world.vms.values():
            if vm.outages and vm.prone_at < 1 << 61:
                prone[vm.id, vm.outages[-1][1]] = vm.prone_at
    ends = {(vm.id, end) for vm in world.vms.values() for _, end in vm.outages}
    starts = {vm.id: [start for start, _ in vm.outages] for vm in world.vms.values()}
    assert prone
    for (name, end), from_ms in prone.items():
        assert (name, end) in ends
        assert from_ms >= end
        assert all(start >= from_ms for start in starts[name] if start > end)


def test_an_operation_makes_an_instance_new() -> None:
    failures = Failures(mttf_ms=5 * MINUTE, mttr=Constant(seconds=1), ageing_ms=1_000 * HOUR)
    world = small(2, failures=failures)
    ask(world, "restart", "0")
    at(world, 3 * 3_600)
    assert vm_of(world, "0").prone_at > world.now
    assert [len(vm.outages) for vm in world.vms.values()] == [
        1,
        1,
    ]  # the restart; the first failure, after that it is new too
