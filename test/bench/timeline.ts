/**
 * `npm run bench:timeline`: where the milliseconds of one `rkt run` go, by
 * stage and by program, from the kernel's own events of fork, exec and exit
 * (Documentation/trace/events.rst). Needs root and tracefs.
 *
 * Several runs are traced, and the one of median length is shown. A traced run is a little
 * slower than another one: figures are for finding what is long, and not for
 * comparing machines.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { type Event, parseTrace, processes, stages } from "./trace.ts";

const USAGE = `Usage: npm run bench:timeline -- [--runs=N] [--json=FILE] [-- RKT-ARGUMENT...]

Traces \`rkt run\` of the example busybox, or rkt with the arguments given, and
prints the time of each stage and of each program that ran on the way.

  --runs=N      traced runs; the one of median length is shown (default: 9)
  --json=FILE   write the events of that run too
`;

const root = join(import.meta.dirname, "../..");
const rkt = join(root, "dist/rkt");
const busybox = join(root, "dist/examples/busybox.aci");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: "string", default: "9" }, json: { type: "string" }, help: { type: "boolean" } },
});

/** A tracing instance of our own, so that nobody else's is disturbed. */
function openTracing(): { directory: string; close(): void } {
  const mounted = "/sys/kernel/tracing";
  if (!existsSync(`${mounted}/instances`)) execFileSync("mount", ["-t", "tracefs", "none", mounted]);
  const directory = `${mounted}/instances/rkt-timeline-${process.pid}`;
  mkdirSync(directory);
  writeFileSync(`${directory}/trace_clock`, "mono");
  for (const event of ["fork", "exec", "exit"]) writeFileSync(`${directory}/events/sched/sched_process_${event}/enable`, "1");
  return { directory, close: () => rmdirSync(directory) };
}

/** One run, from the execution of rkt to its end. */
function traceRun(directory: string, argv: readonly string[]): Event[] {
  writeFileSync(`${directory}/trace`, "");
  const done = spawnSync(rkt, argv, { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  const text = readFileSync(`${directory}/trace`, "utf8");
  if (done.status !== 0) throw new Error(`rkt ${argv.join(" ")}: status ${done.status}: ${done.stderr}`);
  return parseTrace(text, done.pid);
}

const milliseconds = (seconds: number): string => (seconds * 1000).toFixed(1).padStart(8);

function show(events: readonly Event[]): void {
  const start = events[0]?.time ?? 0;
  process.stdout.write("\n  from ms   for ms  stage\n");
  for (const { name, from, to } of stages(events))
    process.stdout.write(` ${milliseconds(from - start)} ${milliseconds(to - from)}  ${name}\n`);
  process.stdout.write("\n  from ms   for ms      pid  program\n");
  for (const { pid, program, from, to } of processes(events)) {
    const row = [milliseconds(from - start), milliseconds(to - from), String(pid).padStart(8)];
    process.stdout.write(` ${row.join(" ")}  ${basename(program)}\n`);
  }
}

const length = (events: readonly Event[]): number => (events.at(-1)?.time ?? 0) - (events[0]?.time ?? 0);

function main(): void {
  if (values.help === true) {
    process.stdout.write(USAGE);
    return;
  }
  const data = mkdtempSync(join(tmpdir(), "rkt-timeline-"));
  const command = positionals.length > 0 ? positionals : ["--insecure-options=image", "run", busybox, "--exec=/bin/true"];
  const argv = [`--dir=${data}`, ...command];
  const tracing = openTracing();
  try {
    // The first one imports and renders the images.
    spawnSync(rkt, argv, { stdio: "ignore" });
    const traced = Array.from({ length: Math.max(1, Number(values.runs)) }, () => traceRun(tracing.directory, argv));
    const shown = traced.toSorted((a, b) => length(a) - length(b))[Math.floor(traced.length / 2)] ?? [];
    process.stdout.write(`rkt ${command.join(" ")}: ${(length(shown) * 1000).toFixed(1)} ms, median of ${traced.length}\n`);
    show(shown);
    const report = { stages: stages(shown), events: shown };
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
  } finally {
    tracing.close();
    spawnSync(rkt, [`--dir=${data}`, "gc", "--grace-period=0s"], { stdio: "ignore" });
    rmSync(data, { recursive: true, force: true });
  }
}

main();
