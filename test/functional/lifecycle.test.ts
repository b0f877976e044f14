/** What an operator does with containers: each state, each transition, and what is refused. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { mkfifo } from "../../shared/syscall/file.ts";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  requires,
  type Result,
  type Rkt,
  rktBinary,
  sh,
} from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const prepare = (rkt: Rkt, ...args: string[]): string => rkt.ok(["prepare", busybox, ...args]).stdout.trim();

/** The container's directory, wherever it is in its life. */
function directory(rkt: Rkt, uuid: string): string {
  const [found] = rkt.containers().filter((path) => path.endsWith(`/${uuid}`));
  assert.ok(found !== undefined, `no directory of ${uuid} among ${rkt.containers()}`);
  return join(rkt.dir, "containers", found);
}

interface Running {
  uuid: string;
  child: ChildProcess;
  done: Promise<Result>;
}

/** Runs a container whose apps write "up" when they are; returns when all are. */
async function running(rkt: Rkt, args: readonly string[], apps = 1): Promise<Running> {
  const file = join(rkt.scratch, `uuid-${Math.random()}`);
  const child = rkt.start(["run", `--uuid-file-save=${file}`, ...args]);
  const done = finished(child);
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  await eventually("the apps are up", () => (output.split("up\n").length > apps ? true : undefined));
  return { uuid: readFileSync(file, "utf8").trim(), child, done };
}

const waits = sh("trap 'exit 0' TERM; echo up; sleep 1000 & wait");

/** sd_notify(3) without libsystemd, when there is a file; systemd believes it only while the process is there. */
const NOTIFIER = `
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
  write(1, "up", 2);
  while (access("/v/go", F_OK) != 0) usleep(20000);
  sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "READY=1", 7, 0, (void *)&to, sizeof to);
  return pause();
}
`;
const LISTENER = `$| = 1; my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die;
while (defined $s->recv(my $m, 4096)) { print "$m\\n" }`;

/** The cells of a table's lines. */
const cells = (text: string): string[][] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/ {2,}/));

function pairs(text: string): Map<string, string> {
  return new Map(
    text
      .trimEnd()
      .split("\n")
      .map((line) => {
        const at = line.indexOf("=");
        assert.ok(at > 0, `no key=value: ${line}`);
        return [line.slice(0, at), line.slice(at + 1)];
      }),
  );
}

// --- list ---------------------------------------------------------------------------

test("list: nothing where there is nothing", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  assert.deepEqual(cells(rkt.ok(["list"]).stdout), [
    ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"],
  ]);
  assert.equal(rkt.ok(["list", "--no-legend"]).stdout, "");
  assert.deepEqual(JSON.parse(rkt.ok(["list", "--format=json"]).stdout), []);
  assert.ok(!existsSync(rkt.dir), "looking makes nothing");
});

test("list: a line for each app, in the order of creation; whole with --full; for programs with --format=json", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const waiting = prepare(rkt, "--name=waiting");
  rkt.ok(["run", busybox, "--name=one", ...sh("exit 0"), "---", busybox, "--name=two", ...sh("exit 0")]);
  const ended = rkt
    .containers()
    .find((path) => path.startsWith("run/"))
    ?.slice("run/".length);
  assert.ok(ended !== undefined);

  const [legend, ...rows] = cells(rkt.ok(["list"]).stdout);
  assert.equal(legend?.[0], "UUID");
  const image = "example.com/busybox";
  assert.deepEqual(
    rows.map((row) => row.slice(0, 4)),
    [
      [waiting.slice(0, 8), "waiting", image, "prepared"],
      [ended.slice(0, 8), "one", image, "exited"],
      ["", "two", image],
    ],
  );
  assert.deepEqual(cells(rkt.ok(["list", "--no-legend"]).stdout)[0]?.slice(0, 2), [waiting.slice(0, 8), "waiting"]);
  const full = cells(rkt.ok(["list", "--full", "--no-legend"]).stdout);
  assert.equal(full[0]?.[0], waiting);
  assert.match(full[0]?.[2] ?? "", /^example\.com\/busybox sha512-[0-9a-f]{128}$/);
  assert.ok(Math.abs(Date.parse(full[0]?.[4] ?? "") - Date.now()) < 600_000, `RFC 3339: ${full[0]?.[4]}`);

  const json = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
  assert.deepEqual(
    json.map((c: { uuid: string; state: string; apps: { name: string; exitCode?: number }[] }) => [
      c.uuid,
      c.state,
      ...c.apps.map((app) => [app.name, app.exitCode]),
    ]),
    [
      [waiting, "prepared", ["waiting", undefined]],
      [ended, "exited", ["one", 0], ["two", 0]],
    ],
  );
});

