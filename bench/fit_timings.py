"""Fit the default timings to recorded operations and print them as Python source, with how well they fit.

    python -m bench.fit_timings [operation-durations.csv.gz]          (the table, as Python source)
    python -m bench.fit_timings --doc [operation-durations.csv.gz]    (rewrites the table in docs/calibration.md)

Without a path, the file is looked for in `../shared/recordings`, next to the repository. The table goes to standard
output, to be pasted into `vmss_sim/world/recorded.py`; the statistics go to standard error.

Rules of the fit:

1. *Rows*: status Succeeded, started in 2021 or later, unless the note says all years. Where the rows are not of the
   very operation and system, the note says so and the origin is `guessed`. An OS upgrade is assumed to be a reimage:
   nobody recorded an upgrade that replaced an image.
2. *Pooling*: operations on one VM and on a whole set of 2 are pooled, since VMs of one request run in parallel. An
   operation on 2 VMs shows the later of the two, so a VM's own time is over-stated a little. Reimage and reimage all are
   pooled: their medians differ by 7 %.
3. *Lognormal* or *quantiles*: rules 2 and 4 of `vmss_sim/study/calibrate/fits.py`.
4. *Linux reimage is one lognormal by decree*: three rows at 34 s (an old image) reject it and widen it (its 99 %
   quantile is 135 s, without them 117 s); the rest is a single mode.
5. *Windows reimage is two lognormals*, cut at the widest gap of the logarithms (130 to 446 s, nothing in between), and a
   regime: each of ten days of recording saw one part only.
6. *Model updates* are fitted where idle: under 2 s. Above that (10 to 60 s) the set was still settling after its
   creation; there is hardly a row between 0.5 and 4 s. A change of upgrade mode is such an update: too few rows of its own.
7. *Rolling upgrade*: the tick per batch is the difference between rollouts of two batches and of one; the overhead is
   what is left after whole ticks, of the rollout or divided by its batches. *No health signal*: the median for sets of one VM.
8. *manualUpgrade* is told apart by what its recording's script had changed before: nothing a VM can see (identity), or an
   extension. Scripts that changed something else, or did not say, are left out.
9. Parameters are rounded to 4 significant digits, quantiles to 3.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmss_sim.study.calibrate.fits import (
    distance,
    fit_lognormal,
    fit_quantiles,
    fit_two,
    keeps,
    lilliefors,
    significant,
)
from vmss_sim.world.recorded import Recorded, System
from vmss_sim.world.timings import Constant, Empirical, Lognormal, Mixture, Timing

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "operation-durations.csv.gz"
LINUX: System = "linux"
WINDOWS: System = "windows"
IDLE_S = 2.0
TICK_GUESS_S = 60.0

Row = dict[str, str]
Fitter = Callable[[NDArray[np.float64]], Timing]


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


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table, with its test: D, and p by Lilliefors where a lognormal was fitted (else NaN).

    lognormal_d, lognormal_p: the same for a single lognormal, NaN where there was no choice to make.
    """

    row: Recorded
    d: float
    p: float
    lognormal_d: float = float("nan")
    lognormal_p: float = float("nan")


def fit_row(source: Source, os: System, seconds: NDArray[np.float64]) -> Fit:
    """One row, by the source's fitter or by rule 3."""
    d = p = float("nan")
    fitter = source.fitter
    if fitter is None:
        d, p = lilliefors(seconds)
        fitter = fit_lognormal if keeps(d, p) else fit_quantiles
    timing = fitter(seconds)
    row = Recorded(
        timing=timing, n=len(seconds), origin="guessed" if os in source.guessed else "measured", note=source.note
    )
    judged = judged_by(source, seconds)
    own_d = own_p = float("nan")
    if isinstance(timing, Lognormal):
        own_d, own_p = lilliefors(judged)
    elif not isinstance(timing, Constant):
        own_d = distance(judged, timing)
    return Fit(row=row, d=own_d, p=own_p, lognormal_d=d, lognormal_p=p)


