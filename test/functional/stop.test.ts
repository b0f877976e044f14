/** How apps are asked to end, and how long they may take. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import {
  dist,
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Result,
  type Rkt,
  requires,
  scratchFile,
} from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");
const flavors = [
  { flavor: "nspawn", stage1: [] },
  { flavor: "fly", stage1: [`--stage1-image=${join(dist, "stage1-fly.aci")}`] },
];

interface Running {
  stop(...options: string[]): Result;
  /** What rkt has written so far. */
  shown(): string;
  says(text: string): Promise<void>;
  ended: Promise<Result>;
  state(): string;
}

async function running(rkt: Rkt, options: readonly string[], image: readonly string[]): Promise<Running> {
  const file = join(rkt.scratch, "uuid");
  const child = rkt.start(["run", `--uuid-file-save=${file}`, ...options, ...image]);
  const ended = finished(child);
  let shown = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    shown += chunk.toString();
  });
  const says = async (text: string) => {
    await eventually(`rkt has written ${text}`, () => (shown.includes(text) ? true : undefined));
  };
  await says("up\n");
  return {
    stop: (...more) => rkt.run(["stop", `--uuid-file=${file}`, ...more], { timeout: 120_000 }),
    shown: () => shown,
    says,
    ended,
    state: () => JSON.parse(rkt.ok(["status", "--format=json", `--uuid-file=${file}`]).stdout).state,
  };
}

const sh = (script: string, ...options: string[]): string[] => [
  busybox,
  "--exec=/bin/sh",
  ...options,
  "--",
  "-c",
  `echo up; ${script}`,
];

/** Needs this many seconds when it is asked. */
const slow = (seconds: number): string =>
  `trap 'echo asked; sleep ${seconds}; echo done; exit 7' TERM; while :; do sleep 0.1; done`;
const DEAF = "trap 'echo asked' TERM; while :; do sleep 0.1; done";

for (const { flavor, stage1 } of flavors) {
  test(`${flavor}: a start script's daemon is asked too, and may take its time`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    // The script itself dies of SIGTERM.
    const daemon = `sh -c 'trap "echo daemon asked; sleep 2; echo daemon done; exit" TERM; echo daemon up; while :; do sleep 0.1; done'`;
    const app = await running(rkt, stage1, sh(`${daemon}; true`));
    await app.says("daemon up");
    assert.equal(app.stop().status, 0);
    assert.equal(app.state(), "exited");
    const { stdout, status } = await app.ended;
    assert.match(stdout, /daemon asked\ndaemon done\n$/);
    assert.equal(status, 143);
  });

  test(`${flavor}: an app that needs longer than ten seconds has them by --stop-timeout`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const app = await running(rkt, stage1, sh(slow(12), "--stop-timeout=30s"));
    assert.equal(app.stop().status, 0);
    assert.equal(app.state(), "exited");
    const { stdout, status } = await app.ended;
    assert.deepEqual([stdout, status], ["up\nasked\ndone\n", 7]);
  });

  test(`${flavor}: rkt stop --time gives more than the app has of its own`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const app = await running(rkt, stage1, sh(slow(8), "--stop-timeout=1s"));
    assert.equal(app.stop("--time=60s").status, 0);
    const { stdout, status } = await app.ended;
    assert.deepEqual([stdout, status], ["up\nasked\ndone\n", 7]);
  });

  test(`${flavor}: rkt stop --time gives less`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const app = await running(rkt, stage1, sh(DEAF, "--stop-timeout=1000s"));
    assert.equal(app.stop("--time=1s").status, 0);
    const { stdout, status } = await app.ended;
    assert.match(stdout, /^up\nasked\n/);
    assert.equal(status, 137);
    assert.equal(app.state(), "exited");
  });

  test(`${flavor}: --stop-signal, and the image's own`, async (t) => {
    if (!requires(t, "root", "build")) return;
    for (const signal of ["QUIT", "USR1"]) {
      const rkt = makeRkt(t);
      const script = `trap 'echo ${signal}; exit 4' ${signal}; while :; do sleep 0.1; done`;
      const app = await running(rkt, stage1, sh(script, `--stop-signal=SIG${signal}`));
      assert.equal(app.stop().status, 0);
      const { stdout, status } = await app.ended;
      assert.deepEqual([stdout, status], [`up\n${signal}\n`, 4]);
    }
  });
}

