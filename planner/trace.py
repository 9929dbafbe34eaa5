"""The event schema that journal, emulator and history checker share: what was seen, decided, sent and answered.

A rollout is a list of records. `Opened` comes first. A `Turn` is one step of the machine: the observation as a delta
against the turn before (a key frame holds everything), the notes, the commands (intent: written before they are sent)
and the resulting State. A `Receipt` says that a command was sent and by which handle it can be asked for. `Refusal` is the
guard's. `Executor` says who goes on from here, `LetGo` that he has ended by himself (one that was killed says nothing),
`Recovered` where from, where an older journal is lost, `Found` what moved in the set while nobody looked, `Unread` that the
set cannot be looked at.
Replaying the turns from the start reproduces every State; that is a test, resume loads the last one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from planner.commands import Command, Outcome
from planner.invariants import Violation
from planner.model import Instance, Model, RollingUpgrade, ScaleSet
from planner.moved import Moved
from planner.rollout import Note, Observation, Opening, OperatorRequest, Rollout, State, View


class _Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="record"
):
    """Base of the tagged union."""


class Opened(_Record, frozen=True, tag="opened"):
    """A rollout begins: the plan's digest, what made it, and at which Resource Manager (empty where that was not kept)."""

    plan_sha256: str
    tool: str
    now_ms: int
    at: str = ""


class Executor(_Record, frozen=True, tag="executor"):
    """An executor begins, or takes over. fence: the number of its lease. wall_ms: ms since 1970, for people."""

    name: str
    fence: int
    wall_ms: int


class LetGo(_Record, frozen=True, tag="let-go"):
    """The executor ends here, by itself, whatever the rollout does: what was sent goes on. why: in a phrase. wall_ms: ms since 1970."""

    wall_ms: int
    why: str


class Recovered(_Record, frozen=True, tag="recovered"):
    """The journal before this one is lost: the State that was rebuilt from the plan and the set. The turns that follow begin there."""

    state: State
    wall_ms: int


class Found(_Record, frozen=True, tag="found"):
    """Who goes on found the set moved: what differs from the journal's last look, and when that was. The turn that follows decides."""

    now_ms: int
    since_ms: int
    moved: tuple[Moved, ...]


class Unread(_Record, frozen=True, tag="unread"):
    """The set cannot be looked at, since when (ms since 1970), and why; empty: it can again. host: who does not answer, where it is that."""

    wall_ms: int
    why: str = ""
    host: str = ""


class Turn(_Record, frozen=True, tag="turn"):
    """One step. `key`: a key frame, the observation stands here whole and was looked at whole."""

    number: int
    now_ms: int
    state: State
    key: bool = False
    model: Model | None = None
    instances: dict[str, Instance] = {}
    gone: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    requests: tuple[OperatorRequest, ...] = ()
    notes: tuple[Note, ...] = ()
    commands: tuple[Command, ...] = ()
    rolling_upgrade: RollingUpgrade | None = None
    window: Opening | None = None


class Receipt(_Record, frozen=True, tag="receipt"):
    """A command was sent. `handle`: opaque, how the platform can be asked about it; empty where nobody answered."""

    command: str
    handle: str
    now_ms: int


class Refusal(_Record, frozen=True, tag="refusal"):
    """The guard refused commands; nothing of this turn was sent."""

    now_ms: int
    violations: tuple[Violation, ...]


Record = Opened | Executor | LetGo | Recovered | Found | Unread | Turn | Receipt | Refusal


def turn(
    number: int,
    observation: Observation,
    before: ScaleSet | None,
    notes: tuple[Note, ...],
    commands: tuple[Command, ...],
    state: State,
) -> Turn:
    """A turn's record: a key frame where everything was looked at, else the delta against `before`."""
    now = observation.scale_set
    key = before is None or observation.changed is None
    changed: Iterable[str] = now.instances if key else observation.changed or ()
    return Turn(
        number=number,
        now_ms=observation.now_ms,
        key=key,
        model=now.model if key or before is None or now.model is not before.model else None,
        instances={name: now.instances[name] for name in changed if name in now.instances},
        gone=() if key else tuple(name for name in changed if name not in now.instances),
        outcomes=observation.outcomes,
        requests=observation.requests,
        notes=notes,
        commands=commands,
        state=state,
        rolling_upgrade=now.rolling_upgrade,
        window=observation.window,
    )


def observations(turns: Iterable[Turn]) -> Iterator[Observation]:
    """The observations behind the records, rebuilt from the deltas."""
    current: ScaleSet | None = None
    for record in turns:
        if record.key or current is None:
            assert record.model is not None  # a key frame holds the model
            current = ScaleSet(model=record.model, instances=record.instances, rolling_upgrade=record.rolling_upgrade)
            changed = None
        else:
            instances = {**current.instances, **record.instances}
            for name in record.gone:
                instances.pop(name, None)
            current = ScaleSet(
                model=record.model or current.model, instances=instances, rolling_upgrade=record.rolling_upgrade
            )
            changed = (*record.instances, *record.gone)
        yield Observation(
            now_ms=record.now_ms,
            scale_set=current,
            changed=changed,
            outcomes=record.outcomes,
            requests=record.requests,
            window=record.window,
        )


def last_look(records: Iterable[Record]) -> Observation | None:
    """The last observation that was written down; None where there was none."""
    made = deque(observations(one for one in records if isinstance(one, Turn)), maxlen=1)
    return made[0] if made else None


def replay(rollout: Rollout, turns: Iterable[Turn], start: State | None = None) -> Iterator[tuple[Turn, State]]:
    """Each turn with the State that the machine reaches by itself from the start (of what was recovered: from there)."""
    records = list(turns)
    state, view = start if start is not None else rollout.start(), None
    for record, observation in zip(records, observations(records), strict=True):
        step = rollout.step(state, observation, None if record.key else view)
        state, view = step.state, step.view
        yield record, state


__all__ = [
    "Executor",
    "Found",
    "LetGo",
    "Opened",
    "Receipt",
    "Record",
    "Recovered",
    "Refusal",
    "Turn",
    "Unread",
    "View",
    "last_look",
    "observations",
    "replay",
    "turn",
]
