"""What the replications of a study say, and how surely.

Rules this module decides (sources: Conover, Practical Nonparametric Statistics, 3.2; Clopper and Pearson 1934):

1. *None* means there is no such finite number: no values, an interval without a bound, infinite input. NaN and
   infinity never leave this module, so everything encodes as JSON. Values may be infinite (a rollout that never
   ended); NaN is refused. Values are sorted first: no result depends on their order.
2. *Mean*: 95 % t-interval. One value has no interval; equal values have one of no width, which says that nothing
   varied in this sample, not that nothing can.
3. *Quantile* q of a sample: the smallest value x with F_n(x) >= q, an observed value always: p95 of 1..100 is 95.
   F_n is compared as the float k / n, so that 0.07 of 100 values means 7 of them (n * q in floats would give 8).
4. *Quantile interval*: two order statistics, for any distribution. With B ~ Bin(n, q), the lower one is x(l) with the
   largest l such that P(B < l) <= (1 - level) / 2, the upper one x(u) with the smallest u such that
   P(B >= u) <= (1 - level) / 2. Coverage is at least the level; exact in the binomial, conservative with ties. A side
   for which the sample is too small has no bound: None. n = 1000, q = 0.95: x(936), x(964).
5. *Proportion*: exact two-sided Clopper-Pearson, so never seen in n runs is bounded by 1 - 0.025^(1/n), not by 0.
6. *Paired difference* a - b of replications that met the same luck (common random numbers): t-interval of the
   differences. *Distinguishable* if it excludes 0. A pair equal to 12 digits is a tie, so that rounding alone
   distinguishes nothing.
7. *Pareto*: p dominates q if it is at least as good under every objective and better under one. Equals keep each other.
8. *Enough*: half-width of the mean's interval against a share of the mean. A sequential rule under-covers slightly:
   look after every 200 replications, and stop at the second pass in a row.

Intervals are 95 % unless told otherwise. numpy and scipy are imported where they are used: they cost a third of a
second, which `--help` must not pay. The distributions come from scipy.special: scipy.stats takes twice as long.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from planner.errors import InputError
from planner.planfile import Proportion, Summary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = Sequence[float] | npt.NDArray[np.float64]
    Sample = npt.NDArray[np.float64]

Struct = msgspec.Struct

LEVEL = 0.95
TIE = 1e-12


class Difference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean of a - b over `n` pairs, its 95 % t-interval (low, high), and whether that excludes 0 (rule 6)."""

    mean: float | None
    ci95: tuple[float, float] | None
    distinguishable: bool
    n: int


class Precision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well a mean is known: half-width of its 95 % interval, the same as a share of the mean, and whether that is enough.

    `relative` is None where there is no interval, or the mean is 0 and the half-width is not.
    """

    half_width: float | None
    relative: float | None
    enough: bool


def summary(values: Values) -> Summary:
    """Mean, interval and quantiles of a sample. InputError on NaN."""
    sample = _sorted(values, "values")
    mean, half = _mean_half(sample, LEVEL)
    p05, p50, p95, p99 = (_order_statistic(sample, q) for q in (0.05, 0.5, 0.95, 0.99))
    return Summary(mean=mean, p05=p05, p50=p50, p95=p95, p99=p99, ci95=_around(mean, half), n=sample.size)


def quantile(values: Values, q: float) -> float | None:
    """Quantile of a sample, rule 3; None of nothing. InputError unless 0 <= q <= 1."""
    if not 0 <= q <= 1:
        raise InputError("not a quantile", found=str(q), expected="0 to 1")
    return _order_statistic(_sorted(values, "values"), q)


def quantile_interval(values: Values, q: float, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Interval (low, high) for the quantile q of whatever the values were drawn from; rule 4.

    None on a side without a bound. InputError unless 0 < q < 1 and 0 < level < 1.
    """
    sample = _sorted(values, "values")
    lower, upper = quantile_ranks(sample.size, q, level)
    return (
        None if lower is None else _finite(sample[lower - 1]),
        None if upper is None else _finite(sample[upper - 1]),
    )


def quantile_ranks(n: int, q: float, level: float = LEVEL) -> tuple[int | None, int | None]:
    """Ranks (l, u), counted from 1, of the order statistics that bound the quantile q of `n` values; rule 4."""
    if not 0 < q < 1:
        raise InputError("no interval for this quantile", found=str(q), expected="more than 0, less than 1")
    tail = _tail(level)
    # P(B >= u) under q is P(B < n + 1 - u) under 1 - q: the upper rank is the lower one, counted from the other end.
    lower, upper = _lower_rank(n, q, tail), n + 1 - _lower_rank(n, 1 - q, tail)
    return (lower if lower >= 1 else None, upper if upper <= n else None)


def proportion(successes: int, n: int) -> Proportion:
    """Share of runs, with its exact interval; rule 5. InputError unless 0 <= successes <= n."""
    if not 0 <= successes <= n:
        raise InputError("not a share of the runs", found=f"{successes} of {n}", expected=f"0 to {n}")
    if n == 0:
        return Proportion(estimate=None, ci95=None, n=0)
    from scipy.special import betaincinv  # noqa: PLC0415 - lazy, see above

    tail = _tail(LEVEL)
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Proportion(estimate=successes / n, ci95=(low, high), n=n)


