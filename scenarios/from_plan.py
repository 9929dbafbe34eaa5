"""The world that a plan knows by itself: the set as the plan saw it, everything else assumed.

Rules this module decides:

1. Instances, domains, images and who served are the plan's. What a change that was made elsewhere finds behind the model is what stands in a batch.
2. A policy is the plan's where it hands the rollout over; else no rollout of the platform's own is simulated.
3. Hooks are not run: what they say is taken to be what the application health extension would.
4. How long things take, and how often they fail, is assumed as for any scenario that does not say it, and listed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from planner.change import (
    Change,
    CurrentModel,
    GuestPatch,
    ImageChange,
    ImageIdChange,
    ImageUriChange,
    PropertyChange,
    Refresh,
)
from planner.model import Health, HealthSource, Instance, Power, ScaleSet, Service
from planner.plan import Plan
from planner.planfile.checks import as_seen
from scenarios import build
from scenarios.init import parse_ready
from scenarios.schema import ChangeTable, GuestTable, LoadTable, ObjectiveTable, ScaleSetTable, Scenario, TimingTable


def setup_of(plan: Plan, where: str, *, ready: str | None = None) -> build.Setup:
    """The world of a plan. where: names the plan in messages; ready: as `--ready` says it. Raises InputError."""
    scenario = Scenario(
        title=plan.title,
        scale_set=ScaleSetTable(instances=plan.scale_set.capacity),
        change=_change(plan.resolved.change, plan.resolved.action.value),
        timing=TimingTable(ready=None if ready is None else parse_ready(ready, "--ready")),
        load=LoadTable(required=plan.required.given if plan.required else None),
        objective=ObjectiveTable(min_healthy=plan.objective.given if plan.objective else None),
    )
    return build.setup(scenario, Path(), where, given=_fleet(plan))


def _change(change: Change, action: str) -> ChangeTable:
    """The change as a scenario would say it."""
    said: dict[str, Any] = {}
    match change:
        case ImageChange():
            said = {name: getattr(change, name) for name in ("version", "sku", "offer", "publisher")}
        case ImageIdChange():
            said = {"id": change.id}
        case ImageUriChange():
            said = {"uri": change.uri}
        case PropertyChange():
            said = {"set_": {change.path: change.value}}
        case GuestPatch():
            said = {"guest": GuestTable(script=change.script, undo=change.undo)}
        case Refresh():
            said = {"refresh": change.exact_version}
        case CurrentModel():
            said = {"current_model": True}
    return ChangeTable(**said, action=action)


def _fleet(plan: Plan) -> ScaleSet:
    """Rules 1 to 3."""
    seen = as_seen(plan)
    source = HealthSource.EXTENSION if seen.model.health_source is HealthSource.HOOK else seen.model.health_source
    rolling = plan.handed.policy if plan.handed is not None else None
    behind: set[str] = set()
    if isinstance(plan.resolved.change, CurrentModel):
        behind = {name for batch in plan.batches for name in batch.take}
    return ScaleSet(
        model=msgspec.structs.replace(seen.model, health_source=source, rolling=rolling),
        instances={
            name: _served(msgspec.structs.replace(one, latest_model=name not in behind), plan, source)
            for name, one in seen.instances.items()
        },
    )


def _served(one: Instance, plan: Plan, source: HealthSource) -> Instance:
    """As the plan saw it; what it did not know is taken to serve, as ever."""
    if plan.scale_set.instances[one.id].service is not Service.OUT:
        return one
    if source is HealthSource.NONE:
        return msgspec.structs.replace(one, power=Power.STOPPED)
    return msgspec.structs.replace(one, health=Health.UNHEALTHY)
