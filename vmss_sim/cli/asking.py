"""What an operator asks of a rollout: kept for its executor, or carried out here where none is alive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from vmss_sim.cli import operating, options

if TYPE_CHECKING:
    from backends.store import Entry, Store
    from planner.planfile import PlanFile
    from planner.rollout import Asked, State
    from vmss_sim.report.status_words import Status


REFUSED, RESTED = 2, 3
"""Exit status of an executor that could not begin; of one that came to rest, or detached."""
TO_RELEASE = "to be released"


def _over(store: Store, entry: Entry) -> str:
    status, history = operating.told("status", store, entry), operating.told("history", store, entry)
    return f"{status} tells what stays moved or changed and how that is taken back, {history} how it ended"


_UNHEARD = {"pause": " goes on all the same; the same apply hears this first, and rests with exit status 3"}


def _question(asked: Asked, entry: Entry, read: PlanFile) -> str:
    return f"{asked.value} {entry.id} ({read.plan.scale_set.id or read.plan.scale_set.name})?"


def _refuse_well(status: Status, ids: tuple[str, ...]) -> None:
    """Raises InputError where nothing of these failed: trying again is for what did, was skipped, or has a question open."""
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs

    now = status.standing
    if now is None:
        return
    asked = {name for one in now.unheard for name in one.ids}
    may = {*(one.id for one in now.failed), *now.skipped, *(now.in_flight if now.state.question else ()), *asked}
    for name in ids:
        if name not in may:
            found = "not moved yet" if name in now.to_go else "as before" if now.state.back else "on target"
            found = "in flight" if name in now.in_flight else found
            failed = ", ".join(sorted(may, key=by_number)[:20]) or "none that failed"
            raise InputError("nothing of this instance failed", f"{status.entry.id}, instance {name}", found, failed)


def _rests_first(read: PlanFile, entry: Entry, state: State | None, told: str, *, alive: bool) -> bool:
    """Has a rollout to be brought to rest before what it changed is released? Raises InputError where that is somebody else's to do: released is
    what rests, and nothing else is moved for it.
    """
    from planner.errors import InputError  # noqa: PLC0415  # heavy imports wait until a command runs
    from planner.phases import Phase  # noqa: PLC0415
    from planner.plan import MovedBy  # noqa: PLC0415

    phase = Phase.PREPARING if state is None else state.phase
    if phase in (Phase.PAUSED, Phase.FINISHING):
        return False
    if read.plan.moved_by is MovedBy.PLATFORM:
        hint = "the platform moves the instances in this mode; abort ends it"
        raise InputError("a rollout that goes on is not released", entry.id, phase.value, "one that is paused", hint)
    if alive:
        hint = f"{told} first, and release it once it rests"
        raise InputError("a rollout that goes on is not released", entry.id, phase.value, "one that is paused", hint)
    return True


def by_number(name: str) -> tuple[int, str]:
    """Instances as people count them: 2 before 10, names after numbers."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def ask(
    asked: Asked,
    kept: Store,
    rollout: str | None,
    reason: str,
    *,
    by: str = "",
    ids: tuple[str, ...] = (),
    yes: bool = True,
    drives: bool = False,
    reach: options.Azure | None = None,
    running: operating.Running | None = None,
) -> None:
    """Append the request; where it has to be carried out and no executor is alive, be it. by: who asks; the account's user by default."""
    from backends.approvals import refuse_author  # noqa: PLC0415  # heavy imports wait until a command runs
    from backends.executor import rests  # noqa: PLC0415
    from backends.operate import is_alive, plan_of  # noqa: PLC0415
    from backends.probes import check  # noqa: PLC0415
    from backends.store import find  # noqa: PLC0415
    from planner.errors import InputError, PlatformError  # noqa: PLC0415
    from planner.phases import Phase  # noqa: PLC0415
    from planner.rollout import Asked  # noqa: PLC0415

    entry = find(kept, rollout)
    journal = kept.journal(entry.id)
    state = journal.last_state()
    if state is not None and state.phase is Phase.ENDED:
        raise InputError("this rollout has ended", entry.id, state.ending, "", _over(kept, entry))
    read = plan_of(kept, entry)
    by = (by or operating.user()).strip()
    if asked is Asked.APPROVE:
        refuse_author(read, by)
    known = read.plan.scale_set.instances.keys() | (
        {*state.appended, *state.surge.fresh, *state.memory} if state is not None else set()
    )
    unknown = [name for name in ids if name not in known]
    if unknown:
        some = ", ".join(sorted(known, key=by_number)[:20])
        raise InputError("no such instance in this rollout", entry.id, ", ".join(unknown), some)
    if asked is Asked.RETRY and state is not None:
        _refuse_well(operating.status_of(kept, entry), ids)
    alive = is_alive(kept, entry)
    rests_first = asked is Asked.RELEASE and _rests_first(
        read, entry, state, operating.told("pause", kept, entry), alive=alive
    )
    if alive and asked is Asked.ABORT:  # final, whoever carries it out
        operating.confirm(_question(asked, entry, read), yes=yes)
    if alive or not drives:
        journal.ask(asked, ids, reason, by)
        heard = (
            "its executor will hear it"
            if alive
            else f"no executor is alive: {operating.told('resume', kept, entry)}{_UNHEARD.get(asked.value, ', or the same apply, carries it on')}"
        )
        operating.say(f"{entry.id}: {asked.value} is asked for; {heard}")
        return
    reach, running = reach or options.Azure(), running or operating.Running()
    running.check()
    if asked not in (Asked.ABORT, Asked.RELEASE):
        check(read.plan)
    backend = None if yes else operating.tell_moved(kept, entry, read, reach, running.log_format)
    operating.confirm(_question(asked, entry, read), yes=yes)
    if not rests_first:
        raise typer.Exit(
            operating.carry_on(kept, entry, read, reach, running, backend=backend, ask=asked, reason=reason, by=by)
        )
    ended = operating.carry_on(
        kept, entry, read, reach, replace(running, stay=False), backend=backend, ask=Asked.PAUSE, reason=TO_RELEASE, by=by
    )  # fmt: skip
    state = kept.journal(entry.id).last_state()  # opened anew: one that was opened before may know no more than then
    if ended != RESTED or state is None or not rests(state):
        raise typer.Exit(ended)
    try:
        ended = operating.carry_on(kept, entry, read, reach, running, ask=asked, reason=reason, by=by)
    except (InputError, PlatformError) as error:  # it was carried on to its rest: not "nothing was sent"
        operating.say(f"{entry.id} rests, and was not released: {error}")
        ended = RESTED
    raise typer.Exit(RESTED if ended == REFUSED else ended)
