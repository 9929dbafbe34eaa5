"""How long one replication of a rollout takes: the full stack against plain SimPy models of the same rollout.

    python -m bench.rollout [--replications N] [--rounds N] [--json]

Rules of the measurement:

1. *Workload*: n VMs in batches with a barrier; per VM a drain of 30 s and a reimage of lognormal(120 s, 0.4), a boot of
   lognormal(45 s, 0.3), three probes of 15 s; no failures. Capacity lost, minimum, downtime (below 90 %), outage,
   unserved, duration, availability. Durations are drawn in bulk before each replication, and that is part of the time.
2. *processes*: what one would write by hand: a SimPy process a VM with a timeout a stage, `AllOf` as the barrier, a list
   of change points. *callbacks*: for information, the least SimPy can do: one timeout a VM, a counter as the barrier.
   *full*: rollout machine, driver, guard, journal in memory, simulated backend, world, measures. The plan is made once,
   as in a study.
3. All three must find the same numbers for the same draws, in every replication that is timed.
4. Rounds of the models are interleaved, a round is a number of replications, one round is dropped as warm-up, the median
   of the others counts. The machine may be busy: compare ratios, not times. A time never decides a test.
5. *Memory* is the peak resident size of a process of its own, after 20 and after 200 replications of the full stack.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import msgspec
import simpy

from backends.driver import Driver
from backends.journal import MemoryJournal
from backends.simulated import SimulatedBackend
from planner.build import Request, build
from planner.change import ImageChange
from planner.metrics import constant, from_intervals, measure
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
from planner.rollout import Rollout
from vmss_sim.world.config import Image, Machine, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import IMAGE, World
from vmss_sim.world.timings import Constant, Lognormal, Shifted, Timing

OPERATION: Timing = Shifted(30, Lognormal(median=120, sigma=0.4))
READY: Timing = Lognormal(median=45, sigma=0.3)
PROBE_MS = 45_000
MODEL_MS = 1_000
HORIZON_MS = 86_400_000
SIZES = ((10, 2), (100, 20), (1000, 50))
SEED = 1
OLD = {"publisher": "Canonical", "offer": "ubuntu", "sku": "22_04-lts", "version": "1.0.0"}
MEMORY_MARKS = (20, 200)


class Found(NamedTuple):
    """What one replication found; equal for all models (rule 3)."""

    duration_ms: int
    min_healthy: int
    downtime_ms: int
    outage_ms: int
    capacity_lost_vm_ms: int
    unserved_vm_ms: int
    availability: float


class Replication(NamedTuple):
    """What it found, and how many SimPy events it took."""

    found: Found
    events: int


Runner = Callable[[int], Replication]
Changes = list[tuple[int, int]]


def required_of(n: int) -> int:
    return n * 9 // 10


# -- the full stack ----------------------------------------------------------------------------------------------


def snapshot_of(n: int) -> ScaleSet:
    image = ImageReference(**OLD)
    model = Model(name="bench", image=image, capacity=n, health_source=HealthSource.EXTENSION, mode=UpgradeMode.MANUAL)
    return scale_set(
        model,
        [
            Instance(
                id=str(number),
                vm_id=f"vm-{number}",
                update_domain=number % 5,
                fault_domain=number % 5,
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


def full(n: int, b: int) -> Runner:
    """The stack as a study runs it."""
    snapshot = snapshot_of(n)
    change = ImageChange(version="2.0.0")
    plan = build(Request(scale_set=snapshot, change=change, strategy="batch", parameters={"size": b}))
    rollout, required, image = Rollout(plan), constant(required_of(n)), Image(**OLD)
    config = WorldConfig(
        name="bench",
        machines=tuple(
            Machine(
                id=one.id,
                vm_id=one.vm_id,
                image=image,
                update_domain=one.update_domain,
                fault_domain=one.fault_domain,
                os_disk="disk-",
            )
            for one in snapshot.instances.values()
        ),
        model={IMAGE + part: value for part, value in OLD.items()},
        timings=Timings(
            operations={"upgrade": OPERATION, "update-model": Constant(MODEL_MS / 1000)},
            ready=READY,
            probe_ms=PROBE_MS,
        ),
    )

    def run(replication: int) -> Replication:
        world = World(config, Draws(SEED, replication, n))
        state = Driver(rollout, SimulatedBackend(world, snapshot), MemoryJournal()).run()
        if state.ending != "finish":
            raise RuntimeError(f"the rollout ended as {state.ending}: {state.reason}")
        measures = measure(
            from_intervals(n, world.outages(), 0),
            total=n,
            required=required,
            started_ms=0,
            ended_ms=world.now,
            horizon_ms=HORIZON_MS,
            bad=None,
        )
        found = Found(**{name: getattr(measures, name) for name in Found._fields})
        return Replication(found, next(world.env._eid))

    return run


# -- plain SimPy -------------------------------------------------------------------------------------------------


def order_of(n: int, b: int) -> list[list[int]]:
    """The strategy's batches, as slots."""
    snapshot = snapshot_of(n)
    slots = {name: slot for slot, name in enumerate(snapshot.instances)}
    plan = build(
        Request(scale_set=snapshot, change=ImageChange(version="2.0.0"), strategy="batch", parameters={"size": b})
    )
    return [[slots[name] for name in batch.take] for batch in plan.batches]


