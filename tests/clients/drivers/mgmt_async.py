"""azure-mgmt-compute's asynchronous half; otherwise as mgmt_sync.py, whose contract holds here too."""

import asyncio
import json
import os
import sys
import time

from azure.core import MatchConditions
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.mgmt.compute.aio import ComputeManagementClient

ENDPOINT, SUBSCRIPTION = os.environ["ENDPOINT"], os.environ["SUBSCRIPTION"]
GROUP, NAME, TARGET = os.environ["GROUP"], os.environ["NAME"], os.environ["TARGET"]
SETTLED, STEP_S = 60, 30


class Credential:
    """Any token will do."""

    async def get_token(self, *scopes, **options):
        return AccessToken("token", int(time.time()) + 3600)

    async def get_token_info(self, *scopes, options=None):
        return AccessTokenInfo("token", int(time.time()) + 3600)

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


async def sleep(seconds):
    await (await asyncio.create_subprocess_exec("sleep", str(seconds))).wait()


def healthy(view):
    return view.vm_health is not None and view.vm_health.status.code == "HealthState/healthy"


async def state(client):
    model = await client.virtual_machine_scale_sets.get(GROUP, NAME)
    instances = {}
    async for vm in client.virtual_machine_scale_set_vms.list(GROUP, NAME, expand="instanceView"):
        instances[vm.instance_id] = {
            "latest": vm.latest_model_applied,
            "version": vm.storage_profile.image_reference.exact_version,
            "healthy": healthy(vm.instance_view),
        }
    return {
        "model": model.virtual_machine_profile.storage_profile.image_reference.version,
        "provisioning": model.provisioning_state,
        "instances": instances,
    }


async def set_version(client):
    model = await client.virtual_machine_scale_sets.get(GROUP, NAME)
    model.virtual_machine_profile.storage_profile.image_reference.version = TARGET
    guard = {"match_condition": MatchConditions.IfNotModified}
    refused = False
    try:
        await client.virtual_machine_scale_sets.begin_create_or_update(GROUP, NAME, model, etag='"never"', **guard)
    except ResourceModifiedError:
        refused = True
    poller = await client.virtual_machine_scale_sets.begin_create_or_update(
        GROUP, NAME, model, etag=model.etag, **guard
    )
    await poller.result()
    return refused


async def per_domain(client):
    refused = await set_version(client)
    domains = {}
    async for vm in client.virtual_machine_scale_set_vms.list(GROUP, NAME, expand="instanceView"):
        domains.setdefault(vm.instance_view.platform_update_domain, []).append(vm.instance_id)
    for _, ids in sorted(domains.items()):
        poller = await client.virtual_machine_scale_sets.begin_update_instances(GROUP, NAME, {"instanceIds": ids})
        await poller.result()
        for _ in range(SETTLED):
            views = await asyncio.gather(
                *(client.virtual_machine_scale_set_vms.get_instance_view(GROUP, NAME, one) for one in ids)
            )
            if all(healthy(view) for view in views):
                break
            await sleep(STEP_S)
        else:
            sys.exit(f"not healthy: {ids}")
    return {"domains": len(domains), "etag_guards": refused}


async def platform(client):
    rollouts = client.virtual_machine_scale_set_rolling_upgrades
    await (await rollouts.begin_start_os_upgrade(GROUP, NAME)).result()
    latest = await rollouts.get_latest(GROUP, NAME)
    refused = ""
    try:
        await (await rollouts.begin_cancel(GROUP, NAME)).result()
    except HttpResponseError as error:
        refused = error.error.code
    history = [one async for one in client.virtual_machine_scale_sets.get_os_upgrade_history(GROUP, NAME)]
    return {
        "code": latest.running_status.code,
        "successful": latest.progress.successful_instance_count,
        "failed": latest.progress.failed_instance_count,
        "pending": latest.progress.pending_instance_count,
        "cancel_refused": refused,
        "history": [one.properties.running_status.code for one in history],
    }


async def main():
    scopes = [ENDPOINT + "/.default"]
    async with ComputeManagementClient(
        Credential(), SUBSCRIPTION, base_url=ENDPOINT, credential_scopes=scopes
    ) as client:
        done = await {"per-domain": per_domain, "platform": platform}[sys.argv[1]](client)
        print(json.dumps({**await state(client), **done}))


asyncio.run(main())
