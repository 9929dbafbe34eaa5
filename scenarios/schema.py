"""The scenario: a TOML file that says what set, what change, how things behave, what is wanted, and what to compare.

Every key stands here with its meaning, as `key: meaning` in its table's docstring; `docs/scenario.md` is made from that
(`schema_doc.py`). An unknown key is an error that names the nearest known one. Durations are seconds or text (`"90s"`,
`"1h30m"`); amounts are counts, `"80%"` or `"n-2"`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Duration = Annotated[
    int | float | str, Meta(title="duration", description='seconds, or text: "90s", "5m", "1h30m", "2d"')
]
Amount = Annotated[
    int | str, Meta(title="amount", description='instances: a count (8), a percentage ("80%"), or all but some ("n-2")')
]
Law = Annotated[
    Any,
    Meta(
        title="timing",
        description='a duration, "recorded" (fitted to recorded operations), or a table of one kind: constant,'
        " exponential, lognormal, empirical, shifted, mixture, regime",
    ),
]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the tables."""


class RollingTable(_Table, frozen=True, kw_only=True):
    """Azure's rolling upgrade policy, which mode Rolling follows; percentages as whole numbers.

    max_batch: largest batch, in percent of all instances (5 to 100).
    max_unhealthy: percent of all instances that may be unhealthy before a batch starts (5 to 100).
    max_unhealthy_upgraded: percent of the upgraded instances that may be unhealthy after a batch (0 to 100).
    pause: between two batches.
    cross_zone: batches may cross zones.
    prioritize_unhealthy: unhealthy instances are upgraded first.
    rollback_failed: after a breach the failed instances go back to what they ran (Uniform only).
    max_surge: each batch is replaced by new instances instead of being upgraded in place.
    """

    max_batch: int = 20
    max_unhealthy: int = 20
    max_unhealthy_upgraded: int = 20
    pause: Duration = 0
    cross_zone: bool = False
    prioritize_unhealthy: bool = False
    rollback_failed: bool = False
    max_surge: bool = False


class RepairsTable(_Table, frozen=True, kw_only=True):
    """Automatic instance repairs.

    grace: how long an instance must be unhealthy, 10 to 90 minutes.
    action: replace, reimage or restart.
    """

    grace: Duration = 600
    action: str = "replace"


class AutoOsTable(_Table, frozen=True, kw_only=True):
    """Automatic OS upgrade. The set's image must be on `latest`, and a disturbance of kind publication sets it off.

    use_rolling_policy: it follows the set's own rolling policy, not the default one.
    disable_rollback: failed instances keep the new OS disk.
    deferral: it waits for an approval.
    """

    use_rolling_policy: bool = False
    disable_rollback: bool = False
    deferral: bool = False


