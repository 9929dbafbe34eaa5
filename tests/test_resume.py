"""Killed between any two statements, another executor goes on: the end is the same, and nothing is done twice.

Method: the driver is killed at the k-th line it executes, for k = 1, 2, ... until a run is through. Driver, backend and
State are dropped, the world lives on for a while, then a new driver starts over the same world with the same journal.
What is compared is ground truth: the operations the world began on each VM, and what it looks like in the end.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
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
from planner.plan import MovedBy, Rung
from planner.rollout import Asked, Rollout
from planner.trace import Receipt, Record, Recovered, Refusal, Turn, replay
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
from tests.test_rollout_properties import bounded, held_back, keeps_the_floor, repaired_meanwhile, safe
from vmss_sim.world.faults import Fault


class Killed(BaseException):
    """The executor is gone. Not an Exception: nobody may catch it on the way."""


STARTING = (Driver.__init__.__code__,)
KILLABLE = (Driver.turn.__code__, *STARTING)


@contextlib.contextmanager
def killed_at(line: int | None, within: tuple[CodeType, ...] = KILLABLE) -> Iterator[None]:
    """Raise `Killed` before the line-th line that the driver executes `within` these from here on (None: never)."""
    count = 0

    def inside(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count == line:
                raise Killed
        return inside

    def called(frame: FrameType, _event: str, _arg: object) -> Any:
        return inside if frame.f_code in within else None

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
        self.case, self.plan, self.place = case, case.plan(), case.world().in_order_of_birth()
        self.place.plan = self.plan
        self.open = journal
        self.after, self.ask = after, ask
        self.due = sorted(case.asks, key=lambda one: one.at)

    def life(self, line: int | None, within: tuple[CodeType, ...] = KILLABLE) -> Run:
        """One executor: to its violent death (raises Killed), or until nothing happens any more."""
        journal = self.open()
        with killed_at(line, within):
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

    def dies(self, line: int, away: int, within: tuple[CodeType, ...] = KILLABLE) -> bool:
        """One executor, and the time after its death. False: it came through."""
        try:
            self.life(line, within)
        except Killed:
            self.place.run(self.place.now + away, stop_on_wake=False)
            return True
        return False

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


def begun(run: Run) -> Counter[tuple[str, str]]:
    """How many operations of each kind the world really began on each VM, by its own log."""
    return Counter((name, one.kind) for one in run.world.log for name in one.started)


def sent_as_written(run: Run) -> None:
    """What reached the world was in the journal, the guard had nothing against it, and no command was sent twice."""
    sent = [one.command for one in run.sent()]
    written = run.commands()
    assert len(set(sent)) == len(sent), f"a command was sent twice: {sent}"
    assert set(sent) <= set(written)
    assert all(one.kind == written[one.command][0].kind.value for one in run.sent())
    assert not any(isinstance(one, Refusal) for one in run.journal.records())


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
        "begun": begun(run),
        "model": place.model,
        "mode": place.mode,
        "repairs": place.repairs_suspended,
        "ending": run.state.ending,
        "phase": run.state.phase,
        "back": [one.take for one in run.state.sequence or ()] if run.state.back else [],
    }


def differences(run: Run, left: dict[str, Any], expected: dict[str, Any], apart: set[str]) -> dict[str, Any]:
    """Where two footprints differ. apart: the VMs that are not compared, nor whoever came after the plan where the platform replaced one of them.
    The batches of a way back say only where it was broken off: who is out of service when it turns around goes first, and that passes with time, so
    another batch may meet what breaks it off. Then who was given up is compared, and who was on the way is not.
    """
    if left["back"] != expected["back"] and run.state.back and run.state.ending == "stop":
        given_up = {name for name, memory in run.state.memory.items() if memory.quarantined}
        apart = apart | {name for one in (left, expected) for take in one["back"] for name in take} - given_up
    gone = {name for one in (left, expected) for name, _ in one["gone"]}
    known = run.plan.scale_set.instances
    others = [name for one in (left, expected) for name in one["vms"] if name not in known] if apart & gone else []
    found = {}
    for part in left.keys() - {"back"}:
        one, other = (_but(footprint[part], part, {*apart, *others}) for footprint in (left, expected))
        if one != other:
            found[part] = (one, other)
    return found


def _but(what: Any, part: str, apart: set[str]) -> Any:
    if part == "gone":
        return [one for one in what if one[0] not in apart]
    if part == "begun":
        return Counter({key: count for key, count in what.items() if key[0] not in apart})
    return {name: vm for name, vm in what.items() if name not in apart} if part == "vms" else what


TWO = Fleet(size=2)
PATCH = GuestPatch(script="patch", undo="undo")
STORIES: dict[str, tuple[Case, int, Asked | None]] = {
    "image upgrade": (Case(fleet=TWO, strategy="batch", parameters={"size": 1}), 0, None),
    "the set itself": (Case(fleet=Fleet(size=1, mode=UpgradeMode.AUTOMATIC, repairs=True), more={"floor": 0}), 0, None),
    "reimage": (Case(fleet=Fleet(size=2, image="latest"), change=Refresh(exact_version=NEW)), 0, None),
    "upgrade, then reimage": (Case(fleet=TWO, action=Action.UPGRADE_THEN_REIMAGE), 0, None),
    "guest patch": (Case(fleet=TWO, change=PATCH), 0, None),
    "automatic": (Case(fleet=TWO, strategy="automatic"), 0, None),
    "platform-rolling": (Case(fleet=Fleet(size=3), strategy="platform-rolling"), 0, None),
    "platform-rolling that is cancelled": (
        Case(
            fleet=Fleet(size=3),
            strategy="platform-rolling",
            asks=(Ask(200_000, Asked.ABORT),),
        ),
        0,
        None,
    ),
    "rollback of platform-rolling": (
        Case(
            fleet=Fleet(size=3, mode=UpgradeMode.ROLLING),
            strategy="platform-rolling",
            asks=(Ask(100_000, Asked.ROLLBACK),),
        ),
        0,
        None,
    ),
    "surge": (Case(fleet=TWO, strategy="surge", parameters={"size": 1}), 0, None),
    "a surge whose addition never serves": (
        Case(fleet=TWO, strategy="surge", parameters={"size": 1}, fails={2: (1,)}),
        0,
        None,
    ),
    "a surge of two, of which one never serves": (
        Case(fleet=TWO, strategy="surge", parameters={"size": 2}, fails={2: (1,)}),
        0,
        None,
    ),
    "a surge that falls back": (
        Case(
            fleet=TWO,
            strategy="surge",
            parameters={"size": 1, "fallback": "in-place"},
            faults=(Fault(verdict="refuse", first=1, last=99, of="set-capacity", code="QuotaExceeded"),),
        ),
        0,
        None,
    ),
    "rollback of a surge": (
        Case(fleet=TWO, strategy="surge", parameters={"size": 1}, asks=(Ask(100_000, Asked.ROLLBACK),)),
        0,
        None,
    ),
    "abort of a surge": (Case(fleet=TWO, strategy="surge", parameters={"size": 1}), 2, Asked.ABORT),
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
    "a failure on the way back": (
        Case(fleet=TWO, fails={1: (1, 2), 0: (2,)}, parameters={"retries": 1, "on_failure": "rollback-all"}),
        0,
        None,
    ),
    "a guest patch that fails": (Case(fleet=TWO, change=PATCH, faults=(fault("fail", 2),)), 0, None),
    "rollback at a time": (Case(fleet=TWO, asks=(Ask(100_000, Asked.ROLLBACK),)), 0, None),
    "rollback of a reimage at a time": (
        Case(
            fleet=Fleet(size=2, image="latest"),
            change=Refresh(exact_version=NEW),
            asks=(Ask(80_000, Asked.ROLLBACK),),
        ),
        0,
        None,
    ),
    "rollback of a guest patch whose undo fails": (
        Case(fleet=TWO, change=PATCH, asks=(Ask(20_000, Asked.ROLLBACK),), faults=(fault("fail", 2),)),
        0,
        None,
    ),
    "rollback of an automatic upgrade": (
        Case(fleet=TWO, strategy="automatic", asks=(Ask(30_000, Asked.ROLLBACK),)),
        0,
        None,
    ),
    "rollback while one is upgraded": (Case(fleet=TWO), 3, Asked.ROLLBACK),
    "rollback of a guest patch": (Case(fleet=TWO, change=PATCH), 2, Asked.ROLLBACK),
    "abort": (Case(fleet=Fleet(size=2, repairs=True)), 3, Asked.ABORT),
}
TURNED = [name for name, (case, _, ask) in STORIES.items() if ask is not None or case.asks]
STRAIGHT = [name for name in STORIES if name not in TURNED]


def absences(line: int) -> tuple[int, int]:
    """How long nobody is there after a death at this line (ms): not at all; and shortly or, every other line, for long."""
    luck = random.Random(line)
    return 0, luck.randint(1, 30_000) if line % 2 else luck.randint(60_000, 4 * 3_600_000)


def lives(case: Case, after: int = 0, ask: Asked | None = None, least: int = 100) -> Iterator[tuple[Story, Run, str]]:
    """The story with a death at every line of it, after each of the absences. least: so many lines it has."""
    for line in itertools.count(1):
        for away in absences(line):
            story = Story(case, in_memory(), after, ask)
            run, deaths = story.told([(line, away)])
            sent_as_written(run)
            yield story, run, f"killed at line {line}, away for {away} ms"
        if not deaths:
            break
    assert line > least


@pytest.mark.parametrize("name", STRAIGHT)
def test_killed_at_every_line(name: str) -> None:
    case, after, ask = STORIES[name]
    whole, _ = Story(case, in_memory(), after, ask).told([])
    expected = footprint(whole)
    assert whole.state.phase is Phase.ENDED
    for _, run, when in lives(case, after, ask):
        assert footprint(run) == expected, when


@pytest.mark.parametrize("name", TURNED)
def test_killed_at_every_line_when_an_operator_turns_it_around(name: str) -> None:
    """What was decided and never sent need not be taken back; apart from that the end is the same."""
    case, after, ask = STORIES[name]
    whole, _ = Story(case, in_memory(), after, ask).told([])
    most = begun(whole)
    for _, run, when in lives(case, after, ask):
        assert run.state.ending == whole.state.ending, when
        assert (run.world.model, run.world.mode, run.world.repairs_suspended) == (
            whole.world.model,
            case.fleet.mode.value,
            False,
        )
        assert begun(run) <= most, when
        if ask is not Asked.ABORT and not any(one.asked is Asked.ABORT for one in case.asks):
            back_again(run, when)


@pytest.mark.parametrize("at", [30_000, 45_000], ids=["before it is adopted", "after it is adopted"])
def test_an_automatic_upgrade_whose_reply_was_lost_is_taken_back(at: int) -> None:
    """The model shows the update at once; the platform is still at it."""
    faults = (fault("lose-reply", 2),)
    run = Case(fleet=TWO, strategy="automatic", faults=faults, asks=(Ask(at, Asked.ROLLBACK),)).run()
    assert run.state.ending == "rollback"
    back_again(run, "never killed")


def back_again(run: Run, when: str) -> None:
    """Every VM runs what it ran, and serves (where the platform moves them: soon)."""
    if run.plan.moved_by is MovedBy.PLATFORM:
        run.world.run(run.world.now + 60_000, stop_on_wake=False)
    for vm in run.world.vms.values():
        assert run.world.serving(vm), when
        assert as_before(run.plan, run.world, vm), when


def test_turned_around_before_it_began_it_touches_nothing_whenever_it_is_killed() -> None:
    case = Case(fleet=TWO, asks=(Ask(0, Asked.ROLLBACK),))
    for _, run, when in lives(case, least=20):
        assert run.state.ending == "rollback", when
        assert run.world.log == [], when


@pytest.mark.parametrize("name", ["image upgrade", "reimage", "a guest patch that fails"])
def test_killed_again_while_taking_over(name: str) -> None:
    """A death at every line, and at every line of each successor's start."""
    case, after, ask = STORIES[name]
    expected = footprint(Story(case, in_memory(), after, ask).told([])[0])
    adopting = 0
    for line in itertools.count(1):
        for again in itertools.count(1):
            story = Story(case, in_memory(), after, ask)
            first = story.dies(line, 0)
            second = story.dies(again, absences(again)[1], STARTING)
            run = story.life(None)
            sent_as_written(run)
            assert footprint(run) == expected, f"killed at line {line}, then at line {again} of the start"
            if not second:
                break
        adopting += again > 9  # the start has more lines where something is in flight
        if not first:
            break
    assert adopting > 40


