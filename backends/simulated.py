"""The simulated backend: the driver's view of a `World`.

Contract: translates the world's VMs into planner instances and nothing else; unchanged instances are the same objects.
`poll_ms`: 0 tells at once; otherwise what happened is told at the next poll, as a client that polls would learn it. `schedule`: the same
for one that does not poll evenly, as the Azure backend does.
Several backends may be made over one world, one after another (an executor that was killed, and its successor).
"""

from __future__ import annotations

from typing import Any

import msgspec

from backends.protocol import Seen, Wait
from backends.schedule import Schedule
from planner.arm_json.gives import is_given, leaves
from planner.commands import Command, Kind, Outcome, Status
from planner.drift import SIZE
from planner.gives import within
from planner.model import Health, ImageReference, Instance, Power, Provisioning, RollingUpgrade, ScaleSet, UpgradeMode
from planner.scripts import undo_of
from vmss_sim.world.config import Image, Machine, WorldConfig
from vmss_sim.world.scale_set import NEVER, Operation, Vm, World

_untouched: list[tuple[WorldConfig, dict[str, Instance]]] = []
"""The last set that was looked at before anything happened to it, with what it was made from."""
_PROVISIONING = {one.value: one for one in Provisioning}
_POWER = {one.value: one for one in Power}
_HEALTH = {one.value: one for one in Health}
_replace = msgspec.structs.replace


