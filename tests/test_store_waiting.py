"""A store in Azure Storage that does not answer: how long it is waited for, what is said, and what becomes of the lease meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from backends.lease import LASTS_MS, Holder, Lease
from backends.store import Entry, HeldByAnother, open_store
from backends.store.blob_waiting import FIRST_S, LONGEST_S, MOST_S
from backends.store.blobs import CONNECTION, BlobStore
from planner.errors import InputError, PlatformError
from planner.rollout import Asked

NAME = "azblob://a1234/rollouts"


class Service:
    """What answers in place of the service. Time passes where somebody sleeps, and `hangs` s at each attempt that nobody answers."""

    def __init__(self, hangs: float = 0.0) -> None:
        self.now, self.hangs = 0.0, hangs
        self.down: Callable[[float], bool] = lambda _now: False
        self.attempts: list[float] = []
        self.blobs: dict[str, bytes] | None = None

    def sleep(self, span: float) -> None:
        self.now += span

    def request(self, method: str, url: str, headers: Any = None, data: bytes = b"", **_: Any) -> requests.Response:
        self.attempts.append(self.now)
        kept = None if self.blobs is None else self._kept(method, url.partition("?")[0], data)
        if self.down(self.now):
            self.now += self.hangs
            raise requests.exceptions.ConnectionError("nobody")
        answer = requests.Response()
        answer.status_code, answer.request, answer._content = 200, requests.Request(method, url).prepare(), b""
        if method == "GET":
            answer._content = b'<?xml version="1.0"?><EnumerationResults><Blobs/></EnumerationResults>'
            answer.headers["Content-Type"] = "application/xml"
        answer.raw = _Raw(answer._content)
        answer.headers.update({"x-ms-lease-id": "00000000-0000-0000-0000-000000000001", "x-ms-version": "2025-01-05"})
        if method == "PUT":
            answer.status_code = 200 if (headers or {}).get("x-ms-lease-action") == "renew" else 201
            answer.headers["Last-Modified"] = "Thu, 26 Nov 2026 07:36:52 GMT"
            answer.headers["ETag"] = '"1"'
        return answer if kept is None else self._told(answer, *kept)

    def _kept(self, method: str, name: str, data: bytes) -> tuple[int, bytes] | None:
        """Blobs that are created once, if asked for: it is done also where nobody hears of it. None: about no blob."""
        assert self.blobs is not None
        if name.count("/") < 4:
            return None
        if method == "GET":
            return 206, self.blobs[name]
        there = name in self.blobs
        self.blobs.setdefault(name, data)
        return (409 if there else 201), b""

    @staticmethod
    def _told(answer: requests.Response, status: int, body: bytes) -> requests.Response:
        answer.status_code, answer._content, answer.raw = status, body, _Raw(body)
        answer.headers.update({"x-ms-error-code": "BlobAlreadyExists"} if status == 409 else {})
        answer.headers.update(
            {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}",
            }
        )
        answer.headers["Content-Length"] = str(len(body))
        return answer


class _Raw:
    def __init__(self, data: bytes) -> None:
        self.data = data

    enforce_content_length = True

    def close(self) -> None:
        """Nothing is held."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.data


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setenv(CONNECTION, "DefaultEndpointsProtocol=https;AccountName=a1234;AccountKey=bm9uZQ==;")
    monkeypatch.setattr(requests.Session, "request", made.request)
    clock = {"monotonic": lambda: made.now, "sleep": made.sleep}
    monkeypatch.setattr("backends.store.blob_waiting.time", SimpleNamespace(**vars(time) | clock))
    return made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(service: Service, said: list[str]) -> BlobStore:
    made = open_store(NAME, None, lambda text: said.append(f"{service.now:.0f} {text}"))
    assert isinstance(made, BlobStore)
    return made


@pytest.mark.parametrize("hangs", [0.0, 10.0])
def test_one_that_never_answered_is_given_up_soon_and_that_is_said_meanwhile(
    hangs: float, store: BlobStore, service: Service, said: list[str]
) -> None:
    service.down, service.hangs = lambda _now: True, hangs
    with pytest.raises(
        PlatformError, match=rf"StoreUnreachable: {NAME} does not answer for \d\d s: .*look at its name"
    ) as met:
        store.rollouts()
    assert FIRST_S <= service.now <= FIRST_S + max(hangs, LONGEST_S), met.value
    first = said[0].partition(" ")
    assert float(first[0]) <= 10, "a person sees something after a few seconds"
    assert re.fullmatch(rf"the store {NAME} does not answer for \d+ s: .+; trying until \d\d:\d\d:\d\dZ", first[2])
    assert len(said) <= 2, "and not at every attempt"


