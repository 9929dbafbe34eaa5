"""docs/operate.md is true: its commands run as they stand, over the real Azure backend and the emulator."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from backends.azure.snapshot import snapshot
from backends.hooks import OF_RULE
from tests.commands import vmss_sim
from tests.loopback_process import Unasked, over_azure
from tests.test_apply_emulated import SCENARIO
from vmss_sim.checks.emulated import Emulated

PAGE = (Path(__file__).parent.parent / "docs" / "operate.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def test_every_command_of_the_page_runs(
    vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "four.toml").write_text(SCENARIO)
    azure = vmss_emulator(str(tmp_path / "four.toml"), clock="manual", http=True)
    environment = {
        "EMULATOR_CONTROL": str(azure.http_url),
        "EMULATOR_TOKEN": azure.token,
        "EMULATOR_CA": azure.ca,
        "EMULATOR_SET": azure.id,
    }
    backend = over_azure(None, azure.url, environment)
    monkeypatch.chdir(tmp_path)
    Path("snapshot.json").write_bytes(msgspec.json.encode(snapshot(backend.documents())))
    backend.close()
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}/store")
    monkeypatch.setattr(
        "backends.connect.open_backend", lambda plan, _options: Unasked(over_azure(plan, azure.url, environment))
    )
    ran_all = {}
    for line in commands():
        command, _, expected = line.partition("  # exit status ")
        name, *arguments = shlex.split(command)
        assert name == "vmss-sim"
        more = ["-n", "6", "--jobs", "1"] if arguments[0] == "plan" else []
        ran = vmss_sim(*arguments, *more)
        assert ran.status == int(expected or 0), (command, ran)
        ran_all[line] = ran
    assert len(ran_all) >= 15
    told = json.loads(ran_all["vmss-sim status --json"].out)
    assert told["state"] == "paused"
    assert told["temporary_changes"]
    assert "ticket 99" in Path("post-mortem.md").read_text()
    for name in ("post-mortem.md", "post-mortem.html"):
        told = Path(name).read_text()
        for word in ("request-id=", "correlation-request-id=", "operation-id="):
            assert word in told, (name, word)
    assert azure.report()["metrics"]["min_healthy"] >= 2


def test_the_page_names_every_event() -> None:
    for event in {*OF_RULE.values(), "rollout-begun", "batch-begun"}:
        assert f"`{event}`" in PAGE, event
