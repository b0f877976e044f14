import assert from "node:assert/strict";
import { test } from "node:test";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { Isolator, PodManifest } from "../../shared/schema/types.ts";
import { noHugePages, resourceLimits, unifiedSettings, unitProperties, version1Settings } from "./resources.ts";

function manifest(ofContainer: Isolator[], ofApp: Isolator[]): PodManifest {
  return {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps: [
      {
        name: "web",
        image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
        app: { ...bareApp(["/x"]), isolators: ofApp },
        readOnlyRootFS: false,
        mounts: [],
        annotations: [],
      },
    ],
    volumes: [],
    isolators: ofContainer,
    annotations: [],
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
}

const memory = (value: object): Isolator => ({ name: "resource/memory", value: { ...value } });
const cpu = (value: object): Isolator => ({ name: "resource/cpu", value: { ...value } });
const shares = (value: number): Isolator => ({ name: "os/linux/cpu-shares", value });

/** systemd.resource-control(5); cgroup-v1/memory.rst, sched-bwc.rst; cgroup-v2.rst. */
const cases: { name: string; isolators: Isolator[]; unit: string[]; v1: string[]; v2: string[] }[] = [
  { name: "nothing", isolators: [], unit: [], v1: [], v2: [] },
  {
    name: "a limit of memory is one of swap, too",
    isolators: [memory({ limit: "512Mi" })],
    unit: ["MemoryMax=536870912", "MemorySwapMax=0", "OOMPolicy=continue"],
    // The sum may not be less than the limit: the kernel accepts this order only.
    v1: ["memory.limit_in_bytes=536870912", "memory.memsw.limit_in_bytes=536870912"],
    v2: ["memory.max=536870912", "memory.swap.max=0"],
  },
  {
    name: "a request of memory is what is taken back last",
    isolators: [memory({ request: "1M", limit: "2M" })],
    unit: ["MemoryMax=2000000", "MemorySwapMax=0", "OOMPolicy=continue", "MemoryLow=1000000"],
    v1: ["memory.limit_in_bytes=2000000", "memory.memsw.limit_in_bytes=2000000", "memory.soft_limit_in_bytes=1000000"],
    v2: ["memory.max=2000000", "memory.swap.max=0", "memory.low=1000000"],
  },
  {
    name: "a limit of processor time; the request is the same, and a weight",
    isolators: [cpu({ limit: "1.5" })],
    unit: ["CPUQuota=150.0%", "CPUWeight=59"],
    v1: ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000", "cpu.shares=1536"],
    v2: ["cpu.max=150000 100000", "cpu.weight=59"],
  },
  {
    name: "a request of processor time alone",
    isolators: [cpu({ request: "250m" })],
    unit: ["CPUWeight=10"],
    v1: ["cpu.shares=256"],
    v2: ["cpu.weight=10"],
  },
  {
    name: "the least there is, in a longer period",
    isolators: [cpu({ limit: "1m" })],
    unit: ["CPUQuota=0.1%", "CPUWeight=1"],
    v1: ["cpu.cfs_period_us=1000000", "cpu.cfs_quota_us=1000", "cpu.shares=2"],
    v2: ["cpu.max=1000 1000000", "cpu.weight=1"],
  },
  {
    name: "shares come before what a request would make them",
    isolators: [cpu({ request: "1", limit: "1" }), shares(262_144)],
    unit: ["CPUQuota=100.0%", "CPUWeight=10000"],
    v1: ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=100000", "cpu.shares=262144"],
    v2: ["cpu.max=100000 100000", "cpu.weight=10000"],
  },
];
for (const c of cases)
  test(`resources of an app and of a container: ${c.name}`, () => {
    const { container, apps } = resourceLimits(manifest(c.isolators, c.isolators));
    const app = apps.get("web") ?? {};
    assert.deepEqual(
      unitProperties(app).map(([, name, value]) => `${name}=${value}`),
      c.unit,
    );
    const text = (settings: { file: string; value: string }[]) => settings.map(({ file, value }) => `${file}=${value}`);
    assert.deepEqual(text(version1Settings(app)), c.v1);
    assert.deepEqual(text(unifiedSettings(container)), c.v2);
  });

test("an app has no more processor time than the container", () => {
  const { apps } = resourceLimits(manifest([cpu({ limit: "500m" })], [cpu({ limit: "2" })]));
  assert.equal(apps.get("web")?.cpu, 500n);
});

test("no huge pages of any size, used or reserved, by the files that a cgroup has for them", () => {
  const v1 = ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"];
  const v2 = ["hugetlb.1GB.max", "hugetlb.1GB.rsvd.max"];
  const others = ["hugetlb.2MB.usage_in_bytes", "hugetlb.1GB.current", "hugetlb.1GB.events", "memory.max", "cgroup.procs"];
  assert.deepEqual(
    noHugePages([...v1, ...v2, ...others]).map(({ file, value }) => `${file}=${value}`),
    [...v1, ...v2].map((file) => `${file}=0`),
  );
});
