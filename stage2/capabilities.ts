/**
 * Capability sets of an app, from its isolators (appc spec, ace.md "Linux
 * Isolators"). Pure.
 *
 * Sets are bit masks, bit n for the capability of number n, as the kernel has
 * them (capabilities(7), linux/capability.h).
 */

import { RktError } from "../shared/errors.ts";
import { LAUNCH_EXIT } from "../shared/layout.ts";
import type { KnownIsolators } from "../shared/schema/isolators.ts";

/** By number. */
export const CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
] as const;

/** The set of an app that says nothing (ace.md, os/linux/capabilities-remove-set). */
const DEFAULT_SET = [
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

/** Throws "unknown-capability". */
export function capabilityMask(names: readonly string[]): bigint {
  let mask = 0n;
  for (const name of names) {
    const number = (CAPABILITIES as readonly string[]).indexOf(name);
    if (number < 0)
      throw new RktError("unknown-capability", `no such capability: "${name}"`, {
        exitCode: LAUNCH_EXIT.capabilities,
      });
    mask |= 1n << BigInt(number);
  }
  return mask;
}

/** Names of a set, in the order of their numbers; a bit without a name is `CAP_<number>`. */
export function capabilityNames(mask: bigint): string[] {
  const names: string[] = [];
  for (let number = 0; mask >> BigInt(number) > 0n; number++)
    if ((mask >> BigInt(number)) & 1n) names.push(CAPABILITIES[number] ?? `CAP_${number}`);
  return names;
}

/** The bounding set: retain-set as it stands, else the default set less the remove-set. */
export function boundingSet(isolators: KnownIsolators): bigint {
  const retain = isolators["os/linux/capabilities-retain-set"];
  if (retain !== undefined) return capabilityMask(retain);
  return capabilityMask(DEFAULT_SET) & ~capabilityMask(isolators["os/linux/capabilities-remove-set"] ?? []);
}
