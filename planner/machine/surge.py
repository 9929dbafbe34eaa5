"""Surge: what was added and what was taken in exchange, how that ends, and how it is undone.

Named rules (the notes carry the names):

* surge-claimed: what is new while our scale-out runs, and for the settle time after, is ours, up to what was asked for: those
  that show the target before the others, then by id. What is beyond that came by somebody else and is left alone.
* surge-short: a scale-out that gave fewer than asked, or failed, is repeated as often as the plan says; then, or at once where
  the platform says that there is no room, the fall-back: surge-in-place for this batch, or surge-refused and stop.
* surge-adds: capacity is an absolute number, so it is worked out anew from the snapshot whenever it is sent: never below what
  the set has or is told to have, so a repetition after somebody scaled out is no scale-in.
* surge-over: what was added and replaces none is taken away in the end, as far as the floor lets it go; else surge-left.
* On the way back what was added and replaces none goes first; what replaced others is exchanged in reverse, newest first,
  once the model says the old target. Where no model change brought them there is no old target to boot: surge-stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from planner import rollout
from planner.buckets import Memory
from planner.change import at_target
from planner.commands import Command, Kind, Outcome
from planner.lint import wording
from planner.machine import setlevel
from planner.model import Provisioning, Service, id_key
from planner.phases import Phase
from planner.strategies.base import Batch
from planner.surge import FallBack, is_shortage

if TYPE_CHECKING:
    from planner.machine.turn import Turn

_replace = msgspec.structs.replace
_COMING = (Provisioning.CREATING, Provisioning.UPDATING)


def adds(command: Command) -> bool:
    """Is this the scale-out of a batch? One that only makes good what was deleted belongs to no batch."""
    return command.kind is Kind.SET_CAPACITY and command.batch is not None


def unknown(t: Turn) -> dict[str, str]:
    """Instances that are neither the plan's nor ours: id to VM id."""
    return rollout.unknown(t.plan, t.added(), t.set)


def coming(t: Turn) -> bool:
    """Is something being created that is new since we asked?"""
    strangers = t.surge.strangers
    return any(
        t.set.instances[name].provisioning in _COMING
        for name, vm_id in unknown(t).items()
        if not (name in strangers and strangers[name] == vm_id)
    )


def claim(t: Turn) -> None:
    """Rule surge-claimed, once the scale-out has been answered."""
    surge = t.surge
    if surge.ended_ms is None:
        if t.ticket is not None:
            return
        surge = _replace(surge, ended_ms=t.now)  # nobody waits for the answer any more
        t.put(surge=surge)
    since = t.now if surge.ended_ms is None else surge.ended_ms
    new = [
        name
        for name, vm_id in unknown(t).items()
        if not (name in surge.strangers and surge.strangers[name] == vm_id)
        and t.set.instances[name].provisioning is not Provisioning.DELETING
    ]
    new.sort(key=lambda name: (at_target(t.set.instances[name], t.rollout.target(name, t.back)) is False, id_key(name)))
    mine = new[: surge.wanted]
    if mine:
        _take_in(t, mine)
    if t.surge.wanted and t.now >= since + t.plan.deadlines.settle_ms:
        t.note("surge-short", f"{t.surge.wanted} of those asked for did not come")
        t.put(surge=_replace(t.surge, wanted=0, tries=t.surge.tries + 1))
    if len(new) > len(mine) and mine:
        t.note(
            "surge-claimed", f"{len(new) - len(mine)} more came by somebody else and are left alone", new[len(mine) :]
        )


def _take_in(t: Turn, mine: list[str]) -> None:
    """These are ours from now on."""
    surge = t.surge
    fresh, removed = dict(surge.fresh), dict(surge.removed)
    mark, back_from = surge.mark, surge.back_from
    order = list(fresh)
    for name in mine:
        if name in fresh:  # an id that one of ours had before
            if removed.get(name) == fresh[name]:
                del removed[name]
            mark -= order.index(name) < surge.mark
            back_from -= order.index(name) < surge.back_from
            del fresh[name]
        fresh[name] = t.set.instances[name].vm_id
        if Phase.PREPARING not in (
            t.phase,
            t.paused_from,
        ):  # else they are from before it turned back, and looked at anew
            t.remember(name, Memory(stage=len(t.rollout.stages), ended_ms=t.now))
    left = surge.wanted - len(mine)
    t.put(surge=_replace(surge, fresh=fresh, removed=removed, mark=mark, back_from=back_from, wanted=left))
    t.note("surge-claimed", f"{wording.instances(len(mine))} added", mine)


def settle_addition(t: Turn, command: Command, failed: str, message: str) -> None:
    """A scale-out ended; what came of it is seen in `claim`."""
    t.put(surge=_replace(t.surge, ended_ms=t.now))
    text = f"failed: {failed} {message}".rstrip() if failed else "ended"
    t.note("operation-failed" if failed else "operation-ended", f"set-capacity {text}", batch=command.batch)
    claim(t)
    if not failed:
        return
    if t.surge.wanted:
        t.put(surge=_replace(t.surge, wanted=0, tries=t.surge.tries + 1))
    if _moving(t) and is_shortage(failed, message):
        fall_back(t, f"there is no room to add: {failed} {message}".rstrip())


