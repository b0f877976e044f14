/**
 * Writes the entries of an image into a directory, with everything they carry:
 * owner, mode with setuid, setgid and sticky, times, hard links, devices,
 * FIFOs, extended attributes, holes.
 *
 * Nothing of the image is trusted. Every entry goes through the same steps: its
 * parent directory is opened below the root without following a link
 * (`below-root.ts`), it is made there exclusively, and only then it gets its
 * metadata. Directories get theirs when all else is written.
 */

import { closeSync, constants, ftruncateSync, openSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { AT_FDCWD, linkat, makedev, mkdirat, mknodat, symlinkat } from "../../shared/syscall/file.ts";
import { removeAt } from "../host/remove-tree.ts";
import { BelowRoot, kindAt, linkAt, nameBytes, type Place, procPath, splitPath } from "./below-root.ts";
import { shownPath } from "./entry-path.ts";
import { sequentialWriter, sparseWriter } from "./file-data.ts";
import { LateDirectories, xattrBytes } from "./late-directories.ts";
import {
  checkXattrs,
  readDirectoryMetadata,
  setDirectoryMetadata,
  setFileMetadata,
  setNodeMetadata,
  setTimes,
} from "./metadata.ts";
import { PathSet } from "./path-set.ts";
import type { TarEntry } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";
import type { EntrySink } from "./tar-reader.ts";

const AT_SYMLINK_FOLLOW = 0x400;

const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** A directory that an archive has files in and no entry for: the same whenever it is made. */
const UNNAMED_DIRECTORY = { uid: 0, gid: 0, mode: 0o755, mtime: 0n, xattrs: new Map<string, Buffer>() };

/**
 * Components that the links of one layer may lead through, each counted with the depth at which it is looked up: otherwise a
 * chain of long links, which compresses to nothing, takes processor time without end.
 */
export const MAX_STEPS = 2_000_000;
/** As many as the kernel follows in one path (path_resolution(7)). */
const MAX_LINKS = 40;

/** How the layers of OCI images differ from App Container images (layers.ts has the reasons). */
export interface LayerRules {
  /** There was something else at the path, or nothing, and now there is a directory, or what an entry says. */
  made(path: string, what: "implied" | "directory" | "other"): void;
  /** A hard link's target is not there. Returns if the entry is to be passed over. */
  missing(path: string, linkPath: string): void;
  /** What is there of a path is not to be linked to. */
  hidden(path: string): boolean;
  /** The way of a link leads through a name that is not there, and up again. */
  unknown(): void;
  /** A hard link to `path` comes, which is open. */
  linking(path: string, fd: number): void;
  /** Bytes of attributes that a directory without an entry keeps. */
  keeps(bytes: number): void;
}

export interface ExtractorOptions {
  /** `below` becomes true when there is a hard link to a file that its own image has not brought. */
  links?: { below: boolean } | undefined;
  /** Of a layer: a later entry takes the place of an earlier one, and links on the way to it are followed below the root. */
  layer?: LayerRules | undefined;
}

/** Owns the descriptors of the directory that it writes into, until `close`. */
export class Extractor {
  readonly #root: BelowRoot;
  readonly #links: { below: boolean } | undefined;
  readonly #layer: LayerRules | undefined;
  readonly #directories = new LateDirectories();
  /** Paths of the image that is being extracted. */
  #seen = new PathSet();
  #steps = 0;
  /** Where the directory of the last entry was found, by links; nothing has changed the way since. */
  #way: { from: string; to: string } | undefined;

  constructor(root: string, { links, layer }: ExtractorOptions = {}) {
    this.#root = new BelowRoot(root);
    this.#links = links;
    this.#layer = layer;
  }

  /** Takes an entry; `path` is relative to the root, "" the root itself. */
  entry(entry: TarEntry, name: string): EntrySink | undefined {
    let path = name;
    try {
      if (this.#layer !== undefined) path = this.#followed(name);
      checkXattrs(path, entry.xattrs);
      if (this.#layer === undefined && entry.type !== "directory" && this.#seen.has(path))
        throw tarError(`/${shownPath(path)} is in the archive twice`);
      // A file changes no way, unless it takes the place of something, which `#remove` sees.
      if (entry.type !== "file") this.#way = undefined;
      const sink = this.#make(entry, path);
      this.#seen.add(path);
      this.#layer?.made(path, entry.type === "directory" ? "directory" : "other");
      return sink;
    } catch (error) {
      throw writeError(path, error);
    }
  }

  /**
   * Runs `work` with the place of a path and what it is really called. Not where a directory of it is something else, or is
   * missing and not to be made.
   */
  at(name: string, make: boolean, work: (place: Place, path: string) => void): void {
    try {
      const path = this.#followed(name);
      const [parent] = splitPath(path);
      try {
        this.#root.enter(parent);
      } catch (error) {
        if (isNoDirectory(error) && (!make || errorCode(error) !== "ENOENT")) return;
        if (!isNoDirectory(error)) throw error;
      }
      const place = this.#placeOf(path);
      this.#way = undefined;
      work(place, path);
    } catch (error) {
      throw writeError(name, error);
    }
  }

  /** Whether the path, or something below it, is of the image that is being extracted. */
  has(path: string): boolean {
    return this.#seen.has(path);
  }

  /** Begins another image over the same root: its entries replace what is there. */
  nextImage(): void {
    this.#seen = new PathSet();
    this.#steps = 0;
    this.#way = undefined;
  }

  /** All entries were taken: sets the metadata of directories. */
  finish(): void {
    this.#root.leave();
    for (const [path, metadata] of this.#directories.deepestFirst()) {
      try {
        const fd = this.#root.openDirectory(path);
        try {
          setDirectoryMetadata(fd, metadata);
        } finally {
          this.#root.closeDirectory(fd);
        }
      } catch (error) {
        // A later image has replaced it, or a directory above.
        if (isNoDirectory(error)) continue;
        throw writeError(path, error);
      }
    }
  }

  close(): void {
    this.#root.close();
  }

  #make(entry: TarEntry, path: string): EntrySink | undefined {
    switch (entry.type) {
      case "directory":
        this.#makeDirectory(entry, path);
        return undefined;
      case "file":
        this.#directories.forget(path);
        return this.#makeFile(entry, path);
      case "link":
        this.#makeHardLink(path, this.#linkTarget(entry, path), entry.linkPath);
        return undefined;
      case "symlink":
        this.#makeSymlink(entry, path);
        return undefined;
      default:
        this.#makeNode(entry, path);
        return undefined;
    }
  }

  // --- places -------------------------------------------------------------------------

  /** Where the entry goes. Its parent directory is made if the archive has no entry for that. */
  #placeOf(path: string): Place {
    const [parent, name] = splitPath(path);
    const directory = this.#enter(parent);
    this.#keepMetadata(parent, directory);
    return { directory, name: nameBytes(name) };
  }

  /** A layer's directory without an entry stays as it was, whatever is written into it. */
  #keepMetadata(path: string, directory: number): void {
    if (this.#layer === undefined || this.#directories.has(path)) return;
    const metadata = readDirectoryMetadata(directory);
    this.#directories.note(path, metadata);
    if (metadata.xattrs.size > 0) this.#layer.keeps(xattrBytes(metadata.xattrs));
  }

  /** Where a path of a layer is: links on the way to it lead elsewhere below the root, as in the finished image. */
  #followed(path: string): string {
    const [parent, name] = splitPath(path);
    try {
      this.#root.enter(parent);
      return path;
    } catch (error) {
      if (!isNoDirectory(error)) throw error;
    }
    const real = this.#way?.from === parent ? this.#way.to : this.#followLinks(parent);
    this.#way = { from: parent, to: real };
    return real === "" ? name : `${real}/${name}`;
  }

  #followLinks(path: string): string {
    // The next component is the last one.
    const rest = path.split("/").reverse();
    const real: string[] = [];
    let links = 0;
    /** How many components of `real` are there. */
    let known = 0;
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      this.#steps += 1 + real.length;
      if (this.#steps > MAX_STEPS)
        throw tarError(`the links on the way to its entries lead through too many directories, at /${shownPath(path)}`);
      if (part === "" || part === ".") continue;
      if (part === "..") {
        if (known < real.length) this.#layer?.unknown();
        real.pop();
        known = Math.min(known, real.length);
        continue;
      }
      const target = known < real.length ? "nothing" : this.#targetAt(real.join("/"), part);
      if (typeof target === "string") {
        real.push(part);
        if (target === "something") known = real.length;
      } else if (++links > MAX_LINKS) throw tarError(`/${shownPath(path)} leads through more than ${MAX_LINKS} links`);
      else {
        if (target.link.startsWith("/")) real.length = known = 0;
        for (const next of target.link.split("/").reverse()) rest.push(next);
      }
    }
    return real.join("/");
  }

  #targetAt(parent: string, name: string): { link: string } | "something" | "nothing" {
    let directory: number;
    try {
      directory = this.#root.openDirectory(parent);
    } catch (error) {
      if (isNoDirectory(error)) return "nothing";
      throw error;
    }
    try {
      const place = { directory, name: nameBytes(name) };
      const link = linkAt(place);
      if (link !== undefined) return { link };
      return kindAt(place) === undefined ? "nothing" : "something";
    } finally {
      this.#root.closeDirectory(directory);
    }
  }

  #enter(path: string): number {
    try {
      return this.#root.enter(path);
    } catch (error) {
      if (!isNoDirectory(error)) throw error;
      this.#makeDirectories(path);
      return this.#root.enter(path);
    }
  }

  #makeDirectories(path: string): void {
    let made = "";
    for (const part of path.split("/")) {
      const directory = this.#root.openDirectory(made);
      this.#keepMetadata(made, directory);
      made = made === "" ? part : `${made}/${part}`;
      const place = { directory, name: nameBytes(part) };
      try {
        const kind = kindAt(place);
        if (kind === "directory") continue;
        if (kind !== undefined) this.#remove(place, made);
        mkdirat(directory, place.name, 0o755);
        this.#directories.note(made, UNNAMED_DIRECTORY);
        this.#layer?.made(made, "implied");
      } finally {
        this.#root.closeDirectory(directory);
      }
    }
  }

  /** Removes what an earlier image put here. What this one did is a duplicate, which only a layer may have. */
  #remove({ directory, name }: Place, path: string): void {
    if (this.#layer === undefined && this.#seen.has(path))
      throw tarError(`/${shownPath(path)} is in the archive twice, as different things`);
    this.#way = undefined;
    removeAt(directory, name);
  }

  /** Runs `make`, and once more when what an earlier image left at the place was in the way. */
  #exclusively<T>(place: Place, path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      const code = errorCode(error);
      if (code !== "EEXIST" && code !== "ELOOP" && code !== "EISDIR") throw error;
      this.#remove(place, path);
      return make();
    }
  }

  // --- entries ------------------------------------------------------------------------

  #makeDirectory(entry: TarEntry, path: string): void {
    if (path !== "") {
      const place = this.#placeOf(path);
      const kind = kindAt(place);
      if (kind === "other") this.#remove(place, path);
      if (kind !== "directory") mkdirat(place.directory, place.name, 0o700);
    }
    this.#directories.note(path, entry);
  }

  #makeFile(entry: TarEntry, path: string): EntrySink {
    const place = this.#placeOf(path);
    const fd = this.#exclusively(place, path, () => openSync(procPath(place), NEW_FILE, 0o600));
    const write = entry.segments === undefined ? sequentialWriter(fd) : sparseWriter(fd, entry.segments);
    return {
      data(chunk) {
        try {
          write(chunk);
        } catch (error) {
          closeSync(fd);
          throw writeError(path, error);
        }
      },
      end() {
        try {
          // A hole at the end of a file is only its size.
          if (entry.segments !== undefined) ftruncateSync(fd, entry.size);
          setFileMetadata(fd, entry);
        } catch (error) {
          throw writeError(path, error);
        } finally {
          closeSync(fd);
        }
        setTimes(place, entry.mtime);
      },
    };
  }

  /** The target must be a file, or a symbolic link, that this archive or an earlier image has put below the root. */
  #makeHardLink(path: string, target: string, linkPath: string): void {
    if (this.#links !== undefined && !this.#seen.has(target)) this.#links.below = true;
    const fd = this.#openTarget(path, target, linkPath);
    if (fd === undefined) return;
    try {
      const place = this.#placeOf(path);
      this.#layer?.linking(target, fd);
      this.#exclusively(place, path, () =>
        linkat(AT_FDCWD, `/proc/self/fd/${fd}`, place.directory, place.name, AT_SYMLINK_FOLLOW),
      );
    } finally {
      closeSync(fd);
    }
  }

  #linkTarget(entry: TarEntry, path: string): string {
    if (this.#layer === undefined) return hardLinkTarget(entry, path);
    return this.#followed(layerLinkTarget(entry, path));
  }

  #openTarget(path: string, target: string, linkPath: string): number | undefined {
    try {
      if (this.#layer?.hidden(target) !== true) return this.#root.openFile(target);
      this.#layer.missing(path, linkPath);
      return undefined;
    } catch (error) {
      // A directory on the way is a link.
      if (errorCode(error) === "ELOOP") throw error;
      if (this.#layer !== undefined) {
        this.#layer.missing(path, linkPath);
        return undefined;
      }
      throw missingTarget(path, linkPath);
    }
  }

  #makeSymlink(entry: TarEntry, path: string): void {
    const place = this.#placeOf(path);
    this.#exclusively(place, path, () => symlinkat(nameBytes(entry.linkPath), place.directory, place.name));
    setNodeMetadata(place, entry);
  }

  #makeNode(entry: TarEntry, path: string): void {
    const place = this.#placeOf(path);
    const [kind, device] = nodeKind(entry);
    // overlayfs takes a character device 0:0 in a lower layer for "this file is deleted".
    if (entry.type === "character" && device === 0n)
      throw tarError(`/${shownPath(path)} is a character device 0:0, an overlay's whiteout`);
    this.#exclusively(place, path, () => mknodat(place.directory, place.name, kind | (entry.mode & 0o7777), device));
    setNodeMetadata(place, entry);
  }
}

