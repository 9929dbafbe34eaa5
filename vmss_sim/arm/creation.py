"""PUT of a set that does not exist: a new world from its body."""

from __future__ import annotations

from typing import Any

import simpy

from vmss_sim.arm import changes, model_document
from vmss_sim.arm.call import Accepted, Call, wrong_type
from vmss_sim.arm.http import Refused
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world.config import WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.scale_set import World


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
) -> ArmSet:
    """Put the set of a scenario behind the endpoint. document: the resource, whole; made up where it is not given."""
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
        unique_id=site.guid("unique", group.lower(), name.lower()),
    )
    one.document = changes.whole(one)
    one.world.furnish(changes.model_of(one.document))
    return site.add(one)


def check_tags(tags: Any) -> None:
    """Tags are texts. Raises Refused."""
    if not isinstance(tags, dict):
        raise wrong_type("tags", tags, "System.Collections.Generic.IDictionary`2[System.String,System.String]")
    for key, value in tags.items():
        if value is not None and not isinstance(value, str):
            raise wrong_type(f"tags.{key}", value, "System.String")


def create(call: Call) -> Accepted:
    """Create a set."""
    raise Refused(501, "NotImplemented", f"{call.names['set']}: not yet")
