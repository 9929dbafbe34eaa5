"""The emulator's report: a rollout that is driven by hand measures as the same one simulated, and a clock that distorts gives no figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.metrics import published
from planner.trace import Turn
from scenarios import build, files
from scenarios.choose import choose, known_strategies
from tests.arm_http import Az
from vmss_sim.arm.snapshots import digest
from vmss_sim.arm.standing_clocks import JumpClock
from vmss_sim.checks.emulated import Emulated
from vmss_sim.study.replicate import Run, plan_for, run

Make = Callable[..., Emulated]
ACTIONS = {"upgrade": "manualupgrade", "reimage": "reimage", "restart": "restart"}


def _simulated(scenario: str, strategy: str, seed: int) -> Run:
    setup = build.read(files.find_scenario(scenario))
    known = known_strategies()
    chosen = choose(setup, [strategy], (), known).choices[0]
    return run(setup, plan_for(setup, chosen, known), seed, 0)


def _by_hand(azure: Emulated, made: Run) -> None:
    """Send at the same virtual times what the strategy sent, as a client would."""
    az = Az(azure)
    for record in made.journal.records():
        if not isinstance(record, Turn):
            continue
        for command in record.commands:
            azure.control.advance(record.now_ms / 1000 - azure.control.state()["now_s"])
            kind = command.kind.value
            if kind in ACTIONS:
                answer = az.ask("POST", ACTIONS[kind], {"instanceIds": list(command.ids)})
            else:
                answer = az.ask("PATCH", body=_patch(command))
            assert answer.status_code in (200, 202), answer.text


def _patch(command: Any) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if command.mode is not None:
        body = {"properties": {"upgradePolicy": {"mode": command.mode.value.capitalize()}}}
    for path, value in (command.patch or {}).items():
        *above, name = path.split(".")
        at = body
        for part in above:
            at = at.setdefault(part, {})
        at[name] = value
    return body


@pytest.mark.parametrize(
    ("scenario", "strategy", "seed"),
    [
        ("seed-article", "per-ud", 1),
        ("seed-article", "automatic", 7),
        ("seed-article", "one-by-one", 3),
        ("two-vms", "one-by-one", 2),
        ("windows", "per-ud", 1),
        ("unhealthy-baseline", "batch", 1),
        ("bad-image", "batch", 1),
        ("hundred-in-three-zones", "per-zone", 4),
    ],
)
def test_a_rollout_by_hand_costs_what_it_costs_simulated(
    vmss_emulator: Make, scenario: str, strategy: str, seed: int
) -> None:
    simulated = _simulated(scenario, strategy, seed)
    azure = vmss_emulator(scenario, clock="manual", seed=seed)
    _by_hand(azure, simulated)
    found = azure.report()
    expected = published(simulated.row.measures)
    measured = found["metrics"]
    assert found["complete"]
    duration = "duration_s"
    # A strategy is done when it has seen the last instance serve, at its next look; a report ends when that one serves.
    poll_s = build.read(files.find_scenario(scenario)).poll_ms / 1000
    assert expected[duration] - poll_s - 1 <= measured[duration] <= expected[duration]
    for name in ("min_healthy", "downtime_s", "outage_s", "capacity_lost_vm_s", "unserved_vm_s", "bad_exposure_vm_s"):
        if name.endswith("_s") and expected[duration] != measured[duration]:
            assert abs(measured[name] - expected[name]) <= azure.emulator.stage.yardstick.total * (poll_s + 1)
        else:
            assert measured[name] == expected[name], name
    assert measured["min_healthy"] == expected["min_healthy"]
    assert measured["outage_s"] == expected["outage_s"]
    assert measured["availability"] == pytest.approx(expected["availability"], abs=1e-9)
    assert azure.report()["metrics"] == measured, "asked again it says the same"
    assert found["breaches"] == list(simulated.row.breaches)


def test_nothing_changed_is_nothing_measured(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms")
    az = Az(azure)
    az.ask("GET")
    az.ask("POST", "manualupgrade", {"instanceIds": ["99"]})
    found = azure.report()
    assert (found["started_s"], found["metrics"], found["refused"]) == (None, None, None)
    assert found["requests"] == {"changing": 1, "refused": 1, "reads": 1}


def test_so_far_and_in_the_end(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az = Az(azure)
    azure.control.advance(100)
    az.ask("POST", "restart", {"instanceIds": ["0"]})
    azure.control.advance(1)
    so_far = azure.control.report()
    assert (so_far["started_s"], so_far["complete"], so_far["metrics"]["duration_s"]) == (100, False, 1)
    assert so_far["metrics"]["min_healthy"] == 1
    found = azure.report()
    assert found["complete"]
    assert found["metrics"]["duration_s"] > 1
    assert found["instances"]["serving"] == 2


@pytest.mark.parametrize(
    ("requests", "left"),
    [
        ([("POST", "deallocate", None)], ["left-broken"]),
        ([("DELETE", "", None)], ["left-broken"]),
        ([("DELETE", "group", None)], ["left-broken"]),
        ([("POST", "deallocate", None), ("POST", "start", None)], []),
    ],
)
def test_what_is_left_out_of_service_is_a_breach(
    vmss_emulator: Make, requests: list[tuple[str, str, Any]], left: list[str]
) -> None:
    """As in a study: the measures end with the last operation, and a short end is no merit of who leaves nothing that serves."""
    azure = vmss_emulator("two-vms")
    az = Az(azure)
    for method, path, body in requests:
        if path == "group":
            assert az.ask(method, azure.id.partition("/providers")[0]).status_code == 200
        else:
            az.do(method, path, body)
    found = azure.report()
    assert found["complete"]
    assert found["metrics"]["min_healthy"] == 0
    assert [one for one in found["breaches"] if one == "left-broken"] == left
    assert azure.report()["breaches"] == found["breaches"], "asked again it says the same"


def test_what_never_ends_is_never_complete(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    azure.control.faults([{"verdict": "hang"}])
    az = Az(azure)
    answer = az.ask("POST", "restart", {"instanceIds": ["0"]})
    found = azure.report()
    assert az.ask("GET", answer.headers["azure-asyncoperation"]).json()["status"] == "InProgress"
    assert not found["complete"]
    assert found["metrics"]["duration_s"] < 3600, "nobody waits for it, either"


class _Wall:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("thinking_s", "figures"), [(0, True), (2, True), (40, False), (300, False)])
def test_a_clock_that_distorts_gives_no_figures(vmss_emulator: Make, thinking_s: float, figures: bool) -> None:
    """One restart takes a minute or so; who works 40 s between two of them leaves out more than a twentieth."""
    azure = vmss_emulator("two-vms")
    wall = _Wall()
    clock = JumpClock(wall=wall)
    azure.emulator.clock = azure.emulator.endpoint.clock = clock
    clock.world = azure.emulator.endpoint
    az = Az(azure)
    az.do("POST", "restart", {"instanceIds": ["0"]})
    azure.control.run_until_idle()
    clock._busy = False
    wall.now += thinking_s
    az.do("POST", "restart", {"instanceIds": ["1"]})
    found = azure.report()
    assert (found["metrics"] is not None) is figures
    assert (found["refused"] is None) is figures
    if not figures:
        assert "the clock distorts the measured time by" in found["refused"]
        assert f"{thinking_s:.0f} s in which a client was at work" in found["refused"]
    assert found["time"]["uncounted_s"] == thinking_s


def test_a_rollout_that_azure_does_itself_is_seconds_of_polling(vmss_emulator: Make) -> None:
    """Nobody knows when a rolling upgrade ends: under jump the world goes on until it has."""
    azure = vmss_emulator("zonal-rolling")
    az = Az(azure)
    model = az.ask("GET").json()
    target = azure.emulator.site.images[0].version
    model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = target
    answer = az.ask("PUT", body=model)
    assert answer.status_code == 200, answer.text
    polls = 0
    while az.ask("GET", answer.headers["azure-asyncoperation"]).json()["status"] == "InProgress":
        polls += 1
    assert polls < 20
    latest = az.ask("GET", "rollingUpgrades/latest").json()
    assert latest["properties"]["runningStatus"]["code"] in ("Completed", "Faulted", "Cancelled", "RollingForward")
    found = azure.report()
    assert found["metrics"]["duration_s"] > 600
    assert found["time"]["polls_s"] >= found["metrics"]["duration_s"] - 60


NEW = "22.04.202606010"


def _lives(azure: Emulated, every: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, int]]:
    """Restarts that overlap, sets that go and come, instances that do; after each what is reported, the site, and how many outages it keeps."""
    monkeypatch.setattr("vmss_sim.arm.emulator.FORGETS_EVERY", every)
    az = Az(azure)
    body = az.ask("GET").json()
    asks: list[tuple[str, str, Any]] = [
        *(("POST", "restart", {"instanceIds": [str(number % 2)]}) for number in range(3)),
        ("PATCH", "", {"sku": {"capacity": 4}}),
        ("POST", "restart", {"instanceIds": ["*"]}),
        (
            "PATCH",
            "",
            {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": NEW}}}}},
        ),
        ("POST", "manualupgrade", {"instanceIds": ["*"]}),
        ("PATCH", "", {"sku": {"capacity": 2}}),
        ("DELETE", "", None),
        ("PUT", "", body),
        ("POST", "reimage", {"instanceIds": ["0"]}),
        (
            "PUT",
            f"{azure.id.partition('/Microsoft.Compute')[0]}/Microsoft.Network/virtualNetworks/net",
            {"location": "x"},
        ),
        ("POST", "poweroff", {"instanceIds": ["1"]}),
        ("POST", "restart", {"instanceIds": ["0"]}),
    ]
    for number, (method, path, said) in enumerate(asks * 2):
        azure.control.advance(20 + 37 * number)
        az.ask(method, path, body=said)
        azure.control.advance(60 * (number % 3))
        one = azure.emulator.measured_set
        yield azure.control.report(), digest(azure.emulator.site), len(list(one.outages()))
        if method in ("DELETE", "PUT"):
            azure.control.run_until_idle()
    yield azure.report(), "", 0


SHORT = """
title = "A short horizon, a load that changes, and images that may be bad"
starts_at = "08:30"
scale_set = {instances = 2}
change = {version = "22.04.202606010"}
timing = {ready = "60s"}
failures = {bad_image = {share = 0.7}}
load = {curve = [["00:00", 1], ["08:45", 2], ["09:20", 1], ["10:00", 2]], time_zone = "Europe/Berlin"}
objective = {horizon = "40m"}
"""


def test_what_is_forgotten_measures_the_same(
    vmss_emulator: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "short.toml"
    file.write_text(SHORT)
    every, never = (vmss_emulator(file, clock="manual") for _ in range(2))
    forgets, keeps = list(_lives(every, 1, monkeypatch)), list(_lives(never, 10**9, monkeypatch))
    assert [each[:2] for each in forgets] == [each[:2] for each in keeps]
    assert max(each[2] for each in forgets) < 15 < max(each[2] for each in keeps)
    assert all(
        forgets[-1][0]["metrics"][one] > 0 for one in ("bad_exposure_vm_s", "downtime_s", "unserved_vm_s", "outage_s")
    )


def test_a_set_that_is_created_again_goes_on_being_measured(vmss_emulator: Make) -> None:
    """Both had the name: the report is of the one that went, of the time without any, and of the one that came."""
    azure = vmss_emulator("two-vms", clock="manual")
    az = Az(azure)
    body = az.ask("GET").json()
    for _ in range(2):
        azure.control.advance(100)
        assert az.ask("DELETE").status_code == 202
        azure.control.run_until_idle()
        azure.control.advance(400)
        assert az.ask("PUT", body=body).status_code == 201
        azure.control.run_until_idle()
    before = azure.control.snapshot()
    found = azure.report()
    assert found["instances"]["serving"] == 2
    assert found["complete"]
    assert (found["metrics"]["min_healthy"], found["started_s"]) == (0, 100)
    assert found["metrics"]["outage_s"] > 800
    assert found["metrics"]["outage_s"] < found["metrics"]["duration_s"] < 3_600
    assert "left-broken" not in found["breaches"]
    azure.control.restore(before)
    assert azure.control.report()["instances"]["serving"] == 2
    assert az.ask("POST", "restart", {"instanceIds": ["0"]}).status_code == 202
    assert azure.report()["metrics"]["min_healthy"] == 1


def test_measured_time_begins_with_what_changes_the_set(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az = Az(azure)
    network = f"{azure.id.partition('/Microsoft.Compute')[0]}/Microsoft.Network/virtualNetworks/net"
    assert az.ask("PUT", network, {"location": "westeurope"}).status_code == 201
    assert azure.control.report()["started_s"] is None
    azure.control.advance(3_600)
    assert az.ask("POST", "restart", {"instanceIds": ["0"]}).status_code == 202
    assert az.ask("PUT", network, {"location": "westeurope"}).status_code == 200
    found = azure.report()
    assert found["started_s"] == 3_600
    assert found["requests"] == {"changing": 3, "refused": 0, "reads": 0}
