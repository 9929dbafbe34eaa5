"""The platform's rollouts of one set: who may start one and when, and what is remembered of them.

Rules (DOC-rolling, DOC-autoos, API, REC; sources in docs/azure-rules.md; one rollout is `rollouts.py`, whose rules 4 and 7
live here too):

1. At most one rollout is open. Any update of the set preempts it; in mode Rolling it starts a new one over what is stale,
   after a first check that takes a tick even where nothing is (REC).
2. Automatic OS upgrade is due some time (drawn, 3 hours at most) after a version was published, or after it was enabled. It
   waits for approval, for the end of another rollout, and for its window, in this order.
3. What is remembered: the last rollout, and the last five OS upgrades within two months.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import proxy

from vmss_sim.world.config import RollingPolicy
from vmss_sim.world.rollouts import HistoryEntry, RollingStatus, RollingUpgrade, until_window
from vmss_sim.world.vm import NEVER, Operation, Vm

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World

KEPT = 5
KEPT_MS = 60 * 86_400_000
"""`osUpgradeHistory`: the last five attempts within two months (DOC-autoos)."""
REMEMBERED = 100
"""How many rollouts are remembered before old ones are forgotten."""
RETRY_MS = 600_000
"""An automatic OS upgrade that finds another rollout running looks again (undocumented)."""


class Rollouts:
    """The rollouts of one set: at most one is open. version: grows with every change of a status. left_until: when what
    stopped rollouts left in flight has ended and serves, or has been waited for long enough.
    """

    def __init__(self, world: World) -> None:
        self.world: World = proxy(world)  # no cycle: a world of a study is gone as soon as nobody needs it
        self.past: list[RollingUpgrade] = []
        self.version = self.left_until = 0
        self._approved: dict[str, None] = {}
        self._deferred = False
        self._triggered = self._batches = 0
        if world.auto_os.enabled:
            self.published()

    @property
    def running(self) -> bool:
        """Is one open?"""
        return bool(self.past) and self.past[-1].open

    @property
    def lent(self) -> dict[str, Vm]:
        """The instances that a surge has added for a while, by id, each with the one it is to replace."""
        return {name: old for rollout in self.past for name, old in rollout.pairs.items()}

    def latest(self) -> RollingStatus | None:
        """The status of the last one."""
        return self.past[-1].status() if self.past else None

    def history(self) -> tuple[HistoryEntry, ...]:
        """The OS upgrades among the last ones, newest first."""
        oldest = self.world.now - KEPT_MS
        found = [one for one in self.past if one.kind != "extension" and one.started_ms >= oldest]
        return tuple(
            HistoryEntry(one.status(), one.target, one.rolled_back, one.rollback_failed)
            for one in reversed(found[-KEPT:])
        )

    def successor(self, vm: Vm) -> Vm | None:
        """Of a surge in flight: who is to replace this instance."""
        return next((self.world.vms.get(name) for name, old in self.lent.items() if old is vm), None)

    def begin(self, kind: str, operation: Operation) -> int:
        """A rollout that somebody asked for."""
        self._start(RollingUpgrade(self.world, kind, self.world.rolling_policy, operation))
        return NEVER

    def after_update(self, operation: Operation, end: int) -> int:
        """A set in mode Rolling was updated (rule 1): when that ends, or NEVER where a rollout will end it."""
        world = self.world
        end += world.config.platform.first_check_ms
        end += self.overhead_ms() if world.config.platform.first_check_ms else 0
        if not world.stale():
            return end
        rollout = RollingUpgrade(world, "model", world.rolling_policy, operation)
        self._start(rollout, delay_ms=end - world.now)
        return NEVER

    def overhead_ms(self) -> int:
        """What a batch, or the first look at an update, takes beside its ticks: drawn where its timing is known."""
        timing = self.world.config.timings.operations.get("rolling-batch-overhead")
        if timing is None:
            return self.world.config.platform.batch_ms
        self._batches += 1
        return timing.ppf_ms_scalar(self.world.draws.later("rolling-batch-overhead", 0, self._batches))

    def give_way(self) -> None:
        """The set is updated: what is open ends, whatever the mode is now."""
        if self.running:
            self.past[-1].preempt()

    def cancel(self, operation: Operation) -> int:
        """Cancel what is open; returns when the cancelling itself ends."""
        return self.past[-1].cancel(self.world.now + self.world.set_level(operation.kind))

    def approve(self, ids: tuple[str, ...]) -> None:
        """A deferred automatic OS upgrade may take these (rule 2); it starts at once if it is due."""
        self._approved.update(dict.fromkeys(ids))
        if self._deferred:
            self._deferred = False
            self.world.at(self.world.now, self._begin_automatic, self._triggered)

    def published(self) -> None:
        """A version was published, or automatic OS upgrade enabled: it begins some time later (rule 2)."""
        world, options = self.world, self.world.config.platform
        if not world.auto_os.enabled or (world.mode == "manual" and not options.manual_auto_os):
            return
        self._triggered += 1
        self._approved, self._deferred = {}, False
        delay = world.draws.later("auto-os", 0, self._triggered) * options.auto_os_delay_ms
        world.at(world.now + round(delay), self._begin_automatic, self._triggered)

    def forget_approvals(self) -> None:
        """Forget whose approval nobody can use any more."""
        self._approved = {name: None for name in self._approved if name in self.world.vms}

    def _begin_automatic(self, trigger: int) -> None:
        world = self.world
        auto = world.auto_os
        behind = [
            vm.id for vm in world.vms.values() if world.settled(vm).image != world.model_image and not vm.protected
        ]
        if trigger != self._triggered or not auto.enabled or not behind:
            return
        chosen = [one for one in behind if one in self._approved] if auto.deferral else behind
        if not chosen:
            self._deferred = True
            return
        if wait := RETRY_MS if self.running else until_window(world):
            world.at(world.now + wait, self._begin_automatic, trigger)
            return
        self._deferred = len(chosen) < len(behind)
        for one in chosen:
            self._approved.pop(one, None)
        policy = world.rolling_policy if auto.use_rolling_policy else RollingPolicy()
        self._start(RollingUpgrade(world, "os", policy, None, "Platform", frozenset(chosen) if auto.deferral else None))

    def _start(self, rollout: RollingUpgrade, delay_ms: int = 0) -> None:
        world = self.world
        if self.past:
            self.past[-1].end_surge(keep=False)  # cancelled, but not over yet
        self.past.append(rollout)
        if len(self.past) > REMEMBERED:
            self._forget()
        self.version += 1
        rollout.process = world.env.process(rollout.run(delay_ms))

    def _forget(self) -> None:
        """Of rollouts that are over and lend nothing only the last are kept, and those that the history tells of."""
        told = [one for one in self.past if one.kind != "extension"][-KEPT:]
        late = self.past[-REMEMBERED // 2 :]
        self.past = [one for one in self.past if one.open or one.pairs or one in told or one in late]
