"""The statistics, against known values, against scipy's own answers, and by coverage of what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import msgspec
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.errors import InputError
from vmss_sim.study.statistics import (
    Difference,
    Precision,
    Summary,
    enough,
    paired_difference,
    pareto,
    proportion,
    quantile,
    quantile_interval,
    quantile_ranks,
    summary,
)

relaxed = settings(deadline=None)
numbers = st.floats(-1e9, 1e9) | st.integers(-5, 5).map(float)
samples = st.lists(numbers, max_size=60)


def z_score(hits: int, runs: int, promised: float) -> float:
    """How many standard deviations a count of hits is from the promised share."""
    return (hits - runs * promised) / math.sqrt(runs * promised * (1 - promised))


# Means and quantiles


def test_summary_of_one_to_a_hundred() -> None:
    """Quantiles are observed values: p95 of 1..100 is 95."""
    got = summary([float(x) for x in range(100, 0, -1)])
    assert (got.mean, got.p05, got.p50, got.p95, got.p99, got.n) == (50.5, 5.0, 50.0, 95.0, 99.0, 100)
    expected = scipy.stats.ttest_1samp(np.arange(1, 101), 0).confidence_interval(0.95)
    assert got.ci95 == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_summary_of_nothing_one_and_equals() -> None:
    """No values: nothing known. One: no interval. Equals: an interval without width, the value exactly."""
    assert summary([]) == Summary(mean=None, p05=None, p50=None, p95=None, p99=None, ci95=None, n=0)
    assert summary([7.0]) == Summary(mean=7.0, p05=7.0, p50=7.0, p95=7.0, p99=7.0, ci95=None, n=1)
    assert summary([0.1] * 3) == Summary(mean=0.1, p05=0.1, p50=0.1, p95=0.1, p99=0.1, ci95=(0.1, 0.1), n=3)


def test_what_is_not_finite_is_none() -> None:
    """Infinite values sort as they should, and leave as None; an overflow does the same."""
    got = summary([1.0, 2.0, math.inf])
    assert got == Summary(mean=None, p05=1.0, p50=2.0, p95=None, p99=None, ci95=None, n=3)
    assert summary([math.inf, math.inf]).mean is None
    assert summary([-math.inf, math.inf]).p05 is None
    huge = summary([1.7e308, 1.7e308, 1.6e308])
    assert (huge.mean, huge.ci95, huge.p50) == (None, None, 1.7e308)


@relaxed
@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_everything_encodes_as_json(values: list[float]) -> None:
    """Whatever goes in, NaN or infinity never come out: msgspec would write them as null, and reading would fail."""
    for result in (summary(values), paired_difference(values, values[::-1]), enough(values, 0.1)):
        assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result


@relaxed
@given(samples, st.randoms(use_true_random=False))
def test_summary_properties(values: list[float], order: Random) -> None:
    """Order does not matter; the mean is within its interval, the quantiles rise and are observed."""
    got = summary(values)
    shuffled = values.copy()
    order.shuffle(shuffled)
    assert summary(shuffled) == got
    assert got.n == len(values)
    if got.ci95 is not None and got.mean is not None:
        assert got.ci95[0] <= got.mean <= got.ci95[1]
        assert got.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-3)
    quantiles = [q for q in (got.p05, got.p50, got.p95, got.p99) if q is not None]
    assert len(quantiles) == (4 if values else 0)
    assert quantiles == sorted(quantiles)
    assert set(quantiles) <= set(values)


@relaxed
@given(st.lists(numbers, min_size=1, max_size=60), st.integers(0, 1000))
def test_a_quantile_is_the_smallest_value_with_enough_at_or_below(values: list[float], thousandths: int) -> None:
    """The definition, word for word, in integers."""
    reaching = [x for x in values if 1000 * sum(y <= x for y in values) >= thousandths * len(values)]
    assert quantile(values, thousandths / 1000) == min(reaching)


def test_quantiles_are_not_off_by_rounding() -> None:
    """0.07 * 100 is 7.000000000000001 in floats; the 7th of 100 it is all the same."""
    for n in (100, 1000):
        values = [float(x) for x in range(1, n + 1)]
        assert [quantile(values, k / n) for k in range(1, n + 1)] == values
        assert quantile(values, 0) == 1.0
    assert quantile([], 0.5) is None


def test_coverage_of_the_mean() -> None:
    """Of normal samples, 95 % of the intervals contain the mean, whatever the sample's size."""
    for n in (2, 5, 40):
        draws = np.random.default_rng(20240101 + n).normal(3.0, 2.0, (4000, n))
        intervals = [summary(row).ci95 for row in draws]
        hits = sum(low <= 3.0 <= high for low, high in filter(None, intervals))
        assert abs(z_score(hits, 4000, 0.95)) < 4


