"""What several checks ask about a set: who rolls it out, who counts as healthy, which image is exact."""

from __future__ import annotations

import re
from typing import NamedTuple

from planner.model import (
    ImageReference,
    Model,
    RollingPolicy,
    ScaleSet,
    Service,
    UpgradeMode,
    service,
)


class Own(NamedTuple):
    """A rollout that the platform itself starts on this set: what makes it start, and the policy it follows."""

    who: str
    policy: RollingPolicy


def auto_os(model: Model) -> bool:
    """Is automatic OS upgrade on?"""
    return model.auto_os is not None and model.auto_os.enabled


def own_rollouts(model: Model) -> tuple[Own, ...]:
    """The platform's own rollouts. Automatic OS upgrade follows the default policy unless told to use the set's."""
    found: list[Own] = []
    default = RollingPolicy()
    if model.mode is UpgradeMode.ROLLING:
        found.append(Own("a rollout in mode Rolling", model.rolling or default))
    if model.auto_os is not None and model.auto_os.enabled:
        policy = (model.rolling or default) if model.auto_os.use_rolling_policy else default
        if found and found[0].policy == policy:
            return (Own("a rollout in mode Rolling, or by automatic OS upgrade,", policy),)
        found.append(Own("an automatic OS upgrade", policy))
    return tuple(found)


def repaired_at_once(total: int) -> int:
    """How many instances automatic repairs act on at a time: 5 %, at least one (azure-compute-docs, repairs)."""
    return max(1, total // 20)


def services(scale_set: ScaleSet) -> dict[str, Service]:
    """Whether each instance serves."""
    source = scale_set.model.health_source
    return {name: service(one, source) for name, one in scale_set.instances.items()}


_GALLERY = re.compile(r"/(?:shared|community)?galleries/[^/]+/images/[^/]+(?:/versions/(?P<version>[^/]+))?/?$", re.I)


def in_gallery(image: ImageReference) -> bool:
    """Is this an image of an Azure Compute Gallery (own, shared or community)?"""
    return _GALLERY.search(image.id or "") is not None


def follows_latest(image: ImageReference | None) -> bool:
    """Does this reference resolve to the newest version whenever a VM boots it?"""
    if image is None or image.uri:
        return False
    if image.id:
        match = _GALLERY.search(image.id)
        return match is not None and (match["version"] or "latest").lower() == "latest"
    return (image.version or "latest").lower() == "latest"


def exact(image: ImageReference | None) -> bool:
    """Does this say exactly what a VM booted?"""
    return image is not None and (bool(image.exact_version) or not follows_latest(image))
