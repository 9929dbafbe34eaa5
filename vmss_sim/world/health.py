"""What the platform shows of a VM, derived when read and never stored; and what that counts for.

Rules (DOC-health, DOC-autoos):

1. A health source reports what it saw `probe_ms` ago. A VM in an operation that takes it down is not healthy.
2. *Rich* health states: after an operation the extension is Initializing until the application answers or the grace
   period is over; then Unknown (nothing valid answered; over TCP, which knows no Unknown, Unhealthy). Initializing comes
   once: what was healthy and fails is Unknown at once. Unknown counts as unhealthy; Initializing makes rollouts wait.
3. *Binary* extension and load-balancer probe: healthy or not; there is nothing between.
4. Without a health source the power state and the provisioning state decide (running, and provisioned).
5. Whether a VM in flight counts as unhealthy is undocumented: an option.
6. A source that an update of the model added, changed or took away is that of the instances that have this model; the others
   keep theirs (DOC-health: `vmHealth` is absent where an instance is not on the model that added it).
7. Where the snapshot shows no health for an instance (it is not on the model that added the source), power and
   provisioning decide, as in 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmss_sim.world.lifecycle import settled
from vmss_sim.world.operations import VM_TABLE
from vmss_sim.world.vm import NEVER, Vm

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World


def shown(world: World, vm: Vm) -> tuple[str, str, str]:
    """Provisioning, power, health, as an instance view tells them."""
    now, source = world.env.now, world.config.health
    if world.sources is not None:
        source = source_of(world, vm)
    if vm.effect is not None:
        settled(world, vm)
    if vm.provisioning == "deleting":
        return "deleting", "stopping", "absent" if source == "none" else "unhealthy"
    if vm.busy_until > now:
        if not vm.hard:
            return "updating", "running", reported(world, vm, now)
        word = "creating" if vm.doing == "create" else "updating"
        return word, VM_TABLE[vm.doing].while_busy, "absent" if source == "none" else "unhealthy"
    power = vm.power
    if source == "none" and vm.serves_from > now >= vm.down_seen > 0 and vm.turns_bad_at > now and power == "running":
        power = "stopped"  # without a health source only the VM itself can be seen to be down, not its application
    return vm.provisioning, power, reported(world, vm, now)


def reported(world: World, vm: Vm, now: float) -> str:
    """The health state of a VM that no operation holds down (rules 1 to 3)."""
    config = world.config
    source = config.health if world.sources is None else source_of(world, vm)
    if source == "none":
        return "absent"
    if not vm.attempt and (vm.health in ("unknown", "absent") or (source != "rich" and vm.health == "initializing")):
        return vm.health  # what the source cannot have said stands as the snapshot shows it
    if vm.serves_from <= now or now < vm.down_seen:
        return "healthy"
    if source != "rich" or vm.power != "running":
        return "unhealthy"
    if not vm.down_seen and (vm.attempt or vm.health == "initializing") and now < grace_ends(world, vm):
        return "initializing"
    if config.health_protocol == "tcp" or (not vm.attempt and vm.health == "unhealthy"):
        return "unhealthy"  # it says so itself, or there is no other word
    return "unknown"


def source_of(world: World, vm: Vm) -> str:
    """Rule 6."""
    return world.config.health if world.sources is None else world.sources.get(vm.content, world.first_source)


def grace_ends(world: World, vm: Vm) -> int:
    """Rule 2: until when a VM whose operation has ended (or that the snapshot shows starting) may be Initializing."""
    grace = world.config.health_grace_ms
    return vm.busy_until + (world.config.timings.probe_ms if grace is None else grace)


def verdict(world: World, vm: Vm) -> str:
    """What a VM counts for in Azure's rollouts and repairs: healthy, unhealthy, or waiting (rules 2, 4 and 5)."""
    provisioning, power, health = shown(world, vm)
    if provisioning in ("updating", "creating") and power != "running":
        return "unhealthy" if world.config.platform.count_in_flight else "waiting"
    if provisioning == "deleting":
        return "waiting"
    if health == "absent":
        return "healthy" if power == "running" and provisioning in ("succeeded", "updating") else "unhealthy"
    if health == "initializing" and power == "running":
        return "waiting"
    return "healthy" if health == "healthy" and power == "running" else "unhealthy"


def unhealthy(world: World) -> int:
    """How many instances count as unhealthy now."""
    return sum(verdict(world, vm) == "unhealthy" for vm in world.vms.values())


def serving_from(world: World, vm: Vm) -> int:
    """When this VM will be seen to serve, as things stand; NEVER if it will not."""
    if source_of(world, vm) == "none":
        return vm.busy_until if vm.serves_from != NEVER else NEVER
    return max(vm.busy_until, vm.serves_from)
