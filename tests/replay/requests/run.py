"""One recording's requests sent to the endpoint, and its answers compared with the recorded ones.

Rules:

1. Every exchange about scale sets is sent, in order, at its time; what is not, is counted with the reason (`LEFT_OUT`, `skipped`).
2. *Compared*: the status; code and words of an error; whether the answer has `Azure-AsyncOperation`, `Location` and `ETag`; the
   shape of the body (`shapes.py`), path by path.
3. URLs of operations are mapped: a recorded one is the one that our answer to the same request gave. So are ids of instances:
   a set that the endpoint created numbers them from 0, a recorded one has gaps.
4. *Given*: how long operations take (`session.scripted`), and failures from outside (`session.EXTERNAL`, conflicts with somebody
   else's request). How long Azure's own rollouts take is the world's affair: where a look at one finds it running here and ended
   there, or the other way round, and its end lies within the slack of `session.py`, that says nothing: time goes on to the end, or
   the look is counted as too close to tell.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from tests.replay.documents import error_of, instances
from tests.replay.requests.exchanges import CREATE, MONITOR, OPERATION, Sent, body_of, read
from tests.replay.requests.shapes import shape
from tests.replay.requests.stage import Stage
from tests.replay.session import ACTIONS, EXTERNAL, OLD_SLACK_MS, ON_ONE, ROLLOUT_SLACK_MS, scripted
from tests.replay.start import TIMINGS, era
from tests.replay.traffic import sessions, title
from vmss_sim.arm.endpoint import Endpoint
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.operations import Tracked
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world.faults import Fault
from vmss_sim.world.vm import Vm

BASE = "https://management.azure.com"
HEADERS = ("azure-asyncoperation", "location", "etag")
SILENT = "shape, agent silent"
"""What differs because the recorded guest agent had not reported yet: the state of the guest, not of the platform."""
OF_THE_AGENT = re.compile(r"(^|\.)(computerName|osName|osVersion|vmAgent)\b")
OTHERS = {
    "networkInterfaces": "another provider's (Microsoft.Network under the path of the set)",
    "Microsoft.Authorization": "another provider's (Microsoft.Authorization under the path of the set)",
}
"""Parts of a kind whose requests are none of the endpoint's, and why."""


class Difference(NamedTuple):
    """One thing that differs. what: status, code, message, header or shape; path: which header, which path of the body."""

    recording: str
    index: int
    kind: str
    version: str
    what: str
    path: str
    recorded: str
    found: str

    @property
    def inner(self) -> str:
        """The path below the item of a list."""
        return self.path.removeprefix("value[].")


class Compared(NamedTuple):
    """One exchange that was compared, and what differs."""

    kind: str
    recording: str
    failed: bool
    differences: tuple[Difference, ...]

    def agrees(self, what: str) -> bool:
        """Does nothing of this differ?"""
        return not any(one.what.startswith(what) for one in self.differences)


class FixedClock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0

    def now_ms(self) -> int:
        return self.now

    def polled(self, ends_at_ms: int | None, *, name: str = "", accepted_ms: int = 0) -> None:
        """Looks do not move it."""

    def hides(self, name: str) -> bool:
        return False

    def accepted(self, *, tells: bool = False) -> int | None:
        return None


