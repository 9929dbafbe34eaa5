"""Batches: admission, waiting, the ladder, gates (rules 2, 3, 4, 6 and 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from planner.buckets import RESULT_MISSING, UNTOUCHED, Bucket, Memory
from planner.change import Action, GuestPatch, at_target
from planner.commands import Kind
from planner.lint import wording
from planner.machine import back, substitutes, surge, windows
from planner.model import Service, id_key, placement_key
from planner.phases import Cause, move
from planner.plan import OnFailure, Rung
from planner.scripts import another_try
from planner.strategies.base import Batch

if TYPE_CHECKING:
    from planner.machine.turn import Turn

DECIDED = frozenset(
    {
        Bucket.VANISHED,
        Bucket.REPLACED,
        Bucket.PROTECTED,
        Bucket.SKIPPED,
        Bucket.QUARANTINED,
        Bucket.CURRENT,
        Bucket.REVERTED,
    }
)
KIND_OF: dict[Action, Kind] = {
    Action.UPGRADE: Kind.UPGRADE,
    Action.REIMAGE: Kind.REIMAGE,
    Action.RESTART: Kind.RESTART,
    Action.RUN_COMMAND: Kind.RUN_COMMAND,
}
TOUCHED = Memory()
"""What is remembered of an instance that was sent its first operation: not UNTOUCHED any more, and nothing else yet."""
_replace = msgspec.structs.replace
# Asked for every instance of a batch: on 3.11 reading a member of an enum costs ten times what reading a name does.
_OUT, _FAILED, _WAITING, _STALE = Service.OUT, Bucket.FAILED, Bucket.WAITING, Bucket.STALE


def current(t: Turn) -> Batch | None:
    """The current batch; None when there is none left."""
    index = t.batch
    if t.sequence is not None:
        return t.sequence[index] if index < len(t.sequence) else None
    planned = t.plan.batches
    if index < len(planned):
        return planned[index]
    index -= len(planned)
    if index < len(t.extra):
        return t.extra[index]
    queue = tuple(name for name in t.queue if t.bucket(name) not in DECIDED)
    if not queue:
        t.put(queue=())
        return None
    take = queue[: t.rollout.largest]
    add = 0 if t.plan.surge is None else len(take)
    made = Batch(take=take, why="appended: new or reverted since the plan", add=add)
    t.put(extra=(*t.extra, made), queue=queue[t.rollout.largest :])
    return made


def _absorb_new(t: Turn) -> bool:
    """Rule 6. True when the rollout stops for it."""
    if not t.strays or t.back or t.rollout.platform or t.plan.new_instances == "leave":
        return False
    found = []
    for name, seen in t.seen.items():
        stale = seen.bucket in (Bucket.FOREIGN, Bucket.REVERTED) or (
            seen.bucket is Bucket.REPLACED and at_target(t.set.instances[name], t.plan.resolved.target) is False
        )
        if stale:
            found.append(name)
    if not found:
        return False
    found.sort(key=lambda name: placement_key(t.set.instances[name]))
    if t.plan.new_instances == "stop":
        t.end("stop", f"stale instances that the plan did not see: {', '.join(found)}")
        return True
    appended = dict(t.appended)
    for name in found:
        appended[name] = t.set.instances[name].vm_id
        t.remember(name, None)
    t.put(appended=appended, queue=(*t.queue, *(name for name in found if name not in t.queue)))
    t.note("appended", f"{len(found)} stale instances that are new or reverted are appended", found)
    t.classify()
    return False


def advance(t: Turn) -> bool:
    """One move of the phase rolling or rolling-back; False when there is nothing more to decide now."""
    if t.owed:
        substitutes.ask(t)
        return True
    if t.substitutes.wanted and not t.back:
        return substitutes.wait(t)
    if t.given_up > _max_failed(t):
        return _too_many_failed(t)
    if t.surge.wanted == 0 and _absorb_new(t):  # what comes now is what we asked for
        return True
    if t.now < t.not_before_ms:
        t.wake = t.not_before_ms
        t.watch = True
        return False
    batch = current(t)
    if batch is None:
        return substitutes.wait(t) if t.substitutes.wanted else _batches_over(t)
    if batch.approve and t.approved < t.batch and not t.back:
        t.pause(f"approval needed for batch {t.batch + 1} ({batch.why})")
        return False
    if not t.back and not _begun(t, batch) and windows.shut(t):
        return False
    return t.work(batch)


def _begun(t: Turn, batch: Batch) -> bool:
    """Was something of it taken already, or is nothing of it left to be taken? Then it is carried on, whatever the window says."""
    return (
        t.gate_ms is not None
        or any(t.memory.get(name, UNTOUCHED) is not UNTOUCHED for name in batch.take)
        or all(t.bucket(name) in DECIDED for name in batch.take)
    )


def _max_failed(t: Turn) -> int:
    return t.plan.failures.max_failed.absolute


def _too_many_failed(t: Turn) -> bool:
    first = next(name for name, memory in t.memory.items() if memory.quarantined)
    reason = f"{wording.instances(t.given_up)} failed, {_max_failed(t)} are tolerated; first: {first} ({t.memory[first].quarantined})"
    return fail(t, "too-many-failed", reason)


def fail(t: Turn, rule: str, reason: str) -> bool:
    """Too many failures, or a gate that does not hold: what the plan says happens then."""
    then = t.plan.failures.then
    t.note(rule, reason)
    if t.back or t.rollout.platform or then is OnFailure.STOP:
        t.end("stop", reason)
    elif then is OnFailure.PAUSE:
        t.pause(reason)
    else:
        back.roll_back(t, whole=then is OnFailure.ROLLBACK_ALL, why=reason)
    return True


def work(t: Turn, batch: Batch, names: tuple[str, ...]) -> bool:
    """Admission, waiting, ladder, gates for these of the current batch."""
    waiting: list[str] = []
    todo: list[str] = []
    busy: list[str] = []
    wake: int | None = None
    seen_of = t.seen
    for name in names:
        seen = seen_of.get(name)
        bucket = Bucket.VANISHED if seen is None else seen.bucket
        if bucket in DECIDED:
            continue
        if bucket is _WAITING:
            late = health_deadline(t, name)
            if late is None:
                return True  # its deadline passed just now: classify and look again
            wake = late if wake is None else min(wake, late)
            waiting.append(name)
        elif bucket is _FAILED:
            if climb(t, name):
                todo.append(name)
            else:
                return True
        elif bucket is _STALE:
            todo.append(name)
        else:
            busy.append(name)
    if todo and _admit(t, batch, todo):
        return True
    if todo or busy:
        stall = t.progress_ms + t.plan.deadlines.stall_ms
        if t.now >= stall:
            told = ", ".join([*todo, *busy][:5])
            return fail(
                t,
                "stalled",
                f"nothing could be taken for {t.plan.deadlines.stall_ms // 1000} s: {'the floor holds' if todo else 'somebody else works on the instances'} ({told})",
            )
        t.watch = True
        t.wake = stall if wake is None else min(wake, stall)
        t.awaiting = tuple(waiting)
        return False
    if waiting:
        t.awaiting = tuple(waiting)
        t.wake = wake
        return False
    return gate(t, batch)


def health_deadline(t: Turn, name: str) -> int | None:
    """When a waiting instance is given up waiting for; None when that is now."""
    memory = t.memory.get(name, UNTOUCHED)
    since = memory.ended_ms if memory.ended_ms is not None else t.progress_ms
    invisible = t.seen[name].rule == "result-not-visible"
    span = t.plan.deadlines.settle_ms if invisible else t.plan.deadlines.healthy_ms
    if t.now < since + span:
        return int(since + span)
    why = RESULT_MISSING if invisible else "never-healthy"
    t.note(
        "deadline",
        f"instance {name}: {'the result is not visible' if invisible else 'not in service'} after {span // 1000} s",
        (name,),
    )
    t.remember(name, _replace(memory, failed=why, ended_ms=since))
    return None


def climb(t: Turn, name: str) -> bool:
    """The next rung for a failed instance. True: it may be taken again; False: something changed, look again."""
    memory = t.memory.get(name, UNTOUCHED)
    if memory.replace:
        return True
    ladder = t.plan.failures.ladder
    attempts = memory.attempts
    again = t.stage_kind(memory)
    if (
        again in (Kind.UPGRADE, Kind.RUN_COMMAND)
        and at_target(t.set.instances[name], t.rollout.target(name, t.back)) is True
    ):
        while attempts < len(ladder) and ladder[attempts] is Rung.UPGRADE:
            attempts += 1  # these do nothing on an instance that is at the target
    rung = ladder[attempts] if attempts < len(ladder) else Rung.QUARANTINE
    if rung is not Rung.QUARANTINE:
        if attempts != memory.attempts:
            t.remember(name, _replace(memory, attempts=attempts))
            t.classify()
        return True
    why = memory.failed or "provisioning-failed"
    t.remember(name, _replace(memory, quarantined=why))
    t.put(given_up=t.given_up + 1)
    t.note("quarantined", f"instance {name} is given up: {why}", (name,))
    return False


def _admit(t: Turn, batch: Batch, todo: list[str]) -> bool:
    """Rule 2. Send one command for the instances of the first one's kind that the floor lets go."""
    kind, exact = _kind_for(t, todo[0])
    floor = t.floor(in_place=True)
    budget = t.serving - floor
    taken: list[str] = []
    spent = 0
    untouched = (kind, exact) == _kind_untouched(t)
    tries = _tries(t, todo[0]) if kind is Kind.RUN_COMMAND else None
    seen_of, memory_of, back = t.seen, t.memory, t.back
    for name in todo:
        fits = untouched if name not in memory_of and not back else _kind_for(t, name) == (kind, exact)
        if not fits or (tries is not None and _tries(t, name) != tries):
            continue  # one script for all of them: it differs from the last one for no more than those whose own failed
        if seen_of[name].service is not _OUT:
            if spent >= budget:
                continue
            spent += 1
        taken.append(name)
    if not taken:
        return False
    for name in taken:
        memory = memory_of.get(name, UNTOUCHED)
        if memory is UNTOUCHED:
            t.remember(name, TOUCHED)
        elif t.bucket(name) is _FAILED:  # a rung: it counts as climbed when it has ended, not when it is refused
            t.remember(name, _replace(memory, failed=memory.failed or t.seen[name].rule))
    held = len(todo) - len(taken)
    why = f"{batch.why}: {len(taken)} of {len(todo)} ({t.serving} in service, floor {floor})" + (
        f", {held} wait" if held else ""
    )
    more: dict[str, Any] = {}
    if kind is Kind.REIMAGE:
        more["exact_version"] = exact
    if kind is Kind.RUN_COMMAND:
        change = t.plan.resolved.change
        assert isinstance(change, GuestPatch)  # only a guest patch has this action
        script = change.undo if t.back else change.script
        more["script"] = another_try(script or "", _tries(t, taken[0]))
        more["name"] = t.rollout.target(taken[0], t.back).run_command
    t.put(gate_ms=None, held_ms=None)
    if t.plan.surge is not None:
        surge.moved(t, taken)
    t.send(kind, why, rule="floor-holds" if held else "admitted", ids=tuple(taken), batch=t.batch, **more)
    return True


