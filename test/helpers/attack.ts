/** The program of hostile apps: test/fixtures/attack.c, without libraries. */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Compiles it to a file of this name in a directory. */
export function compileAttack(directory: string): Buffer {
  const program = join(directory, "attack");
  execFileSync("gcc", ["-static", "-O1", "-o", program, join(import.meta.dirname, "../fixtures/attack.c")]);
  return readFileSync(program);
}
