/** What an archive says of one file: its header, and the extended headers before it, read together and checked. */

import { entryPath, MAX_PATH, shownPath } from "./entry-path.ts";
import type { Extension } from "./extended-headers.ts";
import { tarError } from "./tar-error.ts";
import type { TarHeader } from "./tar-header.ts";

export type EntryType = "file" | "link" | "symlink" | "character" | "block" | "directory" | "fifo";

/** A run of data of a sparse file; between runs are holes. */
export interface Segment {
  offset: number;
  size: number;
}

export interface TarEntry {
  type: EntryType;
  /** Bytes as latin1, relative, without "." components or a slash at the end; "" is the archive's root. */
  path: string;
  /** Of links: bytes as latin1, as they stand. */
  linkPath: string;
  /** Permission bits with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of the file, holes included. */
  size: number;
  /** Nanoseconds since the epoch. */
  mtime: bigint;
  major: number;
  minor: number;
  xattrs: ReadonlyMap<string, Buffer>;
  /** Present for sparse files: where the data that follows goes. */
  segments: readonly Segment[] | undefined;
}

/** The greatest user and group ID; the one above it means "leave it as it is" (chown(2)). */
const MAX_ID = 0xffff_fffe;

/**
 * The entry that a header describes, and how many bytes of data follow it in
 * the archive. What an extended header says comes before what the header says.
 */
export function describeEntry(
  header: TarHeader,
  { pax, longName, longLink }: Extension,
  { depth, namesFromRoot }: { depth: number; namesFromRoot?: boolean },
): { entry: TarEntry; stored: number } {
  // Read in any case: a wrong number is an error also where a pax record takes its place.
  const headerSize = header.size;
  const stored = pax.number("size") ?? headerSize;
  const rawName = pax.text("GNU.sparse.name") ?? pax.text("path") ?? longName ?? header.name;
  const path = entryPath(rawName, depth, namesFromRoot);
  const type = entryType(header.typeFlag, rawName, path);
  const linkPath = pax.text("linkpath") ?? longLink ?? header.linkName;
  checkLinkPath(type, path, linkPath);
  if (!mayHaveSize(type) && stored !== 0)
    throw tarError(`${shownPath(path)}: a ${type} has no data, but its size is ${stored}`);
  const isDevice = type === "character" || type === "block";
  const size = type === "file" ? stored : 0;
  const entry: TarEntry = {
    type,
    path,
    linkPath,
    mode: header.mode & 0o7777,
    uid: checkedId(pax.number("uid") ?? header.uid, path),
    gid: checkedId(pax.number("gid") ?? header.gid, path),
    size,
    mtime: pax.time("mtime") ?? BigInt(header.mtime) * 1_000_000_000n,
    major: isDevice ? header.major : 0,
    minor: isDevice ? header.minor : 0,
    xattrs: pax.xattrs(),
    segments: undefined,
  };
  return { entry, stored: size };
}

function entryType(typeFlag: string, rawName: string, path: string): EntryType {
  switch (typeFlag) {
    case "0":
    case "\0":
    case "7":
      // Before POSIX a directory was a file whose name ends in a slash.
      return rawName.endsWith("/") ? "directory" : "file";
    case "S":
      return "file";
    case "1":
      return "link";
    case "2":
      return "symlink";
    case "3":
      return "character";
    case "4":
      return "block";
    case "5":
      return "directory";
    case "6":
      return "fifo";
    default:
      throw tarError(`${shownPath(path)}: entries of type ${JSON.stringify(typeFlag)} are not supported`);
  }
}

function checkLinkPath(type: EntryType, path: string, linkPath: string): void {
  if (linkPath.length > MAX_PATH)
    throw tarError(`${shownPath(path)}: its link target is longer than ${MAX_PATH} bytes`);
  if ((type === "link" || type === "symlink") && linkPath === "")
    throw tarError(`${shownPath(path)}: it is a link to nothing`);
}

/** A hard link's size is that of its file, and a directory's was once what it might hold: no data follow either. */
const mayHaveSize = (type: EntryType): boolean => type === "file" || type === "link" || type === "directory";

function checkedId(value: number, path: string): number {
  if (value > MAX_ID) throw tarError(`${shownPath(path)}: its owner ${value} is no user or group ID`);
  return value;
}
