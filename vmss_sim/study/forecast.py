"""The plan that is to be carried out, and its forecast by simulation.

1. A plan is made from the set as it was observed, nothing assumed; the forecast simulates the set with the scenario's assumptions.
2. The forecast uses the scenario's polling schedule, so that it is told things when the executor would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from planner.errors import InputError
from planner.lint import Finding, lint_plan, lint_request, lint_set
from planner.plan import Plan, Request, build
from planner.planfile import Assumption, Forecast
from planner.strategies import STRATEGIES, Strategy
from scenarios.build import Setup
from scenarios.choices import Choice
from vmss_sim.study.compare import Progress, compare
from vmss_sim.study.replicate import request_for


def request_to_apply(setup: Setup, choice: Choice, known: Mapping[str, Strategy] = STRATEGIES, **more: Any) -> Request:
    """What the plan of this choice is made from: the set as observed. more: fields of the request that no scenario has."""
    made = request_for(setup, choice.name, choice.parameters, None, known)
    return msgspec.structs.replace(made, scale_set=setup.observed, **more)


def plan_to_apply(setup: Setup, choice: Choice, known: Mapping[str, Strategy] = STRATEGIES, **more: Any) -> Plan:
    """The plan of this choice. Raises InputError where it cannot be made."""
    return build(request_to_apply(setup, choice, known, **more))


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
    only = msgspec.structs.replace(setup, choices=(choice,), left_out=())
    study = compare(only, seed=seed, replications=replications, jobs=jobs, progress=progress, known=known)
    result = study.results[0]
    return Forecast(
        tool=plan.tool,
        seed=seed,
        replications=replications,
        poll_ms=setup.poll_ms,
        scenario=setup.title,
        metrics=result.summaries(),
        completed=result.completed(),
        breached=result.breached(),
        assumptions=tuple(Assumption(name=one.name, value=one.value, origin=one.origin) for one in setup.assumptions),
    )


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
