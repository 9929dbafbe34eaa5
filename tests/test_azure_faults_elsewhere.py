"""The fault matrix, where a rollout is no image upgrade in batches: a surge (capacity, deletion), a rollout that the platform does by its policy (mode,
hand-over, cancelling it), a reimage, a run-command. Each trouble at each place; every cell under the profile `soak`, the cells of `USUAL` in CI.

The checks are those of `test_azure_faults.py`: ground truth, by no code of the planner's or the backend's.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from backends.driver import Driver
from backends.journal import MemoryJournal
from planner.build import Request, build
from planner.change import Action, Change, GuestPatch, ImageChange
from planner.errors import InputError, PlatformError
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, Rollout, State
from tests.azure_inprocess import Emulated, of_world
from tests.fleet import NEW, SOAK, Case, Fleet
from tests.test_azure_faults import WIRE, WORLD, Wire, _writes
from vmss_sim.arm.http import Request as Sent
from vmss_sim.world.faults import Fault

USUAL = ("reply lost", "409", "500, done")
"""Troubles that every place meets in CI: done and not told, refused, and done behind an error."""
SIZE, FLOOR = 4, 2


class Story(NamedTuple):
    """A rollout, and the place where it meets trouble. kind: of the command there. ask: an operator, some time after it began."""

    place: Callable[[Sent], bool]
    kind: str
    strategy: str
    parameters: dict[str, Any] = {}  # noqa: RUF012  # never changed
    change: Change = ImageChange(version=NEW)
    action: Action | None = None
    mode: UpgradeMode = UpgradeMode.AUTOMATIC
    ask: tuple[int, Asked] | None = None
    ending: str = "finish"


SURGE: dict[str, Any] = {"strategy": "surge", "parameters": {"size": 2}}
HANDED: dict[str, Any] = {"strategy": "platform-rolling", "mode": UpgradeMode.MANUAL}
STORIES: dict[str, Story] = {
    "a surge adds": Story(_writes("PATCH", "/web", "capacity"), "set-capacity", **SURGE),
    "a surge removes": Story(_writes("POST", "/delete"), "delete", **SURGE),
    "a policy's mode": Story(_writes("PATCH", "/web", "Rolling"), "set-mode", **HANDED),
    "handing over": Story(_writes("PATCH", "/web", NEW), "update-model", **HANDED),
    "cancelling": Story(
        _writes("POST", "/cancel"), "cancel-rolling-upgrade", ask=(120_000, Asked.ABORT), ending="abort", **HANDED
    ),
    "a reimage": Story(
        _writes("POST", "/reimage"), "reimage", "batch", {"size": 2}, action=Action.REIMAGE, mode=UpgradeMode.MANUAL
    ),
    "a run-command": Story(
        lambda sent: sent.method == "PUT" and "/runcommands/" in sent.path.lower(),
        "run-command",
        "batch",
        {"size": 2},
        GuestPatch(script="true", undo="false"),
    ),
}


class Ended(NamedTuple):
    state: State
    plan: Plan
    emulated: Emulated


def run(story: Story, faults: tuple[Fault, ...] = (), wire: Callable[[Emulated], Wire] | None = None) -> Ended:
    """One rollout to its end, by as many executors as it takes."""
    fleet = Fleet(size=SIZE, mode=story.mode, repairs=True)
    place = Case(fleet=fleet, faults=faults).world()
    emulated = of_world(place, fleet.scale_set())
    plan = build(
        Request(
            scale_set=emulated.backend().snapshot().scale_set, change=story.change, action=story.action,
            strategy=story.strategy, parameters=story.parameters, floor=FLOOR,
        )
    )  # fmt: skip
    place.plan = plan
    if wire is not None:
        emulated.wire.trouble = wire(emulated)
    journal = MemoryJournal()
    if story.ask is not None:
        when, asked = story.ask
        place.env.timeout(when).callbacks.append(lambda _event: journal.ask(asked))
    for executors in itertools.count(1):
        assert executors < 40, "it goes on for ever"
        try:
            return Ended(Driver(Rollout(plan), emulated.backend(plan), journal).run(), plan, emulated)
        except (InputError, PlatformError):
            emulated.sleeper.sleep_ms(60_000)  # somebody looks, and starts another
    raise AssertionError


def check(story: Story, ended: Ended, *, most: int = 1) -> None:
    """It ended and says why, the floor held, nothing was done twice, nothing is lost. most: how often one VM may be taken."""
    state, place = ended.state, ended.emulated.one.world
    assert state.phase is Phase.ENDED, (state.phase, state.reason, state.question)
    assert state.ending in ("finish", "finish-with-exceptions", "stop", "rollback", "abort"), state.reason
    spans = list(place.outages())
    for when in sorted({begin for begin, _ in spans}):
        out = sum(begin <= when and (end is None or when < end) for begin, end in spans)
        ever = len(place.vms) + len(place.gone)  # one that is not there yet, or no more, is out of service
        assert ever - out >= FLOOR, f"{out} of {ever} out of service at {when}"
    kinds = ("upgrade", "reimage", "restart", "run-command", "delete")
    began = Counter(name for done in place.log for name in done.started if done.kind in kinds)
    assert max(began.values(), default=0) <= most, began
    place.run(place.now + 3_600_000, stop_on_wake=False)
    if state.ending == "finish":
        assert len(place.vms) == SIZE, "as many as before"
        assert len(place.serves()) == SIZE
        assert not place.repairs_suspended
        assert place.mode == story.mode.value
        if isinstance(story.change, GuestPatch):
            assert all(vm.commands for vm in place.vms.values())
        else:
            assert {vm.image.exact for vm in place.vms.values() if vm.image} == {NEW}
    else:
        assert state.reason, "it says why"
    ended.emulated.only_what_is_listed()


def cells(*, once: bool) -> list[tuple[str, str]]:
    usual = USUAL if once else ("409", "reply lost")
    return [(name, trouble) for name in STORIES for trouble in WIRE if SOAK or trouble in usual]


@pytest.mark.parametrize(("name", "trouble"), cells(once=True))
def test_a_trouble_of_the_wire_once(name: str, trouble: str) -> None:
    story, wires = STORIES[name], list[Wire]()

    def wire(emulated: Emulated) -> Wire:
        wires.append(Wire(emulated, story.place, WIRE[trouble], 1, 1))
        return wires[0]

    ended = run(story, wire=wire)
    assert wires[0].met >= 1, "the trouble was met"
    check(story, ended)
    assert ended.state.ending == story.ending, ended.state.reason


@pytest.mark.parametrize(("name", "trouble"), cells(once=False))
def test_a_trouble_of_the_wire_that_stays(name: str, trouble: str) -> None:
    story = STORIES[name]
    ended = run(story, wire=lambda emulated: Wire(emulated, story.place, WIRE[trouble], 1, 1_000_000))
    check(story, ended)
    if WIRE[trouble].answer != "lost-reply" and not WIRE[trouble].carried_out and story.ending == "finish":
        assert ended.state.ending != "finish", "what was refused for ever is not done"


@pytest.mark.parametrize(
    ("name", "trouble"),
    [(name, trouble) for name in STORIES for trouble in WORLD if SOAK or trouble in ("fails", "hangs")],
)
def test_an_operation_that_does_not_go_as_it_should(name: str, trouble: str) -> None:
    story = STORIES[name]
    check(story, run(story, faults=(WORLD[trouble](story.kind),)), most=2)


@pytest.mark.parametrize("name", STORIES)
def test_without_trouble(name: str) -> None:
    ended = run(STORIES[name])
    check(STORIES[name], ended)
    assert ended.state.ending == STORIES[name].ending, ended.state.reason


def test_the_checks_can_fail() -> None:
    """Somebody takes three of four down at once, and one of them a second time."""
    story = STORIES["a reimage"]
    ended = run(story)
    check(story, ended)
    place = ended.emulated.one.world
    place.submit("foreign", "restart", ("0", "1", "2"))
    with pytest.raises(AssertionError, match="out of service at"):
        check(story, ended)
    place.submit("foreign-2", "reimage", ("0",))
    with pytest.raises(AssertionError):
        check(story, ended)
