"""The store and the lease: what is kept, who may write, and what stops an executor that lost the lease."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from backends.driver import Driver
from backends.executor import LOOK_MS, Executor, Signals, Why
from backends.lease import Holder, Lease, LeaseLost, is_gone, me, space
from backends.protocol import Wait
from backends.simulated import SimulatedBackend
from backends.store import VARIABLE, Approval, Entry, HeldByAnother, Store, find, new_entry, open_store
from backends.store.files import FileStore
from planner.errors import InputError, PlatformError
from planner.phases import Phase
from planner.planfile import decode, encode
from planner.rollout import Asked, Rollout
from planner.trace import Receipt
from tests.commands import vmss_sim
from tests.fleet import Case, Fleet

CASE = Case(fleet=Fleet(size=2))


def entry(store: Store, case: Case = CASE) -> tuple[Entry, bytes]:
    data = encode(case.plan())
    return new_entry(store, decode(data, "plan.json"), "test"), data


def begun(store: Store, case: Case = CASE) -> Entry:
    made, data = entry(store, case)
    store.create(made, data)
    return made


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "deep" / "store")
    assert store.rollouts() == ()
    assert store.holder("web") is None
    made, data = entry(store)
    store.create(made, data)
    again = FileStore(tmp_path / "deep" / "store")
    assert again.rollouts() == (made,)
    assert again.plan_file(made.id) == data
    approval = Approval(plan_sha256=made.plan_sha256, approver="ann", at_ms=1, expires_ms=2, reason="r")
    store.approve(approval)
    assert again.approvals(made.plan_sha256) == (approval,)
    assert again.approvals("0" * 64) == ()
    again.journal(made.id).ask(Asked.SKIP, ("1",), "sick", "bob")
    (request,) = store.journal(made.id).requests(0)
    assert (request.asked, request.ids, request.reason, request.by) == (Asked.SKIP, ("1",), "sick", "bob")


def test_ids_are_short_safe_and_not_given_twice(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    first, second = begun(store), begun(store)
    assert first.id == f"web-{first.plan_sha256[:8]}"
    assert second.id == f"{first.id}-2"
    with pytest.raises(InputError, match="exists already"):
        store.create(first, b"")
    plan = CASE.plan()
    evil = msgspec.structs.replace(plan, scale_set=msgspec.structs.replace(plan.scale_set, name="../../etc/x y"))
    read = msgspec.structs.replace(decode(encode(plan), ""), plan=evil)
    assert new_entry(store, read, "test").id.startswith("etc-x-y-")


def test_a_folder_that_is_none_or_cannot_be_looked_into_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for ask in (
            lambda store: find(store, None),
            lambda store: store.approvals("x"),
            lambda store: store.holder("x"),
        ):
            with pytest.raises(InputError, match=r"the store cannot be used; found .*a folder that can be read"):
                ask(FileStore(folder))
    missing = FileStore(tmp_path / "missing")
    with pytest.raises(
        InputError, match=r"there is no rollout in the store; found there is no folder .*missing; .*say --store"
    ):
        find(missing, None)
    assert missing.rollouts() == ()
    assert not missing.folder.exists(), "to look makes nothing"
    closed = FileStore(tmp_path)
    monkeypatch.setattr(Path, "iterdir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(InputError, match="the store cannot be used; found Permission denied"):
        find(closed, None)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can make one")
def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    nope = "file:/proc/nope"
    looked = vmss_sim("status", "--store", nope)
    assert (looked.status, looked.err.count("\n")) == (2, 1)
    assert "there is no folder /proc/nope" in looked.err
    file = tmp_path / "plan.json"
    file.write_bytes(encode(CASE.plan()))
    kept = vmss_sim("approve", str(file), "--by", "bob", "--store", nope)
    assert (kept.status, kept.err.count("\n")) == (2, 1)
    assert f"{nope}: the store cannot be used" in kept.err


def test_a_rollout_is_found_by_id_beginning_plan_or_as_the_newest(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "s")
    with pytest.raises(InputError, match="there is no rollout"):
        find(store, None)
    first, data = entry(store)
    store.create(first, data)
    file = tmp_path / "plan.json"
    file.write_bytes(data)
    other = begun(store, Case(fleet=Fleet(size=3)))
    assert find(store, None) == other
    assert find(store, first.id) == first
    assert find(store, other.id[:-1]) == other
    assert find(store, str(file)) == first
    with pytest.raises(InputError, match=r"2 rollouts begin like this.*web-"):
        find(store, "web")
    with pytest.raises(InputError, match="no such rollout"):
        find(store, "nothing")


@pytest.mark.parametrize("given", ["plan.json", "https://x", "file:", "azure://a/b"])
def test_what_is_no_store_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"not a store.*file:DIR"):
        open_store(given)


def test_the_store_by_default_and_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"file:{tmp_path}")
    assert open_store(None).name == f"file:{tmp_path}"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert open_store(None).name == f"file:{tmp_path}/state/vmss-sim"


def test_a_file_that_is_no_store_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("not a database, and longer than a header of SQLite would ever be " * 20)
    with pytest.raises(InputError, match="the store cannot be used"):
        FileStore(tmp_path).rollouts()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the store cannot be used"):
        begun(FileStore(tmp_path / "file" / "below"))


# -- the lease ---------------------------------------------------------------------------------------------------------


def other_host(store: FileStore, made: Entry, monkeypatch: pytest.MonkeyPatch) -> object:
    """The lease, taken on another machine."""
    with monkeypatch.context() as patch:
        patch.setattr("backends.store.files.me", lambda: ("bob@far:7", "far", 7))
        return store.take(made)


def test_one_executor_at_a_time_until_it_lets_go(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    made = begun(store)
    first = store.take(made)
    with pytest.raises(HeldByAnother, match=r"another executor works on this scale set: .* heard of 0 s ago"):
        store.take(made)
    holder = store.holder(made.scale_set)
    assert holder is not None
    assert holder.rollout == made.id
    first.release()
    assert store.holder(made.scale_set) is None
    assert store.take(made).fence == first.fence + 1


def test_another_set_has_its_own_lease(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    made = begun(store)
    store.take(made)
    store.take(msgspec.structs.replace(made, scale_set="another"))


def test_a_dead_holder_of_another_machine_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path, lasts_ms=10_000)
    made = begun(store)
    now = time.time_ns() // 1_000_000
    held = other_host(store, made, monkeypatch)
    monkeypatch.setattr("backends.store.files.now_ms", lambda: now + 9_000)
    with pytest.raises(HeldByAnother) as met:
        store.take(made)
    assert 0 < met.value.runs_out_ms <= 1_500
    monkeypatch.setattr("backends.store.files.now_ms", lambda: now + 12_000)
    store.take(made)
    with pytest.raises(LeaseLost, match="taken this scale set over"):
        held.renew()  # type: ignore[attr-defined]
    holder = store.holder(made.scale_set)
    assert holder is not None
    assert holder.executor == me()[0]


def test_a_dead_process_of_this_machine_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    name, host, _ = me()
    dead = Holder(executor=name, host=host, pid=child.pid, rollout="r", fence=1, since_ms=0, beat_ms=0, space=space())
    assert is_gone(dead)
    assert not is_gone(msgspec.structs.replace(dead, space="4026531836")), "of another container, or before a reboot"
    assert not is_gone(msgspec.structs.replace(dead, pid=1))
    assert not is_gone(msgspec.structs.replace(dead, host="far"))
    store = FileStore(tmp_path)
    made = begun(store)
    with monkeypatch.context() as patch:
        patch.setattr("backends.store.files.me", lambda: (name, host, child.pid))
        store.take(made)
    assert store.take(made).fence == 2


class Scripted:
    """A lease of a store that answers as told."""

    fence = 1

    def __init__(self) -> None:
        self.error: Exception | None = None

    def renew(self) -> None:
        if self.error is not None:
            raise self.error

    def release(self) -> None:
        return


def test_a_lease_knows_by_its_own_clock_when_it_cannot_be_sure() -> None:
    now = [0.0]
    held = Scripted()
    lease = Lease(held, beat_s=0.01, lasts_ms=10_000, clock=lambda: now[0])
    held.error = OSError("no network")
    now[0] = 7.9
    lease.beat()
    lease.check()
    now[0] = 8.1
    with pytest.raises(LeaseLost, match="could not be renewed for 8 s: no network; nothing more is sent from here"):
        lease.check()
    held.error = None
    lease.beat()
    lease.check()
    now[0] = 17.0
    with lease._renewing, pytest.raises(LeaseLost, match="for 8 s, nor did its store say why"):
        lease.check()  # a renewal that hangs
    held.error = InputError("the store cannot be used", "file:x", "disk I/O\n  error")
    lease.beat()
    with pytest.raises(LeaseLost, match="for 8 s: file:x: the store cannot be used; found disk I/O error;"):
        lease.check()
    held.error = None
    lease.beat()
    lease.check()
    held.error = LeaseLost("somebody has it")
    lease.beat()
    with pytest.raises(LeaseLost, match="somebody has it; nothing more is sent from here"):
        lease.check()


class Renewing:
    """The lock, while the thread's own renewal is under way for `takes` s more, and succeeds."""

    def __init__(self, lease: Lease, takes: float) -> None:
        self.lease, self.takes = lease, takes

    def acquire(self, *, timeout: float) -> bool:
        if timeout >= self.takes:
            self.lease._renewed = self.lease._clock()
        return timeout >= self.takes

    def release(self) -> None:
        """Nobody else waits."""


