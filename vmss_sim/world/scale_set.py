"""The SimPy scale set: time, the model, requests and operations, what can be read, and the ground truth about who serves.

Rules (sources in docs/azure-rules.md; what one VM's operation does is `lifecycle.py`, who may ask for what `admission.py`,
Azure's own rollouts `rollouts.py`, repairs `repairs.py`, what is shown `health.py`):

1. Only what somebody can react to is scheduled; states in between are derived when read, and reading changes nothing.
2. An operation on several VMs acts on them in parallel (recordings: two VMs take no longer than one).
3. A model update takes effect when it is accepted. In mode Automatic it then upgrades every stale VM that is not
   protected, at once, and ends when they have ended; in mode Rolling it starts a rolling upgrade over what is stale,
   and ends with that. In mode Manual no VM is touched.
4. A VM has the latest model when its model has the same content as the set's (so putting a model back makes the
   untouched VMs current again; undocumented, the reading that surprises least). Policies are not part of the content.
5. Luck comes from `draws.py`: slot, attempt and purpose decide it, not the order of events.
6. An operation on a VM that is busy: see `Platform.overlap`.
7. Background failures are one Poisson stream of rate n/MTTF, thinned to the VMs that serve; exact for exponentials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from weakref import proxy

import simpy
from msgspec import structs

from vmss_sim.world import admission, errors, health, lifecycle
from vmss_sim.world.background import Background
from vmss_sim.world.config import AutoOs, Health, Image, Machine, Repairs, RollingPolicy, WorldConfig
from vmss_sim.world.contents import Contents
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import TIMED_OUT_MS, Fault, judge
from vmss_sim.world.images import IMAGE, URI, image_of, leaves_version_open
from vmss_sim.world.operations import Does
from vmss_sim.world.orchestrator import Rollouts
from vmss_sim.world.repairs import RepairService
from vmss_sim.world.rollouts import HistoryEntry, RollingStatus
from vmss_sim.world.throttle import Buckets
from vmss_sim.world.timings import Timing
from vmss_sim.world.vm import NEVER, Operation, Reply, Vm

__all__ = ["IMAGE", "NEVER", "URI", "Operation", "Reply", "Vm", "World"]

OS_PROFILE = "properties.virtualMachineProfile.osProfile."
ASKS_NOTHING_OF_VMS = ("protect", "approve-rolling-upgrade")
"""They name instances, but what became of an instance before is not their failure."""
OF_THE_SET = frozenset(
    {"properties.singlePlacementGroup", "properties.platformFaultDomainCount", "properties.orchestrationMode"}
)
"""Paths that instances are not given: they are no part of the content (rule 4)."""
IMAGES = 100
"""Of how many images of VMs that are gone a VM is kept."""
UPDATES = frozenset({"update-model", "set-mode", "set-capacity"})
"""PUT and PATCH of the set itself."""
MOVES_ETAG = frozenset(
    {"update-model", "set-mode", "set-capacity", "upgrade", "os-rolling-upgrade", "extension-rolling-upgrade"}
)
"""After these the set has another etag: every update, even without a difference, and what gives instances the model (REC 2024)."""


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
        self.rolling_policy: RollingPolicy = config.rolling
        self.auto_os: AutoOs = config.auto_os
        self.repairs: Repairs = config.repairs
        self.repairs_suspended = config.repairs.suspended
        self.latest = config.latest
        self.model: dict[str, Any] = dict(config.model)
        self.etag = 1
        me = proxy(self)  # no cycle: a world of a study is gone as soon as nobody needs it
        self._contents = Contents(lambda: me.held_contents("content"))
        self._profiles = Contents(lambda: me.held_contents("profile"))
        self.model_image: Image | None = None
        """What a new VM would boot."""
        self.content = self.profile = -1
        self.on_latest = False
        """Does the model leave the version to the platform?"""
        self.sources: dict[int, str] | None = None
        """The health source by content of the model, once an update has changed it (health.py, rule 6)."""
        self.first_source = config.health
        self.places: tuple[Machine, ...] = config.machines
        """Where new instances may stand: like one of these."""
        self._read_model()
        self.vms: dict[str, Vm] = {}
        for slot, machine in enumerate(config.machines):
            self.vms[machine.id] = Vm(machine, slot, self.content if machine.latest else -1)
        self.slots = self.born = len(self.vms)
        self.owners: list[Vm] = list(self.vms.values())
        self.heirs: dict[int, str] = {}
        self.gone: list[Vm] = []
        self.operations: dict[str, Operation] = {}
        self.running: dict[str, Operation] = {}
        self.ended: list[Operation] = []
        self.requests = 0
        self.going = False
        """Is the set being deleted?"""
        self.levels: dict[str, int] = {}  # how many of each kind have been drawn: refused requests move nobody's luck
        # Ordered like lists, unique like sets: what is read must not depend on PYTHONHASHSEED.
        self.dirty: dict[str, None] = {}
        self.moving: dict[str, None] = {}
        self.disturbed: dict[str, None] = {}
        self.exposed: list[tuple[int, int]] = []
        self.blocked: list[Any] = []
        self.woken = False
        self.rows: dict[str, tuple[Does, Timing]] = {}
        self.columns: dict[str, list[tuple[int, int]]] = {}
        self.buckets = Buckets() if config.platform.throttle else None
        self.together = config.platform.vms_of_a_request == "together"
        self.watches_health = config.health == "rich" or config.repairs.enabled
        self.probe_ms, self.unlucky = config.timings.probe_ms, config.failures.of_operations
        self.rollouts = Rollouts(self)
        self.repair_service = RepairService(self)
        self.background = Background(self)
        if config.health == "rich":  # the snapshot may show instances that are still starting
            for vm in self.owners:
                if vm.health == "initializing":
                    self.at(health.grace_ends(self, vm), self._noticed, vm, vm.generation)

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

    def at(self, when_ms: int, call: Any, *args: Any) -> None:
        """Schedule a call."""
        event = self.env.timeout(when_ms - self.env.now)
        event.callbacks.append(lambda _event: call(*args))

    def disturb(self, vm: Vm) -> None:
        """A VM starts or stops to serve: somebody may be watching."""
        self.disturbed[vm.id] = None
        self.dirty[vm.id] = None
        self.woken = True

    # -- the model -----------------------------------------------------------------------------------------------

    def _read_model(self) -> None:
        """What the model's content, OS profile and image are now (rule 4)."""
        given = (
            (path, repr(value)) for path, value in self.model.items() if value is not None and path not in OF_THE_SET
        )
        key = tuple(sorted(given))
        self.content = self._contents.number(key)
        profile = tuple(one for one in key if one[0].startswith(OS_PROFILE))
        self.profile = self._profiles.number(profile)
        self.on_latest = leaves_version_open(self.model)
        image = self.image_of_model()
        if image != self.model_image:  # the same object as long as it is the same image
            self.model_image = image

    def held_contents(self, what: str) -> set[int]:
        """The contents (or profiles) that an instance has, is getting, or may be put back to."""
        held = {getattr(self, what)}
        for vm in self.vms.values():
            held.add(getattr(vm, what))
            if vm.effect is not None:
                held.add(getattr(vm.effect, what))
        return held | {before[what] for one in self.rollouts.past for before in one.before.values()}

    def furnish(self, paths: Mapping[str, Any]) -> None:
        """Learn more of the model as it is: paths that were not told before. Nothing changes by that; who has it still has it."""
        old = self.content
        self.model = {**paths, **self.model}
        self._read_model()
        for vm in self.vms.values():
            if vm.content == old:
                vm.content = self.content

    def join_one_group(self) -> None:
        """The set becomes a single placement group (convertToSinglePlacementGroup)."""
        self.model["properties.singlePlacementGroup"] = True

    def image_of_model(self, exact: str | None = None) -> Image | None:
        """The model's image; exact: in this version."""
        return image_of(self.model, self.latest, exact)

    @cached_property
    def next_id(self) -> int:
        """The number of the next instance of a Uniform set; counts up from the highest there was at the start."""
        return 1 + max((int(one.id) for one in self.config.machines if one.id.isdecimal()), default=-1)

    @cached_property
    def first_names(self) -> frozenset[str]:
        """The ids and vmIds of the instances at the start."""
        return frozenset(name for one in self.config.machines for name in (one.id, one.vm_id))

    @cached_property
    def regime(self) -> float:
        """Which regime this replication is in, for timings that know regimes."""
        return self.draws.later("regime", 0, 1)

    @cached_property
    def ready(self) -> Timing:
        """From the end of a VM's operation until its application serves."""
        return self.config.timings.ready.of_regime(self.regime)

    @cached_property
    def ready_column(self) -> list[int]:
        """The same, of every slot's first attempt, in ms."""
        values: list[int] = self.ready.ppf_ms(self.draws.first("ready")).tolist()
        return values

    @cached_property
    def first_images(self) -> list[Image | None]:
        """What the VMs ran at the start."""
        return list({id(one.image): one.image for one in self.config.machines}.values())

    def boots_same(self, vm: Vm) -> bool:
        """Would an upgrade leave this VM's image as it is? On a set on `latest` the version booted does not matter."""
        image, mine = self.model_image, vm.image
        if mine is image or mine == image:
            return True
        if mine is None or image is None or not self.on_latest or self.config.platform.latest_on_upgrade:
            return False
        return (mine.publisher, mine.offer, mine.sku, mine.id) == (image.publisher, image.offer, image.sku, image.id)

    def is_latest(self, vm: Vm) -> bool:
        """`latestModelApplied`."""
        return vm.content == self.content

    def stale(self) -> list[Vm]:
        """The VMs that Azure's rollouts would upgrade: not at the latest model, not protected from scale-set actions."""
        return [
            vm
            for vm in self.vms.values()
            if not self.is_latest(self.settled(vm)) and not vm.protected and vm.provisioning != "deleting"
        ]

    def publish(self, version: str) -> None:
        """A newer image version is there; models that say `latest` mean it from now on. No flag flips."""
        self.latest = version
        self._read_model()
        self.rollouts.published()

    # -- requests ------------------------------------------------------------------------------------------------

    def submit(self, name: str, kind: str, ids: tuple[str, ...] = (), **args: Any) -> Reply:
        """A request arrives. The reply says whether it was accepted; the operation's end comes later, in `ended`."""
        self.requests += 1
        verdict = judge(self.faults, self.requests, kind, self.now)
        if verdict.kind == "refuse":
            return admission.refused(self, verdict.code or "Conflict", kind, retry_after_ms=verdict.retry_after_ms)
        if verdict.kind == "lose-request":
            return Reply("silence", code="RequestLost")
        admitted = admission.judge(self, kind, ids, args)
        if isinstance(admitted, Reply):
            return admitted
        operation = Operation(name, kind, admitted.ids, args, self.now)
        self.operations[name] = self.running[name] = operation
        if verdict.kind == "delay":
            operation.delay_ms = verdict.delay_ms
        operation.hangs = verdict.kind == "hang"
        if verdict.kind in ("fail", "time-out"):
            operation.fails, operation.code = True, verdict.code or "InternalExecutionError"
            if verdict.exit_code:
                operation.script = (verdict.exit_code, verdict.output)
                said = f": {verdict.output}" if verdict.output else ""
                operation.message = f"The script exited with {verdict.exit_code}{said}"
            wait = self.set_level(kind)
            if verdict.kind == "time-out":
                operation.code = verdict.code or "OSProvisioningTimedOut"
                wait = verdict.delay_ms or TIMED_OUT_MS
            self.finish_at(operation, self.now + wait)
            if (
                kind == "create-set" and verdict.kind == "fail"
            ):  # its VMs never come to be; those that time out are there (REC)
                for vm in list(self.vms.values()):
                    lifecycle.down(vm, self.now)
                    self.remove_at(vm, operation.ends_at)
        else:
            self._begin(operation, admitted.busy)
        status = admission.accepted_status(kind)
        if verdict.kind == "lose-reply":
            return Reply("silence", operation, code="ReplyLost")
        return Reply("accepted", operation, status=status)

    def _begin(self, operation: Operation, busy: tuple[str, ...]) -> None:
        if busy and self.config.platform.overlap == "queue":
            self.at(max(self.vms[one].busy_until for one in busy), self._begin_later, operation)
            return
        end = self._start(operation, busy)
        if end != NEVER and not operation.hangs:
            self.finish_at(operation, end + operation.delay_ms)

    def _begin_later(self, operation: Operation) -> None:
        operation.ids = tuple(one for one in operation.ids if one in self.vms)
        self._begin(operation, admission.busy_of(self, operation.ids))

    def _join(self, operation: Operation, busy: tuple[str, ...], end: int) -> int:
        """Rule 6, coalesced: it ends with the operations that hold its VMs, and they with it (REC 2023)."""
        held = set(busy)
        partners = [one for one in self.running.values() if one is not operation and held & set(one.ids)]
        end = max([end, *(one.ends_at for one in partners if one.ends_at != NEVER)])
        for one in partners:
            if one.ends_at not in (end, NEVER):
                self.finish_at(one, end)
        return max([end, *(self.vms[one].busy_until for one in busy)])

    def finish_at(self, operation: Operation, when: int) -> None:
        """An operation ends at a time; a time given before does not count any more."""
        operation.ends_at = when
        self.at(when, self._finish, operation)

    def _finish(self, operation: Operation) -> None:
        if operation.ends_at != self.now or operation.name not in self.running:
            return
        if operation.fails:
            operation.status = "failed"
        elif operation.status == "running":
            operation.status = "succeeded"
            vms = self.vms
            for one in () if operation.kind in ASKS_NOTHING_OF_VMS else operation.ids:
                vm = vms.get(one)
                if vm is not None and (error := lifecycle.settled(self, vm).error):
                    if vm.touched_ms < operation.started_at:
                        continue  # an earlier operation left that
                    operation.status, operation.code = "failed", error
                    break
        if operation.code and not operation.message:
            operation.message = admission.message(operation.code, operation)
        del self.running[operation.name]
        self.dirty.update(dict.fromkeys(operation.ids))
        self.ended.append(operation)
        self.woken = True

    def _start(self, operation: Operation, busy: tuple[str, ...]) -> int:
        """What an accepted operation does, and when it ends; NEVER where something else will end it."""
        kind, args, now = operation.kind, operation.args, self.now
        self.etag += kind in MOVES_ETAG
        match kind:
            case "update-model":
                return self._update_model(operation)
            case "set-mode":
                self.mode = args["mode"]
                return self.reconcile(operation, now + self.set_level(kind))
            case "suspend-repairs" | "resume-repairs":
                self.repairs_suspended = kind == "suspend-repairs"
                if not self.repairs_suspended:
                    self.repair_service.resume()
            case "set-capacity":
                return self.set_capacity(int(args["capacity"]), operation)
            case "create-set":
                return self._create_set(operation)
            case "delete-set":
                return self._delete_set(operation)
            case "protect":
                for one in operation.ids:
                    vm = self.vms[one]
                    vm.protected = args.get("protected", vm.protected)
                    vm.scale_in_protected = args.get("scale_in_protected", vm.scale_in_protected)
                    self.dirty[one] = None
                    self.repair_service.watch(vm)
            case "delete":
                end = now + self.set_level(kind)
                for one in operation.ids:
                    lifecycle.down(self.vms[one], now)
                    self.remove_at(self.vms[one], end)
                return end
            case "os-rolling-upgrade" | "extension-rolling-upgrade":
                return self.rollouts.begin("os" if kind == "os-rolling-upgrade" else "extension", operation)
            case "cancel-rolling-upgrade":
                return self.rollouts.cancel(operation)
            case "approve-rolling-upgrade":
                self.rollouts.approve(operation.ids)
            case _:
                held = set(busy)
                free = [self.vms[one] for one in operation.ids if one not in held]
                end = max([lifecycle.start(self, vm, kind, args) for vm in free], default=now)
                return self._join(operation, busy, end) if busy else end
        return now + self.set_level(kind)

    def set_level(self, kind: str) -> int:
        """How long an operation on the set takes, without any VM."""
        timing = self.config.timings.operations.get(kind)
        if timing is None:
            return 0
        self.levels[kind] = number = self.levels.get(kind, 0) + 1
        return timing.of_regime(self.regime).ppf_ms_scalar(self.draws.later(f"set/{kind}", 0, number))

    def _create_set(self, operation: Operation) -> int:
        """The set is new: its policies, and all of its VMs, which the configuration describes, are created at once."""
        args = operation.args
        self.mode = args.get("mode", self.mode)
        self.rolling_policy = args.get("rolling", self.rolling_policy)
        operation.ids = tuple(self.vms)
        end = max([self.now, *(lifecycle.start(self, vm, "create", {}) for vm in self.vms.values())])
        self._set_auto_os(args.get("auto_os", self.auto_os))
        self._set_repairs(args.get("repairs", self.repairs))
        return end

    def _delete_set(self, operation: Operation) -> int:
        """The set goes, with everything that runs on it: what has not ended when its VMs are gone never could."""
        self.going = True
        self.rollouts.give_way()
        end = self.now + self.set_level("delete")
        for vm in list(self.vms.values()):
            lifecycle.down(vm, self.now)
            self.remove_at(vm, end)
        self.at(end, self._preempt_all, operation)
        return end

    def _preempt_all(self, by: Operation) -> None:
        row = errors.PREEMPTED
        for one in [each for each in self.running.values() if each is not by]:
            one.fails, one.code, one.message, one.ends_at = True, row.code, row.sentence(), self.now
            self._finish(one)

    def _update_model(self, operation: Operation) -> int:
        args = operation.args
        for path, value in args.get("patch", {}).items():
            if value is None:
                self.model.pop(path, None)
            else:
                self.model[path] = value
        self.mode = args.get("mode", self.mode)
        self.rolling_policy = args.get("rolling", self.rolling_policy)
        self._set_auto_os(args.get("auto_os", self.auto_os))
        self._set_repairs(args.get("repairs", self.repairs))
        self.places = (*self.places, *args.get("places", ()))
        if "health" in args:
            self._change_health(args["health"])
        self._read_model()
        if self.sources is not None:
            self.sources[self.content] = self.config.health
        end = self.now + self.set_level("update-model")
        if "capacity" in args:
            end = max(end, self.set_capacity(int(args["capacity"]), operation))
        return self.reconcile(operation, end)

    def _change_health(self, new: Health) -> None:
        """Another health source from now on, for the instances that get this model (health.py, rule 6)."""
        config = self.config
        if self.sources is None:
            self.sources = {self.content: config.health}
        self.config = structs.replace(
            config,
            health=new.source,
            health_grace_ms=new.grace_ms,
            health_protocol=new.protocol,
            timings=structs.replace(config.timings, probe_ms=new.probe_ms),
        )
        self.watches_health = self.watches_health or new.source == "rich"

    def _set_auto_os(self, auto_os: AutoOs) -> None:
        begins = auto_os.enabled and not self.auto_os.enabled
        self.auto_os = auto_os
        if begins:
            self.rollouts.published()

    def _set_repairs(self, repairs: Repairs) -> None:
        if repairs is not self.repairs:
            self.repairs = repairs
            self.watches_health = self.watches_health or repairs.enabled
            self.repair_service.look_at_all()

    def reconcile(self, operation: Operation, end: int) -> int:
        """Rule 3: what the mode makes of an update. Returns when that ends, `end` at least."""
        self.rollouts.give_way()
        if self.mode == "rolling":
            return self.rollouts.after_update(operation, end)
        return end if self.mode != "automatic" else self._upgrade_all(operation, end)

    def _upgrade_all(self, operation: Operation, end: int, only: frozenset[str] | None = None) -> int:
        """Mode Automatic: every stale VM at once; one that another operation holds, when that has ended (undocumented).

        only: those that were held.
        """
        stale = [vm for vm in self.stale() if only is None or vm.id in only]
        free = [vm for vm in stale if vm.busy_until <= self.now]
        held = {vm.id: vm.busy_until for vm in stale if vm.busy_until > self.now}
        operation.ids = (*operation.ids, *(vm.id for vm in free))
        end = max([end, *(lifecycle.start(self, vm, "upgrade", {}) for vm in free)])
        if held:
            self.at(min(held.values()), self._upgrade_rest, operation, end, frozenset(held))
        return NEVER if held else end

    def _upgrade_rest(self, operation: Operation, end: int, held: frozenset[str]) -> None:
        if self.mode == "automatic":
            end = self._upgrade_all(operation, end, held)
        if end != NEVER and not operation.hangs:
            self.finish_at(operation, max(end, self.now) + operation.delay_ms)

    def set_capacity(self, capacity: int, operation: Operation) -> int:
        """Scale out or in."""
        end = self.now + self.set_level("set-capacity")
        alive = self.counted()
        for _ in range(capacity - len(alive)):
            vm, created = lifecycle.add(self)
            operation.ids = (*operation.ids, vm.id)
            end = max(end, created)
        if capacity < len(alive):
            end = max(end, self.now + self.set_level("scale-in"))
            for vm in lifecycle.scale_in(self, len(alive) - capacity):
                for one in filter(None, (vm, self.rollouts.successor(vm))):
                    lifecycle.down(one, self.now)
                    self.remove_at(one, end)
        return end

    def counted(self) -> list[Vm]:
        """The instances that make up the capacity: not those that are leaving, nor those that a surge adds for a while."""
        lent = self.rollouts.lent
        return [vm for vm in self.vms.values() if vm.provisioning != "deleting" and vm.id not in lent]

    def remove_at(self, vm: Vm, when: int) -> None:
        """A VM is being deleted, and gone by then."""
        self.settled(vm)
        vm.provisioning, vm.busy_until, vm.effect = "deleting", when, None
        self.disturb(vm)
        self.at(when, self._remove, vm)

    def _remove(self, vm: Vm) -> None:
        if self.vms.get(vm.id) is not vm:
            return  # it is gone already, and its id may name another
        lifecycle.end_exposure(self, self.settled(vm), self.now)
        self.vms.pop(vm.id)
        self.gone.append(vm)
        vm.generation += 1
        vm.turns_bad_at = NEVER
        self.disturb(vm)  # what is not there any more counts for no floor
        self.moving.pop(vm.id, None)
        heir = self.vms.get(self.heirs.get(vm.slot, ""))
        if self.heirs.get(vm.slot) == vm.id:
            del self.heirs[vm.slot]  # the heir itself is gone: the next one is another attempt
            self.owners[vm.slot].attempt = max(self.owners[vm.slot].attempt, vm.attempt)
        elif heir is not None and self.owners[vm.slot] is vm:
            self.owners[vm.slot] = heir
            del self.heirs[vm.slot]

    def forget_command(self, vm: Vm, name: str) -> None:
        """The resource of a run-command is deleted: nobody learns of it any more, also not once it has run."""
        vm.commands = tuple(one for one in vm.commands if one != name)
        if vm.effect is not None and vm.effect.run_name == name:
            vm.effect = structs.replace(vm.effect, run_name=None)
        for one in self.running.values():
            if vm.id in one.ids and one.args.get("run_name") == name:
                del one.args["run_name"]

    # -- VMs -----------------------------------------------------------------------------------------------------

    def _up_at(self, vm: Vm, when: int) -> None:
        vm.serves_from = when
        vm.outages[-1][1] = when

    settled = lifecycle.settled

    def turn_bad(self, vm: Vm) -> None:
        """Its time is up, unless another operation came in between; a background failure meanwhile is no way out."""
        if vm.turns_bad_at == self.now:
            self.fail(vm, NEVER)

    def fail(self, vm: Vm, until: int) -> None:
        """A serving VM stops serving by itself; the health source notices `probe_ms` later."""
        if self.serving(vm):  # else it was seen to be down already, or soon will be
            vm.down_seen = max(1, self.now + self.config.timings.probe_ms)
        lifecycle.down(vm, self.now, until)
        if until != NEVER:
            lifecycle.renew(self, vm, until)
        self.moving[vm.id] = None
        self.at(max(self.now, vm.down_seen), self._noticed, vm, vm.generation)
        if until != NEVER:
            self.at(until, self._noticed, vm, vm.generation)

    def _noticed(self, vm: Vm, generation: int) -> None:
        if vm.generation == generation:
            self.disturb(vm)
            if self.watches_health:
                self.repair_service.watch(vm)

    def look_later(self, vm: Vm, ready: int) -> None:
        """Schedule what shows only with time: the end of the grace period of rich health states, and repairs."""
        if self.config.health == "rich" and health.grace_ends(self, vm) < ready:
            self.at(health.grace_ends(self, vm), self._noticed, vm, vm.generation)
        self.repair_service.watch(vm)

    def outage_over(self, vm: Vm, kind: str) -> int:
        """Until when outages hold this VM's place down; a redeploy leaves a failed host for another (DOC: redeploy)."""
        away = kind == "redeploy"
        spans = (one for one in self.blocked if not (away and one.zone is None) and self.background.hits(one, vm))
        return max((one.at_ms + one.for_ms for one in spans), default=0)

    def allocation_fails(self, vm: Vm) -> str | None:
        """The error where an outage keeps VMs from being allocated where this one stands."""
        found = next((one for one in self.blocked if one.allocation and self.background.hits(one, vm)), None)
        if found is None:
            return None
        return "AllocationFailed" if found.zone is None else "ZonalAllocationFailed"

    def hold_down(self, vm: Vm, until: int) -> None:
        """A VM that does not serve will not before `until`."""
        if vm.serves_from < until:
            self._up_at(vm, until)
            self.moving[vm.id] = None
            self.at(until, self._noticed, vm, vm.generation)

    # -- reading -------------------------------------------------------------------------------------------------

    def serving(self, vm: Vm) -> bool:
        """Ground truth: does this VM serve now?"""
        return vm.serves_from <= self.now

    state = health.shown

    @property
    def updating(self) -> bool:
        """Is an update of the set at work (its provisioningState is Updating until that has ended, REC)?"""
        return any(one.kind in UPDATES and not (one.fails or one.hangs) for one in self.running.values())

    @property
    def rolling_upgrade(self) -> RollingStatus | None:
        """`rollingUpgrades/latest`; None before there was any."""
        return self.rollouts.latest()

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """`osUpgradeHistory`: the last five within two months, newest first."""
        return self.rollouts.history()

    def read_changes(self) -> Iterator[Vm | str]:
        """The VMs that may differ from the last reading (an id where the VM is gone). One reader."""
        now, rich, vms = self.now, self.config.health == "rich", self.vms
        names = {**self.dirty, **self.moving}
        self.dirty, self.disturbed = {}, {}
        for name in names:
            vm = vms.get(name)
            if vm is None:
                yield name
                continue
            still = vm.busy_until <= now and (vm.serves_from <= now or vm.serves_from == NEVER) and vm.down_seen <= now
            if still and not (rich and vm.serves_from == NEVER and now < health.grace_ends(self, vm)):
                self.moving.pop(name, None)
            yield vm

    def shown_serving_from(self, names: Iterable[str]) -> int:
        """When all of these will be shown to serve, as things stand; NEVER if one will not."""
        latest, vms = 0, self.vms
        for name in names:
            vm = vms.get(name)
            if vm is not None and (vm.busy_until > latest or vm.serves_from > latest):
                shown = max(vm.busy_until, 0 if self.config.health == "none" else vm.serves_from)
                latest = max(latest, shown)
        return latest

    def will_end(self, names: Mapping[str, str]) -> bool:
        """Will one of these operations end?"""
        return any((one := self.running.get(name)) is not None and not one.hangs for name in names)

    # -- the meter: ground truth ---------------------------------------------------------------------------------

    def outages(self) -> Iterator[tuple[int, int | None]]:
        """Every span in which a VM of the original set did not serve; None: to the end."""
        for vm in (*self.vms.values(), *self.gone):
            for start, end in vm.outages:
                yield start, None if end == NEVER else end

    def exposures(self) -> Iterator[tuple[int, int | None]]:
        """Every span in which a VM ran the bad image; None: it still does."""
        since = [vm.bad_since for vm in map(self.settled, self.vms.values())]  # which may end one
        yield from self.exposed
        yield from ((when, None) for when in since if when != NEVER)

    def forget(self, until_ms: int) -> None:
        """Forget what was over by then, for a world that lives long: what the meter says of later is the same. Who was gone by then has no
        outages any more, and does not count; one stays for each image, of the last `IMAGES`.

        What changed is forgotten, too: only for a world whose changes nobody reads.
        """
        for vm in (*self.vms.values(), *self.gone):
            if vm.outages:
                vm.outages = [span for span in vm.outages if span[1] > until_ms]
        for vm in self.gone:
            vm.outages = [] if vm.outages and vm.outages[0][0] <= until_ms and vm.outages[0][1] == NEVER else vm.outages
        by_image = {vm.image: vm for vm in self.gone}
        stay = {id(vm) for vm in list(by_image.values())[-IMAGES:]}
        self.gone = [vm for vm in self.gone if vm.outages or id(vm) in stay]
        self.exposed = [span for span in self.exposed if span[1] > until_ms]
        if self.sources is not None:
            held = self.held_contents("content")
            self.sources = {content: source for content, source in self.sources.items() if content in held}
        self.dirty, self.disturbed = {}, {}
        self.repair_service.forget(until_ms)
        self.rollouts.forget_approvals()
