"""From a scenario to what can be run: a scale set, a change, a world for each replication, and the assumptions made.

Rules this module decides:

1. What was not said is assumed, and every assumption is listed with its origin: yours, measured, documented, guessed.
2. Each part of a scenario is worked out in a module of its own: the set (`sets.py`), the change (`changes.py`), how things
   behave (`behaviour.py`), what surrounds the set (`surroundings.py`), the world (`to_world.py`), the strategies (`choices.py`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.schedule import Schedule
from planner.amount import at_least
from planner.arm_json import Gap
from planner.change import STAGES, Action, Change, resolve
from planner.errors import InputError
from planner.metrics import StepFunction
from planner.model import (
    ScaleSet,
)
from planner.plan import Deadlines
from planner.surge import Quota
from scenarios import quota, surroundings, timing_file
from scenarios.behaviour import failures_of, required_of, timings
from scenarios.changes import change_of
from scenarios.choices import Choice, choices_of
from scenarios.expect import claims
from scenarios.files import load
from scenarios.given import Assumption, amount_of, probability, span_ms, tell
from scenarios.schema import (
    Scenario,
)
from scenarios.sets import assume_serving, fleet_of
from scenarios.timing import parse_duration_ms
from scenarios.to_world import newest, surrounded, world_of
from vmss_sim.world.config import WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import World

POLL_MS = 10_000
"""How often the executor looks where a scenario does not say it."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario worked out. Times in ms from the start of the rollout.

    scale_set: the set as it is simulated; observed: as it was given, nothing assumed (what a plan is made from).
    schedule: when the executor looks, where that is not every `poll_ms`.
    """

    title: str
    why: str
    scale_set: ScaleSet
    observed: ScaleSet
    change: Change
    action: Action | None
    world: WorldConfig
    faults: tuple[Fault, ...]
    poll_ms: int
    poll_is_default: bool
    deadlines: Deadlines
    required: StepFunction
    required_given: str | None
    min_healthy: str | None
    max_duration_ms: int | None
    max_breach: float
    horizon_ms: int
    choices: tuple[Choice, ...]
    left_out: tuple[tuple[str, str], ...]
    assumptions: tuple[Assumption, ...]
    gaps: tuple[Gap, ...]
    quota: Quota
    ready_is_default: bool
    ready_p95_s: float
    schedule: Schedule | None = None

    @property
    def total(self) -> int:
        """Instances at the start."""
        return len(self.scale_set.instances)


def build_world(setup: Setup, seed: int, replication: int) -> World:
    """The world of one replication: the same luck for every strategy."""
    return World(setup.world, Draws(seed, replication, setup.total), setup.faults)


def read(path: Path) -> Setup:
    """A scenario file, worked out."""
    return setup(load(path), path.parent, str(path))


def setup(scenario: Scenario, folder: Path, where: str, given: ScaleSet | None = None) -> Setup:
    """A scenario, worked out. `folder`: what relative paths are relative to. given: the set, in place of what the scenario says
    of it (`from_plan.py`). Raises InputError.
    """
    assumed: list[Assumption] = []
    watch = tuple(scenario.change.set_ or ())
    fleet, gaps = (given, ()) if given is not None else fleet_of(scenario.scale_set, folder, where, watch, assumed)
    if given is not None:
        tell(
            assumed,
            "scale set",
            f"{given.model.name}: {len(given.instances)} instances, as {where} saw it",
            "yours",
            "",
        )
    observed, fleet = fleet, assume_serving(fleet, assumed)
    total = len(fleet.instances)
    if total == 0:
        supply = next((gap.supply for gap in gaps if gap.code == "no-instances"), "")
        raise InputError(
            "the scale set has no instances",
            f"{where}: scale_set",
            "0",
            "at least 1",
            f"give the list that `{supply}` prints" if supply else "",
        )
    if fleet.model.service_fabric:
        raise InputError(
            "a Service Fabric cluster upgrades through Service Fabric, not by scale-set operations",
            f"{where}: scale_set",
            "the Service Fabric extension",
            "a set without it",
        )
    os = fleet.model.os.value
    book = timing_file.book(scenario.timing.file, folder)
    operations, ready = timings(scenario, os, where, assumed, book)
    objective = scenario.objective
    horizon_ms = span_ms(objective.horizon, f"{where}: objective.horizon")
    probability(objective.max_breach, f"{where}: objective.max_breach")
    min_healthy = (
        None if objective.min_healthy is None else amount_of(objective.min_healthy, f"{where}: objective.min_healthy")
    )
    if min_healthy is not None and at_least(min_healthy, total) > total:
        raise InputError(
            "more than there are", f"{where}: objective.min_healthy", f"{min_healthy} of {total}", f"at most {total}"
        )
    required, required_given = required_of(scenario, folder, where, total, min_healthy, horizon_ms, assumed)
    change, action = change_of(scenario.change, fleet, where)
    stages = STAGES[resolve(change, fleet, action).action]
    rates = book.failures.get(stages[-1].value, {})  # the operation that the rollout ends with; no other rate counts
    failures = failures_of(scenario.failures, where, assumed, rates.get(os))  # type: ignore[call-overload]
    room = quota.read(scenario.quota, total, f"{where}: quota")
    assumed += [Assumption(**one) for one in quota.told(scenario.quota, room)]
    choices, left_out = choices_of(scenario, fleet, gaps, where, operations, ready)
    if scenario.expect is not None:
        claims(scenario.expect, f"{where}: expect")
    poll = scenario.timing.poll
    poll_ms = POLL_MS if poll is None else parse_duration_ms(poll, f"{where}: timing.poll")
    tell(
        assumed,
        "poll",
        f"every {poll_ms / 1000:g} s" if poll_ms else "told at once",
        "guessed" if poll is None else "yours",
        "timing.poll",
    )
    give_up_ms = parse_duration_ms(scenario.timing.give_up, f"{where}: timing.give_up")
    if give_up_ms == 0:
        raise InputError("no instance serves the moment its VM is up", f"{where}: timing.give_up", "0", "more than 0")
    tell(
        assumed,
        "an instance is given up",
        f"not in service {give_up_ms / 60_000:g} min after its operation",
        "yours" if scenario.timing.give_up != 600 else "guessed",
        "timing.give_up",
    )
    probe_ms = parse_duration_ms(scenario.timing.probe, f"{where}: timing.probe")
    tell(
        assumed,
        "health probe",
        f"notices after {probe_ms / 1000:g} s",
        "yours" if scenario.timing.probe != 5 else "documented",
        "timing.probe",
    )
    return Setup(
        title=scenario.title,
        why=scenario.why,
        scale_set=fleet,
        observed=observed,
        change=change,
        action=action,
        world=quota.limited(
            newest(
                surrounded(world_of(fleet, operations, ready, probe_ms, failures), scenario, where, assumed), change
            ),
            room,
        ),
        faults=surroundings.faults(scenario.fault, f"{where}: fault"),
        poll_ms=poll_ms,
        poll_is_default=poll is None,
        deadlines=Deadlines(healthy_ms=give_up_ms),
        required=required,
        required_given=required_given,
        min_healthy=min_healthy,
        max_duration_ms=None
        if objective.max_duration is None
        else span_ms(objective.max_duration, f"{where}: objective.max_duration"),
        max_breach=objective.max_breach,
        horizon_ms=horizon_ms,
        choices=choices,
        left_out=left_out,
        assumptions=tuple(assumed),
        gaps=gaps,
        quota=room,
        ready_is_default=scenario.timing.ready is None and book.ready[os].origin != "yours",  # type: ignore[index]
        ready_p95_s=ready.ppf_ms_scalar(0.95) / 1000,
    )
