"""A plan and its findings for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from planner.difference import Changed
from planner.drift import Absorb, Difference
from planner.lint import Finding
from planner.plan import Plan
from planner.planfile import Forecast, describe
from planner.trace import Found
from vmss_sim.report.console import folded, plain, table
from vmss_sim.report.times import when
from vmss_sim.report.words import WORDS

MOVED = 20
"""So many differences are listed: the rest is in the journal."""


def render(
    console: Console, plan: Plan, forecast: Forecast | None, found: Sequence[Finding], *, sha256: str = ""
) -> None:
    """Everything `plan` and `show` print."""
    if sha256:
        console.print(f"sha256 {sha256} (verified)")
    for section in describe(plan):
        if section.title == "Findings":
            continue  # the caller's list below holds them, and those of the set
        console.print(Text(section.title, style="bold"))
        for line in section.lines:
            for number, part in enumerate(folded(line, console.width - 6) or [""]):
                console.print(Text(("    " if number else "  ") + part), soft_wrap=True)
    if forecast is not None:
        forecast_table(console, forecast)
    if found:
        console.print(Text("Findings", style="bold"))
        findings(console, [("plan", one) for one in found])


def forecast_table(console: Console, forecast: Forecast) -> None:
    """A forecast: metrics and probabilities."""
    made = table("", "p50", "p95", "mean", title=f"Forecast: {forecast.replications} runs, seed {forecast.seed}")
    for name, value in forecast.metrics.items():
        digits = 4 if name == "availability" else 1
        made.add_row(
            WORDS.get(name, name) + (" (s)" if name.endswith("_s") and "vm" not in name else ""),
            *(_number(one, digits) for one in (value.p50, value.p95, value.mean)),
        )
    for name, share in (("completed", forecast.completed), ("breached", forecast.breached)):
        interval = f" [{share.ci95[0]:.0%}, {share.ci95[1]:.0%}]" if share.ci95 else ""
        made.add_row(
            f"probability {name}", "", "", f"{share.estimate:.1%}{interval}" if share.estimate is not None else "-"
        )
    console.print(made)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def findings(console: Console, found: Iterable[tuple[str, Finding]]) -> None:
    """Findings as a list: code, grade, what, and what to do. What several strategies share stands once."""
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for about, one in found:
        grouped.setdefault((one.code, one.grade, one.text, one.fix), []).append(about)
    if not grouped:
        console.print("no findings")
        return
    for (code, grade, text, fix), abouts in sorted(grouped.items(), key=lambda row: (row[0][1] != "error", row[0][0])):
        line = Text(f"{code} ", style="bold")
        line.append(grade, style="bold red" if grade == "error" else "yellow")
        about = ", ".join(dict.fromkeys(abouts))
        line.append(f"  {text}" if about in ("plan", "set") else f"  {about}: {text}")
        console.print(line)
        if fix:
            console.print(Text(f"      {fix}", style="dim"))


STYLES = {Absorb.REFUSE: "bold red", Absorb.ABSORB: "yellow", Absorb.NOTE: "dim"}


def moved(console: Console, found: Sequence[Difference]) -> None:
    """What differs between the set that the plan saw and the set as it is."""
    if not found:
        console.print("the scale set is as the plan saw it")
        return
    console.print(Text("What moved since the plan was made", style="bold"))
    order = tuple(Absorb)
    for one in sorted(found, key=lambda one: order.index(one.verdict))[:MOVED]:
        line = Text(f"  {one.verdict.value:<7}", style=STYLES[one.verdict])
        line.append(f"{one.kind}: {one.subject}: found {one.found}, the plan saw {one.expected}", style="none")
        console.print(line)
    if len(found) > MOVED:
        console.print(f"  and {len(found) - MOVED} more: `--log-format json` and the journal have all")


DOES = {Absorb.REFUSE: "stop", Absorb.ABSORB: "adapt", Absorb.NOTE: "note"}


def since(console: Console, found: Found, trace: str) -> None:
    """What moved since a rollout was last looked at: rule, what is so, what was, what the rollout makes of it. trace: the command that has
    all of it.
    """
    if not found.moved:
        console.print(f"nothing moved since the last look, {when(found.since_ms)}")
        return
    counts = (f"{sum(one.verdict is verdict for one in found.moved)} {word}" for verdict, word in DOES.items())
    told = ", ".join(one for one in counts if not one.startswith("0 "))
    console.print(Text(f"What moved since the last look, {when(found.since_ms)}: {told}", style="bold"))
    for one in found.moved[:MOVED]:
        line = Text(f"  {DOES[one.verdict]:<5} ", style=STYLES[one.verdict])
        line.append(plain(f"{one.kind:<9} {one.what}: {one.found} (was {one.before}): {one.does}"), style="none")
        console.print(line, soft_wrap=True)
    if len(found.moved) > MOVED:
        console.print(f"  and {len(found.moved) - MOVED} more: {trace} has all", soft_wrap=True)


def differences(console: Console, found: Sequence[Changed]) -> None:
    """What differs between two plans."""
    if not found:
        console.print("both plans do the same")
        return
    styles = {"more": "bold red", "less": "green", "other": "none"}
    for one in found:
        line = Text(f"{one.about}: ", style="bold")
        line.append(
            plain(
                f"{one.before} -> {one.after}".strip(" ->")
                if not (one.before and one.after)
                else f"{one.before} -> {one.after}"
            )
        )
        if one.weight != "other":
            line.append(f"  ({one.weight} risk)", style=styles[one.weight])
        console.print(line, soft_wrap=True)
