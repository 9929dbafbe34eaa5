"""Replay of recorded requests against the ARM endpoint. The mapping and the comparisons are tested on a small file of invented
recordings everywhere (a set from its creation to its deletion, and one that is found), and on the recordings where they lie beside
the checkout.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.replay.__main__ import main
from tests.replay.requests.accepted import ACCEPTED, Accepted
from tests.replay.requests.exchanges import body_of, kind_of
from tests.replay.requests.exchanges import read as read_requests
from tests.replay.requests.judging import Judged, judge, replay
from tests.replay.requests.page import PAGE, TOP, agreement, listed
from tests.replay.requests.run import Difference, Run
from tests.replay.requests.shapes import shape
from tests.replay.requests.years import YEARS, Year
from tests.replay.traffic import SHARED, read
from vmss_sim.arm import documents, operations, versions
from vmss_sim.world import errors

HANDMADE = Path(__file__).parent / "replay" / "requests" / "handmade.jsonl"
recordings = pytest.mark.skipif(
    not SHARED.exists(), reason=f"no recordings at {SHARED}: they are no part of the project"
)
Recording = dict[str, Any]


# -- The hand-made file -------------------------------------------------------------------------------------------------


def _handmade() -> Judged:
    return judge(replay(HANDMADE), (), ())


def _found(judged: Judged) -> list[str]:
    return [f"{one.kind}: {one.what} {one.path}".rstrip() for one in judged.differing]


def test_the_hand_made_file_agrees_and_holds_what_it_should() -> None:
    judged = _handmade()
    assert not _found(judged)
    assert not judged.skipped
    for kind in (
        *(
            "PUT (create)",
            "PUT",
            "PATCH",
            "DELETE",
            "GET",
            "GET list of a group",
            "GET operation",
            "GET operation, Location",
        ),
        *(
            "GET virtualMachines",
            "GET virtualMachines/{id}",
            "GET virtualMachines/{id}/instanceView",
            "GET instanceView",
        ),
        *(
            "PUT extensions/{id}",
            "POST manualupgrade",
            "POST reimage",
            "POST osRollingUpgrade",
            "POST rollingUpgrades/cancel",
        ),
    ):
        assert judged.rows[kind].requests == judged.rows[kind].alike > 0
    assert sum(row.errors for row in judged.rows.values()) == sum(row.codes for row in judged.rows.values()) == 6


def _altered(change: Callable[[Recording], None]) -> list[str]:
    """What is reported when the recordings say something else."""
    made = []
    for recording in copy.deepcopy(list(read(HANDMADE))):
        change(recording)
        made.append(Run(recording).run())
    return _found(judge(made, (), ()))


def _first(kind: str, change: Callable[[Any], None]) -> Callable[[Recording], None]:
    def alter(recording: Recording) -> None:
        one = next((one for one in recording["exchanges"] if kind_of(one) == kind), None)
        if one is not None:
            change(one)

    return alter


def _set(path: str, value: Any) -> Callable[[Any], None]:
    def change(one: Any) -> None:
        *above, last = path.split(".")
        for step in above:
            one = one[int(step)] if step.isdecimal() else one[step]
        if value is None:
            del one[last]
        else:
            one[last] = value

    return change


RECORDED = {
    "another status": (_first("POST manualupgrade", _set("status", "409")), "POST manualupgrade: status"),
    "another code": (
        _first("POST rollingUpgrades/cancel", _set("response_body.error.code", "NotFound")),
        "cancel: code",
    ),
    "other words": (
        _first("POST rollingUpgrades/cancel", _set("response_body.error.message", "No.")),
        "cancel: message",
    ),
    "a key more": (_first("GET skus", _set("response_body.value.0.limit", 5)), "GET skus: shape value[].limit:number"),
    "a key less": (
        _first("GET virtualMachines/{id}", _set("response_body.properties.vmId", None)),
        "GET virtualMachines/{id}: shape properties.vmId:string",
    ),
    "another type": (
        _first("GET instanceView", _set("response_body.virtualMachine.statusesSummary.0.count", "2")),
        "GET instanceView: shape virtualMachine.statusesSummary[].count:string",
    ),
    "an empty list": (
        _first("PUT (create)", _set("response_body.properties.virtualMachineProfile.osProfile.secrets", ["x"])),
        "PUT (create): shape properties.virtualMachineProfile.osProfile.secrets[]:string",
    ),
    "no header": (_first("PATCH", _set("headers.azure-asyncoperation", None)), "PATCH: header azure-asyncoperation"),
    "no etag": (_first("PATCH", _set("headers.etag", None)), "PATCH: header etag"),
    "an operation that fails": (
        lambda recording: (
            [
                one["response_body"].update(status="Failed", error={"code": "InternalExecutionError", "message": "no"})
                for one in recording["exchanges"]
                if kind_of(one) == "GET operation" and one["response_body"]["status"] == "Succeeded"
            ]
            and None
        ),
        "GET operation: shape error",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_recordings_say_otherwise_is_reported(name: str) -> None:
    change, what = RECORDED[name]
    found = _altered(change)
    assert any(what in one for one in found), found


def _no_name(*args: Any) -> Any:
    body = _POLL(*args)
    body.pop("name")
    return body


def _no_tier(*args: Any, **said: Any) -> Any:
    body = _SCALE_SET(*args, **said)
    body["sku"].pop("tier", None)
    return body


_POLL, _SCALE_SET = operations.poll_body, documents.scale_set

PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "polls without a name": (
        lambda patch: patch.setattr("vmss_sim.arm.reads.poll_body", _no_name),
        "GET operation: shape name:string",
    ),
    "sets without a tier": (
        lambda patch: patch.setattr(documents, "scale_set", _no_tier),
        "GET: shape sku.tier:string",
    ),
    "no etags": (lambda patch: patch.setitem(versions.SINCE, "etag", "2999-01-01"), "GET: header etag"),
    "a property too early": (
        lambda patch: patch.setitem(versions.SINCE, "resilientVMDeletionStatus", "2015-01-01"),
        "GET virtualMachines/{id}: shape properties.resilientVMDeletionStatus:string",
    ),
    "other words of an error": (
        lambda patch: patch.setattr(errors, "NO_ROLLOUT_TO_CANCEL", errors.CONFLICT),
        "POST rollingUpgrades/cancel: code",
    ),
    "defaults forgotten": (
        lambda patch: patch.setattr("vmss_sim.arm.defaults.FILLED", ()),
        "PUT (create): shape properties.virtualMachineProfile.osProfile.secrets[]",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_of_the_endpoint_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, what = PLANTED[name]
    plant(monkeypatch)
    found = _found(_handmade())
    assert any(what in one for one in found), found


def test_the_same_recordings_give_the_same_comparisons() -> None:
    first, second = ([run.compared for run in replay(HANDMADE)] for _ in range(2))
    assert first == second


def test_the_command_prints_shares_and_differences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["--requests", str(HANDMADE)]) == 0
    assert "differences that nothing explains: 0" in capsys.readouterr().out
    PLANTED["polls without a name"][0](monkeypatch)
    assert main(["--requests", str(HANDMADE)]) == 1
    assert (
        "GET operation (api-version 2024-07-01): shape name:string: recorded True; found False"
        in capsys.readouterr().out
    )
    assert main(["--requests", str(tmp_path / "none.jsonl")]) == 2


# -- Years and exceptions -----------------------------------------------------------------------------------------------


def _difference(day: str, path: str, recorded: bool, what: str = "shape") -> Difference:
    return Difference(f"source file.json {day}", 0, "GET", "2020-06-01", what, path, str(recorded), str(not recorded))


def test_a_year_explains_its_property_before_its_day_and_no_other() -> None:
    row = Year(r"properties\.new:string", "2020-01-01", "2018-01-01")
    assert row.covers(_difference("2019-12-31", "properties.new:string", False))
    assert row.covers(_difference("2019-12-31", "value[].properties.new:string", False))
    assert not row.covers(_difference("2020-01-01", "properties.new:string", False))
    assert not row.covers(_difference("2019-12-31", "properties.new:number", False))
    assert not row.covers(_difference("2019-12-31", "properties.new:string", False, "status"))
    assert row.covers(_difference("2017-12-31", "properties.new:string", True))
    assert not row.covers(_difference("2018-01-01", "properties.new:string", True))
    assert not Year("x", "2020-01-01").covers(_difference("2000-01-01", "x", True))


def test_an_exception_covers_what_matches_all_its_patterns_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED["sets without a tier"][0](monkeypatch)
    runs = replay(HANDMADE)
    row = Accepted("", r"handmade .*", ".*", "shape", "sku.tier:string", "True", "False", 0)
    judged = judge(runs, (), (row,))
    assert not judged.differing
    (count,) = judged.accepted
    assert count == len(judge(runs, (), ()).differing) > 3
    assert sum(each.excepted - each.by_year for each in judged.rows.values()) == count, "one a body"
    for narrower in (row._replace(kind="PATCH"), row._replace(recording=r".*found.*"), row._replace(recorded="False")):
        assert judge(runs, (), (narrower,)).differing
    assert judge(runs, (), (row._replace(what="header"),)).accepted == (0,)


def test_rows_say_why_and_are_no_blank_cheques() -> None:
    for row in ACCEPTED:
        assert re.match(
            r"(given|recorder|service of|not modelled|missing starting state|undocumented|unexplained|unknown|spelling|the service)",
            row.reason,
        ), row
        assert row.count > 0
        assert (row.recording, row.kind) != (".*", ".*"), row
        assert row.path != ".*" or row.recording != ".*" or row.recorded != ".*", row
    for year in YEARS:
        assert year.count > 0
        assert year.since or year.until
        assert not year.path.startswith(".*")


# -- The reader ---------------------------------------------------------------------------------------------------------


def test_the_shape_of_a_body() -> None:
    body = {
        "a": 1,
        "b": [{"c": "x"}, {"d": True}],
        "e": [],
        "f": {},
        "g": None,
        "ids": {"/Subscriptions/X": {"h": 1.5}},
        "i": ["x", "y"],
    }
    assert shape(body) == {
        *("{}", "a:number", "b[]", "b[]", "b[].c:string", "b[].d:boolean", "e[]", "f", "g:null"),
        *("b[]", "ids", "ids./subscriptions/x", "ids./subscriptions/x.h:number", "i[]", "i[]:string"),
    }
    assert shape(None) == frozenset()
    assert shape("text") == {":string"}


SET = "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/web"


@pytest.mark.parametrize(
    ("method", "rest", "status", "kind"),
    [
        ("PUT", "?x", 201, "PUT (create)"),
        ("PUT", "?x", 200, "PUT"),
        ("GET", "/virtualmachines/3/instanceView?x", 200, "GET virtualMachines/{id}/instanceView"),
        ("POST", "/virtualMachines/3/poweroff", 202, "POST virtualMachines/{id}/powerOff"),
        ("PUT", "/extensions/hello?x", 201, "PUT extensions/{id}"),
        ("GET", "/virtualMachines/1/runCommands/mine", 200, "GET virtualMachines/{id}/runCommands/{id}"),
        ("GET", "/rollingupgrades/LATEST", 200, "GET rollingUpgrades/latest"),
    ],
)
def test_kinds_of_requests(method: str, rest: str, status: int, kind: str) -> None:
    assert kind_of({"method": method, "url": SET + rest, "status": str(status)}) == kind


def test_kinds_of_lists_and_looks() -> None:
    place = "https://management.azure.com/subscriptions/s"
    look = f"{place}/providers/Microsoft.Compute/locations/westus/operations/0aa1-2?api-version=1"
    assert kind_of({"method": "GET", "url": look, "status": 200}) == "GET operation"
    assert kind_of({"method": "GET", "url": look + "&monitor=true", "status": 200}) == "GET operation, Location"
    sets = "/providers/Microsoft.Compute/virtualMachineScaleSets"
    assert kind_of({"method": "GET", "url": place + sets, "status": 200}) == "GET list of a subscription"
    assert kind_of({"method": "GET", "url": f"{place}/resourceGroups/g{sets}", "status": 200}) == "GET list of a group"


def _sent(method: str, rest: str, status: int, request: Any, answer: Any) -> Any:
    one = {
        "method": method,
        "url": SET + rest,
        "request_body": request,
        "status": str(status),
        "headers": {"date": "Mon, 02 Jan 2023 12:00:00 GMT"},
        "response_body": answer,
    }
    return read_requests({"exchanges": [one]}).sent[0]


def test_bodies_that_were_not_kept() -> None:
    assert body_of(_sent("POST", "/manualupgrade", 202, "", "")) == {"instanceIds": ["*"]}
    assert body_of(_sent("POST", "/restart", 202, "", "")) is None
    assert body_of(_sent("PUT", "", 200, "", {"sku": {}})) == {"sku": {}}
    assert body_of(_sent("PUT", "", 200, '{"a": 1}', {"sku": {}})) == {"a": 1}
    with pytest.raises(LookupError):
        body_of(_sent("PUT", "", 400, "", {"error": {}}))


def test_what_a_policy_adds_on_the_way() -> None:
    monitoring = {"name": "m", "properties": {"publisher": "Microsoft.Azure.Geneva"}}
    mine = {"name": "mine", "properties": {"publisher": "Contoso"}}
    profile = {"extensionProfile": {"extensions": [mine, monitoring]}}
    answer = {
        "tags": {"azsecpack": "x", "a": "b"},
        "identity": {"type": "UserAssigned"},
        "properties": {"virtualMachineProfile": profile},
    }
    body = body_of(_sent("PUT", "", 201, {"tags": {"a": "b"}}, answer))
    assert body["tags"] == {"a": "b", "azsecpack": "x"}
    assert body["identity"] == {"type": "UserAssigned"}
    assert body["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"] == [monitoring], "not our own"
    assert body_of(_sent("PUT", "", 200, {"sku": {"capacity": 2}}, {"sku": {}, "tags": {"a": "b"}})) == {
        "sku": {"capacity": 2}
    }


# -- The recordings -----------------------------------------------------------------------------------------------------


@functools.cache
def _recorded() -> tuple[list[Run], Judged]:
    runs = replay()
    return runs, judge(runs)


@recordings
def test_everything_in_the_recordings_is_alike_or_explained() -> None:
    _, judged = _recorded()
    assert not [f"{one.recording} {one.index} {one.kind} {one.what} {one.path}" for one in judged.differing]
    assert sum(row.requests for row in judged.rows.values()) > 20_000


@recordings
def test_years_and_exceptions_cover_what_they_say() -> None:
    _, judged = _recorded()
    assert dict(zip(YEARS, judged.years, strict=True)) == {row: row.count for row in YEARS}
    assert dict(zip(ACCEPTED, judged.accepted, strict=True)) == {row: row.count for row in ACCEPTED}


@recordings
def test_every_request_about_a_set_is_sent_but_for_a_few() -> None:
    _, judged = _recorded()
    recorded = sum(len(recording["exchanges"]) for recording in read())
    sent = sum(row.requests for row in judged.rows.values())
    assert sent + judged.skipped.total() == recorded
    assert sent / recorded > 0.97


@recordings
def test_the_page_is_what_is_found() -> None:
    runs, judged = _recorded()
    assert agreement(runs, judged) in PAGE.read_text(encoding="utf-8")


def test_the_page_lists_years_and_exceptions_as_they_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(TOP)
    assert listed() in text
    assert json.dumps(text).isascii()
