"""PUT and PATCH: what is merged, what is refused, what the world is asked, and what becomes of the instances."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.arm_site import PARTS, Client, config
from vmss_sim.world.config import Platform
from vmss_sim.world.images import IMAGE

PROFILE = {"properties": {"virtualMachineProfile": {}}}
EXTENSION = {
    "name": "Health",
    "properties": {
        "publisher": "Microsoft.ManagedServices",
        "type": "ApplicationHealthLinux",
        "typeHandlerVersion": "1.0",
        "settings": {"protocol": "http", "port": 80, "intervalInSeconds": 10, "numberOfProbes": 3},
    },
}


def _profile(**parts: Any) -> dict[str, Any]:
    return {"properties": {"virtualMachineProfile": parts}}


def _version(version: str) -> dict[str, Any]:
    return _profile(storageProfile={"imageReference": {"version": version}})


def _flags(client: Client) -> list[bool]:
    found = client.ask("GET", "/virtualMachines").body["value"]
    return [one["properties"]["latestModelApplied"] for one in found]


def test_what_was_read_can_be_put_and_nothing_is_stale() -> None:
    for version in ("2015-06-15", "2017-03-30", "2019-03-01", "2024-07-01", "2026-04-01"):
        client = Client()
        shown = client.ask("GET", version=version).body
        assert client.wait(client.ask("PUT", "", shown, version=version))["status"] == "Succeeded"
        assert _flags(client) == [True] * 4
        again = client.ask("GET", version=version).body
        assert {**again, "etag": ""} == {**shown, "etag": ""}


def test_a_put_of_the_sku_alone_scales_and_leaves_the_rest() -> None:
    client = Client()
    before = client.ask("GET").body["properties"]["virtualMachineProfile"]
    put = client.ask("PUT", "", {"location": "West Europe", "sku": {"name": "Standard_D2s_v5", "capacity": "6"}})
    assert (put.status, put.body["sku"]["capacity"]) == (200, 6)
    assert put.body["properties"]["virtualMachineProfile"] == before
    assert client.one.world.running[next(iter(client.one.world.running))].kind == "set-capacity"
    assert client.wait(put)["status"] == "Succeeded"
    assert len(client.ask("GET", "/virtualMachines").body["value"]) == 6


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"properties": {"upgradePolicy": {"mode": "Automatic"}}}, "set-mode"),
        ({"properties": {"upgradePolicy": {"MODE": "rolling"}}}, "set-mode"),
        ({"sku": {"capacity": 2}}, "set-capacity"),
        ({"sku": {"capacity": 2}, "tags": {"a": "b"}}, "update-model"),
        ({"tags": {"a": "b"}}, "update-model"),
        ({}, "update-model"),
        (_version("9"), "update-model"),
    ],
)
def test_what_the_world_is_asked_for(body: dict[str, Any], kind: str) -> None:
    client = Client()
    assert client.ask("PATCH", "", body).status == 200
    assert [one.kind for one in client.one.world.running.values()] == [kind]


def test_tags_make_no_instance_stale_and_another_image_does_until_it_is_put_back() -> None:
    client = Client()
    client.do("PATCH", "", {"tags": {"a": 1, "b": True}})
    assert client.ask("GET").body["tags"] == {"a": "1", "b": "true"}
    assert _flags(client) == [True] * 4
    client.do("PATCH", "", _version("2.0.0"))
    client.do("POST", "/manualupgrade", {"instanceIds": ["3"]})
    assert _flags(client) == [False, False, False, True]
    client.do("PATCH", "", _version("1.0.0"))
    assert _flags(client) == [True, True, True, False]
    assert client.one.world.model[IMAGE + "version"] == "1.0.0"


def test_null_takes_away_in_a_patch_and_says_nothing_in_a_put() -> None:
    client = Client()
    client.do("PATCH", "", _profile(licenseType="Windows_Server"))
    assert _flags(client) == [False] * 4
    client.do("PUT", "", {"location": "westeurope", **_profile(licenseType=None)})
    assert client.ask("GET").body["properties"]["virtualMachineProfile"]["licenseType"] == "Windows_Server"
    client.do("PATCH", "", _profile(licenseType=None))
    assert "licenseType" not in client.ask("GET").body["properties"]["virtualMachineProfile"]
    assert _flags(client) == [True] * 4


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"sku": None}, "sku"),
        ({"sku": {"name": None}}, "sku.name"),
        ({"sku": {"capacity": None}}, "sku.capacity"),
        ({"properties": {"upgradePolicy": None}}, "upgradePolicy"),
        ({"properties": {"upgradePolicy": {"mode": None}}}, "upgradePolicy.mode"),
        ({"properties": {"virtualMachineProfile": None}}, "virtualMachineProfile"),
        (_profile(storageProfile=None), "virtualMachineProfile.storageProfile"),
        (_profile(storageProfile={"imageReference": None}), "virtualMachineProfile.storageProfile.imageReference"),
    ],
)
def test_what_a_set_cannot_be_without_is_not_taken_away(body: dict[str, Any], what: str) -> None:
    client = Client()
    before = client.ask("GET").body
    response = client.ask("PATCH", "", body)
    assert (response.status, response.body["error"]["code"]) == (400, "InvalidParameter")
    assert response.body["error"]["message"] == f"Required parameter '{what}' is missing (null)."
    assert client.ask("GET").body == before
    assert len(client.ask("GET", "/virtualMachines").body["value"]) == 4, "no capacity is not capacity 0"


def test_an_image_gives_way_to_a_disk_of_ones_own() -> None:
    client = Client()
    disk = {"osDisk": {"image": {"uri": "https://a.blob.core.windows.net/b/c.vhd"}}, "imageReference": None}
    assert client.ask("PATCH", "", _profile(storageProfile=disk)).status == 200


def test_an_image_by_id_takes_the_place_of_one_by_publisher_and_back() -> None:
    client = Client()
    image = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/G/images/I/versions/1.0.0"
    client.do("PATCH", "", _profile(storageProfile={"imageReference": {"id": image}}))
    storage = client.ask("GET").body["properties"]["virtualMachineProfile"]["storageProfile"]
    assert storage["imageReference"] == {"id": image}
    client.do("PATCH", "", _profile(storageProfile={"imageReference": PARTS}))
    storage = client.ask("GET").body["properties"]["virtualMachineProfile"]["storageProfile"]
    assert storage["imageReference"] == PARTS
    assert _flags(client) == [True] * 4


def test_secrets_are_not_kept_and_another_one_is_another_model() -> None:
    client = Client()
    client.do("PATCH", "", _profile(osProfile={"adminPassword": "hunter2"}))
    assert _flags(client) == [True] * 4, "it may be what the set was created with"
    client.do("PATCH", "", _profile(osProfile={"adminPassword": "hunter2"}))
    assert _flags(client) == [True] * 4
    client.do("PATCH", "", _profile(osProfile={"customData": "aHVudGVyMg=="}))
    assert _flags(client) == [False] * 4
    told = repr((client.one.document, client.one.models, client.one.world.model, client.ask("GET").body))
    assert "hunter2" not in told
    assert "aHVudGVyMg" not in told


def test_user_data_is_shown_to_who_asks_for_it() -> None:
    client = Client()
    client.do("PATCH", "", _profile(userData="aGk="))
    assert "userData" not in client.ask("GET").body["properties"]["virtualMachineProfile"]
    asked = client.ask("GET", **{"$expand": "userData"}).body
    assert asked["properties"]["virtualMachineProfile"]["userData"] == "aGk="
    client.do("PUT", "", client.ask("GET").body)
    asked = client.ask("GET", **{"$expand": "userData"}).body
    assert asked["properties"]["virtualMachineProfile"]["userData"] == "aGk="


@pytest.mark.parametrize(
    ("body", "status", "code", "target"),
    [
        ({"sku": {"capacity": "three"}}, 400, "BadRequest", "sku.capacity"),
        ({"sku": {"capacity": 1.5}}, 400, "BadRequest", "sku.capacity"),
        ({"sku": {"capacity": True}}, 400, "BadRequest", "sku.capacity"),
        ({"sku": {"capacity": -1}}, 400, "InvalidParameter", None),
        ({"sku": []}, 400, "BadRequest", "sku"),
        ({"properties": "x"}, 400, "BadRequest", "properties"),
        ({"zones": "1"}, 400, "BadRequest", "zones"),
        ({"tags": []}, 400, "BadRequest", "tags"),
        ({"tags": {"a": []}}, 400, "BadRequest", "tags.a"),
        (
            {"properties": {"upgradePolicy": {"mode": "Sometimes"}}},
            400,
            "InvalidParameter",
            "properties.upgradePolicy.mode",
        ),
        (
            {"properties": {"upgradePolicy": {"rollingUpgradePolicy": {"maxBatchInstancePercent": 3}}}},
            400,
            "InvalidParameter",
            None,
        ),
        (
            {"properties": {"upgradePolicy": {"rollingUpgradePolicy": {"pauseTimeBetweenBatches": "5 minutes"}}}},
            400,
            "InvalidParameter",
            None,
        ),
        (
            _profile(extensionProfile={"extensions": {}}),
            400,
            "BadRequest",
            "properties.virtualMachineProfile.extensionProfile.extensions",
        ),
        (
            _profile(extensionProfile={"extensions": ["x"]}),
            400,
            "BadRequest",
            "properties.virtualMachineProfile.extensionProfile.extensions[0]",
        ),
        ({"properties": {"platformFaultDomainCount": 2}}, 409, "PropertyChangeNotAllowed", "platformFaultDomainCount"),
        (_profile(priority="Spot"), 409, "PropertyChangeNotAllowed", "priority"),
        ({"location": "eastus"}, 409, "InvalidResourceLocation", None),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_wrong_is_refused_with_the_member(
    method: str, body: dict[str, Any], status: int, code: str, target: str | None
) -> None:
    client = Client()
    before = client.ask("GET").body
    response = client.ask(method, "", {"location": "westeurope", **body} if method == "PUT" else body)
    error = response.body["error"]
    assert (response.status, error["code"], error.get("target")) == (status, code, target)
    if target is not None:
        assert target.removeprefix("properties.") in error["message"]
    assert client.ask("GET").body == before


@pytest.mark.parametrize(
    "name", ["maxBatchInstancePercent", "maxUnhealthyInstancePercent", "maxUnhealthyUpgradedInstancePercent"]
)
def test_a_percentage_out_of_range_is_called_as_the_client_calls_it(name: str) -> None:
    body = {"properties": {"upgradePolicy": {"rollingUpgradePolicy": {name: 101}}}}
    error = Client().ask("PATCH", "", body).body["error"]
    assert error["message"] == f"The value of parameter upgradePolicy.rollingUpgradePolicy.{name} is invalid."


@pytest.mark.parametrize("raw", [b"{", b"[1]", b'"x"', b"\xff\xfe", b"{'a': 1}", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    response = Client().ask("PUT", "", raw=raw)
    assert (response.status, response.body["error"]["code"]) == (400, "InvalidRequestContent")


def test_nothing_of_a_refused_update_stays() -> None:
    client = Client(config(health="none"))
    before = copy.deepcopy(client.one.document)
    body = {"tags": {"a": "b"}, "properties": {"upgradePolicy": {"mode": "Rolling"}}}
    response = client.ask("PATCH", "", body)
    assert (response.status, response.body["error"]["code"]) == (400, "BadRequest")
    assert "health probe was not provided" in response.body["error"]["message"]
    assert client.one.document == before


def test_a_health_extension_may_come_with_mode_rolling_and_reports_where_the_model_is() -> None:
    client = Client(config(health="none"))
    assert "vmHealth" not in client.ask("GET", "/virtualMachines/0/instanceView").body
    client.do("PATCH", "", _profile(extensionProfile={"extensions": [EXTENSION]}))
    assert client.one.world.config.timings.probe_ms == 30_000
    client.do("POST", "/manualupgrade", {"instanceIds": ["1"]})
    client.clock.advance(300_000)
    views = [client.ask("GET", f"/virtualMachines/{name}/instanceView").body.get("vmHealth") for name in "01"]
    assert views[0] is None
    assert views[1]["status"]["code"] == "HealthState/healthy"
    assert client.do("PATCH", "", {"properties": {"upgradePolicy": {"mode": "Rolling"}}})["status"] == "Succeeded"
    refused = client.ask("PATCH", "", _profile(extensionProfile={"extensions": []}))
    assert refused.status == 400


def test_settings_may_be_a_text_that_says_them() -> None:
    client = Client(config(health="none"))
    extension = {**EXTENSION, "properties": {**EXTENSION["properties"], "settings": '{"intervalInSeconds": 20}'}}
    client.do("PATCH", "", _profile(extensionProfile={"extensions": [extension]}))
    assert client.one.world.config.timings.probe_ms == 20_000


def test_settings_that_nest_too_deeply_say_nothing() -> None:
    health = {
        "publisher": "P",
        "type": "ApplicationHealthLinux",
        "typeHandlerVersion": "1.0",
        "settings": "[" * 100_000,
    }
    body = _profile(extensionProfile={"extensions": [{"name": "health", "properties": health}]})
    assert Client().ask("PATCH", "", body).status == 200


def test_a_put_in_mode_rolling_ends_with_the_rollout_and_shows_it() -> None:
    client = Client(config(mode="rolling"))
    update = client.ask("PATCH", "", _version("2.0.0"))
    assert client.follow(update.headers["azure-asyncoperation"]).body["status"] == "InProgress"
    client.clock.advance(70_000)
    latest = client.ask("GET", "/rollingUpgrades/latest").body["properties"]
    assert latest["runningStatus"]["code"] == "RollingForward"
    assert client.ask("GET").body["properties"]["provisioningState"] == "Updating"
    assert client.wait(update)["status"] == "Succeeded"
    latest = client.ask("GET", "/rollingUpgrades/latest").body["properties"]
    assert latest["runningStatus"]["code"] == "Completed"
    assert latest["progress"]["successfulInstanceCount"] == 4
    assert client.ask("GET").body["properties"]["provisioningState"] == "Succeeded"


def test_a_set_whose_update_failed_shows_it_until_the_next() -> None:
    client = Client(config(mode="rolling", failures=config().failures), ())
    client.one.world.config = config(mode="rolling").__class__(
        **{name: getattr(client.one.world.config, name) for name in client.one.world.config.__struct_fields__}
    )
    for vm in client.one.world.vms.values():
        client.one.world.fail(vm, 10**12)
    client.clock.advance(60_000)
    ended = client.do("PATCH", "", _version("2.0.0"))
    assert (ended["status"], ended["error"]["code"]) == (
        "Failed",
        "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade",
    )
    assert client.ask("GET").body["properties"]["provisioningState"] == "Failed"
    client.do("PATCH", "", {"properties": {"upgradePolicy": {"mode": "Manual"}}})
    assert client.ask("GET").body["properties"]["provisioningState"] == "Succeeded"


def test_what_older_versions_spelled_otherwise() -> None:
    client = Client(config(mode="rolling"))
    old = {"properties": {"upgradePolicy": {"rollingUpgradePolicy": {"batchInstancePercent": 40}}}}
    client.do("PATCH", "", old, version="2017-03-30")
    assert client.one.world.rolling_policy.max_batch_percent == 40
    shown = client.ask("GET").body["properties"]["upgradePolicy"]["rollingUpgradePolicy"]
    assert shown["maxBatchInstancePercent"] == 40
    assert "batchInstancePercent" not in shown


def test_automatic_os_upgrade_wants_latest_in_any_spelling() -> None:
    for version, policy in (
        ("2017-12-01", {"automaticOSUpgrade": True}),
        ("2024-07-01", {"automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": "true"}}),
    ):
        client = Client()
        response = client.ask("PATCH", "", {"properties": {"upgradePolicy": policy}}, version=version)
        assert response.status == 400
        assert "version set to 'latest'" in response.body["error"]["message"]
        client.do("PATCH", "", _version("latest"))
        client.do("PATCH", "", {"properties": {"upgradePolicy": policy}}, version=version)
        assert client.one.world.auto_os.enabled


# -- etags -----------------------------------------------------------------------------------------------------------


def test_an_etag_that_is_not_the_sets_is_refused() -> None:
    client = Client()
    etag = client.ask("GET").headers["etag"]
    assert client.ask("PATCH", "", {}, _if_match=etag).status == 200
    stale = client.ask("PATCH", "", {}, _if_match=etag)
    assert (stale.status, stale.body["error"]["code"]) == (412, "PreconditionFailed")
    assert stale.body["error"]["message"] == (
        'Etag provided in if-match header "1" does not match etag "2" of resource.'
    )
    assert client.ask("PATCH", "", {}, _if_match="*").status == 200
    assert client.ask("PATCH", "", {}, _if_match='"junk"').status == 412
    assert client.ask("PATCH", "", {}, _if_match='"1"', version="2022-11-01").status == 200, "it knows no etags"


def test_if_none_match_keeps_what_is_there() -> None:
    client = Client()
    assert client.ask("PUT", "", {"location": "westeurope"}, _if_none_match="*").status == 412
    assert client.ask("PUT", "", {"location": "westeurope"}, _if_none_match='"1"').status == 400
    absent = client.group + "/providers/Microsoft.Compute/virtualMachineScaleSets/none"
    assert client.ask("PUT", absent, {"location": "westeurope"}, _if_match='"1"').status == 412


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("PUT", "/virtualMachines/0")])
def test_if_none_match_keeps_what_is_there_from_every_request_that_takes_it(method: str, path: str) -> None:
    client = Client()
    before = client.ask("GET", path).body
    assert client.ask(method, path, {"tags": {"a": "b"}}, _if_none_match="*").status == 412
    assert client.ask(method, path, {"tags": {"a": "b"}}, _if_none_match='"1"').status == 400
    assert client.ask("GET", path).body == before
    assert client.ask(method, path, {}, _if_none_match="*", version="2022-11-01").status == 200, "it knows no etags"


def test_an_instance_has_an_etag_of_its_own() -> None:
    client = Client()
    first = client.ask("GET", "/virtualMachines/0").headers["etag"]
    body = {"properties": {"protectionPolicy": {"protectFromScaleSetActions": True}}}
    put = client.ask("PUT", "/virtualMachines/0", body, _if_match=first)
    assert (put.status, put.body["properties"]["provisioningState"]) == (200, "Updating")
    client.wait(put)
    shown = client.ask("GET", "/virtualMachines/0")
    assert shown.headers["etag"] != first
    assert "tags" not in shown.body or shown.body["tags"] != {"a": "b"}, (
        "tags of a Uniform set's instances are the set's (recorded)"
    )
    assert shown.body["properties"]["protectionPolicy"] == {
        "protectFromScaleIn": False,
        "protectFromScaleSetActions": True,
    }
    assert client.ask("PUT", "/virtualMachines/0", body, _if_match=first).status == 412
    client.do("PUT", "/virtualMachines/0", {"properties": {}})
    assert client.one.world.vms["0"].protected, "what is not said stays"
    both = {"properties": {"protectionPolicy": {"protectFromScaleSetActions": True, "protectFromScaleIn": False}}}
    assert client.ask("PUT", "/virtualMachines/0", both).status == 400
    refused = client.ask("POST", "/manualupgrade", {"instanceIds": ["0"]})
    assert (refused.status, refused.body["error"]["code"]) == (409, "OperationNotAllowed")


def test_zones_that_are_added_are_used() -> None:
    client = Client(config(2))
    assert sorted(vm.machine.zone or "" for vm in client.one.world.vms.values()) == ["1", "2"]
    client.do("PATCH", "", {"zones": ["1", "2", "3"]})
    client.do("PATCH", "", {"sku": {"capacity": 3}})
    assert sorted(vm.machine.zone or "" for vm in client.one.world.vms.values()) == ["1", "2", "3"]


def test_updates_may_conflict() -> None:
    client = Client(config(platform=Platform(concurrent_update="conflict")))
    assert client.ask("PATCH", "", {}).status == 200
    response = client.ask("PATCH", "", _version("2"))
    assert (response.status, response.body["error"]["code"]) == (409, "Conflict")
    assert "2" not in repr(
        client.one.document["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"]
    )


@pytest.mark.parametrize("body", [None, {}, {"tags": {"a": "b"}}, {"location": None}])
def test_a_put_says_where_the_set_is_also_where_it_is_there(body: dict[str, Any] | None) -> None:
    client = Client()
    before = client.ask("GET").body
    answer = client.ask("PUT", "", body)
    assert (answer.status, answer.body["error"]["code"]) == (400, "LocationRequired")
    assert client.ask("GET").body == before
    assert client.ask("PATCH", "", body).status == 200
