"""The measures, against a recomputation millisecond by millisecond, and against what must not change them."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from planner.metrics import (
    Measures,
    StepFunction,
    condensed,
    constant,
    count_intervals,
    followed,
    from_intervals,
    integral,
    measure,
)

START = 100
SPAN = 40
relaxed = settings(deadline=None)


def steps(times: tuple[int, ...], values: tuple[int, ...]) -> StepFunction:
    """Spell a step function."""
    return StepFunction(times_ms=times, values=values)


def naive_at(function: StepFunction, time_ms: int) -> int:
    """Value at a time, by looking at every change from the first one on."""
    return [value for time, value in zip(function.times_ms, function.values, strict=True) if time <= time_ms][-1]


def naive_measure(
    healthy: StepFunction,
    window: range,
    *,
    total: int,
    required: StepFunction,
    horizon_ms: int,
    bad: StepFunction | None,
) -> Measures:
    """Sum over single milliseconds: slow, and obviously right."""
    up = [naive_at(healthy, t) for t in window]
    need = [naive_at(required, t) for t in window]
    horizon = range(window.start, window.start + horizon_ms)
    served = sum(naive_at(healthy, t) >= naive_at(required, t) for t in horizon)
    return Measures(
        min_healthy=min(up, default=naive_at(healthy, window.start)),
        downtime_ms=sum(u < r for u, r in zip(up, need, strict=True)),
        outage_ms=up.count(0),
        capacity_lost_vm_ms=sum(total - u for u in up),
        unserved_vm_ms=sum(max(0, r - u) for u, r in zip(up, need, strict=True)),
        bad_exposure_vm_ms=sum(naive_at(bad, t) for t in window) if bad else 0,
        duration_ms=len(window),
        availability=float(Fraction(served, horizon_ms)),
    )


@st.composite
def functions(draw: st.DrawFn, start_ms: int = START) -> StepFunction:
    """Generate a small step function that begins at or before the start."""
    times = sorted(draw(st.sets(st.integers(start_ms - 5, start_ms + SPAN), max_size=12)) | {start_ms - 5})
    values = draw(st.lists(st.integers(0, 6), min_size=len(times), max_size=len(times)))
    return steps(tuple(times), tuple(values))


def intervals(start_ms: int = START) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Generate outages around the start, some of them empty, some over before it."""
    return st.lists(
        st.tuples(st.integers(start_ms - 10, start_ms + SPAN), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])),
        max_size=8,
    )


def plain(healthy: StepFunction, *, total: int = 8, ended_ms: int = START + SPAN, required: int = 5) -> Measures:
    """Measure with the parameters that a test does not care about."""
    return measure(
        healthy,
        total=total,
        required=constant(required),
        started_ms=START,
        ended_ms=ended_ms,
        horizon_ms=100,
        bad=None,
    )


@relaxed
@given(
    healthy=functions(),
    required=functions(),
    bad=st.none() | functions(),
    total=st.integers(0, 6),
    length=st.integers(0, SPAN + 5),
    horizon_ms=st.integers(1, SPAN + 20),
)
def test_equals_the_sum_over_milliseconds(
    *,
    healthy: StepFunction,
    required: StepFunction,
    bad: StepFunction | None,
    total: int,
    length: int,
    horizon_ms: int,
) -> None:
    """Every measure is the one counted out, whichever of T and the horizon comes first."""
    got = measure(
        healthy,
        total=total,
        required=required,
        started_ms=START,
        ended_ms=START + length,
        horizon_ms=horizon_ms,
        bad=bad,
    )
    window = range(START, START + length)
    assert got == naive_measure(healthy, window, total=total, required=required, horizon_ms=horizon_ms, bad=bad)
    fields = [getattr(got, name) for name in Measures.__struct_fields__ if name != "availability"]
    assert all(type(value) is int for value in fields)


