"""A rollout whose journal is lost, as far as its plan and the set itself tell where it stands.

Rules this module decides:

1. An instance of the plan that boots the target was moved: it counts as done, and goes back where the rollout is turned back.
2. One that is being changed may be ours: it is not taken while that runs, and goes back, too, if it then is at the target.
3. One whose provisioning failed is taken for one of ours that failed, with its ladder before it.
4. Which instances a surge added cannot be told from what others added: those that the plan did not see and that are not old have to be
   named by a person (`added`), once nothing is being created any more. What of the plan is gone then counts as exchanged.
5. A rollout of the platform that goes on is refused: whose it is cannot be told, and who takes it for his may cancel somebody else's. It
   needs nobody to go on, and when it is over the set shows what it did. Refused is, too, a model that says neither the old image nor the
   target.
6. Everything else begins as if nothing had been sent: what the set already shows is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from planner.buckets import Memory
from planner.change import STAGES, Action, at_target
from planner.drift import Absorb, model_differences
from planner.lint.wording import instances, names
from planner.model import Provisioning, ScaleSet, id_key, runs
from planner.plan import Plan
from planner.rollout import NO_SURGE, Rollout, State, Surge

MOVING = (Provisioning.UPDATING, Provisioning.CREATING)


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What can be rebuilt. shows: what the set says; unknown: what nobody can say any more; refused: why not, or '', and what to do.
    candidates: of those that the plan did not see, what a surge may have added.
    """

    state: State
    shows: tuple[str, ...]
    unknown: tuple[str, ...]
    refused: str = ""
    todo: str = ""
    candidates: tuple[str, ...] = ()


def recover(plan: Plan, scale_set: ScaleSet, now_ms: int, added: tuple[str, ...] | None = None) -> Recovery:
    """The State to go on from. added: the instances that a surge added, as a person says; None: nobody said."""
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
    candidates = _candidates(rollout, scale_set) if plan.surge is not None else ()
    surge, refused = NO_SURGE, _refused(plan, scale_set)
    if not refused[0] and (plan.surge is not None or added):
        refused = _unsaid(scale_set, candidates, added)
    if not refused[0] and added:
        surge = Surge(
            fresh={name: scale_set.instances[name].vm_id for name in added},
            removed={name: plan.scale_set.instances[name].vm_id for name in groups["gone or another VM"]},
        )
        memory |= {name: Memory(stage=stages, ended_ms=now_ms) for name in added}
    return Recovery(
        state=State(memory=memory, surge=surge),
        shows=tuple(_shows(plan, scale_set, groups, candidates)),
        unknown=tuple(_unknown(plan)),
        refused=refused[0],
        todo=refused[1],
        candidates=candidates,
    )


def _candidates(rollout: Rollout, scale_set: ScaleSet) -> tuple[str, ...]:
    """Rule 4: not the plan's, and not old."""
    pins, made = rollout.plan.scale_set.instances, []
    for name, one in scale_set.instances.items():
        pinned = pins.get(name)
        ours = pinned is not None and (not pinned.vm_id or not one.vm_id or pinned.vm_id == one.vm_id)
        if (
            not ours
            and one.provisioning is not Provisioning.DELETING
            and at_target(one, rollout.target(name, False)) is not False
        ):
            made.append(name)
    return tuple(sorted(made, key=id_key))


def _unsaid(scale_set: ScaleSet, candidates: tuple[str, ...], added: tuple[str, ...] | None) -> tuple[str, str]:
    """Rule 4: what keeps it from being told which were added, and what to do. Nobody but a
    candidate is ever taken for added: who is, may be deleted.
    """
    moving = [name for name in candidates if scale_set.instances[name].provisioning in MOVING]
    if moving or scale_set.model.capacity > len(scale_set.instances):
        return (
            "instances are being created, and whose they are cannot be told before they are there",
            "wait for them, and recover then",
        )
    told = ",".join(candidates)
    if not candidates:
        if not added:
            return "", ""
        what = f"not an instance that a surge may have added: {names(added)}"
        return what, "nothing that the plan did not see may be its own: leave --added out"
    if added is None:
        what = f"{instances(len(candidates))} that the plan did not see: which of them the surge added cannot be told any more"
        return what, f"say --added {told}, or those of them that it was, or --added none"
    wrong = [name for name in added if name not in candidates]
    return (f"not an instance that the surge may have added: {names(wrong)}", f"--added {told}") if wrong else ("", "")


def _shows(plan: Plan, scale_set: ScaleSet, groups: dict[str, list[str]], candidates: tuple[str, ...]) -> Iterator[str]:
    for words, ids in groups.items():
        if ids:
            yield f"{instances(len(ids))} of the plan: {words}: {names(ids)}"
    if candidates:
        yield f"{instances(len(candidates))} that the plan did not see, not old: {names(candidates)}"
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


def _refused(plan: Plan, scale_set: ScaleSet) -> tuple[str, str]:
    """Rule 5: why not, and what to do."""
    rolling = scale_set.rolling_upgrade
    if plan.handed is not None and rolling is not None and rolling.open:
        return (
            f"a rollout of the platform goes on ({rolling.successful} done, {rolling.in_progress} in progress, {rolling.pending} pending),"
            " and whose it is cannot be told any more",
            "it goes on by itself: recover when it is over (`az vmss rolling-upgrade get-latest`), or end it (`az vmss rolling-upgrade cancel`)",
        )
    rollout = Rollout(plan)
    state = rollout.start()
    found = model_differences(
        plan, scale_set.model, modes=rollout.modes(state), images=rollout.images(state), says=rollout.says(state)
    )
    bad = [one for one in found if one.verdict is Absorb.REFUSE]
    if not bad:
        return "", ""
    return f"{bad[0].subject}: found {bad[0].found}, expected {bad[0].expected}", "make a new plan from what is there"
