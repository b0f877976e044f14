import assert from "node:assert/strict";
import { test } from "node:test";
import {
  parseCapabilities,
  parseCPU,
  parseCPUShares,
  parseMemory,
  parseNoNewPrivileges,
  parseOOMScoreAdj,
  parseRate,
  parseRlimits,
  parseSeccomp,
  parseSeccompRemove,
  parseSELinuxContext,
  parseSysctl,
  understandIsolators,
  type Where,
} from "./isolators.ts";
import { parseImageManifest } from "./image-manifest.ts";
import { ManifestError } from "./manifest-error.ts";
import type { Isolator, Json } from "./types.ts";

const where: Where = { object: "manifest", path: "app.isolators[2].value" };

function errors(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ManifestError);
    return error.errors;
  }
  return [];
}

type Parser = (value: Json, where: Where) => unknown;

const valid: [Parser, Json, unknown][] = [
  [parseMemory, { request: "1G", limit: "2G" }, { request: 1_000_000_000n, limit: 2_000_000_000n }],
  [parseMemory, { limit: "512Mi" }, { request: 536_870_912n, limit: 536_870_912n }],
  [parseMemory, { request: "1G" }, { request: 1_000_000_000n, limit: undefined }],
  [parseMemory, { limit: 1_073_741_824, default: false }, { request: 1_073_741_824n, limit: 1_073_741_824n }],
  [parseMemory, { limit: " 1k " }, { request: 1000n, limit: 1000n }],
  [parseMemory, {}, { request: undefined, limit: undefined }],
  [parseCPU, { request: "250m", limit: "500m" }, { request: 250n, limit: 500n }],
  [parseCPU, { limit: "1.5" }, { request: 1500n, limit: 1500n }],
  [parseCPU, { limit: 0.3 }, { request: 300n, limit: 300n }],
  [parseCPU, { limit: "0.001" }, { request: 1n, limit: 1n }],
  [parseCPU, { limit: "0" }, { request: 0n, limit: 0n }],
  // A weight, of which there is a least one.
  [parseCPU, { request: "0.0001" }, { request: 1n, limit: undefined }],
  [parseRate, { default: true, limit: "2M" }, 2_000_000n],
  [
    parseRlimits,
    { nofile: { soft: 64, hard: "unlimited" }, core: { soft: 0 }, nproc: { soft: "7", hard: -1 } },
    new Map([
      ["nofile", { soft: 64n, hard: 2n ** 64n - 1n }],
      ["core", { soft: 0n, hard: 0n }],
      ["nproc", { soft: 7n, hard: 2n ** 64n - 1n }],
    ]),
  ],
  [parseCapabilities, { set: ["CAP_NET_ADMIN", "CAP_CHOWN", "CAP_NET_ADMIN"] }, ["CAP_NET_ADMIN", "CAP_CHOWN"]],
  [
    parseSeccomp,
    { set: ["reboot", "@appc.io/empty"], errno: "ENOTSUP" },
    { set: ["reboot", "@appc.io/empty"], errno: "ENOTSUP" },
  ],
  [parseSeccomp, { set: ["reboot"], errno: "EACCESS" }, { set: ["reboot"], errno: "EACCESS" }],
  [parseSeccomp, { set: ["read"], errno: "" }, { set: ["read"], errno: undefined }],
  [parseSeccomp, { set: ["read"] }, { set: ["read"], errno: undefined }],
  [parseSeccompRemove, { set: ["exit"] }, { set: ["exit"], errno: undefined }],
  // Masked (ace.md, "os/linux/seccomp-remove-set").
  [parseSeccompRemove, { set: ["execve", "@appc.io/empty"] }, { set: ["execve", "@appc.io/empty"], errno: undefined }],
  [parseNoNewPrivileges, true, true],
  [parseNoNewPrivileges, false, false],
  [parseOOMScoreAdj, -1000, -1000],
  [parseOOMScoreAdj, 1000, 1000],
  [parseCPUShares, 2, 2],
  [parseCPUShares, 262_144, 262_144],
  [
    parseSELinuxContext,
    { user: "system_u", role: "system_r", type: "dhcpc_t", level: "s0-s0:c0" },
    { user: "system_u", role: "system_r", type: "dhcpc_t", level: "s0-s0:c0" },
  ],
  [
    parseSysctl,
    { "net.ipv4.tcp_rmem": "4096 87380\t6291456", "net/ipv4/conf/eth0.1/forwarding": "1" },
    new Map([
      ["net.ipv4.tcp_rmem", "4096 87380\t6291456"],
      ["net/ipv4/conf/eth0.1/forwarding", "1"],
    ]),
  ],
  [parseSysctl, {}, new Map()],
];
for (const [parse, value, expected] of valid) {
  test(`${parse.name} ${JSON.stringify(value)}`, () => assert.deepEqual(parse(value, where), expected));
}

