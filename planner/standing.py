"""Where a rollout stands, from its plan and its records alone: what `status` and `history` tell.

Rules this module decides:

1. The evidence is the last snapshot that was written down, at its time; nothing is asked of the platform.
2. Every instance is counted once, in the first of these that fits: in flight, skipped (by an operator), failed (given up, its
   operation failed, or out of service after it was moved), on target, old. Instances out of the plan's reach are told by their rule.
   *On target* is the plan's, whichever way it goes: on the way back, who is as before is old, and all others are on target.
   Where the model gives the target no more (it went back), what an instance runs counts, not whether the model is applied to it.
3. Fewest in service is as seen: between two looks nobody looked.
4. A model update that succeeded, and that no look has shown since, may still have taken effect: Azure does not show everything.
5. On the way back of a script in the VMs its undo is the evidence, and who never had it is as before. No model gives it to a new VM.
6. A command in flight that changes something for the rollout's time may have taken effect: told as what may be changed, until a look shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from planner.amount import follow
from planner.buckets import Bucket, Seen
from planner.change import at_target
from planner.commands import Command, Kind, Status
from planner.lint import wording
from planner.model import HealthSource, Instance, Model, ScaleSet, Service, UpgradeMode, runs, service
from planner.moved import NOTES
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Note, Observation, OperatorRequest, Rollout, State, is_there, should_have, surplus
from planner.trace import Executor, LetGo, Record, Turn, Unread
from planner.waiting import waits_for


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that failed: why, the platform's error, and when that was seen."""

    id: str
    zone: str | None
    why: str
    code: str = ""
    message: str = ""
    at_ms: int = 0


class Change(str, Enum):
    """What a rollout changes for its own time."""

    REPAIRS = "repairs"
    MODE = "mode"
    ADDED = "added"
    MODEL = "model"