test("list: networks as stage 1 has noted them", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt);
  const net = join(directory(rkt, uuid), "net");
  mkdirSync(net, { recursive: true });
  const network = { name: "default", interface: "eth0", addresses: ["172.16.0.2"], ports: [] };
  writeFileSync(join(net, "networks"), JSON.stringify([network]));
  assert.match(rkt.ok(["list", "--no-legend"]).stdout, / default:172\.16\.0\.2\n$/);
  const { networks } = JSON.parse(rkt.ok(["status", "--format=json", uuid]).stdout);
  assert.deepEqual(networks, [{ name: "default", interface: "eth0", addresses: ["172.16.0.2"] }]);
});

// --- status -------------------------------------------------------------------------

test("status: lines of key=value, from prepared to exited, by prefix, by file, as JSON", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt, ...waits);
  const before = pairs(rkt.ok(["status", uuid]).stdout);
  assert.equal(before.get("state"), "prepared");
  assert.equal(before.get("exited"), "false");
  assert.equal(before.get("pid"), undefined);

  const child = rkt.start(["run-prepared", uuid.slice(0, 6)]);
  const done = finished(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const during = pairs(rkt.ok(["status", uuid.slice(0, 8)]).stdout);
  assert.equal(during.get("state"), "running");
  assert.equal(during.get("pid"), String(child.pid), "rkt's own: it became the process that holds the lock");
  assert.equal(during.get("app-busybox"), undefined);

  child.kill("SIGTERM");
  await done;
  const file = join(rkt.scratch, "uuid");
  writeFileSync(file, `${uuid}\n`);
  const after = pairs(rkt.ok(["status", `--uuid-file=${file}`]).stdout);
  assert.equal(after.get("state"), "exited");
  assert.equal(after.get("exited"), "true");
  assert.equal(after.get("app-busybox"), "0");
  assert.equal(after.get("pid"), undefined);
  const json = JSON.parse(rkt.ok(["status", "--format=json", uuid.toUpperCase()]).stdout);
  assert.equal(json.uuid, uuid);
  assert.deepEqual(json.apps[0].exitCode, 0);
});

test("status --wait returns when the container has ended, not before, with its statuses", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { uuid, child, done } = await running(rkt, [busybox, ...waits]);
  const waiter = rkt.start(["status", "--wait", uuid]);
  const waited = finished(waiter);
  // It waits in flock(2): seen from outside, that is the one thing it does.
  await eventually("it waits", () =>
    /flock|locks_lock/.test(readFileSync(`/proc/${waiter.pid}/wchan`, "utf8")) ||
    readFileSync(`/proc/${waiter.pid}/syscall`, "utf8").startsWith("73 ")
      ? true
      : undefined,
  );
  assert.equal(waiter.exitCode, null);
  child.kill("SIGTERM");
  assert.equal((await done).status, 0);
  const result = await waited;
  assert.equal(result.status, 0, result.stderr);
  assert.equal(pairs(result.stdout).get("state"), "exited");
  assert.equal(pairs(result.stdout).get("app-busybox"), "0");
});

test("readiness: an app says it by sd_notify, --wait-ready waits for it, and the service manager of rkt hears it", async (t) => {
  if (!requires(t, "root", "build", "gcc", "perl")) return;
  const rkt = makeRkt(t);
  const source = join(rkt.scratch, "notify.c");
  writeFileSync(source, NOTIFIER);
  const gcc = spawnSync("gcc", ["-static", "-o", join(rkt.scratch, "notify"), source], { encoding: "utf8" });
  assert.equal(gcc.status, 0, gcc.stderr);
  // Where a service manager has its own: the container's /run is not the host's.
  const runtime = mkdtempSync("/run/rkt-test-");
  t.after(() => rmSync(runtime, { recursive: true }));
  const socket = join(runtime, "notify");
  const manager = spawn("perl", ["-MIO::Socket", "-MIO::Socket::UNIX", "-e", LISTENER, socket]);
  t.after(() => manager.kill("SIGKILL"));
  let heard = "";
  manager.stdout.on("data", (chunk: Buffer) => {
    heard += chunk.toString();
  });
  await eventually("the service manager listens", () => (existsSync(socket) ? true : undefined));

  const file = join(rkt.scratch, "uuid");
  const options = [`--uuid-file-save=${file}`, `--volume=v,kind=host,source=${rkt.scratch}`];
  const app = ["--mount=volume=v,target=/v", "--annotation=appc.io/executor/supports-systemd-notify=true"];
  const env = { ...process.env, NOTIFY_SOCKET: socket };
  const child = rkt.start(["run", ...options, busybox, ...app, "--exec=/v/notify"], { env });
  const done = finished(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));

  const uuid = readFileSync(file, "utf8");
  assert.equal(pairs(rkt.ok(["status", uuid]).stdout).get("ready"), "false");
  assert.doesNotMatch(heard, /READY=1/);
  const waiting = finished(rkt.start(["status", "--wait-ready", uuid]));
  writeFileSync(join(rkt.scratch, "go"), "");
  const status = await waiting;
  assert.equal(pairs(status.stdout).get("ready"), "true", status.stderr);
  await eventually("the service manager hears it", () => (/^READY=1$/m.test(heard) ? true : undefined));
  child.kill("SIGTERM");
  await done;
  rkt.fails(["status", "--wait-ready", uuid], 254, /ended before its apps were ready\nhint: .*rkt logs/);
});

