"""`apply` over the real Azure backend, against an ARM server on loopback: carried out, killed at every write, gone on with.

The emulator lives in this process and keeps manual time: it passes only while an executor sleeps, and while nobody is there.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.store.files import FileStore
from planner.change import ImageChange
from planner.commands import Kind
from planner.phases import Phase
from planner.plan import Request, build
from planner.planfile import encode
from planner.trace import Turn
from tests.loopback import Started, start
from tests.loopback_process import over_azure
from vmss_sim.checks.emulated import Emulated

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
SCENARIO = """
title = "Four, with everything that is to be put back"
why = "Mode and repairs are changed for the time of a rollout; they have to be as before, whoever was killed."

[scale_set]
instances = 4
health = "extension"
upgrade_mode = "rolling"
repairs = { grace = "10m", action = "replace" }

[change]
version = "22.04.202606010"

[failures]
upgrade = 0.0

[load]
required = "50%"
"""


class Site:
    """An emulator, a plan for its set as the backend saw it, and a store."""

    def __init__(self, azure: Emulated, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.azure, self.folder = azure, folder
        self.environment = {
            "EMULATOR_CONTROL": str(azure.http_url),
            "EMULATOR_TOKEN": azure.token,
            "EMULATOR_CA": azure.ca,
            "EMULATOR_SET": azure.id,
        }
        backend = over_azure(None, azure.url, self.environment)
        seen = backend.snapshot().scale_set
        backend.close()
        request = Request(
            scale_set=seen,
            change=ImageChange(version="22.04.202606010"),
            strategy="batch",
            parameters={"size": 2, "retries": 1},
            floor=2,
        )
        self.plan = build(request)
        self.file = folder / "plan.json"
        self.file.write_bytes(encode(self.plan))
        self.store = FileStore(folder / "store")

    def apply(self, **more: str) -> Started:
        arguments = ("apply", str(self.file), "--yes", "--store", self.store.name)
        return start(self.azure.url, *arguments, **self.environment, **more)

    @property
    def world(self) -> Any:
        return self.azure.emulator.measured_set.world

    def left(self) -> dict[str, Any]:
        """What is left, by the world itself."""
        world = self.world
        return {
            "vms": {vm.id: (vm.vm_id, vm.image, world.is_latest(vm), world.serving(vm)) for vm in world.vms.values()},
            "mode": world.mode,
            "repairs": world.repairs_suspended,
            "model": world.model,
        }

    def begun(self) -> Counter[str]:
        """How many operations really began on each VM."""
        return Counter({vm.id: vm.attempt for vm in self.world.vms.values()})

    def records(self) -> list[Any]:
        return list(self.store.journal(self.store.rollouts()[-1].id).records())

    def state(self) -> Any:
        return self.store.journal(self.store.rollouts()[-1].id).last_state()


@pytest.fixture
def site(vmss_emulator: Callable[..., Emulated], tmp_path: Path) -> Callable[[str], Site]:
    scenario = tmp_path / "four.toml"
    scenario.write_text(SCENARIO)
    return lambda name: Site(vmss_emulator(str(scenario), clock="manual", http=True), tmp_path / name)


def in_order(here: Site) -> None:
    """The commands stand in the plan's order: repairs, mode, model, batch after batch, and back."""
    turns = [one for one in here.records() if isinstance(one, Turn)]
    kinds = list(dict.fromkeys(command.kind for one in turns for command in one.commands))  # one may be sent again
    assert kinds[:3] == [Kind.SUSPEND_REPAIRS, Kind.SET_MODE, Kind.UPDATE_MODEL]
    moved = [name for one in turns for command in one.commands for name in command.ids]
    order = [name for batch in here.plan.batches for name in batch.take]
    assert list(dict.fromkeys(moved)) == order


def test_apply_over_the_real_backend(site: Callable[[str], Site]) -> None:
    here = site("whole")
    before = (here.world.mode, here.world.repairs_suspended)
    code, out, err = here.apply().ended(120)
    assert code == 0, (out[-3000:], err)
    assert (here.world.mode, here.world.repairs_suspended) == before
    assert all(vm.image.exact == "22.04.202606010" for vm in here.world.vms.values())
    assert set(here.begun().values()) == {1}
    in_order(here)
    assert here.azure.report()["metrics"]["min_healthy"] >= 2


def survives(here: Site, kills: list[dict[str, str]], luck: random.Random, expected: dict[str, Any]) -> int:
    """Killed again and again, it comes to the same end. Returns how many kills hit."""
    hits = 0
    for kill in kills:
        code, _, err = here.apply(**kill).ended(120)
        if code != -signal.SIGKILL:
            assert code == 0, err
            break
        hits += 1
        here.azure.control.advance(luck.choice((0, luck.randint(1, 30), luck.randint(60, 1800))))
        if luck.random() < 0.5 and here.store.rollouts():  # another machine, with nothing but the store
            data = here.store.plan_file(here.store.rollouts()[-1].id)
            shutil.copytree(here.store.folder, here.folder / f"moved-{hits}")
            shutil.rmtree(here.store.folder)
            here.store = FileStore(here.folder / f"moved-{hits}")
            here.file.write_bytes(data)
    else:
        code, _, err = here.apply().ended(120)
        assert code == 0, err
    assert here.state().phase is Phase.ENDED
    assert here.state().ending == "finish", here.state().reason
    assert here.left() == expected
    assert set(here.begun().values()) == {1}, "no disruptive effect twice"
    in_order(here)
    assert here.azure.report()["metrics"]["min_healthy"] >= 2, "the floor"
    return hits


def test_killed_at_writes_and_at_other_times(site: Callable[[str], Site]) -> None:
    whole = site("whole")
    assert whole.apply().ended(120)[0] == 0
    expected, writes = whole.left(), len(whole.records())
    luck = random.Random(3)
    hits = story = 0
    while hits < (2_000 if SOAK else 60):
        story += 1
        kills = [
            {"KILL_AT_WRITE": str(luck.randint(1, writes))}
            if luck.random() < 0.8
            else {"KILL_AFTER_S": f"{luck.uniform(0.1, 1.5):.3f}"}
            for _ in range(luck.randint(4, 10))
        ]
        hits += survives(site(f"s{story}"), kills, luck, expected)
