"""Looking at a scale set: the requests of one look, read by `planner.arm_json` and by nothing else.

Contract:

1. One look: the set, all its instances with instance view (every page), `rollingUpgrades/latest` where that matters (404: there was
   none), the set's own instance view for whether repairs are suspended, and managed run-commands where a guest patch is rolled out.
2. What did not change is the same object as in the look before: the model, and each instance.
3. A list that changed while it was read (an instance twice) is read again. A look is whole or it is none.
4. What costs most is asked for seldom: the set's instance view where repairs are enabled, at first, for some time after they were suspended
   or resumed, and every five minutes; run-commands for some time after an instance was named in one, and where its VM or disk is another.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from backends.azure.client import NO_TOKEN, NOT_SENT, Answer, Client
from backends.azure.clouds import Scope
from backends.azure.polling import Budget
from backends.azure.requests import READS, url_of
from planner.arm_json import Gap, Reading, read_run_commands, read_scale_set
from planner.commands import Command, Kind
from planner.errors import InputError, PlatformError
from planner.model import Instance, Model, Orchestration, RollingUpgrade, ScaleSet, UpgradeMode

VIEW_EVERY_MS = 300_000
STIRRED_MS = 600_000
"""For how long after a command what it stirs is asked for at every look: an outcome that nobody told shows itself in that time."""
_AGAIN = 3
_SET, _LIST, _LATEST, _VIEW, _RUNS = (
    "the scale set",
    "its instances",
    "its rolling upgrade",
    "its instance view",
    "run-commands",
)


class NoSuchSet(InputError):
    """It is not there, or not there any more."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look. changed: ids that differ from the look before; None: it was the first. document: the set's own, as Azure gave it."""

    at_ms: int
    scale_set: ScaleSet
    changed: tuple[str, ...] | None
    gaps: tuple[Gap, ...]
    document: dict[str, Any]


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """What Azure gave: the set, pages of instances, the set's instance view, the platform's last rollout, what ran inside each VM; cloud: which Azure.
    api_version: with which it gave them.
    """

    cloud: str
    model: dict[str, Any]
    pages: tuple[dict[str, Any], ...]
    view: dict[str, Any] | None = None
    latest: dict[str, Any] | None = None
    ran: dict[str, tuple[str, ...]] | None = None
    api_version: str = ""


class Reader:
    """Looks at one scale set. run_commands: is the change a guest patch? rollouts: is the platform's rollout always looked at?"""

    def __init__(
        self,
        client: Client,
        scope: Scope,
        budget: Budget,
        *,
        watch: tuple[str, ...] = (),
        rollouts: bool = False,
        run_commands: bool = False,
        api_version: str | None = None,
    ) -> None:
        self.client, self.scope, self.budget = client, scope, budget
        self.watch, self.rollouts, self.run_commands = watch, rollouts, run_commands
        self.version = api_version or ""
        self.read_with = api_version or READS["set"].version
        self.last: Look | None = None
        self._repairs_ms = -STIRRED_MS
        self._runs_ms: dict[str, int] = {}
        self._view: dict[str, Any] | None = None
        self._view_ms: int | None = None
        self._ran: dict[str, tuple[str, str | None, tuple[str, ...]]] = {}

    def look(self, now_ms: int) -> Look:
        """Look. Raises PlatformError where Azure cannot be read. Once it could be, that it is not any more is nobody's input; before,
        InputError says what the operator can put right.
        """
        try:
            return self._look(now_ms)
        except InputError as error:
            if self.last is None:
                raise
            raise PlatformError("Unreadable", str(error)) from error

    def _look(self, now_ms: int) -> Look:
        error: InputError | None = None
        for _ in range(_AGAIN):
            documents = self.documents(now_ms)
            try:
                reading = _read(documents, self.watch)
                break
            except InputError as caught:
                error = caught
                if "stands twice" not in caught.what:
                    raise
        else:
            raise PlatformError("ListChanged", str(error))
        found = self._with_run_commands(reading.scale_set, now_ms) if self.run_commands else reading.scale_set
        scale_set, changed = _kept(self.last, found)
        self.last = Look(
            at_ms=now_ms, scale_set=scale_set, changed=changed, gaps=reading.gaps, document=documents.model
        )
        return self.last

    def documents(self, now_ms: int, *, whole: bool = False) -> Documents:
        """The documents of one look. whole: with everything that a snapshot is to hold."""
        model = self._one("set", _SET, now_ms)
        facts = _facts(model)
        pages = self._pages(is_flexible(model), now_ms)
        mode = str(facts.get("upgradePolicy", {}).get("mode", "")).lower()
        rollouts = whole or self.rollouts or mode == UpgradeMode.ROLLING.value
        latest = self._one("rolling-upgrade", _LATEST, now_ms) if rollouts else None
        every = 0 if now_ms - self._repairs_ms < STIRRED_MS else VIEW_EVERY_MS
        enabled = bool((facts.get("automaticRepairsPolicy") or {}).get("enabled"))
        if enabled and (whole or self._view_ms is None or now_ms - self._view_ms >= every):
            self._view, self._view_ms = self._one("set-view", _VIEW, now_ms), now_ms
        return Documents(
            cloud=self.client.cloud,
            model=model,
            pages=pages,
            view=self._view if enabled else None,
            latest=latest or None,
            api_version=self.read_with,
        )

    def stirred(self, command: Command, now_ms: int) -> None:
        """A command is on its way: what it may change is asked for at every look for some time."""
        if command.kind in (Kind.SUSPEND_REPAIRS, Kind.RESUME_REPAIRS):
            self._repairs_ms = now_ms
        if command.kind is Kind.RUN_COMMAND:
            self._runs_ms.update(dict.fromkeys(command.ids, now_ms))

    def _pages(self, flexible: bool, now_ms: int) -> tuple[dict[str, Any], ...]:
        answers = self.client.pages(self._url("flexible-instances" if flexible else "instances"))
        self.budget.note("look", answers, now_ms)
        return tuple(_document(one, _LIST, self.scope) for one in answers)

    def _one(self, name: str, what: str, now_ms: int) -> dict[str, Any]:
        """One document; empty where there is no rollout yet."""
        answer = self.client.ask(self._url(name))
        self.budget.note(name, (answer,), now_ms)
        if answer.status == 404 and name == "rolling-upgrade":
            return {}
        return _document(answer, what, self.scope)

    def _url(self, name: str, vm: str = "") -> str:
        return url_of(name, self.scope, self.version, vm=vm)

    def ran(self, documents: Documents, now_ms: int) -> dict[str, tuple[str, ...]]:
        """What managed run-commands are the evidence of, in each instance that has any: one request an instance."""
        found = self._with_run_commands(_read(documents, self.watch).scale_set, now_ms)
        return {name: one.run_commands for name, one in found.instances.items() if one.run_commands}

    def _with_run_commands(self, scale_set: ScaleSet, now_ms: int) -> ScaleSet:
        """Which managed run-commands succeeded in each instance (rule 4)."""
        flexible = scale_set.model.orchestration is Orchestration.FLEXIBLE
        row = "flexible-run-commands" if flexible else "run-commands"
        made: dict[str, Instance] = {}
        for name, one in scale_set.instances.items():
            known = self._ran.get(name)
            stirred = now_ms - self._runs_ms.get(name, -STIRRED_MS) < STIRRED_MS
            if known is None or stirred or known[:2] != (one.vm_id, one.os_disk):
                answers = self.client.pages(self._url(row, name))
                gone = answers[-1].status == 404
                listed = () if gone else tuple(_document(answer, _RUNS, self.scope) for answer in answers)
                ran = tuple(run for page in listed for run in read_run_commands(page, f"{_RUNS} of {name}"))
                known = self._ran[name] = (one.vm_id, one.os_disk, ran)
            made[name] = msgspec.structs.replace(one, run_commands=known[2])
        return msgspec.structs.replace(scale_set, instances=made)


