/** How many files an app may have open: as many as rkt's caller. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { dist, exampleAci, makeRkt, requires, rktBinary } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const cases: { name: string; limits: string; options: string[] }[] = [
  { name: "nspawn", limits: "8192:8192", options: [] },
  { name: "nspawn, users of its own", limits: "8192:8192", options: ["--private-users"] },
  { name: "fly", limits: "8192:8192", options: [`--stage1-image=${join(dist, "stage1-fly.aci")}`] },
];

for (const { name, limits, options } of cases)
  test(`limits of open files pass on: ${name}`, (t) => {
    if (!requires(t, "root", "build", "prlimit")) return;
    const rkt = makeRkt(t);
    // A shell between, which has the limits and starts rkt, as a person's does.
    for (const [soft, hard] of [limits.split(":"), ["2000", "8192"]] as const) {
      const script = `ulimit -Sn ${soft}; ulimit -Hn ${hard}; "$@"; exit $?`;
      const words = ["run", ...options, busybox, "--exec=/bin/sh", "--", "-c", "ulimit -Sn; ulimit -Hn"];
      const done = spawnSync("sh", ["-c", script, "sh", rktBinary, `--dir=${rkt.dir}`, ...words], { encoding: "utf8" });
      assert.deepEqual([done.stdout, done.stderr], [`${soft}\n${hard}\n`, ""]);
    }
    // Limits that rkt alone has: the soft one is not to be found out.
    const alone = ["prlimit", ["--nofile=4000:4000", rktBinary, `--dir=${rkt.dir}`]] as const;
    const words = ["run", ...options, busybox, "--exec=/bin/sh", "--", "-c", "ulimit -Sn; ulimit -Hn"];
    const done = spawnSync(alone[0], [...alone[1], ...words], { encoding: "utf8" });
    assert.deepEqual([done.stdout, done.stderr], ["4000\n4000\n", ""]);
  });
