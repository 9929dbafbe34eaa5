"""`apply` over the real Azure backend, against an ARM server on loopback (killed and gone on with: `tests/kills`).

The emulator lives in this process and keeps manual time: it passes only while an executor sleeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.store.files import FileStore
from planner.build import Request, build
from planner.change import ImageChange
from planner.commands import Kind
from planner.planfile import encode
from planner.trace import Turn
from tests.loopback import Started, start
from tests.loopback_process import over_azure
from vmss_sim.checks.emulated import Emulated

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

    def begun(self) -> Counter[str]:
        """How many operations really began on each VM."""
        return Counter({vm.id: vm.attempt for vm in self.world.vms.values()})

    def records(self) -> list[Any]:
        return list(self.store.journal(self.store.rollouts()[-1].id).records())


@pytest.fixture
def site(vmss_emulator: Callable[..., Emulated], tmp_path: Path) -> Callable[[str], Site]:
    scenario = tmp_path / "four.toml"
    scenario.write_text(SCENARIO)
    return lambda name: Site(vmss_emulator(str(scenario), clock="manual", http=True), tmp_path / name)


def in_order(here: Site) -> None:
    """The commands stand in the plan's order: repairs, mode, model, batch after batch, and back."""
    turns = [one for one in here.records() if isinstance(one, Turn)]
    kinds = [command.kind for one in turns for command in one.commands]
    assert kinds[:3] == [Kind.SUSPEND_REPAIRS, Kind.SET_MODE, Kind.UPDATE_MODEL]
    moved = [name for one in turns for command in one.commands for name in command.ids]
    order = [name for batch in here.plan.batches for name in batch.take]
    assert list(dict.fromkeys(moved)) == order


def test_apply_over_the_real_backend(site: Callable[[str], Site]) -> None:
    here = site("whole")
    before = (here.world.mode, here.world.repairs_suspended)
    code, out, err = here.apply().ended()
    assert code == 0, (out[-3000:], err)
    assert (here.world.mode, here.world.repairs_suspended) == before
    assert all(vm.image.exact == "22.04.202606010" for vm in here.world.vms.values())
    assert set(here.begun().values()) == {1}
    in_order(here)
    assert here.azure.report()["metrics"]["min_healthy"] >= 2
