"""Which image a model names (DOC-modify, DOC-autoos, API; sources in docs/azure-rules.md).

1. A custom VHD (`osDisk.image.uri`) is an image of its own. Else `imageReference`: a platform image, or an id (managed image,
   gallery, shared or community gallery).
2. The version is left to the platform where it is `latest`, or where a gallery image is named without a version. It is
   resolved when a VM is created or its OS disk replaced, never in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmss_sim.world.config import Image

IMAGE = "properties.virtualMachineProfile.storageProfile.imageReference."
URI = "properties.virtualMachineProfile.storageProfile.osDisk.image.uri"
_IDS = ("id", "sharedGalleryImageId", "communityGalleryImageId")
_PARTS = ("publisher", "offer", "sku", "version")


def image_of(model: Mapping[str, Any], latest: str | None, exact: str | None = None) -> Image | None:
    """The image a VM with this model boots (rule 1). latest: the newest version; exact: this version instead."""
    if URI in model:
        return Image(uri=model[URI])
    parts = {name: model.get(IMAGE + name) for name in _PARTS}
    image_id = _id(model)
    if image_id is None and not any(parts.values()):
        return None
    if exact is None:
        exact = latest if leaves_version_open(model) else parts["version"]
    return Image(id=image_id, exact=exact, **parts)


def leaves_version_open(model: Mapping[str, Any]) -> bool:
    """Rule 2."""
    image_id = "" if URI in model else (_id(model) or "").lower()
    if image_id:
        return "galleries/" in image_id and "/versions/" not in image_id
    return URI not in model and str(model.get(IMAGE + "version")).lower() == "latest"


def _id(model: Mapping[str, Any]) -> str | None:
    return next((model[IMAGE + one] for one in _IDS if model.get(IMAGE + one)), None)
