"""Sets that clients create and delete, their extensions, run-commands, and the VMs of Flexible sets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.arm_site import Client, config
from tests.test_arm_changes import EXTENSION
from vmss_sim.arm.wire import moment
from vmss_sim.world.config import Machine, Platform
from vmss_sim.world.faults import Fault

SETS = "/providers/Microsoft.Compute/virtualMachineScaleSets"
IMAGE = {"publisher": "Canonical", "offer": "ubuntu", "sku": "22_04-lts", "version": "latest"}


def _body(capacity: int = 3, **properties: Any) -> dict[str, Any]:
    return {
        "location": "westeurope",
        "sku": {"name": "Standard_D2s_v5", "capacity": capacity},
        "properties": {
            "upgradePolicy": {"mode": "Manual"},
            "virtualMachineProfile": {
                "osProfile": {"computerNamePrefix": "new", "adminUsername": "me", "adminPassword": "hunter2"},
                "storageProfile": {"imageReference": IMAGE, "osDisk": {"createOption": "FromImage"}},
                "networkProfile": {
                    "networkInterfaceConfigurations": [{"name": "nic", "properties": {"primary": True}}]
                },
            },
            **properties,
        },
    }


@pytest.mark.parametrize("capacity", [0, 2])
@pytest.mark.parametrize("flexible", [False, True])
def test_vms_that_come_later_are_nobody_elses_also_in_another_group_or_after_the_set(
    capacity: int, flexible: bool
) -> None:
    """Sets of one name, founded with the same capacity, in two groups, and one after the other: and the same again in another run."""

    def ids() -> list[str]:
        client = Client()
        found: list[str] = []
        other = client.group.rpartition("/")[0] + "/other"
        client.site.add_group(client.group.split("/")[2], "other", "westeurope")
        body = _body(capacity, **({"orchestrationMode": "Flexible", "platformFaultDomainCount": 1} if flexible else {}))
        for group in (client.group, other, other):
            path = f"{group}{SETS}/twin"
            client.do("PUT", path, body)
            client.do("PATCH", path, {"sku": {"capacity": capacity + 2}})
            (founded,) = [one for one in client.site.sets if one.id == path]
            found += [vm.vm_id for vm in founded.world.vms.values()]
            if group == other:
                client.do("DELETE", path)
        return found

    first = ids()
    assert len({*first}) == len(first) == 3 * (capacity + 2)
    assert ids() == first


def test_a_set_is_created_with_its_vms_and_deleted_with_them() -> None:
    client = Client()
    path = client.group + SETS + "/New"
    made = client.ask("PUT", path, _body())
    assert (made.status, made.body["properties"]["provisioningState"]) == (201, "Creating")
    assert "location" not in made.headers
    assert made.body["properties"]["platformFaultDomainCount"] == 5
    instances = client.ask("GET", path + "/virtualMachines").body["value"]
    assert [one["properties"]["provisioningState"] for one in instances] == ["Creating"] * 3
    assert client.wait(made)["status"] == "Succeeded"
    shown = client.ask("GET", path.upper()).body
    assert (shown["name"], shown["properties"]["provisioningState"], shown["sku"]["capacity"]) == (
        "New",
        "Succeeded",
        3,
    )
    assert "hunter2" not in repr(shown)
    listed = client.ask("GET", client.group + SETS).body["value"]
    assert [one["name"] for one in listed] == ["web", "New"]
    view = client.ask("GET", path + "/virtualMachines/2/instanceView").body
    assert (view["platformUpdateDomain"], view["platformFaultDomain"]) == (2, 2)
    gone = client.ask("DELETE", path)
    assert (gone.status, gone.body) == (202, None)
    assert client.ask("GET", path).body["properties"]["provisioningState"] == "Deleting"
    assert client.ask("PATCH", path, {"tags": {}}).status == 409
    assert client.ask("DELETE", path).headers["azure-asyncoperation"] == gone.headers["azure-asyncoperation"]
    assert client.wait(gone)["status"] == "Succeeded"
    assert client.ask("GET", path).status == 404
    assert client.follow(gone.headers["location"]).status == 200
    assert client.ask("DELETE", path).status == 204
    assert client.ask("PUT", path, _body()).status == 201


def test_who_waits_for_an_operation_of_a_set_that_is_deleted_is_told() -> None:
    client = Client(throttle=False)
    path = f"{client.group}{SETS}/new"
    made = client.ask("PUT", path, _body())
    went = client.ask("DELETE", path)
    assert client.wait(made)["error"]["code"] == "OperationPreempted"
    assert client.wait(went)["status"] == "Succeeded"
    assert not client.site.running


def test_a_creation_that_failed_is_shown_and_may_be_tried_again() -> None:
    client = Client(throttle=False)
    client.site.faults = (Fault(verdict="fail", code="VMScaleSetAllocationError"),)
    path = f"{client.group}{SETS}/new"
    assert client.wait(client.ask("PUT", path, _body()))["error"]["code"] == "VMScaleSetAllocationError"
    failed = client.ask("GET", path).body
    assert failed["properties"]["provisioningState"] == "Failed"
    assert client.ask("GET", f"{path}/virtualMachines").body["value"] == [], "nobody is being created any more"
    assert client.wait(client.ask("PUT", path, _body()))["status"] == "Succeeded"
    there = client.ask("GET", f"{path}/virtualMachines").body["value"]
    assert [one["properties"]["provisioningState"] for one in there] == ["Succeeded"] * 3
    assert client.ask("GET", path).body["properties"]["provisioningState"] == "Succeeded"


def test_a_zonal_set_stands_in_its_zones_and_a_rolling_one_may_begin_so() -> None:
    client = Client()
    body = _body(4, upgradePolicy={"mode": "Rolling"})
    body["zones"] = ["1", "2"]
    path = client.group + SETS + "/zonal"
    assert client.ask("PUT", path, body).status == 400, "nothing reports health"
    assert client.ask("GET", path).status == 404
    body["properties"]["virtualMachineProfile"]["extensionProfile"] = {"extensions": [EXTENSION]}
    client.do("PUT", path, body)
    client.clock.advance(600_000)
    instances = client.ask("GET", path + "/virtualMachines", **{"$expand": "instanceView"}).body["value"]
    assert [one["zones"] for one in instances] == [["1"], ["2"], ["1"], ["2"]]
    health = {one["properties"]["instanceView"]["vmHealth"]["status"]["code"] for one in instances}
    assert health == {"HealthState/healthy"}
    assert client.ask("GET", path).body["properties"]["platformFaultDomainCount"] == 1


def test_an_empty_set_grows() -> None:
    client = Client()
    path = client.group + SETS + "/empty"
    client.do("PUT", path, _body(0))
    client.do("PATCH", path, {"sku": {"capacity": 6}})
    views = [client.ask("GET", f"{path}/virtualMachines/{name}/instanceView").body for name in range(6)]
    assert sorted(one["platformUpdateDomain"] for one in views) == [0, 0, 1, 2, 3, 4]


def test_sets_have_luck_of_their_own_and_the_same_every_time() -> None:
    def took(client: Client, name: str) -> str:
        ended = client.do("PUT", client.group + SETS + f"/{name}", _body(5))
        return ended["endTime"]

    first, second = Client(), Client()
    assert [took(first, name) for name in "ab"] == [took(second, name) for name in "ab"]
    starts = Client(), Client()
    assert (
        took(starts[0], "a") != [starts[1].do("PUT", starts[1].group + SETS + "/x", _body(5)), took(starts[1], "a")][1]
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"location": None}, "LocationRequired"),
        ({"sku": None}, "InvalidParameter"),
        ({"sku": {"capacity": 1}}, "InvalidParameter"),
        ({"sku": {"name": "x", "capacity": 1001}}, "InvalidParameter"),
        ({"sku": {"name": "x", "capacity": "many"}}, "BadRequest"),
        ({"properties": {}}, "InvalidParameter"),
        ({"properties": {"upgradePolicy": {"mode": "Manual"}}}, "InvalidParameter"),
        ({"zones": [1, {}]}, "BadRequest"),
    ],
)
def test_what_a_new_set_needs(change: dict[str, Any], code: str) -> None:
    client = Client()
    path = client.group + SETS + "/new"
    response = client.ask("PUT", path, {**_body(), **change})
    assert (response.status, response.body["error"]["code"]) == (400, code)
    assert client.ask("GET", path).status == 404


def test_a_set_needs_a_group_and_a_name() -> None:
    client = Client()
    elsewhere = client.group.replace("/rg", "/none") + SETS + "/new"
    assert client.ask("PUT", elsewhere, _body()).body["error"]["code"] == "ResourceGroupNotFound"
    assert client.ask("PUT", client.group + SETS + "/-", _body()).body["error"]["target"] == "vmScaleSetName"


def test_a_large_set_is_no_single_group_unless_it_says_so() -> None:
    client = Client()
    client.do("PUT", client.group + SETS + "/large", _body(120))
    assert not client.ask("GET", client.group + SETS + "/large").body["properties"]["singlePlacementGroup"]
    response = client.ask("PUT", client.group + SETS + "/single", _body(120, singlePlacementGroup=True))
    assert (response.status, response.body["error"]["code"]) == (400, "InvalidParameter")


def test_one_group_again_where_the_set_is_small_enough() -> None:
    client = Client()
    client.do("PATCH", "", {"properties": {"singlePlacementGroup": False}})
    assert client.ask("PATCH", "", {"properties": {"singlePlacementGroup": True}}).status == 409
    made = client.ask("POST", "/convertToSinglePlacementGroup", {})
    assert (made.status, made.body) == (200, None)
    assert client.ask("GET").body["properties"]["singlePlacementGroup"] is True
    assert [one["properties"]["latestModelApplied"] for one in client.ask("GET", "/virtualMachines").body["value"]] == [
        True
    ] * 4


# -- extensions ------------------------------------------------------------------------------------------------------


def test_an_extension_is_a_part_of_the_model() -> None:
    client = Client()
    body = {
        "properties": {
            "publisher": "P",
            "type": "T",
            "typeHandlerVersion": "1.0",
            "protectedSettings": {"a": "hunter2"},
        }
    }
    made = client.ask("PUT", "/extensions/Script", body)
    assert (made.status, made.body["properties"]["provisioningState"]) == (201, "Succeeded")
    assert "location" not in made.headers
    assert "hunter2" not in repr(made.body)
    client.wait(made)
    assert not client.instance("0")["properties"]["latestModelApplied"]
    assert [one["name"] for one in client.ask("GET", "/extensions").body["value"]] == ["HealthExtension", "Script"]
    patched = client.ask("PATCH", "/extensions/script", {"properties": {"typeHandlerVersion": "1.1"}})
    assert patched.status == 201
    assert patched.body["properties"] == {"provisioningState": "Succeeded", "typeHandlerVersion": "1.1"}, "as recorded"
    merged = client.ask("GET", "/extensions/SCRIPT").body["properties"]
    assert (merged["type"], merged["typeHandlerVersion"]) == ("T", "1.1")
    client.wait(patched)
    gone = client.ask("DELETE", "/extensions/Script")
    assert (gone.status, gone.body) == (202, None)
    assert "location" in gone.headers
    client.wait(gone)
    assert client.ask("GET", "/extensions/Script").status == 404
    assert client.ask("PATCH", "/extensions/Script", {}).status == 404
    assert client.ask("DELETE", "/extensions/Script").status == 204


# -- run-commands ----------------------------------------------------------------------------------------------------


def test_the_action_tells_its_output_at_the_end() -> None:
    client = Client()
    started = client.ask("POST", "/virtualMachines/0/runCommand", {"commandId": "RunShellScript", "script": ["true"]})
    assert started.status == 202
    ended = client.wait(started)
    assert [one["code"] for one in ended["properties"]["output"]["value"]] == [
        "ComponentStatus/StdOut/succeeded",
        "ComponentStatus/StdErr/succeeded",
    ]
    assert client.follow(started.headers["location"]).body == ended["properties"]["output"]
    assert client.ask("POST", "/virtualMachines/0/runCommand", {}).body["error"]["target"] == "commandId"


def test_a_managed_one_is_a_resource() -> None:
    client = Client()
    path = "/virtualMachines/1/runCommands/Patch"
    made = client.ask("PUT", path, {"location": "westeurope", "properties": {"source": {"script": "true"}}})
    assert (made.status, made.body["properties"]["provisioningState"]) == (201, "Creating")
    seen = client.ask("GET", path, **{"$expand": "instanceView"}).body["properties"]
    assert seen["instanceView"]["executionState"] == "Running"
    client.wait(made)
    seen = client.ask("GET", path.upper().replace("VIRTUALMACHINES", "virtualMachines"), **{"$expand": "instanceView"})
    view = seen.body["properties"]["instanceView"]
    assert (view["executionState"], view["exitCode"]) == ("Succeeded", 0)
    assert view["endTime"] > view["startTime"]
    again = client.ask("PATCH", path, {"properties": {"timeoutInSeconds": "60"}})
    assert (again.status, again.body["properties"]["provisioningState"]) == (200, "Updating")
    assert again.body["properties"]["source"] == {"script": "true"}
    assert again.body["properties"]["timeoutInSeconds"] == 60
    client.wait(again)
    assert [one["name"] for one in client.ask("GET", "/virtualMachines/1/runCommands").body["value"]] == ["Patch"]
    gone = client.ask("DELETE", path)
    assert gone.status == 202
    assert client.wait(gone)["status"] == "Succeeded"
    assert client.ask("GET", path).status == 404
    assert client.ask("DELETE", path).status == 204
    assert client.ask("GET", "/virtualMachines/1/runCommands").body["value"] == []


def test_a_managed_one_of_the_same_content_is_not_run_again() -> None:
    client = Client()
    path = "/virtualMachines/1/runCommands/Patch"

    def put(script: str) -> str:
        said = {"location": "westeurope", "properties": {"source": {"script": script}}}
        client.wait(client.ask("PUT", path, said))
        found = client.ask("GET", path, **{"$expand": "instanceView"}).body["properties"]["instanceView"]
        return str(found["startTime"])

    first = put("true")
    client.clock.advance(1_000)
    assert put("true") == first
    assert put("true # try 2") > first


def test_one_that_somebody_else_ran_is_there_too() -> None:
    client = Client()
    client.one.world.submit("other", "run-command", ("2",), run_name="theirs")
    client.clock.advance(100_000)
    found = client.ask("GET", "/virtualMachines/2/runCommands/theirs", **{"$expand": "instanceView"}).body
    assert found["properties"]["instanceView"]["executionState"] == "Succeeded"


# -- Flexible sets ---------------------------------------------------------------------------------------------------


def _flexible() -> Client:
    machines = tuple(
        Machine(id=f"web_{number:08x}", vm_id=f"vm-{number}", image=one.image, fault_domain=0)
        for number, one in enumerate(config().machines)
    )
    return Client(config(flexible=True, machines=machines))


def test_instances_of_a_flexible_set_are_vms_of_their_group() -> None:
    client = _flexible()
    vms = client.group + "/providers/Microsoft.Compute/virtualMachines"
    listed = client.ask("GET", vms).body["value"]
    assert len(listed) == 4
    path = f"{vms}/{listed[1]['name']}"
    assert client.ask("GET", path).body["properties"]["virtualMachineScaleSet"]["id"] == client.set
    assert client.ask("GET", path.upper().replace("/SUBSCRIPTIONS", "/subscriptions")).body["name"] == listed[1]["name"]
    restarted = client.ask("POST", path.upper().replace("/SUBSCRIPTIONS", "/subscriptions") + "/restart")
    assert restarted.status == 202
    assert client.wait(restarted)["status"] == "Succeeded"
    client.do("PATCH", path, {"tags": {"a": "b"}})
    assert client.ask("GET", path).body["tags"] == {"a": "b"}
    client.do("DELETE", path)
    assert client.ask("GET", path).status == 404
    assert client.ask("GET", vms + "/none").body["error"]["code"] == "ResourceNotFound"


def test_a_flexible_set_is_created() -> None:
    client = Client()
    body = _body(2, orchestrationMode="Flexible")
    path = client.group + SETS + "/flex"
    client.do("PUT", path, body)
    assert client.ask("GET", path).body["properties"]["orchestrationMode"] == "Flexible"
    names = [one["name"] for one in client.ask("GET", path + "/virtualMachines").body["value"]]
    assert names == ["flex_00000000", "flex_00000001"]


def test_a_set_whose_deletion_failed_says_so() -> None:
    client = Client(faults=(Fault(verdict="fail", of="delete-set", first=1, last=1),))
    assert client.do("DELETE")["status"] == "Failed"
    assert client.ask("GET").body["properties"]["provisioningState"] == "Failed"
    client.do("PATCH", "", {"tags": {"a": "b"}})
    assert client.ask("GET").body["properties"]["provisioningState"] == "Succeeded"


def test_an_identity_is_of_the_tenant_of_the_site() -> None:
    client = Client()
    client.do("PATCH", "", {"identity": {"type": "SystemAssigned"}})
    assert client.ask("GET").body["identity"]["tenantId"] == client.site.tenant


def test_head_is_get_without_a_body() -> None:
    client = Client()
    for path in ("", "/virtualMachines/0"):
        found = client.ask("HEAD", path)
        assert (found.status, found.body) == (200, None)
    assert client.ask("HEAD", "/virtualMachines/99").status == 404


@pytest.mark.parametrize(("path", "told"), [("manualupgrade", "manualupgrade"), ("reimageall", "reimageall")])
def test_a_refusal_names_the_operation_as_azure_does(path: str, told: str) -> None:
    world = config(2, platform=Platform(protected_named="refuse"))
    client = Client(world)
    client.do("PUT", "/virtualMachines/0", {"properties": {"protectionPolicy": {"protectFromScaleSetActions": True}}})
    found = client.ask("POST", f"/{path}", {"instanceIds": ["0"]})
    assert found.body["error"]["message"].startswith(f"Operation '{told}' is not allowed on instance '0'")


def test_the_sets_own_state_is_that_since_its_last_operation_ended() -> None:
    client = Client(config(mode="manual"))
    first = client.ask("GET", "/instanceView").body["statuses"][0]
    client.clock.advance(60_000)
    assert client.ask("PATCH", "", {"tags": {"a": "b"}}).status == 200
    assert client.ask("GET", "/instanceView").body["statuses"] == [
        {"code": "ProvisioningState/updating", "level": "Info", "displayStatus": "Updating"}
    ]
    client.clock.advance(60_000)
    last = client.ask("GET", "/instanceView").body["statuses"][0]
    assert last["code"] == "ProvisioningState/succeeded"
    assert first["time"] < last["time"] == moment(client.site.epoch, client.site.sets[0].ended_ms)


@pytest.mark.parametrize(
    ("mode", "domains", "status"),
    [("Uniform", 0, 400), ("Uniform", 5, 201), ("Uniform", 6, 400), ("Flexible", 3, 201), ("Flexible", 4, 400)],
)
@pytest.mark.parametrize("capacity", [0, 2])
def test_a_set_has_no_more_fault_domains_than_there_are(mode: str, domains: int, status: int, capacity: int) -> None:
    client = Client()
    body = _body(capacity, orchestrationMode=mode, platformFaultDomainCount=domains)
    answer = client.ask("PUT", client.group + SETS + "/New", body)
    assert answer.status == status
    if status == 400:
        assert "platformFaultDomainCount" in answer.body["error"]["message"]
        assert len(client.site.sets) == 1
