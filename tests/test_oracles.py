"""Exact oracles: what the whole stack must give on average, from formulas that know nothing of it.

Rules of these tests:

1. Each test names its oracle and states the formula. Notation: n instances, batches of b, m = n/b of them, H_b = 1 + 1/2
   + … + 1/b, F the distribution of one VM's outage (operation, then ready, then probe), Bin the binomial.
2. Seeds are fixed, replications independent. |z| < 4, so that a right stack fails one check in 16 000, once, when a seed
   is chosen, and never again.
3. A check that cannot fail is no check: each one also holds a value that a plausible mistake would give (one VM more in
   the batch, >= for >, one retry more) and demands |z| > 4 for it. At the end the mistakes are made in the stack itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from planner.machine import batches
from planner.metrics import from_intervals
from planner.strategies import STRATEGIES
from tests.oracle_chains import birth_death
from tests.oracle_worlds import LIMIT, Law, Run, Trial, check, estimate, instances, window, world_config
from vmss_sim.world import lifecycle
from vmss_sim.world.config import Failures
from vmss_sim.world.draws import Draws
from vmss_sim.world.recorded import RECORDED
from vmss_sim.world.scale_set import IMAGE, World
from vmss_sim.world.timings import Constant, Empirical, Exponential, Lognormal, Mixture, Part, Shifted, Timing


def check_mean_and_variance(
    what: str, samples: Iterable[float], mean: float, variance: float, bugs: Mapping[str, float]
) -> None:
    """The mean, and the second moment about the exact mean."""
    values = list(samples)
    check(f"{what}, mean", values, mean, bugs)
    check(f"{what}, variance", [(value - mean) ** 2 for value in values], variance, {"half of it": variance / 2})


def harmonic(b: int, power: int = 1) -> float:
    """1 + 1/2^power + … + 1/b^power."""
    return sum(1 / i**power for i in range(1, b + 1))


def durations_s(trial: Trial, replications: int) -> list[float]:
    """How long each rollout took; all of them finished."""
    found = []
    for run in trial.runs(replications):
        assert run.state.ending == "finish", run.state.reason
        found.append(run.measures.duration_ms / 1000)
    return found


# -- O1: steady state of background failures ---------------------------------------------------------------------


def test_o1_steady_state_of_background_failures():
    """O1: P(up >= k) = P(Bin(n, A) >= k), A = mttf / (mttf + mttr): independent VMs, as many crews as needed.

    O3 goes with it, since a share of time says nothing of how often: the rate of dropping below k is
    P(up = k) k / mttf. World alone, no rollout.
    """
    n, mttf_s, mttr_s, burn_ms, span_ms, replications = 10, 2_000.0, 300.0, 4_000_000, 60_000_000, 60
    availability = mttf_s / (mttf_s + mttr_s)
    config = world_config(
        instances(n), Constant(60), failures=Failures(mttf_ms=mttf_s * 1000, mttr=Exponential(mean=mttr_s))
    )
    curves = []
    for replication in range(replications):
        world = World(config, Draws(1, replication, n))
        world.run(burn_ms + span_ms, stop_on_wake=False)
        curves.append(window(from_intervals(n, world.outages(), 0), burn_ms, burn_ms + span_ms))
    one_crew = birth_death(n, 1 / mttf_s, 1 / mttr_s, 1)
    many_crews = birth_death(n, 1 / mttf_s, 1 / mttr_s, n)
    for k in (7, 8, 9, 10):
        exact = float(stats.binom.sf(k - 1, n, availability))
        assert exact == pytest.approx(sum(many_crews[: n - k + 1]))  # two ways to the same number
        share, drops = [], []
        for values, spans_ms in curves:
            share.append(sum(span for value, span in zip(values, spans_ms, strict=True) if value >= k) / span_ms)
            drops.append(sum(before >= k > after for before, after in pairwise(values)) / (span_ms / 3_600_000))
        check(
            f"O1 P(up >= {k} of {n})",
            share,
            exact,
            {
                "one crew": sum(one_crew[: n - k + 1]),
                "k - 1": float(stats.binom.sf(k - 2, n, availability)),
                "A = 1 - mttr/mttf": float(stats.binom.sf(k - 1, n, 1 - mttr_s / mttf_s)),
            },
        )
        rate = float(stats.binom.pmf(k, n, availability)) * k / mttf_s * 3600
        check(f"O3 drops below {k} per hour", drops, rate, {"n for k": rate * n / k} if k < n else None)


def test_a_bad_image_shows_however_often_its_vms_fail_by_themselves():
    """VMs that cannot live with the new image are Bin(n, share), whatever else happens to them before it shows.

    A VM that failed and was repaired before its time must not be counted among the good ones: n share exp(-after/mttf).
    """
    n, share, after_s, mttf_s, replications = 20, 0.3, 600.0, 500.0, 200
    failures = Failures(bad_share=share, bad_after_ms=600_000, mttf_ms=mttf_s * 1000, mttr=Constant(0))
    config = world_config(instances(n), Constant(10), failures=failures)
    out = []
    for replication in range(replications):
        world = World(config, Draws(2, replication, n))
        world.submit("model", "update-model", patch={IMAGE + "version": "2.0.0"})
        world.submit("all", "upgrade", tuple(world.vms))
        world.run(3_600_000, stop_on_wake=False)
        out.append(sum(not world.serving(vm) for vm in world.vms.values()))
    check(
        f"bad of {n}",
        out,
        n * share,
        {"a failure is a way out": n * share * float(np.exp(-after_s / mttf_s)), "all of them": n},
    )


# -- O4, O5: how long a rollout with a barrier after each batch takes ---------------------------------------------


@pytest.mark.parametrize(
    ("n", "b", "pause_s"), [(20, 5, 0), (18, 3, 0), (15, 5, 40)], ids=["20 by 5", "18 by 3", "15 by 5 with pause"]
)
def test_o4_barrier_with_exponential_operations(n, b, pause_s):
    """O4: T = sum over m batches of c + max of b exponentials: E[T] = m (c + H_b/mu), Var[T] = m sum 1/(i mu)².

    c is a shift of the operation itself; a pause adds m - 1 times its length, since none follows the last batch.
    """
    c, mean = 30.0, 180.0
    m = n // b
    trial = Trial(
        n, Shifted(c, Exponential(mean=mean)), parameters={"size": b, "pause_ms": pause_s * 1000}, seed=40 + b + pause_s
    )
    exact = m * (c + harmonic(b) * mean) + (m - 1) * pause_s
    bugs = {
        "b + 1 in a batch": m * (c + harmonic(b + 1) * mean) + (m - 1) * pause_s,
        "a batch more": exact / m * (m + 1),
    }
    if pause_s:
        bugs["a pause after the last batch"] = exact + pause_s
    check_mean_and_variance(
        f"O4 duration, {n} by {b}", durations_s(trial, 1000), exact, m * harmonic(b, 2) * mean**2, bugs
    )


ANY_LAW: dict[str, tuple[Timing, ...]] = {
    "lognormal": (Lognormal(median=120, sigma=0.4),),
    "operation and ready": (Lognormal(median=120, sigma=0.4), Lognormal(median=45, sigma=0.3)),
    "empirical": (Empirical((20, 25, 31, 60, 61, 200)),),
    "mixture": (
        Mixture((Part(3, Lognormal(median=100, sigma=0.2)), Part(1, Shifted(240, Exponential(mean=60, cap=300))))),
    ),
    "recorded reimage, Windows": (Mixture(RECORDED["reimage"]["windows"].timing.parts),),
}


@pytest.mark.parametrize("name", ANY_LAW)
def test_o5_barrier_with_any_law(name):
    """O5: E[T] = m ∫ (1 - F^b) dx, Var[T] = m (∫ 2x (1 - F^b) dx - (∫ (1 - F^b) dx)²), F by numeric convolution."""
    n, b, probe_s = 15, 5, 5.0
    m = n // b
    operation, ready = (*ANY_LAW[name], Constant(0))[:2]
    law = Law(operation, ready, Constant(probe_s))
    first, second = law.largest_moment(b, 1), law.largest_moment(b, 2)
    trial = Trial(n, operation, ready=ready, probe_ms=round(probe_s * 1000), parameters={"size": b}, seed=50)
    check_mean_and_variance(
        f"O5 duration, {name}",
        durations_s(trial, 1000),
        m * first,
        m * (second - first**2),
        {"b - 1 in a batch": m * law.largest_moment(b - 1, 1), "b + 1": m * law.largest_moment(b + 1, 1)},
    )


def test_o5_barrier_under_a_regime():
    """O5 in each regime, then over the regimes: the total of mean and variance. A draw a VM would be another law."""
    n, b, m = 15, 5, 3
    timing = RECORDED["reimage"]["windows"].timing
    assert isinstance(timing, Mixture)
    assert timing.shared
    total = sum(part.weight for part in timing.parts)
    mean = second = 0.0
    for part in timing.parts:
        first, square = (Law(part.of).largest_moment(b, power) for power in (1, 2))
        mean += part.weight / total * m * first
        second += part.weight / total * (m * (square - first**2) + (m * first) ** 2)
    trial = Trial(n, timing, parameters={"size": b}, seed=50)
    independent = m * Law(Mixture(timing.parts)).largest_moment(b, 1)
    check_mean_and_variance(
        "O5 duration, regime", durations_s(trial, 1000), mean, second - mean**2, {"a draw a VM": independent}
    )


def test_o5_worked_values():
    """E[max of b] / mean for a lognormal(120 s, 0.4): 1.525, 1.993, 2.311, 2.806 for b = 5, 20, 50, 200."""
    timing = Lognormal(median=120, sigma=0.4)
    law = Law(timing)
    ratios = [law.largest_moment(b, 1) / timing.mean_s() for b in (5, 20, 50, 200)]
    assert ratios == pytest.approx([1.525, 1.993, 2.311, 2.806], abs=5e-4)


# -- O6: the lowest point, with failures that stay ----------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_o6_lowest_point_with_retries(retries):
    """O6: min up = n - b - D, D ~ Bin(n - b, p^(r + 1)): those of the earlier batches that failed r + 1 times are dead.

    Failures are tolerated (max_failed = n) and the floor lets a whole batch go however many are dead.
    E = n - b - (n - b) p^(r + 1); and at the end n - Bin(n, p^(r + 1)) are up.
    """
    n, b, p = 12, 4, 0.4
    dead = p ** (retries + 1)
    trial = Trial(
        n,
        Lognormal(median=120, sigma=0.4),
        ready=Lognormal(median=45, sigma=0.3),
        parameters={"size": b, "retries": retries, "max_failed": n},
        failures=Failures(upgrade=p),
        floor=0,
        seed=60 + retries,
    )
    runs = list(trial.runs(800))
    assert {run.state.ending for run in runs} <= {"finish", "finish-with-exceptions"}
    bugs = {"a retry more": n - b - (n - b) * dead * p, "the last batch's dead": n - b - n * dead}
    check_mean_and_variance(
        f"O6 min up, {retries} retries",
        [run.measures.min_healthy for run in runs],
        n - b - (n - b) * dead,
        (n - b) * dead * (1 - dead),
        bugs,
    )
    check(
        f"O6 given up, {retries} retries",
        [run.state.given_up for run in runs],
        n * dead,
        {"a retry more": n * dead * p},
    )
    attempts = sum(p**k for k in range(retries + 1))
    check(
        f"O6 upgrades per instance, {retries} retries",
        [sum(map(len, run.taken)) / n for run in runs],
        attempts,
        {"a retry more": attempts + dead},
    )
    for run in runs:
        assert max(Counter(name for ids in run.taken for name in ids).values()) <= retries + 1


# -- O7: capacity lost is the same for every strategy ------------------------------------------------------------

EVERY_ID = [str(number) for number in range(12)]
STRATEGY_CASES = (
    ("automatic", {}, None),
    ("one-by-one", {}, None),
    ("selected", {"ids": EVERY_ID}, None),
    ("selected", {"ids": EVERY_ID[::-1], "size": 5}, None),
    ("per-ud", {}, None),
    ("per-ud", {}, 10),
    ("per-fd", {}, None),
    ("per-zone", {"pause_ms": 60_000}, None),
    ("batch", {"size": 1}, None),
    ("batch", {"size": 3, "pause_ms": 90_000}, None),
    ("batch", {"size": 3, "soak_ms": 30_000, "order": "placement"}, None),
    ("batch", {"size": "50%"}, None),
    ("batch", {"size": "100%", "fit": True}, 8),
    ("ramp", {"cap": "50%"}, None),
    ("ramp", {"canary": 2, "canary_soak_ms": 600_000, "start": 4, "factor": 3, "cap": "100%"}, None),
)


def test_o7_every_strategy_stands_in_the_table():
    other = {
        "surge",  # lifts healthy above n: O12, test_oracles_renewal.py
        "platform-rolling",  # the platform's own ticks and policy: test_platform_rolling.py, test_preview.py
    }
    assert {name for name, _, _ in STRATEGY_CASES} == set(STRATEGIES) - other, (
        "add the strategy to STRATEGY_CASES, or a test by its own formula"
    )


def outage_of(name: str, parameters: dict[str, object], floor: int | None) -> Trial:
    """The set of O7: an operation, then readiness, then the probe; no failures."""
    return Trial(
        12,
        Lognormal(median=120, sigma=0.5),
        strategy=name,
        parameters=dict(parameters),
        ready=Exponential(mean=30),
        probe_ms=5_000,
        floor=floor,
        seed=70,
    )


@pytest.mark.parametrize(
    ("name", "parameters", "floor"), STRATEGY_CASES, ids=[f"{name} {p} {f or ''}" for name, p, f in STRATEGY_CASES]
)
def test_o7_capacity_lost_is_an_identity(name, parameters, floor):
    """O7 without failures, replication by replication: capacity lost = sum of d_i, whatever the order and batches.

    Brewer's DQ principle. With common random numbers it is no average: the right side is computed from the draws alone,
    to the millisecond.
    """
    trial = outage_of(name, parameters, floor)
    for replication in range(12):
        draws = Draws(trial.seed, replication, trial.n)
        expected = (
            trial.operation.ppf_ms(draws.first("operation")).sum()
            + trial.ready.ppf_ms(draws.first("ready")).sum()
            + trial.n * trial.probe_ms
        )
        run = trial.run(replication)
        assert run.state.ending == "finish", run.state.reason
        assert run.measures.capacity_lost_vm_ms == expected
        assert sorted((name for ids in run.taken for name in ids), key=int) == (EVERY_ID if run.taken else [])


def test_o7_capacity_lost_is_n_times_the_mean_outage():
    """O7 on average: E[capacity lost] = n E[d], E[d] = E[operation] + E[ready] + probe."""
    trial = outage_of("per-ud", {}, None)
    exact = trial.n * (trial.operation.mean_s() + trial.ready.mean_s() + trial.probe_ms / 1000)
    check(
        "O7 capacity lost, VM-seconds",
        [run.measures.capacity_lost_vm_ms / 1000 for run in trial.runs(500)],
        exact,
        {
            "without readiness": exact - trial.n * trial.ready.mean_s(),
            "the median for the mean": trial.n * (120 + 30 + 5),
        },
    )


def test_o7_capacity_lost_with_dead_instances():
    """O7 with failures: n E[d] + the dead VMs' time from the end of their operation to the end of the rollout.

    For one batch of b, no readiness, no retries: a dead VM is out until M = max d_i, so
    E[area] = b E[d] + b p (E[M] - E[d]).
    """
    b, p = 6, 0.3
    operation = Lognormal(median=120, sigma=0.5)
    law = Law(operation)
    trial = Trial(
        b,
        operation,
        parameters={"size": b, "retries": 0, "max_failed": b},
        failures=Failures(upgrade=p),
        floor=0,
        seed=71,
    )
    mean, largest = operation.mean_s(), law.largest_moment(b, 1)
    check(
        "O7 capacity lost with dead",
        [run.measures.capacity_lost_vm_ms / 1000 for run in trial.runs(1000)],
        b * mean + b * p * (largest - mean),
        {"the dead not counted": b * mean, "out until all b are back, all": b * largest},
    )


# -- O8: time below a level --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [11, 13, 15])
def test_o8_time_below_a_level(level):
    """O8 without failures: below `level` until `need` of the batch are back, need = level - (n - b):
    E = m E[X_(need:b)] = m ∫ P(Bin(b, F(x)) < need) dx, the need-th of b order statistics.
    """
    n, b = 15, 5
    need = level - (n - b)
    operation, ready = Lognormal(median=120, sigma=0.4), Lognormal(median=45, sigma=0.3)
    law = Law(operation, ready)
    below = [law.integral(stats.binom.cdf(k - 1, b, law.cdf)) for k in range(b + 2)]
    trial = Trial(n, operation, ready=ready, parameters={"size": b}, required=level, seed=80 + level)
    m = n // b
    bugs = {"one back more": m * below[need + 1]} if need < b else {}
    if need > 1:
        bugs["one back fewer"] = m * below[need - 1]
    check(
        f"O8 seconds below {level} of {n}",
        [run.measures.downtime_ms / 1000 for run in trial.runs(800)],
        m * below[need],
        bugs,
    )


def test_o8_time_below_a_level_with_dead_instances():
    """O8 with dead failures (probability p, no retries): sum over batches k and the dead D before it, D ~ Bin(kb, p), of
    ∫ P(Bin(b, (1-p) F(x)) < need + D) - F(x)^b P(Bin(b, 1-p) < need + D) dx.

    The first term alone would go on for ever where too few are left alive; the second ends it with the batch, at the
    last of the b operations. Fewer than `level` alive after the last batch: the time until T counts, no more.
    """
    n, b, p, level = 15, 5, 0.15, 12
    m, need = n // b, level - (n - b)
    operation = Lognormal(median=120, sigma=0.4)
    law = Law(operation)

    def below(need_now: int) -> float:
        alive = stats.binom.cdf(need_now - 1, b, 1 - p)
        return law.integral(stats.binom.cdf(need_now - 1, b, (1 - p) * law.cdf) - law.cdf**b * alive)

    def expected(accumulate: bool) -> float:
        return sum(
            stats.binom.pmf(dead, k * b, p) * below(need + (dead if accumulate else 0))
            for k in range(m)
            for dead in range(k * b + 1)
        )

    trial = Trial(
        n,
        operation,
        parameters={"size": b, "retries": 0, "max_failed": n},
        failures=Failures(upgrade=p),
        floor=0,
        required=level,
        seed=88,
    )
    check(
        f"O8 seconds below {level} of {n}, with dead",
        [run.measures.downtime_ms / 1000 for run in trial.runs(1000)],
        expected(accumulate=True),
        {"the dead forgotten": expected(accumulate=False), "no failures": m * below(need)},
    )


# -- O10: gates --------------------------------------------------------------------------------------------------

GATE_N, GATE_B, GATE_P = 20, 4, 0.1
GATE_OPERATION = Exponential(mean=120)


def gated(most: int, seed: int) -> Trial:
    """A rollout that stops when more than `most` instances failed for good."""
    return Trial(
        GATE_N,
        GATE_OPERATION,
        parameters={"size": GATE_B, "retries": 0, "max_failed": most},
        failures=Failures(upgrade=GATE_P),
        floor=0,
        seed=seed,
    )


def batches_before_stop(most: int) -> float:
    """E[batches] = 1 + sum over k < m of P(Bin(kb, p) <= X)."""
    m = GATE_N // GATE_B
    return 1 + sum(float(stats.binom.cdf(most, k * GATE_B, GATE_P)) for k in range(1, m))


@pytest.mark.parametrize("most", [0, 1, 2])
def test_o10_gate_on_failed_instances(most):
    """O10, cumulative, strict >: P(stop) = P(Bin(n, p) > X); E[batches] = 1 + sum over k < m of P(Bin(kb, p) <= X).

    Times are independent of failures, so E[T] = E[batches] E[max of b] (Wald).
    """
    runs = list(gated(most, 100 + most).runs(800))
    stopped = [run.state.ending == "stop" for run in runs]
    exact = float(stats.binom.sf(most, GATE_N, GATE_P))
    check(
        f"O10 P(stop), more than {most}",
        stopped,
        exact,
        {
            "one more tolerated": float(stats.binom.sf(most + 1, GATE_N, GATE_P)),
            **({">= for >": float(stats.binom.sf(most - 1, GATE_N, GATE_P))} if most else {}),
        },
    )
    expected = batches_before_stop(most)
    check(
        f"O10 batches, more than {most}",
        [len(run.taken) for run in runs],
        expected,
        {
            "one more tolerated": batches_before_stop(most + 1),
            "stops a batch late": expected + exact,
        },
    )
    check(
        f"O10 duration, more than {most}",
        [run.measures.duration_ms / 1000 for run in runs],
        expected * harmonic(GATE_B) * GATE_OPERATION.mean_s(),
        {"no gate": GATE_N / GATE_B * harmonic(GATE_B) * GATE_OPERATION.mean_s()},
    )
    for run, stop in zip(runs, stopped, strict=True):
        assert stop == (run.state.given_up > most)
        assert run.state.ending in ("stop", "finish", "finish-with-exceptions")


# -- O15: failures that revert -----------------------------------------------------------------------------------


def expected_rounds(n: int, b: int, q: float, after: Callable[[int, int], int]) -> float:
    """E[rounds] from 0 to n upgraded by linear solve: x goes to `after(x, K)`, K ~ Bin(x, q) of the upgraded reverted."""
    step = np.zeros((n, n))
    for x in range(n):
        for reverted in range(x + 1):
            y = after(x, reverted)
            if y < n:
                step[x, y] += stats.binom.pmf(reverted, x, q)
    return float(np.linalg.solve(np.eye(n) - step, np.ones(n))[0])


def published_rounds(n: int, b: int, q: float) -> float:
    """O15: x' = min(n, x - Bin(x, q) + b): what reverts in a round may be taken in the same round."""
    return expected_rounds(n, b, q, lambda x, reverted: min(n, x - reverted + b))


