import assert from "node:assert/strict";
import { closeSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import type { Entry } from "../../test/fixtures/aci.ts";
import { bring, ociImage, treeFacts, umociUnpack, writeLayout } from "../../test/helpers/oci.ts";
import { makeRkt, requires } from "../../test/helpers/rkt.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { openStore, type Store, type StoredImage } from "./store.ts";
import { openTree } from "./tree-directories.ts";

/** What the store has for a container of the image. */
async function storedFacts(store: Store, data: string, image: StoredImage, merged: boolean): Promise<string> {
  const { id } = await store.render(image.key, "none", { merged });
  const fd = await openTree(dataLayout(data), id);
  try {
    return treeFacts(`/proc/${process.pid}/fd/${fd}/.`);
  } finally {
    closeSync(fd);
  }
}

const dir = (name: string, over: Partial<Entry> = {}): Entry => ({ name, type: "5", mtime: 1_000_000_000, ...over });
const file = (name: string, data = name, over: Partial<Entry> = {}): Entry => ({ name, data, mtime: 1_100_000_000, ...over });

test("an image of two layers is what umoci unpacks, stacked and merged", async (t) => {
  const { store, dir: base, data } = scratch(t, openStore);
  const image = ociImage(
    [
      [dir("etc", { mode: 0o750, uid: 3 }), file("etc/passwd"), file("etc/old"), dir("var"), dir("var/log"), file("var/log/a")],
      [file("etc/new"), file("etc/.wh.old", ""), dir("var"), file("var/.wh.log", "")],
    ],
  );
  writeLayout(join(base, "layout"), image);
  const wanted = treeFacts(umociUnpack(join(base, "layout"), join(base, "bundle")));
  const stored = await bring(store, image);
  assert.equal(await storedFacts(store, data, stored, false), wanted);
  assert.equal(await storedFacts(store, data, stored, true), wanted);
  assert.deepEqual(readdirSync(dataLayout(data).tmp), []);
});

test("an image of layers runs", async (t: TestContext) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  // The default stage1 comes into the store.
  rkt.ok(["prepare", "--quiet", join(import.meta.dirname, "../../dist/examples/busybox.aci")]);
  const { readFileSync } = await import("node:fs");
  const image = ociImage(
    [
      [dir("bin"), file("bin/busybox", "", { data: readFileSync("/bin/busybox"), mode: 0o755 }), file("greeting", "one\n"), file("gone")],
      [file("greeting", "two\n"), file(".wh.gone", "")],
    ],
    { config: { Entrypoint: ["/bin/busybox"], Cmd: ["cat", "/greeting"], Env: ["A=1"] } },
  );
  const store = openStore(rkt.dir);
  const { id } = await bring(store, image, "example.com/oci", 1 << 20);
  store.close();
  assert.match(rkt.ok(["run", id]).stdout, /two/);
  assert.match(rkt.ok(["run", "--no-overlay", id]).stdout, /two/);
  assert.ok(existsSync(join(rkt.dir, "cas/layer/tree")));
});
