"""Extensions of a set as resources of their own: writing one is an update of the set's model (recordings 2020, 2021).

Rules: PUT and PATCH answer 201 with the extension, DELETE 202; one that is not there is 404 to read, 204 to delete.
"""

from __future__ import annotations

from typing import Any

from vmss_sim.arm import changes, policies, writes
from vmss_sim.arm.call import Accepted, Call, refused
from vmss_sim.arm.http import Response
from vmss_sim.arm.merging import PATCH, merged
from vmss_sim.arm.wire import shown
from vmss_sim.world import errors

TYPE = "Microsoft.Compute/virtualMachineScaleSets/extensions"


def _all(document: dict[str, Any]) -> list[dict[str, Any]]:
    profile = (document.get("properties") or {}).get("virtualMachineProfile") or {}
    found: list[dict[str, Any]] = (profile.get("extensionProfile") or {}).get("extensions") or []
    return found


def _named(call: Call, document: dict[str, Any]) -> dict[str, Any] | None:
    wanted = call.names["extension"].lower()
    return next((one for one in _all(document) if str(one.get("name", "")).lower() == wanted), None)


def _shown(call: Call, extension: dict[str, Any]) -> dict[str, Any]:
    name = extension.get("name")
    return {
        "name": name,
        "id": f"{call.one.id}/extensions/{name}",
        "type": TYPE,
        "properties": {"provisioningState": "Succeeded", **shown(extension.get("properties") or {})},
    }


def listed(call: Call) -> Response:
    """GET of all."""
    return Response(status=200, body={"value": [_shown(call, one) for one in _all(call.one.document)]})


def one(call: Call) -> Response:
    """GET of one."""
    found = _named(call, call.one.document)
    if found is None:
        raise refused(errors.NOT_FOUND)
    return Response(status=200, body=_shown(call, found))


def put(call: Call) -> Accepted:
    """PUT: the extension as it is given."""
    return _write(call, patch=False)


def patch(call: Call) -> Accepted:
    """PATCH: merged with what there is."""
    return _write(call, patch=True)


def _write(call: Call, *, patch: bool) -> Accepted:
    old = changes.whole(call.one)
    known = _named(call, old)
    if known is None and patch:
        raise refused(errors.NOT_FOUND)
    name = known["name"] if known else call.names["extension"]
    said = policies.At(call.body(), "")["properties"].value
    new = {"name": name, "properties": said}
    if patch:
        new = merged(known, new, PATCH)
    asked = _with(call, old, [new if each is known else each for each in _all(old)] + ([] if known else [new]))
    kept = next(each for each in _all(asked.document) if each.get("name") == name)
    if patch:  # recorded, 8 times: what was patched, and no more
        kept = {"name": name, "properties": said}
    return writes.update(call, asked, 201, lambda: _shown(call, kept))


def delete(call: Call) -> Accepted | Response:
    """DELETE."""
    old = changes.whole(call.one)
    known = _named(call, old)
    if known is None:
        return Response(status=204)
    return writes.update(call, _with(call, old, [each for each in _all(old) if each is not known]), 202, lambda: None)


def _with(call: Call, old: dict[str, Any], extensions: list[dict[str, Any]]) -> changes.Change:
    body = {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": extensions}}}}
    return changes.change(old, body, call.one.world.model, patch=False)
