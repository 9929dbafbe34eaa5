"""docs/emulate.md is true: its shell session runs, its tables name what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.compute import ComputeManagementClient

from vmss_sim.arm import control
from vmss_sim.arm.clock import Spent
from vmss_sim.arm.http import TOLD, WAITS
from vmss_sim.checks.emulated import Emulated

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "emulate.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_session_runs(tmp_path: Path) -> None:
    (session,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "HOME": str(tmp_path),
        "NO_PROXY": "localhost",
    }
    script = f"set -e\n{session}"
    ran = subprocess.run(
        ["sh", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["metrics"]["min_healthy"] == 8
    assert report["requests"]["changing"] == 2
    assert report["metrics"]["duration_s"] > 900
    for key in report:
        assert f"`{key}`" in PAGE, key
    for key in report["time"]:
        assert f"`{key}`" in PAGE or key == "clock", key


def test_the_python_of_the_control_endpoint_runs(
    vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lines,) = (one for one in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "control.snapshot()" in one)
    azure = vmss_emulator("two-vms", clock="manual")
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "docs/emulate.md", "exec"), {})  # the page's own lines
    header = json.loads((tmp_path / "before.jsonl").read_bytes().splitlines()[0])
    assert header["now_ms"] == 600_000
    (fault,) = azure.control.state()["sets"][0]["faults"]
    assert (fault["verdict"], fault["of"]) == ("fail", "upgrade")
    assert azure.control.state()["now_s"] == 600


def test_the_python_of_a_client_that_tells_every_wait_runs(vmss_emulator: Callable[..., Emulated]) -> None:
    (lines,) = (one for one in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if WAITS in one)
    azure = vmss_emulator("two-vms")
    given: dict[str, Any] = {"credential": azure.credential(), "subscription": azure.subscription}
    given |= {"options": azure.client_options, "ComputeManagementClient": ComputeManagementClient}
    exec(compile(lines, "docs/emulate.md", "exec"), given)  # the page's own lines
    restarts = given["client"].virtual_machine_scale_sets
    restarts.begin_restart(azure.group, azure.name, polling=False)
    (seen,) = azure.control.trace()
    assert seen["request_headers"][WAITS] == TOLD
    assert "retry-after" not in seen["headers"]


def test_every_request_of_the_control_endpoint_is_told() -> None:
    for method, name in control._TABLE:
        assert f"{method} {name}" in PAGE, name
        assert f"{method} {name}" in (control.__doc__ or ""), name
    assert set(Spent().__struct_fields__) == {
        f"{name}_ms" for name in ("polls", "declared", "work", "undeclared", "run_on", "uncounted", "excess")
    }


def test_the_client_knows_every_request() -> None:
    from vmss_sim.arm.client import Control

    for _, name in control._TABLE:
        assert hasattr(Control, name.replace("-", "_")), name
