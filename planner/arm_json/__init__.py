"""ARM documents into a `ScaleSet`: the only reader of what Azure, `az` or the emulator says about a scale set.

Rules this module decides ("recorded" means seen in the 880 recordings that `tests/recorded_counts.py` counts):

1. *Two forms, one reading.* ARM's wire form keeps a resource's facts under `properties`, `az` lifts them to the top; both
   are read, in a scale set, an instance and an extension alike. Property names, enum words and status codes are
   compared without case, as ARM does. `null` is absent. What is not read here is not kept: no secret can be.
2. *Wrong is refused, new is unknown.* A wrong type, or a word outside a closed vocabulary (mode, orchestration, OS), is an
   `InputError` with its path; a word the platform may add (provisioning, power, health) reads as `unknown`.
3. *A projection says less than it seems to.* Items of `?$select=instanceView` (no `name`, no `storageProfile`) all carry
   `latestModelApplied: false`, also for VMs that a full list called true a moment earlier, and up to 2019
   `provisioningState: 0` (recorded): defaults of what was not selected. There, false is None; a number is nowhere a state.
4. *Provisioning*: the `provisioningState` property, else the view's `ProvisioningState/<word>`; but a failed status in the
   view wins over `Succeeded`, for the property tells of the last operation, the view of the VM. `.../failed/<Code>` gives
   the error. `.../osProvisioningInProgress` without a property is `creating`: the guest is not up yet.
5. *Image*: `imageReference` (its id may be a shared or community gallery's), else `osDisk.image.uri`. `osDisk.vhd.uri` is a
   VM's own disk (recorded beside an imageReference), never the image it booted; it stands in for a disk without a name.
6. *Health source*: application health extension, else the load balancer probe, else none. The external health policy of
   api-version 2026-04-01 counts as an extension: health is reported per instance, and absent is not healthy.
7. *Belonging*: an instance whose id, or `virtualMachineScaleSet.id`, names another set, and a VM of no set, are refused.
8. *Said or not*: what the documents leave out is a `Gap`, never a guess. Stand-ins, each with its gap, where the model has
   no room for "not said": no upgrade policy is Manual (recorded for Flexible sets), no capacity is the number of instances
   listed, a VM of which too little was asked is unprotected, and repairs without the set's instance view not suspended.
9. *Custom metrics* (preview) stand as JSON text in the message of the substatus `ComponentStatus/CustomMetrics/...` of an
   extension (azure-compute-docs, custom metrics for rollouts); serialised twice or once. What is not that is no metric.
10. *The platform's own rollout* (`rollingUpgrades/latest`) may stand beside the others; before there was any Azure answers 404
   (recorded), which is none. Its times are milliseconds since 1970, with seven digits of a second cut to three (recorded).
   That it was cancelled tells when it ended; that it completed does not, unless `endTime` (or `completedTime`, recorded 2018
   to 2020) is there. Property names differ in case between versions (`inprogressInstanceCount`, recorded 2017).
11. *Managed run-commands* are told by lists of their own, one an instance. One succeeded when its instance view says so; where none
   is given, when its provisioning did.
12. *Which cloud* none of Azure's documents tells; a snapshot of `vmss-sim` does (`cloud`).
13. *What the model gives an instance* (`gives.py`) is kept leaf by leaf, without the image, which is judged by itself, and what is
   read-only. The members of a list are known by name. `properties` is no step of a path inside, for `az` has none. What is kept
   out of every file is a digest. A version that the platform raises by itself (`enableAutomaticUpgrade`) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from planner.arm_json.documents import (
    identify,
    inner_cloud,
    inner_rollout,
    inner_runs,
    is_rollout,
    kind_of,
    list_in,
    sort_documents,
)
from planner.arm_json.gaps import Gap, instance_gaps, list_gaps
from planner.arm_json.gives import read_gives, told_gives
from planner.arm_json.instances import own_items, read_instance, refuse_duplicates
from planner.arm_json.model import read_model
from planner.arm_json.node import Node
from planner.errors import InputError
from planner.model import RollingUpgrade, ScaleSet, scale_set
from planner.scripts import ran_as

__all__ = ["Gap", "Reading", "looks_like", "read_rolling_upgrade", "read_run_commands", "read_scale_set"]

_ROLLOUT_CODES = ("RollingForward", "RollingBack", "Cancelled", "Completed", "Faulted")


class Reading(msgspec.Struct, frozen=True):
    """A snapshot, and what the documents left out of it."""

    scale_set: ScaleSet
    gaps: tuple[Gap, ...]


def looks_like(document: Any) -> str:
    """Tell what a parsed document is: "model", "instances" (a list), "both" ({"model", "instances"}), or "" (neither)."""
    return kind_of(Node(document, ""))


def read_scale_set(
    documents: Sequence[tuple[str, Any]], *, watch: Sequence[str] = (), api_version: str = ""
) -> Reading:
    """Read one scale set from its documents, each (name for messages, parsed JSON).

    Exactly one is, or holds, the model; any number are instance lists (pages of one list), or none. One that holds everything
    may hold the set's view (`instanceView`), `rollingUpgrade`, `runCommands` (instance id to names), `cloud` and `gives` as well. `watch`: dotted
    paths under the model document, in wire case, `properties.` optional; their values, None where absent, go to
    `Model.settings` under the path with its leading part. One may be `rollingUpgrades/latest`. api_version: with which our own reader
    took them; empty: somebody else did. Raises `InputError` saying what, where, found, expected.
    """
    inside = [(f"{name}: rollingUpgrade", found) for name, value in documents if (found := inner_rollout(value))]
    rollouts = [(name, value) for name, value in documents if is_rollout(Node(value, name))] + inside
    if len(rollouts) > 1:
        raise InputError("more than one rollingUpgrades/latest", ", ".join(name for name, _ in rollouts), "", "one")
    documents = [one for one in documents if one not in rollouts]
    model_node, lists, set_view = sort_documents(documents)
    identity = identify(model_node)
    seen = [read_instance(item) for _, items in lists for item in own_items(items, identity)]
    refuse_duplicates(seen)
    model, gaps = read_model(model_node, identity, seen, set_view, watch)
    told = [node for name, value in documents if kind_of(node := Node(value, name)) == "both" and node.has("gives")]
    gives = told_gives(told[0].get("gives")) if told else read_gives(model_node, api_version)
    model = msgspec.structs.replace(model, gives=gives)
    gaps += list_gaps(model, lists, len(seen)) + instance_gaps(model, seen)
    clouds = [cloud for name, value in documents if (cloud := inner_cloud(Node(value, name))) is not None]
    model = msgspec.structs.replace(model, cloud=clouds[0] if clouds else None)
    ran = {each: names for name, value in documents for each, names in inner_runs(Node(value, name))}
    read = scale_set(
        model,
        (msgspec.structs.replace(one, run_commands=ran.get(one.id, ())) for one in (each.instance for each in seen)),
    )
    if rollouts:
        read = msgspec.structs.replace(read, rolling_upgrade=read_rolling_upgrade(rollouts[0][1], rollouts[0][0]))
    return Reading(scale_set=read, gaps=tuple(gaps))


def read_rolling_upgrade(document: Any, where: str) -> RollingUpgrade | None:
    """Read `rollingUpgrades/latest` (rule 10); None where there was no rollout yet. Raises `InputError`."""
    node = Node(document, where)
    if node.has("error") and not node.has("properties") and not node.has("runningStatus"):
        if node.object("error").text("code") in ("NotFound", "ResourceNotFound"):
            return None
        raise node.wrong("rollingUpgrades/latest", "take it with `az vmss rolling-upgrade get-latest -o json`")
    facts = node.facts()
    running, progress, error = facts.object("runningStatus"), facts.object("progress"), facts.object("error")
    code = running.text("code")
    if code is None:
        raise running.get("code").wrong("RollingForward, RollingBack, Cancelled, Completed or Faulted")
    last_action = running.text("lastAction") or "Start"
    ended = running.moment("endTime") or running.moment("completedTime")
    if ended is None and last_action.lower() == "cancel":
        ended = running.moment("lastActionTime")
    return RollingUpgrade(
        code=next((known for known in _ROLLOUT_CODES if known.lower() == code.lower()), code),
        last_action=last_action,
        started_ms=running.moment("startTime"),
        ended_ms=ended,
        successful=progress.integer("successfulInstanceCount") or 0,
        failed=progress.integer("failedInstanceCount") or 0,
        in_progress=progress.integer("inProgressInstanceCount") or 0,
        pending=progress.integer("pendingInstanceCount") or 0,
        error_code=error.text("code") or "",
        error_message=error.text("message") or "",
    )


def read_run_commands(document: Any, where: str) -> tuple[str, ...]:
    """Read a page of `virtualMachines/{id}/runCommands` (rule 11): what those that succeeded are evidence of (`planner.scripts`). Raises `InputError`."""
    found = []
    for item in (list_in(Node(document, where)) or Node([], where)).items():
        facts = item.facts()
        state = facts.object("instanceView").text("executionState") or facts.text("provisioningState") or ""
        name = item.text("name")
        if name and state.lower() == "succeeded":
            found.append(ran_as(name, facts.object("source").text("script")))
    return tuple(found)
