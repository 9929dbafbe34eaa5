"""The fault matrix: every kind of trouble at every place of a rollout, on the wire and behind it. It ends completed or stopped, within the
floor, with nothing done twice and nothing lost: no instance, no suspended repairs, no mode, no half-changed model.

Where Azure cannot be read, or will not be, the executor gives up, and another goes on from the journal, as an operator would have it.
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
from planner.change import ImageChange
from planner.errors import InputError, PlatformError
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.plan import Plan
from planner.rollout import Asked, Rollout, State
from tests.azure_inprocess import Emulated, of_world
from tests.fleet import NEW, OLD, Case, Fleet
from vmss_sim.arm.http import Request as Sent
from vmss_sim.arm.http import Response
from vmss_sim.world.faults import Fault

SIZE, BATCH, FLOOR = 4, 2, 2
FLEET = Fleet(size=SIZE, mode=UpgradeMode.AUTOMATIC, repairs=True)


def _error(status: int, code: str, **headers: str) -> Response:
    return Response(
        status=status,
        body={"error": {"code": code, "message": "for a test"}},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


class Trouble(NamedTuple):
    """What goes wrong: in place of the answer (`instead`: the request is not carried out), or after it was carried out."""

    answer: str | Response
    carried_out: bool = False


WIRE: dict[str, Trouble] = {
    "no connection": Trouble("no-route"),
    "request lost": Trouble("lost-request"),
    "reply lost": Trouble("lost-reply"),
    "409": Trouble(_error(409, "Conflict")),
    "412": Trouble(_error(412, "PreconditionFailed")),
    "429": Trouble(_error(429, "TooManyRequests", retry_after="17")),
    "401": Trouble(_error(401, "ExpiredAuthenticationToken")),
    "403": Trouble(_error(403, "AuthorizationFailed")),
    "500": Trouble(_error(500, "InternalServerError")),
    "500, done": Trouble(_error(500, "InternalServerError"), carried_out=True),
    "503": Trouble(_error(503, "ServiceUnavailable", retry_after="5")),
    "504, done": Trouble(_error(504, "GatewayTimeout"), carried_out=True),
}
READING: dict[str, Trouble] = {
    "no connection": WIRE["no connection"],
    "reply lost": WIRE["reply lost"],
    "429": WIRE["429"],
    "401": WIRE["401"],
    "403": WIRE["403"],
    "404": Trouble(_error(404, "NotFound")),
    "500": WIRE["500"],
    "503": WIRE["503"],
    "no JSON": Trouble(Response(status=200, body="<html>")),
}
WORLD: dict[str, Callable[[str], Fault]] = {
    "fails": lambda kind: Fault(verdict="fail", of=kind, first=1, last=99, code="InternalExecutionError"),
    "fails once": lambda kind: Fault(verdict="fail", of=kind, first=1, last=4, code="InternalExecutionError"),
    "hangs": lambda kind: Fault(verdict="hang", of=kind, first=1, last=4),
    "takes long": lambda kind: Fault(verdict="delay", of=kind, first=1, last=99, delay_ms=400_000),
    "is refused": lambda kind: Fault(verdict="refuse", of=kind, first=1, last=99, code="Conflict"),
}


def _writes(method: str, tail: str, *words: str) -> Callable[[Sent], bool]:
    return lambda sent: (
        sent.method == method and sent.path.lower().endswith(tail) and all(word in sent.body.decode() for word in words)
    )


PLACES: dict[str, Callable[[Sent], bool]] = {
    "suspend repairs": _writes("POST", "/setorchestrationservicestate", "Suspend"),
    "set mode Manual": _writes("PATCH", "/web", "Manual"),
    "update the model": _writes("PATCH", "/web", NEW),
    "upgrade": _writes("POST", "/manualupgrade"),
    "put the model back": _writes("PATCH", "/web", f'"{OLD}"'),
    "resume repairs": _writes("POST", "/setorchestrationservicestate", "Resume"),
    "set mode Automatic": _writes("PATCH", "/web", "Automatic"),
}
READS: dict[str, Callable[[Sent], bool]] = {
    "poll": lambda sent: sent.method == "GET" and "/operations/" in sent.path,
    "set": _writes("GET", "/web"),
    "instances": _writes("GET", "/virtualmachines"),
    "set's view": _writes("GET", "/instanceview"),
}


class Wire:
    """A trouble on the wire, at a place: from its `first` request of that kind on, so many times, or for so long."""

    def __init__(
        self, emulated: Emulated, where: Callable[[Sent], bool], trouble: Trouble, first: int, times: int
    ) -> None:
        self.emulated, self.where, self.trouble = emulated, where, trouble
        self.first, self.times, self.met = first, times, 0

    def __call__(self, _number: int, sent: Sent) -> str | Response | None:
        if not self.where(sent):
            return None
        self.met += 1
        if not self.first <= self.met < self.first + self.times:
            return None
        if self.trouble.carried_out:
            self.emulated.endpoint.answer(sent)
        return self.trouble.answer


class Ended(NamedTuple):
    """A rollout that has come to rest. executors: how many it took."""

    state: State
    plan: Plan
    emulated: Emulated
    executors: int


def run(
    faults: tuple[Fault, ...] = (),
    wire: Callable[[Emulated], Wire] | None = None,
    ask: tuple[int, Asked] | None = None,
    **parameters: Any,
) -> Ended:
    """One rollout to its end, by as many executors as it takes."""
    case = Case(fleet=FLEET, faults=faults)
    place = case.world()
    emulated = of_world(place, FLEET.scale_set())
    snapshot = emulated.backend().snapshot().scale_set
    plan = build(
        Request(
            scale_set=snapshot, change=ImageChange(version=NEW), strategy="batch",
            parameters={"size": BATCH, "retries": 1, **parameters}, floor=FLOOR,
        )
    )  # fmt: skip
    place.plan = plan
    if wire is not None:
        emulated.wire.trouble = wire(emulated)
    journal = MemoryJournal()
    if ask is not None:
        place.env.timeout(ask[0]).callbacks.append(lambda _event: journal.ask(ask[1]))
    for executors in itertools.count(1):
        assert executors < 40, "it goes on for ever"
        try:
            state = Driver(Rollout(plan), emulated.backend(plan), journal).run()
            return Ended(state, plan, emulated, executors)
        except (InputError, PlatformError):
            emulated.sleeper.sleep_ms(60_000)  # somebody looks, and starts another
    raise AssertionError


def check(ended: Ended, *, most: int = 1) -> None:
    """Ground truth, by no code of the planner's or the backend's. most: upgrades that may really begin on a VM."""
    state, place = ended.state, ended.emulated.one.world
    assert state.phase is Phase.ENDED, (state.phase, state.reason, state.question)
    assert state.ending in ("finish", "finish-with-exceptions", "stop", "rollback", "abort"), state.reason
    # The floor held, by the worlds' own record of who was out of service when.
    spans = list(place.outages())
    for when in sorted({begin for begin, _ in spans}):
        down = sum(begin <= when and (end is None or when < end) for begin, end in spans)
        assert SIZE - down >= FLOOR, f"{down} down at {when}"
    # Nothing twice.
    began = Counter(name for done in place.log for name in done.started if done.kind in ("upgrade", "reimage"))
    assert max(began.values(), default=0) <= most, began
    # Nothing lost.
    place.run(place.now + 3_600_000, stop_on_wake=False)
    assert sorted(vm.vm_id for vm in place.vms.values()) == [f"vm-{number}" for number in range(SIZE)]
    if state.ending == "finish":
        assert not place.repairs_suspended
        assert place.mode == "automatic"
        assert {vm.image.exact for vm in place.vms.values() if vm.image} == {NEW}
        assert len(place.serves()) == SIZE
    else:
        assert state.reason, "it says why"
    if state.ending == "finish" or ended.plan.ends[state.ending].model == "target":
        assert place.model_image is not None and place.model_image.version == NEW
    ended.emulated.only_what_is_listed()


BOTH_WAYS = ("put the model back",)


@pytest.mark.parametrize("trouble", WIRE)
@pytest.mark.parametrize("place", PLACES)
def test_a_trouble_of_the_wire_while_something_is_sent(place: str, trouble: str) -> None:
    """Once, at the first request of the kind: it is overcome."""
    back = place in BOTH_WAYS
    wires: list[Wire] = []

    def wire(emulated: Emulated) -> Wire:
        wires.append(Wire(emulated, PLACES[place], WIRE[trouble], 1, 1))
        return wires[0]

    ended = run(wire=wire, ask=(100_000, Asked.ROLLBACK) if back else None)
    assert wires[0].met >= 1, "the trouble was met"
    check(ended, most=2 if back else 1)
    assert ended.state.ending == ("rollback" if back else "finish"), ended.state.reason
    assert ended.executors == 1


@pytest.mark.parametrize("trouble", ["no connection", "reply lost", "409", "403", "503", "500, done"])
@pytest.mark.parametrize("place", PLACES)
def test_a_trouble_that_stays(place: str, trouble: str) -> None:
    """For ever, from the first (of upgrades, the second) request of the kind on: it stops, says why, and undoes what it can."""
    back = place in BOTH_WAYS
    first = 2 if place == "upgrade" else 1
    ended = run(
        wire=lambda emulated: Wire(emulated, PLACES[place], WIRE[trouble], first, 1_000_000),
        ask=(100_000, Asked.ROLLBACK) if back else None,
    )
    check(ended, most=2 if back else 1)
    told = ended.state.ending
    if WIRE[trouble].answer == "lost-reply" or WIRE[trouble].carried_out:
        assert told == ("rollback" if back else "finish"), "it was done, and the snapshot shows it"
    else:
        assert told != "finish", "what was refused for ever is not done"


@pytest.mark.parametrize("times", [1, 12])
@pytest.mark.parametrize("trouble", READING)
@pytest.mark.parametrize("place", READS)
def test_a_trouble_of_the_wire_while_something_is_read(place: str, trouble: str, times: int) -> None:
    """In the middle of a batch. What can be waited for is waited for; what cannot, another executor takes over from."""
    wires: list[Wire] = []

    def wire(emulated: Emulated) -> Wire:
        wires.append(Wire(emulated, READS[place], READING[trouble], 6, times))
        return wires[0]

    ended = run(wire=wire)
    check(ended)
    assert wires[0].met >= 6
    unreadable = trouble in ("401", "403", "404", "no JSON") and place != "poll"
    assert (ended.executors > 1) is unreadable, "what cannot be waited for"
    assert ended.state.ending == "finish", ended.state.reason


@pytest.mark.parametrize("trouble", WORLD)
@pytest.mark.parametrize("kind", ["suspend-repairs", "set-mode", "update-model", "upgrade", "resume-repairs"])
def test_an_operation_that_does_not_go_as_it_should(kind: str, trouble: str) -> None:
    ended = run(faults=(WORLD[trouble](kind),))
    check(ended, most=2)


@pytest.mark.parametrize("opaque", [True, False])
def test_an_executor_that_is_killed_between_two_turns(opaque: bool) -> None:
    """A new one at every turn: each adopts what is in flight by its handle alone, and nothing is sent twice."""
    place = Case(fleet=FLEET).world()
    emulated = of_world(place, FLEET.scale_set())
    emulated.site.operations.opaque = opaque
    snapshot = emulated.backend().snapshot().scale_set
    plan = build(
        Request(
            scale_set=snapshot,
            change=ImageChange(version=NEW),
            strategy="batch",
            parameters={"size": BATCH},
            floor=FLOOR,
        )
    )
    place.plan = plan
    journal = MemoryJournal()
    for _ in range(200):
        backend = emulated.backend(plan)
        driver = Driver(Rollout(plan), backend, journal)
        wait = driver.turn()
        if wait is None:
            break
        backend.wait(wait)
    check(Ended(driver.state, plan, emulated, 1))
    assert driver.state.ending == "finish"


def test_the_checks_can_fail() -> None:
    """Somebody takes three of four down at once: the floor is seen to break."""
    ended = run()
    check(ended)
    place = ended.emulated.one.world
    place.submit("foreign", "restart", ("0", "1", "2"))
    with pytest.raises(AssertionError, match="down at"):
        check(ended)
