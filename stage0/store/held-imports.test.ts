import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { makeAci } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { openStore } from "./store.ts";

test("held back, an import is in the store when it is released, and forgotten when not", async (t) => {
  const { data, file } = scratch(t, openStore);
  const path = file("image.aci", makeAci());
  const temporaries = () => readdirSync(join(data, "cas/tmp"));
  const hasty = openStore(data, { hold: true });
  const { key } = await hasty.importFile(path);
  assert.equal(hasty.manifest(key).name, "example.com/test");
  assert.deepEqual(
    [hasty.list(), [hasty.resolve(key.slice(0, 20))]].map(([image]) => image?.key),
    [key, key],
  );
  const other = openStore(data);
  t.after(() => other.close());
  assert.deepEqual(other.list(), []);
  assert.throws(() => other.resolve(key), { code: "no-such-image" });
  hasty.close();
  assert.deepEqual(temporaries(), []);
  assert.ok(!existsSync(dataLayout(data).blob(key)));

  const store = openStore(data, { hold: true });
  const image = await store.importFile(path);
  assert.equal(await store.importFile(path), image, "read once");
  assert.equal(temporaries().length, 1);
  await store.release();
  assert.deepEqual(
    store.list().map((one) => one.key),
    [key],
  );
  await store.render(key);
  store.close();
  assert.deepEqual(temporaries(), []);
});

test("held back, images are released one by one; the same one twice is one", async (t) => {
  const { data, file } = scratch(t, openStore);
  const store = openStore(data, { hold: true });
  t.after(() => store.close());
  const one = await store.importFile(file("one.aci", makeAci()));
  const two = await store.importFile(file("two.aci", makeAci([{ name: "rootfs/two" }])));
  const same = store.beginImport("one.aci");
  await same.write(makeAci());
  await same.finish();
  const url = "https://example.com/one.aci";
  assert.equal((await same.commit({ url, key: "", downloadedAt: 1 })).key, one.key);
  assert.equal(store.remote(url)?.key, one.key);
  const stored = () => {
    const other = openStore(data);
    const keys = other.list().map(({ key }) => key);
    const known = other.remote(url)?.key;
    other.close();
    return { keys: keys.sort(), known };
  };
  assert.deepEqual(stored(), { keys: [], known: undefined });
  await Promise.all([store.release(new Set([one.key])), store.release(new Set([one.key]))]);
  assert.deepEqual(stored(), { keys: [one.key], known: one.key });
  assert.equal(store.resolve(two.key).key, two.key);
  assert.equal((await store.importFile(file("again.aci", makeAci()))).key, one.key, "what is in the store is not held");
  await store.release();
  assert.deepEqual(stored().keys, [one.key, two.key].sort());
  assert.deepEqual(readdirSync(join(data, "cas/tmp")), []);
});
