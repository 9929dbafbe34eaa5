"""What clients look up about images, quotas and VM sizes.

*Images* are those in play: what instances run or ran, what the model names, what `latest` means now, and what the scenario upgrades to.

A model that names another version of a platform image that a scenario upgrades to is refused, as by Azure (404 PlatformImageNotFound;
code, status and sentence as users report them: hashicorp/packer#10600, pulumi/pulumi#5450). Of other images nothing is known, and any
version is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vmss_sim.arm import catalogue
from vmss_sim.arm.http import Refused, Request, Response
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.site import Site
from vmss_sim.world.config import Image
from vmss_sim.world.images import IMAGE, image_of

Names = dict[str, str]


def _listed(values: Iterable[Any]) -> Response:
    return Response(status=200, body={"value": list(values)})


def in_play(site: Site) -> dict[tuple[str, str, str], list[str]]:
    """Versions by publisher, offer and sku, in the order of their numbers."""
    found: dict[tuple[str, str, str], set[str]] = {}
    spelt: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    candidates: list[tuple[Image | None, str | None]] = [(one, None) for one in site.images]
    for each in site.sets:
        world = each.world
        candidates += [(vm.image, None) for vm in (*world.vms.values(), *world.gone)]
        candidates.append((world.model_image, world.latest))
    for config in (*site.hosted, *(each.world.config for each in site.sets)):
        candidates += [(machine.image, None) for machine in config.machines]
        candidates.append((image_of(config.model, config.latest), config.latest))
    for image, latest in candidates:
        if image is None or not (image.publisher and image.offer and image.sku):
            continue
        named = (image.publisher, image.offer, image.sku)
        key = spelt.setdefault((named[0].lower(), named[1].lower(), named[2].lower()), named)
        versions = (image.exact, image.version, latest)
        found.setdefault(key, set()).update(one for one in versions if one and one.lower() != "latest")
    return {key: sorted(versions, key=by_number) for key, versions in sorted(found.items())}


def require_version(site: Site, model: Mapping[str, Any]) -> None:
    """The version of a platform image that a model names is there. Raises Refused."""
    publisher, offer, sku, version = named = [str(model.get(IMAGE + one) or "") for one in _PARTS]
    key = (publisher.lower(), offer.lower(), sku.lower())
    known = {tuple(str(part or "").lower() for part in (one.publisher, one.offer, one.sku)) for one in site.images}
    if not site.versions_known or not all(named) or version.lower() == "latest" or key not in known:
        return
    there = next(found for parts, found in in_play(site).items() if tuple(part.lower() for part in parts) == key)
    if version not in there:
        raise Refused(
            404,
            "PlatformImageNotFound",
            f"The platform image '{':'.join(named)}' is not available. Verify that all fields in the storage profile are correct. "
            "For more details about storage profile information, please refer to https://aka.ms/storageprofile",
            "imageReference",
        )


_PARTS = ("publisher", "offer", "sku", "version")


def by_number(version: str) -> tuple[tuple[int, str], ...]:
    """The order of versions, the newest last."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in version.split("."))


def images(request: Request, site: Site, names: Names) -> Response:
    """One level of the tree publisher, offer, sku, version."""
    base = (
        f"/Subscriptions/{names['subscription']}/Providers/Microsoft.Compute/Locations/{names['location']}/Publishers"
    )
    asked = [names.get(one) for one in ("publisher", "offer", "sku")]
    named = [one for one in asked if one is not None]
    rows = [
        (*key, version)
        for key, versions in in_play(site).items()
        for version in versions
        if all(one.lower() == name.lower() for one, name in zip(key, named, strict=False))
    ]
    if named and not rows:
        raise Refused(404, "NotFound", f"Artifact: {' '.join(named)} was not found.")
    if "version" in names:
        return Response(status=200, body=_image(base, names, rows))
    depth = len(named)
    listed = [
        {"location": names["location"], "name": row[depth], "id": _image_id(base, row[: depth + 1])}
        for row in dict.fromkeys(row[: depth + 1] for row in rows)
    ]
    if request.query.get("$orderby", "").lower() == "name desc":
        listed.reverse()
    top = request.query.get("$top", "")
    return Response(status=200, body=listed[: int(top)] if top.isdecimal() else listed)


