"""The timings: their formulas against each other and against samples, reading and writing, the fitted defaults."""

import math

import msgspec
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench import fit_doc, fit_timings
from planner.errors import InputError
from scenarios import background
from scenarios.timing import encode_timing, parse_duration_ms, parse_timing
from vmss_sim.world.config import Platform
from vmss_sim.world.operations import VM_TABLE
from vmss_sim.world.recorded import READY_DEFAULT, RECORDED, recorded
from vmss_sim.world.timings import (
    LONGEST_S,
    Constant,
    Empirical,
    Exponential,
    Lognormal,
    Mixture,
    Part,
    Shifted,
    Timing,
    TimingError,
)

LINUX, WINDOWS, UNKNOWN = "linux", "windows", "unknown"
ROWS = [(operation, os, row) for operation, rows in RECORDED.items() for os, row in rows.items()]

amounts = st.floats(0, 1e5)
positive = st.floats(1e-3, 1e5)
caps = st.none() | positive
sigmas = st.just(0.0) | st.floats(0.01, 1)
KEYS = ["constant", "exponential", "lognormal", "empirical", "shifted", "mixture", "regime", "weight"]
KEYS += ["by", "of", "mean", "median", "sigma", "p95", "cap", "unknown"]

uniforms = st.floats(2.0**-54, 1 - 2.0**-53)
simple = st.one_of(
    st.builds(Constant, amounts),
    st.builds(Exponential, mean=positive, cap=caps),
    st.builds(Lognormal, median=positive, sigma=sigmas, cap=caps),
    st.lists(amounts, min_size=1, max_size=6).map(lambda values: Empirical(tuple(sorted(values)))),
)
monotone = simple | st.builds(Shifted, amounts, simple)
thick = st.builds(Part, st.floats(0.1, 10), monotone)
whole = st.lists(st.builds(Part, positive, monotone), min_size=1, max_size=3).map(
    lambda parts: Mixture(tuple(parts), shared=True)
)
# No part thinner than the step of a numeric integration.
visible = monotone | st.lists(thick, min_size=1, max_size=3).map(lambda parts: Mixture(tuple(parts)))
timings = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(Shifted, amounts, inner),
        st.builds(
            Mixture, st.lists(st.builds(Part, positive, inner), min_size=1, max_size=3).map(tuple), shared=st.booleans()
        ),
    ),
    max_leaves=5,
)

SAMPLES = [
    Constant(30.0),
    Exponential(mean=120.0),
    Exponential(mean=120.0, cap=200.0),
    Lognormal(median=95.0, sigma=0.4),
    Lognormal(median=95.0, sigma=0.4, cap=100.0),
    Empirical((1.0, 4.0, 4.0, 4.0, 30.0)),
    Shifted(30.0, Exponential(mean=5.0)),
    Mixture((Part(7, Lognormal(median=108.0, sigma=0.1)), Part(3, Shifted(400.0, Exponential(mean=60.0))))),
    *(row.timing for _, _, row in ROWS),
]
CONTINUOUS = [timing for timing in SAMPLES if not isinstance(timing, Constant) and getattr(timing, "cap", None) is None]


def flat(timing: Timing) -> bool:
    """Does a single value have a probability of its own?"""
    return isinstance(timing, Empirical) and len(set(timing.seconds)) < len(timing.seconds)


# ---- formulas


@given(timings, st.lists(uniforms, min_size=1, max_size=20))
def test_scalar_and_vector_give_the_same_integer(timing, us):
    vector = timing.ppf_ms(np.array(us))
    assert vector.dtype == np.int64
    assert vector.tolist() == [timing.ppf_ms_scalar(u) for u in us]


@pytest.mark.parametrize("timing", SAMPLES, ids=repr)
def test_scalar_and_vector_agree_in_long_and_strided_arrays(timing):
    u = np.random.default_rng(5).random(4001)
    # Before rounding too, which would hide a difference in the last bit nearly always.
    assert timing._seconds(u).tolist() == [float(timing._seconds(one)) for one in u.tolist()]
    expected = [timing.ppf_ms_scalar(one) for one in u.tolist()]
    assert timing.ppf_ms(u).tolist() == expected
    assert timing.ppf_ms(u[::3]).tolist() == expected[::3]
    assert timing.ppf_ms(u[1:].reshape(40, 100)).ravel().tolist() == expected[1:]