def _read(documents: Documents, watch: tuple[str, ...]) -> Reading:
    both = {
        "model": documents.model,
        "instances": [item for page in documents.pages for item in page.get("value") or ()],
        "instanceView": documents.view,
    }
    latest = [("rollingUpgrades/latest", documents.latest)] if documents.latest else []
    return read_scale_set([(_SET, both), *latest], watch=watch, api_version=documents.api_version)


def _kept(before: Look | None, found: ScaleSet) -> tuple[ScaleSet, tuple[str, ...] | None]:
    """Contract 2."""
    if before is None:
        return found, None
    old = before.scale_set
    instances = dict(found.instances)
    changed: list[str] = [name for name in old.instances if name not in instances]
    for name, one in found.instances.items():
        known = old.instances.get(name)
        if known == one:
            instances[name] = known
        else:
            changed.append(name)
    model: Model = old.model if old.model == found.model else found.model
    rollout: RollingUpgrade | None = found.rolling_upgrade
    if rollout == old.rolling_upgrade:
        rollout = old.rolling_upgrade
    return ScaleSet(model=model, instances=instances, rolling_upgrade=rollout), tuple(changed)


def _facts(document: dict[str, Any]) -> dict[str, Any]:
    facts = document.get("properties")
    return facts if isinstance(facts, dict) else {}


def is_flexible(document: dict[str, Any]) -> bool:
    """Is this a Flexible set's document?"""
    return str(_facts(document).get("orchestrationMode", "")).lower() == Orchestration.FLEXIBLE.value


def _document(answer: Answer, what: str, scope: Scope) -> dict[str, Any]:
    if answer.ok and isinstance(answer.body, dict):
        return answer.body
    unreadable(answer, what, scope)


def unreadable(answer: Answer, what: str, scope: Scope) -> NoReturn:
    """Raise what an answer to a read means: `InputError` for what the operator can put right, else `PlatformError`."""
    code, message = answer.error
    said = f"{code} {message}".strip()[:300] or answer.text
    if answer.fault == NO_TOKEN:
        raise InputError(
            "no token could be had", "credential", said, "a login that is valid",
            "log in (`az login`), or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
        )  # fmt: skip
    if answer.status == 401:
        raise InputError(
            "the credential is not accepted", f"subscription {scope.subscription}", said, "a token of its tenant",
            "say --tenant, or log in to the subscription's tenant",
        )  # fmt: skip
    if answer.status == 403:
        raise InputError(f"{what} may not be read", scope.id, said, "the role Reader at least")
    if answer.status == 404 and code == "SubscriptionNotFound":
        raise InputError(
            "there is no such subscription, or this login does not see it", f"subscription {scope.subscription}", said,
            "a subscription of the login", "`az account list` tells which; say --tenant, or log in to its tenant",
        )  # fmt: skip
    if answer.status == 404:
        raise NoSuchSet("there is no such scale set", scope.id, said, "an id that exists", "`az vmss list -o table`")
    if answer.fault == NOT_SENT:
        raise PlatformError("Unreachable", f"{what} cannot be read: {said}")
    raise PlatformError(code or answer.fault or str(answer.status), f"{what} cannot be read: {said or answer.status}")
