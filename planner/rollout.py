"""The rollout machine: `start() -> State`, `step(state, observation) -> Step`. Sans-IO, level-triggered.

Rules this module decides:

1. At most one mutating operation per set is in flight.
2. Admission: from the current batch at most `in service - floor` instances that serve or may serve are taken, and those
   out of service for free. Fewer may be taken, or none, always by a named rule; never more, never in another order.
3. A batch is decided when each of its instances is current, given up, skipped, protected or gone; then its gates are
   judged, then the pause, then the next batch.
4. A failed instance climbs the plan's ladder; more than `max_failed` given up (strict >) ends the rollout as the plan says.
5. An unknown outcome is looked at after `settle_ms`: adopt what the snapshot shows; where it shows no effect, decide
   anew what to send (as after a refusal); without evidence, ask.
6. A new or reverted stale instance is appended, left or stops the rollout, by the plan's `new_instances`.
7. Every wait has a deadline. Every decision is a note with the rule's name.
8. A surge adds before it takes, batch by batch (`machine/surge.py`); what it added and what it took is remembered by id and
   VM, and `surplus` counts it against the snapshot.
9. No batch starts, and nothing is prepared or handed over, unless the window is open for as long as that takes (`machine/windows.py`);
   what has begun goes on, and the way back waits for no window.
10. An instance that is replaced counts as moved when what takes its place serves (`machine/substitutes.py`).
11. A rollout that the platform does by its own policy is watched while its request is open, and cancelled where a gate does
   not hold (`machine/handover.py`): cancel aside, at most one mutating operation is in flight.

`State` is small and savable; `View` is what was derived from it and the last snapshot, and may be dropped at any time:
`step` with a view and `changed` equals `step` with neither (a property test).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from planner.buckets import Memory, Seen
from planner.change import STAGES, Action, GuestPatch, PropertyChange, Target
from planner.commands import Command, Outcome
from planner.model import HealthSource, ImageReference, Instance, Model, ScaleSet, UpgradeMode, runs
from planner.phases import Phase
from planner.plan import MovedBy, Plan
from planner.scripts import undo_of
from planner.strategies.base import Batch


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what is saved."""


class Ticket(_Value, frozen=True, kw_only=True):
    """An operation in flight. unknown_ms: since when its outcome is unknown. disks: OS disks before a reimage, and those of
    instances that had failed before.
    """

    command: Command
    sent_ms: int
    unknown_ms: int | None = None
    disks: dict[str, str | None] = {}


class Surge(_Value, frozen=True, kw_only=True):
    """What is remembered of a surge.

    fresh: the instances we added, id to VM id, in the order they came. removed: those we deleted, likewise. strangers: those
    that were neither the plan's nor ours when more were asked for. mark: how many of `fresh` belong to what is behind.
    back_from: from which of `fresh` on they go back. changed: instances that were changed in place.
    wanted: how many were asked for and have not been seen yet; ended_ms: since when the answer is there.
    Of the current batch: tries: scale-outs that gave too few. given: places that were given up. in_place: the fall-back is
    at work.
    """

    fresh: dict[str, str] = {}
    removed: dict[str, str] = {}
    strangers: dict[str, str] = {}
    changed: tuple[str, ...] = ()
    mark: int = 0
    back_from: int = 0
    wanted: int = 0
    ended_ms: int | None = None
    tries: int = 0
    given: int = 0
    in_place: bool = False


NO_SURGE = Surge()


def is_there(instances: Mapping[str, Instance], name: str, vm_id: str) -> bool:
    """Is this VM in the set? An id may name another VM by now."""
    one = instances.get(name)
    return one is not None and (not vm_id or not one.vm_id or one.vm_id == vm_id)


def surplus(surge: Surge, scale_set: ScaleSet) -> int:
    """How many instances the set has above what it should have: those we added, less those we took in exchange."""
    instances, fresh = scale_set.instances, surge.fresh
    here = sum(is_there(instances, name, vm_id) for name, vm_id in fresh.items())
    gone = sum(
        not is_there(instances, name, vm_id) for name, vm_id in surge.removed.items() if fresh.get(name) != vm_id
    )
    return max(0, here - gone)


def unknown(plan: Plan, added: Mapping[str, str], scale_set: ScaleSet) -> dict[str, str]:
    """Instances that are neither the plan's nor ours (`added`): id to VM id."""
    pins, instances, found = plan.scale_set.instances, scale_set.instances, {}
    for name, one in instances.items():
        pinned = pins.get(name)
        known = pinned is not None and (not pinned.vm_id or not one.vm_id or pinned.vm_id == one.vm_id)
        if not known and not (name in added and is_there(instances, name, added[name])):
            found[name] = one.vm_id
    return found


