"""One contract, every backend: what `backends/protocol.py` promises, on the simulated one, on Azure's over the emulator without a wire and
over its real server, and on Azure itself where asked:

    VMSS_SIM_LIVE=1 VMSS_SIM_LIVE_SET=/subscriptions/…/virtualMachineScaleSets/… python -m pytest -n 0 tests/test_backend_contract.py -k live

with a scale set that may be broken (README, Development: what it takes, does and costs), and whatever login `DefaultAzureCredential` finds. What only a world can be made to do (lost replies, refusals by a fault) is left out there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backends.azure import connect
from backends.protocol import Backend, Wait
from backends.schedule import Schedule
from backends.simulated import SimulatedBackend
from planner.commands import Command, Kind, Outcome, Status
from planner.errors import InputError
from planner.model import ScaleSet, Service, UpgradeMode, service
from tests.azure_inprocess import of_world
from tests.fleet import IMAGE, NEW, Case, Fleet, fault
from vmss_sim.arm.client import Control
from vmss_sim.checks.emulated import emulated
from vmss_sim.world.faults import Fault


class Place(NamedTuple):
    """A world, and how to reach it anew: each call of `backend` is another executor. lossy: the same with one reply lost."""

    backend: Callable[[], Backend]
    now_ms: Callable[[], int]
    lossy: Callable[[], Place] | None = None
    faulty: bool = True


def simulated(poll_ms: int, faults: tuple[Fault, ...] = ()) -> Place:
    fleet = Fleet(size=3)
    world = Case(fleet=fleet, faults=faults).world()
    return Place(
        lambda: SimulatedBackend(world, fleet.scale_set(), poll_ms=poll_ms),
        lambda: world.now,
        lambda: simulated(poll_ms, (fault("lose-reply", 1),)),
    )


def wireless(faults: tuple[Fault, ...] = ()) -> Place:
    fleet = Fleet(size=3)
    found = of_world(Case(fleet=fleet, faults=faults).world(), fleet.scale_set())
    return Place(found.backend, found.clock.now_ms, lambda: wireless((fault("lose-reply", 1),)))


class ControlSleeper:
    """The emulator's manual clock, by its control endpoint."""

    slice_ms = 1_000
    headers: Mapping[str, str] = {}

    def __init__(self, control: Control) -> None:
        self.control = control

    def now_ms(self) -> int:
        return round(self.control.advance(0) * 1000)

    def sleep_ms(self, span_ms: int) -> None:
        self.control.advance(span_ms / 1000)


@pytest.fixture
def served() -> Iterator[Place]:
    """The real server: HTTPS on loopback, the SDK's own transport, a CA of its own."""
    with emulated("two-vms", clock="manual", opaque_urls=True, any_version=True) as azure:
        sleeper = ControlSleeper(azure.control)

        def reach() -> Backend:
            return connect(
                azure.id, endpoint=azure.url, audience=azure.url, ca=azure.ca, credential=azure.credential(),
                sleeper=sleeper, schedule=Schedule.every(10_000),
            )  # fmt: skip

        def lossy() -> Place:
            azure.control.faults([{"verdict": "lose-reply", "first": 1}])
            return Place(reach, sleeper.now_ms)

        yield Place(reach, sleeper.now_ms, lossy)


def live() -> Place:
    if os.environ.get("VMSS_SIM_LIVE") != "1":
        pytest.skip("VMSS_SIM_LIVE=1 and VMSS_SIM_LIVE_SET are not set: no real Azure is touched")
    name = os.environ.get("VMSS_SIM_LIVE_SET", "")
    if not name:
        pytest.fail("VMSS_SIM_LIVE=1 needs VMSS_SIM_LIVE_SET, the id of a set that may be broken", pytrace=False)
    try:
        backend = connect(name)
    except InputError as error:
        pytest.fail(f"VMSS_SIM_LIVE_SET: {error}", pytrace=False)
    return Place(lambda: connect(name), backend.sleeper.now_ms, None, faulty=False)


