/**
 * Leaves a stage: the only module that calls execve(2).
 *
 * It trusts its caller for the path and the arguments. Node.js marks the descriptors that it opens close-on-exec, so
 * the new program inherits only 0–2 and `keepFds`.
 */

import { constants } from "node:os";
import { isOpenFd, setCloseOnExec } from "./syscall/descriptor.ts";
import { exitGroup, filterAndExecveat, unblockSignal } from "./syscall/process.ts";

/** Replaces this process. Never returns; throws the error of execve(2). `keepFds` stay open. */
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
 * As `execve`, but the program is an open file. A system call `filter` is installed just before. If execve(2) then
 * fails, the filter stays in force.
 */
export function execveOpen({ fd, argv, env }: OpenProgram, keepFds: readonly number[], filter?: Uint8Array): never {
  unblockSignal(constants.signals.SIGUSR1);
  // As process.execve does: Node.js marks all inherited descriptors close-on-exec.
  for (const kept of [0, 1, 2, ...keepFds]) if (isOpenFd(kept)) setCloseOnExec(kept, false);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  filterAndExecveat(filter, fd, argv, variables);
}

/** Ends this process without the runtime's own clean-up, which may make calls that a filter denies. */
export function exitNow(status: number): never {
  exitGroup(status);
  throw new Error("exit_group returned");
}
