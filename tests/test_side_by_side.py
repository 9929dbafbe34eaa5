"""Shell scripts that sleep at once under `--clock jump`: real processes, each with its own timeline. No duration decides, but for hangs."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.test_arm_sleepers import _AddsUp
from vmss_sim.arm import sleepers
from vmss_sim.checks.emulated import Emulated

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
Make = Callable[..., Emulated]
HANGS_S = 600
"""A hang is one on a busy machine, too."""
NEVER_S = 3_600.0

TOOLS = """
set -eu
now() { # NAME: which time it is there
  state=$(curl -sS --cacert "$VMSS_SIM_CA" -H "X-Vmss-Sim-Token: $(cat "$VMSS_SIM_TOKEN_FILE")" "$VMSS_SIM_URL/_vmss-sim/state")
  echo "$1 $(echo "$state" | sed 's|.*"now_s":\\([0-9.]*\\).*|\\1|')" >> "$OUT"; }
restart() { # ID: a request that changes the set
  curl -sS --cacert "$VMSS_SIM_CA" -H 'Authorization: Bearer x' -H 'Content-Type: application/json' \\
    -d "{\\"instanceIds\\": [\\"$1\\"]}" "$VMSS_SIM_URL$SET/restart?api-version=2024-07-01"; }
"""
A = "for i in 1 2 3; do sleep 10; now a; done"
B = "for i in 1 2; do sleep 17; now b; done"
LONG = "for i in 1 2 3; do sleep 1000; now a; done"
BOTH = {"a": [10, 20, 30], "b": [17, 34]}


@pytest.fixture(autouse=True)
def _slow_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a sleeper may come back late. (That one that does not come back is gone: `test_arm_sleepers.py`.)"""
    monkeypatch.setattr(sleepers, "GONE_S", NEVER_S)


def begin(azure: Emulated, home: Path, script: str) -> subprocess.Popen[bytes]:
    azure.emulator.clock.patience_s = getattr(azure, "patience_s", NEVER_S)  # type: ignore[attr-defined]
    path = f"{azure.path_first}:{os.environ['PATH']}"
    more = {"PATH": path, "NO_PROXY": "localhost", "OUT": str(home / "out"), "SET": azure.id, "PYTHON": sys.executable}
    return subprocess.Popen(["sh", "-c", TOOLS + script], env={**os.environ, **azure.environment, **more}, cwd=home)


def seen(home: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in (home / "out").read_text().splitlines():
        name, when = line.split()
        found.setdefault(name, []).append(float(when))
    return found


def run(azure: Emulated, home: Path, *scripts: str) -> dict[str, list[float]]:
    """What the scripts saw, side by side."""
    running = [begin(azure, home, one) for one in scripts]
    try:
        for one in running:
            assert one.wait(HANGS_S) == 0
    finally:
        for one in running:
            one.kill()
            one.wait()
    return seen(home)


def undistorted(azure: Emulated) -> bool:
    return azure.emulator.clock.ledger.spent.excess_ms + azure.emulator.clock.ledger._tail.excess_ms == 0


def test_two_scripts_side_by_side(vmss_emulator: Make, tmp_path: Path) -> None:
    """The second begins while the first is at work: for as long as it takes until it is there."""
    azure = vmss_emulator()
    wait = f'until [ -e "{tmp_path}/b" ]; do :; done; {A}'
    assert run(azure, tmp_path, wait, f'sleep 0; touch "{tmp_path}/b"; {B}') == BOTH
    assert azure.control.state()["now_s"] == 34
    assert undistorted(azure)


def test_one_script_with_two_in_the_background(vmss_emulator: Make, tmp_path: Path) -> None:
    azure = vmss_emulator(clock="manual")
    assert run(azure, tmp_path, f"({A}) & ({B}) & wait; now end") == {**BOTH, "end": [34]}
    assert undistorted(azure)


def test_that_they_add_up_would_be_noticed(vmss_emulator: Make, tmp_path: Path) -> None:
    azure = vmss_emulator()
    azure.emulator.clock.__class__ = _AddsUp
    run(azure, tmp_path, f"({A}) & ({B}) & wait")
    assert azure.control.state()["now_s"] == 64


POLLS = """
import json, os, ssl, sys, time
from http.client import HTTPSConnection
from urllib.parse import urlsplit
where = urlsplit(os.environ["VMSS_SIM_URL"])
trust = ssl.create_default_context(cafile=os.environ["VMSS_SIM_CA"])
talk = HTTPSConnection(where.hostname, where.port, context=trust)
def ask(method, path, body=None):
    talk.request(method, path, body, {"Authorization": "Bearer x", "Content-Type": "application/json"})
    answer = talk.getresponse()
    return answer.headers, json.loads(answer.read() or b"{}")
for name in "0":
    body = json.dumps({"instanceIds": [name]})
    told, _ = ask("POST", os.environ["SET"] + "/restart?api-version=2024-07-01", body)
    while ask("GET", told["azure-asyncoperation"].partition(where.netloc)[2])[1]["status"] == "InProgress":
        time.sleep(1)
        if len(sys.argv) > 1:
            talk.close()
"""


@pytest.mark.parametrize("how", ["", "anew"])  # by one connection, as Azure's clients do, or by one each time
def test_a_monitor_beside_a_rollout(vmss_emulator: Make, tmp_path: Path, how: str) -> None:
    """It looks every 10 s, for as long as the rollout goes on, and the rollout takes as long as without it."""
    (tmp_path / "polls.py").write_text(POLLS)
    took = {}
    for which, monitor in (("alone", ""), ("beside", "(while sleep 10; do now looked; done) & trap 'kill $!' EXIT;")):
        azure = vmss_emulator()
        home = tmp_path / which
        home.mkdir()
        run(azure, home, f'{monitor} sleep 5; "$PYTHON" ../polls.py {how}; now end')
        assert undistorted(azure)
        found = seen(home)
        took[which] = found["end"]
    assert took["beside"] == took["alone"] > [60]
    looks = found["looked"]
    assert len(looks) >= found["end"][0] / 10 - 3, found
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(looks)), looks


