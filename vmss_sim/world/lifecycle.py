"""What an operation does to one VM: its timetable is drawn when it starts, and what it leaves behind is applied when read.

Rules (sources in docs/azure-rules.md):

1. Only what somebody can react to is scheduled: the end of the operation, a failure, a health change.
2. `upgrade` (manualupgrade): a VM that has the latest model is left alone; without a new image the delta is applied;
   else the OS disk is replaced. `latestModelApplied` becomes true only where it succeeds. On a set on `latest` a VM keeps
   its image: publishing a version flips nothing.
3. `reimage` boots `exact_version`, else what the model says (an option), and leaves the flag alone.
4. The OS profile (custom data, passwords) takes effect with a new OS disk only, not with an upgrade's delta (DOC-policy).
5. Luck belongs to a slot and its attempt. A VM that is created while another waits to be replaced inherits that one's slot,
   so that every strategy meets the same luck.
6. An operation, and a repair, make a VM as good as new: it is not failure-prone before it has aged again.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from vmss_sim.world.config import Machine
from vmss_sim.world.operations import VM_TABLE, Does
from vmss_sim.world.timings import Constant, Timing
from vmss_sim.world.vm import NEVER, Effect, Vm

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World

MAY_FAIL = frozenset({"upgrade", "reimage", "reimage-all", "create"})
_NOTHING = Constant(0)


def row_of(world: World, does: str) -> tuple[Does, Timing]:
    """What an operation does, and how long it takes here: its own row of the timings, else the one it borrows from."""
    known = world.rows.get(does)
    if known is None:
        row, operations = VM_TABLE[does], world.config.timings.operations
        if row.temp_disk == "option":
            row = row._replace(temp_disk=world.config.platform.reimage_temp)
        timing = operations.get(row.timing) or operations.get(row.instead) or _NOTHING
        known = world.rows[does] = (row, timing.of_regime(world.regime))
    return known


def start(world: World, vm: Vm, kind: str, args: dict[str, Any]) -> int:
    """Draw the timetable of one VM's operation; returns when it ends."""
    now: int = world.env.now  # type: ignore[assignment]  # all times are whole
    config = world.config
    if vm.effect is not None:
        settled(world, vm)
    image, content, profile, disrupts, does = vm.image, vm.content, vm.profile, True, kind
    if kind == "upgrade":
        same = vm.provisioning == "succeeded" and world.boots_same(vm)
        if same and vm.content == world.content:
            return now + world.set_level("upgrade-current")
        content = world.content
        if same:
            does, disrupts = "upgrade-delta", config.restart_on_delta
        else:
            image, profile = world.model_image, world.profile
    elif kind == "create":
        profile = world.profile
    elif kind in ("reimage", "reimage-all"):
        image, profile = _reimaged(world, vm, args), world.profile
    elif kind == "restore":
        image, content, profile = args["image"], args["content"], args["profile"]
    elif kind == "run-command":
        disrupts = config.patch_disrupts
    elif kind == "start" and vm.power == "running" and vm.provisioning == "succeeded":
        return now + world.set_level("start-running")
    row, timing = world.rows.get(does) or row_of(world, does)
    if args and args.get("temp_disk"):
        row = row._replace(temp_disk="lost")
    disrupts = disrupts and row.down
    vm.attempt += 1
    column = world.columns.get(does) if vm.attempt == 1 and vm.slot < world.draws.slots else None
    takes, wait = durations(world, does, timing, vm) if column is None else column[vm.slot]
    end = now + takes
    ready = end + wait + world.probe_ms if row.power == "running" else NEVER
    error, dead, bad, failures = None, False, False, config.failures
    if world.unlucky or world.blocked:  # else nothing can go wrong, and nothing of this needs to be asked
        if failures.slow != 1.0 and image != vm.first_image and ready != NEVER:
            ready += round(wait * failures.slow) - wait
        if world.blocked:
            ready = max(ready, world.outage_over(vm, kind))
        error = _error(world, vm, kind) if failures.upgrade > 0 or world.blocked else None
        if error is not None and failures.becomes == "old-image" and kind != "create":
            image, content, profile = vm.image, vm.content, vm.profile
        elif error is not None:
            content, ready, dead = vm.content, NEVER, True  # rule 2
        bad = (
            failures.bad_share > 0
            and error is None
            and image != vm.first_image
            and luck(world, vm, "bad", first=True) < failures.bad_share
        )
        if bad and failures.bad_after_ms == 0:
            ready = NEVER
    vm.generation += 1
    vm.busy_until = vm.touched_ms = end
    vm.doing, vm.hard = does, disrupts
    name = args.get("run_name") if kind == "run-command" else None
    vm.effect = Effect(row, image, content, profile, error, dead, name)
    if disrupts or ready == NEVER:
        vm.down_seen = 0  # what was wrong with it before is over
        down(vm, now, ready)
        world.disturbed[vm.id] = None
        world.woken = True
    vm.turns_bad_at = NEVER
    if bad and ready != NEVER:
        vm.turns_bad_at = ready + failures.bad_after_ms
        world.at(vm.turns_bad_at, world.turn_bad, vm)
    if failures.ageing_ms is not None:
        renew(world, vm, min(ready, NEVER))
    world.dirty[vm.id] = None
    world.moving[vm.id] = None
    if world.watches_health:
        world.look_later(vm, ready)
    return end


