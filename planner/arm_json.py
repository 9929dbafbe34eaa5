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
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, TypeVar, cast

import msgspec

from planner.errors import InputError
from planner.model import (
    AutomaticOsUpgrade,
    AutomaticRepairs,
    Health,
    HealthSource,
    ImageReference,
    Instance,
    Model,
    OperatingSystem,
    Orchestration,
    Power,
    Provisioning,
    RollingPolicy,
    RollingUpgrade,
    ScaleSet,
    UpgradeMode,
    scale_set,
)
from planner.scripts import ran_as

_E = TypeVar("_E", bound=Enum)

_ROLLOUT_CODES = ("RollingForward", "RollingBack", "Cancelled", "Completed", "Faulted")
_MOMENT = re.compile(
    r"(?P<y>\d{4})-(?P<mo>\d\d)-(?P<d>\d\d)[T ](?P<h>\d\d):(?P<mi>\d\d):(?P<s>\d\d)(?:\.(?P<f>\d{1,9}))?"
    r"(?:Z|(?P<sign>[+-])(?P<oh>\d\d):?(?P<om>\d\d))?"
)
_SET_TYPE = "microsoft.compute/virtualmachinescalesets"
_VM_TYPES = (f"{_SET_TYPE}/virtualmachines", "microsoft.compute/virtualmachines")
_COMPUTE = r"/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Compute"
_SET_ID = re.compile(
    rf"(?P<set>{_COMPUTE}/virtualMachineScaleSets/(?P<name>[^/]+))(?:/virtualMachines/(?P<instance>[^/]+))?/?", re.I
)
_VM_ID = re.compile(rf"{_COMPUTE}/virtualMachines/(?P<instance>[^/]+)/?", re.I)
# ARM writes durations with XmlConvert: capitals, no weeks, months or years (azure-vmss.md 1.2, 3.3).
_DURATION = re.compile(
    r"P(?=.)(?:(?P<d>\d{1,6})D)?"
    r"(?:T(?=.)(?:(?P<h>\d{1,6})H)?(?:(?P<m>\d{1,6})M)?(?:(?P<s>\d{1,9})(?:\.(?P<f>\d{1,9}))?S)?)?",
    re.ASCII,
)
# What stands beside `properties` in the wire form; any other first word of a watched path is under `properties`.
_TOP_LEVEL = ("properties", "sku", "tags", "zones", "plan", "identity", "location")
_NAME_MAX = 256  # far above Azure's limits for ids and zones; keeps int() of a digit string in `model.id_key` bounded
_AS_GIVEN = "give the document as ARM or az returned it"


class Gap(msgspec.Struct, frozen=True):
    """Something the documents did not say: a stable code, one sentence, and the az command that supplies it ('': none)."""

    code: str
    says: str
    supply: str


class Reading(msgspec.Struct, frozen=True):
    """A snapshot, and what the documents left out of it."""

    scale_set: ScaleSet
    gaps: tuple[Gap, ...]


def looks_like(document: Any) -> str:
    """Tell what a parsed document is: "model", "instances" (a list), "both" ({"model", "instances"}), or "" (neither)."""
    return _kind_of(_Node(document, ""))


def read_scale_set(documents: Sequence[tuple[str, Any]], *, watch: Sequence[str] = ()) -> Reading:
    """Read one scale set from its documents, each (name for messages, parsed JSON).

    Exactly one is, or holds, the model; any number are instance lists (pages of one list), or none. One that holds everything
    may hold the set's view (`instanceView`), `rollingUpgrade`, and `runCommands` (instance id to names) as well. `watch`: dotted
    paths under the model document, in wire case, `properties.` optional; their values, None where absent, go to
    `Model.settings` under the path with its leading part. One may be `rollingUpgrades/latest`. Raises `InputError` saying what,
    where, found, expected.
    """
    inside = [(f"{name}: rollingUpgrade", found) for name, value in documents if (found := _inner_rollout(value))]
    rollouts = [(name, value) for name, value in documents if _is_rollout(_Node(value, name))] + inside
    if len(rollouts) > 1:
        raise InputError("more than one rollingUpgrades/latest", ", ".join(name for name, _ in rollouts), "", "one")
    documents = [one for one in documents if one not in rollouts]
    model_node, lists, set_view = _sort_documents(documents)
    identity = _identify(model_node)
    seen = [_read_instance(item) for _, items in lists for item in _own_items(items, identity)]
    _refuse_duplicates(seen)
    model, gaps = _read_model(model_node, identity, seen, set_view, watch)
    gaps += _list_gaps(model, lists, len(seen)) + _instance_gaps(model, seen)
    ran = {each: names for name, value in documents for each, names in _inner_runs(_Node(value, name))}
    read = scale_set(
        model,
        (msgspec.structs.replace(one, run_commands=ran.get(one.id, ())) for one in (each.instance for each in seen)),
    )
    if rollouts:
        read = msgspec.structs.replace(read, rolling_upgrade=read_rolling_upgrade(rollouts[0][1], rollouts[0][0]))
    return Reading(scale_set=read, gaps=tuple(gaps))


