import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { findProgram } from "./program.ts";

const root = mkdtempSync(join(tmpdir(), "rkt-program-"));
after(() => rmSync(root, { recursive: true }));
for (const dir of ["first", "second", "third", "first/both"]) mkdirSync(join(root, dir), { recursive: true });
for (const [file, mode] of [
  ["second/both", 0o755],
  ["third/both", 0o755],
  ["first/data", 0o644],
  ["second/data", 0o755],
  ["third/text", 0o644],
] as const)
  writeFileSync(join(root, file), "#!/bin/sh\n", { mode });

const path = ["first", "missing", "second", "third"].map((dir) => join(root, dir)).join(":");

const found: { name: string; file: string; path: string; program: string }[] = [
  { name: "the first that is a file", file: "both", path, program: join(root, "second/both") },
  { name: "one that may not be executed is passed over", file: "data", path, program: join(root, "second/data") },
  { name: "a path is no name", file: "./both", path, program: "./both" },
  { name: "a path need not exist", file: "/no/such", path, program: "/no/such" },
];
for (const c of found)
  test(c.name, () => {
    assert.equal(findProgram(c.file, c.path), c.program);
  });

test("an empty component is the working directory", (t) => {
  const before = process.cwd();
  t.after(() => process.chdir(before));
  process.chdir(join(root, "second"));
  assert.equal(findProgram("both", "/nowhere:"), "./both");
});

const refused: { name: string; file: string; message: string }[] = [
  { name: "nothing found", file: "nothing", message: `cannot execute "nothing": not found in PATH (${path})` },
  {
    name: "found, but not executable",
    file: "text",
    message: `cannot execute "${join(root, "third/text")}": it is not executable (mode 0644)`,
  },
  { name: "no name at all", file: "", message: 'cannot execute "": not found in PATH' },
];
for (const c of refused)
  test(c.name, () => {
    assert.throws(
      () => findProgram(c.file, path),
      (error: Error) => {
        assert.ok(error.message.startsWith(c.message), error.message);
        assert.equal("exitCode" in error && error.exitCode, 203);
        return true;
      },
    );
  });
