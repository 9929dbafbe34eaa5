"""`history`: what happened in a rollout, decision by decision, and a draft of a post-mortem in Markdown or HTML.

Rules this module decides:

1. Everything comes from the journal: times of evidence, rules, the platform's errors, its request and operation ids.
2. Fewest in service is as seen, and stands beside the forecast.
3. A table has one row a decision; what repeats itself within a turn stands once.
4. What an executor came to is told from the last turn under it and its own last word: the end, a rest, that it let go and why; without a last word
   it was killed, or cut off from its store. And how long nobody was at work until the next one looked.
5. Executors that never got to look at the set, one after another, are one row: how many, from when to when, and why the last did not.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from planner.commands import Status as OutcomeStatus
from planner.phases import Phase
from planner.planfile import describe
from planner.standing import looks
from planner.trace import Executor, Found, LetGo, Receipt, Record, Refusal, Turn, Unread
from vmss_sim.report.console import plain
from vmss_sim.report.status_words import (
    CUT_OFF,
    Status,
    counts_of,
    executor_of,
    state_of,
    temporary_of,
    trouble,
    why_of,
)
from vmss_sim.report.times import coarse, when


class Block(NamedTuple):
    """A heading with lines, or with a table (its first row is the header)."""

    title: str
    lines: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()


def blocks(status: Status, records: Sequence[Record]) -> tuple[Block, ...]:
    """All of it. Blocks that would be empty are left out."""
    made = (
        Block("In short", tuple(_short(status))),
        Block("The plan", _plan(status)),
        Block("Executors", table=_executors(records, alive=status.alive)),
        Block("What moved while nobody looked", table=_moved(records)),
        Block("Decisions", table=_decisions(records)),
        Block("Operators", table=_operators(records)),
        Block("Operations", table=_operations(status, records)),
        Block("Errors", table=_errors(records)),
        Block(
            "Instances that failed", tuple(trouble(one) for one in status.standing.failed) if status.standing else ()
        ),
        Block("To be said by people", _TO_SAY),
    )
    return tuple(one for one in made if one.lines or len(one.table) > 1)


_TO_SAY = (
    "What did users notice?",
    "What was expected, and what was not?",
    "What would have told us before?",
    "What will be done about it, by whom, until when?",
)


def _short(status: Status) -> list[str]:
    now = status.standing
    lines = [f"state: {state_of(status)}", f"why: {why_of(status)}", f"executor: {executor_of(status)}"]
    if status.entry.where is not None:
        lines.append(f"at {status.entry.where.name}")
    if now is None:
        return lines
    lines.append(
        f"began {when(now.began_ms)}, last looked at {when(now.at_ms)}, {coarse((now.at_ms - now.began_ms) / 1000)}"
    )
    fewest = (
        f"fewest in service, as seen: {now.fewest} of {now.total} at {when(now.fewest_ms)}; the floor is {now.floor}"
    )
    forecast = status.forecast.metrics.get("min_healthy") if status.forecast is not None else None
    if forecast is not None and forecast.p50 is not None:
        fewest += f"; forecast {forecast.p50:.0f} (p50), {forecast.p05:.0f} (p05)" if forecast.p05 is not None else ""
    lines.append(fewest)
    duration = status.forecast.metrics.get("duration_s") if status.forecast is not None else None
    if duration is not None and duration.p50 is not None and duration.p95 is not None:
        lines.append(f"forecast: {coarse(duration.p50)} (p50), {coarse(duration.p95)} (p95)")
    lines.append(counts_of(now))
    lines.append(f"a new instance would boot {now.model_gives}")
    lines.append(f"still changed: {temporary_of(status) or 'nothing'}")
    return lines


def _plan(status: Status) -> tuple[str, ...]:
    lines = [f"sha256 {status.entry.plan_sha256}"]
    if status.plan.author:
        lines.append(f"author {status.plan.author}")
    for section in describe(status.plan):
        if section.title in ("Scale set", "Change", "Thresholds"):
            lines += section.lines
    return tuple(lines)


def _executors(records: Sequence[Record], *, alive: bool) -> tuple[tuple[str, ...], ...]:
    """Rules 4 and 5."""
    rows: list[list[str]] = []
    tries: list[Executor] = []
    why = ""

    def fold() -> None:
        if tries:
            first, last = tries[0], tries[-1]
            many = len(tries) > 1
            began = when(first.wall_ms) + (f" to {when(last.wall_ms)}" if many else "")
            fences = f"{first.fence}" + (f" to {last.fence}" if many else "")
            names = list(dict.fromkeys(one.name.rpartition(":")[0] or one.name for one in tries))
            came = f"{len(tries)} {'tries' if many else 'try'} that never looked" + (f", last: {why}" if why else "")
            rows.append([began, ", ".join(names), fences, came])
            tries.clear()

    begun: Executor | None = None
    working: list[str] | None = None
    last: Turn | None = None
    left: LetGo | None = None
    for one in records:
        if isinstance(one, Executor):
            if begun is not None:
                tries.append(begun)
            begun = one
        elif isinstance(one, Unread) and one.why:
            why = f"{one.host}: {one.why}" if one.host else one.why
        elif isinstance(one, LetGo):
            left, why = (left, why or one.why) if begun is not None else (one, why)
        elif isinstance(one, Turn):
            fold()
            if begun is not None:
                if working is not None and last is not None:
                    working[3] = _came_to(last, left, one.now_ms)
                left = None
                rows.append(working := [when(begun.wall_ms), begun.name, str(begun.fence), ""])
            begun, why, last = None, "", one
    if begun is not None:
        tries.append(begun)
    fold()
    if working is not None and last is not None:
        working[3] = "at work" if alive and begun is None else _came_to(last, left, None)
    return (("began", "executor", "lease", "came to"), *(tuple(row) for row in rows))


def _came_to(last: Turn, left: LetGo | None, next_ms: int | None) -> str:
    """Rule 4. last: its last turn. left: its last word. next_ms: when the next executor looked."""
    state = last.state
    if state.phase is Phase.ENDED:
        return f"the end: {state.ending}"
    if state.phase is Phase.PAUSED:
        came = f"rested: {state.reason}"
    elif left is not None:
        came = f"let go {when(left.wall_ms)}: {left.why}"
    else:
        came = f"{CUT_OFF}: nothing more was heard of it after {when(last.now_ms)}"
    return came if next_ms is None else f"{came}; {coarse((next_ms - last.now_ms) / 1000)} until somebody looked again"


def _moved(records: Sequence[Record]) -> tuple[tuple[str, ...], ...]:
    rows: dict[tuple[str, ...], None] = {}
    for one in records:
        if isinstance(one, Found):
            for it in one.moved:
                rows[when(one.since_ms), when(one.now_ms), it.kind, it.what, it.found, it.before, it.does] = None
    return (("between", "and", "rule", "what", "found", "was", "the rollout"), *rows)


def _decisions(records: Sequence[Record]) -> tuple[tuple[str, ...], ...]:
    rows: dict[tuple[str, ...], None] = {}
    for one in records:
        if isinstance(one, Turn):
            for note in one.notes:
                batch = "" if note.batch is None else str(note.batch + 1)
                rows[when(one.now_ms), note.rule, batch, note.text, _ids(note.ids)] = None
    return (("time", "rule", "batch", "decision", "instances"), *rows)


def _operators(records: Sequence[Record]) -> tuple[tuple[str, ...], ...]:
    rows = [
        (when(one.now_ms), asked.asked.value, asked.by, _ids(asked.ids), asked.reason)
        for one in records
        if isinstance(one, Turn)
        for asked in one.requests
    ]
    return (("heard", "asked", "by", "instances", "reason"), *rows)


def _operations(status: Status, records: Sequence[Record]) -> tuple[tuple[str, ...], ...]:
    """Every command: when sent, how it ended, how few served meanwhile, the platform's ids."""
    rows: dict[str, list[str]] = {}
    flying: dict[str, int] = {}
    source = status.plan.scale_set.health_source
    for look in looks(records, source):
        flying = {name: min(least, look.in_service) for name, least in flying.items()}
        for outcome in look.turn.outcomes:
            row = rows.get(outcome.command)
            if row is not None:
                row[3] = outcome.status.value + (f" ({outcome.code})" if outcome.code else "")
                row[4] = when(look.turn.now_ms)
                if outcome.status is not OutcomeStatus.UNKNOWN and outcome.command in flying:
                    row[5] = str(flying.pop(outcome.command))
        for command in look.turn.commands:
            rows[command.id] = [when(look.turn.now_ms), command.kind.value, _ids(command.ids), "", "", "", ""]
            flying[command.id] = look.in_service
    for one in records:
        if isinstance(one, Receipt) and one.command in rows:
            rows[one.command][6] = platform_ids(one.handle)
    header = ("sent", "command", "instances", "ended as", "at", "fewest in service", "platform's ids")
    return (header, *((tuple(row)) for row in rows.values()))


