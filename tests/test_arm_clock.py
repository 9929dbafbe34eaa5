"""The clocks of the emulator, against a wall that moves as told: what counts, what is told to clients, what the ledger says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmss_sim.arm.clock import LONG_S, BaseClock, RealClock, Spent, distortion
from vmss_sim.arm.sleepers import OVER
from vmss_sim.arm.standing_clocks import FARTHEST_MS, JumpClock, ManualClock


class Wall:
    """A wall clock that moves as told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Script:
    """One client: it works, starts operations, waits for them in its own way, sleeps."""

    def __init__(self, clock: BaseClock, wall: Wall) -> None:
        self.clock, self.wall, self.count = clock, wall, 0

    def work(self, seconds: float) -> None:
        self.wall.now += seconds
        self.clock.arrived()
        self.clock.answered(busy=True)

    def start(self) -> str:
        self.count += 1
        name = f"op{self.count}"
        self.clock.arrived()
        self.clock.ledger.changing()
        self.clock.answered(told=name, busy=True)
        return name

    def poll(self, name: str, *, ended: bool = False, after: float | None = None) -> None:
        """As Azure's clients do: after Retry-After, else after 30 s."""
        self.wall.now += (self.clock.accepted() or 30) if after is None else after
        self.clock.arrived(name)
        self.clock.answered(name, "" if ended else name, busy=not ended)

    def sleep(self, seconds: float) -> None:
        self.wall.now += self.clock.sleep(seconds).wall_s


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("work"), st.floats(0, 9.9)),
        st.tuples(st.just("wait"), st.integers(1, 6)),
        st.tuples(st.just("sleep"), st.floats(0, 900)),
    ),
    max_size=12,
)
SPEEDS = st.sampled_from([1.0, 2.0, 7.5, 30.0, 60.0, 600.0])


def _run(clock: BaseClock, wall: Wall, steps: list[tuple[str, float]]) -> float:
    """Virtual seconds that a script takes, once everything has been answered."""
    script = Script(clock, wall)
    for what, size in steps:
        if what == "work":
            script.work(size)
        elif what == "sleep":
            script.sleep(size)
        else:
            name = script.start()
            for number in range(int(size)):
                script.poll(name, ended=number == int(size) - 1)
    clock.arrived()
    return clock.now_ms() / 1000


@given(STEPS, SPEEDS)
def test_a_script_takes_as_long_as_in_real_time_at_any_speed(steps: list[tuple[str, float]], speed: float) -> None:
    """Rule 4: work as the wall says, waits as long as a client would wait by itself, sleeps as told."""
    wall = Wall()
    took = _run(RealClock(speed=speed, wall=wall), wall, steps)
    expected = sum({"work": size, "sleep": size, "wait": 30 * size}[what] for what, size in steps)
    # Retry-After is a whole number from 1: from speed 30 on a client waits 1 s, and the wait is cut at its own interval.
    rounding = sum(size for what, size in steps if what == "wait") * (
        max(0.0, 30 - max(1, round(30 / speed)) * speed) if speed > 1 else 0
    )
    assert expected - rounding - 0.1 <= took <= expected + 0.1


class _CountsWorkAsWaits(RealClock):
    """A planted bug: everything runs fast."""

    def _pass(self, wall_s: float, poll: str) -> None:
        self._now_ms += (wall_s - self._wall_s) * self.speed * 1000


def test_that_would_be_noticed() -> None:
    wall = Wall()
    steps: list[tuple[str, float]] = [("work", 3.0)]
    assert _run(_CountsWorkAsWaits(speed=60, wall=wall), wall, steps) > 100
    wall = Wall()
    assert _run(RealClock(speed=60, wall=wall), wall, steps) == pytest.approx(3)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40),
        st.sampled_from(["read", "start", "poll", "end", "sleep", "advance"]),
        st.integers(1, 3),
        st.integers(0, 200_000) | st.none(),
    ),
    max_size=25,
)