// --- stop ---------------------------------------------------------------------------

test("stop: several at once, each in order; the UUIDs are printed", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const app = (name: string) => [
    busybox,
    `--name=${name}`,
    ...sh(`trap 'echo ${name} ends; exit 0' TERM; echo up; sleep 1000 & wait`),
  ];
  const one = await running(rkt, [...app("first"), "---", ...app("second")], 2);
  const two = await running(rkt, app("alone"));
  const { stdout } = rkt.ok(["stop", one.uuid.slice(0, 8), two.uuid]);
  assert.deepEqual(stdout.trim().split("\n").sort(), [one.uuid, two.uuid].sort());
  assert.match((await one.done).stdout, /second ends\nfirst ends\n$/);
  assert.equal((await two.done).status, 0);
});

test("stop: an app that takes no SIGTERM is killed; --timeout gives up earlier; --force does not ask", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { uuid, done } = await running(rkt, [busybox, ...sh("trap '' TERM; echo up; while :; do sleep 1; done")]);
  rkt.fails(["stop", "--timeout=300ms", uuid], 254, /container .* has not ended in time\nhint: .*--force/);
  assert.equal(pairs(rkt.ok(["status", uuid]).stdout).get("state"), "running");
  rkt.ok(["stop", "--force", uuid]);
  await done;
  const after = pairs(rkt.ok(["status", uuid]).stdout);
  assert.equal(after.get("state"), "exited");
  assert.equal(after.get("app-busybox"), undefined, "nobody was left to record it");
});

test("stop: a pid that is another process's by now gets no signal", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = rkt.ok(["prepare", "--no-overlay", busybox]).stdout.trim();
  const other = spawn("sleep", ["1000"], { stdio: "ignore" });
  t.after(() => other.kill("SIGKILL"));
  const ended = once(other, "exit");
  for (const force of [[], ["--force"]]) {
    const cwd = join(rkt.dir, "containers/prepared", uuid);
    const line = [`--pid=${other.pid}`, ...force];
    const done = spawnSync("stage1/rootfs/usr/lib/rkt/stop", line, { cwd, encoding: "utf8", timeout: 30_000 });
    assert.deepEqual([done.status, done.stderr], [0, ""]);
  }
  assert.equal(other.signalCode, null);
  other.kill("SIGKILL");
  await ended;
});