def stack_rounds(n: int, b: int, q: float) -> float:
    """x' = x - Bin(x, q) + min(b, n - x): a round takes what is stale when it begins."""
    return expected_rounds(n, b, q, lambda x, reverted: x - reverted + min(b, n - x))


def test_o15_worked_values():
    assert [published_rounds(20, 2, q) for q in (0, 0.01, 0.05)] == pytest.approx([10, 10.6885, 13.7248], abs=5e-5)
    for q in (0, 0.01, 0.05, 0.2):
        assert published_rounds(12, 1, q) == pytest.approx(stack_rounds(12, 1, q))
    assert stack_rounds(20, 2, 0) == 10
    assert stack_rounds(20, 2, 0.05) > published_rounds(20, 2, 0.05) + 0.3


def reverting(n: int, b: int, q: float, seed: int, *, paused: bool = False) -> Trial:
    """Operations of constant length D; upgraded VMs fail at rate lambda, serve again at once, on the old image.
    paused: the time passes between the operations instead, before the next batch is fixed.

    q = 1 - exp(-lambda D) is the chance to revert within a round.
    """
    length_s = 100.0
    mttf_ms = -length_s * 1000 / np.log1p(-q) if q else None
    return Trial(
        n,
        Constant(0.001 if paused else length_s),
        parameters={"size": b, "pause_ms": round(length_s * 1000)} if paused else {"size": b},
        failures=Failures(
            mttf_ms=mttf_ms, mttr=Constant(0), background_becomes="old-image", background_hits="upgraded"
        ),
        seed=seed,
    )


