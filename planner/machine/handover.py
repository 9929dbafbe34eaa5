"""A rollout that the platform does by its own policy: handed over, watched, and cancelled where a gate does not hold.

The request that starts it (a model update in mode Rolling, a change to that mode, Azure's OS upgrade) stays open until the rollout
ends. Beside it only its cancelling may be in flight. Named rules:

* hand-over-waits: it is handed over when no other rollout of the platform is open and the policy's largest batch leaves the
  floor; where that does not come to pass in time, it stops.
* platform-floor, platform-failed, platform-deadline: fewer than the floor in service for longer than the grace, more than
  `max_failed` failed, or the rollout's deadline: it stops, and the platform's rollout is cancelled.
* platform-cancel: an end that is not the platform's own, and a way back, cancel what is still open; asked again while it is.
* platform-nothing-to-cancel: there was none any more.
* platform-stopped: the platform's own thresholds stopped it. platform-cancelled: somebody else did. platform-superseded: another
  update of the set took over; what goes on is theirs, and is left as it is.
* What is *ours* among the platform's rollouts: the one that differs from the one before by its start. Its clock is not ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from planner.buckets import Memory
from planner.change import Target, at_target
from planner.commands import Command, Kind, Outcome, Status
from planner.effects import touched
from planner.lint import wording
from planner.model import Provisioning, RollingUpgrade, Service, UpgradeMode, in_service, service
from planner.phases import Phase
from planner.rollout import Ticket

if TYPE_CHECKING:
    from planner.machine.turn import Turn

_replace = msgspec.structs.replace
PREEMPTED = "OperationPreempted"
NONE_TO_CANCEL = "OperationNotAllowed"


def hands_over(t: Turn, command: Command) -> bool:
    """Does this command start a rollout of the platform's own, which it stays open for?"""
    if t.plan.handed is None:
        return False
    if command.kind is Kind.SET_MODE:
        return command.mode is UpgradeMode.ROLLING
    rolling = t.set.model.mode is UpgradeMode.ROLLING
    return command.kind is Kind.START_OS_UPGRADE or (command.kind is Kind.UPDATE_MODEL and rolling)


def ours(t: Turn) -> RollingUpgrade | None:
    """The platform's rollout that our request started, as far as it can be seen."""
    seen = t.set.rolling_upgrade
    return None if seen is None or seen.started_ms == t.handed.before else seen


def still_open(t: Turn) -> bool:
    """May the request that started the rollout still be open? As long as the rollout is, however long that is; when it is over,
    for the settle time; where none is seen, for as long as any operation.
    """
    seen, ticket = ours(t), t.ticket
    assert ticket is not None  # it is asked of what is in flight
    if seen is None:
        return t.now - ticket.sent_ms < t.plan.deadlines.operation_ms
    if not _over(t, seen):
        return True
    if t.handed.over_ms is None:
        t.put(handed=_replace(t.handed, over_ms=t.now))
    return t.handed.over_ms is None or t.now - t.handed.over_ms < t.plan.deadlines.settle_ms


def _over(t: Turn, seen: RollingUpgrade) -> bool:
    """Is this rollout at rest? One that was cancelled still ends what is in flight."""
    busy = (Provisioning.UPDATING, Provisioning.CREATING)
    return (
        not seen.open and not seen.in_progress and not any(one.provisioning in busy for one in t.set.instances.values())
    )


def behind(t: Turn) -> bool:
    """Is any instance of the plan not at the target yet?"""
    names = (name for batch in t.plan.batches for name in batch.take)
    instances = t.set.instances
    return any(
        at_target(instances[name], t.rollout.target(name, t.back)) is False for name in names if name in instances
    )


# -- before ----------------------------------------------------------------------------------------------------------------


