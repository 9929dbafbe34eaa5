"""Exact oracles with background failures: transient and sojourn times, and a whole rollout as a Markov chain.

The rules of `test_oracles.py` hold here too. Names: n VMs, batches of b; a VM that serves fails at rate lambda = 1/mttf, a
failed one is repaired at rate mu = 1/mttr; s = lambda + mu, A = mu/s; L a level, "below" means fewer than L serve.

O16, derivation of the chain of this stack (`oracle_chains.Rollout`). Upgrades, failures and repairs are exponential; all
VMs serve at the start; set-level operations, readiness and probes take no time.

1. What is memoryless. Of a VM in upgrade only that it is in upgrade, of a failed one only that it is failed, of one that
   serves nothing. The world's background stream has the rate n lambda and hits each VM with 1/n; what hits a VM that is
   failed or in an operation is dropped (`world/background.py`), so by Poisson splitting each serving VM fails at
   lambda, independently. An upgrade draws a new timetable for its VM and with it forgets a repair that was pending: a
   failed VM whose batch comes is as any other once it is in upgrade, and serves when its operation ends (`world/lifecycle.py`).
2. What must be told apart is what the rollout machine tells apart. VMs of later batches are stale: failed ones count for
   nothing but the level. Those of the current batch are *held* (not sent yet), *moving*, or *fresh* (upgraded, but not
   yet seen to serve after the command); all others are *done*. A command ends with its last VM (recordings: they go in
   parallel), so a VM may be upgraded, fail and be repaired before anybody looks; what is down when the command ends is
   "not-serving-yet" and must be seen to serve once before the batch is over (`buckets.RULES`), what serves is done. A
   done one that fails later is "late-sick": the gate tolerates so many, strict >, and waits while there are more.
3. Admission: VMs out of service are free, so all held ones that are failed go at once, and of the healthy ones as many as
   serve above the floor (`batches._admit`). One command at a time; nothing is admitted while one runs. While held ones
   wait, every change is looked at; what fails among them becomes free and goes.
4. Batches are fixed by id when the plan is made. Up to its batch an old VM fails and is repaired like all old ones, so of
   the failed old ones the number in the next batch is hypergeometric: b drawn from those left.

So the state is (batch, held up, held down, moving, fresh up, fresh down, old down, done down), 150 to 3500 of them for the
sets here; -Q x = reward by sparse LU gives E[T], E[time below L], E[capacity lost], and with the states below L made
absorbing P(ever below L).

The published chain is (batch, in upgrade, failed old, failed new): its batch is over with the last operation, a VM that
failed meanwhile or before does not hold up the next. It is what somebody gets who upgrades batch after batch and does not
look: that is tested on the world alone. Our machine looks, so with it T is longer and, since failed VMs do not pile up on
the next batch, time below the level shorter. The machine made not to look is the published chain again: tested too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from planner.buckets import Bucket
from planner.machine import batches
from planner.metrics import Measures, constant, from_intervals, measure
from planner.plan import Deadlines
from tests.oracle_chains import Rollout, birth_death, sojourn
from tests.oracle_worlds import DAY_MS, LIMIT, Run, Trial, check, estimate, instances, ratio, window, world_config
from vmss_sim.world import lifecycle
from vmss_sim.world.config import Failures
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import IMAGE, Vm, World
from vmss_sim.world.timings import Constant, Exponential

HOUR_S, HOUR_MS = 3_600, 3_600_000
LANL_MTTF_H, LANL_MTTR_H = 1779.99, 5.92
"""Failure Trace Archive, lanl05, exponential fit; the worked values of O1 to O3 are for 100 of these."""


def background(mttf_s: float, mttr_s: float, hits: str = "all") -> Failures:
    """Background failures and repairs, both exponential."""
    return Failures(mttf_ms=mttf_s * 1000, mttr=Exponential(mean=mttr_s), background_hits=hits)


# -- O2: availability after a start with all VMs up ---------------------------------------------------------------


def transient(t: float, mttf: float, mttr: float) -> tuple[float, float]:
    """O2: A(t) = A + (1 - A) e^{-st}, and its mean over [0, t]: A + (1 - A)(1 - e^{-st}) / (st)."""
    s = 1 / mttf + 1 / mttr
    steady = 1 / mttr / s
    return steady + (1 - steady) * np.exp(-s * t), steady + (1 - steady) * -np.expm1(-s * t) / (s * t)


def test_o2_worked_values():
    at, over = transient(3, LANL_MTTF_H, LANL_MTTR_H)
    assert (round(at, 8), round(over, 8)) == (0.99867881, 0.99928367)
    assert transient(1e6, LANL_MTTF_H, LANL_MTTR_H)[0] == pytest.approx(0.99668516, abs=5e-9)  # O1
    step, below = 0.01, 0.0
    for k in range(300):  # the interval is the point's mean
        below += (1 - transient((k + 0.5) * step, LANL_MTTF_H, LANL_MTTR_H)[0]) * step
    assert below / 3 == pytest.approx(1 - over, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "mttf_s", "mttr_s", "at_s", "replications"),
    [
        (40, 2_000.0, 300.0, 150.0, 400),
        (40, 2_000.0, 300.0, 450.0, 400),
        (100, LANL_MTTF_H * HOUR_S, LANL_MTTR_H * HOUR_S, 3.0 * HOUR_S, 2500),
    ],
    ids=["half a repair", "one and a half", "lanl05 after 3 h"],
)
def test_o2_transient_availability(n, mttf_s, mttr_s, at_s, replications):
    """O2 on the world alone; and since VMs are independent, P(up >= k at t) = P(Bin(n, A(t)) >= k)."""
    config, at_ms = world_config(instances(n), Constant(60), failures=background(mttf_s, mttr_s)), round(at_s * 1000)
    point, interval = [], []
    for replication in range(replications):
        world = World(config, Draws(3, replication, n))
        world.run(at_ms, stop_on_wake=False)
        point.append(sum(world.serving(vm) for vm in world.vms.values()))
        values, spans_ms = window(from_intervals(n, world.outages(), 0), 0, at_ms)
        interval.append(sum(value * span for value, span in zip(values, spans_ms, strict=True)) / at_ms)
    at, over = transient(at_s, mttf_s, mttr_s)
    steady = mttf_s / (mttf_s + mttr_s)
    unrepaired = float(np.exp(-at_s / mttf_s))
    check(f"O2 up at {at_s} s", point, n * at, {"steady": n * steady, "no repair": n * unrepaired})
    check(f"O2 up until {at_s} s", interval, n * over, {"steady": n * steady, "the point": n * at})
    k = round(n * at)
    exact, *wrong = (float(stats.binom.sf(k - 1, n, one)) for one in (at, steady, unrepaired))
    bugs = dict(zip(("steady", "no repair"), wrong, strict=True))
    check(f"O2 P(up >= {k} of {n}) at {at_s} s", [up >= k for up in point], exact, bugs)


# -- O3: how often below a level, and for how long -----------------------------------------------------------------


def drop_rate(n: int, k: int, mttf: float, mttr: float) -> float:
    """O3: pi_{n-k} k lambda, per unit of time."""
    return float(stats.binom.pmf(k, n, mttf / (mttf + mttr))) * k / mttf


def test_o3_worked_values():
    rate = drop_rate(100, 99, LANL_MTTF_H, LANL_MTTR_H)
    below = float(stats.binom.cdf(98, 100, LANL_MTTF_H / (LANL_MTTF_H + LANL_MTTR_H)))
    assert (round(rate, 6), round(below / rate, 3)) == (0.013272, 3.309)
    for n, k, mttf, mttr in ((100, 99, LANL_MTTF_H, LANL_MTTR_H), (10, 8, 2_000.0, 300.0), (10, 10, 5.0, 7.0)):
        down = birth_death(n, 1 / mttf, 1 / mttr, n)
        assert down[n - k] * k / mttf == pytest.approx(drop_rate(n, k, mttf, mttr))
        assert sum(down[n - k + 1 :]) / drop_rate(n, k, mttf, mttr) == pytest.approx(sojourn(n, k, mttf, mttr))


@pytest.mark.parametrize(
    ("n", "k", "mttf_s", "mttr_s", "span_s", "replications"),
    [
        (10, 8, 2_000.0, 300.0, 500_000, 60),
        (100, 99, LANL_MTTF_H * HOUR_S, LANL_MTTR_H * HOUR_S, 10_000 * HOUR_S, 60),
    ],
    ids=["8 of 10", "99 of 100, lanl05"],
)
def test_o3_drops_below_a_level_and_how_long_they_last(n, k, mttf_s, mttr_s, span_s, replications):
    """O3: drops below k at rate pi_{n-k} k lambda, each lasting P(< k) / rate on average. World alone."""
    config = world_config(instances(n), Constant(60), failures=background(mttf_s, mttr_s))
    burn_ms, span_ms = round(20 * mttr_s * 1000), span_s * 1000
    drops, below_s = [], []
    for replication in range(replications):
        world = World(config, Draws(4, replication, n))
        world.run(burn_ms + span_ms, stop_on_wake=False)
        values, spans_ms = window(from_intervals(n, world.outages(), 0), burn_ms, burn_ms + span_ms)
        drops.append(sum(before >= k > after for before, after in pairwise(values)))
        below_s.append(sum(span for value, span in zip(values, spans_ms, strict=True) if value < k) / 1000)
    rate, lasts = drop_rate(n, k, mttf_s, mttr_s), sojourn(n, k, mttf_s, mttr_s)
    down = birth_death(n, 1 / mttf_s, 1 / mttr_s, 1)
    one_crew = down[n - k] * k / mttf_s
    bugs = {"one crew": one_crew * span_s, "one VM more": drop_rate(n, k - 1, mttf_s, mttr_s) * span_s}
    check(f"O3 drops below {k} of {n}", drops, rate * span_s, bugs)

    check(
        f"O3 sojourn below {k} of {n}",
        ratio(below_s, drops),
        lasts,
        {
            "until the first repair": mttr_s / (n - k + 1),
            "one VM's repair": mttr_s,
            "one crew": sum(down[n - k + 1 :]) / one_crew,
        },
    )


# -- O16: a rollout under background failures, exactly ---------------------------------------------------------------

PATIENT = Deadlines(**dict.fromkeys(("healthy_ms", "operation_ms", "gate_ms", "stall_ms", "rollout_ms"), 1000 * DAY_MS))
"""The chain knows no deadlines."""
PUBLISHED = Rollout(n=20, b=4, upgrade=300, mttf=30_000, mttr=1_200, level=15, waits=False)
"""The worked example, its minutes in seconds."""
CHAINS: dict[str, tuple[Rollout, dict[str, dict[str, object]]]] = {
    "as published, but it looks": (
        PUBLISHED.but(waits=True),
        {
            "a batch ends with its operations": {"waits": False},
            "failed VMs go first": {"composition": "sick-first"},
            "failed VMs go last": {"composition": "sick-last"},
            "upgraded VMs do not fail": {"new_fail": False},
            "old VMs do not fail": {"old_fail": False},
        },
    ),
    "the floor holds": (
        Rollout(n=8, b=2, upgrade=300, mttf=3_000, mttr=1_500, level=5, floor=6),
        {
            "failed VMs cost": {"sick_cost": True},
            "a floor of one less": {"floor": 5},
            "no floor": {"floor": 0},
            "failed VMs go first": {"composition": "sick-first"},
            "failed VMs go last": {"composition": "sick-last"},
            "a batch ends with its operations": {"waits": False},
        },
    ),
    "the gate tolerates none": (
        Rollout(n=12, b=3, upgrade=300, mttf=6_000, mttr=600, level=8, gate=0),
        {
            "the gate tolerates one": {"gate": 1},
            "no gate": {"gate": 12},
            "failed VMs go first": {"composition": "sick-first"},
            "upgraded VMs do not fail": {"new_fail": False},
        },
    ),
    "upgraded VMs fail, the gate tolerates one": (
        Rollout(n=12, b=4, upgrade=300, mttf=4_000, mttr=900, level=7, gate=1, old_fail=False),
        {
            "the gate tolerates none": {"gate": 0},
            "the gate tolerates two": {"gate": 2},
            "old VMs fail too": {"old_fail": True},
            "a batch ends with its operations, no gate": {"waits": False, "gate": 12},
        },
    ),
}


def trial_of(chain: Rollout, seed: int) -> Trial:
    """The stack for this chain."""
    return Trial(
        chain.n,
        Exponential(mean=chain.upgrade),
        parameters={"size": chain.b},
        failures=background(chain.mttf, chain.mttr, "all" if chain.old_fail else "upgraded"),
        floor=chain.floor,
        required=chain.level,
        request={"deadlines": PATIENT, "upgraded_unhealthy": min(chain.gate, chain.n)},
        seed=seed,
    )


def figures(chain: Rollout, found: Iterable[Measures]) -> dict[str, list[float]]:
    """What the stack gave, by the names of `Rollout.values`; seconds and VM-seconds."""
    measures = list(found)
    return {
        "duration": [one.duration_ms / 1000 for one in measures],
        "lost": [one.capacity_lost_vm_ms / 1000 for one in measures],
        "below": [one.downtime_ms / 1000 for one in measures],
        "ever": [float(one.min_healthy < chain.level) for one in measures],
    }


def check_all(what: str, found: Mapping[str, list[float]], exact: Rollout, bugs: Mapping[str, Rollout]) -> None:
    """All figures are the chain's; each mistake is told by at least one of them, each of them tells at least one."""
    told: dict[str, set[str]] = {figure: set() for figure in found}
    for figure, samples in found.items():
        check(f"{what}, {figure}", samples, exact.values()[figure])
        found_here = estimate(samples)
        told[figure] = {bug for bug, wrong in bugs.items() if abs(found_here.z(wrong.values()[figure])) > LIMIT}
    print(told)
    assert set().union(*told.values()) == set(bugs), f"no power against {set(bugs) - set().union(*told.values())}"
    assert all(told.values()), f"tells nothing: {[figure for figure, names in told.items() if not names]}"


