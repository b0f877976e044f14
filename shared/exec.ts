/**
 * Leaving a stage: the only module that calls `process.execve`.
 *
 * Trusts its caller for the path and arguments. Node.js marks the descriptors
 * it opens close-on-exec, so only 0–2 and those named in `keepFds` go on.
 */

import { setCloseOnExec } from "./syscall/linux.ts";

/** Replaces this process; returns only by throwing, with execve(2)'s error. `keepFds` stay open across the call. */
export function execve(
  path: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  keepFds: readonly number[] = [],
): never {
  for (const fd of keepFds) setCloseOnExec(fd, false);
  process.execve?.(path, [...argv], { ...env });
  throw new Error("execve returned");
}
