"""What a world is made from: data only. Everything undocumented about the platform is an option here, with its default.

Durations are distributions from `timings.py`; times are integer milliseconds. DOC-x, REC and API in the comments are the
sources listed in docs/azure-rules.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from vmss_sim.world.faults import Disturbance
from vmss_sim.world.timings import Constant, Timing


class _Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the configuration values."""


class Image(_Config, frozen=True, kw_only=True):
    """An image as ARM writes it; `exact` is the version really booted."""

    publisher: str | None = None
    offer: str | None = None
    sku: str | None = None
    version: str | None = None
    exact: str | None = None
    id: str | None = None
    uri: str | None = None


class Machine(_Config, frozen=True, kw_only=True):
    """One VM at the start. `health`: healthy, unhealthy, initializing, unknown or absent, as the platform would report it.

    phase, skip_upgrade: what its custom metrics say (PhaseOrderingNumber, SkipUpgrade; DOC-metrics).
    """

    id: str
    vm_id: str
    image: Image | None
    zone: str | None = None
    placement_group: str | None = None
    update_domain: int | None = None
    fault_domain: int | None = None
    latest: bool = True
    power: str = "running"
    provisioning: str = "succeeded"
    health: str = "healthy"
    protected: bool = False
    scale_in_protected: bool = False
    os_disk: str = ""
    phase: int | None = None
    skip_upgrade: bool = False


class Timings(_Config, frozen=True, kw_only=True):
    """operations: by kind, from acceptance to the end of one VM's (or the set's) operation. ready: from there until the
    application serves. probe_ms: how long the health source needs to notice a change (interval x number of probes;
    5 s x 1 by default, DOC-health).
    """

    operations: dict[str, Timing]
    ready: Timing = Constant(seconds=0)
    probe_ms: int = 5_000


class Failures(_Config, frozen=True, kw_only=True):
    """What goes wrong by itself.

    upgrade: probability that the operation on one VM fails. becomes: `dead` (out of service until touched again) or
    `old-image` (back on what it booted before, serving again).
    bad_share: share of instances that cannot live with the new image; bad_after_ms: how long they serve before it shows
    (0: they never become healthy). slow: how many times longer the application takes to serve on the new image.
    mttf_ms, mttr: background failures of serving VMs, exponential; None for none. background_becomes: `repaired` or
    `old-image` (relaunched from the image it had at the start). background_hits: `all` or `upgraded` VMs.
    ageing_ms: mean time, exponential, from an operation or a repair until a VM becomes failure-prone; only then it fails
    (Huang et al. 1995). None: it is failure-prone from the start.
    """

    upgrade: float = 0.0
    becomes: str = "dead"
    bad_share: float = 0.0
    bad_after_ms: int = 0
    slow: float = 1.0
    mttf_ms: float | None = None
    mttr: Timing = Constant(seconds=1800)
    background_becomes: str = "repaired"
    background_hits: str = "all"
    ageing_ms: float | None = None

    @property
    def of_operations(self) -> bool:
        """Can an operation on a VM go other than it should?"""
        return self.upgrade > 0 or self.bad_share > 0 or self.slow != 1.0


class RollingPolicy(_Config, frozen=True, kw_only=True):
    """`rollingUpgradePolicy` (DOC-rolling, API). Percentages of all instances; the third of the upgraded ones."""

    max_batch_percent: int = 20
    max_unhealthy_percent: int = 20
    max_unhealthy_upgraded_percent: int = 20
    pause_ms: int = 0
    cross_zone: bool = False
    prioritize_unhealthy: bool = False
    rollback_failed: bool = False
    max_surge: bool = False


class AutoOs(_Config, frozen=True, kw_only=True):
    """`automaticOSUpgradePolicy` (DOC-autoos), and the maintenance window.

    window_ms: (start within a recurrence, length, recurrence), counted from the world's beginning; batches start only
    within it (DOC-maint: recurrence up to 7 days, length 5 hours or more). None: always.
    """

    enabled: bool = False
    disable_rollback: bool = False
    use_rolling_policy: bool = False
    deferral: bool = False
    window_ms: tuple[int, int, int] | None = None


class Repairs(_Config, frozen=True, kw_only=True):
    """`automaticRepairsPolicy` (DOC-repairs). action: replace, reimage or restart. suspended: the service at the start."""

    enabled: bool = False
    grace_ms: int = 600_000
    action: str = "replace"
    suspended: bool = False


class Health(_Config, frozen=True, kw_only=True):
    """The health source as a model names it: extension, rich, probe or none; see `WorldConfig` for the rest."""

    source: str = "none"
    grace_ms: int | None = None
    protocol: str = "http"
    probe_ms: int = 0


