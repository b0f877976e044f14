/**
 * The advisory lock on a container directory (flock(2) on the directory itself). A process that works on the container
 * holds it, and so does the container while it runs, because the descriptor survives each `execve`. The kernel releases
 * it when its holders end, even if they are killed. It belongs to the inode, so a rename to another state keeps it.
 */

import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import type { HostPath } from "../../shared/contract/paths.ts";
import { errorCode } from "../../shared/errors.ts";
import { flock, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } from "../../shared/syscall/descriptor.ts";
import { sleep } from "../../shared/sleep.ts";

/** An open container directory; `fd` holds the lock until the first `close`. */
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
  let open = true;
  return {
    fd,
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** Whether the path still names the open directory, which may have been renamed or removed while we waited. */
function stillThere(fd: number, dir: HostPath): boolean {
  const at = statSync(dir, { throwIfNoEntry: false });
  const mine = fstatSync(fd);
  return at !== undefined && at.ino === mine.ino && at.dev === mine.dev;
}

/** Milliseconds to try again while other processes probe the lock; a probe takes microseconds. */
const PROBING = 1000;

/** Takes the exclusive lock. False if another process holds it exclusively. */
function lockExclusively(fd: number): boolean {
  const end = Date.now() + PROBING;
  while (!flock(fd, LOCK_EX | LOCK_NB)) {
    // Only a probe, or another process in this loop, holds a shared lock: then tries again.
    if (!flock(fd, LOCK_SH | LOCK_NB) || Date.now() > end) return false;
    flock(fd, LOCK_UN);
    sleep(Math.random());
  }
  return true;
}

/**
 * Takes the exclusive lock. "busy" if another process holds it; "gone" if the directory is not, or no longer, at this
 * path.
 */
export function tryLock(dir: HostPath): DirectoryLock | "busy" | "gone" {
  const fd = open(dir);
  if (fd === undefined) return "gone";
  if (!lockExclusively(fd)) {
    closeSync(fd);
    return "busy";
  }
  if (!stillThere(fd, dir)) {
    closeSync(fd);
    return "gone";
  }
  return holding(fd);
}

/**
 * Takes a shared lock, so that nobody moves or removes the container. To `isLocked` the lock still looks free, but no
 * other process can take it exclusively.
 */
export function shareLock(dir: HostPath): DirectoryLock | "busy" | "gone" {
  const fd = open(dir);
  if (fd === undefined) return "gone";
  const shared = flock(fd, LOCK_SH | LOCK_NB);
  if (shared && stillThere(fd, dir)) return holding(fd);
  closeSync(fd);
  return shared ? "gone" : "busy";
}

/**
 * Whether a process holds the exclusive lock. It probes with a short shared lock, which other probes and `tryLock`
 * tolerate.
 */
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
