"""What a rollout cost, from the step function of healthy instances over time.

The same code measures a simulated and a real rollout; where the function comes from a polled journal, the result is
"as seen". Rules this module decides:

1. *Time* is integer milliseconds, counts are integers, so every measure but `availability` is exact: no rounding, no
   tolerance. A step function is right-continuous: the value set at t holds at t, until the next change.
2. The *window* is [start, T): from the first command to T, when the rollout completed, stopped or was rolled back.
   A change exactly at the start counts; a change exactly at T does not. With T = start, the value at the start is the
   minimum, and everything else is 0.
3. *Downtime* is time with healthy < required; *outage* is time with healthy = 0, whatever is required.
4. *Capacity lost* is the integral of total - healthy, signed: while surge instances lift healthy above the total it
   counts against the loss. Without surge it is the sum of all outages within the window, for any order and batch size
   (Brewer 2001, DQ principle: capacity lost = upgrade time per node x nodes).
5. *Unserved* is the integral of max(0, required - healthy): what is left over in one hour is no help in the next.
   In VM-milliseconds; requests unserved are that, / 1000, times the requests per second one VM serves.
6. *Bad exposure* is the integral of the number of instances on the bad image; 0 where no image is bad (`bad` None).
7. *Availability* is the share of the horizon, [start, start + horizon), with healthy >= required. The horizon is the
   same for all that are compared: averaged over its own duration, a slow rollout would look good. After T the function
   goes on at its known values, then at its last one. A rollout longer than the horizon is judged on the horizon alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate, compress, pairwise
from operator import lt, mul, not_, sub

import msgspec

from planner.errors import InputError

Struct = msgspec.Struct


class StepFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A count over time: `values[i]` holds from `times_ms[i]` until `times_ms[i + 1]`, the last one for ever.

    `times_ms[0]` is the start, before which nothing is known. Times rise strictly, else ValueError (which msgspec
    turns into an error with the path, where the function is read from a file).
    """

    times_ms: tuple[int, ...]
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.times_ms:
            raise ValueError("a step function has no start; give at least one time and its value")
        if len(self.times_ms) != len(self.values):
            raise ValueError(f"a step function has {len(self.times_ms)} times and {len(self.values)} values")
        if not all(map(lt, self.times_ms, self.times_ms[1:])):
            raise ValueError("the times of a step function do not rise strictly")

    def at(self, time_ms: int) -> int:
        """Value at a time; InputError before the start."""
        return self.values[_piece(self, time_ms)]


