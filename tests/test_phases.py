"""The two tables of the machine. Phases: every pair of phase and cause has its row or is our bug, every row is taken by some run,
every phase can end. Buckets: every rule is met by a case of its own, and the first that matches wins.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from planner.buckets import RULES, UNTOUCHED, Bucket, Case, Memory, classify
from planner.change import Action, PropertyChange
from planner.errors import PlannerBug
from planner.model import Health, Instance, Power, Provisioning, Service
from planner.phases import RESUME, TRANSITIONS, Cause, Phase, move
from planner.rollout import Asked, Observation, Rollout, State
from tests.fleet import NEW, SETTING, Act, Ask, Fleet, fault, recorded_moves
from tests.fleet import Case as Rolled

PAIRS = list(itertools.product(Phase, Cause))


@pytest.mark.parametrize(("phase", "cause"), PAIRS, ids=[f"{phase.value}-{cause.value}" for phase, cause in PAIRS])
def test_every_pair_has_its_row_or_is_a_bug(phase: Phase, cause: Cause) -> None:
    if (phase, cause) in TRANSITIONS:
        assert move(phase, cause) is TRANSITIONS[phase, cause]
    else:
        with pytest.raises(PlannerBug, match=f"no transition from {phase.value} by {cause.value}"):
            move(phase, cause)


def test_every_phase_can_end_and_nothing_follows_the_end() -> None:
    reached = {Phase.ENDED}
    for _ in Phase:
        reached |= {phase for (phase, _), after in TRANSITIONS.items() if after in reached}
    assert reached == set(Phase)
    assert not [pair for pair in TRANSITIONS if pair[0] is Phase.ENDED]
    assert {TRANSITIONS[Phase.PAUSED, cause] for cause in RESUME.values()} == set(RESUME)


SECOND, MINUTE = 1_000, 60_000
TWO = Fleet(size=2)
RUNS: dict[str, Rolled] = {
    "forward": Rolled(fleet=TWO),
    "nothing to do": Rolled(fleet=Fleet(size=2, model=NEW, ahead=(0, 1))),
    "paused while preparing": Rolled(
        fleet=Fleet(size=2, repairs=True), asks=(Ask(500, Asked.PAUSE), Ask(5 * MINUTE, Asked.RESUME))
    ),
    "paused while rolling": Rolled(fleet=TWO, asks=(Ask(20 * SECOND, Asked.PAUSE), Ask(10 * MINUTE, Asked.RESUME))),
    "paused while rolling back": Rolled(
        fleet=TWO,
        asks=(Ask(20 * SECOND, Asked.ROLLBACK), Ask(90 * SECOND, Asked.PAUSE), Ask(20 * MINUTE, Asked.RESUME)),
    ),
    "paused by a question while finishing": Rolled(
        fleet=TWO,
        change=PropertyChange(path=SETTING, value="new"),
        action=Action.RESTART,
        faults=(fault("lose-reply", 2),),
        asks=(Ask(20 * SECOND, Asked.ABORT), Ask(30 * MINUTE, Asked.SKIP)),
    ),
    "aborted while preparing": Rolled(fleet=TWO, asks=(Ask(500, Asked.ABORT),)),
    "aborted while rolling": Rolled(fleet=TWO, asks=(Ask(20 * SECOND, Asked.ABORT),)),
    "aborted while paused": Rolled(fleet=TWO, asks=(Ask(20 * SECOND, Asked.PAUSE), Ask(10 * MINUTE, Asked.ABORT))),
    "aborted while rolling back": Rolled(
        fleet=TWO, asks=(Ask(80 * SECOND, Asked.ROLLBACK), Ask(100 * SECOND, Asked.ABORT))
    ),
    "rolled back while preparing": Rolled(fleet=TWO, asks=(Ask(500, Asked.ROLLBACK),)),
    "rolled back while paused": Rolled(
        fleet=TWO, asks=(Ask(80 * SECOND, Asked.PAUSE), Ask(10 * MINUTE, Asked.ROLLBACK))
    ),
    "refused by drift": Rolled(fleet=TWO, acts=(Act(0, "update-model", args={"patch": {SETTING: "somebody else's"}}),)),
}


def _another_set_while_finishing() -> None:
    """Somebody deleted the set and made another under its name, while the rollout was putting things back."""
    case = Rolled(fleet=Fleet(size=2, repairs=True))
    scale_set, plan = case.fleet.scale_set(), case.plan()
    known = msgspec.structs.replace(plan, scale_set=msgspec.structs.replace(plan.scale_set, unique_id="one"))
    rollout = Rollout(known)
    state = State(phase=Phase.FINISHING, ending="abort", started_ms=0)
    other = msgspec.structs.replace(scale_set, model=msgspec.structs.replace(scale_set.model, unique_id="two"))
    step = rollout.step(state, Observation(now_ms=1_000, scale_set=other))
    assert (step.state.phase, step.commands) == (Phase.ENDED, ())


def _taken() -> set[tuple[Phase, Cause]]:
    taken: set[tuple[Phase, Cause]] = set()
    with recorded_moves() as moves:
        for case in RUNS.values():
            case.run()
        _another_set_while_finishing()
        taken |= {(phase, cause) for phase, cause, _ in moves}
    return taken


def test_every_row_is_taken_by_some_run() -> None:
    missing = sorted(f"{phase.value} by {cause.value}" for phase, cause in set(TRANSITIONS) - _taken())
    assert not missing


# -- buckets ----------------------------------------------------------------------------------------------------------------


def _case(**more: Any) -> Case:
    instance = msgspec.structs.replace(
        Instance(id="0", vm_id="vm-0", provisioning=Provisioning.SUCCEEDED, power=Power.RUNNING, health=Health.HEALTHY),
        **more.pop("instance", {}),
    )
    usual: dict[str, Any] = {
        "service": Service.IN,
        "at_target": False,
        "memory": UNTOUCHED,
        "known": True,
        "vm_id": "vm-0",
        "in_flight": False,
        "skipped": "",
        "last_stage": 1,
    }
    usual |= more
    return Case(instance, usual.pop("service"), usual.pop("at_target"), usual.pop("memory"), **usual)


BUCKETS: dict[str, dict[str, Any]] = {
    "deleting": {"instance": {"provisioning": Provisioning.DELETING}, "in_flight": True},
    "replaced-vm": {"instance": {"vm_id": "vm-9"}, "at_target": True},
    "our-operation": {"in_flight": True, "instance": {"protected": True}},
    "protected": {"instance": {"protected": True}},
    "skipped-by-operator": {"memory": Memory(skipped="by an operator", quarantined="never-healthy")},
    "given-up": {"memory": Memory(quarantined="never-healthy"), "at_target": True},
    "was-current": {"skipped": "already-current", "at_target": None},
    "at-target-in-service": {"at_target": True, "memory": Memory(stage=1, ended_ms=1)},
    "at-target-not-ours": {"at_target": True, "service": Service.OUT},
    "never-healthy": {
        "memory": Memory(stage=1, ended_ms=1, failed="never-healthy"),
        "at_target": True,
        "service": Service.OUT,
    },
    "provisioning-failed": {
        "memory": Memory(ended_ms=1),
        "instance": {"provisioning": Provisioning.FAILED},
        "service": Service.OUT,
    },
    "late-sick": {"memory": Memory(stage=1, ended_ms=1, done=True), "at_target": True, "service": Service.OUT},
    "not-serving-yet": {"memory": Memory(stage=1, ended_ms=1), "at_target": True, "service": Service.OUT},
    "next-stage": {"memory": Memory(stage=1, ended_ms=1), "last_stage": 2},
    "result-not-visible": {"memory": Memory(stage=1, ended_ms=1)},
    "busy": {"instance": {"provisioning": Provisioning.UPDATING}, "service": Service.UNKNOWN},
    "not-in-plan": {"known": False},
    "was-at-target": {"memory": Memory(stage=1, ended_ms=1, done=True)},
    "stale": {},
}


def test_every_rule_has_a_case() -> None:
    assert sorted(BUCKETS) == sorted(rule.name for rule in RULES)
    assert {rule.bucket for rule in RULES} == set(Bucket)
    assert all(rule.why for rule in RULES)


@pytest.mark.parametrize("name", BUCKETS)
def test_the_rule_of_this_name_decides_and_no_earlier_one_would(name: str) -> None:
    case = _case(**BUCKETS[name])
    seen = classify(case)
    assert seen.rule == name
    earlier = RULES[: [rule.name for rule in RULES].index(name)]
    assert not [rule.name for rule in earlier if rule.test(case)]
    assert classify(_case(**BUCKETS[name])) is seen


def test_a_rule_that_fits_later_does_not_win() -> None:
    case = _case(instance={"provisioning": Provisioning.DELETING, "protected": True}, in_flight=True, known=False)
    assert [rule.name for rule in RULES if rule.test(case)][:3] == ["deleting", "our-operation", "protected"]
    assert classify(case).bucket is Bucket.VANISHED
