/**
 * Computes the capability sets of an app from its isolators (appc spec, ace.md "Linux Isolators"). Pure.
 *
 * A set is a bit mask; bit n stands for capability number n, as in the kernel (capabilities(7), linux/capability.h).
 */

import { CAPABILITIES, DEFAULT_CAPABILITIES } from "../shared/schema/capabilities.ts";
import type { KnownIsolators } from "../shared/schema/isolators.ts";

/** The mask of these names, which `understandIsolators` has checked. */
export function capabilityMask(names: readonly string[]): bigint {
  let mask = 0n;
  for (const name of names) mask |= 1n << BigInt((CAPABILITIES as readonly string[]).indexOf(name));
  return mask;
}

/** The set of an app without such isolators. */
export const DEFAULT_SET = capabilityMask(DEFAULT_CAPABILITIES);
export const SYS_ADMIN = capabilityMask(["CAP_SYS_ADMIN"]);
export const NET_ADMIN = capabilityMask(["CAP_NET_ADMIN"]);
export const ALL = capabilityMask(CAPABILITIES);

/** The names in a set, in the order of their numbers; a bit without a name is `CAP_<number>`. */
export function capabilityNames(mask: bigint): string[] {
  const names: string[] = [];
  for (let number = 0; mask >> BigInt(number) > 0n; number++)
    if ((mask >> BigInt(number)) & 1n) names.push(CAPABILITIES[number] ?? `CAP_${number}`);
  return names;
}

/** The bounding set: the retain-set if there is one, else the default set without the remove-set. */
export function boundingSet(isolators: KnownIsolators, defaultSet = DEFAULT_SET): bigint {
  const retain = isolators["os/linux/capabilities-retain-set"];
  if (retain !== undefined) return capabilityMask(retain);
  return defaultSet & ~capabilityMask(isolators["os/linux/capabilities-remove-set"] ?? []);
}
