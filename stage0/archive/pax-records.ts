/**
 * Records of a pax extended header: `LENGTH KEY=VALUE\n`, with values of any
 * bytes, and what they say of one entry.
 *
 * Source: POSIX.1-2017 pax, "pax Extended Header".
 */

import { tarError } from "./tar-error.ts";
import { readDecimal } from "./tar-numbers.ts";

export type Records = ReadonlyMap<string, Buffer>;

export const NO_RECORDS: Records = new Map();

/** Every record of a header's body. The same key twice is an error: readers differ in which of the two they take. */
export function parseRecords(body: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  let at = 0;
  while (at < body.length) {
    if (body[at] === 0) break;
    const space = body.indexOf(0x20, at);
    const length =
      space < 0 || space - at > 8 ? Number.NaN : readDecimal(body.toString("latin1", at, space), "an extended header");
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

/** The extended attributes that records carry, by their names. */
export function xattrsOf(records: Records): Records {
  if (records.size === 0) return NO_RECORDS;
  const found = new Map<string, Buffer>();
  for (const [key, value] of records) if (key.startsWith(XATTR)) found.set(key.slice(XATTR.length), value);
  return found;
}

/** The records that hold for one entry: its own, and the global ones that it does not replace. */
export class PaxRecords {
  readonly #local: Records;
  readonly #global: Records;
  readonly #globalXattrs: Records;

  /** `globalXattrs` are those of `global`, which a reader finds once and not for each entry. */
  constructor(local: Records, global: Records, globalXattrs: Records) {
    this.#local = local;
    this.#global = global;
    this.#globalXattrs = globalXattrs;
  }

  has(key: string): boolean {
    return this.text(key) !== undefined;
  }

  /** Bytes as latin1. An empty value of the entry's own cancels a global one. */
  text(key: string): string | undefined {
    const value = this.#local.get(key) ?? this.#global.get(key);
    return value === undefined || value.length === 0 ? undefined : value.toString("latin1");
  }

  number(key: string): number | undefined {
    const text = this.text(key);
    return text === undefined ? undefined : readDecimal(text, key);
  }

  /** Decimal seconds with a fraction, as nanoseconds. */
  time(key: string): bigint | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text);
    if (match === null) throw tarError(`${key}: ${JSON.stringify(text.slice(0, 40))} is no time`);
    const value = BigInt(match[2] ?? "0") * 1_000_000_000n + BigInt((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
    return match[1] === "-" ? -value : value;
  }

  xattrs(): Records {
    const own = xattrsOf(this.#local);
    if (own.size === 0) return this.#globalXattrs;
    return this.#globalXattrs.size === 0 ? own : new Map([...this.#globalXattrs, ...own]);
  }
}
