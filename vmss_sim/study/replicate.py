"""One replication of one strategy: plan, world, driver, guard, meter.

The measures are ground truth from the world's meter, by `planner.metrics`; the time runs on to the horizon after the
rollout has ended, so that availability is averaged over the same span for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.simulated import SimulatedBackend
from planner.amount import at_least
from planner.build import Request, build
from planner.change import at_target
from planner.metrics import Measures, count_intervals, from_intervals, left_broken, measure
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, Rollout, State
from planner.strategies import STRATEGIES, Strategy
from scenarios.build import Setup, build_world
from scenarios.choices import Choice
from vmss_sim.study.today import LABEL, nobody, today
from vmss_sim.world.scale_set import World


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one replication gave. breaches: the names of the objectives missed."""

    measures: Measures
    completed: bool
    rolled_back: bool
    breaches: tuple[str, ...]
    ending: str
    reason: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One replication with everything that can be looked at afterwards."""

    plan: Plan
    world: World
    journal: MemoryJournal
    state: State
    ended_ms: int
    row: Row


def plan_for(setup: Setup, choice: Choice, known: Mapping[str, Strategy] = STRATEGIES) -> Plan:
    """The plan of a choice. Raises InputError where it cannot be planned."""
    floor: int | str | None = None
    strategies, name, parameters = known, choice.name, choice.parameters
    if choice.label == LABEL:
        now = today(setup.scale_set, setup.change)
        if now.action is not None:
            setup = msgspec.structs.replace(setup, action=now.action)
        strategies, name, parameters, floor = {LABEL: now.strategy}, LABEL, now.parameters, now.floor
    plan = build(request_for(setup, name, parameters, floor, strategies))
    if choice.label != LABEL:
        return plan
    return msgspec.structs.replace(plan, ends=nobody(plan.ends))


def request_for(
    setup: Setup, name: str, parameters: Mapping[str, Any], floor: int | str | None, known: Mapping[str, Strategy]
) -> Request:
    """What a plan for this scenario is made from."""
    return Request(
        scale_set=setup.scale_set,
        change=setup.change,
        action=setup.action,
        strategy=name,
        parameters=parameters,
        floor=floor,
        min_healthy=setup.min_healthy,
        required=setup.required_given,
        strategies=known,
        title=setup.title,
        deadlines=setup.deadlines,
        quota=setup.quota,
    )


def run(setup: Setup, plan: Plan, seed: int, replication: int, rollout: Rollout | None = None) -> Run:
    """Carry the plan out once."""
    world = build_world(setup, seed, replication)
    backend = SimulatedBackend(world, setup.scale_set, poll_ms=setup.poll_ms, schedule=setup.schedule)
    journal = MemoryJournal()
    driver = Driver(rollout or Rollout(plan), backend, journal)
    state = driver.run()
    while state.phase is Phase.PAUSED and state.reason.startswith("approval"):
        journal.ask(Asked.APPROVE, reason="approved at once: nobody is asked in a simulation")
        state = driver.run()
    ended = world.now
    members = [name for batch in plan.batches for name in batch.take] or [
        name for name in setup.scale_set.instances if name not in plan.skipped
    ]
    instances = backend.observe().scale_set.instances
    if plan.surge is not None or (
        plan.handed is not None and plan.handed.policy.max_surge
    ):  # what was replaced is gone; what is there now has to be right
        members = [name for name in instances if name not in plan.skipped]
    target = plan.resolved.target
    given_up = {name for name, memory in state.memory.items() if memory.quarantined}  # no more than the plan tolerates

    def there(name: str) -> bool:
        """Is it where it should be? Where the snapshot cannot tell, the word of the operation on it counts, if there was one."""
        if name in given_up or name not in instances:  # somebody else removed it: there is nothing left to upgrade
            return True
        found = at_target(instances[name], target)
        arrived = found if found is not None else name in state.memory
        return arrived and instances[name].provisioning.value == "succeeded"

    completed = state.ending in ("finish", "finish-with-exceptions") and all(there(name) for name in members)
    if setup.horizon_ms > ended:
        world.run(setup.horizon_ms, stop_on_wake=False)
    row = _row(setup, world, ended, completed, state)
    return Run(plan=plan, world=world, journal=journal, state=state, ended_ms=ended, row=row)


def _row(setup: Setup, world: World, ended: int, completed: bool, state: State) -> Row:
    ever = len(world.vms) + len(world.gone)
    healthy = from_intervals(ever, world.outages(), 0)
    measures = measure(
        healthy,
        total=setup.total,
        required=setup.required,
        started_ms=0,
        ended_ms=ended,
        horizon_ms=setup.horizon_ms,
        bad=count_intervals(world.exposures(), 0) if setup.world.failures.bad_share else None,
    )
    return Row(
        measures=measures,
        completed=completed,
        rolled_back=state.back,
        breaches=breaches(setup, measures) + left_broken(healthy, setup.required, ended, setup.horizon_ms),
        ending=state.ending or state.phase.value,
        reason=_reason(state),
    )


def _reason(state: State) -> str:
    """Why instances were given up, where that is what ended it: the same words for every run it happened in."""
    why = sorted({memory.quarantined for memory in state.memory.values() if memory.quarantined})
    return ", ".join(why)


def breaches(setup: Setup, measures: Measures) -> tuple[str, ...]:
    """The objectives missed: `min_healthy`, `max_duration`; without any objective, `required`."""
    found = []
    if setup.min_healthy is not None and measures.min_healthy < floor_of(setup):
        found.append("min_healthy")
    if setup.max_duration_ms is not None and measures.duration_ms > setup.max_duration_ms:
        found.append("max_duration")
    if setup.min_healthy is None and setup.max_duration_ms is None and measures.downtime_ms > 0:
        found.append("required")
    return tuple(found)


def floor_of(setup: Setup) -> int:
    """The objective's `min_healthy` as a number of instances."""
    return at_least(setup.min_healthy or "0", setup.total)
