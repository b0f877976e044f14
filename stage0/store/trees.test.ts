import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { type Entry, makeAci, manifest } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { through } from "../../test/helpers/through.ts";
import { openStore } from "./store.ts";

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
  const { store, dir, file } = scratch(t, openStore);
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
  const { store, file } = scratch(t, openStore);
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
  const { store, file } = scratch(t, (data) => openStore(data, { provenance: "given" }));
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
  const { store, file } = scratch(t, (data) => openStore(data, { provenance: "given" }));
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