def test_a_renewal_under_way_is_waited_for() -> None:
    """A store that answers again: the attempt before that still waits for its answer (5 s), then comes the next one, 3 s later. Who gave that up ended a
    rollout that had waited so far.
    """
    now = [0.0]
    held = Scripted()
    lease = Lease(held, clock=lambda: now[0])
    held.error = OSError("no answer")
    now[0] = 60.0
    lease._renewing = Renewing(lease, 5 + 3 + 1)  # type: ignore[assignment]
    lease.check()
    now[0] = 120.0
    lease._renewing = Renewing(lease, 60)  # type: ignore[assignment]
    with pytest.raises(LeaseLost, match="could not be renewed for 24 s"):
        lease.check()


def test_the_last_word_is_said_under_the_lease_and_keeps_nobody_from_letting_go() -> None:
    done: list[str] = []
    held = Scripted()
    held.release = lambda: done.append("let go")  # type: ignore[method-assign]
    lease = Lease(held)
    lease.last = lambda: done.append("said")
    lease.close()
    assert done == ["said", "let go"]

    def refused() -> None:
        raise LeaseLost("another executor writes this journal now")

    lease = Lease(held)
    lease.last = refused
    lease.close()
    assert done == ["said", "let go", "let go"]
    lease = Lease(held)
    lease.last = lambda: time.sleep(30)
    began = time.monotonic()
    lease.close(wait_s=0.05)
    assert time.monotonic() - began < 5


