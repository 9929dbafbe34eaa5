"""Small worlds for the oracle tests: a plan carried out by the whole stack, again and again, and the check by z.

Nothing here computes what a test expects. `Trial.run` is one replication over the real parts: plan, rollout machine,
guard, journal, simulated backend told at once (`poll_ms` 0), world, measures.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import signal

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.simulated import SimulatedBackend
from planner.build import Request, build
from planner.change import ImageChange
from planner.commands import Kind
from planner.metrics import Measures, StepFunction, constant, from_intervals, measure
from planner.model import (
    Health,
    HealthSource,
    ImageReference,
    Instance,
    Model,
    Power,
    Provisioning,
    ScaleSet,
    UpgradeMode,
    scale_set,
)
from planner.plan import Plan
from planner.rollout import Rollout, State
from planner.trace import Turn
from vmss_sim.world.config import Failures, Image, Machine, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import IMAGE, World
from vmss_sim.world.timings import Constant, Timing

DAY_MS = 86_400_000
LIMIT = 4.0
OLD = {"publisher": "Canonical", "offer": "ubuntu", "sku": "22_04-lts", "version": "1.0.0"}
UPDATE_DOMAINS, FAULT_DOMAINS, ZONES = 4, 2, 3


def instances(n: int) -> ScaleSet:
    """A healthy set of n, spread over update domains, fault domains and zones."""
    image = ImageReference(**OLD)
    model = Model(name="oracle", image=image, capacity=n, health_source=HealthSource.EXTENSION, mode=UpgradeMode.MANUAL)
    return scale_set(
        model,
        [
            Instance(
                id=str(number),
                vm_id=f"vm-{number}",
                zone=str(number % ZONES + 1),
                update_domain=number % UPDATE_DOMAINS,
                fault_domain=number % FAULT_DOMAINS,
                image=image,
                latest_model=True,
                provisioning=Provisioning.SUCCEEDED,
                power=Power.RUNNING,
                health=Health.HEALTHY,
                os_disk="disk-",
            )
            for number in range(n)
        ],
    )


def world_config(
    snapshot: ScaleSet,
    operation: Timing,
    ready: Timing = Constant(0),  # noqa: B008 - a frozen value
    failures: Failures = Failures(),  # noqa: B008 - a frozen value
    probe_ms: int = 0,
    **operations: Timing,
) -> WorldConfig:
    """The world of this set: upgrades, other operations by name, readiness, failures; set-level ones take no time."""
    image = Image(**OLD)
    machines = tuple(
        Machine(
            id=one.id,
            vm_id=one.vm_id,
            image=image,
            zone=one.zone,
            update_domain=one.update_domain,
            fault_domain=one.fault_domain,
            os_disk="disk-",
        )
        for one in snapshot.instances.values()
    )
    return WorldConfig(
        name="oracle",
        machines=machines,
        model={IMAGE + part: value for part, value in OLD.items()},
        timings=Timings(operations={"upgrade": operation, **operations}, ready=ready, probe_ms=probe_ms),
        failures=failures,
    )


class Run(NamedTuple):
    """What one replication gave. taken: the ids of each upgrade command, in the order sent."""

    measures: Measures
    state: State
    taken: tuple[tuple[str, ...], ...]
    world: World


@dataclass
class Trial:
    """One strategy on one world. The plan is built once, as a study does it."""

    n: int
    operation: Timing
    strategy: str = "batch"
    parameters: dict[str, Any] = field(default_factory=dict)
    ready: Timing = Constant(0)  # noqa: RUF009 - a frozen value
    failures: Failures = Failures()  # noqa: RUF009 - a frozen value
    probe_ms: int = 0
    floor: int | None = None
    required: int = 0
    request: dict[str, Any] = field(default_factory=dict)  # what else the plan is asked for: gates, deadlines
    operations: dict[str, Timing] = field(default_factory=dict)  # beside upgrades, by name
    seed: int = 0

    @cached_property
    def snapshot(self) -> ScaleSet:
        """The set as it stands."""
        return instances(self.n)

    @cached_property
    def plan(self) -> Plan:
        """The plan, by the planner's own rules."""
        return build(
            Request(
                scale_set=self.snapshot,
                change=ImageChange(version="2.0.0"),
                strategy=self.strategy,
                parameters=self.parameters,
                floor=self.floor,
                **self.request,
            )
        )

    @cached_property
    def rollout(self) -> Rollout:
        """The machine; pure, so all replications share it."""
        return Rollout(self.plan)

    @cached_property
    def config(self) -> WorldConfig:
        """The world's configuration."""
        return world_config(self.snapshot, self.operation, self.ready, self.failures, self.probe_ms, **self.operations)

    def run(self, replication: int) -> Run:
        """One replication over the full stack."""
        world = World(self.config, Draws(self.seed, replication, self.n))
        journal = MemoryJournal()
        state = Driver(self.rollout, SimulatedBackend(world, self.snapshot), journal).run()
        measures = measure(
            from_intervals(len(world.vms) + len(world.gone), world.outages(), 0),
            total=self.n,
            required=constant(self.required),
            started_ms=0,
            ended_ms=world.now,
            horizon_ms=DAY_MS,
            bad=None,
        )
        taken = tuple(
            command.ids
            for record in journal.records()
            if isinstance(record, Turn)
            for command in record.commands
            if command.kind is Kind.UPGRADE
        )
        return Run(measures, state, taken, world)

    def runs(self, replications: int) -> Iterator[Run]:
        """Replications 0 to `replications` - 1."""
        return (self.run(replication) for replication in range(replications))