@given(timings, st.lists(uniforms, min_size=1, max_size=20))
def test_a_duration_is_neither_negative_nor_endless(timing, us):
    values = timing.ppf_ms(np.array([0.0, 1.0, *us]))
    assert (values >= 0).all()
    # A shift adds to the longest; 5 leaves cannot nest more shifts than that by far.
    assert (values <= 2 * LONGEST_S * 1000).all()


@given(monotone, st.lists(uniforms, min_size=2, max_size=20))
def test_a_larger_uniform_is_never_a_shorter_duration(timing, us):
    assert (np.diff(timing.ppf_ms(np.array(sorted(us)))) >= 0).all()


@given(simple, simple, st.floats(0.01, 0.99), st.lists(uniforms, min_size=2, max_size=20))
def test_a_mixture_rises_within_each_part(left, right, weight, us):
    timing = Mixture((Part(weight, left), Part(1 - weight, right)))
    u = np.array(sorted(us))
    edge = weight / (weight + (1 - weight))
    for part in (u[u < edge * (1 - 1e-12)], u[u > edge * (1 + 1e-12)]):
        assert (np.diff(timing.ppf_ms(part)) >= 0).all()


def test_a_mixture_stretches_the_uniform_within_the_part():
    timing = Mixture((Part(1, Exponential(mean=10.0)), Part(3, Shifted(1000.0, Exponential(mean=10.0)))))
    assert timing.ppf_ms_scalar(0.125) == Exponential(mean=10.0).ppf_ms_scalar(0.5)
    assert timing.ppf_ms_scalar(0.625) == 1_000_000 + Exponential(mean=10.0).ppf_ms_scalar(0.5)


def test_a_mixture_never_stretches_to_the_very_ends():
    """There the part's own uniform would be 0 or round to 1: a lognormal of no time at all, or of ten years."""
    part = Lognormal(median=100.0, sigma=0.1)
    assert 40_000 < Mixture((Part(1, Constant(1.0)), Part(3, part))).ppf_ms_scalar(0.25) < 50_000
    last = 1 - 2.0**-53
    assert (last * (0.7 + 2.7) - 0.7) / 2.7 == 1.0
    timing = Mixture((Part(0.7, Constant(1.0)), Part(2.7, part)))
    assert 200_000 < timing.ppf_ms_scalar(last) < 250_000
    assert 200_000 < timing.ppf_ms(np.array([last]))[0] < 250_000


@given(monotone, uniforms)
def test_cdf_is_the_inverse_of_ppf(timing, u):
    """P(below x) <= u <= P(up to x) for the unrounded x: so half a millisecond to either side."""
    x = timing.ppf_ms_scalar(u) / 1000.0
    slack = 0.000501 + 1e-9 * x
    assert timing.cdf([x - slack])[0] <= u + 1e-9
    assert timing.cdf([x + slack])[0] >= u - 1e-9


@given(timings, st.lists(st.floats(-10, 1e6), min_size=2, max_size=20))
def test_a_cdf_rises_from_0_to_1(timing, xs):
    p = timing.cdf(sorted(xs))
    assert (np.diff(p) >= -1e-12).all()
    assert timing.cdf(-1.0) == 0.0
    assert timing.cdf(5 * LONGEST_S) == pytest.approx(1.0)


@given(visible)
def test_the_mean_is_the_area_under_ppf(timing):
    """By the midpoint rule: off by the range over the number of points at most, for each of 3 rising parts."""
    points = 2**14
    values = timing.ppf_ms((np.arange(points) + 0.5) / points) / 1000.0
    assert timing.mean_s() == pytest.approx(values.mean(), rel=0.02, abs=0.001 + 3 * np.ptp(values) / points)


