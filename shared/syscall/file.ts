/** System calls on files by a directory's descriptor and a name. node:fs would look a whole path up again. */

import { constants as fsConstants } from "node:fs";
import { constants } from "node:os";
import { call, check, cString, type PathArg, SyscallError, tryCall } from "./call.ts";

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_RECURSIVE = 0x8000;
export const AT_EMPTY_PATH = 0x1000;
export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_IN_ROOT = 0x10;
export const O_PATH = 0x200000;
export const O_CLOEXEC = 0x80000;
const O_NONBLOCK = 0x800;
const FICLONE = 0x40049409n;
const FS_IOC_GETFLAGS = 0x80086601n;
const FS_IOC_SETFLAGS = 0x40086602n;

/** openat2(2): opens `path` below `dirfd` by the rules of `resolve` (RESOLVE_*). The descriptor is close-on-exec. */
export function openat2(dirfd: number, path: PathArg, flags: number, mode: number, resolve: number): number {
  return checkOpenat2(tryOpenat2(dirfd, path, flags, mode, resolve), path);
}

/** No accident makes so many renames in a row race with an open. */
const MAX_RACES = 1000;

/** Returns the descriptor, or the negative errno: an Error would be expensive for files that may well be missing. */
function tryOpenat2(dirfd: number, path: PathArg, flags: number, mode: number, resolve: number): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(mode), 8);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  // EAGAIN: a rename raced with a ".." under RESOLVE_IN_ROOT/BENEATH (openat2(2)): tries again. Or, with O_NONBLOCK, a
  // process has a lease on the file (fcntl(2)), and may keep it: so the number of tries is limited.
  const races = (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) !== 0;
  const most = !races ? 0 : (flags & O_NONBLOCK) === 0 ? Number.POSITIVE_INFINITY : MAX_RACES;
  for (let again = 0; ; ) {
    const result = tryCall("openat2", dirfd, cString(path), how, how.length);
    if (result === -constants.errno.EINTR || (result === -constants.errno.EAGAIN && again++ < most)) continue;
    return result;
  }
}

function checkOpenat2(result: number, path: PathArg): number {
  if (result < 0) throw new SyscallError("openat2", -result, String(path));
  return result;
}

/** As `openat2`, but undefined if the file does not exist. */
export function openat2IfThere(
  dirfd: number,
  path: PathArg,
  flags: number,
  mode: number,
  resolve: number,
): number | undefined {
  const result = tryOpenat2(dirfd, path, flags, mode, resolve);
  return result === -constants.errno.ENOENT ? undefined : checkOpenat2(result, path);
}

/** Shares all blocks of one file with another (ioctl_ficlone(2)). */
export function reflink(toFd: number, fromFd: number): void {
  check("ioctl FICLONE", tryCall("ioctl", toFd, FICLONE, fromFd));
}

/** Flags that keep even root from changing or removing a file (ioctl_iflags(2)). */
export const FS_IMMUTABLE_FL = 0x10;

export const FS_APPEND_FL = 0x20;

/**
 * Flags of an inode (ioctl_iflags(2)). Only for a regular file or directory: to a device the request may mean something
 * else.
 */
export function inodeFlags(fd: number): number {
  const flags = Buffer.alloc(8);
  check("ioctl FS_IOC_GETFLAGS", tryCall("ioctl", fd, FS_IOC_GETFLAGS, flags));
  return flags.readUInt32LE(0);
}

export function setInodeFlags(fd: number, flags: number): void {
  const value = Buffer.alloc(8);
  value.writeUInt32LE(flags, 0);
  check("ioctl FS_IOC_SETFLAGS", tryCall("ioctl", fd, FS_IOC_SETFLAGS, value));
}

const BTRFS_IOC_SUBVOL_GETFLAGS = 0x80089419n;
const BTRFS_IOC_SUBVOL_SETFLAGS = 0x4008941an;

export const BTRFS_SUBVOL_RDONLY = 2n;

