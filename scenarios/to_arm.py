"""A scenario behind an ARM endpoint: what an emulator begins with, every time the same.

1. The luck is that of `vmss-sim simulate` with the same seed (replication 0), so what a client does can be compared with a strategy.
2. The set's own documents are shown as Azure gave them, where the scenario is made from such; else a document is made up.
3. The set stands where its resource id says; an invented one in resource group `vmss-sim` in westeurope.
4. Sets that clients create take as long and are treated as the scenario's; its faults are of its own set.
5. Virtual time 0 is a fixed date: nothing that a client is shown depends on when it ran.
6. Every VM of a platform image shows which version it booted, as Azure's do (REC since 2019-07-01). Where a scenario leaves it open (an
   invented set on `latest`), it is one older than all others.
7. Of the platform image that the change names there are the versions that the scenario knows, and no others, unless any is to be taken.
   Where the set's model names one of them, `latest` is the newest of all, the target among them (DOC: what is reimaged or added boots
   the newest). A set that is on `latest` itself boots what the scenario says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from planner.change import resolve
from planner.metrics import Measures
from scenarios import build, surroundings
from scenarios.build import Setup
from scenarios.files import read_json
from scenarios.schema import Scenario
from vmss_sim.arm import creation, lookups, model_document
from vmss_sim.arm.emulator import Stage
from vmss_sim.arm.measured import Yardstick
from vmss_sim.arm.site import DEFAULT_SUBSCRIPTION, Site
from vmss_sim.world.config import Image
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.images import image_of, leaves_version_open

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
OLDEST = "0.0.1"
GROUP, LOCATION = "vmss-sim", "westeurope"
_ID = re.compile(r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/", re.IGNORECASE)


def stage(
    scenario: Scenario,
    folder: Path,
    where: str,
    *,
    seed: int,
    breaches: Callable[[Setup, Measures], tuple[str, ...]],
    faults: tuple[Fault, ...] | None = None,
    any_version: bool = False,
    target_known: bool = True,
) -> Stage:
    """The stage of a scenario. faults: instead of its own; breaches: what a study counts as such; any_version: rule 7; target_known: did
    anybody say what the set becomes? Raises InputError.
    """
    setup = versioned(build.setup(scenario, folder, where))
    if target_known:
        setup = newest(setup)
    if faults is not None:
        setup = msgspec.structs.replace(setup, faults=faults)
    given = _given(scenario, folder)
    return Stage(
        title=setup.title,
        seed=seed,
        digest=_digest(setup, given, any_version),
        make=lambda: site(setup, given, seed, any_version=any_version, target_known=target_known),
        yardstick=Yardstick(
            total=setup.total,
            required=setup.required,
            horizon_ms=setup.horizon_ms,
            bad=bool(setup.world.failures.bad_share),
            breaches=lambda measures: breaches(setup, measures),
        ),
        faults=lambda tables: surroundings.faults(tables, "faults"),
    )


def site(
    setup: Setup,
    given: dict[str, Any] | None,
    seed: int,
    *,
    any_version: bool = False,
    target_known: bool = True,
) -> Site:
    """A fresh site with the scenario's set."""
    model = setup.scale_set.model
    found = _ID.match(model.id)
    subscription = found["subscription"] if found else DEFAULT_SUBSCRIPTION
    group, location = found["group"] if found else GROUP, model.location or LOCATION
    made = Site(epoch=EPOCH, seed=seed, subscriptions=(subscription,))
    made.images, made.versions_known = _images(setup) if target_known else (), not any_version
    made.timings, made.platform = setup.world.timings, setup.world.platform
    document = model_document.of(
        setup.world,
        name=model.name,
        location=location,
        given=given,
        model=model,
        group=f"/subscriptions/{subscription}/resourceGroups/{group}",
    )
    creation.host(
        made,
        setup.world,
        Draws(seed, 0, setup.total),
        setup.faults,
        group=group,
        location=location,
        name=model.name,
        document=document,
        unique_id=model.unique_id,  # so that a plan of the real set can be rehearsed
    )
    return made


def _given(scenario: Scenario, folder: Path) -> dict[str, Any] | None:
    """The set's own document, where the scenario reads it from files: the first that is not a list of instances."""
    named = scenario.scale_set.from_
    for name in [named] if isinstance(named, str) else named or []:
        found = read_json(folder / name)
        if isinstance(found, dict) and "value" not in found:
            return found
    return None


def versioned(setup: Setup) -> Setup:
    """Rule 6."""
    replace = msgspec.structs.replace
    machines = tuple(
        replace(one, image=replace(one.image, exact=OLDEST))
        if one.image is not None and one.image.publisher and one.image.exact is None
        else one
        for one in setup.world.machines
    )
    return replace(setup, world=replace(setup.world, machines=machines))


def newest(setup: Setup) -> Setup:
    """Rule 7, of `latest`."""
    world = setup.world
    named = image_of(world.model, world.latest)
    if named is None or leaves_version_open(world.model):
        return setup
    versions = [
        one.exact or one.version
        for one in _images(setup)
        if (one.publisher, one.offer, one.sku) == (named.publisher, named.offer, named.sku) and named.publisher
    ]
    known = [one for one in (world.latest, *versions) if one]
    latest = max(known, key=lookups.by_number, default=None)
    return msgspec.structs.replace(setup, world=msgspec.structs.replace(world, latest=latest))


def _images(setup: Setup) -> tuple[Image, ...]:
    """What the change upgrades to."""
    target = resolve(setup.change, setup.scale_set, setup.action).target.image
    if target is None:
        return ()
    return (
        Image(
            publisher=target.publisher,
            offer=target.offer,
            sku=target.sku,
            version=target.version,
            exact=target.exact_version,
            id=target.id,
            uri=target.uri,
        ),
    )


def _digest(setup: Setup, given: dict[str, Any] | None, any_version: bool) -> str:
    about = repr((setup.world, setup.scale_set.model, setup.faults, EPOCH, any_version))
    return hashlib.sha256(about.encode() + msgspec.json.encode(given, order="deterministic")).hexdigest()[:16]