# Quantile intervals


@pytest.mark.parametrize(
    ("n", "q", "ranks"),
    [
        (1000, 0.95, (936, 964)),
        (1000, 0.99, (983, 997)),
        (10_000, 0.999, (9983, 9997)),
        (100, 0.5, (40, 61)),
        (10, 0.95, (8, None)),
        (10, 0.05, (None, 3)),
        (3, 0.5, (None, None)),
        (0, 0.5, (None, None)),
    ],
)
def test_known_ranks(n: int, q: float, ranks: tuple[int | None, int | None]) -> None:
    """Ranks known from tables; a sample too small for a side has no bound there."""
    assert quantile_ranks(n, q) == ranks
    assert quantile_interval([float(x) for x in range(n, 0, -1)], q) == ranks


@pytest.mark.parametrize("n", [1, 5, 6, 58, 59, 73, 200])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.75, 0.95, 0.99])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.999])
def test_ranks_are_the_tightest_that_keep_the_promise(n: int, q: float, level: float) -> None:
    """Each tail is within its half of the error, and would not be one rank further in; by scipy's own binomial."""
    below, tail = scipy.stats.binom(n, q), (1 - level) / 2
    lower, upper = quantile_ranks(n, q, level)
    assert lower is None or below.cdf(lower - 1) <= tail
    assert below.cdf(lower or 0) > tail
    assert upper is None or below.sf(upper - 1) <= tail
    assert below.sf((n + 1 if upper is None else upper) - 2) > tail


def test_agrees_with_scipys_quantile_test() -> None:
    """Another implementation of the same interval gives the same values."""
    values = np.random.default_rng(5).lognormal(size=500)
    for q in (0.1, 0.5, 0.95):
        expected = scipy.stats.quantile_test(values, q=0, p=q).confidence_interval(0.95)
        assert quantile_interval(values, q) == (expected.low, expected.high)


def test_coverage_of_a_quantile() -> None:
    """The intervals contain the quantile as often as the binomial says, for a skewed distribution."""
    n, q, runs = 200, 0.95, 4000
    truth = scipy.stats.lognorm(s=0.4).ppf(q)
    lower, upper = quantile_ranks(n, q)
    assert lower is not None
    assert upper is not None
    promised = scipy.stats.binom(n, q).cdf(upper - 1) - scipy.stats.binom(n, q).cdf(lower - 1)
    assert promised >= 0.95
    hits = 0
    for row in np.random.default_rng(77).lognormal(0.0, 0.4, (runs, n)):
        low, high = quantile_interval(row, q)
        hits += low is not None and high is not None and low <= truth <= high
    assert abs(z_score(hits, runs, promised)) < 4


