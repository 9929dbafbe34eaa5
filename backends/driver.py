"""The one loop, for every world: observe, step, guard, journal, submit, wait.

Contract: a turn's record (intent) is in the journal before any of its commands is sent; a command is sent once per
intent; the guard stands between. A turn in which nothing was seen, heard, decided or changed leaves no record. Killed
between any two statements, a new driver with the same journal goes on: it loads the last State, adopts what has a receipt and treats
what has none as unknown; what moved since the journal's last look is written down (`Found`) before it decides anything.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.guard import judge
from backends.journal import Journal
from backends.protocol import Backend, Seen, Wait
from planner.commands import Status
from planner.errors import InvariantViolated
from planner.invariants import Sent
from planner.model import ScaleSet
from planner.moved import moved, noticed
from planner.phases import Phase
from planner.rollout import Note, Observation, Opening, Rollout, State, Step, View
from planner.trace import Found, Receipt, Refusal, last_look, turn


def what_moved(rollout: Rollout, state: State, journal: Journal, seen: Seen) -> Found | None:
    """What differs from the journal's last look; None where nobody looked yet."""
    last = last_look(journal.records())
    if last is None:
        return None
    return Found(now_ms=seen.now_ms, since_ms=last.now_ms, moved=moved(rollout, state, last.scale_set, seen.scale_set))


class Driver:
    """Drives one rollout through one world."""

    def __init__(
        self,
        rollout: Rollout,
        backend: Backend,
        journal: Journal,
        window: Callable[[int], Opening] | None = None,
    ) -> None:
        self.window = window
        self.rollout = rollout
        self.backend = backend
        self.journal = journal
        self.view: View | None = None
        self.before: ScaleSet | None = None
        self.now_ms = 0
        self.in_flight: dict[str, Sent] = {}
        last = journal.last_state()
        self.state: State = last if last is not None else rollout.start()
        for ticket in (self.state.ticket, self.state.handed.cancel):
            if last is not None and ticket is not None:
                self.in_flight[ticket.command.id] = Sent(ticket.command, ticket.sent_ms, last.handed.before)
                backend.adopt(ticket.command, journal.receipt(ticket.command.id))

    def turn(self) -> Wait | None:
        """One turn; None when the rollout has ended. Raises InvariantViolated when the guard refuses."""
        seen = self.backend.observe()
        self.now_ms = seen.now_ms
        if self.before is None and self.journal.turns:
            found = what_moved(self.rollout, self.state, self.journal, seen)
            if found is not None:
                self.journal.write(found)
        requests = self.journal.requests(self.state.request)
        observation = Observation(
            now_ms=seen.now_ms,
            scale_set=seen.scale_set,
            changed=seen.changed if self.view is not None else None,
            outcomes=seen.outcomes,
            requests=requests,
            window=None if self.window is None else self.window(seen.now_ms),
        )
        for outcome in seen.outcomes:
            if outcome.status is not Status.UNKNOWN or outcome.command in self.in_flight:
                self.in_flight.pop(outcome.command, None)
        step = self.rollout.step(self.state, observation, self.view)
        if step.commands:
            violations = judge(self.rollout, step, seen.scale_set, self.in_flight, seen.now_ms)
            if violations:
                self.journal.write(Refusal(now_ms=seen.now_ms, violations=violations))
                raise InvariantViolated(tuple(f"{one.invariant}: {one.text}" for one in violations))
        notes = (*self._noticed(observation), *step.notes)
        if notes or not self._idle(observation, step):
            self.journal.write(turn(self.journal.turns + 1, observation, self.before, notes, step.commands, step.state))
        self.state, self.view, self.before = step.state, step.view, seen.scale_set
        for command in step.commands:
            rollout = seen.scale_set.rolling_upgrade
            self.in_flight[command.id] = Sent(command, seen.now_ms, rollout.started_ms if rollout else None)
            handle = self.backend.submit(command)
            self.journal.write(Receipt(command=command.id, handle=handle, now_ms=seen.now_ms))
        if self.state.phase is Phase.ENDED:
            return None
        return Wait(until_ms=step.wake_at_ms, awaiting=step.awaiting, watch=step.watch)

    def _noticed(self, observation: Observation) -> tuple[Note, ...]:
        """What somebody else did since the look before."""
        before, now = self.before, observation.scale_set
        if before is None:
            return ()
        changed = observation.changed
        if changed is None:
            changed = tuple(before.instances.keys() | now.instances.keys())
        return noticed(self.rollout, self.state, before, now, changed)

    def _idle(self, observation: Observation, step: Step) -> bool:
        """Would the turn's record say nothing?"""
        before, now = self.before, observation.scale_set
        if observation.outcomes or observation.requests or step.notes or step.commands:
            return False
        return (
            before is not None
            and observation.changed is not None
            and all(now.instances.get(name) == before.instances.get(name) for name in observation.changed)
            and step.state == self.state
            and now.model == before.model
            and now.rolling_upgrade == before.rolling_upgrade
        )

    def run(self) -> State:
        """Turn after turn, to the end, or until nothing can happen any more (paused, and nobody there to ask)."""
        while (wait := self.turn()) is not None:
            if not self.backend.wait(wait):
                break
        return self.state
