"""The default timings: fitted to public recordings of real operations, or said to be guessed.

1. A row is what stands for `"recorded"` in a scenario. What nobody recorded is refused by name.
2. A row that borrows from another operation or system says so, and its origin is `guessed`, however many operations
   stand behind it.
3. `RECORDED` is printed by `python -m bench.fit_timings`, which holds the rules of the fit: parameters and quantiles of
   public test recordings of SDKs and command-line tools (mostly 2 idle VMs), never the recordings. n counts
   operations; they are not independent, since one script was re-recorded over the years.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from vmss_sim.world.timings import Constant, Empirical, Lognormal, Mixture, Part, Timing, TimingError

System = Literal["linux", "windows", "unknown"]


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A default and what stands behind it.

    n: operations it was fitted to. origin: `measured`, or `guessed` where it is borrowed or made up; `yours` where a timing
    file stands in for the default. note: of what.
    """

    timing: Timing
    n: int
    origin: Literal["measured", "guessed", "yours"]
    note: str


def recorded(
    operation: str, os: System, where: str, table: Mapping[str, Mapping[System, Recorded]] | None = None
) -> Recorded:
    """Find the row of `table`, or of `RECORDED`. Raises TimingError, naming `where`, for an operation or a system without."""
    table = RECORDED if table is None else table
    rows = table.get(operation)
    if rows is None:
        what = f"there is no recording of {operation!r}"
        raise TimingError(what, where, expected=", ".join(table), fix="give a duration")
    if os not in rows:
        what = f"recordings of {operation!r} are told apart by operating system"
        raise TimingError(what, where, os, " or ".join(rows), "name the system, or give a duration")
    return rows[os]


def _measured(n: int, note: str, timing: Timing) -> Recorded:
    return Recorded(timing=timing, n=n, origin="measured", note=note)


def _guessed(n: int, note: str, timing: Timing) -> Recorded:
    return Recorded(timing=timing, n=n, origin="guessed", note=note)


def _quantiles(text: str) -> Empirical:
    return Empirical(tuple(float(word) for word in text.split()))


_LINUX: Final = "linux"
_WINDOWS: Final = "windows"

READY_DEFAULT: Final[Mapping[System, Recorded]] = {
    _LINUX: _guessed(0, "nobody recorded an application", Lognormal.of_p95(median=45.0, p95=90.0)),
    _WINDOWS: _guessed(0, "nobody recorded an application", Lognormal.of_p95(median=90.0, p95=240.0)),
}
"""From the operation's end to a healthy application."""

