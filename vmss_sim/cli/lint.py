"""`vmss-sim lint`: what can't work, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmss_sim.cli import options

if TYPE_CHECKING:
    from planner.lint import Finding

HELP = """Find what cannot work before anything runs, in stable codes (docs/lint.md).

\b
Examples:
  vmss-sim lint plan.json
  vmss-sim lint mine.toml
  vmss-sim lint show.json --instances list.json
  vmss-sim lint mine.toml --json --strict

\b
Exit status: 0 no finding of grade error, 1 errors (with --strict also warnings), 2 bad input.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("lint", help=HELP)
    def lint(
        what: Annotated[
            str,
            typer.Argument(
                metavar="PLAN|SCENARIO|SNAPSHOT", help="A plan file, a scenario, or a scale set as Azure returns it."
            ),
        ],
        instances: options.InstancesFile = None,
        strict: Annotated[bool, typer.Option("--strict", help="Warnings count too.")] = False,
        as_json: options.Json = False,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from vmss_sim.report import console, plans  # noqa: PLC0415

        found = _findings(what, instances)
        if as_json:
            rows = [{"subject_of": subject, **msgspec.to_builtins(one)} for subject, one in found]
            typer.echo(msgspec.json.encode({"schema": "vmss-sim/lint/1", "of": what, "findings": rows}).decode())
        else:
            plans.findings(console.out(), found)
        failing = any(one.grade == "error" or strict for _, one in found)
        raise typer.Exit(1 if failing else 0)


def _findings(what: str, instances: Path | None) -> list[tuple[str, Finding]]:
    """Findings, each with what it is about: the plan, the set, or a strategy's label."""
    from planner.lint import lint_plan, lint_set  # noqa: PLC0415  # heavy imports wait until a command runs
    from planner.planfile import decode  # noqa: PLC0415
    from scenarios import build, files  # noqa: PLC0415
    from vmss_sim.study.forecast import lint_choices  # noqa: PLC0415

    path = files.find_scenario(what)
    if path.suffix.lower() == ".json":
        if not files.is_snapshot(path):
            return [("plan", one) for one in lint_plan(decode(files.read_bytes(path), what).plan)]
        reading = files.read_snapshot([path, *([instances] if instances else [])])
        return [("set", one) for one in lint_set(reading.scale_set, reading.gaps)]
    return lint_choices(build.read(path))
