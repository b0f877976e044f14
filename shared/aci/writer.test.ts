import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fsetxattr, makedev, mkfifo, mknodat } from "../syscall/file.ts";
import { addFile, addSymlink, type Entry, readTree, type Tree } from "./tree.ts";
import { COMPRESSIONS, sourceDateEpoch, writeAci } from "./writer.ts";

const MANIFEST = `${JSON.stringify({ acKind: "ImageManifest", acVersion: "0.8.11", name: "example.com/test" })}\n`;
const AT_FDCWD = -100;

function scratch(t: TestContext): string {
  const directory = fs.mkdtempSync(join(tmpdir(), "rkt-aci-"));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const decompressors = { gzip: "gzip -dc", xz: "xz -dc", zstd: "zstd -dc", none: "cat" };

for (const compression of COMPRESSIONS)
  test(`${compression}: the ID is the SHA-512 of what ${decompressors[compression]} gives`, async (t) => {
    const output = join(scratch(t), "image.aci");
    const rootfs: Tree = new Map();
    addFile(rootfs, "etc/motd", "hello\n".repeat(1000));
    const written = await writeAci(output, { manifest: MANIFEST, rootfs }, { compression });
    const tar = execFileSync("sh", ["-c", `${decompressors[compression]} <"$0"`, output], { maxBuffer: 1 << 26 });
    assert.equal(written.id, `sha512-${createHash("sha512").update(tar).digest("hex")}`);
    assert.equal(written.archiveSize, tar.length);
    assert.equal(written.size, fs.statSync(output).size);
    // actool predates zstd.
    if (compression !== "zstd") execFileSync("actool", ["validate", output], { stdio: "pipe" });
  });

/** Everything a root file system can hold, on disk. */
function makeEverything(root: string): void {
  const path = (name: string) => join(root, name);
  fs.mkdirSync(path("dir/empty"), { recursive: true });
  fs.chmodSync(path("dir"), 0o1777);
  fs.writeFileSync(path("dir/setuid"), "#!/bin/sh\n");
  fs.chownSync(path("dir/setuid"), 1234, 70_000);
  fs.chmodSync(path("dir/setuid"), 0o6755);
  fs.writeFileSync(path("empty"), "");
  fs.writeFileSync(path("block"), Buffer.alloc(512, "b"));
  fs.writeFileSync(path("big"), Buffer.alloc(3_000_001, "x"));
  fs.writeFileSync(path("largest-uid"), "");
  fs.chownSync(path("largest-uid"), 4_294_967_294, 4_294_967_294);
  fs.linkSync(path("big"), path("a-second-name"));
  fs.linkSync(path("big"), path("dir/third"));
  fs.symlinkSync("/absolute/and/dangling", path("absolute"));
  fs.symlinkSync("x".repeat(300), path("long-link"));
  const deep = path(`${"d".repeat(200)}/${"e".repeat(200)}`);
  fs.mkdirSync(deep, { recursive: true });
  fs.writeFileSync(join(deep, "f".repeat(255)), "deep");
  fs.writeFileSync(path("ünïcödé ☃"), "snow");
  fs.writeFileSync(path(" \\n\n\t"), "odd name");
  mkfifo(path("fifo"), 0o640);
  mknodat(AT_FDCWD, path("null"), 0o020666, makedev(1, 3));
  mknodat(AT_FDCWD, path("loop"), 0o060660, makedev(7, 300));
  const fd = fs.openSync(path("with-xattrs"), "w");
  fsetxattr(fd, "user.text", Buffer.from("value"));
  fsetxattr(fd, "user.bytes", Buffer.from("\0\n=\xff", "latin1"));
  // cap_net_bind_service=ep, VFS_CAP_REVISION_2 (capabilities(7)).
  fsetxattr(fd, "security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex"));
  fs.closeSync(fd);
}

/** The tree with the bytes of its files in place of the files. */
function loaded(tree: Tree): Map<string, Entry> {
  return new Map(
    [...tree].map(([path, entry]) => {
      if (entry.type !== "file" || !("path" in entry.content)) return [path, entry];
      return [path, { ...entry, content: fs.readFileSync(entry.content.path) }];
    }),
  );
}

test("GNU tar extracts what was on disk: owners, modes, links, devices, attributes, names", async (t) => {
  const directory = scratch(t);
  const [root, out] = [join(directory, "root"), join(directory, "out")];
  fs.mkdirSync(root);
  fs.mkdirSync(out);
  makeEverything(root);
  const original = readTree(root);
  await writeAci(join(directory, "image.aci"), { manifest: MANIFEST, rootfs: original, mtime: 86_400 });
  const flags = ["--extract", "--gzip", "--same-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*"];
  execFileSync("tar", [...flags, "--file", join(directory, "image.aci"), "--directory", out], { stdio: "pipe" });

  const extracted = readTree(join(out, "rootfs"));
  assert.deepEqual(loaded(extracted), loaded(original));
  assert.equal(fs.readFileSync(join(out, "manifest"), "utf8"), MANIFEST);
  for (const path of extracted.keys()) assert.equal(fs.lstatSync(join(out, "rootfs", path)).mtimeMs, 86_400_000, path);
});

test("the manifest is the first entry and rootfs the second", async (t) => {
  const output = join(scratch(t), "image.aci");
  const rootfs: Tree = new Map();
  addSymlink(rootfs, "bin", "usr/bin");
  await writeAci(output, { manifest: MANIFEST, rootfs });
  assert.equal(execFileSync("tar", ["--list", "--file", output]).toString(), "manifest\nrootfs/\nrootfs/bin\n");
});

test("the order in which a tree was put together does not show", async (t) => {
  const directory = scratch(t);
  const ids = [];
  for (const names of [
    ["b", "a/z", "a"],
    ["a", "b", "a/z"],
  ]) {
    const rootfs: Tree = new Map();
    for (const name of names)
      if (name === "a") rootfs.set(name, { type: "directory", mode: 0o755, uid: 0, gid: 0 });
      else addFile(rootfs, name, name);
    ids.push((await writeAci(join(directory, "image.aci"), { manifest: MANIFEST, rootfs })).id);
  }
  assert.equal(ids[0], ids[1]);
});

test("a file that changed since it was described is an error, and nothing is left", async (t) => {
  const directory = scratch(t);
  const path = join(directory, "log");
  fs.writeFileSync(path, "12345");
  for (const size of [4, 6]) {
    const rootfs: Tree = new Map();
    addFile(rootfs, "log", { path, size });
    const writing = writeAci(join(directory, "out/image.aci"), { manifest: MANIFEST, rootfs });
    await assert.rejects(writing, { code: "file-changed", message: `${path} changed while the image was written` });
  }
  assert.deepEqual(fs.readdirSync(join(directory, "out")), []);
});

test("a host's own attributes stay on the host", async (t) => {
  const root = scratch(t);
  const fd = fs.openSync(join(root, "f"), "w");
  fsetxattr(fd, "trusted.overlay.opaque", Buffer.from("y"));
  fsetxattr(fd, "user.kept", Buffer.from("1"));
  fs.closeSync(fd);
  assert.deepEqual([...(readTree(root).get("f")?.xattrs ?? [])], [["user.kept", Buffer.from("1")]]);
});

test("SOURCE_DATE_EPOCH", () => {
  assert.equal(sourceDateEpoch({}), 0);
  assert.equal(sourceDateEpoch({ SOURCE_DATE_EPOCH: "1500000000" }), 1_500_000_000);
  assert.throws(() => sourceDateEpoch({ SOURCE_DATE_EPOCH: "yesterday" }), { code: "bad-environment" });
});
