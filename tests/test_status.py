"""What `status` has to tell a colleague who never saw the plan, item by item; and that each command it offers is one."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import pytest

from backends.lease import LASTS_MS
from planner.choices import options
from planner.model import UpgradeMode
from planner.planfile import Forecast, encode
from planner.rollout import Asked
from planner.standing import standing
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk
from tests.test_live import FORECAST

__all__ = ["desk"]
CASE = Case(
    fleet=Fleet(size=9, zones=3, mode=UpgradeMode.ROLLING, repairs=True),
    strategy="batch",
    parameters={"size": 3, "retries": 0, "max_failed": 2, "approve": True},
    fails={0: (1,)},
    more={"floor": 5},
)


def night(desk: Callable[[Case], Desk], forecast: Forecast | None = FORECAST) -> Desk:
    """The first batch is done but for one that failed; the next waits for an approval; nobody is at work."""
    here = desk(CASE)
    here.file.write_bytes(encode(here.plan, forecast))
    assert here.run("apply").status == 3
    return here


def both(here: Desk) -> tuple[dict[str, Any], str]:
    return here.status(), " ".join(here.run("status").out.split())


def test_state_and_why_in_a_sentence(desk: Callable[[Case], Desk]) -> None:
    seen, told = both(night(desk))
    assert seen["state"] == "paused"
    for words in (
        "approval needed for batch 2 (3 at a time)",
        "instance 0 (zone 1)",  # the instance, its zone
        "VMStartTimedOut: VM '0' did not start",  # Azure's error
        "(seen 0:01:",  # when that was seen
    ):
        assert words in seen["why"], seen["why"]
        assert words in told, told
    (failed,) = seen["failed"]
    assert (failed["id"], failed["zone"], failed["code"]) == ("0", "1", "VMStartTimedOut")
    assert failed["at"] <= seen["evidence_at"]


def test_above_the_floor_now(desk: Callable[[Case], Desk]) -> None:
    here = night(desk)
    seen, told = both(here)
    assert (seen["in_service"], seen["floor"], seen["above_floor"]) == (8, 5, True)
    assert "8 of 9 in service, above the floor (5)" in told
    for vm in list(here.world.vms.values())[3:8]:
        vm.serves_from, vm.outages = 1 << 60, [[0, 1 << 60]]
        here.world.dirty[vm.id] = None
    here.run("resume", "--yes", "--max-runtime", "0s")
    seen, told = both(here)
    assert seen["above_floor"] is False
    assert "BELOW THE FLOOR (5)" in told


def test_nobody_was_killed_where_it_has_ended_though_its_executor_said_no_last_word(
    desk: Callable[[Case], Desk],
) -> None:
    """As in a journal from before there was one."""
    here = desk(Case(fleet=Fleet(size=1)))
    assert here.run("apply").status == 0
    with closing(sqlite3.connect(here.folder / "rollouts" / f"{here.rollout}.sqlite")) as db, db:
        assert db.execute("DELETE FROM record WHERE kind = 'LetGo'").rowcount == 1
    told = here.run("status").out
    assert "executor  none\n" in told, told


def test_is_an_executor_alive_and_how_old_is_its_lease(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = night(desk)
    seen, told = both(here)
    last = seen["executor"].pop("last")
    assert (set(last), last["let_go"]["why"]) == ({"name", "began", "let_go"}, "the rollout rests")
    assert seen["executor"] == {"alive": False, "name": None, "lease_age_s": None}
    assert re.search(r"executor none; the last let go 20[-0-9: ]+Z: the rollout rests", told)
    held = here.store.take(here.store.rollouts()[0])
    seen, told = both(here)
    assert seen["executor"]["alive"] is True
    assert 0 <= seen["executor"]["lease_age_s"] < LASTS_MS / 1000
    assert re.search(r"is at work, its lease was renewed \d+ s ago", told)
    later = int(time.time() * 1000) + LASTS_MS + 12_000
    monkeypatch.setattr("backends.store.now_ms", lambda: later)
    seen, told = both(here)
    assert (seen["executor"]["alive"], 40 < seen["executor"]["lease_age_s"] < 60) == (False, True)
    assert "is gone, its lease was renewed 4" in told
    held.release()


def test_how_many_are_where(desk: Callable[[Case], Desk]) -> None:
    here = night(desk)
    seen, told = both(here)
    counts = {"total": 9, "on_target": 2, "old": 6, "in_flight": 0, "failed": 1, "skipped": 0}
    assert seen["instances"] == counts
    assert "2 on target (6, 3), 6 old (" in told
    assert "0 in flight, 1 failed (0)" in told
    assert here.run("approve", here.rollout).status == 0
    while not here.state.ticket or not here.state.ticket.command.ids:
        here.run("resume", "--yes", "--max-runtime", "0s")
    seen, told = both(here)
    assert len(seen["in_flight"]) == 3
    assert "upgrade in flight: 3 at a time" in seen["why"]
    assert "3 in flight (" in told


def test_what_the_model_gives_and_what_is_changed_for_the_time(desk: Callable[[Case], Desk]) -> None:
    seen, told = both(night(desk))
    assert seen["model_gives"] == "Canonical:ubuntu:22_04:2.0.0, the target"
    assert "would boot Canonical:ubuntu:22_04:2.0.0, the target" in told
    assert seen["temporary_changes"] == ["automatic repairs are suspended", "mode manual instead of rolling"]
    assert "automatic repairs are suspended; mode manual instead of rolling" in told


def test_the_choices_have_forecasts(desk: Callable[[Case], Desk]) -> None:
    here = night(desk)
    seen, told = both(here)
    forecast = {one["command"].split()[1]: one["forecast"] for one in seen["choices"]}
    assert forecast["approve"] == "about 7 min, 95 % within 60 min"
    assert forecast["retry"] == "about 67 s, 95 % within 10 min"
    assert forecast["abort"] is None, "it moves nothing"
    assert "(1 instance, about 67 s" in told
    assert "(6 instances, about 7 min, 95 % within 60 min)" in told
    assert seen["forecast"] == {"p50_s": 600, "p95_s": 5400}
    here.file.unlink()


CHOICES = ("approve", "retry", "skip", "replace", "rollback", "rollback --emergency", "abort", "release")


@pytest.mark.parametrize("choice", CHOICES)
def test_each_command_it_offers_is_one(desk: Callable[[Case], Desk], choice: str) -> None:
    here = night(desk, None)
    commands = [one["command"] for one in here.status()["choices"]]
    assert [one.removeprefix("vmss-sim ").partition(" web-")[0] for one in commands] == list(CHOICES)
    command = commands[CHOICES.index(choice)].replace("…", "as told, ticket 7")
    words = shlex.split(command)[1:]
    ran = vmss_sim(*words, *(("--yes",) if choice.split(maxsplit=1)[0] in ("rollback", "abort", "release") else ()))
    assert ran.status in (0, 1, 3), ran
    assert "is asked for" in ran.err or "ended" in ran.err or "rests" in ran.err


def test_what_still_runs_is_looked_at_again(desk: Callable[[Case], Desk]) -> None:
    """No resume lets it go on: it goes on by itself once that has ended, and somebody has to look."""
    here = night(desk)
    now = standing(here.plan, here.store.journal(here.rollout).records())
    assert now is not None
    asks = msgspec.structs.replace(now, state=msgspec.structs.replace(now.state, question="still-running", reason="x"))
    first = options(here.plan, asks, alive=False)[0]
    assert (first.asked, first.does) == (Asked.RESUME, "look again: it goes on by itself once that has ended")


def test_json_is_json(desk: Callable[[Case], Desk]) -> None:
    here = night(desk)
    (one,) = json.loads(here.run("status", "--all", "--json").out)
    assert one["rollout"] == here.rollout
