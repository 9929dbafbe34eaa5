"""`vmss-sim init`: a commented scenario from what people have."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vmss_sim.cli import options

HELP = """Write a commented scenario from what Azure returns, a load and an objective.

\b
The two files (read-only commands):
  az vmss show -g GROUP -n NAME > show.json
  az vmss list-instances -g GROUP -n NAME --expand instanceView > list.json

\b
Examples:
  vmss-sim init --model show.json --instances list.json --target 22.04.202606010 -o s.toml
  vmss-sim init --model show.json --instances list.json --target 22.04.202606010 \\
                --load load.csv --per-vm 150 --time-zone Europe/Berlin \\
                --slo 'healthy >= 80% and duration <= 2h' --ready 60s/2m -o s.toml

What the files did not say, and what was assumed, is listed on stderr and stands in the file.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("init", help=HELP)
    @options.spread
    def init(
        model: options.ModelFile = None,
        *,
        beside: options.Beside,
        output: Annotated[
            Path | None,
            typer.Option(
                "-o",
                "--output",
                metavar="FILE",
                help="Where to; without it the scenario goes to stdout.",
                show_default=False,
            ),
        ] = None,
        force: options.Force = False,
    ) -> None:
        from scenarios.init import Options, draft  # noqa: PLC0415  # heavy imports wait until a command runs
        from vmss_sim.report.console import err, write_file  # noqa: PLC0415

        options.refuse_existing(output, force=force)
        folder = output.parent if output is not None else Path.cwd()
        made = draft(Options(model=model, **asdict(beside)), folder)
        if output is None:
            typer.echo(made.text, nl=False)
        else:
            write_file(output, made.text.encode())
        aside = err()
        for gap in made.gaps:
            aside.print(
                f"the files did not say: {gap.says}" + (f" ({gap.supply})" if gap.supply else ""), soft_wrap=True
            )
        for one in made.assumed:
            if one.origin != "yours":
                aside.print(f"assumed: {one.name}: {one.value} ({one.origin}; {one.key})", soft_wrap=True)
        if output is not None:
            aside.print(f"wrote {output}; next: vmss-sim compare {output}", soft_wrap=True)
