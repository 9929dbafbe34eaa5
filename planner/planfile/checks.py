"""Does a plan that was read contradict itself? A plan file is untrusted: a correct digest says that nobody changed it by
accident, not that `build` made it.

Rules this module decides: what follows from something else in the plan must follow from it.

1. Instances: as many as the capacity says; an id is neither empty nor `*`, which the platform reads as all.
2. Batches: not empty, known ids, each at most once in all, none of them skipped.
3. Thresholds: the absolute number is the given one at the plan's capacity.
4. Budget: no batch of a planner-moved plan needs more than capacity minus floor (instances out of service need none).
5. What is done (`resolved`) follows from the change, the action and the set: no other model path, no other way back.
6. Only a surge adds instances; what it needs at most follows from its batches, and its fall-back's floor from the capacity.
7. Tables are complete (end states, drift), choices are known, times are not negative, the ladder ends with quarantine.
8. A plan with windows says what each batch needs of one. Older versions made plans that do not: nothing is begun with such a plan, but what was begun
   with it can be looked at and ended (`machine/windows.py`: no further batch starts).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from planner.amount import Threshold, amount, at_least, at_most
from planner.change import Action, resolve
from planner.drift import DRIFT
from planner.errors import InputError
from planner.lint.moves import freeze_problem, window_problem
from planner.lint.wording import names
from planner.model import HealthSource, Instance, Model, ScaleSet, Service, UpgradeMode, scale_set
from planner.plan import ENDS, EndState, MovedBy, Plan, Rung, never_drained, untimed

NEW_INSTANCES = ("append", "leave", "stop")
ON_WINDOW_CLOSE = ("pause", "wait")
END_CHOICES = {
    "model": ("target", "pinned", "as-is"),
    "in_flight": ("awaited", "left-running"),
    "repairs": ("restored", "suspended"),
    "mode": ("restored", "as-is"),
    "added": ("removed", "left"),
}
EXIT_CODES = range(6)
_MOMENT = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\dZ")
LONGEST = 256  # of an id, a zone or an amount: far above what Azure gives, and it bounds what int() is asked


class Problem(NamedTuple):
    """What does not follow: where in the plan, and what was found and expected."""

    what: str
    place: str
    found: str
    expected: str


def check(plan: Plan, where: str, *, begun: bool = False) -> None:
    """Raise InputError for the first contradiction. begun: of a rollout that was begun with it (rule 8)."""
    for rule in (_instances, _batches, _thresholds, _budget, _surge, _resolved, _tables, _choices, _times):
        for what, place, found, expected in rule(plan):
            raise InputError(
                f"the plan contradicts itself: {what}",
                f"{where}: plan.{place}",
                found,
                expected,
                "make the plan again with `vmss-sim plan`",
            )
    if not begun and untimed(plan):
        raise InputError(
            "batches start by windows, and what each needs of one is not said",
            f"{where}: plan.needs_ms",
            ", ".join(map(str, plan.needs_ms)) or "nothing",
            "a time for every batch",
            "make the plan again with `vmss-sim plan`; what was begun with this one is ended by `abort` or `rollback`",
        )


def _instances(plan: Plan) -> Iterator[Problem]:
    saw = plan.scale_set
    if saw.capacity != len(saw.instances) or not saw.instances:
        yield Problem(
            "the capacity is not the number of its instances",
            "scale_set.capacity",
            str(saw.capacity),
            str(len(saw.instances) or "1 or more"),
        )
    for name, one in saw.instances.items():
        if not name.strip() or name == "*" or len(name) > LONGEST:
            yield Problem("not an instance id", "scale_set.instances", repr(name[:60]), f"at most {LONGEST} characters")
        if one.zone is not None and len(one.zone) > LONGEST:
            yield Problem("not a zone", f"scale_set.instances.{name}.zone", repr(one.zone[:60]), "1, 2 or 3")


def _batches(plan: Plan) -> Iterator[Problem]:
    known, seen = plan.scale_set.instances, dict[str, int]()
    for name in plan.skipped:
        if name not in known:
            yield Problem("an instance that the set does not have", "skipped", repr(name), names(list(known)))
    for index, batch in enumerate(plan.batches):
        place = f"batches[{index}]"
        if not batch.take and batch.add <= 0:
            yield Problem("a batch of none would never finish", place, "no instances", "1 or more")
        if batch.add < 0:
            yield Problem("a negative number of instances", f"{place}.add", str(batch.add), "0 or more")
        if batch.soak_ms is not None and batch.soak_ms < 0:
            yield Problem("a negative time", f"{place}.soak_ms", str(batch.soak_ms), "0 or more")
        for name in batch.take:
            if name not in known:
                yield Problem("an instance that the set does not have", f"{place}.take", repr(name), names(list(known)))
            if name in seen:
                yield Problem("an instance stands twice", f"{place}.take", repr(name), f"only in batches[{seen[name]}]")
            if name in plan.skipped:
                rule = plan.skipped[name]
                yield Problem("an instance is both moved and skipped", f"{place}.take", repr(name), f"skipped: {rule}")
            seen[name] = index


def _thresholds(plan: Plan) -> Iterator[Problem]:
    rows: list[tuple[str, Threshold | None, Callable[[str, int], int]]] = [
        *((name, getattr(plan, name), at_least) for name in ("floor", "rollback_floor", "emergency_floor")),
        *((name, getattr(plan, name), at_least) for name in ("required", "objective")),
        ("gates.upgraded_unhealthy", plan.gates.upgraded_unhealthy, at_most),
        ("gates.drop", plan.gates.drop, at_most),
        ("failures.max_failed", plan.failures.max_failed, at_most),
        ("surge.in_place_floor", plan.surge.in_place_floor if plan.surge else None, at_least),
    ]
    total = plan.scale_set.capacity
    for name, threshold, rounded in rows:
        if threshold is None:
            continue
        if len(threshold.given) > LONGEST:
            yield Problem("not an amount", f"{name}.given", repr(threshold.given[:60]), "a count, 80% or n-2")
            continue
        try:
            canonical = amount(threshold.given, name)
        except InputError as error:
            yield Problem(error.what, f"{name}.given", error.found, error.expected)
            continue
        if canonical != threshold.given:
            yield Problem("an amount is written otherwise", f"{name}.given", repr(threshold.given), repr(canonical))
            continue
        right = rounded(canonical, total)
        if threshold.absolute != right:
            yield Problem(
                f"{canonical} of {total} is another number",
                f"{name}.absolute",
                str(threshold.absolute),
                str(right),
            )
    if plan.floor_min < 0:
        yield Problem("a negative number of instances", "floor_min", str(plan.floor_min), "0 or more")


def _budget(plan: Plan) -> Iterator[Problem]:
    if plan.moved_by is MovedBy.PLATFORM and plan.handed is None:
        return
    saw = plan.scale_set.instances
    budget = plan.scale_set.capacity - plan.floor.absolute
    for index, batch in enumerate(plan.batches):
        cost = sum(saw[name].service is not Service.OUT for name in batch.take) - batch.add
        if cost > budget:
            yield Problem(
                f"a batch is larger than the budget ({plan.scale_set.capacity} minus the floor, {plan.floor})",
                f"batches[{index}].take",
                str(cost),
                f"at most {max(0, budget)}",
            )


def _surge(plan: Plan) -> Iterator[Problem]:
    surging, adds = plan.surge, [one.add for one in plan.batches]
    if surging is None:
        for index, add in enumerate(adds):
            if add:
                yield Problem("only a surge adds instances", f"batches[{index}].add", str(add), "0")
        return
    if plan.moved_by is MovedBy.PLATFORM:
        yield Problem("the platform's own rollouts say by their policy what they add", "surge", "a surge", "null")
    add, capacity = max(adds, default=0), plan.scale_set.capacity
    for index, one in enumerate(plan.batches):
        if one.add != len(one.take):
            yield Problem("a surge adds as many as it takes", f"batches[{index}].add", str(one.add), str(len(one.take)))
    if surging.add != add or surging.peak != capacity + add:
        yield Problem(
            "what a surge needs at most does not follow from its batches",
            "surge.peak",
            f"{surging.add} more, {surging.peak} in all",
            f"{add} more, {capacity + add} in all",
        )
    if surging.replace < 0:
        yield Problem("it cannot be negative", "surge.replace", str(surging.replace), "0 or more")


def as_seen(plan: Plan) -> ScaleSet:
    """The set as the plan's projection holds it."""
    saw = plan.scale_set
    model = Model(
        name=saw.name,
        id=saw.id,
        unique_id=saw.unique_id,
        orchestration=saw.orchestration,
        mode=saw.mode,
        image=saw.image,
        sku=saw.sku,
        os=saw.os,
        capacity=saw.capacity,
        health_source=saw.health_source,
        repairs=saw.repairs,
        settings=saw.settings,
        gives=saw.gives,
    )
    return scale_set(
        model,
        (
            Instance(
                id=name,
                vm_id=one.vm_id,
                zone=one.zone,
                placement_group=one.placement_group,
                update_domain=one.update_domain,
                fault_domain=one.fault_domain,
                image=one.image,
                protected=one.protected,
            )
            for name, one in saw.instances.items()
        ),
    )


