/**
 * Who may take from the store: flock(2) on one file. It is held shared from
 * the first image that a process finds or puts there until it closes the
 * store; a container that was set up meanwhile is known by its `trees` file.
 * Exclusively held only for as long as it takes to unlink.
 *
 * A download of hours holds nothing: its file is its own until it is whole.
 */

import { closeSync, openSync } from "node:fs";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } from "../../shared/syscall/descriptor.ts";

export interface StoreLock {
  /** From now on nobody takes anything away. */
  share(): void;
  /** Runs `work` alone with the store, and lets go of it; `wait` is called first when somebody else is using it. */
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
      // Our own shared lock becomes the exclusive one: it is the same descriptor's.
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
