"""Replay against reality: recorded sessions against the world, put in their starting state and given their requests.

Rules:

1. *Scope*: recordings with a rolling upgrade, a cancel, a reimage, a manualupgrade or an error. All of their requests are
   sent that the world has a kind for, so that it is in the recorded state when the interesting ones come.
2. *Starting state*: the first model the recording shows; if it shows the creation, the state after that. Instances come
   from the first list, else they are numbered from 0, current and healthy. The health source is the best one any model of
   the session names.
3. *Time* is the recorded one. How long an operation on instances or on the model takes is given to the world (those
   durations are judged against their distributions elsewhere); how long Azure's own rollouts take is the world's affair.
4. Model updates are given as the difference between the model before and after, write-only parts of the request added.
5. Everything read is compared: see `_reads`. A difference is a `Finding`; `replay_exceptions.py` lists those accepted.
6. An operation that failed for reasons of its own (a VM that did not boot) is made to fail: a fault at its request.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.recorded_traffic import SHARED, Exchange, Seen, Session, read, sessions
from vmss_sim.world import errors, lifecycle
from vmss_sim.world.config import AutoOs, Image, Machine, Platform, Repairs, RollingPolicy, Timings, WorldConfig
from vmss_sim.world.draws import Draws
from vmss_sim.world.faults import Fault
from vmss_sim.world.operations import SET_KINDS, VM_TABLE
from vmss_sim.world.scale_set import World
from vmss_sim.world.timings import Empirical
from vmss_sim.world.vm import Reply, Vm

PROFILE = "properties.virtualMachineProfile."
LONG_S = 1_000_000.0
ROLLOUT_SLACK_MS = 3_000
OLD_SLACK_MS = 40_000
"""How far the end of a rollout may lie from a look at it: payload-timed, and older ones (known to a poll interval)."""
EXTERNAL = ("VMStartTimedOut", "OSProvisioningTimedOut", "VMExtensionProvisioningError", "ManagedServiceIdentityInternalError")
"""Rule 6."""

ACTIONS = {
    "/manualupgrade": "upgrade",
    "/reimage": "reimage",
    "/reimageall": "reimage-all",
    "/restart": "restart",
    "/start": "start",
    "/poweroff": "power-off",
    "/deallocate": "deallocate",
    "/redeploy": "redeploy",
    "/delete": "delete",
    "/osrollingupgrade": "os-rolling-upgrade",
    "/extensionrollingupgrade": "extension-rolling-upgrade",
    "/rollingupgrades/cancel": "cancel-rolling-upgrade",
}
ON_ONE = {
    "reimage": "reimage",
    "reimageall": "reimage-all",
    "restart": "restart",
    "start": "start",
    "poweroff": "power-off",
    "deallocate": "deallocate",
    "redeploy": "redeploy",
    "runcommand": "run-command",
}
_ONE = re.compile(r"/virtualmachines/([^/]+)(?:/([^/]+))?")
SCOPE = re.compile(r"rollingupgrade|/reimage|/manualupgrade")


class Finding(NamedTuple):
    """One comparison. kind: the request it is about, or the last one before it. what: the quantity."""

    recording: str
    index: int
    kind: str
    what: str
    recorded: object
    world: object

    @property
    def differs(self) -> bool:
        return self.recorded != self.world


class Scripted(Draws):
    """Luck that says what the script says: the recorded duration of whatever starts next."""

    def __init__(self) -> None:
        super().__init__(0, 0, 0)
        self.seconds = 0.0

    def later(self, purpose: str, slot: int, attempt: int) -> float:
        return self.seconds / LONG_S if purpose == "operation" or purpose.startswith("set/") else 0.5


_LINE = Empirical((0.0, LONG_S))
TIMINGS = Timings(
    operations=dict.fromkeys({*VM_TABLE, *SET_KINDS, "delete", "protect", "scale-out", "upgrade-current"}, _LINE), probe_ms=0
)


def in_scope(session: Session) -> bool:
    """Rule 1."""
    return any(
        one.status >= 400 or (one.method == "POST" and SCOPE.search(one.rest)) for one in session.exchanges
    ) or any(seen.status == "Failed" for seen in session.operations.values())


# -- Reading documents ----------------------------------------------------------------------------------------------------


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a document by path; list items by their name where they have one."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            name = item.get("name", number) if isinstance(item, dict) else number
            yield from flat(item, f"{path}[{name}]")
    elif value is not None:
        yield path, value


def profile(document: dict[str, Any]) -> dict[str, Any]:
    """The part of a model that instances are given: the VM profile and the size."""
    found = {path: value for path, value in flat(document) if path.startswith(PROFILE)}
    name = (document.get("sku") or {}).get("name")
    if name:
        found["sku.name"] = name
    return {path: value for path, value in found.items() if not path.endswith(("provisioningState", "timeCreated"))}


def policy(document: dict[str, Any]) -> dict[str, Any]:
    return dict((document.get("properties") or {}).get("upgradePolicy") or {})


def rolling(document: dict[str, Any]) -> RollingPolicy:
    raw = policy(document).get("rollingUpgradePolicy") or {}
    return RollingPolicy(
        max_batch_percent=raw.get("maxBatchInstancePercent", raw.get("batchInstancePercent", 20)),
        max_unhealthy_percent=raw.get("maxUnhealthyInstancePercent", 20),
        max_unhealthy_upgraded_percent=raw.get("maxUnhealthyUpgradedInstancePercent", 20),
        pause_ms=_pause_ms(raw.get("pauseTimeBetweenBatches", "PT0S")),
        cross_zone=bool(raw.get("enableCrossZoneUpgrade")),
        prioritize_unhealthy=bool(raw.get("prioritizeUnhealthyInstances")),
        rollback_failed=bool(raw.get("rollbackFailedInstancesOnPolicyBreach")),
        max_surge=bool(raw.get("maxSurge")),
    )


def _pause_ms(text: str) -> int:
    found = re.fullmatch(r"PT(?:(\d+)M)?(?:(\d+)S)?", text)
    assert found is not None, text
    return 1000 * (60 * int(found.group(1) or 0) + int(found.group(2) or 0))


def auto_os(document: dict[str, Any]) -> AutoOs:
    raw = policy(document).get("automaticOSUpgradePolicy") or {}
    enabled = raw.get("enableAutomaticOSUpgrade", policy(document).get("automaticOSUpgrade"))
    return AutoOs(
        enabled=bool(enabled),
        disable_rollback=bool(raw.get("disableAutomaticRollback")),
        use_rolling_policy=bool(raw.get("useRollingUpgradePolicy")),
    )


def repairs(document: dict[str, Any]) -> Repairs:
    raw = (document.get("properties") or {}).get("automaticRepairsPolicy") or {}
    return Repairs(enabled=bool(raw.get("enabled")))


def health_source(document: dict[str, Any]) -> str:
    inner = (document.get("properties") or {}).get("virtualMachineProfile") or {}
    if (inner.get("networkProfile") or {}).get("healthProbe"):
        return "probe"
    extensions = (inner.get("extensionProfile") or {}).get("extensions") or []
    types = [str((one.get("properties") or {}).get("type", "")) for one in extensions]
    return "extension" if any(one.startswith("ApplicationHealth") for one in types) else "none"


def _mode(document: dict[str, Any]) -> str:
    return str(policy(document).get("mode") or "Manual").lower()


def _is_model(one: Exchange) -> bool:
    return (
        not one.rest
        and one.status in (200, 201)
        and isinstance(one.response, dict)
        and isinstance(one.response.get("properties"), dict)
    )


def instances(one: Exchange) -> list[dict[str, Any]]:
    """The instances an answer describes, whole ones only: with `$select=instanceView` they have `false` (and 0) where they
    leave out `latestModelApplied` (and `provisioningState`).
    """
    if "select" in one.query.lower() or not one.rest.startswith("/virtualmachines") or one.status != 200 or not isinstance(one.response, dict):
        return []
    found = one.response["value"] if isinstance(one.response.get("value"), list) else [one.response]
    return [vm for vm in found if isinstance((vm.get("properties") or {}).get("provisioningState"), str) and "instanceId" in vm]


def image(raw: dict[str, Any] | None, exact: str | None) -> Image | None:
    if not raw:
        return None
    known = {key: raw.get(key) for key in ("publisher", "offer", "sku", "version", "id")}
    return Image(exact=raw.get("exactVersion") or exact, **known)


# -- The starting state -----------------------------------------------------------------------------------------------------


def start(session: Session) -> tuple[WorldConfig, int, dict[str, Any]] | None:
    """Rule 2: the world's configuration, the position of the first exchange to replay, and the model as a document."""
    position = next((at for at, one in enumerate(session.exchanges) if _is_model(one)), None)
    if position is None:
        return None
    first = session.exchanges[position]
    document = first.response
    if first.method == "PUT" and first.status == 201:
        seen = session.operations.get(first.operation)
        if seen is None or seen.done_ms is None or seen.status != "Succeeded":
            return None
        done = seen.done_ms
        position = next(
            (at for at, one in enumerate(session.exchanges) if one.at_ms >= done and at > position and not one.polls),
            len(session.exchanges),
        )
    models = [one.response for one in session.exchanges if _is_model(one)]
    sources = {health_source(one) for one in models}
    machines = _machines(session, position, document)
    exact = next((one.image.exact for one in machines if one.image and one.image.exact), None)
    return (
        WorldConfig(
            name=session.name,
            machines=machines,
            model=profile(document),
            timings=TIMINGS,
            mode=_mode(document),
            health=next((one for one in ("extension", "probe") if one in sources), "none"),
            rolling=rolling(document),
            auto_os=auto_os(document),
            repairs=repairs(document),
            latest=exact or "1.0.0",
            flexible=(document["properties"].get("orchestrationMode") == "Flexible"),
            platform=Platform(os_rolling_needs_mode=session.recorded_on < "2017-12"),
        ),
        position,
        document,
    )


