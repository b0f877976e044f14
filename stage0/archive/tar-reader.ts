/**
 * A strict, streaming reader of tar archives: ustar, GNU (long names, base-256
 * numbers, sparse files) and pax (ADR 2). Owns the syntax only: what an entry
 * may do to the file system is the extractor's.
 *
 * Trusts nothing. Every number is bounded, every name a sequence of bytes
 * without NUL; what it does not know it refuses, since skipping would make two
 * readers see two different images. Names are kept as latin1 strings: one
 * character a byte, so that any file name survives.
 *
 * Sources: POSIX.1-2017 pax "ustar Interchange Format" and "pax Extended
 * Header", GNU tar manual "Basic Tar Format" and "Storing Sparse Files".
 */

import { RktError } from "../../shared/errors.ts";

export type EntryType = "file" | "link" | "symlink" | "character" | "block" | "directory" | "fifo";

/** A run of data of a sparse file; between runs are holes. */
export interface Segment {
  offset: number;
  size: number;
}

export interface TarEntry {
  type: EntryType;
  /** Bytes as latin1, relative, without "." components or a slash at the end; never empty. */
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

/** Takes the data of one entry. */
export interface EntrySink {
  data(chunk: Buffer): void;
  end(): void;
}

export interface TarLimits {
  /** Entries of an archive. */
  entries: number;
  /** Bytes of one file, holes included. */
  fileSize: number;
  /** Components of a path. */
  depth: number;
}

export const TAR_LIMITS: TarLimits = { entries: 4_000_000, fileSize: 1024 ** 4, depth: 512 };

const BLOCK = 512;
/** Linux refuses longer paths (PATH_MAX); a header may not make us hold more. */
const MAX_PATH = 4096;
/** Of an extended header: attributes are at most 64 KiB each (xattr(7)). */
const MAX_META = 1024 * 1024;
const MAX_ID = 0xffff_fffe;
const MAX_SEGMENTS = 1_000_000;
/** Global records hold for each entry that follows, so each pays for them: a real archive has a handful. */
const MAX_GLOBALS = 64;
const MAX_GLOBAL_BYTES = 64 * 1024;

export function tarError(message: string, hint?: string): RktError {
  return new RktError("bad-archive", message, { hint });
}

/** The way out where bytes are missing or wrong. */
export const GET_AGAIN = "the file is incomplete or was changed on its way: get it again";

const notTar = (): RktError => tarError("it is not a tar archive", "an image is a tar archive, compressed or not");

/** A name for a message: its bytes as UTF-8 where they are. */
export const shownPath = (path: string): string => Buffer.from(path, "latin1").toString("utf8");

type State =
  | { kind: "header" }
  | { kind: "meta"; type: string; parts: Buffer[]; left: number; pad: number }
  | { kind: "sparse-header"; entry: PendingEntry }
  | { kind: "sparse-map"; entry: PendingEntry; map: SparseMap }
  | { kind: "data"; sink: EntrySink | undefined; left: number; pad: number }
  | { kind: "pad"; left: number }
  | { kind: "end" };

interface PendingEntry {
  entry: TarEntry;
  /** Bytes of data in the archive. */
  stored: number;
  segments: Segment[];
}

/** A map that is being read, number by number: their count, then offset and size of each piece. */
interface SparseMap {
  /** Bytes of the archive read so far. */
  used: number;
  /** Digits of a number that goes on in the next block. */
  digits: string;
  /** Pieces it has; undefined while its first number is not known. */
  count: number | undefined;
  /** Of the piece whose size comes next. */
  offset: number | undefined;
}

export class TarReader {
  readonly #onEntry: (entry: TarEntry) => EntrySink | undefined;
  readonly #limits: TarLimits;
  #state: State = { kind: "header" };
  #rest: Buffer = Buffer.alloc(0);
  readonly #global = new Map<string, Buffer>();
  #globalXattrs = NO_XATTRS;
  #local = new Map<string, Buffer>();
  #longName: string | undefined;
  #longLink: string | undefined;
  #entries = 0;
  #zeroBlocks = 0;

  constructor(onEntry: (entry: TarEntry) => EntrySink | undefined, limits: TarLimits = TAR_LIMITS) {
    this.#onEntry = onEntry;
    this.#limits = limits;
  }