@pytest.mark.parametrize("timing", SAMPLES, ids=repr)
def test_the_mean_is_the_area_above_cdf(timing):
    top = timing.ppf_ms_scalar(1 - 1e-9) / 1000.0
    edges = np.linspace(0, top, 400_001)
    above = (1 - timing.cdf((edges[1:] + edges[:-1]) / 2)).mean() * top
    assert timing.mean_s() == pytest.approx(above, rel=1e-4)


@pytest.mark.parametrize("timing", CONTINUOUS, ids=repr)
def test_samples_follow_the_cdf(timing):
    seconds = timing.ppf_ms(np.random.default_rng(11).random(5000)) / 1000.0
    if flat(timing):  # Kolmogorov-Smirnov needs a continuous law: compare at points beside the atom
        for x in (1.5, 3.99, 4.01, 20.0):
            p = timing.cdf(x).item()
            assert (seconds <= x).mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 5000))
    elif timing.mean_s() > 1:  # below that, rounding to milliseconds is what the test would see
        assert scipy.stats.kstest(seconds, timing.cdf).pvalue > 1e-3


def test_caps_clip():
    timing = Lognormal(median=100.0, sigma=1.0, cap=150.0)
    assert timing.ppf_ms_scalar(0.999) == 150_000
    assert timing.cdf([149.999, 150.0])[1] == 1.0
    assert Exponential(mean=100.0, cap=150.0).cdf([149.999, 150.0])[1] == 1.0
    assert timing.cdf([149.999])[0] == pytest.approx(scipy.stats.lognorm(s=1, scale=100).cdf(149.999))


def test_known_values():
    assert Lognormal.of_p95(median=95.0, p95=240.0).ppf_ms_scalar(0.95) == 240_000
    assert Lognormal.of_p95(median=95.0, p95=240.0).ppf_ms_scalar(0.5) == 95_000
    assert Exponential(mean=120.0).ppf_ms_scalar(1 - math.exp(-1)) == 120_000
    assert Empirical((0.0, 10.0, 30.0)).ppf_ms(np.array([0.25, 0.5, 0.75])).tolist() == [5000, 10_000, 20_000]
    assert Empirical((7.0,)).ppf_ms_scalar(0.3) == 7000
    assert Empirical((1.0, 2.0, 2.0, 3.0)).cdf([0.9, 2.0, 3.0]).tolist() == [0.0, 2 / 3, 1.0]


@given(st.lists(amounts, min_size=1, max_size=30), uniforms)
def test_empirical_is_numpys_quantile(values, u):
    expected = np.quantile(values, u) * 1000.0
    assert Empirical(tuple(sorted(values))).ppf_ms_scalar(u) == pytest.approx(expected, abs=0.501)


# ---- regimes: one part for a whole replication


@given(timings, uniforms, st.lists(uniforms, min_size=1, max_size=10))
def test_a_settled_regime_samples_alike_by_scalar_and_array_and_knows_no_regime(timing, regime, us):
    settled = timing.of_regime(regime)
    assert settled.ppf_ms(np.array(us)).tolist() == [settled.ppf_ms_scalar(u) for u in us]
    assert settled.of_regime(0.123) is settled
    settled.check("t")


@given(monotone, uniforms)
def test_what_has_no_regime_is_itself_in_every_regime(timing, regime):
    assert timing.of_regime(regime) is timing
    plain = Mixture((Part(1, timing), Part(2, Constant(1.0))))
    assert plain.of_regime(regime) is plain


@given(whole | whole.map(lambda inner: Shifted(5.0, inner)), st.lists(st.floats(0, 2e5), min_size=1, max_size=5))
def test_over_all_regimes_a_duration_is_distributed_as_without(timing, xs):
    """The midpoint rule over the regime: off by one step for each edge between parts."""
    points = 512
    over = np.mean([timing.of_regime((point + 0.5) / points).cdf(xs) for point in range(points)], axis=0)
    assert over == pytest.approx(timing.cdf(xs), abs=3 / points)


