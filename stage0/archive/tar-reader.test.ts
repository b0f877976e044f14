import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, tar } from "../../test/fixtures/aci.ts";
import { TAR_LIMITS, type TarLimits, TarReader } from "./tar-reader.ts";

/** Each entry as a line, and its data, which end with a dot when the reader said so. */
function read(archive: Buffer, piece = archive.length, limits?: TarLimits): [line: string, data: string][] {
  const found: [line: string, data: string][] = [];
  const reader = new TarReader(({ type, path, linkPath, size, segments }) => {
    const link = linkPath === "" ? "" : ` -> ${linkPath}`;
    const map = segments === undefined ? "" : ` [${segments.map((one) => `${one.offset}+${one.size}`)}]`;
    const entry: [string, string] = [`${type} ${path}${link} ${size}${map}`, ""];
    found.push(entry);
    return {
      data(chunk) {
        entry[1] += chunk.toString();
      },
      end() {
        entry[1] += ".";
      },
    };
  }, limits);
  // Each piece is in a buffer of its own, which is overwritten: the reader may keep nothing of it.
  for (let at = 0; at < archive.length; at += piece) {
    const chunk = Buffer.from(archive.subarray(at, at + piece));
    reader.write(chunk);
    chunk.fill("!");
  }
  reader.end();
  return found;
}

const entries: Entry[] = [
  { name: "d", type: "5" },
  { name: "d/f", data: "hello" },
  { name: "d/empty" },
  { name: "d/block", data: "b".repeat(512) },
  { name: "l", type: "2", link: "d/f" },
  { name: "h", type: "1", link: "d/f", size: 5, data: "" },
  { name: "././@LongLink", type: "L", data: `${"n".repeat(150)}\0` },
  { name: "n", data: "x" },
];
const expected = [
  ["directory d 0", "."],
  ["file d/f 5", "hello."],
  ["file d/empty 0", "."],
  ["file d/block 512", `${"b".repeat(512)}.`],
  ["symlink l -> d/f 0", "."],
  ["link h -> d/f 0", "."],
  [`file ${"n".repeat(150)} 1`, "x."],
];

test("reader: every entry, and its data to the end", () => assert.deepEqual(read(tar(entries)), expected));

for (const piece of [1, 7, 511, 512, 513, 1024, 1025])
  test(`reader: pieces of ${piece} bytes make no difference`, () =>
    assert.deepEqual(read(tar(entries), piece), expected));

test("reader: what follows the end marker is not read", () => {
  assert.deepEqual(read(Buffer.concat([tar([{ name: "f" }]), Buffer.from("anything")])), [["file f 0", "."]]);
});

test("reader: one block of zeros is an end, when nothing follows", () => {
  const archive = Buffer.concat([tar([{ name: "f" }], { end: false }), Buffer.alloc(512)]);
  assert.deepEqual(read(archive), [["file f 0", "."]]);
});

const CUT = "the archive is cut short";
const NONE = "it is not a tar archive";
const WHOLE = tar([{ name: "f", data: "hello" }], { end: false });
const broken = Buffer.from(tar([{ name: "a" }, { name: "b" }])).fill("x", 512, 520);
const refused: { name: string; archive: Buffer; message: string; limits?: Partial<TarLimits> }[] = [
  { name: "nothing", archive: Buffer.alloc(0), message: NONE },
  { name: "text", archive: Buffer.from("hello\n".repeat(100)), message: NONE },
  { name: "less than a block", archive: Buffer.from("hello"), message: NONE },
  { name: "a header that is cut short", archive: WHOLE.subarray(0, 511), message: NONE },
  { name: "no data", archive: WHOLE.subarray(0, 512), message: CUT },
  { name: "half of the data", archive: WHOLE.subarray(0, 514), message: CUT },
  { name: "half of the padding", archive: WHOLE.subarray(0, 600), message: CUT },
  { name: "no end marker", archive: WHOLE, message: CUT },
  { name: "half of a header", archive: Buffer.concat([WHOLE, WHOLE.subarray(0, 100)]), message: CUT },
  {
    name: "an entry after a block of zeros",
    archive: Buffer.concat([WHOLE, Buffer.alloc(512), WHOLE]),
    message: "the archive goes on after its end marker",
  },
  {
    name: "a header that was changed",
    archive: broken,
    message: "the archive is damaged: the checksum of a header is wrong",
  },
  {
    name: "more entries than the limit",
    archive: tar(entries),
    limits: { entries: 6 },
    message: "it has more than 6 entries",
  },
  {
    name: "a file larger than the limit",
    archive: tar(entries),
    limits: { fileSize: 511 },
    message: "d/block: it is 512 bytes, more than 511",
  },
  {
    name: "a path deeper than the limit",
    archive: tar(entries),
    limits: { depth: 1 },
    message: 'the name "d/f" has more than 1 components',
  },
];
for (const { name, archive, message, limits } of refused)
  test(`reader refused: ${name}`, () => {
    assert.throws(() => read(archive, 512, { ...TAR_LIMITS, ...limits }), { code: "bad-archive", message });
  });

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCD";

/** A directory with what GNU tar's formats write in ways of their own. */
function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "rkt-reader-"));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, "r"));
  const fd = openSync(join(directory, "r/sparse"), "w");
  for (let i = 0; i < 30; i++) writeSync(fd, Buffer.alloc(4096, LETTERS.charAt(i)), 0, 4096, i * 65_536);
  writeFileSync(join(directory, "r", "n".repeat(200)), "long");
  symlinkSync("t".repeat(200), join(directory, "r/link"));
  linkSync(join(directory, "r/link"), join(directory, "r/second"));
  chmodSync(join(directory, "r"), 0o755);
  utimesSync(join(directory, "r"), 1, 1);
  return directory;
}

const RUNS = [...Array(30).keys()];
const SIZE = 29 * 65_536 + 4096;
/** GNU tar ends a map with the file's size. */
const MAP = ` [${RUNS.map((i) => `${i * 65_536}+4096`)},${SIZE}+0]`;

for (const options of [
  "--format=gnu",
  "--format=gnu --sparse",
  "--format=oldgnu --sparse",
  "--format=pax",
  "--format=pax --sparse --sparse-version=0.1",
  "--format=pax --sparse --sparse-version=1.0",
])
  test(`reader: what GNU tar writes with ${options}`, (t) => {
    const archive = execFileSync("tar", ["--create", ...options.split(" "), "--sort=name", "r"], {
      cwd: scratch(t),
      maxBuffer: 1 << 26,
    });
    const found = read(archive, 1000);
    const sparse = options.includes("--sparse");
    assert.deepEqual(
      found.map(([line]) => line),
      [
        "directory r 0",
        `symlink r/link -> ${"t".repeat(200)} 0`,
        `file r/${"n".repeat(200)} 4`,
        "link r/second -> r/link 0",
        `file r/sparse ${SIZE}${sparse ? MAP : ""}`,
      ],
    );
    const runs = RUNS.map((i) => LETTERS.charAt(i).repeat(4096));
    assert.ok(found[4]?.[1] === `${runs.join(sparse ? "" : "\0".repeat(61_440))}.`);
  });
