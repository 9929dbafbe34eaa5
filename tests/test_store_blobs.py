"""The blob store, against Azurite (`make azurite` installs it): the same promises as the store in a folder, and those of a service."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.executor import Executor, Signals, Why
from backends.lease import Lease, LeaseLost
from backends.operate import take
from backends.simulated import SimulatedBackend
from backends.store import Approval, HeldByAnother, find, open_store
from backends.store.blobs import CONNECTION, BlobStore
from backends.store.files import FileStore
from planner.errors import InputError, PlatformError
from planner.rollout import Asked, Rollout
from planner.trace import Receipt, Turn, replay
from tests.fleet import Case, Fleet
from tests.test_executor_process import HELD, survives, two_at_once, whole
from tests.test_store import begun, entry

BINARY = Path(__file__).parent.parent / ".clients" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The well-known key of the emulators of Azure Storage: no secret."""
CASE = Case(fleet=Fleet(size=2))
needs_azurite = pytest.mark.skipif(
    not BINARY.exists() or shutil.which("node") is None, reason="no Azurite here: `make azurite` installs it"
)


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Azurite; the connection string."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("azurite")
    command = [str(BINARY), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    process = subprocess.Popen([*command, "--skipApiVersionCheck", "--disableTelemetry"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def store(azurite: str, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """An empty store."""
    monkeypatch.setenv(CONNECTION, azurite)
    made = open_store(f"azblob://devstoreaccount1/rollouts/{uuid.uuid4().hex}")
    assert isinstance(made, BlobStore)
    if not made.container.exists():
        made.container.create_container()
    made.lasts_ms = 15_000
    return made


@needs_azurite
def test_what_was_kept_comes_back(store: BlobStore) -> None:
    assert store.rollouts() == ()
    assert store.holder("web") is None
    made, data = entry(store)
    store.create(made, data)
    with pytest.raises(InputError, match="exists already"):
        store.create(made, data + b" ")
    again = open_store(store.name)
    assert again.rollouts() == (made,)
    assert find(again, None) == made
    assert again.plan_file(made.id) == data
    approval = Approval(plan_sha256=made.plan_sha256, approver="ann", at_ms=1, expires_ms=2, reason="r")
    store.approve(approval)
    assert again.approvals(made.plan_sha256) == (approval,)
    again.journal(made.id).ask(Asked.SKIP, ("1",), "sick", "bob")
    store.journal(made.id).ask(Asked.RESUME)
    one, two = again.journal(made.id).requests(0)
    assert (one.id, one.asked, one.ids, one.reason, one.by, two.id) == (1, Asked.SKIP, ("1",), "sick", "bob", 2)
    assert again.journal(made.id).requests(1) == (two,)


@needs_azurite
def test_one_executor_at_a_time_until_it_lets_go(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(store)
    first = store.take(made)
    with pytest.raises(HeldByAnother, match="another executor works on this scale set"):
        store.take(made)
    first.renew()
    holder = store.holder(made.scale_set)
    assert holder is not None
    assert holder.rollout == made.id
    first.release()
    assert store.holder(made.scale_set) is None
    second = store.take(made)
    assert second.fence == first.fence + 1
    with pytest.raises(LeaseLost):
        first.renew()


@needs_azurite
def test_a_dead_holder_is_waited_for_and_its_lease_is_lost(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(store)
    with monkeypatch.context() as patch:
        patch.setattr("backends.store.blobs.me", lambda: ("bob@far:7", "far", 7))
        dead = store.take(made)
    said: list[str] = []
    began = time.monotonic()
    held = take(store, made, says=said.append)
    assert time.monotonic() - began > 5, "it is waited for"
    assert "bob@far:7 holds the lease" in said[0]
    assert held.fence == dead.fence + 1
    with pytest.raises(LeaseLost, match="taken this scale set over"):
        dead.renew()


@needs_azurite
def test_a_dead_process_of_this_machine_is_not_waited_for(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    made = begun(store)
    with monkeypatch.context() as patch:
        patch.setattr("backends.store.blobs.me", lambda: ("me", socket.gethostname(), child.pid))
        store.take(made)
    assert store.take(made).fence == 2


@needs_azurite
def test_the_journal_refuses_whoever_was_taken_over(store: BlobStore) -> None:
    made = begun(store)
    old = store.journal(made.id, 1)
    old.write(Receipt(command="c1", handle="h", now_ms=1))
    new = store.journal(made.id, 2)
    with pytest.raises(LeaseLost, match="another executor writes this journal"):
        old.write(Receipt(command="c2", handle="h", now_ms=1))
    new.write(Receipt(command="c2", handle="i", now_ms=2))
    reads = store.journal(made.id)
    assert [one.command for one in reads.records() if isinstance(one, Receipt)] == ["c1", "c2"]
    assert reads.receipt("c2") == "i"
    with pytest.raises(LeaseLost, match="opened to be read"):
        reads.write(Receipt(command="c3", handle="h", now_ms=1))


@needs_azurite
def test_an_append_whose_reply_was_lost_counts_once(store: BlobStore) -> None:
    """The client repeats it by itself; the second one meets the first."""
    made = begun(store)
    journal = store.journal(made.id, 1)
    record = Receipt(command="c1", handle="h", now_ms=1)
    position = journal._position  # type: ignore[attr-defined]
    journal.write(record)
    journal._position = position  # type: ignore[attr-defined]
    journal.write(record)
    assert list(store.journal(made.id).records()) == [record]


@needs_azurite
def test_a_long_journal_goes_on_in_another_blob(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.store.blob_journal.MOST_BLOCKS", 4)
    made = begun(store)
    journal = store.journal(made.id, 1)
    records = [Receipt(command=f"c{number}", handle="h", now_ms=number) for number in range(12)]
    for one in records[:7]:
        journal.write(one)
    old, journal = journal, store.journal(made.id, 2)
    with pytest.raises(LeaseLost):
        for one in records:
            old.write(one)
    for one in records[7:]:
        journal.write(one)
    assert list(store.journal(made.id).records()) == records
    assert len(store.names("journals", made.id)) > 2


@needs_azurite
def test_a_rollout_ends_as_in_a_folder(store: BlobStore, tmp_path: Path) -> None:
    states = []
    for kept in (store, FileStore(tmp_path)):
        made, place = begun(kept), CASE.world()
        place.plan = CASE.plan()
        with Lease(kept.take(made)) as lease:
            journal = kept.journal(made.id, lease.fence)
            backend = SimulatedBackend(place, CASE.fleet.scale_set())
            executor = Executor(CASE.plan(), backend, journal, lease, Signals(terminal=False))
            assert executor.run() is Why.ENDED
        turns = [one for one in kept.journal(made.id).records() if isinstance(one, Turn)]
        assert [state for _, state in replay(Rollout(CASE.plan()), turns)][-1] == executor.state
        states.append((executor.state, len(turns)))
    assert states[0] == states[1]


@needs_azurite
def test_two_at_once_exactly_one_mutates(store: BlobStore, tmp_path: Path, azurite: str) -> None:
    two_at_once(tmp_path, store, **{CONNECTION: azurite})


@needs_azurite
def test_killed_and_gone_on_with_from_nothing_but_the_store(store: BlobStore, tmp_path: Path, azurite: str) -> None:
    expected, _ = whole(tmp_path, HELD)
    luck = random.Random(5)
    kills = [{"KILL_AT_WRITE": str(number), CONNECTION: azurite} for number in (7, 4, 9, 5, 6)]
    assert survives(tmp_path / "blobs", HELD, kills, luck, expected, store=store) == 5


@needs_azurite
def test_what_is_not_there_or_does_not_answer_is_one_line(azurite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTION, azurite)
    with pytest.raises(InputError, match=r"the store is not there.*ContainerNotFound"):
        begun(open_store("azblob://devstoreaccount1/nothing-here"))
    monkeypatch.setenv(CONNECTION, azurite.replace(KEY, KEY[:-6] + "AAAA=="))
    with pytest.raises(InputError, match="the store does not let you in"):
        open_store("azblob://devstoreaccount1/rollouts").rollouts()


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    said = (
        f"DefaultEndpointsProtocol=http;AccountName=a1234;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:{port}/a1234;"
    )
    monkeypatch.setenv(CONNECTION, said)
    store = open_store("azblob://a1234/rollouts")
    store.container._config.retry_policy.total_retries = 0  # type: ignore[attr-defined]
    with pytest.raises(PlatformError, match="does not answer") as met:
        store.rollouts()
    assert KEY not in str(met.value)


@pytest.mark.parametrize("given", ["azblob://", "azblob://account", "azblob://account/UPPER", "azblob://a/b?sig=x"])
def test_what_is_no_name_of_a_store(given: str) -> None:
    with pytest.raises(InputError, match=r"not a store.*azblob://ACCOUNT/CONTAINER"):
        open_store(given)
