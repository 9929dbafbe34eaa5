"""`vmss-sim apply`: carry a vetted plan out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmss_sim.cli import operating, options

if TYPE_CHECKING:
    from backends.lease import Held
    from backends.store import Entry, Store
    from backends.where import Where
    from planner.planfile import PlanFile
    from planner.rollout import State

HELP = """Carry out exactly what a plan file says, or go on with it where it was broken off.

Before anything is sent: the digest, whether the plan has expired, what moved since the plan was made (its drift table says what that means), and whether it
can be done at all. Then the plan is shown, and you are asked. Ctrl-C asks to pause after the current operation, a second one
detaches. Without a terminal SIGTERM or SIGINT detaches within 5 s; what was sent goes on, and is adopted on resume.

\b
Examples:
  vmss-sim apply plan.json
  vmss-sim apply plan.json --yes --expect sha256:… --require-approvals 2 --max-runtime 5h --log-format json
  vmss-sim apply plan.json --store azblob://ACCOUNT/CONTAINER

\b
Exit status: 0 done or nothing to do, 1 failed, stopped by a gate or aborted, 2 refused or could not begin, nothing sent,
3 paused or detached, 5 done with exceptions.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("apply", help=HELP)
    @options.spread
    def apply(
        file: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="A plan file.")],
        store: operating.StoreName = None,
        yes: operating.Yes = False,
        expect: Annotated[
            str | None,
            typer.Option("--expect", metavar="sha256:…", help="Refuse any plan but this one.", show_default=False),
        ] = None,
        require_approvals: operating.RequireApprovals = 0,
        accept_no_health: Annotated[
            bool,
            typer.Option("--accept-no-health", help="Go by running alone; the plan must have been made with it too."),
        ] = False,
        again: Annotated[
            bool, typer.Option("--again", help="Begin a plan anew that was carried out, or given up, before.")
        ] = False,
        *,
        running: operating.Running,
        reach: options.Azure,
    ) -> None:
        from backends import operate  # noqa: PLC0415  # heavy imports wait until a command runs
        from backends.executor import rests  # noqa: PLC0415
        from backends.probes import check  # noqa: PLC0415
        from backends.store import lease_key  # noqa: PLC0415
        from backends.succession import may_have_left  # noqa: PLC0415
        from backends.where import where_of  # noqa: PLC0415
        from planner.machine import windows  # noqa: PLC0415
        from scenarios.plan_files import read_plan  # noqa: PLC0415

        running.check()
        data, read = read_plan(file)
        _expected(read, expect)
        check(read.plan)
        kept = reach.opened(store)
        where = where_of(asdict(reach))
        said = bool(reach.endpoint or reach.cloud)
        entry, state, held = _known(kept, read, where, said=said, again=again)
        _approved(kept, read, require_approvals, entry)
        if entry is None:
            operate.refuse_expired(read)
            _healthy(read, accepted=accept_no_health)
        if entry is not None:
            asked = state is not None and kept.journal(entry.id).requests(state.request)  # heard by nobody yet
            shut = state is not None and state.reason.startswith(windows.REASON)
            if state is not None and rests(state) and not (asked or shut or running.stay):
                operating.say(f"{entry.id} was begun with this plan and rests: {state.reason}")
                operating.say(f"{operating.told('status', kept, entry)} tells what can be done")
                raise typer.Exit(3)
            operating.say(f"{entry.id} was begun with this plan and has not ended: going on with it")
            backend = None if yes else operating.tell_moved(kept, entry, read, reach, running.log_format)
            operating.confirm("Go on?", yes=yes)
        else:
            backend = operating.open_world(read, reach, first_s=operating.FIRST_S)
            _look(read, backend, running.log_format, left=may_have_left(kept, lease_key(read.plan, where), read.plan))
            operating.confirm(f"Apply this plan to {read.plan.scale_set.id or read.plan.scale_set.name}?", yes=yes)
            operate.refuse_expired(read)  # the answer may have taken its time
            entry, held = operate.begin(kept, read, data, read.plan.tool, where=where, says=operating.say)
            operating.say(f"rollout {entry.id} in {kept.name}")
        raise typer.Exit(
            operating.carry_on(
                kept,
                entry,
                read,
                reach,
                running,
                backend=backend,
                held=held,
            )
        )


