// @azure/arm-compute, as a team would use it; otherwise as mgmt_sync.py, whose contract holds here too.
// Runs from .clients/node, so that imports are found there.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { ENDPOINT, SUBSCRIPTION, GROUP, NAME, TARGET } = process.env;
const require = createRequire(process.cwd() + "/");
const { ComputeManagementClient } = await import(pathToFileURL(require.resolve("@azure/arm-compute")));

const SETTLED = 60;
const STEP_S = 30;
const credential = { getToken: async () => ({ token: "token", expiresOnTimestamp: Date.now() + 3600e3 }) };
const client = new ComputeManagementClient(credential, SUBSCRIPTION, { endpoint: ENDPOINT });
const sets = client.virtualMachineScaleSets;
const vms = client.virtualMachineScaleSetVMs;
const rollouts = client.virtualMachineScaleSetRollingUpgrades;

const sleep = (seconds) => execFileSync("sleep", [String(seconds)]);
const healthy = (view) => view?.vmHealth?.status?.code === "HealthState/healthy";

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

async function state() {
  const model = await sets.get(GROUP, NAME);
  const instances = {};
  for (const vm of await all(vms.list(GROUP, NAME, { expand: "instanceView" }))) {
    instances[vm.instanceId] = {
      latest: vm.latestModelApplied,
      version: vm.storageProfile.imageReference.exactVersion,
      healthy: healthy(vm.instanceView),
    };
  }
  return {
    model: model.virtualMachineProfile.storageProfile.imageReference.version,
    provisioning: model.provisioningState,
    instances,
  };
}

async function perDomain() {
  const model = await sets.get(GROUP, NAME);
  model.virtualMachineProfile.storageProfile.imageReference.version = TARGET;
  let refused = false;
  try {
    await sets.createOrUpdate(GROUP, NAME, model, { ifMatch: '"never"' });
  } catch (error) {
    refused = error.statusCode === 412;
  }
  await sets.createOrUpdate(GROUP, NAME, model, { ifMatch: model.etag });
  const domains = new Map();
  for (const vm of await all(vms.list(GROUP, NAME, { expand: "instanceView" }))) {
    const domain = vm.instanceView.platformUpdateDomain;
    domains.set(domain, [...(domains.get(domain) ?? []), vm.instanceId]);
  }
  for (const domain of [...domains.keys()].sort((a, b) => a - b)) {
    const ids = domains.get(domain);
    await sets.updateInstances(GROUP, NAME, { instanceIds: ids });
    let settled = false;
    for (let i = 0; i < SETTLED && !settled; i++) {
      const views = await Promise.all(ids.map((one) => vms.getInstanceView(GROUP, NAME, one)));
      settled = views.every(healthy);
      if (!settled) sleep(STEP_S);
    }
    if (!settled) throw new Error(`not healthy: ${ids}`);
  }
  return { domains: domains.size, etag_guards: refused };
}

async function platform() {
  await rollouts.startOSUpgrade(GROUP, NAME);
  const latest = await rollouts.getLatest(GROUP, NAME);
  let refused = "";
  try {
    await rollouts.cancel(GROUP, NAME);
  } catch (error) {
    refused = error.code;
  }
  const history = await all(sets.listOSUpgradeHistory(GROUP, NAME));
  return {
    code: latest.runningStatus.code,
    successful: latest.progress.successfulInstanceCount,
    failed: latest.progress.failedInstanceCount,
    pending: latest.progress.pendingInstanceCount,
    cancel_refused: refused,
    history: history.map((one) => one.properties.runningStatus.code),
  };
}

const done = await { "per-domain": perDomain, platform }[process.argv[2]]();
console.log(JSON.stringify({ ...(await state()), ...done }));