class ScaleSetTable(_Table, frozen=True, kw_only=True):
    """The set: invented (`instances`), or read from files as Azure returns them (`from`); one of the two.

    Beside `from`, only `os`, `health`, `upgrade_mode` and `rolling` may stand: `os` where the files do not say it, the
    others to ask "what if it were so". Everything else is what the files say.

    instances: how many, 1 to 1000.
    from: one file, or model and instance list, as `az … -o json` prints them; relative to the scenario's folder.
    name: the set's name.
    update_domains: how many the instances are spread over, 0 to 20; 0: none is known. Without it 5, or 0 where flexible.
    fault_domains: likewise, 0 to 5. Without it 5, or 1 in a set with zones.
    zones: availability zones the instances are spread over, 0 (regional) to 3.
    os: linux or windows. Without it linux.
    health: where Azure learns an instance's health from: extension, probe or none. Without it extension.
    upgrade_mode: manual, automatic or rolling. Without it manual.
    image: what the set runs: publisher:offer:sku:version, an image id, or a VHD uri. Without it an Ubuntu 22.04 image.
    rolling: the rolling upgrade policy.
    unhealthy: instances out of service at the start: how many (spread evenly), or which ids.
    protected: instances protected from scale-set actions: how many (spread evenly), or which ids.
    repairs: automatic repairs are enabled: true, or a table.
    auto_os: automatic OS upgrade is enabled: true, or a table.
    rich_health: the health extension reports rich health states (version 2.0).
    health_grace: of rich health states: until then an instance may be Initializing. Without it what `timing.probe` says.
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
    repairs: bool | RepairsTable = False
    auto_os: bool | AutoOsTable = False
    rich_health: bool = False
    health_grace: Duration | None = None
    flexible: bool = False


class GuestTable(_Table, frozen=True, kw_only=True):
    """A patch inside the VMs, by a managed run-command.

    script: what runs.
    undo: what takes it back; without it a rollback cannot.
    """

    script: str
    undo: str | None = None


class ChangeTable(_Table, frozen=True, kw_only=True):
    """What changes; of one kind only. The four parts of a platform image count as one kind.

    version: another version of the platform image, exact (never `latest`, which can neither be confirmed nor put back).
    sku: another sku; needs `version`.
    offer: another offer; needs `version`.
    publisher: another publisher; needs `version`.
    id: another managed image or gallery image version, by resource id.
    uri: another custom VHD.
    set: one other model property: its path in wire form, and its value.
    guest: a patch inside the VMs.
    refresh: the exact version that the instances of a set on `latest` are brought to, by reimage.
    current_model: true: the model was changed elsewhere (by Terraform, say); bring stale instances up to it.
    action: upgrade, reimage, upgrade-then-reimage, restart or run-command, where the usual one is not wanted.
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
    """How long things take.

    file: a timing file fitted to your own history (`vmss-sim calibrate`); relative to the scenario's folder. What "recorded"
        means is then looked up there first. Values given here win over it.
    upgrade: one VM's upgrade to the model, from the request to its end.
    reimage: one VM's reimage.
    restart: one VM's restart.
    run_command: one VM's run-command.
    update_model: the update of the set's model, without any VM.
    ready: from the end of a VM's operation until *your application* serves there. Nobody can guess this for you: left out,
        a default stands in and the verdict begins "if your application is ready within …".
    probe: how long the health source needs to notice (interval x number of probes).
    poll: how often the executor looks at Azure; 0: it is told at once. Left out: every 10 s, and in `plan` and `forecast` as `apply`
        looks: every 2 s at first, then seldomer, every minute in the end.
    give_up: from the end of a VM's operation: not in service by then, it counts as failed.
    """

    file: str | None = None
    upgrade: Law = "recorded"
    reimage: Law = "recorded"
    restart: Law = "recorded"
    run_command: Law = "recorded"
    update_model: Law = "recorded"
    ready: Law | None = None
    probe: Duration = 5
    poll: Duration | None = None
    give_up: Duration = 600


class BadImageTable(_Table, frozen=True, kw_only=True):
    """A bad image.

    share: of the instances, 0 to 1, that cannot live with it.
    after: how long those serve before it shows; 0: they never become healthy.
    """

    share: float
    after: Duration = 0


class FailuresTable(_Table, frozen=True, kw_only=True):
    """What goes wrong.

    upgrade: probability, 0 to 1, that the operation on one VM fails. Without it what `timing.file` says, or 0.005, a guess.
    becomes: what a failed operation leaves: dead (out of service until it is touched again), or old-image (as before).
    retries: further upgrades of a failed VM before it is given up, 0 to 100; a strategy's own `retries` wins.
    background: background failures as they were measured elsewhere: nguyen14, lanl05, ldns04, microsoft99, g5k06 or websites02
        (`docs/calibration.md` has the sources). `mttf` and `mttr`, where given, win over it.
    mttf: mean time to a background failure of one serving VM. Without it and without `background` there are none.
    mttr: how long its repair takes. Without it and without `background` 30 minutes.
    background_becomes: what such a repair leaves: repaired, or old-image (relaunched from the image it had at the start).
    background_hits: which VMs fail so: all, or upgraded.
    bad_image: the new image is bad.
    slow_image: how many times longer the application takes to serve on the new image, from 0.1 to 100.
    ageing: mean time until a new or repaired VM becomes failure-prone; only then `mttf` counts. Without it at once.
    """

    upgrade: float | None = None
    becomes: str = "dead"
    retries: int = 1
    background: str | None = None
    mttf: Duration | None = None
    mttr: Law | None = None
    background_becomes: str = "repaired"
    background_hits: str = "all"
    bad_image: BadImageTable | None = None
    slow_image: float = 1.0
    ageing: Duration | None = None


