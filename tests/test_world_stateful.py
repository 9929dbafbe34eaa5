"""The world as a state machine: Hypothesis plays everybody who may ask for something, faults, publications and time, in any order.

`world_watch.py` keeps the books and names every invariant with its why; `world_choices.py` makes worlds and requests, valid and
not. Besides Hypothesis a seeded chooser lives the same lives: for what must agree between processes, for the planted bugs
(every invariant has one that trips it), and for what must not pile up.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests import world_choices as choices
from tests.fleet import lives
from tests.world_choices import Action, Pick, Request, Wait
from tests.world_value import history, played
from tests.world_watch import WHY, Watch
from vmss_sim.world import health, lifecycle, orchestrator, rolling_policy, rollouts, scale_set
from vmss_sim.world.config import Platform, WorldConfig
from vmss_sim.world.operations import ID_KINDS, SET_KINDS
from vmss_sim.world.rollouts import RollingUpgrade
from vmss_sim.world.scale_set import World

ROOT = Path(__file__).parent.parent


@st.composite
def made(draw: st.DrawFn, make: Callable[[Pick], Any]) -> Any:
    """What `make` makes of Hypothesis's choices."""

    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    return make(pick)


class Living(RuleBasedStateMachine):
    """A scale set to which anything happens."""

    @initialize(config=made(choices.some_world), seed=st.integers(0, 1000))
    def begin(self, config: WorldConfig, seed: int) -> None:
        self.watch = Watch(config, seed)

    @rule(action=made(choices.some_wait))
    def time_passes(self, action: Wait) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_wait))
    def more_time_passes(self, action: Wait) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_request_on_instances))
    def somebody_acts_on_instances(self, action: Action) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_update))
    def somebody_updates_the_set(self, action: Action) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_request_on_the_set))
    def somebody_asks_the_set_for_something_else(self, action: Action) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_scaling))
    def somebody_scales(self, action: Action) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_rollout))
    def somebody_starts_or_cancels_a_rollout(self, action: Action) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_trouble))
    def the_next_requests_meet_a_fault(self, action: Action) -> None:
        self.watch.do(action)

    @rule(action=made(choices.some_publication))
    def a_version_is_published(self, action: Action) -> None:
        self.watch.do(action)

    @rule()
    def somebody_looks(self) -> None:
        self.watch.read_everything()
        self.watch.compare_snapshots()

    @invariant()
    def all_is_well(self) -> None:
        if hasattr(self, "watch"):
            assert not self.watch.found, [f"{name} ({WHY[name]}): {what}" for name, what in self.watch.found]

    def teardown(self) -> None:
        """It comes to rest, and the same requests give the same history where nobody watches."""
        if hasattr(self, "watch") and not self.watch.found:
            self.watch.check_end()
            self.all_is_well()


def test_whatever_happens_in_whatever_order() -> None:
    usual = settings()
    examples = lives(250, check=1_000, soak=3_000)
    run_state_machine_as_test(
        Living,
        settings=settings(
            usual, max_examples=examples, stateful_step_count=20, suppress_health_check=list(HealthCheck)
        ),
    )


def test_every_option_and_every_request_is_among_the_choices() -> None:
    assert set(choices.OPTIONS) == set(Platform.__struct_fields__)
    for name, others in choices.OPTIONS.items():
        assert getattr(Platform(), name) not in others, name
    rng = random.Random(0)
    kinds = {action.kind for _ in range(3_000) if isinstance(action := choices.some_action(rng.choice), Request)}
    assert kinds == {*ID_KINDS, *SET_KINDS}


# -- lives of a seeded chooser -----------------------------------------------------------------------------------------


def lived(seed: int, steps: int = 20, *, closely: bool = True) -> Watch:
    """A random life, watched to its end or until something is wrong."""
    rng = random.Random(seed)
    watch = Watch(choices.some_world(rng.choice), seed)
    for _ in range(steps):
        watch.do(choices.some_action(rng.choice))
        if closely:
            watch.compare_snapshots()
            watch.read_everything()
        if watch.found:
            return watch
    watch.check_end()
    return watch


