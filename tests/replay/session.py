"""Replay against reality: recorded sessions against the world, put in their starting state and given their requests.

Rules:

1. *Scope*: sessions with a rolling upgrade, a cancel, a set in mode Rolling, a reimage, a manualupgrade or an error. All of
   their requests are sent that the world has a kind for, so that it is in the recorded state when the interesting ones come.
2. *Starting state*: see `start.py`.
3. *Time* is the recorded one. How long an operation on instances or on the model takes is given to the world (those
   durations are judged against their distributions elsewhere); how long Azure's own rollouts take is the world's affair.
4. Model updates are given as the difference between the model before and after, write-only parts of the request added.
5. Everything read is compared: see `_reads`. A difference is a `Finding`; `accepted.py` lists those accepted.
6. An operation that failed for reasons of its own (a VM that did not boot), or that met somebody else's (`Conflict`), is made
   to: a fault at its request. Its words are compared.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from tests.replay.documents import (
    ONE,
    PROFILE,
    auto_os,
    error_of,
    health_source,
    instances,
    is_model,
    mode,
    policy,
    profile,
    repairs,
    rolling,
    set_state,
    system,
    worded,
)
from tests.replay.start import TIMINGS, Scripted, start
from tests.replay.traffic import Exchange, Seen, Session, seconds
from vmss_sim.world import errors, lifecycle
from vmss_sim.world.config import Machine, Platform, WorldConfig
from vmss_sim.world.faults import Fault
from vmss_sim.world.operations import ID_KINDS, SET_KINDS
from vmss_sim.world.scale_set import World
from vmss_sim.world.vm import Operation, Reply, Vm

ROLLOUT_SLACK_MS = 3_000
OLD_SLACK_MS = 40_000
"""How far the end of a rollout may lie from a look at it: payload-timed, and older ones (known to a poll interval)."""
EXTERNAL = (
    "VMStartTimedOut",
    "OSProvisioningTimedOut",
    "VMExtensionProvisioningError",
    "ManagedServiceIdentityInternalError",
)
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


def in_scope(session: Session) -> bool:
    """Rule 1."""
    return any(
        one.status >= 400
        or (one.method == "POST" and SCOPE.search(one.rest))
        or (one.method in ("PUT", "PATCH") and is_model(one) and mode(one.response) == "rolling")
        for one in session.exchanges
    ) or any(seen.status == "Failed" for seen in session.operations.values())


class Took(NamedTuple):
    """An accepted operation, how long it took by its own account, and what the world was like when it came.

    current, power: of each instance it names, whether it had the latest model, and its power state. changed: an update
    changed the instances' model. settling: instances were last seen to be updating, before anything was asked of them.
    """

    recording: str
    recorded_on: str
    system: str
    kind: str
    seconds: float
    instances: int
    current: tuple[bool, ...]
    power: tuple[str, ...]
    mode: str
    health: str
    changed: bool
    capacity: int | None
    settling: bool


class Replay:
    """One session; `findings` holds every comparison, equal or not, `took` the operations whose duration is known."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.findings: list[Finding] = []
        self.skipped: Counter[str] = Counter()
        self.kind = "(start)"
        self.names: dict[str, str] = {}
        self.rollouts: set[str] = set()
        self.told: set[str] = set()
        self.took: list[Took] = []
        self.settling: set[str] = set()
        self.written: dict[str, Any] = {}
        self.sent = 0
        self.etags: tuple[int, int] | None = None
        self.draws = Scripted()

    def run(self) -> Replay:
        began = start(self.session)
        position = len(self.session.exchanges) if began is None else began[1]
        for one in self.session.exchanges[:position]:
            self._error(one)
            if one.method == "PUT" and not one.rest and one.status >= 400 and isinstance(one.request, dict):
                self._refused_creation(one)
        self.kind = "(start)"
        if began is None or position == len(self.session.exchanges):
            return self
        config, _, self.document = began
        self.world = World(config, self.draws, self._faults(position))
        zero = self.session.exchanges[position].at_ms
        for one in self.session.exchanges[position:]:
            self.world.run(one.at_ms - zero, stop_on_wake=False)
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
            if one.status == 409 and error_of(one.response)[0] == "Conflict":
                faults.append(Fault(verdict="refuse", first=number, last=number, code="Conflict"))
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
        found = ONE.match(one.rest)
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
        rolling_mode = args.get("mode", self.world.mode) == "rolling"
        seen = self.session.operations.get(one.operation)
        self.draws.seconds = scripted(one, seen, kind, rolling_mode=rolling_mode, alone=len(self.world.vms) == 1)
        held = self._scale_in(one, args["capacity"]) if "capacity" in args else []
        took = self._took(one, kind, ids, args)
        reply = self.world.submit(name, kind, ids, **args)
        for vm in held:
            vm.scale_in_protected = False
        if took is not None and reply.operation is not None:
            self.took.append(took)
        if kind in ID_KINDS:
            self.settling.clear()  # its end waits for what they were still doing
        if one.status >= 400:
            self._refusal(one, reply)
        elif not one.rest.startswith(
            "/extensions/"
        ):  # a resource of its own, that the world has not: 201, 202 to delete
            self._note(one, "status", one.status, reply.status)
        if one.operation and reply.operation is not None:
            self.names[one.operation] = name
            if kind.endswith("rolling-upgrade") or (kind == "update-model" and self.world.mode == "rolling"):
                self.rollouts.add(one.operation)
        if is_model(one):
            running = reply.operation is not None and reply.operation.status == "running"
            self._note(one, "set", set_state(one.response), "updating" if running else "succeeded")
            self._etag(one)
            self.document = one.response

    def _took(self, one: Exchange, kind: str, ids: tuple[str, ...], args: dict[str, Any]) -> Took | None:
        seen, world = self.session.operations.get(one.operation), self.world
        if seen is None or seen.seconds is None or seen.status != "Succeeded":
            return None
        if kind == "os-rolling-upgrade" and any(
            other.rest == "/rollingupgrades/cancel" and other.status == 202 for other in self.session.exchanges
        ):
            return None
        names = () if kind in SET_KINDS else tuple(world.vms) if ids in ((), ("*",)) else ids
        vms = [world.vms[name] for name in names if name in world.vms]
        return Took(
            recording=self.session.recording.split(" ")[-2],
            recorded_on=self.session.recorded_on,
            system=system(self.document),
            kind=kind,
            seconds=seen.seconds,
            instances=len(world.vms),
            current=tuple(world.is_latest(world.settled(vm)) for vm in vms),
            power=tuple(vm.power for vm in vms),
            mode=args.get("mode", world.mode),
            health=world.config.health,
            changed=bool(args.get("patch")),
            capacity=args.get("capacity"),
            settling=bool(self.settling),
        )

    def _scale_in(self, one: Exchange, capacity: int) -> list[Vm]:
        """Which instances a scale-in takes, compared; then made to be the recorded ones, since all that follows names ids."""
        world = self.world
        more = len(world.vms) - capacity
        later = (other for other in self.session.exchanges if other.index > one.index)
        after = next(
            (instances(other) for other in later if other.rest == "/virtualmachines" and instances(other)), None
        )
        if more <= 0 or after is None:
            return []
        left = {vm["instanceId"] for vm in after}
        recorded = [vm for vm in world.vms.values() if vm.id not in left]
        if len(recorded) != more:
            return []
        chosen = lifecycle.scale_in(world, more)
        domains = [sorted(str(vm.machine.fault_domain) for vm in some) for some in (recorded, chosen)]
        self._note(one, "scale-in domain", *domains)
        self._note(one, "scale-in id", *(sorted(vm.id for vm in some) for some in (recorded, chosen)))
        held = [vm for vm in world.vms.values() if vm not in recorded and not vm.scale_in_protected]
        for vm in held:
            vm.scale_in_protected = True
        return held

    def _update(self, one: Exchange) -> dict[str, Any]:
        """Rule 4."""
        if one.rest.startswith("/extensions/") or not is_model(one):
            body = one.request if isinstance(one.request, dict) else {}
            if one.rest:
                return {
                    "patch": {f"{PROFILE}extensionProfile{one.rest}": repr(body) if one.method != "DELETE" else None}
                }
            return {"mode": mode(body)} if policy(body) else {}
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
        if mode(before) != mode(after):
            args["mode"] = mode(after)
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
        reply = self.world.submit("create", "update-model", mode=mode(wanted))
        self._refusal(one, reply)

    def _refusal(self, one: Exchange, reply: Reply) -> None:
        code, message = error_of(one.response)
        self._note(one, "status", one.status, reply.status)
        self._note(one, "code", code, reply.code)
        self._note(one, "message", message, reply.message)

    # -- reading

    def _reads(self, one: Exchange) -> None:
        world = self.world
        if one.polls:
            self._poll(one)
        elif is_model(one):
            alive = sum(vm.provisioning != "deleting" for vm in world.vms.values())
            self._note(one, "capacity", int((one.response.get("sku") or {}).get("capacity") or 0), alive)
            self._note(one, "mode", mode(one.response), world.mode)
            self._etag(one)
            updating = any(operation.kind == "update-model" for operation in world.running.values())
            self._note(one, "set", set_state(one.response), "updating" if updating else "succeeded")
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

    def _etag(self, one: Exchange) -> None:
        """Etags are small integers; what is compared is whether it grew since it was last shown."""
        found = re.fullmatch(r'"(\d+)"', str(one.response.get("etag", "")))
        if found is None:
            return
        now = (int(found.group(1)), self.world.etag)
        if self.etags is not None:
            self._note(one, "etag grew", now[0] > self.etags[0], now[1] > self.etags[1])
        self.etags = now

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
        started = next(
            other for other in self.session.exchanges if other.operation == one.operation and not other.polls
        )
        if started.rest == "/rollingupgrades/cancel":
            self._ends_with_it(one, operation)
        self.kind = kind

    def _ends_with_it(self, one: Exchange, cancel: Operation) -> None:
        """A cancelled rollout's own operation ends with the cancelling (to a second)."""
        rollout = next(
            name for name in self.rollouts if "os-rolling-upgrade" in self.world.operations[self.names[name]].kind
        )
        other = next(
            x for x in self.session.exchanges if x.polls and x.operation == rollout and "endTime" in x.response
        )
        if "endTime" in one.response:
            gap = seconds(other.response["endTime"]) - seconds(one.response["endTime"])
            mine = (self.world.operations[self.names[rollout]].ends_at - cancel.ends_at) / 1000
            self._note(one, "ends together", round(gap), round(mine))

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
            if str(body["provisioningState"]).lower() != "updating":
                self.settling.discard(name)
            elif self.kind == "(start)":
                self.settling.add(name)
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
        told = (
            str((((view or {}).get("vmHealth") or {}).get("status") or {}).get("code", "")).lower().rpartition("/")[2]
        )
        if told:
            self._note(one, "health", told, health)

    def _summary(self, one: Exchange) -> None:
        rows = (one.response.get("virtualMachine") or {}).get("statusesSummary") or []
        told = {str(row["code"]).lower().split("/")[1]: row["count"] for row in rows if "/" in str(row.get("code"))}
        mine = Counter(self.world.state(vm)[0] for vm in self.world.vms.values())
        if told:
            self._note(one, "summary", sorted(told.items()), sorted(mine.items()))

    def _error(self, one: Exchange) -> None:
        """Every recorded error, of a request or of an operation, has a row with its code, status and words."""
        failed = one.polls and isinstance(one.response, dict) and one.response.get("status") == "Failed"
        if one.status < 400 and not failed:
            return
        code, message = error_of(one.response)
        status = errors.OPERATION if failed else one.status
        rows = [row for row in errors.rows_of(code) if row.status == status and worded(row, message)]
        self._note(
            one, "error-table", f"{one.status} {code}: {message}", f"{one.status} {code}: {message}" if rows else None
        )


def scripted(one: Exchange, seen: Seen | None, kind: str, *, rolling_mode: bool, alone: bool) -> float:
    """Rule 3: how many seconds an operation takes, within what was looked at. alone: on a set of one instance."""
    if kind == "extension-rolling-upgrade" and seen is not None and alone:
        # What the extensions themselves take is theirs; the wait after it is the world's.
        return max(0.0, (seen.seconds or 0) - Platform().no_signal_wait_ms / 1000 - 1)
    if kind.endswith("rolling-upgrade") and not kind.startswith("cancel"):
        return 0.0
    if kind == "update-model" and rolling_mode:
        return 0.2
    if seen is None or seen.done_ms is None:
        return 0.0 if seen is None or seen.running_ms is None else (seen.running_ms - one.at_ms) / 1000 + 1
    least = 0 if seen.running_ms is None else max(0, seen.running_ms - one.at_ms + 1)
    most = max(least, seen.done_ms - one.at_ms)
    wanted = most if seen.seconds is None else round(seen.seconds * 1000)
    return min(max(wanted, least), most) / 1000


def _unread(path: str, old: dict[str, Any]) -> bool:
    """Does the model never show this path, so that its first appearance may repeat what it was created with?"""
    return path.endswith("adminPassword") or path in old