ANSWERS: dict[str, Callable[[int], Asked]] = {
    "skip": lambda _begun: Asked.SKIP,
    "retry": lambda _begun: Asked.RETRY,
    "what happened": lambda begun: Asked.SKIP if begun else Asked.RETRY,
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("faults", [(), (fault("fail", 2),)], ids=["all goes well", "one fails"])
def test_a_restart_is_never_repeated_without_being_told_to(faults: tuple[Fault, ...], answer: str) -> None:
    """There is no evidence of a restart: where the receipt is missing, a person is asked, and only then."""
    change = PropertyChange(path=SETTING, value="new")
    case = Case(fleet=TWO, change=change, action=Action.RESTART, faults=faults)
    asked: set[str] = set()
    before: set[int] = set()
    for story, run, when in lives(case):
        restarts = {name: run.world.started(name, ("restart",)) for name in run.world.vms}
        assert max(restarts.values()) <= 1, when
        if run.state.phase is not Phase.PAUSED:
            assert run.state.ending == "finish", when
            assert set(restarts.values()) == {1}, when
            continue
        assert run.state.question == "no-evidence", when
        assert run.state.ticket is not None
        assert run.journal.receipt(run.state.ticket.command.id) == "", when
        (name,) = run.state.ticket.command.ids
        asked.add(name)
        before.add(restarts[name])
        story.ask = ANSWERS[answer](restarts[name])
        retried = story.ask is Asked.RETRY
        last = story.life(None)
        sent_as_written(last)
        assert last.state.ending == ("finish" if retried else "finish-with-exceptions"), when
        expected = {**dict.fromkeys(restarts, 1), name: restarts[name] + retried}
        assert {one: last.world.started(one, ("restart",)) for one in restarts} == expected, when
        if answer == "what happened":
            assert set(expected.values()) == {1}
    assert asked == {"0", "1"}
    assert before == {0, 1}  # killed before it was sent, and after


def test_a_restart_with_a_receipt_is_taken_over_and_nobody_is_asked() -> None:
    case = Case(fleet=TWO, change=PropertyChange(path=SETTING, value="new"), action=Action.RESTART)
    story = Story(case, in_memory())
    backend = SimulatedBackend(story.place, case.fleet.scale_set())
    driver = Driver(Rollout(story.plan), backend, story.open())
    while not any(one.kind == "restart" for one in story.place.log):
        wait = driver.turn()
        assert wait is not None
        if not any(one.kind == "restart" for one in story.place.log):
            backend.wait(wait)
    run = story.life(None)
    assert run.state.ending == "finish"
    assert "paused" not in run.rules()
    assert all(vm.attempt == 1 for vm in run.world.vms.values())


@pytest.mark.parametrize("name", ["image upgrade", "rollback of a reimage", "a replacement"])
def test_killed_over_a_journal_on_disk(name: str, tmp_path: Path) -> None:
    case, after, ask = STORIES[name]
    expected = footprint(Story(case, in_memory(), after, ask).told([])[0])
    for line in range(1, 10_000, 13):
        path = tmp_path / f"{line}.sqlite"
        run, deaths = Story(case, on_disk(path), after, ask).told([(line, absences(line)[line % 4 > 0])])
        sent_as_written(run)
        assert footprint(run) == expected
        assert isinstance(run.journal, SqliteJournal)
        run.journal.close()
        if not deaths:
            break
    assert line > 100


# -- any rollout, several deaths ------------------------------------------------------------------------------------------------


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
    bounded(run, case)
    sent_as_written(run)
    replays(run)


def replays(run: Run) -> None:
    """Replay from the start reaches every State, from the values and from what JSON makes of them."""
    everything = list(run.journal.records())
    recovered = [one.state for one in everything if isinstance(one, Recovered)]
    decoded = [msgspec.json.decode(msgspec.json.encode(one), type=Record) for one in everything]
    assert decoded == everything
    for records in (everything, decoded):
        told = [one for one in records if isinstance(one, Turn)]
        assert [one.number for one in told] == list(range(1, len(told) + 1))
        reached = [state for _, state in replay(Rollout(run.plan), told, *recovered)]
        assert reached == [one.state for one in told]


def unhurried(case: Case) -> Case:
    """The same, where time away decides nothing: no deadline of the whole, and a failure leaves something to be seen."""
    return case.but(becomes="dead", more={key: value for key, value in case.more.items() if key != "deadlines"})


@examples(120)
@given(cases(most=4, trouble=("fails",), source=Fleet.source).map(unhurried), deaths_)
def test_whoever_takes_over_brings_it_to_the_same_end(case: Case, deaths: list[tuple[int, int]]) -> None:
    assume(case.action is not Action.RESTART)  # somebody is asked; see above
    # Out of service it costs nothing to go on with; meanwhile it may serve again, and the floor may need it.
    assume(case.action is not Action.UPGRADE_THEN_REIMAGE or not (case.fleet.sick or case.fleet.unknown))
    assume(plan_or_none(case) is not None)
    whole, _ = Story(case, in_memory()).told([])
    run, _ = Story(case, in_memory()).told(deaths)
    assume(not repaired_meanwhile(run))  # nobody was there before repairs were suspended: it is another set afterwards
    for one in (whole, run):  # whoever stops at a failure does not wait for what is still starting
        one.world.run(one.world.now + 3_600_000, stop_on_wake=False)
    apart = held_back(run)
    assert apart is None or not differences(run, footprint(run), footprint(whole), apart)


TIGHT = Case(
    fleet=Fleet(size=5, update_domains=5, unknown=(4,)),
    strategy="per-fd",
    parameters={"max_failed": 0, "retries": 2, "on_failure": "rollback-all"},
    more={"floor": 2},
    fails={0: (1, 2, 3), 2: (1,)},
    becomes="dead",
)
"""Of its first batch, 0, 2 and 4, the floor lets two go. 0 fails for the last time while 2 does not serve yet, and 4 was not touched."""


def test_whom_the_floor_let_wait_when_too_much_failed_has_come_as_far_as_time_let_it() -> None:
    """Who is away for a while finds that 2 serves again, and takes 4 with what is left of the ladder of 0: all others are as without a death."""
    expected = footprint(Story(TIGHT, in_memory()).told([])[0])
    assert not {key for key in expected["begun"] if key[0] == "4"}
    taken = 0
    for _, run, when in lives(TIGHT):
        left = footprint(run)
        assert held_back(run) == {"4"}, when
        assert not differences(run, left, expected, {"4"}), when
        other = set(differences(run, left, expected, set()))
        assert other in (set(), {"vms", "begun"}), when
        taken += bool(other)
        wrong = {**left, "begun": left["begun"] + Counter({("0", "upgrade"): 1})}
        assert set(differences(run, wrong, expected, {"4"})) == {"begun"}
    assert taken


def test_who_waited_and_is_given_up_on_the_way_back_decides_about_all() -> None:
    case = TIGHT.but(fails={**TIGHT.fails, 4: (2, 3, 4)})
    ends = {(run.state.ending, held_back(run) is None) for _, run, _ in lives(case)}
    assert ends == {("rollback", False), ("stop", True)}


@examples(40)
@given(cases(most=4, trouble=("fails",), source=Fleet.source), deaths_)
def test_two_journals_tell_the_same_story(tmp_path_factory: pytest.TempPathFactory, case: Case, deaths: Any) -> None:
    assume(plan_or_none(case) is not None)
    path = tmp_path_factory.mktemp("journal") / "j.sqlite"
    kept, _ = Story(case, in_memory()).told(deaths)
    stored, _ = Story(case, on_disk(path)).told(deaths)
    assert list(stored.journal.records()) == list(kept.journal.records())
    assert digest(stored.journal) == digest(kept.journal)
    replays(stored)
    assert stored.journal.turns == kept.journal.turns
    assert stored.journal.last_state() == kept.journal.last_state() == kept.state
    assert isinstance(stored.journal, SqliteJournal)
    stored.journal.close()


@pytest.mark.parametrize("name", STORIES)
def test_the_same_story_is_written_down_the_same(name: str) -> None:
    one, two, other = (
        Story(STORIES[name][0], in_memory(), *STORIES[name][1:]).told(deaths)[0]
        for deaths in ([(50, 0), (60, 5_000)], [(50, 0), (60, 5_000)], [])
    )
    assert list(one.journal.records()) == list(two.journal.records())
    assert digest(one.journal) == digest(two.journal) != digest(other.journal)
    assert sum(record.key for record in one.turns()) == 3  # one for each executor
    assert any(isinstance(record, Receipt) for record in one.journal.records())
    replays(one)


@examples(60)
@given(cases(most=6, trouble=("fails", "bad", "flap", "background", "faults", "asks", "acts")))
def test_a_journal_replayed_from_the_start_reaches_every_state(case: Case) -> None:
    assume(plan_or_none(case) is not None)
    run = case.run()
    assert run.turns()[0].key
    replays(run)


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