class LoadTable(_Table, frozen=True, kw_only=True):
    """What the service needs; below it is downtime. Without it, the objective's `min_healthy`; without that, 80 %.

    required: instances needed, always.
    curve: what is needed over time: a daily curve [["08:00", 6], …], or a CSV file of time and value (see below).
    per_vm: requests/s one VM serves, where the curve is in requests/s; the need is rounded up to whole VMs.
    time_zone: of the curve's local times: an IANA name such as Europe/Berlin. Without it UTC, a guess.
    """

    required: Amount | None = None
    curve: str | list[tuple[str, float]] | None = None
    per_vm: float | None = None
    time_zone: str | None = None


class ObjectiveTable(_Table, frozen=True, kw_only=True):
    """What is wanted; it judges strategies, and `min_healthy` also binds them.

    min_healthy: instances in service at any time. It is the floor that no strategy's command may cross.
    max_duration: of the rollout.
    max_breach: probability, 0 to 1, of missing the above, or of not completing, that is tolerated.
    horizon: the span that availability is averaged over, the same for all strategies.
    """

    min_healthy: Amount | None = None
    max_duration: Duration | None = None
    max_breach: float = 0.05
    horizon: Duration = 86_400


class QuotaTable(_Table, frozen=True, kw_only=True):
    """Room for more instances, which a surge needs while it lasts. What is left out is not known, and then bounds nothing.

    Without this table a surge is compared only where it is named. How many instances a set may hold (100 in a single
    placement group, 600 of a custom image, else 1000) follows from the set.

    cores_limit: of the VM size's family in the region.
    cores_used: of these, in use now, this set's own among them.
    cores_per_vm: of this VM size.
    free_addresses: in the subnet.
    """

    cores_limit: int | None = None
    cores_used: int | None = None
    cores_per_vm: int | None = None
    free_addresses: int | None = None


class ExpectTable(_Table, frozen=True, kw_only=True):
    """What must hold when it runs with the seed and the replications given here (`expect.py` has the grammar of `holds`).

    recommend: the label of the strategy recommended, a list of those that may be (they do alike), or "none".
    holds: claims, such as "automatic: outage_s.mean > 60", "per-ud: completed >= 0.99", or
        "ramp: bad_exposure_vm_s.mean < batch: bad_exposure_vm_s.mean".
    refused: labels of strategies that cannot be planned.
    seed: of the random numbers, 0 or more.
    replications: how many runs a strategy, 1 or more.
    """

    recommend: str | list[str] | None = None
    holds: list[str] = []
    refused: list[str] = []
    seed: int = 1
    replications: int = 40


class Scenario(_Table, frozen=True, kw_only=True):
    """One question.

    title: a line that names it.
    why: one or two sentences: what it shows.
    starts_at: when the rollout starts, for the load: a local date and time, or a time of day. Without it 02:00.
    scale_set: the set.
    change: what changes.
    timing: how long things take.
    failures: what goes wrong.
    platform: what Azure's documentation leaves open.
    disturbance: what happens meanwhile, a table each, with its `kind`.
    fault: what the platform answers to some operations, a table each.
    load: what the service needs.
    objective: what is wanted.
    quota: room for more instances.
    strategy: what is compared, a table each: `name`, the strategy's parameters, and a `label` where two have one name.
        None: all strategies that fit the set, with their defaults.
    expect: what must hold when it runs.
    """

    title: str
    scale_set: ScaleSetTable
    change: ChangeTable
    why: str = ""
    starts_at: str | None = None
    timing: TimingTable = TimingTable()
    failures: FailuresTable = FailuresTable()
    platform: dict[str, Any] = {}
    disturbance: list[dict[str, Any]] = []
    fault: list[dict[str, Any]] = []
    load: LoadTable = LoadTable()
    objective: ObjectiveTable = ObjectiveTable()
    quota: QuotaTable | None = None
    strategy: list[dict[str, Any]] = []
    expect: ExpectTable | None = None