def _image_id(base: str, row: tuple[str, ...]) -> str:
    words = ("", "/ArtifactTypes/VMImage/Offers", "/Skus", "/Versions")
    return base + "".join(f"{word}/{name}" for word, name in zip(words, row, strict=False))


def _image(base: str, names: Names, rows: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    wanted = names["version"].lower()
    row = rows[-1] if wanted == "latest" else next((one for one in rows if one[3].lower() == wanted), None)
    if row is None:
        raise Refused(404, "NotFound", f"Artifact: VMImage {names['version']} was not found.")
    windows = "windows" in f"{row[0]}{row[1]}{row[2]}".lower()
    return {
        "location": names["location"],
        "name": row[3],
        "id": _image_id(base, row),
        "properties": {
            "architecture": "x64",
            "hyperVGeneration": "V2" if "gen2" in row[2].lower() else "V1",
            "replicaType": "Managed",
            "osDiskImage": {"operatingSystem": "Windows" if windows else "Linux", "sizeInGb": 127 if windows else 31},
            "dataDiskImages": [],
            "features": [],
            "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": True},
            "imageDeprecationStatus": {"imageState": "Active"},
        },
    }


def usages(_request: Request, site: Site, names: Names) -> Response:
    """What of the region's quotas is used."""
    here = [one for one in site.sets if one.location.lower() == names["location"].lower()]
    vms = sum(len(one.world.vms) for one in here)
    cores = sum(len(one.world.vms) * one.world.config.cores_per_vm for one in here)
    limits = [one.world.config.quota_cores for one in here if one.world.config.quota_cores is not None]
    limit = min(limits, default=100_000)
    rows = (
        ("cores", "Total Regional vCPUs", cores, limit),
        ("lowPriorityCores", "Total Regional Low-priority vCPUs", 0, limit),
        ("virtualMachines", "Virtual Machines", vms, 25_000),
        ("virtualMachineScaleSets", "Virtual Machine Scale Sets", len(here), 2_500),
        *((family, _words(family), used, limit) for family, used in _by_family(here).items()),
    )
    return _listed(
        {
            "unit": "Count",
            "currentValue": used,
            "limit": most,
            "name": {"value": name, "localizedValue": words},
        }
        for name, words, used, most in rows
    )


def _by_family(here: Iterable[ArmSet]) -> dict[str, int]:
    """Cores in use of every family of sizes that there is."""
    used = {row.family: 0 for row in catalogue.SIZES.values()}
    for one in here:
        size = catalogue.SIZES.get(str((one.document.get("sku") or {}).get("name", "")))
        if size is not None:
            used[size.family] += len(one.world.vms) * one.world.config.cores_per_vm
    return used


def _words(family: str) -> str:
    """`standardDSv5Family` as people read it: Standard DSv5 Family vCPUs."""
    return f"Standard {family.removeprefix('standard').removesuffix('Family')} Family vCPUs"


def sizes(_request: Request, _site: Site, _names: Names) -> Response:
    """VM sizes."""
    return _listed(
        {
            "name": name,
            "numberOfCores": size.cores,
            "memoryInMB": size.memory,
            "osDiskSizeInMB": 1_047_552,
            "resourceDiskSizeInMB": size.memory * 2,
            "maxDataDiskCount": size.cores * 4,
        }
        for name, size in catalogue.SIZES.items()
    )


def resource_skus(request: Request, site: Site, _names: Names) -> Response:
    """VM sizes, as `Microsoft.Compute/skus` tells them; `$filter` knows the location alone, as in Azure."""
    wanted = re.fullmatch(r"\s*location eq '([^']*)'\s*", request.query.get("$filter", ""), re.I)
    places = [wanted[1]] if wanted else list(dict.fromkeys(one.location for one in site.sets))
    return _listed(
        {
            "resourceType": "virtualMachines",
            "name": name,
            "tier": "Standard",
            "size": name.removeprefix("Standard_"),
            "family": size.family,
            "locations": places,
            "locationInfo": [{"location": one, "zones": ["1", "2", "3"], "zoneDetails": []} for one in places],
            "capabilities": [
                {"name": "vCPUs", "value": str(size.cores)},
                {"name": "MemoryGB", "value": f"{size.memory / 1024:g}"},
                {"name": "HyperVGenerations", "value": "V1,V2"},
                {"name": "PremiumIO", "value": "True"},
            ],
            "restrictions": [],
        }
        for name, size in catalogue.SIZES.items()
    )
