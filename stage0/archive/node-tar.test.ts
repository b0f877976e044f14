/**
 * Why images are not read with node-tar (ADR 2): archives that it reads in another way than they are meant, or in
 * which it finds no fault, although it is told to be strict; and what our reader says of them. When node-tar's part
 * of a case fails, it can do what it could not.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Parser, Unpack } from "tar";
import { RktError } from "../../shared/errors.ts";
import { xattrs } from "../../shared/syscall/file.ts";
import { type Entry, tar } from "../../test/fixtures/aci.ts";
import { TarReader } from "./tar-reader.ts";

interface Seen {
  path: string;
  size: number | undefined;
  data: string;
}

/** What node-tar finds, or how it fails. */
async function byNodeTar(archive: Buffer): Promise<Record<string, unknown>[]> {
  const found: (Seen & { mode: number | undefined; mtime: Date | undefined; keys: string })[] = [];
  const parser = new Parser({
    strict: true,
    onReadEntry(entry) {
      const { path, size, mode, mtime, extended } = entry;
      const keys = Object.entries(extended ?? {}).flatMap(([key, value]) => (value === undefined ? [] : [key]));
      const seen = { path, size, mode, mtime, keys: keys.join(), data: "" };
      found.push(seen);
      entry.on("data", (chunk) => {
        seen.data += Buffer.from(chunk).toString("latin1");
      });
    },
  });
  const ended = new Promise((resolve, reject) => {
    parser.on("end", resolve);
    parser.on("error", reject);
  });
  parser.end(archive);
  await ended;
  return found.map((entry) => ({ ...entry }));
}

/** What our reader finds, with paths and data as latin1, or the message of its error. */
function byOurs(archive: Buffer): Record<string, unknown>[] | string {
  const found: Record<string, unknown>[] = [];
  try {
    const reader = new TarReader((entry) => {
      const seen = { ...entry, data: "" };
      found.push(seen);
      return {
        data(chunk) {
          seen.data += chunk.toString("latin1");
        },
        end() {},
      };
    });
    reader.write(archive);
    reader.end();
    return found;
  } catch (error) {
    if (error instanceof RktError) return error.message;
    throw error;
  }
}

const extended = (type: string, records: string): Entry => ({ name: "extended", type, data: records });
const LONG = 1024 * 1024 + 1;

interface Case {
  name: string;
  archive: Buffer;
  /** Of each entry that node-tar finds. */
  nodeTar: Record<string, unknown>[];
  /** Of each entry, or the error. */
  ours: Record<string, unknown>[] | string;
}

