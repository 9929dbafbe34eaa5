"""Limits, quota, addresses and throttling, as the set enforces them (docs/azure-rules.md, 5 and 6). Buckets: test_throttle.py."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_worlds import MINUTE, QUIET, SECOND, ask, at, new_version, small
from vmss_sim.world.operations import ID_KINDS, SET_KINDS
from vmss_sim.world.scale_set import IMAGE, URI
from vmss_sim.world.throttle import POLICIES, USES

BUSY = msgspec.structs.replace(QUIET, throttle=True)
GROUP = "properties.singlePlacementGroup"
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/G/images/I/versions/1.0.0"
MANAGED = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/I"


# -- instances --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "single", "most"),
    [
        (IMAGE + "version", "1.0.0", False, 1000),
        (IMAGE + "id", GALLERY, False, 1000),
        (IMAGE + "id", MANAGED, False, 600),
        (URI, "https://store/vhd", False, 600),
        (IMAGE + "version", "1.0.0", True, 100),
        (IMAGE + "id", MANAGED, True, 100),
    ],
)
def test_how_many_instances_a_set_may_have(path: str, value: str, single: bool, most: int) -> None:
    for capacity, kind in ((most, "accepted"), (most + 1, "refused"), (-1, "refused")):
        world = small(2, single_placement_group=single)
        world.model[path] = value
        world._read_model()
        reply = ask(world, "set-capacity", capacity=capacity)
        assert (reply.kind, reply.status) == (kind, 200 if kind == "accepted" else 400), capacity


def test_the_limit_holds_for_a_capacity_inside_a_model_update() -> None:
    world = small(2)
    assert ask(world, "update-model", capacity=1001).status == 400
    assert len(world.vms) == 2
    assert ask(world, "update-model", capacity=5).status == 200
    assert len(world.vms) == 5


def test_a_single_placement_group_can_be_given_up_and_never_comes_back() -> None:
    world = small(2, single_placement_group=True)
    assert ask(world, "set-capacity", capacity=101).status == 400
    assert ask(world, "update-model", patch={GROUP: True}).kind == "accepted"
    assert ask(world, "update-model", patch={GROUP: False}).kind == "accepted"
    assert ask(world, "set-capacity", capacity=101).kind == "accepted"
    reply = ask(world, "update-model", patch={GROUP: True})
    assert (reply.code, reply.message) == (
        "PropertyChangeNotAllowed",
        "Changing property 'singlePlacementGroup' is not allowed.",
    )


@pytest.mark.parametrize("name", ["platformFaultDomainCount", "orchestrationMode", "priority"])
def test_what_is_fixed_at_creation_cannot_change(name: str) -> None:
    world = small(2)
    world.model[f"properties.{name}"] = 5
    assert ask(world, "update-model", patch={f"properties.{name}": 5}).kind == "accepted"
    reply = ask(world, "update-model", patch={f"properties.{name}": 1})
    assert (reply.status, reply.code) == (409, "PropertyChangeNotAllowed")
    assert world.model[f"properties.{name}"] == 5


# -- quota and addresses ----------------------------------------------------------------------------------------------


@given(n=st.integers(1, 6), cores=st.integers(1, 8), quota=st.integers(1, 100), more=st.integers(1, 6))
def test_scaling_out_needs_cores(n: int, cores: int, quota: int, more: int) -> None:
    world = small(n, quota_cores=quota, cores_per_vm=cores)
    reply = ask(world, "set-capacity", capacity=n + more)
    fits = (n + more) * cores <= quota
    assert reply.kind == ("accepted" if fits else "refused")
    assert len(world.vms) == (n + more if fits else n)
    if not fits:
        assert (reply.status, reply.code) == (409, "OperationNotAllowed")
        assert reply.message.startswith(
            f"Operation results in exceeding quota limits of Core. Maximum allowed: {quota}, "
            f"Current in use: {n * cores}, Additional requested: {more * cores}."
        )


def test_deallocated_instances_hold_no_cores_and_need_them_to_start() -> None:
    world = small(4, quota_cores=8, cores_per_vm=2)
    assert ask(world, "set-capacity", capacity=5).kind == "refused"
    ask(world, "deallocate", "0")
    at(world, 100)
    assert ask(world, "set-capacity", capacity=5).kind == "accepted"
    at(world, 200)
    reply = ask(world, "start", "0")
    assert (reply.kind, reply.code) == ("refused", "OperationNotAllowed")
    assert "Current in use: 8, Additional requested: 2" in reply.message
    ask(world, "delete", "4")
    at(world, 300)
    assert ask(world, "start", "0").kind == "accepted"


def test_stopped_instances_hold_their_cores() -> None:
    world = small(4, quota_cores=4)
    ask(world, "power-off", "0")
    at(world, 100)
    assert ask(world, "set-capacity", capacity=5).kind == "refused"
    assert ask(world, "start", "0").kind == "accepted"


@pytest.mark.parametrize(("addresses", "kind"), [(6, "accepted"), (5, "refused")])
def test_scaling_out_needs_addresses(addresses: int, kind: str) -> None:
    world = small(4, addresses=addresses)
    reply = ask(world, "set-capacity", capacity=6)
    assert reply.kind == kind
    if kind == "refused":
        assert (reply.status, reply.code) == (400, "SubnetIsFull")
        assert reply.message.endswith("does not have enough capacity for 2 IP addresses.")


def test_instances_that_are_being_deleted_still_hold_their_addresses() -> None:
    world = small(4, addresses=4)
    ask(world, "delete", "0")
    assert ask(world, "set-capacity", capacity=4).kind == "refused"
    at(world, 100)
    assert ask(world, "set-capacity", capacity=4).kind == "accepted"


def test_reimaging_and_upgrading_need_neither_cores_nor_addresses() -> None:
    world = small(4, quota_cores=4, addresses=4)
    new_version(world)
    assert ask(world, "upgrade", "*").kind == "accepted"
    at(world, 200)
    assert ask(world, "reimage", "*").kind == "accepted"


# -- throttling -------------------------------------------------------------------------------------------------------


def test_a_set_throttles_only_where_it_is_asked_to() -> None:
    world = small(1)
    assert all(ask(world, "update-model").kind == "accepted" for _ in range(20))


def test_updates_of_one_set_are_throttled_after_twelve_and_told_when_to_come_back() -> None:
    world = small(1, platform=BUSY)
    assert [ask(world, "update-model").status for _ in range(12)] == [200] * 12
    at(world, 20)
    reply = ask(world, "update-model")
    assert (reply.kind, reply.status, reply.retry_after_ms) == ("refused", 429, 40 * SECOND)
    assert reply.message.startswith("The server rejected the request because too many requests have been received")
    at(world, 59.999)
    assert ask(world, "update-model").retry_after_ms == 1
    at(world, 60)
    assert [ask(world, "update-model").status for _ in range(5)] == [200] * 4 + [429]


def test_a_throttled_request_changes_nothing() -> None:
    world = small(1, platform=BUSY)
    for _ in range(12):
        ask(world, "update-model")
    etag = world.etag
    assert new_version(world).status == 429
    assert (world.etag, world.is_latest(world.vms["0"]), world.model[IMAGE + "version"]) == (etag, True, "1.0.0")


@given(kind=st.sampled_from(["restart", "reimage", "start"]), asked=st.integers(13, 60))
def test_actions_on_instances_leave_the_sets_own_bucket_alone(kind: str, asked: int) -> None:
    world = small(1, platform=BUSY)
    assert {ask(world, kind, "0").status for _ in range(asked)} <= {202, 409}  # accepted or busy, never throttled
    assert ask(world, "update-model").status == 200


def test_requests_pay_for_every_instance_they_touch() -> None:
    # VMScaleSetBatchedVMRequests holds 6,000: six restarts of 1,000 and a seventh waits for the next minute.
    world = small(1000, platform=BUSY)
    statuses = [ask(world, "restart", "*").status for _ in range(7)]
    assert statuses == [202] * 6 + [429]
    at(world, 60)
    assert ask(world, "restart", "0").status in (202, 409)


def test_resource_managers_buckets_are_the_documented_ones() -> None:
    # request-limits-and-throttling, since 2024: bucket and refill a second; of all principals together 15 times as much
    documented = {"reads": (250, 25), "writes": (200, 10), "deletes": (200, 10)}
    for name, (size, refill) in documented.items():
        for policy, times in ((POLICIES[f"arm-{name}"], 1), (POLICIES[f"arm-global-{name}"], 15)):
            assert (policy.size, policy.refill, policy.every_ms) == (size * times, refill * times, SECOND)


def test_every_request_of_the_world_has_its_buckets() -> None:
    assert {*SET_KINDS, *ID_KINDS} <= set(USES)


def test_throttling_comes_before_every_other_refusal() -> None:
    world = small(1, platform=BUSY)
    for _ in range(12):
        ask(world, "update-model")
    assert ask(world, "update-model", capacity=5000).status == 429
    assert ask(world, "restart", "999").status == 400


def test_the_wait_is_whole_minutes_from_the_first_request() -> None:
    world = small(1, platform=BUSY)
    at(world, 7)
    for _ in range(12):
        ask(world, "update-model")
    reply = ask(world, "update-model")
    assert reply.retry_after_ms == MINUTE
