"""A token that cannot be renewed: a login that does not answer is waited for as a host is, a credential that is refused is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError
from urllib3.exceptions import NewConnectionError

from backends.azure.client import NO_TOKEN
from planner.commands import Kind, Status
from planner.errors import InputError, PlatformError
from tests.azure_arm import COMMANDS, SECRET, Arm, ManualSleeper, Told, backend, error, listening
from tests.fleet import Case
from tests.test_apply import Desk, desk

__all__ = ["desk"]
LOGIN = "login.microsoftonline.com"


class Login:
    """A credential whose tokens last for one request; it fails as told, so many times, each after 5 s (azure-identity's own tries)."""

    def __init__(self, clock: ManualSleeper) -> None:
        self.clock, self.error, self.times, self.tries = clock, AzureError(""), 0, 0

    def fails(self, error: AzureError, times: int) -> None:
        self.error, self.times, self.tries = error, times, 0

    def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        self.tries += 1
        if self.times:
            self.times -= 1
            self.clock.now += 5_000
            raise self.error
        return AccessToken(SECRET, 0)


def outage() -> ClientAuthenticationError:
    """As azure-identity says it."""
    text = f"HTTPSConnection(host='{LOGIN}', port=443): Failed to establish a new connection: [Errno 111] Connection refused"
    made = ClientAuthenticationError(f"Authentication failed: {text}")
    made.__cause__ = ServiceRequestError(text, error=NewConnectionError(None, text))  # type: ignore[arg-type]
    return made


def unnamed() -> ClientAuthenticationError:
    return ClientAuthenticationError(
        "AzureCliCredential: Failed to invoke the Azure CLI\nTo mitigate this issue, please"
    )


def overloaded() -> ClientAuthenticationError:
    """With the login's own answer: that is none of ARM's."""
    made = ClientAuthenticationError(
        "Authentication failed: AADSTS90033: A transient error has occurred. Please try again."
    )
    made.response = object()  # type: ignore[assignment]
    return made


def expired() -> ClientAuthenticationError:
    made = ClientAuthenticationError(
        "Authentication failed: AADSTS7000222: The provided client secret keys are expired."
    )
    made.response = object()  # type: ignore[assignment]
    return made


SHORT = pytest.mark.parametrize(
    ("trouble", "host", "why"),
    [
        (outage, LOGIN, "the connection is refused"),
        (unnamed, "", "no token: AzureCliCredential: Failed to invoke the Azure CLI"),
        (
            overloaded,
            "",
            "no token: Authentication failed: AADSTS90033: A transient error has occurred. Please try again.",
        ),
    ],
    ids=["outage", "unnamed", "overloaded"],
)


@SHORT
def test_a_login_that_does_not_answer_is_waited_for(trouble: Callable[[], AzureError], host: str, why: str) -> None:
    clock, said, told = ManualSleeper(), [], []
    login = Login(clock)
    with listening(Arm()):
        place = backend(clock, credential=login, says=said.append)
        place.unreached = lambda *what: told.append(what)
        place.observe()
        login.fails(trouble(), 6)
        place.observe()
        assert login.tries > 6
    assert told[0][:2] == (host, why)
    assert told[-1][1] == "", "and that it answers again"
    begins = f"{LOGIN} cannot be reached for " if host else "no token for "
    assert said
    assert all(one.startswith(begins) and one.endswith("; trying on") for one in said)


@SHORT
def test_it_is_given_up_after_as_long_as_a_host(trouble: Callable[[], AzureError], host: str, why: str) -> None:
    clock = ManualSleeper()
    login = Login(clock)
    with listening(Arm()):
        place = backend(clock, credential=login)
        place.observe()
        login.fails(trouble(), 1_000)
        begun = clock.now_ms()
        with pytest.raises(PlatformError, match="no token could be had"):
            place.observe()
    assert 600_000 < clock.now_ms() - begun < 800_000


@pytest.mark.parametrize(
    ("trouble", "had"),
    [(outage, False), (expired, False), (expired, True)],
    ids=["never there", "refused at first", "refused later"],
)
def test_what_is_refused_or_never_was_there_ends_at_once(trouble: Callable[[], AzureError], had: bool) -> None:
    clock = ManualSleeper()
    login = Login(clock)
    with listening(Arm()):
        place = backend(clock, credential=login)
        if had:
            place.observe()
        login.fails(trouble(), 1_000)
        with pytest.raises(PlatformError if had else InputError, match=r"no token could be had.*(expired|refused)"):
            place.observe()
        assert (login.tries, clock.slept) == (1, [])


@pytest.mark.parametrize("trouble", [outage, overloaded, expired], ids=["outage", "overloaded", "expired"])
@pytest.mark.parametrize("challenged", [False, True])
def test_what_changes_something_is_not_sent_and_not_repeated(
    trouble: Callable[[], AzureError], challenged: bool
) -> None:
    clock = ManualSleeper()
    login = Login(clock)
    with listening(Arm()) as arm:
        place = backend(clock, credential=login)
        place.observe()
        if challenged:
            claims = 'Bearer authorization_uri="https://x", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="'
            told = error(401, "ExpiredAuthenticationToken", **{"WWW-Authenticate": claims})
            arm.tell("POST", "restart", Told(401, told.body, told.headers))
            issues = login.get_token

            def refused(*scopes: str, **options: Any) -> AccessToken:
                if options.get("claims"):
                    raise trouble()
                return issues(*scopes, **options)

            login.get_token = refused  # type: ignore[method-assign]
        else:
            login.fails(trouble(), 1_000)
        assert place.submit(COMMANDS[Kind.RESTART]) == ""
        assert len(arm.sent) == int(challenged)
        (part,) = place._flights["c1"].parts
    assert part.ended is not None
    assert (part.ended.status, part.ended.refused, part.ended.code) == (Status.FAILED, True, "NoToken")
    assert clock.slept == []


def test_a_poll_without_a_token_is_asked_again() -> None:
    clock = ManualSleeper()
    login = Login(clock)
    with listening(Arm()):
        place = backend(clock, credential=login)
        place.observe()
        login.fails(outage(), 1)
        answer = place.client.ask("/subscriptions", repeat=False)
    assert (answer.fault, login.tries) == (NO_TOKEN, 1)
    assert not isinstance(outage().__cause__, HttpResponseError)


def test_status_says_whom_an_executor_waits_for(desk: Callable[[Case], Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport's words, as the executor writes them down."""
    from backends.simulated import SimulatedBackend
    from tests.test_unread import CASE

    here = desk(CASE)
    looks, inner = [0], SimulatedBackend.observe

    def observe(self: Any) -> Any:
        looks[0] += 1
        if looks[0] == 4:
            self.unreached("", "no token: AzureCliCredential: Failed to invoke the Azure CLI", 11_000)
            assert "the set cannot be looked at since 20" in here.status()["why"]
            self.unreached("", "", 0)
        return inner(self)

    monkeypatch.setattr(SimulatedBackend, "unreached", None, raising=False)
    monkeypatch.setattr(SimulatedBackend, "observe", observe)
    assert here.run("apply").status == 0
    assert looks[0] > 4
    assert here.status()["unreachable"] is None
