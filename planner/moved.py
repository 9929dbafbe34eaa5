"""What moved in a set since it was last looked at: told to who goes on with a rollout, before anything else is decided, and, from one look
to the next, noted by who works on it (`noticed`).

Rules this module decides:

1. Compared are the journal's last snapshot and the first one of who goes on. What the operation that was in flight does is no
   surprise, and neither is that an instance comes to serve which was waited for: neither is told.
2. Every difference has its kind and meaning from the plan's drift table. Where `new_instances` says `stop`, an old instance that
   came since refuses. What is no row of the table (somebody's operation that runs, another setting of the set) is absorbed, or noted.
3. What it leads to is said in the words of the machine's rules; nothing is decided here.
4. From look to look only what nobody else tells is noted (`NOTICED`), and only what cannot be the rollout's own: not what its command in flight
   takes down or the platform moves for it, no instance that it ever worked on, except that it is gone, another VM, protected or old
   again; not what it added or deleted, nor to whom the model is applied that it wrote, whenever that shows. Health, the model and what is waited for are told by the machine's own rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

import msgspec

from planner.buckets import UNSEEN
from planner.change import Target, at_target
from planner.commands import TABLE, Command, Kind
from planner.drift import REPAIRS, SIZE, Absorb, Difference, model_differences
from planner.effects import touched
from planner.gives import otherwise
from planner.model import (
    Gives,
    ImageReference,
    Instance,
    Model,
    Provisioning,
    ScaleSet,
    Service,
    UpgradeMode,
    id_key,
    service,
)
from planner.phases import Phase
from planner.rollout import Note, Rollout, State

JUDGED = frozenset({"mode", "image", "settings", "gives"})
"""Of the model: what the drift table judges."""
SUBJECTS = {"sku": SIZE, "repairs": REPAIRS}
"""And what it judges in part: told once, where that is what it judged."""
UNCOUNTED = frozenset({"name", "id", "unique_id", "etag", "provisioning"}) | JUDGED
OURS: dict[Kind, str] = {
    Kind.SUSPEND_REPAIRS: "repairs",
    Kind.RESUME_REPAIRS: "repairs",
    Kind.SET_CAPACITY: "capacity",
    Kind.DELETE: "capacity",
}
"""What of the model a command of ours changes beside what the table judges."""
NOTICED = frozenset(
    {"capacity", "new", "vanished", "replaced", "reverted", "protected", "placement", "image", "at-target"}
)
"""Rows of the drift table that are noted from look to look."""
NOTES = frozenset(f"drift-{kind}" for kind in NOTICED)
"""What these notes are called. In a rollout's first turn they tell what moved since the plan."""
UNTOUCHED_ONLY = frozenset({"placement", "image", "at-target"})
"""Of an instance that the rollout never worked on: on others these may be its own doing, seen late."""
_NOTED = attrgetter("vm_id", "protected", "zone", "update_domain", "fault_domain", "image", "run_commands")
"""What of an instance these are about, beside that it is deleted, and whether the model is applied to it."""
_BUSY = {Provisioning.UPDATING: "somebody else's operation runs", Provisioning.CREATING: "it is being made"}
_SERVES = {Service.IN: "in service", Service.OUT: "out of service", Service.UNKNOWN: "not known to serve"}


