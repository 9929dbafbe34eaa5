"""Images by URI: everywhere but on Microsoft's clouds, which retired them on 2026-03-31. Over the emulator, from the snapshot to the last VM."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.store.files import FileStore
from tests.azure_arm import SET, Arm, Token, listening
from tests.commands import vmss_sim
from tests.rehearsal import story
from vmss_sim.checks.emulated import Emulated

OLD, NEW = "https://account.blob.core.windows.net/vhds/old.vhd", "https://account.blob.core.windows.net/vhds/new.vhd"
SCENARIO = f"""
title = "Three VMs of a custom VHD"
why = "Azure Stack has unmanaged disks, the public clouds have them no longer."

[scale_set]
instances = 3
health = "extension"
upgrade_mode = "manual"
image = "{OLD}"

[change]
uri = "{NEW}"

[failures]
upgrade = 0.0
"""


class Closed(Token):
    def close(self) -> None:
        """As those of azure-identity have it."""


MADE = ("-s", "one-by-one", "--target", NEW, "-n", "3", "--jobs", "1", "--author", "ann")


@pytest.fixture
def azure(vmss_emulator: Callable[..., Emulated], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulated:
    monkeypatch.chdir(tmp_path)
    Path("vhd.toml").write_text(SCENARIO)
    made = vmss_emulator(Path("vhd.toml"), clock="manual")
    login = {"AZURE_TENANT_ID": made.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": "any"}
    for name, value in (made.environment | login).items():
        monkeypatch.setenv(name, value)
    return made


def test_a_set_on_vhds_is_looked_at_planned_for_and_upgraded_where_they_are_supported(azure: Emulated) -> None:
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    assert vmss_sim("snapshot", "--scale-set", azure.id, *reach, "-o", "snapshot.json").status == 0
    assert json.loads(Path("snapshot.json").read_text())["cloud"] == "endpoint"
    linted = vmss_sim("lint", "snapshot.json", "--json")
    assert linted.status == 0 and "VS119" not in linted.out, linted
    every = vmss_sim("lint", "--all", "--subscription", azure.subscription, *reach, "--json")
    assert every.status == 0 and "VS119" not in every.out, every
    from_file = vmss_sim("plan", "snapshot.json", *MADE, "-o", "from-file.json")
    ran = vmss_sim("plan", "--scale-set", azure.id, *reach, *MADE, "-o", "plan.json")
    assert (from_file.status, ran.status) == (0, 0), (from_file, ran)
    assert Path("plan.json").read_bytes() == Path("from-file.json").read_bytes()
    ran = vmss_sim("apply", "plan.json", "--yes", "--store", "file:store", "--log-format", "json", *reach)
    told = story(ran, FileStore(Path("store")))
    assert (told.status, told.state.ending) == (0, "finish"), ran
    after = json.loads(vmss_sim("snapshot", "--scale-set", azure.id, *reach).out)
    disks = [one["properties"]["storageProfile"]["osDisk"] for one in after["instances"]]
    assert [one["image"]["uri"] for one in disks] == [NEW] * 3


@pytest.mark.parametrize("cloud", ["public", "government", "china", ""])
def test_a_file_of_one_of_microsoft_s_clouds_is_refused_and_one_that_does_not_say_is_too(
    cloud: str, azure: Emulated
) -> None:
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    assert vmss_sim("snapshot", "--scale-set", azure.id, *reach, "-o", "snapshot.json").status == 0
    document = json.loads(Path("snapshot.json").read_text())
    del document["cloud"]
    Path("snapshot.json").write_text(json.dumps(document | ({"cloud": cloud} if cloud else {})))
    ran = vmss_sim("plan", "snapshot.json", *MADE, "-o", "plan.json")
    assert ran.status == 1 and not Path("plan.json").exists(), ran
    assert "VS119: the set uses unmanaged disks, which Azure retired on 2026-03-31" in ran.err
    assert ("`vmss-sim snapshot --endpoint URL`" in ran.err) is not cloud, "how to tell it, where nobody told it"


def test_a_cloud_that_is_none_is_refused(azure: Emulated) -> None:
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    document = json.loads(vmss_sim("snapshot", "--scale-set", azure.id, *reach).out) | {"cloud": "mine"}
    Path("snapshot.json").write_text(json.dumps(document))
    ran = vmss_sim("lint", "snapshot.json")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert "$.cloud: " in ran.err and "expected Public or Government or China or Endpoint" in ran.err


@pytest.mark.parametrize("cloud", ["public", "government", "china"])
def test_a_set_on_vhds_in_one_of_microsoft_s_clouds_is_planned_for_nowhere(
    cloud: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("backends.azure.connecting.credential_of", lambda *_args, **_more: Closed())
    with listening(Arm()) as arm:
        profile = arm.set["properties"]["virtualMachineProfile"]["storageProfile"]
        profile["osDisk"] = {"image": {"uri": OLD}, "osType": "Linux", "createOption": "FromImage"}
        profile.pop("imageReference", None)
        ran = vmss_sim("plan", "--scale-set", SET, "--cloud", cloud, *MADE, "-o", "plan.json")
        assert ran.status == 1 and not Path("plan.json").exists(), ran
        assert "VS119" in ran.err and not arm.sent
