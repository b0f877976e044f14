import assert from "node:assert/strict";
import { test } from "node:test";
import { isFresh, maxAge, type Validators, validators } from "./caching.ts";

const ages: [cacheControl: string | undefined, age: string | undefined, want: number | undefined][] = [
  [undefined, undefined, undefined],
  ["public", undefined, undefined],
  ["max-age=60", undefined, 60],
  ["Public, Max-Age=60", undefined, 60],
  ['max-age="60"', undefined, 60],
  ["max-age=60", "45", 15],
  ["max-age=60", "90", 0],
  ["max-age=60", "soon", 60],
  ["no-cache", undefined, 0],
  ["max-age=60, no-store", undefined, 0],
  ["max-age=-1", undefined, 0],
  ["max-age=1e9", undefined, 0],
  ["max-age=60, max-age=600", undefined, 0],
  ["s-maxage=60", undefined, undefined],
];

for (const [cacheControl, age, want] of ages) {
  test(`Cache-Control: ${cacheControl}, Age: ${age}`, () => {
    assert.equal(maxAge({ "cache-control": cacheControl, age }), want);
  });
}

test("a record is fresh until max-age has passed, and stale when the clock went backwards", () => {
  const record = { maxAge: 60, downloadedAt: 1_000_000 };
  assert.equal(isFresh(record, 1_000_000), true);
  assert.equal(isFresh(record, 1_059_999), true);
  assert.equal(isFresh(record, 1_060_000), false);
  assert.equal(isFresh(record, 999_999), false);
  assert.equal(isFresh({ downloadedAt: 1_000_000 }, 1_000_000), false);
  assert.equal(isFresh({ maxAge: 0, downloadedAt: 1_000_000 }, 1_000_000), false);
});

const date = "Mon, 23 Nov 2026 12:00:01 GMT";
const earlier = "Mon, 23 Nov 2026 12:00:00 GMT";

const answers: { name: string; headers: Record<string, string>; want: Validators }[] = [
  { name: "nothing", headers: { date }, want: {} },
  { name: "an ETag", headers: { date, etag: '"1"' }, want: { etag: '"1"' } },
  { name: "a weak ETag", headers: { date, etag: 'W/"1"' }, want: { etag: 'W/"1"' } },
  { name: "both", headers: { date, etag: '"1"', "last-modified": earlier }, want: { etag: '"1"' } },
  { name: "a date", headers: { date, "last-modified": earlier }, want: { lastModified: earlier } },
  { name: "a date of the same second", headers: { date, "last-modified": date }, want: {} },
  { name: "a date in the future", headers: { date: earlier, "last-modified": date }, want: {} },
  { name: "a date without a clock", headers: { "last-modified": earlier }, want: {} },
  { name: "no date", headers: { date, "last-modified": "yesterday" }, want: {} },
];

for (const { name, headers, want } of answers)
  test(`what a server tells its file by: ${name}`, () => assert.deepEqual(validators(headers), want));
