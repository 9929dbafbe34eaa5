"""The model and its mode, rule by rule (docs/azure-rules.md): Automatic, Manual, what `latest` means, what needs a new OS disk,
etags and conflicts.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.azure_world import (
    COIN,
    CUSTOM_DATA,
    EXTENSION,
    HOUR,
    IMAGE,
    MINUTE,
    NEW,
    OLD,
    SECOND,
    SIZE,
    WORK,
    Luck,
    accepted,
    ask,
    current,
    exact,
    finish,
    image,
    make,
    on,
    outages,
    put,
    tuned,
    until,
    wait,
)
from vmss_sim.world.config import Repairs, RollingPolicy
from vmss_sim.world.images import URI, image_of, leaves_version_open
from vmss_sim.world.scale_set import World

GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/G/images/I"


def down(world: World) -> set[str]:
    return {name for name, vm in world.vms.items() if not world.serving(vm)}


# -- modes (1.1) ------------------------------------------------------------------------------------------------------


def test_automatic_upgrades_every_stale_instance_at_once_when_the_model_changes() -> None:
    world = make(5, mode="automatic", each={"2": {"protected": True}})
    operation = put(world)
    assert down(world) == {"0", "1", "3", "4"}, "no order, no gate; protected ones are left alone"
    finish(world, operation)
    assert (world.now, operation.status) == (WORK, "succeeded")
    assert on(world, NEW) == current(world) == {"0", "1", "3", "4"}


def test_automatic_leaves_current_instances_alone() -> None:
    world = make(3, mode="automatic", each={"1": {"latest": False}})
    finish(world, put(world, patch={}))
    assert [bool(outages(vm)) for vm in world.vms.values()] == [False, True, False]


def test_an_instance_that_fails_makes_the_update_fail() -> None:
    world = make(3, mode="automatic", luck=Luck(fails=(1,)), failures=COIN)
    operation = finish(world, put(world))
    assert (operation.status, operation.code) == ("failed", "VMStartTimedOut")
    assert current(world) == {"0", "2"}


def test_automatic_takes_a_busy_instance_when_its_operation_has_ended() -> None:
    world = make(3, mode="automatic", operations={"restart": 10 * MINUTE})
    accepted(world, "restart", "1")
    operation = put(world)
    until(world, 9 * MINUTE)
    assert (operation.status, on(world, NEW)) == ("running", {"0", "2"})
    finish(world, operation)
    assert world.now == 10 * MINUTE + WORK
    assert on(world, NEW) == set(world.vms)


def test_two_updates_in_a_row_end_on_the_second() -> None:
    world = make(3, mode="automatic")
    first = put(world)
    wait(world, SECOND)
    second = put(world, patch={IMAGE + "version": "3.0.0"})
    finish(world, second)
    assert (first.status, world.now) == ("succeeded", 2 * WORK)
    assert on(world, "3.0.0") == current(world) == set(world.vms)


def test_manual_touches_nothing_and_new_instances_use_the_new_model() -> None:
    world = make(3)
    finish(world, put(world))
    wait(world, HOUR)
    assert not any(outages(vm) for vm in world.vms.values())
    assert current(world) == set()
    finish(world, accepted(world, "set-capacity", capacity=5))
    assert on(world, NEW) == current(world) == {"3", "4"}
    finish(world, accepted(world, "upgrade", "0"))
    assert on(world, NEW) == current(world) == {"0", "3", "4"}


@pytest.mark.parametrize(("health", "flexible", "code"), [("none", False, "BadRequest"), ("probe", False, ""), ("probe", True, "BadRequest"), ("extension", True, ""), ("rich", False, "")])  # fmt: skip
def test_mode_rolling_needs_a_health_source(health: str, flexible: bool, code: str) -> None:
    world = make(2, health=health, flexible=flexible)
    reply = ask(world, "update-model", patch={}, mode="rolling")
    assert (reply.code, reply.kind) == (code, "refused" if code else "accepted")
    if code:
        assert (reply.status, world.mode) == (400, "manual")
        assert "because a health probe was not provided" in reply.message


@pytest.mark.parametrize("mode", ["automatic", "rolling"])
def test_the_mode_can_be_changed_at_any_time_and_moves_what_is_stale(mode: str) -> None:
    world = make(3)
    put(world)
    finish(world, accepted(world, "set-mode", mode=mode))
    assert on(world, NEW) == set(world.vms)
    assert world.now == (WORK if mode == "automatic" else 3 * (WORK + 20 * SECOND))
    finish(world, accepted(world, "set-mode", mode="manual"))
    put(world, patch={IMAGE + "version": "3.0.0"})
    wait(world, HOUR)
    assert on(world, NEW) == set(world.vms)


@pytest.mark.parametrize(
    "policy", [{"rolling": RollingPolicy(max_batch_percent=40)}, {"repairs": Repairs()}, {"capacity": 3}]
)
def test_policies_and_capacity_are_not_part_of_what_instances_are_given(policy: dict[str, Any]) -> None:
    world = make(3, mode="automatic")
    finish(world, put(world, patch={}, **policy))
    assert current(world) == set(world.vms)
    assert not any(outages(vm) for vm in world.vms.values())


# -- the rolling policy (1.2) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "least"), [("max_batch_percent", 5), ("max_unhealthy_percent", 5), ("max_unhealthy_upgraded_percent", 0)])  # fmt: skip
def test_percentages_have_ranges(field: str, least: int) -> None:
    for value, kind in ((least - 1, "refused"), (least, "accepted"), (100, "accepted"), (101, "refused")):
        policy = msgspec.structs.replace(RollingPolicy(), **{field: value})
        reply = ask(make(1), "update-model", patch={}, rolling=policy)
        assert (reply.kind, reply.code) == (kind, "" if kind == "accepted" else "InvalidParameter"), value


def test_the_default_policy() -> None:
    assert RollingPolicy() == RollingPolicy(
        max_batch_percent=20,
        max_unhealthy_percent=20,
        max_unhealthy_upgraded_percent=20,
        pause_ms=0,
        cross_zone=False,
        prioritize_unhealthy=False,
        rollback_failed=False,
        max_surge=False,
    )


def test_a_batch_may_be_larger_than_what_may_be_unhealthy() -> None:
    """Azure Batch forbids it; for scale sets nobody says so."""
    policy = RollingPolicy(max_batch_percent=100, max_unhealthy_percent=5)
    world = make(4)
    put(world, rolling=policy)
    finish(world, accepted(world, "set-mode", mode="rolling"))
    assert on(world, NEW) == set(world.vms)


# -- what needs a new OS disk -----------------------------------------------------------------------------------------


def test_custom_data_takes_effect_with_a_new_os_disk_and_not_with_an_upgrade() -> None:
    world = make(2)
    old = world.profile
    put(world, patch={CUSTOM_DATA: "new"})
    assert current(world) == set()
    finish(world, accepted(world, "upgrade", "0", "1"))
    assert current(world) == {"0", "1"}
    assert [vm.profile for vm in world.vms.values()] == [old, old]
    assert [vm.disk for vm in world.vms.values()] == [0, 0]
    finish(world, accepted(world, "reimage", "0"))
    assert [vm.profile for vm in world.vms.values()] == [world.profile, old]
    assert [vm.disk for vm in world.vms.values()] == [1, 0]


def test_an_upgrade_to_a_new_image_brings_the_os_profile_too() -> None:
    world = make(1)
    put(world, patch={CUSTOM_DATA: "new", IMAGE + "version": NEW})
    finish(world, accepted(world, "upgrade", "0"))
    assert world.settled(world.vms["0"]).profile == world.profile


@pytest.mark.parametrize("path", [SIZE, EXTENSION, "properties.virtualMachineProfile.securityPostureReference.id", "properties.virtualMachineProfile.applicationProfile.galleryApplications"])  # fmt: skip
def test_other_model_changes_are_upgraded_without_a_new_os_disk(path: str) -> None:
    world = make(2, mode="rolling")
    finish(world, put(world, patch={path: "other"}))
    assert current(world) == {"0", "1"}
    assert [(vm.disk, vm.image.exact if vm.image else None) for vm in world.vms.values()] == [(0, OLD), (0, OLD)]


@pytest.mark.parametrize("restarts", [True, False])
def test_whether_a_change_without_a_new_image_takes_a_vm_down_is_an_option(restarts: bool) -> None:
    world = make(1, restart_on_delta=restarts)
    put(world, patch={EXTENSION: "more"})
    finish(world, accepted(world, "upgrade", "0"))
    assert bool(outages(world.vms["0"])) is restarts


# -- kinds of OS change (8) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "patch",
    [
        {IMAGE + "version": NEW},
        {IMAGE + "sku": "24_04-lts"},
        {IMAGE + "publisher": "Other"},
        {IMAGE + "id": GALLERY + "/versions/2.0.0"},
        {IMAGE + "id": "/subscriptions/s/providers/Microsoft.Compute/images/mine"},
        {IMAGE + "sharedGalleryImageId": "/sharedGalleries/G/images/I/versions/2.0.0"},
        {IMAGE + "communityGalleryImageId": "/communityGalleries/G/images/I/versions/2.0.0"},
        {URI: "https://account.blob.core.windows.net/vhds/two.vhd"},
    ],
)
def test_every_way_to_name_another_image_replaces_the_os_disk(patch: dict[str, Any]) -> None:
    world = make(2)
    before = world.vms["0"].image
    put(world, patch=patch)
    assert current(world) == set()
    finish(world, accepted(world, "upgrade", "0"))
    vm = world.settled(world.vms["0"])
    assert (vm.disk, vm.image == before, vm.image == world.model_image) == (1, False, True)
    assert vm.image is not None
    assert set(patch.values()) <= set(msgspec.structs.astuple(vm.image))
    assert current(world) == {"0"}


@pytest.mark.parametrize(
    ("model", "is_open", "exact_version"),
    [
        ({IMAGE + "version": "latest", IMAGE + "sku": "s"}, True, "9.9.9"),
        ({IMAGE + "version": "1.0.0", IMAGE + "sku": "s"}, False, "1.0.0"),
        ({IMAGE + "id": GALLERY}, True, "9.9.9"),
        ({IMAGE + "id": GALLERY + "/versions/1.0.0"}, False, None),
        ({IMAGE + "sharedGalleryImageId": "/sharedGalleries/G/images/I"}, True, "9.9.9"),
        ({IMAGE + "communityGalleryImageId": "/CommunityGalleries/G/images/I"}, True, "9.9.9"),
        ({IMAGE + "id": "/subscriptions/s/providers/Microsoft.Compute/images/mine"}, False, None),
        ({URI: "https://x/y.vhd", IMAGE + "version": "latest"}, False, None),
        ({}, False, None),
    ],
)
def test_who_chooses_the_version(model: dict[str, Any], is_open: bool, exact_version: str | None) -> None:
    assert leaves_version_open(model) is is_open
    found = image_of(model, "9.9.9")
    assert (found.exact if found else None) == exact_version
    if found and not found.uri:
        assert image_of(model, "9.9.9", "3.0.0") == msgspec.structs.replace(found, exact="3.0.0")


def latest(n: int = 4, **more: Any) -> World:
    return make(n, version="latest", exact=OLD, **more)


def test_a_publication_flips_no_flag_and_moves_nobody() -> None:
    for mode in ("manual", "automatic", "rolling"):
        world = latest(mode=mode)
        world.publish(NEW)
        finish(world, put(world, patch={}))
        wait(world, HOUR)
        assert current(world) == on(world, OLD) == set(world.vms)


def test_new_reimaged_and_replaced_instances_get_the_newest() -> None:
    world = latest(3)
    world.publish(NEW)
    finish(world, accepted(world, "set-capacity", capacity=4))
    finish(world, accepted(world, "reimage", "1"))
    assert exact(world) == {"0": OLD, "1": NEW, "2": OLD, "3": NEW}
    assert current(world) == set(world.vms)
    assert {vm.image.version for vm in world.vms.values() if vm.image} == {"latest"}


@pytest.mark.parametrize("moves", [False, True])
def test_whether_manualupgrade_moves_a_current_instance_to_the_newest_is_an_option(moves: bool) -> None:
    world = latest(2, platform=tuned(latest_on_upgrade=moves))
    world.publish(NEW)
    finish(world, accepted(world, "upgrade", "*"))
    assert on(world, NEW) == (set(world.vms) if moves else set())


def test_an_upgrade_for_another_reason_keeps_the_version_booted() -> None:
    world = latest(2)
    world.publish(NEW)
    put(world, patch={EXTENSION: "more"})
    finish(world, accepted(world, "upgrade", "*"))
    assert (on(world, OLD), current(world)) == (set(world.vms), set(world.vms))


def test_a_version_resolved_and_written_down_moves_everybody() -> None:
    world = latest(3)
    world.publish(NEW)
    put(world, patch={IMAGE + "version": NEW})
    assert current(world) == set()
    finish(world, accepted(world, "upgrade", "*"))
    assert on(world, NEW) == current(world) == set(world.vms)


def test_putting_the_old_version_back_is_a_way_back() -> None:
    world = make(3)
    put(world)
    finish(world, accepted(world, "upgrade", "0", "1"))
    put(world, patch={IMAGE + "version": OLD})
    assert current(world) == {"2"}, "who was not touched is current again"
    finish(world, accepted(world, "upgrade", "*"))
    assert on(world, OLD) == current(world) == set(world.vms)
    assert not outages(world.vms["2"])


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("part", ["publisher", "offer"])
def test_whether_publisher_and_offer_can_change_is_an_option(fixed: bool, part: str) -> None:
    world = make(2, platform=tuned(publisher_fixed=fixed))
    reply = ask(world, "update-model", patch={IMAGE + part: "other"})
    assert reply.code == ("PropertyChangeNotAllowed" if fixed else "")
    assert ask(world, "update-model", patch={IMAGE + "sku": "other"}).kind == "accepted"
    if fixed:
        assert reply.message == f"Changing property 'imageReference.{part}' is not allowed."
        assert ask(world, "update-model", patch={IMAGE + part: world.model[IMAGE + part]}).kind == "accepted"


@pytest.mark.parametrize("disrupts", [True, False])
def test_a_patch_in_the_guest_changes_neither_image_nor_flag(disrupts: bool) -> None:
    world = make(2, patch_disrupts=disrupts)
    finish(world, accepted(world, "run-command", "0", run_name="patch-1"))
    vm = world.settled(world.vms["0"])
    assert (vm.commands, vm.disk, vm.image) == (("patch-1",), 0, image())
    assert current(world) == {"0", "1"}
    assert bool(outages(vm)) is disrupts


# -- concurrency (7) --------------------------------------------------------------------------------------------------


def test_the_etag_grows_with_a_model_change_and_a_stale_one_is_refused() -> None:
    world = make(2)
    before = world.etag
    put(world, if_match=before)
    assert world.etag > before
    reply = ask(world, "update-model", patch={IMAGE + "version": "3.0.0"}, if_match=before)
    assert (reply.kind, reply.status, reply.code) == ("refused", 412, "PreconditionFailed")
    assert (
        reply.message == f'Etag provided in if-match header "{before}" does not match etag "{world.etag}" of resource.'
    )
    assert world.model[IMAGE + "version"] == NEW, "a refused update changes nothing"
    assert ask(world, "update-model", patch={IMAGE + "version": "3.0.0"}, if_match=world.etag).kind == "accepted"
    assert ask(world, "update-model", patch={IMAGE + "version": "4.0.0"}).kind == "accepted", "without one nobody asks"


@pytest.mark.parametrize(
    ("kind", "moves"),
    [("update-model", True), ("set-mode", True), ("set-capacity", True), ("upgrade", True), ("os-rolling-upgrade", True), ("extension-rolling-upgrade", True), ("reimage", False), ("restart", False), ("protect", False)],
)  # fmt: skip
def test_what_moves_the_etag(kind: str, moves: bool) -> None:
    args: dict[str, dict[str, Any]] = {
        "update-model": {"patch": {}},
        "set-mode": {"mode": "manual"},
        "set-capacity": {"capacity": 2},
        "protect": {"protected": True},
    }
    world = latest(2)
    before = world.etag
    ids = ("0",) if kind in ("upgrade", "reimage", "restart", "protect") else ()
    accepted(world, kind, *ids, **args.get(kind, {}))
    assert (world.etag > before) is moves


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["version", "policy", "capacity"]), max_size=6))
def test_two_writers_with_etags_never_overwrite_each_other(changes: list[str]) -> None:
    world = make(2)
    for number, what in enumerate(changes):
        seen = world.etag
        args: dict[str, Any] = {"patch": {IMAGE + "version": f"{number}.5.0"}} if what == "version" else {"patch": {}}
        if what == "policy":
            args["rolling"] = RollingPolicy(max_batch_percent=30 + number)
        if what == "capacity":
            args["capacity"] = 3 + number
        assert ask(world, "update-model", if_match=seen, **args).kind == "accepted"
        assert ask(world, "update-model", patch={IMAGE + "version": "lost"}, if_match=seen).status == 412
        assert world.model[IMAGE + "version"] != "lost"
        wait(world, HOUR)


def test_whether_an_update_during_an_update_conflicts_is_an_option() -> None:
    for answer, status in (("accepted", 200), ("conflict", 409)):
        options = tuned(concurrent_update=answer)
        world = make(2, operations={"update-model": MINUTE}, platform=options)
        put(world)
        reply = ask(world, "update-model", patch={IMAGE + "version": "3.0.0"})
        assert reply.status == status
        if status == 409:
            assert reply.code == "Conflict"
            assert "conflict with a concurrent request" in reply.message
        wait(world, HOUR)
        assert ask(world, "update-model", patch={IMAGE + "version": "3.0.0"}).status == 200


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Low", "Spot", 200),
        ("Spot", "low", 200),
        ("Spot", "Regular", 409),
        ("Regular", "Spot", 409),
        (None, "Spot", 409),
    ],
)
def test_a_priority_may_take_its_newer_name(old: str | None, new: str, status: int) -> None:
    path = "properties.virtualMachineProfile.priority"
    world = make(2)
    if old is not None:
        world.model[path] = old
    assert ask(world, "update-model", patch={path: new}).status == status
    assert world.model.get(path) == (new if status == 200 else old)


@pytest.mark.parametrize("name", ["platformFaultDomainCount", "priority", "orchestrationMode"])
def test_some_properties_cannot_change(name: str) -> None:
    path = f"properties.{name}"
    world = make(2)
    reply = ask(world, "update-model", patch={path: "other"})
    assert (reply.status, reply.code) == (409, "PropertyChangeNotAllowed")
    assert reply.message == f"Changing property '{name}' is not allowed."
    assert path not in world.model
    world.model[path] = "same"
    assert ask(world, "update-model", patch={path: "same"}).kind == "accepted"
