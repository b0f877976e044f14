/** SIGKILL at random moments of everything that rkt does. */

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { serve } from "../helpers/http-server.ts";
import { eventually, exampleAci, finished, makeRkt, requires, type Rkt, sh } from "../helpers/rkt.ts";
import { assertAftermath, assertImages, ownCgroups } from "./aftermath.ts";
import { random, rounds, seed } from "./random.ts";

const times = rounds(2);

const cgroups = process.getuid?.() === 0 ? ownCgroups() : [];
const busybox = exampleAci("busybox");

interface Scenario {
  name: string;
  /** Before each round; what it returns is passed on. */
  before?: (rkt: Rkt) => Promise<string[]> | string[];
  /** Starts what is to be killed. The server has the image busybox, and takes its time. */
  start: (rkt: Rkt, from: string[], url: string) => Promise<ChildProcess> | ChildProcess;
  /** After all rounds. */
  after?: (rkt: Rkt) => void;
}

const prepared = (rkt: Rkt): string => rkt.ok(["prepare", busybox, ...sh("exit 0")]).stdout.trim();

/** A container of two apps that are up, and end when they are told to. */
async function up(rkt: Rkt): Promise<ChildProcess> {
  const app = (name: string) => [busybox, `--name=${name}`, ...sh("trap 'exit 0' TERM; echo up; sleep 1000 & wait")];
  const child = rkt.start(["run", ...app("a"), "---", ...app("b")]);
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  await eventually("the apps are up", () => (output === "up\nup\n" ? true : undefined));
  return child;
}

const scenarios: Scenario[] = [
  { name: "prepare", start: (rkt) => rkt.start(["prepare", busybox, ...sh("exit 0")]) },
  { name: "prepare --no-overlay", start: (rkt) => rkt.start(["prepare", "--no-overlay", busybox, ...sh("exit 0")]) },
  { name: "run", start: (rkt) => rkt.start(["run", busybox, ...sh("exit 0")]) },
  { name: "run --rm", start: (rkt) => rkt.start(["run", "--rm", busybox, ...sh("exit 0")]) },
  {
    name: "run of an image that is not in the store",
    before: (rkt) => {
      rkt.run(["image", "rm", "example.com/busybox"]);
      return [];
    },
    start: (rkt) => rkt.start(["run", busybox, ...sh("exit 0")]),
  },
  {
    name: "run-prepared",
    before: (rkt) => [prepared(rkt)],
    start: (rkt, [uuid = ""]) => rkt.start(["run-prepared", uuid]),
  },
  {
    name: "a container that is stopping",
    start: async (rkt) => {
      const child = await up(rkt);
      child.kill("SIGTERM");
      return child;
    },
  },
  {
    name: "gc",
    before: (rkt) => {
      rkt.ok(["run", busybox, ...sh("mkdir -p a/b c; touch a/x c/y")]);
      return [prepared(rkt), prepared(rkt)];
    },
    start: (rkt) => rkt.start(["gc", "--grace-period=0", "--expire-prepared=0"]),
  },
  {
    name: "rm",
    before: (rkt) => [prepared(rkt), prepared(rkt)],
    start: (rkt, uuids) => rkt.start(["rm", ...uuids]),
  },
  {
    name: "image rm",
    before: (rkt) => {
      prepared(rkt);
      rkt.ok(["gc", "--expire-prepared=0"]);
      return [];
    },
    start: (rkt) => rkt.start(["image", "rm", "example.com/busybox"]),
  },
  {
    name: "fetch",
    before: withoutBusybox,
    start: (rkt, _, url) => rkt.start(["--insecure-options=image", "fetch", "--pull-policy=update", url]),
  },
  {
    name: "run of an image that is to be fetched",
    before: withoutBusybox,
    start: (rkt, _, url) =>
      rkt.start(["--insecure-options=image", "run", "--pull-policy=update", url, ...sh("exit 0")]),
  },
  {
    name: "image verify of a damaged tree",
    before: (rkt) => {
      prepared(rkt);
      rkt.ok(["gc", "--expire-prepared=0"]);
      const id = rkt.ok(["fetch", "--full", busybox]).stdout.trim();
      chmodSync(join(rkt.dir, `cas/tree/tree-2-${id.slice(7)}/rootfs/bin/busybox`), 0o700);
      return [];
    },
    start: (rkt) => rkt.start(["image", "verify", "example.com/busybox"]),
    // One that was killed in time has left the damage, and the next run stands on it.
    after: (rkt) => {
      rkt.ok(["gc", "--grace-period=0"]);
      rkt.ok(["image", "verify"]);
    },
  },
  {
    name: "image render",
    before: (rkt) => {
      rkt.ok(["fetch", busybox]);
      return [];
    },
    start: (rkt) => rkt.start(["image", "render", "--overwrite", "example.com/busybox", join(rkt.scratch, "rendered")]),
  },
];

function withoutBusybox(rkt: Rkt): string[] {
  rkt.run(["image", "rm", "example.com/busybox"]);
  return [];
}

/** In pieces, so that a download is killed between them. */
const slowServer = (t: TestContext) =>
  serve(t, async (_, response) => {
    const image = readFileSync(busybox);
    response.writeHead(200, { "content-length": image.length, etag: '"1"' });
    for (let at = 0; at < image.length; at += 100_000) {
      response.write(image.subarray(at, at + 100_000));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    response.end();
  });

/** The stage1 image, which no scenario takes away, and a container that runs all the time. */
function furnish(rkt: Rkt): string[] {
  prepared(rkt);
  const images = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout);
  return images.flatMap((image: { id: string; name: string }) => (image.name.includes("stage1") ? image.id : []));
}

for (const [i, scenario] of scenarios.entries())
  test(`killed at ${times} random moments: ${scenario.name}`, { timeout: 60_000 * Math.max(3, times) }, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const images = furnish(rkt);
    const server = await slowServer(t);
    await rounded(t, rkt, scenario, { next: random(i), url: `${server.base}/busybox.aci` });
    scenario.after?.(rkt);
    assertImages(rkt, images, `seed ${seed}`);
  });

async function rounded(
  t: TestContext,
  rkt: Rkt,
  { before, start }: Scenario,
  { next, url }: { next: () => number; url: string },
): Promise<void> {
  t.diagnostic(`RKT_FAULTS_SEED=${seed}`);
  // Undisturbed, to learn how long it takes.
  const first = await start(rkt, (await before?.(rkt)) ?? [], url);
  const begin = Date.now();
  assert.equal((await finished(first)).status, 0);
  const duration = Date.now() - begin;

  for (let round = 1; round <= times; round++) {
    const child = await start(rkt, (await before?.(rkt)) ?? [], url);
    const done = finished(child);
    const delay = next() * duration * 1.1;
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill("SIGKILL");
    const { stderr } = await done;
    const what = `seed ${seed}, round ${round}, killed after ${delay.toFixed(1)} of ${duration} ms`;
    assert.doesNotMatch(stderr, /internal error/, what);
    assertAftermath(rkt, cgroups, what);
    const run = rkt.run(["run", busybox, ...sh("echo alive; exit 5")]);
    assert.equal(run.status, 5, `${what}: the next run: ${run.stderr}`);
    assert.equal(run.stdout, "alive\n", what);
  }
}
