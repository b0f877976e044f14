import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { type DataLayout, dataLayout } from "../../shared/contract/data-directory.ts";
import { blobKey } from "../../shared/contract/image-ids.ts";
import { blobDamage, openBlob } from "./blob.ts";

const MIB = 1024 ** 2;

/** A store with one blob of random bytes. */
function storeOf(t: TestContext, bytes: number): { layout: DataLayout; key: string; path: string; content: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), "rkt-blob-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const layout = dataLayout(directory);
  const content = randomBytes(bytes);
  const key = blobKey(`sha512-${createHash("sha512").update(content).digest("hex")}`);
  const path = layout.blob(key);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return { layout, key, path, content };
}

// Those of 8 MiB and more are hashed by another thread.
for (const [name, bytes] of [
  ["empty", 0],
  ["small", 100_000],
  ["the smallest that a thread hashes", 8 * MIB],
  ["the end of a chunk one byte before the end of the blob", 9 * MIB + 1],
  ["big", 20 * MIB - 1],
] as const) {
  test(`a blob, ${name}: its bytes in their order, and its hash`, async (t) => {
    const { layout, key, content } = storeOf(t, bytes);
    for (const check of [true, false]) {
      const blob = await openBlob(layout, key, check);
      let at = 0;
      for await (const chunk of blob.chunks()) {
        assert.ok(content.subarray(at, at + chunk.length).equals(chunk), `at ${at}`);
        at += chunk.length;
      }
      assert.equal(at, bytes);
      await blob.verify();
      await blob.close();
    }
  });

  test(`a blob, ${name}, changed in its last byte: refused, unless nobody asks`, async (t) => {
    const { layout, key, path, content } = storeOf(t, bytes);
    if (bytes === 0) writeFileSync(path, "x");
    else writeFileSync(path, Buffer.concat([content.subarray(0, -1), Buffer.from([(content.at(-1) ?? 0) ^ 1])]));
    for (const read of [0, 1, Number.POSITIVE_INFINITY]) {
      const blob = await openBlob(layout, key, true);
      let chunks = 0;
      if (read > 0) for await (const _ of blob.chunks()) if (++chunks >= read) break;
      await assert.rejects(blob.verify(), { code: "damaged-image", message: /its blob has the hash sha512-/ });
      await blob.close();
    }
    const unchecked = await openBlob(layout, key, false);
    await unchecked.verify();
    await unchecked.close();
  });
}

test("a chunk stays as it is until the next one is asked for, however long that takes", async (t) => {
  const { layout, key, content } = storeOf(t, 10 * MIB);
  const blob = await openBlob(layout, key, true);
  let at = 0;
  for await (const chunk of blob.chunks()) {
    if (at < MIB) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(content.subarray(at, at + chunk.length).equals(chunk), `at ${at}`);
    at += chunk.length;
  }
  await blob.verify();
  await blob.close();
});

test("a reader that is closed half-way leaves no thread behind", async (t) => {
  const { layout, key } = storeOf(t, 10 * MIB);
  const blob = await openBlob(layout, key, true);
  for await (const _ of blob.chunks()) break;
  await blob.close();
});

test("what is wrong with a blob: nothing, shortened, not there", async (t) => {
  const { layout, key, path } = storeOf(t, 10 * MIB);
  assert.equal(await blobDamage(layout, key), undefined);
  truncateSync(path, 9 * MIB);
  assert.match((await blobDamage(layout, key))?.message ?? "", /its blob has the hash/);
  rmSync(path);
  assert.match((await blobDamage(layout, key))?.message ?? "", /its blob is not there/);
});
