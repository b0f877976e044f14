/** Mounts: mount(2), umount(2), pivot_root(2), and the calls by descriptor (open_tree(2), move_mount(2), fsopen(2), mount_setattr(2)). */

import { closeSync } from "node:fs";
import { AT_EMPTY_PATH, AT_RECURSIVE, O_CLOEXEC } from "./file.ts";
import { check, cString, ffi, type PathArg } from "./libc.ts";

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x40000;
export const MS_SLAVE = 0x80000;
export const MNT_DETACH = 0x2;
const SYS_pivot_root = 155n;
const SYS_open_tree = 428n;
const SYS_move_mount = 429n;
const SYS_mount_setattr = 442n;
const SYS_fsopen = 430n;
const SYS_fsconfig = 431n;
const SYS_fsmount = 432n;

/** mount(2). `data` is the file system's option string. */
export function mount(source: PathArg, target: PathArg, type: string, flags: number, data = ""): void {
  const { libc } = ffi();
  check("mount", libc.mount(cString(source), cString(target), cString(type), BigInt(flags), cString(data)), target);
}

export function umount(target: PathArg, flags = 0): void {
  check("umount2", ffi().libc.umount2(cString(target), flags), target);
}

/** pivot_root(2): glibc has no wrapper. */
export function pivotRoot(newRoot: PathArg, putOld: PathArg): void {
  check("pivot_root", ffi().syscall.bufs(SYS_pivot_root, cString(newRoot), cString(putOld)), newRoot);
}

export const OPEN_TREE_CLONE = 1;
export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
export const MOUNT_ATTR_IDMAP = 0x100000;

/** open_tree(2): a detached clone (OPEN_TREE_CLONE, AT_RECURSIVE) or a handle of a mount. */
export function openTree(dirfd: number, path: PathArg, flags: number): number {
  const result = ffi().syscall.fd2(
    SYS_open_tree,
    BigInt(dirfd),
    cString(path),
    BigInt(flags | O_CLOEXEC),
    Buffer.alloc(1),
    0n,
  );
  return check("open_tree", result, path);
}

/** move_mount(2): attaches a detached mount to the file or directory of `toFd`. */
export function moveMountTo(fromFd: number, toFd: number): void {
  const empty = Buffer.alloc(1);
  check("move_mount", ffi().syscall.fd2(SYS_move_mount, BigInt(fromFd), empty, BigInt(toFd), empty, 0x44n));
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
  const [FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC] = [1n, 1n];
  const [FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE] = [1n, 6n];
  const { syscall } = ffi();
  const context = check("fsopen", syscall.bufInt(SYS_fsopen, cString(type), FSOPEN_CLOEXEC), type);
  try {
    for (const [name, value] of Array.isArray(options) ? options : Object.entries(options)) {
      const set = syscall.setting(SYS_fsconfig, BigInt(context), FSCONFIG_SET_STRING, cString(name), cString(value), 0n);
      check("fsconfig", set, `${type} ${name}`);
    }
    check("fsconfig", syscall.ints6(SYS_fsconfig, BigInt(context), FSCONFIG_CMD_CREATE, 0n, 0n, 0n), type);
    const made = syscall.ints(SYS_fsmount, BigInt(context), FSMOUNT_CLOEXEC, BigInt(attributes), 0n);
    return check("fsmount", made, type);
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
  const result = ffi().syscall.fd2(SYS_mount_setattr, BigInt(dirfd), cString(path), BigInt(flags), attr, 32n);
  check("mount_setattr", result, path);
}
