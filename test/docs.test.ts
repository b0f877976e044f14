/** What the documents name is there. */

import assert from "node:assert/strict";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { draw, pictureOf, sources } from "../build/pictures.ts";
import { ERROR_CODES } from "../shared/error-codes.ts";

const root = join(import.meta.dirname, "..");

const CLASSES = ["works", "first versions", "differs", "not yet", "will not", "not soon", "asks nothing"];

test("docs: the table of rkt 1.30's tests adds up", () => {
  const text = readFileSync(join(root, "docs/use/from-rkt-1.30.md"), "utf8");
  const [classes = "", tables = ""] = text.split("## Commands")[0]?.split("### Apps") ?? [];
  const count = (rows: string, pattern: RegExp) => {
    const sums = new Map<string, number>();
    for (const [, tests, word = ""] of rows.matchAll(pattern)) sums.set(word, (sums.get(word) ?? 0) + Number(tests));
    return sums;
  };
  const here = count(tables, new RegExp(`^\\|[^|]+\\| (\\d+) \\| (${CLASSES.join("|")})`, "gm"));
  const later = (here.get("will not") ?? 0) + (here.get("not soon") ?? 0);
  const expected = CLASSES.map((name) => [name, here.get(name) ?? 0]).filter(([name]) => name !== "not soon");
  const said = [...classes.matchAll(/^\| ([a-z ]+?)(?:, or not soon)? \| (\d+) \|/gm)].map(([, name, n]) => [name, Number(n)]);
  assert.deepEqual(said, expected.map(([name, n]) => [name, name === "will not" ? later : n]));
});

test("docs: the error codes are those there are, and each is used", () => {
  const page = readFileSync(join(root, "docs/operate/errors.md"), "utf8");
  const listed = [...page.matchAll(/^\| `([a-z0-9-]+)` \| (.+) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
  assert.deepEqual(listed, Object.entries(ERROR_CODES).sort(([a], [b]) => (a < b ? -1 : 1)));
  const files = globSync("{stage0,stage1,stage2,shared,build}/**/*.ts", { cwd: root, exclude: (path) => path.includes("node_modules") });
  const product = files.filter((file) => !file.endsWith(".test.ts") && file !== "shared/error-codes.ts");
  const text = product.map((file) => readFileSync(join(root, file), "utf8")).join("\n");
  // These two are put together of two words.
  const used = (code: string) => text.includes(`"${code}"`) || ["unknown-group", "unknown-user"].includes(code);
  assert.deepEqual(Object.keys(ERROR_CODES).filter((code) => !used(code)), []);
});

for (const source of sources())
  test(`docs: ${pictureOf(source)} is drawn from ${source}`, async () => {
    assert.equal(readFileSync(join(root, pictureOf(source)), "utf8"), await draw(source), "npm run pictures draws it anew");
  });

test("docs: the folders that the architecture lists are those there are", () => {
  const text = readFileSync(join(root, "docs/architecture.md"), "utf8");
  const listed = [...text.matchAll(/^ *(stage[012]|shared)?\/?([a-z0-9-]+)\/ {2,}/gm)].map(([, top = "", name = ""]) => `${top}${name}`);
  for (const top of ["stage0", "stage1"]) {
    const folders = readdirSync(join(root, top), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const { name } of folders) assert.ok(listed.includes(name), `${top}/${name} is not listed`);
  }
});

const pages = globSync(["*.md", "docs/**/*.md", "examples/**/*.md", "shared/**/*.md"], { cwd: root, exclude: (path) => path.includes("node_modules") });

const withoutBlocks = (text: string) => text.replace(/^```.*?^```/gms, "");

/** The names by which links reach a page's headings, as code hosts make them. */
function anchors(file: string): string[] {
  const headings = withoutBlocks(readFileSync(join(root, file), "utf8")).matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, title = ""]) => title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-"));
}

for (const file of pages)
  test(`docs: ${file}`, () => {
    const text = withoutBlocks(readFileSync(join(root, file), "utf8"));
    const links = [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, to = "", anchor]) => ({
      to: to === "" ? file : join(dirname(file), to),
      anchor,
    }));
    const sources = [...text.matchAll(/`((?:stage[012]|shared|build|test)\/[\w./-]+\.(?:test\.)?ts)`/g)].map(
      ([, to = ""]) => to,
    );
    assert.deepEqual(
      [...links.map(({ to }) => to), ...sources].filter((to) => !existsSync(join(root, to))),
      [],
    );
    const lost = links.filter(({ to, anchor }) => anchor !== undefined && to.endsWith(".md") && !anchors(to).includes(anchor));
    assert.deepEqual(lost, []);
  });
