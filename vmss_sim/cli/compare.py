"""`vmss-sim compare`: which strategy keeps the service up."""

from __future__ import annotations

from typing import Annotated

import typer

from vmss_sim.cli import options

HELP = """Compare rollout strategies on a scale set and say which one to use.

\b
Examples:
  vmss-sim compare seed-article
  vmss-sim compare mine.toml -s per-ud -s batch -p batch.size=25% -n 1000
  vmss-sim compare --model show.json --instances list.json --target 22.04.202606010 \\
                   --slo 'healthy >= 80%' --ready 60s/2m
  vmss-sim compare mine.toml --json | jq .recommendation

\b
Exit status: 0 a strategy is recommended, 1 none meets the objective, 2 bad input.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("compare", help=HELP)
    @options.spread
    def compare(
        scenario: options.Scenario = None,
        strategies: options.Strategies = None,
        params: options.Parameters = None,
        replications: Annotated[int, typer.Option("-n", "--replications", min=1, help="Runs of each strategy.")] = 200,
        seed: options.Seed = 1,
        jobs: options.Jobs = 0,
        as_json: Annotated[
            bool, typer.Option("--json", help="JSON on stdout and nothing else there (docs/compare-json.md).")
        ] = False,
        details: Annotated[
            bool, typer.Option("--details", help="All metrics of every strategy, with confidence intervals.")
        ] = False,
        sensitivity: Annotated[
            bool,
            typer.Option("--sensitivity/--no-sensitivity", help="Search where the verdict would flip for each guess."),
        ] = True,
        model: options.ModelFile = None,
        *,
        beside: options.Beside,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from scenarios.choose import choose, known_strategies  # noqa: PLC0415
        from vmss_sim.report import comparison, console  # noqa: PLC0415
        from vmss_sim.study.compare import compare as study_of  # noqa: PLC0415
        from vmss_sim.study.compare import document  # noqa: PLC0415
        from vmss_sim.study.recommend import recommend  # noqa: PLC0415
        from vmss_sim.study.sensitivity import flips, worth  # noqa: PLC0415

        known = known_strategies()
        setup = choose(options.setup_from(scenario, model, beside), strategies or (), params or (), known)
        with console.progress("comparing") as progress:
            study = study_of(setup, seed=seed, replications=replications, jobs=jobs, progress=progress, known=known)
        found: dict[str, str | None] = {}
        if sensitivity:
            with console.progress("where the verdict would flip") as progress:
                found = flips(
                    setup, seed=seed, replications=worth(setup, replications), jobs=jobs, progress=progress, known=known
                )
        recommendation = recommend(study)
        if as_json:
            typer.echo(msgspec.json.encode(document(study, recommendation.document(), found)).decode())
        else:
            comparison.render(console.out(), study, recommendation, found, details=details)
        raise typer.Exit(0 if recommendation.name or recommendation.nothing else 1)
