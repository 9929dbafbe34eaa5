"""Any requests in any order, well-formed or not: never an error of ours, reading changes nothing, the same again gives the same."""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.arm_site import Client, config
from tests.world_value import differences, frozen
from vmss_sim.arm import changes, operations
from vmss_sim.arm.endpoint import Endpoint
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.routes import ROUTES, SET
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world.config import Platform
from vmss_sim.world.faults import Fault

PROFILE = {
    "osProfile": {"computerNamePrefix": "web", "adminUsername": "a", "adminPassword": "hunter2"},
    "storageProfile": {
        "imageReference": {"publisher": "Canonical", "offer": "ubuntu", "sku": "22_04-lts", "version": "2.0.0"},
        "osDisk": {"createOption": "FromImage"},
    },
    "networkProfile": {"networkInterfaceConfigurations": [{"name": "nic", "properties": {"primary": True}}]},
}
HEALTH = {
    "name": "Health",
    "properties": {
        "publisher": "Microsoft.ManagedServices",
        "type": "ApplicationHealthLinux",
        "typeHandlerVersion": "1.0",
        "settings": {"protocol": "http", "port": 80},
    },
}
FULL = {
    "location": "westeurope",
    "sku": {"name": "Standard_D2s_v5", "tier": "Standard", "capacity": 3},
    "properties": {"upgradePolicy": {"mode": "Manual"}, "virtualMachineProfile": PROFILE},
}
BODIES: tuple[Any, ...] = (
    None,
    {},
    FULL,
    {"location": "westeurope", "sku": {"capacity": 5}},
    {"sku": {"capacity": "2"}},
    {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": "3.0.0"}}}}},
    {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": [HEALTH]}}}},
    {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": []}}}},
    {"properties": {"upgradePolicy": {"mode": "Rolling", "rollingUpgradePolicy": {"maxBatchInstancePercent": 50}}}},
    {"properties": {"upgradePolicy": {"mode": "automatic"}}},
    {"properties": {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M"}}},
    {"properties": {"protectionPolicy": {"protectFromScaleSetActions": True}}, "tags": {"a": "b"}},
    {"properties": {"source": {"script": "true"}}},
    {"instanceIds": ["0", "1"]},
    {"instanceIds": ["*"]},
    {"instanceIds": ["99"]},
    {"instanceIds": []},
    {"commandId": "RunShellScript"},
    {"serviceName": "AutomaticRepairs", "action": "Suspend"},
    {"capacity": 2},
    {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/s/x": {}}},
        "zones": ["1", "2", "3"],
    },
    {
        "plan": {"name": "p"},
        "properties": {"scaleInPolicy": {"rules": ["OldestVM"]}, "zoneBalance": True, "overprovision": False},
    },
    {
        "properties": {
            "virtualMachineProfile": {
                "storageProfile": {
                    "dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 4}],
                    "osDisk": {"osType": "Linux"},
                },
                "networkProfile": {
                    "healthProbe": {"id": "/p"},
                    "networkInterfaceConfigurations": [{"name": "n", "properties": {}}],
                },
                "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
                "userData": "aGk=",
            },
        }
    },
    {"properties": {"storageProfile": {"dataDisks": [{"lun": 1, "createOption": "Attach"}]}}},
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
VALUES = (
    st.sampled_from((None, True, "", "x", -1, 0, 101, 1e300, [], {}, [None], {"name": 1}, [{"name": []}], 10**30))
    | JUNK
)


OFTEN = tuple(
    route
    for route in ROUTES
    if (route.path == SET and route.method in ("PUT", "PATCH")) or route.path.endswith("/manualupgrade")
)
"""What most is decided about."""


class Ask(NamedTuple):
    """A request; reads of operations name one of those seen by number."""

    after_ms: int
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    operation: int | None = None


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A plausible body, with something in it replaced now and then; or anything."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=20))
    if kind == 1:
        return json.dumps(draw(JUNK)).encode()
    body = copy.deepcopy(draw(st.sampled_from(BODIES)))
    if kind < 5 and isinstance(body, dict) and body:
        place: Any = body
        while True:
            key: Any = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                place[key.upper()] = place.pop(key)
            else:
                place[key] = draw(VALUES)
            break
    return b"" if body is None else json.dumps(body).encode()


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """One request."""
    after = draw(st.sampled_from((0, 0, 500, 30_000, 300_000)))
    if draw(st.integers(0, 5)) == 0:
        return Ask(after, "GET", "", (), (), b"", draw(st.integers(0, 30)))
    route = draw(st.sampled_from(OFTEN) | st.sampled_from(ROUTES))
    names = {
        "subscription": "00000000-0000-0000-0000-000000000001",
        "group": draw(st.sampled_from(("rg", "rg", "rg", "RG", "other"))),
        "set": draw(st.sampled_from(("web", "web", "web", "web", "Web", "new", "x" * 70, "-"))),
        "vm": draw(st.sampled_from(("0", "1", "7", "web_00000000", "é"))),
        "location": draw(st.sampled_from(("westeurope", "West Europe", "mars"))),
        "extension": draw(st.sampled_from(("Health", "health", "Other"))),
        "command": draw(st.sampled_from(("one", "two"))),
        "operation": "none",
    }
    path = route.path.format(**names)
    method = draw(st.sampled_from((route.method,) * 9 + ("PUT", "POST", "DELETE", "PATCH", "HEAD", "get")))
    if draw(st.integers(0, 9)) == 0:
        path = draw(
            st.sampled_from((path.upper(), path + "/", path + "/more", path.rpartition("/")[0], "/", "//", path[:40]))
        )
    version = draw(
        st.sampled_from(("2024-07-01",) * 5 + ("2026-04-01", "2017-03-30", "2015-06-15", "2023-09-01", "", "junk"))
    )
    query = [("api-version", version)] if version else []
    if draw(st.integers(0, 4)) == 0:
        query.append(
            draw(
                st.sampled_from(
                    (
                        ("$expand", "instanceView"),
                        ("$filter", "properties/latestModelApplied eq true"),
                        ("$filter", "nonsense("),
                        ("$skiptoken", "!"),
                        ("$select", "instanceView"),
                        ("skipshutdown", "perhaps"),
                        ("forcedeletion", "true"),
                        ("platformupdatedomain", "-"),
                    )
                )
            )
        )
    headers = ()
    if draw(st.integers(0, 5)) == 0:
        headers = (
            draw(
                st.sampled_from(
                    (
                        ("if-match", '"1"'),
                        ("if-match", "junk"),
                        ("if-match", '"' + "9" * 400 + '"'),
                        ("if-none-match", "*"),
                        ("if-none-match", "x"),
                        ("x-ms-correlation-request-id", "a\r\nb"),
                    )
                )
            ),
        )
    return Ask(after, method, path, tuple(query), headers, draw(bodies()))


def client(opaque: bool) -> Client:
    """A set on which nearly everything may be asked; some requests meet faults."""
    faults = (
        Fault(verdict="lose-reply", first=7, last=7),
        Fault(verdict="lose-request", first=9, last=9),
        Fault(verdict="fail", first=12, last=12),
        Fault(verdict="refuse", code="TooManyRequests", first=14, last=14, retry_after_ms=1500),
        Fault(verdict="hang", first=20, last=20),
    )
    return Client(config(3, platform=Platform(overlap="queue")), faults, opaque_urls=opaque, throttle=False)


def play(
    one: Client, requests: list[Ask], look: Callable[[Client, Request, Response], None] | None = None
) -> list[Response]:
    """Ask them in order."""
    answers, urls = [], []
    for ask in requests:
        one.clock.advance(ask.after_ms)
        request = Request(
            method=ask.method, path=ask.path, query=dict(ask.query), headers=dict(ask.headers), body=ask.body
        )
        if ask.operation is not None:
            if not urls:
                continue
            parts = urlsplit(urls[ask.operation % len(urls)])
            request = Request(method="GET", path=parts.path, query=dict(parse_qsl(parts.query)))
        response = one.endpoint.answer(request)
        json.dumps(response.body)
        urls += [response.headers[name] for name in ("azure-asyncoperation", "location") if name in response.headers]
        answers.append(response)
        if look is not None:
            look(one, request, response)
    return answers


def well(one: Client, request: Request, response: Response) -> None:
    """What holds for every answer."""
    assert response.status == 0 or 200 <= response.status < 500, (request, response)
    if request.method.upper() == "HEAD":
        assert response.body is None
    elif response.status >= 400:
        error = response.body["error"]
        assert error["code"], request
        assert error["message"], request
    for name, value in response.headers.items():
        assert name == name.lower(), name
        assert "\n" not in value, value
    if "retry-after" in response.headers:
        assert int(response.headers["retry-after"]) >= 1
    if response.status == 202:
        assert "location" in response.headers
    for each in one.site.sets:
        text = json.dumps(each.document)
        assert "hunter2" not in text
        assert "provisioningState" not in text


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(asks(), max_size=30), opaque=st.booleans())
def test_any_requests_in_any_order(requests: list[Ask], opaque: bool) -> None:
    first = client(opaque)
    answers = play(first, requests, well)
    assert play(client(opaque), requests) == answers


def value_of(one: ArmSet) -> Any:
    """All that a set is."""
    return {**frozen(one.world), "document": copy.deepcopy(one.document), "instances": copy.deepcopy(one.instances)}


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=40)
@given(requests=st.lists(asks(), max_size=15))
def test_reading_changes_nothing(requests: list[Ask]) -> None:
    one = client(opaque=False)
    play(one, requests)
    one.endpoint.advance(one.clock.now_ms())
    before = [value_of(each) for each in one.site.sets]
    for path in (
        "",
        "/instanceView",
        "/skus",
        "/rollingUpgrades/latest",
        "/osUpgradeHistory",
        "/extensions",
        "/virtualMachines",
    ):
        for version in ("2024-07-01", "2017-03-30"):
            assert one.ask("GET", path, version=version, **{"$expand": "instanceView"}).status in (200, 404)
    for name in list(one.one.world.vms):
        assert one.ask("GET", f"/virtualMachines/{name}", **{"$expand": "instanceView"}).status == 200
        assert one.ask("GET", f"/virtualMachines/{name}/runCommands").status == 200
    for tracked in one.site.running:
        one.follow(one.site.operations.url(tracked, "https://localhost", "2024-07-01"))
    after = [value_of(each) for each in one.site.sets]
    for mine, theirs in zip(after, before, strict=True):
        assert not differences(theirs, mine, ())


# Planted bugs: each is found by what the first two tests check, on requests that are likely to meet it.


def _believes_types(patch: pytest.MonkeyPatch) -> None:
    """A member of the wrong type is believed."""
    patch.setattr(changes, "typed", lambda value: value)


def _draws_ids(patch: pytest.MonkeyPatch) -> None:
    """Ids are drawn."""
    patch.setattr("vmss_sim.arm.site.Site.guid", lambda *_: str(uuid.uuid4()))


def _keeps_secrets(patch: pytest.MonkeyPatch) -> None:
    """A password is kept."""
    patch.setattr(changes, "SECRET", frozenset())


def _copies_headers(patch: pytest.MonkeyPatch) -> None:
    """The client's text goes into a header as it is."""
    patch.setattr("vmss_sim.arm.endpoint._PLAIN", re.compile(".*", re.S))


def _moves_when_looked_at(patch: pytest.MonkeyPatch) -> None:
    """A view of the set is a change of it."""
    real = Endpoint.answer

    def moving(self: Endpoint, request: Request) -> Response:
        self.site.sets[0].world.etag += request.path.endswith("/instanceView")
        return real(self, request)

    patch.setattr(Endpoint, "answer", moving)


def _write(method: str, body: Any, *headers: tuple[str, str]) -> Ask:
    path = SET.format(subscription="00000000-0000-0000-0000-000000000001", group="rg", set="web")
    return Ask(0, method, path, (("api-version", "2024-07-01"),), headers, json.dumps(body).encode())


LIKELY = (
    _write("PUT", FULL),
    _write("PATCH", {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": {"a": 1}}}}}),
    _write("PATCH", {"tags": {"a": "b"}}, ("x-ms-correlation-request-id", "a\r\nb")),
)


@pytest.mark.parametrize("plant", [_believes_types, _draws_ids, _keeps_secrets, _copies_headers, _moves_when_looked_at])
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    test_any_requests_in_any_order.hypothesis.inner_test(list(LIKELY), opaque=False)
    test_reading_changes_nothing.hypothesis.inner_test(list(LIKELY))
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_any_requests_in_any_order.hypothesis.inner_test(list(LIKELY), opaque=False)
        test_reading_changes_nothing.hypothesis.inner_test(list(LIKELY))


def test_operations_that_end_are_kept_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "KEPT", 10)
    one = Client(throttle=False)
    started = [
        one.ask("POST", "/restart", {"instanceIds": ["0"]}) for _ in range(30) if one.clock.advance(60_000) is None
    ]
    assert len(one.site.operations) <= 12
    assert one.follow(started[0].headers["azure-asyncoperation"]).status == 404
    assert one.follow(started[-2].headers["azure-asyncoperation"]).body["status"] == "Succeeded"
