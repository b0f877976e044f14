/** What the documents name is there. */

import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");

for (const file of globSync(["*.md", "docs/**/*.md", "examples/**/*.md", "shared/**/*.md"], { cwd: root }))
  test(`docs: ${file}`, () => {
    const text = readFileSync(join(root, file), "utf8").replace(/^```.*?^```/gms, "");
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, to = ""]) => join(dirname(file), to));
    const sources = [...text.matchAll(/`((?:stage[012]|shared|build|test)\/[\w./-]+\.(?:test\.)?ts)`/g)].map(
      ([, to = ""]) => to,
    );
    assert.deepEqual(
      [...links, ...sources].filter((to) => !existsSync(join(root, to))),
      [],
    );
  });
