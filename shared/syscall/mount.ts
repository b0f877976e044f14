/** Mounts: mount(2), umount(2), pivot_root(2), and the calls by descriptor (open_tree(2), move_mount(2), fsopen(2), mount_setattr(2)). */

import { closeSync } from "node:fs";
import { AT_EMPTY_PATH, AT_RECURSIVE, O_CLOEXEC } from "./file.ts";
import { call, check, cString, type PathArg, tryCall } from "./call.ts";

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x40000;
export const MS_SLAVE = 0x80000;
export const MNT_DETACH = 0x2;

/** mount(2). `data` is the file system's option string. */
export function mount(source: PathArg, target: PathArg, type: string, flags: number, data = ""): void {
  const result = tryCall("mount", cString(source), cString(target), cString(type), flags, cString(data));
  check("mount", result, target);
}

export function umount(target: PathArg, flags = 0): void {
  check("umount2", tryCall("umount2", cString(target), flags), target);
}

/** pivot_root(2). */
export function pivotRoot(newRoot: PathArg, putOld: PathArg): void {
  check("pivot_root", tryCall("pivot_root", cString(newRoot), cString(putOld)), newRoot);
}

export const OPEN_TREE_CLONE = 1;
export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
export const MOUNT_ATTR_IDMAP = 0x100000;

/** open_tree(2): a detached clone (OPEN_TREE_CLONE, AT_RECURSIVE) or a handle of a mount. */
export function openTree(dirfd: number, path: PathArg, flags: number): number {
  return check("open_tree", tryCall("open_tree", dirfd, cString(path), flags | O_CLOEXEC), path);
}

/** move_mount(2): attaches a detached mount to the file or directory of `toFd`. */
export function moveMountTo(fromFd: number, toFd: number): void {
  const [MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH] = [0x04, 0x40];
  const empty = cString("");
  call("move_mount", fromFd, empty, toFd, empty, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/**
 * Makes a new file system as a detached mount (fsopen(2), fsmount(2)). Returns a descriptor of its root. `attributes`
 * are MOUNT_ATTR_*. An option may occur several times.
 */
export function makeFileSystem(
  type: string,
  options: Readonly<Record<string, string>> | readonly (readonly [name: string, value: string])[],
  attributes: number,
): number {
  const [FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC] = [1, 1];
  const [FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE] = [1, 6];
  const context = check("fsopen", tryCall("fsopen", cString(type), FSOPEN_CLOEXEC), type);
  try {
    for (const [name, value] of Array.isArray(options) ? options : Object.entries(options)) {
      const set = tryCall("fsconfig", context, FSCONFIG_SET_STRING, cString(name), cString(value), 0);
      check("fsconfig", set, `${type} ${name}`);
    }
    check("fsconfig", tryCall("fsconfig", context, FSCONFIG_CMD_CREATE), type);
    return check("fsmount", tryCall("fsmount", context, FSMOUNT_CLOEXEC, attributes), type);
  } finally {
    closeSync(context);
  }
}

/** mount_setattr(2) on a detached mount or a path; `recursive` includes the mounts below it. */
export function mountSetattr(
  dirfd: number,
  path: PathArg,
  set: number,
  clear: number,
  options: { recursive?: boolean; propagation?: number; usernsFd?: number } = {},
): void {
  const attr = Buffer.alloc(32);
  attr.writeBigUInt64LE(BigInt(set), 0);
  attr.writeBigUInt64LE(BigInt(clear), 8);
  attr.writeBigUInt64LE(BigInt(options.propagation ?? 0), 16);
  attr.writeBigUInt64LE(BigInt(options.usernsFd ?? 0), 24);
  const flags = AT_EMPTY_PATH | (options.recursive === true ? AT_RECURSIVE : 0);
  check("mount_setattr", tryCall("mount_setattr", dirfd, cString(path), flags, attr, attr.length), path);
}
