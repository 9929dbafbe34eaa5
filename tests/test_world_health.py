"""What the platform shows of an instance, and what that counts for (docs/azure-rules.md, 3.1 and 3.2)."""

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
from vmss_sim.world import health
from vmss_sim.world.config import Failures, Platform
from vmss_sim.world.faults import Outage
from vmss_sim.world.scale_set import World

SOURCES = ("extension", "rich", "probe", "none")
REPORTING = ("extension", "rich", "probe")


def counts(world: World, name: str = "0") -> str:
    return health.verdict(world, world.vms[name])


def failing(at_s: float, for_s: float, name: str = "0") -> Outage:
    return Outage(at_ms=round(at_s * SECOND), for_ms=round(for_s * SECOND), ids=(name,))


# -- binary and probe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["extension", "probe"])
@given(
    took=st.integers(1, 300),
    ready=st.integers(0, 300),
    probe=st.integers(0, 60 * 24),
    permille=st.integers(0, 999),
)
def test_a_binary_source_says_healthy_or_unhealthy_and_nothing_between(
    source: str, took: int, ready: int, probe: int, permille: int
) -> None:
    world = small(1, health=source, timings=timings(restart=took, ready=ready, probe=probe))
    ask(world, "restart", "0")
    total = took + ready + probe
    at(world, permille * total / 1000)
    assert shown(world)[2] == "unhealthy"
    at(world, total)
    assert shown(world)[2] == "healthy"


@pytest.mark.parametrize("source", REPORTING)
@given(probe=st.integers(0, 24 * 60))
def test_a_failure_is_seen_interval_times_probes_later(source: str, probe: int) -> None:
    world = small(
        1, health=source, timings=timings(probe=probe), disturbances=(failing(60, probe + 100),), health_grace_ms=HOUR
    )
    at(world, 60 + probe - 0.001)
    assert shown(world)[2] == "healthy"
    at(world, max(60 + probe, 60.001))
    assert shown(world)[2] == ("unknown" if source == "rich" else "unhealthy")
    assert not world.serving(world.vms["0"])


@given(probe=st.integers(2, 100))
def test_a_failure_shorter_than_interval_times_probes_is_not_seen(probe: int) -> None:
    world = small(1, timings=timings(probe=probe), disturbances=(failing(10, probe - 1),))
    for second in range(10, 10 + 2 * probe):
        assert shown(at(world, second))[2] == "healthy"


@given(probe=st.integers(0, 24 * 60), ready=st.integers(0, 100))
def test_health_comes_interval_times_probes_after_the_application_serves(probe: int, ready: int) -> None:
    world = small(1, timings=timings(probe=probe, ready=ready))
    ask(world, "restart", "0")
    world.run(1 << 61)
    assert world.vms["0"].serves_from == (TOOK["restart"] + ready + probe) * SECOND


# -- rich -----------------------------------------------------------------------------------------------------------


@given(ready=st.integers(0, 600), grace=st.integers(5, 14_400), protocol=st.sampled_from(["http", "tcp"]))
def test_rich_health_is_initializing_until_it_answers_or_the_grace_period_is_over(
    ready: int, grace: int, protocol: str
) -> None:
    world = small(
        1, health="rich", health_grace_ms=grace * SECOND, health_protocol=protocol, timings=timings(ready=ready)
    )
    ask(world, "restart", "0")
    began, late = TOOK["restart"], "unhealthy" if protocol == "tcp" else "unknown"
    for second in {0.0, grace - 0.5, float(grace), ready + PROBE - 0.5, float(ready + PROBE)}:
        seen = shown(at(world, max(world.now / SECOND, began + second)))[2]
        passed = world.now / SECOND - began
        assert seen == ("healthy" if passed >= ready + PROBE else "initializing" if passed < grace else late)


def test_the_default_grace_period_is_interval_times_probes() -> None:
    world = small(1, health="rich", timings=timings(ready=100, probe=30))
    ask(world, "restart", "0")
    assert shown(at(world, 20 + 29.9))[2] == "initializing"
    assert shown(at(world, 20 + 30))[2] == "unknown"


