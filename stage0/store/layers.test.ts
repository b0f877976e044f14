import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { type Entry, makeAci, manifest } from "../../test/fixtures/aci.ts";
import { randomFrom } from "../../test/helpers/random.ts";
import { LAYER_LIMITS, type Layer, type LayerOrder, layersOf, type LayerSource } from "./layers.ts";
import { openStore } from "./store.ts";
import { extractOrder } from "./trees.ts";

interface Image {
  on?: readonly string[];
  whitelist?: readonly string[];
}

/** Images by name, which is their key, too. */
function graph(images: Readonly<Record<string, Image>>): LayerSource {
  return {
    manifest: (key) => parseImageManifest(imageManifest(key, images[key] ?? {})),
    dependency: (_, { imageName }) => imageName.replace("example.com/", ""),
  };
}

const imageManifest = (name: string, { on = [], whitelist = [] }: Image): string =>
  manifest({
    name: `example.com/${name}`,
    dependencies: on.map((other) => ({ imageName: `example.com/${other}` })),
    pathWhitelist: whitelist,
  });

const shown = (layers: readonly Layer[]): string => layers.map(({ key }) => key).join(" ");

test("the specification's order, and each layer at its last time", () => {
  const cases: [images: Record<string, Image>, all: string, layers: string][] = [
    [{ a: {} }, "a", "a"],
    [{ a: { on: ["b", "c"] }, b: {}, c: { on: ["d"] }, d: {} }, "b d c a", "b d c a"],
    [{ a: { on: ["b", "c"] }, b: { on: ["d"] }, c: { on: ["d"] }, d: {} }, "d b d c a", "b d c a"],
    [{ a: { on: ["b", "b"] }, b: { on: ["c", "c"] }, c: {} }, "c c b c c b a", "c b a"],
    // Once with c's whitelist, once without: two layers.
    [{ a: { on: ["b", "c"] }, b: {}, c: { on: ["b"], whitelist: ["/x"] } }, "b b c a", "b b c a"],
    [{ a: { on: ["b", "c", "b"] }, b: {}, c: { on: ["b"], whitelist: ["/x"] } }, "b b c b a", "b c b a"],
  ];
  for (const [images, all, layers] of cases) {
    const order = layersOf("a", graph(images));
    assert.deepEqual([shown(order.all()), shown(order.layers)], [all, layers]);
    assert.equal(order.shortened, all !== layers);
  }
});

test("a row of images, each twice on the next, is as long as the row", () => {
  const names = Array.from({ length: 60 }, (_, i) => `i${i}`);
  const row = Object.fromEntries(
    names.map((name, i) => [name, i < 59 ? { on: [`i${i + 1}`, `i${i + 1}`] } : {}] as const),
  );
  const order = layersOf("i0", graph(row));
  assert.equal(shown(order.layers), names.toReversed().join(" "));
  assert.throws(() => order.all(), { code: "too-many-layers" });
});

test("too deep, too many, too long: an error each", () => {
  const deep = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`i${i}`, { on: [`i${i + 1}`] }]));
  assert.throws(() => layersOf("i0", graph(deep)), { code: "dependency-depth" });
  assert.throws(() => layersOf("a", graph({ a: { on: ["b"] }, b: { on: ["a"] } })), { code: "dependency-cycle" });
  // Whitelists of their own make each way to the last image another one.
  const ways: Record<string, Image> = {};
  for (let i = 0; i < 16; i++) {
    for (const side of ["l", "r"])
      ways[`${side}${i}`] = { on: [`l${i + 1}`, `r${i + 1}`], whitelist: [`/${side}${i}`] };
  }
  assert.throws(() => layersOf("l0", graph(ways)), { code: "too-many-layers" });
  const wide = { a: { on: Array.from({ length: 1024 }, (_, i) => `i${i}`) } };
  assert.throws(() => layersOf("a", graph(wide)), { code: "too-many-layers" });
  const long = { a: { whitelist: Array.from({ length: 100 }, (_, i) => `/${i}${"/d".repeat(1000)}`) } };
  assert.throws(() => layersOf("a", graph(long), { ...LAYER_LIMITS, whitelistBytes: 1_000_000 }), {
    code: "too-many-layers",
  });
});

