import assert from "node:assert/strict";
import { test } from "node:test";
import { type Hierarchy, hierarchies, ownCgroup } from "../../shared/cgroup-hierarchies.ts";
import { planFromTexts } from "./cgroups.ts";

// proc_pid_mountinfo(5): ID parent major:minor root mount-point options … - type source super-options
const hybrid = `30 1 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:8 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 /docker/x /mnt/with\\040space rw - cgroup cgroup rw,memory
`;

test("hierarchies of a hybrid host, in the order they are mounted", () => {
  assert.deepEqual(hierarchies(hybrid), [
    { controllers: [], mountPoint: "/sys/fs/cgroup/unified" },
    { controllers: ["name=systemd"], mountPoint: "/sys/fs/cgroup/systemd" },
    { controllers: ["cpu", "cpuacct"], mountPoint: "/sys/fs/cgroup/cpu,cpuacct" },
    { controllers: ["memory"], mountPoint: "/mnt/with space" },
  ]);
});

test("hierarchies of a host with cgroup v2 alone", () => {
  assert.deepEqual(hierarchies("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"), [
    { controllers: [], mountPoint: "/sys/fs/cgroup" },
  ]);
});

const file = "3:cpu,cpuacct:/slice\n2:name=systemd:/user.slice/x:y\n0::/unified.slice\n";
const cases = [
  { name: "v2 is hierarchy 0", controllers: [], path: "/unified.slice" },
  { name: "a named hierarchy, its path with a colon", controllers: ["name=systemd"], path: "/user.slice/x:y" },
  { name: "either of two controllers of one mount", controllers: ["cpuacct"], path: "/slice" },
  { name: "a hierarchy the process is not in", controllers: ["memory"], path: undefined },
];
for (const c of cases)
  test(`own cgroup: ${c.name}`, () => {
    assert.equal(ownCgroup(file, { controllers: c.controllers, mountPoint: "/x" }), c.path);
  });

const v1: Hierarchy[] = [
  { controllers: [], mountPoint: "/cg/unified" },
  { controllers: ["cpu", "cpuacct"], mountPoint: "/cg/cpu" },
  { controllers: ["name=systemd"], mountPoint: "/cg/systemd" },
];
const v2: Hierarchy[] = [{ controllers: [], mountPoint: "/cg" }];
const places: { name: string; mounted: Hierarchy[]; own: string; needed: ("cpu" | "memory")[]; planned: string[] }[] = [
  {
    name: "v1: below the caller's, whatever is needed",
    mounted: v1,
    own: "0::/\n3:cpu,cpuacct:/a/b\n2:name=systemd:/\n",
    needed: ["cpu"],
    planned: ["[cpu] /cg/cpu/a/b/rkt-1", "[] /cg/systemd/rkt-1"],
  },
  {
    name: "v1 without a hierarchy for systemd",
    mounted: v1.slice(0, 2),
    own: "0::/\n3:cpu,cpuacct:/a/b\n",
    needed: ["cpu"],
    planned: ["[] /cg/unified/rkt-1", "[cpu] /cg/cpu/a/b/rkt-1"],
  },
  {
    name: "v2: below the caller's",
    mounted: v2,
    own: "0::/user.slice/session.scope\n",
    needed: [],
    planned: ["[] /cg/user.slice/session.scope/rkt-1"],
  },
  {
    name: "v2: as far up as it takes to get the controllers",
    mounted: v2,
    own: "0::/user.slice/session.scope\n",
    needed: ["cpu", "memory"],
    planned: ["[cpu,memory] /cg/user.slice/session.scope/rkt-1 or /cg/user.slice/rkt-1 or /cg/rkt-1"],
  },
  {
    name: "hybrid: v2 gives what v1 has not",
    mounted: v1,
    own: "0::/a\n3:cpu,cpuacct:/\n",
    needed: ["cpu", "memory"],
    planned: ["[memory] /cg/unified/a/rkt-1 or /cg/unified/rkt-1", "[cpu] /cg/cpu/rkt-1"],
  },
];
for (const c of places)
  test(`where the container's cgroups go: ${c.name}`, () => {
    const planned = planFromTexts("1", c.mounted, c.own, c.needed);
    assert.deepEqual(
      planned.map(({ controllers, candidates }) => `[${controllers}] ${candidates.join(" or ")}`),
      c.planned,
    );
  });
