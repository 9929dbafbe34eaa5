"""What an answer means: every row of the one table, asked over the wire; and that nothing is sent twice, whatever is answered."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from backends.azure.client import NO_ANSWER, NO_TOKEN, NOT_SENT, Answer
from backends.azure.outcomes import TABLE, joined, outcome_of, row_of
from backends.protocol import Wait
from planner.commands import Kind, Outcome, Status
from tests.azure_arm import (
    COMMANDS,
    DONE,
    RUNNING,
    Arm,
    ManualSleeper,
    Token,
    Told,
    backend,
    error,
    listening,
    operation,
)

REFUSED, UNKNOWN, FAILED, SUCCEEDED, RUNS = "refused", "unknown", "failed", "succeeded", "runs"
RESET = requests.exceptions.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")))
SLOW = requests.exceptions.ReadTimeout(ReadTimeoutError(None, "", "Read timed out."))  # type: ignore[arg-type]
NO_ROUTE = requests.exceptions.ConnectionError(
    MaxRetryError(None, "/", NewConnectionError(None, "Connection refused"))  # type: ignore[arg-type]
)
NO_NAME = requests.exceptions.ConnectionError(
    MaxRetryError(None, "/", NameResolutionError("management.azure.com", None, OSError("nobody knows")))  # type: ignore[arg-type]
)
SLOW_CONNECT = requests.exceptions.ConnectTimeout(MaxRetryError(None, "/", ConnectTimeoutError(None, "too slow")))  # type: ignore[arg-type]
BROKEN_TLS = requests.exceptions.SSLError(MaxRetryError(None, "/", SSLError("EOF occurred in violation of protocol")))  # type: ignore[arg-type]
AGAIN = {"Retry-After": "7"}

# (row, what is answered, what it means, code)
SENDING: tuple[tuple[str, Told, str, str], ...] = (
    ("accepted", Told(202, None, {"Azure-AsyncOperation": "https://management.azure.com/op"}), RUNS, ""),
    ("accepted", Told(200, {"properties": {"provisioningState": "succeeded"}}), SUCCEEDED, ""),
    ("accepted", Told(200, {"properties": {"provisioningState": "Updating"}}), UNKNOWN, "NoOperation"),
    ("accepted", Told(202), UNKNOWN, "NoOperation"),
    ("accepted", Told(200, "not json", {"Azure-AsyncOperation": "https://management.azure.com/op"}), RUNS, ""),
    ("not-sent", Told(error=NO_ROUTE), REFUSED, "NotSent"),
    ("not-sent", Told(error=NO_NAME), REFUSED, "NotSent"),
    ("not-sent", Told(error=SLOW_CONNECT), REFUSED, "NotSent"),
    ("no-answer", Told(error=RESET), UNKNOWN, "NoAnswer"),
    ("no-answer", Told(error=SLOW), UNKNOWN, "NoAnswer"),
    ("no-answer", Told(error=BROKEN_TLS), UNKNOWN, "NoAnswer"),
    ("token-expired", error(401, "ExpiredAuthenticationToken"), REFUSED, "ExpiredAuthenticationToken"),
    ("forbidden", error(403, "AuthorizationFailed"), REFUSED, "AuthorizationFailed"),
    ("set-gone", error(404, "ResourceNotFound"), REFUSED, "ResourceNotFound"),
    ("request-timeout", Told(408), UNKNOWN, "RequestTimeout"),
    ("conflict", error(409, "Conflict"), REFUSED, "Conflict"),
    ("conflict", error(409, "OperationNotAllowed", **AGAIN), REFUSED, "OperationNotAllowed"),
    ("precondition", error(412, "PreconditionFailed"), REFUSED, "PreconditionFailed"),
    ("throttled", error(429, "OperationNotAllowed", **AGAIN), REFUSED, "OperationNotAllowed"),
    ("throttled", Told(429), REFUSED, "TooManyRequests"),
    ("instance-gone", error(400, "InvalidParameter"), REFUSED, "InvalidParameter"),
    ("instance-gone", Told(400, "<html>"), REFUSED, "BadRequest"),
    ("server-error", error(500, "InternalServerError"), UNKNOWN, "InternalServerError"),
    ("server-error", Told(502, "bad gateway"), UNKNOWN, "ServerError"),
    ("server-error", error(503, "ServiceUnavailable", **AGAIN), UNKNOWN, "ServiceUnavailable"),
    ("server-error", error(504, "GatewayTimeout"), UNKNOWN, "GatewayTimeout"),
    ("strange-answer", Told(302, None, {"Location": "https://elsewhere.example/"}), UNKNOWN, "UnexpectedStatus"),
)


def _meaning(outcome: Outcome | None) -> str:
    if outcome is None:
        return RUNS
    return REFUSED if outcome.refused else outcome.status.value


@pytest.mark.parametrize(
    ("row", "told", "meaning", "code"),
    SENDING,
    ids=[f"{row}-{told.status}-{i}" for i, (row, told, *_) in enumerate(SENDING)],
)
def test_what_a_request_s_answer_means(row: str, told: Told, meaning: str, code: str) -> None:
    """And it is sent once, whatever the answer, Retry-After or not; so that an effect is an effect once."""
    with listening(Arm()) as arm:
        sleeper = ManualSleeper()
        place = backend(sleeper)
        place.observe()
        arm.tell("POST", "restart", told)
        arm.tell("GET", "/op", RUNNING)
        handle = place.submit(COMMANDS[Kind.RESTART])
        assert len(arm.sent) == 1, "sent once"
        assert not sleeper.slept, "no policy waits, to repeat it"
        outcomes = place.observe().outcomes
        assert _meaning(outcomes[0] if outcomes else None) == meaning
        if outcomes:
            assert outcomes[0].code == code
            assert (outcomes[0].retry_after_ms == 7_000) is (meaning == REFUSED and "Retry-After" in told.headers)
        if meaning in (RUNS, SUCCEEDED):
            assert handle, "whoever goes on can ask for it"


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_no_kind_of_command_is_sent_twice(kind: Kind, status: int) -> None:
    with listening(Arm()) as arm:
        sleeper = ManualSleeper()
        place = backend(sleeper)
        place.observe()
        for method in ("POST", "PATCH", "PUT"):
            for path in ("", "manualupgrade", "reimage", "restart", "delete", "setOrchestrationServiceState",
                         "osRollingUpgrade", "rollingUpgrades/cancel", "virtualMachines/0/runCommands/vmss-sim-1"):  # fmt: skip
                arm.tell(method, path, error(status, "X", Retry_After="1"))
        place.submit(COMMANDS[kind])
        assert len(arm.sent) == 1
        assert not sleeper.slept


def test_no_token_is_nothing_sent() -> None:
    token = Token()
    with listening(Arm()) as arm:
        place = backend(credential=token)
        place.observe()
        token.error = ClientAuthenticationError("the secret has expired")
        place.client.sdk._client._pipeline._impl_policies[5]._token = None  # type: ignore[attr-defined]
        assert place.submit(COMMANDS[Kind.RESTART]) == ""
        assert not arm.sent
    (outcome,) = place._outcomes + [part.ended for part in place._flights["c1"].parts]
    assert outcome is not None
    assert (_meaning(outcome), outcome.code) == (REFUSED, "NoToken")


def test_an_expired_token_is_fetched_anew() -> None:
    token = Token()
    with listening(Arm()) as arm:
        place = backend(credential=token)
        place.observe()
        arm.tell("POST", "restart", error(401, "ExpiredAuthenticationToken"))
        place.submit(COMMANDS[Kind.RESTART])
        before = token.asked
        place.observe()
        assert token.asked == before + 1


# (row, style, answers, meaning, code)
POLLING: tuple[tuple[str, str, Told, str, str], ...] = (
    ("succeeded", "operation", DONE, SUCCEEDED, ""),
    ("succeeded", "operation", operation("SUCCEEDED"), SUCCEEDED, ""),
    ("failed", "operation", operation("Failed", "VMExtensionProvisioningError", "the extension"), FAILED, "VMExtensionProvisioningError"),
    ("failed", "operation", operation("failed"), FAILED, "OperationFailed"),
    ("canceled", "operation", operation("Canceled", "OperationPreempted", "by a more recent one"), FAILED, "OperationPreempted"),
    ("canceled", "operation", operation("Cancelled"), FAILED, "OperationCanceled"),
    ("running", "operation", RUNNING, RUNS, ""),
    ("running", "operation", operation("SomethingNew"), RUNS, ""),
    ("running", "operation", Told(200, "<html>"), RUNS, ""),
    ("running", "operation", Told(202), RUNS, ""),
    ("location-running", "location", Told(202), RUNS, ""),
    ("location-done", "location", Told(200), SUCCEEDED, ""),
    ("location-done", "location", Told(204), SUCCEEDED, ""),
    ("vanished", "operation", error(404, "NotFound"), UNKNOWN, "NotFound"),
    ("vanished", "operation", Told(404), UNKNOWN, "OperationVanished"),
    ("vanished", "location", Told(410), UNKNOWN, "OperationVanished"),
    ("poll-refused", "operation", error(401, "ExpiredAuthenticationToken"), RUNS, ""),
    ("poll-refused", "operation", error(403, "AuthorizationFailed"), RUNS, ""),
    ("poll-refused", "operation", error(429, "TooManyRequests", **AGAIN), RUNS, ""),
    ("location-failed", "location", error(409, "AllocationFailed"), FAILED, "AllocationFailed"),
    ("poll-strange", "operation", error(400, "InvalidParameter"), UNKNOWN, "InvalidParameter"),
    ("poll-error", "operation", Told(500), RUNS, ""),
    ("poll-error", "location", Told(503), RUNS, ""),
    ("poll-error", "location", Told(304), RUNS, ""),
    ("poll-silent", "operation", Told(error=RESET), RUNS, ""),
    ("poll-silent", "operation", Told(error=SLOW), RUNS, ""),
    ("poll-silent", "operation", Told(error=NO_ROUTE), RUNS, ""),
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "style", "told", "meaning", "code"), POLLING, ids=[f"{row}-{i}" for i, (row, *_) in enumerate(POLLING)]
)
def test_what_an_operation_s_answer_means(row: str, style: str, told: Told, meaning: str, code: str) -> None:
    """What tells of the poll only is asked again, at the next moment of the schedule and not at once; then it is over."""
    with listening(Arm()) as arm:
        sleeper = ManualSleeper()
        place = backend(sleeper)
        place.observe()
        name = {"operation": "Azure-AsyncOperation", "location": "Location"}[style]
        arm.tell("POST", "restart", Told(202, None, {name: "https://management.azure.com/op?x=1"}))
        arm.tell("GET", "/op", told, DONE if style == "operation" else Told(200))
        place.submit(COMMANDS[Kind.RESTART])
        start = sleeper.now
        assert place.wait(Wait(until_ms=None))
        (outcome,) = place.observe().outcomes
        polls = [call for call in arm.calls if call.path == "/op"]
        assert len(polls) == (2 if meaning == RUNS else 1)
        assert sleeper.now - start == sum(sleeper.slept)
        if meaning == RUNS:
            assert outcome.status is Status.SUCCEEDED
            assert sleeper.now - start >= (7_000 if "Retry-After" in told.headers else 4_000)
        else:
            assert (_meaning(outcome), outcome.code) == (meaning, code)


def test_every_row_has_its_case() -> None:
    """A row without a case is a meaning nobody has checked."""
    cases = {row for row, *_ in (*SENDING, *POLLING)} | {"no-token"}
    assert {row.name for row in TABLE} == cases


def test_the_rows_are_those_that_are_meant() -> None:
    """The names in the cases above are the rows that decide."""
    for row, told, *_ in SENDING:
        if told.error is None:
            assert row_of("send", Answer(status=told.status, body=told.body)).name == row
    for row, style, told, *_ in POLLING:
        if told.error is None:
            assert row_of(style, Answer(status=told.status, body=told.body)).name == row


@given(
    st.sampled_from(["send", "operation", "location"]),
    st.one_of(
        st.builds(
            Answer,
            status=st.integers(100, 599),
            body=st.one_of(st.none(), st.text(), st.dictionaries(st.text(), st.text())),
        ),
        st.builds(Answer, fault=st.sampled_from([NOT_SENT, NO_ANSWER, NO_TOKEN])),
    ),
)
def test_every_answer_has_a_meaning(asked: str, answer: Answer) -> None:
    """And nothing but an answer below 500 says that a request had no effect, nor a gateway's error that it had one."""
    outcome = outcome_of("c1", asked, answer)
    if outcome is None:
        return
    if outcome.refused:
        assert asked == "send"
        assert answer.fault in (NOT_SENT, NO_TOKEN) or 400 <= (answer.status or 0) < 500
    if answer.fault == NO_ANSWER or (answer.status or 0) >= 500:
        assert outcome.status is Status.UNKNOWN
    if asked == "send" and outcome.status is Status.FAILED:
        assert outcome.refused


