/**
 * Headers of a tar archive: ustar, with a pax extended header (POSIX.1-2017,
 * pax(1)) where ustar has no room. Pure; the same input gives the same bytes.
 */

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

const TYPE_FLAGS = { file: "0", hardlink: "1", symlink: "2", character: "3", block: "4", directory: "5", fifo: "6" };

const NAME_LENGTH = 100;
const MAX_ID = 0o7777777;
const MAX_SIZE = 0o77777777777;

/** The header blocks of one member: the pax header with its records if any is needed, then the ustar header. */
export function header(fields: HeaderFields): Buffer {
  const records = paxRecords(fields);
  const main = ustar(fields, TYPE_FLAGS[fields.type]);
  if (records.length === 0) return main;
  const body = Buffer.concat(records);
  const extended = ustar(
    { path: `PaxHeaders/${fields.path}`, type: "file", mode: 0o644, uid: 0, gid: 0, size: body.length, mtime: 0 },
    "x",
  );
  return Buffer.concat([extended, padded(body), main]);
}

/** `bytes` filled with zeros to a whole number of blocks. */
export function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(padding(bytes.length))]);
}

/** Zero bytes that follow `size` bytes of content. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function paxRecords(fields: HeaderFields): Buffer[] {
  const records: Buffer[] = [];
  const text = (key: string, value: string | number) => records.push(record(key, Buffer.from(String(value))));
  if (!fitsName(fields.path)) text("path", fields.path);
  if (fields.linkpath !== undefined && !fitsName(fields.linkpath)) text("linkpath", fields.linkpath);
  if (fields.size > MAX_SIZE) text("size", fields.size);
  if (fields.uid > MAX_ID) text("uid", fields.uid);
  if (fields.gid > MAX_ID) text("gid", fields.gid);
  const sorted = [...(fields.xattrs ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, value] of sorted) records.push(record(`SCHILY.xattr.${name}`, value));
  return records;
}

/** ustar says nothing about characters beyond ASCII. */
function fitsName(name: string): boolean {
  return name.length <= NAME_LENGTH && /^[\x01-\x7f]*$/.test(name);
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record, itself included. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.byteLength(key) + value.length + 3;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from("\n")]);
}

function ustar(fields: HeaderFields, typeFlag: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  const name = (text: string, at: number) => Buffer.from(text).copy(block, at, 0, NAME_LENGTH);
  const octal = (value: number, at: number, digits: number) =>
    block.write(value.toString(8).padStart(digits, "0"), at, digits, "latin1");

  name(fields.path, 0);
  octal(fields.mode, 100, 7);
  octal(fields.uid > MAX_ID ? 0 : fields.uid, 108, 7);
  octal(fields.gid > MAX_ID ? 0 : fields.gid, 116, 7);
  octal(fields.size > MAX_SIZE ? 0 : fields.size, 124, 11);
  octal(fields.mtime, 136, 11);
  block.write(typeFlag, 156, 1, "latin1");
  name(fields.linkpath ?? "", 157);
  block.write("ustar\0" + "00", 257, 8, "latin1");
  octal(fields.major ?? 0, 329, 7);
  octal(fields.minor ?? 0, 337, 7);

  // The checksum is the sum of all bytes with its own field taken as spaces.
  block.fill(" ", 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  block[154] = 0;
  return block;
}
