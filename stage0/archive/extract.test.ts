import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, tar } from "../../test/fixtures/aci.ts";
import { BelowRoot, kindAt, nameBytes, splitPath } from "./below-root.ts";
import { Extractor } from "./extract.ts";
import { sparseWriter } from "./file-data.ts";
import { LateDirectories } from "./late-directories.ts";
import { checkXattrs } from "./metadata.ts";
import { TarReader } from "./tar-reader.ts";

/** `root`, where images go, and a file `outside` that none may touch. */
function scratch(t: TestContext): { root: string; outside: string } {
  const directory = mkdtempSync(join(tmpdir(), "rkt-extract-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const [root, outside] = [join(directory, "root"), join(directory, "outside")];
  mkdirSync(root);
  mkdirSync(outside);
  writeFileSync(join(outside, "secret"), "untouched");
  return { root, outside };
}

/** Extracts images over each other. */
function extract(root: string, images: readonly (readonly Entry[])[], links?: { below: boolean }): void {
  const extractor = new Extractor(root, { links });
  try {
    for (const entries of images) {
      extractor.nextImage();
      const reader = new TarReader((entry) => extractor.entry(entry, entry.path.replace(/^rootfs\/?/, "")));
      reader.write(tar(entries.map((entry) => ({ ...entry, name: `rootfs/${entry.name}` }))));
      reader.end();
    }
    extractor.finish();
  } finally {
    extractor.close();
  }
}

/** Path, type, mode and link of everything, sorted. */
const listing = (root: string): string[] =>
  execFileSync("find", [root, "-mindepth", "1", "-printf", "%P %y %m %T@ %l\\n"], { encoding: "utf8" })
    .trimEnd()
    .split("\n")
    .map((line) => line.trimEnd().replace(/(\.\d*?)0+(?= |$)/, "$1"))
    .sort();

test("extract: metadata of everything, and times of directories after what is in them", (t) => {
  const { root } = scratch(t);
  extract(root, [
    [
      { name: "d", type: "5", mode: 0o1555, mtime: 10 },
      { name: "d/f", data: "hello", mode: 0o4755, uid: 1, gid: 2, pax: { mtime: "1.000000001" } },
      { name: "d/l", type: "2", link: "/nowhere", uid: 3, mtime: 11 },
      { name: "d/p", type: "6", mode: 0o640, mtime: 12 },
      { name: "d/c", type: "3", device: [1, 3], mode: 0o666, mtime: 13 },
      { name: "d/h", type: "1", link: "rootfs/d/f" },
      { name: "unnamed/f", mtime: 14 },
    ],
  ]);
  assert.deepEqual(listing(root), [
    "d d 1555 10.",
    "d/c c 666 13.",
    "d/f f 4755 1.000000001",
    "d/h f 4755 1.000000001",
    "d/l l 777 11. /nowhere",
    "d/p p 640 12.",
    "unnamed d 755 0.",
    "unnamed/f f 644 14.",
  ]);
  assert.equal(readFileSync(join(root, "d/f"), "utf8"), "hello");
  assert.deepEqual(
    [statSync(join(root, "d/f")).uid, statSync(join(root, "d/f")).gid, lstatSync(join(root, "d/l")).uid],
    [1, 2, 3],
  );
  assert.equal(statSync(join(root, "d/f")).ino, statSync(join(root, "d/h")).ino);
});

test("extract: the root's own metadata", (t) => {
  const { root } = scratch(t);
  extract(root, [[{ name: "", type: "5", mode: 0o711, mtime: 5 }, { name: "f" }]]);
  assert.deepEqual([statSync(root).mode & 0o7777, statSync(root).mtimeMs], [0o711, 5000]);
});

test("extract: a hole is a hole, at the end too", (t) => {
  const { root } = scratch(t);
  const sparse = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "rootfs/s",
    "GNU.sparse.realsize": "10000000",
  };
  extract(root, [[{ name: "s", data: `${"1\n4096\n5\n".padEnd(512, "\0")}hello`, pax: sparse }]]);
  const { size, blocks } = statSync(join(root, "s"));
  assert.ok(size === 10_000_000 && blocks <= 16, `${blocks}`);
  assert.equal(readFileSync(join(root, "s")).toString("latin1", 4095, 4102), "\0hello\0");
});

const replaced: { name: string; lower: Entry[]; upper: Entry[]; listing: string[] }[] = [
  {
    name: "a file over a file",
    lower: [{ name: "x", data: "old" }],
    upper: [{ name: "x", mode: 0o600 }],
    listing: ["x f 600 0."],
  },
  { name: "a file over a directory", lower: [{ name: "x/y/z" }], upper: [{ name: "x" }], listing: ["x f 644 0."] },
  {
    name: "a directory over a file",
    lower: [{ name: "x" }],
    upper: [{ name: "x", type: "5" }],
    listing: ["x d 755 0."],
  },
  {
    name: "a directory over a link",
    lower: [{ name: "x", type: "2", link: "/" }],
    upper: [{ name: "x", type: "5" }],
    listing: ["x d 755 0."],
  },
  {
    name: "a file below what was a link",
    lower: [{ name: "x", type: "2", link: "/" }],
    upper: [{ name: "x/y" }],
    listing: ["x d 755 0.", "x/y f 644 0."],
  },
  {
    name: "a file below what was a file",
    lower: [{ name: "x" }],
    upper: [{ name: "x/y" }],
    listing: ["x d 755 0.", "x/y f 644 0."],
  },
  {
    name: "a link over a directory",
    lower: [{ name: "x/y" }],
    upper: [{ name: "x", type: "2", link: "y" }],
    listing: ["x l 777 0. y"],
  },
  {
    name: "a directory again: what is in it stays",
    lower: [{ name: "x", type: "5", mode: 0o700 }, { name: "x/y" }],
    upper: [{ name: "x", type: "5", mode: 0o711 }],
    listing: ["x d 711 0.", "x/y f 644 0."],
  },
  {
    name: "a device over a file",
    lower: [{ name: "x" }],
    upper: [{ name: "x", type: "3", device: [1, 3] }],
    listing: ["x c 644 0."],
  },
];
for (const { name, lower, upper, listing: expected } of replaced)
  test(`extract: another image's ${name}`, (t) => {
    const { root } = scratch(t);
    extract(root, [lower, upper]);
    assert.deepEqual(listing(root), expected);
  });

test("extract: a hard link to a symbolic link, and whether it is to an earlier image's file", (t) => {
  const { root } = scratch(t);
  const links = { below: false };
  const link: Entry = { name: "l", type: "2", link: "/nowhere" };
  extract(root, [[link, { name: "h", type: "1", link: "rootfs/l" }]], links);
  assert.deepEqual(
    [readlinkSync(join(root, "h")), lstatSync(join(root, "h")).nlink, links.below],
    ["/nowhere", 2, false],
  );
  rmSync(root, { recursive: true });
  mkdirSync(root);
  extract(root, [[link], [{ name: "h", type: "1", link: "rootfs/l" }]], links);
  assert.ok(links.below);
});

const OVER = "system.posix_acl_other";
const refused: { name: string; entries: (outside: string) => Entry[]; message: RegExp }[] = [
  {
    name: "a file through a link",
    entries: (to) => [
      { name: "x", type: "2", link: to },
      { name: "x/secret", data: "!" },
    ],
    message: /^\/x is in the archive twice, as different things$/,
  },
  {
    name: "a directory over a link",
    entries: (to) => [
      { name: "x", type: "2", link: to },
      { name: "x", type: "5" },
    ],
    message: /^\/x is in the archive twice, as different things$/,
  },
  {
    name: "a file over a link",
    entries: (to) => [
      { name: "x", type: "2", link: `${to}/secret` },
      { name: "x", data: "!" },
    ],
    message: /^\/x is in the archive twice$/,
  },
  {
    name: "a hard link through a link",
    entries: (to) => [
      { name: "x", type: "2", link: to },
      { name: "h", type: "1", link: "rootfs/x/secret" },
    ],
    message: /^cannot write \/h: openat2 x\/secret: ELOOP$/,
  },
  {
    name: "a hard link out of rootfs",
    entries: (to) => [{ name: "h", type: "1", link: `${to}/secret` }],
    message: /which is outside of the image's rootfs$/,
  },
  {
    name: "a hard link with ..",
    entries: () => [{ name: "h", type: "1", link: "rootfs/../outside/secret" }],
    message: /which is outside of the image's rootfs$/,
  },
  {
    name: "a hard link to what is not there",
    entries: () => [{ name: "h", type: "1", link: "rootfs/a" }],
    message: /^\/h is a hard link to "rootfs\/a", which is not there$/,
  },
  {
    name: "a whiteout",
    entries: () => [{ name: "w", type: "3", device: [0, 0] }],
    message: /^\/w is a character device 0:0, an overlay's whiteout$/,
  },
  {
    name: "an attribute of overlayfs",
    entries: () => [{ name: "f", pax: { "SCHILY.xattr.trusted.overlay.opaque": "y" } }],
    message: /"trusted\.overlay\.opaque" is not allowed in an image$/,
  },
  {
    name: "an attribute that nobody knows",
    entries: () => [{ name: "f", pax: { [`SCHILY.xattr.${OVER}`]: "y" } }],
    message: /"system\.posix_acl_other" is not allowed in an image$/,
  },
];
for (const { name, entries, message } of refused)
  test(`extract refused: ${name}`, (t) => {
    const { root, outside } = scratch(t);
    assert.throws(() => extract(root, [entries(outside)]), { name: "RktError", message });
    assert.deepEqual([readdirSync(outside), readFileSync(join(outside, "secret"), "utf8")], [["secret"], "untouched"]);
  });

test("extract: it keeps no descriptor, whether it ends well or not", (t) => {
  const { root, outside } = scratch(t);
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  extract(root, [
    [
      { name: "a/b/f", data: "x" },
      { name: "a/b/h", type: "1", link: "rootfs/a/b/f" },
    ],
  ]);
  assert.equal(open(), before);
  for (const { entries } of refused) {
    const { root: other } = scratch(t);
    assert.throws(() => extract(other, [[{ name: "a/b/f" }, ...entries(outside)]]));
  }
  assert.equal(open(), before);
});

test("below the root: no link is followed, and .. is none of its names", (t) => {
  const { root, outside } = scratch(t);
  symlinkSync(outside, join(root, "out"));
  symlinkSync("d", join(root, "in"));
  mkdirSync(join(root, "d"));
  const below = new BelowRoot(root);
  try {
    assert.equal(below.enter("d"), below.enter("d"));
    for (const [path, code] of [
      ["out", "ELOOP"],
      ["in", "ELOOP"],
      ["in/x", "ELOOP"],
      ["..", "EXDEV"],
      ["d/../..", "EXDEV"],
      ["none", "ENOENT"],
    ] as const)
      assert.throws(() => below.enter(path), { code }, path);
    assert.throws(() => below.openFile("in/x"), { code: "ELOOP" });
    const link = below.openFile("out");
    assert.ok(fstatSync(link).isSymbolicLink());
    closeSync(link);
    // A failure leaves the directory that was entered.
    const directory = below.enter("");
    assert.deepEqual(
      ["d", "out", "none"].map((name) => kindAt({ directory, name: nameBytes(name) })),
      ["directory", "other", undefined],
    );
  } finally {
    below.close();
  }
});

test("a path's parts", () => {
  assert.deepEqual(["a", "a/b", "a/b/c"].map(splitPath), [
    ["", "a"],
    ["a", "b"],
    ["a/b", "c"],
  ]);
});

const plain = { uid: 0, gid: 0, mode: 0o755, mtime: 0n, xattrs: new Map<string, Buffer>() };

test("late directories: the deepest first, the last note of each", () => {
  const late = new LateDirectories();
  for (const path of ["", "a", "a/b", "b", "c"]) late.note(path, plain);
  late.note("a", { ...plain, mode: 0o700 });
  late.forget("c");
  late.forget("never");
  assert.deepEqual(
    late.deepestFirst().map(([path, { mode }]) => [path, mode]),
    [
      ["b", 0o755],
      ["a/b", 0o755],
      ["a", 0o700],
      ["", 0o755],
    ],
  );
});

test("late directories: what they hold is bounded, and given back", () => {
  const late = new LateDirectories();
  const large = { ...plain, xattrs: new Map([["user.a", Buffer.alloc(45 * 1024 ** 2)]]) };
  for (let i = 0; i < 5; i++) late.note("same", large);
  late.note("another", large);
  late.forget("another");
  late.note("a third", large);
  assert.throws(() => late.note("too much", large), {
    code: "bad-archive",
    message: /^its directories' names and attributes are longer than 100663296 bytes in all$/,
  });
});

test("an attribute of more than 64 KiB is refused", () => {
  checkXattrs("f", new Map([["user.a", Buffer.alloc(65_536)]]));
  assert.throws(() => checkXattrs("f", new Map([["user.a", Buffer.alloc(65_537)]])), {
    message: "/f: an extended attribute has more than 65536 bytes",
  });
});

test("sparse data go where the map says, however they come in pieces", (t) => {
  const { root } = scratch(t);
  const data = Buffer.from("abcdefgh");
  const segments = [
    { offset: 2, size: 3 },
    { offset: 5, size: 0 },
    { offset: 8, size: 5 },
  ];
  for (const piece of [1, 3, 8]) {
    const fd = openSync(join(root, `f${piece}`), "w");
    const write = sparseWriter(fd, segments);
    for (let at = 0; at < data.length; at += piece) write(data.subarray(at, at + piece));
    assert.throws(() => write(Buffer.from("x")), { message: "more data than the sparse map has room for" });
    closeSync(fd);
    assert.equal(readFileSync(join(root, `f${piece}`), "latin1"), "\0\0abc\0\0\0defgh");
  }
});
