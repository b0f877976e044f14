/** What limits an app or a container: seen from inside, and by cat(1) and findmnt(8) from the host. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { eventually, exampleAci, finished, makeRkt, requires, type Rkt, scratchFile, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const cat = (path: string): string => spawnSync("cat", [path], { encoding: "utf8" }).stdout.trim();

const ROOT: readonly Entry[] = [
  { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
  { name: "rootfs/bin/sh", type: "2", link: "busybox" },
  { name: "rootfs/bin/tail", type: "2", link: "busybox" },
];

function image(rkt: Rkt, name: string, isolators: object[], exec = ["/bin/sh", "-c", "true"]): string {
  const text = manifest({ name: `example.com/${name}`, app: { exec, user: "0", group: "0", isolators } });
  return scratchFile(rkt, `${name}.aci`, makeAci(ROOT, text));
}

/** Memory without end: tail(1) waits for the end of the last line. */
const HOG = ["--exec=/bin/tail", "--", "/dev/zero"];

/** The container's cgroup with a controller: of v1's hierarchy where there is one, else of v2's. */
function cgroup(rkt: Rkt, controller: "cpu" | "memory" | "pids"): { dir: string; v1: boolean } {
  const [container] = rkt.containers();
  assert.ok(container !== undefined);
  const listed = cat(join(rkt.dir, "containers", container, "cgroups")).split("\n");
  for (const v1 of [true, false]) {
    const type = v1 ? "cgroup" : "cgroup2";
    const mounts = spawnSync("findmnt", ["-rn", "-o", "TARGET", "-t", type, ...(v1 ? ["-O", controller] : [])]);
    const [mount = ""] = mounts.stdout.toString().trim().split("\n");
    const dir = mount === "" ? undefined : listed.find((path) => path.startsWith(`${mount}/`));
    if (dir !== undefined) return { dir: v1 ? dir : existsSync(`${dir}/payload`) ? `${dir}/payload` : dir, v1 };
  }
  assert.fail(`no cgroup of the container has ${controller}`);
}

const appCgroup = (rkt: Rkt, app: string, controller: "cpu" | "memory") => {
  const { dir, v1 } = cgroup(rkt, controller);
  return { dir: `${dir}/system.slice/app-${app}.service`, v1 };
};

const LIMIT = 33_554_432;

test("an app that takes more memory than its limit is killed by the kernel, and nobody else", (t) => {
  if (!requires(t, "root", "build", "findmnt")) return;
  const rkt = makeRkt(t);
  const other = sh("trap 'exit 0' TERM; sleep 1000 & wait");
  const done = rkt.run([
    "run",
    busybox,
    "--name=other",
    ...other,
    "---",
    busybox,
    "--name=hog",
    "--memory=32Mi",
    ...HOG,
  ]);
  assert.equal(done.status, 128 + 9, done.stderr);
  const [container = ""] = rkt.containers();
  const status = (app: string) => cat(join(rkt.dir, "containers", container, "status", app));
  assert.deepEqual([status("hog"), status("other")], ["137", "0"]);
  const { dir, v1 } = appCgroup(rkt, "hog", "memory");
  if (v1) {
    assert.equal(cat(`${dir}/memory.limit_in_bytes`), String(LIMIT));
    const peak = Number(cat(`${dir}/memory.max_usage_in_bytes`));
    // It got what it was promised, and no more.
    assert.ok(peak > LIMIT * 0.9 && peak <= LIMIT, `${peak}`);
    assert.match(cat(`${dir}/memory.oom_control`), /^oom_kill 1$/m);
  }
  rkt.ok(["gc", "--grace-period=0s"]);
  assert.ok(!existsSync(dir));
});

test("within its limit an app starts, however little that is, and says why it can't", (t) => {
  if (!requires(t, "root", "build", "findmnt")) return;
  const rkt = makeRkt(t);
  const little = cgroupV1() ? "--memory=2M" : "--memory=24Mi";
  assert.equal(rkt.ok(["run", busybox, little, ...sh("echo started")]).stdout, "started\n");
  const nope = ["--mount=volume=v,target=/v", "--exec=/v/nope"];
  rkt.fails(
    ["run", "--volume=v,kind=empty", busybox, little, ...nope],
    203,
    /cannot execute "\/v\/nope": no such file/,
  );
});

