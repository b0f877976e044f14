import assert from "node:assert/strict";
import { test } from "node:test";
import { formatTrees, parseTrees, type TreesFile } from "./trees.ts";

const IMAGE = `sha512-${"a".repeat(128)}`;
const trees: TreesFile = {
  overlay: true,
  stage1: { image: IMAGE, tree: "2-0123" },
  apps: { web: { dir: "sha512-aa-2", image: IMAGE, tree: "2-4567" } },
};

test("trees: what is written is read", () => {
  for (const file of [trees, { ...trees, overlay: false, privateUsers: true as const }])
    assert.deepEqual(structuredClone(parseTrees(formatTrees(file))), file);
});

const app = (more: object) => ({ ...trees, apps: { web: { ...trees.apps["web"], ...more } } });
const refused: [name: string, file: unknown, message: RegExp][] = [
  ["no object", [], /: it is not an object$/],
  ["no overlay", { ...trees, overlay: "yes" }, /: overlay is neither true nor false$/],
  ["no stage1", { ...trees, stage1: undefined }, /: stage1 is not an object$/],
  ["no apps", { ...trees, apps: [] }, /: apps is not an object$/],
  ["a tree elsewhere", app({ tree: "../../etc" }), /: web\.tree is not a name$/],
  ["a tree above", app({ tree: ".." }), /: web\.tree is not a name$/],
  ["a directory elsewhere", app({ dir: "/etc" }), /: web\.dir is not a name$/],
  ["an empty directory", app({ dir: "" }), /: web\.dir is not a name$/],
  ["an image that is a number", app({ image: 7 }), /: web\.image is not a name$/],
];
for (const [name, file, message] of refused)
  test(`trees: refused: ${name}`, () => {
    assert.throws(() => parseTrees(JSON.stringify(file)), { code: "damaged-container", message });
  });

test("trees: refused: half a file", () => {
  assert.throws(() => parseTrees(formatTrees(trees).slice(0, 40)), { code: "damaged-container", message: /not JSON$/ });
});
