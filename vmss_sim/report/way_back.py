"""The commands that take back what an ended rollout left on its target: they run as they stand.

Rules this module decides:

1. The same strategy, with what it was told about sizes and order, and the floor that the plan kept for its way back. Where that does not
   fit (named instances, all at once, the platform's own, added ones, somebody else's strategy): one by one, with its own floor.
2. The target is what the model gave before. Where another property was changed and the model says the old value again, none is named:
   what is behind it is brought up to the model. Where neither is known, no command is made up: a sentence says where to look.
3. A script in the VMs goes back by its undo as another script, where it is not known to have gone back; its own record says afterwards what is
   not true any more, and is deleted.
"""

from __future__ import annotations

import shlex

import msgspec

from planner.change import GuestPatch, PropertyChange
from planner.model import HealthSource
from planner.plan import Plan
from planner.standing import Standing
from planner.strategies import STRATEGIES, Parameters
from planner.strategies.one_by_one import STRATEGY as ONE_BY_ONE

UNFIT = ("selected",)
_SHARED = {field.name for field in msgspec.structs.fields(Parameters)}


def commands(plan: Plan, now: Standing, reach: str, store: str) -> tuple[str, ...]:
    """Snapshot, plan and apply; empty where `why_none` tells. reach: options that lead to the set. store: to the store."""
    if why_none(plan, now):
        return ()
    health = " --accept-no-health" if plan.scale_set.health_source is HealthSource.NONE else ""
    target = f" --target {shlex.quote(now.back_to)}" if now.back_to else ""
    scope = plan.scale_set.id or plan.scale_set.name
    return (
        f"vmss-sim snapshot --scale-set {scope} -o now.json {reach}".rstrip(),
        f"vmss-sim plan now.json{target} {_strategy(plan)}{health} -o back.json",
        f"vmss-sim apply back.json{health} {reach}".rstrip() + store,
    )


def why_none(plan: Plan, now: Standing) -> str:
    """Why no plan from a snapshot takes them back, in a sentence; empty where one does (rule 2)."""
    resolved = plan.resolved
    if now.back_to:
        return ""
    if isinstance(resolved.change, GuestPatch):
        return _script_back(plan, now)
    if isinstance(resolved.change, PropertyChange):
        settings = now.scale_set.model.settings
        if all(settings.get(path) == value for path, value in resolved.reverse.items()):
            return ""
        return f"the model does not say the old value of {', '.join(resolved.reverse)} again: put it there first"
    return "they did not run one version before: what each ran stands in the plan file, under scale_set.instances"


def _script_back(plan: Plan, now: Standing) -> str:
    """Rule 3."""
    change, state = plan.resolved.change, now.state
    undo = isinstance(change, GuestPatch) and change.undo is not None
    taken = {name for batch in state.sequence or () for name in batch.take}
    failed = tuple(one.id for one in now.failed)
    mine = (*now.old, *failed) if state.back else (*now.on_target, *failed)
    ids = ",".join(name for name in mine if not state.back or name in taken)
    whence = "its undo (`vmss-sim show PLAN.JSON` prints it)" if undo else "what undoes it (this plan has no undo)"
    scope = plan.scale_set.id or plan.scale_set.name
    health = " --accept-no-health" if plan.scale_set.health_source is HealthSource.NONE else ""
    return (
        f"save {whence} as undo.sh; `vmss-sim plan --scale-set {scope} --run-command undo.sh -s selected -p selected.ids={ids}{health}"
        f" -o back.json`, and its `apply`, take it back there; then delete the run-command {plan.resolved.target.run_command} of these"
        " (`az vmss run-command delete`): it says that they have the script"
    )


def _strategy(plan: Plan) -> str:
    """Rule 1."""
    known = STRATEGIES.get(plan.strategy)
    if known is None or known.platform or known.surge or known.name in UNFIT:
        return f"-s {ONE_BY_ONE.name}"
    made = [f"-s {known.name}"]
    for field in msgspec.structs.fields(known.parameters):
        value = plan.parameters.get(field.name, field.default)
        if field.name not in _SHARED and value != field.default and isinstance(value, int | str):
            name = field.name.removesuffix("_ms")
            given = f"{value}ms" if name != field.name else str(value).lower() if isinstance(value, bool) else value
            made.append(f"-p {shlex.quote(f'{known.name}.{name}={given}')}")
    if plan.rollback_floor.absolute:
        made.append(f"--slo {shlex.quote(f'healthy >= {plan.rollback_floor.given}')}")
    return " ".join(made)
