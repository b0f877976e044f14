/**
 * Writes the entries of an image into a directory, with everything they carry:
 * owner, mode with setuid, setgid and sticky, times, hard links, devices,
 * FIFOs, extended attributes, holes.
 *
 * Nothing of the image is trusted. Containment is the kernel's: a parent
 * directory is opened by openat2(2) below the root with symbolic links
 * forbidden (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), and its last component is
 * made relative to that descriptor, exclusively. A link of the image is thus
 * data, never a way.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, fchmodSync, fchownSync, ftruncateSync, lstatSync, openSync, writeSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import {
  AT_FDCWD,
  fchmodat,
  fchownat,
  fsetxattr,
  linkat,
  lsetxattr,
  makedev,
  mkdirat,
  mknodat,
  O_PATH,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  symlinkat,
  utimensat,
} from "../../shared/syscall/file.ts";
import { removeAt } from "../host/remove-tree.ts";
import { PathSet } from "./path-set.ts";
import { shownPath } from "./entry-path.ts";
import type { TarEntry } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";
import type { EntrySink } from "./tar-reader.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";

const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
const AT_SYMLINK_FOLLOW = 0x400;

const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;

/** Every byte of a name, whatever it is: kernel paths are bytes. */
const bytes = (latin1: string): Buffer => Buffer.from(latin1, "latin1");

/** Of overlayfs: in a lower layer they would change what the mount shows (kernel documentation, overlayfs). */
const FORBIDDEN_XATTR = /^(?:trusted|user)\.overlay\./;
/** What GNU tar restores with --xattrs and --acls. */
const KNOWN_XATTR = /^(?:user|trusted|security)\.|^system\.posix_acl_(?:access|default)$/;

/** XATTR_SIZE_MAX: no file system takes more (xattr(7)). */
const MAX_XATTR = 64 * 1024;

function xattrBytes(xattrs: ReadonlyMap<string, Buffer>): number {
  let bytes = 0;
  for (const [name, value] of xattrs) bytes += name.length + value.length;
  return bytes;
}

type DirectoryEntry = Pick<TarEntry, "uid" | "gid" | "mode" | "mtime" | "xattrs">;

/** All are held until the end, and one entry can bring 512: what an image may hold. */
const MAX_DIRECTORY_BYTES = 128 * 1024 ** 2;

/** A directory that an archive has files in and no entry for: the same whenever it is made. */
const UNNAMED_DIRECTORY = { uid: 0, gid: 0, mode: 0o755, mtime: 0n, xattrs: new Map<string, Buffer>() };

export interface Extractor {
  /** Takes an entry; `path` is relative to the root, "" the root itself. */
  entry(entry: TarEntry, path: string): EntrySink | undefined;
  /** Begins another image over the same root: its entries replace what is there. */
  nextImage(): void;
  /** Sets what could only be set last, and lets go of the directory. */
  finish(): void;
  close(): void;
}

