"""One step of the rollout machine, worked out. The rules stand in `rollout.py`; the phases in `phases.py`.

`Turn` is the working copy of one call: it lives inside `step` and nothing of it is shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from planner.amount import follow
from planner.buckets import UNTOUCHED, Bucket, Case, Memory, Seen, classify
from planner.change import at_target
from planner.commands import Command, Kind
from planner.drift import Absorb, instance_differences, model_differences
from planner.errors import PlannerBug
from planner.machine import batches, exchange, handover, outcomes, requests, setlevel, substitutes, surge, windows
from planner.model import Instance, Provisioning, ScaleSet, Service, in_service, service
from planner.phases import RESUME, Cause, Phase, move
from planner.plan import Pinned
from planner.rollout import (
    Handed,
    Note,
    Observation,
    Rollout,
    State,
    Step,
    Substitutes,
    Surge,
    Ticket,
    View,
    should_have,
    surplus,
)
from planner.strategies.base import Batch

STRAYS = frozenset({Bucket.FOREIGN, Bucket.REVERTED, Bucket.REPLACED})
_replace = msgspec.structs.replace
_CURRENT, _IN = Bucket.CURRENT, Service.IN


class Turn:
    """The working copy of one step. The State's fields are attributes, as this turn has set them (`put`)."""

    BY_OPERATOR = "paused by an operator"

    phase: Phase
    paused_from: Phase | None
    ending: str
    reason: str
    question: str
    back: bool
    emergency: bool
    step: int
    step_ended_ms: int | None
    step_command: str
    mode_set: bool
    batch: int
    sequence: tuple[Batch, ...] | None
    extra: tuple[Batch, ...]
    queue: tuple[str, ...]
    appended: dict[str, str]
    ticket: Ticket | None
    memory: dict[str, Memory]
    started_ms: int | None
    direction_ms: int
    given_up: int
    progress_ms: int
    not_before_ms: int
    gate_ms: int | None
    held_ms: int | None
    next_id: int
    refusals: int
    request: int
    approved: int
    baseline: int
    owed: int
    pause_wanted: bool
    surge: Surge
    handed: Handed
    substitutes: Substitutes
    releasing: bool
    released: bool
    rested_ms: int | None

    def __init__(self, rollout: Rollout, state: State, observation: Observation, view: View | None) -> None:
        self.rollout = rollout
        self.plan = rollout.plan
        self.now = observation.now_ms
        self.observation = observation
        self.set: ScaleSet = observation.scale_set
        self.was = state
        self.fields: dict[str, Any] = {}
        for name in State.__struct_fields__:
            self.__dict__[name] = getattr(state, name)
        self.memory = dict(state.memory)
        self._kinds: dict[tuple[object, ...], tuple[Seen, bool, object, object]] = {}
        self._arrivals: dict[int, tuple[Memory, Memory]] = {}
        self.remembered = False
        self.notes: list[Note] = []
        self.commands: list[Command] = []
        self.wake: int | None = None
        self.awaiting: tuple[str, ...] = ()
        self.watch = False
        self.dirty: dict[str, None] | None = None  # in order: nothing may depend on how a set is iterated
        if view is None or observation.changed is None or not view.whole:
            self.seen: dict[str, Seen] = {}
            self.serving = self.strays = self.late = 0
            self.model_known = None if view is None or observation.changed is None else view.model
        else:
            self.seen = dict(view.seen)
            self.serving, self.strays, self.late = view.serving, view.strays, view.late
            self.model_known = view.model
            self.dirty = dict.fromkeys(observation.changed)

    def put(self, **fields: Any) -> None:
        """Set fields of the next state."""
        self.fields.update(fields)
        self.__dict__.update(fields)

    def note(self, rule: str, text: str, ids: Iterable[str] = (), batch: int | None = None) -> None:
        """Say what was decided and by which rule."""
        self.notes.append(Note(rule=rule, text=text, ids=tuple(ids), batch=batch))

    def run(self) -> Step:
        """All of a step, in order: outcomes, classification, drift, requests, then the phase until nothing moves."""
        if self.started_ms is None:
            self._begin()
        for outcome in self.observation.outcomes:
            outcomes.take(self, outcome)
        outcomes.look_at_unknown(self)
        if self.handed.cancel is not None:
            handover.look_at_cancel(self)
        if self.surge.wanted:
            surge.claim(self)
        if self.substitutes.wanted:
            substitutes.claim(self)
        if self.dirty is not None or self.phase is not Phase.PREPARING:
            self.classify()  # while the set is being prepared nothing asks for buckets
        if self.phase is not Phase.ENDED:
            self._drift()
        for request in self.observation.requests:
            if request.id > self.request:
                self.put(request=request.id)
                requests.hear(self, request)
        for _ in range(1_000_000):
            if not self._advance():
                break
        else:
            raise PlannerBug("a step did not come to rest")
        return self._answer()

    def _begin(self) -> None:
        self.put(started_ms=self.now, progress_ms=self.now, direction_ms=self.now)

    def _answer(self) -> Step:
        if self.remembered:
            self.fields["memory"] = self.memory
        deadline = self.direction_ms + self.plan.deadlines.rollout_ms
        wake = self.wake
        if self.phase not in (Phase.ENDED, Phase.PAUSED, Phase.FINISHING) and deadline > self.now:
            wake = deadline if wake is None else min(wake, deadline)
        return Step(
            state=_replace(self.was, **self.fields) if self.fields else self.was,
            commands=tuple(self.commands),
            wake_at_ms=wake,
            notes=tuple(self.notes),
            view=View(
                seen=self.seen,
                serving=self.serving,
                strays=self.strays,
                late=self.late,
                model=self.set.model,
                whole=self.dirty is not None,
            ),
            awaiting=self.awaiting,
            watch=self.watch,
        )

    def classify(self) -> None:
        """Derive the buckets again: of everything, or of what changed or was touched."""
        instances = self.set.instances
        if self.dirty is None:
            names: Iterable[str] = instances
            self.seen = {}
            self.serving = self.strays = self.late = 0
        else:
            names = self.dirty
        ticket = self.ticket
        flying = frozenset(ticket.command.ids) if ticket is not None else frozenset()
        seen_of, memory_of, pins = self.seen, self.memory, self.plan.scale_set.instances
        skipped = {} if self.back else self.plan.skipped
        target_of, kinds, back, arrived = self.rollout.target, self._kinds, self.back, self._arrived
        forward = None if back else target_of("", back)  # one for all; the way back is each one's own
        appended = self.added() if self.surge.fresh else self.appended
        uniform = forward is not None and forward.run_command is None and not appended
        came: list[Seen] = []
        went: list[Seen] = []
        for name in names:
            old, one = seen_of.get(name), instances.get(name)
            if one is None:
                if old is not None:
                    went.append(seen_of.pop(name))
                continue
            memory, pinned, target = memory_of.get(name, UNTOUCHED), pins.get(name), forward or target_of(name, back)
            # Most instances of a set are alike, so the rules are asked once a step for each kind: the key holds all that they
            # read, and the entry keeps the objects alive whose identity stands in it.
            same_vm = None if pinned is None else pinned.vm_id == one.vm_id or not pinned.vm_id or not one.vm_id
            key = (
                id(one.image), one.latest_model, one.provisioning, one.power, one.health, one.protected,
                id(memory), same_vm, name in flying, skipped.get(name) if skipped else None, id(target) if back else 0,
            )  # fmt: skip
            alike = uniform or (target.run_command is None and name not in appended)
            known = kinds.get(key) if alike else None
            if known is None:
                seen = self._ask_rules(name, one, memory, pinned, flying, at_target(one, target), appended)
                there = seen.bucket is _CURRENT and seen.service is _IN and memory is not UNTOUCHED
                known = (seen, there, one.image, memory)
                if alike:
                    kinds[key] = known
            seen = known[0]
            if seen is not old:
                if old is not None:
                    went.append(old)
                came.append(seen)
                seen_of[name] = seen
            if known[1]:
                arrived(name, memory)
        for seen in dict.fromkeys(went):
            self._count(seen, -went.count(seen))
        for seen in dict.fromkeys(came):
            self._count(seen, came.count(seen))
        self.dirty = {}

    def _ask_rules(
        self,
        name: str,
        instance: Instance,
        memory: Memory,
        pinned: Pinned | None,
        flying: frozenset[str],
        there: bool | None,
        appended: Mapping[str, str],
    ) -> Seen:
        added = name in appended
        return classify(
            Case(
                instance,
                service(instance, self.rollout.source),
                there,
                memory,
                known=added or pinned is not None,
                vm_id=appended[name] if added else (pinned.vm_id if pinned else ""),
                in_flight=name in flying,
                skipped="" if added or self.back else self.plan.skipped.get(name, ""),
                last_stage=len(self.rollout.stages),
            )
        )

    def _arrived(self, name: str, memory: Memory) -> None:
        """It is at the target and serves: that is remembered."""
        if memory.done and not memory.failed:
            return
        entry = self._arrivals.get(id(memory))
        if entry is None:
            entry = self._arrivals[id(memory)] = (_replace(memory, done=True, failed=""), memory)
        self.memory[name] = entry[0]
        self.remembered = True

    def _count(self, seen: Seen, by: int) -> None:
        if seen.service is _IN:
            self.serving += by
        elif seen.rule == "late-sick":
            self.late += by
        if seen.bucket in STRAYS:
            self.strays += by

    def remember(self, name: str, memory: Memory | None) -> None:
        """Change what is remembered about an instance, and classify it again."""
        self.remembered = True
        if memory is None:
            self.memory.pop(name, None)
        else:
            self.memory[name] = memory
        if self.dirty is not None:
            self.dirty[name] = None

    def bucket(self, name: str) -> Bucket:
        """The bucket of an instance; one that is not there has vanished."""
        seen = self.seen.get(name)
        return Bucket.VANISHED if seen is None else seen.bucket

    def clear_ticket(self) -> None:
        """Nothing is in flight any more."""
        ticket = self.ticket
        if ticket is not None and self.dirty is not None:
            self.dirty.update(dict.fromkeys(ticket.command.ids))
        self.put(ticket=None)

    def judge_model(self) -> bool:
        """Differences of the set itself: whenever its model changed, and when instances begin to move. True: it ends here."""
        state = self.state_now()
        found = model_differences(
            self.plan,
            self.set.model,
            modes=self.rollout.modes(state),
            images=self.rollout.images(state),
            says=self.rollout.says(state),
        )
        refused = [one for one in found if one.verdict is Absorb.REFUSE]
        for one in found:
            self.note(f"drift-{one.kind}", f"{one.subject}: found {one.found}, the plan expects {one.expected}")
        if not refused:
            return False
        text = "; ".join(f"{one.subject} is {one.found}, expected {one.expected}" for one in refused)
        if self.was.started_ms is None and self.phase is Phase.PREPARING:
            self.put(
                phase=move(self.phase, Cause.REFUSED),
                ending="refused",
                reason=f"the set has changed since the plan: {text}",
            )
            return True
        if self.ending != "drift":
            self.end("drift", f"the set was changed by somebody else: {text}")
        if any(one.kind == "identity" for one in refused):  # not even the end state's steps are for another set
            self.clear_ticket()
            self.put(ending="drift", paused_from=None, question="")
            while self.phase is not Phase.ENDED:
                self.put(phase=move(self.phase, Cause.STOP))
        return True

    def _drift(self) -> None:
        """Differences of the set are judged whenever the model changed; of the instances, when the rollout starts."""
        if self.set.model is not self.model_known:
            self.judge_model()
        if self.was.started_ms is None and self.phase is not Phase.ENDED:
            self.put(baseline=in_service(self.set, self.rollout.source))
            for one in instance_differences(self.plan, self.set):
                self.note(
                    f"drift-{one.kind}", f"{one.subject}: {one.found} (plan: {one.expected}), {one.verdict.value}"
                )
                if one.verdict is Absorb.REFUSE:
                    self.put(
                        phase=move(self.phase, Cause.REFUSED),
                        ending="refused",
                        reason=f"{one.subject}: {one.kind}, found {one.found}, expected {one.expected}",
                    )
                    return

    def state_now(self) -> State:
        """The State as this turn has made it so far."""
        return _replace(self.was, **self.fields) if self.fields else self.was

    def resume(self) -> None:
        """Go on where the pause began."""
        origin = self.paused_from or Phase.ROLLING
        self.put(
            phase=move(Phase.PAUSED, RESUME[origin]),
            paused_from=None,
            reason="",
            question="",
            progress_ms=self.now,
            gate_ms=None,
            held_ms=None,
            releasing=False,
        )
        self.note("resumed", f"goes on {origin.value}")

    def pause(self, reason: str, question: str = "") -> None:
        """Rest, until an operator (or the answer to the question) lets it go on."""
        if self.phase is Phase.PAUSED:
            return
        self.put(
            paused_from=self.phase,
            phase=move(self.phase, Cause.PAUSE),
            reason=reason,
            question=question,
        )
        self.note("paused", reason)

    def ask(self, question: str, text: str) -> None:
        """Pause, with a question that only a person (or a later snapshot) can answer."""
        self.pause(text, question)

    def end(self, ending: str, reason: str) -> None:
        """Stop: no more instances are moved; what the end-state table says is done first."""
        if self.phase is Phase.ENDED:
            return
        if Phase.FINISHING in (self.phase, self.paused_from):
            self.worsen(reason)
            return
        self.put(
            phase=move(self.phase, Cause.STOP),
            ending=ending,
            reason=reason,
            step=0,
            step_ended_ms=None,
            step_command="",
            paused_from=None,
            question="",
            releasing=False,
        )
        self.note(ending, reason)

    def worsen(self, reason: str) -> None:
        """Something failed while finishing: it is not a clean end any more."""
        if self.ending in ("finish", "finish-with-exceptions"):  # the model stays where a finished rollout leaves it
            self.put(ending="finish-with-exceptions", reason=reason)
        elif self.ending == "rollback":
            self.put(ending="stop", reason=reason)

    def _advance(self) -> bool:
        """One move; False when there is nothing more to decide now."""
        phase = self.phase
        if self.dirty or (self.dirty is None and phase is not Phase.PREPARING):
            self.classify()
        if phase is Phase.ENDED:
            return False
        ticket = self.ticket
        if ticket is not None:
            if handover.hands_over(self, ticket.command) and phase is not Phase.PAUSED:
                handover.watch(self, ticket)
            else:
                self._wait_for(ticket)
            return False
        cancel = self.handed.cancel
        if cancel is not None:
            self.wake = (
                cancel.sent_ms if cancel.unknown_ms is None else cancel.unknown_ms
            ) + self.plan.deadlines.settle_ms
            self.wake = max(self.wake, self.now + 1)
            return False
        if phase is Phase.PAUSED and not self.releasing:
            return windows.reopened(self)
        if self.refusals and self.now < self.not_before_ms:
            self.wake = self.not_before_ms
            return False
        if phase is Phase.PAUSED:
            return setlevel.release(self)
        if self.pause_wanted and phase is not Phase.FINISHING:
            self.pause(self.BY_OPERATOR)
            self.put(pause_wanted=False)
            return False
        late = self.rested_ms is None and self.now - self.direction_ms >= self.plan.deadlines.rollout_ms
        if phase is not Phase.FINISHING and late:
            self.end("stop", "the rollout's deadline passed")
            return True
        if phase is Phase.PREPARING and not self.back and self.state_now().next_id == 1 and windows.shut(self):
            return False
        if phase in (Phase.PREPARING, Phase.FINISHING):
            return setlevel.advance(self)
        return batches.advance(self)

    def work(self, batch: Batch) -> bool:
        """What is to be done for the current batch: instances are moved, or exchanged for added ones."""
        if self.plan.surge is None:
            return batches.work(self, batch, substitutes.members(self, batch, self.batch))
        return exchange.work(self, batch)

    def _wait_for(self, ticket: Ticket) -> None:
        deadlines = self.plan.deadlines
        if self.phase is Phase.PAUSED and self.question == "no-evidence":
            return  # no snapshot can answer it: only an operator, or a late outcome
        if ticket.unknown_ms is not None:
            later = ticket.unknown_ms + deadlines.settle_ms
            self.wake = later if later > self.now else self.now + deadlines.settle_ms
        else:
            self.wake = ticket.sent_ms + deadlines.operation_ms

    def send(
        self, kind: Kind, why: str, *, rule: str, ids: tuple[str, ...] = (), batch: int | None = None, **more: Any
    ) -> None:
        """Send a command: it is this step's intent, and in flight from now on."""
        command = Command(id=f"c{self.next_id}", kind=kind, why=why, ids=ids, batch=batch, **more)
        disks = {
            name: one.os_disk
            for name in ids
            if (one := self.set.instances[name]).provisioning is Provisioning.FAILED or kind is Kind.REIMAGE
        }
        self.put(next_id=self.next_id + 1, ticket=Ticket(command=command, sent_ms=self.now, disks=disks))
        self.commands.append(command)
        self.note(rule, why, ids, batch)

    def stage_kind(self, memory: Memory) -> Kind:
        """The operation of the plan's action that is due, or was last, after so many stages."""
        stages = self.rollout.stages
        return batches.KIND_OF[stages[min(memory.stage, len(stages) - 1)]]

    def added(self) -> dict[str, str]:
        """Instances that came after the plan was made and are known all the same: id to VM id."""
        return {**self.appended, **self.surge.fresh}

    def spare(self) -> int:
        """How many instances there are above what the set should have."""
        return surplus(self.surge, self.set) if self.surge.fresh else 0

    def floor(self, *, in_place: bool = False) -> int:
        """The floor at the number of instances that the set should have now. in_place: of a surge's fall-back."""
        plan, total = self.plan, should_have(self.plan, self.surge, self.appended, self.set)
        if in_place and plan.surge is not None and not self.emergency:
            return max(plan.floor_min, follow(plan.surge.in_place_floor, total))
        if self.back:
            return follow(plan.emergency_floor if self.emergency else plan.rollback_floor, total)
        return max(plan.floor_min, follow(plan.floor, total))
