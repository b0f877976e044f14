/** How many files an app may have open: as many as rkt's caller (RLIMIT_NOFILE, getrlimit(2)). */

import { readFileSync } from "node:fs";
import { getrlimit, type ResourceLimit, RLIMIT_NOFILE } from "./syscall/process.ts";

/**
 * The limits of rkt's caller, which is this process's parent. The runtime may have raised our own soft limit to the hard one
 * before any of our code runs. If the parent has the same hard limit, we have inherited the parent's limits, and its
 * soft limit is the right one. If it has another, a program in between has set our limits, and the soft limit is taken
 * to be the hard one.
 */
export function callersOpenFiles(): ResourceLimit {
  const own = getrlimit(RLIMIT_NOFILE);
  const parent = openFiles(readFileIfReadable(`/proc/${process.ppid}/limits`));
  return parent !== undefined && parent.hard === own.hard && parent.soft <= own.hard
    ? parent
    : { ...own, soft: own.hard };
}

/**
 * Pure: from the text of /proc/PID/limits (proc_pid_limits(5)). Undefined for "unlimited", which the kernel never shows
 * here.
 */
export function openFiles(limits: string): ResourceLimit | undefined {
  const [, soft, hard] = /^Max open files +(\d+) +(\d+) /m.exec(limits) ?? [];
  return soft === undefined || hard === undefined ? undefined : { soft: BigInt(soft), hard: BigInt(hard) };
}

/** Parses the text of `openFilesText`. */
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
