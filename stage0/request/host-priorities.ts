/**
 * What an image may not give its own app: a place before the programs of the
 * host, for a processor, for memory that is never swapped, or when memory is
 * short. The isolators that ask for it count only on the command line or in a
 * pod manifest, whose writer knows the host. Pure.
 */

import { RLIMITS_ISOLATOR } from "../../shared/contract/annotations.ts";
import { parseRlimits, understandIsolators, type Where } from "../../shared/schema/isolators.ts";
import type { Isolator, Json } from "../../shared/schema/types.ts";

const OOM_SCORE_ADJ = "os/linux/oom-score-adj";

/** The most that an image may ask for: what every process has by default (getrlimit(2); a limit `nice` of 20 is a nice value of 0). */
const MOST: Readonly<Record<string, bigint>> = { rtprio: 0n, nice: 20n, memlock: 8n << 20n, msgqueue: 819_200n };

const tooMuch = (limits: ReturnType<typeof parseRlimits>): string[] =>
  [...limits].flatMap(([name, { hard }]) => (hard > (MOST[name] ?? hard) ? [name] : []));

/** The image's isolators without those. */
export function withoutPriorities(image: readonly Isolator[], where: Where): Isolator[] {
  return image.flatMap((isolator) => {
    const { name, value } = isolator;
    if (name === OOM_SCORE_ADJ) return typeof value === "number" && value < 0 ? [] : [isolator];
    if (name !== RLIMITS_ISOLATOR) return [isolator];
    const left = Object.entries(value as Record<string, Json>).filter(
      ([limit]) => !tooMuch(parseRlimits(value, where)).includes(limit),
    );
    return left.length === 0 ? [] : [{ name, value: Object.fromEntries(left) }];
  });
}

/** A line for the person about what an image has asked for and does not get, or none. `asked` is the command line's. */
export function deniedPriorities(
  app: string,
  image: readonly Isolator[],
  asked: readonly Isolator[],
  where: Where,
): string[] {
  const own = image.filter(({ name }) => !asked.some((other) => other.name === name));
  const { known } = understandIsolators(own, where);
  const score = known[OOM_SCORE_ADJ] ?? 0;
  const limits = tooMuch(known[RLIMITS_ISOLATOR] ?? new Map());
  const denied = [
    ...(score < 0 ? [`an oom-score-adj of ${score} (--oom-score-adj)`] : []),
    ...(limits.length === 0 ? [] : [`more than the usual limit of ${limits.join(", ")} (--ulimit)`]),
  ];
  return denied.length === 0
    ? []
    : [`app ${app}: its image asks for ${denied.join(" and ")}, which only the command line can give`];
}
