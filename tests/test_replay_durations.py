"""Durations of recorded operations against the world: the judge, and what it says of the recordings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.fit_timings import family
from tests.replay import durations
from tests.replay.durations import Share, Table, alone, judged_here, name_of, quantiles, script, shares, shipped
from tests.replay.judging import judge, replay
from tests.replay.page import PAGE, agreement, excepted
from tests.replay.session import Took
from tests.replay.traffic import SHARED
from vmss_sim.world.timings import Constant, Empirical, Shifted

recordings = pytest.mark.skipif(
    not SHARED.exists(), reason=f"no recordings at {SHARED}: they are no part of the project"
)

RESTART = Took(
    recording="test_vmss_vms.yaml",
    recorded_on="2023-01-01",
    system="linux",
    kind="restart",
    seconds=60.0,
    instances=2,
    current=(True, True),
    power=("running", "running"),
    mode="manual",
    health="none",
    changed=False,
    capacity=None,
    settling=False,
)
TABLE: Table = {"restart": Empirical((0.0, 100.0)), "reimage": None}


def test_the_world_waits_for_the_slowest_and_alone_for_one() -> None:
    low, high = quantiles(RESTART, TABLE) or (0.0, 0.0)
    assert low == pytest.approx(100 * 0.05**0.5, abs=8), "the larger of two uniforms"
    assert high == pytest.approx(100 * 0.95**0.5, abs=4)
    low, high = quantiles(alone(RESTART), TABLE) or (0.0, 0.0)
    assert (low, high) == (pytest.approx(5, abs=3), pytest.approx(95, abs=3))


def test_what_has_too_few_others_or_no_timing_is_not_judged() -> None:
    assert quantiles(RESTART._replace(kind="reimage"), TABLE) is None, "its fit was left out"
    assert quantiles(RESTART._replace(kind="protect"), TABLE) is None, "it has no timing"
    found = shares([RESTART, RESTART._replace(kind="reimage"), RESTART._replace(seconds=99.99)], lambda _: TABLE)
    assert found["restart", "linux"] == Share(inside=1, judged=2, families=1, unjudged=0)
    assert found["reimage", "linux"] == Share(inside=0, judged=0, families=0, unjudged=1)


@pytest.mark.parametrize(
    ("changes", "judged"),
    [
        ({}, True),
        ({"recorded_on": "2020-12-31"}, False),
        ({"system": "unknown"}, False),
        ({"settling": True}, False),
        ({"kind": "cancel-rolling-upgrade"}, False),
        ({"kind": "update-model", "seconds": 0.3}, True),
        ({"kind": "update-model", "seconds": 30.0}, False),
        ({"kind": "update-model", "seconds": 60.6, "mode": "rolling"}, True),
    ],
)
def test_who_is_judged(changes: dict[str, object], judged: bool) -> None:
    assert judged_here(RESTART._replace(**changes)) == judged  # type: ignore[arg-type]


def test_names_in_the_report() -> None:
    update = RESTART._replace(kind="update-model", current=())
    assert name_of(RESTART._replace(kind="upgrade")) == "upgrade, nothing to do"
    assert name_of(RESTART._replace(kind="upgrade", current=(True, False))) == "upgrade, an extension or a like change"
    assert name_of(update._replace(capacity=1)) == "scale-in"
    assert name_of(update._replace(capacity=3)) == "scale-out"
    assert name_of(update._replace(mode="rolling")) == "update-model, mode Rolling"


def test_a_rollout_of_two_takes_two_ticks_and_their_overhead() -> None:
    took = RESTART._replace(kind="os-rolling-upgrade", current=(), power=(), mode="rolling", health="probe")
    low, high = quantiles(took, {"rolling-batch-overhead": Constant(0.5)}) or (0.0, 0.0)
    assert (low, high) == (121.0, 121.0)


def test_families_are_named_as_the_fit_names_them() -> None:
    assert script(RESTART) == "vmss_vms" == family({"recording": "test_vmss_vms_debian"})


def test_the_page_lists_every_exception() -> None:
    assert excepted() in PAGE.read_text(encoding="utf-8"), "python -m tests.replay --doc > docs/replay.md"


@recordings
def test_the_page_says_how_much_agrees() -> None:
    runs = replay()
    assert agreement(runs, judge(runs)) in PAGE.read_text(encoding="utf-8"), (
        "python -m tests.replay --doc > docs/replay.md"
    )


def _total(of: Callable[[Took], Took], table: Callable[[Took], Table], tooks: list[Took]) -> float:
    found = shares(map(of, tooks), table).values()
    return sum(one.inside for one in found) / sum(one.judged for one in found)


@recordings
def test_recorded_durations_lie_within_the_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "RUNS", 60)
    tooks = [durations.known(took) for run in replay() for took in run.took]
    usual = _total(lambda took: took, lambda took: shipped(took.system), tooks)
    one_draw = _total(alone, lambda took: shipped(took.system), tooks)
    assert usual > 0.65, (
        "every VM by itself: the world is slower than Azure where a request names several (docs/replay.md)"
    )
    assert one_draw > 0.80
    late = {name: Shifted(30.0, timing) for name, timing in shipped("linux").items() if timing is not None}
    assert _total(alone, lambda _: late, tooks) < 0.3, "half a minute more is noticed"