def held(t: Turn, command: Command) -> bool:
    """Rule hand-over-waits. False: it may be sent, and what was before is remembered."""
    if not hands_over(t, command) or t.phase is Phase.FINISHING:
        return False
    why = ""
    seen = t.set.rolling_upgrade
    if seen is not None and seen.open:
        why = "another rollout of the platform is going on"
    else:
        effect = touched(command, t.set, t.plan.resolved.target if not t.back else Target())
        source = t.rollout.source
        serve = sum(service(t.set.instances[name], source) is Service.IN for name in effect.ids)
        taken = min(serve, effect.at_once)
        left = in_service(t.set, source) - taken
        if taken and left < t.floor():
            why = f"the policy's largest batch would leave {left} in service, the floor is {t.floor()}"
    if not why:
        before = None if seen is None else seen.started_ms
        t.put(handed=_replace(t.handed, before=before, below_ms=None, over_ms=None, tries=0, waits=False))
        return False
    stall = t.progress_ms + t.plan.deadlines.stall_ms
    if t.now >= stall:
        t.end("stop", f"it could not be handed over for {t.plan.deadlines.stall_ms // 1000} s: {why}")
        return True
    if not t.handed.waits:
        t.put(handed=_replace(t.handed, waits=True))
        t.note("hand-over-waits", why)
    t.watch, t.wake = True, stall
    return True


# -- meanwhile -------------------------------------------------------------------------------------------------------------


def watch(t: Turn, ticket: Ticket) -> None:
    """One look at a rollout that is going on."""
    if t.phase is Phase.PREPARING and not t.back:
        reason = _breach(t)
        if reason:
            t.end("stop", reason)
    t.watch = True
    times = [t.direction_ms + t.plan.deadlines.rollout_ms]
    if t.handed.below_ms is not None and t.plan.handed is not None:
        times.append(t.handed.below_ms + t.plan.handed.grace_ms + 1)
    if t.handed.over_ms is not None:
        times.append(t.handed.over_ms + t.plan.deadlines.settle_ms)
    elif ours(t) is None:
        times.append(ticket.sent_ms + t.plan.deadlines.operation_ms)
    if ticket.unknown_ms is not None:
        times.append(ticket.unknown_ms + t.plan.deadlines.settle_ms)
        times.append(t.now + t.plan.deadlines.settle_ms)
    if _to_be_cancelled(t, ticket):
        _cancel(t)
        cancel = t.handed.cancel
        times.append(t.handed.later_ms)
        if cancel is not None and cancel.unknown_ms is not None:
            times.append(cancel.unknown_ms + t.plan.deadlines.settle_ms)
    t.wake = min((when for when in times if when > t.now), default=None)


def _breach(t: Turn) -> str:
    """Why the rollout is to be stopped, or ''."""
    plan, handed = t.plan, t.plan.handed
    assert handed is not None  # the only rollouts that are watched
    serving, floor = in_service(t.set, t.rollout.source), t.floor()
    if serving >= floor:
        t.put(handed=_replace(t.handed, below_ms=None))
    elif t.handed.below_ms is None:
        t.put(handed=_replace(t.handed, below_ms=t.now))
    below = t.handed.below_ms
    if below is not None and t.now - below > handed.grace_ms:
        t.note(
            "platform-floor", f"{serving} in service, the floor is {floor}, for longer than {handed.grace_ms // 1000} s"
        )
        return f"{serving} instances are in service, the floor is {floor}, for longer than {handed.grace_ms // 1000} s"
    seen = ours(t)
    if seen is not None and seen.failed > plan.failures.max_failed.absolute:
        reason = f"{wording.instances(seen.failed)} failed in the platform's rollout, {plan.failures.max_failed} are tolerated"
        t.note("platform-failed", reason)
        return reason
    if t.now - t.direction_ms >= plan.deadlines.rollout_ms:
        t.note("platform-deadline", f"not done after {plan.deadlines.rollout_ms // 1000} s")
        return "the rollout's deadline passed"
    return ""


def _to_be_cancelled(t: Turn, ticket: Ticket) -> bool:
    """Is the rollout that is going on not wanted any more?"""
    seen = ours(t)
    if seen is not None and not seen.open:
        return False
    if t.phase is Phase.FINISHING:
        return t.ending in ("stop", "abort")
    return t.back and ticket.command.id != t.step_command


def _cancel(t: Turn) -> None:
    """Rule platform-cancel."""
    handed = t.handed
    if handed.cancel is not None or t.now < handed.later_ms or handed.tries > t.plan.failures.refusals:
        return
    command = Command(id=f"c{t.next_id}", kind=Kind.CANCEL_ROLLING, why="the platform's rollout is to take no more")
    t.put(next_id=t.next_id + 1, handed=_replace(handed, cancel=Ticket(command=command, sent_ms=t.now), asked=True))
    t.commands.append(command)
    t.note("platform-cancel", command.why)


