import assert from "node:assert/strict";
import { test } from "node:test";
import { connectionShare } from "./connections.ts";

const GIB = 2 ** 30;
for (const [max, memory, share] of [
  ["262144\n", GIB, 16_384],
  ["1000000\n", GIB, 62_500],
  ["100\n", GIB, 16],
  // The kernel has no table yet.
  [undefined, 2 * GIB, 4096],
  [undefined, 64 * GIB, 16_384],
] as const)
  test(`of a table of ${max?.trim() ?? `the kernel's choice for ${memory / GIB} GiB`}: ${share}`, () =>
    assert.equal(connectionShare(max, memory), share));