class _Handle(msgspec.Struct):
    """What of a backend's handle is for people."""

    ids: tuple[str, ...] = ()


def platform_ids(handle: str) -> str:
    """The request, correlation and operation ids in a handle; a handle that has none, shortened."""
    try:
        found = msgspec.json.decode(handle.encode(), type=_Handle).ids
    except msgspec.DecodeError:
        found = ()
    return ", ".join(found) if found else handle[:80]


def _errors(records: Sequence[Record]) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[str, ...]] = []
    sent: dict[str, str] = {}
    for one in records:
        if isinstance(one, Turn):
            sent |= {it.id: f"{it.kind.value} {_ids(it.ids)}".rstrip() for it in one.commands}
            rows += [
                (
                    when(one.now_ms),
                    sent.get(out.command, out.command),
                    "refused" if out.refused else out.status.value,
                    out.code,
                    out.message,
                )
                for out in one.outcomes
                if out.status is not OutcomeStatus.SUCCEEDED
            ]
        elif isinstance(one, Refusal):
            rows += [
                (when(one.now_ms), sent.get(bad.command, bad.command), "guard", bad.invariant, bad.text)
                for bad in one.violations
            ]
    return (("time", "command", "how", "code", "message"), *rows)


def _ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")


def text(status: Status, records: Sequence[Record]) -> str:
    """For a terminal: what happened, a line a decision."""
    lines = [f"{status.entry.id}: {state_of(status)}", *_short(status)[1:], ""]
    for row in _decisions(records)[1:]:
        told = f"  [{row[4]}]" if row[4] else ""
        lines.append(plain(f"{row[0]}  {row[1]:<20} {row[3]}{told}"))
    return "\n".join(lines) + "\n"