test("stop and stop --force: no signal goes to a number", async (t) => {
  if (!requires(t, "root", "build", "overlay", "strace")) return;
  const rkt = makeRkt(t);
  for (const force of [[], ["--force"]]) {
    const { uuid, done } = await running(rkt, [busybox, ...sh("echo up; exec sleep 1000")]);
    const log = join(rkt.scratch, "log");
    const trace = ["-f", "-o", log, "-e", "trace=kill,tkill,tgkill,pidfd_send_signal", "--", rktBinary];
    const stopped = spawnSync("strace", [...trace, `--dir=${rkt.dir}`, "stop", ...force, uuid], { encoding: "utf8" });
    assert.equal(stopped.status, 0, stopped.stderr);
    await done;
    const calls = readFileSync(log, "utf8");
    assert.match(calls, force.length > 0 ? /pidfd_send_signal\(\d+, SIGKILL/ : /pidfd_send_signal\(\d+, SIGTERM/);
    assert.doesNotMatch(calls, /\bt?g?kill\(\d+, (?:\d+, )?SIG(?:TERM|KILL|CONT)/);
  }
});

test("prepare --no-overlay: the copies are on the disk before the container is there", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t);
  rkt.ok(["rm", rkt.ok(["prepare", busybox]).stdout.trim()]);
  const trace = join(rkt.scratch, "trace");
  const argv = ["-o", trace, "-e", "trace=syncfs,rename", "--", rktBinary, `--dir=${rkt.dir}`];
  const done = spawnSync("strace", [...argv, "prepare", "--no-overlay", busybox], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  const calls = readFileSync(trace, "utf8").split("\n");
  const flushed = calls.findIndex((line) => line.startsWith("syncfs("));
  const there = calls.findIndex((line) => /^rename\("[^"]*\/prepare\/.*\/prepared\//.test(line));
  assert.ok(flushed >= 0 && flushed < there, calls.join("\n"));
});

test("stop: what does not run is named, the others are stopped all the same", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const waiting = prepare(rkt);
  const { uuid, done } = await running(rkt, [busybox, ...waits]);
  rkt.fails(["stop", waiting, uuid], 254, new RegExp(`container ${waiting} is not running: it is prepared`));
  assert.equal((await done).status, 0);
});

// --- prepare, run-prepared, rm, cat-manifest -----------------------------------------------

test("prepare and run-prepared: the UUID alone on stdout; a container runs once", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const file = join(rkt.scratch, "uuid");
  const { stdout } = rkt.ok(["prepare", `--uuid-file-save=${file}`, busybox, ...sh("echo ran; exit 6")]);
  const uuid = stdout.trim();
  assert.match(uuid, UUID);
  assert.equal(readFileSync(file, "utf8"), uuid);
  const done = rkt.run(["run-prepared", `--uuid-file=${file}`]);
  assert.equal(done.status, 6, done.stderr);
  assert.equal(done.stdout, "ran\n");
  rkt.fails(["run-prepared", uuid], 254, new RegExp(`container ${uuid} is not waiting to run: it is exited`));
});

test("run-prepared twice at once: one runs, the other says so", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt, ...sh("sleep 0.3; echo ran"));
  const both = await Promise.all([1, 2].map(() => finished(rkt.start(["run-prepared", uuid]))));
  assert.deepEqual(both.map((one) => one.status).sort(), [0, 254], both.map((one) => one.stderr).join());
  assert.equal(both.map((one) => one.stdout).join(""), "ran\n");
  assert.match(both.map((one) => one.stderr).join(""), /is not waiting to run|no container with UUID/);
});

test("looking at a container never keeps another command from it", async (t) => {
  if (!requires(t, "root", "build", "flock")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt, ...sh("exit 0"));
  // Probes without a pause, as a monitor with many clients would make them.
  const probe = spawn("sh", ["-c", 'while [ -d "$0" ]; do flock -s -n "$0" true; done', directory(rkt, uuid)]);
  t.after(() => probe.kill("SIGKILL"));
  rkt.ok(["run-prepared", uuid]);
});

test("rm: what runs is refused, the others go; by prefix and by file", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const one = prepare(rkt);
  const two = prepare(rkt);
  const { uuid, child, done } = await running(rkt, [busybox, ...waits]);
  const file = join(rkt.scratch, "two");
  writeFileSync(file, two);
  rkt.fails(
    ["rm", uuid, one.slice(0, 8), `--uuid-file=${file}`],
    254,
    new RegExp(`container ${uuid} is running\nhint: .*rkt stop ${uuid}`),
  );
  assert.deepEqual(rkt.containers(), [`run/${uuid}`]);
  child.kill("SIGTERM");
  await done;
  rkt.ok(["rm", uuid]);
  assert.deepEqual(rkt.containers(), []);
});

test("cat-manifest prints a manifest that actool takes", (t) => {
  if (!requires(t, "root", "build", "actool")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt, "--name=db", ...sh("exit 0"));
  const { stdout } = rkt.ok(["cat-manifest", uuid]);
  const file = join(rkt.scratch, "manifest");
  writeFileSync(file, stdout);
  const actool = spawnSync("actool", ["validate", file], { encoding: "utf8" });
  assert.equal(actool.status, 0, actool.stderr);
  const { apps } = JSON.parse(stdout);
  assert.deepEqual(apps[0].app.exec, ["/bin/sh", "-c", "exit 0"]);
  assert.equal(apps[0].name, "db");
});

// --- gc -------------------------------------------------------------------------------

