import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { lchownSync, linkSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RktError } from "../errors.ts";
import { lsetxattr, mkfifo, mknodat, makedev } from "../syscall/file.ts";
import { addDirectory, addFile, addSymlink, archiveOrder, byBytes, readTree, type Tree } from "./tree.ts";

const outline = (tree: Tree) =>
  archiveOrder(tree).map(([path, entry]) =>
    entry.type === "hardlink" ? `${path} = ${entry.target}` : `${path || "/"} ${entry.type}`,
  );

test("missing parents are added, before what is in them", () => {
  const tree: Tree = new Map();
  addFile(tree, "a/b/c", "");
  addFile(tree, "a-file", "");
  assert.deepEqual(outline(tree), ["/ directory", "a directory", "a-file file", "a/b directory", "a/b/c file"]);
});

test("of a file's names the first in the archive has the content, whichever had it in the tree", () => {
  const tree: Tree = new Map();
  addFile(tree, "z", "content", 0o4755);
  tree.set("m", { type: "hardlink", target: "z", mode: 0, uid: 0, gid: 0 });
  tree.set("a", { type: "hardlink", target: "m", mode: 0, uid: 0, gid: 0 });
  assert.deepEqual(outline(tree), ["/ directory", "a file", "m = a", "z = a"]);
  assert.equal(archiveOrder(tree)[1]?.[1].mode, 0o4755);
});

const refused: { name: string; make: (tree: Tree) => void; message: string }[] = [
  { name: "..", make: (t) => addFile(t, "a/../b", ""), message: 'not a path below the root: "a/../b"' },
  { name: "absolute", make: (t) => addFile(t, "/a", ""), message: 'not a path below the root: "/a"' },
  { name: "trailing slash", make: (t) => addDirectory(t, "a/"), message: 'not a path below the root: "a/"' },
  {
    name: "below a link",
    make: (t) => {
      addSymlink(t, "lib", "usr/lib");
      addFile(t, "lib/x", "");
    },
    message: "lib/x lies below lib, which is a symlink",
  },
  {
    name: "link to nothing",
    make: (t) => t.set("a", { type: "hardlink", target: "b", mode: 0, uid: 0, gid: 0 }),
    message: "hard link a names b, which is not there",
  },
  {
    name: "link in a circle",
    make: (t) => {
      t.set("a", { type: "hardlink", target: "b", mode: 0, uid: 0, gid: 0 });
      t.set("b", { type: "hardlink", target: "a", mode: 0, uid: 0, gid: 0 });
    },
    message: "hard link a names itself",
  },
  { name: "a root that is a file", make: (t) => addFile(t, "", ""), message: "the root is not a directory" },
];

for (const c of refused)
  test(`refused: ${c.name}`, () => {
    const tree: Tree = new Map();
    c.make(tree);
    assert.throws(() => archiveOrder(tree), { code: "bad-tree", message: c.message });
  });

test("what an archive cannot hold is refused by name", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rkt-tree-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const notUtf8 = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0x66, 0xff])]);
  writeFileSync(notUtf8, "");
  assert.throws(() => readTree(directory), RktError);
  rmSync(notUtf8);
  const server = createServer().listen(join(directory, "socket"));
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  assert.throws(() => readTree(directory), { message: `${directory}/socket is a socket, which an image cannot hold` });
});

test("in a live tree a directory and a link may change places at any moment", (t) => {
  const root = mkdtempSync(join(tmpdir(), "rkt-tree-"));
  mkdirSync(join(root, "a"));
  writeFileSync(join(root, "a/file"), "x");
  symlinkSync("file", join(root, "b"));
  const swap = `const { renameSync } = require("node:fs"); process.chdir(process.argv[1]);
    for (;;) { renameSync("a", "x"); renameSync("b", "a"); renameSync("x", "b"); }`;
  const child = spawn(process.execPath, ["-e", swap, root], { stdio: "inherit" });
  t.after(async () => {
    // It exchanges names until it has ended.
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    rmSync(root, { recursive: true });
  });
  while (lstatSync(join(root, "a"), { throwIfNoEntry: false })?.isDirectory() === true);
  for (let i = 0; i < 5000; i++) assert.equal(readTree(root, { live: true }).get("")?.type, "directory");
});

