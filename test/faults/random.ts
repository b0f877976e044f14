/**
 * Chance that can be repeated: RKT_FAULTS_SEED is the seed that a failure names, RKT_FAULTS_ROUNDS how often each fault
 * is tried. Without that number a run is short, and chance chooses among the faults too.
 */

export const seed = Number(process.env["RKT_FAULTS_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

const told = process.env["RKT_FAULTS_ROUNDS"];

export const rounds = (unlessTold: number): number => Number(told ?? unlessTold);

/** All of them when the run is a long one, else one. */
export const someOf = <T>(things: readonly T[], next: () => number): readonly T[] =>
  told !== undefined ? things : things.slice(Math.floor(next() * things.length)).slice(0, 1);

/** Numbers from 0 to 1 that the seed decides (mulberry32). */
export function random(stream: number): () => number {
  let a = (seed + stream) >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
