"""Several who sleep at once under a clock that stands: each has its own timeline, and who is late is counted. No process, no wall."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_arm_clock import Stage, Wall
from vmss_sim.arm.clock import BaseClock
from vmss_sim.arm.sleepers import GONE_S, HELD_S, OVER, Nobody, SleepAnswer, Sleeper
from vmss_sim.arm.standing_clocks import JumpClock, ManualClock, StandingClock

POLL_MS = 30_000
Step = tuple[str, int]


class Client:
    """One who does a list of steps: work (a request), sleep for so many seconds, wait for an operation that takes so many."""

    def __init__(self, number: int, steps: list[Step]) -> None:
        self.number, self.steps = number, steps
        self.ticket, self.operation = "", ""
        self.ends_ms = self.told_ms = 0.0
        self.slept: list[tuple[float, float]] = []
        """When each sleep ended, and when it should have."""
        self.slept_ms = 0.0
        self.own_ms = 0.0
        """What time it is for this one, who thinks that it is alone."""

    @property
    def port(self) -> int:
        return self.number + 1

    @property
    def working(self) -> bool:
        """Has anything left to do, and is not asleep."""
        return bool(self.steps or self.operation) and not self.ticket


class Others(Nobody):
    """Knows who works."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients

    def busy_s(self, asleep: frozenset[int], polling: frozenset[int]) -> float:
        return HELD_S if self.working(asleep, polling) else 0.0

    def working(self, asleep: frozenset[int], polling: frozenset[int]) -> bool:
        return any(one.working and one.port not in polling for one in self.clients)


class Town:
    """Clients on one clock; whoever is called takes his next step."""

    def __init__(self, clock: StandingClock, wall: Wall, programs: list[list[Step]]) -> None:
        self.clock, self.wall = clock, wall
        self.clients = [Client(number, list(steps)) for number, steps in enumerate(programs)]
        clock.sleepers.others = Others(self.clients)
        clock.ledger.changing()
        clock.patience_s = float("inf")
        self.apart_ms = 0.0
        """How far anybody's own time was from the clock's, at most."""

    def turn(self, number: int, wall_s: float = 0.01) -> None:
        self.wall.now += wall_s
        one = self.clients[number % len(self.clients)]
        if one.ticket:
            self._slept(one, self.clock.back(one.ticket))
        elif one.operation:
            self._poll(one)
        elif one.steps:
            self._begin(one, *one.steps.pop(0))

    def _begin(self, one: Client, what: str, size: int) -> None:
        if what == "sleep":
            one.told_ms, one.ends_ms = self.clock._now_ms, self.clock._now_ms + size * 1000
            one.ticket = "?"  # asleep as soon as it says so
            self._slept(one, self.clock.sleep(size, Sleeper()))
            return
        self.clock.arrived(port=one.port)
        if what == "wait":
            one.operation = f"op{one.number}"
            one.told_ms, one.ends_ms = self.clock._now_ms, self.clock._now_ms + size * 1000
        self.clock.answered(told=one.operation, busy=True, port=one.port)

    def _slept(self, one: Client, told: SleepAnswer) -> None:
        one.ticket = told.ticket
        if told == OVER:
            one.slept.append((self.clock._now_ms, one.ends_ms))
            one.slept_ms += one.ends_ms - one.told_ms
            one.own_ms += one.ends_ms - one.told_ms
            self.apart_ms = max(self.apart_ms, abs(one.own_ms - self.clock._now_ms))

    def _poll(self, one: Client) -> None:
        self.clock.arrived(one.operation, one.port)
        self.clock.polled(round(one.ends_ms), name=one.operation, accepted_ms=round(one.told_ms))
        ended = self.clock._now_ms >= one.ends_ms and not self.clock.hides(one.operation)
        self.clock.answered(one.operation, "" if ended else one.operation, busy=True, port=one.port)
        if ended:
            one.operation = ""
            one.own_ms += -(-(one.ends_ms - one.told_ms) // POLL_MS) * POLL_MS
            self.apart_ms = max(self.apart_ms, abs(one.own_ms - self.clock._now_ms))

    def run(self, calls: list[int]) -> None:
        """In this order, then one after the other, to the end."""
        for number in calls:
            self.turn(number)
        for _ in range(2_000):
            if not any(one.steps or one.ticket or one.operation for one in self.clients):
                return
            for number in range(len(self.clients)):
                self.turn(number)
        pytest.fail("they wait for each other")


def steps(*kinds: str) -> Any:
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 400)), max_size=6)


