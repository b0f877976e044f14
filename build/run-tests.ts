/**
 * `npm test`: every `*.test.ts` of the project with node's test runner. What
 * they need of the machine, build/prepare.sh has made sure of. Ends with node's
 * own summary.
 */

import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type EventData, run } from "node:test";
import { spec, type TestEvent } from "node:test/reporters";
import { parseArgs } from "node:util";
import { RktError, usageError } from "../shared/errors.ts";
import { ROOT } from "./paths.ts";
import { program } from "./program.ts";

const USAGE = `Usage: npm test -- [--name=REGEXP] [--no-build] [FILTER...]

Runs the tests whose file name contains a FILTER ("stage0/store"), or all. What
lies in test/ runs the built executables: dist/ is brought up to date first.
Before that, Debian packages of build/packages.txt that are missing are installed.

  --name=REGEXP   only tests whose name matches
  --no-build      take dist/ as it is
  --help

With CI=true a skipped test is a failure.
`;

/** Milliseconds for one test. */
const TEST_TIMEOUT = 8 * 60_000;
/** For all: a process that stays although its tests are done is ended, and named. A busy machine takes three times the usual. */
const RUN_TIMEOUT = 45 * 60_000;

export interface RunOptions {
  cwd: string;
  /** Only tests with a matching name. */
  name?: string | undefined;
  /** A skipped test is a failure. */
  strict: boolean;
  /** Milliseconds for the whole run. */
  timeout?: number;
}

/** Runs test files, a process each, and reports to stdout; whether all is well. */
export async function runFiles(files: readonly string[], options: RunOptions): Promise<boolean> {
  let good = true;
  const events = run({
    cwd: options.cwd,
    files: files.map((file) => join(options.cwd, file)),
    // No more: some ask within a time that is not ours to choose.
    concurrency: availableParallelism(),
    timeout: TEST_TIMEOUT,
    signal: AbortSignal.timeout(options.timeout ?? RUN_TIMEOUT),
    execArgv: ["--disable-warning=ExperimentalWarning"],
    ...(options.name === undefined ? {} : { testNamePatterns: [options.name] }),
  });
  const judged = events.compose(async function* (source: AsyncIterable<TestEvent>) {
    for await (const event of source) {
      const shown = options.strict ? withoutSkips(event) : event;
      if (shown.type === "test:fail" || (shown.type === "test:summary" && !shown.data.success)) good = false;
      yield shown;
    }
  });
  for await (const text of judged.compose(new spec())) process.stdout.write(text);
  return good;
}

/** A skipped test as the failure that it is in CI. */
function withoutSkips(event: TestEvent): TestEvent {
  if (event.type !== "test:pass" || event.data.skip === undefined) return event;
  const { skip, details, ...place } = event.data;
  const cause = `skipped: ${typeof skip === "string" && skip !== "" ? skip : "no reason given"}`;
  // As node's runner has it: a test's own error is the cause, and a string has no stack of ours.
  const error = Object.assign(new Error(cause), { code: "ERR_TEST_FAILURE", cause });
  const data: EventData.TestFail = { ...place, details: { duration_ms: details.duration_ms, error } };
  return { type: "test:fail", data };
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { name: { type: "string" }, "no-build": { type: "boolean" }, help: { type: "boolean" } },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const all = globSync("{stage0,stage1,stage2,shared,build,test,examples}/**/*.test.ts", { cwd: ROOT }).sort();
  const files = all.filter((file) => positionals.length === 0 || positionals.some((filter) => file.includes(filter)));
  if (files.length === 0)
    throw usageError(`no test file's name contains ${positionals.join(" or ")}`, "a filter is a part of a path");
  if (!values["no-build"] && files.some((file) => file.startsWith("test/"))) buildDist();
  const good = await runFiles(files, { cwd: ROOT, name: values.name, strict: process.env["CI"] === "true" });
  if (!good) process.exitCode = 1;
}

function buildDist(): void {
  const { status } = spawnSync(process.execPath, ["--no-warnings", join(ROOT, "build/build.ts")], { stdio: "inherit" });
  if (status !== 0) throw new RktError("build-failed", "dist/ cannot be built", { hint: "npm run build" });
}

if (import.meta.main) await program("test", main);
