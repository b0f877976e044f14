import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { writeWhole } from "./write-whole.ts";

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "rkt-write-whole-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test("a file is written whole, in the place of another", (t) => {
  const directory = scratch(t);
  const path = join(directory, "file");
  for (const text of ["one", "two"]) {
    writeWhole(path, text, 0o600);
    assert.equal(readFileSync(path, "utf8"), text);
  }
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(directory), ["file"]);
});

test("a file that cannot take its place leaves nothing behind", (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, "file/full"), { recursive: true });
  assert.throws(() => writeWhole(join(directory, "file"), "text", 0o600), { code: "EISDIR" });
  assert.deepEqual(readdirSync(directory), ["file"]);
});
