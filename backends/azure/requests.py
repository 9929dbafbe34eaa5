"""Every request this backend makes, as two tables: what changes something (`WRITES`) and what is read (`READS`).

Contract: nothing is sent that has no row here (a test compares what is seen on the wire). `{set}` stands for the set's ARM id,
`{sub}` and `{group}` for its subscription and resource group, `{vm}` for an instance. Operation addresses (`Azure-AsyncOperation`, `Location`) are
Azure's, and the one thing beside.

1. A model is never PUT. What changes it is a PATCH of the smallest path (recorded: `{"sku": {"capacity": 3}}`), so that data disks and
   what others change meanwhile survive; with `If-Match` where the set has an etag, and that is: always with `match_condition`, without
   which the SDK drops the etag silently.
2. Actions name their instances. Without ids, or with `*`, Azure means all of them, so a command without ids is not sent (the guard's rule too).
3. A guest patch is a managed run-command, named by the command's `name`: one request an instance. One of the same name and content is
   not run again (`planner/scripts.py`). `treatFailureAsDeploymentFailure`: a script that fails is an operation that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from backends.azure.clouds import Scope
from planner.commands import Command, Kind
from planner.errors import PlannerBug
from planner.model import Model, Orchestration
from planner.scripts import written_as

COMPUTE = "Microsoft.Compute"
_SET = "virtual_machine_scale_sets"
_ROLLOUTS = "virtual_machine_scale_set_rolling_upgrades"
_SETS = f"{COMPUTE}/virtualMachineScaleSets"
SDK_VERSION = "2026-04-01"
"""The api-version of azure-mgmt-compute 39 for everything in `Microsoft.Compute` but images, disks and galleries."""


class Write(NamedTuple):
    """One row. operation: of the SDK. body: None for none. needs: the permission. each: one request an instance. matched: with `If-Match`."""

    method: str
    path: str
    operation: str
    body: Callable[[Command, Model], dict[str, Any]] | None
    needs: str
    each: bool = False
    matched: bool = False


class Read(NamedTuple):
    """One row. operation: what the SDK calls it (its version and path are held to that), if it does. needs: the permission; empty: any."""

    path: str
    operation: str
    needs: str
    version: str = SDK_VERSION
    query: str = ""


def _named(command: Command, _: Model) -> dict[str, Any]:
    if not command.ids or "*" in command.ids:
        raise PlannerBug(f"{command.kind.value} {command.id} names no instances, which Azure takes for all of them")
    return {"instanceIds": list(command.ids)}


def _reimage(command: Command, model: Model) -> dict[str, Any]:
    body = _named(command, model)
    if command.exact_version:
        body["exactVersion"] = command.exact_version
    if model.ephemeral_os_disk:
        body["forceUpdateOSDiskForEphemeral"] = True  # else an ephemeral disk stays at the image it was made from (API)
    return body


def _mode(command: Command, _: Model) -> dict[str, Any]:
    if command.mode is None:
        raise PlannerBug(f"{command.id} sets no mode")
    return {"properties": {"upgradePolicy": {"mode": command.mode.value.capitalize()}}}


def _capacity(command: Command, _: Model) -> dict[str, Any]:
    return {"sku": {"capacity": command.capacity}}


def _patch(command: Command, _: Model) -> dict[str, Any]:
    return nested(command.patch)


def _script(command: Command, model: Model) -> dict[str, Any]:
    return {
        "location": model.location,
        "properties": {
            "source": {"script": command.script},
            "asyncExecution": False,
            "treatFailureAsDeploymentFailure": True,
        },
    }


def _repairs(action: str) -> Callable[[Command, Model], dict[str, Any]]:
    return lambda _command, _model: {"serviceName": "AutomaticRepairs", "action": action}


def nested(patch: dict[str, Any]) -> dict[str, Any]:
    """Dotted paths as the document they mean. A tag's name may hold dots. No paths: an update that changes nothing."""
    made: dict[str, Any] = {}
    for path, value in patch.items():
        head, _, rest = path.partition(".")
        steps = [head, rest] if head.lower() == "tags" else path.split(".")
        place = made
        for step in steps[:-1]:
            place = place.setdefault(step, {})
        place[steps[-1]] = value
    return made


