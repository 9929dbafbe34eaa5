"""`vmss-sim apply` against the emulator decides as it does against the simulated backend, for every bundled scenario.

Snapshot, plan and apply are the command's, over HTTPS, a token endpoint, the emulator's clock and a store; `tests/rehearsal.py` tells how. One
strategy of each scenario is tried, every strategy with one of them; all strategies that fit under the profile `soak`, and the rollout of 1000
VMs, which takes minutes, under `check`. The same without a wire is in `tests/test_azure_equivalence.py`.

What is compared: commands with their contents, in order; exit status, ending and its reason; and the times of the commands. The clock is
`manual`, where a told sleep takes as long as it says, so times are the simulation's, but where the backend spares a token bucket and looks
later (`LATER`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from backends.azure.backend import AzureBackend
from planner.commands import Command, Kind, Outcome, Status
from planner.strategies import STRATEGIES
from scenarios import build
from scenarios.files import find_scenario, load
from tests.commands import vmss_sim
from tests.fleet import CHECK, SOAK
from tests.rehearsal import Rehearsal, Story, done
from vmss_sim.checks.emulated import Emulated

SCENARIOS = tuple(sorted(path.stem for path in (Path(build.__file__).parent / "bundled").glob("*.toml")))

TRIED: dict[str, tuple[str, ...]] = {
    "autoscale-mid-rollout": ("per-ud",),
    "bad-image": ("canary",),
    "demand-curve": ("batch of 40 %",),
    "foreign-upgrade": ("one-by-one",),
    "from-snapshot": ("per-fd",),
    "hundred-in-three-zones": ("per-ud",),
    "late-bad-image": ("every batch soaks",),
    "platform-rolling": ("watched",),
    "repairs-fight": ("batch", "-p", "batch.size=3"),
    "seed-article": ("automatic",),
    "surge": ("surge",),
    "surge-without-quota": ("surge, else in place",),
    "thousand": ("selected", "-p", "selected.ids=0,20,40", "-p", "selected.size=3"),
    "thresholds-cannot-be-met": ("automatic",),
    "two-vms": ("one-by-one",),
    "unhealthy-baseline": ("per-ud, unhealthy first",),
    "windows": ("batch", "-p", "batch.size=3"),
    "zonal-rolling": ("ramp",),
    "zone-outage": ("per-zone",),
}
"""A strategy of each scenario, as `vmss-sim plan -s` takes it."""

ZONE, FLOOR, LINT = "no instance's zone is known", "leaves no instance of", "can take none"
REFUSED: dict[tuple[str, str], str] = {
    **{(name, "today"): "what Azure does by itself" for name in SCENARIOS},
    ("from-snapshot", "per-zone"): ZONE,
    ("seed-article", "per-zone"): ZONE,
    ("surge", "one-by-one"): FLOOR,
    ("surge-without-quota", "surge, else stop"): "4 are missing",
    **{("thresholds-cannot-be-met", name): FLOOR for name in ("one-by-one", "per-ud", "per-fd", "batch", "ramp")},
    ("unhealthy-baseline", "per-ud"): LINT,
    ("unhealthy-baseline", "batch size=1"): LINT,
    ("zonal-rolling", "per-fd"): "there is one fault domain",
}
"""Strategies that scenarios name and no plan is made of, whoever would carry it out, and the reason."""

LATER: dict[tuple[str, str], str] = {
    ("thousand", "*"): "a look has pages, of which a set may be asked for some 12 a minute",
    (
        "repairs-fight",
        "automatic",
    ): "a repair's beginning on a VM that does not serve wakes the simulation, and shows Azure's client nothing",
}
"""Where times differ, and why: decisions and their order are held equal there all the same."""


@pytest.fixture
def rehearsal(
    vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Rehearsal]:
    def make(scenario: str) -> Rehearsal:
        azure = vmss_emulator(scenario, clock="manual")
        return Rehearsal(azure, find_scenario(scenario), tmp_path / "rehearsal", monkeypatch)

    return make


def alike(emulated: Story, simulated: Story, *, times: bool = True) -> None:
    assert emulated.commands
    assert emulated.status == simulated.status, (emulated.said, simulated.said)
    assert emulated.decisions == simulated.decisions
    mine, theirs = emulated.remembered, simulated.remembered
    assert [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)] == []
    if times:
        assert emulated.commands == simulated.commands
        assert emulated.state.memory == simulated.state.memory


def exact(name: str, label: str) -> bool:
    return not {(name, label), (name, "*")} & LATER.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_apply_decides_as_simulated(name: str, rehearsal: Callable[[str], Rehearsal]) -> None:
    here = rehearsal(name)
    done(here.planned("-s", *TRIED[name]))
    alike(here.emulated(), here.simulated(), times=exact(name, TRIED[name][0]))


def test_every_scenario_and_every_strategy_is_tried() -> None:
    assert TRIED.keys() == set(SCENARIOS)
    used = set()
    for name, (label, *_) in TRIED.items():
        names = {choice.label: choice.name for choice in build.read(find_scenario(name)).choices}
        used.add(names.get(label, label))
    assert used == STRATEGIES.keys()


def every() -> list[tuple[str, str]]:
    """All strategies of all scenarios that fit, but for what is tried anyway."""
    found = [(name, choice.label) for name in SCENARIOS for choice in build.read(find_scenario(name)).choices]
    return [(name, label) for name, label in found if (name, label) not in REFUSED and TRIED[name] != (label,)]


@pytest.mark.skipif(not CHECK, reason="1000 VMs for an hour take minutes: HYPOTHESIS_PROFILE=check")
def test_a_thousand_vms_are_decided_on_alike(rehearsal: Callable[[str], Rehearsal]) -> None:
    here = rehearsal("thousand")
    done(here.planned("-s", "ramp"))
    alike(here.emulated(), here.simulated(), times=False)


@pytest.mark.skipif(not SOAK, reason="all strategies of all scenarios take half an hour: HYPOTHESIS_PROFILE=soak")
@pytest.mark.parametrize(("name", "label"), every())
def test_every_strategy_is_decided_on_alike(name: str, label: str, rehearsal: Callable[[str], Rehearsal]) -> None:
    here = rehearsal(name)
    done(here.planned("-s", label))
    alike(here.emulated(), here.simulated(), times=exact(name, label))


@pytest.mark.parametrize(("name", "label"), REFUSED)
def test_what_cannot_be_applied_is_refused_for_its_reason(name: str, label: str, tmp_path: Path) -> None:
    ran = vmss_sim("plan", name, "-s", label, "--no-forecast", "-o", str(tmp_path / "plan.json"))
    assert ran.status in (1, 2)
    assert REFUSED[name, label] in ran.err
    assert not (tmp_path / "plan.json").exists()


def test_what_compare_refuses_no_plan_is_made_of() -> None:
    for name in SCENARIOS:
        expect = load(find_scenario(name)).expect
        for label in expect.refused if expect is not None else ():
            assert (name, label) in REFUSED


# -- the comparison would see it ---------------------------------------------------------------------------------------

FAILS = """
title = "Two VMs, of which the first one's upgrade fails once"
why = "A second try is a decision, too."

