"""The phases of a rollout and every transition between them: this table is the only place that moves a phase.

preparing: set-level commands before the instances move (repairs, mode, model; also the model's way back).
rolling, rolling-back: batch after batch, forward or in reverse. paused: waits for an operator, an approval or a window.
finishing: set-level commands of the end state. ended: nothing more is sent.

Theory: a rollout has a phase, an instance has a bucket; neither knows the other's. A cause that has no row for the
present phase is our bug, not a case to be guessed at.
"""

from __future__ import annotations

from enum import Enum

from planner.errors import PlannerBug


class Phase(str, Enum):
    """Where a rollout stands."""

    PREPARING = "preparing"
    ROLLING = "rolling"
    PAUSED = "paused"
    ROLLING_BACK = "rolling-back"
    FINISHING = "finishing"
    ENDED = "ended"


class Cause(str, Enum):
    """Why a phase changes."""

    PREPARED = "prepared"
    PREPARED_BACK = "prepared-back"
    BATCHES_DONE = "batches-done"
    NOTHING_TO_DO = "nothing-to-do"
    PAUSE = "pause"
    RESUME_PREPARING = "resume-preparing"
    RESUME_ROLLING = "resume-rolling"
    RESUME_ROLLING_BACK = "resume-rolling-back"
    RESUME_FINISHING = "resume-finishing"
    STOP = "stop"
    ROLL_BACK = "roll-back"
    FINISHED = "finished"
    REFUSED = "refused"


TRANSITIONS: dict[tuple[Phase, Cause], Phase] = {
    (Phase.PREPARING, Cause.PREPARED): Phase.ROLLING,
    (Phase.PREPARING, Cause.PREPARED_BACK): Phase.ROLLING_BACK,
    (Phase.PREPARING, Cause.NOTHING_TO_DO): Phase.FINISHING,
    (Phase.PREPARING, Cause.PAUSE): Phase.PAUSED,
    (Phase.PREPARING, Cause.STOP): Phase.FINISHING,
    (Phase.PREPARING, Cause.ROLL_BACK): Phase.PREPARING,
    (Phase.PREPARING, Cause.REFUSED): Phase.ENDED,
    (Phase.ROLLING, Cause.BATCHES_DONE): Phase.FINISHING,
    (Phase.ROLLING, Cause.PAUSE): Phase.PAUSED,
    (Phase.ROLLING, Cause.STOP): Phase.FINISHING,
    (Phase.ROLLING, Cause.ROLL_BACK): Phase.PREPARING,
    (Phase.ROLLING_BACK, Cause.BATCHES_DONE): Phase.FINISHING,
    (Phase.ROLLING_BACK, Cause.PAUSE): Phase.PAUSED,
    (Phase.ROLLING_BACK, Cause.STOP): Phase.FINISHING,
    (Phase.PAUSED, Cause.RESUME_PREPARING): Phase.PREPARING,
    (Phase.PAUSED, Cause.RESUME_ROLLING): Phase.ROLLING,
    (Phase.PAUSED, Cause.RESUME_ROLLING_BACK): Phase.ROLLING_BACK,
    (Phase.PAUSED, Cause.RESUME_FINISHING): Phase.FINISHING,
    (Phase.PAUSED, Cause.STOP): Phase.FINISHING,
    (Phase.PAUSED, Cause.ROLL_BACK): Phase.PREPARING,
    (Phase.FINISHING, Cause.FINISHED): Phase.ENDED,
    (Phase.FINISHING, Cause.PAUSE): Phase.PAUSED,
    (Phase.FINISHING, Cause.STOP): Phase.ENDED,
}

RESUME: dict[Phase, Cause] = {
    Phase.PREPARING: Cause.RESUME_PREPARING,
    Phase.ROLLING: Cause.RESUME_ROLLING,
    Phase.ROLLING_BACK: Cause.RESUME_ROLLING_BACK,
    Phase.FINISHING: Cause.RESUME_FINISHING,
}


def move(phase: Phase, cause: Cause) -> Phase:
    """The next phase. Raises PlannerBug for a pair that has no row."""
    try:
        return TRANSITIONS[phase, cause]
    except KeyError:
        raise PlannerBug(f"no transition from {phase.value} by {cause.value}") from None


def mermaid() -> str:
    """The table as a mermaid state diagram, for ARCHITECTURE.md."""
    rows = [f"    {phase.value} --> {after.value}: {cause.value}" for (phase, cause), after in TRANSITIONS.items()]
    text = "\n".join(["stateDiagram-v2", "    [*] --> preparing", *rows, "    ended --> [*]"])
    return text.replace("rolling-back", "rolling_back").replace("resume-rolling_back", "resume-rolling-back")