def judged_by(source: Source, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a fit is about: the seconds themselves, or what of them is beyond whole ticks."""
    if source.fitter is fit_batch_overhead:
        return batch_overhead(seconds)
    return overhead(seconds) if source.fitter is fit_overhead else seconds


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


def fit_batch_overhead(seconds: NDArray[np.float64]) -> Lognormal:
    return fit_lognormal(batch_overhead(seconds))


def batch_overhead(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return overhead(seconds) / ticks(seconds)


def fit_constant(seconds: NDArray[np.float64]) -> Constant:
    return Constant(significant(float(np.median(seconds)), 3))


REIMAGE = ("reimage (one VM)", "reimage (scale set)", "reimageAll (one VM)", "reimageAll (scale set)")
RESTART = ("restart (one VM)", "restart (scale set)")
START = ("start (one VM)", "start (scale set)")
POWER_OFF = ("powerOff (one VM)", "powerOff (scale set)")
DEALLOCATE = ("deallocate (one VM)", "deallocate (scale set)")
REDEPLOY = ("redeploy (one VM)", "redeploy (scale set)")
DELETE = ("delete instances (POST /delete)",)
SCALE_OUT = ("scale out (PUT)", "scale out (PATCH)")
SCALE_IN = ("scale in (PUT)", "scale in (PATCH)")
CREATE = ("create scale set (PUT 201)",)
UPDATE = ("update model, mode=Manual (PUT)", "update model, mode=Manual (PATCH)")
RUN_COMMAND = ("PUT /virtualMachines/{id}/runCommands/{x}",)
MANUAL_UPGRADE = ("manualUpgrade",)
REPAIRS = ("setOrchestrationServiceState",)
ROLLING = ("update model, mode=Rolling (PUT waits for rollout)", "osRollingUpgrade")

L, W, BOTH = (LINUX,), (WINDOWS,), (LINUX, WINDOWS)
BY_DATE = "fast or slow by the recording's date, not by the VM"
ASSUMED = "assumed to take what a reimage takes"
POOLED = "pooled with reimage"
IDLE = "mode Manual; idle, that is under 2 s"
IN_PARALLEL = "one VM, or a set of 2 to 5"
CURRENT = "manualupgrade with nothing to do"
EXTENSION = "manualupgrade that brings an extension"

NOTHING_CHANGED = ("explicit_msi", "compute_vmss_vm")
"""Rule 8: scripts whose manualupgrade had nothing to do on the VM (an identity, or no change at all)."""
EXTENSION_ADDED = (
    "diagnostics_extension_install",
    "guest_attestation_extension_and_msi",
    "vmss_rolling_upgrade",
    "automatic_repairs_with_health_extension",
    "disk_encryption_e2e",
)
"""Rule 8: scripts whose manualupgrade brought an extension (diagnostics, attestation, custom script, health, encryption)."""


def idle(row: Row) -> bool:
    return float(row["seconds"]) < IDLE_S


def one_vm(row: Row) -> bool:
    return row["scale_set_capacity"] == "1"


def family(row: Row) -> str:
    """The script that was recorded: without the name of its runner, of a distribution, or of how often it was recorded."""
    name = row["recording"].replace("pytestmgmtcompute", "").removesuffix("_debian")
    return name.rsplit(".", 1)[-1].removeprefix("test_")


def of(*names: str) -> Callable[[Row], bool]:
    return lambda row: family(row) in names or any(family(row).endswith(name) for name in names)


two_by_date = partial(fit_two, shared=True)

SOURCES = (
    Source(operation="upgrade", systems=L, recorded=REIMAGE, note=ASSUMED, guessed=L, fitter=fit_lognormal),
    Source(operation="upgrade", systems=W, recorded=REIMAGE, note=ASSUMED, guessed=W, fitter=two_by_date),
    Source(operation="upgrade-current", systems=BOTH, recorded=MANUAL_UPGRADE, note=CURRENT, keep=of(*NOTHING_CHANGED)),
    Source(
        operation="upgrade-extensions", systems=BOTH, recorded=MANUAL_UPGRADE, note=EXTENSION, keep=of(*EXTENSION_ADDED)
    ),
    Source(operation="reimage", systems=L, recorded=REIMAGE, note="a test rejects the fit", fitter=fit_lognormal),
    Source(operation="reimage", systems=W, recorded=REIMAGE, note=BY_DATE, fitter=two_by_date),
    Source(operation="reimage-all", systems=L, recorded=REIMAGE, note=POOLED, fitter=fit_lognormal),
    Source(operation="reimage-all", systems=W, recorded=REIMAGE, note=f"{POOLED}; {BY_DATE}", fitter=two_by_date),
    Source(operation="restart", systems=L, recorded=RESTART, note="sets of 2"),
    Source(operation="restart", systems=W, recorded=RESTART, note="one VM or 5; every fifth within 2 s"),
    Source(operation="start", systems=BOTH, recorded=START, note=IN_PARALLEL),
    Source(operation="power-off", systems=L, recorded=POWER_OFF, note="sets of 2"),
    Source(operation="power-off", systems=W, recorded=POWER_OFF, note=IN_PARALLEL),
    Source(operation="deallocate", systems=BOTH, recorded=DEALLOCATE, note=IN_PARALLEL),
    Source(
        operation="redeploy",
        systems=BOTH,
        recorded=REDEPLOY,
        note="Windows; 5 on Linux before 2021 took 33 to 93 s",
        guessed=L,
        recorded_os=W,
    ),
    Source(operation="delete", systems=BOTH, recorded=DELETE, note="until Azure says so; the teardown goes on"),
    Source(operation="scale-out", systems=L, recorded=SCALE_OUT, note="nearly all from 0 to 1"),
    Source(
        operation="scale-out",
        systems=W,
        recorded=CREATE,
        note="creations of sets of 1 to 5; no scale-out since 2021",
        guessed=W,
    ),
    Source(
        operation="scale-in",
        systems=BOTH,
        recorded=SCALE_IN,
        note="Windows; from 5 to 4",
        guessed=L,
        recorded_os=W,
    ),
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
    Source(
        operation="set-orchestration-service-state",
        systems=BOTH,
        recorded=REPAIRS,
        note="Linux; suspend and resume repairs; half of them on a set that was settling",
        guessed=W,
        recorded_os=L,
    ),
    Source(
        operation="cancel-rolling-upgrade",
        systems=BOTH,
        recorded=("rollingUpgrades/cancel",),
        note="Windows, all years; until it is accepted",
        guessed=L,
        recorded_os=W,
        since="2015",
        fitter=fit_constant,
    ),
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
        operation="rolling-batch-overhead",
        systems=BOTH,
        recorded=ROLLING,
        note="Linux; the same by batches: two have hardly more of it than one",
        guessed=W,
        recorded_os=L,
        fitter=fit_batch_overhead,
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
)


def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", newline="") as text:
        return [row for row in csv.DictReader(text) if row["status"] == "Succeeded"]


def rows_of(source: Source, os: System, rows: Iterable[Row]) -> list[Row]:
    systems = set(source.recorded_os or (os,))
    return [
        row
        for row in rows
        if row["operation"] in source.recorded
        and row["os"].lower() in systems
        and row["start"] >= source.since
        and (source.keep is None or source.keep(row))
    ]


def seconds_of(source: Source, os: System, rows: Iterable[Row]) -> NDArray[np.float64]:
    return np.array(sorted(float(row["seconds"]) for row in rows_of(source, os, rows)))


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
        case Mixture(parts, shared):
            inner = ", ".join(f"Part({part.weight:g}, {law_source(part.of)})" for part in parts)
            return f"Mixture(({inner}){', shared=True' if shared else ''})"
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


def main(arguments: list[str]) -> None:
    paths = [Path(one) for one in arguments if one != "--doc"]
    path = paths[0] if paths else RECORDINGS
    if "--doc" in arguments:
        from bench import fit_doc  # noqa: PLC0415 - it imports this module

        fit_doc.write(path)
    else:
        print_table(fit(path))


if __name__ == "__main__":
    main(sys.argv[1:])
