"""What a client may not write of a set, in the words that Azure's users report; and what is accepted although it looks like that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.arm_site import Client, config
from vmss_sim.arm import documents, resources

SCRIPT = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
HEALTH = "HealthExtension"
"""What the model of every small set has."""


def _extensions(*found: dict[str, Any]) -> dict[str, Any]:
    profile = {"extensionProfile": {"extensions": list(found)}}
    return {"location": "westeurope", "properties": {"virtualMachineProfile": profile}}


def _without(name: str) -> dict[str, Any]:
    whole = {"name": "script", "properties": SCRIPT}
    if name == "name":
        return {"properties": SCRIPT}
    return {**whole, "properties": {key: value for key, value in SCRIPT.items() if key != name}}


def _there(client: Client) -> list[dict[str, Any]]:
    profile = client.ask("GET").body["properties"]["virtualMachineProfile"]
    found: list[dict[str, Any]] = profile["extensionProfile"]["extensions"]
    return found


# -- extensions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("name", ["name", "publisher", "type", "typeHandlerVersion"])
def test_an_extension_that_is_new_is_whole(method: str, name: str) -> None:
    client = Client()
    before = _there(client)
    answer = client.ask(method, "", _extensions(*before, _without(name)))
    error = answer.body["error"]
    assert (answer.status, error["code"], error["target"]) == (400, "InvalidParameter", name)
    assert error["message"] == f"The value of parameter {name} is invalid."
    assert _there(client) == before


@pytest.mark.parametrize("path", ["/extensions/script", "/virtualMachines/0/extensions/script"])
@pytest.mark.parametrize("name", ["publisher", "type", "typeHandlerVersion"])
def test_also_where_it_is_a_resource(path: str, name: str) -> None:
    answer = Client().ask("PUT", path, _without(name))
    assert (answer.status, answer.body["error"]["target"]) == (400, name)


def test_no_two_extensions_have_one_name() -> None:
    client = Client()
    twice = _extensions({"name": "Script", "properties": SCRIPT}, {"name": "script", "properties": SCRIPT})
    for method in ("PUT", "PATCH"):
        answer = client.ask(method, "", twice)
        assert (answer.status, answer.body["error"]["code"]) == (400, "BadRequest")
        assert answer.body["error"]["message"] == (
            "On VM Scale Set 'web', extension name 'Script' cannot be used for more than one extension."
        )


@pytest.mark.parametrize("found", [_without("type"), _without("publisher")])
def test_nor_has_a_set_that_is_created_any(found: dict[str, Any]) -> None:
    client = Client()
    body = {**client.ask("GET").body, "name": "new", "id": client.set.replace("/web", "/new")}
    body["properties"]["virtualMachineProfile"]["extensionProfile"] = {"extensions": [found]}
    answer = client.ask("PUT", client.set.replace("/web", "/new"), body)
    assert (answer.status, answer.body["error"]["code"]) == (400, "InvalidParameter")
    assert client.ask("GET", client.set.replace("/web", "/new")).status == 404


def test_what_was_there_before_is_nobodys_fault() -> None:
    client = Client()
    old = client.one.document["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"]
    old += [_without("publisher"), _without("publisher")]
    assert client.do("PATCH", "", {"tags": {"a": "b"}})["status"] == "Succeeded"
    assert client.ask("PUT", "", {"location": "westeurope", "sku": {"capacity": 5}}).status == 200


# -- zones, priority -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "zones"), [("PUT", ["1"]), ("PUT", []), ("PATCH", ["2", "3"]), ("PATCH", None)])
def test_no_zone_is_taken_away(method: str, zones: list[str] | None) -> None:
    client = Client()
    answer = client.ask(method, "", {"location": "westeurope", "zones": zones})
    error = answer.body["error"]
    assert (answer.status, error["code"], error["target"]) == (409, "PropertyChangeNotAllowed", "zones")
    assert error["message"] == "Changing property 'zones' is not allowed."
    assert client.ask("GET").body["zones"] == ["1", "2", "3"]
    assert client.ask("PATCH", "", {"zones": ["2", "4", "1", "3"]}).status == 200


def test_low_is_spot() -> None:
    client = Client()
    client.one.document["properties"]["virtualMachineProfile"]["priority"] = "Low"
    client.one.world.model["properties.virtualMachineProfile.priority"] = "Low"
    spot = {"properties": {"virtualMachineProfile": {"priority": "Spot"}}}
    assert client.do("PATCH", "", spot)["status"] == "Succeeded"
    assert client.ask("GET").body["properties"]["virtualMachineProfile"]["priority"] == "Spot"
    spot["properties"]["virtualMachineProfile"]["priority"] = "Regular"
    assert client.ask("PATCH", "", spot).body["error"]["message"] == "Changing property 'priority' is not allowed."


# -- rollouts --------------------------------------------------------------------------------------------------------


def test_a_capacity_alone_starts_no_rollout_and_an_update_of_nothing_does() -> None:
    """DOC-rolling: a PUT or PATCH of the same model starts one over what is stale; capacity is no part of the model."""
    client = Client()
    image = {"storageProfile": {"imageReference": {"version": "2.0.0"}}}
    client.do("PATCH", "", {"properties": {"virtualMachineProfile": image}})
    client.ask("PATCH", "", {"properties": {"upgradePolicy": {"mode": "Rolling"}}})
    client.do("POST", "/rollingUpgrades/cancel")
    client.clock.advance(600_000)
    rollouts = client.one.world.rollouts
    assert not rollouts.running and not all(map(client.one.world.is_latest, client.one.world.vms.values()))
    started = len(rollouts.past)
    client.do("PATCH", "", {"sku": {"capacity": 5}})
    client.do("PUT", "", {"location": "westeurope", "sku": {"capacity": 4}})
    client.clock.advance(600_000)
    assert (len(rollouts.past), rollouts.running) == (started, False)
    client.ask("PATCH", "", {})
    assert rollouts.running


# -- a VM that is gone -----------------------------------------------------------------------------------------------


def test_the_vm_of_a_flexible_set_is_deleted_once_and_then_it_is_204() -> None:
    """204: Resource Manager's own answer for what is not there; as an instance of the set it is accepted again (recorded 3 times of a
    Uniform set, in 2015 and 2016).
    """
    made = config(2, flexible=True)
    machines = [msgspec.structs.replace(one, id=f"web_{n}", update_domain=None) for n, one in enumerate(made.machines)]
    client = Client(msgspec.structs.replace(made, machines=tuple(machines)), others=resources.answer)
    path = f"{client.group}/providers/{documents.MACHINE_TYPE}/web_0"
    client.do("DELETE", path)
    assert client.ask("DELETE", path).status == 204
    assert client.ask("GET", path).status == 404
    assert client.ask("DELETE", "/virtualMachines/web_0").status == 202
