"""A host that cannot be reached: an executor writes it down, and `status` on another machine says it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from backends.azure import connect
from backends.azure.client import Transport
from backends.executor import Executor, Signals
from backends.journal import SqliteJournal
from backends.lease import Lease, LeaseLost
from backends.simulated import SimulatedBackend
from backends.store.files import FileStore
from planner.errors import InputError, PlatformError
from planner.trace import Record, Turn, Unread
from tests.azure_arm import SET, ManualSleeper, Token
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet
from tests.test_apply import Desk, desk, paused
from tests.test_azure_connecting import unreachable
from tests.test_store import Scripted, begun

__all__ = ["desk"]
CASE = Case(fleet=Fleet(size=3))


class Deaf(SimulatedBackend):
    """Nobody answers for a while, at these looks; then somebody does."""

    unreached: Callable[[str, str, int], None]

    def __init__(self, *arguments: Any, at: tuple[int, ...], forever: bool = False) -> None:
        super().__init__(*arguments)
        self.unreached = lambda _host, _why, _ms: None
        self.looks, self.at, self.forever = 0, at, forever

    def observe(self) -> Any:
        self.looks += 1
        if self.looks in self.at:
            self.unreached("management.azure.com", "its name cannot be resolved", 12_000)
            if self.forever:
                self.unreached("management.azure.com", "its name cannot be resolved", 14_000)
                raise PlatformError("Unreachable", "the scale set cannot be read: management.azure.com …")
            self.unreached("management.azure.com", "", 0)
        return super().observe()


def carried(
    tmp_path: Path, *, at: tuple[int, ...], forever: bool = False, stop: Callable[[], None] = lambda: None
) -> list[Record]:
    store = FileStore(tmp_path)
    made, place = begun(store, CASE), CASE.world()
    backend = Deaf(place, CASE.fleet.scale_set(), at=at, forever=forever)
    journal = store.journal(made.id, 1)
    executor = Executor(CASE.plan(), backend, journal, Lease(Scripted()), Signals(terminal=False))
    if forever:
        with pytest.raises(PlatformError) as raised:
            executor.run()
        executor.gave_up(raised.value)
    else:
        executor.run()
    return list(journal.records())


def test_it_is_written_down_while_it_lasts_and_when_it_is_over(tmp_path: Path) -> None:
    records = carried(tmp_path, at=(3,))
    told = [one for one in records if isinstance(one, Unread)]
    assert [(one.host, one.why) for one in told] == [
        ("management.azure.com", "its name cannot be resolved"), ("management.azure.com", ""),
    ]  # fmt: skip
    assert told[0].wall_ms < told[1].wall_ms, "since when"


def test_status_says_it_until_somebody_looked_again(tmp_path: Path) -> None:
    records = carried(tmp_path, at=(3,), forever=True)
    assert [type(one) for one in records[-2:]] != [Turn, Turn]
    assert sum(isinstance(one, Unread) for one in records) == 1, "giving up says nothing new"
    store = ("--store", f"file:{tmp_path}")
    seen = json.loads(vmss_sim("status", "--json", *store).out)
    assert seen["why"].startswith("cannot reach management.azure.com since 20")
    assert "Z: its name cannot be resolved; before that: " in seen["why"]
    assert (seen["unreachable"]["host"], seen["unreachable"]["why"]) == (
        "management.azure.com", "its name cannot be resolved",
    )  # fmt: skip
    text = vmss_sim("status", *store).out
    assert "cannot reach management.azure.com since" in text
    assert "cannot reach management.azure.com" in vmss_sim("status", "--all", *store).out
    journal = FileStore(tmp_path).journal(FileStore(tmp_path).rollouts()[0].id, 2)
    last = next(one for one in reversed(records) if isinstance(one, Turn))
    journal.write(last)
    assert json.loads(vmss_sim("status", "--json", *store).out)["unreachable"] is None


def test_an_executor_that_cannot_log_in_leaves_that_behind(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = paused(desk)

    def no_token(_self: object) -> None:
        raise InputError("no token could be had", "credential", "az: please log in", "")

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedBackend, "observe", no_token)
        assert here.run("resume", "--yes").status == 2
    assert here.status()["why"].startswith("the set cannot be looked at since 20")
    assert "please log in" in here.status()["unreachable"]["why"]
    assert here.run("resume", "--yes").status == 0
    assert here.status()["unreachable"] is None


def test_tries_that_never_looked_are_one_row_of_the_history(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = paused(desk)

    def no_token(_self: object) -> None:
        raise InputError("no token could be had", "credential", "az: please log in", "")

    def rows() -> list[str]:
        told = here.run("history", "--format", "md").out
        table = told.partition("## Executors")[2].partition("##")[0]
        return [line for line in table.splitlines() if line.startswith("| ")][2:]

    before = rows()
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedBackend, "observe", no_token)
        for _ in range(5):
            assert here.run("resume", "--yes").status == 2
    assert rows()[:-1] == before
    assert "| 5 tries that never looked, last: " in rows()[-1]
    assert "please log in" in rows()[-1]
    assert here.run("resume", "--yes").status == 0
    assert len(rows()) == len(before) + 2
    assert "5 tries that never looked" in rows()[-2], "who went on then has a row of its own"


def test_the_azure_backend_tells_after_ten_seconds_and_when_it_answers_again() -> None:
    at, clock = unreachable(), ManualSleeper()
    place = connect(SET, endpoint=at, audience=at, authority=at, credential=Token(), sleeper=clock, patience_s=60)
    told: list[tuple[str, str, int]] = []
    place.unreached = lambda *what: told.append(what)
    with pytest.raises(PlatformError):
        place.observe()
    assert {(host, why) for host, why, _ in told} == {(at.removeprefix("https://"), "the connection is refused")}
    assert all(10_000 <= for_ms < 60_000 for *_, for_ms in told)


def test_the_transport_tells_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each attempt, since whoever is told may not have been able to write it down."""
    clock = ManualSleeper()
    wire = Transport(clock)
    told: list[tuple[str, str, int]] = []
    wire.tells = lambda *what: told.append(what)
    answers: list[Any] = [ServiceRequestError("refused")] * 4 + ["an answer"] * 2

    def send(_self: object, _request: object, **_options: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(RequestsTransport, "send", send)
    for _ in range(6):
        with contextlib.suppress(ServiceRequestError):
            wire.send(HttpRequest("GET", "https://arm.example/x"))
        wire.sleep(6)
    assert told == [("arm.example", "refused", 12_000), ("arm.example", "refused", 18_000), ("arm.example", "", 0)]


# -- a store that fails --------------------------------------------------------------------------------------------------

STORE_DOWN = PlatformError("StoreUnreachable", "azblob://acc/c does not answer")


class Failing:
    """A store's journals whose writes fail, from one of their turns on, so many times."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, turn: int, times: int, error: Exception = STORE_DOWN
    ) -> None:
        self.turn, self.left, self.error = turn, times, error
        inner = SqliteJournal.write

        def write(journal: SqliteJournal, record: Record) -> None:
            if journal.turns >= self.turn and self.left:
                self.left -= 1
                raise self.error
            inner(journal, record)

        monkeypatch.setattr(SqliteJournal, "write", write)


@pytest.mark.parametrize("times", [1, 1_000], ids=["once", "for good"])
@pytest.mark.parametrize("error", [STORE_DOWN, LeaseLost("somebody has it")], ids=["store", "lease"])
def test_a_store_that_fails_leaves_the_rollout_detached(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, times: int, error: Exception
) -> None:
    here = desk(CASE)
    with monkeypatch.context() as patch:
        Failing(patch, turn=4, times=times, error=error)
        ran = here.run("apply")
    assert ran.status == 3, ran
    assert str(error) in ran.err
    assert "detached; what was sent goes on" in ran.err
    assert here.status()["unreachable"] is None, "the set can be looked at"
    assert here.run("apply").status == 0


@pytest.mark.parametrize("down", [(), (1,), (1, 2)], ids=["it answers", "and then answers", "and is given up"])
def test_a_note_that_no_store_takes_is_written_down_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, down: tuple[int, ...]
) -> None:
    """The host is told of twice, then it is given up; each is a try to write it down."""
    tries: list[int] = []
    inner = SqliteJournal.write

    def write(journal: SqliteJournal, record: Record) -> None:
        if isinstance(record, Unread):
            tries.append(len(tries) + 1)
            if tries[-1] in down:
                raise STORE_DOWN
        inner(journal, record)

    monkeypatch.setattr(SqliteJournal, "write", write)
    records = carried(tmp_path, at=(3,), forever=True)
    told = [one for one in records if isinstance(one, Unread)]
    assert (len(told), len(tries)) == (1, len(down) + 1)
    assert told[0].host == ("management.azure.com" if len(down) < 2 else "")


def test_a_store_that_fails_ends_no_retry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The executor's network is gone, and its store with it: both answer again, and it goes on."""
    store = FileStore(tmp_path)
    made = begun(store, CASE)
    gone_s: list[float] = []
    for down in (False, True):
        at, clock = unreachable(), ManualSleeper()
        place = connect(SET, endpoint=at, audience=at, authority=at, credential=Token(), sleeper=clock)
        journal = store.journal(made.id, 1)
        executor = Executor(CASE.plan(), place, journal, Lease(Scripted()), Signals(terminal=False))
        with monkeypatch.context() as patch:
            if down:
                Failing(patch, turn=0, times=1_000)
            with pytest.raises(PlatformError, match="cannot be read"):
                executor.run()
        gone_s.append((clock.now_ms() - 1_000) / 1000)
    assert min(gone_s) > 600, gone_s


def test_a_store_that_does_not_tell_what_was_asked_ends_no_wait(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = desk(CASE)
    inner, asked = SqliteJournal.requests, []

    def wait(self: SimulatedBackend, wait: Any) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteJournal, "requests", lambda *_: raised())
            assert not self.asked()  # type: ignore[attr-defined]
        return waits(self, wait)

    def raised() -> None:
        asked.append(True)
        raise STORE_DOWN

    waits = SimulatedBackend.wait
    monkeypatch.setattr(SimulatedBackend, "asked", None, raising=False)
    monkeypatch.setattr("backends.executor.ASKED_S", 0.0)
    monkeypatch.setattr(SimulatedBackend, "wait", wait)
    assert here.run("apply").status == 0
    assert asked
    assert SqliteJournal.requests is inner


def test_a_lease_that_ran_out_while_the_store_was_away_is_asked_for_once_more() -> None:
    now = [0.0]
    held = Scripted()
    lease = Lease(held, lasts_ms=10_000, clock=lambda: now[0])
    held.error = OSError("no network")
    now[0] = 300.0
    with pytest.raises(LeaseLost, match="no network"):
        lease.check()
    held.error = None
    lease.check()
    now[0], held.error = 600.0, LeaseLost("somebody has it")
    with pytest.raises(LeaseLost, match="somebody has it"):
        lease.check()


def test_a_hook_without_a_store_is_told_without_a_status(
    desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = desk(CASE)

    def fails(*_: object) -> None:
        raise STORE_DOWN

    monkeypatch.setattr("vmss_sim.cli.operating.status_of", fails)
    out = tmp_path / "told"
    ran = here.run("apply", "--hook", f"sh -c 'cat >>{out}'")
    assert ran.status == 0, ran
    assert "without its status: StoreUnreachable" in " ".join((ran.out + ran.err).split())
    assert "what is still changed cannot be told: StoreUnreachable" in ran.err
    assert b"rollout-ended" in out.read_bytes()