@relaxed
@given(samples, st.floats(0.01, 0.99), st.floats(0.1, 0.9), st.floats(0.01, 0.99))
def test_quantile_interval_properties(values: list[float], q: float, level: float, other: float) -> None:
    """The interval contains the sample's quantile, grows with the level, and moves up with q."""
    low, high = quantile_interval(values, q, level)
    middle = quantile(values, q)
    if middle is not None:
        assert low is None or low <= middle
        assert high is None or middle <= high
    wider_low, wider_high = quantile_interval(values, q, level + 0.09)
    assert wider_low is None or (low is not None and wider_low <= low)
    assert wider_high is None or (high is not None and high <= wider_high)
    lesser, greater = (quantile_ranks(len(values), p, level) for p in sorted((q, other)))
    assert (lesser[0] or 0) <= (greater[0] or 0)
    assert (lesser[1] or math.inf) <= (greater[1] or math.inf)


# Proportions


@pytest.mark.parametrize("n", [1, 2, 10, 59, 1000])
def test_proportion_is_clopper_pearson(n: int) -> None:
    """Equal to scipy's exact interval, from none to all."""
    for successes in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        got = proportion(successes, n)
        expected = scipy.stats.binomtest(successes, n).proportion_ci(confidence_level=0.95, method="exact")
        assert got.estimate == successes / n
        assert got.ci95 == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


def test_never_seen_is_not_never() -> None:
    """None in 1000 runs leaves room for 0.37 %; no runs leave room for everything, and say nothing."""
    assert proportion(0, 1000).ci95 == pytest.approx((0.0, 1 - 0.025 ** (1 / 1000)))
    nothing = proportion(0, 0)
    assert (nothing.estimate, nothing.ci95, nothing.n) == (None, None, 0)


@pytest.mark.parametrize("truth", [0.001, 0.02, 0.1, 0.5, 0.93])
def test_coverage_of_a_proportion(truth: float) -> None:
    """By enumeration, not by simulation: the probability of an interval that contains the truth is 95 % or more."""
    n = 120
    chance = scipy.stats.binom(n, truth)
    covered = 0.0
    for successes in range(n + 1):
        interval = proportion(successes, n).ci95
        assert interval is not None
        covered += chance.pmf(successes) * (interval[0] <= truth <= interval[1])
    assert 0.95 <= covered <= 1.0 + 1e-9


@relaxed
@given(st.integers(1, 5000), st.data())
def test_proportion_properties(n: int, data: st.DataObject) -> None:
    """Within 0..1, around the estimate, and the mirror image of the failures' interval."""
    successes = data.draw(st.integers(0, n))
    got, mirror = proportion(successes, n), proportion(n - successes, n)
    assert got.estimate is not None
    assert got.ci95 is not None
    assert mirror.ci95 is not None
    assert 0 <= got.ci95[0] <= got.estimate <= got.ci95[1] <= 1
    assert got.ci95 == pytest.approx((1 - mirror.ci95[1], 1 - mirror.ci95[0]), rel=1e-9, abs=1e-12)


# Paired differences


def test_paired_difference_is_the_paired_t_interval() -> None:
    """Equal to scipy's paired t-test: interval, and verdict at 5 %."""
    rng = np.random.default_rng(3)
    luck = rng.normal(100, 30, 50)
    for shift in (0.0, 0.1, 5.0):
        a, b = luck + rng.normal(shift, 1, 50), luck
        got, test = paired_difference(a, b), scipy.stats.ttest_rel(a, b)
        assert got.ci95 == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-9)
        assert got.distinguishable == (test.pvalue < 0.05)


def test_common_luck_finds_what_separate_luck_does_not() -> None:
    """What pairs are for: a difference far smaller than the spread of either."""
    luck = np.random.default_rng(4).normal(100, 30, 100)
    other = np.random.default_rng(5).normal(100, 30, 100)
    wobble = np.random.default_rng(6).normal(0, 1, 100)
    assert paired_difference(luck + 1 + wobble, luck).distinguishable
    assert not paired_difference(luck + 1 + wobble, other).distinguishable


