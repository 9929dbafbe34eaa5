"""How long things take: duration distributions with an inverse CDF.

Rules this module decides:

1. A timing is a value. Seconds in files and fields, integer milliseconds out of `ppf_ms`, rounded once, half to even.
2. One uniform, one duration: all sampling is by inverse CDF, so that common random numbers stay common. Scalars and
   arrays go through the same formula and the same compiled kernels (scipy.special, one value at a time), because
   NumPy's vectorised `exp` may differ from libm's in the last bit. So both give the same integer.
3. A *mixture* spends one uniform: its place among the cumulative weights picks the part, its place within that part's
   interval, stretched to (0, 1), is the part's own uniform. Monotone within a part, not across parts.
4. An *empirical* timing is a rising table; value i of n is the quantile i/(n-1), with straight lines in between
   (NumPy's default, Hyndman and Fan's type 7). It has no tail beyond its last value.
5. A *cap* clips: what would be longer takes the cap, which so has a probability of its own. Without one the cap is
   `LONGEST_S`; no parameter may exceed that either.
6. A *regime* is a mixture whose part is chosen once for a whole replication (`shared`): Windows reimages are all fast or
   all slow on a given day, never both. `of_regime(u)` settles it with one uniform of its own, the same for every timing of
   the replication, so that an upgrade and a reimage are in the same regime. What comes back samples as ever, by scalar or
   array. Unsettled, it is an ordinary mixture: the same distribution of one duration, without the dependence.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LONGEST_S: Final = 315_360_000.0
"""Ten years: the longest duration there is. Keeps milliseconds well inside 64 bits."""
_LOG2_E: Final = math.log2(math.e)
_Z95: Final = 1.6448536269514722  # the standard normal's 95 % quantile
_SIGMA_MAX: Final = 10.0
_U_LOW, _U_HIGH = 2.0**-54, 1.0 - 2.0**-53  # what a stretched uniform is kept within: at 1 a duration is endless


class TimingError(ValueError):
    """A parameter makes no sense: what is wrong, where (the field's path), what was found, expected, and how to mend it."""

    def __init__(self, what: str, where: str = "", found: str = "", expected: str = "", fix: str = "") -> None:
        super().__init__(what, where, found, expected, fix)
        self.what, self.where, self.found, self.expected, self.fix = what, where, found, expected, fix

    def __str__(self) -> str:
        return "; ".join(part for part in (f"{self.where}: {self.what}", self.found, self.expected, self.fix) if part)


@functools.cache
def _special() -> Any:
    from scipy import special  # noqa: PLC0415 - a tenth of a second that `--help` need not pay

    return special


class _Law(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """What every timing can do; the kinds below hold the formulas, `_seconds` for a float or an array alike."""

    def ppf_ms(self, u: Floats) -> NDArray[np.int64]:
        """Inverse CDF: milliseconds, never negative, int64 in the shape of `u`, whose values are in [0, 1]."""
        values: NDArray[np.int64] = np.rint(self._seconds(u) * 1000.0).astype(np.int64)
        return values

    def ppf_ms_scalar(self, u: float) -> int:
        """Give the same integer as `ppf_ms`, for one uniform."""
        return round(float(self._seconds(u)) * 1000.0)

    def of_regime(self, u: float) -> Timing:  # noqa: ARG002  # most laws know no regime
        """Rule 6: this timing in the replication whose regime is `u`, in (0, 1). Itself where nothing in it is shared."""
        return self  # type: ignore[return-value]  # every law is a Timing

    def mean_s(self) -> float:
        """Give the expectation in seconds, exact (with the cap, without the rounding to milliseconds)."""
        raise NotImplementedError

    def cdf(self, x_s: ArrayLike) -> Floats:
        """P(duration <= x) for each x in seconds; right-continuous where a single value has a probability."""
        return np.asarray(self._cdf(np.asarray(x_s, dtype=np.float64)), dtype=np.float64)

    def check(self, where: str) -> None:
        """Raise TimingError, naming the field below `where`, for a parameter that makes no sense."""
        raise NotImplementedError

    def _seconds(self, u: Any) -> Any:
        raise NotImplementedError

    def _cdf(self, x: Floats) -> Any:
        raise NotImplementedError


class Constant(_Law, frozen=True):
    """Always `seconds`."""

    seconds: float

    def _seconds(self, u: Any) -> Any:
        return self.seconds + 0.0 * u

    def _cdf(self, x: Floats) -> Any:
        return x >= self.seconds

    def mean_s(self) -> float:
        """Give the value itself."""
        return float(self.seconds)

    def check(self, where: str) -> None:
        """Seconds: 0 or more."""
        bounded(self.seconds, where)


class Exponential(_Law, frozen=True, kw_only=True):
    """Memoryless with this `mean` (seconds), clipped at `cap` seconds."""

    mean: float
    cap: float | None = None

    def _seconds(self, u: Any) -> Any:
        return np.minimum(-self.mean * _special().log1p(-u), _limit(self.cap))

    def _cdf(self, x: Floats) -> Any:
        with np.errstate(over="ignore"):
            return np.where(x >= _limit(self.cap), 1.0, -np.expm1(-np.maximum(x, 0.0) / self.mean))

    def mean_s(self) -> float:
        """E min(X, cap)."""
        return -self.mean * math.expm1(-_limit(self.cap) / self.mean)

    def check(self, where: str) -> None:
        """Mean and cap: more than 0."""
        bounded(self.mean, f"{where}.exponential.mean", positive=True)
        bounded(_limit(self.cap), f"{where}.exponential.cap", positive=True)


class Lognormal(_Law, frozen=True, kw_only=True):
    """`median` seconds; `sigma` is the standard deviation of the logarithm; clipped at `cap` seconds."""

    median: float
    sigma: float
    cap: float | None = None

    @classmethod
    def of_p95(cls, *, median: float, p95: float, cap: float | None = None) -> Lognormal:
        """Give the lognormal with this median and 95 % quantile (seconds; 0 < median <= p95)."""
        return cls(median=median, sigma=math.log(p95 / median) / _Z95, cap=cap)

    def _seconds(self, u: Any) -> Any:
        special = _special()
        z = special.ndtri(u) if self.sigma else 0.0 * u  # 0 times the infinity at u = 1 would be NaN
        return np.minimum(self.median * special.exp2(self.sigma * _LOG2_E * z), _limit(self.cap))

    def _cdf(self, x: Floats) -> Any:
        cap = _limit(self.cap)
        if not self.sigma:
            return x >= min(self.median, cap)
        with np.errstate(divide="ignore"):  # log 0 is the right answer: minus infinity
            z = (np.log(np.maximum(x, 0.0)) - math.log(self.median)) / self.sigma
        return np.where(x >= cap, 1.0, _special().ndtr(z))

    def mean_s(self) -> float:
        """E min(X, cap)."""
        cap = _limit(self.cap)
        if not self.sigma:
            return min(self.median, cap)
        z, ndtr = (math.log(cap) - math.log(self.median)) / self.sigma, _special().ndtr
        return float(self.median * math.exp(self.sigma**2 / 2) * ndtr(z - self.sigma) + cap * ndtr(-z))

    def check(self, where: str) -> None:
        """Median and cap: more than 0. Sigma: 0 to 10."""
        bounded(self.median, f"{where}.lognormal.median", positive=True)
        bounded(self.sigma, f"{where}.lognormal.sigma", limit=_SIGMA_MAX)
        bounded(_limit(self.cap), f"{where}.lognormal.cap", positive=True)


class Empirical(_Law, frozen=True):
    """Rule 4: `seconds`, rising: a table of evenly spaced quantiles, or simply what was observed."""

    seconds: tuple[float, ...]

    def _seconds(self, u: Any) -> Any:
        # A single value is a table of twice the same.
        table = np.asarray(self.seconds if len(self.seconds) > 1 else self.seconds * 2, dtype=np.float64)
        place = u * (len(table) - 1.0)
        low = np.minimum(np.floor(place), len(table) - 2.0).astype(np.int64)
        # The rounded sum may pass the right end by one bit; with the minimum the line stays monotone.
        return np.minimum(table[low] + (place - low) * (table[low + 1] - table[low]), table[low + 1])

    def _cdf(self, x: Floats) -> Any:
        table, last = np.asarray(self.seconds, dtype=np.float64), max(len(self.seconds) - 1, 1)
        low = np.searchsorted(table, x, side="right") - 1  # the last of equals, so atoms are counted
        left = table[np.maximum(low, 0)]
        right = table[np.minimum(low + 1, len(table) - 1)]
        inside = (low + (x - left) / np.where(right > left, right - left, 1.0)) / last
        return np.where(x < table[0], 0.0, np.where(x >= table[-1], 1.0, inside))

    def mean_s(self) -> float:
        """Give the area under the straight lines."""
        lines = [(left + right) / 2 for left, right in itertools.pairwise(self.seconds)]
        return math.fsum(lines) / len(lines) if lines else float(self.seconds[0])

    def check(self, where: str) -> None:
        """At least one value; each 0 or more; rising."""
        where = f"{where}.empirical"
        if not self.seconds:
            raise TimingError("the table is empty", where, expected="at least one number of seconds")
        for index, value in enumerate(self.seconds):
            bounded(value, f"{where}[{index}]")
            if index and value < self.seconds[index - 1]:
                raise TimingError("the table does not rise", f"{where}[{index}]", f"{value:g}", fix="sort it")


class Shifted(_Law, frozen=True):
    """`by` seconds more than `of`."""

    by: float
    of: Timing

    def _seconds(self, u: Any) -> Any:
        return self.by + self.of._seconds(u)

    def _cdf(self, x: Floats) -> Any:
        return self.of._cdf(x - self.by)

    def of_regime(self, u: float) -> Timing:
        """Settle what is shifted."""
        settled = self.of.of_regime(u)
        return self if settled is self.of else Shifted(self.by, settled)

    def mean_s(self) -> float:
        """Add the shift and the mean of what is shifted."""
        return self.by + self.of.mean_s()

    def check(self, where: str) -> None:
        """Shift: 0 or more."""
        bounded(self.by, f"{where}.shifted.by")
        self.of.check(f"{where}.shifted.of")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a mixture; `weight` is relative to the sum of all weights."""

    weight: float
    of: Timing


class Mixture(_Law, frozen=True, omit_defaults=True):
    """Rule 3: each part with probability weight / sum of weights. shared: one part for a whole replication (rule 6)."""

    parts: tuple[Part, ...]
    shared: bool = False

    def of_regime(self, u: float) -> Timing:
        """Give the part at `u` where it is shared, with its own share of `u` for a regime within; else settle each part."""
        if self.shared:
            ends = list(itertools.accumulate(part.weight for part in self.parts))
            place = u * ends[-1]
            index = bisect.bisect_right(ends[:-1], place)
            return self.parts[index].of.of_regime(self._stretch(index, place, ends))
        settled = tuple(Part(part.weight, part.of.of_regime(u)) for part in self.parts)
        same = all(new.of is old.of for new, old in zip(settled, self.parts, strict=True))
        return self if same else Mixture(settled)

    def _seconds(self, u: Any) -> Any:
        ends = list(itertools.accumulate(part.weight for part in self.parts))
        place = u * ends[-1]
        chosen = np.searchsorted(ends[:-1], place, side="right")
        if np.ndim(u) == 0:
            return self._stretched(int(chosen), place, ends)
        seconds = np.empty(np.shape(u))
        for index in range(len(self.parts)):
            mine = chosen == index
            seconds[mine] = self._stretched(index, place[mine], ends)
        return seconds

    def _stretched(self, index: int, place: Any, ends: list[float]) -> Any:
        return self.parts[index].of._seconds(self._stretch(index, place, ends))

    def _stretch(self, index: int, place: Any, ends: list[float]) -> Any:
        start = ends[index - 1] if index else 0.0
        return np.minimum(np.maximum((place - start) / self.parts[index].weight, _U_LOW), _U_HIGH)

    def _mix(self, values: Iterable[Any]) -> Any:
        pairs = zip(self.parts, values, strict=True)
        return sum(part.weight * value for part, value in pairs) / math.fsum(part.weight for part in self.parts)

    def _cdf(self, x: Floats) -> Any:
        return self._mix(np.asarray(part.of._cdf(x), dtype=np.float64) for part in self.parts)

    def mean_s(self) -> float:
        """Weigh the parts' means."""
        return float(self._mix(part.of.mean_s() for part in self.parts))

    def check(self, where: str) -> None:
        """At least one part; weights more than 0."""
        kind = "regime" if self.shared else "mixture"
        if not self.parts:
            raise TimingError(f"the {kind} is empty", f"{where}.{kind}", expected="at least one part")
        for index, part in enumerate(self.parts):
            bounded(part.weight, f"{where}.{kind}[{index}].weight", positive=True)
            part.of.check(f"{where}.{kind}[{index}]")


Timing = Constant | Exponential | Lognormal | Empirical | Shifted | Mixture


def _limit(cap: float | None) -> float:
    return LONGEST_S if cap is None else cap


def bounded(value: float, where: str, *, positive: bool = False, limit: float = LONGEST_S) -> float:
    """Give a number back that lies in range. Raises TimingError naming `where`."""
    if math.isfinite(value) and 0.0 <= value <= limit and not (positive and value == 0.0):
        return value
    expected = f"a number {'above' if positive else 'from'} 0{'' if positive else ' up'} to {limit:.0f}"
    raise TimingError("the number is out of range", where, f"{value:g}", expected)