@relaxed
@given(intervals=intervals())
def test_intervals_are_counted(intervals: list[tuple[int, int]]) -> None:
    """The function from intervals is, at each millisecond, n less the intervals that contain it."""
    healthy = from_intervals(8, intervals, START)
    for t in range(START, START + SPAN + 25):
        assert healthy.at(t) == 8 - sum(down <= t < up for down, up in intervals)
    assert healthy.times_ms[0] == START
    assert all(a != b for a, b in zip(healthy.values, healthy.values[1:], strict=False))


@relaxed
@given(intervals=intervals(), cut=st.integers(START - 12, START + SPAN + 20), order=st.randoms(use_true_random=False))
def test_cutting_and_order_change_nothing(intervals: list[tuple[int, int]], cut: int, order: Random) -> None:
    """The same outages, cut in two at an instant and shuffled, are the same function."""
    pieces = [
        piece for down, up in intervals for piece in ([(down, cut), (cut, up)] if down < cut < up else [(down, up)])
    ]
    order.shuffle(pieces)
    assert from_intervals(8, pieces, START) == from_intervals(8, intervals, START)


@relaxed
@given(intervals=intervals(), length=st.integers(0, SPAN + 20))
def test_capacity_lost_is_the_sum_of_clipped_outages(intervals: list[tuple[int, int]], length: int) -> None:
    """Brewer's identity: what is lost is the outages added up, however they overlap."""
    end = START + length
    expected = sum(max(0, min(up, end) - max(down, START)) for down, up in intervals)
    assert plain(from_intervals(8, intervals, START), ended_ms=end).capacity_lost_vm_ms == expected


