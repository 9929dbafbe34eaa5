"""What must hold of every command before it is sent: the safety rules, by name.

1. One tuple, `ALL`, three users: the property tests, the guard in front of every backend, the conformance kit.
2. A check returns *all* violations and never raises; what breaks inside a check is the guard's to fail closed on.
3. Everything is recomputed from the snapshot, the plan and the commands in flight, never from the machine's own counters.
4. There is no exemption. What may differ between rollouts stands in the vetted plan: `floor`, `rollback_floor`,
   `emergency_floor`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from planner.amount import follow
from planner.change import Target, at_target
from planner.commands import TABLE, Command, Kind
from planner.effects import Touched, touched
from planner.model import Provisioning, ScaleSet, Service, UpgradeMode, in_service, runs, service
from planner.phases import Phase
from planner.plan import MovedBy, Plan
from planner.rollout import Rollout, State, is_there, should_have, surplus
from planner.surge import FallBack

BUSY = (Provisioning.UPDATING, Provisioning.CREATING, Provisioning.DELETING)
# Asked for every instance of a command: reading a member of an enum costs ten times what reading a name does.
_IN = Service.IN


class Sent(NamedTuple):
    """A command in flight: nobody has said how it ended. rollout_ms: when the platform's latest rollout began that was seen when
    it was sent, on the platform's clock; None: none was seen.
    """

    command: Command
    sent_ms: int
    rollout_ms: int | None = None


class Context:
    """One command, judged against one snapshot: what all checks share, computed once."""

    __slots__ = (
        "command",
        "disrupts",
        "effect",
        "exchanged",
        "floor",
        "in_flight",
        "left",
        "now_ms",
        "plan",
        "rollout",
        "scale_set",
        "serving_taken",
        "spare",
        "state",
    )

    def __init__(
        self,
        rollout: Rollout,
        state: State,
        scale_set: ScaleSet,
        command: Command,
        in_flight: Mapping[str, Sent],
        now_ms: int,
    ) -> None:
        self.rollout = rollout
        self.plan: Plan = rollout.plan
        self.state = state
        self.scale_set = scale_set
        self.command = command
        self.in_flight = {name: sent for name, sent in in_flight.items() if name != command.id}
        self.now_ms = now_ms
        self.effect: Touched = touched(command, scale_set, self.plan.resolved.target if not state.back else Target())
        self.spare = surplus(state.surge, scale_set) if state.surge.fresh else 0
        self.exchanged = command.kind is Kind.DELETE and all(name in state.surge.removed for name in command.ids)
        self.disrupts = bool(self.effect.at_once)
        self.floor = self._floor()
        self.left, self.serving_taken = self._serving_left()

    def _floor(self) -> int:
        plan, total = self.plan, should_have(self.plan, self.state.surge, self.state.appended, self.scale_set)
        if plan.surge is not None and not self.exchanged and not self.state.emergency:
            return max(plan.floor_min, follow(plan.surge.in_place_floor, total))
        if self.state.back:
            return follow(plan.emergency_floor if self.state.emergency else plan.rollback_floor, total)
        return max(plan.floor_min, follow(plan.floor, total))

    def _serving_left(self) -> tuple[int, int]:
        """The one pass over the snapshot: how many serve and are neither in flight nor touched; how many of those touched serve."""
        if not self.disrupts:
            return 0, 0
        down = {name for sent in self.in_flight.values() for name in sent.command.ids if self._may_go_down(sent, name)}
        mine = set(self.effect.ids)
        source, instances = self.plan.scale_set.health_source, self.scale_set.instances

        def serve(names: set[str]) -> int:
            return len([1 for name in names if name in instances and service(instances[name], source) is _IN])

        taken = serve(mine)
        left = in_service(self.scale_set, source) - taken - serve(down - mine)
        if self.effect.at_once < len(mine):  # the platform takes only so many at a time
            spared = max(0, taken - self.effect.at_once)
            left, taken = left + spared, taken - spared
        return left, taken

    def _may_go_down(self, sent: Sent, name: str) -> bool:
        """Is an instance in flight to be counted as down, whatever it shows? Past the time an operation may take, only
        where it still shows one: else what it shows is how the operation ended.
        """
        if self.now_ms - sent.sent_ms < self.plan.deadlines.operation_ms:
            return True
        instance = self.scale_set.instances.get(name)
        return instance is not None and instance.provisioning in BUSY


def _over(context: Context) -> bool:
    """Does this command only take away instances that we added, and no more of them than replace none?"""
    fresh, instances = context.state.surge.fresh, context.scale_set.instances
    ours = all(name in fresh and is_there(instances, name, fresh[name]) for name in context.command.ids)
    return context.command.kind is Kind.DELETE and ours and 0 < len(context.command.ids) <= context.spare


class Invariant(NamedTuple):
    """A named rule. `check` returns one sentence per violation."""

    name: str
    why: str
    check: Callable[[Context], list[str]]


def _floor(context: Context) -> list[str]:
    if context.serving_taken and context.left < context.floor:
        return [
            f"{context.command.kind.value} would leave {context.left} instances in service, the floor is {context.floor}"
        ]
    return []


def _one_operation(context: Context) -> list[str]:
    if context.command.kind is Kind.CANCEL_ROLLING:
        return []  # it ends what is in flight, and does nothing to an instance
    span = context.plan.deadlines.operation_ms
    return [
        f"{sent.command.kind.value} ({name}) is still in flight"
        for name, sent in context.in_flight.items()
        if context.now_ms - sent.sent_ms < span and not _rolled_out(context, sent)
    ]


def _rolled_out(context: Context, sent: Sent) -> bool:
    """Does the set show that the platform's rollout is over, which this request was open for, or cancelled? Then the request is."""
    seen = context.scale_set.rolling_upgrade
    over = seen is not None and not seen.open and not seen.in_progress
    if not over or any(one.provisioning in BUSY[:2] for one in context.scale_set.instances.values()):
        return False
    return (
        seen is not None
        and (
            sent.command.kind is Kind.CANCEL_ROLLING or seen.started_ms != sent.rollout_ms
        )  # it cancels what was there
        and _hands_over(context, sent)
        and context.now_ms - sent.sent_ms >= context.plan.deadlines.settle_ms
    )


