"""The unattended story (`tests/test_story.py`) with nothing but the product's own parts: every command a process that a user could start, the real
Azure backend, HTTPS, a login, the emulator's clock. An agent and another machine share a store, and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from backends.approvals import valid
from backends.store import open_store
from backends.store.blobs import CONNECTION
from planner.planfile import decode
from tests.commands import Ran
from tests.fleet import Luck
from tests.test_store_blobs import azurite, needs_azurite
from vmss_sim.checks.emulated import Emulated

__all__ = ["azurite"]
OLD, NEW = "22.04.202604160", "22.04.202606010"
SIZE = 60
SCENARIO = f"""
title = "Sixty, one of which cannot live with the new image"
why = "A night without anybody: the agent dies, and somebody else comes."

[scale_set]
instances = {SIZE}
zones = 3
update_domains = 5
health = "extension"
repairs = {{ grace = "90m", action = "replace" }}
image = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts:{OLD}"

[change]
version = "{NEW}"

[timing]
upgrade = "2m"
ready = "20s"

[failures]
upgrade = 0.0
bad_image = {{ share = 0.5 }}  # whose: the test says

[platform]
reuse_ids = true

[load]
required = "50%"
"""
PLAN = (
    "plan snapshot.json -s batch -p batch.size=6 -p batch.max_failed=1 -p batch.retries=0 --author ann -n 5 --jobs 1 -o plan.json "
    f"--target {NEW} --window"
).split()
AGAIN_S = 3_600


class Machine:
    """A home of its own, a store, a login; `env.sh` of the emulator was read in its shell."""

    def __init__(self, folder: Path, azure: Emulated, store: str, more: dict[str, str]) -> None:
        folder.mkdir()
        self.folder, self.store = folder, store
        login = {"AZURE_TENANT_ID": azure.tenant, "AZURE_CLIENT_ID": "somebody", "AZURE_CLIENT_SECRET": "anything"}
        own = {"HOME": str(folder), "TMPDIR": str(folder), "NO_PROXY": "localhost,127.0.0.1", "COLUMNS": "200"}
        self.environment = {"PATH": os.environ["PATH"], **own, **login, **azure.environment, **more}

    def begins(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "vmss_sim", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self, *arguments: str) -> Ran:
        process = self.begins(*arguments)
        out, err = process.communicate(timeout=180)
        assert "Traceback" not in err, err
        return Ran(process.returncode, out, err)

    def keeps(self, *arguments: str) -> Ran:
        """The same, of what needs the store."""
        return self.runs(*arguments, "--store", self.store)


@pytest.fixture(params=["file", pytest.param("azblob", marks=needs_azurite)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """What the machines share: a folder, or a container."""
    if request.param == "file":
        yield f"file:{tmp_path / 'shared'}", {}
        return
    from azure.storage.blob import ContainerClient

    connection = request.getfixturevalue("azurite")
    with ContainerClient.from_connection_string(connection, "the-story") as container:
        container.create_container()
        yield "azblob://devstoreaccount1/the-story", {CONNECTION: connection}


def test_the_unattended_story_over_the_real_backend(
    vmss_emulator: Callable[..., Emulated],
    store: tuple[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sixty.toml").write_text(SCENARIO)
    azure = vmss_emulator(str(tmp_path / "sixty.toml"))
    world: Any = azure.emulator.measured_set.world
    world.draws = Luck(SIZE)
    name, more = store
    for variable, value in more.items():
        monkeypatch.setenv(variable, value)
    agent = Machine(tmp_path / "agent", azure, name, more)
    there = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")

    # Planned at 60 instances, approved by somebody else than its author. It is Thursday there, 2026-01-01T00:00Z.
    assert agent.runs("snapshot", "--scale-set", azure.id, "-o", "snapshot.json", *there).status == 0
    planned = agent.runs(*PLAN, "Thu 01:00-06:00 UTC")
    assert planned.status == 0, planned
    plan = decode((agent.folder / "plan.json").read_bytes(), "plan.json").plan
    assert len(plan.scale_set.instances) == SIZE
    assert agent.keeps("approve", "plan.json", "--by", "ann").status == 2
    assert agent.keeps("approve", "plan.json", "--by", "bob", "--expires", "72h", "--reason", "change 4711").status == 0
    order = [one for batch in plan.batches for one in batch.take]
    sick, replaced = plan.batches[3].take[2], order[-1]
    world.draws.bad = (world.vms[sick].slot,)

    # Meanwhile one VM is replaced under its old id, and the set is scaled to 63.
    before = world.vms[replaced].vm_id
    _asks(azure, "DELETE", f"/virtualMachines/{replaced}")
    azure.control.run_until_idle()
    _asks(azure, "PATCH", "", {"sku": {"capacity": SIZE + 3}})
    azure.control.run_until_idle()
    assert len(world.vms) == SIZE + 3
    assert world.vms[replaced].vm_id != before

    # Applied in a window: before it opens nothing is sent, and the pipeline comes again.
    changed: list[Any] = []
    azure.emulator.progress = lambda request, _response, _now: changed.append(request)
    arguments = ("apply", "plan.json", "--yes", "--require-approvals", "1", "--store", name, *there)
    ran = agent.runs(*arguments)
    assert ran.status == 3, ran
    told = " ".join(ran.out.split())
    assert f"absorb replaced: instance {replaced}" in told, told
    assert "note capacity: instance count: found 63, the plan saw 60" in told
    assert sum(f"absorb new: instance {one}" in told for one in ("60", "61", "62")) == 3
    assert not changed
    azure.control.advance(AGAIN_S)

    # The fourth batch has a VM that stays sick; the agent is killed while that batch is on its way.
    process = agent.begins(*arguments)

    def kills(request: Any, _response: Any, _now: int) -> None:
        changed.append(request)
        if sick in _upgraded(request):
            process.kill()

    azure.emulator.progress = kills
    out, err = process.communicate(timeout=180)
    assert process.returncode == -signal.SIGKILL, (out[-2000:], err)
    azure.control.advance(20 * 60)
    (agent.folder / "plan.json").rename(tmp_path / "plan.json")

    # Another machine has the plan, a login and the store, and looks.
    desk = Machine(tmp_path / "desk", azure, name, more)
    (tmp_path / "plan.json").rename(desk.folder / "plan.json")
    ran = desk.keeps("status", "plan.json")
    assert ran.status == 0, ran
    seen = _status(desk)
    rollout = seen["rollout"]
    assert seen["executor"]["alive"] is False
    assert seen["above_floor"] is True
    assert seen["temporary_changes"] == ["automatic repairs are suspended"]
    assert f"vmss-sim resume {rollout} --store {name}" in [one["command"] for one in seen["choices"]]

    # It skips the sick one and goes on: to the end, in the same window.
    assert desk.keeps("skip", "plan.json", sick, "--reason", "its disk is full, ticket 99").status == 0
    ran = desk.keeps("resume", "plan.json", "--yes")
    assert ran.status == 5, ran
    seen = _status(desk)
    assert seen["instances"] == {
        "total": 63, "on_target": 62, "old": 0, "in_flight": 0, "failed": 0, "skipped": 1,
    }  # fmt: skip
    assert seen["skipped"] == [sick]
    assert seen["temporary_changes"] == []
    assert not world.repairs_suspended
    assert {vm.id for vm in world.vms.values() if not world.serving(vm)} == {sick}
    assert all(vm.image.exact == NEW for vm in world.vms.values())
    upgraded = [one for request in changed for one in _upgraded(request)]
    assert sorted(upgraded) == sorted(world.vms), "each once, none twice"
    report = azure.report()
    assert report["refused"] is None, "every wait was told to the emulator's clock"
    assert report["metrics"]["min_healthy"] >= plan.floor.absolute

    # The approval still counts, and the post-mortem says who and why.
    kept = open_store(name)
    (approval,) = valid(kept, decode(kept.plan_file(rollout), ""))
    assert approval.approver == "bob"
    told = desk.keeps("history", "plan.json", "--format", "md").out
    for word in ("ticket 99", "skip", "appended", "fewest in service, as seen", "correlation-request-id"):
        assert word in told, word


def _status(desk: Machine) -> Any:
    return json.loads(desk.keeps("status", "plan.json", "--json").out)


def _upgraded(request: Any) -> list[str]:
    """The instances that a request upgrades."""
    return json.loads(request.body)["instanceIds"] if request.path.lower().endswith("/manualupgrade") else []  # type: ignore[no-any-return]


def _asks(azure: Emulated, method: str, tail: str, body: Any = None) -> None:
    """A colleague's request."""
    answer = requests.request(
        method,
        f"{azure.url}{azure.id}{tail}",
        params={"api-version": "2024-07-01"},
        json=body,
        headers={"Authorization": "Bearer any"},
        verify=azure.ca,
        timeout=60,
    )
    assert answer.status_code < 300, answer.text
