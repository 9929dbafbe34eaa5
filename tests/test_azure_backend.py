"""The Azure backend against mocked ARM: what it sees, when it looks, what it takes over, what it never says."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

from backends.azure.backend import concerns
from backends.azure.client import Answer
from backends.azure.polling import Budget, Handle, Part, ids_of, read_handle, remaining
from backends.azure.storage import difference, leaves, seal
from backends.lease import LeaseLost
from backends.probes import Probed
from backends.protocol import Wait
from backends.schedule import ADAPTIVE, Schedule
from planner.build import Request, build
from planner.change import ImageChange
from planner.commands import Kind, Outcome, Status
from planner.errors import InputError, PlatformError
from planner.model import Health
from planner.plan import InstanceHook, InstanceHooks
from tests.azure_arm import (
    COMMANDS,
    DONE,
    NEW,
    OPERATION,
    RUNNING,
    SECRET,
    SET,
    Arm,
    ManualSleeper,
    Token,
    Told,
    backend,
    error,
    instance_document,
    listening,
    operation,
)
from tests.fleet import Case, Fleet

RESET = requests.exceptions.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")))


# -- looking -------------------------------------------------------------------------------------------------------------


def test_what_did_not_change_is_the_same_object() -> None:
    with listening(Arm(4)) as arm:
        place = backend()
        first = place.observe()
        assert first.changed is None
        again = place.observe()
        assert again.changed == ()
        assert again.scale_set.model is first.scale_set.model
        arm.instances["2"] = instance_document("2", health="unhealthy")
        del arm.instances["3"]
        arm.instances["9"] = instance_document("9")
        arm.set["sku"]["capacity"] = 5
        third = place.observe()
        assert set(third.changed or ()) == {"2", "3", "9"}
        assert third.scale_set.instances["0"] is first.scale_set.instances["0"]
        assert third.scale_set.model is not first.scale_set.model


def test_missing_health_is_absent_and_not_healthy() -> None:
    with listening(Arm()) as arm:
        arm.instances["1"] = instance_document("1", health=None)
        assert backend().observe().scale_set.instances["1"].health is Health.ABSENT


def test_what_a_vm_boots_is_its_exact_version() -> None:
    with listening(Arm(version="latest")) as arm:
        arm.instances["1"] = instance_document("1", version=NEW)
        seen = backend().observe().scale_set
        assert [one.image and one.image.exact_version for one in seen.instances.values()] == [
            "22.04.202604160",
            NEW,
            "22.04.202604160",
        ]


def test_the_platform_s_rollout_is_looked_at_where_it_matters() -> None:
    latest = {"properties": {"runningStatus": {"code": "RollingForward"}, "progress": {"pendingInstanceCount": 2}}}
    with listening(Arm(mode="Rolling")) as arm:
        assert backend().observe().scale_set.rolling_upgrade is None  # 404: there was none
        arm.latest = latest
        seen = backend().observe().scale_set.rolling_upgrade
        assert seen is not None and seen.pending == 2
    with listening(Arm(mode="Manual")) as arm:
        arm.latest = latest
        assert backend().observe().scale_set.rolling_upgrade is None
        assert not [call for call in arm.calls if "rollingUpgrades" in call.path]


def test_the_set_s_view_is_asked_for_where_repairs_are_enabled_and_seldom() -> None:
    def views(arm: Arm) -> int:
        return len([call for call in arm.calls if call.path == f"{SET}/instanceView"])

    services = {"orchestrationServices": [{"serviceName": "AutomaticRepairs", "serviceState": "Suspended"}]}
    with listening(Arm(automaticRepairsPolicy={"enabled": True})) as arm:
        sleeper = ManualSleeper()
        place = backend(sleeper)
        arm.view = services
        seen = place.observe().scale_set.model
        assert seen.repairs is not None and seen.repairs.suspended
        place.observe()
        assert views(arm) == 1
        sleeper.sleep_ms(300_000)
        place.observe()
        assert views(arm) == 2
        arm.accept("setOrchestrationServiceState", DONE)
        place.submit(COMMANDS[Kind.RESUME_REPAIRS])
        for _ in range(3):  # what a command changes is asked for at every look
            sleeper.sleep_ms(30_000)
            place.observe()
        assert views(arm) == 5
    with listening(Arm()) as arm:
        backend().observe()
        assert views(arm) == 0


def test_a_list_that_moved_is_read_again() -> None:
    with listening(Arm(2)) as arm:
        twice = [instance_document("0"), instance_document("0")]
        arm.tell("GET", "virtualMachines", Told(body={"value": twice}), Told(body={"value": [instance_document("0")]}))
        assert list(backend().observe().scale_set.instances) == ["0"]
        arm.tell("GET", "virtualMachines", Told(body={"value": twice}))
        with pytest.raises(PlatformError, match="ListChanged"):
            backend().observe()


def test_reads_are_repeated_by_the_backend_s_clock() -> None:
    """Throttled, reset, gateway errors: the SDK's own policy, on the clock of whoever waits."""
    with listening(Arm()) as arm:
        sleeper = ManualSleeper()
        found = Told(body=arm.set)
        arm.tell("GET", "", error(429, "TooManyRequests", Retry_After="17"), Told(503), Told(error=RESET), found)
        assert len(backend(sleeper).observe().scale_set.instances) == 3
        assert sleeper.slept[0] == 17_000
    with listening(Arm()) as arm:
        sleeper = ManualSleeper()
        arm.tell("GET", "", Told(503))
        with pytest.raises(PlatformError, match="cannot be read"):
            backend(sleeper).observe()
        assert 300_000 < sum(sleeper.slept) < 900_000


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            error(401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer"),
            "wrong issuer.*--tenant",
        ),
        (error(403, "AuthorizationFailed", "does not have authorization"), "may not be read.*Reader"),
        (error(404, "ResourceNotFound", "was not found"), "no such scale set"),
    ],
)
def test_what_an_operator_can_put_right_is_said_in_one_line(told: Told, words: str) -> None:
    with listening(Arm()) as arm:
        arm.tell("GET", "", told)
        with pytest.raises(InputError, match=words) as caught:
            backend().observe()
        assert "\n" not in str(caught.value)


