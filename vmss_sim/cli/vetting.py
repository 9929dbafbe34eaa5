"""`vmss-sim diff` and `vmss-sim forecast`: look at plans before they are vetted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmss_sim.cli import options

if TYPE_CHECKING:
    from planner.plan import Plan
    from scenarios.build import Setup

DIFF = """What differs between two plans, in meaning: what is done, to whom, within which limits.

\b
Example:
  vmss-sim diff monday.json tuesday.json

\b
Exit status: 0 both do the same, 1 they differ, 2 bad input.
"""
FORECAST = """Simulate a plan again, and keep the forecast beside it; the plan's bytes, digest and approvals stay.

Simulated is this plan, in the world that a scenario or a snapshot (with options, as for `plan`) describes; it must be of the same set.
Without one: the set as the plan saw it, its change and its objective; timings and failures are the defaults, and listed.

\b
Examples:
  vmss-sim forecast plan.json
  vmss-sim forecast plan.json mine.toml -n 1000 -o plan.json --force
  vmss-sim forecast plan.json snapshot.json --target 22.04.202606010 --ready 60s/2m
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    _register_diff(app)
    _register_forecast(app)


def _register_diff(app: typer.Typer) -> None:
    @app.command("diff", help=DIFF)
    def diff(
        before: Annotated[Path, typer.Argument(metavar="A.JSON", help="A plan file.")],
        after: Annotated[Path, typer.Argument(metavar="B.JSON", help="Another one.")],
        as_json: options.Json = False,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.difference import difference  # noqa: PLC0415
        from scenarios.plan_files import read_plan  # noqa: PLC0415
        from vmss_sim.report import console, plans  # noqa: PLC0415

        one, two = (read_plan(path)[1] for path in (before, after))
        found = difference(one.plan, two.plan)
        if as_json:
            rows = [row._asdict() for row in found]
            whole = {"schema": "vmss-sim/diff/1", "before": one.sha256, "after": two.sha256, "differences": rows}
            typer.echo(msgspec.json.encode(whole).decode())
        else:
            plans.differences(console.out(), found)
        raise typer.Exit(1 if found else 0)


def _register_forecast(app: typer.Typer) -> None:
    @app.command("forecast", help=FORECAST)
    @options.spread
    def forecast(
        file: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="A plan file.")],
        scenario: Annotated[
            str | None,
            typer.Argument(
                metavar="[SCENARIO|SNAPSHOT]",
                help="The world it is simulated in; else what the plan itself knows.",
                show_default=False,
            ),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option(
                "-o", "--output", metavar="FILE", help="Where the plan file with the forecast goes.", show_default=False
            ),
        ] = None,
        force: options.Force = False,
        replications: Annotated[int, typer.Option("-n", "--replications", min=1, help="Runs.")] = 100,
        seed: options.Seed = 1,
        as_json: options.Json = False,
        *,
        beside: options.Beside,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.planfile import with_forecast  # noqa: PLC0415
        from scenarios.plan_files import read_plan  # noqa: PLC0415
        from vmss_sim.report import console, plans  # noqa: PLC0415
        from vmss_sim.study.forecast import forecast_plan  # noqa: PLC0415

        options.refuse_existing(output, force=force)
        data, read = read_plan(file)
        setup = options.setup_from(scenario, None, beside) if scenario else _world_of(read.plan, str(file), beside)
        with console.progress("forecast") as progress:
            told = forecast_plan(setup, read.plan, seed=seed, replications=replications, progress=progress)
        if output is not None:
            console.write_file(output, with_forecast(data, told, str(file)))
        if as_json:
            typer.echo(msgspec.json.encode(told).decode())
        else:
            plans.forecast_table(console.out(), told)


def _world_of(plan: Plan, where: str, beside: options.Beside) -> Setup:
    """What the plan knows; of what may be said beside a snapshot only the time to ready says something more."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs
    from scenarios.from_plan import setup_of  # noqa: PLC0415

    given = options.named({**asdict(beside), "ready": None})
    used = [name for name, value in given.items() if value is not None]
    if used:
        raise InputError(
            "the plan says this itself", ", ".join(used), where, "--ready, or a scenario or snapshot beside it"
        )
    return setup_of(plan, where, ready=beside.ready)