def _tries(t: Turn, name: str) -> int:
    return t.memory.get(name, UNTOUCHED).tries


def _kind_untouched(t: Turn) -> tuple[Kind, str | None]:
    """What an instance needs that was not touched yet: the same for all of them."""
    kind = t.stage_kind(UNTOUCHED)
    image = t.plan.resolved.target.image
    return kind, image.exact_version if kind is Kind.REIMAGE and image else None


def _kind_for(t: Turn, name: str) -> tuple[Kind, str | None]:
    """The command an instance needs next: its rung's where it failed, else its stage's."""
    memory = t.memory.get(name, UNTOUCHED)
    if memory.replace and t.bucket(name) is _FAILED:
        return Kind.DELETE, None
    rung = None
    if t.bucket(name) is _FAILED and memory.attempts < len(t.plan.failures.ladder):
        rung = t.plan.failures.ladder[memory.attempts]
        if rung is Rung.REPLACE:
            return Kind.DELETE, None
    if t.back:
        exact = t.rollout.back_exact(name)
        if exact is not None:
            return Kind.REIMAGE, exact
    kind = Kind.REIMAGE if rung is not None and rung is Rung.REIMAGE else t.stage_kind(memory)
    if kind is Kind.REIMAGE:
        image = t.rollout.target(name, t.back).image
        return kind, image.exact_version if image else None
    return kind, None


