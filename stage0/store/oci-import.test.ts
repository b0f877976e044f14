import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { type Entry, makeAci, manifest, tar } from "../../test/fixtures/aci.ts";
import { dir, file, hard, symlink } from "../../test/fixtures/oci-images.ts";
import { bring, ociImage, ociManifest, sha256, treeFacts, umociUnpack, writeLayout } from "../../test/helpers/oci.ts";
import { makeRkt, requires } from "../../test/helpers/rkt.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { through } from "../../test/helpers/through.ts";
import { spend, storedBudget } from "./layer-reader.ts";
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

test("an image of two layers is what umoci unpacks, stacked and merged", async (t) => {
  const { store, dir: base, data } = scratch(t, openStore);
  const image = ociImage([
    [
      dir("etc", { mode: 0o750, uid: 3 }),
      file("etc/passwd"),
      file("etc/old"),
      dir("var"),
      dir("var/log"),
      file("var/log/a"),
    ],
    [file("etc/new"), file("etc/.wh.old", ""), dir("var"), file("var/.wh.log", "")],
  ]);
  writeLayout(join(base, "layout"), image);
  const wanted = treeFacts(umociUnpack(join(base, "layout"), join(base, "bundle")));
  const stored = await bring(store, image);
  assert.equal(await storedFacts(store, data, stored, false), wanted);
  assert.equal(await storedFacts(store, data, stored, true), wanted);
  assert.deepEqual(readdirSync(dataLayout(data).tmp), []);
});

const layerFiles = (data: string): { blobs: number; trees: number; temporaries: number } => {
  const layout = dataLayout(data);
  return {
    blobs: readdirSync(layout.layerBlobs).flatMap((group) => readdirSync(join(layout.layerBlobs, group))).length,
    trees: readdirSync(layout.layerTrees).length,
    temporaries: readdirSync(layout.tmp).length,
  };
};

const BASE: Entry[] = [dir("bin"), file("bin/sh"), file("base")];

test("layers that an image has in common with another one come once", async (t) => {
  const { store, data } = scratch(t, openStore);
  await bring(store, ociImage([BASE, [file("a")]]), "example.com/a");
  assert.deepEqual(layerFiles(data), { blobs: 2, trees: 2, temporaries: 0 });
  const second = store.beginOci("b");
  const image = ociImage([BASE, [file("b")], BASE]);
  const layers = await second.describe({ name: "example.com/b", reference: "docker://example.com/b", ...image });
  assert.deepEqual(
    layers.map(({ present }) => present),
    [true, false, true],
  );
  await second.abort();
  await bring(store, image, "example.com/b");
  assert.deepEqual(layerFiles(data), { blobs: 3, trees: 3, temporaries: 0 });
});

test("an image is known by the digest that registries have", async (t) => {
  const { store } = scratch(t, openStore);
  const image = ociImage([BASE]);
  const stored = await bring(store, image);
  const digest = sha256(image.manifest);
  assert.equal(stored.digest, digest);
  assert.equal(store.resolve(digest).id, stored.id);
  assert.throws(() => store.resolve(sha256(Buffer.from("other"))), /no image sha256:/);
  const again = await bring(store, image, "example.com/other-name");
  assert.notEqual(again.id, stored.id);
  assert.equal(store.resolve(digest).id, again.id);
});

test("the index is made again from the blobs, but not of an image that lacks a layer", async (t) => {
  const { store, data } = scratch(t, openStore);
  const whole = await bring(store, ociImage([BASE, [file("a")]]), "example.com/whole");
  const broken = ociImage([BASE, [file("b")]]);
  await bring(store, broken, "example.com/broken");
  store.close();
  rmSync(dataLayout(data).index);
  rmSync(dataLayout(data).layerBlob(broken.layers[1]?.digest ?? ""));
  const again = openStore(data);
  t.after(() => again.close());
  assert.deepEqual(
    again.list().map(({ id, digest, size }) => ({ id, digest, size })),
    [{ id: whole.id, digest: whole.digest, size: whole.size }],
  );
  await storedFacts(again, data, whole, false);
});

test("no archive that somebody brings is an OCI image", async (t) => {
  const { store, data, file: write } = scratch(t, openStore);
  const stored = await bring(store, ociImage([BASE]));
  const copy = write("blob.aci", readFileSync(dataLayout(data).blob(stored.key)));
  await assert.rejects(store.importFile(copy), /has "oci\/manifest" beside "manifest" and "rootfs"/);
});

