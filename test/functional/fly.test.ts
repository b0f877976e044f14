/** stage1-fly: an app with a root of its own, and for the rest a process of the host. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import {
  dist,
  eventually,
  exampleAci,
  finished,
  makeRkt,
  requires,
  type Result,
  type Rkt,
  scratchFile,
  sh,
} from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const fly = `--stage1-image=${join(dist, "stage1-fly.aci")}`;
const ready = (t: TestContext, ...more: string[]) => requires(t, "root", "build", ...more);
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
  { name: "SIGINT to itself", script: "kill -INT $$", status: 128 + 2 },
];
for (const c of endings)
  test(`the app's status is rkt's: ${c.name}`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const done = rkt.run(["run", fly, busybox, ...sh(c.script)]);
    assert.deepEqual([done.status, done.stderr], [c.status, ""]);
    assert.equal(readFileSync(join(only(rkt), "status/busybox"), "utf8"), `${c.status}\n`);
  });

test("network, processes, name and cgroups are the host's; the root is not", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const script =
    "for ns in net pid uts ipc cgroup mnt; do readlink /proc/self/ns/$ns; done; cat /proc/self/cgroup; ls /";
  const { stdout } = rkt.ok(["run", fly, busybox, ...sh(`hostname; ${script}`)]);
  const [name, net, pid, uts, ipc, cgroup, mnt, ...rest] = stdout.split("\n");
  assert.equal(name, hostname());
  for (const [kind, seen] of Object.entries({ net, pid, uts, ipc, cgroup }))
    assert.equal(seen, readlinkSync(`/proc/self/ns/${kind}`));
  assert.notEqual(mnt, readlinkSync("/proc/self/ns/mnt"));
  assert.ok(rest.join("\n").startsWith(readFileSync("/proc/self/cgroup", "utf8")), stdout);
  assert.ok(!rest.includes("home") && rest.includes("bin"), stdout);
  assert.equal(existsSync(join(only(rkt), "cgroups")), false);
});

test("an app in the container's root does not see the host's files, nor descriptors of ours", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const script = "for fd in /proc/self/fd/*; do readlink $fd; done; cat /proc/self/mountinfo";
  const { stdout } = rkt.ok(["run", fly, busybox, ...sh(script)]);
  assert.doesNotMatch(stdout, /containers\/run/);
});

test("user, groups, capabilities, environment and working directory are the manifest's", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const facts = "id -u; id -g; id -G; pwd; echo $AC_APP_NAME $A; grep CapEff /proc/self/status";
  const options = ["--user=7", "--group=8", "--supplementary-gids=9", "--working-dir=/tmp", "--environment=A=b"];
  const { stdout } = rkt.ok(["run", fly, busybox, ...options, ...sh(facts)]);
  assert.equal(stdout, "7\n8\n8 9\n/tmp\nbusybox b\nCapEff:\t0000000000000000\n");
});

const capabilities = [
  { name: "root has all there are", options: [], expected: (host: bigint) => host },
  { name: "or what it is left with", options: ["--caps-retain=CAP_CHOWN"], expected: () => 1n },
  { name: "or loses what is taken", options: ["--caps-remove=CAP_CHOWN"], expected: (host: bigint) => host & ~1n },
];
for (const { name, options, expected } of capabilities)
  test(`capabilities: ${name}`, (t) => {
    if (!ready(t)) return;
    const { stdout } = makeRkt(t).ok(["run", fly, busybox, ...options, ...sh("grep CapPrm /proc/self/status")]);
    const set = (status: string) => BigInt(`0x${/^CapPrm:\t(\w+)$/m.exec(status)?.[1]}`);
    assert.equal(set(stdout), expected(set(readFileSync("/proc/self/status", "utf8"))));
  });

test("system calls: all, or those that --seccomp leaves", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const { stdout } = rkt.ok(["--insecure-options=seccomp", "run", fly, busybox, ...sh("grep Seccomp: /proc/self/status")]);
  assert.equal(stdout, readFileSync("/proc/self/status", "utf8").match(/^Seccomp:.*\n/m)?.[0]);
  const filtered = ["--seccomp=mode=remove,errno=EPERM,mkdir,mkdirat", ...sh("mkdir /tmp/x")];
  rkt.fails(["run", fly, busybox, ...filtered], 1, /mkdir: .*Operation not permitted/);
});

const PROBE = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
int main(void)
{
	int saved = setresuid(0, 0, 0);
	(void)saved;
	printf("uid %d\\n", getuid());
	int pty = posix_openpt(O_RDWR | O_NOCTTY);
	char typed[] = "x";
	printf("TIOCSTI %s\\n", ioctl(pty, TIOCSTI, typed) == 0 ? "done" : strerrorname_np(errno));
	printf("TIOCLINUX %s\\n", ioctl(pty, TIOCLINUX, typed) == 0 ? "done" : strerrorname_np(errno));
	return 0;
}
`;

/** busybox, and a program of root's that makes whoever executes it root, if it may, and types on a terminal. */
function probeImage(rkt: Rkt): string {
  const out = join(rkt.scratch, "probe");
  const args = ["-static", "-o", out, scratchFile(rkt, "probe.c", PROBE)];
  assert.equal(spawnSync("gcc", args, { encoding: "utf8" }).status, 0);
  const app = { exec: ["/probe"], user: "0", group: "0" };
  const entries = [
    { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    { name: "rootfs/probe", data: readFileSync(out), mode: 0o4755 },
  ];
  return scratchFile(rkt, "probe.aci", makeAci(entries, manifest({ name: "example.com/probe", app })));
}

const USER = ["--user=1000", "--group=1000"];
const REFUSED = "TIOCSTI EPERM\nTIOCLINUX EPERM\n";
const probes: { name: string; before?: string[]; after: string[]; expected: RegExp }[] = [
  { name: "root types on no terminal", after: [], expected: new RegExp(`^uid 0\n${REFUSED}$`) },
  {
    name: "… by a filter of its own neither",
    after: ["--seccomp=mode=retain,@appc.io/all"],
    expected: new RegExp(`^uid 0\n${REFUSED}$`),
  },
  {
    name: "… unless it has none",
    before: ["--insecure-options=seccomp"],
    after: [],
    expected: /^uid 0\nTIOCSTI (done|EIO)\nTIOCLINUX ENOTTY\n$/,
  },
  { name: "a user does not become root by the image's setuid files", after: USER, expected: /^uid 1000\n/ },
  {
    name: "… whatever capabilities its root would have",
    after: [...USER, "--caps-retain=CAP_SETUID"],
    expected: /^uid 1000\n/,
  },
];
for (const { name, before = [], after, expected } of probes)
  test(`on the host ${name}`, (t) => {
    if (!ready(t, "gcc")) return;
    const rkt = makeRkt(t);
    assert.match(rkt.ok([...before, "run", fly, probeImage(rkt), ...after]).stdout, expected);
  });

test("what enters an app on the host is narrowed as the app is", async (t) => {
  if (!ready(t, "gcc")) return;
  const rkt = makeRkt(t);
  const words = ["run", fly, probeImage(rkt), ...USER, ...sh("echo up; exec /bin/busybox sleep 1000")];
  const child = rkt.start(words);
  const done = finished(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const uuid = only(rkt).split("/").at(-1) ?? "";
  assert.equal(rkt.ok(["enter", uuid, "/probe"]).stdout, `uid 1000\n${REFUSED}`);
  const facts = rkt.ok(["enter", uuid, "/bin/busybox", "grep", "-E", "^(CapBnd|NoNewPrivs):", "/proc/self/status"]).stdout;
  assert.equal(facts, "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\n");
  rkt.ok(["stop", "--force", uuid]);
  await done;
});

test("of the host's kernel an app with less than all capabilities changes nothing by its files", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  // Nothing is written, and the times of what is there say nothing.
  const script = sh(
    "true 2>/dev/null >>/proc/sys/kernel/hostname && echo sys; touch /sys 2>/dev/null && echo /sys; touch /sys/fs/cgroup 2>/dev/null && echo cgroup; true",
  );
  const all = "sys\n/sys\ncgroup\n";
  const less = "--caps-retain=CAP_CHOWN,CAP_DAC_OVERRIDE";
  assert.equal(rkt.ok(["run", fly, busybox, less, ...script]).stdout, "");
  assert.equal(rkt.ok(["run", fly, busybox, ...script]).stdout, all);
  assert.equal(rkt.ok(["--insecure-options=paths", "run", fly, busybox, less, ...script]).stdout, all);
});

test("of what tells about the host, an app of another user than root sees nothing, whatever capabilities root would have", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  // Everybody may read it, and it is never empty.
  const script = sh("wc -c </proc/interrupts");
  const user = ["--user=1000", "--group=1000", "--working-dir=/"];
  assert.equal(rkt.ok(["run", fly, busybox, ...user, ...script]).stdout, "0\n");
  assert.notEqual(rkt.ok(["run", fly, busybox, ...script]).stdout, "0\n");
  assert.notEqual(rkt.ok(["--insecure-options=paths", "run", fly, busybox, ...user, ...script]).stdout, "0\n");
});

