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
from backends.lease import Lease
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
        with pytest.raises(PlatformError):
            executor.run()
        executor.gave_up("given up")
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
    ((host, why, for_ms),) = told
    assert (host, why) == (at.removeprefix("https://"), "the connection is refused")
    assert 10_000 <= for_ms < 60_000


def test_the_transport_tells_once_and_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert told == [("arm.example", "refused", 12_000), ("arm.example", "", 0)]
