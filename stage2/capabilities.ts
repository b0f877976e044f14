/**
 * Capability sets of an app, from its isolators (appc spec, ace.md "Linux
 * Isolators"). Pure.
 *
 * Sets are bit masks, bit n for the capability of number n, as the kernel has
 * them (capabilities(7), linux/capability.h).
 */

import { CAPABILITIES, DEFAULT_CAPABILITIES } from "../shared/schema/capabilities.ts";
import type { KnownIsolators } from "../shared/schema/isolators.ts";

/** Of names that `understandIsolators` has let pass. */
export function capabilityMask(names: readonly string[]): bigint {
  let mask = 0n;
  for (const name of names) mask |= 1n << BigInt((CAPABILITIES as readonly string[]).indexOf(name));
  return mask;
}

/** Of an app that says nothing. */
export const DEFAULT_SET = capabilityMask(DEFAULT_CAPABILITIES);
/** What CAP_SYS_ADMIN is among them. */
export const SYS_ADMIN = capabilityMask(["CAP_SYS_ADMIN"]);
export const NET_ADMIN = capabilityMask(["CAP_NET_ADMIN"]);
export const ALL = capabilityMask(CAPABILITIES);

/** Names of a set, in the order of their numbers; a bit without a name is `CAP_<number>`. */
export function capabilityNames(mask: bigint): string[] {
  const names: string[] = [];
  for (let number = 0; mask >> BigInt(number) > 0n; number++)
    if ((mask >> BigInt(number)) & 1n) names.push(CAPABILITIES[number] ?? `CAP_${number}`);
  return names;
}

/** The bounding set: retain-set as it stands, else the default set less the remove-set. */
export function boundingSet(isolators: KnownIsolators, defaultSet = DEFAULT_SET): bigint {
  const retain = isolators["os/linux/capabilities-retain-set"];
  if (retain !== undefined) return capabilityMask(retain);
  return defaultSet & ~capabilityMask(isolators["os/linux/capabilities-remove-set"] ?? []);
}