test("volumes: the host's, read-only, and empty ones that are kept with the container", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const data = join(rkt.scratch, "data");
  mkdirSync(data);
  writeFileSync(join(data, "in"), "from the host\n");
  rkt.ok([
    "run",
    fly,
    `--volume=rw,kind=host,source=${data}`,
    `--volume=ro,kind=host,source=${data},readOnly=true`,
    "--volume=new,kind=empty",
    busybox,
    ...["rw", "ro", "new"].map((name) => `--mount=volume=${name},target=/${name}`),
    ...sh("cp /ro/in /rw/out && ! touch /ro/no 2>/dev/null && echo kept >/new/file"),
  ]);
  assert.equal(readFileSync(join(data, "out"), "utf8"), "from the host\n");
  assert.equal(readFileSync(join(only(rkt), "volumes/new/file"), "utf8"), "kept\n");
});

test("names: the host's resolv.conf and hosts, or those asked for", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const show = sh("cat /etc/resolv.conf; grep -c . /etc/hosts; grep example /etc/hosts");
  const asked = rkt.ok(["run", fly, "--dns=192.0.2.1", "--hosts-entry=192.0.2.2=example", busybox, ...show]).stdout;
  assert.match(asked, /^nameserver 192\.0\.2\.1$/m);
  assert.match(asked, /^192\.0\.2\.2\s+example$/m);
  const plain = rkt.ok(["run", fly, busybox, ...sh("cat /etc/resolv.conf")]).stdout;
  assert.equal(plain, readFileSync("/etc/resolv.conf", "utf8"));
});