def rounds_of(run: Run, b: int) -> int:
    """The rounds of a rollout: its upgrade commands, each of one constant length, back to back."""
    assert run.state.ending == "finish", run.state.reason
    assert run.measures.duration_ms == len(run.taken) * 100_000
    assert max(map(len, run.taken)) <= b
    return len(run.taken)


@pytest.mark.parametrize(("n", "b", "q"), [(8, 1, 0.0), (8, 1, 0.05), (8, 1, 0.12), (12, 3, 0.0)])
def test_o15_reverting_failures_where_it_is_exact(n, b, q):
    """O15: E[rounds] of x' = min(n, x - Bin(x, q) + b), from 0 to n, by linear solve.

    Exact for the stack with b = 1, where no batch is ever smaller than b, and with q = 0. The world's background stream
    has the rate n/mttf and is thinned to VMs that serve, are upgraded and in no operation; by Poisson splitting each of
    the x upgraded ones reverts within a round with probability q, independently: Bin(x, q) to the rounding to ms.
    """
    exact = published_rounds(n, b, q)
    check(
        f"O15 rounds, {n} by {b}, q = {q}",
        [rounds_of(run, b) for run in reverting(n, b, q, 150).runs(600 if q else 5)],
        exact,
        {"nothing reverts": n / b, "q / 1.25": published_rounds(n, b, q / 1.25)} if q else {"a round more": exact + 1},
    )


