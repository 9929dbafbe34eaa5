"""The endpoint's documents say of a set what it is: as the planner reads them, and as Azure writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.change import resolve
from planner.model import HealthSource, Orchestration, ScaleSet
from scenarios.build import Setup, build_world
from scenarios.build import read as read_scenario
from scenarios.files import BUNDLED, load, read_json
from tests import arm_shown
from tests import world_choices as choices
from tests.arm_shown import NEW, SPEC, differences, expected, put
from tests.world_choices import Action, Pick, Wait
from tests.world_value import begin, carry_out, frozen, snapshot_of
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world.config import WorldConfig
from vmss_sim.world.scale_set import World

ORCHESTRATION = {False: Orchestration.UNIFORM, True: Orchestration.FLEXIBLE}
SCENARIOS = sorted(BUNDLED.glob("*.toml"))


def model_of(path: Path) -> dict[str, Any] | None:
    """The model document that a scenario names, if it names one."""
    named = load(path).scale_set.from_
    if named is None:
        return None
    found = [read_json(path.parent / name) for name in ([named] if isinstance(named, str) else named)]
    return next(one.get("model", one) for one in found if isinstance(one, dict) and "value" not in one)


def differs(one: ArmSet, start: ScaleSet, watch: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{version}: {each}"
        for version in (SPEC, NEW)
        for each in differences(arm_shown.read(one, version, watch), expected(one, start))
    ]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_planner_reads_of_a_bundled_scenario_what_the_simulated_backend_shows(path: Path) -> None:
    setup = read_scenario(path)
    world = build_world(setup, 1, 0)
    one = put(world, model_of(path), setup.scale_set.model)
    watch = tuple(setup.scale_set.model.settings)
    assert differs(one, setup.scale_set, watch) == []
    disturb(world, setup)
    for wait in (0, 1, 30, 60, 300, 3600) if setup.total <= 100 else (30,):
        world.run(world.now + wait * 1000, stop_on_wake=False)
        assert differs(one, setup.scale_set, watch) == []


def disturb(world: World, setup: Setup) -> None:
    """The change, and an upgrade of a few."""
    patch = resolve(setup.change, setup.scale_set, setup.action).patch
    world.submit("change", "update-model", (), patch=patch)
    for number, name in enumerate(list(world.vms)[:4]):
        world.submit(f"op-{number}", ("upgrade", "reimage", "restart", "deallocate")[number], (name,))


@st.composite
def made(draw: st.DrawFn, make: Callable[[Pick], Any]) -> Any:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    return make(pick)


@settings(max_examples=80)
@given(made(choices.some_world), st.lists(made(choices.some_action), max_size=12))
def test_and_of_any_world_to_which_anything_happens(config: WorldConfig, actions: list[Action]) -> None:
    world = begin(config, 3)
    one = put(world)
    source = HealthSource("extension" if config.health == "rich" else config.health)
    facts = {"health_source": source, "settings": {}, "orchestration": ORCHESTRATION[config.flexible]}
    start = ScaleSet(model=msgspec.structs.replace(snapshot_of(config).model, **facts), instances={})
    for number, action in enumerate(actions):
        if isinstance(action, Wait):
            world.run(world.now + action.ms, stop_on_wake=False)
        else:
            carry_out(world, action, number)
        before = frozen(world)
        for version in (SPEC, NEW):
            arm_shown.documents_of(one, version)
        assert frozen(world) == before
        assert differs(one, start) == []
