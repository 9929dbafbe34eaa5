"""The endpoint: a request in, an answer out. Everything a client of ARM can tell apart is decided behind `answer`.

Rules:

1. Before a request is answered the worlds are brought to the clock's now, and nothing else moves them. A poll of an operation that
   runs tells the clock first, which may move; not of a client that tells every wait: it sees what is.
2. Order of refusals: the api-version, the route, subscription and group (ARM's own: nobody is charged), the throttles, the handler.
3. Every answer has request ids, and what remains of the throttles, whether they may refuse (`throttle`) or not.
4. An internal error is our bug: it is answered as ARM would, 500, and logged with its traceback.
5. Status 0 is no answer: the request or its answer was lost (a fault), and the server drops the connection.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from vmss_sim.arm import charges
from vmss_sim.arm.call import Accepted, Call, Silence
from vmss_sim.arm.clock import Clock
from vmss_sim.arm.http import TOLD, WAITS, Refused, Request, Response
from vmss_sim.arm.operations import Tracked
from vmss_sim.arm.routes import Route, Style, Table, segments
from vmss_sim.arm.site import Site
from vmss_sim.world import errors
from vmss_sim.world.throttle import USES, Buckets, Granted, Throttled, headers
from vmss_sim.world.vm import NEVER

LOG = logging.getLogger("vmss_sim.arm")
OLDEST = "2015"
_VERSION = re.compile(r"\d{4}-\d\d-\d\d(?:-[a-z]+)?", re.ASCII | re.I)
_PLAIN = re.compile(r"[\w.:{}-]{1,128}", re.ASCII)
MAY_BE_ABSENT = ("put-model", "delete-set")
"""Requests for a set that need not be there."""
MOST_BUCKETS = 5_000
RESOURCE = "x-ms-ratelimit-remaining-resource"
COMMON = {"cache-control": "no-cache", "pragma": "no-cache", "expires": "-1", "x-content-type-options": "nosniff"}

Others = Callable[[Request, Site], Response | None]
Observer = Callable[[Request, Response, int], None]


class Endpoint:
    """One endpoint over a site.

    throttle: may the token buckets refuse? retry_after_s: what answers that an operation runs say, where the clock says nothing.
    others: asked where no route matches. observer: told of every request, its answer and the virtual time.
    """

    def __init__(
        self,
        site: Site,
        clock: Clock,
        *,
        throttle: bool = True,
        retry_after_s: int | None = None,
        opaque_urls: bool = False,
        observer: Observer | None = None,
        others: Others | None = None,
    ) -> None:
        self.site, self.clock = site, clock
        self.throttle, self.retry_after_s = throttle, retry_after_s
        self.observer, self.others = observer, others
        site.operations.opaque = opaque_urls
        self._table = Table()
        self._buckets: dict[str, Buckets] = {}

    # -- time ----------------------------------------------------------------------------------------------------

    def advance(self, to_ms: int) -> None:
        """Let virtual time pass in every world."""
        self.site.advance(to_ms)

    def idle_at(self) -> int | None:
        """When the next thing happens while operations or rollouts run; None where none does."""
        return self.site.idle_at()

    def runs(self, name: str) -> bool:
        """Does this operation still run?"""
        return name in self.site.operations.running

    # -- answering -----------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """The answer. Never raises; deterministic in virtual time and request."""
        self.advance(self.clock.now_ms())
        remaining: dict[str, str] = {}
        try:
            response = self._answer(request, remaining)
        except Refused as refusal:
            response = refusal.response()
        except Silence:
            response = Response(status=0)
        except Exception:
            LOG.exception("%s %s: internal error", request.method, request.path)
            response = Refused(500, "InternalServerError", "The server encountered an unexpected error.").response()
        response = self.with_headers(request, response, remaining)
        if request.method.upper() == "HEAD":  # as GET, without a body
            response = msgspec.structs.replace(response, body=None)
        if self.observer is not None:
            self.observer(request, response, self.site.now_ms)
        return response

    def _answer(self, request: Request, remaining: dict[str, str]) -> Response:
        found = self._table.find(request.path)
        call = None if found is None else Call(self.site, request, found.names)
        if found is None or call is None or (call.is_machine and call.found is None):
            return self._elsewhere(request)
        version(request)
        _how_it_waits(request)
        method = request.method.upper()
        route = found.routes.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted(found.routes))
            raise NotAllowed(request, allowed)
        self.site.require_subscription(found.names["subscription"])
        if "group" in found.names:
            self.site.require_group(found.names["subscription"], found.names["group"])
        tracked = self._look_at_operation(call)
        self._charge(call, route, remaining)
        made = route.handler(call)
        if isinstance(made, Response):
            if made.status == 202 or (tracked is not None and tracked.status == "running"):
                made = msgspec.structs.replace(made, headers={**made.headers, **self._retry_after(request)})
            return made
        return self._started(request, route, made)

    def _look_at_operation(self, call: Call) -> Tracked | None:
        """Rule 1: a poll of an operation that runs, or would still be seen to."""
        name = call.names.get("operation", "").lower()
        operations = self.site.operations
        tracked = operations.running.get(name) or operations.ended(name)
        if tracked is None:
            return None
        if not call.request.tells and (name in operations.running or self.clock.hides(name)):
            ends = tracked.ends_at
            self.clock.polled(None if ends == NEVER else ends, name=name, accepted_ms=tracked.work.started_at)
            self.advance(self.clock.now_ms())
        tracked.hidden = not call.request.tells and self.clock.hides(name)
        return tracked

    def _started(self, request: Request, route: Route, made: Accepted) -> Response:
        """Rule 3 of routes.py."""
        operations, version = self.site.operations, request.version
        told = {
            "azure-asyncoperation": operations.url(made.tracked, request.base, version),
            "azure-asyncnotification": "Enabled",
        }
        if route.style is Style.ACTION:
            told["location"] = operations.url(made.tracked, request.base, version, monitor=True)
        etag = made.body.get("etag") if isinstance(made.body, dict) else None
        if isinstance(etag, str):
            told["etag"] = etag
        return Response(status=made.status, body=made.body, headers={**told, **self._retry_after(request)})

    def _retry_after(self, request: Request) -> dict[str, str]:
        said = self.clock.accepted(tells=request.tells)
        said = self.retry_after_s if said is None else said
        return {} if said is None else {"retry-after": str(max(1, math.ceil(said)))}

    def _elsewhere(self, request: Request) -> Response:
        """No route of ours: somebody else's, or ARM's own errors."""
        if self.others is not None and (made := self.others(request, self.site)) is not None:
            return made
        version(request)
        raise unknown(self.site, request)

    # -- throttling ----------------------------------------------------------------------------------------------

    def _charge(self, call: Call, route: Route, remaining: dict[str, str]) -> None:
        names = call.names
        one = call.found
        if one is None and "set" in names and route.uses not in MAY_BE_ABSENT:
            one = call.one  # refused: Resource Manager itself knows that it is not there
        vms = charges.vms(call, route.method, route.uses)
        resource = f"{one.id}/{names.get('vm', '')}" if one is not None else names.get("set", "")
        if "operation" in names:
            resource = names["operation"]
        subscription = names["subscription"].lower()
        buckets = self._buckets.setdefault(subscription, Buckets())
        if len(buckets) > MOST_BUCKETS:
            buckets.forget_full(self.site.now_ms, MOST_BUCKETS // 2)  # not with every request
        taken = buckets.take(route.uses, self.site.now_ms, vms=vms, resource=resource.lower())
        if isinstance(taken, Granted):
            remaining.update(headers(taken))
            by_vm = any(use.per == "vm" for use in USES[route.uses])
            if by_vm or route.method != "GET":
                remaining["x-ms-request-charge"] = str(vms if by_vm else 0)
            if route.method != "GET" and RESOURCE in remaining:
                remaining[RESOURCE] += f",{charges.QUEUED}"
        elif self.throttle:
            raise TooMany(taken, self.site.epoch + timedelta(milliseconds=self.site.now_ms), subscription)

    # -- headers -------------------------------------------------------------------------------------------------

    def with_headers(self, request: Request, response: Response, remaining: dict[str, str]) -> Response:
        """Rule 3."""
        name = self.site.guid("request")
        told = {**COMMON, "x-ms-request-id": name}
        given = request.headers.get("x-ms-correlation-request-id", "")
        told["x-ms-correlation-request-id"] = given if _PLAIN.fullmatch(given) else name
        client = request.headers.get("x-ms-client-request-id", "")
        if _PLAIN.fullmatch(client) and request.headers.get("x-ms-return-client-request-id", "").lower() == "true":
            told["x-ms-client-request-id"] = client
        return msgspec.structs.replace(response, headers={**told, **remaining, **response.headers})


def version(request: Request) -> str:
    """The api-version, which has to be there, a date, and not from before 2015. Raises Refused."""
    said = request.version
    if not said:
        raise Refused(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not _VERSION.fullmatch(said) or said < OLDEST:
        raise Refused(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{said[:60]}' is invalid. The supported versions are the dates from {OLDEST} on.",
        )
    return said


def _how_it_waits(request: Request) -> None:
    """What a request says of its client's waits is understood. Raises Refused."""
    said = request.headers.get(WAITS)
    if said is not None and not request.tells:
        raise Refused(
            400, "InvalidHeaderValue", f"{WAITS}: found {said[:60]!r}; expected {TOLD!r}, or no such header", WAITS
        )


