"""Which versions of a platform image there are: Azure refuses a model that names another, and so does the endpoint; the report names both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.arm_http import Az
from tests.arm_site import Client
from tests.test_arm_control import NEW, _upgraded
from tests.test_arm_sets import SETS, _body
from vmss_sim.arm.http import Response
from vmss_sim.checks.emulated import Emulated
from vmss_sim.world.config import Image

Make = Callable[..., Emulated]
TYPO = "99.99.typo"
TARGET = Image(publisher="canonical", offer="Ubuntu", sku="22_04-lts", version="2.0.0", exact="2.0.0")


def _client(*, known: bool = True) -> Client:
    client = Client()
    client.site.images, client.site.versions_known = (TARGET,), known
    return client


def _image(version: str, **more: str) -> dict[str, Any]:
    return {
        "properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": version, **more}}}}
    }


def _refused(answer: Response) -> bool:
    if answer.status < 400:
        return False
    assert answer.status == 404
    assert answer.body["error"]["code"] == "PlatformImageNotFound"
    assert answer.body["error"]["target"] == "imageReference"
    said = answer.body["error"]["message"]
    assert said.startswith("The platform image 'Canonical:ubuntu:22_04-lts:99.99.typo' is not available. ")
    assert "Verify that all fields in the storage profile are correct." in said
    return True


@pytest.mark.parametrize(
    ("version", "refused"), [(TYPO, True), ("2.0.0", False), ("1.0.0", False), ("latest", False), ("Latest", False)]
)
def test_an_update_names_a_version_that_there_is(version: str, refused: bool) -> None:
    client = _client()
    before = client.ask("GET", client.set).body
    for method in ("PATCH", "PUT"):
        body = {**(before if method == "PUT" else {}), **_image(version)}
        answer = client.ask(method, client.set, body)
        assert _refused(answer) is refused
        client.clock.advance(60_000)
    if refused:
        assert client.ask("GET", client.set).body == before


def test_a_set_is_created_with_a_version_that_there_is() -> None:
    client = _client()
    body = _body()
    image = body["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    image["version"] = TYPO
    assert _refused(client.ask("PUT", client.group + SETS + "/New", body))
    assert len(client.site.sets) == 1
    image["version"] = "2.0.0"
    assert client.ask("PUT", client.group + SETS + "/New", body).status == 201


def test_the_way_back_is_known_even_where_nobody_runs_it_any_more() -> None:
    client = _client()
    for version in ("2.0.0", "1.0.0", "2.0.0"):
        client.do("PATCH", client.set, _image(version))
        client.do("POST", client.set + "/manualupgrade", {"instanceIds": ["*"]})
        client.clock.advance(3_600_000)


def test_what_changes_nothing_of_the_image_is_not_asked_about_it() -> None:
    client = _client(known=False)
    assert client.ask("PATCH", client.set, _image(TYPO)).status == 200, "any version, where they are not known"
    client.site.versions_known = True
    client.clock.advance(60_000)
    assert client.ask("PATCH", client.set, {"tags": {"a": "b"}}).status == 200


@pytest.mark.parametrize("other", [{"sku": "24_04-lts"}, {"publisher": "Debian"}])
def test_of_an_image_that_is_not_in_play_nothing_is_known(other: dict[str, str]) -> None:
    client = _client()
    answer = client.ask("PATCH", client.set, _image(TYPO, **other))
    assert answer.status == 200 or answer.body["error"]["code"] != "PlatformImageNotFound"


def test_the_report_names_the_image_of_the_model_and_the_target(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az = Az(azure)
    first = azure.control.report()["images"]
    assert first["target"].endswith(f":{NEW}")
    assert first["model"] != first["target"]
    answer = az.ask("PUT", body=_upgraded(az, TYPO))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "PlatformImageNotFound")
    assert azure.control.report()["images"] == first
    assert az.ask("PUT", body=_upgraded(az)).status_code == 200
    found = azure.control.report()["images"]
    assert found["model"] == found["target"] == first["target"]


def test_any_version_may_be_allowed(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual", any_version=True)
    az = Az(azure)
    assert az.ask("PUT", body=_upgraded(az, TYPO)).status_code == 200
    assert azure.control.report()["images"]["model"].endswith(f":{TYPO}")


def test_latest_is_the_newest_version_that_there_is(vmss_emulator: Make) -> None:
    azure = vmss_emulator("two-vms", clock="manual")
    az = Az(azure)
    for body in ({"properties": {"upgradePolicy": {"mode": "Manual"}}}, _image("Latest")):
        assert az.ask("PATCH", body=body).status_code == 200
        azure.control.run_until_idle()
    assert az.ask("POST", "reimage", {"instanceIds": ["1"]}).status_code == 202
    azure.control.run_until_idle()
    publisher, offer, sku, target = azure.control.report()["images"]["target"].split(":")
    newest = (
        f"/subscriptions/{azure.subscription}/providers/Microsoft.Compute/locations/westeurope/publishers/{publisher}"
        f"/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions/latest"
    )
    assert az.ask("GET", newest).json()["name"] == target
    booted = az.ask("GET", "virtualMachines/1").json()["properties"]["storageProfile"]["imageReference"]
    assert booted["exactVersion"] == target


@pytest.mark.parametrize("path", ["/reimage", "/virtualMachines/0/reimage", "/reimageall"])
def test_a_reimage_names_a_version_that_there_is(path: str) -> None:
    client = _client()
    assert _refused(client.ask("POST", client.set + path, {"exactVersion": TYPO}))
    assert client.ask("POST", client.set + path, {"exactVersion": "2.0.0"}).status == 202
