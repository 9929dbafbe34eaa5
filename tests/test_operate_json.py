"""What the operator's commands print as JSON has the documented shape (`docs/operate-json.md`); and every status that other tests look at, too
(`test_apply.Desk.status`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from backends.store import Entry
from backends.store.files import FileStore
from backends.where import Where
from planner.model import UpgradeMode
from planner.planfile import decode
from tests import plan_schema
from tests.commands import Ran, vmss_sim
from tests.fleet import Act, Case, Fleet, act
from tests.operate_shapes import DOCS, holds
from tests.test_apply import Desk, desk

__all__ = ["desk"]
PAGE = (DOCS / "operate-json.md").read_text()
NIGHT = Case(
    fleet=Fleet(size=6, mode=UpgradeMode.ROLLING, repairs=True),
    strategy="batch",
    parameters={"size": 2, "retries": 0, "max_failed": 2, "approve": True},
    fails={0: (1,)},
    more={"floor": 2},
)


def lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


# -- status ------------------------------------------------------------------------------------------------------------


def test_before_anything_happened(desk: Callable[[Case], Desk]) -> None:
    from backends.operate import begin

    here = desk(NIGHT)
    data = here.file.read_bytes()
    begin(here.store, decode(data, ""), data, "test")[1].release()
    status = holds("status", here.status())
    assert (status["state"], "evidence_at" in status) == ("not begun", False)


def test_in_the_middle_asked_and_given_up(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    here = desk(NIGHT)
    assert here.run("apply").status == 3
    for words in (("pause",), ("skip", here.rollout, "1", "--reason", "r"), ("retry", here.rollout, "0")):
        assert here.run(*words).status == 0
    asked = holds("status", here.status())
    assert (len(asked["failed"]), len(asked["unheard"]), bool(asked["choices"])) == (1, 3, True)
    assert here.run("abort", "--yes").status == 1
    found = FileStore.rollouts
    where = Where(endpoint="https://localhost:1", ca="/c", credential="environment", tenant="t", client_id="c")

    def rollouts(store: FileStore) -> tuple[Entry, ...]:
        from msgspec.structs import replace

        return tuple(replace(one, where=where) for one in found(store))

    monkeypatch.setattr(FileStore, "rollouts", rollouts)
    over = holds("status", here.status())
    assert over["undo"] and over["az_first"] and over["asked"] and over["temporary_seen"]
    assert len(over["afterwards"]) == 4


def test_all_of_them_and_none(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=1)))
    here.folder.mkdir()
    assert holds("statuses", json.loads(here.run("status", "--all", "--json").out)) == []
    assert here.run("apply").status == 0
    assert len(holds("statuses", json.loads(here.run("status", "--all", "--json").out))) == 1


# -- the others --------------------------------------------------------------------------------------------------------


def test_each_line_of_the_log(desk: Callable[[Case], Desk], tmp_path: Path) -> None:
    here = desk(NIGHT)
    found = lines(here.run("apply", "--log-format", "json"))
    act(here.world, Act(here.world.now, "restart", ("4",)))
    act(here.world, Act(here.world.now, "upgrade", ("5",)))
    here.world.run(here.world.now + 3_600_000, stop_on_wake=False)
    assert here.run("approve", here.rollout).status == 0
    found += lines(here.run("resume", "--yes", "--log-format", "json"))
    for one in found:
        holds("log", one)
    assert {one["event"] for one in found} == {"decision", "command", "sent", "outcome", "moved"}
    holds("log", {"event": "message", "text": "words"})


def test_plans(tmp_path: Path) -> None:
    make = ("plan", "two-vms", "-s", "one-by-one", "-n", "5", "--jobs", "1")
    made = vmss_sim(*make, "--json")
    assert made.status == 0, made.err
    file = tmp_path / "plan.json"
    file.write_text(made.out)
    holds("File", json.loads(made.out), "plan.schema.json")
    holds("Plan", json.loads(vmss_sim("show", str(file), "--json").out), "plan.schema.json")
    holds("Forecast", json.loads(vmss_sim("forecast", str(file), "-n", "5", "--json").out), "plan.schema.json")
    other = tmp_path / "other.json"
    assert vmss_sim("plan", "two-vms", "-s", "automatic", "--no-forecast", "-o", str(other)).status == 0
    differs = holds("diff", json.loads(vmss_sim("diff", str(file), str(other), "--json").out))
    assert differs["differences"]
    assert not holds("diff", json.loads(vmss_sim("diff", str(file), str(file), "--json").out))["differences"]
    assert holds("lint", json.loads(vmss_sim("lint", "surge-without-quota", "--json").out))["findings"]


def test_the_shape_of_a_plan_is_what_its_types_say() -> None:
    assert (DOCS / "plan.schema.json").read_text() == plan_schema.text(), "python -m tests.plan_schema"


# -- the page, and the checks ------------------------------------------------------------------------------------------


def test_the_page_names_every_key() -> None:
    shapes = json.loads((DOCS / "operate.schema.json").read_text())["$defs"]
    _, status, log = re.split(r"^## .*$", PAGE, flags=re.MULTILINE)
    named = {
        word
        for row in re.findall(r"^\| (`.*?) \|", status, re.MULTILINE)
        for word in re.findall(r"`(\w+)(?:\[\])?`", row)
    }
    assert named - {"key"} == set(shapes["status"]["properties"])
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", log, re.MULTILINE))
    events = {
        one["properties"]["event"]["const"]: one["properties"].keys() - {"event"} for one in shapes["log"]["oneOf"]
    }
    assert rows.pop("event") == "keys"
    assert rows.keys() == events.keys()
    for event, keys in events.items():
        told = re.sub(r"\(`.*?\)", "", rows[event])
        assert {*re.findall(r"`(\w+)`", told)} == keys, event


def test_every_command_with_json_is_on_a_page() -> None:
    from typer.main import get_command

    from vmss_sim.cli.main import app

    commands = get_command(app).commands.items()  # type: ignore[attr-defined]
    found = {
        name for name, one in commands if any({"--json", "--log-format"} & {*option.opts} for option in one.params)
    }
    told = {*re.findall(r"`(\w+)(?: --all)? --json`", PAGE), *re.findall(r"^\| (`apply`.*?) \|", PAGE, re.MULTILINE)}
    rows = {word for row in told for word in re.findall(r"\w+", row.partition(" with")[0])}
    elsewhere = {
        "simulate",
        "calibrate",
        "scenarios",
        "pause",
    }  # not an operator's; and one that is no executor, whatever it is told
    assert found - elsewhere == rows


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("status", {"surprise": 1}),
        ("status", {"state": None}),
        ("status", {"evidence_at": "2026-01-01T00:00:00Z"}),
        ("log", {"event": "unheard-of"}),
        ("diff", {"differences": [{"about": "x"}]}),
    ],
)
def test_what_is_not_documented_is_seen(desk: Callable[[Case], Desk], name: str, planted: dict[str, Any]) -> None:
    from backends.operate import begin

    here = desk(Case(fleet=Fleet(size=1)))
    data = here.file.read_bytes()
    begin(here.store, decode(data, ""), data, "test")[1].release()
    good: dict[str, Any] = {
        "status": here.status(),
        "log": {"event": "message", "text": "words"},
        "diff": {"schema": "vmss-sim/diff/1", "before": "a", "after": "b", "differences": []},
    }[name]
    holds(name, good)
    with pytest.raises(jsonschema.ValidationError):
        holds(name, {**good, **planted})