def drawn(n: int, replication: int) -> tuple[list[int], list[int]]:
    """Operation and boot of every VM, in milliseconds."""
    draws = Draws(SEED, replication, n)
    return OPERATION.ppf_ms(draws.first("operation")).tolist(), READY.ppf_ms(draws.first("ready")).tolist()


def measured(changes: Changes, n: int, ended_ms: int) -> Found:
    """The measures from change points (time, VMs up from then on), in one pass."""
    required = required_of(n)
    lowest, downtime, outage, lost, unserved = n, 0, 0, 0, 0
    before_ms, up = 0, n
    for at_ms, now_up in [*changes, (ended_ms, n)]:
        span = at_ms - before_ms
        if span:
            lost += (n - up) * span
            lowest = min(lowest, up)
            if up < required:
                downtime += span
                unserved += (required - up) * span
            if not up:
                outage += span
        before_ms, up = at_ms, now_up
    return Found(ended_ms, lowest, downtime, outage, lost, unserved, (HORIZON_MS - downtime) / HORIZON_MS)


def processes(n: int, b: int) -> Runner:
    """A process a VM, a timeout a stage, `AllOf` as the barrier."""
    batches = order_of(n, b)

    def run(replication: int) -> Replication:
        operation, ready = drawn(n, replication)
        env = simpy.Environment()
        changes: Changes = []
        up = n

        def change(by: int) -> None:
            nonlocal up
            up += by
            changes.append((int(env.now), up))

        def vm(slot: int) -> Generator[simpy.Event, Any, None]:
            change(-1)
            yield env.timeout(operation[slot])
            yield env.timeout(ready[slot])
            yield env.timeout(PROBE_MS)
            change(+1)

        def rollout() -> Generator[simpy.Event, Any, None]:
            yield env.timeout(MODEL_MS)
            for batch in batches:
                yield simpy.AllOf(env, [env.process(vm(slot)) for slot in batch])

        env.run(env.process(rollout()))
        return Replication(measured(changes, n, int(env.now)), next(env._eid))

    return run


def callbacks(n: int, b: int) -> Runner:
    """One timeout a VM with a callback, a counter as the barrier."""
    batches = order_of(n, b)

    def run(replication: int) -> Replication:
        operation, ready = drawn(n, replication)
        env = simpy.Environment()
        changes: Changes = []
        up, left, position = n, 0, 0

        def start(_event: simpy.Event) -> None:
            nonlocal up, left, position
            if position == len(batches):
                return
            batch = batches[position]
            position, left, up = position + 1, len(batch), up - len(batch)
            changes.append((int(env.now), up))
            for slot in batch:
                watch(env.timeout(operation[slot] + ready[slot] + PROBE_MS), back)

        def back(event: simpy.Event) -> None:
            nonlocal up, left
            up, left = up + 1, left - 1
            changes.append((int(env.now), up))
            if not left:
                start(event)

        watch(env.timeout(MODEL_MS), start)
        env.run()
        return Replication(measured(changes, n, int(env.now)), next(env._eid))

    return run


