"""A rollout whose journal is lost, as far as its plan and the set itself tell where it stands.

Rules this module decides:

1. An instance of the plan that boots the target was moved: it counts as done, and goes back where the rollout is turned back.
2. One that is being changed may be ours: it is not taken while that runs, and goes back, too, if it then is at the target.
3. One whose provisioning failed is taken for one of ours that failed, with its ladder before it.
4. What was added or handed over cannot be told from what others did: a surge with more instances than the plan saw, and a rollout of
   the platform that goes on, are refused, and so is a model that says neither the old image nor the target.
5. Everything else begins as if nothing had been sent: what the set already shows is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from planner.buckets import Memory
from planner.change import STAGES, Action, at_target
from planner.drift import Absorb, model_differences
from planner.lint.wording import instances, names
from planner.model import Provisioning, ScaleSet, runs
from planner.plan import Plan
from planner.rollout import Rollout, State

MOVING = (Provisioning.UPDATING, Provisioning.CREATING)


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What can be rebuilt. shows: what the set says; unknown: what nobody can say any more; refused: why not, or ''."""

    state: State
    shows: tuple[str, ...]
    unknown: tuple[str, ...]
    refused: str = ""


def recover(plan: Plan, scale_set: ScaleSet, now_ms: int) -> Recovery:
    """The State to go on from."""
    rollout = Rollout(plan)
    memory: dict[str, Memory] = {}
    groups: dict[str, list[str]] = {"moved": [], "in motion": [], "failed": [], "old": [], "gone or another VM": []}
    stages = len(STAGES[plan.resolved.action])
    for name in (name for batch in plan.batches for name in batch.take):
        one, pinned = scale_set.instances.get(name), plan.scale_set.instances[name]
        if one is None or (pinned.vm_id and one.vm_id and pinned.vm_id != one.vm_id):
            groups["gone or another VM"].append(name)
        elif at_target(one, rollout.target(name, False)) is True:
            groups["moved"].append(name)
            memory[name] = Memory(stage=stages, done=True)
        elif one.provisioning in MOVING:
            groups["in motion"].append(name)
            memory[name] = Memory()
        elif one.provisioning is Provisioning.FAILED:
            groups["failed"].append(name)
            memory[name] = Memory(ended_ms=now_ms)
        else:
            groups["old"].append(name)
    return Recovery(
        state=State(memory=memory),
        shows=tuple(_shows(plan, scale_set, groups)),
        unknown=tuple(_unknown(plan)),
        refused=_refused(plan, scale_set),
    )


def _shows(plan: Plan, scale_set: ScaleSet, groups: dict[str, list[str]]) -> Iterator[str]:
    for words, ids in groups.items():
        if ids:
            yield f"{instances(len(ids))} of the plan: {words}: {names(ids)}"
    model, resolved = scale_set.model, plan.resolved
    says = "something else"
    for image, words in ((resolved.model_image, "the target"), (resolved.back_image, "what was there before")):
        if image is not None and model.image is not None and (model.image == image or runs(model.image, image) is True):
            says = words
            break
    yield f"the model says {says} ({model.image})"
    yield f"mode {model.mode.value} (before the rollout {plan.scale_set.mode.value})"
    if plan.suspend_repairs:
        suspended = model.repairs is not None and model.repairs.suspended
        yield f"automatic repairs are {'suspended' if suspended else 'at work'}"


def _unknown(plan: Plan) -> Iterator[str]:
    yield "whether the rollout was going forward or back, paused or given up: it goes forward"
    yield "which instances an operator skipped, and why: they are tried again"
    yield "how often an instance was tried: each has its whole ladder again"
    yield "how many served before the rollout: what a drop is measured against is what serves now"
    if plan.resolved.action in (Action.REIMAGE, Action.RESTART, Action.RUN_COMMAND, Action.UPGRADE_THEN_REIMAGE):
        yield f"whether an instance that looks old was {plan.resolved.action.value}d already: it may happen a second time"
    if any(batch.approve for batch in plan.batches):
        yield "which batches were approved: each asks again"


def _refused(plan: Plan, scale_set: ScaleSet) -> str:
    """Rule 4."""
    if plan.surge is not None and len(scale_set.instances) > plan.scale_set.capacity:
        extra = len(scale_set.instances) - plan.scale_set.capacity
        return f"{instances(extra)} more than the plan saw: which of them the surge added cannot be told any more"
    rolling = scale_set.rolling_upgrade
    if plan.handed is not None and rolling is not None and rolling.open:
        return "a rollout of the platform goes on, and whose it is cannot be told any more; wait for it, or cancel it"
    rollout = Rollout(plan)
    state = rollout.start()
    found = model_differences(
        plan, scale_set.model, modes=rollout.modes(state), images=rollout.images(state), says=rollout.says(state)
    )
    bad = [one for one in found if one.verdict is Absorb.REFUSE]
    return f"{bad[0].subject}: found {bad[0].found}, expected {bad[0].expected}" if bad else ""
