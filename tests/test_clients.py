"""The harness of `make clients` itself: what it would let pass is planted here, and must not pass. No client and no registry needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.clients import conformance, exchanges, figures, install, test_sleeps
from tests.clients.az import login
from tests.clients.az_commands import COMMANDS
from tests.clients.harness import NEW
from tests.clients.install import CLIENTS, Client, fingerprint, went_wrong
from tests.contract import openapi
from tests.contract.findings import ABSENT, OPENAPI

PIP_OFFLINE = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<HTTPConnection>: Failed to \
establish a new connection: [Errno 111] Connection refused')': /simple/azurerm/
ERROR: Could not find a version that satisfies the requirement azurerm==0.10.0 (from versions: none)"""
PIP_NO = "ERROR: Could not find a version that satisfies the requirement azurerm==99.0 (from versions: 0.4.1, 0.10.0)"
NPM_OFFLINE = "npm error   code: 'ECONNREFUSED',\nnpm error   syscall: 'connect',"
NPM_NO = "npm error code ETARGET\nnpm error notarget No matching version found for @azure/arm-compute@999.0.0."


# -- installing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "answers", "skipped"),
    [
        (PIP_OFFLINE, False, True),
        (NPM_OFFLINE, False, True),
        (PIP_OFFLINE, True, False),  # the registry answers: something else is wrong
        (PIP_NO, False, False),
        (NPM_NO, False, False),
    ],
)
def test_only_an_unreachable_registry_excuses(
    output: str, answers: bool, skipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "WHERE", tmp_path)
    result = went_wrong(CLIENTS[0], output, lambda: answers)
    assert bool(result.unreachable) == skipped
    assert bool(result.failed) != skipped
    assert install.excuse(CLIENTS[0].name).exists() == skipped
    if skipped:
        assert "the package registry cannot be reached" in result.unreachable


def test_other_pins_make_an_environment_anew(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1\n")
    one = Client(name="one", asks=("a",), pins=pins)
    before = fingerprint(one)
    pins.write_text("a==2\n")
    assert fingerprint(one) != before
    assert fingerprint(msgspec.structs.replace(one, asks=("b",))) != fingerprint(one)


def test_pins_name_versions_and_no_registry() -> None:
    for client in CLIENTS:
        text = client.pins.read_text()
        assert '"resolved"' not in text
        if not client.npm:
            assert all(line.count("==") == 1 and "://" not in line for line in text.splitlines()), client.name
            assert all(ask in text.splitlines() for ask in client.asks if "==" in ask), client.name


# -- what a client sent ----------------------------------------------------------------------------------------------

SET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/web"
OPERATION = "/subscriptions/s/providers/Microsoft.Compute/locations/westeurope/operations/1"


def line(method: str, path: str, at_ms: int = 0, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"method": method, "url": f"https://localhost:1{path}", "at_ms": at_ms, "headers": {}}
    return {**made, "status": 200, "body": None, **more}


def test_requests_are_told_apart_and_polls_are_not() -> None:
    log = [
        line("GET", "/subscriptions?api-version=1"),
        line("POST", f"{SET}/manualupgrade?api-version=2"),
        line("GET", f"{OPERATION}?api-version=2"),
        line("GET", f"{OPERATION}?api-version=2"),
        line("GET", f"{OPERATION}?api-version=2&monitor=true"),
        line("GET", f"{SET}/virtualMachines?$expand=instanceView&api-version=2"),
    ]
    assert exchanges.requests(log) == [
        "POST SET/manualupgrade [2]",
        "GET OPERATION",
        "GET RESULT",
        "GET SET/virtualMachines?$expand=instanceView [2]",
    ]


def test_every_command_of_the_issue_is_tried() -> None:
    tried = {one.args.split()[0] for one in COMMANDS} | {"rolling-upgrade"}
    assert tried >= {
        "show", "list-instances", "get-instance-view", "update", "update-instances", "reimage", "get-os-upgrade-history",
        "scale", "restart", "deallocate", "start", "delete-instances", "set-orchestration-service-state", "rolling-upgrade",
    }  # fmt: skip


def test_what_is_printed_for_az_is_found() -> None:
    told = '# any client\nexport A=1\n# az CLI\nexport AZURE_CONFIG_DIR="$(mktemp -d)" B=2\naz login\n# PowerShell (x)\nnot this\n'
    assert login(told) == "export  B=2\naz login"


# -- what came of it -------------------------------------------------------------------------------------------------

SEEN: dict[str, Any] = {
    "model": NEW,
    "provisioning": "Succeeded",
    "instances": {name: {"latest": True, "version": NEW, "healthy": True} for name in "0123"},
}
REPORT: dict[str, Any] = {
    "refused": None,
    "complete": True,
    "breaches": [],
    "instances": {"total": 4, "serving": 4, "latest_model": 4, "failed": 0},
    "metrics": {"min_healthy": 2, "downtime_s": 0, "outage_s": 0, "capacity_lost_vm_s": 292, "duration_s": 183},
}


def truth(report: dict[str, Any]) -> None:
    figures.truth(report, instances=4, floor=2, lost_s=73, between_s=(100, 200))


def test_a_good_rollout_passes() -> None:
    figures.carried_out(SEEN, 4)
    truth(REPORT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "14.04.201506100"},
        {"provisioning": "Failed"},
        {"instances": {name: SEEN["instances"][name] for name in "012"}},
        *({"instances": {**SEEN["instances"], "3": {**SEEN["instances"]["3"], **one}}} for one in (
            {"latest": False}, {"version": "14.04.201506100"}, {"healthy": False}
        )),
    ],
)  # fmt: skip
def test_an_unfinished_account_does_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        figures.carried_out({**SEEN, **wrong}, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"refused": "the clock distorts"},
        {"complete": False},
        {"breaches": ["min_healthy"]},
        *({"instances": {**REPORT["instances"], **one}} for one in ({"serving": 3}, {"latest_model": 3}, {"failed": 1})),
        *({"metrics": {**REPORT["metrics"], **one}} for one in (
            {"min_healthy": 1}, {"min_healthy": 3}, {"downtime_s": 1}, {"outage_s": 1}, {"capacity_lost_vm_s": 293},
            {"duration_s": 99}, {"duration_s": 201},
        )),
    ],
)  # fmt: skip
def test_a_report_of_anything_else_does_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        truth({**REPORT, **wrong})


