/**
 * The advisory lock on a container directory (flock(2) on the directory
 * itself): held by whoever works on the container, and by the container while
 * it runs, since the descriptor goes through every `execve`. The kernel
 * releases it however its holders die, so it can't outlive them. It belongs to
 * the inode: renaming the directory to another state keeps it.
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

/** Whether the descriptor is still what the path names: it may have been renamed or removed while we waited. */
function stillThere(fd: number, dir: HostPath): boolean {
  const at = statSync(dir, { throwIfNoEntry: false });
  const mine = fstatSync(fd);
  return at !== undefined && at.ino === mine.ino && at.dev === mine.dev;
}

/** How long probes may be in the way of an exclusive lock, in milliseconds: each takes microseconds. */
const PROBING = 1000;

/** Takes the exclusive lock unless another process has it exclusively. */
function lockExclusively(fd: number): boolean {
  const end = Date.now() + PROBING;
  while (!flock(fd, LOCK_EX | LOCK_NB)) {
    // A shared lock is a probe's, or that of another process at this very place.
    if (!flock(fd, LOCK_SH | LOCK_NB) || Date.now() > end) return false;
    flock(fd, LOCK_UN);
    sleep(Math.random());
  }
  return true;
}

/**
 * Takes the exclusive lock without waiting for whoever holds it: "busy" then,
 * "gone" when the directory is not, or no longer, at this path.
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
 * Shares the lock, so that the container stays where it is: to others it is
 * still not held, but nobody can have it for himself.
 */
export function shareLock(dir: HostPath): DirectoryLock | "busy" | "gone" {
  const fd = open(dir);
  if (fd === undefined) return "gone";
  const shared = flock(fd, LOCK_SH | LOCK_NB);
  if (shared && stillThere(fd, dir)) return holding(fd);
  closeSync(fd);
  return shared ? "gone" : "busy";
}

/** Whether somebody holds the lock. A shared, instant probe: no other probe takes it for "held", nor does `tryLock`. */
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
