/** Landlock domains (landlock(7)). */

import { constants } from "node:os";
import { check, ffi, SyscallError } from "./libc.ts";

const SYS_landlock_create_ruleset = 444n;
const SYS_landlock_add_rule = 445n;
const SYS_landlock_restrict_self = 446n;
export const LANDLOCK_ACCESS_FS_REFER = 1n << 13n;
export const LANDLOCK_SCOPE_SIGNAL = 1n << 1n;

/**
 * The version of the interface (landlock(7)); 0 if the kernel has none or has it turned off, or a filter forbids it.
 */
export function landlockVersion(): number {
  const LANDLOCK_CREATE_RULESET_VERSION = 1n;
  const version = ffi().syscall.ints(SYS_landlock_create_ruleset, 0n, 0n, LANDLOCK_CREATE_RULESET_VERSION, 0n);
  if (version >= 0n) return Number(version);
  const errno = ffi().errno();
  const { ENOSYS, EOPNOTSUPP, EPERM } = constants.errno;
  if ([ENOSYS, EOPNOTSUPP, EPERM].includes(errno)) return 0;
  throw new SyscallError("landlock_create_ruleset", errno);
}

/**
 * Makes a ruleset that denies these rights. An older kernel accepts only the first fields, so `scoped` is passed only
 * if it is set.
 */
export function landlockCreateRuleset({ files = 0n, scoped = 0n }: { files?: bigint; scoped?: bigint }): number {
  const attributes = Buffer.alloc(24);
  attributes.writeBigUInt64LE(files, 0);
  attributes.writeBigUInt64LE(scoped, 16);
  const result = ffi().syscall.bufInts(SYS_landlock_create_ruleset, attributes, scoped === 0n ? 8n : 24n, 0n);
  return check("landlock_create_ruleset", result);
}

/** Allows the rights on what `fd` refers to, and below. */
export function landlockAllowBelow(ruleset: number, fd: number, rights: bigint): void {
  const LANDLOCK_RULE_PATH_BENEATH = 1n;
  const rule = Buffer.alloc(12);
  rule.writeBigUInt64LE(rights, 0);
  rule.writeInt32LE(fd, 8);
  const result = ffi().syscall.intsBufInt(
    SYS_landlock_add_rule,
    BigInt(ruleset),
    LANDLOCK_RULE_PATH_BENEATH,
    rule,
    0n,
  );
  check("landlock_add_rule", result);
}

/** Applies the ruleset to this thread, and so to the programs that it becomes and starts. */
export function landlockRestrictSelf(ruleset: number): void {
  check("landlock_restrict_self", ffi().syscall.ints(SYS_landlock_restrict_self, BigInt(ruleset), 0n, 0n, 0n));
}
