"""No option is taken and then ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.planfile import encode
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet

PLAN = ("plan", "two-vms", "-s", "one-by-one", "--no-forecast")
IDLE = (
    (("status", "web-1", "--all"), "ROLLOUT"),
    (("approve", "plan.json", "--list", "--by", "ann"), "--by"),
    (("approve", "plan.json", "--list", "--expires", "3h"), "--expires"),
    (("approve", "plan.json", "--list", "--reason", "change 4711"), "--reason"),
    (("lint", "plan.json", "--instances", "plan.json"), "--instances"),
    (("lint", "two-vms", "--instances", "plan.json"), "--instances"),
    ((*PLAN, "--hook-deadline", "20s"), "--hook-deadline"),
    ((*PLAN, "--on-window-close", "wait"), "--on-window-close"),
)


@pytest.mark.parametrize(("command", "option"), IDLE)
def test_an_option_that_says_nothing_here_is_refused(
    command: tuple[str, ...], option: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}/store")
    Path("plan.json").write_bytes(encode(Case(fleet=Fleet(size=2)).plan()))
    ran = vmss_sim(*command)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert f"{option}: this says nothing here" in ran.err


EXECUTES = ("--max-runtime", "--stay", "--log-format", "--hook", "--webhook", "--yes", "--endpoint", "--ca")


@pytest.mark.parametrize("command", ["pause", "retry", "skip", "replace", "approve", "status", "history", "trace"])
def test_what_only_asks_or_looks_has_no_option_of_an_executor(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = vmss_sim(command, "--help").out.replace(",", " ").split()
    assert "--store" in shown
    assert not set(EXECUTES) & set(shown)


@pytest.mark.parametrize("command", ["apply", "resume", "abort", "rollback", "release", "recover"])
def test_what_may_execute_has_them(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert set(EXECUTES) <= set(vmss_sim(command, "--help").out.replace(",", " ").split())
