"""One emulator: a site behind its endpoint, its clock, its trace, and what somebody who holds the control token may do to it.

Contract: every method takes the one lock, so that any thread may call any of them. `answer` never raises. Rules:

1. A request is, in this order: the control endpoint's (`control.py`), about identity (`identity.py`, in no trace), ARM's. ARM takes any
   bearer token and insists on one; what is ARM's loses its secrets before anything else sees it.
2. The clock hears of a request before it is answered and of the answer after. Requests to the control endpoint and for tokens are nobody's
   work: the time they take is not counted apart.
3. `reset` and `restore` make a fresh site. A snapshot is restored by asking everything again, at its time; the site must come out as it was
   when the snapshot was taken, or the emulator stays as it is.
4. Faults are counted from when they are given: the first request from then on is number 1, `from` and `until` count from then, too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from vmss_sim.arm import identity, measured, resources
from vmss_sim.arm.clock import BaseClock
from vmss_sim.arm.endpoint import Endpoint
from vmss_sim.arm.http import Refused, Request, Response
from vmss_sim.arm.redaction import clean_body, stand_ins
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.arm.sleepers import SleepAnswer, Sleeper
from vmss_sim.arm.snapshots import SNAPSHOT, digest, entry_of, header_of
from vmss_sim.arm.trace import READS, Trace, request_of
from vmss_sim.world.config import Image
from vmss_sim.world.faults import Fault
from vmss_sim.world.images import image_of

_BEARER = re.compile(r"bearer\s+\S+", re.IGNORECASE)
_OPERATION = re.compile(r"/providers/microsoft\.compute/locations/[^/]+/operations/([^/?]+)", re.IGNORECASE)
FORGETS_EVERY = 100
MOST_GONE = 200
"""Requests that change something, or instances that are gone, after which what is over is forgotten (`measured.py`, rule 6)."""
IDLE_LIMIT_MS = 7 * 86_400_000

Progress = Callable[[Request, Response, int], None]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What an emulator begins with, every time the same. make: a fresh site, its first set the scenario's. digest: of what that is made
    from, so that a snapshot is not restored over another scenario. faults: a scenario's fault tables as faults; raises InputError.
    """

    title: str
    seed: int
    digest: str
    make: Callable[[], Site]
    yardstick: measured.Yardstick
    faults: Callable[[list[dict[str, Any]]], tuple[Fault, ...]]


class _Replayed:
    """The clock of a replay: it stands where it is put."""

    def __init__(self) -> None:
        self.at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        pass

    def hides(self, _name: str) -> bool:
        return False

    def accepted(self, *, tells: bool = False) -> int | None:  # noqa: ARG002
        return None


