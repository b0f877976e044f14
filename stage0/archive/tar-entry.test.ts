import assert from "node:assert/strict";
import { test } from "node:test";
import { type Entry, tar } from "../../test/fixtures/aci.ts";
import { NO_RECORDS, PaxRecords } from "./pax-records.ts";
import { describeEntry, type TarEntry } from "./tar-entry.ts";
import { BLOCK, TarHeader } from "./tar-header.ts";

interface Given extends Entry {
  records?: Record<string, string>;
  longName?: string;
  longLink?: string;
}

function describe({ records = {}, longName, longLink, ...entry }: Given): { entry: TarEntry; stored: number } {
  const local = new Map(Object.entries(records).map(([key, value]) => [key, Buffer.from(value)]));
  const pax = new PaxRecords(local, NO_RECORDS, NO_RECORDS);
  return describeEntry(new TarHeader(tar([entry]).subarray(0, BLOCK)), { pax, longName, longLink }, { depth: 512 });
}

const types: [typeFlag: string, name: string, type: string][] = [
  ["0", "f", "file"],
  ["\0", "f", "file"],
  ["7", "f", "file"],
  ["S", "f", "file"],
  ["0", "d/", "directory"],
  ["\0", "d/", "directory"],
  ["1", "l", "link"],
  ["2", "l", "symlink"],
  ["3", "c", "character"],
  ["4", "b", "block"],
  ["5", "d/", "directory"],
  ["6", "p", "fifo"],
];
for (const [typeFlag, name, type] of types)
  test(`entry: type ${JSON.stringify(typeFlag)}, name ${name}`, () =>
    assert.equal(describe({ name, type: typeFlag, link: "x" }).entry.type, type));

test("entry: what the header says", () => {
  const { entry, stored } = describe({ name: "./f", data: "hello", mode: 0o104755, uid: 1, gid: 2, mtime: 3 });
  assert.deepEqual(entry, {
    ...{ type: "file", path: "f", linkPath: "", mode: 0o4755, uid: 1, gid: 2, size: 5, mtime: 3_000_000_000n },
    ...{ major: 0, minor: 0, xattrs: new Map(), segments: undefined },
  });
  assert.equal(stored, 5);
});

test("entry: pax comes before long names, and long names before the header", () => {
  const given: Given = { name: "header", type: "2", link: "header-link", longName: "long", longLink: "long-link" };
  const records = { path: "pax", linkpath: "pax-link", uid: "1", gid: "2", mtime: "1.5", "SCHILY.xattr.user.a": "b" };
  const names = ({ entry }: { entry: TarEntry }) => [entry.path, entry.linkPath];
  assert.deepEqual(names(describe({ name: "header", type: "2", link: "header-link" })), ["header", "header-link"]);
  assert.deepEqual(names(describe(given)), ["long", "long-link"]);
  const { entry } = describe({ ...given, records });
  assert.deepEqual(
    [entry.path, entry.linkPath, entry.uid, entry.gid, entry.mtime, [...entry.xattrs.keys()]],
    ["pax", "pax-link", 1, 2, 1_500_000_000n, ["user.a"]],
  );
  assert.equal(describe({ name: "f", records: { path: "p", "GNU.sparse.name": "sparse" } }).entry.path, "sparse");
});

test("entry: a hard link's or a directory's size says nothing of data", () => {
  for (const type of ["1", "5"]) {
    const { entry, stored } = describe({ name: "x", type, link: "y", size: 7 });
    assert.deepEqual([entry.size, stored], [0, 0], type);
  }
});

test("entry: only devices have numbers", () => {
  const numbers = ({ entry }: { entry: TarEntry }) => [entry.major, entry.minor];
  assert.deepEqual(numbers(describe({ name: "c", type: "3", device: [1, 3] })), [1, 3]);
  assert.deepEqual(numbers(describe({ name: "f", device: [1, 3] })), [0, 0]);
});

const refused: { name: string; given: Given; message: string }[] = [
  { name: "an unknown type", given: { name: "f", type: "Z" }, message: 'f: entries of type "Z" are not supported' },
  { name: "a link to nothing", given: { name: "l", type: "2" }, message: "l: it is a link to nothing" },
  { name: "a hard link to nothing", given: { name: "l", type: "1" }, message: "l: it is a link to nothing" },
  {
    name: "a long link target",
    given: { name: "l", type: "2", longLink: "x".repeat(4097) },
    message: "l: its link target is longer than 4096 bytes",
  },
  {
    name: "a symbolic link with data",
    given: { name: "l", type: "2", link: "x", size: 1 },
    message: "l: a symlink has no data, but its size is 1",
  },
  {
    name: "an owner that is no ID",
    given: { name: "f", records: { uid: "4294967295" } },
    message: "f: its owner 4294967295 is no user or group ID",
  },
  {
    name: "a group that is no ID",
    given: { name: "f", records: { gid: "4294967295" } },
    message: "f: its owner 4294967295 is no user or group ID",
  },
  {
    name: "a name that leads out",
    given: { name: "f", records: { path: "../f" } },
    message: 'the name "../f" has a component ".."',
  },
  {
    name: "a wrong size in the header, though pax has another",
    given: { name: "f", records: { size: "1" }, patch: (header) => header.write("x", 124, "latin1") },
    message: 'a header has the number "x0000000000"',
  },
];
for (const { name, given, message } of refused)
  test(`entry refused: ${name}`, () => assert.throws(() => describe(given), { code: "bad-archive", message }));