def cancel_answered(t: Turn, outcome: Outcome) -> None:
    """How the cancelling ended. What it did is seen in the rollout itself."""
    handed = t.handed
    assert handed.cancel is not None  # the outcome is its own
    if outcome.status is Status.UNKNOWN:
        t.put(handed=_replace(handed, cancel=_replace(handed.cancel, unknown_ms=t.now)))
        t.note("unknown-outcome", "cancel-rolling-upgrade: sent, and nobody answered; looking after the settle time")
        return
    later = t.now + max(outcome.retry_after_ms or 0, t.plan.failures.backoff_ms * (handed.tries + 1))
    t.put(handed=_replace(handed, cancel=None, tries=handed.tries + 1, later_ms=later))
    if outcome.refused and outcome.code == NONE_TO_CANCEL:
        t.note("platform-nothing-to-cancel", "there is no rollout of the platform going on")
    elif outcome.refused or outcome.status is Status.FAILED:
        t.note("refused", f"cancel-rolling-upgrade: {outcome.code} {outcome.message}".rstrip())
    else:
        t.note("operation-ended", "cancel-rolling-upgrade ended")


def look_at_cancel(t: Turn) -> None:
    """A cancelling nobody answered: it is asked again, unless the rollout shows it."""
    cancel = t.handed.cancel
    if cancel is None:
        return
    seen = ours(t)
    over = t.ticket is None or (seen is not None and _over(t, seen))
    since = cancel.sent_ms if cancel.unknown_ms is None else cancel.unknown_ms
    settle, longest = t.plan.deadlines.settle_ms, t.plan.deadlines.operation_ms
    span = settle if over or cancel.unknown_ms is not None else longest
    if t.now - since >= span:
        t.put(handed=_replace(t.handed, cancel=None, tries=t.handed.tries + 1, later_ms=t.now))


def evidence(t: Turn, command: Command, *, shown: bool) -> str:
    """What a snapshot says of a request that started a rollout: done, running, or no-effect. shown: the model says it."""
    seen = ours(t)
    if seen is not None:
        return "done" if _over(t, seen) else "running"
    if t.set.model.provisioning is Provisioning.UPDATING:
        return "running"  # an update of the set is at work: it may be ours, before its first batch or without any
    if command.kind is Kind.START_OS_UPGRADE or not shown:
        return "no-effect"
    if not command.patch and command.kind is Kind.UPDATE_MODEL and behind(t):
        return "no-effect"
    return "done"  # nothing was stale, so nothing was started


# -- afterwards ------------------------------------------------------------------------------------------------------------


def ended(t: Turn, command: Command, failed: str, message: str) -> bool:
    """The request that started the rollout ended. True: the platform's rollout did not come to its end, and what follows from
    that is decided.
    """
    seen = ours(t)
    if t.phase is Phase.FINISHING or (t.back and command.id != t.step_command):
        t.note("operation-ended", f"{command.kind.value} ended" + (f": {failed}" if failed else ""))
        return True
    if failed == PREEMPTED or (not failed and seen is not None and seen.open):
        t.note("platform-superseded", message or "another rollout goes on")
        t.end("drift", "another update of the set took the platform's rollout over")
        return True
    if failed or (seen is not None and seen.code == "Faulted"):
        code, text = failed or (seen.error_code if seen else ""), message or (seen.error_message if seen else "")
        t.note("platform-stopped", f"{code} {text}".rstrip())
        t.end("stop", f"the platform's rollout stopped: {code} {text}".rstrip())
        return True
    if seen is not None and seen.code == "Cancelled":
        t.note("platform-cancelled", "somebody else cancelled the platform's rollout")
        t.end("stop", "somebody else cancelled the platform's rollout")
        return True
    return False


def moved(t: Turn) -> None:
    """The platform moved them: from here on they are watched like instances of our own operations."""
    for name in (name for batch in t.plan.batches for name in batch.take if name not in t.memory):
        t.remember(name, Memory(stage=len(t.rollout.stages), ended_ms=t.now))
