"""The way to Azure Resource Manager: one SDK client, and what comes back as values.

Contract:

1. What changes something is sent once. No policy of the pipeline repeats it, whatever the answer (azure-core repeats a POST on 500, 503,
   504, and any request whose answer has a Retry-After; azure-mgmt-core registers resource providers on a 409 by itself). Alone an
   answer 401 with a claims challenge is answered by the same request with another token: a request that was not let in has done nothing.
2. A read is repeated by azure-core's own policy, for about ten minutes, with the server's Retry-After; between two attempts the backend's
   clock passes (`Sleeper`). A poll of an operation is not: the backend's schedule is its loop. A login that does not answer is waited for
   as the endpoint is, once there was a token; a credential that is refused (an AADSTS code that is not of a moment) is not.
3. An answer is a value, whatever it is: status, headers, body, or why there is none (`fault`). No exception of the SDK leaves this module.
4. A token goes to the endpoint's own host over HTTPS and nowhere else: redirects are not followed, and an address of another host
   (in a journal somebody changed, say) is not asked.
5. Right before each request that changes something it is asked whether that may still be sent (`Still`).
6. What its clock has to say to an endpoint (`Sleeper.headers`) every request says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.core.pipeline import policies
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.core.rest import HttpRequest
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy, ARMHttpLoggingPolicy

from backends.azure.clock import Sleeper

NOT_SENT, NO_ANSWER, NO_TOKEN = "not-sent", "no-answer", "no-token"
SAYS_MS = 10_000
"""So long it is silent about a host that cannot be reached."""
_REFUSED = re.compile(r"AADSTS(?!(?:90006|90012|90024|90033|90055)\b)\d+")
"""What Entra says of a credential that it refuses; the codes left out are its own trouble of a moment (not available, timed out, throttled)."""
_HOST = re.compile(r"host='([^'\s]+)'")
_UNREACHED = ("NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ConnectTimeout")
_READING = ("GET", "HEAD", "OPTIONS")
_READS = {"retry_total": 16, "retry_connect": 16, "retry_read": 16, "retry_status": 16, "retry_backoff_max": 60}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request. status: None where nobody answered, then `fault` and `text` say why. headers: names in lower case."""

    status: int | None = None
    headers: dict[str, str] = {}
    body: Any = None
    fault: str = ""
    text: str = ""

    @property
    def ok(self) -> bool:
        """Was it done, or accepted?"""
        return self.status is not None and self.status < 300

    @property
    def error(self) -> tuple[str, str]:
        """Code and message of ARM's error body, in any of its forms; empty where there is none."""
        found = self.body.get("error", self.body) if isinstance(self.body, dict) else {}
        if not isinstance(found, dict):
            return "", ""
        code, message = found.get("code"), found.get("message")
        return (code if isinstance(code, str) else ""), (message if isinstance(message, str) else "")

    @property
    def retry_after_ms(self) -> int | None:
        """Retry-After in ms; None where it is absent, or not a number."""
        told = self.headers.get("retry-after", "").strip()
        return int(told) * 1000 if told.isdecimal() else None


class NoToken(ClientAuthenticationError):
    """No token, and asking again would not help. Without the login's own answer: that is none to the request."""

    def __init__(self, error: AzureError) -> None:
        super().__init__(str(error))


class NoTokenNow(ServiceRequestError):
    """No token for the moment: what azure-core repeats, as it does for a host that it does not reach."""


class Authentication(ARMChallengeAuthenticationPolicy):
    """The SDK's own, but a token that cannot be renewed while the login does not answer is waited for (contract 2)."""

    def __init__(self, credential: Any, scopes: tuple[str, ...], transport: HttpTransport[Any, Any]) -> None:
        super().__init__(credential, *scopes)
        self._transport, self._had = transport, False

    def _request_token(self, *scopes: str, **options: Any) -> None:
        try:
            super()._request_token(*scopes, **options)
        except AzureError as error:
            if not self._had or _REFUSED.search(str(error)):
                raise NoToken(error) from error
            now = NoTokenNow(str(error), error=error)
            if isinstance(self._transport, Transport):
                self._transport.missed(_host_of(error), now)
            raise now from error
        self._had = True


class Still(policies.SansIOHTTPPolicy[Any, Any]):
    """Asked right before each request that changes something, once it has its token: that may have taken long. What `asks` raises keeps it back."""

    def __init__(self) -> None:
        self.asks: Callable[[], None] = lambda: None

    def on_request(self, request: Any) -> None:
        """Before it is sent."""
        if request.http_request.method not in _READING:
            self.asks()