const cgroupV1 = (): boolean => /^memory\t[1-9]/m.test(readFileSync("/proc/cgroups", "utf8"));

/** Starts a container, `look`s at it from the host when its app has said so, and ends it. */
async function whileRunning(rkt: Rkt, words: string[], look: () => void): Promise<void> {
  const child = rkt.start(["run", ...words]);
  const done = finished(child);
  const up = new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  const early = await Promise.race([up, done]);
  assert.equal(early, undefined, early?.stderr ?? "");
  look();
  child.kill("SIGTERM");
  await done;
}

const WAITS = sh("echo up; exec sleep 1000");

const settings: {
  name: string;
  options: string[];
  isolators?: object[];
  controller: "cpu" | "memory";
  v1: Record<string, string>;
  v2: Record<string, string>;
}[] = [
  {
    name: "--cpu is a limit and a weight",
    options: ["--cpu=250m"],
    controller: "cpu",
    v1: { "cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000", "cpu.shares": "256" },
    v2: { "cpu.max": "25000 100000", "cpu.weight": "10" },
  },
  {
    name: "--cpu-shares over the weight of a request",
    options: ["--cpu=500m", "--cpu-shares=2048"],
    controller: "cpu",
    v1: { "cpu.cfs_quota_us": "50000", "cpu.shares": "2048" },
    v2: { "cpu.max": "50000 100000", "cpu.weight": "79" },
  },
  {
    name: "a request of processor time is a weight and no limit",
    options: [],
    isolators: [{ name: "resource/cpu", value: { request: "2" } }],
    controller: "cpu",
    v1: { "cpu.cfs_quota_us": "-1", "cpu.shares": "2048" },
    v2: { "cpu.max": "max 100000", "cpu.weight": "79" },
  },
  {
    name: "a request of memory, and the limit of swap with that of memory",
    options: [],
    isolators: [{ name: "resource/memory", value: { request: "32Mi", limit: "64Mi" } }],
    controller: "memory",
    v1: { "memory.limit_in_bytes": "67108864", "memory.soft_limit_in_bytes": "33554432" },
    v2: { "memory.max": "67108864", "memory.low": "33554432" },
  },
  {
    name: "--memory in place of the image's",
    options: ["--memory=48Mi"],
    isolators: [{ name: "resource/memory", value: { request: "32Mi", limit: "64Mi" } }],
    controller: "memory",
    v1: { "memory.limit_in_bytes": "50331648" },
    v2: { "memory.max": "50331648", "memory.low": "0" },
  },
];
test("the cgroup of an app", async (t) => {
  if (!requires(t, "root", "build", "findmnt")) return;
  const rkt = makeRkt(t);
  for (const c of settings)
    await t.test(c.name, async () => {
      const words = [image(rkt, "web", c.isolators ?? []), ...c.options];
      await whileRunning(rkt, [...words, ...WAITS], () => {
        const { dir, v1 } = appCgroup(rkt, "web", c.controller);
        for (const [file, value] of Object.entries(v1 ? c.v1 : c.v2)) assert.equal(cat(`${dir}/${file}`), value, file);
        const [pid = ""] = cat(`${dir}/cgroup.procs`).split("\n");
        assert.equal(
          basename(spawnSync("readlink", [`/proc/${pid}/exe`], { encoding: "utf8" }).stdout.trim()),
          "busybox",
        );
        // Who enters is in it, too.
        const [uuid = ""] = rkt.containers().map((path) => basename(path));
        const inside = rkt.ok(["enter", uuid, "/bin/busybox", "cat", "/proc/self/cgroup"]).stdout;
        assert.match(inside, v1 ? new RegExp(`:${c.controller}[,:].*/system.slice/app-web.service$`, "m") : /app-web/);
      });
      rkt.ok(["gc", "--grace-period=0s"]);
    });
});

