"""What differs between two plans, in meaning: what would be done otherwise, to whom, within which limits.

Rules this module decides:

1. A difference has a weight: `more` (more is moved, less is kept in service, less is waited for), `less`, or `other`.
2. An instance that only moves to another batch is told by its batch, not as removed and added.
3. What does not change what is done (title, tool, author, forecast) is told last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from planner.change import describe as describe_change
from planner.gives import otherwise
from planner.lint.wording import instances, names, span
from planner.plan import Plan

LISTED = 12
MORE, LESS, OTHER = "more", "less", "other"


class Changed(NamedTuple):
    """One difference: what it is about, before and after, in words, and its weight (rule 1)."""

    about: str
    before: str
    after: str
    weight: str = OTHER


def difference(before: Plan, after: Plan) -> tuple[Changed, ...]:
    """All differences; none means that both plans do the same."""
    parts = (_set, _change, _batches, _thresholds, _times, _failures, _rules, _paper)
    return tuple(one for part in parts for one in part(before, after))


def _set(before: Plan, after: Plan) -> Iterator[Changed]:
    old, new = before.scale_set, after.scale_set
    for name in ("id", "name", "unique_id", "orchestration", "mode", "image", "sku", "health_source", "repairs"):
        yield from _told(f"scale set: {name.replace('_', ' ')}", getattr(old, name), getattr(new, name))
    for one in otherwise(old.gives, new.gives):
        yield Changed(f"scale set: {one.path}", one.expected, one.found)
    gone = [name for name in old.instances if name not in new.instances]
    came = [name for name in new.instances if name not in old.instances]
    if gone or came:
        yield Changed(
            "scale set: instances",
            instances(len(old.instances)) + (f"; {names(gone, LISTED)} are gone" if gone else ""),
            instances(len(new.instances)) + (f"; {names(came, LISTED)} are new" if came else ""),
        )
    both = [name for name in old.instances if name in new.instances]
    for field, words in (("vm_id", "another VM"), ("image", "another image"), ("service", "another health")):
        moved = [name for name in both if getattr(old.instances[name], field) != getattr(new.instances[name], field)]
        if moved:
            yield Changed("scale set: instances", "", f"{words} in the second plan: {names(moved, LISTED)}")


def _change(before: Plan, after: Plan) -> Iterator[Changed]:
    yield from _told("change", describe_change(before.resolved.change), describe_change(after.resolved.change))
    yield from _told("action", before.resolved.action.value, after.resolved.action.value)
    for words, name in (("model", "patch"), ("way back", "reverse")):
        old, new = getattr(before.resolved, name), getattr(after.resolved, name)
        for path in sorted({**old, **new}):
            yield from _told(f"{words}: {path}", old.get(path), new.get(path))
    yield from _told("strategy", before.strategy, after.strategy)
    for name in sorted({**before.parameters, **after.parameters}):
        yield from _told(f"strategy: {name}", before.parameters.get(name), after.parameters.get(name))
    yield from _told("moved by", before.moved_by.value, after.moved_by.value)


def _batches(before: Plan, after: Plan) -> Iterator[Changed]:
    old = {name: number for number, batch in enumerate(before.batches, 1) for name in batch.take}
    new = {name: number for number, batch in enumerate(after.batches, 1) for name in batch.take}
    added, removed = [name for name in new if name not in old], [name for name in old if name not in new]
    if added:
        yield Changed("moved", "", f"{instances(len(added))} more: {names(added, LISTED)}", MORE)
    if removed:
        yield Changed("moved", f"{instances(len(removed))} less: {names(removed, LISTED)}", "", LESS)
    moved = [name for name in old if name in new and old[name] != new[name]]
    if len(before.batches) != len(after.batches):
        yield Changed("batches", str(len(before.batches)), str(len(after.batches)))
    largest = [max((len(batch.take) for batch in plan.batches), default=0) for plan in (before, after)]
    if largest[0] != largest[1]:
        yield Changed("largest batch", str(largest[0]), str(largest[1]), _weight(*largest))
    for name in moved[:LISTED]:
        yield Changed(f"instance {name}", f"batch {old[name]}", f"batch {new[name]}")
    if len(moved) > LISTED:
        yield Changed("instances", "", f"{len(moved) - LISTED} more are in another batch")
    for name in sorted({**before.skipped, **after.skipped}):
        yield from _told(f"instance {name} left out", before.skipped.get(name), after.skipped.get(name))


def _thresholds(before: Plan, after: Plan) -> Iterator[Changed]:
    for name in ("floor", "rollback_floor", "emergency_floor", "required", "objective"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            kept = [-1 if one is None else one.absolute for one in (old, new)]
            yield Changed(name.replace("_", " "), _plain(old), _plain(new), _weight(kept[1], kept[0]))
    yield from _told("floor min", before.floor_min, after.floor_min)


def _weight(before: int, after: int) -> str:
    """Of an amount that risks the more, the larger it is. Said in other words (`80%`, `n-2`) it is the same today, and another with another capacity."""
    return OTHER if before == after else MORE if after > before else LESS


def _times(before: Plan, after: Plan) -> Iterator[Changed]:
    for part in ("gates", "deadlines"):
        old, new = getattr(before, part), getattr(after, part)
        for name in old.__struct_fields__:
            left, right = getattr(old, name), getattr(new, name)
            if left == right:
                continue
            if name.endswith("_ms"):
                shorter = MORE if part == "gates" and right < left else OTHER
                yield Changed(f"{part}: {name.removesuffix('_ms')}", span(left), span(right), shorter)
            else:
                yield Changed(f"{part}: {name.replace('_', ' ')}", _plain(left), _plain(right))


def _failures(before: Plan, after: Plan) -> Iterator[Changed]:
    old, new = before.failures, after.failures
    if old.max_failed != new.max_failed:
        weight = _weight(old.max_failed.absolute, new.max_failed.absolute)
        yield Changed("failures tolerated", str(old.max_failed), str(new.max_failed), weight)
    for name in ("ladder", "then", "refusals", "backoff_ms"):
        yield from _told(f"failures: {name.removesuffix('_ms')}", getattr(old, name), getattr(new, name))


def _rules(before: Plan, after: Plan) -> Iterator[Changed]:
    for table in ("ends", "drift"):
        old, new = getattr(before, table), getattr(after, table)
        for name in sorted({**old, **new}):
            yield from _told(f"{table}: {name}", old.get(name), new.get(name))
    told = {
        "format", "tool", "title", "author", "scale_set", "resolved", "strategy", "parameters", "moved_by", "floor", "rollback_floor",
        "emergency_floor", "required", "objective", "floor_min", "batches", "skipped", "gates", "deadlines", "failures", "ends",
        "drift",
    }  # fmt: skip
    for name in Plan.__struct_fields__:
        if name not in told:
            yield from _told(name.replace("_", " "), getattr(before, name), getattr(after, name))


def _paper(before: Plan, after: Plan) -> Iterator[Changed]:
    for name in ("title", "author", "tool", "format"):
        yield from _told(name, getattr(before, name), getattr(after, name))


def _told(about: str, old: Any, new: Any) -> Iterator[Changed]:
    if old != new:
        yield Changed(about, _plain(old), _plain(new))


def _plain(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        text = getattr(value, "value", value)
        return text or "none"
    if isinstance(value, msgspec.Struct) and type(value).__str__ is not object.__str__:
        return str(value)
    return msgspec.json.encode(value).decode()
