"""`vmss-sim recover`: go on with a rollout whose journal is lost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import operating, options

if TYPE_CHECKING:
    from planner.planfile import PlanFile
    from planner.recovery import Recovery

HELP = """Rebuild where a rollout stands from its plan and the set, when its journal is lost; print what nobody can know any more; ask; go on.

Where the journal is there, `resume` goes on with it, and this refuses.

\b
Examples:
  vmss-sim recover plan.json
  vmss-sim recover plan.json --yes --require-approvals 1 --added none
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("recover", help=HELP)
    @options.spread
    def recover(
        file: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="The plan that was applied.")],
        store: operating.StoreName = None,
        yes: operating.Yes = False,
        added: Annotated[
            str | None,
            typer.Option(
                "--added",
                metavar="ID,ID…|none",
                help="Of a surge: which of the instances that the plan did not see it added.",
                show_default=False,
            ),
        ] = None,
        require_approvals: operating.RequireApprovals = 0,
        *,
        running: operating.Running,
        reach: options.Azure,
    ) -> None:
        from backends import approvals, operate, probes  # noqa: PLC0415  # heavy imports wait until a command runs
        from backends.where import where_of  # noqa: PLC0415
        from planner.errors import InputError  # noqa: PLC0415
        from scenarios.plan_files import read_plan  # noqa: PLC0415

        running.check()
        data, read = read_plan(file)
        kept = reach.opened(store)
        where = where_of(asdict(reach))
        known = operate.latest(kept, read, where)
        again = known is not None and operate.broken_off(*known)
        if known is not None and not (again or operate.has_ended(known[1])):
            raise InputError(
                "its journal is there",
                kept.name,
                known[0].id,
                "",
                f"{operating.told('resume', kept, known[0])} goes on with it",
            )
        approvals.check(kept, read, require_approvals)
        probes.check(read.plan)
        backend = operating.open_world(read, reach)
        found = _look(read, backend, added)
        if found.refused:
            what = "this rollout cannot be recovered"
            raise InputError(what, read.plan.scale_set.name, found.refused, "", f"{found.todo}; nothing was sent")
        operating.confirm(
            f"Go on with {read.plan.scale_set.id or read.plan.scale_set.name} from what it shows?", yes=yes
        )
        if known is not None and again:
            entry, held = known[0], operate.take(kept, known[0], says=operating.say)
        else:
            tool = f"{read.plan.tool}{operate.RECOVERED}"
            entry, held = operate.begin(kept, read, data, tool, where=where, says=operating.say)
        operating.say(f"rollout {entry.id} in {kept.name}")
        status = operating.carry_on(
            kept, entry, read, reach, running, backend=backend, held=held, recovered=found.state
        )
        raise typer.Exit(status)


def _look(read: PlanFile, backend: Any, added: str | None) -> Recovery:
    """What the set shows, printed, and what cannot be known."""
    from planner.recovery import recover  # noqa: PLC0415  # heavy imports wait until a command runs

    seen = backend.observe()
    said = None if added is None else tuple(one.strip() for one in added.split(",") if one.strip() not in ("", "none"))
    found = recover(read.plan, seen.scale_set, seen.now_ms, said)
    typer.echo("What the set shows")
    for line in found.shows:
        typer.echo(f"  {line}")
    typer.echo("What nobody can know any more")
    for line in found.unknown:
        typer.echo(f"  {line}")
    return found
