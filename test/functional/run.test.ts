/** `rkt run`: what an app sees, how it ends, and what is left. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually, exampleAci, finished, makeRkt, requires, type Rkt, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const only = (rkt: Rkt): string => {
  const [first, second] = rkt.containers();
  assert.ok(first !== undefined && second === undefined, `one container, not ${rkt.containers()}`);
  return join(rkt.dir, "containers", first);
};

const endings = [
  { name: "success", script: "exit 0", status: 0 },
  { name: "a failure", script: "exit 7", status: 7 },
  { name: "the largest status", script: "exit 255", status: 255 },
  { name: "SIGTERM to itself", script: "kill -TERM $$", status: 128 + 15 },
  { name: "SIGKILL to itself", script: "kill -KILL $$", status: 128 + 9 },
  { name: "SIGSEGV to itself", script: "kill -SEGV $$", status: 128 + 11 },
];
for (const c of endings)
  test(`the app's status is rkt's: ${c.name}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const done = rkt.run(["run", busybox, ...sh(c.script)]);
    assert.equal(done.status, c.status, done.stderr);
    assert.equal(done.stderr, "");
    assert.equal(readFileSync(join(only(rkt), "status", "busybox"), "utf8"), `${c.status}\n`);
  });

test("an app that fails ends the others and decides the status", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const done = rkt.run([
    "run",
    "--volume=v,kind=empty",
    busybox,
    "--name=long",
    "--mount=volume=v,target=/v",
    ...sh("trap 'exit 0' TERM; touch /v/ready; sleep 1000 & wait"),
    "---",
    busybox,
    "--name=bad",
    "--mount=volume=v,target=/v",
    ...sh("until [ -e /v/ready ]; do sleep 0.05; done; exit 9"),
  ]);
  assert.equal(done.status, 9, done.stderr);
  const status = join(only(rkt), "status");
  assert.equal(readFileSync(join(status, "bad"), "utf8"), "9\n");
  assert.equal(readFileSync(join(status, "long"), "utf8"), "0\n");
});

test("when all apps succeed the container ends with 0, after the last", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const done = rkt.ok([
    "run",
    busybox,
    "--name=a",
    ...sh("exit 0"),
    "---",
    busybox,
    "--name=b",
    ...sh("sleep 0.3; echo last"),
  ]);
  assert.equal(done.stdout, "last\n");
});

for (const signal of ["SIGTERM", "SIGINT"] as const)
  test(`${signal} to rkt stops the apps, the last one first`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const app = (name: string) => [
      busybox,
      `--name=${name}`,
      ...sh(`trap 'echo ${name} ends >>/order/of; exit 3' TERM; echo up >&2; sleep 1000 & wait`),
    ];
    // In one file: two streams go through two relays, and may arrive in another order.
    const order = ["--volume=order,kind=empty", "--mount=volume=order,target=/order"];
    const child = rkt.start(["run", ...order, ...app("first"), "---", ...app("second")]);
    let up = 0;
    child.stderr?.on("data", (chunk: Buffer) => {
      up += chunk.toString().split("up").length - 1;
    });
    const done = finished(child);
    await eventually("both apps are up", () => (up === 2 ? true : undefined));
    child.kill(signal);
    const { status } = await done;
    assert.equal(readFileSync(join(only(rkt), "volumes/order/of"), "utf8"), "second ends\nfirst ends\n");
    assert.equal(status, 3);
  });

test("the container directory is the contract's, and what is left of it after the end", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, ...sh("echo hello >/written")]);
  const dir = only(rkt);
  assert.match(dir, /\/containers\/run\/[0-9a-f-]{36}$/);
  assert.deepEqual(
    readdirSync(dir)
      .filter((name) => name !== "log")
      .sort(),
    ["cgroups", "container", "overlay", "pid", "stage1", "status", "trees", "volumes"],
  );
  const manifest = spawnSync("actool", ["validate", join(dir, "container")], { encoding: "utf8" });
  assert.equal(manifest.status, 0, manifest.stderr);
  const trees = JSON.parse(readFileSync(join(dir, "trees"), "utf8"));
  assert.match(trees.apps.busybox.dir, /^sha512-[0-9a-f]{32}$/);
  assert.equal(readFileSync(join(dir, "overlay", trees.apps.busybox.dir, "upper", "written"), "utf8"), "hello\n");
});

test("the host never sees a mount of a container, and a running one holds no Node.js", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const child = rkt.start(["run", busybox, ...sh("echo up; sleep 1000")]);
  const done = finished(child);
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  const dir = only(rkt);
  await eventually("every Node.js of ours is gone", () => {
    const pid = Number(readFileSync(join(dir, "pid"), "utf8"));
    const family = descendants(pid);
    const commands = [pid, ...family].map((p) => exe(p));
    return commands.length >= 3 && commands.every((path) => !/node|\/rkt$/.test(path)) ? true : undefined;
  });
  assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(rkt.dir));
  child.kill("SIGTERM");
  await done;
});

function exe(pid: number): string {
  return spawnSync("readlink", [`/proc/${pid}/exe`], { encoding: "utf8" }).stdout.trim();
}

function descendants(pid: number): number[] {
  const children = existsSync(`/proc/${pid}/task/${pid}/children`)
    ? readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number)
    : [];
  return children.flatMap((child) => [child, ...descendants(child)]);
}

test("two apps of one image, each with a root of its own", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.ok([
    "run",
    busybox,
    "--name=a",
    ...sh("echo a >/mine; sleep 0.2"),
    "---",
    busybox,
    "--name=b",
    ...sh("sleep 0.2; test ! -e /mine"),
  ]);
  const { apps } = JSON.parse(readFileSync(join(only(rkt), "trees"), "utf8"));
  assert.equal(apps.b.dir, `${apps.a.dir}-2`);
});

test("an empty volume is shared by the apps that mount it", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const mount = "--mount=volume=shared,target=/shared";
  const done = rkt.ok([
    "run",
    "--volume=shared,kind=empty,mode=1777,uid=7,gid=8",
    busybox,
    "--name=writer",
    mount,
    ...sh("stat -c '%a %u %g' /shared >/shared/facts"),
    "---",
    busybox,
    "--name=reader",
    mount,
    ...sh("while [ ! -s /shared/facts ]; do sleep 0.05; done; cat /shared/facts"),
  ]);
  assert.equal(done.stdout, "1777 7 8\n");
});

test("a host volume: writable, or read-only when the volume says so", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const source = join(rkt.scratch, "source");
  mkdirSync(source);
  const mount = "--mount=volume=v,target=/v";
  rkt.ok(["run", `--volume=v,kind=host,source=${source}`, busybox, mount, ...sh("echo hi >/v/file")]);
  assert.equal(readFileSync(join(source, "file"), "utf8"), "hi\n");
  const done = rkt.run([
    "run",
    `--volume=v,kind=host,source=${source},readOnly=true`,
    busybox,
    mount,
    ...sh("cat /v/file; echo no >/v/file"),
  ]);
  assert.equal(done.stdout, "hi\n");
  assert.match(done.stderr, /Read-only file system/);
  assert.equal(done.status, 1);
  assert.equal(readFileSync(join(source, "file"), "utf8"), "hi\n");
});

const seen = [
  {
    name: "environment of the spec",
    options: [],
    script: "echo $PATH $AC_APP_NAME $container",
    out: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin busybox rkt\n",
  },
  {
    name: "--set-env",
    global: ["--set-env=A=1", "--set-env=B=x y=z"],
    options: [],
    script: 'echo "$A|$B"',
    out: "1|x y=z\n",
  },
  {
    name: "--hostname",
    global: ["--hostname=db1"],
    options: [],
    script: "hostname; cat /etc/hostname; grep -c db1 /etc/hosts",
    out: "db1\ndb1\n1\n",
  },
  {
    name: "PID 1 is not the app, and only the container's processes are seen",
    options: [],
    script: "test $$ -ne 1 && ls -d /proc/[0-9]* | wc -l | { read n; test $n -lt 20 && echo ok; }",
    out: "ok\n",
  },
  { name: "/sys is read-only", options: [], script: "touch /sys/kernel/x 2>/dev/null || echo ro", out: "ro\n" },
  {
    name: "/dev is minimal",
    options: [],
    script:
      "cd /dev; ls -d null zero full random urandom pts shm ptmx | wc -l; test ! -e /dev/mem && test ! -e /dev/vda && echo none",
    out: "8\nnone\n",
  },
  {
    name: "--readonly-rootfs",
    options: ["--readonly-rootfs=true"],
    script: "touch /x 2>/dev/null || echo ro",
    out: "ro\n",
  },
] as { name: string; global?: string[]; options: string[]; script: string; out: string }[];
test("an app sees", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  for (const c of seen)
    await t.test(c.name, () => {
      const done = rkt.ok(["run", ...(c.global ?? []), busybox, ...c.options, ...sh(c.script)]);
      assert.equal(done.stdout, c.out);
    });
});

test("--no-overlay runs on copies", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  assert.equal(rkt.ok(["run", "--no-overlay", busybox, ...sh("echo x >/written; cat /written")]).stdout, "x\n");
  const dir = only(rkt);
  assert.ok(!existsSync(join(dir, "overlay")));
  const { apps } = JSON.parse(readFileSync(join(dir, "trees"), "utf8"));
  assert.equal(readFileSync(join(dir, "stage1/rootfs/opt/stage2", apps.busybox.dir, "rootfs/written"), "utf8"), "x\n");
  assert.equal(rkt.ok(["run", busybox, ...sh("ls /written 2>/dev/null || echo clean")]).stdout, "clean\n");
});

test("--rm: the container is collected when it ends", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", "--rm", busybox, ...sh("exit 0")]);
  await eventually("the directory is gone", () => (rkt.containers().length === 0 ? true : undefined));
});

test("--uuid-file-save writes the container's UUID", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const file = join(rkt.scratch, "uuid");
  rkt.ok(["run", `--uuid-file-save=${file}`, busybox, ...sh("exit 0")]);
  assert.equal(readFileSync(file, "utf8").trim(), only(rkt).split("/").at(-1));
});

test("by hash, once it is in the store", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const id = rkt.ok(["fetch", "--insecure-options=image", busybox]).stdout.trim();
  assert.match(id, /^sha512-[0-9a-f]{32}$/);
  assert.equal(rkt.ok(["run", id.slice(0, 20), ...sh("echo hash")]).stdout, "hash\n");
});

test("16 simultaneous first runs of one image all succeed and render it once", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  const runs = Array.from({ length: 16 }, (_, i) => finished(rkt.start(["run", busybox, ...sh(`exit ${i}`)])));
  const done = await Promise.all(runs);
  assert.deepEqual(
    done.map((d) => d.status),
    Array.from({ length: 16 }, (_, i) => i),
    done.map((d) => d.stderr).join(""),
  );
  assert.equal(readdirSync(join(rkt.dir, "cas/tree")).length, 2, "the image's tree and stage1's");
  assert.equal(rkt.containers().length, 16);
});

test("a pod manifest says it all", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const id = rkt.ok(["fetch", "--full", "--insecure-options=image", busybox]).stdout.trim();
  const file = join(rkt.scratch, "pod.json");
  const app = { exec: ["/bin/echo", "from the manifest"], user: "0", group: "0" };
  writeFileSync(
    file,
    JSON.stringify({ acVersion: "0.8.11", acKind: "PodManifest", apps: [{ name: "x", image: { id }, app }] }),
  );
  assert.equal(rkt.ok(["run", `--pod-manifest=${file}`]).stdout, "from the manifest\n");
});

test("rkt stop the moment a container is there waits until it can be stopped", async (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const file = join(rkt.scratch, "uuid");
  const child = rkt.start([
    "run",
    `--uuid-file-save=${file}`,
    exampleAci("busybox"),
    "--exec=/bin/sleep",
    "--",
    "1000",
  ]);
  const done = finished(child);
  const pid = await eventually("the pid", () => {
    const uuid = existsSync(file) ? readFileSync(file, "utf8") : "";
    const path = join(rkt.dir, "containers/run", uuid, "pid");
    return uuid !== "" && existsSync(path) ? readFileSync(path, "utf8") : undefined;
  });
  assert.equal(Number(pid), child.pid);
  rkt.ok(["stop", `--uuid-file=${file}`]);
  assert.equal((await done).status, 143);
});
