"""Azure as the driver sees it: observe, submit, adopt, wait.

Contract: that of `backends/protocol.py`. `submit` sends once, and whatever comes of it is an outcome of a later observation. What was
seen when an operation had ended was looked at after its end. Beyond the protocol:

1. `observe` and `wait` raise `PlatformError` where Azure cannot be read for about ten minutes, or will not be (credential refused, not allowed, no
   such set; before the first look that succeeds an `InputError`, since then it can be put right): nothing is decided on an old snapshot. The journal is complete then, and another executor can go on.
2. An update of the model counts as succeeded when the storage profile differs in nothing else (`storage.py`).
3. `wait` looks at the moments of its `Schedule`, later where Retry-After or the token buckets say so, and returns when an operation ended, all that is
   awaited serves, what is awaited got worse, with `watch` when anything began or ceased to serve, or when `asked` says that an operator asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from backends.azure import facts, storage
from backends.azure.client import Answer, Client
from backends.azure.clock import Sleeper
from backends.azure.clouds import Scope
from backends.azure.outcomes import joined, outcome_of
from backends.azure.polling import Budget, Handle, Part, done_at_once, ids_of, part_of, read_handle
from backends.azure.reading import Documents, Look, Reader, is_flexible
from backends.azure.requests import arguments, url_of, write_of
from backends.protocol import Seen, Wait
from backends.schedule import ADAPTIVE, Schedule
from planner.arm_json import Reading
from planner.change import GuestPatch
from planner.commands import Command, Kind, Outcome, Status
from planner.lint import Finding
from planner.model import Instance, Provisioning, ScaleSet, Service, service
from planner.plan import Plan

_FOREVER = 1 << 62
_IDS = 24
"""So many of Azure's ids of one command are kept: three a request."""


class _Flight:
    """A command that was sent. later: part to the time before which it is not to be asked again. before: the storage profile."""

    def __init__(self, command: Command, handle: Handle, before: dict[str, Any] | None = None) -> None:
        self.command = command
        self.handle = handle
        self.parts = list(handle.parts)
        self.later: dict[int, int] = {}
        self.before = before

    @property
    def over(self) -> bool:
        return all(part.ended is not None for part in self.parts)