class Emulator:
    """See above. progress: told of every request that changes something; control: answers what is for the control endpoint."""

    def __init__(
        self,
        stage: Stage,
        clock: BaseClock,
        *,
        trace: Trace,
        throttle: bool = False,
        opaque_urls: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.stage, self.clock, self.trace, self.progress = stage, clock, trace, progress
        self.throttle, self.opaque_urls = throttle, opaque_urls
        self.lock = threading.RLock()
        self.control: Callable[[Request], Response | None] = lambda _request: None
        self._use(self._endpoint(clock), 0)

    def _endpoint(self, clock: Any) -> Endpoint:
        return Endpoint(
            self.stage.make(), clock, throttle=self.throttle, opaque_urls=self.opaque_urls, others=resources.answer
        )

    def _use(self, endpoint: Endpoint, now_ms: int) -> None:
        endpoint.clock = self.clock
        self.endpoint, self.site = endpoint, endpoint.site
        self.clock.world = endpoint
        self.clock.begin_at(now_ms)
        self.started_ms: int | None = None
        self.counts = {"changing": 0, "refused": 0, "reads": 0}

    # -- requests ------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Rule 1."""
        with self.lock:
            made = self.control(request)
            if made is None:
                made = identity.answer(request, self.site.tenant)
            return self._arm(request) if made is None else made

    def _arm(self, request: Request) -> Response:
        if not _BEARER.fullmatch(request.headers.get("authorization", "").strip()):
            return self.endpoint.with_headers(request, _unauthorized(request, self.site.tenant), {})
        request = msgspec.structs.replace(request, body=clean_body(request.body))
        poll = "" if request.tells else _operation(request.path)  # rule 7 of clock.py
        self.clock.arrived(poll, request.port)
        changing = request.method not in READS
        before = self._asked
        response = self.endpoint.answer(request)
        if response.status >= 400 and "retry-after" in response.headers and not request.tells:
            wait = str(self.clock.refused(int(response.headers["retry-after"])))
            response = msgspec.structs.replace(response, headers={**response.headers, "retry-after": wait})
        told = "" if request.tells else _told(response, poll)
        if changing:
            self._note_change(response, of_the_set=self._asked != before)
        else:
            self.counts["reads"] += 1
        self.clock.answered(poll, told, busy=self.busy, port=request.port)
        self.trace.exchange(request, response, self.site.now_ms, needed=changing or self.throttle)
        if changing and self.progress is not None:
            self.progress(request, response, self.site.now_ms)
        return response

    def _note_change(self, response: Response, *, of_the_set: bool) -> None:
        self.counts["changing"] += 1
        often = self.counts["changing"] % FORGETS_EVERY == 0
        for one in self.site.sets:
            if not (often or len(one.world.gone) > MOST_GONE):
                continue
            if one is self.measured_set:
                measured.forget(one, self.stage.yardstick, self.started_ms)
            else:
                one.world.forget(one.world.now)
        if response.status >= 400:
            self.counts["refused"] += 1
            return
        if not of_the_set:
            return
        self.clock.ledger.changing()
        if self.started_ms is None:
            self.started_ms = self.site.now_ms

    @property
    def _asked(self) -> tuple[int, bool, int]:
        """Differs once the measured set was asked for something: which set it is, and how often it was."""
        one = self.measured_set
        single = bool(one.world.model.get("properties.singlePlacementGroup"))
        return id(one), single, one.world.requests

    @property
    def measured_set(self) -> ArmSet:
        """The set that the report is about."""
        return self.site.measured

    @property
    def busy(self) -> bool:
        """Does anything run, or is anything on its way back into service?"""
        return bool(self.site.running) or any(
            one.world.rollouts.running or measured.back_at(one) is not None for one in self.site.sets
        )

    # -- what the control endpoint does --------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Bring the worlds to the clock's now; the real clock moves by itself."""
        with self.lock:
            self.clock.settle()
            self.endpoint.advance(self.clock.now_ms())

    def advance(self, by_ms: int) -> int:
        """Let virtual time pass; returns the present."""
        with self.lock:
            self.clock.advance(by_ms)
            self.endpoint.advance(self.clock.now_ms())
            return self.clock.now_ms()

    def run_until_idle(self, limit_ms: int = IDLE_LIMIT_MS) -> bool:
        """Until nothing that somebody started runs, and everything that comes back serves. False: the limit came first."""
        with self.lock:
            self.endpoint.advance(self.clock.now_ms())
            until = self.clock.now_ms() + limit_ms
            while (due := self._due()) is not None:
                if due > until:
                    self.advance(until - self.clock.now_ms())
                    return False
                self.advance(max(0, due - self.clock.now_ms()))
            return True

    def _due(self) -> int | None:
        """When the next thing happens that somebody waits for."""
        due = self.endpoint.idle_at()
        if due is not None:
            return due
        back = [when for one in self.site.sets if (when := measured.back_at(one)) is not None]
        return min(back, default=None)

    def sleep(self, seconds: float, sleeper: Sleeper | None = None) -> SleepAnswer:
        """A client is about to sleep: what it is told."""
        with self.lock:
            told = self.clock.sleep(seconds, sleeper)
            self.endpoint.advance(self.clock.now_ms())
            return told

    def back(self, ticket: str) -> SleepAnswer:
        """A sleeper comes back with its ticket."""
        with self.lock:
            told = self.clock.back(ticket)
            self.endpoint.advance(self.clock.now_ms())
            return told

    def set_faults(self, tables: list[dict[str, Any]]) -> tuple[Fault, ...]:
        """Rule 4. Raises InputError."""
        with self.lock:
            faults = self.stage.faults(tables)
            self.catch_up()
            self.trace.control("faults", tables, self.site.now_ms)
            _give(self.site, faults)
            return faults

    def reset(self) -> None:
        """As at the start."""
        with self.lock:
            self.trace.control("reset", None, self.site.now_ms)
            self.trace.begin_again()
            self._use(self._endpoint(self.clock), 0)

    def snapshot(self) -> Iterator[bytes]:
        """The lines of a snapshot; consume it under the lock, or at once."""
        with self.lock:
            self.catch_up()
            header = {
                "schema": SNAPSHOT,
                "scenario": self.stage.title,
                "seed": self.stage.seed,
                "stage": self.stage.digest,
                "now_ms": self.site.now_ms,
                "throttle": self.throttle,
                "state": digest(self.site),
            }
            yield msgspec.json.encode(header) + b"\n"
            yield from self.trace.changes(reads=self.throttle)

    def restore(self, lines: Iterable[bytes]) -> int:
        """Rule 3; returns how many texts are stand-ins now for what no snapshot holds (user data, scripts). Raises Refused."""
        with self.lock:
            found = iter([line for line in lines if line.strip()])
            header = header_of(next(found, b""))
            for key, mine in (("stage", self.stage.digest), ("seed", self.stage.seed), ("throttle", self.throttle)):
                if header.get(key) != mine:
                    raise Refused(
                        409, "SnapshotMismatch", f"the snapshot was taken of another {key}: {header.get(key)!r}"
                    )
            clock = _Replayed()
            endpoint = self._endpoint(clock)
            log = [entry_of(line) for line in found]
            for entry in log:
                clock.at_ms = entry["at_ms"]
                if "control" in entry:
                    endpoint.advance(clock.at_ms)
                    _give(endpoint.site, self.stage.faults(entry["value"]))
                else:
                    endpoint.answer(request_of(entry))
            clock.at_ms = int(header["now_ms"])
            endpoint.advance(clock.at_ms)
            if digest(endpoint.site) != header["state"]:
                raise Refused(409, "SnapshotMismatch", "what the snapshot's requests lead to is not what it says")
            self.trace.control("restore", header["scenario"], self.site.now_ms)
            self.trace.begin_again()
            for entry in log:
                self.trace.again(entry)
            self._use(endpoint, clock.at_ms)
            return len({text for entry in log for text in stand_ins(entry.get("request_body"))})

    def images(self) -> dict[str, str | None]:
        """The image that the set's model names, and the one that the scenario upgrades to."""
        return {
            "model": _name(image_of(self.measured_set.world.model, None)),
            "target": next((_name(one) for one in self.site.images), None),
        }

    # -- what came of it -----------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """As things stand; changes nothing but at speed 1, where time passes by itself."""
        with self.lock:
            self.catch_up()
            return self._document()

    def finish(self) -> dict[str, Any]:
        """The last report: the worlds run on until everything has ended, and to the horizon, as in a study."""
        with self.lock:
            if self.started_ms is not None:
                self.run_until_idle()
                ahead = self.started_ms + self.stage.yardstick.horizon_ms - self.site.now_ms
                self.endpoint.advance(self.site.now_ms + max(0, ahead))
                self.clock.catch_up(self.site.now_ms)
            return self._document()

    def _document(self) -> dict[str, Any]:
        found = measured.measured(self.measured_set, self.stage.yardstick, self.clock, self.started_ms)
        about = {
            "scenario": self.stage.title,
            "seed": self.stage.seed,
            "requests": dict(self.counts),
            "images": self.images(),
            "faults": [
                {"verdict": one.verdict, "of": one.of, "met": self.site.met[place]}
                for place, one in enumerate(self.measured_set.world.faults)
            ],
        }
        return measured.document(found, self.measured_set, self.clock, about)


def _name(image: Image | None) -> str | None:
    """As people write it: with the version that is asked for, not the one that `latest` means just now."""
    if image is None:
        return None
    version = image.version or image.exact
    return image.uri or image.id or ":".join(part or "?" for part in (image.publisher, image.offer, image.sku, version))


def _give(site: Site, faults: tuple[Fault, ...]) -> None:
    site.met.clear()
    site.faults = tuple(_from_now(fault, 0, site.now_ms) for fault in faults)
    for one in site.sets:
        world = one.world
        world.faults = tuple(_from_now(fault, world.requests, site.now_ms) for fault in faults)


def _from_now(fault: Fault, requests: int, now_ms: int) -> Fault:
    return msgspec.structs.replace(
        fault,
        first=fault.first + requests,
        last=fault.last + requests,
        from_ms=fault.from_ms + now_ms,
        until_ms=None if fault.until_ms is None else fault.until_ms + now_ms,
    )


def _operation(path: str) -> str:
    found = _OPERATION.search(path)
    return found[1].lower() if found else ""


def _told(response: Response, poll: str) -> str:
    """The operation of which an answer says that it runs."""
    url = response.headers.get("azure-asyncoperation") or (response.headers.get("location") if not poll else "")
    if url:
        return _operation(url)
    if not poll:
        return ""
    body = response.body
    running = response.status == 202 or (isinstance(body, dict) and body.get("status") == "InProgress")
    return poll if running else ""


def _unauthorized(request: Request, tenant: str) -> Response:
    given = request.headers.get("authorization", "").strip()
    code, wrong = ("InvalidHeader", "provided in an invalid format") if given else ("", "missing")
    made = Refused(
        401, f"AuthenticationFailed{code}", f"Authentication failed. The 'Authorization' header is {wrong}."
    ).response()
    challenge = f'Bearer authorization_uri="{request.base}/{tenant}", error="invalid_token", error_description="none"'
    return msgspec.structs.replace(made, headers={"www-authenticate": challenge})