def script_of(work_ms: int, late_ms: int = 0) -> list[dict[str, Any]]:
    """A change, two polls, a sleep with the client's own work around it, the last change."""
    asked = {"azure-asyncoperation": f"https://localhost:1{OPERATION}"}
    poll_ms, pause_ms = test_sleeps.POLL_S * 1000, test_sleeps.PAUSE_S * 1000
    first, second = 1000 + poll_ms + late_ms, 1000 + 2 * poll_ms + 2 * late_ms
    return [
        line("GET", SET, 500),
        line("PUT", SET, 1000, headers=asked),
        line("GET", OPERATION, first, body={"status": "InProgress"}),
        line("GET", OPERATION, second, body={"status": "Succeeded"}),
        line("POST", f"{SET}/manualupgrade", second + pause_ms + work_ms, headers=asked),
        line("GET", SET, second + pause_ms + work_ms + 99_000),
    ]


def test_own_work_is_what_is_neither_a_sleep_nor_a_poll_interval() -> None:
    assert test_sleeps.own_work_ms(script_of(0), sleeps=1) == 0
    assert test_sleeps.own_work_ms(script_of(700), sleeps=1) == 700
    assert test_sleeps.own_work_ms(script_of(700, late_ms=300), sleeps=1) == 1300


def test_a_sleep_that_did_not_count_shows() -> None:
    assert test_sleeps.own_work_ms(script_of(-1000 * test_sleeps.PAUSE_S), sleeps=1) < -test_sleeps.SHORT_MS


# -- the description -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not OPENAPI.exists(), reason=ABSENT)
def test_what_nothing_describes_is_no_pass(tmp_path: Path) -> None:
    json = {"content-type": "application/json"}
    trace = tmp_path / "one.jsonl"
    known = line("GET", f"{OPERATION}?api-version=2024-07-01", headers=json, body={"status": "InProgress", "name": "1"})
    odd = line("GET", f"{SET}/whatever?api-version=2024-07-01", headers=json, body={})
    trace.write_bytes(msgspec.json.encode(known) + b"\n")
    assert conformance.judged([trace], openapi.judge)[1] == []
    trace.write_bytes(msgspec.json.encode(odd) + b"\n")
    assert conformance.judged([trace], openapi.judge)[1] == [f"GET {SET}/whatever: nothing describes it"]


@pytest.mark.skipif(not OPENAPI.exists(), reason=ABSENT)
def test_a_wrong_answer_is_no_pass(tmp_path: Path) -> None:
    trace = tmp_path / "one.jsonl"
    wrong = line(
        "GET", f"{SET}?api-version=2024-07-01", body={"location": 5}, headers={"content-type": "application/json"}
    )
    trace.write_bytes(msgspec.json.encode(wrong) + b"\n")
    assert conformance.judged([trace], openapi.judge)[1]
