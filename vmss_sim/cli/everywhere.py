"""What `lint --all` and `preview --all` have in common: sets in Azure, read one after another, and judged as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from vmss_sim.cli import operating, options
from vmss_sim.cli.snapshot import PATIENCE_S

if TYPE_CHECKING:
    from backends.azure.fleet import Taken

Judged = TypeVar("Judged")


def judged(
    which: options.AllSets, azure: options.Azure, says: str, judge: Callable[[dict[str, Any]], Judged]
) -> tuple[str, list[tuple[Taken, Judged | None]]]:
    """The subscription, and every set with what it is judged to be; None where it could not be read, or not be judged."""
    import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

    from backends.azure import connect_fleet  # noqa: PLC0415
    from backends.azure.clouds import subscription  # noqa: PLC0415
    from backends.emulator_clock import sleeper_for  # noqa: PLC0415
    from planner.errors import InputError, PlannerBug  # noqa: PLC0415
    from vmss_sim.report import console  # noqa: PLC0415

    of = subscription(which.subscription)
    reach = {**asdict(azure), "sleeper": sleeper_for(azure.endpoint), "says": operating.say, "patience_s": PATIENCE_S}
    found: list[tuple[Taken, Judged | None]] = []
    with closing(connect_fleet(of, which.group or "", **reach)) as fleet:
        listed = fleet.listed()
        with console.progress(says) as progress:
            for taken in fleet.each(listed):
                made = None
                if taken.document is not None:
                    try:
                        made = judge(taken.document)
                    except (InputError, PlannerBug) as error:  # one set's trouble keeps no other's line away
                        taken = msgspec.structs.replace(taken, short=error.what, why=str(error))  # noqa: PLW2901  # the same, and why
                found.append((msgspec.structs.replace(taken, document=None), made))
                progress(len(found), len(listed))
    return of, found


def end(found: Sequence[tuple[Taken, Judged | None]], status: Callable[[Judged], int]) -> NoReturn:
    """Exit with the worst of what each set alone would exit with: 2 where one could not be read; one that is gone is no matter."""
    left = (judged for taken, judged in found if not taken.gone)
    raise typer.Exit(max((2 if judged is None else status(judged) for judged in left), default=0))
