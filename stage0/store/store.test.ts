import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { openStore } from "./store.ts";

test("a lost or damaged index is made again from the blobs", async (t) => {
  const { store, data, file } = scratch(t, openStore);
  const image = await store.importFile(file("a.aci", makeAci()));
  store.close();
  for (const damage of [
    (path: string) => rmSync(path),
    (path: string) => writeFileSync(path, "no database".repeat(100)),
  ]) {
    for (const suffix of ["-wal", "-shm"]) rmSync(join(data, `cas/index.sqlite${suffix}`), { force: true });
    damage(join(data, "cas/index.sqlite"));
    const again = openStore(data);
    assert.equal(again.resolve(image.key).id, image.id);
    assert.equal(again.manifest(image.key).name, "example.com/test");
    again.close();
  }
});