CALLS = st.lists(st.integers(0, 3), max_size=60)


@pytest.mark.parametrize("make", [JumpClock, ManualClock])
@given(programs=st.lists(steps("sleep", "work"), min_size=1, max_size=4), calls=CALLS)
def test_each_has_its_own_timeline(make: Any, programs: list[list[Step]], calls: list[int]) -> None:
    """However they interleave: every sleep takes its length, and together they take as long as the one that sleeps longest."""
    wall = Wall()
    town = Town(make(wall=wall), wall, programs)
    town.run(calls)
    for one in town.clients:
        assert all(ended == due for ended, due in one.slept)
        assert all(begun <= ended for (begun, _), (ended, _) in zip(one.slept, one.slept[1:], strict=False))
    assert town.clock.now_ms() == max(one.slept_ms for one in town.clients)
    assert town.clock.ledger.spent.excess_ms == 0
    assert town.clock._now_ms == town.clock.ledger.spent.declared_ms + town.clock.ledger._tail.declared_ms


@given(programs=st.lists(steps("sleep", "work", "wait"), min_size=1, max_size=4), calls=CALLS)
def test_a_timeline_is_exact_beside_polls_too(programs: list[list[Step]], calls: list[int]) -> None:
    wall = Wall()
    town = Town(JumpClock(wall=wall), wall, programs)
    town.run(calls)
    assert all(ended == due for one in town.clients for ended, due in one.slept)
    assert town.apart_ms == 0
    assert town.clock.ledger.spent.excess_ms == 0


@given(
    programs=st.lists(steps("sleep", "work"), min_size=1, max_size=4),
    calls=st.lists(st.integers(0, 3) | st.sampled_from(["advance", "stranger", "refused"]), max_size=60),
)
def test_nobody_is_late_without_being_counted(programs: list[list[Step]], calls: list[int | str]) -> None:
    wall = Wall()
    town = Town(JumpClock(wall=wall), wall, programs)
    for call in calls:
        if call == "advance":
            town.clock.advance(70_000)
        elif call == "stranger":
            town.clock.sleep(50)
        elif call == "refused":
            assert town.clock.refused(20) == 1
        else:
            town.turn(int(call))
    town.run([])
    late = sum(ended - due for one in town.clients for ended, due in one.slept)
    assert all(ended >= due for one in town.clients for ended, due in one.slept)
    town.clock.ledger.changing()
    assert town.clock.ledger.spent.excess_ms == late


class _AddsUp(JumpClock):
    """A planted bug, as it was: every sleep moves time by its length."""

    def back(self, ticket: str) -> SleepAnswer:
        one = self.sleepers.back(ticket, self.wall())
        assert one is not None
        self._now_ms += one.ends_ms - self._now_ms
        self.sleepers.over(ticket)
        return OVER


class _Hurries(JumpClock):
    """A planted bug: whoever works is not waited for."""

    def _held_s(self, wall_s: float) -> float:
        return 0.0


class _Shows(JumpClock):
    """A planted bug: whoever polls sees an end at once, also between two of his own looks."""

    def hides(self, name: str) -> bool:
        return False


class _Overtakes(JumpClock):
    """A planted bug: a poll does not mind who works."""

    def _first_end(self) -> float:
        return self.sleepers.bound(self._now_ms, self._wall_s)


class _Rushes(JumpClock):
    """A planted bug: a poll does not mind who sleeps."""

    def _first_end(self) -> float:
        return float("inf")


@pytest.mark.parametrize("wrong", [_AddsUp, _Hurries])
def test_that_would_be_noticed(wrong: type[JumpClock]) -> None:
    wall = Wall()
    town = Town(wrong(wall=wall), wall, [[("sleep", 100)], [("work", 0), ("sleep", 100)]])
    town.run([0, 1])
    assert town.clock.now_ms() == 200_000