def read_rolling_upgrade(document: Any, where: str) -> RollingUpgrade | None:
    """Read `rollingUpgrades/latest` (rule 10); None where there was no rollout yet. Raises `InputError`."""
    node = _Node(document, where)
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
    for item in (_list_in(_Node(document, where)) or _Node([], where)).items():
        facts = item.facts()
        state = facts.object("instanceView").text("executionState") or facts.text("provisioningState") or ""
        name = item.text("name")
        if name and state.lower() == "succeeded":
            found.append(ran_as(name, facts.object("source").text("script")))
    return tuple(found)


# Walking a document.


class _Node:
    """A value and its way from the document's root; a key that is absent or null gives an empty node."""

    __slots__ = ("_lower", "key", "parent", "value")

    def __init__(self, value: Any, key: str, parent: _Node | None = None) -> None:
        self.value, self.key, self.parent = value, key, parent
        self._lower: dict[str, str] | None = None

    def __bool__(self) -> bool:
        return self.value is not None

    def where(self) -> str:
        steps, node = "", self
        while node.parent is not None:
            steps, node = node.key + steps, node.parent
        return f"{node.key or 'the document'}: ${steps}" if steps else node.key or "the document"

    def wrong(self, expected: str, fix: str = _AS_GIVEN) -> InputError:
        what = self.key.removeprefix(".") if self.parent is not None else "the document"
        return InputError(f"{what} has the wrong type or value", self.where(), _found(self.value), expected, fix)

    def get(self, key: str) -> _Node:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        if key in self.value:
            return _Node(self.value[key], f".{key}", self)
        if self._lower is None:
            self._lower = {str(name).lower(): name for name in self.value}
        name = self._lower.get(key.lower(), key)
        return _Node(self.value.get(name), f".{name}", self)

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and bool(self.get(key))

    def object(self, key: str) -> _Node:
        value, node = self.typed(key, dict, "an object"), self.get(key)
        return node if value is not None else _Node({}, node.key, self)

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.wrong("an array")
        return [_Node(value, f"[{index}]", self) for index, value in enumerate(self.value)]

    def each(self, key: str, kind: type[Any], expected: str) -> list[_Node]:
        found = [item for item in self.get(key).items() if item] if self.has(key) else []
        for item in found:
            if type(item.value) is not kind:
                raise item.wrong(expected)
        return found

    def objects(self, key: str) -> list[_Node]:
        return self.each(key, dict, "an object")

    def typed(self, key: str, kind: type[Any], expected: str) -> Any:
        node = self.get(key)
        if node and type(node.value) is not kind:
            raise node.wrong(expected)
        return node.value

    def text(self, key: str) -> str | None:
        return self.typed(key, str, "text") or None

    def integer(self, key: str) -> int | None:
        return cast("int | None", self.typed(key, int, "a whole number"))

    def flag(self, key: str) -> bool | None:
        return cast("bool | None", self.typed(key, bool, "true or false"))

    def texts(self, key: str) -> tuple[str, ...]:
        found = [item for item in self.each(key, str, "text") if item.value]
        for item in found:
            if len(item.value) > _NAME_MAX:
                raise item.wrong(f"at most {_NAME_MAX} characters")
        return tuple(item.value for item in found)

    def millis(self, key: str) -> int | None:
        text = self.text(key)
        if text is None:
            return None
        match = _DURATION.fullmatch(text)
        if match is None:
            raise self.get(key).wrong("an ISO 8601 duration such as PT5M", "write days, hours, minutes and seconds")
        days, hours, minutes, seconds = (int(match[part] or 0) for part in "dhms")
        whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return whole * 1000 + int(((match["f"] or "") + "000")[:3])

    def moment(self, key: str) -> int | None:
        """A time, in ms since 1970 (rule 10)."""
        text = self.text(key)
        if text is None:
            return None
        match = _MOMENT.fullmatch(text)
        if match is None:
            raise self.get(key).wrong("a time such as 2026-05-19T10:00:00.1234567+00:00")
        year, month, day, hour, minute, second = (int(match[part]) for part in ("y", "mo", "d", "h", "mi", "s"))
        # Days from 1970: years begin in March, so that the day that comes every fourth year is the last one.
        shifted = year - (month <= 2)
        of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
        days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468
        offset = 0 if match["sign"] is None else (int(match["oh"]) * 60 + int(match["om"])) * int(match["sign"] + "1")
        whole = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
        return whole * 1000 + int(((match["f"] or "") + "000")[:3])

    def closed(self, key: str, words: type[_E]) -> _E | None:
        """Rule 2, closed vocabulary."""
        text = self.text(key)
        known = [word for word in words if word.name != "UNKNOWN"]
        found = next((word for word in known if text and word.value == text.lower()), None)
        if text and found is None:
            raise self.get(key).wrong(" or ".join(str(word.value).capitalize() for word in known))
        return found

    def facts(self) -> _Node:
        """Rule 1: where this resource keeps its properties."""
        return self.object("properties") if self.has("properties") else self


