"""`apply` and what operators ask of a rollout, through the front door, over a simulated world."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import operate
from backends.journal import SqliteJournal
from backends.simulated import SimulatedBackend
from backends.store.files import FileStore
from planner.change import PropertyChange
from planner.errors import InputError, PlatformError
from planner.model import AutomaticRepairs, HealthSource, ScaleSet, UpgradeMode
from planner.phases import Phase
from planner.plan import InstanceHook, InstanceHooks
from planner.planfile import encode
from planner.rollout import Asked
from planner.trace import Opened
from tests.commands import Ran, vmss_sim
from tests.fleet import NEW, SETTING, Act, Case, Fleet, WatchedWorld, act
from tests.operate_shapes import holds
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import IMAGE

CASE = Case(fleet=Fleet(size=3))


class Desk:
    """A plan file, a store, a world: and the commands given there."""

    def __init__(self, folder: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        self.case, self.plan = case, case.plan()
        self.world: WatchedWorld = case.world()
        self.world.plan = self.plan
        self.file = folder / "plan.json"
        self.file.write_bytes(encode(self.plan))
        self.folder = folder / "store"
        self.store = FileStore(self.folder)
        self.opened = 0
        self.reached: list[dict[str, Any]] = []
        self.preflight: Any = None
        self.shown: ScaleSet | None = None
        monkeypatch.setenv("VMSS_SIM_STORE", f"file:{self.folder}")
        monkeypatch.setattr("backends.connect.open_backend", self._open)

    def _open(self, _plan: object, options: dict[str, Any]) -> SimulatedBackend:
        self.opened += 1
        self.reached.append(options)
        made = SimulatedBackend(self.world, self.shown or self.case.fleet.scale_set())
        if self.preflight is not None:
            made.preflight = self.preflight  # type: ignore[attr-defined]
        return made

    def run(self, command: str, *arguments: str) -> Ran:
        """A command; `apply` means the plan file."""
        more = (str(self.file), "--yes") if command == "apply" else ()
        return vmss_sim(command, *more, *arguments)

    @property
    def rollout(self) -> str:
        return self.store.rollouts()[-1].id

    @property
    def state(self) -> Any:
        return self.store.journal(self.rollout).last_state()

    def status(self) -> dict[str, Any]:
        ran = vmss_sim("status", self.rollout, "--json")
        assert ran.status == 0, ran.err
        return holds("status", json.loads(ran.out))  # type: ignore[no-any-return]

    def sent(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(one.kind, one.ids) for one in self.world.log if one.ours]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], Desk]:
    return lambda case: Desk(tmp_path, case, monkeypatch)


def test_apply_carries_the_plan_out(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    ran = here.run("apply")
    assert ran.status == 0, ran
    assert "the scale set is as the plan saw it" in ran.out
    assert "would upgrade" in ran.out, "the plan is shown"
    assert "batches-done" in ran.out
    assert f"{here.rollout} ended: finish" in ran.err
    assert here.sent() == [("update-model", ()), ("upgrade", ("0",)), ("upgrade", ("1",)), ("upgrade", ("2",))]
    assert here.store.holder("web") is None, "the lease is let go"
    status = here.status()
    assert (status["state"], status["instances"]["on_target"], status["choices"]) == ("finish", 3, [])


def test_json_log_is_json_and_nothing_else(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    ran = here.run("apply", "--log-format", "json")
    assert ran.status == 0
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert {one["event"] for one in lines} == {"decision", "command", "sent", "outcome"}
    commands = [one["instances"] for one in lines if one["event"] == "command"]
    assert commands == [[], ["0"], ["1"], ["2"]]


def test_nothing_to_do_is_done(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=2, model=NEW, ahead=(0, 1))))
    ran = here.run("apply")
    assert ran.status == 0, ran
    assert here.sent() == []


# -- what is refused, and nothing sent ---------------------------------------------------------------------------------


def refused(here: Desk, ran: Ran, *words: str) -> None:
    assert ran.status == 2, ran
    assert len(ran.err.splitlines()) == 1, ran.err
    for word in words:
        assert word in ran.err
    assert here.sent() == []
    assert here.store.rollouts() == ()


def test_another_plan_than_the_expected_one_is_refused(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    refused(here, here.run("apply", "--expect", "sha256:" + "0" * 64), "not the plan that is expected", "--expect")
    assert here.opened == 0
    right = json.loads(here.file.read_text())["sha256"]
    assert here.run("apply", "--expect", f"sha256:{right}").status == 0


def test_an_edited_plan_is_refused(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    here.file.write_text(here.file.read_text().replace('"new_instances": "append"', '"new_instances": "leave"'))
    refused(here, here.run("apply"), "edited after it was made")


def test_what_moved_and_is_refused_is_told_precisely(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    act(here.world, Act(0, "set-mode", args={"mode": "rolling"}))
    here.world.run(5_000, stop_on_wake=False)
    ran = here.run("apply")
    refused(here, ran, "mode", "upgradePolicy.mode", "found rolling", "expected manual", "nothing was sent")
    assert "refuse " in ran.out


def test_what_moved_and_is_absorbed_is_told_and_goes_on(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    act(here.world, Act(0, "delete", ("1",)))
    here.world.run(60_000, stop_on_wake=False)
    ran = here.run("apply")
    assert ran.status == 0, ran
    assert "absorb vanished: instance 1: found gone, the plan saw present" in " ".join(ran.out.split())
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",), ("2",)]


def test_a_mode_that_somebody_chose_since_is_refused_though_the_plan_works_in_it(desk: Callable[[Case], Desk]) -> None:
    """It would be undone in the end."""
    here = desk(Case(fleet=Fleet(size=3, mode=UpgradeMode.AUTOMATIC)))
    act(here.world, Act(0, "set-mode", args={"mode": "manual"}))
    here.world.run(5_000, stop_on_wake=False)
    refused(here, here.run("apply"), "upgradePolicy.mode", "found manual", "expected automatic", "nothing was sent")


def test_a_mode_that_an_earlier_rollout_left_is_gone_on_with(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3, mode=UpgradeMode.AUTOMATIC), fails={1: (1, 2)}))
    assert here.run("apply").status == 1
    assert here.world.mode == "manual"
    here.run("apply", "--again")
    assert len(here.store.rollouts()) == 2


@pytest.mark.parametrize(
    ("since", "words"),
    [
        ({"sku": "Standard_D4s_v5"}, ("sku.name", "found Standard_D4s_v5", "expected Standard_D2s_v5")),
        ({"repairs": AutomaticRepairs(enabled=True)}, ("automaticRepairsPolicy", "found enabled")),
    ],
)
def test_a_model_that_changed_elsewhere_than_its_image_is_refused(
    desk: Callable[[Case], Desk], since: dict[str, Any], words: tuple[str, ...]
) -> None:
    here = desk(CASE)
    saw = msgspec.structs.replace(here.plan.scale_set, sku="Standard_D2s_v5")
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, scale_set=saw)))
    shown = here.case.fleet.scale_set()
    here.shown = msgspec.structs.replace(shown, model=msgspec.structs.replace(shown.model, sku="standard_d2S_v5"))
    assert here.run("apply", "--max-runtime", "0s").status == 3, "a name in other letters is the same"
    here = desk(CASE)
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, scale_set=saw, title="another")))
    here.shown = msgspec.structs.replace(shown, model=msgspec.structs.replace(shown.model, **since))
    ran = here.run("apply")
    assert (ran.status, here.sent()) == (2, []), ran
    assert all(word in ran.err for word in words), ran.err


def test_a_plan_that_was_carried_out_tells_how_it_ended_also_where_its_hooks_are_not(
    desk: Callable[[Case], Desk], tmp_path: Path
) -> None:
    here, drain = desk(CASE), tmp_path / "drain"
    drain.write_text("#!/bin/sh\n")
    drain.chmod(0o755)
    hooks = InstanceHooks(drain=InstanceHook(command=(str(drain),)))
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, hooks=hooks)))
    assert here.run("apply").status == 0
    drain.unlink()
    ran = here.run("apply")
    assert (ran.status, "nothing is begun again without --again" in ran.err) == (0, True), ran
    assert here.run("apply", "--again").status == 2


@pytest.mark.parametrize("hook", ["health", "drain", "verify"])
def test_a_hook_that_cannot_be_run_here_is_refused(desk: Callable[[Case], Desk], hook: str) -> None:
    here = desk(CASE)
    missing = InstanceHooks(**{hook: InstanceHook(command=("/no/such/probe", "--quick"))})  # type: ignore[arg-type]
    source = here.plan.scale_set.health_source if hook == "drain" else HealthSource.HOOK
    saw = msgspec.structs.replace(here.plan.scale_set, health_source=source)
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, hooks=missing, scale_set=saw)))
    refused(here, here.run("apply"), f"plan.hooks.{hook}: there is no such program here", "found /no/such/probe")
    refused(here, vmss_sim("recover", str(here.file), "--yes"), "there is no such program here")


def test_a_finding_of_the_preflight_refuses(desk: Callable[[Case], Desk]) -> None:
    from planner.lint import Finding, Grade

    here = desk(CASE)
    here.preflight = lambda _plan: (
        Finding(
            code="VS901",
            grade=Grade.ERROR,
            text="the target image is not in this region",
            subject="x",
            fix="choose another",
        ),
    )
    ran = here.run("apply")
    refused(here, ran, "VS901", "the target image is not in this region")


def test_without_a_terminal_somebody_has_to_say_yes(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    refused(here, vmss_sim("apply", str(here.file)), "nobody can be asked here", "--yes")


def test_no_health_source_has_to_be_accepted_twice(desk: Callable[[Case], Desk], tmp_path: Path) -> None:
    case = Case(fleet=Fleet(size=2, source=HealthSource.NONE))
    here = desk(case)
    refused(here, here.run("apply", "--accept-no-health"), "plan.accept_no_health")
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, accept_no_health=True)))
    refused(here, here.run("apply"), "--accept-no-health: the set has no health source")
    assert here.run("apply", "--accept-no-health").status == 0
    assert "running, not known healthy" in vmss_sim("status").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--log-format", "xml"), "--log-format: unknown choice"),
        (("--max-runtime", "soon"), "--max-runtime"),
        (("--store", "nowhere"), "not a store"),
    ],
)
def test_bad_options_are_one_line(desk: Callable[[Case], Desk], arguments: tuple[str, ...], words: str) -> None:
    here = desk(CASE)
    refused(here, here.run("apply", *arguments), words)
    assert here.opened == 0


def test_an_invented_set_cannot_be_reached(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(encode(CASE.plan()))
    ran = vmss_sim("apply", str(file), "--yes", "--store", f"file:{tmp_path}/s")
    assert ran.status == 2
    assert "the plan is for an invented scale set" in ran.err


# -- broken off and gone on with ---------------------------------------------------------------------------------------


def test_max_runtime_detaches_and_apply_goes_on_with_it(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    ran = here.run("apply", "--max-runtime", "0s")
    assert ran.status == 3, ran
    assert "detached; what was sent goes on" in ran.err
    status = here.status()
    assert status["state"] == "preparing, nobody at work"
    assert status["executor"]["alive"] is False
    assert f"vmss-sim resume {here.rollout}" in [one["command"] for one in status["choices"]]
    again = here.run("apply")
    assert again.status == 0
    assert "going on with it" in again.err
    assert len(here.store.rollouts()) == 1
    assert [ids for _, ids in here.sent()] == [(), ("0",), ("1",), ("2",)]


def test_a_plan_is_carried_out_once_unless_it_is_said(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    assert here.run("apply").status == 0
    sent, opened = here.sent(), here.opened
    again = here.run("apply")
    assert again.status == 0, again
    assert "carried this plan out and ended: finish" in again.err
    assert (len(here.store.rollouts()), here.opened, here.sent()) == (1, opened, sent)
    assert here.run("apply", "--again").status == 0
    assert len(here.store.rollouts()) == 2
    assert here.sent() == sent, "there was nothing to do"


def test_a_pipeline_that_runs_again_does_not_undo_an_abort(desk: Callable[[Case], Desk]) -> None:
    here = paused(desk)
    assert here.run("abort", "--yes").status == 1
    sent = here.sent()
    assert here.run("apply").status == 1
    assert here.sent() == sent


def test_a_second_executor_is_refused_while_the_first_is_alive(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    here.run("apply", "--max-runtime", "0s")
    held = here.store.take(here.store.rollouts()[0])
    sent = here.sent()
    ran = here.run("resume", here.rollout, "--yes")
    assert ran.status == 0, "the executor that is alive hears it"
    assert "its executor will hear it" in ran.err
    ran = here.run("apply")
    assert ran.status == 2
    assert "another executor works on this scale set" in ran.err
    assert here.sent() == sent
    held.release()
    assert here.run("apply").status == 0


# -- where it is carried out -------------------------------------------------------------------------------------------

A, B = "https://localhost:8443", "https://localhost:9443"


def test_the_same_plan_at_another_endpoint_is_another_rollout(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    assert here.run("apply", "--endpoint", A).status == 0
    first = here.rollout
    assert here.run("apply", "--endpoint", A + "/").err.count("nothing is begun again") == 1
    ran = here.run("apply", "--endpoint", B)
    assert f"{first} was begun with this plan at {A}; at {B} this is another rollout" in ran.err
    assert here.rollout == f"{first}-2"
    assert here.run("apply").status == 0
    assert [one.where.name for one in here.store.rollouts() if one.where] == [A, B, "the public cloud"]
    opened = next(here.store.journal(first).records())
    assert isinstance(opened, Opened)
    assert opened.at == A


def test_who_goes_on_reaches_it_as_it_was_begun(desk: Callable[[Case], Desk], tmp_path: Path) -> None:
    here = desk(CASE)
    (tmp_path / "ca.pem").write_text("")
    ran = here.run(
        "apply", "--endpoint", A, "--ca", str(tmp_path / "ca.pem"), "--credential", "cli", "--max-runtime", "0s"
    )
    assert ran.status == 3, ran
    sent = here.sent()
    elsewhere = here.run("apply")
    assert (elsewhere.status, len(elsewhere.err.splitlines())) == (2, 1), elsewhere
    assert "has not ended there" in elsewhere.err
    for more in (("--endpoint", B), ("--cloud", "public")):
        ran = here.run("resume", "--yes", *more)
        assert (ran.status, len(ran.err.splitlines())) == (2, 1), ran
        assert "another Resource Manager is another rollout" in ran.err
    assert here.sent() == sent
    assert here.opened == 1
    assert A in here.run("status").out
    assert here.status()["at"]["credential"] == "cli"
    assert here.run("abort", "--yes").status == 1
    reached = here.reached[-1]
    assert (reached["endpoint"], reached["ca"], reached["credential"]) == (A, str(tmp_path / "ca.pem"), "cli")


def test_a_rollout_from_before_the_place_was_kept_is_gone_on_with_anywhere(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    assert here.run("apply", "--max-runtime", "0s").status == 3
    with sqlite3.connect(here.store.path) as db:
        (body,) = db.execute("SELECT body FROM rollout").fetchone()
        old = json.loads(body)
        del old["where"]
        db.execute("UPDATE rollout SET body = ?", (json.dumps(old).encode(),))
    assert here.status()["at"] is None
    assert here.run("apply", "--endpoint", A).status == 0
    assert len(here.store.rollouts()) == 1


def test_commands_that_are_told_name_the_store(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    here = desk(CASE)
    monkeypatch.delenv("VMSS_SIM_STORE")
    store = ("--store", here.store.name)
    ran = here.run("apply", "--max-runtime", "0s", *store)
    assert f"`vmss-sim resume {here.rollout} --store {here.store.name}`" in ran.err
    choices = json.loads(here.run("status", "--json", *store).out)["choices"]
    assert choices
    assert all(one["command"].endswith(f"--store {here.store.name}") for one in choices)


def test_resume_that_cannot_even_look_is_refused_and_leaves_one_try(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = paused(desk)

    def no_token(_self: object) -> None:
        raise InputError("no token", "--credential", "az: please log in", "")

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedBackend, "observe", no_token)
        for _ in range(3):
            ran = here.run("resume", "--yes")
            assert ran.status == 2, ran
            assert "nothing was sent" in ran.err
            assert "detached" not in ran.err
    assert here.status()["unheard_requests"] == 1
    assert here.run("resume", "--yes").status == 0


# -- asked for ---------------------------------------------------------------------------------------------------------


def paused(desk: Callable[[Case], Desk], case: Case = CASE) -> Desk:
    """A rollout that rests: it was asked to before its executor came back."""
    here = desk(case)
    assert here.run("apply", "--max-runtime", "0s").status == 3
    ran = here.run("pause", here.rollout, "--reason", "lunch")
    assert ran.status == 0
    assert "no executor is alive" in ran.err
    assert here.run("apply").status == 3
    assert here.state.phase is Phase.PAUSED
    return here


def test_pause_and_resume(desk: Callable[[Case], Desk]) -> None:
    here = paused(desk)
    status = here.status()
    assert status["state"] == "paused"
    assert "paused by an operator" in status["why"]
    again = here.run("apply")
    assert (again.status, len(again.err.splitlines())) == (3, 2), "a pipeline that runs again does not resume"
    ran = here.run("resume", "--yes")
    assert ran.status == 0, ran
    assert here.state.ending == "finish"
    assert "lunch" in here.run("history").out


@pytest.mark.parametrize(
    ("command", "status", "state"),
    [("approve", 3, "paused"), ("resume", 3, "paused"), ("pause", 3, "paused"), ("abort", 1, "abort")],
)
def test_apply_goes_on_where_something_was_asked_that_nobody_heard(
    desk: Callable[[Case], Desk], command: str, status: int, state: str
) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"approve": True}))
    assert here.run("apply").status == 3
    assert "rests: approval needed for batch 2" in here.run("apply").err
    here.store.journal(here.rollout).ask(Asked(command))
    ran = here.run("apply")
    assert ran.status == status, ran
    assert "going on with it" in ran.err
    seen = here.status()
    assert (seen["unheard_requests"], seen["ending"] or seen["state"]) == (0, state)
    assert seen["batch"]["number"] == (3 if command == "approve" else 2)


def test_abort_puts_the_model_back(desk: Callable[[Case], Desk]) -> None:
    here = paused(desk)
    ran = here.run("abort", "--yes", "--reason", "wrong image")
    assert ran.status == 1, ran
    assert here.state.ending == "abort"
    assert here.sent()[-1][0] == "update-model"
    ended = here.run("resume", "--yes")
    assert (ended.status, "this rollout has ended" in ended.err) == (2, True)


def test_after_an_abort_what_runs_is_counted(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"approve": True}))
    assert here.run("apply").status == 3
    assert here.run("abort", "--yes").status == 1
    status = here.status()
    assert status["model_gives"].endswith("what was there before"), "the model went back"
    assert (status["on_target"], status["old"]) == (["0"], ["1", "2"])
    assert (status["instances"]["on_target"], status["instances"]["old"]) == (1, 2)
    for told in (here.run("status").out, here.run("history").out):
        assert "1 on target (0), 2 old (1, 2)" in told


def test_abort_says_that_it_is_final_and_afterwards_how_to_go_back(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"approve": True}))
    assert here.run("apply").status == 3
    (choice,) = [one for one in here.status()["choices"] if one["command"].startswith("vmss-sim abort")]
    assert "final, no rollback afterwards" in choice["does"]
    assert here.status()["afterwards"] == []
    assert here.run("abort", "--yes").status == 1
    told, back, apply = here.status()["afterwards"][0], here.status()["afterwards"][2], here.status()["afterwards"][3]
    assert "left so: 0. " in told
    assert back == "vmss-sim plan now.json --target 1.0.0 -s one-by-one --slo 'healthy >= n-1' -o back.json"
    assert apply == "vmss-sim apply back.json"
    assert back in here.run("status").out
    assert f"vmss-sim status {here.rollout}" in here.run("rollback", "--yes").err
    assert here.run("apply", "--again").status == 3
    assert here.run("resume", "--yes").status == 3


def undo(here: Desk) -> list[tuple[str, str]]:
    return [(one["change"], one["command"]) for one in here.status()["undo"]]


def test_after_an_abort_the_mode_that_stayed_is_named_with_its_way_back(desk: Callable[[Case], Desk]) -> None:
    case = Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True), parameters={"approve": True})
    here = desk(case)
    assert here.run("apply").status == 3
    assert undo(here) == [], "release does, as long as it has not ended"
    ran = here.run("abort", "--yes")
    assert "still changed: mode manual instead of rolling" in ran.err
    assert here.world.mode == "manual"
    assert undo(here) == [("mode", "az vmss update -g GROUP -n web --set upgradePolicy.mode=Rolling")]
    (told,) = here.status()["undo"]
    assert told["instances"] == ["0"], "it is on the new image, and the model is not"
    assert "the platform would move 0" in told["why"]
    shown = here.run("status").out
    assert "mode manual instead of rolling" in shown
    assert "  az vmss update -g GROUP -n web --set upgradePolicy.mode=Rolling\n" in shown


def test_after_an_abort_repairs_that_could_not_be_resumed_are_named(desk: Callable[[Case], Desk]) -> None:
    here = desk(
        Case(
            fleet=Fleet(size=3, repairs=True),
            parameters={"approve": True},
            faults=(Fault(verdict="fail", of="resume-repairs", first=1, last=99),),
        )
    )
    assert here.run("apply").status == 3
    for _ in range(2):  # releasing fails, too: it stays paused, and may be tried again
        assert here.run("release", "--yes").status == 3
        assert here.status()["temporary_changes"] == ["automatic repairs are suspended"]
        assert any(one["command"].startswith("vmss-sim release") for one in here.status()["choices"])
    ran = here.run("abort", "--yes")
    assert "still changed: automatic repairs are suspended; status has the commands that undo it" in ran.err
    resume = "az vmss set-orchestration-service-state --service-name AutomaticRepairs --action Resume -g GROUP -n web"
    assert undo(here) == [("repairs", resume)]
    assert here.status()["undo"][0]["why"] == "they could not be resumed"
    assert resume in here.run("status").out


def test_what_a_rollout_that_ended_in_drift_leaves_added_is_told_as_the_plan_has_it(
    desk: Callable[[Case], Desk],
) -> None:
    """Its plan says `left`: nobody tried to take them away, so neither the floor nor a failure kept them."""
    here = desk(Case(fleet=Fleet(size=2), strategy="surge", parameters={"size": 1}))
    here.run("apply", "--max-runtime", "0s")
    while not here.state.surge.fresh:
        here.world.run(here.world.now + 7_000, stop_on_wake=False)
        here.run("resume", "--yes", "--max-runtime", "0s")
    act(here.world, Act(0, "update-model", (), {"patch": {IMAGE + "version": "3.0.0"}}))
    here.world.run(here.world.now + 7_000, stop_on_wake=False)
    assert here.run("resume", "--yes").status == 1
    assert here.state.ending == "drift"
    (told,) = [one for one in here.status()["undo"] if one["change"] == "added"]
    assert told["why"] == "the plan leaves them where a rollout ends so: drift"


def test_repairs_that_the_plan_leaves_suspended_did_not_fail_to_be_resumed(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3, repairs=True), parameters={"approve": True}))
    left = msgspec.structs.replace(here.plan.ends["abort"], repairs="suspended")
    here.file.write_bytes(encode(msgspec.structs.replace(here.plan, ends={**here.plan.ends, "abort": left})))
    assert here.run("apply").status == 3
    here.run("abort", "--yes")
    assert here.world.repairs_suspended
    (told,) = here.status()["undo"]
    assert told["why"] == "the plan leaves them suspended where a rollout ends so: abort"


def test_after_an_abort_that_undid_all_it_is_as_before(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3, repairs=True), parameters={"approve": True}))
    assert here.run("apply").status == 3
    ran = here.run("abort", "--yes")
    assert "what was changed for the time of the rollout is as before" in ran.err
    assert undo(here) == []
    assert "nothing: mode and repairs are as before" in here.run("status").out
    assert not here.world.repairs_suspended


def test_the_commands_that_undo_name_the_set_in_azure() -> None:
    from vmss_sim.report.choices import _az

    scope = "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/web"
    assert _az(scope, "web") == "-g rg -n web --subscription s1"


def test_after_an_abort_what_was_done_to_another_property_is_counted(desk: Callable[[Case], Desk]) -> None:
    here = desk(
        Case(fleet=Fleet(size=3), change=PropertyChange(path=SETTING, value="new"), parameters={"approve": True})
    )
    assert here.run("apply").status == 3
    assert here.run("abort", "--yes").status == 1
    assert (here.status()["on_target"], here.status()["old"]) == (["0"], ["1", "2"])


def test_rollback_from_another_desk(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"approve": True}))
    assert here.run("apply").status == 3
    assert "approval needed for batch 2" in here.status()["why"]
    refused_ = here.run("rollback", "--emergency", "--yes")
    assert (refused_.status, "needs a reason" in refused_.err) == (2, True)
    ran = here.run("rollback", "--yes")
    assert ran.status == 1, ran
    assert here.state.ending == "rollback"
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",), ("0",)]
    status = here.status()
    assert (status["on_target"], sorted(status["old"])) == ([], ["0", "1", "2"])
    assert "3 as before, 0 not yet back" in here.run("status").out


def test_a_way_back_that_stops_says_what_is_not_back(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"on_failure": "rollback-all"}, fails={1: (1, 2, 3, 4)}))
    assert here.run("apply").status == 1
    assert (here.state.ending, here.state.back) == ("stop", True)
    status = here.status()
    assert (status["on_target"], status["old"], [one["id"] for one in status["failed"]]) == (["0"], ["2"], ["1"])
    told = " ".join(vmss_sim("status", here.rollout).out.split())
    assert "1 as before (2), 1 not yet back (0)" in told
    assert "not back yet, and left so: 0; failed: 1." in told
    assert "nothing: mode and repairs are as before" in told
    assert "on target, and left so" not in told


def test_a_refusal_says_in_how_long_it_is_tried_again(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=2), faults=(Fault(verdict="refuse", first=2, last=2, of="upgrade"),)))
    ran = here.run("apply")
    assert ran.status == 0, ran
    assert "attempt 1; again in 5 s" in ran.out


def test_the_longest_rule_does_not_run_into_its_text(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=2), faults=(Fault(verdict="fail", first=1, last=1, of="update-model"),)))
    assert "set-operation-failed update-model failed" in here.run("apply").out


def test_skip_retry_and_replace_need_a_rollout_that_knows_the_instance(desk: Callable[[Case], Desk]) -> None:
    here = paused(desk)
    for command in ("skip", "replace"):
        ran = here.run(command, here.rollout, "1")
        assert (ran.status, f"{command} needs a reason" in ran.err) == (2, True)
    ran = here.run("retry", here.rollout, "7")
    assert (ran.status, "no such instance in this rollout" in ran.err) == (2, True)
    assert here.run("skip", here.rollout, "1", "--reason", "ticket 7").status == 0
    assert here.run("resume", "--yes").status == 5
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",), ("2",)]
    status = here.status()
    assert status["skipped"] == ["1"]
    assert "ticket 7" in here.run("history", "--format", "md").out


def test_release_undoes_and_stays_paused(desk: Callable[[Case], Desk]) -> None:
    here = paused(desk, Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)))
    status = here.status()
    assert status["temporary_changes"][0] == "automatic repairs are suspended"
    assert any(one["command"].startswith("vmss-sim release") for one in status["choices"])
    ran = here.run("release", "--yes")
    assert ran.status == 3, ran
    assert not here.world.repairs_suspended
    assert here.state.phase is Phase.PAUSED
    assert here.run("resume", "--yes").status == 0
    assert here.world.mode == "rolling"


def test_release_of_a_rollout_whose_executor_is_gone_moves_nothing_more(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)))
    for _ in range(6):  # each detaches after a turn
        assert here.run("apply", "--max-runtime", "0s").status == 3
        if here.sent()[-1][0] == "upgrade":
            break
        here.world.run(here.world.now + 10_000, stop_on_wake=False)
    assert here.state.phase is Phase.ROLLING
    ran = here.run("release", "--yes")
    assert ran.status == 3, ran
    assert here.state.phase is Phase.PAUSED
    assert not here.world.repairs_suspended
    assert [ids for kind, ids in here.sent() if kind == "upgrade"] == [("0",)]
    assert here.run("resume", "--yes").status == 0
    assert here.world.mode == "rolling"


def test_release_trusts_no_flag_that_is_older_than_the_model(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model has the change, who is still to be moved is shown with the latest model: in the old mode the platform would move them."""
    case = Case(fleet=Fleet(size=3, mode=UpgradeMode.AUTOMATIC), parameters={"approve": True})
    here, looks = desk(case), SimulatedBackend.observe
    assert here.run("apply").status == 3

    def late(backend: SimulatedBackend) -> Any:
        seen = looks(backend)
        shown = {
            name: msgspec.structs.replace(one, latest_model=True) for name, one in seen.scale_set.instances.items()
        }
        scale_set = msgspec.structs.replace(seen.scale_set, instances=shown)
        return msgspec.structs.replace(seen, scale_set=scale_set, changed=None)

    monkeypatch.setattr(SimulatedBackend, "observe", late)
    ran = here.run("release", "--yes")
    assert ran.status == 3, ran
    assert here.world.mode == "manual"
    assert "all but the mode (manual) is undone" in ran.out


