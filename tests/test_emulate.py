"""`vmss-sim emulate`, its session and the fixture: what is printed, what clients paste, the sleep that tells, how it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.arm_http import VERSION
from tests.commands import vmss_sim
from tests.loopback import HANGS_S
from vmss_sim.arm import server
from vmss_sim.arm.client import Control
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.session import Session
from vmss_sim.checks.emulated import Emulated
from vmss_sim.cli import emulate
from vmss_sim.report import emulation

ROOT = Path(__file__).parent.parent
Make = Callable[..., Emulated]


class Running:
    """An `emulate` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], env: Path) -> None:
        self.process = process
        text = env.read_text()
        self.variables = dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
        found = re.search(r"^export PATH=(\S+):\"\$PATH\"", text, re.MULTILINE)
        assert found is not None
        self.path_first = found[1]
        self.url, self.ca = self.variables["VMSS_SIM_URL"], self.variables["VMSS_SIM_CA"]
        self.token_file = Path(self.variables["VMSS_SIM_TOKEN_FILE"])
        self.control = Control(self.url, self.token_file.read_text().strip(), self.ca)

    def end(self, how: int = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=HANGS_S)
        return self.process.returncode, out, err


@contextmanager
def _running(tmp_path: Path, *arguments: str) -> Iterator[Running]:
    env = tmp_path / "env.sh"
    env.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "vmss_sim",
        "emulate",
        *arguments,
        "--ca-dir",
        str(tmp_path / "ca"),
        "--env",
        str(env),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        until = time.monotonic() + HANGS_S
        while not env.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert env.exists(), process.communicate(timeout=HANGS_S)
        yield Running(process, env)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


SCRIPT = """
set -eu
ask() { curl --silent --show-error --cacert "$VMSS_SIM_CA" -H 'Authorization: Bearer x' -H 'Content-Type: application/json' "$@"; }
for id in 0 1; do
  ask -X POST "$VMSS_SIM_URL$1/restart?api-version=2024-07-01" -d "{\\"instanceIds\\": [\\"$id\\"]}"
  sleep 10m 30.5
done
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("clock", "speed"), [("jump", None), ("real", "600")])
def test_a_script_with_sleeps_is_measured(tmp_path: Path, clock: str, speed: str | None) -> None:
    options = ["two-vms", "--clock", clock, "--json", "--report", str(tmp_path / "report.json")]
    with _running(tmp_path, *options, *(["--speed", speed] if speed else [])) as running:
        one = running.control.state()["sets"][0]["id"]
        path = f"{running.path_first}:{os.environ['PATH']}"
        env = {**os.environ, **running.variables, "PATH": path, "NO_PROXY": "localhost"}
        subprocess.run(["sh", "-c", SCRIPT, "script", one], env=env, check=True, timeout=HANGS_S)
        status, out, err = running.end(signal.SIGTERM)
    assert status == 0, err
    found = json.loads(out)
    assert json.loads((tmp_path / "report.json").read_text()) == found
    assert found["complete"]
    assert found["metrics"]["min_healthy"] == 1
    assert found["metrics"]["downtime_s"] == 0
    assert 630.5 < found["metrics"]["duration_s"] < 1261
    assert 630 <= found["time"]["declared_s"] <= 1261.1
    assert len([line for line in err.splitlines() if "POST web/restart" in line]) == 2


SNAPSHOTS = "scenarios/snapshots"


def test_where_nobody_said_a_target_none_is_told(tmp_path: Path) -> None:
    files = (f"{SNAPSHOTS}/web-model.json", "--instances", f"{SNAPSHOTS}/web-instances.json")
    with _running(tmp_path, *files, "--quiet") as running:
        found = running.control.report()
        _, out, _ = running.end()
    assert (found["scenario"], found["images"]["target"]) == ("web", None)
    assert "any version of it is accepted" in out
    assert "--target VERSION" in out
    assert "next" not in out


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """Under nohup hang-ups are ignored by whoever is started, too; what is heard here is the default there."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals here")
@pytest.mark.usefixtures("hears_hangups")
def test_a_closed_terminal_ends_it_with_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with _running(tmp_path, "two-vms", "--report", str(report)) as running:
        status, _, _ = running.end(signal.SIGHUP)
        assert not running.token_file.exists()
    assert status == 0
    assert json.loads(report.read_text())["schema"] == "vmss-sim/emulate/1"


