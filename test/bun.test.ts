/**
 * The unit tests on the runtime that ships, where it matters which one it is: system calls, files, sockets, zlib, HTTP.
 * Everything else runs them on Node.js, and the executables as a whole.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { ROOT, RUNTIME_PACKAGE } from "../build/paths.ts";
import { requires } from "./helpers/rkt.ts";

const bun = join(ROOT, "node_modules", RUNTIME_PACKAGE, "bin/bun");

/** The least number of tests that each part has. */
const PARTS = [
  ["shared", 900],
  ["stage1", 90],
  ["stage2", 100],
  ["stage0/archive", 200],
  ["stage0/fetch", 300],
  ["stage0/host", 15],
  ["stage0/metadata", 50],
  ["stage0/trust", 20],
] as const;

for (const [part, least] of PARTS)
  test(`unit tests on Bun: ${part}`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const argv = ["test", "--timeout=120000", `./${part}/`];
    const done = await promisify(execFile)(bun, argv, { cwd: ROOT, maxBuffer: 1 << 28 }).catch((error) => error);
    const failures = done.stderr.split("\n").filter((line: string) => line.startsWith("(fail)"));
    assert.deepEqual(failures, [], done.stderr);
    assert.equal(done.code, undefined, done.stderr);
    const passed = Number(/^ *(\d+) pass$/m.exec(done.stderr)?.[1]);
    assert.ok(passed >= least, `${passed} have passed`);
  });
