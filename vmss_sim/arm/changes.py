"""What a client writes of a scale set: the merged resource, and what the world is asked for it.

Rules (recordings C1; API; JSON merge patch, RFC 7396; azure-vmss.md 1.2, 2, 3.1, 3.3):

1. A PUT merges: what it leaves out stays (`az vmss scale` sends location and sku alone). So does a PATCH, where null removes; in a PUT
   null says nothing. Property names compare without case; words of a closed vocabulary too.
2. How lists, tags, identities and images are merged stands in `merging.py`.
3. Nothing read-only is written, and nothing secret is kept: of a secret the world learns a digest, so that another one is another model.
   `userData` is no secret: it is shown to who asks for it (`$expand=userData`, REC).
4. The world is asked for the difference only, so a resource that is put as it was read changes nothing (but it is an update:
   in mode Rolling that starts a rollout). Content of the model: the VM profile and the size.
5. What a set cannot be without (`NEEDED`) cannot be taken away: no capacity would be capacity 0, and every instance gone.
6. Zones may be added, and none taken away (hashicorp/terraform-provider-azurerm #27288; the words: azure-powershell #4704).
7. An update of the mode alone is `set-mode`, one of the capacity alone `set-capacity`, else `update-model`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from vmss_sim.arm import defaults, documents, policies, versions
from vmss_sim.arm.call import missing, refused
from vmss_sim.arm.kinds import typed
from vmss_sim.arm.merging import PATCH, PUT, REPLACED, merged
from vmss_sim.arm.names import canonical
from vmss_sim.arm.sets import ArmSet
from vmss_sim.arm.wire import SECRET
from vmss_sim.world import errors

READ_ONLY = frozenset(
    {
        "provisioningState",
        "uniqueId",
        "timeCreated",
        "etag",
        "systemData",
        "principalId",
        "tenantId",
        "clientId",
        "exactVersion",
    }
)
TOP_READ_ONLY = frozenset({"id", "name", "type"})
QUIET = "adminPassword"
"""A secret that every creation needs and no answer shows: its first appearance may repeat what the set was created with."""
PROFILE = "properties.virtualMachineProfile."
CONTENT = ("sku.name",)
FIXED_OR_GROUP = (
    "properties.singlePlacementGroup",
    "properties.platformFaultDomainCount",
    "properties.orchestrationMode",
)
"""Not content, but the world judges whether they may change."""

NEEDED = (
    "sku",
    "sku.name",
    "sku.capacity",
    "properties.upgradePolicy",
    "properties.upgradePolicy.mode",
    "properties.virtualMachineProfile",
    "properties.virtualMachineProfile.storageProfile",
    "properties.virtualMachineProfile.storageProfile.imageReference",
)
"""Rule 5; of an image only where no disk of the client's own takes its place."""

Document = dict[str, Any]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask the world: kind and arguments; and the resource as it is once that was accepted."""

    kind: str
    args: dict[str, Any]
    document: Document


def whole(one: ArmSet) -> Document:
    """The resource as it stands: what clients wrote, and what is true of it now, whatever version its client speaks."""
    shown, _ = kept(canonical(documents.scale_set(one, versions.NEWEST)))
    made: Document = merged(one.document, shown, PATCH)
    return made


def written(body: Document) -> tuple[Document, dict[str, str]]:
    """A body as it may be kept (rules 1 and 3), and the digests of its secrets by path. Raises Refused."""
    return kept(_as_now(typed(canonical(body))))


def kept(body: Document) -> tuple[Document, dict[str, str]]:
    """The same of a document in ARM's spelling that is known to be sound."""
    secrets: dict[str, str] = {}
    found = _written(body, "", secrets)
    return {key: value for key, value in found.items() if key not in TOP_READ_ONLY}, secrets


def _as_now(body: Document) -> Document:
    """What older api-versions spelled otherwise, as it is spelled now."""
    properties = body.get("properties") or {}
    policy = properties.get("upgradePolicy") or {}
    if "zoneBalanace" in properties:
        properties["zoneBalance"] = properties.pop("zoneBalanace")
    identity = body.get("identity") or {}
    for name in identity.pop("identityIds", None) or ():
        identity.setdefault("userAssignedIdentities", {})[name] = {}
    rolling_policy = policy.get("rollingUpgradePolicy") or {}
    if "batchInstancePercent" in rolling_policy:
        old = rolling_policy.pop("batchInstancePercent")
        rolling_policy.setdefault("maxBatchInstancePercent", old)
    if "automaticOSUpgrade" in policy:
        enabled = policies.At(policy, "properties.upgradePolicy").flag("automaticOSUpgrade")
        del policy["automaticOSUpgrade"]
        automatic = policy.get("automaticOSUpgradePolicy") or {}
        policy["automaticOSUpgradePolicy"] = {"enableAutomaticOSUpgrade": enabled, **automatic}
    return body


