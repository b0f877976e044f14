/**
 * Work in progress of the store: files and directories in `cas/tmp`, named by
 * the pid of whoever makes them. What no living process made was left by one
 * that died, and the next import or collection removes it.
 */

import { closeSync, constants, mkdirSync, openSync, readdirSync, renameSync } from "node:fs";
import { errorCode } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/layout.ts";
import { discard } from "../discard.ts";
import { removeTree } from "../remove-tree.ts";

let counter = 0;

export interface Temporary {
  readonly path: string;
  readonly fd: number;
  /** Takes it away. */
  remove(): void;
  /** It has been renamed to its place: only lets go of it. */
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
      if (open) discard(path);
      keep();
    },
  };
}

export function temporaryFile(layout: DataLayout, kind: string): Temporary {
  const path = uniquePath(layout, kind);
  const fd = openSync(path, "wx+", 0o644);
  return owned(path, fd);
}

export function temporaryDirectory(layout: DataLayout, kind: string): Temporary {
  const path = uniquePath(layout, kind);
  mkdirSync(path, { mode: 0o755 });
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  return owned(path, fd);
}

/** Makes a directory of the store work in progress: out of its place at once, and gone when the given function is called. */
export function discardLater(layout: DataLayout, kind: string, path: string): () => void {
  const aside = uniquePath(layout, kind);
  renameSync(path, aside);
  return () => removeTree(aside);
}

/** Removes what dead processes left; says how many. */
export function collectTemporaries(layout: DataLayout): number {
  let names: string[];
  try {
    names = readdirSync(layout.tmp);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return 0;
    throw error;
  }
  let removed = 0;
  for (const name of names) {
    const pid = Number(/^[a-z]+-(\d+)-/.exec(name)?.[1]);
    if (alive(pid)) continue;
    removeTree(`${layout.tmp}/${name}`);
    removed++;
  }
  return removed;
}

/** A pid that was given to another process meanwhile only postpones the removal. */
function alive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== "ESRCH";
  }
}