/** Flags of a subvolume of btrfs, by its root directory (btrfs-ioctl(3)). */
export function subvolumeFlags(fd: number): bigint {
  const flags = Buffer.alloc(8);
  check("ioctl BTRFS_IOC_SUBVOL_GETFLAGS", tryCall("ioctl", fd, BTRFS_IOC_SUBVOL_GETFLAGS, flags));
  return flags.readBigUInt64LE(0);
}

export function setSubvolumeFlags(fd: number, flags: bigint): void {
  const value = Buffer.alloc(8);
  value.writeBigUInt64LE(flags, 0);
  check("ioctl BTRFS_IOC_SUBVOL_SETFLAGS", tryCall("ioctl", fd, BTRFS_IOC_SUBVOL_SETFLAGS, value));
}

export function syncfs(fd: number): void {
  call("syncfs", fd);
}

export function mkfifo(path: PathArg, mode: number): void {
  mknodat(AT_FDCWD, path, fsConstants.S_IFIFO | mode, 0n);
}

/** mknodat(2): `mode` carries the type bits, `dev` is made by `makedev`. */
export function mknodat(dirfd: number, path: PathArg, mode: number, dev: bigint): void {
  check("mknodat", tryCall("mknodat", dirfd, cString(path), mode, dev), path);
}

/** The device number of (major, minor), as makedev(3). */
export function makedev(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
}

export function linkat(fromDir: number, from: PathArg, toDir: number, to: PathArg, flags = 0): void {
  check("linkat", tryCall("linkat", fromDir, cString(from), toDir, cString(to), flags), to);
}

export function symlinkat(target: PathArg, dirfd: number, path: PathArg): void {
  check("symlinkat", tryCall("symlinkat", cString(target), dirfd, cString(path)), path);
}

export function mkdirat(dirfd: number, path: PathArg, mode: number): void {
  check("mkdirat", tryCall("mkdirat", dirfd, cString(path), mode), path);
}

export function renameat(fromDir: number, from: PathArg, toDir: number, to: PathArg): void {
  check("renameat", tryCall("renameat", fromDir, cString(from), toDir, cString(to)), from);
}

export const AT_REMOVEDIR = 0x200;

export function unlinkat(dirfd: number, path: PathArg, flags = 0): void {
  check("unlinkat", tryCall("unlinkat", dirfd, cString(path), flags), path);
}

const PATH_MAX = 4096;

/** readlinkat(2) of an open link (O_PATH and O_NOFOLLOW). */
export function readlinkat(fd: number): string {
  const text = Buffer.alloc(PATH_MAX);
  const length = call("readlinkat", fd, cString(""), text, text.length);
  return text.toString("utf8", 0, length);
}

/** statx(2) of an open file: node's fstat has no mount id. */
export interface Status {
  isDirectory: boolean;
  isSymbolicLink: boolean;
  uid: number;
  size: bigint;
  /** The mount that it was opened on. No two existing mounts have the same id. */
  mountId: bigint;
}

export function status(fd: number): Status {
  const [STATX_BASIC_STATS, STATX_MNT_ID] = [0x7ff, 0x1000];
  const data = Buffer.alloc(256);
  call("statx", fd, cString(""), AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, data);
  if ((data.readUInt32LE(0) & STATX_MNT_ID) === 0) throw new SyscallError("statx", constants.errno.EOPNOTSUPP);
  const type = data.readUInt16LE(28) & fsConstants.S_IFMT;
  return {
    isDirectory: type === fsConstants.S_IFDIR,
    isSymbolicLink: type === fsConstants.S_IFLNK,
    uid: data.readUInt32LE(20),
    size: data.readBigUInt64LE(40),
    mountId: data.readBigUInt64LE(144),
  };
}

export function fchownat(dirfd: number, path: PathArg, uid: number, gid: number, flags = AT_SYMLINK_NOFOLLOW): void {
  check("fchownat", tryCall("fchownat", dirfd, cString(path), uid, gid, flags), path);
}

export function fchmodat(dirfd: number, path: PathArg, mode: number): void {
  check("fchmodat", tryCall("fchmodat", dirfd, cString(path), mode), path);
}