test("standard input only when asked for", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  assert.equal(rkt.run(["run", fly, busybox, "--exec=/bin/cat"], { input: "text" }).stdout, "");
  assert.equal(rkt.run(["run", fly, "--interactive", busybox, "--exec=/bin/cat"], { input: "text" }).stdout, "text");
});

test("at a terminal the app has it, and ^C once", async (t) => {
  if (!ready(t, "script")) return;
  const rkt = makeRkt(t);
  const app = "trap 'echo one INT' INT; echo up; until read x && [ -n \"$x\" ]; do :; done; tty; echo got $x; exit 4";
  const line = [join(dist, "rkt"), `--dir=${rkt.dir}`, "run", fly, "--interactive", busybox, ...sh(app)];
  const quoted = line.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const { spawn } = await import("node:child_process");
  // Else the shell of script(1), which may be one that stays, takes ^C for itself too.
  const child = spawn("script", ["--quiet", "--return", "--command", `exec ${quoted}`, "/dev/null"]);
  t.after(() => child.kill("SIGKILL"));
  let shown = "";
  child.stdout.on("data", (chunk: Buffer) => {
    shown += chunk.toString();
  });
  const done = finished(child);
  await eventually("the app is up", () => (shown.includes("up") ? true : undefined));
  child.stdin.write("\x03");
  await eventually("it was interrupted", () => (shown.includes("one INT") ? true : undefined));
  child.stdin.write("word\n");
  assert.equal((await done).status, 4, shown);
  assert.match(shown, /\/dev\/pts\/\d+\r\ngot word/);
  assert.equal(shown.split("one INT").length, 2, shown);
});