@given(EVENTS, st.sampled_from(["real", "real60", "manual", "jump", "jump0"]))
def test_time_never_goes_back_and_the_ledger_is_all_of_it(
    events: list[tuple[float, str, int, int | None]], which: str
) -> None:
    wall = Wall()
    clock: BaseClock = {
        "real": lambda: RealClock(wall=wall),
        "real60": lambda: RealClock(speed=60, wall=wall),
        "manual": lambda: ManualClock(wall=wall),
        "jump": lambda: JumpClock(wall=wall),
        "jump0": lambda: JumpClock(poll_s=0, wall=wall),
    }[which]()
    clock.ledger.changing()
    before = 0
    for gap, what, number, ends in events:
        wall.now += gap
        name = f"op{number}"
        if what == "sleep":
            clock.sleep(number * 10)
        elif what == "advance":
            clock.advance(number * 1000)
        else:
            poll = name if what in ("poll", "end") else ""
            clock.arrived(poll)
            if poll:
                clock.polled(ends, name=name)
            clock.answered(poll, name if what in ("start", "poll") else "", busy=True)
        assert clock.now_ms() >= before
        before = clock.now_ms()
    clock.ledger.changing()
    spent = clock.ledger.spent
    counted = spent.polls_ms + spent.declared_ms + spent.work_ms + spent.undeclared_ms + spent.run_on_ms
    assert counted == pytest.approx(clock.now_ms(), abs=1)


def test_real_speed_1_is_the_wall_and_says_nothing_unless_asked() -> None:
    wall = Wall()
    clock = RealClock(wall=wall)
    assert clock.accepted() is None
    assert RealClock(retry_after_s=7).accepted() == 7
    script = Script(clock, wall)
    name = script.start()
    script.poll(name, after=31.5)
    script.work(45)
    assert clock.now_ms() == 76_500
    assert clock.ledger.spent.distortion_ms == 0


@pytest.mark.parametrize(("speed", "asked", "says"), [(2, None, 15), (60, None, 1), (20, None, 2), (10, 10, 1)])
def test_retry_after_is_the_interval_divided_by_the_speed(speed: float, asked: int | None, says: int) -> None:
    assert RealClock(speed=speed, retry_after_s=asked).accepted() == says


def test_a_poll_is_worth_at_most_the_clients_own_interval() -> None:
    wall = Wall()
    clock = RealClock(speed=60, wall=wall)
    script = Script(clock, wall)
    name = script.start()
    script.poll(name, after=8)
    assert clock.now_ms() == 30_000
    script.poll(name, after=0.25)
    assert clock.now_ms() == 45_000


def test_an_undeclared_gap_runs_fast_and_is_distortion() -> None:
    wall = Wall()
    clock = RealClock(speed=60, wall=wall)
    script = Script(clock, wall)
    script.start()
    script.work(LONG_S)
    assert clock.now_ms() == 600_000
    assert clock.ledger.spent.undeclared_ms == 600_000
    assert clock.ledger.spent.distortion_ms == pytest.approx(590_000)


def test_a_told_sleep_counts_as_it_passes_whoever_asks() -> None:
    """At any speed, and several at once pass at once; what comes after is judged when the next request shows what it was."""
    for speed in (1.0, 60.0):
        wall = Wall()
        clock = RealClock(speed=speed, wall=wall)
        clock.sleep(600)
        clock.sleep(300)
        wall.now += 300 / speed
        clock.settle()
        assert clock.now_ms() == pytest.approx(300_000)
        wall.now += 300 / speed + 5
        clock.settle()
        assert clock.now_ms() == pytest.approx(605_000 if speed == 1 else 600_000)
        clock.arrived()
        assert clock.now_ms() == pytest.approx(605_000)


def test_two_that_wait_at_once_wait_once() -> None:
    wall = Wall()
    clock = RealClock(speed=60, wall=wall)
    script = Script(clock, wall)
    one, two = script.start(), script.start()
    wall.now += 1
    clock.arrived(one)
    clock.answered(one, one)
    clock.arrived(two)
    assert clock.now_ms() == 30_000


