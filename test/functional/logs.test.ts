/** `rkt logs`: what apps wrote is kept, bounded, and says nothing to a terminal but text. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually, exampleAci, finished, makeRkt, requires, type Rkt, rktBinary, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

/** Runs to the end, whatever the status; its UUID. */
function ended(rkt: Rkt, ...args: string[]): string {
  const file = join(rkt.scratch, "uuid");
  rkt.run(["run", `--uuid-file-save=${file}`, ...args]);
  return readFileSync(file, "utf8");
}

test("each stream on its own, as it was written; by app, of several with their names", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = ended(
    rkt,
    busybox,
    "--name=web",
    ...sh("echo to stdout; echo to stderr >&2; printf 'no newline'"),
    "---",
    busybox,
    "--name=db",
    ...sh("echo ready"),
  );
  const web = rkt.ok(["logs", "--app=web", uuid.slice(0, 8)]);
  assert.equal(web.stdout, "to stdout\nno newline");
  assert.equal(web.stderr, "to stderr\n");
  const both = rkt.ok(["logs", uuid]);
  assert.deepEqual(both.stdout.split("\n").sort(), ["", "db: ready", "web: no newline", "web: to stdout"]);
  assert.equal(both.stderr, "web: to stderr\n");
  rkt.fails(["logs", "--app=nobody", uuid], 254, /the container has no app nobody\nhint: there are: web, db/);
});

test("any bytes: what rkt run passes on and what rkt logs prints is the same", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const bytes = Buffer.concat([randomBytes(2 * 1024 * 1024), Buffer.alloc(300_000, "x"), Buffer.from("\n\n\0\n")]);
  writeFileSync(join(rkt.scratch, "bytes"), bytes);
  const volume = `--volume=data,kind=host,source=${rkt.scratch}`;
  const uuid = ended(rkt, volume, busybox, "--mount=volume=data,target=/data", "--exec=/bin/cat", "--", "/data/bytes");
  const digest = spawnSync("sh", ["-c", `'${rktBinary}' --dir='${rkt.dir}' logs ${uuid} | sha512sum`], {
    encoding: "utf8",
  });
  assert.equal(digest.stdout, `${createHash("sha512").update(bytes).digest("hex")}  -\n`, digest.stderr);
});

test("a line without an end does not gather in memory: of several apps it comes in pieces, each with the name", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const endless = ["--name=a", ...sh("head -c 300000 /dev/zero | tr '\\0' x")];
  const uuid = ended(rkt, busybox, ...endless, "---", busybox, "--name=b", ...sh("echo short"));
  const lines = rkt.ok(["logs", uuid]).stdout.split("\n").slice(0, -1);
  const pieces = lines.filter((line) => line !== "b: short");
  assert.equal(lines.length, pieces.length + 1);
  for (const line of pieces) assert.match(line, /^a: x{1,200000}$/);
  assert.equal(pieces.map((line) => line.slice("a: ".length)).join(""), "x".repeat(300_000));
});

test("bounded: of a long stream the end is kept, without a gap", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = ended(rkt, busybox, "--exec=/bin/seq", "--", "1", "3000000");
  const log = join(rkt.dir, "containers/run", uuid, "log");
  const size = readdirSync(log).reduce((sum, name) => sum + statSync(join(log, name)).size, 0);
  assert.ok(size > 4 * 1024 * 1024 && size <= 8 * 1024 * 1024, `${size} bytes`);
  const numbers = rkt.ok(["logs", uuid]).stdout.trimEnd().split("\n").slice(1).map(Number);
  assert.equal(numbers.at(-1), 3_000_000);
  assert.ok(
    numbers.every((n, i) => i === 0 || n === (numbers[i - 1] ?? 0) + 1),
    "one after the other",
  );
});