def test_what_is_printed_and_what_is_left(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    with _running(tmp_path, "two-vms", "--http", "--trace", str(trace)) as running:
        assert stat.S_IMODE(running.token_file.stat().st_mode) == 0o600
        token = running.token_file.read_text().strip()
        assert running.variables["IDENTITY_ENDPOINT"].startswith("http://localhost:")
        sets = running.control.state()["sets"]
        assert sets[0]["id"].split("/")[2] == running.variables["AZURE_SUBSCRIPTION_ID"]
        status, out, err = running.end()
        assert not running.token_file.exists()
        assert not Path(running.path_first).exists()
    assert (status, err) == (0, "")
    assert f"CA: {tmp_path / 'ca' / 'ca.pem'} (created)" in out
    assert f"control token: in {running.token_file}" in out
    assert token not in out, "it may end in a pipeline's log"
    for client in ("az CLI", "vmss-sim itself", "Python, azure-mgmt-compute", "JavaScript", "PowerShell", "Terraform"):
        assert f"# {client}" in out
    assert out.count("(not run in our tests)") == 2
    assert f"az cloud register -n vmss-sim --endpoint-resource-manager {running.url}/" in out
    assert "nothing was changed; 2 of 2 in service" in out
    assert trace.read_text() == ""
    assert stat.S_IMODE((tmp_path / "ca" / "ca-private.pem").stat().st_mode) == 0o600


QUICK = """
title = "Two VMs that restart in a second"
scale_set = { instances = 2 }
change = { version = "1.0.1" }
timing = { restart = 1, ready = 0 }
"""


AZ = """#!/bin/sh
# an az that knows its clouds: a folder holds one file each
case "$2" in
  register) test ! -e "$CLOUDS/$4" || { echo "The cloud '$4' is already registered." >&2; exit 1; }; echo "$6" > "$CLOUDS/$4" ;;
  update) test -e "$CLOUDS/$4" || exit 1; echo "$6" > "$CLOUDS/$4" ;;
  set) echo "$4" > "$CLOUDS/active" ;;
esac
"""


def test_the_lines_for_az_may_be_pasted_again(vmss_emulator: Make, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "az").write_text(AZ)
    (tmp_path / "bin" / "az").chmod(0o755)
    for port in range(2):  # another emulator, on another port
        azure = vmss_emulator()
        clouds = tmp_path / "clouds"
        clouds.mkdir(exist_ok=True)
        (clouds / "active").write_text("AzureCloud\n")
        (block,) = (one for one in azure.session.blocks() if one.client == "az CLI")
        lines = [line for line in block.lines if line.startswith("az cloud")]
        env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CLOUDS": str(clouds)}
        subprocess.run(["sh", "-ec", "\n".join(lines)], env=env, check=True, timeout=HANGS_S)
        assert (clouds / "active").read_text() == "vmss-sim\n", port
        assert (clouds / "vmss-sim").read_text() == f"{azure.url}/\n", port


def test_a_signal_while_it_begins_to_hear_them_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    hears, raised = signal.signal, list[int]()

    def installs(number: int, handler: Any) -> Any:
        before = hears(number, handler)
        if not raised:
            raised.append(number)
            signal.raise_signal(number)
        return before

    monkeypatch.setattr(signal, "signal", installs)
    with emulate._asked_to_end() as asked:
        assert raised == [signal.SIGINT] and asked.is_set()


def test_a_signal_as_soon_as_it_is_there_ends_it_with_its_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opening = emulation.opening

    def opens(*told: Any) -> None:
        opening(*told)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(emulation, "opening", opens)
    ran = vmss_sim("emulate", "two-vms", "--json", "--ca-dir", str(tmp_path / "ca"))
    assert ran.status == 0, ran
    assert "metrics" in json.loads(ran.out)


def test_figures_that_the_clock_distorts_are_status_1(tmp_path: Path) -> None:
    scenario = tmp_path / "quick.toml"
    scenario.write_text(QUICK)
    with _running(tmp_path, str(scenario), "--poll", "0", "--quiet") as running:
        one = running.control.state()["sets"][0]["id"]
        _restart(running, one, "0")
        time.sleep(1)  # not told
        _restart(running, one, "1")
        status, out, err = running.end()
    assert status == 1
    assert "no figures: the clock distorts the measured time by" in " ".join(out.split())
    assert err == ""


def _restart(running: Running, one: str, name: str) -> None:
    _asked(running, "POST", f"{one}/restart", {"instanceIds": [name]}, 202)


def _asked(running: Running, method: str, path: str, body: dict[str, Any], status: int) -> None:
    import requests

    session = requests.Session()
    session.trust_env, session.verify = False, running.ca
    with session:
        answer = session.request(
            method,
            f"{running.url}{path}?api-version={VERSION}",
            json=body,
            headers={"Authorization": "Bearer x"},
            timeout=10,
        )
    assert answer.status_code == status, answer.text


def test_a_snapshot_of_azure_and_one_of_ours(tmp_path: Path) -> None:
    model, instances = (str(ROOT / "scenarios" / "snapshots" / f"web-{one}.json") for one in ("model", "instances"))
    kept = tmp_path / "kept.jsonl"
    with _running(tmp_path, model, "--instances", instances, "--clock", "manual") as running:
        state = running.control.state()
        assert state["sets"][0]["instances"]["total"] > 1
        user_data = {"properties": {"virtualMachineProfile": {"userData": "dGVsbCBub2JvZHk="}}}
        _asked(running, "PATCH", state["sets"][0]["id"], user_data, 200)
        running.control.advance(60)
        kept.write_bytes(running.control.snapshot())
        running.end()
    again = ("--restore", str(kept), "--force")
    with _running(tmp_path, model, "--instances", instances, "--clock", "manual", *again) as running:
        assert running.control.state()["now_s"] == 60
        _, _, err = running.end()
        assert f"{kept}: no snapshot holds user data, scripts or their parameters: 1 text read as `(removed …)`" in err
    ran = vmss_sim("emulate", "two-vms", "--restore", str(kept), "--ca-dir", str(tmp_path / "ca"))
    assert ran.status == 2
    assert "the snapshot was taken of another stage" in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "no such file or bundled scenario"),
        (("two-vms", "--clock", "sundial"), "no such clock"),
        (("two-vms", "--speed", "60"), "--speed says nothing with this clock"),
        (("two-vms", "--clock", "real", "--poll", "5"), "--poll says nothing with this clock"),
        (("two-vms", "--retry-after", "5"), "--retry-after says nothing with this clock"),
        (("two-vms", "--clock", "real", "--speed", "0.5"), "out of range"),
        (("two-vms", "--poll", "-1"), "out of range"),
        (("two-vms", "--target", "1.2.3"), "a scenario says this itself"),
        (("two-vms", "--trace", "/nonexistent/x"), "the file cannot be written"),
        (("two-vms", "--report", "/nonexistent/x"), "the file cannot be written"),
        (("two-vms", "--report", "."), "the file cannot be written"),
        (("two-vms", "--env", "."), "the file cannot be written"),
        (("two-vms", "--trace", "one.file", "--report", "./one.file"), "two options write one file"),
        (("two-vms", "--restore", "/nonexistent/x"), "the file cannot be read"),
        (("two-vms", "--faults", "pyproject.toml"), "not a file of faults"),
        (("two-vms", "--unsafe-bind", "192.0.2.1"), "cannot listen there"),
        (("two-vms", "--unsafe-bind", ""), "not an address"),
        (("two-vms", "--unsafe-bind", "a b"), "not an address"),
        (("two-vms", "--unsafe-bind", "[::1]"), "not an address"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = vmss_sim("emulate", *arguments, "--ca-dir", str(tmp_path / "ca"))
    assert ran.status == 2, ran
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_disk_that_is_full_is_one_line_and_nothing_stays_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listened: list[socket.socket] = []
    bound = server._bound

    def bind(*at: Any) -> socket.socket:
        listened.append(bound(*at))
        return listened[-1]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server, "_bound", bind)
    monkeypatch.setattr(Session, "_write_files", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ran = vmss_sim("emulate", "two-vms", "--ca-dir", str(tmp_path / "ca"))
    assert (ran.status, len(ran.err.splitlines())) == (2, 1), ran
    assert "the token cannot be written" in ran.err and "No space left" in ran.err
    assert listened and all(one.fileno() == -1 for one in listened), "it listens no more"
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        (
            "s.json",
            "{}",
            "no scale set is in this file; found an object without keys; expected JSON as Azure returns it",
        ),
        ("s.json", "[]", "no scale-set model among the documents; expected exactly one"),
        (
            "s.json",
            '{"b": 1, "a": 2}',
            "no scale set is in this file; found an object with a, b; expected JSON as Azure returns it",
        ),
        ("s.json", "", "the file is not JSON; found an empty file"),
        ("s.toml", "{}", "expected a scenario in TOML"),
    ],
)
def test_a_file_that_is_no_scale_set(tmp_path: Path, file: str, text: str, says: str) -> None:
    (tmp_path / file).write_text(text)
    ran = vmss_sim("emulate", str(tmp_path / file), "--ca-dir", str(tmp_path / "ca"))
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)
    assert says in ran.err
    assert ("TOML" in ran.err) is file.endswith(".toml")


