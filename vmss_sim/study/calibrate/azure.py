"""Azure's own records: the activity log, and a scale set's osUpgradeHistory.

Rules this module decides:

1. *Activity log*: events of one operation share correlation id, operation name and resource. Within those, an operation id
   that has both a beginning (Started, Accepted) and an end (Succeeded, Failed) is one operation; what is left over is
   paired in the order of time, since the end of a long operation may be logged under another operation id.
2. `…/virtualMachineScaleSets/write` creates, scales or updates, and the log does not say which: it is left out, by name.
3. The log holds no operating system and not how many VMs: 1 where the resource is a VM, else unknown.
4. *osUpgradeHistory*: VMs that succeeded and failed count for `upgrade`. A whole rollout's length is shown, but it is no
   VM's time. An entry that has not ended is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from vmss_sim.study.calibrate.history import ROLLOUT, History, Observed, counted, ended, moment, operation_name
from vmss_sim.world.recorded import System

_PROVIDER = "microsoft.compute/virtualmachinescalesets/"
_PHASE: Final = {
    "started": "start",
    "start": "start",
    "accepted": "start",
    "accept": "start",
    "succeeded": "succeeded",
    "success": "succeeded",
    "failed": "failed",
    "failure": "failed",
}


def items(document: Any) -> list[Any]:
    """The entries of a page `{"value": […]}`, of a list, or the one there is."""
    inner = document.get("value") if isinstance(document, dict) else document
    return inner if isinstance(inner, list) else [document]


def is_activity_log(entries: Sequence[Any]) -> bool:
    """Are these events of an activity log?"""
    return bool(entries) and all(
        isinstance(one, dict) and "operationName" in one and ("eventTimestamp" in one or "time" in one)
        for one in entries
    )


def is_upgrade_history(entries: Sequence[Any]) -> bool:
    """Are these entries of osUpgradeHistory?"""
    return bool(entries) and all(isinstance(one, dict) and "runningStatus" in _properties(one) for one in entries)


def _properties(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = entry.get("properties")
    return inner if isinstance(inner, dict) else entry


def _text(value: Any) -> str:
    """A word: plain, or `{value, localizedValue}`."""
    if isinstance(value, dict):
        value = value.get("value")
    return value if isinstance(value, str) else ""


class _Event(NamedTuple):
    at: datetime
    phase: str
    operation_id: str


def activity_log(entries: Sequence[Any], path: str) -> History:
    """A history out of an activity log."""
    groups: dict[tuple[str, str, str], list[_Event]] = defaultdict(list)
    reasons: list[str] = []
    for entry in entries:
        name = _text(entry["operationName"]).casefold()
        phase = _PHASE.get((_text(entry.get("status")) or _text(entry.get("resultType"))).casefold())
        at = moment(_text(entry.get("eventTimestamp")) or _text(entry.get("time")))
        if not name.startswith(_PROVIDER):
            reasons.append("events of other resources")
        elif phase is None or at is None:
            reasons.append("events that are no beginning and no end")
        else:
            key = (_text(entry.get("correlationId")), name, _text(entry.get("resourceId")).casefold())
            groups[key].append(_Event(at, phase, _text(entry.get("operationId"))))
    observed: list[Observed] = []
    for (_, name, resource), events in groups.items():
        operation = operation_name(name)
        if operation is None:
            write = name == _PROVIDER + "write"
            reasons.append(f"{name}{' (creates, scales or updates: the log does not say)' if write else ''}")
            continue
        pairs, lone = _paired(events)
        reasons += [f"{operation} without its beginning or end"] * lone
        for start, end in pairs:
            observed.append(
                ended(
                    operation,
                    "unknown",
                    _end(end.phase),
                    seconds=max(0.0, (end.at - start.at).total_seconds()),
                    instances=1 if "/virtualmachines/" in resource else None,
                    session=start.at.date().isoformat(),
                )
            )
    return History(path=path, kind="activity log", observed=tuple(observed), left_out=counted(reasons))


def _end(phase: str) -> Literal["succeeded", "failed"]:
    return "succeeded" if phase == "succeeded" else "failed"


def _paired(events: Sequence[_Event]) -> tuple[list[tuple[_Event, _Event]], int]:
    """Rule 1: beginnings with their ends, and how many have none."""
    by_id: dict[str, list[_Event]] = defaultdict(list)
    for event in events:
        by_id[event.operation_id].append(event)
    pairs: list[tuple[_Event, _Event]] = []
    left: list[_Event] = []
    for name, group in by_id.items():
        if name and {event.phase == "start" for event in group} == {True, False}:
            made, _ = _in_order(group)
            pairs += made
        else:
            left += group
    made, lone = _in_order(left)
    return pairs + made, lone


def _in_order(events: Sequence[_Event]) -> tuple[list[tuple[_Event, _Event]], int]:
    """The first beginning with the next end, and so on. A second beginning (Accepted after Started) adds nothing."""
    pairs: list[tuple[_Event, _Event]] = []
    start: _Event | None = None
    lone = 0
    for event in sorted(events, key=lambda one: (one.at, one.phase != "start")):
        if event.phase == "start":
            start = start or event
        elif start is not None:
            pairs.append((start, event))
            start = None
        else:
            lone += 1
    return pairs, lone + (start is not None)


def upgrade_history(entries: Sequence[Any], path: str) -> History:
    """A history out of osUpgradeHistory."""
    observed: list[Observed] = []
    reasons: list[str] = []
    for entry in entries:
        inner = _properties(entry)
        running = inner["runningStatus"] if isinstance(inner["runningStatus"], dict) else {}
        start = moment(_text(running.get("startTime")))
        end = moment(_text(running.get("endTime")) or _text(running.get("completedTime")))
        code = _text(running.get("code"))
        if start is None or end is None:
            reasons.append(f"a rollout {code or 'of unknown state'} without its beginning or end")
            continue
        progress = inner.get("progress")
        counts = progress if isinstance(progress, dict) else {}
        session = start.date().isoformat()
        os = _system(inner.get("targetImageReference"))
        ok, failed = (_count(counts.get(f"{name}InstanceCount")) for name in ("successful", "failed"))
        if ok or failed:
            observed.append(Observed(operation="upgrade", os=os, seconds=None, ok=ok, failed=failed, session=session))
        seconds = max(0.0, (end - start).total_seconds()) if code.casefold() == "completed" else None
        observed.append(
            Observed(operation=ROLLOUT, os=os, seconds=seconds, instances=ok + failed or None, session=session)
        )
    return History(path=path, kind="osUpgradeHistory", observed=tuple(observed), left_out=counted(reasons))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _system(image: Any) -> System:
    """Windows by the image's name; another named platform image is Linux."""
    names = [_text(image.get(key)) for key in ("publisher", "offer", "sku")] if isinstance(image, dict) else []
    if not any(names):
        return "unknown"
    return "windows" if "windows" in " ".join(names).casefold() else "linux"
