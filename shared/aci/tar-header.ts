/**
 * Makes the headers of a tar archive with node-tar: a ustar header, and before it a pax extended header (POSIX.1-2017,
 * pax) for values that do not fit. Pure: the same fields give the same bytes on every machine and for every user.
 *
 * node-tar supports no extended attributes, and treats every value as text. Values of attributes can have any bytes, so
 * their records are made here (ADR 2).
 */

import { posix } from "node:path";
import { Header } from "tar/header";
import { Pax } from "tar/pax";

export const BLOCK = 512;

export interface HeaderFields {
  /** With a trailing slash for a directory. */
  path: string;
  type: "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";
  mode: number;
  uid: number;
  gid: number;
  size: number;
  /** Seconds since the epoch. */
  mtime: number;
  linkpath?: string;
  major?: number;
  minor?: number;
  xattrs?: ReadonlyMap<string, Buffer> | undefined;
}

/** node-tar's names of the types. */
const TYPES = {
  file: "File",
  directory: "Directory",
  symlink: "SymbolicLink",
  hardlink: "Link",
  character: "CharacterDevice",
  block: "BlockDevice",
  fifo: "FIFO",
} as const;

/** The header blocks of one member: the pax header with its records if any is needed, then the ustar header. */
export function header(fields: HeaderFields): Buffer {
  const { path, linkpath = "", mode, uid, gid, size } = fields;
  const mtime = new Date(fields.mtime * 1000);
  const main = Buffer.alloc(BLOCK);
  const needsPax = new Header({
    ...{ path, linkpath, mode, uid, gid, size, mtime },
    type: TYPES[fields.type],
    devmaj: fields.major ?? 0,
    devmin: fields.minor ?? 0,
  }).encode(main);
  const records: Buffer[] = [];
  // All values that may not have fitted: node-tar does not say which did not.
  if (needsPax)
    records.push(Buffer.from(new Pax({ path, uid, gid, size, mtime, ...(linkpath && { linkpath }) }).encodeBody()));
  records.push(...xattrRecords(fields.xattrs));
  return records.length === 0 ? main : Buffer.concat([...extendedHeader(path, Buffer.concat(records)), main]);
}

/** The number of zero bytes that follow `size` bytes of content. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/**
 * A pax header: a member whose content is records for the next member. Only readers that don't know pax use its name.
 */
function extendedHeader(path: string, records: Buffer): Buffer[] {
  const block = Buffer.alloc(BLOCK);
  new Header({
    ...{ path: `PaxHeader/${posix.basename(path)}`, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) },
    size: records.length,
    type: "ExtendedHeader",
  }).encode(block);
  return [block, records, Buffer.alloc(padding(records.length))];
}

function xattrRecords(xattrs: ReadonlyMap<string, Buffer> | undefined): Buffer[] {
  const sorted = [...(xattrs ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([name, value]) => record(`SCHILY.xattr.${name}`, value));
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record, itself included. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from("\n")]);
}