  /** Takes the next bytes; calls back synchronously. The chunk may be reused afterwards. */
  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const state = this.#state;
      if (state.kind === "end") return;
      if (state.kind === "data") at += this.#data(state, chunk, at);
      else if (state.kind === "pad") at += this.#skip(state, chunk, at);
      else if (state.kind === "meta") at += this.#meta(state, chunk, at);
      else at += this.#block(chunk, at);
    }
  }

  /** The archive is complete: throws when it is cut short. */
  end(): void {
    if (
      this.#state.kind !== "end" &&
      !(this.#state.kind === "header" && this.#zeroBlocks > 0 && this.#rest.length === 0)
    )
      throw this.#entries === 0 ? notTar() : tarError("the archive is cut short", GET_AGAIN);
  }

  /** Collects whole blocks, however the chunks fall. */
  #block(chunk: Buffer, at: number): number {
    if (this.#rest.length === 0 && chunk.length - at >= BLOCK) {
      this.#takeBlock(chunk.subarray(at, at + BLOCK));
      return BLOCK;
    }
    const taken = chunk.subarray(at, at + BLOCK - this.#rest.length);
    this.#rest = Buffer.concat([this.#rest, taken]);
    if (this.#rest.length === BLOCK) {
      const block = this.#rest;
      this.#rest = Buffer.alloc(0);
      this.#takeBlock(block);
    }
    return taken.length;
  }

  #takeBlock(block: Buffer): void {
    const state = this.#state;
    if (state.kind === "sparse-header") this.#sparseHeader(state.entry, block);
    else if (state.kind === "sparse-map") this.#sparseMap(state, block);
    else this.#header(block);
  }

  #data(state: Extract<State, { kind: "data" }>, chunk: Buffer, at: number): number {
    const n = Math.min(state.left, chunk.length - at);
    if (n > 0) state.sink?.data(chunk.subarray(at, at + n));
    state.left -= n;
    if (state.left === 0) this.#endData(state);
    return n;
  }

  #endData(state: Extract<State, { kind: "data" }>): void {
    this.#state = state.pad > 0 ? { kind: "pad", left: state.pad } : { kind: "header" };
    state.sink?.end();
  }

  #skip(state: Extract<State, { kind: "pad" }>, chunk: Buffer, at: number): number {
    const n = Math.min(state.left, chunk.length - at);
    state.left -= n;
    if (state.left === 0) this.#state = { kind: "header" };
    return n;
  }

  #meta(state: Extract<State, { kind: "meta" }>, chunk: Buffer, at: number): number {
    const n = Math.min(state.left, chunk.length - at);
    state.parts.push(Buffer.from(chunk.subarray(at, at + n)));
    state.left -= n;
    if (state.left === 0) {
      this.#state = state.pad > 0 ? { kind: "pad", left: state.pad } : { kind: "header" };
      this.#takeMeta(state.type, Buffer.concat(state.parts));
    }
    return n;
  }

  #takeMeta(type: string, body: Buffer): void {
    if (type === "L") this.#longName = cText(body);
    else if (type === "K") this.#longLink = cText(body);
    else if (type === "g") this.#takeGlobals(paxRecords(body));
    else this.#local = paxRecords(body);
  }

  #takeGlobals(records: ReadonlyMap<string, Buffer>): void {
    for (const [key, value] of records) {
      this.#global.set(key, value);
      if (this.#global.size > MAX_GLOBALS) throw tarError(`it has more than ${MAX_GLOBALS} global records`);
    }
    let size = 0;
    for (const [key, value] of this.#global) size += key.length + value.length;
    if (size > MAX_GLOBAL_BYTES) throw tarError(`its global records have more than ${MAX_GLOBAL_BYTES} bytes`);
    this.#globalXattrs = xattrsOf(this.#global);
  }

  #header(block: Buffer): void {
    if (isZero(block)) {
      this.#zeroBlocks++;
      if (this.#zeroBlocks === 2) this.#state = { kind: "end" };
      return;
    }
    if (this.#zeroBlocks > 0) throw tarError("the archive goes on after its end marker");
    checkSum(block, this.#entries);
    const type = String.fromCharCode(block[156] ?? 0);
    const size = number(block, 124, 12, "size");
    if (type === "x" || type === "X" || type === "g" || type === "L" || type === "K") {
      if (size === 0 || size > MAX_META)
        throw tarError(`an extended header is ${size} bytes long, not 1 to ${MAX_META}`);
      this.#state = { kind: "meta", type, parts: [], left: size, pad: padding(size) };
      return;
    }
    this.#entry(block, type, size);
  }

  #entry(block: Buffer, type: string, headerSize: number): void {
    if (++this.#entries > this.#limits.entries) throw tarError(`it has more than ${this.#limits.entries} entries`);
    const pax = new Pax(this.#local, this.#global, this.#globalXattrs);
    const stored = pax.number("size") ?? headerSize;
    const rawName = pax.text("GNU.sparse.name") ?? pax.text("path") ?? this.#longName ?? headerName(block);
    const path = cleanPath(rawName, this.#limits.depth);
    const kind = entryType(type, rawName, path);
    const linkPath = pax.text("linkpath") ?? this.#longLink ?? field(block, 157, 100);
    this.#local = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    if (linkPath.length > MAX_PATH)
      throw tarError(`${shownPath(path)}: its link target is longer than ${MAX_PATH} bytes`);
    if ((kind === "link" || kind === "symlink") && linkPath === "")
      throw tarError(`${shownPath(path)}: it is a link to nothing`);
    const hasData = kind === "file";
    if (!hasData && kind !== "link" && kind !== "directory" && stored !== 0)
      throw tarError(`${shownPath(path)}: a ${kind} has no data, but its size is ${stored}`);
    const entry: TarEntry = {
      type: kind,
      path,
      linkPath,
      mode: number(block, 100, 8, "mode") & 0o7777,
      uid: id(pax.number("uid") ?? number(block, 108, 8, "uid"), path),
      gid: id(pax.number("gid") ?? number(block, 116, 8, "gid"), path),
      size: hasData ? stored : 0,
      mtime: pax.time("mtime") ?? BigInt(signed(block, 136, 12)) * 1_000_000_000n,
      major: kind === "character" || kind === "block" ? number(block, 329, 8, "major") : 0,
      minor: kind === "character" || kind === "block" ? number(block, 337, 8, "minor") : 0,
      xattrs: pax.xattrs(),
      segments: undefined,
    };
    const pending: PendingEntry = { entry, stored: hasData ? stored : 0, segments: [] };
    if (type === "S") this.#oldSparse(pending, block);
    else if (hasData && pax.has("GNU.sparse.major")) this.#paxSparse1(pending, pax);
    else if (hasData && (pax.has("GNU.sparse.map") || pax.has("GNU.sparse.numblocks"))) this.#paxSparse0(pending, pax);
    else this.#start(pending);
  }

  /** Hands the entry over and waits for its data. */
  #start({ entry, stored, segments }: PendingEntry): void {
    if (entry.size > this.#limits.fileSize)
      throw tarError(`${shownPath(entry.path)}: it is ${entry.size} bytes, more than ${this.#limits.fileSize}`);
    const sparse = segments.length > 0 || entry.size !== stored;
    if (sparse && entry.type === "file") checkSegments(segments, entry, stored);
    const sink = this.#onEntry(sparse && entry.type === "file" ? { ...entry, segments } : entry);
    const state: State = { kind: "data", sink, left: stored, pad: padding(stored) };
    this.#state = state;
    if (stored === 0) this.#endData(state);
  }

  /** GNU tar's own format: a map in the header, continued in further blocks. */
  #oldSparse(pending: PendingEntry, block: Buffer): void {
    pending.entry.size = number(block, 483, 12, "sparse size");
    readMap(block, 386, 4, pending);
    if (block[482] === 0) this.#start(pending);
    else this.#state = { kind: "sparse-header", entry: pending };
  }

  #sparseHeader(pending: PendingEntry, block: Buffer): void {
    readMap(block, 0, 21, pending);
    if (block[504] === 0) this.#start(pending);
  }

  /** pax, GNU.sparse versions 0.0 and 0.1: the map is in the extended header. */
  #paxSparse0(pending: PendingEntry, pax: Pax): void {
    pending.entry.size = pax.number("GNU.sparse.size") ?? pending.stored;
    const map = pax.text("GNU.sparse.map");
    const numbers = map === undefined ? [] : map.split(",").map((text) => decimal(text, "GNU.sparse.map"));
    if (map === undefined)
      throw tarError(
        `${shownPath(pending.entry.path)}: sparse format 0.0 is not supported`,
        "write it with a newer tar",
      );
    for (let i = 0; i + 1 < numbers.length; i += 2) addSegment(pending, numbers[i] ?? 0, numbers[i + 1] ?? 0);
    this.#start(pending);
  }

  /** pax, GNU.sparse version 1.0: the map stands before the data, as decimal lines padded to a block. */
  #paxSparse1(pending: PendingEntry, pax: Pax): void {
    const path = shownPath(pending.entry.path);
    if (pax.text("GNU.sparse.major") !== "1" || pax.text("GNU.sparse.minor") !== "0")
      throw tarError(`${path}: unknown sparse format`);
    pending.entry.size = pax.number("GNU.sparse.realsize") ?? pending.stored;
    if (pending.stored < BLOCK) throw tarError(`${path}: its sparse map is missing`);
    const map = { used: 0, digits: "", count: undefined, offset: undefined };
    this.#state = { kind: "sparse-map", entry: pending, map };
  }

  #sparseMap({ entry: pending, map }: Extract<State, { kind: "sparse-map" }>, block: Buffer): void {
    map.used += BLOCK;
    const whole = readSparseMap(map, block, pending);
    if (map.used > pending.stored || (!whole && map.used === pending.stored))
      throw tarError(`${shownPath(pending.entry.path)}: its sparse map is cut short`);
    if (!whole) return;
    pending.stored -= map.used;
    this.#start(pending);
  }
}

