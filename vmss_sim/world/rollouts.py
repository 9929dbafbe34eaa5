"""Azure's own rollouts: rolling upgrades (of the model, of the OS image, of extensions) and automatic OS upgrade.

Rules (DOC-rolling, DOC-autoos, DOC-maxsurge, API, REC; sources in docs/azure-rules.md; batches and thresholds are
`rolling_policy.py`):

1. Before anything: too many unhealthy instances, and it fails. Before each later batch: likewise. After each batch: too many
   of the upgraded ones unhealthy or failed, and it stops. What is in flight ends; what is upgraded stays upgraded.
   Where VMs in flight count as unhealthy (an option), the first comparison holds while a batch is out too, and stops the
   rollout at the end of that batch (DOC-autoos: "due to anything").
2. A batch ends when each instance is decided: healthy, or failed (its operation failed, or it is not healthy
   `health_wait_ms` after it). Initializing is waited for. The platform looks at multiples of a tick (REC: 60 s).
3. An extension rollout without any health signal waits `no_signal_wait_ms` after a batch's work (REC: 600 s); no ticks.
4. Cancel: no further batch; the operations in flight end, nobody waits for their health, and then both the cancelling and
   what it cancelled succeed (REC 2020-21). There is no resume: any update of the model starts a new rollout over what is
   stale, after a first check that takes a tick even where nothing is (REC).
5. `rollbackFailedInstancesOnPolicyBreach` (Uniform): after a breach of either threshold the failed instances go back to what
   they ran. Automatic OS upgrade restores each failed instance's OS disk at once, unless that is disabled.
6. `maxSurge`: a batch is replaced by as many new instances, and deleted when they are healthy. Quota is checked before
   each batch; where it does not suffice that batch is upgraded in place. Who cancels a rollout meanwhile keeps the new
   instances that were created; who preempts it loses them (undocumented): never more instances than were asked for.
   Meanwhile they do not count as capacity, and a scale-in takes none of them.
7. Automatic OS upgrade begins some time after a version was published, waits for approval if deferred, starts batches
   only inside its maintenance window, and follows the default policy unless told to follow the set's. An approval that
   names instances lets these go, and is used up (undocumented).
8. An OS rollout brings instances to the version that was newest when it began, and passes over those that boot it already;
   they count as successful (REC).
9. Who is gone, going or protected when its batch comes is not part of it any more; a batch of which nobody is left is
   left out (undocumented).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import simpy

from vmss_sim.world import admission, errors, health, lifecycle
from vmss_sim.world.config import Image, RollingPolicy
from vmss_sim.world.errors import AzureError
from vmss_sim.world.rolling_policy import Member, azure_batches, batch_size, exceeds
from vmss_sim.world.vm import NEVER, Operation, Vm

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World

OPERATION_OF = {"model": "upgrade", "os": "reimage", "extension": "upgrade-extensions"}

Process = Generator[simpy.Event, Any, None]


class RollingStatus(NamedTuple):
    """`rollingUpgrades/latest`. code: RollingForward, RollingBack, Cancelled, Completed or Faulted; last_action: Start or Cancel."""

    kind: str
    code: str
    last_action: str
    last_action_ms: int
    started_ms: int
    ended_ms: int | None
    successful: int
    failed: int
    in_progress: int
    pending: int
    error_code: str
    error_message: str
    policy: RollingPolicy
    started_by: str


class HistoryEntry(NamedTuple):
    """One entry of `osUpgradeHistory`; rolled_back, rollback_failed: instances (rollbackInfo)."""

    status: RollingStatus
    target: Image | None
    rolled_back: int
    rollback_failed: int


class RollingUpgrade:
    """One rollout, from its start to its end."""

    def __init__(
        self,
        world: World,
        kind: str,
        policy: RollingPolicy,
        operation: Operation | None,
        started_by: str = "User",
        only: frozenset[str] | None = None,
    ) -> None:
        self.world, self.kind, self.policy, self.operation, self.started_by = world, kind, policy, operation, started_by
        self.only = only
        """The instances approved; None: all."""
        self.code, self.last_action = "RollingForward", "Start"
        self.started_ms = self.last_action_ms = world.now
        self.ended_ms: int | None = None
        self.error: tuple[str, str] = ("", "")
        self.done: list[tuple[str, ...]] = []
        """The batches carried out, in order: ground truth for tests and reports."""
        self.successful: dict[str, None] = {}
        self.failed: dict[str, None] = {}
        self.in_progress: tuple[str, ...] = ()
        self.pairs: dict[str, Vm] = {}
        """While a batch surges: new instance to the old one."""
        self.heirs: dict[str, Vm] = {}
        """Whom a surge replaced: by its id, who came in its place."""
        self.before: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, int] = {}
        """When its operations on instances end."""
        self.target = world.model_image
        self.rolled_back = self.rollback_failed = 0
        self.overrun = 0
        """Where VMs in flight count: how many were unhealthy while a batch was out, if that was too many."""
        self.process: simpy.Process | None = None
        self.batches: list[tuple[str, ...]] = [tuple(one.id for one in self._members())]
        """What is still to come; formed when the first check is over, pending before (API: not started yet)."""

    @property
    def open(self) -> bool:
        """Is it going forward or back?"""
        return self.code in ("RollingForward", "RollingBack")

    def status(self) -> RollingStatus:
        """As `rollingUpgrades/latest` tells it."""
        code, message = self.error
        return RollingStatus(
            kind=self.kind,
            code=self.code,
            last_action=self.last_action,
            last_action_ms=self.last_action_ms,
            started_ms=self.started_ms,
            ended_ms=self.ended_ms,
            successful=len(self.successful),
            failed=len(self.failed),
            in_progress=sum(one not in self.successful and one not in self.failed for one in self.in_progress),
            pending=sum(name in self.world.vms for one in self.batches for name in one),
            error_code=code,
            error_message=message,
            policy=self.policy,
            started_by=self.started_by,
        )

    # -- the process ---------------------------------------------------------------------------------------------

    def run(self, delay_ms: int) -> Process:
        """All of it, delay_ms from now; a SimPy process."""
        try:
            yield self.world.env.timeout(delay_ms)
            yield from self._roll()
        except simpy.Interrupt:
            return  # preempted, or cancelled with its batch abandoned: who interrupted has said how it ends

    def _roll(self) -> Process:
        world, policy = self.world, self.policy
        while (left := world.rollouts.left_until - world.now) > 0:
            yield world.env.timeout(left)  # what an earlier rollout left in flight comes first
        yield from self._wait_for_window()
        self.batches = list(azure_batches(self._members(), len(world.vms), policy))
        bad, total = health.unhealthy(world), len(world.vms)
        if exceeds(bad, total, policy.max_unhealthy_percent):
            self._fault(errors.UNHEALTHY_BEFORE, percent=_share(bad, total), threshold=policy.max_unhealthy_percent)
            return
        while self.batches:
            yield from self._wait_for_window()
            if self.done and (yield from self._too_many(health.unhealthy(world))):
                return
            yield from self._batch(self._next())
            self._change()
            if self.overrun and (yield from self._too_many(self.overrun)):
                return
            if (yield from self._breached()):
                return
            if self.batches and policy.pause_ms:
                yield world.env.timeout(policy.pause_ms)
            limit = world.config.platform.rollout_timeout_ms
            if self.batches and limit is not None and world.now - self.started_ms >= limit:
                self._fault(errors.ROLLOUT_TIMEOUT, minutes=limit // 60_000)
                return
        self._close("Completed")

    def _members(self) -> list[Member]:
        """What is to be upgraded (rules 6 of rolling_policy.py and 8), as it is now."""
        world = self.world
        chosen = world.stale() if self.kind == "model" else [vm for vm in world.vms.values() if not vm.protected]
        with_metrics = any(vm.machine.phase is not None or vm.machine.skip_upgrade for vm in chosen)
        members = []
        for vm in chosen:
            machine, healthy = vm.machine, health.verdict(world, vm) == "healthy"
            if vm.provisioning == "deleting" or machine.skip_upgrade or (with_metrics and not healthy):
                continue
            if self.only is not None and vm.id not in self.only:
                continue
            members.append(Member(vm.id, machine.zone, machine.update_domain, healthy, machine.phase))
        return members

    def _next(self) -> tuple[str, ...]:
        """The next batch (rule 9), empty where nobody is left; smaller where unhealthy instances outside it make it so."""
        batch: tuple[str, ...] = ()
        while self.batches and not batch:
            batch = tuple(one for one in self.batches.pop(0) if self._takes_part(self.world.vms.get(one)))
        if self.world.config.platform.shrink_by_unhealthy:
            outside = [vm for vm in self.world.vms.values() if vm.id not in batch]
            sick = sum(health.verdict(self.world, vm) == "unhealthy" for vm in outside)
            size = max(1, batch_size(self.policy.max_batch_percent, len(self.world.vms)) - sick)
            if size < len(batch):
                self.batches.insert(0, batch[size:])
                batch = batch[:size]
        return batch

    def _takes_part(self, vm: Vm | None) -> bool:
        """Rule 9."""
        return vm is not None and vm.provisioning != "deleting" and not vm.protected

    def _batch(self, batch: tuple[str, ...]) -> Process:
        world = self.world
        if not batch:
            return
        began = world.now
        self.done.append(batch)
        self.in_progress = batch
        self._change()
        surge = self.policy.max_surge and admission.free_for(world, len(batch))
        if surge:
            yield from self._surge([world.vms[one] for one in batch], began)
        else:
            yield from self._decide(dict.fromkeys(batch), began)
        if self.kind == "os" and self.started_by == "Platform" and not world.auto_os.disable_rollback:
            yield from self._restore([one for one in batch if one in self.failed])
        yield world.env.timeout(world.rollouts.overhead_ms())
        self.in_progress = ()

    def _decide(self, waiting: dict[str, None], began: int) -> Process:
        """Upgrade these in place and wait until each is decided (rule 2)."""
        world = self.world
        started: set[str] = set()
        while True:
            for name in list(waiting):
                vm = world.vms.get(name)
                if vm is None or vm.provisioning == "deleting" or (vm.protected and name not in started):
                    del waiting[name]  # gone, or protected since: not part of it any more
                elif name not in started and vm.busy_until <= world.now:
                    started.add(name)
                    self._start(vm)
                else:
                    self._judge(vm, name in started, waiting, began)
            if world.config.platform.count_in_flight:
                bad = health.unhealthy(world)
                if exceeds(bad, len(world.vms), self.policy.max_unhealthy_percent):
                    self.overrun = max(self.overrun, bad)
            when = self._next_look(waiting, began)
            if when is None:
                return
            yield world.env.timeout(max(1, when - world.now))

    def _start(self, vm: Vm) -> None:
        world = self.world
        if self._is_up(world.settled(vm)):
            return  # it takes a batch and a tick all the same (REC)
        self.before[vm.id] = {"image": vm.image, "content": vm.content, "profile": vm.profile}
        args = {"exact_version": self.target.exact} if self.kind == "os" and self.target else {}
        self.ends[vm.id] = lifecycle.start(world, vm, OPERATION_OF[self.kind], args)

    def _is_up(self, vm: Vm) -> bool:
        """Is there nothing to do: rule 8, or somebody else brought it up meanwhile?"""
        if self.kind == "os":
            return vm.image in (self.target, self.world.model_image)
        return self.kind == "model" and vm.content == self.world.content and vm.provisioning == "succeeded"

    def _judge(self, vm: Vm, started: bool, waiting: dict[str, None], began: int) -> None:
        """Decide an instance, if it can be decided now."""
        world, options = self.world, self.world.config.platform
        if not started or vm.busy_until > world.now:
            return
        world.settled(vm)
        silent = self._silent()
        if silent and world.now < self._limit(vm.id, began):
            return
        name = self.pairs[vm.id].id if vm.id in self.pairs else vm.id  # progress counts who was to be upgraded
        seen = health.verdict(world, vm)
        # Initializing is waited for; but who is so without any operation will stay so.
        sick = seen == "unhealthy" or (seen == "waiting" and not vm.attempt)
        if vm.error is not None or (silent and options.no_signal_counts == "unhealthy"):
            self.failed[name] = None
        elif seen == "healthy":
            self.successful[name] = None
        elif sick and world.now >= self._limit(vm.id, began):
            self.failed[name] = None
        else:
            return
        del waiting[vm.id]

    def _silent(self) -> bool:
        """Rule 3: does nothing report health to an extension rollout?"""
        return self.kind == "extension" and self.world.config.health == "none"

    def _limit(self, name: str, began: int) -> int:
        """Until when this instance's health is waited for: from the end of the rollout's own operation, whatever others do."""
        options = self.world.config.platform
        wait = options.no_signal_wait_ms if self._silent() else options.health_wait_ms
        return max(self.ends.get(name, began), began) + wait

    def _next_look(self, waiting: dict[str, None], began: int) -> int | None:
        """When the platform looks again; None: it need not. With a tick, a batch takes one at least; without any health
        signal there is none (REC 2020 to 2021: 600.2 s, 644.5 s, 701.9 s, 728.4 s).
        """
        world, options = self.world, self.world.config.platform
        now, tick, silent = world.now, options.tick_ms, self._silent()
        if tick and not silent:
            at_tick = (now - began) % tick == 0 and now > began
            return None if at_tick and not waiting else began + ((now - began) // tick + 1) * tick
        times = []
        for name in waiting:
            vm = world.vms[name]
            ready, limit = health.serving_from(world, vm), self._limit(name, began)
            times += [when for when in (vm.busy_until, ready, limit) if now < when < NEVER]
        return min(times, default=now + 1_000) if waiting else None

    def _surge(self, old: list[Vm], began: int) -> Process:
        """Rule 6: as many new ones, then the old ones go."""
        world, pairs = self.world, self.pairs
        for vm in old:
            if self._is_up(world.settled(vm)):
                self.successful[vm.id] = None
                continue
            new, self.ends[new.id] = lifecycle.add(
                world, instead_of=vm, image=self.target if self.kind == "os" else None
            )
            pairs[new.id] = vm
        waiting, options = dict.fromkeys(pairs), world.config.platform
        while waiting:
            for name in list(waiting):
                created = world.vms.get(name)
                if created is None:  # somebody deleted it
                    del waiting[name]
                    self.failed[pairs[name].id] = None
                else:
                    self._judge(created, True, waiting, began)
            when = self._next_look(waiting, began)
            if when is None:
                break
            yield world.env.timeout(max(1, when - world.now))
        end = world.now
        for name, vm in pairs.items():
            made, there = world.vms.get(name), self._is_there(vm)
            if made is None or made.provisioning == "deleting":
                continue  # somebody deleted it: the old one stays
            if vm.protected:
                self.successful.pop(vm.id, None)  # since the batch began: it stays
            leaves = vm if there and vm.id in self.successful else made  # who has lost its old one is one too many
            if leaves is vm:
                self.heirs[vm.id] = made
            if leaves is made and there and not vm.protected and options.surge_failed == "left":
                continue
            end = max(end, self._delete(leaves))
        self.pairs = {}
        yield world.env.timeout(end - world.now)

    def _delete(self, vm: Vm) -> int:
        """An instance goes; returns when it is gone."""
        world = self.world
        end = world.now + world.set_level("delete")
        lifecycle.down(vm, world.now)
        world.remove_at(vm, end)
        return end

    def _is_there(self, vm: Vm) -> bool:
        return self.world.vms.get(vm.id) is vm and vm.provisioning != "deleting"

    def end_surge(self, keep: bool) -> None:
        """A surge that is stopped half-way (rule 6): who is created takes over where `keep`, the others go."""
        world, pairs, self.pairs = self.world, self.pairs, {}
        for name, old in pairs.items():
            new = world.vms.get(name)
            there = self._is_there(old)
            if new is None or new.provisioning == "deleting":
                continue
            counted = old.id in self.successful or old.id in self.failed
            created = world.settled(new).error is None and new.busy_until <= world.now
            keeps = keep and there and created and old.id not in self.failed and not old.protected
            if keep and there and not counted:
                (self.successful if keeps else self.failed)[old.id] = None
            self._delete(old if keeps else new)

    def _restore(self, names: list[str]) -> Process:
        """Rule 5: put back what failed instances ran, and wait until they serve, as long as for a batch."""
        world = self.world
        end = world.now
        chosen = [vm for one in names if one in self.before and (vm := world.vms.get(one)) is not None]
        for vm in chosen:
            end = max(end, vm.busy_until)
        yield world.env.timeout(end - world.now)
        self.rollback_failed += sum(vm.busy_until > world.now for vm in chosen)  # somebody else has taken it up
        chosen = [vm for vm in chosen if vm.busy_until <= world.now and vm.provisioning != "deleting"]
        ends = [lifecycle.start(world, vm, "restore", self.before[vm.id]) for vm in chosen]
        end = max([world.now, *ends])
        serving = max((health.serving_from(world, vm) for vm in chosen), default=end)
        yield world.env.timeout(min(max(end, serving), end + world.config.platform.health_wait_ms) - world.now)
        for vm in chosen:
            back = world.settled(vm).error is None and health.verdict(world, vm) == "healthy"
            self.rolled_back += back
            self.rollback_failed += not back

    def _wait_for_window(self) -> Process:
        """Rule 7: only inside the maintenance window."""
        wait = until_window(self.world) if self.started_by == "Platform" else 0
        if wait:
            yield self.world.env.timeout(wait)

    def _too_many(self, bad: int) -> Generator[simpy.Event, Any, bool]:
        """Rule 1, before a later batch, with so many unhealthy; and rule 5."""
        total, percent = len(self.world.vms), self.policy.max_unhealthy_percent
        if not exceeds(bad, total, percent):
            return False
        yield from self._roll_back()
        self._fault(errors.UNHEALTHY_DURING, percent=_share(bad, total), threshold=percent)
        return True

    def _breached(self) -> Generator[simpy.Event, Any, bool]:
        """Rule 1, after a batch; and rule 5."""
        world, policy = self.world, self.policy
        upgraded = {**self.successful, **self.failed}
        sick = [
            one
            for one in upgraded
            if one in self.failed or ((vm := self._heir(one)) is not None and health.verdict(world, vm) == "unhealthy")
        ]
        percent = policy.max_unhealthy_upgraded_percent
        if not exceeds(len(sick), len(upgraded), percent):
            if self.failed:
                row = errors.FAILED_VMS
                first = next(iter(self.failed))
                self.error = (row.code, row.sentence(failed=len(self.failed), threshold=percent, id=first))
            return False
        yield from self._roll_back()
        share = _share(len(sick), len(upgraded))
        self._fault(errors.UNHEALTHY_UPGRADED, percent=share, threshold=percent, id=sick[0])
        return True

    def _heir(self, name: str) -> Vm | None:
        """The instance of this id, or who came in its place."""
        made = self.heirs.get(name)
        found = self.world.vms.get(name if made is None else made.id)
        return found if made is None or found is made else None

    def _roll_back(self) -> Process:
        """Rule 5, after a breach."""
        if self.policy.rollback_failed and self.failed and self.kind == "model" and not self.world.config.flexible:
            self.code = "RollingBack"
            self._change()
            yield from self._restore(list(self.failed))

    # -- its end -------------------------------------------------------------------------------------------------

    def _fault(self, row: AzureError, **fields: object) -> None:
        self.error = (row.code, row.sentence(**fields))
        self._close("Faulted", *self.error)

    def _close(self, code: str, error: str = "", message: str = "") -> None:
        world = self.world
        self.code, self.ended_ms, self.in_progress = code, world.now, ()
        self.before, self.ends, self.heirs = {}, {}, {}  # nobody goes back any more
        if code == "Completed" and self.failed and world.config.platform.failed_within_limits == "fails":
            error, message = self.error
        self.end_operation(error, message)
        self._change()

    def end_operation(self, error: str = "", message: str = "") -> None:
        """The request that started it is answered now."""
        operation = self.operation
        if operation is None or operation.hangs or operation.name not in self.world.running:
            return
        operation.fails, operation.code, operation.message = bool(error), error, message
        self.world.finish_at(operation, self.world.now + operation.delay_ms)

    def cancel(self, least_ms: int) -> int:
        """Rule 4; least_ms: from when at the earliest it is over. Returns when it is."""
        world = self.world
        self.code, self.last_action, self.last_action_ms = "Cancelled", "Cancel", world.now
        self._stop()
        flying = [vm for one in self.in_progress if (vm := world.vms.get(one)) is not None and one in self.before]
        flying += [vm for one in self.pairs if (vm := world.vms.get(one)) is not None]
        if world.config.platform.cancel_batch == "abandoned":
            flying = []
            self.end_surge(keep=False)
        end = max([least_ms, *(vm.busy_until for vm in flying)])
        self._change()
        world.at(end, self._cancelled, flying)
        return end

    def _cancelled(self, flying: list[Vm]) -> None:
        surge = tuple(self.pairs)
        self.end_surge(keep=True)
        for vm in flying:
            if vm.id in surge:
                continue
            self.world.settled(vm)
            if vm.id not in self.successful and vm.id not in self.failed:
                (self.successful if vm.error is None else self.failed)[vm.id] = None
        self._close("Cancelled")

    def preempt(self) -> None:
        """A newer update takes over: this one ends."""
        row = errors.PREEMPTED
        self._stop()
        self.end_surge(keep=False)
        self._close("Cancelled", row.code, row.sentence())

    def _stop(self) -> None:
        """Nothing more begins; what is in flight ends (rule 1)."""
        world = self.world
        if self.process is not None and self.process.is_alive:
            self.process.interrupt()
        wait = world.config.platform.health_wait_ms
        flying = [vm for one in (*self.before, *self.pairs) if (vm := world.vms.get(one)) is not None]
        ready = [min(max(vm.busy_until, health.serving_from(world, vm)), vm.busy_until + wait) for vm in flying]
        world.rollouts.left_until = max([world.rollouts.left_until, *ready])

    def _change(self) -> None:
        """Its status changed: somebody may be watching."""
        self.world.rollouts.version += 1
        self.world.woken = True


def until_window(world: World) -> int:
    """How long until automatic OS upgrade may start a batch (rule 7): 0 inside the window, or where there is none."""
    if world.auto_os.window_ms is None:
        return 0
    start, length, every = world.auto_os.window_ms
    inside = (world.now - start) % every
    return 0 if inside < length else every - inside


def _share(count: int, total: int) -> int:
    """A whole percentage, as messages tell it."""
    return round(100 * count / total) if total else 0
