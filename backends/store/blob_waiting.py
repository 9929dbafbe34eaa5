"""How long a store in Azure Storage that does not answer is waited for, and what is said meanwhile.

Rules this module decides:

1. A request that nobody answered, or that was answered "not now", is sent again after 3 s, 5 s, then every 8 s. The SDK's own 15 s and more is half of what a lease
   lasts. It harms nothing: an append names its position, a small blob is created once and compared (`blob_service.created`), a lease knows who holds it.
2. A store that never answered is waited for `FIRST_S`: nothing is under way yet. One that did, `MOST_S`: it may be in the middle of a rollout,
   and nothing is sent meanwhile (intent comes before act).
3. After `SAYS_S`, and every `AGAIN_S` from then on, it is said that it does not answer, why, and until when it is tried.
4. Renewing a lease is not repeated for so long (`RENEWAL`): the next beat does it again, as long as that helps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ExponentialRetry

from backends.azure.client import plainly
from planner.errors import PlatformError

FIRST_S, MOST_S = 30.0, 90.0
SAYS_S, AGAIN_S = 3.0, 15.0
LONGEST_S = 8.0
RENEWAL: dict[str, Any] = {"retry_total": 1, "connection_timeout": 5, "read_timeout": 5}
"""Of one request: two attempts and three seconds between them are over before the lease runs out."""


class Patience:
    """What is known of a store that does not answer. says: is told."""

    def __init__(self, name: str, says: Callable[[str], None] | None = None) -> None:
        self._name, self._says = name, says
        self._since: float | None = None
        self._said: float | None = None
        self._had = False

    def answered(self) -> None:
        """Somebody did."""
        self._had, self._since, self._said = True, None, None

    def missed(self, error: AzureError, began: float) -> None:
        """Nobody answered an attempt. Raises PlatformError where it was waited for long enough (rule 2)."""
        now = time.monotonic()
        since = self._since = began if self._since is None else self._since
        text = f"{self._name} does not answer for {now - since:.0f} s: {plainly(error)}"
        most_s = MOST_S if self._had else FIRST_S
        if now - since >= most_s:
            raise PlatformError("StoreUnreachable", f"{text}; look at its name, and at the network") from error
        if self._says is not None and now - since >= SAYS_S and (self._said is None or now - self._said >= AGAIN_S):
            self._said = now
            until = time.strftime("%H:%M:%SZ", time.gmtime(time.time() + since + most_s - now))
            self._says(f"the store {text}; trying until {until}")


class Retry(ExponentialRetry):
    """Rule 1. How long in all is the transport's matter, where nobody answers."""

    def __init__(self) -> None:
        super().__init__(
            initial_backoff=1, increment_base=2, random_jitter_range=0,
            retry_total=99, retry_connect=99, retry_read=99, retry_status=8,
        )  # fmt: skip

    def sleep(self, settings: dict[str, Any], transport: Any) -> None:  # noqa: ARG002  # the SDK's signature
        """Between two attempts."""
        time.sleep(min(LONGEST_S, self.get_backoff_time(settings)))


class Transport(RequestsTransport):  # type: ignore[misc, unused-ignore]
    """The SDK's own, that knows how long nobody has answered."""

    def __init__(self, patience: Patience, **options: Any) -> None:
        super().__init__(**options)
        self._patience = patience

    def send(self, request: Any, **options: Any) -> Any:
        """One attempt."""
        began = time.monotonic()
        try:
            answer = super().send(request, **options)
        except AzureError as error:
            self._patience.missed(error, began)
            raise
        self._patience.answered()
        return answer