@pytest.mark.parametrize(
    ("wrong", "calls", "apart_ms"),
    [
        (JumpClock, [1, 0, 1, 0, 1, 0, 1], 0),
        (_Shows, [1, 0, 1, 0, 1, 0, 1], 20_000),
        (_Overtakes, [0, 1, 1, 0], 30_000),
    ],
)
def test_a_timeline_that_is_not_would_be_noticed(wrong: type[JumpClock], calls: list[int], apart_ms: int) -> None:
    wall = Wall()
    town = Town(wrong(wall=wall), wall, [[("work", 0), ("sleep", 10), ("sleep", 100)], [("wait", 5)]])
    town.run(calls)
    assert town.apart_ms == apart_ms


def test_a_poll_that_rushes_would_be_noticed() -> None:
    programs: list[list[Step]] = [[("sleep", 10)], [("wait", 300)]]
    for make, late in ((JumpClock, 0), (_Rushes, 290_000)):
        wall = Wall()
        town = Town(make(wall=wall), wall, programs)
        town.run([1, 0, 1])
        assert sum(ended - due for one in town.clients for ended, due in one.slept) == late
        assert town.clock.ledger.spent.excess_ms == late


def _asleep(clock: BaseClock, seconds: float) -> str:
    told = clock.sleep(seconds, Sleeper())
    assert told.ticket
    return told.ticket


class _Works(Nobody):
    """Somebody works, until told otherwise."""

    def __init__(self) -> None:
        self.busy, self.there, self.given_up = True, True, 0

    def told(self, pid: int, parent: int | None) -> bool:
        return pid == 7

    def gone(self, pid: int) -> bool:
        return not self.there

    def busy_s(self, asleep: frozenset[int], polling: frozenset[int]) -> float:
        return HELD_S if self.busy else 0.0

    def give_up(self, asleep: frozenset[int], polling: frozenset[int]) -> None:
        self.given_up, self.busy = self.given_up + 1, False


def _clock(**more: Any) -> tuple[JumpClock, Wall, _Works]:
    wall, others = Wall(), _Works()
    clock = JumpClock(wall=wall, **more)
    clock.sleepers.others = others
    return clock, wall, others


@pytest.mark.parametrize("how", ["process", "time"])
def test_a_sleeper_that_was_killed_holds_nobody(how: str) -> None:
    clock, wall, others = _clock()
    clock.sleep(10, Sleeper(pid=7))
    other = _asleep(clock, 100)
    others.busy = False
    assert clock.back(other).ticket
    assert clock.now_ms() == 10_000
    for _ in range(5):
        assert clock.back(other).ticket == other, "the first has the time to wake"
    if how == "process":
        others.there = False
    else:
        wall.now += GONE_S + 0.1
    assert clock.back(other) == OVER
    assert clock.now_ms() == 100_000
    assert clock.ledger._tail.excess_ms == 0


def test_a_sleeper_that_was_stopped_sleeps_on() -> None:
    clock, wall, others = _clock()
    stopped, other = _asleep(clock, 300), _asleep(clock, 100)
    others.busy = False
    wall.now += GONE_S + 0.1
    assert clock.back(other) == OVER
    assert clock.now_ms() == 100_000
    assert clock.back(stopped) == OVER
    assert clock.now_ms() == 300_000
    assert clock.back(stopped) == OVER, "and knows it"


def test_who_does_nothing_for_long_is_not_waited_for() -> None:
    clock, wall, others = _clock(patience_s=3)
    ticket = _asleep(clock, 60)
    for _ in range(29):
        wall.now += 0.1
        assert clock.back(ticket) == SleepAnswer(HELD_S, ticket)
    clock.arrived()  # a client asks for something: so there is one
    clock.answered()
    for _ in range(29):
        wall.now += 0.1
        assert clock.back(ticket).ticket
    wall.now += 0.2
    assert clock.back(ticket) == OVER
    assert others.given_up == 1


