/** A container's directory moves from state to state; who reads there meanwhile reads it where it is. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createContainer, findContainer, readWhereItIs, transition } from "./lifecycle.ts";

const UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

function prepared(t: TestContext) {
  const data = mkdtempSync(join(tmpdir(), "rkt-lifecycle-"));
  t.after(() => rmSync(data, { recursive: true }));
  const container = transition(data, createContainer(data, UUID), "prepared");
  t.after(() => container.lock.close());
  writeFileSync(join(container.dir, "file"), "text");
  return { data, container };
}

test("a container that is renamed between being found and being read", (t) => {
  const { data, container } = prepared(t);
  const found = findContainer(data, UUID);
  transition(data, container, "run");
  let times = 0;
  const read = readWhereItIs(data, found, ({ dir }) => {
    times++;
    return readFileSync(join(dir, "file"), "utf8");
  });
  assert.deepEqual([read, times], ["text", 2]);
});

test("an error of a container that stays is its error", (t) => {
  const { data, container } = prepared(t);
  const nothing = () => readWhereItIs(data, container, ({ dir }) => readFileSync(join(dir, "nothing")));
  assert.throws(nothing, { code: "ENOENT" });
});

test("a container that is removed meanwhile is none", (t) => {
  const { data, container } = prepared(t);
  rmSync(container.dir, { recursive: true });
  const removed = () => readWhereItIs(data, container, ({ dir }) => readFileSync(join(dir, "file")));
  assert.throws(removed, { code: "no-such-container" });
});
