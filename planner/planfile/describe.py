"""A plan in words, for a person who has to approve it: what it would do, what it may cost, and what holds it back.

Text that stands in the plan is shown with control characters escaped: a plan file is untrusted, a terminal obeys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from planner.change import Action, GuestPatch, PropertyChange
from planner.change import describe as describe_change
from planner.drift import Absorb
from planner.lint import lint_plan
from planner.lint.wording import amount, instances, names, share, span
from planner.model import Service
from planner.plan import MovedBy, Plan, Rung
from planner.surge import FallBack, cores, cores_free

LISTED = 20


class Section(NamedTuple):
    """A heading and its lines."""

    title: str
    lines: tuple[str, ...]


_WOULD = {
    Action.UPGRADE: "would upgrade",
    Action.REIMAGE: "would reimage",
    Action.UPGRADE_THEN_REIMAGE: "would upgrade, then reimage,",
    Action.RESTART: "would restart",
    Action.RUN_COMMAND: "would run the patch on",
}
_RUNGS = {
    Rung.UPGRADE: "upgrade again",
    Rung.REIMAGE: "reimage",
    Rung.REPLACE: "replace (delete, and add one)",
    Rung.QUARANTINE: "give up (quarantine)",
}
_DRIFT = {Absorb.REFUSE: "refused", Absorb.ABSORB: "absorbed", Absorb.NOTE: "noted"}


def describe(plan: Plan) -> tuple[Section, ...]:
    """The whole plan. Sections that would be empty are left out."""
    parts = (
        ("Scale set", _set(plan)),
        ("Change", _change(plan)),
        ("What is lost", _lost(plan)),
        ("Thresholds", _thresholds(plan)),
        ("Batches", _batches(plan)),
        ("Added capacity", _surge(plan)),
        ("Left out", _left_out(plan)),
        ("Gates", _gates(plan)),
        ("Deadlines", _deadlines(plan)),
        ("Failures", _failures(plan)),
        ("The way back", _way_back(plan)),
        ("What is left behind", _ends(plan)),
        ("If the set differs when it is applied", _drift(plan)),
        ("Windows", _windows(plan)),
        ("Expires", _expires(plan)),
        ("Asked about instances", _hooks(plan)),
        ("Findings", _findings(plan)),
    )
    made = ((title, tuple(_plain(line) for line in lines)) for title, lines in parts)
    return tuple(Section(title, lines) for title, lines in made if lines)


def _plain(line: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _set(plan: Plan) -> Iterator[str]:
    saw = plan.scale_set
    if plan.title:
        yield plan.title
    yield f"{saw.name}, {saw.orchestration.value}, {instances(saw.capacity)}, {saw.sku or 'size not known'}, {saw.os.value}"
    if saw.id:
        yield f"id {saw.id}"
    if saw.unique_id:
        yield f"uniqueId {saw.unique_id}"
    yield f"image {saw.image or 'not known'}"
    mode = saw.mode.value
    yield f"mode {mode}" + ("" if plan.work_mode is saw.mode else f", for the rollout {plan.work_mode.value}")
    states = Counter(one.service for one in saw.instances.values())
    serving = [f"{share(states[Service.IN], saw.capacity)} in service"]
    serving += [f"{states[state]} {word}" for state, word in _STATES if states[state]]
    yield f"{', '.join(serving)}; health source: {saw.health_source.value}"
    if saw.repairs is not None and saw.repairs.enabled:
        then = (
            "suspended for the rollout" if plan.suspend_repairs else "suspended" if saw.repairs.suspended else "left on"
        )
        yield f"automatic repairs: {saw.repairs.action} after {span(saw.repairs.grace_ms)}, {then}"


_STATES = ((Service.OUT, "out of service"), (Service.UNKNOWN, "not known"))


def _spaced(value: Any) -> str:
    """JSON that can be folded between its parts."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _change(plan: Plan) -> Iterator[str]:
    resolved = plan.resolved
    yield f"{describe_change(resolved.change)}, by {resolved.action.value}"
    for path, value in resolved.patch.items():
        yield f"{path}: {_json(resolved.reverse.get(path))} -> {_json(value)}"
    if not resolved.patch:
        yield "the model stays as it is"
    if isinstance(resolved.change, GuestPatch):
        yield from (f"script | {line}" for line in resolved.change.script.splitlines())
    if plan.handed is not None:
        policy = plan.handed.policy
        how = "Azure's OS upgrade is started" if plan.handed.by == "os-upgrade" else "the update of the model starts it"
        yield (
            f"handed over: {how}; at most {policy.max_batch_percent} % at a time,"
            f" {policy.max_unhealthy_percent} % unhealthy, {policy.max_unhealthy_upgraded_percent} % of the upgraded"
        )
    by = "the platform moves" if plan.moved_by is MovedBy.PLATFORM else "the planner moves"
    yield f"strategy {plan.strategy} (version {plan.strategy_version}), {by} the instances"
    yield f"parameters {_spaced(plan.parameters)}"