test("gc marks, waits for the grace period, removes; what runs and what is prepared stays", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const waiting = prepare(rkt);
  const { uuid: alive, child, done } = await running(rkt, [busybox, ...waits]);
  rkt.ok(["run", busybox, ...sh("exit 0")]);
  const [ended] = rkt
    .containers()
    .flatMap((path) => ((/^run\/(.*)/.exec(path)?.[1] ?? alive) === alive ? [] : [path.slice(4)]));
  assert.ok(ended !== undefined);
  const stay = [`prepared/${waiting}`, `run/${alive}`];

  assert.equal(rkt.ok(["gc"]).stdout, `marked ${ended}\n`);
  assert.deepEqual(rkt.containers().sort(), [`exited-garbage/${ended}`, ...stay].sort());
  assert.equal(pairs(rkt.ok(["status", ended]).stdout).get("state"), "exited garbage");
  assert.equal(pairs(rkt.ok(["status", ended]).stdout).get("app-busybox"), "0", "still known");
  assert.equal(rkt.ok(["gc"]).stdout, "");
  assert.equal(rkt.ok(["gc", "--grace-period=0", "--mark-only"]).stdout, "");
  assert.equal(rkt.ok(["gc", "--grace-period=0s"]).stdout, `removed ${ended}\n`);
  assert.deepEqual(rkt.containers().sort(), stay);

  assert.equal(rkt.ok(["gc", "--expire-prepared=1h"]).stdout, "");
  assert.equal(rkt.ok(["gc", "--expire-prepared=0"]).stdout, `removed ${waiting}\n`);
  child.kill("SIGTERM");
  await done;
  assert.equal(rkt.ok(["--quiet", "gc", "--grace-period=0"]).stdout, "");
  assert.deepEqual(rkt.containers(), []);
});

test("gc takes what a container's app left: names of any bytes, deep trees, closed directories", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.ok([
    "run",
    busybox,
    ...sh(`mkdir /x && cd /x && mkdir "$(printf 'a\\377b')" && : >"$(printf '\\n\\033[31m')"
mkfifo fifo && ln -s / link && mkdir -m 0 closed && touch closed/file`),
  ]);
  const [path = ""] = rkt.containers();
  // Deeper than any path can say: chains of directories, each moved to the end of the next.
  const chain = Array.from({ length: 300 }, () => "directory").join("/");
  const volumes = join(rkt.dir, "containers", path, "volumes");
  for (let i = 0; i < 70; i++) {
    mkdirSync(join(volumes, `${i}`, chain), { recursive: true });
    if (i > 0) renameSync(join(volumes, `${i - 1}`), join(volumes, `${i}`, chain, "next"));
  }
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

for (const { overlay, flag, at } of [
  { overlay: true, flag: "i", at: "volumes/data/keep" },
  { overlay: true, flag: "a", at: "volumes/data" },
  { overlay: false, flag: "i", at: "stage1/rootfs/opt/stage2/*/rootfs/etc" },
])
  test(`gc and rm take what is immutable: chattr +${flag} on ${at}`, (t) => {
    if (!requires(t, "root", "build", "overlay", "chattr")) return;
    const rkt = makeRkt(t);
    const made = () => {
      const uuid = prepare(
        rkt,
        "--volume=data,kind=empty",
        "--mount=volume=data,target=/data",
        ...(overlay ? [] : ["--no-overlay"]),
      );
      const dir = directory(rkt, uuid);
      writeFileSync(join(dir, "volumes/data/keep"), "");
      assert.equal(spawnSync("sh", ["-c", `chattr +${flag} ${dir}/${at}`]).status, 0);
      return uuid;
    };
    t.after(() => spawnSync("chattr", ["-R", "-ia", join(rkt.dir, "containers")], { stdio: "ignore" }));
    made();
    rkt.ok(["gc", "--expire-prepared=0"]);
    assert.deepEqual(rkt.containers(), []);
    rkt.ok(["rm", made()]);
    assert.deepEqual(rkt.containers(), []);
  });

test("gc: a container that can't be removed is named and stays known; the others go", (t) => {
  if (!requires(t, "root", "build", "overlay", "chattr", "setpriv")) return;
  const rkt = makeRkt(t);
  const [stays, goes] = [prepare(rkt, "--volume=data,kind=empty", "--mount=volume=data,target=/data"), prepare(rkt)];
  const file = (uuid: string) => join(directory(rkt, uuid), "volumes/data/keep");
  writeFileSync(file(stays), "");
  t.after(() => spawnSync("chattr", ["-R", "-i", join(rkt.dir, "containers")], { stdio: "ignore" }));
  assert.equal(spawnSync("chattr", ["+i", file(stays)]).status, 0);
  const gc = () => {
    const words = ["--bounding-set=-linux_immutable", rktBinary, `--dir=${rkt.dir}`, "gc", "--expire-prepared=0"];
    return spawnSync("setpriv", words, { encoding: "utf8" });
  };
  for (const expected of [`removed ${goes}\n`, ""]) {
    const { status, stdout, stderr } = gc();
    assert.equal(status, 254);
    assert.equal(stdout, expected);
    assert.match(
      stderr,
      new RegExp(
        `^rkt: gc: cannot remove container ${stays}: cannot remove .*/volumes/data: .*EPERM.*\nhint: .*chattr -R -ia`,
      ),
    );
    const list = rkt.ok(["list", "--no-legend"]);
    assert.match(list.stdout, new RegExp(`^${stays.slice(0, 8)} .*busybox.* garbage`));
    assert.equal(list.stderr, "");
  }
  rkt.ok(["gc"]);
  assert.deepEqual(rkt.containers(), []);
});

test("what run has prepared for itself never lies in prepared, and goes when nothing can be renamed", (t) => {
  if (!requires(t, "root", "build", "overlay", "strace")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, "--exec=/bin/true"]);
  rkt.ok(["gc", "--grace-period=0"]);
  const words = [`--dir=${rkt.dir}`, "run", busybox, "--exec=/bin/true"];
  for (const when of ["1+", "2+", "3+"]) {
    const fault = ["-f", "-o", "/dev/null", "-e", "trace=rename", "-e", `inject=rename:error=EIO:when=${when}`];
    const done = spawnSync("strace", [...fault, rktBinary, ...words], { encoding: "utf8" });
    assert.notEqual(done.status, 0, when);
    assert.deepEqual(
      rkt.containers().filter((path) => path.startsWith("prepared/")),
      [],
      `${when}: ${done.stderr}`,
    );
    rkt.ok(["gc", "--grace-period=0"]);
    assert.deepEqual(rkt.containers(), [], when);
  }
});

