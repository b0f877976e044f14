import assert from "node:assert/strict";
import { test } from "node:test";
import { portMappings } from "../../shared/network-request.ts";
import type { PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { parsePort } from "./network-options.ts";
import { exposedPorts } from "./ports.ts";

const range = { name: "many", port: 7000, count: 1000, protocol: "tcp", socketActivated: false };
const apps = [{ name: "a", app: { ports: [range] } }] as unknown as RuntimeApp[];

for (const [option, first, last, count] of [
  ["many:20-22", "20>7000", "22>7002", 3],
  ["7000-tcp:192.0.2.1:20", "192.0.2.1:20>7000", "192.0.2.1:20>7000", 1],
  ["8000-udp:20-21", "20>8000", "21>8001", 2],
  ["8000:20-20", "20>8000", "20>8000", 1],
] as const)
  test(`--port=${option} publishes as many as it says`, () => {
    const ports = exposedPorts([parsePort(option)], apps);
    const mappings = portMappings({ apps, ports } as unknown as PodManifest).map(
      ({ hostIP, hostPort, containerPort }) =>
        `${hostIP === undefined ? "" : `${hostIP}:`}${hostPort}>${containerPort}`,
    );
    assert.deepEqual([mappings[0], mappings.at(-1), mappings.length], [first, last, count]);
  });

for (const [text, message] of [
  ["many:22-20", /--port: must be an integer from 22 to 65535|22 to 65535/],
  ["many:20-21-22", /more than one range/],
  ["many:20-", /20 to 65535/],
  ["many:-20", /1 to 65535/],
] as const)
  test(`--port=${text} is no range`, () => assert.throws(() => parsePort(text), message));

test("a pod manifest's own port has the count that it says", () => {
  const ports = [{ name: "x", hostPort: 20, hostIP: undefined, podPort: { ...range, count: 2 } }];
  assert.equal(portMappings({ apps, ports } as unknown as PodManifest).length, 2);
});