const at = "manifest: app.isolators[2].value";
const invalid: [Parser, Json, string[]][] = [
  [parseMemory, null, [`${at}: must be an object, got null`]],
  [parseMemory, "1G", [`${at}: must be an object, got "1G"`]],
  [
    parseMemory,
    { limit: "2 big", request: true },
    [
      `${at}.limit: must be an amount like "1.5", "500m", "2G" or "512Mi", got "2 big"`,
      `${at}.request: must be an amount like "1.5", "500m", "2G" or "512Mi", got true`,
    ],
  ],
  [parseMemory, { limit: "-1G" }, [`${at}.limit: must not be negative, got "-1G"`]],
  [parseMemory, { limit: "9e19" }, [`${at}.limit: must be an amount like "1.5", "500m", "2G" or "512Mi", got "9e19"`]],
  [parseMemory, { limit: "1G", request: "1001M" }, [`${at}.request: must not be more than the limit, got "1001M"`]],
  [parseRlimits, { files: { soft: 1 } }, [`${at}.files: must be called cpu or fsize or data or stack or core or rss or nproc or nofile or memlock or as or locks or sigpending or msgqueue or nice or rtprio or rttime`]],
  [parseRlimits, { core: { soft: 1.5 } }, [`${at}.core.soft: must be a number or "unlimited", got 1.5`]],
  [parseRlimits, { core: {} }, [`${at}.core.soft: must be a number or "unlimited", got undefined`]],
  [parseRlimits, { core: { soft: 2, hard: 1 } }, [`${at}.core.soft: must not be more than the hard limit, got 2`]],
  [parseMemory, { limit: "1G", default: true }, [`${at}.default: must not be true`]],
  [parseCPU, { limit: [1] }, [`${at}.limit: must be an amount like "1.5", "500m", "2G" or "512Mi", got a list`]],
  [parseCPU, { limit: "0.0001" }, [`${at}.limit: must be at least 1m, got "0.0001"`]],
  [parseCPU, { limit: "999u" }, [`${at}.limit: must be at least 1m, got "999u"`]],
  [parseRate, { limit: "1M", request: "1M" }, [`${at}.default: must be true`, `${at}.request: must not be given`]],
  [parseCapabilities, { set: [] }, [`${at}.set: must not be empty`]],
  [parseCapabilities, {}, [`${at}.set: must not be empty`]],
  [
    parseCapabilities,
    { set: ["CAP_CHOWN", "chown"] },
    [`${at}.set[1]: must be a capability like "CAP_CHOWN", got "chown"`],
  ],
  [
    parseCapabilities,
    { set: "CAP_CHOWN" },
    [`${at}.set: must be a list, got "CAP_CHOWN"`, `${at}.set: must not be empty`],
  ],
  [
    parseSeccomp,
    { set: ["Reboot", "@nobody"], errno: "eperm" },
    [
      `${at}.set[0]: must be a system call like "chmod" or a wildcard like "@appc.io/all", got "Reboot"`,
      `${at}.set[1]: must be a system call or one of the wildcards @appc.io/all, @appc.io/empty, @docker/default-blacklist, @docker/default-whitelist, @rkt/default-blacklist, @rkt/default-whitelist, got "@nobody"`,
      `${at}.errno: must be an error name like "EPERM", got "eperm"`,
    ],
  ],
  [
    parseSeccompRemove,
    { set: ["@appc.io/all", "execve"] },
    [`${at}.set: must not have execve: no app starts without it`],
  ],
  [parseNoNewPrivileges, "true", [`${at}: must be true or false, got "true"`]],
  [parseOOMScoreAdj, 1001, [`${at}: must be an integer from -1000 to 1000, got 1001`]],
  [parseOOMScoreAdj, 0.5, [`${at}: must be an integer from -1000 to 1000, got 0.5`]],
  [parseCPUShares, 1, [`${at}: must be an integer from 2 to 262144, got 1`]],
  [parseCPUShares, "1024", [`${at}: must be an integer from 2 to 262144, got "1024"`]],
  [
    parseSELinuxContext,
    { user: "a:b", role: "", type: "t" },
    [
      `${at}.user: must be a word without ":", got "a:b"`,
      `${at}.role: must be a word without ":", got ""`,
      `${at}.level: is required`,
    ],
  ],
  [
    parseSysctl,
    { "../../etc/passwd": "x", "net..a": "1", kernel: "1", "net.a": 1, "net.b": "1\n2" },
    [
      `${at}["../../etc/passwd"]: must have a name like "net.core.somaxconn"`,
      `${at}["net..a"]: must have a name like "net.core.somaxconn"`,
      `${at}.kernel: must have a name like "net.core.somaxconn"`,
      `${at}["net.a"]: must be a string, got 1`,
      `${at}["net.b"]: must not contain control characters, got "1\\n2"`,
    ],
  ],
];
for (const [parse, value, expected] of invalid) {
  test(`${parse.name} refuses ${JSON.stringify(value)}`, () =>
    assert.deepEqual(
      errors(() => parse(value, where)),
      expected,
    ));
}

