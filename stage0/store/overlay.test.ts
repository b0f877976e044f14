import assert from "node:assert/strict";
import { closeSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { errorCode } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { makeStoreDirectories } from "../host/data-directory.ts";
import { mountThenDetach, overlay } from "./overlay.ts";

function directories(t: TestContext, ...names: string[]): { data: string; paths: string[] } {
  const base = mkdtempSync(join(tmpdir(), "rkt-overlay-"));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  const data = join(base, "data");
  makeStoreDirectories(data);
  const paths = names.map((name) => join(base, name));
  for (const path of paths) {
    mkdirSync(path);
    writeFileSync(join(path, path.slice(base.length + 1)), "");
    writeFileSync(join(path, "same"), path.slice(base.length + 1));
  }
  return { data, paths };
}

const at = (fd: number): string => `/proc/self/fd/${fd}/.`;

test("several directories are one, which cannot be written", (t) => {
  const { data, paths } = directories(t, "a", "b,c", "d:e");
  const fd = overlay(dataLayout(data), paths);
  try {
    assert.deepEqual(readdirSync(at(fd)).sort(), ["a", "b,c", "d:e", "same"]);
    assert.equal(readFileSync(`${at(fd)}/same`, "utf8"), "d:e");
    assert.throws(() => writeFileSync(`${at(fd)}/new`, ""), (error) => errorCode(error) === "EROFS");
  } finally {
    closeSync(fd);
  }
  assert.doesNotMatch(readFileSync("/proc/self/mountinfo", "utf8"), /rkt-overlay-/);
});

test("one directory is itself", (t) => {
  const { data, paths } = directories(t, "a");
  const fd = overlay(dataLayout(data), paths);
  assert.deepEqual(readdirSync(at(fd)).sort(), ["a", "same"]);
  closeSync(fd);
});

test("what is written goes to the upper directory, and a removal leaves a whiteout there", (t) => {
  const { data, paths } = directories(t, "a", "b", "upper", "work");
  const [a = "", b = "", upper = "", work = ""] = paths;
  const fd = overlay(dataLayout(data), [a, b], { upper, work });
  rmSync(`${at(fd)}/a`);
  writeFileSync(`${at(fd)}/new`, "new");
  closeSync(fd);
  assert.equal(readFileSync(join(upper, "new"), "utf8"), "new");
  assert.ok(lstatSync(join(upper, "a")).isCharacterDevice());
});

test("a kernel without `lowerdir+` mounts and detaches, and leaves no mount", (t) => {
  const { data, paths } = directories(t, "a", "b");
  const fd = mountThenDetach(dataLayout(data), paths.toReversed(), [], true);
  try {
    assert.deepEqual(readdirSync(at(fd)).sort(), ["a", "b", "same"]);
    assert.equal(readFileSync(`${at(fd)}/same`, "utf8"), "b");
  } finally {
    closeSync(fd);
  }
  assert.doesNotMatch(readFileSync("/proc/self/mountinfo", "utf8"), /rkt-overlay-/);
  assert.deepEqual(readdirSync(dataLayout(data).tmp), []);
});