/** `links.below` becomes true when there is a hard link to what its own image has not brought. */
export function extractInto(root: string, links?: { below: boolean }): Extractor {
  const rootFd = openSync(root, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  let parentPath = "";
  let parentFd = rootFd;
  let seen = new PathSet();
  /** Writing into a directory changes its mtime, and a read-only mode is set last. */
  const directories = new Map<string, DirectoryEntry>();
  let directoryBytes = 0;

  const describe = (path: string, error: unknown): Error =>
    error instanceof RktError
      ? error
      : new RktError("extract-failed", `cannot write /${shownPath(path)}: ${errorText(error)}`, { cause: error });

  function setLater(path: string, { uid, gid, mode, mtime, xattrs }: DirectoryEntry): void {
    const before = directories.get(path);
    directoryBytes += before === undefined ? path.length : -xattrBytes(before.xattrs);
    directoryBytes += xattrBytes(xattrs);
    if (directoryBytes > MAX_DIRECTORY_BYTES)
      throw tarError(`its directories' names and attributes are longer than ${MAX_DIRECTORY_BYTES} bytes in all`);
    directories.set(path, { uid, gid, mode, mtime, xattrs });
  }

  function openDirectory(path: string): number {
    if (path === "") return rootFd;
    return openat2(rootFd, bytes(path), O_PATH | constants.O_DIRECTORY, 0, RESOLVE);
  }

  /** The directory that will hold the entry; made where the archive names no entry for it. */
  function enterParent(path: string): string {
    const slash = path.lastIndexOf("/");
    const parent = slash < 0 ? "" : path.slice(0, slash);
    if (parent !== parentPath) {
      let fd: number;
      try {
        fd = openDirectory(parent);
      } catch (error) {
        const code = errorCode(error);
        if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP") throw error;
        makeDirectories(parent);
        fd = openDirectory(parent);
      }
      leaveParent();
      parentPath = parent;
      parentFd = fd;
    }
    return path.slice(slash + 1);
  }

  function leaveParent(): void {
    if (parentFd !== rootFd) closeSync(parentFd);
    parentFd = rootFd;
    parentPath = "";
  }

  function makeDirectories(path: string): void {
    let made = "";
    for (const part of path.split("/")) {
      const above = made;
      made = made === "" ? part : `${made}/${part}`;
      const fd = openDirectory(above);
      try {
        const is = kindAt(fd, part);
        if (is === "directory") continue;
        if (is !== undefined) replace(fd, part, made);
        mkdirat(fd, bytes(part), 0o755);
        setLater(made, UNNAMED_DIRECTORY);
      } finally {
        if (fd !== rootFd) closeSync(fd);
      }
    }
  }

  const at = (fd: number, name: string): Buffer => Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), bytes(name)]);

  function kindAt(fd: number, name: string): "directory" | "other" | undefined {
    const stat = lstatSync(at(fd, name), { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    return stat.isDirectory() ? "directory" : "other";
  }

  /** Takes away what an earlier image put here; what this one did is a duplicate. */
  function replace(fd: number, name: string, path: string): void {
    if (seen.has(path)) throw tarError(`/${shownPath(path)} is in the archive twice, as different things`);
    removeAt(fd, bytes(name));
  }

  /** Runs `make`, and once more after what an earlier image left there is gone. */
  function exclusively<T>(name: string, path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      const code = errorCode(error);
      if (code !== "EEXIST" && code !== "ELOOP" && code !== "EISDIR") throw error;
      replace(parentFd, name, path);
      return make();
    }
  }

  function checkXattrs(entry: TarEntry, path: string): void {
    for (const [name, value] of entry.xattrs) {
      if (value.length > MAX_XATTR)
        throw tarError(`/${shownPath(path)}: an extended attribute has more than ${MAX_XATTR} bytes`);
      if (FORBIDDEN_XATTR.test(name) || !KNOWN_XATTR.test(name))
        throw tarError(
          `/${shownPath(path)}: the extended attribute ${JSON.stringify(name)} is not allowed in an image`,
        );
    }
  }

  /** Owner first: chown(2) clears setuid and file capabilities. */
  function setMetadata(entry: TarEntry, name: string): void {
    fchownat(parentFd, bytes(name), entry.uid, entry.gid);
    if (entry.type !== "symlink") fchmodat(parentFd, bytes(name), entry.mode);
    for (const [key, value] of entry.xattrs) lsetxattr(at(parentFd, name), key, value);
    utimensat(parentFd, bytes(name), entry.mtime, entry.mtime);
  }

  function directory(entry: TarEntry, path: string): void {
    if (path !== "") {
      const name = enterParent(path);
      const is = kindAt(parentFd, name);
      if (is === "other") replace(parentFd, name, path);
      if (is !== "directory") mkdirat(parentFd, bytes(name), 0o700);
    }
    setLater(path, entry);
  }

  function file(entry: TarEntry, path: string): EntrySink {
    const name = enterParent(path);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const fd = exclusively(name, path, () => openSync(at(parentFd, name), flags, 0o600));
    const write = entry.segments === undefined ? sequential(fd) : sparse(fd, entry);
    return {
      data(chunk) {
        try {
          write(chunk);
        } catch (error) {
          closeSync(fd);
          throw describe(path, error);
        }
      },
      end() {
        try {
          if (entry.segments !== undefined) ftruncateSync(fd, entry.size);
          fchownSync(fd, entry.uid, entry.gid);
          fchmodSync(fd, entry.mode);
          for (const [key, value] of entry.xattrs) fsetxattr(fd, key, value);
        } catch (error) {
          throw describe(path, error);
        } finally {
          closeSync(fd);
        }
        utimensat(AT_FDCWD, at(parentFd, name), entry.mtime, entry.mtime);
      },
    };
  }

  /** The target must be a file this archive, or an earlier image, has put below the root. */
  function hardLink(entry: TarEntry, path: string, target: string): void {
    if (links !== undefined && !seen.has(target)) links.below = true;
    let fd: number;
    try {
      fd = openat2(
        rootFd,
        bytes(target),
        O_PATH | constants.O_NOFOLLOW,
        0,
        RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
      );
    } catch (error) {
      // A link to a symbolic link: the last component may be one, nothing before it.
      if (errorCode(error) !== "ELOOP")
        throw tarError(
          `/${shownPath(path)} is a hard link to ${JSON.stringify(shownPath(entry.linkPath))}, which is not there`,
        );
      linkToSymlink(path, target);
      return;
    }
    try {
      const name = enterParent(path);
      exclusively(name, path, () => linkat(AT_FDCWD, `/proc/self/fd/${fd}`, parentFd, bytes(name), AT_SYMLINK_FOLLOW));
    } finally {
      closeSync(fd);
    }
  }

  function linkToSymlink(path: string, target: string): void {
    const slash = target.lastIndexOf("/");
    const fd = openDirectory(slash < 0 ? "" : target.slice(0, slash));
    try {
      const name = enterParent(path);
      exclusively(name, path, () => linkat(fd, bytes(target.slice(slash + 1)), parentFd, bytes(name)));
    } finally {
      if (fd !== rootFd) closeSync(fd);
    }
  }

  function node(entry: TarEntry, path: string): void {
    const name = enterParent(path);
    const [kind, device] =
      entry.type === "fifo"
        ? [S_IFIFO, 0n]
        : [entry.type === "character" ? S_IFCHR : S_IFBLK, makedev(entry.major, entry.minor)];
    // overlayfs takes a character device 0:0 in a lower layer for "this file is deleted".
    if (entry.type === "character" && device === 0n)
      throw tarError(`/${shownPath(path)} is a character device 0:0, an overlay's whiteout`);
    exclusively(name, path, () => mknodat(parentFd, bytes(name), kind | (entry.mode & 0o7777), device));
    setMetadata(entry, name);
  }

  function symlink(entry: TarEntry, path: string): void {
    const name = enterParent(path);
    exclusively(name, path, () => symlinkat(bytes(entry.linkPath), parentFd, bytes(name)));
    setMetadata(entry, name);
  }

  return {
    entry(entry, path) {
      try {
        checkXattrs(entry, path);
        if (entry.type !== "directory" && seen.has(path)) throw tarError(`/${shownPath(path)} is in the archive twice`);
        let sink: EntrySink | undefined;
        switch (entry.type) {
          case "directory":
            directory(entry, path);
            break;
          case "file":
            directories.delete(path);
            sink = file(entry, path);
            break;
          case "link":
            hardLink(entry, path, linkTarget(entry, path));
            break;
          case "symlink":
            symlink(entry, path);
            break;
          default:
            node(entry, path);
        }
        seen.add(path);
        return sink;
      } catch (error) {
        throw describe(path, error);
      }
    },
    nextImage() {
      seen = new PathSet();
    },
    finish() {
      leaveParent();
      // The deepest first: a directory's own time is set after those below it.
      for (const [path, entry] of [...directories].sort(([a], [b]) => (a < b ? 1 : -1))) {
        try {
          setDirectory(rootFd, path, entry, openDirectory);
        } catch (error) {
          // Replaced by a later image.
          if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) continue;
          throw describe(path, error);
        }
      }
    },
    close() {
      leaveParent();
      closeSync(rootFd);
    },
  };
}

