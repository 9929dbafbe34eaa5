"""Extensions of one instance as resources: those of its model, and what somebody put on, changed or took off that instance alone.

Rules (API 2024-07-01, virtualMachineScaleSetVMExtensions and virtualMachineExtensions; nothing of it is recorded):

1. PUT answers 201 where it is new, else 200; PATCH 200; DELETE 202, or 204 where it is not there. Reading one that is not there is 404.
2. Writing one takes what any write of one instance takes and disrupts nothing. What a health extension says that stands on one instance
   alone nobody hears: the set's own source decides.
3. What is written stands on the instance's OS disk: with a reimage, or another image, the instance has its model's extensions again.
"""

from __future__ import annotations

from typing import Any

from vmss_sim.arm import changes, documents, policies, views
from vmss_sim.arm.call import Accepted, Call, refused
from vmss_sim.arm.http import Response
from vmss_sim.arm.merging import PATCH, merged
from vmss_sim.arm.shapes import Extension, Shapes, extensions_of
from vmss_sim.world import errors


def _known(call: Call) -> dict[str, Extension]:
    """By name in lower case."""
    shape = Shapes(call.one, call.version).of(call.vm)
    return {one.name.lower(): one for one in extensions_of(call.one, call.vm, shape)}


def _shown(call: Call, name: str, properties: dict[str, Any], state: str = "") -> dict[str, Any]:
    one, vm, alone = call.one, call.vm, call.is_machine
    parent = documents.machine_id(one, vm) if alone else f"{one.id}/virtualMachines/{vm.id}"
    kind = documents.MACHINE_TYPE if alone else documents.VM_TYPE
    return {
        "name": name,
        "id": f"{parent}/extensions/{name}",
        "type": f"{kind}/extensions",
        "location": one.location,
        "properties": {**properties, **({"provisioningState": state} if state else {})},
    }


def _read(call: Call, found: Extension) -> dict[str, Any]:
    made = _shown(call, found.name, found.properties)
    if call.expands("instanceView"):
        made["properties"]["instanceView"] = views.extension_view(call.one, call.vm, found)
    return made


def listed(call: Call) -> Response:
    """GET of all."""
    return Response(status=200, body={"value": [_read(call, one) for one in _known(call).values()]})


def one(call: Call) -> Response:
    """GET of one."""
    found = _known(call).get(call.names["extension"].lower())
    if found is None:
        raise refused(errors.NOT_FOUND)
    return Response(status=200, body=_read(call, found))


def put(call: Call) -> Accepted:
    """PUT: the extension as it is given."""
    return _write(call, patch=False)


def patch(call: Call) -> Accepted:
    """PATCH: merged with what there is."""
    return _write(call, patch=True)


def _write(call: Call, *, patch: bool) -> Accepted:
    known = _known(call).get(call.names["extension"].lower())
    if known is None and patch:
        raise refused(errors.NOT_FOUND)
    said, _ = changes.written(call.body())
    properties = policies.At(said, "")["properties"].value
    if patch and known is not None:
        old = {key: value for key, value in known.properties.items() if key != "provisioningState"}
        properties = merged(old, properties, PATCH)
    name = known.name if known else call.names["extension"]
    policies.require_extension({"name": name, "properties": properties})
    work = call.submit("protect", (call.vm.id,))
    _keep(call, name, {"name": name, "properties": properties})
    status = 201 if known is None else 200
    return call.accept(work, status, _shown(call, name, properties, "Updating" if known else "Creating"))


def delete(call: Call) -> Accepted | Response:
    """DELETE."""
    known = _known(call).get(call.names["extension"].lower())
    if known is None:
        return Response(status=204)
    work = call.submit("protect", (call.vm.id,))
    _keep(call, known.name, None)
    return call.accept(work, 202)


def _keep(call: Call, name: str, document: dict[str, Any] | None) -> None:
    """Rule 3; None: it was taken off."""
    written = call.written(call.vm)
    written["writes"] = written.get("writes", 0) + 1
    written.setdefault("extensions", {})[name.lower()] = {"disk": call.vm.disk, "document": document}