def test_initializing_comes_once_after_that_a_failure_is_unknown() -> None:
    world = small(1, health="rich", health_grace_ms=HOUR, disturbances=(failing(100, 100),))
    ask(world, "restart", "0")
    seen = [shown(at(world, second))[2] for second in (20, 34, 36, 99, 106, 199, 200)]
    assert seen == ["initializing", "initializing", "healthy", "healthy", "unknown", "unknown", "healthy"]


def test_an_instance_that_the_snapshot_shows_initializing_has_its_grace_period() -> None:
    odd = {0: {"health": "initializing"}}
    world = small(2, health="rich", health_grace_ms=30 * SECOND, odd=odd)
    assert (shown(world)[2], counts(world)) == ("initializing", "waiting")
    world.run(HOUR)
    assert (world.now, list(world.disturbed)) == (30 * SECOND, ["0"])
    assert (shown(world)[2], counts(world)) == ("unknown", "unhealthy")


def test_the_end_of_the_grace_period_wakes_who_watches() -> None:
    world = small(1, health="rich", health_grace_ms=40 * SECOND, timings=timings(ready=500))
    ask(world, "restart", "0")
    at(world, TOOK["restart"])
    world.disturbed.clear()
    world.run(HOUR)
    assert world.now == (TOOK["restart"] + 40) * SECOND
    assert list(world.disturbed) == ["0"]


# -- none -----------------------------------------------------------------------------------------------------------


def test_without_a_source_health_is_absent_and_power_and_provisioning_decide() -> None:
    world = small(3, health="none", odd={1: {"power": "stopped"}, 2: {"provisioning": "failed"}})
    assert {shown(world, one)[2] for one in world.vms} == {"absent"}
    assert [counts(world, one) for one in world.vms] == ["healthy", "unhealthy", "unhealthy"]


def test_without_a_source_an_instance_is_ready_when_its_operation_ends() -> None:
    world = small(1, health="none")
    ask(world, "restart", "0")
    assert counts(at(world, 19)) == "waiting"
    assert counts(at(world, 20)) == "healthy"
    assert not world.serving(world.vms["0"])  # the application takes longer, and nobody can tell


def test_without_a_source_a_vm_that_is_down_is_seen_and_an_application_that_is_down_is_not() -> None:
    world = small(1, health="none", disturbances=(failing(60, 100),))
    assert shown(at(world, 66))[1] == "stopped"
    assert counts(world) == "unhealthy"
    assert shown(at(world, 160))[1] == "running"

    sick = small(1, health="none", failures=Failures(bad_share=1.0, bad_after_ms=30_000))
    new_version(sick)
    ask(sick, "upgrade", "0")
    at(sick, 600)
    assert not sick.serving(sick.vms["0"])
    assert (shown(sick), counts(sick)) == (("succeeded", "running", "absent"), "healthy")


def test_without_a_source_an_operation_ends_what_was_seen_before() -> None:
    world = small(1, health="none", timings=timings(ready=300), disturbances=(failing(10, 5_000),))
    at(world, 60)
    ask(world, "redeploy", "0")
    assert shown(at(world, 60 + 41))[1] == "running"


def test_an_instance_without_a_reported_state_is_judged_by_power_and_provisioning() -> None:
    world = small(3, odd={0: {"health": "absent"}, 1: {"health": "absent", "power": "stopped"}})
    assert [shown(world, one)[2] for one in world.vms] == ["absent", "absent", "healthy"]
    assert [counts(world, one) for one in world.vms] == ["healthy", "unhealthy", "healthy"]


# -- what it counts for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("healthy", "healthy"), ("unhealthy", "unhealthy"), ("unknown", "unhealthy"), ("initializing", "waiting")],
)
def test_what_a_state_counts_for_in_rollouts_and_repairs(state: str, verdict: str) -> None:
    world = small(2, health="rich", health_grace_ms=MINUTE, odd={0: {"health": state}})
    assert shown(world)[2] == state
    assert counts(world) == verdict
    assert health.unhealthy(world) == (verdict == "unhealthy")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("counted", [False, True])
def test_a_vm_in_flight_counts_as_unhealthy_only_by_option(source: str, counted: bool) -> None:
    world = small(2, health=source, platform=Platform(count_in_flight=counted))
    ask(world, "restart", "0")
    at(world, 10)
    assert counts(world) == ("unhealthy" if counted else "waiting")
    assert health.unhealthy(world) == counted


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["power-off", "deallocate"])
def test_a_stopped_vm_counts_as_unhealthy(source: str, kind: str) -> None:
    world = small(2, health=source)
    ask(world, kind, "0")
    assert counts(at(world, 60)) == "unhealthy"