def test_one_that_did_answer_is_waited_for_longer_and_gone_on_with(
    store: BlobStore, service: Service, said: list[str]
) -> None:
    assert store.rollouts() == ()
    service.down = lambda now: now < 75
    assert store.rollouts() == ()
    assert 75 <= service.now <= 75 + LONGEST_S
    assert said
    service.down = lambda _now: True
    began = service.now
    with pytest.raises(PlatformError, match="StoreUnreachable"):
        store.rollouts()
    assert MOST_S <= service.now - began <= MOST_S + LONGEST_S


def test_a_moment_s_trouble_says_nothing(store: BlobStore, service: Service, said: list[str]) -> None:
    service.down = lambda now: now < 2
    assert store.rollouts() == ()
    assert (said, service.now <= 3) == ([], True)


def test_a_renewal_that_one_lost_reply_keeps_the_lease(store: BlobStore, service: Service) -> None:
    """The SDK waits 15 s and more before it tries again: two beats, and most of what a lease lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobStore, "_lent", lambda _self, _blob: _Lent())
        held = store.take(a_rollout())
    lease = Lease(held, clock=lambda: service.now)
    service.now += 8
    until = service.now + 1
    service.down = lambda now: now < until
    lease.beat()
    assert service.now - until <= 3, "renewed at the second attempt"
    service.now += LASTS_MS / 1000 * 0.8 - 4
    tried = len(service.attempts)
    lease.check()
    assert len(service.attempts) == tried, "still sure: it was renewed"
    service.down = lambda _now: True
    before = service.now
    lease.beat()
    assert service.now - before <= 3, "the next beat tries again: this one does not sleep on"


def test_what_arrived_is_created_though_its_answer_was_lost(store: BlobStore, service: Service) -> None:
    """The repeated request meets the first one. Told as somebody else's, a rollout would not begin, and a request be heard twice: an approval of one
    batch let the next one begin, too.
    """
    service.blobs = {}
    journal = store.journal("web-1")
    lost, service.down = service.now + 1, lambda now: now < lost
    store.create(a_rollout(), b"{}")
    with pytest.raises(InputError, match="a rollout of this name exists already"):
        store.create(a_rollout(), b"{ }")
    assert store.plan_file("web-1") == b"{}"

    lost = service.now + 1
    service.down = lambda now: now < lost and len(service.blobs or ()) == 2
    assert journal.ask(Asked.APPROVE, reason="looks well") == 1
    assert journal.ask(Asked.APPROVE, reason="so does the next") == 2
    assert len(service.blobs) == 3


def a_rollout() -> Entry:
    return Entry(id="web-1", scale_set="web", name="web", plan_sha256="0", tool="t", opened_ms=0)


class _Lent:
    fence, held, holder = 0, False, None


def test_who_is_just_taking_the_lease_is_named_a_moment_later(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is the service's, and who holds it is written right after it was granted: in between nobody is named."""
    holder = Holder(executor="ann@pc:1", host="pc", pid=1, rollout="web-1", fence=1, since_ms=0, beat_ms=0)
    seen = [SimpleNamespace(holder=None), SimpleNamespace(holder=None), SimpleNamespace(holder=holder)]
    monkeypatch.setattr(BlobStore, "_lent", lambda _self, _blob: seen.pop(0))
    monkeypatch.setattr("backends.store.blobs.time", SimpleNamespace(sleep=lambda _span: None))
    with pytest.raises(HeldByAnother, match=r"another executor works on this scale set: ann@pc:1"):
        store._held_by(store.blob("leases", "web.json"), ValueError("409"))
    seen = [SimpleNamespace(holder=None)] * 99
    with pytest.raises(PlatformError, match="somebody who did not say who"):
        store._held_by(store.blob("leases", "web.json"), ValueError("409"))


def test_what_is_no_store_is_still_said_at_once() -> None:
    with pytest.raises(InputError, match="not a store"):
        open_store("azblob://", None, print)
