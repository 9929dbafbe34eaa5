"""How long things take: duration distributions with an inverse CDF, and the defaults fitted to real recordings.

Rules this module decides:

1. A timing is a value. Seconds in files and fields, integer milliseconds out of `ppf_ms`, rounded once, half to even.
2. One uniform, one duration: all sampling is by inverse CDF, so that common random numbers stay common. Scalars and
   arrays go through the same formula and the same compiled kernels (scipy.special, one value at a time), because
   NumPy's vectorised `exp` differs from libm's in the last bit. So both give the same integer.
3. A *mixture* spends one uniform: its place among the cumulative weights picks the part, its place within that part's
   interval, stretched to (0, 1), is the part's own uniform. Monotone within a part, not across parts.
4. An *empirical* timing is a rising table; value i of n is the quantile i/(n-1), with straight lines in between
   (NumPy's default, Hyndman and Fan's type 7). It has no tail beyond its last value.
5. A *cap* clips: what would be longer takes the cap, which so has a probability of its own. Without one the cap is
   `LONGEST_S`; no parameter may exceed that either.
6. `"recorded"` in a file is a row of `RECORDED`. What nobody recorded is refused by name. A row that borrows from
   another operation or system says so, and its origin is `guessed`, however many operations stand behind it.
7. `RECORDED` is printed by `bench/fit_timings.py`, which holds the rules of the fit: parameters and quantiles of
   public test recordings of SDKs and command-line tools (mostly 2 idle VMs), never the recordings. n counts
   operations; they are not independent, since one script was re-recorded over the years.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from planner.errors import InputError
from planner.model import OperatingSystem

Floats = NDArray[np.float64]

LONGEST_S: Final = 315_360_000.0
"""Ten years: the longest duration there is. Keeps milliseconds well inside 64 bits."""
_LOG2_E: Final = math.log2(math.e)
_Z95: Final = 1.6448536269514722  # the standard normal's 95 % quantile
_SIGMA_MAX: Final = 10.0
_U_LOW, _U_HIGH = 2.0**-54, 1.0 - 2.0**-53  # what a stretched uniform is kept within: at 1 a duration is endless


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

    def mean_s(self) -> float:
        """Give the expectation in seconds, exact (with the cap, without the rounding to milliseconds)."""
        raise NotImplementedError

    def cdf(self, x_s: ArrayLike) -> Floats:
        """P(duration <= x) for each x in seconds; right-continuous where a single value has a probability."""
        return np.asarray(self._cdf(np.asarray(x_s, dtype=np.float64)), dtype=np.float64)

    def check(self, where: str) -> None:
        """Raise InputError, naming the field below `where`, for a parameter that makes no sense."""
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
        _bounded(self.seconds, where)


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
        _bounded(self.mean, f"{where}.exponential.mean", positive=True)
        _bounded(_limit(self.cap), f"{where}.exponential.cap", positive=True)


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
        _bounded(self.median, f"{where}.lognormal.median", positive=True)
        _bounded(self.sigma, f"{where}.lognormal.sigma", limit=_SIGMA_MAX)
        _bounded(_limit(self.cap), f"{where}.lognormal.cap", positive=True)


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
            raise InputError("the table is empty", where, expected="at least one number of seconds")
        for index, value in enumerate(self.seconds):
            _bounded(value, f"{where}[{index}]")
            if index and value < self.seconds[index - 1]:
                raise InputError("the table does not rise", f"{where}[{index}]", f"{value:g}", fix="sort it")


class Shifted(_Law, frozen=True):
    """`by` seconds more than `of`."""

    by: float
    of: Timing

    def _seconds(self, u: Any) -> Any:
        return self.by + self.of._seconds(u)

    def _cdf(self, x: Floats) -> Any:
        return self.of._cdf(x - self.by)

    def mean_s(self) -> float:
        """Add the shift and the mean of what is shifted."""
        return self.by + self.of.mean_s()

    def check(self, where: str) -> None:
        """Shift: 0 or more."""
        _bounded(self.by, f"{where}.shifted.by")
        self.of.check(f"{where}.shifted.of")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a mixture; `weight` is relative to the sum of all weights."""

    weight: float
    of: Timing


class Mixture(_Law, frozen=True):
    """Rule 3: each part with probability weight / sum of weights."""

    parts: tuple[Part, ...]

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
        part, start = self.parts[index], ends[index - 1] if index else 0.0
        return part.of._seconds(np.minimum(np.maximum((place - start) / part.weight, _U_LOW), _U_HIGH))

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
        if not self.parts:
            raise InputError("the mixture is empty", f"{where}.mixture", expected="at least one part")
        for index, part in enumerate(self.parts):
            _bounded(part.weight, f"{where}.mixture[{index}].weight", positive=True)
            part.of.check(f"{where}.mixture[{index}]")


