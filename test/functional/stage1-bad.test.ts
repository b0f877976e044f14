/** Stage1s that break the contract: who did it and which rule is said, and nobody else suffers. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ENTRYPOINTS, INTERFACE_VERSION_ANNOTATION, LATER_ENTRYPOINTS } from "../../shared/contract/annotations.ts";
import { LAYOUT_VERSION, STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import { dist, eventually, exampleAci, finished, makeRkt, type Rkt, requires } from "../helpers/rkt.ts";
import { laterNames, SHELL_STAGE1, type ShellStage1, shellStage1 } from "../helpers/stage1-image.ts";

const busybox = exampleAci("busybox");
const ready = (t: TestContext, ...more: string[]) => requires(t, "root", "build", ...more);
/** The least that a stage1 has to do. */
const GOOD = "echo $$ >pid; echo 3 >status/busybox; exit 3";

const only = (rkt: Rkt): string => {
  const [first, second] = rkt.containers();
  assert.ok(first !== undefined && second === undefined, `one container, not ${rkt.containers()}`);
  return first.replace(/^.*\//, "");
};

const refused: { name: string; annotations: NonNullable<ShellStage1["annotations"]>; message: RegExp }[] = [
  {
    name: "no init",
    annotations: { [ENTRYPOINTS.init]: undefined },
    message:
      /example\.com\/stage1-by-hand is not a stage1 image: it has no annotation coreos\.com\/rocket\/stage1\/init/,
  },
  {
    name: "an init that is no path of the image",
    annotations: { [ENTRYPOINTS.init]: "init" },
    message: /stage1 image example\.com\/stage1-by-hand: annotation coreos\.com\/rocket\/stage1\/init "init": must be/,
  },
  {
    name: "an init that is not there",
    annotations: { [ENTRYPOINTS.init]: "/nowhere" },
    message: /cannot execute \/nowhere of stage1 image example\.com\/stage1-by-hand/,
  },
  {
    name: "a stop that leads out of the image",
    annotations: { [ENTRYPOINTS.stop]: "/../../stop" },
    message: /annotation coreos\.com\/rocket\/stage1\/stop "\/\.\.\/\.\.\/stop": must/,
  },
  {
    name: "an older or newer interface version",
    annotations: { [INTERFACE_VERSION_ANNOTATION]: "99" },
    message: /stage1 image example\.com\/stage1-by-hand has interface version "99", this rkt speaks 1/,
  },
  {
    name: "an interface version of rkt 1.30",
    annotations: laterNames(["init"], "5"),
    message:
      /stage1-by-hand has interface version "5", this rkt speaks 1\nhint: .*coreos\.com\/rkt\/stage1\/interface-version is one of rkt 1\.30/,
  },
  {
    name: "a run by rkt 1.30's name that is no path of the image",
    annotations: { ...laterNames(["init"]), [LATER_ENTRYPOINTS.init]: "../run" },
    message: /annotation coreos\.com\/rkt\/stage1\/run "\.\.\/run": must/,
  },
];
for (const { name, annotations, message } of refused)
  test(`refused, and nothing is left: ${name}`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const aci = shellStage1(rkt, GOOD, { annotations });
    rkt.fails(["run", `--stage1-image=${aci}`, busybox], 254, message);
    assert.deepEqual(rkt.containers(), []);
    assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(rkt.dir));
  });

test("an app's image as stage1 is refused by name", (t) => {
  if (!ready(t)) return;
  const message = /example\.com\/busybox is not a stage1 image/;
  makeRkt(t).fails(["run", `--stage1-image=${busybox}`, busybox], 254, message);
});

