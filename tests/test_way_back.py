"""Going back: what is out of service goes first, since it needs no budget and gives capacity back."""

from __future__ import annotations

from planner.rollout import Asked
from tests.fleet import Ask, Case, Fleet, as_before


def test_what_is_out_of_service_goes_back_first_and_frees_the_floor() -> None:
    case = Case(
        fleet=Fleet(size=8),
        strategy="batch",
        parameters={"size": 4, "on_failure": "rollback-all", "soak_ms": 300_000},
        more={"floor": 4, "rollback_floor": 7},
        bad=(0, 1, 2),
        bad_after_ms=120_000,
    )
    run = case.run()
    assert run.state.ending == "rollback", run.state.reason
    assert all(as_before(run.plan, run.world, vm) for vm in run.world.vms.values())
    last = run.sent("update-model")[-1].now
    back = [set(one.ids) for one in run.sent("upgrade") if one.now > last]
    sick = {"0", "1", "2"} & set().union(*back)
    assert sick
    assert back[0] == sick, "serving 8 minus the sick is below the floor of 7: the others would wait for ever"


def test_with_everything_in_service_the_newest_batch_goes_back_first() -> None:
    run = Case(fleet=Fleet(size=4), asks=(Ask(250_000, Asked.ROLLBACK),)).run()
    sent = [one.ids[0] for one in run.sent("upgrade")]
    forward = [name for index, name in enumerate(sent) if name not in sent[:index]]
    assert sent == forward + forward[::-1]
