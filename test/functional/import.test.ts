/** What an image costs to take in, once and again, as the kernel sees it. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipped, makeAci } from "../fixtures/aci.ts";
import { exampleAci, makeRkt, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

interface Trace {
  /** Bytes read through descriptors of files whose path fits. */
  read(path: RegExp): number;
  written(path: RegExp): number;
  /** How often such a file was opened to be read, or looked at by its path. */
  opened(path: RegExp): number;
  looked(path: RegExp): number;
}

/** Runs rkt under strace, all its threads and the programs it starts. */
function traced(rkt: Rkt, ...words: string[]): Trace {
  const prefix = join(mkdtempSync(join(rkt.scratch, "trace-")), "thread");
  const calls =
    "trace=read,pread64,readv,preadv,preadv2,write,pwrite64,writev,pwritev,open,openat,openat2,stat,statx,newfstatat,lstat";
  const line = ["-ff", "-y", "-qq", "-s", "0", "-e", calls, "-o", prefix, rktBinary, `--dir=${rkt.dir}`, ...words];
  const done = spawnSync("strace", line, { encoding: "utf8", cwd: rkt.scratch });
  assert.equal(done.status, 0, done.stderr);
  // A file per thread: no call is cut in two by another thread's.
  const log = globSync(`${prefix}.*`).flatMap((path) => readFileSync(path, "utf8").split("\n"));
  const bytes = (name: string) => (path: RegExp) => {
    const call = new RegExp(`^(?:p?${name}(?:64|v2?)?)\\(\\d+<([^>]*)>.* = (\\d+)$`);
    return log.reduce((sum, text) => {
      const [, file = "", count] = call.exec(text) ?? [];
      return path.test(file) ? sum + Number(count) : sum;
    }, 0);
  };
  const count = (call: RegExp, path: RegExp) =>
    log.filter((text) => call.test(text) && path.test(/"([^"]*)"/.exec(text)?.[1] ?? "")).length;
  return {
    read: bytes("read"),
    written: bytes("write"),
    opened: (path) => count(/^open.* = \d+</, path),
    looked: (path) => count(/^(?:stat|lstat|statx|newfstatat)\(.* = 0$/, path),
  };
}

const BLOB = /\/cas\/blob\/sha512\/..\/sha512-/;
const TEMPORARY = /\/cas\/tmp\/blob-/;

test("an import is one pass: the file is read once, the blob written once and not read", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t);
  const archive = makeAci([{ name: "rootfs/a", data: "some text ".repeat(300_000) }]);
  const aci = scratchFile(rkt, "image.aci", gzipped(archive));
  const trace = traced(rkt, "fetch", "--insecure-options=image", aci);
  const itself = /\/scratch\/image\.aci$/;
  assert.equal(trace.opened(itself), 1);
  assert.equal(trace.read(itself), statSync(aci).size);
  assert.equal(trace.written(TEMPORARY), archive.length);
  assert.equal(trace.read(TEMPORARY) + trace.read(BLOB), 0);
});

test("an image that is known costs a stat: neither its file nor its blob is opened again", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t);
  const images = /\/(?:busybox|stage1-nspawn)\.aci$/;
  const first = traced(rkt, "prepare", exampleAci("busybox"));
  assert.equal(first.opened(images), 2);
  const second = traced(rkt, "prepare", exampleAci("busybox"));
  assert.deepEqual(
    { files: second.opened(images), blobs: second.opened(BLOB), bytes: second.read(BLOB) },
    { files: 0, blobs: 0, bytes: 0 },
  );
  assert.ok(second.looked(images) >= 2);
  assert.equal(second.opened(/\/cas\/tmp\//), 0);
  assert.equal(readdirSync(join(rkt.dir, "cas/tree")).length, 2);
});

test("a file that was touched is read again, and gives the same image", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t);
  const aci = scratchFile(rkt, "image.aci", makeAci());
  const fetch = ["fetch", "--insecure-options=image", aci];
  const id = rkt.ok(fetch).stdout;
  utimesSync(aci, 1, 1);
  assert.equal(traced(rkt, ...fetch).read(/\/scratch\/image\.aci$/), statSync(aci).size);
  assert.equal(rkt.ok(fetch).stdout, id);
  assert.equal(globSync("cas/blob/sha512/*/*", { cwd: rkt.dir }).length, 1);
});