for (const flavor of ["stage1-nspawn", "stage1-fly"])
  test(`${flavor} refuses an rkt of another interface or layout version`, (t) => {
    if (!ready(t)) return;
    for (const [key, ours, message] of [
      [INTERFACE_VERSION_ANNOTATION, STAGE1_INTERFACE_VERSION, /has interface version "99", this stage1 speaks 1/],
      ["coreos.com/rocket/layout-version", LAYOUT_VERSION, /has layout version "99", this (stage1|launcher) speaks 1/],
    ] as const) {
      const rkt = makeRkt(t);
      const stage1 = `--stage1-image=${join(dist, `${flavor}.aci`)}`;
      const uuid = rkt.ok(["prepare", "--no-overlay", stage1, busybox]).stdout.trim();
      const dir = join(rkt.dir, "containers/prepared", uuid);
      const manifest = JSON.parse(readFileSync(join(dir, "container"), "utf8"));
      const entry = manifest.annotations.find((one: { name: string }) => one.name === key);
      assert.equal(entry.value, ours);
      entry.value = "99";
      writeFileSync(join(dir, "container"), JSON.stringify(manifest));
      // As a newer rkt would start it.
      const done = spawnSync("stage1/rootfs/init", [], { cwd: dir, encoding: "utf8" });
      assert.equal(done.status, 254, done.stderr);
      assert.match(done.stderr, message);
    }
  });

const written: { name: string; init: string; status: number; message: RegExp }[] = [
  {
    name: "init ends at once and writes nothing",
    init: "exit 6",
    status: 6,
    message:
      /rkt: stage1 image example\.com\/stage1-by-hand: init must write the file pid, and has not\n.*status\/busybox/,
  },
  {
    name: "no status",
    init: "echo $$ >pid; exit 0",
    status: 0,
    message: /status\/busybox must be a number from 0 to 255, and was not written; was the container killed\?/,
  },
  ...["not a number", "256", "-1", ""].map((text) => ({
    name: `the status ${JSON.stringify(text)}`,
    init: `echo $$ >pid; echo '${text}' >status/busybox; exit 0`,
    status: 0,
    message: /stage1 image example\.com\/stage1-by-hand: status\/busybox must be a number from 0 to 255, and is not/,
  })),
  {
    name: "a status that is a link to a file of the host",
    init: "echo $$ >pid; ln -s /proc/sys/kernel/ostype status/busybox; exit 0",
    status: 0,
    message: /status\/busybox must be a number from 0 to 255, and is not/,
  },
];
for (const { name, init, status, message } of written)
  test(`rkt status says which rule was broken: ${name}`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const aci = shellStage1(rkt, init);
    assert.equal(rkt.run(["run", `--stage1-image=${aci}`, busybox]).status, status);
    const said = rkt.ok(["status", only(rkt)]);
    assert.match(said.stderr, message);
    assert.doesNotMatch(said.stdout, /^app-busybox=/m);
    rkt.ok(["gc", "--grace-period=0"]);
    assert.deepEqual(rkt.containers(), []);
  });

test("rkt status has nothing to say of one that keeps to the rules", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  rkt.run(["run", `--stage1-image=${shellStage1(rkt, GOOD)}`, busybox]);
  assert.equal(rkt.ok(["status", only(rkt)]).stderr, "");
});