class Temporary(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was changed and is not as it was. ids: instances that were added, or that the platform would move in the mode from
    before. The model is one once a rollout has ended before its end: what would be booted from then on is what was given up.
    """

    change: Change
    text: str
    ids: tuple[str, ...] = ()


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asked, and when that was heard."""

    at_ms: int
    request: OperatorRequest


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands. at_ms: the time of the evidence."""

    at_ms: int
    began_ms: int
    state: State
    scale_set: ScaleSet
    doing: str
    total: int
    in_service: int
    floor: int
    fewest: int
    fewest_ms: int
    on_target: tuple[str, ...]
    old: tuple[str, ...]
    in_flight: tuple[str, ...]
    failed: tuple[Trouble, ...]
    skipped: tuple[str, ...]
    left_alone: dict[str, int]
    batch: int
    batches: int
    batch_why: str
    model_gives: str
    temporary: tuple[Temporary, ...]
    back_to: str
    waits: str
    known_healthy: bool
    notes: tuple[Note, ...]
    others: tuple[Note, ...]
    asked: tuple[Heard, ...] = ()
    unheard: tuple[OperatorRequest, ...] = ()
    unshown: tuple[str, ...] = ()

    @property
    def to_go(self) -> tuple[str, ...]:
        """Who is not where the rollout goes: on its way back, what is on target."""
        return self.on_target if self.state.back else self.old


class Look(NamedTuple):
    """One turn with what stood in the set then."""

    turn: Turn
    in_service: int
    model: Model
    instances: dict[str, Instance]


def looks(records: Iterable[Record], source: HealthSource) -> Iterator[Look]:
    """The turns, each with the set as it was then: `instances` is one mapping that goes on changing."""
    model: Model | None = None
    instances: dict[str, Instance] = {}
    serving = 0
    for record in records:
        if not isinstance(record, Turn):
            continue
        if record.key:
            instances, serving = {}, 0
        for name in (*record.gone, *record.instances):
            old = instances.pop(name, None)
            serving -= old is not None and service(old, source) is Service.IN
        for name, one in record.instances.items():
            instances[name] = one
            serving += service(one, source) is Service.IN
        model = record.model or model
        if model is not None:
            yield Look(record, serving, model, instances)


class Beside:
    """The records, on their way; when they are past, what stood beside the turns. unread: what keeps the set from being looked at, if anything does.
    executor: the last one; let_go: that it ended by itself, where it did.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.unread: Unread | None = None
        self.executor: Executor | None = None
        self.let_go: LetGo | None = None

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            if isinstance(record, Unread):
                self.unread = record if record.why else None
            elif isinstance(record, Turn):
                self.unread = None
            elif isinstance(record, Executor):
                self.executor, self.let_go = record, None
            elif isinstance(record, LetGo):
                self.let_go = record
            yield record


def standing(plan: Plan, records: Iterable[Record], *, unheard: tuple[OperatorRequest, ...] = ()) -> Standing | None:
    """Where it stands; None before its first turn. unheard: requests that nobody has heard yet."""
    source = plan.scale_set.health_source
    last: Look | None = None
    began = fewest = fewest_ms = 0
    errors: dict[str, tuple[str, str, int]] = {}
    commands: dict[str, Command] = {}
    unshown: dict[str, Any] = {}
    notes: list[Note] = []
    others: list[Note] = []
    asked: list[Heard] = []
    for look in looks(records, source):
        turn = look.turn
        if last is None:
            began = turn.now_ms
        if last is None or look.in_service < fewest:
            fewest, fewest_ms = look.in_service, turn.now_ms
        commands |= {one.id: one for one in turn.commands}
        for outcome in turn.outcomes:
            sent = commands.get(outcome.command)
            if sent is None:
                continue
            if outcome.status is Status.FAILED and not outcome.refused:
                for name in sent.ids:
                    errors[name] = (outcome.code, outcome.message, turn.now_ms)
            if outcome.status is Status.SUCCEEDED and sent.kind is Kind.UPDATE_MODEL:
                unshown = sent.patch
        if unshown and _shows(plan, look.model, unshown):
            unshown = {}
        notes += turn.notes
        others += [one for one in turn.notes if turn.number > 1 and one.rule in NOTES]
        asked += [Heard(at_ms=turn.now_ms, request=one) for one in turn.requests]
        last = look
    if last is None:
        return None
    turn, state = last.turn, last.turn.state
    scale_set = ScaleSet(model=last.model, instances=last.instances, rolling_upgrade=turn.rolling_upgrade)
    rollout = Rollout(plan)
    seen = _classified(rollout, state, scale_set, turn.now_ms)
    counted = _count(rollout, state, scale_set, seen)
    failed = tuple(_trouble(scale_set, state, name, why, errors, turn.now_ms) for name, why in counted.failed)
    sequence = state.sequence if state.sequence is not None else (*plan.batches, *state.extra)
    batch = min(state.batch, len(sequence))
    return Standing(
        at_ms=turn.now_ms,
        began_ms=began,
        state=state,
        scale_set=scale_set,
        doing=_doing(state, [one for one in notes if one.rule not in NOTES]),
        total=len(last.instances),
        in_service=last.in_service,
        floor=floor_now(plan, state, scale_set),
        fewest=fewest,
        fewest_ms=fewest_ms,
        on_target=counted.behind if state.back else counted.there,
        old=counted.there if state.back else counted.behind,
        in_flight=counted.in_flight,
        failed=failed,
        skipped=counted.skipped,
        left_alone=counted.left_alone,
        batch=min(batch + 1, len(sequence)),
        batches=len(sequence),
        batch_why=sequence[batch].why if batch < len(sequence) else "",
        model_gives=_model_gives(plan, last.model),
        temporary=tuple(temporary(plan, state, scale_set)),
        waits=waits_for(plan, state, scale_set, turn.now_ms),
        back_to=_back_to(plan, state),
        known_healthy=source is not HealthSource.NONE,
        notes=tuple(notes[-8:]),
        others=tuple(others[-8:]),
        asked=tuple(asked[-8:]),
        unheard=unheard,
        unshown=(
            *(f"the model may hold another {path}: its update succeeded, and nothing shows it" for path in unshown),
            *_on_its_way(plan, state, last.model),
        ),
    )


def _on_its_way(plan: Plan, state: State, model: Model) -> Iterator[str]:
    """Rule 6."""
    sent = state.ticket.command if state.ticket is not None else None
    if sent is None:
        return
    if sent.kind is Kind.SET_MODE and sent.mode is not None and model.mode is not sent.mode is not plan.scale_set.mode:
        yield f"the mode may be {sent.mode.value} instead of {model.mode.value}: that was sent, and is not over"
    if sent.kind is Kind.SUSPEND_REPAIRS and model.repairs is not None and not model.repairs.suspended:
        yield "automatic repairs may be suspended: that was sent, and is not over"
    if sent.kind is Kind.SET_CAPACITY and sent.capacity is not None and sent.capacity > model.capacity:
        yield f"the capacity may be {sent.capacity} instead of {model.capacity}: that was sent, and is not over"


def _shows(plan: Plan, model: Model, patch: dict[str, Any]) -> bool:
    """Does the model show what an update of it wrote?"""
    resolved = plan.resolved
    image = resolved.model_image if patch == resolved.patch else resolved.back_image
    same = image is None or model.image == image or runs(model.image, image) is True
    return same and all(model.settings.get(path) == value for path, value in patch.items() if path in model.settings)


def _classified(rollout: Rollout, state: State, scale_set: ScaleSet, now_ms: int) -> dict[str, Seen]:
    """The buckets, as the machine derives them; what else a step would decide is thrown away."""
    moving = msgspec.structs.replace(state, phase=Phase.ROLLING_BACK if state.back else Phase.ROLLING)
    view = rollout.step(
        moving if state.phase is Phase.PREPARING else state, Observation(now_ms=now_ms, scale_set=scale_set)
    ).view
    return view.seen


class _Counted(NamedTuple):
    """there, behind: who is where the rollout goes, and who is not."""

    there: tuple[str, ...]
    behind: tuple[str, ...]
    in_flight: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]
    left_alone: dict[str, int]