test("an app that wants more processor time than its limit has to wait", (t) => {
  if (!requires(t, "root", "build", "findmnt")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, "--cpu=100m", ...sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")]);
  const { dir, v1 } = appCgroup(rkt, "busybox", "cpu");
  if (v1) assert.match(cat(`${dir}/cpu.stat`), /^nr_throttled [1-9]/m);
});

test("limits of the container bound all its apps, and those of processes are there unasked", async (t) => {
  if (!requires(t, "root", "build", "findmnt")) return;
  const rkt = makeRkt(t);
  const id = rkt.ok(["fetch", "--full", "--insecure-options=image", image(rkt, "web", [])]).stdout.trim();
  const app = { exec: ["/bin/sh", "-c", "echo up; exec /bin/busybox sleep 1000"], user: "0", group: "0" };
  const pod = {
    acKind: "PodManifest",
    acVersion: "0.8.11",
    apps: [
      {
        name: "web",
        image: { id },
        app: { ...app, isolators: [{ name: "resource/cpu", value: { limit: "2" } }] },
      },
    ],
    isolators: [
      { name: "resource/memory", value: { limit: "96Mi" } },
      { name: "resource/cpu", value: { limit: "500m" } },
    ],
  };
  const file = scratchFile(rkt, "pod.json", JSON.stringify(pod));
  await whileRunning(rkt, [`--pod-manifest=${file}`], () => {
    const { dir, v1 } = cgroup(rkt, "memory");
    assert.equal(cat(v1 ? `${dir}/memory.limit_in_bytes` : `${dir}/../memory.max`), "100663296");
    const own = appCgroup(rkt, "web", "cpu");
    assert.equal(cat(own.v1 ? `${own.dir}/cpu.cfs_quota_us` : `${own.dir}/cpu.max`).split(" ")[0], "50000");
    const pids = cgroup(rkt, "pids");
    assert.match(cat(pids.v1 ? `${pids.dir}/pids.max` : `${pids.dir}/../pids.max`), /^[1-9][0-9]*$/);
  });
});

test("an app that takes every process it can get ends with its own status", async (t) => {
  if (!requires(t, "root", "build", "findmnt")) return;
  const rkt = makeRkt(t);
  const bomb = sh("echo up; read go; while :; do sleep 1000 & done");
  const child = rkt.start(["run", "--interactive", busybox, ...bomb], { stdio: ["pipe", "pipe", "pipe"] });
  const done = finished(child);
  await once(child.stdout ?? assert.fail(), "data");
  const { dir, v1 } = cgroup(rkt, "pids");
  const [all, apps] = v1 ? [`${dir}/pids.max`, `${dir}/system.slice/pids.max`] : [`${dir}/../pids.max`, undefined];
  const bound = Number(cat(all));
  assert.ok(bound > 64, `${bound}`);
  // The container of a smaller machine.
  writeFileSync(all, "100");
  if (apps !== undefined) {
    assert.equal(Number(cat(apps)), bound - 64);
    writeFileSync(apps, "36");
  }
  child.stdin?.end("go\n");
  const { status, stderr } = await done;
  assert.match(stderr, /can't fork/);
  // What busybox's shell ends with.
  assert.equal(status, 2);
});

test("rkt status shows nothing of an image's that is a line of its own, or obeyed by a terminal", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const limit = "\u001b]0;x\u0007\nstate=exited\napp-web=0";
  const isolators = [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL"], limit } }];
  const uuid = rkt.ok(["--insecure-options=image", "prepare", image(rkt, "web", isolators)]).stdout.trim();
  const { stdout } = rkt.ok(["status", uuid]);
  assert.match(stdout, /^state=prepared$/m);
  assert.doesNotMatch(stdout, /^(?:state=exited|app-web)|[\0-\x09\x0b-\x1f]/m);
  assert.match(stdout, /^isolators-web=os\/linux\/capabilities-retain-set="[^"]*state=exited/m);
});

const refusals: { name: string; isolators: object[]; message: RegExp }[] = [
  {
    name: "less memory than starts anything",
    isolators: [{ name: "resource/memory", value: { limit: "64k" } }],
    message: /app web: nothing can start in 64000 bytes of memory\nhint: resource\/memory, --memory: at least 1Mi/,
  },
  {
    name: "a request beyond the limit",
    isolators: [{ name: "resource/cpu", value: { limit: "1", request: "1500m" } }],
    message: /app web: isolators\[0\]\.value\.request: must not be more than the limit, got "1500m"/,
  },
  {
    name: "a malformed amount",
    isolators: [{ name: "resource/memory", value: { limit: "1 GB" } }],
    message: /app web: isolators\[0\]\.value\.limit: must be an amount like .*, got "1 GB"/,
  },
  {
    name: "shares out of the kernel's range",
    isolators: [{ name: "os/linux/cpu-shares", value: 1 }],
    message: /app web: isolators\[0\]\.value: must be .*2.*262144/,
  },
];
test("limits that make no sense are refused before anything is made", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  for (const c of refusals)
    await t.test(c.name, () => {
      rkt.fails(["run", image(rkt, "web", c.isolators)], 254, c.message);
      assert.deepEqual(rkt.containers(), []);
    });
});

