"""Automatic OS upgrade, rule by rule (docs/azure-rules.md): when it begins, its batches, what fails goes back, what is kept of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.azure_world import (
    BAD,
    COIN,
    DAY,
    HOUR,
    IMAGE,
    MINUTE,
    NEW,
    OLD,
    QUICK,
    READY,
    SECOND,
    UPGRADED,
    WORK,
    Luck,
    accepted,
    ask,
    batches,
    exact,
    finish,
    healthy,
    image,
    make,
    on,
    outages,
    put,
    until,
    wait,
)
from vmss_sim.world.config import AutoOs, Failures, Platform, RollingPolicy
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Outage, Publication
from vmss_sim.world.scale_set import World

AT_ONCE = msgspec.structs.replace(QUICK, auto_os_delay_ms=0)
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/G/images/I"
OS_PROFILE = "properties.virtualMachineProfile.osProfile."


def auto(n: int = 4, policy: AutoOs | None = None, **more: Any) -> World:
    """A set on `latest`, all of it on the old version, with automatic OS upgrade."""
    more.setdefault("platform", AT_ONCE)
    return make(n, version="latest", exact=OLD, auto_os=policy or AutoOs(enabled=True), **more)


def tuned(**options: Any) -> Platform:
    return msgspec.structs.replace(AT_ONCE, **options)


# -- what it requires -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "config", "code"),
    [
        ({}, {}, ""),
        ({IMAGE + "version": "1.0.0"}, {}, "BadRequest"),
        ({IMAGE + "id": GALLERY}, {}, ""),
        ({IMAGE + "id": GALLERY + "/versions/1.0.0"}, {}, "BadRequest"),
        ({IMAGE + "sharedGalleryImageId": "/sharedGalleries/G/images/I"}, {}, ""),
        ({IMAGE + "communityGalleryImageId": "/CommunityGalleries/G/Images/I/Versions/1.0.0"}, {}, "BadRequest"),
        ({IMAGE + "id": "/subscriptions/s/providers/Microsoft.Compute/images/mine"}, {}, "BadRequest"),
        ({}, {"health": "none"}, "BadRequest"),
        ({}, {"health": "probe"}, ""),
        ({OS_PROFILE + "windowsConfiguration.enableAutomaticUpdates": True}, {}, "BadRequest"),
        ({OS_PROFILE + "windowsConfiguration.enableAutomaticUpdates": False}, {}, ""),
        ({OS_PROFILE + "linuxConfiguration.patchSettings.patchMode": "AutomaticByPlatform"}, {}, "BadRequest"),
        ({OS_PROFILE + "windowsConfiguration.patchSettings.patchMode": "AutomaticByPlatform"}, {}, "BadRequest"),
        ({OS_PROFILE + "linuxConfiguration.patchSettings.patchMode": "ImageDefault"}, {}, ""),
        ({}, {"flexible": True}, ""),
        ({}, {"flexible": True, "platform": tuned(flexible_auto_os=False)}, "OperationNotAllowed"),
        ({}, {"flexible": True, "rolling": RollingPolicy(max_surge=True)}, "BadRequest"),
    ],
)  # fmt: skip
def test_what_automatic_os_upgrade_can_be_enabled_on(patch: dict[str, Any], config: dict[str, Any], code: str) -> None:
    world = make(2, version="latest", exact=OLD, **{"platform": AT_ONCE, **config})
    reply = ask(world, "update-model", patch=patch, auto_os=AutoOs(enabled=True))
    assert (reply.kind, reply.code) == ("refused" if code else "accepted", code)
    assert world.auto_os.enabled == (not code)


def test_a_pin_is_refused_while_it_is_enabled() -> None:
    world = auto(2)
    reply = ask(world, "update-model", patch={IMAGE + "version": OLD})
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert reply.message == (
        "virtualMachineScaleSets with Automatic OS Upgrade enabled must use Platform or Gallery Image with version set to "
        "'latest'."
    )
    accepted(world, "update-model", patch={IMAGE + "version": OLD}, auto_os=AutoOs(enabled=False))


# -- when it begins ---------------------------------------------------------------------------------------------------


def test_it_begins_some_time_after_a_publication_and_not_without_one() -> None:
    world = auto(2, platform=QUICK, luck=Luck(draw=0.5), disturbances=(Publication(at_ms=HOUR, version=NEW),))
    until(world, 2 * HOUR + HOUR // 2 - SECOND)
    assert not world.rollouts.past
    until(world, 2 * HOUR + HOUR // 2 + SECOND)
    assert world.rollouts.running
    wait(world, HOUR)
    assert on(world, NEW) == {"0", "1"}


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_it_begins_within_three_hours(seed: int) -> None:
    world = auto(2, platform=QUICK, luck=Draws(seed, 0, 2))
    world.publish(NEW)
    until(world, 3 * HOUR)
    assert len(world.rollouts.past) == 1


def test_it_begins_after_it_was_enabled_too() -> None:
    world = make(2, version="latest", exact=OLD, luck=Luck(draw=0.5))
    world.publish(NEW)
    until(world, DAY)
    assert not world.rollouts.past
    accepted(world, "update-model", patch={}, auto_os=AutoOs(enabled=True))
    until(world, DAY + HOUR + HOUR // 2 - SECOND)
    assert not world.rollouts.past
    until(world, DAY + 2 * HOUR)
    assert on(world, NEW) == {"0", "1"}


def test_it_does_not_begin_once_it_is_disabled() -> None:
    world = auto(2, platform=QUICK)
    world.publish(NEW)
    accepted(world, "update-model", patch={}, auto_os=AutoOs(enabled=False))
    until(world, DAY)
    assert not world.rollouts.past


def test_only_what_is_behind_makes_it_begin() -> None:
    world = auto(2, each={"0": {"image": image("latest", NEW)}, "1": {"protected": True}})
    world.publish(NEW)
    until(world, DAY)
    assert not world.rollouts.past


def test_whether_it_works_in_mode_manual_is_an_option() -> None:
    for works in (True, False):
        world = auto(2, platform=tuned(manual_auto_os=works))
        world.publish(NEW)
        until(world, HOUR)
        assert bool(world.rollouts.past) is works
    rolling = auto(2, platform=tuned(manual_auto_os=False), mode="rolling")
    rolling.publish(NEW)
    until(rolling, HOUR)
    assert rolling.rollouts.past


def test_it_waits_for_another_rollout_to_end() -> None:
    world = auto(3, platform=tuned(auto_os_delay_ms=10 * SECOND))
    accepted(world, "extension-rolling-upgrade")
    world.publish(NEW)
    until(world, 3 * WORK)
    assert [one.kind for one in world.rollouts.past] == ["extension"]
    until(world, HOUR)
    assert [one.kind for one in world.rollouts.past] == ["extension", "os"]
    assert on(world, NEW) == set(world.vms)


# -- deferral and approval --------------------------------------------------------------------------------------------

DEFERRED = AutoOs(enabled=True, deferral=True)


def test_a_deferred_upgrade_waits_for_approval_and_then_starts_at_once() -> None:
    world = auto(3, DEFERRED)
    world.publish(NEW)
    until(world, 3 * DAY)
    assert not world.rollouts.past
    reply = ask(world, "approve-rolling-upgrade")
    assert (reply.status, reply.kind) == (202, "accepted")
    wait(world, SECOND)
    assert batches(world) == [("0",)]
    wait(world, HOUR)
    assert on(world, NEW) == set(world.vms)


def test_an_approval_lets_the_named_instances_go() -> None:
    world = auto(4, DEFERRED)
    world.publish(NEW)
    wait(world, HOUR)
    accepted(world, "approve-rolling-upgrade", "1", "3")
    wait(world, HOUR)
    assert on(world, NEW) == {"1", "3"}
    accepted(world, "approve-rolling-upgrade", "0")
    wait(world, HOUR)
    assert on(world, NEW) == {"0", "1", "3"}
    accepted(world, "approve-rolling-upgrade", "*")
    wait(world, HOUR)
    assert on(world, NEW) == set(world.vms)
    assert ask(world, "approve-rolling-upgrade", "99").code == "InvalidParameter"


def test_a_newer_version_wants_a_new_approval() -> None:
    world = auto(2, DEFERRED, platform=tuned(auto_os_delay_ms=HOUR))
    world.publish(NEW)
    wait(world, SECOND)
    accepted(world, "approve-rolling-upgrade")
    world.publish("3.0.0")
    until(world, DAY)
    assert not world.rollouts.past
    accepted(world, "approve-rolling-upgrade")
    wait(world, HOUR)
    assert on(world, "3.0.0") == {"0", "1"}


def test_an_approval_is_used_up_by_the_rollout_it_lets_go() -> None:
    world = auto(4, DEFERRED, luck=Luck(bad=(0,)), failures=BAD)
    world.publish(NEW)
    wait(world, SECOND)
    accepted(world, "approve-rolling-upgrade", "0")
    wait(world, DAY)
    assert len(world.rollouts.past) == 1, "it failed and was restored; nobody approved it again"
    assert on(world, OLD) == set(world.vms)


def test_an_approval_fails_nobody_for_an_old_error() -> None:
    old_image = Failures(upgrade=0.5, becomes="old-image")
    world = auto(4, DEFERRED, luck=Luck(fails=(0,)), failures=old_image)
    finish(world, accepted(world, "reimage", "0"))
    assert finish(world, accepted(world, "approve-rolling-upgrade")).status == "succeeded"


# -- the maintenance window -------------------------------------------------------------------------------------------

NIGHTLY = AutoOs(enabled=True, window_ms=(2 * HOUR, 5 * HOUR, DAY))


def starts(world: World) -> list[int]:
    return sorted(start for vm in (*world.vms.values(), *world.gone) for start, _ in vm.outages)


def test_it_begins_with_its_window() -> None:
    world = auto(2, NIGHTLY)
    world.publish(NEW)
    until(world, 2 * HOUR - SECOND)
    assert not world.rollouts.past
    wait(world, HOUR)
    assert starts(world) == [2 * HOUR, 2 * HOUR + WORK + READY]
    late = auto(2, NIGHTLY, disturbances=(Publication(at_ms=7 * HOUR, version=NEW),))
    until(late, DAY + 2 * HOUR - SECOND)
    assert not late.rollouts.past, "at its very end the window is closed"
    wait(late, HOUR)
    assert on(late, NEW) == set(late.vms)


def test_a_batch_out_when_the_window_closes_ends_and_the_next_waits_for_the_next_window() -> None:
    world = auto(3, NIGHTLY, disturbances=(Publication(at_ms=7 * HOUR - 90 * SECOND, version=NEW),))
    until(world, 2 * DAY)
    begins = 7 * HOUR - 90 * SECOND
    assert starts(world) == [begins, begins + WORK + READY, DAY + 2 * HOUR]
    assert on(world, NEW) == set(world.vms)


def test_health_is_looked_at_again_when_the_window_opens() -> None:
    away = Outage(at_ms=8 * HOUR, for_ms=DAY, ids=("3",))
    policy = AutoOs(enabled=True, use_rolling_policy=True, window_ms=NIGHTLY.window_ms)
    world = auto(4, policy, disturbances=(Publication(at_ms=7 * HOUR - SECOND, version=NEW), away))
    until(world, 2 * DAY)
    assert world.history[0].status.error_code == "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
    assert on(world, NEW) == {"0"}
    waited = auto(4, NIGHTLY, disturbances=(Outage(at_ms=HOUR, for_ms=DAY, ids=("3",)),))
    waited.publish(NEW)
    until(waited, 3 * HOUR)
    assert waited.history[0].status.error_code == "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"


def test_somebodys_own_rollout_does_not_wait_for_the_window() -> None:
    world = auto(2, NIGHTLY)
    world.latest = NEW
    world.publish(NEW)
    finish(world, accepted(world, "os-rolling-upgrade"))
    assert world.now < HOUR


@settings(max_examples=25)
@given(
    begin=st.integers(0, 23),
    length=st.integers(5, 10),
    every=st.sampled_from([DAY, 2 * DAY, 7 * DAY]),
    published=st.integers(0, 3 * 24 * 60),
)
def test_batches_start_inside_the_window_only(begin: int, length: int, every: int, published: int) -> None:
    window = (begin * HOUR, length * HOUR, every)
    policy = AutoOs(enabled=True, window_ms=window)
    long = {"reimage": 2 * HOUR}
    world = auto(4, policy, operations=long, disturbances=(Publication(at_ms=published * MINUTE, version=NEW),))
    until(world, 40 * DAY)
    assert on(world, NEW) == set(world.vms)
    assert all((start - window[0]) % every < window[1] for start in starts(world))


# -- what it does -----------------------------------------------------------------------------------------------------


def test_its_batches_are_twenty_percent_whatever_the_sets_policy_says() -> None:
    world = auto(10, rolling=RollingPolicy(max_batch_percent=50))
    world.publish(NEW)
    until(world, DAY)
    assert [len(batch) for batch in batches(world)] == [2, 2, 2, 2, 2]
    small = auto(4)
    small.publish(NEW)
    until(small, DAY)
    assert [len(batch) for batch in batches(small)] == [1, 1, 1, 1]


def test_it_follows_the_sets_own_policy_where_that_is_wanted() -> None:
    own = RollingPolicy(max_batch_percent=50, pause_ms=HOUR)
    world = auto(10, AutoOs(enabled=True, use_rolling_policy=True), rolling=own)
    world.publish(NEW)
    until(world, DAY)
    assert [len(batch) for batch in batches(world)] == [5, 5]
    assert world.history[0].status.policy == own


def test_os_disks_are_replaced_and_data_disks_kept() -> None:
    world = auto(2)
    before = {name: (vm.disk, vm.data, vm.vm_id) for name, vm in world.vms.items()}
    world.publish(NEW)
    until(world, DAY)
    assert {name: (vm.disk, vm.data, vm.vm_id) for name, vm in world.vms.items()} == {
        name: (disk + 1, data, vm_id) for name, (disk, data, vm_id) in before.items()
    }
    assert exact(world) == {"0": NEW, "1": NEW}


def test_a_failed_instance_gets_its_old_os_disk_back_and_serves_again() -> None:
    policy = AutoOs(enabled=True, use_rolling_policy=True)
    lenient = RollingPolicy(max_unhealthy_upgraded_percent=100)
    world = auto(4, policy, rolling=lenient, luck=Luck(bad=(1,)), failures=BAD)
    world.publish(NEW)
    failed_at = WORK + READY + WORK + 5 * MINUTE
    until(world, failed_at - SECOND)
    assert world.vms["1"].busy_until < world.now, "it waits for health, 5 minutes at most"
    until(world, failed_at + WORK + READY)
    assert healthy(world) >= {"0", "1"}
    until(world, DAY)
    assert exact(world) == {"0": NEW, "1": OLD, "2": NEW, "3": NEW}
    entry = world.history[0]
    assert (entry.rolled_back, entry.rollback_failed) == (1, 0)
    assert (entry.status.successful, entry.status.failed, entry.status.code) == (3, 1, "Completed")


def test_a_restore_puts_back_the_model_that_the_disk_had() -> None:
    world = auto(2, luck=Luck(bad=(0,)), failures=BAD)
    flags = {name: world.is_latest(vm) for name, vm in world.vms.items()}
    world.publish(NEW)
    until(world, DAY)
    assert {name: world.is_latest(world.settled(vm)) for name, vm in world.vms.items()} == flags


def test_the_restore_can_be_disabled() -> None:
    world = auto(4, AutoOs(enabled=True, disable_rollback=True), luck=Luck(bad=(0,)), failures=BAD)
    world.publish(NEW)
    until(world, DAY)
    assert exact(world)["0"] == NEW
    assert "0" not in healthy(world)
    assert world.history[0].rolled_back == 0


@pytest.mark.parametrize(("fails", "done", "code"), [((), 5, ""), ((4,), 5, ""), ((0,), 1, UPGRADED), ((4, 5), 3, UPGRADED)])  # fmt: skip
def test_it_stops_when_more_than_twenty_percent_of_the_upgraded_failed(
    fails: tuple[int, ...], done: int, code: str
) -> None:
    """Batches of two of ten: 1 of 2 is 50 %; 1 of 6 is not more than 20 %; 2 of 6 is."""
    world = auto(10, luck=Luck(fails=fails), failures=COIN)
    world.publish(NEW)
    until(world, DAY)
    entry = world.history[0]
    assert len(batches(world)) == done
    assert entry.status.code == ("Faulted" if code else "Completed")
    assert code in entry.status.error_code
    assert on(world, OLD) >= {str(one) for one in fails}
    assert len(on(world, NEW)) == 2 * done - len(fails)


def test_it_stops_when_the_set_is_unhealthy_for_any_reason() -> None:
    away = Outage(at_ms=WORK, for_ms=DAY, ids=("7", "8", "9"))
    world = auto(10, disturbances=(away,))
    world.publish(NEW)
    until(world, HOUR)
    assert world.history[0].status.error_code == "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
    assert on(world, NEW) == {"0", "1"}, "what is in flight ends"


def test_a_stopped_upgrade_is_not_tried_again_before_the_next_version() -> None:
    world = auto(4, luck=Luck(bad=(0,)), failures=BAD)
    world.publish(NEW)
    until(world, 2 * DAY)
    assert len(world.rollouts.past) == 1
    world.publish("3.0.0")
    until(world, 4 * DAY)
    assert len(world.rollouts.past) == 2


def test_protected_instances_are_left_alone() -> None:
    world = auto(4, each={"2": {"protected": True}})
    world.publish(NEW)
    until(world, DAY)
    assert on(world, OLD) == {"2"}
    assert not outages(world.vms["2"])


def test_it_can_surge() -> None:
    own = RollingPolicy(max_batch_percent=50, max_surge=True)
    world = auto(2, AutoOs(enabled=True, use_rolling_policy=True), rolling=own)
    world.publish(NEW)
    until(world, DAY)
    assert set(world.vms) == {"2", "3"}
    assert on(world, NEW) == {"2", "3"}


def test_a_gallery_image_without_a_version_follows_what_is_published() -> None:
    world = make(2, platform=AT_ONCE)
    put(world, patch={IMAGE + "version": None, IMAGE + "id": GALLERY}, auto_os=AutoOs(enabled=True))
    world.publish(NEW)
    until(world, DAY)
    assert exact(world) == {"0": NEW, "1": NEW}
    assert {vm.image.id for vm in world.vms.values() if vm.image} == {GALLERY}


# -- osUpgradeHistory (2.1) -------------------------------------------------------------------------------------------


def test_the_history_holds_the_last_five_newest_first() -> None:
    world = auto(1)
    for number in range(7):
        world.publish(f"{number + 2}.0.0")
        wait(world, HOUR)
    versions = [entry.target.exact for entry in world.history if entry.target]
    assert versions == ["8.0.0", "7.0.0", "6.0.0", "5.0.0", "4.0.0"]
    assert world.history[0].status.started_ms == 6 * HOUR
    assert world.history[0].status.ended_ms == 6 * HOUR + WORK + READY


def test_the_history_forgets_after_two_months() -> None:
    world = auto(1)
    world.publish(NEW)
    until(world, 60 * DAY)
    assert len(world.history) == 1
    until(world, 60 * DAY + SECOND)
    assert world.history == ()
    assert world.rolling_upgrade is not None, "the last rollout's status stays"


def test_an_entry_tells_who_started_it_to_what_and_how_it_went() -> None:
    world = auto(4, luck=Luck(bad=(0,)), failures=BAD)
    world.publish(NEW)
    until(world, HOUR)
    entry = world.history[0]
    assert entry.status.started_by == "Platform"
    assert entry.target == image("latest", NEW)
    assert (entry.status.code, entry.status.error_code) == ("Faulted", UPGRADED)
    assert (entry.status.successful, entry.status.failed, entry.status.pending) == (0, 1, 3)
    assert (entry.rolled_back, entry.rollback_failed) == (1, 0)
    finish(world, accepted(world, "os-rolling-upgrade"))
    assert world.history[0].status.started_by == "User"


def test_extension_rollouts_are_no_os_upgrades() -> None:
    world = make(1)
    finish(world, accepted(world, "extension-rolling-upgrade"))
    assert world.history == ()
    assert world.rolling_upgrade is not None
