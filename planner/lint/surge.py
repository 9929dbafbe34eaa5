"""Lint of a plan that adds instances before it takes any (VS335 to VS344)."""

from __future__ import annotations

from collections.abc import Iterator

from planner.lint.codes import Finding, finding
from planner.lint.facts import auto_os, repaired_at_once
from planner.lint.wording import amount, instances, names, share
from planner.model import Orchestration, ScaleSet
from planner.plan import Plan
from planner.surge import FallBack, Surging, addresses_missing, cores, cores_free, cores_missing, extra, not_known


def surge(plan: Plan, scale_set: ScaleSet | None) -> Iterator[Finding]:
    """Room for what is added, and what else changes the number of instances."""
    surging = plan.surge
    if surging is None or not surging.add:
        return
    yield from _room(plan, surging)
    if plan.scale_set.orchestration is Orchestration.FLEXIBLE and scale_set is not None and auto_os(scale_set.model):
        yield finding(
            "VS340",
            "automatic OS upgrade is on, and the plan is a surge on a Flexible set",
            plan.strategy,
            "turn automatic OS upgrade off, or use a strategy that keeps the instances",
        )
    if not plan.resolved.reverse:
        yield finding(
            "VS344",
            f"{instances(sum(len(one.take) for one in plan.batches))} are replaced, and the model has no old target to go"
            " back to",
            "change",
            "use a strategy that keeps the instances, or do without a rollback",
        )
    if scale_set is not None:
        yield from _others(plan, surging, scale_set)


def _room(plan: Plan, surging: Surging) -> Iterator[Finding]:
    quota, add, total = surging.quota, surging.add, plan.scale_set.capacity
    if surging.peak > surging.most:
        yield finding(
            "VS337",
            f"{total} instances and {add} more are {surging.peak}, and this set holds at most {surging.most}",
            plan.strategy,
            f"add at most {max(0, surging.most - total)} at a time, or use a strategy that keeps the instances",
        )
    lacks = []
    need, free, missing = cores(add, quota), cores_free(quota), cores_missing(add, quota)
    if missing:
        lacks.append(("VS335", f"{add} more instances need {need} cores, {free} are free: {missing} are missing"))
    missing = addresses_missing(add, quota)
    if missing:
        lacks.append(
            (
                "VS336",
                f"{add} more instances need {add} addresses, {quota.free_addresses} are free: {missing} are missing",
            )
        )
    for code, text in lacks:
        if surging.fallback is FallBack.STOP:
            fix = "raise the quota, enlarge the subnet, add fewer at a time (size), or declare a fall-back (in-place)"
            yield finding(code, f"{text}; the fall-back is to stop", plan.strategy, fix)
        else:
            kept = amount(surging.in_place_floor, total)
            yield finding(
                "VS338",
                f"{text}; batches go in place, with {kept} kept in service",
                plan.strategy,
                "raise the quota, enlarge the subnet, or add fewer at a time (size)",
            )
    unknown = not_known(quota)
    if unknown:
        yield finding(
            "VS339",
            f"not known: {', '.join(unknown)}; {surging.peak} instances are needed at the peak, {add} more than now",
            plan.strategy,
            "look at `az vm list-usage` and the subnet, and give them as [quota]",
        )


def _others(plan: Plan, surging: Surging, scale_set: ScaleSet) -> Iterator[Finding]:
    model, total = scale_set.model, len(scale_set.instances)
    moved = {name for batch in plan.batches for name in batch.take}
    kept = [name for name, one in scale_set.instances.items() if one.scale_in_protected and name in moved]
    if kept:
        yield finding(
            "VS341",
            f"{share(len(kept), total)} are protected from scale-in, and the plan deletes them by id: {names(kept)}",
            names(kept),
            "protect them from scale-set actions where they should stay",
        )
    if model.overprovision:
        more = extra(surging.add, overprovision=True) - surging.add
        yield finding(
            "VS342",
            f"overprovisioning is on: a scale-out by {surging.add} may need room for {more} more",
            plan.strategy,
            "turn overprovisioning off for the rollout",
        )
    repairs = model.repairs
    at_work = []
    if repairs is not None and repairs.enabled and not repairs.suspended and not plan.suspend_repairs:
        at_work.append(f"repairs are on ({repairs.action}, {share(repaired_at_once(total), total)} at a time)")
    if model.id:
        at_work.append("whether autoscale is attached is not told")
    if at_work:
        yield finding(
            "VS343",
            f"{'; '.join(at_work)}: {surging.peak} instances are more than it may expect",
            plan.strategy,
            "suspend repairs, and pin the capacity of autoscale for the time of the rollout",
        )