def _resolved(plan: Plan) -> Iterator[Problem]:
    stored = plan.resolved
    try:
        right = resolve(stored.change, as_seen(plan), stored.action)
    except InputError as error:
        yield Problem(error.what, "resolved.change", error.found, error.expected)
        return
    for field in stored.__struct_fields__:
        found, expected = getattr(stored, field), getattr(right, field)
        if found != expected:
            yield Problem(
                "what is done does not follow from the change and the set",
                f"resolved.{field}",
                str(found),
                str(expected),
            )


def _tables(plan: Plan) -> Iterator[Problem]:
    tables: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("ends", dict(plan.ends), dict(ENDS)),
        ("drift", dict(plan.drift), dict(DRIFT)),
    ]
    for name, found, wanted in tables:
        missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        if missing:
            yield Problem("a table is not complete", name, f"no {', '.join(missing)}", ", ".join(wanted))
        if unknown:
            yield Problem("a table has an unknown row", name, ", ".join(unknown), ", ".join(wanted))
    for name, end in plan.ends.items():
        yield from _end(name, end)


def _end(name: str, end: EndState) -> Iterator[Problem]:
    for field, choices in END_CHOICES.items():
        value = getattr(end, field)
        if value not in choices:
            yield Problem("not one of the choices", f"ends.{name}.{field}", repr(value), ", ".join(choices))
    if end.exit_code not in EXIT_CODES:
        yield Problem("not an exit code", f"ends.{name}.exit_code", str(end.exit_code), "0 to 5")