RECORDED: Final[Mapping[str, Mapping[System, Recorded]]] = {
    "upgrade": {
        _LINUX: _guessed(61, "assumed to take what a reimage takes", Lognormal(median=76.96, sigma=0.2407)),
        _WINDOWS: _guessed(
            20,
            "assumed to take what a reimage takes",
            Mixture(
                (Part(0.7, Lognormal(median=108.4, sigma=0.1094)), Part(0.3, Lognormal(median=476.3, sigma=0.03909))),
                shared=True,
            ),
        ),
    },
    "upgrade-current": {
        _LINUX: _measured(
            26,
            "manualupgrade with nothing to do",
            _quantiles(
                "0.22 0.224 0.246 0.25 0.261 0.27 0.27 0.277 0.3 0.305 0.31 0.348 0.397 0.441 0.45 0.492 0.552 0.597 10.4"
            ),
        ),
        _WINDOWS: _measured(
            16,
            "manualupgrade with nothing to do",
            _quantiles("0.12 0.14 0.155 0.17 0.179 0.19 0.204 0.22 0.247 0.349 0.961 10.2"),
        ),
    },
    "upgrade-extensions": {
        _LINUX: _measured(
            106,
            "manualupgrade that brings an extension",
            _quantiles(
                "10.5 10.8 14.9 16.1 16.7 17.7 18.5 19.4 20.6 26.8 35 39.5 44.7 45.6 46.3 47.3 48.2 49.8 52.5 56 76.9"
            ),
        ),
        _WINDOWS: _measured(
            54,
            "manualupgrade that brings an extension",
            _quantiles("26.4 35 36.2 37.9 41.2 44.1 53.6 57.6 75.7 78.3 112 122 135 141 143 148 153 155 165 185 231"),
        ),
    },
    "reimage": {
        _LINUX: _measured(61, "a test rejects the fit", Lognormal(median=76.96, sigma=0.2407)),
        _WINDOWS: _measured(
            20,
            "fast or slow by the recording's date, not by the VM",
            Mixture(
                (Part(0.7, Lognormal(median=108.4, sigma=0.1094)), Part(0.3, Lognormal(median=476.3, sigma=0.03909))),
                shared=True,
            ),
        ),
    },
    "reimage-all": {
        _LINUX: _measured(61, "pooled with reimage", Lognormal(median=76.96, sigma=0.2407)),
        _WINDOWS: _measured(
            20,
            "pooled with reimage; fast or slow by the recording's date, not by the VM",
            Mixture(
                (Part(0.7, Lognormal(median=108.4, sigma=0.1094)), Part(0.3, Lognormal(median=476.3, sigma=0.03909))),
                shared=True,
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
    "power-off": {
        _LINUX: _measured(17, "sets of 2", Lognormal(median=8.977, sigma=0.212)),
        _WINDOWS: _measured(71, "one VM, or a set of 2 to 5", Lognormal(median=16.88, sigma=0.2818)),
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
    "redeploy": {
        _LINUX: _guessed(
            13, "Windows; 5 on Linux before 2021 took 33 to 93 s", _quantiles("32.4 52.8 102 117 123 124 129 136 142")
        ),
        _WINDOWS: _measured(
            13, "Windows; 5 on Linux before 2021 took 33 to 93 s", _quantiles("32.4 52.8 102 117 123 124 129 136 142")
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
    "scale-in": {
        _LINUX: _guessed(
            48,
            "Windows; from 5 to 4",
            _quantiles(
                "15.6 21.3 23.4 23.8 23.9 24.2 24.5 26.6 28.5 29.6 36.4 38.2 42.1 43.7 46.5 47.4 50.1 52.8 53.6 57 65.8"
            ),
        ),
        _WINDOWS: _measured(
            48,
            "Windows; from 5 to 4",
            _quantiles(
                "15.6 21.3 23.4 23.8 23.9 24.2 24.5 26.6 28.5 29.6 36.4 38.2 42.1 43.7 46.5 47.4 50.1 52.8 53.6 57 65.8"
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
    "set-orchestration-service-state": {
        _LINUX: _measured(
            62,
            "Linux; suspend and resume repairs; half of them on a set that was settling",
            _quantiles(
                "0.09 0.11 0.11 0.11 0.112 0.13 0.14 0.16 0.164 0.275 1.69 9.63 17.7 18.9 31.4 36.4 45.2 50.2 53.1 94.4 125"
            ),
        ),
        _WINDOWS: _guessed(
            62,
            "Linux; suspend and resume repairs; half of them on a set that was settling",
            _quantiles(
                "0.09 0.11 0.11 0.11 0.112 0.13 0.14 0.16 0.164 0.275 1.69 9.63 17.7 18.9 31.4 36.4 45.2 50.2 53.1 94.4 125"
            ),
        ),
    },
    "cancel-rolling-upgrade": {
        _LINUX: _guessed(5, "Windows, all years; until it is accepted", Constant(0.08)),
        _WINDOWS: _measured(5, "Windows, all years; until it is accepted", Constant(0.08)),
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
    "rolling-batch-overhead": {
        _LINUX: _measured(
            39,
            "Linux; the same by batches: two have hardly more of it than one",
            Lognormal(median=0.4596, sigma=0.3266),
        ),
        _WINDOWS: _guessed(
            39,
            "Linux; the same by batches: two have hardly more of it than one",
            Lognormal(median=0.4596, sigma=0.3266),
        ),
    },
    "no-health-step": {
        _LINUX: _measured(44, "the wait where no health is reported; 3 of them Windows", Constant(600)),
        _WINDOWS: _measured(44, "the wait where no health is reported; 3 of them Windows", Constant(600)),
    },
}
"""By operation and system; the last four are the platform's own pace. Printed by `bench/fit_timings.py`."""
