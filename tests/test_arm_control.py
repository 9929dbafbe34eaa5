"""The control endpoint, driven by its own client: time, faults, trace, reset, snapshot and restore; and what no trace may hold."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console

from planner.errors import InputError
from tests.arm_http import Az, code_of
from vmss_sim.arm.client import Control, ControlError
from vmss_sim.arm.redaction import clean_body
from vmss_sim.arm.snapshots import digest
from vmss_sim.checks.emulated import Emulated
from vmss_sim.report import emulation

Make = Callable[..., Emulated]
NEW = "22.04.202606010"


def _upgraded(az: Az, version: str = NEW) -> dict[str, Any]:
    model: dict[str, Any] = az.ask("GET").json()
    model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = version
    return model


def test_nobody_without_the_token(vmss_emulator: Make) -> None:
    azure = vmss_emulator()
    for token in ("", "x", azure.token[:-1], azure.token + "x"):
        with pytest.raises(ControlError) as refused:
            Control(azure.url, token, azure.ca).state()
        assert (refused.value.status, refused.value.code) == (401, "TokenNeeded")
    answer = requests.get(f"{azure.url}/_vmss-sim/nothing", verify=azure.ca, timeout=10)
    assert code_of(answer) == "TokenNeeded", "who has no token learns nothing of what there is"


def test_a_token_as_a_file_holds_it(vmss_emulator: Make) -> None:
    azure = vmss_emulator()
    read = azure.session.token_file.read_text()
    assert read.endswith("\n")
    assert Control(azure.url, read, azure.ca).state()["now_s"] == 0


@pytest.mark.parametrize("token", ["sec\nret", "sec ret", "sécret"])
def test_a_token_that_cannot_be_one_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="no control token") as refused:
        Control("http://localhost:1", token)
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    ("method", "what", "body", "says"),
    [
        ("POST", "advance", b"{}", "seconds: found None"),
        ("POST", "advance", b'{"seconds": 1, "secs": 2}', "secs: unknown key; expected seconds"),
        ("POST", "run-until-idle", b'{"limit": 1}', "limit: unknown key; expected limit_seconds"),
        ("POST", "sleep", b'{"seconds": 1, "ppid": 2}', "ppid: unknown key; expected seconds, pid, parent, ticket"),
        ("POST", "faults", b'{"faults": [], "fault": []}', "fault: unknown key; expected faults"),
        ("POST", "faults", b'{"faults": [{"verdict": "fail", "of": "x"}]}', "expected update-model, set-mode"),
        ("POST", "advance", b'{"seconds": -1}', "seconds: found -1"),
        ("POST", "advance", b'{"seconds": true}', "seconds: found True"),
        ("POST", "advance", b'{"seconds": 1e400}', "body is no JSON|seconds: found inf"),
        ("POST", "advance", b"[", "the body is no JSON"),
        ("POST", "advance", b"[1]", "no JSON object"),
        ("POST", "faults", b"{}", "expected a list"),
        ("POST", "faults", b'{"faults": [{"verdict": "explode"}]}', "faults"),
        ("POST", "faults", b'{"faults": [{"verdikt": "fail"}]}', "verdict"),
        ("POST", "restore", b"nothing", "no snapshot"),
        ("POST", "restore", b'{"schema": "vmss-sim/emulator-snapshot/1"}', "another stage"),
        ("GET", "advance", b"", "POST advance"),
    ],
)
def test_what_is_wrong_is_one_sentence(vmss_emulator: Make, method: str, what: str, body: bytes, says: str) -> None:
    azure = vmss_emulator()
    with pytest.raises(ControlError, match=says) as refused:
        azure.control._bytes(method, what, body)
    assert 400 <= refused.value.status < 500
    assert "\n" not in refused.value.message


def test_a_manual_clock_moves_when_told_and_runs_until_idle(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az, control = Az(azure), azure.control
    assert az.ask("PUT", body=_upgraded(az)).status_code == 200
    assert control.state()["sets"][0]["instances"]["serving"] == 0
    assert control.advance(5.5) == 5.5
    assert control.state()["now_s"] == 5.5
    assert control.run_until_idle(1) is False
    assert control.state()["now_s"] == 6.5
    assert control.run_until_idle() is True
    state = control.state()
    assert state["idle"]
    assert state["sets"][0]["instances"] == {"total": 2, "serving": 2, "latest_model": 2, "failed": 0}
    assert control.run_until_idle() is True
    assert control.state() == state, "nothing is left to happen"


def test_reading_moves_nothing(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az = Az(azure)
    az.ask("PUT", body=_upgraded(az))
    azure.control.advance(30)
    before = digest(azure.emulator.site)
    for _ in range(3):
        azure.control.state()
        azure.control.report()
        list(azure.control.trace())
        azure.control.snapshot()
        az.ask("GET", "virtualMachines?$expand=instanceView")
    assert digest(azure.emulator.site) == before


def test_the_report_says_how_often_each_fault_was_met(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az, control = Az(azure), azure.control
    assert control.report()["faults"] == []
    control.faults([{"verdict": "fail", "of": "upgrade"}, {"verdict": "refuse", "of": "restart", "last": 2}])
    for _ in range(3):
        az.ask("POST", "restart", {"instanceIds": ["0"]})
    found = control.report()["faults"]
    assert found == [{"verdict": "fail", "of": "upgrade", "met": 0}, {"verdict": "refuse", "of": "restart", "met": 2}]
    told = io.StringIO()
    emulation.report(Console(file=told, width=300), control.report())
    assert "fault 1 (fail, of upgrade) was never met: its numbers count requests of every kind" in told.getvalue()
    assert "fault 2" not in told.getvalue()
    before = control.snapshot()
    control.faults([])
    assert control.report()["faults"] == []
    control.restore(before)
    assert control.report()["faults"] == found
    control.reset()
    assert control.report()["faults"] == []


def test_faults_count_from_when_they_are_given(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms")
    az, control = Az(azure), azure.control
    az.do("POST", "restart", {"instanceIds": ["0"]})
    control.faults([{"verdict": "fail", "of": "restart", "code": "OSProvisioningTimedOut"}])
    failed = az.do("POST", "restart", {"instanceIds": ["0"]})
    assert failed["status"] == "Failed"
    assert failed["error"]["code"] == "OSProvisioningTimedOut"
    assert az.do("POST", "restart", {"instanceIds": ["0"]})["status"] == "Succeeded"
    control.faults([{"verdict": "lose-reply"}, {"verdict": "refuse", "first": 2, "last": 2, "retry_after": 40}])
    with pytest.raises(requests.exceptions.ConnectionError):
        az.ask("POST", "restart", {"instanceIds": ["1"]})
    before = control.state()["now_s"]
    refused = az.ask("POST", "start", {"instanceIds": ["0"]})
    assert refused.status_code == 409
    assert refused.headers["retry-after"] == "1", "waiting costs nothing under jump"
    assert control.state()["now_s"] == before + 40
    control.faults([])
    assert control.state()["sets"][0]["faults"] == []


def test_a_snapshot_is_restored_as_it_was_and_goes_on_the_same(vmss_emulator: Make) -> None:
    azure = vmss_emulator("seed-article")
    az, control = Az(azure), azure.control
    az.do("POST", "restart", {"instanceIds": ["3"]})
    control.faults([{"verdict": "fail", "of": "reimage"}])
    az.do("POST", "reimage", {"instanceIds": ["4"]})
    az.ask("PUT", f"/subscriptions/{azure.subscription}/resourceGroups/side", {"location": "westeurope"}, "2021-04-01")
    az.ask("PUT", body=_upgraded(az, "14.04.201507060"))
    az.ask("DELETE", f"{azure.id}/nonsense")
    control.sleep(20)
    before, snapshot = digest(azure.emulator.site), control.snapshot()
    one = control.state()
    assert control.run_until_idle()
    after = digest(azure.emulator.site)
    assert after != before
    assert control.restore(snapshot) == (one["now_s"], 0)
    assert digest(azure.emulator.site) == before
    assert control.state() == one
    again = control.snapshot()
    assert again == snapshot
    assert control.run_until_idle()
    assert digest(azure.emulator.site) == after
    other = vmss_emulator("seed-article", clock="manual")
    assert other.control.restore(snapshot) == (one["now_s"], 0)
    assert digest(other.emulator.site) == before
    control.reset()
    assert control.state()["now_s"] == 0
    assert len(control.snapshot().splitlines()) == 1


def test_a_snapshot_with_throttles_holds_the_reads(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual", throttle=True)
    az = Az(azure)
    statuses = [az.ask("GET", "instanceView").status_code for _ in range(40)]
    assert 429 in statuses
    snapshot = azure.control.snapshot()
    azure.control.reset()
    assert az.ask("GET", "instanceView").status_code == 200
    azure.control.restore(snapshot)
    assert az.ask("GET", "instanceView").status_code == 429


@pytest.mark.parametrize("change", ["seed", "stage", "state", "request"])
def test_a_snapshot_of_something_else_is_refused_and_nothing_changes(vmss_emulator: Make, change: str) -> None:
    azure = vmss_emulator("two-vms")
    az = Az(azure)
    az.do("POST", "restart", {"instanceIds": ["0"]})
    lines = azure.control.snapshot().splitlines()
    header, entry = json.loads(lines[0]), json.loads(lines[1])
    if change == "request":
        entry["url"] = entry["url"].replace("restart", "reimage")
    else:
        header[change] = 77 if change == "seed" else "something else"
    before = digest(azure.emulator.site)
    with pytest.raises(ControlError, match=r"another|not what it says") as refused:
        azure.control.restore(json.dumps(header).encode() + b"\n" + json.dumps(entry).encode() + b"\n")
    assert refused.value.code == "SnapshotMismatch"
    assert digest(azure.emulator.site) == before


@pytest.mark.parametrize("where", [0, 1])
def test_a_snapshot_that_nests_too_deeply_is_none(vmss_emulator: Make, where: int) -> None:
    azure = vmss_emulator("two-vms")
    lines = [azure.control.snapshot().splitlines()[0]]
    lines.insert(where, b"[" * 100_000)
    answer = requests.post(
        f"{azure.url}/_vmss-sim/restore",
        data=b"\n".join(lines),
        headers={"X-Vmss-Sim-Token": azure.token},
        verify=azure.ca,
        timeout=30,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "NoSnapshot")


def test_the_trace_tells_every_exchange(vmss_emulator: Make, tmp_path: Path) -> None:
    azure = vmss_emulator("two-vms", trace=tmp_path / "trace.jsonl")
    az = Az(azure)
    az.do("POST", "restart", {"instanceIds": ["0"]})
    az.session.post(f"{azure.url}{azure.id}/restart?api-version=2024-07-01", data=b"{nonsense", timeout=10)
    first, *polls, last = azure.control.trace()
    assert set(first) == {"at_ms", "method", "url", "request_headers", "request_body", "status", "headers", "body"}
    assert (first["method"], first["status"], first["request_body"]) == ("POST", 202, {"instanceIds": ["0"]})
    assert first["url"].endswith("/restart?api-version=2024-07-01")
    assert polls[-1]["body"]["status"] == "Succeeded"
    assert (last["status"], last["request_text"]) == (400, "{nonsense")
    assert [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()] == [first, *polls, last]


def test_secrets_are_nowhere(vmss_emulator: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    secret = "Tr0ub4dor-and-3"
    azure = vmss_emulator("two-vms", trace=tmp_path / "trace.jsonl")
    az = Az(azure)
    az.session.headers["Authorization"] = f"Bearer {secret}"
    model = az.ask("GET").json()
    profile = model["properties"]["virtualMachineProfile"]
    profile["osProfile"] = {**profile.get("osProfile", {}), "adminPassword": secret, "customData": secret}
    health = {"publisher": "P", "type": "T", "typeHandlerVersion": "1.0", "protectedSettings": {"a": secret}}
    health["settings"] = {"fileUris": [f"https://x.invalid/y?sv=1&sig={secret}&se=2"]}
    extensions = profile.setdefault("extensionProfile", {}).setdefault("extensions", [])
    extensions.append({"name": "mine", "properties": health})
    assert az.ask("PUT", body=model).status_code == 200
    azure.control.run_until_idle()
    told = {"name": "key", "value": secret}
    az.do(
        "POST",
        "virtualMachines/0/runCommand",
        {"commandId": "RunShellScript", "script": [secret], "parameters": [told]},
    )
    script = {
        "source": {"script": f"login --key {secret}"},
        "parameters": [{"name": "key", "value": secret}],
        "protectedParameters": [{"name": "a", "value": secret}],
        "runAsPassword": secret,
    }
    answer = az.ask("PUT", "virtualMachines/0/runCommands/mine", {"location": "westeurope", "properties": script})
    assert answer.status_code == 201, answer.text
    vault = f"/subscriptions/{azure.subscription}/resourceGroups/{azure.group}/providers/Microsoft.Sql/servers/x"
    made = az.ask(
        "PUT", vault, {"location": "westeurope", "properties": {"administratorLoginPassword": "p", "password": secret}}
    )
    assert made.status_code == 201, made.text
    az.session.post(
        f"{azure.url}/{azure.tenant}/oauth2/v2.0/token",
        data={"grant_type": "client_credentials", "client_secret": secret, "scope": f"{azure.url}/.default"},
        timeout=10,
    )
    az.ask("PATCH", "", {"properties": {"virtualMachineProfile": {"userData": secret}}})
    template = {"properties": {"mode": "Incremental", "parameters": {"key": {"value": secret}}}}
    deployment = "providers/Microsoft.Resources/deployments/x"
    assert az.ask("PUT", f"{azure.id.partition('/providers')[0]}/{deployment}", template).status_code == 400
    for broken in (b'{"userData": "' + secret.encode(), b'{"parameters": [{"value": "' + secret.encode()):
        assert az.ask("PATCH", "", data=broken).status_code == 400
    # Azure shows these again to who may read them:
    read = az.ask("GET", "", **{"params": {"$expand": "userData"}}).json()
    assert read["properties"]["virtualMachineProfile"]["userData"] == secret
    properties = az.ask("GET", "virtualMachines/0/runCommands/mine").json()["properties"]
    assert (properties["source"]["script"], properties["parameters"][0]["value"]) == (f"login --key {secret}", secret)
    assert az.ask("GET", "virtualMachines/0/runCommands").json()["value"]
    seen = [
        (tmp_path / "trace.jsonl").read_text(),
        azure.control.snapshot().decode(),
        json.dumps(azure.control.state()),
        json.dumps(azure.control.report()),
        az.ask("GET").text,
        az.ask("GET", vault).text,
    ]
    for text in seen:
        assert secret not in text
        assert azure.token not in text
        assert "Bearer" not in text
    assert "sig=removed" in seen[0]
    for _ in range(2):  # what stands for it is as good as it was
        told = azure.control.restore(azure.control.snapshot())
    read = az.ask("GET", "", params={"$expand": "userData"}).json()["properties"]["virtualMachineProfile"]["userData"]
    scripts = az.ask("GET", "virtualMachines/0/runCommands/mine").json()["properties"]
    stand_ins = {read, scripts["source"]["script"], scripts["parameters"][0]["value"]}
    assert all(re.fullmatch(r"\(removed [0-9a-f]{12}\)", one) for one in stand_ins)
    assert told.stand_ins == len(stand_ins) == 2, "told in the answer: the user data is the parameter's value"
    assert secret not in caplog.text


def test_a_secret_that_stayed_would_be_seen(vmss_emulator: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmss_sim.arm.emulator.clean_body", lambda body: body)
    monkeypatch.setattr("vmss_sim.arm.trace.for_files", lambda line: line)
    azure = vmss_emulator("two-vms")
    az = Az(azure)
    az.ask("PATCH", body={"properties": {"virtualMachineProfile": {"osProfile": {"customData": "aHVudGVyMg=="}}}})
    az.ask("PATCH", body={"properties": {"virtualMachineProfile": {"userData": "c2VjcmV0"}}})
    assert b"aHVudGVyMg==" in azure.control.snapshot()
    assert b"c2VjcmV0" in azure.control.snapshot()


def test_at_speed_1_time_passes_by_itself(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="real")
    began = time.monotonic()
    before = azure.control.state()["now_s"]
    time.sleep(0.3)
    assert 0.25 <= azure.control.state()["now_s"] - before <= time.monotonic() - began + 0.01


def test_a_parameter_that_is_named_as_a_secret_is_one() -> None:
    body = {"parameters": [{"name": "adminPassword", "value": "s3cret-1"}, {"name": "size", "value": "4"}]}
    found = json.loads(clean_body(json.dumps(body).encode()))["parameters"]
    assert "s3cret-1" not in json.dumps(found)
    assert found[1] == {"name": "size", "value": "4"}


def test_no_such_clock(vmss_emulator: Make) -> None:
    with pytest.raises(InputError, match="no such clock; found 'sundial'; expected jump, real, manual"):
        vmss_emulator(clock="sundial")
