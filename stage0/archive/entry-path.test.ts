import assert from "node:assert/strict";
import { test } from "node:test";
import { entryPath, shownPath } from "./entry-path.ts";

const accepted: [name: string, path: string][] = [
  ["a/b", "a/b"],
  ["./a//./b/", "a/b"],
  [".", ""],
  ["./", ""],
  ["..a/b..", "..a/b.."],
  ["a\\..\\b", "a\\..\\b"],
  ["\xff\n", "\xff\n"],
  ["a".repeat(255), "a".repeat(255)],
];
for (const [name, path] of accepted)
  test(`entry path: ${JSON.stringify(name.slice(0, 20))}`, () => assert.equal(entryPath(name, 3), path));

const refused: [name: string, message: string][] = [
  ["/a", 'the name "/a" is absolute'],
  ["..", 'the name ".." has a component ".."'],
  ["a/../b", 'the name "a/../b" has a component ".."'],
  ["a\0b", 'the name "a\\u0000b" contains NUL'],
  ["a/b/c/d", 'the name "a/b/c/d" has more than 3 components'],
  [`a/${"b".repeat(256)}`, `the name "a/${"b".repeat(198)}" has a component of 256 bytes`],
  ["a".repeat(4097), `a name is 4097 bytes long: "${"a".repeat(200)}"…`],
];
for (const [name, message] of refused)
  test(`entry path refused: ${JSON.stringify(name.slice(0, 20))}`, () =>
    assert.throws(() => entryPath(name, 3), { code: "bad-archive", message }));

test("a name is shown as UTF-8", () => assert.equal(shownPath("\xc3\xbc"), "ü"));
