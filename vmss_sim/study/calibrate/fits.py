"""From observed seconds to a distribution, and when there are too few for one.

Rules this module decides:

1. *Least numbers* (`LEAST`): below 5 operations nothing is fitted. From 5: quantiles as observed. From 20: a lognormal.
   From 40, at least 10 a part: two lognormals. Fewer points cannot tell the shapes apart, so they get the plainer one.
2. *Lognormal* by maximum likelihood. It is kept where a Kolmogorov-Smirnov test with fitted parameters (Lilliefors,
   Monte Carlo, fixed seed) does not reject it at 5 %, or where D is under 0.1: several hundred values reject anything.
3. *Two lognormals*, cut at the widest gap of the logarithms, where the gap is a factor of 1.5 or more and rule 2 keeps
   both. They are a *regime* (one part for a whole replication) where the sessions tell so: at least two sessions in each
   part, at least one with several operations, and none with both parts.
4. Otherwise *quantiles* at even steps: at most 21, and at most 3/4 as many as there are values. Their D is smaller by
   construction, so D alone could not choose. They have no tail beyond the largest value.
5. Values that are all the same are a *constant*; a value of 0 has no logarithm, so rule 4 applies.
6. Parameters are rounded to 4 significant digits, quantiles to 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmss_sim.world.timings import Constant, Empirical, Lognormal, Mixture, Part, Timing

Seconds = NDArray[np.float64]

QUANTILES, LOGNORMAL, TWO = "quantiles", "lognormal", "two lognormals"
REGIME, CONSTANT = "regime", "constant"
LEAST: Final[Mapping[str, int]] = MappingProxyType({QUANTILES: 5, LOGNORMAL: 20, TWO: 40})
LEAST_PART: Final = 10
GAP: Final = 1.5
KEEP_P: Final = 0.05
KEEP_D: Final = 0.1
SAMPLES, SEED = 499, 0


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution and how well it fits: D, and p (of Lilliefors' test; None where it does not apply)."""

    timing: Timing
    kind: str
    d: float | None
    p: float | None


def significant(value: float, digits: int) -> float:
    """Round to so many significant digits."""
    return float(f"{value:.{digits}g}")


def fit_lognormal(seconds: Seconds) -> Lognormal:
    """Rule 2, without the test."""
    logs = np.log(seconds)
    return Lognormal(median=significant(float(np.exp(logs.mean())), 4), sigma=significant(float(logs.std()), 4))


def fit_quantiles(seconds: Seconds) -> Empirical:
    """Rule 4."""
    count = min(21, len(seconds) * 3 // 4)
    return Empirical(tuple(significant(float(q), 3) for q in np.quantile(seconds, np.linspace(0, 1, count))))


def widest_gap(seconds: Seconds) -> int:
    """How many values lie below the widest gap of the logarithms."""
    return int(np.argmax(np.diff(np.log(np.sort(seconds))))) + 1


def fit_two(seconds: Seconds, *, shared: bool = False) -> Mixture:
    """Two lognormals, cut at the widest gap of the logarithms."""
    ordered, cut = np.sort(seconds), widest_gap(seconds)
    halves = (ordered[:cut], ordered[cut:])
    parts = tuple(Part(significant(len(half) / len(ordered), 4), fit_lognormal(half)) for half in halves)
    return Mixture(parts, shared=shared)


def lilliefors(seconds: Seconds) -> tuple[float, float]:
    """D and p of the test whether these values are lognormal, whatever the parameters."""
    from scipy import stats  # noqa: PLC0415 - heavy

    test = stats.goodness_of_fit(
        stats.norm, np.log(seconds), statistic="ks", n_mc_samples=SAMPLES, rng=np.random.default_rng(SEED)
    )
    return float(test.statistic), float(test.pvalue)


def keeps(d: float, p: float) -> bool:
    """Rule 2: is a lognormal kept?"""
    return p >= KEEP_P or d < KEEP_D


def distance(seconds: Seconds, timing: Timing) -> float:
    """Kolmogorov's D between the values and the distribution."""
    from scipy import stats  # noqa: PLC0415 - heavy

    return float(stats.kstest(seconds, timing.cdf).statistic)


def fit(seconds: Seconds, sessions: Sequence[str | None] | None = None) -> Fit | None:
    """Fit by the rules above; None below the least number. sessions: of each value, where known (rule 3)."""
    n = len(seconds)
    if n < LEAST[QUANTILES]:
        return None
    if np.ptp(seconds) == 0:
        return Fit(timing=Constant(significant(float(seconds[0]), 4)), kind=CONSTANT, d=None, p=None)
    if n >= LEAST[LOGNORMAL] and seconds.min() > 0:
        d, p = lilliefors(seconds)
        if keeps(d, p):
            return Fit(timing=fit_lognormal(seconds), kind=LOGNORMAL, d=d, p=p)
        if n >= LEAST[TWO] and _in_two(seconds):
            shared = sessions is not None and _by_session(seconds, sessions)
            two = fit_two(seconds, shared=shared)
            return Fit(timing=two, kind=REGIME if shared else TWO, d=distance(seconds, two), p=None)
    quantiles = fit_quantiles(seconds)
    return Fit(timing=quantiles, kind=QUANTILES, d=distance(seconds, quantiles), p=None)


def _in_two(seconds: Seconds) -> bool:
    """Rule 3: are there two lognormals?"""
    ordered, cut = np.sort(seconds), widest_gap(seconds)
    if min(cut, len(ordered) - cut) < LEAST_PART or ordered[cut] < GAP * ordered[cut - 1]:
        return False
    return all(np.ptp(half) > 0 and keeps(*lilliefors(half)) for half in (ordered[:cut], ordered[cut:]))


def _by_session(seconds: Seconds, sessions: Sequence[str | None]) -> bool:
    """Rule 3: does a session see one part only?"""
    edge = np.sort(seconds)[widest_gap(seconds)]
    seen: dict[str, list[bool]] = defaultdict(list)
    for value, session in zip(seconds, sessions, strict=True):
        if session is None:
            return False
        seen[session].append(bool(value >= edge))
    pure = all(len(set(parts)) == 1 for parts in seen.values())
    slow = sum(parts[0] for parts in seen.values())
    return pure and min(slow, len(seen) - slow) >= 2 and any(len(parts) > 1 for parts in seen.values())
