import assert from "node:assert/strict";
import { test } from "node:test";
import { parseQuantity } from "./quantity.ts";

// [text, units, thousandths]: what the spec's Go code computes for the same text.
const amounts: [string, bigint, bigint][] = [
  ["0", 0n, 0n],
  ["1", 1n, 1000n],
  ["+1", 1n, 1000n],
  ["00012", 12n, 12_000n],
  ["128974848", 128_974_848n, 128_974_848_000n],
  ["125952Ki", 128_974_848n, 128_974_848_000n],
  ["123Mi", 128_974_848n, 128_974_848_000n],
  ["1.5Gi", 1_610_612_736n, 1_610_612_736_000n],
  ["1k", 1000n, 1_000_000n],
  ["2G", 2_000_000_000n, 2_000_000_000_000n],
  ["1e3", 1000n, 1_000_000n],
  ["1E3", 1000n, 1_000_000n],
  // What lies between two units is rounded away from zero.
  ["0.3", 1n, 300n],
  ["300m", 1n, 300n],
  ["20m", 1n, 20n],
  ["1.5", 2n, 1500n],
  [".5", 1n, 500n],
  ["5.", 5n, 5000n],
  ["0.1m", 1n, 1n],
  ["5u", 1n, 1n],
  ["1n", 1n, 1n],
  ["1e-3", 1n, 1n],
  ["1.1Ki", 1127n, 1_126_400n],
  ["0.0001Ki", 1n, 103n],
  ["-1", -1n, -1000n],
  ["-1.5", -2n, -1500n],
];
for (const [text, units, thousandths] of amounts) {
  test(`quantity ${text}`, () => {
    assert.equal(parseQuantity(text, 0), units);
    assert.equal(parseQuantity(text, 3), thousandths);
  });
}

test("K is 1000, as the spec's prose says and its code doesn't know", () => {
  assert.equal(parseQuantity("1K", 0), 1000n);
});

test("the largest amount is 2^63-1 units", () => {
  assert.equal(parseQuantity("9223372036854775807", 0), 2n ** 63n - 1n);
  assert.equal(parseQuantity("9223372036854775808", 0), undefined);
  assert.equal(parseQuantity("8Ei", 0), undefined);
  assert.equal(parseQuantity("9E", 0), 9_000_000_000_000_000_000n);
  assert.equal(parseQuantity("9E", 3), undefined);
});

const wrong = [
  "",
  ".",
  "Ki",
  "1KiB",
  "1 G",
  " 1",
  "1\n",
  "0x10",
  "1e",
  "1e+",
  "1.2.3",
  "1mi",
  "1GG",
  "--1",
  "NaN",
  "1e999",
];
for (const text of [...wrong, "1".repeat(100), "1".repeat(100_000)]) {
  test(`no quantity: ${JSON.stringify(text.slice(0, 20))}, ${text.length} characters`, () => {
    assert.equal(parseQuantity(text, 0), undefined);
  });
}