/** A tree of `d/file` that is described, and then changed by `change` before the file is read. */
async function readAfter(t: TestContext, change: (root: string, outside: string) => void): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "rkt-tree-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const [root, outside] = [join(directory, "root"), join(directory, "outside")];
  for (const [at, text] of [[root, "theirs"], [outside, "secret"]] as const) {
    mkdirSync(join(at, "d"), { recursive: true });
    writeFileSync(join(at, "d/file"), text);
  }
  const entry = readTree(root).get("d/file");
  assert.ok(entry?.type === "file" && "path" in entry.content);
  change(root, outside);
  const chunks = entry.content.chunks?.() ?? [];
  return Buffer.concat([...chunks]).toString();
}

test("what was described is what is read", async (t) => {
  assert.equal(await readAfter(t, () => {}), "theirs");
});

const exchanges: { name: string; change: (root: string, outside: string) => void }[] = [
  {
    name: "a link to another file",
    change: (root, outside) => {
      rmSync(join(root, "d/file"));
      symlinkSync(join(outside, "d/file"), join(root, "d/file"));
    },
  },
  {
    name: "another file of the same size",
    change: (root, outside) => {
      // The old file lives on, or the new one may have its inode.
      linkSync(join(root, "d/file"), join(root, "kept"));
      renameSync(join(outside, "d/file"), join(root, "d/file"));
    },
  },
  {
    name: "a link in place of its directory",
    change: (root, outside) => {
      renameSync(join(root, "d"), join(root, "e"));
      symlinkSync(join(outside, "d"), join(root, "d"));
    },
  },
  {
    name: "a link in place of its directory, back to the very file",
    change: (root) => {
      renameSync(join(root, "d"), join(root, "e"));
      symlinkSync("e", join(root, "d"));
    },
  },
  {
    name: "a link in place of the root",
    change: (root, outside) => {
      renameSync(root, `${root}.old`);
      symlinkSync(outside, root);
    },
  },
  {
    name: "a FIFO, for which nobody waits",
    change: (root) => {
      rmSync(join(root, "d/file"));
      mkfifo(join(root, "d/file"), 0o600);
    },
  },
  { name: "nothing", change: (root) => rmSync(join(root, "d/file")) },
  { name: "a longer file", change: (root) => writeFileSync(join(root, "d/file"), "theirs, and more") },
  { name: "a shorter file", change: (root) => writeFileSync(join(root, "d/file"), "t") },
];

for (const c of exchanges)
  test(`in place of a described file: ${c.name}`, async (t) => {
    await assert.rejects(readAfter(t, c.change), { code: "file-changed", message: /d\/file changed while the image was written$/ });
  });

test("a link's own attributes are described, and a device is not opened", { skip: process.geteuid?.() !== 0 }, (t) => {
  const root = mkdtempSync(join(tmpdir(), "rkt-tree-"));
  t.after(() => rmSync(root, { recursive: true }));
  writeFileSync(join(root, "file"), "");
  lsetxattr(join(root, "file"), "security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex"));
  symlinkSync("file", join(root, "link"));
  lsetxattr(join(root, "link"), "security.rkt-test", Buffer.from("of the link"));
  // No driver has this number: open(2) would fail with ENXIO.
  mknodat(-100, join(root, "device"), 0o020600, makedev(240, 77));
  const tree = readTree(root);
  assert.deepEqual([...(tree.get("file")?.xattrs?.keys() ?? [])], ["security.capability"]);
  assert.deepEqual([...(tree.get("link")?.xattrs ?? [])], [["security.rkt-test", Buffer.from("of the link")]]);
  assert.equal(tree.get("device")?.type, "character");
});

test("another user's link to the root is not followed, root's own is", { skip: process.geteuid?.() !== 0 }, (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rkt-tree-"));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, "a/b"), { recursive: true });
  symlinkSync("a", join(directory, "link"));
  assert.deepEqual([...readTree(join(directory, "link")).keys()], ["", "b"]);
  lchownSync(join(directory, "link"), 65534, 65534);
  for (const path of ["link", "link/b"])
    assert.throws(() => readTree(join(directory, path)), { code: "foreign-link", message: /belongs to user 65534$/ });
});

test("paths are sorted by their UTF-8 bytes", () => {
  const names = ["a", "a/b", "a-b", "", "\u00e4", "\u{1f600}", "\u{1f600}a", "\ud7ff", "\ue000", "\uffff", "\u0001", "ab", "\u{10ffff}"];
  const byBuffers = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  assert.deepEqual([...names].sort(byBytes), byBuffers);
});
