/**
 * The lock by which nothing is removed from the store while it is used:
 * flock(2) on one file. A process holds it shared from the first image that it
 * finds or stores until it closes the store. A container that it has set up
 * meanwhile is known by its `trees` file. A removal holds the lock exclusively,
 * for no longer than it takes to unlink.
 *
 * A download holds nothing, however long it takes: until it is whole, its
 * temporary file has a lock of its own (temporary.ts).
 */

import { closeSync, openSync } from "node:fs";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } from "../../shared/syscall/descriptor.ts";

export interface StoreLock {
  /** From now on nothing is removed from the store. */
  share(): void;
  /** Runs `work` while no other process uses the store, then unlocks it. Calls `wait` first if another one uses it. */
  exclusively<T>(wait: () => void, work: () => T): T;
  close(): void;
}

export function openStoreLock(layout: DataLayout): StoreLock {
  let fd: number | undefined;
  let held = false;
  const descriptor = (): number => {
    fd ??= openSync(layout.storeLock, "w", 0o600);
    return fd;
  };
  return {
    share() {
      if (held) return;
      flock(descriptor(), LOCK_SH);
      held = true;
    },
    exclusively(wait, work) {
      const lock = descriptor();
      // A shared lock that we hold becomes the exclusive one, because it is the same descriptor's.
      if (!flock(lock, LOCK_EX | LOCK_NB)) {
        wait();
        flock(lock, LOCK_EX);
      }
      held = true;
      try {
        return work();
      } finally {
        flock(lock, LOCK_UN);
        held = false;
      }
    },
    close() {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
      held = false;
    },
  };
}
