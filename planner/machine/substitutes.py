"""What takes the place of an instance that was deleted to be replaced: it belongs to the batch, and counts only when it serves.

Named rules:

* replace: as many as were deleted are added again, before anything else is taken. Capacity is an absolute number, worked out from the
  snapshot whenever it is sent.
* replace-claimed: what is new since that was asked for is the substitute, up to what was asked for: those that show the target before
  the others, then by id. It joins the batch: that is decided only when it serves, and deadline and ladder are as for the others.
* replace-short: what did not come within the settle time fails the rollout as a gate that does not hold does. On the way back it is said, and the
  way back goes on with fewer: the floor follows the number of instances.
* Of a rollout that has turned back meanwhile, it goes back like the rest: what came goes on at once, and what has not come is waited for last. Of one that
  is ending it is not waited for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from planner.buckets import Memory
from planner.change import at_target
from planner.commands import Command, Kind
from planner.machine import batches, surge
from planner.model import Provisioning, id_key
from planner.phases import Phase
from planner.strategies.base import Batch

if TYPE_CHECKING:
    from planner.machine.turn import Turn

_replace = msgspec.structs.replace


def members(t: Turn, batch: Batch, index: int) -> tuple[str, ...]:
    """A batch's instances, with those that took the place of some."""
    joined = t.substitutes.joined
    if not joined:
        return batch.take
    return (*batch.take, *(name for name, at in joined.items() if at == index and name not in batch.take))


def ask(t: Turn) -> None:
    """Rule replace."""
    wanted = t.owed
    t.put(substitutes=_replace(t.substitutes, wanted=wanted, strangers=surge.unknown(t), ended_ms=None))
    t.send(
        Kind.SET_CAPACITY,
        f"{wanted} replaced instances are added again",
        rule="replace",
        capacity=len(t.set.instances) + wanted,
    )


def asks(command: Command) -> bool:
    """Is this the scale-out that makes good what was deleted? A surge's belongs to a batch."""
    return command.kind is Kind.SET_CAPACITY and command.batch is None


def settle(t: Turn, failed: str) -> None:
    """The scale-out ended, or was refused: then it is asked for anew, or the rollout ends."""
    waited = t.substitutes
    t.put(substitutes=_replace(waited, wanted=0 if failed else waited.wanted, ended_ms=t.now))
    if not failed:
        claim(t)


def claim(t: Turn) -> None:
    """Rule replace-claimed, once the scale-out has been answered."""
    waited = t.substitutes
    if Phase.FINISHING in (t.phase, t.paused_from) or t.phase is Phase.ENDED:
        return
    if waited.ended_ms is None:
        if t.ticket is not None:
            return
        waited = _replace(waited, ended_ms=t.now)  # nobody waits for the answer any more
        t.put(substitutes=waited)
    new = [
        name
        for name, vm_id in surge.unknown(t).items()
        if not (name in waited.strangers and waited.strangers[name] == vm_id)
        and t.set.instances[name].provisioning is not Provisioning.DELETING
    ]
    new.sort(key=lambda name: (_behind(t, name), id_key(name)))
    if mine := new[: waited.wanted]:
        _take_in(t, mine)


def _behind(t: Turn, name: str) -> bool:
    return at_target(t.set.instances[name], t.rollout.target(name, t.back)) is False


def _take_in(t: Turn, mine: list[str]) -> None:
    waited = t.substitutes
    # Before the first batch of the way back, and after its last, it gets one of its own.
    turned = t.back and (Phase.PREPARING in (t.phase, t.paused_from) or t.batch >= len(t.sequence or ()))
    at = -1 if turned else t.batch
    if turned:
        t.put(sequence=(*(t.sequence or ()), Batch(take=tuple(mine), why="back: in place of what was replaced")))
    t.put(
        appended=t.appended | {name: t.set.instances[name].vm_id for name in mine},
        substitutes=_replace(
            waited, wanted=waited.wanted - len(mine), joined={**waited.joined, **dict.fromkeys(mine, at)}
        ),
    )
    for name in mine:
        fresh = not turned and not _behind(t, name)  # else it is moved like any other
        t.remember(name, Memory(stage=len(t.rollout.stages), ended_ms=t.now) if fresh else None)
    t.note("replace-claimed", f"{len(mine)} came in place of what was replaced", mine, None if turned else t.batch)


def wait(t: Turn) -> bool:
    """They have not all come: wait, or rule replace-short."""
    waited = t.substitutes
    until = (t.now if waited.ended_ms is None else waited.ended_ms) + t.plan.deadlines.settle_ms
    if t.now < until:
        t.watch, t.wake = True, until
        return False
    t.put(substitutes=_replace(waited, wanted=0))
    short = f"{waited.wanted} that were to take the place of others did not come"
    if not t.back:
        return batches.fail(t, "replace-short", short)
    t.note("replace-short", f"{short}; the way back goes on without")
    return True


def do_without(t: Turn, why: str) -> None:
    """They cannot be made, and nothing is to stop the way back: rule replace-short."""
    t.put(owed=0, substitutes=_replace(t.substitutes, wanted=0))
    t.note("replace-short", f"{why}; the way back goes on without")


def turned_back(t: Turn, names: Iterable[str]) -> None:
    """They stand in the batches of the way back now."""
    if t.substitutes.joined:
        t.put(substitutes=_replace(t.substitutes, joined={**t.substitutes.joined, **dict.fromkeys(names, -1)}))
