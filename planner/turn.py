"""One step of the rollout machine, worked out. The rules stand in `rollout.py`; the phases in `phases.py`.

`Turn` is the working copy of one call: it lives inside `step` and nothing of it is shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from planner.amount import follow
from planner.buckets import UNTOUCHED, Bucket, Case, Memory, Seen, classify
from planner.change import Action, GuestPatch, at_target
from planner.commands import TABLE, Command, Kind, Outcome, Status
from planner.drift import Absorb, instance_differences, model_differences
from planner.errors import PlannerBug
from planner.model import Instance, Provisioning, ScaleSet, Service, UpgradeMode, runs, service
from planner.phases import RESUME, Cause, Phase, move
from planner.plan import OnFailure, Rung
from planner.rollout import Asked, Note, Observation, OperatorRequest, Rollout, State, Step, Ticket, View
from planner.strategies.base import Batch

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
STRAYS = frozenset({Bucket.FOREIGN, Bucket.REVERTED, Bucket.REPLACED})
KIND_OF: dict[Action, Kind] = {
    Action.UPGRADE: Kind.UPGRADE,
    Action.REIMAGE: Kind.REIMAGE,
    Action.RESTART: Kind.RESTART,
    Action.RUN_COMMAND: Kind.RUN_COMMAND,
}
_replace = msgspec.structs.replace


class Turn:
    """The working copy of one step."""

    def __init__(self, rollout: Rollout, state: State, observation: Observation, view: View | None) -> None:
        self.rollout = rollout
        self.plan = rollout.plan
        self.now = observation.now_ms
        self.observation = observation
        self.set: ScaleSet = observation.scale_set
        self.was = state
        self.fields: dict[str, Any] = {}
        self.memory = dict(state.memory)
        self.remembered = False
        self.notes: list[Note] = []
        self.commands: list[Command] = []
        self.wake: int | None = None
        self.awaiting: tuple[str, ...] = ()
        self.watch = False
        self.dirty: set[str] | None = None
        if view is None or observation.changed is None:
            self.seen: dict[str, Seen] = {}
            self.serving = self.strays = self.late = 0
            self.model_known = None
        else:
            self.seen = dict(view.seen)
            self.serving, self.strays, self.late = view.serving, view.strays, view.late
            self.model_known = view.model
            self.dirty = set(observation.changed)

    # -- the state's fields, as they are now ---------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """A field of the state, with what this turn has set."""
        fields = self.__dict__["fields"]
        return fields[name] if name in fields else getattr(self.__dict__["was"], name)

    def put(self, **fields: Any) -> None:
        """Set fields of the next state."""
        self.fields.update(fields)

    def note(self, rule: str, text: str, ids: Iterable[str] = (), batch: int | None = None) -> None:
        """Say what was decided and by which rule."""
        self.notes.append(Note(rule=rule, text=text, ids=tuple(ids), batch=batch))

    # -- the step ------------------------------------------------------------------------------------------------

    def run(self) -> Step:
        """All of a step, in order: outcomes, classification, drift, requests, then the phase until nothing moves."""
        if self.started_ms is None:
            self._begin()
        for outcome in self.observation.outcomes:
            self._take_outcome(outcome)
        self._look_at_unknown()
        self._classify()
        if self.phase is not Phase.ENDED:
            self._drift()
        for request in self.observation.requests:
            if request.id > self.request:
                self.put(request=request.id)
                self._hear(request)
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
        if self.phase not in (Phase.ENDED, Phase.PAUSED, Phase.FINISHING):
            wake = deadline if wake is None else min(wake, deadline)
        return Step(
            state=_replace(self.was, **self.fields) if self.fields else self.was,
            commands=tuple(self.commands),
            wake_at_ms=wake,
            notes=tuple(self.notes),
            view=View(seen=self.seen, serving=self.serving, strays=self.strays, late=self.late, model=self.set.model),
            awaiting=self.awaiting,
            watch=self.watch,
        )

    # -- classification ------------------------------------------------------------------------------------------

    def _classify(self) -> None:
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
        for name in names:
            self._classify_one(name, instances.get(name), flying)
        self.dirty = set()

    def _classify_one(self, name: str, instance: Instance | None, flying: frozenset[str]) -> None:
        old = self.seen.pop(name, None) if instance is None else self.seen.get(name)
        if old is not None:
            self._count(old, -1)
        if instance is None:
            return
        serves = service(instance, self.rollout.source)
        pinned = self.plan.scale_set.instances.get(name)
        appended = self.appended
        added = name in appended
        seen = classify(
            Case(
                instance,
                serves,
                at_target(instance, self.rollout.target(name, self.back)),
                self.memory.get(name, UNTOUCHED),
                known=added or pinned is not None,
                vm_id=appended[name] if added else (pinned.vm_id if pinned else ""),
                in_flight=name in flying,
                skipped="" if added or self.back else self.plan.skipped.get(name, ""),
                last_stage=len(self.rollout.stages),
            )
        )
        self.seen[name] = seen
        self._count(seen, 1)
        if seen.bucket is Bucket.CURRENT and serves is Service.IN:
            memory = self.memory.get(name)
            if memory is not None and not memory.done:
                self.memory[name] = _replace(memory, done=True)
                self.remembered = True

    def _count(self, seen: Seen, by: int) -> None:
        if seen.service is Service.IN:
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
            self.dirty.add(name)

    def bucket(self, name: str) -> Bucket:
        """The bucket of an instance; one that is not there has vanished."""
        seen = self.seen.get(name)
        return Bucket.VANISHED if seen is None else seen.bucket

    # -- outcomes ------------------------------------------------------------------------------------------------

    def _take_outcome(self, outcome: Outcome) -> None:
        ticket: Ticket | None = self.ticket
        if ticket is None or ticket.command.id != outcome.command:
            self.note(
                "late-outcome", f"an outcome of {outcome.command} came after it was settled: {outcome.status.value}"
            )
            return
        command = ticket.command
        if outcome.status is Status.UNKNOWN:
            if ticket.unknown_ms is None:
                self.put(ticket=_replace(ticket, unknown_ms=self.now))
                self.note(
                    "unknown-outcome",
                    f"{command.kind.value}: sent, and nobody answered ({outcome.code or 'no code'}); looking after the settle time",
                    command.ids,
                )
            return
        if outcome.refused:
            self._refused(command, outcome)
            return
        self.put(refusals=0)
        self._settle(command, "" if outcome.status is Status.SUCCEEDED else outcome.code or "failed", outcome.message)

    def _refused(self, command: Command, outcome: Outcome) -> None:
        """409, 429 and other refusals had no effect: try again later, so often and no more."""
        count = self.refusals + 1
        self._clear_ticket()
        self.put(refusals=count)
        if count > self.plan.failures.refusals and self.phase is Phase.FINISHING:
            self.put(refusals=0)
            self._skip_step(f"{command.kind.value} was refused {count} times in a row: {outcome.code}")
            return
        if count > self.plan.failures.refusals:
            self.put(refusals=0)
            self._end(
                "stop",
                f"{command.kind.value} was refused {count} times in a row: {outcome.code} {outcome.message}".rstrip(),
            )
            return
        later = self.now + max(outcome.retry_after_ms or 0, self.plan.failures.backoff_ms * count)
        self.put(not_before_ms=max(self.not_before_ms, later))
        self.note(
            "refused",
            f"{command.kind.value} was refused ({outcome.code}), attempt {count}; again at {later} ms",
            command.ids,
        )

    def _clear_ticket(self) -> None:
        ticket = self.ticket
        if ticket is not None and self.dirty is not None:
            self.dirty.update(ticket.command.ids)
        self.put(ticket=None)

    def _settle(self, command: Command, failed: str, message: str = "") -> None:
        """An operation ended: its instances have one more stage behind them, or failed."""
        self._clear_ticket()
        self.put(progress_ms=self.now)
        if self.question:  # the answer came by itself
            self.put(question="")
            if self.phase is Phase.PAUSED:
                self._resume()
        if TABLE[command.kind].touches != "ids":
            self._settle_set_level(command, failed, message)
            return
        if command.kind is Kind.DELETE:
            self._settle_delete(command, failed)
            return
        repair = command.kind is Kind.REIMAGE and self._action() is not Action.REIMAGE
        for name in command.ids:
            memory = self.memory.get(name, UNTOUCHED)
            instance = self.set.instances.get(name)
            if failed and not (
                instance is not None and at_target(instance, self.rollout.target(name, self.back)) is True
            ):
                made = _replace(memory, failed=failed, ended_ms=self.now)
            elif repair:
                made = _replace(memory, failed="", ended_ms=None)
            else:
                made = _replace(memory, stage=memory.stage + 1, failed="", ended_ms=self.now, done=False)
            self.remember(name, made)
        text = f"failed: {failed} {message}".rstrip() if failed else "ended"
        self.note(
            "operation-failed" if failed else "operation-ended",
            f"{command.kind.value} of {len(command.ids)} {text}",
            command.ids,
            command.batch,
        )

    def _settle_set_level(self, command: Command, failed: str, message: str) -> None:
        if command.kind is Kind.SET_CAPACITY:
            self.put(owed=0)
        own = command.id == self.step_command
        if failed:
            self.note("set-operation-failed", f"{command.kind.value} failed: {failed} {message}".rstrip())
            reason = f"{command.kind.value} failed: {failed} {message}".rstrip()
            if self.phase is not Phase.FINISHING:
                self._end("stop", reason)
            elif own:
                self._skip_step(reason)  # what else can be undone is undone all the same
            return
        if own:
            self.put(step_ended_ms=self.now)
        if self.rollout.platform and command.kind is Kind.UPDATE_MODEL and not self.back:
            # The platform moved them: from here on they are watched like instances of our own operations.
            for name in self.plan.batches[0].take if self.plan.batches else ():
                self.remember(name, Memory(stage=len(self.rollout.stages), ended_ms=self.now))
        self.note("operation-ended", f"{command.kind.value} ended")

    def _settle_delete(self, command: Command, failed: str) -> None:
        for name in command.ids:
            memory = self.memory.get(name, UNTOUCHED)
            self.remember(name, _replace(memory, failed=failed) if failed else memory)
        if not failed:
            self.put(owed=self.owed + len(command.ids))
        self.note(
            "operation-ended", f"delete of {len(command.ids)} {'failed: ' + failed if failed else 'ended'}", command.ids
        )

    def _look_at_unknown(self) -> None:
        """Rule 5, and an operation that does not end in time counts as unknown."""
        ticket: Ticket | None = self.ticket
        if ticket is None:
            return
        if ticket.unknown_ms is None:
            if self.now - ticket.sent_ms < self.plan.deadlines.operation_ms:
                return
            self.note(
                "operation-deadline",
                f"{ticket.command.kind.value} did not end in time; its outcome is unknown",
                ticket.command.ids,
            )
            ticket = _replace(ticket, unknown_ms=self.now)
            self.put(ticket=ticket)
        since = ticket.unknown_ms if ticket.unknown_ms is not None else self.now
        if self.now - since < self.plan.deadlines.settle_ms:
            return
        command = ticket.command
        verdict = self._evidence(ticket)
        if verdict == "done":
            self.note("adopted", f"{command.kind.value}: the snapshot shows that it took effect", command.ids)
            self._settle(command, "")
        elif verdict == "partly":
            self.note(
                "adopted-partly", f"{command.kind.value}: the snapshot shows that it took effect on some", command.ids
            )
            self._settle(command, "OutcomeUnknown")
        elif verdict == "no-effect" and ticket.resends < self.plan.failures.refusals:
            self.note("resent", f"{command.kind.value}: the snapshot shows no effect; sent again", command.ids)
            self.put(ticket=_replace(ticket, unknown_ms=None, sent_ms=self.now, resends=ticket.resends + 1))
            self.commands.append(command)
        elif verdict == "running":
            if self.now - ticket.sent_ms > 2 * self.plan.deadlines.operation_ms:
                self._ask("still-running", f"{command.kind.value} still runs after twice its deadline")
        else:
            self._ask(
                "no-evidence", f"whether {command.kind.value} took effect cannot be seen; say retry, skip or abort"
            )

    def _evidence(self, ticket: Ticket) -> str:
        """What a snapshot says of a command: done, partly, no-effect, running, or none."""
        command = ticket.command
        kind = TABLE[command.kind].evidence
        if kind == "none":
            return "none"
        if TABLE[command.kind].touches != "ids":
            return "done" if self._set_level_done(command) else "no-effect"
        shown: list[bool] = []
        for name in command.ids:
            instance = self.set.instances.get(name)
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
                shown.append(
                    instance.provisioning is Provisioning.FAILED
                    or at_target(instance, self.rollout.target(name, self.back)) is True
                )
        if all(shown):
            failed = [
                name
                for name in command.ids
                if (one := self.set.instances.get(name)) is not None and one.provisioning is Provisioning.FAILED
            ]
            return "partly" if failed else "done"
        return "partly" if any(shown) else "no-effect"

    # -- drift and requests --------------------------------------------------------------------------------------

    def _drift(self) -> None:
        """Differences of the set are judged whenever the model changed; of the instances, when the rollout starts."""
        first = self.was.started_ms is None
        if self.set.model is not self.model_known:
            found = model_differences(
                self.plan,
                self.set.model,
                modes=self.rollout.modes(self._state_now()),
                images=self.rollout.images(self._state_now()),
            )
            refused = [one for one in found if one.verdict is Absorb.REFUSE]
            for one in found:
                self.note(f"drift-{one.kind}", f"{one.subject}: found {one.found}, the plan expects {one.expected}")
            if refused and not (self.phase is Phase.FINISHING and self.ending == "drift"):
                text = "; ".join(f"{one.subject} is {one.found}, expected {one.expected}" for one in refused)
                if first:
                    self.put(
                        phase=move(self.phase, Cause.REFUSED),
                        ending="refused",
                        reason=f"the set has changed since the plan: {text}",
                    )
                    return
                self._end("drift", f"the set was changed by somebody else: {text}")
        if first:
            self.put(baseline=self.serving)
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

    def _state_now(self) -> State:
        return _replace(self.was, **self.fields) if self.fields else self.was

    def _hear(self, request: OperatorRequest) -> None:
        asked = request.asked
        self.note(f"operator-{asked.value}", request.reason or "asked by an operator", request.ids)
        if self.phase is Phase.ENDED:
            return
        if asked is Asked.PAUSE:
            self.put(pause_wanted=self.phase is not Phase.PAUSED)
        elif asked is Asked.RESUME:
            self.put(pause_wanted=False)
            if self.phase is Phase.PAUSED and not self.question:
                self._resume()
        elif asked is Asked.APPROVE:
            self.put(approved=max(self.approved, self.batch))
            if self.phase is Phase.PAUSED and self.reason.startswith("approval"):
                self._resume()
        elif asked is Asked.ABORT:
            self._end("abort", request.reason or "aborted by an operator")
        elif asked in (Asked.ROLLBACK, Asked.EMERGENCY):
            self.put(emergency=asked is Asked.EMERGENCY)
            self._roll_back(whole=True, why=request.reason or "asked by an operator")
        elif asked is Asked.SKIP:
            self._operator_instances(request, skip=True)
        elif asked is Asked.RETRY:
            self._operator_instances(request, skip=False)

    def _operator_instances(self, request: OperatorRequest, *, skip: bool) -> None:
        """skip: leave these alone. retry: forget that these failed. Either answers an open question about them."""
        ticket: Ticket | None = self.ticket
        if ticket is not None and self.question:
            names = request.ids or ticket.command.ids
            self._clear_ticket()
        else:
            names = request.ids
        for name in names:
            memory = self.memory.get(name, Memory())
            if skip:
                self.remember(name, _replace(memory, skipped=request.reason or "by an operator"))
            else:
                self.put(given_up=self.given_up - bool(memory.quarantined))
                self.remember(name, _replace(memory, failed="", quarantined="", skipped="", attempts=0, ended_ms=None))
        self._classify()
        self.put(progress_ms=self.now)
        if self.phase is Phase.PAUSED and self.question:
            self.put(question="")
            self._resume()

    def _resume(self) -> None:
        origin: Phase = self.paused_from
        self.put(
            phase=move(Phase.PAUSED, RESUME[origin]),
            paused_from=None,
            reason="",
            question="",
            progress_ms=self.now,
            gate_ms=None,
            held_ms=None,
        )
        self.note("resumed", f"goes on {origin.value}")

    def _pause(self, reason: str, question: str = "") -> None:
        if self.phase is Phase.PAUSED:
            return
        self.put(
            paused_from=self.phase,
            phase=move(self.phase, Cause.PAUSE),
            reason=reason,
            question=question,
            pause_wanted=False,
        )
        self.note("paused", reason)

    def _ask(self, question: str, text: str) -> None:
        self._pause(text, question)

    def _end(self, ending: str, reason: str) -> None:
        """Stop: no more instances are moved; what the end-state table says is done first."""
        if self.phase is Phase.ENDED:
            return
        if self.phase is Phase.FINISHING:
            self._worsen(reason)
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
        )
        self.note(ending, reason)

    def _worsen(self, reason: str) -> None:
        """Something failed while finishing: it is not a clean end any more."""
        if self.ending in ("finish", "finish-with-exceptions", "rollback"):
            self.put(ending="stop", reason=reason)

    # -- phases --------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """One move; False when there is nothing more to decide now."""
        if self.dirty:
            self._classify()
        phase: Phase = self.phase
        if phase is Phase.ENDED:
            return False
        ticket: Ticket | None = self.ticket
        if ticket is not None:
            self._wait_for(ticket)
            return False
        if phase is Phase.PAUSED:
            return False
        if self.refusals and self.now < self.not_before_ms:
            self.wake = self.not_before_ms
            return False
        if self.pause_wanted and phase is not Phase.FINISHING:
            self._pause("paused by an operator")
            return False
        if phase is not Phase.FINISHING and self.now - self.direction_ms >= self.plan.deadlines.rollout_ms:
            self._end("stop", "the rollout's deadline passed")
            return True
        if phase in (Phase.PREPARING, Phase.FINISHING):
            return self._set_level()
        return self._roll()

    def _wait_for(self, ticket: Ticket) -> None:
        deadlines = self.plan.deadlines
        if ticket.unknown_ms is not None:
            later = ticket.unknown_ms + deadlines.settle_ms
            self.wake = later if later > self.now else self.now + deadlines.settle_ms
        else:
            self.wake = ticket.sent_ms + deadlines.operation_ms

    def _send(
        self, kind: Kind, why: str, *, rule: str, ids: tuple[str, ...] = (), batch: int | None = None, **more: Any
    ) -> None:
        command = Command(id=f"c{self.next_id}", kind=kind, why=why, ids=ids, batch=batch, **more)
        disks: dict[str, str | None] = {}
        if kind is Kind.REIMAGE:
            disks = {name: self.set.instances[name].os_disk for name in ids}
        self.put(next_id=self.next_id + 1, ticket=Ticket(command=command, sent_ms=self.now, disks=disks))
        self.commands.append(command)
        if self.dirty is not None:
            self.dirty.update(ids)
        self.note(rule, why, ids, batch)

    # -- set-level steps -----------------------------------------------------------------------------------------

    def _steps(self) -> list[dict[str, Any]]:
        """The set-level commands of this phase, in order. Each is skipped where the set already shows it done."""
        plan, resolved = self.plan, self.plan.resolved
        steps: list[dict[str, Any]] = []
        if self.phase is Phase.PREPARING:
            if self.back:
                if resolved.reverse:
                    steps.append(
                        {
                            "kind": Kind.UPDATE_MODEL,
                            "patch": resolved.reverse,
                            "why": "the model goes back to the pinned target first",
                        }
                    )
                return steps
            if plan.suspend_repairs:
                steps.append(
                    {
                        "kind": Kind.SUSPEND_REPAIRS,
                        "why": "automatic repairs would replace instances that are being upgraded",
                    }
                )
            if plan.scale_set.mode is not plan.work_mode:
                steps.append(
                    {
                        "kind": Kind.SET_MODE,
                        "mode": plan.work_mode,
                        "why": f"mode {plan.work_mode.value} before the image changes, so that nothing else moves instances",
                    }
                )
            if resolved.patch:
                steps.append({"kind": Kind.UPDATE_MODEL, "patch": resolved.patch, "why": "the model gets the change"})
            return steps
        end = plan.ends[self.ending]
        manual = self.set.model.mode is UpgradeMode.MANUAL
        if end.model == "pinned" and resolved.reverse and not self.back and manual:
            steps.append(
                {
                    "kind": Kind.UPDATE_MODEL,
                    "patch": resolved.reverse,
                    "why": "the model is put back, so that scale-outs and repairs do not boot the rejected image",
                }
            )
        old = plan.scale_set.mode
        if old is not plan.work_mode and (
            old is UpgradeMode.MANUAL or (end.mode == "restored" and self._nothing_stale())
        ):
            steps.append({"kind": Kind.SET_MODE, "mode": old, "why": f"mode {old.value} as it was before"})
        if plan.suspend_repairs and end.repairs == "restored":
            steps.append({"kind": Kind.RESUME_REPAIRS, "why": "automatic repairs as they were before"})
        return steps

    def _nothing_stale(self) -> bool:
        return all(seen.bucket is Bucket.CURRENT for seen in self.seen.values())

    def _set_level(self) -> bool:
        steps = self._steps()
        if self.step >= len(steps):
            return self._set_level_over()
        if (
            self.step == 0
            and self.phase is Phase.PREPARING
            and not self.back
            and not self.plan.batches
            and not (self.plan.resolved.patch and self._model_stale())
        ):
            self.put(
                phase=move(self.phase, Cause.NOTHING_TO_DO),
                ending="finish",
                reason="every instance is already at the target",
                step=0,
            )
            self.note("nothing-to-do", "every instance is already at the target")
            return True
        step = steps[self.step]
        done = self._set_level_done(Command(id="", **step))
        ended: int | None = self.step_ended_ms
        if done:
            self.put(step=self.step + 1, step_ended_ms=None, step_command="")
            return True
        if ended is not None:
            if self.now - ended < self.plan.deadlines.settle_ms:
                self.wake = ended + self.plan.deadlines.settle_ms
                return False
            self.put(step_ended_ms=None)
            reason = f"{step['kind'].value} succeeded, but the set does not show it"
            if self.phase is Phase.FINISHING:
                self._skip_step(reason)
            else:
                self._end("stop", reason)
            return True
        why = step.pop("why")
        self.put(step_command=f"c{self.next_id}")
        self._send(step.pop("kind"), why, rule="set-level", **step)
        return True

    def _skip_step(self, reason: str) -> None:
        self.put(step=self.step + 1, step_ended_ms=None, step_command="")
        self._worsen(reason)

    def _model_stale(self) -> bool:
        return not self._set_level_done(Command(id="", kind=Kind.UPDATE_MODEL, why="", patch=self.plan.resolved.patch))

    def _set_level_done(self, command: Command) -> bool:
        """Does the set show that a set-level command was done?"""
        model = self.set.model
        match command.kind:
            case Kind.SET_MODE:
                return model.mode is command.mode
            case Kind.SUSPEND_REPAIRS:
                return model.repairs is None or not model.repairs.enabled or model.repairs.suspended
            case Kind.RESUME_REPAIRS:
                return model.repairs is None or not model.repairs.suspended
            case Kind.SET_CAPACITY:
                return len(self.set.instances) >= (command.capacity or 0)
            case _:
                forward = command.patch == self.plan.resolved.patch
                image = self.plan.resolved.model_image if forward else self.plan.resolved.back_image
                same = (
                    image is None
                    or model.image == image
                    or (model.image is not None and runs(model.image, image) is True)
                )
                return same and all(
                    model.settings[path] == value for path, value in command.patch.items() if path in model.settings
                )

    def _set_level_over(self) -> bool:
        self.put(step=0, step_ended_ms=None, step_command="")
        if self.phase is Phase.FINISHING:
            self.put(phase=move(self.phase, Cause.FINISHED))
            self.note("ended", f"{self.ending}: {self.reason}" if self.reason else self.ending)
            return False
        cause = Cause.PREPARED_BACK if self.back else Cause.PREPARED
        self.put(phase=move(self.phase, cause), batch=0, progress_ms=self.now)
        self.note("prepared", "instances go back" if self.back else "the set is ready; instances move now")
        return True

    # -- batches -------------------------------------------------------------------------------------------------

    def _action(self) -> Action:
        action = self.plan.resolved.action
        return Action.UPGRADE if action is Action.UPGRADE_THEN_REIMAGE else action

    def _batch(self) -> Batch | None:
        """The current batch; None when there is none left."""
        index: int = self.batch
        if self.sequence is not None:
            sequence: tuple[Batch, ...] = self.sequence
            return sequence[index] if index < len(sequence) else None
        planned = self.plan.batches
        if index < len(planned):
            return planned[index]
        index -= len(planned)
        extra: tuple[Batch, ...] = self.extra
        if index < len(extra):
            return extra[index]
        queue: tuple[str, ...] = tuple(name for name in self.queue if self.bucket(name) not in DECIDED)
        if not queue:
            self.put(queue=())
            return None
        made = Batch(take=queue[: self.rollout.largest], why="appended: new or reverted since the plan")
        self.put(extra=(*self.extra, made), queue=queue[self.rollout.largest :])
        return made

    def _absorb_new(self) -> bool:
        """Rule 6. True when the rollout stops for it."""
        if not self.strays or self.back or self.rollout.platform or self.plan.new_instances == "leave":
            return False
        found = []
        for name, seen in self.seen.items():
            stale = seen.bucket in (Bucket.FOREIGN, Bucket.REVERTED) or (
                seen.bucket is Bucket.REPLACED
                and at_target(self.set.instances[name], self.plan.resolved.target) is False
            )
            if stale:
                found.append(name)
        if not found:
            return False
        if self.plan.new_instances == "stop":
            self._end("stop", f"stale instances that the plan did not see: {', '.join(found)}")
            return True
        appended = dict(self.appended)
        for name in found:
            appended[name] = self.set.instances[name].vm_id
            self.remember(name, None)
        self.put(appended=appended, queue=(*self.queue, *found))
        self.note("appended", f"{len(found)} stale instances that are new or reverted are appended", found)
        self._classify()
        return False

    def _roll(self) -> bool:
        if self.owed:
            self._send(
                Kind.SET_CAPACITY,
                f"{self.owed} replaced instances are added again",
                rule="replace",
                capacity=len(self.set.instances) + self.owed,
            )
            return True
        if self.given_up > self._max_failed():
            return self._too_many_failed()
        if self._absorb_new():
            return True
        if self.now < self.not_before_ms:
            self.wake = self.not_before_ms
            self.watch = True
            return False
        batch = self._batch()
        if batch is None:
            return self._batches_over()
        if batch.approve and self.approved < self.batch and not self.back:
            self._pause(f"approval needed for batch {self.batch + 1} ({batch.why})")
            return False
        return self._work(batch)

    def _max_failed(self) -> int:
        return self.plan.failures.max_failed.absolute

    def _too_many_failed(self) -> bool:
        first = next(name for name, memory in self.memory.items() if memory.quarantined)
        reason = f"{self.given_up} instances failed, {self._max_failed()} are tolerated; first: {first} ({self.memory[first].quarantined})"
        return self._gate_action("too-many-failed", reason)

    def _gate_action(self, rule: str, reason: str) -> bool:
        then = self.plan.failures.then
        self.note(rule, reason)
        if self.back or self.rollout.platform or then is OnFailure.STOP:
            self._end("stop", reason)
        else:
            self._roll_back(whole=then is OnFailure.ROLLBACK_ALL, why=reason)
        return True

    def _work(self, batch: Batch) -> bool:
        """Admission, waiting, ladder, gates for the current batch."""
        waiting: list[str] = []
        todo: list[str] = []
        busy: list[str] = []
        wake: int | None = None
        for name in batch.take:
            bucket = self.bucket(name)
            if bucket in DECIDED:
                continue
            if bucket is Bucket.WAITING:
                late = self._health_deadline(name)
                if late is None:
                    return True  # its deadline passed just now: classify and look again
                wake = late if wake is None else min(wake, late)
                waiting.append(name)
            elif bucket is Bucket.FAILED:
                if self._climb(name):
                    todo.append(name)
                else:
                    return True
            elif bucket is Bucket.STALE:
                todo.append(name)
            else:
                busy.append(name)
        if todo and self._admit(todo):
            return True
        if todo or busy:
            stall = self.progress_ms + self.plan.deadlines.stall_ms
            if self.now >= stall:
                names = ", ".join([*todo, *busy][:5])
                return self._gate_action(
                    "stalled",
                    f"nothing could be taken for {self.plan.deadlines.stall_ms // 1000} s: {'the floor holds' if todo else 'somebody else works on the instances'} ({names})",
                )
            self.watch = True
            self.wake = stall if wake is None else min(wake, stall)
            self.awaiting = tuple(waiting)
            return False
        if waiting:
            self.awaiting = tuple(waiting)
            self.wake = wake
            return False
        return self._gate(batch)

    def _health_deadline(self, name: str) -> int | None:
        """When a waiting instance is given up waiting for; None when that is now."""
        memory = self.memory.get(name, UNTOUCHED)
        since = memory.ended_ms if memory.ended_ms is not None else self.progress_ms
        invisible = self.seen[name].rule == "result-not-visible"
        span = self.plan.deadlines.settle_ms if invisible else self.plan.deadlines.healthy_ms
        if self.now < since + span:
            return int(since + span)
        why = "result-missing" if invisible else "never-healthy"
        self.note(
            "deadline",
            f"instance {name}: {'the result is not visible' if invisible else 'not in service'} after {span // 1000} s",
            (name,),
        )
        self.remember(name, _replace(memory, failed=why, ended_ms=since))
        return None

    def _climb(self, name: str) -> bool:
        """The next rung for a failed instance. True: it may be taken again; False: something changed, look again."""
        memory = self.memory.get(name, UNTOUCHED)
        ladder = self.plan.failures.ladder
        attempts = memory.attempts
        if at_target(self.set.instances[name], self.rollout.target(name, self.back)) is True:
            while attempts < len(ladder) and ladder[attempts] is Rung.UPGRADE:
                attempts += 1  # an upgrade does nothing on an instance that is at the target
        rung = ladder[attempts] if attempts < len(ladder) else Rung.QUARANTINE
        if rung is not Rung.QUARANTINE:
            if attempts != memory.attempts:
                self.remember(name, _replace(memory, attempts=attempts))
                self._classify()
            return True
        why = memory.failed or "provisioning-failed"
        self.remember(name, _replace(memory, quarantined=why))
        self.put(given_up=self.given_up + 1)
        self.note("quarantined", f"instance {name} is given up: {why}", (name,))
        return False

    def _admit(self, todo: list[str]) -> bool:
        """Rule 2. Send one command for the instances of the first one's kind that the floor lets go."""
        kind, exact = self._kind_for(todo[0])
        floor = self.floor()
        budget = self.serving - floor
        taken: list[str] = []
        spent = 0
        for name in todo:
            if self._kind_for(name) != (kind, exact):
                continue
            if self.seen[name].service is not Service.OUT:
                if spent >= budget:
                    continue
                spent += 1
            taken.append(name)
        if not taken:
            return False
        batch: Batch = self._batch()  # type: ignore[assignment]  # there is one: its instances are being admitted
        for name in taken:
            memory = self.memory.get(name, UNTOUCHED)
            if self.bucket(name) is Bucket.FAILED:
                self.remember(name, _replace(memory, attempts=memory.attempts + 1, failed="", ended_ms=None))
            elif memory is UNTOUCHED:
                self.remember(name, Memory())
        held = len(todo) - len(taken)
        why = f"{batch.why}: {len(taken)} of {len(todo)} ({self.serving} in service, floor {floor})" + (
            f", {held} wait" if held else ""
        )
        more: dict[str, Any] = {}
        if kind is Kind.REIMAGE:
            more["exact_version"] = exact
        if kind is Kind.RUN_COMMAND:
            change = self.plan.resolved.change
            assert isinstance(change, GuestPatch)  # only a guest patch has this action
            more["script"] = change.undo if self.back else change.script
            more["name"] = self.rollout.target(taken[0], self.back).run_command
        self.put(gate_ms=None, held_ms=None)
        self._send(kind, why, rule="floor-holds" if held else "admitted", ids=tuple(taken), batch=self.batch, **more)
        return True

    def _kind_for(self, name: str) -> tuple[Kind, str | None]:
        """The command an instance needs next: its rung's where it failed, else its stage's."""
        memory = self.memory.get(name, UNTOUCHED)
        if self.bucket(name) is Bucket.FAILED and memory.attempts < len(self.plan.failures.ladder):
            rung = self.plan.failures.ladder[memory.attempts]
            if rung is Rung.REIMAGE:
                return Kind.REIMAGE, self.rollout.back_exact(name) if self.back else None
            if rung is Rung.REPLACE:
                return Kind.DELETE, None
        if self.back:
            exact = self.rollout.back_exact(name)
            if exact is not None:
                return Kind.REIMAGE, exact
        stages = self.rollout.stages
        kind = KIND_OF[stages[min(memory.stage, len(stages) - 1)]]
        if kind is Kind.REIMAGE:
            image = self.rollout.target(name, self.back).image
            return kind, image.exact_version if image else None
        return kind, None

    def floor(self) -> int:
        """The floor at the present number of instances."""
        plan, total = self.plan, len(self.set.instances)
        if self.back:
            return follow(plan.emergency_floor if self.emergency else plan.rollback_floor, total)
        return max(plan.floor_min, follow(plan.floor, total))

    # -- gates ---------------------------------------------------------------------------------------------------

    def _gate(self, batch: Batch) -> bool:
        """Rule 3: the batch is decided; judge its gates, soak, pause, next."""
        gates = self.plan.gates
        bad = self._gate_verdict()
        if self.gate_ms is None:
            self.put(gate_ms=self.now)
        if bad and gates.dry_run:
            self.note("gate-dry-run", bad, batch=self.batch)
        elif bad:
            self.put(held_ms=None)
            late = self.gate_ms + self.plan.deadlines.gate_ms
            if self.now >= late:
                return self._gate_action("gate-failed", bad)
            if self.was.gate_ms is None or self.was.held_ms is not None:
                self.note("gate-waits", bad, batch=self.batch)
            self.watch, self.wake = True, late
            return False
        if self.held_ms is None:
            self.put(held_ms=self.now)
        soak = 0 if self.back else (batch.soak_ms if batch.soak_ms is not None else gates.soak_ms)
        if self.now < self.held_ms + soak:
            self.watch, self.wake = True, self.held_ms + soak
            return False
        self.note("batch-done", f"batch {self.batch + 1} ({batch.why}) is done, its gates hold", batch=self.batch)
        self.put(batch=self.batch + 1, gate_ms=None, held_ms=None, progress_ms=self.now)
        if gates.pause_ms and not self.back and self._batch() is not None:
            self.put(not_before_ms=self.now + gates.pause_ms)
        return True

    def _gate_verdict(self) -> str:
        """Why the gate does not hold, or ''."""
        gates = self.plan.gates
        if self.late > gates.upgraded_unhealthy.absolute:
            first = next(name for name, seen in self.seen.items() if seen.rule == "late-sick")
            return f"{self.late} upgraded instances are out of service, {gates.upgraded_unhealthy} are tolerated; first: {first}"
        if gates.drop is not None and self.serving < self.baseline - gates.drop.absolute:
            return f"{self.serving} instances are in service, {self.baseline} were before; a drop of {gates.drop} is tolerated"
        return ""

    def _batches_over(self) -> bool:
        if self.back:
            ending = "rollback"
            reason = self.reason
        else:
            left = self.given_up + sum(1 for seen in self.seen.values() if seen.bucket is Bucket.SKIPPED)
            ending = "finish-with-exceptions" if left else "finish"
            reason = f"{left} instances are left out" if left else ""
        self.put(
            phase=move(self.phase, Cause.BATCHES_DONE),
            ending=ending,
            reason=reason,
            step=0,
            step_ended_ms=None,
            step_command="",
        )
        self.note("batches-done", f"all batches are done{': ' + reason if reason else ''}")
        return True

    # -- the way back --------------------------------------------------------------------------------------------

    def _roll_back(self, *, whole: bool, why: str) -> None:
        """Reverse what was touched: the most recent batch first, the model before the instances."""
        if self.back or self.phase is Phase.FINISHING:
            self.note("rollback-refused", "already going back" if self.back else "the rollout is ending")
            return
        if isinstance(self.plan.resolved.change, GuestPatch) and self.plan.resolved.change.undo is None:
            self._end("stop", f"{why}; the guest patch has no undo")
            return
        batches = (*self.plan.batches, *self.extra)
        first = 0 if whole else self.batch
        sequence: list[Batch] = []
        for index in range(min(self.batch, len(batches) - 1), first - 1, -1):
            touched = [name for name in reversed(batches[index].take) if name in self.memory]
            by_version: dict[str | None, list[str]] = {}
            for name in touched:
                by_version.setdefault(self.rollout.back_exact(name), []).append(name)
            sequence += [Batch(take=tuple(names), why=f"back: {batches[index].why}") for names in by_version.values()]
        self.put(
            phase=move(self.phase, Cause.ROLL_BACK),
            back=True,
            sequence=tuple(sequence),
            batch=0,
            step=0,
            step_ended_ms=None,
            step_command="",
            reason=why,
            paused_from=None,
            question="",
            gate_ms=None,
            held_ms=None,
            not_before_ms=0,
            queue=(),
            progress_ms=self.now,
            direction_ms=self.now,
            given_up=0,
        )
        self.memory = {}
        self.remembered = True
        self.dirty = None
        self._classify()
        self.note("roll-back", f"{why}; {sum(len(one.take) for one in sequence)} instances go back")
