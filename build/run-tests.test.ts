import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { RunOptions } from "./run-tests.ts";

/** Runs `runFiles` on test files of these texts, in a process that is no test itself. */
function ran(t: TestContext, options: Omit<RunOptions, "cwd">, ...texts: string[]) {
  const cwd = mkdtempSync(join(tmpdir(), "run-tests-"));
  t.after(() => rmSync(cwd, { recursive: true }));
  const files = texts.map((text, i) => {
    writeFileSync(join(cwd, `${i}.test.ts`), `import { test } from "node:test";\n${text}`);
    return `${i}.test.ts`;
  });
  const runTests = pathToFileURL(join(import.meta.dirname, "run-tests.ts")).href;
  writeFileSync(
    join(cwd, "main.ts"),
    `import { runFiles } from ${JSON.stringify(runTests)};
    const good = await runFiles(${JSON.stringify(files)}, ${JSON.stringify({ ...options, cwd })});
    process.exitCode = good ? 0 : 1;`,
  );
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(cwd, "main.ts")], { encoding: "utf8", env });
  const count = (what: string) => Number(new RegExp(`^ℹ ${what} (\\d+)$`, "m").exec(stdout)?.[1]);
  return { status, counts: { pass: count("pass"), fail: count("fail"), skipped: count("skipped") }, stdout, stderr };
}

test("runFiles: all files run, and node's summary ends the output", (t) => {
  const got = ran(t, { strict: true }, 'test("a", () => {});', 'test("b", () => {});');
  assert.deepEqual([got.status, got.counts, got.stderr], [0, { pass: 2, fail: 0, skipped: 0 }, ""]);
  assert.match(got.stdout, /ℹ duration_ms [\d.]+\n$/);
});

test("runFiles: a failure in any file fails the run", (t) => {
  const got = ran(t, { strict: false }, 'test("a", () => {});', 'test("b", () => { throw new Error("no"); });');
  assert.deepEqual([got.status, got.counts], [1, { pass: 1, fail: 1, skipped: 0 }]);
});

test("runFiles: a file that cannot load fails the run", (t) => {
  assert.equal(ran(t, { strict: false }, 'import "./missing.ts";').status, 1);
});

test("runFiles: a skip is fine on a developer's machine, and a failure in CI", (t) => {
  const text =
    'test("a", (t) => t.skip("needs a horse")); test("b", async (t) => { await t.test("c", { skip: true }); });';
  assert.deepEqual(ran(t, { strict: false }, text).status, 0);
  const got = ran(t, { strict: true }, text);
  assert.equal(got.status, 1);
  assert.match(got.stdout, /failing tests:.*✖ a.*'skipped: needs a horse'.*✖ c.*'skipped: no reason given'/s);
});

test("runFiles: only tests with a matching name", (t) => {
  const got = ran(t, { strict: true, name: "^a" }, 'test("a", () => {}); test("b", () => { throw new Error("no"); });');
  assert.deepEqual([got.status, got.counts], [0, { pass: 1, fail: 0, skipped: 0 }]);
});

test("runFiles: a process that stays is ended and named", (t) => {
  const got = ran(t, { strict: true, timeout: 2000 }, 'test("a", () => { setInterval(() => {}, 1e6); });');
  assert.equal(got.status, 1);
  assert.match(got.stdout, /failing tests:.*✖ .*0\.test\.ts.*TimeoutError/s);
});
