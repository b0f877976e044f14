import assert from "node:assert/strict";
import { test } from "node:test";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import type { App, Volume } from "../shared/schema/types.ts";
import type { CgroupView } from "./cgroup-views.ts";
import { describeStep, type MountSources, type MountStep, planAppMounts } from "./mount-plan.ts";

const DIR = "sha512-00000000000000000000000000000000";

const app: App = {
  exec: ["/bin/true"],
  user: "0",
  group: "0",
  supplementaryGIDs: [],
  eventHandlers: [],
  environment: [],
  isolators: [],
  mountPoints: [],
  ports: [],
  userAnnotations: {},
  userLabels: {},
};

const plain: MountSources = {
  rootfs: STAGE1.appRootfs(DIR),
  name: "web",
  app,
  readOnlyRootFS: false,
  mounts: [],
  volumes: [],
  interactive: false,
  makesInterfaces: false,
  protectPaths: true,
  hostsAsked: false,
};

/** A step, and what of it `describeStep` leaves out. */
function line(step: MountStep): string {
  const notes = [
    "attributes" in step && step.attributes.length > 0 ? `(${step.attributes.join(", ")})` : "",
    "recursive" in step && step.recursive ? "recursive" : "",
    "optional" in step && step.optional ? "optional" : "",
    "fallback" in step && step.fallback ? "fallback" : "",
    "host" in step && step.host ? "host" : "",
    "inDev" in step ? "of devices?" : "",
    "mode" in step ? `0${step.mode.toString(8)}` : "",
    "options" in step ? Object.entries(step.options).map((option) => option.join("=")).join() : "",
    "otherwise" in step ? `or ${step.otherwise}` : "",
    "volume" in step && step.kind === "bind" ? `= ${step.source}` : "",
  ];
  return [describeStep(step), ...notes].filter((text) => text !== "").join(" ");
}

const lines = (sources: MountSources) => planAppMounts(sources).map(line).join("\n");

test("the whole plan of an app without volumes", () => {
  assert.equal(
    lines(plain),
    `\
mount /opt/stage2/sha512-00000000000000000000000000000000/rootfs as the app's root (nodev)
mount proc on /proc (nosuid, nodev, noexec) or /proc
mount sysfs on /sys (read-only, nosuid, nodev, noexec) or /sys
mount tmpfs on /dev (nosuid, nodev, noexec) mode=0755,size=64k
mount /dev/null on /dev/null (read-only, nosuid, noexec)
mount /dev/zero on /dev/zero (read-only, nosuid, noexec)
mount /dev/full on /dev/full (read-only, nosuid, noexec)
mount /dev/random on /dev/random (read-only, nosuid, noexec)
mount /dev/urandom on /dev/urandom (read-only, nosuid, noexec)
mount /dev/tty on /dev/tty (read-only, nosuid, noexec)
make directory /dev/pts 0755
mount devpts on /dev/pts (nosuid, noexec) ptmxmode=0666,mode=0620,gid=5,max=1024 or /dev/pts
link /dev/ptmx to pts/ptmx
link /dev/fd to /proc/self/fd
link /dev/stdin to /proc/self/fd/0
link /dev/stdout to /proc/self/fd/1
link /dev/stderr to /proc/self/fd/2
link /dev/log to /run/systemd/journal/dev-log
mount /dev/shm on /dev/shm (nosuid, nodev, noexec)
mount /dev/mqueue on /dev/mqueue (nosuid, nodev, noexec) optional
mount /dev/null on /dev/console (read-only, nosuid, noexec)
hide /proc/acpi
hide /proc/allocinfo
hide /proc/asound
hide /proc/interrupts
hide /proc/kcore
hide /proc/keys
hide /proc/kpagecgroup
hide /proc/kpagecount
hide /proc/kpageflags
hide /proc/latency_stats
hide /proc/pagetypeinfo
hide /proc/sched_debug
hide /proc/scsi
hide /proc/slabinfo
hide /proc/timer_list
hide /proc/timer_stats
hide /proc/vmallocinfo
hide /sys/devices/virtual/powercap
hide /sys/firmware
hide /sys/kernel/irq
hide /sys/kernel/mm/page_idle
hide /sys/kernel/slab
hide /sys/kernel/vmcoreinfo
remount /proc/bus (read-only, nosuid, nodev, noexec) recursive
remount /proc/dynamic_debug (read-only, nosuid, nodev, noexec) recursive
remount /proc/fs (read-only, nosuid, nodev, noexec) recursive
remount /proc/irq (read-only, nosuid, nodev, noexec) recursive
remount /proc/sys (read-only, nosuid, nodev, noexec) recursive
remount /proc/sysrq-trigger (read-only, nosuid, nodev, noexec) recursive
make directory /tmp 01777
mount /rkt/etc/resolv.conf on /etc/resolv.conf (read-only, nosuid, nodev, noexec) optional
mount /rkt/etc/hosts on /etc/hosts (read-only, nosuid, nodev, noexec) optional fallback
mount /rkt/etc/hostname on /etc/hostname (read-only, nosuid, nodev, noexec) optional
mount /rkt/etc/machine-id on /etc/machine-id (read-only, nosuid, nodev, noexec) optional
link /etc/mtab to /proc/self/mounts fallback
mount /rkt/stdio/web.syslog on /run/systemd/journal (read-only, nosuid, nodev, noexec) optional`,
  );
});