def test_a_poll_of_what_runs_is_no_sign_of_work() -> None:
    """Else who polls for an hour would keep an editor waited for."""
    clock, wall, others = _clock(patience_s=3)
    clock.answered(told="op")
    ticket = _asleep(clock, 60)
    for _ in range(31):
        wall.now += 0.1
        clock.arrived("op")
        clock.answered("op", "op", busy=True)
    assert clock.back(ticket) == OVER
    assert others.given_up == 1


def test_being_held_is_a_wait_and_work_is_work() -> None:
    clock, wall, others = _clock()
    clock.ledger.changing()
    wall.now += 2  # somebody's work
    ticket = _asleep(clock, 60)
    wall.now += 5  # held
    others.busy = False
    assert clock.back(ticket) == OVER
    wall.now += 1
    clock.arrived()
    clock.answered()
    clock.ledger.changing()
    assert clock.ledger.spent == msgspec.structs.replace(
        type(clock.ledger.spent)(), declared_ms=60_000, uncounted_ms=pytest.approx(3_000)
    )


def test_the_work_of_one_counts_while_another_sleeps() -> None:
    clock, wall, _ = _clock()
    clock.ledger.changing()
    ticket = _asleep(clock, 60)
    for _ in range(4):
        wall.now += 1
        clock.back(ticket)
    clock.arrived()
    clock.answered()
    clock.ledger.changing()
    assert clock.ledger.spent.uncounted_ms == pytest.approx(4_000)


def test_a_sleep_stops_where_a_poll_would_see_the_end_until_it_came() -> None:
    clock, wall, others = _clock()
    others.busy = False
    waking = _first(clock, 40)
    clock.polled(90_000, name="op")  # as far as the sleeper's end
    clock.answered("op", "op", busy=True)
    assert clock.now_ms() == 40_000
    assert clock.back(waking) == OVER
    ticket = _asleep(clock, 600)
    for _ in range(3):
        wall.now += 0.5
        assert clock.back(ticket).ticket
        assert clock.now_ms() == 90_000
    clock.arrived("op")
    clock.polled(90_000, name="op")
    clock.answered("op", busy=False)
    assert clock.back(ticket) == OVER
    assert clock.now_ms() == 640_000


def _first(clock: JumpClock, seconds: float) -> str:
    """Somebody asleep who does not move time yet."""
    others = clock.sleepers.others
    clock.sleepers.others = _Works()
    ticket = _asleep(clock, seconds)
    clock.sleepers.others = others
    return ticket


def test_nobody_waits_for_a_poll_that_never_comes() -> None:
    clock, wall, others = _clock(patience_s=3)
    others.busy = False
    waking = _first(clock, 40)
    clock.polled(90_000, name="op")
    clock.answered("op", "op", busy=True)
    assert clock.back(waking) == OVER
    ticket = _asleep(clock, 600)
    wall.now += 1
    assert clock.back(ticket).ticket
    wall.now += 2
    assert clock.back(ticket).ticket
    wall.now += 1.5
    assert clock.back(ticket) == OVER


@pytest.mark.parametrize("poll_s", [30, 0])
def test_a_sleep_stops_where_an_operation_ends_of_which_nobody_knew_when(poll_s: int) -> None:
    clock, _, others = _clock(poll_s=poll_s)
    others.busy = False
    clock.world = Stage(61_000)
    waking = _first(clock, 5)
    clock.polled(None, name="op")
    clock.answered("op", "op", busy=True)
    assert clock.back(waking) == OVER
    ticket = _asleep(clock, 600)
    assert clock.now_ms() == (90_000 if poll_s else 61_000)
    assert clock.back(ticket).ticket
    clock.polled(None, name="op")
    clock.answered("op", busy=False)
    assert clock.back(ticket) == OVER
    assert clock.now_ms() == 605_000


def test_time_that_begins_anew_knows_no_sleeper() -> None:
    clock, _, _ = _clock()
    ticket = _asleep(clock, 60)
    clock.begin_at(5)
    assert clock.back(ticket) == OVER
    assert clock.now_ms() == 5


def test_one_that_does_not_come_back_sleeps_at_once() -> None:
    clock, _, _ = _clock()
    assert clock.sleep(60) == OVER
    assert clock.now_ms() == 60_000
