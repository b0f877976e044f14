/** `rkt export`: an app's file system as an image that others take and rkt runs. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { exampleAci, finished, makeRkt, requires, type Rkt, rktBinary, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const prepare = (rkt: Rkt, ...args: string[]): string => rkt.ok(["prepare", busybox, ...args]).stdout.trim();
const run = (rkt: Rkt, aci: string, script: string) =>
  rkt.ok(["run", "--insecure-options=image", aci, ...sh(script)]).stdout;

function assertValid(aci: string): void {
  const actool = spawnSync("actool", ["validate", aci], { encoding: "utf8" });
  assert.equal(actool.status, 0, actool.stderr);
}

for (const overlay of [true, false])
  test(`an exited app, ${overlay ? "on overlays" : "on copies"}: what it made, changed and removed, with all that a file has`, (t) => {
    if (!requires(t, "root", "build", "actool")) return;
    const rkt = makeRkt(t);
    const script = `mkdir -p /made/dir && echo new >/made/file && ln /made/file /made/hard && ln -s file /made/soft
mkfifo /made/fifo && chown 7:8 /made/file && chmod 4750 /made/file && rm /etc/group
cp -a /usr/bin /b && rm /b/yes && /b/rm -r /usr/bin && /b/mv /b /usr/bin
chmod 1777 /made/dir; exit 3`;
    const uuid = prepare(rkt, ...(overlay ? [] : ["--no-overlay"]), ...sh(script));
    assert.equal(rkt.run(["run-prepared", uuid]).status, 3);
    const aci = join(rkt.scratch, "out.aci");
    const { stdout, stderr } = rkt.ok(["export", uuid.slice(0, 8), aci]);
    assertValid(aci);
    assert.match(stderr, /out\.aci: .* unpacked$/m);
    const sum = spawnSync("sh", ["-c", `gzip -dc '${aci}' | sha512sum`], { encoding: "utf8" });
    assert.equal(stdout, `sha512-${sum.stdout.slice(0, 128)}\n`);
    const seen = run(
      rkt,
      aci,
      `cat /made/hard; readlink /made/soft; stat -c '%a %u %g %h' /made/file; stat -c %a /made/dir
test -p /made/fifo && echo fifo; test -e /bin/yes || test -e /etc/group || echo removed`,
    );
    assert.equal(seen, "new\nfile\n4750 7 8 2\n1777\nfifo\nremoved\n");
    // The container is as it was.
    assert.match(rkt.ok(["status", uuid]).stdout, /^state=exited$/m);
    rkt.ok(["gc", "--grace-period=0"]);
    assert.ok(!rkt.containers().some((path) => path.endsWith(uuid)));
  });

test("a running app, with a socket; a prepared one; the one of several that is named", async (t) => {
  if (!requires(t, "root", "build", "actool")) return;
  const rkt = makeRkt(t);
  const prepared = prepare(rkt, ...sh("echo untouched"));
  const file = join(rkt.scratch, "uuid");
  const child = rkt.start([
    "run",
    `--uuid-file-save=${file}`,
    busybox,
    "--name=a",
    ...sh("nc -lk -p 9 local:/sock >/dev/null 2>&1 & echo kept >/data; echo up; sleep 1000"),
    "---",
    busybox,
    "--name=b",
    ...sh("sleep 1000"),
  ]);
  const done = finished(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const [one, two] = [join(rkt.scratch, "one.aci"), join(rkt.scratch, "two.aci")];
  rkt.ok(["export", `--uuid-file=${file}`, "--app=a", one]);
  rkt.ok(["export", prepared, two]);
  child.kill("SIGTERM");
  await done;
  for (const aci of [one, two]) assertValid(aci);
  assert.equal(run(rkt, one, "cat /data"), "kept\n");
  assert.equal(run(rkt, two, "test -e /data || echo none"), "none\n");
});

test("an app that swaps directories for links while it is exported gets nothing of the host into the image", async (t) => {
  if (!requires(t, "root", "build", "tar")) return;
  const rkt = makeRkt(t);
  const secret = join(rkt.scratch, "host");
  mkdirSync(secret);
  for (let i = 0; i < 200; i++) writeFileSync(join(secret, `f${i}`), "the host's secret");
  const swap = `mkdir /real; i=0; while [ $i -lt 200 ]; do echo mine >/real/f$i; i=$((i+1)); done; ln -s ${secret} /link; echo up
while :; do mv -T /real /x; mv -T /link /real; mv -T /real /link; mv -T /x /real; done`;
  const file = join(rkt.scratch, "uuid");
  const child = rkt.start(["run", `--uuid-file-save=${file}`, busybox, ...sh(swap)]);
  const done = finished(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  for (let i = 0; i < 5; i++) {
    const aci = join(rkt.scratch, `${i}.aci`);
    rkt.ok(["export", `--uuid-file=${file}`, aci]);
    const text = spawnSync("sh", ["-c", `gzip -dc '${aci}' | grep -c "the host's secret"`], { encoding: "utf8" });
    assert.equal(text.stdout, "0\n");
  }
  child.kill("SIGTERM");
  await done;
});

test("what an app has is looked at before it is opened: a device of its own might do something", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(
    rkt,
    ...sh("mkdir /inside; echo mine >/inside/file; mknod /inside/device c 1 5; mkfifo /inside/fifo"),
  );
  rkt.ok(["run-prepared", uuid]);
  const trace = join(rkt.scratch, "trace");
  const argv = ["-o", trace, "-e", "trace=open,openat,openat2", "--", rktBinary, `--dir=${rkt.dir}`];
  const aci = join(rkt.scratch, "x.aci");
  const done = spawnSync("strace", [...argv, "export", uuid, aci], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  const opened = readFileSync(trace, "utf8")
    .split("\n")
    .filter((line) => line.includes('"/inside'));
  assert.ok(opened.some((line) => line.includes('"/inside/file"')));
  for (const line of opened) assert.match(line, /O_PATH|O_DIRECTORY/);
  const listed = spawnSync("tar", ["-xOzf", aci, "rootfs/inside/file"], { encoding: "utf8" });
  assert.equal(listed.stdout, "mine\n");
});

test("deeper than an image can hold: the directory is named, nothing is left, and the container can be removed", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = prepare(rkt, ...sh("cd /; i=0; while [ $i -lt 600 ]; do mkdir d && cd d && i=$((i + 1)); done"));
  rkt.ok(["run-prepared", uuid]);
  const { status, stderr } = rkt.run(["export", uuid, join(rkt.scratch, "deep.aci")]);
  assert.equal(status, 254);
  assert.match(stderr, /^rkt: export: \/d\/d\/[^\n]*… lies more than 511 directories deep[^\n]*\nhint: [^\n]+\n$/);
  assert.deepEqual(
    readdirSync(rkt.scratch).filter((name) => name.startsWith("deep")),
    [],
  );
  rkt.ok(["rm", uuid]);
  assert.deepEqual(rkt.containers(), []);
});

test("refused: no such app, several apps, an output that is there, a place that is not; nothing is left", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = rkt.ok(["prepare", busybox, "--name=a", busybox, "--name=b"]).stdout.trim();
  const aci = join(rkt.scratch, "x.aci");
  rkt.fails(["export", uuid, aci], 2, /the container has several apps\nhint: choose one with --app: a \(sha512-/);
  rkt.fails(["export", "--app=c", uuid, aci], 254, /the container has no app c/);
  rkt.fails(["export", "--app=a", uuid, "/nonexistent/x.aci"], 254, /\/nonexistent\/x\.aci.*: ENOENT/);
  rkt.fails(["export", "00", aci], 254, /no container with UUID "00"/);
  rkt.fails(["export", aci], 2, /no container is named/);
  assert.ok(!existsSync(aci));
  writeFileSync(aci, "precious");
  rkt.fails(["export", "--app=a", uuid, aci], 254, /is there already\nhint: --overwrite replaces it/);
  rkt.ok(["export", "--app=a", "--overwrite", uuid, aci]);
  assert.deepEqual(readdirSync(rkt.scratch), ["x.aci"]);
});
