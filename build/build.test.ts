import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { CACHE, ROOT } from "./paths.ts";

let checkout: string;

before(() => {
  checkout = mkdtempSync(join(tmpdir(), "rkt-build-"));
  for (const name of ["build", "shared", "examples", "package.json"])
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(checkout, "node_modules"));
  mkdirSync(join(checkout, ".cache"));
  mkdirSync(join(CACHE, "debian"), { recursive: true });
  symlinkSync(join(CACHE, "debian"), join(checkout, ".cache/debian"));
});

after(() => rmSync(checkout, { recursive: true, force: true }));

/** The lines about images: path to what was done. */
function build(...args: string[]): Record<string, string> {
  const run = spawnSync(process.execPath, ["--no-warnings", "build/build.ts", ...args], {
    cwd: checkout,
    encoding: "utf8",
  });
  assert.equal(run.status, 0, run.stderr);
  const lines = [
    ...run.stdout.matchAll(/^dist\/examples\/(\S+) +[\d.]+ MB +(unchanged|[\d.]+ s) +sha512-[0-9a-f]{32}$/gm),
  ];
  return Object.fromEntries(lines.map(([, name = "", did = ""]) => [name, did === "unchanged" ? "unchanged" : "made"]));
}

const BOTH = "--only=examples/hello-server,examples/hello-client";

test("what is current stays, what changed is made again", () => {
  const made = { "hello-client.aci": "made", "hello-server.aci": "made" };
  const unchanged = { "hello-client.aci": "unchanged", "hello-server.aci": "unchanged" };
  assert.deepEqual(build(BOTH), made);
  assert.deepEqual(build(BOTH), unchanged);
  assert.deepEqual(build(BOTH, "--force"), made);

  appendFileSync(join(checkout, "examples/hello-server/image.ts"), "// changed\n");
  assert.deepEqual(build(BOTH), { ...unchanged, "hello-server.aci": "made" });

  rmSync(join(checkout, "dist/examples/hello-client.aci"));
  assert.deepEqual(build(BOTH), { ...unchanged, "hello-client.aci": "made" });

  writeFileSync(join(checkout, "dist/examples/hello-client.aci"), "touched");
  assert.deepEqual(build(BOTH), { ...unchanged, "hello-client.aci": "made" });

  const state = join(checkout, "dist/.build.json");
  writeFileSync(state, readFileSync(state, "utf8").replaceAll(/("busybox-static": )"[^"]*"/g, '$1"1:0.1-1"'));
  assert.deepEqual(build(BOTH), made);

  appendFileSync(join(checkout, "shared/aci/writer.ts"), "// changed\n");
  assert.deepEqual(build(BOTH), made);
});

test("a name that is none", () => {
  const run = spawnSync(process.execPath, ["--no-warnings", "build/build.ts", "--only=etcd"], {
    cwd: checkout,
    encoding: "utf8",
  });
  assert.equal(run.status, 2);
  assert.match(
    run.stderr,
    /^build: nothing to build is called etcd\nhint: there is: rkt, stage1, stage1\/fly, examples\/busybox, /,
  );
});