def _count(rollout: Rollout, state: State, scale_set: ScaleSet, seen: dict[str, Seen]) -> _Counted:
    """Rule 2."""
    flying = state.ticket.command.ids if state.ticket is not None else ()
    gives = _gives(rollout.plan, scale_set.model)
    there: list[str] = []
    behind: list[str] = []
    failed: list[tuple[str, str]] = []
    skipped: list[str] = []
    alone: dict[str, int] = {}
    for name, one in scale_set.instances.items():
        memory, found = state.memory.get(name), seen.get(name)
        if name in flying:
            continue
        if memory is not None and memory.skipped:
            skipped.append(name)
        elif memory is not None and (memory.quarantined or memory.failed):
            failed.append((name, memory.quarantined or memory.failed))
        elif found is not None and found.rule in ("late-sick", "provisioning-failed"):
            failed.append((name, "out of service again" if found.rule == "late-sick" else "its provisioning failed"))
        elif _there(rollout, name, one, state, found, gives=gives):
            there.append(name)
        else:
            behind.append(name)
            if found is not None and found.bucket in (Bucket.PROTECTED, Bucket.FOREIGN, Bucket.REPLACED, Bucket.BUSY):
                alone[found.rule] = alone.get(found.rule, 0) + 1
    return _Counted(tuple(there), tuple(behind), tuple(flying), tuple(failed), tuple(skipped), alone)


def _gives(plan: Plan, model: Model) -> bool:
    """Does the model give what the plan wants? Only then says `latest_model` anything about it."""
    image = plan.resolved.target.image
    same = image is None or model.image is None or model.image == image or runs(model.image, image) is not False
    return same and all(model.settings.get(path, value) == value for path, value in plan.resolved.patch.items())


def _there(rollout: Rollout, name: str, one: Instance, state: State, found: Seen | None, *, gives: bool) -> bool:
    target = rollout.target(name, state.back)
    patch = rollout.target(name, False).run_command
    if patch is not None and state.back:  # rule 5
        taken = {each for batch in state.sequence or () for each in batch.take}
        return at_target(one, target) is True or (patch not in one.run_commands and name not in taken)
    if target.latest_model and not gives and not state.back:
        memory = state.memory.get(name)
        return runs(one.image, target.image) is True if target.image else memory is not None and memory.done
    return at_target(one, target) is True or (found is not None and found.bucket is Bucket.CURRENT)


def _trouble(
    scale_set: ScaleSet,
    state: State,
    name: str,
    why: str,
    errors: dict[str, tuple[str, str, int]],
    now_ms: int,
) -> Trouble:
    one = scale_set.instances[name]
    code, message, at_ms = errors.get(name, (one.provisioning_error or "", "", now_ms))
    memory = state.memory.get(name)
    if memory is not None and memory.ended_ms is not None and name not in errors:
        at_ms = memory.ended_ms
    return Trouble(id=name, zone=one.zone, why=_WHY.get(why, why), code=code, message=message, at_ms=at_ms)