test("the image says its signal and its time; the command line knows better", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const annotations = [
    { name: "appc.io/executor/stop-signal", value: "SIGQUIT" },
    { name: "appc.io/executor/stop-timeout", value: "90" },
  ];
  const image = (own: object[]) =>
    scratchFile(
      rkt,
      "stop.aci",
      makeAci(
        [{ name: "rootfs/x", mode: 0o755 }],
        manifest({ app: { exec: ["/x"], user: "0", group: "0" }, annotations: own }),
      ),
    );
  const prepared = (...options: string[]) => {
    const uuid = rkt.ok(["prepare", "--insecure-options=image", image(annotations), ...options]).stdout.trim();
    const { apps } = JSON.parse(rkt.ok(["cat-manifest", uuid]).stdout);
    return Object.fromEntries(
      apps[0].annotations.map(({ name, value }: { name: string; value: string }) => [name, value]),
    );
  };
  assert.deepEqual(prepared(), { "appc.io/executor/stop-signal": "SIGQUIT", "appc.io/executor/stop-timeout": "90" });
  assert.deepEqual(prepared("--stop-signal=INT", "--stop-timeout=1m"), {
    "appc.io/executor/stop-signal": "INT",
    "appc.io/executor/stop-timeout": "60",
  });
  const bad = image([{ name: "appc.io/executor/stop-timeout", value: "soon" }]);
  rkt.fails(
    ["prepare", "--insecure-options=image", bad],
    254,
    /the annotation appc\.io\/executor\/stop-timeout is "soon", not a whole number of seconds/,
  );
});

const refused: { words: string[]; message: RegExp }[] = [
  { words: ["run", busybox, "--stop-signal=SIGNOPE"], message: /--stop-signal "SIGNOPE": must be a signal/ },
  { words: ["run", busybox, "--stop-timeout=soon"], message: /--stop-timeout: "soon" is no duration/ },
  { words: ["run", busybox, "--stop-timeout=1000h"], message: /--stop-timeout "1000h": must be at most 999999s/ },
  { words: ["stop", "--time=-1", "x"], message: /--time: "-1" is no duration/ },
  { words: ["stop", "--time=5s", "--force", "x"], message: /--force gives the apps no time/ },
  {
    words: ["run", busybox, "--stop-signal=TERM", "--annotation=appc.io/executor/stop-signal=INT"],
    message: /--stop-signal and --annotation=appc\.io\/executor\/stop-signal say the same/,
  },
];
for (const { words, message } of refused)
  test(`refused: ${words.slice(words[0] === "run" ? 2 : 0).join(" ")}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    rkt.fails(words, 2, message);
    assert.equal(existsSync(join(rkt.dir, "containers", "run")) && rkt.containers().length > 0, false);
  });

test("what a shell at a terminal ignores does not hold the end up", async (t) => {
  if (!requires(t, "root", "build", "script")) return;
  const rkt = makeRkt(t);
  const app = await running(rkt, [], sh("while :; do sleep 0.1; done", "--stop-timeout=1000s"));
  const { spawn } = await import("node:child_process");
  const line = `'${join(dist, "rkt")}' --dir='${rkt.dir}' enter --uuid-file='${rkt.scratch}/uuid' /bin/sh -i`;
  const entered = spawn("script", ["--quiet", "--return", "--command", line, "/dev/null"]);
  t.after(() => entered.kill("SIGKILL"));
  await new Promise<void>((resolve) => entered.stdout.once("data", () => resolve()));
  assert.equal(app.stop().status, 0);
  assert.equal((await app.ended).status, 143);
});
