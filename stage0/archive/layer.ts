/**
 * Layers of OCI images (image-spec, layer.md) into directories. It differs from
 * an App Container image's archive in this: whiteouts; a later entry takes the
 * place of an earlier one; names may begin at the root; links on the way to a
 * name lead elsewhere below the root, as in the finished image.
 *
 * A layer is extracted in one of two ways. `LayerAlone` writes what overlayfs
 * takes as a lower directory, without knowing the layers below; what depends
 * on them it notes. `LayersMerged` writes over what the layers below have left
 * in the same directory.
 */

import { closeSync, fstatSync, readdirSync } from "node:fs";
import { OPAQUE_XATTR } from "../../shared/aci/tree.ts";
import { errorCode } from "../../shared/errors.ts";
import { lsetxattr, mknodat, xattrs } from "../../shared/syscall/file.ts";
import { removeAt } from "../host/remove-tree.ts";
import { BelowRoot, kindAt, type Place, splitPath } from "./below-root.ts";
import { Extractor, missingTarget } from "./extract.ts";
import { DIRECTORY_SIZE } from "./implied-directories.ts";
import { xattrBytes } from "./late-directories.ts";
import { PathSet } from "./path-set.ts";
import type { TarEntry } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";
import { type EntrySink, TAR_LIMITS, type TarLimits } from "./tar-reader.ts";
import { type Whiteout, whiteoutOf } from "./whiteout.ts";

export const LAYER_LIMITS: TarLimits = { ...TAR_LIMITS, namesFromRoot: true, endsAnywhere: true };

const S_IFCHR = 0o020000;
/** Of `st_blocks` (stat(3type)). */
const STAT_BLOCK = 512;

/** What a layer that was extracted alone has to be told of the layers below. */
export interface LayerNotes {
  /**
   * Directories that were not there, and had no whiteout, when something was put into them; some had entries later. Where
   * one of them was a link below, it has gone through that.
   */
  entered: readonly string[];
  /** Directories without an entry, those above first: they are as they were below. */
  implied: readonly string[];
  /** What is not to be there any more: character devices 0:0 now. */
  whiteouts: readonly string[];
  /** Directories that show nothing from below; "" is the root. */
  opaque: ReadonlySet<string>;
  /** It has a hard link to a file from below, or a link that leads through what may be below: extract it again, over them. */
  again: boolean;
}

/** Whether it is the same whatever is below it. */
export const isIndependent = ({ entered, whiteouts, again }: LayerNotes): boolean =>
  !again && entered.length === 0 && whiteouts.length === 0;

/** Told of what is made beside the entries: how many files and directories, and the bytes that they take. Throws if it is too much. */
export type TakeMore = (inodes: number, bytes: number) => void;

/** Bytes of the names that are noted. */
const MAX_NOTES = 64 * 1024 ** 2;

export class LayerAlone {
  readonly #root: string;
  readonly #extractor: Extractor;
  readonly #entered = new Set<string>();
  readonly #implied = new Set<string>();
  readonly #whiteouts = new Set<string>();
  readonly #opaque = new Set<string>();
  #noted = 0;
  #again = false;

  /** Where this layer has had something that is no directory. */
  readonly #others = new PathSet();
  readonly #takes: TakeMore;