def test_shells_in_shells_are_one_client(vmss_emulator: Make, tmp_path: Path) -> None:
    azure = vmss_emulator()
    script = "for i in 1 2 3; do sh -c 'sleep 10; (sleep 5; restart=$(sleep 5; echo x)); sh -c \"sleep 1; true\"'; now a; done"
    assert run(azure, tmp_path, f"restart 0; {script}; restart 1") == {"a": [21, 42, 63]}
    report = azure.report()
    assert report["time"]["declared_s"] >= 63
    assert report["time"]["excess_s"] == 0


def test_a_reader_of_the_script_holds_nobody(vmss_emulator: Make, tmp_path: Path) -> None:
    script = f"tail -f /dev/null & trap 'kill $!' EXIT; ({A}) | tee log"
    assert run(vmss_emulator(), tmp_path, script) == {"a": [10, 20, 30]}


IDLES = """"$PYTHON" -c 'import ssl, time; time.sleep(1000)' & trap 'kill $!' EXIT"""


def test_who_never_asks_for_anything_is_waited_for_with_patience(vmss_emulator: Make, tmp_path: Path) -> None:
    azure = vmss_emulator()
    azure.patience_s = 0.3  # type: ignore[attr-defined]
    assert run(azure, tmp_path, f"{IDLES}; restart 0; {LONG}; restart 1") == {"a": [1000, 2000, 3000]}
    assert azure.control.report()["refused"] is None, "the figures stand"


def test_a_sleeper_that_is_killed_blocks_nobody(vmss_emulator: Make, tmp_path: Path) -> None:
    azure = vmss_emulator()
    held = begin(azure, tmp_path, "touch there; while :; do :; done")  # works, so that everybody is held
    other = begin(azure, tmp_path, "sleep 100; now other")
    killed = begin(azure, tmp_path, "exec sleep 50")
    try:
        until = time.monotonic() + HANGS_S
        while len(azure.emulator.clock.sleepers._asleep) < 2:  # type: ignore[attr-defined]
            assert time.monotonic() < until
            time.sleep(0.02)
        assert psutil.Process(killed.pid).is_running()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert azure.control.state()["now_s"] == 0
        held.kill()
        held.wait()
        assert other.wait(HANGS_S) == 0
    finally:
        for one in (held, other, killed):
            one.kill()
            one.wait()
    assert seen(tmp_path) == {"other": [100]}
    assert undistorted(azure)