def test_false_alarms_are_rare_enough() -> None:
    """With no difference, five in a hundred comparisons distinguish."""
    rng = np.random.default_rng(9)
    runs = 4000
    alarms = 0
    for _ in range(runs):
        luck = rng.normal(0, 10, 30)
        alarms += paired_difference(luck + rng.normal(0, 1, 30), luck).distinguishable
    assert abs(z_score(alarms, runs, 0.05)) < 4


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param([], [], Difference(mean=None, ci95=None, distinguishable=False, n=0), id="nothing"),
        pytest.param([3.0], [1.0], Difference(mean=2.0, ci95=None, distinguishable=False, n=1), id="one"),
        pytest.param([1, 2], [1, 2], Difference(mean=0.0, ci95=(0.0, 0.0), distinguishable=False, n=2), id="ties"),
        pytest.param([3, 4], [1, 2], Difference(mean=2.0, ci95=(2.0, 2.0), distinguishable=True, n=2), id="constant"),
        pytest.param(
            [0.1 + 0.2] * 5,
            [0.3] * 5,
            Difference(mean=0.0, ci95=(0.0, 0.0), distinguishable=False, n=5),
            id="rounding is a tie",
        ),
        pytest.param(
            [math.inf, 1.0],
            [math.inf, 1.0],
            Difference(mean=None, ci95=None, distinguishable=False, n=2),
            id="infinite",
        ),
    ],
)
def test_paired_edges(a: list[float], b: list[float], expected: Difference) -> None:
    """Few pairs, ties, no variance, infinity."""
    assert paired_difference(a, b) == expected


@relaxed
@given(st.lists(st.tuples(numbers, numbers), max_size=40), st.randoms(use_true_random=False))
def test_paired_properties(pairs: list[tuple[float, float]], order: Random) -> None:
    """Swapping the sides turns the sign, the order of pairs does not matter, and nobody differs from himself."""
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    got, swapped = paired_difference(a, b), paired_difference(b, a)
    assert got.distinguishable == swapped.distinguishable
    if got.mean is not None and swapped.mean is not None:
        assert got.mean == pytest.approx(-swapped.mean, rel=1e-9, abs=1e-6)
    if got.ci95 is not None and got.mean is not None:
        assert got.ci95[0] <= got.mean <= got.ci95[1]
        assert got.distinguishable == (not got.ci95[0] <= 0 <= got.ci95[1])
    order.shuffle(pairs)
    assert paired_difference([p[0] for p in pairs], [p[1] for p in pairs]) == got
    assert not paired_difference(a, a).distinguishable


# The Pareto front

OBJECTIVES = ("downtime", "duration", "healthy")


def at_least_as_good(left: dict[str, float], right: dict[str, float], minimise: tuple[str, ...]) -> bool:
    """Left loses to right under no objective."""
    return all(left[k] <= right[k] if k in minimise else left[k] >= right[k] for k in left)


@relaxed
@given(
    st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 3), max_size=12),
    st.lists(st.sampled_from(OBJECTIVES), unique=True).map(tuple),
)
def test_pareto_properties(rows: list[tuple[float, float, float]], minimise: tuple[str, ...]) -> None:
    """No returned point is dominated by any; every dropped point is dominated by a returned one; the order is kept."""
    if not rows:
        minimise = ()
    points = {f"p{i}": dict(zip(OBJECTIVES, row, strict=True)) for i, row in enumerate(rows)}
    front = pareto(list(points.items()), minimise)

    def beats(left: str, right: str) -> bool:
        return points[left] != points[right] and at_least_as_good(points[left], points[right], minimise)

    assert list(front) == [name for name in points if name in front]
    assert not any(beats(other, name) for name in front for other in points)
    assert all(any(beats(name, dropped) for name in front) for dropped in points if dropped not in front)


def test_pareto_worked() -> None:
    """Fast and rough, slow and gentle, a compromise; and one that the compromise beats."""
    points = [
        ("automatic", {"duration": 1.0, "healthy": 0.0}),
        ("clumsy", {"duration": 5.0, "healthy": 6.0}),
        ("batch", {"duration": 4.0, "healthy": 8.0}),
        ("one-by-one", {"duration": 9.0, "healthy": 9.0}),
        ("batch again", {"duration": 4.0, "healthy": 8.0}),
    ]
    assert pareto(points, {"duration"}) == ("automatic", "batch", "one-by-one", "batch again")
    assert pareto(points, {"duration", "healthy"}) == ("automatic",)
    assert pareto(points, ()) == ("one-by-one",)
    assert pareto([], {"duration"}) == ()


