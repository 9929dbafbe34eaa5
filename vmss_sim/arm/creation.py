"""How sets come behind the endpoint: the one of a scenario, and those that clients create.

Rules (recordings: 300 PUT with 201; azure-vmss.md 5; API):

1. A new set needs a location, a size, and in mode Uniform an upgrade policy and a profile. What it leaves out is filled in as Azure
   fills it in, and shown.
2. Its world is a new one at the same time, with the default timings, in a state where all of its VMs are being created; it has luck of
   its own. Instances stand in the zones and domains in turn.
3. The world judges whether it may be so; a set that is refused is not there.
"""

from __future__ import annotations

import re
from typing import Any

import simpy
from msgspec import structs

from vmss_sim.arm import changes, defaults, documents, lookups, model_document, policies, shapes
from vmss_sim.arm.call import Accepted, Call, missing, refused
from vmss_sim.arm.http import Refused
from vmss_sim.arm.merging import PUT, merged
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world import admission, errors
from vmss_sim.world.config import Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.images import IMAGE, image_of
from vmss_sim.world.recorded import READY_DEFAULT, RECORDED, System
from vmss_sim.world.scale_set import World
from vmss_sim.world.timings import Constant


def host(
    site: Site,
    config: WorldConfig,
    draws: Draws,
    faults: tuple[Fault, ...] = (),
    *,
    group: str,
    location: str,
    subscription: str | None = None,
    name: str | None = None,
    document: dict[str, Any] | None = None,
    unique_id: str = "",
) -> ArmSet:
    """Put the set of a scenario behind the endpoint. document: the resource, whole; made up where it is not given, as is the unique id."""
    name = name or config.name
    document = document or model_document.of(config, name=name, location=location, given=None)
    one = ArmSet(
        subscription=site.require_subscription(subscription or next(iter(site.subscriptions))),
        group=group,
        name=name,
        location=document.get("location") or location,
        world=World(config, draws, faults, simpy.Environment(initial_time=site.now_ms)),
        document={key: value for key, value in document.items() if key not in ("name", "id", "type")},
        epoch=site.epoch,
        unique_id=unique_id or site.guid("unique", group.lower(), name.lower()),
        tenant=site.tenant,
    )
    one.document = changes.whole(one)
    one.world.furnish(changes.model_of(one.document))
    one.models = {-1: one.document}
    shapes.remember(one)
    site.hosted.append(config)
    return site.add(one)


def create(call: Call) -> Accepted:
    """PUT of a set that is not there. Raises Refused."""
    site, names = call.site, call.names
    name = names["set"]
    if not _NAME.fullmatch(name):
        raise Refused(
            400,
            "InvalidParameter",
            "The entity name 'vmScaleSetName' is invalid according to its validation rule: ^[^_\\W][\\w-._]{0,79}(?<![-.])$.",
            "vmScaleSetName",
        )
    said, secrets = changes.written(call.body())
    document = _filled_in(merged({}, said, PUT))
    policies.require_extensions(name, document, {})
    location = str(document["location"])
    number = site.founded + 1
    unique = site.guid("unique", names["group"].lower(), name.lower(), number)
    config = _config(site, name, unique, document, secrets)
    luck = site.luck(site.seed, number, len(config.machines))
    world = World(config, luck, site.faults, simpy.Environment(initial_time=site.now_ms))
    world.places = config.machines or policies.places(document)
    call.create(
        ArmSet(
            subscription=site.require_subscription(names["subscription"]),
            group=site.require_group(names["subscription"], names["group"]).name,
            name=name,
            location=location,
            world=world,
            document=document,
            epoch=site.epoch,
            unique_id=unique,
            tenant=site.tenant,
        )
    )
    work = call.submit(
        "create-set",
        mode=policies.mode(document),
        rolling=policies.rolling(document),
        auto_os=policies.auto_os(document),
        repairs=policies.repairs(document),
        capacity=len(config.machines),
    )
    site.founded = number
    site.add(call.one).last_update = work
    return call.accept(work, 201, documents.scale_set(call.one, call.version))