class Platform(_Config, frozen=True, kw_only=True):
    """What the platform's documentation leaves open, or only recordings show; each with the answer chosen.

    tick: a batch of a rolling upgrade ends at a multiple of this (REC: 60 s). batch: what a batch takes beside
    (REC: 0.3 to 0.5 s). health_wait: how long a batch waits for health (DOC-autoos: 5 min there; elsewhere undocumented).
    first_check: what an update in mode Rolling takes before its first batch, and where nothing is stale (REC: 60 s).
    no_signal_wait: how long an extension rollout waits where nothing reports health (REC: 600 s).
    no_signal_counts: what an instance without a signal counts for after that: `healthy` (REC), or `unhealthy` (REC 2021-04).
    count_in_flight: VMs in flight count as unhealthy (REC: 20 % of 2 VMs completes, so no).
    shrink_by_unhealthy: unhealthy instances outside a batch make it smaller (API: "can cause the percentage to decrease";
    by how much is undocumented).
    cancel_batch: on cancel the operations in flight `complete` first, or are `abandoned` (nothing waits for them).
    put_during_rollout: a model update during a rolling upgrade `restarts` it over what is stale, or is refused
    (`conflict`).
    concurrent_update: an update of a set that is being updated is `accepted`, or refused (`conflict`, onefuzz #2124).
    publisher_fixed: publisher and offer of the image cannot change (API: only set at creation; no refusal was recorded).
    overlap: an operation of the same kind on a VM that is busy with one joins it (`coalesce`, REC 2023), waits its turn
    (`queue`) or is refused (`conflict`); other kinds are refused unless it says `queue`.
    protected_named: an instance protected from scale-set actions and named in a scale-set call is an error (`refuse`), is
    left alone (`skip`) or not protected from that (`act`).
    flexible_manual_upgrade: Flexible sets accept manualupgrade (DOC-manual says so; REC 2021 shows 409).
    flexible_auto_os: Flexible sets accept automatic OS upgrade (REC 2024-08-26: 200, and it shows; DOC-modes, older, says no).
    manual_auto_os: automatic OS upgrade works in mode Manual (DOC-autoos; a reviewer of the API says no).
    os_rolling_needs_mode: osRollingUpgrade is refused unless the mode is Rolling (REC 2017; since 2020 it is accepted).
    reimage_temp: a reimage leaves the temporary disk `kept` (DOC-repairs' table; API: `tempDisk` is false by default) or
    `lost`; asked for with `temp_disk` it is always lost.
    reimage_boots: without exactVersion a reimage boots what the `model` says, or the VM's `own` version (DOC-reimage).
    latest_on_upgrade: manualupgrade of a current VM of a `latest` set moves it to the newest image (no: the flag decides).
    surge_failed: a new instance of maxSurge that fails is `deleted`, or `left` (its old one stays either way).
    rollout_timeout: all of a rolling upgrade (RollingUpgradeTimeoutError; the value is unpublished). None: none.
    failed_within_limits: a rollout with failed instances, but within its thresholds, `succeeds` or `fails`.
    auto_os_delay: from publication to the start of an automatic OS upgrade, at most (DOC-autoos: 3 hours); drawn evenly.
    repairs_give_up: after so many replaced instances in a row that stay unhealthy the service suspends itself.
    repairs_wait: from when the grace period of a repair counts: from the last `change` of the instance's state (DOC-repairs;
    so what fails long after that is repaired at once), or from when it was seen `unhealthy`, too.
    scale_in: which instance a scale-in takes: `default` (the fullest zone and domain, then the newest), `newest`, `oldest`.
    vms_of_a_request: how long the VMs of one request take: each for itself (`independent`), or all equally (`together`: REC, power-off,
    start and restart of 5 VMs take no longer than of one; for what replaces OS disks recordings cannot tell).
    reuse_ids: a new instance takes the lowest free id (DOC-ids: may be reused), not the next one.
    throttle: requests are throttled by the documented token buckets.
    """

    tick_ms: int = 60_000
    batch_ms: int = 450
    health_wait_ms: int = 300_000
    first_check_ms: int = 60_000
    no_signal_wait_ms: int = 600_000
    no_signal_counts: str = "healthy"
    count_in_flight: bool = False
    shrink_by_unhealthy: bool = False
    cancel_batch: str = "complete"
    put_during_rollout: str = "restarts"
    concurrent_update: str = "accepted"
    publisher_fixed: bool = False
    overlap: str = "coalesce"
    protected_named: str = "refuse"
    flexible_manual_upgrade: bool = True
    flexible_auto_os: bool = True
    manual_auto_os: bool = True
    os_rolling_needs_mode: bool = False
    reimage_temp: str = "kept"
    reimage_boots: str = "model"
    latest_on_upgrade: bool = False
    surge_failed: str = "deleted"
    rollout_timeout_ms: int | None = None
    failed_within_limits: str = "succeeds"
    auto_os_delay_ms: int = 10_800_000
    repairs_give_up: int = 3
    repairs_wait: str = "change"
    scale_in: str = "default"
    vms_of_a_request: str = "independent"
    reuse_ids: bool = False
    throttle: bool = False


class WorldConfig(_Config, frozen=True, kw_only=True):
    """A scale set and everything that decides how it behaves.

    model: wire path to value, the part of the model that instances are given. latest: what `latest` resolves to.
    health: extension (binary), rich (rich health states), probe (load balancer) or none; health_grace_ms: of rich states
    (None: interval x probes, so `Timings.probe_ms`); health_protocol: http (also for https) or tcp.
    restart_on_delta: whether applying a model change without a new image takes a VM down (undocumented in general;
    yes is the careful answer). patch_disrupts: whether a guest patch does (a patched OS reboots).
    quota_cores: cores this set may use; cores_per_vm of its size; addresses: of its subnet. None: no limit.
    unique: tells it from others of its name, so that no vmId is given twice; empty where the vmIds of its first machines do.
    """

    name: str
    machines: tuple[Machine, ...]
    model: dict[str, Any]
    timings: Timings
    failures: Failures = Failures()
    mode: str = "manual"
    health: str = "extension"
    health_grace_ms: int | None = None
    health_protocol: str = "http"
    rolling: RollingPolicy = RollingPolicy()
    auto_os: AutoOs = AutoOs()
    repairs: Repairs = Repairs()
    latest: str | None = None
    flexible: bool = False
    single_placement_group: bool = False
    restart_on_delta: bool = True
    patch_disrupts: bool = True
    quota_cores: int | None = None
    cores_per_vm: int = 1
    addresses: int | None = None
    unique: str = ""
    platform: Platform = Platform()
    disturbances: tuple[Disturbance, ...] = ()
