"""What a rollout waits for, in a phrase: for how long, and how long at most.

Contract: from plan, State and snapshot alone; empty where it rests, has ended, or waits for nothing that has a deadline.
"""

from __future__ import annotations

from planner.model import ScaleSet, Service, service
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import State


def waits_for(plan: Plan, state: State, scale_set: ScaleSet, now_ms: int) -> str:
    """What it waits for, with how long and how long at most, in a phrase; empty where it waits for nothing that has a deadline."""
    if state.phase in (Phase.PAUSED, Phase.ENDED):
        return ""
    limits, ticket = plan.deadlines, state.ticket
    if ticket is not None:
        ids, what = ticket.command.ids, ticket.command.kind.value
        return f"waits for {what}{f' of {_some(ids)}' if ids else ''} to end ({_of(now_ms - ticket.sent_ms, limits.operation_ms)})"
    coming = state.substitutes
    if coming.wanted and coming.ended_ms is not None:
        told = _of(now_ms - coming.ended_ms, limits.settle_ms)
        return f"waits for {coming.wanted} to come in place of what was replaced ({told})"
    source = plan.scale_set.health_source
    late = {
        name: memory.ended_ms
        for name, memory in state.memory.items()
        if memory.ended_ms is not None
        and not (memory.done or memory.failed or memory.quarantined or memory.skipped)
        and name in scale_set.instances
        and service(scale_set.instances[name], source) is not Service.IN
    }
    if late:
        return f"waits for {_some(tuple(late))} to serve ({_of(now_ms - min(late.values()), limits.healthy_ms)})"
    if state.gate_ms is not None and state.held_ms is None:
        return f"waits for the gate of batch {state.batch + 1} to hold ({_of(now_ms - state.gate_ms, limits.gate_ms)})"
    if state.gate_ms is not None and state.held_ms is not None:
        return f"waits while the gate of batch {state.batch + 1} holds ({_span(now_ms - state.held_ms)})"
    return ""


def _some(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")


def _of(ms: int, most_ms: int) -> str:
    return f"{_span(ms)} of {_span(most_ms)}"


def _span(ms: int) -> str:
    seconds = max(0, ms) // 1000
    return f"{seconds} s" if seconds < 90 else f"{seconds // 60} min"
