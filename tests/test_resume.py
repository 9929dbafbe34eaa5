"""Killed between any two statements, another executor goes on: the end is the same, and nothing is done twice.

Method: the driver is killed at the k-th line it executes, for k = 1, 2, ... until a run is through. Driver, backend and
State are dropped, the world lives on for a while, then a new driver starts over the same world with the same journal.
What is compared is ground truth: the operations the world began on each VM, and what it looks like in the end.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backends.driver import Driver
from backends.journal import Journal, MemoryJournal, SqliteJournal, digest
from backends.protocol import Wait
from backends.simulated import SimulatedBackend
from planner.change import Action, GuestPatch, PropertyChange, Refresh
from planner.model import UpgradeMode
from planner.phases import Phase
from planner.plan import Rung
from planner.rollout import Asked, Rollout, State
from planner.trace import Record, Turn, replay
from tests.fleet import (
    NEW,
    SETTING,
    Ask,
    Case,
    Fleet,
    Run,
    WatchedWorld,
    as_before,
    cases,
    examples,
    fault,
    plan_or_none,
)
from tests.test_rollout_properties import bounded, keeps_the_floor, safe


class Killed(BaseException):
    """The executor is gone. Not an Exception: nobody may catch it on the way."""


KILLABLE = (Driver.turn.__code__, Driver.__init__.__code__)


@contextlib.contextmanager
def killed_at(line: int | None) -> Iterator[None]:
    """Raise `Killed` before the line-th line that the driver executes from here on (None: never)."""
    count = 0

    def inside(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count == line:
                raise Killed
        return inside

    def called(frame: FrameType, _event: str, _arg: object) -> Any:
        return inside if frame.f_code in KILLABLE else None

    before = sys.gettrace()
    if line is not None:
        sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)


class Story:
    """One rollout through several executors. `ask`: what an operator says as soon as command number `after` was decided."""

    def __init__(self, case: Case, journal: Callable[[], Journal], after: int = 0, ask: Asked | None = None) -> None:
        self.case, self.plan, self.place = case, case.plan(), case.world()
        self.place.plan = self.plan
        self.open = journal
        self.after, self.ask = after, ask
        self.due = sorted(case.asks, key=lambda one: one.at)

    def life(self, line: int | None) -> Run:
        """One executor: to its violent death (raises Killed), or until nothing happens any more."""
        journal = self.open()
        with killed_at(line):
            return self._live(journal)

    def _live(self, journal: Journal) -> Run:
        place = self.place
        backend = SimulatedBackend(place, self.case.fleet.scale_set(), poll_ms=self.case.poll_ms)
        driver = Driver(Rollout(self.plan), backend, journal)
        for _ in range(1000):
            while self.due and self.due[0].at <= place.now:
                one = self.due.pop(0)
                journal.ask(one.asked, one.ids)
            if self.ask is not None and driver.state.next_id > self.after:
                journal.ask(self.ask)
                self.ask = None
            wait = driver.turn()
            if wait is None:
                break
            until = wait.until_ms
            if self.due:
                until = self.due[0].at if until is None else min(until, self.due[0].at)
            if not backend.wait(Wait(until_ms=until, awaiting=wait.awaiting, watch=wait.watch)):
                break
        else:
            raise AssertionError(f"no end: {driver.state}")
        return Run(self.plan, place, journal, driver)

    def told(self, deaths: list[tuple[int, int]]) -> tuple[Run, int]:
        """All of it: deaths by line, each followed by a time (ms) in which nobody is there. How many came to pass."""
        for number, (line, away) in enumerate(deaths):
            try:
                return self.life(line), number
            except Killed:
                self.place.run(self.place.now + away, stop_on_wake=False)
        return self.life(None), len(deaths)


def in_memory() -> Callable[[], Journal]:
    """The same journal for all executors."""
    journal = MemoryJournal()
    return lambda: journal


def on_disk(path: Path) -> Callable[[], Journal]:
    """The same file, opened anew by each executor; the one before it has let go of it."""
    opened: list[SqliteJournal] = []

    def made() -> Journal:
        while opened:
            opened.pop().close()
        opened.append(SqliteJournal(path))
        return opened[0]

    return made


def footprint(run: Run) -> dict[str, Any]:
    """What is left in the world: per VM what it runs and how many operations it went through, and the set itself."""
    place: WatchedWorld = run.world
    for vm in place.vms.values():
        place.state(vm)
    return {
        "vms": {
            vm.id: (vm.vm_id, vm.image, place.is_latest(vm), vm.attempt, vm.commands, place.serving(vm))
            for vm in place.vms.values()
        },
        "gone": sorted((vm.id, vm.attempt) for vm in place.gone),
        "model": place.model,
        "mode": place.mode,
        "repairs": place.repairs_suspended,
        "ending": run.state.ending,
        "phase": run.state.phase,
    }


TWO = Fleet(size=2)
STORIES: dict[str, tuple[Case, int, Asked | None]] = {
    "image upgrade": (Case(fleet=TWO, strategy="batch", parameters={"size": 1}), 0, None),
    "the set itself": (Case(fleet=Fleet(size=1, mode=UpgradeMode.AUTOMATIC, repairs=True), more={"floor": 0}), 0, None),
    "reimage": (Case(fleet=Fleet(size=2, image="latest"), change=Refresh(exact_version=NEW)), 0, None),
    "upgrade, then reimage": (Case(fleet=TWO, action=Action.UPGRADE_THEN_REIMAGE), 0, None),
    "guest patch": (Case(fleet=TWO, change=GuestPatch(script="patch", undo="undo")), 0, None),
    "automatic": (Case(fleet=TWO, strategy="automatic"), 0, None),
    "a retry": (Case(fleet=TWO, fails={0: (1,)}), 0, None),
    "a reimage as repair": (
        Case(fleet=TWO, fails={0: (1,)}, ladder=(Rung.REIMAGE, Rung.QUARANTINE), more={"floor": 0}),
        0,
        None,
    ),
    "a replacement": (
        Case(fleet=TWO, fails={0: (1,)}, ladder=(Rung.REPLACE, Rung.QUARANTINE), more={"floor": 0}),
        0,
        None,
    ),
    "rollback after a failure": (
        Case(fleet=TWO, fails={1: (1,)}, parameters={"retries": 0, "on_failure": "rollback-all"}),
        0,
        None,
    ),
    "rollback of a reimage": (
        Case(
            fleet=Fleet(size=2, image="latest"),
            change=Refresh(exact_version=NEW),
            fails={1: (1,)},
            parameters={"retries": 0, "on_failure": "rollback-all"},
        ),
        0,
        None,
    ),
    "rollback while one is upgraded": (Case(fleet=TWO), 3, Asked.ROLLBACK),
    "rollback of a guest patch": (Case(fleet=TWO, change=GuestPatch(script="patch", undo="undo")), 2, Asked.ROLLBACK),
    "abort": (Case(fleet=Fleet(size=2, repairs=True)), 3, Asked.ABORT),
}
AWAY = (7_000, 300_000, 3 * 3_600_000)


def lives(case: Case, after: int = 0, ask: Asked | None = None) -> Iterator[tuple[Story, Run, str]]:
    """The story with a death at every line of it, each followed by no time and by some."""
    for line in itertools.count(1):
        for away in (0, AWAY[line % len(AWAY)]):
            story = Story(case, in_memory(), after, ask)
            run, deaths = story.told([(line, away)])
            yield story, run, f"killed at line {line}, away for {away} ms"
        if not deaths:
            break
    assert line > 100


@pytest.mark.parametrize("name", [name for name, (_, _, ask) in STORIES.items() if ask is None])
def test_killed_at_every_line(name: str) -> None:
    case, after, ask = STORIES[name]
    whole, _ = Story(case, in_memory(), after, ask).told([])
    expected = footprint(whole)
    assert whole.state.phase is Phase.ENDED
    for _, run, when in lives(case):
        assert footprint(run) == expected, when


@pytest.mark.parametrize("name", [name for name, (_, _, ask) in STORIES.items() if ask is not None])
def test_killed_at_every_line_when_an_operator_turns_it_around(name: str) -> None:
    """What was decided and never sent need not be taken back; apart from that the end is the same."""
    case, after, ask = STORIES[name]
    whole, _ = Story(case, in_memory(), after, ask).told([])
    for _, run, when in lives(case, after, ask):
        assert run.state.ending == whole.state.ending, when
        assert (run.world.model, run.world.mode, run.world.repairs_suspended) == (whole.world.model, "manual", False)
        for vm in run.world.vms.values():
            assert vm.attempt <= whole.world.vms[vm.id].attempt, when
            if ask is Asked.ROLLBACK:
                assert run.world.serving(vm), when
                assert as_before(run.plan, run.world, vm), when


def test_a_restart_is_never_repeated_without_being_told_to() -> None:
    """There is no evidence of a restart: where the receipt is missing, a person is asked, and only then."""
    case = Case(fleet=TWO, change=PropertyChange(path=SETTING, value="new"), action=Action.RESTART)
    asked = 0
    for story, run, when in lives(case):
        assert all(vm.attempt <= 1 for vm in run.world.vms.values()), when
        if run.state.phase is Phase.PAUSED:
            asked += 1
            assert run.state.question == "no-evidence"
            story.ask = Asked.SKIP
            assert story.life(None).state.ending == "finish-with-exceptions"
        else:
            assert run.state.ending == "finish"
            assert all(vm.attempt == 1 for vm in run.world.vms.values())
    assert asked >= 4  # the lines between intent and receipt, for both instances


@pytest.mark.parametrize("name", ["image upgrade", "rollback of a reimage", "a replacement"])
def test_killed_over_a_journal_on_disk(name: str, tmp_path: Path) -> None:
    case, after, ask = STORIES[name]
    expected = footprint(Story(case, in_memory(), after, ask).told([])[0])
    for line in range(1, 10_000, 17):
        path = tmp_path / f"{line}.sqlite"
        run, deaths = Story(case, on_disk(path), after, ask).told([(line, AWAY[line % 3])])
        assert footprint(run) == expected
        assert isinstance(run.journal, SqliteJournal)
        run.journal.close()
        if not deaths:
            break
    assert line > 100


# -- any rollout, several deaths ------------------------------------------------------------------------------------------------


def turns(journal: Journal) -> list[Turn]:
    """The turns in it."""
    return [one for one in journal.records() if isinstance(one, Turn)]


def states(case: Case, records: list[Turn]) -> list[State]:
    """What a replay from the start reaches."""
    return [state for _, state in replay(Rollout(case.plan()), records)]


deaths_ = st.lists(
    st.tuples(st.integers(1, 400), st.sampled_from((0, 0, 1, 5_000, 40_000, 600_000, 7_200_000))),
    min_size=1,
    max_size=4,
)


@examples(150)
@given(cases(most=4, trouble=("fails", "faults", "asks"), source=Fleet.source), deaths_)
def test_any_rollout_killed_several_times(case: Case, deaths: list[tuple[int, int]]) -> None:
    assume(plan_or_none(case) is not None)
    run, _ = Story(case, in_memory()).told(deaths)
    safe(run, case)
    keeps_the_floor(run)
    if case.becomes == "dead" and not any(one.asked is Asked.RETRY for one in case.asks):
        bounded(run, case)
    records = turns(run.journal)
    assert [one.number for one in records] == list(range(1, len(records) + 1))
    assert states(case, records) == [one.state for one in records]
    decoded = [msgspec.json.decode(msgspec.json.encode(one), type=Record) for one in records]
    assert decoded == records
    assert states(case, decoded) == [one.state for one in records]


@examples(40)
@given(cases(most=4, trouble=("fails",), source=Fleet.source), deaths_)
def test_two_journals_tell_the_same_story(tmp_path_factory: pytest.TempPathFactory, case: Case, deaths: Any) -> None:
    assume(plan_or_none(case) is not None)
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    kept, _ = Story(case, in_memory()).told(deaths)
    stored, _ = Story(case, on_disk(path)).told(deaths)
    assert digest(stored.journal) == digest(kept.journal)
    assert stored.journal.turns == kept.journal.turns
    assert stored.journal.last_state() == kept.journal.last_state() == kept.state
    assert isinstance(stored.journal, SqliteJournal)
    stored.journal.close()


@examples(60)
@given(cases(most=6, trouble=("fails", "bad", "flap", "background", "faults", "asks", "acts")))
def test_a_journal_replayed_from_the_start_reaches_every_state(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run()
    records = turns(run.journal)
    assert records[0].key
    assert states(case, records) == [one.state for one in records]


# -- journals ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    made = SqliteJournal(tmp_path / "j.sqlite")
    yield made
    made.close()


def test_requests_are_numbered_in_order_and_heard_once(journal: Journal) -> None:
    assert journal.requests(0) == ()
    assert [journal.ask(Asked.PAUSE, reason="lunch"), journal.ask(Asked.SKIP, ("1", "2"))] == [1, 2]
    heard = journal.requests(0)
    assert [(one.id, one.asked, one.ids, one.reason) for one in heard] == [
        (1, Asked.PAUSE, (), "lunch"),
        (2, Asked.SKIP, ("1", "2"), ""),
    ]
    assert journal.requests(1) == heard[1:]
    assert journal.requests(2) == ()


def test_a_request_made_while_nobody_was_there_is_heard_once(journal: Journal) -> None:
    case = Case(fleet=TWO)
    story = Story(case, lambda: journal)
    story.due = [Ask(0, Asked.PAUSE)]
    with contextlib.suppress(Killed):
        story.life(line=200)
    run = story.life(None)
    assert run.state.phase is Phase.PAUSED
    journal.ask(Asked.RESUME)
    again = story.life(None)
    assert again.state.ending == "finish"
    assert again.state.request == 2


def test_an_empty_journal_knows_nothing(journal: Journal) -> None:
    assert journal.last_state() is None
    assert journal.receipt("c1") == ""
    assert journal.turns == 0
    assert list(journal.records()) == []


def test_an_ended_rollout_stays_ended(journal: Journal) -> None:
    case = Case(fleet=TWO, faults=(fault("lose-reply", 2),))
    story = Story(case, lambda: journal)
    first = story.life(None)
    requests = first.world.requests
    again = story.life(None)
    assert again.state == first.state
    assert again.world.requests == requests
