"""Lists of sets and of instances: `$expand`, `$select`, `$filter`, and pages.

Rules (REC: recordings of 2016 to 2024; API):

1. Instances come in order of their ids. A page holds 120 (REC 2017) and the absolute address of the next, under which the client
   reached us; the token in it names the instance after which that begins, so what comes or goes meanwhile moves nobody else.
2. `$select=instanceView` leaves of an instance its id and its view; `latestModelApplied` is false whatever is true, and up to 2019
   `provisioningState` is 0 (REC): that is what was not selected.
3. `$filter` knows `latestModelApplied`, `provisioningState` and the codes of the view's statuses; anything else is refused.
4. A Flexible set's list says who its instances are, and no more (REC).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from planner.model import id_key
from vmss_sim.arm import documents, versions, views
from vmss_sim.arm.http import Refused, Request
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.shapes import Shapes
from vmss_sim.arm.wire import Body
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
    rows = sorted(world.vms.values(), key=lambda vm: id_key(vm.id))
    if "$filter" in query:
        keep = _filter(one, query["$filter"])
        rows = [vm for vm in rows if keep(vm)]
    if "$skiptoken" in query:
        after = id_key(_after(one, query["$skiptoken"]))
        rows = [vm for vm in rows if id_key(vm.id) > after]
    shown, shapes = rows[:page], Shapes(one, version)
    view = _asks(query, "$expand")
    if world.config.flexible:
        items = [documents.entry(one, vm) for vm in shown]
    elif _asks(query, "$select"):
        items = [_selected(one, vm, version, view, shapes) for vm in shown]
    else:
        items = [
            _listed(
                documents.instance(one, vm, version, view=view, shapes=shapes),
                documents.instance_etag(one, vm),
                version,
            )
            for vm in shown
        ]
    body: Body = {"value": items}
    if len(rows) > page:
        body["nextLink"] = _next(one, request, shown[-1].id)
    return body


def machines(found: Sequence[ArmSet], request: Request) -> Body:
    """The VMs of a resource group, as far as they belong to Flexible sets; `$filter` may name one set."""
    told = request.query.get("$filter", "")
    wanted = re.fullmatch(r"\s*'?virtualMachineScaleSet/id'?\s+eq\s+'?([^']+?)'?\s*", told, re.I)
    if told and wanted is None:
        raise _unclear(told)
    view = _asks(request.query, "$expand")
    chosen = [one for one in found if wanted is None or wanted[1].lower() == one.id.lower()]
    return {
        "value": [
            documents.machine(one, vm, request.version, view=view, shapes=shapes)
            for one in chosen
            if one.world.config.flexible
            for shapes in (Shapes(one, request.version),)
            for vm in sorted(one.world.vms.values(), key=lambda vm: id_key(vm.id))
        ]
    }


def sets(found: Sequence[ArmSet], request: Request) -> Body:
    """Scale sets, in the order given."""
    version = request.version
    return {"value": [_listed(documents.scale_set(one, version), documents.set_etag(one), version) for one in found]}


def _listed(item: Body, etag: str, version: str) -> Body:
    """An item of a list: it has an etag in more versions than the resource alone."""
    if versions.shows("listedEtag", version):
        item["etag"] = etag
    return item


def _asks(query: Mapping[str, str], what: str) -> bool:
    """Does it name the instance view?"""
    return "instanceview" in query.get(what, "").lower()


def _selected(one: ArmSet, vm: Vm, version: str, view: bool, shapes: Shapes) -> Body:
    """Rule 2."""
    properties: Body = {"latestModelApplied": False}
    if view:
        properties["instanceView"] = views.instance_view(one, vm, version, shapes)
    told = versions.shows("selectedState", version)
    properties["provisioningState"] = one.world.state(vm)[0].capitalize() if told else 0
    if versions.shows("selectedHardware", version):
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


def _after(one: ArmSet, token: str) -> str:
    """After which instance a page begins (rule 1)."""
    try:
        text = base64.b64decode(token.encode(), validate=True).decode()
    except ValueError:  # both of base64 and of what it holds
        text = ""
    mine, _, last = text.rpartition("/VMs/")
    if mine != _place(one) or not last:
        raise Refused(400, "InvalidParameter", "The value of $skiptoken is invalid.", "$skiptoken")
    return last


def _place(one: ArmSet) -> str:
    """What tokens begin with (REC: a guid, and a path in capitals)."""
    path = f"/Subscriptions/{one.subscription}/ResourceGroups/{one.group.upper()}/VMScaleSets/{one.name.upper()}"
    return f"{one.unique_id}!{path}"


def _next(one: ArmSet, request: Request, last: str) -> str:
    query = {name: value for name, value in request.query.items() if name != "$skiptoken"}
    query["$skiptoken"] = base64.b64encode(f"{_place(one)}/VMs/{last}".encode()).decode()
    return f"{request.base}{quote(request.path)}?{urlencode(query, safe='$')}"
