"""The scenario: a TOML file that says what set, what change, how things behave, what is wanted, and what to compare.

Every key stands here with its meaning; `docs/scenario.md` is made from these fields. An unknown key is an error that
names the nearest known one. Durations are seconds or text (`"90s"`, `"1h30m"`); amounts are counts, `"80%"` or `"n-2"`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Duration = Annotated[int | float | str, Meta(description="seconds, or text such as 90s, 5m, 1h30m")]
Amount = Annotated[int | str, Meta(description="instances: a count, a percentage (80%), or n-2")]
Law = Annotated[
    Any,
    Meta(
        description="a duration, `recorded`, or a table: constant, exponential, lognormal, mixture, empirical, shifted"
    ),
]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the tables."""


class ScaleSetTable(_Table, frozen=True, kw_only=True):
    """The set: invented (`instances`), or read from files as Azure returns them (`from`).

    instances: how many. from: one snapshot file, or model and instance list, relative to this file. name: its name.
    update_domains, fault_domains, zones: how instances are spread (0: none). os: linux or windows.
    health: extension, probe or none. upgrade_mode: manual, automatic or rolling. image: publisher:offer:sku:version, an
    image id, or a VHD uri. rolling: the rolling upgrade policy (max_batch, max_unhealthy, max_unhealthy_upgraded in percent,
    pause). unhealthy, protected: how many instances (spread evenly), or which ids. repairs: automatic repairs enabled.
    flexible: orchestration mode Flexible.
    """

    instances: int | None = None
    from_: str | list[str] | None = msgspec.field(default=None, name="from")
    name: str = "web"
    update_domains: int | None = None
    fault_domains: int | None = None
    zones: int | None = None
    os: str | None = None
    health: str | None = None
    upgrade_mode: str | None = None
    image: str | None = None
    rolling: RollingTable | None = None
    unhealthy: int | list[str] = 0
    protected: int | list[str] = 0
    repairs: bool = False
    flexible: bool = False


class RollingTable(_Table, frozen=True, kw_only=True):
    """Azure's rolling upgrade policy: percentages as whole numbers, pause as a duration."""

    max_batch: int = 20
    max_unhealthy: int = 20
    max_unhealthy_upgraded: int = 20
    pause: Duration = 0
    cross_zone: bool = False
    prioritize_unhealthy: bool = False


class GuestTable(_Table, frozen=True, kw_only=True):
    """A patch inside the VMs: `script`, and `undo` to take it back."""

    script: str
    undo: str | None = None


class ChangeTable(_Table, frozen=True, kw_only=True):
    """What changes; one kind only. version, sku, offer, publisher: another platform image. id: an image or gallery version.
    uri: a VHD. set: any other model path and its value. guest: a patch inside the VMs. refresh: the exact version a `latest`
    set is brought to. current_model: true brings stale instances up without touching the model. action: upgrade, reimage,
    upgrade-then-reimage, restart or run-command, where the usual one is not wanted.
    """

    version: str | None = None
    sku: str | None = None
    offer: str | None = None
    publisher: str | None = None
    id: str | None = None
    uri: str | None = None
    set_: dict[str, Any] | None = msgspec.field(default=None, name="set")
    guest: GuestTable | None = None
    refresh: str | None = None
    current_model: bool = False
    action: str | None = None


class TimingTable(_Table, frozen=True, kw_only=True):
    """How long things take. upgrade, reimage, restart, run_command: one VM's operation. update_model: the model's update.
    ready: from the end of a VM's operation until *your application* serves. probe: how long the health source needs to notice
    (interval x probes). poll: how often the executor looks (0: it is told at once).
    """

    upgrade: Law = "recorded"
    reimage: Law = "recorded"
    restart: Law = "recorded"
    run_command: Law = "recorded"
    update_model: Law = "recorded"
    ready: Law | None = None
    probe: Duration = 5
    poll: Duration = 10


class BadImageTable(_Table, frozen=True, kw_only=True):
    """A bad image. share: of the instances, 0 to 1, that cannot live with it. after: how long they serve before it shows (0: they
    never become healthy).
    """

    share: float
    after: Duration = 0


class FailuresTable(_Table, frozen=True, kw_only=True):
    """What goes wrong. upgrade: probability that the operation on one VM fails. becomes: dead, or old-image.
    retries: further upgrades of a failed VM before it is given up (default of the strategies). mttf, mttr: background failures of
    serving VMs and their repair. bad_image: see there.
    """

    upgrade: float | None = None
    becomes: str = "dead"
    retries: int = 1
    mttf: Duration | None = None
    mttr: Law = 1800
    background_becomes: str = "repaired"
    background_hits: str = "all"
    bad_image: BadImageTable | None = None


class LoadTable(_Table, frozen=True, kw_only=True):
    """What the service needs; below it is downtime. required: instances, always. curve: a daily demand curve, [["08:00", 6], …], or a
    CSV file of time and value. per_vm: requests/s one VM serves, where the curve is in requests/s. time_zone: IANA, of the curve.
    """

    required: Amount | None = None
    curve: str | list[tuple[str, float]] | None = None
    per_vm: float | None = None
    time_zone: str = "UTC"


class ObjectiveTable(_Table, frozen=True, kw_only=True):
    """What is wanted. min_healthy: instances in service, at any time (also the floor of every strategy). max_duration: of the rollout.
    max_breach: probability of missing it that is tolerated. horizon: the span availability is measured over, the same for all.
    """

    min_healthy: Amount | None = None
    max_duration: Duration | None = None
    max_breach: float = 0.05
    horizon: Duration = 86_400


class ExpectTable(_Table, frozen=True, kw_only=True):
    """What must hold when it runs with the seed and the replications here; tests run every bundled scenario against it.
    recommend: the strategy's label, or "none". holds: lines such as "automatic: outage_s.mean > 60" or "per-ud: completed >= 0.99".
    refused: labels of strategies that cannot be planned.
    """

    recommend: str | None = None
    holds: list[str] = []
    refused: list[str] = []
    seed: int = 1
    replications: int = 40


class Scenario(_Table, frozen=True, kw_only=True):
    """One question. title, why: what for. starts_at: local date and time the rollout starts (for the load).

    strategy: [[strategy]] tables, name plus its parameters, `label` where two have one name; none means all that fit.
    """

    title: str
    scale_set: ScaleSetTable
    change: ChangeTable
    why: str = ""
    starts_at: str | None = None
    timing: TimingTable = TimingTable()
    failures: FailuresTable = FailuresTable()
    load: LoadTable = LoadTable()
    objective: ObjectiveTable = ObjectiveTable()
    strategy: list[dict[str, Any]] = []
    expect: ExpectTable | None = None
