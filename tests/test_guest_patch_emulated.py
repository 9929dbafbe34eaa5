"""A patch inside the VMs, from the command line to the last VM: planned from a snapshot, approved, applied over the real Azure backend against the
emulator, stopped by a script that fails, taken back by its undo, killed and gone on with. No VM runs a script twice without need.
"""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.azure.snapshot import snapshot
from backends.store.files import FileStore
from planner.change import GuestPatch
from planner.commands import Kind, Status
from planner.errors import InputError
from planner.phases import Phase
from planner.planfile import decode
from planner.trace import Turn
from scenarios.surroundings import faults
from tests.commands import Ran, vmss_sim
from tests.loopback import Started, start
from tests.loopback_process import Unasked, over_azure
from tests.rehearsal import done
from vmss_sim.checks.emulated import Emulated

SCENARIO = """
title = "Six VMs to be patched inside"
why = "The model is not touched, so nothing but the executor's evidence says which of them have it."

[scale_set]
instances = 6
health = "extension"
upgrade_mode = "rolling"
repairs = true

[change]
guest = { script = "any", undo = "any" }

[load]
required = 4
"""
PATCH, UNDO = "#!/bin/sh\necho 'patched' > /etc/patched\n", "rm -f /etc/patched\n"


class Site:
    """An emulator, and the commands against it: `vmss-sim` in this process, or killed in one of its own."""

    def __init__(self, azure: Emulated, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.azure, self.folder = azure, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "EMULATOR_CONTROL": str(azure.http_url),
            "EMULATOR_TOKEN": azure.token,
            "EMULATOR_CA": azure.ca,
            "EMULATOR_SET": azure.id,
        }
        self.file, self.store = folder / "plan.json", f"file:{folder}/store"
        monkeypatch.setattr(
            "backends.connect.open_backend",
            lambda plan, _options: Unasked(over_azure(plan, azure.url, self.environment)),
        )

    def plan(self, *more: str, undo: bool = True) -> Ran:
        """`vmss-sim plan` from a snapshot, two at a time, a floor of four."""
        backend = over_azure(None, self.azure.url, self.environment)
        (self.folder / "snapshot.json").write_bytes(msgspec.json.encode(snapshot(backend.documents(scripts=True))))
        backend.close()
        (self.folder / "patch.sh").write_text(PATCH)
        (self.folder / "undo.sh").write_text(UNDO)
        said = ["--run-command", str(self.folder / "patch.sh")]
        said += ["--undo", str(self.folder / "undo.sh")] if undo else []
        arguments = ["-s", "batch", "-p", "batch.size=2", "--slo", "healthy >= 4", "--author", "ann", "--no-forecast"]
        return vmss_sim(
            "plan", str(self.folder / "snapshot.json"), *said, *arguments, *more, "--force", "-o", str(self.file)
        )

    def says(self, name: str, *arguments: str) -> Ran:
        """Another command about the rollout."""
        return vmss_sim(name, *arguments, "--store", self.store)

    def apply(self, *more: str) -> Ran:
        return self.says("apply", str(self.file), "--yes", *more)

    def started(self, *arguments: str, **more: str) -> Started:
        return start(self.azure.url, *arguments, "--store", self.store, **self.environment, **more)

    @property
    def name(self) -> str:
        """The run-command's."""
        found = decode(self.file.read_bytes(), "plan").plan.resolved.target.run_command
        assert found is not None
        return found

    def asked(self) -> list[Any]:
        """Every exchange."""
        return [one for one in self.azure.control.trace() if "url" in one]

    def puts(self) -> Counter[tuple[str, str]]:
        """How often each run-command was put to each instance."""
        seen: Counter[tuple[str, str]] = Counter()
        for one in self.asked():
            path = one["url"].partition("?")[0].split("/")
            if one["method"] == "PUT" and "runcommands" in [part.lower() for part in path]:
                seen[path[-3], path[-1]] += 1
        return seen

    def once(self) -> None:
        """No script ran twice in a VM, and none was sent twice. One that runs already is sent again only where nobody had answered for it: of the
        same name and content, Azure does not run it again.
        """
        assert {vm.id: vm.attempt for vm in self.azure.emulator.measured_set.world.vms.values()} == {
            str(one): 1 for one in range(6)
        }
        commands = [one for turn in self.turns() for one in turn.commands if one.kind is Kind.RUN_COMMAND]
        answered = {one.command for turn in self.turns() for one in turn.outcomes if one.status is not Status.UNKNOWN}
        assert len({one.script for one in commands}) == 1
        for (vm, _), puts in self.puts().items():
            wanted = [one.id for one in commands if vm in one.ids]
            assert puts <= len(wanted), f"{vm} was sent the script {puts} times, for {wanted}"
            assert not answered & set(wanted[:-1]), f"{vm} was sent the script again, though {wanted} were answered for"

    def written(self) -> list[tuple[str, str]]:
        """Which script was sent to which instance, in the last rollout; no trace shows one."""
        commands = [one for turn in self.turns() for one in turn.commands if one.kind is Kind.RUN_COMMAND]
        return [(name, one.script or "") for one in commands for name in one.ids]

    def patches(self) -> list[Any]:
        """What changed the model."""
        found = [one["request_body"] for one in self.asked() if one["method"] == "PATCH"]
        return [one for one in found if list(one.get("properties", {})) != ["upgradePolicy"]]

    def turns(self) -> list[Turn]:
        store = FileStore(self.folder / "store")
        records = store.journal(store.rollouts()[-1].id).records()
        return [one for one in records if isinstance(one, Turn)]

    def state(self) -> Any:
        store = FileStore(self.folder / "store")
        return store.journal(store.rollouts()[-1].id).last_state()