test("the least limits: of the line, and of a container, which starts with them", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const least = cgroupV1() ? "1Mi" : "24Mi";
  for (const amount of ["1", "10K"])
    rkt.fails(
      ["run", busybox, `--memory=${amount}`],
      2,
      new RegExp(`--memory "${amount}": must be at least ${least}$`, "m"),
    );
  rkt.fails(["run", busybox, "--cpu=0.0001"], 2, /--cpu "0\.0001": must be at least 10?m$/m);

  const id = rkt.ok(["fetch", "--full", "--insecure-options=image", busybox]).stdout.trim();
  const pod = (apps: number, ...isolators: object[]) => {
    const app = { exec: ["/bin/sh", "-c", "echo started"], user: "0", group: "0" };
    const list = Array.from({ length: apps }, (_, i) => ({ name: `app${i}`, image: { id }, app }));
    const text = { acKind: "PodManifest", acVersion: "0.8.11", apps: list, isolators };
    return ["run", `--pod-manifest=${scratchFile(rkt, "pod.json", JSON.stringify(text))}`];
  };
  const memory = (limit: string) => ({ name: "resource/memory", value: { limit } });
  rkt.fails(
    pod(1, memory("23Mi")),
    254,
    /the container: nothing can start in .*\nhint: resource\/memory: at least 24Mi/,
  );
  rkt.fails(
    pod(3, memory("55Mi")),
    254,
    /the container: nothing can start in .*\nhint: resource\/memory: at least 56Mi/,
  );
  const cpu = { name: "resource/cpu", value: { limit: "1m" } };
  rkt.fails(pod(1, cpu), 254, /the container: nothing can start with 1m of a core\nhint: resource\/cpu: at least 10m/);
  assert.deepEqual(rkt.containers(), []);
  assert.equal(rkt.ok(pod(1, memory("24Mi"))).stdout, "started\n");
  assert.equal(rkt.ok(pod(3, memory("56Mi"))).stdout, "started\n".repeat(3));
});

