"""`vmss-sim snapshot`: a real scale set as a file. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import operating, options

if TYPE_CHECKING:
    from scenarios.build import Setup

SNAPSHOT = """Read a scale set from Azure into a file: its model, all instances with instance view, the state of automatic repairs, the
platform's last rollout. Reads only. The file is what preview, init, compare, plan and lint take.

\b
Examples:
  vmss-sim snapshot -g GROUP -n NAME -o snapshot.json
  vmss-sim snapshot --scale-set /subscriptions/…/virtualMachineScaleSets/web -o snapshot.json
  vmss-sim snapshot -g GROUP -n NAME --endpoint https://localhost:8443 --ca ca.pem

\b
Left out: protected settings, user data, keys, and the settings of extensions other than the health extension.
Exit status: 0 done, 2 bad input or refused, or Azure does not answer.
"""


PATIENCE_S = 60


def taken(which: options.WhichSet, azure: options.Azure, *, scripts: bool = False) -> dict[str, Any]:
    """A set as it is now. Reads only. scripts: also which ran inside its VMs. Raises InputError and PlatformError."""
    from backends.azure import connect  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.azure.snapshot import snapshot  # noqa: PLC0415

    backend = connect(which.id(), **asdict(azure), says=operating.say, patience_s=PATIENCE_S)
    try:
        return snapshot(backend.documents(scripts=scripts))
    finally:
        backend.close()


def setup_of(which: options.WhichSet, azure: options.Azure, scenario: str | None, beside: options.Beside) -> Setup:
    """The scenario or snapshot of a command line, or a set in Azure as it is now. Raises InputError where it is neither, or both."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    of_set, reach = (
        [name for name, value in options.named(asdict(given)).items() if value is not None] for given in (which, azure)
    )
    if not of_set:
        if reach:
            raise InputError(
                "this is said of a set in Azure", ", ".join(reach), scenario or "no set", "--scale-set ID beside it"
            )
        if scenario is None:
            raise InputError(
                "nothing to plan for",
                "",
                "no scale set",
                "--scale-set ID, or a scenario, or a snapshot (`vmss-sim snapshot`)",
            )
        return options.setup_from(scenario, None, beside)
    if scenario is not None or beside.instances is not None:
        found = scenario or "--instances"
        raise InputError("the scale set is said twice", ", ".join(of_set), found, "a set in Azure, or a file")
    with as_file(taken(which, azure, scripts=beside.run_command is not None)) as path:
        return options.setup_from(str(path), None, beside)


@contextmanager
def as_file(document: dict[str, Any]) -> Iterator[Path]:
    """A set that was read, where commands look for one: in a file, without secrets, gone after the `with`, which no message names."""
    import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

    from planner.errors import InputError  # noqa: PLC0415

    with TemporaryDirectory(prefix="vmss-sim-") as folder:
        path = Path(folder) / "snapshot.json"
        path.write_bytes(msgspec.json.encode(document))
        try:
            yield path
        except InputError as error:
            where = error.where.replace(str(path), "the set")
            raise InputError(error.what, where, error.found, error.expected, error.fix) from error


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
        run_commands: Annotated[
            bool,
            typer.Option(
                "--run-commands", help="Also which scripts of `plan --run-command` each VM has: a request an instance."
            ),
        ] = False,
        azure: options.Azure,
    ) -> None:
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from planner.arm_json import read_scale_set  # noqa: PLC0415

        options.refuse_existing(output, force=force)
        made = taken(which, azure, scripts=run_commands)
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
