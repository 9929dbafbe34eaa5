"""The endpoint's documents say of a set what it is: as the planner reads them, and as Azure writes them.

What the specification says of them is `test_arm_contract.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.arm_json import read_scale_set
from planner.change import resolve
from planner.model import HealthSource, Orchestration, ScaleSet
from scenarios.build import Setup, build_world
from scenarios.build import read as read_scenario
from scenarios.build import setup as scenario_setup
from scenarios.files import BUNDLED, load, read_json
from scenarios.schema import RollingTable
from tests import arm_shown
from tests import world_choices as choices
from tests.arm_shown import NEW, SPEC, differences, expected, put
from tests.contract.findings import ABSENT, TYPES
from tests.small_worlds import ask, at, new_version, small, vm_of
from tests.world_choices import Action, Pick, Wait
from tests.world_value import begin, carry_out, frozen, snapshot_of
from vmss_sim.arm import changes, documents, lists, model_document, policies, shapes, wire
from vmss_sim.arm.http import Refused
from vmss_sim.arm.names import CANONICAL, canonical
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world.config import Repairs, WorldConfig
from vmss_sim.world.scale_set import World

ORCHESTRATION = {False: Orchestration.UNIFORM, True: Orchestration.FLEXIBLE}
SCENARIOS = sorted(BUNDLED.glob("*.toml"))
SNAPSHOTS = [path for path in sorted((BUNDLED.parent / "snapshots").glob("*.json")) if "instances" not in path.name]


def model_of(path: Path) -> dict[str, Any] | None:
    """The model document that a scenario names, if it names one."""
    named = load(path).scale_set.from_
    if named is None:
        return None
    found = [read_json(path.parent / name) for name in ([named] if isinstance(named, str) else named)]
    return next(one.get("model", one) for one in found if isinstance(one, dict) and "value" not in one)


def differs(one: ArmSet, start: ScaleSet, watch: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{version}: {each}"
        for version in (SPEC, NEW)
        for each in differences(arm_shown.read(one, version, watch), expected(one, start))
    ]


@st.composite
def made(draw: st.DrawFn, make: Callable[[Pick], Any]) -> Any:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    return make(pick)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_planner_reads_of_a_bundled_scenario_what_the_simulated_backend_shows(path: Path) -> None:
    setup = read_scenario(path)
    world = build_world(setup, 1, 0)
    one = put(world, model_of(path), setup.scale_set.model)
    watch = tuple(setup.scale_set.model.settings)
    assert differs(one, setup.scale_set, watch) == []
    disturb(world, setup)
    for wait in (0, 1, 30, 60, 300, 3600) if setup.total <= 100 else (30,):
        world.run(world.now + wait * 1000, stop_on_wake=False)
        assert differs(one, setup.scale_set, watch) == []


ASKED_OTHERWISE: tuple[dict[str, Any], ...] = (
    {"health": "none"},
    {"health": "probe"},
    {"rich_health": True},
    {"upgrade_mode": "rolling"},
    {"upgrade_mode": "automatic"},
    {"rolling": RollingTable(max_batch=50, max_surge=True, pause="90s")},
)


@pytest.mark.parametrize("asked", ASKED_OTHERWISE, ids=str)
@pytest.mark.parametrize("name", ["from-snapshot", "zonal-rolling"])
def test_and_of_a_snapshot_that_a_scenario_asks_to_be_otherwise(name: str, asked: dict[str, Any]) -> None:
    path = BUNDLED / f"{name}.toml"
    scenario = load(path)
    table = msgspec.structs.replace(scenario.scale_set, **asked)
    setup = scenario_setup(msgspec.structs.replace(scenario, scale_set=table, expect=None), path.parent, str(path))
    world = build_world(setup, 1, 0)
    one = put(world, model_of(path), setup.scale_set.model)
    assert differs(one, setup.scale_set) == []
    source = policies.health(one.document).source
    assert {"rich": "extension"}.get(source, source) == {"rich": "extension"}.get(
        setup.world.health, setup.world.health
    )
    assert source == "rich" or not asked.get("rich_health")


@settings(max_examples=60)
@given(made(choices.some_world))
def test_a_client_that_puts_what_it_got_changes_nothing(config: WorldConfig) -> None:
    one = put(begin(config, 3))
    source = policies.health(one.document)
    assert source.source == config.health
    if config.health in ("extension", "rich"):
        told = (source.protocol, source.probe_ms, source.grace_ms if config.health == "rich" else None)
        grace = config.health_grace_ms if config.health == "rich" else None
        assert told == (config.health_protocol, max(5_000, config.timings.probe_ms), grace)
    shown = documents.scale_set(one, NEW, user_data=True)
    asked = changes.change(changes.whole(one), shown, one.world.model, patch=False)
    assert asked.args == {}


def disturb(world: World, setup: Setup) -> None:
    """The change, and an upgrade of a few."""
    patch = resolve(setup.change, setup.scale_set, setup.action).patch
    world.submit("change", "update-model", (), patch=patch)
    for number, name in enumerate(list(world.vms)[:4]):
        world.submit(f"op-{number}", ("upgrade", "reimage", "restart", "deallocate")[number], (name,))


@settings(max_examples=80)
@given(made(choices.some_world), st.lists(made(choices.some_action), max_size=12))
def test_and_of_any_world_to_which_anything_happens(config: WorldConfig, actions: list[Action]) -> None:
    world = begin(config, 3)
    one = put(world)
    source = HealthSource("extension" if config.health == "rich" else config.health)
    facts = {"health_source": source, "settings": {}, "orchestration": ORCHESTRATION[config.flexible]}
    start = ScaleSet(model=msgspec.structs.replace(snapshot_of(config).model, **facts), instances={})
    for number, action in enumerate(actions):
        if isinstance(action, Wait):
            world.run(world.now + action.ms, stop_on_wake=False)
        else:
            carry_out(world, action, number)
        before = frozen(world)
        for version in (SPEC, NEW):
            arm_shown.documents_of(one, version)
        assert frozen(world) == before
        assert differs(one, start) == []


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "mode": lambda one: one["model"]["properties"]["upgradePolicy"].update(mode="Automatic"),
    "capacity": lambda one: one["model"]["sku"].update(capacity=9),
    "version": lambda one: _storage(one["model"]["properties"]["virtualMachineProfile"]).update(version="9"),
    "repairs": lambda one: one["instanceView"]["orchestrationServices"][0].update(serviceState="Suspended"),
    "flag": lambda one: one["instances"]["value"][0]["properties"].update(latestModelApplied=False),
    "vmId": lambda one: one["instances"]["value"][0]["properties"].update(vmId="another"),
    "zone": lambda one: one["instances"]["value"][0].update(zones=["3"]),
    "booted": lambda one: _storage(one["instances"]["value"][0]["properties"]).update(exactVersion="9"),
    "disk": lambda one: one["instances"]["value"][0]["properties"]["storageProfile"]["osDisk"].update(name="x"),
    "provisioning": lambda one: one["instances"]["value"][0]["properties"].update(provisioningState="Updating"),
    "power": lambda one: _view(one)["statuses"][1].update(code="PowerState/stopped"),
    "health": lambda one: _view(one)["vmHealth"]["status"].update(code="HealthState/unhealthy"),
    "domain": lambda one: _view(one).update(platformUpdateDomain=4),
    "place": lambda one: _view(one).update(platformFaultDomain=4),
    "protection": lambda one: one["instances"]["value"][1]["properties"].pop("protectionPolicy"),
    "metrics": lambda one: _view(one)["extensions"][0]["substatuses"].pop(),
    "one less": lambda one: one["instances"]["value"].pop(),
}


def _storage(profile: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(profile["storageProfile"], "imageReference")


def _view(one: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(one["instances"]["value"][0]["properties"], "instanceView")


@pytest.mark.parametrize("name", BROKEN)
def test_a_document_that_says_something_else_is_noticed(name: str) -> None:
    world = small(3, zones=3, repairs=Repairs(enabled=True), odd={0: {"phase": 1}, 1: {"protected": True}})
    one = put(world)
    start = snapshot_of(world.config)
    facts = {"health_source": HealthSource.EXTENSION, "settings": {}}
    start = ScaleSet(model=msgspec.structs.replace(start.model, **facts), instances={})
    good = arm_shown.documents_of(one)
    assert differences(arm_shown.read_documents(good), expected(one, start)) == []
    BROKEN[name](good[0][1])
    assert differences(arm_shown.read_documents(good), expected(one, start)) != []


# -- what stays out --------------------------------------------------------------------------------------------------

SECRETS = ("adminPassword", "customData", "protectedSettings")


@given(st.lists(st.tuples(st.sampled_from(SECRETS), st.integers(0, 5)), min_size=1, max_size=4), st.booleans())
def test_secrets_are_never_shown(places: list[tuple[str, int]], lifted: bool) -> None:
    """Wherever they stand in a snapshot's document, and if they come with a change."""
    document = model_document.of(small(2).config, name="web", location="westus", given=None)
    profile = document["properties"]["virtualMachineProfile"]
    spots = [document, document["properties"], profile, profile["osProfile"], profile["storageProfile"]["osDisk"]]
    spots.append(profile["extensionProfile"]["extensions"][0]["properties"])
    for name, spot in places:
        spots[spot][name] = {"inner": "hunter2"}
    world = small(2)
    one = put(world, az_form(document) if lifted else document)
    secret = "properties.virtualMachineProfile.osProfile.customData"
    ask(world, "update-model", patch={secret: "hunter2"})
    shapes.remember(one)
    for version in (SPEC, "2017-03-30", NEW):
        assert b"hunter2" not in msgspec.json.encode(arm_shown.documents_of(one, version))


