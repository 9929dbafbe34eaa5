"""What a plan's hooks say of single instances: whether one serves, whether it may be taken, whether it came back as it should.

Rules this module decides:

1. `health` is asked of every running instance, at most every `every_ms`. It replaces what the platform says, or is joined to it by *and*. What it
   says is the instance's health from then on: for buckets, floor, gates and soak alike.
2. `verify` is asked of an instance that is at the target and was not when the plan was made, once it serves: until it has passed once, its health
   is unknown, which counts as not serving; the deadline is the plan's, for coming to serve.
3. `drain` is run for each instance before it is taken. One that fails, or does not end in time, is a refusal: nothing was sent, and it is tried again as
   after any other.
4. A hook is a program without a shell; exit status 0 is yes, anything else, and no answer in time, is no. It is told the instance in its environment:
   VMSS_SIM_INSTANCE, VMSS_SIM_VM_ID, VMSS_SIM_ZONE, VMSS_SIM_COMPUTER_NAME, VMSS_SIM_ADDRESS (as far as they are known). The plan holds it, under
   its digest: what decides is vetted.
5. Who carries the plan on has to have every program of its hooks: one that is not there would call every instance sick, and what is sick costs no
   budget. Giving up, pausing and releasing move nothing, and need none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from backends.protocol import Backend, Seen, Wait
from planner.change import at_target
from planner.commands import Command, Kind, Outcome, Status
from planner.errors import InputError
from planner.model import Health, HealthSource, Instance, Power, ScaleSet, Service, service
from planner.plan import InstanceHook, InstanceHooks, Plan

TAKES = frozenset({Kind.UPGRADE, Kind.REIMAGE, Kind.RESTART, Kind.DELETE})
AT_ONCE = 16
_HEALTH = {Service.IN: Health.HEALTHY, Service.OUT: Health.UNHEALTHY, Service.UNKNOWN: Health.UNKNOWN}
Facts = Mapping[str, str]


def check(plan: Plan) -> None:
    """Rule 5. Raises InputError for a hook that cannot be run here."""
    hooks = plan.hooks or InstanceHooks()
    for name in ("health", "drain", "verify"):
        hook: InstanceHook | None = getattr(hooks, name)
        if hook is not None and shutil.which(hook.command[0]) is None:
            raise InputError(
                "there is no such program here, or it cannot be run: nobody could be judged by it",
                f"plan.hooks.{name}",
                hook.command[0],
                "a program, by its path or on PATH",
                "put it here, or carry the plan out where it is; nothing was sent",
            )


class Probed:
    """A backend whose instances are judged by the plan's hooks. still: asked right before sending, once drained."""

    def __init__(self, backend: Backend, plan: Plan, hooks: InstanceHooks) -> None:
        self.inner, self.plan, self.hooks = backend, plan, hooks
        self._still: Callable[[], None] = lambda: None
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe")
        self._health: dict[str, tuple[int, bool]] = {}
        self._verified: dict[str, tuple[int, bool]] = {}
        self._shown: dict[str, tuple[Instance, Instance]] = {}
        self._facts: dict[str, Facts] = {}
        self._outcomes: list[Outcome] = []
        self._latest: ScaleSet | None = None

    @property
    def asked(self) -> Callable[[], bool] | None:
        """As of a backend that can be told that an operator asked."""
        return getattr(self.inner, "asked", None)

    @asked.setter
    def asked(self, asks: Callable[[], bool]) -> None:
        if hasattr(self.inner, "asked"):
            self.inner.asked = asks

    @property
    def still(self) -> Callable[[], None]:
        """Asked here, and by a backend that asks, too."""
        return self._still

    @still.setter
    def still(self, asks: Callable[[], None]) -> None:
        self._still = asks
        if hasattr(self.inner, "still"):
            self.inner.still = asks

    @property
    def unreached(self) -> Callable[[str, str, int], None] | None:
        """As of a backend that tells that nobody answers."""
        return getattr(self.inner, "unreached", None)

    @unreached.setter
    def unreached(self, tells: Callable[[str, str, int], None]) -> None:
        if hasattr(self.inner, "unreached"):
            self.inner.unreached = tells

    def preflight(self, plan: Plan) -> tuple[Any, ...]:
        """As of the backend."""
        asks = getattr(self.inner, "preflight", None)
        return () if asks is None else tuple(asks(plan))

    def adopt(self, command: Command, handle: str) -> None:
        """Take over."""
        self.inner.adopt(command, handle)

    def close(self) -> None:
        """As of the backend, where it has anything open; hooks are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        getattr(self.inner, "close", lambda: None)()

    def wait(self, wait: Wait) -> bool:
        """Let time pass; a drain that failed is told at once."""
        return bool(self._outcomes) or self.inner.wait(wait)

    # -- looking -------------------------------------------------------------------------------------------------

    def observe(self) -> Seen:
        """Look, and ask the hooks."""
        seen = self.inner.observe()
        if not (self.hooks.health or self.hooks.verify):
            outcomes, self._outcomes = (*seen.outcomes, *self._outcomes), []
            self._latest = seen.scale_set
            return msgspec.structs.replace(seen, outcomes=outcomes)
        scale_set = seen.scale_set
        source = scale_set.model.health_source
        self._ask(scale_set.instances, seen.now_ms)
        healths = {name: self._judged(one, source) for name, one in scale_set.instances.items()}
        due = [
            name
            for name, state in healths.items()
            if state is Health.HEALTHY and self._to_verify(scale_set.instances[name])
        ]
        self._verify(scale_set.instances, due, seen.now_ms)
        shown: dict[str, Instance] = {}
        differ: dict[str, None] = dict.fromkeys(seen.changed or ())
        for name, one in scale_set.instances.items():
            state = Health.UNKNOWN if name in due and not self._passed(one) else healths[name]
            before = self._shown.get(name)
            if before is not None and before[0] is one and before[1].health is state:
                shown[name] = before[1]
                continue
            shown[name] = msgspec.structs.replace(one, health=state)
            self._shown[name] = (one, shown[name])
            differ[name] = None
        outcomes, self._outcomes = (*seen.outcomes, *self._outcomes), []
        model = msgspec.structs.replace(scale_set.model, health_source=HealthSource.HOOK)
        if self._latest is not None and self._latest.model == model:
            model = self._latest.model  # unchanged is the same object
        self._latest = msgspec.structs.replace(scale_set, model=model, instances=shown)
        return Seen(
            now_ms=seen.now_ms,
            scale_set=self._latest,
            changed=None if seen.changed is None else tuple(differ),
            outcomes=outcomes,
        )

    def _ask(self, instances: Mapping[str, Instance], now_ms: int) -> None:
        """Rule 1."""
        hook = self.hooks.health
        if hook is None:
            return
        due = [
            one
            for name, one in instances.items()
            if one.power is Power.RUNNING
            and now_ms - self._health.get(name, (-1 << 60, False))[0] >= self.hooks.every_ms
        ]
        for one, problem in zip(due, self._run_all(hook, due), strict=True):
            self._health[one.id] = (now_ms, not problem)

    def _judged(self, one: Instance, source: HealthSource) -> Health:
        by_platform = _HEALTH[service(one, source)]
        if self.hooks.health is None or one.power is not Power.RUNNING:
            return by_platform
        good = one.id in self._health and self._health[one.id][1]
        if self.hooks.replaces or source is HealthSource.NONE:
            return Health.HEALTHY if good else Health.UNHEALTHY
        return by_platform if good else Health.UNHEALTHY

    def _to_verify(self, one: Instance) -> bool:
        """Rule 2: is it at the target, and was it not?"""
        target = self.plan.resolved.target
        if (
            self.hooks.verify is None
            or at_target(one, target) is False
            or self.plan.skipped.get(one.id) == "already-current"
        ):
            return False
        pinned = self.plan.scale_set.instances.get(one.id)
        moved = pinned is None or pinned.image != one.image or (pinned.vm_id and pinned.vm_id != one.vm_id)
        return bool(moved) and at_target(one, target) is True

    def _key(self, one: Instance) -> str:
        return f"{one.id} {one.vm_id} {one.os_disk} {one.image}"

    def _passed(self, one: Instance) -> bool:
        return self._verified.get(self._key(one), (0, False))[1]

    def _verify(self, instances: Mapping[str, Instance], names: Iterable[str], now_ms: int) -> None:
        hook = self.hooks.verify
        if hook is None:
            return
        due = []
        for one in (instances[name] for name in names):
            when, passed = self._verified.get(self._key(one), (-1 << 60, False))
            if not passed and now_ms - when >= self.hooks.every_ms:
                due.append(one)
        for one, problem in zip(due, self._run_all(hook, due), strict=True):
            self._verified[self._key(one)] = (now_ms, not problem)

    # -- sending -------------------------------------------------------------------------------------------------

    def submit(self, command: Command) -> str:
        """Rule 3, then send."""
        hook, latest = self.hooks.drain, self._latest
        if hook is not None and command.kind in TAKES and latest is not None:
            taken = [latest.instances[name] for name in command.ids if name in latest.instances]
            problems = list(zip(taken, self._run_all(hook, taken), strict=True))
            failed = [f"instance {one.id}: {problem}" for one, problem in problems if problem]
            if failed:
                self._outcomes.append(
                    Outcome(
                        command=command.id,
                        status=Status.FAILED,
                        code="DrainFailed",
                        message="; ".join(failed[:5]),
                        refused=True,
                    )
                )
                return ""
            self._still()
        return self.inner.submit(command)

    # -- running -------------------------------------------------------------------------------------------------

    def _run_all(self, hook: InstanceHook, instances: list[Instance]) -> list[str]:
        """What went wrong with each, or ''."""
        if any(one.id not in self._facts for one in instances):
            asks = getattr(self.inner, "facts", None)
            self._facts |= asks() if asks is not None else {}
            self._facts |= {one.id: {} for one in instances if one.id not in self._facts}
        return list(self._pool.map(lambda one: _run(hook, one, self._facts[one.id]), instances))


def _run(hook: InstanceHook, one: Instance, facts: Facts) -> str:
    told = {
        "VMSS_SIM_INSTANCE": one.id,
        "VMSS_SIM_VM_ID": one.vm_id,
        "VMSS_SIM_ZONE": one.zone or "",
        "VMSS_SIM_COMPUTER_NAME": facts.get("computer_name", ""),
        "VMSS_SIM_ADDRESS": facts.get("address", ""),
    }
    try:
        ran = subprocess.run(
            list(hook.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **told},
            timeout=hook.deadline_ms / 1000,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {hook.deadline_ms / 1000:g} s"
    except OSError as error:
        return f"{hook.command[0]}: {error.strerror or error}"
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        return f"exit status {ran.returncode}" + (f", {said[-1][:200]}" if said else "")
    return ""
