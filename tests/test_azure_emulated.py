"""A whole rollout by the product's own parts over the real server: SDK, HTTPS, an own CA, opaque addresses, the emulator's clock."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from backends.azure import connect
from backends.azure.backend import AzureBackend
from backends.azure.preflight import EVERYBODY
from backends.connect import open_backend
from backends.driver import Driver
from backends.emulator_clock import BEGINS_MS, LONGEST_MS, EmulatorSleeper, sleeper_for
from backends.journal import MemoryJournal
from planner.build import Request, build
from planner.errors import PlatformError
from planner.phases import Phase
from planner.rollout import Rollout
from scenarios import build as scenario_build
from scenarios import to_arm
from scenarios.files import find_scenario
from vmss_sim.checks.emulated import Emulated, emulated


@pytest.mark.parametrize("clock", ["jump", "manual"])
def test_a_rollout_over_the_server_takes_seconds(clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = scenario_build.read(find_scenario("two-vms"))
    with emulated("two-vms", clock=clock, opaque_urls=True, throttle=True) as azure:
        stands_s = azure.emulator.clock.wall()
        azure.emulator.clock.wall = lambda: stands_s  # how long this machine takes distorts no figure
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        options = {"endpoint": azure.url, "audience": azure.url, "ca": azure.ca, "credential": azure.credential()}
        snapshot = connect(azure.id, **options).snapshot().scale_set
        plan = build(Request(scale_set=snapshot, change=setup.change, strategy="one-by-one"))
        backend = open_backend(plan, options)
        driver = Driver(Rollout(plan), backend, MemoryJournal())
        state = driver.run()
        assert (state.phase, state.ending) == (Phase.ENDED, "finish"), state.reason
        assert isinstance(backend, AzureBackend) and isinstance(backend.sleeper, EmulatorSleeper)
        assert backend.sleeper.slice_ms == LONGEST_MS, "no sleep had to pass here"
        seen = backend.observe()
        assert seen.now_ms - BEGINS_MS > 120_000, "minutes there"
        assert seen.scale_set.model.mode is snapshot.model.mode
        assert all(one.latest_model for one in seen.scale_set.instances.values())
        report = azure.report()
        assert report["refused"] is None
        assert report["metrics"]["min_healthy"] == 1
        preflight = backend.preflight(plan)  # type: ignore[attr-defined]
        assert [one.code for one in preflight if one.grade.value == "error"] == []


def _environment(azure: Emulated, **changes: str) -> dict[str, str]:
    return {**azure.environment, **changes}


def test_the_clock_is_the_emulator_s_that_is_spoken_to() -> None:
    with emulated("two-vms", clock="manual") as azure:
        found = sleeper_for(azure.url, azure.environment)
        assert isinstance(found, EmulatorSleeper)
        before = found.now_ms()
        assert before >= BEGINS_MS
        found.sleep_ms(90_000)
        assert found.now_ms() == before + 90_000
        assert azure.emulator.clock.now_ms() == before + 90_000 - BEGINS_MS
        assert sleeper_for("https://management.azure.com", azure.environment) is None
        assert sleeper_for(None, azure.environment) is None
        assert sleeper_for(azure.url, {}) is None
        assert sleeper_for(azure.url, _environment(azure, VMSS_SIM_TOKEN_FILE="/nowhere")) is None
    with pytest.raises(PlatformError, match="does not answer"):
        found.sleep_ms(1_000)
    with pytest.raises(PlatformError, match="does not answer"):
        found.now_ms()


@pytest.mark.parametrize(
    ("clock", "speed", "slice_ms"), [("manual", 1.0, LONGEST_MS), ("jump", 1.0, LONGEST_MS), ("real", 60.0, 60_000)]
)
def test_who_sleeps_looks_up_once_a_second_of_the_wall(clock: str, speed: float, slice_ms: int) -> None:
    """A person who asks for a pause waits that long; where no time passes here, a sleep is one request and not one for each second."""
    with emulated("two-vms", clock=clock, speed=speed) as azure:
        found = sleeper_for(azure.url, azure.environment)
        assert found is not None
        assert found.slice_ms == 1_000
        found.sleep_ms(600)
        assert found.slice_ms == slice_ms


def test_what_time_it_is_there_is_never_remembered() -> None:
    """Under the clock `jump` a request may have moved it by minutes: soaks and deadlines would count from before."""
    with emulated("two-vms", clock="manual") as azure:
        found = sleeper_for(azure.url, azure.environment)
        assert found is not None
        before = found.now_ms()
        azure.control.advance(60)
        assert found.now_ms() == before + 60_000


def test_emulated_worlds_begin_when_the_clock_says() -> None:
    assert to_arm.EPOCH.timestamp() * 1000 == BEGINS_MS


def test_what_stands_in_the_way_is_found_over_the_server() -> None:
    """Quotas by family, locks and deny assignments, as the emulator serves them."""
    setup = scenario_build.read(find_scenario("two-vms"))
    with emulated("two-vms", clock="manual") as azure:
        backend = connect(
            azure.id, endpoint=azure.url, audience=azure.url, ca=azure.ca, credential=azure.credential()
        )  # fmt: skip
        snapshot = backend.snapshot().scale_set
        plan = build(Request(scale_set=snapshot, change=setup.change, strategy="surge"))

        def codes() -> list[str]:
            return [one.code for one in backend.preflight(plan)]

        def put(kind: str, properties: dict[str, Any], scope: str = azure.id) -> None:
            made = requests.put(
                f"{azure.url}{scope}/providers/Microsoft.Authorization/{kind}/one",
                params={"api-version": "2020-05-01"}, json={"properties": properties},
                headers={"Authorization": "Bearer any"}, verify=azure.ca, timeout=30,
            )  # fmt: skip
            assert made.ok, made.text

        assert codes() == []
        put("locks", {"level": "ReadOnly"}, f"{azure.id}/extensions/health")
        assert codes() == [], "below the set"
        put("locks", {"level": "ReadOnly"}, azure.id.partition("/providers/")[0])
        assert codes() == ["VS504"], "of its group"
        put(
            "denyAssignments",
            {
                "permissions": [{"actions": ["*/write"], "notActions": []}],
                "principals": [{"id": EVERYBODY}],
                "scope": azure.id,
            },
        )
        assert codes() == ["VS504", "VS514"]
        backend.close()
