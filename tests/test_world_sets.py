"""A set from its creation to its deletion, and models that change more than an image: paths taken out, health sources."""

from __future__ import annotations

from typing import Any

import pytest

from tests.small_worlds import OLD, PROBE, READY, SECOND, SETTING, TOOK, small
from vmss_sim.world import contents
from vmss_sim.world.config import AutoOs, Health, Machine, Repairs, RollingPolicy
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import World

EXTENSION = Health(source="extension", probe_ms=PROBE * SECOND)
HEALTH_PATH = "properties.virtualMachineProfile.extensionProfile.extensions[Health].properties.type"


def _new(count: int = 3, **fields: Any) -> World:
    fresh = {"power": "starting", "provisioning": "creating", "health": "absent"}
    return small(count, odd=dict.fromkeys(range(count), fresh), **fields)


def test_a_new_set_creates_all_of_its_vms_at_once() -> None:
    world = _new()
    reply = world.submit("c", "create-set", mode="rolling", rolling=RollingPolicy(max_batch_percent=50))
    assert (reply.kind, reply.status) == ("accepted", 201)
    assert {world.state(vm)[:2] for vm in world.vms.values()} == {("creating", "starting")}
    assert not any(world.serving(vm) for vm in world.vms.values())
    world.run(round(TOOK["scale-out"] * SECOND), stop_on_wake=False)
    assert [one.status for one in world.ended] == ["succeeded"]
    assert {world.state(vm)[:2] for vm in world.vms.values()} == {("succeeded", "running")}
    world.run(world.now + (READY + PROBE) * SECOND, stop_on_wake=False)
    assert all(world.serving(vm) and world.is_latest(vm) for vm in world.vms.values())
    assert (world.mode, world.rolling_policy.max_batch_percent) == ("rolling", 50)


@pytest.mark.parametrize(
    ("fields", "args", "code"),
    [
        ({"health": "none"}, {"mode": "rolling"}, "BadRequest"),
        ({"health": "none"}, {"repairs": Repairs(enabled=True)}, "BadRequest"),
        ({}, {"auto_os": AutoOs(enabled=True)}, "BadRequest"),
        ({}, {"rolling": RollingPolicy(max_batch_percent=3)}, "InvalidParameter"),
        ({"single_placement_group": True}, {"capacity": 101}, "InvalidParameter"),
    ],
)
def test_what_a_new_set_may_not_be_is_refused(fields: dict[str, Any], args: dict[str, Any], code: str) -> None:
    reply = _new(**fields).submit("c", "create-set", **args)
    assert (reply.kind, reply.code) == ("refused", code)


def test_a_set_goes_with_its_vms_and_accepts_nothing_meanwhile() -> None:
    world = small(3)
    assert world.submit("d", "delete-set").status == 202
    assert {world.state(vm)[0] for vm in world.vms.values()} == {"deleting"}
    for kind, args in (("update-model", {}), ("set-capacity", {"capacity": 5}), ("delete-set", {})):
        assert world.submit(f"again-{kind}", kind, **args).code == "Conflict"
    world.run(round(TOOK["delete"] * SECOND), stop_on_wake=False)
    assert not world.vms
    assert [one.status for one in world.ended] == ["succeeded"]


@pytest.mark.parametrize("kind", ["reimage", "redeploy", "set-capacity"])
@pytest.mark.parametrize("hangs", [False, True])
def test_what_runs_on_a_set_that_is_deleted_ends_with_it(kind: str, hangs: bool) -> None:
    world = small(3, faults=(Fault(verdict="hang"),) if hangs else ())
    args: dict[str, Any] = {"capacity": 9} if kind == "set-capacity" else {}
    world.submit("a", kind, () if args else ("0",), **args)
    world.submit("d", "delete-set")
    world.run(round(TOOK["delete"] * SECOND), stop_on_wake=False)
    assert {one.name: (one.status, one.code) for one in world.ended} == {
        "a": ("failed", "OperationPreempted"),
        "d": ("succeeded", ""),
    }
    assert not world.running
    assert [one.ends_at for one in world.ended] == [world.now, world.now]


def test_the_creation_of_a_set_that_is_deleted_ends_with_it() -> None:
    world = _new()
    world.submit("c", "create-set")
    world.submit("d", "delete-set")
    world.run(round(TOOK["delete"] * SECOND), stop_on_wake=False)
    assert {one.name: one.status for one in world.ended} == {"c": "failed", "d": "succeeded"}


def test_what_is_taken_out_of_the_model_is_gone() -> None:
    world = small(2)
    path = SETTING + "Twice"
    before = world.content
    world.submit("a", "update-model", patch={path: "there"})
    assert world.content != before
    world.submit("b", "update-model", patch={path: None})
    assert path not in world.model
    assert world.content == before


def test_what_the_set_alone_is_makes_no_instance_stale() -> None:
    world = small(2)
    world.submit("a", "update-model", patch={"properties.singlePlacementGroup": False})
    assert not world.stale()


def test_to_learn_more_of_the_model_changes_nothing() -> None:
    world = small(3)
    world.submit("a", "update-model", patch={SETTING: "new"})
    world.submit("b", "upgrade", ("1",))
    world.run(600 * SECOND, stop_on_wake=False)
    before = [world.is_latest(vm) for vm in world.vms.values()]
    world.furnish({"properties.virtualMachineProfile.licenseType": "None", SETTING: "never"})
    assert [world.is_latest(vm) for vm in world.vms.values()] == before == [False, True, False]
    assert world.model[SETTING] == "new"