def digest(seeds: Sequence[int]) -> str:
    """Of the histories of these lives, unwatched."""
    found = hashlib.blake2b(digest_size=16)
    for seed in seeds:
        rng = random.Random(seed)
        config = choices.some_world(rng.choice)
        actions = [choices.some_action(rng.choice) for _ in range(40)]
        found.update("\n".join(history(played(config, seed, actions))).encode())
    return found.hexdigest()


def test_the_same_history_in_every_process() -> None:
    code = "from tests.test_world_stateful import digest; print(digest(range(60)))"
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout.strip()
        for hash_seed in ("1", "4711")
    ]
    assert told == [digest(range(60))] * 2
    assert told[0] != digest(range(1, 61))


def test_nothing_piles_up() -> None:
    """Long lives: what waits is bounded by the set, not by what happened to it."""
    for seed in range(6):
        watch = lived(10_000 + seed, steps=250, closely=False)
        assert not watch.found
        assert len(watch.actions) > 250


# -- planted bugs ------------------------------------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def _names_by_number(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "_name", lambda world: str(len(world.vms)))


def _one_too_many(patch: pytest.MonkeyPatch) -> None:
    scale = World.set_capacity
    patch.setattr(World, "set_capacity", lambda self, capacity, by: scale(self, capacity + 1, by))


def _restart_reimages(patch: pytest.MonkeyPatch) -> None:
    start = lifecycle.start
    patch.setattr(
        lifecycle,
        "start",
        lambda world, vm, kind, args: start(world, vm, "reimage" if kind == "restart" else kind, args),
    )


def _background_upgrades(patch: pytest.MonkeyPatch) -> None:
    publish = World.publish

    def publish_and_upgrade(self: World, version: str) -> None:
        publish(self, version)
        for vm in self.vms.values():
            vm.image = self.model_image

    patch.setattr(World, "publish", publish_and_upgrade)


def _twice(patch: pytest.MonkeyPatch) -> None:
    targets = scale_set.admission.targets
    patch.setattr(scale_set.admission, "targets", lambda *args: targets(*args) * 2)


def _protection_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(World, "stale", lambda self: [vm for vm in self.vms.values() if not self.is_latest(self.settled(vm))])


def _protection_ignored_in_scale_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "scale_in", lambda world, count: world.counted()[:count])


def _one_forgotten(patch: pytest.MonkeyPatch) -> None:
    members = RollingUpgrade._members
    patch.setattr(RollingUpgrade, "_members", lambda self: members(self)[1:])


def _counted_twice(patch: pytest.MonkeyPatch) -> None:
    status = RollingUpgrade.status
    patch.setattr(RollingUpgrade, "status", lambda self: status(self)._replace(in_progress=len(self.in_progress)))


def _one_more_in_a_batch(patch: pytest.MonkeyPatch) -> None:
    size = rolling_policy.batch_size
    patch.setattr(rolling_policy, "batch_size", lambda percent, total: size(percent, total) + 1)


def _over_the_borders(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rolling_policy, "_key", lambda value: (0, int(str(value)) if str(value).isdecimal() else 0, ""))
    batches = rolling_policy.azure_batches
    patch.setattr(
        rollouts,
        "azure_batches",
        lambda members, *rest: batches([one._replace(update_domain=0) for one in members], *rest),
    )


def _no_thresholds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollouts, "exceeds", lambda *_: False)


def _not_strictly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollouts, "exceeds", lambda count, total, percent: count > 0 and count * 100 >= percent * total)


def _looking_leaves_traces(patch: pytest.MonkeyPatch) -> None:
    shown = health.shown

    def moves(world: World, vm: Any) -> tuple[str, str, str]:
        vm.temp += 1
        return shown(world, vm)

    patch.setattr(World, "state", moves)