test("an app that can make network interfaces has what virtual ones are made by", () => {
  const more = "+ mount /dev/net/tun on /dev/net/tun (read-only, nosuid, noexec) optional";
  assert.equal(difference({ ...plain, makesInterfaces: true }), more);
});

/** What a plan has that the plain one has not, and the other way round. */
function difference(sources: MountSources): string {
  const [before, after] = [lines(plain).split("\n"), lines(sources).split("\n")];
  return [
    ...before.filter((text) => !after.includes(text)).map((text) => `- ${text}`),
    ...after.filter((text) => !before.includes(text)).map((text) => `+ ${text}`),
  ].join("\n");
}

const host = (name: string, more: Partial<Volume> = {}): Volume => ({
  name,
  kind: "host",
  source: `/srv/${name}`,
  ...more,
});
const empty = (name: string, more: Partial<Volume> = {}): Volume => ({ name, kind: "empty", ...more });
const withMountPoints = (...mountPoints: App["mountPoints"]): App => ({ ...app, mountPoints });

const view = (mountPoint: string, controllers: string[], source: string, shared = false): CgroupView => ({
  mountPoint,
  controllers,
  source: source as CgroupView["source"],
  shared,
});

const cases: { name: string; sources: Partial<MountSources>; difference: string }[] = [
  {
    name: "cgroups of v1: the app's own, and the container's without other apps'",
    sources: {
      cgroups: [
        view("/sys/fs/cgroup/memory", ["memory"], "/rkt/cgroups/web/memory"),
        view("/sys/fs/cgroup/cpu,cpuacct", ["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", true),
      ],
    },
    difference: `\
+ mount tmpfs on /sys/fs/cgroup (nosuid, nodev, noexec) mode=0755,size=64k
+ mount /rkt/cgroups/web/memory on /sys/fs/cgroup/memory (read-only, nosuid, nodev, noexec)
+ mount /sys/fs/cgroup/cpu,cpuacct on /sys/fs/cgroup/cpu,cpuacct (read-only, nosuid, nodev, noexec)
+ hide /sys/fs/cgroup/cpu,cpuacct/system.slice
+ link /sys/fs/cgroup/cpu to cpu,cpuacct
+ link /sys/fs/cgroup/cpuacct to cpu,cpuacct
+ remount /sys/fs/cgroup (read-only, nosuid, nodev, noexec)`,
  },
  {
    name: "cgroups of v2",
    sources: { cgroups: [view("/sys/fs/cgroup", [], "/sys/fs/cgroup/system.slice/app-web.service")] },
    difference:
      "+ mount /sys/fs/cgroup/system.slice/app-web.service on /sys/fs/cgroup (read-only, nosuid, nodev, noexec)",
  },
  {
    name: "volumes of both kinds",
    sources: {
      volumes: [host("data"), empty("scratch", { mode: "0700" })],
      mounts: [
        { volume: "data", path: "/var/lib/data" },
        { volume: "scratch", path: "/scratch/" },
      ],
    },
    difference: `\
+ mount volume "scratch" on /scratch (nodev) = /rkt/volumes/scratch
+ mount volume "data" on /var/lib/data (nodev) recursive host = /rkt/host-volumes/data`,
  },
  {
    name: "one volume on two paths",
    sources: {
      volumes: [host("data")],
      mounts: [
        { volume: "data", path: "/a" },
        { volume: "data", path: "/b" },
      ],
    },
    difference: `\
+ mount volume "data" on /a (nodev) recursive host = /rkt/host-volumes/data
+ mount volume "data" on /b (nodev) recursive host = /rkt/host-volumes/data`,
  },
  {
    name: "read-only as the volume says, and where it says nothing, as the mount point says",
    sources: {
      app: withMountPoints({ name: "b", path: "/b//", readOnly: true }, { name: "c", path: "/c", readOnly: false }),
      volumes: [host("a", { readOnly: true }), host("b"), host("c", { readOnly: true }), host("d", { readOnly: false })],
      mounts: [
        { volume: "a", path: "/a" },
        { volume: "b", path: "/b" },
        { volume: "c", path: "/c" },
        { volume: "d", path: "/b/d" },
      ],
    },
    difference: `\
+ mount volume "a" on /a (read-only, nodev) recursive host = /rkt/host-volumes/a
+ mount volume "b" on /b (read-only, nodev) recursive host = /rkt/host-volumes/b
+ mount volume "c" on /c (read-only, nodev) recursive host = /rkt/host-volumes/c
+ mount volume "d" on /b/d (nodev) recursive host = /rkt/host-volumes/d`,
  },
  {
    name: "not recursive when the volume says so",
    sources: { volumes: [host("a", { recursive: false })], mounts: [{ volume: "a", path: "/a" }] },
    difference: `+ mount volume "a" on /a (nodev) host = /rkt/host-volumes/a`,
  },
  {
    name: "outer mounts first",
    sources: {
      volumes: [host("inner"), empty("middle"), host("outer"), empty("deep")],
      mounts: [
        { volume: "deep", path: "/a/b/c/d" },
        { volume: "inner", path: "/a/b/c" },
        { volume: "middle", path: "/a/b" },
        { volume: "outer", path: "/a" },
      ],
    },
    difference: `\
+ mount volume "outer" on /a (nodev) recursive host = /rkt/host-volumes/outer
+ mount volume "middle" on /a/b (nodev) = /rkt/volumes/middle
+ mount volume "inner" on /a/b/c (nodev) recursive host = /rkt/host-volumes/inner
+ mount volume "deep" on /a/b/c/d (nodev) = /rkt/volumes/deep`,
  },
  {
    name: "a path that only begins like another does not lie in it",
    sources: {
      volumes: [host("a"), host("ab")],
      mounts: [
        { volume: "a", path: "/a" },
        { volume: "ab", path: "/ab/x" },
      ],
    },
    difference: `\
+ mount volume "a" on /a (nodev) recursive host = /rkt/host-volumes/a
+ mount volume "ab" on /ab/x (nodev) recursive host = /rkt/host-volumes/ab`,
  },
  {
    name: "a mount's own volume comes before the container's of that name",
    sources: {
      volumes: [host("a")],
      mounts: [{ volume: "a", path: "/a", appVolume: empty("a") }],
    },
    difference: `+ mount volume "a" on /a (nodev) = /rkt/volumes/web.0`,
  },
  {
    name: "devices are for volumes from the host's /dev",
    sources: {
      volumes: [
        host("gpu", { source: "/dev/dri" }),
        host("dev", { source: "/dev" }),
        host("devel", { source: "/devel" }),
      ],
      mounts: [
        { volume: "gpu", path: "/dev/dri" },
        { volume: "dev", path: "/host" },
        { volume: "devel", path: "/src" },
      ],
    },
    difference: `\
+ mount volume "dev" on /host (nodev) recursive host of devices? = /rkt/host-volumes/dev
+ mount volume "devel" on /src (nodev) recursive host = /rkt/host-volumes/devel
+ mount volume "gpu" on /dev/dri (nodev) recursive host of devices? = /rkt/host-volumes/gpu`,
  },
  {
    name: "a volume over a file that stage 1 has one for",
    sources: {
      volumes: [host("hosts")],
      mounts: [{ volume: "hosts", path: "/etc/hosts" }],
    },
    difference: `\
- mount /rkt/etc/hosts on /etc/hosts (read-only, nosuid, nodev, noexec) optional fallback
+ mount volume "hosts" on /etc/hosts (nodev) recursive host = /rkt/host-volumes/hosts`,
  },
  {
    name: "hosts the user asked for replace the image's",
    sources: { hostsAsked: true },
    difference: `\
- mount /rkt/etc/hosts on /etc/hosts (read-only, nosuid, nodev, noexec) optional fallback
+ mount /rkt/etc/hosts on /etc/hosts (read-only, nosuid, nodev, noexec) optional`,
  },
  {
    name: "an interactive app gets the console",
    sources: { interactive: true },
    difference: `\
+ mount /rkt/terminal on /dev/console optional`,
  },
];

for (const c of cases)
  test(c.name, () => {
    assert.equal(difference({ ...plain, ...c.sources }), c.difference);
  });

test("a volume over /etc hides the files that stage 1 has for it", () => {
  const text = lines({ ...plain, volumes: [host("etc")], mounts: [{ volume: "etc", path: "/etc" }] });
  assert.doesNotMatch(text, /\/rkt\/etc/);
});

test("the root becomes read-only last, alone, and after everything that needs a mount point", () => {
  const text = lines({
    ...plain,
    readOnlyRootFS: true,
    volumes: [host("a")],
    mounts: [{ volume: "a", path: "/a" }],
    notifySocket: "/run/systemd/notify" as never,
  });
  assert.equal(
    text.split("\n").slice(-4).join("\n"),
    `\
mount volume "a" on /a (nodev) recursive host = /rkt/host-volumes/a
mount /rkt/stdio/web.syslog on /run/systemd/journal (read-only, nosuid, nodev, noexec) optional
mount /run/systemd/notify on /run/systemd/notify
remount / (read-only)`,
  );
});

test("a host's volume over /run has a journal of its own, or none; one over /etc its own mtab", () => {
  const text = lines({
    ...plain,
    volumes: [host("run"), host("etc")],
    mounts: [
      { volume: "run", path: "/run" },
      { volume: "etc", path: "/etc" },
    ],
  });
  assert.doesNotMatch(text, /\.syslog|mtab/);
});

const refused: { name: string; sources: Partial<MountSources>; message: string }[] = [
  {
    name: "two volumes on one path, however it is spelled",
    sources: {
      volumes: [host("a"), host("b")],
      mounts: [
        { volume: "a", path: "/data" },
        { volume: "b", path: "/./data/" },
      ],
    },
    message: 'volumes "a" and "b" are both to be mounted on /data',
  },
  {
    name: "a volume on the root",
    sources: { volumes: [host("a")], mounts: [{ volume: "a", path: "//" }] },
    message: `volume "a" cannot be mounted on the app's root`,
  },
  {
    name: "a volume that does not exist",
    sources: { volumes: [host("a")], mounts: [{ volume: "b", path: "/b" }] },
    message: 'the mount on /b wants volume "b", which does not exist',
  },
];

for (const c of refused)
  test(`refuses ${c.name}`, () => {
    assert.throws(() => planAppMounts({ ...plain, ...c.sources }), { name: "RktError", message: c.message, exitCode: 226 });
  });
