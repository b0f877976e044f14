import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { gzip } from "./gzip.ts";

const MiB = 1 << 20;

/** Bytes that look random but are the same each time. */
function noise(length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) blocks.push(createHash("sha512").update(String(i)).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

async function compress(input: Buffer, options: { level?: number; parallel?: number } = {}, chunk = 70_001) {
  const chunks: Buffer[] = [];
  for (let at = 0; at < input.length; at += chunk) chunks.push(input.subarray(at, at + chunk));
  const output: Buffer[] = [];
  for await (const piece of gzip(chunks, options)) output.push(piece);
  return Buffer.concat(output);
}

const cases = [
  { name: "nothing", input: Buffer.alloc(0) },
  { name: "one byte", input: Buffer.from("x") },
  { name: "a block less one byte", input: noise(MiB - 1) },
  { name: "exactly one block", input: noise(MiB) },
  { name: "two and a half blocks, repeating over their borders", input: Buffer.alloc(2.5 * MiB, noise(30_000)) },
];

for (const c of cases)
  test(`${c.name}: gzip(1) and zlib read one member that holds it`, async () => {
    const compressed = await compress(c.input);
    assert.ok(gunzipSync(compressed).equals(c.input));
    assert.ok(execFileSync("gzip", ["-dc"], { input: compressed, maxBuffer: 1 << 26 }).equals(c.input));
  });

test("a block may refer to the one before", async () => {
  const compressed = await compress(Buffer.alloc(2 * MiB, noise(30_000)));
  assert.ok(compressed.length < 64_000, `${compressed.length} bytes`);
});

test("the output does not depend on the number of blocks at a time, nor on the input's pieces", async () => {
  const input = Buffer.alloc(3 * MiB + 17, noise(100_000));
  const one = await compress(input, { parallel: 1 }, 4096);
  assert.ok(one.equals(await compress(input, { parallel: 8 }, 999_983)));
});

test("what the input throws comes out", async () => {
  async function* broken(): AsyncGenerator<Buffer> {
    yield noise(3 * MiB);
    throw new Error("disk on fire");
  }
  await assert.rejects(async () => {
    for await (const _ of gzip(broken()));
  }, /disk on fire/);
});
