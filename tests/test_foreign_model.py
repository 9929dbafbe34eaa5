"""Somebody changes the model elsewhere than the image, after a plan was made of it: nothing is begun, and what was begun stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.operate import differences, refuse_drift
from planner import drift
from planner.build import Request, build
from planner.change import ImageChange, PropertyChange
from planner.difference import difference
from planner.drift import Absorb
from planner.errors import InputError
from planner.gives import otherwise
from planner.model import Gives
from planner.plan import Plan
from planner.planfile import decode, encode
from planner.rollout import Rollout
from planner.trace import Turn
from tests.azure_inprocess import BASE, Emulated, of_scenario
from tests.commands import vmss_sim
from tests.fleet import NEW, Act, Fleet, drive, world
from tests.test_gives import PROFILE, SCRIPT
from vmss_sim.arm.http import Request as Asked
from vmss_sim.checks.emulated import Emulated as Served

VERSION = "22.04.202606010"


def behind() -> tuple[Emulated, Plan]:
    """A set behind the endpoint, and a plan made of it as the backend reads it."""
    setup, emulated = of_scenario("seed-article")
    seen = emulated.backend().snapshot().scale_set
    return emulated, build(Request(scale_set=seen, change=setup.change, strategy="batch", parameters={"size": 1}))


def patch(emulated: Emulated, body: dict[str, Any]) -> None:
    """Somebody else's PATCH of the set."""
    asked = Asked(
        method="PATCH", path=emulated.one.id, query={"api-version": "2024-11-01"},
        headers={"authorization": "Bearer any", "content-type": "application/json"}, body=json.dumps(body).encode(), base=BASE,
    )  # fmt: skip
    answer = emulated.endpoint.answer(asked)
    assert answer.status in (200, 202), answer.body


def bigger(emulated: Emulated) -> dict[str, Any]:
    return {"sku": {"name": "Standard_D4s_v5", "capacity": len(emulated.one.world.vms)}}