def test_o16_the_published_chain():
    """n = 20, b = 4, 1/mu = 5, MTTF 500, MTTR 20 (minutes): E[T] 52.0833, E[loss] 118.964, P(ever < 15) .145198."""
    exact = PUBLISHED.values()
    assert exact["duration"] / 60 == pytest.approx(52.0833, abs=5e-5)
    assert exact["lost"] / 60 == pytest.approx(118.964, abs=5e-4)
    assert exact["ever"] == pytest.approx(0.145198, abs=5e-7)
    assert PUBLISHED.exact.states == 2450


@pytest.mark.parametrize("waits", [True, False])
def test_o16_without_failures_is_o4_o7_and_o8(waits):
    """The chain itself, held to the closed forms: E[T] = m H_b/mu, lost = n/mu, below = m E[X_(need:b)]."""
    n, b, mean, level = 15, 5, 180.0, 13
    values = Rollout(n=n, b=b, upgrade=mean, mttf=1e15, mttr=1.0, level=level, floor=n - b, waits=waits).values()
    assert values["duration"] == pytest.approx(n / b * mean * sum(1 / i for i in range(1, b + 1)))
    assert values["lost"] == pytest.approx(n * mean)
    assert values["below"] == pytest.approx(n / b * mean * sum(1 / i for i in range(b, b - (level - n + b), -1)))
    assert values["ever"] == pytest.approx(1)


