"""What real clients found of the endpoint, so that it stays found without them (they run in `make clients`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scenarios import build, files, to_arm
from tests.arm_http import Az
from vmss_sim.checks.emulated import Emulated, emulated

ON_LATEST = Path(__file__).parent / "clients" / "scenarios" / "platform.toml"


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("two-vms", folder=tmp_path_factory.mktemp("ca")) as made:
        yield made


def test_a_base_that_ends_in_a_slash(azure: Emulated) -> None:
    """The az CLI registers a cloud by `--endpoint-resource-manager https://localhost:8443/`, and asks for //metadata/endpoints."""
    answer = requests.get(f"{azure.url}//metadata/endpoints?api-version=2022-09-01", verify=azure.ca, timeout=10)
    assert answer.status_code == 200
    assert answer.json()["resourceManager"] == f"{azure.url}/"


def test_a_protection_policy_that_was_written_stays(azure: Emulated) -> None:
    """As recorded (test_vmss_update.yaml of the az CLI, 2023 and 2024): both false is not nothing."""
    az = Az(azure)
    assert "protectionPolicy" not in az.ask("GET", "virtualMachines/0").json()["properties"]
    for wanted in ({"protectFromScaleIn": True, "protectFromScaleSetActions": True},) * 2 + (
        {"protectFromScaleIn": False, "protectFromScaleSetActions": False},
    ):
        az.do("PUT", "virtualMachines/0", {"location": "westeurope", "properties": {"protectionPolicy": wanted}})
        assert az.ask("GET", "virtualMachines/0").json()["properties"]["protectionPolicy"] == wanted
    assert "protectionPolicy" not in az.ask("GET", "virtualMachines/1").json()["properties"]


def test_every_instance_shows_which_version_it_booted() -> None:
    """Of a set on `latest` too, of which the scenario does not say what it runs; recorded since api-version 2019-07-01."""
    site = to_arm.site(to_arm.versioned(build.read(files.find_scenario(str(ON_LATEST)))), None, 1)
    booted = {vm.image.exact for vm in site.sets[0].world.vms.values() if vm.image is not None}
    assert booted == {to_arm.OLDEST}


def test_a_trace_says_what_a_body_is(azure: Emulated) -> None:
    """Validators of traffic judge no body of an unknown type."""
    Az(azure).ask("GET")
    last = json.loads(azure.emulator.trace.path.read_text().splitlines()[-1])
    assert last["headers"]["content-type"] == "application/json; charset=utf-8"