def _known(
    store: Store, read: PlanFile, where: Where, *, said: bool, again: bool
) -> tuple[Entry | None, State | None, Held | None]:
    """The rollout of this plan here that is to be gone on with. One that has ended gives its exit status, unless `--again`.
    said: the command line names the place.
    """
    from backends.operate import has_ended, latest  # noqa: PLC0415  # heavy imports wait until a command runs

    met = latest(store, read, where)
    if met is None:
        _elsewhere(store, read, where, said=said)
        return None, None, None
    entry, state = met
    if state is None or not has_ended(state):
        return entry, state, None
    if again:
        return None, None, None
    operating.say(f"{entry.id} carried this plan out and ended: {state.ending}; nothing is begun again without --again")
    raise typer.Exit(read.plan.ends[state.ending].exit_code)


def _elsewhere(store: Store, read: PlanFile, where: Where, *, said: bool) -> None:
    """The plan was begun at another Resource Manager: that is told; who does not name the place may have meant that one. Raises InputError."""
    from backends.operate import has_ended, latest  # noqa: PLC0415  # heavy imports wait until a command runs
    from planner.errors import InputError  # noqa: PLC0415

    met = latest(store, read)
    if met is None or met[0].where is None:
        return
    entry, state = met
    place = met[0].where
    if said or has_ended(state):
        operating.say(f"{entry.id} was begun with this plan at {place.name}; at {where.name} this is another rollout")
        return
    raise InputError(
        "this plan was begun at another Resource Manager and has not ended there",
        entry.id,
        where.name,
        place.name,
        f"{operating.told('resume', store, entry)} goes on there; say --endpoint or --cloud to begin another rollout; nothing was sent",
    )


def _expected(read: PlanFile, expect: str | None) -> None:
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    if expect is not None and expect.lower().removeprefix("sha256:") != read.sha256:
        raise InputError(
            "this is not the plan that is expected",
            "--expect",
            f"sha256:{read.sha256}",
            expect,
            "take the plan file that was vetted",
        )


def _approved(store: Store, read: PlanFile, needed: int, begun: Entry | None) -> None:
    """Also where a rollout is gone on with: whoever began it may have counted none. Raises InputError."""
    from backends.approvals import check  # noqa: PLC0415  # heavy imports wait until a command runs

    check(store, read, needed, None if begun is None else begun.opened_ms)


def _healthy(read: PlanFile, *, accepted: bool) -> None:
    """Without a health source nothing can be known to serve: that has to be said when it is planned, and when it is applied."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs
    from planner.model import HealthSource  # noqa: PLC0415

    if read.plan.scale_set.health_source is not HealthSource.NONE or (accepted and read.plan.accept_no_health):
        return
    raise InputError(
        "the set has no health source: instances would be known to run, not to serve",
        "plan.accept_no_health" if not read.plan.accept_no_health else "--accept-no-health",
        "not accepted",
        "--accept-no-health, for plan and apply",
        "add the application health extension, or accept it; nothing was sent",
    )


def _fits(read: PlanFile) -> None:
    """No window is long enough for a batch: it would never end. Raises InputError."""
    from backends.store import now_ms  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.windows import longest_ms  # noqa: PLC0415
    from planner.errors import InputError  # noqa: PLC0415
    from planner.lint.wording import span  # noqa: PLC0415

    longest, needed = longest_ms(read.plan, now_ms()), max(read.plan.needs_ms, default=0)
    if longest is not None and needed > longest:
        raise InputError(
            "no window is long enough for a batch",
            "plan.windows",
            f"at most {span(longest // 1000 * 1000)}",
            f"{span(needed)}, what a batch takes in 95 of 100 runs",
            "make the window longer, or the batches smaller; nothing was sent",
        )


def _look(read: PlanFile, backend: Any, log_format: str | None, *, left: bool) -> None:
    """What moved, what the preflight finds, and the plan itself. Raises InputError for what refuses it."""
    from backends.executor import preflight  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.operate import differences, refuse_drift  # noqa: PLC0415
    from planner.errors import InputError  # noqa: PLC0415
    from vmss_sim.report import console, plans  # noqa: PLC0415

    out = console.err() if log_format == "json" else console.out()
    found = differences(read.plan, backend.observe().scale_set, left=left)
    plans.moved(out, found)
    refuse_drift(found)
    _fits(read)
    findings = preflight(backend, read.plan)
    if findings:
        plans.findings(out, [("plan", one) for one in findings])
    errors = [one for one in findings if one.grade == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(
            f"{errors[0].text}{more}", errors[0].code, "", "", f"{errors[0].fix}; nothing was sent".lstrip("; ")
        )
    plans.render(out, read.plan, read.forecast, (), sha256=read.sha256)