class Run:
    """A recording; `compared` holds every exchange that was sent, `skipped` why others were not."""

    def __init__(self, recording: dict[str, Any]) -> None:
        self.title = title(recording)
        self.recorded = read(recording)
        self.clock = FixedClock()
        epoch = dt.datetime.fromisoformat(recording["recorded_on"]).replace(tzinfo=dt.UTC)
        self.site = Site(epoch=epoch, subscriptions=())
        self.endpoint = Endpoint(self.site, self.clock, throttle=False)
        self.site.timings, self.site.platform = TIMINGS, era(recording["recorded_on"])
        self.stage = Stage(self.site, self.title, recording["recorded_on"], sessions(recording))
        self.site.luck = lambda _seed, _number, _slots: self.stage.draws
        self.compared: list[Compared] = []
        self.skipped: Counter[str] = Counter()
        self.urls: dict[str, dict[str, str]] = {}
        self.rollouts: set[str] = set()
        self.names: dict[tuple[str, str], dict[str, str]] = {}
        self.pages: dict[str, dict[str, str]] = {}

    def run(self) -> Run:
        for one in self.recorded.sent:
            self.clock.now = max(self.clock.now, one.exchange.at_ms)
            self.endpoint.advance(self.clock.now)
            self._one(one)
        return self

    def _one(self, one: Sent) -> None:
        reason = next((why for part, why in OTHERS.items() if part in one.kind), None)
        if reason is not None:
            self.skipped[reason] += 1
            return
        if one.looks:
            self._look(one)
            return
        try:
            body = body_of(one)
        except LookupError:
            self.skipped["its body was not recorded, and it was refused"] += 1
            return
        self.stage.prepare(one, created=one.kind == CREATE)
        self._pair(one)
        target = self.stage.find(one)
        if one.exchange.method != "GET":
            self._script(one, target)
        path, body = self._named(one, body)
        query = self.pages.get(path.lower(), one.query) if "$skiptoken" in one.query else one.query
        held = self._scale_in(one, target)
        answer = self._send(one, one.exchange.method, path, query, body)
        for vm in held:
            vm.scale_in_protected = False
        created = self.stage.find(one) if target is None else None
        if created is not None and one.exchange.status >= 400:
            self.site.remove(created)  # it was refused: the set is not there
        if isinstance(answer.body, dict) and "nextLink" in answer.body:
            self.pages[path.lower()] = dict(parse_qsl(answer.body["nextLink"].partition("?")[2]))
        if one.exchange.operation:
            self._remember(one, answer, target)
        self._compare(one, answer)

    def _send(self, one: Sent, method: str, path: str, query: dict[str, str], body: Any) -> Response:
        return self.endpoint.answer(
            Request(
                method=method,
                path=path,
                query=query,
                headers={"content-type": "application/json"} if body is not None else {},
                body=b"" if body is None else json.dumps(body).encode(),
                base=BASE,
            )
        )

    # -- what is given

    def _script(self, one: Sent, target: ArmSet | None) -> None:
        """Rule 4."""
        exchange, kind = one.exchange, world_kind(one)
        seen = self.recorded.operations.get(exchange.operation)
        world = None if target is None else target.world
        said = exchange.request if isinstance(exchange.request, dict) else {}
        wanted = ((said.get("properties") or {}).get("upgradePolicy") or {}).get("mode")
        mode = str(wanted or (world.mode if world else "")).lower()
        rolling = mode == "rolling" and kind == "update-model"
        alone = world is not None and len(world.vms) == 1
        self.stage.draws.seconds = scripted(exchange, seen, kind, rolling_mode=rolling, alone=alone)
        if exchange.operation and (rolling or (kind.endswith("rolling-upgrade") and not kind.startswith("cancel"))):
            self.rollouts.add(exchange.operation)
        number = 1 if world is None else world.requests + 1
        faults: tuple[Fault, ...] = ()
        if exchange.status == 409 and error_of(exchange.response)[0] == "Conflict":
            faults = (Fault(verdict="refuse", first=number, last=number, code="Conflict"),)
        if seen is not None and seen.code in EXTERNAL:
            wait = round((seen.seconds or 0) * 1000)
            faults = (Fault(verdict="time-out", first=number, last=number, code=seen.code, delay_ms=wait),)
        if world is not None:
            world.faults = faults
        self.site.faults = faults

    def _scale_in(self, one: Sent, target: ArmSet | None) -> list[Vm]:
        """Which instances a scale-in takes is given, too, since all that follows names ids: the others are held."""
        model = one.exchange.response
        if target is None or one.key is None or one.exchange.rest or not isinstance(model, dict):
            return []
        capacity, vms = (model.get("sku") or {}).get("capacity"), target.world.vms
        if one.exchange.method == "GET" or capacity is None or int(capacity) >= len(vms):
            return []
        later = (other.exchange for other in self.recorded.sent if other.key == one.key and not other.looks)
        after = next(
            (
                instances(x)
                for x in later
                if x.index > one.exchange.index and x.rest == "/virtualmachines" and instances(x)
            ),
            None,
        )
        left = {vm["instanceId"] for vm in after or ()}
        known = self.names.get(one.key, {})
        stay = {known.get(name, name) for name in left}
        if after is None or len([name for name in vms if name not in stay]) != len(vms) - int(capacity):
            return []
        held = [vm for name, vm in vms.items() if name in stay and not vm.scale_in_protected]
        for vm in held:
            vm.scale_in_protected = True
        return held

    # -- what is mapped

    def _pair(self, one: Sent) -> None:
        """Rule 3: which of our instances are the recorded ones, as far as this exchange names them."""
        target = self.stage.find(one)
        if target is None or one.key is None:
            return
        known, vms = self.names.setdefault(one.key, {}), target.world.vms
        listed = [vm["instanceId"] for vm in instances(one.exchange)] if one.exchange.rest == "/virtualmachines" else []
        named = [*listed, *(_ids_of(one) if one.exchange.status < 400 else ())]
        for name in [name for name, ours in known.items() if ours not in vms]:
            del known[name]
        for name in (name for name in named if name not in known and name in vms and name not in known.values()):
            known[name] = name
        free = [name for name in vms if name not in known.values()]
        for name in named:
            if name not in known and free:
                known[name] = free.pop(0)

    def _named(self, one: Sent, body: Any) -> tuple[str, Any]:
        """Path and body with our ids of instances; one that is not there in the recording is none of ours."""
        known = dict(self.names.get(one.key, {})) if one.key else {}
        target = self.stage.find(one)
        if one.exchange.status in (400, 404) and target is not None:
            known |= {name: f"absent{name}" for name in _ids_of(one) if name not in known and name in target.world.vms}
        path = re.sub(
            r"(/virtualmachines/)([^/]+)", lambda found: found[1] + known.get(found[2], found[2]), one.path, flags=re.I
        )
        if isinstance(body, dict) and isinstance(body.get("instanceIds"), list):
            body = {**body, "instanceIds": [known.get(name, name) for name in body["instanceIds"]]}
        return path, body

    def _renamed(self, one: Sent, code: str, message: str) -> tuple[str, str]:
        """An error with the recorded ids of instances in its words."""
        back = {ours: name for name, ours in self.names.get(one.key, {}).items()} if one.key else {}
        words = re.compile(r"(instanceId |instance '|_)(\w+)(?=['\s])")
        return code, words.sub(lambda found: found[1] + back.get(found[2], found[2].removeprefix("absent")), message)

    def _remember(self, one: Sent, answer: Response, target: ArmSet | None) -> None:
        """Our URLs of the operation that this request started."""
        urls = {name: answer.headers[name] for name in ("azure-asyncoperation", "location") if name in answer.headers}
        self.urls[one.exchange.operation] = urls

    # -- looks at operations

    def _look(self, one: Sent) -> None:
        urls = self.urls.get(one.exchange.operation)
        if urls is None:
            self.skipped["looks at an operation whose request was not recorded"] += 1
            return
        url = urls.get("location" if one.kind == MONITOR else "azure-asyncoperation", "")
        if not url:
            self.skipped["looks at an operation that the endpoint did not start (its request differs)"] += 1
            return
        address, _, query = url.removeprefix(BASE).partition("?")
        told = dict(part.split("=", 1) for part in query.split("&"))
        told["api-version"] = one.version or told["api-version"]
        tracked = self._tracked(address)
        if one.kind == OPERATION and tracked is not None and self._too_close(one, tracked):
            self.skipped["looks at a rollout too close to its end to tell"] += 1
            return
        self._compare(one, self._send(one, "GET", address, told, None))

    def _tracked(self, address: str) -> Tracked | None:
        return self.site.operations.running.get(address.rpartition("/")[2].lower()) or self._ended(address)

    def _ended(self, address: str) -> Tracked | None:
        try:
            return self.site.operations.find(address.rpartition("/")[2])
        except Exception:
            return None

    def _too_close(self, one: Sent, tracked: Tracked) -> bool:
        """Rule 4."""
        body = one.exchange.response
        if one.exchange.operation not in self.rollouts or not isinstance(body, dict):
            return False
        timed = self.recorded.operations[one.exchange.operation].seconds is not None
        slack = ROLLOUT_SLACK_MS if timed else OLD_SLACK_MS
        if body.get("status") != "InProgress":
            limit = self.clock.now + slack
            while tracked.work.status == "running" and self.clock.now < limit:
                self.clock.now = min(limit, self.clock.now + 500)
                self.endpoint.advance(self.clock.now)
            return False
        return tracked.work.status != "running" and self.clock.now - tracked.work.ends_at <= slack

    # -- comparing

    def _compare(self, one: Sent, answer: Response) -> None:
        """Rule 2."""
        exchange = one.exchange
        found: list[Difference] = []

        def note(what: str, path: str, recorded: object, ours: object) -> None:
            if recorded != ours:
                told = (one.version, what, path, str(recorded), str(ours))
                found.append(Difference(self.title, exchange.index, one.kind, *told))

        note("status", "", exchange.status, answer.status)
        failed = exchange.status >= 400 or answer.status >= 400
        if failed:
            recorded, ours = error_of(exchange.response), self._renamed(one, *error_of(answer.body))
            note("code", "", recorded[0], ours[0])
            note("message", "", recorded[1], ours[1])
        if not found:
            for name in HEADERS:
                note("header", name, bool(one.headers.get(name)), name in answer.headers)
            recorded_shape, our_shape = shape(exchange.response), shape(answer.body)
            silent = agent_silent(exchange.response)
            for path in sorted(recorded_shape ^ our_shape):
                what = SILENT if silent and OF_THE_AGENT.search(path) else "shape"
                note(what, path, path in recorded_shape, path in our_shape)
        self.compared.append(Compared(one.kind, self.title, failed, tuple(found)))


def _ids_of(one: Sent) -> list[str]:
    """The instances that a request names."""
    body = one.exchange.request
    named = list(body.get("instanceIds") or []) if isinstance(body, dict) else []
    found = re.search(r"/virtualmachines/([^/]+)", one.exchange.rest)
    return [name for name in (*named, *(found.groups() if found else ())) if name != "*"]


def agent_silent(body: Any) -> bool:
    """Does an instance view say that the guest agent had not reported yet?"""
    return '"vmAgentVersion": "Unknown"' in json.dumps(body)


def world_kind(one: Sent) -> str:
    """The world's kind for a request, as far as durations ask for it."""
    rest = one.exchange.rest
    if not rest or rest.startswith("/extensions/"):
        return {"PUT (create)": "create-set", "DELETE": "delete-set"}.get(one.kind, "update-model")
    return ACTIONS.get(rest) or ON_ONE.get(rest.rpartition("/")[2], "other")
