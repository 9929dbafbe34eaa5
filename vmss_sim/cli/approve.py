"""`vmss-sim approve`: somebody else than the author says that a plan, or the next batch of a rollout, may go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmss_sim.cli import asking, operating, options

HELP = """Approve a plan, by its digest, for a time; or, with a rollout's id, its next batch.

The author of a plan approves neither it nor its batches. `apply --require-approvals N` counts. An approval is no signature: whoever may write to the
store may write one.

\b
Examples:
  vmss-sim approve plan.json --reason 'change 4711' --expires 12h
  vmss-sim approve plan.json --list
  vmss-sim approve web-1a2b3c4d --by carol --reason 'the first batch looks well'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("approve", help=HELP)
    @options.spread
    def approve(
        what: Annotated[str, typer.Argument(metavar="PLAN.JSON|ROLLOUT", help="A plan file, or a rollout that waits.")],
        store: operating.StoreName = None,
        by: Annotated[
            str | None, typer.Option("--by", metavar="NAME", help="Who approves; you by default.", show_default=False)
        ] = None,
        expires: Annotated[
            str | None,
            typer.Option(
                "--expires",
                metavar="TIME",
                help="How long a plan's approval counts: 24h by default.",
                show_default=False,
            ),
        ] = None,
        reason: operating.Reason = None,
        only_list: Annotated[
            bool, typer.Option("--list", help="List a plan's approvals, and approve nothing.")
        ] = False,
        *,
        login: options.Login,
    ) -> None:
        from backends import approvals  # noqa: PLC0415  # heavy imports wait until a command runs
        from planner.errors import InputError  # noqa: PLC0415
        from planner.rollout import Asked  # noqa: PLC0415
        from scenarios.plan_files import read_plan  # noqa: PLC0415
        from scenarios.timing import parse_duration_ms  # noqa: PLC0415
        from vmss_sim.report.times import when  # noqa: PLC0415

        if not what.endswith(".json"):
            wrong = [name for name, given in (("--expires", expires), ("--list", only_list)) if given]
            if wrong:
                raise InputError("a batch is approved once", ", ".join(wrong), what, "a plan file, for these options")
            asking.ask(Asked.APPROVE, login.opened(store), what, reason or "", by=by or "")
            return
        if only_list:
            options.refuse_idle(
                {"--by": by, "--expires": expires, "--reason": reason}, "--list", "--list alone, or these without it"
            )
        kept = login.opened(store)
        _, read = read_plan(Path(what))
        if only_list:
            counted = approvals.valid(kept, read)
            for one in kept.approvals(read.sha256):
                state = "counts" if one in counted else "does not count"
                typer.echo(
                    f"{one.approver}  {when(one.at_ms)} to {when(one.expires_ms)}  {state}  {one.reason}".rstrip()
                )
            return
        lasts = parse_duration_ms(expires or "24h", "--expires")
        if not lasts:
            raise InputError("an approval that expires at once", "--expires", expires or "", "a time such as 12h")
        name = (by or operating.user()).strip()
        made = approvals.approve(kept, read, name, lasts_ms=lasts, reason=reason or "")
        typer.echo(f"{made.approver} approves sha256:{made.plan_sha256} until {when(made.expires_ms)}")
