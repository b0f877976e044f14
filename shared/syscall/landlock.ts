/** Landlock domains (landlock(7)). */

import { constants } from "node:os";
import { call, check, tryCall } from "./call.ts";

export const LANDLOCK_ACCESS_FS_REFER = 1n << 13n;
export const LANDLOCK_SCOPE_SIGNAL = 1n << 1n;

/**
 * The version of the interface (landlock(7)); 0 if the kernel has none or has it turned off, or a filter forbids it.
 */
export function landlockVersion(): number {
  const LANDLOCK_CREATE_RULESET_VERSION = 1;
  const version = tryCall("landlock_create_ruleset", 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
  const { ENOSYS, EOPNOTSUPP, EPERM } = constants.errno;
  if ([ENOSYS, EOPNOTSUPP, EPERM].includes(-version)) return 0;
  return check("landlock_create_ruleset", version);
}

/**
 * Makes a ruleset that denies these rights. An older kernel accepts only the first fields, so `scoped` is passed only
 * if it is set.
 */
export function landlockCreateRuleset({ files = 0n, scoped = 0n }: { files?: bigint; scoped?: bigint }): number {
  const attributes = Buffer.alloc(24);
  attributes.writeBigUInt64LE(files, 0);
  attributes.writeBigUInt64LE(scoped, 16);
  return call("landlock_create_ruleset", attributes, scoped === 0n ? 8 : 24, 0);
}

/** Allows the rights on what `fd` refers to, and below. */
export function landlockAllowBelow(ruleset: number, fd: number, rights: bigint): void {
  const LANDLOCK_RULE_PATH_BENEATH = 1;
  const rule = Buffer.alloc(12);
  rule.writeBigUInt64LE(rights, 0);
  rule.writeInt32LE(fd, 8);
  call("landlock_add_rule", ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0);
}

/** Applies the ruleset to this thread, and so to the programs that it becomes and starts. */
export function landlockRestrictSelf(ruleset: number): void {
  call("landlock_restrict_self", ruleset, 0);
}