class Stage:
    """A world with one operation that ends when it likes."""

    def __init__(self, ends_at_ms: int) -> None:
        self.ends_at_ms, self.now_ms, self.steps = ends_at_ms, 0, 0

    def advance(self, to_ms: int) -> None:
        assert to_ms >= self.now_ms
        self.now_ms, self.steps = to_ms, self.steps + 1

    def runs(self, name: str) -> bool:
        return self.now_ms < self.ends_at_ms

    def idle_at(self) -> int | None:
        return self.ends_at_ms if self.now_ms < self.ends_at_ms else None


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 120))
def test_jump_goes_to_the_first_poll_that_sees_the_end(accepted: int, takes: int, poll_s: int) -> None:
    wall = Wall()
    clock = JumpClock(poll_s=poll_s, wall=wall)
    clock.begin_at(accepted)
    clock.polled(accepted + takes, name="op", accepted_ms=accepted)
    now, poll_ms = clock.now_ms(), poll_s * 1000
    assert now >= accepted + takes
    if poll_ms:
        assert (now - accepted) % poll_ms == 0
        assert now - poll_ms < accepted + takes or takes == 0
    else:
        assert now == accepted + takes


@pytest.mark.parametrize(("poll_s", "shown"), [(30, 90_000), (0, 61_000)])
def test_jump_runs_on_where_nobody_knows_the_end(poll_s: int, shown: int) -> None:
    clock = JumpClock(poll_s=poll_s, wall=Wall())
    clock.world = Stage(61_000)
    clock.polled(None, name="op")
    assert clock.now_ms() == shown


def test_jump_runs_an_hour_at_most() -> None:
    clock = JumpClock(wall=Wall())
    clock.world = Stage(10 * FARTHEST_MS)
    clock.polled(None, name="op")
    assert clock.now_ms() == FARTHEST_MS


def test_jump_does_not_pass_what_another_client_waits_for() -> None:
    clock = JumpClock(wall=Wall())
    clock.polled(1_000_000, name="long")  # nobody else is there yet
    clock.begin_at(0)
    clock.polled(100_000, name="short")
    clock.begin_at(0)
    clock._watched["short"] = 120_000
    clock.polled(1_000_000, name="long")
    assert clock.now_ms() == 120_000
    clock.answered("long", "long")
    clock.polled(1_000_000, name="long")
    assert clock.now_ms() == 1_020_000


def test_jump_stands_still_for_work_and_says_what_it_left_out() -> None:
    wall = Wall()
    clock = JumpClock(wall=wall)
    script = Script(clock, wall)
    wall.now += 500  # before anything happens nobody measures
    name = script.start()
    script.work(4)
    assert clock.now_ms() == 0
    assert clock.ledger.spent.uncounted_ms == 4_000
    script.poll(name, after=25)  # a poll, however late
    assert clock.ledger.spent.uncounted_ms == 4_000
    script.work(12)  # nobody polls, something runs: somebody waits in a way of his own
    assert clock.now_ms() == 12_000
    clock.answered(busy=False)
    wall.now += 60
    clock.arrived()
    assert clock.ledger.spent.uncounted_ms == 4_000, "what comes after the last change is not measured"
    clock.ledger.changing()
    assert clock.ledger.spent.uncounted_ms == 64_000


def test_manual_moves_only_when_told() -> None:
    wall = Wall()
    clock = ManualClock(wall=wall)
    script = Script(clock, wall)
    name = script.start()
    script.poll(name)
    script.work(3_000)
    clock.polled(5, name=name)
    assert clock.now_ms() == 0
    clock.advance(2_500)
    assert clock.sleep(1) == OVER
    assert clock.now_ms() == 3_500


@pytest.mark.parametrize("make", [JumpClock, ManualClock, RealClock])
def test_time_that_is_moved_by_hand_is_nobody_s_sleep(make: type[BaseClock]) -> None:
    clock = make(wall=Wall())
    clock.ledger.changing()
    clock.answered(told="op", busy=True)
    clock.advance(60_000)
    assert (clock.ledger.spent.run_on_ms, clock.ledger.spent.declared_ms) == (60_000, 0)
    clock.sleep(30)
    assert clock.ledger.spent.run_on_ms == 60_000


def test_distortion_is_a_share_of_the_duration() -> None:
    assert distortion(Spent(), 0) == 0
    assert distortion(Spent(uncounted_ms=5, excess_ms=5), 100) == pytest.approx(0.1)
    assert distortion(Spent(uncounted_ms=5), 0) == math.inf


def test_what_is_told_and_never_asked_for_does_not_pile_up() -> None:
    clock = ManualClock(wall=Wall())
    for number in range(30_000):
        clock.answered(told=str(number))
    assert len(clock._told) <= 10_000
