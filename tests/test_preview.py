"""`vmss-sim preview`: what it says is what the world then does, lint says the same, and the command keeps its promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.change import CurrentModel
from planner.lint import Grade, lint_set
from planner.model import (
    AutomaticOsUpgrade,
    Health,
    HealthSource,
    ImageReference,
    Orchestration,
    RollingPolicy,
    ScaleSet,
    UpgradeMode,
)
from planner.platform import AFTER_BATCH, BEFORE_BATCH, BEFORE_START, NO_HEALTH, Verdict
from scenarios import to_world
from scenarios.build import Setup, read
from scenarios.files import BUNDLED
from tests.commands import vmss_sim
from tests.test_arm_json import scale_sets
from tests.test_platform import fleet, plain, policies, sets, vm
from vmss_sim.study import own
from vmss_sim.study.own import run, simulate
from vmss_sim.study.preview import AUTO_OS, ERRORS, PINNED, Foreseen, Outcome, Preview, foresee
from vmss_sim.study.preview_document import document
from vmss_sim.world.config import Failures, Platform
from vmss_sim.world.timings import Constant

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "preview.schema.json").read_text())
SNAPSHOT = ROOT / "scenarios" / "snapshots" / "zonal-rolling.json"
replace = msgspec.structs.replace
EXAMPLE = read(BUNDLED / "zonal-rolling.toml")
MINUTE = Constant(seconds=60)


def setup_of(place: ScaleSet, **world: Any) -> Setup:
    """A scenario about this set: every operation takes a minute, nothing fails unless `world` says so."""
    operations = dict.fromkeys(("upgrade", "reimage", "restart", "scale-out", "delete"), MINUTE)
    made = to_world.world_of(place, operations, Constant(seconds=5), 5_000, Failures())
    return replace(
        EXAMPLE,
        scale_set=place,
        observed=place,
        world=replace(made, **world),
        change=CurrentModel(),
        action=None,
        gaps=(),
    )


def rolling(place: ScaleSet, policy: RollingPolicy | None = None, **model: Any) -> ScaleSet:
    return replace(place, model=replace(place.model, mode=UpgradeMode.ROLLING, rolling=policy, **model))


def stale(place: ScaleSet) -> ScaleSet:
    behind = {name: replace(one, latest_model=False) for name, one in place.instances.items()}
    return replace(place, instances=behind)


def first(preview: Preview) -> Foreseen:
    return preview.rollouts[0]


def carried_out(preview: Preview, one: Foreseen) -> tuple[str, str, list[tuple[str, ...]]]:
    """What a world really did: code, error code, and its batches."""
    _, world = run(preview, one, 1, 0)
    if not world.rollouts.past:
        return "none", "", []
    rollout = world.rollouts.past[-1]
    return rollout.code, rollout.error[0], list(rollout.done)


# -- what it says is what the world then does -------------------------------------------------------------------------


def as_foreseen(preview: Preview, one: Foreseen) -> None:
    """Assert that the world does what was foreseen, batch by batch, where nothing fails by itself."""
    code, error, done = carried_out(preview, one)
    foreseen = [batch.ids for batch in one.batches]
    match one.outcome:
        case Outcome.NOTHING_TO_DO:
            assert done == []
        case Outcome.FAILS_BEFORE_START:
            assert (code, error, done) == ("Faulted", BEFORE_START, [])
        case Outcome.CANNOT_FINISH:
            stop = next(gate for gate in one.gates if gate.verdict is Verdict.CANNOT_BE_MET)
            assert (code, error, done) == ("Faulted", stop.code, foreseen[: stop.batch + 1])
        case _:
            assert (code, error, done) == ("Completed", "", foreseen)


@settings(max_examples=200)
@given(sets(16), policies, st.booleans())
def test_a_rollout_in_mode_rolling_goes_as_foreseen(place: ScaleSet, policy: RollingPolicy, in_flight: bool) -> None:
    preview = foresee(setup_of(rolling(place, policy)), count_in_flight=in_flight)
    as_foreseen(preview, first(preview))


@settings(max_examples=100)
@given(sets(12), policies, st.booleans(), st.booleans())
def test_an_automatic_os_upgrade_goes_as_foreseen(
    place: ScaleSet, policy: RollingPolicy, own_policy: bool, assumed: bool
) -> None:
    auto = AutomaticOsUpgrade(enabled=True, use_rolling_policy=own_policy)
    latest = ImageReference(publisher="p", offer="o", sku="s", version="latest")
    model = replace(place.model, mode=UpgradeMode.MANUAL, rolling=policy, auto_os=auto, image=latest)
    preview = foresee(setup_of(replace(place, model=model)), change_assumed=assumed)
    manual, one = preview.rollouts
    assert (manual.outcome, one.kind) == (Outcome.TOUCHES_NOTHING, AUTO_OS)
    assert one.outcome is Outcome.NOTHING_TO_DO or one.policy == (policy if own_policy else RollingPolicy())
    as_foreseen(preview, one)


@settings(max_examples=200)
@given(sets(12), policies, st.data())
def test_one_vm_that_fails_stops_it_where_foreseen(place: ScaleSet, policy: RollingPolicy, data: st.DataObject) -> None:
    from planner.platform import after_failure

    preview = foresee(setup_of(rolling(place, policy), failures=Failures(upgrade=0.5)))
    one = first(preview)
    if one.outcome is not Outcome.CAN_COMPLETE:
        return
    ids = [name for batch in one.batches for name in batch.ids]
    broken = data.draw(st.sampled_from(ids))
    slot = list(place.instances).index(broken)
    index = next(number for number, batch in enumerate(one.batches) if broken in batch.ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "Draws", broken_only(slot))
        code, error, done = carried_out(preview, one)
    foreseen = [batch.ids for batch in one.batches]
    stop = after_failure(one.gates)[index]
    if stop is None:
        assert (code, done) == ("Completed", foreseen)
    else:
        until = stop.batch + (stop.rule == "after-batch")
        assert (code, error, done) == ("Faulted", stop.code, foreseen[:until])


def broken_only(slot: int) -> type[own.Draws]:
    """Luck under which the first operation on one slot fails, and nothing else does."""

    class OneBroken(own.Draws):
        def uniform(self, purpose: str, at: int, attempt: int) -> float:
            if purpose == "fails":
                return 0.1 if (at, attempt) == (slot, 1) else 0.9
            return super().uniform(purpose, at, attempt)

    return OneBroken


def test_mode_automatic_takes_everything_at_once_and_nobody_serves() -> None:
    place = stale(plain(6, domains=3))
    auto = replace(place, model=replace(place.model, mode=UpgradeMode.AUTOMATIC))
    preview = foresee(setup_of(auto))
    one = first(preview)
    assert (one.outcome, [batch.ids for batch in one.batches], one.serving) == (
        Outcome.CAN_COMPLETE,
        [("0", "1", "2", "3", "4", "5")],
        (0,),
    )
    (expected,) = simulate(preview, replications=3)
    assert expected is not None
    assert (expected.metrics["min_healthy"].mean, expected.metrics["duration_s"].mean) == (0, 70)
    assert expected.completed.estimate == 1


def test_duration_by_hand() -> None:
    """First check 60 s; a batch: 60 s operation, 5 s to serve, 5 s to be seen, so two ticks of 60 s; half a second beside."""
    place = rolling(stale(plain(4)), RollingPolicy(max_batch_percent=50, pause_between_batches_ms=30_000))
    (expected,) = simulate(foresee(setup_of(place)), replications=2)
    assert expected is not None
    assert expected.metrics["duration_s"].mean == pytest.approx(60 + 2 * 120.45 + 30, abs=1)
    assert expected.metrics["min_healthy"].mean == 2
    assert expected.endings == {"Completed": 2}


def test_surge_never_takes_anybody_out() -> None:
    place = rolling(stale(plain(4)), RollingPolicy(max_batch_percent=50, max_surge=True))
    preview = foresee(setup_of(place, quota_cores=24, cores_per_vm=4))
    one = first(preview)
    assert one.serving == (4, 4)
    assert one.surge is not None
    assert (one.surge.extra, one.surge.cores, one.surge.free_cores, one.surge.in_place) == (2, 8, 8, ())
    (expected,) = simulate(preview, replications=2)
    assert expected is not None
    assert expected.metrics["min_healthy"].mean == 4


@given(sets(12), policies, st.integers(0, 8), st.none() | st.integers(0, 8))
def test_surge_falls_back_where_foreseen(
    place: ScaleSet, policy: RollingPolicy, cores: int, addresses: int | None
) -> None:
    """Batch by batch: out of service in the world exactly where the preview says in place (nobody sick, so all serve)."""
    healthy = {name: replace(one, health=Health.HEALTHY) for name, one in place.instances.items()}
    whole = rolling(replace(place, instances=healthy), replace(policy, max_surge=True))
    total = len(whole.instances)
    limits = {"quota_cores": 2 * total + cores, "cores_per_vm": 2}
    preview = foresee(setup_of(whole, **limits, addresses=None if addresses is None else total + addresses))
    one = first(preview)
    if not one.batches:
        return
    _, world = run(preview, one, 1, 0)
    assert one.surge is not None
    kept = {vm.id for vm in world.vms.values()}
    for index, batch in enumerate(one.batches):
        assert (set(batch.ids) <= kept) == (index in one.surge.in_place)
    assert one.serving == tuple(
        total - (len(batch.ids) if index in one.surge.in_place else 0) for index, batch in enumerate(one.batches)
    )


# -- lint says the same ------------------------------------------------------------------------------------------------


@given(sets(16), policies)
def test_lint_and_preview_agree(place: ScaleSet, policy: RollingPolicy) -> None:
    """On what fails before it starts, and on zero tolerance. A rollout that has nothing to take meets no gate."""
    whole = rolling(stale(place), policy)
    one = first(foresee(setup_of(whole)))
    found = {finding.code for finding in lint_set(whole)}
    if not one.batches:
        return
    before, after = one.gates[0], one.gates[1]
    assert ("VS106" in found) == (one.outcome is Outcome.FAILS_BEFORE_START) == (before.verdict is Verdict.BREACHED)
    assert ("VS107" in found) == (before.allowed == 0)
    assert ("VS131" in found) == (before.allowed == before.known > 0)
    assert ("VS108" in found) == (after.allowed == 0) == (after.verdict is Verdict.ZERO_TOLERANCE)


LATEST = ImageReference(publisher="p", offer="o", sku="s", version="latest")
PINNED_IMAGE = replace(LATEST, version="1")
AUTO = AutomaticOsUpgrade(enabled=True)


@pytest.mark.parametrize(
    ("model", "outcomes", "code", "says"),
    [
        ({"health_source": HealthSource.NONE}, [Outcome.REFUSED], "VS109", NO_HEALTH),
        ({"health_source": HealthSource.PROBE, "orchestration": Orchestration.FLEXIBLE}, [Outcome.REFUSED], "VS109", NO_HEALTH),
        ({"auto_os": AUTO, "image": PINNED_IMAGE}, [Outcome.REFUSED] * 2, "VS110", PINNED),
        ({"auto_os": AUTO, "image": LATEST, "health_source": HealthSource.NONE}, [Outcome.REFUSED] * 2, "VS109", NO_HEALTH),
        (
            {
                "auto_os": replace(AUTO, use_rolling_policy=True),
                "image": LATEST,
                "orchestration": Orchestration.FLEXIBLE,
                "rolling": RollingPolicy(max_surge=True),
            },
            [Outcome.CAN_COMPLETE, Outcome.REFUSED],
            "VS113",
            "",
        ),
    ],
)  # fmt: skip
def test_what_the_platform_refuses(model: dict[str, Any], outcomes: list[Outcome], code: str, says: str) -> None:
    place = stale(fleet([vm("0", update_domain=0), vm("1", update_domain=1)], mode=UpgradeMode.ROLLING))
    whole = replace(place, model=replace(place.model, **model))
    preview = foresee(setup_of(whole))
    assert [one.outcome for one in preview.rollouts] == outcomes
    assert says in first(preview).says
    assert preview.failing
    assert code in {one.code for one in preview.findings if one.grade is Grade.ERROR}


@given(sets(10), policies)
def test_a_preview_fails_exactly_where_a_rollout_or_a_finding_does(place: ScaleSet, policy: RollingPolicy) -> None:
    preview = foresee(setup_of(rolling(place, policy)))
    errors = {one.code for one in preview.findings if one.grade is Grade.ERROR}
    assert preview.failing == (bool(errors) or any(one.outcome in ERRORS for one in preview.rollouts))
    if first(preview).outcome in ERRORS:
        assert errors, "what would fail has a finding with its fix"


def test_planted_gate_that_stops_at_the_limit_is_not_the_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    from planner import platform

    place = rolling(stale(plain(10, sick=(8, 9))), RollingPolicy())
    as_foreseen(preview := foresee(setup_of(place)), first(preview))
    monkeypatch.setattr(platform, "exceeds", lambda count, of, percent: count * 100 >= percent * of)
    wrong = foresee(setup_of(place))
    with pytest.raises(AssertionError):
        as_foreseen(wrong, first(wrong))


@settings(max_examples=40)
@given(scale_sets(), st.booleans(), st.booleans())
def test_any_set_is_previewed_without_an_exception(place: ScaleSet, in_flight: bool, assumed: bool) -> None:
    """Whatever the reader may give, also policies out of range."""
    if place.instances:
        preview = foresee(setup_of(place), count_in_flight=in_flight, change_assumed=assumed)
        published = msgspec.json.encode(document(preview, simulate(preview, replications=1)))
        jsonschema.validate(json.loads(published), SCHEMA)


# -- sentences ----------------------------------------------------------------------------------------------------------


def told(one: Foreseen, heading: str) -> str:
    return " ".join(line for title, lines in one.tells if title == heading for line in lines)


def test_sentences_by_hand() -> None:
    one = first(foresee(setup_of(rolling(stale(plain(10, domains=1, sick=(9,))), RollingPolicy()))))
    assert one.says == "can complete: 5 batches of at most 2 of 10 (20 %)"
    assert told(one, "What stops it").startswith(
        "Before it starts and before every batch: more than 20 % = 2 of 10 unhealthy (maxUnhealthyInstancePercent)."
        " Unhealthy now: 1 of 10 (10 %) (9); 1 more may fail."
        " After batches 1 to 2 (up to 4 instances upgraded): zero tolerance"
    )
    fails = told(one, "If one VM does not come back healthy")
    assert f"In batches 1 to 2: the rollout stops after that batch ({AFTER_BATCH}): 2 to 4 of 10 are upgraded" in fails
    assert "In batches 3 to 5: the rollout goes on without it." in fails
    assert "Nothing is rolled back (rollbackFailedInstancesOnPolicyBreach is off)" in fails
    assert "There is no resume" in told(one, "If you cancel it")
    assert "also an update that changes nothing" in told(one, "Any other update of the model")


def test_open_questions_are_answered_as_the_scenario_does() -> None:
    """`[platform]` of a scenario reaches the preview: VMs in flight, automatic OS upgrade in mode Manual."""
    two = setup_of(rolling(stale(plain(2)), RollingPolicy()), platform=Platform(count_in_flight=True, tick_ms=30_000))
    preview = foresee(two)
    assert first(preview).outcome is Outcome.CANNOT_FINISH
    as_foreseen(preview, first(preview))
    assert {one.value for one in preview.assumptions if one.name == "a batch ends"} == {"at a multiple of 30 s"}
    manual = replace(plain(2).model, mode=UpgradeMode.MANUAL, auto_os=AUTO, image=LATEST)
    never = foresee(setup_of(replace(plain(2), model=manual), platform=Platform(manual_auto_os=False)))
    assert [one.outcome for one in never.rollouts] == [Outcome.TOUCHES_NOTHING] * 2
    works = foresee(setup_of(replace(plain(2), model=manual)), change_assumed=True)
    assert works.rollouts[1].outcome is Outcome.CAN_COMPLETE
    assert "The mode is Manual" in told(works.rollouts[1], "What holds it back")


def test_two_vms_at_20_percent_are_zero_tolerance_and_can_complete() -> None:
    one = first(foresee(setup_of(rolling(stale(plain(2)), RollingPolicy()))))
    assert one.outcome is Outcome.CAN_COMPLETE
    assert "20 % = 0 of 2 unhealthy" in told(one, "What stops it")
    assert "zero tolerance, one more stops it" in told(one, "What stops it")
    counted = first(foresee(setup_of(rolling(stale(plain(2)), RollingPolicy())), count_in_flight=True))
    assert counted.outcome is Outcome.CANNOT_FINISH
    assert BEFORE_BATCH in counted.says
    assert "counted as unhealthy: while batch 1 is out, 1 of 2 (50 %) are unhealthy and 0 may be" in told(
        counted, "What stops it"
    )


def test_left_alone_is_told_with_the_reason() -> None:
    place = stale(plain(5))
    instances = {
        **place.instances,
        "1": replace(place.instances["1"], protected=True),
        "2": replace(place.instances["2"], skip_upgrade=True),
        "3": replace(place.instances["3"], latest_model=True),
    }
    one = first(foresee(setup_of(rolling(replace(place, instances=instances), RollingPolicy()))))
    assert told(one, "Left alone") == (
        "1 of 5 (20 %), protected from scale-set actions: 1. 1 of 5 (20 %), skipped by their custom metrics: 2."
        " 1 of 5 (20 %), not behind: 3."
    )


def test_an_unhealthy_instance_that_metrics_leave_out_is_told_so() -> None:
    place = stale(plain(3, sick=(2,)))
    instances = {**place.instances, "0": replace(place.instances["0"], upgrade_phase=1)}
    policy = RollingPolicy(max_unhealthy_percent=50)
    one = first(foresee(setup_of(rolling(replace(place, instances=instances), policy))))
    assert "does not report Healthy, as custom metrics require: 2" in told(one, "Left alone")


# -- the command ---------------------------------------------------------------------------------------------------------


def snapshot(tmp_path: Path, **policy: Any) -> str:
    given_set = json.loads(SNAPSHOT.read_text())
    given_set["model"]["properties"]["upgradePolicy"].update(policy)
    path = tmp_path / "set.json"
    path.write_text(json.dumps(given_set))
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("zonal-rolling", "-n", "20"),
        (str(SNAPSHOT), "-n", "5"),
        (str(SNAPSHOT), "-n", "0", "--mode", "manual"),
        (str(SNAPSHOT), "-n", "5", "--mode", "Automatic", "--target", "24.04.202606020"),
        ("--model", str(SNAPSHOT), "-n", "5", "--count-in-flight"),
        ("unhealthy-baseline", "-n", "5", "--mode", "rolling"),
        ("thousand", "-n", "2", "--mode", "rolling"),
    ],
)
def test_json_is_as_published(arguments: tuple[str, ...]) -> None:
    ran = vmss_sim("preview", *arguments, "--json")
    assert ran.status in (0, 1), ran
    assert not ran.err
    told_document = json.loads(ran.out)
    jsonschema.validate(told_document, SCHEMA)
    assert ran.status == int(told_document["fails"])


def test_the_same_seed_says_the_same_in_any_number_of_processes() -> None:
    asked = ("preview", "thousand", "--mode", "rolling", "-n", "6", "--json")
    once = vmss_sim(*asked, "--jobs", "1")
    assert once == vmss_sim(*asked, "--jobs", "2")
    assert once != vmss_sim(*asked, "--jobs", "1", "--seed", "2")


def test_exit_status(tmp_path: Path) -> None:
    assert vmss_sim("preview", str(SNAPSHOT), "-n", "0").status == 0
    refused = vmss_sim(
        "preview", snapshot(tmp_path, automaticOSUpgradePolicy={"enableAutomaticOSUpgrade": True}), "-n", "0"
    )
    assert refused.status == 1
    assert PINNED in " ".join(refused.out.split())
    bad = vmss_sim("preview", "bad-image", "--mode", "rolling", "-n", "5")
    assert bad.status == 1, "it can complete by arithmetic, and does in no run"
    assert f"5 of 5 runs: Faulted ({AFTER_BATCH})." in bad.out
    for arguments, says in (
        ((), "nothing to work on"),
        (("nowhere.json",), "no such file or bundled scenario"),
        ((str(SNAPSHOT), "--mode", "sideways"), "no such upgrade mode"),
        (("zonal-rolling", "--target", "1.2.3"), "a scenario says this itself"),
    ):
        ran = vmss_sim("preview", *arguments)
        assert (ran.status, ran.out) == (2, "")
        assert says in ran.err


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "arguments", [(str(SNAPSHOT),), ("thousand", "--mode", "rolling", "-n", "1"), ("seed-article", "-n", "2")]
)
def test_lines_fit(width: int, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from vmss_sim.report import console

    monkeypatch.setattr(console, "out", lambda: console._Piped(highlight=False, width=width))
    ran = vmss_sim("preview", *arguments)
    assert ran.status == 0
    assert max(len(line) for line in ran.out.splitlines()) <= width
    assert "…" not in ran.out.replace("…   ", ""), "nothing is cut short"


def test_nothing_said_is_told_as_assumed() -> None:
    ran = vmss_sim("preview", str(SNAPSHOT), "-n", "0")
    assert "the next image, since none was said" in " ".join(ran.out.split())
    published = json.loads(vmss_sim("preview", str(SNAPSHOT), "-n", "0", "--json").out)
    assert published["change"]["assumed"] is True
    assert sum(len(batch["instances"]) for batch in published["rollouts"][0]["batches"]) == 12