def _written(value: Any, path: str, secrets: dict[str, str]) -> Any:
    if isinstance(value, list):
        names = [item.get("name", number) if isinstance(item, dict) else number for number, item in enumerate(value)]
        return [_written(item, f"{path}[{name}]", secrets) for name, item in zip(names, value, strict=True)]
    if not isinstance(value, dict):
        return value
    found: Document = {}
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        if key in SECRET:
            if item is not None:
                secrets[inner] = hashlib.sha256(msgspec.json.encode(item)).hexdigest()[:16]
        elif key in READ_ONLY:
            continue
        elif key in REPLACED:
            found[key] = item
        else:
            found[key] = _written(item, inner, secrets)
    return found


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a document by path; items of a list by their name where they have one."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            name = item.get("name", number) if isinstance(item, dict) else number
            yield from flat(item, f"{path}[{name}]")
    elif value is not None:
        yield path, value


def model_of(document: Document) -> dict[str, Any]:
    """The part of a resource that the world is told of, by path."""
    return {
        path: value
        for path, value in flat(document)
        if path.startswith(PROFILE) or path in CONTENT or path in FIXED_OR_GROUP
    }


def change(old: Document, body: Document, known: dict[str, Any], *, patch: bool) -> Change:
    """What a PUT or PATCH asks for. old: the resource as it stands, whole; known: the world's model. Raises Refused."""
    said, secrets = written(body)
    new = merged(old, said, PATCH if patch else PUT)
    _keeps_needed(old, new)
    rest = new != old and _without_parts(new) != _without_parts(old)
    defaults.fill(new, old)
    defaults.settle(new, said)
    before, after = model_of(old), model_of(new)
    difference = {path: after.get(path) for path in {**before, **after} if before.get(path) != after.get(path)}
    for path, digest in secrets.items():
        if path.startswith(PROFILE) and known.get(path) != digest and not (path.endswith(QUIET) and path not in known):
            difference[path] = digest
    args: dict[str, Any] = {"patch": dict(sorted(difference.items()))} if difference else {}
    for name, read in _PARTS.items():
        now = read(new)
        if now != read(old):
            args[name] = now
    if set(policies.zones(old)) - set(policies.zones(new)):
        raise refused(errors.PROPERTY_FIXED, target="zones", property="zones")
    if set(policies.zones(new)) - set(policies.zones(old)):
        args["places"] = policies.places(new)
    kind = "update-model"
    if not rest and len(args) == 1 and next(iter(args)) in _ALONE:
        kind = _ALONE[next(iter(args))]
    return Change(kind=kind, args=args, document=new)


def _keeps_needed(old: Document, new: Document) -> None:
    """Rule 5. Raises Refused."""
    for path in NEEDED:
        own_disk = path.endswith(".imageReference") and _at(new, f"{path.rpartition('.')[0]}.osDisk.image")
        if not own_disk and _at(new, path) is None and _at(old, path) is not None:
            raise missing(path.removeprefix("properties."))


def _at(document: Document, path: str) -> Any:
    value: Any = document
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


_ALONE = {"mode": "set-mode", "capacity": "set-capacity"}


def _without_parts(document: Document) -> Document:
    """A resource without mode and capacity: what a change of those alone leaves the same."""
    properties = dict(document.get("properties") or {})
    properties["upgradePolicy"] = {
        key: value for key, value in (properties.get("upgradePolicy") or {}).items() if key != "mode"
    }
    sku = {key: value for key, value in (document.get("sku") or {}).items() if key != "capacity"}
    return {**document, "properties": properties, "sku": sku}


_PARTS: dict[str, Any] = {
    "mode": policies.mode,
    "rolling": policies.rolling,
    "auto_os": policies.auto_os,
    "repairs": policies.repairs,
    "capacity": policies.capacity,
    "health": policies.health,
}
"""What the world is told besides the model: argument of an update, and how a document says it."""