def test_a_regime_is_one_part_and_nested_ones_share_its_uniform():
    fast, slow = Lognormal(median=110.0, sigma=0.1), Lognormal(median=480.0, sigma=0.04)
    timing = Mixture((Part(7, fast), Part(3, slow)), shared=True)
    assert [timing.of_regime(u) for u in (0.01, 0.69, 0.71, 0.99)] == [fast, fast, slow, slow]
    assert Shifted(3.0, timing).of_regime(0.9) == Shifted(3.0, slow)
    assert Mixture((Part(1, timing), Part(1, Constant(1.0)))).of_regime(0.9) == Mixture(
        (Part(1, slow), Part(1, Constant(1.0)))
    )
    outer = Mixture((Part(1, timing), Part(1, Constant(1.0))), shared=True)
    assert [outer.of_regime(u) for u in (0.3, 0.4, 0.6)] == [fast, slow, Constant(1.0)]


def test_within_a_regime_vms_are_alike_and_without_one_they_are_not():
    """What makes it more faithful: the spread within a replication, against that of one draw a VM."""
    timing = RECORDED["reimage"][WINDOWS].timing
    assert isinstance(timing, Mixture)
    assert timing.shared
    u = np.random.default_rng(3).random(100)
    for regime in (0.1, 0.5, 0.9):
        one = timing.of_regime(regime).ppf_ms(u)
        assert one.max() < 2 * one.min()
    mixed = timing.ppf_ms(u)
    assert mixed.max() > 4 * mixed.min()
    assert timing.of_regime(0.9).mean_s() > 4 * timing.of_regime(0.1).mean_s()


def test_upgrade_and_reimage_are_in_the_same_regime():
    for regime in np.linspace(0.01, 0.99, 50):
        made = {
            RECORDED[name][WINDOWS].timing.of_regime(float(regime)) for name in ("upgrade", "reimage", "reimage-all")
        }
        assert len(made) == 1


# ---- reading and writing


