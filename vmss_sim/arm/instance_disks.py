"""Data disks of one instance that come and go while it runs, and where its console is looked at.

Rules (API 2024-07-01, virtualMachineScaleSetVMs; nothing of it is recorded):

1. `attachDetachDataDisks` takes disks away first, then adds. What is to go must be there, what is to come must not; a LUN is nobody else's
   (azure-sdk-for-go #678 has the words), and the lowest that is free where none is named. Whether a disk exists nobody asks. It takes what any
   write of one instance takes and disrupts nothing; in the end `Location` answers with the storage profile.
2. `retrieveBootDiagnosticsData` answers addresses at a host that does not exist: nothing here has a console. Without boot diagnostics in
   the model it is refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vmss_sim.arm import documents, versions
from vmss_sim.arm.call import Accepted, Call, missing, refused
from vmss_sim.arm.http import Refused, Response
from vmss_sim.arm.kinds import typed
from vmss_sim.arm.names import canonical
from vmss_sim.arm.shapes import Shapes
from vmss_sim.world import errors

MOST_LUNS = 64
_EXPIRES = "sasUriExpirationTimeInMinutes"


def attach_detach(call: Call) -> Accepted:
    """POST attachDetachDataDisks (rule 1)."""
    body = typed(canonical(call.body()))
    come, go = (_named(body, name) for name in ("dataDisksToAttach", "dataDisksToDetach"))
    if not come and not go:
        raise missing("dataDisksToAttach")
    disks = _present(call)
    for each in go:
        if disks.pop(each["diskId"].lower(), None) is None:
            raise refused(errors.VALUE_OUT_OF_RANGE, parameter="dataDisksToDetach.diskId")
    for each in come:
        if each["diskId"].lower() in disks:
            raise refused(errors.VALUE_OUT_OF_RANGE, parameter="dataDisksToAttach.diskId")
        disks[each["diskId"].lower()] = _attached(each, {one.get("lun") for one in disks.values()})
    work = call.submit("protect", (call.vm.id,))
    written = call.written(call.vm)
    written["writes"] = written.get("writes", 0) + 1
    written["dataDisks"] = list(disks.values())
    return call.accept(work, 202, output=_storage(call, call.version))


def _named(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = body.get(name) or []
    if not all(one.get("diskId") for one in said):
        raise missing(f"{name}.diskId")
    return said


def _storage(call: Call, version: str) -> dict[str, Any]:
    found: dict[str, Any] = documents.instance(call.one, call.vm, version)["properties"]["storageProfile"]
    return found


def _present(call: Call) -> dict[str, dict[str, Any]]:
    """The data disks as they are kept, by the id that they show, in lower case."""
    shape = Shapes(call.one).of(call.vm)
    kept = call.one.instances.get(call.vm.vm_id, {}).get("dataDisks", shape.data_disks)
    shown = _storage(call, versions.NEWEST).get("dataDisks") or []
    ids = ((one.get("managedDisk") or {}).get("id") or one.get("name") or "" for one in shown)
    return {name.lower(): one for name, one in zip(ids, kept, strict=True)}


def _attached(each: dict[str, Any], taken: set[Any]) -> dict[str, Any]:
    lun = each.get("lun")
    if lun is None:
        lun = next((one for one in range(MOST_LUNS) if one not in taken), MOST_LUNS)
    if not 0 <= lun < MOST_LUNS:
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter="dataDisk.lun")
    if lun in taken:
        raise Refused(400, "InvalidParameter", f"A disk at LUN {lun} already exists.", "dataDisk.lun")
    disk = {"id": each["diskId"]}
    if "diskEncryptionSet" in each:
        disk["diskEncryptionSet"] = each["diskEncryptionSet"]
    rest = {key: value for key, value in each.items() if key not in ("diskId", "diskEncryptionSet")}
    return {**rest, "lun": lun, "createOption": "Attach", "managedDisk": disk}


def boot_diagnostics(call: Call) -> Response:
    """POST retrieveBootDiagnosticsData (rule 2)."""
    one, vm = call.one, call.vm
    said = call.request.query.get(_EXPIRES.lower(), "120")
    if not (said.isdecimal() and len(said) < 6 and 1 <= int(said) <= 1440):
        raise refused(errors.VALUE_OUT_OF_RANGE, parameter=_EXPIRES)
    profile = Shapes(one, call.version).of(vm).beside.get("diagnosticsProfile") or {}
    name = vm.id if one.world.config.flexible else f"{one.name}_{vm.id}"
    if not (profile.get("bootDiagnostics") or {}).get("enabled"):
        raise Refused(
            409,
            "OperationNotAllowed",
            f"Operation 'retrieveBootDiagnosticsData' is not allowed on VM '{name}' since boot diagnostics are not enabled.",
        )
    ends = call.site.epoch + timedelta(milliseconds=call.site.now_ms, minutes=int(said))
    base = f"https://bootdiagnostics.vmss-sim.invalid/{vm.vm_id}/{name}"
    return Response(
        status=200,
        body={
            key: f"{base}.{file}?se={ends:%Y-%m-%dT%H:%M:%SZ}"
            for key, file in (
                ("consoleScreenshotBlobUri", "screenshot.bmp"),
                ("serialConsoleLogBlobUri", "serialconsole.log"),
            )
        },
    )
