"""What `status` prints after a rollout that ended too early, run as it stands: snapshot, plan, apply, until the set is as it was."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from backends.store import Entry
from backends.store.files import FileStore
from backends.where import Where
from planner.change import GuestPatch, ImageIdChange, ImageUriChange, PropertyChange
from planner.model import HealthSource, UpgradeMode
from planner.rollout import Asked
from tests.commands import Ran, vmss_sim
from tests.fleet import NEW, OLD, SETTING, Act, Case, Fleet, act, at, image
from tests.test_apply import Desk, desk
from vmss_sim.checks.emulated import Emulated
from vmss_sim.world.scale_set import IMAGE

__all__ = ["desk"]
SCENARIO = """
title = "Four in two update domains, in mode Rolling"
why = "What has to be taken back by a plan of its own."

[scale_set]
instances = 4
update_domains = 2
health = "extension"
upgrade_mode = "rolling"

[change]
version = "22.04.202606010"

[failures]
upgrade = 0.0

[load]
required = "50%"
"""


@pytest.fixture
def azure(vmss_emulator: Callable[..., Emulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    """An emulator, and the environment and folder of somebody who was given what it prints."""
    (tmp_path / "four.toml").write_text(SCENARIO)
    made = vmss_emulator(str(tmp_path / "four.toml"))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, made.tenant)
    monkeypatch.setenv("VMSS_SIM_STORE", f"file:{tmp_path}/store")
    monkeypatch.chdir(tmp_path)
    return made


def images(azure: Emulated) -> set[str]:
    return {vm.image.exact for vm in azure.emulator.measured_set.world.vms.values()}


def run(line: str, *more: str) -> Ran:
    name, *arguments = shlex.split(line)
    assert name == "vmss-sim"
    return vmss_sim(*arguments, *more)


def begun(azure: Emulated, strategy: str, status: int = 3) -> None:
    """One batch is on the new image."""
    reach = shlex.join(["--endpoint", azure.url, "--ca", str(azure.ca), "--credential", "environment"])
    for line, code in (
        (f"vmss-sim snapshot --scale-set {azure.id} -o snapshot.json {reach}", 0),
        (f"vmss-sim plan snapshot.json --target 22.04.202606010 {strategy} --no-forecast -o plan.json", 0),
        (f"vmss-sim apply plan.json --yes {reach}", status),
    ):
        ran = run(line)
        assert ran.status == code, (line, ran)
    assert len(images(azure)) == 2


def told() -> dict[str, Any]:
    return json.loads(vmss_sim("status", "--json").out)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("strategy", "back"),
    [
        (
            "-s batch -p batch.size=2 -p batch.approve=true --slo 'healthy >= 50%'",
            "-s batch -p batch.size=2 --slo 'healthy >= 50%'",
        ),
        ("-s per-ud -p per-ud.approve=true --slo 'healthy >= 50%'", "-s per-ud --slo 'healthy >= 50%'"),
        ("-s selected -p selected.ids=1,3 -p selected.approve=true", "-s one-by-one"),
    ],
)
def test_the_printed_lines_run_as_they_stand_until_the_set_is_back(azure: Emulated, strategy: str, back: str) -> None:
    before = images(azure)
    begun(azure, strategy)
    assert run("vmss-sim abort --yes").status == 1
    status = told()
    says, _, plan, _ = status["afterwards"]
    assert "To take them back, make a new plan" in says
    assert plan == f"vmss-sim plan now.json --target {min(before)} {back} -o back.json"
    taken_back(status)
    assert images(azure) == before
    later, first = told(), status["rollout"]
    assert later["temporary_changes"] == [f"mode manual instead of rolling (since {first})"]
    assert [one["command"] for one in later["undo"]] == [status["undo"][0]["command"]]
    assert "nothing would move in mode rolling" in later["undo"][0]["why"]
    shown = vmss_sim("status").out
    assert "all is as before" not in " ".join(shown.split())
    assert f"  {later['undo'][0]['command']}\n" in shown
    old = json.loads(vmss_sim("status", first, "--json").out)
    assert old["followed_by"] == {"rollout": later["rollout"], "ending": "finish"}
    assert f"{later['rollout']} of the same set followed and ended: finish" in old["afterwards"][0]
    assert (old["afterwards"][1:], old["undo"]) == ([f"vmss-sim status {later['rollout']}"], [])


def test_after_a_stop_what_failed_is_taken_back_too(azure: Emulated) -> None:
    before = images(azure)
    azure.control.faults(
        [{"verdict": "fail", "of": "upgrade", "first": 4, "last": 999, "code": "OSProvisioningTimedOut"}]
    )
    begun(azure, "-s one-by-one -p one-by-one.retries=0 --slo 'healthy >= 50%'", 1)
    status = told()
    assert (status["ending"], len(status["failed"])) == ("stop", 1)
    assert f"failed: {status['failed'][0]['id']}" in status["afterwards"][0]
    azure.control.faults([])
    taken_back(status)
    assert images(azure) == before
    world = azure.emulator.measured_set.world
    assert all(world.serving(vm) and world.is_latest(vm) for vm in world.vms.values())


def test_after_drift_what_was_moved_is_taken_back(azure: Emulated) -> None:
    before = images(azure)
    begun(azure, "-s batch -p batch.size=2 -p batch.approve=true --slo 'healthy >= 50%'")
    somebody = {"Authorization": "Bearer somebody"}
    image = {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": min(before)}}}}
    answer = requests.patch(
        f"{azure.url}{azure.id}?api-version=2024-07-01",
        json={"properties": image},
        headers=somebody,
        verify=azure.ca,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    azure.control.run_until_idle()
    assert run("vmss-sim approve --by carol", told()["rollout"]).status == 0
    assert run("vmss-sim resume --yes").status == 1
    status = told()
    assert status["ending"] == "drift", status["why"]
    taken_back(status)
    assert images(azure) == before
    (Path("now.json")).unlink()
    _, snapshot, plan, apply = status["afterwards"]
    for line in (snapshot, f"{plan} --no-forecast --force", f"{apply} --again --yes"):
        assert run(line).status == 0, line
    third, mode = told(), status["undo"][-1]["command"]
    assert third["temporary_changes"] == [f"mode manual instead of rolling (since {status['rollout']})"], (
        "the second left it"
    )
    assert [one["command"] for one in third["undo"]] == [mode]
    azure.control.run_until_idle()
    answer = requests.patch(
        f"{azure.url}{azure.id}?api-version=2024-07-01",
        json={"properties": {"upgradePolicy": {"mode": "Rolling"}}},
        headers=somebody,
        verify=azure.ca,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    azure.control.run_until_idle()
    for line in (f"{snapshot} --force", f"{plan} --no-forecast --force", f"{apply} --again --yes"):
        assert run(line).status == 0, line
    assert (told()["temporary_changes"], told()["undo"]) == ([], []), "it was brought back"


BREACHED = """
title = "Ten in mode Rolling, and an image that is bad for half of them"
why = "The platform's rollout stops, and the model still names the image."

