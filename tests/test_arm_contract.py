"""The endpoint's answers fit Azure's own description of them, by every validator there is; and the validators see what does not fit.

Microsoft's validator needs Node and is run where `make .clients/oav` has installed it; the others need nothing but the specifications.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests import world_choices as choices
from tests.arm_shown import put
from tests.arm_site import Client
from tests.contract import bicep, conversations, exceptions, findings, oav, openapi, ours, recorded
from tests.contract.findings import ABSENT, OPENAPI, Exchange
from tests.contract.judge import Validator, judged
from tests.small_worlds import ask, at, new_version, small
from tests.world_value import played
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.trace import Trace

pytestmark = pytest.mark.skipif(not OPENAPI.exists(), reason=ABSENT)
with_recordings = pytest.mark.skipif(not recorded.SHARED.exists(), reason=recorded.ABSENT)
VALIDATORS = [
    pytest.param(openapi.judge, id="openapi"),
    pytest.param(oav.judge, id="oav", marks=pytest.mark.skipif(bool(oav.ready()), reason=oav.ready() or "it is there")),
]


def lives(count: int, seed: int) -> Iterator[Exchange]:
    """All that can be read of some worlds to which anything happened, in every version."""
    luck = random.Random(seed)
    for _ in range(count):
        config = choices.some_world(luck.choice)
        one = put(played(config, 3, [choices.some_action(luck.choice) for _ in range(12)]))
        for version in ours.VERSIONS:
            yield from ours.answers(one, version)


def story() -> list[Exchange]:
    """A set whose model changes, with a rollout, a failure, protection and a run-command, read before, meanwhile and after."""
    told: list[Exchange] = []
    for flexible in (False, True):
        world = small(4, zones=2, mode="rolling", flexible=flexible, health="rich")
        one = put(world)
        first = next(iter(world.vms))
        told += ours.answers(one, findings.SPEC)
        new_version(world)
        told += ours.answers(one, findings.SPEC)
        at(world, 100)
        ask(world, "protect", first, protected=True)
        ask(world, "run-command", first, run_name="patch")
        told += ours.answers(one, findings.SPEC)
        at(world, 2000)
        told += ours.answers(one, findings.SPEC)
    return told


@pytest.mark.parametrize("validator", VALIDATORS)
def test_whatever_is_read_of_any_set_fits_the_specification_and_the_newer_types(validator: Validator) -> None:
    answers = [*story(), *lives(6, 11)]
    report = judged(answers, validator)
    assert not report.unknown
    assert [str(one) for one in report.findings] == []
    assert {one.status for one in answers} == {200} and len(answers) > 500


@pytest.mark.parametrize("validator", VALIDATORS)
def test_a_whole_upgrade_driven_through_the_endpoint_fits(validator: Validator) -> None:
    said = conversations.upgrades()
    report = judged(said, validator)
    assert [str(one) for one in report.findings] == []
    assert {said[line - 1].path.split("/")[-2] for line, _ in report.unknown} == {"operations"}
    told = {one.status for one in said}
    assert {200, 201, 202, 204, 400, 404, 409, 412} <= told and max(told) < 500
    assert b"hunter2" not in b"".join(msgspec.json.encode(one.body) for one in said)


@pytest.mark.parametrize("validator", VALIDATORS)
@with_recordings
def test_real_azure_fits_it_too(validator: Validator) -> None:
    report = judged(recorded.exchanges(), validator)
    assert [str(one) for one in report.findings] == []
    assert report.judged > 400
    of_sets = re.compile("virtualMachineScaleSets", re.I)
    assert not [why for line, why in report.unknown if of_sets.search(recorded.exchanges()[line - 1].url)]
    told = {name for name, _ in report.excepted}
    assert told == {"location under $select", "resilientVMDeletionStatus", "wireServer", "manuallyManaged"}


@with_recordings
@pytest.mark.skipif(bool(oav.ready()), reason=oav.ready() or "it is there")
def test_the_validator_without_node_finds_what_microsofts_finds() -> None:
    answers = [*recorded.exchanges(), *(known.sample for known in exceptions.ALL), *(bad for _, _, bad in planted())]
    seen: dict[str, set[tuple[int, str]]] = {}
    for name, judge in (("oav", oav.judge), ("openapi", openapi.judge)):
        found, _ = judge(answers)
        seen[name] = {(one.line, one.code) for one in found if one.code != "MISSING_RESOURCE_ID"}
    null_zone = [line for line, one in enumerate(answers, 1) if b'"zones":[null]' in msgspec.json.encode(one.body)]
    assert seen["oav"] == {each for each in seen["openapi"] if each[0] not in null_zone}  # null passes there
    assert len(null_zone) == 1


Break = Callable[[dict[str, Any]], None]


def _set(*path: str | int, value: Any) -> Break:
    """Puts a value at a place."""

    def change(body: dict[str, Any]) -> None:
        place: Any = body
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


BREAKS: dict[str, tuple[str, Break]] = {
    "a capacity that is text": ("INVALID_TYPE", _set("sku", "capacity", value="4")),
    "a flag that is a number": ("INVALID_TYPE", _set("properties", "singlePlacementGroup", value=1)),
    "a list that is none": ("INVALID_TYPE", _set("zones", value="1")),
    "a mode that is none": ("ENUM_MISMATCH", _set("properties", "upgradePolicy", "mode", value="Sometimes")),
    "a property of our own": ("OBJECT_ADDITIONAL_PROPERTIES", _set("properties", "mood", value="good")),
    "one deep inside": (
        "OBJECT_ADDITIONAL_PROPERTIES",
        _set("properties", "virtualMachineProfile", "storageProfile", "osDisk", "colour", value="red"),
    ),
    "no location": ("OBJECT_MISSING_REQUIRED_PROPERTY", lambda body: body.pop("location")),
}


def planted() -> list[tuple[str, str, Exchange]]:
    """(what is wrong, the code it has, the answer) for every fault planted in a good answer."""
    one = put(small(4, zones=2))
    good = next(ours.answers(one, findings.SPEC))
    made = []
    for name, (code, change) in BREAKS.items():
        body = msgspec.json.decode(msgspec.json.encode(good.body))
        change(body)
        made.append((name, code, msgspec.structs.replace(good, body=body)))
    made.append(("a status nobody declared", "INVALID_RESPONSE_CODE", msgspec.structs.replace(good, status=203)))
    failed = msgspec.structs.replace(good, status=409, body={"error": {"code": 409, "message": "Conflict"}})
    made.append(("an error whose code is a number", "INVALID_TYPE", failed))
    return made


@pytest.mark.parametrize("validator", VALIDATORS)
def test_what_does_not_fit_is_found(validator: Validator) -> None:
    wrong = planted()
    found: dict[int, set[str]] = {}
    for one in judged([answer for _, _, answer in wrong], validator).findings:
        found.setdefault(one.line, set()).add(one.code)
    assert found == {line: {code} for line, (_, code, _) in enumerate(wrong, 1)}, [name for name, _, _ in wrong]


@pytest.mark.parametrize("name", list(BREAKS))
def test_and_by_the_newer_types(name: str) -> None:
    code, answer = next((code, answer) for each, code, answer in planted() if each == name)
    newer = msgspec.structs.replace(answer, url=answer.url.replace(findings.SPEC, findings.NEWEST))
    assert code in {one.code for one in bicep.judge([newer])}
    assert code in {one.code for one in judged([newer]).findings}


def test_a_secret_in_an_answer_is_found_by_the_newer_types() -> None:
    one = put(small(1))
    good = next(ours.answers(one, findings.NEWEST))
    good.body["properties"]["virtualMachineProfile"]["osProfile"]["adminPassword"] = "hunter2"
    assert [each.code for each in judged([good]).findings] == ["WRITEONLY_PROPERTY_NOT_ALLOWED_IN_RESPONSE"]


def test_what_is_newer_than_the_specification_is_no_fault_in_a_newer_version_only() -> None:
    one = put(small(1))
    for version, found in ((findings.SPEC, ["OBJECT_ADDITIONAL_PROPERTIES"]), (findings.NEWEST, [])):
        good = next(ours.answers(one, version))
        good.body["properties"]["externalHealthPolicy"] = {"enabled": True}
        assert [each.code for each in judged([good]).findings] == found


@pytest.mark.parametrize("validator", VALIDATORS)
def test_every_exception_is_needed(validator: Validator) -> None:
    report = judged([known.sample for known in exceptions.ALL], validator)
    assert report.findings == ()
    mine = "oav" if validator is oav.judge else "openapi"
    needed = {(one.line, name) for name, one in report.excepted}
    for line, known in enumerate(exceptions.ALL, 1):
        if mine in known.validators or "types" in known.validators:
            assert (line, known.name) in needed, known.name


@pytest.mark.parametrize("known", exceptions.ALL, ids=lambda known: known.name)
def test_an_exception_explains_nothing_else(known: exceptions.Known) -> None:
    finding = findings.Finding(1, known.validators[0], known.code, "", "", known.sample)
    at = next(one.at for one in judged([known.sample]).excepted_by(known.name)) if known.validators != ("oav",) else "/"
    finding = finding._replace(at=at)
    assert known.explains(finding)
    disks = known.sample.url.replace("virtualMachineScaleSets", "disks")
    assert not known.explains(finding._replace(exchange=msgspec.structs.replace(known.sample, url=disks)))
    assert not known.explains(finding._replace(at=at + "/more"))
    assert not known.explains(finding._replace(code="INVALID_SOMETHING"))
    assert not known.explains(finding._replace(validator="another"))
    for version, inside in (
        (known.until, True),
        ("2031-01-01", known.until == "9999"),
        ("2014-01-01", not known.from_),
    ):
        other = re.sub("api-version=[^&]*", f"api-version={version}", known.sample.url)
        assert known.explains(finding._replace(exchange=msgspec.structs.replace(known.sample, url=other))) is inside


def test_a_trace_of_the_emulator_is_such_a_log(tmp_path: Path) -> None:
    client = Client()
    trace = Trace(tmp_path / "trace.jsonl")
    client.endpoint.observer = trace.exchange
    client.ask("GET")
    trace.control("publish", "2.0.0", 5)
    client.ask("PATCH", raw=b"{")
    trace.exchange(Request(method="GET", path="/"), Response(status=0), 7)
    client.do("POST", "/restart")
    trace.close()
    said = findings.read(tmp_path / "trace.jsonl")
    assert [one.status for one in said][:3] == [200, 400, 202]
    report = judged(said)
    assert report.findings == () and report.judged == 3
    assert oav.ready() or judged(said, oav.judge).findings == ()


def test_a_log_is_judged_from_the_command_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    findings.write(log, [answer for _, _, answer in planted()])
    assert [one.status for one in findings.read(log)] == [answer.status for _, _, answer in planted()]
    command = [sys.executable, "-m", "tests.contract", str(log), "--without-node"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=oav.ROOT)
    assert ran.returncode == 1, ran.stderr
    assert "line 4: GET" in ran.stdout and "ENUM_MISMATCH at /properties/upgradePolicy/mode" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "9 answers judged, 0 not described, 9 do not fit"
    findings.write(log, story())
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=oav.ROOT)
    assert ran.returncode == 0, ran.stdout
    assert "0 do not fit" in ran.stdout
    missing = subprocess.run([*command[:3], str(tmp_path / "no.jsonl"), "--without-node"], capture_output=True, check=False, cwd=oav.ROOT)  # fmt: skip
    assert missing.returncode == 2 and b"Traceback" not in missing.stderr