def _hands_over(context: Context, sent: Sent) -> bool:
    kinds = (Kind.UPDATE_MODEL, Kind.SET_MODE, Kind.START_OS_UPGRADE, Kind.CANCEL_ROLLING)
    return context.plan.handed is not None and sent.command.kind in kinds


def _explicit_ids(context: Context) -> list[str]:
    command = context.command
    if TABLE[command.kind].touches != "ids":
        return []
    if not command.ids or "*" in command.ids:
        return [f"{command.kind.value} names no instances, which the platform reads as all of them"]
    twice = (
        [name for name in command.ids if command.ids.count(name) > 1]
        if len(set(command.ids)) != len(command.ids)
        else []
    )
    missing = [name for name in command.ids if name not in context.scale_set.instances]
    return [f"instance {name} is named twice" for name in dict.fromkeys(twice)] + [
        f"instance {name} does not exist" for name in missing
    ]


def _planned_only(context: Context) -> list[str]:
    if TABLE[context.command.kind].touches != "ids":
        return []
    allowed = context.plan.scale_set.instances if context.state.back else context.rollout.planned
    appended = context.state.appended if context.plan.new_instances == "append" else {}
    return [
        f"instance {name} stands in no batch of the plan"
        for name in context.command.ids
        if name not in allowed
        and name not in appended
        and name not in context.state.surge.fresh
        and name not in context.state.substitutes.joined
    ]


def _one_batch(context: Context) -> list[str]:
    command, state = context.command, context.state
    if TABLE[command.kind].touches != "ids":
        return []
    if command.batch is None and state.phase is Phase.FINISHING and _over(context):
        return []
    if command.batch is None:
        return [f"{command.kind.value} belongs to no batch"]
    batches = state.sequence if state.sequence is not None else (*context.plan.batches, *state.extra)
    if not 0 <= command.batch < len(batches):
        return [f"there is no batch {command.batch + 1}"]
    members = set(batches[command.batch].take)
    members |= {name for name, at in state.substitutes.joined.items() if at == command.batch}
    if command.kind is Kind.DELETE:
        members |= state.surge.fresh.keys()  # what was added for a batch belongs to it
    return [f"instance {name} is not in batch {command.batch + 1}" for name in command.ids if name not in members]


def _protected(context: Context) -> list[str]:
    return [
        f"instance {name} is protected"
        for name in context.effect.ids
        if (one := context.scale_set.instances.get(name)) is not None and one.protected
    ]


def _same_set(context: Context) -> list[str]:
    saw, model = context.plan.scale_set, context.scale_set.model
    if saw.unique_id and model.unique_id and saw.unique_id != model.unique_id:
        return [f"the set's identity is {model.unique_id}, the plan is for {saw.unique_id}"]
    return [] if saw.id.lower() == model.id.lower() else [f"the set is {model.id}, the plan is for {saw.id}"]


def _same_vm(context: Context) -> list[str]:
    found = []
    pins, instances = context.plan.scale_set.instances, context.scale_set.instances
    known = {**context.state.appended, **context.state.surge.fresh}  # by id; empty in most rollouts
    for name in context.command.ids:
        pinned, now = pins.get(name), instances.get(name)
        wanted = (known and known.get(name)) or (pinned.vm_id if pinned else "")
        if now is not None and now.vm_id != wanted and wanted and now.vm_id:
            found.append(f"instance {name} is another VM ({now.vm_id}) than the plan saw ({wanted})")
    return found


