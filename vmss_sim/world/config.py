"""What a world is made from: data only. Everything undocumented about the platform is an option here, with its default.

Durations are distributions from `timings.py`; times are integer milliseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

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
    """One VM at the start. `health`: healthy, unhealthy, unknown or absent, as the platform would report it."""

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
    os_disk: str = ""


class Timings(_Config, frozen=True, kw_only=True):
    """operations: by kind, from acceptance to the end of one VM's (or the set's) operation. ready: from there until the
    application serves. probe_ms: how long the health source needs to notice a change (interval x number of probes;
    5 s x 1 by default, azure-compute-docs, application health extension).
    """

    operations: dict[str, Timing]
    ready: Timing = Constant(seconds=0)
    probe_ms: int = 5_000


class Failures(_Config, frozen=True, kw_only=True):
    """What goes wrong by itself.

    upgrade: probability that the operation on one VM fails. becomes: `dead` (out of service until touched again) or
    `old-image` (back on what it booted before, serving again).
    bad_share: share of instances that cannot live with the new image; bad_after_ms: how long they serve before it shows
    (0: they never become healthy).
    mttf_ms, mttr: background failures of serving VMs, exponential; None for none. background_becomes: `repaired` or
    `old-image` (relaunched from the image it had at the start). background_hits: `all` or `upgraded` VMs.
    """

    upgrade: float = 0.0
    becomes: str = "dead"
    bad_share: float = 0.0
    bad_after_ms: int = 0
    mttf_ms: float | None = None
    mttr: Timing = Constant(seconds=1800)
    background_becomes: str = "repaired"
    background_hits: str = "all"


class WorldConfig(_Config, frozen=True, kw_only=True):
    """A scale set and everything that decides how it behaves.

    model: wire path to value, the part of the model that a change may touch. latest: what `latest` resolves to.
    restart_on_delta: whether applying a model change without a new image takes a VM down (undocumented in general;
    yes is the careful answer). patch_disrupts: whether a guest patch does (a patched OS reboots).
    """

    name: str
    machines: tuple[Machine, ...]
    model: dict[str, Any]
    timings: Timings
    failures: Failures = Failures()
    mode: str = "manual"
    health: str = "extension"
    repairs_enabled: bool = False
    repairs_suspended: bool = False
    latest: str | None = None
    flexible: bool = False
    restart_on_delta: bool = True
    patch_disrupts: bool = True
