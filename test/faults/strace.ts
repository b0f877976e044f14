/** A command of rkt's under strace(1), which counts its system calls or has one of them fail. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { finished, type Result, type Rkt, rktBinary } from "../helpers/rkt.ts";
import { someOf } from "./random.ts";

/** Errors by system call. With a plus: from some call on, each one fails. */
export type Faults = Record<string, readonly string[]>;

/** A traced command, ended after a minute. */
async function traced(options: readonly string[], rkt: Rkt, words: readonly string[]): Promise<Result> {
  const argv = ["-k", "60", "60", "strace", ...options, rktBinary, `--dir=${rkt.dir}`, ...words];
  const done = await finished(spawn("timeout", argv, { stdio: ["ignore", "pipe", "pipe"] }));
  // Node.js itself aborts when it can't wake its own threads: no worse than a kill. A hang is.
  assert.notEqual(done.status, 124, `${words.join(" ")} hangs: ${done.stderr}`);
  return done;
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

export function withFault(rkt: Rkt, fault: string, words: readonly string[]): Promise<Result> {
  const call = fault.replace(/:.*/, "");
  return traced(["-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${fault}`], rkt, words);
}