def test_o16_chain_of_a_single_vm():
    """By hand: its batch is over when it serves after its command; it cannot fail before the command has ended with it."""
    one = Rollout(n=1, b=1, upgrade=300, mttf=1_000, mttr=500, level=1)
    assert one.exact.expected == pytest.approx((300, 300, 300))
    # Two at once: the first to end (150 s) may fail while the other goes on (300 s): down at its end with
    # q = lambda/(lambda + mu + 1/300) ... by the two states (up, down) that race with the end, then one repair of 500 s.
    fail, repair, end = 1 / 1_000, 1 / 500, 1 / 300
    down = fail / (fail + repair + end)
    two = Rollout(n=2, b=2, upgrade=300, mttf=1_000, mttr=500, level=0)
    assert two.exact.expected[0] == pytest.approx(150 + 300 + down * 500)


@pytest.mark.parametrize("name", CHAINS)
def test_o16_rollout_with_background_failures(name):
    """O16 over the whole stack: plan, machine, guard, driver, backend, world, measures; four figures against the chain."""
    chain, mistakes = CHAINS[name]
    runs = list(trial_of(chain, 163 + list(CHAINS).index(name)).runs(1_600))
    assert {run.state.ending for run in runs} == {"finish"}
    bugs = {bug: chain.but(**changes) for bug, changes in mistakes.items()}
    check_all(f"O16 {name}", figures(chain, (run.measures for run in runs)), chain, bugs)


