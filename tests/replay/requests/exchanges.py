"""A recording as HTTP: every exchange about scale sets, in order of time, each with what kind of request it is.

Rules:

1. Order and time are those of `traffic.py`.
2. *Kind*: method and path, names left out (`POST virtualMachines/{id}/restart`); a PUT that created a set is a kind of its own, and
   so are looks at operations: `GET operation`, and `GET operation, Location` with `monitor=true`.
3. Some recorders kept no bodies of requests. A lost body of a PUT or PATCH is what was answered; of a POST that needs one, all
   instances. Where neither is possible the request cannot be sent.
4. Some recorders' subscriptions have policies that change requests on their way to the service: extensions for monitoring, tags
   and an identity are added to what was put. They are added here likewise.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from tests.replay.traffic import (
    Exchange,
    Seen,
    header,
    in_time,
    operation_in,
    operations,
    parsed,
    set_in,
    started_by,
)

OPERATION, MONITOR = "GET operation", "GET operation, Location"
CREATE = "PUT (create)"

Key = tuple[str, str]
"""A set of a recording: resource group and name, lower case."""


class Sent(NamedTuple):
    """One exchange. key: the set it is about (None: a list); asked, answered: the bodies; headers: those of the answer."""

    exchange: Exchange
    kind: str
    key: Key | None
    subscription: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def version(self) -> str:
        return self.query.get("api-version", "")

    @property
    def looks(self) -> bool:
        """Is it a look at an operation?"""
        return self.kind in (OPERATION, MONITOR)


class Recorded(NamedTuple):
    """A recording, read."""

    sent: tuple[Sent, ...]
    operations: dict[str, Seen]


_NAMES = (
    (re.compile(r"^/(virtualmachines|extensions)/[^/]+", re.I), r"/\1/{id}"),
    (re.compile(r"/(runcommands|extensions|networkinterfaces|roleassignments)/(?!\{)[^/]+", re.I), r"/\1/{id}"),
)
_SPELT = {
    part.lower(): part
    for part in (
        *(
            "virtualMachines",
            "instanceView",
            "manualupgrade",
            "osRollingUpgrade",
            "extensionRollingUpgrade",
            "powerOff",
        ),
        *("rollingUpgrades", "osUpgradeHistory", "runCommand", "runCommands", "performMaintenance", "simulateEviction"),
        *("setOrchestrationServiceState", "convertToSinglePlacementGroup", "networkInterfaces", "roleDefinitions"),
        *("roleAssignments", "forceRecoveryServiceFabricPlatformUpdateDomainWalk", "Microsoft.Authorization"),
    )
}


def kind_of(one: dict[str, Any]) -> str:
    """Rule 2."""
    path, _, query = one["url"].partition("?")
    if operation_in(path):
        return MONITOR if "monitor=true" in query.lower() else OPERATION
    found = set_in(path)
    if found is None:
        return f"{one['method']} list of {'a group' if '/resourcegroups/' in path.lower() else 'a subscription'}"
    rest = found[2]
    for pattern, name in _NAMES:
        rest = pattern.sub(name, rest)
    rest = "/".join(_SPELT.get(part, part) for part in rest.lower().strip("/").split("/"))
    if not rest:
        return CREATE if (one["method"], str(one["status"])) == ("PUT", "201") else str(one["method"])
    return f"{one['method']} {rest}"


def read(recording: dict[str, Any]) -> Recorded:
    """Rule 1."""
    raw = recording["exchanges"]
    times = in_time(recording)
    owner: dict[str, Key] = {}
    for one in raw:
        found = set_in(one["url"].partition("?")[0])
        if found and (started := started_by(one)):
            owner[started] = found[:2]
    made = []
    for index, at_ms in times.items():
        one = raw[index]
        path, _, query = one["url"].partition("?")
        kind, found = kind_of(one), set_in(path)
        operation = started_by(one)
        rest = found[2] if found else "list"
        key = found[:2] if found else None
        if kind in (OPERATION, MONITOR):
            operation, rest = operation_in(path), "operation" if kind == OPERATION else "monitor"
            key = owner.get(operation)
        body, answer = parsed(one["request_body"]), parsed(one["response_body"])
        exchange = Exchange(index, at_ms, one["method"], rest, query, int(one["status"]), body, answer, operation)
        headers = {str(name).lower(): header(one, str(name).lower()) for name in parsed(one["headers"]) or {}}
        path = "/" + unquote(path.split("://", 1)[-1].partition("/")[2])
        subscription = re.search(r"/subscriptions/([^/]+)", path, re.I)
        pairs = {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
        made.append(Sent(exchange, kind, key, subscription.group(1) if subscription else "", path, pairs, headers))
    return Recorded(tuple(made), operations([one.exchange for one in made]))


POLICY_TAGS = ("azsecpack", "platformsettings.host_environment.service.platform_optedin_for_rootcerts")
POLICY_EXTENSIONS = ("Microsoft.Azure.Geneva", "Microsoft.Azure.Security.AntimalwareSignature")


def _by_policy(kind: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Rule 4."""
    if kind not in (CREATE, "PUT", "PATCH"):
        return body
    tags = {name: value for name, value in (answer.get("tags") or {}).items() if name in POLICY_TAGS}
    if tags and (kind == CREATE or "tags" in body):
        body = {**body, "tags": {**(body.get("tags") or {}), **tags}}
    if tags and "identity" not in body and "identity" in answer:
        body = {**body, "identity": answer["identity"]}
    found = _extensions(answer)
    added = [one for one in found if (one.get("properties") or {}).get("publisher") in POLICY_EXTENSIONS]
    mine = _extensions(body)
    added = [one for one in added if one["name"] not in {other.get("name") for other in mine}]
    if added and (kind == CREATE or mine):
        properties = body.get("properties") or {}
        profile = properties.get("virtualMachineProfile") or {}
        extensions = {**(profile.get("extensionProfile") or {}), "extensions": [*mine, *added]}
        profile = {**profile, "extensionProfile": extensions}
        body = {**body, "properties": {**properties, "virtualMachineProfile": profile}}
    return body


def _extensions(document: dict[str, Any]) -> list[dict[str, Any]]:
    profile = (document.get("properties") or {}).get("virtualMachineProfile") or {}
    return (profile.get("extensionProfile") or {}).get("extensions") or []


NEEDS_BODY = ("POST manualupgrade", "POST delete")


def body_of(one: Sent) -> Any:
    """What is sent: rule 3. Raises LookupError where it is lost."""
    body, answer = one.exchange.request, one.exchange.response
    if body is not None:
        return _by_policy(one.kind, body, answer) if isinstance(answer, dict) and isinstance(body, dict) else body
    if one.kind in NEEDS_BODY:
        return {"instanceIds": ["*"]}
    if one.exchange.method in ("PUT", "PATCH"):
        if one.exchange.status >= 400 or not isinstance(answer, dict):
            raise LookupError(one.kind)
        return answer
    return None
