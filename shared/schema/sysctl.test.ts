import assert from "node:assert/strict";
import { test } from "node:test";
import { bareApp } from "./image-manifest.ts";
import { sysctlSettings } from "./sysctl.ts";
import type { PodManifest } from "./types.ts";

type Settings = Record<string, string>;

/** A container manifest whose container and apps want these. */
function manifest(ofContainer: Settings, ...ofApps: Settings[]): PodManifest {
  const isolator = (value: Settings) => [{ name: "os/unix/sysctl", value }];
  return {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps: ofApps.map((value, i) => ({
      name: `app${i}`,
      image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
      app: { ...bareApp(["/x"]), isolators: isolator(value) },
      readOnlyRootFS: false,
      mounts: [],
      annotations: [],
    })),
    volumes: [],
    isolators: isolator(ofContainer),
    annotations: [],
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
}

test("what the container's namespaces have, as paths", () => {
  const settings = sysctlSettings(
    manifest({
      "net.core.somaxconn": "1",
      // As sysctl(8): the other separator is part of a name.
      "net.ipv4.conf.eth0/7.rp_filter": "2",
      "net/ipv4/conf/eth0.8/rp_filter": "3",
      "kernel.sem": "1 2 3 4",
      "kernel.shm_rmid_forced": "1",
      "fs.mqueue.msg_max": "5",
      "kernel.domainname": "example.com",
    }),
    true,
  );
  assert.deepEqual(Object.fromEntries(settings), {
    "net/core/somaxconn": "1",
    "net/ipv4/conf/eth0.7/rp_filter": "2",
    "net/ipv4/conf/eth0.8/rp_filter": "3",
    "kernel/sem": "1 2 3 4",
    "kernel/shm_rmid_forced": "1",
    "fs/mqueue/msg_max": "5",
    "kernel/domainname": "example.com",
  });
});

test("the container's value comes before an app's, under any spelling, and the app is named", () => {
  const replaced: string[] = [];
  const settings = sysctlSettings(
    manifest({ "kernel.msgmax": "1" }, { "kernel/msgmax": "2", "kernel.msgmni": "3" }, { "kernel.msgmax": "1" }),
    false,
    (by, name) => replaced.push(`${by}: ${name}`),
  );
  assert.deepEqual(replaced, ["app app0: kernel/msgmax"]);
  assert.deepEqual(
    [...settings],
    [
      ["kernel/msgmax", "1"],
      ["kernel/msgmni", "3"],
    ],
  );
});

test("one parameter under two spellings has one value", () => {
  const same = { "kernel.msgmax": "1", "kernel/msgmax": "1" };
  assert.equal(sysctlSettings(manifest(same, same), false).size, 1);
  const different = { "kernel.msgmax": "1", "kernel/msgmax": "2" };
  for (const [by, pod] of [
    ["the container", manifest(different)],
    ["app app0", manifest({}, different)],
  ] as const)
    assert.throws(() => sysctlSettings(pod, false), {
      code: "bad-isolator",
      message: `${by} has two values of the kernel parameter kernel/msgmax`,
    });
});

test("apps may want the same, and nothing different", () => {
  assert.equal(sysctlSettings(manifest({}, { "kernel.msgmax": "1" }, { "kernel.msgmax": "1" }), false).size, 1);
  assert.throws(() => sysctlSettings(manifest({}, { "kernel.msgmax": "1" }, { "kernel.msgmax": "2" }), false), {
    code: "bad-isolator",
    message: "app app0 and app app1 want different values of kernel.msgmax",
  });
});

test("those of the IPC namespace, when that is the caller's", () => {
  const annotations = [{ name: "coreos.com/rocket/ipc", value: "parent" }];
  const ask = (name: string) => sysctlSettings({ ...manifest({ [name]: "1" }), annotations }, true).size;
  for (const name of ["kernel.shmmax", "kernel.sem", "fs.mqueue.msg_max"])
    assert.throws(() => ask(name), { code: "bad-isolator", hint: "without --ipc=parent it has its own" });
  for (const name of ["kernel.domainname", "net.core.somaxconn"]) assert.equal(ask(name), 1);
});

const refused: { name: string; ownNetwork?: boolean; hint: RegExp }[] = [
  { name: "net.ipv4.ip_forward", ownNetwork: false, hint: /--net/ },
  { name: "kernel.hostname", hint: /--hostname/ },
  { name: "kernel.panic", hint: /fs\.mqueue/ },
  { name: "kernel.core_pattern", hint: /kernel\.domainname/ },
  { name: "fs.file-max", hint: /net\.\*/ },
  { name: "vm.overcommit_memory", hint: /net\.\*/ },
  { name: "network.core.somaxconn", hint: /net\.\*/ },
  { name: "user.max_user_namespaces", hint: /net\.\*/ },
];
for (const { name, ownNetwork = true, hint } of refused)
  test(`the host's: ${name}`, () => {
    for (const pod of [manifest({ [name]: "1" }), manifest({}, { [name]: "1" })])
      assert.throws(
        () => sysctlSettings(pod, ownNetwork),
        (error: Error & { hint?: string }) => {
          assert.match(
            error.message,
            new RegExp(`^(the container|app app0): the kernel parameter ${name} is not the container's own$`),
          );
          assert.match(error.hint ?? "", hint);
          return true;
        },
      );
  });
