/**
 * A description of an image's root file system. Its files come from a directory on disk, from memory, or both.
 *
 * Paths are relative to the root, without a leading or trailing slash; the
 * root itself is "". A tree need not name its parent directories: the writer
 * adds the missing ones.
 */

import { closeSync, fstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { errorCode, RktError } from "../errors.ts";
import { openNamed } from "../named-file.ts";
import { readlinkat, xattrs } from "../syscall/file.ts";
import { fileContent, named, openEntry, type Root } from "./host-file.ts";

/** A regular file's bytes: in memory, or read when the image is written: by `chunks`, else from a file that nobody else can change. */
export type Content = Uint8Array | { path: string; size: number; chunks?(): Iterable<Buffer> };

interface Attributes {
  /** Permission bits with setuid, setgid and sticky; no type bits. */
  mode: number;
  uid: number;
  gid: number;
  xattrs?: ReadonlyMap<string, Buffer>;
  /** Seconds since the epoch; without, all entries of an archive have the same. */
  mtime?: number;
}

export type Entry = Attributes &
  (
    | { type: "file"; content: Content }
    | { type: "directory" }
    | { type: "symlink"; target: string }
    /** Another name of the file at `target`, a path of the same tree. */
    | { type: "hardlink"; target: string }
    | { type: "character" | "block"; major: number; minor: number }
    | { type: "fifo" }
  );

export type Tree = Map<string, Entry>;

/** Adds a file, or replaces the entry at its path. */
export function addFile(tree: Tree, path: string, content: Content | string, mode = 0o644, uid = 0, gid = 0): void {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  tree.set(path, { type: "file", content: bytes, mode, uid, gid });
}

export function addDirectory(tree: Tree, path: string, mode = 0o755, uid = 0, gid = 0): void {
  tree.set(path, { type: "directory", mode, uid, gid });
}

export function addSymlink(tree: Tree, path: string, target: string): void {
  tree.set(path, { type: "symlink", target, mode: 0o777, uid: 0, gid: 0 });
}

/** Attributes that have a meaning only on the host where they were set, or that the kernel sets by itself. */
const HOST_XATTRS = /^(trusted\.|security\.(selinux|ima|evm|SMACK64|apparmor))/;

/** Of a directory in a layer (kernel documentation, overlayfs). */
export const OPAQUE_XATTR = "trusted.overlay.opaque";

const S_IFMT = 0o170000;
const S_IFIFO = 0o010000;

/**
 * Limits of a path below the root. In the archive it follows "rootfs/", and readers accept 512 components and PATH_MAX.
 */
const MAX_DEPTH = 511;
const MAX_PATH = 4096 - "rootfs/".length;

/** What readers accept of an archive, and what paths may take in memory. */
const [MAX_ENTRIES, MAX_NAMES] = [4_000_000, 512 * 1024 ** 2];

function refuseDeep(path: string): void {
  const depth = path === "" ? 0 : path.split("/").length;
  if (depth <= MAX_DEPTH && Buffer.byteLength(path) <= MAX_PATH) return;
  const what = depth > MAX_DEPTH ? `lies more than ${MAX_DEPTH} directories deep` : "has too long a path";
  throw new RktError("too-deep", `/${path.slice(0, 60)}… ${what}, which an image cannot hold`, {
    hint: "remove it, or move it up",
  });
}

export interface ReadOptions {
  owner?: { uid: number; gid: number };
  /** With the files' times. */
  times?: boolean;
  /** With the attribute by which overlayfs marks a directory of a layer that hides what is below. */
  opaque?: boolean;
  /** Programs may write in the directory at the same time: files that vanish, and sockets, are left out. */
  live?: boolean;
  /**
   * For a comparison, and not for an archive: names may be any bytes, and paths have each byte as a character (latin1).
   * Directories may be as deep as they are.
   */
  bytes?: boolean;
  /** The directory of this process's descriptors, for a process whose root has no /proc of the host's. */
  descriptors?: string;
}

/**
 * Describes a directory of the host, or a single file, which is then at "". Sockets, and names that are not UTF-8, are
 * errors: an archive can hold neither. `owner` replaces every file's owner and group. Others may be changing the
 * directory: nothing outside of it is described or, later, read.
 */
export function readTree(root: string, options: ReadOptions = {}): Tree {
  const tree: Tree = new Map();
  const firstNames = new Map<string, string>();
  const { descriptors = "/proc/self/fd" } = options;

  let entries = 0;
  let names = 0;

  const visit = (above: number, path: string, name: string): void => {
    entries++;
    names += path.length;
    if (entries > MAX_ENTRIES || names > MAX_NAMES)
      throw new RktError("too-large", `${root} has more files, or more bytes of names, than an image may have`, {
        hint: `at most ${MAX_ENTRIES} files, and ${MAX_NAMES} bytes in all their paths: remove some`,
      });
    if (options.bytes !== true) refuseDeep(path);
    const host = join(root, path);
    try {
      const fd = openEntry(above, options.bytes === true ? Buffer.from(name, "latin1") : name);
      try {
        describe(fd, path, host);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      // It was removed meanwhile.
      if (options.live !== true || errorCode(error) !== "ENOENT") throw named(error, host);
      tree.delete(path);
    }
  };

  const describe = (fd: number, path: string, host: string): void => {
    const stat = fstatSync(fd, { bigint: true });
    const attributes: Attributes = {
      mode: Number(stat.mode) & 0o7777,
      uid: options.owner?.uid ?? Number(stat.uid),
      gid: options.owner?.gid ?? Number(stat.gid),
    };
    const kept = (name: string) => !HOST_XATTRS.test(name) || (options.opaque === true && name === OPAQUE_XATTR);
    const extended = [...xattrs(`${descriptors}/${fd}`)].filter(([name]) => kept(name));
    if (extended.length > 0) attributes.xattrs = new Map(extended);
    // An archive has no room for a time before the epoch.
    if (options.times === true) attributes.mtime = Math.max(0, Number(stat.mtimeNs / 1_000_000_000n));

    if (stat.isDirectory()) {
      tree.set(path, { ...attributes, type: "directory" });
      for (const name of namesOf(`${descriptors}/${fd}`, host, options.bytes)) visit(fd, path === "" ? name : `${path}/${name}`, name);
      return;
    }
    const inode = `${stat.dev}:${stat.ino}`;
    const first = firstNames.get(inode);
    if (first !== undefined) {
      tree.set(path, { ...attributes, type: "hardlink", target: first });
      return;
    }
    if (stat.nlink > 1n) firstNames.set(inode, path);
    if (stat.isFile()) {
      const size = Number(stat.size);
      const identity = { dev: stat.dev, ino: stat.ino };
      tree.set(path, {
        ...{ ...attributes, type: "file" },
        content: {
          // Made when it is asked for: for millions of files the paths alone would fill the memory.
          get path() {
            return join(root, path);
          },
          size,
          chunks: () => fileContent(top, path, identity, size),
        },
      });
    } else if (stat.isSymbolicLink()) tree.set(path, { ...attributes, type: "symlink", target: readlinkat(fd) });
    else if (stat.isCharacterDevice() || stat.isBlockDevice())
      tree.set(path, {
        ...attributes,
        type: stat.isBlockDevice() ? "block" : "character",
        ...deviceNumbers(stat.rdev),
      });
    else if ((Number(stat.mode) & S_IFMT) === S_IFIFO) tree.set(path, { ...attributes, type: "fifo" });
    else if (options.live !== true)
      throw new RktError("unsupported-file", `${host} is a socket, which an image cannot hold`, {
        hint: "remove it: the program that listens on it makes it again",
      });
  };

  const fd = openNamed(root);
  const top: Root = { path: root, identity: fstatSync(fd, { bigint: true }) };
  try {
    describe(fd, "", root);
  } catch (error) {
    throw named(error, root);
  } finally {
    closeSync(fd);
  }
  return tree;
}

/** `shown` is the directory as a person knows it. */
function namesOf(directory: string, shown: string, asBytes = false): string[] {
  return readdirSync(directory, { encoding: "buffer" })
    .map((bytes) => {
      if (asBytes) return bytes.toString("latin1");
      const name = bytes.toString();
      if (!Buffer.from(name).equals(bytes))
        throw new RktError("unsupported-file", `a name in ${shown} is not UTF-8: ${JSON.stringify(name)}`, {
          hint: "rename it; archives name files in UTF-8",
        });
      return name;
    })
    .sort(byBytes);
}

/** The inverse of makedev(3). */
function deviceNumbers(dev: bigint): { major: number; minor: number } {
  return {
    major: Number(((dev >> 32n) & 0xfffff000n) | ((dev >> 8n) & 0xfffn)),
    minor: Number(((dev >> 12n) & 0xffffff00n) | (dev & 0xffn)),
  };
}

/** Sorts by the UTF-8 bytes, independent of the locale. A directory comes before its files. */
export function byBytes(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Characters beyond U+FFFF are pairs of units below 0xe000, and come after all others in UTF-8. */
const rank = (unit: number): number => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800);

/**
 * The entries in the order of an archive: sorted, with missing parents added (owner root, mode 0755). If a file has
 * several names, the first has its content, and the others are hard links to the first.
 */
export function archiveOrder(tree: Tree): [path: string, entry: Entry][] {
  const complete: Tree = new Map(tree);
  const parent: Entry = { type: "directory", mode: 0o755, uid: 0, gid: 0 };
  for (const path of tree.keys()) {
    checkPath(path);
    for (let at = path; at !== ""; ) {
      at = at.includes("/") ? at.slice(0, at.lastIndexOf("/")) : "";
      const above = complete.get(at);
      if (above === undefined) complete.set(at, parent);
      else if (above.type !== "directory")
        throw new RktError("bad-tree", `${path} lies below ${at}, which is a ${above.type}`);
    }
  }
  if (!complete.has("")) complete.set("", parent);
  if (complete.get("")?.type !== "directory") throw new RktError("bad-tree", "the root is not a directory");

  const paths = [...complete.keys()].sort(byBytes);
  const firstNames = new Map<string, string>();
  return paths.map((path) => {
    const entry = complete.get(path) as Entry;
    const source = linkSource(complete, path);
    const shared = complete.get(source) as Entry;
    const first = firstNames.get(source);
    if (first !== undefined) return [path, { ...shared, type: "hardlink", target: first }];
    firstNames.set(source, path);
    return [path, entry.type === "hardlink" ? shared : entry];
  });
}

/** The path with the content of a hard link. For any other entry, its own path. */
function linkSource(tree: Tree, path: string): string {
  const seen = new Set<string>();
  for (let at = path; ; ) {
    const entry = tree.get(at);
    if (entry?.type !== "hardlink") {
      if (entry === undefined || entry.type === "directory")
        if (at !== path)
          throw new RktError("bad-tree", `hard link ${path} names ${at}, which is ${entry?.type ?? "not there"}`);
      return at;
    }
    if (seen.has(at)) throw new RktError("bad-tree", `hard link ${path} names itself`);
    seen.add(at);
    at = entry.target;
  }
}

function checkPath(path: string): void {
  if (path === "") return;
  const bad = path.split("/").some((part) => part === "" || part === "." || part === "..") || path.includes("\0");
  if (bad) throw new RktError("bad-tree", `not a path below the root: ${JSON.stringify(path)}`);
}