def _error(world: World, vm: Vm, kind: str) -> str | None:
    """Why this attempt fails, if it does. A restore wants a place too, but is not asked whether it fails by itself."""
    may_fail = kind in MAY_FAIL
    if world.blocked and (may_fail or kind == "restore") and (found := world.allocation_fails(vm)):
        return found
    return "VMStartTimedOut" if may_fail and luck(world, vm, "fails") < world.config.failures.upgrade else None


def _reimaged(world: World, vm: Vm, args: dict[str, Any]) -> Any:
    """Rule 3."""
    exact = args.get("exact_version")
    if exact:
        return world.image_of_model(exact)
    return world.model_image if world.config.platform.reimage_boots == "model" else vm.image


def durations(world: World, does: str, timing: Timing, vm: Vm) -> tuple[int, int]:
    """How long this attempt takes, and from its end until the application serves (rule 5).

    First attempts of all slots are computed at once, and kept as a column: it costs what a few calls would.
    """
    draws, columns, slot = world.draws, world.columns, vm.slot
    if world.together:  # what starts at one time takes one time (`Platform.vms_of_a_request`)
        ready = world.ready.ppf_ms_scalar(draws.uniform("ready", slot, vm.attempt))
        return timing.ppf_ms_scalar(draws.later(f"together/{does}", 0, world.now)), ready
    if vm.attempt != 1 or slot >= draws.slots:
        ready = world.ready.ppf_ms_scalar(draws.uniform("ready", slot, vm.attempt))
        return timing.ppf_ms_scalar(draws.uniform("operation", slot, vm.attempt)), ready
    takes = timing.ppf_ms(draws.first("operation")).tolist()
    columns[does] = list(zip(takes, world.ready_column, strict=True))
    return columns[does][slot]


def luck(world: World, vm: Vm, purpose: str, *, first: bool = False) -> float:
    """A uniform of this VM's slot and attempt."""
    return world.draws.uniform(purpose, vm.slot, 1 if first else vm.attempt)


def down(vm: Vm, when: int, until: int = NEVER) -> None:
    """The VM does not serve from now on (if it served), until then."""
    outages = vm.outages
    if outages and outages[-1][1] > when:
        outages[-1][1] = until  # still out: the outage goes on
    else:
        outages.append([when, until])
    vm.serves_from = until


def renew(world: World, vm: Vm, from_ms: int) -> None:
    """Rule 6."""
    mean = world.config.failures.ageing_ms
    if mean is None:
        return
    if from_ms == NEVER:
        vm.prone_at = NEVER
        return
    draw = world.draws.later("ageing", vm.slot, vm.generation + 1)
    vm.prone_at = from_ms + round(-math.log1p(-draw) * mean)


def settled(world: World, vm: Vm) -> Vm:
    """The VM, with what its operation has left behind once its end has passed (not observable before)."""
    effect = vm.effect
    if effect is None or world.env.now < vm.busy_until:
        return vm
    vm.effect = None
    row, image, error, dead = effect.row, effect.image, effect.error, effect.dead
    vm.content, vm.profile = effect.content, effect.profile
    created = vm.doing == "create"
    if world.unlucky and (image is not vm.image or created):  # else no image is bad
        end_exposure(world, vm, vm.busy_until)
        bad = world.config.failures.bad_share > 0 and image != vm.first_image
        vm.bad_since = vm.busy_until if bad else NEVER
    vm.image, vm.error = image, error
    if error is None or dead:  # what fails back to its old image kept its disk
        if row.os_disk == "replaced" and not created:
            vm.disk += 1
        if row.data_disks == "reset":
            vm.data += 1
    if row.temp_disk == "lost":
        vm.temp += 1
    vm.provisioning = "failed" if dead else "succeeded"
    if vm.hard:  # what takes nothing down starts nothing
        vm.power = row.power
    if effect.run_name and effect.run_name not in vm.commands:
        vm.commands = (*vm.commands, effect.run_name)
    return vm


def end_exposure(world: World, vm: Vm, when: int) -> None:
    """It does not run the bad image any more."""
    if vm.bad_since != NEVER:
        world.exposed.append((vm.bad_since, when))
        vm.bad_since = NEVER