_NAME = re.compile(r"[^\W_](?:[\w.-]{0,62}\w)?", re.ASCII)


def location_required() -> Refused:
    """A PUT of a set says where it is."""
    return Refused(400, "LocationRequired", "The location property is required for this definition.")


def _filled_in(said: dict[str, Any]) -> dict[str, Any]:
    """Rule 1. Raises Refused."""
    if not said.get("location"):
        raise location_required()
    properties = dict(said.get("properties") or {})
    document = {**said, "properties": properties}
    flexible = policies.is_flexible(document)
    sku = {key: value for key, value in (said.get("sku") or {}).items() if value is not None}
    needed = (
        ("sku", said.get("sku")),
        ("sku.name", sku.get("name") or flexible),
        ("upgradePolicy", properties.get("upgradePolicy") or flexible),
        ("virtualMachineProfile", properties.get("virtualMachineProfile") or flexible),
    )
    for what, value in needed:
        if not value:
            raise missing(what)
    capacity = policies.capacity(document)
    if not 0 <= capacity <= admission.MOST:
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="sku.capacity")
    document["sku"] = {**sku, "capacity": capacity}
    properties.setdefault("orchestrationMode", "Flexible" if flexible else "Uniform")
    if capacity > admission.MOST_ONE_GROUP:
        properties.setdefault("singlePlacementGroup", False)
    return defaults.fill(document, {})


def _config(site: Site, name: str, unique: str, document: dict[str, Any], secrets: dict[str, str]) -> WorldConfig:
    """Rule 2."""
    flexible, capacity = policies.is_flexible(document), policies.capacity(document)
    model = {**changes.model_of(document), **secrets}
    lookups.require_version(site, model)
    latest = _newest(site, model)
    image = image_of(model, latest)
    fresh = {"power": "starting", "provisioning": "creating", "health": "absent"}
    machines = tuple(
        structs.replace(
            place,
            id=f"{name}_{number:08x}" if flexible else str(number),
            vm_id=site.guid("vm", name.lower(), site.founded + 1, number),
            image=image,
            **fresh,
        )
        for number, place in enumerate(policies.places(document, capacity) if capacity else ())
    )
    source = policies.health(document)
    system: System = "windows" if defaults.is_windows(document) else "linux"
    operations = {kind: rows[system].timing for kind, rows in RECORDED.items()}
    for kind in ("suspend-repairs", "resume-repairs"):
        operations[kind] = operations["set-orchestration-service-state"]
    operations["set-capacity"] = Constant(seconds=1)
    return WorldConfig(
        name=name,
        unique=unique,
        machines=machines,
        model=model,
        timings=site.timings
        or Timings(operations=operations, ready=READY_DEFAULT[system].timing, probe_ms=source.probe_ms),
        platform=site.platform,
        health=source.source,
        health_grace_ms=source.grace_ms,
        health_protocol=source.protocol,
        latest=latest,
        flexible=flexible,
        single_placement_group=bool(model.get("properties.singlePlacementGroup")),
    )


def _newest(site: Site, model: dict[str, Any]) -> str:
    """What `latest` means for an image: as other sets here have it, else what is upgraded to here, else the first version there is."""
    parts = ("publisher", "offer", "sku", "id")
    mine = [str(model.get(IMAGE + part)).lower() for part in parts]
    for one in site.sets:
        theirs = [str(one.world.model.get(IMAGE + part)).lower() for part in parts]
        if theirs == mine and one.world.latest:
            return one.world.latest
    for image in site.images:
        theirs = [str(getattr(image, part)).lower() for part in parts]
        if theirs == mine and (image.exact or image.version):
            return str(image.exact or image.version)
    return FIRST_VERSION


FIRST_VERSION = "1.0.0"
