"""Whole conversations with the endpoint, as logs: everything its routes answer, driven as clients do, wrong requests among them."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlencode

import msgspec

from tests.arm_site import Client, config
from tests.contract.findings import Exchange
from vmss_sim.arm.http import Request, Response

IMAGE = "properties.virtualMachineProfile.storageProfile.imageReference.version"


def exchange(at_ms: int, request: Request, response: Response) -> Exchange:
    """A request and its answer as a line of a log."""
    query = urlencode(request.query)
    text = request.body.decode("utf-8", "replace")
    try:
        body = msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        body = text
    headers = {"content-type": "application/json; charset=utf-8"} if response.body is not None else {}
    return Exchange(
        at_ms=at_ms,
        method=request.method,
        url=f"{request.base}{request.path}" + f"?{query}" * bool(query),
        request_headers=dict(request.headers),
        request_body=body,
        status=response.status,
        headers={**headers, **response.headers},
        body=msgspec.json.decode(msgspec.json.encode(response.body)),
    )


def log_of(client: Client) -> list[Exchange]:
    """What was said; requests that nobody answered are left out, and answers that were given before."""
    said = {
        (one.method, one.url, one.status, msgspec.json.encode(one.body)): one
        for one in (exchange(*each) for each in client.log if each[2].status)
    }
    return list(said.values())


@cache
def upgrades() -> tuple[Exchange, ...]:
    """The conversation below, in four api-versions and both orchestration modes."""
    versions = ("2024-07-01", "2026-04-01", "2019-12-01", "2017-03-30")
    clients = [an_upgrade(version, flexible=flexible) for version in versions for flexible in (False, True)]
    return tuple(one for client in clients for one in log_of(client))


def an_upgrade(version: str, *, flexible: bool = False) -> Client:
    """From a look at the set to its deletion: a change, upgrades, an automatic rollout cancelled, what is done to instances, errors."""
    ids = [f"web_{number:08x}" for number in range(4)] if flexible else [str(number) for number in range(4)]
    made = config(flexible=flexible)
    if flexible:
        machines = tuple(
            msgspec.structs.replace(one, id=name, update_domain=None)
            for one, name in zip(made.machines, ids, strict=True)
        )
        made = msgspec.structs.replace(made, machines=machines)
    client = Client(made)

    def ask(method: str, path: str = "", body: Any = None, **query: str) -> Response:
        return client.ask(method, path, body, version=version, **query)

    def do(method: str, path: str = "", body: Any = None, **query: str) -> None:
        response = ask(method, path, body, **query)
        if "azure-asyncoperation" in response.headers:
            client.wait(response)
            if "location" in response.headers:
                client.follow(response.headers["location"])

    def look() -> None:
        compute = f"{client.group}/providers/Microsoft.Compute"
        for path in ("", "/instanceView", "/skus", "/rollingUpgrades/latest", "/osUpgradeHistory", "/extensions"):
            ask("GET", path)
        ask("GET", "", dollar_expand="userData")
        for query in ({}, {"dollar_expand": "instanceView"}, {"dollar_expand": "instanceView", "dollar_select": "instanceView"}):  # fmt: skip
            ask("GET", "/virtualMachines", **query)
        ask("GET", "/virtualMachines", dollar_filter="properties/latestModelApplied eq true")
        ask("GET", f"{compute}/virtualMachineScaleSets")
        ask("GET", f"{compute}/virtualMachines", dollar_expand="instanceView")
        for name in ids:
            ask("GET", f"/virtualMachines/{name}", dollar_expand="instanceView")
            ask("GET", f"/virtualMachines/{name}/instanceView")
            ask("GET", f"{compute}/virtualMachines/{name}", dollar_expand="instanceView")

    def version_of(image: str) -> dict[str, Any]:
        return {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": image}}}}}

    look()
    model = ask("GET").body
    model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = "2.0.0"
    first = ask("PUT", "", model)
    look()
    client.wait(first)
    action = ask("POST", "/manualupgrade", {"instanceIds": ids[:2]})
    look()
    client.wait(action)
    do("POST", "/manualupgrade", {"instanceIds": ["*"]})
    look()
    do("PUT", f"/virtualMachines/{ids[0]}", {"location": "westeurope", "properties": {"protectionPolicy": {"protectFromScaleIn": True}}})  # fmt: skip
    for name in ("restart", "reimage", "reimageall", "redeploy", "poweroff", "start", "deallocate"):
        do("POST", f"/{name}", {"instanceIds": ids[1:3]})
        look()
    for name in ("start", "restart", "reimage", "powerOff", "start", "deallocate", "start"):
        do("POST", f"/virtualMachines/{ids[1]}/{name}")
    do("POST", f"/virtualMachines/{ids[0]}/runCommand", {"commandId": "RunShellScript", "script": ["date"]})
    script = {"location": "westeurope", "properties": {"source": {"script": "date"}}}
    do("PUT", f"/virtualMachines/{ids[0]}/runCommands/patch", script)
    for path in ("/runCommands", "/runCommands/patch"):
        ask("GET", f"/virtualMachines/{ids[0]}{path}")
    ask("GET", f"/virtualMachines/{ids[0]}/runCommands/patch", dollar_expand="instanceView")
    script["properties"]["parameters"] = [{"name": "when", "value": "now"}]
    do("PATCH", f"/virtualMachines/{ids[0]}/runCommands/patch", script)
    do("DELETE", f"/virtualMachines/{ids[0]}/runCommands/patch")
    disks = f"{client.group}/providers/Microsoft.Compute/disks"
    come = {"dataDisksToAttach": [{"diskId": f"{disks}/a", "caching": "None"}, {"diskId": f"{disks}/b", "lun": 3}]}
    do("POST", f"/virtualMachines/{ids[0]}/attachDetachDataDisks", come)
    ask("GET", f"/virtualMachines/{ids[0]}")
    do("POST", f"/virtualMachines/{ids[0]}/attachDetachDataDisks", {"dataDisksToDetach": [{"diskId": f"{disks}/b"}]})
    ask("POST", f"/virtualMachines/{ids[0]}/retrieveBootDiagnosticsData")
    facts = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    secret = {"settings": {"when": "now"}, "protectedSettings": {"commandToExecute": "hunter2"}}
    do("PUT", "/extensions/script", {"properties": {**facts, **secret}})
    ask("GET", "/extensions/script")
    do("POST", "/manualupgrade", {"instanceIds": ["*"]})
    look()
    for parent in ("", f"{client.group}/providers/Microsoft.Compute")[: 1 + flexible]:
        own = f"{parent}/virtualMachines/{ids[1]}/extensions"
        do("PUT", f"{own}/own", {"location": "westeurope", "properties": {**facts, **secret}})
        do("PATCH", f"{own}/own", {"properties": {"settings": {"when": "later"}}})
        for path in ("", "/own", "/script", "/none"):
            ask("GET", f"{own}{path}")
            ask("GET", f"{own}{path}", dollar_expand="instanceView")
        ask("GET", f"/virtualMachines/{ids[1]}", dollar_expand="instanceView")
        do("DELETE", f"{own}/own")
        ask("DELETE", f"{own}/own")
    do("PATCH", "", {"properties": {"virtualMachineProfile": {"diagnosticsProfile": {"bootDiagnostics": {"enabled": True}}}}})  # fmt: skip
    do("POST", "/manualupgrade", {"instanceIds": ["*"]})
    ask("POST", f"/virtualMachines/{ids[0]}/retrieveBootDiagnosticsData")
    do("DELETE", "/extensions/script")
    do("PATCH", "", {"properties": {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT30M"}}})
    do("POST", "/setOrchestrationServiceState", {"serviceName": "AutomaticRepairs", "action": "Suspend"})
    do("PATCH", "", {"properties": {"upgradePolicy": {"mode": "Rolling"}}})
    do("PATCH", "", version_of("3.0.0"))
    look()
    rolling = ask("PATCH", "", version_of("4.0.0"))
    client.clock.advance(150_000)
    look()
    do("POST", "/rollingUpgrades/cancel")
    client.wait(rolling)
    look()
    do("POST", "/osRollingUpgrade")
    do("POST", "/extensionRollingUpgrade")
    look()
    do("PATCH", "", {"sku": {"capacity": 6}, "tags": {"mood": "good"}})
    do("POST", "/delete", {"instanceIds": ids[3:]})
    look()
    for wrong in (
        ("POST", "/manualupgrade", {"instanceIds": ["999"]}),
        ("POST", "/manualupgrade", {}),
        ("POST", "/rollingUpgrades/cancel", None),
        ("POST", "/approveRollingUpgrade", {"instanceIds": ids[:1]}),
        ("PATCH", "", {"properties": {"platformFaultDomainCount": 2}}),
        ("PATCH", "", {"sku": {"capacity": "many"}}),
        ("PATCH", "", {"properties": {"upgradePolicy": {"mode": "Sometimes"}}}),
        ("GET", "/virtualMachines/999", None),
        ("GET", "/virtualMachines/999/instanceView", None),
        ("DELETE", "/virtualMachines/999", None),
    ):
        ask(*wrong)
    ask("GET", "/virtualMachines", dollar_filter="of no kind")
    ask("GET", "/virtualMachines", dollar_skiptoken="none")
    client.ask("PATCH", "", raw=b"{", version=version)
    ask("PUT", "", model, _if_match='"1"')
    do("DELETE", f"/virtualMachines/{ids[2]}")
    other = client.set.replace("/web", "/other")
    do("PUT", other, {**model, "name": "other", "id": other, "sku": {**model["sku"], "capacity": 2}})
    ask("GET", other)
    ask("GET", f"{other}/virtualMachines", dollar_expand="instanceView")
    gone = ask("DELETE")
    ask("GET")
    client.wait(gone)
    ask("GET")
    ask("DELETE")
    return client
