"""The guard: every command is checked against `planner.invariants` before it is sent. Always on, fails closed.

Contract: `judge` returns the violations of a turn's commands, none meaning that all may be sent. A check that breaks
counts as a violation. There is no way to switch it off.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.invariants import Sent, Violation, check
from planner.model import ScaleSet
from planner.rollout import Rollout, Step


def judge(
    rollout: Rollout, step: Step, scale_set: ScaleSet, in_flight: Mapping[str, Sent], now_ms: int
) -> tuple[Violation, ...]:
    """All violations of the commands of one step. The commands of one step are in flight together."""
    found: list[Violation] = []
    together = dict(in_flight)
    for command in step.commands:
        try:
            found += check(rollout, step.state, scale_set, command, together, now_ms)
        except Exception as error:  # a broken check is not a passed check
            found.append(Violation(invariant="guard", command=command.id, text=f"a check broke: {error!r}"))
        together[command.id] = Sent(command, now_ms)
    return tuple(found)
