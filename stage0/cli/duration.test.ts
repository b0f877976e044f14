import assert from "node:assert/strict";
import { test } from "node:test";
import { duration } from "./duration.ts";

const good: [text: string, milliseconds: number][] = [
  ["0", 0],
  ["0s", 0],
  ["250ms", 250],
  ["90s", 90_000],
  ["1.5m", 90_000],
  ["1h30m", 5_400_000],
];
for (const [text, milliseconds] of good)
  test(`${text} is ${milliseconds} ms`, () => assert.equal(duration("x", text), milliseconds));

for (const text of ["", "5", "s", "-1s", "1d", "1s ", "1h 30m", "1.s", "1e3s"])
  test(`${JSON.stringify(text)} is no duration`, () =>
    assert.throws(() => duration("grace", text), { code: "usage", message: /^--grace: / }));
