"""A batch of a surge: as many are added as are taken, and what is taken goes only when what was added serves.

Named rules, beside those of `surge.py`:

* surge-adds: the batch lacks additions, nothing is being created or deleted by others (surge-waits), so they are asked for.
* surge-takes: additions that serve and replace none yet let as many of the batch go, in order, as the floor allows too.
* surge-replaces: an addition that never serves, or boots another image, is deleted and asked for again, each once a retry;
  then its place is given up: it goes, and an old one of the batch stays as it is (given up, which `max_failed` counts).
* surge-stuck: an addition that neither serves nor can be deleted ends it, as a gate that does not hold would.
* surge-in-place: what additions there are let others go; the rest of the batch is upgraded in place, within the plan's floor
  for that. The next batch asks for additions again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from planner.buckets import UNTOUCHED, Bucket
from planner.commands import Kind
from planner.machine import batches, substitutes, surge
from planner.machine.batches import DECIDED, TOUCHED
from planner.model import Provisioning, Service
from planner.rollout import is_there
from planner.strategies.base import Batch

if TYPE_CHECKING:
    from planner.machine.turn import Turn

_replace = msgspec.structs.replace
_LEFT_ALONE = frozenset({Bucket.VANISHED, Bucket.REPLACED, Bucket.SKIPPED, Bucket.PROTECTED})


def work(t: Turn, batch: Batch) -> bool:
    """One move for the current batch; False when there is nothing more to decide now."""
    if t.surge.wanted and t.surge.ended_ms is None:
        surge.claim(t)
        return True
    if not batch.add and not _removes(t, batch):
        return batches.work(t, batch, batch.take)
    if batch.add and _given_up(t, batch):
        return True
    unready: list[str] = []
    waiting: list[str] = []
    wake: int | None = None
    for name in list(t.surge.fresh)[t.surge.mark :]:
        bucket = t.bucket(name)
        if bucket in _LEFT_ALONE or (bucket is Bucket.CURRENT and t.seen[name].service is Service.IN):
            continue
        unready.append(name)
        if bucket is Bucket.WAITING:
            late = batches.health_deadline(t, name)
            if late is None:
                return True
            wake = late if wake is None else min(wake, late)
            waiting.append(name)
        elif bucket in (Bucket.FAILED, Bucket.QUARANTINED) and _not_served(t, name):
            return True
    undecided = [name for name in batch.take if t.bucket(name) not in DECIDED]
    leaving = [name for name in undecided if not t.memory.get(name, UNTOUCHED).stage or _is_ours(t, name)]
    spare = t.spare()
    if leaving and _take(t, batch, leaving, spare - len(unready)):
        return True
    wanted = min(batch.add, len(leaving)) - spare
    if _removes(t, batch):
        wanted = 0
    elif t.surge.in_place:
        kept = set(leaving[:spare])
        rest = tuple(name for name in undecided if name not in kept)
        if rest and batches.work(t, batch, rest):
            return True
        if rest:  # how long, and for what, was said there; what was added is waited for as well
            times = [when for when in (t.wake, wake) if when is not None]
            t.wake, t.awaiting, t.watch = min(times, default=None), (), True
            return False
    elif wanted > 0 and _add(t, wanted):
        return True
    if not undecided and not unready:
        return batches.work(t, batch, substitutes.members(t, batch, t.batch))
    return _wait(t, batch, waiting, wake)


def _is_ours(t: Turn, name: str) -> bool:
    return name in t.surge.fresh


def _removes(t: Turn, batch: Batch) -> bool:
    """Does this batch only take away what was added and replaces none?"""
    return not batch.add and bool(batch.take) and all(_is_ours(t, name) for name in batch.take)


def _wait(t: Turn, batch: Batch, waiting: list[str], wake: int | None) -> bool:
    t.watch = True  # an old one may go as soon as one that was added serves, so nothing is awaited as a whole
    if t.surge.wanted and t.surge.ended_ms is not None:
        seen = t.surge.ended_ms + t.plan.deadlines.settle_ms
        wake = seen if wake is None else min(wake, seen)
    elif not waiting:
        stall = t.progress_ms + t.plan.deadlines.stall_ms
        if t.now >= stall:
            seconds = t.plan.deadlines.stall_ms // 1000
            return batches.fail(t, "stalled", f"nothing could be added or taken for {seconds} s ({batch.why})")
        wake = stall
    t.wake = wake
    return False


def _take(t: Turn, batch: Batch, names: list[str], credit: int) -> bool:
    """Rule surge-takes."""
    only = _removes(t, batch)
    if not only and credit <= 0:
        return False
    ready: list[str] = []
    for name in names:
        bucket = t.bucket(name)
        if bucket is Bucket.FAILED:
            if not batches.climb(t, name):
                return True
            ready.append(name)
        elif bucket is not Bucket.IN_FLIGHT and bucket is not Bucket.BUSY:
            ready.append(name)
    return _delete(t, ready if only else ready[:credit], "surge-takes", batch.why)


def _delete(t: Turn, names: list[str], rule: str, why: str) -> bool:
    """Delete of these, in order, what the floor lets go. False: nothing."""
    floor = t.floor()
    budget, taken = t.serving - floor, []
    for name in names:
        if t.seen[name].service is not Service.OUT:
            if budget <= 0:
                continue
            budget -= 1
        taken.append(name)
    if not taken:
        return False
    for name in taken:
        if name not in t.memory:
            t.remember(name, TOUCHED)
    surge.note_removal(t, tuple(taken))
    t.put(gate_ms=None, held_ms=None)
    text = f"{why}: {len(taken)} of {len(names)} go ({t.serving} in service, floor {floor})"
    t.send(Kind.DELETE, text, rule=rule, ids=tuple(taken), batch=t.batch)
    return True


def _not_served(t: Turn, name: str) -> bool:
    """Rule surge-replaces. False: it cannot go at the moment."""
    one = t.set.instances[name]
    if one.provisioning in (Provisioning.UPDATING, Provisioning.CREATING):
        return False
    memory = t.memory.get(name, UNTOUCHED)
    why = memory.failed or "provisioning-failed"
    if memory.attempts >= len(t.plan.failures.ladder):
        return batches.fail(t, "surge-stuck", f"added instance {name} neither serves nor can be deleted: {why}")
    if not _delete(t, [name], "surge-replaces", f"added instance {name}: {why}"):
        return False
    t.remember(name, _replace(memory, failed=why))
    return True


def _given_up(t: Turn, batch: Batch) -> bool:
    """Rule surge-replaces: more additions never served than are replaced. A deletion counts when the instance is gone."""
    remembered, surging = t.surge, t.plan.surge
    assert surging is not None  # this is a surge
    lost = [
        name
        for name in list(remembered.fresh)[remembered.mark :]
        if remembered.removed.get(name) == remembered.fresh[name]
        and not is_there(t.set.instances, name, remembered.fresh[name])
    ]
    if remembered.in_place or len(lost) - surging.replace * max(1, batch.add) <= remembered.given:
        return False
    name = lost[-1]
    why = t.memory.get(name, UNTOUCHED).failed or "provisioning-failed"
    left = [old for old in batch.take if t.bucket(old) not in DECIDED]
    kept = left[-1] if left else name
    t.remember(kept, _replace(t.memory.get(kept, UNTOUCHED), quarantined=f"its replacement: {why}"))
    t.put(given_up=t.given_up + 1, surge=_replace(remembered, given=remembered.given + 1))
    t.note("quarantined", f"instance {kept} is given up: its replacement {name} {why}", (kept,))
    return True


def _add(t: Turn, wanted: int) -> bool:
    """Rule surge-adds. False: it has to wait."""
    remembered, surging = t.surge, t.plan.surge
    assert surging is not None  # this is a surge
    if remembered.wanted:
        return False
    if remembered.tries > surging.replace:
        surge.fall_back(t, f"{remembered.tries} scale-outs gave fewer instances than asked for")
        return True
    instances = t.set.instances
    mine = remembered.fresh
    moving = (Provisioning.DELETING, Provisioning.CREATING)
    if any(one.provisioning in moving and name not in mine for name, one in instances.items()):
        return False  # rule surge-waits: what others add or delete is settled first
    capacity = max(len(instances), t.set.model.capacity) + wanted
    t.put(
        surge=_replace(remembered, wanted=wanted, strangers=surge.unknown(t), ended_ms=None),
        gate_ms=None,
        held_ms=None,
    )
    text = f"{wanted} are added on the model before as many go"
    t.send(Kind.SET_CAPACITY, text, rule="surge-adds", batch=t.batch, capacity=capacity)
    return True