def refused(t: Turn, outcome: Outcome) -> bool:
    """A scale-out was refused, or had no effect. True: for want of room, which asking again does not mend."""
    if outcome.code == "NoEffect":  # some may have come all the same
        t.put(surge=_replace(t.surge, ended_ms=t.now))
        claim(t)
    t.put(surge=_replace(t.surge, wanted=0))
    if _moving(t) and is_shortage(outcome.code, outcome.message):
        t.put(refusals=0)
        fall_back(t, f"there is no room to add: {outcome.code} {outcome.message}".rstrip())
        return True
    return False


def _moving(t: Turn) -> bool:
    return Phase.ROLLING in (t.phase, t.paused_from) or Phase.ROLLING_BACK in (t.phase, t.paused_from)


def fall_back(t: Turn, why: str) -> None:
    """What the plan says where nothing can be added: this batch in place, or stop."""
    surging = t.plan.surge
    if surging is not None and surging.fallback is FallBack.IN_PLACE:
        t.put(surge=_replace(t.surge, in_place=True))
        t.note("surge-in-place", f"{why}; this batch is done in place", batch=t.batch)
        return
    t.note("surge-refused", why, batch=t.batch)
    t.end("stop", why)


def note_removal(t: Turn, names: tuple[str, ...]) -> None:
    """These are about to be deleted in exchange, or since they replace none."""
    removed = {**t.surge.removed, **{name: t.set.instances[name].vm_id for name in names}}
    t.put(surge=_replace(t.surge, removed=removed))


def moved(t: Turn, names: list[str]) -> None:
    """These are about to be changed in place; which of them was to be deleted is not any more."""
    left = {name: vm_id for name, vm_id in t.surge.removed.items() if name not in names}
    changed = (*t.surge.changed, *(name for name in names if name not in t.surge.changed))
    t.put(surge=_replace(t.surge, removed=left, changed=changed))


def settle_removal(t: Turn, command: Command, failed: str) -> None:
    """A deletion ended."""
    own = command.id == t.step_command
    if own and failed:
        setlevel.skip_step(t, f"delete failed: {failed}")
    elif own:
        t.put(step_ended_ms=t.now)
    elif failed and not (t.back and Phase.PREPARING in (t.phase, t.paused_from)):
        for name in command.ids:
            memory = t.memory.get(name, Memory())
            climbed = memory.attempts + bool(memory.failed)
            t.remember(name, _replace(memory, failed=failed, ended_ms=t.now, attempts=climbed))
    t.note(
        "operation-failed" if failed else "operation-ended",
        f"delete of {len(command.ids)} {'failed: ' + failed if failed else 'ended'}",
        command.ids,
        command.batch,
    )


def next_batch(t: Turn) -> None:
    """The batch is done: what was remembered of it is forgotten."""
    surge = t.surge
    done = _replace(surge, mark=len(surge.fresh), tries=0, given=0, in_place=False, ended_ms=None)
    if done != surge:
        t.put(surge=done)


def _alive(t: Turn) -> list[str]:
    """What was added and is there, newest first; what does not serve before the rest."""
    instances, fresh = t.set.instances, t.surge.fresh
    alive = [
        name
        for name in reversed(fresh)
        if rollout.is_there(instances, name, fresh[name]) and instances[name].provisioning is not Provisioning.DELETING
    ]
    return sorted(alive, key=lambda name: t.seen[name].service is not Service.OUT)


def not_needed(t: Turn) -> tuple[str, ...]:
    """Rule surge-over: what was added, replaces none, and may go."""
    budget, taken = t.serving - t.floor(), []
    for name in _alive(t)[: t.spare()]:
        one = t.set.instances[name]
        if one.protected or one.provisioning in _COMING:
            continue
        if t.seen[name].service is not Service.OUT:
            if budget <= 0:
                continue
            budget -= 1
        taken.append(name)
    return tuple(taken)


def left_over(t: Turn) -> None:
    """Rule surge-left: what stays, though it replaces none."""
    if t.plan.ends[t.ending].added == "removed" and t.spare():
        t.note(
            "surge-left",
            f"{wording.instances(t.spare())} more than before left: the floor needs them, or they are protected",
        )
        t.worsen(f"{t.spare()} added instances are left")


def way_back(t: Turn) -> None:
    """The batches of the way back get what was added: what replaces none first, what replaced others last."""
    if t.dirty is None:
        t.classify()
    surge, spare = t.surge, t.spare()
    alive = _alive(t)
    over, rest = alive[:spare], alive[spare:]
    ours = list(surge.fresh)
    rest = sorted((name for name in rest if name in ours[surge.back_from :]), key=ours.index, reverse=True)
    size = t.rollout.largest
    made = [Batch(take=tuple(over), why="back: added, and replaces none")] if over else []
    again: list[Batch] = []
    if rest and t.plan.resolved.reverse:
        parts = [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]
        again = [Batch(take=part, why="back: exchanged in reverse", add=len(part)) for part in parts]
    elif rest:
        t.note(
            "surge-stays", f"{len(rest)} instances that replaced others stay: the model has no old target to boot", rest
        )
    t.put(
        sequence=(*made, *(t.sequence or ()), *again),
        surge=_replace(surge, mark=len(surge.fresh), tries=0, given=0, in_place=False, wanted=0, ended_ms=None),
    )