test("gc is never in anybody's way: a host process in the directory, a copy of the mount namespace, an open file", async (t) => {
  if (!requires(t, "root", "build", "unshare")) return;
  const rkt = makeRkt(t);
  const { uuid, child, done } = await running(rkt, [busybox, ...waits]);
  const dir = directory(rkt, uuid);
  const hold = (argv: string[], cwd = dir): ChildProcess => {
    const holder = spawn(argv[0] ?? "", argv.slice(1), { cwd, stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => holder.kill("SIGKILL"));
    return holder;
  };
  const ready = (holder: ChildProcess) => new Promise((resolve) => holder.stdout?.once("data", resolve));
  const [inside] = readFileSync(join(dir, "pid"), "utf8").split("\n");
  const holders = [
    hold(["sh", "-c", "exec 9<container; echo; exec sleep 1000"]),
    hold(["unshare", "--mount", "--propagation=unchanged", "sh", "-c", "echo; exec sleep 1000"]),
    // Entered while it ran: its overlays live on in this process's namespace.
    hold([
      "nsenter",
      `--target=${inside}`,
      "--mount",
      "sh",
      "-c",
      `cd ${dir} && exec unshare --mount sh -c 'echo; exec sleep 1000'`,
    ]),
  ];
  await Promise.all(holders.map(ready));
  child.kill("SIGTERM");
  await done;
  assert.equal(rkt.ok(["gc", "--grace-period=0"]).stdout, `removed ${uuid}\n`);
  assert.deepEqual(rkt.containers(), []);
  assert.ok(holders.every((holder) => holder.exitCode === null && holder.signalCode === null));
});

test("gc while somebody is inside: not while it runs, and nobody is inside any more when it has ended", async (t) => {
  if (!requires(t, "root", "build", "nsenter", "pgrep")) return;
  const rkt = makeRkt(t);
  const { uuid, child, done } = await running(rkt, [busybox, ...waits]);
  const first = spawnSync("pgrep", ["-P", String(child.pid)], { encoding: "utf8" }).stdout.trim();
  const guest = spawn("nsenter", [
    `--target=${first}`,
    ...["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--", "/bin/sh", "-c"],
    "trap '' TERM HUP; echo in; while :; do sleep 1; done",
  ]);
  t.after(() => guest.kill("SIGKILL"));
  const left = finished(guest);
  await new Promise((resolve) => guest.stdout.once("data", resolve));
  assert.equal(rkt.ok(["gc", "--grace-period=0"]).stdout, "");
  rkt.ok(["stop", "--force", uuid]);
  await done;
  assert.equal(rkt.ok(["gc", "--grace-period=0"]).stdout, `removed ${uuid}\n`);
  assert.equal((await left).signal, "SIGKILL", "the guest ended with the container");
  assert.deepEqual(rkt.containers(), []);
});

test("several gc at once share the work: each container is removed once, nobody fails", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuids = Array.from({ length: 8 }, () => prepare(rkt));
  const all = await Promise.all(Array.from({ length: 4 }, () => finished(rkt.start(["gc", "--expire-prepared=0"]))));
  for (const one of all) assert.equal(one.status, 0, one.stderr);
  const removed = all.flatMap((one) => one.stdout.trim().split("\n").filter(Boolean));
  assert.deepEqual(removed.sort(), uuids.map((uuid) => `removed ${uuid}`).sort());
  assert.deepEqual(rkt.containers(), []);
});

