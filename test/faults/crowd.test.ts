/** Many at once, and very many after each other. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { answerFile, serve } from "../helpers/http-server.ts";
import { exampleAci, finished, makeRkt, requires, sh } from "../helpers/rkt.ts";
import { assertAftermath, assertImages, assertManners, ownCgroups } from "./aftermath.ts";
import { random, rounds, seed } from "./random.ts";

const times = rounds(1);

const cgroups = process.getuid?.() === 0 ? ownCgroups() : [];
const busybox = exampleAci("busybox");

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

test("every command at once, some of them killed: nothing that was there is lost", {
  timeout: 150_000 * times,
}, async (t) => {
  if (!requires(t, "root", "build")) return;
  t.diagnostic(`RKT_FAULTS_SEED=${seed}`);
  const rkt = makeRkt(t);
  const next = random(0);
  const server = await serve(t, (request, response) =>
    answerFile(request, response, { body: request.url === "/other.aci" ? other : readFileSync(busybox), etag: '"1"' }),
  );
  const files = Array.from(
    { length: 50 },
    (_, i): Entry => ({ name: `rootfs/file${i}`, data: randomBytes(20_000), mode: 0o755 }),
  );
  const other = makeAci(files, manifest({ name: "example.com/other" }));
  const kept = rkt.ok(["prepare", busybox, ...sh("echo kept; exit 7")]).stdout.trim();
  const images = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout).map(({ id }: { id: string }) => id);
  const commands: (() => string[])[] = [
    () => ["--insecure-options=image", "fetch", "--pull-policy=update", `${server.base}/busybox.aci`],
    () => ["run", busybox, ...sh("echo out; exit 0")],
    () => ["run", "--rm", "--no-overlay", busybox, ...sh("exit 0")],
    () => ["prepare", busybox, ...sh("exit 0")],
    () => ["gc", "--grace-period=0"],
    () => ["image", "gc", "--grace-period=0"],
    () => ["--insecure-options=image", "fetch", "--pull-policy=update", `${server.base}/other.aci`],
    () => ["--insecure-options=image", "prepare", `${server.base}/other.aci`, "--exec=/file1"],
    () => ["image", "rm", "example.com/other"],
    () => ["image", "rm", "example.com/busybox"],
    () => ["image", "extract", "--overwrite", "example.com/other", join(rkt.scratch, `e${Math.floor(next() * 3)}`)],
    () => ["image", "verify"],
    () => ["image", "render", "--overwrite", "example.com/busybox", join(rkt.scratch, `r${Math.floor(next() * 3)}`)],
    () => ["image", "list", "--format=json"],
    () => ["list", "--format=json"],
  ];
  let left = 75 * times;
  const said: string[] = [];
  const worker = async () => {
    while (left-- > 0) {
      const argv = commands[Math.floor(next() * commands.length)]?.() ?? [];
      const child = rkt.start(argv);
      const kill = next() < 0.3 ? setTimeout(() => child.kill("SIGKILL"), next() * 400) : undefined;
      const { status, signal, stderr } = await finished(child);
      clearTimeout(kill);
      assertManners(status, stderr, argv.join(" "));
      if (signal === null && status !== 0) said.push(`${argv.join(" ")}: ${status}: ${stderr}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  // What was in use all the time is there, and whole; everything else may have been taken away by its own command.
  const run = rkt.run(["run-prepared", kept]);
  assert.deepEqual([run.status, run.stdout], [7, "kept\n"], run.stderr);
  assertImages(rkt, images, `seed ${seed}`);
  // What a command may refuse, is refused for a reason that one of the others has given.
  for (const line of said) assert.match(line, /is in use by container|is not in the store/, `seed ${seed}`);
  for (const name of readdirSync(rkt.scratch)) rmSync(join(rkt.scratch, name), { recursive: true, force: true });
  assertAftermath(rkt, cgroups, `seed ${seed}`);
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