function nodeKind({ type, major, minor }: TarEntry): [kind: number, device: bigint] {
  if (type === "fifo") return [S_IFIFO, 0n];
  return [type === "character" ? S_IFCHR : S_IFBLK, makedev(major, minor)];
}

/** Whether the error says that there is nothing, or something else than a directory, on the way to a path. */
const isNoDirectory = (error: unknown): boolean => ["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "");

/** The target's path below the root. An archive calls it as it calls its entries, below "rootfs". */
function hardLinkTarget(entry: TarEntry, path: string): string {
  const parts = entry.linkPath.split("/").filter((part) => part !== "" && part !== ".");
  const inside = parts[0] === "rootfs" && parts.length > 1 && !parts.includes("..");
  if (!inside || entry.linkPath.startsWith("/") || entry.linkPath.includes("\0"))
    throw tarError(
      `/${shownPath(path)} is a hard link to ${JSON.stringify(shownPath(entry.linkPath))}, which is outside of the image's rootfs`,
    );
  return parts.slice(1).join("/");
}

/** Below the root, from which a layer calls it, with a slash or a dot before it or not. */
function layerLinkTarget({ linkPath }: TarEntry, path: string): string {
  const parts = linkPath.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0 || parts.includes("..") || linkPath.includes("\0"))
    throw tarError(
      `/${shownPath(path)} is a hard link to ${JSON.stringify(shownPath(linkPath))}, which is outside of the image`,
    );
  return parts.join("/");
}

export const missingTarget = (path: string, linkPath: string): RktError =>
  tarError(`/${shownPath(path)} is a hard link to ${JSON.stringify(shownPath(linkPath))}, which is not there`);

function writeError(path: string, error: unknown): Error {
  if (error instanceof RktError) return error;
  return new RktError("extract-failed", `cannot write /${shownPath(path)}: ${errorText(error)}`, { cause: error });
}