test("what the container's isolators lower is told, and status says what is enforced", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const own = [
    { name: "resource/cpu", value: { limit: "2" } },
    { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL", "CAP_CHOWN"] } },
    { name: "example.com/unheard-of", value: { x: 1 } },
  ];
  const id = rkt.ok(["fetch", "--full", "--insecure-options=image", image(rkt, "web", own)]).stdout.trim();
  const bound = [
    { name: "resource/cpu", value: { limit: "500m" } },
    { name: "resource/block-iops", value: { default: true, limit: "1" } },
  ];
  const pod = { acKind: "PodManifest", acVersion: "0.8.11", apps: [{ name: "web", image: { id } }], isolators: bound };
  const file = scratchFile(rkt, "pod.json", JSON.stringify(pod));
  const { stdout, stderr } = rkt.ok(["prepare", `--pod-manifest=${file}`]);
  assert.equal(
    stderr,
    "rkt: warning: the container: the isolator resource/block-iops is not enforced and has no effect\n" +
      "rkt: warning: app web: the isolator example.com/unheard-of is unknown and has no effect\n" +
      "rkt: warning: app web: its limit of processor time, 2000m, is lowered to the container's, 500m\n",
  );
  const uuid = stdout.trim();
  assert.deepEqual(
    rkt
      .ok(["status", uuid])
      .stdout.split("\n")
      .filter((line) => line.includes("isolators")),
    [
      "isolators=resource/cpu=500m",
      "ignored-isolators=resource/block-iops",
      "isolators-web=resource/cpu=500m os/linux/capabilities-retain-set=CAP_KILL,CAP_CHOWN",
      "ignored-isolators-web=example.com/unheard-of",
    ],
  );
  const status = JSON.parse(rkt.ok(["status", "--format=json", uuid]).stdout);
  assert.deepEqual(
    [status.isolators, status.apps[0].isolators],
    [
      [
        { ...bound[0], effect: "enforced" },
        { ...bound[1], effect: "ignored" },
      ],
      [
        { ...own[0], effect: "modified", instead: { limit: "500m" } },
        { ...own[1], effect: "enforced" },
        { ...own[2], effect: "ignored" },
      ],
    ],
  );
});

test("isolators that have no effect are named, and the app runs", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const isolators = [
    { name: "example.com/unheard-of", value: { x: 1 } },
    { name: "resource/block-iops", value: { default: true, limit: "1000" } },
  ];
  const { stderr } = rkt.ok(["run", image(rkt, "web", isolators)]);
  assert.equal(
    stderr,
    "rkt: warning: app web: the isolator example.com/unheard-of is unknown and has no effect\n" +
      "rkt: warning: app web: the isolator resource/block-iops is not enforced and has no effect\n",
  );
});

const sysctl = (value: object) => ({ name: "os/unix/sysctl", value });

test("kernel parameters are the container's, never the host's", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const files = ["net/core/somaxconn", "kernel/msgmax", "kernel/sem", "kernel/domainname", "fs/mqueue/msg_max"];
  const read = `cd /proc/sys && /bin/busybox head -n 1 ${files.join(" ")} | /bin/busybox grep -v "^$"`;
  const ofHost = files.map((file) => cat(`/proc/sys/${file}`));
  const values = { "net.core.somaxconn": "1234", "kernel/msgmax": "77", "kernel.sem": "250\t32000 32 99" };
  const more = { "kernel.domainname": "example.com", "fs.mqueue.msg_max": "17" };
  const web = image(rkt, "web", [sysctl({ ...values, ...more })], ["/bin/sh", "-c", read]);
  assert.deepEqual(rkt.ok(["run", "--net=none", web]).stdout.trim().split("\n"), [
    ...["==> net/core/somaxconn <==", "1234", "==> kernel/msgmax <==", "77"],
    ...["==> kernel/sem <==", "250\t32000\t32\t99", "==> kernel/domainname <==", "example.com"],
    ...["==> fs/mqueue/msg_max <==", "17"],
  ]);
  assert.deepEqual(
    files.map((file) => cat(`/proc/sys/${file}`)),
    ofHost,
  );
});

const notSet: { name: string; value: object; network: string; message: RegExp; made: boolean }[] = [
  {
    name: "one of the host's",
    value: { "kernel.panic": "1" },
    network: "none",
    message: /^rkt: run: app web: the kernel parameter kernel\.panic is not the container's own\nhint: /,
    made: false,
  },
  {
    name: "one of the network that is the host's",
    value: { "net.core.somaxconn": "1" },
    network: "host",
    message: /^rkt: run: app web: the kernel parameter net\.core\.somaxconn is not .*\nhint: .*--net/,
    made: false,
  },
  {
    name: "one that the kernel does not have",
    value: { "net.core.no_such_thing": "1" },
    network: "none",
    message: /^rkt: stage1: cannot set the kernel parameter net\/core\/no_such_thing to "1": this kernel has none/,
    made: true,
  },
  {
    name: "a value that the kernel does not take",
    value: { "kernel.msgmax": "many" },
    network: "none",
    message: /^rkt: stage1: cannot set the kernel parameter kernel\/msgmax to "many": the kernel refuses it\n$/,
    made: true,
  },
];
test("a kernel parameter that can't be set", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  for (const c of notSet)
    await t.test(c.name, () => {
      const web = image(rkt, "web", [sysctl(c.value)], ["/bin/sh", "-c", "echo started"]);
      const { stdout } = rkt.fails(["run", `--net=${c.network}`, web], 254, c.message);
      assert.equal(stdout, "");
      assert.equal(rkt.containers().length > 0, c.made);
      rkt.ok(["gc", "--grace-period=0s"]);
    });
});

