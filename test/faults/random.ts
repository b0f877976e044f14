/**
 * Chance that can be repeated: RKT_FAULTS_SEED is the seed that a failure names, RKT_FAULTS_ROUNDS how often each fault
 * is tried. Without that number a run is short, and chance chooses among the faults too.
 */

import { randomFrom } from "../helpers/random.ts";

export const seed = Number(process.env["RKT_FAULTS_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

const told = process.env["RKT_FAULTS_ROUNDS"];

export const rounds = (unlessTold: number): number => Number(told ?? unlessTold);

/** All of them when the run is a long one, else one. */
export const someOf = <T>(things: readonly T[], next: () => number): readonly T[] =>
  told !== undefined ? things : things.slice(Math.floor(next() * things.length)).slice(0, 1);

/** Numbers from 0 to 1 that the seed of the run decides. */
export const random = (stream: number): (() => number) => randomFrom(seed + stream);
