/** What a volume is made of: a file or directory of the host's, by the path that was given. */

import { closeSync } from "node:fs";
import { errorCode, RktError } from "./errors.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_PATH, openat2, RESOLVE_NO_SYMLINKS } from "./syscall/file.ts";
import { OPEN_TREE_CLONE, openTree } from "./syscall/mount.ts";

/**
 * A detached clone of the mount at `source`, as open_tree(2) makes it; `flags` may be AT_RECURSIVE. No link is
 * followed: an app that has a volume can put one where another's source is, and it would lead anywhere on the host.
 */
export function cloneHostSource(source: string, flags: number): number {
  const fd = openWithoutLinks(source);
  try {
    return openTree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | flags);
  } finally {
    closeSync(fd);
  }
}

function openWithoutLinks(source: string): number {
  try {
    return openat2(AT_FDCWD, source, O_PATH, 0, RESOLVE_NO_SYMLINKS);
  } catch (error) {
    if (errorCode(error) !== "ELOOP") throw error;
    throw new RktError("bad-volume-source", `cannot mount ${source}: a symbolic link is on the way`, {
      hint: "is somebody able to write there who should not be? a volume's source is named without links",
      cause: error,
    });
  }
}