[scale_set]
instances = 2
health = "extension"

[change]
version = "22.04.202606010"

[failures]
upgrade = 0.0
retries = 2

[load]
required = 1

[[fault]]
verdict = "fail"
of = "upgrade"
first = 2
last = 2

[[strategy]]
name = "one-by-one"
"""


def to_another_target(self: AzureBackend, command: Command) -> str:
    if command.kind is Kind.UPDATE_MODEL:
        command = msgspec.structs.replace(command, patch=dict.fromkeys(command.patch, "22.04.202604160"))
    return SUBMIT(self, command)


def two_batches_swapped(self: AzureBackend, command: Command) -> str:
    if command.kind is Kind.UPGRADE:
        command = msgspec.structs.replace(command, ids=tuple({"0": "1", "1": "0"}[one] for one in command.ids))
    return SUBMIT(self, command)


def no_failure_told(self: AzureBackend, look: object) -> tuple[Outcome, ...]:
    told = SETTLE(self, look)  # type: ignore[arg-type]
    return tuple(Outcome(command=one.command, status=Status.SUCCEEDED) for one in told)


SUBMIT, SETTLE = AzureBackend.submit, AzureBackend._settle
BUGS = {
    "another target": ("submit", to_another_target),
    "two batches swapped": ("submit", two_batches_swapped),
    "a failure that is not told": ("_settle", no_failure_told),
}


def test_a_second_try_is_decided_alike(rehearsal: Callable[[str], Rehearsal], tmp_path: Path) -> None:
    (tmp_path / "fails.toml").write_text(FAILS)
    here = rehearsal(str(tmp_path / "fails.toml"))
    done(here.planned("-s", "one-by-one"))
    emulated = here.emulated()
    alike(emulated, here.simulated())
    assert [command.ids for _, command in emulated.commands if command.kind is Kind.UPGRADE] == [("0",), ("0",), ("1",)]


@pytest.mark.parametrize("bug", BUGS)
def test_a_backend_that_does_something_else_would_be_seen(
    bug: str, rehearsal: Callable[[str], Rehearsal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails.toml").write_text(FAILS)
    here = rehearsal(str(tmp_path / "fails.toml"))
    done(here.planned("-s", "one-by-one"))
    name, planted = BUGS[bug]
    with monkeypatch.context() as patch:
        patch.setattr(AzureBackend, name, planted)
        emulated = here.emulated()
    with pytest.raises(AssertionError):
        alike(emulated, here.simulated(), times=False)


def test_the_plan_that_was_made_of_the_real_set_can_be_rehearsed(
    rehearsal: Callable[[str], Rehearsal], tmp_path: Path
) -> None:
    """The emulated set is that set: the same identity, the same VMs, the same model. So exactly what was vetted is what is rehearsed."""
    here, files = rehearsal("from-snapshot"), find_scenario("from-snapshot").parents[1] / "snapshots"
    plan = tmp_path / "vetted.json"
    done(
        vmss_sim(
            "plan", str(files / "web-model.json"), "--instances", str(files / "web-instances.json"), "-s", "per-ud",
            "--image-version", "22.04.202606010", "--no-forecast", "-o", str(plan),
        )
    )  # fmt: skip
    ran = done(vmss_sim("apply", str(plan), "--yes", "--store", f"file:{tmp_path / 'store'}", *here.reach))
    assert "What moved" not in ran.out + ran.err
