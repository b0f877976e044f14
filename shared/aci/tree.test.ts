import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RktError } from "../errors.ts";
import { addDirectory, addFile, addSymlink, archiveOrder, readTree, type Tree } from "./tree.ts";

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
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, "a"));
  writeFileSync(join(root, "a/file"), "x");
  symlinkSync("file", join(root, "b"));
  const swap = `const { renameSync } = require("node:fs"); process.chdir(process.argv[1]);
    for (;;) { renameSync("a", "x"); renameSync("b", "a"); renameSync("x", "b"); }`;
  const child = spawn(process.execPath, ["-e", swap, root], { stdio: "inherit" });
  t.after(() => child.kill("SIGKILL"));
  while (lstatSync(join(root, "a"), { throwIfNoEntry: false })?.isDirectory() === true);
  for (let i = 0; i < 5000; i++) assert.equal(readTree(root, { live: true }).get("")?.type, "directory");
});
