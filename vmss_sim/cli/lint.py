"""`vmss-sim lint`: what can't work, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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
  vmss-sim lint --all -g GROUP
  vmss-sim lint --all --subscription ID --json

\b
With --all every scale set of a subscription, or of a group, is read from Azure and linted: a line each (--json: docs/all-json.md).
A set that cannot be read is a line with the reason.

\b
Exit status: 0 no finding of grade error, 1 errors (with --strict also warnings), 2 bad input; with --all the worst of them all, 2 where a
set could not be read.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("lint", help=HELP)
    @options.spread
    def lint(
        what: Annotated[
            str | None,
            typer.Argument(
                metavar="[PLAN|SCENARIO|SNAPSHOT]",
                help="A plan file, a scenario, or a scale set as Azure returns it.",
                show_default=False,
            ),
        ] = None,
        instances: options.InstancesFile = None,
        strict: Annotated[bool, typer.Option("--strict", help="Warnings count too.")] = False,
        as_json: options.Json = False,
        *,
        which: options.AllSets,
        azure: options.Azure,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.errors import InputError  # noqa: PLC0415
        from vmss_sim.report import console, plans  # noqa: PLC0415

        which.check(azure, {"a file": what, "--instances": instances})
        if which.every:
            _all(which, azure, strict=strict, as_json=as_json)
        if what is None:
            raise InputError("nothing to lint", "", "", "a plan, a scenario or a snapshot; or --all")
        found = _findings(what, instances)
        if as_json:
            rows = [{"subject_of": subject, **msgspec.to_builtins(one)} for subject, one in found]
            typer.echo(msgspec.json.encode({"schema": "vmss-sim/lint/1", "of": what, "findings": rows}).decode())
        else:
            plans.findings(console.out(), found)
        failing = any(one.grade == "error" or strict for _, one in found)
        raise typer.Exit(1 if failing else 0)


def _all(which: options.AllSets, azure: options.Azure, *, strict: bool, as_json: bool) -> NoReturn:
    """Every set of a subscription or a group."""
    import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

    from planner.arm_json import read_scale_set  # noqa: PLC0415
    from planner.lint import exit_status, lint_set  # noqa: PLC0415
    from vmss_sim.cli import everywhere  # noqa: PLC0415
    from vmss_sim.report import console, fleet  # noqa: PLC0415

    def judge(document: dict[str, Any]) -> fleet.Linted:
        reading = read_scale_set([("the snapshot", document)])
        return reading.scale_set, lint_set(reading.scale_set, reading.gaps)

    of, found = everywhere.judged(which, azure, "linting", judge)
    if as_json:
        typer.echo(msgspec.json.encode(fleet.lint_document(of, which.group, found)).decode())
    else:
        fleet.lint_table(console.out(), found)
    everywhere.end(found, lambda linted: exit_status(linted[1], strict=strict))


def _findings(what: str, instances: Path | None) -> list[tuple[str, Finding]]:
    """Findings, each with what it is about: the plan, the set, or a strategy's label."""
    from planner.lint import lint_plan, lint_set  # noqa: PLC0415  # heavy imports wait until a command runs
    from scenarios import build, files  # noqa: PLC0415
    from scenarios.plan_files import read_plan  # noqa: PLC0415
    from vmss_sim.study.forecast import lint_choices  # noqa: PLC0415

    path = files.find_scenario(what)
    snapshot = path.suffix.lower() == ".json" and files.is_snapshot(path)
    if not snapshot:
        options.refuse_idle({"--instances": instances}, what, "a scale set as Azure returns it beside it")
    if path.suffix.lower() == ".json":
        if not snapshot:
            return [("plan", one) for one in lint_plan(read_plan(path)[1].plan)]
        reading = files.read_snapshot([path, *([instances] if instances else [])])
        return [("set", one) for one in lint_set(reading.scale_set, reading.gaps)]
    return lint_choices(build.read(path))