def by_hand(chain: Rollout, replication: int) -> Measures:
    """Batch after batch on the world alone, the next when the operation has ended, whoever serves."""
    config = trial_of(chain, 0).config
    world = World(config, Draws(161, replication, chain.n))
    world.submit("model", "update-model", patch={IMAGE + "version": "2.0.0"})
    names = tuple(world.vms)
    for first in range(0, chain.n, chain.b):
        operation = world.submit(f"batch {first}", "upgrade", names[first : first + chain.b]).operation
        assert operation is not None
        world.run(operation.ends_at, stop_on_wake=False)
        assert operation.status == "succeeded"
    return measure(
        from_intervals(chain.n, world.outages(), 0),
        total=chain.n,
        required=constant(chain.level),
        started_ms=0,
        ended_ms=world.now,
        horizon_ms=DAY_MS,
        bad=None,
    )


def test_o16_as_published_on_the_world_alone():
    found = figures(PUBLISHED, (by_hand(PUBLISHED, replication) for replication in range(3_000)))
    bugs = {
        "who looks": PUBLISHED.but(waits=True),
        "failed VMs go first": PUBLISHED.but(composition="sick-first"),
        "upgraded VMs do not fail": PUBLISHED.but(new_fail=False),
    }
    check_all("O16 by hand", found, PUBLISHED, bugs)