Timing = Constant | Exponential | Lognormal | Empirical | Shifted | Mixture


def _limit(cap: float | None) -> float:
    return LONGEST_S if cap is None else cap


def _bounded(value: float, where: str, *, positive: bool = False, limit: float = LONGEST_S) -> float:
    if math.isfinite(value) and 0.0 <= value <= limit and not (positive and value == 0.0):
        return value
    expected = f"a number {'above' if positive else 'from'} 0{'' if positive else ' up'} to {limit:.0f}"
    raise InputError("the number is out of range", where, f"{value:g}", expected)


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


# ---- reading and writing

_DURATION = re.compile(r"\s*".join(rf"(?:([0-9]+(?:\.[0-9]+)?)\s*{unit})?" for unit in ("d", "h", "m", "s", "ms")))
_UNIT_MS = (86_400_000, 3_600_000, 60_000, 1000, 1)
_FIELDS: Final = {
    "constant": (),
    "exponential": ("mean", "cap"),
    "lognormal": ("median", "sigma", "p95", "cap"),
    "empirical": (),
    "shifted": ("by", "of"),
    "mixture": (),
}
"""The kinds a file may name, and the fields of those that are tables."""


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("this is not a number", where, reprlib.repr(value), "a number")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def _duration_s(value: Any, where: str) -> float:
    if not isinstance(value, str):
        return _bounded(_number(value, where), where)
    match = _DURATION.fullmatch(value.strip())
    if not match or not value.strip():
        raise InputError(
            "this is not a duration", where, reprlib.repr(value), 'seconds, or text such as "90s", "1h30m"'
        )
    parts = (Decimal(part or 0) * unit for part, unit in zip(match.groups(), _UNIT_MS, strict=True))
    return _bounded(float(sum(parts) / 1000), where)


def parse_duration_ms(value: Any, where: str) -> int:
    """Milliseconds of a number of seconds or of text: days, hours, minutes, seconds, ms in this order ("1h30m").

    Raises InputError naming `where` for anything else, for a negative duration, and above `LONGEST_S`.
    """
    return round(_duration_s(value, where) * 1000.0)


