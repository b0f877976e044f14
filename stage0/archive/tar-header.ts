/**
 * The header block of an archive's member: which field is where. A field is
 * read when it is asked for, so that an error names the first wrong one that
 * matters.
 *
 * Source: POSIX.1-2017 pax, "ustar Interchange Format".
 */

import { readSigned, readUnsigned } from "./tar-numbers.ts";

export const BLOCK = 512;

/** Zero bytes that follow `size` bytes of data. */
export const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

export class TarHeader {
  /** The bytes, for what a format keeps elsewhere in them. */
  readonly block: Buffer;

  constructor(block: Buffer) {
    this.block = block;
  }

  /** With POSIX's prefix. GNU tar, whose magic ends in spaces, keeps other things in the prefix's place. */
  get name(): string {
    const name = this.#text(0, 100);
    const posix = this.block.toString("latin1", 257, 263) === "ustar\0";
    const prefix = posix ? this.#text(345, 155) : "";
    return prefix === "" ? name : `${prefix}/${name}`;
  }

  get mode(): number {
    return readUnsigned(this.block, 100, 8, "mode");
  }

  get uid(): number {
    return readUnsigned(this.block, 108, 8, "uid");
  }

  get gid(): number {
    return readUnsigned(this.block, 116, 8, "gid");
  }

  get size(): number {
    return readUnsigned(this.block, 124, 12, "size");
  }

  /** Seconds since the epoch; negative before it. */
  get mtime(): number {
    return readSigned(this.block, 136, 12);
  }

  get typeFlag(): string {
    return String.fromCharCode(this.block[156] ?? 0);
  }

  get linkName(): string {
    return this.#text(157, 100);
  }

  get major(): number {
    return readUnsigned(this.block, 329, 8, "major");
  }

  get minor(): number {
    return readUnsigned(this.block, 337, 8, "minor");
  }

  /** Bytes of the whole file, holes included, in a header of GNU tar's own sparse format. */
  get sparseSize(): number {
    return readUnsigned(this.block, 483, 12, "sparse size");
  }

  #text(at: number, length: number): string {
    return textUpToNul(this.block.subarray(at, at + length));
  }
}

/** A text of an archive: its bytes as latin1, up to the first NUL. */
export function textUpToNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("latin1", 0, end < 0 ? bytes.length : end);
}

/** Two such blocks end an archive. */
export function isZero(block: Buffer): boolean {
  for (let i = 0; i < BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** Whether the header's checksum is the sum of its bytes. Old tars added them up as signed numbers; both are accepted. */
export function checksumIsRight(block: Buffer): boolean {
  // The checksum's own field counts as eight spaces.
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
  return sum === unsignedSum || sum === signedSum;
}
