/** A command of rkt's under strace(1), which counts its system calls or has one of them fail. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { finished, type Result, type Rkt, rktBinary } from "../helpers/rkt.ts";
import { someOf } from "./random.ts";

/** Errors by system call. With a plus: from some call on, each one fails. */
export type Faults = Record<string, readonly string[]>;

/** The status of timeout(1) for a command that it had to end. */
const HANGS = 124;

/** A traced command, ended after a minute. */
function traced(options: readonly string[], rkt: Rkt, words: readonly string[]): Promise<Result> {
  const argv = ["-k", "60", "60", "strace", ...options, rktBinary, `--dir=${rkt.dir}`, ...words];
  return finished(spawn("timeout", argv, { stdio: ["ignore", "pipe", "pipe"] }));
}

/** How often the command makes each of the calls. */
export async function countCalls(rkt: Rkt, faults: Faults, words: readonly string[]): Promise<Map<string, number>> {
  const table = join(rkt.scratch, "calls");
  const done = await traced(["-c", "-o", table, "-e", `trace=${Object.keys(faults).join(",")}`], rkt, words);
  assert.equal(done.status, 0, done.stderr);
  return new Map(
    readFileSync(table, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/ +/))
      .map((columns) => [columns.at(-1) ?? "", Number(columns[3])]),
  );
}

/** What strace is to inject, at calls that chance chooses: each fault once, or in a short run one for each system call. */
export function chooseFaults(faults: Faults, counts: ReadonlyMap<string, number>, next: () => number): string[] {
  return Object.entries(faults).flatMap(([call, errors]) =>
    someOf(errors, next).map((error) => {
      const when = 1 + Math.floor(next() * (counts.get(call) ?? 1));
      return `${call}:error=${error.replace("+", "")}:when=${when}${error.endsWith("+") ? "+" : ""}`;
    }),
  );
}

/**
 * A failed write to a pipe or an eventfd. strace injects it, but no kernel returns such an error there. Node.js frees
 * its lock for signals in this way, inside the handler of SIGCHLD, and then waits for that lock for ever.
 */
const IMPOSSIBLE = /^write\(\d+<(?:pipe:|anon_inode:\[eventfd).*\(INJECTED\)$/m;

/** The command must end. One that hangs after an impossible error has been killed, and that is what it counts as. */
export async function withFault(rkt: Rkt, fault: string, words: readonly string[]): Promise<Result> {
  const call = fault.replace(/:.*/, "");
  const log = join(rkt.scratch, "fault");
  const done = await traced(["-y", "-o", log, "-e", `trace=${call}`, "-e", `inject=${fault}`], rkt, words);
  const calls = readFileSync(log, "utf8");
  rmSync(log);
  // Node.js itself aborts when it can't wake its own threads: no worse than a kill. A hang is.
  if (done.status !== HANGS) return done;
  assert.match(calls, IMPOSSIBLE, `${fault}: ${words.join(" ")} hangs: ${done.stderr}${calls.slice(-2000)}`);
  return { ...done, status: null, signal: "SIGKILL" };
}
