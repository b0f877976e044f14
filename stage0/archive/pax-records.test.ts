import assert from "node:assert/strict";
import { test } from "node:test";
import { NO_RECORDS, PaxRecords, parseRecords, xattrsOf } from "./pax-records.ts";

const parse = (text: string) =>
  [...parseRecords(Buffer.from(text, "latin1"))].map(([key, value]) => [key, value.toString("latin1")]);

const parsed: { name: string; body: string; records: string[][] }[] = [
  {
    name: "two",
    body: "9 path=a\n9 size=1\n",
    records: [
      ["path", "a"],
      ["size", "1"],
    ],
  },
  { name: "an empty value", body: "8 path=\n", records: [["path", ""]] },
  { name: "values of any bytes", body: "15 k=\n9 x=1\n\xff\0\n", records: [["k", "\n9 x=1\n\xff\0"]] },
  { name: "equals signs in a value", body: "8 k=a=b\n", records: [["k", "a=b"]] },
  { name: "what is padded with NUL", body: "9 path=a\n\0\0\0", records: [["path", "a"]] },
];
for (const { name, body, records } of parsed)
  test(`pax records: ${name}`, () => assert.deepEqual(parse(body), records));

const DAMAGED = "an extended header is damaged";
const refused: { name: string; body: string; message: string }[] = [
  { name: "a length beyond the body", body: "11 path=a\n", message: DAMAGED },
  { name: "a length that is too short", body: "8 path=a\n", message: DAMAGED },
  { name: "a length of 0", body: "0 path=a\n", message: DAMAGED },
  { name: "no length", body: "path=a\n", message: DAMAGED },
  { name: "a length that is no number", body: "1e1 path=a\n", message: 'an extended header: "1e1" is no number' },
  { name: "a length of nine digits", body: "000000009 path=a\n", message: DAMAGED },
  { name: "no equals sign", body: "7 path\n", message: DAMAGED },
  { name: "an equals sign in the next record only", body: "7 path\n9 path=a\n", message: DAMAGED },
  { name: "the same key twice", body: "9 path=a\n9 path=a\n", message: 'an extended header has "path" twice' },
];
for (const { name, body, message } of refused)
  test(`pax records refused: ${name}`, () => assert.throws(() => parse(body), { code: "bad-archive", message }));

const records = (entries: Record<string, string>) =>
  new Map(Object.entries(entries).map(([key, value]) => [key, Buffer.from(value)]));
const of = (local: Record<string, string>, global: Record<string, string> = {}) =>
  new PaxRecords(records(local), records(global), xattrsOf(records(global)));

test("pax: an entry's own records come before global ones, and an empty one cancels", () => {
  const pax = of({ path: "own", uid: "" }, { path: "global", uid: "1", gid: "2" });
  assert.deepEqual(
    [pax.text("path"), pax.number("uid"), pax.number("gid"), pax.has("uid"), pax.has("size")],
    ["own", undefined, 2, false, false],
  );
});

const times: [text: string, nanoseconds: bigint][] = [
  ["1", 1_000_000_000n],
  ["1.", 1_000_000_000n],
  ["1.5", 1_500_000_000n],
  ["1.0000000019", 1_000_000_001n],
  ["-1.5", -1_500_000_000n],
  ["999999999999", 999_999_999_999_000_000_000n],
];
for (const [text, nanoseconds] of times)
  test(`pax time: ${text}`, () => assert.equal(of({ mtime: text }).time("mtime"), nanoseconds));
for (const text of ["x", "1,5", "1e3", ".5", "9999999999999", "+1"])
  test(`pax time refused: ${text}`, () =>
    assert.throws(() => of({ mtime: text }).time("mtime"), { message: `mtime: ${JSON.stringify(text)} is no time` }));

test("pax: extended attributes, global and own", () => {
  const pax = of({ "SCHILY.xattr.user.b": "own" }, { "SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "2", x: "y" });
  assert.deepEqual(
    pax.xattrs(),
    new Map([
      ["user.a", Buffer.from("1")],
      ["user.b", Buffer.from("own")],
    ]),
  );
  assert.equal(of({ path: "x" }).xattrs().size, 0);
  assert.equal(xattrsOf(NO_RECORDS), NO_RECORDS);
});
