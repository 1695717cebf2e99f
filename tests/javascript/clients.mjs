// Calls a server by the JavaScript clients of Connect, which are not ours, and prints what they make of it as JSON.
//
//   node clients.mjs DESCRIPTORS URL
//
// DESCRIPTORS is a file with the descriptors of the protos: so no code is generated.

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, Code, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";

const [descriptors, baseUrl] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = (name) => registry.getService(name);

const transports = {
  "connect-node protobuf": node.createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "connect-node json": node.createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "connect-node grpc-web": node.createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "connect-web protobuf": web.createConnectTransport({ baseUrl, useBinaryFormat: true }),
  "connect-web json": web.createConnectTransport({ baseUrl, useBinaryFormat: false }),
  "connect-web grpc-web": web.createGrpcWebTransport({ baseUrl }),
};

const question = { principal: "user:bob", action: "VIEW", kind: "FLOW", namespace: "acme.finance" };

async function refusal(call) {
  try {
    await call();
    return null;
  } catch (reason) {
    const error = ConnectError.from(reason);
    const violations = error
      .findDetails(registry.getMessage("google.rpc.BadRequest"))
      .flatMap((each) => each.fieldViolations.map((violation) => violation.field));
    return { code: Code[error.code], message: error.rawMessage, violations };
  }
}

async function first(stream) {
  for await (const each of stream) {
    return each; // leaves the stream
  }
}

async function tried(transport) {
  const access = createClient(service("remit.v1.AccessService"), transport);
  const policy = createClient(service("remit.v1.PolicyService"), transport);
  const health = createClient(service("grpc.health.v1.Health"), transport);
  const allowed = await access.check({ tenant: "acme", question });
  const denied = await access.check({ tenant: "acme", question: { ...question, action: "DELETE", principal: "user:nobody" } });
  const batch = await access.batchCheck({ tenant: "acme", questions: [question, { ...question, action: "" }] });
  return {
    allowed: toJson(registry.getMessage("remit.v1.CheckResponse"), allowed),
    denied: toJson(registry.getMessage("remit.v1.CheckResponse"), denied),
    batch: toJson(registry.getMessage("remit.v1.BatchCheckResponse"), batch),
    malformed: await refusal(() => access.check({ tenant: "ACME!", question })),
    late: await refusal(() => access.check({ tenant: "acme", question, revision: "0".repeat(64) }, { timeoutMs: 300 })),
    watched: toJson(
      registry.getMessage("remit.v1.WatchRevisionResponse"),
      await first(policy.watchRevision({ tenant: "acme" })),
    ),
    forbidden: await refusal(() => first(policy.watchRevision({ tenant: "ACME!" }))),
    health: toJson(registry.getMessage("grpc.health.v1.HealthCheckResponse"), await health.check({})),
  };
}

const found = {};
for (const [name, transport] of Object.entries(transports)) {
  found[name] = await tried(transport);
}
process.stdout.write(JSON.stringify(found));
process.exit(0);