interface Running {
  uuid: string;
  pid: number;
  done: Promise<Result>;
}

async function start(rkt: Rkt, script: string): Promise<Running> {
  const child = rkt.start(["run", fly, busybox, ...sh(script)]);
  let printed = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    printed += chunk.toString();
  });
  const done = finished(child);
  await eventually("the app is up", () => (printed.includes("up") ? true : undefined));
  const dir = only(rkt);
  return { uuid: dir.slice(dir.lastIndexOf("/") + 1), pid: Number(readFileSync(join(dir, "pid"), "utf8")), done };
}

const WAITS = "trap 'echo in order; exit 3' TERM; echo up; while :; do sleep 0.05; done";
const appOf = (pid: number): number => childOf(childOf(pid));
const childOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"));

test("while it runs: no Node.js, no mount in the host's namespace; enter, stop and gc", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const { uuid, pid, done } = await start(rkt, WAITS);
  assert.match(rkt.ok(["status", "--wait-ready", uuid]).stdout, /^ready=true$/m);
  assert.match(readlinkSync(`/proc/${pid}/exe`), /busybox$/);
  // Between the two is the program that copies the app's streams.
  assert.match(readlinkSync(`/proc/${childOf(pid)}/exe`), /stage1\/rootfs\/.*\/ld-linux-x86-64\.so\.2$/);
  assert.match(readlinkSync(`/proc/${appOf(pid)}/exe`), /busybox$/);
  assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(rkt.dir));

  const command = ["/bin/sh", "-c", "readlink /proc/self/ns/mnt; ls /usr/bin/busybox; echo $AC_APP_NAME; exit 6"];
  const entered = rkt.run(["enter", uuid, ...command]);
  const namespace = readlinkSync(`/proc/${appOf(pid)}/ns/mnt`);
  assert.deepEqual([entered.stdout, entered.status], [`${namespace}\n/usr/bin/busybox\nbusybox\n`, 6], entered.stderr);

  rkt.ok(["stop", uuid]);
  assert.deepEqual(await done.then(({ stdout, status }) => [stdout, status]), ["up\nin order\n", 3]);
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

test("stop --force, of an app that does not listen; what it had started goes with it", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const { uuid, pid, done } = await start(rkt, "trap '' TERM; sleep 1000 & echo up; while :; do sleep 0.05; done");
  const app = appOf(pid);
  rkt.ok(["stop", "--force", uuid]);
  assert.equal((await done).status, 128 + 9);
  assert.equal(readFileSync(join(only(rkt), "status/busybox"), "utf8"), "137\n");
  await eventually("the app's group is gone", () =>
    spawnSync("pgrep", ["--pgroup", String(app)]).status === 1 ? true : undefined,
  );
});

for (const signal of ["SIGTERM", "SIGHUP", "SIGUSR1"] as const)
  test(`${signal} to rkt is the app's`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const name = signal.slice(3);
    const { pid, done } = await start(
      rkt,
      `trap 'echo got ${name}; exit 5' ${name}; echo up; while :; do sleep 0.05; done`,
    );
    process.kill(pid, signal);
    assert.deepEqual(await done.then(({ stdout, status }) => [stdout, status]), [`up\ngot ${name}\n`, 5]);
  });

test("who waits for the app is killed: the app ends too, and the container is not running", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const { uuid, pid, done } = await start(rkt, "echo up; exec sleep 1000");
  const app = appOf(pid);
  process.kill(pid, "SIGKILL");
  await done;
  await eventually("the app has ended", () => (existsSync(`/proc/${app}`) ? undefined : true));
  assert.equal(JSON.parse(rkt.ok(["status", "--format=json", uuid]).stdout).state, "exited");
});

