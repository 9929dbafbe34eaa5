"""Every request the endpoint answers for scale sets, as one table.

Rules (azure-vmss.md 4; armspec; recordings A):

1. A path is compared without case, a variable takes one segment. What stands in the table under another method is 405.
2. `uses`: what the request takes from the throttles (`throttle.USES`), empty for nothing.
3. `style`: how an accepted operation is told. UPDATE: `Azure-AsyncOperation` alone (PUT and PATCH); ACTION: that and `Location`
   (POST and DELETE). SYNC: nothing is running when it is answered.
4. Instances of Flexible sets have the paths of VMs, too; there a VM of no set is none of this table's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from vmss_sim.arm import actions, extensions, instance_disks, instance_extensions, reads, run_commands, writes
from vmss_sim.arm.call import Accepted, Call
from vmss_sim.arm.http import Response

Handler = Callable[[Call], Accepted | Response]


class Style(Enum):
    """Rule 3."""

    SYNC = "sync"
    UPDATE = "update"
    ACTION = "action"


class Route(NamedTuple):
    """One row."""

    method: str
    path: str
    handler: Handler
    uses: str
    style: Style = Style.SYNC


SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = SUBSCRIPTION + "/resourceGroups/{group}"
COMPUTE = "/providers/Microsoft.Compute"
SET = GROUP + COMPUTE + "/virtualMachineScaleSets/{set}"
VM = SET + "/virtualMachines/{vm}"
MACHINE = GROUP + COMPUTE + "/virtualMachines/{vm}"
PLACE = SUBSCRIPTION + COMPUTE + "/locations/{location}"

_READS = (
    Route("GET", SUBSCRIPTION + COMPUTE + "/virtualMachineScaleSets", reads.sets, "list-sets"),
    Route("GET", PLACE + "/virtualMachineScaleSets", reads.sets, "list-sets"),
    Route("GET", GROUP + COMPUTE + "/virtualMachineScaleSets", reads.sets, "list-sets"),
    Route("GET", SET, reads.scale_set, "get-set"),
    Route("GET", SET + "/instanceView", reads.set_view, "get-set-view"),
    Route("GET", SET + "/skus", reads.skus, "list-skus"),
    Route("GET", SET + "/rollingUpgrades/latest", reads.latest, "get-rolling-upgrade"),
    Route("GET", SET + "/osUpgradeHistory", reads.history, "get-history"),
    Route("GET", SET + "/extensions", extensions.listed, "get-set"),
    Route("GET", SET + "/extensions/{extension}", extensions.one, "get-set"),
    Route("GET", SET + "/virtualMachines", reads.instances, "list-instances"),
    Route("GET", VM, reads.instance, "get-instance"),
    Route("GET", VM + "/instanceView", reads.instance_view, "get-instance-view"),
    Route("GET", PLACE + "/operations/{operation}", reads.operation, "get-operation"),
    Route("GET", GROUP + COMPUTE + "/virtualMachines", reads.machines, "list-sets"),
    Route("GET", MACHINE, reads.machine, "get-instance"),
    Route("GET", MACHINE + "/instanceView", reads.instance_view, "get-instance-view"),
)

_WRITES = (
    Route("PUT", SET, writes.put_set, "put-model", Style.UPDATE),
    Route("PATCH", SET, writes.patch_set, "update-model", Style.UPDATE),
    Route("DELETE", SET, writes.delete_set, "delete-set", Style.ACTION),
    Route("PUT", SET + "/extensions/{extension}", extensions.put, "update-model", Style.UPDATE),
    Route("PATCH", SET + "/extensions/{extension}", extensions.patch, "update-model", Style.UPDATE),
    Route("DELETE", SET + "/extensions/{extension}", extensions.delete, "update-model", Style.ACTION),
    Route("PUT", VM, writes.put_instance, "protect", Style.UPDATE),
    Route("DELETE", VM, writes.delete_instance, "instance/delete", Style.ACTION),
    Route("PUT", MACHINE, writes.put_instance, "protect", Style.UPDATE),
    Route("PATCH", MACHINE, writes.put_instance, "protect", Style.UPDATE),
    Route("DELETE", MACHINE, writes.delete_instance, "instance/delete", Style.ACTION),
)

_ON_INSTANCES = {
    "manualupgrade": "upgrade",
    "reimage": "reimage",
    "reimageall": "reimage-all",
    "restart": "restart",
    "start": "start",
    "poweroff": "power-off",
    "deallocate": "deallocate",
    "redeploy": "redeploy",
    "delete": "delete",
    "approveRollingUpgrade": "approve-rolling-upgrade",
}
"""Actions that name instances in their body, and the world's kind for each."""

_ON_ONE = {
    "reimage": "reimage",
    "reimageall": "reimage-all",
    "restart": "restart",
    "start": "start",
    "powerOff": "power-off",
    "deallocate": "deallocate",
    "redeploy": "redeploy",
    "approveRollingUpgrade": "approve-rolling-upgrade",
}
"""Actions on the instance of the path."""

_ON_SET = {
    "osRollingUpgrade": "os-rolling-upgrade",
    "extensionRollingUpgrade": "extension-rolling-upgrade",
    "rollingUpgrades/cancel": "cancel-rolling-upgrade",
}
"""Actions on the set itself."""


