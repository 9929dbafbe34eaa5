"""Compare strategies on a scenario: replications under common random numbers, statistics, recommendation.

1. Replication r has the same luck for every strategy, in every process: `--jobs` changes the time, never the numbers.
2. A strategy that cannot be planned is refused with its reason; the others are compared.
3. `today` is always among them.
4. What the verdict rests on is listed; for a guess, `flips_at` says from where on another strategy would be recommended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from planner.errors import InputError
from planner.plan import Plan
from planner.planfile import Proportion, Summary
from planner.rollout import Rollout
from planner.strategies import STRATEGIES, Strategy
from scenarios.build import Setup
from scenarios.choices import Choice
from scenarios.expect import METRICS
from scenarios.given import Assumption
from vmss_sim.study.replicate import Row, plan_for, run
from vmss_sim.study.statistics import pareto, proportion, summary
from vmss_sim.study.today import LABEL, today

Progress = Callable[[int, int], None]
CHUNK_VMS = 4_000  # instances simulated in one task: a tenth of a second or so, so that handing it out costs little


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's replications, in order, and the plan they carried out."""

    choice: Choice
    plan: Plan
    rows: tuple[Row, ...]

    def values(self, metric: str) -> list[float]:
        """One number a replication, in the unit the metric's name says."""
        rows = self.rows
        match metric:
            case "min_healthy":
                return [float(row.measures.min_healthy) for row in rows]
            case "availability":
                return [row.measures.availability for row in rows]
            case "duration_completed_s":
                return [row.measures.duration_ms / 1000 for row in rows if row.completed]
        field = metric.removesuffix("_s") + "_ms"
        return [getattr(row.measures, field) / 1000 for row in rows]

    def summaries(self) -> dict[str, Summary]:
        """All metrics."""
        return {metric: summary(self.values(metric)) for metric in METRICS}

    def completed(self) -> Proportion:
        """Probability of completing."""
        return proportion(sum(row.completed for row in self.rows), len(self.rows))

    def breached(self) -> Proportion:
        """Probability of missing an objective."""
        return proportion(sum(bool(row.breaches) for row in self.rows), len(self.rows))

    def rolled_back(self) -> Proportion:
        """Probability of going back."""
        return proportion(sum(row.rolled_back for row in self.rows), len(self.rows))


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy that was not compared, and why."""

    label: str
    because: str


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison: the results in the order asked for, `today` last."""

    setup: Setup
    seed: int
    replications: int
    results: tuple[Result, ...]
    refused: tuple[Refused, ...]
    today: str

    def front(self) -> tuple[str, ...]:
        """The Pareto front: labels of the strategies that no other equals or beats in every respect of `FRONT` and beats in one."""
        points = [
            (
                one.choice.label,
                {name: summary(one.values(name)).mean or 0.0 for name in FRONT} | {"completed": _share(one)},
            )
            for one in self.results
        ]
        return pareto(points, {name for name in FRONT if name.endswith("_s")})


FRONT = ("duration_s", "downtime_s", "min_healthy")
"""What the Pareto front weighs, by its mean over all runs, beside the share that completes."""


def _share(one: Result) -> float:
    return one.completed().estimate or 0.0


def plans(setup: Setup, known: Mapping[str, Strategy] = STRATEGIES) -> tuple[list[tuple[Choice, Plan]], list[Refused]]:
    """The plans to compare, and what cannot be planned (rules 2 and 3)."""
    made: list[tuple[Choice, Plan]] = []
    refused = [Refused(label=label, because=reason) for label, reason in setup.left_out]
    for choice in (*setup.choices, Choice(label=LABEL, name=LABEL, parameters={})):
        try:
            made.append((choice, plan_for(setup, choice, known)))
        except InputError as error:
            refused.append(Refused(label=choice.label, because=str(error)))
    if len(made) <= 1:
        # At most `today` is left: nothing to compare it with, so the first reason is the answer.
        raise InputError(
            f"no strategy can be planned: {refused[0].because}" if refused else "no strategy to compare", setup.title
        )
    return made, refused


