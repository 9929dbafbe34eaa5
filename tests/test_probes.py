"""Hooks of single instances: whether one serves, whether it may be taken, whether it came back as it should."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.change import GuestPatch
from planner.errors import InputError
from planner.model import HealthSource, UpgradeMode
from planner.phases import Phase
from planner.plan import InstanceHook, InstanceHooks
from planner.planfile import decode, encode
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk

__all__ = ["desk"]
ASKED = """
import os, pathlib, sys
folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
name = os.environ["VMSS_SIM_INSTANCE"]
with open(folder / "asked", "a") as file:
    file.write(f"{kind} {name} {os.environ['VMSS_SIM_VM_ID']}\\n")
answers = folder / f"{kind}-{name}"
if answers.exists():
    left = answers.read_text().split()
    answers.write_text(" ".join(left[1:]) or left[0])
    if left[0] == "no":
        sys.exit(f"{name} says no")
"""
FLEET = Fleet(size=3)


class Asks:
    """A program that answers as a file tells it, and writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "asks"
        self.folder.mkdir()
        (self.folder / "ask.py").write_text(ASKED)

    def hook(self, kind: str, deadline_ms: int = 10_000) -> InstanceHook:
        command = (sys.executable, str(self.folder / "ask.py"), str(self.folder), kind)
        return InstanceHook(command=command, deadline_ms=deadline_ms)

    def answers(self, kind: str, name: str, *said: str) -> None:
        (self.folder / f"{kind}-{name}").write_text(" ".join(said))

    def asked(self, kind: str) -> list[str]:
        file = self.folder / "asked"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [name for found, name, _ in lines if found == kind]


@pytest.fixture
def asks(tmp_path: Path) -> Asks:
    return Asks(tmp_path)


def case(hooks: InstanceHooks, **more: object) -> Case:
    return Case(fleet=FLEET, more={"hooks": hooks, "floor": 2}, **more)  # type: ignore[arg-type]


def test_drain_runs_before_an_instance_is_taken(desk: Callable[[Case], Desk], asks: Asks) -> None:
    here = desk(case(InstanceHooks(drain=asks.hook("drain"))))
    assert here.run("apply").status == 0
    assert asks.asked("drain") == ["0", "1", "2"]
    assert here.plan.scale_set.health_source is HealthSource.EXTENSION, "drain says nothing about health"


def test_a_drain_that_fails_is_a_refusal_and_nothing_was_sent(desk: Callable[[Case], Desk], asks: Asks) -> None:
    asks.answers("drain", "1", "no", "no", "yes")
    here = desk(case(InstanceHooks(drain=asks.hook("drain"))))
    assert here.run("apply").status == 0
    assert asks.asked("drain") == ["0", "1", "1", "1", "2"]
    assert here.world.started("1") == 1
    told = here.run("history", "--format", "md").out
    assert "DrainFailed" in told
    assert "instance 1: exit status 1, 1 says no" in told


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"strategy": "platform-rolling", "fleet": Fleet(size=3, mode=UpgradeMode.ROLLING)},
            "the platform takes the instances",
        ),
        ({"strategy": "automatic", "fleet": Fleet(size=3)}, "the platform takes the instances"),
        ({"change": GuestPatch(script="true")}, "a run-command takes no instance out"),
    ],
)
def test_a_drain_that_would_never_run_is_refused(given: dict[str, Any], why: str) -> None:
    hook = InstanceHook(command=("drain",))
    for hooks in (InstanceHooks(), InstanceHooks(verify=hook)):
        assert Case(**given, more={"hooks": hooks}).plan()
    with pytest.raises(InputError, match=why):
        Case(**given, more={"hooks": InstanceHooks(drain=hook)}).plan()
    written = encode(msgspec.structs.replace(Case(**given).plan(), hooks=InstanceHooks(drain=hook)))
    with pytest.raises(InputError, match=why):
        decode(written, "plan.json")


def test_a_drain_that_never_succeeds_stops_the_rollout(desk: Callable[[Case], Desk], asks: Asks) -> None:
    asks.answers("drain", "1", "no")
    here = desk(case(InstanceHooks(drain=asks.hook("drain"))))
    assert here.run("apply").status == 1
    assert here.world.started("1") == 0
    assert "DrainFailed" in here.state.reason


