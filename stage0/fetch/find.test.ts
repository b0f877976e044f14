import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import type { Provenance } from "../store/provenance.ts";
import type { Store, StoredImage } from "../store/store.ts";
import { bestOf, candidatesOf } from "../store/best-image.ts";
import type { NamedExpectation } from "../store/expectation.ts";
import { findImages, type ImageFinder, type WantedImage } from "./find.ts";
import { parseImageReference } from "./sources.ts";

const dir = mkdtempSync(join(tmpdir(), "rkt-find-"));
test.after(() => rmSync(dir, { recursive: true }));

const stored = (name: string, version: string, importedAt: number): StoredImage => ({
  id: `sha512-${"0".repeat(120)}${String(importedAt).padStart(8, "0")}`,
  key: `sha512-${"0".repeat(64)}`,
  name,
  labels: [{ name: "version", value: version }],
  size: 1,
  importedAt,
  lastUsedAt: importedAt,
  provenance: "given",
});
const old = stored("example.com/a", "1", 1);
const young = stored("example.com/a", "2", 3);
const storeOf = (images: StoredImage[]): Store => ({ ...store, best: bestIn(images) });
const bestIn = (images: StoredImage[]) => (expected: NamedExpectation, least: Provenance) =>
  bestOf(candidatesOf(images, expected, String), expected, least);
const store = {
  best: bestIn([old, young, stored("example.com/b", "2", 9)]),
  resolve: (prefix: string) => {
    throw new RktError("no-such-image", prefix);
  },
  importFile: async (path: string) => ({ ...old, name: path }),
  manifest: () => ({ dependencies: [] }),
} as unknown as Store;
const NETWORK = new Error("the network is opened");
const finder = (over: Partial<ImageFinder> = {}): ImageFinder => ({
  store,
  pullPolicy: "new",
  insecure: new Set(),
  network: () => Promise.reject(NETWORK),
  ...over,
});
async function find(
  text: string,
  over?: Partial<ImageFinder>,
  wanted: Partial<WantedImage> = {},
): Promise<StoredImage> {
  const [image] = await findImages([{ reference: parseImageReference(text), ...wanted }], finder(over));
  assert.ok(image !== undefined);
  return image;
}

test("find: a file is imported, a name is the youngest image that fits", async () => {
  assert.equal((await find("./x")).name, "./x");
  assert.equal(await find("example.com/a"), young);
  assert.equal(await find("example.com/a:1"), old);
  await assert.rejects(find("sha512-abcd"), { code: "no-such-image", message: "sha512-abcd" });
});

test("find: one in the store that serves as well", async () => {
  const wanted = (version: string) => ({ name: "example.com/a", labels: [{ name: "version", value: version }] });
  assert.equal(await find("./x", {}, { stored: wanted("1") }), old);
  const three = stored("example.com/a", "3", 7);
  const importing = { store: { ...store, importFile: async () => three } };
  assert.equal(await find("./x", importing, { stored: wanted("3") }), three);
  await assert.rejects(find("./x", importing, { stored: wanted("4") }), {
    code: "wrong-image",
    message: /the location of example\.com\/a:4 is another: its manifest's label version is "3"$/,
  });
});

test("find: by name, who vouches for an image comes before when it came", async () => {
  const verified: StoredImage = { ...old, provenance: "verified" };
  const stranger: StoredImage = { ...stored("example.com/a", "3", 5), provenance: "none" };
  const by = async (images: StoredImage[], over: Partial<ImageFinder>, least?: Provenance) => {
    const wanted = [{ reference: parseImageReference("example.com/a") }];
    const found = await findImages(wanted, finder({ store: storeOf(images), ...over }), least);
    return found[0];
  };
  const insecure = { insecure: new Set(["image"] as const) };
  assert.equal(await by([verified, young, stranger], {}), verified);
  assert.equal(await by([verified, young, stranger], insecure), verified);
  assert.equal(await by([young, stranger], {}), young);
  await assert.rejects(by([stranger], {}), NETWORK);
  assert.equal(await by([stranger], insecure), stranger);
  for (const over of [{}, insecure]) {
    assert.equal(await by([verified, young], over, "verified"), verified);
    await assert.rejects(by([young, stranger], over, "verified"), NETWORK);
  }
});

const signed = join(dir, "signed.aci");
writeFileSync(signed, "");
writeFileSync(`${signed}.asc`, "");
const remote: [name: string, text: string, over?: Partial<ImageFinder>, wanted?: Partial<WantedImage>][] = [
  ["a URL", "https://h/x.aci"],
  ["a name that the store has not", "example.com/c"],
  ["a name, when there may be something newer", "example.com/a", { pullPolicy: "update" }],
  ["a name with a signature", "example.com/a", {}, { signature: "/s" }],
  ["a file with a signature beside it", signed],
  ["a file whose signature was given", "./x", {}, { signature: "/s" }],
];
for (const [name, text, over, wanted] of remote)
  test(`find: takes more than the store: ${name}`, async () => {
    await assert.rejects(find(text, over, wanted), NETWORK);
  });

test("find: a signature does not count where none is asked for", async () => {
  assert.equal((await find(signed, { insecure: new Set(["image"]) })).name, signed);
});

test("find: an image in the store with dependencies needs those too", async () => {
  const dependent = { ...store, manifest: () => ({ dependencies: [{ imageName: "example.com/d", labels: [] }] }) };
  await assert.rejects(find("example.com/a", { store: dependent as unknown as Store }), NETWORK);
});