class AzureBackend:
    """One scale set in Azure. asked: has an operator asked for something since? (`wait` returns then); settable. unreached: is told
    (host, why, for how many ms) that nobody answers, and with an empty `why` that somebody does again; settable. still: asked right before each request
    that changes something, raises where that may not be sent any more; settable.
    """

    def __init__(
        self,
        client: Client,
        scope: Scope,
        *,
        plan: Plan | None = None,
        watch: tuple[str, ...] = (),
        sleeper: Sleeper,
        schedule: Schedule | None = None,
        api_version: str | None = None,
    ) -> None:
        self.client, self.scope, self.sleeper = client, scope, sleeper
        self.schedule = schedule or ADAPTIVE
        self.asked: Callable[[], bool] | None = None
        self.unreached: Callable[[str, str, int], None] = lambda _host, _why, _for_ms: None
        self._version: dict[str, Any] = {"api_version": api_version} if api_version else {}
        self._budget = Budget()
        paths = dict.fromkeys((*watch, *(plan.scale_set.settings if plan else ())))
        self.reader = Reader(
            client,
            scope,
            self._budget,
            watch=tuple(paths),
            rollouts=plan is not None and plan.handed is not None,
            run_commands=plan is not None and isinstance(plan.resolved.change, GuestPatch),
            api_version=api_version,
        )
        self._told: Look | None = None
        self._unread: Look | None = None
        self._flights: dict[str, _Flight] = {}
        self._outcomes: list[Outcome] = []

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    @property
    def still(self) -> Callable[[], None]:
        """Of its client."""
        return self.client.still.asks

    @still.setter
    def still(self, asks: Callable[[], None]) -> None:
        self.client.still.asks = asks

    # -- looking -------------------------------------------------------------------------------------------------

    def observe(self) -> Seen:
        """Look: operations first, so that what ended is seen with its effect."""
        look, self._unread = self._unread, None
        if look is None:
            self._poll()
            look = self._look()
        outcomes = self._settle(look)
        told, self._told = self._told, look
        return Seen(
            now_ms=self.sleeper.now_ms(),
            scale_set=look.scale_set,
            changed=_changed(told, look),
            outcomes=outcomes,
        )

    def snapshot(self) -> Reading:
        """The set as it is, and what Azure did not say of it."""
        look = self._look()
        return Reading(scale_set=look.scale_set, gaps=look.gaps)

    def facts(self) -> dict[str, dict[str, str]]:
        """What hooks are told of instances beside their ids, as far as it is known (`facts.py`)."""
        documents = self.documents()
        found = facts.of_instances(documents.pages)
        name = "flexible-interfaces" if is_flexible(documents.model) else "interfaces"
        answers = self.client.pages(url_of(name, self.scope))
        pages = [answer.body for answer in answers if answer.ok and isinstance(answer.body, dict)]
        for name, address in facts.of_interfaces(pages).items():
            if name in found:
                found[name][facts.ADDRESS] = address
        return found

    def documents(self, *, scripts: bool = False) -> Documents:
        """The set's documents as Azure gives them, with everything a snapshot is to hold. scripts: also what ran inside each VM."""
        now_ms = self.sleeper.now_ms()
        found = self.reader.documents(now_ms, whole=True)
        return msgspec.structs.replace(found, ran=self.reader.ran(found, now_ms)) if scripts else found

    def preflight(self, plan: Plan) -> tuple[Finding, ...]:
        """What would stop this plan half-way (`preflight.py`); reads only."""
        from backends.azure.preflight import preflight  # noqa: PLC0415  # it is told of backends

        return preflight(self, plan)

    def _look(self) -> Look:
        return self.reader.look(self.sleeper.now_ms())

    def _settle(self, look: Look) -> tuple[Outcome, ...]:
        """The outcomes to tell with this look."""
        told, self._outcomes = self._outcomes, []
        for name, flight in list(self._flights.items()):
            if flight.over:
                del self._flights[name]
                outcome = joined(name, [part.ended for part in flight.parts if part.ended is not None])
                told.append(_checked(flight, outcome, look))
        return tuple(told)

    # -- sending -------------------------------------------------------------------------------------------------

    def submit(self, command: Command) -> str:
        """Send once; one request an instance for a managed run-command, up to the first that is not accepted."""
        look = self.reader.last
        assert look is not None  # a command was decided on a look
        model = look.scale_set.model
        row = write_of(command.kind, model)
        options = dict(self._version)
        if row.matched and model.etag:
            options |= {"etag": model.etag, "match_condition": _if_not_modified()}
        parts: list[Part] = []
        ids: tuple[str, ...] = ()
        for vm in command.ids if row.each else ("",):
            answer = self.client.send(row.operation, *arguments(row, self.scope, command, model, vm), **options)
            ids = (*ids, *ids_of(answer))[:_IDS]
            parts.append(self._sent(command, answer, vm))
            if not answer.ok:
                break
        before = storage.leaves(look.document, command.patch) if command.kind is Kind.UPDATE_MODEL else None
        sealed = "" if before is None else storage.seal(before)
        flight = _Flight(command, Handle(parts=tuple(parts), ids=ids, storage=sealed), before)
        self._take_off(flight)
        told = any(part.url or (part.ended is not None and part.ended.status is Status.SUCCEEDED) for part in parts)
        return flight.handle.text() if told else ""

    def _sent(self, command: Command, answer: Answer, vm: str) -> Part:
        """What came of a request: an operation, or its end."""
        ended = outcome_of(command.id, "send", answer)
        if ended is not None:
            return Part(vm=vm, ended=ended)
        part = part_of(answer, vm)
        if part is not None:
            return part
        if done_at_once(answer):
            return Part(vm=vm, ended=Outcome(command=command.id, status=Status.SUCCEEDED))
        return Part(vm=vm, ended=Outcome(command=command.id, status=Status.UNKNOWN, code="NoOperation"))

    def adopt(self, command: Command, handle: str) -> None:
        """Take over what an earlier executor sent; without a handle that can be read its outcome is unknown."""
        known = read_handle(handle) if handle else None
        if known is None or not known.parts:
            self._outcomes.append(Outcome(command=command.id, status=Status.UNKNOWN, code="NoReceipt"))
            return
        missing = [name for name in command.ids if name not in {part.vm for part in known.parts}]
        if any(part.vm for part in known.parts) and missing:
            lost = Outcome(command=command.id, status=Status.UNKNOWN, code="NoReceipt")
            known = msgspec.structs.replace(known, parts=(*known.parts, Part(ended=lost)))
        self._take_off(_Flight(command, known))

    def _take_off(self, flight: _Flight) -> None:
        self._flights[flight.command.id] = flight
        self._unread = None
        self.reader.stirred(flight.command, self.sleeper.now_ms())

    # -- waiting -------------------------------------------------------------------------------------------------

    def wait(self, wait: Wait) -> bool:
        """Let time pass to what the step waits for."""
        if self._outcomes or any(one.over for one in self._flights.values()):
            return True
        looks = bool(wait.awaiting) or wait.watch
        if wait.until_ms is None and not looks and not self._flights:
            return False
        start = self.sleeper.now_ms() if wait.began_ms is None else wait.began_ms
        until = _FOREVER if wait.until_ms is None else wait.until_ms
        known = self._told
        while (now := self.sleeper.now_ms()) < until:
            self._unread = None
            tick = start + self.schedule.after(now - start)
            if looks:
                tick = max(tick, self._budget.ready_ms("look", now))
            if self._sleep(min(until, tick)):
                return True
            if self._poll():
                return True
            if looks and known is not None:
                self._unread = self._look()
                if concerns(known.scale_set, self._unread.scale_set, wait):
                    break
        return True

    def _sleep(self, until: int) -> bool:
        """Sleep until then; True as soon as an operator has asked."""
        while (left := until - self.sleeper.now_ms()) > 0:
            self.sleeper.sleep_ms(left if self.asked is None else min(left, self.sleeper.slice_ms))
            if self.asked is not None and self.asked():
                return True
        return False

    def _poll(self) -> bool:
        """Ask for the operations that run. True: one has ended."""
        ended = False
        now = self.sleeper.now_ms()
        for flight in self._flights.values():
            for index, part in enumerate(flight.parts):
                ready = max(flight.later.get(index, 0), self._budget.ready_ms(part.url, now))
                if part.ended is not None or ready > now:
                    continue
                answer = self.client.ask(part.url, repeat=False)
                self._budget.note(part.url, (answer,), now)
                outcome = outcome_of(flight.command.id, part.style, answer)
                if outcome is not None:
                    flight.parts[index] = msgspec.structs.replace(part, ended=outcome)
                    self._budget.forget(part.url)
                elif answer.retry_after_ms:
                    flight.later[index] = now + answer.retry_after_ms
            ended |= flight.over
        return ended