def _not_current(context: Context) -> list[str]:
    command = context.command
    if command.kind not in (Kind.UPGRADE, Kind.REIMAGE, Kind.DELETE, Kind.RUN_COMMAND):
        return []
    if len(context.rollout.stages) > 1 or _over(context):
        return []
    found = []
    instances, source, back = context.scale_set.instances, context.plan.scale_set.health_source, context.state.back
    target_of = context.rollout.target
    verdicts: dict[tuple[int, bool | None, int], bool | None] = {}  # instances of one snapshot share their images
    for name in command.ids:
        instance, target = instances.get(name), target_of(name, back)
        if instance is None:
            continue
        key = (id(instance.image), instance.latest_model, id(target))
        if key not in verdicts or target.run_command is not None:
            verdicts[key] = at_target(instance, target)
        if verdicts[key] is True and service(instance, source) is _IN:
            found.append(f"instance {name} is at the target and serves")
    return found


def _not_busy(context: Context) -> list[str]:
    return [
        f"another operation on instance {name} is running ({one.provisioning.value})"
        for name in context.command.ids
        if (one := context.scale_set.instances.get(name)) is not None and one.provisioning in BUSY
    ]


def _mode(context: Context) -> list[str]:
    command, mode = context.command, context.scale_set.model.mode
    finishing = context.state.phase is Phase.FINISHING
    platform = context.plan.moved_by is MovedBy.PLATFORM
    if command.kind is Kind.UPDATE_MODEL and mode is not UpgradeMode.MANUAL and (finishing or not platform):
        return [f"a model update on a set in mode {mode.value} would let the platform move instances"]
    allowed = {context.plan.work_mode, context.plan.scale_set.mode}
    if platform and finishing:
        allowed.add(UpgradeMode.MANUAL)  # the model goes back in it
    if command.kind is Kind.SET_MODE and command.mode not in allowed:
        return [f"mode {command.mode.value if command.mode else None} is neither the plan's nor the one found"]
    return []


def _vetted_change(context: Context) -> list[str]:
    command, resolved = context.command, context.plan.resolved
    if command.kind is Kind.UPDATE_MODEL and command.patch not in (resolved.patch, resolved.reverse):
        return [f"the model update {sorted(command.patch)} is neither the vetted change nor its reverse"]
    if command.kind is Kind.REIMAGE and command.exact_version is not None:
        allowed = {resolved.target.image.exact_version if resolved.target.image else None}
        for name in command.ids:
            pinned = context.plan.scale_set.instances.get(name)
            if pinned is not None and pinned.image is not None:
                allowed.update((pinned.image.exact_version, pinned.image.version))
        if command.exact_version not in allowed:
            return [f"version {command.exact_version} is neither the target nor what the instance ran before"]
    return []


def _model_first(context: Context) -> list[str]:
    """An upgrade brings a VM to the *model*: it must say the target by then."""
    resolved = context.plan.resolved
    if context.command.kind is not Kind.UPGRADE or not resolved.patch:
        return []
    wanted = resolved.back_image if context.state.back else resolved.model_image
    image = context.scale_set.model.image
    if wanted is None or image == wanted or (image is not None and runs(image, wanted) is True):
        return []
    return [f"the model says {image}, not {wanted}"]


def _bounded(context: Context) -> list[str]:
    most = len(context.plan.failures.ladder)
    return [
        f"instance {name} has been tried {memory.attempts} times, the ladder has {most} rungs"
        for name in context.command.ids
        if (memory := context.state.memory.get(name)) is not None and memory.attempts > most
    ]


def _moving_phase(context: Context) -> list[str]:
    if TABLE[context.command.kind].touches != "ids" or context.state.phase in (Phase.ROLLING, Phase.ROLLING_BACK):
        return []
    if context.state.phase is Phase.FINISHING and _over(context):
        return []
    return [f"{context.command.kind.value} in phase {context.state.phase.value}"]


def _way_back(context: Context) -> list[str]:
    if TABLE[context.command.kind].touches != "ids" or context.state.back:
        return []
    return [
        f"what instance {name} goes back to is not pinned"
        for name in context.command.ids
        if name not in context.plan.scale_set.instances
        and name not in context.state.appended
        and name not in context.state.surge.fresh
    ]


