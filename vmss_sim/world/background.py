"""What happens to a set by itself: background failures, and the disturbances of the configuration at their times.

1. Background failures: one Poisson stream of rate n/MTTF, each event marked with a slot; it hits the VM that owns the slot,
   if that serves and no operation holds it. A VM created to replace another inherits its slot once that is gone.
2. With `ageing_ms` only failure-prone VMs fail: the others let the event pass, which keeps the law exact.
3. An outage stops what matches, for its span: what serves, and what would come up meanwhile, after whichever operation. Where
   it blocks allocation, operations that need a new disk or a new VM and start meanwhile fail. Autoscale and foreign
   requests go through the same door as all others, and may be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import proxy

from vmss_sim.world import lifecycle
from vmss_sim.world.faults import Autoscale, Disturbance, Foreign, Outage, Publication
from vmss_sim.world.vm import NEVER, Vm

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World


class Background:
    """The failures and disturbances of one world."""

    def __init__(self, world: World) -> None:
        self.world: World = proxy(world)  # no cycle: a world of a study is gone as soon as nobody needs it
        self._count = 0
        if world.config.failures.mttf_ms is not None:
            self._stream = world.draws.exponential_stream("background")
            self._next_failure()
        for disturbance in world.config.disturbances:
            world.at(disturbance.at_ms, self._happen, disturbance)

    def _next_failure(self) -> None:
        world = self.world
        gap, mark = next(self._stream)
        mean = world.config.failures.mttf_ms or 1.0
        count = max(1, len(world.config.machines))
        world.at(world.now + max(1, round(gap * mean / count)), self._failure, mark)

    def _failure(self, mark: float) -> None:
        world = self.world
        failures, owners = world.config.failures, world.owners
        vm = owners[int(mark * len(owners))] if owners else None
        self._next_failure()
        if vm is None or world.vms.get(vm.id) is not vm or not world.serving(vm) or vm.busy_until > world.now:
            return
        if vm.prone_at > world.now:
            return
        world.settled(vm)
        if failures.background_hits == "upgraded" and vm.image == vm.first_image:
            return
        vm.generation += 1
        repair = failures.mttr.ppf_ms_scalar(world.draws.later("repair", vm.slot, vm.generation))
        if failures.background_becomes == "old-image":
            lifecycle.end_exposure(world, vm, world.now)
            vm.image, vm.content, vm.turns_bad_at = vm.first_image, -1, NEVER
            vm.disk += 1
        world.fail(vm, world.now + repair)

    def hits(self, outage: Outage, vm: Vm) -> bool:
        """Does an outage match this VM?"""
        machine = vm.machine
        wanted = (
            (outage.zone, machine.zone),
            (outage.update_domain, machine.update_domain),
            (outage.fault_domain, machine.fault_domain),
        )
        if any(want is not None and want != have for want, have in wanted):
            return False
        return outage.ids is None or vm.id in outage.ids

    def _happen(self, disturbance: Disturbance) -> None:
        world = self.world
        self._count += 1
        name = f"disturbance-{self._count}"
        match disturbance:
            case Outage():
                self._outage(disturbance)
            case Publication():
                world.publish(disturbance.version)
            case Autoscale():
                world.submit(name, "set-capacity", capacity=max(0, len(world.counted()) + disturbance.by))
            case Foreign():
                world.submit(name, disturbance.request, disturbance.ids, **disturbance.args)

    def _outage(self, outage: Outage) -> None:
        world = self.world
        until = world.now + outage.for_ms
        for vm in list(world.vms.values()):
            if not self.hits(outage, vm) or vm.provisioning == "deleting":
                continue
            if world.serving(vm):
                vm.generation += 1
                world.fail(vm, until)
            else:
                world.hold_down(vm, until)
        world.blocked.append(outage)
        world.at(until, world.blocked.remove, outage)