def _choices(plan: Plan) -> Iterator[Problem]:
    for name, value, choices in (
        ("new_instances", plan.new_instances, NEW_INSTANCES),
        ("on_window_close", plan.on_window_close, ON_WINDOW_CLOSE),
    ):
        if value not in choices:
            yield Problem("not one of the choices", name, repr(value), ", ".join(choices))
    scripts = plan.resolved.action is Action.RUN_COMMAND
    if scripts and plan.work_mode not in (plan.scale_set.mode, UpgradeMode.MANUAL):
        modes = " or ".join(dict.fromkeys((plan.scale_set.mode.value, UpgradeMode.MANUAL.value)))
        yield Problem("a run-command is carried out in the set's own mode", "work_mode", plan.work_mode.value, modes)
    if plan.moved_by is MovedBy.PLANNER and plan.work_mode is not UpgradeMode.MANUAL and not scripts:
        yield Problem(
            "instances that the planner moves are moved in mode manual", "work_mode", plan.work_mode.value, "manual"
        )
    by_os = plan.handed is not None and plan.handed.by == "os-upgrade"
    if plan.handed is not None and plan.handed.by not in ("model", "os-upgrade"):
        yield Problem("not one of the choices", "handed.by", repr(plan.handed.by), "model, os-upgrade")
    if plan.handed is not None and plan.moved_by is not MovedBy.PLATFORM:
        yield Problem("what is handed over the platform moves", "moved_by", plan.moved_by.value, "platform")
    if plan.handed is not None and not by_os and plan.work_mode is not UpgradeMode.ROLLING:
        yield Problem("Azure's policy is followed in mode rolling", "work_mode", plan.work_mode.value, "rolling")
    if plan.moved_by is MovedBy.PLATFORM and plan.work_mode is UpgradeMode.MANUAL and not by_os:
        yield Problem(
            "the platform moves nothing in mode manual", "work_mode", plan.work_mode.value, "automatic or rolling"
        )
    ladder = plan.failures.ladder
    if not ladder or ladder[-1] is not Rung.QUARANTINE or Rung.QUARANTINE in ladder[:-1]:
        yield Problem(
            "the ladder ends with quarantine, and nowhere else",
            "failures.ladder",
            ", ".join(rung.value for rung in ladder) or "nothing",
            "…, quarantine",
        )


