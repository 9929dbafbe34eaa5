"""What could not begin is told from a rollout that failed: exit status 2, one line, nothing sent, whoever's fault it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.store.files import FileStore
from planner.errors import PlatformError
from tests.commands import Ran, vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=2), parameters={"approve": True}, more={"author": "ann"})
NO_STORE = PlatformError("StoreUnreachable", "azblob://acc/c does not answer")
NO_AZURE = PlatformError("Unreachable", "the scale set cannot be read: management.azure.com does not answer")

COMMANDS: dict[str, tuple[str, ...]] = {
    "apply": ("PLAN", "--yes"),
    "recover": ("PLAN", "--yes"),
    "approve": ("PLAN", "--by", "bob"),
    "status": (),
    "status --all": ("--json",),
    "history": (),
    "trace": (),
    "pause": (),
    "resume": ("--yes",),
    "abort": ("--yes",),
    "rollback": ("--yes",),
    "release": ("--yes",),
    "retry": ("web", "0"),
    "skip": ("web", "0", "--reason", "r"),
    "replace": ("web", "0", "--reason", "r"),
}
"""Every command that opens a store, with what it needs."""


def given(here: Desk, command: str) -> Ran:
    words = (str(here.file) if one == "PLAN" else one for one in COMMANDS[command])
    return vmss_sim(*command.split(), *words)


def refused(ran: Ran, words: str) -> None:
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert words in ran.err


def test_every_command_that_opens_a_store_is_here() -> None:
    from typer.main import get_command

    from vmss_sim.cli.main import app

    found = {
        name
        for name, one in get_command(app).commands.items()  # type: ignore[attr-defined]
        if any("--store" in option.opts for option in one.params)
    }
    assert found == {name.partition(" ")[0] for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_does_not_answer(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    here = desk(CASE)

    def silent(*_: Any) -> Any:
        raise NO_STORE

    for name in ("rollouts", "approve", "approvals"):
        monkeypatch.setattr(FileStore, name, silent)
    refused(given(here, command), "StoreUnreachable: azblob://acc/c does not answer")
    assert here.sent() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_made(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, command: str, tmp_path: Path
) -> None:
    here = desk(CASE)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}/file/store")
    refused(given(here, command), f"file:{tmp_path}/file/store: the store cannot be used; found ")
    assert here.sent() == []


@pytest.mark.parametrize("command", ["apply", "recover"])
def test_a_set_that_cannot_be_reached(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    here = desk(CASE)

    class Mute:
        def observe(self) -> Any:
            raise NO_AZURE

    monkeypatch.setattr("backends.connect.open_backend", lambda *_: Mute())
    refused(given(here, command), "Unreachable: the scale set cannot be read")
    assert here.store.rollouts() == ()


def test_a_rollout_that_failed_is_something_else(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"retries": 0}, fails={0: (1,)}))
    assert here.run("apply").status == 1
    assert here.state.ending == "stop"


def test_a_folder_of_journals_that_cannot_be_made(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    here.folder.mkdir()
    (here.folder / "rollouts").write_text("")
    ran = here.run("apply")
    assert ran.status == 2
    assert f"file:{here.folder}: the store cannot be used; found " in ran.err
    assert here.sent() == []
    (here.folder / "rollouts").unlink()
    assert here.run("apply").status == 3
    shutil.rmtree(here.folder / "rollouts")
    (here.folder / "rollouts").write_text("")
    refused(here.run("status"), f"file:{here.folder}: the store cannot be used; found ")


# -- status --all ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_all_of_a_store_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}/typo")
    refused(vmss_sim("status", "--all", *more), f"found there is no folder {tmp_path}/typo")


def test_all_of_a_store_that_holds_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}")
    ran = vmss_sim("status", "--all")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == f"vmss-sim: there is no rollout in file:{tmp_path}\n"
    ran = vmss_sim("status", "--all", "--json")
    assert (ran.status, json.loads(ran.out)) == (0, [])
