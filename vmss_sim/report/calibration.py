"""What `calibrate` shows: fit against data in the terminal, and the same as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console

from planner.planfile import Proportion
from scenarios.timing import encode_timing
from vmss_sim.report.console import table
from vmss_sim.study.calibrate.calibration import Calibration, Fitted, Quantile, Rate

SCHEMA = "vmss-sim/calibrate/1"


WIDE = 100
"""Columns; a narrower terminal is told everything but how it was fitted, which the warnings and the file say too."""


def seconds(value: float | None) -> str:
    """Seconds for people; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def band(one: Quantile) -> str:
    """The 95 % band of the data's quantile; open where the data cannot bound a side."""
    low = "0" if one.low is None else seconds(one.low)
    return f"{low} .. " + ("?" if one.high is None else seconds(one.high))


def render(console: Console, made: Calibration) -> None:
    """Print what was read, the timings, the failure rates and the warnings."""
    for history in made.histories:
        console.print(f"{history.path}: {history.kind}, {len(history.observed)} values")
        for reason, count in history.left_out.items():
            console.print(f"  left out: {count} x {reason}", markup=False)
    if made.timings:
        _timings(console, made)
    if made.rates:
        _rates(console, made)
    for one in made.timings:
        for warning in one.warnings:
            console.print(f"warning: {one.operation} on {one.os}: {warning}", markup=False)
    for warning in made.warnings:
        console.print(f"warning: {warning}", markup=False)


def _timings(console: Console, made: Calibration) -> None:
    shown = table(title="Durations in seconds: the data with their 95 % band, and the fit")
    narrow = console.width < WIDE
    columns = ("operation", "OS", "n", "fitted by", "p50", "band", "fit", "p95", "band", "fit", "D")
    kept = [index for index, column in enumerate(columns) if not (narrow and column in ("fitted by", "D"))]
    for index in kept:
        left = columns[index] in ("operation", "OS", "fitted by")
        shown.add_column(columns[index], no_wrap=True, justify="left" if left else "right")
    for one in made.timings:
        fit = one.fit
        cells = (
            one.operation,
            one.os,
            str(one.n),
            fit.kind if fit else "none",
            seconds(one.p50.data),
            band(one.p50),
            seconds(one.p50.fit),
            seconds(one.p95.data),
            band(one.p95),
            seconds(one.p95.fit),
            "-" if fit is None or fit.d is None else f"{fit.d:.2f}",
        )
        shown.add_row(*(cells[index] for index in kept))
    console.print(shown)


def _rates(console: Console, made: Calibration) -> None:
    shown = table(
        "operation", "OS", "failed", "of VMs", "95 % interval", "taken as", title="VMs whose operation failed"
    )
    for one in made.rates:
        low, high = one.seen.ci95 or (0.0, 1.0)
        shown.add_row(
            one.operation,
            one.os,
            str(one.failed),
            str(one.seen.n),
            f"{low:.2%} .. {high:.1%}",
            "none: fewer than 20 VMs" if one.rate is None else f"{one.rate:.2%}",
        )
    console.print(shown)


class _Timing(msgspec.Struct, kw_only=True):
    operation: str
    os: str
    n: int
    sessions: int
    fit: str | None
    law: Any
    ks_d: float | None
    lilliefors_p: float | None
    p50_s: Quantile
    p95_s: Quantile
    warnings: tuple[str, ...]


class _Rate(msgspec.Struct, kw_only=True):
    operation: str
    os: str
    failed: int
    seen: Proportion
    rate: float | None


def document(made: Calibration) -> dict[str, Any]:
    """Give the JSON document."""
    return {
        "schema": SCHEMA,
        "files": [
            {"path": one.path, "kind": one.kind, "values": len(one.observed), "left_out": dict(one.left_out)}
            for one in made.histories
        ],
        "timings": [_timing(one) for one in made.timings],
        "failures": [_rate(one) for one in made.rates],
        "warnings": list(made.warnings),
    }


def _timing(one: Fitted) -> _Timing:
    fit = one.fit
    return _Timing(
        operation=one.operation,
        os=one.os,
        n=one.n,
        sessions=one.sessions,
        fit=fit.kind if fit else None,
        law=encode_timing(fit.timing) if fit else None,
        ks_d=fit.d if fit else None,
        lilliefors_p=fit.p if fit else None,
        p50_s=one.p50,
        p95_s=one.p95,
        warnings=one.warnings,
    )


def _rate(one: Rate) -> _Rate:
    return _Rate(operation=one.operation, os=one.os, failed=one.failed, seen=one.seen, rate=one.rate)
