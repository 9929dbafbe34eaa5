"""What an operator asks of a rollout: kept for its executor, or carried out here where none is alive."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from vmss_sim.cli import operating, options

if TYPE_CHECKING:
    from backends.store import Entry, Store
    from planner.rollout import Asked


def _over(store: Store, entry: Entry) -> str:
    status, history = operating.told("status", store, entry), operating.told("history", store, entry)
    return f"{status} tells what stays moved or changed and how that is taken back, {history} how it ended"


def ask(
    asked: Asked,
    rollout: str | None,
    store: str | None,
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
    from backends.operate import is_alive, plan_of  # noqa: PLC0415
    from backends.store import Login, find, open_store  # noqa: PLC0415
    from planner.errors import InputError  # noqa: PLC0415
    from planner.phases import Phase  # noqa: PLC0415
    from planner.rollout import Asked  # noqa: PLC0415

    kept = open_store(store, Login.of(asdict(reach)) if reach is not None else None)
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
        raise InputError("no such instance in this rollout", entry.id, ", ".join(unknown), ", ".join(list(known)[:20]))
    alive = is_alive(kept, entry)
    if alive or not drives:
        journal.ask(asked, ids, reason, by)
        heard = (
            "its executor will hear it"
            if alive
            else f"no executor is alive: {operating.told('resume', kept, entry)}, or the same apply, carries it on"
        )
        operating.say(f"{entry.id}: {asked.value} is asked for; {heard}")
        return
    reach, running = reach or options.Azure(), running or operating.Running()
    running.check()
    backend = None if yes else operating.tell_moved(kept, entry, read, reach, running.log_format)
    operating.confirm(f"{asked.value} {entry.id} ({read.plan.scale_set.id or read.plan.scale_set.name})?", yes=yes)
    raise typer.Exit(
        operating.carry_on(kept, entry, read, reach, running, backend=backend, ask=asked, reason=reason, by=by)
    )
