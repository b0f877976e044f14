import assert from "node:assert/strict";
import { test } from "node:test";
import { makeAci, manifest, rootfs } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { openStore } from "./store.ts";

test("a dependency by name: of two for different machines the one for this, whichever came last", async (t) => {
  const { store, file } = scratch(t, (data) => openStore(data, { provenance: "given" }));
  const labels = (arch: string) => [
    { name: "os", value: "linux" },
    { name: "arch", value: arch },
  ];
  const imported = async (arch: string) =>
    store.importFile(file(`${arch}.aci`, makeAci([rootfs], manifest({ name: "a.b/base", labels: labels(arch) }))));
  const here = await imported(process.arch === "x64" ? "amd64" : "aarch64");
  const now = Date.now();
  while (Date.now() === now);
  const elsewhere = await imported("s390x");
  const dependency = { imageName: "a.b/base", labels: [], imageID: undefined, size: undefined };
  const of = store.manifest(here.key);
  assert.equal(store.dependency(of, dependency, "given").key, here.key);
  const asked = { ...dependency, labels: labels("s390x") };
  assert.equal(store.dependency(of, asked, "given").key, elsewhere.key);
});

test("a hash: prefixes, unknown, ambiguous", async (t) => {
  const { store, file } = scratch(t, openStore);
  const images: string[] = [];
  for (let i = 0; i < 300; i++)
    images.push((await store.importFile(file(`${i}.aci`, makeAci([{ name: `rootfs/${i}` }])))).id);
  const [first = ""] = images;
  assert.equal(store.resolve(first).id, first);
  assert.equal(store.resolve(first.slice(0, 39)).id, first);
  assert.equal(store.resolve(first.slice("sha512-".length, 40)).id, first);
  assert.throws(() => store.resolve("sha512-0123456789"), /no image sha512-0123456789 in the store/);
  assert.throws(() => store.resolve("etcd"), /"etcd" is no image hash/);
  const twice = images.map((id) => id.slice(0, 9)).find((prefix, i, all) => all.indexOf(prefix) !== i);
  assert.ok(twice !== undefined, "of 300 images two share a byte");
  assert.throws(() => store.resolve(twice), /is ambiguous: sha512-[0-9a-f]{32}, sha512-/);
});

test("an image that was found by its name stays while the store is open; a search in vain keeps nothing", async (t) => {
  const { store, data, file } = scratch(t, openStore);
  const importer = openStore(data);
  await importer.importFile(file("a.aci", makeAci([], manifest({ name: "example.com/a" }))));
  importer.close();
  const remover = openStore(data);
  t.after(() => remover.close());
  const waits = new Error("it has to wait");
  const removal = () =>
    remover.exclusively(
      () => {
        throw waits;
      },
      () => "free",
    );
  const best = (name: string) => store.best({ asked: { name, labels: [] } }, "none");
  assert.equal(best("example.com/b"), undefined);
  assert.equal(removal(), "free");
  assert.equal(best("example.com/a")?.name, "example.com/a");
  assert.throws(removal, waits);
});
