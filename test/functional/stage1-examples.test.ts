/** The stage1s in examples/ through a container's whole life, and containers of different stage1s side by side. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  dist,
  eventually,
  exampleAci,
  finished,
  makeRkt,
  requires,
  type Result,
  type Rkt,
  sh,
} from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

const EXAMPLES = ["stage1-shell", "stage1-bwrap"] as const;

interface Running {
  uuid: string;
  done: Promise<Result>;
}

/** A container whose app has said "up". */
async function start(rkt: Rkt, name: string, stage1: readonly string[], script: string): Promise<Running> {
  const file = join(rkt.scratch, `uuid-${name}`);
  const child = rkt.start(["run", ...stage1, `--uuid-file-save=${file}`, busybox, ...sh(`${script}`)]);
  let printed = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    printed += chunk.toString();
  });
  const done = finished(child);
  await eventually(`${name} is up`, () => (printed.includes("up") ? true : undefined));
  return { uuid: readFileSync(file, "utf8"), done };
}

const WAITS = "trap 'echo in order; exit 3' TERM; echo up; while :; do sleep 0.05; done";
const statusOf = (rkt: Rkt, uuid: string) => JSON.parse(rkt.ok(["status", "--format=json", uuid]).stdout);

for (const name of EXAMPLES) {
  const stage1 = `--stage1-image=${exampleAci(name)}`;
  const ready = (t: TestContext) => requires(t, "root", "build");

  test(`${name}: the app's output, environment and status`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const done = rkt.run(
      ["run", stage1, '--set-env=GREETING=it\'s "so" \\n', busybox, ...sh('cat; echo "$GREETING" >&2; exit 7')],
      { input: "in\n" },
    );
    assert.deepEqual([done.stdout, done.stderr, done.status], ["in\n", 'it\'s "so" \\n\n', 7]);
    const [container = ""] = rkt.containers();
    assert.equal(readFileSync(join(rkt.dir, "containers", container, "status/busybox"), "utf8"), "7\n");
  });

  test(`${name}: the app has none of the lock's descriptors, and no way to them`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const { stdout } = rkt.ok([
      "run",
      stage1,
      busybox,
      ...sh("for fd in /proc/self/fd/*; do readlink $fd; done; true"),
    ]);
    assert.doesNotMatch(stdout, /containers/);
  });

  test(`${name}: status, list, enter, stop and gc`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const { uuid, done } = await start(rkt, name, [stage1], WAITS);

    const running = statusOf(rkt, uuid);
    assert.deepEqual([running.state, running.stage1], ["running", `example.com/${name}`]);
    assert.equal(readFileSync(`/proc/${running.pid}/cmdline`, "utf8").includes("init"), true);
    assert.match(rkt.ok(["list"]).stdout, new RegExp(`^${uuid.slice(0, 8)} +busybox .* running `, "m"));

    const entered = rkt.run(["enter", uuid, "/bin/sh", "-c", "echo entered; ls /usr/bin/busybox; exit 4"]);
    assert.deepEqual([entered.stdout, entered.status], ["entered\n/usr/bin/busybox\n", 4], entered.stderr);

    rkt.ok(["stop", uuid]);
    const { stdout, status } = await done;
    assert.deepEqual([stdout, status], ["up\nin order\n", 3]);
    assert.deepEqual([statusOf(rkt, uuid).state, statusOf(rkt, uuid).apps[0].exitCode], ["exited", 3]);

    rkt.ok(["gc", "--grace-period=0"]);
    assert.deepEqual(rkt.containers(), []);
  });

  test(`${name}: stop --force, of an app that does not listen`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const { uuid, done } = await start(rkt, name, [stage1], "trap '' TERM; echo up; while :; do sleep 0.05; done");
    rkt.ok(["stop", "--force", uuid]);
    assert.equal((await done).status, 128 + 9);
    assert.equal(statusOf(rkt, uuid).apps[0].exitCode, 128 + 9);
  });

  test(`${name}: without overlays`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    assert.equal(rkt.run(["run", "--no-overlay", stage1, busybox, ...sh("exit 5")]).status, 5);
    rkt.ok(["gc", "--grace-period=0"]);
    assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(rkt.dir));
  });
}

test("stage1-bwrap: the app sees no process but its own", (t) => {
  if (!requires(t, "root", "build")) return;
  const stage1 = `--stage1-image=${exampleAci("stage1-bwrap")}`;
  const { stdout } = makeRkt(t).ok(["run", stage1, busybox, ...sh("echo $$; echo /proc/[0-9]*")]);
  assert.equal(stdout, "2\n/proc/1 /proc/2\n");
});

test("containers of different stage1s side by side; one's end is not the other's", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const stage1s = ["nspawn", ...EXAMPLES];
  const image = (name: string) => (name === "nspawn" ? join(dist, "stage1-nspawn.aci") : exampleAci(name));
  const containers = await Promise.all(
    stage1s.map((name) => start(rkt, name, [`--stage1-image=${image(name)}`], WAITS)),
  );
  const listed = JSON.parse(rkt.ok(["list", "--format=json"]).stdout) as { stage1: string; state: string }[];
  assert.deepEqual(
    listed.map(({ stage1, state }) => `${stage1} ${state}`).sort(),
    ["coreos.com/rkt/stage1-nspawn running", ...EXAMPLES.map((name) => `example.com/${name} running`)].sort(),
  );
  for (const [i, { uuid, done }] of containers.entries()) {
    rkt.ok(["stop", uuid]);
    assert.equal((await done).status, 3);
    for (const other of containers.slice(i + 1)) assert.equal(statusOf(rkt, other.uuid).state, "running");
  }
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
  assert.ok(existsSync(join(rkt.dir, "cas")));
});