def _open(words: type[_E], text: str | None) -> _E:
    """Rule 2, open vocabulary: every enum read this way has a member `unknown`."""
    return next((word for word in words if text and word.value == text.lower()), words("unknown"))


def _found(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else f"the number {value!r:.40}"


# Telling documents apart.


def _type_of(node: _Node) -> str:
    value = node.get("type").value
    return value.lower() if isinstance(value, str) else ""


def _id_of(node: _Node) -> str:
    value = node.get("id").value
    return value if isinstance(value, str) else ""


def _is_set(node: _Node) -> bool:
    if not isinstance(node.value, dict):
        return False
    if _type_of(node):
        return _type_of(node) == _SET_TYPE
    match = _SET_ID.fullmatch(_id_of(node))
    inner = node.get("properties") if isinstance(node.get("properties").value, dict) else node
    return bool(match and not match["instance"]) or inner.has("upgradePolicy") or inner.has("virtualMachineProfile")


def _is_rollout(node: _Node) -> bool:
    if not isinstance(node.value, dict):
        return False
    if _type_of(node):
        return _type_of(node) == f"{_SET_TYPE}/rollingupgrades"
    inner = node.get("properties") if isinstance(node.get("properties").value, dict) else node
    return inner.has("runningStatus") and inner.has("progress")


def _inner_rollout(document: Any) -> Any:
    """`rollingUpgrades/latest` in a document that holds everything (a snapshot)."""
    node = _Node(document, "")
    return node.get("rollingUpgrade").value if _kind_of(node) == "both" else None


def _is_instance(node: _Node) -> bool:
    if not isinstance(node.value, dict) or _is_set(node):
        return False
    if _type_of(node):
        return _type_of(node) in _VM_TYPES
    return node.has("instanceId") or "/virtualmachines/" in _id_of(node).lower()


def _is_plain_vm(node: _Node) -> bool:
    return _type_of(node) == _VM_TYPES[1] or (not _type_of(node) and _VM_ID.fullmatch(_id_of(node)) is not None)


def _list_in(node: _Node) -> _Node | None:
    """Find the array of a list document: bare, as az prints, or under `value`, as the wire has it."""
    inner = node if isinstance(node.value, list) else node.get("value") if isinstance(node.value, dict) else node
    return inner if isinstance(inner.value, list) else None


def _inner_runs(node: _Node) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What was carried out in each instance, where one document holds everything (`planner.scripts`)."""
    if _kind_of(node) != "both":
        return
    told = node.object("runCommands")
    for name in told.value:
        yield str(name), told.texts(str(name))


def _kind_of(node: _Node) -> str:
    listed = _list_in(node)
    if listed is not None:
        return "instances" if not listed.value or any(_is_instance(item) for item in listed.items()) else ""
    if not isinstance(node.value, dict):
        return ""
    if _is_set(node):
        return "model"
    if _is_plain_vm(node):  # `az vm get-instance-view --ids` prints a list of one VM without its brackets
        return "instances"
    return "both" if node.has("model") and {"model", "instances"} <= {str(key).lower() for key in node.value} else ""


def _describe(node: _Node) -> str:
    """Say what a document that is refused looks like."""
    listed = _list_in(node)
    if listed is not None:
        sets = sum(_is_set(item) for item in listed.items())
        return f"a list of {sets} scale set(s)" if sets else f"an array of {len(listed.value)} item(s), no instance"
    if not isinstance(node.value, dict):
        return _found(node.value)
    error = node.get("error") if isinstance(node.get("error").value, dict) else node
    code = error.get("code").value
    if isinstance(code, str) and (error is not node or node.has("message")):
        return f"an ARM error body, code {code[:80]!r}"
    for told, description in (
        (_is_instance(node), "one instance, not a list of them"),
        (bool(_type_of(node)), f"a resource of type {_type_of(node)[:80]!r}"),
        (node.has("vmss"), "the output of `az vmss create`"),
        (node.has("$schema"), "an ARM template"),
        (node.has("statuses"), "an instance view alone"),
    ):
        if told:
            return description
    keys = ", ".join(repr(str(key)[:40]) for key in list(node.value)[:5])
    return f"an object with the keys {keys}" if keys else "an empty object"


def _sort_documents(documents: Sequence[tuple[str, Any]]) -> tuple[_Node, list[tuple[_Node, list[_Node]]], _Node]:
    """Find the model, the instance lists (document, items), and the set's own instance view where one is given."""
    models: list[_Node] = []
    lists: list[tuple[_Node, list[_Node]]] = []
    set_view = _Node({}, "")
    for name, value in documents:
        node = _Node(value, name)
        parts = [node]
        if _kind_of(node) == "both":
            for key in node.value:
                if str(key).lower() not in ("model", "instances", "instanceview", "rollingupgrade", "runcommands"):
                    raise InputError(
                        f"unknown key {key!r}",
                        node.where(),
                        "",
                        "model, instances, instanceView, rollingUpgrade, runCommands",
                    )
            set_view = node.object("instanceView")
            parts = [part for part in (node.get("model"), node.get("instances")) if part]
        for part in parts:
            kind = _kind_of(part)
            if kind == "model":
                models.append(part)
            elif kind == "instances":
                listed = _list_in(part)
                lists.append((part, listed.items() if listed is not None else [part]))
            else:
                raise InputError(
                    "not an ARM scale set",
                    part.where(),
                    _describe(part),
                    "a scale set, a list of its instances, or {model, instances}",
                    "take them with `az vmss show` and `az vmss list-instances --expand instanceView`, both `-o json`",
                )
    if len(models) != 1:
        where = ", ".join(model.where() for model in models) or ", ".join(name for name, _ in documents)
        what = "no scale-set model among the documents" if not models else f"{len(models)} scale-set models"
        raise InputError(what, where, "", "exactly one", "add the output of `az vmss show -o json`" * (not models))
    return models[0], lists, set_view


# The model.


class _Identity(msgspec.Struct, frozen=True):
    name: str
    id: str


def _identify(node: _Node) -> _Identity:
    """Name and ARM id of the model."""
    resource_id = node.text("id") or ""
    match = _SET_ID.fullmatch(resource_id)
    if resource_id and (match is None or match["instance"]):
        raise node.get("id").wrong("the ARM id of a scale set")
    name = node.text("name") or (match["name"] if match else None)
    if name is None:
        raise InputError("the scale set has neither a name nor an id", node.where(), "", "at least its name", _AS_GIVEN)
    return _Identity(name, resource_id.rstrip("/"))


def _read_model(
    node: _Node, identity: _Identity, seen: Sequence[_Seen], set_view: _Node, watch: Sequence[str]
) -> tuple[Model, list[Gap]]:
    facts = node.facts()
    policy, profile = facts.object("upgradePolicy"), facts.object("virtualMachineProfile")
    mode, capacity = policy.closed("mode", UpgradeMode), node.object("sku").integer("capacity")
    if capacity is not None and capacity < 0:
        raise node.object("sku").get("capacity").wrong("0 or more")
    storage, zone_balance = profile.object("storageProfile"), facts.flag("zoneBalance")
    os_disk = storage.object("osDisk")
    publishers = [(each.facts().text("publisher") or "").lower() for each in _extensions(profile)]
    views = (set_view, node, node.object("instanceView"), facts.object("instanceView"))
    model = Model(
        name=identity.name,
        id=identity.id,
        unique_id=facts.text("uniqueId") or "",
        location=node.text("location") or "",
        orchestration=facts.closed("orchestrationMode", Orchestration) or Orchestration.UNIFORM,
        mode=mode or UpgradeMode.MANUAL,
        rolling=_rolling(policy),
        auto_os=_auto_os(policy),
        repairs=_repairs(facts, views),
        image=_image(storage),
        sku=node.object("sku").text("name"),
        capacity=len(seen) if capacity is None else capacity,
        zones=node.texts("zones"),
        fault_domain_count=facts.integer("platformFaultDomainCount"),
        single_placement_group=facts.flag("singlePlacementGroup"),
        overprovision=facts.flag("overprovision"),
        # api-version 2017-03-30 answers with `zoneBalanace` (recorded).
        zone_balance=facts.flag("zoneBalanace") if zone_balance is None else zone_balance,
        health_source=_health_source(facts, profile),
        os=_operating_system(profile, seen),
        provisioning=_provisioning(facts.get("provisioningState"), [])[0],
        service_fabric="microsoft.azure.servicefabric" in publishers,
        ephemeral_os_disk=(os_disk.object("diffDiskSettings").text("option") or "").lower() == "local",
        unmanaged_disks=bool(os_disk.texts("vhdContainers") or os_disk.object("image").text("uri")),
        etag=node.text("etag"),
        settings=_watched(node, watch),
    )
    suspension = any(view.has("orchestrationServices") for view in views)
    return model, _model_gaps(model, mode=mode is not None, capacity=capacity is not None, suspension=suspension)


def _rolling(policy: _Node) -> RollingPolicy | None:
    if not policy.has("rollingUpgradePolicy"):
        return None
    node = policy.object("rollingUpgradePolicy")
    batch = node.integer("maxBatchInstancePercent")
    # 2017-03-30 spelled it without "max" in rollingUpgrades/latest (recordings.md A).
    numbers = {
        "max_batch_percent": node.integer("batchInstancePercent") if batch is None else batch,
        "max_unhealthy_percent": node.integer("maxUnhealthyInstancePercent"),
        "max_unhealthy_upgraded_percent": node.integer("maxUnhealthyUpgradedInstancePercent"),
        "pause_between_batches_ms": node.millis("pauseTimeBetweenBatches"),
    }
    return RollingPolicy(
        **{name: number for name, number in numbers.items() if number is not None},
        cross_zone=node.flag("enableCrossZoneUpgrade") or False,
        prioritize_unhealthy=node.flag("prioritizeUnhealthyInstances") or False,
        rollback_failed=node.flag("rollbackFailedInstancesOnPolicyBreach") or False,
        max_surge=node.flag("maxSurge") or False,
    )


def _auto_os(policy: _Node) -> AutomaticOsUpgrade | None:
    # `automaticOSUpgrade` and `autoOSUpgradePolicy` are older names (recorded: 2017-03-30 to 2019-03-01, 2018-06-01).
    if not any(policy.has(key) for key in ("automaticOSUpgradePolicy", "automaticOSUpgrade", "autoOSUpgradePolicy")):
        return None
    node, older = policy.object("automaticOSUpgradePolicy"), policy.object("autoOSUpgradePolicy")
    enabled, keep = node.flag("enableAutomaticOSUpgrade"), node.flag("disableAutomaticRollback")
    return AutomaticOsUpgrade(
        enabled=bool(policy.flag("automaticOSUpgrade") if enabled is None else enabled),
        disable_rollback=bool(older.flag("disableAutoRollback") if keep is None else keep),
        use_rolling_policy=node.flag("useRollingUpgradePolicy") or False,
        deferral=node.flag("osRollingUpgradeDeferral") or False,
    )


def _repairs(facts: _Node, views: Iterable[_Node]) -> AutomaticRepairs | None:
    if not facts.has("automaticRepairsPolicy"):
        return None
    node = facts.object("automaticRepairsPolicy")
    services = [service for view in views for service in view.objects("orchestrationServices")]
    states = {(each.text("serviceName") or "").lower(): each.text("serviceState") or "" for each in services}
    default, grace = AutomaticRepairs(), node.millis("gracePeriod")
    return AutomaticRepairs(
        enabled=node.flag("enabled") or False,
        grace_ms=default.grace_ms if grace is None else grace,
        action=(node.text("repairAction") or default.action).lower(),
        suspended=states.get("automaticrepairs", "").lower() == "suspended",
    )


def _extensions(profile: _Node) -> list[_Node]:
    return profile.object("extensionProfile").objects("extensions")


def _health_source(facts: _Node, profile: _Node) -> HealthSource:
    """Rule 6."""
    for extension in _extensions(profile):
        inner = extension.facts()
        # Lifted beside the resource's own `type`, az calls properties.type `typePropertiesType`.
        types = [(inner.text(key) or "").lower() for key in ("type", "typePropertiesType")]
        if (inner.text("publisher") or "").lower() == "microsoft.managedservices" and any(
            each.startswith("applicationhealth") for each in types
        ):
            return HealthSource.EXTENSION
    if profile.object("networkProfile").object("healthProbe").text("id"):
        return HealthSource.PROBE
    external = facts.object("externalHealthPolicy").flag("enabled")
    return HealthSource.EXTENSION if external else HealthSource.NONE


def _operating_system(profile: _Node, seen: Sequence[_Seen]) -> OperatingSystem:
    """Said by the OS disk, implied by the OS profile, or said by the instances."""
    said = profile.object("storageProfile").object("osDisk").closed("osType", OperatingSystem)
    if said is not None:
        return said
    for key, meant in (
        ("linuxConfiguration", OperatingSystem.LINUX),
        ("windowsConfiguration", OperatingSystem.WINDOWS),
    ):
        if profile.object("osProfile").has(key):
            return meant
    return next((each.os for each in seen if each.os is not None), OperatingSystem.UNKNOWN)


def _image(storage: _Node) -> ImageReference | None:
    """Rule 5."""
    node = storage.object("imageReference")
    image_id = node.text("id") or node.text("sharedGalleryImageId") or node.text("communityGalleryImageId")
    image = ImageReference(
        publisher=node.text("publisher"),
        offer=node.text("offer"),
        sku=node.text("sku"),
        version=node.text("version"),
        exact_version=node.text("exactVersion"),
        id=image_id,
    )
    if image != ImageReference():
        return image
    uri = storage.object("osDisk").object("image").text("uri")
    return ImageReference(uri=uri) if uri else None


def _watched(node: _Node, watch: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in watch:
        head, dot, rest = path.partition(".")
        if head.lower() not in _TOP_LEVEL:
            head, rest = "properties", path
        elif head.lower() == "properties" and not dot:
            rest = ""
        steps = [rest] if head.lower() == "tags" else rest.split(".")  # a tag's name may hold dots
        if "" in steps and (dot or head.lower() == "properties"):
            raise InputError("a watched path has an empty part", "", repr(path), "such as sku.name", "")
        place = node.facts() if head.lower() == "properties" else node.get(head)
        for step in steps if rest else ():
            place = place.get(step) if isinstance(place.value, dict) else _Node(None, step, place)
        values[".".join([head.lower(), *([rest] if rest else [])])] = place.value
    return values


# The instances.


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, and how much its document said."""

    instance: Instance
    where: str
    viewed: bool
    protection_told: bool
    os: OperatingSystem | None


def _own_items(items: Sequence[_Node], identity: _Identity) -> Iterable[_Node]:
    """Rule 7."""
    for item in items:
        if not _is_instance(item):
            raise InputError("not an instance of a scale set", item.where(), _describe(item), "an instance", _AS_GIVEN)
        facts = item.facts()
        own = _SET_ID.fullmatch(item.text("id") or "")
        if own is None:
            own = _SET_ID.fullmatch(facts.object("virtualMachineScaleSet").text("id") or "")
            if own is None and _is_plain_vm(item):
                fix = "keep only those whose virtualMachineScaleSet.id is the set's (az: --query)"
                raise InputError(
                    "a VM of no scale set", item.where(), _found(_id_of(item)), f"one of {identity.name}", fix
                )
        if own is not None:
            wanted, got = (identity.id, own["set"]) if identity.id else (identity.name, own["name"])
            if wanted.lower() != got.lower():
                fix = "give the model and the instances of one set"
                raise InputError("an instance of another scale set", item.where(), got, wanted, fix)
        yield item


def _refuse_duplicates(seen: Sequence[_Seen]) -> None:
    first: dict[str, str] = {}
    for each in seen:
        key = each.instance.id.lower()
        if key in first:
            fix = "give each page of the list once"
            what = f"instance {each.instance.id!r} stands twice"
            raise InputError(what, each.where, f"the first at {first[key]}", "every id once", fix)
        first[key] = each.where


def _instance_id(item: _Node) -> str:
    own = _SET_ID.fullmatch(_id_of(item)) or _VM_ID.fullmatch(_id_of(item))
    found = item.text("instanceId") or (own["instance"] if own else None) or item.text("name")
    if not found or len(found) > _NAME_MAX:
        expected = f"instanceId, id or name of at most {_NAME_MAX} characters"
        raise InputError("an instance has no usable instanceId", item.where(), "", expected, _AS_GIVEN)
    return found


def _read_instance(item: _Node) -> _Seen:
    facts = item.facts()
    view, storage = facts.object("instanceView"), facts.object("storageProfile")
    os_disk, protection = storage.object("osDisk"), facts.object("protectionPolicy")
    projected = not item.text("name") and not facts.has("storageProfile")
    codes = [status.text("code") or "" for status in view.objects("statuses")]
    provisioning, error = _provisioning(facts.get("provisioningState"), codes)
    latest = facts.flag("latestModelApplied")
    managed = (os_disk.object("managedDisk").text("id") or "").rpartition("/")[2]
    fault_domain = _domain(view.integer("platformFaultDomain"), facts.integer("platformFaultDomain"))
    phase, skip = _custom_metrics(view)
    instance = Instance(
        id=_instance_id(item),
        vm_id=facts.text("vmId") or "",
        zone=next(iter(item.texts("zones")), None),  # recorded: zones [null] in lists of Flexible sets
        placement_group=view.text("placementGroupId") or view.text("groupId"),  # groupId: 2016-04-30-preview (recorded)
        update_domain=_domain(view.integer("platformUpdateDomain")),
        fault_domain=fault_domain,
        image=_image(storage),
        latest_model=None if projected and not latest else latest,
        provisioning=provisioning,
        provisioning_error=error,
        power=_power(codes, facts.text("powerState")),
        health=_health(view.object("vmHealth").object("status").text("code")),
        protected=protection.flag("protectFromScaleSetActions") or False,
        scale_in_protected=protection.flag("protectFromScaleIn") or False,
        os_disk=os_disk.text("name") or managed or os_disk.object("vhd").text("uri"),
        upgrade_phase=phase,
        skip_upgrade=skip,
    )
    return _Seen(
        instance=instance,
        where=item.where(),
        viewed=bool(view.value),
        protection_told=bool(protection.value) or facts.has("storageProfile"),
        os=os_disk.closed("osType", OperatingSystem),
    )


def _domain(*told: int | None) -> int | None:
    """-1 is how a VM asks for any domain (virtualMachines, platformFaultDomain): not a domain."""
    return next((number for number in told if number is not None and number >= 0), None)


def _states(codes: Iterable[str], kind: str) -> list[list[str]]:
    """Split each status code of that kind into the parts after `kind/`."""
    return [parts[1:] for parts in (code.split("/") for code in codes) if parts[0].lower() == kind and len(parts) > 1]


def _provisioning(told: _Node, codes: Iterable[str]) -> tuple[Provisioning, str | None]:
    """Rule 4."""
    if told and (isinstance(told.value, bool) or not isinstance(told.value, str | int)):
        raise told.wrong("text")
    said = told.value if isinstance(told.value, str) else None
    found = [(_open(Provisioning, word), rest) for word, *rest in _states(codes, "provisioningstate")]
    failed = next((rest for state, rest in found if state is Provisioning.FAILED), None)
    if said:
        state = _open(Provisioning, said)
        if failed is None or state not in (Provisioning.SUCCEEDED, Provisioning.FAILED):
            return state, None
    if failed is not None:
        return Provisioning.FAILED, "/".join(failed) or None
    if any(part.lower() == "osprovisioninginprogress" for _, rest in found for part in rest):
        return Provisioning.CREATING, None
    return next((state for state, _ in found), Provisioning.UNKNOWN), None


def _power(codes: Iterable[str], shown: str | None) -> Power:
    """From the view, else from what `az vm list --show-details` adds: powerState "VM running"."""
    words = [word for word, *_ in _states(codes, "powerstate")] or (shown or "").split()[-1:]
    return _open(Power, next(iter(words), None))


def _health(code: str | None) -> Health:
    if code is None:
        return Health.ABSENT
    words = _states([code], "healthstate")
    return _open(Health, words[0][0] if words else None)


def _custom_metrics(view: _Node) -> tuple[int | None, bool]:
    """Rule 9: (PhaseOrderingNumber, SkipUpgrade)."""
    for extension in view.objects("extensions"):
        for status in extension.objects("substatuses"):
            if (status.text("code") or "").lower().startswith("componentstatus/custommetrics/"):
                told = _json(_json(status.text("message")))
                asked = told.get("rollingUpgrade") if isinstance(told, dict) else None
                if isinstance(asked, dict):
                    phase = asked.get("PhaseOrderingNumber")
                    return phase if type(phase) is int else None, asked.get("SkipUpgrade") is True
    return None, False


def _json(value: Any) -> Any:
    """Text that holds JSON, as what it holds; anything else as it is."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return None


# The gaps.


def _model_gaps(model: Model, *, mode: bool, capacity: bool, suspension: bool) -> list[Gap]:
    repairs = not (model.repairs and model.repairs.enabled) or suspension
    told = {
        "no-resource-id": (bool(model.id), "The model has no ARM id, so nothing can be sent to it."),
        "no-unique-id": (
            bool(model.unique_id),
            "The model has no uniqueId, which tells the set from a later namesake.",
        ),
        "no-upgrade-policy": (mode, "The model names no upgrade mode; it is taken as Manual."),
        "no-capacity": (capacity, f"The model has no capacity; it is taken as the {model.capacity} listed."),
        "no-image": (model.image is not None, "The model names no image."),
        "no-os": (model.os is not OperatingSystem.UNKNOWN, "Nothing says whether this is Linux or Windows."),
        "no-provisioning-state": (
            model.provisioning is not Provisioning.UNKNOWN,
            "The model does not tell its provisioning state in a known word.",
        ),
        "no-health-source": (
            model.health_source is not HealthSource.NONE,
            "The model has neither an application health extension nor a health probe.",
        ),
        "no-repairs-state": (
            repairs,
            "Only the set's instance view tells whether automatic repairs are suspended; add it to the model document"
            " as `instanceView`.",
        ),
    }
    supply = {"no-health-source": "", "no-repairs-state": "set-view"}
    return [
        Gap(code, says, _command(supply.get(code, "show"), model)) for code, (known, says) in told.items() if not known
    ]


def _list_gaps(model: Model, lists: Sequence[tuple[_Node, list[_Node]]], count: int) -> list[Gap]:
    found = {}
    if not count:
        found["no-instances"] = "The instance list is empty." if lists else "No instance list was given."
    if lists and all(node.has("nextLink") for node, _ in lists):
        found["list-incomplete"] = "The list goes on at its nextLink, and no last page was given."
    elif count and count != model.capacity:
        found["capacity-differs"] = (
            f"{count} instances are listed and the capacity is {model.capacity}: the list is filtered, or the set is"
            " still scaling or overprovisioned."
        )
    return [Gap(code, says, _command("list", model)) for code, says in found.items()]


def _has_exact_version(instance: Instance) -> bool:
    image = instance.image
    if image is None:
        return False
    if image.uri or image.exact_version:
        return True
    if image.id:  # a managed image has no versions; a gallery image's id may name one
        return "/galleries/" not in image.id.lower() or "/versions/" in image.id.lower()
    return (image.version or "latest").lower() != "latest"


# What an instance may leave untold. The first five stand in the instance view only.
_UNTOLD = {
    "no-instance-view": "carry an instance view",
    "no-power-state": "tell their power state",
    "health-not-reported": "report health, though the model has a health source",
    "no-update-domains": "tell their update domain",
    "no-fault-domains": "tell their fault domain",
    "no-zones": "tell their zone",
    "no-exact-version": "tell exactly which image they booted",
    "no-latest-model": "tell whether they are on the latest model",
    "no-instance-provisioning-state": "tell their provisioning state in a known word",
    "no-protection": "tell whether they are protected",
    "no-os-disk": "name their OS disk",
    "no-vm-id": "tell their vmId",
}
_VIEW_ONLY = tuple(_UNTOLD)[:5]
# By design not shown for the VMs of a Flexible set (azure-vmss.md 3.2, 5).
_NEVER_FLEXIBLE = ("no-update-domains", "no-fault-domains", "no-latest-model")


def _untold(each: _Seen, model: Model) -> set[str]:
    instance = each.instance
    told = {
        "no-instance-view": each.viewed,
        "no-power-state": instance.power is not Power.UNKNOWN,
        "health-not-reported": model.health_source is HealthSource.NONE or instance.health is not Health.ABSENT,
        "no-update-domains": instance.update_domain is not None,
        "no-fault-domains": instance.fault_domain is not None,
        "no-zones": not model.zones or instance.zone is not None,
        "no-exact-version": _has_exact_version(instance),
        "no-latest-model": instance.latest_model is not None,
        "no-instance-provisioning-state": instance.provisioning is not Provisioning.UNKNOWN,
        "no-protection": each.protection_told,
        "no-os-disk": instance.os_disk is not None,
        "no-vm-id": bool(instance.vm_id),
    }
    return {code for code, known in told.items() if not known}


def _instance_gaps(model: Model, seen: Sequence[_Seen]) -> list[Gap]:
    gaps, untold = [], [(each, _untold(each, model)) for each in seen]
    for code, words in _UNTOLD.items():
        silent = [each for each, codes in untold if code in codes]
        # Asking again is vain where it is never shown, or where the view was given and says nothing.
        hidden = model.orchestration is Orchestration.FLEXIBLE and code in _NEVER_FLEXIBLE
        vain = hidden or (code in _VIEW_ONLY and all(each.viewed for each in silent))
        says = f"{len(silent)} of {len(seen)} instances do not {words}."
        if silent:
            gaps.append(Gap(code, says, "" if vain else _command("list", model)))
    return gaps


def _command(supply: str, model: Model) -> str:
    """Write the az command, with the set's own name and group where they are known."""
    match = _SET_ID.fullmatch(model.id)
    group, name = shlex.quote(match["group"]) if match else "RESOURCE_GROUP", shlex.quote(model.name)
    if supply == "list" and model.orchestration is Orchestration.FLEXIBLE:
        # list-instances answers ids only for a Flexible set (recorded, 2023); its VMs are plain VMs of the group.
        query = shlex.quote(f"[?ends_with(virtualMachineScaleSet.id || '', '/{model.name}')].id")
        return f"az vm get-instance-view --ids $(az vm list -g {group} --query {query} -o tsv) -o json"
    return {
        "show": f"az vmss show -g {group} -n {name} -o json",
        "set-view": f"az vmss get-instance-view -g {group} -n {name} -o json",
        "list": f"az vmss list-instances -g {group} -n {name} --expand instanceView -o json",
    }.get(supply, "")
