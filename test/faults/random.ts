/** Chance that can be repeated: RKT_FAULTS_SEED is the seed that a failure names, RKT_FAULTS_ROUNDS how often each. */

export const seed = Number(process.env["RKT_FAULTS_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

export const rounds = (unlessTold: number): number => Number(process.env["RKT_FAULTS_ROUNDS"] ?? unlessTold);

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
