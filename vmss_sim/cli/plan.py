"""`vmss-sim plan` and `vmss-sim show`: the vetted-plan file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import operating, options, snapshot

if TYPE_CHECKING:
    from planner.lint import Finding
    from planner.plan import Plan

PLAN = """Make the plan of one strategy: what would be done, batch by batch, with reasons, and the file that carries it.

\b
Examples:
  vmss-sim plan --scale-set /subscriptions/…/virtualMachineScaleSets/web -s batch --image-version 22.04.202606010 -o plan.json
  vmss-sim plan -g GROUP --name NAME -s per-ud --image-version 22.04.202606010 -o plan.json
  vmss-sim plan seed-article -s per-ud -o plan.json
  vmss-sim plan snapshot.json --target 22.04.202606010 -s batch -p batch.size=2 --slo 'healthy >= 80%' -o plan.json
  vmss-sim plan show.json --instances list.json --target 22.04.202606010 -s per-ud --json
  vmss-sim plan snapshot.json --run-command patch.sh --undo undo.sh -s batch -o plan.json

\b
Exit status: 0 the plan was made, 1 findings of grade error (nothing is written), 2 bad input or refused,
4 with --detailed-exitcode: made, and it changes something.
"""
SHOW = """Show a plan file: what it would do, what it may not do, and what is left behind. Verifies the digest first.

\b
Example:
  vmss-sim show plan.json
