"""Lists of sets and of instances: `$expand`, `$select`, `$filter`, and pages.

Rules (REC: recordings of 2016 to 2024; API):

1. A page holds 120 instances (REC 2017) and the absolute address of the next, under which the client reached us; the token in it
   is opaque and names the instance after which the next page begins, so an instance deleted meanwhile moves nobody else.
2. `$select=instanceView` leaves of an instance its id and its view; `latestModelApplied` is false whatever is true, and up to 2019
   `provisioningState` is 0 (REC): that is what was not selected.
3. `$filter` knows `latestModelApplied`, `provisioningState` and the codes of the view's statuses; anything else is refused.
4. A Flexible set's list says who its instances are, and no more (REC).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote, urlencode

from vmss_sim.arm import documents, versions, views
from vmss_sim.arm.http import Refused, Request
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.views import Body
from vmss_sim.world.scale_set import Vm

PAGE = 120
"""Instances on a page (REC: 120 of 180)."""

_EQUALS = re.compile(
    r"(?:properties/)?(latestModelApplied|provisioningState)\s+(eq|ne)\s+(?:'([^']*)'|(true|false))", re.I
)
_CODE = re.compile(
    r"(?:startswith\(\s*(?:properties/)?instanceView/statuses/code\s*,\s*'([^']*)'\s*\)(?:\s+eq\s+true)?"
    r"|(?:properties/)?instanceView/statuses(?:/any\(\w+:\s*\w+)?/code\s+eq\s+'([^']*)'\)?)",
    re.I,
)


def instances(one: ArmSet, request: Request, *, page: int = PAGE) -> Body:
    """The instances of a set. Raises Refused (400) on a filter or a token that is none."""
    world, query, version = one.world, request.query, request.version
    chosen: Iterable[Vm] = world.vms.values()
    if "$filter" in query:
        keep = _filter(one, query["$filter"])
        chosen = [vm for vm in chosen if keep(vm)]
    rows = list(chosen)
    start = _start(rows, query.get("$skiptoken"))
    selected = "instanceview" in query.get("$select", "").lower()
    view = "instanceview" in query.get("$expand", "").lower()
    shown = rows[start : start + page]
    if world.config.flexible:
        items = [documents.entry(one, vm) for vm in shown]
    elif selected:
        items = [_selected(one, vm, version, view) for vm in shown]
    else:
        items = [documents.instance(one, vm, version, view=view) for vm in shown]
    body: Body = {"value": items}
    if start + page < len(rows):
        body["nextLink"] = _next(request, start + page, shown[-1].id)
    return body


def machines(found: Sequence[ArmSet], request: Request) -> Body:
    """The VMs of a resource group, as far as they belong to Flexible sets; `$filter` may name one set."""
    told = request.query.get("$filter", "")
    wanted = re.fullmatch(r"\s*'?virtualMachineScaleSet/id'?\s+eq\s+'?([^']+?)'?\s*", told, re.I)
    if told and wanted is None:
        raise _unclear(told)
    view = "instanceview" in request.query.get("$expand", "").lower()
    return {
        "value": [
            documents.machine(one, vm, request.version, view=view)
            for one in found
            if one.world.config.flexible and (wanted is None or wanted[1].lower() == one.id.lower())
            for vm in one.world.vms.values()
        ]
    }


def sets(found: Sequence[ArmSet], request: Request) -> Body:
    """Scale sets, in the order given."""
    return {"value": [documents.scale_set(one, request.version) for one in found]}


def _selected(one: ArmSet, vm: Vm, version: str, view: bool) -> Body:
    """Rule 2."""
    properties: Body = {"latestModelApplied": False}
    if view:
        properties["instanceView"] = views.instance_view(one, vm, version)
    if versions.date(version) < "2020":
        properties["provisioningState"] = 0
    else:
        properties["provisioningState"] = one.world.state(vm)[0].capitalize()
        properties["hardwareProfile"] = {}
    return {"id": f"{one.id}/virtualMachines/{vm.id}", "instanceId": vm.id, "properties": properties}


def _filter(one: ArmSet, text: str) -> Callable[[Vm], bool]:
    """Rule 3; parts joined by `and`."""
    parts = [_part(one, part.strip(), text) for part in re.split(r"\s+and\s+", text.strip(), flags=re.I)]
    return lambda vm: all(part(vm) for part in parts)


def _part(one: ArmSet, part: str, text: str) -> Callable[[Vm], bool]:
    world = one.world
    if found := _EQUALS.fullmatch(part):
        name, operator, quoted, flag = found.groups()
        wanted, negated = (quoted or flag or "").lower(), operator.lower() == "ne"
        if name.lower() == "provisioningstate":
            return lambda vm: (world.state(vm)[0] == wanted) is not negated
        if wanted in ("true", "false"):
            return lambda vm: (world.is_latest(world.settled(vm)) is (wanted == "true")) is not negated
    elif found := _CODE.fullmatch(part):
        start, equal = (None if each is None else each.lower() for each in found.groups())
        return lambda vm: any(code == equal if start is None else code.startswith(start) for code in _codes(one, vm))
    raise _unclear(text)


def _codes(one: ArmSet, vm: Vm) -> list[str]:
    one.world.settled(vm)
    provisioning, power, _ = one.world.state(vm)
    return [f"provisioningstate/{provisioning}", f"powerstate/{power}"]


def _unclear(text: str) -> Refused:
    return Refused(400, "InvalidParameter", f"The $filter expression '{text[:200]}' is not supported.", "$filter")


def _start(rows: Sequence[Vm], token: str | None) -> int:
    """Where a page begins (rule 1)."""
    if token is None:
        return 0
    try:
        after = base64.b64decode(token.encode(), validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        after = ""
    prefix, _, last = after.partition("!")
    if prefix != "vm":
        raise Refused(400, "InvalidParameter", "The value of $skiptoken is invalid.", "$skiptoken")
    number, _, name = last.partition("!")
    position = next((index for index, vm in enumerate(rows) if vm.id == name), None)
    if position is not None:
        return position + 1
    return min(int(number) if number.isdecimal() else 0, len(rows))


def _next(request: Request, index: int, last: str) -> str:
    query = {name: value for name, value in request.query.items() if name != "$skiptoken"}
    query["$skiptoken"] = base64.b64encode(f"vm!{index}!{last}".encode()).decode()
    return f"{request.base}{quote(request.path)}?{urlencode(query, safe='$')}"