def add(world: World, instead_of: Vm | None = None, image: Any = None) -> tuple[Vm, int]:
    """A new VM on the present model, in the emptiest place (or in the place of the one it replaces), and when it is created."""
    heir = instead_of or _without_heir(world)
    if heir is None:
        slot = world.slots
        world.slots += 1
    else:
        slot = heir.slot
    like = instead_of.machine if instead_of else _emptiest(world)
    while {_vm_id(world), _flexible_name(world)} & world.first_names:
        world.born += 1
    name = _name(world)
    machine = Machine(
        id=name,
        vm_id=_vm_id(world),
        image=image or world.model_image,
        zone=like.zone if like else None,
        placement_group=like.placement_group if like else None,
        update_domain=like.update_domain if like else None,
        fault_domain=like.fault_domain if like else None,
        power="starting",
        health="absent",
    )
    world.born += 1
    vm = Vm(machine, slot, world.content)
    if vm.image not in world.first_images:  # it is new to the set: what may be bad about it may be bad here too
        vm.first_image = heir.first_image if heir else world.first_images[0] if world.first_images else None
    if heir is not None:
        vm.attempt = heir.attempt
        if slot < len(world.owners):
            world.heirs[slot] = name
    vm.outages = [[0, NEVER]]  # it did not exist before
    world.vms[name] = vm
    return vm, start(world, vm, "create", {})


def _vm_id(world: World) -> str:
    """The vmId of the VM that is born next: a GUID as Azure's are, the same in every run."""
    config = world.config
    of = config.unique or (config.machines[0].vm_id if config.machines else "")
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{config.name}/{of}/{world.born}"))


def _without_heir(world: World) -> Vm | None:
    """Rule 5: the first VM that does not have the latest model, and that nobody was created for yet."""
    for vm in world.owners:
        if vm.slot in world.heirs or world.vms.get(vm.id) is not vm:
            continue
        if world.settled(vm).content != world.content:
            return vm
    return None


def _emptiest(world: World) -> Machine | None:
    """The machine in whose zone, and there in whose domain, the fewest VMs stand (DOC-pg: best effort balance); ties by zone, then domain."""
    held: dict[tuple[str | None, int | None], int] = {}
    zones: dict[str | None, int] = {}
    for vm in world.vms.values():
        place = (vm.machine.zone, vm.machine.update_domain)
        held[place] = held.get(place, 0) + 1
        zones[place[0]] = zones.get(place[0], 0) + 1
    known = {(one.zone, one.update_domain): one for one in reversed(world.places)}
    places = known or {(vm.machine.zone, vm.machine.update_domain): vm.machine for vm in world.vms.values()}
    return min(
        places.values(),
        default=None,
        key=lambda one: (
            zones.get(one.zone, 0),
            held.get((one.zone, one.update_domain), 0),
            one.zone or "",
            one.update_domain or 0,
        ),
    )


def _name(world: World) -> str:
    config = world.config
    if config.flexible:
        return _flexible_name(world)
    if config.platform.reuse_ids:
        return str(next(number for number in range(len(world.vms) + 1) if str(number) not in world.vms))
    world.next_id += 1
    return str(world.next_id - 1)


def _flexible_name(world: World) -> str:
    return f"{world.config.name}_{world.born:08x}"


def scale_in(world: World, count: int) -> list[Vm]:
    """Which instances a scale-in by `count` takes, in order (DOC-scalein); those protected from it are never taken (DOC-protect).

    The fullest zone first; `default`: there the fullest fault domain, and there the highest id; `newest`, `oldest`: of all
    that stand in the fullest zones. Protected instances count where they stand.
    """
    rule = world.config.platform.scale_in
    age = {name: number for number, name in enumerate(world.vms)}  # in the order in which they were created
    alive = world.counted()
    zones = Counter(vm.machine.zone for vm in alive)
    domains = Counter((vm.machine.zone, vm.machine.fault_domain) for vm in alive)
    left = [vm for vm in alive if not (vm.scale_in_protected or vm.protected)]

    def first(vm: Vm) -> tuple[int, ...]:
        zone, domain = zones[vm.machine.zone], domains[vm.machine.zone, vm.machine.fault_domain]
        if rule == "default":
            return zone, domain, int(vm.id) if vm.id.isdecimal() else 0, age[vm.id]
        return zone, age[vm.id] if rule == "newest" else -age[vm.id]

    order: list[Vm] = []
    while left and len(order) < count:
        vm = max(left, key=first)
        left.remove(vm)
        order.append(vm)
        zones[vm.machine.zone] -= 1
        domains[vm.machine.zone, vm.machine.fault_domain] -= 1
    return order
