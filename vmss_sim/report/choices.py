"""What can be done about a rollout, by exact command: now, and once it is over.

Rules this module decides:

1. A command is whole: it names rollout, instances and store, and can be copied.
2. A choice's forecast is the plan's, by the share of the instances that it moves; without a forecast nothing is said.
3. Of what is still changed after the end each has the command of az that undoes it: the rollout is over, `release` has nothing to release. Why it is
   still so: the plan leaves it at this end, or what the plan says could not be done.
   Once another rollout of the set came, that one's status tells it: what is told here is of this one's last look.
4. Of a model that still gives what was given up it is said what putting it back moves, by the mode that the set is in: by az without any
   floor of ours, by the plan that takes back with its floor.
5. Commands of vmss-sim lead to the set by their options; before those of az stands what az needs to lead there (`Where.az`).
"""

from __future__ import annotations

import shlex

import msgspec

from planner.choices import Option, options
from planner.lint.wording import names
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, OperatorRequest
from planner.standing import Change, Heard, Standing, Temporary
from vmss_sim.report import way_back
from vmss_sim.report.console import plain
from vmss_sim.report.status_words import Status
from vmss_sim.report.times import coarse, when

COMMANDS = {
    Asked.EMERGENCY: "rollback --emergency",
}


def choices_of(status: Status) -> tuple[Option, ...]:
    """What may be done now."""
    return () if status.standing is None else options(status.plan, status.standing, alive=status.alive)


def command_of(status: Status, choice: Option) -> str:
    """The exact command."""
    word = COMMANDS.get(choice.asked, choice.asked.value)
    parts = ["vmss-sim", word, status.entry.id, *choice.ids]
    if choice.reason_needed:
        parts.append("--reason '…'")
    return " ".join(parts) + status.store


def heard_of(one: Heard) -> str:
    """`approve, by carol, heard 2026-01-01 00:02:45Z: the first batch looks well`."""
    asked = one.request
    by = f", by {asked.by}" if asked.by else ""
    return plain(f"{asked.asked.value}{by}, heard {when(one.at_ms)}" + (f": {asked.reason}" if asked.reason else ""))


def waiting_of(one: OperatorRequest) -> str:
    """`replace 6, asked by carol 2026-01-01 00:02:45Z: broken host`: no executor has heard it yet."""
    ids = f" {names(one.ids, 8)}" if one.ids else ""
    since = f" {when(one.at_ms)}" if one.at_ms else ""
    return f"{one.asked.value}{ids}, asked by {one.by or 'an operator'}{since}" + (
        f": {one.reason}" if one.reason else ""
    )


def already(status: Status, choice: Option) -> OperatorRequest | None:
    """The same, asked before for all or some of these, which no executor has heard yet."""
    for one in status.standing.unheard if status.standing is not None else ():
        if one.asked is choice.asked and (not choice.ids or {*one.ids} & {*choice.ids}):
            return one
    return None


def forecast_of(status: Status, choice: Option) -> str:
    """Rule 2."""
    duration = status.forecast.metrics.get("duration_s") if status.forecast is not None else None
    planned = sum(len(batch.take) for batch in status.plan.batches)
    if not choice.moves or duration is None or duration.p50 is None or duration.p95 is None or not planned:
        return ""
    share = min(1.0, choice.moves / planned)
    return f"about {coarse(duration.p50 * share)}, 95 % within {coarse(duration.p95 * share)}"


def undo_of(status: Status) -> tuple[tuple[Temporary, str, str], ...]:
    """What is still changed though the rollout has ended: why, and the command that undoes it. Before the end, `release` does."""
    now = status.standing
    if now is None or now.state.phase is not Phase.ENDED:
        return ()
    told = [(plan, one) for plan, one in status.temporary if status.since is None or one.change is Change.ADDED]
    return tuple(
        _model(status, now, one) if one.change is Change.MODEL else _undo(plan, one, now.state.ending)
        for plan, one in told
    )


_BY_MODE = {
    UpgradeMode.MANUAL: "in mode Manual it moves no instance, only new ones have it",
    UpgradeMode.AUTOMATIC: "in mode Automatic the platform then moves all that do not have it at once, without a floor",
    UpgradeMode.ROLLING: "in mode Rolling the platform then begins a rollout of its own, by its policy",
}


