/**
 * Leaving a stage: the only module that calls execve(2).
 *
 * Trusts its caller for the path and arguments. Node.js marks the descriptors
 * it opens close-on-exec, so only 0–2 and those named in `keepFds` go on.
 */

import { constants } from "node:os";
import { isOpenFd, setCloseOnExec } from "./syscall/descriptor.ts";
import { exitGroup, filterAndExecveat, unblockSignal } from "./syscall/process.ts";

/** Replaces this process; returns only by throwing, with execve(2)'s error. `keepFds` stay open across the call. */
export function execve(
  path: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  keepFds: readonly number[] = [],
): never {
  unblockSignal(constants.signals.SIGUSR1);
  for (const fd of keepFds) setCloseOnExec(fd, false);
  process.execve?.(path, [...argv], { ...env });
  throw new Error("execve returned");
}

export interface OpenProgram {
  /** A descriptor of its file. */
  fd: number;
  argv: readonly (string | Buffer)[];
  env: Readonly<Record<string, string>>;
}

/**
 * As `execve`, of a program that is open. A system call `filter` holds from just before it, so when it was installed and
 * execve fails, it holds for what follows.
 */
export function execveOpen({ fd, argv, env }: OpenProgram, keepFds: readonly number[], filter?: Uint8Array): never {
  unblockSignal(constants.signals.SIGUSR1);
  // As process.execve does: Node.js marks all that it inherits.
  for (const kept of [0, 1, 2, ...keepFds]) if (isOpenFd(kept)) setCloseOnExec(kept, false);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  filterAndExecveat(filter, fd, argv, variables);
}

/** Ends this process without the runtime's own clean-up, which may take calls that a filter denies. */
export function exitNow(status: number): never {
  exitGroup(status);
  throw new Error("exit_group returned");
}