[scale_set]
instances = 10
update_domains = 5
health = "extension"
upgrade_mode = "rolling"

[change]
version = "22.04.202606010"

[failures]
upgrade = 0.0
bad_image = { share = 0.9, after = "4m" }

[load]
required = "80%"
"""


@pytest.fixture
def breached(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Emulated:
    monkeypatch.setattr(f"{__name__}.SCENARIO", BREACHED)
    return request.getfixturevalue("azure")  # type: ignore[no-any-return]


def test_after_a_platforms_rollout_that_breached_the_floor_the_printed_lines_run(breached: Emulated) -> None:
    before = images(breached)
    begun(breached, "-s platform-rolling -p platform-rolling.max_failed=100%", 1)
    status = told()
    assert (status["ending"], status["above_floor"]) == ("stop", False), status["why"]
    assert status["temporary_changes"] == ["mode manual instead of rolling"]
    assert (
        f"-s one-by-one -p one-by-one.unhealthy_first=true --slo 'healthy >= {status['in_service']}'"
        in status["afterwards"][2]
    )
    taken_back(status)
    assert images(breached) == before
    world = breached.emulator.measured_set.world
    assert world.mode == "manual"
    assert told()["undo"][0]["command"].endswith("--set upgradePolicy.mode=Rolling"), "the later one tells it too"
    assert all(world.serving(vm) and world.is_latest(vm) for vm in world.vms.values())


def taken_back(status: dict[str, Any]) -> None:
    """The printed lines, run as they stand."""
    _, snapshot, plan, apply = status["afterwards"]
    shown = vmss_sim("status").out
    assert shown.index(apply) < shown.index(status["undo"][0]["command"]), "the mode comes after what is taken back"
    for line, more in ((snapshot, ()), (plan, ("-n", "5", "--jobs", "1")), (apply, ("--yes",))):
        assert f"  {line}\n" in shown
        ran = run(line, *more)
        assert ran.status == 0, (line, ran)


# -- the mode from before ----------------------------------------------------------------------------------------------

ROLLING = Case(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING))


@pytest.mark.parametrize(
    ("case", "asked", "ending", "moves"),
    [
        (ROLLING.but(parameters={"approve": True}), ("abort",), "abort", ["0"]),
        (ROLLING.but(parameters={"retries": 0}, fails={1: (1,)}), (), "stop", ["0"]),
        (ROLLING.but(parameters={"approve": True}), ("skip", "resume", "resume"), "finish-with-exceptions", ["1"]),
        (ROLLING.but(parameters={"approve": True}), ("drift", "resume"), "drift", ["0", "1", "2"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mode_that_did_not_come_back_is_named_with_what_it_would_move(
    desk: Callable[[Case], Desk], case: Case, asked: tuple[str, ...], ending: str, moves: list[str]
) -> None:
    here = desk(case)
    here.run("apply")
    for word in asked:
        if word == "skip":
            here.run("skip", here.rollout, "1", "--reason", "its disk is full")
        elif word == "drift":
            act(here.world, Act(0, "update-model", args={"patch": {IMAGE + "version": "3.0.0"}}))
            here.world.run(here.world.now + 60_000, stop_on_wake=False)
        else:
            here.store.journal(here.rollout).ask(Asked.APPROVE)
            here.run(word, here.rollout, "--yes")
    status = here.status()
    assert status["ending"] == ending, status["why"]
    assert here.world.mode == "manual"
    (undo,) = status["undo"]
    assert undo["command"] == "az vmss update -g GROUP -n web --set upgradePolicy.mode=Rolling"
    assert undo["instances"] == moves
    told = " ".join(here.run("status").out.split())
    assert f"the platform would move {', '.join(moves)}" in told


def test_what_is_still_changed_is_said_as_of_the_last_look(desk: Callable[[Case], Desk]) -> None:
    """az puts the mode back by hand, and nobody looks since: whose word it is stands beside it."""
    here = desk(ROLLING.but(parameters={"approve": True}))
    assert here.run("apply").status == 3
    assert here.status()["temporary_seen"] == {"by": "vmss-sim", "at": here.status()["evidence_at"]}
    assert here.run("abort", "--yes").status == 1
    act(here.world, Act(here.world.now, "update-model", args={"patch": {}, "mode": "rolling"}))
    here.world.run(here.world.now + 60_000, stop_on_wake=False)
    assert here.world.mode == "rolling"
    status = here.status()
    assert status["temporary_changes"] == ["mode manual instead of rolling"]
    assert status["temporary_seen"] == {"by": "vmss-sim", "at": status["evidence_at"]}
    told = " ".join(here.run("status").out.split())
    assert re.search(r"mode manual instead of rolling \(as of 0:\d\d:\d\d, when vmss-sim last looked\)", told)


def test_what_is_as_before_was_seen_by_nobody(desk: Callable[[Case], Desk]) -> None:
    here = desk(ROLLING)
    assert here.run("apply").status == 0
    assert here.status()["temporary_seen"] is None
    assert "as of" not in here.run("status").out


def test_the_help_of_abort_promises_no_mode() -> None:
    told = " ".join(vmss_sim("abort", "--help").out.replace("│", " ").split())
    assert "The upgrade mode stays as the rollout set it" in told


# -- what is printed where something else was changed, over a simulated world ------------------------------------------


def after_abort(here: Desk) -> list[str]:
    assert here.run("apply", *(("--accept-no-health",) if here.plan.accept_no_health else ())).status == 3
    assert here.run("abort", "--yes").status == 1
    return here.status()["afterwards"]  # type: ignore[no-any-return]


def approving(**more: Any) -> Case:
    return Case(fleet=Fleet(size=3), parameters={"approve": True}).but(**more)


def test_a_model_that_still_names_what_was_given_up_is_told(desk: Callable[[Case], Desk]) -> None:
    """Somebody else's update supersedes the platform's rollout: it is left to them, the model as well."""
    update = Act(200_000, "update-model", (), {"patch": {}})
    here = desk(Case(fleet=Fleet(size=5, mode=UpgradeMode.ROLLING), strategy="platform-rolling"))
    at(here.world, update.at, update)
    assert here.run("apply").status == 1
    status = here.status()
    assert (status["ending"], status["model_gives"]) == ("drift", "Canonical:ubuntu:22_04:2.0.0, the target")
    assert status["temporary_changes"] == ["the model still names Canonical:ubuntu:22_04:2.0.0, the target"]
    (undo,) = status["undo"]
    assert undo["command"] == f"az vmss update -g GROUP -n web --set {IMAGE.removeprefix('properties.')}version={OLD}"
    assert "in mode Rolling the platform then begins a rollout of its own" in undo["why"]
    assert "the plan above puts it back by itself" in undo["why"]
    shown = " ".join(here.run("status").out.split())
    assert "all is as before" not in shown
    assert undo["command"] in shown


def test_where_one_that_was_not_moved_is_out_the_way_back_has_room(desk: Callable[[Case], Desk]) -> None:
    here = desk(approving(fleet=Fleet(size=4)))
    assert here.run("apply").status == 3
    vm = here.world.vms["3"]
    vm.serves_from, vm.outages = 1 << 60, [[0, 1 << 60]]
    here.world.dirty[vm.id] = None
    assert here.run("abort", "--yes").status == 1
    *_, plan, _ = here.status()["afterwards"]
    assert "-s one-by-one -p one-by-one.unhealthy_first=true --slo 'healthy >= 2'" in plan, (
        "3 serve, and the floor was 3"
    )


def test_another_property_that_the_model_says_again_needs_no_target(desk: Callable[[Case], Desk]) -> None:
    told, _, plan, _ = after_abort(desk(approving(change=PropertyChange(path=SETTING, value="new"))))
    assert "To take them back" in told
    assert plan == "vmss-sim plan now.json -s one-by-one --slo 'healthy >= n-1' -o back.json"


def test_no_command_is_made_up_for_what_a_snapshot_cannot_tell(desk: Callable[[Case], Desk]) -> None:
    (told,) = after_abort(desk(approving(change=GuestPatch(script="patch", undo="unpatch"))))
    assert "--run-command undo.sh -s selected -p selected.ids=" in told


def test_without_a_health_source_plan_and_apply_accept_that(desk: Callable[[Case], Desk]) -> None:
    case = approving(fleet=Fleet(size=3, source=HealthSource.NONE), more={"accept_no_health": True})
    *_, plan, apply = after_abort(desk(case))
    assert "--accept-no-health" in plan
    assert "--accept-no-health" in apply


def _begun_at(monkeypatch: pytest.MonkeyPatch, here: Desk, where: Where) -> None:
    """As if the rollout had been begun there."""
    found = FileStore.rollouts

    def rollouts(store: FileStore) -> tuple[Entry, ...]:
        return tuple(msgspec.structs.replace(one, where=where) for one in found(store))

    monkeypatch.setattr(FileStore, "rollouts", rollouts)
    assert here.status()["at"] is not None


LOCAL = Where(endpoint="https://localhost:8443", ca="/c a", credential="environment")
AZ_FIRST = (
    "export REQUESTS_CA_BUNDLE='/c a'",
    "export AZURE_CORE_INSTANCE_DISCOVERY=false",
    "az cloud register -n vmss-sim --endpoint-resource-manager https://localhost:8443/ || "
    "az cloud update -n vmss-sim --endpoint-resource-manager https://localhost:8443/",
    "az cloud set -n vmss-sim",
    'az login --service-principal -u "$AZURE_CLIENT_ID" --tenant "$AZURE_TENANT_ID" --password="$AZURE_CLIENT_SECRET"',
)
GOVERNMENT = ("az cloud set -n AzureUSGovernment", "az login --tenant t")


@pytest.mark.parametrize(
    ("where", "first"),
    [
        (LOCAL, AZ_FIRST),
        (Where(cloud="government", tenant="t"), GOVERNMENT),
        (
            Where(cloud="china", credential="managed-identity"),
            ("az cloud set -n AzureChinaCloud", "az login --identity"),
        ),
        (Where(cloud="public"), ()),
    ],
    ids=["endpoint", "government", "china", "public"],
)
@pytest.mark.parametrize("script", [False, True], ids=["mode", "script"])
def test_before_commands_of_az_stands_what_leads_it_there(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, where: Where, first: tuple[str, ...], script: bool
) -> None:
    change = {"change": GuestPatch(script="patch", undo="unpatch")} if script else {}
    here = desk(approving(fleet=Fleet(size=3, mode=UpgradeMode.ROLLING), **change))
    after_abort(here)
    _begun_at(monkeypatch, here, where)
    status, shown = here.status(), here.run("status").out
    assert status["az_first"] == list(first)
    uses = [*status["afterwards"], *(one["command"] for one in status["undo"])]
    assert any("az vmss " in one for one in uses)
    for line in first:
        assert f"  {line}\n" in shown
    if first and not script:
        assert shown.index(first[-1]) < shown.index(status["undo"][0]["command"])
    if script and where is LOCAL:
        assert status["afterwards"][0].count(where.options) == 2, "plan and apply, both"


LOGINS: dict[str, tuple[dict[str, str], str]] = {
    "a person": ({}, "az login"),
    "a person of a tenant": ({"tenant": "t"}, "az login --tenant t"),
    "az itself": ({"credential": "cli", "tenant": "t"}, "az login --tenant t"),
    "a code": ({"credential": "device-code", "tenant": "t"}, "az login --use-device-code --tenant t"),
    "a secret": ({"credential": "environment"}, AZ_FIRST[-1]),
    "a token of somebody else": (
        {"credential": "workload-identity"},
        'az login --service-principal -u "$AZURE_CLIENT_ID" --tenant "$AZURE_TENANT_ID" --federated-token "$(cat "$AZURE_FEDERATED_TOKEN_FILE")"',
    ),
    "a token, named": (
        {"credential": "workload-identity", "client_id": "c", "tenant": "t"},
        'az login --service-principal -u c --tenant t --federated-token "$(cat "$AZURE_FEDERATED_TOKEN_FILE")"',
    ),
    "the machine": ({"credential": "managed-identity", "tenant": "t"}, "az login --identity"),
    "an identity of several": (
        {"credential": "managed-identity", "client_id": "c"},
        "az login --identity --client-id c",
    ),
}


@pytest.mark.parametrize("who", LOGINS)
def test_az_logs_in_as_the_rollout_did(who: str) -> None:
    """azure-cli 2.91, `az login --help`: `--username` names no managed identity any more."""
    said, line = LOGINS[who]
    assert Where(cloud="china", **said).az == ("az cloud set -n AzureChinaCloud", line)


@pytest.mark.parametrize("secret", ["plain", "-hyphen first", "a'b\"c $d"])
def test_a_shell_reads_the_line_as_it_is_meant(secret: str, tmp_path: Path) -> None:
    told = {
        "AZURE_CLIENT_ID": "id",
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_SECRET": secret,
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "a token"),
    }
    (tmp_path / "a token").write_text(secret)
    az = "az() { printf '%s\\n' \"$@\"; }; "
    for credential, option in (
        ("environment", [f"--password={secret}"]),
        ("workload-identity", ["--federated-token", secret]),
    ):
        line = Where(cloud="china", credential=credential).az[-1]
        ran = subprocess.run(["sh", "-c", az + line], env=os.environ | told, capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines() == ["login", "--service-principal", "-u", "id", "--tenant", "t", *option]


def test_where_no_command_of_az_is_printed_it_needs_nothing(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = desk(approving())
    after_abort(here)
    _begun_at(monkeypatch, here, LOCAL)
    assert here.status()["az_first"] == []
    assert "az cloud" not in here.run("status").out


@pytest.mark.parametrize("kind", ["id", "uri"])
def test_an_image_is_named_by_what_it_is(desk: Callable[[Case], Desk], kind: str) -> None:
    new = image(NEW, kind)
    change = ImageIdChange(id=str(new.id)) if kind == "id" else ImageUriChange(uri=str(new.uri))
    *_, plan, _ = after_abort(desk(approving(fleet=Fleet(size=3, image=kind), change=change)))
    old = image(OLD, kind)
    assert f"--target {old.id or old.uri} " in plan


@pytest.mark.parametrize(
    ("where", "options"),
    [
        (Where(cloud="public"), ""),
        (Where(cloud="government", credential="cli"), "--cloud government --credential cli"),
        (
            Where(endpoint="https://a", ca="/c a", tenant="t", client_id="i"),
            "--endpoint https://a --ca '/c a' --tenant t --client-id i",
        ),
    ],
)
def test_the_place_is_said_whole(where: Where, options: str) -> None:
    assert where.options == options
