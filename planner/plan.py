"""The plan: everything a rollout will do and may do, as one value that can be vetted, hashed and carried out (made by `build.py`).

Rules this module decides:

1. Every knob stands in the plan explicitly; nothing is inherited when it is applied.
2. What the set looked like is kept as a named projection; the drift table says what a difference means (`drift.py`).
3. How a rollout ends or rests says what it leaves behind, by one table (`ENDS`).
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from planner.amount import Threshold
from planner.change import Action, Resolved
from planner.drift import Absorb
from planner.model import (
    AutomaticRepairs,
    Gives,
    HealthSource,
    ImageReference,
    OperatingSystem,
    Orchestration,
    RollingPolicy,
    Service,
    UpgradeMode,
)
from planner.strategies import Batch
from planner.surge import Surging

FORMAT = "vmss-sim/plan/1"


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: every field is written out."""


class Pinned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One instance as the plan saw it; `image` is what it goes back to."""

    vm_id: str = ""
    zone: str | None = None
    placement_group: str | None = None
    update_domain: int | None = None
    fault_domain: int | None = None
    image: ImageReference | None = None
    service: Service = Service.UNKNOWN
    protected: bool = False


class Projection(_Value, frozen=True, kw_only=True):
    """The set as the plan saw it: identity, model, and per instance what the drift table compares. gives: what the model would give an
    instance beside the image; older versions did not keep it.
    """

    name: str
    id: str
    unique_id: str
    orchestration: Orchestration
    mode: UpgradeMode
    image: ImageReference | None
    sku: str | None
    os: OperatingSystem
    capacity: int
    health_source: HealthSource
    repairs: AutomaticRepairs | None
    settings: dict[str, Any]
    instances: dict[str, Pinned]
    gives: Gives = Gives()


class MovedBy(str, Enum):
    """Who moves the instances."""

    PLANNER = "planner"
    PLATFORM = "platform"


class Gates(_Value, frozen=True, kw_only=True):
    """What must hold between two batches. `dry_run`: only the verdict is recorded, nothing waits or stops.

    upgraded_unhealthy: instances at the target that may be out of service. drop: how many fewer instances than before
    the rollout may be in service (None: not judged). soak_ms: how long both must hold without a break.
    pause_ms: after the gate passed.
    """

    upgraded_unhealthy: Threshold
    drop: Threshold | None
    soak_ms: int
    pause_ms: int
    dry_run: bool = False


class Deadlines(_Value, frozen=True, kw_only=True):
    """Every wait is bounded.

    healthy_ms: from the end of an instance's operation until it serves. operation_ms: one operation. gate_ms: a gate
    that does not hold. stall_ms: nothing could be taken (floor, foreign work). rollout_ms: all of it.
    settle_ms: before an unknown outcome, or a result not yet visible, is looked at. operation deadlines are generous:
    the platform itself gives a guest 40 minutes, 90 with extensions (OSProvisioningTimedOut).
    """

    healthy_ms: int = 600_000
    operation_ms: int = 5_400_000
    gate_ms: int = 900_000
    stall_ms: int = 1_800_000
    rollout_ms: int = 86_400_000
    settle_ms: int = 30_000


class Rung(str, Enum):
    """What is tried, in order, for an instance whose operation failed."""

    UPGRADE = "upgrade"
    REIMAGE = "reimage"
    REPLACE = "replace"
    QUARANTINE = "quarantine"


class OnFailure(str, Enum):
    """What happens when more than `max_failed` instances failed, or a gate does not hold. pause: it rests, and a person says what then;
    on the way back, and where the platform moves the instances, it stops.
    """

    STOP = "stop"
    PAUSE = "pause"
    ROLLBACK_BATCH = "rollback-batch"
    ROLLBACK_ALL = "rollback-all"


class Failures(_Value, frozen=True, kw_only=True):
    """max_failed: failed (quarantined) instances tolerated, strict >. ladder: ends with quarantine. refusals: how often
    a 409 or 429 is met in a row before the rollout stops; backoff_ms between them where the platform names no time.
    """

    max_failed: Threshold
    ladder: tuple[Rung, ...]
    then: OnFailure
    refusals: int = 10
    backoff_ms: int = 5_000


class EndState(_Value, frozen=True, kw_only=True):
    """What is left behind when a rollout ends or rests this way.

    model: `target`, `pinned` (the reverse), or `as-is`. in_flight: `awaited` or `left-running` (adopted on resume).
    repairs: `restored` or `suspended`. mode: `restored` (where nothing is stale), or `as-is`. added: instances that were
    added and replace none: `removed` (as far as the floor lets them go), or `left`.
    """

    model: str
    in_flight: str
    repairs: str
    mode: str
    exit_code: int
    added: str = "removed"


ENDS: dict[str, EndState] = {
    "finish": EndState(model="target", in_flight="awaited", repairs="restored", mode="restored", exit_code=0),
    "finish-with-exceptions": EndState(
        model="target", in_flight="awaited", repairs="restored", mode="as-is", exit_code=5
    ),
    "pause": EndState(
        model="target", in_flight="awaited", repairs="suspended", mode="as-is", exit_code=3, added="left"
    ),
    "stop": EndState(model="pinned", in_flight="awaited", repairs="restored", mode="as-is", exit_code=1),
    "abort": EndState(model="pinned", in_flight="awaited", repairs="restored", mode="as-is", exit_code=1),
    "rollback": EndState(model="pinned", in_flight="awaited", repairs="restored", mode="restored", exit_code=1),
    "drift": EndState(model="as-is", in_flight="awaited", repairs="restored", mode="as-is", exit_code=1, added="left"),
    "refused": EndState(
        model="as-is", in_flight="left-running", repairs="restored", mode="as-is", exit_code=2, added="left"
    ),
    "window-closed": EndState(
        model="target", in_flight="awaited", repairs="suspended", mode="as-is", exit_code=3, added="left"
    ),
    "dead-executor": EndState(
        model="as-is", in_flight="left-running", repairs="suspended", mode="as-is", exit_code=3, added="left"
    ),
}


class HandOver(_Value, frozen=True, kw_only=True):
    """A rollout that the platform does by its own policy, and that is watched.

    by: `model` (its update in mode Rolling starts it) or `os-upgrade` (Azure's OS upgrade is started). policy: as the plan saw it.
    grace_ms: how long fewer than the floor may be in service before it is cancelled.
    """

    by: str
    policy: RollingPolicy
    grace_ms: int


class Window(_Value, frozen=True, kw_only=True):
    """A time span in which batches may start: weekday names, local times `HH:MM`, IANA time zone."""

    days: tuple[str, ...]
    start: str
    end: str
    time_zone: str


class Freeze(_Value, frozen=True, kw_only=True):
    """A time span in which no batch starts, whatever the windows say: local times `YYYY-MM-DDTHH:MM`, IANA time zone."""

    start: str
    end: str
    time_zone: str
    why: str = ""


class InstanceHook(_Value, frozen=True, kw_only=True):
    """A program that is asked about, or run for, one instance: exit status 0 is yes. deadline_ms: no answer by then is no."""

    command: tuple[str, ...]
    deadline_ms: int = 10_000


class InstanceHooks(_Value, frozen=True, kw_only=True):
    """What is asked about instances (`backends/probes.py`). health: does it serve? replaces: instead of what the platform says, else
    both have to say so. drain: before it is taken. verify: after it came back. every_ms: how often at most.
    """

    health: InstanceHook | None = None
    replaces: bool = False
    drain: InstanceHook | None = None
    verify: InstanceHook | None = None
    every_ms: int = 15_000


class Plan(_Value, frozen=True, kw_only=True):
    """A vetted rollout. See the module's rules; `format` names the schema's version.

    on_window_close: `pause` (somebody, or a pipeline, goes on in the next window) or `wait`. needs_ms: how long each batch takes in 95
    of 100 simulated runs; none starts unless the window is open for so long. Empty only without windows and freezes.
    expires: from then on (`2026-12-10T03:40Z`) no rollout is begun with it, while one that was begun goes on; empty: never.
    """

    format: str
    tool: str
    title: str
    scale_set: Projection
    resolved: Resolved
    strategy: str
    strategy_version: int
    parameters: dict[str, Any]
    moved_by: MovedBy
    floor: Threshold
    floor_min: int
    rollback_floor: Threshold
    emergency_floor: Threshold
    required: Threshold | None
    objective: Threshold | None
    batches: tuple[Batch, ...]
    skipped: dict[str, str]
    splits: tuple[str, ...]
    gates: Gates
    deadlines: Deadlines
    failures: Failures
    ends: dict[str, EndState]
    drift: dict[str, Absorb]
    new_instances: str
    suspend_repairs: bool
    work_mode: UpgradeMode
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    on_window_close: str = "pause"
    needs_ms: tuple[int, ...] = ()
    accept_no_health: bool = False
    surge: Surging | None = None
    handed: HandOver | None = None
    author: str = ""
    hooks: InstanceHooks | None = None
    expires: str = ""


def untimed(plan: Plan) -> bool:
    """Do its batches start by windows, and it does not say what each needs of one? Older versions made such plans."""
    return bool((plan.windows or plan.freezes) and plan.batches) and not all(plan.needs_ms or (0,))


def never_drained(moved_by: MovedBy, action: Action) -> str:
    """Why a drain hook would never run; '' where it does."""
    if moved_by is MovedBy.PLATFORM:
        return "the platform takes the instances, and asks nobody before"
    return "a run-command takes no instance out of service" if action is Action.RUN_COMMAND else ""
