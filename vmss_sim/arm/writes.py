"""PUT, PATCH and DELETE of scale sets and of instances.

Contract: a resource is kept as it was merged only where the world accepted the update, also where its answer is then lost.
"""

from __future__ import annotations

import msgspec

from vmss_sim.arm import changes, creation, documents
from vmss_sim.arm.call import Accepted, Call, etag_of, member, refused
from vmss_sim.arm.http import Refused, Response
from vmss_sim.arm.sets import ArmSet
from vmss_sim.world import errors

NEWEST = "2026-04-01"
"""The api-version that shows the most: what a set is, whatever version its client speaks."""
ETAGS_SINCE = "2024-03-01"


def whole(one: ArmSet) -> changes.Document:
    """The resource as it stands: what clients wrote, and what is true of it now."""
    shown, _ = changes.written(documents.scale_set(one, NEWEST), one.document)
    merged: changes.Document = changes.merged(one.document, shown, patch=True)
    return merged


def put_set(call: Call) -> Accepted | Response:
    """Create or update."""
    _if_none_match(call)
    if call.found is None:
        if "if-match" in call.request.headers and call.version >= ETAGS_SINCE:
            raise refused(errors.PRECONDITION_FAILED, given=call.request.headers["if-match"], current="(none)")
        return creation.create(call)
    return _update(call, patch=False)


def patch_set(call: Call) -> Accepted:
    """Update."""
    return _update(call, patch=True)


def _update(call: Call, *, patch: bool) -> Accepted:
    one = call.one
    body = call.body()
    location = member(body, "location", str)
    if location is not None and plain(location) != plain(one.location):
        raise Refused(
            409,
            "InvalidResourceLocation",
            f"The resource '{one.name}' already exists in location '{one.location}' in resource group '{one.group}'. A resource "
            f"with the same name cannot be created in location '{location}'. Please select a new resource name.",
        )
    asked = changes.change(whole(one), {**body, "location": one.location}, one.world.model, patch=patch)
    return update(call, asked, 200)


def plain(location: str) -> str:
    """A location as names of locations compare: `West US 2` is `westus2`."""
    return location.replace(" ", "").lower()


def update(call: Call, asked: changes.Change, status: int, body: object = None) -> Accepted:
    """Ask the world for a change of the set, and keep the resource."""
    one = call.one
    _not_going(one)
    args = dict(asked.args)
    match = call.request.headers.get("if-match", "*")
    if match.strip() != "*" and call.version >= ETAGS_SINCE:
        args["if_match"] = etag_of(match)
    work = call.submit(asked.kind, **args)
    one.document = asked.document
    one.last_update = work
    shown = documents.scale_set(one, call.version) if body is None else body
    return call.accept(work, status, shown)


def _not_going(one: ArmSet) -> None:
    if one.going:
        row = errors.CONFLICT
        raise refused(row)


def _if_none_match(call: Call) -> None:
    header = call.request.headers.get("if-none-match")
    if header is None or call.version < ETAGS_SINCE:
        return
    if header.strip() != "*":
        raise Refused(400, "BadRequest", "The If-None-Match header must be '*'.")
    if call.found is not None:
        raise Refused(412, "PreconditionFailed", "The resource exists already, and if-none-match is '*'.")


def delete_set(call: Call) -> Accepted | Response:
    """Delete a set; 204 where there is none (recorded)."""
    one = call.found
    if one is None:
        return Response(status=204)
    if one.going:
        work = next(work for work in one.world.running.values() if work.kind == "delete-set")
        return Accepted(tracked=call.site.operations.find(work.name), status=202)
    return call.accept(call.submit("delete-set"), 202)


def put_instance(call: Call) -> Accepted:
    """PUT of an instance: its protection and its tags (the rest of its model stays the set's)."""
    one, vm = call.one, call.vm
    _not_going(one)
    body, _ = changes.written(call.body())
    args: dict[str, object] = {}
    policy = changes.At(body, "")["properties"]["protectionPolicy"]
    if "protectFromScaleSetActions" in policy.value:
        args["protected"] = policy.flag("protectFromScaleSetActions")
    if "protectFromScaleIn" in policy.value:
        args["scale_in_protected"] = policy.flag("protectFromScaleIn")
    match = call.request.headers.get("if-match", "*")
    if match.strip() != "*" and call.version >= ETAGS_SINCE:
        current = documents.instance(one, vm, call.version).get("etag", "")
        if etag_of(match) != etag_of(current):
            raise refused(errors.PRECONDITION_FAILED, given=match, current=current)
    tags = body.get("tags")
    if tags is not None:
        creation.check_tags(tags)
    work = call.submit("protect", (vm.id,), **args)
    if tags is not None:
        one.instances.setdefault(vm.vm_id, {})["tags"] = tags
    shown = documents.instance(one, vm, call.version)
    shown["properties"]["provisioningState"] = "Updating"
    return call.accept(work, 200, shown)


def delete_instance(call: Call) -> Accepted | Response:
    """Delete one instance; 204 where there is none."""
    one = call.one
    if call.names["vm"] not in one.world.vms:
        return Response(status=204)
    return call.accept(call.submit("delete", (call.names["vm"],)), 202)
