/** Limits of a process (getrlimit(2)), by the names that prlimit(1) and podman have for them. */

/** In the order of the kernel's numbers (asm-generic/resource.h). */
export const RLIMITS = [
  ...["cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile"],
  ...["memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"],
] as const;

/** RLIM_INFINITY. */
const UNLIMITED = 2n ** 64n - 1n;

export interface Rlimit {
  soft: bigint;
  hard: bigint;
}

/** A number in the limit's own unit, "unlimited" or -1; undefined for what is neither. */
export function parseRlimit(value: unknown): bigint | undefined {
  if (value === "unlimited" || value === -1 || value === "-1") return UNLIMITED;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  return typeof value === "string" && /^\d{1,19}$/.test(value) ? BigInt(value) : undefined;
}

export const rlimitText = (limit: bigint): string => (limit === UNLIMITED ? "unlimited" : String(limit));
