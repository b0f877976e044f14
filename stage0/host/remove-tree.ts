/**
 * Removes trees that an app or an image has made, of any depth and with any names, by descriptors alone. It follows no
 * link and crosses no mount. It holds a limited number of descriptors: a directory that lies too deep is moved up into
 * the directory that is being removed, and is removed there later. If it is killed, the next removal goes on.
 *
 * Files that are immutable or append-only (chattr(1)) lose these flags first. That is done only for regular files and
 * directories of the tree itself, by descriptors that were opened without following a link.
 */

import { closeSync, constants, fstatSync, openSync, readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  fchmodat,
  inodeFlags,
  O_PATH,
  openat2,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  renameat,
  setInodeFlags,
  unlinkat,
} from "../../shared/syscall/file.ts";

const RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
const DIRECTORY = constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Directories that are open at once; deeper ones are moved up. */
const MAX_OPEN = 64;
/**
 * How often a directory may be filled again while it is removed: another removal may move directories up, or an app may
 * write.
 */
const ROUNDS = 10;

interface Level {
  /** In the directory above. */
  name: Buffer;
  fd: number;
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
  if (unlinked(parent, name)) return;
  const enter = (above: number, name: Buffer): void => {
    const fd = openDirectory(above, name);
    if (fd !== undefined) levels.push({ name, fd, directories: [], rounds: 0 });
  };
  let moved = 0;
  try {
    enter(parent, name);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const next = level.directories.pop() ?? (removeFiles(level) ? level.directories.pop() : undefined);
      if (next === undefined) {
        const above = levels.at(-2)?.fd;
        if (emptied(above ?? parent, level, above !== undefined)) closeSync((levels.pop() as Level).fd);
      } else if (levels.length < MAX_OPEN) enter(level.fd, next);
      else moved = moveUp(level.fd, next, levels[0] as Level, moved);
    }
  } finally {
    for (const { fd } of levels) closeSync(fd);
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

/** Removes the files of a directory and lists its directories. False if it has none. */
function removeFiles(level: Level): boolean {
  const self = `/proc/self/fd/${level.fd}`;
  let opened = false;
  // latin1: one character a byte, whatever the names are.
  for (const entry of readdirSync(self, { encoding: "latin1", withFileTypes: true })) {
    const name = Buffer.from(entry.name, "latin1");
    try {
      if (entry.isDirectory() || !unlinked(level.fd, name, true)) level.directories.push(name);
    } catch (error) {
      if (errorCode(error) !== "EACCES" || opened) throw error;
      opened = true;
      fchmodat(AT_FDCWD, self, 0o700);
      if (!unlinked(level.fd, name, true)) level.directories.push(name);
    }
  }
  return level.directories.length > 0;
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

/** Moves a directory into that of `top`. `used` names were tried before; returns the new number. */
function moveUp(from: number, name: Buffer, top: Level, used: number): number {
  for (let n = used; ; n++) {
    const to = Buffer.from(`removed-${process.pid}-${n}`);
    try {
      changeable(from, name, true, () => renameat(from, name, top.fd, to));
      top.directories.push(to);
    } catch (error) {
      const code = errorCode(error);
      // The name is taken. (rename(2) would have replaced an empty directory.)
      if (code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOTDIR") continue;
      if (code !== "ENOENT") throw error;
    }
    return n + 1;
  }
}
