"""A calibration as a timing file: TOML whose comments say what stands behind each number."""

from __future__ import annotations

from typing import Any

import tomlkit

from scenarios.timing import encode_timing
from scenarios.timing_file import SCHEMA
from vmss_sim.study.calibrate.calibration import Calibration, Fitted, Quantile, Rate
from vmss_sim.study.calibrate.history import READY
from vmss_sim.world.timings import Constant


def document(made: Calibration) -> str:
    """Give the text of the timing file."""
    file = tomlkit.document()
    file.add(tomlkit.comment("Timings fitted to a history, by `vmss-sim calibrate`. A scenario takes them by"))
    file.add(tomlkit.comment("    [timing]"))
    file.add(tomlkit.comment('    file = "this file"'))
    file.add(tomlkit.comment("and its own values win over these. Seconds; bands are 95 % intervals. From:"))
    for history in made.histories:
        file.add(tomlkit.comment(f"    {history.path}: {history.kind}, {len(history.observed)} values"))
    file.add("schema", tomlkit.item(SCHEMA))
    timings = tomlkit.aot()
    for one in made.timings:
        if one.fit is not None:
            timings.append(_timing(one))
    if len(timings):
        file.add("timing", timings)
    rates = tomlkit.aot()
    for rate in made.rates:
        if rate.rate is not None:
            rates.append(_failure(rate))
    if len(rates):
        file.add("failure", rates)
    return tomlkit.dumps(file)


def _os(os: str) -> str:
    return "any" if os == "unknown" else os


def _timing(one: Fitted) -> Any:
    assert one.fit is not None  # the caller looked
    table = tomlkit.table()
    table.add(tomlkit.comment(f"{one.fit.kind}; p50 {band(one.p50)}, p95 {band(one.p95)}"))
    if one.operation == READY:
        table.add(
            tomlkit.comment(
                "as health was seen: the health source's own delay is in it, so set timing.probe = 0 beside it"
            )
        )
    for warning in one.warnings:
        table.add(tomlkit.comment(f"WARNING: {warning}"))
    table.add("operation", one.operation)
    table.add("os", _os(one.os))
    table.add("n", one.n)
    law = (
        {"constant": one.fit.timing.seconds} if isinstance(one.fit.timing, Constant) else encode_timing(one.fit.timing)
    )
    table.add("law", _inline(law))
    return table


def _inline(value: Any) -> Any:
    """A law on one line."""
    if isinstance(value, dict):
        made = tomlkit.inline_table()
        made.update({key: _inline(item) for key, item in value.items()})
        return made
    if isinstance(value, list):
        items = tomlkit.array()
        items.extend(_inline(item) for item in value)
        return items
    return value


def _failure(rate: Rate) -> Any:
    table = tomlkit.table()
    low, high = rate.seen.ci95 or (0.0, 1.0)
    table.add(tomlkit.comment(f"seen: {rate.failed} of {rate.seen.n}; 95 % interval {low:.2%} to {high:.2%}"))
    table.add("operation", rate.operation)
    table.add("os", _os(rate.os))
    table.add("failed", rate.failed)
    table.add("n", rate.seen.n)
    table.add("rate", float(f"{rate.rate:.4g}"))
    return table


def band(one: Quantile) -> str:
    """`71 (66 to 88)`; a side without a bound is open: `119 (88 or more)`."""
    low = "0" if one.low is None else f"{one.low:.4g}"
    return f"{one.data:.4g} ({low} or more)" if one.high is None else f"{one.data:.4g} ({low} to {one.high:.4g})"