def test_verify_is_asked_of_what_came_back_until_it_passes(desk: Callable[[Case], Desk], asks: Asks) -> None:
    asks.answers("verify", "0", "no", "no", "yes")
    here = desk(case(InstanceHooks(verify=asks.hook("verify"))))
    assert here.run("apply").status == 0, here.state.reason
    asked = asks.asked("verify")
    assert asked == ["0", "0", "0", "1", "2"], "and not again once it passed"
    upgrades = [one.now for one in here.world.log if one.kind == "upgrade"]
    assert upgrades[1] - upgrades[0] > 90_000, "the next one waited for it"


def test_one_that_never_passes_is_given_up(desk: Callable[[Case], Desk], asks: Asks) -> None:
    asks.answers("verify", "0", "no")
    here = desk(case(InstanceHooks(verify=asks.hook("verify"), every_ms=120_000), parameters={"retries": 0}))
    assert here.run("apply").status == 1
    assert here.status()["failed"][0]["why"] == "did not come to serve in time"
    assert len(set(asks.asked("verify"))) == 1


def test_health_is_joined_to_what_the_platform_says(desk: Callable[[Case], Desk], asks: Asks) -> None:
    """Instance 2 serves, says the platform; its own application says no: it costs no budget, and the floor holds."""
    asks.answers("health", "2", "no")
    here = desk(case(InstanceHooks(health=asks.hook("health"), every_ms=60_000), parameters={"retries": 0}))
    ran = here.run("apply")
    assert ran.status == 1, ran
    assert here.status()["fewest_seen"]["in_service"] <= 2
    assert "the floor holds" in here.state.reason
    assert here.world.started("0") == 0, "two serve, and the floor is two"


def test_a_set_without_health_source_is_judged_by_the_hook(desk: Callable[[Case], Desk], asks: Asks) -> None:
    fleet = Fleet(size=2, source=HealthSource.NONE)
    hooks = InstanceHooks(health=asks.hook("health"), every_ms=30_000)
    here = desk(Case(fleet=fleet, more={"hooks": hooks, "floor": 1}))
    ran = here.run("apply")
    assert ran.status == 0, "and needs no --accept-no-health"
    assert here.status()["known_healthy"] is True
    assert set(asks.asked("health")) == {"0", "1"}


def test_what_hangs_is_a_no(desk: Callable[[Case], Desk], asks: Asks) -> None:
    slow = InstanceHook(command=(sys.executable, "-c", "import time; time.sleep(60)"), deadline_ms=200)
    here = desk(case(InstanceHooks(drain=slow)))
    assert here.run("apply").status == 1
    assert here.state.phase is Phase.ENDED
    assert "no answer in 0.2 s" in here.state.reason


def test_hooks_stand_in_the_plan_and_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    ran = vmss_sim(
        "plan", "two-vms", "-s", "one-by-one", "--no-forecast", "--health-hook", "check --url 'http://{}'", "--verify-hook", "verify",
        "--drain-hook", "drain", "--hook-deadline", "5s", "-o", str(file),
    )  # fmt: skip
    assert ran.status == 0, ran
    plan = decode(file.read_bytes(), "").plan
    assert plan.hooks is not None
    assert plan.hooks.health == InstanceHook(command=("check", "--url", "http://{}"), deadline_ms=5_000)
    assert plan.scale_set.health_source is HealthSource.HOOK
    assert "does it serve, beside what the platform says" in vmss_sim("show", str(file)).out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--health-hook", "'"), "--health-hook: not a command"),
        (("--drain-hook", " "), "--drain-hook: not a command"),
        (("--verify-hook", "x", "--hook-deadline", "0s"), "--hook-deadline: it would never be waited for"),
        (("--health-hook-replaces",), "--health-hook-replaces: nothing is asked instead"),
    ],
)
def test_what_is_no_hook_is_one_line(given: tuple[str, ...], says: str) -> None:
    ran = vmss_sim("plan", "two-vms", "-s", "one-by-one", "--no-forecast", *given)
    assert (ran.status, says in ran.err) == (2, True), ran


def test_a_scenario_has_no_hooks(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('title = "t"\n[scale_set]\ninstances = 2\nhealth = "hook"\n[change]\nversion = "2.0"\n')
    ran = vmss_sim("compare", str(file), "-n", "1")
    assert (ran.status, "found 'hook'; expected extension, probe, none" in ran.err) == (2, True), ran
