/**
 * Removing what an app or an image has made: trees of any depth and names of
 * any bytes, by descriptors alone. No link is followed, no mount crossed. However
 * deep the tree, a fixed number of descriptors is held: the way back up is
 * "..", checked to lead where the way down came from. Nothing is written or
 * renamed, which takes space, quota or a key that may be lacking. Killed at any
 * point, the next removal goes on.
 *
 * What is immutable or may only be appended to (chattr(1)) loses that first:
 * regular files and directories of the tree itself, by descriptors that were
 * opened without following a link. A subvolume of btrfs that is read-only
 * becomes writable.
 */

import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { basename, dirname } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  BTRFS_SUBVOL_RDONLY,
  type DirectoryEntry,
  directoryEntries,
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  fchmodat,
  inodeFlags,
  O_PATH,
  openat2,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  setInodeFlags,
  setSubvolumeFlags,
  subvolumeFlags,
  unlinkat,
} from "../../shared/syscall/file.ts";
import { SyscallError } from "../../shared/syscall/call.ts";

const RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
const DIRECTORY = constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Directories that are open at once. */
const MAX_OPEN = 64;
/** How often a directory may be found filled again by somebody who still writes, or another removal be in the way. */
const ROUNDS = 10;

interface Level {
  /** In the directory above. */
  name: Buffer;
  /** Undefined while many directories below are open. */
  fd: number | undefined;
  /** Device and inode. */
  id: string;
  directories: Buffer[];
  rounds: number;
}

/** Removes a file, or a directory with all its contents. A missing file is no error. */
export function removeTree(path: string): void {
  let parent: number;
  try {
    parent = openSync(dirname(path), O_PATH | constants.O_DIRECTORY);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw notRemoved(path, error);
  }
  const levels: Level[] = [];
  try {
    removeAt(parent, Buffer.from(basename(path)), levels);
  } catch (error) {
    const below = levels.slice(1).map(({ name }) => name.toString());
    throw notRemoved([path, ...below].join("/"), error);
  } finally {
    closeSync(parent);
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EXDEV: "something is mounted there: unmount it first",
  EBUSY: "something is mounted there: unmount it first",
  EPERM:
    "something there is immutable, which only CAP_LINUX_IMMUTABLE can change: `lsattr -R` shows it, `chattr -R -ia` takes it away",
  ESTALE: "another removal was at work there: try again",
  EROFS: "the file system is read-only: mount it writable",
};

function notRemoved(path: string, cause: unknown): RktError {
  return new RktError("not-removed", `cannot remove ${path}: ${errorText(cause)}`, {
    hint: HINTS[errorCode(cause) ?? ""],
    cause,
  });
}

/** As `removeTree`, for a name in a directory. Throws the system's error; `levels` then says how far it has come. */
export function removeAt(parent: number, name: Buffer, levels: Level[] = []): void {
  for (let round = 1; !unlinked(parent, name); round++) {
    levels.length = 0;
    if (removeDirectory(parent, name, levels)) return;
    if (round === ROUNDS) throw new SyscallError("openat2", osConstants.errno.ESTALE, "..");
  }
}

/** False if another removal was in the way: begin again. */
function removeDirectory(parent: number, name: Buffer, levels: Level[]): boolean {
  const enter = (above: number, name: Buffer): void => {
    const fd = openDirectory(above, name);
    if (fd === undefined) return;
    levels.push({ name, fd, id: identity(fd), directories: [], rounds: 0 });
    makeWritable(fd);
    const far = levels.at(-1 - MAX_OPEN);
    if (far !== undefined) close(far);
  };
  try {
    enter(parent, name);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const fd = level.fd as number;
      const next = level.directories.pop() ?? (removeFiles(fd, level.directories) ? level.directories.pop() : undefined);
      if (next !== undefined) {
        enter(fd, next);
        continue;
      }
      const above = levels.at(-2);
      if (above !== undefined && !reopen(above, fd)) return false;
      if (emptied(above?.fd ?? parent, level, above !== undefined)) close(levels.pop() as Level);
    }
    return true;
  } finally {
    for (const level of levels) close(level);
  }
}

function close(level: Level): void {
  if (level.fd !== undefined) closeSync(level.fd);
  level.fd = undefined;
}

function identity(fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return `${dev}:${ino}`;
}

