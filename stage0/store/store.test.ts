import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { type Entry, gzipped, makeAci, manifest, rootfs, tar } from "../../test/fixtures/aci.ts";
import { openStore, type Store, type StoreOptions } from "./store.ts";

function scratch(
  t: TestContext,
  options?: StoreOptions,
): {
  dir: string;
  data: string;
  store: Store;
  file(name: string, content: Buffer | string): string;
} {
  const dir = mkdtempSync(join(tmpdir(), "rkt-store-"));
  const data = join(dir, "data");
  const store = openStore(data, options);
  t.after(() => {
    store.close();
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    dir,
    data,
    store,
    file(name, content) {
      writeFileSync(join(dir, name), content);
      return join(dir, name);
    },
  };
}

test("a dependency by name: of two for different machines the one for this, whichever came last", async (t) => {
  const { store, file } = scratch(t, { provenance: "given" });
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

const sha512 = (bytes: Buffer): string => createHash("sha512").update(bytes).digest("hex");

function through(program: string, args: string[], input: Buffer): Buffer {
  const done = spawnSync(program, args, { input, maxBuffer: 1 << 28 });
  assert.equal(done.status, 0, done.stderr.toString());
  return done.stdout;
}

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
    const { store, data, file } = scratch(t);
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

test("a known file costs no second import; a changed one is imported again", async (t) => {
  const { store, data, file } = scratch(t);
  const path = file("image.aci", makeAci());
  const first = await store.importFile(path);
  // Were it read again, it would be refused.
  const blob = dataLayout(data).blob(first.key);
  rmSync(blob);
  assert.deepEqual(await store.importFile(path), first);
  assert.ok(!existsSync(blob));
  file("image.aci", makeAci([{ name: "rootfs/new" }]));
  assert.notEqual((await store.importFile(path)).key, first.key);
});

test("held back, an import is in the store when it is released, and forgotten when not", async (t) => {
  const { data, file } = scratch(t);
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
  const { data, file } = scratch(t);
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
    const { store, data, file } = scratch(t);
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

test("a hash: prefixes, unknown, ambiguous", async (t) => {
  const { store, file } = scratch(t);
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

test("a lost or damaged index is made again from the blobs", async (t) => {
  const { store, data, file } = scratch(t);
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

test("what a killed import left is collected by the next, whoever has its pid; what a living one makes is not", async (t) => {
  const { store, data, file } = scratch(t);
  const tmp = join(data, "cas/tmp");
  mkdirSync(tmp, { recursive: true });
  writeFileSync(join(tmp, `blob-${process.pid}-x-0`), "");
  mkdirSync(join(tmp, `tree-${process.pid}-x-0/rootfs`), { recursive: true });
  symlinkSync("/etc", join(tmp, "link"));
  const pending = store.beginImport("a.aci");
  await pending.write(makeAci().subarray(0, 1024));
  await store.importFile(file("a.aci", makeAci()));
  assert.equal(readdirSync(tmp).length, 1);
  assert.ok(existsSync("/etc/passwd"));
  await pending.abort();
  assert.deepEqual(readdirSync(tmp), []);
});

// --- rendering ----------------------------------------------------------------------------

/** All that matters of a tree, by foreign tools. */
function facts(root: string): string {
  const find = through(
    "find",
    [root, "-mindepth", "1", "-printf", "%P|%y|%m|%U|%G|%s|%n|%T@|%l|%b\\n"],
    Buffer.alloc(0),
  ).toString();
  const lines = find
    .split("\n")
    .filter((line) => line !== "")
    // A directory's size and blocks are the file system's business.
    .map((line) => (line.split("|")[1] === "d" ? line.split("|").toSpliced(5, 2).slice(0, -1).join("|") : line))
    .sort();
  const xattrs = spawnSync("getfattr", ["-R", "-h", "-d", "-m", "-", "."], { cwd: root, encoding: "utf8" }).stdout;
  const devices = through("find", [root, "-type", "c", "-o", "-type", "b"], Buffer.alloc(0))
    .toString()
    .split("\n")
    .filter(Boolean)
    .sort();
  const numbers = devices.map((path) => through("stat", ["-c", "%t:%T", path], Buffer.alloc(0)).toString());
  const sums = spawnSync("sh", ["-c", "find . -type f -print0 | sort -z | xargs -0 sha256sum"], {
    cwd: root,
    encoding: "utf8",
  }).stdout;
  return [lines.join("\n"), xattrs, numbers.join(""), sums].join("\n---\n");
}

test("a rich tree is extracted as GNU tar extracts it", async (t) => {
  const { store, dir, file } = scratch(t);
  const source = join(dir, "source");
  mkdirSync(join(source, "rootfs/dir/deep"), { recursive: true });
  writeFileSync(join(source, "manifest"), manifest());
  const script = `set -e; cd '${join(source, "rootfs")}'
echo file >file; chmod 4755 file; chown 12:34 file; echo g >g; chmod 2750 g; chmod 1777 dir; chown 1:2 dir
ln file hard; ln -s /absolute/target abs; ln -s nowhere dangling; ln -s ../file dir/rel; ln dangling hardsymlink
mknod null c 1 3; mknod block b 7 200; mkfifo -m 600 fifo; chown -h 5:6 abs
printf x >"$(printf 'latin1-\\351')"; printf y >'with
newline'; touch "$(printf 'n%.0s' $(seq 200))"; mkdir -p "$(printf 'p%.0s' $(seq 120))/$(printf 'q%.0s' $(seq 120))"; echo l >"$(printf 'p%.0s' $(seq 120))/$(printf 'q%.0s' $(seq 120))/leaf"
ln -s "$(printf 't%.0s' $(seq 150))" longlink
cp /bin/true ping; setcap cap_net_raw+ep ping; setfattr -n user.note -v 'a value' file; setfattr -n user.dir -v d dir; setfacl -m u:77:rw g; setfacl -d -m g:88:rx dir/deep
truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=1000000 conv=notrunc 2>/dev/null; printf end | dd of=sparse bs=1 seek=4000000 conv=notrunc 2>/dev/null
truncate -s 1M hole; dd if=/dev/urandom of=big bs=1M count=3 2>/dev/null
touch -h -d '2001-02-03 04:05:06.123456789' abs file; touch -d '1969-12-31 23:00:00' g; touch -d '2010-01-01' dir/deep dir
`;
  const made = spawnSync("bash", ["-c", script], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  for (const format of [
    ["--format=posix", "--sparse"],
    ["--format=gnu", "--sparse"],
    ["--format=posix", "--sparse", "--sparse-version=0.1"],
    ["--format=posix"],
  ]) {
    const aci = join(dir, "rich.aci");
    const xattrs = format.includes("--format=posix") ? ["--xattrs", "--xattrs-include=*", "--acls"] : [];
    through("tar", [...format, ...xattrs, "-C", source, "-cf", aci, "manifest", "rootfs"], Buffer.alloc(0));
    const expected = join(dir, "expected");
    mkdirSync(expected);
    through("tar", [...xattrs, "-xpf", aci, "-C", expected], Buffer.alloc(0));
    const image = await store.importFile(file(`${format.join("")}.aci`, readFileSync(aci)));
    const tree = await store.render(image.key);
    assert.equal(facts(tree.rootfs), facts(join(expected, "rootfs")), format.join(" "));
    rmSync(expected, { recursive: true });
  }
});

async function render(t: TestContext, entries: Entry[]): Promise<string> {
  const { store, file } = scratch(t);
  const image = await store.importFile(file("image.aci", makeAci(entries)));
  return (await store.render(image.key)).rootfs;
}

const escapes: { name: string; entries: Entry[]; message: RegExp }[] = [
  { name: "..", entries: [{ name: "rootfs/../../outside" }], message: /has a component "\.\."/ },
  { name: "an absolute name", entries: [{ name: "/outside" }], message: /is absolute/ },
  {
    name: "through a symbolic link",
    entries: [{ name: "rootfs/way", type: "2", link: "/tmp" }, { name: "rootfs/way/outside" }],
    message: /in the archive twice, as different things|cannot write/,
  },
  {
    name: "a hard link to a file of the host",
    entries: [{ name: "rootfs/shadow", type: "1", link: "/etc/shadow" }],
    message: /outside of the image's rootfs/,
  },
  {
    name: "a hard link with ..",
    entries: [{ name: "rootfs/shadow", type: "1", link: "rootfs/../../../etc/shadow" }],
    message: /outside of the image's rootfs/,
  },
  {
    name: "a hard link through a symbolic link",
    entries: [
      { name: "rootfs/way", type: "2", link: "/etc" },
      { name: "rootfs/shadow", type: "1", link: "rootfs/way/shadow" },
    ],
    message: /cannot write|not there|ELOOP/,
  },
  { name: "an overlay's whiteout", entries: [{ name: "rootfs/gone", type: "3", device: [0, 0] }], message: /whiteout/ },
  {
    name: "an overlay's attribute",
    entries: [{ name: "rootfs/a", pax: { "SCHILY.xattr.trusted.overlay.redirect": "/etc" } }],
    message: /is not allowed in an image/,
  },
  {
    name: "an unknown type",
    entries: [{ name: "rootfs/a", type: "V" }],
    message: /entries of type "V" are not supported/,
  },
  {
    name: "a hard link to nothing",
    entries: [{ name: "rootfs/a", type: "1", link: "rootfs/b" }],
    message: /which is not there/,
  },
];
for (const c of escapes)
  test(`an image cannot get out: ${c.name}`, async (t) => {
    await assert.rejects(render(t, c.entries), (error) => {
      assert.ok(error instanceof RktError);
      assert.match(error.message, c.message);
      return true;
    });
  });

test("links of an image are data: absolute ones stay as they are", async (t) => {
  const root = await render(t, [{ name: "rootfs/abs", type: "2", link: "/etc/passwd" }]);
  assert.equal(through("readlink", [join(root, "abs")], Buffer.alloc(0)).toString(), "/etc/passwd\n");
});

test("directories an archive does not name are made, the same whenever that is", async (t) => {
  const root = await render(t, [{ name: "rootfs/a/b/c", data: "x" }]);
  assert.equal(readFileSync(join(root, "a/b/c"), "utf8"), "x");
  for (const path of ["a", "a/b"]) {
    const { mode, uid, mtimeMs } = statSync(join(root, path));
    assert.deepEqual([mode & 0o7777, uid, mtimeMs], [0o755, 0, 0], path);
  }
});

test("dependencies: the spec's order, later over earlier, links never followed, the whitelist", async (t) => {
  const { store, file } = scratch(t, { provenance: "given" });
  const add = async (name: string, entries: Entry[], over: object = {}): Promise<string> =>
    (await store.importFile(file(`${name}.aci`, makeAci(entries, manifest({ name: `example.com/${name}`, ...over })))))
      .key;
  const on = (...names: string[]) => ({ dependencies: names.map((name) => ({ imageName: `example.com/${name}` })) });
  await add("d", [
    { name: "rootfs/who", data: "d" },
    { name: "rootfs/d", data: "d" },
    { name: "rootfs/secret", data: "s" },
  ]);
  await add("b", [
    { name: "rootfs/who", data: "b" },
    { name: "rootfs/way", type: "2", link: "/etc" },
    { name: "rootfs/b", data: "b" },
  ]);
  await add(
    "c",
    [
      { name: "rootfs/who", data: "c" },
      { name: "rootfs/way/file", data: "c" },
    ],
    { ...on("d"), pathWhitelist: ["/who", "/way/file", "/d"] },
  );
  const a = await add("a", [{ name: "rootfs/a", data: "a" }], on("b", "c"));
  const { rootfs: root } = await store.render(a);
  assert.deepEqual(readdirSync(root).sort(), ["a", "b", "d", "way", "who"]);
  assert.equal(readFileSync(join(root, "who"), "utf8"), "c");
  assert.ok(statSync(join(root, "way")).isDirectory(), "the link was replaced, not followed");
  assert.ok(!existsSync("/etc/file"));
});

test("dependencies: a cycle and a missing image are named", async (t) => {
  const { store, file } = scratch(t, { provenance: "given" });
  const make = (name: string, on: string) =>
    makeAci([], manifest({ name: `example.com/${name}`, dependencies: [{ imageName: `example.com/${on}` }] }));
  const a = await store.importFile(file("a.aci", make("a", "b")));
  await assert.rejects(
    store.render(a.key),
    /image example\.com\/a depends on example\.com\/b, which is not in the store/,
  );
  await store.importFile(file("b.aci", make("b", "a")));
  await assert.rejects(store.render(a.key), /depends on itself: example\.com\/a → example\.com\/b → example\.com\/a/);
});

test("a full file system: one error, and the store as before", async (t) => {
  const small = mkdtempSync(join(tmpdir(), "rkt-small-"));
  const mountPoint = join(small, "mnt");
  t.after(() => {
    spawnSync("umount", ["-l", mountPoint]);
    rmSync(small, { recursive: true });
  });
  const { file } = scratch(t, { provenance: "given" });
  mkdirSync(mountPoint);
  const mounted = spawnSync(
    "sh",
    [
      "-c",
      `truncate -s 8M '${small}/disk' && mkfs.ext4 -q '${small}/disk' && mount -o loop '${small}/disk' '${mountPoint}'`,
    ],
    { encoding: "utf8" },
  );
  assert.equal(mounted.status, 0, mounted.stderr);
  const store = openStore(join(mountPoint, "data"));
  await assert.rejects(
    store.importFile(file("big.aci", makeAci([{ name: "rootfs/big", data: Buffer.alloc(20 << 20, 1) }]))),
    (error) => {
      assert.ok(error instanceof RktError);
      assert.match(error.message, /cannot import .*big\.aci: write: ENOSPC/);
      assert.equal(errorCode(error.cause), "ENOSPC", "by which whoever renders it knows a hint");
      return true;
    },
  );
  assert.deepEqual(readdirSync(join(mountPoint, "data/cas/tmp")), []);
  assert.deepEqual(store.list(), []);
  store.close();
});
