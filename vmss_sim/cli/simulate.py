"""`vmss-sim simulate`: one run, told step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vmss_sim.cli import options

HELP = """One run of one strategy, told step by step: each decision with the rule behind it, and a heatmap.

\b
Examples:
  vmss-sim simulate seed-article -s per-ud --seed 7
  vmss-sim simulate bad-image -s ramp --no-heatmap
  vmss-sim simulate mine.toml -s batch -p batch.size=3 --trace run.jsonl

\b
Exit status: the rollout's own: 0 done, 1 stopped or rolled back, 3 paused, 5 done with exceptions; 2 bad input.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("simulate", help=HELP)
    def simulate(
        scenario: Annotated[str, typer.Argument(help="A scenario file, or the name of a bundled scenario.")],
        strategy: Annotated[
            str,
            typer.Option(
                "-s", "--strategy", metavar="NAME", help="The strategy; `today` is what the set would do by itself."
            ),
        ],
        params: options.Parameters = None,
        seed: options.Seed = 1,
        replication: Annotated[int, typer.Option("--replication", min=0, help="Which replication of that seed.")] = 0,
        heatmap: Annotated[bool, typer.Option("--heatmap/--no-heatmap", help="Show the heatmap.")] = True,
        trace: Annotated[
            Path | None,
            typer.Option(
                "--trace", metavar="FILE", help="Write the journal, one JSON record a line.", show_default=False
            ),
        ] = None,
        force: options.Force = False,
        as_json: options.Json = False,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from scenarios import build, files  # noqa: PLC0415
        from scenarios.choices import Choice  # noqa: PLC0415
        from scenarios.choose import choose, known_strategies  # noqa: PLC0415
        from vmss_sim.report import console, story  # noqa: PLC0415
        from vmss_sim.study.replicate import plan_for, run  # noqa: PLC0415
        from vmss_sim.study.today import LABEL  # noqa: PLC0415

        options.refuse_existing(trace, force=force)
        known = known_strategies()
        setup = build.read(files.find_scenario(scenario))
        if strategy == LABEL:
            chosen = Choice(label=LABEL, name=LABEL, parameters={})
        else:
            chosen = choose(setup, [strategy], params or (), known).choices[0]
        made = run(setup, plan_for(setup, chosen, known), seed, replication)
        if trace is not None:
            console.write_file(
                trace, b"".join(msgspec.json.encode(record) + b"\n" for record in made.journal.records())
            )
        if as_json:
            typer.echo(msgspec.json.encode(_document(setup, made, seed, replication, chosen.label)).decode())
        else:
            out = console.out()
            out.print(f"{setup.title}: {chosen.label}, seed {seed}, replication {replication}, {setup.total} instances")
            story.tell(out, made, total=setup.total, frames=heatmap)
        end = made.plan.ends.get(made.state.ending)
        raise typer.Exit(end.exit_code if end else 3)


def _document(setup: Any, made: Any, seed: int, replication: int, label: str) -> dict[str, Any]:
    from planner.metrics import published  # noqa: PLC0415  # heavy imports wait until a command runs
    from vmss_sim.report.story import turns  # noqa: PLC0415

    return {
        "schema": "vmss-sim/simulate/1",
        "scenario": setup.title,
        "strategy": label,
        "seed": seed,
        "replication": replication,
        "ending": made.state.ending or made.state.phase.value,
        "reason": made.state.reason,
        "completed": made.row.completed,
        "breaches": list(made.row.breaches),
        "metrics": published(made.row.measures),
        "steps": [
            {
                "at_s": record.now_ms / 1000,
                "rule": note.rule,
                "text": note.text,
                "instances": list(note.ids),
                "batch": note.batch,
            }
            for record in turns(made)
            for note in record.notes
        ],
    }