test("-f: what is there, what comes, and the end; --since leaves out what is older", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const go = join(rkt.scratch, "go");
  mkdirSync(go);
  const uuid = rkt
    .ok([
      "prepare",
      `--volume=go,kind=host,source=${go}`,
      busybox,
      "--mount=volume=go,target=/go",
      ...sh("echo first; until [ -e /go/second ]; do sleep 0.05; done; echo second; printf last"),
    ])
    .stdout.trim();
  // It may be followed before it runs.
  const follower = rkt.start(["logs", "-f", uuid]);
  let output = "";
  follower.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const followed = finished(follower);
  const container = finished(rkt.start(["run-prepared", uuid]));
  await eventually("the first line", () => (output === "first\n" ? true : undefined));
  const between = new Date().toISOString();
  writeFileSync(join(go, "second"), "");
  assert.equal((await container).status, 0);
  // Whatever becomes of the container now.
  rkt.ok(["gc"]);
  const done = await followed;
  assert.equal(done.status, 0, done.stderr);
  assert.equal(output, "first\nsecond\nlast");
  assert.equal(rkt.ok(["logs", `--since=${between}`, uuid]).stdout, "second\nlast");
  assert.equal(rkt.ok(["logs", "--since=1h", uuid]).stdout, output);
  assert.equal(rkt.ok(["logs", "--since=0", uuid]).stdout, "");
  rkt.ok(["gc", "--grace-period=0"]);
  rkt.fails(["logs", uuid], 254, /no container with UUID/);
});

test("on a terminal control characters are shown, not sent", (t) => {
  if (!requires(t, "root", "build", "script")) return;
  const rkt = makeRkt(t);
  const uuid = ended(rkt, busybox, ...sh("printf 'a\\033]0;title\\007b\\tc\\rd\\n'"));
  const command = `'${rktBinary}' --dir='${rkt.dir}' logs ${uuid}`;
  const shown = spawnSync("script", ["-qec", command, "/dev/null"], { encoding: "utf8", input: "" });
  assert.equal(shown.stdout, "a\\x1b]0;title\\x07b\tc\\rd\r\n", shown.stderr);
  assert.equal(rkt.ok(["logs", uuid]).stdout, "a\u001b]0;title\u0007b\tc\rd\n", "not on one: as it is");
});

test("a log that can't be written holds nobody up: the disk is full", (t) => {
  if (!requires(t, "root", "build", "mount")) return;
  const rkt = makeRkt(t);
  const uuid = rkt.ok(["prepare", busybox, ...sh("seq 1 200000; echo end >&2; exit 7")]).stdout.trim();
  const log = join(rkt.dir, "containers/prepared", uuid, "log");
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", log], { encoding: "utf8" });
  assert.equal(mounted.status, 0, mounted.stderr);
  const done = rkt.run(["run-prepared", uuid]);
  assert.equal(done.status, 7, done.stderr);
  assert.equal(done.stdout, Array.from({ length: 200_000 }, (_, i) => `${i + 1}\n`).join(""));
  assert.equal(done.stderr, "end\n");
  const kept = rkt.ok(["logs", uuid]).stdout.split("\n");
  assert.ok(kept.includes("1") && kept.length < 5000, `${kept.length} lines`);
});

test("a log that is no log is not followed out of the container", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = ended(rkt, busybox, ...sh("echo harmless"));
  const log = join(rkt.dir, "containers/run", uuid, "log");
  const script = `cd '${log}' && rm -f busybox.* && ln -s /etc/passwd busybox.out && mkfifo busybox.err && mkdir busybox.out.1`;
  assert.equal(spawnSync("sh", ["-c", script]).status, 0);
  const { stdout, stderr } = rkt.ok(["logs", uuid], { timeout: 10_000 });
  assert.equal(stdout + stderr, "");
});

test("what an interactive app says to its terminal is not kept, and rkt says so", (t) => {
  if (!requires(t, "root", "build", "script")) return;
  const rkt = makeRkt(t);
  const file = join(rkt.scratch, "uuid");
  const command = `'${rktBinary}' --dir='${rkt.dir}' run --uuid-file-save='${file}' --interactive '${busybox}' --exec=/bin/echo -- secret`;
  const shown = spawnSync("script", ["-qec", command, "/dev/null"], { encoding: "utf8", input: "", timeout: 30_000 });
  assert.match(shown.stdout, /secret/);
  assert.ok(existsSync(file));
  const { stdout, stderr } = rkt.ok(["logs", readFileSync(file, "utf8")]);
  assert.equal(stdout, "");
  assert.match(stderr, /is interactive: what its app says to a terminal is not kept/);
});
