/**
 * Owner, mode, extended attributes and times of what was extracted. The order
 * is the same everywhere: the owner is first, because chown(2) clears setuid,
 * setgid and file capabilities; times are last, because all else changes them.
 */

import { fchmodSync, fchownSync, statSync } from "node:fs";
import { AT_FDCWD, fchmodat, fchownat, fsetxattr, lsetxattr, utimensat, xattrs as xattrsOf } from "../../shared/syscall/file.ts";
import { type Place, procPath } from "./below-root.ts";
import { shownPath } from "./entry-path.ts";
import type { TarEntry } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";

export type Metadata = Pick<TarEntry, "uid" | "gid" | "mode" | "mtime" | "xattrs">;

/** Attributes of overlayfs: in a lower layer they would change what the mount shows (kernel documentation, overlayfs). */
const FORBIDDEN_XATTR = /^(?:trusted|user)\.overlay\./;
/** What GNU tar restores with --xattrs and --acls. */
const KNOWN_XATTR = /^(?:user|trusted|security)\.|^system\.posix_acl_(?:access|default)$/;
/** Labels of security modules are the host's to give (SELinux, Smack, IMA, EVM): an image's are left out. */
const settable = (xattrs: TarEntry["xattrs"]): [name: string, value: Buffer][] =>
  [...xattrs].filter(([name]) => !name.startsWith("security.") || name === "security.capability");
/** XATTR_SIZE_MAX: no file system takes more (xattr(7)). */
const MAX_XATTR = 64 * 1024;

/** Throws when an image must not have one of the attributes. */
export function checkXattrs(path: string, xattrs: TarEntry["xattrs"]): void {
  for (const [name, value] of xattrs) {
    if (value.length > MAX_XATTR)
      throw tarError(`/${shownPath(path)}: an extended attribute has more than ${MAX_XATTR} bytes`);
    if (FORBIDDEN_XATTR.test(name) || !KNOWN_XATTR.test(name))
      throw tarError(`/${shownPath(path)}: the extended attribute ${JSON.stringify(name)} is not allowed in an image`);
  }
}

/** Of an open file, all but its times: those are set by `setTimes` when it is closed. */
export function setFileMetadata(fd: number, { uid, gid, mode, xattrs }: Metadata): void {
  fchownSync(fd, uid, gid);
  fchmodSync(fd, mode);
  for (const [name, value] of settable(xattrs)) fsetxattr(fd, name, value);
}

/** Of what has no data: a symbolic link, whose mode Linux does not keep, a device or a FIFO. */
export function setNodeMetadata(place: Place, { type, uid, gid, mode, mtime, xattrs }: TarEntry): void {
  const { directory, name } = place;
  fchownat(directory, name, uid, gid);
  if (type !== "symlink") fchmodat(directory, name, mode);
  for (const [key, value] of settable(xattrs)) lsetxattr(procPath(place), key, value);
  utimensat(directory, name, mtime, mtime);
}

/** Of a directory by a descriptor that is only a place (O_PATH). */
export function setDirectoryMetadata(fd: number, { uid, gid, mode, mtime, xattrs }: Metadata): void {
  const self = `/proc/self/fd/${fd}/.`;
  fchownat(AT_FDCWD, self, uid, gid, 0);
  fchmodat(AT_FDCWD, self, mode);
  for (const [name, value] of settable(xattrs)) lsetxattr(self, name, value);
  utimensat(AT_FDCWD, self, mtime, mtime);
}

/** What `setDirectoryMetadata` sets, of a directory that is there; without overlayfs's own attributes. */
export function readDirectoryMetadata(fd: number): Metadata {
  const self = `/proc/self/fd/${fd}/.`;
  const { uid, gid, mode, mtimeNs } = statSync(self, { bigint: true });
  const xattrs = [...xattrsOf(self)].filter(([name]) => !FORBIDDEN_XATTR.test(name) && KNOWN_XATTR.test(name));
  return { uid: Number(uid), gid: Number(gid), mode: Number(mode) & 0o7777, mtime: mtimeNs, xattrs: new Map(xattrs) };
}

export function setTimes({ directory, name }: Place, mtime: bigint): void {
  utimensat(directory, name, mtime, mtime);
}
