"""A comparison for people: the table, what was left out, what it rests on, and the sentence."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from planner.planfile import Proportion, Summary
from scenarios.expect import METRICS
from vmss_sim.report.console import table
from vmss_sim.report.words import WORDS
from vmss_sim.study.compare import Result, Study
from vmss_sim.study.recommend import Recommendation

WIDE = 110  # columns: narrower terminals get p95 and estimates only


def render(
    console: Console,
    study: Study,
    recommendation: Recommendation,
    flips: Mapping[str, str | None],
    *,
    details: bool = False,
    assumptions: bool = True,
) -> None:
    """Everything `compare` prints."""
    setup = study.setup
    console.print(Text(setup.title, style="bold"))
    need = sorted(set(setup.required.values))
    needed = f"{need[0]}" if len(need) == 1 else f"{need[0]} to {need[-1]}"
    console.print(
        f"{setup.total} instances, {needed} required, {study.replications} runs of each strategy, seed {study.seed}. Today: {study.today}."
    )
    bad = setup.world.failures.bad_share > 0
    wide = console.width >= WIDE
    span_of = "p50/p95" if wide else "p95"
    columns = ["strategy", "fewest\n(p05)", f"downtime\n{span_of}", f"outage\n{span_of}"]
    columns += ["lost\nVM-h"] if wide and not bad else []
    columns += ["bad image\nVM-h"] if bad else []
    columns += ["avail.\nmean"] if wide and not bad else []
    columns += [
        f"duration\n{span_of}",
        *(f"{name}\n% [95 % CI]" if wide else f"{name}\n%" for name in ("completes", "breaches")),
    ]
    made = table(*columns)
    for column in made.columns:
        column.no_wrap = column is not made.columns[0]
        column.justify = "left" if column is made.columns[0] else "right"
    labels = [len(word) for result in study.results for word in result.choice.label.split()]
    made.columns[0].min_width = max(labels) + 2  # a long label wraps between its words; numbers never do
    made.columns[0].max_width = 20
    for result in study.results:
        made.add_row(*_row(result, recommendation.name, bad=bad, wide=wide))
    console.print(made)
    front = ", ".join(study.front())
    console.print(Text(f"Pareto front of duration, downtime, fewest in service and completing: {front}", style="dim"))
    if details:
        for result in study.results:
            _details(console, result)
    for one in study.refused:
        console.print(Text(f"not compared: {one.label}: {one.because}", style="dim"))
    if assumptions:
        _assumptions(console, study, flips)
    console.print()
    console.print(Text(recommendation.because, style="bold green" if recommendation.name else "bold red"))


def _row(result: Result, recommended: str | None, *, bad: bool, wide: bool) -> list[Text | str]:
    values = result.summaries()
    label = result.choice.label
    style = "bold green" if label == recommended else ("dim" if label == "today" else "")
    low = values["min_healthy"]
    pair = _pair if wide else _p95
    made: list[Text | str] = [
        Text(("→ " if label == recommended else "  ") + label, style=style),
        f"{low.p50:.0f} ({low.p05:.0f})",
        pair(values["downtime_s"]),
        pair(values["outage_s"]),
    ]
    if wide and not bad:
        made.append(f"{(values['capacity_lost_vm_s'].mean or 0) / 3600:.2f}")
    if bad:
        made.append(f"{(values['bad_exposure_vm_s'].mean or 0) / 3600:.2f}")
    if wide and not bad:
        made.append(f"{values['availability'].mean:.3%}")
    return [
        *made,
        pair(values["duration_s"]),
        _share(result.completed(), wide=wide),
        _share(result.breached(), wide=wide),
    ]


def _p95(value: Summary) -> str:
    return clock(value.p95)


def _pair(value: Summary) -> str:
    return f"{clock(value.p50)}/{clock(value.p95)}" if value.p95 else "0"


def clock(seconds: float | None) -> str:
    """A duration in a table: 45s, 2m25s, 1h05m."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 100:
        return f"{whole}s" if seconds else "0"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _share(value: Proportion, *, wide: bool) -> str:
    if value.estimate is None or value.ci95 is None:
        return "-"
    short = f"{value.estimate * 100:.1f}"
    return f"{short} [{value.ci95[0] * 100:.0f}, {value.ci95[1] * 100:.0f}]" if wide else short


def _details(console: Console, result: Result) -> None:
    made = table("", "mean", "95 % CI of the mean", "p05", "p50", "p95", "p99", title=result.choice.label)
    for name in METRICS:
        value = result.summaries()[name]
        digits = 6 if name == "availability" else 1
        cells = [
            f"{one:.{digits}f}" if one is not None else "-"
            for one in (value.mean, value.p05, value.p50, value.p95, value.p99)
        ]
        interval = f"{value.ci95[0]:.{digits}f} to {value.ci95[1]:.{digits}f}" if value.ci95 else "-"
        unit = " (s)" if name.endswith("_s") and "vm" not in name else ""
        made.add_row(WORDS[name] + unit, cells[0], interval, *cells[1:])
    console.print(made)


def _assumptions(console: Console, study: Study, flips: Mapping[str, str | None]) -> None:
    made = table("this rests on", "value", "origin", "another strategy wins at", "settle it with")
    for one in study.setup.assumptions:
        searched = one.name in flips
        flip = flips.get(one.name)
        guess = one.origin == "guessed"
        made.add_row(
            one.name,
            one.value,
            Text(one.origin, style="yellow" if guess else ""),
            flip or ("not within 1/4 to 50 times" if searched else "not searched" if guess else ""),
            one.key if guess else "",
        )
    console.print(made)
    for gap in study.setup.gaps:
        console.print(
            Text(f"the files did not say: {gap.says}" + (f" ({gap.supply})" if gap.supply else ""), style="yellow")
        )