class SimulatedBackend:
    """A world as the driver sees it. `scale_set`: the snapshot the world was made from."""

    def __init__(
        self, world: World, scale_set: ScaleSet, *, poll_ms: int = 0, schedule: Schedule | None = None
    ) -> None:
        self.world = world
        self.model = scale_set.model
        self.settings = {
            path: None if path in world.config.model else value for path, value in scale_set.model.settings.items()
        }
        self.gives = scale_set.model.gives
        self.instances = dict(scale_set.instances)
        self.schedule = schedule or (Schedule.every(poll_ms) if poll_ms else None)
        self._images: dict[int, tuple[Image | None, ImageReference | None]] = {}
        self._content = -1
        self._outcomes: list[Outcome] = []
        self._names: dict[str, str] = {}
        self._first = True
        self._shown: tuple[object, ...] = ()
        self._rollouts, self._rolling = 0, _rolling(world)

    # -- looking -------------------------------------------------------------------------------------------------

    def observe(self) -> Seen:
        """Look: translate what changed."""
        world = self.world
        changed: tuple[str, ...] | None = None
        if self._first:
            self._first = False
            self.instances = self._look_at_all()
            for _ in world.read_changes():
                pass
        else:
            changed = self._read_changes()
        self._content = world.content
        self._look_at_model()
        outcomes = self._take_outcomes()
        return Seen(
            now_ms=world.now,
            scale_set=ScaleSet(model=self.model, instances=self.instances, rolling_upgrade=self._look_at_rollout()),
            changed=changed,
            outcomes=outcomes,
        )

    def _look_at_all(self) -> dict[str, Instance]:
        """The first look. Every replication of a study begins with the same untouched set: it is translated once."""
        world = self.world
        untouched = world.now == 0 and not world.requests and not world.dirty
        if untouched and _untouched and _untouched[0][0] is world.config:
            return _untouched[0][1]
        made = {one.id: self._instance(one) for one in world.vms.values()}
        if untouched:
            _untouched[:] = [(world.config, made)]
        return made

    def _read_changes(self) -> tuple[str, ...]:
        """Translate the VMs that may differ, and, where the model changed, the flag of those that do not have it."""
        world = self.world
        names: dict[str, None] = {}
        instances = dict(self.instances)
        for vm in world.read_changes():
            if isinstance(vm, str):
                instances.pop(vm, None)
                names[vm] = None
            else:
                instances[vm.id] = self._instance(vm, instances.get(vm.id))
                names[vm.id] = None
        content, vms = world.content, world.vms
        if content != self._content:
            for name, one in instances.items():
                latest = vms[name].content == content
                if one.latest_model is not latest:
                    instances[name] = _replace(one, latest_model=latest)
                    names[name] = None
        self.instances = instances
        return tuple(names)

    def _instance(self, vm: Vm, last: Instance | None = None) -> Instance:
        """A VM as an instance. last: what its id named at the last look; what can change of a VM is written over it."""
        provisioning, power, health = self.world.state(vm)
        machine, image = vm.machine, vm.image
        known = self._images.get(id(image))
        return _replace(
            last if last is not None and last.vm_id == vm.vm_id else _lasting(machine),
            image=self._image(image) if known is None else known[1],
            latest_model=vm.content == self.world.content,
            provisioning=_PROVISIONING[provisioning],
            provisioning_error=vm.error if provisioning == "failed" else None,
            power=_POWER[power],
            health=_HEALTH[health],
            protected=vm.protected,
            scale_in_protected=vm.scale_in_protected,
            os_disk=f"{machine.os_disk}{vm.disk}" if vm.disk else machine.os_disk,
            run_commands=tuple(name for name in vm.commands if undo_of(name) not in vm.commands) if vm.commands else (),
        )

    def _image(self, image: Image | None) -> ImageReference | None:
        """An image that was not seen before; kept with its original, whose identity is the key."""
        made = None if image is None else reference(image)
        self._images[id(image)] = (image, made)
        return made

    def _look_at_model(self) -> None:
        world = self.world
        shown = (world.mode, world.content, world.repairs_suspended, len(world.vms), world.updating)
        if shown == self._shown:
            return
        self._shown = shown
        image = world.model_image
        repairs = self.model.repairs
        self.model = _replace(
            self.model,
            mode=UpgradeMode(world.mode),
            provisioning=Provisioning.UPDATING if world.updating else Provisioning.SUCCEEDED,
            image=self.model.image if image is None else _replace(reference(image), exact_version=None),
            repairs=None if repairs is None else _replace(repairs, suspended=world.repairs_suspended),
            settings={path: world.model.get(path, self.settings[path]) for path in self.model.settings},
            capacity=len(world.vms),
            sku=world.model.get(SIZE, self.model.sku),
            gives=_replace(self.gives, values=self._given()),
        )

    def _given(self) -> dict[str, Any]:
        """What the set was given to give an instance, with what was written to its model since."""
        if not self.gives.values:  # an invented set: nothing is known of it, and nothing compared
            return {}
        first, now = self.world.config.model, self.world.model
        written = [path for path in first.keys() | now.keys() if is_given(path) and first.get(path) != now.get(path)]
        values = {path: value for path, value in self.gives.values.items() if not within(path, written)}
        for path in sorted(written):
            values |= leaves(path, now.get(path))
        return values

    def _look_at_rollout(self) -> RollingUpgrade | None:
        version = self.world.rollouts.version
        if version != self._rollouts:
            self._rollouts, self._rolling = version, _rolling(self.world)
        return self._rolling

    def _take_outcomes(self) -> tuple[Outcome, ...]:
        made, self._outcomes = self._outcomes, []
        still: list[Operation] = []
        for operation in self.world.ended:
            command = self._names.pop(operation.name, None)
            if command is None:
                still.append(operation)
            else:
                made.append(_outcome(command, operation))
        self.world.ended = still
        return tuple(made)

    # -- sending -------------------------------------------------------------------------------------------------

    def submit(self, command: Command) -> str:
        """Send once."""
        world = self.world
        name = f"{command.id}/{world.requests + 1}"
        reply = world.submit(name, command.kind.value, command.ids, **_arguments(command))
        if reply.kind == "refused":
            self._outcomes.append(
                Outcome(
                    command=command.id,
                    status=Status.FAILED,
                    code=reply.code,
                    message=reply.message,
                    refused=True,
                    retry_after_ms=reply.retry_after_ms,
                )
            )
            return ""
        if reply.kind == "silence":
            self._outcomes.append(Outcome(command=command.id, status=Status.UNKNOWN, code=reply.code))
            return ""
        self._names[name] = command.id
        return name

    def adopt(self, command: Command, handle: str) -> None:
        """Ask for an operation that an earlier executor sent."""
        operation = self.world.operations.get(handle)
        if operation is None:
            self._outcomes.append(Outcome(command=command.id, status=Status.UNKNOWN, code="NoReceipt"))
        elif operation.status in ("succeeded", "failed"):
            self._outcomes.append(_outcome(command.id, operation))
        else:
            self._names[handle] = command.id

    # -- waiting -------------------------------------------------------------------------------------------------

    def wait(self, wait: Wait) -> bool:
        """Let virtual time pass to what the step waits for."""
        world = self.world
        if self._outcomes:
            return True
        until = NEVER if wait.until_ms is None else wait.until_ms
        start = world.now if wait.began_ms is None else wait.began_ms
        # What a command did to the platform's rollout at once can be seen already: that is not waited for.
        while not (wait.watch and world.rollouts.version != self._rollouts):
            ready = world.shown_serving_from(wait.awaiting) if wait.awaiting else NEVER
            if ready <= world.now:
                ready = NEVER  # that was to be seen already; what else is awaited shows itself otherwise
            goal = min(until, ready, self._next_shown(wait) if wait.watch else NEVER)
            if goal == NEVER and (world.env.peek() == float("inf") or not (wait.watch or world.will_end(self._names))):
                return False
            world.run(goal)
            if not world.woken or self._concerns(wait):
                break
            world.disturbed = {}
        if self.schedule is not None:
            elapsed = world.now - start
            tick = min(until, start + self.schedule.after(max(elapsed, 1) - 1))
            while world.now < tick:
                world.run(tick, stop_on_wake=False)
        return True

    def _next_shown(self, wait: Wait) -> int:
        """When the next VM that nobody awaits will be shown to serve."""
        world = self.world
        times = (world.shown_serving_from((name,)) for name in world.moving if name not in wait.awaiting)
        return min((when for when in times if when > world.now), default=NEVER)

    def _concerns(self, wait: Wait) -> bool:
        """Is what woke the world something this step waits for?"""
        world = self.world
        if any(operation.name in self._names for operation in world.ended):
            return True
        if wait.watch and world.rollouts.version != self._rollouts:
            return True
        return bool(world.disturbed) and (wait.watch or any(name in world.disturbed for name in wait.awaiting))


