"""Automatic instance repairs (DOC-repairs): the platform's own hand, which can fight a rollout.

Rules:

1. An instance that counts as unhealthy (Unknown too) for the grace period is repaired. The grace period starts anew
   after every operation on the instance, and honours new instances.
2. At most 5 % of the instances at a time, one at least (so sets under 40 go one by one).
3. Replace: a new instance, with a new id, for one that is deleted; data is lost. Reimage: a new OS disk. Restart: all kept.
4. Not repaired: what has failed to provision, what is protected, what an operation holds; and nobody while suspended.
5. When replaced instances stay unhealthy the service suspends itself (after how many is undocumented: an option).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import proxy

from vmss_sim.world import health, lifecycle
from vmss_sim.world.vm import Vm

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World

SHARE = 20  # one in twenty: 5 %


class RepairService:
    """The repair service of one set. log: (when, instance, action) of every repair, oldest first."""

    def __init__(self, world: World) -> None:
        self.world: World = proxy(world)  # no cycle: a world of a study is gone as soon as nobody needs it
        self.log: list[tuple[int, str, str]] = []
        self._busy: dict[str, int] = {}
        self._replaced: set[str] = set()
        self._in_vain = 0
        if world.repairs.enabled:
            self.look_at_all()

    def watch(self, vm: Vm) -> None:
        """Look at this instance when its grace period may be over."""
        world = self.world
        if world.repairs.enabled:
            world.at(max(world.now, vm.touched_ms) + world.repairs.grace_ms, self._look, vm)

    def look_at_all(self) -> None:
        """Repairs were enabled or resumed, or the set is new: every instance is watched."""
        for vm in self.world.vms.values():
            if health.verdict(self.world, vm) == "unhealthy":
                self.watch(vm)

    def _look(self, vm: Vm) -> None:
        world, policy = self.world, self.world.repairs
        if not policy.enabled or world.repairs_suspended or world.vms.get(vm.id) is not vm or vm.protected:
            return
        sick = health.verdict(world, vm) == "unhealthy"
        if vm.busy_until > world.now or not sick or vm.provisioning == "failed":
            if vm.id in self._replaced and vm.busy_until <= world.now and not sick:
                self._replaced.discard(vm.id)
                self._in_vain = 0
            return
        since = max(vm.touched_ms, vm.down_seen)
        if world.now < since + policy.grace_ms:
            world.at(since + policy.grace_ms, self._look, vm)
            return
        if vm.id in self._replaced:
            self._replaced.discard(vm.id)
            self._in_vain += 1
            if self._in_vain >= world.config.platform.repairs_give_up:
                world.repairs_suspended = True
                return
        self._busy = {name: end for name, end in self._busy.items() if end > world.now}
        if len(self._busy) >= max(1, len(world.vms) // SHARE):
            world.at(min(self._busy.values()), self._look, vm)
            return
        self._repair(vm, policy.action)

    def _repair(self, vm: Vm, action: str) -> None:
        world = self.world
        self.log.append((world.now, vm.id, action))
        if action != "replace":
            self._busy[vm.id] = lifecycle.start(world, vm, action, {})
            return
        lifecycle.down(vm, world.now)
        world.remove_at(vm, world.now + world.set_level("delete"))
        new, end = lifecycle.add(world, instead_of=vm)
        self._replaced.add(new.id)
        self._busy[new.id] = end
