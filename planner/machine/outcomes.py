"""How operations end: outcomes, refusals, and what a snapshot says where nobody answered (rules 4 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from planner.buckets import NOBODY_KNOWS, UNTOUCHED, Memory
from planner.change import at_target
from planner.commands import TABLE, Command, Kind, Outcome, Status
from planner.lint.wording import span
from planner.machine import handover, setlevel, substitutes, surge
from planner.model import Provisioning
from planner.phases import Phase
from planner.rollout import Ticket

if TYPE_CHECKING:
    from planner.machine.turn import Turn

_replace = msgspec.structs.replace


def take(t: Turn, outcome: Outcome) -> None:
    """An outcome arrived."""
    ticket, cancel = t.ticket, t.handed.cancel
    if cancel is not None and cancel.command.id == outcome.command:
        handover.cancel_answered(t, outcome)
        return
    if ticket is None or ticket.command.id != outcome.command:
        t.note("late-outcome", f"an outcome of {outcome.command} came after it was settled: {outcome.status.value}")
        return
    command = ticket.command
    if outcome.status is Status.UNKNOWN:
        if ticket.unknown_ms is None:
            t.put(ticket=_replace(ticket, unknown_ms=t.now))
            t.note(
                "unknown-outcome",
                f"{command.kind.value}: sent, and nobody answered ({outcome.code or 'no code'}); looking after the settle time",
                command.ids,
            )
        return
    if outcome.refused:
        _refused(t, command, outcome)
        return
    t.put(refusals=0)
    settle(t, ticket, "" if outcome.status is Status.SUCCEEDED else outcome.code or "failed", outcome.message)


def _refused(t: Turn, command: Command, outcome: Outcome) -> None:
    """409, 429, a request that got lost: it had no effect. What is wanted then is decided anew, later, so often and no more."""
    count = t.refusals + 1
    t.clear_ticket()
    answered(t)
    if surge.adds(command) and surge.refused(t, outcome):
        return
    if substitutes.asks(command):
        substitutes.settle(t, outcome.code or "refused")
    t.put(refusals=count)
    if count > t.plan.failures.refusals and t.releasing:
        t.put(refusals=0)
        setlevel.not_released(t, f"{command.kind.value} was refused {count} times in a row: {outcome.code}")
        return
    if count > t.plan.failures.refusals and t.phase is Phase.FINISHING:
        t.put(refusals=0)
        setlevel.skip_step(t, f"{command.kind.value} was refused {count} times in a row: {outcome.code}")
        return
    if count > t.plan.failures.refusals and t.back and substitutes.asks(command):
        t.put(refusals=0)
        substitutes.do_without(t, f"{command.kind.value} was refused {count} times in a row: {outcome.code}")
        return
    if count > t.plan.failures.refusals:
        t.put(refusals=0)
        t.end(
            "stop",
            f"{command.kind.value} was refused {count} times in a row: {outcome.code} {outcome.message}".rstrip(),
        )
        return
    later = t.now + max(outcome.retry_after_ms or 0, t.plan.failures.backoff_ms * count)
    t.put(not_before_ms=max(t.not_before_ms, later))
    t.note(
        "refused",
        f"{command.kind.value} was refused ({outcome.code}), attempt {count}; again in {span(t.not_before_ms - t.now)}",
        command.ids,
    )


def settle(t: Turn, ticket: Ticket, failed: str, message: str = "") -> None:
    """An operation ended: its instances have one more stage behind them, or failed. A rung counts as climbed now."""
    command = ticket.command
    t.clear_ticket()
    t.put(progress_ms=t.now)
    answered(t)
    if TABLE[command.kind].touches != "ids":
        _settle_set_level(t, command, failed, message)
        return
    if command.kind is Kind.DELETE:
        if any(name in t.surge.removed for name in command.ids):
            surge.settle_removal(t, command, failed)
        else:
            _settle_delete(t, command, failed)
        return
    alike: dict[tuple[int, bool], tuple[Memory, Memory]] = {}  # most have the same memory: it is made anew once
    memory_of = t.memory
    for name in () if overtaken(t) else command.ids:
        memory = memory_of.get(name, UNTOUCHED)
        lost = bool(failed) and not _took_effect(t, ticket, name)
        known = alike.get((id(memory), lost))
        if known is not None:
            t.remember(name, known[0])
            continue
        climbed = bool(memory.failed)
        repair = command.kind is Kind.REIMAGE and t.stage_kind(memory) is not Kind.REIMAGE
        if lost:
            made = _replace(memory, failed=failed, ended_ms=t.now, tries=memory.tries + (failed != NOBODY_KNOWS))
        elif repair:
            made = _replace(memory, failed="", ended_ms=None)
        else:
            made = _replace(memory, stage=memory.stage + 1, failed="", ended_ms=t.now, done=False)
        made = _replace(made, attempts=memory.attempts + climbed)
        alike[id(memory), lost] = (made, memory)
        t.remember(name, made)
    text = f"failed: {failed} {message}".rstrip() if failed else "ended"
    t.note(
        "operation-failed" if failed else "operation-ended",
        f"{command.kind.value} of {len(command.ids)} {text}",
        command.ids,
        command.batch,
    )


def answered(t: Turn) -> None:
    """If there was a question, its answer came by itself."""
    if t.question:
        t.put(question="")
        if t.phase is Phase.PAUSED:
            t.resume()


def _settle_set_level(t: Turn, command: Command, failed: str, message: str) -> None:
    if surge.adds(command):
        surge.settle_addition(t, command, failed, message)
        return
    if substitutes.asks(command):
        t.put(owed=0)
        substitutes.settle(t, failed)
    own = command.id == t.step_command
    if own and t.releasing:
        if failed:
            setlevel.not_released(t, f"{command.kind.value} failed: {failed} {message}".rstrip())
        else:
            t.put(step=t.step + 1, step_command="")
            t.note("operation-ended", f"{command.kind.value} ended")
        return
    handed = handover.hands_over(t, command)
    if handed and handover.ended(t, command, failed, message):
        return
    if failed:
        reason = f"{command.kind.value} failed: {failed} {message}".rstrip()
        t.note("set-operation-failed", reason)
        if t.back and t.phase is not Phase.FINISHING and substitutes.asks(command):
            substitutes.do_without(t, reason)
            return
        if t.phase is not Phase.FINISHING:
            t.end("stop", reason)
        elif own:
            setlevel.skip_step(t, reason)  # what else can be undone is undone all the same
        return
    if own:
        t.put(step_ended_ms=t.now)
    moves = Kind.UPDATE_MODEL if t.plan.resolved.patch else Kind.SET_MODE
    first = t.phase is Phase.PREPARING and not t.back
    if t.plan.handed is None and t.rollout.platform and command.kind is moves and first:
        # The platform moved them: from here on they are watched like instances of our own operations.
        for name in t.plan.batches[0].take if t.plan.batches else ():
            t.remember(name, Memory(stage=len(t.rollout.stages), ended_ms=t.now))
    t.note("operation-ended", f"{command.kind.value} ended")


def overtaken(t: Turn) -> bool:
    """Is what is in flight an operation on instances from before the rollout turned back? They are looked at anew."""
    return t.back and Phase.PREPARING in (t.phase, t.paused_from)


def _took_effect(t: Turn, ticket: Ticket, name: str) -> bool:
    """Does the snapshot show an instance where the operation should have brought it, though it is said to have failed?"""
    instance = t.set.instances.get(name)
    if instance is None or at_target(instance, t.rollout.target(name, t.back)) is not True:
        return False
    before = ticket.disks.get(name)
    return ticket.command.kind is not Kind.REIMAGE or before is None or before != instance.os_disk


def _settle_delete(t: Turn, command: Command, failed: str) -> None:
    for name in () if overtaken(t) else command.ids:
        memory = t.memory.get(name, UNTOUCHED)
        t.remember(name, _replace(memory, failed=failed or memory.failed, attempts=memory.attempts + 1, replace=False))
    if not failed:
        t.put(owed=t.owed + len(command.ids))
    t.note("operation-ended", f"delete of {len(command.ids)} {'failed: ' + failed if failed else 'ended'}", command.ids)


def look_at_unknown(t: Turn) -> None:
    """Rule 5, and an operation that does not end in time counts as unknown."""
    ticket = t.ticket
    if ticket is None:
        return
    handed = handover.hands_over(t, ticket.command)
    if ticket.unknown_ms is None:
        if handover.still_open(t) if handed else t.now - ticket.sent_ms < t.plan.deadlines.operation_ms:
            return
        t.note(
            "operation-deadline",
            f"{ticket.command.kind.value} did not end in time; its outcome is unknown",
            ticket.command.ids,
        )
        ticket = _replace(ticket, unknown_ms=t.now)
        t.put(ticket=ticket)
    since = ticket.unknown_ms if ticket.unknown_ms is not None else t.now
    if t.now - since < t.plan.deadlines.settle_ms:
        return
    command = ticket.command
    verdict = evidence(t, ticket)
    if verdict == "done":
        t.note("adopted", f"{command.kind.value}: the snapshot shows that it took effect", command.ids)
        settle(t, ticket, "")
    elif verdict == "partly":
        t.note("adopted-partly", f"{command.kind.value}: the snapshot shows that it took effect on some", command.ids)
        settle(t, ticket, NOBODY_KNOWS)
    elif verdict == "no-effect":
        t.note("no-effect", f"{command.kind.value}: the snapshot shows no effect", command.ids)
        _refused(t, command, Outcome(command=command.id, status=Status.FAILED, code="NoEffect", refused=True))
    elif verdict == "running":
        if not handed and t.now - ticket.sent_ms > 2 * t.plan.deadlines.operation_ms:
            t.ask("still-running", f"{command.kind.value} still runs after twice its deadline")
    else:
        t.ask("no-evidence", f"whether {command.kind.value} took effect cannot be seen; say retry, skip or abort")


def evidence(t: Turn, ticket: Ticket) -> str:
    """What a snapshot says of a command: done, partly, no-effect, running, or none."""
    command = ticket.command
    kind = TABLE[command.kind].evidence
    if kind == "none":
        return "none"
    if TABLE[command.kind].touches != "ids":
        if handover.hands_over(t, command):
            return handover.evidence(t, command, shown=setlevel.done(t, command))
        moving = (Provisioning.UPDATING, Provisioning.CREATING)
        if t.set.model.provisioning in moving:
            return "running"  # an update of the set is at work: it may be ours
        if t.rollout.platform and any(one.provisioning in moving for one in t.set.instances.values()):
            return "running"  # the model shows it at once, the platform is at it as long as instances are moved
        if surge.adds(command) and surge.coming(t):
            return "running"
        return "done" if setlevel.done(t, command) else "no-effect"
    shown: list[bool] = []
    for name in command.ids:
        instance = t.set.instances.get(name)
        if instance is None or instance.provisioning is Provisioning.DELETING:
            shown.append(True)
            continue
        if instance.provisioning in (Provisioning.UPDATING, Provisioning.CREATING):
            return "running"
        if kind == "os-disk":
            before = ticket.disks.get(name)
            if before is None or instance.os_disk is None:
                return "none"
            shown.append(before != instance.os_disk)
        elif kind == "gone":
            shown.append(False)
        else:
            # That it failed shows something only where it had not failed before, or not from this disk.
            new = name not in ticket.disks or ticket.disks[name] != instance.os_disk
            shown.append(
                (instance.provisioning is Provisioning.FAILED and new)
                or at_target(instance, t.rollout.target(name, t.back and not overtaken(t))) is True
            )
    if all(shown):
        failed = [
            name
            for name in command.ids
            if (one := t.set.instances.get(name)) is not None and one.provisioning is Provisioning.FAILED
        ]
        return "partly" if failed else "done"
    return "partly" if any(shown) else "no-effect"
