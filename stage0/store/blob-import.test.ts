import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { gzipped, makeAci, manifest, rootfs, tar } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { through } from "../../test/helpers/through.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { beginBlobImport, IMPORT_LIMITS } from "./blob-import.ts";
import { openStore } from "./store.ts";

const sha512 = (bytes: Buffer): string => createHash("sha512").update(bytes).digest("hex");

for (const [name, compress] of [
  ["plain", (tarball: Buffer) => tarball],
  ["gzip", gzipped],
  [
    "gzip in two members",
    (tarball: Buffer) => Buffer.concat([gzipped(tarball.subarray(0, 700)), gzipped(tarball.subarray(700))]),
  ],
  ["bzip2", (tarball: Buffer) => through("bzip2", ["-c"], tarball)],
  ["xz", (tarball: Buffer) => through("xz", ["-c"], tarball)],
  ["zstd", (tarball: Buffer) => through("zstd", ["-c"], tarball)],
] as const)
  test(`import of ${name}: the blob is the uncompressed tar, its name the seed's`, async (t) => {
    const { store, data, file } = scratch(t, openStore);
    const tarball = makeAci([{ name: "rootfs/a", data: "x".repeat(300_000) }]);
    const image = await store.importFile(file("image.whatever", compress(tarball)));
    const digest = sha512(tarball);
    assert.equal(image.id, `sha512-${digest}`);
    assert.equal(image.key, `sha512-${digest.slice(0, 64)}`);
    assert.equal(image.name, "example.com/test");
    const blob = join(data, "cas/blob/sha512", digest.slice(0, 2), image.key);
    assert.ok(readFileSync(blob).equals(tarball));
    assert.deepEqual(readdirSync(join(data, "cas/tmp")), []);
  });

const refusals: { name: string; content: Buffer | string; message: RegExp }[] = [
  { name: "empty", content: "", message: /it is empty/ },
  { name: "text", content: "hello\n".repeat(200), message: /it is not a tar archive/ },
  { name: "an HTML page", content: "<!DOCTYPE html><html></html>", message: /it is an HTML or XML page/ },
  {
    name: "an executable",
    content: Buffer.concat([Buffer.from("\x7fELF"), Buffer.alloc(600)]),
    message: /it is an executable/,
  },
  {
    name: "corrupt gzip",
    content: Buffer.concat([gzipped(makeAci()).subarray(0, 40), Buffer.alloc(100, 7)]),
    message: /its gzip data are damaged/,
  },
  {
    name: "gzip cut short",
    content: gzipped(makeAci()).subarray(0, 200),
    message: /its gzip data are damaged: unexpected end of file/,
  },
  {
    name: "xz cut short",
    content: through("xz", ["-c"], makeAci()).subarray(0, 120),
    message: /its xz data are damaged/,
  },
  {
    name: "tar cut short in an entry",
    content: makeAci([{ name: "rootfs/a", data: "x".repeat(5000) }]).subarray(0, 4000),
    message: /the archive is cut short/,
  },
  {
    name: "tar without its end",
    content: tar([{ name: "manifest", data: manifest() }, rootfs], { end: false }),
    message: /the archive is cut short/,
  },
  { name: "no manifest", content: tar([rootfs]), message: /it has no manifest/ },
  { name: "no rootfs", content: tar([{ name: "manifest", data: manifest() }]), message: /it has no rootfs/ },
  { name: "two manifests", content: makeAci([{ name: "./manifest", data: "{}" }]), message: /it has two manifests/ },
  { name: "a bad manifest", content: makeAci([], manifest({ name: "No Good" })), message: /manifest: name: / },
  {
    name: "another file beside",
    content: makeAci([{ name: "README" }]),
    message: /it has "README" beside "manifest" and "rootfs"/,
  },
  {
    name: "a rootfs that is a link",
    content: tar([
      { name: "manifest", data: manifest() },
      { name: "rootfs", type: "2", link: "/" },
    ]),
    message: /its rootfs is a symlink/,
  },
  {
    name: "a file twice",
    content: makeAci([{ name: "rootfs/a" }, { name: "rootfs/./a" }]),
    message: /"rootfs\/a" is in it twice/,
  },
  {
    name: "a bomb",
    content: gzipped(makeAci([{ name: "rootfs/zeros", data: Buffer.alloc(100 << 20) }])),
    message: /200 times its size/,
  },
];
for (const c of refusals)
  test(`refused, with nothing left: ${c.name}`, async (t) => {
    const { store, data, file } = scratch(t, openStore);
    const path = file("bad.aci", c.content);
    await assert.rejects(store.importFile(path), (error) => {
      assert.ok(error instanceof RktError);
      assert.match(error.message, c.message);
      assert.ok(error.message.startsWith(`cannot import ${path}: `), error.message);
      return true;
    });
    assert.deepEqual(store.list(), []);
    for (const place of ["cas/tmp", "cas/blob/sha512"])
      assert.deepEqual(existsSync(join(data, place)) ? readdirSync(join(data, place)) : [], []);
  });

test("a directory without an entry counts once, as an entry and as what it takes of the disk", async (t) => {
  const { data, file } = scratch(t, openStore);
  const deep = "rootfs/1/2/3/4/5/6/7/8/9/10";
  const names = ["a", "b"].map((name) => ({ name: `${deep}/${name}` }));
  const implied = makeAci([...names, { name: `${deep}/x/c` }, ...names.map(({ name }) => ({ name: `${name}2` }))]);
  const parents = deep.split("/").map((_, i, all) => ({ name: all.slice(0, i + 1).join("/"), type: "5" }));
  const named = makeAci([...parents.slice(1), ...names]);
  const room = (bytes: Buffer, directories: number) => openStore(data, { maxImageSize: bytes.length + directories * 4096 });
  for (const [bytes, directories] of [
    [implied, 11],
    [named, 0],
  ] as const) {
    if (directories > 0) {
      const store = room(bytes, directories - 1);
      await assert.rejects(store.importFile(file("x.aci", bytes)), {
        code: "too-large",
        message: /more than \d+ bytes, with 11 directories that it has no entries for$/,
      });
      store.close();
    }
    const store = room(bytes, directories);
    await store.importFile(file("x.aci", bytes));
    store.close();
  }
});

test("directories without entries count towards the limit of entries", async (t) => {
  const { data, file } = scratch(t, openStore);
  const bytes = makeAci([{ name: "rootfs/1/2/3/f" }]);
  const begin = (entries: number) => {
    const pending = beginBlobImport(dataLayout(data), file("x", ""), { ...IMPORT_LIMITS, entries });
    return pending.write(bytes).then(() => pending.abort());
  };
  // The fixture's rootfs has an entry.
  await begin(5);
  await assert.rejects(begin(4), { code: "bad-archive", message: /more than 4 entries and directories without one/ });
});
