"""Lint of a plan's change against its set (VS321 to VS326, VS332, VS334)."""

from __future__ import annotations

from collections.abc import Iterator

from planner.change import (
    STAGES,
    Action,
    CurrentModel,
    GuestPatch,
    ImageChange,
    ImageIdChange,
    ImageUriChange,
    PropertyChange,
)
from planner.lint.codes import Finding, finding
from planner.lint.facts import auto_os, exact, follows_latest
from planner.lint.wording import instances, names, share
from planner.model import ScaleSet
from planner.plan import OnFailure, Plan


def target(plan: Plan, scale_set: ScaleSet | None) -> Iterator[Finding]:
    """Everything about what the instances are to become, and to go back to."""
    change, resolved, total = plan.resolved.change, plan.resolved, len(plan.scale_set.instances)
    moved = [name for batch in plan.batches for name in batch.take]
    if isinstance(change, PropertyChange):
        yield from _property(change, resolved.action, len(moved))
    if resolved.patch and moved and Action.UPGRADE not in STAGES[resolved.action]:
        yield finding(
            "VS334",
            f"the model changes, and {resolved.action.value} alone leaves latestModelApplied false on"
            f" {share(len(moved), total)}",
            "action",
            "use upgrade, or upgrade-then-reimage",
        )
    if isinstance(change, GuestPatch) and change.undo is None:
        yield _no_undo(plan)
    if isinstance(change, CurrentModel) and resolved.target.latest_model and follows_latest(plan.scale_set.image):
        yield finding(
            "VS332",
            f"the model says `latest` ({plan.scale_set.image}): an instance with latestModelApplied counts as current,"
            " whichever version it booted",
            "change",
            "use refresh with the exact version wanted",
        )
    image = isinstance(change, ImageChange | ImageIdChange | ImageUriChange)
    if image and scale_set is not None and auto_os(scale_set.model):
        pins = [
            one for one in (resolved.model_image, resolved.back_image) if one is not None and not follows_latest(one)
        ]
        if pins:
            yield finding(
                "VS321",
                f"automatic OS upgrade is on, and the plan writes {' and '.join(str(one) for one in pins)} into the model",
                "change",
                "turn automatic OS upgrade off first",
            )
    if not isinstance(change, PropertyChange | GuestPatch) and resolved.action is not Action.RESTART:
        vague = [
            name for name in moved if (pinned := plan.scale_set.instances.get(name)) is None or not exact(pinned.image)
        ]
        if vague:
            yield finding(
                "VS326",
                f"what {share(len(vague), total)} booted is not pinned exactly: {names(vague)} would go back to"
                f" {resolved.back_image or 'nothing that is known'}",
                names(vague),
                "take the snapshot with `az vmss list-instances`, which tells exactVersion",
            )


def _property(change: PropertyChange, action: Action, moved: int) -> Iterator[Finding]:
    profile = ".osprofile." in f".{change.path.lower()}."
    if profile and action in (Action.UPGRADE, Action.RESTART):
        yield finding(
            "VS322",
            f"{change.path} reaches a VM by reimage only, and the action is {action.value}",
            "action",
            "use upgrade-then-reimage",
        )
    if profile and action is Action.UPGRADE_THEN_REIMAGE:
        yield finding(
            "VS323",
            f"{change.path} costs {instances(moved)} the OS disk and the temporary disk",
            "change",
            "keep nothing on these disks",
        )


def _no_undo(plan: Plan) -> Finding:
    then = plan.failures.then
    if then in (OnFailure.STOP, OnFailure.PAUSE):
        return finding("VS324", "the guest patch has no undo: there is no way back", "change", "give an undo script")
    return finding(
        "VS325",
        f"on failure the plan does a {then.value}, and the guest patch has no undo",
        "on_failure",
        "give an undo script, or use on_failure stop",
    )
