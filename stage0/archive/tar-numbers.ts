/**
 * The numbers of a tar archive: octal and base-256 in headers, decimal in pax
 * records and sparse maps. All are bounded by what a JavaScript number holds
 * exactly; digits followed by anything else are an error.
 *
 * Sources: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual,
 * "Extensions to the Traditional Format".
 */

import { tarError } from "./tar-error.ts";

/** Base-256 (GNU) where the first bit of the field is set, else octal. The second bit makes a base-256 number negative. */
export function readSigned(block: Buffer, at: number, length: number): number {
  return ((block[at] ?? 0) & 0x80) === 0 ? readOctal(block, at, length) : readBase256(block, at, length);
}

/** As `readSigned`; a negative number is an error, which calls the field `what`. */
export function readUnsigned(block: Buffer, at: number, length: number, what: string): number {
  const value = readSigned(block, at, length);
  if (value < 0) throw tarError(`a header has a negative ${what}`);
  return value;
}

function readOctal(block: Buffer, at: number, length: number): number {
  const text = block
    .toString("latin1", at, at + length)
    .replace(/[\0 ]+$/, "")
    .trimStart();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw tarError(`a header has the number ${JSON.stringify(text)}`);
  return safe(Number.parseInt(text, 8));
}

function readBase256(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  let value = BigInt(first & 0x7f);
  if ((first & 0x40) !== 0) value -= 128n;
  for (let i = 1; i < length; i++) value = value * 256n + BigInt(block[at + i] ?? 0);
  return safe(Number(value));
}

/** A number of a pax record or of a sparse map, which the error calls `what`. */
export function readDecimal(text: string, what: string): number {
  if (!/^\d{1,16}$/.test(text)) throw tarError(`${what}: ${JSON.stringify(text.slice(0, 40))} is no number`);
  return safe(Number(text));
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw tarError("a header has a number beyond 2^53");
  return value;
}