def concerns(before: ScaleSet, after: ScaleSet, wait: Wait) -> bool:
    """Is what changed between two looks something this step waits for?"""
    source = after.model.health_source
    if wait.watch and (
        before.rolling_upgrade != after.rolling_upgrade or before.instances.keys() != after.instances.keys()
    ):
        return True
    names = after.instances if wait.watch else wait.awaiting
    if any(_worse(before.instances.get(name), after.instances.get(name), before, after) for name in names):
        return True
    if wait.watch:
        for name, one in after.instances.items():
            known = before.instances.get(name)
            if name in wait.awaiting:
                continue  # those are awaited as a whole
            if known is None or service(known, before.model.health_source) is not service(one, source):
                return True
    if not wait.awaiting:
        return False
    return _all_serve(after, wait) and not _all_serve(before, wait)


def _all_serve(scale_set: ScaleSet, wait: Wait) -> bool:
    source = scale_set.model.health_source
    found = [scale_set.instances.get(name) for name in wait.awaiting]
    return all(one is not None and service(one, source) is Service.IN for one in found)


def _worse(known: Instance | None, one: Instance | None, before: ScaleSet, after: ScaleSet) -> bool:
    """Did something happen to an instance that it was not awaited for?"""
    if known is one:
        return False
    if known is None or one is None or known.vm_id != one.vm_id:
        return True
    if one.provisioning is Provisioning.FAILED and known.provisioning is not Provisioning.FAILED:
        return True
    served = service(known, before.model.health_source) is Service.IN
    return served and service(one, after.model.health_source) is not Service.IN


def _changed(told: Look | None, look: Look) -> tuple[str, ...] | None:
    """Ids that differ from what was told last, by identity: looks in between may not have been told."""
    if told is None:
        return None
    if told is look:
        return ()
    old, new = told.scale_set.instances, look.scale_set.instances
    return tuple(name for name in {**old, **new} if old.get(name) is not new.get(name))


def _checked(flight: _Flight, outcome: Outcome, look: Look) -> Outcome:
    """Contract 2."""
    if outcome.status is not Status.SUCCEEDED or not flight.handle.storage:
        return outcome
    after = storage.leaves(look.document, flight.command.patch)
    found = storage.difference(flight.before, flight.handle.storage, after)
    if not found:
        return outcome
    return Outcome(command=outcome.command, status=Status.FAILED, code="StorageProfileChanged", message=found)


def _if_not_modified() -> Any:
    from azure.core import MatchConditions  # noqa: PLC0415  # beside the one place that needs it

    return MatchConditions.IfNotModified
