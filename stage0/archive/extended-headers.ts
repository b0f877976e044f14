/**
 * What the headers before an entry say of it: pax extended headers, for the
 * next entry ("x") or all that follow ("g"), and GNU tar's long names ("L")
 * and long link targets ("K").
 *
 * Memory does not grow with the archive: one header has at most 1 MiB, and
 * global records are few and small.
 */

import { NO_RECORDS, PaxRecords, parseRecords, type Records, xattrsOf } from "./pax-records.ts";
import { tarError } from "./tar-error.ts";
import { textUpToNul } from "./tar-header.ts";

/** An extended attribute has at most 64 KiB (xattr(7)); a real header has a few. */
const MAX_BYTES = 1024 * 1024;
/** Global records hold for each entry that follows, so each entry pays for them. A real archive has a handful. */
const MAX_GLOBALS = 64;
const MAX_GLOBAL_BYTES = 64 * 1024;

/** Solaris' tar writes "X" for "x". */
const TYPES = "xXgLK";

export const isExtendedHeader = (typeFlag: string): boolean => TYPES.includes(typeFlag);

/** Throws when an extended header's body has a size that no real one has. */
export function checkExtendedSize(size: number): void {
  if (size === 0 || size > MAX_BYTES) throw tarError(`an extended header is ${size} bytes long, not 1 to ${MAX_BYTES}`);
}

export interface Extension {
  pax: PaxRecords;
  longName: string | undefined;
  longLink: string | undefined;
}

export class ExtendedHeaders {
  readonly #global = new Map<string, Buffer>();
  #globalXattrs = NO_RECORDS;
  #local: Records = NO_RECORDS;
  #longName: string | undefined;
  #longLink: string | undefined;

  /** Takes the body of a header for which `isExtendedHeader` is true. */
  take(typeFlag: string, body: Buffer): void {
    if (typeFlag === "L") this.#longName = textUpToNul(body);
    else if (typeFlag === "K") this.#longLink = textUpToNul(body);
    else if (typeFlag === "g") this.#takeGlobals(parseRecords(body));
    else this.#local = parseRecords(body);
  }

  #takeGlobals(records: Records): void {
    for (const [key, value] of records) {
      this.#global.set(key, value);
      if (this.#global.size > MAX_GLOBALS) throw tarError(`it has more than ${MAX_GLOBALS} global records`);
    }
    let size = 0;
    for (const [key, value] of this.#global) size += key.length + value.length;
    if (size > MAX_GLOBAL_BYTES) throw tarError(`its global records have more than ${MAX_GLOBAL_BYTES} bytes`);
    this.#globalXattrs = xattrsOf(this.#global);
  }

  /** What was said of the entry that comes now. Only the global records also hold for the one after it. */
  forEntry(): Extension {
    const extension: Extension = {
      pax: new PaxRecords(this.#local, this.#global, this.#globalXattrs),
      longName: this.#longName,
      longLink: this.#longLink,
    };
    this.#local = NO_RECORDS;
    this.#longName = undefined;
    this.#longLink = undefined;
    return extension;
  }
}
