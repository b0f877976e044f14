/**
 * Temporary files and directories of the store, in `cas/tmp`. The process that
 * makes one holds a lock on it (flock(2)), which the kernel releases when the
 * process dies, whatever its PID namespace. The next import or collection
 * removes those that nobody holds.
 */

import { closeSync, constants, fstatSync, mkdirSync, openSync, readdirSync, renameSync, statSync } from "node:fs";
import { errorCode } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_EX, LOCK_NB } from "../../shared/syscall/descriptor.ts";
import { removeAttempt } from "../host/remove-attempt.ts";
import { removeTree } from "../host/remove-tree.ts";

let counter = 0;

export interface Temporary {
  readonly path: string;
  readonly fd: number;
  /** Deletes it. */
  remove(): void;
  /** For a file that was renamed to its place: closes it, and so unlocks it. */
  keep(): void;
}

function uniquePath(layout: DataLayout, kind: string): string {
  return `${layout.tmp}/${kind}-${process.pid}-${process.hrtime.bigint().toString(36)}-${counter++}`;
}

function owned(path: string, fd: number): Temporary {
  let open = true;
  const keep = () => {
    if (open) closeSync(fd);
    open = false;
  };
  return {
    path,
    fd,
    keep,
    remove() {
      if (open) removeAttempt(path);
      keep();
    },
  };
}

export function temporaryFile(layout: DataLayout, kind: string): Temporary {
  return locked(() => {
    const path = uniquePath(layout, kind);
    return { path, fd: openSync(path, "wx+", 0o644) };
  });
}

export function temporaryDirectory(layout: DataLayout, kind: string): Temporary {
  return locked(() => {
    const path = uniquePath(layout, kind);
    mkdirSync(path, { mode: 0o755 });
    return { path, fd: openSync(path, constants.O_RDONLY | constants.O_DIRECTORY) };
  });
}

/** Makes a temporary and locks it. A collection may have removed it before it was locked: then another is made. */
function locked(make: () => { path: string; fd: number }): Temporary {
  for (let attempts = 10; ; attempts--) {
    let made: { path: string; fd: number };
    try {
      made = make();
    } catch (error) {
      // ENOENT: a directory was collected before it was opened. EEXIST: a process of another PID namespace has the name.
      if (attempts > 0 && ["ENOENT", "EEXIST"].includes(errorCode(error) ?? "")) continue;
      throw error;
    }
    const { path, fd } = made;
    try {
      flock(fd, LOCK_EX);
      if (isAt(path, fd)) return owned(path, fd);
    } catch (error) {
      owned(path, fd).remove();
      throw error;
    }
    closeSync(fd);
  }
}

function isAt(path: string, fd: number): boolean {
  const [there, own] = [statSync(path, { throwIfNoEntry: false }), fstatSync(fd)];
  return there !== undefined && there.ino === own.ino && there.dev === own.dev;
}

/** Moves a directory of the store to the temporary files, by one rename; the given function deletes it. */
export function setAside(layout: DataLayout, kind: string, path: string): () => void {
  const aside = uniquePath(layout, kind);
  renameSync(path, aside);
  return () => removeTree(aside);
}

/** Removes the temporaries that nobody holds; gives how many. */
export function collectTemporaries(layout: DataLayout): number {
  let names: string[];
  try {
    names = readdirSync(layout.tmp);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return 0;
    throw error;
  }
  return names.filter((name) => collect(`${layout.tmp}/${name}`)).length;
}

function collect(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    // ENOENT: it is gone meanwhile. A link or a FIFO (ELOOP, ENXIO) was not made by rkt.
    if (errorCode(error) === "ENOENT") return false;
    if (errorCode(error) !== "ELOOP" && errorCode(error) !== "ENXIO") throw error;
    removeTree(path);
    return true;
  }
  try {
    // It may have been renamed to its place meanwhile, and the lock is on the file wherever it is: then it stays.
    if (!flock(fd, LOCK_EX | LOCK_NB) || !isAt(path, fd)) return false;
    removeTree(path);
    return true;
  } finally {
    closeSync(fd);
  }
}