def _a_clock_that_slips(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(World, "now", property(lambda self: int(self.env.now) + 5 * (self.requests % 2)))


def _ended_and_running(patch: pytest.MonkeyPatch) -> None:
    finish = World._finish

    def ends(self: World, operation: Any) -> None:
        finish(self, operation)
        self.running[operation.name] = operation

    patch.setattr(World, "_finish", ends)


def _nobody_is_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RollingUpgrade, "end_operation", lambda *_: None)


def _refused_and_noted(patch: pytest.MonkeyPatch) -> None:
    judge = scale_set.admission.judge

    def notes(world: World, *rest: Any) -> Any:
        reply = judge(world, *rest)
        world.etag += reply is not None
        return reply

    patch.setattr(scale_set.admission, "judge", notes)


def _down_twice(patch: pytest.MonkeyPatch) -> None:
    def down(vm: Any, when: int, until: int = scale_set.NEVER) -> None:
        vm.outages.append([when, until])
        vm.serves_from = until

    patch.setattr(lifecycle, "down", down)


def _one_change_unseen(patch: pytest.MonkeyPatch) -> None:
    read = World.read_changes
    patch.setattr(World, "read_changes", lambda self: iter(list(read(self))[1:]))


def _luck_from_elsewhere(patch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    patch.setattr(World, "set_level", lambda _self, _kind: rng.randrange(5_000))


def _forgotten_alarms(patch: pytest.MonkeyPatch) -> None:
    begin = World._begin

    def rings(self: World, *args: Any) -> None:
        for _ in range(8):
            self.at(self.now + 10**12, lambda: None)
        begin(self, *args)

    patch.setattr(World, "_begin", rings)


def _a_surge_left_behind(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RollingUpgrade, "end_surge", lambda *_args, **_more: None)


def _approved_by_nobody(patch: pytest.MonkeyPatch) -> None:
    publish = orchestrator.Rollouts.published

    def approves(self: orchestrator.Rollouts) -> None:
        publish(self)
        self._approved = dict.fromkeys(self.world.vms)

    patch.setattr(orchestrator.Rollouts, "published", approves)


PLANTED: tuple[tuple[str, Plant, int], ...] = (
    ("ids", _names_by_number, 8),
    ("counts", _one_too_many, 1),
    ("counts", _a_surge_left_behind, 40),
    ("asked-for", _restart_reimages, 5),
    ("asked-for", _background_upgrades, 0),
    ("once", _twice, 0),
    ("protected", _protection_ignored, 41),
    ("protected", _protection_ignored_in_scale_in, 0),
    ("members", _one_forgotten, 3),
    ("members", _approved_by_nobody, 52),
    ("progress", _counted_twice, 0),
    ("batch", _one_more_in_a_batch, 9),
    ("batch", _over_the_borders, 61),
    ("gates", _no_thresholds, 3),
    ("gates", _not_strictly, 31),
    ("reading", _looking_leaves_traces, 0),
    ("time", _a_clock_that_slips, 1),
    ("operations", _ended_and_running, 0),
    ("ending", _nobody_is_told, 0),
    ("refused", _refused_and_noted, 0),
    ("outages", _down_twice, 1),
    ("snapshot", _one_change_unseen, 0),
    ("history", _luck_from_elsewhere, 0),
    ("leaks", _forgotten_alarms, 0),
)
"""Invariant, bug, and the first of the lives to look at."""


@pytest.mark.parametrize(("name", "plant", "first"), PLANTED, ids=[plant.__name__ for _, plant, _ in PLANTED])
def test_a_planted_bug_is_found(name: str, plant: Plant, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(first, first + 150):
        found = {invariant for invariant, _ in lived(seed).found}
        if name in found:
            return
    pytest.fail(f"{plant.__name__} does not trip {name}")


def test_every_invariant_has_a_planted_bug() -> None:
    assert {name for name, _, _ in PLANTED} == set(WHY)
