/**
 * Sparse files as GNU tar writes them: which bytes of a file the archive has,
 * and where they go. There are three formats: GNU's own ("S"), with the map in
 * the header and in blocks after it; pax 0.1, with the map in a record; and
 * pax 1.0, with the map as text before the data. Format 0.0 is refused: it has
 * the same key many times in one extended header.
 *
 * Source: GNU tar manual, "Storing Sparse Files".
 */

import { shownPath } from "./entry-path.ts";
import type { PaxRecords } from "./pax-records.ts";
import type { Segment } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";
import { BLOCK, type TarHeader } from "./tar-header.ts";
import { readDecimal, readUnsigned } from "./tar-numbers.ts";

const MAX_SEGMENTS = 1_000_000;

/** Bytes of a piece in GNU's own format: offset and size, 12 bytes each. */
const PIECE = 24;

/** The pieces of one sparse file, in the archive's order. */
export class SparseMap {
  readonly segments: Segment[] = [];
  readonly #path: string;

  /** `path` is what errors call the file. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Takes the pieces in a header of type "S"; true when further blocks have more of them. */
  takeHeader({ block }: TarHeader): boolean {
    this.#takePieces(block, 386, 4);
    return block[482] !== 0;
  }

  /** Takes one of the further blocks; true when there is another. */
  takeFurther(block: Buffer): boolean {
    this.#takePieces(block, 0, 21);
    return block[504] !== 0;
  }

  #takePieces(block: Buffer, at: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const start = at + i * PIECE;
      if (block[start] === 0) return;
      this.add(readUnsigned(block, start, 12, "sparse offset"), readUnsigned(block, start + 12, 12, "sparse length"));
    }
  }

  /** Takes the map of format 0.1: `OFFSET,SIZE,OFFSET,SIZE,...`. */
  takeRecord(pax: PaxRecords): void {
    const text = pax.text("GNU.sparse.map");
    if (text === undefined)
      throw tarError(`${shownPath(this.#path)}: sparse format 0.0 is not supported`, "write it with a newer tar");
    const numbers = text.split(",").map((number) => readDecimal(number, "GNU.sparse.map"));
    for (let i = 0; i + 1 < numbers.length; i += 2) this.add(numbers[i] ?? 0, numbers[i + 1] ?? 0);
  }

  add(offset: number, size: number): void {
    if (this.segments.length >= MAX_SEGMENTS) throw tarError(`${shownPath(this.#path)}: its sparse map is too long`);
    this.segments.push({ offset, size });
  }

  /** The map is complete: throws unless its pieces are in order, within a file of `size`, and all that is `stored`. */
  check(size: number, stored: number): void {
    let end = 0;
    let sum = 0;
    for (const segment of this.segments) {
      if (segment.offset < end || segment.offset + segment.size > size)
        throw tarError(`${shownPath(this.#path)}: its sparse map is out of order or bounds`);
      end = segment.offset + segment.size;
      sum += segment.size;
    }
    if (sum !== stored)
      throw tarError(`${shownPath(this.#path)}: its sparse map says ${sum} bytes, its data are ${stored}`);
  }
}

/**
 * A map of format 1.0 as it comes in, block by block: decimal lines, first
 * their count, then offset and size of each piece, padded to a whole block.
 */
export class SparseMapText {
  readonly #map: SparseMap;
  readonly #path: string;
  /** Bytes of the archive that the whole file has. */
  readonly #stored: number;
  #used = 0;
  /** Digits of a number that goes on in the next block. */
  #digits = "";
  /** Undefined while the first number is not known. */
  #count: number | undefined;
  /** Of the piece whose size comes next. */
  #offset: number | undefined;

  constructor(map: SparseMap, path: string, stored: number) {
    if (stored < BLOCK) throw tarError(`${shownPath(path)}: its sparse map is missing`);
    this.#map = map;
    this.#path = path;
    this.#stored = stored;
  }

  /** Bytes of the archive that the map has taken. */
  get used(): number {
    return this.#used;
  }

  /** Takes a block; true when it was the last. */
  take(block: Buffer): boolean {
    this.#used += BLOCK;
    const whole = this.#takeNumbers(block);
    if (this.#used > this.#stored || (!whole && this.#used === this.#stored))
      throw tarError(`${shownPath(this.#path)}: its sparse map is cut short`);
    return whole;
  }

  #takeNumbers(block: Buffer): boolean {
    for (let at = 0; at < BLOCK; ) {
      const newline = block.indexOf(0x0a, at);
      this.#digits += block.toString("latin1", at, newline < 0 ? BLOCK : newline);
      if (newline < 0) {
        // Checked now: too many digits, or none at all, would otherwise grow block by block.
        if (this.#digits !== "") readDecimal(this.#digits, "sparse map");
        return false;
      }
      this.#takeNumber(readDecimal(this.#digits, "sparse map"));
      this.#digits = "";
      at = newline + 1;
      if (this.#map.segments.length === this.#count) return true;
    }
    return false;
  }

  #takeNumber(value: number): void {
    if (this.#count === undefined) {
      this.#count = value;
      if (value > MAX_SEGMENTS) throw tarError(`${shownPath(this.#path)}: its sparse map is too long`);
    } else if (this.#offset === undefined) this.#offset = value;
    else {
      this.#map.add(this.#offset, value);
      this.#offset = undefined;
    }
  }
}