def test_a_broken_file_of_faults(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text("[[fault]\n")
    ran = vmss_sim("emulate", "two-vms", "--faults", str(file), "--ca-dir", str(tmp_path / "ca"))
    assert ran.status == 2
    assert "the file is not TOML" in ran.err
    assert "expected [[fault]] tables in TOML (docs/scenario.md)" in ran.err
    assert "a scenario" not in ran.err


def test_a_port_in_use(tmp_path: Path, vmss_emulator: Make) -> None:
    port = vmss_emulator().url.rpartition(":")[2]
    ran = vmss_sim("emulate", "two-vms", "--port", port, "--ca-dir", str(tmp_path / "ca"))
    assert ran.status == 2
    assert "Address already in use" in ran.err


def test_faults_of_a_file_instead_of_the_scenarios(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text('[[fault]]\nverdict = "refuse"\nof = "restart"\ncode = "Conflict"\n')
    with _running(tmp_path, "two-vms", "--faults", str(file)) as running:
        (fault,) = running.control.state()["sets"][0]["faults"]
        assert fault["verdict"] == "refuse"
        running.end()


# -- sleep -------------------------------------------------------------------------------------------------------------


def _sleep(azure: Emulated, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Also how long it took; one that slept what it was told to would be given up."""
    started = time.monotonic()
    ran = subprocess.run(
        [f"{azure.path_first}/sleep", *arguments], capture_output=True, text=True, check=False, timeout=80
    )
    return ran, time.monotonic() - started


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [(("90",), 90), (("0.25",), 0.25), (("2m",), 120), (("1.5h",), 5400), (("1d", "1s"), 86_401), (("1m", "30"), 90)],
)
def test_sleep_tells_and_takes_no_time(vmss_emulator: Make, arguments: tuple[str, ...], seconds: float) -> None:
    azure = vmss_emulator()
    ran, _ = _sleep(azure, *arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert azure.control.state()["now_s"] == seconds


@pytest.mark.parametrize("arguments", [(), ("x",), ("-1",), ("1w",), ("nan",)])
def test_sleep_refuses_what_sleep_refuses(vmss_emulator: Make, arguments: tuple[str, ...]) -> None:
    azure = vmss_emulator()
    ran, _ = _sleep(azure, *arguments)
    assert ran.returncode == 1
    assert ran.stderr.startswith("sleep: ")
    assert azure.control.state()["now_s"] == 0


def test_sleep_sleeps_by_the_real_clock_and_where_nobody_listens(vmss_emulator: Make) -> None:
    azure = vmss_emulator(clock="real", speed=60)
    _, took = _sleep(azure, "60")
    assert took >= 1
    azure.session.server.stop()
    ran, took = _sleep(azure, "0.5")
    assert ran.returncode == 0
    assert took >= 0.5


# -- the fixture -------------------------------------------------------------------------------------------------------

CHEAP = """
import sys, time
import pytest
before = set(sys.modules)
import vmss_sim.checks.pytest_plugin
print(sorted(one for one in set(sys.modules) - before if not one.startswith("vmss_sim")))
"""


def test_the_plugin_imports_nothing_until_it_is_asked() -> None:
    ran = subprocess.run([sys.executable, "-c", CHEAP], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"


def test_pytest_finds_the_fixture_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(vmss_emulator):\n"
        "    azure = vmss_emulator('seed-article')\n"
        "    azure.control.sleep(5)\n"
        "    assert azure.report()['instances']['serving'] == 10\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


def test_two_emulators_at_once_are_trusted_by_one_certificate(vmss_emulator: Make) -> None:
    one, two = vmss_emulator(), vmss_emulator("seed-article", seed=5)
    assert one.ca == two.ca
    assert one.url != two.url
    assert two.report()["seed"] == 5
    found: dict[str, Any] = two.client_options
    assert found["base_url"] == two.url
    assert two.credential().get_token("x").expires_on > time.time() + 10_000


def test_azure_identity_logs_in_offline(vmss_emulator: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import ClientSecretCredential, ManagedIdentityCredential
    from azure.mgmt.compute import ComputeManagementClient

    azure = vmss_emulator("two-vms", http=True)
    for name, value in {**azure.environment, "NO_PROXY": "localhost"}.items():
        monkeypatch.setenv(name, value)
    scope = f"{azure.url}/.default"
    secret = ClientSecretCredential(
        azure.tenant, "anybody", "anything", authority=azure.url, disable_instance_discovery=True
    )
    for credential in (secret, ManagedIdentityCredential()):
        with (
            credential,
            ComputeManagementClient(
                credential, azure.subscription, base_url=azure.url, credential_scopes=[scope]
            ) as client,
        ):
            assert [one.name for one in client.virtual_machine_scale_sets.list_all()] == [azure.name]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"\xff", b"[1]", b'{"instanceIds": 3}'])
def test_a_line_is_told_of_any_body(body: bytes) -> None:
    """What a client sends has been answered already: telling of it may not fail."""
    text = io.StringIO()
    request = Request(method="POST", path="/subscriptions/s/providers/Microsoft.Compute/x", body=body)
    emulation.line(Console(file=text, width=200), request, Response(status=400), 0)
    assert "POST Microsoft.Compute/x" in text.getvalue()


def test_a_line_holds_nothing_that_a_terminal_would_obey() -> None:
    text = io.StringIO()
    path = "/subscriptions/s/providers/Microsoft.Compute/x\x1b[2J\x9b31m\r\n"
    error = {"error": {"code": "NotFound", "message": f"no {path}"}}
    emulation.line(
        Console(file=text, width=200), Request(method="POST", path=path), Response(status=404, body=error), 0
    )
    told = text.getvalue().removesuffix("\n")
    assert told.isprintable()
    assert told.startswith(" 0:00:00  404  POST Microsoft.Compute/x")