def markdown(status: Status, records: Sequence[Record]) -> str:
    """A post-mortem's draft in Markdown."""
    lines = [f"# Rollout {status.entry.id}", ""]
    for block in blocks(status, records):
        lines += [f"## {block.title}", ""]
        lines += [f"* {_cell(line)}" for line in block.lines]
        for number, row in enumerate(block.table):
            lines.append("| " + " | ".join(_cell(one) for one in row) + " |")
            if not number:
                lines.append("|" + " --- |" * len(row))
        lines.append("")
    return "\n".join(lines)


def page(status: Status, records: Sequence[Record]) -> str:
    """The same as one HTML page that needs nothing else."""
    body = [f"<h1>Rollout {html.escape(status.entry.id)}</h1>"]
    for block in blocks(status, records):
        body.append(f"<h2>{html.escape(block.title)}</h2>")
        if block.lines:
            items = "".join(f"<li>{html.escape(plain(line))}</li>" for line in block.lines)
            body.append(f"<ul>{items}</ul>")
        if block.table:
            head, *rest = block.table
            rows = [f"<tr>{''.join(f'<th>{html.escape(one)}</th>' for one in head)}</tr>"]
            rows += [f"<tr>{''.join(f'<td>{html.escape(plain(one))}</td>' for one in row)}</tr>" for row in rest]
            body.append(f"<table>{''.join(rows)}</table>")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>Rollout {html.escape(status.entry.id)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:80rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:left;vertical-align:top}"
)

FORMATS: dict[str, Callable[[Status, Sequence[Record]], str]] = {"text": text, "md": markdown, "html": page}


def _cell(value: str) -> str:
    return plain(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
