"""Exact oracles where VMs are made new: rejuvenation of ageing VMs (O14), and replacement by surge (O12).

The rules of `test_oracles.py` hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from planner.metrics import Measures, constant, from_intervals, measure
from tests.oracle_chains import steady
from tests.oracle_worlds import DAY_MS, LIMIT, Law, Run, Trial, check, estimate, instances, window, world_config
from vmss_sim.world import lifecycle
from vmss_sim.world.config import Failures
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import IMAGE, World
from vmss_sim.world.timings import Constant, Exponential, Lognormal

HOUR_S = 3_600.0

# -- O14: rejuvenation --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ageing:
    """Huang, Kintala, Kolettis, Fulton 1995. Mean times: from robust to failure-prone, from there to a failure and to a
    rejuvenation (None: never), of a repair, of a rejuvenation. Both make a VM robust.
    """

    ages: float
    fails: float
    repair: float
    every: float | None
    rejuvenate: float

    @property
    def prone(self) -> float:
        """O14: p_p = 1 / (1 + lambda/r1 + r4/r3 + (lambda + r4)/r2)."""
        r4 = 1 / self.every if self.every else 0.0
        fail = 1 / self.fails
        return 1 / (1 + fail * self.repair + r4 * self.rejuvenate + (fail + r4) * self.ages)

    @property
    def down(self) -> float:
        """Share of time out of service: p_p (lambda/r1 + r4/r3)."""
        return self.prone * (self.repair / self.fails + (self.rejuvenate / self.every if self.every else 0.0))


def chain(a: Ageing, *, repaired: str = "robust", rejuvenated: str = "robust") -> dict[tuple[str, str], float]:
    """The four states and their rates; what a repair or a rejuvenation leads to may be mistaken."""
    rates = {
        ("robust", "prone"): 1 / a.ages,
        ("prone", "failed"): 1 / a.fails,
        ("failed", repaired): 1 / a.repair,
    }
    if a.every:
        rates["prone", "rejuvenating"] = 1 / a.every
        rates["rejuvenating", rejuvenated] = 1 / a.rejuvenate
    return rates


def down(shares: dict[str, float]) -> float:
    """Out of service in a steady distribution."""
    return shares["failed"] + shares.get("rejuvenating", 0.0)


APP_A = Ageing(ages=7 * 24, fails=8_640, repair=0.5, every=14 * 24, rejuvenate=1 / 3)
"""Application A, in hours: MTTF 12 months of 30 days, ageing 7 days, repair 30 min, rejuvenation 20 min."""
YEAR_H = 8_640


def test_o14_worked_values():
    """Hours down per year: never rejuvenated .4904, every two weeks 5.9661, weekly 8.7277."""
    cases = [replace(APP_A, every=every) for every in (None, 14 * 24, 7 * 24)]
    assert [round(YEAR_H * one.down, 4) for one in cases] == [0.4904, 5.9661, 8.7277]
    for one in cases:  # two ways to the same number
        shares = steady(chain(one))
        assert shares["prone"] == pytest.approx(one.prone)
        assert down(shares) == pytest.approx(one.down)


def rejuvenated(
    a: Ageing, n: int, span: float, burn: float, seed: int, replication: int, kind: str = "restart"
) -> tuple[float, int, int]:
    """Share of time down, failures and rejuvenations of n VMs in `span` seconds, after `burn` seconds. World alone.

    A clock of rate n/every looks at a VM at random, and has it made new if it serves and is failure-prone: memoryless, so
    every failure-prone VM is rejuvenated at the rate 1/every.
    """
    failures = Failures(mttf_ms=a.fails * 1000, mttr=Exponential(mean=a.repair), ageing_ms=a.ages * 1000)
    config = world_config(instances(n), Constant(60), failures=failures, **{kind: Exponential(mean=a.rejuvenate)})
    world = World(config, Draws(seed, replication, n))
    burn_ms, end_ms = round(burn * 1000), round((burn + span) * 1000)
    rng = np.random.default_rng((seed, replication))
    restarts = 0
    if a.every:
        looks = rng.exponential(a.every * 1000 / n, size=round(1.2 * n * (burn + span) / a.every) + 100).cumsum()
        assert looks[-1] > end_ms
        vms = list(world.vms.values())
        for number, (when, which) in enumerate(zip(looks, rng.integers(n, size=len(looks)), strict=True)):
            if when > end_ms:
                break
            world.run(int(when), stop_on_wake=False)
            vm = vms[which]
            if world.serving(vm) and vm.busy_until <= world.now and vm.prone_at <= world.now:
                assert world.submit(f"{kind} {number}", kind, (vm.id,)).kind == "accepted"
                restarts += world.now >= burn_ms
            world.ended.clear()
    world.run(end_ms, stop_on_wake=False)
    outages = list(world.outages())
    values, spans_ms = window(from_intervals(n, outages, 0), burn_ms, end_ms)
    lost = sum((n - value) * span for value, span in zip(values, spans_ms, strict=True)) / (n * (end_ms - burn_ms))
    begun = sum(burn_ms <= start < end_ms for start, _ in outages)
    return lost, begun - restarts, restarts


def test_o14_application_a_on_the_world():
    """Rejuvenated every two weeks: 5.9661 h down per year."""
    a = Ageing(**{name: value and value * HOUR_S for name, value in vars(APP_A).items()})
    found = [rejuvenated(a, 100, 2_000 * HOUR_S, 500 * HOUR_S, 140, replication) for replication in range(50)]
    check(
        "O14 hours down per year",
        [YEAR_H * lost for lost, _, _ in found],
        YEAR_H * a.down,
        {
            "no ageing": YEAR_H * replace(a, ages=0).down,
            "a rejuvenation does not make new": YEAR_H * down(steady(chain(a, rejuvenated="prone"))),
            "weekly": YEAR_H * replace(a, every=7 * 24 * HOUR_S).down,
        },
    )


BRISK = Ageing(ages=2_000, fails=3_000, repair=500, every=1_500, rejuvenate=300)


@pytest.mark.parametrize(
    ("every", "kind"), [(None, "restart"), (1_500, "restart"), (1_500, "reimage"), (1_500, "redeploy")]
)
def test_o14_ageing_on_the_world(every, kind):
    """All is of one order here, so that each part of the formula counts: share down, failures at lambda p_p,
    rejuvenations at r4 p_p, whichever operation makes new.
    """
    a, n, span = replace(BRISK, every=every), 20, 80_000
    found = [rejuvenated(a, n, span, 10_000, 141, replication, kind) for replication in range(50)]
    wrong = {
        "no ageing": replace(a, ages=1e-3),
        "ageing takes half": replace(a, ages=a.ages / 2),
    }
    shares = {"a repair does not make new": steady(chain(a, repaired="prone"))}
    if every:
        shares[f"a {kind} does not make new"] = steady(chain(a, rejuvenated="prone"))
    check(
        "O14 share down",
        [lost for lost, _, _ in found],
        a.down,
        {bug: one.down for bug, one in wrong.items()} | {bug: down(one) for bug, one in shares.items()},
    )
    prone = {bug: one.prone for bug, one in wrong.items()} | {bug: one["prone"] for bug, one in shares.items()}
    for what, mean, counts in (
        ("failures", a.fails, [f for _, f, _ in found]),
        ("rejuvenations", every, [r for *_, r in found]),
    ):
        if mean:
            scale = n * span / mean
            check(f"O14 {what}", counts, scale * a.prone, {bug: scale * share for bug, share in prone.items()})


def test_a_restart_that_does_not_make_new_is_found(monkeypatch):
    right = lifecycle.start

    def start(world, vm, kind, args):
        prone_at = vm.prone_at
        end = right(world, vm, kind, args)
        vm.prone_at = prone_at
        return end

    monkeypatch.setattr(lifecycle, "start", start)
    found = estimate(rejuvenated(BRISK, 20, 40_000, 10_000, 142, replication)[0] for replication in range(40))
    assert abs(found.z(BRISK.down)) > LIMIT
    assert abs(found.z(down(steady(chain(BRISK, rejuvenated="prone"))))) < LIMIT


# -- O12: surge ---------------------------------------------------------------------------------------------------

CREATE, READY, DELETE = Lognormal(median=120, sigma=0.4), Lognormal(median=45, sigma=0.5), Exponential(mean=60)
"""A creation, from its end to an application that serves, a deletion of any number."""


def extra_vm_s(world: World) -> float:
    """VM-seconds beyond those of the set as it was: a VM exists from the request that adds it until it is gone."""
    alive, extra = len(world.config.machines), 0
    for operation in sorted(world.operations.values(), key=lambda one: one.started_at):
        if operation.kind == "set-capacity":
            added = operation.args["capacity"] - alive
            assert added >= 0
            alive += added
            extra += added * (world.now - operation.started_at)
        elif operation.kind == "delete":
            alive -= len(operation.ids)
            extra -= len(operation.ids) * (world.now - operation.ends_at)
    return extra / 1000


def surge_by_hand(n: int, b: int, replication: int) -> tuple[Measures, World]:
    """Add b, wait until all of them serve, delete b of the old ones, and so on. World alone."""
    config = world_config(instances(n), Constant(60), READY, **{"scale-out": CREATE, "delete": DELETE})
    world = World(config, Draws(120, replication, n))
    world.submit("model", "update-model", patch={IMAGE + "version": "2.0.0"})
    old = tuple(world.vms)
    for first in range(0, n, b):
        leaving = old[first : first + b]
        added = world.submit(f"add {first}", "set-capacity", capacity=n + len(leaving)).operation
        assert added is not None
        world.run(added.ends_at, stop_on_wake=False)
        world.run(max(vm.serves_from for vm in world.vms.values()), stop_on_wake=False)
        assert len(world.vms) == n + len(leaving)
        removed = world.submit(f"delete {first}", "delete", leaving).operation
        assert removed is not None
        world.run(removed.ends_at, stop_on_wake=False)
    assert not set(old) & set(world.vms)
    measures = measure(
        from_intervals(len(world.vms) + len(world.gone), world.outages(), 0),
        total=n,
        required=constant(n),
        started_ms=0,
        ended_ms=world.now,
        horizon_ms=DAY_MS,
        bad=None,
    )
    return measures, world


def sizes(n: int, b: int) -> list[int]:
    """The batches."""
    return [min(b, n - first) for first in range(0, n, b)]


def test_o12_worked_value():
    """E[create batch of 50] = 395.03 s (reimage, boot, three probes), and so 395 025 VM-s for 1000 VMs by 50."""
    law = Law(Lognormal(median=120, sigma=0.4), Lognormal(median=45, sigma=0.3), Constant(45))
    each = law.largest_moment(50, 1)
    assert each == pytest.approx(395.03, abs=5e-3)
    assert sum(size * each for size in sizes(1000, 50)) == pytest.approx(395_025, abs=10)


@pytest.mark.parametrize(("n", "b"), [(12, 3), (10, 4)])
def test_o12_surge_on_the_world(n, b):
    """O12: min up >= n, downtime 0; extra cost = sum over batches of b (E[max of b creations] + E[delete]).

    What was added serves beyond n from its own readiness to that of the last: -capacity lost = sum of b (E[max] - E[d]).
    """
    law = Law(CREATE, READY)
    largest = {size: law.largest_moment(size, 1) for size in {*sizes(n, b), b + 1, 1}}
    extra, beyond, durations = [], [], []
    for replication in range(600):
        measures, world = surge_by_hand(n, b, replication)
        assert measures.min_healthy == n
        assert measures.downtime_ms == 0
        extra.append(extra_vm_s(world))
        beyond.append(-measures.capacity_lost_vm_ms / 1000)
        durations.append(measures.duration_ms / 1000)
    gone, mean = DELETE.mean_s(), law.largest_moment(1, 1)
    cost = sum(size * (largest[size] + gone) for size in sizes(n, b))
    bugs = {
        "free while deleted": cost - n * gone,
        "until its own readiness": n * (mean + gone),
        "b + 1 at a time": sum(size * (largest[b + 1] + gone) for size in sizes(n, b)),
    }
    check(f"O12 extra VM-seconds, {n} by {b}", extra, cost, bugs)
    check(
        f"O12 beyond n, {n} by {b}",
        beyond,
        sum(size * (largest[size] - mean) for size in sizes(n, b)),
        {"the old ones serve while deleted": cost - n * mean},
    )
    check(
        f"O12 duration, {n} by {b}",
        durations,
        sum(largest[size] + gone for size in sizes(n, b)),
        {"deletions at the end": sum(largest[size] for size in sizes(n, b)) + gone},
    )


@pytest.mark.parametrize(("n", "b"), [(12, 3), (10, 4)])
def test_o12_surge_over_the_whole_stack(n, b):
    """O12 with the strategy `surge`: without readiness what was added serves when its scale-out has ended, so the batch
    goes at once: sum of b (E[max of b creations] + E[delete]), min up >= n, as on the world alone.
    """
    law = Law(CREATE)
    largest = {size: law.largest_moment(size, 1) for size in {*sizes(n, b), b + 1, 1}}
    gone, mean = DELETE.mean_s(), law.largest_moment(1, 1)
    trial = Trial(
        n,
        Constant(1),
        "surge",
        {"size": b},
        required=n,
        operations={"scale-out": CREATE, "delete": DELETE},
        seed=121,
    )
    runs = surges(trial, 400)
    cost = sum(size * (largest[size] + gone) for size in sizes(n, b))
    check(
        f"O12 extra VM-seconds, stack, {n} by {b}",
        [extra_vm_s(run.world) for run in runs],
        cost,
        {"free while deleted": cost - n * gone, "until its own readiness": n * (mean + gone)},
    )
    check(
        f"O12 beyond n, stack, {n} by {b}",
        [-run.measures.capacity_lost_vm_ms / 1000 for run in runs],
        sum(size * (largest[size] - mean) for size in sizes(n, b)),
        {"the old ones serve while deleted": cost - n * mean},
    )
    check(
        f"O12 duration, stack, {n} by {b}",
        [run.measures.duration_ms / 1000 for run in runs],
        sum(largest[size] + gone for size in sizes(n, b)),
        {"deletions at the end": sum(largest[size] for size in sizes(n, b)) + gone},
    )


def test_o12_surge_with_readiness_is_cheaper_over_the_whole_stack():
    """Where what was added is not ready when its scale-out ends, O12 is an upper bound: an old one goes as soon as one that
    was added serves, but not before the scale-out has ended (M, the longest creation).

    Batches of 2, deletions of no length, W the longest creation and readiness, F the law of a creation and G of creation
    and readiness: each of the two stays until it serves itself and the other was created, 2 ∫ 1 - F G dx. T = m E[W] as
    ever, E[W] = ∫ 1 - G² dx. Looking only when the scale-out has ended and when all serve would cost
    2 E[W] - E[R] P(X + R <= M), P = 2 ∫ G dF, X + R of the one that was created sooner, R a readiness.
    """
    n, b = 12, 2
    created, serves = Law(CREATE), Law(CREATE, READY)
    whole = serves.largest_moment(b, 1)
    sooner = 2 * float(np.dot(serves.cdf, np.diff(created.cdf, prepend=0.0)))
    trial = Trial(n, Constant(1), "surge", {"size": b}, READY, required=n, operations={"scale-out": CREATE}, seed=122)
    runs = surges(trial, 600)
    check(
        "O12 extra VM-seconds, with readiness",
        [extra_vm_s(run.world) for run in runs],
        n * created.integral(1.0 - created.cdf * serves.cdf),
        {
            "all at once": n * whole,
            "looking only when all serve": n / b * (2 * whole - READY.mean_s() * sooner),
            "before the scale-out has ended": n * serves.largest_moment(1, 1),
        },
    )
    check(
        "O12 duration, with readiness",
        [run.measures.duration_ms / 1000 for run in runs],
        n / b * whole,
        {"one at a time": n / b * serves.largest_moment(1, 1)},
    )


def surges(trial: Trial, replications: int) -> list[Run]:
    """Rollouts that replaced all, and never had fewer than n up."""
    runs = list(trial.runs(replications))
    for run in runs:
        assert run.state.ending == "finish", run.state.reason
        assert run.measures.min_healthy == trial.n
        assert run.measures.downtime_ms == 0
        assert not set(trial.snapshot.instances) & set(run.world.vms)
    return runs
