"""One plan file carried out twice by the command: over HTTPS by the emulator, and in the simulated world with the same luck.

Both are `vmss-sim apply`: front door, store, lease, journal and executor are the product's own; only the world behind differs. The simulated one
is told its dates from the day on which emulated worlds begin, and looks when the Azure backend polls.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import tomlkit

from backends.emulator_clock import BEGINS_MS
from backends.protocol import Seen, Wait
from backends.schedule import ADAPTIVE
from backends.simulated import SimulatedBackend
from backends.store.files import FileStore
from planner.buckets import Memory
from planner.commands import Command
from planner.model import RollingUpgrade
from planner.rollout import State
from planner.trace import Turn
from scenarios.build import Setup, build_world, setup
from scenarios.files import load
from tests.commands import Ran, vmss_sim
from vmss_sim.checks.emulated import Emulated

_replace = msgspec.structs.replace


class Story(NamedTuple):
    """What an apply came to: exit status, commands with their times, where the rollout stands; said: what a person was told."""

    status: int
    commands: tuple[tuple[int, Command], ...]
    state: State
    said: str

    @property
    def decisions(self) -> tuple[Any, ...]:
        """What was done, in order, and how it ended; no times."""
        commands = tuple(command for _, command in self.commands)
        return commands, self.status, self.state.phase, self.state.ending, self.state.reason

    @property
    def remembered(self) -> dict[str, Memory]:
        """What came of each instance; no times."""
        memory = self.state.memory.items()
        return {name: _replace(one, ended_ms=None if one.ended_ms is None else 0) for name, one in memory}


def dated(ms: int | None, by: int) -> int | None:
    return None if ms is None else ms + by


class Dated:
    """A simulated backend whose time 0 is the day on which emulated worlds begin."""

    def __init__(self, inner: SimulatedBackend) -> None:
        self.inner, self.submit, self.adopt = inner, inner.submit, inner.adopt

    def observe(self) -> Seen:
        seen = self.inner.observe()
        rollout: RollingUpgrade | None = seen.scale_set.rolling_upgrade
        if rollout is not None:
            started, ended = dated(rollout.started_ms, BEGINS_MS), dated(rollout.ended_ms, BEGINS_MS)
            rollout = _replace(rollout, started_ms=started, ended_ms=ended)
        scale_set = _replace(seen.scale_set, rolling_upgrade=rollout)
        return _replace(seen, now_ms=seen.now_ms + BEGINS_MS, scale_set=scale_set)

    def wait(self, wait: Wait) -> bool:
        until, began = dated(wait.until_ms, -BEGINS_MS), dated(wait.began_ms, -BEGINS_MS)
        return self.inner.wait(_replace(wait, until_ms=until, began_ms=began))


class Rehearsal:
    """A scenario's set behind an emulator, its snapshot, and the scenario said of that."""

    def __init__(self, azure: Emulated, scenario: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.azure, self.scenario, self.folder, self._monkeypatch = azure, scenario, folder, monkeypatch
        folder.mkdir(parents=True, exist_ok=True)
        login = {"AZURE_TENANT_ID": azure.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "any"}
        for name, value in (azure.environment | login).items():
            monkeypatch.setenv(name, value)
        self.reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
        self.mine, self.plan = folder / "mine.toml", folder / "plan.json"
        done(vmss_sim("snapshot", "--scale-set", azure.id, "-o", str(folder / "snapshot.json"), *self.reach))
        table = tomlkit.parse(scenario.read_text())
        table["scale_set"] = {"from": "snapshot.json"}
        table.pop("expect", None)
        self.mine.write_text(tomlkit.dumps(table))

    def planned(self, *arguments: str) -> Ran:
        """The plan file of `vmss-sim plan` with these arguments."""
        return vmss_sim("plan", str(self.mine), *arguments, "--no-forecast", "--author", "ann", "-o", str(self.plan))

    def emulated(self) -> Story:
        """`vmss-sim apply` against the emulator."""
        return self._applied("emulated", *self.reach)

    def simulated(self) -> Story:
        """The same file, in the world that the emulator had at its start."""
        given = load(self.scenario)
        whole = setup(given, self.scenario.parent, str(self.scenario))
        world = build_world(_replace(whole, world=self.azure.emulator.measured_set.world.config), 1, 0)
        inner = SimulatedBackend(world, self._observed(), schedule=ADAPTIVE)
        with self._monkeypatch.context() as patch:
            patch.setattr("backends.connect.open_backend", lambda _plan, _options: Dated(inner))
            return self._applied("simulated")

    def _observed(self) -> Any:
        found: Setup = setup(load(self.mine), self.folder, str(self.mine))
        return found.observed

    def _applied(self, name: str, *more: str) -> Story:
        store = self.folder / name
        ran = vmss_sim("apply", str(self.plan), "--yes", "--store", f"file:{store}", "--log-format", "json", *more)
        return story(ran, FileStore(store))


def done(ran: Ran) -> Ran:
    assert ran.status == 0, ran
    return ran


def story(ran: Ran, store: FileStore) -> Story:
    """What the newest rollout's journal tells."""
    assert store.rollouts(), ran
    journal = store.journal(store.rollouts()[-1].id)
    turns = [record for record in journal.records() if isinstance(record, Turn)]
    state = journal.last_state()
    assert state is not None
    return Story(
        status=ran.status,
        commands=tuple((turn.now_ms, command) for turn in turns for command in turn.commands),
        state=state,
        said=ran.err,
    )