def one_more(emulated: Emulated) -> dict[str, Any]:
    known = emulated.one.document["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"]
    return {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": [*known, SCRIPT]}}}}


FOREIGN: dict[str, tuple[Callable[[Emulated], dict[str, Any]], str, str]] = {
    "sku": (bigger, "sku.name", "Standard_D4s_v5"),
    "extension": (one_more, f"{PROFILE}.extensionProfile.extensions", "HealthExtension, script"),
}


@pytest.mark.parametrize("what", sorted(FOREIGN))
def test_before_it_begins_nothing_is_sent(what: str) -> None:
    emulated, plan = behind()
    assert differences(plan, emulated.backend(plan).observe().scale_set) == ()
    body, path, found = FOREIGN[what]
    patch(emulated, body(emulated))
    seen = differences(plan, emulated.backend(plan).observe().scale_set)
    told = tuple(one for one in seen if one.verdict is Absorb.REFUSE)
    assert [(one.kind, one.subject, one.found) for one in told] == [("model", path, found)]
    with pytest.raises(InputError, match=r"nothing was sent"):
        refuse_drift(told)
    before = emulated.one.world.requests
    driver = Driver(Rollout(plan), emulated.backend(plan), MemoryJournal())
    assert driver.turn() is None
    assert (driver.state.ending, emulated.one.world.requests) == ("refused", before)
    assert path in driver.state.reason and found in driver.state.reason


@pytest.mark.parametrize("what", sorted(FOREIGN))
def test_on_its_way_it_stops(what: str) -> None:
    emulated, plan = behind()
    body, path, found = FOREIGN[what]
    backend, journal = emulated.backend(plan), MemoryJournal()
    driver = Driver(Rollout(plan), backend, journal)
    changed = False
    while (wait := driver.turn()) is not None:
        if not changed and any(one.done for one in driver.state.memory.values()):
            patch(emulated, body(emulated))
            changed = True
        assert backend.wait(wait)
    assert changed and (driver.state.ending, plan.ends["drift"].exit_code) == ("drift", 1)
    assert path in driver.state.reason and found in driver.state.reason
    turns = [one for one in journal.records() if isinstance(one, Turn)]
    (told,) = {note.text for one in turns for note in one.notes if note.rule == "drift-model"}
    assert told.startswith(f"{path}: found {found}, the plan expects ")
    moved = [name for one in turns for command in one.commands for name in command.ids]
    assert 0 < len(moved) < len(plan.scale_set.instances), "no further batch"


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        PropertyChange(path=f"{PROFILE}.licenseType", value="RHEL_BYOS"),
        PropertyChange(path=f"{PROFILE}.extensionProfile.extensions", value=[]),
    ],
    ids=["a value", "a list"],
)
def test_its_own_change_is_none(change: PropertyChange, planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what it writes itself is compared, too; the rollout then stops itself."""
    _, emulated = of_scenario("seed-article")
    seen = emulated.backend(watch=(change.path,)).snapshot().scale_set
    plan = build(Request(scale_set=seen, change=change, strategy="batch", parameters={"size": 2}, floor=0))
    assert plan.scale_set.gives.values
    if planted:
        monkeypatch.setattr(drift, "otherwise", lambda saw, now, _but: otherwise(saw, now))
    driver = Driver(Rollout(plan), emulated.backend(plan), MemoryJournal())
    state = driver.run()
    assert (state.ending == "drift") is planted, state.reason


def test_the_simulated_backend_shows_it_too() -> None:
    fleet = Fleet(size=4).scale_set()
    gives = Gives(values={f"{PROFILE}.storageProfile.osDisk.caching": "None"}, api_version="1")
    model = msgspec.structs.replace(fleet.model, sku="Standard_D2s_v5", gives=gives)
    fleet = msgspec.structs.replace(fleet, model=model)
    change = ImageChange(version=NEW)
    plan = build(Request(scale_set=fleet, change=change, strategy="batch", parameters={"size": 1}, floor=2))
    for written, ending in (
        ({"sku.name": "Standard_D4s_v5"}, "drift"),
        ({f"{PROFILE}.licenseType": "RHEL_BYOS"}, "drift"),
        ({f"{PROFILE}.storageProfile.osDisk.caching": "ReadOnly"}, "drift"),
        ({"sku.name": "standard_d2s_v5"}, "finish"),
        ({"tags": {"cost": "1"}}, "finish"),
    ):
        run = drive(plan, world(fleet), fleet, acts=(Act(250_000, "update-model", (), {"patch": written}),))
        assert run.state.ending == ending, (written, run.state)
        assert ending != "drift" or next(iter(written)) in run.state.reason


def test_an_older_plan_is_read_and_not_compared() -> None:
    emulated, plan = behind()
    data = json.loads(encode(plan))
    del data["plan"]["scale_set"]["gives"]
    older = msgspec.convert(data["plan"], Plan)
    assert older.scale_set.gives == Gives()
    assert decode(encode(older), "older.json").plan == older
    patch(emulated, one_more(emulated))
    seen = differences(older, emulated.backend(older).observe().scale_set)
    assert [one for one in seen if one.verdict is Absorb.REFUSE] == []


def test_two_plans_differ_by_what_they_give() -> None:
    emulated, plan = behind()
    patch(emulated, one_more(emulated))
    seen = emulated.backend().snapshot().scale_set
    second = build(Request(scale_set=seen, change=plan.resolved.change, strategy="batch", parameters={"size": 1}))
    assert f"scale set: {PROFILE}.extensionProfile.extensions" in [one.about for one in difference(plan, second)]


def test_apply_refuses_a_plan_of_another_model(
    vmss_emulator: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From front to back: planned by `plan --scale-set`, refused by `apply` with the path, what is there and what was vetted."""
    monkeypatch.chdir(tmp_path)
    azure = vmss_emulator("seed-article", clock="manual")
    for name, value in {
        "AZURE_TENANT_ID": azure.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "any", "AZURE_CONFIG_DIR": ".",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    change = ("--image-version", VERSION, "-s", "batch", "-p", "batch.size=2", "-n", "2", "--jobs", "1")
    ran = vmss_sim("plan", "--scale-set", azure.id, *reach, *change, "-o", "plan.json")
    assert ran.status == 0, ran
    place = azure.emulator.measured_set.world
    answer = requests.patch(
        f"{azure.url}{azure.id}",
        params={"api-version": "2024-11-01"},
        json={"sku": {"name": "Standard_D4s_v5", "capacity": len(place.vms)}},
        headers={"Authorization": "Bearer any"},
        verify=azure.ca,
        timeout=30,
    )
    assert answer.ok, answer.text
    azure.control.run_until_idle()
    before = place.requests
    ran = vmss_sim("apply", "plan.json", "--yes", "--store", "file:store", *reach)
    assert ran.status == 2, ran
    assert "refuse model: sku.name: found Standard_D4s_v5, the plan saw Standard_" in ran.out
    assert "nothing was sent" in ran.err and "sku.name" in ran.err
    assert place.requests == before
