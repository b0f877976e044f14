/** Which stage1 image a container gets: the options, the configuration, and what status and list say of it. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { makeGpg } from "../fixtures/gpg.ts";
import { serve } from "../helpers/http-server.ts";
import { exampleAci, finished, makeRkt, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";
import { laterNames, SHELL_STAGE1, shellStage1 } from "../helpers/stage1-image.ts";

const busybox = exampleAci("busybox");
const ready = (t: TestContext) => requires(t, "root", "build");
/** Ends with 42: no app of ours does. */
const MARKED = "echo $$ >pid; echo 42 >status/busybox; exit 42";

/** A data directory, and configuration directories of its own. */
function configured(t: TestContext): { rkt: Rkt; config(kind: string, settings: object): void; options: string[] } {
  const rkt = makeRkt(t);
  const dir = join(rkt.scratch, "config");
  mkdirSync(dir);
  return {
    rkt,
    options: [`--local-config=${dir}`, `--system-config=${dir}`],
    config(kind, settings) {
      mkdirSync(join(dir, `${kind}.d`), { recursive: true });
      const file = { rktKind: kind, rktVersion: "v1", ...settings };
      writeFileSync(join(dir, `${kind}.d`, "test.json"), JSON.stringify(file));
    },
  };
}

/** A stage1 by its name is a signed one: signs it, and trusts the key. */
function signed(rkt: Rkt, aci: string, options: readonly string[]): string {
  const gpg = makeGpg();
  const publisher = gpg.newKey("publisher");
  const key = scratchFile(rkt, "key.asc", gpg.export(publisher));
  rkt.ok([...options, "trust", "--prefix=example.com", "--skip-fingerprint-review", key]);
  writeFileSync(`${aci}.asc`, gpg.sign(readFileSync(aci), [publisher]));
  return aci;
}

function marked(rkt: Rkt, line: readonly string[]): void {
  const done = rkt.run([...line, busybox]);
  assert.equal(done.status, 42, `${line.join(" ")}: ${done.stderr}`);
}

test("by file, by hash, by name with or without labels, all the same image", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { rkt, options } = configured(t);
  const aci = signed(rkt, shellStage1(rkt, MARKED), options);
  const hash = rkt.ok([...options, "fetch", aci]).stdout.trim();
  for (const stage1 of [
    `--stage1-image=${aci}`,
    `--stage1-path=${aci}`,
    `--stage1-image=${hash}`,
    `--stage1-hash=${hash}`,
    `--stage1-hash=${hash.slice(0, 20)}`,
    `--stage1-image=${SHELL_STAGE1}`,
    `--stage1-name=${SHELL_STAGE1}:1`,
    `--stage1-name=${SHELL_STAGE1}:1,arch=amd64`,
  ])
    marked(rkt, [...options, "run", stage1]);
  const listed = JSON.parse(rkt.ok(["list", "--format=json"]).stdout) as { stage1: string }[];
  assert.deepEqual([...new Set(listed.map(({ stage1 }) => stage1))], [SHELL_STAGE1]);
  const [uuid = ""] = rkt.containers().map((name) => name.replace("run/", ""));
  assert.match(rkt.ok(["status", uuid]).stdout, new RegExp(`^stage1=${SHELL_STAGE1}$`, "m"));
  assert.match(rkt.ok(["list", "--full"]).stdout, new RegExp(`STAGE1\\n.*${SHELL_STAGE1}\\n`));
});

for (const version of [undefined, "1"])
  test(`an image that names its programs as rkt 1.30 did: interface version ${version ?? "not said"}`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const entrypoints = {
      enter: "echo entered; exit 7",
      stop: 'kill "$(cat pid)"',
      gc: `echo released >>'${rkt.scratch}/gc'`,
    };
    const init = "trap 'echo 42 >status/busybox; exit 42' TERM; echo $$ >pid; echo up; while :; do sleep 0.1; done";
    const annotations = laterNames(["init", "enter", "stop", "gc"], version);
    const aci = shellStage1(rkt, init, { entrypoints, annotations });
    const child = rkt.start(["run", `--stage1-image=${aci}`, `--uuid-file-save=${rkt.scratch}/uuid`, busybox]);
    const ended = finished(child);
    await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
    const uuid = readFileSync(join(rkt.scratch, "uuid"), "utf8");
    const entered = rkt.run(["enter", uuid, "/bin/true"]);
    assert.deepEqual([entered.status, entered.stdout], [7, "entered\n"], entered.stderr);
    rkt.ok(["stop", uuid]);
    assert.equal((await ended).status, 42);
    rkt.ok(["rm", uuid]);
    assert.equal(readFileSync(join(rkt.scratch, "gc"), "utf8"), "released\n");
  });

