import assert from "node:assert/strict";
import { test } from "node:test";
import { checkExtendedSize, ExtendedHeaders, isExtendedHeader } from "./extended-headers.ts";

const record = (key: string, value: string): string => {
  const rest = key.length + value.length + 3;
  return `${rest + String(rest + String(rest).length).length} ${key}=${value}\n`;
};
const body = (...records: [key: string, value: string][]): Buffer =>
  Buffer.from(records.map(([key, value]) => record(key, value)).join(""));

test("extended headers: which types they are", () => {
  for (const type of "xXgLK") assert.ok(isExtendedHeader(type), type);
  for (const type of ["\x00", ..."01234567SVDMNA"]) assert.ok(!isExtendedHeader(type), type);
});

test("extended headers: long names and records hold for one entry, global records for all", () => {
  const headers = new ExtendedHeaders();
  headers.take("L", Buffer.from("name\0rest"));
  headers.take("K", Buffer.from("link"));
  headers.take("x", body(["uid", "1"]));
  headers.take("g", body(["gid", "2"], ["SCHILY.xattr.user.a", "b"]));
  const first = headers.forEntry();
  assert.deepEqual(
    [first.longName, first.longLink, first.pax.number("uid"), first.pax.number("gid")],
    ["name", "link", 1, 2],
  );
  const second = headers.forEntry();
  assert.deepEqual(
    [second.longName, second.longLink, second.pax.number("uid"), second.pax.number("gid")],
    [undefined, undefined, undefined, 2],
  );
  assert.deepEqual([...second.pax.xattrs().keys()], ["user.a"]);
});

test("extended headers: global records are few and small", () => {
  const many = new ExtendedHeaders();
  for (let i = 0; i < 64; i++) many.take("g", body([`k${i}`, "v"]));
  many.take("g", body(["k0", "again"]));
  assert.throws(() => many.take("g", body(["one-more", "v"])), { message: "it has more than 64 global records" });
  const large = new ExtendedHeaders();
  large.take("g", body(["a", "x".repeat(65_534)]));
  assert.throws(() => large.take("g", body(["b", "x"])), { message: "its global records have more than 65536 bytes" });
});

for (const size of [0, 1024 * 1024 + 1])
  test(`extended headers: not of ${size} bytes`, () =>
    assert.throws(() => checkExtendedSize(size), {
      message: `an extended header is ${size} bytes long, not 1 to 1048576`,
    }));