def gate(t: Turn, batch: Batch) -> bool:
    """Rule 3: the batch is decided; judge its gates, soak, pause, next."""
    gates = t.plan.gates
    bad = _gate_verdict(t)
    soak = 0 if t.back else (batch.soak_ms if batch.soak_ms is not None else gates.soak_ms)
    since = t.now if t.gate_ms is None else t.gate_ms
    t.put(gate_ms=since)
    if bad and gates.dry_run:
        t.note("gate-dry-run", bad, batch=t.batch)
    elif bad:
        if t.was.gate_ms is None or t.held_ms is not None:
            t.note("gate-waits", bad, batch=t.batch)
        t.put(held_ms=None)
        late = since + soak + t.plan.deadlines.gate_ms
        if t.now >= late:
            return fail(t, "gate-failed", bad)
        t.watch, t.wake = True, late
        return False
    held = t.now if t.held_ms is None else t.held_ms
    t.put(held_ms=held)
    if t.now < held + soak:
        t.watch, t.wake = True, held + soak
        return False
    t.note("batch-done", f"batch {t.batch + 1} ({batch.why}) is done, its gates hold", batch=t.batch)
    t.put(batch=t.batch + 1, gate_ms=None, held_ms=None, progress_ms=t.now)
    surge.next_batch(t)
    if gates.pause_ms and not t.back and _more(t):
        t.put(not_before_ms=t.now + gates.pause_ms)
    return True


