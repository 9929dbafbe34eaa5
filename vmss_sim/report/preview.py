"""What the platform itself would do, for people: the batches, what stops them, what to expect, what lint finds."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from planner.lint.wording import names, share
from scenarios.given import Assumption
from vmss_sim.report.comparison import clock
from vmss_sim.report.console import table
from vmss_sim.report.plans import findings
from vmss_sim.report.words import WORDS
from vmss_sim.study.own import Simulated
from vmss_sim.study.preview import ERRORS, MODEL_UPDATE, Foreseen, Outcome, Preview

SHOWN, HEAD, TAIL = 24, 12, 4  # batches: all up to SHOWN, else the first and the last ones


def render(console: Console, preview: Preview, simulated: Sequence[Simulated | None], *, details: bool = False) -> None:
    """Everything `preview` prints."""
    setup = preview.setup
    model = setup.scale_set.model
    console.print(Text(f"What Azure itself would do with {model.name}", style="bold"))
    console.print(Text(f"{setup.total} instances, mode {model.mode.value.capitalize()}. The change: {preview.change}."))
    for one, expected in zip(preview.rollouts, simulated, strict=True):
        console.print()
        _rollout(console, one, expected, preview, details=details)
    console.print()
    if preview.findings:
        console.print(Text("Findings", style="bold"))
        findings(console, [("set", one) for one in preview.findings])
        console.print()
    _assumptions(console, preview.assumptions)
    for gap in setup.gaps:
        supply = f" ({gap.supply})" if gap.supply else ""
        console.print(Text(f"the files did not say: {gap.says}{supply}", style="yellow"))


def _rollout(console: Console, one: Foreseen, expected: Simulated | None, preview: Preview, *, details: bool) -> None:
    style = "bold red" if one.outcome in ERRORS else "bold green" if one.outcome is Outcome.CAN_COMPLETE else "bold"
    console.print(Text(f"{one.title}: {one.says}.", style=style))
    _line(console, one.starts)
    if one.gates:
        console.print(_batches(one, preview, details=details))
    elif one.batches:
        _line(console, f"Instances: {names(one.batches[0].ids, 40)}.")
        _line(console, f"Serving meanwhile: {share(one.serving[0], preview.setup.total)}.")
    if expected is not None:
        _expected(console, expected)
    for heading, lines in one.tells:
        console.print(Text(heading, style="bold"))
        for line in lines:
            _line(console, line)
    if one.outcome is Outcome.TOUCHES_NOTHING and one.kind == MODEL_UPDATE:
        _line(console, "What Azure would do in another mode: --mode rolling, or --mode automatic.")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, 2), expand=False))


def _batches(one: Foreseen, preview: Preview, *, details: bool) -> object:
    zones = any(batch.zone is not None for batch in one.batches)
    domains = any(batch.update_domain is not None for batch in one.batches)
    phases = any(batch.phase is not None for batch in one.batches)
    columns = ["batch", "instances", *(["phase"] if phases else []), *(["zone"] if zones else [])]
    columns += [*(["update\ndomain"] if domains else []), "serving\nmeanwhile", "upgraded\nthen", "of them\nmay fail"]
    made = table(*columns)
    for column in made.columns:
        column.justify = "left" if column.header == "instances" else "right"
    after = [gate for gate in one.gates if gate.rule == "after-batch"]
    total = preview.setup.total
    rows = list(range(len(one.batches)))
    shown = rows if details or len(rows) <= SHOWN else [*rows[:HEAD], -1, *rows[-TAIL:]]
    for index in shown:
        if index == -1:
            made.add_row("…", f"{len(rows) - HEAD - TAIL} more (--details)")
            continue
        batch, gate = one.batches[index], after[index]
        mark = " (unhealthy, first)" if batch.unhealthy_first else ""
        made.add_row(
            str(index + 1),
            names(batch.ids, len(batch.ids) if details else 8) + mark,
            *([_known(batch.phase)] if phases else []),
            *([_known(batch.zone)] if zones else []),
            *([_known(batch.update_domain)] if domains else []),
            f"{one.serving[index]} of {total}",
            str(gate.of),
            Text(str(gate.allowed), style="" if gate.allowed else "yellow"),
        )
    return made


def _known(value: object) -> str:
    return "-" if value is None else str(value)


def _expected(console: Console, expected: Simulated) -> None:
    console.print(Text(f"What to expect ({expected.replications} simulated runs, seed {expected.seed})", style="bold"))
    made = table("", "typical", "1 in 20\nis worse", "mean")
    for column in made.columns[1:]:
        column.justify = "right"
    for name, value in expected.metrics.items():
        worse = value.p05 if name in ("min_healthy", "availability") else value.p95
        made.add_row(WORDS[name], *(_cell(name, one) for one in (value.p50, worse, value.mean)))
    console.print(made)
    share_of = expected.completed
    interval = f" (95 % interval {share_of.ci95[0]:.1%} to {share_of.ci95[1]:.1%})" if share_of.ci95 else ""
    says = f"In {share_of.estimate or 0:.1%} of the runs everything is upgraded and serves{interval}."
    _line(console, says, "bold red" if expected.never_ends_well else "")
    for ending, count in expected.endings.items():
        _line(console, f"{count} of {expected.replications} runs: {ending}.")


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "min_healthy":
        return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    if name == "availability":
        return f"{value:.3%}"
    return f"{value:.0f}" if name.endswith("vm_s") else clock(value)


def _assumptions(console: Console, assumptions: Sequence[Assumption]) -> None:
    made = table("this rests on", "value", "origin", "settle it with")
    for one in assumptions:
        guess = one.origin == "guessed"
        made.add_row(one.name, one.value, Text(one.origin, style="yellow" if guess else ""), one.key if guess else "")
    console.print(made)