class Estimate(NamedTuple):
    """A mean with its standard error."""

    mean: float
    error: float
    count: int

    def z(self, exact: float) -> float:
        """How many standard errors the mean lies above the exact value; 0 for an exact hit, which may have no error."""
        difference = self.mean - exact
        if math.isclose(self.mean, exact, rel_tol=1e-12):
            return 0.0
        return difference / self.error if self.error else math.copysign(math.inf, difference)

    def report(self, what: str, exact: float) -> str:
        """One line: z, and what the error is relative to the value."""
        relative = self.error / abs(exact) if exact else math.inf
        return (
            f"{what}: z = {self.z(exact):+.2f}, exact {exact:.6g}, mean {self.mean:.6g} "
            f"± {self.error:.2g} ({relative:.2%} of the value, {self.count} replications)"
        )


def estimate(samples: Iterable[float]) -> Estimate:
    """Mean and standard error of independent samples."""
    values = np.asarray(list(samples), dtype=np.float64)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))), len(values))


def ratio(numerators: Iterable[float], denominators: Iterable[float]) -> Estimate:
    """The ratio of two means over the same replications; its error by the mean of numerator - ratio x denominator."""
    above, below = (np.asarray(list(values), dtype=np.float64) for values in (numerators, denominators))
    found = float(above.mean() / below.mean())
    return Estimate(found, estimate(above - found * below).error / float(below.mean()), len(above))


def check(
    what: str, samples: Iterable[float] | Estimate, exact: float, bugs: Mapping[str, float] | None = None
) -> None:
    """The samples' mean is the exact value, and is not any of the values that mistakes would give."""
    found = samples if isinstance(samples, Estimate) else estimate(samples)
    report = found.report(what, exact)
    print(report)
    assert abs(found.z(exact)) < LIMIT, report
    for bug, wrong in (bugs or {}).items():
        assert abs(found.z(wrong)) > LIMIT, f"no power against {bug}: {found.report(what, wrong)}"


def window(curve: StepFunction, start_ms: int, end_ms: int) -> tuple[list[int], list[int]]:
    """The values within [start, end), and how long each holds; what is known of later (repairs under way) is cut off."""
    first, last = bisect_right(curve.times_ms, start_ms), bisect_left(curve.times_ms, end_ms)
    times = [start_ms, *curve.times_ms[first:last], end_ms]
    return list(curve.values[first - 1 : last]), [end - start for start, end in pairwise(times)]


class Law:
    """The sum of independent timings on a grid: its cdf, and integrals over functions of it.

    The grid point k stands for durations from k - 1/2 to k + 1/2 steps, so means are kept to second order in the step.
    """

    def __init__(self, *timings: Timing, step_s: float = 0.02, longest_s: float = 3000.0) -> None:
        self.step_s = step_s
        edges = (np.arange(round(longest_s / step_s) + 1) + 0.5) * step_s
        mass = np.ones(1)
        for timing in timings:
            upper = timing.cdf(edges)
            assert upper[-1] > 1 - 1e-9, f"the grid ends at {longest_s} s, before {timing}"
            part = np.diff(upper, prepend=0.0)
            mass = signal.fftconvolve(mass, part)[: len(edges)]
        self.cdf = np.clip(np.cumsum(mass), 0.0, 1.0)

    def integral(self, values: np.ndarray, moment: int = 1) -> float:
        """∫ moment · x^(moment - 1) · values(x) dx, values on the grid (right-continuous steps), in s^moment."""
        edges = np.arange(len(values) + 1) * self.step_s
        return float(np.dot(np.diff(edges**moment), values))

    def largest_moment(self, count: int, moment: int) -> float:
        """E max(X_1 … X_count)^moment = ∫ moment · x^(moment-1) · (1 - F(x)^count) dx."""
        return self.integral(1.0 - self.cdf**count, moment)
