"""`vmss-sim calibrate`: timings and failure rates out of one's own history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from vmss_sim.cli import options

HELP = """Fit timings and failure rates to a history of your own operations, with how far they are to be believed.

A FILE is known by its content, .gz is unpacked:
a CSV with the columns operation and seconds (and os, status, instances, started, if there are),
what `az vmss get-os-upgrade-history` or `az monitor activity-log list -o json` prints,
or the journal of an earlier rollout (SQLite, or `simulate --trace`).

\b
Examples:
  vmss-sim calibrate operations.csv -o mine.timings.toml
  vmss-sim calibrate activity-log.json os-upgrade-history.json --os linux -o mine.timings.toml
  vmss-sim calibrate operations.csv --since 2026-01-01 --plot fit.svg
  vmss-sim calibrate run.jsonl --json

\b
A scenario takes the file by
  [timing]
  file = "mine.timings.toml"

\b
At least: 5 operations for anything, 20 for a curve, 40 for a curve with two humps; 20 VMs for a failure rate.
Exit status: 0 all fitted, 1 nothing could be fitted (nothing is written), 2 bad input, 5 some had too few operations.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("calibrate", help=HELP)
    def calibrate(
        files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Histories; they are put together.")],
        system: Annotated[
            str | None,
            typer.Option(
                "--os", metavar="OS", help="linux or windows, of what does not say its own.", show_default=False
            ),
        ] = None,
        since: Annotated[
            str | None,
            typer.Option(
                "--since", metavar="DATE", help="Leave out what is dated earlier: 2026-01-31.", show_default=False
            ),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option("-o", "--output", metavar="FILE", help="Where the timing file goes.", show_default=False),
        ] = None,
        plot: Annotated[
            Path | None,
            typer.Option(
                "--plot",
                metavar="FILE",
                help="Where a picture of fit and data goes, .svg or .png; needs the extra `plot`.",
                show_default=False,
            ),
        ] = None,
        force: options.Force = False,
        as_json: options.Json = False,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.errors import InputError  # noqa: PLC0415
        from vmss_sim.report import calibration, calibration_plot, console  # noqa: PLC0415
        from vmss_sim.study.calibrate import writing  # noqa: PLC0415
        from vmss_sim.study.calibrate.calibration import calibrate as fit_all  # noqa: PLC0415
        from vmss_sim.study.calibrate.reading import read  # noqa: PLC0415

        for path in (output, plot):
            options.refuse_existing(path, force=force)
        if system not in (None, "linux", "windows"):
            raise InputError("unknown system", "--os", repr(system), "linux or windows")
        kind = "" if plot is None else calibration_plot.check(plot)
        named = cast(Literal["linux", "windows", "unknown"], system or "unknown")
        made = fit_all([read(path) for path in files], os=named, since=_date(since))
        if as_json:
            typer.echo(msgspec.json.encode(calibration.document(made)).decode())
        else:
            calibration.render(console.out(), made)
        if plot is not None and made.timings:
            console.write_file(plot, calibration_plot.draw(made, kind))
            typer.echo(f"wrote {plot}", err=True)
        if not made.written:
            typer.echo("vmss-sim: nothing could be fitted", err=True)
            raise typer.Exit(1)
        if output is not None:
            console.write_file(output, writing.document(made).encode())
            typer.echo(f"wrote {output}", err=True)
        raise typer.Exit(5 if made.exceptions else 0)


def _date(text: str | None) -> str:
    from datetime import date  # noqa: PLC0415  # heavy imports wait until a command runs

    from planner.errors import InputError  # noqa: PLC0415

    if text is None:
        return ""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise InputError("not a date", "--since", repr(text), "2026-01-31") from error
