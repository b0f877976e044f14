/** Many at once, and very many after each other. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { exampleAci, finished, makeRkt, requires } from "../helpers/rkt.ts";
import { assertAftermath, ownCgroups } from "./aftermath.ts";

const cgroups = process.getuid?.() === 0 ? ownCgroups() : [];
const busybox = exampleAci("busybox");
const sh = (script: string): string[] => ["--exec=/bin/sh", "--", "-c", script];

test("100 containers started at once all end with their own status and output", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, ...sh("exit 0")]);
  const numbers = Array.from({ length: 100 }, (_, i) => i + 1);
  const done = await Promise.all(
    numbers.map((n) => finished(rkt.start(["run", busybox, ...sh(`echo ${n}; exit ${n}`)]))),
  );
  for (const [i, { status, stdout, stderr }] of done.entries())
    assert.deepEqual({ status, stdout, stderr }, { status: i + 1, stdout: `${i + 1}\n`, stderr: "" });
  const list = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
  const codes = list.map((container: { apps: { exitCode: number }[] }) => container.apps[0]?.exitCode);
  assert.deepEqual(
    codes.sort((a: number, b: number) => a - b),
    [0, ...numbers],
  );
  assertAftermath(rkt, cgroups, "100 containers");
});

test("1,000 exited containers are listed and collected", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, ...sh("exit 0")]);
  const [first = ""] = rkt.containers();
  const run = join(rkt.dir, "containers/run");
  mkdirSync(run, { recursive: true });
  const copy = `i=1; while [ $i -lt 1000 ]; do cp -a '${first.slice("run/".length)}' "$(printf '%08x-0000-4000-8000-%012x' $i $i)"; i=$((i+1)); done`;
  assert.equal(spawnSync("sh", ["-c", copy], { cwd: run, stdio: "inherit" }).status, 0);
  assert.equal(rkt.ok(["list", "--no-legend"]).stdout.trimEnd().split("\n").length, 1000);
  assert.equal(rkt.ok(["gc"]).stdout.trimEnd().split("\n").length, 1000);
  assert.equal(rkt.ok(["gc", "--grace-period=0"]).stdout.trimEnd().split("\n").length, 1000);
  assert.deepEqual(rkt.containers(), []);
});