test("event handlers run before and after the app, in its root", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const { image, app } = withHandlers(rkt, "echo before >>/log", "cat /log; echo after");
  const done = rkt.run(["run", fly, image, "--exec=/bin/sh", "--", "-c", "echo app >>/log; exit 4"]);
  assert.deepEqual([done.stdout, done.status], ["before\napp\nafter\n", 4], done.stderr);
  assert.equal(readFileSync(join(only(rkt), "status", app), "utf8"), "4\n");
});

test("an app whose pre-start handler fails is not started", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const { image } = withHandlers(rkt, "exit 9", "echo after");
  rkt.fails(["run", fly, image, "--exec=/bin/echo", "--", "app"], 9, /its pre-start handler ended with status 9/);
});

/** busybox with event handlers, made anew from the example image. */
function withHandlers(rkt: Rkt, before: string, after: string): { image: string; app: string } {
  const root = join(rkt.scratch, "handlers");
  mkdirSync(root);
  assert.equal(spawnSync("tar", ["-xzf", busybox, "-C", root]).status, 0);
  const manifest = JSON.parse(readFileSync(join(root, "manifest"), "utf8"));
  manifest.app.eventHandlers = [
    { name: "pre-start", exec: ["/bin/sh", "-c", before] },
    { name: "post-stop", exec: ["/bin/sh", "-c", after] },
  ];
  writeFileSync(join(root, "manifest"), JSON.stringify(manifest));
  const image = `${root}.aci`;
  assert.equal(spawnSync("tar", ["-C", root, "-cf", image, "manifest", "rootfs"]).status, 0);
  return { image, app: "busybox" };
}

const refusals = [
  {
    name: "a second app",
    words: [busybox, "--name=a", "---", busybox, "--name=b"],
    message: /it runs one app in a container, and this one has 2/,
  },
  {
    name: "no network",
    words: ["--net=none", busybox],
    message: /shares the host's network: --net=none has no meaning/,
  },
  {
    name: "a network of its own",
    words: ["--net", busybox],
    message: /shares the host's network: --net=default has no meaning/,
  },
  {
    name: "a name of its own",
    words: ["--hostname=x", busybox],
    message: /shares the host's name: --hostname has no meaning/,
  },
];
test("refused: sockets that somebody would have to open", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const ports = [{ name: "www", protocol: "tcp", port: 8080, socketActivated: true }];
  const app = { exec: ["/bin/true"], user: "0", group: "0", ports };
  const program = { name: "rootfs/bin/true", data: "#!/bin/true\n", mode: 0o755 };
  const file = scratchFile(rkt, "sockets.aci", makeAci([program], manifest({ app })));
  const message =
    /^rkt: this stage1 isolates nothing but the file system: nobody listens on port www before its app starts\nhint: /;
  rkt.fails(["--insecure-options=image", "run", fly, file], 254, message);
});

for (const { name, words, message } of refusals)
  test(`refused: ${name}`, (t) => {
    if (!ready(t)) return;
    makeRkt(t).fails(["run", fly, ...words], 254, message);
  });

test("isolators that take cgroups are named as not applied", (t) => {
  if (!ready(t)) return;
  const done = makeRkt(t).run(["run", fly, busybox, "--memory=64Mi", "--exec=/bin/true"]);
  assert.equal(done.status, 0);
  assert.equal(done.stderr, "rkt: app busybox: this stage1 has no cgroups, and does not apply resource/memory\n");
});

test("an app that cannot start says why, and its status is recorded", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const nowhere = ["--mount=volume=v,target=/v", "--exec=/v/nowhere"];
  const said = /cannot execute "\/v\/nowhere": no such file/;
  rkt.fails(["run", fly, "--volume=v,kind=empty", busybox, ...nowhere], 203, said);
  assert.equal(readFileSync(join(only(rkt), "status/busybox"), "utf8"), "203\n");
});