def _machines(session: Session, position: int, document: dict[str, Any]) -> tuple[Machine, ...]:
    """The instances at the start. Domains: as an instance view tells them, else id modulo 5 (so in 202 of 256 views)."""
    capacity = int((document.get("sku") or {}).get("capacity") or 0)
    profile_ = document["properties"].get("virtualMachineProfile") or {}
    version = (profile_.get("storageProfile") or {}).get("imageReference")
    rest = session.exchanges[position:]
    before = rest[: _first_change(rest)]
    known: dict[str, dict[str, Any]] = {}
    places: dict[str, tuple[int, int]] = {}
    gone: set[str] = set()
    for one in rest:
        for vm in instances(one):
            known.setdefault(vm["instanceId"], vm["properties"])
        for name, view in views(one):
            if "platformUpdateDomain" in view:
                places.setdefault(name, (view["platformUpdateDomain"], view.get("platformFaultDomain", 0)))
    for one in before:
        if one.status == 404 and (found := _ONE.match(one.rest)):
            gone.add(found.group(1))
    told = {vm["instanceId"]: vm["properties"] for one in before for vm in instances(one)}
    listed = [{vm["instanceId"] for vm in instances(one)} for one in before if one.rest == "/virtualmachines" and instances(one)]
    ids = list(listed[0]) if listed and len(listed[0]) == capacity else _guessed_ids(rest, known, gone, capacity)
    return tuple(
        Machine(
            id=name,
            vm_id=str(known.get(name, {}).get("vmId", name)),
            image=image((known.get(name, {}).get("storageProfile") or {}).get("imageReference") or version, "1.0.0"),
            update_domain=places.get(name, (int(name) % 5, 0))[0] if name.isdecimal() else None,
            fault_domain=places.get(name, (0, int(name) % 5))[1] if name.isdecimal() else None,
            latest=told.get(name, {}).get("latestModelApplied", True),
            protected=bool((told.get(name, {}).get("protectionPolicy") or {}).get("protectFromScaleSetActions")),
        )
        for name in sorted(ids, key=lambda one: (len(one), one))
    )