def test_user_data_is_shown_where_it_is_asked_for() -> None:
    world = small(1)
    one = put(world)
    one.document["properties"]["virtualMachineProfile"]["userData"] = "aGVsbG8="
    vm = world.vms["0"]
    assert "userData" not in documents.scale_set(one, SPEC)["properties"]["virtualMachineProfile"]
    asked = documents.scale_set(one, SPEC, user_data=True)
    assert asked["properties"]["virtualMachineProfile"]["userData"] == "aGVsbG8="
    assert "userData" not in documents.instance(one, vm, SPEC)["properties"]
    assert documents.instance(one, vm, SPEC, user_data=True)["properties"]["userData"] == "aGVsbG8="


# -- the set's own documents -----------------------------------------------------------------------------------------


def az_form(document: dict[str, Any]) -> dict[str, Any]:
    """A document as az prints it: lifted, with nulls, and with the group of whatever has an id."""

    def lifted(value: Any, name: str = "") -> Any:
        if isinstance(value, list):
            return [lifted(inner, name) for inner in value]
        if not isinstance(value, dict) or name in ("tags", "settings"):
            return value
        made = {key: inner for key, inner in value.items() if key != "properties"}
        facts = value.get("properties") or {}
        if name == "extensions":
            made["typePropertiesType"] = facts.get("type")
            facts = {key: inner for key, inner in facts.items() if key != "type"}
        made |= facts
        if "id" in made:
            made["resourceGroup"] = "shop"
        return {key: lifted(inner, key) for key, inner in made.items()} | {"plan": None}

    return dict(lifted(document)) | {"provisioningState": "Succeeded", "uniqueId": "u", "resourceGroup": "shop"}


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_az_and_the_wire_give_the_same_document(path: Path) -> None:
    given = read_json(path)
    given = given.get("model", given)
    whole = model_document.wire(given)
    assert model_document.wire(az_form(whole)) == whole
    assert model_document.wire(whole) == whole
    bare = {"name": "x", "type": "Microsoft.Compute/virtualMachineScaleSets"}
    read = [read_scale_set([("set", {**bare, **one})]).scale_set.model for one in (whole, az_form(whole), given)]
    told = [msgspec.structs.replace(one, unique_id="", provisioning=read[0].provisioning, etag=None) for one in read]
    assert told[0] == told[1]
    assert {**msgspec.structs.asdict(told[2]), "id": ""} == {**msgspec.structs.asdict(told[0]), "id": ""}


