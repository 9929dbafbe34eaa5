"""Fit the default timings to recorded operations and print them as Python source, with how well they fit.

    python -m bench.fit_timings [operation-durations.csv.gz]          (needs scipy 1.15 or later)

Without a path, the file is looked for in `../shared/recordings`, next to the repository. The table goes to standard
output, to be pasted into `vmss_sim/world/recorded.py`; the statistics go to standard error.

Rules of the fit:

1. *Rows*: status Succeeded, started in 2021 or later, unless the note says all years. Where the rows are not of the
   very operation and system, the note says so and the origin is `guessed`. An OS upgrade is assumed to be a reimage:
   nobody recorded an upgrade that replaced an image.
2. *Pooling*: operations on one VM and on a whole set of 2 are pooled, since VMs of one request run in parallel. An
   operation on 2 VMs shows the later of the two, so a VM's own time is over-stated a little.
3. *Lognormal* by maximum likelihood. It is kept where a Kolmogorov-Smirnov test with fitted parameters (Lilliefors,
   Monte Carlo, fixed seed) does not reject it at 5 %, or where D is under 0.1: several hundred rows reject anything.
   Otherwise *quantiles* at even steps: at most 21, and at most 3/4 as many as there are rows.
   Their D is smaller by construction, so D alone could not choose between the two.
4. *Linux reimage is one lognormal by decree*: three rows at 34 s (an old image) reject it and widen it (its 99 %
   quantile is 135 s, without them 117 s); the rest is a single mode.
5. *Windows reimage is two lognormals*, cut at the widest gap of the logarithms (130 to 446 s, nothing in between).
6. *Model updates* are fitted where idle: under 2 s. Above that (10 to 60 s) the set was still settling after its
   creation; there is hardly a row between 0.5 and 4 s. A change of upgrade mode is such an update: too few rows of its own.
7. *Rolling upgrade*: the tick per batch is the difference between rollouts of two batches and of one; the overhead is
   what is left after whole ticks. *No health signal*: the median for sets of one VM.
8. Parameters are rounded to 4 significant digits, quantiles to 3.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vmss_sim.world.recorded import Recorded, System
from vmss_sim.world.timings import Constant, Empirical, Lognormal, Mixture, Part, Timing

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "operation-durations.csv.gz"
LINUX: System = "linux"
WINDOWS: System = "windows"
KEEP_P, KEEP_D = 0.05, 0.1
IDLE_S = 2.0
TICK_GUESS_S = 60.0
SAMPLES, SEED = 499, 0

Row = dict[str, str]
Fitter = Callable[[NDArray[np.float64]], Timing]


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table, with its test: D, p (Lilliefors where a lognormal was fitted, else uncorrected: too high).

    lognormal_d, lognormal_p: the same for a single lognormal, NaN where there was no choice to make.
    """

    row: Recorded
    d: float
    p: float
    lognormal_d: float = float("nan")
    lognormal_p: float = float("nan")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Which recorded operations stand behind rows of the table, and how they are fitted (None: rule 3 chooses).

    systems: the rows, all from the recordings of `recorded_os` (None: of each row's own system).
    """

    operation: str
    systems: tuple[System, ...]
    recorded: tuple[str, ...]
    note: str
    guessed: tuple[System, ...] = ()
    recorded_os: tuple[System, ...] | None = None
    since: str = "2021"
    keep: Callable[[Row], bool] | None = None
    fitter: Fitter | None = None


def significant(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def fit_lognormal(seconds: NDArray[np.float64]) -> Lognormal:
    logs = np.log(seconds)
    return Lognormal(median=significant(float(np.exp(logs.mean())), 4), sigma=significant(float(logs.std()), 4))


def fit_quantiles(seconds: NDArray[np.float64]) -> Empirical:
    count = min(21, len(seconds) * 3 // 4)
    return Empirical(tuple(significant(float(q), 3) for q in np.quantile(seconds, np.linspace(0, 1, count))))


def fit_two(seconds: NDArray[np.float64]) -> Mixture:
    ordered = np.sort(seconds)
    cut = int(np.argmax(np.diff(np.log(ordered)))) + 1
    halves = (ordered[:cut], ordered[cut:])
    return Mixture(tuple(Part(significant(len(half) / len(ordered), 4), fit_lognormal(half)) for half in halves))


def lilliefors(seconds: NDArray[np.float64]) -> tuple[float, float]:
    test = stats.goodness_of_fit(
        stats.norm, np.log(seconds), statistic="ks", n_mc_samples=SAMPLES, rng=np.random.default_rng(SEED)
    )
    return float(test.statistic), float(test.pvalue)


def fit_row(source: Source, os: System, seconds: NDArray[np.float64]) -> Fit:
    """One row, by the source's fitter or by rule 3."""
    d = p = float("nan")
    fitter = source.fitter
    if fitter is None:
        d, p = lilliefors(seconds)
        fitter = fit_lognormal if p >= KEEP_P or d < KEEP_D else fit_quantiles
    timing = fitter(seconds)
    row = Recorded(
        timing=timing, n=len(seconds), origin="guessed" if os in source.guessed else "measured", note=source.note
    )
    if isinstance(timing, Lognormal):
        own_d, own_p = lilliefors(overhead(seconds) if fitter is fit_overhead else seconds)
    elif isinstance(timing, Constant):
        own_d, own_p = float("nan"), float("nan")
    else:
        test = stats.kstest(seconds, timing.cdf)
        own_d, own_p = float(test.statistic), float(test.pvalue)
    return Fit(row=row, d=own_d, p=own_p, lognormal_d=d, lognormal_p=p)


def ticks(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many batches a rolling upgrade had, told by its duration."""
    return np.rint(seconds / TICK_GUESS_S).astype(np.int64)


def fit_tick(seconds: NDArray[np.float64]) -> Constant:
    one, two = (float(np.median(seconds[ticks(seconds) == count])) for count in (1, 2))
    return Constant(float(round(two - one)))


def fit_overhead(seconds: NDArray[np.float64]) -> Lognormal:
    return fit_lognormal(overhead(seconds))


def overhead(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return seconds - fit_tick(seconds).seconds * ticks(seconds)


def fit_constant(seconds: NDArray[np.float64]) -> Constant:
    return Constant(significant(float(np.median(seconds)), 3))


REIMAGE = ("reimage (one VM)", "reimage (scale set)", "reimageAll (one VM)", "reimageAll (scale set)")
RESTART = ("restart (one VM)", "restart (scale set)")
START = ("start (one VM)", "start (scale set)")
DEALLOCATE = ("deallocate (one VM)", "deallocate (scale set)")
DELETE = ("delete instances (POST /delete)",)
SCALE_OUT = ("scale out (PUT)", "scale out (PATCH)")
CREATE = ("create scale set (PUT 201)",)
UPDATE = ("update model, mode=Manual (PUT)", "update model, mode=Manual (PATCH)")
RUN_COMMAND = ("PUT /virtualMachines/{id}/runCommands/{x}",)
ROLLING = ("update model, mode=Rolling (PUT waits for rollout)", "osRollingUpgrade")

L, W, BOTH = (LINUX,), (WINDOWS,), (LINUX, WINDOWS)
BY_DATE = "fast or slow by the recording's date, not by the VM"
ASSUMED = "assumed to take what a reimage takes"
IDLE = "mode Manual; idle, that is under 2 s"
IN_PARALLEL = "one VM, or a set of 2 to 5"


def idle(row: Row) -> bool:
    return float(row["seconds"]) < IDLE_S


def one_vm(row: Row) -> bool:
    return row["scale_set_capacity"] == "1"


SOURCES = (
    Source(operation="upgrade", systems=L, recorded=REIMAGE, note=ASSUMED, guessed=L, fitter=fit_lognormal),
    Source(operation="upgrade", systems=W, recorded=REIMAGE, note=ASSUMED, guessed=W, fitter=fit_two),
    Source(operation="reimage", systems=L, recorded=REIMAGE, note="a test rejects the fit", fitter=fit_lognormal),
    Source(operation="reimage", systems=W, recorded=REIMAGE, note=BY_DATE, fitter=fit_two),
    Source(operation="restart", systems=L, recorded=RESTART, note="sets of 2"),
    Source(operation="restart", systems=W, recorded=RESTART, note="one VM or 5; every fifth within 2 s"),
    Source(operation="run-command", systems=L, recorded=RUN_COMMAND, note="managed; a trivial script"),
    Source(
        operation="run-command",
        systems=W,
        recorded=("runCommand (one VM)",),
        note="the action with a trivial script; no managed one was recorded",
        guessed=W,
    ),
    Source(operation="update-model", systems=BOTH, recorded=UPDATE, note=IDLE, keep=idle),
    Source(operation="set-mode", systems=BOTH, recorded=UPDATE, note=f"any update; {IDLE}", keep=idle, guessed=BOTH),
    Source(operation="delete", systems=BOTH, recorded=DELETE, note="until Azure says so; the teardown goes on"),
    Source(operation="scale-out", systems=L, recorded=SCALE_OUT, note="nearly all from 0 to 1"),
    Source(
        operation="scale-out",
        systems=W,
        recorded=CREATE,
        note="creations of sets of 1 to 5; no scale-out since 2021",
        guessed=W,
    ),
    Source(operation="start", systems=BOTH, recorded=START, note=IN_PARALLEL),
    Source(operation="deallocate", systems=BOTH, recorded=DEALLOCATE, note=IN_PARALLEL),
    Source(
        operation="rolling-tick",
        systems=BOTH,
        recorded=ROLLING,
        note="Linux; a rolling upgrade's batch lasts whole ticks",
        guessed=W,
        recorded_os=L,
        fitter=fit_tick,
    ),
    Source(
        operation="rolling-overhead",
        systems=BOTH,
        recorded=ROLLING,
        note="Linux; of a rolling upgrade, beyond whole ticks",
        guessed=W,
        recorded_os=L,
        fitter=fit_overhead,
    ),
    Source(
        operation="no-health-step",
        systems=BOTH,
        recorded=("extensionRollingUpgrade",),
        note="the wait where no health is reported; 3 of them Windows",
        recorded_os=BOTH,
        keep=one_vm,
        fitter=fit_constant,
    ),
    Source(
        operation="cancel",
        systems=BOTH,
        recorded=("rollingUpgrades/cancel",),
        note="Windows, all years; of a rolling upgrade",
        guessed=L,
        recorded_os=W,
        since="2015",
        fitter=fit_constant,
    ),
)


def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", newline="") as text:
        return [row for row in csv.DictReader(text) if row["status"] == "Succeeded"]


def seconds_of(source: Source, os: System, rows: Iterable[Row]) -> NDArray[np.float64]:
    systems = set(source.recorded_os or (os,))
    picked = (
        float(row["seconds"])
        for row in rows
        if row["operation"] in source.recorded
        and row["os"].lower() in systems
        and row["start"] >= source.since
        and (source.keep is None or source.keep(row))
    )
    return np.array(sorted(picked))


def fit(path: Path = RECORDINGS) -> dict[str, dict[System, Fit]]:
    """Every row of the table, by operation and system."""
    rows = read(path)
    table: dict[str, dict[System, Fit]] = {}
    for source in SOURCES:
        for os in source.systems:
            table.setdefault(source.operation, {})[os] = fit_row(source, os, seconds_of(source, os, rows))
    return table


def law_source(timing: Timing) -> str:
    """Write the timing as an expression of `vmss_sim/world/timings.py`."""
    match timing:
        case Constant(seconds):
            return f"Constant({seconds:g})"
        case Empirical(seconds):
            return f'_quantiles("{" ".join(f"{value:g}" for value in seconds)}")'
        case Lognormal():
            return f"Lognormal(median={timing.median:g}, sigma={timing.sigma:g})"
        case Mixture(parts):
            return f"Mixture(({', '.join(f'Part({part.weight:g}, {law_source(part.of)})' for part in parts)}))"
    raise NotImplementedError(timing)


def print_table(table: dict[str, dict[System, Fit]]) -> None:
    """Python source on standard output, statistics on standard error."""
    print("RECORDED: Final[Mapping[str, Mapping[System, Recorded]]] = {")
    for operation, fits in table.items():
        print(f'    "{operation}": {{')
        for os, one in fits.items():
            row = one.row
            print(f"        _{os.upper()}: _{row.origin}({row.n}, {json.dumps(row.note)}, {law_source(row.timing)}),")
            statistics = f"KS D={one.d:.3f} p={one.p:.3f}"
            if not isinstance(row.timing, Lognormal) and one.lognormal_d == one.lognormal_d:
                statistics += f" (a lognormal: D={one.lognormal_d:.3f} p={one.lognormal_p:.3f})"
            kind = type(row.timing).__name__
            print(f"{operation:17}{os:8} n={row.n:<4} {kind:10} {statistics}", file=sys.stderr)
        print("    },")
    print("}")


if __name__ == "__main__":
    print_table(fit(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDINGS))