def _lasting(machine: Machine) -> Instance:
    """What stays of an instance as long as its VM does."""
    return Instance(
        id=machine.id,
        vm_id=machine.vm_id,
        zone=machine.zone,
        placement_group=machine.placement_group,
        update_domain=machine.update_domain,
        fault_domain=machine.fault_domain,
        upgrade_phase=machine.phase,
        skip_upgrade=machine.skip_upgrade,
    )


def reference(image: Image) -> ImageReference:
    """A world's image as the planner sees it."""
    return ImageReference(
        publisher=image.publisher,
        offer=image.offer,
        sku=image.sku,
        version=image.version,
        exact_version=image.exact,
        id=image.id,
        uri=image.uri,
    )


def _rolling(world: World) -> RollingUpgrade | None:
    status = world.rolling_upgrade
    if status is None:
        return None
    return RollingUpgrade(
        code=status.code,
        last_action=status.last_action,
        started_ms=status.started_ms,
        ended_ms=status.ended_ms,
        successful=status.successful,
        failed=status.failed,
        in_progress=status.in_progress,
        pending=status.pending,
        error_code=status.error_code,
        error_message=status.error_message,
    )


def _outcome(command: str, operation: Operation) -> Outcome:
    status = Status.SUCCEEDED if operation.status == "succeeded" else Status.FAILED
    return Outcome(command=command, status=status, code=operation.code, message=operation.message)


def _arguments(command: Command) -> dict[str, object]:
    match command.kind:
        case Kind.UPDATE_MODEL:
            return {"patch": command.patch}
        case Kind.SET_MODE:
            return {"mode": command.mode.value if command.mode else ""}
        case Kind.REIMAGE:
            return {"exact_version": command.exact_version}
        case Kind.RUN_COMMAND:
            return {"run_name": command.name}
        case Kind.SET_CAPACITY:
            return {"capacity": command.capacity}
        case _:
            return {}