def _lost(plan: Plan) -> Iterator[str]:
    loses = plan.resolved.loses
    if loses:
        yield f"each instance that is moved loses its {' and its '.join(loses)}; data disks are kept"
    elif isinstance(plan.resolved.change, PropertyChange):
        yield "no disk is lost; whether a VM restarts depends on the property"
    else:
        yield "no disk is lost"


def _thresholds(plan: Plan) -> Iterator[str]:
    total = plan.scale_set.capacity
    if plan.handed is not None:
        yield f"floor {amount(plan.floor, total)}: it holds when the rollout is handed over, and is a gate afterwards"
        yield f"fewer in service for longer than {span(plan.handed.grace_ms)}: the platform's rollout is cancelled"
    elif plan.moved_by is MovedBy.PLATFORM:
        yield f"floor {amount(plan.floor, total)}: nothing holds the platform back"
    else:
        yield f"floor {amount(plan.floor, total)} in service, which commands may not cross; never below {plan.floor_min}"
        yield f"on the way back {amount(plan.rollback_floor, total)}"
        yield f"on the way back in an emergency {amount(plan.emergency_floor, total)}"
    if plan.required is not None:
        yield f"required {amount(plan.required, total)}: fewer in service is downtime"
    if plan.objective is not None:
        yield f"objective {amount(plan.objective, total)}: judged afterwards"


def _batches(plan: Plan) -> Iterator[str]:
    platform = plan.moved_by is MovedBy.PLATFORM
    would = ("the platform " if platform else "") + _WOULD[plan.resolved.action]
    total = plan.scale_set.capacity
    moved = sum(len(batch.take) for batch in plan.batches)
    yield f"{share(moved, total)} in {len(plan.batches)} {'batch' if len(plan.batches) == 1 else 'batches'}" + (
        " (a forecast)" if platform else ""
    )
    for number, batch in enumerate(plan.batches, 1):
        more = f" after adding {instances(batch.add)}" if batch.add else ""
        notes = [batch.why]
        if batch.approve:
            notes.append("waits for an operator")
        if batch.soak_ms is not None:
            notes.append(f"soak {span(batch.soak_ms)}")
        does = "would replace" if batch.add else would
        yield f"{number}. {does} {names(batch.take, LISTED)}{more} ({'; '.join(notes)})"
    for split in plan.splits:
        yield f"split: {split}"


def _surge(plan: Plan) -> Iterator[str]:
    surging, total = plan.surge, plan.scale_set.capacity
    if surging is None:
        return
    quota = surging.quota
    yield f"at most {surging.add} are added at a time: {surging.peak} instances at the peak, of {surging.most} the set may hold"
    need, more = cores(surging.peak, quota), cores(surging.add, quota)
    free = cores_free(quota)
    yield (
        f"cores: {need} at the peak, {more} more than now"
        if need is not None
        else "cores: the size of a VM is not known"
    ) + (f"; {free} are free" if free is not None else "; how many are free is not known")
    known = quota.free_addresses
    yield f"addresses: {surging.add} more than now; " + (
        f"{known} are free" if known is not None else "how many are free is not known"
    )
    then = {
        FallBack.STOP: "the rollout stops",
        FallBack.IN_PLACE: f"that batch goes in place, with {amount(surging.in_place_floor, total)} kept in service",
    }[surging.fallback]
    yield f"where the platform refuses to add: {then}"
    yield f"an added instance that does not come to serve is replaced {surging.replace} times; then its old one stays"


def _left_out(plan: Plan) -> Iterator[str]:
    total = plan.scale_set.capacity
    by_rule: dict[str, list[str]] = {}
    for name, rule in plan.skipped.items():
        by_rule.setdefault(rule, []).append(name)
    for rule, ids in by_rule.items():
        yield f"{rule}: {share(len(ids), total)}: {names(ids, LISTED)}"
    planned = {name for batch in plan.batches for name in batch.take} | plan.skipped.keys()
    rest = [name for name in plan.scale_set.instances if name not in planned]
    if rest:
        yield f"in no batch: {share(len(rest), total)}: {names(rest, LISTED)}"


