/**
 * Capability sets of an app, from its isolators (appc spec, ace.md "Linux
 * Isolators"). Pure.
 *
 * Sets are bit masks, bit n for the capability of number n, as the kernel has
 * them (capabilities(7), linux/capability.h).
 */

import { CAPABILITIES } from "../shared/schema/capabilities.ts";
import type { KnownIsolators } from "../shared/schema/isolators.ts";

/** The set of an app that says nothing (ace.md, os/linux/capabilities-remove-set). */
const DEFAULT_NAMES = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FSETID",
  "CAP_FOWNER",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_RAW",
  "CAP_NET_BIND_SERVICE",
  "CAP_SETUID",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETFCAP",
  "CAP_SYS_CHROOT",
];

/** Of names that `understandIsolators` has let pass. */
export function capabilityMask(names: readonly string[]): bigint {
  let mask = 0n;
  for (const name of names) mask |= 1n << BigInt((CAPABILITIES as readonly string[]).indexOf(name));
  return mask;
}

export const DEFAULT_SET = capabilityMask(DEFAULT_NAMES);
/** What CAP_SYS_ADMIN is among them. */
export const SYS_ADMIN = capabilityMask(["CAP_SYS_ADMIN"]);
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
