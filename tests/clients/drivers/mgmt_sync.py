"""azure-mgmt-compute, as a team would use it: one update domain after another, or a rolling upgrade of the platform's.

Contract: speaks to ENDPOINT only; prints what the client was told at the end as one JSON object. It waits by the command
`sleep`, so that the emulator's stand-in for it can take part. Runs in an environment of its own: nothing of this project is imported.
"""

import json
import os
import subprocess
import sys
import time

from azure.core import MatchConditions
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.mgmt.compute import ComputeManagementClient

ENDPOINT, SUBSCRIPTION = os.environ["ENDPOINT"], os.environ["SUBSCRIPTION"]
GROUP, NAME, TARGET = os.environ["GROUP"], os.environ["NAME"], os.environ["TARGET"]
SETTLED, STEP_S = 60, 30  # how often health is asked for before a domain counts as sick; and the time between


class Credential:
    """Any token will do."""

    def get_token(self, *scopes, **options):
        return AccessToken("token", int(time.time()) + 3600)

    def get_token_info(self, *scopes, options=None):
        return AccessTokenInfo("token", int(time.time()) + 3600)


def sleep(seconds):
    subprocess.run(["sleep", str(seconds)], check=True)


def healthy(view):
    return view.vm_health is not None and view.vm_health.status.code == "HealthState/healthy"


def state(client):
    """What the client sees at the end."""
    model = client.virtual_machine_scale_sets.get(GROUP, NAME)
    instances = {
        vm.instance_id: {
            "latest": vm.latest_model_applied,
            "version": vm.storage_profile.image_reference.exact_version,
            "healthy": healthy(vm.instance_view),
        }
        for vm in client.virtual_machine_scale_set_vms.list(GROUP, NAME, expand="instanceView")
    }
    return {
        "model": model.virtual_machine_profile.storage_profile.image_reference.version,
        "provisioning": model.provisioning_state,
        "instances": instances,
    }


def set_version(client):
    """The model's new version, guarded by the etag; and that the guard is one."""
    model = client.virtual_machine_scale_sets.get(GROUP, NAME)
    model.virtual_machine_profile.storage_profile.image_reference.version = TARGET
    guard = {"match_condition": MatchConditions.IfNotModified}
    refused = False
    try:
        client.virtual_machine_scale_sets.begin_create_or_update(GROUP, NAME, model, etag='"never"', **guard)
    except ResourceModifiedError:
        refused = True
    client.virtual_machine_scale_sets.begin_create_or_update(GROUP, NAME, model, etag=model.etag, **guard).result()
    return refused


def per_domain(client):
    refused = set_version(client)
    domains = {}
    for vm in client.virtual_machine_scale_set_vms.list(GROUP, NAME, expand="instanceView"):
        domains.setdefault(vm.instance_view.platform_update_domain, []).append(vm.instance_id)
    for _, ids in sorted(domains.items()):
        client.virtual_machine_scale_sets.begin_update_instances(GROUP, NAME, {"instanceIds": ids}).result()
        for _ in range(SETTLED):
            views = [client.virtual_machine_scale_set_vms.get_instance_view(GROUP, NAME, one) for one in ids]
            if all(healthy(view) for view in views):
                break
            sleep(STEP_S)
        else:
            sys.exit(f"not healthy: {ids}")
    return {"domains": len(domains), "etag_guards": refused}


def platform(client):
    """The platform's own: of a set on `latest`."""
    client.virtual_machine_scale_set_rolling_upgrades.begin_start_os_upgrade(GROUP, NAME).result()
    latest = client.virtual_machine_scale_set_rolling_upgrades.get_latest(GROUP, NAME)
    refused = ""
    try:
        client.virtual_machine_scale_set_rolling_upgrades.begin_cancel(GROUP, NAME).result()
    except HttpResponseError as error:
        refused = error.error.code
    history = list(client.virtual_machine_scale_sets.get_os_upgrade_history(GROUP, NAME))
    return {
        "code": latest.running_status.code,
        "successful": latest.progress.successful_instance_count,
        "failed": latest.progress.failed_instance_count,
        "pending": latest.progress.pending_instance_count,
        "cancel_refused": refused,
        "history": [one.properties.running_status.code for one in history],
    }


def main():
    client = ComputeManagementClient(
        Credential(), SUBSCRIPTION, base_url=ENDPOINT, credential_scopes=[ENDPOINT + "/.default"]
    )
    done = {"per-domain": per_domain, "platform": platform}[sys.argv[1]](client)
    print(json.dumps({**state(client), **done}))


main()