class Transport(RequestsTransport):  # type: ignore[misc, unused-ignore]
    """The SDK's own transport, but waits by the backend's clock, says whom it waits for, and gives up after `patience_s`; after `first_s` where
    nobody has answered yet: then nothing is under way that would be worth waiting for. tells: is told
    (host, why not, for how many ms) at each attempt once a host could not be reached for `SAYS_MS`, and with an empty `why` when it answers again.
    """

    def __init__(
        self,
        sleeper: Sleeper,
        *,
        says: Callable[[str], None] | None = None,
        patience_s: float | None = None,
        first_s: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._sleeper, self._says, self._patience_s = sleeper, says, patience_s
        self._first_s = first_s
        self._since_ms: int | None = None
        self._said_ms = 0
        self._host, self._last = "", AzureError("")
        self.tells: Callable[[str, str, int], None] | None = None
        self._told = False

    def send(self, request: Any, **options: Any) -> Any:
        """One attempt."""
        try:
            answer = super().send(request, **options)
        except AzureError as error:
            self.missed(urlsplit(request.url).netloc, error)
            raise
        self._since_ms = self._first_s = None
        if self._told and self.tells is not None:
            self._told = False
            self.tells(self._host, "", 0)
        return answer

    def missed(self, host: str, error: AzureError) -> None:
        """An attempt did not reach the host; '': that of the login, whose name is not known."""
        self._host, self._last = host, error
        if self._since_ms is None:
            self._since_ms = self._said_ms = self._sleeper.now_ms()
        for_ms = self._sleeper.now_ms() - self._since_ms
        if self.tells is not None and for_ms >= SAYS_MS:
            self._told = True
            self.tells(host, plainly(error) if host else f"no token: {plainly(error)}", for_ms)

    def sleep(self, duration: float) -> None:
        """Between two attempts of a read."""
        if self._since_ms is not None:
            now_ms = self._sleeper.now_ms()
            what = f"{self._host} cannot be reached" if self._host else "no token"
            text = f"{what} for {(now_ms - self._since_ms) // 1000} s: {plainly(self._last)}"
            patience_s = self._patience_s if self._first_s is None else self._first_s
            if patience_s is not None and now_ms - self._since_ms + duration * 1000 > patience_s * 1000:
                raise ServiceRequestError(text, error=self._last)
            if self._says is not None and now_ms - self._said_ms >= SAYS_MS:
                self._said_ms = now_ms
                self._says(f"{text}; trying on")
        self._sleeper.sleep_ms(round(duration * 1000))


class Client:
    """The SDK's client for one subscription, and its answers as values. closes: what else is closed with it. cloud: which one (`Place.name`)."""

    def __init__(
        self,
        credential: Any,
        subscription: str,
        endpoint: str,
        scopes: tuple[str, ...],
        transport: HttpTransport[Any, Any],
        says: Mapping[str, str] | None = None,
        closes: Callable[[], None] = lambda: None,
        cloud: str = "public",
    ) -> None:
        self._closes, self.cloud, self.still = closes, cloud, Still()
        self.endpoint = endpoint.rstrip("/")
        self._host = urlsplit(endpoint).netloc.lower()
        self.sdk = ComputeManagementClient(
            credential,
            subscription,
            self.endpoint,
            credential_scopes=list(scopes),
            transport=transport,
            policies=[
                policies.RequestIdPolicy(),
                policies.HeadersPolicy(dict(says or {})),
                policies.UserAgentPolicy(base_user_agent="vmss-sim"),
                policies.ProxyPolicy(),
                policies.RetryPolicy(**_READS),
                Authentication(credential, scopes, transport),
                self.still,
                policies.CustomHookPolicy(),
                ARMHttpLoggingPolicy(),
            ],
        )

    def close(self) -> None:
        """Close the connections."""
        self.sdk.close()
        self._closes()

    def operation(self, path: str) -> Callable[..., Any]:
        """An operation of the SDK, as `group.method`."""
        group, _, method = path.partition(".")
        return getattr(getattr(self.sdk, group), method)  # type: ignore[no-any-return]

    def send(self, path: str, *arguments: Any, **options: Any) -> Answer:
        """Send what changes something: once."""
        return _answered(
            lambda hook: self.operation(path)(
                *arguments, polling=False, raw_response_hook=hook, retry_total=0, **options
            )
        )

    def pages(self, url: str) -> tuple[Answer, ...]:
        """Read a list, page by page as its `nextLink` says: all of them, or as the last one the answer where it broke off.

        Not by the SDK's pager: that makes a model of every instance at every look (5 s of work a look at a set of 1000).
        """
        found = [self.ask(url)]
        seen = {url}
        while (url := _next(found[-1])) and url not in seen:
            seen.add(url)
            found.append(self.ask(url))
        return tuple(found)

    def ask(self, url: str, *, repeat: bool = True) -> Answer:
        """GET an address that Azure gave, or a path. repeat: as a read is."""
        parts = urlsplit(url)
        if parts.netloc and (parts.scheme != "https" or parts.netloc.lower() != self._host):
            return Answer(fault=NOT_SENT, text=f"an address of {parts.netloc[:80]}, not of {self._host}")
        options: dict[str, Any] = {} if repeat else {"retry_total": 0}
        address = url if parts.netloc else self.endpoint + url
        return _answered(
            lambda hook: self.sdk.send_request(HttpRequest("GET", address), raw_response_hook=hook, **options)
        )


def _answered(run: Callable[[Callable[[Any], None]], Any]) -> Answer:
    """What a call of the SDK came to."""
    seen: list[Any] = []
    try:
        run(lambda response: seen.append(response.http_response))
    except AzureError as error:
        own = getattr(error, "response", None)
        if own is None and not (seen and seen[-1].status_code < 300):
            return _fault(error)  # nobody answered, also where an earlier attempt was answered
    except (ValueError, TypeError, LookupError, AttributeError):
        if not seen:  # it is ours: nothing was sent
            raise
    # What an answer's body could not be made of is no matter: that it came is. Of several attempts of a read the last one counts.
    return _value(seen[-1]) if seen else Answer(fault=NO_ANSWER, text="no answer was seen")


def _next(answer: Answer) -> str:
    found = answer.body.get("nextLink") if answer.ok and isinstance(answer.body, dict) else None
    return found if isinstance(found, str) else ""


def _value(response: Any) -> Answer:
    body: Any = None
    try:
        text = response.read()
        body = msgspec.json.decode(text) if text else None
    except (AzureError, msgspec.DecodeError, UnicodeDecodeError):
        body = None  # what it would have said is not known; that it was answered is
    headers: Mapping[str, str] = response.headers
    return Answer(
        status=response.status_code, headers={name.lower(): value for name, value in headers.items()}, body=body
    )


def _fault(error: AzureError) -> Answer:
    """Why there is no answer. Not sent is said only where the connection was never made: everything else may have been done."""
    text = str(error).replace("\n", " ")[:300]
    chain: list[BaseException] = []
    _causes(error, chain)
    if any(isinstance(one, NoToken | NoTokenNow) for one in chain):
        return Answer(fault=NO_TOKEN, text=why_no_token(str(error)))
    unsent = isinstance(error, ServiceRequestError) and not isinstance(error, HttpResponseError)
    if unsent and any(type(one).__name__ in _UNREACHED for one in chain):
        return Answer(fault=NOT_SENT, text=text)
    return Answer(fault=NO_ANSWER, text=text)


_ABSENT = (
    "unavailable", "not configured", "not installed", "not found on path", "not available", "no accounts", "cli could not be found",
    "package to be installed",
)  # fmt: skip
_ADVICE = re.compile(r"\s*(?:\b(?:Visit|See|To mitigate|Please visit|Trace ID|Correlation ID)\b|https?://).*", re.S)
_AUTHORITY = re.compile(r"Unable to get authority configuration for https?://([^/\s]+)/([^\s/]+?)[/.]*(?:\s.*)?$", re.S)
"""What msal says, with much advice, where the tenant is not one that the login's host knows."""
_TRIED = re.compile(r"^\s*(\w+Credential): ", re.M)


def why_no_token(text: str) -> str:
    """What azure-identity says about its credentials, in one line: of each that was tried and is set up here the first sentence, of
    those that are not set up the names.
    """
    first, *tried = _TRIED.split(text)
    if not tried:
        return _sentence(first)
    told = [(name, _sentence(why)) for name, why in zip(tried[::2], tried[1::2], strict=True)]
    matter = [f"{name}: {why}" for name, why in told if not any(word in why.lower() for word in _ABSENT)]
    absent = [name.removesuffix("Credential") for name, why in told if any(word in why.lower() for word in _ABSENT)]
    return "; ".join((*matter, *([f"not set up here: {', '.join(absent)}"] if absent else [])))


def _sentence(text: str) -> str:
    text = _AUTHORITY.sub(r"\1 knows no tenant '\2'", text)
    lines = [line.strip() for line in _ADVICE.sub("", text).splitlines()]
    found = next((line for line in lines if line), text.strip()[:80])
    return found if len(found) <= 200 else found[:200].rsplit(" ", 1)[0] + " …"


_PLAINLY = (
    ("NameResolutionError", "its name cannot be resolved"),
    ("ConnectTimeout", "no connection in time"),
    ("SSLError", "its certificate is not trusted (--ca says whose is)"),
    ("NewConnectionError", "the connection is refused"),
    ("ReadTimeout", "no answer in time"),
)


def plainly(error: BaseException) -> str:
    """Why nobody answered, in a few words."""
    chain: list[BaseException] = []
    _causes(error, chain)
    names = " ".join(type(one).__name__ for one in chain)
    said = why_no_token(str(error)) if isinstance(error, NoTokenNow) else str(error).replace("\n", " ")
    return next((text for name, text in _PLAINLY if name in names), said[:120])


def _host_of(error: BaseException) -> str:
    """Of the login that could not be reached; '' where that is not what went wrong."""
    chain: list[BaseException] = []
    _causes(error, chain)
    return next((found[1] for one in chain if (found := _HOST.search(str(one)))), "")


def _causes(error: BaseException, into: list[BaseException]) -> None:
    """What an error rests on: its cause, its context, and what it carries (`reason` of urllib3, `inner_exception` of azure-core)."""
    if error in into or len(into) > 20:
        return
    into.append(error)
    held = [getattr(error, name, None) for name in ("inner_exception", "reason", "__cause__", "__context__")]
    for one in (*held, *error.args):
        if isinstance(one, BaseException):
            _causes(one, into)