@pytest.mark.parametrize(("n", "b", "q"), [(12, 3, 0.05), (12, 4, 0.1)])
def test_o15_reverting_failures_as_the_stack_has_them(n, b, q):
    """What holds for b > 1: x' = x - Bin(x, q) + min(b, n - x).

    O15 lets a failure of a round be mended within it, so its last batch is filled up by those that just reverted. The
    rollout machine fixes a batch before its operation starts and never adds to it (admission never takes more than the
    batch): what reverts meanwhile waits for the next one. The two differ only while fewer than b are stale, at the end.
    """
    exact = stack_rounds(n, b, q)
    check(
        f"O15' rounds, {n} by {b}, q = {q}",
        [rounds_of(run, b) for run in reverting(n, b, q, 151).runs(800)],
        exact,
        {"nothing reverts": n / b, "mended in the same round": published_rounds(n, b, q)},
    )


@pytest.mark.parametrize(("n", "b", "q"), [(12, 4, 0.1), (12, 3, 0.05), (20, 2, 0.05)])
def test_o15_is_exact_for_any_batch_where_the_time_passes_in_the_pause(n, b, q):
    """What reverts during a pause is appended before the next batch is cut, so it may fill that one up: O15 as published."""
    exact = published_rounds(n, b, q)
    runs = reverting(n, b, q, 152, paused=True).runs(800)
    check(
        f"O15 rounds with a pause, {n} by {b}, q = {q}",
        [len(run.taken) for run in runs],
        exact,
        {"nothing reverts": n / b, "as without a pause": stack_rounds(n, b, q)},
    )