  /** `root` is an empty directory. */
  constructor(root: string, takes: TakeMore) {
    this.#root = root;
    this.#takes = takes;
    this.#extractor = new Extractor(root, {
      layer: {
        made: (path, what) => this.#made(path, what),
        missing: () => {
          this.#again = true;
        },
        hidden: (path) => this.#whiteouts.has(path),
        unknown: () => {
          this.#again = true;
        },
        // It has what it links to, and its directories are its own.
        linking() {},
        keeps() {},
      },
    });
  }

  entry(entry: TarEntry): EntrySink | undefined {
    const whiteout = whiteoutOf(entry);
    // What comes of it will not be used.
    if (this.#again) return undefined;
    if (whiteout === undefined) return this.#extractor.entry(entry, entry.path);
    if (whiteout.kind === "hidden") this.#hide(whiteout);
    if (whiteout.kind === "opaque")
      this.#extractor.at(childOf(whiteout.path), true, (_, path) => this.#note(this.#opaque, splitPath(path)[0]));
    return undefined;
  }

  finish(): LayerNotes {
    if (!this.#again) {
      this.#extractor.finish();
      this.#markOpaque();
    }
    return {
      entered: [...this.#entered].sort(),
      implied: [...this.#implied].sort(),
      whiteouts: [...this.#whiteouts],
      opaque: this.#opaque,
      again: this.#again,
    };
  }

  close(): void {
    this.#extractor.close();
  }

  /** What is there is this layer's own, and stays: a whiteout is about the layers below. */
  #hide({ path }: Whiteout): void {
    this.#extractor.at(path, true, (place, real) => {
      const kind = kindAt(place);
      if (kind === "directory") this.#note(this.#opaque, real);
      if (kind !== undefined) return;
      mknodat(place.directory, place.name, S_IFCHR, 0n);
      this.#note(this.#whiteouts, real);
    });
  }

  #made(path: string, what: "implied" | "directory" | "other"): void {
    const hidden = this.#whiteouts.delete(path);
    if (what === "implied") this.#takes(1, DIRECTORY_SIZE);
    if (what === "implied" && !hidden) {
      this.#note(this.#implied, path);
      if (!this.#others.has(path) && !this.#isOpaque(path)) this.#note(this.#entered, path);
    } else this.#implied.delete(path);
    if (what === "other") this.#others.add(path);
    // A file of this layer's had hidden what is below: a directory in the file's place does not bring that back.
    else if (hidden || this.#others.has(path)) this.#note(this.#opaque, path);
  }

  /** Whether nothing from below is seen at the path by now. */
  #isOpaque(path: string): boolean {
    if (this.#opaque.size === 0) return false;
    for (let at = path; at !== ""; ) {
      [at] = splitPath(at);
      if (this.#opaque.has(at)) return true;
    }
    return false;
  }

  #note(set: Set<string>, path: string): void {
    if (set.has(path)) return;
    set.add(path);
    this.#noted += path.length;
    if (this.#noted > MAX_NOTES) throw tarError(`the names of its whiteouts are longer than ${MAX_NOTES} bytes in all`);
  }

  #markOpaque(): void {
    const root = new BelowRoot(this.#root);
    try {
      for (const path of this.#opaque) {
        if (path === "") continue;
        const fd = openIfDirectory(root, path);
        if (fd === undefined) continue;
        lsetxattr(`/proc/self/fd/${fd}/.`, OPAQUE_XATTR, Buffer.from("y"));
        root.closeDirectory(fd);
      }
    } finally {
      root.close();
    }
  }
}

export class LayersMerged {
  readonly #root: BelowRoot;
  readonly #extractor: Extractor;
  /** Paths of this layer, with the directories that they are in. */
  #own = new PathSet();
  /** Paths that were counted: of an overlay, what this layer has copied of those below, and its directories. */
  #touched = new PathSet();
  readonly #takes: TakeMore;
  readonly #copies: boolean;

  /**
   * `root` has what the layers below have left, if there are any. `copies`: it is an overlay of them, which copies what is
   * linked to or changed.
   */
  constructor(root: string, takes: TakeMore, copies = false) {
    this.#root = new BelowRoot(root);
    this.#takes = takes;
    this.#copies = copies;
    this.#extractor = new Extractor(root, {
      layer: {
        made: (path, what) => this.#made(path, what),
        missing: (path, linkPath) => {
          throw missingTarget(path, linkPath);
        },
        hidden: () => false,
        unknown() {},
        linking: (path, fd) => this.#linking(path, fd),
        keeps: (bytes) => takes(0, bytes),
      },
    });
  }

  nextLayer(): void {
    this.#own = new PathSet();
    this.#touched = new PathSet();
    this.#extractor.nextImage();
  }

  entry(entry: TarEntry): EntrySink | undefined {
    const whiteout = whiteoutOf(entry);
    if (whiteout === undefined) return this.#extractor.entry(entry, entry.path);
    if (whiteout.kind === "hidden")
      this.#extractor.at(whiteout.path, false, (place, path) => {
        this.#touch(splitPath(path)[0]);
        this.#remove(place, path);
      });
    if (whiteout.kind === "opaque")
      this.#extractor.at(childOf(whiteout.path), false, (_, path) => {
        this.#touch(splitPath(path)[0]);
        this.#removeLower(splitPath(path)[0]);
      });
    return undefined;
  }

  /** All layers were taken: sets the metadata of directories. */
  finish(): void {
    this.#extractor.finish();
  }

  close(): void {
    this.#extractor.close();
    this.#root.close();
  }

  #made(path: string, what: "implied" | "directory" | "other"): void {
    // An entry was counted when it was read.
    this.#touch(what === "implied" ? path : splitPath(path)[0]);
    for (let at = path; this.#own.add(at) && at !== ""; ) [at] = splitPath(at);
  }

  /** Counts a directory and those above it. */
  #touch(path: string): void {
    for (let at = path; at !== "" && !this.#own.has(at) && this.#touched.add(at); [at] = splitPath(at))
      this.#takes(1, DIRECTORY_SIZE);
  }

  /** What is linked to is copied first, with the directories that it is in, unless this layer has it. */
  #linking(path: string, fd: number): void {
    if (!this.#copies || this.#own.has(path) || !this.#touched.add(path)) return;
    this.#touch(splitPath(path)[0]);
    const { blocks } = fstatSync(fd);
    this.#takes(1, blocks * STAT_BLOCK + xattrBytes(xattrs(`/proc/self/fd/${fd}`)));
  }

  #remove(place: Place, path: string): void {
    const kind = kindAt(place);
    if (kind === undefined) return;
    if (!this.#own.has(path)) removeAt(place.directory, place.name);
    else if (kind === "directory") this.#removeLower(path);
  }

  /** Removes what the layers below have in a directory. */
  #removeLower(path: string): void {
    const directory = openIfDirectory(this.#root, path);
    if (directory === undefined) return;
    try {
      for (const name of readdirSync(`/proc/self/fd/${directory}/.`, { encoding: "buffer" })) {
        const text = name.toString("latin1");
        this.#takes(1, 0);
        this.#remove({ directory, name }, path === "" ? text : `${path}/${text}`);
      }
    } finally {
      this.#root.closeDirectory(directory);
    }
  }
}

/** Some path in a directory, by which the directory is entered. */
const childOf = (directory: string): string => (directory === "" ? "-" : `${directory}/-`);

/** A descriptor of a plain directory that no link leads to; undefined where there is none. */
export function openIfDirectory(root: BelowRoot, path: string): number | undefined {
  try {
    return root.openDirectory(path);
  } catch (error) {
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) throw error;
    return undefined;
  }
}

/** What there is at a path that no link leads to; undefined for nothing. */
export function kindOf(root: BelowRoot, path: string): "directory" | "link" | "other" | undefined {
  let fd: number;
  try {
    fd = root.openFile(path);
  } catch (error) {
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) throw error;
    return undefined;
  }
  try {
    const stat = fstatSync(fd);
    return stat.isDirectory() ? "directory" : stat.isSymbolicLink() ? "link" : "other";
  } finally {
    closeSync(fd);
  }
}
