"""The plan that is to be carried out, and its forecast by simulation.

1. A plan is made from the set as it was observed, nothing assumed; the forecast simulates the set with the scenario's assumptions.
2. The forecast looks when `apply` would (`backends.schedule.ADAPTIVE`), unless the scenario names `timing.poll`: so it is told things when the
   executor would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from backends.schedule import ADAPTIVE
from planner.build import Request, build
from planner.errors import InputError
from planner.lint import Finding, lint_plan, lint_request, lint_set
from planner.plan import MovedBy, Plan
from planner.planfile import Assumption, Forecast
from planner.rollout import Rollout
from planner.strategies import STRATEGIES, Strategy
from planner.trace import Turn
from scenarios.build import Setup
from scenarios.choices import Choice
from vmss_sim.study.compare import Progress, Result, compare
from vmss_sim.study.replicate import request_for, run


def request_to_apply(setup: Setup, choice: Choice, known: Mapping[str, Strategy] = STRATEGIES, **more: Any) -> Request:
    """What the plan of this choice is made from: the set as observed. more: fields of the request that no scenario has."""
    made = request_for(setup, choice.name, choice.parameters, None, known)
    return msgspec.structs.replace(made, scale_set=setup.observed, **more)


def plan_to_apply(setup: Setup, choice: Choice, known: Mapping[str, Strategy] = STRATEGIES, **more: Any) -> Plan:
    """The plan of this choice. Raises InputError where it cannot be made."""
    return build(request_to_apply(setup, choice, known, **more))


def as_applied(setup: Setup) -> Setup:
    """Rule 2."""
    if not setup.poll_is_default:
        return setup
    (_, first), *_, (_, last) = ADAPTIVE.steps
    value = f"every {first / 1000:g} s at first, every {last / 1000:g} s after a long wait, as apply does"
    told = tuple(
        msgspec.structs.replace(one, value=value, origin="documented") if one.key == "timing.poll" else one
        for one in setup.assumptions
    )
    return msgspec.structs.replace(setup, schedule=ADAPTIVE, assumptions=told)


def forecast_of(
    setup: Setup,
    plan: Plan,
    choice: Choice,
    *,
    seed: int,
    replications: int,
    jobs: int = 0,
    progress: Progress | None = None,
    known: Mapping[str, Strategy] = STRATEGIES,
) -> Forecast:
    """Simulate one choice."""
    setup = as_applied(setup)
    only = msgspec.structs.replace(setup, choices=(choice,), left_out=())
    study = compare(only, seed=seed, replications=replications, jobs=jobs, progress=progress, known=known)
    return _told(setup, plan, study.results[0], seed, replications)


def _told(setup: Setup, plan: Plan, result: Result, seed: int, replications: int) -> Forecast:
    return Forecast(
        tool=plan.tool,
        seed=seed,
        replications=replications,
        poll_ms=setup.poll_ms if setup.schedule is None else setup.schedule.steps[0][1],
        schedule=() if setup.schedule is None else setup.schedule.steps,
        scenario=setup.title,
        metrics=result.summaries(),
        completed=result.completed(),
        breached=result.breached(),
        assumptions=tuple(Assumption(name=one.name, value=one.value, origin=one.origin) for one in setup.assumptions),
    )


def forecast_plan(
    setup: Setup, plan: Plan, *, seed: int, replications: int, progress: Progress | None = None
) -> Forecast:
    """Simulate a plan as it stands, in the world of a setup of the same set. Raises InputError for another set."""
    if setup.observed.instances.keys() != plan.scale_set.instances.keys():
        raise InputError(
            "the plan is for another scale set than the scenario",
            setup.title,
            f"{len(setup.observed.instances)} instances",
            f"the {len(plan.scale_set.instances)} of {plan.scale_set.name}, by the same ids",
        )
    setup, rollout, rows = as_applied(setup), Rollout(plan), []
    for replication in range(replications):
        rows.append(run(setup, plan, seed, replication, rollout).row)
        if progress is not None:
            progress(replication + 1, replications)
    choice = Choice(label=plan.strategy, name=plan.strategy, parameters=plan.parameters)
    return _told(setup, plan, Result(choice=choice, plan=plan, rows=tuple(rows)), seed, replications)


def batches_p95_ms(setup: Setup, plan: Plan, *, seed: int, replications: int) -> tuple[int, ...]:
    """How long each batch takes, from its first command until its gates hold: in 95 of 100 runs no longer. What the platform moves it moves
    in one go, so there each needs as long as all of it. Raises InputError where no run came to an end of any batch.
    """
    spans: list[list[int]] = [[] for _ in plan.batches]
    setup, rollout = as_applied(setup), Rollout(plan)
    for replication in range(replications):
        done = run(setup, plan, seed, replication, rollout)
        turns = [one for one in done.journal.records() if isinstance(one, Turn) and not one.state.back]
        if plan.moved_by is MovedBy.PLATFORM:
            first = next((turn.now_ms for turn in turns if turn.commands), done.ended_ms)
            if done.row.completed:
                for one in spans:
                    one.append(done.ended_ms - first)
            continue
        began: dict[int, int] = {}
        for turn in turns:
            for command in turn.commands:
                if command.batch is not None:
                    began.setdefault(command.batch, turn.now_ms)
            for note in turn.notes:
                if note.rule == "batch-done" and note.batch in began and note.batch < len(spans):
                    spans[note.batch].append(turn.now_ms - began[note.batch])
    longest = max((span for one in spans for span in one), default=0)  # of a batch that no run came to
    if plan.batches and not longest:
        raise InputError(
            "what a batch needs of a window is not known",
            "--window",
            f"no batch that ended in {replications} simulated runs",
            "a plan that can end",
            "`vmss-sim simulate` shows why it does not",
        )
    return tuple(sorted(one)[-(-len(one) * 95 // 100) - 1] if one else longest for one in spans)


def findings_of(
    setup: Setup, choice: Choice, plan: Plan, known: Mapping[str, Strategy] = STRATEGIES
) -> tuple[Finding, ...]:
    """What lint says of a plan and of the set it is for."""
    return (*lint_request(request_to_apply(setup, choice, known), setup.gaps), *lint_plan(plan, setup.observed))


def lint_choices(setup: Setup, known: Mapping[str, Strategy] = STRATEGIES) -> list[tuple[str, Finding]]:
    """The findings of a scenario: of the set, then of every strategy, each with its label."""
    of_set = lint_set(setup.observed, setup.gaps)
    found = [("set", one) for one in of_set]
    for choice in setup.choices:
        request = request_to_apply(setup, choice, known)
        try:
            plan = build(request)
        except InputError:
            found += [(choice.label, one) for one in lint_request(request) if one not in of_set]
        else:
            found += [(choice.label, one) for one in lint_plan(plan, setup.observed) if one not in of_set]
    return found