def test_what_could_be_read_and_cannot_any_more_is_no_input() -> None:
    """In the middle of a rollout `nothing was sent` would be a lie."""
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        for told in (
            error(401, "X"),
            error(403, "X"),
            error(404, "X"),
            Told(body={"properties": {"upgradePolicy": {"mode": "New"}}}),
        ):
            arm.tell("GET", "", told)
            with pytest.raises(PlatformError):
                place.observe()


def test_no_token_is_said_in_one_line() -> None:
    from azure.core.exceptions import ClientAuthenticationError

    token = Token()
    token.error = ClientAuthenticationError("AADSTS7000222: The provided client secret keys are expired.\nTrace ID: 1")
    with listening(Arm()) as arm:
        with pytest.raises(InputError, match=r"no token could be had.*expired.*az login"):
            backend(credential=token).observe()
        assert not arm.calls


# -- waiting -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**8))
def test_a_schedule_moves_on(elapsed: int) -> None:
    for schedule in (ADAPTIVE, Schedule.every(7_000), Schedule(steps=((1_000, 300), (5_000, 2_000)))):
        tick = schedule.after(elapsed)
        assert elapsed < tick <= elapsed + max(every for _, every in schedule.steps)
    assert Schedule.every(7_000).after(elapsed) % 7_000 == 0


