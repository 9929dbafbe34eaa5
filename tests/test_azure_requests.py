"""Every request the Azure backend makes: method, path, api-version, body, headers; and no other."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest

from backends.azure.requests import FLEXIBLE_RUN_COMMAND, READS, SDK_VERSION, WRITES, nested
from backends.protocol import Wait
from planner.commands import Kind
from planner.errors import PlannerBug
from tests.azure_arm import COMMANDS, DONE, NEW, SECRET, SET, Arm, Told, backend, command, error, listening

EXPECTED: dict[Kind, tuple[tuple[str, str, Any], ...]] = {
    Kind.SET_MODE: (("PATCH", "", {"properties": {"upgradePolicy": {"mode": "Manual"}}}),),
    Kind.SUSPEND_REPAIRS: (
        ("POST", "/setOrchestrationServiceState", {"serviceName": "AutomaticRepairs", "action": "Suspend"}),
    ),
    Kind.RESUME_REPAIRS: (
        ("POST", "/setOrchestrationServiceState", {"serviceName": "AutomaticRepairs", "action": "Resume"}),
    ),
    Kind.UPDATE_MODEL: (
        (
            "PATCH",
            "",
            {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": NEW}}}}},
        ),
    ),
    Kind.UPGRADE: (("POST", "/manualupgrade", {"instanceIds": ["0", "2"]}),),
    Kind.REIMAGE: (("POST", "/reimage", {"instanceIds": ["1"], "exactVersion": NEW}),),
    Kind.RESTART: (("POST", "/restart", {"instanceIds": ["1"]}),),
    Kind.RUN_COMMAND: tuple(
        (
            "PUT",
            f"/virtualMachines/{vm}/runCommands/vmss-sim-1",
            {
                "location": "westeurope",
                "properties": {
                    "source": {"script": "echo done"},
                    "asyncExecution": False,
                    "treatFailureAsDeploymentFailure": True,
                },
            },
        )
        for vm in "01"
    ),
    Kind.DELETE: (("POST", "/delete", {"instanceIds": ["2"]}),),
    Kind.SET_CAPACITY: (("PATCH", "", {"sku": {"capacity": 4}}),),
    Kind.START_OS_UPGRADE: (("POST", "/osRollingUpgrade", None),),
    Kind.CANCEL_ROLLING: (("POST", "/rollingUpgrades/cancel", None),),
}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_a_command_is_this_request(kind: Kind) -> None:
    """Method, path, query, body and headers; sent once; and its outcome comes when its operation has ended."""
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        for number, (method, path, _) in enumerate(EXPECTED[kind]):
            arm.accept(path.lstrip("/"), DONE, method=method, number=f"op-{number}")
        handle = place.submit(COMMANDS[kind])
        assert [(call.method, call.path.removeprefix(SET), call.body) for call in arm.sent] == list(EXPECTED[kind])
        for call in arm.sent:
            assert call.query == {"api-version": SDK_VERSION}
            assert call.headers["authorization"] == f"Bearer {SECRET}"
            assert call.headers["accept"] == "application/json" or call.body is None or call.method == "POST"
            if call.body is not None:
                assert call.headers["content-type"] == "application/json"
            matched = call.headers.get("if-match")
            assert matched == ('"3"' if call.method == "PATCH" else None)
            assert call.headers["user-agent"].startswith("vmss-sim")
        assert handle and SECRET not in handle
        assert place.wait(Wait(until_ms=None))
        (outcome,) = place.observe().outcomes
        assert (outcome.command, outcome.status.value, outcome.code) == ("c1", "succeeded", "")


def test_every_kind_of_command_has_a_row() -> None:
    assert set(WRITES) == set(Kind) == set(EXPECTED) == set(COMMANDS)


def test_an_ephemeral_disk_is_told_to_change() -> None:
    with listening(Arm()) as arm:
        disk = arm.set["properties"]["virtualMachineProfile"]["storageProfile"]["osDisk"]
        disk["diffDiskSettings"] = {"option": "Local"}
        place = backend()
        place.observe()
        arm.accept("reimage", DONE)
        place.submit(COMMANDS[Kind.REIMAGE])
        assert arm.sent[0].body["forceUpdateOSDiskForEphemeral"] is True


def test_what_names_no_instances_is_not_sent() -> None:
    """To Azure no ids, and `*`, mean all of them."""
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        for kind in (Kind.UPGRADE, Kind.REIMAGE, Kind.RESTART, Kind.DELETE):
            for ids in ((), ("*",), ("0", "*")):
                with pytest.raises(PlannerBug, match="names no instances"):
                    place.submit(command(kind, *ids))
        assert not arm.sent


def test_the_api_version_is_the_sdk_s_own() -> None:
    """The tables say what the SDK at hand sends."""
    from azure.mgmt.compute import operations

    source = inspect.getsource(operations._operations)  # type: ignore[attr-defined]
    for row in (*WRITES.values(), FLEXIBLE_RUN_COMMAND, *READS.values()):
        if not row.operation:
            continue
        group, _, method = row.operation.partition(".")
        built = f"build_{group}_{method.removeprefix('begin_')}_request"
        text = re.search(rf"^def {built}\(.*?(?=^def )", source, re.S | re.M)
        assert text is not None, built
        version = (
            READS[next(name for name, one in READS.items() if one is row)].version
            if row in READS.values()
            else SDK_VERSION
        )
        assert f'"api-version", "{version}"' in text[0], built


def test_a_patch_of_paths_is_a_document() -> None:
    assert nested({}) == {}
    assert nested({"sku.name": "a", "sku.tier": "b", "properties.overprovision": None}) == {
        "sku": {"name": "a", "tier": "b"},
        "properties": {"overprovision": None},
    }
    assert nested({"tags.a.b": "c"}) == {"tags": {"a.b": "c"}}


def test_null_is_sent_as_null() -> None:
    """Taking a property back that was not there: the SDK must not drop it."""
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        arm.accept("", DONE, method="PATCH")
        place.submit(command(Kind.UPDATE_MODEL, patch={"properties.scaleInPolicy": None}))
        assert arm.sent[0].body == {"properties": {"scaleInPolicy": None}}


def test_an_operation_s_address_is_opaque() -> None:
    """4 to 5 kB with a signature: asked as it was given, byte by byte."""
    signed = (
        "https://management.azure.com/subscriptions/x/providers/Microsoft.Compute/locations/westeurope/operations/op?p=1"
        "&api-version=2026-04-01&t=638999&c=" + "MIIHhzCCBm-gAwIBAgITfAl" * 200 + "&s=a_-B%2Bc%2F%3D&h=x~y"
    )
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        arm.tell("POST", "restart", Told(202, None, {"Azure-AsyncOperation": signed}))
        arm.tell("GET", "/subscriptions/x/providers/Microsoft.Compute/locations/westeurope/operations/op", DONE)
        handle = place.submit(COMMANDS[Kind.RESTART])
        assert json.loads(handle)["parts"][0]["url"] == signed
        place.wait(Wait(until_ms=None))
        assert arm.calls[-1].url == signed


def test_looking_reads_every_page_and_nothing_else() -> None:
    with listening(Arm(5)) as arm:
        arm.page = 2
        seen = backend().observe()
        assert list(seen.scale_set.instances) == ["0", "1", "2", "3", "4"]
        assert [(call.method, call.path.removeprefix(SET)) for call in arm.calls] == [("GET", "")] + [
            ("GET", "/virtualMachines")
        ] * 3
        assert arm.calls[1].query == {"api-version": SDK_VERSION, "$expand": "instanceView"}
        assert "$skiptoken" in arm.calls[2].query


def test_a_flexible_set_s_instances_are_plain_vms() -> None:
    with listening(Arm(orchestrationMode="Flexible")) as arm:
        vms = SET.rpartition("/virtualMachineScaleSets")[0] + "/virtualMachines"
        one = {
            "name": "web_0a1b2c3d",
            "id": f"{vms}/web_0a1b2c3d",
            "type": "Microsoft.Compute/virtualMachines",
            "properties": {"vmId": "v", "virtualMachineScaleSet": {"id": SET}, "provisioningState": "Succeeded"},
        }
        arm.tell("GET", vms, Told(body={"value": [one]}))
        assert list(backend().observe().scale_set.instances) == ["web_0a1b2c3d"]
        assert arm.calls[-1].query == {
            "api-version": SDK_VERSION,
            "$filter": f"'virtualMachineScaleSet/id' eq '{SET}'",
            "$expand": "instanceView",
        }


def test_a_flexible_guest_patch_goes_to_the_vm() -> None:
    with listening(Arm(orchestrationMode="Flexible")) as arm:
        vms = SET.rpartition("/virtualMachineScaleSets")[0] + "/virtualMachines"
        arm.tell("GET", vms, Told(body={"value": []}))
        place = backend()
        place.observe()
        path = f"{vms}/web_1/runCommands/vmss-sim-1"
        arm.tell("PUT", path, error(409, "Conflict"))
        place.submit(command(Kind.RUN_COMMAND, "web_1", script="x", name="vmss-sim-1"))
        assert [(call.method, call.path) for call in arm.sent] == [("PUT", path)]
