import assert from "node:assert/strict";
import { test } from "node:test";
import { PathSet } from "./path-set.ts";

test("each path is new once, however many there are", () => {
  const set = new PathSet();
  const paths = Array.from({ length: 20_000 }, (_, i) => `rootfs/${i.toString(7)}\xff`);
  for (const path of paths) assert.ok(!set.has(path) && set.add(path), path);
  for (const path of paths) assert.ok(set.has(path) && !set.add(path), path);
  assert.ok(!set.has("rootfs") && !set.has(""));
});
