"""What was derived may be dropped: a step from a view and what changed is the step from nothing but the snapshot."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backends.guard import judge
from planner.commands import Outcome, Status
from planner.model import Health, Instance, Provisioning, ScaleSet
from planner.rollout import Asked, Observation, OperatorRequest, Rollout
from tests.fleet import Case, Fleet, Twice, cases, examples, plan_or_none


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
    model = msgspec.structs.replace(fleet.model, image=rollout.plan.resolved.model_image)
    prepared = Observation(
        now_ms=1_000,
        scale_set=ScaleSet(model=model, instances=fleet.instances),
        changed=(),
        outcomes=(Outcome(command="c1", status=Status.SUCCEEDED),),
    )
    honest = rollout.step(made.state, prepared, made.view)
    assert [one.ids for one in honest.commands] == [("0",)]
    lie = msgspec.structs.replace(honest.view, serving=0)
    later = msgspec.structs.replace(
        prepared, now_ms=2_000, outcomes=(Outcome(command="c2", status=Status.FAILED, refused=True),)
    )
    assert rollout.step(honest.state, later, honest.view).commands == ()
    again = msgspec.structs.replace(later, now_ms=60_000, outcomes=())
    waiting = rollout.step(honest.state, later, honest.view)
    with pytest.raises(AssertionError, match="from what changed"):
        rollout.step(waiting.state, again, msgspec.structs.replace(waiting.view, serving=lie.serving))


@st.composite
def snapshots(draw: st.DrawFn, before: ScaleSet) -> tuple[ScaleSet, tuple[str, ...]]:
    """The next snapshot, in which anything may have changed: what an Azure list may show, in any order."""
    instances = dict(before.instances)
    changed: dict[str, None] = {}
    for name in draw(st.lists(st.sampled_from([*instances, "7", "8"]), max_size=4, unique=True)):
        changed[name] = None
        old = instances.get(name)
        if old is not None and len(instances) > 1 and draw(st.integers(0, 5)) == 0:
            del instances[name]
            continue
        old = old or next(iter(before.instances.values()))
        images = [one.image for one in before.instances.values()]
        instances[name] = msgspec.structs.replace(
            old,
            id=name,
            vm_id=old.vm_id if old.id == name and draw(st.integers(0, 5)) else f"vm-{name}-new",
            image=draw(st.sampled_from([*images, before.model.image])),
            latest_model=draw(st.sampled_from((True, False, None))),
            health=draw(st.sampled_from(Health)),
            provisioning=draw(st.sampled_from(Provisioning)),
            protected=draw(st.integers(0, 5)) == 0,
        )
    return ScaleSet(model=before.model, instances=instances), tuple(changed)


@examples(200)
@given(cases(most=5, trouble=()), st.data())
def test_a_step_is_the_same_and_safe_whatever_the_snapshots_show(case: Case, data: st.DataObject) -> None:
    """No world that obeys any rule: outcomes and snapshots as they come. The guard has nothing to say all the same."""
    plan = plan_or_none(case)
    assume(plan is not None)
    assert plan is not None
    rollout = Twice(plan)
    scale_set, changed, outcomes = case.fleet.scale_set(), None, ()
    state, view, now = rollout.start(), None, 0
    requests = 0
    for _ in range(data.draw(st.integers(3, 12))):
        asked = ()
        if data.draw(st.integers(0, 5)) == 0:
            requests += 1
            one = data.draw(st.sampled_from(tuple(Asked)))
            ids = data.draw(st.sampled_from(((), ("0",), ("0", "7"))))
            asked = (OperatorRequest(id=requests, asked=one, ids=ids),)
        seen = Observation(now_ms=now, scale_set=scale_set, changed=changed, outcomes=outcomes, requests=asked)
        made = rollout.step(state, seen, view)
        assert judge(rollout, made, scale_set, {}, now) == ()
        assert made.wake_at_ms is None or made.wake_at_ms > now
        state, view = made.state, made.view
        outcomes = ()
        if state.ticket is not None and data.draw(st.booleans()):
            status = data.draw(st.sampled_from(Status))
            outcomes = (Outcome(command=state.ticket.command.id, status=status),)
            if status is Status.SUCCEEDED and state.ticket.command.patch:
                settings = {**scale_set.model.settings, **state.ticket.command.patch}
                known = {path: settings[path] for path in scale_set.model.settings}
                image = plan.resolved.back_image if state.back else plan.resolved.model_image
                model = msgspec.structs.replace(scale_set.model, image=image, settings=known)
                scale_set = ScaleSet(model=model, instances=scale_set.instances)
            elif status is Status.SUCCEEDED and state.ticket.command.mode is not None:
                model = msgspec.structs.replace(scale_set.model, mode=state.ticket.command.mode)
                scale_set = ScaleSet(model=model, instances=scale_set.instances)
        scale_set, changed = data.draw(snapshots(scale_set))
        now += data.draw(st.sampled_from((1_000, 31_000, 700_000, 6_000_000)))


def test_an_unchanged_snapshot_changes_nothing() -> None:
    """Level-triggered: looked at again at the same time, an observation leads nowhere further."""
    case = Case(fleet=Fleet(size=4))
    rollout = Rollout(case.plan())
    seen = Observation(now_ms=0, scale_set=case.fleet.scale_set())
    first = rollout.step(rollout.start(), seen)
    again = rollout.step(first.state, seen)
    assert (again.state, again.commands) == (first.state, ())
    assert isinstance(next(iter(seen.scale_set.instances.values())), Instance)