@pytest.mark.parametrize(("given", "says"), [(None, "needs VMSS_SIM_LIVE_SET"), ("web", "VMSS_SIM_LIVE_SET: ")])
def test_live_without_its_set_is_refused_and_not_left_out(
    given: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMSS_SIM_LIVE", "1")
    monkeypatch.delenv("VMSS_SIM_LIVE_SET", raising=False)
    if given is not None:
        monkeypatch.setenv("VMSS_SIM_LIVE_SET", given)
    with pytest.raises(pytest.fail.Exception, match=says):
        live()


KINDS = ("simulated", "simulated, polled", "azure without a wire", "azure over the server", "live azure")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Place:
    made: dict[str, Callable[[], Place]] = {
        "simulated": lambda: simulated(0),
        "simulated, polled": lambda: simulated(10_000),
        "azure without a wire": wireless,
        "azure over the server": lambda: request.getfixturevalue("served"),
        "live azure": live,
    }
    return made[request.param]()


def command(kind: Kind, *ids: str, **more: Any) -> Command:
    return Command(id="c1", kind=kind, why="for a test", ids=ids, **more)


def ended(backend: Backend) -> tuple[Outcome, ...]:
    """Wait, in rounds, until outcomes are told."""
    for _ in range(200):
        assert backend.wait(Wait(until_ms=None))
        found = backend.observe().outcomes
        if found:
            return found
    raise AssertionError("it does not end")


def serving(found: ScaleSet) -> list[str]:
    return [name for name, one in found.instances.items() if service(one, found.model.health_source) is Service.IN]


def test_looking_changes_nothing_and_keeps_what_is_the_same(place: Place) -> None:
    backend = place.backend()
    first = backend.observe()
    assert first.changed is None and first.outcomes == ()
    for _ in range(2):
        again = backend.observe()
        assert again.changed == () and again.outcomes == ()
        assert again.scale_set.model is first.scale_set.model
        assert all(again.scale_set.instances[name] is one for name, one in first.scale_set.instances.items())
    assert place.backend().observe().scale_set == first.scale_set, "whoever looks sees the same"
    assert again.now_ms >= first.now_ms


def test_a_command_is_told_of_once_and_shown_with_its_effect(place: Place) -> None:
    backend = place.backend()
    name = next(iter(backend.observe().scale_set.instances))
    handle = backend.submit(command(Kind.RESTART, name))
    assert handle
    (outcome,) = ended(backend)
    assert (outcome.command, outcome.status, outcome.refused) == ("c1", Status.SUCCEEDED, False)
    assert backend.observe().outcomes == ()


def test_what_changed_is_said(place: Place) -> None:
    if not place.faulty:
        pytest.skip("no image is changed on a set that is somebody's")
    backend = place.backend()
    before = backend.observe().scale_set
    first, *others = before.instances
    backend.submit(command(Kind.SET_MODE, mode=UpgradeMode.MANUAL))
    ended(backend)
    backend.submit(command(Kind.UPDATE_MODEL, patch={IMAGE + "version": NEW}))
    ended(backend)
    stale = backend.observe().scale_set
    assert stale.model.image is not None and stale.model.image.version == NEW
    assert [one.latest_model for one in stale.instances.values()] == [False] * len(before.instances)
    backend.submit(command(Kind.UPGRADE, first))
    backend.wait(Wait(until_ms=None))
    seen = backend.observe()
    assert seen.outcomes[0].status is Status.SUCCEEDED
    upgraded = seen.scale_set.instances[first]
    assert upgraded.latest_model is True
    assert upgraded.image is not None and (upgraded.image.exact_version or upgraded.image.version) == NEW
    assert upgraded.vm_id == before.instances[first].vm_id
    for name in others:
        assert seen.scale_set.instances[name] is stale.instances[name]
    backend.wait(Wait(until_ms=seen.now_ms + 600_000, awaiting=(first,)))
    assert first in serving(backend.observe().scale_set)


def test_a_reimage_gives_an_instance_another_disk_and_no_other_one(place: Place) -> None:
    if not place.faulty:
        pytest.skip("no disk is lost of a set that is somebody's")
    backend = place.backend()
    before = backend.observe().scale_set
    first, *others = before.instances
    backend.submit(command(Kind.REIMAGE, first))
    backend.wait(Wait(until_ms=None))
    seen = backend.observe()
    assert [one.status for one in seen.outcomes] == [Status.SUCCEEDED]
    after = seen.scale_set.instances[first]
    assert (after.vm_id, after.os_disk != before.instances[first].os_disk) == (before.instances[first].vm_id, True)
    assert all(seen.scale_set.instances[name].os_disk == before.instances[name].os_disk for name in others)


def test_capacity_is_added_and_an_instance_taken_away_by_its_id(place: Place) -> None:
    if not place.faulty:
        pytest.skip("a set that is somebody's stays as large as it is")
    backend = place.backend()
    before = backend.observe().scale_set
    size, first = len(before.instances), next(iter(before.instances))
    backend.submit(command(Kind.SET_CAPACITY, capacity=size + 1))
    assert [one.status for one in ended(backend)] == [Status.SUCCEEDED]
    larger = backend.observe().scale_set
    (added,) = larger.instances.keys() - before.instances.keys()
    assert (larger.model.capacity, larger.instances[added].latest_model) == (size + 1, True)
    backend.submit(command(Kind.DELETE, first))
    assert [one.status for one in ended(backend)] == [Status.SUCCEEDED]
    smaller = backend.observe().scale_set
    assert smaller.instances.keys() == (before.instances.keys() | {added}) - {first}
    assert smaller.model.capacity == size


def test_a_script_for_several_instances_ends_with_the_last_of_them(place: Place) -> None:
    if not place.faulty:
        pytest.skip("no script runs on a set that is somebody's")
    backend = place.backend()
    names = tuple(backend.observe().scale_set.instances)[:2]
    assert backend.submit(command(Kind.RUN_COMMAND, *names, name="vmss-sim-test", script="true"))
    assert [(one.command, one.status) for one in ended(backend)] == [("c1", Status.SUCCEEDED)]
    assert backend.observe().outcomes == ()


def test_a_refusal_is_an_outcome_and_has_no_effect(place: Place) -> None:
    backend = place.backend()
    before = backend.observe().scale_set
    backend.submit(command(Kind.RESTART, "999999"))
    assert backend.wait(Wait(until_ms=None))
    seen = backend.observe()
    (outcome,) = seen.outcomes
    assert (outcome.status, outcome.refused, outcome.code) == (Status.FAILED, True, "InvalidParameter")
    assert seen.scale_set == before


def test_another_executor_adopts_by_the_handle(place: Place) -> None:
    backend = place.backend()
    name = next(iter(backend.observe().scale_set.instances))
    sent = command(Kind.RESTART, name)
    handle = backend.submit(sent)
    other = place.backend()
    other.adopt(sent, handle)
    outcomes = other.observe().outcomes or ended(other)
    assert [(one.command, one.status) for one in outcomes] == [("c1", Status.SUCCEEDED)]
    late = place.backend()
    late.adopt(sent, handle)
    assert [one.status for one in late.observe().outcomes] == [Status.SUCCEEDED], "also when it has long ended"


def test_without_a_handle_it_is_unknown(place: Place) -> None:
    backend = place.backend()
    backend.adopt(command(Kind.RESTART, "0"), "")
    assert [one.status for one in backend.observe().outcomes] == [Status.UNKNOWN]


def test_a_lost_reply_is_unknown_and_its_effect_is_seen(place: Place) -> None:
    if place.lossy is None:
        pytest.skip("nobody can have a reply of Azure's be lost")
    lossy = place.lossy()
    backend = lossy.backend()
    backend.observe()
    assert backend.submit(command(Kind.UPDATE_MODEL, patch={IMAGE + "version": NEW})) == ""
    assert backend.wait(Wait(until_ms=None))
    (outcome,) = backend.observe().outcomes
    assert (outcome.status, outcome.refused) == (Status.UNKNOWN, False)
    assert backend.wait(Wait(until_ms=lossy.now_ms() + 60_000)) in (True, False)
    found = backend.observe().scale_set.model.image
    assert found is not None and found.version == NEW


def test_waiting_ends_at_the_time_asked_for(place: Place) -> None:
    backend = place.backend()
    seen = backend.observe()
    name = next(iter(seen.scale_set.instances))
    backend.submit(command(Kind.RESTART, name))
    until = seen.now_ms + 1_000
    assert backend.wait(Wait(until_ms=until))
    assert until <= place.now_ms() < until + (60_000 if not place.faulty else 1)
    assert backend.observe().outcomes == ()


def test_nothing_to_wait_for_is_said(place: Place) -> None:
    backend = place.backend()
    backend.observe()
    assert backend.wait(Wait(until_ms=None)) is False


def test_a_mode_is_set_alone(place: Place) -> None:
    if not place.faulty:
        pytest.skip("the mode of a set that is somebody's stays")
    backend = place.backend()
    before = backend.observe().scale_set
    backend.submit(command(Kind.SET_MODE, mode=UpgradeMode.AUTOMATIC))
    ended(backend)
    after = backend.observe().scale_set
    assert after.model.mode is UpgradeMode.AUTOMATIC
    assert after.model.image == before.model.image
    assert after.model.rolling == before.model.rolling
    assert serving(after) == serving(before)


def test_what_runs_over_real_azure_is_documented() -> None:
    root = Path(__file__).parent.parent
    told = (root / "README.md").read_text()
    said = {name for file in root.glob("tests/*.py") for name in re.findall(r"VMSS_SIM_LIVE\w*", file.read_text())}
    assert {"VMSS_SIM_LIVE", "VMSS_SIM_LIVE_SET"} <= said
    assert all(f"`{name}" in told for name in said)
