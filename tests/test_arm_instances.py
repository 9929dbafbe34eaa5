"""What is asked of one instance alone: its extensions, its data disks, its console; and what is asked of nothing there is."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from tests.arm_site import Client, config
from vmss_sim.arm import documents, resources
from vmss_sim.arm.routes import ROUTES

SCRIPT = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
AGENT = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent", "typeHandlerVersion": "1.0"}
HEALTH = "HealthExtension"
"""What the model of every small set has."""
VM = "/virtualMachines/0"


def of_mode(flexible: bool, instances: int = 2) -> Client:
    made = config(instances, flexible=flexible)
    if flexible:
        machines = [
            msgspec.structs.replace(one, id=f"web_{n}", update_domain=None) for n, one in enumerate(made.machines)
        ]
        made = msgspec.structs.replace(made, machines=tuple(machines))
    return Client(made)


def with_model_extension() -> Client:
    client = Client(config(2))
    client.do("PUT", "/extensions/agent", {"properties": AGENT})
    client.do("POST", "/manualupgrade", {"instanceIds": ["*"]})
    return client


def names(client: Client, path: str = VM) -> list[str]:
    listed = [one["name"] for one in client.ask("GET", f"{path}/extensions").body["value"]]
    document = client.ask("GET", path, **{"$expand": "instanceView"}).body
    assert listed == [one["name"] for one in document.get("resources", [])]
    assert listed == [one["name"] for one in document["properties"]["instanceView"].get("extensions", [])]
    return listed


# -- extensions ------------------------------------------------------------------------------------------------------


def test_an_instance_has_its_models_extensions_as_resources() -> None:
    client = with_model_extension()
    listed = client.ask("GET", f"{VM}/extensions").body["value"][-1]
    assert listed == client.ask("GET", f"{VM}/extensions/AGENT").body
    assert listed == {
        "name": "agent",
        "id": f"{client.set}/virtualMachines/0/extensions/agent",
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/extensions",
        "location": "westeurope",
        "properties": {**AGENT, "provisioningState": "Succeeded"},
    }
    missing = client.ask("GET", f"{VM}/extensions/other")
    assert (missing.status, missing.body["error"]["code"]) == (404, "NotFound")
    assert client.ask("GET", "/virtualMachines/7/extensions").status == 404


@pytest.mark.parametrize(("flexible", "machine"), [(False, False), (True, False), (True, True)])
def test_one_is_put_changed_and_taken_off(flexible: bool, machine: bool) -> None:
    client = of_mode(flexible)
    name = next(iter(client.one.world.vms))
    path = f"/virtualMachines/{name}"
    if machine:
        path = f"{client.group}/providers/{documents.MACHINE_TYPE}/{name}"
    put = client.ask("PUT", f"{path}/extensions/script", {"location": "westeurope", "properties": SCRIPT})
    assert (put.status, put.body["properties"]["provisioningState"]) == (201, "Creating")
    assert "azure-asyncoperation" in put.headers and "location" not in put.headers
    assert client.wait(put)["status"] == "Succeeded"
    kind = documents.MACHINE_TYPE if machine else documents.VM_TYPE
    assert client.ask("GET", f"{path}/extensions/script").body["type"] == f"{kind}/extensions"
    patch = client.ask("PATCH", f"{path}/extensions/script", {"properties": {"settings": {"a": 1}}})
    assert patch.status == 200
    client.wait(patch)
    kept = client.ask("GET", f"{path}/extensions/script").body["properties"]
    assert kept == {**SCRIPT, "settings": {"a": 1}, "provisioningState": "Succeeded"}
    assert client.ask("PATCH", f"{path}/extensions/other", {"properties": {}}).status == 404
    gone = client.ask("DELETE", f"{path}/extensions/script")
    assert gone.status == 202 and {"location", "azure-asyncoperation"} <= set(gone.headers)
    client.wait(gone)
    assert [one["name"] for one in client.ask("GET", f"{path}/extensions").body["value"]] == [HEALTH]
    assert client.ask("DELETE", f"{path}/extensions/script").status == 204


def test_what_is_put_on_one_instance_shows_there_alone_and_does_not_take_it_down() -> None:
    client = with_model_extension()
    before = sorted(client.one.outages(), key=str)
    client.do("PUT", f"{VM}/extensions/script", {"properties": SCRIPT})
    assert names(client) == [HEALTH, "agent", "script"]
    assert names(client, "/virtualMachines/1") == [HEALTH, "agent"]
    assert [one["name"] for one in client.ask("GET", "/extensions").body["value"]] == [HEALTH, "agent"]
    assert client.instance("0")["properties"]["latestModelApplied"]
    assert sorted(client.one.outages(), key=str) == before


def test_with_its_view_where_that_is_asked_for() -> None:
    client = with_model_extension()
    told = client.ask("GET", f"{VM}/extensions/agent", **{"$expand": "instanceView"}).body["properties"]["instanceView"]
    listed = client.ask("GET", f"{VM}/extensions", **{"$expand": "instanceView"}).body["value"]
    whole = client.ask("GET", f"{VM}/instanceView").body["extensions"]
    assert [one["properties"]["instanceView"] for one in listed] == whole
    assert told == whole[-1]
    assert "instanceView" not in client.ask("GET", f"{VM}/extensions/agent").body["properties"]


def test_it_stands_on_the_os_disk() -> None:
    client = with_model_extension()
    client.do("PUT", f"{VM}/extensions/script", {"properties": SCRIPT})
    client.do("DELETE", f"{VM}/extensions/agent")
    assert names(client) == [HEALTH, "script"]
    client.do("POST", f"{VM}/restart")
    assert names(client) == [HEALTH, "script"]
    client.do("POST", f"{VM}/reimage")
    assert names(client) == [HEALTH, "agent"]


def test_no_protected_setting_comes_back() -> None:
    client = with_model_extension()
    put = client.ask("PUT", f"{VM}/extensions/s", {"properties": {**SCRIPT, "protectedSettings": {"key": "hunter2"}}})
    client.wait(put)
    seen = [put, client.ask("GET", f"{VM}/extensions/s"), client.ask("GET", VM), client.ask("GET", f"{VM}/extensions")]
    assert b"hunter2" not in msgspec.json.encode([one.body for one in seen])
    assert "protectedSettings" not in put.body["properties"]


# -- disks -----------------------------------------------------------------------------------------------------------


def _disk(name: str) -> str:
    return f"/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/disks/{name}"


def luns(client: Client) -> dict[str, int]:
    shown = client.instance("0")["properties"]["storageProfile"]["dataDisks"]
    return {one["name"]: one["lun"] for one in shown}


def test_data_disks_come_and_go() -> None:
    client = Client(config(2))
    model = {"dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 8}]}
    client.do("PATCH", "", {"properties": {"virtualMachineProfile": {"storageProfile": model}}})
    client.do("POST", "/manualupgrade", {"instanceIds": ["*"]})
    come = [{"diskId": _disk("b"), "lun": 5, "caching": "readonly"}, {"diskId": _disk("a")}]
    answer = client.ask("POST", f"{VM}/attachDetachDataDisks", {"DataDisksToAttach": come})
    assert (answer.status, answer.body) == (202, None)
    client.wait(answer)
    told = client.follow(answer.headers["location"])
    assert (told.status, told.body) == (200, client.instance("0")["properties"]["storageProfile"])
    assert luns(client) == {"web_0_disk0": 0, "b": 5, "a": 1}
    added = client.instance("0")["properties"]["storageProfile"]["dataDisks"][1]
    assert (added["createOption"], added["caching"]) == ("Attach", "ReadOnly")
    assert added["managedDisk"]["id"] == _disk("b")
    own = client.instance("0")["properties"]["storageProfile"]["dataDisks"][0]["managedDisk"]["id"]
    body = {"dataDisksToDetach": [{"diskId": own.upper()}], "dataDisksToAttach": [{"diskId": _disk("c"), "lun": 0}]}
    client.do("POST", f"{VM}/attachDetachDataDisks", body)
    assert luns(client) == {"b": 5, "a": 1, "c": 0}
    other = client.instance("1")["properties"]["storageProfile"]["dataDisks"]
    assert [one["name"] for one in other] == ["web_1_disk0"]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({}, "InvalidParameter", "Required parameter 'dataDisksToAttach' is missing (null)."),
        ({"dataDisksToAttach": [{"lun": 1}]}, "InvalidParameter", "Required parameter 'dataDisksToAttach.diskId' is missing (null)."),
        ({"dataDisksToAttach": [{"diskId": "x", "lun": 5}]}, "InvalidParameter", "A disk at LUN 5 already exists."),
        ({"dataDisksToAttach": [{"diskId": "x", "lun": 64}]}, "InvalidParameter", "The value of parameter dataDisk.lun is invalid."),
        ({"dataDisksToAttach": [{"diskId": _disk("A")}]}, "InvalidParameter", "The value of parameter dataDisksToAttach.diskId is invalid."),
        ({"dataDisksToDetach": [{"diskId": "x"}]}, "InvalidParameter", "The value of parameter dataDisksToDetach.diskId is invalid."),
    ],
)  # fmt: skip
def test_disks_that_cannot_come_or_go(body: dict[str, Any], code: str, message: str) -> None:
    client = Client(config(1))
    client.do("POST", f"{VM}/attachDetachDataDisks", {"dataDisksToAttach": [{"diskId": _disk("a"), "lun": 5}]})
    answer = client.ask("POST", f"{VM}/attachDetachDataDisks", body)
    assert (answer.status, answer.body["error"]["code"], answer.body["error"]["message"]) == (400, code, message)
    assert luns(client) == {"a": 5}


# -- the console -----------------------------------------------------------------------------------------------------


def test_the_console_is_nowhere_and_says_so() -> None:
    client = Client(config(1))
    assert client.ask("POST", f"{VM}/retrieveBootDiagnosticsData").body["error"]["code"] == "OperationNotAllowed"
    profile = {"diagnosticsProfile": {"bootDiagnostics": {"enabled": True}}}
    client.do("PATCH", "", {"properties": {"virtualMachineProfile": profile}})
    client.do("POST", "/manualupgrade", {"instanceIds": ["*"]})
    answer = client.ask("POST", f"{VM}/retrieveBootDiagnosticsData", sasuriexpirationtimeinminutes="60")
    assert answer.status == 200
    assert set(answer.body) == {"consoleScreenshotBlobUri", "serialConsoleLogBlobUri"}
    assert all(uri.startswith("https://bootdiagnostics.vmss-sim.invalid/") for uri in answer.body.values())
    for wrong in ("0", "1441", "x", ""):
        refused = client.ask("POST", f"{VM}/retrieveBootDiagnosticsData", sasuriexpirationtimeinminutes=wrong or "-")
        assert (refused.status, refused.body["error"]["code"]) == (400, "InvalidParameter")


# -- what there is not -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/foo", "/foo/bar", f"{VM}/foo", f"{VM}/foo/bar", f"{VM}/extensions/a/b"])
def test_unknown_children_are_404(method: str, path: str) -> None:
    client = Client(config(1), others=resources.answer)
    answer = client.ask(method, path, None if method == "GET" else {})
    assert answer.status == 404
    error = answer.body["error"]
    assert error["code"] in ("InvalidResourceType", "ResourceNotFound")
    assert "virtualMachineScaleSets" in error["message"]


@pytest.mark.parametrize("path", ["/publicipaddresses", f"{VM}/ipConfigurations", "/lifecycleHookEvents"])
def test_what_may_be_there_and_is_not_is_an_empty_list(path: str) -> None:
    client = Client(config(1), others=resources.answer)
    assert client.ask("GET", path).body == {"value": []}
    assert client.ask("POST", path, {}).status == 404


def test_every_route_of_one_instance_is_there_for_the_vm_of_a_flexible_set_too() -> None:
    under = {(one.method, one.path.rpartition("{vm}")[2]) for one in ROUTES if "/virtualMachines/{vm}/" in one.path}
    alone = {
        (one.method, one.path.rpartition("{vm}")[2])
        for one in ROUTES
        if "/virtualMachines/{vm}/" in one.path and "{set}" not in one.path
    }
    assert under - alone == {("POST", "/performMaintenance")}


# -- who it is -------------------------------------------------------------------------------------------------------


def test_a_vm_that_is_created_has_a_guid_that_stays_and_is_nobody_elses() -> None:
    def ids(client: Client) -> dict[str, str]:
        listed = client.ask("GET", "/virtualMachines").body["value"]
        return {one["instanceId"]: one["properties"]["vmId"] for one in listed}

    client = Client(config(2))
    first = ids(client)
    client.do("PATCH", "", {"sku": {"capacity": 4}})
    grown = ids(client)
    assert {name: grown[name] for name in first} == first
    assert all(str(uuid.UUID(grown[name])) == grown[name] for name in grown.keys() - first.keys())
    client.do("POST", "/virtualMachines/3/reimage")
    assert ids(client) == grown
    client.do("DELETE", "/virtualMachines/3")
    client.do("PATCH", "", {"sku": {"capacity": 4}})
    assert len({*grown.values(), *ids(client).values()}) == 5
    again = Client(config(2))
    again.do("PATCH", "", {"sku": {"capacity": 4}})
    assert ids(again) == grown
