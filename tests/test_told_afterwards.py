"""What is told of a rollout that went wrong: every one that failed, what each executor came to, and no way back where nothing moved."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.commands import vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk
from vmss_sim.world.faults import Fault

__all__ = ["desk"]
TWO = Case(
    fleet=Fleet(size=6),
    strategy="batch",
    parameters={"size": 3, "retries": 0, "max_failed": 1, "soak_ms": 60_000},
    fails={0: (1,), 1: (1,)},
    more={"floor": 2},
)


def test_every_one_that_failed_has_a_row(desk: Callable[[Case], Desk]) -> None:
    here = desk(TWO)
    assert here.run("apply").status == 1
    failed = [one["id"] for one in here.status()["failed"]]
    assert len(failed) > 1
    rows = [line.split() for line in here.run("status").out.splitlines() if line.strip().startswith("failed ")]
    assert [row[2] for row in rows] == failed


def test_no_way_back_is_printed_where_nothing_was_moved(desk: Callable[[Case], Desk]) -> None:
    faults = (Fault(verdict="fail", first=1, last=99, of="upgrade", code="OSProvisioningTimedOut"),)
    here = desk(Case(fleet=Fleet(size=4), parameters={"retries": 0}, faults=faults))
    assert here.run("apply").status == 1
    status = here.status()
    assert (status["ending"], status["on_target"], len(status["failed"])) == ("stop", [], 1)
    assert "nothing is on target" in status["afterwards"][0]
    assert len(status["afterwards"]) == 1, "nothing is to be taken back: a plan for that would move nothing"
    assert "`apply --again`" in status["afterwards"][0]


def executors(here: Desk) -> list[list[str]]:
    told = here.run("history", "--format", "md").out.partition("## Executors")[2].partition("##")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line.startswith("| ")][2:]


def test_what_each_executor_came_to_and_how_long_nobody_was_there(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=3), parameters={"approve": True}))
    assert here.run("apply", "--max-runtime", "0s").status == 3
    (only,) = executors(here)
    assert re.fullmatch(r"let go 20[-0-9: ]+Z: its time \(--max-runtime\) was over", only[3])
    seen = here.status()["executor"]
    assert (seen["alive"], seen["last"]["let_go"]["why"]) == (False, "its time (--max-runtime) was over")
    assert "none; the last let go 20" in " ".join(here.run("status").out.split())
    here.world.run(here.world.now + 15 * 60_000, stop_on_wake=False)
    assert here.run("resume", "--yes").status == 3
    first, second = executors(here)
    assert first[3].endswith("; 15 min until somebody looked again")
    assert second[3].startswith("rested: approval needed for batch 2")
    assert here.run("abort", "--yes").status == 1
    assert executors(here)[-1][3] == "the end: abort"


def test_errors_are_told_with_what_was_sent(desk: Callable[[Case], Desk]) -> None:
    here = desk(Case(fleet=Fleet(size=4), parameters={"retries": 0}, fails={0: (1,)}))
    assert here.run("apply").status == 1
    errors = here.run("history", "--format", "md").out.partition("## Errors")[2].partition("##")[0]
    assert "| upgrade 0 | failed | VMStartTimedOut |" in errors


def test_a_file_that_is_neither_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "p5.json").write_text('{"format": "something else"}')
    ran = vmss_sim("plan", str(tmp_path / "p5.json"), "--target", "1.0.0", "-s", "batch")
    assert ran.status == 2
    assert "no scale set is in this file" in ran.err
    assert "a scenario says this itself" not in ran.err
    (tmp_path / "empty").write_text("")
    ran = vmss_sim("plan", str(tmp_path / "empty"), "--target", "1.0.0", "-s", "batch")
    assert (ran.status, "a scenario says this itself" in ran.err) == (2, False), ran.err
