"""Before a plan is applied: approvals, what differs between two, forecasting again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from backends.schedule import ADAPTIVE
from planner.amount import Threshold
from planner.difference import difference
from planner.plan import Plan
from planner.planfile import decode, encode
from planner.strategies import Batch
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=3))


def authored(case: Case = CASE, author: str = "ann") -> Case:
    return case.but(more={**case.more, "author": author})


# -- approvals ---------------------------------------------------------------------------------------------------------


def test_apply_counts_approvals_by_others_than_the_author(desk: Callable[[Case], Desk]) -> None:
    here = desk(authored())
    ran = here.run("apply", "--require-approvals", "2")
    assert ran.status == 2
    assert "not approved by enough people" in ran.err
    assert "found 0 (none)" in ran.err
    mine = here.run("approve", str(here.file), "--by", "Ann")
    assert (mine.status, "the author of a plan cannot approve it" in mine.err) == (2, True)
    assert here.run("approve", str(here.file), "--by", "bob", "--reason", "change 4711").status == 0
    assert here.run("approve", str(here.file), "--by", "Bob ").status == 0, "again: it counts once"
    ran = here.run("apply", "--require-approvals", "2")
    assert (ran.status, "found 1 (Bob" in ran.err) == (2, True)
    assert here.sent() == []
    assert here.run("approve", str(here.file), "--by", "eve").status == 0
    listed = here.run("approve", str(here.file), "--list").out
    assert (listed.count("  counts"), listed.count("does not count")) == (2, 1)
    assert "change 4711" in listed
    assert here.run("apply", "--require-approvals", "2").status == 0


def test_an_approval_expires_and_is_for_one_digest(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = desk(authored())
    from backends.approvals import now_ms

    assert here.run("approve", str(here.file), "--by", "bob", "--expires", "2h").status == 0
    later = now_ms() + 3 * 3_600_000
    with monkeypatch.context() as patch:
        patch.setattr("backends.approvals.now_ms", lambda: later)
        assert here.run("apply", "--require-approvals", "1").status == 2
    other = msgspec.structs.replace(here.plan, title="another")
    was = here.file.read_bytes()
    here.file.write_bytes(encode(other))
    assert here.run("apply", "--require-approvals", "1").status == 2
    here.file.write_bytes(was)
    assert here.run("apply", "--require-approvals", "1").status == 0


# -- a plan that expires -----------------------------------------------------------------------------------------------


def expiring(here: Desk, expires: str) -> None:
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, expires=expires)))


def test_an_expired_plan_begins_nothing(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    expiring(here, "2026-01-01T00:00Z")
    ran = here.run("apply")
    assert (ran.status, ran.err.count("\n"), ran.out) == (2, 1, "")
    assert "plan.expires: the plan has expired; found 2026-01-01T00:00Z; expected a time after 20" in ran.err
    assert "nothing was sent" in ran.err
    assert (here.sent(), here.opened, here.store.rollouts()) == ([], 0, ())
    assert "2026-01-01T00:00Z: no rollout is begun with it from then on" in vmss_sim("show", str(here.file)).out
    expiring(here, "2999-01-01T00:00Z")
    assert here.run("apply").status == 0
    assert here.status()["plan_expires"] == "2999-01-01T00:00Z"
    assert "which expires 2999-01-01T00:00Z" in vmss_sim("status", here.rollout).out


def test_it_may_expire_while_somebody_is_asked(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    here = desk(CASE)
    expiring(here, "2999-01-01T00:00Z")
    monkeypatch.setattr(
        "vmss_sim.cli.operating.confirm",
        lambda *_, **__: monkeypatch.setattr("backends.operate.now_ms", lambda: 1 << 45),
    )
    ran = here.run("apply")
    assert (ran.status, "the plan has expired" in ran.err, here.sent()) == (2, True, [])
    assert here.store.rollouts() == ()
    expiring(here, "2026-02-30T00:00Z")
    assert "plan.expires: no such day; found 2026-02-30T00:00Z" in here.run("apply").err


def test_an_expired_plan_is_approved_by_nobody(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    here = desk(authored())
    expiring(here, "2026-01-01T00:00Z")
    ran = here.run("approve", str(here.file), "--by", "bob")
    assert (ran.status, ran.err.count("\n"), ran.out) == (2, 1, "")
    assert "plan.expires: the plan has expired; found 2026-01-01T00:00Z; expected a time after 20" in ran.err
    assert here.run("approve", str(here.file), "--list") == (0, "", "")
    expiring(here, "2999-01-01T00:00Z")
    assert here.run("apply", "--max-runtime", "0s").status == 3
    monkeypatch.setattr("backends.operate.now_ms", lambda: 1 << 45)
    assert here.run("approve", str(here.file), "--by", "bob").status == 0, "it was begun, and goes on"
    assert here.run("apply", "--require-approvals", "1").status == 0
    assert here.run("approve", str(here.file), "--by", "eve").status == 2, "it has ended"


def test_a_rollout_that_was_begun_goes_on(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    here = desk(CASE)
    expiring(here, "2999-01-01T00:00Z")
    assert here.run("apply", "--max-runtime", "0s").status == 3
    monkeypatch.setattr("backends.operate.now_ms", lambda: 1 << 45)
    assert here.run("apply").status == 0


def test_expires_is_asked_for_as_a_time_to_come(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    make = ("plan", "two-vms", "-s", "one-by-one", "--no-forecast", "-o", str(file), "--force")
    assert vmss_sim(*make).status == 0
    assert decode(file.read_bytes(), "").plan.expires == "", "by default never"
    assert vmss_sim(*make, "--expires", "14d").status == 0
    left = datetime.fromisoformat(decode(file.read_bytes(), "").plan.expires) - datetime.now(UTC)
    assert timedelta(days=13, hours=23) < left <= timedelta(days=14)
    for wrong in ("0s", "soon", "-1d"):
        ran = vmss_sim(*make, "--expires", wrong)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "--expires" in ran.err


# -- approvals that expire, and batches --------------------------------------------------------------------------------
def test_going_on_with_a_begun_rollout_counts_approvals_too(desk: Callable[[Case], Desk]) -> None:
    here = desk(authored())
    assert here.run("apply", "--max-runtime", "0s").status == 3, "whoever began it asked for none"
    sent = here.sent()
    ran = here.run("apply", "--require-approvals", "1")
    assert (ran.status, "found 0 (none)" in ran.err, "nothing was sent" in ran.err) == (2, True, True), ran
    assert here.sent() == sent
    assert here.run("approve", str(here.file), "--by", "bob").status == 0
    assert here.run("apply", "--require-approvals", "1").status == 0


def test_what_counted_at_the_begin_counts_until_the_rollout_ends(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = desk(authored(CASE.but(parameters={"approve": True})))
    assert here.run("approve", str(here.file), "--by", "bob", "--expires", "2h").status == 0
    assert here.run("apply", "--require-approvals", "1").status == 3
    later = here.store.rollouts()[-1].opened_ms + 3 * 3_600_000
    monkeypatch.setattr("backends.approvals.now_ms", lambda: later)
    ran = here.run("apply", "--require-approvals", "1")
    assert (ran.status, "rests: approval needed for batch 2" in ran.err) == (3, True), ran
    assert here.run("apply", "--require-approvals", "2").status == 2
    for _ in range(2):
        assert here.run("approve", here.rollout).status == 0
        here.run("resume", "--yes")
    assert here.state.ending == "finish"
    ran = here.run("apply", "--require-approvals", "1", "--again")
    assert (ran.status, "1 expired" in ran.err) == (2, True), "a new rollout needs one that counts now"


def test_an_approval_from_after_the_begin_that_expired_does_not_count(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = desk(authored())
    assert here.run("apply", "--max-runtime", "0s").status == 3
    assert here.run("approve", str(here.file), "--by", "bob", "--expires", "2h").status == 0
    later = here.store.rollouts()[-1].opened_ms + 3 * 3_600_000
    monkeypatch.setattr("backends.approvals.now_ms", lambda: later)
    assert here.run("apply", "--require-approvals", "1").status == 2


@pytest.mark.parametrize("expires", ["0s", "soon"])
def test_an_approval_needs_a_time(desk: Callable[[Case], Desk], expires: str) -> None:
    here = desk(CASE)
    ran = here.run("approve", str(here.file), "--by", "bob", "--expires", expires)
    assert (ran.status, "--expires" in ran.err) == (2, True)


def test_the_next_batch_is_approved_by_the_rollouts_id(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE.but(parameters={"approve": True}))
    assert here.run("apply").status == 3
    (first, *_) = here.status()["choices"]
    assert first["command"] == f"vmss-sim approve {here.rollout}"
    assert vmss_sim(*first["command"].split()[1:]).status == 0
    assert here.run("resume", "--yes").status == 3
    assert here.state.batch == 2


def test_who_approved_a_batch_is_kept_and_told(desk: Callable[[Case], Desk]) -> None:
    here = desk(authored(CASE.but(parameters={"approve": True})))
    assert here.run("apply").status == 3
    mine = here.run("approve", here.rollout, "--by", " ANN ")
    assert (mine.status, "the author of a plan cannot approve it" in mine.err) == (2, True)
    for more in (("--expires", "1h"), ("--list",)):
        ran = here.run("approve", here.rollout, "--by", "carol", *more)
        assert (ran.status, f"{more[0]}: a batch is approved once" in ran.err) == (2, True), ran
    assert here.status()["unheard_requests"] == 0
    assert here.run("approve", here.rollout, "--by", "carol", "--reason", "it looks well").status == 0
    assert here.run("apply").status == 3
    (asked,) = here.status()["asked"]
    assert (asked["asked"], asked["by"], asked["reason"]) == ("approve", "carol", "it looks well")
    assert "approve, by carol, heard" in here.run("status").out
    for form in ("md", "html"):
        told = here.run("history", "--format", form).out
        assert "asked by carol: it looks well" in told
    assert "| approve | carol |  | it looks well |" in here.run("history", "--format", "md").out


def test_who_asks_is_the_accounts_user_by_default(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = desk(authored(CASE.but(parameters={"approve": True})))
    assert here.run("apply").status == 3
    monkeypatch.setattr("vmss_sim.cli.operating.user", lambda: "Ann")
    assert here.run("approve", here.rollout).status == 2, "the author, by her account"
    monkeypatch.setattr("vmss_sim.cli.operating.user", lambda: "")
    nobody = here.run("approve", here.rollout)
    assert (nobody.status, "nobody's name is known" in nobody.err) == (2, True)
    monkeypatch.setattr("vmss_sim.cli.operating.user", lambda: "dave")
    assert here.run("skip", here.rollout, "2", "--reason", "ticket 9").status == 0
    assert here.run("resume", "--yes").status == 3
    assert [(one["asked"], one["by"]) for one in here.status()["asked"]] == [("skip", "dave"), ("resume", "dave")]


# -- what differs ------------------------------------------------------------------------------------------------------


def plan(**fields: object) -> Plan:
    return msgspec.structs.replace(CASE.plan(), **fields)


def test_a_plan_does_the_same_as_itself() -> None:
    assert difference(plan(), plan()) == ()


@pytest.mark.parametrize(
    ("after", "about", "weight"),
    [
        (plan(floor=Threshold(given="2", absolute=2)), "floor", "other"),
        (plan(floor=Threshold(given="1", absolute=1)), "floor", "more"),
        (plan(rollback_floor=Threshold(given="3", absolute=3)), "rollback floor", "less"),
        (plan(batches=(Batch(take=("0", "1", "2"), why="all"),)), "largest batch", "more"),
        (plan(batches=(Batch(take=("0",), why="one"),)), "moved", "less"),
        (plan(gates=msgspec.structs.replace(plan().gates, dry_run=True)), "gates: dry run", "other"),
        (plan(deadlines=msgspec.structs.replace(plan().deadlines, gate_ms=1)), "deadlines: gate", "other"),
        (plan(new_instances="leave"), "new instances", "other"),
        (plan(title="x"), "title", "other"),
        (plan(skipped={"1": "protected"}), "instance 1 left out", "other"),
    ],
)
def test_each_kind_of_difference_is_told_with_its_weight(after: Plan, about: str, weight: str) -> None:
    found = {one.about: one.weight for one in difference(plan(), after)}
    assert found.get(about) == weight, found
    assert difference(after, plan())


def test_no_field_of_a_plan_is_forgotten() -> None:
    """Whatever differs is told: every field, replaced by another value."""
    before = plan()
    for name in Plan.__struct_fields__:
        class_of = type(getattr(before, name))
        other = {"str": "zzz", "int": 77, "bool": True, "tuple": (), "dict": {}}.get(class_of.__name__)
        if other is None or other == getattr(before, name):
            continue
        assert difference(before, msgspec.structs.replace(before, **{name: other})), name


def test_an_instance_that_changes_its_batch_is_told_as_that() -> None:
    one, two = plan(), plan(batches=tuple(reversed(plan().batches)))
    told = {row.about: (row.before, row.after) for row in difference(one, two)}
    assert told == {"instance 0": ("batch 1", "batch 3"), "instance 2": ("batch 3", "batch 1")}


def test_diff_prints_and_gives_json(tmp_path: Path) -> None:
    for name, made in (("a", plan()), ("b", plan(floor=Threshold(given="1", absolute=1)))):
        (tmp_path / f"{name}.json").write_bytes(encode(made))
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    assert vmss_sim("diff", a, a).status == 0
    ran = vmss_sim("diff", a, b)
    assert (ran.status, "floor: n-1 = 2 -> 1  (more risk)" in ran.out) == (1, True), ran.out
    document = json.loads(vmss_sim("diff", a, b, "--json").out)
    assert [one["about"] for one in document["differences"]] == ["floor"]


# -- forecast ----------------------------------------------------------------------------------------------------------


def test_forecasting_again_keeps_plan_and_digest(tmp_path: Path) -> None:
    made, again = tmp_path / "plan.json", tmp_path / "again.json"
    assert vmss_sim("plan", "two-vms", "-s", "one-by-one", "--no-forecast", "-o", str(made)).status == 0
    ran = vmss_sim("forecast", str(made), "two-vms", "-n", "20", "-o", str(again))
    assert ran.status == 0, ran
    before, after = (decode(path.read_bytes(), "") for path in (made, again))
    assert before.sha256 == after.sha256
    assert before.forecast is None
    assert after.forecast is not None
    assert after.forecast.replications == 20
    assert vmss_sim("diff", str(made), str(again)).status == 0
    wrong = vmss_sim("forecast", str(made), "seed-article", "-n", "1")
    assert (wrong.status, "another scale set than the scenario" in wrong.err) == (2, True)


def test_a_plan_knows_its_author(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert (
        vmss_sim("plan", "two-vms", "-s", "one-by-one", "--no-forecast", "--author", "ann", "-o", str(file)).status == 0
    )
    assert decode(file.read_bytes(), "").plan.author == "ann"


# -- who owns the model, and gates that only write down ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        ("terraform", 'source_image_reference { version = "22.04.202606010" }'),
        ("bicep", "imageReference: { version: '22.04.202606010' }"),
        ("none", ""),
    ],
)
def test_the_line_to_change_where_the_model_is_owned(owner: str, says: str) -> None:
    ran = vmss_sim("plan", "two-vms", "-s", "one-by-one", "--no-forecast", "--model-owner", owner)
    assert ran.status == 0
    assert says in ran.err
    assert bool(ran.err) is (owner != "none")


def test_an_owner_that_nobody_knows_is_one_line() -> None:
    ran = vmss_sim("plan", "two-vms", "-s", "one-by-one", "--no-forecast", "--model-owner", "pulumi")
    assert (ran.status, "terraform, bicep, none" in ran.err) == (2, True)


def test_gates_in_dry_run_stand_in_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    ran = vmss_sim("plan", "two-vms", "-s", "one-by-one", "--no-forecast", "--gates-dry-run", "-o", str(file))
    assert ran.status == 0
    assert decode(file.read_bytes(), "").plan.gates.dry_run
    assert "dry run: verdicts are written down" in ran.out


def test_a_forecast_says_when_it_looked(tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    text = (Path(__file__).parents[1] / "scenarios/bundled/two-vms.toml").read_text()
    file.write_text(text.replace("[timing]", "[timing]\npoll = 10"))
    for scenario, schedule in (("two-vms", ADAPTIVE.steps), (str(file), ())):
        made = vmss_sim("plan", scenario, "-s", "one-by-one", "-n", "2", "--jobs", "1", "--json")
        assert made.status == 0, made
        forecast = decode(made.out.encode(), "plan.json").forecast
        assert forecast is not None and forecast.schedule == schedule
