"""A rollout while it runs: a picture on a terminal, a log where there is none, one JSON object a line where asked.

Contract: `show` is called after each turn with what was decided in it, and prints nothing that was printed before.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from backends.executor import TurnReport
from planner.model import in_service
from planner.phases import Phase
from planner.plan import Plan
from planner.planfile import Forecast
from planner.standing import floor_now
from planner.trace import Found, Receipt, Turn
from planner.waiting import waits_for
from vmss_sim.report import plans
from vmss_sim.report.colours import LOUD
from vmss_sim.report.console import plain
from vmss_sim.report.heatmap import fitted, legend_lines
from vmss_sim.report.times import at, clock, stamp

LISTED = 8
SILENT_MS = 60_000
"""So long a log is silent while it waits."""
KEPT, FEWEST = 20, 4
"""So many of the last decisions are kept, and so many shown wherever there is room for anything."""


class View(Protocol):
    """How a run is shown."""

    def show(self, told: TurnReport) -> None:
        """One turn."""

    def say(self, text: str) -> None:
        """Something beside the turns."""


class Log:
    """One line a decision, and where none comes for a while, what it waits for."""

    def __init__(self, console: Console, plan: Plan, trace: str = "") -> None:
        self._console, self._plan, self._trace = console, plan, trace
        self._last_ms: int | None = None

    def show(self, told: TurnReport) -> None:
        """One turn."""
        _found(self._console, told, self._trace)
        lines = list(note_lines(told))
        if lines or self._last_ms is None:
            self._last_ms = told.now_ms
        elif told.now_ms - self._last_ms >= SILENT_MS:
            waits = waits_for(self._plan, told.state, told.scale_set, told.now_ms)
            if waits:
                self._last_ms = told.now_ms
                lines.append(Text(f"{at(told.now_ms):>9}  {'':<20}{plain(waits)}"))
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def say(self, text: str) -> None:
        """Something beside the turns."""
        self._console.print(Text(text), soft_wrap=True)


class JsonLog:
    """One JSON object a line: decisions, commands, how operations ended."""

    def show(self, told: TurnReport) -> None:
        """One turn."""
        for record in told.records:
            match record:
                case Turn():
                    self._turn(record, told)
                case Found():
                    self._found(record)
                case Receipt():
                    self._line(at=stamp(record.now_ms), event="sent", command=record.command)
                case _:
                    continue

    def _found(self, record: Found) -> None:
        for one in record.moved:
            self._line(
                at=stamp(record.now_ms),
                event="moved",
                since=stamp(record.since_ms),
                rule=one.kind,
                verdict=one.verdict.value,
                instance=one.id or None,
                what=one.what,
                found=one.found,
                before=one.before,
                does=one.does,
            )

    def _turn(self, record: Turn, told: TurnReport) -> None:
        now: dict[str, Any] = {"at": stamp(record.now_ms), "phase": record.state.phase.value}
        for outcome in record.outcomes:
            self._line(
                **now,
                event="outcome",
                command=outcome.command,
                status=outcome.status.value,
                code=outcome.code,
                message=outcome.message,
            )
        for note in record.notes:
            serving = in_service(told.scale_set, told.scale_set.model.health_source)
            self._line(
                **now,
                event="decision",
                rule=note.rule,
                text=note.text,
                instances=note.ids,
                batch=note.batch,
                in_service=serving,
            )
        for command in record.commands:
            self._line(
                **now,
                event="command",
                command=command.id,
                kind=command.kind.value,
                instances=command.ids,
                batch=command.batch,
            )

    def say(self, text: str) -> None:
        """Something beside the turns."""
        self._line(event="message", text=text)

    def _line(self, **fields: Any) -> None:
        print(msgspec.json.encode(fields).decode(), flush=True)


def note_lines(told: TurnReport) -> Iterator[Text]:
    """The decisions of a turn, as lines of a log."""
    for record in told.records:
        for note in record.notes if isinstance(record, Turn) else ():
            line = Text(f"{at(told.now_ms):>9}  ")
            line.append(f"{note.rule:<19} ", style=LOUD.get(note.rule, "cyan"))
            ids = f"  [{', '.join(note.ids[:LISTED])}{', …' if len(note.ids) > LISTED else ''}]" if note.ids else ""
            line.append(plain(note.text + ids))
            yield line


def _found(console: Console, told: TurnReport, trace: str) -> None:
    """What moved while nobody looked, where that was found just now."""
    for record in told.records:
        if isinstance(record, Found):
            plans.since(console, record, trace)


class Picture:
    """What a terminal shows: the heatmap by update domain, the batch, what it waits for, elapsed against forecast."""

    def __init__(self, console: Console, plan: Plan, forecast: Forecast | None, title: str, trace: str = "") -> None:
        self._console, self._plan, self._forecast, self._title, self._trace = console, plan, forecast, title, trace
        self._told: TurnReport | None = None
        self._shown_s = time.monotonic()
        self._lines: list[Text] = []
        self._live: Live | None = None

    @contextmanager
    def open(self) -> Iterator[Picture]:
        """Show it while this lasts."""
        with Live(
            console=self._console, get_renderable=self.render, refresh_per_second=2, transient=False
        ) as self._live:
            yield self

    def show(self, told: TurnReport) -> None:
        """One turn."""
        _found(self._console, told, self._trace)
        self._lines = [*self._lines, *note_lines(told)][-KEPT:]
        self._told, self._shown_s = told, time.monotonic()

    def say(self, text: str) -> None:
        """Something beside the turns: it stays on the screen."""
        self._lines = [*self._lines, Text(text, style="bold yellow")][-KEPT:]

    def render(self) -> Group:
        """The picture now."""
        told = self._told
        if told is None:
            return Group(Text(f"{self._title}: looking at the set", style="bold"))
        state, plan = told.state, self._plan
        flying = frozenset(state.ticket.command.ids) if state.ticket is not None else frozenset[str]()
        serving = in_service(told.scale_set, plan.scale_set.health_source)
        floor = floor_now(plan, state, told.scale_set)
        head = Text(self._title, style="bold")
        head.append(f"  {state.phase.value}", style="bold green" if state.phase is Phase.ROLLING else "bold yellow")
        head.append(f"  {serving} of {len(told.scale_set.instances)} in service, floor {floor}")
        if serving < floor:
            head.append("  BELOW THE FLOOR", style="bold red")
        sequence = state.sequence if state.sequence is not None else (*plan.batches, *state.extra)
        where = Text(f"batch {min(state.batch + 1, len(sequence))} of {len(sequence)}")
        if state.batch < len(sequence):
            where.append(f" ({sequence[state.batch].why})")
        where.append(f"  {self._elapsed(told)}")
        doing = Text(plain(self._doing(told)))
        width, height = self._console.size
        # Nothing is folded and nothing runs out of the screen: what came last stands last, and is seen.
        legend = legend_lines(told.scale_set, plan.resolved.target, width, flying)
        room = height - 1 - 3 - len(legend)
        cells = fitted(told.scale_set, plan.resolved.target, width, max(3, room - FEWEST), flying)
        last = self._lines[-max(1, room - len(cells)) :]
        lines = [head, where, doing, *cells, *legend, *(line.copy() for line in last)]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Group(*lines)

    def _elapsed(self, told: TurnReport) -> str:
        began = told.state.started_ms if told.state.started_ms is not None else told.now_ms
        since = told.now_ms - began + int((time.monotonic() - self._shown_s) * 1000)
        duration = self._forecast.metrics.get("duration_s") if self._forecast is not None else None
        if duration is None or duration.p50 is None or duration.p95 is None:
            return f"{clock(since)} elapsed"
        return (
            f"{clock(since)} elapsed, forecast {clock(int(duration.p50 * 1000))} to {clock(int(duration.p95 * 1000))}"
        )

    def _doing(self, told: TurnReport) -> str:
        state = told.state
        if state.phase in (Phase.PAUSED, Phase.ENDED):
            return state.reason or state.ending
        if state.ticket is not None:
            return f"{state.ticket.command.kind.value} since {at(state.ticket.sent_ms)}: {state.ticket.command.why}"
        return waits_for(self._plan, state, told.scale_set, told.now_ms) or "waits"


@contextmanager
def view(
    plan: Plan, forecast: Forecast | None, title: str, log_format: str | None, console: Console, trace: str = ""
) -> Iterator[View]:
    """The view that suits: as asked, else a picture on a terminal and a log elsewhere. trace: the command that tells all."""
    if log_format == "json":
        yield JsonLog()
    elif log_format is None and console.is_terminal and sys.stdout.isatty():
        with Picture(console, plan, forecast, title, trace).open() as picture:
            yield picture
    else:
        yield Log(console, plan, trace)
