"""What stands around a scale set: subscriptions, groups, providers, images, quotas, and resources that are only kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios import build, files, to_arm
from vmss_sim.arm import redaction, resources
from vmss_sim.arm.http import Refused, Request, Response
from vmss_sim.arm.site import DEFAULT_SUBSCRIPTION, Site

SUB = f"/subscriptions/{DEFAULT_SUBSCRIPTION}"
NET = f"{SUB}/resourceGroups/vmss-sim/providers/Microsoft.Network/virtualNetworks"


@pytest.fixture
def site() -> Site:
    return to_arm.site(build.read(files.find_scenario("seed-article")), None, 1)


def _ask(site: Site, method: str, path: str, body: Any = None, **query: str) -> Response | None:
    data = b"" if body is None else json.dumps(body).encode()
    return resources.answer(Request(method=method, path=path, body=data, query=query), site)


def _got(site: Site, path: str, **query: str) -> Any:
    answer = _ask(site, "GET", path, **query)
    assert answer is not None
    assert answer.status == 200
    return answer.body


def _code(site: Site, method: str, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        _ask(site, method, path, body)
    return refused.value.status, refused.value.code


def test_subscriptions_and_tenants(site: Site) -> None:
    (one,) = _got(site, "/subscriptions")["value"]
    assert one == _got(site, SUB.upper())
    assert (one["subscriptionId"], one["tenantId"], one["state"]) == (DEFAULT_SUBSCRIPTION, site.tenant, "Enabled")
    assert _got(site, "/tenants")["value"][0]["tenantId"] == site.tenant
    assert _code(site, "GET", "/subscriptions/other") == (404, "SubscriptionNotFound")


def test_providers_tell_locations_and_api_versions(site: Site) -> None:
    every = {one["namespace"]: one for one in _got(site, f"{SUB}/providers")["value"]}
    assert every["Microsoft.Compute"] == _got(site, f"{SUB}/providers/microsoft.compute")
    (kind,) = [
        one for one in every["Microsoft.Compute"]["resourceTypes"] if one["resourceType"] == "virtualMachineScaleSets"
    ]
    assert kind["locations"] == ["West Europe"]
    assert "2024-07-01" in kind["apiVersions"]
    assert _ask(site, "POST", f"{SUB}/providers/Microsoft.Network/register") is not None
    assert _code(site, "GET", f"{SUB}/providers/Microsoft.Nonsense") == (404, "InvalidResourceNamespace")
    assert "westeurope" in [one["name"] for one in _got(site, f"{SUB}/locations")["value"]]


def test_groups_come_and_go_and_take_what_is_in_them(site: Site) -> None:
    group = f"{SUB}/resourceGroups/Mine"
    assert [one["name"] for one in _got(site, f"{SUB}/resourcegroups")["value"]] == ["vmss-sim"]
    assert (_ask(site, "HEAD", group) or Response(status=0)).status == 404
    assert _code(site, "PUT", group, {}) == (400, "LocationRequired")
    for status in (201, 200):
        made = _ask(site, "PUT", group, {"location": "westeurope", "tags": {"a": "b"}})
        assert made is not None
        assert (made.status, made.body["tags"]) == (status, {"a": "b"})
    assert (_ask(site, "HEAD", group.lower()) or Response(status=0)).status == 204
    patched = _ask(site, "PATCH", group, {"tags": {"c": "d"}})
    assert patched is not None
    assert patched.body["tags"] == {"c": "d"}
    assert _got(site, group)["name"] == "Mine"
    disk = f"{group}/providers/Microsoft.Compute/disks/one"
    _ask(site, "PUT", disk, {"location": "westeurope"})
    assert [one["id"] for one in _got(site, f"{group}/resources")["value"]] == [disk]
    _ask(site, "DELETE", group)
    assert _code(site, "GET", group) == (404, "ResourceGroupNotFound")
    assert not site.others
    assert _code(site, "PUT", disk, {}) == (404, "ResourceGroupNotFound")
    (one,) = site.sets
    _ask(site, "DELETE", f"{SUB}/resourceGroups/VMSS-SIM")
    assert one.provisioning == "Deleting", "a set goes as if it had been deleted alone"
    site.advance(600_000)
    assert site.sets == ()
    assert not one.world.vms


def test_resources_are_listed_and_filtered(site: Site) -> None:
    _ask(site, "PUT", f"{NET}/net", {"location": "westeurope"})
    names = [one["name"] for one in _got(site, f"{SUB}/resources")["value"]]
    assert names == ["web", "net"]
    found = _got(site, f"{SUB}/resources", **{"$filter": "resourceType eq 'Microsoft.Network/virtualNetworks'"})
    assert [one["name"] for one in found["value"]] == ["net"]
    assert _got(site, f"{SUB}/resources", **{"$filter": "name eq 'other'"})["value"] == []


def test_images_in_play_from_publisher_to_version(site: Site) -> None:
    base = f"{SUB}/providers/Microsoft.Compute/locations/westeurope/publishers"
    offers = f"{base}/canonical/artifacttypes/vmimage/offers"
    assert [one["name"] for one in _got(site, base)] == ["Canonical"]
    assert [one["name"] for one in _got(site, offers)] == ["UbuntuServer"]
    assert [one["name"] for one in _got(site, f"{offers}/UbuntuServer/skus")] == ["14.04-LTS"]
    versions = f"{offers}/UbuntuServer/skus/14.04-lts/versions"
    assert [one["name"] for one in _got(site, versions)] == ["14.04.201506100", "14.04.201507060"]
    newest = _got(site, versions, **{"$top": "1", "$orderby": "name desc"})
    assert [one["name"] for one in newest] == ["14.04.201507060"]
    assert _got(site, f"{versions}/latest")["name"] == "14.04.201507060"
    assert _got(site, f"{versions}/14.04.201506100")["properties"]["osDiskImage"]["operatingSystem"] == "Linux"
    assert _code(site, "GET", f"{versions}/1.2.3") == (404, "NotFound")
    assert _code(site, "GET", f"{base}/nobody/artifacttypes/vmimage/offers") == (404, "NotFound")


def test_quotas_count_what_is_there(site: Site) -> None:
    used = {
        one["name"]["value"]: one["currentValue"]
        for one in _got(site, f"{SUB}/providers/Microsoft.Compute/locations/westeurope/usages")["value"]
    }
    assert used["virtualMachines"] == 10
    assert used["virtualMachineScaleSets"] == 1
    size = next(iter(site.sets)).document["sku"]["name"]
    skus = _got(site, f"{SUB}/providers/Microsoft.Compute/skus", **{"$filter": "location eq 'northeurope'"})["value"]
    (sku,) = (one for one in skus if one["name"] == size)
    assert (sku["family"], sku["locations"]) == ("standardDSv5Family", ["northeurope"])
    assert used["standardDSv5Family"] == used["cores"], "all VMs of the region are of that family"
    assert _got(site, f"{SUB}/providers/Microsoft.Compute/locations/westeurope/vmSizes")["value"]
    assert _got(site, f"{SUB}/providers/Microsoft.Compute/skus")["value"]


def test_the_interfaces_of_a_uniform_set_stand_below_it(site: Site) -> None:
    below = f"{SUB}/resourceGroups/vmss-sim/providers/Microsoft.Compute/virtualMachineScaleSets/web"
    cards = _got(site, f"{below}/networkInterfaces")["value"]
    assert [card["properties"]["virtualMachine"]["id"] for card in cards] == [
        f"{below}/virtualMachines/{name}" for name in range(10)
    ]
    addresses = [card["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] for card in cards]
    assert len(set(addresses)) == len(addresses) == 10
    assert _got(site, f"{below}/virtualMachines/3/networkInterfaces")["value"] == [cards[3]]
    assert _code(site, "GET", f"{below}/virtualMachines/99/networkInterfaces") == (404, "NotFound")
    assert _code(site, "GET", f"{below}x/networkInterfaces") == (404, "NotFound")
    assert _ask(site, "PUT", f"{below}/networkInterfaces", {}) is None
    path = cards[3]["id"]
    assert _got(site, path) == cards[3], "what is listed can be read"
    assert _code(site, "GET", f"{path}x")[0] == 404


@pytest.mark.parametrize(
    "scope", [SUB, f"{SUB}/resourceGroups/vmss-sim/providers/Microsoft.A/b/c"], ids=["no group", "below something else"]
)
def test_a_set_that_is_in_no_group_has_no_interfaces(site: Site, scope: str) -> None:
    path = f"{scope}/providers/Microsoft.Compute/virtualMachineScaleSets/web/networkInterfaces"
    assert _ask(site, "GET", path) is None, "nobody's: 404"


def test_any_other_resource_is_kept_as_it_was_put(site: Site) -> None:
    said = {
        "location": "westeurope",
        "tags": {"a": "b"},
        "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}},
    }
    for status in (201, 200):
        made = _ask(site, "PUT", f"{NET}/Net", said)
        assert made is not None
        assert made.status == status
    found = _got(site, f"{NET}/nET".replace("vmss-sim", "VMSS-SIM"))
    assert found == {
        **said,
        "id": f"{NET}/Net",
        "name": "Net",
        "type": "Microsoft.Network/virtualNetworks",
        "properties": {**said["properties"], "provisioningState": "Succeeded"},  # type: ignore[dict-item]
    }
    _ask(site, "PUT", f"{NET}/Net/subnets/one", {"properties": {"addressPrefix": "10.0.0.0/24"}})
    _ask(site, "PUT", f"{NET}/Other/subnets/two", {"properties": {}})
    assert [one["name"] for one in _got(site, f"{NET}/net/subnets")["value"]] == ["one"]
    assert [one["name"] for one in _got(site, NET)["value"]] == ["Net"]
    assert [one["name"] for one in _got(site, f"{SUB}/providers/Microsoft.Network/virtualNetworks")["value"]] == ["Net"]
    patched = _ask(site, "PATCH", f"{NET}/Net", {"tags": {"a": None, "c": "d"}})
    assert patched is not None
    assert patched.body["tags"] == {"c": "d"}
    for status in (200, 204):
        gone = _ask(site, "DELETE", f"{NET}/Net")
        assert gone is not None
        assert gone.status == status
    assert _code(site, "GET", f"{NET}/Net") == (404, "ResourceNotFound")
    assert list(site.others) == [f"{NET}/Other/subnets/two".lower()]


def test_what_would_have_an_effect_is_refused_not_echoed(site: Site) -> None:
    group = f"{SUB}/resourceGroups/vmss-sim/providers"
    assert _code(site, "PUT", f"{group}/Microsoft.Resources/deployments/x", {}) == (400, "NotSupported")
    assert _ask(site, "PUT", f"{group}/Microsoft.Compute/virtualMachineScaleSets/web/nonsense/x", {}) is None
    assert _got(site, f"{group}/Microsoft.Compute/virtualMachineScaleSets/web/publicIPAddresses") == {"value": []}


@pytest.mark.parametrize(
    "path", ["/", "/nonsense", f"{SUB}/nonsense", f"{SUB}/resourceGroups/vmss-sim/providers", f"{NET}//x"]
)
def test_unknown_paths_are_nobodys(site: Site, path: str) -> None:
    assert _ask(site, "GET", path) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 5_000])
def test_a_body_that_is_no_object_is_refused(site: Site, body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        resources.answer(Request(method="PUT", path=f"{NET}/x", body=body), site)
    assert (refused.value.status, refused.value.code) == (400, "InvalidRequestContent")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


# -- secrets -----------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(JSON)
def test_a_body_without_secrets_comes_out_as_it_went_in(value: Any) -> None:
    data = json.dumps(value).encode()
    assert redaction.clean_body(data) == data


@given(st.sampled_from(sorted(redaction.NAMES)), st.sampled_from([str.upper, str.lower, str.title]), st.integers(0, 3))
def test_a_secret_goes_wherever_it_stands(name: str, spelt: Any, depth: int) -> None:
    value: Any = {spelt(name): "hunter2", "beside": 1}
    for number in range(depth):
        value = [value] if number % 2 else {"in": value}
    said = redaction.clean_body(json.dumps(value).encode())
    assert b"hunter2" not in said
    assert b'"beside":1' in said


def test_what_stands_for_a_secret_is_of_its_kind_and_tells_others_apart() -> None:
    one, two = redaction.clean({"password": "a"}), redaction.clean({"password": "b"})
    assert one == redaction.clean({"password": "a"})
    assert one != two
    assert isinstance(redaction.clean({"protectedSettings": {"x": "y"}})["protectedSettings"], dict)
    assert redaction.clean({"password": ["x"]})["password"] != ["x"]
    pairs = [{"name": "a", "value": "hunter2"}, {"name": "b", "value": "hunter2"}]
    assert [type(one) for one in redaction.clean({"protectedParameters": pairs})["protectedParameters"]] == [dict, dict]
    assert redaction.clean({"password": None, "adminPassword": ""}) == {"password": None, "adminPassword": ""}


def test_any_password_is_a_secret_whatever_it_is_the_password_of() -> None:
    assert "hunter2" not in str(redaction.clean({"administratorLoginPassword": "hunter2"}))
    assert redaction.clean({"disablePasswordAuthentication": True}) == {"disablePasswordAuthentication": True}


@settings(max_examples=50)
@given(JSON, st.sampled_from(["userData", "USERDATA", "script"]), st.integers(0, 3))
def test_what_is_private_is_in_no_file_and_what_stands_for_it_stays(value: Any, name: str, depth: int) -> None:
    value = {name: "hunter2", "beside": value, "parameters": [{"name": "n", "value": "hunter3"}]}
    value["deployed"] = {"parameters": {"key": {"value": {"deep": "hunter4"}}}}
    for number in range(depth):
        value = [value] if number % 2 else {"in": value}
    once = redaction.for_files(json.dumps(value).encode())
    assert b"hunter" not in once
    assert redaction.for_files(once) == once


def test_files_keep_what_names_nothing_private() -> None:
    data = b'{"value": "CustomScript",  "settings": {"a": 1}}'
    assert redaction.for_files(data) == data
    assert redaction.text_for_files("{nonsense") == "{nonsense"


def test_what_azure_shows_again_is_kept_as_it_is() -> None:
    told = {
        "userData": "aGVsbG8=",
        "protectedSettingsFromKeyVault": {"secretUrl": "https://v.invalid/s", "sourceVault": {"id": "/v"}},
    }
    assert redaction.clean(told) == told


def test_texts_that_name_a_secret_and_are_no_json() -> None:
    assert b"hunter2" not in redaction.clean_body(b'{"password": "hunter2"')
    assert redaction.clean_text("https://x/y?sv=1&sig=abc%2F&se=2") == "https://x/y?sv=1&sig=removed&se=2"
    kept = redaction.clean_headers({"authorization": "Bearer x", "if-match": '"1"', "x-new-secret": "y"})
    assert kept == {"if-match": '"1"'}
