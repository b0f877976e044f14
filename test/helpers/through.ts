import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";

/** What another program makes of `input`. */
export function through(program: string, args: readonly string[], input: Buffer): Buffer {
  const done = spawnSync(program, args, { input, maxBuffer: 1 << 28 });
  assert.equal(done.status, 0, done.stderr.toString());
  return done.stdout;
}