for (const how of ["image", "path", "url", "hash", "name", "from-dir", "configured name", "configured location"])
  test(`the options find an image with rkt 1.30's names: ${how}`, (t) => {
    if (!requires(t, "root", "build", "gpg")) return;
    const { rkt, config, options } = configured(t);
    const aci = signed(rkt, shellStage1(rkt, MARKED, { annotations: laterNames(["init"], "1") }), options);
    const directory = join(rkt.scratch, "images");
    mkdirSync(directory);
    copyFileSync(aci, join(directory, "mine.aci"));
    config("paths", { "stage1-images": directory });
    const hash = rkt.ok([...options, "fetch", aci]).stdout.trim();
    const given: Record<string, string[]> = {
      image: [`--stage1-image=${aci}`],
      path: [`--stage1-path=${aci}`],
      url: [`--stage1-url=file://${aci}`],
      hash: [`--stage1-hash=${hash}`],
      name: [`--stage1-name=${SHELL_STAGE1}:1`],
      "from-dir": ["--stage1-from-dir=mine.aci"],
    };
    if (how.startsWith("configured"))
      config("stage1", { name: SHELL_STAGE1, version: "1", location: how.endsWith("name") ? "/nowhere" : aci });
    marked(rkt, [...options, "run", ...(given[how] ?? [])]);
  });

test("by URL: verified by its signature as any image", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const aci = shellStage1(rkt, MARKED);
  const server = await serve(t, (request, response) => {
    if (request.url !== "/stage1.aci") response.writeHead(404).end();
    else response.end(readFileSync(aci));
  });
  const url = `${server.base}/stage1.aci`;
  const http = "--insecure-options=http";
  const run = (...options: string[]) => {
    const child = rkt.start([...options, "run", `--stage1-url=${url}`, busybox]);
    return new Promise<{ status: number | null; stderr: string }>((resolve) => {
      let stderr = "";
      child.stderr?.on("data", (chunk: Buffer) => {
        stderr += chunk.toString();
      });
      child.on("close", (status) => resolve({ status, stderr }));
    });
  };
  const unsigned = await run(http);
  assert.equal(unsigned.status, 254);
  assert.match(unsigned.stderr, /signature/);
  assert.deepEqual(rkt.containers(), []);
  assert.equal((await run("--insecure-options=http,image")).status, 42);
});

test("from a directory of stage1 images, the configured one first", (t) => {
  if (!ready(t)) return;
  const { rkt, config, options } = configured(t);
  const images = join(rkt.scratch, "images");
  mkdirSync(images);
  const aci = shellStage1(rkt, MARKED);
  copyFileSync(aci, join(images, "mine.aci"));
  config("paths", { "stage1-images": images });
  marked(rkt, [...options, "run", "--stage1-from-dir=mine.aci"]);
  const missing = /there is no stage1 image none\.aci: looked in .*images/;
  rkt.fails([...options, "run", "--stage1-from-dir=none.aci", busybox], 254, missing);
});

test("the configured default: by its location, then from the store by name and version", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { rkt, config, options } = configured(t);
  const aci = signed(rkt, shellStage1(rkt, MARKED), options);
  config("stage1", { name: SHELL_STAGE1, version: "1", location: aci });
  marked(rkt, [...options, "run"]);
  config("stage1", { name: SHELL_STAGE1, version: "1", location: "/nowhere/stage1.aci" });
  marked(rkt, [...options, "run"]);
  config("stage1", { name: SHELL_STAGE1, version: "2", location: "/nowhere/stage1.aci" });
  rkt.fails([...options, "run", busybox], 254, /\/nowhere\/stage1\.aci/);
});