# -- the checks have power: mistakes in the stack itself ----------------------------------------------------------


def test_a_gate_that_tolerates_one_more_is_found(monkeypatch):
    right = batches._max_failed
    monkeypatch.setattr(batches, "_max_failed", lambda turn: right(turn) + 1)
    found = estimate(run.state.ending == "stop" for run in gated(1, 101).runs(300))
    assert abs(found.z(float(stats.binom.sf(1, GATE_N, GATE_P)))) > LIMIT
    assert abs(found.z(float(stats.binom.sf(2, GATE_N, GATE_P)))) < LIMIT


def test_a_retry_with_the_same_luck_is_found(monkeypatch):
    right = lifecycle.luck
    monkeypatch.setattr(lifecycle, "luck", lambda world, vm, purpose, **_: right(world, vm, purpose, first=True))
    n, b, p = 12, 4, 0.4
    trial = Trial(
        n,
        Constant(60),
        parameters={"size": b, "retries": 1, "max_failed": n},
        failures=Failures(upgrade=p),
        floor=0,
        seed=61,
    )
    found = estimate(run.measures.min_healthy for run in trial.runs(300))
    assert abs(found.z(n - b - (n - b) * p**2)) > LIMIT
    assert abs(found.z(n - b - (n - b) * p)) < LIMIT


def test_two_stages_that_share_their_luck_are_found(monkeypatch):
    right = Draws.first
    monkeypatch.setattr(Draws, "first", lambda draws, _purpose: right(draws, "operation"))
    n, b = 15, 5
    operation, ready = Lognormal(median=120, sigma=0.4), Lognormal(median=45, sigma=0.3)
    trial = Trial(n, operation, ready=ready, parameters={"size": b}, seed=50)
    exact = n / b * Law(operation, ready).largest_moment(b, 1)
    assert abs(estimate(durations_s(trial, 1000)).z(exact)) > LIMIT


def test_an_outage_that_ends_with_the_operation_is_found(monkeypatch):
    right = lifecycle.down
    monkeypatch.setattr(lifecycle, "down", lambda vm, when, _until: right(vm, when, vm.busy_until))
    trial = outage_of("batch", {"size": 3}, None)
    exact = trial.n * (trial.operation.mean_s() + trial.ready.mean_s() + trial.probe_ms / 1000)
    assert abs(estimate(run.measures.capacity_lost_vm_ms / 1000 for run in trial.runs(200)).z(exact)) > LIMIT