@relaxed
@given(durations=st.lists(st.integers(1, 50), min_size=12, max_size=12), batch=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_capacity_lost_does_not_depend_on_the_batch_size(durations: list[int], batch: int) -> None:
    """O7: without failures every batch size loses n * E[outage]; only the minimum and the duration differ."""
    outages, clock = [], START
    for first in range(0, 12, batch):
        members = durations[first : first + batch]
        outages += [(clock, clock + duration) for duration in members]
        clock += max(members)
    got = plain(from_intervals(12, outages, START), total=12, ended_ms=clock)
    assert got.capacity_lost_vm_ms == sum(durations)
    assert got.min_healthy == 12 - batch


@relaxed
@given(
    healthy=functions(start_ms=0),
    required=functions(start_ms=0),
    bad=functions(start_ms=0),
    length=st.integers(0, SPAN),
    horizon_ms=st.integers(1, SPAN + 20),
    factor=st.integers(1, 1000),
    shift=st.integers(-(10**13), 10**13),
)
def test_scaling_and_shifting_time(
    *,
    healthy: StepFunction,
    required: StepFunction,
    bad: StepFunction,
    length: int,
    horizon_ms: int,
    factor: int,
    shift: int,
) -> None:
    """Time times c: durations and integrals times c, counts and availability as before. A shift changes nothing."""

    def run(factor: int, shift: int) -> Measures:
        moved = [steps(tuple(shift + factor * t for t in f.times_ms), f.values) for f in (healthy, required, bad)]
        return measure(
            moved[0],
            total=6,
            required=moved[1],
            started_ms=shift,
            ended_ms=shift + factor * length,
            horizon_ms=factor * horizon_ms,
            bad=moved[2],
        )

    before, after = run(1, 0), run(factor, shift)
    for name in Measures.__struct_fields__:
        expected = getattr(before, name) * (factor if name.endswith("_ms") else 1)
        assert getattr(after, name) == expected, name


@relaxed
@given(healthy=functions(), required=functions(), middle=st.integers(0, SPAN))
def test_windows_add_up(healthy: StepFunction, required: StepFunction, middle: int) -> None:
    """Two windows side by side give the measures of both together."""

    def run(start: int, end: int) -> Measures:
        return measure(
            healthy,
            total=6,
            required=required,
            started_ms=start,
            ended_ms=end,
            horizon_ms=end - start or 1,
            bad=healthy,
        )

    first, second, both = run(START, START + middle), run(START + middle, START + SPAN), run(START, START + SPAN)
    for name in Measures.__struct_fields__:
        if name.endswith("_ms"):
            assert getattr(first, name) + getattr(second, name) == getattr(both, name), name


@relaxed
@given(
    healthy=functions(),
    required=functions(),
    bad=functions(),
    lengths=st.tuples(st.integers(0, SPAN), st.integers(0, 20), st.integers(0, 20)).map(sorted),
    horizon_ms=st.integers(1, SPAN + 20),
)
def test_a_past_in_fewer_steps_measures_the_same(
    healthy: StepFunction, required: StepFunction, bad: StepFunction, lengths: list[int], horizon_ms: int
) -> None:
    """Condensed twice, at any time that is not after the end, as long as that cuts at the start, the horizon and what is required."""

    def run(healthy: StepFunction, bad: StepFunction) -> Measures:
        ended = START + lengths[2]
        return measure(
            healthy, total=6, required=required, started_ms=START, ended_ms=ended, horizon_ms=horizon_ms, bad=bad
        )

    def short(one: StepFunction) -> StepFunction:
        for length in lengths[:2]:
            until = START + length
            rest = steps(
                (until, *(t for t in one.times_ms if t > until)),
                tuple(naive_at(one, t) for t in (until, *(t for t in one.times_ms if t > until))),
            )
            one = followed(condensed(one, until, cuts), rest)
        return one

    cuts = (START, START + horizon_ms, *required.times_ms)
    assert run(short(healthy), short(bad)) == run(healthy, bad)


def test_a_past_has_no_more_steps_than_values() -> None:
    saws = steps(tuple(range(START, START + 1000)), (5, 3) * 500)
    assert condensed(saws, START + 900, (START + 100,)) == steps((100, 150, 200, 600), (3, 5, 3, 5))


@relaxed
@given(healthy=functions(), lower=st.integers(0, 6), higher=st.integers(0, 6))
def test_more_required_is_never_better(healthy: StepFunction, lower: int, higher: int) -> None:
    """Downtime and unserved rise with what is required, availability falls; required 1 is outage."""
    lower, higher = sorted((lower, higher))
    easy, hard = plain(healthy, required=lower), plain(healthy, required=higher)
    assert easy.downtime_ms <= hard.downtime_ms
    assert easy.unserved_vm_ms <= hard.unserved_vm_ms
    assert easy.availability >= hard.availability
    assert plain(healthy, required=1).downtime_ms == hard.outage_ms
    assert plain(healthy, required=0).downtime_ms == 0


# Worked by hand: 10 VMs, 8 of them required; 2 go at 1 s, 1 more at 2 s, all back at 4 s; T = 5 s.
WORKED = from_intervals(10, [(1000, 4000), (1000, 4000), (2000, 4000)], 0)


def test_worked_example() -> None:
    """Three numbers one can check on paper."""
    assert (WORKED.times_ms, WORKED.values) == ((0, 1000, 2000, 4000), (10, 8, 7, 10))
    got = measure(
        WORKED,
        total=10,
        required=constant(8),
        started_ms=0,
        ended_ms=5000,
        horizon_ms=20_000,
        bad=count_intervals([(4000, None)], 0),
    )
    assert got == Measures(
        min_healthy=7,
        downtime_ms=2000,
        outage_ms=0,
        capacity_lost_vm_ms=8000,
        unserved_vm_ms=2000,
        bad_exposure_vm_ms=1000,
        duration_ms=5000,
        availability=0.9,
    )


@pytest.mark.parametrize(
    ("ended_ms", "horizon_ms", "availability"),
    [
        pytest.param(5000, 8000, 0.75, id="after T the function goes on at its last value"),
        pytest.param(3000, 8000, 0.75, id="after T it goes on at the values it has"),
        pytest.param(5000, 4000, 0.5, id="a rollout beyond the horizon is judged on the horizon"),
        pytest.param(0, 2000, 1.0, id="the end of the horizon does not count"),
    ],
)
def test_horizon(ended_ms: int, horizon_ms: int, availability: float) -> None:
    """Availability is over [start, start + horizon), wherever T is."""
    got = measure(
        WORKED,
        total=10,
        required=constant(8),
        started_ms=0,
        ended_ms=ended_ms,
        horizon_ms=horizon_ms,
        bad=None,
    )
    assert got.availability == availability


def test_edges_of_the_window() -> None:
    """A change at the start counts, a change at T does not, and an empty window has a minimum."""
    healthy = steps((START - 50, START, START + 10), (1, 4, 0))
    until = plain(healthy, ended_ms=START + 10)
    assert (until.min_healthy, until.outage_ms, until.capacity_lost_vm_ms) == (4, 0, 40)
    assert plain(healthy, ended_ms=START + 11).min_healthy == 0
    empty = plain(healthy, ended_ms=START)
    assert (empty.min_healthy, empty.downtime_ms, empty.outage_ms, empty.duration_ms) == (4, 0, 0, 0)


def test_surge_counts_against_the_loss() -> None:
    """Healthy above the total is a negative loss, and no help to what went unserved at another time."""
    healthy = steps((START, START + 10, START + 20), (12, 8, 10))
    got = plain(healthy, total=10, required=10, ended_ms=START + 20)
    assert (got.capacity_lost_vm_ms, got.unserved_vm_ms) == (0, 20)


def test_never_back() -> None:
    """An instance that never came back is out to the end of whatever is asked."""
    healthy = from_intervals(3, [(START + 5, None), (START - 5, None)], START)
    assert healthy == steps((START, START + 5), (2, 1))
    assert healthy.at(10**15) == 1


def test_integral_of_a_demand_curve() -> None:
    """The integral is over [start, end), of the values that hold there."""
    assert integral(steps((0, 10, 20), (1, 2, 3)), 5, 25) == 5 * 1 + 10 * 2 + 5 * 3


@pytest.mark.parametrize(
    ("times", "values", "message"),
    [
        ((), (), "has no start"),
        ((1, 2), (1,), "2 times and 1 values"),
        ((1, 1), (1, 2), "do not rise strictly"),
        ((2, 1), (1, 2), "do not rise strictly"),
    ],
)
def test_malformed_functions_are_refused(times: tuple[int, ...], values: tuple[int, ...], message: str) -> None:
    """A function that is none says so, also when it is read from a file."""
    with pytest.raises(ValueError, match=message):
        steps(times, values)
    text = msgspec.json.encode({"times_ms": times, "values": values})
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.json.decode(text, type=StepFunction)


def test_functions_survive_json() -> None:
    """Encoded and decoded, a function is the same value."""
    assert msgspec.json.decode(msgspec.json.encode(WORKED), type=StepFunction) == WORKED


def test_wrong_input_is_named() -> None:
    """Each refusal says what is wrong and what was found."""
    with pytest.raises(InputError, match=r"more instances are out .* found 2 at 107 ms; expected at most 1"):
        from_intervals(1, [(START, START + 20), (START + 7, START + 9)], START)
    with pytest.raises(InputError, match=r"ends before it begins; found 5 ms to 4 ms"):
        from_intervals(1, [(5, 4)], START)
    with pytest.raises(InputError, match=r"a rollout ends before it starts; found 100 ms to 99 ms"):
        plain(WORKED, ended_ms=START - 1)
    with pytest.raises(InputError, match=r"horizon is not positive; found 0 ms"):
        measure(WORKED, total=1, required=WORKED, started_ms=0, ended_ms=1, horizon_ms=0, bad=None)
    late = constant(1, START + 1)
    for healthy, required, bad in ((late, WORKED, None), (WORKED, late, None), (WORKED, WORKED, late)):
        with pytest.raises(InputError, match=r"before its start; found 100 ms; expected 101 ms or later"):
            measure(
                healthy,
                total=1,
                required=required,
                started_ms=START,
                ended_ms=START + 9,
                horizon_ms=1,
                bad=bad,
            )
