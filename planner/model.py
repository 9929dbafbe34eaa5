"""What a scale set is, as the planner sees it: values only.

Rules this module decides:

1. *In service* (`service`): with a health source, the VM runs and its reported health is `healthy`; without one, the
   VM runs and its provisioning succeeded (Azure's own fall-back; azure-compute-docs, automatic upgrade).
   *Out of service* needs positive evidence: not running, unhealthy, or failed where there is no health source.
   Anything else is *unknown*: never counted as serving, never taken for free. Unknown is not failed.
2. *Placement order* (`placement_key`): zone, placement group, domain, numeric id. Used for every tie, forward and back.
3. *Runs the image* (`runs`): compares what a VM booted (`exactVersion`) with a target; None when it cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec

Struct = msgspec.Struct


class Provisioning(str, Enum):
    """`ProvisioningState` of an instance."""

    SUCCEEDED = "succeeded"
    CREATING = "creating"
    UPDATING = "updating"
    FAILED = "failed"
    DELETING = "deleting"
    UNKNOWN = "unknown"


class Power(str, Enum):
    """`PowerState` of an instance; `unknown` when there is no instance view."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"
    UNKNOWN = "unknown"


class Health(str, Enum):
    """`HealthState` as the platform reports it; `absent` when nothing is reported."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INITIALIZING = "initializing"
    UNKNOWN = "unknown"
    ABSENT = "absent"


class HealthSource(str, Enum):
    """Where the platform learns an instance's health from."""

    EXTENSION = "extension"
    PROBE = "probe"
    HOOK = "hook"  # a command that the plan names, not the platform
    NONE = "none"


class Service(str, Enum):
    """Whether an instance serves: `in`, `out` (positive evidence), or `unknown`."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"


class UpgradeMode(str, Enum):
    """`upgradePolicy.mode`."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    ROLLING = "rolling"


class Orchestration(str, Enum):
    """`orchestrationMode`."""

    UNIFORM = "uniform"
    FLEXIBLE = "flexible"


class Cloud(str, Enum):
    """Which Azure a set is in: one of Microsoft's, or a Resource Manager at an endpoint of somebody's own (Azure Stack, an emulator)."""

    PUBLIC = "public"
    GOVERNMENT = "government"
    CHINA = "china"
    ENDPOINT = "endpoint"


class OperatingSystem(str, Enum):
    """`osDisk.osType`."""

    LINUX = "linux"
    WINDOWS = "windows"
    UNKNOWN = "unknown"