def _model(status: Status, now: Standing, one: Temporary) -> tuple[Temporary, str, str]:
    """Rule 4."""
    plan, mode = status.plan, now.scale_set.model.mode
    does = _BY_MODE.get(mode, "what moves then is the platform's")
    why = f"a new instance would boot it. Put back by the command, {does}"
    if len(afterwards_of(status)) > 1:
        why += "; the plan above puts it back by itself, before it moves anything, with its floor"
    sets = " ".join(
        shlex.quote(f"{path.removeprefix('properties.')}={_value(value)}")
        for path, value in plan.resolved.reverse.items()
    )
    return one, why, f"az vmss update {_az(plan.scale_set.id, plan.scale_set.name)} --set {sets}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _undo(plan: Plan, one: Temporary, ending: str) -> tuple[Temporary, str, str]:
    """Rule 3."""
    end, so = plan.ends[ending], f"where a rollout ends so: {ending}"
    where, old = _az(plan.scale_set.id, plan.scale_set.name), plan.scale_set.mode.value
    if one.change is Change.REPAIRS:
        does = "set-orchestration-service-state --service-name AutomaticRepairs --action Resume"
        why = f"the plan leaves them suspended {so}" if end.repairs == "suspended" else "they could not be resumed"
        return one, why, f"az vmss {does} {where}"
    if one.change is Change.ADDED:
        kept = "the floor needed them, they were protected, or taking them away failed"
        why = f"the plan leaves them {so}" if end.added == "left" else kept
        return one, why, f"az vmss delete-instances {where} --instance-ids {' '.join(one.ids)}"
    moves = f"in mode {old} the platform would move {names(one.ids)}, which {'do' if len(one.ids) > 1 else 'does'} not have the model"
    why = f"{moves}: take that back first" if one.ids else f"nothing would move in mode {old}"
    return one, why, f"az vmss update {where} --set upgradePolicy.mode={old.capitalize()}"


def az_first_of(status: Status) -> tuple[str, ...]:
    """Rule 5."""
    where, said = status.entry.where, (*afterwards_of(status), *(command for _, _, command in undo_of(status)))
    return where.az if where is not None and any("az vmss " in one for one in said) else ()


def _az(scale_set_id: str, name: str) -> str:
    parts = scale_set_id.split("/")
    if len(parts) < 9:
        return f"-g GROUP -n {name}"
    return f"-g {parts[4]} -n {parts[8]} --subscription {parts[2]}"


def afterwards_of(status: Status) -> tuple[str, ...]:
    """What can be done about instances that stay on the target where a rollout ended before its end: it is over, a new plan is needed."""
    now = status.standing
    failed = tuple(one.id for one in now.failed) if now is not None else ()
    if now is None or now.state.ending not in ("abort", "stop", "drift"):
        return ()
    if status.since is not None:
        came = f"ended: {status.since.ending}" if status.since.ending else "is under way"
        look = f"vmss-sim status {status.since.rollout}{status.store}"
        return (
            plain(f"this rollout is over; {status.since.rollout} of the same set followed and {came}. How it is now:"),
            look,
        )
    if not (now.on_target or failed):
        return ()
    where = "not back yet" if now.state.back else "on target"
    stays = f"{where}, and left so: {names(now.on_target, 20)}" if now.on_target else f"nothing is {where}"
    if failed:
        stays += f"; failed: {names(failed, 20)}"
    if way_back.nothing_to_do(status.plan, now):
        words = f"nothing is on target; failed: {names(failed, 20)}. Nothing is to be taken back: they have what was there before"
        on = "The way on: `apply --again` of the same plan, or a new plan"
        return (plain(f"this rollout is over; {words}. {on}"),)
    reach = status.entry.where.options if status.entry.where is not None else ""
    how = way_back.why_none(status.plan, now, reach) or "To take them back, make a new plan:"
    lines = [f"this rollout is over; {stays}. {how}", *way_back.commands(status.plan, now, reach, status.store)]
    return tuple(plain(one) for one in lines)
