"""The seed article's sequence with its own library, azurerm of 2019: GET the model, change the version, PUT it, manualupgrade each domain.

Contract: speaks plain HTTP to AZURE_RM_ENDPOINT only; as the library follows no operation, it waits as vmssupgrade did, for the
set's instance view. It waits by the command `sleep`; prints what it was told at the end as one JSON object.
"""

import json
import os
import subprocess
import sys

import azurerm

TOKEN, SUBSCRIPTION = "token", os.environ["SUBSCRIPTION"]
GROUP, NAME, TARGET = os.environ["GROUP"], os.environ["NAME"], os.environ["TARGET"]
HERE = (TOKEN, SUBSCRIPTION, GROUP, NAME)
PATIENCE, STEP_S = 200, 30


def sleep(seconds):
    subprocess.run(["sleep", str(seconds)], check=True)


def healthy(view):
    return view.get("vmHealth", {}).get("status", {}).get("code") == "HealthState/healthy"


def settled():
    """The set says that nothing is being done: what vmssupgrade looked at."""
    statuses = azurerm.get_vmss_instance_view(*HERE)["statuses"]
    return any(status["code"] == "ProvisioningState/succeeded" for status in statuses)


def wait(condition, what):
    for _ in range(PATIENCE):
        if condition():
            return
        sleep(STEP_S)
    sys.exit(f"never: {what}")


def views():
    """Instance id to instance view, as the article reads them."""
    return {vm["instanceId"]: vm["properties"]["instanceView"] for vm in listed(azurerm.list_vmss_vm_instance_view)}


def listed(read):
    found = read(*HERE)
    if "value" not in found:
        sys.exit(f"refused: {found}")
    return found["value"]


def upgraded(ids):
    """None of these is stale or at work any more. The article trusts the set's state; so can nobody who must not fall below a floor."""
    done = {vm["instanceId"]: vm["properties"] for vm in listed(azurerm.list_vmss_vms)}
    return all(done[one]["latestModelApplied"] and done[one]["provisioningState"] == "Succeeded" for one in ids)


def put_version():
    model = azurerm.get_vmss(*HERE)
    model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = TARGET
    answer = azurerm.put_vmss(*HERE, model)
    if answer.status_code != 200:
        sys.exit(f"refused: {answer.status_code} {answer.text}")


def per_domain():
    put_version()
    wait(settled, "the model")
    domains = {}
    for one, view in views().items():
        domains.setdefault(view["platformUpdateDomain"], []).append(one)
    for _, ids in sorted(domains.items()):
        answer = azurerm.upgrade_vmss_vms(*HERE, json.dumps(ids))
        if answer.status_code != 202:
            sys.exit(f"refused: {answer.status_code} {answer.text}")
        wait(lambda ids=ids: settled() and upgraded(ids), f"the upgrade of {ids}")
        wait(lambda ids=ids: all(healthy(views()[one]) for one in ids), f"health of {ids}")
    return {"domains": len(domains)}


def platform():
    """The library starts no rolling upgrade: a PUT of a set in mode Rolling does, and the library reads how it goes."""
    put_version()
    wait(
        lambda: (
            azurerm.get_vmss_rolling_upgrades(*HERE).get("properties", {}).get("runningStatus", {}).get("code")
            == "Completed"
        ),
        "completed",
    )
    wait(settled, "the rolling upgrade")
    latest = azurerm.get_vmss_rolling_upgrades(*HERE)["properties"]
    return {
        "code": latest["runningStatus"]["code"],
        "successful": latest["progress"]["successfulInstanceCount"],
        "failed": latest["progress"]["failedInstanceCount"],
        "pending": latest["progress"]["pendingInstanceCount"],
    }


def state():
    model = azurerm.get_vmss(*HERE)["properties"]
    seen = views()
    instances = {
        vm["instanceId"]: {
            "latest": vm["properties"]["latestModelApplied"],
            # The article's api-version knows no exact version: what the VM was made from says it.
            "version": vm["properties"]["storageProfile"]["imageReference"].get("exactVersion")
            or vm["properties"]["storageProfile"]["imageReference"]["version"],
            "healthy": healthy(seen[vm["instanceId"]]),
        }
        for vm in listed(azurerm.list_vmss_vms)
    }
    return {
        "model": model["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"],
        "provisioning": model["provisioningState"],
        "instances": instances,
    }


done = {"per-domain": per_domain, "platform": platform}[sys.argv[1]]()
print(json.dumps({**state(), **done}))