def _cancels(context: Context) -> list[str]:
    command, state = context.command, context.state
    if command.kind is not Kind.CANCEL_ROLLING:
        return []
    if context.plan.handed is None:
        return ["there is no rollout of the platform that this plan handed over"]
    if any(sent.command.kind is Kind.CANCEL_ROLLING for sent in context.in_flight.values()):
        return ["it is being cancelled already"]
    return [] if state.ticket is not None else ["nothing of ours is in flight that it could cancel"]


def _started(context: Context) -> list[str]:
    handed = context.plan.handed
    if context.command.kind is not Kind.START_OS_UPGRADE or (handed is not None and handed.by == "os-upgrade"):
        return []
    return ["the plan does not say that the platform upgrades the OS"]


def _capacity(context: Context) -> list[str]:
    """Capacity is absolute: a number below what there is, or is on its way, is a scale-in of the platform's choice."""
    command, state, plan = context.command, context.state, context.plan
    if command.kind is not Kind.SET_CAPACITY:
        return []
    asked, there = command.capacity or 0, len(context.scale_set.instances)
    present = max(there, context.scale_set.model.capacity) if command.batch is not None else there
    if asked < present:
        return [f"capacity {asked} is less than the {present} instances there are: the platform would choose which go"]
    allowed = state.owed
    if command.batch is not None:
        batches = state.sequence if state.sequence is not None else (*plan.batches, *state.extra)
        add = batches[command.batch].add if 0 <= command.batch < len(batches) else 0
        allowed = max(0, add - context.spare)
    more = asked - present
    return [f"{more} instances would be added, {allowed} are vetted"] if more > allowed else []


def _exchange(context: Context) -> list[str]:
    """Of the old ones of a surge at most as many go as were added and replace none yet."""
    if context.plan.surge is None or not context.exchanged:
        return []
    fresh = context.state.surge.fresh
    old = [name for name in context.command.ids if context.state.back or name not in fresh]
    if _over(context) or len(old) <= context.spare:
        return []
    return [f"{len(old)} instances would go, and {context.spare} were added in their place"]


def _in_place(context: Context) -> list[str]:
    plan, command = context.plan, context.command
    if plan.surge is None or TABLE[command.kind].touches != "ids" or context.exchanged:
        return []
    if plan.surge.fallback is not FallBack.IN_PLACE:
        return [f"{command.kind.value} in place, and the plan's fall-back is {plan.surge.fallback.value}"]
    if not context.state.surge.in_place and not context.state.back:
        return [f"{command.kind.value} in place, and nothing was refused"]
    return []


ALL: tuple[Invariant, ...] = (
    Invariant("floor", "no command brings the serving instances that are not in flight below the floor", _floor),
    Invariant("one-operation", "at most one mutating operation per set is in flight", _one_operation),
    Invariant("explicit-ids", "an instance command names existing instances, each once", _explicit_ids),
    Invariant("planned-only", "only instances of the plan are moved", _planned_only),
    Invariant("one-batch", "a command belongs to one batch and stays inside it", _one_batch),
    Invariant("protected", "protected instances are left alone", _protected),
    Invariant("same-set", "the set is the one the plan was made for", _same_set),
    Invariant("same-vm", "an instance id still names the VM the plan saw", _same_vm),
    Invariant("not-current", "an instance that is at the target and serves is not disrupted again", _not_current),
    Invariant("not-busy", "no instance with a running operation gets another one", _not_busy),
    Invariant("mode", "the platform moves instances only where the plan says so", _mode),
    Invariant("vetted-change", "only the vetted change or its reverse is applied", _vetted_change),
    Invariant("model-first", "the model says the target before an instance is upgraded to it", _model_first),
    Invariant("bounded-attempts", "no instance is tried more often than its ladder has rungs", _bounded),
    Invariant("moving-phase", "instances move only while the rollout is rolling", _moving_phase),
    Invariant("way-back", "what an instance goes back to is pinned before it is touched", _way_back),
    Invariant("capacity", "capacity never shrinks by a number, and grows by no more than was vetted", _capacity),
    Invariant("exchange", "an old instance of a surge goes only where an added one takes its place", _exchange),
    Invariant("in-place", "a surge moves instances in place only as its declared fall-back", _in_place),
    Invariant("cancel", "only a rollout that was handed over is cancelled, once at a time", _cancels),
    Invariant("os-upgrade", "the platform upgrades the OS only where the plan says so", _started),
)


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule: which one, on which command, and the sentence."""

    invariant: str
    command: str
    text: str


def check(
    rollout: Rollout, state: State, scale_set: ScaleSet, command: Command, in_flight: Mapping[str, Sent], now_ms: int
) -> tuple[Violation, ...]:
    """All violations of one command."""
    context = Context(rollout, state, scale_set, command, in_flight, now_ms)
    return tuple(
        Violation(invariant=invariant.name, command=command.id, text=text)
        for invariant in ALL
        for text in invariant.check(context)
    )
