"""`vmss-sim`: the front door. Commands stand in the files beside this one; what is heavy is imported when it runs.

Exit codes, one table for all commands: 0 done or nothing to do; 1 failed, stopped by a gate, or findings; 2 bad input,
refused, or it could not begin (Azure or the store does not answer), nothing sent; 3 paused or detached; 4 changes pending;
5 done with exceptions. A platform that fails once a rollout is carried out never comes this far: its executor detaches.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from vmss_sim.cli import (
    apply,
    approve,
    calibrate,
    compare,
    emulate,
    init,
    lint,
    plan,
    preview,
    recover,
    rollouts,
    scenarios,
    simulate,
    snapshot,
    vetting,
)

HELP = """Roll an OS upgrade through an Azure VM scale set without taking the service down, and know it beforehand.

\b
Start here:
  vmss-sim scenarios                     what is bundled
  vmss-sim compare seed-article          which strategy keeps the service up
  vmss-sim simulate seed-article -s per-ud --seed 1
  vmss-sim preview show.json             what Azure itself would do with this set
  vmss-sim init --model show.json --instances list.json --target VERSION -o mine.toml
  vmss-sim snapshot -g GROUP -n NAME -o show.json
  vmss-sim calibrate operations.csv -o mine.timings.toml
  vmss-sim plan show.json --target VERSION -s per-ud -o plan.json
  vmss-sim apply plan.json               carry it out; then status, pause, resume, …
  vmss-sim emulate seed-article         az and the SDKs against a scale set on this machine

\b
Exit codes: 0 done, 1 failed or findings, 2 bad input, refused or could not begin
(nothing sent), 3 paused, 4 changes pending, 5 done with exceptions.
"""

app = typer.Typer(
    name="vmss-sim",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    compare,
    simulate,
    preview,
    plan,
    vetting,
    approve,
    apply,
    rollouts,
    recover,
    lint,
    init,
    calibrate,
    emulate,
    scenarios,
    snapshot,
):
    group.register(app)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415  # only when asked

        typer.echo(f"vmss-sim {version('vmss-sim')}")
        raise typer.Exit


@app.callback()
def _root(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """See HELP; a callback without a text of its own."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command; every expected error is one line on stderr and an exit code, never a traceback."""
    from planner.errors import InputError, PlannerBug, PlatformError  # noqa: PLC0415  # after the help

    try:
        app(args=arguments)
    except (InputError, PlatformError) as error:
        _fail(str(error), 2)
    except PlannerBug as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader (head, less) went away: that is not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(f"the output cannot be written: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written", 130)


def _fail(text: str, status: int) -> None:
    line = " ".join(text.split())
    print(f"vmss-sim: {line}", file=sys.stderr)
    sys.exit(status)
