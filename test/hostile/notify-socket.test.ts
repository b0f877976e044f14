/**
 * NOTIFY_SOCKET comes from the environment of rkt's caller, who may be no more than a user whom sudo lets run rkt: it
 * leads nowhere but to a socket, and no file of the host is made, written or shown for it.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { LAUNCH_EXIT } from "../../shared/contract/stage1-root.ts";
import { dist, eventually, exampleAci, finished, makeRkt, type Rkt, requires } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const FLAVORS: readonly [name: string, options: readonly string[]][] = [
  ["nspawn", []],
  ["fly", [`--stage1-path=${join(dist, "stage1-fly.aci")}`]],
];

const LISTENER = `$| = 1; my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0] =~ s/^@/\\0/r) or die;
print "listens\\n"; while (defined $s->recv(my $m, 4096)) { print "$m\\n" }`;

/** A service manager's socket; gives what it has heard. */
async function manager(t: TestContext, address: string): Promise<() => string> {
  const child = spawn("perl", ["-MIO::Socket", "-MIO::Socket::UNIX", "-e", LISTENER, address]);
  t.after(() => child.kill("SIGKILL"));
  let heard = "";
  child.stdout.on("data", (chunk: Buffer) => {
    heard += chunk.toString();
  });
  await eventually("the service manager listens", () => (heard === "" ? undefined : true));
  return () => heard;
}

/** A directory in the host's /run. */
function inRun(t: TestContext): string {
  const dir = mkdtempSync("/run/rkt-test-");
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

const NAME = "it is neither a path";

const run = (rkt: Rkt, flavor: readonly string[], socket: string, script: string, ...options: string[]) =>
  finished(
    rkt.start(["run", ...flavor, ...options, busybox, "--exec=/bin/sh", "--", "-c", script], {
      env: { ...process.env, NOTIFY_SOCKET: socket },
    }),
  );

for (const [name, flavor] of FLAVORS) {
  test(`${name}: what NOTIFY_SOCKET names and is no socket is refused, and stays what it is`, async (t) => {
    if (!requires(t, "root", "build", "perl")) return;
    const rkt = makeRkt(t);
    const dir = inRun(t);
    const victim = join(rkt.scratch, "victim");
    writeFileSync(victim, "precious");
    writeFileSync(join(dir, "file"), "precious");
    mkdirSync(join(dir, "directory"));
    execFileSync("mkfifo", [join(dir, "fifo")]);
    await manager(t, join(dir, "socket"));
    symlinkSync(join(dir, "socket"), join(dir, "link"));
    symlinkSync(dir, join(dir, "directory/back"));
    const up = dir.split("/").map(() => "..");
    for (const [socket, reason] of [
      [`/run/../${victim}`, NAME],
      [`/run/..${victim}`, NAME],
      [`${dir}/${up.join("/")}${victim}`, NAME],
      [`/run/./${basename(dir)}/socket`, NAME],
      [`/run//${basename(dir)}/socket`, NAME],
      [victim, "it is no socket"],
      [join(dir, "file"), "it is no socket"],
      [join(dir, "directory"), "it is no socket"],
      [join(dir, "fifo"), "it is no socket"],
      [join(dir, "link"), "openat2 .*: ELOOP"],
      [join(dir, "directory/back/socket"), "openat2 .*: ELOOP"],
      [`/proc/self/cwd${join(dir, "socket")}`, "openat2 .*: ELOOP"],
      [join(dir, "made/on/the/way"), "openat2 .*: ENOENT"],
      ["run/notify", NAME],
      ["@", NAME],
    ] as const) {
      const { status, stdout, stderr } = await run(rkt, flavor, socket, "echo started");
      assert.deepEqual([status, stdout], [name === "fly" && reason !== NAME ? LAUNCH_EXIT.mount : 254, ""], stderr);
      assert.match(stderr, new RegExp(`cannot notify NOTIFY_SOCKET=.*: ${reason}`), socket);
      assert.match(stderr, /^hint: unset NOTIFY_SOCKET/m, socket);
    }
    assert.equal(readFileSync(victim, "utf8"), "precious");
    assert.equal(readFileSync(join(dir, "file"), "utf8"), "precious");
    assert.ok(!existsSync(join(dir, "made")));
    const { stdout } = await run(rkt, flavor, "", "echo started");
    assert.equal(stdout, "started\n", "an empty one is none");
  });
}

test("a prepared container: refused, and the next one runs", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const victim = join(rkt.scratch, "victim");
  writeFileSync(victim, "precious");
  const uuid = rkt.ok(["prepare", busybox, "--exec=/bin/echo", "--", "started"]).stdout.trim();
  const env = { ...process.env, NOTIFY_SOCKET: `/run/..${victim}` };
  const { status, stderr } = await finished(rkt.start(["run-prepared", uuid], { env }));
  assert.equal(status, 254);
  assert.match(stderr, /cannot notify NOTIFY_SOCKET=/);
  assert.equal(readFileSync(victim, "utf8"), "precious");
});

for (const [where, options] of [
  ["on the host's network", []],
  ["with a network of its own", ["--net=none"]],
  ["with users and a network of its own", ["--private-users", "--net=none"]],
] as const)
  test(`a service manager hears that the apps are ready, wherever its socket is: ${where}`, async (t) => {
    if (!requires(t, "root", "build", "perl")) return;
    const rkt = makeRkt(t);
    const name = `@rkt-test-${process.pid}`;
    for (const socket of [join(inRun(t), "socket"), join(rkt.scratch, "socket"), name]) {
      const heard = await manager(t, socket);
      const { status, stdout, stderr } = await run(rkt, [], socket, "echo started; sleep 1", ...options);
      if (socket === name && options.length === 2) {
        assert.match(stderr, /cannot notify NOTIFY_SOCKET=@.*: an abstract socket cannot be reached with --private-users/);
        continue;
      }
      assert.deepEqual([status, stdout], [0, "started\n"], stderr);
      assert.match(heard(), /^READY=1$/m, socket);
    }
  });
