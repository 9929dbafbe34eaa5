"""All scale sets of a subscription, or of one resource group, one after another. Reads only.

Contract:

1. Who is there is what ARM's own list says, every page of it. A list that cannot be read is an error, as for a single set.
2. A set that cannot be read is told with the reason, and the next one is read. One that is gone meanwhile is told as gone. Where the host
   cannot be reached any more, the rest is told so without being tried.
3. Between two sets it waits where the subscription's token buckets are low (`Budget`), and says so. A 429 is waited for as at any read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from backends.azure.client import NO_ANSWER, Answer, Client
from backends.azure.clock import Sleeper
from backends.azure.clouds import Scope, scope_of
from backends.azure.polling import Budget
from backends.azure.reading import NoSuchSet, Reader, unreadable
from backends.azure.requests import url_of
from backends.azure.snapshot import snapshot
from planner.errors import InputError, PlatformError


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One set. document: its snapshot; None where it could not be read: then `short` and `why` say why. gone: it is not there any more."""

    scope: Scope
    location: str
    document: dict[str, Any] | None = None
    short: str = ""
    why: str = ""
    gone: bool = False


class Fleet:
    """The sets of a subscription; of one group where it is named. says: is told what it waits for."""

    def __init__(
        self, client: Client, subscription: str, group: str, clock: Sleeper, says: Callable[[str], None] | None = None
    ) -> None:
        self.client, self.clock, self.says = client, clock, says
        self.scope = Scope(subscription=subscription, group=group, name="")
        self._budget = Budget()
        self._unreached = ""

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def listed(self) -> tuple[tuple[Scope, str], ...]:
        """Contract 1: every set and its location. Raises what a read raises."""
        answers = self.client.pages(url_of("group-sets" if self.scope.group else "all-sets", self.scope))
        self._budget.note("list", answers, self.clock.now_ms())
        for one in answers:
            if not one.ok or not isinstance(one.body, dict):
                self._refused(one)
        rows = [row for one in answers for row in one.body.get("value") or () if isinstance(row, dict)]
        return tuple((scope_of(str(row.get("id", ""))), str(row.get("location", ""))) for row in rows)

    def each(self, listed: tuple[tuple[Scope, str], ...]) -> Iterator[Taken]:
        """Contract 2 and 3."""
        for scope, location in listed:
            self._wait()
            try:
                if self._unreached:
                    raise PlatformError("Unreachable", self._unreached)
                reader = Reader(self.client, scope, self._budget)
                document = snapshot(reader.documents(self.clock.now_ms(), whole=True))
                yield Taken(scope=scope, location=location, document=document)
            except NoSuchSet as error:
                yield Taken(scope=scope, location=location, short="gone since it was listed", why=str(error), gone=True)
            except InputError as error:
                yield Taken(scope=scope, location=location, short=error.what, why=str(error))
            except PlatformError as error:
                if error.code in ("Unreachable", NO_ANSWER):
                    self._unreached = error.message
                yield Taken(scope=scope, location=location, short=str(error)[:80], why=str(error))

    def _wait(self) -> None:
        now = self.clock.now_ms()
        span = self._budget.elsewhere_ms(now) - now
        if span > 0:
            if self.says is not None:
                self.says(f"the subscription's requests are nearly used up; waiting {-(-span // 1000)} s")
            self.clock.sleep_ms(span)

    def _refused(self, answer: Answer) -> None:
        """Raises what a list that was not given means."""
        code, message = answer.error
        of = f"group {self.scope.group}" if self.scope.group else f"subscription {self.scope.subscription}"
        said = f"{code} {message}".strip()[:300] or answer.text
        if answer.status == 404:
            raise InputError(
                f"there is no {of}", "--subscription, -g", said, "one that exists", "`az group list -o table`"
            )
        if answer.status == 403:
            raise InputError("scale sets may not be listed", of, said, "the role Reader at least")
        unreadable(answer, f"the list of scale sets of {of}", self.scope)
