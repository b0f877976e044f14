/**
 * Files below a directory of the host, for an image, while other users may be
 * exchanging them. Containment is the kernel's: openat2(2) stays below the
 * directory's descriptor and follows no link. What is read is the very file
 * that was described, by device and inode; nothing else is opened.
 */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { LEASED } from "../account-file.ts";
import { errorCode, RktError } from "../errors.ts";
import {
  AT_FDCWD,
  O_PATH,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../syscall/file.ts";
import type { PathArg } from "../syscall/call.ts";

const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
const CHUNK = 1 << 20;

/** Device and inode. */
export interface Identity {
  dev: bigint;
  ino: bigint;
}

export interface Root {
  /** As it was named; relative to the working directory. */
  path: string;
  identity: Identity;
}

/** A descriptor (O_PATH) of a file in an open directory, of a link its own. Opening so does nothing to a device or a FIFO. */
export const openEntry = (directory: number, name: PathArg): number =>
  openat2(directory, name, O_PATH | constants.O_NOFOLLOW, 0, RESOLVE);

/** The bytes of a regular file that was described: exactly `size`. */
export function* fileContent(root: Root, path: string, identity: Identity, size: number): Generator<Buffer> {
  const shown = path === "" ? root.path : `${root.path}/${path}`;
  const fd = openDescribed(root, path, identity, shown);
  try {
    for (let at = 0; at < size; ) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK, size - at));
      const length = readSync(fd, chunk, 0, chunk.length, at);
      if (length === 0) throw changed(shown);
      yield chunk.subarray(0, length);
      at += length;
    }
    // The header was written with the file's earlier size: with another size all that follows would be misread.
    if (readSync(fd, Buffer.alloc(1), 0, 1, size) > 0) throw changed(shown);
  } finally {
    closeSync(fd);
  }
}

function openDescribed(root: Root, path: string, identity: Identity, shown: string): number {
  const held: number[] = [];
  const hold = (fd: number): number => {
    held.push(fd);
    return fd;
  };
  try {
    const top = hold(openat2(AT_FDCWD, root.path, O_PATH, 0, 0));
    if (!isSame(top, root.identity)) throw changed(shown);
    const file = path === "" ? top : hold(openEntry(top, path));
    // A new file may have the inode of one that was removed.
    if (!isSame(file, identity) || !fstatSync(file).isFile()) throw changed(shown);
    return openSync(`/proc/self/fd/${file}`, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(cause) ?? "")) throw changed(shown, cause);
    // The kernel would wait, for 45 seconds for each file.
    if (errorCode(cause) === "EAGAIN") throw new RktError("busy-file", `${shown} ${LEASED}`, { hint: "try again", cause });
    throw named(cause, shown);
  } finally {
    for (const fd of held) closeSync(fd);
  }
}

function isSame(fd: number, { dev, ino }: Identity): boolean {
  const stat = fstatSync(fd, { bigint: true });
  return stat.dev === dev && stat.ino === ino;
}

/** The error of a call on a descriptor, with the path that a person knows. */
export function named(error: unknown, path: string): unknown {
  if (error instanceof Error && !(error instanceof RktError) && "path" in error && errorCode(error) !== undefined)
    Object.assign(error, { path });
  return error;
}

export const changed = (path: string, cause?: unknown): RktError =>
  new RktError("file-changed", `${path} changed while the image was written`, {
    hint: "build the image from files that nobody writes",
    cause,
  });
