import { closeSync } from "node:fs";
import { errorCode, RktError } from "./errors.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_PATH, openat2, RESOLVE_NO_SYMLINKS } from "./syscall/file.ts";
import { OPEN_TREE_CLONE, openTree } from "./syscall/mount.ts";

/**
 * Clones a volume's source, a file or directory of the host, as a detached mount (open_tree(2)); `flags` may be
 * AT_RECURSIVE. No symbolic link is followed: an app could make one in its volume, where another volume has its source,
 * and it would lead anywhere on the host.
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
      hint: "name the volume's source without links; if you did, another user can write there",
      cause: error,
    });
  }
}
