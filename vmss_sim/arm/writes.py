"""PUT, PATCH and DELETE of scale sets and of instances.

Contract: a resource is kept as it was merged only where the world accepted the update, also where its answer is then lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmss_sim.arm import changes, creation, documents, lookups, policies, shapes, versions
from vmss_sim.arm.call import Accepted, Call, etag_of, member, refused
from vmss_sim.arm.http import Refused, Response
from vmss_sim.arm.wire import plain
from vmss_sim.world import errors
from vmss_sim.world.images import IMAGE


def put_set(call: Call) -> Accepted | Response:
    """Create or update."""
    _if_none_match(call)
    if call.found is None:
        if "if-match" in call.request.headers and versions.has_etag(call.version):
            raise refused(errors.PRECONDITION_FAILED, given=call.request.headers["if-match"], current="(none)")
        return creation.create(call)
    return _update(call, patch=False)


def patch_set(call: Call) -> Accepted:
    """Update."""
    _if_none_match(call)
    return _update(call, patch=True)


def _update(call: Call, *, patch: bool) -> Accepted:
    one = call.one
    body = call.body()
    location = member(body, "location", str)
    if (
        not patch and not location
    ):  # of a PUT also where it is there (azure-docs pull request 89040, azure-powershell #409)
        raise creation.location_required()
    if location is not None and plain(location) != plain(one.location):
        raise Refused(
            409,
            "InvalidResourceLocation",
            f"The resource '{one.name}' already exists in location '{one.location}' in resource group '{one.group}'. A resource "
            f"with the same name cannot be created in location '{location}'. Please select a new resource name.",
        )
    asked = changes.change(changes.whole(one), {**body, "location": one.location}, one.world.model, patch=patch)
    if any(path.startswith(IMAGE) for path in asked.args.get("patch", ())):
        lookups.require_version(call.site, changes.model_of(asked.document))
    accepted = update(call, asked, 200)
    shown, given = accepted.body.get("identity") or {}, asked.document.get("identity") or {}
    named = {name.lower() for name in policies.At(body, "")["identity"].value.get("userAssignedIdentities") or ()}
    for name in given.get("userAssignedIdentities") or ():
        if name.lower() in named and name in shown.get("userAssignedIdentities", ()):
            shown["userAssignedIdentities"][name] = {}  # those that were just said are not looked up yet (recorded)
    return accepted


def update(call: Call, asked: changes.Change, status: int, body: Callable[[], Any] | None = None) -> Accepted:
    """Ask the world for a change of the set, and keep the resource. body: what is answered; the set, where it is not said."""
    one = call.one
    policies.require_extensions(one.name, asked.document, one.document)
    args = dict(asked.args)
    match = call.request.headers.get("if-match", "*")
    if match.strip() != "*" and versions.has_etag(call.version):
        args["if_match"] = etag_of(match)
    work = call.submit(asked.kind, **args)
    one.document = asked.document
    shapes.remember(one)
    one.last_update = work
    return call.accept(work, status, documents.scale_set(one, call.version) if body is None else body())


def _if_none_match(call: Call) -> None:
    """`*` creates, and never updates what is there; other values are none (API). Raises Refused."""
    header = call.request.headers.get("if-none-match")
    if header is None or not versions.has_etag(call.version):
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
    if one.world.going:
        work = next(work for work in one.world.running.values() if work.kind == "delete-set")
        return Accepted(tracked=call.site.operations.find(work.name), status=202)
    one.last_update = work = call.submit("delete-set")
    return call.accept(work, 202)


def put_instance(call: Call) -> Accepted:
    """PUT of an instance: its protection and its data disks. The rest stays the set's, on a Uniform set the tags, too (recorded)."""
    one, vm = call.one, call.vm
    _if_none_match(call)
    body, _ = changes.written(call.body())
    args: dict[str, object] = {}
    policy = policies.At(body, "")["properties"]["protectionPolicy"]
    if "protectFromScaleSetActions" in policy.value:
        args["protected"] = policy.flag("protectFromScaleSetActions")
    if "protectFromScaleIn" in policy.value:
        args["scale_in_protected"] = policy.flag("protectFromScaleIn")
    match = call.request.headers.get("if-match", "*")
    if match.strip() != "*" and versions.has_etag(call.version):
        current = documents.instance(one, vm, call.version).get("etag", "")
        if etag_of(match) != etag_of(current):
            raise refused(errors.PRECONDITION_FAILED, given=match, current=current)
    tags = body.get("tags") if one.world.config.flexible else None
    work = call.submit("protect", (vm.id,), **args)
    written = call.written(vm)
    written["writes"] = written.get("writes", 0) + 1
    if tags is not None:
        written["tags"] = tags
    if policy.value:
        written["protection"] = True
    disks = policies.At(body, "")["properties"]["storageProfile"].value.get("dataDisks")
    if disks is not None:
        written["dataDisks"] = disks
    shown = documents.instance(one, vm, call.version)
    shown["properties"]["provisioningState"] = "Updating"
    return call.accept(work, 200, shown)


def delete_instance(call: Call) -> Accepted:
    """Delete one instance; one that is not there is accepted, too, and has been deleted at once (recorded: 19 times, no 204)."""
    one = call.one
    if call.vm_id != "*" and call.vm_id not in one.world.vms:
        return call.accept(call.nothing(), 202)
    return call.accept(call.submit("delete", (call.vm_id,)), 202)
