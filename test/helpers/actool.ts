/** The spec's own validator, 0.8.11. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Whether `actool validate` takes a manifest. `refusal` is what it must have said of one that it does not take. */
export function actoolAccepts(text: string, refusal: RegExp = /(?:)/): boolean {
  const directory = mkdtempSync(join(tmpdir(), "rkt-actool-"));
  try {
    const file = join(directory, "manifest.json");
    writeFileSync(file, text);
    const { error, status, stderr } = spawnSync("actool", ["validate", file], { encoding: "utf8" });
    if (error !== undefined) throw error;
    if (status !== 0) assert.match(stderr, refusal);
    return status === 0;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