@given(timings)
def test_written_and_read_back(timing):
    assert parse_timing(encode_timing(timing), "x", "reimage", LINUX) == timing
    assert msgspec.json.decode(msgspec.json.encode(timing), type=Timing) == timing


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (30, Constant(30.0)),
        (0.25, Constant(0.25)),
        ("90s", Constant(90.0)),
        ("1h30m", Constant(5400.0)),
        ({"constant": "2m"}, Constant(120.0)),
        ({"exponential": {"mean": 120}}, Exponential(mean=120.0)),
        ({"exponential": {"mean": "2m", "cap": "1h"}}, Exponential(mean=120.0, cap=3600.0)),
        ({"lognormal": {"median": 95, "p95": 240}}, Lognormal.of_p95(median=95.0, p95=240.0)),
        ({"lognormal": {"median": 95, "sigma": 0, "cap": 100}}, Lognormal(median=95.0, sigma=0.0, cap=100.0)),
        ({"empirical": [3, "1s", 2]}, Empirical((1.0, 2.0, 3.0))),
        ({"shifted": {"by": 30, "of": "1m"}}, Shifted(30.0, Constant(60.0))),
        ({"shifted": {"by": 30, "of": "recorded"}}, Shifted(30.0, RECORDED["reimage"][LINUX].timing)),
        (
            {"mixture": [{"weight": 0.5, "exponential": {"mean": 9}}, {"weight": 1, "constant": 4}]},
            Mixture((Part(0.5, Exponential(mean=9.0)), Part(1.0, Constant(4.0)))),
        ),
        (
            {"regime": [{"weight": 7, "exponential": {"mean": 9}}, {"weight": 3, "constant": 4}]},
            Mixture((Part(7.0, Exponential(mean=9.0)), Part(3.0, Constant(4.0))), shared=True),
        ),
        ("recorded", RECORDED["reimage"][LINUX].timing),
    ],
)
def test_what_a_file_may_say(value, expected):
    assert parse_timing(value, "x", "reimage", LINUX) == expected


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        (-1, "t", "found -1"),
        (math.nan, "t", "found nan"),
        (math.inf, "t", "found inf"),
        (10**400, "t", "found inf"),
        (1e9, "t", "found 1e+09; expected a number from 0 up to 315360000"),
        (True, "t", "found True; expected a number"),
        (None, "t", "found None"),
        ([], "t", "found []"),
        ("", "t", "not a duration"),
        ("soon", "t", "found 'soon'; expected seconds, or text such as"),
        ("30", "t", "found '30'"),
        ("-5m", "t", "found '-5m'"),
        ("1m1h", "t", "found '1m1h'"),
        ("recordd", "t", "did you mean 'recorded'?"),
        ({}, "t", "found none; expected one of constant"),
        ({"constant": 1, "empirical": [1]}, "t", "found constant, empirical"),
        ({"lognorml": {}}, "t", "unknown key 'lognorml'; did you mean 'lognormal'?"),
        ({"lognormal": 3}, "t.lognormal", "found 3; expected a table of median"),
        ({"lognormal": {"sigma": 1}}, "t.lognormal", "'median' is missing"),
        ({"lognormal": {"median": 1}}, "t.lognormal", "either 'sigma' or 'p95'"),
        ({"lognormal": {"median": 1, "sigma": 1, "p95": 3}}, "t.lognormal", "either 'sigma' or 'p95'"),
        ({"lognormal": {"median": 1, "sigm": 1}}, "t.lognormal", "unknown key 'sigm'; did you mean 'sigma'?"),
        ({"lognormal": {"median": 9, "p95": 3}}, "t.lognormal", "found 9 and 3 seconds"),
        ({"lognormal": {"median": 0, "p95": 3}}, "t.lognormal", "found 0 and 3 seconds"),
        ({"lognormal": {"median": 0, "sigma": 1}}, "t.lognormal.median", "expected a number above 0"),
        ({"lognormal": {"median": 1, "sigma": -1}}, "t.lognormal.sigma", "found -1"),
        ({"lognormal": {"median": 1, "sigma": math.nan}}, "t.lognormal.sigma", "found nan"),
        ({"lognormal": {"median": 1, "sigma": 11}}, "t.lognormal.sigma", "to 10"),
        ({"lognormal": {"median": 1, "sigma": 1, "cap": 0}}, "t.lognormal.cap", "above 0"),
        ({"exponential": {"mean": 0}}, "t.exponential.mean", "above 0"),
        ({"exponential": {"mean": "x"}}, "t.exponential.mean", "found 'x'"),
        ({"exponential": {"mean": 1, "p95": 1}}, "t.exponential", "unknown key 'p95'; known: mean, cap"),
        ({"empirical": []}, "t.empirical", "empty"),
        ({"empirical": 3}, "t.empirical", "not an array"),
        ({"empirical": [1, -3]}, "t.empirical[1]", "found -3"),
        ({"shifted": {"by": 1}}, "t.shifted", "'of' is missing"),
        ({"shifted": {"by": -1, "of": 1}}, "t.shifted.by", "found -1"),
        ({"shifted": {"by": 1, "of": {"constant": "x"}}}, "t.shifted.of.constant", "found 'x'"),
        ({"mixture": []}, "t.mixture", "empty"),
        ({"mixture": [3]}, "t.mixture[0]", "not a table"),
        ({"regime": []}, "t.regime", "the regime is empty"),
        ({"regime": [{"weight": -1, "constant": 1}]}, "t.regime[0].weight", "found -1"),
        ({"mixture": [{"constant": 1}]}, "t.mixture[0]", "'weight' is missing"),
        ({"mixture": [{"weight": 1}]}, "t.mixture[0]", "one kind"),
        ({"mixture": [{"weight": 0, "constant": 1}]}, "t.mixture[0].weight", "above 0"),
        ({"mixture": [{"weight": "1", "constant": 1}]}, "t.mixture[0].weight", "found '1'; expected a number"),
        (
            {"mixture": [{"weight": 1, "lognormal": {"median": 1, "sigma": -1}}]},
            "t.mixture[0].lognormal.sigma",
            "found -1",
        ),
    ],
)
def test_bad_timings_say_where(value, where, message):
    with pytest.raises(InputError) as caught:
        parse_timing(value, "t", "reimage", LINUX)
    assert caught.value.where == where
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("timing", "where"),
    [
        (Empirical((2.0, 1.0)), "t.empirical[1]"),
        (Empirical(()), "t.empirical"),
        (Mixture(()), "t.mixture"),
        (Constant(-1.0), "t"),
        (Shifted(1.0, Exponential(mean=math.inf)), "t.shifted.of.exponential.mean"),
    ],
)
def test_a_timing_made_in_code_is_checked_too(timing, where):
    with pytest.raises(TimingError) as caught:
        timing.check("t")
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (1.5, 1500),
        ("90s", 90_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("1h 30m", 5_400_000),
        (" 1d2h3m4s5ms ", 93_784_005),
        ("250ms", 250),
        ("0.1s", 100),
        ("1.5h", 5_400_000),
    ],
)
def test_durations(value, ms):
    assert parse_duration_ms(value, "x") == ms