class Measures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The measures of one rollout; rules 2 to 7. Counts, milliseconds and VM-milliseconds; availability in 0..1."""

    min_healthy: int
    downtime_ms: int
    outage_ms: int
    capacity_lost_vm_ms: int
    unserved_vm_ms: int
    bad_exposure_vm_ms: int
    duration_ms: int
    availability: float


def published(measures: Measures) -> dict[str, float]:
    """As it stands in JSON: seconds, VM-seconds."""
    return {
        "min_healthy": measures.min_healthy,
        "availability": measures.availability,
        "downtime_s": measures.downtime_ms / 1000,
        "outage_s": measures.outage_ms / 1000,
        "capacity_lost_vm_s": measures.capacity_lost_vm_ms / 1000,
        "unserved_vm_s": measures.unserved_vm_ms / 1000,
        "bad_exposure_vm_s": measures.bad_exposure_vm_ms / 1000,
        "duration_s": measures.duration_ms / 1000,
    }


def constant(value: int, start_ms: int = 0) -> StepFunction:
    """One value for ever: a fixed requirement, say."""
    return StepFunction(times_ms=(start_ms,), values=(value,))


def from_intervals(n: int, intervals: Iterable[tuple[int, int | None]], start_ms: int) -> StepFunction:
    """How many of `n` instances are in service, from the (down_ms, up_ms) during which one of them is not.

    An interval is [down, up); up None: it never came back. What lies before the start is cut off. Empty intervals and
    instants at which the count does not change leave no trace, so equal outages give equal functions, in any order
    and however they are cut up. InputError if an interval ends before it begins, or more are out than there are.
    """
    out = count_intervals(intervals, start_ms)
    worst = max(out.values)
    if worst > n:
        raise InputError(
            "more instances are out of service at once than there are",
            found=f"{worst} at {out.times_ms[out.values.index(worst)]} ms",
            expected=f"at most {n}",
        )
    return StepFunction(times_ms=out.times_ms, values=tuple([n - count for count in out.values]))


def count_intervals(intervals: Iterable[tuple[int, int | None]], start_ms: int) -> StepFunction:
    """How many of the intervals are open: instances out of service, or on the bad image. As in `from_intervals`."""
    changes = {start_ms: 0}
    change_at = changes.get
    for opens, closes in intervals:
        if closes is not None:
            if closes < opens:
                raise InputError("an interval ends before it begins", found=f"{opens} ms to {closes} ms")
            if closes <= start_ms:
                continue
            changes[closes] = change_at(closes, 0) - 1
        begins = opens if opens > start_ms else start_ms
        changes[begins] = change_at(begins, 0) + 1
    # The start stays although nothing changes at it; any other instant with as many going as coming is no change.
    times = [start_ms, *sorted([time for time, change in changes.items() if change and time != start_ms])]
    return StepFunction(times_ms=tuple(times), values=tuple(accumulate(map(changes.__getitem__, times))))


def condensed(function: StepFunction, until_ms: int, cuts_ms: Iterable[int]) -> StepFunction:
    """Its past until then in as few steps as say the same: in each piece between two cuts the same values for as long, rising.

    Every integral from cut to cut, of the values and of what is made of each by itself, is what it was, and so are minima.
    """
    times: list[int] = []
    values: list[int] = []
    first = function.times_ms[0]
    edges = [first, *sorted({cut for cut in cuts_ms if first < cut < until_ms}), until_ms]
    for start_ms, end_ms in pairwise(edges):
        inner = [start_ms, *_changes(function, start_ms, end_ms)]
        held: Counter[int] = Counter()
        for value, span in zip(_values(function, inner), _spans(inner, end_ms), strict=True):
            held[value] += span
        values += sorted(held)
        times += accumulate([held[value] for value in sorted(held)[:-1]], initial=start_ms)
    return StepFunction(times_ms=tuple(times), values=tuple(values))


def followed(first: StepFunction, then: StepFunction) -> StepFunction:
    """The first until the other begins."""
    kept = bisect_left(first.times_ms, then.times_ms[0])
    return StepFunction(times_ms=first.times_ms[:kept] + then.times_ms, values=first.values[:kept] + then.values)


def measure(
    healthy: StepFunction,
    *,
    total: int,
    required: StepFunction,
    started_ms: int,
    ended_ms: int,
    horizon_ms: int,
    bad: StepFunction | None,
) -> Measures:
    """Measures of a rollout that ran from `started_ms` to `ended_ms`.

    healthy: instances in service; total: instances the set should have; required: instances the load needs, constant
    or a curve; bad: instances on the bad image, None if there is none. InputError if the rollout ends before it
    starts, the horizon is not positive, or a function begins after the start.
    """
    if ended_ms < started_ms:
        raise InputError("a rollout ends before it starts", found=f"{started_ms} ms to {ended_ms} ms")
    if horizon_ms <= 0:
        raise InputError("the horizon is not positive", found=f"{horizon_ms} ms")
    spans, up, short = _pieces(healthy, required, started_ms, ended_ms)
    downtime_ms = _positive_ms(spans, short)
    horizon_end_ms = started_ms + horizon_ms
    if horizon_end_ms < ended_ms:
        down_in_horizon_ms = _downtime_ms(healthy, required, started_ms, horizon_end_ms)
    else:
        down_in_horizon_ms = downtime_ms + _downtime_ms(healthy, required, ended_ms, horizon_end_ms)
    return Measures(
        min_healthy=min(up),
        downtime_ms=downtime_ms,
        outage_ms=sum(compress(spans, map(not_, up))),
        capacity_lost_vm_ms=total * (ended_ms - started_ms) - sum(map(mul, spans, up)),
        unserved_vm_ms=sum([span * count for span, count in zip(spans, short, strict=True) if count > 0]),
        bad_exposure_vm_ms=0 if bad is None else integral(bad, started_ms, ended_ms),
        duration_ms=ended_ms - started_ms,
        availability=(horizon_ms - down_in_horizon_ms) / horizon_ms,
    )


def left_broken(healthy: StepFunction, required: StepFunction, ended_ms: int, last_ms: int) -> tuple[str, ...]:
    """The measures end with the rollout; what it leaves behind does not. Fewer than required at the horizon (`last_ms`) is a breach."""
    return ("left-broken",) if ended_ms < last_ms and healthy.at(last_ms) < required.at(last_ms) else ()


def integral(function: StepFunction, start_ms: int, end_ms: int) -> int:
    """Integral over [start, end), in units of the value times milliseconds. InputError before the function's start."""
    times = [start_ms, *_changes(function, start_ms, end_ms)]
    return sum(map(mul, _spans(times, end_ms), _values(function, times)))


def _piece(function: StepFunction, time_ms: int) -> int:
    """Index of the piece that holds at a time."""
    index = bisect_right(function.times_ms, time_ms) - 1
    if index < 0:
        raise InputError(
            "a step function is asked for a time before its start",
            found=f"{time_ms} ms",
            expected=f"{function.times_ms[0]} ms or later",
        )
    return index


def _changes(function: StepFunction, start_ms: int, end_ms: int) -> tuple[int, ...]:
    """When it changes, strictly between start and end."""
    times = function.times_ms
    return times[bisect_right(times, start_ms) : bisect_left(times, end_ms)]


def _spans(times: list[int], end_ms: int) -> list[int]:
    """Length of each piece that begins at one of the times; the last ends at the end."""
    return list(map(sub, [*times[1:], end_ms], times))


def _values(function: StepFunction, times: list[int]) -> list[int]:
    """Values at rising times that contain every change of the function between the first and the last of them."""
    first, last = _piece(function, times[0]), _piece(function, times[-1])
    if first == last:
        return [function.values[first]] * len(times)
    changes = dict(zip(function.times_ms[first + 1 : last + 1], function.values[first + 1 : last + 1], strict=True))
    value, values = function.values[first], []
    for time in times:
        value = changes.get(time, value)
        values.append(value)
    return values


def _pieces(
    healthy: StepFunction, required: StepFunction, start_ms: int, end_ms: int
) -> tuple[list[int], list[int], list[int]]:
    """Cut [start, end) where either function changes: spans, healthy, and required - healthy, piece by piece.

    Where both change at once a piece has length 0 and the values of the next: it adds nothing to any integral, and
    nothing new to a minimum.
    """
    times = sorted([start_ms, *_changes(healthy, start_ms, end_ms), *_changes(required, start_ms, end_ms)])
    up = _values(healthy, times)
    return _spans(times, end_ms), up, list(map(sub, _values(required, times), up))


def _downtime_ms(healthy: StepFunction, required: StepFunction, start_ms: int, end_ms: int) -> int:
    """Time within [start, end) with healthy < required."""
    spans, _, short = _pieces(healthy, required, start_ms, end_ms)
    return _positive_ms(spans, short)


def _positive_ms(spans: list[int], values: list[int]) -> int:
    """Time for which a value is positive."""
    return sum([span for span, value in zip(spans, values, strict=True) if value > 0])
