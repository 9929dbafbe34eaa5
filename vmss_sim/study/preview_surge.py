"""maxSurge in numbers: what a batch needs beside what runs, and which batches Azure would upgrade in place instead.

1. Each new instance needs the cores of one VM and one address, while the old ones still run (azure-compute-docs, maxSurge).
2. Azure checks the quota before each batch; where it does not suffice, that batch is upgraded in place.
3. Deallocated VMs hold no cores. What is not known limits nothing here, and is said.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from planner.lint.wording import instances
from planner.platform import ForecastBatch
from vmss_sim.study.sentences import batches_in_words
from vmss_sim.world.config import WorldConfig


class Surge(msgspec.Struct, frozen=True, kw_only=True):
    """extra: VMs that the largest batch adds. cores: that they need; free_cores, free_addresses: what is left for them; None
    where not known. in_place: the batches, from 0, for which that does not suffice.
    """

    extra: int
    cores: int | None
    free_cores: int | None
    free_addresses: int | None
    in_place: tuple[int, ...]

    def replaced(self, batches: int) -> list[bool]:
        """For each batch: is it replaced, so that none of it is out of service?"""
        return [index not in self.in_place for index in range(batches)]


def surge_of(world: WorldConfig, batches: Sequence[ForecastBatch]) -> Surge:
    """What a rollout with maxSurge needs of what is free."""
    each, extra = world.cores_per_vm, max(len(batch.ids) for batch in batches)
    running = sum(machine.power != "deallocated" for machine in world.machines)
    cores = None if world.quota_cores is None else max(0, world.quota_cores - running * each)
    addresses = None if world.addresses is None else max(0, world.addresses - len(world.machines))

    def fits(count: int) -> bool:
        return (cores is None or count * each <= cores) and (addresses is None or count <= addresses)

    return Surge(
        extra=extra,
        cores=None if cores is None else extra * each,
        free_cores=cores,
        free_addresses=addresses,
        in_place=tuple(index for index, batch in enumerate(batches) if not fits(len(batch.ids))),
    )


def in_words(surge: Surge, batches: Sequence[ForecastBatch]) -> tuple[str, ...]:
    """For people."""
    needs = f"The largest batch adds {instances(surge.extra)} before it removes as many, and needs"
    if surge.cores is None:
        needs += " their cores free (what is free is not told here)"
    else:
        needs += f" {surge.cores} free cores ({surge.free_cores} are)"
    needs += f" and {surge.extra} addresses"
    if surge.free_addresses is not None:
        needs += f" ({surge.free_addresses} are free)"
    lines = [f"{needs}. Azure checks before each batch, and upgrades it in place where that does not suffice."]
    if len(surge.in_place) == len(batches):
        lines.append("No batch fits: every one is upgraded in place, out of service meanwhile.")
    elif surge.in_place:
        several = [batches_in_words([index]) for index in surge.in_place]
        lines.append(f"Upgraded in place, out of service meanwhile: {', '.join(several)}.")
    lines.append(
        "Each new instance has a new id, a new address, and perhaps another update domain; local disks are not carried over."
    )
    return tuple(lines)
