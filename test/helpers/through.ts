import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";

/** Runs a program with `input` on its standard input, and returns its output. */
export function through(program: string, args: readonly string[], input: Buffer): Buffer {
  const done = spawnSync(program, args, { input, maxBuffer: 1 << 28 });
  assert.equal(done.status, 0, done.stderr.toString());
  return done.stdout;
}
