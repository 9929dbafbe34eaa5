"""Throttles, lost answers, opaque URLs, Retry-After, lists by place, and memory over many operations."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest

from tests.arm_site import PARTS, VERSION, Client, config
from vmss_sim.arm import endpoint as endpoint_module
from vmss_sim.arm import operations
from vmss_sim.arm.http import Request, Response
from vmss_sim.arm.routes import ROUTES, Table
from vmss_sim.arm.wire import moment
from vmss_sim.world.config import Image, Platform
from vmss_sim.world.faults import Fault
from vmss_sim.world.throttle import USES


def test_every_route_takes_what_a_row_of_the_throttles_says() -> None:
    assert {route.uses for route in ROUTES} <= set(USES)


def test_every_route_is_found_and_no_two_are_one() -> None:
    table = Table()
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        found = table.find(route.path.replace("{", "").replace("}", ""))
        assert found is not None
        assert found.routes[route.method] is route


def test_a_bucket_that_is_empty_refuses_with_its_words_and_the_time_to_come_back() -> None:
    client = Client()
    answers = [client.ask("PATCH", "", {}) for _ in range(13)]
    assert [one.status for one in answers] == [200] * 12 + [429]
    assert "Microsoft.Compute/VMScaleSetActionsResource;11," in answers[0].headers["x-ms-ratelimit-remaining-resource"]
    assert answers[0].headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"
    refused = answers[-1]
    assert refused.headers["retry-after"] == "60"
    error = refused.body["error"]
    assert error["code"] == "OperationNotAllowed"
    assert error["message"] == (
        "The server rejected the request because too many requests have been received for this subscription."
    )
    detail = error["details"][0]
    assert (detail["code"], detail["target"]) == ("TooManyRequests", "VMScaleSetActions")
    told = json.loads(detail["message"])
    assert (told["allowedRequestCount"], told["measuredRequestCount"]) == (12, 13)
    client.clock.advance(60_000)
    assert client.ask("PATCH", "", {}).status == 200


def test_resource_manager_has_words_of_its_own() -> None:
    client = Client()
    listed = client.group + "/providers/Microsoft.Compute/virtualMachineScaleSets"
    answers = [client.ask("GET", listed) for _ in range(251)]
    assert [one.status for one in answers].count(429) == 1
    assert answers[-1].body["error"]["code"] == "SubscriptionRequestsThrottled"
    assert answers[-1].headers["retry-after"] == "1"


def test_a_put_takes_other_tokens_than_a_patch_and_one_vm_others_than_the_set() -> None:
    client = Client()
    names = [
        client.ask("PUT", "", {"location": "westeurope"}),
        client.ask("POST", "/virtualMachines/0/restart"),
        client.ask("POST", "/restart", {"instanceIds": ["1", "2"]}),
        client.ask("DELETE", "/virtualMachines/3"),
    ]
    told = [one.headers["x-ms-ratelimit-remaining-resource"].split(";")[0].partition("/")[2] for one in names]
    assert told == [
        "CreateVMScaleSetSubscriptionMaximum",
        "VMScaleSetVMActionsSubscriptionMaximum",
        "VMScaleSetActionsSubscriptionMaximum",
        "DeleteVMScaleSetVMSubscriptionMaximum",
    ]
    assert [one.headers["x-ms-request-charge"] for one in names] == ["0", "1", "2", "1"]


@pytest.mark.parametrize(
    ("mode", "method", "path", "body", "charge"),
    [
        ("manual", "PATCH", "", {"tags": {"a": "b"}}, "0"),
        ("rolling", "PATCH", "", {"tags": {"a": "b"}}, "1"),
        ("automatic", "PATCH", "", {"tags": {"a": "b"}}, "4"),
        ("manual", "PATCH", "", {"sku": {"capacity": 3}}, "1"),
        ("manual", "PATCH", "", {"SKU": {"Capacity": "6"}}, "2"),
        ("manual", "PATCH", "", {"sku": {"capacity": -5}}, "0"),
        ("manual", "POST", "/scaleOut", {"capacity": 3}, "3"),
        ("manual", "POST", "/scale", {"capacity": 3}, "1"),
        ("manual", "POST", "/restart", {"instanceIds": ["0", "0"]}, "1"),
        ("manual", "POST", "/restart", {"INSTANCEIDS": ["0"]}, "1"),
        ("manual", "POST", "/restart", {"instanceIds": ["*"]}, "4"),
        ("manual", "POST", "/restart", None, "4"),
        ("manual", "POST", "/restart", "[", "4"),
        ("manual", "POST", "/extensionRollingUpgrade", None, "0"),
        ("manual", "POST", "/setOrchestrationServiceState", {"serviceName": "AutomaticRepairs", "action": "Suspend"}, "0"),
        ("manual", "DELETE", "", None, "4"),
    ],
)  # fmt: skip
def test_a_request_is_charged_for_the_instances_it_moves(
    mode: str, method: str, path: str, body: Any, charge: str
) -> None:
    """Recordings of 2023-11 to 2025-02."""
    answer = Client(config(mode=mode)).ask(method, path, body)
    assert answer.headers["x-ms-request-charge"] == charge
    assert answer.headers["x-ms-ratelimit-remaining-resource"].endswith(",Microsoft.Compute/VmssQueuedVMOperations;0")


def test_a_large_set_may_be_changed_and_listed_as_often_as_a_small_one() -> None:
    client = Client(config(900), throttle=True)
    assert [client.ask("PATCH", "", {"tags": {"a": str(n)}}).status for n in range(12)] == [200] * 12
    page = client.ask("GET", "/virtualMachines")
    assert (len(page.body["value"]), page.headers["x-ms-request-charge"]) == (120, "120")
    assert "VmssQueuedVMOperations" not in page.headers["x-ms-ratelimit-remaining-resource"]


@pytest.mark.parametrize("scenario", [True, False])
def test_the_endpoints_own_option_decides_whether_it_throttles(scenario: bool) -> None:
    world = config(platform=Platform(throttle=scenario))
    strict, lenient = Client(world, throttle=True), Client(world, throttle=False)
    assert [strict.ask("PATCH", "", {}).status for _ in range(13)][-1] == 429
    assert {lenient.ask("PATCH", "", {}).status for _ in range(300)} == {200}


def test_buckets_that_are_full_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "MOST_BUCKETS", 60)
    client = Client()
    for _ in range(100):
        client.clock.advance(300_000)
        client.follow(client.ask("POST", "/restart", {"instanceIds": ["0"]}).headers["azure-asyncoperation"])
    assert all(len(one) <= 70 for one in client.endpoint._buckets.values())


# -- faults ----------------------------------------------------------------------------------------------------------


def test_a_lost_answer_is_silence_and_what_was_asked_happens() -> None:
    client = Client(faults=(Fault(verdict="lose-reply", first=1, last=1),))
    body = {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": "2"}}}}}
    response = client.ask("PATCH", "", body)
    assert (response.status, response.body) == (0, None)
    assert len(client.site.running) == 1
    client.clock.advance(60_000)
    storage = client.ask("GET").body["properties"]["virtualMachineProfile"]["storageProfile"]
    assert storage["imageReference"] == {**PARTS, "version": "2"}


def test_a_lost_request_is_silence_and_nothing_happens() -> None:
    client = Client(faults=(Fault(verdict="lose-request", first=1, last=1),))
    before = client.ask("GET").body
    assert client.ask("PATCH", "", {"tags": {"a": "b"}}).status == 0
    assert client.ask("GET").body == before
    assert not client.site.running


def test_a_refusal_by_fault_says_when_to_come_back() -> None:
    client = Client(faults=(Fault(verdict="refuse", code="TooManyRequests", retry_after_ms=1_200, first=1, last=1),))
    response = client.ask("POST", "/restart")
    assert (response.status, response.headers["retry-after"]) == (429, "2")


def test_an_operation_that_fails_is_polled_with_200() -> None:
    client = Client(faults=(Fault(verdict="fail", code="InternalExecutionError", first=1, last=1),))
    started = client.ask("POST", "/manualupgrade", {"instanceIds": ["*"]})
    ended = client.wait(started)
    assert (ended["status"], ended["error"]["code"]) == ("Failed", "InternalExecutionError")
    assert ended["error"]["message"]
    assert client.follow(started.headers["location"]).status == 409


def test_one_that_hangs_runs_for_ever_and_nothing_is_due() -> None:
    client = Client(faults=(Fault(verdict="hang", first=1, last=1),))
    started = client.ask("POST", "/restart", {"instanceIds": ["0"]})
    client.clock.advance(86_400_000 * 3)
    assert client.follow(started.headers["azure-asyncoperation"]).body["status"] == "InProgress"
    assert client.endpoint.idle_at() is None


def test_what_is_due_next_is_told_while_something_runs() -> None:
    client = Client()
    assert client.endpoint.idle_at() is None
    client.ask("POST", "/restart", {"instanceIds": ["0"]})
    due = client.endpoint.idle_at()
    assert due == 50_000
    client.clock.advance(due)
    client.endpoint.advance(due)
    assert client.endpoint.idle_at() is None


def test_an_error_of_ours_is_answered_as_arm_would_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client()
    monkeypatch.setattr("vmss_sim.arm.views.set_view", lambda *_: 1 / 0)
    response = client.ask("GET", "/instanceView")
    assert (response.status, response.body["error"]["code"]) == (500, "InternalServerError")
    assert "ZeroDivisionError" in caplog.text
    assert client.log[-1][2].status == 500


# -- URLs ------------------------------------------------------------------------------------------------------------


def test_operation_urls_may_be_opaque_and_must_come_back_as_they_are() -> None:
    client = Client(opaque_urls=True)
    started = client.ask("POST", "/restart", {"instanceIds": ["0"]})
    for name in ("azure-asyncoperation", "location"):
        url = started.headers[name]
        assert 4_096 < len(url) < 8_000
        assert client.follow(url).status in (200, 202)
        assert client.follow(url[:2_000]).status == 403
        altered = url.replace("&s=", "&s=A")
        assert client.follow(altered).body["error"]["code"] == "AuthorizationFailed"
    assert client.wait(started)["status"] == "Succeeded"


def test_in_the_first_version_an_operation_has_another_name() -> None:
    client = Client()
    started = client.ask("POST", "/restart", {"instanceIds": ["0"]}, version="2015-06-15")
    body = client.follow(started.headers["azure-asyncoperation"]).body
    assert body["operationId"] in started.headers["location"]
    assert "name" not in body


def test_when_to_come_back_is_said_where_somebody_says_so() -> None:
    for option, told in ((7, "7"), (None, None)):
        client = Client(retry_after_s=option)
        client.clock.accepted = lambda **_: None  # type: ignore[method-assign]
        assert client.ask("POST", "/restart").headers.get("retry-after") == told
        assert client.ask("GET").headers.get("retry-after") is None
    client = Client()
    client.clock.accepted = lambda **_: 0.2  # type: ignore[method-assign,return-value]
    assert client.ask("POST", "/restart").headers["retry-after"] == "1"


def test_ids_of_the_client_are_kept_where_they_are_ids() -> None:
    client = Client()
    asked = {"_x_ms_correlation_request_id": "abc-1", "_x_ms_client_request_id": "mine"}
    told = client.ask("GET", **asked, _x_ms_return_client_request_id="true").headers
    assert (told["x-ms-correlation-request-id"], told["x-ms-client-request-id"]) == ("abc-1", "mine")
    assert "x-ms-client-request-id" not in client.ask("GET", **asked).headers
    assert client.ask("GET", _x_ms_correlation_request_id="a b").headers["x-ms-correlation-request-id"] != "a b"


def test_sets_are_listed_by_subscription_group_and_location() -> None:
    client = Client()
    sets = "/providers/Microsoft.Compute/virtualMachineScaleSets"
    root = client.group.partition("/resourceGroups")[0]
    for path, count in (
        (root + sets, 1),
        (client.group + sets, 1),
        (root + "/providers/Microsoft.Compute/locations/West Europe/virtualMachineScaleSets", 1),
        (root + "/providers/Microsoft.Compute/locations/mars/virtualMachineScaleSets", 0),
    ):
        response = client.ask("GET", path)
        assert (response.status, len(response.body["value"])) == (200, count), path


# -- what a set is asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "kinds"),
    [
        ("/manualupgrade", {"InstanceIds": ["0"]}, ["upgrade"]),
        ("/reimage", None, ["reimage"]),
        ("/reimageall", {"instanceIds": ["0"]}, ["reimage-all"]),
        ("/restart", {}, ["restart"]),
        ("/start", {"instanceIds": ["0"]}, ["start"]),
        ("/powerOff", {"instanceIds": ["0"]}, ["power-off"]),
        ("/deallocate", {"instanceIds": ["0"]}, ["deallocate"]),
        ("/redeploy", {"instanceIds": ["0"]}, ["redeploy"]),
        ("/delete", {"instanceIds": ["0"]}, ["delete"]),
        ("/scale", {"capacity": 3}, ["set-capacity"]),
        ("/scaleOut", {"capacity": 3}, ["set-capacity"]),
        ("/extensionRollingUpgrade", None, ["extension-rolling-upgrade"]),
        (
            "/setOrchestrationServiceState",
            {"serviceName": "automaticRepairs", "action": "suspend"},
            ["suspend-repairs"],
        ),
        ("/approveRollingUpgrade", {"instanceIds": ["0"]}, ["approve-rolling-upgrade"]),
        ("/virtualMachines/1/reimage", {"tempDisk": True}, ["reimage"]),
        ("/virtualMachines/1/reimageall", None, ["reimage-all"]),
        ("/virtualMachines/1/poweroff", None, ["power-off"]),
        ("/virtualMachines/1/approveRollingUpgrade", None, ["approve-rolling-upgrade"]),
        ("/reapply", None, []),
        ("/setOrchestrationServiceState", {"serviceName": "AutomaticZoneRebalancing", "action": "Resume"}, []),
    ],
)
def test_actions_ask_for_their_kind_and_are_accepted_with_both_urls(path: str, body: object, kinds: list[str]) -> None:
    client = Client()
    response = client.ask("POST", path, body)
    assert response.status == 202, response
    assert {"azure-asyncoperation", "location"} <= set(response.headers)
    assert response.body is None or path == "/scale"
    assert [one.kind for one in client.one.world.running.values()] == kinds


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/manualupgrade", {}, 400, "InvalidParameter"),
        ("/manualupgrade", {"instanceIds": ["0", "*"]}, 400, "InvalidParameter"),
        ("/manualupgrade", {"instanceIds": "0"}, 400, "BadRequest"),
        ("/manualupgrade", {"instanceIds": [0]}, 400, "BadRequest"),
        ("/delete", None, 400, "InvalidParameter"),
        ("/reimage", {"exactVersion": 7}, 400, "BadRequest"),
        ("/reimage", {"tempDisk": "perhaps"}, 400, "BadRequest"),
        ("/scale", {"capacity": "x"}, 400, "BadRequest"),
        ("/scale", {}, 400, "InvalidParameter"),
        ("/scaleOut", {"capacity": 5000}, 400, "InvalidParameter"),
        ("/scaleOut", {"capacity": -1}, 400, "InvalidParameter"),
        ("/setOrchestrationServiceState", {"serviceName": "X", "action": "Resume"}, 400, "InvalidParameter"),
        ("/setOrchestrationServiceState", {"serviceName": "AutomaticRepairs"}, 400, "InvalidParameter"),
        ("/osRollingUpgrade", None, 409, "OperationNotAllowed"),
    ],
)
def test_actions_that_say_something_wrong(path: str, body: object, status: int, code: str) -> None:
    client = Client()
    response = client.ask("POST", path, body)
    assert (response.status, response.body["error"]["code"]) == (status, code)
    assert not client.one.world.running


def test_queries_of_actions_are_flags() -> None:
    client = Client()
    assert client.ask("POST", "/poweroff", skipshutdown="perhaps").status == 400
    assert client.ask("POST", "/poweroff", skipshutdown="true").status == 202


def test_a_reimage_may_name_the_version() -> None:
    client = Client(config(latest="1.0.0"))
    client.do("POST", "/virtualMachines/0/reimage", {"exactVersion": "3.0.0"})
    image = client.one.world.vms["0"].image
    assert isinstance(image, Image)
    assert image.exact == "3.0.0"


def test_simulated_eviction_and_the_walk_are_answered_as_recorded() -> None:
    client = Client()
    assert client.ask("POST", "/virtualMachines/0/simulateEviction").status == 204
    assert client.ask("POST", "/virtualMachines/99/simulateEviction").status == 404
    walk = client.ask("POST", "/forceRecoveryServiceFabricPlatformUpdateDomainWalk", platformupdatedomain="2")
    assert walk.body == {"walkPerformed": True, "nextPlatformUpdateDomain": 3}


# -- memory ----------------------------------------------------------------------------------------------------------


def _live(client: Client, number: int) -> Response:
    """One operation and a look at it."""
    match number % 5:
        case 0:
            response = client.ask("PATCH", "", {"tags": {"n": str(number)}})
        case 1:
            body = {"properties": {"virtualMachineProfile": {"licenseType": f"L{number}"}}}
            response = client.ask("PATCH", "", body)
        case 2:
            response = client.ask("PUT", "/virtualMachines/0/runCommands/again", {"properties": {}})
        case 3:
            response = client.ask("POST", "/extensionRollingUpgrade")
        case _:
            response = client.ask("POST", "/rollingUpgrades/cancel")
    client.log.clear()
    client.clock.advance(61_000)
    if "azure-asyncoperation" in response.headers:
        client.follow(response.headers["azure-asyncoperation"])
    return response


def _growth(patch: pytest.MonkeyPatch, kept: int) -> float:
    """Bytes that stay of an operation, once everything that is bounded has reached its bound."""
    patch.setattr(operations, "KEPT", kept)
    patch.setattr(endpoint_module, "MOST_BUCKETS", 30)
    patch.setattr("vmss_sim.world.contents.KNOWN", 20)
    patch.setattr("vmss_sim.world.orchestrator.REMEMBERED", 20)
    patch.setattr("vmss_sim.arm.shapes.REMEMBERED", 10)
    client = Client(config(2), throttle=False)
    used, done = [], 0
    for until in (150, 300, 800):
        for number in range(done, until):
            _live(client, number)
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        moment.cache_clear()
        gc.collect()
        used.append(tracemalloc.get_traced_memory()[0])
        done = until
    tracemalloc.stop()
    return (used[2] - used[1]) / 500


def test_memory_stays_flat_over_many_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    # What stays is what the report needs: the spans in which instances did not serve.
    assert _growth(monkeypatch, 20) < 350


def test_operations_that_were_never_forgotten_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "KEPT_MS", 10**12)
    assert _growth(monkeypatch, 10**9) > 700


def test_a_request_is_a_value() -> None:
    assert Request(method="GET", path="/") == Request(method="GET", path="/")


def test_instances_that_are_gone_leave_their_image() -> None:
    client = Client(config(2))
    for capacity in (6, 2, 6, 2):
        client.do("POST", "/scale", {"capacity": capacity})
        client.clock.advance(600_000)
        client.ask("GET")
    one, world = client.one, client.one.world
    shown = client.ask("GET", "/virtualMachines").body
    assert (len(world.gone), one.ever) == (8, 10)
    last = max(vm.outages[-1][0] for vm in world.gone)
    world.forget(last - 1)
    assert one.ever > 2, "who goes later has yet to be counted"
    for _ in range(2):
        world.forget(world.now)
        assert (one.ever, list(one.outages()), client.ask("GET", "/virtualMachines").body) == (2, [], shown)
    assert len(world.gone) == 1, "one for each image, which can still be looked up"
    assert not world.dirty
    assert not world.disturbed


def test_an_operation_url_is_signed_whole_and_names_its_place() -> None:
    client = Client(opaque_urls=True)
    url = client.ask("POST", "/restart", {"instanceIds": ["0"]}).headers["azure-asyncoperation"]
    assert client.follow(url).status == 200
    for old, new in (("?p=", "?p=0"), (f"api-version={VERSION}", "api-version=2023-03-01")):
        assert old in url
        assert client.follow(url.replace(old, new)).status == 403
    plain = Client()
    url = plain.ask("POST", "/restart", {"instanceIds": ["0"]}).headers["azure-asyncoperation"]
    assert plain.follow(url.replace("/locations/westeurope/", "/locations/West Europe/")).status == 200
    assert plain.follow(url.replace("/locations/westeurope/", "/locations/eastus/")).status == 404
