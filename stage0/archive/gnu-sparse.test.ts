import assert from "node:assert/strict";
import { test } from "node:test";
import { SparseMap, SparseMapText } from "./gnu-sparse.ts";
import { NO_RECORDS, PaxRecords } from "./pax-records.ts";
import { BLOCK, TarHeader } from "./tar-header.ts";

const octal = (value: number): string => `${value.toString(8).padStart(11, "0")}\0`;

/** A block with pieces at a place, and the mark of more blocks at another. */
function blockOf(pieces: [offset: number, size: number][], at: number, more?: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(pieces.map(([offset, size]) => octal(offset) + octal(size)).join(""), at, "latin1");
  if (more !== undefined) block[more] = 1;
  return block;
}

const pieces = (count: number): [number, number][] => Array.from({ length: count }, (_, i) => [i * 1024, 512]);
const segments = (count: number) => pieces(count).map(([offset, size]) => ({ offset, size }));
const map = () => new SparseMap("f");

test("GNU's own format: the header has four pieces, a further block 21", () => {
  const own = map();
  assert.equal(own.takeHeader(new TarHeader(blockOf(pieces(4), 386, 482))), true);
  assert.equal(own.takeFurther(blockOf(pieces(25).slice(4), 0, 504)), true);
  assert.equal(own.takeFurther(blockOf(pieces(27).slice(25), 0)), false);
  assert.deepEqual(own.segments, segments(27));
});

test("GNU's own format: the first empty piece ends the block's", () => {
  const own = map();
  assert.equal(own.takeHeader(new TarHeader(blockOf(pieces(2), 386))), false);
  assert.deepEqual(own.segments, segments(2));
});

const pax = (records: Record<string, string>) =>
  new PaxRecords(
    new Map(Object.entries(records).map(([key, value]) => [key, Buffer.from(value)])),
    NO_RECORDS,
    NO_RECORDS,
  );

test("pax 0.1: the map is a record", () => {
  const own = map();
  own.takeRecord(pax({ "GNU.sparse.map": "0,512,1024,512" }));
  assert.deepEqual(own.segments, segments(2));
  assert.throws(() => map().takeRecord(pax({ "GNU.sparse.map": "0,x" })), {
    message: 'GNU.sparse.map: "x" is no number',
  });
});

test("pax 0.0 is refused with the way out", () =>
  assert.throws(() => map().takeRecord(pax({ "GNU.sparse.numblocks": "1" })), {
    message: "f: sparse format 0.0 is not supported",
    hint: "write it with a newer tar",
  }));

/** Gives a map's text to the reader, block by block; what each said, and the map. */
function readText(text: string, stored = 1 << 20): { said: boolean[]; own: SparseMap; used: number } {
  const own = map();
  const reader = new SparseMapText(own, "f", stored);
  const bytes = Buffer.alloc(Math.max(1, Math.ceil(text.length / BLOCK)) * BLOCK);
  bytes.write(text, "latin1");
  const said: boolean[] = [];
  for (let at = 0; at < bytes.length && said.at(-1) !== true; at += BLOCK)
    said.push(reader.take(bytes.subarray(at, at + BLOCK)));
  return { said, own, used: reader.used };
}

test("pax 1.0: the map is text, whose numbers may go over blocks", () => {
  const lines = (count: number) =>
    `${count}\n${pieces(count)
      .map(([offset, size]) => `${offset}\n${size}\n`)
      .join("")}`;
  for (const count of [0, 1, 40, 300]) {
    const { said, own, used } = readText(lines(count));
    assert.deepEqual(own.segments, segments(count));
    assert.equal(used, said.length * BLOCK);
    assert.deepEqual(said, [...said.slice(0, -1).fill(false), true]);
  }
});

const refusedTexts: { name: string; text: string; stored?: number; message: string }[] = [
  { name: "data shorter than a block", text: "0\n", stored: 511, message: "f: its sparse map is missing" },
  {
    name: "a number of 17 digits",
    text: `1\n${"0".repeat(17)}\n`,
    message: `sparse map: "${"0".repeat(17)}" is no number`,
  },
  { name: "digits without end", text: "1".repeat(BLOCK), message: `sparse map: "${"1".repeat(40)}" is no number` },
  { name: "letters", text: "x\n", message: 'sparse map: "x" is no number' },
  { name: "zeros", text: "", message: 'sparse map: "\\u0000' },
  { name: "a million pieces and one", text: "1000001\n", message: "f: its sparse map is too long" },
];
for (const { name, text, stored, message } of refusedTexts)
  test(`pax 1.0 refused: ${name}`, () =>
    assert.throws(
      () => readText(text, stored),
      (error: Error) => error.message.startsWith(message),
    ));

test("pax 1.0 refused: a map that ends with the data, and not by itself", () => {
  const reader = new SparseMapText(map(), "f", BLOCK);
  const block = Buffer.from("200\n".padEnd(BLOCK, "1\n"));
  assert.throws(() => reader.take(block), { message: "f: its sparse map is cut short" });
});

const checked: { name: string; pieces: [number, number][]; size: number; stored: number; message?: string }[] = [
  {
    name: "in order",
    pieces: [
      [0, 512],
      [1024, 512],
    ],
    size: 4096,
    stored: 1024,
  },
  {
    name: "side by side, and an empty one at the end",
    pieces: [
      [0, 512],
      [512, 512],
      [4096, 0],
    ],
    size: 4096,
    stored: 1024,
  },
  { name: "nothing but a hole", pieces: [], size: 4096, stored: 0 },
  {
    name: "over each other",
    pieces: [
      [0, 512],
      [511, 512],
    ],
    size: 4096,
    stored: 1024,
    message: "f: its sparse map is out of order or bounds",
  },
  {
    name: "out of order",
    pieces: [
      [1024, 512],
      [0, 512],
    ],
    size: 4096,
    stored: 1024,
    message: "f: its sparse map is out of order or bounds",
  },
  {
    name: "beyond the file's end",
    pieces: [[4000, 512]],
    size: 4096,
    stored: 512,
    message: "f: its sparse map is out of order or bounds",
  },
  {
    name: "fewer bytes than the data",
    pieces: [[0, 512]],
    size: 4096,
    stored: 513,
    message: "f: its sparse map says 512 bytes, its data are 513",
  },
];
for (const { name, pieces: given, size, stored, message } of checked)
  test(`sparse map: ${name}`, () => {
    const own = map();
    for (const [offset, length] of given) own.add(offset, length);
    if (message === undefined) own.check(size, stored);
    else assert.throws(() => own.check(size, stored), { code: "bad-archive", message });
  });
