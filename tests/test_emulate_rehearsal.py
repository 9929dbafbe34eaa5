"""What the emulator prints for vmss-sim itself, pasted as it stands: a rehearsal of snapshot, plan and apply with a report that has figures."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_apply_emulated import SCENARIO
from vmss_sim.checks.emulated import Emulated


def _printed(azure: Emulated, client: str) -> tuple[str, ...]:
    (found,) = (one for one in azure.session.blocks() if one.client.startswith(client))
    return found.lines


@pytest.mark.skipif(os.name != "posix", reason="the printed lines are for a POSIX shell")
def test_what_is_printed_for_vmss_sim_rehearses_a_rollout(
    vmss_emulator: Callable[..., Emulated], tmp_path: Path
) -> None:
    (tmp_path / "four.toml").write_text(SCENARIO)
    azure = vmss_emulator(str(tmp_path / "four.toml"))
    lines = [*_printed(azure, "any client"), *_printed(azure, "vmss-sim")]
    assert [shlex.split(line)[1] for line in lines if line.startswith("vmss-sim ")] == ["snapshot", "plan", "apply"]
    # what a person would answer or choose, and nothing else, is added
    lines = [line + " -n 5 --jobs 1" if line.startswith("vmss-sim plan") else line for line in lines]
    lines = [line + " --yes" if line.startswith("vmss-sim apply") else line for line in lines]
    bare = {"HOME": str(tmp_path), "NO_PROXY": "localhost", "XDG_STATE_HOME": str(tmp_path / "state")}
    bare["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", "\n".join(["set -e", *lines])],
        env=bare,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, (ran.stdout[-2000:], ran.stderr[-2000:])
    assert json.loads((tmp_path / "snapshot.json").read_text())
    assert not (tmp_path / "state").exists(), "a rehearsal stays out of the user's own store"
    report = azure.report()
    assert report["refused"] is None
    assert report["complete"]
    assert report["metrics"]["min_healthy"] >= 2
    assert report["time"]["declared_s"] > 60, "its waiting was told to the emulator's clock"
    assert report["time"]["work_s"] < report["time"]["declared_s"]
    assert report["instances"]["latest_model"] == 4
