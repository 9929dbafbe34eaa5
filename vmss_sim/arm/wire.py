"""The world's values in ARM's words, and what every document is made of: times, durations, policies, images; no secrets.

Rules:

1. What is write-only in the API is in no answer, wherever it stands: passwords, custom data, protected settings. `userData` is
   shown where it is asked for (`$expand=userData`). What is below the user's own names (tags, settings) is left as it is.
2. A model path of the world is laid over a document only where there are objects on the way, or nothing: what stands in a list is
   the client's alone.
3. Times have seven digits of a second and the offset; durations are written as .NET does (`PT1M30S`, `P1D`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from vmss_sim.arm.names import OF_THE_USER
from vmss_sim.world.config import AutoOs, Image, Repairs, RollingPolicy

Body = dict[str, Any]

SECRET = frozenset({"adminPassword", "customData", "protectedSettings", "protectedParameters", "runAsPassword"})
"""Write-only in the API."""
HIDDEN = SECRET | {"userData"}


def shown(value: Any, hidden: frozenset[str] = HIDDEN) -> Any:
    """A copy without what is hidden (rule 1)."""
    if isinstance(value, dict):
        return {
            name: copy.deepcopy(inner) if name in OF_THE_USER else shown(inner, hidden)
            for name, inner in value.items()
            if name not in hidden
        }
    return [shown(inner, hidden) for inner in value] if isinstance(value, list) else value


def lay_over(document: Body, model: Mapping[str, Any]) -> None:
    """Lay model paths over a document (rule 2); None takes away."""
    for path, value in model.items():
        *above, last = path.split(".")
        if last in SECRET or "[" in path:
            continue
        if last == "id" and above[-1:] == ["imageReference"] and value is not None:
            last = id_name(str(value))
        place: Any = document
        for step in above:
            inner = place.get(step)
            if inner is None and value is not None:
                inner = place[step] = {}
            place = inner
            if not isinstance(place, dict):
                break
        else:
            if value is None:
                place.pop(last, None)
            elif place.get(last) != value:
                place[last] = shown(value, SECRET)


@lru_cache(maxsize=4096)
def moment(epoch: datetime, at_ms: int) -> str:
    """A time as Azure writes it (rule 3)."""
    return f"{epoch + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%S.%f}0+00:00"


def rolling_policy(policy: RollingPolicy) -> Body:
    """Azure's words for a rolling policy."""
    return {
        "maxBatchInstancePercent": policy.max_batch_percent,
        "maxUnhealthyInstancePercent": policy.max_unhealthy_percent,
        "maxUnhealthyUpgradedInstancePercent": policy.max_unhealthy_upgraded_percent,
        "pauseTimeBetweenBatches": duration(policy.pause_ms),
        "enableCrossZoneUpgrade": policy.cross_zone,
        "prioritizeUnhealthyInstances": policy.prioritize_unhealthy,
        "rollbackFailedInstancesOnPolicyBreach": policy.rollback_failed,
        "maxSurge": policy.max_surge,
    }


def auto_os_policy(policy: AutoOs) -> Body:
    """Azure's words for automatic OS upgrade."""
    return {
        "enableAutomaticOSUpgrade": policy.enabled,
        "disableAutomaticRollback": policy.disable_rollback,
        "useRollingUpgradePolicy": policy.use_rolling_policy,
        "osRollingUpgradeDeferral": policy.deferral,
    }


def repairs_policy(policy: Repairs) -> Body:
    """Azure's words for automatic repairs."""
    grace = duration(policy.grace_ms)
    return {"enabled": policy.enabled, "gracePeriod": grace, "repairAction": policy.action.capitalize()}


def duration(ms: int) -> str:
    """An ISO 8601 duration as .NET writes it."""
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    date = f"{days}D" if days else ""
    time = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M")) if value)
    if rest:
        time += f"{seconds}.{rest:03d}".rstrip("0") + "S"
    elif seconds or not (date or time):
        time += f"{seconds}S"
    return f"P{date}T{time}" if time else f"P{date}"


def image_reference(image: Image | None) -> Body | None:
    """The image a VM booted; None where it is a VHD, or not known."""
    if image is None or image.uri:
        return None
    image_id = (image.id or "").lower()
    managed = "/images/" in image_id and "/galleries/" not in image_id  # a managed image has no versions
    known = (
        ("publisher", image.publisher),
        ("offer", image.offer),
        ("sku", image.sku),
        ("version", image.version),
        (id_name(image.id or ""), image.id),
        ("exactVersion", None if managed else image.exact),
    )
    return {name: value for name, value in known if value is not None}


def id_name(image_id: str) -> str:
    """Under which name an image's id stands."""
    lower = image_id.lower()
    if lower.startswith("/sharedgalleries/"):
        return "sharedGalleryImageId"
    return "communityGalleryImageId" if lower.startswith("/communitygalleries/") else "id"


def plain(location: str) -> str:
    """A location as names of locations compare: `West US 2` is `westus2`."""
    return location.replace(" ", "").lower()