/** Numbers below n, the same ones for the same seed. */
function random(seed: number): (n: number) => number {
  const next = randomFrom(seed);
  return (n) => Math.floor(next() * n);
}

const PATHS = ["a", "a/b", "a/b/c", "a/d", "e", "f"];

/** Files, directories and links over one another's places; a hard link may be to what another image has laid. */
function entries(name: string, pick: (n: number) => number): Entry[] {
  const made: Entry[] = [];
  const closed: string[] = [];
  for (const path of PATHS) {
    if (pick(2) === 0 || closed.some((above) => path.startsWith(`${above}/`))) continue;
    const at = `rootfs/${path}`;
    const kind = pick(6);
    if (kind < 2) made.push({ name: at, type: "5", mode: 0o700 + pick(8) });
    else closed.push(path);
    if (kind === 2 || kind === 3) made.push({ name: at, data: `${name}:${path}` });
    else if (kind === 4) made.push({ name: at, type: "2", link: name });
    else if (kind === 5) {
      const target = PATHS[pick(PATHS.length)] ?? "e";
      const own = made.some((one) => one.name === `rootfs/${target}` && one.type !== "5");
      if (target !== path && (own || pick(4) === 0)) made.push({ name: at, type: "1", link: `rootfs/${target}` });
    }
  }
  return made;
}

const described = (root: string): string =>
  spawnSync(
    "sh",
    [
      "-c",
      "find . -printf '%p %y %#m %n %l %T@\\n' | sort; find . -type f | sort | xargs -r sha256sum; ls -iR | sort | awk '{print $1}' | uniq -c | awk '{print $1}' | sort",
    ],
    { cwd: root, encoding: "utf8" },
  ).stdout;

test("random images on one another: the tree is that of the whole order", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-layers-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const seen = { shortened: 0, refused: 0 };
  for (let seed = 1; seed <= 40; seed++) {
    const pick = random(seed);
    const data = join(dir, String(seed));
    const store = openStore(data);
    let key = "";
    for (let i = 4; i >= 0; i--) {
      const on = i === 4 ? [] : Array.from({ length: 1 + pick(3) }, () => `i${i + 1 + pick(4 - i)}`);
      const whitelist = pick(4) === 0 ? PATHS.filter(() => pick(2) === 0).map((path) => `/${path}`) : [];
      const file = join(dir, `${seed}-${i}.aci`);
      writeFileSync(file, makeAci(entries(`i${i}`, pick), imageManifest(`i${i}`, { on, whitelist })));
      key = (await store.importFile(file)).key;
    }
    const order = layersOf(key, store.treeSource("none"));
    const naive: LayerOrder = { ...order, layers: order.all(), shortened: false };
    const results = [];
    for (const one of [order, naive]) {
      const root = join(dir, `${seed}-${results.length}`);
      const error = await extractOrder(dataLayout(data), one, { mustCheck: () => true, oci: () => undefined }, root).then(
        () => "",
        (error: Error) => error.message,
      );
      results.push(error || described(root));
      if (error !== "") seen.refused++;
    }
    assert.equal(results[0], results[1], `seed ${seed}: ${shown(order.layers)} for ${shown(naive.layers)}`);
    if (order.shortened) seen.shortened++;
    store.close();
  }
  assert.ok(seen.shortened > 20, JSON.stringify(seen));
  assert.ok(seen.refused < 40, JSON.stringify(seen));
  t.diagnostic(JSON.stringify(seen));
});

test("a hard link to what another image has laid: there each time counts", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-layers-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const store = openStore(join(dir, "data"), { provenance: "given" });
  const images: [name: string, image: Image, entries: Entry[]][] = [
    ["low", {}, [{ name: "rootfs/file", data: "low" }]],
    ["link", {}, [{ name: "rootfs/link", type: "1", link: "rootfs/file" }]],
    ["top", { on: ["low", "link", "low"] }, []],
  ];
  let key = "";
  for (const [name, image, entries] of images) {
    writeFileSync(join(dir, name), makeAci(entries, imageManifest(name, image)));
    key = (await store.importFile(join(dir, name))).key;
  }
  const { rootfs } = await store.render(key);
  assert.equal(readFileSync(join(rootfs, "link"), "utf8"), "low");
  assert.equal(statSync(join(rootfs, "link")).nlink, 1, "the first time's file, which the second has replaced");
  store.close();
});
