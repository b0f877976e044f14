/**
 * `npm test`: runs all `*.test.ts` of the project with node's test runner, and ends with its summary. build/prepare.sh
 * has prepared the machine before.
 */

import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { type EventData, run } from "node:test";
import { spec, type TestEvent } from "node:test/reporters";
import { parseArgs } from "node:util";
import { RktError, usageError } from "../shared/errors.ts";
import { ROOT } from "./paths.ts";
import { program } from "./program.ts";

const USAGE = `Usage: npm test -- [--name=REGEXP] [--no-build] [FILTER...]
       npm run test:long -- [the same]

Runs the tests whose file name contains a FILTER ("stage0/store"), or all. What
lies in test/ runs the built executables: dist/ is brought up to date first.
Before that, Debian packages of build/packages.txt that are missing are installed.

  --name=REGEXP   only tests whose name matches
  --no-build      take dist/ as it is
  --long          every fault, 500 cycles of the soak, a minute for each fuzz
                  target
  --help

With CI=true a skipped test is a failure.
`;

/** Milliseconds for one test: the emulated guest takes two minutes by itself, and five beside other tests. */
const TEST_TIMEOUT = 20 * 60_000;
/**
 * Milliseconds for all tests: then processes that still run are ended and named. A busy machine takes three times as
 * long as usual.
 */
const RUN_TIMEOUT = 45 * 60_000;
const LONG_TIMEOUT = 6 * 60 * 60_000;
/** Variables of a long run. A variable that is set already stays. */
const LONG = { RKT_FAULTS_ROUNDS: "1", RKT_SOAK_CYCLES: "500", RKT_FUZZ_SECONDS: "60" };
const SOAK: string = "test/faults/soak.test.ts";

export interface RunOptions {
  cwd: string;
  /** Only tests with a matching name. */
  name?: string | undefined;
  /** A skipped test is a failure. */
  strict: boolean;
  /** Milliseconds for the whole run. */
  timeout?: number;
  /** Milliseconds for one test. */
  testTimeout?: number;
}

/** How many of the slowest test files are named at the end. */
const SLOWEST = 10;

/** Runs test files, each in a process, and reports to stdout. Returns whether all tests pass. */
export async function runFiles(files: readonly string[], options: RunOptions): Promise<boolean> {
  let good = true;
  const events = run({
    cwd: options.cwd,
    files: files.map((file) => resolve(options.cwd, file)),
    // No more processes than processors: some programs under test have timeouts that we can't change.
    concurrency: availableParallelism(),
    timeout: options.testTimeout ?? TEST_TIMEOUT,
    signal: AbortSignal.timeout(options.timeout ?? RUN_TIMEOUT),
    execArgv: ["--disable-warning=ExperimentalWarning"],
    ...(options.name === undefined ? {} : { testNamePatterns: [options.name] }),
  });
  const times = new Map<string, number>();
  const judged = events.compose(async function* (source: AsyncIterable<TestEvent>) {
    for await (const event of source) {
      if (event.type === "test:complete" && event.data.nesting === 0 && event.data.file !== undefined) {
        const file = relative(options.cwd, event.data.file);
        times.set(file, (times.get(file) ?? 0) + event.data.details.duration_ms);
      }
      if (event.type === "test:summary" && event.data.file === undefined) process.stdout.write(slowest(times));
      const shown = options.strict ? withoutSkips(event) : event;
      if (shown.type === "test:fail" || (shown.type === "test:summary" && !shown.data.success)) good = false;
      yield shown;
    }
  });
  for await (const text of judged.compose(new spec())) process.stdout.write(text);
  return good;
}

/** The files whose tests took longest, a line each; "" if there are only a few files. */
function slowest(times: ReadonlyMap<string, number>): string {
  if (times.size <= SLOWEST) return "";
  const sorted = [...times].sort(([, a], [, b]) => b - a).slice(0, SLOWEST);
  const lines = sorted.map(([file, milliseconds]) => `  ${(milliseconds / 1000).toFixed(1).padStart(6)} s  ${file}\n`);
  return `the slowest files:\n${lines.join("")}\n`;
}

/** Turns a skipped test into a failure, for CI. */
function withoutSkips(event: TestEvent): TestEvent {
  if (event.type !== "test:pass" || event.data.skip === undefined) return event;
  const { skip, details, ...place } = event.data;
  const cause = `skipped: ${typeof skip === "string" && skip !== "" ? skip : "no reason given"}`;
  // In the form of node's runner: the test's own error is the cause. A string has no stack.
  const error = Object.assign(new Error(cause), { code: "ERR_TEST_FAILURE", cause });
  const data: EventData.TestFail = { ...place, details: { duration_ms: details.duration_ms, error } };
  return { type: "test:fail", data };
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      name: { type: "string" },
      "no-build": { type: "boolean" },
      long: { type: "boolean" },
      help: { type: "boolean" },
    },
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
  if (values.long) for (const [name, value] of Object.entries(LONG)) process.env[name] ??= value;
  // All files share this directory: a store with the stage1 image in it (test/helpers/rkt.ts).
  const common = mkdtempSync(join(tmpdir(), "rkt-test-common-"));
  Object.assign(process.env, { RKT_TEST_COMMON: common });
  try {
    const times = values.long ? { timeout: LONG_TIMEOUT, testTimeout: LONG_TIMEOUT } : {};
    const options = { cwd: ROOT, name: values.name, strict: process.env["CI"] === "true", ...times };
    // A long soak counts resources of the whole machine, so nothing else runs beside it.
    const alone = values.long ? files.filter((file) => file === SOAK) : [];
    for (const some of [pureTogether(files.filter((file) => !alone.includes(file)), common), alone])
      if (some.length > 0 && !(await runFiles(some, options))) process.exitCode = 1;
  } finally {
    rmSync(common, { recursive: true, force: true });
  }
}

/** What a test needs a process of its own for: it reaches out of its process, or changes it. */
const REACHES_OUT = /from "(?:node:(?:fs|child_process|https?|net|worker_threads|process)|[^"]*\/(?:syscall|helpers|hostile)\/[^"]*)"|process\.env|openStore/;

/** A process costs more than most unit tests: those that need none of their own share one, by a file that imports them. */
function pureTogether(files: readonly string[], scratch: string): string[] {
  const pure = files.filter((file) => !file.startsWith("test/") && !REACHES_OUT.test(readFileSync(join(ROOT, file), "utf8")));
  if (pure.length < 2) return [...files];
  const together = join(scratch, "unit-tests.mjs");
  writeFileSync(together, pure.map((file) => `import ${JSON.stringify(join(ROOT, file))};\n`).join(""));
  return [together, ...files.filter((file) => !pure.includes(file))];
}

function buildDist(): void {
  const { status } = spawnSync(process.execPath, ["--no-warnings", join(ROOT, "build/build.ts")], { stdio: "inherit" });
  if (status !== 0) throw new RktError("build-failed", "dist/ cannot be built", { hint: "npm run build" });
}

if (import.meta.main) await program("test", main);