# Enough


def test_enough_worked() -> None:
    """The half-width is the summary's, and the verdict its share of the mean."""
    values = np.random.default_rng(8).normal(50, 5, 200)
    whole = summary(values)
    assert whole.ci95 is not None
    assert whole.mean is not None
    got = enough(values, 0.02)
    assert got.half_width == pytest.approx((whole.ci95[1] - whole.ci95[0]) / 2)
    assert got.relative == pytest.approx((whole.ci95[1] - whole.mean) / whole.mean)
    assert got.enough
    assert not enough(values, 0.01).enough
    below_zero = enough(-values, 0.02)
    assert below_zero.relative == pytest.approx(got.relative)
    assert below_zero.enough


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Precision(half_width=None, relative=None, enough=False)),
        ([1.0], Precision(half_width=None, relative=None, enough=False)),
        ([math.inf, 1.0], Precision(half_width=None, relative=None, enough=False)),
        ([0.0, 0.0], Precision(half_width=0.0, relative=0.0, enough=True)),
    ],
)
def test_enough_edges(values: list[float], expected: Precision) -> None:
    """Nothing, one or infinity is never enough; no variance always is."""
    assert enough(values, 0.5) == expected


def test_a_mean_of_zero_is_never_known_relatively() -> None:
    """A share of nothing: the half-width is told, the verdict is no."""
    got = enough([-1.0, 1.0], 0.5)
    assert got.half_width == pytest.approx(12.706, rel=1e-4)
    assert (got.relative, got.enough) == (None, False)


@relaxed
@given(samples, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_enough_is_monotone_and_has_no_unit(values: list[float], relative: float, scale: float) -> None:
    """What is enough for a narrow target is enough for a wider one; the unit of the values does not matter."""
    got = enough(values, relative)
    assert not got.enough or enough(values, relative * 2).enough
    assume(got.relative is not None and 1e-9 < got.relative < 1e6)
    assert enough([x * scale for x in values], relative).relative == pytest.approx(got.relative, rel=1e-4)


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: summary([1.0, math.nan]), r"values: a value is not a number; found NaN at 1"),
        (lambda: paired_difference([1.0], [math.nan]), r"b: a value is not a number; found NaN at 0"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), r"pairs are not complete; found 1 and 2 values"),
        (lambda: summary(np.ones((2, 2))), r"not a plain sequence of numbers; found 2 dimensions"),
        (lambda: quantile([1.0], 1.5), r"not a quantile; found 1.5; expected 0 to 1"),
        (lambda: quantile_interval([1.0], 0.0), r"no interval for this quantile; found 0.0"),
        (lambda: quantile_interval([1.0], 0.5, 1.0), r"not a confidence level; found 1.0"),
        (lambda: proportion(3, 2), r"not a share of the runs; found 3 of 2; expected 0 to 2"),
        (lambda: enough([1.0], 0.0), r"not a relative half-width; found 0.0"),
        (lambda: pareto([("a", {"x": 1.0}), ("a", {"x": 2.0})], "x"), r"a point stands twice; found a"),
        (lambda: pareto([("a", {"x": 1.0}), ("b", {"y": 2.0})], "x"), r"b: points differ .* found y; expected x"),
        (lambda: pareto([("a", {"x": 1.0})], ("z",)), r"no such objective; found z; expected x"),
        (lambda: pareto([("a", {"x": math.nan})], ()), r"a: an objective is not a number"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], object], message: str) -> None:
    """Each refusal says what is wrong and what was found."""
    with pytest.raises(InputError, match=message):
        call()