@given(st.randoms(use_true_random=False))
def test_names_are_spelt_as_arm_spells_them_and_the_users_own_are_left(luck: random.Random) -> None:
    document = model_document.of(small(2, zones=2).config, name="web", location="westus", given=None)
    document["tags"] = {"OsProfile": "mine", "ZONES": "mine"}

    def scrambled(value: Any) -> Any:
        if isinstance(value, list):
            return [scrambled(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        return {
            "".join(luck.choice((letter.lower(), letter.upper())) for letter in key): (
                inner if key in ("tags", "settings") else scrambled(inner)
            )
            for key, inner in value.items()
        }

    assert canonical(scrambled(document)) == document


@pytest.mark.skipif(not TYPES.exists(), reason=ABSENT)
def test_every_name_that_azure_has_is_known() -> None:
    types = json.loads(TYPES.read_text())
    of_sets = {name for one in types for name in one.get("properties", {}) if one["$type"] == "ObjectType"}
    known = {name for name in of_sets if name.lower() in CANONICAL}
    assert {name: CANONICAL[name.lower()] for name in known} == {name: name for name in known}
    words = {"upgradePolicy", "automaticOSUpgradePolicy", "diskSizeGB", "provisionVMAgent", "enableIPForwarding"}
    assert words <= known and len(known) > 300


@given(st.integers(0, 10**9))
def test_durations_mean_what_the_planner_reads(ms: int) -> None:
    text = wire.duration(ms)
    policy = {"mode": "Rolling", "rollingUpgradePolicy": {"pauseTimeBetweenBatches": text}}
    model = read_scale_set([("x", {"name": "x", "properties": {"upgradePolicy": policy}})]).scale_set.model
    assert model.rolling is not None
    assert model.rolling.pause_between_batches_ms == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "PT0S"), (90_000, "PT1M30S"), (1_800_000, "PT30M"), (86_400_000, "P1D"), (1_500, "PT1.5S")],
)
def test_durations_are_written_as_azure_does(ms: int, text: str) -> None:
    assert wire.duration(ms) == text


def test_times_have_seven_digits() -> None:
    assert wire.moment(datetime(2026, 1, 5, 8), 1_234) == "2026-01-05T08:00:01.2340000+00:00"