@given(st.lists(st.sampled_from(["succeeded", "failed", "refused", "unknown"]), min_size=1, max_size=5))
def test_several_operations_are_one_outcome(ends: list[str]) -> None:
    """One instance each: unknown wins, then failed; refused only where all were."""
    made = {
        "succeeded": Outcome(command="c", status=Status.SUCCEEDED),
        "failed": Outcome(command="c", status=Status.FAILED, code="F"),
        "refused": Outcome(command="c", status=Status.FAILED, code="R", refused=True, retry_after_ms=1),
        "unknown": Outcome(command="c", status=Status.UNKNOWN, code="U"),
    }
    outcome = joined("c", [made[one] for one in ends])
    if "unknown" in ends:
        assert outcome.status is Status.UNKNOWN
    elif set(ends) == {"succeeded"}:
        assert outcome.status is Status.SUCCEEDED
    else:
        assert outcome.status is Status.FAILED
        assert outcome.refused is (set(ends) == {"refused"})


@pytest.mark.parametrize(
    "body", [None, [], "text", {"error": "text"}, {"error": {"code": 3}}, {"code": "C", "message": "M"}]
)
def test_any_error_body_is_survived(body: Any) -> None:
    outcome = outcome_of("c1", "send", Answer(status=409, body=body))
    assert outcome is not None and outcome.code in ("Conflict", "C")
