import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openNamed, openNamedDirectory } from "./named-file.ts";
import { OutputFile } from "./output-file.ts";

const root = process.geteuid?.() === 0;

function scratch(t: TestContext): string {
  const directory = fs.mkdtempSync(join(tmpdir(), "rkt-output-"));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

/** Writes "ours" to `directory/out`; `meanwhile` gets the path of the temporary file. */
function write(directory: string, overwrite: boolean, meanwhile: (temporary: string) => void = () => {}): void {
  const output = new OutputFile(join(directory, "out"), { mode: 0o640 });
  try {
    fs.writeFileSync(output.fd, "ours");
    const [temporary = ""] = fs.readdirSync(directory).filter((name) => name.startsWith("out."));
    meanwhile(join(directory, temporary));
    output.place({ overwrite, flush: true });
  } finally {
    output.close();
  }
}

for (const overwrite of [false, true])
  test(`the file appears whole, and nothing else is left; overwrite: ${overwrite}`, (t) => {
    const directory = scratch(t);
    if (overwrite) fs.writeFileSync(join(directory, "out"), "old");
    write(directory, overwrite);
    assert.deepEqual(fs.readdirSync(directory), ["out"]);
    assert.equal(fs.readFileSync(join(directory, "out"), "utf8"), "ours");
    assert.equal(fs.statSync(join(directory, "out")).mode & 0o777, 0o640);
  });

test("what is there stays unless it is to be replaced", (t) => {
  const directory = scratch(t);
  fs.symlinkSync("/nowhere", join(directory, "out"));
  assert.throws(() => write(directory, false), { code: "EEXIST" });
  assert.deepEqual(fs.readdirSync(directory), ["out"]);
  assert.equal(fs.readlinkSync(join(directory, "out")), "/nowhere");
});

test("a temporary file that somebody exchanged: ours is placed, or none", (t) => {
  const directory = scratch(t);
  const victim = join(directory, "victim");
  fs.writeFileSync(victim, "kept");
  const exchange = (temporary: string) => {
    fs.renameSync(temporary, join(directory, "stolen"));
    fs.symlinkSync(victim, temporary);
  };
  write(directory, false, exchange);
  assert.equal(fs.readFileSync(join(directory, "out"), "utf8"), "ours");
  fs.rmSync(join(directory, "out"));
  assert.throws(() => write(directory, true, exchange), { code: "write-failed" });
  assert.equal(fs.readFileSync(victim, "utf8"), "kept");
});

test("what cannot be written is named as the person did", (t) => {
  const path = join(scratch(t), "none/out");
  assert.throws(() => new OutputFile(path, { mode: 0o600 }), { code: "ENOENT", path });
});

test("the directory stays the one that was named, whatever takes its name", (t) => {
  const directory = scratch(t);
  const [here, moved, elsewhere] = ["here", "moved", "elsewhere"].map((name) => join(directory, name)) as [string, string, string];
  fs.mkdirSync(here);
  fs.mkdirSync(elsewhere);
  write(here, true, () => {
    fs.renameSync(here, moved);
    fs.symlinkSync(elsewhere, here);
  });
  assert.deepEqual(fs.readdirSync(elsewhere), []);
  assert.deepEqual(fs.readdirSync(moved), ["out"]);
});

test("named: links, missing directories, what is no directory", (t) => {
  const directory = scratch(t);
  const at = (name: string) => join(directory, name);
  const close = (fd: number) => fs.closeSync(fd);
  fs.symlinkSync("a/../a", at("relative"));
  fs.symlinkSync(at("relative"), at("absolute"));
  fs.symlinkSync("loop", at("loop"));
  fs.writeFileSync(at("file"), "");
  assert.throws(() => openNamedDirectory(at("a/b")), { code: "ENOENT", path: at("a/b") });
  close(openNamedDirectory(`${at("a/b")}/../c`, { make: true }));
  assert.deepEqual(fs.readdirSync(at("a")).sort(), ["b", "c"]);
  close(openNamedDirectory(at("absolute/b")));
  close(openNamed(at("file")));
  for (const [path, code] of [["loop", "ELOOP"], ["file", "ENOTDIR"], ["file/x", "ENOTDIR"], ["none", "ENOENT"]] as const)
    assert.throws(() => openNamedDirectory(at(path)), { code, path: at(path) });
});

test("named: another user's link is refused, wherever on the way", { skip: !root }, (t) => {
  const directory = scratch(t);
  const at = (name: string) => join(directory, name);
  fs.mkdirSync(at("a/b"), { recursive: true });
  fs.symlinkSync("a", at("theirs"));
  fs.lchownSync(at("theirs"), 65534, 65534);
  fs.symlinkSync("theirs", at("ours"));
  for (const path of ["theirs", "theirs/b", "ours/b"])
    assert.throws(() => openNamedDirectory(at(path)), { code: "foreign-link", message: `a link to a on the way to ${at(path)} belongs to user 65534` });
  assert.throws(() => write(at("theirs"), true), { code: "foreign-link" });
});
