"""Azure's own batches, rule by rule (docs/azure-rules.md): their size, their borders, their order, who takes part."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.azure_world import (
    OLD,
    SICK,
    TOLERANT,
    batches,
    finish,
    on,
    put,
    rolling,
    tuned,
)
from vmss_sim.world.config import RollingPolicy
from vmss_sim.world.rolling_policy import Member, azure_batches, batch_size

members = st.lists(
    st.builds(
        Member,
        id=st.integers(0, 400).map(str),
        zone=st.sampled_from([None, "1", "2", "3"]),
        update_domain=st.sampled_from([None, 0, 1, 2]),
        healthy=st.booleans(),
        phase=st.sampled_from([None, 0, 1, 10]),
    ),
    max_size=24,
    unique_by=lambda one: one.id,
)
policies = st.builds(
    RollingPolicy, max_batch_percent=st.integers(5, 100), cross_zone=st.booleans(), prioritize_unhealthy=st.booleans()
)


@given(percent=st.integers(5, 100), total=st.integers(1, 1000))
def test_batch_size_is_the_percentage_of_all_instances_rounded_down_and_one_at_least(percent: int, total: int) -> None:
    size = batch_size(percent, total)
    assert size == 1 or size * 100 <= percent * total
    assert (size + 1) * 100 > percent * total
    assert size >= 1


@given(members, policies, st.integers(0, 10))
def test_batches_hold_every_member_once_and_none_is_too_large(
    given_members: list[Member], policy: RollingPolicy, others: int
) -> None:
    total = len(given_members) + others
    found = azure_batches(given_members, total, policy)
    assert sorted(one for batch in found for one in batch) == sorted(one.id for one in given_members)
    assert all(0 < len(batch) <= batch_size(policy.max_batch_percent, total) for batch in found)


@given(members, policies)
def test_no_batch_crosses_an_update_domain(given_members: list[Member], policy: RollingPolicy) -> None:
    domains = {one.id: one.update_domain for one in given_members}
    for batch in azure_batches(given_members, len(given_members), policy):
        assert len({domains[one] for one in batch}) == 1


@given(members, policies)
def test_no_batch_crosses_a_zone_unless_the_policy_says_so(given_members: list[Member], policy: RollingPolicy) -> None:
    zones = {one.id: one.zone for one in given_members}
    same = msgspec.structs.replace(policy, cross_zone=False)
    for batch in azure_batches(given_members, len(given_members), same):
        assert len({zones[one] for one in batch}) == 1


def test_across_zones_a_batch_is_filled_from_all_of_them() -> None:
    set_of_six = [Member(str(number), zone=str(number % 3 + 1), update_domain=0) for number in range(6)]
    half = RollingPolicy(max_batch_percent=50)
    assert azure_batches(set_of_six, 6, half) == (("0", "3"), ("1", "4"), ("2", "5"))
    across = msgspec.structs.replace(half, cross_zone=True)
    assert azure_batches(set_of_six, 6, across) == (("0", "1", "2"), ("3", "4", "5"))


@given(members, policies)
def test_phases_ascend_and_who_has_no_number_comes_last(given_members: list[Member], policy: RollingPolicy) -> None:
    number = {one.id: 99 if one.phase is None else one.phase for one in given_members}
    order = [number[one] for batch in azure_batches(given_members, len(given_members), policy) for one in batch]
    assert order == sorted(order)
    assert all(
        len({number[one] for one in batch}) == 1 for batch in azure_batches(given_members, len(given_members), policy)
    )


@given(members, policies)
def test_unhealthy_instances_of_a_phase_come_first_where_the_policy_says_so(
    given_members: list[Member], policy: RollingPolicy
) -> None:
    first = msgspec.structs.replace(policy, prioritize_unhealthy=True)
    known = {one.id: one for one in given_members}
    order = [known[one] for batch in azure_batches(given_members, len(given_members), first) for one in batch]
    for phase in {one.phase for one in order}:
        health = [one.healthy for one in order if one.phase == phase]
        assert health == sorted(health)


def test_without_priority_health_does_not_change_the_order() -> None:
    two = [Member("0", healthy=True), Member("1", healthy=False)]
    assert azure_batches(two, 2, RollingPolicy()) == (("0",), ("1",))


@given(members, policies)
def test_within_a_zone_and_domain_the_order_is_by_number(given_members: list[Member], policy: RollingPolicy) -> None:
    known = {one.id: one for one in given_members}
    order = [known[one] for batch in azure_batches(given_members, len(given_members), policy) for one in batch]

    def place(one: Member) -> tuple[Any, ...]:
        sick = policy.prioritize_unhealthy and not one.healthy
        zone = (False, "") if policy.cross_zone else (one.zone is None, one.zone or "")
        domain = (one.update_domain is None, one.update_domain or 0)
        return (one.phase is None, one.phase or 0), not sick, zone, domain, int(one.id)

    assert [one.id for one in order] == [one.id for one in sorted(given_members, key=place)]


def test_the_world_rolls_zone_by_zone_and_domain_by_domain() -> None:
    world = rolling(8, RollingPolicy(max_batch_percent=50), zones=2, domains=4)
    finish(world, put(world))
    assert batches(world) == [("0", "4"), ("2", "6"), ("1", "5"), ("3", "7")]


def test_the_percentage_counts_every_instance_of_the_set() -> None:
    protected = {str(one): {"protected": True} for one in range(5, 10)}
    world = rolling(10, RollingPolicy(max_batch_percent=40), each=protected)
    finish(world, put(world))
    assert batches(world) == [("0", "1", "2", "3"), ("4",)], "40 % of ten, though only five take part"
    assert on(world, OLD) == set(protected)


def test_who_asks_to_be_skipped_is_left_out_and_phases_are_read_at_the_start() -> None:
    metrics = {"0": {"phase": 2}, "1": {"phase": 1}, "2": {"skip_upgrade": True}}
    world = rolling(4, TOLERANT, each=metrics)
    finish(world, put(world))
    assert batches(world) == [("1",), ("0",), ("3",)]
    assert on(world, OLD) == {"2"}


def test_with_custom_metrics_only_healthy_instances_take_part() -> None:
    world = rolling(4, TOLERANT, each={"0": {"phase": 1}, "3": SICK})
    finish(world, put(world))
    assert batches(world) == [("0",), ("1",), ("2",)]
    plain = rolling(4, TOLERANT, each={"3": SICK})
    finish(plain, put(plain))
    assert batches(plain) == [("0",), ("1",), ("2",), ("3",)]


def test_the_world_takes_unhealthy_instances_first() -> None:
    policy = msgspec.structs.replace(TOLERANT, prioritize_unhealthy=True)
    world = rolling(3, policy, each={"2": SICK})
    finish(world, put(world))
    assert batches(world) == [("2",), ("0",), ("1",)]


def test_unhealthy_instances_outside_can_shrink_a_batch() -> None:
    policy = msgspec.structs.replace(TOLERANT, max_batch_percent=50)
    outside = {"6": {**SICK, "protected": True}, "7": {**SICK, "protected": True}}
    shrunk = rolling(8, policy, each=outside, platform=tuned(shrink_by_unhealthy=True))
    finish(shrunk, put(shrunk))
    assert batches(shrunk) == [("0", "1"), ("2", "3"), ("4", "5")]
    plain = rolling(8, policy, each=outside)
    finish(plain, put(plain))
    assert batches(plain) == [("0", "1", "2", "3"), ("4", "5")]