"""

DEADLINE = "10s"
NEEDS_RUNS = 20
"""Without a forecast, and with windows or freezes: as few as have a 95th percentile."""


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("plan", help=PLAN)
    @options.spread
    def plan(
        *,
        scenario: Annotated[
            str | None,
            typer.Argument(
                metavar="[SCENARIO|SNAPSHOT]",
                help="A scenario, or a scale set as Azure returns it (with --target). Else the set in Azure is named.",
                show_default=False,
            ),
        ] = None,
        which: options.PlannedSet,
        strategy: Annotated[str, typer.Option("-s", "--strategy", metavar="NAME", help="The strategy.")],
        params: options.Parameters = None,
        output: Annotated[
            Path | None,
            typer.Option("-o", "--output", metavar="FILE", help="Where the plan file goes.", show_default=False),
        ] = None,
        force: options.Force = False,
        forecast: Annotated[
            bool,
            typer.Option(
                "--forecast/--no-forecast",
                help="Simulate the plan and keep the forecast beside it. What batches need of a window is simulated in any case.",
            ),
        ] = True,
        replications: Annotated[int, typer.Option("-n", "--replications", min=1, help="Runs of the forecast.")] = 100,
        seed: options.Seed = 1,
        jobs: options.Jobs = 0,
        as_json: Annotated[
            bool, typer.Option("--json", help="The plan file on stdout and nothing else there.")
        ] = False,
        author: Annotated[
            str | None,
            typer.Option(
                "--author",
                metavar="NAME",
                help="Who makes it, and so may not approve it; you by default.",
                show_default=False,
            ),
        ] = None,
        accept_no_health: Annotated[
            bool, typer.Option("--accept-no-health", help="Go by running alone, where the set has no health source.")
        ] = False,
        gates_dry_run: Annotated[
            bool,
            typer.Option("--gates-dry-run", help="Gates only write down their verdict: nothing waits or stops for it."),
        ] = False,
        model_owner: Annotated[
            str | None,
            typer.Option(
                "--model-owner",
                metavar="terraform|bicep|none",
                help="What owns the model: prints the line to change there.",
                show_default=False,
            ),
        ] = None,
        health_hook: Annotated[
            str | None,
            typer.Option(
                "--health-hook",
                metavar="COMMAND",
                help="Does an instance serve? Asked beside what the platform says; stands in the plan.",
                show_default=False,
            ),
        ] = None,
        health_hook_replaces: Annotated[
            bool, typer.Option("--health-hook-replaces", help="Asked instead of what the platform says.")
        ] = False,
        drain_hook: Annotated[
            str | None,
            typer.Option(
                "--drain-hook", metavar="COMMAND", help="Run for an instance before it is taken.", show_default=False
            ),
        ] = None,
        verify_hook: Annotated[
            str | None,
            typer.Option(
                "--verify-hook",
                metavar="COMMAND",
                help="Asked after an instance came back, until it passes.",
                show_default=False,
            ),
        ] = None,
        hook_deadline: Annotated[
            str, typer.Option("--hook-deadline", metavar="TIME", help="No answer of a hook by then is a no.")
        ] = DEADLINE,
        window: Annotated[
            list[str] | None,
            typer.Option(
                "--window",
                metavar="TEXT",
                help="Batches start only then: 'Mon-Fri 22:00-04:00 Europe/Berlin'; several are joined.",
                show_default=False,
            ),
        ] = None,
        freeze: Annotated[
            list[str] | None,
            typer.Option(
                "--freeze",
                metavar="TEXT",
                help="And never then: '2026-12-20T00:00/2027-01-06T00:00 Europe/Berlin why'.",
                show_default=False,
            ),
        ] = None,
        on_window_close: Annotated[
            str,
            typer.Option(
                "--on-window-close", metavar="pause|wait", help="What happens when the next batch does not fit."
            ),
        ] = "pause",
        expires: Annotated[
            str | None,
            typer.Option(
                "--expires",
                metavar="TIME",
                help="From then on no rollout is begun with it: 14d. By default never; what has moved is told anyway.",
                show_default=False,
            ),
        ] = None,
        detailed_exitcode: Annotated[
            bool, typer.Option("--detailed-exitcode", help="Exit 4 when the plan changes something.")
        ] = False,
        beside: options.Beside,
        azure: options.Azure,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.planfile import encode  # noqa: PLC0415
        from planner.planfile.checks import check  # noqa: PLC0415
        from scenarios.choose import choose, known_strategies  # noqa: PLC0415
        from scenarios.probes import instance_hooks  # noqa: PLC0415
        from scenarios.windows import freeze_of, window_of  # noqa: PLC0415
        from vmss_sim.report import console, owner, plans  # noqa: PLC0415
        from vmss_sim.study.forecast import batches_p95_ms, findings_of, forecast_of, plan_to_apply  # noqa: PLC0415

        options.refuse_existing(output, force=force)
        owner.check(model_owner)
        known = known_strategies()
        setup = choose(snapshot.setup_of(which, azure, scenario, beside), [strategy], params or (), known)
        hooks = instance_hooks(health_hook, drain_hook, verify_hook, hook_deadline, replaces=health_hook_replaces)
        if hooks is None:
            options.refuse_idle(
                {"--hook-deadline": hook_deadline != DEADLINE},
                "no hook",
                "--health-hook, --drain-hook or --verify-hook",
            )
        if not (window or freeze):
            options.refuse_idle({"--on-window-close": on_window_close != "pause"}, "no window", "--window or --freeze")
        more = dict[str, Any](
            author=operating.user() if author is None else author,
            accept_no_health=accept_no_health,
            gates_dry_run=gates_dry_run,
            windows=tuple(window_of(one) for one in window or ()),
            freezes=tuple(freeze_of(one) for one in freeze or ()),
            on_window_close=on_window_close,
            expires=_expiry(expires),
        )
        bare = made = plan_to_apply(setup, setup.choices[0], known, **more)
        if hooks is not None:
            made = plan_to_apply(setup, setup.choices[0], known, hooks=hooks, **more)
        findings = findings_of(setup, setup.choices[0], made, known)
        errors = [one for one in findings if one.grade == "error"]
        if (window or freeze) and not errors:  # simulated without the hooks: a world runs no commands
            runs = replications if forecast else min(replications, NEEDS_RUNS)
            needs = batches_p95_ms(setup, bare, seed=seed, replications=runs)
            made = msgspec.structs.replace(made, needs_ms=needs)
            if not forecast:
                typer.echo(
                    f"vmss-sim: simulated {runs} times all the same: what each batch needs of a window", err=True
                )
        if not errors:
            check(made, "the plan")
        told = None
        if forecast and not errors:
            with console.progress("forecast") as progress:
                told = forecast_of(
                    setup,
                    made,
                    setup.choices[0],
                    seed=seed,
                    replications=replications,
                    jobs=jobs,
                    progress=progress,
                    known=known,
                )
        data = encode(made, told)
        if output is not None and not errors:
            console.write_file(output, data)
        if as_json and not errors:
            typer.echo(data.decode(), nl=False)
        elif not as_json:
            plans.render(console.out(), made, told, findings)
        for line in owner.lines(made, model_owner or "none"):
            typer.echo(line, err=True)
        _end(errors, made, output, detailed_exitcode=detailed_exitcode)

    @app.command("show", help=SHOW)
    def show(
        file: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="A plan file.")],
        as_json: Annotated[bool, typer.Option("--json", help="The plan itself as JSON on stdout.")] = False,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.lint import lint_plan  # noqa: PLC0415
        from scenarios.plan_files import read_plan  # noqa: PLC0415
        from vmss_sim.report import console, plans  # noqa: PLC0415

        _, read = read_plan(file)
        if as_json:
            typer.echo(msgspec.json.encode(read.plan).decode())
        else:
            plans.render(console.out(), read.plan, read.forecast, lint_plan(read.plan), sha256=read.sha256)


def _expiry(given: str | None) -> str:
    """The time from which on a plan begins nothing. Raises InputError."""
    if given is None:
        return ""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415  # seldom needed

    from planner.errors import InputError  # noqa: PLC0415
    from scenarios.timing import parse_duration_ms  # noqa: PLC0415

    lasts_ms = parse_duration_ms(given, "--expires")
    if lasts_ms < 60_000:
        raise InputError("a plan that expires at once", "--expires", given, "a time such as 14d")
    return (datetime.now(UTC) + timedelta(milliseconds=lasts_ms)).strftime("%Y-%m-%dT%H:%MZ")


def _end(errors: list[Finding], made: Plan, output: Path | None, *, detailed_exitcode: bool) -> None:
    if errors:
        for one in errors:
            typer.echo(
                f"vmss-sim: {one.code}: {one.text}; {one.fix}" if one.fix else f"vmss-sim: {one.code}: {one.text}",
                err=True,
            )
        typer.echo("vmss-sim: nothing is written: this plan cannot start or finish as things stand", err=True)
        raise typer.Exit(1)
    if output is not None:
        typer.echo(f"wrote {output}", err=True)
    changes = bool(made.batches)
    raise typer.Exit(4 if detailed_exitcode and changes else 0)
