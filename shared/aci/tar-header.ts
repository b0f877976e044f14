/**
 * Headers of a tar archive, made by node-tar: ustar, and before it a pax
 * extended header (POSIX.1-2017, pax) where ustar has no room. Pure: the same
 * fields give the same bytes, whoever the process is and wherever it runs.
 *
 * node-tar knows no extended attributes, and takes every value for text. The
 * records of attributes, which have any bytes, are therefore made here (ADR 2).
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

/** What node-tar calls the types. */
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
  // All that may not have fitted: which of them it was node-tar does not say.
  if (needsPax)
    records.push(Buffer.from(new Pax({ path, uid, gid, size, mtime, ...(linkpath && { linkpath }) }).encodeBody()));
  records.push(...xattrRecords(fields.xattrs));
  return records.length === 0 ? main : Buffer.concat([...extendedHeader(path, Buffer.concat(records)), main]);
}

/** Zero bytes that follow `size` bytes of content. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** A member whose content is records for the next. Its name is for readers that don't know pax, and may be cut. */
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
