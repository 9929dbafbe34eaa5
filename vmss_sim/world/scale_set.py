"""The SimPy scale set: VMs, operations, health, failures, and the ground truth about who serves when.

Rules (azure: `azure-compute-docs`, `reference` pages cited by topic):

1. A VM operation draws its whole timetable when it starts: when the operation on this VM ends, when the VM serves
   again. Only what somebody can react to is scheduled: the end of the operation, a failure, a health change. States in
   between are derived when read, and reading changes nothing.
2. `upgrade` (manualupgrade) acts on the ids given, in parallel (recordings: two VMs take no longer than one). With a new
   image the OS disk is replaced and the VM is down until its application serves; on a current VM it does nothing.
3. `reimage` boots `exact_version`, else what the model says, and does not touch `latestModelApplied` (azure-cli #28008).
4. A model update takes effect when it is accepted. In mode Automatic it then upgrades every stale VM that is not
   protected, at once, and ends when they have ended. In mode Manual no VM is touched.
5. A VM has the latest model when its model has the same content as the set's (so putting a model back makes the
   untouched VMs current again; undocumented, the reading that surprises least).
6. Luck comes from `draws.py`: slot, attempt and purpose decide it, not the order of events.
7. A VM that is in an operation already refuses another one with 409 Conflict, and nothing happens.
8. Background failures are one Poisson stream of rate n/MTTF, thinned to the VMs that serve; exact for exponentials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import simpy

from vmss_sim.world.config import Image, Machine, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault, judge
from vmss_sim.world.timings import Timing

NEVER = 1 << 62
IMAGE = "properties.virtualMachineProfile.storageProfile.imageReference."
URI = "properties.virtualMachineProfile.storageProfile.osDisk.image.uri"


class Vm:
    """One VM: what it runs, its operation's timetable, and its outages (ground truth)."""

    __slots__ = (
        "attempt",
        "bad_since",
        "busy_until",
        "commands",
        "content",
        "disk",
        "down_seen",
        "effect",
        "error",
        "first_image",
        "generation",
        "hard",
        "health",
        "id",
        "image",
        "machine",
        "outages",
        "power",
        "protected",
        "provisioning",
        "serves_from",
        "slot",
        "turns_bad_at",
        "vm_id",
    )

    def __init__(self, machine: Machine, slot: int, content: int) -> None:
        self.machine = machine
        self.id = machine.id
        self.vm_id = machine.vm_id
        self.slot = slot
        self.attempt = 0
        self.image = self.first_image = machine.image
        self.content = content
        self.disk = 0
        self.protected = machine.protected
        self.provisioning = machine.provisioning
        self.error: str | None = None
        self.power = machine.power
        self.health = machine.health
        self.busy_until = 0
        self.effect: tuple[Any, ...] | None = None
        self.hard = False
        self.commands: tuple[str, ...] = ()
        serves = (
            machine.power == "running" and machine.health in ("healthy", "absent") and machine.provisioning != "failed"
        )
        self.serves_from = 0 if serves else NEVER
        self.down_seen = 0
        self.outages: list[list[int]] = [] if serves else [[0, NEVER]]
        self.bad_since = self.turns_bad_at = NEVER
        self.generation = 0


class Operation:
    """A long-running operation the platform accepted."""

    __slots__ = ("args", "code", "ends_at", "ids", "kind", "name", "started_at", "status")

    def __init__(self, name: str, kind: str, ids: tuple[str, ...], args: dict[str, Any], started_at: int) -> None:
        self.name, self.kind, self.ids, self.args, self.started_at = name, kind, ids, args, started_at
        self.ends_at: int = NEVER
        self.status = "running"
        self.code = ""


class Reply:
    """What the platform answers to a request: accepted (with its operation), refused, or nothing at all."""

    __slots__ = ("code", "kind", "operation", "retry_after_ms")

    def __init__(
        self, kind: str, operation: Operation | None = None, code: str = "", retry_after_ms: int | None = None
    ) -> None:
        self.kind, self.operation, self.code, self.retry_after_ms = kind, operation, code, retry_after_ms


