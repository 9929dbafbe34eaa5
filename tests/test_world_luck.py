"""Whose luck a VM has: slots and attempts, regimes of a replication, requests whose VMs take equally long."""

from __future__ import annotations

from typing import Any

import pytest

from vmss_sim.world.config import Image, Machine, Platform, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.scale_set import IMAGE, World
from vmss_sim.world.timings import Constant, Exponential, Mixture, Part, Shifted, Timing

FAST, SLOW = 100_000, 400_000
BY_DAY = Mixture((Part(0.5, Constant(100)), Part(0.5, Constant(400))), shared=True)
BY_VM = Mixture((Part(0.5, Constant(100)), Part(0.5, Constant(400))))


def world(
    operation: Timing, replication: int = 0, n: int = 6, operations: dict[str, Timing] | None = None, **more: Any
) -> World:
    image = Image(publisher="p", offer="o", sku="s", version="1", exact="1")
    config = WorldConfig(
        name="w",
        machines=tuple(Machine(id=str(one), vm_id=f"vm-{one}", image=image) for one in range(n)),
        model={IMAGE + "publisher": "p", IMAGE + "offer": "o", IMAGE + "sku": "s", IMAGE + "version": "1"},
        timings=Timings(operations={"restart": operation, **(operations or {})}, ready=more.pop("ready", Constant(0))),
        platform=Platform(**more),
    )
    return World(config, Draws(7, replication, n))


def ends(place: World, kind: str = "restart") -> list[int]:
    """When the operation on each VM ends."""
    assert place.submit("a", kind, ("*",)).kind == "accepted"
    return [vm.busy_until for vm in place.vms.values()]


def test_a_regime_holds_for_a_whole_replication() -> None:
    seen = [set(ends(world(BY_DAY, replication))) for replication in range(40)]
    assert all(one in ({FAST}, {SLOW}) for one in seen), "all fast or all slow"
    assert {FAST} in seen
    assert {SLOW} in seen


def test_a_mixture_that_is_not_shared_is_drawn_for_each_vm() -> None:
    assert {FAST, SLOW} in [set(ends(world(BY_VM, replication))) for replication in range(10)]


def test_every_operation_of_a_replication_is_in_the_same_regime() -> None:
    for replication in range(20):
        both = [
            ends(world(BY_DAY, replication, operations={"power-off": BY_DAY}), kind)
            for kind in ("restart", "power-off")
        ]
        assert both[0] == both[1]


def test_later_attempts_and_the_application_are_in_the_regime_too() -> None:
    for replication in range(20):
        place = world(BY_DAY, replication, ready=BY_DAY)
        (first,) = set(ends(place))
        assert {vm.serves_from - vm.busy_until for vm in place.vms.values()} == {first + place.config.timings.probe_ms}
        place.run(10**7, stop_on_wake=False)
        began = place.now
        assert {end - began for end in ends(place)} == {first}


@pytest.mark.parametrize("together", [True, False])
def test_whether_the_vms_of_a_request_take_equally_long_is_an_option(together: bool) -> None:
    place = world(Exponential(mean=60), vms_of_a_request="together" if together else "independent")
    found = set(ends(place))
    assert (len(found) == 1) is together
    if together:
        place.run(10**9, stop_on_wake=False)
        before = place.now
        assert {one - before for one in ends(place)} != found, "another request has another draw"


def test_two_operations_that_borrow_from_different_rows_do_not_share_a_column() -> None:
    """Both are called upgrade-extensions in the timings; where that is missing one borrows a restart, the other next to nothing."""
    place = world(Constant(60), operations={"upgrade-current": Constant(1)})
    place.submit("a", "extension-rolling-upgrade")
    place.run(1, stop_on_wake=False)
    first = place.vms["0"].busy_until
    place.model["properties.tag"] = "new"
    place._read_model()
    assert place.submit("b", "upgrade", ("5",)).kind == "accepted"
    assert (first, place.vms["5"].busy_until) == (1_000, place.now + 60_000)


def test_a_shift_of_a_regime_is_a_regime() -> None:
    assert len({tuple(ends(world(Shifted(5, BY_DAY), replication))) for replication in range(30)}) == 2
