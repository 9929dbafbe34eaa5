"""`status`: where a rollout stands, on one 80-column screen and as JSON; and what may be done now, by exact command.

What is known, and in which words, is in `status_words.py`. Commands stand whole on their line, however long it is, so that they can be
copied; what is not one is folded between words.
"""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from planner.lint.wording import instances
from planner.phases import Phase
from planner.planfile import Forecast
from planner.rollout import Note, Opening
from planner.standing import Standing
from vmss_sim.report import windows
from vmss_sim.report.choices import (
    afterwards_of,
    already,
    az_first_of,
    choices_of,
    command_of,
    forecast_of,
    heard_of,
    undo_of,
    waiting_of,
)
from vmss_sim.report.console import folded, plain
from vmss_sim.report.status_words import (
    Status,
    changed_of,
    counts_of,
    executor_of,
    place_of,
    state_of,
    temporary_of,
    trouble,
    why_of,
)
from vmss_sim.report.times import coarse, stamp, when

SCHEMA = "vmss-sim/status/1"
WIDTH = 80
LISTED = 3
WALL_MS = 3_600_000
"""A rollout that first looked within so long of being opened goes by the wall clock; an emulator's is months away."""


def document(status: Status) -> dict[str, Any]:
    """The JSON."""
    now = status.standing
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "rollout": status.entry.id,
        "scale_set": status.plan.scale_set.id or status.plan.scale_set.name,
        "at": None if status.entry.where is None else msgspec.to_builtins(status.entry.where),
        "plan_sha256": status.entry.plan_sha256,
        "plan_expires": status.plan.expires or None,
        "opened": stamp(status.entry.opened_ms),
        "state": state_of(status),
        "phase": now.state.phase.value if now is not None else "preparing",
        "ending": now.state.ending if now is not None else "",
        "why": why_of(status),
        "unreachable": None
        if status.unread is None
        else {"host": status.unread.host or None, "since": stamp(status.unread.wall_ms), "why": status.unread.why},
        "executor": {
            "alive": status.alive,
            "name": status.holder.executor if status.holder is not None else None,
            "lease_age_s": status.holder.age_ms(status.now_ms) / 1000 if status.holder is not None else None,
            "last": _last(status),
        },
        "choices": [
            {
                "command": command_of(status, one),
                "does": one.does,
                "asked_already": already(status, one) is not None,
                "moves": one.moves,
                "forecast": forecast_of(status, one) or None,
            }
            for one in choices_of(status)
        ],
        "afterwards": list(afterwards_of(status)),
    }
    if now is None:
        return made
    return made | {
        "evidence_at": stamp(now.at_ms),
        "elapsed_s": (now.at_ms - now.began_ms) / 1000,
        "forecast": _forecast(status.forecast),
        "above_floor": now.in_service >= now.floor,
        "in_service": now.in_service,
        "floor": now.floor,
        "known_healthy": now.known_healthy,
        "fewest_seen": {"in_service": now.fewest, "at": stamp(now.fewest_ms)},
        "instances": {
            "total": now.total,
            "on_target": len(now.on_target),
            "old": len(now.old),
            "in_flight": len(now.in_flight),
            "failed": len(now.failed),
            "skipped": len(now.skipped),
        },
        "on_target": list(now.on_target),
        "old": list(now.old),
        "in_flight": list(now.in_flight),
        "skipped": list(now.skipped),
        "failed": [
            {
                "id": one.id,
                "zone": one.zone,
                "why": one.why,
                "code": one.code,
                "message": one.message,
                "at": stamp(one.at_ms),
            }
            for one in now.failed
        ],
        "left_alone": now.left_alone,
        "batch": {"number": now.batch, "of": now.batches, "why": now.batch_why},
        "model_gives": now.model_gives,
        "temporary_changes": list(changed_of(status)),
        "temporary_seen": {"by": "vmss-sim", "at": stamp(now.at_ms)} if changed_of(status) else None,
        "followed_by": None if status.since is None else status.since._asdict(),
        "undo": [
            {"change": one.change.value, "why": why, "command": command, "instances": list(one.ids)}
            for one, why, command in undo_of(status)
        ],
        "az_first": list(az_first_of(status)),
        "waits": now.waits,
        "window": windows.document(_opening(status)),
        "asked": [
            {
                "asked": one.request.asked.value,
                "by": one.request.by or None,
                "reason": one.request.reason,
                "instances": list(one.request.ids),
                "at": stamp(one.at_ms),
            }
            for one in now.asked
        ],
        "unheard_requests": len(now.unheard),
        "unheard": [
            {
                "asked": one.asked.value,
                "by": one.by or None,
                "reason": one.reason,
                "instances": list(one.ids),
                "at": stamp(one.at_ms) if one.at_ms else None,
            }
            for one in now.unheard
        ],
        "decisions": [_note(one) for one in now.notes],
        "by_others": [_note(one) for one in now.others],
    }


def _note(one: Note) -> dict[str, Any]:
    return {"rule": one.rule, "text": one.text, "instances": list(one.ids)}


def _last(status: Status) -> dict[str, Any] | None:
    """The last executor, whether it is alive or not."""
    last, left = status.last, status.let_go
    if last is None:
        return None
    let_go = None if left is None else {"at": stamp(left.wall_ms), "why": left.why}
    return {"name": last.name, "began": stamp(last.wall_ms), "let_go": let_go}


def _forecast(forecast: Forecast | None) -> dict[str, float | None] | None:
    duration = forecast.metrics.get("duration_s") if forecast is not None else None
    return None if duration is None else {"p50_s": duration.p50, "p95_s": duration.p95}