def _action(path: str, operation: str, body: Callable[[Command, Model], dict[str, Any]] | None) -> Write:
    return Write("POST", "{set}/" + path, operation, body, f"{_SETS}/{path}/action")


def _update(body: Callable[[Command, Model], dict[str, Any]]) -> Write:
    return Write("PATCH", "{set}", f"{_SET}.begin_update", body, f"{_SETS}/write", matched=True)


WRITES: dict[Kind, Write] = {
    Kind.SET_MODE: _update(_mode),
    Kind.UPDATE_MODEL: _update(_patch),
    Kind.SET_CAPACITY: _update(_capacity),
    Kind.SUSPEND_REPAIRS: _action(
        "setOrchestrationServiceState", f"{_SET}.begin_set_orchestration_service_state", _repairs("Suspend")
    ),
    Kind.RESUME_REPAIRS: _action(
        "setOrchestrationServiceState", f"{_SET}.begin_set_orchestration_service_state", _repairs("Resume")
    ),
    Kind.UPGRADE: _action("manualupgrade", f"{_SET}.begin_update_instances", _named),
    Kind.REIMAGE: _action("reimage", f"{_SET}.begin_reimage", _reimage),
    Kind.RESTART: _action("restart", f"{_SET}.begin_restart", _named),
    Kind.DELETE: _action("delete", f"{_SET}.begin_delete_instances", _named),
    Kind.START_OS_UPGRADE: _action("osRollingUpgrade", f"{_ROLLOUTS}.begin_start_os_upgrade", None),
    Kind.CANCEL_ROLLING: _action("rollingUpgrades/cancel", f"{_ROLLOUTS}.begin_cancel", None),
    Kind.RUN_COMMAND: Write(
        "PUT",
        "{set}/virtualMachines/{vm}/runCommands/{name}",
        "virtual_machine_scale_set_vm_run_commands.begin_create_or_update",
        _script,
        f"{_SETS}/virtualMachines/runCommands/write",
        each=True,
    ),
}
"""A command's request. Every kind of command has one (a test insists)."""

FLEXIBLE_RUN_COMMAND = Write(
    "PUT",
    "{group}/providers/Microsoft.Compute/virtualMachines/{vm}/runCommands/{name}",
    "virtual_machine_run_commands.begin_create_or_update",
    _script,
    f"{COMPUTE}/virtualMachines/runCommands/write",
    each=True,
)
"""The VMs of a Flexible set are VMs of the resource group."""

