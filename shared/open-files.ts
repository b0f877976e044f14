/** How many files an app may have open: what the caller of rkt may (RLIMIT_NOFILE, getrlimit(2)). */

import { readFileSync } from "node:fs";
import { getrlimit, type ResourceLimit, RLIMIT_NOFILE } from "./syscall/process.ts";

/**
 * The caller's limits, in a process that its caller has started, or that such a one has become by execve(2). Node.js has
 * raised the soft limit to the hard one before any of our code runs. Limits are inherited, so while the parent has the
 * same hard limit, its soft limit is taken for the caller's; if it has another one, somebody has chosen limits between the
 * two, and the soft limit is taken to be the hard one.
 */
export function callersOpenFiles(): ResourceLimit {
  const own = getrlimit(RLIMIT_NOFILE);
  const parent = openFiles(readFileIfReadable(`/proc/${process.ppid}/limits`));
  return parent !== undefined && parent.hard === own.hard && parent.soft <= own.hard
    ? parent
    : { ...own, soft: own.hard };
}

/** Pure: from the text of /proc/PID/limits (proc_pid_limits(5)); no number has a limit of open files that is "unlimited". */
export function openFiles(limits: string): ResourceLimit | undefined {
  const [, soft, hard] = /^Max open files +(\d+) +(\d+) /m.exec(limits) ?? [];
  return soft === undefined || hard === undefined ? undefined : { soft: BigInt(soft), hard: BigInt(hard) };
}

/** Two numbers, as `openFilesText` writes them. */
export function parseOpenFiles(text: string): ResourceLimit | undefined {
  const [, soft, hard] = /^(\d{1,19}) (\d{1,19})\n$/.exec(text) ?? [];
  return soft === undefined || hard === undefined ? undefined : { soft: BigInt(soft), hard: BigInt(hard) };
}

export const openFilesText = ({ soft, hard }: ResourceLimit): string => `${soft} ${hard}\n`;

function readFileIfReadable(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // The parent is in another PID namespace, or has ended.
    return "";
  }
}