def _fields(value: Any, where: str, known: Collection[str], needed: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("this is not a table", where, reprlib.repr(value), f"a table of {', '.join(known)}")
    for key in value:
        if key not in known:
            raise InputError(f"unknown key {key!r}", where, fix=_nearest(str(key), known))
    for key in needed:
        if key not in value:
            raise InputError(f"{key!r} is missing", where)
    return value


def _items(value: Any, where: str) -> list[tuple[Any, str]]:
    if not isinstance(value, list | tuple):
        raise InputError("this is not an array", where, reprlib.repr(value), "an array")
    return [(item, f"{where}[{index}]") for index, item in enumerate(value)]


def _parse(value: Any, where: str, operation: str, os: OperatingSystem) -> Timing:
    if value == "recorded":
        return recorded(operation, os, where).timing
    if isinstance(value, str) and difflib.get_close_matches(value, ("recorded",)):
        raise InputError("this is not a timing", where, reprlib.repr(value), fix="did you mean 'recorded'?")
    if not isinstance(value, dict):
        return Constant(_duration_s(value, where))
    if len(_fields(value, where, _FIELDS, ())) != 1:
        raise InputError("a timing has one kind", where, ", ".join(value) or "none", "one of " + ", ".join(_FIELDS))
    ((kind, body),) = value.items()
    where = f"{where}.{kind}"
    if kind == "constant":
        return Constant(_duration_s(body, where))
    if kind == "empirical":
        return Empirical(tuple(sorted(_duration_s(item, at) for item, at in _items(body, where))))
    if kind == "mixture":
        return Mixture(tuple(_part(item, at, operation, os) for item, at in _items(body, where)))
    if kind == "shifted":
        _fields(body, where, _FIELDS[kind], _FIELDS[kind])
        return Shifted(_duration_s(body["by"], f"{where}.by"), _parse(body["of"], f"{where}.of", operation, os))
    fields = _fields(body, where, _FIELDS[kind], _FIELDS[kind][:1])
    read = {key: (_number if key == "sigma" else _duration_s)(fields[key], f"{where}.{key}") for key in fields}
    if kind == "exponential":
        return Exponential(**read)
    if len(read.keys() & {"sigma", "p95"}) != 1:
        raise InputError("the spread is given once", where, expected="either 'sigma' or 'p95'")
    if "sigma" in read:
        return Lognormal(**read)
    if not 0.0 < read["median"] <= read["p95"]:
        raise InputError(
            "'p95' is below 'median', or that is 0", where, f"{read['median']:g} and {read['p95']:g} seconds"
        )
    return Lognormal.of_p95(**read)


def _part(value: Any, where: str, operation: str, os: OperatingSystem) -> Part:
    fields = _fields(value, where, ("weight", *_FIELDS), ("weight",))
    rest = {key: item for key, item in fields.items() if key != "weight"}
    return Part(_number(fields["weight"], f"{where}.weight"), _parse(rest, where, operation, os))


def parse_timing(value: Any, where: str, operation: str, os: OperatingSystem) -> Timing:
    """Read a timing out of a scenario's value.

    value: seconds; text such as "5m"; "recorded", the default for `operation` on `os`; or a table of one kind:
    {constant = 30}, {exponential = {mean = 120}}, {lognormal = {median = 95, p95 = 240}} (or sigma; cap in both),
    {empirical = [..]} in any order, {shifted = {by = 30, of = ..}}, {mixture = [{weight = 1, lognormal = ..}, ..]}.
    where: file and key, for errors. Raises InputError naming the place, and the nearest known key for an unknown one.
    """
    timing = _parse(value, where, operation, os)
    timing.check(where)
    return timing


def encode_timing(timing: Timing) -> Any:
    """Give the value that `parse_timing` reads back as an equal timing."""
    match timing:
        case Constant(seconds):
            return seconds
        case Empirical(seconds):
            return {"empirical": list(seconds)}
        case Shifted(by, of):
            return {"shifted": {"by": by, "of": encode_timing(of)}}
        case Mixture(parts):
            return {"mixture": [{"weight": part.weight, **_table(part.of)} for part in parts]}
    fields = msgspec.structs.asdict(timing)
    return {type(timing).__name__.lower(): {key: value for key, value in fields.items() if value is not None}}


def _table(timing: Timing) -> dict[str, Any]:
    value = encode_timing(timing)
    return value if isinstance(value, dict) else {"constant": value}


# ---- defaults


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A default and what stands behind it.

    n: operations it was fitted to. origin: `measured`, or `guessed` where it is borrowed or made up. note: of what.
    """

    timing: Timing
    n: int
    origin: Literal["measured", "guessed"]
    note: str


def recorded(operation: str, os: OperatingSystem, where: str) -> Recorded:
    """Find the row of `RECORDED`. Raises InputError, naming `where`, for an operation or a system that has none."""
    rows = RECORDED.get(operation)
    if rows is None:
        what = f"there is no recording of {operation!r}"
        raise InputError(what, where, fix=f"give a duration ({_nearest(operation, RECORDED)})")
    if os not in rows:
        what = f"recordings of {operation!r} are told apart by operating system"
        raise InputError(what, where, os.value, " or ".join(rows), "name the system, or give a duration")
    return rows[os]


def _measured(n: int, note: str, timing: Timing) -> Recorded:
    return Recorded(timing=timing, n=n, origin="measured", note=note)


def _guessed(n: int, note: str, timing: Timing) -> Recorded:
    return Recorded(timing=timing, n=n, origin="guessed", note=note)


def _quantiles(text: str) -> Empirical:
    return Empirical(tuple(float(word) for word in text.split()))


_LINUX, _WINDOWS = OperatingSystem.LINUX, OperatingSystem.WINDOWS

READY_DEFAULT: Final[Mapping[OperatingSystem, Recorded]] = {
    _LINUX: _guessed(0, "nobody recorded an application", Lognormal.of_p95(median=45.0, p95=90.0)),
    _WINDOWS: _guessed(0, "nobody recorded an application", Lognormal.of_p95(median=90.0, p95=240.0)),
}
"""From the operation's end to a healthy application."""

RECORDED: Final[Mapping[str, Mapping[OperatingSystem, Recorded]]] = {
    "upgrade": {
        _LINUX: _guessed(61, "assumed to take what a reimage takes", Lognormal(median=76.96, sigma=0.2407)),
        _WINDOWS: _guessed(
            20,
            "assumed to take what a reimage takes",
            Mixture(
                (Part(0.7, Lognormal(median=108.4, sigma=0.1094)), Part(0.3, Lognormal(median=476.3, sigma=0.03909)))
            ),
        ),
    },
    "reimage": {
        _LINUX: _measured(61, "a test rejects the fit", Lognormal(median=76.96, sigma=0.2407)),
        _WINDOWS: _measured(
            20,
            "fast or slow by the recording's date, not by the VM",
            Mixture(
                (Part(0.7, Lognormal(median=108.4, sigma=0.1094)), Part(0.3, Lognormal(median=476.3, sigma=0.03909)))
            ),
        ),
    },
    "restart": {
        _LINUX: _measured(17, "sets of 2", Lognormal(median=61.52, sigma=0.4046)),
        _WINDOWS: _measured(
            68,
            "one VM or 5; every fifth within 2 s",
            _quantiles(
                "1.25 1.32 1.39 1.44 8.11 18.6 19.9 21.5 32.7 40.1 41.4 42.2 44.2 44.8 45.8 48 49.6 51.1 54.2 74.7 128"
            ),
        ),
    },
    "run-command": {
        _LINUX: _measured(22, "managed; a trivial script", Lognormal(median=31.43, sigma=0.6069)),
        _WINDOWS: _guessed(
            16,
            "the action with a trivial script; no managed one was recorded",
            _quantiles("40.6 44.2 50.5 60.5 60.7 65.3 70.5 81.6 90.8 142 201 222"),
        ),
    },
    "update-model": {
        _LINUX: _measured(676, "mode Manual; idle, that is under 2 s", Lognormal(median=0.1915, sigma=0.6604)),
        _WINDOWS: _measured(139, "mode Manual; idle, that is under 2 s", Lognormal(median=0.1718, sigma=0.677)),
    },
    "set-mode": {
        _LINUX: _guessed(
            676, "any update; mode Manual; idle, that is under 2 s", Lognormal(median=0.1915, sigma=0.6604)
        ),
        _WINDOWS: _guessed(
            139, "any update; mode Manual; idle, that is under 2 s", Lognormal(median=0.1718, sigma=0.677)
        ),
    },
    "delete": {
        _LINUX: _measured(
            17,
            "until Azure says so; the teardown goes on",
            _quantiles("1.91 1.97 2.13 2.15 2.22 2.26 2.28 2.34 2.51 2.56 2.64 23.1"),
        ),
        _WINDOWS: _measured(
            64,
            "until Azure says so; the teardown goes on",
            _quantiles(
                "0.8 1.7 1.81 1.96 2.19 18.3 22.9 23.3 24.4 27.1 29.6 34.7 39.9 43.5 47.8 48.5 49.3 51.1 54.7 56.3 63.8"
            ),
        ),
    },
    "scale-out": {
        _LINUX: _measured(
            20,
            "nearly all from 0 to 1",
            _quantiles("41.5 41.9 41.9 42.1 42.2 42.3 42.3 42.9 55.2 61.7 62.3 63.2 68.3 71.2 79.1"),
        ),
        _WINDOWS: _guessed(
            46,
            "creations of sets of 1 to 5; no scale-out since 2021",
            _quantiles("77.7 80.6 88.2 92.7 95.7 105 110 195 373 392 421 442 452 470 475 490 520 532 550 581 1630"),
        ),
    },
    "start": {
        _LINUX: _measured(17, "one VM, or a set of 2 to 5", Lognormal(median=6.145, sigma=0.3766)),
        _WINDOWS: _measured(
            68,
            "one VM, or a set of 2 to 5",
            _quantiles(
                "3.56 4.33 5.45 5.68 6.99 7.9 8.33 8.93 9.36 9.39 9.46 9.53 9.58 9.74 9.83 9.91 10.3 11 12.4 17.6 113"
            ),
        ),
    },
    "deallocate": {
        _LINUX: _measured(20, "one VM, or a set of 2 to 5", Lognormal(median=33.5, sigma=0.3892)),
        _WINDOWS: _measured(
            79,
            "one VM, or a set of 2 to 5",
            _quantiles(
                "21.1 24.9 30.3 30.5 30.7 32.1 33.4 34.4 35.3 36.7 39.2 40.5 41 42 42.6 45 45.8 47.4 53.3 66.4 145"
            ),
        ),
    },
    "rolling-tick": {
        _LINUX: _measured(39, "Linux; a rolling upgrade's batch lasts whole ticks", Constant(60)),
        _WINDOWS: _guessed(39, "Linux; a rolling upgrade's batch lasts whole ticks", Constant(60)),
    },
    "rolling-overhead": {
        _LINUX: _measured(
            39, "Linux; of a rolling upgrade, beyond whole ticks", Lognormal(median=0.7799, sigma=0.2208)
        ),
        _WINDOWS: _guessed(
            39, "Linux; of a rolling upgrade, beyond whole ticks", Lognormal(median=0.7799, sigma=0.2208)
        ),
    },
    "no-health-step": {
        _LINUX: _measured(44, "the wait where no health is reported; 3 of them Windows", Constant(600)),
        _WINDOWS: _measured(44, "the wait where no health is reported; 3 of them Windows", Constant(600)),
    },
    "cancel": {
        _LINUX: _guessed(5, "Windows, all years; of a rolling upgrade", Constant(0.08)),
        _WINDOWS: _measured(5, "Windows, all years; of a rolling upgrade", Constant(0.08)),
    },
}
"""By operation and system; the last four are constants of the platform. Printed by `bench/fit_timings.py`."""
