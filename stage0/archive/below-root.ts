/**
 * The way to the places below the directory that an image is extracted into.
 *
 * Containment is the kernel's: openat2(2) opens a directory below the root and
 * refuses to follow any symbolic link (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
 * What is made has one name, relative to such a descriptor. A link of the image
 * is thus data, and never a way (CVE-2014-6407, CVE-2014-9356, CVE-2021-21334).
 */

import { closeSync, constants, lstatSync, openSync, readlinkSync } from "node:fs";
import {
  O_PATH,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../../shared/syscall/file.ts";

const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/** Where an entry goes: a name in an open directory. */
export interface Place {
  directory: number;
  name: Buffer;
}

/** The bytes of a latin1 name: the kernel's paths are bytes. */
export const nameBytes = (name: string): Buffer => Buffer.from(name, "latin1");

/** A path of the place for system calls that take no directory; its last component may be a link. */
export const procPath = ({ directory, name }: Place): Buffer =>
  Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), name]);

/** What is at the place, if anything; a link is "other". */
export function kindAt(place: Place): "directory" | "other" | undefined {
  const stat = lstatSync(procPath(place), { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  return stat.isDirectory() ? "directory" : "other";
}

/** The target of a symbolic link at the place, as latin1; undefined where there is none. */
export function linkAt(place: Place): string | undefined {
  const path = procPath(place);
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return undefined;
  return readlinkSync(path, "buffer").toString("latin1");
}

/** The directory part of a path and its last component. */
export function splitPath(path: string): [parent: string, name: string] {
  const slash = path.lastIndexOf("/");
  return [slash < 0 ? "" : path.slice(0, slash), path.slice(slash + 1)];
}

/** Owns the descriptor of the root, and one of the directory below it that was entered last. */
export class BelowRoot {
  readonly #root: number;
  #entered = "";
  #enteredFd: number;

  constructor(root: string) {
    this.#root = openSync(root, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    this.#enteredFd = this.#root;
  }

  /** A descriptor (O_PATH) of a directory, "" for the root itself; give it back to `closeDirectory`. */
  openDirectory(path: string): number {
    if (path === "") return this.#root;
    return openat2(this.#root, nameBytes(path), O_PATH | constants.O_DIRECTORY, 0, RESOLVE);
  }

  closeDirectory(fd: number): void {
    if (fd !== this.#root) closeSync(fd);
  }

  /** A descriptor (O_PATH) of any file. Of a symbolic link it is the link's own, since O_NOFOLLOW goes with O_PATH (openat2(2)). */
  openFile(path: string): number {
    return openat2(this.#root, nameBytes(path), O_PATH | constants.O_NOFOLLOW, 0, RESOLVE);
  }

  /** The directory, kept open until another is entered: entries of one directory follow each other. */
  enter(path: string): number {
    if (path === this.#entered) return this.#enteredFd;
    const fd = this.openDirectory(path);
    this.leave();
    this.#entered = path;
    this.#enteredFd = fd;
    return fd;
  }

  leave(): void {
    this.closeDirectory(this.#enteredFd);
    this.#enteredFd = this.#root;
    this.#entered = "";
  }

  close(): void {
    this.leave();
    closeSync(this.#root);
  }
}
