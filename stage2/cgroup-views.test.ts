import assert from "node:assert/strict";
import { test } from "node:test";
import { hierarchies } from "../shared/cgroup-hierarchies.ts";
import { cgroupViews } from "./cgroup-views.ts";

const cases = [
  {
    name: "v1: what stage 1 has made for the app, its unit's, and the container's",
    mountinfo: `\
24 23 0:22 / /sys ro - sysfs sysfs rw
31 24 0:30 / /sys/fs/cgroup ro - tmpfs tmpfs rw
32 31 0:31 / /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
33 31 0:32 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
34 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
90 60 0:32 /system.slice/app-web.service /rkt/cgroups/web/memory rw - cgroup cgroup rw,memory
`,
    own: "4:memory:/\n3:cpu,cpuacct:/\n1:name=systemd:/system.slice/app-web.service\n0::/\n",
    joined: ["memory"],
    views: [
      "/sys/fs/cgroup/cpu,cpuacct from /sys/fs/cgroup/cpu,cpuacct shared",
      "/sys/fs/cgroup/memory from /rkt/cgroups/web/memory",
      "/sys/fs/cgroup/systemd from /sys/fs/cgroup/systemd/system.slice/app-web.service",
    ],
  },
  {
    name: "v2: its unit's",
    mountinfo: "31 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
    own: "0::/system.slice/app-web.service\n",
    joined: [],
    views: ["/sys/fs/cgroup from /sys/fs/cgroup/system.slice/app-web.service"],
  },
  { name: "none", mountinfo: "24 23 0:22 / /sys ro - sysfs sysfs rw\n", own: "0::/\n", joined: [], views: [] },
];
for (const { name, mountinfo, own, joined, views } of cases)
  test(`what an app sees of cgroups: ${name}`, () => {
    const seen = cgroupViews("web", hierarchies(mountinfo), own, joined);
    assert.deepEqual(
      seen.map(({ mountPoint, source, shared }) => `${mountPoint} from ${source}${shared ? " shared" : ""}`),
      views,
    );
  });
