import assert from "node:assert/strict";
import { test } from "node:test";
import { CAPABILITIES } from "../../shared/schema/capabilities.ts";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { Isolator, PodManifest } from "../../shared/schema/types.ts";
import { checkIsolators, isolatorFacts, overrideIsolators, wantsPrivateNetwork } from "./isolators.ts";

/** With one app, "web"; `more` are further ones without isolators. */
function manifest(ofContainer: Isolator[], ofApp: Isolator[], more: string[] = []): PodManifest {
  return {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps: ["web", ...more].map((name, i) => ({
      name,
      image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
      app: { ...bareApp(["/x"]), isolators: i === 0 ? ofApp : [] },
      readOnlyRootFS: false,
      mounts: [],
      annotations: [],
    })),
    volumes: [],
    isolators: ofContainer,
    annotations: [],
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
}

const memory = (limit: string): Isolator => ({ name: "resource/memory", value: { limit } });
const cpu = (limit: string): Isolator => ({ name: "resource/cpu", value: { limit } });

test("isolators without effect are named, enforced ones are not", () => {
  const limited: Isolator[] = [memory("24Mi"), cpu("10m"), { name: "os/linux/cpu-shares", value: 2 }];
  const ofApp: Isolator = { name: "os/linux/no-new-privileges", value: true };
  const rate = { default: true, limit: "1M" };
  assert.deepEqual(checkIsolators(manifest(limited, [...limited, ofApp])), []);
  assert.deepEqual(
    checkIsolators(
      manifest(
        [ofApp, { name: "a/b", value: null }],
        [
          { name: "resource/network-bandwidth", value: rate },
          { name: "a/c", value: null },
        ],
      ),
    ),
    [
      "the container: the isolator a/b is unknown and has no effect",
      "the container: the isolator os/linux/no-new-privileges is not enforced and has no effect",
      "app web: the isolator a/c is unknown and has no effect",
      "app web: the isolator resource/network-bandwidth is not enforced and has no effect",
    ],
  );
});

const own = { name: "coreos.com/rocket/network", value: "default" };
const networks: [value: Isolator["value"], network: boolean, warnings: string[], effect: string][] = [
  ["true", true, [], "enforced"],
  ["false", false, [], "enforced"],
  ["false", true, [], "ignored"],
  [
    "true",
    false,
    ["app web: the isolator private-network has no effect: the container is to share the host's network"],
    "ignored",
  ],
  ["perhaps", true, ["app web: the isolator private-network is unknown and has no effect"], "ignored"],
];
for (const [value, network, warnings, effect] of networks)
  test(`private-network=${value} in ${network ? "a network of its own" : "the host's network"}`, () => {
    const isolator = { name: "private-network", value };
    const pod = { ...manifest([], [isolator]), annotations: network ? [own] : [] };
    assert.deepEqual(checkIsolators(pod), warnings);
    assert.equal(isolatorFacts(pod).apps[0]?.[0]?.effect, effect);
    assert.equal(wantsPrivateNetwork([isolator]), value === "true");
  });

/** The least that is accepted, and less. */
const least: { name: string; unified: boolean; apps?: number; memory: number; cpu: string; less: string }[] = [
  { name: "the container", unified: false, memory: 24, cpu: "10m", less: "9m" },
  { name: "the container", unified: false, apps: 4, memory: 72, cpu: "10m", less: "9m" },
  { name: "the container", unified: true, memory: 24, cpu: "10m", less: "9m" },
  { name: "app web", unified: false, memory: 1, cpu: "1m", less: "0" },
  { name: "app web", unified: true, memory: 24, cpu: "10m", less: "9m" },
];
for (const c of least)
  test(`the least limits of ${c.name} with ${c.apps ?? 1} apps, cgroup v${c.unified ? 2 : 1}`, () => {
    const check = (isolator: Isolator) => {
      const more = ["b", "c", "d"].slice(0, (c.apps ?? 1) - 1);
      const pod = c.name === "the container" ? manifest([isolator], [], more) : manifest([], [isolator], more);
      return checkIsolators(pod, c.unified);
    };
    const option = (name: string) => (c.name === "app web" ? `, --${name}` : "");
    assert.deepEqual(check(memory(`${c.memory}Mi`)), []);
    assert.deepEqual(check(cpu(c.cpu)), []);
    const bytes = c.memory * 2 ** 20 - 1;
    assert.throws(() => check(memory(String(bytes))), {
      code: "bad-isolator",
      message: `${c.name}: nothing can start in ${bytes} bytes of memory`,
      hint: `resource/memory${option("memory")}: at least ${c.memory}Mi, and what the program needs`,
    });
    assert.throws(() => check(cpu(c.less)), {
      code: "bad-isolator",
      message: `${c.name}: nothing can ${c.less === "0" ? "run with a limit of no processor time" : `start with ${c.less} of a core`}`,
      hint: `resource/cpu${option("cpu")}: at least ${c.cpu}; 500m is half a core`,
    });
  });

const sysctl = (value: Record<string, string>): Isolator => ({ name: "os/unix/sysctl", value });

test("what the container's isolators lower or replace is told", () => {
  const pod = manifest(
    [memory("96Mi"), cpu("500m"), sysctl({ "kernel.msgmax": "1" })],
    [memory("96Mi"), cpu("2"), sysctl({ "kernel/msgmax": "2" })],
  );
  assert.deepEqual(checkIsolators(pod), [
    "app web: its limit of processor time, 2000m, is lowered to the container's, 500m",
    "app web: its value of the kernel parameter kernel/msgmax is replaced by the container's",
  ]);
  assert.deepEqual(checkIsolators(manifest([memory("96Mi")], [memory("1G")])), [
    "app web: its limit of memory, 1000000000 bytes, is lowered to the container's, 100663296 bytes",
  ]);
});

test("what became of each isolator", () => {
  const rate = { name: "resource/block-iops", value: { default: true, limit: "1" } };
  const [unknown, more] = [{ name: "a/b", value: null }, sysctl({ "kernel/msgmax": "2", "kernel.msgmni": "3" })];
  const pod = manifest(
    [memory("96Mi"), cpu("500m"), sysctl({ "kernel.msgmax": "1" }), rate],
    [memory("1G"), cpu("2"), more, rate, unknown],
    ["other"],
  );
  const fact = ({ name, value }: Isolator, effect: string) => ({ name, value, effect });
  assert.deepEqual(isolatorFacts(pod), {
    container: [
      fact(memory("96Mi"), "enforced"),
      fact(cpu("500m"), "enforced"),
      fact(sysctl({ "kernel.msgmax": "1" }), "enforced"),
      fact(rate, "ignored"),
    ],
    apps: [
      [
        { ...fact(memory("1G"), "modified"), instead: { limit: "100663296" } },
        { ...fact(cpu("2"), "modified"), instead: { limit: "500m" } },
        { ...fact(more, "modified"), instead: { "kernel/msgmax": "1", "kernel.msgmni": "3" } },
        fact(rate, "ignored"),
        fact(unknown, "ignored"),
      ],
      [],
    ],
  });
});

const caps = (mode: "retain" | "remove", ...set: string[]): Isolator => ({
  name: `os/linux/capabilities-${mode}-set`,
  value: { set },
});
const overrides: { name: string; image: Isolator[]; asked: Isolator[]; expected: Isolator[] }[] = [
  {
    name: "the image's of other kinds stay",
    image: [memory("1G"), caps("remove", "CAP_KILL")],
    asked: [memory("2G")],
    expected: [caps("remove", "CAP_KILL"), memory("2G")],
  },
  {
    name: "to retain takes the place of any set",
    image: [caps("remove", "CAP_KILL")],
    asked: [caps("retain", "CAP_KILL")],
    expected: [caps("retain", "CAP_KILL")],
  },
  {
    name: "to remove takes from a retain-set",
    image: [caps("retain", "CAP_KILL", "CAP_CHOWN")],
    asked: [caps("remove", "CAP_KILL", "CAP_MKNOD")],
    expected: [caps("retain", "CAP_CHOWN")],
  },
  {
    name: "all of it",
    image: [caps("retain", "CAP_KILL")],
    asked: [caps("remove", "CAP_KILL")],
    expected: [caps("remove", ...CAPABILITIES)],
  },
  {
    name: "and adds to a remove-set",
    image: [caps("remove", "CAP_KILL", "CAP_CHOWN")],
    asked: [caps("remove", "CAP_KILL", "CAP_MKNOD")],
    expected: [caps("remove", "CAP_KILL", "CAP_CHOWN", "CAP_MKNOD")],
  },
];
const where = { object: "app web", path: "isolators" };
for (const c of overrides)
  test(`isolators of the command line: ${c.name}`, () =>
    assert.deepEqual(overrideIsolators(c.image, c.asked, where), c.expected));

test("what the image says of capabilities is understood before it is changed", () => {
  const image = [memory("lots"), caps("retain", "CAP_KILL"), caps("retain", "CAP_CHOWN")];
  assert.throws(() => overrideIsolators(image, [caps("remove", "CAP_KILL")], where), {
    message: "app web: isolators[2]: must not be a second os/linux/capabilities-retain-set",
  });
});