test("a layer that is not what its digest says never comes in", async (t) => {
  const { store, data } = scratch(t, openStore);
  const image = ociImage([BASE, [file("a", "a".repeat(3000))]], { compressions: ["gzip", "none"] });
  const [, second] = image.layers;
  assert.ok(second);
  const flipped = Buffer.from(second.bytes);
  flipped[600] = (flipped[600] ?? 0) ^ 1;
  const cases: [name: string, bytes: Buffer, message: RegExp][] = [
    ["another byte", flipped, /its digest is sha256:/],
    ["cut short", second.bytes.subarray(0, -512), /bytes long, not/],
    ["too long", Buffer.concat([second.bytes, Buffer.alloc(512)]), /more than \d+ bytes long/],
    ["nothing", Buffer.alloc(0), /0 bytes long, not/],
  ];
  for (const [name, bytes, message] of cases) {
    const lying = { ...image, layers: image.layers.map((layer) => (layer === second ? { ...layer, bytes } : layer)) };
    await assert.rejects(bring(store, lying), message, name);
    assert.deepEqual(layerFiles(data), { blobs: 0, trees: 0, temporaries: 0 }, name);
    assert.deepEqual(store.list(), []);
  }
});

test("an archive that its configuration does not name never comes in", async (t) => {
  const { store, data } = scratch(t, openStore);
  const image = ociImage([BASE, [file("a")]]);
  const config = Buffer.from(
    image.config.toString().replace(/sha256:[0-9a-f]{64}(?="\])/, sha256(Buffer.from("something else"))),
  );
  const lying = { ...image, config, manifest: ociManifest(config, image.layers) };
  await assert.rejects(bring(store, lying), /its archive has the digest sha256:/);
  assert.deepEqual(layerFiles(data), { blobs: 0, trees: 0, temporaries: 0 });
});

test("a configuration that the manifest does not name is refused", async (t) => {
  const { store } = scratch(t, openStore);
  const image = ociImage([BASE]);
  const other = Buffer.from(image.config.toString().replace("amd64", "arm64"));
  await assert.rejects(bring(store, { ...image, config: other }), /is not the one that its manifest names/);
});

test("layers of a compression that OCI does not have are refused", async (t) => {
  const { store } = scratch(t, openStore);
  const image = ociImage([BASE]);
  const xz = through("xz", ["-c"], tar(BASE));
  const layers = [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: sha256(xz), bytes: xz }];
  await assert.rejects(
    bring(store, { ...image, manifest: ociManifest(image.config, layers), layers }),
    /compressed with xz/,
  );
});

for (const compression of ["gzip", "zstd"] as const)
  test(`a layer that unpacks to far more than it is, by ${compression}`, async (t) => {
    const { store, data } = scratch(t, openStore);
    const bomb = ociImage([[file("zeros", "", { data: Buffer.alloc(100 * 1024 ** 2) })]], {
      compressions: [compression],
    });
    await assert.rejects(bring(store, bomb), /decompresses to more than 200 times its size/);
    assert.deepEqual(layerFiles(data), { blobs: 0, trees: 0, temporaries: 0 });
    const other = openStore(data, { maxImageSize: 200 * 1024 ** 2 });
    t.after(() => other.close());
    await bring(other, bomb);
    const { temporaries } = layerFiles(data);
    assert.equal(temporaries, 0);
  });

test("layers may not unpack to more than an image may, all together", async (t) => {
  const { store, data } = scratch(t, (dir) => openStore(dir, { maxImageSize: 5_000_000 }));
  const layers = [1, 2, 3].map((n) => [file(`f${n}`, "", { data: Buffer.alloc(2_000_000, n) })]);
  await bring(store, ociImage(layers.slice(0, 2)), "example.com/two");
  await assert.rejects(bring(store, ociImage(layers.map((layer) => [...layer, file("x")]))), /more than 5000000 bytes/);
  assert.deepEqual(layerFiles(data), { blobs: 2, trees: 2, temporaries: 0 });
});

const BIG = file("x/big", "", { data: Buffer.alloc(1_000_000, "?") });
/** More than a name is, and less than the kernel takes for a path. */
const DEEP = "d/".repeat(400);
const deep = (name: string, top: string): Entry => symlink(name, "", { pax: { linkpath: `${top}/${DEEP}` } });
const costly: [name: string, layers: Entry[][]][] = [
  ["hard links to a file of a lower layer", [[BIG], ...Array.from({ length: 9 }, (_, i) => [hard(`l${i}`, "x/big")])]],
  [
    "one layer again and again, over others",
    Array.from({ length: 14 }, (_, i) => (i % 2 === 0 ? [BIG] : [file(`n${i}`)])),
  ],
  [
    "one layer again and again, with a link to a lower one",
    [[file("a")], ...Array.from({ length: 14 }, (_, i) => (i % 2 === 0 ? [BIG, hard("l", "a")] : [file(`n${i}`)]))],
  ],
  [
    "directories at the ends of links",
    [Array.from({ length: 9 }, (_, i) => [deep(`l${i}`, String(i)), file(`l${i}/f`)]).flat()],
  ],
  [
    "directories at the ends of links of a lower layer",
    [
      Array.from({ length: 9 }, (_, i) => deep(`l${i}`, String(i))),
      Array.from({ length: 9 }, (_, i) => file(`l${i}/f`)),
    ],
  ],
  [
    "whiteouts of nothing at the ends of links, in layer after layer",
    [
      [deep("l", "t"), file("l/f"), file("a")],
      ...Array.from({ length: 9 }, (_, i) => [symlink(`m${i}`, "a"), hard(`h${i}`, "a"), { name: `l/.wh.${i}` }]),
    ],
  ],
];
for (const [name, layers] of costly)
  test(`layers that take much more than they are: ${name}`, async (t) => {
    const { store, data } = scratch(t, (dir) => openStore(dir, { maxImageSize: 5_000_000 }));
    const image = ociImage(layers);
    await assert.rejects(bring(store, image), {
      code: "too-large",
      message: /it decompresses to more than 5000000 bytes/,
      hint: /--max-image-size/,
    });
    assert.deepEqual(layerFiles(data), { blobs: 0, trees: 0, temporaries: 0 });
    assert.deepEqual(store.list(), []);

    const roomy = openStore(data, { maxImageSize: 60_000_000 });
    t.after(() => roomy.close());
    const stored = await bring(roomy, image);
    const facts = await storedFacts(roomy, data, stored, false);
    for (const id of readdirSync(dataLayout(data).layerTrees))
      rmSync(dataLayout(data).layerTree(id), { recursive: true });
    for (const id of readdirSync(dataLayout(data).trees)) rmSync(dataLayout(data).tree(id), { recursive: true });
    assert.equal(await storedFacts(roomy, data, stored, false), facts);
  });

test("what an image's layers take is bounded by their size, too, and by a number of files", () => {
  const ref = { mediaType: "", digest: "sha256:a", diffId: "sha256:b", size: 1_000_000 };
  const budget = storedBudget([ref, ref]);
  spend(budget, 3_999_999, 190_000_000);
  assert.throws(() => spend(budget, 0, 20_000_000), { code: "too-large", message: /more than 200 times its size/ });
  assert.throws(() => spend(storedBudget([ref]), 4_000_001, 0), {
    code: "too-large",
    message: /more than 4000000 files and directories/,
    hint: /./,
  });
});

test("a layer that was given up comes again from its beginning", async (t) => {
  const { store, data } = scratch(t, (dir) => openStore(dir, { maxImageSize: 5_000_000 }));
  const image = ociImage([[file("big", "", { data: Buffer.alloc(3_000_000, 1) })]], { compressions: ["none"] });
  const pending = store.beginOci("again");
  const [layer] = await pending.describe({
    name: "example.com/again",
    reference: "docker://example.com/again",
    ...image,
  });
  assert.ok(layer);
  const bytes = image.layers[0]?.bytes ?? Buffer.alloc(0);
  for (let i = 0; i < 3; i++) {
    const broken = layer.begin();
    await broken.write(bytes.subarray(0, 2_900_000));
    await broken.abort();
    await assert.rejects(broken.write(bytes));
  }
  assert.equal(layerFiles(data).temporaries, 0);
  const whole = layer.begin();
  await whole.write(bytes);
  await whole.finish();
  await pending.finish();
  await pending.commit();
  assert.deepEqual(layerFiles(data), { blobs: 1, trees: 1, temporaries: 0 });
});

test("an App Container image on an OCI image", async (t) => {
  const { store, data, file: write } = scratch(t, openStore);
  await bring(store, ociImage([[...BASE, file("gone")], [{ name: ".wh.gone" }]]), "example.com/base");
  const dependencies = [{ imageName: "example.com/base" }];
  const aci = write(
    "top.aci",
    makeAci([{ name: "rootfs/base", data: "mine" }, { name: "rootfs/top" }], manifest({ dependencies })),
  );
  const { key } = await store.importFile(aci);
  const { rootfs } = await store.render(key, "none");
  assert.deepEqual(readdirSync(rootfs).sort(), ["base", "bin", "top"]);
  assert.equal(readFileSync(join(rootfs, "base"), "utf8"), "mine");
  assert.equal(readFileSync(join(rootfs, "bin/sh"), "utf8"), "bin/sh");
  assert.equal(store.closure(key).length, 2);
  assert.ok(data);
});

test("of two images that an App Container image stands on, the later one decides, whichever is OCI's", async (t) => {
  const { store, file: write } = scratch(t, openStore);
  const aci = async (name: string, mode: number) => {
    const entries: Entry[] = [{ name: "rootfs/secret", type: "5", mode }, { name: "rootfs/d", type: "5" }, { name: "rootfs/d/e", type: "5" }];
    await store.importFile(write(`${mode}.aci`, makeAci(entries, manifest({ name }))));
  };
  await aci("example.com/open", 0o777);
  await aci("example.com/half", 0o750);
  await bring(store, ociImage([[dir("secret", { mode: 0o700 }), dir("d"), { name: "d/.wh.e" }]]), "example.com/closed");
  for (const [names, mode] of [
    [["open", "closed"], 0o700],
    [["closed", "half"], 0o750],
    [["open", "closed", "half"], 0o750],
    [["half", "open", "closed"], 0o700],
  ] as const) {
    const dependencies = names.map((name) => ({ imageName: `example.com/${name}` }));
    // The directory that the OCI image has removed is there again for the last image's file.
    const top = makeAci([{ name: "rootfs/d/e/g" }], manifest({ name: "example.com/top", dependencies }));
    const { key } = await store.importFile(write(`${names.join("-")}.aci`, top));
    const { rootfs } = await store.render(key, "none");
    assert.equal(statSync(join(rootfs, "secret")).mode & 0o777, mode, names.join());
    assert.deepEqual(readdirSync(join(rootfs, "d/e")), ["g"], names.join());
  }
});

test("what an OCI image has removed stays away, whatever the whitelist of what stands on it names", async (t) => {
  const { store, file: write } = scratch(t, openStore);
  await bring(store, ociImage([[file("conf"), file("kept"), dir("d"), file("d/old")], [{ name: ".wh.conf" }, dir("d"), { name: "d/.wh..wh..opq" }, file("d/new")]]), "example.com/base");
  const text = manifest({
    dependencies: [{ imageName: "example.com/base" }],
    pathWhitelist: ["/conf", "/kept", "/d/old", "/d/new"],
  });
  const { key } = await store.importFile(write("top.aci", makeAci([{ name: "rootfs/none" }], text)));
  const { rootfs } = await store.render(key, "none");
  assert.deepEqual(readdirSync(rootfs, { recursive: true }).map(String).sort(), ["d", "d/new", "kept"]);
});

test("layers that a killed process has left, without an image, go with the next collection", async (t) => {
  const { store, data } = scratch(t, openStore);
  const kept = await bring(store, ociImage([BASE, [file("a"), { name: ".wh.base" }]]), "example.com/kept");
  const orphan = await bring(store, ociImage([BASE, [file("orphan")]]), "example.com/orphan");
  rmSync(dataLayout(data).blob(orphan.key));
  store.exclusively(
    () => {},
    () => {
      store.remove(orphan.key);
      for (const remove of store.detachLayers([], (key) => key === kept.key)) remove();
    },
  );
  assert.deepEqual(layerFiles(data), { blobs: 2, trees: 2, temporaries: 0 });
  await storedFacts(store, data, kept, false);
});

test("a damaged layer is noticed, and healed by bringing the image again", async (t) => {
  const { store, data } = scratch(t, openStore);
  const image = ociImage([BASE, [file("a")]]);
  const stored = await bring(store, image);
  store.close();
  const blob = dataLayout(data).layerBlob(image.layers[0]?.digest ?? "");
  const bytes = readFileSync(blob);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 255;
  writeFileSync(blob, bytes);
  for (const name of readdirSync(dataLayout(data).layerTrees))
    rmSync(dataLayout(data).layerTree(name), { recursive: true });

  const after = openStore(data);
  t.after(() => after.close());
  await assert.rejects(after.render(stored.key, "none"), /layer sha256:.* is damaged: it has the digest/);
  await assert.rejects(after.render(stored.key, "none", { merged: true }), /is damaged/);
  assert.match((await after.ignoreDamaged([stored.key]))[0]?.message ?? "", /is damaged/);
  await bring(after, image);
  await storedFacts(after, data, stored, false);
  assert.deepEqual(await after.ignoreDamaged([stored.key]), []);
});

test("held images are in the store when they are released, and leave nothing when they are not", async (t) => {
  const { store, data } = scratch(t, (dir) => openStore(dir, { hold: true }));
  const image = ociImage([BASE, [file("a"), { name: ".wh.base" }]]);
  const held = await bring(store, image);
  assert.equal(store.manifest(held.key).name, "example.com/oci");
  assert.equal(store.resolve(sha256(image.manifest)).id, held.id);
  assert.deepEqual({ ...layerFiles(data), temporaries: 0 }, { blobs: 0, trees: 0, temporaries: 0 });
  await store.release();
  assert.deepEqual(layerFiles(data), { blobs: 2, trees: 2, temporaries: 0 });
  await storedFacts(store, data, held, false);
  await bring(store, ociImage([[file("never")]]), "example.com/never");
  store.close();
  assert.deepEqual(layerFiles(data), { blobs: 2, trees: 2, temporaries: 0 });
});

test("two processes bring the same image at once", async (t) => {
  const { store, data } = scratch(t, openStore);
  const other = openStore(data);
  t.after(() => other.close());
  const image = ociImage([BASE, [file("a"), { name: ".wh.base" }], [file("bin/b")]]);
  const both = await Promise.all([bring(store, image), bring(other, image)]);
  assert.equal(both[0].id, both[1].id);
  assert.deepEqual(layerFiles(data), { blobs: 3, trees: 3, temporaries: 0 });
  await storedFacts(store, data, both[0], false);
});

test("what a killed import has left is collected", async (t) => {
  const { store, data } = scratch(t, openStore);
  const script = `
    const { openStore } = await import(${JSON.stringify(join(import.meta.dirname, "store.ts"))});
    const { ociImage } = await import(${JSON.stringify(join(import.meta.dirname, "../../test/helpers/oci.ts"))});
    const image = ociImage([[{ name: "a", data: "x".repeat(100000) }]], { compressions: ["none"] });
    const pending = openStore(process.argv[1]).beginOci("killed");
    const [layer] = await pending.describe({ name: "example.com/killed", reference: "docker://example.com/killed", ...image });
    await layer.begin().write(image.layers[0].bytes.subarray(0, 50000));
    process.kill(process.pid, "SIGKILL");`;
  const killed = spawnSync(process.execPath, ["--no-warnings", "--input-type=module", "-e", script, data], {
    encoding: "utf8",
  });
  assert.equal(killed.signal, "SIGKILL", killed.stderr);
  assert.equal(layerFiles(data).temporaries, 2);
  await bring(store, ociImage([BASE]));
  assert.deepEqual(layerFiles(data), { blobs: 1, trees: 1, temporaries: 0 });
});

test("a stack that is too deep for an overlay is one directory", async (t) => {
  const { store, data } = scratch(t, openStore);
  const layers = Array.from({ length: 500 }, (_, i) => [file("n", String(i)), file(`f${i}`)]);
  const stored = await bring(store, ociImage(layers, { compressions: ["none"] }));
  const { id } = await store.render(stored.key, "none");
  assert.match(id, /-merged$/);
  assert.equal(readFileSync(join(dataLayout(data).treeRootfs(id), "n"), "utf8"), "499");
});

test("an image of layers runs", async (t: TestContext) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  // The default stage1 comes into the store.
  rkt.ok(["prepare", "--quiet", join(import.meta.dirname, "../../dist/examples/busybox.aci")]);
  const image = ociImage(
    [
      [
        dir("bin"),
        file("bin/busybox", "", { data: readFileSync("/bin/busybox"), mode: 0o755 }),
        file("greeting", "one\n"),
        file("gone"),
      ],
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
