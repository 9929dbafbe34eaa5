"""What operators ask of a running rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from planner.buckets import Memory
from planner.machine import back, outcomes
from planner.phases import Phase
from planner.rollout import Asked, OperatorRequest
from planner.strategies.base import Batch

if TYPE_CHECKING:
    from planner.machine.turn import Turn

_replace = msgspec.structs.replace


def hear(t: Turn, request: OperatorRequest) -> None:
    """One request."""
    asked = request.asked
    who = f"asked by {request.by or 'an operator'}"
    t.note(f"operator-{asked.value}", f"{who}: {request.reason}" if request.reason else who, request.ids)
    if t.phase is Phase.ENDED:
        return
    if asked is Asked.PAUSE:
        t.put(pause_wanted=t.phase is not Phase.PAUSED or t.reason != t.BY_OPERATOR)
    elif asked is Asked.RESUME:
        t.put(pause_wanted=False)
        if t.phase is Phase.PAUSED and not t.question:
            t.resume()
    elif asked is Asked.APPROVE:
        t.put(approved=max(t.approved, t.batch))
        if t.phase is Phase.PAUSED and t.reason.startswith("approval"):
            t.resume()
    elif asked is Asked.ABORT:
        _no_answer(t)
        if t.phase is Phase.FINISHING:
            t.note("abort-refused", "the rollout is ending")
            return
        t.end("abort", request.reason or "aborted by an operator")
    elif asked in (Asked.ROLLBACK, Asked.EMERGENCY):
        t.put(emergency=asked is Asked.EMERGENCY)
        _no_answer(t)
        back.roll_back(t, whole=True, why=request.reason or "asked by an operator")
    elif asked in (Asked.SKIP, Asked.RETRY):
        _operator_instances(t, request)
    elif asked is Asked.REPLACE:
        refused = _not_replaced(t, request)
        if refused:
            t.note("replace-refused", refused, request.ids)
        else:
            _operator_instances(t, request)
    elif asked is Asked.RELEASE:
        _release(t)


def _not_replaced(t: Turn, request: OperatorRequest) -> str:
    """Why these cannot be replaced, or ''. What is replaced is deleted and one is added: only for what the rollout moves itself."""
    if t.plan.surge is not None or t.rollout.platform:
        return (
            "a surge replaces by itself; say retry" if t.plan.surge is not None else "the platform moves the instances"
        )
    if not request.ids:
        return "no instances are named"
    allowed = {*(t.plan.scale_set.instances if t.back else t.rollout.planned), *t.appended}
    gone = [name for name in request.ids if name not in t.set.instances or name not in allowed]
    return f"not an instance that this rollout moves: {', '.join(gone)}" if gone else ""


def _release(t: Turn) -> None:
    """Undo what was changed for the time of the rollout, without going on. The set is prepared again when it goes on."""
    if t.phase is not Phase.PAUSED or t.paused_from is Phase.FINISHING or t.ticket is not None:
        ending = Phase.FINISHING in (t.phase, t.paused_from)
        t.note("release-refused", "the rollout is ending" if ending else "pause it first; nothing may be in flight")
        return
    if t.rollout.platform:
        t.note("release-refused", "the platform moves the instances in this mode; abort ends it")
        return
    t.put(
        releasing=True,
        released=True,
        paused_from=Phase.PREPARING,
        step=0,
        step_ended_ms=None,
        step_command="",
        mode_set=False,
    )


def _no_answer(t: Turn) -> None:
    """Whoever ends the rollout or turns it back does not wait for an answer any more."""
    if t.question:
        t.clear_ticket()
        outcomes.answered(t)


def _queue_again(t: Turn, names: tuple[str, ...]) -> None:
    """Instances whose batch is behind us get one of their own, after the others."""
    batches = t.sequence if t.sequence is not None else (*t.plan.batches, *t.extra)
    behind = {name for batch in batches[: t.batch] for name in batch.take}
    behind |= {name for name, at in t.substitutes.joined.items() if 0 <= at < t.batch}
    ahead = {name for batch in batches[t.batch :] for name in batch.take} | set(t.queue)
    again = tuple(name for name in names if name in behind - ahead and name in t.set.instances)
    if not again:
        return
    if t.sequence is not None:
        t.put(sequence=(*t.sequence, Batch(take=again, why="back: tried again")))
    else:
        t.put(queue=(*t.queue, *again))


def _operator_instances(t: Turn, request: OperatorRequest) -> None:
    """skip: leave these alone. retry: forget that these failed. replace: delete these and add as many. Each answers an open
    question about them.
    """
    skip, replaced = request.asked is Asked.SKIP, request.asked is Asked.REPLACE
    ticket = t.ticket
    names = request.ids
    sent: tuple[str, ...] = ()
    if ticket is not None and t.question:
        sent = ticket.command.ids
        names = names or sent
        left = tuple(name for name in sent if name not in names)
        t.clear_ticket()
        if left:  # nobody has said anything about these
            t.put(ticket=_replace(ticket, command=_replace(ticket.command, ids=left)))
    elif Phase.FINISHING in (t.phase, t.paused_from):
        t.note(f"{request.asked.value}-refused", "the rollout is ending")
        return
    for name in names:
        memory = t.memory.get(name, Memory())
        if replaced:
            t.put(given_up=t.given_up - bool(memory.quarantined))
            t.remember(name, Memory(stage=memory.stage, failed="replaced-by-operator", done=memory.done, replace=True))
        elif skip:  # a person has decided about it: it is not among those that are tolerated any more
            t.put(given_up=t.given_up - bool(memory.quarantined))
            t.remember(name, _replace(memory, quarantined="", skipped=request.reason or "by an operator"))
        elif _replace(memory, skipped="") == Memory() and name not in sent:
            t.remember(name, None)  # it was not touched, and is not to look as if it was
        else:
            t.put(given_up=t.given_up - bool(memory.quarantined))
            t.remember(name, _replace(memory, failed="", quarantined="", skipped="", attempts=0, ended_ms=None))
    if not skip:
        _queue_again(t, names)
    t.classify()
    t.put(progress_ms=t.now)
    if t.phase is Phase.PAUSED and t.question and t.ticket is None:
        t.put(question="")
        t.resume()
