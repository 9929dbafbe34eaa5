"""Replay against reality. The mapping is tested on a small hand-made file everywhere, and on the recordings where they lie
beside the checkout.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.replay import start as starting
from tests.replay.__main__ import main
from tests.replay.accepted import ACCEPTED, LEFT_OUT, Accepted
from tests.replay.documents import worded
from tests.replay.judging import Judged, judge, replay
from tests.replay.session import Finding, Replay
from tests.replay.start import era
from tests.replay.traffic import SHARED, header, parsed, read, seconds, sessions
from vmss_sim.world import admission, errors, lifecycle, scale_set
from vmss_sim.world.config import Platform
from vmss_sim.world.rollouts import RollingUpgrade
from vmss_sim.world.scale_set import World

HANDMADE = Path(__file__).parent / "replay" / "handmade.jsonl"
recordings = pytest.mark.skipif(
    not SHARED.exists(), reason=f"no recordings at {SHARED}: they are no part of the project"
)


# -- The hand-made file -------------------------------------------------------------------------------------------------


def _handmade() -> Judged:
    return judge(replay(HANDMADE))


def test_the_hand_made_file_agrees_and_compares_what_it_should() -> None:
    judged = _handmade()
    assert not judged.differing
    assert not any(judged.covered), "no exception is needed"
    for key in (
        ("upgrade", "latestModelApplied"),
        ("upgrade", "operation-code"),
        ("os-rolling-upgrade", "latest-progress"),
        ("os-rolling-upgrade", "operation"),
        ("update-model", "operation"),
        ("update-model", "latestModelApplied"),
        ("update-model", "scale-in id"),
        ("update-model", "etag grew"),
        ("cancel-rolling-upgrade", "code"),
        ("cancel-rolling-upgrade", "ends together"),
        ("extension-rolling-upgrade", "operation"),
        ("reimage", "operation"),
        ("reimage", "code"),
        ("delete", "summary"),
        ("power-off", "powerstate"),
    ):
        assert judged.agreeing[key], f"{key} is compared"


def _with_platform(**changes: object) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(starting, "era", lambda day: msgspec.structs.replace(era(day), **changes))

    return plant


def _of(target: object, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(target, name, value)


def _not_found(row: errors.AzureError) -> errors.AzureError:
    return msgspec.structs.replace(row, status=404)


def _never_stale(world: World, vm: object) -> bool:
    return True


def _keeps_the_flag(patch: pytest.MonkeyPatch) -> None:
    begin = lifecycle.start

    def start(world: World, vm: lifecycle.Vm, kind: str, args: dict[str, object]) -> int:
        end = begin(world, vm, kind, args)
        if vm.effect is not None:
            vm.effect = msgspec.structs.replace(vm.effect, content=vm.content)
        return end

    patch.setattr(lifecycle, "start", start)


def _cancel_undone(patch: pytest.MonkeyPatch) -> None:
    def cancel(self: RollingUpgrade, least_ms: int) -> int:
        return least_ms

    patch.setattr(RollingUpgrade, "cancel", cancel)


PLANTED = {
    "a tick of half a minute": (_with_platform(tick_ms=30_000), "os-rolling-upgrade: operation"),
    "no first check after an update in mode Rolling": (_with_platform(first_check_ms=0), "update-model: operation"),
    "no wait without a health signal": (
        _with_platform(no_signal_wait_ms=300_000),
        "extension-rolling-upgrade: operation",
    ),
    "overlapping operations refused": (_with_platform(overlap="conflict"), "reimage: status"),
    "scale-in takes the newest": (_with_platform(scale_in="newest"), "update-model: scale-in"),
    "osRollingUpgrade needs mode Rolling": (_with_platform(os_rolling_needs_mode=True), "os-rolling-upgrade: status"),
    "nothing gets stale": (_of(World, "is_latest", _never_stale), "update-model: latestModelApplied"),
    "an upgrade leaves the flag": (_keeps_the_flag, "upgrade: latestModelApplied"),
    "cancel does nothing": (_cancel_undone, "cancel-rolling-upgrade: ends together"),
    "a cancel is never refused": (_of(admission, "_kind", lambda *_: None), "cancel-rolling-upgrade: status"),
    "unknown ids are not found": (
        _of(errors, "INSTANCE_UNKNOWN", _not_found(errors.INSTANCE_UNKNOWN)),
        "upgrade: status",
    ),
    "a set without health source may roll": (_of(admission, "_update", lambda *_: None), "update-model: status"),
    "etags stand still": (_of(scale_set, "MOVES_ETAG", frozenset()), "etag grew"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_of_the_world_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, what = PLANTED[name]
    plant(monkeypatch)
    found = [f"{one.kind}: {one.what}" for one in _handmade().differing]
    assert any(what in one for one in found), found


def test_the_same_recordings_give_the_same_findings() -> None:
    first, second = ([run.findings for run in replay(HANDMADE)] for _ in range(2))
    assert first == second


def test_exceptions_accept_no_more_than_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["scale-in takes the newest"][0](monkeypatch)
    runs = replay(HANDMADE)
    row = Accepted("", r"handmade reimage\.yaml .*", "update-model", "scale-in .*", ".*", ".*", 2)
    assert not judge(runs, (row,)).differing
    assert judge(runs, (row,)).covered == (2,)
    narrow = row._replace(what="scale-in id")
    assert len(judge(runs, (narrow,)).differing) == 1
    idle = row._replace(recording="elsewhere")
    assert judge(runs, (idle,)).covered == (0,), "an exception that is not needed any more covers nothing"


def test_the_command_prints_shares_and_differences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main([str(HANDMADE)]) == 0
    assert "differences that no exception accepts: 0" in capsys.readouterr().out
    PLANTED["scale-in takes the newest"][0](monkeypatch)
    assert main([str(HANDMADE)]) == 1
    assert "update-model: scale-in id: recorded ['6']; world ['7']" in capsys.readouterr().out
    assert main([str(tmp_path / "none.jsonl")]) == 2


# -- The reader ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("", None),
        (None, None),
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("b'{\"a\": 1}'", {"a": 1}),
        ("b'b\\'{\"a\": 1}\\''", {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("{'date': ['x']}", {"date": ["x"]}),
        ("not json", "not json"),
        ("b'broken", "b'broken"),
    ],
)
def test_bodies_of_every_recorder_are_read(body: object, value: object) -> None:
    assert parsed(body) == value


def test_headers_of_every_recorder_are_read() -> None:
    assert header({"headers": "{'Date': ['now'], 'x': 'y'}"}, "date") == "now"
    assert header({"headers": {"date": "then"}}, "date") == "then"
    assert header({"headers": {}}, "date") == ""


def test_times_with_seven_digits_and_offsets() -> None:
    assert seconds("2020-01-01T00:00:01.2345678+00:00") == pytest.approx(1577836801.2345678)
    assert seconds("2020-01-01T00:00:01.5-08:00") == seconds("2020-01-01T08:00:01.5Z")
    with pytest.raises(ValueError, match="yesterday"):
        seconds("yesterday")


def test_grouped_exchanges_are_put_back_in_order() -> None:
    found = [session for one in read(HANDMADE) for session in sessions(one) if session.name == "win"]
    (win,) = found
    assert [one.at_ms for one in win.exchanges] == sorted(one.at_ms for one in win.exchanges)
    assert [one.rest for one in win.exchanges if one.method == "POST"][:2] == [
        "/osrollingupgrade",
        "/rollingupgrades/cancel",
    ]
    seen = win.operations["b4"]
    assert (seen.status, seen.running_ms, seen.done_ms) == ("Succeeded", 930_000, 1_020_000)
    assert seen.seconds == pytest.approx(660.2)


def test_a_templates_text_matches_only_its_own_messages() -> None:
    assert worded(errors.INSTANCE_UNKNOWN, errors.INSTANCE_UNKNOWN.sentence(id="7"))
    assert not worded(errors.INSTANCE_UNKNOWN, errors.INSTANCE_UNKNOWN.sentence(id="7") + "!")


# -- The recordings -----------------------------------------------------------------------------------------------------


@functools.cache
def _all() -> tuple[list[Replay], Judged]:
    runs = replay()
    return runs, judge(runs)


@recordings
def test_reality_and_the_world_agree_but_for_the_listed_exceptions() -> None:
    _, judged = _all()
    assert not judged.differing, judged.differing[:5]


@recordings
def test_every_exception_is_needed_and_covers_what_it_says() -> None:
    _, judged = _all()
    assert dict(zip((row.reason for row in ACCEPTED), judged.covered, strict=True)) == {
        row.reason: row.count for row in ACCEPTED
    }


_SCOPE = re.compile(
    r"(?i)/(rollingupgrades/cancel|osrollingupgrade|extensionrollingupgrade|reimageall|reimage|manualupgrade)$"
)


@recordings
def test_no_request_in_scope_is_left_out() -> None:
    kinds = {
        "rollingupgrades/cancel": "cancel-rolling-upgrade",
        "osrollingupgrade": "os-rolling-upgrade",
        "extensionrollingupgrade": "extension-rolling-upgrade",
        "reimageall": "reimage-all",
        "reimage": "reimage",
        "manualupgrade": "upgrade",
    }
    found: Counter[str] = Counter()
    for recording in read():
        for one in recording["exchanges"]:
            match = _SCOPE.search(one["url"].partition("?")[0])
            if match and one["method"] == "POST":
                found[kinds[match.group(1).lower()]] += 1
    for left in LEFT_OUT:
        found[left.kind] -= left.count
    judged = _all()[1]
    assert {kind: judged.total[kind, "status"] for kind in kinds.values()} == dict(found)


@recordings
def test_every_recorded_error_has_its_row() -> None:
    _, judged = _all()
    total = sum(count for (_, what), count in judged.total.items() if what == "error-table")
    agreeing = sum(count for (_, what), count in judged.agreeing.items() if what == "error-table")
    assert agreeing == total
    assert total >= 100


@recordings
def test_a_planted_bug_is_noticed_by_the_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, what = PLANTED["overlapping operations refused"]
    plant(monkeypatch)
    assert any(what in f"{one.kind}: {one.what}" for one in judge(replay()).differing)


def test_eras_are_options_of_the_world() -> None:
    assert era("2024-08-26") == Platform(), "the newest"
    assert not era("2023-12-06").flexible_auto_os
    assert era("2019-01-01").first_check_ms == 120_000
    assert era("2017-09-14").os_rolling_needs_mode
    assert not era("2017-12-02").os_rolling_needs_mode


def test_a_finding_knows_whether_it_differs() -> None:
    assert Finding("", 0, "", "", 1, 2).differs
    assert not Finding("", 0, "", "", 1, 1).differs