test("init lets go of the lock and runs on: named, and not taken away from under it", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const init = 'echo $$ >pid; echo 0 >status/busybox; exec bash -c "exec $RKT_LOCK_FD<&-; echo free; read line"';
  const child = rkt.start(["run", `--stage1-image=${shellStage1(rkt, init)}`, busybox]);
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const done = finished(child);
  await eventually("the lock is free", () => (said.includes("free") ? true : undefined));
  const uuid = only(rkt);
  const rule = new RegExp(`stage1 image ${SHELL_STAGE1.replaceAll(".", "\\.")}`);
  assert.match(rkt.ok(["status", uuid]).stderr, /process \d+ must hold the lock \(RKT_LOCK_FD\), and does not/);
  rkt.fails(["gc", "--grace-period=0"], 254, rule);
  rkt.fails(
    ["rm", uuid],
    254,
    /still runs, though its lock is free: process \d+ .* must hold it \(RKT_LOCK_FD\)\nhint: end it: kill \d+/,
  );
  assert.ok(existsSync(join(rkt.dir, "containers/run", uuid)));
  child.stdin?.end("\n");
  await done;
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

test("a pid that does not hold the lock: enter and stop say so, and touch nobody", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const victim = spawnSync("sh", ["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], { encoding: "utf8" }).stdout.trim();
  t.after(() => spawnSync("kill", [victim]));
  const aci = shellStage1(rkt, `echo ${victim} >pid; echo up; read line; exit 0`, {
    entrypoints: { stop: "kill $(echo $1 | tr -dc 0-9)", enter: "exit 0" },
  });
  const child = rkt.start(["run", `--stage1-image=${aci}`, busybox]);
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const done = finished(child);
  await eventually("it is up", () => (said.includes("up") ? true : undefined));
  const uuid = only(rkt);
  const rule = /its stage1 image example\.com\/stage1-by-hand must name a process that holds the lock in the file pid/;
  rkt.fails(["stop", uuid], 254, rule);
  rkt.fails(["enter", uuid, "/bin/true"], 254, rule);
  assert.match(rkt.ok(["status", uuid]).stderr, /the file pid must name a process that holds the container's lock/);
  assert.ok(existsSync(`/proc/${victim}`));
  child.stdin?.end("\n");
  await done;
});

test("gc runs in the container directory, with the stage1's root mounted, once, and only if the container ran", (t) => {
  if (!ready(t)) return;
  for (const how of [[], ["--no-overlay"]]) {
    const rkt = makeRkt(t);
    const trace = join(rkt.scratch, "trace");
    const gc = `echo "$# $(ls) $(basename "$PWD") $(ls stage1/rootfs/gc)" >>${trace}`;
    const aci = shellStage1(rkt, GOOD, { entrypoints: { gc } });
    rkt.run(["run", ...how, `--stage1-image=${aci}`, busybox]);
    rkt.ok(["prepare", ...how, `--stage1-image=${aci}`, busybox]);
    const uuid =
      rkt
        .containers()
        .find((name) => name.startsWith("run/"))
        ?.slice("run/".length) ?? "";
    rkt.ok(["gc", "--grace-period=0", "--expire-prepared=0"]);
    assert.deepEqual(rkt.containers(), []);
    const text = readFileSync(trace, "utf8");
    assert.match(text, new RegExp(`^0 container\\n[\\s\\S]*\\n?trees\\nvolumes ${uuid} stage1/rootfs/gc\\n$`));
    assert.equal(text.split("volumes").length, 2);
    assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(rkt.dir));
  }
});

test("gc fails: named, kept for the next time, gone by force; others are not kept waiting", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const release = join(rkt.scratch, "release");
  const bad = shellStage1(rkt, GOOD, { entrypoints: { gc: `[ -e ${release} ] || exit 5` } });
  const good = shellStage1(rkt, GOOD);
  for (const aci of [bad, good, bad]) rkt.run(["run", `--stage1-image=${aci}`, busybox]);
  const rule = /\/gc \(gc\) of stage1 image example\.com\/stage1-by-hand ended with status 5/;
  rkt.fails(["gc", "--grace-period=0"], 254, rule);
  const kept = rkt.containers();
  assert.equal(kept.length, 2);
  const [forced = ""] = kept.map((name) => name.replace(/^.*\//, ""));
  rkt.fails(["rm", forced], 254, /hint: `rkt rm --force [0-9a-f]{8}` removes it all the same/);
  assert.match(rkt.ok(["rm", "--force", forced]).stderr, rule);
  writeFileSync(release, "");
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

test("gc hangs: ended, with all that it started", (t) => {
  if (!ready(t, "pgrep")) return;
  const rkt = makeRkt(t);
  const release = join(rkt.scratch, "release");
  // A number of seconds to be found by.
  const seconds = String(100_000 + process.pid);
  const aci = shellStage1(rkt, GOOD, { entrypoints: { gc: `[ -e ${release} ] && exit; sleep ${seconds} & wait` } });
  rkt.run(["run", `--stage1-image=${aci}`, busybox]);
  const rule = /\/gc \(gc\) of stage1 image example\.com\/stage1-by-hand has not ended after 10 s/;
  rkt.fails(["gc", "--grace-period=0"], 254, rule);
  assert.equal(spawnSync("pgrep", ["--full", `sleep ${seconds}`]).status, 1);
  assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(rkt.dir));
  assert.equal(rkt.containers().length, 1);
  writeFileSync(release, "");
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});