/** Takes a block of the map; true when it was the last. */
function readSparseMap(map: SparseMap, block: Buffer, pending: PendingEntry): boolean {
  for (let at = 0; at < BLOCK; ) {
    const newline = block.indexOf(0x0a, at);
    map.digits += block.toString("latin1", at, newline < 0 ? BLOCK : newline);
    if (newline < 0) {
      // Too long or no digits: judged now, or it would grow for ever.
      if (map.digits !== "") decimal(map.digits, "sparse map");
      return false;
    }
    const value = decimal(map.digits, "sparse map");
    map.digits = "";
    at = newline + 1;
    if (map.count === undefined) {
      map.count = value;
      if (value > MAX_SEGMENTS) throw tarError(`${shownPath(pending.entry.path)}: its sparse map is too long`);
    } else if (map.offset === undefined) map.offset = value;
    else {
      addSegment(pending, map.offset, value);
      map.offset = undefined;
    }
    if (pending.segments.length === map.count) return true;
  }
  return false;
}

function entryType(type: string, rawName: string, path: string): EntryType {
  switch (type) {
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
      throw tarError(`${shownPath(path)}: entries of type ${JSON.stringify(type)} are not supported`);
  }
}

/** Drops "." and empty components; refuses what leaves the root or hides a byte. */
function cleanPath(name: string, maxDepth: number): string {
  const shown = () => JSON.stringify(shownPath(name.slice(0, 200)));
  if (name.length > MAX_PATH) throw tarError(`a name is ${name.length} bytes long: ${shown()}…`);
  if (name.includes("\0")) throw tarError(`the name ${shown()} contains NUL`);
  if (name.startsWith("/")) throw tarError(`the name ${shown()} is absolute`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw tarError(`the name ${shown()} has a component ".."`);
  if (parts.length > maxDepth) throw tarError(`the name ${shown()} has more than ${maxDepth} components`);
  for (const part of parts)
    if (part.length > 255) throw tarError(`the name ${shown()} has a component of ${part.length} bytes`);
  return parts.join("/");
}

function checkSegments(segments: readonly Segment[], entry: TarEntry, stored: number): void {
  let end = 0;
  let sum = 0;
  for (const { offset, size } of segments) {
    if (offset < end || offset + size > entry.size)
      throw tarError(`${shownPath(entry.path)}: its sparse map is out of order or bounds`);
    end = offset + size;
    sum += size;
  }
  if (sum !== stored)
    throw tarError(`${shownPath(entry.path)}: its sparse map says ${sum} bytes, its data are ${stored}`);
}

function addSegment(pending: PendingEntry, offset: number, size: number): void {
  if (pending.segments.length >= MAX_SEGMENTS)
    throw tarError(`${shownPath(pending.entry.path)}: its sparse map is too long`);
  pending.segments.push({ offset, size });
}

function readMap(block: Buffer, at: number, count: number, pending: PendingEntry): void {
  for (let i = 0; i < count; i++) {
    const start = at + i * 24;
    if (block[start] === 0) return;
    addSegment(pending, number(block, start, 12, "sparse offset"), number(block, start + 12, 12, "sparse length"));
  }
}

// --- fields --------------------------------------------------------------------------

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

function isZero(block: Buffer): boolean {
  for (let i = 0; i < BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** Text up to the first NUL. */
function cText(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("latin1", 0, end < 0 ? bytes.length : end);
}

const field = (block: Buffer, at: number, length: number): string => cText(block.subarray(at, at + length));

/** The name, with POSIX's prefix: GNU tar, whose magic ends in spaces, keeps other things there. */
function headerName(block: Buffer): string {
  const name = field(block, 0, 100);
  const posix = block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = posix ? field(block, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Octal, or base-256 where the first bit is set (GNU). Negative when the second is too. */
function signed(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) === 0) {
    const text = block
      .toString("latin1", at, at + length)
      .replace(/[\0 ]+$/, "")
      .trimStart();
    if (text === "") return 0;
    if (!/^[0-7]+$/.test(text)) throw tarError(`a header has the number ${JSON.stringify(text)}`);
    return safe(Number.parseInt(text, 8));
  }
  let value = BigInt(first & 0x7f);
  if ((first & 0x40) !== 0) value -= 128n;
  for (let i = 1; i < length; i++) value = value * 256n + BigInt(block[at + i] ?? 0);
  return safe(Number(value));
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw tarError("a header has a number beyond 2^53");
  return value;
}

function number(block: Buffer, at: number, length: number, what: string): number {
  const value = signed(block, at, length);
  if (value < 0) throw tarError(`a header has a negative ${what}`);
  return value;
}

function id(value: number, path: string): number {
  if (value > MAX_ID) throw tarError(`${shownPath(path)}: its owner ${value} is no user or group ID`);
  return value;
}

function decimal(text: string, what: string): number {
  if (!/^\d{1,16}$/.test(text)) throw tarError(`${what}: ${JSON.stringify(text.slice(0, 40))} is no number`);
  return safe(Number(text));
}

function checkSum(block: Buffer, entries: number): void {
  let unsignedSum = 8 * 32;
  let signedSum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) {
    if (i >= 148 && i < 156) continue;
    const byte = block[i] ?? 0;
    unsignedSum += byte;
    signedSum += byte > 127 ? byte - 256 : byte;
  }
  const text = block
    .toString("latin1", 148, 156)
    .replace(/[\0 ]+$/, "")
    .trim();
  const sum = /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : -1;
  if (sum !== unsignedSum && sum !== signedSum)
    throw entries === 0 ? notTar() : tarError("the archive is damaged: the checksum of a header is wrong", GET_AGAIN);
}

// --- pax ------------------------------------------------------------------------------

/** Records of an extended header: "LENGTH KEY=VALUE\n", values of any bytes. */
function paxRecords(body: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  let at = 0;
  while (at < body.length) {
    if (body[at] === 0) break;
    const space = body.indexOf(0x20, at);
    const length =
      space < 0 || space - at > 8 ? Number.NaN : decimal(body.toString("latin1", at, space), "an extended header");
    const end = at + length;
    const equals = body.indexOf(0x3d, space);
    if (!(end <= body.length) || equals < 0 || equals >= end || body[end - 1] !== 0x0a)
      throw tarError("an extended header is damaged");
    const key = body.toString("utf8", space + 1, equals);
    if (records.has(key)) throw tarError(`an extended header has ${JSON.stringify(key.slice(0, 80))} twice`);
    records.set(key, Buffer.from(body.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

const XATTR = "SCHILY.xattr.";

/** The extended headers that hold for one entry. */
class Pax {
  readonly #local: ReadonlyMap<string, Buffer>;
  readonly #global: ReadonlyMap<string, Buffer>;
  readonly #globalXattrs: ReadonlyMap<string, Buffer>;

  constructor(
    local: ReadonlyMap<string, Buffer>,
    global: ReadonlyMap<string, Buffer>,
    globalXattrs: ReadonlyMap<string, Buffer>,
  ) {
    this.#local = local;
    this.#global = global;
    this.#globalXattrs = globalXattrs;
  }

  has(key: string): boolean {
    return this.text(key) !== undefined;
  }

  /** An empty value takes a global one back. */
  text(key: string): string | undefined {
    const value = this.#local.get(key) ?? this.#global.get(key);
    return value === undefined || value.length === 0 ? undefined : value.toString("latin1");
  }

  number(key: string): number | undefined {
    const text = this.text(key);
    return text === undefined ? undefined : decimal(text, key);
  }

  /** Decimal seconds with a fraction, to nanoseconds. */
  time(key: string): bigint | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text);
    if (match === null) throw tarError(`${key}: ${JSON.stringify(text.slice(0, 40))} is no time`);
    const value = BigInt(match[2] ?? "0") * 1_000_000_000n + BigInt((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
    return match[1] === "-" ? -value : value;
  }

  xattrs(): ReadonlyMap<string, Buffer> {
    const own = xattrsOf(this.#local);
    if (own.size === 0) return this.#globalXattrs;
    return this.#globalXattrs.size === 0 ? own : new Map([...this.#globalXattrs, ...own]);
  }
}

function xattrsOf(records: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> {
  if (records.size === 0) return NO_XATTRS;
  const found = new Map<string, Buffer>();
  for (const [key, value] of records) if (key.startsWith(XATTR)) found.set(key.slice(XATTR.length), value);
  return found;
}

const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();
