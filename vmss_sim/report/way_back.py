"""The commands that take back what an ended rollout left on its target: they run as they stand.

Rules this module decides:

1. The same strategy, with what it was told about sizes and order, and the floor that the plan kept for its way back. Where that does not
   fit (named instances, all at once, the platform's own, added ones, somebody else's strategy): one by one, with its own floor.
2. What does not serve goes first: it needs no room above the floor, and gives some. Where so few serve that the floor leaves no room, it
   goes one by one with what serves now as the floor, which others that fall out meanwhile do not reach; where none of those that are out
   would be mended, with one less, since without that nothing can be taken.
3. The target is what the model gave before. Where another property was changed and the model says the old value again, none is named:
   what is behind it is brought up to the model. Where neither is known, no command is made up: a sentence says where to look.
4. A script in the VMs goes back by its undo as another script, where it is not known to have gone back; its own record says afterwards what is
   not true any more, and is deleted.
"""

from __future__ import annotations

import shlex

import msgspec

from planner.amount import follow
from planner.change import GuestPatch, PropertyChange
from planner.model import HealthSource, Service, runs, service
from planner.plan import Plan
from planner.standing import Standing
from planner.strategies import STRATEGIES, Parameters, Strategy
from planner.strategies.one_by_one import STRATEGY as ONE_BY_ONE

UNFIT = ("selected",)
_SHARED = {field.name for field in msgspec.structs.fields(Parameters)}


def commands(plan: Plan, now: Standing, reach: str, store: str) -> tuple[str, ...]:
    """Snapshot, plan and apply; empty where `why_none` tells. reach: options that lead to the set. store: to the store."""
    if why_none(plan, now, reach):
        return ()
    health = " --accept-no-health" if plan.scale_set.health_source is HealthSource.NONE else ""
    target = f" --target {shlex.quote(now.back_to)}" if now.back_to else ""
    scope = plan.scale_set.id or plan.scale_set.name
    way = _strategy(plan, now)
    return (
        f"vmss-sim snapshot --scale-set {scope} -o now.json {reach}".rstrip(),
        f"vmss-sim plan now.json{target} {way}{health} -o back.json",
        f"vmss-sim apply back.json{health} {reach}".rstrip() + _beside(reach, store),
    )


def _beside(reach: str, store: str) -> str:
    """What leads to the store, without what is said of the login for the set already."""
    words = shlex.split(store)
    made = [f"{name} {shlex.quote(value)}" for name, value in zip(words[::2], words[1::2], strict=True)]
    return "".join(f" {one}" for one in made if one not in reach)


def why_none(plan: Plan, now: Standing, reach: str) -> str:
    """Why no plan from a snapshot takes them back, in a sentence; empty where one does (rule 3). reach: as of `commands`."""
    resolved = plan.resolved
    if now.back_to:
        return ""
    if isinstance(resolved.change, GuestPatch):
        return _script_back(plan, now, reach)
    if isinstance(resolved.change, PropertyChange):
        settings = now.scale_set.model.settings
        if all(settings.get(path) == value for path, value in resolved.reverse.items()):
            return ""
        return f"the model does not say the old value of {', '.join(resolved.reverse)} again: put it there first"
    return "they did not run one version before: what each ran stands in the plan file, under scale_set.instances"


def _script_back(plan: Plan, now: Standing, reach: str) -> str:
    """Rule 4."""
    change, state = plan.resolved.change, now.state
    undo = isinstance(change, GuestPatch) and change.undo is not None
    taken = {name for batch in state.sequence or () for name in batch.take}
    failed = tuple(one.id for one in now.failed)
    mine = (*now.on_target, *failed)
    ids = ",".join(name for name in mine if not state.back or name in taken)
    whence = "its undo (`vmss-sim show PLAN.JSON` prints it)" if undo else "what undoes it (this plan has no undo)"
    scope = plan.scale_set.id or plan.scale_set.name
    health = " --accept-no-health" if plan.scale_set.health_source is HealthSource.NONE else ""
    there = f" {reach}" if reach else ""
    return (
        f"save {whence} as undo.sh; `vmss-sim plan --scale-set {scope} --run-command undo.sh -s selected -p selected.ids={ids}{health}"
        f" -o back.json{there}`, and `vmss-sim apply back.json{health}{there}`, take it back there; then delete the run-command {plan.resolved.target.run_command} of these"
        " (`az vmss run-command delete`): it says that they have the script"
    )


def nothing_to_do(plan: Plan, now: Standing) -> bool:
    """Has everything that was tried the model again, and the image from before? A plan that takes back would move nothing."""
    was = plan.resolved.back_image
    if now.on_target or was is None or plan.resolved.target.image is None:
        return False
    tried = [now.scale_set.instances[one.id] for one in now.failed]
    return all(one.latest_model and runs(one.image, was) is True for one in tried)


def _strategy(plan: Plan, now: Standing) -> str:
    """Rules 1 and 2."""
    known = STRATEGIES.get(plan.strategy)
    if known is None or known.platform or known.surge or known.name in UNFIT:
        known, floor = ONE_BY_ONE, ""
    else:
        floor = plan.rollback_floor.given if plan.rollback_floor.absolute else ""
    kept = follow(plan.rollback_floor, now.total) if floor else now.total - 1
    source = plan.scale_set.health_source
    out = {name for name, one in now.scale_set.instances.items() if service(one, source) is Service.OUT}
    back = {*now.on_target, *(one.id for one in now.failed)}
    if back and now.in_service <= kept and (out or now.in_service < kept):
        known, floor = ONE_BY_ONE, str(max(0, now.in_service - (not out & back)))
    first = [f"-p {known.name}.unhealthy_first=true"] if out else []
    slo = [f"--slo {shlex.quote(f'healthy >= {floor}')}"] if floor else []
    own = _parameters(plan, known) if known.name == plan.strategy else []
    return " ".join((f"-s {known.name}", *own, *first, *slo))


def _parameters(plan: Plan, known: Strategy) -> list[str]:
    made = []
    for field in msgspec.structs.fields(known.parameters):
        value = plan.parameters.get(field.name, field.default)
        if field.name not in _SHARED and value != field.default and isinstance(value, int | str):
            name = field.name.removesuffix("_ms")
            given = f"{value}ms" if name != field.name else str(value).lower() if isinstance(value, bool) else value
            made.append(f"-p {shlex.quote(f'{known.name}.{name}={given}')}")
    return made