def _more(t: Turn) -> bool:
    """Is there another batch? Asked without cutting an appended one yet: what reverts during the pause may still fill it."""
    return t.batch < len(t.plan.batches) + len(t.extra) or any(t.bucket(name) not in DECIDED for name in t.queue)


def _gate_verdict(t: Turn) -> str:
    """Why the gate does not hold, or ''."""
    gates = t.plan.gates
    if t.late > gates.upgraded_unhealthy.absolute:
        first = next(name for name in t.set.instances if t.seen[name].rule == "late-sick")
        return (
            f"{t.late} upgraded instances are out of service, {gates.upgraded_unhealthy} are tolerated; first: {first}"
        )
    if gates.drop is not None and t.serving < t.baseline - gates.drop.absolute:
        return f"{t.serving} instances are in service, {t.baseline} were before; a drop of {gates.drop} is tolerated"
    return ""


def _left_out(t: Turn, name: str) -> bool:
    """Is it an exception? Who was protected when the plan was made is none: the plan said so. Who was since, and stays old, is."""
    bucket = t.bucket(name)
    if bucket is Bucket.PROTECTED:
        vetted = name in t.rollout.planned or name in t.appended
        return vetted and at_target(t.set.instances[name], t.plan.resolved.target) is False
    return bucket in (Bucket.QUARANTINED, Bucket.SKIPPED)


def _batches_over(t: Turn) -> bool:
    if t.back:
        ending = "rollback"
        reason = t.reason
    else:
        left = sorted((name for name in t.set.instances if _left_out(t, name)), key=id_key)
        ending = "finish-with-exceptions" if left else "finish"
        reason = f"{wording.instances(len(left))} left out: {wording.names(left)}" if left else ""
    t.put(
        phase=move(t.phase, Cause.BATCHES_DONE),
        ending=ending,
        reason=reason,
        step=0,
        step_ended_ms=None,
        step_command="",
    )
    t.note("batches-done", f"all batches are done{': ' + reason if reason else ''}")
    return True
