"""What is asked of a rollout: kept and shown while nobody is at work, refused where it would do nothing, asked about where it is final."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner.rollout import Asked
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk

__all__ = ["desk"]
NIGHT = Case(
    fleet=Fleet(size=12),
    strategy="batch",
    parameters={"size": 3, "retries": 0, "max_failed": 2, "approve": True},
    fails={0: (1,)},
    more={"floor": 5},
)


@pytest.fixture
def night(desk: Callable[[Case], Desk]) -> Desk:
    """One failed, and the next batch waits for an approval; nobody is at work."""
    here = desk(NIGHT)
    assert here.run("apply").status == 3
    return here


def test_what_nobody_has_heard_is_shown_with_who_and_since_when(night: Desk) -> None:
    assert night.run("replace", night.rollout, "0", "--reason", "broken host").status == 0
    assert night.run("skip", night.rollout, "5", "7", "--reason", "ticket 9").status == 0
    seen, shown = night.status(), " ".join(night.run("status").out.split())
    assert seen["unheard_requests"] == 2
    first, second = seen["unheard"]
    assert (first["asked"], first["instances"], first["reason"]) == ("replace", ["0"], "broken host")
    assert (second["asked"], second["instances"]) == ("skip", ["5", "7"])
    assert first["by"]
    assert first["at"].startswith("20")
    assert f"replace 0, asked by {first['by']} {first['at'][:10]}" in shown
    assert "skip 5, 7, asked by" in shown
    already = {one["command"].split()[1]: one["asked_already"] for one in seen["choices"]}
    assert (already["replace"], already["skip"], already["retry"]) == (True, False, False)
    assert f"asked already by {first['by']}, and not heard yet" in shown
    night.run("approve", night.rollout)
    night.run("resume", "--yes")
    assert night.status()["unheard"] == []


def test_many_are_bounded(night: Desk) -> None:
    for _ in range(9):
        night.store.journal(night.rollout).ask(Asked.PAUSE, by="carol")
    shown = night.run("status").out
    assert shown.count("pause, asked by carol") == 3
    assert "and 6 more that no executor has heard yet" in " ".join(shown.split())


def test_a_pause_that_nobody_hears_says_what_the_same_apply_makes_of_it(night: Desk) -> None:
    ran = night.run("pause", night.rollout)
    assert ran.status == 0
    assert "the same apply hears this first, and rests with exit status 3" in ran.err
    assert f"`vmss-sim resume {night.rollout}` goes on all the same" in ran.err
    assert night.run("apply").status == 3
    night.run("pause", night.rollout)
    night.store.journal(night.rollout).ask(Asked.APPROVE)
    night.run("resume", "--yes", "--max-runtime", "0s")
    assert night.state.phase.value != "paused"


@pytest.mark.parametrize(("where", "found"), [("on_target", "on target"), ("old", "not moved yet")])
def test_nothing_is_tried_again_where_nothing_failed(night: Desk, where: str, found: str) -> None:
    ran = night.run("retry", night.rollout, night.status()[where][0])
    assert ran.status == 2
    assert "nothing of this instance failed" in ran.err
    assert found in ran.err
    assert "expected 0" in ran.err
    assert night.status()["unheard_requests"] == 0
    assert night.run("retry", night.rollout, "0").status == 0


def test_instances_are_told_in_the_order_that_people_count_in(night: Desk) -> None:
    ran = night.run("retry", night.rollout, "77")
    assert ran.status == 2
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11" in ran.err


def test_an_abort_is_asked_about_whoever_carries_it_out(night: Desk) -> None:
    held = night.store.take(night.store.rollouts()[0])
    try:
        ran = night.run("abort", night.rollout)
        assert ran.status == 2
        assert "nobody can be asked here" in ran.err
        assert night.status()["unheard_requests"] == 0
        assert night.run("abort", night.rollout, "--yes").status == 0
        assert night.status()["unheard"][0]["asked"] == "abort"
    finally:
        held.release()