class Moved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One difference. kind: a key of the drift table, `busy`, or `setting`. id: the instance; empty for the set. does: what the
    rollout makes of it.
    """

    kind: str
    what: str
    found: str
    before: str
    verdict: Absorb
    does: str
    id: str = ""


def moved(rollout: Rollout, state: State, before: ScaleSet, now: ScaleSet) -> tuple[Moved, ...]:
    """All that differs, what refuses first, then what the rollout adapts to, then what is noted."""
    found = [*_of_the_set(rollout, state, before.model, now.model), *_of_instances(rollout, state, before, now)]
    order = (Absorb.REFUSE, Absorb.ABSORB, Absorb.NOTE)
    return tuple(sorted(found, key=lambda one: (order.index(one.verdict), bool(one.id), id_key(one.id))))


def noticed(
    rollout: Rollout, state: State, before: ScaleSet, now: ScaleSet, changed: Iterable[str]
) -> tuple[Note, ...]:
    """What somebody else did between two looks (rule 4), as notes. state: before the turn; changed: the instances that may differ."""
    ends = (Phase.FINISHING, Phase.ENDED)
    flying = state.ticket.command if state.ticket is not None else None
    taken = _taken(rollout, state, flying, before)
    written = before.model is not now.model and _content(before.model) != _content(now.model)
    names = [name for name in changed if name not in taken and not _alike(before, now, name, written=written)]
    if state.phase in ends or state.paused_from in ends or not (names or before.model is not now.model):
        return ()
    found: list[Moved] = []
    for one in _of_instances(rollout, state, before, now, names):
        if one.kind in NOTICED and not _own(rollout, state, one, before, written=written):
            found.append(one)
    found += _resized(rollout, state, flying, before, now)
    groups: dict[tuple[str, str], list[Moved]] = {}
    for one in found:
        groups.setdefault((one.kind, one.does), []).append(one)
    return tuple(_note(kind, does, ones) for (kind, does), ones in groups.items())


def _alike(before: ScaleSet, now: ScaleSet, name: str, *, written: bool) -> bool:
    """Is it the same in all that is noted? Most that changes is health, and, where the model was written, whether it is applied: by the thousand. That
    it is may show in a later look than the model, so by itself that counts only of an instance that somebody was seen at work on.
    """
    was, one = before.instances.get(name), now.instances.get(name)
    if was is None or one is None:
        return was is one
    deleting = Provisioning.DELETING
    late = one.latest_model is True and was.provisioning is not Provisioning.UPDATING
    return was is one or (
        (written or late or was.latest_model is one.latest_model)
        and (was.provisioning is deleting) is (one.provisioning is deleting)
        and _NOTED(was) == _NOTED(one)
    )


def _taken(rollout: Rollout, state: State, flying: Command | None, before: ScaleSet) -> frozenset[str]:
    """The instances that our own command in flight takes down."""
    if flying is None:
        return frozenset()
    return frozenset(touched(flying, before, Target() if state.back else rollout.plan.resolved.target).ids)


def _own(rollout: Rollout, state: State, one: Moved, before: ScaleSet, *, written: bool) -> bool:
    """May it be the rollout's own doing, or the platform's for it?"""
    name, memory = one.id, state.memory.get(one.id)
    if one.kind == "vanished":
        replacing = state.owed or state.substitutes.wanted
        return name in state.surge.removed or bool(memory is not None and memory.failed and replacing)
    if one.kind in ("reverted", "at-target") and written:
        return True  # it makes instances old, or the latest again, all at once: the machine tells that
    if one.kind in UNTOUCHED_ONLY:
        moves = before.model.mode is not UpgradeMode.MANUAL and one.kind != "placement"
        ours = memory is not None or name in state.surge.fresh or name in state.substitutes.joined
        return ours or moves or rollout.platform
    return False


def _content(model: Model) -> tuple[object, ...]:
    return (model.image, model.sku, model.settings, model.gives)


def _resized(
    rollout: Rollout, state: State, flying: Command | None, before: ScaleSet, now: ScaleSet
) -> Iterator[Moved]:
    """Another capacity, where none of ours can be behind it."""
    was, is_ = before.model.capacity, now.model.capacity
    ours = flying is not None and OURS.get(flying.kind) == "capacity"
    if was == is_ or ours or state.surge.wanted or state.surge.removed or state.substitutes.wanted or state.owed:
        return
    if any(one.provisioning is Provisioning.DELETING for one in before.instances.values()):
        return  # told when it began
    verdict, does = rollout.plan.drift["capacity"], "the floor follows the number of instances"
    yield Moved(kind="capacity", what="capacity", found=str(is_), before=str(was), verdict=verdict, does=does)


def _note(kind: str, does: str, ones: list[Moved]) -> Note:
    ids = tuple(one.id for one in ones if one.id)
    if len(ones) == 1:
        text = f"{ones[0].what}: {ones[0].found} (was {ones[0].before}): {does}"
    else:
        text = f"instances {', '.join(ids)}: {ones[0].found if kind != 'replaced' else 'other VMs'}: {does}"
    return Note(rule=f"drift-{kind}", text=text, ids=ids)


def _of_the_set(rollout: Rollout, state: State, before: Model, now: Model) -> Iterator[Moved]:
    flying = state.ticket.command.kind if state.ticket is not None else None
    judged, known = _judged(rollout, state, now), _judged(rollout, state, before)
    for one in judged:
        if one not in known:
            stops = one.verdict is Absorb.REFUSE
            yield Moved(
                kind=one.kind,
                what=one.subject,
                found=one.found,
                before=one.expected,
                verdict=one.verdict,
                does="the rollout stops" if stops else "it goes on",
            )
    ours = flying in (Kind.UPDATE_MODEL, Kind.SET_MODE, Kind.START_OS_UPGRADE)
    own = OURS.get(flying, "") if flying is not None else ""
    for name in Model.__struct_fields__:
        was, one_ = getattr(before, name), getattr(now, name)
        told = name in JUDGED and (ours or bool(judged))
        told = told or any(one.subject == SUBJECTS.get(name) for one in judged)
        if was == one_ or told or name == own or name in UNCOUNTED - JUDGED:
            continue
        if name == "capacity":
            does = "the floor follows the number of instances"
            verdict = rollout.plan.drift["capacity"]
            yield Moved(kind=name, what=name, found=str(one_), before=str(was), verdict=verdict, does=does)
        else:
            yield from _settings(name, was, one_)


def _judged(rollout: Rollout, state: State, model: Model) -> list[Difference]:
    return model_differences(
        rollout.plan, model, modes=rollout.modes(state), images=rollout.images(state), says=rollout.says(state)
    )


def _settings(name: str, was: Any, now: Any) -> Iterator[Moved]:
    """Something of the model that no rule is about, as deep as it differs."""
    if isinstance(was, Gives) and isinstance(now, Gives):
        for path, found, before in otherwise(was, now):
            yield Moved(kind="setting", what=path, found=found, before=before, verdict=Absorb.NOTE, does="it goes on")
    elif isinstance(was, msgspec.Struct) and type(was) is type(now) and not isinstance(was, ImageReference):
        for one in was.__struct_fields__:
            yield from _settings(f"{name}.{one}", getattr(was, one), getattr(now, one))
    elif isinstance(was, dict) and isinstance(now, dict):
        for path in sorted(was.keys() | now.keys()):
            yield from _settings(path, was.get(path), now.get(path))
    elif was != now:
        found, before = (str(getattr(one, "value", one)) for one in (now, was))
        yield Moved(kind="setting", what=name, found=found, before=before, verdict=Absorb.NOTE, does="it goes on")


def _of_instances(
    rollout: Rollout, state: State, before: ScaleSet, now: ScaleSet, names: Iterable[str] | None = None
) -> Iterator[Moved]:
    """names: those that may differ; None: all."""
    flying = state.ticket.command if state.ticket is not None else None
    hands_over = rollout.plan.handed is not None and flying is not None and TABLE[flying.kind].touches != "ids"
    ours = frozenset(flying.ids) if flying is not None else frozenset[str]()
    expected = _asked_for(flying, before) + state.substitutes.wanted
    if flying is None or flying.kind is not Kind.SET_CAPACITY:
        expected += state.surge.wanted  # they may show after the operation that added them has ended
    for name in sorted(before.instances.keys() | now.instances.keys() if names is None else names, key=id_key):
        was, one = before.instances.get(name), now.instances.get(name)
        if one is None or one.provisioning is Provisioning.DELETING:
            if was is not None and was.provisioning is not Provisioning.DELETING and name not in ours:
                yield _make(rollout, "vanished", name, "gone", "present", _leaves(rollout, state, name))
        elif was is None:
            if expected:
                expected -= 1
            else:
                yield _came(rollout, state, "new", one, "not there")
        elif was.vm_id and one.vm_id and was.vm_id != one.vm_id:
            yield _came(rollout, state, "replaced", one, f"VM {was.vm_id}", f"VM {one.vm_id}")
        elif name not in ours and not hands_over:
            yield from _changed(rollout, state, was, one, now)


def _asked_for(flying: Command | None, before: ScaleSet) -> int:
    """How many instances our own operation adds."""
    if flying is None or flying.kind is not Kind.SET_CAPACITY:
        return 0
    return max(0, (flying.capacity or 0) - len(before.instances))


def _changed(rollout: Rollout, state: State, was: Instance, one: Instance, now: ScaleSet) -> Iterator[Moved]:
    """The same VM, differently."""
    name, target = one.id, rollout.target(one.id, state.back)
    if was.protected != one.protected:
        words = ("not protected", "protected")
        does = _leaves(rollout, state, name) if one.protected else "it is moved with its batch, where that is ahead"
        yield _make(rollout, "protected", name, words[one.protected], words[was.protected], does)
    place = ((was.zone, was.update_domain, was.fault_domain), (one.zone, one.update_domain, one.fault_domain))
    if place[0] != place[1]:
        yield _make(rollout, "placement", name, _domains(place[1]), _domains(place[0]), "it stays in its batch")
    memory = state.memory.get(name)
    there = (at_target(was, target) is True, at_target(one, target) is True)
    # The result of our own operation may show later, unless that failed: then somebody repaired it.
    why = "" if memory is None else memory.quarantined or memory.failed
    ended = memory is not None and memory.ended_ms is not None and (not why or why in UNSEEN)
    if there == (False, True) and not ended:
        yield _make(rollout, "at-target", name, str(one.image), str(was.image), "somebody else moved it: skipped")
    elif there == (True, False) and memory is not None and memory.done:
        yield _came(rollout, state, "reverted", one, "at the target", "old again")
    elif was.image != one.image and not ended:
        yield _make(rollout, "image", name, str(one.image), str(was.image), "it is moved with its batch")
    if was.provisioning is not one.provisioning and one.provisioning in _BUSY:
        found = _BUSY[one.provisioning]
        yield _make(rollout, "busy", name, found, was.provisioning.value, "waited for until it ends")
    source = now.model.health_source
    serves = (service(was, source), service(one, source))
    awaited = memory is not None and ended and not memory.done
    if serves[0] is not serves[1] and not awaited:
        does = "it counts again" if serves[1] is Service.IN else "floor and gates count without it"
        yield _make(rollout, "health", name, _SERVES[serves[1]], _SERVES[serves[0]], does)


def _domains(place: tuple[str | None, int | None, int | None]) -> str:
    names = ("zone", "update domain", "fault domain")
    return ", ".join(f"{name} {one}" for name, one in zip(names, place, strict=True) if one is not None) or "no domain"


def _came(rollout: Rollout, state: State, kind: str, one: Instance, before: str, found: str = "present") -> Moved:
    """An instance that the rollout did not know so: by `new_instances`, unless it is at the target."""
    plan = rollout.plan
    if at_target(one, rollout.target(one.id, state.back)) is True:
        return _make(rollout, kind, one.id, found, before, "it is at the target: nothing is to be done")
    if state.back or rollout.platform or plan.new_instances == "leave":
        return _make(rollout, kind, one.id, found, before, "left as it is")
    if plan.new_instances == "stop":
        made = _make(rollout, kind, one.id, found, before, "the rollout stops")
        return msgspec.structs.replace(made, verdict=Absorb.REFUSE)
    return _make(rollout, kind, one.id, found, before, "appended: moved after the batches")


def _leaves(rollout: Rollout, state: State, name: str) -> str:
    memory = state.memory.get(name)
    if name not in rollout.planned and name not in state.appended:
        return "it was in no batch"
    return "its batch counts without it" if memory is not None and memory.done else "leaves its batch"


def _make(rollout: Rollout, kind: str, name: str, found: str, before: str, does: str) -> Moved:
    verdict = rollout.plan.drift.get(kind, Absorb.ABSORB)
    return Moved(kind=kind, what=f"instance {name}", found=found, before=before, verdict=verdict, does=does, id=name)