class ImageReference(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """An image: a platform image (publisher, offer, sku, version), an image or gallery id, or a VHD's uri.

    `exact_version` is read-only on the platform: the version a VM really booted, also where `version` is `latest`.
    """

    publisher: str | None = None
    offer: str | None = None
    sku: str | None = None
    version: str | None = None
    exact_version: str | None = None
    id: str | None = None
    uri: str | None = None

    def __str__(self) -> str:
        if self.uri:
            return self.uri
        if self.id:
            return f"{self.id}@{self.exact_version}" if self.exact_version else self.id
        version = self.exact_version or self.version
        return ":".join(part or "?" for part in (self.publisher, self.offer, self.sku, version))


class Instance(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One VM of the set, as observed.

    `id`: instance id (Uniform: decimal, may be re-used; Flexible: the VM's name). `vm_id`: the VM's own identity.
    `image`: what it booted. `latest_model`: `latestModelApplied`, None where the platform does not say.
    `protected`: `protectFromScaleSetActions`. `os_disk`: name of the OS disk, the evidence of a reimage.
    `run_commands`: names of managed run-commands that succeeded, the evidence of a guest patch.
    `upgrade_phase`, `skip_upgrade`: what its custom metrics ask of the platform's own rollouts (PhaseOrderingNumber,
    SkipUpgrade).
    """

    id: str
    vm_id: str = ""
    zone: str | None = None
    placement_group: str | None = None
    update_domain: int | None = None
    fault_domain: int | None = None
    image: ImageReference | None = None
    latest_model: bool | None = None
    provisioning: Provisioning = Provisioning.UNKNOWN
    provisioning_error: str | None = None
    power: Power = Power.UNKNOWN
    health: Health = Health.ABSENT
    protected: bool = False
    scale_in_protected: bool = False
    os_disk: str | None = None
    run_commands: tuple[str, ...] = ()
    upgrade_phase: int | None = None
    skip_upgrade: bool = False


class RollingPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`rollingUpgradePolicy`; percentages of the total (the last one: of the upgraded) instances."""

    max_batch_percent: int = 20
    max_unhealthy_percent: int = 20
    max_unhealthy_upgraded_percent: int = 20
    pause_between_batches_ms: int = 0
    cross_zone: bool = False
    prioritize_unhealthy: bool = False
    rollback_failed: bool = False
    max_surge: bool = False


class AutomaticOsUpgrade(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`automaticOSUpgradePolicy`."""

    enabled: bool = False
    disable_rollback: bool = False
    use_rolling_policy: bool = False
    deferral: bool = False


class AutomaticRepairs(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`automaticRepairsPolicy`, and whether the service is suspended at the moment."""

    enabled: bool = False
    grace_ms: int = 600_000
    action: str = "replace"
    suspended: bool = False


class RollingUpgrade(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`rollingUpgrades/latest`: the last rollout that the platform itself did, as far as it has come.

    code: RollingForward, RollingBack, Cancelled, Completed or Faulted. last_action: Start or Cancel. started_ms, ended_ms: on the
    platform's clock, so they are compared with each other only. error_code, error_message: why it stopped.
    """

    code: str
    last_action: str = "Start"
    started_ms: int | None = None
    ended_ms: int | None = None
    successful: int = 0
    failed: int = 0
    in_progress: int = 0
    pending: int = 0
    error_code: str = ""
    error_message: str = ""

    @property
    def open(self) -> bool:
        """Is it going on?"""
        return self.code in ("RollingForward", "RollingBack")


class Gives(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the model gives an instance, beside image and size: model path to value, read by `planner.arm_json.gives`.

    A list is the names of its members, in order, and has a path for each leaf of each of them. What is kept secret is a digest.
    api_version: with which our own reader read it; empty where somebody else did.
    """

    values: dict[str, Any] = msgspec.field(default_factory=dict)
    api_version: str = ""


class Model(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The scale set's model: what a new instance would be given, and the policies.

    `id`: ARM resource id (empty for an invented set). `unique_id`: the platform's identity of the set.
    `sku`: VM size. `unmanaged_disks`: VHDs in storage accounts (retired in Microsoft's clouds on 2026-03-31). `cloud`: None where
    nobody said it; none of Azure's documents does. `settings`: values at the model paths that a change watches (wire-case, dotted).
    `gives`: what an instance gets of it, beside image and size.
    """

    name: str
    id: str = ""
    unique_id: str = ""
    location: str = ""
    orchestration: Orchestration = Orchestration.UNIFORM
    mode: UpgradeMode = UpgradeMode.MANUAL
    rolling: RollingPolicy | None = None
    auto_os: AutomaticOsUpgrade | None = None
    repairs: AutomaticRepairs | None = None
    image: ImageReference | None = None
    sku: str | None = None
    capacity: int = 0
    zones: tuple[str, ...] = ()
    fault_domain_count: int | None = None
    single_placement_group: bool | None = None
    overprovision: bool | None = None
    zone_balance: bool | None = None
    health_source: HealthSource = HealthSource.NONE
    os: OperatingSystem = OperatingSystem.UNKNOWN
    provisioning: Provisioning = Provisioning.SUCCEEDED
    service_fabric: bool = False
    ephemeral_os_disk: bool = False
    unmanaged_disks: bool = False
    cloud: Cloud | None = None
    etag: str | None = None
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    gives: Gives = Gives()


class ScaleSet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A snapshot: the model, and the instances by id in placement order. Never modified in place.

    rolling_upgrade: the last rollout of the platform's own; None where there was none, or it was not looked at.
    """

    model: Model
    instances: dict[str, Instance]
    rolling_upgrade: RollingUpgrade | None = None


def _service(power: Power, health: Health, provisioning: Provisioning, source: HealthSource) -> Service:
    """Rule 1, as it reads."""
    if power is not Power.RUNNING:
        return Service.UNKNOWN if power is Power.UNKNOWN else Service.OUT
    if source is HealthSource.NONE:
        if provisioning is Provisioning.SUCCEEDED:
            return Service.IN
        return Service.OUT if provisioning is Provisioning.FAILED else Service.UNKNOWN
    if health is Health.HEALTHY:
        return Service.IN
    return Service.OUT if health is Health.UNHEALTHY else Service.UNKNOWN


_SERVICE = {
    (power, health, provisioning, source): _service(power, health, provisioning, source)
    for power in Power
    for health in Health
    for provisioning in Provisioning
    for source in HealthSource
}


def service(instance: Instance, source: HealthSource) -> Service:
    """Rule 1: does this instance serve? Looked up: it is asked for every instance at every look."""
    return _SERVICE[instance.power, instance.health, instance.provisioning, source]


def in_service(scale_set: ScaleSet, source: HealthSource) -> int:
    """How many instances serve: rule 1 over a whole snapshot, written out since it runs for every command."""
    running, healthy, succeeded = Power.RUNNING, Health.HEALTHY, Provisioning.SUCCEEDED
    if source is HealthSource.NONE:
        return len(
            [1 for one in scale_set.instances.values() if one.provisioning is succeeded and one.power is running]
        )
    return len([1 for one in scale_set.instances.values() if one.health is healthy and one.power is running])


def id_key(instance_id: str) -> tuple[int, int, str]:
    """Numeric ids in numeric order, before names in text order."""
    return (0, int(instance_id), "") if instance_id.isdecimal() else (1, 0, instance_id)


def placement_key(instance: Instance) -> tuple[Any, ...]:
    """Rule 2: zone, placement group, update domain, fault domain, numeric id; what is not known sorts first."""
    return (
        id_key(instance.zone or ""),
        instance.placement_group or "",
        -1 if instance.update_domain is None else instance.update_domain,
        -1 if instance.fault_domain is None else instance.fault_domain,
        id_key(instance.id),
    )


def scale_set(model: Model, instances: Iterable[Instance]) -> ScaleSet:
    """A snapshot with its instances in placement order. Raises ValueError naming an id that stands twice."""
    ordered = sorted(instances, key=placement_key)
    by_id = {instance.id: instance for instance in ordered}
    if len(by_id) != len(ordered):
        seen: set[str] = set()
        for instance in ordered:
            if instance.id in seen:
                raise ValueError(instance.id)
            seen.add(instance.id)
    return ScaleSet(model=model, instances=by_id)


def _same(left: str | None, right: str | None) -> bool:
    return (left or "").lower() == (right or "").lower()


def runs(booted: ImageReference | None, target: ImageReference) -> bool | None:
    """Rule 3: does a VM that booted `booted` run `target`? None when the platform did not say enough.

    ARM compares names without case. A target whose version is `latest` and not resolved cannot be confirmed.
    """
    if booted is target:
        booted_exact = target.exact_version or target.version
        return None if booted_exact in (None, "latest") and not (target.id or target.uri) else True
    if booted is None:
        return None
    if target.uri or booted.uri:
        return _same(target.uri, booted.uri)
    if target.id or booted.id:
        if target.id is None or booted.id is None:
            return False
        wanted, got = target.id.rstrip("/").lower(), booted.id.rstrip("/").lower()
        if wanted != got:
            # A VM booted from a gallery image without a version reports the image's id and its exactVersion.
            definition, _, version = wanted.rpartition("/versions/")
            if definition and got == definition:
                return None if booted.exact_version is None else _same(booted.exact_version, version)
            return False
        if target.exact_version is None:
            return True
        return None if booted.exact_version is None else _same(booted.exact_version, target.exact_version)
    if not (
        _same(booted.publisher, target.publisher)
        and _same(booted.offer, target.offer)
        and _same(booted.sku, target.sku)
    ):
        return False
    wanted_version = target.exact_version or target.version
    got_version = booted.exact_version or booted.version
    if wanted_version is None or wanted_version.lower() == "latest":
        return None
    if got_version is None or got_version.lower() == "latest":
        return None
    return _same(wanted_version, got_version)