def test_a_health_source_reports_for_those_that_have_the_model_that_added_it() -> None:
    world = small(3, health="none")
    assert {world.state(vm)[2] for vm in world.vms.values()} == {"absent"}
    world.submit("a", "update-model", patch={HEALTH_PATH: "ApplicationHealthLinux"}, health=EXTENSION)
    assert {world.state(vm)[2] for vm in world.vms.values()} == {"absent"}
    world.submit("b", "upgrade", ("0", "2"))
    world.run(600 * SECOND, stop_on_wake=False)
    assert [world.state(vm)[2] for vm in world.vms.values()] == ["healthy", "absent", "healthy"]
    world.submit("c", "set-capacity", capacity=4)
    world.run(world.now + 600 * SECOND, stop_on_wake=False)
    assert [world.state(vm)[2] for vm in world.vms.values()] == ["healthy", "absent", "healthy", "healthy"]
    world.fail(world.vms["0"], world.now + 10**9)
    world.fail(world.vms["1"], world.now + 10**9)
    world.run(world.now + PROBE * SECOND, stop_on_wake=False)
    assert [world.state(vm)[2] for vm in world.vms.values()] == ["unhealthy", "absent", "healthy", "healthy"]
    world.submit("d", "update-model", patch={HEALTH_PATH: None}, health=Health())
    assert [world.state(vm)[2] for vm in world.vms.values()][2:] == ["healthy", "healthy"]
    world.submit("e", "upgrade", ("2",))
    world.run(world.now + 600 * SECOND, stop_on_wake=False)
    assert [world.state(vm)[2] for vm in world.vms.values()][2:] == ["absent", "healthy"]


def test_mode_rolling_may_come_with_its_health_source() -> None:
    world = small(2, health="none")
    assert world.submit("a", "update-model", mode="rolling").code == "BadRequest"
    reply = world.submit("b", "update-model", mode="rolling", health=EXTENSION, patch={HEALTH_PATH: "x"})
    assert reply.kind == "accepted"


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "rolling"},
        {"repairs": Repairs(enabled=True)},
        {"auto_os": AutoOs(enabled=True), "version": "latest", "exact": OLD},
    ],
)
def test_a_source_that_is_needed_stays(fields: dict[str, Any]) -> None:
    world = small(2, **fields)
    assert world.submit("a", "update-model", patch={HEALTH_PATH: None}, health=Health()).code == "BadRequest"
    assert world.config.health == "extension"


def test_zones_that_are_added_take_new_instances() -> None:
    world = small(2, domains=None)
    places = tuple(
        Machine(id="", vm_id="", image=None, zone=zone, update_domain=0, fault_domain=0) for zone in ("1", "2")
    )
    world.submit("a", "update-model", places=places)
    world.submit("b", "set-capacity", capacity=4)
    assert sorted(vm.machine.zone or "" for vm in world.vms.values()) == ["", "", "1", "2"]


def test_a_new_instance_stands_in_the_emptiest_zone_and_there_in_the_emptiest_domain() -> None:
    places = (("1", 0), ("1", 1), ("1", 2), ("2", 0), ("2", 0), ("2", 1))
    odd = {number: {"zone": zone, "update_domain": domain} for number, (zone, domain) in enumerate(places)}
    world = small(5, odd=odd)
    world.submit("a", "set-capacity", capacity=6)
    assert (world.vms["5"].machine.zone, world.vms["5"].machine.update_domain) == ("2", 0)
    world = small(6, odd=odd)
    world.submit("a", "set-capacity", capacity=8)
    made = [(world.vms[name].machine.zone, world.vms[name].machine.update_domain) for name in "67"]
    assert made == [("1", 0), ("2", 1)]


def test_contents_that_nobody_has_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "KNOWN", 20)
    world = small(2)
    first = dict(world.model)
    for number in range(200):
        world.submit(f"u{number}", "update-model", patch={SETTING: str(number)})
        if number == 5:
            world.submit("v", "upgrade", ("1",))
        world.run(world.now + 120 * SECOND, stop_on_wake=False)
    assert len(world._contents._known) <= 21
    world.submit("back", "update-model", patch={SETTING: first.get(SETTING)})
    assert [world.is_latest(vm) for vm in world.vms.values()] == [True, False]
    world.submit("mid", "update-model", patch={SETTING: "5"})
    assert [world.is_latest(vm) for vm in world.vms.values()] == [False, True]


def test_old_rollouts_are_forgotten_and_the_history_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmss_sim.world.orchestrator.REMEMBERED", 12)
    world = small(2, mode="rolling", version="latest", exact=OLD)
    world.submit("os", "os-rolling-upgrade")
    for number in range(60):
        world.submit(f"e{number}", "extension-rolling-upgrade")
        world.submit(f"c{number}", "cancel-rolling-upgrade")
        world.run(world.now + 900 * SECOND, stop_on_wake=False)
    assert len(world.rollouts.past) <= 14
    assert len(world.history) == 1


def test_the_first_model_is_what_instances_have() -> None:
    assert [vm.image.version for vm in small(2).vms.values() if vm.image] == [OLD, OLD]
