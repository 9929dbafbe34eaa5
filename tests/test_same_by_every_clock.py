"""A rehearsal of one plan decides the same by each of the emulator's clocks: `apply` tells every wait, and nothing else moves time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from backends.azure import connect
from backends.connect import open_backend
from backends.driver import Driver
from backends.emulator_clock import EmulatorSleeper
from backends.journal import MemoryJournal
from planner.build import Request, build
from planner.rollout import Rollout
from planner.trace import Turn
from scenarios import build as scenario_build
from vmss_sim.checks.emulated import emulated

PLATFORM = """
title = "a bad image, rolled out by the platform"
[scale_set]
instances = 10
update_domains = 5
health = "extension"
upgrade_mode = "rolling"
[change]
version = "22.04.202606010"
[timing]
ready = { lognormal = { median = "45s", p95 = "90s" } }
[failures]
upgrade = 0.002
bad_image = { share = 0.5, after = "4m" }
[load]
required = "80%"
"""
BATCH = """
title = "faults on the way"
[scale_set]
instances = 4
health = "extension"
upgrade_mode = "manual"
[change]
version = "22.04.202606010"
[load]
required = "50%"
[[fault]]
verdict = "fail"
of = "upgrade"
first = 3
last = 3
code = "OSProvisioningTimedOut"
[[fault]]
verdict = "refuse"
code = "TooManyRequests"
retry_after = "40s"
first = 4
last = 4
[[fault]]
verdict = "lose-reply"
first = 5
last = 5
"""
PLANS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "platform": (PLATFORM, "platform-rolling", {}),
    "batch": (BATCH, "batch", {"size": 2, "retries": 1}),
}


class Went(NamedTuple):
    """What a rollout did, and when. records: of its journal, without what Azure says anew each time."""

    commands: list[tuple[int, str, tuple[str, ...]]]
    notes: list[tuple[int, str]]
    ending: tuple[str, str]
    report: dict[str, Any]


def rehearse(which: str, clock: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Went:
    text, strategy, parameters = PLANS[which]
    file = folder / f"{which}.toml"
    file.write_text(text)
    setup = scenario_build.read(file)
    with emulated(str(file), clock=clock, throttle=True) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        reach = {"endpoint": azure.url, "audience": azure.url, "ca": azure.ca, "credential": azure.credential()}
        seen = connect(azure.id, **reach).snapshot().scale_set
        plan = build(
            Request(scale_set=seen, change=setup.change, strategy=strategy, parameters=parameters, floor="80%" if which == "platform" else 2)
        )  # fmt: skip
        journal = MemoryJournal()
        state = Driver(Rollout(plan), open_backend(plan, reach), journal).run()
        turns = [one for one in journal.records() if isinstance(one, Turn)]
        return Went(
            commands=[(one.now_ms, command.kind.value, command.ids) for one in turns for command in one.commands],
            notes=[(one.now_ms, f"{note.rule}: {note.text}") for one in turns for note in one.notes],
            ending=(state.ending, state.reason),
            report=azure.report(),
        )


@pytest.mark.parametrize("which", PLANS)
def test_what_a_rehearsal_decides_is_the_same_by_clocks_that_stand(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jump, manual = (rehearse(which, clock, tmp_path, monkeypatch) for clock in ("jump", "manual"))
    assert jump.commands == manual.commands
    assert jump.notes == manual.notes
    assert jump.ending == manual.ending
    assert jump.report["metrics"] == manual.report["metrics"]
    assert all(fault["met"] for fault in jump.report["faults"])
    assert jump.report["time"]["polls_s"] == 0


def test_the_platform_s_rollout_is_watched_and_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the clock `jump`; and would not be if a poll jumped to the rollout's end (a planted bug: nothing says that waits are told)."""
    went = rehearse("platform", "jump", tmp_path, monkeypatch)
    assert [kind for _, kind, _ in went.commands][:2] == ["update-model", "cancel-rolling-upgrade"]
    assert any(note.startswith("platform-floor") for _, note in went.notes)
    monkeypatch.setattr(EmulatorSleeper, "headers", {})
    went = rehearse("platform", "jump", tmp_path, monkeypatch)
    assert "cancel-rolling-upgrade" not in [kind for _, kind, _ in went.commands]


def test_any_client_may_say_that_it_tells_every_wait() -> None:
    """Its polls move nothing, those of another do; a value that is not known is refused."""
    with emulated("two-vms", clock="jump") as azure:

        def ask(method: str, url: str, **more: Any) -> requests.Response:
            waits = {} if (value := more.pop("waits", None)) is None else {"X-Vmss-Sim-Waits": value}
            headers = {"Authorization": "Bearer any", **waits}
            return requests.request(method, url, headers=headers, verify=azure.ca, timeout=30, **more)

        restart = f"{azure.url}{azure.id}/restart?api-version=2024-07-01"
        began = ask("POST", restart, json={"instanceIds": ["0"]}, waits="told")
        operation = began.headers["azure-asyncoperation"]
        assert "retry-after" not in began.headers, "waits are not made short"
        for _ in range(3):
            assert ask("GET", operation, waits="Told").json()["status"] == "InProgress"
        assert azure.control.state()["now_s"] == 0
        azure.control.sleep(600)
        assert ask("GET", operation, waits="told").json()["status"] == "Succeeded"
        other = ask("POST", restart, json={"instanceIds": ["1"]})
        assert other.headers["retry-after"] == "1"
        assert ask("GET", other.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
        assert azure.control.state()["now_s"] > 600
        wrong = ask("GET", operation, waits="no")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "InvalidHeaderValue")
        assert "expected 'told'" in wrong.json()["error"]["message"]