def test_a_deleted_vm_is_waited_for_and_not_counted() -> None:
    world = small(2)
    ask(world, "delete", "0")
    assert (shown(world)[0], counts(world), health.unhealthy(world)) == ("deleting", "waiting", 0)
    assert "0" not in at(world, TOOK["delete"]).vms


def test_a_failed_instance_counts_as_unhealthy_with_any_source() -> None:
    for source in SOURCES:
        world = small(2, health=source, failures=Failures(upgrade=1.0))
        new_version(world)
        ask(world, "upgrade", "0")
        at(world, 100)
        assert shown(world)[0] == "failed", source
        assert counts(world) == "unhealthy", source


# -- what is shown --------------------------------------------------------------------------------------------------

WORDS = {
    "provisioning": {"creating", "updating", "succeeded", "failed", "deleting"},
    "power": {"starting", "running", "stopping", "stopped", "deallocating", "deallocated"},
    "health": {"healthy", "unhealthy", "unknown", "initializing", "absent"},
}


@pytest.mark.parametrize("kind", ["upgrade", "reimage", "restart", "start", "power-off", "deallocate", "redeploy"])
def test_what_is_shown_while_an_operation_runs(kind: str) -> None:
    world = small(1, odd={0: {"power": "stopped", "health": "unhealthy"}} if kind == "start" else None)
    new_version(world)
    ask(world, kind, "0")
    at(world, 5)
    meanwhile = {"power-off": "stopping", "deallocate": "deallocating"}.get(kind, "starting")
    assert shown(world) == ("updating", meanwhile, "unhealthy")
    at(world, 200)
    assert shown(world)[:2] == ("succeeded", {"power-off": "stopped", "deallocate": "deallocated"}.get(kind, "running"))


def test_a_new_instance_is_creating_and_then_succeeded() -> None:
    world = small(1)
    ask(world, "set-capacity", capacity=2)
    assert shown(at(world, 10), "1") == ("creating", "starting", "unhealthy")
    assert shown(at(world, 60), "1") == ("succeeded", "running", "healthy")


@given(
    source=st.sampled_from(SOURCES),
    kinds=st.lists(st.sampled_from(["upgrade", "reimage", "restart", "power-off", "start", "delete"]), max_size=4),
    gaps=st.lists(st.integers(0, 100), min_size=4, max_size=4),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_only_azures_words_are_shown_and_reading_changes_nothing(
    source: str, kinds: list[str], gaps: list[int], share: float
) -> None:
    def run(read: bool) -> list[Any]:
        failures = Failures(upgrade=share, bad_share=share / 2, bad_after_ms=5_000)
        world = small(3, health=source, failures=failures, health_grace_ms=MINUTE)
        new_version(world)
        when = 0
        for kind, gap in zip(kinds, gaps, strict=False):
            ask(world, kind, *[one for one in ("0", "1") if one in world.vms])
            when += gap
            at(world, when)
            if read:
                for _ in range(3):
                    for vm in world.vms.values():
                        state = world.state(vm)
                        assert all(word in known for word, known in zip(state, WORDS.values(), strict=True))
        at(world, when + 500)
        return [(vm.id, world.state(vm), vm.outages, vm.disk, vm.image) for vm in world.vms.values()]

    assert run(read=True) == run(read=False)


def test_exact_version_is_what_was_really_booted() -> None:
    world = small(2, version="latest", exact=OLD)
    world.publish(NEW)
    ask(world, "reimage", "0")
    at(world, 100)
    assert [vm_of(world, one).image.exact for one in ("0", "1")] == [NEW, OLD]


def test_a_bad_image_never_becomes_healthy_or_turns_sick_later() -> None:
    for after, healthy_at_90 in ((0, False), (60_000, True)):
        world = small(1, failures=Failures(bad_share=1.0, bad_after_ms=after))
        new_version(world)
        ask(world, "upgrade", "0")
        at(world, 60 + READY + PROBE + 15)
        assert (shown(world)[2] == "healthy") == healthy_at_90
        at(world, 600)
        assert shown(world) == ("succeeded", "running", "unhealthy")
