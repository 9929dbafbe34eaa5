"""What may differ between the set a plan saw and the set it meets, and what each difference means.

The table is part of every plan. `refuse`: nothing is sent (at the start), or the rollout stops (later). `absorb`: the
rollout goes on without or with the instance, by a named rule. `note`: it is written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from planner.gives import otherwise
from planner.model import AutomaticRepairs, ImageReference, Model, Provisioning, ScaleSet, UpgradeMode, runs, service

if TYPE_CHECKING:
    from planner.plan import Plan


class Absorb(str, Enum):
    """What a difference means."""

    REFUSE = "refuse"
    ABSORB = "absorb"
    NOTE = "note"


DRIFT: dict[str, Absorb] = {
    "identity": Absorb.REFUSE,  # another set under the same name
    "mode": Absorb.REFUSE,  # the platform would act otherwise than vetted
    "model": Absorb.REFUSE,  # image, size or watched setting neither the plan's old nor its new; repairs are new; anything else an instance would get
    "capacity": Absorb.NOTE,  # the floor follows it
    "new": Absorb.ABSORB,  # an instance the plan did not see: by `new_instances`
    "vanished": Absorb.ABSORB,  # leaves its batch
    "replaced": Absorb.ABSORB,  # the id now names another VM: leaves its batch, counts as new
    "reverted": Absorb.ABSORB,  # was at the target, is stale again: by `new_instances`
    "protected": Absorb.ABSORB,  # protection was set since: leaves its batch
    "placement": Absorb.NOTE,
    "image": Absorb.NOTE,  # boots another image than the plan saw
    "health": Absorb.NOTE,
    "at-target": Absorb.NOTE,  # somebody upgraded it already: skipped
}

SIZE, REPAIRS = "sku.name", "automaticRepairsPolicy"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference: its kind (a key of the drift table), what it is about, and what it means."""

    kind: str
    subject: str
    found: str
    expected: str
    verdict: Absorb


def model_differences(
    plan: Plan,
    model: Model,
    *,
    modes: frozenset[UpgradeMode],
    images: tuple[ImageReference | None, ...],
    says: Mapping[str, Any],
) -> list[Difference]:
    """Differences of the set itself: identity, mode (expected one of `modes`), image (expected one of `images`), size of the VMs, automatic repairs that
    were enabled since (the plan suspends none), watched settings (expected what `says` has for the path, else their old value or one of the plan's), what
    an instance would be given.
    """
    saw = plan.scale_set
    found: list[Difference] = []

    def add(kind: str, subject: str, got: object, wanted: object) -> None:
        found.append(
            Difference(kind=kind, subject=subject, found=str(got), expected=str(wanted), verdict=plan.drift[kind])
        )

    if model.unique_id != saw.unique_id and model.unique_id and saw.unique_id:
        add("identity", "uniqueId", model.unique_id, saw.unique_id)
    elif model.id.lower() != saw.id.lower():
        add("identity", "resource id", model.id, saw.id)
    if model.mode not in modes:
        add("mode", "upgradePolicy.mode", model.mode.value, " or ".join(sorted(mode.value for mode in modes)))
    if not any(_same_image(model.image, image) for image in images):
        add("model", "imageReference", model.image, " or ".join(str(image) for image in images))
    patch, back = plan.resolved.patch, plan.resolved.reverse
    changes_size = any(SIZE.startswith(path.lower()) for path in {*saw.settings, *patch, *back})
    if not changes_size and saw.sku and model.sku and saw.sku.lower() != model.sku.lower():
        add("model", SIZE, model.sku, saw.sku)
    if _repairs(model.repairs) and not _repairs(saw.repairs) and not any(REPAIRS in path for path in {*patch, *back}):
        add("model", REPAIRS, "enabled", "not enabled")
    for path, value in saw.settings.items():
        allowed = [says[path]] if path in says else [value] + [side[path] for side in (patch, back) if path in side]
        if path in model.settings and model.settings[path] not in allowed:
            add("model", path, model.settings[path], " or ".join(str(one) for one in allowed))
    for one in otherwise(saw.gives, model.gives, (*patch, *back, *saw.settings)):
        add("model", one.path, one.found, one.expected)
    return found


def _repairs(policy: AutomaticRepairs | None) -> bool:
    return policy is not None and policy.enabled


def _same_image(left: ImageReference | None, right: ImageReference | None) -> bool:
    if left is right or left == right:
        return True
    if left is None or right is None:
        return False
    # `latest` equals `latest` here: this compares what two models say, not what a VM boots.
    if (left.version or "").lower() == (right.version or "").lower() == "latest":
        stripped = (msgspec.structs.replace(one, version="-", exact_version=None) for one in (left, right))
        return runs(*stripped) is True
    return runs(left, right) is True


def instance_differences(plan: Plan, scale_set: ScaleSet) -> Iterator[Difference]:
    """Differences of the instances, as the plan saw them against now."""

    def make(kind: str, subject: str, got: object, wanted: object) -> Difference:
        return Difference(
            kind=kind, subject=f"instance {subject}", found=str(got), expected=str(wanted), verdict=plan.drift[kind]
        )

    saw, target, source = plan.scale_set.instances, plan.resolved.target.image, scale_set.model.health_source
    deleting = Provisioning.DELETING
    if len(scale_set.instances) != plan.scale_set.capacity:
        yield make("capacity", "count", len(scale_set.instances), plan.scale_set.capacity)
    for name, pinned in saw.items():
        now = scale_set.instances.get(name)
        if now is None or now.provisioning is deleting:
            yield make("vanished", name, "gone", "present")
            continue
        if now.vm_id != pinned.vm_id and pinned.vm_id and now.vm_id:
            yield make("replaced", name, now.vm_id, pinned.vm_id)
            continue
        if now.protected and not pinned.protected:
            yield make("protected", name, "protected", "not protected")
        found = (now.zone, now.update_domain, now.fault_domain)
        expected = (pinned.zone, pinned.update_domain, pinned.fault_domain)
        if found != expected:
            yield make("placement", name, found, expected)
        if now.image != pinned.image:
            kind = "at-target" if target is not None and runs(now.image, target) else "image"
            yield make(kind, name, now.image, pinned.image)
        serving = service(now, source)
        if serving is not pinned.service:
            yield make("health", name, serving.value, pinned.service.value)
    for name in scale_set.instances:
        if name not in saw:
            yield make("new", name, "present", "not in the plan")