def _guessed_ids(rest: tuple[Exchange, ...], known: dict[str, Any], gone: set[str], capacity: int) -> list[str]:
    """Where no list shows all instances: those that requests or answers name, then the lowest free numbers."""
    named = dict.fromkeys(known)
    for one in rest:
        found = _ONE.match(one.rest)
        if found and one.status < 400:
            named.setdefault(found.group(1))
        for name in one.request.get("instanceIds") or [] if isinstance(one.request, dict) else []:
            if name != "*" and one.status < 400:
                named.setdefault(name)
    ids = [name for name in named if name not in gone]
    spare = (str(number) for number in range(capacity + len(ids) + len(gone)) if str(number) not in {*ids, *gone})
    while len(ids) < capacity:
        ids.append(next(spare))
    return ids[:capacity]


def views(one: Exchange) -> list[tuple[str, dict[str, Any]]]:
    """The instance views in an answer, by instance."""
    if one.status != 200 or not isinstance(one.response, dict):
        return []
    if one.rest.endswith("/instanceview") and (found := _ONE.match(one.rest)):
        return [(found.group(1), one.response)]
    items = one.response.get("value") if isinstance(one.response.get("value"), list) else [one.response]
    return [
        (vm["instanceId"], view)
        for vm in items
        if isinstance(vm, dict) and "instanceId" in vm and isinstance(view := (vm.get("properties") or {}).get("instanceView"), dict)
    ]