test("a list is understood as a whole", () => {
  const list: Isolator[] = [
    { name: "resource/memory", value: { limit: "1G" } },
    { name: "example.com/unheard-of", value: null },
    { name: "toString", value: null },
    { name: "os/linux/no-new-privileges", value: true },
    { name: "resource/block-iops", value: { default: true, limit: "1" } },
    { name: "resource/block-iops", value: { default: true, limit: "2" } },
  ];
  assert.deepEqual(understandIsolators(list, { object: "manifest", path: "app.isolators" }), {
    known: {
      "resource/memory": { request: 1_000_000_000n, limit: 1_000_000_000n },
      "resource/block-iops": 2n,
      "os/linux/no-new-privileges": true,
    },
    unknown: ["example.com/unheard-of", "toString"],
  });
});

const CONTEXT = { user: "u", role: "r", type: "t", level: "s0" };
const twice: [string, Json, Json][] = [
  ["resource/memory", { limit: "100M" }, { limit: "200M" }],
  ["resource/cpu", { limit: "1" }, { limit: "1" }],
  ["os/linux/capabilities-retain-set", { set: ["CAP_KILL"] }, { set: ["CAP_CHOWN"] }],
  ["os/linux/capabilities-remove-set", { set: ["CAP_KILL"] }, { set: ["CAP_CHOWN"] }],
  ["os/linux/seccomp-retain-set", { set: ["read"] }, { set: ["write"] }],
  ["os/linux/seccomp-remove-set", { set: ["read"] }, { set: ["write"] }],
  ["os/linux/no-new-privileges", true, false],
  ["os/linux/oom-score-adj", 1, 1],
  ["os/linux/selinux-context", CONTEXT, CONTEXT],
  ["os/unix/sysctl", {}, {}],
];

test("an image may have one under its old name and its new one; to run it is an error", () => {
  const image = (one: object, other: object) =>
    parseImageManifest(
      JSON.stringify({
        acKind: "ImageManifest",
        acVersion: "0.5.1",
        name: "example.com/x",
        app: { exec: ["/x"], user: "0", group: "0", isolators: [one, other] },
      }),
    );
  const pairs: [object, object, string][] = [
    [{ name: "memory/limit", value: "1G" }, { name: "resource/memory", value: { limit: "2G" } }, "resource/memory"],
    [
      { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL"] } },
      { name: "capabilities/bounding-set", value: "CAP_CHOWN" },
      "os/linux/capabilities-retain-set",
    ],
    [
      { name: "os/linux/capabilities-revoke-set", value: { set: ["CAP_KILL"] } },
      { name: "os/linux/capabilities-remove-set", value: { set: ["CAP_CHOWN"] } },
      "os/linux/capabilities-remove-set",
    ],
    [{ name: "cpu/shares", value: "2" }, { name: "os/linux/cpu-shares", value: 2 }, "os/linux/cpu-shares"],
  ];
  for (const [one, other, name] of pairs)
    assert.deepEqual(
      errors(() => understandIsolators(image(one, other).app?.isolators ?? [], { object: "app x", path: "isolators" })),
      [`app x: isolators[1]: must not be a second ${name}`],
    );
});

const conflicts: [Isolator[], string][] = [
  ...twice.map(([name, one, other]): [Isolator[], string] => [
    [
      { name, value: one },
      { name: "example.com/x", value: null },
      { name, value: other },
    ],
    `manifest: isolators[2]: must not be a second ${name}`,
  ]),
  [
    [
      { name: "os/linux/cpu-shares", value: 2 },
      { name: "os/linux/cpu-shares", value: 3 },
    ],
    "manifest: isolators[1]: must not be a second os/linux/cpu-shares",
  ],
  [
    [
      { name: "os/linux/seccomp-remove-set", value: { set: ["reboot"] } },
      { name: "os/linux/seccomp-retain-set", value: { set: ["read"] } },
    ],
    "manifest: isolators: must not have both os/linux/seccomp-retain-set and os/linux/seccomp-remove-set",
  ],
  [
    [
      { name: "os/linux/capabilities-remove-set", value: { set: ["CAP_CHOWN"] } },
      { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL"] } },
    ],
    "manifest: isolators: must not have both os/linux/capabilities-retain-set and os/linux/capabilities-remove-set",
  ],
  [
    [{ name: "resource/cpu", value: { limit: "x" } }],
    'manifest: isolators[0].value.limit: must be an amount like "1.5", "500m", "2G" or "512Mi", got "x"',
  ],
];
for (const [list, message] of conflicts) {
  test(message, () => {
    assert.deepEqual(
      errors(() => understandIsolators(list, { object: "manifest", path: "isolators" })),
      [message],
    );
  });
}
