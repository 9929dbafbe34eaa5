"""POST: actions on a set, on instances through the set, and on one instance through its own path.

Rules (azure-vmss.md 4; recordings A): an action is accepted with 202, an empty body, and both URLs. Who may ask for what, and what
it does, is the world's affair; here is only which request asks for which of its kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmss_sim.arm import lookups
from vmss_sim.arm.call import Accepted, Call, instance_ids, member, missing, refused
from vmss_sim.arm.http import Response
from vmss_sim.world import admission, errors
from vmss_sim.world.images import IMAGE

Handler = Callable[[Call], Accepted | Response]


def on_instances(kind: str) -> Handler:
    """An action on the instances that the body names."""

    def handle(call: Call) -> Accepted:
        body = call.body()
        return call.accept(call.submit(kind, instance_ids(body), **_arguments(call, kind, body)), 202)

    return handle


def on_one(kind: str) -> Handler:
    """An action on the instance of the path."""

    def handle(call: Call) -> Accepted:
        return call.accept(call.submit(kind, (call.vm_id,), **_arguments(call, kind, call.body())), 202)

    return handle


def on_set(kind: str) -> Handler:
    """An action on the set itself."""

    def handle(call: Call) -> Accepted:
        call.body()
        return call.accept(call.submit(kind), 202)

    return handle


def _arguments(call: Call, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    args: dict[str, Any] = {}
    if kind in ("reimage", "reimage-all"):
        exact = member(body, "exactVersion", str)
        if exact:
            lookups.require_version(call.site, {**call.one.world.model, IMAGE + "version": exact})
            args["exact_version"] = exact
        if member(body, "tempDisk", bool):
            args["temp_disk"] = True
        member(body, "forceUpdateOSDiskForEphemeral", bool)
    for name in {"power-off": ("skipShutdown",), "deallocate": ("hibernate",), "delete": ("forceDeletion",)}.get(
        kind, ()
    ):
        call.flag(name)
    return args


def scale(call: Call) -> Accepted:
    """POST /scale of 2017-03-30: the answer names who goes (recorded with an empty list)."""
    wanted = _count(call, "capacity")
    return call.accept(call.submit("set-capacity", capacity=wanted), 202, {"scaleInInstanceIds": []})


def scale_out(call: Call) -> Accepted:
    """POST /scaleOut since 2025-04-01: so many more."""
    more = _count(call, "capacity")
    if more < 0:  # it would be a scale-in, of instances that the platform chooses
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="capacity")
    return call.accept(call.submit("set-capacity", capacity=len(call.one.world.counted()) + more), 202)


def _count(call: Call, name: str) -> int:
    body = call.body()
    said = member(body, name)
    if isinstance(said, str) and said.isdecimal() and len(said) < 10:
        said = int(said)
    said = member({name: said}, name, int)
    if said is None:
        raise missing(name)
    return int(said)


def set_orchestration_service_state(call: Call) -> Accepted:
    """Suspend or resume automatic repairs. The zone rebalancing service is known, and does nothing here."""
    body = call.body()
    service, action = member(body, "serviceName", str), member(body, "action", str)
    for name, said in (("serviceName", service), ("action", action)):
        if said is None:
            raise missing(name)
    if service.lower() not in ("automaticrepairs", "automaticzonerebalancing", "dummyorchestrationservicename"):
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="serviceName")
    if action.lower() not in ("suspend", "resume"):
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="action")
    if service.lower() != "automaticrepairs":
        return call.accept(call.nothing(), 202)
    return call.accept(call.submit(f"{action.lower()}-repairs"), 202)


def reapply(call: Call) -> Accepted:
    """POST /reapply since 2024: the set is made what it already is."""
    call.body()
    assert call.one
    return call.accept(call.nothing(), 202)


def perform_maintenance(call: Call) -> Response:
    """Refused as recorded: no subscription here is eligible."""
    world = call.one.world
    name = call.vm.id if "vm" in call.names else next(iter(world.vms), "0")
    raise refused(errors.NOT_ELIGIBLE, vm=name if world.config.flexible else f"{call.one.name}_{name}")


def simulate_eviction(call: Call) -> Response:
    """204 (recorded); nobody here is a spot instance, so nothing follows."""
    assert call.vm
    return Response(status=204)


def convert_to_single_placement_group(call: Call) -> Response:
    """200 at once, with an empty body (recorded)."""
    world = call.one.world
    call.body()
    if len(world.vms) > admission.MOST_ONE_GROUP:
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="singlePlacementGroup")
    world.join_one_group()
    old = call.one.document
    call.one.document = {**old, "properties": {**(old.get("properties") or {}), "singlePlacementGroup": True}}
    return Response(status=200)


def walk_update_domains(call: Call) -> Response:
    """`forceRecoveryServiceFabricPlatformUpdateDomainWalk` (recorded)."""
    said = call.request.query.get("platformupdatedomain", "0")
    if not (said.isdecimal() and len(said) < 6):
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="platformUpdateDomain")
    assert call.one
    return Response(status=200, body={"walkPerformed": True, "nextPlatformUpdateDomain": int(said) + 1})
