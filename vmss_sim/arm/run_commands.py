"""Scripts on one instance: the action `runCommand`, and managed run-commands, which are resources (recordings 2019 to 2024).

Rules:

1. Whatever a script says, it succeeds and writes nothing: the world knows how long it takes and whether it disrupts, not what it does. A fault says
   which one fails, what it exits with and what it says.
2. The action tells its output at the operation's end, in the poll and at `Location`.
3. A managed one is Creating or Updating until its operation has ended, or Succeeded at once where it is asynchronous; how the
   execution stands is told with `$expand=instanceView`. A name that the world remembers, from whomever, is one, too.
4. One of the same name and content is not run again, whatever became of it (github.com/Azure/azure-sdk-for-net/issues/47307,
   github.com/MicrosoftDocs/azure-compute-docs/pull/178).
"""

from __future__ import annotations

from typing import Any

from vmss_sim.arm import changes, documents, policies
from vmss_sim.arm.call import Accepted, Call, member, missing, refused
from vmss_sim.arm.http import Response
from vmss_sim.arm.merging import PATCH, PUT, merged
from vmss_sim.arm.wire import moment, shown
from vmss_sim.world import errors
from vmss_sim.world.vm import Operation, Vm

PARTS = ("StdOut", "StdErr")


def action(call: Call) -> Accepted:
    """POST runCommand (rule 2)."""
    vm, body = call.vm, call.body()
    if member(body, "commandId", str) is None:
        raise missing("commandId")
    output = {
        "value": [
            {
                "code": f"ComponentStatus/{part}/succeeded",
                "level": "Info",
                "displayStatus": "Provisioning succeeded",
                "message": "",
            }
            for part in PARTS
        ]
    }
    return call.accept(call.submit("run-command", (vm.id,)), 202, output=output)


def _kept(call: Call, vm: Vm) -> dict[str, dict[str, Any]]:
    """The managed run-commands of an instance, by name in lower case: {name, tags, properties, operation, new}."""
    kept: dict[str, dict[str, Any]] = call.written(vm).setdefault("runCommands", {})
    return kept


def _known(call: Call, vm: Vm) -> dict[str, dict[str, Any]]:
    kept = call.one.instances.get(vm.vm_id, {}).get("runCommands", {})
    told = {name.lower(): {"name": name} for name in vm.commands}
    return {**told, **kept}


def listed(call: Call) -> Response:
    """GET of all."""
    vm = call.vm
    view = call.expands("instanceView")
    return Response(status=200, body={"value": [_shown(call, vm, each, view) for each in _known(call, vm).values()]})


def one(call: Call) -> Response:
    """GET of one."""
    vm = call.vm
    found = _known(call, vm).get(call.names["command"].lower())
    if found is None:
        raise refused(errors.NOT_FOUND)
    return Response(status=200, body=_shown(call, vm, found, call.expands("instanceView")))


def put(call: Call) -> Accepted:
    """PUT: run it."""
    return _run(call, patch=False)


def patch(call: Call) -> Accepted:
    """PATCH: run it as changed."""
    return _run(call, patch=True)


def _run(call: Call, *, patch: bool) -> Accepted:
    vm = call.vm
    known = _known(call, vm).get(call.names["command"].lower())
    if known is None and patch:
        raise refused(errors.NOT_FOUND)
    said, _ = changes.written(call.body())
    properties = policies.At(said, "")["properties"]
    properties.flag("asyncExecution")
    properties.number("timeoutInSeconds", 0)
    name = known["name"] if known else call.names["command"]
    made = {
        "name": name,
        "tags": said.get("tags"),
        "properties": merged((known or {}).get("properties") or {}, properties.value, PATCH if patch else PUT),
    }
    if known is not None and known.get("properties") == made["properties"]:  # rule 4
        known["tags"] = made["tags"]
        return call.accept(call.nothing(), 200, _shown(call, vm, known, False))
    work = call.submit("run-command", (vm.id,), run_name=name)
    made |= {"operation": work.name, "new": known is None}
    call.one.scripts.pop((known or {}).get("operation", ""), None)
    call.one.scripts[work.name] = work
    _kept(call, vm)[name.lower()] = made
    return call.accept(work, 201 if known is None else 200, _shown(call, vm, made, False))


def delete(call: Call) -> Accepted | Response:
    """DELETE: the resource goes, what the script did stays."""
    vm = call.vm
    name = call.names["command"].lower()
    found = _known(call, vm).get(name)
    if found is None:
        return Response(status=204)
    call.one.scripts.pop(found.get("operation", ""), None)
    _kept(call, vm).pop(name, None)
    call.one.world.forget_command(vm, found["name"])
    return call.accept(call.nothing(), 202)


def _shown(call: Call, vm: Vm, found: dict[str, Any], view: bool) -> dict[str, Any]:
    """Rule 3."""
    set_ = call.one
    work = set_.scripts.get(found.get("operation", ""))
    alone = call.is_machine  # asked of the VM itself, not of its set
    parent = documents.machine_id(set_, vm) if alone else f"{set_.id}/virtualMachines/{vm.id}"
    kind = documents.MACHINE_TYPE if alone else documents.VM_TYPE
    status = "succeeded" if work is None else work.status
    asynchronous = bool((found.get("properties") or {}).get("asyncExecution"))
    state = {"running": "Creating" if found.get("new") else "Updating", "succeeded": "Succeeded", "failed": "Failed"}[
        status
    ]
    properties = {
        "timeoutInSeconds": 0,
        "asyncExecution": False,
        **shown(found.get("properties") or {}),
        "provisioningState": "Succeeded" if asynchronous else state,
    }
    if view:
        properties["instanceView"] = _view(call, work, status)
    made: dict[str, Any] = {
        "name": found["name"],
        "id": f"{parent}/runCommands/{found['name']}",
        "type": f"{kind}/runCommands",
        "location": set_.location,
        "properties": properties,
    }
    if found.get("tags"):
        made["tags"] = found["tags"]
    return made


def _view(call: Call, work: Operation | None, status: str) -> dict[str, Any]:
    words = {"running": "Running", "succeeded": "Succeeded", "failed": "Failed"}
    view: dict[str, Any] = {"executionState": words[status], "executionMessage": "", "output": "", "error": ""}
    if status != "running":
        view["exitCode"] = 0 if status == "succeeded" else 1
        if status == "failed" and work is not None and work.script is not None:
            view["exitCode"], view["error"] = work.script
    if work is not None:
        view["startTime"] = moment(call.site.epoch, work.started_at)
        if status != "running":
            view["endTime"] = moment(call.site.epoch, work.ends_at)
    return view
