/**
 * A file that a person has named, and which appears whole or not at all. Until
 * then it has a name of its own beside that place. The directory may be another
 * user's, who may exchange names in it at any moment: the directory is held by
 * its descriptor, the file is made exclusively and written by its own, and no
 * link in its place is followed.
 */

import { closeSync, constants, fstatSync, fsyncSync, openSync, writeSync } from "node:fs";
import { basename, dirname } from "node:path";
import { Writable } from "node:stream";
import { beside } from "./beside.ts";
import { RktError } from "./errors.ts";
import { openNamedDirectory } from "./named-file.ts";
import { AT_FDCWD, linkat, O_PATH, openat2, openat2IfThere, RESOLVE_BENEATH, renameat, unlinkat } from "./syscall/file.ts";
import { SyscallError } from "./syscall/call.ts";

const AT_SYMLINK_FOLLOW = 0x400;
const NEW = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export interface OutputOptions {
  /** Under the umask. */
  mode: number;
  /** Directories that are missing are made. */
  makeDirectories?: boolean;
}

/** Owns its descriptors until `close`, which also takes away what has not been placed. */
export class OutputFile {
  /** To write by. */
  readonly fd: number;
  readonly path: string;
  readonly #directory: number;
  readonly #name: string;
  readonly #temporary: string;
  #placed = false;

  constructor(path: string, { mode, makeDirectories = false }: OutputOptions) {
    this.path = path;
    this.#name = basename(path);
    this.#temporary = beside(this.#name);
    try {
      this.#directory = openNamedDirectory(dirname(path), { make: makeDirectories });
      try {
        this.fd = openat2(this.#directory, this.#temporary, NEW, mode, RESOLVE_BENEATH);
      } catch (error) {
        closeSync(this.#directory);
        throw error;
      }
    } catch (error) {
      throw error instanceof SyscallError ? new SyscallError("open", error.errno, path) : error;
    }
  }

  /** What is at the place now; undefined for nothing. */
  there(): "file" | "link" | "other" | undefined {
    const fd = openat2IfThere(this.#directory, this.#name, O_PATH | constants.O_NOFOLLOW, 0, RESOLVE_BENEATH);
    if (fd === undefined) return undefined;
    const stat = fstatSync(fd);
    closeSync(fd);
    return stat.isFile() ? "file" : stat.isSymbolicLink() ? "link" : "other";
  }

  /** Writes at once: no write is under way when the descriptor is closed. */
  stream(): Writable {
    return new Writable({
      highWaterMark: 1 << 20,
      write: (chunk: Buffer, _, done) => {
        try {
          for (let at = 0; at < chunk.length; ) at += writeSync(this.fd, chunk, at);
          done();
        } catch (error) {
          done(error as Error);
        }
      },
    });
  }

  /** A descriptor to read the file from its beginning. */
  openToRead(): number {
    return openSync(`/proc/self/fd/${this.fd}`, constants.O_RDONLY);
  }

  /** Puts the file in its place, with `flush` when it is on the disk; EEXIST: something is there that shall stay. */
  place({ overwrite, flush }: { overwrite: boolean; flush: boolean }): void {
    if (flush) fsyncSync(this.fd);
    if (!overwrite) {
      // link(2), other than rename(2), takes nothing's place. This is the very file, whatever has its name now.
      linkat(AT_FDCWD, `/proc/self/fd/${this.fd}`, this.#directory, this.#name, AT_SYMLINK_FOLLOW);
      return;
    }
    renameat(this.#directory, this.#temporary, this.#directory, this.#name);
    this.#placed = true;
    if (this.#isAt(this.#name)) return;
    throw new RktError("write-failed", `cannot write ${this.path}: somebody exchanged it meanwhile`, {
      hint: "who can write in its directory? a directory of your own is safe",
    });
  }

  close(): void {
    try {
      if (!this.#placed) unlinkat(this.#directory, this.#temporary);
    } catch {
      // It is gone, or another's: that must not hide why the file was not placed.
    } finally {
      closeSync(this.fd);
      closeSync(this.#directory);
    }
  }

  #isAt(name: string): boolean {
    const fd = openat2IfThere(this.#directory, name, O_PATH | constants.O_NOFOLLOW, 0, RESOLVE_BENEATH);
    if (fd === undefined) return false;
    try {
      const [mine, there] = [this.fd, fd].map((one) => fstatSync(one, { bigint: true }));
      return mine?.dev === there?.dev && mine?.ino === there?.ino;
    } finally {
      closeSync(fd);
    }
  }
}
