"""Simulate the platform's own rollout: nobody of ours at work, only the world.

1. A model update is submitted at 0 and the world left alone; an automatic OS upgrade begins when the newer image is
   published at 0, without the delay before it (up to 3 h), approved at once, and without a maintenance window. Faults,
   disturbances and repairs are the scenario's.
2. The end T is when the platform's rollout has ended; in mode Automatic, when the operation has ended and every VM that
   comes back has come back. Measures are ground truth, as for every other rollout (`planner.metrics`).
3. *Completed*: the rollout ended as Completed, and everything it was to take is current and serves.
4. Replication r has the same luck whatever the policy (common random numbers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from planner.change import resolve
from planner.errors import PlannerBug
from planner.metrics import Measures, from_intervals, measure
from planner.planfile import Proportion, Summary
from scenarios.to_world import rolling_policy
from vmss_sim.study.preview import AUTO_OS, ERRORS, MODEL_UPDATE, Foreseen, Outcome, Preview
from vmss_sim.study.statistics import proportion, summary
from vmss_sim.study.what_if import NEXT
from vmss_sim.world.config import AutoOs, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import NEVER, World

Progress = Callable[[int, int], None]
METRICS = (
    "duration_s",
    "duration_completed_s",
    "min_healthy",
    "downtime_s",
    "outage_s",
    "capacity_lost_vm_s",
    "availability",
)
LIMIT_MS = 60 * 86_400_000  # no rollout lasts as long: a world that runs on is our bug
CHUNK_VMS = 4_000  # instances simulated in one task
COMPLETED = "Completed"
NAME = "preview"


class OwnRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one replication gave. ending: the rollout's code and, where it failed, its error code."""

    measures: Measures
    completed: bool
    ending: str


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout, many times. endings: how many runs ended how, the most frequent first."""

    seed: int
    replications: int
    metrics: dict[str, Summary]
    completed: Proportion
    endings: dict[str, int]

    @property
    def never_ends_well(self) -> bool:
        """Did no run end as completed, not even with failed VMs within the limits?"""
        return not any(ending.startswith(COMPLETED) for ending in self.endings)


def fails(preview: Preview, simulated: Sequence[Simulated | None]) -> bool:
    """Would it fail for certain, or did it in every run?"""
    return preview.failing or any(one is not None and one.never_ends_well for one in simulated)


def simulate(
    preview: Preview, *, seed: int = 1, replications: int = 200, jobs: int = 1, progress: Progress | None = None
) -> tuple[Simulated | None, ...]:
    """The rollouts of a preview in their order; None where nothing would move, or nothing is to be simulated."""
    todo = [one for one in preview.rollouts if moves(one)] if replications else []
    done = 0
    made: dict[str, Simulated] = {}
    for one in todo:
        rows: list[OwnRow] = []
        for part in _run(preview, one, seed, replications, jobs):
            rows += part
            done += len(part)
            if progress is not None:
                progress(done, replications * len(todo))
        made[one.kind] = _summed(rows, seed)
    return tuple(made.get(one.kind) for one in preview.rollouts)


def moves(one: Foreseen) -> bool:
    """Would this rollout touch an instance?"""
    return bool(one.batches) and (one.outcome not in ERRORS or one.outcome is Outcome.CANNOT_FINISH)


def _run(preview: Preview, one: Foreseen, seed: int, replications: int, jobs: int) -> Iterator[list[OwnRow]]:
    size = max(1, CHUNK_VMS // max(1, preview.setup.total))
    spans = [(first, min(replications, first + size)) for first in range(0, replications, size)]
    if jobs == 1 or len(spans) == 1:
        for first, last in spans:
            yield _chunk(preview, one, seed, first, last)
        return
    from joblib import Parallel, delayed  # noqa: PLC0415  # 0.2 s that a small study need not pay

    call = delayed(_chunk)
    yield from Parallel(n_jobs=jobs or -1, return_as="generator")(
        call(preview, one, seed, first, last) for first, last in spans
    )


def _chunk(preview: Preview, one: Foreseen, seed: int, first: int, last: int) -> list[OwnRow]:
    return [run(preview, one, seed, replication)[0] for replication in range(first, last)]


def run(preview: Preview, one: Foreseen, seed: int, replication: int) -> tuple[OwnRow, World]:
    """One replication, and the world that it left."""
    setup = preview.setup
    world = World(config_of(preview, one), Draws(seed, replication, setup.total), setup.faults)
    refused = ""
    if one.kind == MODEL_UPDATE:
        reply = world.submit(NAME, "update-model", patch=_patch(preview))
        refused = "" if reply.operation is not None else reply.code
    ended = 0 if refused else _let_it_end(world)
    ending = f"Refused ({refused})" if refused else _ending(world)
    completed = ending.startswith(COMPLETED) and _all_up(world, one)
    if setup.horizon_ms > ended:
        world.run(setup.horizon_ms, stop_on_wake=False)
    measures = measure(
        from_intervals(len(world.vms) + len(world.gone), world.outages(), 0),
        total=setup.total,
        required=setup.required,
        started_ms=0,
        ended_ms=ended,
        horizon_ms=setup.horizon_ms,
        bad=None,
    )
    return OwnRow(measures=measures, completed=completed, ending=ending), world


def config_of(preview: Preview, one: Foreseen) -> WorldConfig:
    """The world of one rollout: beside it goes on what the scenario says, and no other rollout (rule 1)."""
    given, model = preview.setup.world, preview.setup.scale_set.model
    auto = AutoOs()
    changes: dict[str, Any] = {"mode": model.mode.value}
    if one.kind == AUTO_OS and model.auto_os is not None:
        auto = AutoOs(
            enabled=True,
            disable_rollback=model.auto_os.disable_rollback,
            use_rolling_policy=model.auto_os.use_rolling_policy,
        )
        changes = {"mode": "manual", "latest": _newest(preview)}
    else:
        # Where Azure does not tell latestModelApplied (Flexible), what the preview takes as behind is behind.
        taken = {name for batch in one.batches for name in batch.ids}
        changes["machines"] = tuple(
            msgspec.structs.replace(machine, latest=machine.latest and machine.id not in taken)
            for machine in given.machines
        )
    policy = one.policy
    return msgspec.structs.replace(
        given,
        auto_os=auto,
        rolling=given.rolling if policy is None else rolling_policy(policy),
        platform=msgspec.structs.replace(
            given.platform,
            auto_os_delay_ms=0,
            manual_auto_os=True,
            flexible_auto_os=True,
            count_in_flight=preview.count_in_flight,
        ),
        **changes,
    )


def _patch(preview: Preview) -> dict[str, Any]:
    """What changes in the model; something, where nobody said what."""
    setup = preview.setup
    return resolve(setup.change, setup.scale_set, setup.action).patch


def _newest(preview: Preview) -> str:
    image = resolve(preview.setup.change, preview.setup.scale_set, preview.setup.action).target.image
    return (image.exact_version or image.version if image is not None else None) or NEXT


def _let_it_end(world: World) -> int:
    """Rule 2: when it ended."""
    while True:
        status = world.rolling_upgrade
        if status is not None and status.ended_ms is not None:
            return status.ended_ms
        if (
            status is None
            and all(one.hangs and one.ends_at == NEVER for one in world.running.values())
            and (not world.auto_os.enabled or world.env.peek() >= LIMIT_MS)
        ):
            ready = [vm.serves_from for vm in world.vms.values() if vm.serves_from != NEVER]
            world.run(max([world.now, *ready]), stop_on_wake=False)
            return world.now
        if world.now >= LIMIT_MS:
            raise PlannerBug("a rollout of the platform's own does not end")
        world.run(LIMIT_MS)


def _ending(world: World) -> str:
    """How it ended: the rollout's code, or in mode Automatic the operation's."""
    status, operation = world.rolling_upgrade, world.operations.get(NAME)
    if status is not None:
        code, error = status.code, status.error_code
    else:
        failed = operation is not None and operation.status == "failed"
        code, error = ("Failed", operation.code) if failed and operation is not None else (COMPLETED, "")
    return f"{code} ({error})" if error else code


def _all_up(world: World, one: Foreseen) -> bool:
    """Rule 3. Of replaced instances (maxSurge) the new ones count."""
    taken = {name for batch in one.batches for name in batch.ids}
    image = world.model_image
    for vm in world.vms.values():
        if (vm.id in taken or vm.attempt) and not (world.settled(vm).error is None and vm.serves_from <= world.now):
            return False
        if vm.id in taken and (vm.image != image if one.kind == AUTO_OS else not world.is_latest(vm)):
            return False
    return True


def _summed(rows: Sequence[OwnRow], seed: int) -> Simulated:
    endings = Counter(row.ending for row in rows)
    return Simulated(
        seed=seed,
        replications=len(rows),
        metrics={name: summary(_values(rows, name)) for name in METRICS},
        completed=proportion(sum(row.completed for row in rows), len(rows)),
        endings=dict(sorted(endings.items(), key=lambda item: (-item[1], item[0]))),
    )


def _values(rows: Sequence[OwnRow], name: str) -> list[float]:
    """One number a run; durations of completed runs: of those whose rollout ended as completed, also with failed VMs."""
    if name == "duration_completed_s":
        return [row.measures.duration_ms / 1000 for row in rows if row.ending.startswith(COMPLETED)]
    if name in ("min_healthy", "availability"):
        return [float(getattr(row.measures, name)) for row in rows]
    field = name.removesuffix("_s") + "_ms"
    return [getattr(row.measures, field) / 1000 for row in rows]