function setDirectory(rootFd: number, path: string, entry: DirectoryEntry, open: (path: string) => number): void {
  const fd = open(path);
  const self = `/proc/self/fd/${fd}/.`;
  try {
    fchownat(AT_FDCWD, self, entry.uid, entry.gid, 0);
    fchmodat(AT_FDCWD, self, entry.mode);
    for (const [key, value] of entry.xattrs) lsetxattr(self, key, value);
    utimensat(AT_FDCWD, self, entry.mtime, entry.mtime);
  } finally {
    if (fd !== rootFd) closeSync(fd);
  }
}

/** The target's path below the root: an archive names it as it names its entries, below "rootfs". */
function linkTarget(entry: TarEntry, path: string): string {
  const parts = entry.linkPath.split("/").filter((part) => part !== "" && part !== ".");
  const inside = parts[0] === "rootfs" && parts.length > 1 && !parts.includes("..");
  if (!inside || entry.linkPath.startsWith("/") || entry.linkPath.includes("\0"))
    throw tarError(
      `/${shownPath(path)} is a hard link to ${JSON.stringify(shownPath(entry.linkPath))}, which is outside of the image's rootfs`,
    );
  return parts.slice(1).join("/");
}

/** Everything of the chunk, at the file's position. */
function sequential(fd: number): (chunk: Buffer) => void {
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) at += writeSync(fd, chunk, at);
  };
}

/** Data go segment by segment; what is between is never written, and so stays a hole. */
function sparse(fd: number, entry: TarEntry): (chunk: Buffer) => void {
  const segments = entry.segments ?? [];
  let index = 0;
  let within = 0;
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      const segment = segments[index];
      if (segment === undefined) throw new Error("more data than the sparse map has room for");
      const n = Math.min(segment.size - within, chunk.length - at);
      if (n > 0) {
        const written = writeSync(fd, chunk, at, n, segment.offset + within);
        at += written;
        within += written;
      }
      if (within === segment.size) {
        index++;
        within = 0;
      }
    }
  };
}

/**
 * Copies a rendered tree to a directory that does not exist yet, sharing blocks
 * where the file system can (cp(1): metadata, hard links, holes and attributes).
 */
export async function copyTree(from: string, to: string): Promise<void> {
  const child = spawn("cp", ["--archive", "--reflink=auto", "--sparse=auto", "--no-target-directory", "--", from, to], {
    stdio: ["ignore", "ignore", "pipe"],
    env: HOST_ENVIRONMENT,
  });
  let message = "";
  child.stderr.on("data", (chunk: Buffer) => {
    if (message.length < 500) message += chunk.toString();
  });
  const [status] = (await once(child, "close")) as [number | null];
  if (status === 0) return;
  // "cp: error copying 'A' to 'B': No space left on device": the names are ours, and long.
  const reason = (message.split("\n")[0] ?? "").replace(/^.*: /, "") || `cp ended with ${status}`;
  throw new RktError("copy-failed", `cannot copy ${from}: ${reason}`, {
    hint: reason === "No space left on device" ? "free some space, or leave --no-overlay out" : undefined,
  });
}
