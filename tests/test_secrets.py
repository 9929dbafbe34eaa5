"""No secret is logged, journaled or put in a plan: what a change may not hold, and a search through everything that a rollout leaves behind."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.change import GuestPatch, ImageUriChange, PropertyChange, resolve
from planner.errors import InputError
from planner.model import ImageReference
from planner.planfile import decode, encode
from planner.secret import NAMES, kept, place_of
from tests.commands import Ran, vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply_emulated import SCENARIO as FOUR
from vmss_sim.arm.wire import HIDDEN
from vmss_sim.checks.emulated import Emulated
from vmss_sim.cli import logs

PROFILE = "properties.virtualMachineProfile"
SECRET = "TopSecret123"
HEALTH = {
    "properties": {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "settings": {"port": 80}}
}
SCRIPT = {
    "properties": {
        "publisher": "Microsoft.Azure.Extensions",
        "type": "CustomScript",
        "settings": {"commandToExecute": SECRET},
    }
}

# -- a change ----------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Any]] = [
    *((f"{PROFILE}.osProfile.{name}", SECRET) for name in ("adminPassword", "ADMINPASSWORD", "customData", "adminUsername")),
    (f"{PROFILE}.userData", SECRET),
    (f"{PROFILE}.osProfile.secrets.password", SECRET),  # below
    (f"{PROFILE}.extensionProfile.protectedSettings.key", SECRET),
    (f"{PROFILE}.osProfile", {"computerNamePrefix": "x", "adminPassword": SECRET}),  # above
    ("properties", {"virtualMachineProfile": {"extensionProfile": {"extensions": [{"properties": {"protectedSettings": {"a": SECRET}}}]}}}),
    (f"{PROFILE}.extensionProfile.extensions", [HEALTH, SCRIPT]),
    (f"{PROFILE}.osProfile.windowsConfiguration", {"additionalUnattendContent": [{"content": SECRET}]}),
    (f"{PROFILE}.storageProfile.osDisk.image.uri", f"https://a.blob.core.windows.net/v/a.vhd?sv=1&sig={SECRET}"),
]  # fmt: skip
ALLOWED: list[tuple[str, Any]] = [
    (f"{PROFILE}.extensionProfile.extensions", [HEALTH]),
    (f"{PROFILE}.osProfile.windowsConfiguration.timeZone", "UTC"),
    (f"{PROFILE}.networkProfile", {"certificateUrl": "https://vault.vault.azure.net/secrets/tls/1"}),
    ("tags", {"cost": "4711"}),
]


def fleet(path: str, now: Any = None) -> Any:
    found = Fleet(size=2).scale_set()
    return msgspec.structs.replace(found, model=msgspec.structs.replace(found.model, settings={path: now}))


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_a_change_that_holds_a_secret_is_refused_and_not_repeated(path: str, value: Any) -> None:
    for before, after in ((None, value), (value, None)):  # what is there now stands in the plan, too: as the way back
        if (after is None) and not place_of(path, before):
            continue
        with pytest.raises(InputError) as caught:
            resolve(PropertyChange(path=path, value=after), fleet(path, before))
        told = str(caught.value)
        assert "secret" in told and SECRET not in told and "\n" not in told


@pytest.mark.parametrize(("path", "value"), ALLOWED)
def test_a_change_without_one_is_not(path: str, value: Any) -> None:
    assert resolve(PropertyChange(path=path, value=value), fleet(path)).patch == {path: value}


def test_the_address_of_a_disk_may_not_be_signed() -> None:
    found = Fleet(size=2).scale_set()
    found = msgspec.structs.replace(
        found, model=msgspec.structs.replace(found.model, image=ImageReference(uri="https://a/old.vhd"))
    )
    assert resolve(ImageUriChange(uri="https://a/new.vhd"), found).patch
    with pytest.raises(InputError, match="shared access signature"):
        resolve(ImageUriChange(uri=f"https://a/new.vhd?sp=r&sig={SECRET}"), found)


@pytest.mark.parametrize("part", ["script", "undo"])
def test_a_script_may_fetch_nothing_from_a_signed_address(part: str) -> None:
    scripts = {
        "script": "true",
        "undo": "true",
        part: f"curl 'https://a.blob.core.windows.net/c/x.sh?sv=1&sig={SECRET}' | sh",
    }
    with pytest.raises(InputError, match=rf"guest\.{part} \(a shared access signature\)") as told:
        resolve(GuestPatch(**scripts), Fleet(size=2).scale_set())
    assert SECRET not in str(told.value)
    assert "managed identity" in str(told.value)


def test_what_azure_does_not_show_is_on_the_list() -> None:
    assert {name.lower() for name in HIDDEN} <= NAMES


def test_the_list_serves_both() -> None:
    """What a snapshot leaves out, a change may not hold."""
    document = dict.fromkeys(NAMES, SECRET) | {"settings": SECRET, "kept": 1}
    assert kept(document) == {"kept": 1}
    assert all(place_of("p", {name: SECRET}) == f"p.{name}" for name in (*NAMES, "settings"))


SCENARIO = """
title = "A secret"
why = "It is refused."
[scale_set]
instances = 3
health = "extension"
[change]
set = { "properties.virtualMachineProfile.osProfile.adminPassword" = "TopSecret123" }
[load]
required = "50%"
"""


@pytest.mark.parametrize(
    "command", [("plan", "-s", "batch", "-o", "pw.json"), ("compare",), ("simulate", "-s", "batch"), ("lint",)]
)
def test_a_scenario_with_one_is_refused(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.toml").write_text(SCENARIO)
    ran = vmss_sim(command[0], "secret.toml", *command[1:])
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert "osProfile.adminPassword" in ran.err and SECRET not in ran.err
    assert not Path("pw.json").exists()


def test_a_plan_file_with_one_is_refused() -> None:
    """One that an older version made, or somebody wrote."""
    plan = Case(fleet=Fleet(size=2)).plan()
    path = f"{PROFILE}.osProfile.adminPassword"
    change = PropertyChange(path=path, value=SECRET)
    settings = msgspec.structs.replace(plan.scale_set, settings={path: None})
    resolved = msgspec.structs.replace(plan.resolved, change=change, patch={path: SECRET}, reverse={path: None})
    data = encode(msgspec.structs.replace(plan, scale_set=settings, resolved=resolved))
    with pytest.raises(InputError, match="secret") as caught:
        decode(data, "plan.json")
    assert SECRET not in str(caught.value)


# -- everything that a rollout leaves behind -------------------------------------------------------------------------------

PLANTED = (
    "p4ssw0rd-admin",
    "cDRzcy1jdXN0b20=",
    "p4ss-protected",
    "p4ss-settings",
    "p4ss-user",
    "client-s3cret",
    "blob-k3y",
    "w3bhook-token",
)
"""In the model (as if ARM showed everything), in the environment, and on the command line."""


def plant(azure: Emulated, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for module, name in (("documents", "HIDDEN"), ("documents", "SECRET"), ("shapes", "SECRET")):
        monkeypatch.setattr(f"vmss_sim.arm.{module}.{name}", frozenset())  # an ARM that shows everything
    profile = azure.emulator.measured_set.document["properties"]["virtualMachineProfile"]
    profile["osProfile"] |= {"adminPassword": PLANTED[0], "customData": PLANTED[1]}
    profile["userData"] = PLANTED[4]
    profile["extensionProfile"]["extensions"].append(
        {"name": "script", "properties": {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript",
         "typeHandlerVersion": "2.1", "settings": {"a": PLANTED[3]}, "protectedSettings": {"a": PLANTED[2]}}}
    )  # fmt: skip
    for name, value in {
        **azure.environment, "AZURE_TENANT_ID": azure.tenant, "AZURE_CLIENT_ID": "any", "AZURE_CLIENT_SECRET": PLANTED[5],
        "AZURE_CONFIG_DIR": str(folder), "AZURE_STORAGE_CONNECTION_STRING":
            f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={PLANTED[6]};EndpointSuffix=core.windows.net",
        "VMSS_SIM_WEBHOOK": f"http://127.0.0.1:9/hook/{PLANTED[7]}?code={PLANTED[7]}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Afterwards: `-vv` stays on in this process, and another test's stderr would hold the log."""
    yield
    logs.turn_off()


