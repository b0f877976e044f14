/**
 * The advisory lock on a container directory (flock(2) on the directory
 * itself): held by whoever works on the container, and by the container while
 * it runs, since the descriptor goes through every `execve`. The kernel
 * releases it however its holders die, so it can't outlive them. It belongs to
 * the inode: renaming the directory to another state keeps it.
 */

import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import type { HostPath } from "../../shared/layout.ts";
import { errorCode } from "../../shared/errors.ts";
import { flock, LOCK_EX, LOCK_NB, LOCK_SH } from "../../shared/syscall/linux.ts";

/** An open container directory; `fd` holds the lock until `close`. */
export interface DirectoryLock {
  readonly fd: number;
  close(): void;
}

function open(dir: HostPath): number | undefined {
  try {
    return openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function holding(fd: number): DirectoryLock {
  return { fd, close: () => closeSync(fd) };
}

/** Whether the descriptor is still what the path names: it may have been renamed or removed while we waited. */
function stillThere(fd: number, dir: HostPath): boolean {
  const at = statSync(dir, { throwIfNoEntry: false });
  const mine = fstatSync(fd);
  return at !== undefined && at.ino === mine.ino && at.dev === mine.dev;
}

/**
 * Takes the exclusive lock without waiting: "busy" when somebody holds it,
 * "gone" when the directory is not, or no longer, at this path.
 */
export function tryLock(dir: HostPath): DirectoryLock | "busy" | "gone" {
  const fd = open(dir);
  if (fd === undefined) return "gone";
  if (!flock(fd, LOCK_EX | LOCK_NB)) {
    closeSync(fd);
    return "busy";
  }
  if (!stillThere(fd, dir)) {
    closeSync(fd);
    return "gone";
  }
  return holding(fd);
}

/** Whether somebody holds the lock. A shared, instant probe: it never makes another probe see "held". */
export function isLocked(dir: HostPath): boolean | "gone" {
  const fd = open(dir);
  if (fd === undefined) return "gone";
  try {
    return !flock(fd, LOCK_SH | LOCK_NB);
  } finally {
    closeSync(fd);
  }
}

/** Waits until nobody holds the exclusive lock. Blocks the thread: flock(2) has no asynchronous form. */
export function waitUnlocked(dir: HostPath): "free" | "gone" {
  const fd = open(dir);
  if (fd === undefined) return "gone";
  try {
    flock(fd, LOCK_SH);
    return "free";
  } finally {
    closeSync(fd);
  }
}