const cases: Case[] = [
  {
    name: "a name that is not UTF-8 becomes another",
    archive: tar([{ name: Buffer.from("f\xff", "latin1") }]),
    nodeTar: [{ path: "f\ufffd" }],
    ours: [{ path: "f\xff" }],
  },
  {
    name: "a pax record with bytes that are not UTF-8 is dropped, and the header's name is taken",
    archive: tar([{ name: "other", pax: { path: Buffer.from("f\xff", "latin1") } }]),
    nodeTar: [{ path: "other" }],
    ours: [{ path: "f\xff" }],
  },
  {
    name: "extended attributes are dropped",
    archive: tar([{ name: "f", pax: { "SCHILY.xattr.user.a": "\0b" } }]),
    nodeTar: [{ path: "f", keys: "global" }],
    ours: [{ path: "f", xattrs: new Map([["user.a", Buffer.from("\0b")]]) }],
  },
  {
    name: "a pax record with a newline is dropped",
    archive: tar([{ name: "other", pax: { path: "a\nb" } }]),
    nodeTar: [{ path: "other" }],
    ours: [{ path: "a\nb" }],
  },
  {
    name: "a value can hold a record, which is then taken for one",
    archive: tar([{ name: "f", pax: { "SCHILY.xattr.user.a": "\n13 path=evil\n" } }]),
    nodeTar: [{ path: "evil" }],
    ours: [{ path: "f" }],
  },
  {
    name: "a pax value ends at NUL",
    archive: tar([{ name: "f", pax: { path: "a\0b" } }]),
    nodeTar: [{ path: "a" }],
    ours: 'the name "a\\u0000b" contains NUL',
  },
  {
    name: "of two pax records of one key the last is taken",
    archive: tar([extended("x", "10 path=a\n10 path=b\n"), { name: "f" }]),
    nodeTar: [{ path: "b" }],
    ours: 'an extended header has "path" twice',
  },
  {
    name: "a pax record with a wrong length is passed over",
    archive: tar([extended("x", "99 path=a\n"), { name: "f" }]),
    nodeTar: [{ path: "f" }],
    ours: "an extended header is damaged",
  },
  {
    name: "a pax size that is no decimal number is taken",
    archive: tar([{ name: "f", data: "x", pax: { size: "1e0" } }]),
    nodeTar: [{ path: "f", size: 1 }],
    ours: 'size: "1e0" is no number',
  },
  {
    name: "a long name beyond the limit is passed over, and the header's name is taken",
    archive: tar([{ name: "long", type: "L", data: `${"n".repeat(LONG)}\0` }, { name: "f" }]),
    nodeTar: [{ path: "f" }],
    ours: `an extended header is ${LONG + 1} bytes long, not 1 to 1048576`,
  },
  {
    name: "times have milliseconds",
    archive: tar([{ name: "f", pax: { mtime: "1.123456789" } }]),
    nodeTar: [{ path: "f", mtime: new Date(1123) }],
    ours: [{ path: "f", mtime: 1_123_456_789n }],
  },
  {
    name: "sparse files of pax 1.0 have the map in their data, and another name",
    archive: tar([
      {
        name: "GNUSparseFile.0/s",
        data: `${"1\n512\n5\n".padEnd(512, "\0")}hello`,
        pax: {
          "GNU.sparse.major": "1",
          "GNU.sparse.minor": "0",
          "GNU.sparse.name": "s",
          "GNU.sparse.realsize": "4096",
        },
      },
    ]),
    nodeTar: [{ path: "GNUSparseFile.0/s", size: 517, data: `${"1\n512\n5\n".padEnd(512, "\0")}hello` }],
    ours: [{ path: "s", size: 4096, segments: [{ offset: 512, size: 5 }], data: "hello" }],
  },
  {
    name: "sparse files of GNU tar's own format are passed over",
    archive: tar([
      {
        name: "s",
        type: "S",
        data: "hello",
        patch(header) {
          header.write("00000001000\x0000000000005\x00", 386, "latin1");
          header.write("00000010000\x00", 483, "latin1");
        },
      },
    ]),
    nodeTar: [],
    ours: [{ path: "s", size: 4096, segments: [{ offset: 512, size: 5 }], data: "hello" }],
  },
  {
    name: "a type that is not known is passed over",
    archive: tar([{ name: "a", type: "Q" }, { name: "b" }]),
    nodeTar: [{ path: "b" }],
    ours: 'a: entries of type "Q" are not supported',
  },
  {
    name: "of a number with other characters the beginning is taken",
    archive: tar([{ name: "f", patch: (header) => header.write("0000649", 100, "latin1") }]),
    nodeTar: [{ path: "f", mode: 0o64 }],
    ours: 'a header has the number "0000649"',
  },
  {
    name: "a negative size is none",
    archive: tar([{ name: "f", patch: (header) => header.fill(0xff, 124, 136) }]),
    nodeTar: [{ path: "f", size: 0 }],
    ours: "a header has a negative size",
  },
  {
    name: "a FIFO has data",
    archive: tar([{ name: "f", type: "6", data: "hello" }]),
    nodeTar: [{ path: "f", data: "hello" }],
    ours: "f: a fifo has no data, but its size is 5",
  },
  {
    name: "the archive goes on after half of its end marker",
    archive: Buffer.concat([tar([{ name: "f" }], { end: false }), Buffer.alloc(512), tar([{ name: "late" }])]),
    nodeTar: [{ path: "f" }, { path: "late" }],
    ours: "the archive goes on after its end marker",
  },
  {
    name: "the archive has no end marker",
    archive: tar([{ name: "f" }], { end: false }),
    nodeTar: [{ path: "f" }],
    ours: "the archive is cut short",
  },
  {
    name: "a name of POSIX's prefix counts only with POSIX' version, and is cut off without it",
    archive: tar([
      {
        name: "f",
        patch(header) {
          header.write("  ", 263, "latin1");
          header.write("p", 345);
        },
      },
    ]),
    nodeTar: [{ path: "f" }],
    ours: [{ path: "p/f" }],
  },
];

/** Only what `expected` names. */
function like(found: Record<string, unknown>[], expected: Record<string, unknown>[]): Record<string, unknown>[] {
  return found.map((entry, i) => Object.fromEntries(Object.keys(expected[i] ?? entry).map((key) => [key, entry[key]])));
}

for (const { name, archive, nodeTar, ours } of cases)
  test(`node-tar reads otherwise: ${name}`, async () => {
    const theirs = await byNodeTar(archive);
    assert.deepEqual(like(theirs, nodeTar), nodeTar, "node-tar");
    const found = byOurs(archive);
    assert.deepEqual(typeof found === "string" || typeof ours === "string" ? found : like(found, ours), ours, "ours");
  });

test("node-tar extracts otherwise: no device, FIFO or attribute; other modes, times and link targets", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rkt-node-tar-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const archive = tar([
    { name: "setuid", mode: 0o4755, uid: 1, pax: { mtime: "1.000000001" } },
    { name: "sticky", type: "5", mode: 0o1777 },
    { name: "fifo", type: "6" },
    { name: "null", type: "3", device: [1, 3] },
    { name: "absolute", type: "2", link: "/etc/passwd" },
    { name: "attributes", pax: { "SCHILY.xattr.user.a": "b" } },
  ]);
  const unpack = new Unpack({ cwd: directory, preserveOwner: true, processUmask: 0o022 });
  const closed = once(unpack, "close");
  unpack.end(archive);
  await closed;
  const find = ["-mindepth", "1", "-printf", "%f %y %m %T@ %l\\n"];
  const lines = execFileSync("find", [directory, ...find], { encoding: "utf8" })
    .trimEnd()
    .split("\n")
    .sort();
  assert.deepEqual(
    // A link has the time at which it was made.
    lines.map((line) => line.replace(/(?<= l 777 )\S+/, "now").trimEnd()),
    [
      "absolute l 777 now etc/passwd",
      "attributes f 644 0.0000000000",
      "setuid f 755 1.0000000000",
      "sticky d 1755 0.0000000000",
    ],
  );
  assert.equal(xattrs(join(directory, "attributes")).size, 0);
});