@pytest.mark.usefixtures("quiet")
def test_nothing_that_a_rollout_leaves_behind_holds_a_secret(
    vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "four.toml").write_text(FOUR)
    azure = vmss_emulator(str(tmp_path / "four.toml"))
    plant(azure, monkeypatch, tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    listener = (
        f'{shlex.quote(sys.executable)} -c \'import sys; open("told.jsonl", "a").write(sys.stdin.read() + chr(10))\''
    )
    reach = ("--endpoint", azure.url, "--ca", azure.ca, "--credential", "environment")
    store = ("--store", "file:store")
    told: list[tuple[tuple[str, ...], Ran]] = []

    def run(*arguments: str, status: int = 0) -> None:
        ran = vmss_sim(*arguments)
        assert ran.status == status, (arguments, ran)
        told.append((arguments, ran))

    run("snapshot", "-vv", "--scale-set", azure.id, *reach, "-o", "snapshot.json")
    run("lint", "snapshot.json")
    run("preview", "snapshot.json", "--target", "22.04.202606010", "-n", "2", "--jobs", "1")
    run("plan", "snapshot.json", "--target", "22.04.202606010", "-s", "batch", "-p", "batch.size=2", "--author", "ann",
        "-n", "2", "--jobs", "1", "-o", "plan.json")  # fmt: skip
    run("show", "plan.json")
    run("apply", "-vv", "plan.json", "--yes", *store, *reach, "--hook", listener)
    for command in (("status",), ("status", "--json"), ("history", "--format", "md"), ("trace",)):
        run(*command, *store)
    searched = {f"{name} {stream}": text for name, ran in told for stream, text in (("out", ran.out), ("err", ran.err))}
    searched |= {
        str(one.relative_to(work)): one.read_bytes().decode(errors="replace")
        for one in work.rglob("*")
        if one.is_file()
    }
    assert {"snapshot.json", "plan.json", "told.jsonl"} <= searched.keys() and any(
        name.startswith("store") for name in searched
    )
    assert "the rollout goes on" in searched[f"{told[5][0]} out"], (
        "the webhook's failure is reported, without its token"
    )
    assert '"rollout-ended"' in searched["told.jsonl"]
    shown = json.dumps(azure.emulator.measured_set.document)
    assert all(one in shown for one in PLANTED[:5]), "they are there to be found"
    for secret in PLANTED:
        assert [name for name, text in searched.items() if secret in text] == []