def watch(event: simpy.Event, call: Callable[[simpy.Event], None]) -> None:
    """Call when the event happens."""
    assert event.callbacks is not None  # it has just been made
    event.callbacks.append(call)


# -- measuring ---------------------------------------------------------------------------------------------------

MODELS: dict[str, Callable[[int, int], Runner]] = {"processes": processes, "full": full, "callbacks": callbacks}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one size. ratio: to the processes."""

    model: str
    n: int
    batch: int
    ms: float
    least_ms: float
    ratio: float
    events: int


def compare(n: int, b: int, replications: int, rounds: int) -> list[Result]:
    """Time all models (rules 3 and 4). Raises RuntimeError where they disagree."""
    runners = {name: model(n, b) for name, model in MODELS.items()}
    times: dict[str, list[float]] = {name: [] for name in runners}
    events: dict[str, int] = {}
    for number in range(rounds + 1):
        first = number * replications
        found: dict[str, list[Found]] = {}
        for name, run in runners.items():
            began = time.perf_counter()
            done = [run(replication) for replication in range(first, first + replications)]
            took = (time.perf_counter() - began) / replications * 1000
            if number:
                times[name].append(took)
            found[name] = [one.found for one in done]
            events[name] = done[0].events
        for name, numbers in found.items():
            if numbers != found["processes"]:
                pairs = zip(numbers, found["processes"], strict=True)
                wrong = next((mine, plain) for mine, plain in pairs if mine != plain)
                raise RuntimeError(f"{name} found {wrong[0]}, processes {wrong[1]}")
    base = statistics.median(times["processes"])
    return [
        Result(
            model=name,
            n=n,
            batch=b,
            ms=statistics.median(took),
            least_ms=min(took),
            ratio=statistics.median(took) / base,
            events=events[name],
        )
        for name, took in times.items()
    ]


def peak_mib() -> float:
    """The largest resident size so far."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


def memory_of_this_process() -> list[float]:
    """Peak resident size after each mark, replications of the full stack at the largest size."""
    run = full(*SIZES[-1])
    peaks: list[float] = []
    for replication in range(MEMORY_MARKS[-1]):
        run(replication)
        if replication + 1 in MEMORY_MARKS:
            peaks.append(peak_mib())
    return peaks


def memory() -> list[float]:
    """Rule 5."""
    command = [sys.executable, "-m", "bench.rollout", "--memory-only"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peaks: list[float] = json.loads(done.stdout)
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description="Full stack against plain SimPy.")
    parser.add_argument("--replications", type=int, default=5, help="in a round, at 1000 VMs; more at smaller sizes")
    parser.add_argument("--rounds", type=int, default=9, help="that count; one more is dropped")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_only:
        print(json.dumps(memory_of_this_process()))
        return
    results = [
        one for n, b in SIZES for one in compare(n, b, given.replications * min(20, SIZES[-1][0] // n), given.rounds)
    ]
    peaks = memory()
    if given.json:
        growth = dict(zip(map(str, MEMORY_MARKS), peaks, strict=True))
        print(json.dumps({"results": msgspec.to_builtins(results), "peak_rss_mib": growth}, indent=2))
        return
    print(f"{'VMs':>5} {'batch':>5}  {'model':<10} {'ms':>8} {'least':>8} {'ratio':>6} {'events':>7}")
    for one in results:
        print(
            f"{one.n:>5} {one.batch:>5}  {one.model:<10} {one.ms:>8.2f} {one.least_ms:>8.2f} {one.ratio:>6.2f} {one.events:>7}"
        )
    after = ", ".join(f"{peak:.1f} MiB after {mark}" for mark, peak in zip(MEMORY_MARKS, peaks, strict=True))
    print(f"peak resident size, full stack, {SIZES[-1][0]} VMs: {after} replications (+{peaks[-1] - peaks[0]:.1f})")


if __name__ == "__main__":
    main()
