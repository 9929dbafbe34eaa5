"""Set-level commands: before the instances move, and what the end-state table wants afterwards.

Each step is skipped where the set already shows it done, and counts as done only when the set shows it.
The model is put back in mode Manual, where that touches no instance. Where the platform moved the instances, a stop or an abort sets
that mode first and leaves it: in the one from before the platform would move what is behind the model that went back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.buckets import Bucket
from planner.commands import Command, Kind
from planner.machine import handover, surge
from planner.model import ImageReference, UpgradeMode, runs
from planner.phases import Cause, Phase, move

if TYPE_CHECKING:
    from planner.machine.turn import Turn


def _steps(t: Turn) -> list[dict[str, Any] | None]:
    """The set-level commands of this phase, each in its place. One is skipped where it is not wanted (None), or where
    the set already shows it done: a place stays a place, since what is wanted may change while a command is in flight.
    """
    plan, resolved = t.plan, t.plan.resolved
    steps: list[dict[str, Any] | None] = []
    if t.phase is Phase.PREPARING:
        if t.back:
            if t.released:
                steps += _held(t)
            if resolved.reverse:
                steps.append(
                    {
                        "kind": Kind.UPDATE_MODEL,
                        "patch": resolved.reverse,
                        "why": "the model goes back to the pinned target first",
                    }
                )
            return steps
        steps += _held(t)
        if plan.handed is not None and plan.handed.by == "os-upgrade":
            steps.append({"kind": Kind.START_OS_UPGRADE, "why": "the platform upgrades the OS by its own policy"})
        elif plan.handed is not None:
            why = "the model gets the change, and the platform rolls it out by its own policy"
            steps.append({"kind": Kind.UPDATE_MODEL, "patch": resolved.patch, "why": why})
        elif resolved.patch:
            steps.append({"kind": Kind.UPDATE_MODEL, "patch": resolved.patch, "why": "the model gets the change"})
        return steps
    end, old = plan.ends[t.ending], plan.scale_set.mode
    capacity = manual = model = mode = repairs = None
    over = surge.not_needed(t) if t.surge.fresh and end.added == "removed" else ()
    added = {"kind": Kind.DELETE, "ids": over, "why": f"{len(over)} were added and replace none"} if over else None
    if t.owed:
        capacity = {
            "kind": Kind.SET_CAPACITY,
            "capacity": len(t.set.instances) + t.owed,
            "why": f"{t.owed} replaced instances are added again",
        }
    if end.model == "pinned" and resolved.reverse:
        back: dict[str, Any] = {
            "kind": Kind.UPDATE_MODEL,
            "patch": resolved.reverse,
            "why": "the model is put back, so that scale-outs and repairs do not boot the rejected image",
        }
        if t.set.model.mode is UpgradeMode.MANUAL:
            model = back
        elif t.rollout.platform and old is not UpgradeMode.MANUAL and not done(t, Command(id="", **back)):
            why = "mode manual, so that the model goes back and the platform moves nothing for it"
            manual = {"kind": Kind.SET_MODE, "mode": UpgradeMode.MANUAL, "why": why}
    if old is not plan.work_mode and (old is UpgradeMode.MANUAL or (end.mode == "restored" and _nothing_stale(t))):
        mode = {"kind": Kind.SET_MODE, "mode": old, "why": f"mode {old.value} as it was before"}
    if plan.suspend_repairs and end.repairs == "restored":
        repairs = {"kind": Kind.RESUME_REPAIRS, "why": "automatic repairs as they were before"}
    # The model is put back in mode Manual: before another mode comes back, or after.
    before, after = (manual, mode) if old is not UpgradeMode.MANUAL else (mode, None)
    rest = [before, model, capacity, after, repairs]
    return [added, *rest]


def _held(t: Turn) -> list[dict[str, Any] | None]:
    """What is changed for the time of the rollout only."""
    plan, steps = t.plan, list[dict[str, Any] | None]()
    if plan.suspend_repairs:
        steps.append(
            {"kind": Kind.SUSPEND_REPAIRS, "why": "automatic repairs would replace instances that are being upgraded"}
        )
    if plan.scale_set.mode is not plan.work_mode:
        steps.append(
            {
                "kind": Kind.SET_MODE,
                "mode": plan.work_mode,
                "why": f"mode {plan.work_mode.value} before the image changes, so that "
                + ("nothing else moves instances" if plan.handed is None else "the platform follows its policy"),
            }
        )
    return steps


def release(t: Turn) -> bool:
    """One move of undoing the temporary changes while the rollout is paused; it stays paused."""
    plan = t.plan
    if t.step == 0 and plan.suspend_repairs:
        step: dict[str, Any] | None = {"kind": Kind.RESUME_REPAIRS}
    elif t.step == 1 and plan.scale_set.mode is not plan.work_mode:
        step = {"kind": Kind.SET_MODE, "mode": plan.scale_set.mode}
        if plan.scale_set.mode is not UpgradeMode.MANUAL and not _nothing_stale(t):
            _mode_kept(t)
            step = None
    else:
        step = None
    if t.step > 1:
        t.put(step=0, step_command="", releasing=False)
        kept = t.set.model.mode is not plan.scale_set.mode and plan.scale_set.mode is not plan.work_mode
        undone = (
            f"all but the mode ({t.set.model.mode.value}) is undone" if kept else "the temporary changes are undone"
        )
        t.note("released", f"{undone}; the rollout stays paused")
        return False
    if step is None or done(t, Command(id="", why="", **step)):
        t.put(step=t.step + 1)
        return True
    t.put(step_command=f"c{t.next_id}")
    t.send(step.pop("kind"), "an operator releases the set", rule="release", **step)
    return True


def _mode_kept(t: Turn) -> None:
    text = f"mode {t.set.model.mode.value} stays: in mode {t.plan.scale_set.mode.value} the platform would move what is stale"
    t.note("mode-kept", text)


def not_released(t: Turn, reason: str) -> None:
    """Releasing did not work: that is said, and the rollout stays paused."""
    t.put(step=0, step_command="", releasing=False)
    t.note("release-failed", reason)


_UNMOVED = frozenset({Bucket.PROTECTED, Bucket.SKIPPED, Bucket.STALE})


def _nothing_stale(t: Turn) -> bool:
    """May a mode come back in which the platform moves instances? Not while one does not have the latest model (after a reimage alone the flag
    stays false): that mode would upgrade it. Nor while one is not current; but who is not moved (protected, skipped, not taken yet) and has
    the latest model is left alone by that mode, too. While the rollout goes forward and the model has the change, nobody who is still to
    be moved has the latest model, whatever is shown: a flag that comes later than the model would let the platform move them all.
    """
    ahead = not (t.back or t.ending) and bool(t.plan.resolved.patch) and not _model_stale(t)
    unmoved = _UNMOVED - {Bucket.STALE} if ahead else _UNMOVED
    return all(
        t.set.instances[name].latest_model is True if seen.bucket in unmoved else seen.bucket is Bucket.CURRENT
        for name, seen in t.seen.items()
    ) and all(one.latest_model is not False for one in t.set.instances.values())


def advance(t: Turn) -> bool:
    """One move of the phase preparing or finishing; False when there is nothing more to decide now."""
    steps = _steps(t)
    if t.step >= len(steps):
        return _over(t)
    if (
        t.step == 0
        and t.phase is Phase.PREPARING
        and not t.back
        and not t.plan.batches
        and not (t.plan.resolved.patch and _model_stale(t))
    ):
        t.put(
            phase=move(t.phase, Cause.NOTHING_TO_DO),
            ending="finish",
            reason="every instance is already at the target",
            step=0,
        )
        t.note("nothing-to-do", "every instance is already at the target")
        return True
    step = steps[t.step]
    ended = t.step_ended_ms
    if step is None or _over_with(t, Command(id="", **step)):
        if step is not None and step["kind"] is Kind.SET_MODE:
            t.put(mode_set=True)
        if t.phase is Phase.FINISHING and t.step == 0 and t.surge.fresh:
            surge.left_over(t)
        t.put(step=t.step + 1, step_ended_ms=None, step_command="")
        return True
    if ended is not None:
        if t.now - ended < t.plan.deadlines.settle_ms:
            t.wake = ended + t.plan.deadlines.settle_ms
            return False
        t.put(step_ended_ms=None)
        reason = f"{step['kind'].value} succeeded, but the set does not show it"
        if t.phase is Phase.FINISHING:
            skip_step(t, reason)
        else:
            t.end("stop", reason)
        return True
    if handover.held(t, Command(id="", **step)):
        return t.phase is Phase.FINISHING
    why = step.pop("why")
    if step["kind"] is Kind.DELETE:
        surge.note_removal(t, step["ids"])
    t.put(step_command=f"c{t.next_id}")
    t.send(step.pop("kind"), why, rule="set-level", **step)
    return True


def _over_with(t: Turn, command: Command) -> bool:
    """Is there nothing left to do of this step? What hands the rollout over is sent where something is stale, whatever
    the set shows, and is over with when it has ended.
    """
    if t.plan.handed is not None and t.phase is Phase.PREPARING and not t.back and command.kind is not Kind.SET_MODE:
        if command.kind not in (Kind.UPDATE_MODEL, Kind.START_OS_UPGRADE):
            return done(t, command)
        shown = command.kind is Kind.START_OS_UPGRADE or done(t, command)
        return shown and (t.step_ended_ms is not None or not handover.behind(t))
    return done(t, command)


def skip_step(t: Turn, reason: str) -> None:
    """Give a step of the end state up: what else can be undone is undone all the same."""
    t.put(step=t.step + 1, step_ended_ms=None, step_command="")
    t.worsen(reason)


def _model_stale(t: Turn) -> bool:
    return not done(t, Command(id="", kind=Kind.UPDATE_MODEL, why="", patch=t.plan.resolved.patch))


def done(t: Turn, command: Command) -> bool:
    """Does the set show that a set-level command was done?"""
    model = t.set.model
    match command.kind:
        case Kind.SET_MODE:
            return model.mode is command.mode
        case Kind.SUSPEND_REPAIRS:
            return model.repairs is None or not model.repairs.enabled or model.repairs.suspended
        case Kind.RESUME_REPAIRS:
            return model.repairs is None or not model.repairs.suspended
        case Kind.DELETE | Kind.START_OS_UPGRADE | Kind.CANCEL_ROLLING:
            return False  # it is wanted only for what is there
        case Kind.SET_CAPACITY:
            return len(t.set.instances) >= (command.capacity or 0)
        case _:
            resolved = t.plan.resolved
            images: tuple[ImageReference | None, ...] = (resolved.model_image,)
            if t.back or t.ending or command.patch != resolved.patch:
                images = (resolved.back_image, t.plan.scale_set.image)  # as it was found, nothing is to be put back
            same = any(
                image is None or model.image == image or (model.image is not None and runs(model.image, image) is True)
                for image in images
            )
            return same and all(
                model.settings[path] == value for path, value in command.patch.items() if path in model.settings
            )


def _over(t: Turn) -> bool:
    t.put(step=0, step_ended_ms=None, step_command="")
    if t.phase is Phase.FINISHING:
        t.put(phase=move(t.phase, Cause.FINISHED))
        mode, old = t.set.model.mode, t.plan.scale_set.mode
        changed = mode is t.plan.work_mode and mode is not old
        if changed and old is not UpgradeMode.MANUAL and not _nothing_stale(t):
            _mode_kept(t)
        t.note("ended", f"{t.ending}: {t.reason}" if t.reason else t.ending)
        return False
    if t.plan.handed is not None and not t.back:
        handover.moved(t)
    cause = Cause.PREPARED_BACK if t.back else Cause.PREPARED
    if t.back and t.plan.surge is not None and not t.released:
        surge.way_back(t)
    t.put(
        phase=move(t.phase, cause), progress_ms=t.now, mode_set=t.mode_set or not t.back or t.released, released=False
    )
    if t.judge_model():  # what may still be seen while the set is prepared may not be seen any more
        return True
    t.note("prepared", "instances go back" if t.back else "the set is ready; instances move now")
    return True
