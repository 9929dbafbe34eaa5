"""Who may ask for what: every refusal of the platform, in the order in which it is decided. Refused requests change nothing.

Rules (errors: `errors.py`; sources in docs/azure-rules.md):

1. Throttles first, then the etag, then ids, then what the set's kind and mode allow, then limits and quota, then conflicts.
2. `*` means all instances and must stand alone; no ids mean all, where the API allows it.
3. Instance protection keeps scale-set actions away from an instance, not operations that name it otherwise; what
   naming it in a manualupgrade does is undocumented (`Platform.protected_named`).
4. A set in mode Rolling needs a health source, and so do repairs. Automatic OS upgrade needs `latest`. What works on which
   orchestration mode is `operations.MODES`.
5. Starting a deallocated VM takes cores again. A single placement group can be given up, and never comes back.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from vmss_sim.world import errors
from vmss_sim.world.config import AutoOs, RollingPolicy
from vmss_sim.world.errors import OPERATION, AzureError
from vmss_sim.world.images import IMAGE, leaves_version_open
from vmss_sim.world.operations import NEEDS_IDS, ON_SET, SCALE_SET_ACTIONS, VM_TABLE, works
from vmss_sim.world.throttle import Throttled
from vmss_sim.world.vm import Operation, Reply

if TYPE_CHECKING:
    from vmss_sim.world.scale_set import World

_BUSY_UNTIL, _PROTECTED = attrgetter("busy_until"), attrgetter("protected")
MOST = 1000
MOST_CUSTOM_IMAGE = 600
MOST_ONE_GROUP = 100
"""DOC-limits, DOC-pg: of platform and gallery images, of other custom images, in a single placement group."""
FIXED = ("platformFaultDomainCount", "priority", "orchestrationMode")
"""Properties that cannot change (REC, azure-docs #108952)."""
EVICTED = frozenset({"low", "spot"})
"""Two names of one priority: the first is the older one, and may become the other (REC 2020-07-20: 200)."""
_ORIGIN = (IMAGE + "publisher", IMAGE + "offer")
GRACE_MS = (600_000, 5_400_000)
"""`automaticRepairsPolicy.gracePeriod`: PT10M to PT90M (DOC-repairs)."""
RANGES = (
    ("max_batch_percent", 5, "maxBatchInstancePercent"),
    ("max_unhealthy_percent", 5, "maxUnhealthyInstancePercent"),
    ("max_unhealthy_upgraded_percent", 0, "maxUnhealthyUpgradedInstancePercent"),
)
"""Least values of the rolling policy's percentages (azure-mgmt-compute 34.1 model validation), and Azure's names; 100 at most."""


class Admitted(NamedTuple):
    """A request that is accepted: the instances it acts on, and which of those another operation holds."""

    ids: tuple[str, ...]
    busy: tuple[str, ...]


def judge(world: World, kind: str, ids: tuple[str, ...], args: dict[str, Any]) -> Reply | Admitted:
    """The refusal of a request, or what it acts on. `args` loses what only admission needs (`if_match`)."""
    if world.buckets is not None:
        taken = world.buckets.take(
            kind,
            world.now,
            vms=len(ids) if ids and "*" not in ids else len(world.vms),
            resource=ids[0] if kind in ("protect", "run-command") and len(ids) == 1 else "",
        )
        if isinstance(taken, Throttled):
            return _refuse(errors.TOO_MANY_REQUESTS, retry_after_ms=taken.retry_after_ms)
    etag = args.pop("if_match", None)
    if etag is not None and etag != world.etag:
        return _refuse(errors.PRECONDITION_FAILED, given=f'"{etag}"', current=f'"{world.etag}"')
    if world.going:
        return _refuse(errors.CONFLICT)
    refusal = _ids(world, kind, ids) or _kind(world, kind, ids, args) or _limits(world, kind, ids, args)
    if refusal is None and kind in ON_SET:
        return _rollout_conflict(world, kind) or Admitted((), ())
    if refusal is not None:
        return refusal
    chosen = targets(world, kind, ids)
    if kind not in VM_TABLE and kind != "delete":
        return Admitted(chosen, ())
    busy = busy_of(world, chosen)
    return (_conflict(world, kind, busy) if busy else None) or Admitted(chosen, busy)


def busy_of(world: World, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Those that another operation holds; a VM that is being deleted is held until it is gone."""
    vms, now = world.vms, world.now
    if max(map(_BUSY_UNTIL, map(vms.__getitem__, ids)), default=-1) < now:
        return ()  # nearly always: asked once for all of a large batch
    return tuple([one for one in ids if vms[one].busy_until > now or vms[one].provisioning == "deleting"])


def targets(world: World, kind: str, ids: tuple[str, ...]) -> tuple[str, ...]:
    """The instances a request acts on, each once (rules 2 and 3)."""
    if kind in ON_SET:
        return ()
    named = bool(ids) and ids != ("*",)
    chosen = tuple(dict.fromkeys(ids if named else world.vms))
    if kind not in SCALE_SET_ACTIONS or (named and world.config.platform.protected_named != "skip"):
        return chosen  # named ones that are protected have been refused, or are not protected from this
    vms = world.vms
    return tuple([one for one in chosen if not vms[one].protected])


def accepted_status(kind: str) -> int:
    """HTTP status of an accepted request (REC): 200 for updates of the set and of an instance's model, else 202."""
    if kind == "create-set":
        return 201
    return 200 if kind in ("update-model", "set-mode", "set-capacity", "protect") else 202


def refused(world: World, code: str, kind: str, retry_after_ms: int | None = None) -> Reply:
    """A refusal with this code, because a fault says so."""
    if code in ("TooManyRequests", "429"):
        row: AzureError | None = errors.TOO_MANY_REQUESTS
    elif code == "Quota":
        row = errors.QUOTA
    else:
        row = next((one for one in errors.rows_of(code) if one.status != OPERATION and not one.fields), None)
    if row is errors.QUOTA:
        return _over_quota(world, world.config.cores_per_vm, retry_after_ms)
    if row is None:  # unknown, or worded with what only the caller knows
        status = next((one.http_status for one in errors.rows_of(code) if one.status != OPERATION), 409)
        return Reply("refused", code=code, retry_after_ms=retry_after_ms, status=status, message=f"{kind}: {code}")
    return _refuse(row, code=code, retry_after_ms=retry_after_ms)


def message(code: str, operation: Operation) -> str:
    """Azure's words for an operation that failed with this code; the code itself where none are known."""
    for row in errors.rows_of(code):
        known = {"vm": operation.ids[0] if operation.ids else ""}
        if row.status == OPERATION and set(row.fields) <= set(known):
            return row.sentence(**{name: known[name] for name in row.fields})
    return code


def _refuse(row: AzureError, retry_after_ms: int | None = None, code: str = "", **fields: object) -> Reply:
    return Reply(
        "refused",
        code=code or row.code,
        retry_after_ms=retry_after_ms,
        status=row.http_status,
        message=row.sentence(**fields),
    )


def _ids(world: World, kind: str, ids: tuple[str, ...]) -> Reply | None:
    if kind in ON_SET:
        return None
    if "*" in ids:
        return None if ids == ("*",) else _refuse(errors.STAR_NOT_ALONE)
    if not ids and kind in NEEDS_IDS:
        return _refuse(errors.VALUE_OUT_OF_RANGE, parameter="instanceIds")
    vms = world.vms
    if vms.keys() >= frozenset(ids):
        return None
    return _refuse(errors.INSTANCE_UNKNOWN, id=next(one for one in ids if one not in vms))


def _said(kind: str) -> str:
    """A kind as Azure's own paths name it."""
    return "manualupgrade" if kind == "upgrade" else kind.replace("-", "")


def _kind(world: World, kind: str, ids: tuple[str, ...], args: dict[str, Any]) -> Reply | None:
    config, options = world.config, world.config.platform
    if config.flexible and not works(kind, True, options):
        asked = "VirtualMachineScaleSets.ManualUpgrade.POST" if kind == "upgrade" else _said(kind)
        return _refuse(errors.NOT_ON_FLEXIBLE, operation=asked, name=config.name)
    if kind in SCALE_SET_ACTIONS and options.protected_named == "refuse" and ids != ("*",):
        vms = world.vms
        if any(map(_PROTECTED, map(vms.__getitem__, ids))):
            return _refuse(errors.PROTECTED, operation=_said(kind), id=next(one for one in ids if vms[one].protected))
    if kind == "os-rolling-upgrade":
        if world.mode != "rolling" and options.os_rolling_needs_mode:
            return _refuse(errors.OS_ROLLING_NEEDS_MODE)
        if not world.on_latest:
            return _refuse(errors.OS_ROLLING_NEEDS_LATEST)
    if kind == "cancel-rolling-upgrade" and not world.rollouts.running:
        return _refuse(errors.NO_ROLLOUT_TO_CANCEL)
    if kind in _UPDATES or kind == "create-set":
        return _update(world, args) or _repairs(world, args)
    if kind == "protect":
        both = args.get("protected", False), args.get("scale_in_protected", True)
        if both == (True, False):  # DOC-protect: the wider protection includes the other
            return _refuse(errors.VALUE_OUT_OF_RANGE, parameter="protectionPolicy.protectFromScaleIn")
    return None


def _reports_health(world: World, args: dict[str, Any]) -> bool:
    """Rule 4: a health source that the set's orchestration mode knows; a probe does not do on a Flexible set (DOC-rolling)."""
    config = world.config
    source = args["health"].source if "health" in args else config.health
    return source != "none" and works(f"health: {source}", config.flexible, config.platform)


def _repairs(world: World, args: dict[str, Any]) -> Reply | None:
    """What `automaticRepairsPolicy` may say (DOC-repairs)."""
    old, new = world.repairs, args.get("repairs", world.repairs if "health" in args else None)
    if new is None or not new.enabled:
        return None
    if not _reports_health(world, args):
        return _refuse(errors.REPAIRS_NEED_HEALTH)
    if not GRACE_MS[0] <= new.grace_ms <= GRACE_MS[1]:
        return _refuse(errors.VALUE_OUT_OF_RANGE, parameter="automaticRepairsPolicy.gracePeriod")
    if old.enabled and old.action != new.action:
        return _refuse(errors.REPAIR_ACTION_FIXED, name=world.config.name)
    return None


def _same(old: Any, new: Any) -> bool:
    return bool(old == new) or {str(old).lower(), str(new).lower()} <= EVICTED


def _update(world: World, args: dict[str, Any]) -> Reply | None:
    config = world.config
    for path in args.get("patch", {}):
        fixed = next((one for one in FIXED if path.rpartition(".")[2] == one), None)
        if config.platform.publisher_fixed and path in _ORIGIN:
            fixed = path.partition("storageProfile.")[2]
        if fixed is not None and not _same(world.model.get(path), args["patch"][path]):
            return _refuse(errors.PROPERTY_FIXED, property=fixed)
    if args.get("patch", {}).get(GROUP) and not one_group(world):
        return _refuse(errors.PROPERTY_FIXED, property=GROUP.rpartition(".")[2])
    asked = "mode" in args or "health" in args
    if args.get("mode", world.mode) == "rolling" and asked and not _reports_health(world, args):
        return _refuse(errors.ROLLING_NEEDS_HEALTH)
    policy: RollingPolicy = args.get("rolling", world.rolling_policy)
    for name, least, told in RANGES if "rolling" in args else ():
        if not least <= getattr(policy, name) <= 100:
            return _refuse(errors.VALUE_OUT_OF_RANGE, parameter=f"upgradePolicy.rollingUpgradePolicy.{told}")
    rollback = works("rollbackFailedInstancesOnPolicyBreach", config.flexible, config.platform)
    if "rolling" in args and policy.rollback_failed and not rollback:
        return _refuse(errors.ROLLBACK_ON_FLEXIBLE, name=config.name)
    auto: AutoOs = args.get("auto_os", world.auto_os)
    if not auto.enabled:
        return None
    model = {**world.model, **args.get("patch", {})}
    if not leaves_version_open(model):
        return _refuse(errors.AUTO_OS_NEEDS_LATEST)
    if model.get(_WINDOWS_UPDATES) is True:
        return _refuse(errors.AUTO_OS_WINDOWS_UPDATES)
    if any(model.get(path) == "AutomaticByPlatform" for path in _PATCH_MODES):
        return _refuse(errors.AUTO_OS_PATCH_MODE)
    if ("auto_os" in args or "health" in args) and not _reports_health(world, args):
        return _refuse(errors.ROLLING_NEEDS_HEALTH)
    if policy.max_surge and not works("automatic OS upgrade with maxSurge", config.flexible, config.platform):
        return _refuse(errors.SURGE_ON_FLEXIBLE, name=config.name)
    if "auto_os" in args and not works("automatic OS upgrade", config.flexible, config.platform):
        return _refuse(errors.NOT_ON_FLEXIBLE, operation="AutomaticOSUpgrade", name=config.name)
    return None


_WINDOWS_UPDATES = "properties.virtualMachineProfile.osProfile.windowsConfiguration.enableAutomaticUpdates"
_PATCH_MODES = tuple(
    f"properties.virtualMachineProfile.osProfile.{one}Configuration.patchSettings.patchMode"
    for one in ("windows", "linux")
)
GROUP = "properties.singlePlacementGroup"


def one_group(world: World) -> bool:
    """Is the set a single placement group (DOC-pg)? An update of the model may have ended that."""
    return bool(world.model.get(GROUP, world.config.single_placement_group))


def most_instances(world: World) -> int:
    """How many instances the set may have."""
    if one_group(world):
        return MOST_ONE_GROUP
    image = world.model_image
    custom = image is not None and bool(image.uri or (image.id and "/galleries/" not in image.id.lower()))
    return MOST_CUSTOM_IMAGE if custom else MOST


def free_for(world: World, more: int) -> bool:
    """Whether cores, addresses and the set's limit suffice for so many more VMs. Deallocated VMs hold no cores."""
    config = world.config
    if len(world.vms) + more > most_instances(world):
        return False
    if config.quota_cores is not None and (_cores(world) + more * config.cores_per_vm) > config.quota_cores:
        return False
    return config.addresses is None or len(world.vms) + more <= config.addresses


def _cores(world: World) -> int:
    return sum(world.settled(vm).power != "deallocated" for vm in world.vms.values()) * world.config.cores_per_vm


def _over_quota(world: World, requested: int, retry_after_ms: int | None = None) -> Reply:
    return _refuse(
        errors.QUOTA,
        retry_after_ms=retry_after_ms,
        allowed=world.config.quota_cores,
        used=_cores(world),
        requested=requested,
    )


def _limits(world: World, kind: str, ids: tuple[str, ...], args: dict[str, Any]) -> Reply | None:
    config = world.config
    boots = kind in VM_TABLE and VM_TABLE[kind].power == "running"
    if boots and config.quota_cores is not None:
        cold = sum(world.settled(world.vms[one]).power == "deallocated" for one in targets(world, kind, ids))
        if cold and _cores(world) + cold * config.cores_per_vm > config.quota_cores:
            return _over_quota(world, cold * config.cores_per_vm)
    capacity = args.get("capacity")
    if capacity is None or kind not in ("set-capacity", "update-model", "create-set"):
        return None
    if not 0 <= int(capacity) <= most_instances(world):
        return _refuse(errors.VALUE_OUT_OF_RANGE, parameter="sku.capacity")
    more = int(capacity) - len(world.counted())
    if more > 0 and config.addresses is not None and len(world.vms) + more > config.addresses:
        return _refuse(errors.SUBNET_FULL, needed=more)
    if more > 0 and not free_for(world, more):
        return _over_quota(world, more * config.cores_per_vm)
    return None


def _rollout_conflict(world: World, kind: str) -> Reply | None:
    if not world.rollouts.running:
        conflicts = kind in _UPDATES and world.config.platform.concurrent_update == "conflict" and _being_updated(world)
        return _refuse(errors.CONFLICT) if conflicts else None
    starts = kind in ("os-rolling-upgrade", "extension-rolling-upgrade")
    updates = kind in _UPDATES and world.config.platform.put_during_rollout == "conflict"
    return _refuse(errors.ROLLOUT_RUNNING, name=world.config.name) if starts or updates else None


def _conflict(world: World, kind: str, busy: tuple[str, ...]) -> Reply | None:
    """May an operation start on VMs that others hold (`Platform.overlap`)?"""
    overlap = world.config.platform.overlap
    if overlap == "queue":
        return None
    for vm in [world.vms[one] for one in busy]:
        if vm.provisioning == "deleting":
            return _refuse(errors.INSTANCE_UNKNOWN, id=vm.id)
        other = kind == "upgrade" and vm.effect is not None and vm.effect.content != world.content
        if overlap != "coalesce" or other or not _same_kind(vm.doing, kind):
            return _refuse(errors.CONFLICT)
    return None


_UPDATES = ("update-model", "set-mode")


def _being_updated(world: World) -> bool:
    return any(one.kind in _UPDATES for one in world.running.values())


def _same_kind(doing: str, kind: str) -> bool:
    return doing == kind or (kind == "upgrade" and doing == "upgrade-delta")