def test_the_adaptive_schedule() -> None:
    def ticks(until: int) -> list[int]:
        found = [0]
        while found[-1] < until:
            found.append(ADAPTIVE.after(found[-1]))
        return [one // 1000 for one in found[1:]]

    assert ticks(30_000) == [2, 4, 6, 12, 18, 24, 30]
    assert ADAPTIVE.after(3 * 3_600_000) == 3 * 3_600_000 + 60_000


def test_it_polls_at_the_schedule_until_the_operation_ends() -> None:
    with listening(Arm()) as arm:
        sleeper = ManualSleeper()
        place = backend(sleeper, schedule=Schedule.every(10_000))
        place.observe()
        arm.accept("restart", RUNNING, RUNNING, RUNNING, DONE)
        place.submit(COMMANDS[Kind.RESTART])
        assert place.wait(Wait(until_ms=None))
        assert sleeper.slept == [10_000] * 4
        (outcome,) = place.observe().outcomes
        assert outcome.status is Status.SUCCEEDED
        assert place.observe().outcomes == ()


def test_it_wakes_at_the_time_asked_for() -> None:
    with listening(Arm()) as arm:
        sleeper = ManualSleeper(0)
        place = backend(sleeper, schedule=Schedule.every(10_000))
        place.observe()
        arm.accept("restart", RUNNING)
        place.submit(COMMANDS[Kind.RESTART])
        assert place.wait(Wait(until_ms=25_000))
        assert sleeper.now == 25_000
        assert place.observe().outcomes == ()


def test_nothing_to_wait_for_is_said() -> None:
    with listening(Arm()):
        place = backend()
        place.observe()
        assert place.wait(Wait(until_ms=None)) is False


def test_it_wakes_when_an_operator_asks() -> None:
    with listening(Arm()) as arm:
        sleeper = ManualSleeper(0)
        place = backend(sleeper, schedule=Schedule.every(60_000))
        place.observe()
        arm.accept("restart", RUNNING)
        place.submit(COMMANDS[Kind.RESTART])
        place.asked = lambda: sleeper.now >= 7_500
        assert place.wait(Wait(until_ms=None))
        assert sleeper.now == 8_000


def test_it_wakes_when_all_that_is_awaited_serves() -> None:
    with listening(Arm()) as arm:
        sleeper = ManualSleeper(0)
        for name in "01":
            arm.instances[name] = instance_document(name, health="initializing")
        place = backend(sleeper, schedule=Schedule.every(10_000))
        place.observe()
        count = [0]

        def later(_: Any) -> Told:
            count[0] += 1
            arm.instances["0"] = instance_document("0")
            if count[0] >= 3:
                arm.instances["1"] = instance_document("1")
            return Told(body={"value": list(arm.instances.values())})

        arm.tell("GET", "virtualMachines", later)
        assert place.wait(Wait(until_ms=600_000, awaiting=("0", "1")))
        assert sleeper.now == 30_000
        before = len(arm.calls)
        seen = place.observe()
        assert len(arm.calls) == before, "what was seen is not asked for again"
        assert set(seen.changed or ()) == {"0", "1"}, "told against what was told, not against the last look"


@pytest.mark.parametrize(
    ("change", "wait", "wakes"),
    [
        ({"1": instance_document("1", provisioning="Failed")}, Wait(until_ms=1, awaiting=("1",)), True),
        ({"1": instance_document("1", health="unhealthy")}, Wait(until_ms=1, awaiting=("1",)), True),
        ({"1": instance_document("1", vm_id="another")}, Wait(until_ms=1, awaiting=("1",)), True),
        ({"1": None}, Wait(until_ms=1, awaiting=("1",)), True),
        ({"1": instance_document("1", health="unhealthy")}, Wait(until_ms=1, awaiting=("0",)), False),
        ({"1": instance_document("1", health="unhealthy")}, Wait(until_ms=1, watch=True), True),
        ({"1": instance_document("1", latest=False)}, Wait(until_ms=1, watch=True), False),
        ({"9": instance_document("9")}, Wait(until_ms=1, watch=True), True),
        ({}, Wait(until_ms=1, awaiting=("1",), watch=True), False),
        ({"1": instance_document("1")}, Wait(until_ms=1, awaiting=("1", "2"), watch=True), False),
        (
            {"1": instance_document("1"), "2": instance_document("2")},
            Wait(until_ms=1, awaiting=("1", "2"), watch=True),
            True,
        ),
    ],
)
def test_what_concerns_a_wait(change: dict[str, Any], wait: Wait, wakes: bool) -> None:
    with listening(Arm()) as arm:
        if len(wait.awaiting) == 2:
            for name in wait.awaiting:
                arm.instances[name] = instance_document(name, health="initializing")
        before = backend().observe().scale_set
        for name, document in change.items():
            arm.instances.pop(name, None)
            if document is not None:
                arm.instances[name] = document
        assert concerns(before, backend().observe().scale_set, wait) is wakes


# -- token buckets -------------------------------------------------------------------------------------------------------


def test_what_remains_is_read_from_the_header() -> None:
    header = (
        "Microsoft.Compute/GetOperationResource;44,Microsoft.Compute/GetOperationSubscriptionMaximum;14999, other;3,x"
    )
    assert remaining({"x-ms-ratelimit-remaining-resource": header}) == {
        "GetOperationResource": 44,
        "GetOperationSubscriptionMaximum": 14999,
    }


@given(st.integers(0, 45), st.integers(1, 12), st.integers(0, 10**6))
def test_a_look_waits_for_the_tokens_it_costs(left: int, cost: int, now: int) -> None:
    """With what the bucket gives a minute (10 of 30), the next look of as many pages leaves some for others."""
    budget = Budget()
    header = {"x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/HighCostGetVMScaleSetResource;{left}"}
    budget.note("look", (Answer(status=200, headers=header),) * cost, now)
    ready = budget.ready_ms("look", now)
    if left >= cost + 2:
        assert ready == now
    else:
        given_by_then = left + 10 * ((ready - now) / 60_000)
        assert given_by_then >= cost + 2 - 1e-3
    assert budget.ready_ms("another", now) == now


def test_a_scarce_bucket_makes_it_slower() -> None:
    with listening(Arm()) as arm:
        sleeper = ManualSleeper(0)
        place = backend(sleeper, schedule=Schedule.every(2_000))
        scarce = {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/GetOperationResource;1"}
        place.observe()
        arm.accept("restart", RUNNING._replace(headers=scarce), RUNNING._replace(headers=scarce), DONE)
        place.submit(COMMANDS[Kind.RESTART])
        place.wait(Wait(until_ms=None))
        polls = [call for call in arm.calls if call.path.endswith("op-1")]
        assert len(polls) == 3
        assert sleeper.now >= 2_000 + 2 * 8_000  # 15 tokens a minute, and two of them stay


# -- taking over ---------------------------------------------------------------------------------------------------------


def test_another_executor_adopts_by_the_handle() -> None:
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        arm.accept("restart", RUNNING, operation("Failed", "VMStartTimedOut", "slow"))
        handle = place.submit(COMMANDS[Kind.RESTART])
        other = backend()
        other.adopt(COMMANDS[Kind.RESTART], handle)
        assert other.observe().outcomes == ()
        other.wait(Wait(until_ms=None))
        (outcome,) = other.observe().outcomes
        assert (outcome.status, outcome.code) == (Status.FAILED, "VMStartTimedOut")
        assert len(arm.sent) == 1


@pytest.mark.parametrize("handle", ["", "c1/3", "{}", '{"parts": []}', '{"parts": [{"nope": 1}]}', "null"])
def test_no_handle_is_unknown(handle: str) -> None:
    with listening(Arm()):
        place = backend()
        place.adopt(COMMANDS[Kind.RESTART], handle)
        (outcome,) = place.observe().outcomes
        assert (outcome.status, outcome.code) == (Status.UNKNOWN, "NoReceipt")


def test_a_handle_that_names_another_host_is_not_asked() -> None:
    """A token goes to Azure alone, whatever somebody wrote into the journal."""
    with listening(Arm()) as arm:
        for url in (
            "https://evil.example/op",
            "http://management.azure.com/op",
            "https://management.azure.com.evil.example/op",
        ):
            place = backend()
            place.adopt(COMMANDS[Kind.RESTART], Handle(parts=(Part(url=url),)).text())
            place.observe()
        assert all(call.url.startswith("https://management.azure.com/subscriptions/") for call in arm.calls)


def test_a_handle_survives_the_journal() -> None:
    made = Handle(
        parts=(Part(url="https://x/ü?a=b&c", vm="1"), Part(ended=Outcome(command="c", status=Status.UNKNOWN))),
        ids=("a",),
    )
    assert read_handle(made.text()) == made


@pytest.mark.parametrize(
    ("headers", "ids"),
    [
        ({}, ()),
        ({"x-ms-request-id": "r", "x-ms-correlation-request-id": "c"}, ("request-id=r", "correlation-request-id=c")),
        (
            {
                "azure-asyncoperation": "https://a/locations/x/operations/0f-1?p=1&monitor=true",
                "location": "https://a/no",
            },
            ("operation-id=0f-1",),
        ),
        ({"location": "https://a/operations/0f-1/?monitor=true&t=638"}, ("operation-id=0f-1",)),
        ({"location": f"https://a/operations/{'x' * 5000}"}, ()),
        ({"location": "https://a/operations/a%20b|c"}, ()),
    ],
)
def test_ids_for_a_support_request(headers: dict[str, str], ids: tuple[str, ...]) -> None:
    assert ids_of(Answer(status=202, headers=headers)) == ids


def test_a_guest_patch_that_was_cut_off_is_unknown_as_a_whole() -> None:
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        arm.accept("virtualMachines/0/runCommands/vmss-sim-1", DONE, method="PUT", number="op-0")
        arm.tell("PUT", "virtualMachines/1/runCommands/vmss-sim-1", Told(503))
        handle = place.submit(COMMANDS[Kind.RUN_COMMAND])
        place.wait(Wait(until_ms=None))
        (outcome,) = place.observe().outcomes
        assert (outcome.status, outcome.refused) == (Status.UNKNOWN, False)
        known = read_handle(handle)
        assert known is not None
        short = Handle(parts=known.parts[:1]).text()  # the executor died before the second was sent
        other = backend()
        other.adopt(COMMANDS[Kind.RUN_COMMAND], short)
        assert [one.status for one in other.observe().outcomes] == [Status.UNKNOWN]


class Brief(Token):
    """Each request needs a new one."""

    def __init__(self, order: list[str]) -> None:
        super().__init__()
        self.order = order

    def get_token(self, *scopes: str, **options: Any) -> Any:
        self.order.append("token")
        return super().get_token(*scopes, **options)._replace(expires_on=1)


def test_right_before_each_request_it_is_asked_whether_that_may_still_be_sent() -> None:
    """A script goes to one instance after another, and a token may take minutes: meanwhile the lease may have run out."""
    with listening(Arm()) as arm:
        order: list[str] = []
        place = backend(credential=Brief(order))

        def still() -> None:
            order.append("still")
            if order.count("still") == 2:
                raise LeaseLost("another executor has the set")

        place.observe()
        for name in ("0", "1"):
            arm.accept(f"virtualMachines/{name}/runCommands/vmss-sim-1", DONE, method="PUT", number=f"op-{name}")
        assert "still" not in order
        order.clear()
        probed = Probed(place, Case(fleet=Fleet(size=3)).plan(), InstanceHooks(verify=InstanceHook(command=("true",))))
        probed.still = still
        with pytest.raises(LeaseLost, match="another executor"):
            probed.submit(COMMANDS[Kind.RUN_COMMAND])
        assert order == ["token", "still", "token", "still"]
        assert [call.path.split("/")[-3] for call in arm.sent] == ["0"]


# -- the model -----------------------------------------------------------------------------------------------------------


def test_an_update_that_touches_other_disks_has_failed() -> None:
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        arm.accept("", DONE, method="PATCH")
        handle = place.submit(COMMANDS[Kind.UPDATE_MODEL])
        profile = arm.set["properties"]["virtualMachineProfile"]["storageProfile"]
        profile["imageReference"]["version"] = NEW
        profile["dataDisks"] = []
        other = backend()
        other.adopt(COMMANDS[Kind.UPDATE_MODEL], handle)
        for one in (place, other):
            one.wait(Wait(until_ms=None))
            (outcome,) = one.observe().outcomes
            assert (outcome.status, outcome.code) == (Status.FAILED, "StorageProfileChanged")
            assert "storage profile differs" in outcome.message
            assert ("datadisks" in outcome.message) is (one is place), "another executor knows the digest only"


def test_an_update_that_touches_nothing_else_has_succeeded() -> None:
    with listening(Arm()) as arm:
        place = backend()
        place.observe()
        arm.accept("", DONE, method="PATCH")
        place.submit(COMMANDS[Kind.UPDATE_MODEL])
        reference = arm.set["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
        reference |= {"version": NEW, "exactVersion": NEW}
        place.wait(Wait(until_ms=None))
        assert [one.status for one in place.observe().outcomes] == [Status.SUCCEEDED]


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3), max_leaves=8)  # fmt: skip


@given(JSON, JSON)
def test_the_storage_profile_is_compared_whole(one: Any, other: Any) -> None:
    def document(storage: Any) -> dict[str, Any]:
        return {"properties": {"virtualMachineProfile": {"storageProfile": storage}}}

    before, after = leaves(document(one), ()), leaves(document(other), ())
    assert not difference(before, seal(before), before)
    assert bool(difference(before, seal(before), after)) == (before != after)
    assert bool(difference(None, seal(before), after)) == (before != after)


# -- secrets -------------------------------------------------------------------------------------------------------------


def test_no_secret_is_seen_anywhere(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Not in logs at their loudest, not in handles, not in errors, not in what is observed."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    with listening(Arm()) as arm:
        place = backend()
        texts.append(repr(place.observe()))
        signed = OPERATION + "op-1?s=SIGNATURE-OF-AZURE"
        arm.tell("POST", "restart", Told(202, None, {"Azure-AsyncOperation": signed, "Set-Cookie": f"a={SECRET}"}))
        arm.tell("GET", signed.partition("?")[0].removeprefix("https://management.azure.com"), Told(503), DONE)
        texts.append(place.submit(COMMANDS[Kind.RESTART]).replace("SIGNATURE-OF-AZURE", ""))
        place.wait(Wait(until_ms=None))
        arm.tell("POST", "restart", error(401, "ExpiredAuthenticationToken", "expired"))
        place.submit(COMMANDS[Kind.RESTART])
        texts.append(repr(place.observe().outcomes))
        arm.tell("GET", "", error(403, "AuthorizationFailed"))
        with pytest.raises(PlatformError, match="may not be read") as caught:
            place.observe()
        texts.append(str(caught.value))
    out, err = capsys.readouterr()
    texts += [out, err, caplog.text]
    for text in texts:
        assert SECRET not in text
        assert "SIGNATURE-OF-AZURE" not in text


# -- a plan --------------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_is_looked_at() -> None:
    with listening(Arm(mode="Manual")) as arm:
        snapshot = backend().snapshot().scale_set
        plan = build(Request(scale_set=snapshot, change=ImageChange(version=NEW), strategy="one-by-one"))
        place = backend(plan=plan)
        assert place.reader.rollouts is False
        assert json.dumps([call.path for call in arm.calls]).count("runCommands") == 0
        assert place.observe().scale_set.instances.keys() == snapshot.instances.keys()