def rolling(desk: Callable[[Case], Desk]) -> Desk:
    """A rollout whose executor is gone while its first instance is being upgraded."""
    here = desk(Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)))
    for _ in range(6):  # each detaches after a turn
        assert here.run("apply", "--max-runtime", "0s").status == 3
        if here.sent()[-1][0] == "upgrade":
            return here
        here.world.run(here.world.now + 10_000, stop_on_wake=False)
    raise AssertionError(here.sent())


def test_release_in_a_store_whose_journals_remember_what_they_were_opened_with(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a store in Azure: what another opened and wrote later, one that is read does not show."""
    here = rolling(desk)
    opens, reads = SqliteJournal.__init__, SqliteJournal.last_state

    def opened(journal: Any, *arguments: Any, **options: Any) -> None:
        opens(journal, *arguments, **options)
        journal.then = reads(journal)

    monkeypatch.setattr(SqliteJournal, "__init__", opened)
    monkeypatch.setattr(SqliteJournal, "last_state", lambda journal: reads(journal) if journal._fence else journal.then)
    assert here.run("release", "--yes").status == 3
    assert here.state.phase is Phase.PAUSED
    assert not here.world.repairs_suspended


def test_release_that_stays_is_carried_out_once_the_rollout_rests(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, stayed = rolling(desk), []
    drives = operate.drive

    def drive(*arguments: Any, **options: Any) -> Any:
        stayed.append((options["ask"], options["stay"]))
        return drives(*arguments, **options | {"stay": False})

    monkeypatch.setattr(operate, "drive", drive)
    assert here.run("release", "--yes", "--stay").status == 3
    assert stayed == [(Asked.PAUSE, False), (Asked.RELEASE, True)]


def test_release_that_cannot_be_carried_out_once_it_rests_does_not_say_that_nothing_was_sent(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = rolling(desk)
    opens, opened = here._open, here.opened

    def once(plan: object, options: dict[str, Any]) -> Any:
        if here.opened > opened:
            raise PlatformError("Unreachable", "management.azure.com does not answer")
        return opens(plan, options)

    monkeypatch.setattr("backends.connect.open_backend", once)
    ran = here.run("release", "--yes")
    assert (ran.status, f"{here.rollout} rests, and was not released: Unreachable" in ran.err) == (3, True), ran
    assert here.state.phase is Phase.PAUSED
    assert here.world.repairs_suspended


def test_release_of_a_rollout_that_somebody_carries_on_is_refused(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True)))
    assert here.run("apply", "--max-runtime", "0s").status == 3
    held = here.store.take(here.store.rollouts()[-1])
    try:
        ran = here.run("release", "--yes")
    finally:
        held.release()
    assert (ran.status, "a rollout that goes on is not released" in ran.err) == (2, True), ran
    assert f"`vmss-sim pause {here.rollout}` first" in ran.err
    assert not here.store.journal(here.rollout).requests(0)


def test_release_that_keeps_the_mode_says_so_and_is_not_offered_again(desk: Callable[[Case], Desk]) -> None:
    case = Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING, repairs=True), parameters={"approve": True})
    here = desk(case)
    assert here.run("apply").status == 3
    assert any(one["command"].startswith("vmss-sim release") for one in here.status()["choices"])
    ran = here.run("release", "--yes")
    assert ran.status == 3, ran
    assert "all but the mode (manual) is undone" in ran.out
    assert "the temporary changes are undone" not in ran.out
    status = here.status()
    assert status["temporary_changes"] == ["mode manual instead of rolling"]
    assert not any(one["command"].startswith("vmss-sim release") for one in status["choices"])


def test_replace_an_instance_that_stays_sick(desk: Callable[[Case], Desk]) -> None:
    here = desk(
        Case(
            fleet=Fleet(size=4),
            parameters={"retries": 0, "max_failed": 1, "approve": True},
            fails={0: (1,)},
            more={"floor": 2},
        )
    )
    assert here.run("apply").status == 3
    status = here.status()
    (failed,) = status["failed"]
    assert failed["id"] == "0"
    command = next(one["command"] for one in status["choices"] if one["command"].startswith("vmss-sim replace"))
    assert command == f"vmss-sim replace {here.rollout} 0 --reason '…'"
    assert here.run("replace", here.rollout, "0", "--reason", "broken host").status == 0
    while here.state.phase is not Phase.ENDED:
        here.store.journal(here.rollout).ask(Asked.APPROVE)
        assert here.run("resume", "--yes").status in (0, 3)
    assert here.state.ending == "finish"
    assert ("delete", ("0",)) in here.sent()


def test_a_lost_answer_without_evidence_asks_and_says_how_to_answer(desk: Callable[[Case], Desk]) -> None:
    from planner.change import Action, PropertyChange
    from tests.fleet import SETTING

    case = Case(
        fleet=Fleet(size=2),
        change=PropertyChange(path=SETTING, value="new"),
        action=Action.RESTART,
        faults=(Fault(verdict="lose-reply", first=2, last=2),),
    )
    here = desk(case)
    ran = here.run("apply")
    assert ran.status == 3, ran
    status = here.status()
    assert status["state"] == "asks"
    commands = [one["command"] for one in status["choices"]]
    assert f"vmss-sim retry {here.rollout} 0" in commands
    assert f"vmss-sim skip {here.rollout} 0 --reason '…'" in commands
    assert here.run("skip", here.rollout, "0", "--reason", "it restarted").status == 0
    assert here.run("resume", "--yes").status == 5
    assert here.world.started("0", ("restart",)) == 1


# -- looked at ---------------------------------------------------------------------------------------------------------

FIELDS = {
    "schema", "rollout", "scale_set", "plan_sha256", "opened", "state", "phase", "ending", "why", "executor", "choices",
    "evidence_at", "elapsed_s", "forecast", "above_floor", "in_service", "floor", "known_healthy", "fewest_seen", "instances",
    "in_flight", "skipped", "failed", "left_alone", "batch",
    "by_others", "model_gives", "temporary_changes", "unheard_requests", "decisions",
    "on_target", "old", "afterwards", "asked", "at", "waits", "window", "plan_expires", "unreachable", "undo", "followed_by", "unheard",
    "temporary_seen", "az_first",
}  # fmt: skip


def test_status_json_has_every_field(desk: Callable[[Case], Desk]) -> None:
    here = paused(desk)
    status = here.status()
    assert set(status) == FIELDS
    assert status["model_gives"].endswith("2.0.0, the target")
    assert status["above_floor"] is True
    assert sum(status["instances"][name] for name in ("on_target", "old", "in_flight", "failed", "skipped")) == 3


def test_status_fits_a_screen_of_80_columns(desk: Callable[[Case], Desk]) -> None:
    case = Case(
        fleet=Fleet(size=40, zones=3),
        strategy="batch",
        parameters={"size": 8, "retries": 0, "max_failed": 20, "approve": True},
        fails=dict.fromkeys(range(0, 40, 3), (1,)),
        more={"floor": 10},
    )
    here = desk(case)
    assert here.run("apply").status == 3
    ran = here.run("status")
    for word in ("zone", "above the floor", "8 failed", "approve", "rollback --emergency", "a new one", "and 5 more"):
        assert word in ran.out, ran.out
    # A command stands whole on its line, so that it can be copied; all else is folded.
    long = vmss_sim("status", "--store", here.store.name)
    for told in (ran.out, long.out):
        lines = told.splitlines()
        wide = [line for line in lines if len(line) > 80]
        assert all(line.startswith("  vmss-sim ") for line in wide), wide
        assert sum(-(-len(line) // 80) for line in lines) <= 40, told
    commands = {one["command"] for one in here.status()["choices"]}
    shown = {line.strip().split("    ")[0] for line in ran.out.splitlines() if line.startswith("  vmss-sim ")}
    assert shown == commands


def test_status_of_60_with_long_names_and_a_far_store_fits_a_screen(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(
        fleet=Fleet(size=60, zones=3, repairs=True, mode=UpgradeMode.ROLLING),
        strategy="batch",
        parameters={"size": 8, "retries": 0, "max_failed": 20, "approve": True},
        fails=dict.fromkeys(range(0, 60, 3), (1,)),
        more={"floor": 40},
    )
    here = desk(case)
    assert here.run("apply", "--endpoint", "https://management.local.azurestack.external").status == 3
    monkeypatch.setattr("backends.store.as_option", lambda _store: " --store azblob://companyrollouts/production/web")
    told = here.run("status").out
    assert sum(-(-len(line) // 80) for line in told.splitlines()) <= 40, told
    assert (
        f"  vmss-sim rollback --emergency {here.rollout} --reason '…' --store azblob://companyrollouts/production/web\n"
        in told
    )


@pytest.mark.parametrize(
    ("clock_ms", "elapsed"), [(0, "2.0 h"), (-330 * 86_400_000, "10 min")], ids=["the wall's", "an emulator's"]
)
def test_elapsed_goes_by_the_rollouts_clock(desk: Callable[[Case], Desk], clock_ms: int, elapsed: str) -> None:
    from rich.console import Console

    from vmss_sim.cli.operating import status_of
    from vmss_sim.report.status import render

    here = paused(desk)
    made = status_of(here.store, here.store.rollouts()[-1])
    assert made.standing is not None
    began = made.entry.opened_ms + clock_ms
    seen = msgspec.structs.replace(made.standing, began_ms=began, at_ms=began + 600_000)
    console = Console(width=80, record=True, file=io.StringIO())
    render(
        console,
        msgspec.structs.replace(made, standing=seen, forecast=None, now_ms=made.entry.opened_ms + 7_200_000),
    )
    assert f"   elapsed  {elapsed}\n" in console.export_text()


def test_status_before_anything_happened(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    none = here.run("status")
    assert (none.status, "there is no rollout in the store" in none.err) == (2, True)
    from backends.operate import begin
    from planner.planfile import decode

    data = here.file.read_bytes()
    begin(here.store, decode(data, ""), data, "test")[1].release()
    assert here.status()["state"] == "not begun"
    assert here.run("status").status == 0
    assert len(here.run("status", "--all").out.splitlines()) == 1


def test_history_tells_decisions_errors_and_ids(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE.but(fails={1: (1,)}, more={"floor": 1}))
    assert here.run("apply").status == 0
    md = here.run("history", here.rollout, "--format", "md").out
    for word in (
        "## Decisions",
        "operation-failed",
        "## Operations",
        "fewest in service, as seen: 2 of 3",
        "c3/",
        "What did users",
    ):
        assert word in md, md
    page = here.run("history", "--format", "html").out
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    wrong = here.run("history", "--format", "pdf")
    assert (wrong.status, "text, md, html" in wrong.err) == (2, True)


def test_trace_is_the_journal(desk: Callable[[Case], Desk], tmp_path: Path) -> None:
    from planner.rollout import Rollout
    from planner.trace import Record, Turn, replay

    here = desk(CASE)
    here.run("apply")
    file = tmp_path / "trace.jsonl"
    assert here.run("trace", "-o", str(file)).status == 0
    records = [msgspec.json.decode(line, type=Record) for line in file.read_bytes().splitlines()]
    turns = [one for one in records if isinstance(one, Turn)]
    assert [state for _, state in replay(Rollout(here.plan), turns)][-1] == here.state
    assert here.run("trace").out.splitlines()[0].startswith('{"record":"opened"')


def test_a_host_is_waited_for_shorter_before_anything_is_begun(desk: Callable[[Case], Desk]) -> None:
    here = desk(CASE)
    assert here.run("apply", "--max-runtime", "0s").status == 3
    assert here.run("apply").status == 0
    assert [one.get("first_s") for one in here.reached] == [60, None]