/** Opens the directory above an open one; false if that is not the one that the way down came through. */
function reopen(level: Level, below: number): boolean {
  if (level.fd !== undefined) return true;
  try {
    level.fd = openat2(below, "..", constants.O_RDONLY | DIRECTORY, 0, RESOLVE);
  } catch (error) {
    // Another removal has taken the directory away.
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
  return identity(level.fd) === level.id;
}

/** The inode of the root of each subvolume (btrfs, "BTRFS_FIRST_FREE_OBJECTID"). */
const SUBVOLUME_ROOT = 256n;

/** A subvolume that is read-only becomes writable: its maker may have been an app. */
function makeWritable(fd: number): void {
  if (fstatSync(fd, { bigint: true }).ino !== SUBVOLUME_ROOT) return;
  try {
    const flags = subvolumeFlags(fd);
    if ((flags & BTRFS_SUBVOL_RDONLY) !== 0n) setSubvolumeFlags(fd, flags & ~BTRFS_SUBVOL_RDONLY);
  } catch (error) {
    // Another file system has such an inode too.
    if (!["ENOTTY", "EINVAL", "EOPNOTSUPP"].includes(errorCode(error) ?? "")) throw error;
  }
}

/** Unlinks a file; false for a directory. `own`: the parent directory belongs to the tree, too. */
function unlinked(parent: number, name: Buffer, own = false): boolean {
  try {
    changeable(parent, name, own, () => unlinkat(parent, name));
  } catch (error) {
    const code = errorCode(error);
    if (code === "EISDIR") return false;
    if (code !== "ENOENT") throw error;
  }
  return true;
}

/** Runs `act`. If it fails with EPERM, clears the inode flags of the file and its parent, and runs it again. */
function changeable(parent: number, name: Buffer, own: boolean, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (errorCode(error) !== "EPERM") throw error;
    const above = own && clearFlags(parent);
    if (!clearFlagsAt(parent, name) && !above) throw error;
    act();
  }
}

function clearFlagsAt(parent: number, name: Buffer): boolean {
  const handle = openat2(parent, name, O_PATH | constants.O_NOFOLLOW, 0, RESOLVE);
  try {
    // A device or a FIFO must not be opened.
    const stat = fstatSync(handle);
    if (!stat.isFile() && !stat.isDirectory()) return false;
    const fd = openSync(`/proc/self/fd/${handle}`, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return clearFlags(fd);
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(handle);
  }
}

const FIXED = FS_IMMUTABLE_FL | FS_APPEND_FL;

/** Clears the flags. Returns whether any was set. */
function clearFlags(fd: number): boolean {
  let flags: number;
  try {
    flags = inodeFlags(fd);
  } catch (error) {
    // The file system has no such flags.
    if (["ENOTTY", "EOPNOTSUPP", "EINVAL"].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
  if ((flags & FIXED) === 0) return false;
  setInodeFlags(fd, flags & ~FIXED);
  return true;
}

/** Opens a directory. Undefined if it is gone, or is a file by now: then it is removed. */
function openDirectory(parent: number, name: Buffer): number | undefined {
  try {
    return openat2(parent, name, constants.O_RDONLY | DIRECTORY, 0, RESOLVE);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") return undefined;
    if ((code === "ENOTDIR" || code === "ELOOP") && unlinked(parent, name)) return undefined;
    if (code !== "EACCES") throw error;
  }
  // EACCES: its mode excludes even its owner, who may change that.
  const fd = openat2(parent, name, O_PATH | DIRECTORY, 0, RESOLVE);
  try {
    changeable(parent, name, false, () => fchmodat(AT_FDCWD, `/proc/self/fd/${fd}`, 0o700));
  } finally {
    closeSync(fd);
  }
  return openat2(parent, name, constants.O_RDONLY | DIRECTORY, 0, RESOLVE);
}

/**
 * Removes the files of a directory and lists directories that it has; false when it has none. Names are read in portions,
 * for there may be millions.
 */
function removeFiles(fd: number, directories: Buffer[]): boolean {
  let opened = false;
  for (let full = true; full && directories.length === 0; ) {
    const entries = portion(fd);
    full = entries.length === PORTION;
    opened = removePortion(fd, entries, directories, opened);
  }
  return directories.length > 0;
}

/** Names of a directory that are read at once. */
const PORTION = 20_000;

function portion(fd: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (const entry of directoryEntries(fd)) {
    entries.push(entry);
    if (entries.length === PORTION) break;
  }
  return entries;
}

/** Whether the directory had to be opened for its owner, now or before. */
function removePortion(fd: number, entries: readonly DirectoryEntry[], directories: Buffer[], openedBefore: boolean): boolean {
  let opened = openedBefore;
  for (const { name, isDirectory } of entries) {
    try {
      if (isDirectory || !unlinked(fd, name, true)) directories.push(name);
    } catch (error) {
      if (errorCode(error) !== "EACCES" || opened) throw error;
      opened = true;
      fchmodat(AT_FDCWD, `/proc/self/fd/${fd}`, 0o700);
      if (!unlinked(fd, name, true)) directories.push(name);
    }
  }
  return opened;
}

/** Removes an empty directory; false if it was filled since it was read. */
function emptied(above: number, level: Level, own: boolean): boolean {
  try {
    changeable(above, level.name, own, () => unlinkat(above, level.name, AT_REMOVEDIR));
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOTEMPTY" && ++level.rounds < ROUNDS) return false;
    if (code !== "ENOENT") throw error;
  }
  return true;
}
