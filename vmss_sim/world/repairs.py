"""Automatic instance repairs (DOC-repairs): the platform's own hand, which can fight a rollout.

Rules:

1. An instance that counts as unhealthy (Unknown too) is repaired, but not within the grace period after a change of its
   state: every operation on it starts that anew, and a new instance begins with it. Whether it also counts from when the
   instance was seen unhealthy is an option (default: no, the page speaks of changes only).
2. At most 5 % of the instances at a time, one at least (so sets under 40 go one by one). A replacement is in progress until
   the new one is created and the old one gone.
3. Replace: a new instance, with a new id, on the present model, for one that is deleted; all its disks are lost. Reimage: a new OS
   disk. Restart: all kept.
4. Not repaired: what has failed to provision, what is protected (from scale-in or from scale-set actions), what an
   operation holds; and nobody while suspended.
5. When replaced instances stay unhealthy the service suspends itself (after how many is undocumented: an option);
   resuming starts that count anew.
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
        self._planned: set[tuple[str, int]] = set()
        self._in_vain = 0
        if world.repairs.enabled:
            self.look_at_all()

    @property
    def state(self) -> str:
        """`serviceState` in the set's instance view: NotRunning, Running or Suspended."""
        if not self.world.repairs.enabled:
            return "NotRunning"
        return "Suspended" if self.world.repairs_suspended else "Running"

    def watch(self, vm: Vm) -> None:
        """Look at this instance when its grace period is over; now, if it is."""
        world = self.world
        if world.repairs.enabled:
            self._look_at(max(world.now, self._ripe_at(vm)), vm)

    def resume(self) -> None:
        """The service runs again (rule 5)."""
        self._in_vain = 0
        self.look_at_all()

    def forget(self, until_ms: int) -> None:
        """Forget the repairs until then, and who is gone."""
        self.log = [one for one in self.log if one[0] > until_ms]
        self._replaced &= self.world.vms.keys()

    def _look_at(self, when: int, vm: Vm) -> None:
        """Look at an instance at this time, once however many reasons there are: they would multiply with every repair."""
        if (vm.vm_id, when) not in self._planned:
            self._planned.add((vm.vm_id, when))
            self.world.at(when, self._look, vm)

    def look_at_all(self) -> None:
        """Repairs were enabled or resumed, or the set is new: whatever is not healthy is watched, also what is in flight."""
        for vm in self.world.vms.values():
            if health.verdict(self.world, vm) != "healthy":
                self.watch(vm)

    def _ripe_at(self, vm: Vm) -> int:
        """Rule 1: before then it is not repaired."""
        world = self.world
        since = vm.touched_ms
        if world.config.platform.repairs_wait == "unhealthy":
            since = max(since, vm.down_seen)
        return since + world.repairs.grace_ms

    def _look(self, vm: Vm) -> None:
        world, policy = self.world, self.world.repairs
        self._planned.discard((vm.vm_id, world.now))
        if not policy.enabled or world.repairs_suspended or world.vms.get(vm.id) is not vm:
            return
        # A surge in flight decides about what it created, and deletes it where it does not become healthy.
        if vm.protected or vm.scale_in_protected or vm.id in world.rollouts.lent:
            return
        world.settled(vm)
        sick = health.verdict(world, vm) == "unhealthy"
        if vm.busy_until > world.now or not sick or vm.provisioning == "failed":
            if vm.id in self._replaced and vm.busy_until <= world.now and not sick:
                self._replaced.discard(vm.id)
                self._in_vain = 0
            return
        if world.now < (ripe := self._ripe_at(vm)):
            self._look_at(ripe, vm)
            return
        if vm.id in self._replaced:
            self._replaced.discard(vm.id)
            self._in_vain += 1
            if self._in_vain >= world.config.platform.repairs_give_up:
                world.repairs_suspended = True
                return
        self._busy = {name: end for name, end in self._busy.items() if end > world.now}
        alive = sum(one.provisioning != "deleting" for one in world.vms.values())
        if len(self._busy) >= max(1, alive // SHARE):
            self._look_at(min(self._busy.values()), vm)
            return
        self._repair(vm, policy.action)

    def _repair(self, vm: Vm, action: str) -> None:
        world = self.world
        self.log.append((world.now, vm.id, action))
        if action != "replace":
            self._busy[vm.id] = lifecycle.start(world, vm, action, {})
            return
        gone = world.now + world.set_level("delete")
        lifecycle.down(vm, world.now)
        world.remove_at(vm, gone)
        new, end = lifecycle.add(world, instead_of=vm)
        self._replaced.add(new.id)
        self._busy[new.id] = max(end, gone)
