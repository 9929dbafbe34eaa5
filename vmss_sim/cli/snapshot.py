"""`vmss-sim snapshot`: a real scale set as a file. Reads only."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vmss_sim.cli import operating, options

SNAPSHOT = """Read a scale set from Azure into a file: its model, all instances with instance view, the state of automatic repairs, the
platform's last rollout. Reads only. The file is what preview, init, compare, plan and lint take.

\b
Examples:
  vmss-sim snapshot -g GROUP -n NAME -o snapshot.json
  vmss-sim snapshot --scale-set /subscriptions/…/virtualMachineScaleSets/web -o snapshot.json
  vmss-sim snapshot -g GROUP -n NAME --endpoint https://localhost:8443 --ca ca.pem

\b
Left out: protected settings, user data, keys, and the settings of extensions other than the health extension.
Exit status: 0 done, 1 Azure failed, 2 bad input or refused.
"""


PATIENCE_S = 60


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("snapshot", help=SNAPSHOT)
    @options.spread
    def snapshot(
        *,
        which: options.WhichSet,
        output: Annotated[
            Path | None,
            typer.Option("-o", "--output", metavar="FILE", help="Where it goes; else stdout.", show_default=False),
        ] = None,
        force: options.Force = False,
        azure: options.Azure,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from backends.azure import connect  # noqa: PLC0415
        from backends.azure.snapshot import snapshot as take  # noqa: PLC0415
        from planner.arm_json import read_scale_set  # noqa: PLC0415

        options.refuse_existing(output, force=force)
        backend = connect(which.id(), **asdict(azure), says=operating.say, patience_s=PATIENCE_S)
        made = take(backend.documents())
        backend.close()
        reading = read_scale_set([("the snapshot", made)])
        text = msgspec.json.format(msgspec.json.encode(made), indent=2).decode() + "\n"
        if output is None:
            typer.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8")
        model = reading.scale_set.model
        typer.echo(
            f"{model.name}: {len(reading.scale_set.instances)} instances, {model.orchestration.value}, mode {model.mode.value}"
            + (f"; written to {output}" if output else ""),
            err=True,
        )
        for gap in reading.gaps:
            typer.echo(f"  {gap.says}", err=True)
