/**
 * A directory that a person has named, and which appears whole or not at all.
 * It is made in a temporary directory beside that place, which is this user's
 * alone and held by its descriptor. The directory above may be another user's:
 * whatever he puts in place of the temporary one, nothing is written there.
 */

import { closeSync, constants, fstatSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { beside } from "../../shared/beside.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { openNamedDirectory } from "../../shared/named-file.ts";
import {
  AT_REMOVEDIR,
  directoryEntries,
  dropInheritedAcls,
  mkdirat,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  renameat,
  unlinkat,
} from "../../shared/syscall/file.ts";
import { removeAt } from "./remove-tree.ts";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const [NEW, OLD] = ["new", "old"];

/** Owns its descriptors until `close`, which also takes away what has not been placed. */
export class OutputDirectory {
  /** Where to make the directory; it is not there yet. */
  readonly path: string;
  readonly #target: string;
  readonly #above: number;
  readonly #name: string;
  readonly #temporary: string;
  readonly #own: number;
  /** What was in the target's place is in the temporary directory. */
  #movedOld = false;

  constructor(target: string) {
    this.#target = resolve(target);
    // "." is the root directory, which has no name: the kernel refuses to move it.
    this.#name = basename(this.#target) || ".";
    this.#temporary = beside(basename(this.#target));
    this.#above = openNamedDirectory(dirname(this.#target));
    try {
      mkdirat(this.#above, this.#temporary, 0o700);
      this.#own = this.#openOwn();
    } catch (error) {
      this.#removeEmpty();
      closeSync(this.#above);
      throw error;
    }
    this.path = `/proc/self/fd/${this.#own}/${NEW}`;
  }

  /** Puts the directory in its place. What is there is moved aside first: if it is a mount point or the root, nothing is lost. */
  place(overwrite: boolean): void {
    this.#movedOld = overwrite && this.#move(this.#above, this.#name, this.#own, OLD);
    try {
      renameat(this.#own, NEW, this.#above, this.#name);
    } catch (error) {
      if (this.#movedOld) {
        // It stays where it is if it can't be moved back.
        this.#movedOld = false;
        renameat(this.#own, OLD, this.#above, this.#name);
      }
      throw error;
    }
    if (!this.#movedOld) return;
    try {
      removeAt(this.#own, Buffer.from(OLD));
    } catch (cause) {
      const what = `${this.#target} is written, but what was there before cannot be removed: ${errorText(cause)}`;
      throw new RktError("not-removed", what, { hint: `rm -r ${dirname(this.#target)}/${this.#temporary}`, cause });
    }
  }

  close(): void {
    try {
      removeAt(this.#own, Buffer.from(NEW));
      if (this.#movedOld) removeAt(this.#own, Buffer.from(OLD));
    } catch {
      // That must not hide why the directory was not placed.
    }
    this.#removeEmpty();
    closeSync(this.#own);
    closeSync(this.#above);
  }

  /** Others can exchange the directory until it is open: it must be one that nobody else enters, and empty. */
  #openOwn(): number {
    const fd = openat2(this.#above, this.#temporary, DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    const { uid, mode } = fstatSync(fd);
    const isOwn = uid === process.geteuid?.() && (mode & 0o077) === 0;
    if (isOwn && directoryEntries(fd).next().done === true) {
      dropInheritedAcls(fd);
      return fd;
    }
    closeSync(fd);
    throw new RktError("write-failed", `cannot write ${this.#target}: somebody exchanged a directory meanwhile`, {
      hint: "who can write in the directory above? one of your own is safe",
    });
  }

  /** Whatever has the temporary's name: it goes only if it is an empty directory. */
  #removeEmpty(): void {
    try {
      unlinkat(this.#above, this.#temporary, AT_REMOVEDIR);
    } catch {
      // Another's.
    }
  }

  #move(from: number, name: string, to: number, newName: string): boolean {
    try {
      renameat(from, name, to, newName);
      return true;
    } catch (error) {
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    }
  }
}