@given(st.integers(0, int(LONGEST_S * 1000)))
def test_every_millisecond_can_be_written(ms):
    assert parse_duration_ms(f"{ms}ms", "x") == parse_duration_ms(ms / 1000, "x") == ms


def test_bad_durations_say_where():
    for value in (-1, "1x", "", "s", "1s1s", math.nan, False, [], "1000000d", "9" * 500 + "s"):
        with pytest.raises(InputError) as caught:
            parse_duration_ms(value, "file.toml: pause")
        assert caught.value.where == "file.toml: pause"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=6)
        | st.sampled_from(["1s", "recorded"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_anything_is_a_sound_timing_or_an_input_error(value):
    try:
        timing = parse_timing(value, "t", "restart", WINDOWS)
    except InputError as error:
        assert error.where.startswith("t")
    else:
        assert timing.ppf_ms_scalar(0.5) >= 0
        assert math.isfinite(timing.mean_s())


# ---- defaults


@pytest.mark.parametrize(("operation", "os", "row"), ROWS, ids=lambda value: getattr(value, "value", str(value))[:20])
def test_defaults_are_sound_and_say_where_they_come_from(operation, os, row):
    row.timing.check("t")
    assert row.n > 0
    assert row.note
    assert recorded(operation, os, "x") is row
    assert not isinstance(row.timing, Empirical) or len(row.timing.seconds) <= min(21, row.n * 3 // 4)


def test_the_operations_that_have_a_default():
    """Whatever takes a time of its own in the world: by VM, and by set."""
    own = {row.timing for row in VM_TABLE.values()}
    assert own <= set(RECORDED)
    assert {"upgrade-current", "update-model", "set-mode", "delete", "cancel-rolling-upgrade"} <= set(RECORDED)
    assert {"scale-in", "set-orchestration-service-state", "rolling-tick", "no-health-step"} <= set(RECORDED)
    assert Platform().tick_ms == RECORDED["rolling-tick"][LINUX].timing.ppf_ms_scalar(0.5)
    assert Platform().no_signal_wait_ms == RECORDED["no-health-step"][LINUX].timing.ppf_ms_scalar(0.5)
    low, high = (RECORDED["rolling-batch-overhead"][LINUX].timing.ppf_ms_scalar(u) for u in (0.05, 0.95))
    assert low < Platform().batch_ms < high
    assert all(set(rows) == {LINUX, WINDOWS} for rows in RECORDED.values())
    assert all(row.origin == "guessed" for row in RECORDED["upgrade"].values())
    assert all(RECORDED["upgrade"][os].timing == RECORDED["reimage"][os].timing for os in (LINUX, WINDOWS))


def test_what_was_never_recorded_is_refused_by_name():
    with pytest.raises(
        InputError, match=r"t: there is no recording of 'rimage'; expected upgrade, upgrade-current, .*give a duration"
    ):
        parse_timing("recorded", "t", "rimage", LINUX)
    with pytest.raises(InputError, match=r"t: recordings of 'reimage' .*found unknown; expected linux or windows"):
        parse_timing("recorded", "t", "reimage", UNKNOWN)


def test_the_guess_of_readiness_says_that_it_is_one():
    for os, median, p95 in ((LINUX, 45_000, 90_000), (WINDOWS, 90_000, 240_000)):
        row = READY_DEFAULT[os]
        assert (row.origin, row.n) == ("guessed", 0)
        assert row.timing.ppf_ms(np.array([0.5, 0.95])).tolist() == [median, p95]


def close(shipped: Timing, fitted: Timing) -> bool:
    """Are both of one kind and their numbers equal to 1 %?"""

    def numbers(value: object) -> list[float]:
        if isinstance(value, int | float):
            return [float(value)]
        if isinstance(value, dict):
            return [number for key in sorted(value) for number in numbers(value[key])]
        return [number for item in value for number in numbers(item)] if isinstance(value, list | tuple) else []

    left, right = numbers(msgspec.to_builtins(shipped)), numbers(msgspec.to_builtins(fitted))
    return type(shipped) is type(fitted) and len(left) == len(right) and np.allclose(left, right, rtol=0.01, atol=0)


recordings = pytest.mark.skipif(
    not fit_timings.RECORDINGS.exists(), reason="the recordings are not beside this repository: ../shared/recordings"
)


@recordings
def test_the_defaults_are_what_the_recordings_give():
    fitted = fit_timings.fit()
    assert {operation: set(rows) for operation, rows in fitted.items()} == {
        operation: set(rows) for operation, rows in RECORDED.items()
    }
    for operation, os, row in ROWS:
        one = fitted[operation][os].row
        assert close(row.timing, one.timing), (operation, os, one.timing)
        assert (row.n, row.origin, row.note) == (one.n, one.origin, one.note)


@recordings
def test_the_table_of_the_fit_is_what_the_recordings_give():
    text = fit_doc.DOCUMENT.read_text()
    assert fit_doc.between(text, fit_doc.BEGIN, fit_doc.END) == fit_doc.table(), "python -m bench.fit_timings --doc"


def test_the_table_has_a_row_of_every_default_and_the_presets_stand_below():
    text = fit_doc.DOCUMENT.read_text()
    lines = fit_doc.between(text, fit_doc.BEGIN, fit_doc.END).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(cells[0]) == fit_doc.HEAD
    assert [(row[0], row[1], row[2], row[4], row[-2], row[-1]) for row in cells[2:]] == [
        (operation, os, str(row.n), fit_doc.kind(row.timing), row.origin, row.note) for operation, os, row in ROWS
    ]
    assert fit_doc.between(text, fit_doc.PRESETS, fit_doc.PRESETS_END) == background.table()


def test_what_is_left_out_is_judged_by_the_rest():
    """Alike families: about 90 %. One that is another world: none of its own, though most are its own."""
    values = np.exp(np.random.default_rng(2).normal(4, 0.3, 600))
    groups = [f"family {index % 6}" for index in range(600)]
    assert fit_doc.left_out(fit_timings.fit_lognormal, groups, values) in {f"{share}% (600)" for share in range(87, 94)}
    strange = np.where(np.array(groups) == "family 0", values * 50, values)
    share = int(fit_doc.left_out(fit_timings.fit_lognormal, groups, strange).split("%")[0])
    assert share < 87
    assert fit_doc.left_out(fit_timings.fit_lognormal, ["one"] * 600, values) == "-"
    assert fit_doc.left_out(fit_timings.fit_lognormal, ["a"] * 591 + ["b"] * 9, values).endswith("(9)")


def test_families_are_scripts_not_recordings():
    names = [
        "test_mgmt_compute_vmss.pytestmgmtcomputetest_compute_vmss_vm",
        "test_mgmt_compute_vmss.test_compute_vmss_vm",
        "test_vmss_extension_debian",
        "test_vmss_extension",
    ]
    assert [fit_timings.family({"recording": name}) for name in names] == [
        "compute_vmss_vm",
        "compute_vmss_vm",
        "vmss_extension",
        "vmss_extension",
    ]


def test_close_is_not_blind():
    assert not close(Constant(1.0), Constant(1.02))
    assert not close(Constant(1.0), Exponential(mean=1.0))
    assert close(Empirical((1.0, 2.0)), Empirical((1.001, 2.0)))
