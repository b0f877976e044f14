/**
 * A strict, streaming reader of tar archives: ustar, GNU (long names, base-256
 * numbers, sparse files) and pax (ADR 2). It owns the syntax only: what an
 * entry may do to the file system is the extractor's.
 *
 * Trusts nothing. Every number is bounded and every name checked. What the
 * reader does not know is an error: if it skipped it, two readers would see two
 * different images.
 *
 * This file has the states. What the bytes of each state mean is in
 * `tar-header.ts`, `extended-headers.ts`, `tar-entry.ts` and `gnu-sparse.ts`.
 */

import { shownPath } from "./entry-path.ts";
import { checkExtendedSize, type Extension, ExtendedHeaders, isExtendedHeader } from "./extended-headers.ts";
import { SparseMap, SparseMapText } from "./gnu-sparse.ts";
import { describeEntry, type TarEntry } from "./tar-entry.ts";
import { GET_AGAIN, notTar, tarError } from "./tar-error.ts";
import { BLOCK, checksumIsRight, isZero, padding, TarHeader } from "./tar-header.ts";

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
  /** An absolute name is one from the archive's root; otherwise it is an error. */
  namesFromRoot?: boolean;
  /** Nothing need mark the archive's end, because somebody knows how long it is. */
  endsAnywhere?: boolean;
}

export const TAR_LIMITS: TarLimits = { entries: 4_000_000, fileSize: 1024 ** 4, depth: 512 };

/** A file whose data are still to come. */
interface PendingEntry {
  entry: TarEntry;
  /** Bytes of data in the archive. */
  stored: number;
  /** Of sparse files. */
  map: SparseMap | undefined;
}

type State =
  /** A header comes, or the end. */
  | { kind: "header" }
  | { kind: "extended"; typeFlag: string; parts: Buffer[]; left: number; pad: number }
  /** A further block of a map in GNU's own format. */
  | { kind: "sparse-further"; pending: PendingEntry; map: SparseMap }
  | { kind: "sparse-text"; pending: PendingEntry; text: SparseMapText }
  | { kind: "data"; sink: EntrySink | undefined; left: number; pad: number }
  | { kind: "pad"; left: number }
  | { kind: "end" };

type StateOf<K extends State["kind"]> = Extract<State, { kind: K }>;