def should_have(plan: Plan, surge: Surge, appended: Mapping[str, str], scale_set: ScaleSet) -> int:
    """How many instances the set should have now: without the surplus, nor what has come since a surge asked for it and is not claimed yet."""
    total = len(scale_set.instances)
    if surge.fresh:
        total -= surplus(surge, scale_set)
    if surge.wanted:
        new = unknown(plan, {**appended, **surge.fresh}, scale_set).items() - surge.strangers.items()
        total -= min(surge.wanted, len(new))
    return total


class Substitutes(_Value, frozen=True, kw_only=True):
    """What is remembered of instances that take the place of others, which were deleted to be replaced.

    wanted: how many were asked for and have not been seen yet; ended_ms: since when the answer is there; strangers: instances that were
    neither the plan's nor ours when they were asked for. joined: those that came, with the index of the batch that waits for them
    (-1: they stand in a batch themselves).
    """

    wanted: int = 0
    ended_ms: int | None = None
    strangers: dict[str, str] = {}
    joined: dict[str, int] = {}


NO_SUBSTITUTES = Substitutes()


class Handed(_Value, frozen=True, kw_only=True):
    """What is remembered of a rollout that the platform does.

    before: when the platform's rollout before it began, on its clock. below_ms: since when fewer than the floor serve.
    over_ms: since when it is over, though its request is not answered. cancel: its
    cancelling, in flight. asked: it was asked for. tries, later_ms: how often, and when again at the earliest. waits: it cannot be
    handed over yet.
    """

    before: int | None = None
    below_ms: int | None = None
    over_ms: int | None = None
    cancel: Ticket | None = None
    asked: bool = False
    tries: int = 0
    later_ms: int = 0
    waits: bool = False


NOT_HANDED = Handed()


class State(_Value, frozen=True, kw_only=True):
    """Where a rollout stands: all that is remembered between two steps.

    ending: key of the plan's end-state table once it is decided. back: instances go back. step: index of the set-level
    step. mode_set: the set has been in the plan's work mode. batch: index into the batches (`sequence` when going back, else the plan's, then `extra`). queue: appended
    instances not yet in a batch. appended: their vm ids. held_ms: since when the gate holds. owed: instances deleted by
    us and not yet replaced. request: id of the last operator request heard. surge: what was added and taken in exchange.
    handed: of a rollout that the platform does. substitutes: what takes the place of what was replaced. releasing: temporary changes are being undone while it is paused. released: they
    were, so the set is prepared again before anything moves. rested_ms: since when it waits for a window.
    """

    phase: Phase = Phase.PREPARING
    paused_from: Phase | None = None
    ending: str = ""
    reason: str = ""
    question: str = ""
    back: bool = False
    emergency: bool = False
    step: int = 0
    step_ended_ms: int | None = None
    step_command: str = ""
    mode_set: bool = False
    batch: int = 0
    sequence: tuple[Batch, ...] | None = None
    extra: tuple[Batch, ...] = ()
    queue: tuple[str, ...] = ()
    appended: dict[str, str] = {}
    ticket: Ticket | None = None
    memory: dict[str, Memory] = {}
    started_ms: int | None = None
    direction_ms: int = 0
    given_up: int = 0
    progress_ms: int = 0
    not_before_ms: int = 0
    gate_ms: int | None = None
    held_ms: int | None = None
    next_id: int = 1
    refusals: int = 0
    request: int = 0
    approved: int = 0
    baseline: int = 0
    owed: int = 0
    pause_wanted: bool = False
    surge: Surge = NO_SURGE
    handed: Handed = NOT_HANDED
    substitutes: Substitutes = NO_SUBSTITUTES
    releasing: bool = False
    released: bool = False
    rested_ms: int | None = None


