"""One request on its way through a handler: what it names, what it says, and what an accepted one is answered with.

Contract: everything a client may get wrong about a request's form is refused here, in ARM's words, with the member's path.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vmss_sim.arm.http import Refused, Request
from vmss_sim.arm.operations import Tracked
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world import errors
from vmss_sim.world.errors import AzureError
from vmss_sim.world.vm import Operation, Reply, Vm

_FIXED = re.compile(r"Changing property '([\w.]+)' is not allowed")
"""The property that it is about is its target (azure-docs #108952)."""


SPARE = 16
"""Of how many instances more than twice as many as there are it is kept what was written of them."""


class Silence(Exception):
    """Nobody answers this request: it was lost, or its answer was (a fault). The server drops the connection."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that started an operation; the route's style says which headers tell of it. body: None for none."""

    tracked: Tracked
    status: int
    body: Any = None


def refused(row: AzureError, target: str | None = None, **fields: object) -> Refused:
    """A row of the error table as a refusal. target: the member it is about, where the row itself names none."""
    return Refused(row.http_status, row.code, row.sentence(**fields), row.target or target)


def missing(name: str) -> Refused:
    """A required parameter is not there."""
    return Refused(400, "InvalidParameter", f"Required parameter '{name}' is missing (null).", name)


class Call:
    """A request that was routed. names: the variables of the path, as they were written."""

    def __init__(self, site: Site, request: Request, names: dict[str, str]) -> None:
        self.site, self.request, self.names = site, request, names
        self._one: ArmSet | None = None

    @property
    def version(self) -> str:
        """The api-version asked for."""
        return self.request.version

    # -- what it names -------------------------------------------------------------------------------------------

    @property
    def found(self) -> ArmSet | None:
        """The set that the path names, if there is one."""
        names = self.names
        if self._one is None and "set" in names:
            self._one = self.site.find(names["subscription"], names["group"], names["set"])
        elif self._one is None and self.is_machine:
            here = (names["subscription"].lower(), names["group"].lower())
            self._one = next(
                (
                    one
                    for one in self.site.sets
                    if one.world.config.flexible
                    and (one.subscription.lower(), one.group.lower()) == here
                    and self._id_in(one) in one.world.vms
                ),
                None,
            )
        return self._one

    def create(self, one: ArmSet) -> None:
        """The set that the path names is being created: this is it."""
        self._one = one

    @property
    def is_machine(self) -> bool:
        """Is the path that of a VM, which may be an instance of a Flexible set?"""
        return "vm" in self.names and "set" not in self.names

    @property
    def vm_id(self) -> str:
        """The instance that the path names, as the world writes it: names compare without case."""
        found = self.found
        return self.names["vm"] if found is None else self._id_in(found)

    def _id_in(self, one: ArmSet) -> str:
        said = self.names["vm"]
        if said in one.world.vms or not one.world.config.flexible:
            return said
        return next((name for name in one.world.vms if name.lower() == said.lower()), said)

    @property
    def one(self) -> ArmSet:
        """The set that the path names. Raises Refused."""
        found = self.found
        if found is None:
            row = errors.SET_NOT_FOUND if self.version >= "2020-12" else errors.SET_NOT_FOUND_SHORT
            raise refused(row, name=self.names["set"], group=self.names["group"])
        return found

    def written(self, vm: Vm) -> dict[str, Any]:
        """What clients wrote of an instance, to write more. Of instances that are gone it is forgotten here."""
        one = self.one
        if len(one.instances) > 2 * len(one.world.vms) + SPARE:
            alive = {each.vm_id for each in one.world.vms.values()}
            one.instances = {key: value for key, value in one.instances.items() if key in alive}
            named = {
                each.get("operation")
                for value in one.instances.values()
                for each in value.get("runCommands", {}).values()
            }
            one.scripts = {key: work for key, work in one.scripts.items() if key in named}
        return one.instances.setdefault(vm.vm_id, {})

    @property
    def vm(self) -> Vm:
        """The instance that the path names. Raises Refused."""
        one = self.one
        found = one.world.vms.get(self.vm_id)
        if found is None:
            raise refused(errors.NOT_FOUND)
        return one.world.settled(found)

    def expands(self, what: str) -> bool:
        """Does `$expand` ask for this?"""
        return what.lower() in self.request.query.get("$expand", "").lower()

    # -- what it says --------------------------------------------------------------------------------------------

    def body(self) -> dict[str, Any]:
        """The body as an object; empty where there is none. Raises Refused."""
        raw = self.request.body
        if not raw.strip():
            return {}
        try:
            said = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(
                400,
                "InvalidRequestContent",
                f"The request content was invalid and could not be deserialized: '{error}'.",
            ) from None
        if said is None:
            return {}
        if not isinstance(said, dict):
            raise Refused(
                400,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized: 'Cannot deserialize the current JSON "
                f"{word_of(said)}: a JSON object is required. Path '', line 1, position 1.'.",
            )
        return said

    def flag(self, name: str) -> bool:
        """A parameter of the query that is true or false. Raises Refused."""
        said = self.request.query.get(name.lower(), "false").lower()
        if said not in ("true", "false"):
            raise refused(errors.VALUE_OUT_OF_RANGE, parameter=name)
        return said == "true"

    def nothing(self) -> Operation:
        """An operation that has succeeded already: nothing was to be done."""
        work = Operation(self.site.guid("operation"), "nothing", (), {}, self.site.now_ms)
        work.status, work.ends_at = "succeeded", self.site.now_ms
        return work

    # -- what becomes of it --------------------------------------------------------------------------------------

    def submit(self, kind: str, ids: tuple[str, ...] = (), **args: Any) -> Operation:
        """Ask the world. Raises Refused where it refuses, Silence where nobody answers and nothing happened.

        An operation whose answer is lost is returned like any other: see `answer_lost`.
        """
        one = self.one
        self.site.meets(one, kind)
        reply: Reply = one.world.submit(self.site.guid("operation"), kind, ids, **args)
        if reply.kind == "refused":
            fixed = _FIXED.match(reply.message)
            about_ids = reply.code == "InvalidParameter" and "instanceId" in reply.message
            target = "instanceIds" if about_ids else fixed and fixed[1]
            wait = None if reply.retry_after_ms is None else max(1, -(-reply.retry_after_ms // 1000))
            raise Refused(reply.status, reply.code, reply.message, target, wait)
        if reply.operation is None:
            raise Silence
        self.answer_lost = reply.kind == "silence"
        return reply.operation

    answer_lost = False
    """Did the last operation start without anybody being told?"""

    def accept(self, work: Operation, status: int, body: Any = None, output: dict[str, Any] | None = None) -> Accepted:
        """The answer of a request that started an operation. Raises Silence where the answer is lost."""
        tracked = self.site.track(self.one, work, output)
        if self.answer_lost:
            raise Silence
        return Accepted(tracked=tracked, status=status, body=body)


def word_of(value: Any) -> str:
    """What JSON calls such a value."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def wrong_type(path: str, value: Any, wanted: str) -> Refused:
    """A member of the wrong type, in the words of the service's own reader."""
    told = msgspec.json.encode(value).decode()
    told = told if len(told) <= 40 else word_of(value)
    return Refused(
        400, "BadRequest", f"Error converting value {told} to type '{wanted}'. Path '{path}', line 1, position 1.", path
    )


def instance_ids(body: dict[str, Any]) -> tuple[str, ...]:
    """`instanceIds` of an action's body, in any case; empty where it says none. Raises Refused."""
    said = member(body, "instanceIds")
    if said is None:
        return ()
    if not isinstance(said, list):
        raise wrong_type("instanceIds", said, "System.Collections.Generic.List`1[System.String]")
    for number, item in enumerate(said):
        if not isinstance(item, str):
            raise wrong_type(f"instanceIds[{number}]", item, "System.String")
    return tuple(said)


def member(body: dict[str, Any], name: str, kind: type | None = None) -> Any:
    """A member of an object, its name compared without case; None where it is absent or null. Raises Refused for another type."""
    wanted = name.lower()
    value = next((value for key, value in body.items() if key.lower() == wanted), None)
    if value is not None and kind is not None and (not isinstance(value, kind) or (kind is int and value is True)):
        raise wrong_type(name, value, {str: "System.String", bool: "System.Boolean", int: "System.Int64"}[kind])
    return value


_ETAG = re.compile(r'(?:W/)?"?([^"]*)"?')


def etag_of(header: str) -> int | str:
    """What an If-Match header says: the world's etag, or the text where it is none of ours."""
    found = _ETAG.fullmatch(header.strip())
    text = found.group(1) if found else header.strip()
    return int(text) if text.isdecimal() and len(text) < 19 else text
