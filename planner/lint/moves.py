"""Lint of a plan: its batches, thresholds, failures, gates and deadlines (VS301 to VS320, VS327 to VS331, VS333, VS345)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.amount import follow
from planner.drift import DRIFT, Absorb
from planner.lint.codes import Finding, finding
from planner.lint.facts import repaired_at_once
from planner.lint.wording import amount, instances, names, share, span
from planner.model import HealthSource, ScaleSet, Service, UpgradeMode, service
from planner.plan import Freeze, MovedBy, OnFailure, Plan, Rung, Window
from planner.strategies import STRATEGIES

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_MOMENT = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_DOMAINS = (("zone", "per-zone"), ("update_domain", "per-ud"), ("fault_domain", "per-fd"))
_DAY_MS = 86_400_000


class Look:
    """A plan against its instances: as it saw them, or as a snapshot shows them now."""

    def __init__(self, plan: Plan, scale_set: ScaleSet | None) -> None:
        self.plan = plan
        saw = plan.scale_set
        self.services: dict[str, Service] = (
            {name: pinned.service for name, pinned in saw.instances.items()}
            if scale_set is None
            else {name: service(one, saw.health_source) for name, one in scale_set.instances.items()}
        )
        self.total = len(self.services)
        self.serving = sum(state is Service.IN for state in self.services.values())
        self.floor = max(plan.floor_min, follow(plan.floor, self.total))
        self.moved = [name for batch in plan.batches for name in batch.take]
        self.platform = plan.moved_by is MovedBy.PLATFORM
        self.largest = max((len(batch.take) for batch in plan.batches), default=0)
        self.name = saw.name

    def waits_ms(self) -> int:
        """What the plan waits on purpose: the soak of every batch, and the pauses between them."""
        gates = self.plan.gates
        soaks = (gates.soak_ms if one.soak_ms is None else one.soak_ms for one in self.plan.batches)
        return sum(soaks) + gates.pause_ms * max(0, len(self.plan.batches) - 1)


def moves(plan: Plan, scale_set: ScaleSet | None) -> Iterator[Finding]:
    """Everything about how instances are moved."""
    look = Look(plan, scale_set)
    if not plan.batches:
        yield finding(
            "VS312", f"no batches: {share(0, look.total)} are moved", look.name, "look at what the plan skips, and why"
        )
    yield from _left(look)
    yield from _thresholds(look)
    if not look.platform:
        yield from _domains(look)
        yield from _budget(look)
        yield from _tolerance(look)
        yield from _way_back(look)
    yield from _gates(look)
    yield from _deadlines(look)
    yield from _windows(look)
    weak = [kind for kind, verdict in DRIFT.items() if verdict is Absorb.REFUSE and plan.drift.get(kind) is not verdict]
    if weak:
        yield finding(
            "VS333",
            f"differences that are refused by default are let pass: {names(weak)}",
            "drift",
            "set them to refuse",
        )


def _left(look: Look) -> Iterator[Finding]:
    plan, total = look.plan, look.total
    alone = [name for name, rule in plan.skipped.items() if rule != "already-current"]
    saw = plan.scale_set
    after = "" if saw.mode is plan.work_mode else f"; mode {saw.mode.value} is not put back meanwhile"
    if alone:
        told = names([f"{name} ({plan.skipped[name]})" for name in alone])
        yield finding(
            "VS328",
            f"{share(len(alone), total)} are left alone: {told}{after}",
            names(alone),
            "lift the protection, or bring them up by hand",
        )
    moved = set(look.moved)
    rest = [name for name in saw.instances if name not in moved and name not in plan.skipped]
    if rest:
        yield finding(
            "VS329",
            f"{share(len(rest), total)} stand in no batch and stay as they are, while the model says the target:"
            f" {names(rest)}{after}",
            names(rest),
            "plan the rest too, or put the model back afterwards",
        )


def _thresholds(look: Look) -> Iterator[Finding]:
    plan, total = look.plan, look.total
    if look.platform and plan.work_mode is UpgradeMode.AUTOMATIC and look.moved:
        moved = set(look.moved)
        left = sum(state is Service.IN and name not in moved for name, state in look.services.items())
        yield finding(
            "VS301",
            f"floor {amount(plan.floor, total)}: the platform upgrades {share(len(look.moved), total)} at the same time, so"
            f" in service may fall from {share(look.serving, total)} to {share(left, total)} until the first is back",
            plan.strategy,
            "use a strategy that moves the instances itself, such as batch or ramp",
        )
    if plan.handed is not None and look.moved:
        yield finding(
            "VS345",
            f"floor {amount(plan.floor, total)} when it is handed over; then it is cancelled where fewer serve for longer than"
            f" {span(plan.handed.grace_ms)}, and what is in flight still ends",
            plan.strategy,
            "use a strategy that moves the instances itself where the floor must hold",
        )
    if not look.platform and look.moved and look.floor == 0:
        yield finding(
            "VS302",
            f"floor {amount(plan.floor, total)}: commands may take all that serve; the largest batch takes"
            f" {share(look.largest, total)}",
            "floor",
            "give a floor, or an objective (min_healthy)",
        )
    for code, name, limit, what in (
        ("VS313", "required", plan.required, "the load requires"),
        ("VS314", "min_healthy", plan.objective, "the objective is"),
    ):
        if limit is not None and look.moved and look.floor < follow(limit, total):
            kept = (
                "nothing is kept"
                if look.platform and plan.handed is None
                else f"the floor keeps {share(look.floor, total)}"
            )
            yield finding(
                code,
                f"{kept} in service, and {what} {amount(limit, total)}",
                name,
                f"raise the floor to {limit.given}" if not look.platform else "use a strategy with a floor",
            )


def _domains(look: Look) -> Iterator[Finding]:
    plan = look.plan
    strategy = STRATEGIES.get(plan.strategy)
    field = strategy.needs if strategy else None
    if field is None:
        return
    words = field.replace("_", " ")
    unknown = [name for name in look.moved if getattr(plan.scale_set.instances.get(name), field, None) is None]
    if unknown:
        yield finding(
            "VS304",
            f"the {words} of {share(len(unknown), look.total)} is not known: {names(unknown)}",
            plan.strategy,
            f"take the snapshot with --expand instanceView, or use {_alternatives(plan, field)}",
        )
    groups = {getattr(one, field) for one in plan.scale_set.instances.values()} - {None}
    if len(groups) == 1 and look.total > 1 and look.moved:
        members = sum(getattr(one, field) is not None for one in plan.scale_set.instances.values())
        yield finding(
            "VS303",
            f"there is one {words} ({next(iter(groups))}) for {share(members, look.total)}, so {plan.strategy} separates"
            " nothing",
            plan.strategy,
            f"use {_alternatives(plan, field)}",
        )


def _alternatives(plan: Plan, without: str) -> str:
    """The strategies that would separate something here."""
    found = []
    for field, strategy in _DOMAINS:
        groups = {getattr(one, field) for one in plan.scale_set.instances.values()}
        if field != without and len(groups) > 1 and None not in groups:
            found.append(f"{strategy} ({len(groups)} {field.replace('_', ' ')}s)")
    total = len(plan.scale_set.instances)
    return " or ".join([*found, f"batch (20 % = {max(1, total // 5)} of {total} at a time)"])


def _budget(look: Look) -> Iterator[Finding]:
    """Walk the batches as the machine would if every upgrade ended well: what is out of service is mended on the way."""
    plan, total, serving = look.plan, look.total, look.serving
    if plan.splits:
        yield finding(
            "VS306",
            f"batches were split, since the budget is {share(total - follow(plan.floor, total), total)}:"
            f" {'; '.join(plan.splits[:3])}{'; …' if len(plan.splits) > 3 else ''}",
            plan.strategy,
            "lower the floor to keep a domain together, or accept the longer rollout",
        )
    held: list[str] = []
    for index, batch in enumerate(plan.batches):
        states = [look.services[name] for name in batch.take if name in look.services]
        out = states.count(Service.OUT)
        cost = len(states) - out
        room = serving + batch.add - look.floor
        if cost and room + out <= 0:
            yield _no_budget(look, index, serving)
            return
        if cost > room:
            held.append(f"batch {index + 1} ({batch.why}) needs {cost}, {max(0, room)} may go")
        serving += out + states.count(Service.UNKNOWN)
    if held:
        yield finding(
            "VS307",
            f"{share(look.serving, total)} are in service now and the floor is {share(look.floor, total)}:"
            f" {'; '.join(held[:3])}{'; …' if len(held) > 3 else ''}",
            plan.strategy,
            "let instances that are out of service go first (unhealthy_first), or wait until they are mended",
        )


def _no_budget(look: Look, index: int, serving: int) -> Finding:
    plan, total = look.plan, look.total
    later = [name for one in plan.batches[index + 1 :] for name in one.take if look.services.get(name) is Service.OUT]
    unknown = sum(state is Service.UNKNOWN for state in look.services.values())
    fixes = []
    if later:
        fixes.append(f"let those out of service go first (unhealthy_first: {names(later)})")
    if unknown:
        fixes.append(f"find out whether the {unknown} that are not known serve (--expand instanceView)")
    if serving:
        fixes.append(f"lower the floor (and floor_min) to {serving - 1} or less")
    at = "at the start" if index == 0 else f"at best by batch {index + 1}"
    return finding(
        "VS305",
        f"{share(serving, total)} are in service {at}, and the floor is {share(look.floor, total)}: batch {index + 1}"
        f" ({plan.batches[index].why}) can take none",
        f"batch {index + 1}",
        "; or ".join(fixes) or "mend what is out of service first",
    )


def _tolerance(look: Look) -> Iterator[Finding]:
    plan, total, moved = look.plan, look.total, len(look.moved)
    most = plan.failures.max_failed.absolute
    budget = total - look.floor
    shown = amount(plan.failures.max_failed, total)
    if not moved:
        return
    if most == 0:
        then = {
            OnFailure.STOP: "stops the rollout",
            OnFailure.PAUSE: "pauses the rollout",
            OnFailure.ROLLBACK_BATCH: "rolls its batch back",
            OnFailure.ROLLBACK_ALL: "rolls all of it back",
        }[plan.failures.then]
        tries = sum(rung is not Rung.QUARANTINE for rung in plan.failures.ladder)
        again = f", and after {tries} more {'try' if tries == 1 else 'tries'}," if tries else ""
        yield finding(
            "VS308",
            f"max_failed {shown}: one of {instances(moved)} not healthy {span(plan.deadlines.healthy_ms)} after its"
            f" operation{again} {then}",
            "max_failed",
            "fine for a first rollout of an image; otherwise tolerate as many as the floor leaves room for",
        )
    elif most >= moved:
        yield finding(
            "VS309",
            f"max_failed {shown}: as many as are moved ({moved}) may fail; only the floor ({share(look.floor, total)})"
            " stops a bad image",
            "max_failed",
            f"tolerate fewer, such as {max(0, min(moved, budget) // 2)}",
        )
    elif most >= budget:
        yield finding(
            "VS310",
            f"max_failed {shown}: after {budget} failed, the floor ({share(look.floor, total)}) lets nothing more go, and"
            f" the rollout stalls for {span(plan.deadlines.stall_ms)}",
            "max_failed",
            f"tolerate {max(0, budget - 1)} or fewer, or lower the floor",
        )
    drop = plan.gates.drop
    if drop is not None and drop.absolute < most and not plan.gates.dry_run:
        yield finding(
            "VS311",
            f"max_failed is {shown}, and the gate `drop` is {amount(drop, total)}",
            "drop",
            f"set drop to {most} or more, or max_failed to {drop.absolute}",
        )


def _way_back(look: Look) -> Iterator[Finding]:
    plan, total = look.plan, look.total
    back, emergency = follow(plan.rollback_floor, total), follow(plan.emergency_floor, total)
    if back < look.floor:
        yield finding(
            "VS316",
            f"the floor is {share(look.floor, total)}, on the way back {share(back, total)}",
            "rollback_floor",
            "leave rollback_floor out: it is then the floor",
        )
    if emergency == 0 and look.moved:
        yield finding(
            "VS317",
            f"an emergency rollback may take {share(total, total)} at once: emergency_floor is"
            f" {amount(plan.emergency_floor, total)}",
            "emergency_floor",
            "set it to 1 or more",
        )


def _gates(look: Look) -> Iterator[Finding]:
    plan, total = look.plan, look.total
    gates = plan.gates
    if len(plan.batches) > 1 and look.waits_ms() == 0 and not look.platform:
        yield finding(
            "VS315",
            f"soak 0 s and pause 0 s between {len(plan.batches)} batches: a failure that comes late is met when"
            f" {share(len(look.moved), total)} are upgraded",
            "soak",
            "give a soak as long as a fault of this service takes to show, at least for the first batch",
        )
    if gates.dry_run and plan.batches:
        yield finding(
            "VS331", f"the gates of {len(plan.batches)} batches are written down and stop nothing", "gates", ""
        )
    if plan.scale_set.health_source is HealthSource.NONE and not plan.accept_no_health and look.moved:
        yield finding(
            "VS327",
            f"no health source: for {share(len(look.moved), total)}, healthy means that the VM runs",
            "gates",
            "add the application health extension, judge by an outside probe, or accept it in the plan",
        )


def _deadlines(look: Look) -> Iterator[Finding]:
    plan, deadlines = look.plan, look.plan.deadlines
    for field in ("operation_ms", "healthy_ms", "rollout_ms"):
        value = getattr(deadlines, field)
        if value <= 0:
            yield finding(
                "VS330", f"{field} is {value}: it passes at once", field, "give it the time the slowest instance needs"
            )
    waits = look.waits_ms()
    if 0 < deadlines.rollout_ms <= waits:
        yield finding(
            "VS330",
            f"soak and pause of {len(plan.batches)} batches take {span(waits)}, and the rollout's deadline is"
            f" {span(deadlines.rollout_ms)}",
            "rollout_ms",
            f"give it more than {span(waits)}, or make fewer batches, or wait less between them",
        )
    repairs = plan.scale_set.repairs
    if repairs is None or not repairs.enabled or repairs.suspended or plan.suspend_repairs:
        return
    if repairs.grace_ms < deadlines.healthy_ms:
        yield finding(
            "VS320",
            f"automatic repairs stay on with a grace period of {span(repairs.grace_ms)}, and an instance has"
            f" {span(deadlines.healthy_ms)} to become healthy;"
            f" {repairs.action} takes {share(repaired_at_once(look.total), look.total)} at a time",
            "healthy_ms",
            f"suspend repairs, or lengthen the grace period to {span(deadlines.healthy_ms)}",
        )


def window_problem(window: Window) -> str:
    """What is wrong with a window, or ''."""
    known = {*_DAYS, *(day[:3] for day in _DAYS)}
    wrong = [day for day in window.days if day.lower() not in known]
    if wrong:
        return f"{', '.join(repr(day) for day in wrong)} is no weekday (Monday, or Mon)"
    if not window.days:
        return "no weekday is named"
    for side in (window.start, window.end):
        if not _CLOCK.fullmatch(side):
            return f"{side!r} is no time of day (HH:MM)"
    if window.start == window.end:
        return f"start and end are both {window.start}"
    if not _ZONE.fullmatch(window.time_zone):
        return f"{window.time_zone!r} is no IANA time zone (Europe/Berlin, UTC)"
    return ""


def freeze_problem(freeze: Freeze) -> str:
    """What is wrong with a freeze, or ''."""
    for side in (freeze.start, freeze.end):
        if not _MOMENT.fullmatch(side):
            return f"{side!r} is no local time (YYYY-MM-DDTHH:MM)"
    if freeze.start >= freeze.end:
        return f"it ends ({freeze.end}) before it begins ({freeze.start})"
    if not _ZONE.fullmatch(freeze.time_zone):
        return f"{freeze.time_zone!r} is no IANA time zone (Europe/Berlin, UTC)"
    return ""


def _window_ms(window: Window) -> int:
    start, end = (int(side[:2]) * 60 + int(side[3:]) for side in (window.start, window.end))
    return (end - start) % 1440 * 60_000


def _windows(look: Look) -> Iterator[Finding]:
    plan, lengths = look.plan, []
    for number, window in enumerate(plan.windows, 1):
        problem = window_problem(window)
        if problem:
            yield finding(
                "VS318", f"window {number}: {problem}", f"window {number}", "give days, HH:MM and a time zone"
            )
        else:
            lengths.append(_window_ms(window))
    waits = look.waits_ms()
    if lengths and waits >= max(lengths):
        yield finding(
            "VS319",
            f"soak and pause of {len(plan.batches)} batches take {span(waits)}, the longest window {span(max(lengths))}:"
            f" {share(len(look.moved), look.total)} cannot all be moved in one",
            "windows",
            "make the window longer, wait less, or accept that the set rests with two versions",
        )
