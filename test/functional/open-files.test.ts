/** How many files an app may have open: as many as rkt's caller. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { dist, exampleAci, makeRkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

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

const account = ["--user=1000", "--group=1000", "--working-dir=/", "--exec=/bin/sh", "--", "-c"];
for (const { name, options } of cases)
  test(`--ulimit, and an isolator of the image: ${name}`, (t) => {
    if (!requires(t, "root", "build", "prlimit")) return;
    const rkt = makeRkt(t);
    const script = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; grep processes /proc/self/limits";
    const set = ["--ulimit=nofile=100:200", "--ulimit=core=0", "--ulimit", "nproc=50"];
    assert.match(rkt.ok(["run", ...options, busybox, ...set, ...account, script]).stdout, /^100\n200\n0\n0\nMax processes +50 +50 /);

    // What the image asks for, and the command line instead of it.
    const app = {
      exec: ["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"],
      user: "0",
      group: "0",
      isolators: [{ name: "coreos.com/rocket/rlimits", value: { nofile: { soft: 64, hard: 128 } } }],
    };
    const entries = [
      { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
      { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    ];
    const image = scratchFile(rkt, "limits.aci", makeAci(entries, manifest({ name: "example.com/limits", app })));
    assert.equal(rkt.ok(["run", ...options, image]).stdout, "64\n128\n");
    assert.equal(rkt.ok(["run", ...options, image, "--ulimit=nofile=32"]).stdout, "32\n32\n");
  });

test("a limit that the host does not allow is told, and the app is not started", (t) => {
  if (!requires(t, "root", "build", "setpriv")) return;
  const rkt = makeRkt(t);
  // Without CAP_SYS_RESOURCE nobody raises a hard limit.
  const words = [rktBinary, `--dir=${rkt.dir}`, "run", busybox, "--ulimit=nofile=100:900000000", "--exec=/bin/true"];
  const done = spawnSync("setpriv", ["--bounding-set=-sys_resource", ...words], { encoding: "utf8" });
  assert.equal(done.status, 205, done.stderr);
  assert.match(done.stderr, /^rkt: app busybox: cannot set the limit nofile to 100:900000000: setrlimit: EPERM$/m);
});