test("rkt top: what apps use, as ps and the cgroups have it", async (t) => {
  if (!requires(t, "root", "build", "findmnt", "ps")) return;
  const rkt = makeRkt(t);
  // Holds 20 MB, and has used some processor time, also in a process that has ended.
  // A process's arguments may be megabytes: of these, the beginning is shown.
  const long = "y=$(head -c 100000 /dev/zero | tr '\\0' b); sh -c 'sleep 1000; :' $y $y $y & ";
  const holder = "x=$(head -c 20000000 /dev/zero | tr '\\0' a); sleep 1000 & sleep 1000 & echo up; wait";
  const burner = "echo up; while :; do :; done";
  const child = rkt.start([
    ...["run", busybox, "--name=holder", "--memory=256Mi", ...sh(long + holder), "---"],
    ...[busybox, "--name=burner", ...sh(burner)],
  ]);
  let up = 0;
  child.stdout?.on("data", (chunk: Buffer) => {
    up += chunk.toString().split("up").length - 1;
  });
  const done = finished(child);
  await eventually("both apps are up", () => (up === 2 || child.exitCode !== null ? true : undefined));
  const [{ dir: memory, v1 }, uuid] = [appCgroup(rkt, "holder", "memory"), basename(rkt.containers()[0] ?? "")];
  const [top] = JSON.parse(rkt.ok(["top", "--format=json", uuid.slice(0, 8)]).stdout);
  assert.equal(top.uuid, uuid);
  const [one, two] = top.apps;
  assert.deepEqual([one.name, two.name], ["holder", "burner"]);

  const { command } = one.processes.find(({ command }: { command: string }) => command.includes("bbbb"));
  assert.equal(command, `sh -c sleep 1000; : ${"b".repeat(100_000)}`.slice(0, 4096));

  const pids = cat(`${memory}/cgroup.procs`).split("\n").map(Number);
  assert.equal(pids.length, 5);
  const seen: { pid: number; command: string; memory: number }[] = one.processes;
  assert.deepEqual(
    seen.map(({ pid }) => pid),
    pids.sort((a, b) => a - b),
  );
  for (const { pid, command, memory } of seen) {
    const [, kilobytes = "", args = ""] =
      /^\s*(\d+) (.*)\n$/.exec(spawnSync("ps", ["-o", "rss=,args=", "-p", String(pid)], { encoding: "utf8" }).stdout) ??
      [];
    assert.equal(command.trim(), args.slice(0, 4096).trim());
    // The kernel counts pages per processor, and not each of its files adds them all up.
    assert.ok(Math.abs(memory - Number(kilobytes) * 1024) < 2 ** 20, `${memory}, ${kilobytes}`);
  }
  assert.equal(one.memoryLimit, Number(cat(v1 ? `${memory}/memory.limit_in_bytes` : `${memory}/memory.max`)));
  assert.ok(one.memory > 20_000_000 && one.memory < one.memoryLimit, `${one.memory}`);
  assert.ok(one.cpuTime > 0 && one.cpu === 0, JSON.stringify(one));
  assert.ok(two.cpu > 0 && two.cpuTime > 0 && two.memoryLimit === undefined, JSON.stringify(two));
  assert.ok(top.memory >= one.memory && top.cpuTime >= one.cpuTime + two.cpuTime && top.processes > 4);

  const table = rkt.ok(["top", "--processes", "--interval=0"]).stdout.split("\n");
  assert.match(table[0] ?? "", /^UUID +APP +PROCESSES, PID +CPU +CPU TIME +MEMORY +LIMIT +COMMAND$/);
  assert.match(
    table[1] ?? "",
    new RegExp(`^${uuid.slice(0, 8)} +holder +5 +0\\.0% +0:0\\d\\.\\d\\d +\\S+ MiB +256 MiB$`),
  );
  assert.match(table[2] ?? "", new RegExp(`^ +${pids[0]} +0:0\\d\\.\\d\\d +\\S+ MiB +/bin/sh -c `));
  child.kill("SIGTERM");
  await done;
  rkt.fails(["top", uuid], 254, /container .* is not running\nhint: `rkt status/);
  assert.equal(rkt.ok(["top", "--format=json"]).stdout, "[]\n");
});

/** The file where programs look for their limit of memory. */
const LIMIT_FILE = existsSync("/sys/fs/cgroup/memory") ? "/sys/fs/cgroup/memory/memory.limit_in_bytes" : "/sys/fs/cgroup/memory.max";

for (const options of [[], ["--private-users"], ["--net=none"]])
  test(`an app finds its own limit at the root of what it sees, and can't change it: ${options}`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const script = `
      cat ${LIMIT_FILE}
      for file in $(find /sys/fs/cgroup -name cgroup.procs); do ( echo 0 >$file ) 2>/dev/null && echo wrote $file; done
      ( echo 1000000 >${LIMIT_FILE} ) 2>/dev/null && echo wrote
      mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x 2>/dev/null && echo made
      mount -o remount,rw,bind /sys/fs/cgroup/memory 2>/dev/null && echo mounted
      find /sys/fs/cgroup -name '*.service' -o -name '*.slice'
      # Where programs go by /proc/self/mountinfo: once for each hierarchy.
      grep -E ' - cgroup2? ' /proc/self/mountinfo | sed 's/.* - //' | sort | uniq -d
      echo up; sleep 1000`;
    const uuid = `--uuid-file-save=${rkt.scratch}/uuid`;
    const other = [busybox, "--name=other", "--memory=48Mi", ...sh("sleep 1000"), "---"];
    const child = rkt.start(["run", uuid, ...options, ...other, busybox, "--memory=32Mi", ...sh(script)]);
    const ended = finished(child);
    let out = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      out += chunk.toString();
    });
    await eventually("it is up", () => out.includes("up\n") || undefined);
    assert.equal(out, `${LIMIT}\nup\n`);
    const entered = (app: string) =>
      rkt.ok(["enter", `--app=${app}`, `--uuid-file=${rkt.scratch}/uuid`, "/bin/cat", LIMIT_FILE]).stdout;
    assert.deepEqual([entered("busybox"), entered("other")], [`${LIMIT}\n`, "50331648\n"]);
    rkt.ok(["stop", "--force", `--uuid-file=${rkt.scratch}/uuid`]);
    await ended;
  });

test("an app without a limit sees the container's, and nothing of the other app's", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const look = sh(`cat ${LIMIT_FILE}; find /sys/fs/cgroup -name 'app-*'; sleep 1`);
  const limits = [{ name: "resource/memory", value: { limit: "64Mi" } }];
  const pod = {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    isolators: limits,
    apps: ["one", "two"].map((name) => ({
      name,
      image: { id: rkt.ok(["fetch", "--full", busybox]).stdout.trim() },
      app: {
        exec: name === "one" ? ["/bin/sleep", "2"] : ["/bin/sh", ...look.slice(2)],
        user: "0",
        group: "0",
        isolators: name === "one" ? [{ name: "resource/memory", value: { limit: "32Mi" } }] : [],
      },
    })),
  };
  const { stdout } = rkt.ok(["run", `--pod-manifest=${scratchFile(rkt, "pod", JSON.stringify(pod))}`]);
  // On v2 its own cgroup has no limit, and the container's holds all the same.
  assert.equal(stdout, LIMIT_FILE.endsWith("max") ? "max\n" : "67108864\n");
});

test("/sys has the interfaces of the container's network", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  assert.equal(rkt.ok(["run", "--net=none", busybox, ...sh("ls /sys/class/net")]).stdout, "lo\n");
});