class World:
    """A scale set in virtual time. `env` is SimPy's; `config` and `draws` decide everything that happens by itself."""

    def __init__(
        self, config: WorldConfig, draws: Draws, faults: tuple[Fault, ...] = (), env: simpy.Environment | None = None
    ) -> None:
        self.config = config
        self.draws = draws
        self.faults = faults
        self.env = env or simpy.Environment()
        self.mode = config.mode
        self.model: dict[str, Any] = dict(config.model)
        self.repairs_suspended = config.repairs_suspended
        self._contents: dict[tuple[Any, ...], int] = {}
        self.content = self._content()
        self._image: Image | None = self._model_image()  # what a new VM would boot
        self.vms: dict[str, Vm] = {}
        for slot, machine in enumerate(config.machines):
            self.vms[machine.id] = Vm(machine, slot, self.content if machine.latest else -1)
        self.slots = len(self.vms)
        self.gone: list[Vm] = []
        self.operations: dict[str, Operation] = {}
        self.ended: list[Operation] = []
        self.requests = 0
        # Ordered like lists, unique like sets: what is read must not depend on PYTHONHASHSEED.
        self.dirty: dict[str, None] = {}
        self.moving: dict[str, None] = {}
        self.disturbed: dict[str, None] = {}
        self.exposed: list[tuple[int, int]] = []
        self.woken = False
        self._ppf: dict[tuple[str, str], list[int]] = {}
        self.machines_version = 0
        if config.failures.mttf_ms is not None:
            self._background = draws.exponential_stream("background")
            self._next_background()

    @property
    def now(self) -> int:
        """The present, in ms."""
        return int(self.env.now)

    # -- time ----------------------------------------------------------------------------------------------------

    def run(self, until_ms: int, *, stop_on_wake: bool = True) -> None:
        """Let time pass to `until_ms`, or to the first thing somebody may react to. All that is due at that time happens."""
        env = self.env
        self.woken = False
        while (due := env.peek()) <= until_ms:
            if self.woken and stop_on_wake and due > env.now:
                return
            env.step()
        if self.woken and stop_on_wake:
            return
        if env.now < until_ms < NEVER:
            env.run(until=until_ms)

    def _at(self, when_ms: int, call: Any, *args: Any) -> None:
        """Schedule a call."""
        event = self.env.timeout(when_ms - self.env.now)
        event.callbacks.append(lambda _event: call(*args))

    def _disturb(self, vm: Vm) -> None:
        """A VM starts or stops to serve: somebody may be watching."""
        self.disturbed[vm.id] = None
        self.dirty[vm.id] = None
        self.woken = True

    # -- the model -----------------------------------------------------------------------------------------------

    def _content(self) -> int:
        key = tuple(sorted((path, repr(value)) for path, value in self.model.items()))
        return self._contents.setdefault(key, len(self._contents))

    def _model_image(self, exact: str | None = None) -> Image | None:
        model = self.model
        if URI in model:
            return Image(uri=model[URI])
        parts = {name: model.get(IMAGE + name) for name in ("publisher", "offer", "sku", "version", "id")}
        if not any(parts.values()):
            return None
        version = parts["version"]
        if exact is None:
            exact = self.config.latest if version == "latest" else version
        return Image(exact=exact, **parts)

    @property
    def model_image(self) -> Image | None:
        """What a new VM would boot."""
        return self._image

    def is_latest(self, vm: Vm) -> bool:
        """`latestModelApplied`."""
        return vm.content == self.content

    # -- requests ------------------------------------------------------------------------------------------------

    def submit(self, name: str, kind: str, ids: tuple[str, ...] = (), **args: Any) -> Reply:
        """A request arrives. The reply says whether it was accepted; the operation's end comes later, in `ended`."""
        self.requests += 1
        verdict = judge(self.faults, self.requests, kind)
        if verdict.kind == "refuse":
            return Reply("refused", code=verdict.code or "Conflict", retry_after_ms=verdict.retry_after_ms)
        if verdict.kind == "lose-request":
            return Reply("silence", code="RequestLost")
        unknown = [one for one in ids if one not in self.vms]
        if unknown:
            return Reply("refused", code="InvalidParameter")
        now = self.now
        if any(self.vms[one].busy_until > now for one in ids):
            return Reply("refused", code="Conflict")
        operation = Operation(name, kind, ids, args, now)
        self.operations[name] = operation
        if verdict.kind == "fail":
            operation.status, operation.code = "failing", verdict.code or "InternalExecutionError"
            self._finish_at(operation, self.now + self._set_level(kind))
        else:
            end = self._start(operation) + (verdict.delay_ms if verdict.kind == "delay" else 0)
            if verdict.kind != "hang":
                self._finish_at(operation, end)
        return (
            Reply("silence", operation, code="ReplyLost")
            if verdict.kind == "lose-reply"
            else Reply("accepted", operation)
        )

    def _finish_at(self, operation: Operation, when: int) -> None:
        operation.ends_at = when
        self._at(when, self._finish, operation)

    def _finish(self, operation: Operation) -> None:
        failed = [one for one in operation.ids if (vm := self.vms.get(one)) is not None and self._settled(vm).error]
        if operation.status == "failing":
            operation.status = "failed"
        elif operation.status == "running":
            operation.status = "failed" if failed else "succeeded"
            operation.code = "VMStartTimedOut" if failed else ""
        self.dirty.update(dict.fromkeys(operation.ids))
        self.ended.append(operation)
        self.woken = True

    def _start(self, operation: Operation) -> int:
        """What an accepted operation does, and when it ends."""
        kind, args = operation.kind, operation.args
        match kind:
            case "update-model":
                return self._update_model(operation)
            case "set-mode":
                self.mode = args["mode"]
                return self._upgrade_stale(operation, self.now + self._set_level(kind))
            case "suspend-repairs" | "resume-repairs":
                self.repairs_suspended = kind == "suspend-repairs"
            case "set-capacity":
                return self._set_capacity(int(args["capacity"]))
            case "delete":
                end = self.now + self._set_level(kind)
                for one in operation.ids:
                    self._down(self.vms[one], self.now)
                    self._remove_at(self.vms[one], end)
                return end
            case _:
                return max((self._start_vm(self.vms[one], kind, args) for one in operation.ids), default=self.now)
        return self.now + self._set_level(kind)

    def _set_level(self, kind: str) -> int:
        timing = self.config.timings.operations.get(kind)
        if timing is None:
            return 0
        return timing.ppf_ms_scalar(self.draws.later(f"set/{kind}", 0, self.requests))

    def _update_model(self, operation: Operation) -> int:
        self.model.update(operation.args["patch"])
        self.content = self._content()
        self._image = self._model_image()
        return self._upgrade_stale(operation, self.now + self._set_level("update-model"))

    def _upgrade_stale(self, operation: Operation, end: int) -> int:
        """Rule 4: in mode Automatic any update of the model upgrades what is stale. Returns when that ends, `end` at least."""
        if self.mode != "automatic":
            return end
        stale = [
            vm
            for vm in self.vms.values()
            if not self.is_latest(self._settled(vm)) and not vm.protected and vm.busy_until <= self.now
        ]
        operation.ids = tuple(vm.id for vm in stale)
        return max([end, *(self._start_vm(vm, "upgrade", {}) for vm in stale)])

    def _set_capacity(self, capacity: int) -> int:
        end = self.now + self._set_level("set-capacity")
        for _ in range(capacity - len(self.vms)):
            end = max(end, self._add())
        for vm in list(self.vms.values())[capacity:]:
            self._down(vm, self.now)
            self._remove_at(vm, end)
        return end

    def _add(self) -> int:
        """A new VM on the present model, in the emptiest domain."""
        slot = self.slots
        self.slots += 1
        like = min(
            (vm.machine for vm in self.vms.values()),
            default=None,
            key=lambda m: (
                sum((o.machine.zone, o.machine.update_domain) == (m.zone, m.update_domain) for o in self.vms.values()),
                m.zone or "",
                m.update_domain or 0,
            ),
        )
        name = (
            f"{self.config.name}_{slot:08x}"
            if self.config.flexible
            else str(max((int(one) for one in self.vms if one.isdecimal()), default=slot - 1) + 1)
        )
        machine = Machine(
            id=name,
            vm_id=f"vm-{slot}",
            image=self._image,
            zone=like.zone if like else None,
            placement_group=like.placement_group if like else None,
            update_domain=like.update_domain if like else None,
            fault_domain=like.fault_domain if like else None,
            power="starting",
            health="absent",
        )
        vm = Vm(machine, slot, self.content)
        vm.outages = [[0, NEVER]]  # it did not exist before
        self.vms[name] = vm
        return self._start_vm(vm, "create", {})

    def _remove_at(self, vm: Vm, when: int) -> None:
        vm.provisioning, vm.busy_until = "deleting", when
        self._disturb(vm)
        self._at(when, self._remove, vm)

    def _remove(self, vm: Vm) -> None:
        if self.vms.get(vm.id) is not vm:
            return  # it is gone already, and its id may name another
        self._end_exposure(self._settled(vm), self.now)
        self.vms.pop(vm.id)
        self.gone.append(vm)
        vm.generation += 1
        vm.turns_bad_at = NEVER
        self.dirty[vm.id] = None
        self.moving.pop(vm.id, None)

    # -- one VM's operation --------------------------------------------------------------------------------------

    def _duration(self, stage: str, timing: Timing, vm: Vm, purpose: str) -> int:
        """Rule 6. First attempts of all slots are computed at once: the whole column costs what a few calls would."""
        if vm.attempt != 1 or vm.slot >= self.draws.slots:
            return timing.ppf_ms_scalar(self.draws.uniform(purpose, vm.slot, vm.attempt))
        try:
            return self._ppf[stage, purpose][vm.slot]
        except KeyError:
            self._ppf[stage, purpose] = timing.ppf_ms(self.draws.first(purpose)).tolist()
            return self._ppf[stage, purpose][vm.slot]

    def _start_vm(self, vm: Vm, kind: str, args: dict[str, Any]) -> int:
        """Draw the timetable of one VM's operation; returns when it ends."""
        now, config = self.now, self.config
        self._settled(vm)
        image, content, disrupts, stage = vm.image, vm.content, True, kind
        if kind == "upgrade":
            if vm.content == self.content and vm.image == self._image and vm.provisioning == "succeeded":
                return now + self._set_level("upgrade-current")
            delta = vm.image == self._image and vm.provisioning == "succeeded"
            disrupts = not delta or config.restart_on_delta
            stage = "restart" if delta else "upgrade"
            image, content = self._image, self.content
        elif kind == "create":
            stage = "scale-out"
        elif kind == "reimage":
            image = self._model_image(args.get("exact_version")) if args.get("exact_version") else self._image
        elif kind == "run-command":
            disrupts = config.patch_disrupts
        vm.attempt += 1
        timing = config.timings.operations[stage]
        end = now + self._duration(stage, timing, vm, "operation")
        failures = config.failures
        fails = (
            failures.upgrade > 0
            and kind in ("upgrade", "reimage", "create")
            and self._luck(vm, "fails") < failures.upgrade
        )
        bad = (
            failures.bad_share > 0
            and image != vm.first_image
            and kind != "create"
            and self._luck(vm, "bad", first=True) < failures.bad_share
        )
        ready = end + self._duration("ready", config.timings.ready, vm, "ready") + config.timings.probe_ms
        new_disk = kind in ("upgrade", "reimage") and stage != "restart"
        if fails and failures.becomes == "old-image":
            image, content, new_disk = vm.image, vm.content, False
        elif fails:
            content, ready = vm.content, NEVER  # latestModelApplied becomes true only where the upgrade succeeds
        if bad and not fails and failures.bad_after_ms == 0:
            ready = NEVER
        vm.generation += 1
        vm.busy_until = end
        name = args.get("run_name") if kind == "run-command" and not fails else None
        vm.effect = (
            image,
            content,
            new_disk,
            "VMStartTimedOut" if fails else None,
            fails and failures.becomes == "dead",
            name,
        )
        vm.hard = disrupts
        if disrupts or ready == NEVER:
            self._down(vm, now)
            self._up_at(vm, ready)
            self._disturb(vm)
        vm.turns_bad_at = NEVER
        if bad and not fails and ready != NEVER:
            vm.turns_bad_at = ready + failures.bad_after_ms
            self._at(vm.turns_bad_at, self._turn_bad, vm)
        self.dirty[vm.id] = None
        self.moving[vm.id] = None
        return end

    def _luck(self, vm: Vm, purpose: str, *, first: bool = False) -> float:
        return self.draws.uniform(purpose, vm.slot, 1 if first else vm.attempt)

    def _down(self, vm: Vm, when: int) -> None:
        """The VM stops serving, if it serves."""
        outages = vm.outages
        if outages and outages[-1][1] > when:
            outages[-1][1] = NEVER  # still out: the outage goes on
        else:
            outages.append([when, NEVER])
        vm.serves_from = NEVER

    def _up_at(self, vm: Vm, when: int) -> None:
        vm.serves_from = when
        vm.outages[-1][1] = when

    def _settled(self, vm: Vm) -> Vm:
        """Apply what the operation has left behind, once its end has passed (rule 1; not observable before)."""
        if vm.effect is not None and self.now >= vm.busy_until:
            image, content, new_disk, error, dead, name = vm.effect
            vm.effect = None
            if image is not vm.image:
                self._end_exposure(vm, vm.busy_until)
                vm.bad_since = (
                    vm.busy_until if self.config.failures.bad_share > 0 and image != vm.first_image else NEVER
                )
            vm.image, vm.content, vm.error = image, content, error
            vm.disk += new_disk
            vm.provisioning = "failed" if dead else "succeeded"
            vm.power = "running"
            if name:
                vm.commands = (*vm.commands, name)
        return vm

    def _end_exposure(self, vm: Vm, when: int) -> None:
        if vm.bad_since != NEVER:
            self.exposed.append((vm.bad_since, when))
            vm.bad_since = NEVER

    # -- health and failures -------------------------------------------------------------------------------------

    def _turn_bad(self, vm: Vm) -> None:
        """Its time is up, unless another operation came in between; a background failure meanwhile is no way out."""
        if vm.turns_bad_at == self.now:
            self._fail(vm, NEVER)

    def _fail(self, vm: Vm, until: int) -> None:
        """A serving VM stops serving by itself; the health source notices `probe_ms` later."""
        self._down(vm, self.now)
        if until != NEVER:
            self._up_at(vm, until)
        vm.down_seen = self.now + self.config.timings.probe_ms
        self.moving[vm.id] = None
        self._at(vm.down_seen, self._noticed, vm, vm.generation)
        if until != NEVER:
            self._at(until, self._noticed, vm, vm.generation)

    def _noticed(self, vm: Vm, generation: int) -> None:
        if vm.generation == generation:
            self._disturb(vm)

    def _next_background(self) -> None:
        gap, mark = next(self._background)
        mean = self.config.failures.mttf_ms or 1.0
        count = max(1, len(self.config.machines))
        self._at(self.now + max(1, round(gap * mean / count)), self._background_failure, mark)

    def _background_failure(self, mark: float) -> None:
        failures = self.config.failures
        machines = self.config.machines
        vm = self.vms.get(machines[int(mark * len(machines))].id) if machines else None
        self._next_background()
        if vm is None or self.serving(vm) is False or vm.busy_until > self.now:
            return
        self._settled(vm)
        if failures.background_hits == "upgraded" and vm.image == vm.first_image:
            return
        vm.generation += 1
        repair = failures.mttr.ppf_ms_scalar(self.draws.later("repair", vm.slot, vm.generation))
        if failures.background_becomes == "old-image":
            self._end_exposure(vm, self.now)
            vm.image, vm.content, vm.turns_bad_at = vm.first_image, -1, NEVER
            vm.disk += 1
        self._fail(vm, self.now + repair)

    # -- reading -------------------------------------------------------------------------------------------------

    def serving(self, vm: Vm) -> bool:
        """Ground truth: does this VM serve now?"""
        return vm.serves_from <= self.now

    def state(self, vm: Vm) -> tuple[str, str, str]:
        """What the platform shows: provisioning, power, health. Derived, never stored."""
        now, health = self.now, self.config.health
        if vm.effect is not None:
            self._settled(vm)
        if vm.provisioning == "deleting":
            return "deleting", "stopping", "absent" if health == "none" else "unhealthy"
        if vm.busy_until > now:
            if not vm.hard:
                return "updating", "running", self._health(vm, now)
            return "updating", "starting", "absent" if health == "none" else "unhealthy"
        power = vm.power
        if health == "none" and vm.serves_from > now >= vm.down_seen > 0 and vm.provisioning == "succeeded":
            power = "stopped"  # without a health source only the VM itself can be seen to be down
        return vm.provisioning, power, self._health(vm, now)

    def _health(self, vm: Vm, now: int) -> str:
        if self.config.health == "none":
            return "absent"
        if not vm.attempt and vm.health in ("unknown", "absent"):
            return vm.health
        return "healthy" if vm.serves_from <= now or now < vm.down_seen else "unhealthy"

    def read_changes(self) -> Iterator[Vm | str]:
        """The VMs that may differ from the last reading (an id where the VM is gone). One reader."""
        now = self.now
        names = {**self.dirty, **self.moving}
        self.dirty, self.disturbed = {}, {}
        for name in names:
            vm = self.vms.get(name)
            if vm is None:
                yield name
                continue
            if vm.busy_until <= now and (vm.serves_from <= now or vm.serves_from == NEVER) and vm.down_seen <= now:
                self.moving.pop(name, None)
            yield vm

    def shown_serving_from(self, names: Iterable[str]) -> int:
        """When all of these will be shown to serve, as things stand; NEVER if one will not."""
        latest = 0
        for name in names:
            vm = self.vms.get(name)
            if vm is not None and (vm.busy_until > latest or vm.serves_from > latest):
                shown = max(vm.busy_until, 0 if self.config.health == "none" else vm.serves_from)
                latest = max(latest, shown)
        return latest

    # -- the meter: ground truth ---------------------------------------------------------------------------------

    def outages(self) -> Iterator[tuple[int, int | None]]:
        """Every span in which a VM of the original set did not serve; None: to the end."""
        for vm in (*self.vms.values(), *self.gone):
            for start, end in vm.outages:
                yield start, None if end == NEVER else end

    def exposures(self) -> Iterator[tuple[int, int | None]]:
        """Every span in which a VM ran the bad image; None: it still does."""
        yield from self.exposed
        for vm in self.vms.values():
            if self._settled(vm).bad_since != NEVER:
                yield vm.bad_since, None