def _one_vm(kind: str) -> str:
    return kind if kind == "approve-rolling-upgrade" else f"instance/{kind}"


_ACTIONS = (
    *(
        Route("POST", f"{SET}/{name}", actions.on_instances(kind), kind, Style.ACTION)
        for name, kind in _ON_INSTANCES.items()
    ),
    *(Route("POST", f"{SET}/{name}", actions.on_set(kind), kind, Style.ACTION) for name, kind in _ON_SET.items()),
    *(
        Route("POST", f"{parent}/{name}", actions.on_one(kind), _one_vm(kind), Style.ACTION)
        for parent in (VM, MACHINE)
        for name, kind in _ON_ONE.items()
    ),
    Route("POST", SET + "/scale", actions.scale, "set-capacity", Style.ACTION),
    Route("POST", SET + "/scaleOut", actions.scale_out, "set-capacity", Style.ACTION),
    Route("POST", SET + "/reapply", actions.reapply, "update-model", Style.ACTION),
    Route(
        "POST",
        SET + "/setOrchestrationServiceState",
        actions.set_orchestration_service_state,
        "suspend-repairs",
        Style.ACTION,
    ),
    Route("POST", SET + "/performMaintenance", actions.perform_maintenance, "redeploy"),
    Route("POST", VM + "/performMaintenance", actions.perform_maintenance, "instance/redeploy"),
    Route("POST", VM + "/simulateEviction", actions.simulate_eviction, "instance/redeploy"),
    Route("POST", MACHINE + "/simulateEviction", actions.simulate_eviction, "instance/redeploy"),
    Route("POST", SET + "/convertToSinglePlacementGroup", actions.convert_to_single_placement_group, "update-model"),
    Route(
        "POST",
        SET + "/forceRecoveryServiceFabricPlatformUpdateDomainWalk",
        actions.walk_update_domains,
        "update-model",
    ),
)

_RUN_COMMANDS = tuple(
    route
    for parent in (VM, MACHINE)
    for route in (
        Route("POST", parent + "/runCommand", run_commands.action, "run-command", Style.ACTION),
        Route("GET", parent + "/runCommands", run_commands.listed, "get-instance"),
        Route("GET", parent + "/runCommands/{command}", run_commands.one, "get-instance"),
        Route("PUT", parent + "/runCommands/{command}", run_commands.put, "run-command", Style.UPDATE),
        Route("PATCH", parent + "/runCommands/{command}", run_commands.patch, "run-command", Style.UPDATE),
        Route("DELETE", parent + "/runCommands/{command}", run_commands.delete, "run-command", Style.ACTION),
    )
)

_EXTENSION = "/extensions/{extension}"
_OF_INSTANCES = tuple(
    route
    for parent in (VM, MACHINE)
    for route in (
        Route("GET", parent + "/extensions", instance_extensions.listed, "get-instance"),
        Route("GET", parent + _EXTENSION, instance_extensions.one, "get-instance"),
        Route("PUT", parent + _EXTENSION, instance_extensions.put, "protect", Style.UPDATE),
        Route("PATCH", parent + _EXTENSION, instance_extensions.patch, "protect", Style.UPDATE),
        Route("DELETE", parent + _EXTENSION, instance_extensions.delete, "protect", Style.ACTION),
        Route("POST", parent + "/attachDetachDataDisks", instance_disks.attach_detach, "protect", Style.ACTION),
        Route("POST", parent + "/retrieveBootDiagnosticsData", instance_disks.boot_diagnostics, "get-instance"),
    )
)

ROUTES: tuple[Route, ...] = (*_READS, *_WRITES, *_ACTIONS, *_RUN_COMMANDS, *_OF_INSTANCES)
"""Every request."""


class Found(NamedTuple):
    """The rows of a path by method, and its variables as they were written."""

    routes: dict[str, Route]
    names: dict[str, str]


class Table:
    """Rule 1, as a tree of segments: a literal goes before a variable."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            names = []
            for part in segments(route.path):
                if part.startswith("{"):
                    names.append(part[1:-1])
                    node.any = node = node.any or _Node()
                else:
                    node = node.next.setdefault(part.lower(), _Node())
            node.routes[route.method] = route
            node.names = tuple(names)

    def find(self, path: str) -> Found | None:
        """What stands in the table for a path; None for nothing."""
        found = next(self._search(self._root, segments(path), ()), None)
        if found is None:
            return None
        node, values = found
        return Found(node.routes, dict(zip(node.names, values, strict=True)))

    def _search(
        self, node: _Node, parts: tuple[str, ...], values: tuple[str, ...]
    ) -> Iterator[tuple[_Node, tuple[str, ...]]]:
        if not parts:
            if node.routes:
                yield node, values
            return
        head, rest = parts[0], parts[1:]
        if (inner := node.next.get(head.lower())) is not None:
            yield from self._search(inner, rest, values)
        if node.any is not None and head:
            yield from self._search(node.any, rest, (*values, head))


class _Node:
    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.routes: dict[str, Route] = {}
        self.names: tuple[str, ...] = ()


def segments(path: str) -> tuple[str, ...]:
    """The parts of a path; a slash at the end, or two in a row at the beginning, make no difference."""
    return tuple(path.strip("/").split("/"))