@pytest.fixture
def site(
    vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Site]:
    scenario = tmp_path / "six.toml"
    scenario.write_text(SCENARIO)
    return lambda name: Site(vmss_emulator(str(scenario), clock="manual", http=True), tmp_path / name, monkeypatch)


def test_planned_approved_and_applied(site: Callable[[str], Site]) -> None:
    here = site("whole")
    shown = done(here.plan())
    assert "script | echo 'patched' > /etc/patched" in shown.out
    assert "undo | rm -f /etc/patched" in shown.out
    change = decode(here.file.read_bytes(), "plan").plan.resolved.change
    assert change == GuestPatch(script=PATCH, undo=UNDO)
    assert here.apply("--require-approvals", "1").status == 2
    done(here.says("approve", str(here.file), "--by", "bob"))
    done(here.apply("--require-approvals", "1"))
    assert here.puts() == Counter({(str(one), here.name): 1 for one in range(6)})
    assert not here.patches()
    told = json.loads(done(here.says("status", "--json")).out)
    assert told["state"] == "finish"
    assert told["instances"]["on_target"] == 6
    assert here.azure.report()["metrics"]["min_healthy"] >= 4
    assert "run-command" in done(here.says("history", "--format", "md")).out


@pytest.mark.parametrize("mode", ["automatic", "rolling"])
def test_the_mode_stays_as_it_is_since_no_model_is_touched(
    mode: str, vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "six.toml"
    scenario.write_text(SCENARIO.replace('"rolling"', f'"{mode}"'))
    here = Site(vmss_emulator(str(scenario), clock="manual", http=True), tmp_path / "site", monkeypatch)
    done(here.plan("--forecast", "-n", "5"))
    done(here.apply())
    assert sum(here.puts().values()) == 6
    assert not [one for one in here.asked() if one["method"] == "PATCH"]
    services = [one["url"] for one in here.asked() if "setOrchestrationServiceState" in one["url"]]
    assert len(services) == 2, "repairs would put a VM without the patch in the place of one that it keeps busy"


def test_a_script_that_fails_stops_the_rollout_at_its_batch(site: Callable[[str], Site]) -> None:
    here = site("stops")
    done(here.plan("-p", "batch.retries=0"))
    here.azure.control.faults([{"verdict": "fail", "of": "run-command", "first": 5, "last": 5, "code": "ScriptFailed"}])
    ran = here.apply()
    assert ran.status == 1, ran
    assert sum(here.puts().values()) == 4, "the third batch is never begun"
    told = done(here.says("status")).out
    assert "ScriptFailed" in told
    assert "ScriptFailed" in done(here.says("history", "--format", "md")).out


def test_what_a_script_exits_with_and_says_is_told(site: Callable[[str], Site]) -> None:
    here = site("exits")
    done(here.plan("-p", "batch.retries=0"))
    fault = {"verdict": "fail", "of": "run-command", "first": 5, "last": 5, "exit_code": 3, "output": "disk full"}
    here.azure.control.faults([fault])
    assert here.apply().status == 1
    told = done(here.says("status")).out
    assert "The script exited with 3: disk full" in " ".join(told.split()), told
    for one in here.asked():
        for each in one.get("body", {}).get("value", ()) if isinstance(one.get("body"), dict) else ():
            view = each.get("properties", {}).get("instanceView", {}) if "runCommands" in one["url"] else {}
            if view.get("executionState") == "Failed":
                assert (view["exitCode"], view["error"]) == (3, "disk full")
                return
    raise AssertionError("no look showed it")


def test_a_script_that_failed_is_tried_again_with_another_content(site: Callable[[str], Site]) -> None:
    """Azure, and so the emulator, does not run one of the same name and content again."""
    here = site("again")
    done(here.plan("-p", "batch.retries=1"))
    here.azure.control.faults([{"verdict": "fail", "of": "run-command", "first": 5, "last": 5, "code": "ScriptFailed"}])
    done(here.apply())
    assert sorted(here.puts().values()) == [1, 1, 1, 1, 1, 2]
    world = here.azure.emulator.measured_set.world
    assert all(vm.commands == (here.name,) for vm in world.vms.values())
    scripts = {command.script for turn in here.turns() for command in turn.commands if command.kind is Kind.RUN_COMMAND}
    assert scripts == {PATCH, PATCH + "\n# try 2\n"}


def test_a_script_that_fails_is_taken_back_by_the_undo(site: Callable[[str], Site]) -> None:
    here = site("back")
    done(here.plan("-p", "batch.retries=0", "-p", "batch.on_failure=rollback-all"))
    here.azure.control.faults([{"verdict": "fail", "of": "run-command", "first": 5, "last": 5, "code": "ScriptFailed"}])
    ran = here.apply()
    assert ran.status == 1, ran
    assert here.state().ending == "rollback"
    patched = {vm for vm, script in here.written() if script == PATCH}
    assert len(patched) == 4
    assert {vm for vm, script in here.written() if script == UNDO} == patched, "also where it failed half-way"
    assert here.puts() == Counter({(vm, here.name): 2 for vm in patched}), "one name, so that the content tells"


def test_an_operator_rolls_it_back(site: Callable[[str], Site]) -> None:
    here = site("operator")
    done(here.plan("-p", "batch.approve=true"))
    assert here.apply().status == 3
    done(here.says("approve", str(here.file), "--by", "bob", "--reason", "the first two are well"))
    assert here.says("resume", "--yes").status == 3
    told = done(here.says("status")).out
    assert "rollback" in told
    assert here.says("rollback", "--yes", "--reason", "it breaks logins").status == 1
    assert here.state().ending == "rollback"
    order = [name for batch in decode(here.file.read_bytes(), "plan").plan.batches for name in batch.take]
    undone = [vm for vm, script in here.written() if script == UNDO]
    assert sorted(undone) == sorted(vm for vm, script in here.written() if script == PATCH)
    assert 0 < len(undone) < len(order)
    assert "it breaks logins" in done(here.says("history", "--format", "md")).out
    told = json.loads(done(here.says("status", "--json")).out)
    assert (told["instances"]["on_target"], told["instances"]["old"]) == (0, 6), "all are as they were before"
    assert "the target" not in done(here.says("status")).out
    here.apply("--again")
    assert here.says("resume", "--yes").status == 3
    ran = {vm for vm, script in here.written() if script == PATCH}
    assert ran >= set(undone), "what was undone does not count as done"


def test_who_has_it_is_known_when_it_is_planned(site: Callable[[str], Site]) -> None:
    here = site("again-planned")
    done(here.plan("-p", "batch.retries=1"))
    here.azure.control.faults([{"verdict": "fail", "of": "run-command", "first": 5, "last": 5, "code": "ScriptFailed"}])
    done(here.apply())
    ran = done(here.plan())
    assert decode(here.file.read_bytes(), "plan").plan.batches == (), ran.out


def test_without_an_undo_there_is_no_way_back_and_that_is_said(site: Callable[[str], Site]) -> None:
    here = site("no-undo")
    ran = done(here.plan(undo=False))
    assert "VS324" in ran.out
    assert "no undo" in ran.out


def test_killed_and_gone_on_with_no_script_runs_twice(site: Callable[[str], Site]) -> None:
    luck, hits = random.Random(5), 0
    for story in range(3):
        here = site(f"killed-{story}")
        done(here.plan())
        for _ in range(4):
            code, _, err = here.started(
                "apply", str(here.file), "--yes", KILL_AT_WRITE=str(luck.randint(3, 24))
            ).ended()
            if code != -signal.SIGKILL:
                assert code == 0, err
                break
            hits += 1
            here.azure.control.advance(luck.choice((0, luck.randint(1, 30), luck.randint(60, 600))))
        else:
            code, _, err = here.started("apply", str(here.file), "--yes").ended()
            assert code == 0, err
        assert (here.state().phase, here.state().ending) == (Phase.ENDED, "finish")
        here.once()
        assert here.azure.report()["metrics"]["min_healthy"] >= 4
    assert hits >= 6


def test_a_script_that_is_sent_again_is_noticed_though_it_does_not_run(site: Callable[[str], Site]) -> None:
    here = site("again")
    done(here.plan())
    code, _, err = here.started("apply", str(here.file), "--yes", KILL_AT_WRITE="12").ended()
    assert code == -signal.SIGKILL, err
    code, _, err = here.started("apply", str(here.file), "--yes", PLANTED="sends_again").ended()
    assert code == 0, err
    with pytest.raises(AssertionError, match="was sent the script 2 times"):
        here.once()


@pytest.mark.parametrize(
    "table",
    [
        {"verdict": "refuse", "of": "run-command", "exit_code": 3},
        {"verdict": "fail", "of": "upgrade", "output": "disk full"},
    ],
)
def test_only_a_run_command_that_fails_exits_with_a_code(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="only a run-command that fails exits with a code"):
        faults([table], "fault")