def _first_change(rest: tuple[Exchange, ...]) -> int:
    return next((at for at, one in enumerate(rest) if one.method != "GET"), len(rest))


# -- The replay -------------------------------------------------------------------------------------------------------------


class Replay:
    """One session; `findings` holds every comparison, equal or not."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.findings: list[Finding] = []
        self.skipped: Counter[str] = Counter()
        self.kind = "start"
        self.names: dict[str, str] = {}
        self.rollouts: set[str] = set()
        self.told: set[str] = set()

    def run(self) -> Replay:
        began = start(self.session)
        if began is None:
            for one in self.session.exchanges:
                self._error(one)
                if one.method == "PUT" and not one.rest and one.status >= 400 and isinstance(one.request, dict):
                    self._refused_creation(one)
            return self
        config, position, self.document = began
        self.draws = Scripted()
        self.world = World(config, self.draws, self._faults(position))
        self.written: dict[str, Any] = {}
        self.zero = self.session.exchanges[position].at_ms if position < len(self.session.exchanges) else 0
        self.sent = 0
        for one in self.session.exchanges[:position]:
            self._error(one)
        for one in self.session.exchanges[position:]:
            self.world.run(one.at_ms - self.zero, stop_on_wake=False)
            self._error(one)
            if one.method == "GET":
                self._reads(one)
            else:
                self._sends(one)
        return self

    def _note(self, one: Exchange, what: str, recorded: object, world: object) -> None:
        self.findings.append(Finding(self.session.recording, one.index, self.kind, what, recorded, world))

    def _faults(self, position: int) -> tuple[Fault, ...]:
        """Rule 6."""
        number, faults = 0, []
        for one in self.session.exchanges[position:]:
            if one.method == "GET" or self._request(one) is None:
                continue
            number += 1
            seen = self.session.operations.get(one.operation)
            if seen is not None and seen.code in EXTERNAL:
                wait = round((seen.seconds or 0) * 1000)
                faults.append(Fault(verdict="time-out", first=number, last=number, code=seen.code, delay_ms=wait))
        return tuple(faults)

    # -- requests

    def _request(self, one: Exchange) -> tuple[str, tuple[str, ...]] | None:
        """The world's kind and ids for a request; None where it has none."""
        body = one.request if isinstance(one.request, dict) else {}
        ids = tuple(body.get("instanceIds") or ())
        if not one.rest or one.rest.startswith("/extensions/"):
            return ("update-model", ()) if one.method in ("PUT", "PATCH", "DELETE") else None
        if one.method == "POST" and one.rest in ACTIONS:
            kind = ACTIONS[one.rest]
            lost = not body and kind in ("upgrade", "delete")  # some recorders kept no bodies of requests
            return kind, ("*",) if lost else ids
        found = _ONE.match(one.rest)
        if found is None:
            return None
        name, action = found.groups()
        if one.method == "DELETE" and action is None:
            return "delete", (name,)
        if one.method == "PUT" and action is None:
            return "protect", (name,)
        if one.method == "POST" and action in ON_ONE:
            return ON_ONE[action], (name,)
        return None

    def _sends(self, one: Exchange) -> None:
        request = self._request(one)
        if request is None:
            self.skipped[f"{one.method} {re.sub(r'/virtualmachines/[^/]+', '/virtualmachines/N', one.rest)}"] += 1
            return
        kind, ids = request
        args: dict[str, Any] = {}
        if kind == "update-model":
            args = self._update(one)
        elif kind == "protect" and isinstance(one.request, dict):
            raw = (one.request.get("properties") or {}).get("protectionPolicy")
            if raw is not None:
                args = {
                    "protected": bool(raw.get("protectFromScaleSetActions")),
                    "scale_in_protected": bool(raw.get("protectFromScaleIn")),
                }
        elif kind == "run-command":
            args = {"run_name": f"command-{one.index}"}
        self.kind = kind
        self.sent += 1
        name = f"operation-{self.sent}"
        self.draws.seconds = self._seconds(one, kind, args)
        held = self._scale_in(one, args["capacity"]) if "capacity" in args else []
        reply = self.world.submit(name, kind, ids, **args)
        for vm in held:
            vm.scale_in_protected = False
        if one.status >= 400:
            self._refusal(one, reply)
        elif not one.rest.startswith("/extensions/"):  # a resource of its own, that the world has not: 201, 202 to delete
            self._note(one, "status", one.status, reply.status)
        if one.operation and reply.operation is not None:
            self.names[one.operation] = name
            if kind.endswith("rolling-upgrade") or (kind == "update-model" and self.world.mode == "rolling"):
                self.rollouts.add(one.operation)
        if _is_model(one):
            running = reply.operation is not None and reply.operation.status == "running"
            self._note(one, "set", _state(one.response), "updating" if running else "succeeded")
            self.document = one.response

    def _scale_in(self, one: Exchange, capacity: int) -> list[Vm]:
        """Which instances a scale-in takes, compared; then made to be the recorded ones, since all that follows names ids."""
        world = self.world
        more = len(world.vms) - capacity
        later = (other for other in self.session.exchanges if other.index > one.index)
        after = next((instances(other) for other in later if other.rest == "/virtualmachines" and instances(other)), None)
        if more <= 0 or after is None:
            return []
        left = {vm["instanceId"] for vm in after}
        recorded = [vm for vm in world.vms.values() if vm.id not in left]
        if len(recorded) != more:
            return []
        chosen = lifecycle.scale_in_order(world)[:more]
        domains = [sorted(str(vm.machine.fault_domain) for vm in some) for some in (recorded, chosen)]
        self._note(one, "scale-in domain", *domains)
        self._note(one, "scale-in id", *(sorted(vm.id for vm in some) for some in (recorded, chosen)))
        held = [vm for vm in world.vms.values() if vm not in recorded and not vm.scale_in_protected]
        for vm in held:
            vm.scale_in_protected = True
        return held

    def _update(self, one: Exchange) -> dict[str, Any]:
        """Rule 4."""
        if one.rest.startswith("/extensions/") or not _is_model(one):
            body = one.request if isinstance(one.request, dict) else {}
            if one.rest:
                return {"patch": {f"{PROFILE}extensionProfile{one.rest}": repr(body) if one.method != "DELETE" else None}}
            return {"mode": _mode(body)} if policy(body) else {}
        before, after = self.document, one.response
        old, new = profile(before), profile(after)
        patch = {path: new.get(path) for path in {**old, **new} if old.get(path) != new.get(path)}
        if isinstance(one.request, dict):
            for path, value in profile(one.request).items():
                if path not in new and re.search(r"(userData|customData|adminPassword|protectedSettings)", path):
                    if self.written.get(path) != value and not _unread(path, old):
                        patch[path] = value
                    self.written[path] = value
        args: dict[str, Any] = {"patch": dict(sorted(patch.items()))}
        if _mode(before) != _mode(after):
            args["mode"] = _mode(after)
        if rolling(before) != rolling(after):
            args["rolling"] = rolling(after)
        if auto_os(before) != auto_os(after):
            args["auto_os"] = auto_os(after)
        if repairs(before) != repairs(after):
            args["repairs"] = repairs(after)
        capacity = (after.get("sku") or {}).get("capacity")
        if capacity is not None and capacity != (before.get("sku") or {}).get("capacity"):
            args["capacity"] = int(capacity)
        return args

    def _seconds(self, one: Exchange, kind: str, args: dict[str, Any]) -> float:
        """Rule 3: how long it takes, within what was looked at."""
        seen = self.session.operations.get(one.operation)
        if kind.endswith("rolling-upgrade") and not kind.startswith("cancel"):
            return 0.0
        if kind == "update-model" and args.get("mode", self.world.mode) == "rolling":
            return 0.2
        if seen is None or seen.done_ms is None:
            return 0.0 if seen is None or seen.running_ms is None else (seen.running_ms - one.at_ms) / 1000 + 1
        least = 0 if seen.running_ms is None else max(0, seen.running_ms - one.at_ms + 1)
        most = max(least, seen.done_ms - one.at_ms)
        wanted = most if seen.seconds is None else round(seen.seconds * 1000)
        return min(max(wanted, least), most) / 1000

    def _refused_creation(self, one: Exchange) -> None:
        """A set that was refused, as the update of a set in mode Manual to the mode it was to have."""
        wanted = one.request
        machines = (Machine(id="0", vm_id="0", image=None),)
        config = WorldConfig(
            name=self.session.name,
            machines=machines,
            model=profile(wanted),
            timings=TIMINGS,
            health=health_source(wanted),
            rolling=rolling(wanted),
        )
        self.world = World(config, Scripted())
        self.kind = "update-model"
        reply = self.world.submit("create", "update-model", mode=_mode(wanted))
        self._refusal(one, reply)

    def _refusal(self, one: Exchange, reply: Reply) -> None:
        code, message = _error_of(one.response)
        self._note(one, "status", one.status, reply.status)
        self._note(one, "code", code, reply.code)
        self._note(one, "message", message, reply.message)

    # -- reading

    def _reads(self, one: Exchange) -> None:
        world = self.world
        if one.polls:
            self._poll(one)
        elif _is_model(one):
            alive = sum(vm.provisioning != "deleting" for vm in world.vms.values())
            self._note(one, "capacity", int((one.response.get("sku") or {}).get("capacity") or 0), alive)
            self._note(one, "mode", _mode(one.response), world.mode)
            updating = any(operation.kind == "update-model" for operation in world.running.values())
            self._note(one, "set", _state(one.response), "updating" if updating else "succeeded")
            self.document = one.response
        elif one.rest == "/rollingupgrades/latest":
            self._latest(one)
        elif one.rest == "/osupgradehistory" and isinstance(one.response, dict):
            self._note(one, "history", len(one.response.get("value") or []), len(world.history))
        elif one.rest == "/virtualmachines" and "filter" not in one.query and "skiptoken" not in one.query:
            self._instances(one)
            listed = {vm["instanceId"] for vm in instances(one)}
            if listed and "nextLink" not in one.response:
                self._note(one, "ids", sorted(listed), sorted(world.vms))
        elif one.rest.startswith("/virtualmachines/") and one.rest.count("/") == 2:
            self._instances(one)
        elif one.rest.endswith("/instanceview") and one.rest.startswith("/virtualmachines/"):
            self._view(one, one.rest.split("/")[2], one.response)
        elif one.rest == "/instanceview" and isinstance(one.response, dict):
            self._summary(one)

    def _poll(self, one: Exchange) -> None:
        name = self.names.get(one.operation)
        if name is None or not isinstance(one.response, dict) or "status" not in one.response:
            return
        operation = self.world.operations[name]
        slack = 0
        if one.operation in self.rollouts:
            slack = ROLLOUT_SLACK_MS if self.session.operations[one.operation].seconds is not None else OLD_SLACK_MS
        if one.response["status"] != "InProgress":
            limit = self.world.now + slack
            while operation.status == "running" and self.world.now < limit:
                self.world.run(min(limit, self.world.now + 500), stop_on_wake=False)
        word = {"running": "InProgress", "succeeded": "Succeeded", "failed": "Failed"}[operation.status]
        recorded = one.response["status"]
        if recorded != word and abs(operation.ends_at - self.world.now) <= slack:
            return
        if recorded == "InProgress" and word == recorded:
            return  # nothing learned: hundreds of polls would drown the rest
        if recorded != word and one.operation in self.told:
            return  # said once
        self.told.add(one.operation)
        kind, self.kind = self.kind, operation.kind
        self._note(one, "operation", recorded, word)
        if recorded == "Failed":
            error = (one.response.get("error") or {}).get("code", "")
            self._note(one, "operation-code", error, operation.code)
        self.kind = kind

    def _latest(self, one: Exchange) -> None:
        status = self.world.rolling_upgrade
        self._note(one, "latest", one.status, 404 if status is None else 200)
        if status is None or one.status != 200:
            return
        body = one.response["properties"]
        progress = body["progress"]
        self._note(one, "latest-code", body["runningStatus"]["code"], status.code)
        self._note(one, "latest-action", body["runningStatus"]["lastAction"], status.last_action)
        names = ("successfulInstanceCount", "failedInstanceCount", "inProgressInstanceCount", "pendingInstanceCount")
        counts = (status.successful, status.failed, status.in_progress, status.pending)
        lower = {key.lower(): value for key, value in progress.items()}
        self._note(one, "latest-progress", tuple(lower[name.lower()] for name in names), counts)
        self._note(one, "latest-error", (body.get("error") or {}).get("code", ""), status.error_code)
        recorded = rolling({"properties": {"upgradePolicy": {"rollingUpgradePolicy": body["policy"]}}})
        self._note(one, "latest-policy", recorded, status.policy)

    def _instances(self, one: Exchange) -> None:
        for found in instances(one):
            name, body = found["instanceId"], found["properties"]
            vm = self.world.vms.get(name)
            if vm is None:
                self._note(one, f"vm {name}", "there", "gone")
                continue
            self.world.settled(vm)
            self._note(one, "latestModelApplied", body.get("latestModelApplied"), self.world.is_latest(vm))
            self._note(one, "vm", str(body["provisioningState"]).lower(), self.world.state(vm)[0])
            view = body.get("instanceView")
            if isinstance(view, dict):
                self._view(one, name, view)

    def _view(self, one: Exchange, name: str, view: Any) -> None:
        vm = self.world.vms.get(name)
        if one.status == 404 or vm is None:
            self._note(one, "view", one.status, 404 if vm is None else 200)
            return
        provisioning, power, health = self.world.state(vm)
        words = [str(status.get("code", "")).lower() for status in (view or {}).get("statuses") or []]
        for prefix, mine in (("provisioningstate/", provisioning), ("powerstate/", power)):
            told = next((word.split("/")[1] for word in words if word.startswith(prefix)), None)
            if told is not None:
                self._note(one, prefix[:-1], told, mine)
        told = str((((view or {}).get("vmHealth") or {}).get("status") or {}).get("code", "")).lower().rpartition("/")[2]
        if told:
            self._note(one, "health", told, health)

    def _summary(self, one: Exchange) -> None:
        rows = (one.response.get("virtualMachine") or {}).get("statusesSummary") or []
        told = {str(row["code"]).lower().split("/")[1]: row["count"] for row in rows if "/" in str(row.get("code"))}
        mine = Counter(self.world.state(vm)[0] for vm in self.world.vms.values())
        if told:
            self._note(one, "summary", sorted(told.items()), sorted(mine.items()))

    def _error(self, one: Exchange) -> None:
        """Every recorded error has a row with its code, status and words."""
        if one.status < 400:
            return
        code, message = _error_of(one.response)
        rows = [row for row in errors.rows_of(code) if row.status == one.status and worded(row, message)]
        self._note(one, "error-table", f"{one.status} {code}: {message}", f"{one.status} {code}: {message}" if rows else None)