def compare(
    setup: Setup,
    *,
    seed: int = 1,
    replications: int = 200,
    jobs: int = 0,
    progress: Progress | None = None,
    known: Mapping[str, Strategy] = STRATEGIES,
) -> Study:
    """Run every strategy `replications` times. jobs: processes; 0 means as many as the work is worth."""
    if replications < 1:
        raise InputError("at least one replication is needed", "-n", str(replications), "1 or more")
    made, refused = plans(setup, known)
    tasks = list(_tasks(len(made), replications, setup.total))
    rows: dict[int, dict[int, list[Row]]] = {index: {} for index in range(len(made))}
    total, done = replications * len(made), 0
    for index, first, part in _run_tasks(setup, [plan for _, plan in made], seed, tasks, _jobs(jobs, setup, total)):
        rows[index][first] = part
        done += len(part)
        if progress is not None:
            progress(done, total)
    results = tuple(
        Result(choice=choice, plan=plan, rows=tuple(row for first in sorted(rows[index]) for row in rows[index][first]))
        for index, (choice, plan) in enumerate(made)
    )
    return Study(
        setup=setup,
        seed=seed,
        replications=replications,
        results=results,
        refused=tuple(refused),
        today=today(setup.scale_set, setup.change).says,
    )


def _jobs(jobs: int, setup: Setup, total: int) -> int:
    if jobs < 0:
        raise InputError("a number of processes", "--jobs", str(jobs), "0 (as many as it is worth) or more")
    if jobs:
        return jobs
    return (os.cpu_count() or 1) if setup.total * total > 100 * CHUNK_VMS // 4 else 1


def _tasks(strategies: int, replications: int, instances: int) -> Iterator[tuple[int, int, int]]:
    """(strategy, first replication, one past the last)."""
    size = max(1, min(replications, CHUNK_VMS // max(1, instances)))
    for first in range(0, replications, size):
        for index in range(strategies):
            yield index, first, min(replications, first + size)


def _run_tasks(
    setup: Setup, made: Sequence[Plan], seed: int, tasks: Sequence[tuple[int, int, int]], jobs: int
) -> Iterator[tuple[int, int, list[Row]]]:
    if jobs == 1:
        rollouts = [Rollout(plan) for plan in made]
        for index, first, last in tasks:
            yield index, first, [run(setup, made[index], seed, one, rollouts[index]).row for one in range(first, last)]
        return
    from joblib import Parallel, delayed  # noqa: PLC0415  # 0.2 s that a small study need not pay

    call = delayed(_chunk)
    yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(
        call(setup, made[index], seed, index, first, last) for index, first, last in tasks
    )


def _chunk(setup: Setup, plan: Plan, seed: int, index: int, first: int, last: int) -> tuple[int, int, list[Row]]:
    rollout = Rollout(plan)
    return index, first, [run(setup, plan, seed, one, rollout).row for one in range(first, last)]


# -- the published schema ---------------------------------------------------------------------------------------------

SCHEMA = "vmss-sim/compare/1"


def document(study: Study, recommendation: Mapping[str, Any], flips: Mapping[str, str | None]) -> dict[str, Any]:
    """The result as published JSON (docs/compare-json.md)."""
    return {
        "schema": SCHEMA,
        "scenario": study.setup.title,
        "seed": study.seed,
        "replications": study.replications,
        "instances": study.setup.total,
        "today": study.today,
        "strategies": [
            {
                "name": result.choice.label,
                "strategy": result.choice.name,
                "parameters": result.plan.parameters,
                "floor": {"given": result.plan.floor.given, "absolute": result.plan.floor.absolute},
                "batches": len(result.plan.batches),
                "metrics": {
                    name: {key: getattr(value, key) for key in ("mean", "p05", "p50", "p95", "p99", "ci95")}
                    for name, value in result.summaries().items()
                },
                "probability": {
                    name: {"estimate": value.estimate, "ci95": value.ci95}
                    for name, value in (
                        ("completed", result.completed()),
                        ("breached", result.breached()),
                        ("rolled_back", result.rolled_back()),
                    )
                },
            }
            for result in study.results
        ],
        "pareto_front": list(study.front()),
        "refused": [{"name": one.label, "because": one.because} for one in study.refused],
        "assumptions": [assumption_document(one, flips) for one in study.setup.assumptions],
        "recommendation": dict(recommendation),
    }


def assumption_document(one: Assumption, flips: Mapping[str, str | None]) -> dict[str, Any]:
    """One assumption as published."""
    return {"name": one.name, "value": one.value, "origin": one.origin, "flips_at": flips.get(one.name), "key": one.key}
