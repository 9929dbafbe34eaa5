"""How well the shipped timings fit, as the table in docs/calibration.md.

    python -m bench.fit_timings --doc          (rewrites the part of the document between its two marks)

Rules of the table:

1. It judges what is shipped (`vmss_sim/world/recorded.py`), against the recordings it was fitted to.
2. *Families*: one script, re-recorded over the years, is one family. *Left out*: each family in turn is left out, the same
   kind of fit is made of the others, and the family's operations are judged: how many of them lie within the central 90 %
   of the fit. A family whose rest has fewer than 10 operations, or that is the only one, is not judged. Likewise by years.
   The share is of all operations judged; 90 % would be perfect.
3. *p* is Lilliefors' (a lognormal whose parameters were fitted). Quantiles and mixtures have none that would be fair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.fit_timings import (
    RECORDINGS,
    SOURCES,
    Row,
    Source,
    family,
    fit_batch_overhead,
    fit_overhead,
    fit_tick,
    judged_by,
    read,
    rows_of,
)
from scenarios import background
from vmss_sim.study.calibrate.fits import Seconds, distance, fit_lognormal, fit_quantiles, lilliefors
from vmss_sim.world.recorded import RECORDED, Recorded, System
from vmss_sim.world.timings import Constant, Empirical, Lognormal, Mixture, Timing

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "calibration.md"
BEGIN, END = "<!-- fit: written by `python -m bench.fit_timings --doc` -->", "<!-- end of fit -->"
PRESETS, PRESETS_END = "<!-- presets: written by the same command -->", "<!-- end of presets -->"
LEAST_REST = 10
HEAD = (
    "operation",
    "OS",
    "n",
    "families",
    "fit",
    "D",
    "p",
    "p5",
    "p50",
    "p95",
    "within 90 %: families left out",
    "years left out",
    "origin",
    "of",
)


def kind(timing: Timing) -> str:
    """The fit in words."""
    match timing:
        case Constant():
            return "constant"
        case Empirical():
            return "quantiles"
        case Mixture(_, shared):
            return "two lognormals, one a replication" if shared else "two lognormals"
        case _:
            return type(timing).__name__.lower()


def _year(row: Row) -> str:
    return row["start"][:4]


def left_out(fit: Callable[[Seconds], Timing], groups: Sequence[str], seconds: Seconds) -> str:
    """Rule 2: `share (judged)`, or a dash. groups: of each value."""
    names = np.array(groups)
    inside = judged = 0
    for name in sorted(set(groups)):
        mine, rest = seconds[names == name], seconds[names != name]
        if len(rest) >= LEAST_REST:
            made = fit(rest)
            low, high = (made.ppf_ms_scalar(u) / 1000 for u in (0.05, 0.95))
            inside += int(
                ((mine >= low - 0.0005) & (mine <= high + 0.0005)).sum()
            )  # the fit is rounded to milliseconds
            judged += len(mine)
    return f"{inside / judged:.0%} ({judged})" if judged else "-"


def fitter_of(source: Source, timing: Timing) -> Callable[[Seconds], Timing]:
    """What made the shipped timing: the source's own fitter, or the one that rule 3 of the fit had chosen."""
    if source.fitter not in (None, fit_overhead, fit_batch_overhead):
        return source.fitter
    return fit_lognormal if isinstance(timing, Lognormal) else fit_quantiles


def line(source: Source, os: System, row: Recorded, rows: list[Row]) -> list[str]:
    """One row of the table."""
    seconds = judged_by(source, np.array([float(one["seconds"]) for one in rows]))
    timing = row.timing
    d = p = "-"
    ends, shares = ["-"] * 3, ["-"] * 2
    if source.fitter is not fit_tick:
        quantiles = ((u, np.quantile(seconds, u)) for u in (0.05, 0.5, 0.95))
        ends = [f"{data:.3g} / {timing.ppf_ms_scalar(u) / 1000:.3g}" for u, data in quantiles]
    if not isinstance(timing, Constant):
        d = f"{distance(seconds, timing):.2f}"
        fit = fitter_of(source, timing)
        shares = [left_out(fit, [group(one) for one in rows], seconds) for group in (family, _year)]
    if isinstance(timing, Lognormal):
        p = f"{lilliefors(np.sort(seconds))[1]:.2f}"
    families = str(len({family(one) for one in rows}))
    return [source.operation, os, str(row.n), families, kind(timing), d, p, *ends, *shares, row.origin, row.note]


def table(path: Path = RECORDINGS) -> str:
    """The table in Markdown."""
    recorded = read(path)
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for source in SOURCES:
        for os in source.systems:
            cells = line(source, os, RECORDED[source.operation][os], rows_of(source, os, recorded))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def between(text: str, begin: str, end: str) -> str:
    """What stands between two marks."""
    return text.split(begin + "\n\n", 1)[1].split("\n" + end, 1)[0]


def _replaced(text: str, begin: str, end: str, body: str) -> str:
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n\n{body}\n{end}{rest.split(end, 1)[1]}"


def write(path: Path = RECORDINGS) -> None:
    """Rewrite the document's generated parts."""
    text = _replaced(DOCUMENT.read_text(), BEGIN, END, table(path))
    DOCUMENT.write_text(_replaced(text, PRESETS, PRESETS_END, background.table()))
