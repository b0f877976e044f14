import assert from "node:assert/strict";
import { test } from "node:test";
import { readDecimal, readSigned, readUnsigned } from "./tar-numbers.ts";

const field = (hex: string): Buffer => Buffer.from(hex.replaceAll(" ", ""), "hex");
const text = (content: string): Buffer => Buffer.from(content.padEnd(8, "\0"), "latin1");

const numbers: { name: string; bytes: Buffer; value: number }[] = [
  { name: "octal, ended by NUL", bytes: text("0000644"), value: 0o644 },
  { name: "octal, ended by a space and NUL", bytes: text("000644 "), value: 0o644 },
  { name: "octal, without an end", bytes: text("77777777"), value: 0o77777777 },
  { name: "octal after spaces", bytes: text("   644 "), value: 0o644 },
  { name: "an empty field is 0", bytes: text(""), value: 0 },
  { name: "base-256", bytes: field("80000000 ffffffff"), value: 2 ** 32 - 1 },
  { name: "base-256, the greatest", bytes: field("801fffff ffffffff"), value: Number.MAX_SAFE_INTEGER },
  { name: "base-256, its first byte has digits too", bytes: field("81000000"), value: 2 ** 24 },
  { name: "base-256, -1", bytes: field("ffffffff ffffffff"), value: -1 },
  { name: "base-256, negative without all bits", bytes: field("c0"), value: -64 },
];
for (const { name, bytes, value } of numbers)
  test(`tar number: ${name}`, () => assert.equal(readSigned(bytes, 0, bytes.length), value));

const refused: { name: string; bytes: Buffer; message: string }[] = [
  { name: "a digit that is not octal", bytes: text("0000648"), message: 'a header has the number "0000648"' },
  { name: "a sign", bytes: text("-1"), message: 'a header has the number "-1"' },
  { name: "NUL among the digits", bytes: text("1\x001"), message: 'a header has the number "1\\u00001"' },
  { name: "beyond 2^53", bytes: field("80200000 00000000"), message: "a header has a number beyond 2^53" },
  { name: "negative", bytes: field("ffffffff ffffffff"), message: "a header has a negative size" },
];
for (const { name, bytes, message } of refused)
  test(`tar number refused: ${name}`, () =>
    assert.throws(() => readUnsigned(bytes, 0, bytes.length, "size"), { code: "bad-archive", message }));

test("decimal numbers are digits, and no more than a number holds", () => {
  assert.equal(readDecimal("007", "x"), 7);
  for (const bad of ["", "-1", "1.5", "1e3", "0x1", " 1", "12345678901234567"])
    assert.throws(() => readDecimal(bad, "x"), { message: `x: ${JSON.stringify(bad)} is no number` });
  assert.throws(() => readDecimal("9007199254740992", "x"), { message: "a header has a number beyond 2^53" });
});
