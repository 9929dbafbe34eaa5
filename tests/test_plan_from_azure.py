"""`plan --scale-set`: a set in Azure as it is now, over the emulator; and `forecast` of a plan without any world beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.change import CurrentModel, GuestPatch, ImageChange, PropertyChange, Refresh
from planner.model import HealthSource, OperatingSystem, Service
from planner.plan import InstanceHook, InstanceHooks, Plan
from planner.planfile import decode, encode
from scenarios.from_plan import setup_of
from tests.commands import vmss_sim
from tests.fleet import NEW, SETTING, Case, Fleet
from vmss_sim.checks.emulated import Emulated
from vmss_sim.study.forecast import forecast_plan

SNAPSHOTS = Path(__file__).parents[1] / "scenarios/snapshots"
SET = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/web"
VERSION = "22.04.202606010"


@pytest.fixture
def azure(vmss_emulator: Callable[..., Emulated], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulated:
    made = vmss_emulator("seed-article", clock="manual")
    for name, value in {
        "AZURE_TENANT_ID": made.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "any",
        "AZURE_SUBSCRIPTION_ID": made.subscription, "AZURE_CONFIG_DIR": str(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return made


def test_a_set_is_planned_for_as_from_its_snapshot(azure: Emulated) -> None:
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    change = ("-s", "batch", "-p", "batch.size=2", "--author", "ann", "-n", "3", "--jobs", "1")
    assert vmss_sim("snapshot", "--scale-set", azure.id, *reach, "-o", "snapshot.json").status == 0
    before = vmss_sim("plan", "snapshot.json", "--target", VERSION, *change, "-o", "before.json")
    assert before.status == 0, before
    ways = {
        "id.json": ("--scale-set", azure.id),
        "name.json": ("-g", azure.group, "--name", azure.name, "--subscription", azure.subscription),
    }
    for file, which in ways.items():
        ran = vmss_sim("plan", *which, *reach, "--image-version", VERSION, *change, "-o", file)
        assert ran.status == 0, ran
        assert Path(file).read_bytes() == Path("before.json").read_bytes(), "the same plan, digest and forecast"
        assert "would upgrade" in ran.out
    assert azure.emulator.measured_set.world.requests == 0, "reads only"
    ran = vmss_sim("plan", "--scale-set", azure.id + "-x", *reach, "--image-version", VERSION, *change)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    ran = vmss_sim("plan", "--scale-set", azure.id, *reach, "--image-version", "latest", *change)
    assert (ran.status, ran.err.count("\n")) == (2, 1) and "/tmp" not in ran.err, ran


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to plan for"),
        (("two-vms", "--scale-set", SET), "the scale set is said twice"),
        (("--instances", "list.json", "--scale-set", SET), "the scale set is said twice"),
        (("two-vms", "--endpoint", "https://localhost:1"), "this is said of a set in Azure"),
        (("-g", "rg"), "the scale set is not said"),
        (("--scale-set", "web"), "scale set"),
    ],
)
def test_which_set_is_said_once(arguments: tuple[str, ...], words: str) -> None:
    ran = vmss_sim("plan", *arguments, "-s", "batch")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert words in ran.err


# -- a forecast of what the plan itself knows ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one-by-one", "batch", "platform-rolling", "surge"])
def test_a_plan_is_forecast_from_itself_as_when_it_was_made(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made from a snapshot with nothing said beside it: there is no more to know, and every figure is the same."""
    monkeypatch.chdir(tmp_path)
    made = vmss_sim(
        "plan", str(SNAPSHOTS / "web-model.json"), "--instances", str(SNAPSHOTS / "web-instances.json"), "--target", VERSION,
        "-s", strategy, "-n", "5", "--jobs", "1", "-o", "plan.json",
    )  # fmt: skip
    assert made.status == 0, made
    again = vmss_sim("forecast", "plan.json", "-n", "5", "--json", "-o", "again.json")
    assert again.status == 0, again
    before, after = (json.loads(Path(file).read_text()) for file in ("plan.json", "again.json"))
    assert json.loads(again.out)["metrics"] == before["forecast"]["metrics"]
    assert (after["plan"], after["sha256"]) == (before["plan"], before["sha256"])
    slow = json.loads(vmss_sim("forecast", "plan.json", "-n", "5", "--json", "--ready", "4m").out)
    assert slow["metrics"]["duration_s"]["p50"] > before["forecast"]["metrics"]["duration_s"]["p50"]
    wrong = vmss_sim("forecast", "plan.json", "--target", VERSION)
    assert (wrong.status, wrong.err.count("\n")) == (2, 1) and "--target: the plan says this itself" in wrong.err


def planned(**case: Any) -> Plan:
    """A plan, as a set with a known system has it."""
    made = Case(**case).plan()
    return msgspec.structs.replace(made, scale_set=msgspec.structs.replace(made.scale_set, os=OperatingSystem.LINUX))


CHANGES: dict[str, dict[str, Any]] = {
    "an image": {"change": ImageChange(version=VERSION)},
    "a property": {"change": PropertyChange(path=SETTING, value="new")},
    "a patch inside": {"change": GuestPatch(script="true", undo="false")},
    "a refresh": {"change": Refresh(exact_version=VERSION), "fleet": Fleet(size=3, model="latest")},
    "a model that was changed elsewhere": {"change": CurrentModel(), "fleet": Fleet(size=3, model=NEW)},
    "no health source": {"fleet": Fleet(size=3, source=HealthSource.NONE), "more": {"accept_no_health": True}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_kind_of_plan_is_forecast_from_itself(name: str) -> None:
    plan = planned(**{"fleet": Fleet(size=3), **CHANGES[name]})
    read = decode(encode(plan), "plan.json").plan
    told = forecast_plan(setup_of(read, "plan.json"), read, seed=1, replications=3)
    assert told.completed.estimate == 1, told
    assert (told.metrics["duration_s"].p50 or 0) > 60


def test_hooks_are_taken_to_answer_as_the_extension_would() -> None:
    hooks = InstanceHooks(verify=InstanceHook(command=("true",)))
    plan = planned(fleet=Fleet(size=3), more={"hooks": hooks})
    assert plan.scale_set.health_source is HealthSource.HOOK
    made = setup_of(plan, "plan.json")
    assert made.scale_set.model.health_source is HealthSource.EXTENSION
    assert forecast_plan(made, plan, seed=1, replications=2).completed.estimate == 1


def test_who_was_sick_is_sick_in_the_forecast() -> None:
    plan = planned(fleet=Fleet(size=4), more={"floor": 2})
    pinned = dict(plan.scale_set.instances)
    pinned["1"] = msgspec.structs.replace(pinned["1"], service=Service.OUT)
    plan = msgspec.structs.replace(plan, scale_set=msgspec.structs.replace(plan.scale_set, instances=pinned))
    told = forecast_plan(setup_of(plan, "plan.json"), plan, seed=1, replications=2)
    assert told.metrics["min_healthy"].p95 == 2, "one of four, and the one that is being upgraded"
