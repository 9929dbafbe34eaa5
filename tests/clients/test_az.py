"""The az CLI: every command that touches upgrades, what it sends and what comes of it; and whole rollouts by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import figures
from tests.clients.az import Az
from tests.clients.az_commands import COMMANDS, Command
from tests.clients.figures import OUT_S, PER_DOMAIN_S, PLATFORM_S
from tests.clients.harness import NEW, emulator, needs

pytestmark = needs("az")


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Az]:
    """One set for all commands, which follow each other: the tests of this file run in one process (`--dist loadfile`)."""
    with emulator("tour", tmp_path_factory.mktemp("az-tour")) as running:
        yield Az(running)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.args)
def test_what_a_command_sends(tour: Az, command: Command) -> None:
    done, sent = tour.asked(command.args)
    assert done.status == command.status, done.err
    assert sent == list(command.requests)


def test_what_the_commands_led_to(tour: Az) -> None:
    model = tour.json("show")
    assert model["tags"] == {"owner": "team"}
    assert model["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] == NEW
    assert model["sku"]["capacity"] == 6
    instances = {one["instanceId"]: one for one in tour.json("list-instances --expand instanceView")}
    assert sorted(instances) == ["0", "1", "2", "3", "4", "6"]
    for one in instances.values():
        assert one["latestModelApplied"]
        assert one["storageProfile"]["imageReference"]["exactVersion"] == NEW
        codes = [status["code"] for status in one["instanceView"]["statuses"]]
        assert codes == ["ProvisioningState/succeeded", "PowerState/running"]
    protection = instances["3"]["protectionPolicy"]
    assert not protection["protectFromScaleIn"] and not protection["protectFromScaleSetActions"]
    services = tour.json("get-instance-view")["orchestrationServices"]
    assert [(one["serviceName"], one["serviceState"]) for one in services] == [("AutomaticRepairs", "Running")]


def test_per_update_domain_by_a_script(tmp_path: Path) -> None:
    with emulator("per-domain", tmp_path) as running:
        az = Az(running)
        done = az.script("per_domain.sh", PAUSE="300")
        assert done.status == 0, done.err
        instances = az.json("list-instances")
    assert [one["storageProfile"]["imageReference"]["exactVersion"] for one in instances] == [NEW] * 10
    figures.truth(running.final, instances=10, floor=8, lost_s=OUT_S, between_s=PER_DOMAIN_S)


def test_the_platforms_own(tmp_path: Path) -> None:
    with emulator("platform", tmp_path, "--opaque-urls") as running:
        az = Az(running)
        running.control.advance(5)  # a newer image is out
        az.json("rolling-upgrade start")
        latest = az.json("rolling-upgrade get-latest")
        history = az.json("get-os-upgrade-history")
        instances = az.json("list-instances")
    assert latest["runningStatus"]["code"] == "Completed"
    assert latest["progress"]["successfulInstanceCount"] == 10
    assert [one["properties"]["runningStatus"]["code"] for one in history] == ["Completed"]
    assert [one["storageProfile"]["imageReference"]["exactVersion"] for one in instances] == [NEW] * 10
    figures.truth(running.final, instances=10, floor=8, lost_s=OUT_S, between_s=PLATFORM_S)


def test_a_rolling_upgrade_is_cancelled(tmp_path: Path) -> None:
    """What is in flight is completed, what is not stays as it was."""
    with emulator("platform", tmp_path) as running:
        az = Az(running)
        running.control.advance(5)
        az.json("rolling-upgrade start --no-wait")
        running.control.advance(70)
        az.json("rolling-upgrade cancel")
        latest = az.json("rolling-upgrade get-latest")
        running.control.run_until_idle()
        instances = az.json("list-instances")
    assert latest["runningStatus"]["code"] == "Cancelled"
    moved = [one["storageProfile"]["imageReference"]["exactVersion"] for one in instances].count(NEW)
    assert 0 < moved < 10
    assert latest["progress"]["successfulInstanceCount"] + latest["progress"]["pendingInstanceCount"] == 10
    assert running.final["complete"] and running.final["metrics"]["min_healthy"] == 8


def test_as_a_managed_identity(tmp_path: Path) -> None:
    """No secret and no login page: what CI jobs in Azure do."""
    with emulator("short", tmp_path) as running:
        az = Az(running)
        done = az.plain("login --identity")
        assert done.status == 0, done.err
        assert done.json[0]["user"]["assignedIdentityInfo"] == "MSI"
        assert az.json("show")["sku"]["capacity"] == 4
