"""Bugs that the crash test has to notice: the product with one of them, in the executor's own process (`tests/loopback_process.py`, PLANTED)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends.driver import Driver
from backends.journal import SqliteJournal
from backends.store.files import FileStore, _Held
from planner.commands import Kind
from planner.machine import outcomes, setlevel
from planner.trace import Turn


def acts_before_it_writes() -> None:
    """The intent is written when the act is done: with its receipt."""
    kept, late = SqliteJournal.write, list[Any]()

    def write(self: Any, record: Any) -> None:
        if isinstance(record, Turn) and record.commands:
            late.append(record)
            return
        while late:
            kept(self, late.pop(0))
        kept(self, record)

    SqliteJournal.write = write  # type: ignore[method-assign]


def sends_again() -> None:
    """Who takes over sends what is in flight, instead of adopting it."""
    turns = Driver.turn

    def turn(self: Any) -> Any:
        looks, in_flight = self.backend.observe, list(self.in_flight.values())
        if self.before is None and in_flight:

            def observe() -> Any:
                seen, self.backend.observe = looks(), looks
                for one in in_flight:
                    self.backend.submit(one.command)
                return seen

            self.backend.observe = observe
        return turns(self)

    Driver.turn = turn  # type: ignore[method-assign]


def forgets_repairs() -> None:
    """Releasing takes repairs for restored."""
    shows = setlevel.done

    def done(t: Any, command: Any) -> bool:
        return (t.releasing and command.kind is Kind.RESUME_REPAIRS) or shows(t, command)

    setlevel.done = done


def ignores_the_lease() -> None:
    """Who comes second takes part."""
    takes = FileStore.take

    def take(self: Any, entry: Any) -> Any:
        holder = self.holder(entry.scale_set)
        return takes(self, entry) if holder is None else _Held(self, entry.scale_set, holder)

    FileStore.take = take  # type: ignore[method-assign]


def decides_anew_at_once() -> None:
    """What nobody answered for counts as refused: it is decided anew without a look at the set."""
    takes = outcomes.take

    def take(t: Any, outcome: Any) -> None:
        takes(t, outcome)
        if t.ticket is not None and t.ticket.unknown_ms is not None:
            t.clear_ticket()

    outcomes.take = take


def keeps_the_mode() -> None:
    """The mode from before never comes back."""
    setlevel._nothing_stale = lambda _turn: False


PLANTED: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        acts_before_it_writes,
        sends_again,
        forgets_repairs,
        ignores_the_lease,
        decides_anew_at_once,
        keeps_the_mode,
    )
}