# -- the checks have power: mistakes in the stack itself ----------------------------------------------------------


def worst_z(chain: Rollout, runs: Iterable[Run]) -> float:
    """The largest |z| of the four figures."""
    found = figures(chain, (run.measures for run in runs))
    exact = chain.values()
    return max(abs(estimate(samples).z(exact[figure])) for figure, samples in found.items())


def test_a_machine_that_does_not_look_is_the_published_chain(monkeypatch):
    """Where what does not serve yet counts as decided, the stack is O16 as published, and not as it should be."""
    monkeypatch.setattr(batches, "DECIDED", batches.DECIDED | {Bucket.WAITING})
    monkeypatch.setattr(batches, "_WAITING", None)
    runs = list(trial_of(PUBLISHED, 162).runs(1_200))
    assert worst_z(PUBLISHED, runs) < LIMIT
    assert worst_z(PUBLISHED.but(waits=True), runs) > LIMIT


def test_a_failed_vm_that_costs_is_found(monkeypatch):
    monkeypatch.setattr(batches, "_OUT", None)
    chain = CHAINS["the floor holds"][0]
    assert worst_z(chain, trial_of(chain, 160).runs(500)) > LIMIT


def test_a_repair_that_an_upgrade_does_not_overtake_is_found(monkeypatch):
    right = lifecycle.start

    def start(world: World, vm: Vm, kind: str, args: dict[str, object]) -> int:
        repaired = vm.serves_from
        end = right(world, vm, kind, args)
        world._up_at(vm, max(repaired, vm.serves_from))
        return end

    monkeypatch.setattr(lifecycle, "start", start)
    chain = CHAINS["the floor holds"][0]
    assert worst_z(chain, trial_of(chain, 160).runs(500)) > LIMIT