test("the location of a named default: signed whatever is turned off, and of that name and version", async (t) => {
  if (!ready(t)) return;
  const { rkt, config, options } = configured(t);
  const aci = shellStage1(rkt, MARKED);
  const server = await serve(t, (request, response) => {
    if (request.url === "/stage1.aci") response.end(readFileSync(aci));
    else response.writeHead(404).end();
  });
  config("stage1", { name: SHELL_STAGE1, version: "1", location: `${server.base}/stage1.aci` });
  const child = rkt.start([...options, "--insecure-options=http,image", "run", busybox]);
  const unsigned = await finished(child);
  assert.equal(unsigned.status, 254);
  assert.match(unsigned.stderr, /the image is not signed/);
  config("stage1", { name: SHELL_STAGE1, version: "2", location: aci });
  const another =
    /the image at the location of example\.com\/stage1-by-hand:2 is another: its manifest's label version is "1"\nhint: /;
  rkt.fails([...options, "run", busybox], 254, another);
  assert.deepEqual(rkt.containers(), []);
});

test("an option comes before the configuration", (t) => {
  if (!ready(t)) return;
  const { rkt, config, options } = configured(t);
  const other = shellStage1(rkt, "exit 1", { name: "example.com/other" });
  config("stage1", { location: other });
  marked(rkt, [...options, "run", `--stage1-path=${shellStage1(rkt, MARKED)}`]);
});

const mistakes = [
  { words: ["--stage1-path=/a", "--stage1-hash=sha512-ab"], status: 2, message: /mutually exclusive/ },
  { words: ["--stage1-hash=./x.aci"], status: 2, message: /--stage1-hash "\.\/x\.aci" is a file/ },
  { words: ["--stage1-path=/nowhere/x.aci"], status: 254, message: /\/nowhere\/x\.aci/ },
  { words: ["--stage1-hash=sha512-0123456789abcdef"], status: 254, message: /sha512-0123456789abcdef/ },
];
for (const { words, status, message } of mistakes)
  test(`refused: ${words.join(" ")}`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    rkt.fails(["run", ...words, busybox], status, message);
    assert.deepEqual(rkt.containers(), []);
  });

test("a prepared container keeps its stage1, whatever the default becomes", (t) => {
  if (!ready(t)) return;
  const { rkt, config, options } = configured(t);
  const aci = shellStage1(rkt, MARKED);
  const uuid = rkt.ok([...options, "prepare", `--stage1-path=${aci}`, busybox]).stdout.trim();
  config("stage1", { location: join(rkt.scratch, basename(shellStage1(rkt, "exit 1"))) });
  assert.equal(rkt.run([...options, "run-prepared", uuid]).status, 42);
});

test("an upgrade while a container runs: it is entered, stopped and collected by the stage1 it was started with", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  // The new rkt is another file, and another stage1 lies beside it, which does nothing right for an app of its own.
  const upgraded = join(rkt.scratch, "rkt");
  copyFileSync(rktBinary, upgraded);
  const wrong = "exit 99";
  const stage1 = shellStage1(rkt, wrong, { entrypoints: { enter: wrong, stop: wrong } });
  copyFileSync(stage1, join(rkt.scratch, "stage1-nspawn.aci"));
  const after = (...args: string[]) =>
    spawnSync(upgraded, [`--dir=${rkt.dir}`, ...args], { encoding: "utf8", timeout: 60_000 });

  const file = join(rkt.scratch, "uuid");
  const running = rkt.start(["run", `--uuid-file-save=${file}`, busybox, "--exec=/bin/sleep", "--", "600"]);
  const ended = new Promise((resolve) => running.once("exit", resolve));
  while (!existsSync(file) || readFileSync(file, "utf8").trim() === "") await setTimeout(20);
  const uuid = readFileSync(file, "utf8").trim();
  assert.equal(after("status", "--wait-ready", uuid).status, 0);

  assert.equal(after("run", "--insecure-options=image", busybox).status, 99, "new containers have the new stage1");
  const [listed] = JSON.parse(after("list", "--format=json").stdout).filter(
    (container: { uuid: string }) => container.uuid === uuid,
  );
  assert.equal(listed.state, "running");
  const entered = after("enter", uuid, "/bin/sh", "-c", "echo inside; exit 7");
  assert.deepEqual([entered.status, entered.stdout], [7, "inside\n"], entered.stderr);
  assert.equal(after("stop", uuid).status, 0);
  await ended;
  assert.match(after("status", uuid).stdout, /^state=exited$/m);
  const collected = after("gc", "--grace-period=0");
  assert.equal(collected.status, 0, collected.stderr);
  assert.ok(!rkt.containers().includes(uuid));
});