/** Sets atime and mtime, in nanoseconds since the epoch (may be negative), of the file itself, never of a link's target. */
export function utimensat(dirfd: number, path: PathArg, atimeNs: bigint, mtimeNs: bigint): void {
  const times = Buffer.alloc(32);
  [atimeNs, mtimeNs].forEach((ns, i) => {
    const nsec = ((ns % 1000000000n) + 1000000000n) % 1000000000n;
    times.writeBigInt64LE((ns - nsec) / 1000000000n, i * 16);
    times.writeBigInt64LE(nsec, i * 16 + 8);
  });
  check("utimensat", tryCall("utimensat", dirfd, cString(path), times, AT_SYMLINK_NOFOLLOW), path);
}

export function lsetxattr(path: PathArg, name: string, value: Buffer): void {
  const v = value.length === 0 ? Buffer.alloc(1) : value;
  check("lsetxattr", tryCall("lsetxattr", cString(path), cString(name), v, value.length, 0), path);
}

export function fsetxattr(fd: number, name: string, value: Buffer): void {
  const v = value.length === 0 ? Buffer.alloc(1) : value;
  call("fsetxattr", fd, cString(name), v, value.length, 0);
}

/**
 * All extended attributes of a file, by name. A link is followed: that of /proc/PID/fd, of a descriptor that was opened
 * by O_PATH, leads to the very file, which may be a link itself.
 */
export function xattrs(path: PathArg): Map<string, Buffer> {
  const names = Buffer.alloc(65536);
  const length = check("listxattr", tryCall("listxattr", cString(path), names, names.length), path);
  const result = new Map<string, Buffer>();
  if (length === 0) return result;
  const value = Buffer.alloc(65536);
  for (const name of names.subarray(0, length).toString().split("\0")) {
    if (name === "") continue;
    const n = tryCall("getxattr", cString(path), cString(name), value, value.length);
    // It was taken away meanwhile.
    if (n === -constants.errno.ENODATA) continue;
    // A copy: what is kept must not hold all that there was room for.
    result.set(name, Buffer.from(value.subarray(0, check("getxattr", n, path))));
  }
  return result;
}

/**
 * Takes the access control lists from an open directory that it has inherited from the one above (acl(5)): those would
 * let others into files whose modes do not.
 */
export function dropInheritedAcls(directory: number): void {
  const { ENODATA, EOPNOTSUPP } = constants.errno;
  for (const name of ["system.posix_acl_default", "system.posix_acl_access"]) {
    const result = tryCall("fremovexattr", directory, cString(name));
    if (![-ENODATA, -EOPNOTSUPP].includes(result)) check("fremovexattr", result);
  }
}

/** Where the next data of a file begin, from an offset on; undefined if only a hole follows (lseek(2), SEEK_DATA). */
export function nextData(fd: number, offset: number): number | undefined {
  const SEEK_DATA = 3;
  const result = tryCall("lseek", fd, offset, SEEK_DATA);
  return result === -constants.errno.ENXIO ? undefined : check("lseek", result);
}

/** An entry of a directory. */
export interface DirectoryEntry {
  /** The bytes of its name, which need not be UTF-8. */
  name: Buffer;
  /** False also where the file system does not say what an entry is. */
  isDirectory: boolean;
}

/**
 * The entries of an open directory but "." and "..", from the first on (getdents64(2)). They are read in portions, for
 * there may be millions. A directory that is removed meanwhile has none.
 */
export function* directoryEntries(fd: number): Generator<DirectoryEntry> {
  const [SEEK_SET, DT_DIR] = [0, 4];
  call("lseek", fd, 0, SEEK_SET);
  const portion = Buffer.alloc(65536);
  for (;;) {
    const length = tryCall("getdents64", fd, portion, portion.length);
    if (length === 0 || length === -constants.errno.ENOENT) return;
    check("getdents64", length);
    for (let at = 0; at < length; at += portion.readUInt16LE(at + 16)) {
      const name = Buffer.from(portion.subarray(at + 19, portion.indexOf(0, at + 19)));
      const isDots = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
      if (!isDots) yield { name, isDirectory: portion[at + 18] === DT_DIR };
    }
  }
}
