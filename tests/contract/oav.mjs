// Every exchange of a log through Microsoft's LiveValidator: one JSON object a line, in a file (the validator talks on standard output).
// node oav.mjs FOLDER_OF_OAV FOLDER_OF_SPECIFICATIONS API_VERSION FINDINGS < LOG.jsonl
import { createRequire } from "node:module";
import { openSync, writeSync } from "node:fs";
import readline from "node:readline";

const [home, directory, version, findings] = process.argv.slice(2);
const require = createRequire(home + "/");
const { LiveValidator } = require("oav/dist/lib/liveValidation/liveValidator.js");

const compute = "specification/compute/resource-manager/Microsoft.Compute/ComputeRP/stable/" + version + "/";
const files = ["virtualMachineScaleSet", "virtualMachine", "virtualMachineImage", "runCommand", "computeRPCommon"];
const validator = new LiveValidator({
  git: { shouldClone: false },
  directory,
  swaggerPathsPattern: [],
  excludedSwaggerPathsPattern: [],
  swaggerPaths: files.map((name) => directory + "/" + compute + name + ".json"),
  isPathCaseSensitive: false,
  isArmCall: true,
});
await validator.initialize();

const out = openSync(findings, "w");
let line = 0;
for await (const text of readline.createInterface({ input: process.stdin })) {
  line += 1;
  if (!text.trim()) continue;
  const one = JSON.parse(text);
  const url = one.url.replace(/([?&]api-version=)[^&]*/i, "$1" + version);
  const body = one.request_body ?? undefined;
  const request = { url, method: one.method, headers: { "content-type": "application/json" }, body };
  const response = { statusCode: String(one.status), headers: one.headers ?? {}, body: one.body ?? undefined };
  const result = await validator.validateLiveRequestResponse({ liveRequest: request, liveResponse: response });
  const said = result.responseValidationResult;
  const failed = result.runtimeException ?? said.runtimeException;
  const told = {
    line,
    operation: said.operationInfo?.operationId ?? "",
    failed: failed ? failed.code + ": " + failed.message : "",
    errors: (said.errors ?? []).map((each) => ({
      code: each.code,
      at: (each.pathsInPayload ?? []).join(" "),
      message: each.message,
    })),
  };
  writeSync(out, JSON.stringify(told) + "\n");
}
