"""What was derived may be dropped: a step from a view and what changed is the step from nothing but the snapshot."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backends.guard import judge
from planner.change import Action
from planner.commands import Command, Kind, Outcome, Status
from planner.model import Health, Instance, Power, Provisioning, ScaleSet
from planner.phases import Phase
from planner.plan import MovedBy, Plan
from planner.rollout import Asked, Observation, OperatorRequest, Rollout, State
from tests.fleet import Case, Fleet, Twice, cases, examples, plan_or_none

replace = msgspec.structs.replace


@examples(300)
@given(cases(trouble=("fails", "bad", "flap", "background", "faults", "asks", "acts")))
def test_a_step_is_the_same_from_a_view_and_from_everything(case: Case) -> None:
    """At every turn of a run. `Twice` decides each step both ways and compares."""
    assume(plan_or_none(case) is not None)
    case.run(twice=True)


def test_the_comparison_would_notice() -> None:
    """A view that lies makes a difference."""
    case = Case(fleet=Fleet(size=3))
    rollout = Twice(case.plan())
    fleet = case.fleet.scale_set()
    made = rollout.step(rollout.start(), Observation(now_ms=0, scale_set=fleet))
    model = replace(fleet.model, image=rollout.plan.resolved.model_image)
    prepared = Observation(
        now_ms=1_000,
        scale_set=ScaleSet(model=model, instances=fleet.instances),
        changed=(),
        outcomes=(Outcome(command="c1", status=Status.SUCCEEDED),),
    )
    honest = rollout.step(made.state, prepared, made.view)
    assert [one.ids for one in honest.commands] == [("0",)]
    refused = Outcome(command="c2", status=Status.FAILED, refused=True)
    waiting = rollout.step(honest.state, replace(prepared, now_ms=2_000, outcomes=(refused,)), honest.view)
    assert waiting.commands == ()
    again = replace(prepared, now_ms=60_000, outcomes=())
    with pytest.raises(AssertionError, match="from what changed"):
        rollout.step(waiting.state, again, replace(waiting.view, serving=0))


# -- snapshots that obey no world ---------------------------------------------------------------------------------------------


def prepared(plan: Plan, scale_set: ScaleSet, *, back: bool) -> tuple[State, ScaleSet]:
    """The moment at which instances begin to move, forward or back, and the model as it is by then."""
    resolved = plan.resolved
    said = resolved.reverse if back else resolved.patch
    image = (resolved.back_image if resolved.reverse else resolved.model_image) if back else resolved.model_image
    settings = {path: said.get(path, value) for path, value in scale_set.model.settings.items()}
    model = replace(scale_set.model, image=image, settings=settings, mode=plan.work_mode)
    phase = Phase.ROLLING_BACK if back else Phase.ROLLING
    state = State(
        phase=phase,
        back=back,
        started_ms=0,
        mode_set=True,
        baseline=len(scale_set.instances),
        sequence=tuple(reversed(plan.batches)) if back else None,
    )
    return state, ScaleSet(model=model, instances=scale_set.instances)


def took_effect(rollout: Rollout, state: State, command: Command, one: Instance) -> Instance:
    """An instance after what was asked for."""
    target = rollout.target(one.id, state.back)
    if command.kind is Kind.RUN_COMMAND:
        return replace(one, run_commands=(*one.run_commands, str(command.name)))
    if command.kind is Kind.REIMAGE:
        return replace(one, image=target.image or one.image, os_disk=f"{one.os_disk}'")
    return replace(one, image=target.image or one.image, latest_model=True)


@st.composite
def disturbances(draw: st.DrawFn, before: ScaleSet) -> dict[str, Instance | None]:
    """What may have become of a few instances: whatever a list may show. None: gone."""
    made: dict[str, Instance | None] = {}
    first = next(iter(before.instances.values()))
    for name in draw(st.lists(st.sampled_from([*before.instances, "7", "8"]), max_size=2, unique=True)):
        old = before.instances.get(name)
        if old is not None and len(before.instances) > 2 and draw(st.integers(0, 7)) == 0:
            made[name] = None
            continue
        one = old or replace(first, id=name, vm_id=f"vm-{name}", protected=False)
        match draw(st.integers(0, 7)):
            case 0:
                one = replace(one, vm_id=f"{one.vm_id}'")
            case 1:
                one = replace(one, protected=not one.protected)
            case 2:
                one = replace(one, image=draw(st.sampled_from((first.image, before.model.image))))
            case 3:
                one = replace(one, latest_model=draw(st.sampled_from((True, False, None))))
            case 4:
                one = replace(one, provisioning=draw(st.sampled_from(Provisioning)))
            case 5:
                one = replace(one, power=draw(st.sampled_from(Power)))
            case _:
                one = replace(one, health=draw(st.sampled_from(Health)))
        made[name] = one
    return made


def _merged(scale_set: ScaleSet, differ: dict[str, Instance | None]) -> dict[str, Instance]:
    instances = dict(scale_set.instances)
    for name, one in differ.items():
        if one is None:
            instances.pop(name, None)
        else:
            instances[name] = one
    return instances


@examples(300)
@given(cases(most=5, trouble=()), st.booleans(), st.data())
def same_and_safe(sent: Counter[str], case: Case, back: bool, data: st.DataObject) -> None:
    """Either way, and the guard has nothing to say."""
    plan = plan_or_none(case)
    assume(plan is not None)
    assert plan is not None
    assume(plan.moved_by is MovedBy.PLANNER)
    rollout = Twice(plan)
    state, scale_set = prepared(plan, case.fleet.scale_set(), back=back)
    changed: tuple[str, ...] | None = None
    outcomes: tuple[Outcome, ...] = ()
    view, now, requests = None, 1_000, 0
    for _ in range(data.draw(st.integers(4, 25))):
        asked: tuple[OperatorRequest, ...] = ()
        if data.draw(st.integers(0, 9)) == 0:
            requests += 1
            one = data.draw(st.sampled_from(tuple(Asked)))
            ids = data.draw(st.sampled_from(((), ("0",), ("0", "7"))))
            asked = (OperatorRequest(id=requests, asked=one, ids=ids),)
        seen = Observation(now_ms=now, scale_set=scale_set, changed=changed, outcomes=outcomes, requests=asked)
        made = rollout.step(state, seen, view)
        assert judge(rollout, made, scale_set, {}, now) == ()
        assert made.wake_at_ms is None or made.wake_at_ms > now
        state, view = made.state, made.view
        sent.update(one.kind.value for one in made.commands)
        if state.phase is Phase.ENDED:
            break
        differ: dict[str, Instance | None] = {}
        outcomes = ()
        if state.ticket is not None and data.draw(st.integers(0, 4)):
            command = state.ticket.command
            status = data.draw(st.sampled_from((Status.SUCCEEDED,) * 4 + tuple(Status)))
            refused = status is Status.FAILED and data.draw(st.booleans())
            outcomes = (Outcome(command=command.id, status=status, refused=refused),)
            if status is Status.SUCCEEDED and command.patch:
                state_then, scale_set = prepared(plan, scale_set, back=state.back)
                assert state_then.back is state.back
            if status is Status.SUCCEEDED and data.draw(st.integers(0, 4)):
                shown = [one for name in command.ids if (one := scale_set.instances.get(name)) is not None]
                differ = {one.id: took_effect(rollout, state, command, one) for one in shown}
        scale_set = ScaleSet(model=scale_set.model, instances=_merged(scale_set, differ))
        more = data.draw(disturbances(scale_set))
        scale_set = ScaleSet(model=scale_set.model, instances=_merged(scale_set, more))
        changed = tuple({**differ, **more})
        now += data.draw(st.sampled_from((1_000, 1_000, 31_000, 31_000, 700_000, 6_000_000)))


def test_a_step_is_the_same_and_safe_whatever_the_snapshots_show() -> None:
    """No world that obeys any rule: outcomes and snapshots as they come. The machine moves instances all the same."""
    sent: Counter[str] = Counter()
    same_and_safe(sent)
    for kind in (Kind.UPGRADE, Kind.REIMAGE, Kind.RESTART, Kind.RUN_COMMAND, Kind.UPDATE_MODEL):
        assert sent[kind.value] > 1, sent


def test_an_unchanged_snapshot_changes_nothing() -> None:
    """Level-triggered: looked at again at the same time, an observation leads nowhere further."""
    case = Case(fleet=Fleet(size=4), action=Action.REIMAGE)
    rollout = Rollout(case.plan())
    seen = Observation(now_ms=0, scale_set=case.fleet.scale_set())
    first = rollout.step(rollout.start(), seen)
    again = rollout.step(first.state, seen)
    assert (again.state, again.commands) == (first.state, ())
