/**
 * Mutation fuzzing: inputs made of seeds by small damage, given to a target
 * that says what must hold. RKT_FUZZ_SECONDS is the time for each target (1),
 * RKT_FUZZ_SEED makes a run again. An input that breaks a rule is written to
 * `test/fuzz/regressions/<target>/`, where every later run begins.
 */

import { createHash, randomInt } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { randomFrom } from "../helpers/random.ts";

export interface Target {
  name: string;
  seeds: readonly (string | Buffer)[];
  /** Words of the input's language, which chance alone would not find. */
  dictionary?: readonly (string | Buffer)[];
  /** Throws an RktError for an input it refuses; anything else is a finding. */
  run(input: Buffer, random: Random): void | Promise<void>;
  prepare?(t: TestContext): void | Promise<void>;
}

/** A whole number from 0 to below `end`. */
export type Random = (end: number) => number;

const SECONDS = Number(process.env["RKT_FUZZ_SECONDS"] ?? "1");
/** Milliseconds that one input may take. */
const SLOW = 2000;

function below(seed: number): Random {
  const next = randomFrom(seed);
  return (end) => Math.floor(next() * end);
}

const NUMBERS = [
  "0",
  "-1",
  "1",
  "255",
  "256",
  "65535",
  "65536",
  "2147483648",
  "4294967296",
  "9007199254740993",
  "1e99",
];
const BYTES = [0, 0x0a, 0x0d, 0x1b, 0x20, 0x22, 0x25, 0x2e, 0x2f, 0x3b, 0x5c, 0x7f, 0x80, 0xff];

function mutate(input: Buffer, seeds: readonly Buffer[], dictionary: readonly Buffer[], random: Random): Buffer {
  let bytes = Buffer.from(input);
  for (let n = 1 + random(6); n > 0; n--) {
    const at = random(bytes.length + 1);
    const length = Math.min(bytes.length - at, 1 + random(random(4) === 0 ? 200 : 8));
    const splice = (middle: Uint8Array, removed = 0) =>
      Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(at + removed)]);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
    switch (random(8)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        bytes = splice(Buffer.from([pick(BYTES)]), random(2));
        break;
      case 2:
        bytes = splice(Buffer.alloc(0), length);
        break;
      case 3:
        bytes = splice(bytes.subarray(at, at + length));
        break;
      case 4:
        bytes = splice(Buffer.from(pick(NUMBERS)), random(4));
        break;
      case 5:
        if (dictionary.length > 0) bytes = splice(pick(dictionary), random(2) * length);
        break;
      case 6: {
        const other = pick(seeds);
        const from = random(other.length);
        bytes = splice(other.subarray(from, from + 1 + random(64)), random(2) * length);
        break;
      }
      case 7:
        if (random(4) === 0) bytes = bytes.subarray(0, at);
        break;
    }
  }
  return bytes;
}

export function fuzz(target: Target): void {
  const regressions = join(import.meta.dirname, "regressions", target.name);
  const judge = async (input: Buffer, random: Random): Promise<void> => {
    const start = performance.now();
    try {
      await target.run(Buffer.from(input), random);
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
    }
    const time = performance.now() - start;
    if (time > SLOW) throw new Error(`it took ${Math.round(time)} ms`);
  };

  test(`fuzz: ${target.name}`, { timeout: (SECONDS + 60) * 1000 }, async (t) => {
    await target.prepare?.(t);
    const known = existsSync(regressions) ? readdirSync(regressions) : [];
    for (const file of known) await judge(readFileSync(join(regressions, file)), below(1));

    const seed = Number(process.env["RKT_FUZZ_SEED"] ?? randomInt(2 ** 32));
    const random = below(seed);
    const seeds = target.seeds.map((text) => Buffer.from(text));
    const dictionary = (target.dictionary ?? []).map((text) => Buffer.from(text));
    const end = performance.now() + SECONDS * 1000;
    let count = 0;
    for (; performance.now() < end; count++) {
      const input = mutate(seeds[random(seeds.length)] as Buffer, seeds, dictionary, random);
      try {
        await judge(input, random);
      } catch (error) {
        const path = join(regressions, createHash("sha256").update(input).digest("hex").slice(0, 16));
        mkdirSync(regressions, { recursive: true });
        writeFileSync(path, input);
        throw new Error(`input ${count} of RKT_FUZZ_SEED=${seed}, kept as ${path}: ${error}`, { cause: error });
      }
    }
    t.diagnostic(`${count} inputs, RKT_FUZZ_SEED=${seed}`);
  });
}