def paired_difference(a: Values, b: Values) -> Difference:
    """Mean of a[i] - b[i], where both met the luck of replication i; rule 6.

    A pair that is infinite on either side leaves no mean. InputError on NaN or different lengths.
    """
    import numpy as np  # noqa: PLC0415 - lazy, see above

    left, right = _array(a, "a"), _array(b, "b")
    if left.size != right.size:
        raise InputError("pairs are not complete", found=f"{left.size} and {right.size} values", expected="as many")
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Difference(mean=None, ci95=None, distinguishable=False, n=left.size)
    with np.errstate(over="ignore"):
        gaps = left - right
    gaps[np.abs(gaps) <= TIE * np.maximum(np.abs(left), np.abs(right))] = 0.0
    mean, half = _mean_half(np.sort(gaps), LEVEL)
    ci95 = _around(mean, half)
    distinguishable = ci95 is not None and (ci95[0] > 0 or ci95[1] < 0)
    return Difference(mean=mean, ci95=ci95, distinguishable=distinguishable, n=left.size)


def pareto(points: Sequence[tuple[str, Mapping[str, float]]], minimise: Collection[str]) -> tuple[str, ...]:
    """Names of the points that no other dominates (rule 7), in the order given.

    points: name and value by objective; objectives in `minimise` are better when smaller, all others when larger.
    InputError if a name stands twice, the points differ in their objectives, one to minimise is unknown, or on NaN.
    """
    if not points:
        return ()
    objectives = sorted(points[0][1])
    unknown = sorted(set(minimise) - set(objectives))
    if unknown:
        raise InputError("no such objective", found=", ".join(unknown), expected=", ".join(objectives))
    costs: dict[str, tuple[float, ...]] = {}
    for name, values in points:
        if name in costs:
            raise InputError("a point stands twice", found=name)
        if sorted(values) != objectives:
            raise InputError(
                "points differ in their objectives",
                where=name,
                found=", ".join(sorted(values)),
                expected=", ".join(objectives),
            )
        costs[name] = tuple(values[key] if key in minimise else -values[key] for key in objectives)
        if any(map(math.isnan, costs[name])):
            raise InputError("an objective is not a number", where=name)
    return tuple(name for name, cost in costs.items() if not any(_dominates(other, cost) for other in costs.values()))


def enough(values: Values, relative: float) -> Precision:
    """Judge whether the mean is known to within this share of it (0.01: one percent); rule 8.

    InputError on NaN, or a share that is not positive.
    """
    if not relative > 0:
        raise InputError("not a relative half-width", found=str(relative), expected="more than 0")
    mean, half = _mean_half(_sorted(values, "values"), LEVEL)
    if mean is None or half is None:
        return Precision(half_width=None, relative=None, enough=False)
    if half == 0:
        return Precision(half_width=0.0, relative=0.0, enough=True)
    achieved = None if mean == 0 else _finite(half / abs(mean))
    return Precision(half_width=half, relative=achieved, enough=achieved is not None and achieved <= relative)


def _array(values: Values, name: str) -> Sample:
    import numpy as np  # noqa: PLC0415 - lazy, see above

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError("not a plain sequence of numbers", where=name, found=f"{array.ndim} dimensions")
    if np.isnan(array).any():
        raise InputError("a value is not a number", where=name, found=f"NaN at {int(np.isnan(array).argmax())}")
    return array


def _sorted(values: Values, name: str) -> Sample:
    import numpy as np  # noqa: PLC0415 - lazy, see above

    return np.sort(_array(values, name))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise InputError("not a confidence level", found=str(level), expected="more than 0, less than 1")
    return (1 - level) / 2


def _order_statistic(sample: Sample, q: float) -> float | None:
    """Rule 3, on a sorted sample."""
    n = sample.size
    return _finite(sample[bisect_left(range(n - 1), q, key=lambda k: (k + 1) / n)]) if n else None


def _lower_rank(n: int, q: float, tail: float) -> int:
    """Largest l with P(B < l) <= tail for B ~ Bin(n, q); 0 if there is none."""
    from scipy.special import bdtr  # noqa: PLC0415 - lazy, see above

    return bisect_right(range(n), tail, key=lambda k: float(bdtr(k, n, q)))


def _mean_half(sample: Sample, level: float) -> tuple[float | None, float | None]:
    """Mean of a sorted sample and half-width of its t-interval, each None where it does not exist (rules 1, 2)."""
    n = sample.size
    if n == 0 or not (math.isfinite(sample[0]) and math.isfinite(sample[-1])):
        return None, None
    if sample[0] == sample[-1]:
        # The sum of n equal floats over n need not be that float, nor its deviation 0.
        return float(sample[0]), (0.0 if n > 1 else None)
    import numpy as np  # noqa: PLC0415 - lazy, see above
    from scipy.special import stdtrit  # noqa: PLC0415 - lazy, see above

    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = sample.mean(), sample.std(ddof=1)
        half = stdtrit(n - 1, 1 - _tail(level)) * deviation / math.sqrt(n)
    return _finite(mean), _finite(half)


def _around(mean: float | None, half: float | None) -> tuple[float, float] | None:
    if mean is None or half is None:
        return None
    low, high = _finite(mean - half), _finite(mean + half)
    return None if low is None or high is None else (low, high)


def _dominates(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    """Compare costs: smaller is better."""
    return left != right and all(a <= b for a, b in zip(left, right, strict=True))
