"""The ARM endpoint, asked directly: routes, errors of form, long-running operations."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from tests import arm_kinds
from tests.arm_site import Client


def test_a_set_is_read_updated_and_its_instances_upgraded() -> None:
    client = Client()
    shown = client.ask("GET")
    assert (shown.status, shown.headers["etag"], shown.body["etag"]) == (200, '"1"', '"1"')
    image = {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": "2.0.0"}}}}}
    update = client.ask("PATCH", "", image)
    assert update.status == 200
    assert "azure-asyncoperation" in update.headers
    assert "location" not in update.headers
    assert update.body["properties"]["provisioningState"] == "Updating"
    assert client.wait(update)["status"] == "Succeeded"
    assert client.ask("GET").body["properties"]["provisioningState"] == "Succeeded"
    assert not client.instance("0")["properties"]["latestModelApplied"]
    action = client.ask("POST", "/manualupgrade", {"instanceIds": ["0", "2"]})
    assert (action.status, action.body) == (202, None)
    assert client.instance("0")["properties"]["provisioningState"] == "Updating"
    assert client.follow(action.headers["location"]).status == 202
    ended = client.wait(action)
    assert list(ended) == ["startTime", "endTime", "status", "name"]
    assert re.fullmatch(r"2026-03-01T08:\d\d:\d\d\.\d{7}\+00:00", ended["endTime"])
    done = client.follow(action.headers["location"])
    assert (done.status, done.body) == (200, None)
    flags = [client.instance(name)["properties"]["latestModelApplied"] for name in "0123"]
    assert flags == [True, False, True, False]
    assert client.instance("0")["properties"]["storageProfile"]["imageReference"]["exactVersion"] == "2.0.0"


@pytest.mark.parametrize(
    ("method", "path", "version", "status", "code"),
    [
        ("GET", "", "", 400, "MissingApiVersionParameter"),
        ("GET", "", "2014-12-01", 400, "InvalidApiVersionParameter"),
        ("GET", "", "latest", 400, "InvalidApiVersionParameter"),
        ("GET", "x", "2024-07-01", 404, "ResourceNotFound"),
        ("GET", "/virtualMachines/99", "2024-07-01", 404, "NotFound"),
        ("POST", "/virtualMachines/99/restart", "2024-07-01", 400, "InvalidParameter"),
        ("DELETE", "/virtualMachines", "2024-07-01", 405, "MethodNotAllowed"),
        ("GET", "/nothing", "2024-07-01", 404, "InvalidResourceType"),
        ("GET", "/rollingUpgrades/latest", "2024-07-01", 404, "NotFound"),
        ("POST", "/rollingUpgrades/cancel", "2024-07-01", 409, "OperationNotAllowed"),
        ("POST", "/performMaintenance", "2024-07-01", 409, "OperationNotAllowed"),
        ("GET", "/nowhere", "2024-07-01", 404, "NotFound"),
        (
            "GET",
            "/subscriptions/none/providers/Microsoft.Compute/virtualMachineScaleSets",
            "2024-07-01",
            404,
            "SubscriptionNotFound",
        ),
    ],
)
def test_errors_are_arms(method: str, path: str, version: str, status: int, code: str) -> None:
    response = Client().ask(method, path, version=version)
    assert (response.status, response.body["error"]["code"]) == (status, code)
    assert response.body["error"]["message"]
    assert response.headers["x-ms-request-id"]


def test_paths_compare_without_case() -> None:
    client = Client()
    assert client.ask("GET", client.set.upper() + "/VIRTUALMACHINES/1/INSTANCEVIEW/").status == 200


@pytest.mark.skipif(not arm_kinds.SHARED.exists(), reason="the specification is not beside this checkout")
def test_the_kinds_of_properties_are_those_of_the_specification() -> None:
    written = resources.files("vmss_sim.arm").joinpath("kinds.json").read_text()
    assert written == arm_kinds.text(), "python -m tests.arm_kinds > vmss_sim/arm/kinds.json"