_WHY = {
    "never-healthy": "did not come to serve in time",
    "result-missing": "its operation ended and changed nothing",
    "replaced-by-operator": "is to be replaced",
}


def _doing(state: State, notes: list[Note]) -> str:
    """What it is at, in a sentence: the reason where it rests or has ended, else the last decision."""
    if state.phase in (Phase.PAUSED, Phase.ENDED) and state.reason:
        return state.reason
    if state.ticket is not None:
        ticket = state.ticket
        lost = "; its outcome is not known" if ticket.unknown_ms is not None else ""
        return f"{ticket.command.kind.value} in flight: {ticket.command.why}{lost}"
    return notes[-1].text if notes else "nothing was decided yet"


def floor_now(plan: Plan, state: State, scale_set: ScaleSet) -> int:
    """The floor as it is in this state, at the number of instances that the set should have."""
    total = should_have(plan, state.surge, state.appended, scale_set)
    if state.back:
        return follow(plan.emergency_floor if state.emergency else plan.rollback_floor, total)
    return max(plan.floor_min, follow(plan.floor, total))


def _model_gives(plan: Plan, model: Model) -> str:
    """What a new instance would boot."""
    image, wanted, was = model.image, plan.resolved.model_image, plan.resolved.back_image
    if image is None:
        return "not known"
    if plan.resolved.target.run_command is not None:
        return f"{image}, without the script: only VMs that are there get it"
    for one, words in ((wanted, "the target"), (was, "what was there before")):
        if one is not None and (image == one or runs(image, one) is True):
            return f"{image}, {words}"
    return str(image)


def _still_gives(plan: Plan, state: State, model: Model) -> bool:
    """Was the change given up, and does the model give it still?"""
    resolved = plan.resolved
    given_up = state.phase is Phase.ENDED and plan.ends[state.ending].model != "target"
    if not given_up or not resolved.reverse or resolved.reverse == resolved.patch or not _gives(plan, model):
        return False
    return model.image is not None or resolved.target.image is None


def _named(plan: Plan) -> str:
    image = plan.resolved.model_image
    if image is not None and plan.resolved.target.image is not None:
        return str(image)
    return ", ".join(f"{path}={value}" for path, value in plan.resolved.patch.items())


def _back_to(plan: Plan, state: State) -> str:
    """The image (version, id, or all four words of it) that a new plan would take the moved ones back to, once this rollout has ended; empty where none is known."""
    was = plan.resolved.back_image
    gave = plan.resolved.model_image
    if state.phase is not Phase.ENDED or was is None or plan.resolved.target.image is None:
        return ""
    version = was.exact_version or was.version or ""
    other = gave is not None and (was.publisher, was.offer, was.sku) != (gave.publisher, gave.offer, gave.sku)
    if was.publisher and other and version:
        return f"{was.publisher}:{was.offer}:{was.sku}:{version}"
    return was.id or was.uri or version


def temporary(plan: Plan, state: State, scale_set: ScaleSet) -> Iterator[Temporary]:
    """What was changed for the time of the rollout and is not as it was yet."""
    model, instances, old = scale_set.model, scale_set.instances, plan.scale_set.mode
    if _still_gives(plan, state, model):
        yield Temporary(change=Change.MODEL, text=f"the model still names {_named(plan)}, the target")
    if plan.suspend_repairs and model.repairs is not None and model.repairs.suspended:
        yield Temporary(change=Change.REPAIRS, text="automatic repairs are suspended")
    if model.mode is not old:
        moves = () if old is UpgradeMode.MANUAL else tuple(n for n, one in instances.items() if not one.latest_model)
        yield Temporary(change=Change.MODE, text=f"mode {model.mode.value} instead of {old.value}", ids=moves)
    extra = surplus(state.surge, scale_set) if state.surge.fresh else 0
    if extra:
        ours = [name for name, vm_id in state.surge.fresh.items() if is_there(instances, name, vm_id)]
        text = f"{wording.instances(extra)} more than the set should have"
        yield Temporary(change=Change.ADDED, text=text, ids=tuple(ours[-extra:]))