export class TarReader {
  readonly #onEntry: (entry: TarEntry) => EntrySink | undefined;
  readonly #limits: TarLimits;
  readonly #extended = new ExtendedHeaders();
  #state: State = { kind: "header" };
  /** The beginning of a block whose end is in the next chunk. */
  #rest: Buffer = Buffer.alloc(0);
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
      if (state.kind === "data") at += this.#takeData(state, chunk, at);
      else if (state.kind === "pad") at += this.#skipPadding(state, chunk, at);
      else if (state.kind === "extended") at += this.#takeExtended(state, chunk, at);
      else at += this.#collectBlock(chunk, at);
    }
  }

  /** The archive is complete: throws when it is cut short. */
  end(): void {
    const marked = this.#zeroBlocks > 0 || this.#limits.endsAnywhere === true;
    if (this.#state.kind !== "end" && !(this.#state.kind === "header" && marked && this.#rest.length === 0))
      throw this.#entries === 0 ? notTar() : tarError("the archive is cut short", GET_AGAIN);
  }

  // --- blocks -----------------------------------------------------------------------

  /** Collects whole blocks, however the chunks fall. Returns how many bytes it took. */
  #collectBlock(chunk: Buffer, at: number): number {
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
    if (state.kind === "sparse-further") this.#takeSparseFurther(state, block);
    else if (state.kind === "sparse-text") this.#takeSparseText(state, block);
    else this.#takeHeader(block);
  }

  #takeHeader(block: Buffer): void {
    if (isZero(block)) {
      this.#zeroBlocks++;
      if (this.#zeroBlocks === 2) this.#state = { kind: "end" };
      return;
    }
    if (this.#zeroBlocks > 0) throw tarError("the archive goes on after its end marker");
    if (!checksumIsRight(block))
      throw this.#entries === 0
        ? notTar()
        : tarError("the archive is damaged: the checksum of a header is wrong", GET_AGAIN);
    const header = new TarHeader(block);
    if (isExtendedHeader(header.typeFlag)) this.#beginExtended(header);
    else this.#takeEntry(header);
  }

  #beginExtended({ typeFlag, size }: TarHeader): void {
    checkExtendedSize(size);
    this.#state = { kind: "extended", typeFlag, parts: [], left: size, pad: padding(size) };
  }

  // --- entries ----------------------------------------------------------------------

  #takeEntry(header: TarHeader): void {
    if (++this.#entries > this.#limits.entries) throw tarError(`it has more than ${this.#limits.entries} entries`);
    const extension = this.#extended.forEntry();
    const pending: PendingEntry = { ...describeEntry(header, extension, this.#limits), map: undefined };
    if (header.typeFlag === "S") this.#beginOwnSparse(pending, header);
    else if (pending.entry.type === "file") this.#beginFile(pending, extension);
    else this.#handOver(pending);
  }

  /** A file, which is sparse when its pax records say so. */
  #beginFile(pending: PendingEntry, { pax }: Extension): void {
    if (pax.has("GNU.sparse.major")) this.#beginPaxSparse1(pending, pax);
    else if (pax.has("GNU.sparse.map") || pax.has("GNU.sparse.numblocks")) this.#beginPaxSparse0(pending, pax);
    else this.#handOver(pending);
  }

  /** Gives the entry to whom it is for, and waits for its data. */
  #handOver({ entry, stored, map }: PendingEntry): void {
    if (entry.size > this.#limits.fileSize)
      throw tarError(`${shownPath(entry.path)}: it is ${entry.size} bytes, more than ${this.#limits.fileSize}`);
    if (map !== undefined && (map.segments.length > 0 || entry.size !== stored)) {
      map.check(entry.size, stored);
      entry.segments = map.segments;
    }
    const state: StateOf<"data"> = { kind: "data", sink: this.#onEntry(entry), left: stored, pad: padding(stored) };
    this.#state = state;
    if (stored === 0) this.#endData(state);
  }

  // --- sparse files -----------------------------------------------------------------

  /** GNU tar's own format, type "S". */
  #beginOwnSparse(pending: PendingEntry, header: TarHeader): void {
    const map = new SparseMap(pending.entry.path);
    pending.map = map;
    pending.entry.size = header.sparseSize;
    if (map.takeHeader(header)) this.#state = { kind: "sparse-further", pending, map };
    else this.#handOver(pending);
  }

  #takeSparseFurther({ pending, map }: StateOf<"sparse-further">, block: Buffer): void {
    if (!map.takeFurther(block)) this.#handOver(pending);
  }

  /** pax, GNU.sparse versions 0.0 and 0.1. */
  #beginPaxSparse0(pending: PendingEntry, pax: Extension["pax"]): void {
    const map = new SparseMap(pending.entry.path);
    pending.map = map;
    pending.entry.size = pax.number("GNU.sparse.size") ?? pending.stored;
    map.takeRecord(pax);
    this.#handOver(pending);
  }

  /** pax, GNU.sparse version 1.0. */
  #beginPaxSparse1(pending: PendingEntry, pax: Extension["pax"]): void {
    const { path } = pending.entry;
    if (pax.text("GNU.sparse.major") !== "1" || pax.text("GNU.sparse.minor") !== "0")
      throw tarError(`${shownPath(path)}: unknown sparse format`);
    pending.entry.size = pax.number("GNU.sparse.realsize") ?? pending.stored;
    pending.map = new SparseMap(path);
    this.#state = { kind: "sparse-text", pending, text: new SparseMapText(pending.map, path, pending.stored) };
  }

  #takeSparseText({ pending, text }: StateOf<"sparse-text">, block: Buffer): void {
    if (!text.take(block)) return;
    pending.stored -= text.used;
    this.#handOver(pending);
  }

  // --- bytes that come in whatever pieces --------------------------------------------

  #takeData(state: StateOf<"data">, chunk: Buffer, at: number): number {
    const n = Math.min(state.left, chunk.length - at);
    if (n > 0) state.sink?.data(chunk.subarray(at, at + n));
    state.left -= n;
    if (state.left === 0) this.#endData(state);
    return n;
  }

  #endData({ sink, pad }: StateOf<"data">): void {
    this.#expectPadding(pad);
    sink?.end();
  }

  #takeExtended(state: StateOf<"extended">, chunk: Buffer, at: number): number {
    const n = Math.min(state.left, chunk.length - at);
    state.parts.push(Buffer.from(chunk.subarray(at, at + n)));
    state.left -= n;
    if (state.left === 0) {
      this.#expectPadding(state.pad);
      this.#extended.take(state.typeFlag, Buffer.concat(state.parts));
    }
    return n;
  }

  #skipPadding(state: StateOf<"pad">, chunk: Buffer, at: number): number {
    const n = Math.min(state.left, chunk.length - at);
    state.left -= n;
    if (state.left === 0) this.#state = { kind: "header" };
    return n;
  }

  #expectPadding(left: number): void {
    this.#state = left > 0 ? { kind: "pad", left } : { kind: "header" };
  }
}