def worded(row: errors.AzureError, message: str) -> bool:
    """Could this row's template have given this message?"""
    parts = [re.escape(part) for part in re.split(r"\{\w+\}", row.text)]
    return re.fullmatch(".+".join(parts), message, re.S) is not None


def _error_of(body: Any) -> tuple[str, str]:
    error = body.get("error", body) if isinstance(body, dict) else {}
    return str(error.get("code", "")), str(error.get("message", ""))


def _unread(path: str, old: dict[str, Any]) -> bool:
    """Does the model never show this path, so that its first appearance may repeat what it was created with?"""
    return path.endswith("adminPassword") or path in old


def _state(document: dict[str, Any]) -> str:
    return str(document["properties"].get("provisioningState", "")).lower()


def replay(path: Path = SHARED) -> list[Replay]:
    """Every session in scope of a file of recordings."""
    found = (session for recording in read(path) for session in sessions(recording))
    return [Replay(session).run() for session in found if in_scope(session)]


def main(argv: list[str]) -> int:
    """Print the share of comparisons that agree per operation, and the exceptions."""
    path = Path(argv[0]) if argv else SHARED
    if not path.exists():
        print(f"no recordings at {path}")
        return 2
    runs = replay(path)
    total: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    shown: dict[tuple[str, str, object, object], list[Finding]] = {}
    for run in runs:
        for one in run.findings:
            total[one.kind, one.what] += 1
            if one.differs:
                wrong[one.kind, one.what] += 1
                shown.setdefault((one.kind, one.what, str(one.recorded), str(one.world)), []).append(one)
    for key in sorted(total):
        print(f"{key[0]:26} {key[1]:20} {total[key] - wrong[key]:6} of {total[key]:6}")
    for (kind, what, recorded, world), rows in sorted(shown.items(), key=lambda item: -len(item[1])):
        print(f"{len(rows):5}  {kind}: {what}: recorded {recorded[:160]}; world {world[:160]}")
        print(f"       e.g. {rows[0].recording} exchange {rows[0].index}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
