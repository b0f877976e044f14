/**
 * Leaves a stage: the only module that calls execve(2).
 *
 * It trusts its caller for the path and the arguments. The new program inherits only the descriptors 0–2 and `keepFds`.
 */

import { closeOnExecFrom, isOpenFd, setCloseOnExec } from "./syscall/descriptor.ts";
import { execve as callExecve, exitGroup, filterAndExecveat } from "./syscall/process.ts";

/** Replaces this process. Never returns; throws the error of execve(2). `keepFds` stay open. */
export function execve(
  path: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  keepFds: readonly number[] = [],
): never {
  keepOpen(keepFds);
  return callExecve(path, argv, variables(env));
}

/** Not left to the runtime: it marks neither all inherited descriptors close-on-exec nor all of its own in time. */
function keepOpen(keepFds: readonly number[]): void {
  closeOnExecFrom(3);
  for (const kept of [0, 1, 2, ...keepFds]) if (isOpenFd(kept)) setCloseOnExec(kept, false);
}

const variables = (env: Readonly<Record<string, string>>): string[] =>
  Object.entries(env).map(([name, value]) => `${name}=${value}`);

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
  keepOpen(keepFds);
  filterAndExecveat(filter, fd, argv, variables(env));
}

/** Ends this process without the runtime's own clean-up, which may make calls that a filter denies. */
export function exitNow(status: number): never {
  exitGroup(status);
  throw new Error("exit_group returned");
}