def _gates(plan: Plan) -> Iterator[str]:
    gates, total = plan.gates, plan.scale_set.capacity
    yield f"upgraded instances that may be out of service again: {amount(gates.upgraded_unhealthy, total)}"
    if gates.drop is not None:
        yield f"fewer in service than before the rollout: at most {amount(gates.drop, total)}"
    yield f"after each batch: soak {span(gates.soak_ms)}, then pause {span(gates.pause_ms)}"
    if gates.dry_run:
        yield "dry run: verdicts are written down, nothing waits or stops"


def _deadlines(plan: Plan) -> Iterator[str]:
    deadlines = plan.deadlines
    for words, value in (
        ("one operation", deadlines.operation_ms),
        ("from the end of its operation until an instance serves", deadlines.healthy_ms),
        ("a gate that does not hold", deadlines.gate_ms),
        ("nothing can be taken", deadlines.stall_ms),
        ("an unknown outcome is looked at after", deadlines.settle_ms),
        ("the whole rollout", deadlines.rollout_ms),
    ):
        yield f"{words}: {span(value)}"


def _failures(plan: Plan) -> Iterator[str]:
    failures, total = plan.failures, plan.scale_set.capacity
    yield f"a failed instance: {', then '.join(_RUNGS[rung] for rung in failures.ladder)}"
    yield f"more than {amount(failures.max_failed, total)} given up, or a gate that does not hold: {failures.then.value}"
    yield (
        f"a refusal (409, 429): again after {span(failures.backoff_ms)} and longer, at most {failures.refusals} in a row"
    )
    yield f"stale instances that the plan did not see: {plan.new_instances}"


def _way_back(plan: Plan) -> Iterator[str]:
    resolved = plan.resolved
    for path, value in resolved.reverse.items():
        yield f"the model goes back first: {path} = {_json(value)}"
    if isinstance(resolved.change, GuestPatch):
        undo = resolved.change.undo
        yield from ["no undo"] if undo is None else (f"undo | {line}" for line in undo.splitlines())
        return
    pinned: dict[str, list[str]] = {}
    for name in (name for batch in plan.batches for name in batch.take):
        booted = plan.scale_set.instances[name].image
        pinned.setdefault(str(booted or "not known"), []).append(name)
    for image, ids in pinned.items():
        yield f"booted {image}: {instances(len(ids))}: {names(ids, LISTED)}"


def _ends(plan: Plan) -> Iterator[str]:
    pins = plan.moved_by is MovedBy.PLATFORM and bool(plan.resolved.reverse)
    for name, end in plan.ends.items():
        manual = pins and end.model == "pinned" and end.mode == "as-is"
        mode = "manual (in it the platform moves nothing when the model goes back)" if manual else end.mode
        yield (
            f"{name}: model {end.model}, operations in flight {end.in_flight}, repairs {end.repairs}, mode {mode},"
            + (f" added instances {end.added}," if plan.surge else "")
            + f" exit status {end.exit_code}"
        )


def _drift(plan: Plan) -> Iterator[str]:
    for verdict, word in _DRIFT.items():
        kinds = [kind for kind, row in plan.drift.items() if row is verdict]
        if kinds:
            yield f"{word}: {', '.join(kinds)}"


def _windows(plan: Plan) -> Iterator[str]:
    for window in plan.windows:
        yield f"{', '.join(window.days)} {window.start} to {window.end} {window.time_zone}"
    for freeze in plan.freezes:
        yield f"frozen {freeze.start} to {freeze.end} {freeze.time_zone}" + (f": {freeze.why}" if freeze.why else "")
    if plan.windows or plan.freezes:
        yield f"when a window closes: {plan.on_window_close}"
    if plan.needs_ms:
        yield f"a batch starts only where the window is open for as long as it takes (95 of 100 runs): at most {span(max(plan.needs_ms))}"


def _expires(plan: Plan) -> Iterator[str]:
    if plan.expires:
        yield f"{plan.expires}: no rollout is begun with it from then on; one that was begun goes on"


def _hooks(plan: Plan) -> Iterator[str]:
    hooks = plan.hooks
    if hooks is None:
        return
    joined = "instead of what the platform says" if hooks.replaces else "beside what the platform says"
    for hook, words in (
        (hooks.health, f"does it serve, {joined}, at most every {span(hooks.every_ms)}"),
        (hooks.drain, "before it is taken"),
        (hooks.verify, "after it came back, until it passes"),
    ):
        if hook is not None:
            yield f"{words}: {' '.join(hook.command)} (within {span(hook.deadline_ms)})"


def _findings(plan: Plan) -> Iterator[str]:
    for one in lint_plan(plan):
        yield f"{one.code} {one.grade.value}: {one.text}" + (f"; {one.fix}" if one.fix else "")
