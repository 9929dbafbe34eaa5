"""`vmss-sim preview`: what Azure's own orchestrator would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vmss_sim.cli import options

if TYPE_CHECKING:
    from scenarios.build import Setup
    from vmss_sim.study.preview import Preview

HELP = """What Azure itself would do with this set: batches, what stops it, how long it takes, what keeps serving.

Nothing is sent anywhere. It follows the set's present upgrade mode and policy, and automatic OS upgrade where that is on.
Without --target, what is behind the model is the change, else the next image, whatever it is.

\b
Examples:
  vmss-sim preview show.json --instances list.json
  vmss-sim preview show.json --instances list.json --target 22.04.202606010 --ready 45s/90s
  vmss-sim preview show.json --instances list.json --mode rolling
  vmss-sim preview zonal-rolling --count-in-flight
  vmss-sim preview zonal-rolling --json | jq '.rollouts[].batches'
  vmss-sim preview --all -g GROUP

\b
With --all every scale set of a subscription, or of a group, is read from Azure: a line each (--json: docs/all-json.md). A set that cannot be
read is a line with the reason.

\b
Exit status: 0 it can complete, 1 it would be refused, fail or not finish (also: in every simulated run), or a finding of
grade error, 2 bad input; with --all the worst of them all, 2 where a set could not be read, or has no instances.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("preview", help=HELP)
    @options.spread
    def preview(
        scenario: Annotated[
            str | None,
            typer.Argument(
                metavar="[SNAPSHOT|SCENARIO]",
                help="A scale set as Azure returns it, a scenario file, or the name of a bundled scenario.",
                show_default=False,
            ),
        ] = None,
        mode: Annotated[
            str | None,
            typer.Option(
                "--mode",
                metavar="MODE",
                help="As if the set were in this mode: automatic, manual or rolling.",
                show_default=False,
            ),
        ] = None,
        count_in_flight: Annotated[
            bool,
            typer.Option(
                "--count-in-flight",
                help="As if Azure counted VMs in flight as unhealthy. Not documented; recordings say it does not.",
            ),
        ] = False,
        replications: Annotated[
            int, typer.Option("-n", "--replications", min=0, help="Simulated runs of each rollout; 0: none.")
        ] = 200,
        seed: options.Seed = 1,
        jobs: options.Jobs = 0,
        details: Annotated[bool, typer.Option("--details", help="Every batch, with all its instances.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="JSON on stdout and nothing else there (docs/preview-json.md).")
        ] = False,
        model: options.ModelFile = None,
        *,
        beside: options.Beside,
        which: options.AllSets,
        azure: options.Azure,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from vmss_sim.report import console  # noqa: PLC0415
        from vmss_sim.report.preview import render  # noqa: PLC0415
        from vmss_sim.study.own import fails, simulate  # noqa: PLC0415
        from vmss_sim.study.preview import foresee  # noqa: PLC0415
        from vmss_sim.study.preview_document import document  # noqa: PLC0415
        from vmss_sim.study.what_if import as_if_in  # noqa: PLC0415

        alone = {"a file": scenario, "--model": model, "--details": details, **options.named(asdict(beside))}
        which.check(azure, {name: value for name, value in alone.items() if name not in ("--ready", "--slo")})

        def look(scenario: str | None, model: Path | None) -> Preview:
            setup, assumed = _setup(scenario, model, beside)
            if mode is not None:
                setup = as_if_in(setup, mode)
            return foresee(setup, change_assumed=assumed, count_in_flight=count_in_flight)

        if which.every:
            _all(which, azure, look, seed=seed, replications=replications, jobs=jobs, as_json=as_json)
        made = look(scenario, model)
        with console.progress("simulating") as progress:
            simulated = simulate(made, seed=seed, replications=replications, jobs=jobs, progress=progress)
        if as_json:
            typer.echo(msgspec.json.encode(document(made, simulated)).decode())
        else:
            render(console.out(), made, simulated, details=details)
        raise typer.Exit(1 if fails(made, simulated) else 0)


def _all(
    which: options.AllSets,
    azure: options.Azure,
    look: Callable[[str | None, Path | None], Preview],
    *,
    seed: int,
    replications: int,
    jobs: int,
    as_json: bool,
) -> NoReturn:
    """Every set of a subscription or a group."""
    import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

    from vmss_sim.cli import everywhere, snapshot  # noqa: PLC0415
    from vmss_sim.report import console, fleet  # noqa: PLC0415
    from vmss_sim.study.own import fails, simulate  # noqa: PLC0415

    def judge(document: dict[str, Any]) -> fleet.Previewed:
        with snapshot.as_file(document) as path:
            made = look(None, path)
        return made, simulate(made, seed=seed, replications=replications, jobs=jobs)

    of, found = everywhere.judged(which, azure, "previewing", judge)
    if as_json:
        typer.echo(msgspec.json.encode(fleet.preview_document(of, which.group, found)).decode())
    else:
        fleet.preview_table(console.out(), found)
    everywhere.end(found, lambda one: int(fails(*one)))


def _setup(scenario: str | None, model: Path | None, beside: options.Beside) -> tuple[Setup, bool]:
    """The set and the change, and whether the change is assumed since nobody said one."""
    from dataclasses import replace  # noqa: PLC0415  # heavy imports wait until a command runs

    from scenarios import files  # noqa: PLC0415
    from vmss_sim.study.what_if import assumed_target  # noqa: PLC0415

    path = model if scenario is None else files.find_scenario(scenario)
    snapshot = path is not None and (scenario is None or files.is_snapshot(path))
    if beside.changes or path is None or not snapshot:
        return options.setup_from(scenario, model, beside), False
    paths = [path, *([beside.instances] if beside.instances else [])]
    target = assumed_target(files.read_snapshot(paths).scale_set)
    return options.setup_from(scenario, model, replace(beside, target=target)), target is not None