class NotAllowed(Refused):
    """405: the path is known, the method is not."""

    def __init__(self, request: Request, allowed: str) -> None:
        super().__init__(
            405, "MethodNotAllowed", f"The requested resource does not support http method '{request.method}'."
        )
        self.allowed = allowed

    def response(self) -> Response:
        """With the methods that are allowed."""
        made = super().response()
        return msgspec.structs.replace(made, headers={**made.headers, "allow": self.allowed})


class TooMany(Refused):
    """429, from Resource Manager itself or from the compute provider (azure-vmss.md 6.3)."""

    def __init__(self, taken: Throttled, now: datetime, subscription: str) -> None:
        row = errors.TOO_MANY_REQUESTS
        seconds = max(1, -(-taken.retry_after_ms // 1000))
        super().__init__(row.http_status, row.code, row.sentence(), None, seconds)
        self.taken, self.now = taken, now
        if taken.policy.startswith("arm-"):
            self.code = "SubscriptionRequestsThrottled"
            kind = taken.policy.rpartition("-")[2]
            self.message = (
                f"Number of '{kind}' requests for subscription '{subscription}' exceeded the limit. Please try again after "
                f"'{seconds}' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling for "
                "additional information."
            )

    def response(self) -> Response:
        """With the detail that says which policy, as JSON within JSON."""
        made = super().response()
        taken = self.taken
        if not taken.policy.startswith("arm-"):
            group = taken.policy.removesuffix("SubscriptionMaximum").removesuffix("Resource")
            measured = {
                "operationGroup": group,
                "startTime": f"{self.now:%Y-%m-%dT%H:%M:%S}+00:00",
                "endTime": f"{self.now + timedelta(milliseconds=taken.retry_after_ms):%Y-%m-%dT%H:%M:%S}+00:00",
                "allowedRequestCount": taken.allowed,
                "measuredRequestCount": taken.measured,
            }
            detail = {
                "code": "TooManyRequests",
                "target": group,
                "message": json.dumps(measured, separators=(",", ":")),
            }
            made.body["error"]["details"] = [detail]
        return made


def unknown(site: Site, request: Request) -> Refused:
    """What ARM says of a path that leads nowhere."""
    parts = segments(request.path)
    lower = [part.lower() for part in parts]
    if lower[0] != "subscriptions":
        return Refused(404, "NotFound", "The requested resource was not found.")
    try:
        if len(parts) > 1:
            site.require_subscription(parts[1])
        if len(parts) > 3 and lower[2] == "resourcegroups":
            site.require_group(parts[1], parts[3])
    except Refused as refusal:
        return refusal
    if "providers" not in lower or lower.index("providers") + 1 >= len(parts):
        return Refused(404, "InvalidResourceType", "The resource type could not be found.")
    at = lower.index("providers") + 1
    space, types, names = parts[at], parts[at + 1 :: 2], parts[at + 2 :: 2]
    kind = "/".join(types)
    if request.method.upper() in ("GET", "HEAD", "DELETE", "PATCH", "POST") and types and len(types) == len(names):
        where = f" under resource group '{parts[3]}'" if lower[2] == "resourcegroups" and len(parts) > 3 else ""
        return Refused(
            404,
            "ResourceNotFound",
            f"The Resource '{space}/{kind}/{'/'.join(names)}'{where} was not found. For more details please go to "
            "https://aka.ms/ARMResourceNotFoundFix",
        )
    return Refused(
        404,
        "InvalidResourceType",
        f"The resource type '{kind}' could not be found in the namespace '{space}' for api version '{request.version}'.",
    )