def _times(plan: Plan) -> Iterator[Problem]:
    if plan.expires and not _MOMENT.fullmatch(plan.expires):
        yield Problem("not a time in UTC", "expires", repr(plan.expires), "YYYY-MM-DDTHH:MMZ")
    for place, value in (
        *((f"deadlines.{name}", getattr(plan.deadlines, name)) for name in plan.deadlines.__struct_fields__),
        ("gates.soak_ms", plan.gates.soak_ms),
        ("handed.grace_ms", plan.handed.grace_ms if plan.handed else 0),
        ("gates.pause_ms", plan.gates.pause_ms),
        ("failures.refusals", plan.failures.refusals),
        ("failures.backoff_ms", plan.failures.backoff_ms),
    ):
        if value < 0:
            yield Problem("it cannot be negative", place, str(value), "0 or more")
    for index, window in enumerate(plan.windows):
        problem = window_problem(window)
        if problem:
            yield Problem("a window that never opens", f"windows[{index}]", problem, "days, HH:MM, and a time zone")
    for index, freeze in enumerate(plan.freezes):
        problem = freeze_problem(freeze)
        if problem:
            yield Problem("a freeze that cannot be read", f"freezes[{index}]", problem, "two times, and a time zone")
    if plan.needs_ms and len(plan.needs_ms) != len(plan.batches):
        yield Problem("not a time for every batch", "needs_ms", str(len(plan.needs_ms)), str(len(plan.batches)))
    for index, needed in enumerate(plan.needs_ms):
        if needed < 0:
            yield Problem("it cannot be negative", f"needs_ms[{index}]", str(needed), "0 or more")
    hooks = plan.hooks
    for name in ("health", "drain", "verify"):
        hook = getattr(hooks, name) if hooks is not None else None
        if hook is not None and not (hook.command and hook.command[0].strip()):
            yield Problem("not a program", f"hooks.{name}.command", "nothing", "a program and its arguments")
        if hook is not None and hook.deadline_ms <= 0:
            yield Problem(
                "it would never be waited for", f"hooks.{name}.deadline_ms", str(hook.deadline_ms), "1 or more"
            )
    undrained = never_drained(plan.moved_by, plan.resolved.action)
    if undrained and hooks is not None and hooks.drain is not None:
        yield Problem("it would never run", "hooks.drain", undrained, "no drain hook")
    judged = hooks is not None and (hooks.health is not None or hooks.verify is not None)
    if judged is not (plan.scale_set.health_source is HealthSource.HOOK):
        found = plan.scale_set.health_source.value
        yield Problem(
            "who says what serves does not follow from the hooks",
            "scale_set.health_source",
            found,
            "hook" if judged else "the platform's",
        )
