import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import type { Provenance } from "../store/provenance.ts";
import type { Store, StoredImage } from "../store/store.ts";
import type { Stage1Settings } from "../config/settings.ts";
import { findImages, type ImageFinder, type WantedImage, wantedStage1 } from "./find.ts";
import { parseImageReference } from "../store/image-name.ts";

const dir = mkdtempSync(join(tmpdir(), "rkt-find-"));
test.after(() => rmSync(dir, { recursive: true }));
writeFileSync(join(dir, "stage1-nspawn.aci"), "");
writeFileSync(join(dir, "stage1-other.aci"), "");

const configured = mkdtempSync(join(dir, "configured-"));
writeFileSync(join(configured, "stage1-nspawn.aci"), "");
const nowhere = join(dir, "nowhere");
const references: {
  name: string;
  request: Parameters<typeof wantedStage1>[0];
  settings?: Stage1Settings;
  is: unknown;
  stored?: unknown;
}[] = [
  { name: "the default", request: undefined, is: { kind: "file", path: join(dir, "stage1-nspawn.aci") } },
  {
    name: "from the directories",
    request: { by: "from-dir", text: "stage1-other.aci" },
    is: { kind: "file", path: join(dir, "stage1-other.aci") },
  },
  {
    name: "a path that looks like a name",
    request: { by: "path", text: "stage1" },
    is: { kind: "file", path: "stage1" },
  },
  { name: "a hash", request: { by: "hash", text: "sha512-abcd" }, is: { kind: "hash", hash: "sha512-abcd" } },
  { name: "a file's URL", request: { by: "url", text: "file:///x.aci" }, is: { kind: "file", path: "/x.aci" } },
  {
    name: "a URL",
    request: { by: "url", text: "https://h/x.aci" },
    is: { kind: "url", url: new URL("https://h/x.aci") },
  },
  {
    name: "a name",
    request: { by: "name", text: "coreos.com/rkt/stage1:1" },
    is: { kind: "name", name: "coreos.com/rkt/stage1", labels: [{ name: "version", value: "1" }] },
  },
  { name: "anything", request: { by: "image", text: "./x" }, is: { kind: "file", path: "./x" } },
  {
    name: "the default, from the configured directory",
    request: undefined,
    settings: { images: configured },
    is: { kind: "file", path: join(configured, "stage1-nspawn.aci") },
  },
  {
    name: "a configured location",
    request: undefined,
    settings: { location: "https://h/s.aci" },
    is: { kind: "url", url: new URL("https://h/s.aci") },
    stored: undefined,
  },
  {
    name: "a configured name, and a location for when the store has none",
    request: undefined,
    settings: { name: "example.com/stage1", version: "2", location: "/s.aci" },
    is: { kind: "file", path: "/s.aci" },
    stored: { name: "example.com/stage1", labels: [{ name: "version", value: "2" }] },
  },
  {
    name: "a configured name alone",
    request: undefined,
    settings: { name: "example.com/stage1", version: "2" },
    is: { kind: "name", name: "example.com/stage1", labels: [{ name: "version", value: "2" }] },
    stored: { name: "example.com/stage1", labels: [{ name: "version", value: "2" }] },
  },
  {
    name: "an option before what is configured",
    request: { by: "path", text: "stage1" },
    settings: { name: "example.com/stage1", version: "2", location: "/s.aci" },
    is: { kind: "file", path: "stage1" },
  },
];

for (const { name, request, settings, is, stored } of references)
  test(`stage1 image: ${name}`, () => {
    const wanted = wantedStage1(request, dir, settings);
    assert.deepEqual(wanted.reference, is);
    assert.deepEqual(wanted.stored, stored);
  });

test("stage1 image: not there", () => {
  assert.throws(() => wantedStage1(undefined, nowhere), {
    code: "no-stage1",
    message: `there is no stage1 image stage1-nspawn.aci: looked in ${nowhere}, /usr/lib/rkt/stage1-images, /usr/local/lib/rkt/stage1-images`,
  });
});

test("stage1 image: an option that says hash takes no file", () => {
  assert.throws(() => wantedStage1({ by: "hash", text: "./x.aci" }, dir), {
    code: "usage",
    message: '--stage1-hash "./x.aci" is a file',
  });
});

// --- images ---------------------------------------------------------------------------------

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
const store = {
  list: () => [old, young, stored("example.com/b", "2", 9)],
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
    const found = await findImages(wanted, finder({ store: { ...store, list: () => images }, ...over }), least);
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