def test_a_lease_that_hangs_is_given_up() -> None:
    held, answers = Scripted(), threading.Event()
    held.release = answers.wait  # type: ignore[method-assign]
    Lease(held).close(wait_s=0.05)  # else this never ends
    answers.set()


def test_the_journal_refuses_an_older_fence(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    made = begun(store)
    old, new = store.journal(made.id, 1), store.journal(made.id, 2)
    new.write(Receipt(command="c1", handle="h", now_ms=1))
    with pytest.raises(LeaseLost, match="another executor writes this journal"):
        old.write(Receipt(command="c1", handle="h", now_ms=1))
    with pytest.raises(LeaseLost):
        store.journal(made.id).write(Receipt(command="c1", handle="h", now_ms=1))
    assert len(list(store.journal(made.id).records())) == 1
    assert store.journal(made.id).ask(Asked.PAUSE) == 1, "anybody may ask"


def test_a_full_disk_is_the_stores_failure_and_no_traceback(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    journal = store.journal(begun(store).id, 1)
    journal._db.execute("PRAGMA max_page_count = 1")  # to SQLite, a disk that is full
    with pytest.raises(PlatformError, match=r"StoreRefused: .*database or disk is full"):
        for _ in range(100):
            journal.write(Receipt(command="c1", handle="h" * 10_000, now_ms=1))
    with pytest.raises(PlatformError, match="StoreRefused"):
        for _ in range(100):
            journal.ask(Asked.PAUSE, reason="r" * 10_000)


def test_an_executor_that_lost_the_lease_sends_nothing_more(tmp_path: Path) -> None:
    """It is taken over between two turns, and again between the intent and the sending."""
    store = FileStore(tmp_path)
    made, plan, place = begun(store), CASE.plan(), CASE.world()
    backend = SimulatedBackend(place, CASE.fleet.scale_set())
    driver = Driver(Rollout(plan), backend, store.journal(made.id, 1))
    wait = driver.turn()
    assert wait is not None
    backend.wait(wait)
    sent = len(place.log)
    store.journal(made.id, 2)
    with pytest.raises(LeaseLost):
        driver.turn()
    assert len(place.log) == sent

    held = Scripted()
    lease = Lease(held, lasts_ms=10_000)
    other = begun(store)
    executor = Executor(
        plan,
        SimulatedBackend(CASE.world(), CASE.fleet.scale_set()),
        store.journal(other.id, 1),
        lease,
        Signals(terminal=False),
    )
    held.error = LeaseLost("gone")
    journal = store.journal(other.id)
    writes = executor.driver.journal.write

    def lost_after_the_intent(record: object) -> None:
        writes(record)  # type: ignore[arg-type]
        lease.beat()

    executor.driver.journal.write = lost_after_the_intent  # type: ignore[method-assign]
    with pytest.raises(LeaseLost, match="gone"):
        executor.run()
    state = journal.last_state()
    assert state is not None
    assert state.ticket is not None, "the intent stands"
    assert journal.receipt(state.ticket.command.id) == "", "and nothing was sent"


# -- the executor ------------------------------------------------------------------------------------------------------


def executor(tmp_path: Path, case: Case, **more: object) -> Executor:
    store = FileStore(tmp_path)
    made = begun(store, case)
    place = case.world()
    place.plan = case.plan()
    return Executor(
        case.plan(),
        SimulatedBackend(place, case.fleet.scale_set()),
        store.journal(made.id, 1),
        Lease(Scripted()),
        Signals(terminal=False),
        **more,  # type: ignore[arg-type]
    )


def test_a_look_begins_no_waiting_anew(tmp_path: Path) -> None:
    """Else polls of an operation that runs for long would never become rarer than those of its first seconds."""
    made = executor(tmp_path, CASE)
    waits: list[Wait] = []
    inner = made._backend._backend
    passes = inner.wait

    def noted(wait: Wait) -> bool:
        waits.append(wait)
        return passes(wait)

    inner.wait = noted  # type: ignore[method-assign]
    assert made.run() is Why.ENDED
    spans = [wait.until_ms - wait.began_ms for wait in waits if wait.until_ms is not None and wait.began_ms is not None]
    assert len(spans) == len(waits)
    assert max(spans) > 2 * 20_000, "what lasts is waited for as one"
    assert len({wait.began_ms for wait in waits}) >= len(CASE.plan().batches), "and what is decided begins a new one"


def test_it_ends_with_the_rollout_and_tells_every_turn(tmp_path: Path) -> None:
    told = []
    made = executor(tmp_path, CASE, listen=told.append)
    assert made.run() is Why.ENDED
    assert made.state.ending == "finish"
    assert [record for one in told for record in one.records] == list(made.driver.journal.records())
    assert told[-1].state == made.state
    gaps = [later.now_ms - one.now_ms for one, later in itertools.pairwise(told)]
    assert max(gaps) <= LOOK_MS


def test_a_turn_that_says_nothing_is_not_written(tmp_path: Path) -> None:
    often = executor(tmp_path / "often", CASE, look_ms=1_000)
    seldom = executor(tmp_path / "seldom", CASE, look_ms=10_000_000)
    assert often.run() is seldom.run() is Why.ENDED
    assert often.driver.journal.turns - seldom.driver.journal.turns <= 4  # what changes by itself in between
    assert often.state == seldom.state


def test_it_rests_where_only_a_person_can_go_on(tmp_path: Path) -> None:
    case = CASE.but(parameters={"approve": True})
    made = executor(tmp_path, case)
    assert made.run() is Why.RESTS
    assert made.state.phase is Phase.PAUSED
    made.driver.journal.ask(Asked.APPROVE)
    assert made.run() is Why.ENDED


def test_the_longest_runtime_detaches_with_the_operation_in_flight(tmp_path: Path) -> None:
    made = executor(tmp_path, CASE, max_runtime_s=0)
    assert made.run() is Why.MAX_RUNTIME
    assert made.state.ticket is not None
    assert made.driver.journal.receipt(made.state.ticket.command.id)


def test_the_first_interrupt_of_a_terminal_asks_to_pause(tmp_path: Path) -> None:
    import signal

    said: list[str] = []
    made = executor(tmp_path, CASE)
    made._signals.terminal, made._signals.says = True, said.append
    made._signals.hear(signal.SIGINT)
    assert made.run() is Why.RESTS
    assert made.state.reason == "paused by an operator"
    assert said == ["pausing after the current operation; Ctrl-C again detaches at once and leaves everything as it is"]
    made._signals.hear(signal.SIGINT)
    assert made.run() is Why.DETACHED