def render(console: Console, status: Status) -> None:
    """One screen of 80 columns."""
    now, bad = status.standing, "bold red"
    done = now is not None and now.state.ending in ("finish", "finish-with-exceptions")
    head = Text(f"{status.entry.id}  ", style="bold")
    head.append(state_of(status), style="bold green" if done else "bold yellow")
    console.print(head, soft_wrap=True)
    _row(console, "why", why_of(status), "" if status.unread is None else bad)
    expires = f", which expires {status.plan.expires}" if status.plan.expires else ""
    _row(console, "set", f"{status.plan.scale_set.name}, plan sha256 {status.entry.plan_sha256[:12]}{expires}")
    _row(console, "at", place_of(status))
    _row(console, "executor", executor_of(status))
    if now is not None:
        above = "above the floor" if now.in_service > now.floor else "at the floor"
        text = f"{now.in_service} of {now.total} in service, {above} ({now.floor})"
        if now.in_service < now.floor:
            text = f"{now.in_service} of {now.total} in service, BELOW THE FLOOR ({now.floor})"
        if not now.known_healthy:
            text += "; running, not known healthy"
        _row(console, "service", text, bad if now.in_service < now.floor else "")
        _row(console, "instances", counts_of(now))
        if now.batches:
            _row(console, "batch", f"{now.batch} of {now.batches}" + (f" ({now.batch_why})" if now.batch_why else ""))
        _row(console, "elapsed", _elapsed(status, now))
        if now.waits:
            _row(console, "waits", now.waits)
        opening = _opening(status)
        if opening is not None:
            _row(console, "window", windows.text(opening, _clock_ms(status, now)))
        said = {one.code for one in now.failed[:1] if now.state.ending != "finish"}  # in the row `why`
        for one in now.failed[:LISTED]:
            _row(console, "failed", trouble(one, message=one.code not in said), bad)
            said.add(one.code)
        if len(now.failed) > LISTED:
            _row(console, "failed", f"and {len(now.failed) - LISTED} more (--json lists all)")
        _row(console, "a new one", f"would boot {now.model_gives}")
        over = now.state.phase is Phase.ENDED
        moved = over and now.state.ending in ("abort", "stop", "drift") and (now.failed or now.on_target)
        as_before = "nothing: mode and repairs are as before" if moved else "nothing: all is as before"
        none = as_before if over else "nothing is changed for the time of the rollout"
        changed = temporary_of(status)
        if changed and over:  # nobody looks any more: somebody may have put it back since
            changed += f" (as of {when(now.at_ms)}, when vmss-sim last looked)"
        _row(console, "still so" if over else "temporary", changed or none)
        for note in now.others[-LISTED:]:
            _row(console, "by others", plain(note.text))
        if now.asked:
            _row(console, "asked", heard_of(now.asked[-1]))
        for request in now.unheard[:LISTED]:
            _row(console, "unheard", waiting_of(request))
        if len(now.unheard) > LISTED:
            _row(
                console,
                "unheard",
                f"and {len(now.unheard) - LISTED} more that no executor has heard yet (--json lists all)",
            )
    for number, choice in enumerate(choices_of(status)):
        if not number:
            console.print(Text("what can be done now", style="bold"))
        told = forecast_of(status, choice)
        moves = f" ({instances(choice.moves)}{', ' + told if told else ''})" if choice.moves else ""
        before = already(status, choice)
        again = f"; asked already by {before.by or 'an operator'}, and not heard yet" if before is not None else ""
        _command(console, command_of(status, choice), plain(f"{choice.does}{moves}{again}"))
    _afterwards(console, status)


def _afterwards(console: Console, status: Status) -> None:
    """What was moved first, then the mode: in the mode from before the platform would take it back by itself, at once."""
    for number, line in enumerate(afterwards_of(status)):
        if number:
            _command(console, line)
        else:
            _row(console, "afterwards", line)
    for number, line in enumerate(az_first_of(status)):
        if not number:
            _row(console, "afterwards", "az goes where its settings say. So that it leads to this set, first:")
        _command(console, line)
    for one, why, command in undo_of(status):
        _row(console, "afterwards", f"{one.text}: {why}. As before again with:")
        _command(console, command)


def _command(console: Console, command: str, does: str = "") -> None:
    """Rule 2."""
    line = Text(f"  {command}", style="cyan")
    if does and len(line) + len(does) + 4 <= WIDTH:
        line.append(f"    {does}", style="dim")
        does = ""
    console.print(line, soft_wrap=True)
    for part in folded(does, WIDTH - 6):
        console.print(Text(f"      {part}", style="dim"), soft_wrap=True)


def _clock_ms(status: Status, now: Standing) -> int:
    """Now, where the rollout is under way and its clock is the wall's (its first look was about when it was opened); else, in a rehearsal,
    the last look.
    """
    wall = abs(now.began_ms - status.entry.opened_ms) < WALL_MS
    return status.now_ms if wall and now.state.phase is not Phase.ENDED else now.at_ms


def _opening(status: Status) -> Opening | None:
    now = status.standing
    over = now is None or now.state.phase is Phase.ENDED
    return None if now is None or over else windows.now_of(status.plan, _clock_ms(status, now))


def _elapsed(status: Status, now: Standing) -> str:
    text = coarse((_clock_ms(status, now) - now.began_ms) / 1000)
    duration = status.forecast.metrics.get("duration_s") if status.forecast is not None else None
    if duration is not None and duration.p50 is not None and duration.p95 is not None:
        text += f"; forecast {coarse(duration.p50)}, 95 % within {coarse(duration.p95)}"
    return text


def _row(console: Console, name: str, text: str, style: str = "") -> None:
    for number, part in enumerate(folded(plain(text), WIDTH - 12)):
        line = Text(f"{'' if number else name:>10}  ", style="dim")
        line.append(part, style=style or "none")
        console.print(line, soft_wrap=True)
