"""What a history gives: per operation and system a timing, a failure rate, and how far either is to be believed.

Rules this module decides:

1. Timings are fitted by `fits.py`, per operation and operating system, over all files together.
2. *Bands* are 95 % intervals of order statistics, which assume no distribution. A side that the data cannot bound is None:
   for a 95 % quantile that takes 72 operations above. Operations of one session are alike, so true bands are wider.
3. *Failure rates* have exact (Clopper-Pearson) intervals. A rate is written from 20 VMs on, as (failed + 1/2) / (n + 1), the
   mean under Jeffreys' prior: none in 20 is 2.4 %, not never.
4. What weakens a result is a warning beside it: few points, few sessions, operations on several VMs, an upgrade too quick to
   have replaced an image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from planner.planfile import Proportion
from vmss_sim.study.calibrate.fits import LEAST, LOGNORMAL, QUANTILES, Fit, fit
from vmss_sim.study.calibrate.history import ROLLOUT, History, Observed
from vmss_sim.study.statistics import proportion, quantile, quantile_interval
from vmss_sim.world.recorded import System
from vmss_sim.world.timings import Timing

LEAST_VMS: Final = 20
LEAST_SESSIONS: Final = 5
SOON_S: Final = 20.0


class Quantile(msgspec.Struct, frozen=True, kw_only=True):
    """A quantile: of the data, its band (rule 2), and of the fit. Seconds."""

    data: float
    low: float | None
    high: float | None
    fit: float | None


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """The durations of one operation on one system. fit: None where there are too few, or it is no VM's time."""

    operation: str
    os: System
    n: int
    sessions: int
    fit: Fit | None
    p50: Quantile
    p95: Quantile
    seconds: tuple[float, ...]
    warnings: tuple[str, ...]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often a VM's operation failed. rate: what is written (rule 3); None below 20 VMs."""

    operation: str
    os: System
    failed: int
    seen: Proportion
    rate: float | None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """All that some histories give."""

    histories: tuple[History, ...]
    timings: tuple[Fitted, ...]
    rates: tuple[Rate, ...]
    warnings: tuple[str, ...]

    @property
    def written(self) -> bool:
        """Is there anything for a timing file?"""
        return any(one.fit for one in self.timings) or any(one.rate is not None for one in self.rates)

    @property
    def exceptions(self) -> bool:
        """Was an operation left out for want of points?"""
        return any(one.fit is None and one.operation != ROLLOUT for one in self.timings)


def calibrate(histories: Sequence[History], *, os: System = "unknown", since: str = "") -> Calibration:
    """Fit it all. os: of what does not say its own; since: a date; what is known to be earlier is left out."""
    groups: dict[tuple[str, System], list[Observed]] = defaultdict(list)
    for history in histories:
        for one in history.observed:
            if not (since and one.session and _is_date(one.session) and one.session < since):
                groups[one.operation, os if one.os == "unknown" else one.os].append(one)
    timings = [_fitted(name, system, group) for (name, system), group in sorted(groups.items()) if _timed(group)]
    rates = [
        _rate(name, system, group)
        for (name, system), group in sorted(groups.items())
        if name != ROLLOUT and any(one.failed or one.ok for one in group)
    ]
    warnings = []
    if any(system == "unknown" for _, system in groups):
        warnings.append("the operating system is not said everywhere: what is written then holds for any; say --os")
    return Calibration(histories=tuple(histories), timings=tuple(timings), rates=tuple(rates), warnings=tuple(warnings))


def _is_date(session: str) -> bool:
    return len(session) == 10 and session[4] == session[7] == "-"


def _timed(group: Iterable[Observed]) -> list[Observed]:
    return [one for one in group if one.seconds is not None]


def _fitted(operation: str, os: System, group: Sequence[Observed]) -> Fitted:
    timed = sorted(_timed(group), key=lambda one: (one.seconds, one.session or ""))
    seconds = [one.seconds for one in timed if one.seconds is not None]
    sessions = {one.session for one in timed}
    made = None
    if operation != ROLLOUT:
        made = fit(np.array(seconds), [one.session for one in timed])
    timing = made.timing if made else None
    p50, p95 = (_quantile(seconds, q, timing) for q in (0.5, 0.95))
    return Fitted(
        operation=operation,
        os=os,
        n=len(seconds),
        sessions=len(sessions),
        fit=made,
        p50=p50,
        p95=p95,
        seconds=tuple(seconds),
        warnings=tuple(_weak(operation, timed, made, p50, p95, len(sessions))),
    )


def _quantile(seconds: Sequence[float], q: float, timing: Timing | None) -> Quantile:
    low, high = quantile_interval(seconds, q)
    data = quantile(seconds, q)
    return Quantile(
        data=math.nan if data is None else data,
        low=low,
        high=high,
        fit=None if timing is None else timing.ppf_ms_scalar(q) / 1000,
    )


def _weak(
    operation: str, timed: Sequence[Observed], made: Fit | None, p50: Quantile, p95: Quantile, sessions: int
) -> Iterable[str]:
    """Rule 4."""
    n = len(timed)
    if operation == ROLLOUT:
        yield "a whole rollout, whose length depends on its batches: not written"
        return
    if made is None:
        yield f"too few: {LEAST[QUANTILES]} operations are the least, nothing is written"
        return
    if n < LEAST[LOGNORMAL]:
        yield f"few points: as observed, nothing beyond {max(one.seconds or 0.0 for one in timed):.4g} s ({LEAST[LOGNORMAL]} for a curve)"
    elif p95.high is None:
        yield f"p95 has no upper bound: 72 operations would give one, there are {n}"
    if sessions < LEAST_SESSIONS:
        yield f"all of {sessions} session{'s' if sessions > 1 else ''}: alike, so the bands are too narrow"
    several = [one.instances for one in timed if one.instances and one.instances > 2]
    if 2 * len(several) > n:
        yield f"mostly on several VMs (up to {max(several)}): each shows its slowest"
    if operation == "upgrade" and p50.data < SOON_S:
        yield f"half took under {SOON_S:.0f} s: did these replace an image?"


def _rate(operation: str, os: System, group: Sequence[Observed]) -> Rate:
    failed = sum(one.failed for one in group)
    n = failed + sum(one.ok for one in group)
    rate = (failed + 0.5) / (n + 1) if n >= LEAST_VMS else None
    return Rate(operation=operation, os=os, failed=failed, seen=proportion(failed, n), rate=rate)
