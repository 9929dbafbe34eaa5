"""Lint of what a set is (VS115 to VS126), and of its instances and the snapshot (VS2xx)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from planner.arm_json import Gap
from planner.lint.codes import Finding, finding
from planner.lint.facts import auto_os, exact, follows_latest, repaired_at_once, services
from planner.lint.wording import instances, names, share, span
from planner.model import (
    Cloud,
    Health,
    HealthSource,
    Model,
    Orchestration,
    Power,
    Provisioning,
    ScaleSet,
    Service,
)

GROUP_MAX = 100  # azure-compute-docs, placement groups

# Gaps of the reader that have a code of their own here.
_SAID = frozenset(
    {
        "no-health-source",
        "health-not-reported",
        "no-exact-version",
        "no-instances",
        "no-power-state",
        "list-incomplete",
    }
)


def fleet(scale_set: ScaleSet) -> Iterator[Finding]:
    """What kind of set this is."""
    model, total = scale_set.model, len(scale_set.instances)
    name = model.name
    if not total:
        yield finding("VS125", "the scale set has no instances", name, "give the instance list, or scale out first")
    if total == 1:
        yield finding(
            "VS121",
            f"there is one instance ({next(iter(scale_set.instances))}): an upgrade takes {share(1, 1)} out of service",
            name,
            "scale out to 2 or more first",
        )
    if model.service_fabric:
        yield finding("VS124", "this is a Service Fabric cluster", name, "upgrade it through Service Fabric")
    if model.unmanaged_disks and model.cloud is not Cloud.ENDPOINT:
        said = (
            ""
            if model.cloud
            else "; where it is in no cloud of Microsoft's, take it by `vmss-sim snapshot --endpoint URL`"
        )
        yield finding(
            "VS119",
            "the set uses unmanaged disks, which Azure retired on 2026-03-31",
            name,
            f"make a new set with managed disks{said}",
        )
    if model.ephemeral_os_disk:
        yield finding(
            "VS120",
            f"OS disks are ephemeral: each of {instances(total)} loses everything on it when it is upgraded",
            name,
            "keep nothing on the OS disk; a rollback boots the old image, not the old disk",
        )
    if model.single_placement_group and max(total, model.capacity) > GROUP_MAX:
        yield finding(
            "VS122",
            f"singlePlacementGroup holds at most {GROUP_MAX} instances; found {max(total, model.capacity)}",
            name,
            "set singlePlacementGroup to false (it cannot be set back)",
        )
    if model.provisioning not in (Provisioning.SUCCEEDED, Provisioning.UNKNOWN):
        yield finding(
            "VS123",
            f"the set's provisioning state is {model.provisioning.value}",
            name,
            "look at the last operation, and let it end",
        )
    yield from _moves(model, total)
    if model.orchestration is Orchestration.FLEXIBLE:
        yield finding(
            "VS126",
            "Flexible set: no domains and no latestModelApplied are shown, and manualupgrade may be refused",
            name,
            "group by zone or by size, and judge by exactVersion",
        )


def _moves(model: Model, total: int) -> Iterator[Finding]:
    """What else may move instances, or change what they boot."""
    name = model.name
    if follows_latest(model.image) and not auto_os(model):
        yield finding(
            "VS115",
            f"the model says `latest` ({model.image}): latestModelApplied never flips for a newer image, and scale-outs"
            " boot the newest",
            name,
            "pin a version, or use refresh with an exact version",
        )
    repairs = model.repairs
    if repairs is not None and repairs.enabled and not repairs.suspended:
        yield finding(
            "VS116",
            f"automatic repairs are on: {repairs.action} after {span(repairs.grace_ms)} unhealthy,"
            f" {share(repaired_at_once(total), total)} at a time",
            name,
            "let the plan suspend them (it does), and suspend them before an upgrade by hand",
        )
    if model.id:
        yield finding(
            "VS117",
            "whether autoscale is attached is not told by the set's own documents",
            name,
            "look at `az monitor autoscale list`, and pin the capacity for the time of the rollout",
        )
    if model.overprovision:
        yield finding(
            "VS118",
            "overprovisioning is on: extra VMs come and go while instances are added",
            name,
            "turn it off where instances are replaced or added (surge, repairs)",
        )


def members(scale_set: ScaleSet) -> Iterator[Finding]:
    """The instances as they are at the moment."""
    yield from _health(scale_set)
    total = len(scale_set.instances)
    protected = [one.id for one in scale_set.instances.values() if one.protected]
    if protected:
        yield finding(
            "VS208",
            f"{share(len(protected), total)} are protected from scale-set actions and are left alone:"
            f" {names(protected)}",
            names(protected),
            "lift protectFromScaleSetActions where they should move too",
        )
    for code, state, text, fix in (
        ("VS205", Provisioning.FAILED, "failed their last operation", "find out why before they are upgraded"),
        ("VS206", Provisioning.DELETING, "are being deleted", "take the snapshot again when they are gone"),
        ("VS207", Provisioning.UPDATING, "are worked on by somebody else", "find out who, and let it end"),
    ):
        states = (state, Provisioning.CREATING) if state is Provisioning.UPDATING else (state,)
        found = [one.id for one in scale_set.instances.values() if one.provisioning in states]
        if found:
            yield finding(
                code, f"{share(len(found), total)} {text}: {_with_errors(scale_set, found)}", names(found), fix
            )
    yield from _images(scale_set)


def _with_errors(scale_set: ScaleSet, ids: Sequence[str]) -> str:
    told = {name: scale_set.instances[name].provisioning_error for name in ids}
    return names([f"{name} ({error})" if error else name for name, error in told.items()])


def _health(scale_set: ScaleSet) -> Iterator[Finding]:
    model, total = scale_set.model, len(scale_set.instances)
    if model.health_source is HealthSource.NONE:
        serving = sum(state is Service.IN for state in services(scale_set).values())
        yield finding(
            "VS201",
            f"no health source: {share(serving, total)} count as in service because they run (running, not known healthy)",
            model.name,
            "add the application health extension or a health probe",
        )
    silent = [
        name
        for name, one in scale_set.instances.items()
        if model.health_source is not HealthSource.NONE and one.health is Health.ABSENT and one.power is Power.RUNNING
    ]
    if silent:
        yield finding(
            "VS202",
            f"{share(len(silent), total)} run and report no health, though the model has a health source: {names(silent)}",
            names(silent),
            "upgrade them to the model that has the health source, or mend the extension",
        )
    by_state = services(scale_set)
    out = [name for name, state in by_state.items() if state is Service.OUT]
    if out:
        yield finding(
            "VS203",
            f"{share(len(out), total)} are out of service before the rollout begins: {names(out)}",
            names(out),
            "let them go first (unhealthy_first), or mend them",
        )
    quiet = set(silent)
    unknown = [name for name, state in by_state.items() if state is Service.UNKNOWN and name not in quiet]
    if unknown:
        yield finding(
            "VS204",
            f"whether {share(len(unknown), total)} serve is not known: {names(unknown)}",
            names(unknown),
            "take the snapshot with --expand instanceView, or wait until they have settled",
        )


def _images(scale_set: ScaleSet) -> Iterator[Finding]:
    total = len(scale_set.instances)
    vague = [one.id for one in scale_set.instances.values() if not exact(one.image)]
    if vague:
        yield finding(
            "VS209",
            f"which image {share(len(vague), total)} booted is not told exactly: {names(vague)}",
            names(vague),
            "take the snapshot with `az vmss list-instances`, which tells exactVersion",
        )
    booted = {str(one.image).lower(): str(one.image) for one in scale_set.instances.values() if exact(one.image)}
    if len(booted) > 1:
        counts = Counter(str(one.image).lower() for one in scale_set.instances.values() if exact(one.image))
        told = [f"{booted[image]} on {share(count, total)}" for image, count in sorted(counts.items(), key=_most)]
        yield finding(
            "VS210",
            f"{len(booted)} images are in use: {'; '.join(told[:5])}{'; …' if len(told) > 5 else ''}",
            scale_set.model.name,
            "",
        )


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def untold(gaps: Iterable[Gap]) -> Iterator[Finding]:
    """What the documents left out, where no other code says so."""
    for gap in gaps:
        if gap.code == "list-incomplete":
            yield finding("VS211", gap.says, gap.code, gap.supply)
        elif gap.code not in _SAID:
            yield finding("VS212", gap.says, gap.code, gap.supply)