# -- instances -------------------------------------------------------------------------------------------------------


def test_an_instance_shows_the_model_it_was_given_until_it_gets_another() -> None:
    world = small(2)
    one = put(world)
    old = one.document["sku"]["name"]
    one.document = {**one.document, "sku": {**one.document["sku"], "name": "Standard_D64s_v5"}}
    new_version(world, "2.0.0")
    shapes.remember(one)
    ask(world, "upgrade", "0")
    at(world, 600)
    sizes = [each["properties"]["hardwareProfile"]["vmSize"] for each in arm_shown.listed(one)]
    assert sizes == ["Standard_D64s_v5", old]
    assert documents.scale_set(one, SPEC)["sku"]["name"] == "Standard_D64s_v5"
    for number in range(100):  # models that no instance has are forgotten
        new_version(world, f"3.0.{number}")
        shapes.remember(one)
    assert len(one.models) <= shapes.REMEMBERED + 1


@settings(max_examples=60)
@given(st.lists(st.sampled_from(("upgrade", "reimage", "restart", "reimage-all", "redeploy")), max_size=6))
def test_an_os_disk_has_another_name_and_id_exactly_when_it_is_replaced(kinds: list[str]) -> None:
    world = small(2, odd={0: {"os_disk": "web_0_OsDisk_1_"}})
    one = put(world)
    for number, kind in enumerate(kinds):
        seen = {each["instanceId"]: each["properties"]["storageProfile"]["osDisk"] for each in arm_shown.listed(one)}
        disks = {name: vm.disk for name, vm in world.vms.items()}
        if kind == "upgrade":
            new_version(world, f"2.0.{number}")
        ask(world, kind, "0", "1")
        at(world, 1_000 * (number + 1))
        for each in arm_shown.listed(one):
            name, disk = each["instanceId"], each["properties"]["storageProfile"]["osDisk"]
            replaced = vm_of(world, name).disk != disks[name]
            assert (disk["name"] != seen[name]["name"]) is replaced
            assert (disk["managedDisk"]["id"] != seen[name]["managedDisk"]["id"]) is replaced
            assert disk["managedDisk"]["id"].endswith("/" + disk["name"])


def test_an_instance_has_another_etag_after_whatever_was_done_to_it() -> None:
    world = small(2)
    one = put(world)
    vm = world.vms["0"]
    seen = [documents.instance(one, vm, SPEC)["etag"]]
    ask(world, "restart", "0")
    seen.append(documents.instance(one, vm, SPEC)["etag"])
    one.instances["guid-0"] = {"writes": 1, "tags": {"mine": "x"}}
    seen.append(documents.instance(one, vm, SPEC)["etag"])
    assert seen == sorted(set(seen))
    assert documents.instance(one, vm, SPEC)["tags"] == {"mine": "x"}
    assert documents.instance(one, world.vms["1"], SPEC)["etag"] == seen[0]
    assert "etag" not in documents.instance(one, vm, "2023-03-01")
    assert "etag" not in documents.scale_set(one, "2023-09-01")
    listed = lists.sets([one], arm_shown.get("/", "2023-09-01"))["value"]
    assert [each["etag"] for each in listed] == [documents.set_etag(one)]
    assert "etag" not in lists.sets([one], arm_shown.get("/", "2023-07-01"))["value"][0]
    assert documents.scale_set(one, "2024-03-01")["etag"] == f'"{world.etag}"'


def test_the_machines_of_a_flexible_set_are_vms_and_the_list_of_the_set_tells_who_they_are() -> None:
    world = small(2, zones=2, flexible=True)
    one = put(world)
    request = arm_shown.get(f"{one.id}/virtualMachines", expand="instanceView")
    assert lists.instances(one, request)["value"][1] == {
        "name": "web_00000001",
        "id": f"{one.id}/virtualMachines/web_00000001",
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "location": "westeurope",
        "instanceId": "web_00000001",
        "zones": ["2"],
    }
    other = put(small(1, flexible=True))
    other.name = "other"
    for told, count in (({}, 3), ({"filter": f"'virtualMachineScaleSet/id' eq '{one.id.upper()}'"}, 2)):
        found = lists.machines([one, other], arm_shown.get("/", **told))["value"]
        assert len(found) == count
    machine = documents.machine(one, world.vms["web_00000000"], SPEC, view=True)
    assert machine["type"] == "Microsoft.Compute/virtualMachines"
    assert machine["properties"]["virtualMachineScaleSet"] == {"id": one.id}
    assert not {"platformUpdateDomain", "platformFaultDomain"} & set(machine["properties"]["instanceView"])
    with pytest.raises(Refused, match=r"\$filter"):
        lists.machines([one], arm_shown.get("/", filter="name eq 'x'"))
