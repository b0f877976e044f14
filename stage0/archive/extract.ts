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
import { BelowRoot, kindAt, nameBytes, type Place, procPath, splitPath } from "./below-root.ts";
import { shownPath } from "./entry-path.ts";
import { sequentialWriter, sparseWriter } from "./file-data.ts";
import { LateDirectories } from "./late-directories.ts";
import { checkXattrs, setDirectoryMetadata, setFileMetadata, setNodeMetadata, setTimes } from "./metadata.ts";
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

/** Owns the descriptors of the directory that it writes into, until `close`. */
export class Extractor {
  readonly #root: BelowRoot;
  readonly #links: { below: boolean } | undefined;
  readonly #directories = new LateDirectories();
  /** Paths of the image that is being extracted. */
  #seen = new PathSet();

  /** `links.below` becomes true when there is a hard link to a file that its own image has not brought. */
  constructor(root: string, links?: { below: boolean }) {
    this.#root = new BelowRoot(root);
    this.#links = links;
  }

  /** Takes an entry; `path` is relative to the root, "" the root itself. */
  entry(entry: TarEntry, path: string): EntrySink | undefined {
    try {
      checkXattrs(path, entry.xattrs);
      if (entry.type !== "directory" && this.#seen.has(path))
        throw tarError(`/${shownPath(path)} is in the archive twice`);
      const sink = this.#make(entry, path);
      this.#seen.add(path);
      return sink;
    } catch (error) {
      throw writeError(path, error);
    }
  }

  /** Begins another image over the same root: its entries replace what is there. */
  nextImage(): void {
    this.#seen = new PathSet();
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
        this.#makeHardLink(path, hardLinkTarget(entry, path), entry.linkPath);
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
    return { directory: this.#enter(parent), name: nameBytes(name) };
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
      made = made === "" ? part : `${made}/${part}`;
      const place = { directory, name: nameBytes(part) };
      try {
        const kind = kindAt(place);
        if (kind === "directory") continue;
        if (kind !== undefined) this.#remove(place, made);
        mkdirat(directory, place.name, 0o755);
        this.#directories.note(made, UNNAMED_DIRECTORY);
      } finally {
        this.#root.closeDirectory(directory);
      }
    }
  }

  /** Removes what an earlier image put here. What this one did is a duplicate. */
  #remove({ directory, name }: Place, path: string): void {
    if (this.#seen.has(path)) throw tarError(`/${shownPath(path)} is in the archive twice, as different things`);
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
    try {
      const place = this.#placeOf(path);
      this.#exclusively(place, path, () =>
        linkat(AT_FDCWD, `/proc/self/fd/${fd}`, place.directory, place.name, AT_SYMLINK_FOLLOW),
      );
    } finally {
      closeSync(fd);
    }
  }

  #openTarget(path: string, target: string, linkPath: string): number {
    try {
      return this.#root.openFile(target);
    } catch (error) {
      // A directory on the way is a link.
      if (errorCode(error) === "ELOOP") throw error;
      throw tarError(
        `/${shownPath(path)} is a hard link to ${JSON.stringify(shownPath(linkPath))}, which is not there`,
      );
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

function writeError(path: string, error: unknown): Error {
  if (error instanceof RktError) return error;
  return new RktError("extract-failed", `cannot write /${shownPath(path)}: ${errorText(error)}`, { cause: error });
}