// --- bad input -----------------------------------------------------------------------------

const commands: readonly (readonly string[])[] = [
  ["status"],
  ["stop"],
  ["enter"],
  ["rm"],
  ["run-prepared"],
  ["cat-manifest"],
];

for (const words of commands)
  test(`${words.join(" ")}: which container?`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const file = join(rkt.scratch, "uuid");
    writeFileSync(file, "not a uuid\u001b[31m");
    rkt.fails([...words, "00"], 254, /no container with UUID "00"\nhint: .*rkt list/);
    rkt.fails([...words, "../../etc"], 254, /"\.\.\/\.\.\/etc" is not a container UUID/);
    rkt.fails([...words, `--uuid-file=${file}`], 254, /"not a uuid\\x1b\[31m" is not a container UUID/);
    rkt.fails([...words, "--uuid-file=/nonexistent"], 254, /cannot read the UUID file: open \/nonexistent: ENOENT/);
    rkt.fails(words, 2, /container is named|argument is missing/);
    // By the pigeonhole principle two of 17 UUIDs begin with the same digit.
    for (const digit of "0123456789abcdef0")
      mkdirSync(join(rkt.dir, "containers/prepared", `${digit}${crypto.randomUUID().slice(1)}`), { recursive: true });
    rkt.fails([...words, "0"], 254, /UUID "0" is ambiguous: 0[0-9a-f-]{35}, 0[0-9a-f-]{35}\nhint: give more digits/);
  });

test("a container of another layout version: named everywhere, touched nowhere", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt);
  const path = join(directory(rkt, uuid), "container");
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  for (const annotation of manifest.annotations)
    if (annotation.name === ANNOTATIONS.layoutVersion) annotation.value = "99";
  writeFileSync(path, JSON.stringify(manifest));

  const message = new RegExp(`container ${uuid} has layout version "99", this rkt speaks 1`);
  assert.match(rkt.ok(["list"]).stderr, message);
  for (const words of [["status"], ["run-prepared"], ["rm"]]) rkt.fails([...words, uuid], 254, message);
  rkt.fails(["gc", "--expire-prepared=0"], 254, message);
  assert.deepEqual(rkt.containers(), [`prepared/${uuid}`]);
});

function emptyDirectory(path: string): void {
  rmSync(path, { recursive: true });
  mkdirSync(path);
}

const damages: { name: string; damage: (dir: string) => void }[] = [
  { name: "no manifest", damage: (dir) => rmSync(join(dir, "container")) },
  { name: "an empty manifest", damage: (dir) => writeFileSync(join(dir, "container"), "") },
  { name: "a manifest of zeros", damage: (dir) => writeFileSync(join(dir, "container"), Buffer.alloc(4096)) },
  {
    name: "a directory as manifest",
    damage: (dir) => emptyDirectory(join(dir, "container")),
  },
  { name: "nothing at all", damage: emptyDirectory },
];
test("a damaged directory is listed, named and collected", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  for (const { name, damage } of damages) {
    const uuid = prepare(rkt);
    const other = prepare(rkt);
    damage(directory(rkt, uuid));
    const list = rkt.ok(["list", "--full", "--no-legend"]);
    const listed = cells(list.stdout).map((row) => row[0]);
    assert.deepEqual(listed.sort(), [uuid, other].sort(), name);
    assert.match(list.stderr, new RegExp(`container ${uuid} is damaged: `), name);
    rkt.fails(["status", uuid], 254, new RegExp(`container ${uuid} is damaged: `));
    rkt.fails(["run-prepared", uuid], 254, /container/);
    rkt.ok(["gc", "--expire-prepared=0"]);
    assert.deepEqual(rkt.containers(), [], name);
  }
});

test("strangers among the containers are left alone", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt);
  const prepared = dirname(directory(rkt, uuid));
  const elsewhere = join(rkt.scratch, "elsewhere");
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, "kept"), "");
  symlinkSync(elsewhere, join(prepared, crypto.randomUUID()));
  writeFileSync(join(prepared, crypto.randomUUID()), "a file");
  mkdirSync(join(prepared, "lost+found"));
  assert.equal(cells(rkt.ok(["list", "--no-legend"]).stdout).length, 1);
  rkt.ok(["gc", "--expire-prepared=0"]);
  assert.equal(rkt.containers().length, 3);
  assert.ok(existsSync(join(elsewhere, "kept")));
});