class Asked(str, Enum):
    """What an operator may ask of a running rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"
    EMERGENCY = "rollback-emergency"
    APPROVE = "approve"
    SKIP = "skip"
    RETRY = "retry"
    REPLACE = "replace"
    RELEASE = "release"


class OperatorRequest(_Value, frozen=True, kw_only=True):
    """One request, numbered from 1 in the order made. ids: instances, for skip, retry and replace. by: who made it, where that is known.
    at_ms: when, by the wall clock, for people; 0: not kept.
    """

    id: int
    asked: Asked
    ids: tuple[str, ...] = ()
    reason: str = ""
    by: str = ""
    at_ms: int = 0


class Opening(_Value, frozen=True, kw_only=True):
    """The plan's windows as they are now: open until, or shut until; None: for ever. until: the same for people, in the plan's time zone.
    frozen: the freeze that shuts it now, with its reason.
    """

    open: bool
    until_ms: int | None = None
    until: str = ""
    frozen: str = ""


class Observation(_Value, frozen=True, kw_only=True):
    """What a step is told. changed: ids that differ from the last observation; None means: look at everything. window: None where
    nobody keeps the calendar (a simulation): then windows hold nothing back.
    """

    now_ms: int
    scale_set: ScaleSet
    changed: tuple[str, ...] | None = None
    outcomes: tuple[Outcome, ...] = ()
    requests: tuple[OperatorRequest, ...] = ()
    window: Opening | None = None


class Note(_Value, frozen=True, kw_only=True):
    """A decision, with the rule behind it."""

    rule: str
    text: str
    ids: tuple[str, ...] = ()
    batch: int | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What was derived: each instance's bucket, how many serve, how many are strays (foreign, reverted, replaced) or
    upgraded and out of service (late), and the model it was derived under. whole: False while the set is being prepared:
    nothing was classified yet.
    """

    seen: dict[str, Seen]
    serving: int
    strays: int
    late: int
    model: Model
    whole: bool


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step's answer. Wake me when the operation ends, all of `awaiting` serve, an operator asks, or at `wake_at_ms`;
    with `watch`, also when an instance starts or stops serving for another reason.
    """

    state: State
    commands: tuple[Command, ...]
    wake_at_ms: int | None
    notes: tuple[Note, ...]
    view: View
    awaiting: tuple[str, ...] = ()
    watch: bool = False


class Rollout:
    """A plan with what is looked up in it again and again. Immutable; `step` is a pure function."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.platform = plan.moved_by is MovedBy.PLATFORM
        self.source: HealthSource = plan.scale_set.health_source
        self.stages = STAGES[plan.resolved.action]
        self.planned = frozenset(name for batch in plan.batches for name in batch.take)
        self.largest = max((len(batch.take) for batch in plan.batches), default=1)
        self._back: dict[ImageReference | None, Target] = {}

    def start(self) -> State:
        """The state before the first observation."""
        return State()

    def step(self, state: State, observation: Observation, view: View | None = None) -> Step:
        """Decide. Pure: the same arguments give the same answer."""
        from planner.machine.turn import Turn  # noqa: PLC0415  # the turn needs this module's values

        return Turn(self, state, observation, view).run()

    def target(self, name: str, back: bool) -> Target:
        """Where an instance should be, forward or back."""
        resolved = self.plan.resolved
        if not back:
            return resolved.target
        pinned = self.plan.scale_set.instances.get(name)
        image = pinned.image if pinned else None
        made = self._back.get(image)
        if made is None:
            made = self._back[image] = self._back_target(image)
        return made

    def _back_target(self, image: ImageReference | None) -> Target:
        resolved = self.plan.resolved
        if isinstance(resolved.change, GuestPatch):
            return Target(run_command=undo_of(resolved.target.run_command or ""))
        back = resolved.back_image
        if isinstance(resolved.change, PropertyChange):
            # An instance that was stale got the model's image as well.
            if resolved.action is not Action.RESTART and back is not None and runs(image, back) is False:
                return Target(image=image)
            return resolved.target
        if resolved.patch and back is not None and (image is None or runs(image, back) is not False):
            return Target(image=back, latest_model=resolved.action is not Action.REIMAGE)
        return Target(image=image or back)

    def back_exact(self, name: str) -> str | None:
        """The version an instance must be reimaged to on the way back, where the model would not give it."""
        pinned = self.plan.scale_set.instances.get(name)
        target = self.target(name, True)
        if pinned is None or pinned.image is None or target.image is None or target.latest_model:
            return None
        return pinned.image.exact_version or pinned.image.version

    def modes(self, state: State) -> frozenset[UpgradeMode]:
        """The upgrade modes that may be seen in this state."""
        if state.mode_set and Phase.FINISHING not in (state.phase, state.paused_from):
            return frozenset({self.plan.work_mode})
        if self.platform and Phase.FINISHING in (state.phase, state.paused_from):  # the model goes back in it
            return frozenset({self.plan.work_mode, self.plan.scale_set.mode, UpgradeMode.MANUAL})
        return frozenset({self.plan.work_mode, self.plan.scale_set.mode})

    def images(self, state: State) -> tuple[ImageReference | None, ...]:
        """The model images that may be seen in this state."""
        resolved, moving = self.plan.resolved, _moving(state)
        if moving is Phase.ROLLING or (moving is not None and not resolved.reverse):
            return (resolved.model_image,)
        if moving is not None:
            return (resolved.back_image,)
        return (self.plan.scale_set.image, resolved.model_image, resolved.back_image)

    def says(self, state: State) -> dict[str, Any]:
        """The model paths whose value is settled in this state."""
        resolved, moving = self.plan.resolved, _moving(state)
        return {} if moving is None else resolved.patch if moving is Phase.ROLLING else resolved.reverse


def _moving(state: State) -> Phase | None:
    """The phase in which instances move, also while it is paused; None in all others."""
    phase = state.paused_from if state.phase is Phase.PAUSED else state.phase
    return phase if phase in (Phase.ROLLING, Phase.ROLLING_BACK) else None