READS: dict[str, Read] = {
    "set": Read("{set}", f"{_SET}.get", f"{_SETS}/read"),
    "set-view": Read("{set}/instanceView", f"{_SET}.get_instance_view", f"{_SETS}/instanceView/read"),
    "instances": Read(
        "{set}/virtualMachines",
        "virtual_machine_scale_set_vms.list",
        f"{_SETS}/virtualMachines/read",
        query="$expand=instanceView",
    ),
    "flexible-instances": Read(
        "{group}/providers/Microsoft.Compute/virtualMachines",
        "virtual_machines.list",
        f"{COMPUTE}/virtualMachines/read",
        query="$filter='virtualMachineScaleSet/id' eq '{set}'&$expand=instanceView",
    ),
    "rolling-upgrade": Read("{set}/rollingUpgrades/latest", f"{_ROLLOUTS}.get_latest", f"{_SETS}/rollingUpgrades/read"),
    "run-commands": Read(
        "{set}/virtualMachines/{vm}/runCommands",
        "virtual_machine_scale_set_vm_run_commands.list",
        f"{_SETS}/virtualMachines/runCommands/read",
        query="$expand=instanceView",
    ),
    "flexible-run-commands": Read(
        "{group}/providers/Microsoft.Compute/virtualMachines/{vm}/runCommands",
        "virtual_machine_run_commands.list_by_virtual_machine",
        f"{COMPUTE}/virtualMachines/runCommands/read",
        query="$expand=instanceView",
    ),
    # Of a subscription or a group, to look at all that is there (fleet.py).
    "all-sets": Read("{sub}/providers/Microsoft.Compute/virtualMachineScaleSets", f"{_SET}.list_all", f"{_SETS}/read"),
    "group-sets": Read("{group}/providers/Microsoft.Compute/virtualMachineScaleSets", f"{_SET}.list", f"{_SETS}/read"),
    # For hooks of single instances (facts.py).
    "interfaces": Read(
        "{set}/networkInterfaces",
        "",
        "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read",
        version="2018-10-01",
    ),
    "flexible-interfaces": Read(
        "{group}/providers/Microsoft.Network/networkInterfaces",
        "",
        "Microsoft.Network/networkInterfaces/read",
        version="2024-05-01",
    ),
    # Before anything is sent (preflight.py).
    "permissions": Read("{set}/providers/Microsoft.Authorization/permissions", "", "", version="2022-04-01"),
    "locks": Read(
        "{set}/providers/Microsoft.Authorization/locks",
        "",
        "Microsoft.Authorization/locks/read",
        version="2020-05-01",
        query="$filter=atScope()",
    ),
    "denials": Read(
        "{set}/providers/Microsoft.Authorization/denyAssignments",
        "",
        "Microsoft.Authorization/denyAssignments/read",
        version="2022-04-01",
        query="$filter=atScope()",
    ),
    "image": Read(
        "{sub}/providers/Microsoft.Compute/locations/{location}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}"
        "/skus/{sku}/versions/{version}",
        "virtual_machine_images.get",
        f"{COMPUTE}/locations/publishers/artifacttypes/offers/skus/versions/read",
    ),
    "image-by-id": Read("{image}", "", ""),
    "usages": Read(
        "{sub}/providers/Microsoft.Compute/locations/{location}/usages",
        "usage.list",
        f"{COMPUTE}/locations/usages/read",
    ),
    "skus": Read(
        "{sub}/providers/Microsoft.Compute/skus",
        "resource_skus.list",
        f"{COMPUTE}/skus/read",
        version="2021-07-01",
        query="$filter=location eq '{location}'",
    ),
}
"""What is read."""


def url_of(name: str, scope: Scope, api_version: str = "", **parts: str) -> str:
    """The path and query of a read. version: where an endpoint does not know the row's."""
    row = READS[name]
    group = f"/subscriptions/{scope.subscription}/resourceGroups/{scope.group}"
    known = {"set": scope.id, "sub": f"/subscriptions/{scope.subscription}", "group": group, **parts}
    query = quote(row.query.format(**known), safe="=&$") + ("&" if row.query else "")
    return f"{quote(row.path.format(**known))}?{query}api-version={api_version or row.version}"


def write_of(kind: Kind, model: Model) -> Write:
    """The row of a command, on this set."""
    if kind is Kind.RUN_COMMAND and model.orchestration is Orchestration.FLEXIBLE:
        return FLEXIBLE_RUN_COMMAND
    return WRITES[kind]


def arguments(row: Write, scope: Scope, command: Command, model: Model, vm: str = "") -> tuple[Any, ...]:
    """What the SDK's operation is given, in its order."""
    target: tuple[Any, ...] = (scope.group, scope.name)
    if row.each:
        target = (scope.group, vm) if row is FLEXIBLE_RUN_COMMAND else (scope.group, scope.name, vm)
        target = (*target, written_as(command.name or ""))
    return target if row.body is None else (*target, row.body(command, model))


def permission_needs(kinds: frozenset[Kind], model: Model) -> tuple[str, ...]:
    """The permissions that these commands, and looking, need."""
    flexible = model.orchestration is Orchestration.FLEXIBLE
    reads = ["set", "set-view", "flexible-instances" if flexible else "instances"]
    if kinds & {Kind.START_OS_UPGRADE, Kind.CANCEL_ROLLING}:
        reads.append("rolling-upgrade")
    if Kind.RUN_COMMAND in kinds:
        reads.append("flexible-run-commands" if flexible else "run-commands")
    found = [READS[name].needs for name in reads] + [write_of(kind, model).needs for kind in Kind if kind in kinds]
    return tuple(dict.fromkeys(one for one in found if one))