test("status files are read as what they are: untrusted", (t) => {
  if (!requires(t, "root", "build", "mkfifo")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, ...sh("exit 0")]);
  const [path = ""] = rkt.containers();
  const status = join(rkt.dir, "containers", path, "status/busybox");
  const shown = () => pairs(rkt.ok(["status", path.slice("run/".length)]).stdout).get("app-busybox");
  assert.equal(shown(), "0");
  for (const content of ["256", "-1", "", "0x7", "7\n7", "9".repeat(100_000)]) {
    writeFileSync(status, content);
    assert.equal(shown(), undefined, content.slice(0, 20));
  }
  rmSync(status);
  symlinkSync("/proc/sys/kernel/randomize_va_space", status);
  assert.equal(shown(), undefined, "a link");
  rmSync(status);
  assert.equal(spawnSync("mkfifo", [status]).status, 0);
  assert.equal(shown(), undefined, "a FIFO");
});

test("what a container's files should not be is said, and never waited for: FIFOs in their places", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const layout = containerLayout("");
  const paths = [layout.manifest, layout.stage1Manifest, layout.trees, layout.networks, layout.users, layout.cgroups];
  for (const path of paths) {
    rkt.ok(["run", busybox, "--exec=/bin/true"]);
    const [found = ""] = rkt.containers();
    const uuid = basename(found);
    const file = join(rkt.dir, "containers", found, path);
    rmSync(file, { force: true });
    mkdirSync(dirname(file), { recursive: true });
    mkfifo(file, 0o600);
    try {
      for (const words of [
        ["list", "--full"],
        ["status", uuid],
        ["cat-manifest", uuid],
        ["image", "gc"],
      ])
        assert.notEqual(rkt.run(words, { timeout: 20_000 }).status, null, `${words.join(" ")} with ${path}`);
      const removed = rkt.run(["rm", "--force", uuid], { timeout: 20_000 });
      assert.deepEqual([removed.status, rkt.containers()], [0, []], `${path}: ${removed.stderr}`);
    } finally {
      rmSync(file, { force: true });
    }
  }
});

test("a pid file that names another process is not believed", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { uuid, child, done } = await running(rkt, [busybox, ...waits]);
  const file = join(directory(rkt, uuid), "pid");
  const bystander = spawn("sleep", ["1000"]);
  t.after(() => bystander.kill("SIGKILL"));
  writeFileSync(file, `${bystander.pid}\n`);
  assert.equal(pairs(rkt.ok(["status", uuid]).stdout).get("pid"), undefined);
  rkt.fails(
    ["stop", "--force", "--timeout=200ms", uuid],
    254,
    /must name a process that holds the lock in the file pid/,
  );
  rkt.fails(["enter", uuid], 254, /must name a process that holds the lock in the file pid/);
  assert.equal(bystander.exitCode, null);
  child.kill("SIGTERM");
  await done;
});

test("an image removed under a prepared container: named, and the container stays", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt);
  const trees = JSON.parse(readFileSync(join(directory(rkt, uuid), "trees"), "utf8"));
  const { image, tree } = trees.apps.busybox;
  const path = join(rkt.dir, "cas/tree", tree);
  renameSync(path, `${path}-away`);
  const message = new RegExp(
    `container ${uuid} can't run: image ${image.slice(0, 39)} has been removed\nhint: .*rkt rm`,
  );
  rkt.fails(["run-prepared", uuid], 254, message);
  assert.deepEqual(rkt.containers(), [`prepared/${uuid}`]);
  renameSync(`${path}-away`, path);
  rkt.ok(["run-prepared", uuid]);
});

test("a data directory of the rkt that named trees by 128 bits: what was prepared runs, and new trees are made", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt, ...sh("echo prepared before"));
  const trees = join(rkt.dir, "cas/tree");
  const file = containerLayout(directory(rkt, uuid)).trees;
  const older = (name: string) => name.replace(/^tree-2-(.{32}).*$/, "tree-1-$1");
  for (const name of readdirSync(trees)) renameSync(join(trees, name), join(trees, older(name)));
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replaceAll(/tree-2-[0-9a-f]{64}/g, older));
  assert.equal(rkt.ok(["run-prepared", uuid]).stdout, "prepared before\n");
  assert.equal(rkt.ok(["run", busybox, ...sh("echo new")]).stdout, "new\n");
  rkt.ok(["image", "verify"]);
  const before = readdirSync(trees);
  assert.equal(before.filter((name) => name.startsWith("tree-1-")).length, before.length / 2);
  rkt.ok(["gc", "--grace-period=0"]);
  rkt.ok(["gc", "--grace-period=0"]);
  rkt.ok(["image", "gc", "--grace-period=0"]);
  assert.deepEqual(readdirSync(trees), []);
});
