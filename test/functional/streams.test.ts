/** An app's output: where it goes, and that not a byte is lost, added or swapped. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { exampleAci, finished, makeRkt, requires, rktBinary, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

test("64 MiB of random bytes pass unchanged", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const bytes = randomBytes(64 * 1024 * 1024);
  writeFileSync(join(rkt.scratch, "random"), bytes);
  const pipeline = `'${rktBinary}' --dir='${rkt.dir}' run --volume=data,kind=host,source='${rkt.scratch}' '${busybox}' --mount=volume=data,target=/data --exec=/bin/cat -- /data/random | sha512sum`;
  const done = spawnSync("bash", ["-o", "pipefail", "-c", pipeline], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  assert.equal(done.stderr, "");
  assert.equal(done.stdout, `${createHash("sha512").update(bytes).digest("hex")}  -\n`);
});

test("10,000 lines on each stream arrive on that stream, in order, and complete when rkt ends", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { stdout, stderr } = rkt.ok([
    "run",
    busybox,
    ...sh("i=0; while [ $i -lt 10000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"),
  ]);
  const lines = (word: string) => Array.from({ length: 10_000 }, (_, i) => `${word} ${i}\n`).join("");
  assert.equal(stdout, lines("out"));
  assert.equal(stderr, lines("err"));
});

test("a file as stdout is complete when rkt returns, and written where the shell left off", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const out = join(rkt.scratch, "out");
  const script = `{ echo before; '${rktBinary}' --dir='${rkt.dir}' run '${busybox}' --exec=/bin/echo -- inside; echo after; } >'${out}'; cat '${out}'`;
  const done = spawnSync("sh", ["-c", script], { encoding: "utf8" });
  assert.equal(done.stdout, "before\ninside\nafter\n", done.stderr);
});

test("an app whose reader has gone gets SIGPIPE, and rkt ends", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const script = `'${rktBinary}' --dir='${rkt.dir}' run '${busybox}' --exec=/bin/yes | head -1; echo \${PIPESTATUS[0]}`;
  const done = spawnSync("bash", ["-c", script], { encoding: "utf8", timeout: 30_000 });
  assert.equal(done.stdout, "y\n141\n", done.stderr);
});

test("--interactive passes standard input on", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const input = randomBytes(1024 * 1024).toString("base64");
  const { stdout } = rkt.ok(["run", "--interactive", busybox, "--exec=/bin/cat"], { input });
  assert.equal(stdout, input);
});

test("without it an app reads end-of-file", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { stdout } = rkt.ok(["run", busybox, ...sh("cat; echo end")], { input: "not for the app" });
  assert.equal(stdout, "end\n");
});

test("the apps of one container share rkt's streams", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const child = rkt.start(["run", busybox, "--name=a", ...sh("echo a"), "---", busybox, "--name=b", ...sh("echo b")]);
  const done = await finished(child);
  assert.equal(done.status, 0, done.stderr);
  assert.deepEqual(done.stdout.split("\n").sort(), ["", "a", "b"]);
});
